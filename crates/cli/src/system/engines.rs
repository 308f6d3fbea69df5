//! The engines that come with the program.

use mahavishnu_worker::{Engine, Runs};

/// All of them, in the order in which they are shown.
pub const ALL: [Engine; 4] = [
    mahavishnu_worker_agno::ENGINE,
    mahavishnu_worker_langgraph::ENGINE,
    mahavishnu_worker_llamaindex::ENGINE,
    mahavishnu_worker_prefect::ENGINE,
];

/// The engine of this name, for the command line.
pub fn parse(name: &str) -> Result<Engine, String> {
    find(name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|engine| engine.name).collect();
        format!("the program comes with the engines {}", names.join(", "))
    })
}

/// What a worker of this engine runs. The no-op engine is for benchmarks and tests, and is not offered elsewhere.
pub fn parse_worker(name: &str) -> Result<Runs, String> {
    if name == Runs::Noop.name() { Ok(Runs::Noop) } else { parse(name).map(Runs::Engine) }
}

/// The engine of this name, if the program has its worker.
pub fn find(name: &str) -> Option<Engine> {
    ALL.into_iter().find(|engine| engine.name == name)
}

/// Whether its stages may use a language model.
pub fn uses_model(engine: &Engine) -> bool {
    engine.name != mahavishnu_worker_prefect::ENGINE.name
}
