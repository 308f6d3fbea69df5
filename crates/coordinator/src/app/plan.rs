//! What a workflow would do.

use chrono::Utc;
use mahavishnu_core::id::Queue;
use mahavishnu_core::workflow::plan::QueueWorkers;
use mahavishnu_core::workflow::{Draft, Plan, plan};

use super::{App, Result};

impl App {
    /// Checks a workflow and plans it, with what only a server knows: who is there, and how long stages took lately.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] with every violation.
    pub fn plan(&self, draft: Draft) -> Result<Plan> {
        let workflow = draft.check(&*self.registry)?;
        let mut plan = plan(&workflow, Utc::now());
        plan.expect(&self.registry, |queue| self.measurements.of(queue));
        let workers = |queue: Queue| {
            let live = self.workers.of_queue(&queue).len();
            let start = (live == 0).then(|| self.registry.worker(&queue));
            QueueWorkers { engine: queue.engine, pool: queue.pool, live, start }
        };
        plan.workers = Some(plan.queues().into_iter().map(workers).collect());
        Ok(plan)
    }

    /// What to say when nobody can take the tasks of this queue; `None` when somebody can.
    pub fn no_worker(&self, queue: &Queue) -> Option<String> {
        let start = || {
            let whose = in_pool(queue);
            format!("no worker for {whose} is connected; start one: {}", self.registry.worker(queue))
        };
        (!self.workers.any(queue)).then(start)
    }
}

/// A queue in words.
pub(super) fn in_pool(queue: &Queue) -> String {
    match &queue.pool {
        None => queue.engine.to_string(),
        Some(pool) => format!("{} in pool {pool}", queue.engine),
    }
}
