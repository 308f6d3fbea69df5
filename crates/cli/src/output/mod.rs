//! What is shown of an execution: a live tree on a terminal, plain lines elsewhere, JSON when asked for.

pub mod json;
mod live;
mod paint;
pub mod plain;
pub mod result;
pub mod table;
mod tree;
pub mod words;

use std::io::{IsTerminal as _, Write as _};

use mahavishnu_proto::v1::Event;

use crate::context::Context;

pub use paint::Paint;

/// Shows an execution as it goes on.
pub trait View: Send {
    /// An event came.
    fn event(&mut self, event: &Event);
    /// Something that is no event: for people only.
    fn say(&mut self, lines: &[String]);
    /// Time passes.
    fn tick(&mut self) {}
    /// Leaves the terminal to somebody else.
    fn pause(&mut self) {}
    /// Takes it back.
    fn resume(&mut self) {}
    /// Nothing more comes.
    fn finish(&mut self) {}
}

/// The view for this command line and this terminal. With `own`, workers are started by this very command.
pub fn view(context: &Context, own: bool) -> Box<dyn View> {
    let Context { global, .. } = context;
    if global.json {
        return Box::new(json::Lines { quiet: global.quiet });
    }
    let stdout = std::io::stdout().is_terminal();
    if global.quiet {
        return Box::new(plain::ResultOnly::new(Paint::stdout()));
    }
    if stdout && std::io::stderr().is_terminal() {
        return Box::new(live::Live::new(own));
    }
    Box::new(plain::Plain::new(own))
}

/// A line on standard output. A reader that has gone away is no reason to fail.
pub fn line(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Several lines on standard output.
pub fn lines<T: std::fmt::Display>(texts: impl IntoIterator<Item = T>) {
    texts.into_iter().for_each(line);
}
