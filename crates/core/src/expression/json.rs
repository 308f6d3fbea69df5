//! Between JSON and the values of the interpreter. Whole numbers stay whole, fractional ones fractional.

use cel::common::types::{
    CelBool, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp,
    CelType, CelUInt,
};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

use super::Error;

/// The value of a JSON value; texts are borrowed.
pub(super) fn to_cel(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Box::new(CelInt::from(n)),
            (None, Some(n)) => Box::new(CelUInt::from(n)),
            (None, None) => Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(s) => Box::new(CelString::from(s.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(to_cel).collect::<Vec<_>>())),
        Value::Object(members) => Box::new(CelMap::from(
            members
                .iter()
                .map(|(key, value)| (CelMapKey::from(key.as_str()), to_cel(value)))
                .collect::<std::collections::HashMap<_, _>>(),
        )),
    }
}

/// The JSON of a value.
pub(super) fn from_cel(value: &dyn Val) -> Result<Value, Error> {
    if value.downcast_ref::<CelNull>().is_some() {
        Ok(Value::Null)
    } else if let Some(b) = value.downcast_ref::<CelBool>() {
        Ok(Value::Bool(*b.inner()))
    } else if let Some(n) = value.downcast_ref::<CelInt>() {
        Ok(Value::from(*n.inner()))
    } else if let Some(n) = value.downcast_ref::<CelUInt>() {
        Ok(Value::from(*n.inner()))
    } else if let Some(n) = value.downcast_ref::<CelDouble>() {
        Number::from_f64(*n.inner()).map(Value::Number).ok_or(Error::NotJson("not a finite number"))
    } else if let Some(s) = value.downcast_ref::<CelString>() {
        Ok(Value::from(s.inner()))
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().iter().map(|item| from_cel(item.as_ref())).collect::<Result<_, _>>().map(Value::Array)
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        let members = map.inner().iter().map(|(key, value)| Ok((key_text(key), from_cel(value.as_ref())?)));
        members.collect::<Result<Map<_, _>, _>>().map(Value::Object)
    } else if let Some(time) = value.downcast_ref::<CelTimestamp>() {
        Ok(Value::from(time.inner().to_rfc3339()))
    } else if let Some(duration) = value.downcast_ref::<CelDuration>() {
        let seconds = duration.inner().num_milliseconds();
        Ok(Value::from(format!("{}s", seconds as f64 / 1000.0)))
    } else if let Some(kind) = value.downcast_ref::<CelType>() {
        Ok(Value::from(kind.name()))
    } else {
        Err(Error::NotJson("raw bytes"))
    }
}

/// Whether a value counts as true where a condition is asked for: null, false, zero and what is empty do not.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::Bool(b) => b.inner().to_string(),
        CelMapKey::Int(n) => n.inner().to_string(),
        CelMapKey::UInt(n) => n.inner().to_string(),
        CelMapKey::String(s) => s.inner().to_owned(),
    }
}
