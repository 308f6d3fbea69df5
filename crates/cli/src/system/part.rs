//! One child of the system: started, watched, started again when it ends unasked, stopped when asked.
//!
//! Invariants: a part that ends unasked is always told; a part that is stopped or dropped leaves no process.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use mahavishnu_provision::process::{Child, Output, log_tail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Pause before the first new start; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A part that was ready for this long starts counting its failures afresh.
const STEADY: Duration = Duration::from_secs(60);
/// How much of a log is shown.
const TAIL_LINES: usize = 3;

/// A part ended and nobody had asked it to.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The part: `coordinator`, `worker of agno`.
    pub part: String,
    /// How it ended.
    pub status: String,
    /// The end of its log.
    pub tail: String,
    /// The whole log.
    pub log: PathBuf,
    /// When it is started again; never, when absent.
    pub again: Option<Duration>,
}

/// Makes a command; gets what the part said when it was first ready, to be started alike.
pub type MakeCommand = Box<dyn Fn(Option<&Value>) -> Command + Send + Sync>;

/// How a part is started.
pub struct Spec {
    /// In words for a user.
    pub name: String,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// How long it may take to stop.
    pub grace: Duration,
    /// Failures in a row after which it is given up; without it never.
    pub tries: Option<u32>,
    /// Makes the command.
    pub command: MakeCommand,
}

/// A part that is kept running.
pub struct Part {
    ready: watch::Receiver<Option<Value>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Part {
    /// Starts it and keeps it running. `kill` ends it at once.
    pub fn start(spec: Spec, notices: mpsc::UnboundedSender<Notice>, kill: CancellationToken) -> Self {
        let (said, ready) = watch::channel(None);
        let stop = CancellationToken::new();
        let keeper = Keeper { spec, said, notices, stop: stop.clone(), kill };
        Self { ready, stop, task: tokio::spawn(keeper.keep()) }
    }

    /// A part that is no child with a ready line: `run` gets the token that asks it to stop.
    pub fn task<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { ready: watch::channel(None).1, stop: stop.clone(), task: tokio::spawn(run(stop)) }
    }

    /// What it said when it was ready; nothing when it was given up before.
    pub async fn ready(&self) -> Option<Value> {
        self.when_ready().await
    }

    /// Like [`Part::ready`], apart from the part.
    pub fn when_ready(&self) -> impl Future<Output = Option<Value>> + use<> {
        let mut ready = self.ready.clone();
        async move { ready.wait_for(Option::is_some).await.ok().and_then(|value| value.clone()) }
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // A task of ours that panicked has dropped its child, which kills it.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum End {
    Asked,
    Unasked { status: String, was_ready: bool },
}

struct Keeper {
    spec: Spec,
    said: watch::Sender<Option<Value>>,
    notices: mpsc::UnboundedSender<Notice>,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Keeper {
    async fn keep(self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let End::Unasked { status, was_ready } = self.once().await else { return };
            failures = if was_ready && began.elapsed() > STEADY { 1 } else { failures + 1 };
            let again = self.spec.tries.is_none_or(|tries| failures < tries).then(|| pause(failures));
            // Whoever listened may be gone already; then nobody needs to know.
            let _ = self.notices.send(Notice {
                part: self.spec.name.clone(),
                status,
                tail: log_tail(&self.spec.log, TAIL_LINES),
                log: self.spec.log.clone(),
                again,
            });
            let Some(pause) = again else { return };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// From its start to its end.
    async fn once(&self) -> End {
        let before = self.said.borrow().clone();
        let command = (self.spec.command)(before.as_ref());
        let mut child = match Child::spawn(command, Output::Piped, Output::Log(self.spec.log.clone())) {
            Ok(child) => child,
            Err(error) => return End::Unasked { status: error.to_string(), was_ready: false },
        };
        let mut lines = child.take_stdout().map(|stdout| BufReader::new(stdout).lines());
        let mut was_ready = false;
        loop {
            tokio::select! {
                line = next(&mut lines) => match line {
                    Some(line) => was_ready |= self.hear(&line),
                    None => lines = None,
                },
                status = child.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return End::Unasked { status, was_ready };
                }
                () = self.stop.cancelled() => {
                    tokio::select! {
                        stopped = child.stop(self.spec.grace) => {
                            if let Err(error) = stopped {
                                tracing::warn!(part = self.spec.name, %error, "cannot be stopped");
                            }
                        }
                        // Dropped while it stops, it is killed.
                        () = self.kill.cancelled() => {}
                    }
                    return End::Asked;
                }
            }
        }
    }

    fn hear(&self, line: &str) -> bool {
        match serde_json::from_str::<Value>(line) {
            Ok(said) if said.get("ready").is_some() => {
                self.said.send_replace(Some(said));
                true
            }
            _ => false,
        }
    }
}

/// The next line; never, once there are no more.
async fn next(lines: &mut Option<Lines<BufReader<ChildStdout>>>) -> Option<String> {
    match lines {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

fn pause(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(directory: &std::path::Path, script: &'static str, tries: u32) -> Spec {
        Spec {
            name: "test".into(),
            log: directory.join("test.log"),
            grace: Duration::from_secs(5),
            tries: Some(tries),
            command: Box::new(move |_| {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script]);
                command
            }),
        }
    }

    #[tokio::test]
    async fn a_part_that_says_so_is_ready_and_stops_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let (send, mut notices) = mpsc::unbounded_channel();
        let script = r#"echo noise; echo '{"ready": "x", "address": 7}'; exec sleep 1000"#;
        let part = Part::start(spec(directory.path(), script, 1), send, CancellationToken::new());
        assert_eq!(part.ready().await.unwrap()["address"], 7);
        part.stop().await;
        assert!(notices.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_part_that_ends_unasked_is_told_with_the_end_of_its_log_and_started_again() {
        let directory = tempfile::tempdir().unwrap();
        let (send, mut notices) = mpsc::unbounded_channel();
        let script = "echo the reason >&2; exit 3";
        let part = Part::start(spec(directory.path(), script, 2), send, CancellationToken::new());
        let first = notices.recv().await.unwrap();
        assert_eq!(first.again, Some(FIRST_PAUSE));
        assert!(first.status.contains('3') && first.tail.contains("the reason"), "{first:?}");
        let last = notices.recv().await.unwrap();
        assert_eq!(last.again, None);
        assert!(part.ready().await.is_none());
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(3), FIRST_PAUSE * 4);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
