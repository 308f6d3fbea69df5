//! `mahavishnu-worker-langgraph`: takes tasks of the engine langgraph from NATS.

fn main() -> std::process::ExitCode {
    mahavishnu_worker::program(&mahavishnu_worker_langgraph::ENGINE)
}
