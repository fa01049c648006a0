//! The trace: one line per event, and a digest of all lines.

use std::collections::VecDeque;
use std::fmt::{Arguments, Write};

use crate::time::Time;

/// What the trace keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TraceMode {
    /// Nothing: the fastest.
    #[default]
    Off,
    /// Only the digest.
    Digest,
    /// The digest and the lines.
    Lines,
}

/// What the columns of a trace line mean.
pub const TRACE_LEGEND: &str = "\
time       seconds since the array was built, six decimals
what       submit  a command arrives: nexus, LUN, tag, command
           answer  a command ends: nexus, tag, status or transport error, sense, bytes of data
           abort   a task management function: what it was, how many commands it ended
           fault   a fault meets a command: its name, nexus, tag
           state   a group changes: unit, group, old -> new access state
           attend  a unit attention is established: nexus, LUN, code
           event   the script or the caller does something
           medium  blocks change: unit, nexus, tag, kind, first block, number of blocks
           nexus   a nexus begins or ends: nexus, initiator, port
";

/// Keeps the trace.
#[derive(Debug)]
pub(crate) struct Trace {
    mode: TraceMode,
    digest: u64,
    lines: VecDeque<String>,
    buffer: String,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self {
            mode: TraceMode::Off,
            digest: 0xcbf2_9ce4_8422_2325,
            lines: VecDeque::new(),
            buffer: String::new(),
        }
    }

    pub(crate) const fn set_mode(&mut self, mode: TraceMode) {
        self.mode = mode;
    }

    /// Adds a line: when, what, and the rest.
    pub(crate) fn note(&mut self, at: Time, what: &str, rest: Arguments<'_>) {
        if self.mode == TraceMode::Off {
            return;
        }
        self.buffer.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.buffer, "{at:>14} {what:<6} {rest}");
        for &byte in self.buffer.as_bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.mode == TraceMode::Lines {
            self.lines.push_back(self.buffer.clone());
        }
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }

    pub(crate) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }
}
