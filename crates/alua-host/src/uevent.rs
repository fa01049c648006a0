//! What the kernel says by itself: uevents about SCSI devices.
//!
//! # Contract
//!
//! - Only messages of the kernel count: netlink port 0, which no user's socket can have. (The
//!   credentials that a message carries would say the same; `rustix` cannot hold the process id 0
//!   that they name for the kernel.) Others are counted and dropped.
//! - Nothing is lost in silence: a full socket buffer, a message that does not fit, one that cannot
//!   be read and an unknown action each give [`Event::Rescan`].
//! - A uevent is a hint. What a device really is must be read from it.
//! - [`UeventSocket`] never blocks but in [`UeventSocket::wait`]; its file descriptor can be polled
//!   together with others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

mod event;

pub use event::{Event, RescanCause, parse};

/// The multicast group in which the kernel sends; udev sends what it made of it in another.
const KERNEL_GROUP: u32 = 1;

/// The kernel writes at most 2 KiB of variables, a header and, at most, two file names.
const MESSAGE_ROOM: usize = 16 * 1024;

/// Room for bursts, as far as the system allows it without privileges.
const SOCKET_BUFFER: usize = 1024 * 1024;

/// A socket on which the kernel's uevents arrive. Needs no privileges.
#[derive(Debug)]
pub struct UeventSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
    foreign: u64,
}

/// The uevent socket failed.
#[derive(Debug, thiserror::Error)]
#[error("kernel uevents: cannot {doing}: {source}")]
pub struct UeventError {
    doing: &'static str,
    source: io::Error,
}

impl UeventError {
    fn new(doing: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { doing, source: errno.into() }
    }

    /// What the operating system said.
    #[must_use]
    pub fn os_error(&self) -> &io::Error {
        &self.source
    }
}

impl UeventSocket {
    /// Starts to listen. Events from now on are kept by the kernel until they are read.
    ///
    /// # Errors
    ///
    /// [`UeventError`] where the kernel has no such socket (a sandbox, another network namespace).
    pub fn open() -> Result<Self, UeventError> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(KOBJECT_UEVENT),
        )
        .map_err(UeventError::new("open the netlink socket"))?;
        // Only a wish: what the system allows is kept, and an overrun is noticed.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&fd, SOCKET_BUFFER);
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, KERNEL_GROUP))
            .map_err(UeventError::new("join the kernel's group"))?;
        Ok(Self { fd, buffer: vec![0; MESSAGE_ROOM], foreign: 0 })
    }

    /// The next event that has arrived; `None` when there is none at the moment.
    ///
    /// # Errors
    ///
    /// [`UeventError`] when the socket fails; further calls will fail too.
    pub fn next_event(&mut self) -> Result<Option<Event>, UeventError> {
        loop {
            let received = rustix::net::recvfrom(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC);
            let (_, length, sender) = match received {
                Ok(received) => received,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(Errno::NOBUFS) => return Ok(Some(Event::Rescan(RescanCause::Overrun))),
                Err(errno) => return Err(UeventError::new("receive")(errno)),
            };
            let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
            if sender.is_none_or(|sender| sender.pid() != 0) {
                self.foreign = self.foreign.saturating_add(1);
                tracing::debug!(?sender, "dropped a uevent that the kernel did not send");
                continue;
            }
            let Some(packet) = self.buffer.get(..length) else {
                return Ok(Some(Event::Rescan(RescanCause::TooLong { length })));
            };
            if let Some(event) = parse(packet) {
                return Ok(Some(event));
            }
        }
    }

    /// The next event, waiting for it up to `limit`; `None` when none came.
    ///
    /// # Errors
    ///
    /// As [`next_event`](Self::next_event).
    pub fn wait(&mut self, limit: Duration) -> Result<Option<Event>, UeventError> {
        let start = Instant::now();
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(Some(event));
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            // A limit that a timespec cannot hold is as good as none.
            let timeout = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(UeventError::new("wait")(errno)),
            }
        }
    }

    /// Messages dropped because somebody else than the kernel sent them.
    #[must_use]
    pub fn foreign_messages(&self) -> u64 {
        self.foreign
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{SendFlags, SocketAddrAny};

    use super::*;

    #[test]
    fn an_empty_socket_waits_no_longer_than_it_is_told() {
        let mut socket = UeventSocket::open().unwrap();
        let start = Instant::now();
        // Real events of the machine may come in between; only the time is certain.
        while start.elapsed() < Duration::from_millis(30) {
            let _ = socket.wait(Duration::from_millis(5)).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    /// A message of another process: the kernel refuses to carry it (no privileges), or we drop it.
    #[test]
    fn a_message_that_the_kernel_did_not_send_is_dropped() {
        let mut socket = UeventSocket::open().unwrap();
        let address: SocketAddrAny = rustix::net::getsockname(&socket).unwrap();
        let port = SocketAddrNetlink::try_from(address).unwrap().pid();
        let forger =
            rustix::net::socket(AddressFamily::NETLINK, SocketType::DGRAM, Some(KOBJECT_UEVENT))
                .unwrap();
        let packet = b"add@/devices/x/2:0:0:1\0ACTION=add\0DEVPATH=/devices/x/2:0:0:1\0\
                       SUBSYSTEM=scsi\0SEQNUM=1\0";
        assert!(matches!(parse(packet), Some(Event::DeviceAdded { .. })));
        let to = SocketAddrNetlink::new(port, 0);
        match rustix::net::sendto(&forger, packet, SendFlags::empty(), &to) {
            Err(errno) => assert!(matches!(errno, Errno::PERM | Errno::CONNREFUSED), "{errno}"),
            Ok(_) => {
                let event = socket.wait(Duration::from_millis(50)).unwrap();
                assert!(!matches!(event, Some(Event::DeviceAdded { .. })), "{event:?}");
                assert_eq!(socket.foreign_messages(), 1);
            }
        }
    }
}
