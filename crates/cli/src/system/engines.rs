//! The engines that come with the program.

use mahavishnu_core::engine::Registry;
use mahavishnu_core::id::EngineName;
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

/// What a worker of this engine runs, from its own module if it has one. The no-op engine is for benchmarks and tests,
/// and is not offered elsewhere.
pub fn runs(name: &str, module: Option<String>) -> Result<Runs, String> {
    match module {
        Some(module) => {
            let name = EngineName::parse(name).map_err(|error| error.to_string())?;
            Ok(Runs::Own { name, module })
        }
        None if name == Runs::Noop.name() => Ok(Runs::Noop),
        None => parse(name).map(Runs::Engine).map_err(|problem| {
            format!("{problem}; for one of your own, name its module in the project with --module")
        }),
    }
}

/// The engine of this name, if the program has its worker.
pub fn find(name: &str) -> Option<Engine> {
    ALL.into_iter().find(|engine| engine.name == name)
}

/// The engines that a deployment's file adds and says how to start.
pub fn added(registry: &Registry) -> Vec<(EngineName, String)> {
    let told = registry.profiles().filter(|profile| find(profile.name.as_str()).is_none());
    told.filter_map(|profile| Some((profile.name.clone(), profile.worker.clone()?))).collect()
}

/// Whether its stages may use a language model.
pub fn uses_model(engine: &Engine) -> bool {
    engine.name != mahavishnu_worker_prefect::ENGINE.name
}
