//! The secrets of a worker: where their values come from, how a task gets them, and that they get nowhere else.
//!
//! A secret is the file of its name in the secrets directory, as Kubernetes mounts them (a line break at the end does not
//! belong to it), or else the variable `MAHAVISHNU_SECRET_<NAME>`, in capitals and with `_` for `-`. It is read when a task
//! needs it, so one that was changed is new at the next attempt.
//!
//! Invariants: a value is put into a task just before the engine host gets it. What leaves the worker passes the
//! [`Redactor`], which knows every value that was ever put into a task here; checkpoints pass [`Sealing`]. No failure names
//! a secret that the task did not name: histories are read by many, and what else a worker holds is not their business.

mod redactor;
mod sealing;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use mahavishnu_core::execution::{Failure, Object, Task};
use mahavishnu_core::id::SecretName;
use mahavishnu_core::violation::{item, member};
use mahavishnu_core::workflow::secrets::{fill, names_in};
use serde_json::Value;

pub use redactor::Redactor;
pub use sealing::{Changed, Sealing};

/// What variables that hold secrets begin with.
const VARIABLE: &str = "MAHAVISHNU_SECRET_";
/// Shortest value, in characters. A shorter one would be found, and struck out, where it is not meant.
const MIN_LENGTH: usize = 8;
/// Largest value, in bytes: as much as a key with its certificates needs.
const MAX_BYTES: usize = 64 << 10;

/// The values of an attempt's secrets.
pub type Values = BTreeMap<SecretName, String>;

/// The secrets of this worker.
pub struct Secrets {
    directory: Option<PathBuf>,
    /// Strikes out what was put into a task.
    pub redactor: Redactor,
}

impl Secrets {
    /// From this directory, if there is one, and from the environment.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, redactor: Redactor::default() }
    }

    /// The task of an attempt with its secrets put in, and their values.
    ///
    /// # Errors
    /// When this worker has not all of them; by field. No further attempt mends that by itself.
    pub fn fill(&self, task: &Task) -> Result<(Object, Values), Failure> {
        let mut filled = Value::Object(task.task.clone());
        let mut values = Values::new();
        for pointer in &task.secret_fields {
            let at_fault = |failure| Failure { field: field(&task.task, pointer), ..failure };
            let Some(Value::String(text)) = filled.pointer_mut(pointer) else {
                return Err(at_fault(Failure::terminal(
                    "INVALID_TASK",
                    "there is no text that refers to a secret",
                )));
            };
            for name in names_in(text) {
                if let Entry::Vacant(place) = values.entry(name) {
                    let value = self.read(place.key()).map_err(at_fault)?;
                    self.redactor.learn(&value);
                    place.insert(value);
                }
            }
            *text = fill(text, &values)
                .map_err(|error| at_fault(Failure::terminal("INVALID_TASK", error.to_string())))?;
        }
        match filled {
            Value::Object(filled) => Ok((filled, values)),
            _ => Ok((Object::new(), values)),
        }
    }

    fn read(&self, name: &SecretName) -> Result<String, Failure> {
        let unusable = |why: &str| Failure::terminal("SECRET_UNUSABLE", format!("secret {name}: {why}"));
        let value = match self.file(name) {
            Ok(Some(bytes)) => {
                String::from_utf8(bytes).map_err(|_| unusable("its file is not UTF-8 text"))?
            }
            Ok(None) => {
                let variable = format!("{VARIABLE}{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
                std::env::var(&variable).map_err(|_| {
                    let message = format!(
                        "this worker has no secret {name}: give it the variable {variable}, or a file {name} in the \
                         directory of --secrets-dir"
                    );
                    Failure::terminal("SECRET_NOT_FOUND", message)
                })?
            }
            Err(error) => return Err(unusable(&format!("its file cannot be read: {error}"))),
        };
        match value.chars().count() {
            _ if value.len() > MAX_BYTES => Err(unusable(&format!("it is longer than {MAX_BYTES} bytes"))),
            0..MIN_LENGTH => Err(unusable(&format!(
                "it is shorter than {MIN_LENGTH} characters, too short to be kept out of what is shown"
            ))),
            _ => Ok(value),
        }
    }

    fn file(&self, name: &SecretName) -> std::io::Result<Option<Vec<u8>>> {
        let Some(directory) = &self.directory else { return Ok(None) };
        match std::fs::read(directory.join(name.as_str())) {
            Ok(mut bytes) => {
                for end in *b"\n\r" {
                    if bytes.last() == Some(&end) {
                        bytes.pop();
                    }
                }
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A JSON pointer as the path that failures name.
fn field(task: &Object, pointer: &str) -> String {
    let mut path = String::new();
    let mut at: Option<&Value> = None;
    for token in pointer.split('/').skip(1) {
        let key = token.replace("~1", "/").replace("~0", "~");
        (at, path) = match (at, key.parse()) {
            (Some(Value::Array(items)), Ok(n)) => (items.get(n), item(&path, n)),
            (Some(value), _) => (value.get(&key), member(&path, &key)),
            (None, _) => (task.get(&key), member(&path, &key)),
        };
    }
    path
}

#[cfg(test)]
mod tests;
