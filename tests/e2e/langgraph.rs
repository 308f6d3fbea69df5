//! The examples of LangGraph's page run as written.

use std::path::Path;

use mahavishnu_test_support::system::finished;
use serde_json::json;

use crate::ran::Ran;
use crate::site::Site;
use crate::support::{RUN, mahavishnu, test};

#[test]
fn the_examples_of_langgraph() {
    test(async {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/worker-langgraph/examples");
        let site = Site::new(&examples.join("project")).await;
        let _worker = site.worker("one", &["--slots", "2"]).await;
        let run = async |name: &str| {
            let mut command =
                mahavishnu(site.home(), &["run", "--json", "--approve", "--endpoint", site.endpoint()]).await;
            command.arg(examples.join(name));
            let said = finished(command, b"", RUN).await.unwrap();
            let ran = Ran::new(said.code, &said.out, said.err);
            assert_eq!(ran.code, Some(0), "{}", ran.story());
            ran
        };
        let (reference, declared) = tokio::join!(run("reference.yaml"), run("declared.yaml"));
        let state = &reference.output("triage")["state"];
        assert_eq!((&state["urgent"], &state["plan"]), (&json!(["the shop is down"]), &json!("page")));
        let output = declared.output("gate");
        assert_eq!((&output["approved"], &output["state"]["n"]), (&json!(true), &json!(12)));
        let path: Vec<&str> = output["path"].as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
        assert_eq!(path.first_chunk(), Some(&["count", "double", "double", "double", "fork"]));
        assert_eq!(path.last_chunk(), Some(&["triage", "approve"]));
    });
}
