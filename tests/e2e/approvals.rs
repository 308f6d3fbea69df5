//! Approvals under a policy: the command line, a coordinator, and LangGraph with one slot.

use mahavishnu_test_support::system::{Said, finished};
use mahavishnu_test_support::wait::wait_for;
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{SHORT, mahavishnu, test};

/// Asks, and releases what is approved.
fn workflow(approval: Value) -> Value {
    json!({"stages": [
        {"id": "gate", "type": "langgraph", "approval": approval, "task": {"workflow": {"nodes": ["approve"]}}},
        {"id": "release", "type": "langgraph", "when": "stages.gate.output.approved",
         "task": {"workflow": {"nodes": [{"name": "note", "kind": "set", "values": {"released": "true"}}]}}},
    ]})
}

fn answer(said: &Said) -> Value {
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

#[track_caller]
fn refused(said: &Said, code: i32, why: &str) {
    assert_eq!(said.code, Some(code), "{} {}", said.out, said.err);
    assert!(said.err.contains(why) || said.out.contains(why), "no {why:?} in {} {}", said.out, said.err);
}

/// Starts it in somebody's name; the execution and what it asks.
async fn ask(site: &Site, by: &str, workflow: &Value) -> (String, Value) {
    let mut command =
        mahavishnu(site.home(), &["run", "--json", "--detach", "--by", by, "-", "--endpoint"]).await;
    command.arg(site.endpoint());
    let said = finished(command, workflow.to_string().as_bytes(), SHORT).await.unwrap();
    let id = answer(&said)["id"].as_str().unwrap().to_owned();
    let listed = wait_for("the approval in the list", async || {
        let listed = answer(&site.mahavishnu(&["approvals", "list", "--execution", &id]).await);
        listed["approvals"].get(0).cloned()
    });
    let asked = listed.await.unwrap();
    (id, asked)
}

#[test]
fn people_decide_by_their_policy_on_the_command_line() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::new(directory.path()).await;
        let _worker = site.worker("one", &[]).await;
        let policy = json!({
            "approvers": ["ann", "ben", "cara"], "quorum": 2, "exclude_requester": true, "require_reason": true,
            "timeout": "1h",
        });
        // One slot is enough for any number that wait.
        let (first, asked) = ask(&site, "ann", &workflow(policy.clone())).await;
        let (_, other) = ask(&site, "dan", &workflow(policy)).await;
        let (id, nonce) = (asked["id"].as_str().unwrap(), asked["nonce"].as_str().unwrap());
        assert_eq!((&asked["policy"]["quorum"], &asked["requested_by"]), (&json!(2), &json!("ann")));
        assert!(asked["expire_time"].is_string(), "{asked:#}");
        let why = answer(&site.mahavishnu(&["explain", &first]).await);
        let sentence = why["sentence"].as_str().unwrap();
        let by = "by 2 of ann, ben, cara, but not who asked for the execution, with a reason, within 1h, then it is rejected";
        assert!(sentence.starts_with("gate waits until ") && sentence.ends_with(by), "{sentence}");
        assert_eq!(why["command"], format!("mahavishnu approvals decide {id} --approve   (or --reject)"));

        let decide = async |by: &str, more: &[&str]| {
            let arguments = [&["approvals", "decide", id, "--approve", "--by", by], more].concat();
            site.mahavishnu(&arguments).await
        };
        let reason: &[&str] = &["--reason", "tests are green"];
        refused(&decide("ann", reason).await, 2, "ann asked for the execution");
        refused(&decide("eve", reason).await, 2, "eve may not decide this; ask ben or cara");
        refused(&decide("ben", &[]).await, 2, "no decision without a reason");
        let stale = other["nonce"].as_str().unwrap();
        refused(
            &decide("ben", &[reason, &["--nonce", stale]].concat()).await,
            1,
            "nonce is that of another pause",
        );
        let one = answer(&decide("ben", &[reason, &["--nonce", nonce]].concat()).await);
        assert_eq!((&one["state"], &one["votes"][0]["decided_by"]), (&json!("STATE_PENDING"), &json!("ben")));
        refused(&decide("ben", reason).await, 2, "ben has decided this before");
        let mut shown = mahavishnu(site.home(), &["approvals", "show", id, "--endpoint"]).await;
        shown.arg(site.endpoint());
        let shown = finished(shown, b"", SHORT).await.unwrap().out;
        for part in ["for 2 of ann, ben, cara", "approved by ben  tests are green", "until ", "nonce "] {
            assert!(shown.contains(part), "no {part:?} in {shown}");
        }
        let two = answer(&decide("cara", &["--reason", "read it"]).await);
        assert_eq!((&two["state"], &two["decided_by"]), (&json!("STATE_APPROVED"), &json!("ben, cara")));
        refused(&decide("cara", reason).await, 1, "was approved before by ben, cara");

        let ended = wait_for("the end", async || {
            let now = answer(&site.mahavishnu(&["executions", "get", &first]).await);
            (now["state"] == "STATE_COMPLETED").then_some(now)
        });
        let output = ended.await.unwrap()["output"].clone();
        let decision = &output["gate"]["decision"];
        assert_eq!(
            (&decision["decided_by"], &decision["reason"]),
            (&json!("ben, cara"), &json!("tests are green; read it"))
        );
        assert_eq!(output["release"]["state"]["released"], true, "{output:#}");
    });
}

