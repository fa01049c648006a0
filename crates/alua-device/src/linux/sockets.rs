//! TCP sockets of this host that still have something to send, by the kernel's `sock_diag`
//! (sock_diag(7)). It shows those of the own network namespace.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DESTROY};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags, Timer};
use netlink_packet_sock_diag::{SockDiagMessage, constants};
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(1);
/// More than the kernel puts into one message of a dump.
const ROOM: usize = 64 * 1024;

/// A socket that can send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Socket {
    family: u8,
    id: SocketId,
    /// Whether a program, or a part of the kernel, holds it. What nobody holds was closed.
    pub(super) owned: bool,
    /// Bytes that its peer has not acknowledged.
    pub(super) bytes: u32,
    /// How often they were sent again in vain.
    pub(super) retransmits: u8,
}

impl Socket {
    /// Whether it is the same socket, whatever it has to send now.
    pub(super) fn is(&self, other: &Self) -> bool {
        // The identifier has the kernel's cookie, which no other socket gets.
        self.family == other.family && self.id == other.id
    }

    /// Its own port.
    pub(super) const fn local_port(&self) -> u16 {
        self.id.source_port
    }
}

/// As people find it again, with `ss -tnp` for one.
impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remote = SocketAddr::new(self.id.destination_address, self.id.destination_port);
        let held = if self.owned { "held" } else { "closed" };
        let (port, bytes) = (self.local_port(), self.bytes);
        write!(f, "{remote} from port {port} ({bytes} bytes, {held})")
    }
}

/// The sockets to `remote` that have something to send, and can.
pub(super) fn sending_to(remote: SocketAddr) -> io::Result<Vec<Socket>> {
    let mut found = connected_to(remote)?;
    found.retain(|socket| socket.bytes > 0);
    Ok(found)
}

/// The sockets to `remote` that can send.
pub(super) fn connected_to(remote: SocketAddr) -> io::Result<Vec<Socket>> {
    let (family, mut id) = match remote.ip() {
        IpAddr::V4(_) => (AF_INET, SocketId::new_v4()),
        IpAddr::V6(_) => (AF_INET6, SocketId::new_v6()),
    };
    // The kernel selects by ports; addresses of a dump count for nothing.
    id.destination_port = remote.port();
    let states = StateFlags::ESTABLISHED
        | StateFlags::FIN_WAIT1
        | StateFlags::CLOSE_WAIT
        | StateFlags::CLOSING
        | StateFlags::LAST_ACK;
    let mut found = Vec::new();
    ask(NLM_F_DUMP, constants::SOCK_DIAG_BY_FAMILY, request(family, states, id), |header| {
        let id = header.socket_id.clone();
        let there = id.destination_address == remote.ip() && id.destination_port == remote.port();
        if there {
            let owned = header.inode != 0;
            let retransmits = match header.timer {
                Some(Timer::Retransmit(_, times)) => times,
                _ => 0,
            };
            found.push(Socket { family, id, owned, bytes: header.send_queue, retransmits });
        }
    })?;
    Ok(found)
}

/// Ends a socket and forgets what it has to send. The peer is told by a reset, if it can be. Some kernels
/// before 6.11 forget the bytes of a closed socket and keep it, and go on to count them.
pub(super) fn destroy(socket: &Socket) -> io::Result<()> {
    let request = request(socket.family, StateFlags::all(), socket.id.clone());
    match ask(NLM_F_ACK, SOCK_DESTROY, request, |_| {}) {
        // It has gone in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

const fn request(family: u8, states: StateFlags, socket_id: SocketId) -> InetRequest {
    let extensions = ExtensionFlags::empty();
    InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id }
}

type Header = netlink_packet_sock_diag::inet::InetResponseHeader;

/// Asks the kernel, and takes its answers to the last.
fn ask(
    flags: u16,
    kind: u16,
    request: InetRequest,
    mut take: impl FnMut(&Header),
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    message.header.message_type = kind;
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let kernel = SocketAddrNetlink::new(0, 0);
    let socket = open()?;
    rustix::net::sendto(&socket, &bytes, SendFlags::empty(), &kernel)?;
    let mut room = vec![0; ROOM];
    loop {
        let (_, length, sender) = rustix::io::retry_on_intr(|| {
            rustix::net::recvfrom(&socket, &mut room[..], RecvFlags::empty())
        })?;
        // Anybody may send to a netlink socket.
        let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
        if sender.is_none_or(|sender| sender.pid() != 0) {
            continue;
        }
        let mut rest = room.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    take(&response.header);
                }
                // Where nobody can tell of such sockets, the end says so.
                NetlinkPayload::Done(done) => return errno(done.code),
                NetlinkPayload::Error(error) => return errno(error.raw_code()),
                _ => {}
            }
        }
    }
}

/// What a message ends with: 0, or minus an error number.
fn errno(code: i32) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.saturating_neg())) }
}

fn open() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    // The first question may load a module. The engine's thread does not wait for that without end.
    rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(LIMIT))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A peer that takes nothing, and a socket full of bytes for it.
    pub(crate) fn full(address: &str) -> (TcpListener, TcpStream) {
        let peer = TcpListener::bind(address).unwrap();
        let mut socket = TcpStream::connect(peer.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 65_536]).is_ok() {}
        (peer, socket)
    }

    #[test]
    fn what_a_closed_socket_has_to_send_is_found_and_dropped() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (peer, socket) = full(address);
            let (remote, own) = (peer.local_addr().unwrap(), socket.local_addr().unwrap());
            let found = sending_to(remote).unwrap();
            let [open] = &found[..] else { panic!("{found:?}") };
            assert!(open.owned && open.bytes > 0 && open.local_port() == own.port(), "{open:?}");
            let text =
                |held, bytes| format!("{remote} from port {} ({bytes} bytes, {held})", own.port());
            assert_eq!(open.to_string(), text("held", open.bytes));
            drop(socket);
            let found = sending_to(remote).unwrap();
            let [closed] = &found[..] else { panic!("{found:?}") };
            assert!(!closed.owned && closed.bytes > 0, "{closed:?}");
            assert_eq!(closed.to_string(), text("closed", closed.bytes));
            match destroy(closed) {
                // Before Linux 6.11 it may stay, without its bytes.
                Ok(()) => destroy(closed).unwrap(),
                // The right to do so is CAP_NET_ADMIN; who has it not is told.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
            }
        }
    }

    #[test]
    fn where_nobody_can_tell_that_is_an_error() {
        // No protocol of that number keeps sockets.
        let mut request = request(AF_INET, StateFlags::all(), SocketId::new_v4());
        request.protocol = 250;
        assert!(ask(NLM_F_DUMP, constants::SOCK_DIAG_BY_FAMILY, request, |_| {}).is_err());
    }

    #[test]
    fn sockets_to_others_and_idle_ones_are_not_found() {
        let (peer, _socket) = full("127.0.0.1:0");
        let idle = TcpListener::bind("127.0.0.1:0").unwrap();
        let _other = TcpStream::connect(idle.local_addr().unwrap()).unwrap();
        assert_eq!(sending_to(idle.local_addr().unwrap()).unwrap(), []);
        let elsewhere =
            SocketAddr::new("127.0.0.9".parse().unwrap(), peer.local_addr().unwrap().port());
        assert_eq!(sending_to(elsewhere).unwrap(), []);
    }
}
