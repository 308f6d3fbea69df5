//! The execution as a tree of its stages, as it stands. Pure: events in, lines out.

use std::time::Instant;

use console::{measure_text_width, truncate_str};
use mahavishnu_proto::v1::event::Kind;
use mahavishnu_proto::v1::{AcceptedStage, Error, Event, StageCompleted};
use prost_types::Struct;

use super::{Paint, words};

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// Characters of streamed text that are kept for the tail.
const TAIL: usize = 400;

/// Where a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Pending,
    Scheduled,
    Running,
    Approval,
    Completed,
    Failed,
    Retry,
    Skipped,
    Cancelled,
}

#[derive(Debug)]
struct Row {
    id: String,
    engine: String,
    mark: Mark,
    attempt: u32,
    began: Option<Instant>,
    took: Option<String>,
    detail: String,
    tail: String,
    output: Option<Struct>,
    failure: Option<Error>,
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    own: bool,
    id: String,
    began: Instant,
    took: Option<String>,
    end: Option<Mark>,
    headline: String,
    notes: Vec<String>,
    rows: Vec<Row>,
}

impl Tree {
    /// Before the first event. With `own`, workers are started by this very command.
    pub fn new(own: bool) -> Self {
        Self {
            own,
            id: String::new(),
            began: Instant::now(),
            took: None,
            end: None,
            headline: "starting".to_owned(),
            notes: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: &Event) {
        if words::is_void(event) {
            return;
        }
        let Some(kind) = &event.kind else { return };
        self.execution(event, kind);
        let own = self.own;
        let Some(row) = self.rows.iter_mut().find(|row| row.id == event.stage_id) else { return };
        row.apply(event, kind, own);
    }

    /// The tree in lines no wider than `width`; `beat` moves the spinner.
    pub fn lines(&self, width: usize, beat: usize, paint: Paint) -> Vec<String> {
        let fit = |line: String| truncate_str(&line, width.saturating_sub(1), "…").into_owned();
        let took = self.took.clone().unwrap_or_else(|| words::elapsed(self.began.elapsed()));
        let mark = self.end.unwrap_or(Mark::Running);
        let id = if self.id.is_empty() { String::new() } else { format!(" {}", paint.strong(&self.id)) };
        let mut lines = vec![fit(format!(
            "{} execution{id} {} {}",
            mark.shown(beat, paint),
            self.headline,
            paint.faint(took)
        ))];
        let id_width = self.rows.iter().map(|row| measure_text_width(&row.id)).max().unwrap_or(0);
        let engine_width = self.rows.iter().map(|row| measure_text_width(&row.engine)).max().unwrap_or(0);
        for (n, row) in self.rows.iter().enumerate() {
            let last = n + 1 == self.rows.len();
            let (branch, stem) = if last { ("└─", "  ") } else { ("├─", "│ ") };
            let head = row.line(id_width, engine_width, beat, paint);
            lines.push(fit(format!("{} {head}", paint.faint(branch))));
            if !row.tail.is_empty() && row.mark == Mark::Running {
                let prefix = format!("{}     ", paint.faint(stem));
                let room = width.saturating_sub(measure_text_width(&prefix) + 1);
                lines.push(format!("{prefix}{}", paint.faint(end_of(&row.tail, room))));
            }
        }
        lines.extend(self.notes.iter().map(|note| fit(paint.faint(format!("note: {note}")))));
        lines
    }

    /// What has been given so far: stage, engine, output.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &str, &Struct)> {
        self.rows.iter().filter_map(|row| Some((row.id.as_str(), row.engine.as_str(), row.output.as_ref()?)))
    }

    /// What failed for good: stage, engine, why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str, &Error)> {
        let failed = self.rows.iter().filter(|row| row.mark == Mark::Failed);
        failed.filter_map(|row| Some((row.id.as_str(), row.engine.as_str(), row.failure.as_ref()?)))
    }

    fn execution(&mut self, event: &Event, kind: &Kind) {
        let end = match kind {
            Kind::ExecutionAccepted(accepted) => {
                self.id.clone_from(&event.execution_id);
                self.headline = "running".to_owned();
                self.notes.clone_from(&accepted.notes);
                self.rows = accepted.stages.iter().map(Row::new).collect();
                return;
            }
            Kind::CancellationRequested(_) => {
                self.headline = "is being cancelled".to_owned();
                return;
            }
            Kind::ExecutionCompleted(_) => Mark::Completed,
            Kind::ExecutionFailed(_) => Mark::Failed,
            Kind::ExecutionCancelled(_) => Mark::Cancelled,
            _ => return,
        };
        self.end = Some(end);
        self.took = Some(words::elapsed(self.began.elapsed()));
        self.headline = match kind {
            // Which stage failed and why is told below, at length.
            Kind::ExecutionFailed(_) if self.failures().next().is_some() => "failed".to_owned(),
            kind => words::happened(kind).unwrap_or_default(),
        };
        for row in &mut self.rows {
            if !matches!(row.mark, Mark::Completed | Mark::Failed | Mark::Skipped) {
                row.mark = Mark::Cancelled;
                row.detail.clear();
            }
        }
    }
}

