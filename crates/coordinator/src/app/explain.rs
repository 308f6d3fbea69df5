//! Why an execution is where it is.
//!
//! Invariant: nothing is guessed. Every sentence says what is known, from the history, the workers that gave a sign of life,
//! or the task queue.

use std::collections::BTreeMap;

use chrono::Utc;
use mahavishnu_bus::tasks::Depth;
use mahavishnu_core::engine::Registry;
use mahavishnu_core::execution::{End, Failure, Paused, Phase, StageState, State, Void};
use mahavishnu_core::id::{ExecutionId, Queue};
use mahavishnu_core::workflow::{ANYBODY, Stage};
use mahavishnu_proto::{json, public, v1};
use serde_json::json;

use super::plan::in_pool;
use super::{App, Result, Retention};
use crate::driver::Folded;
use crate::registry::Workers;

impl App {
    /// Why an execution is where it is.
    ///
    /// # Errors
    /// [`super::Error::NotFound`].
    pub async fn explain(&self, id: &str) -> Result<v1::ExplainExecutionResponse> {
        let history = self.find(id).await?;
        let mut depths = BTreeMap::new();
        for queue in history.with_folded(|folded| queues(&folded.state)) {
            let depth = self.bus.queue_depth(&queue, &history.id).await?;
            depths.insert(queue, depth);
        }
        let view = View {
            id: &history.id,
            retention: self.retention,
            workers: &self.workers,
            registry: &self.registry,
            depths: &depths,
        };
        Ok(history.with_folded(|folded| view.explain(folded)))
    }
}

/// The queues that matter now.
fn queues(state: &State) -> Vec<Queue> {
    let scheduled = state.iter().filter(|(_, now)| state.end.is_none() && now.phase == Phase::Scheduled);
    scheduled.map(|(stage, _)| stage.queue()).collect()
}

struct View<'a> {
    id: &'a ExecutionId,
    retention: Retention,
    workers: &'a Workers,
    registry: &'a Registry,
    depths: &'a BTreeMap<Queue, Option<Depth>>,
}

