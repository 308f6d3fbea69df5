use mahavishnu_core::id::StageId;
use serde_json::json;

use super::*;

const PASSWORD: &str = "p\"4ss/wörd\\1";

fn name(name: &str) -> SecretName {
    SecretName::parse(name).unwrap()
}

fn task(task: Value, secret_fields: &[&str]) -> Task {
    Task {
        stage: StageId::parse("s").unwrap(),
        engine: mahavishnu_core::id::EngineName::parse("noop").unwrap(),
        update: None,
        pool: None,
        attempt: 1,
        resume: 0,
        task: task.as_object().unwrap().clone(),
        secret_fields: secret_fields.iter().map(|field| (*field).to_owned()).collect(),
        input: Object::new(),
        dependencies: BTreeMap::new(),
        repos: Vec::new(),
        documents: BTreeMap::new(),
        timeout: None,
        deadline: None,
        resolution: None,
    }
}

#[test]
fn only_what_is_listed_is_put_in() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("PW"), format!("{PASSWORD}\n")).unwrap();
    let secrets = Secrets::new(Some(directory.path().to_owned()));
    let text = "${{ secrets.PW }}";
    let given = task(json!({"a/b": [{"dsn": format!("x:{text}@y")}], "said": text}), &["/a~1b/0/dsn"]);
    let (filled, values) = secrets.fill(&given).unwrap();
    assert_eq!(Value::Object(filled), json!({"a/b": [{"dsn": format!("x:{PASSWORD}@y")}], "said": text}));
    assert_eq!(values, Values::from([(name("PW"), PASSWORD.to_owned())]));
    assert_eq!(secrets.redactor.text(&format!("<{PASSWORD}>")), "<***>");
}

#[test]
fn a_secret_that_is_not_there_or_no_good_is_told_by_field_and_no_other_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("short"), "1234567\n").unwrap();
    std::fs::write(directory.path().join("binary"), [0xFF; 9]).unwrap();
    std::fs::create_dir(directory.path().join("folder")).unwrap();
    let secrets = Secrets::new(Some(directory.path().to_owned()));
    for (name, reason) in [
        ("absent", "SECRET_NOT_FOUND"),
        ("short", "SECRET_UNUSABLE"),
        ("binary", "SECRET_UNUSABLE"),
        ("folder", "SECRET_UNUSABLE"),
    ] {
        let given = json!({"x": {"y": ["", format!("${{{{ secrets.{name} }}}}")]}});
        let failure = secrets.fill(&task(given, &["/x/y/1"])).unwrap_err();
        assert_eq!(
            (failure.reason.as_str(), failure.retryable, failure.field.as_str()),
            (reason, false, "x.y[1]")
        );
        assert!(failure.message.contains(name), "{failure}");
        assert!(
            ["short", "binary", "folder"]
                .iter()
                .all(|other| *other == name || !failure.message.contains(other))
        );
    }
    let failure = secrets.fill(&task(json!({}), &["/x"])).unwrap_err();
    assert_eq!(failure.reason, "INVALID_TASK");
}

#[test]
fn every_form_is_struck_out() {
    let redactor = Redactor::default();
    redactor.learn(PASSWORD);
    redactor.learn("first line of it\nsecond line of it");
    redactor.learn("short");
    let json = Value::from(PASSWORD).to_string();
    let mut output = json!({
        "plain": PASSWORD, "in json": json, "lines": ["a second line of it b"], "short": "short",
        "python": "p\\\"4ss/w\\u00f6rd\\\\1", "address": "db://u:p%224ss%2Fw%C3%B6rd%5C1@h", "slash": "p%224ss/w%C3%B6rd%5C1",
    })
    .as_object()
    .unwrap()
    .clone();
    output.insert(format!("key {PASSWORD}"), Value::Null);
    redactor.object(&mut output);
    assert_eq!(
        Value::Object(output),
        json!({
            "plain": "***", "in json": "\"***\"", "lines": ["a *** b"], "short": "short", "python": "***",
            "address": "db://u:***@h", "slash": "***", "key ***": null,
        })
    );
    let mut message = format!("x{PASSWORD}y").into_bytes();
    let length = message.len();
    redactor.overwrite(&mut message);
    assert_eq!(message, [b"x", "*".repeat(length - 2).as_bytes(), b"y"].concat());
    redactor.learn("1234567890");
    let mut numbers = json!({"n": 1234567890_u64, "m": 12}).as_object().unwrap().clone();
    redactor.object(&mut numbers);
    assert_eq!(Value::Object(numbers), json!({"n": "***", "m": 12}));
}

#[test]
fn what_comes_in_pieces_is_struck_out_too() {
    let redactor = Redactor::default();
    redactor.learn("abcdefghij");
    for size in 1..12 {
        let mut held = String::new();
        let text = "xx abcdefghij abcde abcdefghijabc".as_bytes();
        let mut shown = String::new();
        for piece in text.chunks(size) {
            shown.push_str(&redactor.piece(&mut held, std::str::from_utf8(piece).unwrap()));
        }
        assert_eq!((shown.as_str(), held.as_str()), ("xx *** abcde ***", "abc"), "{size}");
    }
}

#[test]
fn a_sealed_checkpoint_holds_no_secret_and_opens_as_it_was() {
    let values =
        Values::from([(name("A"), PASSWORD.to_owned()), (name("B"), format!("{PASSWORD} and more"))]);
    let sealing = Sealing::new(values.clone());
    let inner = json!({"a": PASSWORD}).to_string();
    let body =
        format!("{}\u{1}{PASSWORD}\u{2}{}{PASSWORD} and more", json!({"b": inner}), inner).into_bytes();
    let sealed = sealing.seal(body.clone());
    for form in [PASSWORD, "p\\\"4ss", "and more"] {
        assert!(memchr::memmem::find(&sealed, form.as_bytes()).is_none(), "{form}");
    }
    assert_ne!(sealing.seal(body.clone()), sealed, "nobody knows a stand-in beforehand");
    assert_eq!(sealing.open(sealed.clone()).unwrap(), body);
    assert_eq!(sealing.seal(b"nothing".to_vec()), b"nothing");
    assert_eq!(sealing.open(b"nothing".to_vec()).unwrap(), b"nothing");
    let changed = values.into_iter().map(|(name, value)| (name, format!("{value}!"))).collect();
    assert!(Sealing::new(changed).open(sealed.clone()).is_err());
    assert!(Sealing::default().open(sealed).is_err());
}
