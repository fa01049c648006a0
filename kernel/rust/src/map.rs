//! The kernel's numbers and ours.

use alua_core::access::AccessState;
use alua_core::cause::{Cause, RefreshError, SenseCode};
use alua_core::gate::{Gate, Hold};
use alua_core::sense::{Disposition, Meaning};
use alua_core::spc::Status;
use alua_core::unit::{ActivationError, ActivationRefused, ActivationResult, Outcome, PathId};

use crate::abi::*;

/// `enum scsi_disposition`, as far as `check_sense` gives it. The glue asserts the values.
pub const NEEDS_RETRY: i32 = 0x2001;
/// Requeue without counting a retry.
pub const ADD_TO_MLQUEUE: i32 = 0x2006;
/// Not a matter of the handler's.
pub const SCSI_RETURN_NOT_HANDLED: i32 = 0x2008;

/// `SCSI_DH_*` of `scsi/scsi_dh.h`. The glue asserts the values.
pub const SCSI_DH_OK: i32 = 0;
/// The whole priority group is passed over for a while.
pub const SCSI_DH_DEV_TEMP_BUSY: i32 = 2;
/// Not connected any more; the path fails.
pub const SCSI_DH_NOTCONN: i32 = 5;
/// The path fails.
pub const SCSI_DH_IO: i32 = 8;
/// Again later.
pub const SCSI_DH_RETRY: i32 = 10;
/// Again now.
pub const SCSI_DH_RES_TEMP_UNAVAIL: i32 = 13;
/// The path fails: the device is offline.
pub const SCSI_DH_DEV_OFFLINED: i32 = 14;

const DID_OK: u32 = 0;
const DID_NO_CONNECT: u32 = 1;
const DID_TIME_OUT: u32 = 3;

/// What `check_sense` answers (rows E01 to E11).
///
/// A transition is retried with a count, then the midlayer prepares the command again after a
/// second. A unit attention of ours is requeued without a count: the command was not executed. All
/// else is for the midlayer, which ends the command so that multipathing takes another path.
#[must_use]
pub const fn disposition(meaning: &Meaning) -> i32 {
    match meaning.disposition {
        Disposition::Wait => NEEDS_RETRY,
        Disposition::RetryHere => ADD_TO_MLQUEUE,
        Disposition::RetryElsewhere | Disposition::Fail | Disposition::HandOn => {
            SCSI_RETURN_NOT_HANDLED
        }
    }
}

/// What became of a command, from what `scsi_execute_cmd` returned: below zero it was not
/// submitted, else it is host byte (bits 23 to 16) and status byte (bits 7 to 0). A status counts
/// whatever the host byte says: the midlayer sets that too for some sense data.
#[must_use]
pub fn outcome<'a>(result: i32, sense: &'a [u8], data: &'a [u8]) -> Outcome<'a> {
    let Ok(result) = u32::try_from(result) else { return Outcome::NotSubmitted };
    let [code, _, host, _] = result.to_le_bytes();
    match (Status::from_code(code), u32::from(host)) {
        (Status::Good, DID_OK) => Outcome::Answered { status: Status::Good, sense: &[], data },
        (Status::Good, DID_TIME_OUT) => Outcome::TimedOut,
        (Status::Good, DID_NO_CONNECT) => Outcome::Unreachable,
        (Status::Good, _) => Outcome::TransportFailed,
        (status, _) => Outcome::Answered { status, sense, data: &[] },
    }
}

/// What dm-multipath is told of an activation (rows D and G).
///
/// OK where I/O passes; "again" where waiting may help; else the path fails and another is tried.
#[must_use]
pub const fn activation(result: ActivationResult) -> i32 {
    let Err(error) = result else { return SCSI_DH_OK };
    match error {
        // Nothing is managed, so nothing stands in the way of I/O.
        ActivationError::AluaOff => SCSI_DH_OK,
        ActivationError::RateLimited { .. } => SCSI_DH_RETRY,
        ActivationError::NotSubmitted
        | ActivationError::Status(Status::Busy | Status::TaskSetFull) => SCSI_DH_DEV_TEMP_BUSY,
        ActivationError::Transport => SCSI_DH_RES_TEMP_UNAVAIL,
        ActivationError::NoPath => SCSI_DH_DEV_OFFLINED,
        ActivationError::ShutDown => SCSI_DH_NOTCONN,
        ActivationError::NotActivatable { state: AccessState::Offline, .. }
        | ActivationError::ImplicitOnly { state: AccessState::Offline, .. } => SCSI_DH_DEV_OFFLINED,
        ActivationError::Refresh(error) => refresh(error),
        _ => SCSI_DH_IO,
    }
}

const fn refresh(error: RefreshError) -> i32 {
    match error {
        RefreshError::NotSubmitted | RefreshError::Status(Status::Busy | Status::TaskSetFull) => {
            SCSI_DH_DEV_TEMP_BUSY
        }
        RefreshError::Transport(_) | RefreshError::TimedOut(_) => SCSI_DH_RES_TEMP_UNAVAIL,
        RefreshError::Attentions(_) | RefreshError::IdentityInDoubt => SCSI_DH_RETRY,
        RefreshError::NoPath => SCSI_DH_DEV_OFFLINED,
        _ => SCSI_DH_IO,
    }
}

