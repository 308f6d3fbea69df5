//! Schedules as resources.
//!
//! Invariant: a change is stored over the revision that it was made from, together with its request id. What is stored wakes
//! by itself, so that whoever dies right after leaves nothing undone.

mod requests;
mod spec;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use mahavishnu_core::id::{ArtifactId, ExecutionId, ScheduleId};
use mahavishnu_core::schedule::{Events, MAX_QUEUE, Request, Skip, Slot, State};
use mahavishnu_core::violation::{Reason, Violations};

use requests::{Answer, name, replayed, request};
pub use spec::Spec;

use super::{App, Error, Page, Result};
use crate::driver::schedules::{execution_id, read, write};

/// Longest reason for a pause, in characters.
const MAX_REASON: usize = 1_000;

/// A schedule with its name and revision.
pub struct Standing {
    /// Its id.
    pub id: ScheduleId,
    /// Which revision.
    pub revision: u64,
    /// How it stands.
    pub state: State,
}

impl Standing {
    /// The execution of a slot.
    pub fn execution(&self, slot: &Slot) -> Option<ExecutionId> {
        execution_id(&self.id, self.state.created, slot).ok()
    }
}

impl App {
    /// Makes a schedule.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::AlreadyExists`]; [`Error::RequestIdReused`].
    pub async fn create_schedule(
        &self,
        id: &str,
        spec: Spec,
        paused: bool,
        requester: &str,
        request_id: &str,
    ) -> Result<Standing> {
        let id = name(id, request_id)?;
        let (definition, requester) = self.definition(spec, requester).await?;
        let request = request("create", request_id, &(&definition, paused, &requester))?;
        loop {
            let after = match self.bus.schedule(&id).await {
                Ok(kept) => {
                    let state = read(&kept)?;
                    if !state.deleted {
                        if replayed(&state, &request)?.is_some() {
                            return Ok(Standing { id, revision: kept.revision, state });
                        }
                        return Err(Error::AlreadyExists {
                            what: "schedule",
                            hint: format!(
                                "change it: mahavishnu schedules update {id}; or choose another id"
                            ),
                            name: id.to_string(),
                        });
                    }
                    kept.revision
                }
                Err(mahavishnu_bus::Error::NotFound) => 0,
                Err(error) => return Err(error.into()),
            };
            let mut state = State::new(definition.clone(), Utc::now(), paused, &requester);
            state.requests.push_back(request.clone());
            match write(&self.bus, &id, &state, after).await {
                Ok(_) => return self.schedule(id.as_str()).await,
                Err(mahavishnu_bus::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn schedule(&self, id: &str) -> Result<Standing> {
        let parsed = ScheduleId::parse(id).map_err(|_| Error::no_schedule(id))?;
        let standing = self.standing(parsed).await?;
        if standing.state.deleted { Err(Error::no_schedule(id)) } else { Ok(standing) }
    }

    /// Schedules by id, and the token of the next page.
    ///
    /// # Errors
    /// When the page is not one.
    pub async fn list_schedules(&self, page: &Page) -> Result<(Vec<Standing>, String)> {
        let mut violations = Violations::default();
        let size = page.size(&mut violations);
        violations.into_result(())?;
        let mut all = Vec::new();
        for kept in self.bus.schedules().await? {
            match read(&kept) {
                Ok(state) if state.deleted => {}
                Ok(state) => all.push(Standing { id: kept.id, revision: kept.revision, state }),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "unreadable schedule"),
            }
        }
        all.retain(|standing| standing.id.as_str() > page.token.as_str());
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let more = all.len() > size;
        all.truncate(size);
        let token = all.last().filter(|_| more).map(|last| last.id.to_string()).unwrap_or_default();
        Ok((all, token))
    }

    /// Replaces what a schedule does. `expected` is the revision that the caller saw; 0 for any.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`]; [`Error::Precondition`] for another revision.
    pub async fn update_schedule(
        &self,
        id: &str,
        spec: Spec,
        expected: u64,
        requester: &str,
        request_id: &str,
    ) -> Result<Standing> {
        let (definition, requester) = self.definition(spec, requester).await?;
        let request = request("update", request_id, &(&definition, expected, &requester))?;
        let change = |standing: &mut Standing, now| {
            if expected != 0 && expected != standing.revision {
                return Err(Error::Precondition {
                    reason: "SCHEDULE_CHANGED",
                    message: format!(
                        "the schedule is at revision {}, not {expected}; look at it again",
                        standing.revision
                    ),
                });
            }
            standing.state.let_go(now, Skip::Paused);
            standing.state.definition = definition.clone();
            standing.state.requested_by.clone_from(&requester);
            Ok(Answer::default())
        };
        self.change(id, request, change).await.map(|(standing, _)| standing)
    }

    /// No slot fires from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn pause_schedule(&self, id: &str, reason: &str, request_id: &str) -> Result<Standing> {
        let request = request("pause", request_id, &reason)?;
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let change = |standing: &mut Standing, _| {
            standing.state.paused = true;
            standing.state.note.clone_from(&reason);
            Ok(Answer::default())
        };
        self.change(id, request, change).await.map(|(standing, _)| standing)
    }

    /// Slots fire again.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn resume_schedule(&self, id: &str, request_id: &str) -> Result<Standing> {
        let request = request("resume", request_id, &())?;
        let change = |standing: &mut Standing, now| {
            standing.state.let_go(now, Skip::Paused);
            standing.state.paused = false;
            standing.state.note.clear();
            Ok(Answer::default())
        };
        self.change(id, request, change).await.map(|(standing, _)| standing)
    }

    /// Ends a schedule.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_schedule(&self, id: &str, request_id: &str) -> Result<()> {
        let request = request("delete", request_id, &())?;
        let change = |standing: &mut Standing, _| {
            standing.state.deleted = true;
            standing.state.queue.clear();
            Ok(Answer::default())
        };
        self.change(id, request, change).await.map(drop)
    }

