//! Example 3 as a schedule: made, triggered and looked at by the commands that a user types.

use mahavishnu_test_support::system::finished;
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::support::{RUN, SHORT, json_lines, mahavishnu, system, test, workflow};

async fn schedules(arguments: &[&str]) -> Value {
    let system = system().await;
    let mut command = mahavishnu(&system.home, arguments).await;
    command.args(["--json", "--endpoint", &system.endpoint]);
    let said = finished(command, b"", SHORT).await.unwrap();
    assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.out, said.err);
    json_lines(&said.out).remove(0)
}

#[test]
fn example_3_runs_by_its_schedule() {
    test(async {
        let system = system().await;
        // The state directory of these tests is kept.
        let name = format!("example-3-{}", std::process::id());
        let file = workflow("example-3.yaml");
        let made = schedules(&["run", file.to_str().unwrap(), &format!("--schedule={name}")]).await;
        assert_eq!((&made["id"], &made["spec"]["cron"]), (&json!(name), &json!("0 2 * * *")));
        assert!(made["next"][0]["local"].as_str().unwrap().ends_with("T02:00:00+00:00"), "{made:#}");

        let before = system.api.requests();
        let execution = schedules(&["schedules", "trigger", &name]).await;
        assert_eq!(execution["schedule_id"], json!(name));
        let id = execution["id"].as_str().unwrap();
        let mut command = mahavishnu(&system.home, &["executions", "watch", id, "--json"]).await;
        command.args(["--endpoint", &system.endpoint]);
        let said = finished(command, b"", RUN).await.unwrap();
        let ran = Ran::new(said.code, &said.out, said.err).completed();
        // A flow run of Prefect's own, as when it is run by hand.
        let etl = ran.output("prefect");
        assert!(etl["flow_run"]["id"].is_string(), "{etl:#}");
        assert_eq!(etl["rows"], json!({"database1": 5, "api1": system.api.items.len()}));
        assert!(system.api.requests() > before, "the API was asked");
        assert_eq!(ran.path("langgraph"), ["extract", "transform", "load", "verify"]);

        let now = schedules(&["schedules", "get", &name]).await;
        assert_eq!(now["past"][0]["execution"]["execution_id"], json!(id));
        let listed = schedules(&["executions", "list", "--schedule", &name]).await;
        assert_eq!(listed["executions"][0]["id"], json!(id));
        let deleted = schedules(&["schedules", "delete", &name]).await;
        assert_eq!(deleted, json!({"deleted": name}));
    });
}

#[test]
fn a_preview_goes_across_a_change_of_the_clocks() {
    test(async {
        let home = &system().await.home;
        let arguments =
            ["schedules", "preview", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "-n", "2"];
        let mut command = mahavishnu(home, &arguments).await;
        command.args(["--after", "2026-03-28T12:00:00Z"]);
        let said = finished(command, b"", SHORT).await.unwrap();
        assert_eq!(said.out, "2026-03-29T03:00:00+02:00\n2026-03-30T02:30:00+02:00\n");
        assert!(said.err.contains("clocks of Europe/Berlin skip 02:30"), "{}", said.err);
    });
}
