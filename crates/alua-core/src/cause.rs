//! Why a state is what it is.
//!
//! Every access state, refusal and wait carries its cause, so that the command line, logs and
//! traces say the same thing.

use core::fmt;

use crate::access::AccessState;
use crate::spc::sense::Sense;
use crate::spc::{Status, WireError};
use crate::time::Time;
use crate::tpgs::AluaOff;
use crate::unit::PathId;

/// The evidence that an access state rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing was read yet.
    NeverRead,
    /// Asymmetric access is off for the logical unit.
    AluaOff(AluaOff),
    /// The path names no target port group (page 83h has no type 5h designator).
    NoGroup,
    /// A report says so.
    Report {
        /// The path that the report was read through.
        path: PathId,
        /// When.
        at: Time,
    },
    /// A sense code says so.
    Sense {
        /// The path that answered.
        path: PathId,
        /// What it answered.
        sense: SenseCode,
        /// When.
        at: Time,
    },
    /// The transition outlived its limit; the group is treated as standby.
    TransitionExpired {
        /// When the transition began.
        since: Time,
        /// The limit, in milliseconds.
        limit_ms: u32,
    },
    /// The last report does not list the group.
    AbsentFromReport {
        /// The path that the report was read through.
        path: PathId,
        /// When.
        at: Time,
    },
    /// TEST UNIT READY succeeded where no report can be read: the transition is over, but the
    /// state is not known.
    Ready {
        /// The path that was ready.
        path: PathId,
        /// When.
        at: Time,
    },
}

/// The three bytes of sense data that name a condition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SenseCode {
    /// Sense key, 0h to Fh.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

impl From<&Sense> for SenseCode {
    fn from(sense: &Sense) -> Self {
        Self { key: sense.key.bits(), asc: sense.asc, ascq: sense.ascq }
    }
}

/// Why a refresh ended without a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RefreshError {
    /// The logical unit has no path that may be asked.
    NoPath,
    /// The command could not be handed to any path's transport.
    NotSubmitted,
    /// The transport failed on the last path that was tried.
    Transport(PathId),
    /// The command timed out on the last path that was tried.
    TimedOut(PathId),
    /// The target refused REPORT TARGET PORT GROUPS in both formats. It is not asked again until
    /// the unit attention conditions, a rescan or a new path give a reason to.
    Unsupported(SenseCode),
    /// The target answered with sense that no rule of the refresh covers.
    Sense(SenseCode),
    /// The target answered with this status, or with CHECK CONDITION and no sense data.
    Status(Status),
    /// The report breaks a rule of its format.
    Malformed(WireError),
    /// The target claims a report of this many bytes, more than is believed.
    TooLong(u32),
    /// The report was longer at every try; the last length claimed, in bytes.
    KeepsGrowing(u32),
    /// Unit attentions took every turn.
    Attentions(SenseCode),
    /// The only paths left are in doubt about who they are.
    IdentityInDoubt,
}

impl RefreshError {
    /// Whether asking again later, without a new event, may help.
    #[must_use]
    pub const fn is_worth_retrying(self) -> bool {
        !matches!(self, Self::NoPath | Self::Unsupported(_))
    }
}

impl fmt::Display for SenseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}h {:02X}/{:02X}", self.key, self.asc, self.ascq)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRead => f.write_str("no report was read yet"),
            Self::AluaOff(off) => write!(f, "{off}"),
            Self::NoGroup => f.write_str("the path names no target port group"),
            Self::Report { path, .. } => write!(f, "reported through path {path}"),
            Self::Sense { path, sense, .. } => write!(f, "path {path} answered sense {sense}"),
            Self::TransitionExpired { limit_ms, .. } => {
                write!(f, "the transition outlived its limit of {limit_ms} ms")
            }
            Self::AbsentFromReport { path, .. } => {
                write!(f, "the report read through path {path} does not list the group")
            }
            Self::Ready { path, .. } => {
                write!(f, "path {path} is ready again, and no report can be read")
            }
        }
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPath => f.write_str("no path is left to ask"),
            Self::NotSubmitted => f.write_str("no path took the command"),
            Self::Transport(path) => write!(f, "the transport failed, last on path {path}"),
            Self::TimedOut(path) => write!(f, "no answer in time, last on path {path}"),
            Self::Unsupported(sense) => {
                write!(f, "the target refuses REPORT TARGET PORT GROUPS (sense {sense})")
            }
            Self::Sense(sense) => write!(f, "the target answered sense {sense}"),
            Self::Status(Status::CheckCondition) => {
                f.write_str("the target answered CHECK CONDITION without sense data")
            }
            Self::Status(status) => write!(f, "the target answered {status}"),
            Self::Malformed(error) => write!(f, "the report is malformed: {error}"),
            Self::TooLong(claimed) => {
                write!(f, "the target claims a report of {claimed} bytes, more than is believed")
            }
            Self::KeepsGrowing(claimed) => {
                write!(f, "the report grew at every reading, at last to {claimed} bytes")
            }
            Self::Attentions(sense) => {
                write!(f, "unit attentions took every turn, the last was sense {sense}")
            }
            Self::IdentityInDoubt => {
                f.write_str("the identity of the paths left is in doubt, page 83h is read first")
            }
        }
    }
}

impl core::error::Error for RefreshError {}

/// A state together with what it rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The state; `None` where it is not known.
    pub state: Option<AccessState>,
    /// What it rests on.
    pub cause: Cause,
}
