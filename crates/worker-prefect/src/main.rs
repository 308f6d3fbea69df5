//! `mahavishnu-worker-prefect`: takes tasks of the engine prefect from NATS.

fn main() -> std::process::ExitCode {
    mahavishnu_worker::program(&mahavishnu_worker_prefect::ENGINE)
}
