//! Why an expression was refused or could not be evaluated, in words for the person who wrote it.

use cel::{ExecutionError, ParseErrors};

use super::{MAX_DEPTH, MAX_LENGTH, MAX_NESTING, Path};
use crate::violation::Reason;

/// Longest message that is taken from the library, in characters.
const MAX_MESSAGE: usize = 200;

/// An expression that was refused or could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`MAX_LENGTH`].
    #[error("the expression is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Nested deeper than [`MAX_NESTING`], or a chain longer than [`MAX_DEPTH`].
    #[error("the expression is nested deeper than {MAX_NESTING} brackets or {MAX_DEPTH} steps")]
    TooDeep,
    /// Not CEL.
    #[error("not a CEL expression at line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser expected.
        message: String,
    },
    /// A function that does not exist.
    #[error("there is no function {name:?}{}", hint(.nearest))]
    UnknownFunction {
        /// As written.
        name: String,
        /// The known one most like it.
        nearest: Option<String>,
    },
    /// Strict evaluation read something that is not there.
    #[error("{path} is not there")]
    Missing {
        /// Such as `stages.review.output.summary`.
        path: String,
    },
    /// An operator or function that does not take these values.
    #[error("{0}")]
    Evaluation(String),
    /// The result has no JSON form.
    #[error("the result is {0}, which JSON cannot hold")]
    NotJson(&'static str),
    /// More work than one evaluation may do.
    #[error("the expression does too much work for one evaluation")]
    TooExpensive,
    /// A fault of the expression library, or no memory for a thread.
    #[error("the expression could not be processed")]
    Internal,
}

/// The name under which running out of fuel travels through the interpreter.
pub(super) const FUEL_FUNCTION: &str = "@fuel";

impl Error {
    /// The reason for a violation.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLong | Self::TooExpensive => Reason::TooLarge,
            Self::TooDeep => Reason::TooDeep,
            Self::Missing { .. } => Reason::UnknownReference,
            _ => Reason::InvalidExpression,
        }
    }

    pub(super) fn from_parser(errors: &ParseErrors) -> Self {
        let Some(first) = errors.errors.first() else { return Self::Internal };
        if first.msg.contains("recursion limit") {
            return Self::TooDeep;
        }
        Self::Syntax {
            line: usize::try_from(first.pos.0).unwrap_or(1).max(1),
            column: usize::try_from(first.pos.1).unwrap_or(1).max(1),
            message: shorten(first.msg.trim_start_matches("Syntax error: ")),
        }
    }

    pub(super) fn from_interpreter(error: ExecutionError, paths: &[Path]) -> Self {
        match error {
            ExecutionError::NoSuchKey(path) => Self::Missing { path: path.to_string() },
            ExecutionError::UndeclaredReference(name) => {
                match paths.iter().find(|path| path.variable == name.as_str()) {
                    Some(path) => Self::Missing { path: path.to_string() },
                    None => Self::UnknownFunction { name: name.to_string(), nearest: None },
                }
            }
            ExecutionError::FunctionError { function, .. } if function == FUEL_FUNCTION => Self::TooExpensive,
            ExecutionError::FunctionError { message, .. } => Self::Evaluation(shorten(&message)),
            ExecutionError::NoSuchOverload(overload) => Self::Evaluation(shorten(&format!(
                "{:?} does not take ({})",
                overload.function().trim_matches(['_', '@']),
                overload.argument_types().join(", ")
            ))),
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                Self::Evaluation("division by zero".into())
            }
            ExecutionError::Overflow(..) => Self::Evaluation("a number is out of range".into()),
            ExecutionError::IndexOutOfBounds(_) => Self::Evaluation("an index is out of bounds".into()),
            ExecutionError::DuplicateKey(_) => Self::Evaluation("a map has the same key twice".into()),
            ExecutionError::UnsupportedKeyType(_) => Self::Evaluation("a value cannot be a key".into()),
            // The other texts print whole values, which may be large and in no stable order.
            _ => Self::Evaluation("an operator or function does not take these values".into()),
        }
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(", did you mean {name:?}?")).unwrap_or_default()
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).collect()
}
