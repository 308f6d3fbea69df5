//! What each server of a cluster has. Servers that hold different records at rest have lost, or made, what was acknowledged:
//! a breach that no coordinator can mend, and of which a client sees something else than the judge.

use std::collections::BTreeMap;
use std::mem::discriminant;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use mahavishnu_bus::log::Stored;
use mahavishnu_bus::{Bus, Error, Options};
use mahavishnu_core::execution::Record;
use mahavishnu_core::id::ExecutionId;
use mahavishnu_simulation::check::Logged;

use crate::system::System;

/// Reads at the same time.
const READS: usize = 16;

/// Every history of which a server has other records than the one that was judged. A server answers from what it has
/// itself, unless it knows that it is behind.
pub async fn compare(system: &System, histories: &BTreeMap<ExecutionId, Vec<Logged>>) -> Result<Vec<String>> {
    let mut different = Vec::new();
    let servers: Vec<&str> = system.nats_urls().split(',').collect();
    if servers.len() < 2 {
        return Ok(different);
    }
    for server in servers {
        let bus = Bus::connect(Options::new(server, "chaos")).await.context("a server")?;
        let found = histories.iter().map(|(id, history)| {
            let bus = &bus;
            async move {
                let has = match bus.history(id, 0).await {
                    Ok(stored) => stored.into_iter().flat_map(Stored::records).collect(),
                    Err(Error::NotFound) => Vec::new(),
                    Err(error) => return Some(format!("{server} does not tell {id}: {error}")),
                };
                let judged: Vec<&Record> = history.iter().map(|logged| &logged.record).collect();
                let same = |(one, other): (&Record, &&Record)| {
                    one.position == other.position && discriminant(&one.fact) == discriminant(&other.fact)
                };
                let alike = has.len() == judged.len() && has.iter().zip(&judged).all(same);
                let positions = |record: &Record| record.position;
                (!alike).then(|| {
                    format!(
                        "{server} has of {id} the positions {:?}, the judge read {:?}",
                        has.iter().map(positions).collect::<Vec<_>>(),
                        judged.iter().map(|record| record.position).collect::<Vec<_>>()
                    )
                })
            }
        });
        let found: Vec<_> = futures::stream::iter(found).buffer_unordered(READS).collect().await;
        different.extend(found.into_iter().flatten());
    }
    Ok(different)
}
