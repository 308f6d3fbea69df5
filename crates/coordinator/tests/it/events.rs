use mahavishnu_proto::v1::event::Kind;
use tonic::Streaming;

use super::*;

/// The answers of both streams.
pub trait HasEvent {
    fn event(self) -> v1::Event;
}

impl HasEvent for v1::ExecuteResponse {
    fn event(self) -> v1::Event {
        self.event.unwrap()
    }
}

impl HasEvent for v1::WatchExecutionResponse {
    fn event(self) -> v1::Event {
        self.event.unwrap()
    }
}

/// Everything until the stream ends.
pub async fn collect<T: HasEvent>(mut stream: Streaming<T>) -> Vec<v1::Event> {
    let mut events = Vec::new();
    while let Some(answer) = in_time("the next event", stream.message()).await.unwrap().unwrap() {
        events.push(answer.event());
    }
    events
}

pub fn durable(mut events: Vec<v1::Event>) -> Vec<v1::Event> {
    events.retain(|event| !event.ephemeral);
    events
}

/// I4: the durable events are numbered from 1 without a gap; an ephemeral one has the number of what was before it.
#[track_caller]
pub fn numbered(events: &[v1::Event]) {
    let mut last = 0;
    for event in events {
        last += i64::from(!event.ephemeral);
        assert_eq!(event.sequence, last, "{event:?}");
        assert_eq!(event.execution_id, events[0].execution_id);
    }
}

/// The durable events in short.
pub fn kinds(events: &[v1::Event]) -> Vec<String> {
    events.iter().filter(|event| !event.ephemeral).map(line).collect()
}

pub fn line(event: &v1::Event) -> String {
    let of = format!("{}.{}", event.stage_id, event.attempt);
    let text = match event.kind.as_ref().unwrap() {
        Kind::ExecutionAccepted(_) => "accepted".into(),
        Kind::StageScheduled(stage) if stage.resume > 0 => format!("resumed {of}.{}", stage.resume),
        Kind::StageScheduled(_) => format!("scheduled {of}"),
        Kind::StageStarted(_) => format!("started {of}"),
        Kind::StageProgress(progress) => format!("progress {of} {}", progress.name),
        Kind::TokenDelta(_) => format!("delta {of}"),
        Kind::ApprovalRequested(_) => format!("asked {of}"),
        Kind::ApprovalDecided(_) => format!("decided {of}"),
        Kind::StageCompleted(_) => format!("completed {of}"),
        Kind::StageFailed(failed) => format!("failed {of} {}", failed.error.as_ref().unwrap().reason),
        Kind::StageRetryScheduled(_) => format!("retry {of}"),
        Kind::StageSkipped(_) => format!("skipped {}", event.stage_id),
        Kind::StageWaiting(waiting) => format!("waiting {of} {}", waiting.reason),
        Kind::TimerFired(timer) => format!("{} timer", timer.timer),
        Kind::CancellationRequested(_) => "cancel".into(),
        Kind::ExecutionCompleted(_) => "completed".into(),
        Kind::ExecutionFailed(failed) => format!("failed {}", failed.error.as_ref().unwrap().reason),
        Kind::ExecutionCancelled(cancelled) => format!("cancelled {}", cancelled.reason),
    };
    if event.void_reason.is_empty() { text } else { format!("{text} void {}", event.void_reason) }
}
