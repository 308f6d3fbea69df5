//! Starts the host, follows it, starts it again; in `shared` isolation replaces it when it has grown too large.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use mahavishnu_provision::process::{Child, Output};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::process::ChildStderr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::frame::{Frames, FromHost, ToHost};
use super::{Bounds, Options, State};
use crate::Isolation;
use crate::memory::{self, Exceeded};
use crate::secrets::Redactor;

/// A cold disk makes the first import slow.
const WARM_UP: Duration = Duration::from_secs(120);
/// A warm host opens an attempt within milliseconds.
const OPENING: Duration = Duration::from_secs(30);
/// An event loop that does not turn for so long stands still: some engines compute on it for a second or two.
const STANDSTILL: Duration = Duration::from_secs(5);
/// A longer line of the log becomes several, so that a flood without an end of line is not gathered in memory.
const MAX_LINE: u64 = 64 << 10;
/// Between starts of a host that ends by itself.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
/// A host that lived this long earned a fresh start.
const HEALTHY: Duration = Duration::from_secs(60);

pub struct Supervisor {
    options: Options,
    state: watch::Sender<State>,
}

/// A host that is warm.
pub struct Live {
    /// Versions of what it runs.
    pub versions: BTreeMap<String, String>,
    /// As it was started.
    pub bounds: Bounds,
    /// A host that is not to be opened any more ends when nobody holds this, so every connection does.
    orders: mpsc::UnboundedSender<Order>,
    spare: Mutex<Option<oneshot::Receiver<Greeted>>>,
    signs: Signs,
}

/// What is known of a host beside its state.
#[derive(Clone, Default)]
struct Signs {
    waiting: Waiting,
    /// An attempt was opened in it.
    served: CancellationToken,
    /// Its event loop was found to stand still.
    stuck: CancellationToken,
    /// It is being ended for what it holds.
    exceeded: watch::Sender<Option<Exceeded>>,
}

/// What a host is told on its server connection; by the token of a connection.
enum Order {
    Open(String),
    Interrupt(String),
}

impl Order {
    fn frame(&self) -> ToHost<'_> {
        match self {
            Self::Open(token) => ToHost::Open { token },
            Self::Interrupt(token) => ToHost::Interrupt { token },
        }
    }
}

/// A new connection.
pub struct Greeted {
    pub frames: Frames,
    pub token: String,
    /// The process behind it.
    pub pid: i32,
}

/// Attempt connections that were asked for and have not come, by token.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Greeted>>>>;

impl Live {
    /// A connection for one attempt: the spare one if there is one. None if this host ends before.
    pub async fn open(&self) -> anyhow::Result<Option<Greeted>> {
        self.signs.served.cancel();
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wanted = spare.unwrap_or_else(|| self.request());
        if self.bounds.isolation == Isolation::Process {
            self.make_ready();
        }
        match tokio::time::timeout(OPENING, wanted).await {
            Ok(Ok(greeted)) => Ok(Some(greeted)),
            Ok(Err(_)) if self.orders.is_closed() => Ok(None),
            Ok(Err(_)) => bail!("the attempt's process ended before the attempt began"),
            Err(_) => bail!("the engine host does not open an attempt within {OPENING:?}"),
        }
    }

    /// Asks for a connection for the next attempt, unless there is one. In `shared` isolation an attempt that runs is held up by it.
    pub fn make_ready(&self) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.request());
    }

    /// What it held, if it is being ended for that.
    pub fn exceeded(&self) -> watch::Receiver<Option<Exceeded>> {
        self.signs.exceeded.subscribe()
    }

    /// Interrupts an attempt in `shared` isolation, and asks the host for a connection, as any attempt would. If it gives none, it
    /// is ended, and with it the attempts that could not go on either. Until then nobody is given a connection from before.
    pub fn interrupt(self: Arc<Self>, token: String) {
        if self.bounds.isolation == Isolation::Shared {
            // A host that has ended has nothing to interrupt.
            let _ = self.orders.send(Order::Interrupt(token));
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
            tokio::spawn(async move {
                if tokio::time::timeout(STANDSTILL, self.request()).await.is_err() {
                    self.signs.stuck.cancel();
                }
            });
        }
    }

    /// What is asked of a host that has ended is given up at once.
    fn request(&self) -> oneshot::Receiver<Greeted> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let (sender, receiver) = oneshot::channel();
        self.signs.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), sender);
        if self.orders.send(Order::Open(token.clone())).is_err() {
            self.signs.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
        }
        receiver
    }
}

