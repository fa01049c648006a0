//! Commands that the driver wants sent, and what became of them.

use core::fmt;
use core::num::NonZeroU32;

use super::config::{IDENTITY_BYTES, TARGETS_MAX};
use super::slots::PathId;
use crate::spc::cdb::{Cdb, CdbBytes, ReportFormat};
use crate::spc::target_port_groups::{StpgDescriptor, encode_stpg};
use crate::spc::{Status, WireError};

/// The longest data that a [`Command`] sends, in bytes: an STPG list of [`TARGETS_MAX`] groups.
pub const DATA_OUT_MAX: usize = 4 + 4 * TARGETS_MAX;

/// Names one command of one logical unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub(super) NonZeroU32);

/// A command to be sent down a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// Names the command when its [`Outcome`] is handed back.
    pub id: CommandId,
    /// The path to send it down.
    pub path: PathId,
    /// What to send.
    pub kind: CommandKind,
    /// How long the shell waits for an answer, in milliseconds, before it aborts the command and
    /// reports [`Outcome::TimedOut`].
    pub timeout_ms: u32,
}

/// What a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandKind {
    /// TEST UNIT READY.
    TestUnitReady,
    /// REPORT TARGET PORT GROUPS.
    ReportTargetPortGroups {
        /// The parameter data format to ask for.
        format: ReportFormat,
        /// The allocation length: bytes of buffer to offer.
        allocation_length: u32,
    },
    /// SET TARGET PORT GROUPS.
    SetTargetPortGroups(StpgTargets),
    /// INQUIRY for the device identification page (83h).
    ReadIdentification,
}

/// The descriptors of one SET TARGET PORT GROUPS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StpgTargets {
    descriptors: [StpgDescriptor; TARGETS_MAX],
    count: u8,
}

impl StpgTargets {
    /// The descriptors of `from`; those beyond [`TARGETS_MAX`] are left out.
    pub(super) fn collect(from: impl Iterator<Item = StpgDescriptor>) -> Self {
        let nothing = StpgDescriptor { state: crate::access::AccessState::ActiveOptimized, id: 0 };
        let mut descriptors = [nothing; TARGETS_MAX];
        let mut count = 0_u8;
        for (place, descriptor) in descriptors.iter_mut().zip(from) {
            *place = descriptor;
            count = count.saturating_add(1);
        }
        Self { descriptors, count }
    }

    /// The descriptors, in the order in which they are sent.
    #[must_use]
    pub fn as_slice(&self) -> &[StpgDescriptor] {
        self.descriptors.get(..usize::from(self.count)).unwrap_or(&[])
    }
}

impl Command {
    /// The command descriptor block.
    #[must_use]
    pub fn cdb(&self) -> CdbBytes {
        match self.kind {
            CommandKind::TestUnitReady => Cdb::TestUnitReady,
            CommandKind::ReportTargetPortGroups { format, allocation_length } => {
                Cdb::ReportTargetPortGroups { format, allocation_length }
            }
            CommandKind::SetTargetPortGroups(_) => {
                Cdb::SetTargetPortGroups { parameter_list_length: self.data_out_len() }
            }
            CommandKind::ReadIdentification => {
                Cdb::Inquiry { page: Some(0x83), allocation_length: IDENTITY_BYTES }
            }
        }
        .encode()
    }

    /// Bytes of buffer that the command reads into; 0 where it reads nothing.
    #[must_use]
    pub const fn data_in_len(&self) -> u32 {
        match self.kind {
            CommandKind::ReportTargetPortGroups { allocation_length, .. } => allocation_length,
            CommandKind::ReadIdentification => IDENTITY_BYTES as u32,
            CommandKind::TestUnitReady | CommandKind::SetTargetPortGroups(_) => 0,
        }
    }

    /// Bytes that the command sends; 0 where it sends nothing. At most [`DATA_OUT_MAX`].
    #[must_use]
    pub fn data_out_len(&self) -> u32 {
        match self.kind {
            CommandKind::SetTargetPortGroups(targets) => {
                u32::from(targets.count).saturating_mul(4).saturating_add(4)
            }
            _ => 0,
        }
    }

    /// Writes the data that the command sends into `buffer` and tells how many bytes that is.
    ///
    /// # Errors
    /// The buffer is shorter than [`data_out_len`](Self::data_out_len).
    pub fn write_data_out(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        match &self.kind {
            CommandKind::SetTargetPortGroups(targets) => encode_stpg(targets.as_slice(), buffer),
            _ => Ok(0),
        }
    }
}

impl fmt::Display for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestUnitReady => f.write_str("TEST UNIT READY"),
            Self::ReportTargetPortGroups { format: ReportFormat::Extended, .. } => {
                f.write_str("REPORT TARGET PORT GROUPS (extended)")
            }
            Self::ReportTargetPortGroups { .. } => f.write_str("REPORT TARGET PORT GROUPS"),
            Self::SetTargetPortGroups(targets) => {
                f.write_str("SET TARGET PORT GROUPS")?;
                for wanted in targets.as_slice() {
                    write!(f, " {}={}", wanted.id, wanted.state)?;
                }
                Ok(())
            }
            Self::ReadIdentification => f.write_str("INQUIRY page 83h"),
        }
    }
}

/// What became of a command. Nothing in it is trusted: neither lengths nor contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome<'a> {
    /// The transport did not take the command: it was never sent.
    NotSubmitted,
    /// The path is gone or cannot be reached: the command was not sent, and another path has to
    /// carry it.
    Unreachable,
    /// The transport failed after it took the command: whether the target executed it is unknown.
    TransportFailed,
    /// No answer came in time, and the command was aborted: as unknown as a failed transport.
    TimedOut,
    /// The target answered.
    Answered {
        /// The SCSI status.
        status: Status,
        /// The sense data as received; empty where there is none.
        sense: &'a [u8],
        /// The data as received, and not a byte more than was received.
        data: &'a [u8],
    },
}