impl Row {
    fn new(stage: &AcceptedStage) -> Self {
        Self {
            id: words::one_line(&stage.id),
            engine: words::one_line(&words::queue(&stage.engine, &stage.pool)),
            mark: Mark::Pending,
            attempt: 0,
            began: None,
            took: None,
            detail: String::new(),
            tail: String::new(),
            output: None,
            failure: None,
        }
    }

    fn apply(&mut self, event: &Event, kind: &Kind, own: bool) {
        self.attempt = self.attempt.max(event.attempt);
        match kind {
            Kind::TokenDelta(delta) => {
                self.run();
                self.tail.push_str(&delta.text);
                let surplus = self.tail.chars().count().saturating_sub(TAIL);
                self.tail = self.tail.chars().skip(surplus).collect();
                return;
            }
            // A quick worker's start, shown live, overtakes the durable event.
            Kind::StageScheduled(_) if self.mark == Mark::Running => return,
            Kind::StageScheduled(_) => {
                self.mark = Mark::Scheduled;
                self.tail.clear();
            }
            Kind::StageWaiting(waiting) => {
                self.detail = if own {
                    format!("the worker of {} is starting", self.engine)
                } else {
                    waiting.message.clone()
                };
                return;
            }
            Kind::StageStarted(_) => {
                self.run();
                self.detail.clear();
                return;
            }
            Kind::StageProgress(_) => {
                self.run();
                self.tail.clear();
            }
            Kind::ApprovalRequested(requested) => {
                self.mark = Mark::Approval;
                let titles: Vec<_> =
                    requested.approvals.iter().map(|asked| words::short(&asked.title)).collect();
                self.detail = format!("waits for approval: {}", titles.join(", "));
                return;
            }
            // It waits for others.
            Kind::ApprovalDecided(decided) if decided.pending => {}
            Kind::ApprovalDecided(_) => self.mark = Mark::Scheduled,
            Kind::TimerFired(fired) if fired.timer == "approval" => self.mark = Mark::Scheduled,
            Kind::StageCompleted(StageCompleted { output, duration, .. }) => {
                self.mark = Mark::Completed;
                self.took = duration.as_ref().map(words::seconds);
                self.output.clone_from(output);
                self.failure = None;
                self.detail.clear();
                return;
            }
            Kind::StageFailed(failed) => {
                self.mark = Mark::Failed;
                self.failure.clone_from(&failed.error);
            }
            Kind::StageRetryScheduled(_) => {
                // What failed is worth more than that it is tried again.
                self.mark = Mark::Retry;
                return;
            }
            Kind::StageSkipped(_) => self.mark = Mark::Skipped,
            _ => return,
        }
        if !matches!(kind, Kind::StageScheduled(_)) {
            self.detail = words::happened(kind).unwrap_or_default();
        }
    }

    fn run(&mut self) {
        if self.mark != Mark::Running {
            self.mark = Mark::Running;
            self.began = Some(Instant::now());
            self.took = None;
        }
    }

    fn line(&self, id_width: usize, engine_width: usize, beat: usize, paint: Paint) -> String {
        let pad = |text: &str, width: usize| {
            console::pad_str(text, width, console::Alignment::Left, None).into_owned()
        };
        let took = match (&self.took, self.began, self.mark) {
            (Some(took), ..) => took.clone(),
            (None, Some(began), Mark::Running) => words::elapsed(began.elapsed()),
            _ => String::new(),
        };
        let attempt = if self.attempt > 1 { format!("attempt {}", self.attempt) } else { String::new() };
        let parts = [
            self.mark.shown(beat, paint),
            pad(&self.id, id_width),
            paint.faint(pad(&self.engine, engine_width)),
            took,
            paint.attention(attempt),
            match self.mark {
                Mark::Failed | Mark::Retry => paint.bad(&self.detail),
                Mark::Approval => paint.attention(&self.detail),
                _ => self.detail.clone(),
            },
        ];
        let shown: Vec<_> = parts.into_iter().filter(|part| measure_text_width(part) > 0).collect();
        shown.join("  ").replacen("  ", " ", 1).trim_end().to_owned()
    }
}

