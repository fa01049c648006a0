//! What a failed I/O means: for the request, for the path, and for the blocks.
//!
//! [`judge`] answers for every consumer, from the one sense table ([`crate::sense`]), the status and
//! the word of the transport. It says three things:
//!
//! - [`Verdict::next`]: what becomes of the request;
//! - [`Verdict::path`]: what the outcome says of the path that carried the command;
//! - [`Verdict::ended`]: whether the command is over. A device server that returned a status does
//!   nothing more for that command (SAM-5, command lifetime), so a command that was answered, and
//!   one that never left the host, can be sent again anywhere. One that the transport lost, or that
//!   nobody answered in time, may still be carried out, at any later moment: before a write is sent
//!   again its first copy must be fenced.

use crate::sense::{self, Disposition, Meaning};
use crate::spc::Status;
use crate::spc::sense::{Sense, SenseKey};

/// What became of an I/O command. Nothing in it is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoOutcome<'a> {
    /// The device server answered.
    Answered {
        /// The SCSI status.
        status: Status,
        /// The sense data as received; empty where there is none.
        sense: &'a [u8],
        /// Whether all data of the command moved.
        whole: bool,
    },
    /// An operating system sent the command, dealt with the answer itself and hands up a summary.
    Summed(Summary),
    /// The transport did not take the command: it was never sent.
    NotSubmitted,
    /// The transport failed after it took the command: whether the target executes it is unknown.
    TransportFailed,
    /// No answer came in time: as unknown as a failed transport.
    TimedOut,
}

/// What a block layer keeps of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Summary {
    /// Done.
    Good,
    /// The target refused the request itself; it would on every path.
    Target(TargetError),
    /// The device is gone, offline or blocked: the command was not sent.
    Gone,
    /// Not done, and the layer below knows that the target is through with it: it answered, or the
    /// layer's own error handling ended it.
    Ended,
    /// Not sent: the layer below goes by an access state that it read before, and will learn
    /// better in a moment.
    Held,
    /// Not sent for that reason, which is over.
    Unsent,
}

/// What becomes of the request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    /// It is done.
    Done,
    /// Send it again, this path will do: it lost its turn.
    Again,
    /// Send it again a moment later: the target is busy.
    Later,
    /// Send it again in a moment, this path will do: this host held it back, and will not for long.
    Soon,
    /// Send it down another path; this one cannot carry it now.
    Elsewhere,
    /// The path is in transition: another path if one is live, else wait for its end.
    Wait,
    /// Hand the error to whoever asked: every path would say the same.
    Fail(TargetError),
}

/// What an outcome says of the path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PathNews {
    /// It works.
    Works,
    /// It reaches the target, which did not carry the command out through it.
    Refused,
    /// It reaches the target, and what came back makes no sense.
    Odd,
    /// It did not reach the target.
    Failed,
}

/// The meaning of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What becomes of the request.
    pub next: Next,
    /// What it says of the path.
    pub path: PathNews,
    /// Whether the command is over: nothing of it can reach the medium any more.
    pub ended: bool,
    /// Whether trying again is counted: a target that answers so without end must not keep the
    /// request for ever.
    pub counted: bool,
}

/// An error about the command or the medium, the same on every path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TargetError {
    /// The blocks cannot be read or written (MEDIUM ERROR, BLANK CHECK).
    Medium,
    /// The device is broken (HARDWARE ERROR).
    Hardware,
    /// Writing is forbidden (DATA PROTECT).
    Protected,
    /// A thin provisioned unit has no room left (DATA PROTECT 27/07, VOLUME OVERFLOW).
    NoSpace,
    /// A reservation of another I_T nexus forbids the command (RESERVATION CONFLICT).
    Reservation,
    /// The blocks lie behind the end (ILLEGAL REQUEST 21/00).
    OutOfRange,
    /// The target does not have the command, or not in this form (ILLEGAL REQUEST).
    Unsupported,
    /// Data compared unequal (MISCOMPARE).
    Miscompare,
    /// Anything else that is about the command.
    Other,
}

impl TargetError {
    /// The error in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Medium => "the medium failed",
            Self::Hardware => "the device reports a hardware error",
            Self::Protected => "the device is write protected",
            Self::NoSpace => "the device has no space left",
            Self::Reservation => "a reservation of another host forbids it",
            Self::OutOfRange => "the blocks lie behind the end of the device",
            Self::Unsupported => "the device does not support the command",
            Self::Miscompare => "the data compared unequal",
            Self::Other => "the device refuses the command",
        }
    }
}

const fn verdict(next: Next, path: PathNews) -> Verdict {
    Verdict { next, path, ended: true, counted: false }
}

/// As [`verdict`], counted.
const fn limited(next: Next, path: PathNews) -> Verdict {
    Verdict { next, path, ended: true, counted: true }
}

const LOST: Verdict =
    Verdict { next: Next::Elsewhere, path: PathNews::Failed, ended: false, counted: true };

