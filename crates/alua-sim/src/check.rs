//! The invariants, and what is found against them.

use std::collections::VecDeque;
use std::fmt;

use alua_multipath::Time;

use crate::trace::Trace;

/// What must hold, as listed in `docs/simulation.md`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// No acknowledged write is lost.
    I1,
    /// No stale write lands.
    I2,
    /// An unknown outcome stays unknown.
    I3,
    /// Buffers outlive the wire.
    I4,
    /// Exactly one completion.
    I5,
    /// No I/O is stuck, or fails, while a usable path exists.
    I6,
    /// No I/O is stuck without a path either.
    I7,
    /// Reports are bounded.
    I8,
    /// No ping-pong.
    I9,
    /// Transitions end.
    I10,
    /// Selection is right.
    I11,
    /// No command goes to another logical unit.
    I12,
    /// A reservation conflict is handed on, and so is write protection.
    I13,
    /// Queues are bounded.
    I14,
}

impl Invariant {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
    ];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What it is against.
    pub invariant: Invariant,
    /// When.
    pub at: Time,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: {}", self.invariant, self.at, self.what)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) found: Vec<Violation>,
    /// Only this one counts: for negative controls, which break more than one.
    pub(crate) only: Option<Invariant>,
}

/// More are not kept: the first tells.
const MOST: usize = 16;

impl Checks {
    pub(crate) fn fail(&mut self, invariant: Invariant, at: Time, what: fmt::Arguments<'_>) {
        if self.found.len() < MOST && self.only.is_none_or(|only| only == invariant) {
            self.found.push(Violation { invariant, at, what: what.to_string() });
        }
    }

    /// One more of something of which there may be `most` in any `millis`.
    pub(crate) fn window(
        &mut self,
        invariant: Invariant,
        times: &mut VecDeque<Time>,
        now: Time,
        millis: u32,
        most: usize,
        what: &str,
    ) {
        times.push_back(now);
        while times.front().is_some_and(|first| first.after(millis) <= now) {
            times.pop_front();
        }
        if times.len() > most {
            self.fail(invariant, now, format_args!("{} {what}", times.len()));
        }
    }

    /// Writes what was found into the trace.
    pub(crate) fn tell(&self, trace: &mut Trace) {
        for found in &self.found {
            trace.note(found.at, "check", "VIOLATION", format_args!("{found}"));
        }
    }
}