impl Mark {
    fn shown(self, beat: usize, paint: Paint) -> String {
        match self {
            Self::Pending => paint.faint('·'),
            Self::Scheduled => paint.faint('○'),
            Self::Running => paint.active(SPINNER.get(beat % SPINNER.len()).copied().unwrap_or('*')),
            Self::Approval => paint.attention('?'),
            Self::Completed => paint.good('✓'),
            Self::Failed => paint.bad('✗'),
            Self::Retry => paint.attention('↻'),
            Self::Skipped => paint.faint('↷'),
            Self::Cancelled => paint.faint('■'),
        }
    }
}

/// The end of a text that fits into `room`, on one line.
fn end_of(text: &str, room: usize) -> String {
    let line = words::one_line(text);
    let mut start = line.len();
    for (at, _) in line.char_indices().rev() {
        if measure_text_width(line.get(at..).unwrap_or_default()) > room {
            break;
        }
        start = at;
    }
    line.get(start..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use mahavishnu_proto::v1::{
        AcceptedStage, ExecutionAccepted, ExecutionCompleted, StageFailed, StageScheduled, StageStarted,
        StageWaiting, TokenDelta,
    };

    use super::*;

    fn event(stage: &str, attempt: u32, kind: Kind) -> Event {
        Event {
            execution_id: "x".into(),
            stage_id: stage.into(),
            attempt,
            kind: Some(kind),
            ..Event::default()
        }
    }

    fn accepted() -> Event {
        let stage = |id: &str, engine: &str| AcceptedStage {
            reused: false,
            id: id.into(),
            engine: engine.into(),
            pool: String::new(),
            needs: Vec::new(),
        };
        let stages = vec![stage("analysis", "llamaindex"), stage("work", "agno")];
        event("", 0, Kind::ExecutionAccepted(ExecutionAccepted { stages, ..ExecutionAccepted::default() }))
    }

    fn lines(tree: &Tree) -> Vec<String> {
        // Times are not of interest here.
        tree.lines(80, 0, Paint::none())
            .iter()
            .map(|line| line.replace("  0.0 s", "").replace(" 0.0 s", ""))
            .collect()
    }

    #[test]
    fn stages_show_where_they_stand() {
        let mut tree = Tree::new(true);
        tree.apply(&accepted());
        assert_eq!(
            lines(&tree),
            ["⠋ execution x running", "├─ · analysis  llamaindex", "└─ · work      agno"].map(str::to_owned)
        );
        tree.apply(&event("analysis", 1, Kind::StageScheduled(StageScheduled::default())));
        let waiting = StageWaiting { reason: "NO_WORKER".into(), message: "start one".into() };
        tree.apply(&event("analysis", 1, Kind::StageWaiting(waiting)));
        assert_eq!(
            lines(&tree).get(1).unwrap(),
            "├─ ○ analysis  llamaindex  the worker of llamaindex is starting"
        );
        tree.apply(&event("analysis", 2, Kind::StageStarted(StageStarted::default())));
        tree.apply(&event(
            "analysis",
            2,
            Kind::TokenDelta(TokenDelta { source: "a".into(), text: "so it\nis".into() }),
        ));
        assert_eq!(lines(&tree).get(1).unwrap(), "├─ ⠋ analysis  llamaindex  attempt 2");
        assert_eq!(lines(&tree).get(2).unwrap(), "│      so it is");
        let error = mahavishnu_proto::v1::Error {
            reason: "BROKEN".into(),
            message: "no".into(),
            ..Default::default()
        };
        tree.apply(&event(
            "analysis",
            2,
            Kind::StageFailed(StageFailed { error: Some(error), ..StageFailed::default() }),
        ));
        assert_eq!(lines(&tree).get(1).unwrap(), "├─ ✗ analysis  llamaindex  attempt 2  failed: no (BROKEN)");
    }

    #[test]
    fn what_has_no_effect_is_not_shown_and_lines_fit() {
        let mut tree = Tree::new(false);
        tree.apply(&accepted());
        let mut void = event("", 0, Kind::ExecutionCompleted(ExecutionCompleted::default()));
        void.void_reason = "AFTER_END".into();
        tree.apply(&void);
        assert!(tree.end.is_none());
        let long = StageWaiting { reason: "NO_WORKER".into(), message: "x".repeat(500) };
        tree.apply(&event("work", 1, Kind::StageWaiting(long)));
        tree.apply(&event(
            "analysis",
            1,
            Kind::TokenDelta(TokenDelta { source: String::new(), text: "ü ".repeat(500) }),
        ));
        assert!(tree.lines(40, 3, Paint::none()).iter().all(|line| measure_text_width(line) < 40));
    }
}
