//! Select, Recommend and Plan: in process, and over gRPC beside an empty call of the same server in the same run:
//! `cargo bench -p mahavishnu-coordinator --bench calls`
//!
//! A real nats-server and a coordinator with two threads; the client shares the machine with them. One call after another gives
//! the times, many at once the calls a second. The empty call is the health check.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Parser;
use mahavishnu_coordinator::Options;
use mahavishnu_core::engine::Registry;
use mahavishnu_core::workflow::{Draft, plan};
use mahavishnu_core::{recommendation, selection};
use mahavishnu_proto::v1::orchestrator_service_client::OrchestratorServiceClient;
use mahavishnu_proto::v1::{PlanRequest, RecommendRequest, SelectRequest, Stage, Workflow};
use mahavishnu_proto::{json, v1};
use mahavishnu_test_support::nats::TestNats;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Calls one after another, of each kind, in rounds so that all kinds see the same machine.
const ROUNDS: usize = 20;
const CALLS: usize = 200;
/// Calls at once, over this many connections.
const CALLERS: usize = 64;
const CONNECTIONS: usize = 4;
const SPELL: Duration = Duration::from_secs(3);

const TEXT: &str = "Need to analyze documents and get approval before the nightly load";
const STAGES: [(&str, &str); 3] = [
    ("llamaindex", r#"{"type": "document_analysis", "docs": ["a.pdf"]}"#),
    (
        "langgraph",
        r#"{"workflow": {"nodes": ["review", "approve"]}, "input": {"of": "${{ stages.llamaindex.output.summary }}"}}"#,
    ),
    ("agno", r#"{"agents": ["implementer"], "task": "${{ stages.langgraph.output.state.plan }}"}"#),
];

/// A coordinator with its defaults.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    options: Options,
}

#[derive(Clone, Copy, PartialEq)]
enum Call {
    Empty,
    Select,
    Recommend,
    Plan,
}

const ALL: [(&str, Call); 4] = [
    ("empty unary call", Call::Empty),
    ("Select", Call::Select),
    ("Recommend", Call::Recommend),
    ("Plan, 3 stages", Call::Plan),
];

#[derive(Clone)]
struct Client {
    health: HealthClient<Channel>,
    orchestrator: OrchestratorServiceClient<Channel>,
}

impl Client {
    async fn connect(address: &str) -> Self {
        let channel =
            Endpoint::from_shared(address.to_owned()).unwrap().tcp_nodelay(true).connect().await.unwrap();
        Self {
            health: HealthClient::new(channel.clone()),
            orchestrator: OrchestratorServiceClient::new(channel),
        }
    }

    async fn call(&mut self, call: Call) {
        match call {
            Call::Empty => drop(self.health.check(HealthCheckRequest::default()).await.unwrap()),
            Call::Select => drop(self.orchestrator.select(select_request()).await.unwrap()),
            Call::Recommend => {
                drop(
                    self.orchestrator.recommend(RecommendRequest { description: TEXT.into() }).await.unwrap(),
                );
            }
            Call::Plan => {
                let request = PlanRequest { workflow: Some(workflow()) };
                drop(self.orchestrator.plan(request).await.unwrap());
            }
        }
    }
}

fn select_request() -> SelectRequest {
    SelectRequest { task_type: "rag_workflow".into(), requires_state: true, ..SelectRequest::default() }
}

fn workflow() -> Workflow {
    let stage = |(engine, task): (&str, &str)| Stage {
        r#type: engine.to_owned(),
        task: Some(json::to_struct(&serde_json::from_str(task).unwrap())),
        ..Stage::default()
    };
    Workflow { stages: STAGES.into_iter().map(stage).collect(), ..v1::Workflow::default() }
}

fn main() {
    in_process();
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    let nats = server.block_on(TestNats::start()).unwrap();
    let arguments = ["coordinator", "--listen", "127.0.0.1:0", "--nats", nats.url()];
    let options = Program::parse_from(arguments).options;
    server.spawn(mahavishnu_coordinator::run(
        options,
        |address| tell.send(address).unwrap(),
        CancellationToken::new(),
    ));
    let address = format!("http://{}", server.block_on(told).unwrap());
    let client = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    client.block_on(async {
        let latencies = one_after_another(&address).await;
        println!("\nover gRPC              p50       p99     to empty   calls/s with {CALLERS} at once");
        let empty = latencies[0].0;
        for ((name, call), (p50, p99)) in ALL.into_iter().zip(latencies) {
            let ratio = p50.as_secs_f64() / empty.as_secs_f64();
            let rate = at_once(&address, call).await;
            println!("{name:<18} {p50:>9.1?} {p99:>9.1?} {ratio:>8.2} x {rate:>12.0}");
        }
    });
    server.shutdown_background();
}

/// What the calls themselves take, with the answer as it is sent.
fn in_process() {
    let registry = Registry::builtin();
    let request = select_request();
    let request = selection::Request {
        task_type: request.task_type,
        requires_state: request.requires_state,
        ..selection::Request::default()
    };
    let draft = mahavishnu_proto::public::draft(Some(workflow())).unwrap();
    println!("in process             p50       p99   and as a message");
    let row = |name: &str, plain: &dyn Fn(), sent: &dyn Fn()| {
        let (p50, p99) = repeat(plain);
        println!("{name:<18} {p50:>9.1?} {p99:>9.1?} {:>12.1?}", repeat(sent).0);
    };
    let select = || selection::select(&registry, black_box(&request)).unwrap();
    row("Select", &|| drop(black_box(select())), &|| drop(black_box(json::to_struct_from(&select()))));
    let recommend = || recommendation::recommend(&registry, black_box(TEXT)).unwrap();
    row("Recommend", &|| drop(black_box(recommend())), &|| {
        drop(black_box(json::to_struct_from(&recommend())))
    });
    let planned = || plan(&Draft::clone(&draft).check(&registry).unwrap(), chrono::Utc::now());
    row("Plan, 3 stages", &|| drop(black_box(planned())), &|| {
        drop(black_box(json::to_struct_from(&planned())))
    });
}

fn repeat(call: &dyn Fn()) -> (Duration, Duration) {
    (0..CALLS).for_each(|_| call());
    let timed = |_| {
        let start = Instant::now();
        call();
        start.elapsed()
    };
    percentiles((0..ROUNDS * CALLS).map(timed).collect())
}

async fn one_after_another(address: &str) -> Vec<(Duration, Duration)> {
    let mut client = Client::connect(address).await;
    let mut times = vec![Vec::new(); ALL.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for ((_, call), times) in ALL.into_iter().zip(&mut times) {
            for _ in 0..CALLS {
                let start = Instant::now();
                client.call(call).await;
                if round > 0 {
                    times.push(start.elapsed());
                }
            }
        }
    }
    times.into_iter().map(percentiles).collect()
}

/// Calls a second, with many at once.
async fn at_once(address: &str, call: Call) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(address).await);
    }
    let end = Instant::now() + SPELL;
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let mut client = clients[n % CONNECTIONS].clone();
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while Instant::now() < end {
                    client.call(call).await;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    calls as f64 / SPELL.as_secs_f64()
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