/// An activation that ended at once.
#[must_use]
pub const fn done(result: i32) -> AluaActivation {
    AluaActivation { kind: ALUA_ACT_DONE, id: 0, result }
}

/// What becomes of a request that was not taken.
#[must_use]
pub const fn refused(refused: ActivationRefused) -> AluaActivation {
    match refused {
        ActivationRefused::TooManyActivations => {
            AluaActivation { kind: ALUA_ACT_LATER, id: 0, result: 0 }
        }
        ActivationRefused::AluaOff => done(SCSI_DH_OK),
        ActivationRefused::NoPath | ActivationRefused::ShutDown => done(SCSI_DH_NOTCONN),
        _ => done(SCSI_DH_IO),
    }
}

/// The word that `prep_fn` reads.
#[must_use]
pub const fn gate(gate: Gate) -> u8 {
    match gate {
        Gate::Pass => ALUA_GATE_PASS,
        Gate::Hold(Hold::IdentityInDoubt | Hold::StateUnknown | Hold::Transitioning) => {
            ALUA_GATE_HOLD
        }
        Gate::Refuse(_) => ALUA_GATE_REFUSE,
    }
}

/// A state as one byte.
#[must_use]
pub fn state(state: Option<AccessState>) -> u8 {
    state.map_or(ALUA_UNKNOWN, AccessState::bits)
}

/// The byte that sysfs shows as `access_state` and `preferred_path`.
#[must_use]
pub fn access_state(state: Option<AccessState>, preferred: bool) -> u8 {
    state.map_or(ALUA_ACCESS_UNKNOWN, AccessState::bits) | if preferred { 0x80 } else { 0 }
}

/// What a state rests on.
#[must_use]
pub fn cause(cause: Cause) -> AluaCause {
    match cause {
        Cause::AluaOff(_) => plain(ALUA_CAUSE_OFF),
        Cause::NoGroup => plain(ALUA_CAUSE_NO_GROUP),
        Cause::Report { path, .. } => told(ALUA_CAUSE_REPORT, path),
        Cause::Sense { path, sense, .. } => {
            AluaCause { path: number(path), ..sensed(ALUA_CAUSE_SENSE, sense) }
        }
        Cause::TransitionExpired { limit_ms, .. } => {
            AluaCause { detail: limit_ms, ..plain(ALUA_CAUSE_EXPIRED) }
        }
        Cause::AbsentFromReport { path, .. } => told(ALUA_CAUSE_ABSENT, path),
        Cause::Ready { path, .. } => told(ALUA_CAUSE_READY, path),
        _ => plain(ALUA_CAUSE_NEVER),
    }
}

/// Why a refresh failed.
#[must_use]
pub fn failure(error: RefreshError) -> AluaCause {
    match error {
        RefreshError::NoPath => plain(ALUA_CAUSE_NO_PATH),
        RefreshError::NotSubmitted => plain(ALUA_CAUSE_NOT_SUBMITTED),
        RefreshError::Transport(path) => told(ALUA_CAUSE_TRANSPORT, path),
        RefreshError::TimedOut(path) => told(ALUA_CAUSE_TIMEOUT, path),
        RefreshError::Unsupported(sense) => sensed(ALUA_CAUSE_UNSUPPORTED, sense),
        RefreshError::Sense(sense) => sensed(ALUA_CAUSE_BAD_SENSE, sense),
        RefreshError::Status(status) => {
            AluaCause { status: status.code(), ..plain(ALUA_CAUSE_STATUS) }
        }
        RefreshError::Malformed(error) => {
            let detail = u32::try_from(error.offset).unwrap_or(u32::MAX);
            AluaCause { detail, ..plain(ALUA_CAUSE_MALFORMED) }
        }
        RefreshError::TooLong(detail) | RefreshError::KeepsGrowing(detail) => {
            AluaCause { detail, ..plain(ALUA_CAUSE_TOO_LONG) }
        }
        RefreshError::Attentions(sense) => sensed(ALUA_CAUSE_ATTENTIONS, sense),
        RefreshError::IdentityInDoubt => plain(ALUA_CAUSE_DOUBT),
        _ => plain(ALUA_CAUSE_NEVER),
    }
}

/// The number by which C knows a path: its place.
#[must_use]
pub fn number(path: PathId) -> u16 {
    u16::try_from(path.index()).unwrap_or(ALUA_NO_PATH)
}

fn plain(kind: u8) -> AluaCause {
    AluaCause { kind, path: ALUA_NO_PATH, ..AluaCause::default() }
}

fn told(kind: u8, path: PathId) -> AluaCause {
    AluaCause { path: number(path), ..plain(kind) }
}

fn sensed(kind: u8, sense: SenseCode) -> AluaCause {
    AluaCause { key: sense.key, asc: sense.asc, ascq: sense.ascq, ..plain(kind) }
}