    /// Starts an execution now; it exists when this returns.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn trigger_schedule(&self, id: &str, request_id: &str) -> Result<ExecutionId> {
        let request = request("trigger", request_id, &())?;
        let change =
            |standing: &mut Standing, now| Ok(Answer { slot: Some(standing.state.trigger(now)), count: 0 });
        let (standing, answer) = self.change(id, request, change).await?;
        let execution = answer.slot.and_then(|slot| standing.execution(&slot));
        execution.ok_or_else(|| Error::no_execution(id))
    }

    /// Makes up for the slots of a time that have no execution; gives how many, and how many have one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`].
    pub async fn backfill_schedule(
        &self,
        id: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        request_id: &str,
    ) -> Result<(Standing, usize, usize)> {
        let request = request("backfill", request_id, &(from, to))?;
        let standing = self.schedule(id).await?;
        let mut violations = Violations::default();
        if from < DateTime::UNIX_EPOCH || from > to || to > Utc::now() {
            let message = "use start_time <= end_time <= now, from 1970 on";
            violations.push("end_time", Reason::InvalidValue, message);
            return Err(violations.into());
        }
        let before = from - chrono::TimeDelta::nanoseconds(1);
        let times: Vec<_> = standing.state.definition.rule.between(before, to).take(MAX_QUEUE + 1).collect();
        if times.len() > MAX_QUEUE {
            let message = format!("more than {MAX_QUEUE} slots; make up for them in parts");
            violations.push("start_time", Reason::TooLarge, message);
        }
        violations.into_result(())?;
        let all = times.len();
        let known = &standing;
        let missing = stream::iter(times).map(|time| async move {
            let slot = Slot { time, triggered: false };
            let execution = execution_id(&known.id, known.state.created, &slot)?;
            let exists = self.bus.last_position(&execution).await? > 0;
            Ok::<_, mahavishnu_bus::Error>((!exists).then_some(time))
        });
        let missing: Vec<_> =
            missing.buffered(16).try_filter_map(|time| async move { Ok(time) }).try_collect().await?;
        let change = |standing: &mut Standing, _| {
            Ok(Answer { slot: None, count: standing.state.backfill(missing.iter().copied()) })
        };
        let (standing, answer) = self.change(id, request, change).await?;
        Ok((standing, answer.count, all.saturating_sub(answer.count)))
    }

    /// Changes a schedule once, and looks at it, so that the answer shows what came of that.
    async fn change(
        &self,
        id: &str,
        request: Request,
        change: impl Fn(&mut Standing, DateTime<Utc>) -> Result<Answer>,
    ) -> Result<(Standing, Answer)> {
        let id = ScheduleId::parse(id).map_err(|_| Error::no_schedule(id))?;
        let answer = loop {
            let mut standing = self.standing(id.clone()).await?;
            if let Some(answer) = replayed(&standing.state, &request)? {
                break answer;
            }
            if standing.state.deleted {
                return Err(Error::no_schedule(id.as_str()));
            }
            let now = Utc::now();
            // What was due before is settled under what was true before.
            standing.state = standing.state.advance(now, &Events::default());
            let documents = standing.state.definition.workflow.documents.clone();
            let answer = change(&mut standing, now)?;
            standing.state.updated = now;
            let remembered = Request { slot: answer.slot, count: answer.count, ..request.clone() };
            standing.state.requests.push_back(remembered);
            while standing.state.requests.len() > State::REQUESTS {
                standing.state.requests.pop_front();
            }
            // What it no longer refers to, an execution that starts just now still may.
            self.keep_documents(&documents).await?;
            match write(&self.bus, &standing.id, &standing.state, standing.revision).await {
                Ok(_) => break answer,
                Err(mahavishnu_bus::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.scheduler.settle(&id, Utc::now()).await?;
        Ok((self.standing(id).await?, answer))
    }

    async fn keep_documents(&self, documents: &BTreeMap<String, ArtifactId>) -> Result<()> {
        for id in documents.values() {
            self.bus.keep_artifact(id).await?;
        }
        Ok(())
    }

    async fn standing(&self, id: ScheduleId) -> Result<Standing> {
        let kept = self.bus.schedule(&id).await.map_err(|error| match error {
            mahavishnu_bus::Error::NotFound => Error::no_schedule(id.as_str()),
            error => error.into(),
        })?;
        Ok(Standing { state: read(&kept)?, revision: kept.revision, id })
    }
}
