//! What a workflow would do.

use chrono::Utc;
use mahavishnu_core::id::EngineName;
use mahavishnu_core::workflow::plan::EngineWorkers;
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
        plan.expect(&self.registry, |engine| self.measurements.of(engine));
        let workers = |engine: &EngineName| {
            let live = self.workers.of(engine.as_str()).len();
            let start = (live == 0).then(|| self.registry.worker(engine));
            EngineWorkers { engine: engine.clone(), live, start }
        };
        plan.workers = Some(plan.engines().into_iter().map(workers).collect());
        Ok(plan)
    }

    /// What to say when nobody can take this engine's tasks; `None` when somebody can.
    pub fn no_worker(&self, engine: &EngineName) -> Option<String> {
        let start =
            || format!("no worker for {engine} is connected; start one: {}", self.registry.worker(engine));
        (!self.workers.any(engine.as_str())).then(start)
    }
}
