//! Artifacts on the command line: who needs them, what is freed and when.

use mahavishnu_test_support::wait::wait_for;
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::test;

/// Its input is too large for a message.
fn workflow() -> Value {
    let task = json!({"workflow": {"nodes": [{"name": "note", "kind": "set", "values": {"n": "size(state.text)"}}]}});
    json!({"stages": [{"id": "s", "type": "langgraph", "task": task}], "input": {"text": "x".repeat(700_000)}})
}

#[test]
fn an_execution_takes_its_artifacts_with_it() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::with(directory.path(), &["--artifact-grace", "5s", "--retention", "30days"]).await;
        let _worker = site.worker("one", &[]).await;
        let said = async |arguments: &[&str]| {
            let said = site.mahavishnu(arguments).await;
            assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.out, said.err);
            serde_json::from_str::<Value>(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
        };
        let info = said(&["info"]).await;
        assert_eq!(info["retention"]["artifacts"], json!("5s"), "{info:#}");
        let doctor = site.mahavishnu(&["doctor"]).await;
        let doctor: Value = serde_json::from_str(&doctor.out).unwrap();
        assert_eq!(doctor["retention"], info["retention"], "{doctor:#}");
        let told = |check: &Value| {
            check["check"] == "retention"
                && check["detail"]
                    .as_str()
                    .unwrap()
                    .contains("executions are kept for 30 days after their end")
        };
        assert!(doctor["checks"].as_array().unwrap().iter().any(told), "{doctor:#}");
        let ran = site.run(workflow()).await.completed();
        assert_eq!(ran.output("s")["state"]["n"], json!(700_000));
        let execution =
            said(&["executions", "list"]).await["executions"][0]["id"].as_str().unwrap().to_owned();
        let why = said(&["explain", &execution]).await;
        assert!(why["sentence"].as_str().unwrap().contains("; it is removed after "), "{why:#}");

        let listed = said(&["artifacts", "list"]).await;
        let id = listed["artifacts"][0]["id"].as_str().expect("nothing was too large").to_owned();
        let shown = said(&["artifacts", "show", &id]).await;
        assert_eq!(shown["referrers"], json!([{"execution_id": execution}]), "{shown:#}");
        let refused = site.mahavishnu(&["artifacts", "delete", &id]).await;
        assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
        assert!(
            format!("{}{}", refused.out, refused.err)
                .contains(&format!("execution {execution} refers to it"))
        );
        assert_eq!(said(&["artifacts", "prune", "--dry-run"]).await["artifacts"], json!([]));

        said(&["executions", "delete", &execution]).await;
        wait_for("its artifacts to be removed", async || {
            said(&["artifacts", "list"]).await["artifacts"].as_array()?.is_empty().then_some(())
        })
        .await
        .unwrap();
    });
}
