//! What every long-running program of ours does alike: settings, logs, signals, exit codes.
//!
//! Invariants: the first SIGINT or SIGTERM asks for an orderly end, the second ends at once; bad settings
//! exit with 64 (`EX_USAGE`) before anything runs; a program says on standard output, in one line of JSON,
//! that it is ready, and nothing else goes there.

pub mod settings;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use mahavishnu_telemetry::{SpanRelay, Telemetry};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Programs of many short-lived tasks and messages: with the C library's allocator a coordinator spends 45 % of its time on
/// allocation, and keeps what a load once needed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status after an interruption, as shells count it.
pub const INTERRUPTED: u8 = 130;

/// How many threads a service runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One. For what mostly passes messages on: each way between threads costs more than the work.
    One,
    /// One for each processor; on two or fewer processors one, as the others of the machine need them too.
    Many,
}

impl Threads {
    fn runtime(self) -> std::io::Result<Runtime> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut builder = match self {
            Self::Many if processors > 2 => Builder::new_multi_thread(),
            Self::One | Self::Many => Builder::new_current_thread(),
        };
        builder.enable_all().build()
    }
}

/// Runs a service: telemetry, runtime, signals. `body` gets the token that is cancelled when it should end.
pub fn serve<F>(
    service: &'static str,
    threads: Threads,
    telemetry: &mahavishnu_telemetry::Options,
    body: impl FnOnce(Option<SpanRelay>, CancellationToken) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    match try_serve(service, threads, telemetry, body) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_serve<F>(
    service: &'static str,
    threads: Threads,
    options: &mahavishnu_telemetry::Options,
    body: impl FnOnce(Option<SpanRelay>, CancellationToken) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = threads.runtime().context("runtime")?;
    let result = runtime.block_on(async {
        let telemetry = Telemetry::init(service, options)?;
        let stop = stop_on_signals()?;
        let result = body(telemetry.relay.clone(), stop).await;
        // The exporter blocks while it sends the rest.
        tokio::task::spawn_blocking(|| telemetry.shutdown()).await.context("telemetry")?;
        result
    });
    // A blocking call that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// A token that the first SIGINT or SIGTERM cancels; the second ends the process.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(i32::from(INTERRUPTED));
            }
            token.cancel();
        }
    });
    Ok(stop)
}

/// Says on standard output that the program is ready.
pub fn say_ready(what: &serde_json::Value) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    // Whoever started us may have stopped listening; that is no reason to end.
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}
