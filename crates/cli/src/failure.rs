//! How a command fails: what is said, and with which exit code.

use std::process::ExitCode;

use mahavishnu_core::violation::{Violation, Violations};
use mahavishnu_process::INTERRUPTED;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A failure that every command reports alike.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Refused before anything ran.
    #[error("{}", .0.iter().map(|found| found.message.as_str()).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Found>),
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

/// A violation as it is shown: from here or from a server.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Where.
    pub field: String,
    /// The stable code.
    pub reason: String,
    /// What.
    pub message: String,
}

impl From<&Violation> for Found {
    fn from(violation: &Violation) -> Self {
        Self {
            field: violation.field.clone(),
            reason: violation.reason.code().to_owned(),
            message: violation.message.clone(),
        }
    }
}

impl From<Violations> for Failure {
    fn from(violations: Violations) -> Self {
        Self::Refused(violations.0.iter().map(Found::from).collect())
    }
}

/// Exit code of a refusal.
pub const REFUSED: u8 = 2;

/// Says what went wrong, and gives the exit code.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    if let Some(Failure::Interrupted) = error.downcast_ref() {
        return ExitCode::from(INTERRUPTED);
    }
    if let Some(found) = found(error) {
        if json {
            println!("{}", violations_json(&found));
        } else {
            for line in violation_lines(&found) {
                eprintln!("{line}");
            }
        }
        return ExitCode::from(REFUSED);
    }
    if let Some(status) = error.downcast_ref::<Status>() {
        for line in status_lines(status) {
            eprintln!("{line}");
        }
        let refused =
            matches!(status.code(), Code::AlreadyExists | Code::InvalidArgument | Code::PermissionDenied);
        return if refused { ExitCode::from(REFUSED) } else { ExitCode::FAILURE };
    }
    eprintln!("error: {error:#}");
    let provision = error.chain().find_map(|cause| cause.downcast_ref::<mahavishnu_provision::Error>());
    if let Some(error) = provision {
        eprintln!("  {}", error.advice());
    }
    ExitCode::FAILURE
}

/// The violations, if the failure is a refusal, here or at a server.
pub fn found(error: &anyhow::Error) -> Option<Vec<Found>> {
    if let Some(Failure::Refused(found)) = error.downcast_ref() {
        return Some(found.clone());
    }
    if let Some(violations) = error.downcast_ref::<Violations>() {
        return Some(violations.0.iter().map(Found::from).collect());
    }
    let status = error.downcast_ref::<Status>()?;
    let details = status.get_details_bad_request()?;
    Some(
        details
            .field_violations
            .into_iter()
            .map(|violation| from_server(violation.field, &violation.description))
            .collect(),
    )
}

/// A server writes `REASON: message`.
fn from_server(field: String, description: &str) -> Found {
    match description.split_once(": ") {
        Some((reason, message)) if reason.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') => {
            Found { field, reason: reason.to_owned(), message: message.to_owned() }
        }
        _ => Found { field, reason: "INVALID".to_owned(), message: description.to_owned() },
    }
}

/// `{"violations": [...]}`.
pub fn violations_json(found: &[Found]) -> serde_json::Value {
    json!({ "violations": found })
}

fn violation_lines(found: &[Found]) -> Vec<String> {
    let count =
        if found.len() == 1 { "1 violation".to_owned() } else { format!("{} violations", found.len()) };
    let line = |found: &Found| match found.field.as_str() {
        "" => format!("  {}", found.message),
        field => format!("  {field}: {}", found.message),
    };
    std::iter::once(format!("refused: {count}")).chain(found.iter().map(line)).collect()
}

fn status_lines(status: &Status) -> Vec<String> {
    let mut lines = vec![format!("error: {}", status.message())];
    let details = status.get_error_details();
    if let Some(resource) = details.resource_info()
        && !resource.description.is_empty()
    {
        lines.push(format!("  {}", resource.description));
    }
    for violation in details.precondition_failure().into_iter().flat_map(|failure| &failure.violations) {
        if violation.description != status.message() {
            lines.push(format!("  {}", violation.description));
        }
    }
    if status.code() == Code::Unavailable {
        lines.push(match details.error_info() {
            // The coordinator itself said so.
            Some(_) => "  try again in a moment".to_owned(),
            None => {
                "  is the address right, and does the system run? start one with: mahavishnu dev".to_owned()
            }
        });
    }
    lines
}

/// A status with the address that it is about, where the status says nothing of it.
pub fn at(endpoint: &str) -> impl FnOnce(Status) -> Status {
    let endpoint = endpoint.to_owned();
    move |status| {
        if status.code() == Code::Unavailable && status.get_error_details().error_info().is_none() {
            Status::unavailable(format!("cannot connect to {endpoint}"))
        } else {
            status
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn violations_of_a_server_look_like_those_found_here() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("stages[1].task", "REQUIRED: say what: now");
        details.add_bad_request_violation("", "something else");
        let error = anyhow::Error::new(Status::with_error_details(Code::InvalidArgument, "x", details));
        let found = found(&error).unwrap();
        assert_eq!(
            violations_json(&found),
            json!({"violations": [
                {"field": "stages[1].task", "reason": "REQUIRED", "message": "say what: now"},
                {"field": "", "reason": "INVALID", "message": "something else"},
            ]})
        );
        assert_eq!(
            violation_lines(&found),
            ["refused: 2 violations", "  stages[1].task: say what: now", "  something else"]
        );
    }

    #[test]
    fn what_cannot_be_reached_says_what_to_do() {
        let lines = status_lines(&at("http://x:1")(Status::unavailable("tcp connect error")));
        assert_eq!(lines.first().unwrap(), "error: cannot connect to http://x:1");
        assert!(lines.last().unwrap().contains("mahavishnu dev"));
    }
}
