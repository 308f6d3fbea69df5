//! The real way: a fresh state directory, packages from the index, processes that die in between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use include_dir::{Dir, include_dir};
use mahavishnu_provision::doctor::{self, Check};
use mahavishnu_provision::model::ModelServer;
use mahavishnu_provision::nats::Durability;
use mahavishnu_provision::progress::{Event, State};
use mahavishnu_provision::{Environment, Error, Options, Provision, SharedModel};
use support::{Role, alive, role, shared};

const SIX: &str = "six==1.17.0 \
    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274 \
    --hash=sha256:ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81";

static SOURCES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/tests/support");

type Events = Arc<Mutex<Vec<Event>>>;

fn fresh(root: &Path) -> (Provision, Events) {
    let events = Events::default();
    let heard = Arc::clone(&events);
    let progress = Arc::new(move |event| heard.lock().unwrap().push(event));
    let options =
        Options { state_dir: Some(root.to_owned()), progress: Some(progress), ..Options::default() };
    (Provision::open(options).unwrap(), events)
}

/// A state directory that has the tools already, linked from the shared one: fetching them is another test's matter.
async fn with_tools(root: &Path) -> (Provision, Events) {
    let (provision, events) = fresh(root);
    let shared = shared();
    // An environment needs uv, so this fetches the tools if they are not there.
    shared.environment(&six()).await.unwrap();
    for entry in std::fs::read_dir(shared.state().bin()).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            std::os::unix::fs::symlink(entry.path(), provision.state().bin().join(entry.file_name()))
                .unwrap();
        }
    }
    (provision, events)
}

fn six() -> Environment {
    Environment::new("six", SIX)
}

fn import_six(interpreter: &Path) -> String {
    let output =
        Command::new(interpreter).args(["-c", "import six; print(six.__version__)"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn names(directory: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with(".lock"));
    names.sort();
    names
}

fn get<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.check == name).unwrap_or_else(|| panic!("no check {name} in {checks:?}"))
}

#[tokio::test]
async fn an_empty_state_directory_is_filled_once_and_then_silent() {
    let directory = tempfile::tempdir().unwrap();
    let (provision, events) = fresh(directory.path());
    let before = doctor::examine(&provision, &[six()], Durability::Process).await;
    assert!(before.iter().all(|check| check.ok), "{before:?}");
    assert!(get(&before, "environment of six").detail.contains("not there yet"));
    assert_eq!(get(&before, "network").detail, "the package index answers");

    let other = Environment::new("other", SIX);
    let interpreters = provision.environments(&[six(), other]).await.unwrap();
    let interpreter = interpreters[0].clone();
    assert!(interpreters[1] != interpreter);
    assert_eq!(import_six(&interpreter), "1.17.0");
    assert_eq!(import_six(&interpreters[1]), "1.17.0");
    // Compiled at installation, so that the first import is fast.
    let site =
        interpreter.parent().unwrap().join("../lib").join(format!("python{}", version(&provision).await));
    assert!(site.join("site-packages/__pycache__").read_dir().unwrap().next().is_some());
    assert!(provision.nats_server().await.unwrap().is_file());

    let told: Vec<Event> = std::mem::take(&mut events.lock().unwrap());
    let last = told.iter().rev().find(|event| event.step == "environment of six").unwrap();
    assert_eq!(last.state, State::Done);

    // Another process: nothing to say, no network needed.
    let (again, events) = fresh(directory.path());
    assert_eq!(again.environment(&six()).await.unwrap(), interpreter);
    assert_eq!(*events.lock().unwrap(), []);
    let after = doctor::examine(&again, &[six()], Durability::Power).await;
    assert!(after.iter().all(|check| check.ok && check.check != "network"), "{after:?}");
    assert!(get(&after, "nats-server durability").detail.contains("sync_interval always"));
}

async fn version(provision: &Provision) -> String {
    let (major, minor, _) = provision.python().await.unwrap().version;
    format!("{major}.{minor}")
}

#[tokio::test]
async fn asked_at_once_it_is_built_once() {
    let directory = tempfile::tempdir().unwrap();
    let (one, first_events) = with_tools(directory.path()).await;
    let (two, second_events) = fresh(directory.path());
    let (first, second) = (six(), six());
    let (first, second) = tokio::join!(one.environment(&first), two.environment(&second));
    assert_eq!(first.unwrap(), second.unwrap());
    let installed = |events: &Events| {
        let is_installation =
            |event: &&Event| matches!(&event.state, State::Detail(text) if text.starts_with("Installed"));
        events.lock().unwrap().iter().filter(is_installation).count()
    };
    assert_eq!(installed(&first_events) + installed(&second_events), 1);
    assert_eq!(names(one.state().env()).len(), 1);
}

#[tokio::test]
#[ignore = "no test: the process that another test starts and kills"]
async fn role_of_the_builder() {
    let Some(root) = role() else { return };
    // Stands still in the middle of the build, until it is killed.
    let progress = Arc::new(|event: Event| {
        if matches!(&event.state, State::Detail(text) if text.starts_with("Installed")) {
            println!("INSTALLED");
            loop {
                std::thread::park();
            }
        }
    });
    let options = Options { state_dir: Some(root), progress: Some(progress), ..Options::default() };
    let built = Provision::open(options).unwrap().environment(&six()).await;
    panic!("built without a break: {built:?}");
}

