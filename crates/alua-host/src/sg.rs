//! SCSI commands through Linux: `SG_IO` version 3 on `/dev/sdX` and `/dev/sgN`, version 4 on
//! `/dev/bsg/H:C:T:L`.
//!
//! # Contract
//!
//! - Nodes are opened for reading only. Opening a disk for writing makes udev look at it again when
//!   it is closed, and root needs no more. Where the kernel then refuses a command to an ordinary
//!   user (EPERM, nothing was sent), the node is opened once more for writing and the command
//!   submitted again.
//! - One command at a time per [`SgDevice`]; the timeout is the kernel's, which adds its own error
//!   recovery (abort, resets) when a device does not answer.
//! - No command is repeated here once the kernel has taken it. The sg driver itself repeats one when
//!   the process is stopped and continued while it waits: block devices and bsg are better.
//! - A reset is `SG_SCSI_RESET` for the logical unit without escalation. bsg has no such call. The
//!   kernel sends the first command after it again when that meets a unit attention, so the path that
//!   asked does not see the 29/xx of its own reset.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::transport::{Data, NotSubmitted, Reply, Request, ResetError, SENSE_CAPACITY};
use crate::transport::{Transport, TransportError};

#[expect(unsafe_code, reason = "the SG_IO system call")]
mod abi;
mod outcome;

/// Character device number of the sg driver.
const SG_MAJOR: u32 = 21;

/// The oldest `SG_IO` version 3 interface.
const SG_VERSION_3: i32 = 30_000;

/// An open device node that takes SCSI commands.
#[derive(Debug)]
pub struct SgDevice {
    fd: OwnedFd,
    path: PathBuf,
    interface: Interface,
    writable: bool,
}

/// Which `SG_IO` structure a node takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// `struct sg_io_hdr`: block devices and `/dev/sgN`.
    V3,
    /// `struct sg_io_v4`: `/dev/bsg/H:C:T:L`.
    V4,
}

/// Why a device node cannot be used for SCSI commands.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// No such node.
    #[error("{}: no such device node", path.display())]
    Missing {
        /// The node.
        path: PathBuf,
    },
    /// The user may not open it.
    #[error(
        "{}: no permission to open it; run as root, or as a user who may read the node (often the \
         group disk)",
        path.display()
    )]
    NoPermission {
        /// The node.
        path: PathBuf,
    },
    /// Something else than a device node.
    #[error("{}: not a device node", path.display())]
    NotANode {
        /// The path.
        path: PathBuf,
    },
    /// A device that takes no SCSI commands.
    #[error(
        "{}: not a SCSI device: its driver does not take SG_IO [{}]; give a SCSI disk (/dev/sdX), \
         its /dev/sgN or its /dev/bsg/H:C:T:L",
        path.display(), std::io::Error::from_raw_os_error(*errno)
    )]
    NotScsi {
        /// The node.
        path: PathBuf,
        /// What the driver answered to the question.
        errno: i32,
    },
    /// A device-mapper device. SG_IO would go down a path that somebody else chooses.
    #[error(
        "{}: a device-mapper device, which sends SCSI commands down a path of its own choice; give \
         one of its paths (/dev/sdX)",
        path.display()
    )]
    Map {
        /// The node.
        path: PathBuf,
    },
    /// The device is gone or offline.
    #[error("{}: the device is gone or offline [{}]", path.display(),
        std::io::Error::from_raw_os_error(*errno))]
    NoDevice {
        /// The node.
        path: PathBuf,
        /// ENXIO or ENODEV.
        errno: i32,
    },
    /// Anything else.
    #[error("{}: cannot be opened [{}]", path.display(), std::io::Error::from_raw_os_error(*errno))]
    Other {
        /// The node.
        path: PathBuf,
        /// What the operating system said.
        errno: i32,
    },
}

impl OpenError {
    fn from_errno(path: &Path, errno: Errno) -> Self {
        let path = path.to_path_buf();
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Missing { path },
            Errno::ACCESS | Errno::PERM => Self::NoPermission { path },
            Errno::NXIO | Errno::NODEV => Self::NoDevice { path, errno: errno.raw_os_error() },
            other => Self::Other { path, errno: other.raw_os_error() },
        }
    }

    fn from_io(path: &Path, error: &std::io::Error) -> Self {
        Self::from_errno(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }
}

