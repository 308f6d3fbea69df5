//! `google.protobuf.Struct` and JSON objects.
//!
//! A `Struct` has one kind of number, a double. A double that is a whole number within 53 bits becomes a
//! JSON integer, so that `3` sent by a client is `3` to an engine, not `3.0`.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Proto};
use serde_json::{Map, Number, Value};

/// Largest whole number that a double holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A JSON object as a `Struct`.
pub fn to_struct(object: &Map<String, Value>) -> Struct {
    into_struct(object.clone())
}

fn into_struct(object: Map<String, Value>) -> Struct {
    Struct { fields: object.into_iter().map(|(key, value)| (key, into_proto(value))).collect() }
}

/// Anything that serializes to a JSON object, as a `Struct`; empty when it does not.
pub fn to_struct_from(value: &impl serde::Serialize) -> Struct {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => into_struct(object),
        _ => Struct::default(),
    }
}

fn into_proto(value: Value) -> Proto {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(into_proto).collect() })
        }
        Value::Object(object) => Kind::StructValue(into_struct(object)),
    };
    Proto { kind: Some(kind) }
}

/// A `Struct` as a JSON object. Depth is bounded by the decoder's own limit.
pub fn from_struct(value: Struct) -> Map<String, Value> {
    value.fields.into_iter().map(|(key, value)| (key, from_proto(value))).collect()
}

fn from_proto(value: Proto) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(from_proto).collect()),
        Some(Kind::StructValue(object)) => Value::Object(from_struct(object)),
    }
}

fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Value::Number(Number::from(value as i64));
    }
    // Not-a-number and the infinities have no JSON form.
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_survive_the_way_there_and_back() {
        let Value::Object(object) = json!({"a": [1, -2, 2.5, true, null, "x"], "b": {"c": {}}}) else {
            panic!()
        };
        assert_eq!(from_struct(to_struct(&object)), object);
    }

    #[test]
    fn what_json_cannot_hold_is_null() {
        assert_eq!(number(f64::NAN), Value::Null);
        assert_eq!(number(f64::INFINITY), Value::Null);
        assert_eq!(number(1e300), json!(1e300));
    }
}
