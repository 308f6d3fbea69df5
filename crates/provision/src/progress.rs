//! What is being done, for whoever watches.
//!
//! Events come only when there is something to do: a warm start is silent.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// One event of a step. A step starts once, may tell details, and ends with `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The step, in words for a user: `environment of agno`.
    pub step: String,
    /// What happened.
    pub state: State,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It began.
    Started,
    /// A line of what is going on.
    Detail(String),
    /// It is there now.
    Done,
    /// It failed; the error itself is returned to the caller.
    Failed,
}

/// Hears events. Called from several tasks; must not block.
pub trait Progress: Send + Sync {
    /// One event.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Progress for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}

/// Draws on standard error: a line with a spinner per step on a terminal, plain lines elsewhere.
pub struct Terminal {
    lines: MultiProgress,
    plain: bool,
    running: Mutex<HashMap<String, (ProgressBar, Instant)>>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// On standard error, plain when that is not a terminal.
    pub fn new() -> Self {
        Self {
            lines: MultiProgress::new(),
            plain: !std::io::stderr().is_terminal(),
            running: Mutex::new(HashMap::new()),
        }
    }

    fn end(&self, step: &str, mark: &str, outcome: &str) {
        let Some((line, began)) = self.with_running(|running| running.remove(step)) else {
            return;
        };
        let took = began.elapsed().as_secs_f32();
        line.finish_and_clear();
        self.say(&format!("{mark} {step} {outcome} ({took:.1} s)"));
    }

    fn say(&self, text: &str) {
        if self.plain {
            eprintln!("{text}");
        } else {
            // A line above the spinners; a terminal that went away is no reason to fail.
            let _ = self.lines.println(text);
        }
    }

    fn with_running<T>(&self, act: impl FnOnce(&mut HashMap<String, (ProgressBar, Instant)>) -> T) -> T {
        act(&mut self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Progress for Terminal {
    fn event(&self, event: Event) {
        let Event { step, state } = event;
        match state {
            State::Started => {
                let line = if self.plain { ProgressBar::hidden() } else { self.lines.add(spinner(&step)) };
                if self.plain {
                    self.say(&format!("  {step} ..."));
                }
                self.with_running(|running| running.insert(step, (line, Instant::now())));
            }
            State::Detail(text) => self.with_running(|running| {
                if let Some((line, _)) = running.get(&step) {
                    line.set_message(text);
                }
            }),
            State::Done => self.end(&step, "✓", "ready"),
            State::Failed => self.end(&step, "✗", "failed"),
        }
    }
}

fn spinner(step: &str) -> ProgressBar {
    let line = ProgressBar::new_spinner().with_prefix(step.to_owned());
    // The template is a constant; should it not parse, the default style does.
    if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix} {elapsed:.dim} {wide_msg:.dim}")
    {
        line.set_style(style);
    }
    line.enable_steady_tick(Duration::from_millis(100));
    line
}
