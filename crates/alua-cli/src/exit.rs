//! Exit codes.
//!
//! # Contract
//!
//! Where `sg_turs` and its relatives (sg3_utils) give a meaning to a number, `alua` gives it the
//! same: scripts that know 2, 12 and 13 go on working. 50 plus an error number of Linux is an error
//! of the operating system, as there. From 100 on the numbers are our own.

use alua_core::access::AccessState;
use alua_core::cause::SenseCode;
use alua_core::spc::Status;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_host::sg::OpenError;
use alua_host::transport::{NotSubmitted, Reply, TransportError};

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    Good = 0,
    Usage = 1,
    NotReady = 2,
    MediumOrHardware = 3,
    IllegalRequest = 5,
    UnitAttention = 6,
    DataProtect = 7,
    InvalidOpcode = 9,
    AbortedCommand = 11,
    Standby = 12,
    Unavailable = 13,
    File = 15,
    ReservationConflict = 24,
    Busy = 26,
    TaskSetFull = 27,
    TaskAborted = 29,
    TimedOut = 33,
    Transport = 35,
    NoSuchDevice = 52,
    DeviceGone = 56,
    Permission = 63,
    Malformed = 97,
    OtherSense = 98,
    Other = 99,
    Transitioning = 100,
    Offline = 101,
    AluaOff = 102,
    NotReached = 103,
    TargetRefused = 104,
    NotSent = 105,
    Identity = 106,
    Expectation = 107,
    CheckFailed = 108,
}

