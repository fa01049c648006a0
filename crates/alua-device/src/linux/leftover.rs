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
//!   that is not allowed, it is waited for until TCP gives it up.
//! - One that is **held** is waited for until it has been seen once with nothing to send: all that lay in it
//!   is at the target then, where a reset ends it. Most likely it is about to be closed.
//! - Not so where it is that of a session's **connection that is up**. Such a connection has never failed, so
//!   commands that came back through it were answered, or ended by a task management function that was.
//! - One that has appeared **later** has nothing of that server.
//!
//! The own port of the connection is not asked for: after a login anew it is another one, and to wait for a
//! socket of somebody else to the same portal costs a moment.
//!
//! Where the portal was not known, or its socket was not seen by that server (it is in another network
//! namespace), or the kernel does not tell, nothing is proven ([`Quiet::Unproven`]). An older mark tells no
//! portals; then the sockets of a disk that is gone are not looked for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::iscsi::ports_up;
use super::sockets::{Socket, destroy, sending_to};
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
    /// What is waited for, by the portal; nothing before the first look.
    open: BTreeMap<SocketAddr, Vec<Socket>>,
}

impl Leftover {
    /// Of a disk whose connections went to `portals`, none where it was not reached by iSCSI.
    pub(super) fn new(sys: PathBuf, label: String, portals: Vec<Portal>) -> Self {
        Self { sys, label, portals, open: BTreeMap::new() }
    }

    /// Looks. It must not be asked before the kernel has nothing of the earlier server on the disk.
    pub(super) fn quiet(&mut self) -> Quiet {
        let mut quiet = Quiet::Yes;
        for portal in self.portals.clone() {
            let nothing = match portal {
                Portal::At(remote) => self.is_nothing(remote),
                Portal::Unknown => None,
            };
            quiet = match nothing {
                Some(true) => quiet,
                Some(false) => Quiet::No,
                None => quiet.min(Quiet::Unproven),
            };
        }
        quiet
    }

    /// Whether nothing is left for that portal; `None` where the kernel does not tell.
    fn is_nothing(&mut self, remote: SocketAddr) -> Option<bool> {
        let before = self.open.get(&remote);
        if before.is_some_and(Vec::is_empty) {
            return Some(true);
        }
        let mut now = match sending_to(remote) {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::debug!(path = self.label, %error, "the sockets cannot be looked at");
                return None;
            }
        };
        now.retain(|socket| before.is_none_or(|before| before.iter().any(|it| it.is(socket))));
        let up = if now.is_empty() { Vec::new() } else { ports_up(&self.sys, remote) };
        now.retain(|socket| {
            if socket.owned {
                return !up.contains(&socket.local_port());
            }
            let ended = destroy(socket);
            if ended.is_ok() {
                tracing::info!(
                    path = self.label,
                    bytes = socket.bytes,
                    "dropped what its closed iSCSI connection had left to send"
                );
            }
            ended.is_err()
        });
        let nothing = now.is_empty();
        self.open.insert(remote, now);
        Some(nothing)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::path::Path;

    use super::super::sockets::tests::full;
    use super::*;

    fn leftover(sys: &Path, portals: &[Portal]) -> Leftover {
        Leftover::new(sys.to_owned(), "sdq".to_owned(), portals.to_vec())
    }

    #[test]
    fn what_a_connection_has_left_is_waited_for_though_its_disk_is_gone() {
        let sys = tempfile::tempdir().unwrap();
        let (peer, socket) = full("127.0.0.1:0");
        let remote = peer.local_addr().unwrap();
        let mut left = leftover(sys.path(), &[Portal::At(remote)]);
        assert_eq!(left.quiet(), Quiet::No);
        // The same without the portal: what an older mark tells.
        assert_eq!(leftover(sys.path(), &[]).quiet(), Quiet::Yes);
        drop(socket);
        let rest = sending_to(remote).unwrap();
        let [closed] = &rest[..] else { panic!("{rest:?}") };
        // The right to end it is CAP_NET_ADMIN. Without it it is waited for.
        let may = match destroy(closed) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(left.quiet() == Quiet::Yes, may);
        drop(peer);
        let begin = std::time::Instant::now();
        while left.quiet() != Quiet::Yes {
            assert!(begin.elapsed().as_secs() < 60, "its peer has gone, and it with that");
        }
    }

    #[test]
    fn a_socket_that_appears_later_is_not_waited_for() {
        let sys = tempfile::tempdir().unwrap();
        let (peer, _socket) = full("127.0.0.1:0");
        let remote = peer.local_addr().unwrap();
        let mut left = leftover(sys.path(), &[Portal::At(remote)]);
        assert_eq!(left.quiet(), Quiet::No);
        let known = left.open.get_mut(&remote).unwrap();
        assert_eq!(known.len(), 1);
        // As if the first look had met another one, which is gone now.
        known.clear();
        known.extend(other());
        assert_eq!(left.quiet(), Quiet::Yes);
        assert_eq!(left.quiet(), Quiet::Yes, "once nothing, always nothing");
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
        for (state, session_state, own, quiet) in [
            ("up", "LOGGED_IN", port, Quiet::Yes),
            ("failed", "LOGGED_IN", port, Quiet::No),
            ("up", "FAILED", port, Quiet::No),
            ("up", "LOGGED_IN", port ^ 1, Quiet::No),
        ] {
            write(&connection, "state", state.to_owned());
            write(&session, "state", session_state.to_owned());
            write(&connection, "local_port", own.to_string());
            let mut left = leftover(sys.path(), &[Portal::At(remote)]);
            assert_eq!(left.quiet(), quiet, "{state} {session_state} {own}");
        }
        let elsewhere = SocketAddr::new("127.0.0.9".parse().unwrap(), remote.port());
        assert_eq!(leftover(sys.path(), &[Portal::At(elsewhere)]).quiet(), Quiet::Yes);
        drop(socket);
    }

    #[test]
    fn where_the_portal_is_not_known_nothing_is_proven() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(leftover(sys.path(), &[Portal::Unknown]).quiet(), Quiet::Unproven);
        let (peer, _socket) = full("127.0.0.1:0");
        let busy = Portal::At(peer.local_addr().unwrap());
        assert_eq!(leftover(sys.path(), &[Portal::Unknown, busy]).quiet(), Quiet::No);
        assert_eq!(leftover(sys.path(), &[busy, Portal::Unknown]).quiet(), Quiet::No);
        // An idle one has nothing.
        let idle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _idle = TcpStream::connect(idle.local_addr().unwrap()).unwrap();
        let idle = Portal::At(idle.local_addr().unwrap());
        assert_eq!(leftover(sys.path(), &[idle]).quiet(), Quiet::Yes);
        for text in ["unknown", "", "storage.example:3260", "10.0.0.1"] {
            assert_eq!(Portal::parse(text), Portal::Unknown, "{text}");
        }
        for text in ["10.0.0.1:3260", "[fe80::1]:3260"] {
            assert_eq!(Portal::parse(text).to_string(), text);
        }
    }
}
