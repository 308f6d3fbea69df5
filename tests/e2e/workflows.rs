//! Every pattern and example of the specification, on the real engines, by the command that a user types.
//!
//! The model is too small to be right; what is asserted comes from documents, rows, people and routes. Words and
//! numbers are such that stand in one document only.

use std::path::Path;

use mahavishnu_test_support::system::{Said, finished, provision};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::ran::Ran;
use crate::support::{MODEL, SHORT, run, system, test, workflow};

#[test]
fn quick_start_reads_the_document_asks_and_works() {
    test(async {
        // The YAML form has the same plan.
        let ran = run(&workflow("quick-start.json"), &["--approve"]).await.completed();
        let analysis = ran.output("llamaindex");
        stands_in(analysis, "Larkspur");
        stands_in(&analysis["documents"][0], "11.2 to 3.6 seconds");
        requires(analysis, "doc1.pdf", 1, "A spare key must be handed out with every first key");
        assert_eq!(ran.path("langgraph"), ["analyze", "approve"]);
        let decided = ran.output("langgraph");
        assert_eq!(decided["approved"], true);
        // The template was filled with what the first stage really found.
        assert_eq!(decided["state"]["findings"], analysis["summary"]);
        by_model(decided);
        wrote(ran.output("agno"), "implementer");
    });
}

#[test]
fn pattern_1_goes_on_when_a_person_approves() {
    test(async {
        let ran = run(&workflow("pattern-1.yaml"), &["--approve"]).await.completed();
        let analysis = ran.output("llamaindex");
        requires(analysis, "requirements.pdf", 1, "valid for 847 seconds");
        requires(analysis, "requirements.pdf", 1, "Argon2id, using 64 MiB");
        requires(analysis, "requirements.pdf", 2, "audit log for 412 days");
        assert_eq!(analysis["documents"][0]["pages"], 2);
        let review = ran.output("langgraph");
        assert_eq!(ran.path("langgraph"), ["review", "approve", "implement"]);
        assert_eq!(review["state"]["requirements"], analysis["summary"]);
        by_model(review);
        let asked = ran.of("approval_requested").next().unwrap();
        stands_in(&asked["approval_requested"]["approvals"][0]["payload"], "847 seconds");
    });
}

#[test]
fn pattern_1_ends_when_a_person_rejects() {
    test(async {
        let ran = run(&workflow("pattern-1.yaml"), &["--reject"]).await.completed();
        assert_eq!(ran.path("langgraph"), ["review", "approve"]);
        let review = ran.output("langgraph");
        assert_eq!(review["approved"], false);
        assert!(review["state"]["results"]["implement"].is_null(), "{review}");
        assert_eq!(ran.of("approval_decided").count(), 1);
    });
}

#[test]
fn pattern_2_routes_to_sessions_when_nobody_asks_for_tokens() {
    test(async {
        let ran = run(&workflow("pattern-2.yaml"), &[]).await.completed();
        let found = ran.output("llamaindex");
        assert_eq!(found["answered"], true);
        stands_in(&found["answer"], "gatekeeper-lite");
        assert_eq!(found["sources"][0]["file"], "auth.md");
        by_model(found);
        assert_eq!(ran.path("langgraph"), ["analyze", "route", "implement_session"]);
        assert_eq!(ran.of("approval_requested").count(), 0);
    });
}

#[test]
fn pattern_2_routes_to_tokens_when_the_input_says_so() {
    test(async {
        let ran = run(&workflow("pattern-2.yaml"), &["--input", "use_jwt=true"]).await.completed();
        assert_eq!(ran.path("langgraph"), ["analyze", "route", "implement_jwt"]);
        by_model(ran.output("langgraph"));
    });
}

#[test]
fn pattern_3_reads_the_whole_catalogue_and_goes_through_four_nodes() {
    test(async {
        let ran = run(&workflow("pattern-3.yaml"), &[]).await.completed();
        let etl = ran.output("prefect");
        let api = system().await.api.items.len();
        assert_eq!(etl["rows"], json!({"database1": 5, "api1": api, "releases": 3}));
        fires_at_two(etl);
        assert_eq!(ran.path("langgraph"), ["extract", "transform", "load", "verify"]);
        by_model(ran.output("langgraph"));
    });
}

