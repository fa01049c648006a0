//! Why bytes from the wire were refused.

use core::fmt;

/// A rule of a wire format that the bytes break, and where.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WireError {
    /// The field, by its SPC name in lower case: "return data length", "designator length".
    pub field: &'static str,
    /// Where the field starts, in bytes from the start of the data.
    pub offset: usize,
    /// What is wrong with it.
    pub rule: Rule,
}

/// The rule that a field breaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// The data ends before the field does.
    Truncated {
        /// Bytes that the data must have for the field to be whole.
        need: usize,
        /// Bytes that the data has.
        have: usize,
    },
    /// A length field reaches past the end of what carries it.
    Overrun {
        /// Bytes that the field claims.
        claimed: usize,
        /// Bytes that are left for it.
        available: usize,
    },
    /// The value is not one that the format allows.
    Value {
        /// The value found.
        found: u32,
        /// What was allowed, in words: "a multiple of 4".
        expected: &'static str,
    },
    /// The caller's buffer is too small to encode into.
    NoRoom {
        /// Bytes that the encoding needs.
        need: usize,
        /// Bytes that the buffer has.
        have: usize,
    },
}

impl WireError {
    /// An error of `rule` in `field` at byte `offset`.
    #[must_use]
    pub const fn new(field: &'static str, offset: usize, rule: Rule) -> Self {
        Self { field, offset, rule }
    }

    /// The same error, for data that starts `by` bytes into something larger.
    #[must_use]
    pub const fn moved(self, by: usize) -> Self {
        Self { offset: self.offset.saturating_add(by), ..self }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.field, self.offset, self.rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { need, have } => {
                write!(f, "truncated, {need} bytes are needed and {have} are there")
            }
            Self::Overrun { claimed, available } => {
                write!(f, "claims {claimed} bytes where {available} are left")
            }
            Self::Value { found, expected } => {
                write!(f, "is {found} ({found:X}h), must be {expected}")
            }
            Self::NoRoom { need, have } => {
                write!(f, "needs {need} bytes of buffer, {have} are there")
            }
        }
    }
}

impl core::error::Error for WireError {}
