//! What an error of the block layer means: the one table, and what TEST UNIT READY adds.
//!
//! # The problem
//!
//! A read or write of `/dev/sdX` ends with an error number. Status and sense data stay in the
//! kernel, which has tried again as long as it saw fit. The engine needs to know two things: what
//! to do with the request, and whether the command is over (see [`alua_multipath::fence`]).
//!
//! # The argument
//!
//! **Over.** The block layer completes a request once, after the SCSI layer is through with it: the
//! device server has answered, or the low-level driver has given the command back, after the error
//! handler has ended it where it had not answered in time. So nothing in this host sends it again.
//! Whether it can still act in the target is settled by what the path says *now*:
//!
//! - It answers TEST UNIT READY, with any status. If the device server had answered the command,
//!   the command is over (SAM-5: a task ends with its status). If the transport had lost it
//!   (`DID_TRANSPORT_FAILFAST` and the like after a lost link), then the nexus was lost and made
//!   anew before an answer could come through it, and an I_T nexus loss has ended its tasks
//!   (SAM-5). With CHECK CONDITION the sense is why: the command and TEST UNIT READY meet the same
//!   access state, so the command is handed back as answered with it.
//! - It does not answer: nobody knows. [`Answer::TransportFailed`], and a write is fenced.
//!
//! **Held by the kernel.** Its device handler for ALUA cannot be detached and refuses reads and writes
//! by the access states that it holds. It reads them a moment after a command has told of a change,
//! so a path that has just become live fails them meanwhile, and TEST UNIT READY, which it lets
//! pass, is good. That is nothing against the path.
//!
//! **Refused by the kernel.** It sends nothing to a disk that is offline, is going away or is gone, so
//! that one is not asked. Where the SCSI layer's counts show that no copy of the command was sent in vain
//! before, it was never sent (the argument is in `counters`); where they do not, it is lost like any
//! other.
//!
//! **The target's word.** Five error numbers stand for an answer that every path would give; the
//! table in [`meaning`] names the kernel's status for each (linux block/blk-core.c, `blk_errors`;
//! drivers/scsi/scsi_lib.c, `scsi_result_to_blk_status`).
//!
//! **Of one of many.** The block layer makes several commands of one that is larger than the disk's
//! queue takes, and reports the first error of any (linux block/fops.c, `blkdev_bio_end_io`). One that
//! the target has refused says nothing of another, which the transport may have lost since. So where there
//! can have been several that change the medium (`Changes`), and the counts do not show that none was
//! lost, the path is asked all the same: if it answers they are over, by the argument above, and the
//! target's word stands; if not, nobody knows.

use alua_core::failover::{Summary, TargetError};
use alua_core::spc::Status;
use alua_host::transport::{Reply, TransportError};

use super::ops::Kind;
use crate::path::Answer;

/// What an error number means by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// That is all there is to know.
    Known(Summary),
    /// The target has no room left; or the disk is gone, when the kernel takes its size for 0 and
    /// refuses a write behind its end before it sends anything (linux block/fops.c,
    /// `blkdev_write_iter`).
    NoSpaceOrGone,
    /// The path has to be asked.
    Ask,
}

/// What an error number of the block layer means.
#[must_use]
pub const fn meaning(errno: i32) -> Meaning {
    match errno {
        // BLK_STS_MEDIUM
        libc::ENODATA => Meaning::Known(Summary::Target(TargetError::Medium)),
        // BLK_STS_TARGET
        libc::EREMOTEIO => Meaning::Known(Summary::Target(TargetError::Other)),
        // BLK_STS_RESV_CONFLICT
        libc::EBADE => Meaning::Known(Summary::Target(TargetError::Reservation)),
        // BLK_STS_NOSPC
        libc::ENOSPC => Meaning::NoSpaceOrGone,
        // BLK_STS_NOTSUPP
        libc::EOPNOTSUPP => Meaning::Known(Summary::Target(TargetError::Unsupported)),
        // BLK_STS_OFFLINE and a device that is gone (ENODEV, ENXIO), BLK_STS_IOERR, BLK_STS_TRANSPORT
        // (ENOLINK), BLK_STS_TIMEOUT (ETIMEDOUT), BLK_STS_AGAIN (EAGAIN), BLK_STS_DEV_RESOURCE
        // (EBUSY), ...
        _ => Meaning::Ask,
    }
}

/// How many commands that change the medium the block layer may have made of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Changes {
    /// One, or none.
    Once,
    /// More.
    Often,
}

impl Changes {
    /// A page, in bytes, is never taken apart: `max_sectors` is no less (linux block/blk-settings.c,
    /// `blk_validate_limits`), and it lies in two segments at most.
    const WHOLE: usize = 4096;

    pub(super) const fn of(kind: Kind, length: usize) -> Self {
        match kind {
            Kind::Write { .. } if length > Self::WHOLE => Self::Often,
            Kind::Write { .. } | Kind::Read | Kind::Sync => Self::Once,
        }
    }
}

/// Whether the kernel's device handler refuses I/O by a state that it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handler {
    /// It does not.
    Passes,
    /// It did, when the command failed.
    Refused,
    /// It does.
    Refuses,
}

