//! From what the kernel wrote back to an answer or a transport error.

use std::time::Duration;

use rustix::io::Errno;

use super::abi::Completion;
use crate::transport::{
    DriverStatus, HostStatus, NotSubmitted, Reply, ResetError, SENSE_CAPACITY, SenseBytes, Status,
    TransportError,
};

/// An answer, if the device gave one.
///
/// Sense data and a SCSI status come from the device and win over the host status, which some
/// drivers set beside them. Without either, only a host status that merely qualifies an answer (or
/// `DID_OK`) lets GOOD stand; the kernel sets no other mark when a command never reached the device.
pub(super) fn judge(
    completion: &Completion,
    sense: &[u8; SENSE_CAPACITY],
    requested: usize,
    timeout_ms: u32,
    duration: Duration,
) -> Result<Reply, TransportError> {
    let status = Status::from_code(completion.status);
    let host = HostStatus::from_raw(completion.host);
    let driver = DriverStatus::from_raw(completion.driver);
    let sense = sense.get(..completion.sense_length.min(SENSE_CAPACITY)).unwrap_or(&[]);
    let has_sense = sense.first().is_some_and(|code| (0x70..=0x73).contains(&(code & 0x7f)));

    let answered = status != Status::Good || has_sense;
    let silent_timeout = host == HostStatus::TIME_OUT || driver.code() == DriverStatus::TIMEOUT;
    if !answered && silent_timeout {
        return Err(TransportError::TimedOut { limit_ms: timeout_ms, duration });
    }
    let driver_failed = !matches!(driver.code(), DriverStatus::OK | DriverStatus::SENSE);
    if !answered && (!host.is_answer() || driver_failed) {
        return Err(TransportError::Failed { host, driver, duration });
    }

    // A residual outside 0..=requested is the driver's mistake or a device that had more to send.
    let untransferred = usize::try_from(completion.residual).unwrap_or(0);
    Ok(Reply {
        status,
        sense: if has_sense { SenseBytes::new(sense) } else { SenseBytes::EMPTY },
        transferred: requested.saturating_sub(untransferred),
        residual: i64::from(completion.residual),
        host,
        driver,
        duration,
    })
}

/// Why the kernel refused to take a command, or broke off the wait for it.
pub(super) fn refused(errno: Errno, duration: Duration) -> TransportError {
    let cause = match errno {
        // Only the sg driver lets a signal in, and only after it has queued the command.
        Errno::INTR => return TransportError::Interrupted { duration },
        Errno::PERM | Errno::ACCESS => NotSubmitted::NoPermission,
        Errno::NODEV | Errno::NXIO => NotSubmitted::NoDevice,
        Errno::NOTTY => NotSubmitted::NotScsi,
        Errno::NOMEM | Errno::AGAIN | Errno::BUSY | Errno::DOM => NotSubmitted::NoResources,
        Errno::INVAL | Errno::MSGSIZE => {
            NotSubmitted::BadRequest("the kernel takes no such CDB or buffer length")
        }
        _ => NotSubmitted::Other,
    };
    TransportError::NotSubmitted { cause, errno: errno.raw_os_error() }
}

