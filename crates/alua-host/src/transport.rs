//! The border between whoever sends SCSI commands and whatever carries them: [`Transport`].
//!
//! # Contract
//!
//! - One [`Transport`] is one path: an I_T_L nexus. [`Transport::execute`] carries one command and
//!   waits for its end. It never repeats a command that may have left the host and decides nothing:
//!   what a status or a sense means is `alua-core`'s business.
//! - `Ok` is an **answer**: the device server returned a SCSI status, whatever it is. `Err` is the
//!   absence of one, with the reason kept apart: never left this host, lost on the way, no answer in
//!   time. [`TransportError::may_have_executed`] says whether the command may have taken effect.
//! - Of a data-in buffer only the first [`Reply::transferred`] bytes are the device's. The rest is
//!   zero or what it was before.
//! - An implementation returns in bounded time: the request's timeout and what its own error
//!   recovery needs on top.
//! - Of task management there is [`Transport::reset_unit`] and nothing else: aborts are the business
//!   of whatever gives a command up.
//!
//! The trait holds no operating system type, so that a model array can stand on the other side.

use std::fmt;
use std::time::Duration;

use alua_core::spc::WireError;
use alua_core::spc::sense::Sense;

mod status;

pub use alua_core::spc::Status;
pub use status::{DriverStatus, HostStatus};

/// The most sense bytes that SPC lets a device return (and that a [`SenseBytes`] holds).
pub const SENSE_CAPACITY: usize = 252;

/// A path that carries SCSI commands.
pub trait Transport {
    /// Carries `request` to the device and waits for the end.
    ///
    /// # Errors
    ///
    /// [`TransportError`] when there is no answer of the device. A status other than GOOD is not an
    /// error: it comes in the [`Reply`].
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError>;

    /// Asks for LOGICAL UNIT RESET through this path and waits for the answer. Nothing larger is
    /// reset when that does not work: neither the target nor the bus.
    ///
    /// # Errors
    ///
    /// [`ResetError`]; a transport that carries commands only says [`ResetError::Unsupported`].
    fn reset_unit(&mut self) -> Result<(), ResetError> {
        Err(ResetError::Unsupported)
    }
}

impl<T: Transport + ?Sized> Transport for &mut T {
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
        (**self).execute(request)
    }

    fn reset_unit(&mut self) -> Result<(), ResetError> {
        (**self).reset_unit()
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
        (**self).execute(request)
    }

    fn reset_unit(&mut self) -> Result<(), ResetError> {
        (**self).reset_unit()
    }
}

/// One command.
#[derive(Debug)]
pub struct Request<'a> {
    /// The command descriptor block, 6 to 16 bytes (longer ones where the transport can).
    pub cdb: &'a [u8],
    /// The data phase.
    pub data: Data<'a>,
    /// How long the device may take, in milliseconds. 0 is refused by transports that would take it
    /// for "for ever".
    pub timeout_ms: u32,
}

/// The data phase of a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// No data.
    None,
    /// From the device into the buffer. Its length should be the CDB's allocation length.
    In(&'a mut [u8]),
    /// From the buffer to the device.
    Out(&'a [u8]),
}

impl Data<'_> {
    /// The length of the buffer in bytes; 0 without one.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::In(buffer) => buffer.len(),
            Self::Out(buffer) => buffer.len(),
        }
    }

    /// Whether no byte can move.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The answer of a device server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The SCSI status.
    pub status: Status,
    /// The sense data that came with it; empty when none did.
    pub sense: SenseBytes,
    /// Bytes of the data phase that really moved.
    pub transferred: usize,
    /// The residual as the transport told it: buffer length minus bytes moved. Negative when the
    /// device had more to send than the buffer holds.
    pub residual: i64,
    /// What the host adapter said beside the answer.
    pub host: HostStatus,
    /// What the low-level driver said beside the answer.
    pub driver: DriverStatus,
    /// From submission to completion.
    pub duration: Duration,
}

impl Reply {
    /// An answer with `status`, nothing wrong in the transport, and `transferred` bytes moved out of
    /// a buffer of `requested`.
    #[must_use]
    pub fn new(status: Status, requested: usize, transferred: usize) -> Self {
        let moved = i64::try_from(transferred).unwrap_or(i64::MAX);
        Self {
            status,
            sense: SenseBytes::EMPTY,
            transferred: transferred.min(requested),
            residual: i64::try_from(requested).unwrap_or(i64::MAX).saturating_sub(moved),
            host: HostStatus::OK,
            driver: DriverStatus::OK,
            duration: Duration::ZERO,
        }
    }

