//! One connected trace per execution: from the client over coordinator and worker into the engine host.

use std::collections::BTreeSet;

use mahavishnu_test_support::otlp::{Span, SpanKind};

use crate::support::{SOON, system, test};
use crate::workflows::demo;

/// The stages of the demo with their engines and how often each is sent: `review` goes on after its approval.
const STAGES: [(&str, &str, usize); 4] = [
    ("analysis", "llamaindex", 1),
    ("review", "langgraph", 2),
    ("work", "agno", 1),
    ("record", "prefect", 1),
];

#[test]
fn an_execution_over_four_engines_is_one_trace_without_a_missing_parent() {
    test(async {
        let ran = demo().await;
        let accepted = ran.of("execution_accepted").next().unwrap();
        let trace = accepted["execution_accepted"]["trace_id"].as_str().unwrap().to_owned();
        assert_eq!(trace.len(), 32, "the accepted event tells the trace");
        let collector = &system().await.collector;
        let spans = collector.wait_for(SOON, |all| whole(all, ran.id(), &trace)).await.unwrap();

        let clients: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
        assert_eq!(clients.len(), 1, "one span above all: {clients:#?}");
        assert_eq!((clients[0].service.as_str(), clients[0].kind), ("mahavishnu", SpanKind::Client));
        let server = one(&spans, |span| span.name == "mahavishnu.v1.OrchestratorService/Execute");
        assert_eq!(
            (server.service.as_str(), server.kind, &server.parent),
            ("mahavishnu-coordinator", SpanKind::Server, &clients[0].id)
        );
        for (stage, engine, times) in STAGES {
            let of_stage = |name: String, kind| -> Vec<&Span> {
                let all = spans.iter().filter(|span| span.name == name && span.kind == kind);
                all.filter(|span| span.attributes.get("mahavishnu.stage.id").is_some_and(|id| id == stage))
                    .collect()
            };
            let sent = of_stage(format!("send task.{engine}"), SpanKind::Producer);
            let processed = of_stage(format!("process task.{engine}"), SpanKind::Consumer);
            let hosted = of_stage(format!("run {engine}"), SpanKind::Internal);
            assert_eq!((sent.len(), processed.len(), hosted.len()), (times, times, times), "{stage}");
            for ((sent, service), below) in
                [(&sent, "mahavishnu-coordinator"), (&processed, "mahavishnu-worker")]
                    .into_iter()
                    .zip([&processed, &hosted])
            {
                assert!(sent.iter().all(|span| span.service == service), "{sent:#?}");
                assert_eq!(parents(below), ids(sent), "{stage}: each continues the one above");
            }
            assert!(
                hosted.iter().all(|span| span.service == format!("mahavishnu-host-{engine}")),
                "{hosted:#?}"
            );
            // The engine's own spans are below the host's.
            let own = spans.iter().filter(|span| ids(&hosted).contains(span.parent.as_str())).count();
            assert!(own > 0, "{engine} told nothing of itself");
        }
    });
}

/// All spans of the demo's trace, once nothing is missing.
fn whole(all: &[Span], execution: &str, trace: &str) -> Result<Vec<Span>, String> {
    let spans = connected(all, execution, trace)?;
    for (stage, engine, times) in STAGES {
        let named = spans.iter().filter(|span| span.name == format!("run {engine}")).count();
        if named != times {
            return Err(format!("{named} of {times} spans `run {engine}` of {stage}"));
        }
    }
    Ok(spans)
}

/// All spans of an execution's trace: there is no other, it begins at the client, and every parent is there.
pub fn connected(all: &[Span], execution: &str, trace: &str) -> Result<Vec<Span>, String> {
    let about =
        |span: &&Span| span.attributes.get("mahavishnu.execution.id").is_some_and(|id| id == execution);
    let traces: BTreeSet<&str> = all.iter().filter(about).map(|span| span.trace.as_str()).collect();
    if traces != BTreeSet::from([trace]) {
        return Err(format!("spans of the execution are in the traces {traces:?}, not in {trace} alone"));
    }
    let spans: Vec<Span> = all.iter().filter(|span| span.trace == trace).cloned().collect();
    let known: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let lost: Vec<_> = spans
        .iter()
        .filter(|span| !span.parent.is_empty() && !known.contains(span.parent.as_str()))
        .map(|span| format!("{} of {}", span.name, span.service))
        .collect();
    if !lost.is_empty() {
        return Err(format!("no parent is known of {lost:?}"));
    }
    if !spans.iter().any(|span| span.parent.is_empty()) {
        return Err("the client's span has not come".to_owned());
    }
    Ok(spans)
}

fn one(spans: &[Span], wanted: impl Fn(&Span) -> bool) -> &Span {
    let found: Vec<_> = spans.iter().filter(|span| wanted(span)).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0]
}

fn ids<'a>(spans: &[&'a Span]) -> BTreeSet<&'a str> {
    spans.iter().map(|span| span.id.as_str()).collect()
}

fn parents<'a>(spans: &[&'a Span]) -> BTreeSet<&'a str> {
    spans.iter().map(|span| span.parent.as_str()).collect()
}
