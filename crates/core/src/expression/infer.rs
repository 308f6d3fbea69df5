//! The type that an expression yields, and what cannot be right whatever the values will be.
//!
//! This walks the rewritten expression, so it knows the operators by the names of [`super::rewrite`].

use std::collections::BTreeMap;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators};

use super::rewrite::{Path, Step};
use super::types::{Kind, Type};
use super::{Expression, Template};
use crate::violation::Reason;

/// The types of the variables, by name. One that is not there may be anything.
pub type Variables = BTreeMap<String, Type>;

/// What cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Expression {
    /// The type of its value. `strict` tells that it stands in a template, where logic takes booleans only.
    pub fn infer(&self, variables: &Variables, strict: bool) -> (Type, Vec<Problem>) {
        let mut walk =
            Walk { paths: &self.paths, variables, strict, bound: Vec::new(), problems: Vec::new() };
        let found = walk.expr(&self.root);
        (found, walk.problems)
    }

    /// The variable that it reads, when it is nothing but a path.
    pub fn only_reads(&self) -> Option<&str> {
        let Expr::Ident(variable) = &self.root.expr else { return None };
        let path = self.paths.iter().find(|path| path.variable == *variable && !path.test)?;
        Some(&path.root)
    }

    /// The member of a variable that it reads, when it is nothing but that: `secrets.name`.
    pub fn only_member(&self, root: &str) -> Option<&str> {
        let Expr::Ident(variable) = &self.root.expr else { return None };
        let path = self.paths.iter().find(|path| path.variable == *variable && !path.test)?;
        match path.steps.as_slice() {
            [Step::Key(name)] if path.root == root => Some(name),
            _ => None,
        }
    }
}

impl Template {
    /// The type of what it becomes.
    pub fn infer(&self, variables: &Variables) -> Type {
        match self.only_expression() {
            Some(expression) => expression.infer(variables, true).0,
            None => Type::Text,
        }
    }
}