impl View<'_> {
    fn explain(&self, folded: &Folded) -> v1::ExplainExecutionResponse {
        let mut stages = match self.whole(folded) {
            Some(whole) => vec![whole],
            None => folded.state.iter().filter_map(|(stage, now)| self.stage(stage, now, folded)).collect(),
        };
        if stages.is_empty() {
            let sentence = "a coordinator is about to decide what comes next".to_owned();
            stages.push(v1::StageExplanation { reason: "ADVANCING".into(), sentence, ..Default::default() });
        }
        // What somebody can do something about comes first.
        stages.sort_by_key(|stage| stage.command.is_empty());
        let sentence = stages.iter().map(|stage| stage.sentence.as_str()).collect::<Vec<_>>().join("; ");
        let command = stages.first().map(|stage| stage.command.clone()).unwrap_or_default();
        v1::ExplainExecutionResponse { sentence, command, stages }
    }

    /// What explains the execution as a whole.
    fn whole(&self, folded: &Folded) -> Option<v1::StageExplanation> {
        let (id, state) = (self.id, &folded.state);
        let retry = format!("mahavishnu executions retry {id}");
        let (stage, reason, sentence, command) = match &state.end {
            Some((End::Completed, at)) => {
                (None, "COMPLETED", format!("it completed at {}", time(*at)), String::new())
            }
            Some((End::Failed { stage: Some(stage), error }, _)) => {
                let attempt = state.stage(stage).map_or(0, |now| now.attempt);
                let said = told(error);
                let sentence = format!("it failed: attempt {attempt} of {stage} was the last, with {said}");
                (Some(stage), "FAILED", sentence, retry)
            }
            Some((End::Failed { stage: None, error }, _)) => {
                (None, "FAILED", format!("it failed with {}", told(error)), retry)
            }
            Some((End::Cancelled { reason }, _)) => {
                (None, "CANCELLED", format!("it was cancelled: {reason}"), retry)
            }
            None => match &state.cancel {
                Some(why) => (None, "CANCELLING", format!("it is being cancelled: {why}"), String::new()),
                None => return None,
            },
        };
        let sentence = format!("{sentence}{}{}", self.kept_until(state), late(folded));
        Some(v1::StageExplanation {
            stage_id: stage.map(ToString::to_string).unwrap_or_default(),
            reason: reason.to_owned(),
            sentence,
            command,
            sequence: i64::try_from(state.sequence).unwrap_or(i64::MAX),
            evidence: None,
        })
    }

    /// When it is removed, once it has ended.
    fn kept_until(&self, state: &State) -> String {
        let age = self.retention.executions.and_then(|age| chrono::Duration::from_std(age).ok());
        let until = age.zip(state.end.as_ref()).and_then(|(age, (_, ended))| ended.checked_add_signed(age));
        until.map(|until| format!("; it is removed after {}", time(until))).unwrap_or_default()
    }

    /// What explains a stage that is under way.
    fn stage(&self, stage: &Stage, now: &StageState, folded: &Folded) -> Option<v1::StageExplanation> {
        let id = &stage.id;
        let (reason, sentence, command, evidence) = match &now.phase {
            Phase::Pending | Phase::Completed(_) | Phase::Skipped(_) => return None,
            Phase::Scheduled => self.scheduled(stage, now),
            Phase::Paused(paused) => self.paused(stage, now, paused),
            Phase::Backoff(error, at) => {
                let left = (*at - Utc::now()).num_seconds().max(0);
                let next = now.attempt + 1;
                let sentence = format!(
                    "{id} is tried again in {left} s, attempt {next} of {}, after {}",
                    stage.retry.max_attempts,
                    told(error)
                );
                ("RETRY_PENDING", sentence, String::new(), json!({"retry_time": time(*at)}))
            }
            Phase::Failed(..) | Phase::Decided(..) | Phase::Due => {
                let sentence = format!("a coordinator is about to decide what comes next for {id}");
                ("ADVANCING", sentence, String::new(), json!({}))
            }
        };
        let about = |event: &&(usize, &crate::driver::Numbered)| {
            event.1.void.is_none() && event.1.record.fact.stage() == Some(id)
        };
        let events: Vec<_> = folded.events.iter().enumerate().collect();
        let sequence = events.iter().rev().find(about).map_or(0, |(n, _)| n + 1);
        Some(v1::StageExplanation {
            stage_id: id.to_string(),
            reason: reason.to_owned(),
            sentence,
            command,
            sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
            evidence: evidence.as_object().map(json::to_struct),
        })
    }

    fn paused(
        &self,
        stage: &Stage,
        now: &StageState,
        paused: &Paused,
    ) -> (&'static str, String, String, serde_json::Value) {
        let policy = stage.approval_policy();
        let name = |question| {
            public::approval_id(self.id, &stage.id, paused.origin.attempt, paused.origin.resume, question)
        };
        let approved_by = |question| -> Vec<&str> {
            let votes = now.pause.iter().flat_map(|pause| pause.votes_on(question));
            votes.map(|vote| vote.decided_by.as_str()).collect()
        };
        let asked = (0..).zip(&paused.questions).map(|(n, question)| match approved_by(n).as_slice() {
            [] => format!("{:?}", question.title),
            names => {
                let so_far = format!("{} of {} have: {}", names.len(), policy.quorum, names.join(", "));
                format!("{:?} ({so_far})", question.title)
            }
        });
        let asked = asked.collect::<Vec<_>>().join(" or ");
        let deadline = now.pause.as_ref().and_then(|pause| policy.deadline(pause.time)).map(time);
        let until = deadline.as_ref().map(|at| format!(" until {at}")).unwrap_or_default();
        let sentence = match policy {
            policy if policy == &ANYBODY => format!("{} waits for a person to approve {asked}", stage.id),
            policy => format!("{} waits{until} for the approval of {asked} by {policy}", stage.id),
        };
        let command = format!("mahavishnu approvals decide {} --approve   (or --reject)", name(0));
        let ids: Vec<_> = (0..).zip(&paused.questions).map(|(n, _)| name(n)).collect();
        let evidence = json!({
            "approval_ids": ids, "approvers": policy.approvers, "quorum": policy.quorum,
            "approved_by": approved_by(0), "expire_time": deadline,
            "on_timeout": deadline.as_ref().map(|_| policy.on_timeout),
        });
        ("APPROVAL_PENDING", sentence, command, evidence)
    }

    fn scheduled(
        &self,
        stage: &Stage,
        now: &StageState,
    ) -> (&'static str, String, String, serde_json::Value) {
        let (id, queue, attempt) = (&stage.id, stage.queue(), now.attempt);
        let whose = in_pool(&queue);
        // A pool whose workers were never there has no queue yet; then nothing of it was delivered.
        let depth = self.depths.get(&queue).copied().flatten();
        let there = self.workers.of_queue(&queue);
        let (slots, busy) =
            there.iter().fold((0, 0), |(slots, busy), worker| (slots + worker.slots, busy + worker.busy));
        let delivered = depth.is_some_and(|depth| depth.delivered >= now.task);
        let worker = now.started.as_ref().map(|(_, worker)| worker.to_string());
        let evidence = json!({
            "workers": there.len(), "slots": slots, "busy": busy, "queued": depth.map(|depth| depth.queued),
            "in_flight": depth.map(|depth| depth.in_flight), "delivered": delivered, "worker_id": worker,
        });
        let start = self.registry.worker(&queue);
        if !delivered && there.is_empty() {
            let sentence = format!("{id} waits for a worker of {whose}: none is connected");
            return ("NO_WORKER", sentence, start, evidence);
        }
        if !delivered {
            let deep = depth.map(|depth| format!(", {} deep", depth.queued)).unwrap_or_default();
            let sentence = format!(
                "{id} waits in the queue of {whose}{deep}: {busy} of {slots} slots of {} workers are busy",
                there.len()
            );
            return ("QUEUED", sentence, start, evidence);
        }
        let gone = worker.as_ref().is_some_and(|worker| there.iter().all(|live| &live.worker_id != worker));
        if gone || there.is_empty() {
            let who = worker.unwrap_or_else(|| "a worker".to_owned());
            let next = match there.len() {
                0 => format!("and no other worker of {whose} is connected"),
                others => format!("and one of {others} others gets it when the lease ends"),
            };
            let sentence = format!("{who} had attempt {attempt} of {id} and gives no sign of life, {next}");
            let command = if there.is_empty() { start } else { String::new() };
            return ("LEASE_LOST", sentence, command, evidence);
        }
        let who = worker.unwrap_or_else(|| format!("one of {} workers of {whose}", there.len()));
        let since = match &now.started {
            Some((since, _)) => format!(" since {}", time(*since)),
            None => String::new(),
        };
        ("RUNNING", format!("attempt {attempt} of {id} runs on {who}{since}"), String::new(), evidence)
    }
}

/// What came after the end.
fn late(folded: &Folded) -> String {
    match folded.events.iter().filter(|event| event.void == Some(Void::AfterEnd)).count() {
        0 => String::new(),
        1 => "; what came after that, one event, had no effect".to_owned(),
        many => format!("; what came after that, {many} events, had no effect"),
    }
}

fn told(error: &Failure) -> String {
    format!("{}: {}", error.reason, error.message)
}

fn time(at: chrono::DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