#[tokio::test]
async fn a_build_that_was_killed_is_started_afresh() {
    let directory = tempfile::tempdir().unwrap();
    let (provision, _) = with_tools(directory.path()).await;
    let mut builder = Role::start("role_of_the_builder", directory.path(), &[]);
    builder.line("INSTALLED");
    builder.kill();
    let left = names(provision.state().env());
    assert!(
        left.len() == 1 && left[0].starts_with(".building-six-"),
        "the build was not cut short: {left:?}"
    );

    let interpreter = provision.environment(&six()).await.unwrap();
    assert_eq!(import_six(&interpreter), "1.17.0");
    let left = names(provision.state().env());
    assert!(left.len() == 1 && left[0].starts_with("six-"), "{left:?}");
    assert_eq!(alive(directory.path().to_str().unwrap()), Vec::<String>::new());
}

#[tokio::test]
async fn an_environment_whose_python_was_removed_is_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let (provision, _) = with_tools(directory.path()).await;
    let interpreter = provision.environment(&six()).await.unwrap();
    std::fs::remove_file(&interpreter).unwrap();
    std::os::unix::fs::symlink("/removed/python", &interpreter).unwrap();
    assert_eq!(provision.environment(&six()).await.unwrap(), interpreter);
    assert_eq!(import_six(&interpreter), "1.17.0");
}

#[tokio::test]
async fn a_file_that_is_not_the_locked_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (provision, events) = with_tools(directory.path()).await;
    let forged = format!("six==1.17.0 --hash=sha256:{}", "0".repeat(64));
    let error = provision.environment(&Environment::new("forged", forged)).await.unwrap_err();
    assert!(matches!(error, Error::HashMismatch { .. }), "{error}");
    assert_eq!(names(provision.state().env()), Vec::<String>::new());
    assert_eq!(events.lock().unwrap().last().unwrap().state, State::Failed);
}

#[tokio::test]
async fn a_package_without_a_hash_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (provision, _) = with_tools(directory.path()).await;
    provision.environment(&Environment::new("loose", "six==1.17.0")).await.unwrap_err();
}

#[tokio::test]
#[ignore = "no test: the process that another test starts and kills"]
async fn role_of_the_lonely() {
    let Some(root) = role() else { return };
    let (provision, _) = fresh(&root);
    match provision.environment(&six()).await {
        Err(error) => println!("ERROR {error} -> {}", error.advice()),
        Ok(_) => println!("ERROR none"),
    }
    let checks = doctor::examine(&provision, &[six()], Durability::Process).await;
    println!("DOCTOR {}", get(&checks, "network").ok);
}

#[tokio::test]
async fn without_a_network_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    with_tools(directory.path()).await;
    // An index that refuses connections, named in pip's own variable, and a cache that knows nothing.
    let cache = directory.path().join("cache");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let variables = [
        ("PIP_INDEX_URL", format!("http://{closed}/simple")),
        ("UV_CACHE_DIR", cache.to_str().unwrap().to_owned()),
        ("UV_HTTP_RETRIES", "0".to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut lonely = Role::start("role_of_the_lonely", directory.path(), &variables);
    let said = lonely.line("ERROR");
    assert!(
        said.contains("the package index cannot be reached") && said.contains("check the network"),
        "{said}"
    );
    assert_eq!(lonely.line("DOCTOR"), "false");
}

#[tokio::test]
async fn sources_are_written_once_under_the_name_of_their_content() {
    let directory = tempfile::tempdir().unwrap();
    let (provision, _) = fresh(directory.path());
    let (first, second) = tokio::join!(provision.sources(&SOURCES), provision.sources(&SOURCES));
    let written = first.unwrap();
    assert_eq!(written, second.unwrap());
    assert_eq!(std::fs::read_to_string(written.join("mod.rs")).unwrap(), include_str!("support/mod.rs"));
    assert_eq!(names(provision.state().hosts()).len(), 1);
}

#[tokio::test]
async fn the_model_server_starts_and_stops() {
    let server = ModelServer::start(&shared()).await.unwrap();
    assert!(server.base_url().starts_with("http://127.0.0.1:") && server.base_url().ends_with("/v1"));
    assert!(!server.model().is_empty());
    let address = server.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    tokio::net::TcpStream::connect(&address).await.unwrap();
    server.stop().await.unwrap();
    tokio::net::TcpStream::connect(&address).await.unwrap_err();
}

#[tokio::test]
async fn everybody_on_a_machine_uses_one_model_server() {
    let reach = async |base_url: &str| {
        let address = base_url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
        tokio::net::TcpStream::connect(address).await
    };
    let (first, second) = (SharedModel::new(shared()), SharedModel::new(shared()));
    let (ours, theirs) = tokio::join!(first.base_url(), second.base_url());
    let ours = ours.unwrap();
    assert_eq!(ours, theirs.unwrap());
    reach(&ours).await.unwrap();
    // Whichever of the two keeps it: when it goes, the other one finds or starts a server again.
    drop(first);
    let mut again = second.base_url().await.unwrap();
    while reach(&again).await.is_err() {
        again = second.base_url().await.unwrap();
    }
}
