//! Prepares a parsed expression for evaluation in either temper.
//!
//! * What an expression reads by a fixed path (`stages.review.output.count`) becomes one variable, so that only
//!   what is read is converted, and a missing key is found before the interpreter trips over it.
//! * Operators whose CEL meaning is too strict for a condition (`!`, `&&`, `<`, `.`, `[]`, `in`, arithmetic)
//!   become calls of the functions in [`super::runtime`], which know the temper.
//! * Whatever copies or walks a value is paid for: `@spend` around it, `@items` around what a macro loops over.
//!
//! Names that begin with `@` cannot be written in CEL, so nothing here can be spoofed.

use std::fmt;

use cel::IdedExpr;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, ListExpr, LiteralValue, MapEntryExpr,
    MapExpr, SelectExpr, operators,
};
use serde_json::{Map, Value};

use super::{Error, MAX_DEPTH};
use crate::violation::nearest;

/// Functions called as `f(x)`. A test checks that the interpreter has them.
pub(super) const GLOBAL_FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "matches",
    "size",
    "string",
    "timestamp",
    "type",
    "uint",
];
/// Functions called as `x.f(y)`.
pub(super) const MEMBER_FUNCTIONS: &[&str] = &[
    "contains",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "matches",
    "size",
    "startsWith",
];
/// The macros, for the hint when a name is misspelt.
const MACROS: &[&str] = &["all", "exists", "exists_one", "filter", "has", "map"];
/// Names that stand for types, as in `type(x) == int`.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "timestamp",
    "duration",
    "type",
    "uint",
];

/// Something that an expression reads by a fixed path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    /// The interpreter's variable that holds the value.
    pub variable: String,
    /// The first name.
    pub root: String,
    /// What follows.
    pub steps: Vec<Step>,
    /// Whether only the presence is asked for: `has(a.b)`.
    pub test: bool,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Key(String),
    Index(i64),
}

impl Path {
    /// What it names, if it is there.
    pub fn read<'v>(&self, variables: &'v Map<String, Value>) -> Option<&'v Value> {
        self.steps.iter().try_fold(variables.get(&self.root)?, |value, step| match (value, step) {
            (Value::Object(members), Step::Key(key)) => members.get(key),
            (Value::Array(items), Step::Index(index)) => items.get(usize::try_from(*index).ok()?),
            _ => None,
        })
    }

    /// The key at a position after the root.
    pub fn key(&self, position: usize) -> Option<&str> {
        match self.steps.get(position) {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        self.steps.iter().try_for_each(|step| match step {
            Step::Key(key) if crate::violation::is_plain_key(key) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{key:?}]"),
            Step::Index(index) => write!(f, "[{index}]"),
        })
    }
}

/// A prepared expression.
pub(super) struct Rewritten {
    pub root: IdedExpr,
    pub depth: usize,
    pub paths: Vec<Path>,
}

/// Prepares an expression as the parser made it.
pub(super) fn rewrite(parsed: IdedExpr) -> Result<Rewritten, Error> {
    if too_deep(&parsed) {
        return Err(Error::TooDeep);
    }
    let mut rewriter = Rewriter { bound: Vec::new(), paths: Vec::new() };
    let (root, depth) = rewriter.expr(parsed)?;
    Ok(Rewritten { root, depth, paths: rewriter.paths })
}

/// Measured without recursion: this is what makes the recursion of everything that follows safe.
fn too_deep(root: &IdedExpr) -> bool {
    let mut level = vec![root];
    for _ in 0..MAX_DEPTH {
        level = level.iter().flat_map(|node| children(node)).collect();
        if level.is_empty() {
            return false;
        }
    }
    true
}

fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => {
            vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Map(MapExpr { entries }) => entries.iter().flat_map(entry_children).collect(),
        Expr::Struct(message) => message.entries.iter().flat_map(entry_children).collect(),
    }
}