    /// The same answer with `sense` (cut at [`SENSE_CAPACITY`]).
    #[must_use]
    pub fn with_sense(mut self, sense: &[u8]) -> Self {
        self.sense = SenseBytes::new(sense);
        self
    }

    /// The sense data, parsed; `None` when there is none.
    #[must_use]
    pub fn parsed_sense(&self) -> Option<Result<Sense, WireError>> {
        let bytes = self.sense.as_bytes();
        if bytes.is_empty() { None } else { Some(Sense::parse(bytes)) }
    }
}

/// Sense data as it came, at most [`SENSE_CAPACITY`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SenseBytes {
    // Bytes after `length` are zero, so that equality is that of the contents.
    bytes: [u8; SENSE_CAPACITY],
    length: u8,
}

impl SenseBytes {
    /// No sense data.
    pub const EMPTY: Self = Self { bytes: [0; SENSE_CAPACITY], length: 0 };

    /// A copy of `sense`, cut at [`SENSE_CAPACITY`] bytes.
    #[must_use]
    pub fn new(sense: &[u8]) -> Self {
        let mut copy = Self::EMPTY;
        for (to, from) in copy.bytes.iter_mut().zip(sense) {
            *to = *from;
        }
        copy.length = u8::try_from(sense.len().min(SENSE_CAPACITY)).unwrap_or(0);
        copy
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Default for SenseBytes {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for SenseBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.as_bytes().iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{byte:02x}")?;
        }
        Ok(())
    }
}

/// Why there is no answer of the device.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransportError {
    /// The command never left this host: the device server has not seen it.
    #[error("not submitted: {cause}{}", ErrnoText(*errno))]
    NotSubmitted {
        /// Why.
        cause: NotSubmitted,
        /// The error number of the operating system; 0 when it was not asked.
        errno: i32,
    },
    /// The transport gave the command up without an answer.
    #[error("the transport failed: {host}{}", DriverText(*driver))]
    Failed {
        /// What the host adapter said.
        host: HostStatus,
        /// What the low-level driver said.
        driver: DriverStatus,
        /// From submission to the failure.
        duration: Duration,
    },
    /// No answer within the request's timeout. The command may still take effect.
    #[error("no answer within {limit_ms} ms (given up after {} ms)", duration.as_millis())]
    TimedOut {
        /// The timeout that the request carried, in milliseconds.
        limit_ms: u32,
        /// How long the transport really took to give up.
        duration: Duration,
    },
    /// The wait was broken off (by a signal). The command was sent and may still take effect.
    #[error("the wait for the answer was interrupted after {} ms", duration.as_millis())]
    Interrupted {
        /// From submission to the interruption.
        duration: Duration,
    },
}

impl TransportError {
    /// Whether the device may have carried the command out, or may yet.
    #[must_use]
    pub fn may_have_executed(&self) -> bool {
        // No host status is proof: drivers also give DID_NO_CONNECT to commands that were out when
        // the connection broke.
        !matches!(self, Self::NotSubmitted { .. })
    }

    /// Whether the path itself is gone or cut, as far as the transport knows: asking again on the
    /// same path is useless until something changes.
    #[must_use]
    pub fn path_is_down(&self) -> bool {
        match self {
            Self::NotSubmitted { cause, .. } => *cause == NotSubmitted::NoDevice,
            Self::Failed { host, .. } => {
                matches!(
                    *host,
                    HostStatus::NO_CONNECT
                        | HostStatus::BAD_TARGET
                        | HostStatus::TRANSPORT_FAILFAST
                        | HostStatus::TRANSPORT_MARGINAL
                )
            }
            Self::TimedOut { .. } | Self::Interrupted { .. } => false,
        }
    }
}

/// Why a command could not be submitted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum NotSubmitted {
    /// The operating system does not let this user send this command.
    NoPermission,
    /// The device is gone or offline.
    NoDevice,
    /// What stands behind the path does not take SCSI commands.
    NotScsi,
    /// Out of memory or queue slots for the moment.
    NoResources,
    /// The request itself is not one that the transport can carry, in words.
    BadRequest(&'static str),
    /// Anything else.
    Other,
}

impl fmt::Display for NotSubmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPermission => f.write_str(
                "the kernel does not let this user send this command; run as root, or give the \
                 program CAP_SYS_RAWIO (some commands pass where the user may write to the node)",
            ),
            Self::NoDevice => f.write_str("the device is gone or offline"),
            Self::NotScsi => f.write_str("the device does not take SCSI commands"),
            Self::NoResources => f.write_str("no memory or no free queue slot at the moment"),
            Self::BadRequest(rule) => write!(f, "the request cannot be carried: {rule}"),
            Self::Other => f.write_str("the operating system refused"),
        }
    }
}

