//! What an engine is like.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::EngineName;

/// How much there is to learn and to set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Complexity {
    /// A few lines.
    Low,
    /// Some parts to connect.
    Medium,
    /// A design of its own.
    High,
}

impl fmt::Display for Complexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

/// What a task may require of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Requirement {
    /// It starts by the clock.
    Scheduling,
    /// It keeps state and resumes.
    State,
    /// It takes one way or another by conditions.
    Routing,
}

impl Requirement {
    /// All, in the order in which Select asks for them.
    pub const ALL: [Self; 3] = [Self::Scheduling, Self::State, Self::Routing];

    /// The name in requests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduling => "scheduling",
            Self::State => "state",
            Self::Routing => "routing",
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long an engine takes to be ready for a task, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupTime {
    /// At least, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// At most.
    pub max: u32,
}

impl fmt::Display for SetupTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.min {
            Some(min) => write!(f, "{min}-{}ms", self.max),
            None => write!(f, "<{}ms", self.max),
        }
    }
}

/// What an engine costs, in the words of the reference table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overhead {
    /// Time to be ready.
    pub setup_ms: SetupTime,
    /// Speed of a task: `Fast`, `Medium`, `Slow`.
    pub runtime: String,
    /// `Lowest`, `Low`, `High`, `Highest`.
    pub overhead: String,
    /// Where it comes from, when it is worth saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An engine as people choose it.
///
/// In JSON `engine` is the name that workflows use and `name` the one for people, as in the wire format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// As in a stage's `type`.
    #[serde(rename = "engine")]
    pub name: EngineName,
    /// For people: `LlamaIndex`.
    #[serde(rename = "name")]
    pub display_name: String,
    /// How much there is to learn and to set up.
    pub complexity: Complexity,
    /// It keeps state and resumes.
    pub stateful: bool,
    /// It takes one way or another by conditions.
    pub routing: bool,
    /// It starts by the clock.
    pub scheduling: bool,
    /// What it is good at.
    pub strengths: Vec<String>,
    /// What it is not good at.
    pub weaknesses: Vec<String>,
    /// What to use it for.
    pub best_for: Vec<String>,
    /// What not to use it for.
    pub avoid_for: Vec<String>,
    /// What it costs; unknown for an engine whose file does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Overhead>,
    /// How a worker for it is started, for operators; only engines that a deployment adds say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Phrases of a task type that ask for it.
    #[serde(skip)]
    pub words: Vec<String>,
    /// Phrases that a deployment's file gives a built-in engine, and those of its own that the file takes away.
    #[serde(skip)]
    pub(crate) given: Vec<String>,
    #[serde(skip)]
    pub(crate) taken: Vec<String>,
    /// The stems of each of the phrases, taken once, because Select asks for them many times.
    #[serde(skip)]
    pub(crate) stems: Vec<Vec<String>>,
    /// When Select asks for its words: lower is earlier.
    #[serde(skip)]
    pub ask: i32,
    /// Its place in a hybrid plan: lower is earlier.
    #[serde(skip)]
    pub rank: i32,
    /// It came with the program and not from a deployment's file.
    #[serde(skip)]
    pub builtin: bool,
}

impl Profile {
    /// Whether it meets a requirement.
    pub const fn meets(&self, requirement: Requirement) -> bool {
        match requirement {
            Requirement::Scheduling => self.scheduling,
            Requirement::State => self.stateful,
            Requirement::Routing => self.routing,
        }
    }
}
