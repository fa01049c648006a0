//! What is wrong with an array file, and where.

use std::fmt;
use std::ops::Range;

/// An array file that was refused: the place, the line as it stands there, what is wrong with it
/// and what would be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file's name as the caller gave it. Empty for a configuration made in code.
    pub file: String,
    /// The line, from 1. 0 when there is no text to point at.
    pub line: usize,
    /// The column in characters, from 1. 0 when there is no text to point at.
    pub column: usize,
    /// The offending line, without its end.
    pub text: String,
    /// How many characters from `column` on are meant; at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What is allowed there. May be empty.
    pub help: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.message)?;
        } else {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let mark = " ".repeat(self.column - 1) + &"^".repeat(self.width);
            writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
            writeln!(f, " {number} | {}", self.text)?;
            write!(f, " {margin} | {mark}")?;
        }
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.help) }
    }
}

impl std::error::Error for ConfigError {}

/// A [`ConfigError`] before it knows the file: a span of bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Problem {
    pub(crate) fn new(
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { span, message: message.into(), help: help.into() }
    }

    /// The error in `text`, the contents of `file`.
    pub(crate) fn locate(self, file: &str, text: &str) -> ConfigError {
        let mut start = self.span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_text = text[line_start..].lines().next().unwrap_or("");
        let column = before[line_start..].chars().count() + 1;
        let left = line_text.chars().count().saturating_sub(column - 1);
        let mut end = self.span.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let meant = text[start..end].lines().next().unwrap_or("").chars().count();
        ConfigError {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            text: line_text.to_owned(),
            width: meant.min(left).max(1),
            message: self.message,
            help: self.help,
        }
    }
}

/// What a semantic check found, named by table, number of the entry and key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Flaw {
    pub(crate) table: &'static str,
    /// The entry of a `[[table]]`, from 0.
    pub(crate) index: Option<usize>,
    pub(crate) key: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Flaw {
    pub(crate) fn new(
        table: &'static str,
        index: Option<usize>,
        key: Option<&'static str>,
        message: String,
        help: impl Into<String>,
    ) -> Self {
        Self { table, index, key, message, help: help.into() }
    }

    /// The error for a configuration that has no text.
    pub(crate) fn without_text(self) -> ConfigError {
        let entry = self.index.map_or(String::new(), |index| format!(" {}", index + 1));
        let key = self.key.map_or(String::new(), |key| format!(", `{key}`"));
        ConfigError {
            file: String::new(),
            line: 0,
            column: 0,
            text: String::new(),
            width: 1,
            message: format!("{}{entry}{key}: {}", self.table, self.message),
            help: self.help,
        }
    }
}