impl SgDevice {
    /// Opens `path` and asks its driver whether it takes SCSI commands. Sends none.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which names the node and what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let interface = interface_of(path)?;
        let fd = rustix::fs::open(path, open_flags(OFlags::RDONLY), Mode::empty())
            .map_err(|errno| OpenError::from_errno(path, errno))?;
        if interface == Interface::V3 {
            let refuse = |errno: Errno| OpenError::NotScsi {
                path: path.to_path_buf(),
                errno: errno.raw_os_error(),
            };
            let version = abi::version(fd.as_fd()).map_err(|errno| match errno {
                Errno::NXIO | Errno::NODEV => OpenError::from_errno(path, errno),
                other => refuse(other),
            })?;
            if version < SG_VERSION_3 {
                return Err(refuse(Errno::NOSYS));
            }
        }
        Ok(Self { fd, path: path.to_path_buf(), interface, writable: false })
    }

    /// The node that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The interface that the node takes.
    #[must_use]
    pub fn interface(&self) -> Interface {
        self.interface
    }

    fn submit(
        &self,
        cdb: &[u8],
        data: &mut Data<'_>,
        sense: &mut [u8; SENSE_CAPACITY],
        timeout_ms: u32,
    ) -> rustix::io::Result<abi::Completion> {
        match self.interface {
            Interface::V3 => abi::submit_v3(self.fd.as_fd(), cdb, data, sense, timeout_ms),
            Interface::V4 => abi::submit_v4(self.fd.as_fd(), cdb, data, sense, timeout_ms),
        }
    }

    /// Opens the same node once more, for writing. Through the open file, not by name: the name may
    /// stand for another device by now.
    fn reopen_for_writing(&mut self) -> bool {
        if self.writable {
            return false;
        }
        let same = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let Ok(fd) = rustix::fs::open(same, open_flags(OFlags::RDWR), Mode::empty()) else {
            return false;
        };
        self.fd = fd;
        self.writable = true;
        true
    }
}

impl Transport for SgDevice {
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
        check(&request)?;
        let Request { cdb, mut data, timeout_ms } = request;
        if let Data::In(buffer) = &mut data {
            // Some drivers report no residual: stale bytes must not look like an answer.
            buffer.fill(0);
        }
        let requested = data.len();
        let mut sense = [0; SENSE_CAPACITY];
        let start = Instant::now();
        let mut completion = self.submit(cdb, &mut data, &mut sense, timeout_ms);
        if completion == Err(Errno::PERM) && self.reopen_for_writing() {
            completion = self.submit(cdb, &mut data, &mut sense, timeout_ms);
        }
        let duration = start.elapsed();
        let result = match completion {
            Ok(completion) => outcome::judge(&completion, &sense, requested, timeout_ms, duration),
            Err(errno) => Err(outcome::refused(errno, duration)),
        };
        trace(&self.path, cdb, &result, duration);
        result
    }

    fn reset_unit(&mut self) -> Result<(), ResetError> {
        let result = abi::reset_unit(self.fd.as_fd()).map_err(outcome::not_reset);
        tracing::debug!(path = %self.path.display(), ?result, "logical unit reset");
        result
    }
}

fn trace(path: &Path, cdb: &[u8], result: &Result<Reply, TransportError>, duration: Duration) {
    match result {
        Ok(reply) => tracing::trace!(
            path = %path.display(), cdb = ?cdb, status = %reply.status, host = %reply.host,
            transferred = reply.transferred, sense = ?reply.sense, us = duration.as_micros() as u64,
        ),
        Err(error) => tracing::debug!(
            path = %path.display(), cdb = ?cdb, %error, us = duration.as_micros() as u64,
        ),
    }
}

/// What no node can carry.
fn check(request: &Request<'_>) -> Result<(), TransportError> {
    let rule = if !(6..=16).contains(&request.cdb.len()) {
        "the CDB must be 6 to 16 bytes long"
    } else if request.timeout_ms == 0 {
        "the timeout must not be 0"
    } else if u32::try_from(request.data.len()).is_err() {
        "the data buffer must be shorter than 4 GiB"
    } else {
        return Ok(());
    };
    Err(TransportError::NotSubmitted { cause: NotSubmitted::BadRequest(rule), errno: 0 })
}

fn open_flags(access: OFlags) -> OFlags {
    // Without NONBLOCK, opening sg waits for exclusive openers and sd for removable media.
    access | OFlags::NONBLOCK | OFlags::CLOEXEC
}

/// Which interface the node at `path` takes, by its kind, before it is opened.
fn interface_of(path: &Path) -> Result<Interface, OpenError> {
    let metadata = fs::metadata(path).map_err(|error| OpenError::from_io(path, &error))?;
    let device = std::os::unix::fs::MetadataExt::rdev(&metadata);
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let kind = metadata.file_type();
    if kind.is_block_device() {
        if Path::new(&format!("/sys/dev/block/{major}:{minor}/dm")).exists() {
            return Err(OpenError::Map { path: path.to_path_buf() });
        }
        return Ok(Interface::V3);
    }
    if !kind.is_char_device() {
        return Err(OpenError::NotANode { path: path.to_path_buf() });
    }
    if major == SG_MAJOR {
        return Ok(Interface::V3);
    }
    let subsystem = fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem"));
    if subsystem.is_ok_and(|link| link.ends_with("bsg")) {
        return Ok(Interface::V4);
    }
    // Another character device: its driver would take the ioctl number for one of its own.
    Err(OpenError::NotScsi { path: path.to_path_buf(), errno: Errno::NOTTY.raw_os_error() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_no_node_can_carry_are_refused_before_the_kernel_sees_them() {
        let refused = |cdb: &[u8], timeout_ms| {
            check(&Request { cdb, data: Data::None, timeout_ms }).unwrap_err().to_string()
        };
        assert!(refused(&[0; 5], 1).contains("6 to 16 bytes"));
        assert!(refused(&[0; 17], 1).contains("6 to 16 bytes"));
        assert!(refused(&[0; 6], 0).contains("timeout"));
        assert!(check(&Request { cdb: &[0; 16], data: Data::None, timeout_ms: 1 }).is_ok());
    }
}