/// Why the kernel did not reset a unit.
pub(super) fn not_reset(errno: Errno) -> ResetError {
    match errno {
        Errno::ACCESS | Errno::PERM => ResetError::NoPermission,
        // bsg has no such call; an old kernel does not know that nothing larger shall be reset.
        Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP => ResetError::Unsupported,
        Errno::NODEV | Errno::NXIO | Errno::AGAIN | Errno::BUSY => {
            ResetError::NotReady { errno: errno.raw_os_error() }
        }
        _ => ResetError::Failed { errno: errno.raw_os_error() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(5);
    const CLEAN: Completion =
        Completion { status: 0, host: 0, driver: 0, sense_length: 0, residual: 0 };

    fn sense(bytes: &[u8]) -> [u8; SENSE_CAPACITY] {
        let mut sense = [0; SENSE_CAPACITY];
        sense[..bytes.len()].copy_from_slice(bytes);
        sense
    }

    fn verdict(completion: Completion, bytes: &[u8]) -> Result<Reply, TransportError> {
        judge(&completion, &sense(bytes), 128, 1000, TIME)
    }

    #[test]
    fn what_was_not_reset_says_why() {
        assert_eq!(not_reset(Errno::ACCESS), ResetError::NoPermission);
        assert_eq!(not_reset(Errno::NOTTY), ResetError::Unsupported);
        assert_eq!(not_reset(Errno::INVAL), ResetError::Unsupported);
        assert!(not_reset(Errno::ACCESS).to_string().contains("CAP_SYS_RAWIO"));
        assert!(matches!(not_reset(Errno::NODEV), ResetError::NotReady { errno: 19 }));
        assert!(matches!(not_reset(Errno::IO), ResetError::Failed { errno: 5 }));
    }

    #[test]
    fn host_statuses_fall_into_answers_timeouts_and_failures() {
        for raw in 0..0x20_u16 {
            let result = verdict(Completion { host: raw, ..CLEAN }, &[]);
            match raw {
                0x00 | 0x0a | 0x10..=0x13 => {
                    let reply = result.unwrap();
                    assert_eq!((reply.status, reply.host.raw()), (Status::Good, raw));
                }
                0x03 => assert_eq!(
                    result,
                    Err(TransportError::TimedOut { limit_ms: 1000, duration: TIME })
                ),
                _ => {
                    let Err(TransportError::Failed { host, .. }) = result else {
                        panic!("{raw:#x}: {result:?}");
                    };
                    assert_eq!(host.raw(), raw);
                }
            }
        }
    }

    #[test]
    fn a_status_or_sense_of_the_device_wins_over_the_host_status() {
        let busy = verdict(Completion { status: 0x08, host: 0x07, ..CLEAN }, &[]).unwrap();
        assert_eq!((busy.status, busy.host), (Status::Busy, HostStatus::ERROR));

        let check = Completion { status: 2, host: 0x03, driver: 8, sense_length: 18, ..CLEAN };
        let reply = verdict(check, &[0x70, 0, 0x02, 0, 0, 0, 0, 10]).unwrap();
        assert_eq!(reply.status, Status::CheckCondition);
        assert_eq!(reply.sense.as_bytes().len(), 18);

        let conflict = verdict(Completion { status: 0x18, host: 0x11, ..CLEAN }, &[]).unwrap();
        assert_eq!(conflict.status, Status::ReservationConflict);
    }

    #[test]
    fn sense_that_is_none_is_dropped() {
        let zeroes = Completion { status: 2, driver: 8, sense_length: 18, ..CLEAN };
        let reply = verdict(zeroes, &[]).unwrap();
        assert_eq!(reply.status, Status::CheckCondition);
        assert!(reply.sense.is_empty());
        // A length past the buffer is cut.
        let long = Completion { status: 2, sense_length: usize::MAX, ..CLEAN };
        assert_eq!(verdict(long, &[0x72]).unwrap().sense.as_bytes().len(), SENSE_CAPACITY);
    }

    #[test]
    fn driver_statuses_of_old_kernels_are_read() {
        let timeout = verdict(Completion { driver: 0x26, ..CLEAN }, &[]);
        assert!(matches!(timeout, Err(TransportError::TimedOut { .. })), "{timeout:?}");
        let hard = verdict(Completion { driver: 0x07, ..CLEAN }, &[]);
        assert!(matches!(hard, Err(TransportError::Failed { .. })), "{hard:?}");
    }

    #[test]
    fn b34_residual_gives_the_bytes_really_transferred() {
        for (residual, transferred) in [(0, 128), (28, 100), (128, 0), (500, 0), (-8, 128)] {
            let reply = verdict(Completion { residual, ..CLEAN }, &[]).unwrap();
            assert_eq!(reply.transferred, transferred, "residual {residual}");
            assert_eq!(reply.residual, i64::from(residual));
        }
    }

    #[test]
    fn errno_says_whether_the_command_was_sent() {
        let cause = |errno| match refused(errno, TIME) {
            TransportError::NotSubmitted { cause, errno: raw } => {
                assert_eq!(raw, errno.raw_os_error());
                cause
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(cause(Errno::PERM), NotSubmitted::NoPermission);
        assert_eq!(cause(Errno::ACCESS), NotSubmitted::NoPermission);
        assert_eq!(cause(Errno::NODEV), NotSubmitted::NoDevice);
        assert_eq!(cause(Errno::NXIO), NotSubmitted::NoDevice);
        assert_eq!(cause(Errno::NOTTY), NotSubmitted::NotScsi);
        assert_eq!(cause(Errno::NOMEM), NotSubmitted::NoResources);
        assert!(matches!(cause(Errno::INVAL), NotSubmitted::BadRequest(_)));
        assert_eq!(cause(Errno::IO), NotSubmitted::Other);
        assert!(refused(Errno::INTR, TIME).may_have_executed());
    }
}
