//! The real server, from the shipped configuration files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;

use mahavishnu_provision::Error;
use mahavishnu_provision::nats::{Durability, NatsServer, Options, version};
use support::{Role, alive, eventually, role, shared};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn options(directory: &Path) -> Options {
    Options::new(shared().nats_server().await.unwrap(), directory)
}

async fn monitor(server: &NatsServer, path: &str) -> String {
    let address = server.monitor_url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn starts_with_the_durability_asked_for() {
    for (durability, expected) in [
        (Durability::Process, r#""sync_interval": 120000000000"#),
        (Durability::Power, r#""sync_always": true"#),
    ] {
        let directory = tempfile::Builder::new().prefix("blank and \"quote\" ").tempdir().unwrap();
        let server =
            NatsServer::start(&Options { durability, ..options(directory.path()).await }).await.unwrap();
        assert!(server.url().starts_with("nats://127.0.0.1:"), "{}", server.url());
        let jsz = monitor(&server, "/jsz").await;
        assert!(jsz.contains(expected), "{jsz}");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn one_server_per_directory() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path()).await;
    let first = NatsServer::start(&options).await.unwrap();
    let error = NatsServer::start(&options).await.unwrap_err();
    assert!(matches!(error, Error::LockHeld { .. }), "{error}");
    first.kill().await.unwrap();
    NatsServer::start(&options).await.unwrap();
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Some(taken.local_addr().unwrap().port());
    let error = NatsServer::start(&Options { port, ..options(directory.path()).await }).await.unwrap_err();
    assert!(
        matches!(&error, Error::Ended { detail, .. } if detail.contains("address already in use")),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "no test: the process that another test starts and kills"]
async fn role_of_the_parent() {
    let Some(directory) = role() else { return };
    let server = NatsServer::start(&options(&directory).await).await.unwrap();
    println!("READY {}", server.url());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_parent_leaves_no_server_and_its_data_can_be_used_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().to_str().unwrap();
    for _ in 0..3 {
        let mut parent = Role::start("role_of_the_parent", directory.path(), &[]);
        let url = parent.line("READY");
        parent.kill();
        let next = NatsServer::start(&options(directory.path()).await).await.unwrap();
        assert_ne!(next.url(), url);
        assert_eq!(alive(mark).len(), 1, "{:?}", alive(mark));
        next.kill().await.unwrap();
    }
    eventually("no server is left", || alive(mark).is_empty());
}

#[tokio::test]
async fn the_server_is_new_enough() {
    let version = version(&shared().nats_server().await.unwrap()).await.unwrap();
    assert!((version.0, version.1) >= mahavishnu_provision::nats::OLDEST);
}
