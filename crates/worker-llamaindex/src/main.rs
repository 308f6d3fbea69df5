//! `mahavishnu-worker-llamaindex`: takes tasks of the engine llamaindex from NATS.

fn main() -> std::process::ExitCode {
    mahavishnu_worker::program(&mahavishnu_worker_llamaindex::ENGINE)
}
