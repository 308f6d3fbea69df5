//! The names of schedules, and calls that come again.

use mahavishnu_core::id::ScheduleId;
use mahavishnu_core::schedule::{Request, Slot, State};
use mahavishnu_core::violation::{Reason, Violations};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::start::request_uuid;
use crate::app::{Error, Result};

/// What a change answers beside the schedule.
#[derive(Clone, Copy, Default)]
pub(super) struct Answer {
    pub slot: Option<Slot>,
    pub count: usize,
}

/// The id that was asked for, one that follows from the request, or a new one.
pub(super) fn name(id: &str, request_id: &str) -> Result<ScheduleId> {
    let made = match (id, request_id) {
        ("", "") => Uuid::now_v7().to_string(),
        ("", request_id) => request_uuid(request_id)?.to_string(),
        (id, _) => id.to_owned(),
    };
    ScheduleId::parse(&made).map_err(|error| {
        let mut violations = Violations::default();
        violations.push("id", Reason::InvalidValue, error.to_string());
        violations.into()
    })
}

/// A call, to be remembered. One without an id gets one all the same: by it a write whose answer was lost is known again.
pub(super) fn request(kind: &str, id: &str, content: &impl serde::Serialize) -> Result<Request> {
    let id = if id.is_empty() { Uuid::now_v7() } else { request_uuid(id)? }.to_string();
    let content = serde_json::to_vec(content).unwrap_or_default();
    let digest = Sha256::new().chain_update(kind).chain_update(content).finalize();
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Request { id, digest, slot: None, count: 0 })
}

/// What the call answered when it came before.
pub(super) fn replayed(state: &State, request: &Request) -> Result<Option<Answer>> {
    match state.requests.iter().find(|known| known.id == request.id) {
        None => Ok(None),
        Some(known) if known.digest == request.digest => {
            Ok(Some(Answer { slot: known.slot, count: known.count }))
        }
        Some(_) => Err(Error::RequestIdReused(request.id.clone())),
    }
}
