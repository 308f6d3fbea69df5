//! Reading a workflow file, and the message that carries it to a coordinator.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mahavishnu_core::engine::Registry;
use mahavishnu_core::id::{EngineName, PoolName, Queue};
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_core::workflow::{ApprovalDraft, Draft, Parsed, RetryDraft, StageDraft};
use mahavishnu_proto::{json, v1};

use crate::args::Input;

/// A file that was read, not yet checked.
#[derive(Clone, Debug)]
pub struct Source {
    bytes: Vec<u8>,
    json: bool,
    /// Where relative documents are looked for.
    pub directory: PathBuf,
}

impl Source {
    /// Reads a file; `-` is standard input, its documents relative to the current directory.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            return Ok(Self::new(bytes, path, PathBuf::from(".")));
        }
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self::new(bytes, path, directory))
    }

    /// By extension; without a known one by its first character. JSON is YAML too, but its errors are told better.
    fn new(bytes: Vec<u8>, path: &Path, directory: PathBuf) -> Self {
        let json = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => true,
            Some("yaml" | "yml") => false,
            _ => bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{'),
        };
        Self { bytes, json, directory }
    }

    /// The draft with what the command line adds, checked against the engines that are known here.
    ///
    /// With a server, engines that are not known here are left to it: it may have registered more.
    pub fn draft(
        &self,
        additions: &Additions,
        registry: &Registry,
        server: bool,
    ) -> Result<Draft, Violations> {
        let draft = match self.parsed().into_draft() {
            Ok(draft) => draft,
            // Checked as it stands, for all that is wrong at once.
            Err(of_form) => return Err(self.parsed().check(registry).err().unwrap_or(of_form)),
        };
        let draft = additions.apply(draft);
        let Err(mut violations) = draft.clone().check(registry) else { return Ok(draft) };
        if server {
            violations.0.retain(|violation| violation.reason != Reason::UnknownEngine);
        }
        violations.into_result(draft)
    }

    fn parsed(&self) -> Parsed {
        if self.json { Parsed::json(&self.bytes) } else { Parsed::yaml(&self.bytes) }
    }
}

/// What the command line adds to a workflow.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// Members of `input`, later ones over earlier ones and those of the file.
    pub inputs: Vec<Input>,
    /// Labels.
    pub labels: Vec<(String, String)>,
}

impl Additions {
    fn apply(&self, mut draft: Draft) -> Draft {
        draft.input.extend(self.inputs.iter().flat_map(|input| input.0.clone()));
        draft.labels.extend(self.labels.iter().cloned());
        draft
    }
}

/// The engines of a draft, each once, with each pool that stages name of it.
pub fn queues(draft: &Draft) -> BTreeSet<Queue> {
    let queue = |stage: &StageDraft| {
        let pool = stage.pool.as_deref().map(PoolName::parse).transpose().ok()?;
        Some(Queue { engine: EngineName::parse(stage.engine.as_deref()?).ok()?, pool })
    };
    draft.stages.iter().filter_map(queue).collect()
}

/// The draft as a message. Durations have been checked; one that is none is left out.
pub fn message(draft: Draft) -> v1::Workflow {
    v1::Workflow {
        stages: draft.stages.into_iter().map(stage).collect(),
        input: (!draft.input.is_empty()).then(|| json::to_struct(&draft.input)),
        repos: draft.repos,
        labels: draft.labels.into_iter().collect(),
        documents: draft.documents.into_iter().collect(),
        timeout: duration(draft.timeout),
    }
}

fn stage(stage: StageDraft) -> v1::Stage {
    v1::Stage {
        id: stage.id.unwrap_or_default(),
        r#type: stage.engine.unwrap_or_default(),
        pool: stage.pool.unwrap_or_default(),
        task: stage.task.as_ref().map(json::to_struct),
        at_once: stage.needs.as_ref().is_some_and(Vec::is_empty),
        needs: stage.needs.unwrap_or_default(),
        when: stage.when.unwrap_or_default(),
        retry: stage.retry.map(retry),
        approval: stage.approval.map(approval),
        timeout: duration(stage.timeout),
    }
}

