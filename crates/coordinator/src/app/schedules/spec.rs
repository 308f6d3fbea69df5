//! What a client wants a schedule to do, checked.

use std::time::Duration;

use mahavishnu_core::schedule::{CatchUp, Definition, Overlap, Schedule};
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_core::workflow::{Draft, Workflow};

use crate::app::start::person;
use crate::app::{App, Result};

/// The workflow of a schedule, as JSON, in bytes.
const MAX_WORKFLOW: usize = 512 * 1024;
/// Longest catch-up window.
const MAX_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// What a client wants a schedule to do.
pub struct Spec {
    /// Five cron fields; empty for those of the first stage.
    pub cron: String,
    /// Its zone; empty for UTC.
    pub timezone: String,
    /// What it runs.
    pub workflow: Draft,
    /// See [`Overlap`].
    pub overlap: Overlap,
    /// See [`CatchUp`].
    pub catch_up: CatchUp,
    /// How far back it catches up.
    pub window: Option<Duration>,
}

impl App {
    /// What is asked for, checked, and the name of who asks.
    pub(super) async fn definition(&self, spec: Spec, requester: &str) -> Result<(Definition, String)> {
        let requester = person("requested_by", requester)?;
        let mut violations = Violations::default();
        let window = spec.window.unwrap_or(DEFAULT_WINDOW);
        if window > MAX_WINDOW {
            violations.push("spec.catch_up_window", Reason::TooLarge, "at most 7 days");
        }
        let workflow = match spec.workflow.check(&*self.registry) {
            Ok(workflow) => Some(workflow),
            Err(mut of_workflow) => {
                violations.0.append(&mut of_workflow.0);
                None
            }
        };
        let own = workflow.as_ref().and_then(Workflow::schedule);
        let (cron, timezone) = match (spec.cron.as_str(), own) {
            ("", Some((cron, timezone))) => (cron, timezone),
            (cron, _) => (cron, Some(spec.timezone.as_str()).filter(|zone| !zone.is_empty())),
        };
        let rule = if cron.is_empty() {
            if workflow.is_some() {
                let message = "give five cron fields, or a workflow whose first stage has a \"schedule\"";
                violations.push("spec.cron", Reason::Required, message);
            }
            None
        } else {
            let named = |field: &str| if field == "schedule" { "spec.cron" } else { "spec.timezone" };
            let rule = Schedule::parse(cron, timezone);
            rule.map_err(|of_rule| {
                for violation in of_rule.0 {
                    violations.push(named(&violation.field), violation.reason, violation.message);
                }
            })
            .ok()
        };
        if let Some(workflow) = &workflow
            && serde_json::to_vec(workflow).map_or(0, |text| text.len()) > MAX_WORKFLOW
        {
            let message = format!("larger than {MAX_WORKFLOW} bytes; put what is large into documents");
            violations.push("spec.workflow", Reason::TooLarge, message);
        }
        if let Some(workflow) = &workflow
            && let Err(mut of_requester) = workflow.check_requester(&requester)
        {
            violations.0.append(&mut of_requester.0);
        }
        let (Some(workflow), Some(rule), true) = (workflow, rule, violations.0.is_empty()) else {
            return Err(violations.into());
        };
        self.documents_exist(&workflow).await?;
        let definition =
            Definition { rule, workflow, overlap: spec.overlap, catch_up: spec.catch_up, window };
        Ok((definition, requester))
    }
}
