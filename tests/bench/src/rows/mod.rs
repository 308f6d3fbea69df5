//! What is measured.
//!
//! Every row starts the programs that it needs and ends them, on one NATS for all; so a row can be run alone.

mod calls;
mod engines;
mod history;
mod latency;
mod lifecycle;
mod memory;
mod raw;
mod shapes;
mod throughput;
mod watchers;

use futures::future::{BoxFuture, FutureExt as _};

use crate::floor;
use crate::report::Report;
use crate::system::{Mode, Nats, Parts};

/// What rows share.
pub struct Bench {
    /// Starts programs.
    pub parts: Parts,
    /// The server.
    pub nats: Nats,
    /// How it is run.
    pub mode: Mode,
    /// Finished executions in the store, for the row that is about them.
    pub history: usize,
    /// What came out.
    pub report: Report,
}

impl Bench {
    /// Makes the stream of the bare prototype, if it is not there.
    pub async fn floor_stream(&self) -> anyhow::Result<()> {
        let client = async_nats::connect(self.nats.url().split(',').collect::<Vec<_>>()).await?;
        floor::prepare(&async_nats::jetstream::new(client), self.mode.replicas()).await
    }
}

/// A row.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// Measures it.
    pub measure: for<'a> fn(&'a mut Bench) -> BoxFuture<'a, anyhow::Result<()>>,
}

/// All, in the order in which they are measured.
pub const ROWS: [Row; 10] = [
    Row { name: "raw", measure: |bench| raw::measure(bench).boxed() },
    Row { name: "latency", measure: |bench| latency::measure(bench).boxed() },
    Row { name: "throughput", measure: |bench| throughput::measure(bench).boxed() },
    Row { name: "calls", measure: |bench| calls::measure(bench).boxed() },
    Row { name: "shapes", measure: |bench| shapes::measure(bench).boxed() },
    Row { name: "watchers", measure: |bench| watchers::measure(bench).boxed() },
    Row { name: "lifecycle", measure: |bench| lifecycle::measure(bench).boxed() },
    Row { name: "memory", measure: |bench| memory::measure(bench).boxed() },
    Row { name: "engines", measure: |bench| engines::measure(bench).boxed() },
    Row { name: "history", measure: |bench| history::measure(bench).boxed() },
];