/// " (errno 13)", or nothing for 0.
struct ErrnoText(i32);

impl fmt::Display for ErrnoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        write!(f, " [{}]", std::io::Error::from_raw_os_error(self.0))
    }
}

/// Why a logical unit was not reset, as far as anybody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResetError {
    /// The transport has no way to ask for it. Nothing was sent.
    #[error("the path carries commands only: there is no way to ask for a reset")]
    Unsupported,
    /// The operating system does not let this user. Nothing was sent.
    #[error(
        "the kernel does not let this user reset a unit; run as root, or give the program \
         CAP_SYS_ADMIN and CAP_SYS_RAWIO"
    )]
    NoPermission,
    /// The device is gone, or its host is busy with error recovery. Nothing was sent.
    #[error("the path is not there at the moment{}", ErrnoText(*errno))]
    NotReady {
        /// The error number of the operating system.
        errno: i32,
    },
    /// The driver or the device server refused, or did not answer: whether the unit was reset is not
    /// known.
    #[error("LOGICAL UNIT RESET is not answered \"complete\"{}", ErrnoText(*errno))]
    Failed {
        /// The error number of the operating system; 0 when there is none.
        errno: i32,
    },
}

/// ", driver status ...", or nothing when the driver said nothing.
struct DriverText(DriverStatus);

impl fmt::Display for DriverText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == DriverStatus::OK { Ok(()) } else { write!(f, ", {}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trait_is_object_safe_and_boxes_pass_through() {
        struct Good;
        impl Transport for Good {
            fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
                let length = request.data.len();
                if let Data::In(buffer) = request.data {
                    buffer.fill(7);
                }
                Ok(Reply::new(Status::Good, length, length))
            }
        }
        let mut path: Box<dyn Transport> = Box::new(Good);
        let mut buffer = [0; 4];
        let reply = path
            .execute(Request { cdb: &[0; 6], data: Data::In(&mut buffer), timeout_ms: 1 })
            .unwrap();
        assert_eq!((reply.status, reply.transferred, buffer), (Status::Good, 4, [7; 4]));
        assert_eq!(path.reset_unit(), Err(ResetError::Unsupported));
    }

    #[test]
    fn a_reset_passes_through_boxes_and_references() {
        struct Resets(u32);
        impl Transport for Resets {
            fn execute(&mut self, _: Request<'_>) -> Result<Reply, TransportError> {
                Ok(Reply::new(Status::Good, 0, 0))
            }
            fn reset_unit(&mut self) -> Result<(), ResetError> {
                self.0 += 1;
                Ok(())
            }
        }
        let mut path = Resets(0);
        {
            let mut boxed: Box<dyn Transport + '_> = Box::new(&mut path);
            assert_eq!(boxed.reset_unit(), Ok(()));
        }
        assert_eq!(path.0, 1);
    }

    #[test]
    fn sense_is_cut_at_the_most_that_spc_allows() {
        let sense = SenseBytes::new(&[0x70; 300]);
        assert_eq!(sense.as_bytes().len(), SENSE_CAPACITY);
        assert_eq!(SenseBytes::new(&[0x70, 0, 6]).as_bytes(), &[0x70, 0, 6]);
        assert_eq!(format!("{:?}", SenseBytes::new(&[0x70, 0, 6])), "70 00 06");
        assert!(SenseBytes::new(&[]).is_empty());
    }

    #[test]
    fn a_reply_never_claims_more_than_was_asked() {
        let reply = Reply::new(Status::Good, 8, 12);
        assert_eq!((reply.transferred, reply.residual), (8, -4));
    }

    #[test]
    fn errors_say_whether_the_command_may_have_run() {
        let duration = Duration::from_millis(3);
        let failed = |host| TransportError::Failed { host, driver: DriverStatus::OK, duration };
        let not_submitted =
            TransportError::NotSubmitted { cause: NotSubmitted::NoPermission, errno: 1 };
        assert!(!not_submitted.may_have_executed());
        assert!(failed(HostStatus::NO_CONNECT).may_have_executed());
        assert!(failed(HostStatus::ERROR).may_have_executed());
        assert!(TransportError::TimedOut { limit_ms: 1, duration }.may_have_executed());
        assert!(failed(HostStatus::NO_CONNECT).path_is_down());
        assert!(!failed(HostStatus::ERROR).path_is_down());
        assert!(not_submitted.to_string().contains("CAP_SYS_RAWIO"), "{not_submitted}");
    }
}