/// The meaning of `outcome`.
#[must_use]
#[inline]
pub fn judge(outcome: &IoOutcome<'_>) -> Verdict {
    if let IoOutcome::Answered { status: Status::Good, whole: true, .. } = *outcome {
        // Nearly every outcome: found without the table.
        return verdict(Next::Done, PathNews::Works);
    }
    judge_rest(outcome)
}

fn judge_rest(outcome: &IoOutcome<'_>) -> Verdict {
    match *outcome {
        IoOutcome::NotSubmitted => verdict(Next::Elsewhere, PathNews::Failed),
        IoOutcome::TransportFailed | IoOutcome::TimedOut => LOST,
        IoOutcome::Summed(summary) => match summary {
            Summary::Good => verdict(Next::Done, PathNews::Works),
            Summary::Target(error) => verdict(Next::Fail(error), PathNews::Works),
            Summary::Gone => verdict(Next::Elsewhere, PathNews::Failed),
            Summary::Ended => limited(Next::Elsewhere, PathNews::Odd),
            Summary::Held => limited(Next::Soon, PathNews::Refused),
            Summary::Unsent => limited(Next::Again, PathNews::Refused),
        },
        IoOutcome::Answered { status, sense, whole } => match status {
            Status::Good | Status::ConditionMet if whole => verdict(Next::Done, PathNews::Works),
            Status::Good | Status::ConditionMet => limited(Next::Elsewhere, PathNews::Odd),
            Status::CheckCondition => match Sense::parse(sense) {
                Ok(sense) => judge_sense(&sense, whole),
                Err(_) => limited(Next::Elsewhere, PathNews::Odd),
            },
            Status::Busy | Status::TaskSetFull | Status::AcaActive => {
                limited(Next::Later, PathNews::Refused)
            }
            Status::ReservationConflict => {
                verdict(Next::Fail(TargetError::Reservation), PathNews::Works)
            }
            Status::TaskAborted => limited(Next::Again, PathNews::Refused),
            Status::Other(_) => limited(Next::Elsewhere, PathNews::Odd),
        },
    }
}

/// The meaning of a CHECK CONDITION with `sense`; `whole` as in [`IoOutcome::Answered`].
#[must_use]
pub fn judge_sense(sense: &Sense, whole: bool) -> Verdict {
    let Meaning { disposition, .. } = sense::meaning(sense);
    match disposition {
        Disposition::RetryHere => limited(Next::Again, PathNews::Refused),
        Disposition::RetryElsewhere => verdict(Next::Elsewhere, PathNews::Refused),
        Disposition::Wait => verdict(Next::Wait, PathNews::Refused),
        Disposition::Fail => verdict(Next::Fail(target_error(sense)), PathNews::Works),
        Disposition::HandOn => general(sense, whole),
    }
}

/// What is not a matter of ALUA.
fn general(sense: &Sense, whole: bool) -> Verdict {
    if sense.deferred {
        // It speaks of an earlier command; this one was not carried out (SPC-5, deferred errors).
        return limited(Next::Again, PathNews::Refused);
    }
    match sense.key {
        SenseKey::RecoveredError if whole => verdict(Next::Done, PathNews::Works),
        // SBC, referrals: another group has the blocks.
        SenseKey::AbortedCommand if (sense.asc, sense.ascq) == (0x3f, 0x15) => {
            limited(Next::Elsewhere, PathNews::Refused)
        }
        SenseKey::UnitAttention | SenseKey::AbortedCommand => {
            limited(Next::Again, PathNews::Refused)
        }
        // Becoming ready, and whatever else passes by itself, now and then on one path only.
        SenseKey::NotReady if sense.asc == 0x04 && sense.ascq <= 0x01 => {
            limited(Next::Later, PathNews::Refused)
        }
        SenseKey::NotReady => limited(Next::Elsewhere, PathNews::Refused),
        SenseKey::HardwareError => verdict(Next::Fail(TargetError::Hardware), PathNews::Works),
        SenseKey::NoSense | SenseKey::RecoveredError => limited(Next::Elsewhere, PathNews::Odd),
        _ => verdict(Next::Fail(TargetError::Other), PathNews::Works),
    }
}