#[test]
fn example_1_deploys_only_what_a_person_approves() {
    test(async {
        let ran = run(&workflow("example-1.yaml"), &["--approve"]).await.completed();
        wrote(ran.output("agno"), "tester");
        assert_eq!(ran.path("langgraph"), ["review", "approve", "deploy"]);
        assert_eq!(
            ran.output("langgraph")["state"]["test_results"]["content"],
            ran.output("agno")["content"]
        );
    });
}

#[test]
fn example_1_deploys_nothing_that_a_person_rejects() {
    test(async {
        let ran = run(&workflow("example-1.yaml"), &["--reject"]).await.completed();
        assert_eq!(ran.path("langgraph"), ["review", "approve"]);
        assert!(ran.output("langgraph")["state"]["results"]["deploy"].is_null());
    });
}

#[test]
fn example_2_reads_a_pdf_and_a_docx_and_writes() {
    test(async {
        let ran = run(&workflow("example-2.yaml"), &[]).await.completed();
        let analysis = ran.output("llamaindex");
        let names: Vec<_> =
            analysis["documents"].as_array().unwrap().iter().map(|document| &document["name"]).collect();
        assert_eq!(names, ["spec.pdf", "requirements.docx"]);
        stands_in(&analysis["documents"][0], "KG_UNKNOWN_AUDIENCE");
        requires(analysis, "spec.pdf", 1, "clock difference of at most 11 seconds");
        requires(analysis, "requirements.docx", 1, "sessions of a colleague within 30 seconds");
        stands_in(&analysis["documents"][1], "7,300 euro");
        wrote(ran.output("agno"), "python-pro");
    });
}

#[test]
fn example_3_loads_the_rows_of_the_database_and_of_the_live_api() {
    test(async {
        let before = system().await.api.requests();
        let ran = run(&workflow("example-3.yaml"), &[]).await.completed();
        let etl = ran.output("prefect");
        let api = &system().await.api;
        assert!(api.requests() > before, "the API was asked");
        assert_eq!(etl["rows"], json!({"database1": 5, "api1": api.items.len()}));
        fires_at_two(etl);
        let target = Path::new(etl["target"]["path"].as_str().unwrap());
        let sign_ins =
            rows(target, "SELECT id, account, method, succeeded, millis, _stage FROM database1 ORDER BY id")
                .await;
        assert_eq!(sign_ins.len(), 5);
        assert_eq!(sign_ins[3], json!([4, "eva", "hardware key", 1, 74, "prefect"]));
        let orders =
            rows(target, "SELECT order_id, token, cents, _execution FROM api1 ORDER BY order_id").await;
        let served: Vec<Value> = api
            .items
            .iter()
            .map(|item| json!([item["order_id"], item["token"], item["cents"], ran.id()]))
            .collect();
        assert_eq!(orders, served, "the rows that the server made for this run are in the target");
    });
}

/// The demo, approved: run once, looked at by more than one test.
pub async fn demo() -> &'static Ran {
    static DEMO: OnceCell<Ran> = OnceCell::const_new();
    DEMO.get_or_init(async || run(&workflow("demo.yaml"), &["--approve"]).await.completed()).await
}

#[test]
fn demo_uses_all_four_engines_when_approved() {
    test(async {
        let ran = demo().await;
        let analysis = ran.output("analysis");
        stands_in(&analysis["answers"][0]["answer"], "847 seconds");
        stands_in(
            &analysis["answers"][1]["answer"],
            "A release steward must approve every Brindlewick deployment",
        );
        by_model(analysis);
        assert_eq!(ran.path("review"), ["review", "approve", "implement"]);
        wrote(ran.output("work"), "implementer");
        record(ran).await;
        let end = ran.of("execution_completed").next().unwrap();
        assert_eq!(&end["execution_completed"]["output"]["record"], ran.output("record"));
    });
}

#[test]
fn demo_skips_the_work_when_rejected_and_records_all_the_same() {
    test(async {
        let ran = run(&workflow("demo.yaml"), &["--reject"]).await.completed();
        assert_eq!(ran.path("review"), ["review", "approve"]);
        assert_eq!(ran.skipped(), ["work"]);
        assert!(!ran.started().contains("work"), "no worker began the rejected branch");
        record(&ran).await;
    });
}

