//! The trace of a run: one line for each event, and a digest of all of them.

use std::fmt::{self, Write as _};

use alua_multipath::Time;

/// What the columns mean.
pub const LEGEND: &str = "\
seconds      who  what       details
             world: who makes the faults; array: the model array; h0, h1: a host's engine;
             check: a checker
             fault: a fault event begins; event: what the array is told to do, or a fault's end;
             medium: a command's blocks reach the medium; path: one is added or removed;
             submit, done: a client's request; send, back: an I/O command on a path;
             ctl, ctl-back: a command of the driver; fence, fenced: a fence step;
             tell: the engine says so; VIOLATION: what was found";

/// Collects the lines.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: u64,
    line: String,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self {
            digest: 0xcbf2_9ce4_8422_2325,
            line: String::with_capacity(256),
            lines: keep.then(Vec::new),
        }
    }

    pub(crate) fn note(&mut self, at: Time, who: &str, what: &str, details: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{at:?} {who:<5} {what:<10} {details}");
        for &byte in self.line.as_bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
