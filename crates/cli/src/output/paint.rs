//! Colours, where the terminal has them.

use console::Style;

/// Colours or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// For standard output.
    pub fn stdout() -> Self {
        Self(console::colors_enabled())
    }

    /// For standard error.
    pub fn stderr() -> Self {
        Self(console::colors_enabled_stderr())
    }

    /// None, whatever the terminal.
    #[cfg(test)]
    pub const fn none() -> Self {
        Self(false)
    }

    /// What went well.
    pub fn good(self, text: impl std::fmt::Display) -> String {
        self.apply(Style::new().green(), text)
    }

    /// What failed.
    pub fn bad(self, text: impl std::fmt::Display) -> String {
        self.apply(Style::new().red(), text)
    }

    /// What waits for a person.
    pub fn attention(self, text: impl std::fmt::Display) -> String {
        self.apply(Style::new().yellow(), text)
    }

    /// What is under way.
    pub fn active(self, text: impl std::fmt::Display) -> String {
        self.apply(Style::new().cyan(), text)
    }

    /// What matters.
    pub fn strong(self, text: impl std::fmt::Display) -> String {
        self.apply(Style::new().bold(), text)
    }

    /// What matters less.
    pub fn faint(self, text: impl std::fmt::Display) -> String {
        self.apply(Style::new().dim(), text)
    }

    fn apply(self, style: Style, text: impl std::fmt::Display) -> String {
        style.force_styling(self.0).apply_to(text).to_string()
    }
}
