//! Prefect's pipelines and an object store: a server that speaks S3 and checks every signature.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mahavishnu_provision::Environment;
use mahavishnu_test_support::system::{Home, provision};
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::test;

const LOCK: &str = include_str!("../stores/requirements.lock");
const SERVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stores/serve.py");

const CATALOGUE: &str = r#"
sources:
  clicks: {kind: s3, url: "s3://logs/in/2026/*.csv", endpoint: "${STORE}", region: eu-west-1,
           access_key: "${KEY}", secret_key: "${SECRET}"}
  stored: {kind: s3, url: "s3://lake/daily/clicks/*.parquet", endpoint: "${STORE}", region: eu-west-1,
           access_key: "${KEY}", secret_key: "${SECRET}"}
  forged: {kind: s3, url: "s3://logs/in/2026/a.csv", endpoint: "${STORE}", region: eu-west-1,
           access_key: "${KEY}", secret_key: not-the-secret}
targets:
  lake:   {kind: s3, url: "s3://lake/daily", endpoint: "${STORE}", region: eu-west-1,
           access_key: "${KEY}", secret_key: "${SECRET}"}
  texts:  {kind: s3, url: "s3://lake", format: csv, endpoint: "${STORE}", region: eu-west-1,
           access_key: "${KEY}", secret_key: "${SECRET}"}
  forged: {kind: s3, url: "s3://lake", endpoint: "${STORE}", region: eu-west-1,
           access_key: "${KEY}", secret_key: not-the-secret}
"#;

/// The server; it ends when this is dropped.
struct Store {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    said: Value,
}

impl Store {
    async fn start() -> Self {
        let environment = Environment::new("stores", LOCK);
        let python = provision().unwrap().environment(&environment).await.unwrap();
        let mut command = Command::new(python);
        command.arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut store = Self { asks: child.stdin.take(), child, answers, said: Value::Null };
        store.said = store.line();
        store
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// The keys of the bucket `lake` with their tags, which differ where the content does.
    fn lake(&mut self) -> Value {
        self.asks.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line()
    }

    fn text(&self, key: &str) -> &str {
        self.said[key].as_str().unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.asks.take());
        self.child.wait().unwrap();
    }
}

fn etl(source: &str, target: Value) -> Value {
    let task =
        json!({"type": "etl", "sources": [source], "target": target, "expect": {source: {"min_rows": 1}}});
    json!({"stages": [{"id": "s", "type": "prefect", "task": task}]})
}

#[test]
fn a_pipeline_reads_from_an_object_store_and_loads_into_one() {
    test(async {
        let mut store = Store::start().await;
        let project = tempfile::tempdir().unwrap();
        std::fs::write(project.path().join("sources.yaml"), CATALOGUE).unwrap();
        let site = Site::new(project.path()).await;
        let home = Home::temporary().unwrap();
        let environment =
            [("STORE", store.text("endpoint")), ("KEY", store.text("key")), ("SECRET", store.text("secret"))];
        let _worker = site.elsewhere("prefect", &home, &environment).await;

        // Twice: the objects are replaced, and nothing is added.
        let lake = json!({"kind": "s3", "name": "lake", "path": "clicks"});
        let first = site.run(etl("clicks", lake.clone())).await.completed();
        let output = first.output("s");
        assert_eq!((&output["rows"], &output["loaded"]), (&json!({"clicks": 4}), &json!(4)), "{output}");
        let told = json!({"kind": "s3", "name": "lake", "path": "clicks", "tables": ["clicks"]});
        assert_eq!(output["target"], told);
        let held = store.lake();
        assert_eq!(held.as_object().unwrap().keys().collect::<Vec<_>>(), ["daily/clicks/clicks.parquet"]);
        site.run(etl("clicks", lake)).await.completed();
        assert_eq!(store.lake(), held);

        // What was stored is read again, with its types, and goes into an object of another form.
        let texts = json!({"kind": "s3", "name": "texts", "path": "out", "table": "all"});
        let again = site.run(etl("stored", texts)).await.completed();
        let output = again.output("s");
        assert_eq!((&output["rows"], &output["loaded"]), (&json!({"stored": 4}), &json!(4)), "{output}");
        assert_eq!(output["schema"]["all"][0], json!({"name": "n", "type": "BIGINT"}));
        assert_eq!(output["sample"]["all"][2], json!({"n": 3, "name": "cara"}));
        assert!(store.lake()["out/all.csv"].is_string());

        // A signature by another secret is refused, and no secret is told.
        let forged = site.run(etl("forged", json!("sqlite"))).await;
        assert_eq!(forged.code, Some(1));
        assert!(forged.story().contains("SOURCE_REFUSED"), "{}", forged.story());
        let forged = site.run(etl("clicks", json!({"kind": "s3", "name": "forged"}))).await;
        assert!(forged.story().contains("LOAD_FAILED"), "{}", forged.story());
        assert!(forged.story().contains("403 SignatureDoesNotMatch"), "{}", forged.story());
        for ran in [&first, &again, &forged] {
            let told = json!(ran.events).to_string();
            assert!(!told.contains(store.text("secret")) && !told.contains("not-the-secret"), "{told}");
        }
    });
}
