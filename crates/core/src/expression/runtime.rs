//! Evaluates a prepared expression: the functions that the rewritten operators call, in both tempers.

use std::cmp::Ordering;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::sync::{Arc, LazyLock};

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, DYN_TYPE,
    NULL_TYPE, STRING_TYPE,
};
use cel::common::value::{CowVal, Val};
use cel::{Context, DeclarationError, Env, ExecutionError, FunctionContext, Value as CelValue};
use serde_json::{Map, Value};

use super::error::FUEL_FUNCTION;
use super::rewrite::{GLOBAL_FUNCTIONS, MEMBER_FUNCTIONS, Path};
use super::{Error, FUEL, json};

/// How an evaluation takes what is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Temper {
    /// Null.
    Lenient,
    /// An error.
    Strict,
}

/// Size limit of a compiled regular expression, in bytes.
const MAX_REGEX: usize = 256 << 10;
/// What compiling a regular expression costs.
const REGEX_COST: u64 = 2_000;

type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;
type Function = Box<dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> + Send + Sync>;

static STRICT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(library()));
static LENIENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = library();
    // A function of null is null. The declarations cannot clash: no function of the library takes null.
    let _ = null_overloads(&mut env);
    Arc::new(env)
});

/// Evaluates.
pub(super) fn run(
    root: &cel::IdedExpr,
    paths: &[Path],
    variables: &Map<String, Value>,
    temper: Temper,
) -> Result<Value, Error> {
    let env = if temper == Temper::Strict { &STRICT } else { &LENIENT };
    let mut context = Context::with_env(Arc::clone(env));
    functions(&mut context, temper).map_err(|_| Error::Internal)?;
    for path in paths {
        if let Some(value) = read(path, variables, temper) {
            context.add_variable_as_val(path.variable.as_str(), value);
        }
    }
    let value =
        CelValue::resolve_val(root, &context).map_err(|error| Error::from_interpreter(error, paths))?;
    json::from_cel(value.as_ref())
}

fn library() -> Env {
    Env::default().with_optional_support(false).with_stdlib()
}

fn null_overloads(env: &mut Env) -> Result<(), DeclarationError> {
    fn null<'b, 'v>(_: Vec<CowVal<'b, 'v>>) -> Outcome<'b, 'v> {
        Ok(CowVal::owned(CelNull))
    }
    for name in GLOBAL_FUNCTIONS.iter().filter(|name| !["dyn", "type", "matches"].contains(name)) {
        env.add_overload(name, &format!("{name}_null"), vec![NULL_TYPE], null)?;
    }
    for name in MEMBER_FUNCTIONS.iter().filter(|name| **name != "matches") {
        env.add_member_overload(name, &format!("null_{name}"), NULL_TYPE, vec![], null)?;
        env.add_member_overload(name, &format!("null_{name}_dyn"), NULL_TYPE, vec![DYN_TYPE], null)?;
    }
    for name in ["contains", "endsWith", "startsWith"] {
        env.add_member_overload(name, &format!("string_{name}_null"), STRING_TYPE, vec![NULL_TYPE], null)?;
    }
    Ok(())
}

/// What a path reads; `None` leaves the variable undeclared, so that reading it is the error.
fn read<'v>(path: &Path, variables: &'v Map<String, Value>, temper: Temper) -> Option<Box<dyn Val + 'v>> {
    match (path.test, path.read(variables), temper) {
        (true, found, _) => Some(Box::new(CelBool::from(found.is_some()))),
        (false, Some(value), _) => Some(json::to_cel(value)),
        (false, None, Temper::Lenient) => Some(Box::new(CelNull)),
        (false, None, Temper::Strict) => None,
    }
}

/// What is left of [`FUEL`] in one evaluation.
#[derive(Clone)]
struct Fuel(Arc<AtomicU64>);

impl Fuel {
    fn burn(&self, cost: u64) -> Result<(), ExecutionError> {
        self.0
            .fetch_update(Memory::Relaxed, Memory::Relaxed, |left| left.checked_sub(cost))
            .map(drop)
            .map_err(|_| ExecutionError::function_error(FUEL_FUNCTION, "out of fuel"))
    }

