//! What the iSCSI connection of a disk that an earlier server had is left with in a socket.
//!
//! # The danger
//!
//! A server is killed with a write on a disk that is reached by iSCSI. Its connection fails, or its session is
//! logged out, and the disk is removed before the next server starts: all of its commands have come back to
//! the kernel by then. But the daemon has closed the connection's socket, and what was queued in that is
//! sent for as long as TCP tries ([`super::iscsi`]). Nothing in sysfs leads there any more. When the network
//! works again the write can arrive through a nexus that the target still has, over what the next
//! server has written.
//!
//! # The rule
//!
//! The mark of the dead server tells the portals of each of its disks ([`super::mark`]). Where the
//! kernel has nothing of that server on the disk any more, nobody puts anything of it into a socket: the
//! initiator sends a command's data only while it has the command. So all that is left lies in the sockets
//! that have something to send to a portal at the first look after that, and the set of these only shrinks:
//!
//! - One that was **closed** is ended, and its bytes with it: they belong to a connection that is over. Where
//!   that is not allowed, it is waited for until TCP gives it up, and that is said.
//! - One that is **held** is waited for until it has been seen once with nothing to send: all that lay in it
//!   is at the target then, where a reset ends it. Most likely it is about to be closed.
//! - Not so where it is that of a session's **connection that is up**. Such a connection has never failed, so
//!   commands that came back through it were answered, or ended by a task management function that was.
//! - One that has appeared **later** has nothing of that server.
//!
//! The own port of the connection is not asked for: after a login anew it is another one. So a socket of
//! somebody else to the same portal is waited for too, and one that is never idle would be for ever: that of a
//! program with an initiator of its own, which no session of the kernel knows. **A held socket that is of no
//! connection that sysfs lists** is therefore waited for only [`HELD`]. The kernel lists a connection, whatever
//! its state, as long as it has that connection's socket; from then on only the daemon holds it, which closes
//! it next. It would have to stand still in between for all that time. Then nothing is proven any more
//! ([`Quiet::Unproven`]): no reset is taken for an end, and the bounded wait, which begins only now, is as good
//! as it is for a command that is lost in a network.
//!
//! Where the portal was not known, or its socket was not seen by that server, or that was in another network
//! namespace than this one ([`super::mark`]), or the kernel does not tell, nothing is proven either.
//!
//! # What is not seen
//!
//! A session can be led to another portal by a login, or its portal be changed by hand. A server notes where
//! its sessions go when it opens a disk, with every probe, and every two seconds where a connection is another
//! one than before. A connection that did not last so long may not be noted.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::iscsi::{HELD, Look};
use super::sockets::{Socket, destroy};
use crate::inbox::Quiet;

/// Where the iSCSI connection of a disk goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Portal {
    At(SocketAddr),
    /// It is not known, or its sockets cannot be seen.
    Unknown,
}

const UNKNOWN: &str = "unknown";

