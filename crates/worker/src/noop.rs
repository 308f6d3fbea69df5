//! The no-op engine: it does what its task says and nothing else, in the worker itself. Benchmarks measure with it what
//! everything around an engine costs; tests make it slow, fail and ask.
//!
//! No registry has it by itself: a deployment that wants it registers `{name: noop, words: [noop]}`.

use mahavishnu_core::execution::{Failure, Question, Task};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::attempt::Outcome;

/// Its name.
pub const NAME: &str = "noop";

/// The key of its only question.
const QUESTION: &str = "approve";
/// Most bytes of padding: as much as an output that travels as an artifact needs, and no more.
const MAX_SIZE: usize = 4 << 20;

/// A task: what to do, in this order.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Events to store on the way.
    pub progress: u32,
    /// How long to take.
    pub sleep_ms: u64,
    /// How to fail.
    fail: Option<Fail>,
    /// Whether to ask a person before the end. The decision is then in the output.
    approve: bool,
    /// The output.
    output: Map<String, Value>,
    /// Padding to add to the output, in bytes.
    size: usize,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    reason: String,
    #[serde(default)]
    retryable: bool,
    /// Attempts that fail, from the first; all by default.
    attempts: Option<u32>,
}

impl Script {
    /// From a task.
    pub fn read(task: &Map<String, Value>) -> Result<Self, Failure> {
        let script = Self::deserialize(Value::Object(task.clone()));
        script
            .map_err(|error| error.to_string())
            .and_then(|script| match script.size {
                0..=MAX_SIZE => Ok(script),
                size => Err(format!("size {size}, of at most {MAX_SIZE}")),
            })
            .map_err(|message| Failure::terminal("INVALID_TASK", message))
    }

    /// How an attempt ends.
    pub fn end(self, task: &Task) -> Outcome {
        if let Some(fail) = self.fail
            && fail.attempts.is_none_or(|attempts| task.attempt <= attempts)
        {
            let message = format!("attempt {} fails, as its task says", task.attempt);
            return Outcome::Failed(Failure {
                retryable: fail.retryable,
                ..Failure::terminal(&fail.reason, message)
            });
        }
        let mut output = self.output;
        if self.approve {
            let Some(decision) = &task.resolution else {
                let question =
                    Question { key: QUESTION.to_owned(), title: "Go on?".to_owned(), payload: Map::new() };
                return Outcome::Paused { questions: vec![question], checkpoint: Some(NAME.into()) };
            };
            output.insert("approved".to_owned(), decision.approved.into());
            output.insert("decided_by".to_owned(), decision.decided_by.clone().into());
        }
        if self.size > 0 {
            output.insert("padding".to_owned(), "x".repeat(self.size).into());
        }
        Outcome::Completed(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(task: serde_json::Value) -> Result<Script, Failure> {
        Script::read(task.as_object().unwrap())
    }

    #[test]
    fn a_task_that_is_none_is_refused() {
        assert_eq!(read(serde_json::json!({})).unwrap(), Script::default());
        for bad in [r#"{"sleep": 1}"#, r#"{"size": 4194305}"#, r#"{"fail": {}}"#] {
            let failure = read(serde_json::from_str(bad).unwrap()).unwrap_err();
            assert_eq!((failure.reason.as_str(), failure.retryable), ("INVALID_TASK", false), "{bad}");
        }
    }
}
