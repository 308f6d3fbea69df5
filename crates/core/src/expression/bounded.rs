//! Guards around the expression library: a panic in it stays in it, and deep expressions get a stack of their own.
//!
//! The interpreter is recursive. In a debug build it takes some 45 kB of stack for every level, so an expression
//! of ordinary depth runs where it is and a deep one on a thread whose stack is known to be large enough for
//! [`super::MAX_DEPTH`], whatever stack the caller has left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::Error;

/// Deepest expression that is evaluated on the caller's stack.
const SHALLOW: usize = 8;
/// Enough for [`super::MAX_DEPTH`] levels in a debug build, with as much again to spare. Only touched pages are used.
const STACK: usize = 32 << 20;

/// Runs `work`; a panic in it is an error.
pub(super) fn no_panic<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Error::Internal)
}

/// Runs `work`, which recurses `depth` levels deep, on a stack that is large enough.
pub(super) fn on_enough_stack<T: Send>(depth: usize, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    if depth <= SHALLOW {
        return no_panic(work);
    }
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|_| Error::Internal)?
            .join()
            .map_err(|_| Error::Internal)
    })
}