impl Exit {
    /// Every code, for the documentation.
    pub(crate) const ALL: [Self; 33] = [
        Self::Good,
        Self::Usage,
        Self::NotReady,
        Self::MediumOrHardware,
        Self::IllegalRequest,
        Self::UnitAttention,
        Self::DataProtect,
        Self::InvalidOpcode,
        Self::AbortedCommand,
        Self::Standby,
        Self::Unavailable,
        Self::File,
        Self::ReservationConflict,
        Self::Busy,
        Self::TaskSetFull,
        Self::TaskAborted,
        Self::TimedOut,
        Self::Transport,
        Self::NoSuchDevice,
        Self::DeviceGone,
        Self::Permission,
        Self::Malformed,
        Self::OtherSense,
        Self::Other,
        Self::Transitioning,
        Self::Offline,
        Self::AluaOff,
        Self::NotReached,
        Self::TargetRefused,
        Self::NotSent,
        Self::Identity,
        Self::Expectation,
        Self::CheckFailed,
    ];

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in one line.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Good => "done; for tur and explain: the path is ready",
            Self::Usage => "wrong use of the command line",
            Self::NotReady => "not ready otherwise; tur, as sg_turs: transitioning and offline too",
            Self::MediumOrHardware => "MEDIUM ERROR or HARDWARE ERROR",
            Self::IllegalRequest => "ILLEGAL REQUEST: the device does not take the command",
            Self::UnitAttention => "UNIT ATTENTION",
            Self::DataProtect => "DATA PROTECT",
            Self::InvalidOpcode => "ILLEGAL REQUEST, invalid operation code",
            Self::AbortedCommand => "ABORTED COMMAND",
            Self::Standby => "the path is in standby state",
            Self::Unavailable => "the path is in unavailable state",
            Self::File => "a file cannot be read or written",
            Self::ReservationConflict => "RESERVATION CONFLICT",
            Self::Busy => "BUSY",
            Self::TaskSetFull => "TASK SET FULL",
            Self::TaskAborted => "TASK ABORTED",
            Self::TimedOut => "no answer in time",
            Self::Transport => "the transport failed, or no path is left",
            Self::NoSuchDevice => "no such device or logical unit, or the name is ambiguous",
            Self::DeviceGone => "the device is gone, or the kernel holds it offline",
            Self::Permission => "permission is missing",
            Self::Malformed => "data breaks a rule of its format",
            Self::OtherSense => "another sense key",
            Self::Other => "anything else",
            Self::Transitioning => "the path or group is in transition (tur: 2)",
            Self::Offline => "the path is in offline state (tur: 2)",
            Self::AluaOff => "the logical unit takes no part in ALUA",
            Self::NotReached => {
                "verification failed: the target did not enter the states asked for"
            }
            Self::TargetRefused => "the target refused SET TARGET PORT GROUPS",
            Self::NotSent => "nothing was sent: a check or a limit of the driver forbids it",
            Self::Identity => "the path leads to another logical unit, or may do so",
            Self::Expectation => "demo: something else happened than was expected",
            Self::CheckFailed => "check: the target breaks a rule",
        }
    }

    /// The code for an access state that stands in the way of I/O; 0 for a live one.
    pub(crate) const fn of_state(state: AccessState) -> Self {
        match state {
            AccessState::Standby => Self::Standby,
            AccessState::Unavailable => Self::Unavailable,
            AccessState::Transitioning => Self::Transitioning,
            AccessState::Offline => Self::Offline,
            AccessState::Reserved(_) => Self::NotReady,
            _ => Self::Good,
        }
    }

    /// The code as sg_turs has it: what it has no number for is "not ready".
    pub(crate) const fn as_sg_turs(self) -> Self {
        match self {
            Self::Transitioning | Self::Offline => Self::NotReady,
            other => other,
        }
    }

    /// The code for sense data.
    pub(crate) fn of_sense(sense: &Sense) -> Self {
        match alua_core::sense::meaning(sense).state {
            Some(state) => Self::of_state(state),
            None => Self::of_key(sense.key, sense.asc),
        }
    }

    /// The code for the three bytes that the core keeps of sense data.
    pub(crate) fn of_code(code: SenseCode) -> Self {
        Self::of_sense(&Sense::new(SenseKey::from_bits(code.key), code.asc, code.ascq))
    }

    const fn of_key(key: SenseKey, asc: u8) -> Self {
        match key {
            SenseKey::NoSense | SenseKey::RecoveredError | SenseKey::Completed => Self::Good,
            SenseKey::NotReady => Self::NotReady,
            SenseKey::MediumError | SenseKey::HardwareError | SenseKey::BlankCheck => {
                Self::MediumOrHardware
            }
            SenseKey::IllegalRequest if asc == 0x20 => Self::InvalidOpcode,
            SenseKey::IllegalRequest => Self::IllegalRequest,
            SenseKey::UnitAttention => Self::UnitAttention,
            SenseKey::DataProtect => Self::DataProtect,
            SenseKey::AbortedCommand => Self::AbortedCommand,
            _ => Self::OtherSense,
        }
    }

    /// The code for a status without sense data.
    pub(crate) const fn of_status(status: Status) -> Self {
        match status {
            Status::Good | Status::ConditionMet => Self::Good,
            Status::Busy => Self::Busy,
            Status::ReservationConflict => Self::ReservationConflict,
            Status::TaskSetFull => Self::TaskSetFull,
            Status::TaskAborted => Self::TaskAborted,
            _ => Self::Other,
        }
    }

    /// The code for an answer.
    pub(crate) fn of_reply(reply: &Reply) -> Self {
        match (reply.status, reply.parsed_sense()) {
            (Status::CheckCondition, Some(Ok(sense))) => Self::of_sense(&sense),
            (status, _) => Self::of_status(status),
        }
    }

    /// The code for the lack of an answer.
    pub(crate) const fn of_transport(error: &TransportError) -> Self {
        match error {
            TransportError::NotSubmitted { cause: NotSubmitted::NoPermission, .. } => {
                Self::Permission
            }
            TransportError::NotSubmitted { cause: NotSubmitted::NoDevice, .. } => Self::DeviceGone,
            TransportError::TimedOut { .. } => Self::TimedOut,
            _ => Self::Transport,
        }
    }

    /// The code for a node that cannot be opened.
    pub(crate) const fn of_open(error: &OpenError) -> Self {
        match error {
            OpenError::NoPermission { .. } => Self::Permission,
            OpenError::NoDevice { .. } => Self::DeviceGone,
            OpenError::Missing { .. } => Self::NoSuchDevice,
            OpenError::NotANode { .. } | OpenError::NotScsi { .. } | OpenError::Map { .. } => {
                Self::Usage
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_in_order() {
        assert!(Exit::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_meanings_of_sg_turs_are_kept() {
        let of = |asc, ascq| Exit::of_sense(&Sense::new(SenseKey::NotReady, asc, ascq)).code();
        assert_eq!(of(0x04, 0x0b), 12);
        assert_eq!(of(0x04, 0x0c), 13);
        assert_eq!(of(0x04, 0x01), 2);
        assert_eq!(of(0x04, 0x0a), 100);
        assert_eq!(of(0x04, 0x12), 101);
        assert_eq!(Exit::of_state(AccessState::Transitioning).as_sg_turs(), Exit::NotReady);
        assert_eq!(Exit::Standby.as_sg_turs(), Exit::Standby);
    }
}
