//! Expressions: the Common Expression Language (CEL), in two tempers.
//!
//! A *condition* is lenient: a missing key is null, null is false, and an ordering with null is false, so that
//! `!state.critical_issues` holds where nobody found any. A *template* ([`Template`]) is strict: what is missing
//! is an error that names it, because a hole in a prompt must not go unseen. The parser and the interpreter are
//! the `cel` crate's; [`rewrite`] prepares the parsed expression once, so that both tempers share it.
//!
//! Beyond plain CEL, arithmetic mixes whole and fractional numbers, because JSON does not keep them apart
//! reliably, and the keys of a map are visited in order, so that a result depends on nothing but its input.
//!
//! Invariants: no text overflows the stack, panics or runs for ever, neither when it is parsed ([`MAX_LENGTH`],
//! [`MAX_NESTING`], [`MAX_DEPTH`]) nor when it is evaluated ([`FUEL`]). Evaluation reads nothing but its variables.

mod bounded;
mod error;
mod infer;
mod json;
mod rewrite;
mod runtime;
mod template;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeSet;
use std::fmt;

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};
use cel::parser::PrattParser;
use serde_json::{Map, Value};

pub use error::Error;
pub use infer::{Problem, Variables};
pub use template::{MAX_RENDERED, Template, has_templates, render};
pub use types::{Kind, Member, Members, Type};

use rewrite::Path;
use runtime::Temper;

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// Deepest nesting of brackets.
pub const MAX_NESTING: u16 = 24;
/// Longest chain of operators, selections and calls that depend on each other.
pub const MAX_DEPTH: usize = 100;
/// What one evaluation may spend: about one unit for each value or 16 bytes of text that it touches.
pub const FUEL: u64 = 1_000_000;

/// A parsed expression.
#[derive(Clone)]
pub struct Expression {
    source: String,
    root: IdedExpr,
    depth: usize,
    paths: Vec<Path>,
}

impl Expression {
    /// Parses CEL.
    pub fn parse(source: &str) -> Result<Self, Error> {
        if source.len() > MAX_LENGTH {
            return Err(Error::TooLong);
        }
        if source.trim().is_empty() {
            return Err(Error::Syntax { line: 1, column: 1, message: "the expression is empty".into() });
        }
        let parsed = bounded::no_panic(|| PrattParser::new().max_recursion_depth(MAX_NESTING).parse(source))?
            .map_err(|errors| Error::from_parser(&errors))?;
        let rewritten = rewrite::rewrite(parsed)?;
        Ok(Self {
            source: source.to_owned(),
            root: rewritten.root,
            depth: rewritten.depth,
            paths: rewritten.paths,
        })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it reads.
    pub fn references(&self) -> References {
        let mut references = References::default();
        for path in &self.paths {
            references.roots.insert(path.root.clone());
            if path.root == "stages" {
                match path.key(0) {
                    Some(id) => {
                        references.stages.insert(id.to_owned());
                        references.stage_members.extend(path.key(1).map(str::to_owned));
                    }
                    None => references.all_stages = true,
                }
            }
        }
        references
    }

    /// The path that is read, when the expression is nothing but a path and what it names is not there.
    pub fn missing_path(&self, variables: &Map<String, Value>) -> Option<String> {
        let Expr::Ident(variable) = &self.root.expr else { return None };
        let path = self.paths.iter().find(|path| path.variable == *variable && !path.test)?;
        match path.read(variables) {
            Some(_) => None,
            None => Some(path.to_string()),
        }
    }

    /// The texts that the expression may yield, when it only chooses among some: `a ? "x" : "y"`. The flag tells
    /// whether these are all.
    pub fn choices(&self) -> (BTreeSet<String>, bool) {
        let mut choices = BTreeSet::new();
        let mut complete = true;
        let mut branches = vec![&self.root];
        while let Some(branch) = branches.pop() {
            match &branch.expr {
                Expr::Literal(LiteralValue::String(text)) => {
                    choices.insert(text.inner().to_owned());
                }
                Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
                    branches.extend(call.args.iter().skip(1))
                }
                _ => complete = false,
            }
        }
        (choices, complete)
    }

    /// The value, leniently: what a missing key reads is null.
    pub fn evaluate(&self, variables: &Map<String, Value>) -> Result<Value, Error> {
        self.run(variables, Temper::Lenient)
    }

    /// Whether it holds, when it reads nothing and so is the same every time.
    pub fn constant(&self) -> Option<bool> {
        if self.paths.is_empty() { self.evaluate_condition(&Map::new()).ok() } else { None }
    }

    /// Whether it holds, leniently. Null, false, zero and what is empty do not hold.
    pub fn evaluate_condition(&self, variables: &Map<String, Value>) -> Result<bool, Error> {
        self.evaluate(variables).map(|value| json::truthy(&value))
    }

    /// The value, strictly: a missing key is an error that names it.
    pub fn evaluate_strictly(&self, variables: &Map<String, Value>) -> Result<Value, Error> {
        self.run(variables, Temper::Strict)
    }

    fn run(&self, variables: &Map<String, Value>, temper: Temper) -> Result<Value, Error> {
        bounded::on_enough_stack(self.depth, || runtime::run(&self.root, &self.paths, variables, temper))?
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// What an expression reads, as far as its text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The variables: `stages`, `input`, `state` and so on.
    pub roots: BTreeSet<String>,
    /// The ids in `stages.<id>` and `stages["<id>"]`.
    pub stages: BTreeSet<String>,
    /// What is read of them: the second name after `stages`.
    pub stage_members: BTreeSet<String>,
    /// Whether `stages` is also read as a whole or under a computed id.
    pub all_stages: bool,
}
