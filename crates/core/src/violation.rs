//! What is wrong with an input, all of it at once, each with the path of the field.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    /// Where, in the caller's own terms: `stages[1].task.docs[0]`. Empty means the whole input.
    pub field: String,
    /// A stable UPPER_SNAKE code that programs may match on.
    pub reason: Reason,
    /// What is wrong and what to do, for people. Lower case, no full stop.
    pub message: String,
}

impl Violation {
    /// Makes a violation.
    pub fn new(field: impl Into<String>, reason: Reason, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}", self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// The closed list of reasons for refusing an input.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $code)] $variant,)+ }

        impl Reason {
            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

reasons! {
    /// A member that must be there is not.
    Required = "REQUIRED",
    /// The value has another type than the field takes.
    WrongType = "WRONG_TYPE",
    /// A key that the field does not know.
    UnknownKey = "UNKNOWN_KEY",
    /// An engine that is not registered.
    UnknownEngine = "UNKNOWN_ENGINE",
    /// A task type that the engine does not know.
    UnknownTaskType = "UNKNOWN_TASK_TYPE",
    /// A name that must be unique is used twice.
    Duplicate = "DUPLICATE",
    /// A reference to a stage or graph node that does not exist.
    UnknownReference = "UNKNOWN_REFERENCE",
    /// Stages that need each other.
    Cycle = "CYCLE",
    /// A value outside what the field takes.
    InvalidValue = "INVALID_VALUE",
    /// An expression or template that is not CEL.
    InvalidExpression = "INVALID_EXPRESSION",
    /// A template or condition that reads a stage that is not before it.
    NotBefore = "NOT_BEFORE",
    /// A cron expression or time zone that is not one.
    InvalidSchedule = "INVALID_SCHEDULE",
    /// A path that is absolute, leaves its directory or is a URL.
    UnsafePath = "UNSAFE_PATH",
    /// More than the stated limit.
    TooLarge = "TOO_LARGE",
    /// Nested deeper than the stated limit.
    TooDeep = "TOO_DEEP",
    /// Text that is not well formed: syntax, encoding, control characters.
    Malformed = "MALFORMED",
}

/// How many violations are told. A hostile input could have millions, and nobody reads more.
pub const MAX_VIOLATIONS: usize = 100;

/// Every violation of one input, up to [`MAX_VIOLATIONS`] and a last one that says so when there are more; never
/// empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// Adds one.
    pub fn push(&mut self, field: impl Into<String>, reason: Reason, message: impl Into<String>) {
        self.add(Violation::new(field, reason, message));
    }

    /// Adds one.
    pub fn add(&mut self, violation: Violation) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(violation);
        } else if !self.is_full() {
            let message = format!("there are more violations; these are the first {MAX_VIOLATIONS}");
            self.0.push(Violation::new("", Reason::TooLarge, message));
        }
    }

    /// Whether no more will be kept.
    pub fn is_full(&self) -> bool {
        self.0.len() > MAX_VIOLATIONS
    }

    /// `Ok(value)` when there is none, all of them otherwise.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, violation) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// The path of a member: `stages[0].task`, and `input["a b"]` for a key that is not a plain name.
pub fn member(parent: &str, key: &str) -> String {
    match (parent, is_plain_key(key)) {
        ("", true) => key.to_owned(),
        (_, true) => format!("{parent}.{key}"),
        (_, false) => format!("{parent}[{key:?}]"),
    }
}

/// The path of an item: `stages[0]`.
pub fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// Whether a key can stand after a dot.
pub fn is_plain_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Whether a text can name a label: letters, digits, '.', '_', '-' and '/'.
pub fn is_label_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
}

/// Longest name that a nearest one is looked for.
const MAX_NAME: usize = 64;

/// The known name that was probably meant: at most every third character is wrong, and not all.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    if length > MAX_NAME {
        return None;
    }
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::osa_distance(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| {
            *distance < length && *distance <= length.max(known.chars().count()).div_ceil(3)
        })
        .min()
        .map(|(_, known)| known)
}

/// What to add to a message when a name is unknown: the nearest known one, or all of them.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("known are {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_callers_own_text() {
        assert_eq!(member("", "stages"), "stages");
        assert_eq!(member(&item("stages", 1), "task"), "stages[1].task");
        assert_eq!(member("input", "a b"), r#"input["a b"]"#);
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["agno", "langgraph", "llamaindex", "prefect"];
        assert_eq!(nearest("lamaindex", known), Some("llamaindex"));
        assert_eq!(nearest("LangGraph", known), Some("langgraph"));
        assert_eq!(nearest("prefetc", known), Some("prefect"));
        assert_eq!(nearest("crewai", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }
}