/// The forms that no sample has, to compare what they yield with what is declared; `run` does that.
#[test]
fn forms_beyond_the_samples_yield_what_is_declared() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("forms.yaml");
        let text = "
stages:
  - id: counted
    type: prefect
    task:
      type: dag
      schedule: 0 2 * * *
      sources: [database1]
      tasks: {methods: {sql: SELECT DISTINCT method FROM database1}, some: {sql: SELECT * FROM methods LIMIT 1, needs: [methods]}}
  - id: routed
    type: langgraph
    when: size(stages.counted.output.tasks.methods) > 0
    task:
      workflow: {nodes: [{name: keep, kind: set, values: {first: 'state.some[0].method'}}]}
      input: {some: '${{ stages.counted.output.tasks.some }}'}
  - id: asked
    type: llamaindex
    task: {type: rag_workflow, query: 'How do I sign in with a ${{ stages.routed.output.state.first }}?', top_k: 2}
  - id: team
    type: agno
    task: {agents: [tester, reviewer], mode: broadcast, task: '${{ stages.asked.output.answer }}'}
";
        std::fs::write(&file, text).unwrap();
        let ran = run(&file, &[]).await.completed();
        assert_eq!(
            ran.output("routed")["state"]["first"],
            ran.output("counted")["tasks"]["some"][0]["method"]
        );
    });
}

/// What the demo's ETL makes of the sample rows, as it stands in the target.
async fn record(ran: &Ran) {
    let record = ran.output("record");
    assert_eq!(record["rows"], json!({"database1": 5, "releases": 3}));
    let target = Path::new(record["target"]["path"].as_str().unwrap());
    let loaded =
        rows(target, "SELECT method, sign_ins, succeeded, approved_releases FROM result ORDER BY method")
            .await;
    assert_eq!(
        loaded,
        [json!(["hardware key", 1, 1, 2]), json!(["jwt", 3, 2, 2]), json!(["session", 1, 1, 2])]
    );
}

/// Rows of a SQLite file, read by the Python that wrote it.
async fn rows(file: &Path, sql: &str) -> Vec<Value> {
    const READ: &str = "import json, sqlite3, sys; from pathlib import Path\n\
        c = sqlite3.connect(Path(sys.argv[1]).as_uri() + '?mode=ro', uri=True)\n\
        print(json.dumps(c.execute(sys.argv[2]).fetchall()))";
    let environment = mahavishnu_worker_prefect::ENGINE.environment();
    let python = provision().unwrap().environment(&environment).await.unwrap();
    let mut command = std::process::Command::new(python);
    command.args(["-c", READ]).arg(file).arg(sql);
    let Said { code, out, err } = finished(command, b"", SHORT).await.unwrap();
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

fn stands_in(value: &Value, words: &str) {
    assert!(value.to_string().contains(words), "{words:?} is not in {value:#}");
}

/// A requirement with these words was found on this page.
fn requires(analysis: &Value, document: &str, page: u64, words: &str) {
    let mut all = analysis["requirements"].as_array().unwrap().iter();
    let found = all.any(|requirement| {
        requirement["document"] == document
            && requirement["page"] == page
            && requirement["text"].as_str().is_some_and(|text| text.contains(words))
    });
    assert!(found, "no requirement {words:?} on page {page} of {document}: {:#}", analysis["requirements"]);
}

/// It says which model answered.
fn by_model(output: &Value) {
    assert_eq!(output["model"], MODEL, "{output:#}");
}

/// An agent wrote something, with the real model: tokens were read and written.
fn wrote(output: &Value, agent: &str) {
    by_model(output);
    assert_eq!(output["ran"], json!([agent]));
    assert!(!output["content"].as_str().unwrap().trim().is_empty());
    assert!(
        output["tokens"]["input"].as_u64().unwrap() > 0 && output["tokens"]["output"].as_u64().unwrap() > 0
    );
}

/// A scheduled task ran once, now, and says when it would be next.
fn fires_at_two(etl: &Value) {
    let times = etl["next_fire_times"].as_array().unwrap();
    assert!(!times.is_empty());
    for time in times {
        assert!(time.as_str().unwrap().contains("T02:00:00"), "{time}");
    }
}
