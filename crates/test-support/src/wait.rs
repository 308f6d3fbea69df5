//! Waiting for what comes about by itself: polled, so that nothing depends on an edge, with a limit.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Far more than anything takes, also on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Looks until `look` sees something.
///
/// # Errors
/// When it sees nothing within [`LIMIT`]: says what was waited for.
pub async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        ticks.tick().await;
        if let Some(seen) = look().await {
            return Ok(seen);
        }
    }
    bail!("not within {LIMIT:?}: {what}")
}

/// Waits for `future`, but not for ever.
///
/// # Errors
/// When it is not done within [`LIMIT`]: says what was waited for.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => Ok(done),
        Err(_) => bail!("not within {LIMIT:?}: {what}"),
    }
}
