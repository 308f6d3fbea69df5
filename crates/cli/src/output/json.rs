//! Messages as JSON: the canonical protobuf form with the field names of the `.proto` files, numbers as numbers.

use std::sync::OnceLock;

use mahavishnu_proto::v1::Event;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Number, Value};

use super::View;

/// Largest whole number that a double holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A message of `mahavishnu.v1`, by its name there. `null` if the name is none.
pub fn message(name: &str, message: &impl Message) -> Value {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(mahavishnu_proto::DESCRIPTORS).ok());
    let descriptor =
        pool.as_ref().and_then(|pool| pool.get_message_by_name(&format!("mahavishnu.v1.{name}")));
    let dynamic = descriptor
        .and_then(|descriptor| DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok());
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    let value = dynamic
        .and_then(|dynamic| dynamic.serialize_with_options(serde_json::value::Serializer, &options).ok());
    value.map(whole).unwrap_or_default()
}

/// A message whose list is there also when it is empty.
pub fn list(name: &str, field: &str, list: &impl Message) -> Value {
    let mut value = message(name, list);
    if let Value::Object(members) = &mut value {
        members.entry(field).or_insert_with(|| Value::Array(Vec::new()));
    }
    value
}

/// Whole numbers without a fraction, as the same value has that was never in a `Struct`.
pub fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(match number.as_f64() {
            Some(double) if number.is_f64() && double.fract() == 0.0 && double.abs() <= EXACT => {
                Number::from(double as i64)
            }
            _ => number,
        }),
        Value::Array(values) => Value::Array(values.into_iter().map(whole).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (key, whole(value))).collect())
        }
        other => other,
    }
}

/// One event a line.
#[derive(Debug)]
pub struct Lines {
    /// Says nothing on standard error either.
    pub quiet: bool,
}

impl View for Lines {
    fn event(&mut self, event: &Event) {
        super::line(message("Event", event));
    }

    fn say(&mut self, lines: &[String]) {
        if !self.quiet {
            lines.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use mahavishnu_proto::json::to_struct;
    use mahavishnu_proto::v1::StageCompleted;
    use mahavishnu_proto::v1::event::Kind;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_canonical_json_with_proto_names() {
        let output = json!({"rows": 3, "share": 0.5, "none": null});
        let event = Event {
            execution_id: "x".into(),
            sequence: 7,
            time: Some(prost_types::Timestamp { seconds: 0, nanos: 500_000_000 }),
            stage_id: "load".into(),
            attempt: 2,
            kind: Some(Kind::StageCompleted(StageCompleted {
                output: output.as_object().map(to_struct),
                worker_id: "w".into(),
                duration: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            })),
            ..Event::default()
        };
        let expected = json!({
            "execution_id": "x", "sequence": 7, "time": "1970-01-01T00:00:00.500Z", "stage_id": "load", "attempt": 2,
            "stage_completed": {
                "output": {"rows": 3, "share": 0.5, "none": null}, "worker_id": "w", "duration": "1.500s",
            },
        });
        assert_eq!(message("Event", &event), expected);
    }
}
