//! Coordinators over a real `nats-server`, spoken to over gRPC, with the test as the worker: a program that speaks
//! the bus protocol is one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod approvals;
mod artifacts;
mod checkpoints;
mod coordinator;
mod dead_letters;
mod edge;
mod events;
mod explain;
mod fork;
mod limits;
mod lists;
mod partitions;
mod policies;
mod pools;
mod requests;
mod resume;
mod retention;
mod run;
mod schedules;
mod takeover;
mod worker;

use mahavishnu_bus::{Bus, Options};
use mahavishnu_core::execution::Object;
use mahavishnu_proto::{json as structs, v1};
use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::wait::{in_time, wait_for};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use coordinator::Coordinator;
use events::{collect, durable, kinds, line, numbered};
use worker::{Outcome, Worker};

/// A server and a coordinator.
async fn start() -> (TestNats, Coordinator) {
    let nats = TestNats::start().await.unwrap();
    let coordinator = Coordinator::start(&nats).await;
    (nats, coordinator)
}

/// Waits until everything that the inputs so far ask for is stored, and a coordinator that starts would know that.
async fn settled(nats: &TestNats) {
    let bus = Bus::connect(Options::new(nats.url(), "test")).await.unwrap();
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = raw.get_stream("MAHAVISHNU_HISTORY").await.unwrap();
    let last = stream.get_last_raw_message_by_subject("in.*").await.unwrap().sequence;
    wait_for("every input to be settled", async || {
        let cursors = bus.input_cursors().await.unwrap();
        cursors.iter().all(|cursor| cursor.passed >= last && cursor.waiting.is_empty()).then_some(())
    })
    .await
    .unwrap();
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn structure(value: Value) -> prost_types::Struct {
    structs::to_struct(&object(value))
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A stage of the engine that the tests register.
fn stage(id: &str, needs: &[&str]) -> v1::Stage {
    v1::Stage {
        id: id.into(),
        r#type: "custom".into(),
        task: Some(structure(json!({"of": id}))),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        at_once: needs.is_empty(),
        ..v1::Stage::default()
    }
}

fn workflow(stages: impl IntoIterator<Item = v1::Stage>) -> v1::Workflow {
    v1::Workflow { stages: stages.into_iter().collect(), ..v1::Workflow::default() }
}

/// The `ErrorInfo` reason.
fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, expected: &str) -> Status {
    let status = answer.expect_err("not refused");
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status}");
    status
}
