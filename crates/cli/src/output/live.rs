//! The tree on a terminal, redrawn as it changes; at the end it stays, with the result below it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mahavishnu_proto::v1::Event;

use super::tree::Tree;
use super::{Paint, View, result};

/// Redraws a second.
const RATE: u8 = 15;
/// Where the terminal does not say.
const WIDTH: usize = 80;

/// The tree on standard error; result and last tree on standard output.
pub struct Live {
    tree: Tree,
    bar: Option<ProgressBar>,
    beat: usize,
}

impl Live {
    /// Before the first event.
    pub fn new(own: bool) -> Self {
        let mut live = Self { tree: Tree::new(own), bar: Some(bar()), beat: 0 };
        live.draw();
        live
    }

    fn draw(&mut self) {
        let Some(bar) = &self.bar else { return };
        let (rows, columns) = size();
        let mut lines = self.tree.lines(columns, self.beat, Paint::stderr());
        // What does not fit cannot be redrawn.
        lines.truncate(rows.saturating_sub(1).max(1));
        bar.set_message(lines.join("\n"));
    }
}

impl View for Live {
    fn event(&mut self, event: &Event) {
        self.tree.apply(event);
        self.draw();
    }

    fn say(&mut self, lines: &[String]) {
        match &self.bar {
            Some(bar) => lines.iter().for_each(|line| bar.println(line)),
            None => lines.iter().for_each(|line| eprintln!("{line}")),
        }
    }

    fn tick(&mut self) {
        self.beat = self.beat.wrapping_add(1);
        self.draw();
    }

    fn pause(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn resume(&mut self) {
        self.bar.get_or_insert_with(bar);
        self.draw();
    }

    fn finish(&mut self) {
        self.pause();
        let paint = Paint::stdout();
        super::lines(self.tree.lines(size().1, 0, paint));
        super::lines(result::stages(self.tree.outputs(), paint));
        super::lines(result::failures(self.tree.failures(), paint));
    }
}

impl Drop for Live {
    /// Whatever ends this, the cursor is left on a line of its own.
    fn drop(&mut self) {
        self.pause();
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(RATE));
    // The template is a constant; should it not parse, the default style shows the message too.
    match ProgressStyle::with_template("{msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn size() -> (usize, usize) {
    let size = console::Term::stderr().size_checked();
    size.map_or((usize::from(u8::MAX), WIDTH), |(rows, columns)| (rows.into(), columns.into()))
}
