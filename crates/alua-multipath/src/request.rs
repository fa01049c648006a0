//! Block requests: what a client asks, and how that ends.

use std::fmt;

use alua_core::failover::TargetError;

use crate::table::Key;
use crate::time::Time;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Read blocks.
    Read,
    /// Write blocks.
    Write {
        /// Acknowledge only what is durable (force unit access).
        fua: bool,
    },
    /// Make durable what was acknowledged before.
    Flush,
    /// Let blocks go: what they read as afterwards is the device's choice.
    Discard,
    /// Make blocks read as zeros.
    WriteZeroes {
        /// As in [`Operation::Write`].
        fua: bool,
        /// Whether the device may deallocate them.
        unmap: bool,
    },
}

impl Operation {
    /// Whether it changes blocks: only these are ordered and fenced.
    #[must_use]
    pub const fn changes(self) -> bool {
        !matches!(self, Self::Read | Self::Flush)
    }

    /// Whether it must be durable when it is acknowledged.
    #[must_use]
    pub const fn is_fua(self) -> bool {
        matches!(self, Self::Write { fua: true } | Self::WriteZeroes { fua: true, .. })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write { fua: false } => "write",
            Self::Write { fua: true } => "write-fua",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes { .. } => "write-zeroes",
        })
    }
}

/// One block request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// What is asked.
    pub operation: Operation,
    /// The first logical block; 0 for a flush.
    pub lba: u64,
    /// How many logical blocks; 0 for a flush.
    pub blocks: u32,
}

/// Names a request from its submission to its completion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub(crate) Key);

impl RequestId {
    /// A small number, less than [`crate::Limits::requests`], free for another request when this
    /// one is complete: the place of what the shell keeps for it.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.place()
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SubmitError {
    /// As many requests as there is room for are there already; one will end.
    Full,
    /// The blocks lie behind the end of the device.
    OutOfRange,
    /// No blocks, or more than [`crate::Limits::blocks_per_request`].
    Length,
    /// The engine was stopped.
    Stopped,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many requests at once",
            Self::OutOfRange => "the blocks lie behind the end of the device",
            Self::Length => "a request of no blocks, or of too many",
            Self::Stopped => "the device was stopped",
        })
    }
}

impl std::error::Error for SubmitError {}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RequestError {
    /// The target says so, and would on every path.
    Target(TargetError),
    /// No path is live, and the limit for that is over.
    NoPath,
    /// It failed on path after path, each time for a reason that may pass, more often than allowed.
    Exhausted,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(error) => f.write_str(error.text()),
            Self::NoPath => f.write_str("no path to the logical unit is left"),
            Self::Exhausted => f.write_str("it failed on one path after another"),
        }
    }
}

impl std::error::Error for RequestError {}

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Behind an earlier write to some of its blocks.
    Ordered,
    /// For a path.
    Waiting,
    /// For a moment, until the target is less busy.
    Delayed(Time),
    /// On a path, as this command.
    Sent(Key),
    /// Lost on a path, as this command, which may yet reach the medium.
    InDoubt(Key),
}

/// A request as the engine keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) request: Request,
    /// Whether it changes blocks.
    pub(crate) changes: bool,
    pub(crate) stage: Stage,
    pub(crate) submitted: Time,
    /// Blocks that are done, of a request that goes in parts, and of the part that was sent last.
    pub(crate) done: u32,
    pub(crate) part: u32,
    /// Resets that were seen when the first part was done.
    pub(crate) resets: u64,
    pub(crate) attempts: u16,
    /// Since when the target is busy for it, and how often it said so.
    pub(crate) busy: Option<(Time, u16)>,
    /// The path on which the last try failed: another goes first.
    pub(crate) avoid: Option<u16>,
    /// The data are there, and not yet durable: a flush follows. Holds the number of resets that
    /// were seen by then; where one more is seen, the data may be gone and are sent again.
    pub(crate) flushing: Option<u64>,
}

impl Entry {
    /// Whether the command that was sent last is all that it takes, as nearly always.
    pub(crate) const fn is_one_command(&self) -> bool {
        self.part == self.request.blocks
            && self.flushing.is_none()
            && !matches!(self.request.operation, Operation::WriteZeroes { fua: true, .. })
    }

    /// A flush that was lost, or met a reset, may have come too late for its data.
    pub(crate) const fn begin_anew_if_flushing(&mut self) {
        if self.flushing.take().is_some() {
            self.done = 0;
        }
    }
}