#[test]
fn a_deadline_decides_when_nobody_does() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::new(directory.path()).await;
        let _worker = site.worker("one", &[]).await;
        let ran = site.run(workflow(json!({"approvers": ["ann"], "timeout": "1s"}))).await;
        ran.ended_once("execution_completed");
        assert_eq!(ran.output("gate")["approved"], false, "{}", ran.story());
        let timers: Vec<_> = ran.of("timer_fired").map(|event| &event["timer_fired"]["timer"]).collect();
        assert_eq!(timers, ["approval"]);
        let skipped: Vec<_> = ran.of("stage_skipped").map(|event| &event["stage_id"]).collect();
        assert_eq!(skipped, ["release"], "{}", ran.story());
    });
}

#[test]
fn a_fork_does_not_come_past_those_who_approve() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::new(directory.path()).await;
        let _worker = site.worker("one", &[]).await;
        let (id, asked) = ask(&site, "dan", &workflow(json!({"approvers": ["ann"]}))).await;
        let listed = answer(&site.mahavishnu(&["checkpoints", "list", &id, "gate"]).await);
        let checkpoint = listed["checkpoints"][0]["id"].as_str().unwrap();
        let fork = async |more: &[&str]| {
            let arguments = [&["executions", "fork", &id, "--by", "dan"], more].concat();
            site.mahavishnu(&arguments).await
        };
        let at = ["--from", "gate", "--from-checkpoint", checkpoint];
        let yes = ["--state", r#"{"approved": true}"#, "--as-node", "approve"];
        refused(&fork(&[at.as_slice(), &yes].concat()).await, 1, "gate has an approval policy");
        let task = r#"{"workflow": {"nodes": [{"name": "approve", "kind": "set", "values": {"approved": "true"}}]}}"#;
        refused(&fork(&["--from", "gate", "--task", task]).await, 1, "might not ask");

        let decide = ["approvals", "decide", asked["id"].as_str().unwrap(), "--approve", "--by", "ann"];
        answer(&site.mahavishnu(&decide).await);
        let ended = async |id: &str| {
            let said = site.mahavishnu(&["executions", "watch", id]).await;
            assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        };
        ended(&id).await;
        refused(&fork(&["--from", "release", "--input", "x=1"]).await, 1, "fork from gate");
        // What was approved, as it was approved, may be done again.
        let again = answer(&fork(&["--from", "release"]).await);
        assert_eq!(again["stages"][0]["reused"], json!(true), "{again:#}");
        ended(again["id"].as_str().unwrap()).await;
        // From the checkpoint before the question, unchanged, it is asked again.
        let anew = answer(&fork(&at).await)["id"].as_str().unwrap().to_owned();
        let asked = wait_for("to be asked again", async || {
            let listed = answer(&site.mahavishnu(&["approvals", "list", "--execution", &anew]).await);
            listed["approvals"].get(0).cloned()
        });
        assert_eq!(asked.await.unwrap()["policy"]["approvers"], json!(["ann"]));
    });
}