struct Walk<'a> {
    paths: &'a [Path],
    variables: &'a Variables,
    strict: bool,
    /// The variables of the macros around the present place.
    bound: Vec<(&'a str, Type)>,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn expr(&mut self, node: &'a IdedExpr) -> Type {
        match &node.expr {
            Expr::Ident(name) => self.ident(name),
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Boolean,
                LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Type::Number,
                LiteralValue::String(_) => Type::Text,
                _ => Type::Any,
            },
            Expr::List(list) => {
                let items: Vec<Type> = list.elements.iter().map(|item| self.expr(item)).collect();
                Type::List(Type::common(items.into_iter()).into())
            }
            Expr::Map(map) => {
                use cel::common::ast::EntryExpr::MapEntry;
                for entry in &map.entries {
                    if let MapEntry(entry) = &entry.expr {
                        self.expr(&entry.value);
                    }
                }
                Type::open([])
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            _ => Type::Any,
        }
    }

    fn ident(&mut self, name: &str) -> Type {
        if let Some((_, known)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return known.clone();
        }
        let Some(path) = self.paths.iter().find(|path| path.variable == name) else { return Type::Any };
        if path.test {
            return Type::Boolean;
        }
        let mut at = Path { steps: Vec::new(), ..path.clone() };
        let mut known = self.variables.get(&path.root).cloned().unwrap_or_default();
        for step in &path.steps {
            known = match known.step(step) {
                Ok(next) => next,
                Err(problem) => {
                    self.problem(Reason::UnknownReference, format!("{at} {problem}"));
                    return Type::Any;
                }
            };
            at.steps.push(step.clone());
        }
        known
    }

    fn call(&mut self, call: &'a CallExpr) -> Type {
        let target = call.target.as_deref().map(|target| (target, self.expr(target)));
        let args: Vec<(&IdedExpr, Type)> = call.args.iter().map(|arg| (arg, self.expr(arg))).collect();
        let all: Vec<(&IdedExpr, Type)> = target.into_iter().chain(args).collect();
        match (call.func_name.as_str(), all.as_slice()) {
            ("@spend" | "@items", [(_, value), ..]) => value.clone(),
            ("@bool", [value]) => {
                if self.strict {
                    self.must_be(value, &[Kind::Boolean], "logic");
                }
                Type::Boolean
            }
            (operators::LOGICAL_NOT | operators::LOGICAL_AND | operators::LOGICAL_OR, _) => Type::Boolean,
            (operators::CONDITIONAL, [_, (_, yes), (_, no)]) => {
                Type::common([yes.clone(), no.clone()].into_iter())
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                self.alike(left, right, "are never equal");
                Type::Boolean
            }
            ("@less" | "@less_equals" | "@greater" | "@greater_equals", [left, right]) => {
                self.alike(left, right, "cannot be compared");
                Type::Boolean
            }
            ("@add", [left, right]) => {
                self.alike(left, right, "cannot be added");
                Type::common([left.1.clone(), right.1.clone()].into_iter())
            }
            ("@subtract" | "@multiply" | "@divide" | "@modulo", [left, right]) => {
                self.alike(left, right, "cannot be reckoned with");
                Type::common([left.1.clone(), right.1.clone()].into_iter())
            }
            ("@negate", [value]) => {
                self.must_be(value, &[Kind::Number], "a minus sign");
                value.1.clone()
            }
            ("@contains", [value, within]) => {
                self.within(value, within);
                Type::Boolean
            }
            ("@index", [(_, value), _]) => value.items(),
            ("@get", [value, (key, _)]) => self.get(value, key),
            ("startsWith" | "endsWith", [value, ..]) => {
                self.must_be(value, &[Kind::Text], &call.func_name);
                Type::Boolean
            }
            ("size", [value]) => {
                self.must_be(value, &[Kind::Text, Kind::List, Kind::Object], "size");
                Type::Number
            }
            ("@has" | "@matches" | "contains" | "bool", _) => Type::Boolean,
            ("int" | "uint" | "double", _) => Type::Number,
            ("string", _) => Type::Text,
            _ => Type::Any,
        }
    }

    /// A macro: what it loops over binds its variable.
    fn comprehension(&mut self, c: &'a ComprehensionExpr) -> Type {
        let range = self.expr(&c.iter_range);
        let bound = match range.kind() {
            Some(Kind::List) => range.items(),
            Some(Kind::Object) => Type::Text,
            _ => Type::Any,
        };
        let outer = self.bound.len();
        match &c.iter_var2 {
            None => self.bound.push((&c.iter_var, bound)),
            Some(second) => self.bound.extend([(c.iter_var.as_str(), Type::Any), (second, Type::Any)]),
        }
        self.expr(&c.loop_step);
        self.bound.truncate(outer);
        match &c.accu_init.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => Type::Boolean,
            Expr::List(_) => Type::List(Type::Any.into()),
            _ => Type::Any,
        }
    }

    fn get(&mut self, (node, value): &(&IdedExpr, Type), key: &IdedExpr) -> Type {
        let Expr::Literal(LiteralValue::String(key)) = &key.expr else { return Type::Any };
        match value.step(&Step::Key(key.inner().to_owned())) {
            Ok(found) => found,
            Err(problem) => {
                self.problem(Reason::UnknownReference, format!("{} {problem}", self.shown(node)));
                Type::Any
            }
        }
    }

    fn alike(&mut self, left: &(&IdedExpr, Type), right: &(&IdedExpr, Type), otherwise: &str) {
        if let (Some(one), Some(other)) = (left.1.kind(), right.1.kind())
            && one != other
        {
            let (left, right) = (self.shown(left.0), self.shown(right.0));
            let message = format!("{left} is {one} and {right} is {other}: they {otherwise}");
            self.problem(Reason::WrongType, message);
        }
    }

    fn within(&mut self, value: &(&IdedExpr, Type), within: &(&IdedExpr, Type)) {
        let wanted = match within.1.kind() {
            Some(Kind::List) => within.1.items().kind(),
            Some(Kind::Object) => Some(Kind::Text),
            Some(Kind::Text) | None => None,
            Some(_) => return self.must_be(within, &[Kind::List, Kind::Object], "in"),
        };
        if let (Some(wanted), Some(found)) = (wanted, value.1.kind())
            && wanted != found
        {
            let (value, within) = (self.shown(value.0), self.shown(within.0));
            let message = format!("{value} is {found}, and {within} holds none: it is never in it");
            self.problem(Reason::WrongType, message);
        }
    }

    fn must_be(&mut self, (node, value): &(&IdedExpr, Type), wanted: &[Kind], of: &str) {
        if let Some(found) = value.kind().filter(|found| !wanted.contains(found)) {
            let wanted: Vec<String> = wanted.iter().map(Kind::to_string).collect();
            let message = format!("{of} takes {}, and {} is {found}", wanted.join(" or "), self.shown(node));
            self.problem(Reason::WrongType, message);
        }
    }

    /// An operand, in words.
    fn shown(&self, node: &IdedExpr) -> String {
        match &node.expr {
            Expr::Ident(name) => {
                let path = self.paths.iter().find(|path| path.variable == *name);
                path.map_or_else(|| name.clone(), ToString::to_string)
            }
            Expr::Literal(LiteralValue::String(text)) => format!("{:?}", text.inner()),
            Expr::Literal(LiteralValue::Int(number)) => number.inner().to_string(),
            Expr::Literal(LiteralValue::Double(number)) => number.inner().to_string(),
            Expr::Literal(LiteralValue::Boolean(flag)) => flag.inner().to_string(),
            Expr::Call(call) if call.func_name == "@get" => match call.args.as_slice() {
                [value, key] => format!("{}.{}", self.shown(value), self.shown(key).trim_matches('"')),
                _ => "it".to_owned(),
            },
            Expr::Call(call) if ["@spend", "@bool"].contains(&call.func_name.as_str()) => {
                call.args.first().map_or_else(|| "it".to_owned(), |inner| self.shown(inner))
            }
            Expr::Call(call) if !call.func_name.starts_with(['@', '_', '!']) => {
                format!("{}(…)", call.func_name)
            }
            _ => "(…)".to_owned(),
        }
    }

    fn problem(&mut self, reason: Reason, message: String) {
        let problem = Problem { reason, message };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
