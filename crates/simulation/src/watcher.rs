//! A watcher: follows an execution on any coordinator, loses its connection, comes back with its cursor.

use mahavishnu_core::id::ExecutionId;

use crate::check::{Seen, Watched, seen};
use crate::coordinator::Coordinator;
use crate::environment::Environment;
use crate::mutation::Mutation;

/// Somebody who watches one execution.
pub struct Watcher {
    pub watched: Watched,
    connection: Option<Connection>,
}

struct Connection {
    coordinator: usize,
    life: u32,
    /// The number of the next event; not known before the history is loaded.
    next: Option<u64>,
}

impl Watcher {
    pub fn new(execution: ExecutionId, name: String) -> Self {
        let watched = Watched { execution, watcher: name, events: Vec::new(), whole: false };
        Self { watched, connection: None }
    }

    /// Connects, or looks for the next event.
    pub fn watch(&mut self, coordinators: &mut [Coordinator], env: &mut Environment) {
        if self.watched.whole {
            return;
        }
        let known = |connection: &Connection| coordinators[connection.coordinator].life == connection.life;
        if !self.connection.as_ref().is_some_and(known) || env.fault("watcher disconnected", 20) {
            let coordinator = env.rng.usize(..coordinators.len());
            let life = coordinators[coordinator].life;
            self.connection = Some(Connection { coordinator, life, next: None });
        }
        let Some(connection) = &mut self.connection else { return };
        let coordinator = &mut coordinators[connection.coordinator];
        let id = &self.watched.execution;
        if coordinator.stopped || coordinator.load(id, env) != Some(true) {
            return;
        }
        let caught_up = coordinator.has_caught_up(id, env);
        let Some(memory) = coordinator.memory.get(id) else { return };
        let after = self.watched.events.len() as u64;
        let next = match connection.next {
            Some(next) => next,
            None if after > memory.state.sequence && !caught_up => return,
            None if after > memory.state.sequence => {
                // OUT_OF_RANGE for a cursor that this watcher got: seen as an event that cannot be.
                let what =
                    Seen { sequence: 0, kind: "out_of_range", stage: String::new(), attempt: 0, void: true };
                self.watched.events.push(what);
                self.watched.whole = true;
                return;
            }
            None if env.makes(Mutation::CursorForgotten) && after > 0 => memory.state.sequence + 1,
            None if env.makes(Mutation::CursorInclusive) && after > 0 => after,
            None => after + 1,
        };
        connection.next = Some(next);
        if let Some((record, void)) = memory.records.get(usize::try_from(next).unwrap() - 1) {
            self.watched.events.push(seen(&record.fact, next, void.is_some()));
            self.watched.whole = record.fact.is_terminal() && void.is_none();
            connection.next = Some(next + 1);
        }
    }
}