fn retry(retry: RetryDraft) -> v1::RetryPolicy {
    v1::RetryPolicy {
        max_attempts: retry.max_attempts.unwrap_or_default(),
        initial_backoff: duration(retry.initial_backoff),
        max_backoff: duration(retry.max_backoff),
        non_retryable_reasons: retry.non_retryable_reasons,
    }
}

fn approval(policy: ApprovalDraft) -> v1::ApprovalPolicy {
    use v1::approval_policy::OnTimeout;
    let on_timeout = match policy.on_timeout.as_deref() {
        Some("reject") => OnTimeout::Reject,
        Some("approve") => OnTimeout::Approve,
        _ => OnTimeout::Unspecified,
    };
    v1::ApprovalPolicy {
        approvers: policy.approvers,
        quorum: policy.quorum.unwrap_or_default(),
        exclude_requester: policy.exclude_requester,
        require_reason: policy.require_reason,
        timeout: duration(policy.timeout),
        on_timeout: on_timeout.into(),
    }
}

fn duration(text: Option<String>) -> Option<prost_types::Duration> {
    humantime::parse_duration(&text?).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use mahavishnu_proto::public;

    use super::*;

    const WORKFLOW: &str = r#"
stages:
  - {type: llamaindex, task: {type: document_analysis, docs: [a.pdf]}, timeout: 1m 30s}
  - {id: b, type: agno, task: {agents: [tester]}, needs: [], retry: {max_attempts: 2, initial_backoff: 250ms},
     approval: {approvers: [ada, bob], quorum: 2, exclude_requester: true, timeout: 2h, on_timeout: approve}}
  - {type: agno, pool: quick, task: {agents: [tester]}, needs: [b, llamaindex], when: "input.n > 1"}
input: {n: 2}
timeout: 1h
"#;

    fn source(text: &str, name: &str) -> Source {
        Source::new(text.into(), Path::new(name), PathBuf::from("."))
    }

    fn draft(text: &str) -> Result<Draft, Violations> {
        source(text, "w.yaml").draft(&Additions::default(), &Registry::builtin(), false)
    }

    #[test]
    fn a_draft_survives_the_way_to_the_server() {
        let draft = draft(WORKFLOW).unwrap();
        assert_eq!(public::draft(Some(message(draft.clone()))).unwrap(), draft);
        let queues: Vec<_> = queues(&draft).iter().map(Queue::to_string).collect();
        assert_eq!(queues, ["agno", "agno@quick", "llamaindex"]);
    }

    #[test]
    fn the_command_line_adds_to_the_file() {
        let additions = Additions {
            inputs: vec![Input(serde_json::json!({"n": 3, "m": 1}).as_object().unwrap().clone())],
            labels: vec![("team".into(), "a=b".into())],
        };
        let draft = source(WORKFLOW, "w").draft(&additions, &Registry::builtin(), false).unwrap();
        assert_eq!(serde_json::Value::Object(draft.input), serde_json::json!({"n": 3, "m": 1}));
        assert_eq!(draft.labels.get("team").unwrap(), "a=b");
    }

    #[test]
    fn form_and_meaning_are_told_at_once() {
        let violations = draft("stages: [{type: excel, task: {}}, {task: {}, tiemout: 3s}]").unwrap_err();
        let fields: Vec<_> = violations.0.iter().map(|violation| violation.field.as_str()).collect();
        assert!(fields.contains(&"stages[0].type") && fields.contains(&"stages[1].tiemout"), "{fields:?}");
        assert!(fields.contains(&"stages[1].type"), "{fields:?}");
    }

    #[test]
    fn a_server_may_know_more_engines() {
        let text = r#"{"stages": [{"type": "excel", "task": {}}]}"#;
        let registry = Registry::builtin();
        assert!(source(text, "w.json").draft(&Additions::default(), &registry, false).is_err());
        assert!(source(text, "w.json").draft(&Additions::default(), &registry, true).is_ok());
    }
}
