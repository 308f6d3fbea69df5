//! The servers are what they promise: JetStream that keeps acknowledged writes over a kill.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, stream};
use mahavishnu_test_support::nats::{TestCluster, TestNats};

async fn connect(urls: &[&str]) -> jetstream::Context {
    let client = async_nats::connect(urls).await.unwrap();
    jetstream::new(client)
}

/// Asks again until a replica leads the stream: after the death of all nodes that takes a few seconds.
async fn messages(context: &jetstream::Context) -> u64 {
    let ask = async || {
        Ok::<_, async_nats::Error>(context.get_stream("kept").await?.get_info().await?.state.messages)
    };
    let patient = async {
        loop {
            match ask().await {
                Ok(messages) => return messages,
                Err(error) => println!("not yet: {error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), patient).await.expect("no leader within 60 s")
}

#[tokio::test]
async fn a_server_keeps_what_it_acknowledged() {
    let mut nats = TestNats::start().await.unwrap();
    let url = nats.url().to_owned();
    let context = connect(&[&url]).await;
    let config = stream::Config { name: "kept".into(), subjects: vec!["kept".into()], ..Default::default() };
    context.create_stream(config).await.unwrap();
    context.publish("kept", "one".into()).await.unwrap().await.unwrap();
    nats.kill().await.unwrap();
    assert!(async_nats::connect(&url).await.is_err());
    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    assert_eq!(messages(&connect(&[&url]).await).await, 1);
}

#[tokio::test]
async fn servers_of_several_tests_do_not_meet() {
    let first = TestNats::start().await.unwrap();
    let second = TestNats::start().await.unwrap();
    assert_ne!(first.url(), second.url());
    let config =
        || stream::Config { name: "kept".into(), subjects: vec!["kept".into()], ..Default::default() };
    connect(&[first.url()]).await.create_stream(config()).await.unwrap();
    assert!(connect(&[second.url()]).await.get_stream("kept").await.is_err());
}

#[tokio::test]
async fn a_test_that_panics_leaves_no_server_and_no_data() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let panicking = tokio::spawn(async move {
        let nats = TestNats::start().await.unwrap();
        tell.send((nats.url().to_owned(), nats.directory().to_owned())).unwrap();
        panic!("as a test does");
    });
    let (url, directory) = told.await.unwrap();
    assert!(panicking.await.unwrap_err().is_panic());
    let address = url.trim_start_matches("nats://").to_owned();
    let gone = async { while tokio::net::TcpStream::connect(&address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the server is still there");
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_cluster_replicates_and_survives_a_node_and_then_all() {
    let mut cluster = TestCluster::start().await.unwrap();
    let context = connect(&cluster.urls()).await;
    let config = stream::Config {
        name: "kept".into(),
        subjects: vec!["kept".into()],
        num_replicas: 3,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    // A new stream's leader is elected after the answer; until then nobody listens on its subjects. A duplicate of a publish
    // whose answer was lost would fail the count below, so the message has an id.
    let publish = async {
        loop {
            let message = jetstream::message::PublishMessage::build().payload("one".into()).message_id("one");
            match context.send_publish("kept", message).await.unwrap().await {
                Ok(_) => break,
                Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), publish).await.expect("no leader");

    cluster.node(0).unwrap().kill().await.unwrap();
    cluster.node(0).unwrap().restart().await.unwrap();
    cluster.kill().await.unwrap();
    cluster.restart().await.unwrap();
    assert_eq!(messages(&connect(&cluster.urls()).await).await, 1);
}