    /// Burns for walking a value; stops walking when there is no more.
    fn burn_for(&self, value: &dyn Val) -> Result<(), ExecutionError> {
        self.burn(1)?;
        if let Some(text) = value.downcast_ref::<CelString>() {
            self.burn(text.inner().len() as u64 / 16)
        } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
            self.burn(bytes.inner().len() as u64 / 16)
        } else if let Some(list) = value.downcast_ref::<CelList>() {
            list.inner().iter().try_for_each(|item| self.burn_for(item.as_ref()))
        } else if let Some(map) = value.downcast_ref::<CelMap>() {
            map.inner().values().try_for_each(|value| self.burn_for(value.as_ref()))
        } else {
            Ok(())
        }
    }
}

fn functions(context: &mut Context<'_, '_>, temper: Temper) -> Result<(), DeclarationError> {
    let fuel = Fuel(Arc::new(AtomicU64::new(FUEL)));
    let lenient = temper == Temper::Lenient;
    let spent = fuel.clone();
    define(context, "@spend", move |[value]| {
        spent.burn_for(value.as_ref())?;
        Ok(value)
    })?;
    define(context, "@bool", move |[value]| boolean(value, lenient))?;
    define(context, "@get", move |[value, key]| select(value, key, lenient))?;
    define(context, "@index", move |[value, key]| index(value, key, lenient))?;
    define(context, "@has", move |[value, key]| {
        let has = value.downcast_ref::<CelMap>().is_some() && index(value, key, false).is_ok();
        Ok(CowVal::owned(CelBool::from(has)))
    })?;
    let spent = fuel.clone();
    define(context, "@contains", move |[value, container]| contains(value, container, &spent, lenient))?;
    let spent = fuel.clone();
    define(context, "@items", move |[range, body]| items(range, body, &spent, lenient))?;
    let spent = fuel.clone();
    define(context, "@matches", move |[text, pattern]| matches(text, pattern, &spent, lenient))?;
    for (name, holds) in ORDERINGS {
        define(context, name, move |[left, right]| {
            if lenient && (is_null(&left) || is_null(&right)) {
                return Ok(CowVal::owned(CelBool::from(false)));
            }
            let ordering = left.as_comparer().and_then(|comparer| comparer.compare(right.as_ref()).ok());
            let ordering = ordering.ok_or_else(|| mismatch("compare", &[&left, &right]))?;
            Ok(CowVal::owned(CelBool::from(holds(ordering))))
        })?;
    }
    for (name, operation) in ARITHMETIC {
        let spent = fuel.clone();
        define(context, name, move |[left, right]| {
            if lenient && (is_null(&left) || is_null(&right)) {
                return Ok(CowVal::owned(CelNull));
            }
            spent.burn_for(left.as_ref())?;
            spent.burn_for(right.as_ref())?;
            let (left, right) = same_kind(left, right)?;
            operation(left.as_ref(), right.as_ref())
                .unwrap_or_else(|| Err(mismatch(name.trim_start_matches('@'), &[&left, &right])))
                .map(CowVal::Owned)
        })?;
    }
    define(context, "@negate", move |[value]| {
        if lenient && is_null(&value) {
            return Ok(value);
        }
        let negator = value.as_negator().ok_or_else(|| mismatch("negate", &[&value]))?;
        negator.negate().map(CowVal::Owned)
    })
}

/// Defines a function of `N` arguments.
fn define<const N: usize, F>(
    context: &mut Context<'_, '_>,
    name: &str,
    body: F,
) -> Result<(), DeclarationError>
where
    F: for<'c, 'v> Fn([CowVal<'c, 'v>; N]) -> Outcome<'c, 'v> + Send + Sync + 'static,
{
    let function: Function = Box::new(move |call| {
        let args = mem::take(&mut call.args);
        let given = args.len();
        body(args.try_into().map_err(|_| ExecutionError::invalid_argument_count(N, given))?)
    });
    context.add_function(name, function)
}

type Holds = fn(Ordering) -> bool;

const ORDERINGS: [(&str, Holds); 4] = [
    ("@less", Ordering::is_lt),
    ("@less_equals", Ordering::is_le),
    ("@greater", Ordering::is_gt),
    ("@greater_equals", Ordering::is_ge),
];

