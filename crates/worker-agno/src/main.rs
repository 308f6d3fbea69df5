//! `mahavishnu-worker-agno`: takes tasks of the engine agno from NATS.

fn main() -> std::process::ExitCode {
    mahavishnu_worker::program(&mahavishnu_worker_agno::ENGINE)
}
