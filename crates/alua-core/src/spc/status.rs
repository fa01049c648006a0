//! The SCSI status byte (SAM-5, 5.3.1).

use core::fmt;

/// How a command ended, as the device server says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// 00h: done.
    Good,
    /// 02h: sense data tells more.
    CheckCondition,
    /// 04h: done, and the condition asked for is met.
    ConditionMet,
    /// 08h: the logical unit is busy; the command was not started.
    Busy,
    /// 18h: a reservation of another I_T nexus forbids the command.
    ReservationConflict,
    /// 28h: no room for another command; the command was not started.
    TaskSetFull,
    /// 30h: an auto contingent allegiance is active.
    AcaActive,
    /// 40h: aborted from another I_T nexus, with task aborted status on.
    TaskAborted,
    /// Any other value.
    Other(u8),
}

impl Status {
    /// The status with that code.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0x00 => Self::Good,
            0x02 => Self::CheckCondition,
            0x04 => Self::ConditionMet,
            0x08 => Self::Busy,
            0x18 => Self::ReservationConflict,
            0x28 => Self::TaskSetFull,
            0x30 => Self::AcaActive,
            0x40 => Self::TaskAborted,
            other => Self::Other(other),
        }
    }

    /// The status byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Good => 0x00,
            Self::CheckCondition => 0x02,
            Self::ConditionMet => 0x04,
            Self::Busy => 0x08,
            Self::ReservationConflict => 0x18,
            Self::TaskSetFull => 0x28,
            Self::AcaActive => 0x30,
            Self::TaskAborted => 0x40,
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.pad("GOOD"),
            Self::CheckCondition => f.pad("CHECK CONDITION"),
            Self::ConditionMet => f.pad("CONDITION MET"),
            Self::Busy => f.pad("BUSY"),
            Self::ReservationConflict => f.pad("RESERVATION CONFLICT"),
            Self::TaskSetFull => f.pad("TASK SET FULL"),
            Self::AcaActive => f.pad("ACA ACTIVE"),
            Self::TaskAborted => f.pad("TASK ABORTED"),
            Self::Other(code) => write!(f, "status {code:02X}h"),
        }
    }
}