type Operation =
    for<'v> fn(&(dyn Val + 'v), &(dyn Val + 'v)) -> Option<Result<Box<dyn Val + 'v>, ExecutionError>>;

const ARITHMETIC: [(&str, Operation); 5] = [
    // The library appends the keys of a map to a list, which CEL does not.
    ("@add", |a, b| match (a.downcast_ref::<CelList>(), b.downcast_ref::<CelList>()) {
        (Some(_), None) => None,
        _ => Some(a.as_adder()?.add(b).map(CowVal::into_owned)),
    }),
    ("@subtract", |a, b| Some(a.as_subtractor()?.sub(b).map(CowVal::into_owned))),
    ("@multiply", |a, b| Some(a.as_multiplier()?.mul(b).map(CowVal::into_owned))),
    ("@divide", |a, b| Some(a.as_divider()?.div(b).map(CowVal::into_owned))),
    ("@modulo", |a, b| Some(a.as_modder()?.modulo(b).map(CowVal::into_owned))),
];

fn boolean<'c, 'v>(value: CowVal<'c, 'v>, lenient: bool) -> Outcome<'c, 'v> {
    if value.downcast_ref::<CelBool>().is_some() {
        return Ok(value);
    }
    if !lenient {
        return Err(mismatch("logic", &[&value]));
    }
    let truthy = if let Some(n) = value.downcast_ref::<CelInt>() {
        *n.inner() != 0
    } else if let Some(n) = value.downcast_ref::<CelUInt>() {
        *n.inner() != 0
    } else if let Some(n) = value.downcast_ref::<CelDouble>() {
        *n.inner() != 0.0
    } else if let Some(text) = value.downcast_ref::<CelString>() {
        !text.inner().is_empty()
    } else if let Some(sizer) = value.as_sizer() {
        *sizer.size().inner() != 0
    } else {
        !is_null(&value)
    };
    Ok(CowVal::owned(CelBool::from(truthy)))
}

fn select<'c, 'v>(value: CowVal<'c, 'v>, key: CowVal<'c, 'v>, lenient: bool) -> Outcome<'c, 'v> {
    if value.downcast_ref::<CelMap>().is_none() {
        return if lenient { Ok(CowVal::owned(CelNull)) } else { Err(missing(key.as_ref())) };
    }
    index(value, key, lenient)
}

fn index<'c, 'v>(value: CowVal<'c, 'v>, key: CowVal<'c, 'v>, lenient: bool) -> Outcome<'c, 'v> {
    let found = match value {
        CowVal::Borrowed(value) => value.as_indexer().map(|indexer| indexer.get(key.as_ref())),
        CowVal::Owned(value) => {
            value.into_indexer().map(|indexer| indexer.steal(key.as_ref()).map(CowVal::Owned))
        }
    };
    match found {
        Some(Ok(value)) => Ok(value),
        _ if lenient => Ok(CowVal::owned(CelNull)),
        _ => Err(missing(key.as_ref())),
    }
}

fn contains<'c, 'v>(
    value: CowVal<'c, 'v>,
    within: CowVal<'c, 'v>,
    fuel: &Fuel,
    lenient: bool,
) -> Outcome<'c, 'v> {
    if lenient && is_null(&within) {
        return Ok(CowVal::owned(CelBool::from(false)));
    }
    if within.downcast_ref::<CelList>().is_some() {
        fuel.burn_for(within.as_ref())?;
    }
    let container = within.as_container().ok_or_else(|| mismatch("in", &[&value, &within]))?;
    match container.contains(value.as_ref()) {
        Ok(contains) => Ok(CowVal::owned(CelBool::from(contains))),
        Err(_) if lenient && is_null(&value) => Ok(CowVal::owned(CelBool::from(false))),
        Err(_) => Err(mismatch("in", &[&value, &within])),
    }
}

/// What a macro loops over, paid for: every turn costs as much as its body is long.
fn items<'c, 'v>(range: CowVal<'c, 'v>, body: CowVal<'c, 'v>, fuel: &Fuel, lenient: bool) -> Outcome<'c, 'v> {
    if lenient && is_null(&range) {
        return Ok(CowVal::owned(CelList::default()));
    }
    let length = range.as_sizer().map_or(0, |sizer| u64::try_from(*sizer.size().inner()).unwrap_or(0));
    let body = body.downcast_ref::<CelInt>().map_or(1, |n| u64::try_from(*n.inner()).unwrap_or(1));
    fuel.burn(length.saturating_mul(body))?;
    fuel.burn_for(range.as_ref())?;
    let Some(map) = range.downcast_ref::<CelMap>() else { return Ok(range) };
    let mut keys: Vec<&CelMapKey<'v>> = map.inner().keys().collect();
    keys.sort();
    Ok(CowVal::owned(CelList::from(
        keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect::<Vec<_>>(),
    )))
}

fn matches<'c, 'v>(
    text: CowVal<'c, 'v>,
    pattern: CowVal<'c, 'v>,
    fuel: &Fuel,
    lenient: bool,
) -> Outcome<'c, 'v> {
    if lenient && (is_null(&text) || is_null(&pattern)) {
        return Ok(CowVal::owned(CelNull));
    }
    let (Some(subject), Some(expression)) =
        (text.downcast_ref::<CelString>(), pattern.downcast_ref::<CelString>())
    else {
        return Err(mismatch("matches", &[&text, &pattern]));
    };
    fuel.burn(REGEX_COST + subject.inner().len() as u64)?;
    let regex = regex::RegexBuilder::new(expression.inner())
        .size_limit(MAX_REGEX)
        .dfa_size_limit(MAX_REGEX)
        .build()
        .map_err(|_| {
            ExecutionError::function_error("matches", "not a regular expression, or too large a one")
        })?;
    Ok(CowVal::owned(CelBool::from(regex.is_match(subject.inner()))))
}

/// Makes two numbers of different kinds one kind; leaves everything else alone.
fn same_kind<'c, 'v>(
    left: CowVal<'c, 'v>,
    right: CowVal<'c, 'v>,
) -> Result<(CowVal<'c, 'v>, CowVal<'c, 'v>), ExecutionError> {
    let is_double = |value: &CowVal<'c, 'v>| value.downcast_ref::<CelDouble>().is_some();
    let is_uint = |value: &CowVal<'c, 'v>| value.downcast_ref::<CelUInt>().is_some();
    let is_int = |value: &CowVal<'c, 'v>| value.downcast_ref::<CelInt>().is_some();
    let whole = |value: &CowVal<'c, 'v>| is_int(value) || is_uint(value);
    if (is_double(&left) && whole(&right)) || (whole(&left) && is_double(&right)) {
        return Ok((as_double(left), as_double(right)));
    }
    if (is_int(&left) && is_uint(&right)) || (is_uint(&left) && is_int(&right)) {
        return Ok((as_int(left)?, as_int(right)?));
    }
    Ok((left, right))
}

fn as_double<'c, 'v>(value: CowVal<'c, 'v>) -> CowVal<'c, 'v> {
    let int = value.downcast_ref::<CelInt>().map(|n| *n.inner() as f64);
    let uint = value.downcast_ref::<CelUInt>().map(|n| *n.inner() as f64);
    int.or(uint).map_or(value, |n| CowVal::owned(CelDouble::from(n)))
}

fn as_int<'c, 'v>(value: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    let Some(n) = value.downcast_ref::<CelUInt>().map(|n| *n.inner()) else { return Ok(value) };
    let n =
        i64::try_from(n).map_err(|_| ExecutionError::function_error("int", "a number is out of range"))?;
    Ok(CowVal::owned(CelInt::from(n)))
}

fn is_null(value: &CowVal<'_, '_>) -> bool {
    value.downcast_ref::<CelNull>().is_some()
}

fn missing(key: &dyn Val) -> ExecutionError {
    let key = json::from_cel(key).map(|key| key.to_string()).unwrap_or_default();
    ExecutionError::no_such_key(&format!("the key {key}"))
}

fn mismatch(operator: &str, values: &[&CowVal<'_, '_>]) -> ExecutionError {
    let types = values.iter().map(|value| value.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(operator, types)
}
