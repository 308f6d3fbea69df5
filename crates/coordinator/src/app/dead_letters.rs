//! Tasks that were given up.

use std::sync::Arc;

use mahavishnu_bus::Trace;
use mahavishnu_bus::summaries::Kind;
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::v1;

use super::{App, Error, Page, Result};
use crate::driver::{History, dead_letters};

impl App {
    /// Dead letters, the latest first, and the token of the next page.
    ///
    /// # Errors
    /// When the page is not one.
    pub async fn list_dead_letters(
        &self,
        page: &Page,
        execution: &str,
    ) -> Result<(Vec<v1::DeadLetter>, String)> {
        let admits = |letter: &v1::DeadLetter| execution.is_empty() || letter.execution_id == execution;
        let (mut letters, next) = self.list(Kind::DeadLetter, page, execution, admits).await?;
        for letter in &mut letters {
            self.tell_redriven(letter).await?;
        }
        Ok((letters, next))
    }

    /// One dead letter, with its task.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn dead_letter(&self, id: &str) -> Result<v1::DeadLetter> {
        let missing = || Error::NotFound {
            what: "dead letter",
            name: id.to_owned(),
            hint: "list what there is: mahavishnu dead-letters list".to_owned(),
        };
        let (execution, _) = id.rsplit_once('.').ok_or_else(missing)?;
        let history = self.find(execution).await.map_err(|error| match error {
            Error::NotFound { .. } => missing(),
            error => error,
        })?;
        let letters = history.with_folded(|folded| dead_letters(&history.id, folded));
        let mut letter = letters.into_iter().find(|letter| letter.id == id).ok_or_else(missing)?;
        self.tell_redriven(&mut letter).await?;
        Ok(letter)
    }

    /// Continues the execution of a dead letter.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] when the message was no task of its execution.
    pub async fn redrive(&self, id: &str, trace: &Trace) -> Result<Arc<History>> {
        let letter = self.dead_letter(id).await?;
        if letter.stage_id.is_empty() {
            let message = "the message was no task of its execution, which went on without it".to_owned();
            return Err(Error::Precondition { reason: "NOTHING_TO_RETRY", message });
        }
        self.retry(&letter.execution_id, trace).await
    }

    async fn tell_redriven(&self, letter: &mut v1::DeadLetter) -> Result<()> {
        let Ok(execution) = ExecutionId::parse(&letter.execution_id) else { return Ok(()) };
        if let Some(next) = self.continued_by(&execution).await? {
            letter.set_state(v1::dead_letter::State::Redriven);
            letter.redriven_as = next.to_string();
        }
        Ok(())
    }
}
