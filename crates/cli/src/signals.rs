//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends what runs at once, the third the program.

use anyhow::Context as _;
use mahavishnu_process::INTERRUPTED;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How urgently the program is to end.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Cancelled by the first signal.
    pub stop: CancellationToken,
    /// Cancelled by the second.
    pub kill: CancellationToken,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> anyhow::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
        let signals = Self::default();
        let Self { stop, kill } = signals.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                if kill.is_cancelled() {
                    std::process::exit(i32::from(INTERRUPTED));
                }
                if stop.is_cancelled() {
                    kill.cancel();
                }
                stop.cancel();
            }
        });
        Ok(signals)
    }
}