impl Portal {
    /// What is no address is not known.
    pub(super) fn parse(text: &str) -> Self {
        text.parse().map_or(Self::Unknown, Self::At)
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Unknown => f.write_str(UNKNOWN),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Leftover {
    sys: PathBuf,
    label: String,
    portals: Vec<Portal>,
    /// What is waited for, by the portal, and when that was looked at first; nothing before.
    open: BTreeMap<SocketAddr, (Instant, Vec<Socket>)>,
    /// It was said that a socket cannot be ended.
    told: bool,
}

impl Leftover {
    /// Of a disk whose connections went to `portals`, none where it was not reached by iSCSI.
    pub(super) const fn new(sys: PathBuf, label: String, portals: Vec<Portal>) -> Self {
        Self { sys, label, portals, open: BTreeMap::new(), told: false }
    }

    /// By what `look` finds, at `now`. That must have begun when the kernel had nothing of the earlier server on
    /// the disk any more.
    pub(super) fn quiet(&mut self, look: &mut Look, now: Instant) -> Quiet {
        let portals = self.portals.clone();
        let each = portals.into_iter().map(|portal| match portal {
            Portal::At(remote) => self.quiet_at(remote, look, now),
            Portal::Unknown => Quiet::Unproven,
        });
        each.fold(Quiet::Yes, Quiet::min)
    }

    fn quiet_at(&mut self, remote: SocketAddr, look: &mut Look, now: Instant) -> Quiet {
        let before = self.open.get(&remote);
        if before.is_some_and(|(_, sockets)| sockets.is_empty()) {
            return Quiet::Yes;
        }
        let mut sockets = match look.sending_to(remote) {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::debug!(path = self.label, %error, "the sockets cannot be looked at");
                return Quiet::Unproven;
            }
        };
        let known = |socket: &Socket| {
            before.is_none_or(|(_, before)| before.iter().any(|it| it.is(socket)))
        };
        sockets.retain(known);
        let since = before.map_or(now, |(since, _)| *since);
        let mut quiet = Quiet::Yes;
        sockets.retain(|socket| {
            let of_socket = self.quiet_of(socket, remote, look, now.duration_since(since));
            quiet = quiet.min(of_socket);
            of_socket != Quiet::Yes
        });
        sockets.iter().for_each(|socket| look.waits_for(socket));
        self.open.insert(remote, (since, sockets));
        quiet
    }

    /// Of one that has something to send, and is waited for since so long.
    fn quiet_of(
        &mut self,
        socket: &Socket,
        remote: SocketAddr,
        look: &mut Look,
        waited: Duration,
    ) -> Quiet {
        if !socket.owned {
            return self.end(socket);
        }
        match look.listed(&self.sys, remote, socket.local_port()) {
            Some(connection) if connection.is_up => Quiet::Yes,
            None if waited >= HELD => Quiet::Unproven,
            Some(_) | None => Quiet::No,
        }
    }

    /// Ends one that was closed.
    fn end(&mut self, socket: &Socket) -> Quiet {
        match destroy(socket) {
            Ok(()) => {
                tracing::info!(
                    path = self.label,
                    bytes = socket.bytes,
                    "dropped what its closed iSCSI connection had left to send"
                );
                Quiet::Yes
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(
                        path = self.label,
                        %socket,
                        %error,
                        "what its closed iSCSI connection has left to send cannot be dropped: requests \
                         wait until TCP gives it up; run with CAP_NET_ADMIN on a kernel with \
                         INET_DIAG_DESTROY, or end it by `ss -K` as root"
                    );
                }
                Quiet::No
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::path::Path;

    use super::super::sockets::sending_to;
    use super::super::sockets::tests::full;
    use super::*;

    fn leftover(sys: &Path, portals: &[Portal]) -> Leftover {
        Leftover::new(sys.to_owned(), "sdq".to_owned(), portals.to_vec())
    }

    fn quiet(left: &mut Leftover) -> Quiet {
        left.quiet(&mut Look::default(), Instant::now())
    }

    /// Whether a closed socket may be ended, tried on one of nobody: the right is CAP_NET_ADMIN.
    fn may_end() -> bool {
        let (peer, socket) = full("127.0.0.1:0");
        drop(socket);
        let closed = sending_to(peer.local_addr().unwrap()).unwrap();
        match destroy(closed.first().unwrap()) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_a_connection_has_left_is_waited_for_though_its_disk_is_gone() {
        let sys = tempfile::tempdir().unwrap();
        let (peer, socket) = full("127.0.0.1:0");
        let remote = peer.local_addr().unwrap();
        let mut left = leftover(sys.path(), &[Portal::At(remote)]);
        assert_eq!(quiet(&mut left), Quiet::No);
        // The same without the portal: what an older mark tells.
        assert_eq!(quiet(&mut leftover(sys.path(), &[])), Quiet::Yes);
        drop(socket);
        assert_eq!(sending_to(remote).unwrap().len(), 1);
        // Without the right to end it it is waited for.
        let may = may_end();
        assert_eq!(quiet(&mut left) == Quiet::Yes, may);
        assert_eq!(sending_to(remote).unwrap().is_empty(), may);
        assert_eq!(left.told, !may, "that is said");
        drop(peer);
        let begin = Instant::now();
        while quiet(&mut left) != Quiet::Yes {
            assert!(begin.elapsed().as_secs() < 60, "its peer has gone, and it with that");
        }
    }

    #[test]
    fn a_socket_that_appears_later_is_not_waited_for() {
        let sys = tempfile::tempdir().unwrap();
        let (peer, _socket) = full("127.0.0.1:0");
        let remote = peer.local_addr().unwrap();
        let mut left = leftover(sys.path(), &[Portal::At(remote)]);
        assert_eq!(quiet(&mut left), Quiet::No);
        let (_, known) = left.open.get_mut(&remote).unwrap();
        assert_eq!(known.len(), 1);
        // As if the first look had met another one, which is gone now.
        known.clear();
        known.extend(other());
        assert_eq!(quiet(&mut left), Quiet::Yes);
        assert_eq!(quiet(&mut left), Quiet::Yes, "once nothing, always nothing");
    }

    /// Some other socket.
    fn other() -> Vec<Socket> {
        let (peer, _socket) = full("127.0.0.1:0");
        sending_to(peer.local_addr().unwrap()).unwrap()
    }

    #[test]
    fn a_connection_that_is_up_has_nothing_of_a_disk_that_is_gone() {
        let sys = tempfile::tempdir().unwrap();
        let (peer, socket) = full("127.0.0.1:0");
        let remote = peer.local_addr().unwrap();
        let session = sys.path().join("class/iscsi_session/session3");
        let connection = sys.path().join("class/iscsi_connection/connection3:0");
        let write = |folder: &Path, name: &str, text: String| {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), text + "\n").unwrap();
        };
        let port = socket.local_addr().unwrap().port();
        write(&connection, "address", remote.ip().to_string());
        write(&connection, "port", remote.port().to_string());
        for (state, session_state, own, expected) in [
            ("up", "LOGGED_IN", port, Quiet::Yes),
            ("failed", "LOGGED_IN", port, Quiet::No),
            ("up", "FAILED", port, Quiet::No),
            ("up", "LOGGED_IN", port ^ 1, Quiet::No),
        ] {
            write(&connection, "state", state.to_owned());
            write(&session, "state", session_state.to_owned());
            write(&connection, "local_port", own.to_string());
            let mut left = leftover(sys.path(), &[Portal::At(remote)]);
            assert_eq!(quiet(&mut left), expected, "{state} {session_state} {own}");
            // For ever, unless it is of a connection that sysfs does not list.
            let late = left.quiet(&mut Look::default(), Instant::now() + HELD);
            let unlisted = if own == port { expected } else { Quiet::Unproven };
            assert_eq!(late, unlisted, "{state} {session_state} {own}");
        }
        let elsewhere = SocketAddr::new("127.0.0.9".parse().unwrap(), remote.port());
        assert_eq!(quiet(&mut leftover(sys.path(), &[Portal::At(elsewhere)])), Quiet::Yes);
        drop(socket);
    }

    /// Such as that of a program with an initiator of its own, which never stops.
    #[test]
    fn a_held_socket_that_sysfs_does_not_know_is_waited_for_only_for_a_while() {
        let sys = tempfile::tempdir().unwrap();
        let (peer, socket) = full("127.0.0.1:0");
        let remote = peer.local_addr().unwrap();
        let mut left = leftover(sys.path(), &[Portal::At(remote)]);
        let start = Instant::now();
        let mut at = |after| {
            let mut look = Look::default();
            (left.quiet(&mut look, start + after), look.waits())
        };
        let bytes = sending_to(remote).unwrap().first().unwrap().bytes;
        let port = socket.local_addr().unwrap().port();
        let name = format!("{remote} from port {port} ({bytes} bytes, held)");
        let moment = Duration::from_millis(1);
        assert_eq!(at(Duration::ZERO), (Quiet::No, vec![name.clone()]));
        assert_eq!(at(HELD - moment), (Quiet::No, vec![name.clone()]));
        assert_eq!(at(HELD), (Quiet::Unproven, vec![name]));
        drop((socket, peer));
        let begin = Instant::now();
        while !sending_to(remote).unwrap().is_empty() {
            assert!(begin.elapsed().as_secs() < 60, "its peer has gone, and it with that");
        }
        assert_eq!(at(HELD + moment), (Quiet::Yes, Vec::new()), "it is looked for all the same");
    }

    /// The kernel is asked once for all disks of a portal.
    #[test]
    fn one_look_finds_the_same_for_all() {
        let sys = tempfile::tempdir().unwrap();
        let (peer, _socket) = full("127.0.0.1:0");
        let remote = peer.local_addr().unwrap();
        let mut look = Look::default();
        let before = look.sending_to(remote).unwrap();
        let mut other = TcpStream::connect(remote).unwrap();
        other.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut other, &[0; 65_536]).is_ok() {}
        assert_eq!((before.len(), sending_to(remote).unwrap().len()), (1, 2));
        for _ in 0..2 {
            let mut left = leftover(sys.path(), &[Portal::At(remote)]);
            assert_eq!(left.quiet(&mut look, Instant::now()), Quiet::No);
            assert_eq!(left.open[&remote].1, before);
        }
    }

    #[test]
    fn where_the_portal_is_not_known_nothing_is_proven() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(quiet(&mut leftover(sys.path(), &[Portal::Unknown])), Quiet::Unproven);
        let (peer, _socket) = full("127.0.0.1:0");
        let busy = Portal::At(peer.local_addr().unwrap());
        assert_eq!(quiet(&mut leftover(sys.path(), &[Portal::Unknown, busy])), Quiet::No);
        assert_eq!(quiet(&mut leftover(sys.path(), &[busy, Portal::Unknown])), Quiet::No);
        // An idle one has nothing.
        let idle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _idle = TcpStream::connect(idle.local_addr().unwrap()).unwrap();
        let idle = Portal::At(idle.local_addr().unwrap());
        assert_eq!(quiet(&mut leftover(sys.path(), &[idle])), Quiet::Yes);
        for text in ["unknown", "", "storage.example:3260", "10.0.0.1"] {
            assert_eq!(Portal::parse(text), Portal::Unknown, "{text}");
        }
        for text in ["10.0.0.1:3260", "[fe80::1]:3260"] {
            assert_eq!(Portal::parse(text).to_string(), text);
        }
    }
}