/// What a command that failed came to, by the path's answer to the TEST UNIT READY after it, and by what
/// its error number had said.
pub(super) fn after_asking(
    said: &Result<Reply, TransportError>,
    handler: Handler,
    word: Option<Summary>,
) -> Answer {
    match (said, word) {
        (Ok(_), Some(word)) => Answer::Summed(word),
        (Ok(reply), None) => match reply.status {
            Status::Good | Status::ConditionMet => Answer::Summed(match handler {
                Handler::Passes => Summary::Ended,
                Handler::Refused => Summary::Unsent,
                Handler::Refuses => Summary::Held,
            }),
            status => {
                let sense = reply.sense.as_bytes().to_vec();
                Answer::Answered { status, sense, whole: false }
            }
        },
        (Err(_), _) => Answer::TransportFailed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alua_core::failover::{Next, PathNews, judge};
    use alua_host::transport::{DriverStatus, HostStatus, NotSubmitted};

    use super::*;

    fn verdict(said: Result<Reply, TransportError>) -> (Next, PathNews, bool) {
        let answer = after_asking(&said, Handler::Passes, None);
        let verdict = judge(&answer.outcome());
        (verdict.next, verdict.path, verdict.ended)
    }

    fn sense(key: u8, asc: u8, ascq: u8) -> Reply {
        let sense = [0x72, key, asc, ascq, 0, 0, 0, 0];
        Reply::new(Status::CheckCondition, 0, 0).with_sense(&sense)
    }

    #[test]
    fn an_error_that_every_path_would_give_is_handed_on() {
        for (errno, error) in [
            (libc::ENODATA, TargetError::Medium),
            (libc::EREMOTEIO, TargetError::Other),
            (libc::EBADE, TargetError::Reservation),
            (libc::EOPNOTSUPP, TargetError::Unsupported),
        ] {
            assert_eq!(meaning(errno), Meaning::Known(Summary::Target(error)), "{errno}");
        }
    }

    #[test]
    fn every_other_error_is_a_question_to_the_path() {
        let rest = [
            libc::EIO,
            libc::ENODEV,
            libc::ENXIO,
            libc::ENOLINK,
            libc::ETIMEDOUT,
            libc::EAGAIN,
            libc::EBUSY,
        ];
        for errno in rest.into_iter().chain([libc::ENOMEM, libc::EILSEQ, libc::ECANCELED, 0]) {
            assert_eq!(meaning(errno), Meaning::Ask, "{errno}");
        }
    }

    #[test]
    fn what_the_path_says_now_is_why() {
        let good = Reply::new(Status::Good, 0, 0);
        assert_eq!(verdict(Ok(good)), (Next::Elsewhere, PathNews::Odd, true));
        let standby = sense(0x2, 0x04, 0x0b);
        assert_eq!(verdict(Ok(standby)), (Next::Elsewhere, PathNews::Refused, true));
        let transition = sense(0x2, 0x04, 0x0a);
        assert_eq!(verdict(Ok(transition)), (Next::Wait, PathNews::Refused, true));
        let attention = sense(0x6, 0x2a, 0x06);
        assert_eq!(verdict(Ok(attention)), (Next::Again, PathNews::Refused, true));
        let busy = Reply::new(Status::Busy, 0, 0);
        assert_eq!(verdict(Ok(busy)), (Next::Later, PathNews::Refused, true));
    }

    /// A path that has just become live, while the kernel's handler does not know yet.
    #[test]
    fn what_the_kernels_handler_refuses_is_nothing_against_the_path() {
        let good = || Ok(Reply::new(Status::Good, 0, 0));
        for (handler, next) in [(Handler::Refuses, Next::Soon), (Handler::Refused, Next::Again)] {
            let verdict = judge(&after_asking(&good(), handler, None).outcome());
            assert_eq!((verdict.next, verdict.path), (next, PathNews::Refused));
            // One that is right to refuse.
            let standby = Ok(sense(0x2, 0x04, 0x0b));
            let verdict = judge(&after_asking(&standby, handler, None).outcome());
            assert_eq!((verdict.next, verdict.path), (Next::Elsewhere, PathNews::Refused));
        }
    }

    fn silent() -> [TransportError; 3] {
        let duration = Duration::from_millis(1);
        let failed = TransportError::Failed {
            host: HostStatus::NO_CONNECT,
            driver: DriverStatus::OK,
            duration,
        };
        let gone = TransportError::NotSubmitted { cause: NotSubmitted::NoDevice, errno: 6 };
        let late = TransportError::TimedOut { limit_ms: 1, duration };
        [failed, gone, late]
    }

    #[test]
    fn a_path_that_says_nothing_proves_nothing() {
        for error in silent() {
            assert_eq!(verdict(Err(error)), (Next::Elsewhere, PathNews::Failed, false));
        }
    }

    /// Of a large write one command may be lost while the target refuses another.
    #[test]
    fn the_targets_word_stands_where_the_path_answers_after_it() {
        let word = Summary::Target(TargetError::Medium);
        let answer = |said| after_asking(&said, Handler::Passes, Some(word));
        for said in [Reply::new(Status::Good, 0, 0), sense(0x2, 0x04, 0x0b)] {
            assert_eq!(answer(Ok(said)), Answer::Summed(word));
        }
        for error in silent() {
            assert_eq!(answer(Err(error)), Answer::TransportFailed);
        }
    }

    #[test]
    fn only_a_write_of_more_than_a_page_may_change_the_medium_in_parts() {
        for durable in [false, true] {
            for (length, changes) in
                [(512, Changes::Once), (4096, Changes::Once), (4608, Changes::Often)]
            {
                assert_eq!(Changes::of(Kind::Write { durable }, length), changes, "{length}");
            }
        }
        assert_eq!(Changes::of(Kind::Read, 1 << 20), Changes::Once);
        assert_eq!(Changes::of(Kind::Sync, 0), Changes::Once);
    }
}
