//! How commands and task management functions end.

use std::fmt;

use alua_core::spc::Status;

use crate::nexus::{NexusId, TransportError};
use crate::sense::SenseBytes;
use crate::time::Time;

/// The end of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// The nexus that sent it.
    pub nexus: NexusId,
    /// Its tag.
    pub tag: u64,
    /// When the initiator heard of it.
    pub at: Time,
    /// What it heard. A command that hangs has no completion until it is aborted, and none then.
    pub outcome: Outcome,
}

/// What the initiator of a command hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The device server answered.
    Answered {
        /// The status byte.
        status: Status,
        /// Sense data, with CHECK CONDITION.
        sense: Option<SenseBytes>,
        /// The data that arrived: at most the capacity given at submission.
        data_in: Vec<u8>,
        /// Bytes of the capacity that the data did not fill; negative: bytes of data for which
        /// there was no room.
        residual: i64,
    },
    /// The transport failed. Unless it is [`TransportError::NoConnect`], nobody can tell whether
    /// the command was carried out or will be.
    Transport(TransportError),
}

impl Outcome {
    /// The status, if the device server answered.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Transport(_) => None,
        }
    }

    /// The sense data, if there are any.
    #[must_use]
    pub const fn sense(&self) -> Option<&SenseBytes> {
        match self {
            Self::Answered { sense, .. } => sense.as_ref(),
            Self::Transport(_) => None,
        }
    }

    /// The data, empty where there are none.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Self::Answered { data_in, .. } => data_in,
            Self::Transport(_) => &[],
        }
    }

    /// Whether the device server answered GOOD.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Answered { status: Status::Good, .. })
    }
}

/// In short, as in the trace: `GOOD 512`, `CHECK CONDITION 2/04/0a`, `disrupted`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, sense: Some(sense), .. } => {
                write!(f, "{status} {}", sense.triple())
            }
            Self::Answered { status, data_in, .. } if !data_in.is_empty() => {
                write!(f, "{status} {}", data_in.len())
            }
            Self::Answered { status, .. } => write!(f, "{status}"),
            Self::Transport(error) => write!(f, "{error}"),
        }
    }
}

/// The answer to a task management function. It is there at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunctionResult {
    /// Done. No command that it ended will be carried out any more.
    Complete,
    /// Done: there was no such command. It may have ended already.
    NoSuchTask,
    /// There is no such logical unit.
    NoSuchUnit,
    /// The device server did not do it (FUNCTION REJECTED).
    Rejected,
    /// There is no answer, and there will be none. Nobody can tell whether it was done.
    NoAnswer,
    /// The transport failed; unless it is [`TransportError::NoConnect`], nobody can tell whether it
    /// was done.
    Transport(TransportError),
}

/// Why a command was not even taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The nexus is not there: disconnected, or replaced by a later one of the same initiator.
    #[error("nexus {0} has ended: connect again")]
    NexusEnded(NexusId),
    /// The CDB is empty or longer than 32 bytes.
    #[error("a CDB of {0} bytes: 1 to 32 are allowed")]
    CdbLength(usize),
}

/// Why a nexus was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The array has no such port.
    #[error("the array has no port with relative target port id {0}")]
    NoSuchPort(u16),
    /// The port, or its controller, is down.
    #[error("port {0} is down")]
    PortDown(u16),
}

/// Blocks that changed, in the order in which the medium saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediumWrite {
    /// When.
    pub at: Time,
    /// The number of the unit, from 0, in the order of the configuration.
    pub unit: usize,
    /// The nexus that sent the command.
    pub nexus: NexusId,
    /// The command's tag.
    pub tag: u64,
    /// What happened to the blocks.
    pub kind: MediumChange,
    /// The first block.
    pub lba: u64,
    /// How many blocks.
    pub blocks: u64,
}

/// What a command did to blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediumChange {
    /// Data was written.
    Write,
    /// The blocks were unmapped: they read as zeros.
    Unmap,
}
