//! What `run --json` said, to be asked about.

use std::collections::BTreeSet;

use serde_json::Value;

/// An execution as its client saw it.
#[derive(Debug)]
pub struct Ran {
    /// The exit code of the command.
    pub code: Option<i32>,
    /// Every line of its standard output.
    pub events: Vec<Value>,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// From standard output, of which every line must be an event.
    pub fn new(code: Option<i32>, out: &str, err: String) -> Self {
        let event = |line: &str| -> Value {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            assert!(event["execution_id"].is_string(), "not an event: {line}");
            event
        };
        Self { code, events: out.lines().map(event).collect(), err }
    }

    /// The execution.
    pub fn id(&self) -> &str {
        let first = self.events.first().unwrap_or_else(|| panic!("no events; {}", self.err));
        first["execution_id"].as_str().unwrap()
    }

    /// Events of this kind that took effect.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| !event[kind].is_null() && event["void_reason"].is_null())
    }

    /// The output of a stage, which must have completed exactly once.
    pub fn output(&self, stage: &str) -> &Value {
        let all: Vec<_> = self.of("stage_completed").filter(|event| event["stage_id"] == stage).collect();
        assert_eq!(all.len(), 1, "{stage} completed {} times\n{}", all.len(), self.story());
        &all[0]["stage_completed"]["output"]
    }

    /// The nodes that a graph went through, which must be those that told of themselves.
    pub fn path(&self, stage: &str) -> Vec<&str> {
        let path: Vec<&str> = self.output(stage)["path"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node.as_str().unwrap())
            .collect();
        let updates = self.of("stage_progress").filter(|event| event["stage_id"] == stage);
        let told: Vec<&str> = updates
            .filter(|event| event["stage_progress"]["kind"] == "node_update")
            .map(|event| event["stage_progress"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(path, told, "what {stage} says it ran is what it reported running");
        path
    }

    /// The stages that were skipped.
    pub fn skipped(&self) -> Vec<&str> {
        self.of("stage_skipped").map(|event| event["stage_id"].as_str().unwrap()).collect()
    }

    /// The stages that a worker began.
    pub fn started(&self) -> BTreeSet<&str> {
        self.of("stage_started").map(|event| event["stage_id"].as_str().unwrap()).collect()
    }

    /// It completed, its history has no gap, and no task had to be delivered twice.
    pub fn completed(self) -> Self {
        self.ended_once("execution_completed");
        assert_eq!(self.code, Some(0), "{}", self.story());
        for started in self.of("stage_started") {
            let delivery = &started["stage_started"]["delivery"];
            assert_eq!(delivery, 1, "a delivery was lost on the way to a worker\n{}", self.story());
        }
        self
    }

    /// Exactly one terminal event, the last durable one, and numbers from 1 without a gap.
    pub fn ended_once(&self, kind: &str) {
        let durable: Vec<&Value> = self.events.iter().filter(|event| event["ephemeral"] != true).collect();
        for (n, event) in durable.iter().enumerate() {
            assert_eq!(event["sequence"], n as u64 + 1, "a gap or a duplicate\n{}", self.story());
        }
        let ends: Vec<_> = ["execution_completed", "execution_failed", "execution_cancelled"]
            .into_iter()
            .flat_map(|kind| self.of(kind).map(move |event| (kind, event)))
            .collect();
        assert_eq!(ends.len(), 1, "one terminal event\n{}", self.story());
        assert_eq!(ends[0].0, kind, "{}", self.story());
        assert_eq!(durable.last().unwrap()["sequence"], ends[0].1["sequence"], "{}", self.story());
    }

    /// For a failure: what happened, without the flood.
    pub fn story(&self) -> String {
        let calm = self.events.iter().filter(|event| event["token_delta"].is_null());
        let mut lines: Vec<String> =
            calm.map(|event| event.to_string().chars().take(600).collect()).collect();
        lines.push(format!("exit {:?}; standard error: {}", self.code, self.err));
        lines.join("\n")
    }
}
