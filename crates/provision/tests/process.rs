//! Children end with their parent, and groups with their child.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mahavishnu_provision::Error;
use mahavishnu_provision::process::{Child, Output, log_tail};
use support::{Role, alive, eventually, role};
use tokio::io::{AsyncBufReadExt as _, BufReader};

fn shell(script: &str, name: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, name]);
    command
}

/// A child with a child of its own, both deaf to SIGTERM; says a line when both are there.
fn deaf_family(mark: &str) -> Command {
    shell(r#"trap '' TERM; sh -c 'trap "" TERM; echo here; while :; do sleep 1000; done' "$0" & wait"#, mark)
}

fn unique(name: &str) -> String {
    format!("provision-{name}-{}", std::process::id())
}

async fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.take_stdout().unwrap()).read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
#[ignore = "no test: the process that another test starts and kills"]
async fn role_of_the_parent() {
    let Some(mark) = role() else { return };
    let mut child = Child::spawn(deaf_family(mark.to_str().unwrap()), Output::Piped, Output::Null).unwrap();
    first_line(&mut child).await;
    println!("READY");
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_parent_leaves_nobody() {
    let mark = unique("orphan");
    let mut parent = Role::start("role_of_the_parent", Path::new(&mark), &[]);
    parent.line("READY");
    // The child and its own child.
    assert_eq!(alive(&mark).len(), 2, "{:?}", alive(&mark));
    parent.kill();
    eventually("nobody is left", || alive(&mark).is_empty());
}

#[tokio::test]
async fn stop_gives_the_child_time_and_then_ends_the_group() {
    let mark = unique("polite");
    let script = r#"sleep 1000 & trap 'echo bye; exit 7' TERM; echo here; while :; do wait; done"#;
    let mut child = Child::spawn(shell(script, &mark), Output::Piped, Output::Null).unwrap();
    let mut lines = BufReader::new(child.take_stdout().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("here"));
    let status = child.stop(Duration::from_secs(60)).await.unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("bye"));
    // The sleeping grandchild holds the pipe as long as it lives.
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn stop_forces_a_child_that_does_not_listen() {
    let mark = unique("deaf");
    let mut child = Child::spawn(deaf_family(&mark), Output::Piped, Output::Null).unwrap();
    first_line(&mut child).await;
    let status = child.stop(Duration::from_millis(50)).await.unwrap();
    assert!(!status.success());
    eventually("nobody is left", || alive(&mark).is_empty());
}

#[tokio::test]
async fn a_dropped_child_is_gone_with_its_group() {
    let mark = unique("dropped");
    let mut child = Child::spawn(deaf_family(&mark), Output::Piped, Output::Null).unwrap();
    first_line(&mut child).await;
    drop(child);
    eventually("nobody is left", || alive(&mark).is_empty());
}

#[tokio::test]
async fn output_goes_to_the_log_and_its_end_can_be_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("child.log");
    for text in ["one", "two; echo three >&2"] {
        let output = Output::Log(log.clone());
        let mut child =
            Child::spawn(shell(&format!("echo {text}"), "logged"), output.clone(), output).unwrap();
        assert!(child.wait().await.unwrap().success());
    }
    assert_eq!(log_tail(&log, 2), "two | three");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_at_once() {
    let error = Child::spawn(Command::new("/no/such/program"), Output::Null, Output::Null).unwrap_err();
    assert!(
        matches!(&error, Error::Spawn { program, .. } if program == Path::new("/no/such/program")),
        "{error}"
    );
}