/// The kind of an error that is the same on every path.
fn target_error(sense: &Sense) -> TargetError {
    match (sense.key, sense.asc, sense.ascq) {
        (SenseKey::DataProtect, 0x27, 0x07) | (SenseKey::VolumeOverflow, ..) => {
            TargetError::NoSpace
        }
        (SenseKey::DataProtect, ..) => TargetError::Protected,
        (SenseKey::MediumError | SenseKey::BlankCheck, ..) => TargetError::Medium,
        (SenseKey::IllegalRequest, 0x21, _) => TargetError::OutOfRange,
        (SenseKey::IllegalRequest, ..) => TargetError::Unsupported,
        (SenseKey::Miscompare, ..) => TargetError::Miscompare,
        _ => TargetError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: SenseKey, asc: u8, ascq: u8) -> Verdict {
        judge_sense(&Sense::new(key, asc, ascq), true)
    }

    fn status(status: Status) -> Verdict {
        judge(&IoOutcome::Answered { status, sense: &[], whole: true })
    }

    #[test]
    fn good_is_done_and_short_data_is_not() {
        assert_eq!(status(Status::Good), verdict(Next::Done, PathNews::Works));
        let short = IoOutcome::Answered { status: Status::Good, sense: &[], whole: false };
        assert_eq!(judge(&short), limited(Next::Elsewhere, PathNews::Odd));
    }

    #[test]
    fn a_referral_moves_the_request() {
        let referred = check(SenseKey::AbortedCommand, 0x3f, 0x15);
        assert_eq!((referred.next, referred.counted), (Next::Elsewhere, true));
        assert_eq!(check(SenseKey::AbortedCommand, 0x44, 0).next, Next::Again);
    }

    #[test]
    fn n7_the_states_move_the_request() {
        for key in [SenseKey::NotReady, SenseKey::UnitAttention] {
            assert_eq!(check(key, 0x04, 0x0a).next, Next::Wait);
            assert_eq!(check(key, 0x04, 0x0b).next, Next::Elsewhere);
            assert_eq!(check(key, 0x04, 0x0c).next, Next::Elsewhere);
        }
        assert_eq!(check(SenseKey::NotReady, 0x04, 0x12).next, Next::Elsewhere);
    }

    #[test]
    fn unit_attentions_cost_a_turn() {
        for (asc, ascq) in [(0x29, 0x00), (0x2a, 0x06), (0x3f, 0x0e), (0x5d, 0x00)] {
            assert_eq!(check(SenseKey::UnitAttention, asc, ascq).next, Next::Again);
        }
    }

    #[test]
    fn i13_a_reservation_conflict_is_handed_on() {
        assert_eq!(status(Status::ReservationConflict).next, Next::Fail(TargetError::Reservation));
    }

    #[test]
    fn errors_about_the_medium_or_the_command_are_handed_on() {
        for (key, asc, ascq, error) in [
            (SenseKey::MediumError, 0x11, 0x00, TargetError::Medium),
            (SenseKey::HardwareError, 0x44, 0x00, TargetError::Hardware),
            (SenseKey::IllegalRequest, 0x20, 0x00, TargetError::Unsupported),
            (SenseKey::IllegalRequest, 0x21, 0x00, TargetError::OutOfRange),
            (SenseKey::DataProtect, 0x27, 0x00, TargetError::Protected),
            (SenseKey::DataProtect, 0x27, 0x07, TargetError::NoSpace),
            (SenseKey::Miscompare, 0x1d, 0x00, TargetError::Miscompare),
        ] {
            assert_eq!(check(key, asc, ascq), verdict(Next::Fail(error), PathNews::Works));
        }
    }

    #[test]
    fn busy_comes_back_a_moment_later() {
        for busy in [Status::Busy, Status::TaskSetFull, Status::AcaActive] {
            assert_eq!(status(busy), limited(Next::Later, PathNews::Refused));
        }
        assert_eq!(check(SenseKey::NotReady, 0x04, 0x01).next, Next::Later);
    }

    #[test]
    fn a_recovered_error_is_done_and_a_deferred_error_is_not() {
        assert_eq!(check(SenseKey::RecoveredError, 0x17, 0x00).next, Next::Done);
        let mut deferred = Sense::new(SenseKey::MediumError, 0x0c, 0x00);
        deferred.deferred = true;
        assert_eq!(judge_sense(&deferred, true).next, Next::Again);
    }

    /// I2: whatever a device server answers ends the command; what the transport says of a command
    /// that it took does not.
    #[test]
    fn only_a_lost_command_is_not_ended() {
        for code in 0..=u8::MAX {
            assert!(status(Status::from_code(code)).ended);
        }
        for key in (0..16).map(SenseKey::from_bits) {
            for asc in 0..=u8::MAX {
                for ascq in 0..=u8::MAX {
                    assert!(check(key, asc, ascq).ended);
                }
            }
        }
        assert!(judge(&IoOutcome::NotSubmitted).ended);
        assert!(!judge(&IoOutcome::TransportFailed).ended);
        assert!(!judge(&IoOutcome::TimedOut).ended);
    }

    /// I7: an answer that leads back to the target is counted, unless the state behind it is a
    /// matter of ALUA, which has its own ends.
    #[test]
    fn nothing_repeats_uncounted_but_what_a_state_explains() {
        for key in (0..16).map(SenseKey::from_bits) {
            for asc in 0..=u8::MAX {
                for ascq in 0..=u8::MAX {
                    let it = check(key, asc, ascq);
                    let again = !matches!(it.next, Next::Done | Next::Fail(_));
                    let told = sense::meaning(&Sense::new(key, asc, ascq));
                    let gone = key == SenseKey::IllegalRequest && asc == 0x25;
                    assert!(!again || it.counted || told.state.is_some() || gone);
                }
            }
        }
    }

    #[test]
    fn garbage_for_sense_is_tried_elsewhere() {
        let outcome =
            IoOutcome::Answered { status: Status::CheckCondition, sense: &[0x33], whole: true };
        assert_eq!(judge(&outcome), limited(Next::Elsewhere, PathNews::Odd));
    }
}
