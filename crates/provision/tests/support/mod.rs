//! What the tests share: parents to be killed (this test binary, run again in a role), and waiting for a condition.

#![allow(dead_code)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mahavishnu_provision::{Options, Provision};

/// Set in a child that plays a role; its value is the role's argument.
const ROLE: &str = "PROVISION_TEST_ROLE";

/// This test binary, running one test as another process.
pub struct Role {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Role {
    /// Runs the ignored test of this name with an argument and more variables.
    pub fn start(test: &str, argument: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(ROLE, argument)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The rest of the first line that starts with the word.
    pub fn line(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.split_once(word).map(|(_, rest)| rest.trim().to_owned()) {
                return rest;
            }
            line.clear();
        }
        panic!("the role ended without saying {word}");
    }

    /// SIGKILL: no destructor, no handler runs.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The argument of the role that this process plays; `None` when somebody runs the ignored tests.
pub fn role() -> Option<std::path::PathBuf> {
    std::env::var_os(ROLE).map(Into::into)
}

/// Living processes (no zombies) whose command line contains the text.
pub fn alive(text: &str) -> Vec<String> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,pgid=,stat=,args="]).output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let living = output
        .lines()
        .filter(|line| line.split_whitespace().nth(2).is_some_and(|stat| !stat.starts_with('Z')));
    living.filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Polls a condition until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::yield_now();
    }
}

/// The state directory that all test runs share, so that tools are fetched once.
pub fn shared() -> Provision {
    Provision::open(Options {
        state_dir: std::env::var_os("MAHAVISHNU_HOME").map(Into::into),
        ..Options::default()
    })
    .unwrap()
}
