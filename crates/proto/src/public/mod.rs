//! The domain as clients see it.

mod event;
mod execution;
mod profile;
mod workflow;

pub use event::event;
pub use execution::{ApprovalRef, approval_id, changes_summary, execution, pending};
pub use profile::profile;
pub use workflow::{approval_policy, draft, workflow};

use crate::v1;

/// What went wrong, for clients.
pub fn error(failure: &mahavishnu_core::execution::Failure) -> v1::Error {
    v1::Error {
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        retryable: failure.retryable,
        traceback: failure.traceback.clone(),
        field: failure.field.clone(),
    }
}
