//! One line an event, for logs and pipes.

use mahavishnu_proto::v1::Event;
use mahavishnu_proto::v1::event::Kind;

use super::tree::Tree;
use super::{Paint, View, result, words};

/// One line an event, then the result.
pub struct Plain {
    own: bool,
    tree: Tree,
}

impl Plain {
    /// Before the first event.
    pub fn new(own: bool) -> Self {
        Self { own, tree: Tree::new(own) }
    }
}

impl View for Plain {
    fn event(&mut self, event: &Event) {
        self.tree.apply(event);
        if let Some(text) = line(event, self.own) {
            super::line(text);
        }
    }

    fn say(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| eprintln!("{line}"));
    }

    fn finish(&mut self) {
        let paint = Paint::stdout();
        super::lines(result::stages(self.tree.outputs(), paint));
        super::lines(result::failures(self.tree.failures(), paint));
    }
}

/// The result alone.
pub struct ResultOnly {
    tree: Tree,
    paint: Paint,
    failure: Option<String>,
}

impl ResultOnly {
    /// Before the first event.
    pub fn new(paint: Paint) -> Self {
        Self { tree: Tree::new(false), paint, failure: None }
    }
}

impl View for ResultOnly {
    fn event(&mut self, event: &Event) {
        self.tree.apply(event);
        if let Some(kind @ (Kind::ExecutionFailed(_) | Kind::ExecutionCancelled(_))) = &event.kind
            && !words::is_void(event)
        {
            self.failure = words::happened(kind);
        }
    }

    fn say(&mut self, _: &[String]) {}

    fn finish(&mut self) {
        let lines = result::stages(self.tree.outputs(), self.paint);
        super::lines(lines.into_iter().skip_while(String::is_empty));
        let why = result::failures(self.tree.failures(), self.paint);
        why.iter().filter(|line| !line.is_empty()).for_each(|line| eprintln!("{line}"));
        if let Some(failure) = self.failure.as_ref().filter(|_| why.is_empty()) {
            eprintln!("{failure}");
        }
    }
}

/// `12:00:01.250  review: completed in 1.2 s`; nothing for a token delta.
pub fn line(event: &Event, own: bool) -> Option<String> {
    let kind = event.kind.as_ref()?;
    let what = match kind {
        Kind::StageWaiting(_) if own => "waits: its worker is starting".to_owned(),
        kind => words::happened(kind)?,
    };
    let who = match event.stage_id.as_str() {
        "" => format!("execution {}", event.execution_id),
        stage if event.attempt > 1 => format!("{stage} (attempt {})", event.attempt),
        stage => stage.to_owned(),
    };
    let void = if words::is_void(event) {
        format!(" [without effect: {}]", event.void_reason)
    } else {
        String::new()
    };
    Some(format!("{}  {}: {what}{void}", words::time_of_day(event.time.as_ref()), words::one_line(&who)))
}

#[cfg(test)]
mod tests {
    use mahavishnu_proto::v1::{ExecutionCompleted, StageCompleted, StageWaiting, TokenDelta};

    use super::*;

    fn shown(stage: &str, attempt: u32, void: &str, kind: Kind) -> Option<String> {
        let event = Event {
            execution_id: "x".into(),
            stage_id: stage.into(),
            attempt,
            void_reason: void.into(),
            kind: Some(kind),
            ..Event::default()
        };
        line(&event, true).map(|line| line.trim().to_owned())
    }

    #[test]
    fn an_event_is_a_line() {
        let completed = || {
            let duration = Some(prost_types::Duration { seconds: 1, nanos: 250_000_000 });
            Kind::StageCompleted(StageCompleted { duration, ..StageCompleted::default() })
        };
        assert_eq!(shown("a", 1, "", completed()).unwrap(), "a: completed in 1.2 s");
        assert_eq!(
            shown("a", 2, "DUPLICATE", completed()).unwrap(),
            "a (attempt 2): completed in 1.2 s [without effect: DUPLICATE]"
        );
        let end = Kind::ExecutionCompleted(ExecutionCompleted::default());
        assert_eq!(shown("", 0, "", end).unwrap(), "execution x: completed");
        let waiting = StageWaiting { reason: "NO_WORKER".into(), message: "start one".into() };
        assert_eq!(
            shown("a", 1, "", Kind::StageWaiting(waiting)).unwrap(),
            "a: waits: its worker is starting"
        );
        assert_eq!(shown("a", 1, "", Kind::TokenDelta(TokenDelta::default())), None);
    }
}