fn entry_children(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

fn count(node: &IdedExpr) -> i64 {
    1 + children(node).into_iter().map(count).sum::<i64>()
}

struct Rewriter {
    /// Variables of the macros around the current place.
    bound: Vec<String>,
    paths: Vec<Path>,
}

/// An expression and its depth.
type Node = (IdedExpr, usize);

impl Rewriter {
    fn expr(&mut self, node: IdedExpr) -> Result<Node, Error> {
        if let Some((root, steps)) = self.fixed_path(&node) {
            return Ok(self.read(root, steps, false));
        }
        match node.expr {
            Expr::Literal(_) | Expr::Ident(_) => Ok((node, 1)),
            Expr::Select(SelectExpr { operand, field, test }) => self.select(*operand, field, test),
            Expr::Call(call) => self.call(call),
            Expr::List(ListExpr { elements, .. }) => {
                let (elements, depth) = self.spending_all(elements)?;
                Ok((ided(Expr::List(ListExpr::new(elements))), depth + 1))
            }
            Expr::Map(MapExpr { entries }) => self.map(entries),
            Expr::Comprehension(comprehension) => self.comprehension(*comprehension),
            Expr::Struct(message) => {
                Err(syntax(format!("{} {{...}} is not supported, only maps are", message.type_name)))
            }
            Expr::Unspecified => Err(Error::Internal),
        }
    }

    /// `a.b["c"][0]` where `a` is not a variable of a macro.
    fn fixed_path(&self, node: &IdedExpr) -> Option<(String, Vec<Step>)> {
        let mut steps = Vec::new();
        let mut node = node;
        loop {
            match &node.expr {
                Expr::Ident(name) => {
                    let free = !name.starts_with('@') && !self.bound.contains(name);
                    if !free || (steps.is_empty() && TYPES.contains(&name.as_str())) {
                        return None;
                    }
                    steps.reverse();
                    return Some((name.trim_start_matches('.').to_owned(), steps));
                }
                Expr::Select(select) if !select.test => {
                    steps.push(Step::Key(select.field.clone()));
                    node = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [operand, index] = call.args.as_slice() else { return None };
                    steps.push(match &index.expr {
                        Expr::Literal(LiteralValue::String(key)) => Step::Key(key.inner().to_owned()),
                        Expr::Literal(LiteralValue::Int(index)) => Step::Index(*index.inner()),
                        _ => return None,
                    });
                    node = operand;
                }
                _ => return None,
            }
        }
    }

    fn read(&mut self, root: String, steps: Vec<Step>, test: bool) -> Node {
        let known = self.paths.iter().find(|p| p.root == root && p.steps == steps && p.test == test);
        let variable = match known {
            Some(path) => path.variable.clone(),
            None => {
                let variable = format!("@{}", self.paths.len());
                self.paths.push(Path { variable: variable.clone(), root, steps, test });
                variable
            }
        };
        (ided(Expr::Ident(variable)), 1)
    }

    fn select(&mut self, operand: IdedExpr, field: String, test: bool) -> Result<Node, Error> {
        if test && let Some((root, mut steps)) = self.fixed_path(&operand) {
            steps.push(Step::Key(field));
            return Ok(self.read(root, steps, true));
        }
        let operand = self.expr(operand)?;
        let name = if test { "@has" } else { "@get" };
        Ok(call(name, vec![operand, (text(&field), 1)]))
    }

    fn call(&mut self, CallExpr { func_name, target, mut args }: CallExpr) -> Result<Node, Error> {
        // The steps of the macros keep their form: the interpreter knows them by it.
        if args.first().is_some_and(|arg| matches!(&arg.expr, Expr::Ident(name) if name.starts_with('@'))) {
            let first = args.remove(0);
            let mut nodes = vec![(first, 1)];
            for arg in args {
                let node = self.expr(arg)?;
                let logical = [operators::LOGICAL_AND, operators::LOGICAL_OR].contains(&func_name.as_str());
                nodes.push(if logical { call("@bool", vec![node]) } else { node });
            }
            return Ok(call(&func_name, nodes));
        }
        let renamed = match func_name.as_str() {
            operators::LOGICAL_NOT | operators::LOGICAL_AND | operators::LOGICAL_OR => {
                let nodes = args.into_iter().map(|arg| self.boolean(arg)).collect::<Result<_, _>>()?;
                return Ok(call(&func_name, nodes));
            }
            operators::CONDITIONAL => {
                let condition = self.boolean(args.remove(0))?;
                let mut nodes = vec![condition];
                for arg in args {
                    nodes.push(self.expr(arg)?);
                }
                return Ok(call(&func_name, nodes));
            }
            operators::EQUALS | operators::NOT_EQUALS => {
                let right = args.pop().ok_or(Error::Internal)?;
                let left = args.pop().ok_or(Error::Internal)?;
                let nodes = vec![self.spending(left)?, self.expr(right)?];
                return Ok(call(&func_name, nodes));
            }
            operators::NOT_STRICTLY_FALSE => return self.plain_call(&func_name, args),
            operators::ADD => "@add",
            operators::SUBSTRACT => "@subtract",
            operators::MULTIPLY => "@multiply",
            operators::DIVIDE => "@divide",
            operators::MODULO => "@modulo",
            operators::NEGATE => "@negate",
            operators::LESS => "@less",
            operators::LESS_EQUALS => "@less_equals",
            operators::GREATER => "@greater",
            operators::GREATER_EQUALS => "@greater_equals",
            operators::IN => "@contains",
            operators::INDEX => "@index",
            _ => return self.function(func_name, target, args),
        };
        self.plain_call(renamed, args)
    }

    fn plain_call(&mut self, name: &str, args: Vec<IdedExpr>) -> Result<Node, Error> {
        let nodes = args.into_iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
        Ok(call(name, nodes))
    }

    fn function(
        &mut self,
        name: String,
        target: Option<Box<IdedExpr>>,
        args: Vec<IdedExpr>,
    ) -> Result<Node, Error> {
        let known = if target.is_some() { MEMBER_FUNCTIONS } else { GLOBAL_FUNCTIONS };
        if !known.contains(&name.as_str()) {
            let all = GLOBAL_FUNCTIONS.iter().chain(MEMBER_FUNCTIONS).chain(MACROS).copied();
            let nearest = nearest(&name, all).map(str::to_owned);
            return Err(Error::UnknownFunction { name, nearest });
        }
        let target = target.map(|target| self.spending(*target)).transpose()?;
        let (args, depth) = self.spending_all(args)?;
        if name == "matches" {
            let mut nodes: Vec<Node> = target.into_iter().collect();
            nodes.extend(args.into_iter().map(|arg| (arg, depth)));
            return Ok(call("@matches", nodes));
        }
        let depth = depth.max(target.as_ref().map_or(0, |(_, depth)| *depth)) + 1;
        let target = target.map(|(target, _)| Box::new(target));
        Ok((ided(Expr::Call(CallExpr { func_name: name, target, args })), depth))
    }

    fn map(&mut self, entries: Vec<IdedEntryExpr>) -> Result<Node, Error> {
        let mut rewritten = Vec::new();
        let mut depth = 0;
        for IdedEntryExpr { id, expr } in entries {
            let EntryExpr::MapEntry(MapEntryExpr { key, value, .. }) = expr else {
                return Err(Error::Internal);
            };
            let (key, key_depth) = self.expr(key)?;
            let (value, value_depth) = self.spending(value)?;
            depth = depth.max(key_depth).max(value_depth);
            let expr = EntryExpr::MapEntry(MapEntryExpr { key, value, optional: false });
            rewritten.push(IdedEntryExpr { id, expr });
        }
        Ok((ided(Expr::Map(MapExpr { entries: rewritten })), depth + 1))
    }

    fn comprehension(&mut self, c: ComprehensionExpr) -> Result<Node, Error> {
        let range = self.expr(c.iter_range)?;
        let body = ided(Expr::Literal(LiteralValue::Int(count(&c.loop_step).into())));
        let (iter_range, range_depth) = call("@items", vec![range, (body, 1)]);
        let (accu_init, init_depth) = self.expr(c.accu_init)?;
        let outer = self.bound.len();
        self.bound.push(c.iter_var.clone());
        self.bound.extend(c.iter_var2.clone());
        let (loop_cond, cond_depth) = self.expr(c.loop_cond)?;
        let (loop_step, step_depth) = self.expr(c.loop_step)?;
        self.bound.truncate(outer);
        let (result, result_depth) = self.expr(c.result)?;
        let depth = range_depth.max(init_depth).max(cond_depth).max(step_depth).max(result_depth);
        let rewritten = ComprehensionExpr {
            iter_range,
            iter_var: c.iter_var,
            iter_var2: c.iter_var2,
            accu_var: c.accu_var,
            accu_init,
            loop_cond,
            loop_step,
            result,
        };
        Ok((ided(Expr::Comprehension(Box::new(rewritten))), depth + 1))
    }

    fn boolean(&mut self, node: IdedExpr) -> Result<Node, Error> {
        Ok(call("@bool", vec![self.expr(node)?]))
    }

    fn spending(&mut self, node: IdedExpr) -> Result<Node, Error> {
        match node.expr {
            Expr::Literal(_) => Ok((node, 1)),
            _ => Ok(call("@spend", vec![self.expr(node)?])),
        }
    }

    fn spending_all(&mut self, nodes: Vec<IdedExpr>) -> Result<(Vec<IdedExpr>, usize), Error> {
        let nodes = nodes.into_iter().map(|node| self.spending(node)).collect::<Result<Vec<_>, _>>()?;
        let depth = nodes.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
        Ok((nodes.into_iter().map(|(node, _)| node).collect(), depth))
    }
}

fn call(name: &str, nodes: Vec<Node>) -> Node {
    let depth = 1 + nodes.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
    let args = nodes.into_iter().map(|(node, _)| node).collect();
    (ided(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })), depth)
}

fn text(text: &str) -> IdedExpr {
    ided(Expr::Literal(LiteralValue::String(text.to_owned().into())))
}

/// The interpreter does not use the ids of nodes.
fn ided(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

fn syntax(message: String) -> Error {
    Error::Syntax { line: 1, column: 1, message }
}
