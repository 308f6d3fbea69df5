//! Following one execution on the screen: events, approvals, parts that end unasked, signals.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use mahavishnu_proto::v1::event::Kind;
use mahavishnu_proto::v1::{CancelExecutionRequest, Event, execution};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tonic::Status;

use crate::approver::Approver;
use crate::client::Client;
use crate::events::{self, Item};
use crate::output::View;
use crate::signals::Signals;
use crate::system::{Notice, System};

/// The spinner moves this often.
const BEAT: Duration = Duration::from_millis(100);

/// How the watching ended.
#[derive(Debug)]
pub enum End {
    /// With the execution.
    Ended(execution::State),
    /// A signal came.
    Interrupted,
    /// The execution cannot be followed any more.
    Lost(Status),
    /// The system that was started for it broke.
    Broken,
}

/// An execution that is watched.
pub struct Watch<'a> {
    /// Its coordinator.
    pub client: &'a Client,
    /// What is shown.
    pub view: Box<dyn View>,
    /// Who answers its approvals; nobody here, when absent.
    pub approver: Option<Approver>,
    /// The system that was started for it.
    pub system: Option<&'a mut System>,
    /// Its id, once known.
    pub id: String,
    /// The number of its last event.
    pub last: i64,
}

impl Watch<'_> {
    /// Until the end.
    pub async fn run(&mut self, mut items: BoxStream<'_, Item>, signals: &Signals) -> End {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                biased;
                () = signals.stop.cancelled() => break End::Interrupted,
                item = items.next() => match item {
                    Some(Item::Event(event)) => {
                        self.event(&event).await;
                        if let Some(state) = events::end_of(&event) {
                            break End::Ended(state);
                        }
                    }
                    Some(Item::Over(state)) => break End::Ended(state),
                    Some(Item::Failed(status)) => break End::Lost(status),
                    None => break End::Lost(Status::unavailable("the stream of events ended")),
                },
                notice = notice(&mut self.system) => {
                    self.view.say(&notice.to_lines());
                    if notice.again.is_none() && !self.go_on_without(&notice).await {
                        break End::Broken;
                    }
                }
                line = line(&mut self.approver) => {
                    if let Some(approver) = &mut self.approver {
                        approver.answered(line, &mut *self.view).await;
                    }
                }
                _ = beat.tick() => self.view.tick(),
            }
        };
        if let Some(approver) = &mut self.approver {
            approver.forget(&mut *self.view);
        }
        self.view.finish();
        end
    }

    async fn event(&mut self, event: &Event) {
        self.id.clone_from(&event.execution_id);
        self.last = self.last.max(event.sequence);
        self.view.event(event);
        let Some(approver) = &mut self.approver else { return };
        match &event.kind {
            _ if !event.void_reason.is_empty() => {}
            Some(Kind::ApprovalRequested(requested)) => {
                approver.requested(&event.stage_id, requested, &mut *self.view).await;
            }
            Some(Kind::ApprovalDecided(decided)) if !decided.pending => {
                approver.decided(&event.stage_id, &mut *self.view);
            }
            Some(Kind::TimerFired(fired)) if fired.timer == "approval" => {
                approver.decided(&event.stage_id, &mut *self.view);
            }
            _ => {}
        }
    }

    /// A part was given up. Without its worker an execution would wait for ever, so it is cancelled and ends;
    /// without a model, stages that need it fail by themselves; without anything else there is no execution.
    async fn go_on_without(&mut self, notice: &Notice) -> bool {
        if notice.part.starts_with("model") {
            return true;
        }
        if !notice.part.starts_with("worker") || self.id.is_empty() {
            return false;
        }
        let reason = format!("the {} cannot be started: {}", notice.part, notice.last_words());
        let request = CancelExecutionRequest { id: self.id.clone(), reason };
        self.client.executions().cancel_execution(request).await.is_ok()
    }
}

async fn notice(system: &mut Option<&mut System>) -> Notice {
    match system {
        Some(system) => system.notice().await,
        None => std::future::pending().await,
    }
}

async fn line(approver: &mut Option<Approver>) -> Option<String> {
    match approver {
        Some(approver) => approver.line().await,
        None => std::future::pending().await,
    }
}
