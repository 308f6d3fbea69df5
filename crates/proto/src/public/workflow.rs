//! A client's workflow as a draft, and a checked one for clients. Nothing is checked here but what the draft cannot hold.

use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_core::workflow::{
    ApprovalDraft, ApprovalPolicy, Draft, OnTimeout, RetryDraft, StageDraft, Workflow,
};
use prost_types::Duration;

use crate::{json, v1};

/// The draft, or what of the message has no meaning at all.
pub fn draft(workflow: Option<v1::Workflow>) -> Result<Draft, Violations> {
    let mut violations = Violations::default();
    let Some(workflow) = workflow else {
        violations.push("workflow", Reason::Required, "the request has no workflow");
        return Err(violations);
    };
    let stages = workflow
        .stages
        .into_iter()
        .enumerate()
        .map(|(n, stage)| self::stage(stage, &format!("stages[{n}]"), &mut violations))
        .collect();
    let draft = Draft {
        stages,
        input: workflow.input.map(json::from_struct).unwrap_or_default(),
        repos: workflow.repos,
        labels: workflow.labels.into_iter().collect(),
        documents: workflow.documents.into_iter().collect(),
        timeout: duration(workflow.timeout, "timeout", &mut violations),
    };
    violations.into_result(draft)
}

/// A checked workflow.
pub fn workflow(workflow: &Workflow) -> v1::Workflow {
    v1::Workflow {
        stages: workflow
            .stages
            .iter()
            .map(|stage| v1::Stage {
                id: stage.id.to_string(),
                r#type: stage.engine.to_string(),
                pool: stage.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
                task: Some(json::to_struct(&stage.task)),
                needs: stage.needs.iter().map(ToString::to_string).collect(),
                when: stage.when.clone().unwrap_or_default(),
                retry: Some(v1::RetryPolicy {
                    max_attempts: stage.retry.max_attempts,
                    initial_backoff: stage.retry.initial_backoff.try_into().ok(),
                    max_backoff: stage.retry.max_backoff.try_into().ok(),
                    non_retryable_reasons: stage.retry.non_retryable_reasons.clone(),
                }),
                approval: stage.approval.as_ref().map(approval_policy),
                timeout: stage.timeout.and_then(|timeout| timeout.try_into().ok()),
                at_once: stage.needs.is_empty(),
            })
            .collect(),
        input: Some(json::to_struct(&workflow.input)),
        repos: workflow.repos.clone(),
        labels: workflow.labels.clone().into_iter().collect(),
        documents: workflow.documents.iter().map(|(name, id)| (name.clone(), id.to_string())).collect(),
        timeout: workflow.timeout.and_then(|timeout| timeout.try_into().ok()),
    }
}

fn stage(stage: v1::Stage, path: &str, violations: &mut Violations) -> StageDraft {
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    if stage.at_once && !stage.needs.is_empty() {
        violations.push(
            format!("{path}.at_once"),
            Reason::InvalidValue,
            "a stage that starts at once cannot need others; drop `needs` or `at_once`",
        );
    }
    StageDraft {
        id: text(stage.id),
        engine: text(stage.r#type),
        pool: text(stage.pool),
        task: stage.task.map(json::from_struct),
        needs: (stage.at_once || !stage.needs.is_empty()).then_some(stage.needs),
        when: text(stage.when),
        retry: stage.retry.map(|retry| RetryDraft {
            max_attempts: Some(retry.max_attempts).filter(|attempts| *attempts > 0),
            initial_backoff: duration(
                retry.initial_backoff,
                &format!("{path}.retry.initial_backoff"),
                violations,
            ),
            max_backoff: duration(retry.max_backoff, &format!("{path}.retry.max_backoff"), violations),
            non_retryable_reasons: retry.non_retryable_reasons,
        }),
        approval: stage.approval.map(|policy| approval(policy, &format!("{path}.approval"), violations)),
        timeout: duration(stage.timeout, &format!("{path}.timeout"), violations),
    }
}

/// A checked policy.
pub fn approval_policy(policy: &ApprovalPolicy) -> v1::ApprovalPolicy {
    use v1::approval_policy::OnTimeout as Public;
    let on_timeout = match (policy.timeout, policy.on_timeout) {
        (None, _) => Public::Unspecified,
        (Some(_), OnTimeout::Reject) => Public::Reject,
        (Some(_), OnTimeout::Approve) => Public::Approve,
    };
    v1::ApprovalPolicy {
        approvers: policy.approvers.clone(),
        quorum: policy.quorum,
        exclude_requester: policy.exclude_requester,
        require_reason: policy.require_reason,
        timeout: policy.timeout.and_then(|timeout| timeout.try_into().ok()),
        on_timeout: on_timeout.into(),
    }
}

fn approval(policy: v1::ApprovalPolicy, path: &str, violations: &mut Violations) -> ApprovalDraft {
    use v1::approval_policy::OnTimeout as Public;
    let on_timeout = match Public::try_from(policy.on_timeout) {
        Ok(Public::Unspecified) => None,
        Ok(Public::Reject) => Some("reject"),
        Ok(Public::Approve) => Some("approve"),
        Err(_) => {
            let message = "not an outcome of a timeout";
            violations.push(format!("{path}.on_timeout"), Reason::InvalidValue, message);
            None
        }
    };
    ApprovalDraft {
        approvers: policy.approvers,
        quorum: Some(policy.quorum).filter(|quorum| *quorum > 0),
        exclude_requester: policy.exclude_requester,
        require_reason: policy.require_reason,
        timeout: duration(policy.timeout, &format!("{path}.timeout"), violations),
        on_timeout: on_timeout.map(str::to_owned),
    }
}

fn duration(value: Option<Duration>, path: &str, violations: &mut Violations) -> Option<String> {
    match std::time::Duration::try_from(value?) {
        Ok(duration) => Some(humantime::format_duration(duration).to_string()),
        Err(_) => {
            violations.push(path, Reason::InvalidValue, "a duration cannot be negative");
            None
        }
    }
}
