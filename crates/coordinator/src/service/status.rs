//! Application errors as gRPC statuses, with `google.rpc` details.

use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use mahavishnu_core::violation::Violations;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::app::Error;

const DOMAIN: &str = "mahavishnu";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let mut details = ErrorDetails::new();
        let (code, reason) = match &error {
            Error::Invalid(violations) => return invalid(violations),
            Error::NotFound { what, name, hint } => {
                details.set_resource_info(*what, name.clone(), "", hint.clone());
                (Code::NotFound, "NOT_FOUND")
            }
            Error::AlreadyExists { what, name, hint } => {
                details.set_resource_info(*what, name.clone(), "", hint.clone());
                (Code::AlreadyExists, "ALREADY_EXISTS")
            }
            Error::RequestIdReused(id) => {
                details.set_resource_info("request_id", id.clone(), "", "");
                (Code::AlreadyExists, "REQUEST_ID_REUSED")
            }
            Error::Precondition { reason, message } => {
                details.add_precondition_failure_violation(*reason, "", message.clone());
                (Code::FailedPrecondition, *reason)
            }
            Error::Denied { reason, .. } => (Code::PermissionDenied, *reason),
            Error::Done { reason, .. } => (Code::AlreadyExists, *reason),
            Error::OutOfRange { .. } => (Code::OutOfRange, "CURSOR_OUT_OF_RANGE"),
            Error::TooLarge { .. } => (Code::InvalidArgument, "TOO_LARGE"),
            Error::Draining => {
                details.set_retry_info(Some(Duration::from_secs(1)));
                (Code::Unavailable, "DRAINING")
            }
            Error::Unavailable(source) => {
                tracing::warn!(error = source as &dyn std::error::Error, cause = ?source.source(), "unavailable");
                details.set_retry_info(Some(Duration::from_secs(1)));
                (Code::Unavailable, "HISTORY_UNAVAILABLE")
            }
        };
        details.set_error_info(reason, DOMAIN, HashMap::<String, String>::new());
        Self::with_error_details(code, message, details)
    }
}

/// Every violation by field path; the message names the first ones, for tools that show nothing else.
pub fn invalid(violations: &Violations) -> Status {
    let mut details = ErrorDetails::new();
    for violation in &violations.0 {
        details.add_bad_request_violation(
            violation.field.clone(),
            format!("{}: {}", violation.reason.code(), violation.message),
        );
    }
    let reason = violations.0.first().map_or("INVALID", |violation| violation.reason.code());
    details.set_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    let shown: Vec<String> = violations.0.iter().take(3).map(ToString::to_string).collect();
    let more = violations.0.len().saturating_sub(shown.len());
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Status::with_error_details(Code::InvalidArgument, format!("{}{rest}", shown.join("; ")), details)
}
