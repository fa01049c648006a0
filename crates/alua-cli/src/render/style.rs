//! Colours. They say nothing that the words do not say; `anstream` takes them out where the output
//! is no terminal.

use std::fmt;

use anstyle::{AnsiColor, Style};

pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const FAIR: Style = AnsiColor::Cyan.on_default();
pub(crate) const WAIT: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// The colour of an access state, by its name.
pub(crate) fn of_state(state: Option<&str>) -> Style {
    match state {
        Some("active/optimized") => GOOD,
        Some("active/non-optimized" | "lba-dependent") => FAIR,
        Some("transitioning") => WAIT,
        Some(_) => BAD,
        None => FAINT,
    }
}

/// A text in a style, padded to a width (the escape codes do not count).
pub(crate) struct Painted<'a> {
    pub(crate) style: Style,
    pub(crate) text: &'a str,
    pub(crate) width: usize,
}

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { style, text, width } = self;
        let pad = width.saturating_sub(text.chars().count());
        write!(f, "{style}{text}{style:#}{:pad$}", "")
    }
}

/// A text in a style.
pub(crate) fn paint(style: Style, text: &str) -> Painted<'_> {
    Painted { style, text, width: 0 }
}

/// A text in a style, padded.
pub(crate) fn padded(style: Style, text: &str, width: usize) -> Painted<'_> {
    Painted { style, text, width }
}