impl Supervisor {
    pub const fn new(options: Options, state: watch::Sender<State>) -> Self {
        Self { options, state }
    }

    /// Keeps a host running, for ever.
    pub async fn run(self) {
        let supervisor = Arc::new(self);
        let mut failures = 0_usize;
        // They get no new attempts.
        let mut outgrown = JoinSet::new();
        loop {
            let began = std::time::Instant::now();
            let (outgrows, has_outgrown) = oneshot::channel();
            let host = tokio::spawn(Arc::clone(&supervisor).one_host(outgrows));
            let mut host = AbortOnDropHandle::new(host);
            let end = tokio::select! {
                end = &mut host => end.unwrap_or_else(|error| Err(error.into())),
                Ok(exceeded) = has_outgrown => {
                    tracing::info!(%exceeded, "the next attempts are in a new engine host");
                    supervisor.state.send_replace(State::Starting);
                    while outgrown.try_join_next().is_some() {}
                    outgrown.spawn(retire(host));
                    failures = 0;
                    continue;
                }
            };
            if let State::Unavailable(_) = &*supervisor.state.borrow() {
                return;
            }
            supervisor.state.send_replace(State::Starting);
            failures = if began.elapsed() > HEALTHY { 0 } else { failures + 1 };
            let pause = PAUSES.get(failures.min(PAUSES.len() - 1)).copied().unwrap_or_default();
            match end {
                Ok(()) => tracing::warn!(?pause, "the engine host ended; it is started again"),
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        ?pause,
                        "the engine host; it is started again"
                    );
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One host from start to end.
    async fn one_host(self: Arc<Self>, outgrows: oneshot::Sender<Exceeded>) -> anyhow::Result<()> {
        // A unix socket's path is short by law; a state directory's may be long.
        let directory =
            tempfile::Builder::new().prefix("mahavishnu-").tempdir().context("socket directory")?;
        let socket = directory.path().join("host.sock");
        let listener = UnixListener::bind(&socket).context("socket")?;
        let mut command = Command::new(&self.options.python);
        command
            .args(["-m", "mahavishnu_host", "--engine", &self.options.engine, "--socket"])
            .arg(&socket)
            .args(["--isolation", self.options.bounds.isolation.as_str()])
            .env("PYTHONPATH", &self.options.sources)
            .env_remove("PYTHONDONTWRITEBYTECODE")
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        if let Some(own) = &self.options.own {
            command.args(["--module", &own.module, "--project"]).arg(&own.project);
        }
        let mut child = Child::spawn(command, Output::Null, Output::Piped).context("engine host")?;
        let stderr = child.take_stderr().context("standard error")?;
        let log =
            tokio::spawn(forward_log(stderr, self.options.engine.clone(), self.options.redactor.clone()));

        let (signs, process) = (Signs::default(), child.id());
        let result = tokio::select! {
            result = self.follow(&listener, &signs) => result,
            () = signs.stuck.cancelled() => Err(anyhow!("code of an attempt that was stopped holds its event loop")),
            exceeded = self.outgrown(process, &signs, outgrows) => Err(anyhow!("{exceeded}")),
            status = child.wait() => match status {
                Ok(status) => Err(anyhow!("it ended with {status}")),
                Err(error) => Err(error.into()),
            },
        };
        // Whoever waits for a connection learns that there will be none.
        signs.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let _ = child.kill().await;
        let _ = log.await;
        result
    }

    /// Looks after what a host in `shared` isolation holds, from its first attempt on. Past the ceiling it `outgrows`, and what
    /// runs in it may end; well past it this returns, and nothing may.
    async fn outgrown(
        &self,
        process: Option<u32>,
        signs: &Signs,
        outgrows: oneshot::Sender<Exceeded>,
    ) -> Exceeded {
        let (Bounds { isolation: Isolation::Shared, memory: Some(ceiling) }, Some(process)) =
            (self.options.bounds, process)
        else {
            return std::future::pending().await;
        };
        signs.served.cancelled().await;
        let exceeded = memory::exceeded(process, ceiling).await;
        // The sender of a host that nobody waits for any more is not missed.
        let _ = outgrows.send(exceeded);
        let exceeded = memory::exceeded(process, ceiling + ceiling / 2).await;
        signs.exceeded.send_replace(Some(exceeded));
        exceeded
    }

    async fn follow(&self, listener: &UnixListener, signs: &Signs) -> anyhow::Result<()> {
        let accepted = tokio::time::timeout(WARM_UP, listener.accept()).await;
        let (stream, _) =
            accepted.map_err(|_| anyhow!("it is not warm after {WARM_UP:?}"))?.context("socket")?;
        let mut server = Frames::new(stream);
        let versions = match server.read().await.context("first frame")? {
            Some(FromHost::ServerHello { pid, versions, warm_ms }) => {
                tracing::info!(pid, warm_ms, engine = self.options.engine, "engine host is warm");
                versions
            }
            Some(FromHost::ServerError { reason, message }) => {
                let why = format!("{reason}: {message}");
                self.state.send_replace(State::Unavailable(why.clone()));
                bail!(why);
            }
            other => bail!("unexpected first frame {other:?}"),
        };
        let (orders, mut ordered) = mpsc::unbounded_channel();
        self.state.send_replace(State::Ready(Arc::new(Live {
            versions,
            bounds: self.options.bounds,
            orders,
            spare: Mutex::default(),
            signs: signs.clone(),
        })));
        loop {
            tokio::select! {
                order = ordered.recv() => {
                    let Some(order) = order else { return Ok(()) };
                    server.write(&order.frame()).await.context("server connection")?;
                }
                accepted = listener.accept() => {
                    let (stream, _) = accepted.context("socket")?;
                    tokio::spawn(greet(Frames::new(stream), Arc::clone(&signs.waiting)));
                }
                frame = server.read() => match frame.context("server connection")? {
                    None => return Ok(()),
                    Some(FromHost::Exited { token, status, signal }) => {
                        tracing::debug!(?status, ?signal, "an attempt's process ended");
                        // If it ended before it said hello, nobody should wait for it.
                        signs.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
                    }
                    Some(other) => bail!("unexpected frame {other:?}"),
                },
            }
        }
    }
}

/// Lets a host that gets no new attempts end with the last one in it.
async fn retire(host: AbortOnDropHandle<anyhow::Result<()>>) {
    match host.await {
        Ok(Ok(())) => {
            tracing::info!("the last attempt in the old engine host has ended, and so has the host")
        }
        Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "the old engine host"),
        Err(error) => tracing::warn!(%error, "the old engine host"),
    }
}

/// Hands a new connection to whoever asked for it.
async fn greet(mut frames: Frames, waiting: Waiting) {
    match frames.read().await {
        Ok(Some(FromHost::Hello { token, pid })) => {
            let waiter = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
            if let Some(waiter) = waiter {
                // Nobody waits any more: the connection closes, and the child ends.
                let _ = waiter.send(Greeted { frames, token, pid });
            }
        }
        other => tracing::warn!(?other, "unexpected first frame of an attempt"),
    }
}

/// What the engine and user code print is the worker's log.
async fn forward_log(stderr: ChildStderr, engine: String, redactor: Redactor) {
    let mut stderr = BufReader::new(stderr);
    // A secret may begin at the end of what is not a whole line.
    let (mut line, mut begun) = (Vec::new(), String::new());
    while (&mut stderr).take(MAX_LINE).read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        let mut shown = redactor.piece(&mut begun, text.trim_end());
        if line.ends_with(b"\n") {
            shown.push_str(&std::mem::take(&mut begun));
        }
        tracing::info!(target: "mahavishnu_worker::host::output", engine, "{shown}");
        line.clear();
    }
}
