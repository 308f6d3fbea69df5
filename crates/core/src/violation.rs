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

/// Every violation of one input; never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// Adds one.
    pub fn push(&mut self, field: impl Into<String>, reason: Reason, message: impl Into<String>) {
        self.0.push(Violation::new(field, reason, message));
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
