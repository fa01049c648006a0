//! What an iSCSI initiator leaves in a socket.
//!
//! # The problem
//!
//! Before a reset is carried out, everything that the kernel had of the lost path must have come back
//! ([`super::ring`]). Of Linux's own initiator (`iscsi_tcp`) that is not enough: when its connection
//! fails it gives its commands back, and its daemon closes the socket, which sends what is queued in
//! it for as long as TCP tries again (tcp(7), `tcp_orphan_retries`). So the bytes of a WRITE that came
//! back can still arrive after the reset, when the network works again and before the daemon has
//! logged in anew, through a nexus that the target still has: over newer data.
//!
//! # The rule
//!
//! A reset waits until no socket to the portal of the lost path has anything to send:
//!
//! - One that was closed is ended (`SOCK_DESTROY`), and its bytes with it. They belong to a connection
//!   that is over, and the initiator tells nobody more of them.
//! - One that is held is waited for: the daemon is about to close it. Only the session's own, where the
//!   kernel told its port when the path was cut. Where it did not, all that are not those of a connection that
//!   is up; one that sysfs does not list may be of another program, and after [`HELD`] nothing can be told.
//! - Not so where the connection is up. Then the commands have come back because the target answered,
//!   or the session was made anew, which has ended the nexus and its tasks before (RFC 7143, 6.3.5).
//!   The kernel says that it is not before it gives a command back (linux
//!   drivers/scsi/scsi_transport_iscsi.c, `iscsi_stop_conn`); the state of the session, which it sets
//!   in a work item, comes later.
//!
//! # A dead connection is ended
//!
//! The commands of a path that was cut come back when the initiator gives its connection up: when its
//! NOP-Out has run out, ten seconds after the network has gone by the defaults of open-iscsi. Where TCP
//! has sent again [`RETRANSMITS`] times what the target does not acknowledge, no answer will come through
//! that connection before it works again, to no logical unit of the session, and it is ended half a
//! second later. The initiator then logs in anew, as it would later.
//!
//! # What it takes
//!
//! Where something cannot be told, or done, the step has failed, and the engine falls back on its bounded
//! wait. It takes `CAP_NET_ADMIN`, a kernel with `INET_DIAG_DESTROY`, and the network namespace of the
//! initiator: a connection whose socket is not seen while it is up cannot be told of.
//!
//! What the host has sent and the network has not delivered is not covered: see
//! `docs/simulation.md`, *What is assumed*.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::leftover::Portal;
use super::sockets;

/// So often in vain, and a connection is dead. By TCP's defaults they come after 0.2 s or more, then each
/// after twice the time: at least three seconds in all.
const RETRANSMITS: u8 = 4;
/// It must have been so for so long, for TCP may have been told to try again faster.
const DEAD: Duration = Duration::from_millis(500);
/// The sockets are not looked at more often.
const LOOK: Duration = Duration::from_millis(5);
/// Nor is a connection whose commands are awaited.
const HURRY: Duration = Duration::from_millis(100);

/// A held socket of which sysfs lists no connection is waited for so long ([`super::leftover`] has the reason).
pub(super) const HELD: Duration = Duration::from_secs(10);

/// What was known of a connection last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    portal: Option<SocketAddr>,
    /// Its own port, where the kernel told it.
    own_port: Option<u16>,
    /// Its socket is one of those that we can see.
    ours: bool,
}

/// The session through which a disk is reached.
#[derive(Debug)]
pub(super) struct Session {
    label: String,
    sys: PathBuf,
    /// Both in sysfs; of the session's first connection, for Linux makes no other.
    session: PathBuf,
    connection: PathBuf,
    /// The kernel tells of a connection only while there is one.
    seen: Mutex<Seen>,
    /// It was said that nothing can be known.
    told: AtomicBool,
}

impl Session {
    /// Of the SCSI device at `device`, a directory of sysfs; `None` where it is not reached by `iscsi_tcp`:
    /// adapters that do TCP themselves, and iSER, have no sockets of the host.
    pub(super) fn of(sys: &Path, device: &Path, label: &str) -> Option<Self> {
        let device = fs::canonicalize(device).ok()?;
        let names = || device.components().filter_map(|part| part.as_os_str().to_str());
        let name = names().rfind(|name| name.starts_with("session"))?;
        let number = name.strip_prefix("session")?;
        let host = names().rfind(|name| name.starts_with("host"))?;
        let driver = fs::read_to_string(sys.join("class/scsi_host").join(host).join("proc_name"));
        if driver.is_ok_and(|driver| driver.trim() != "iscsi_tcp") {
            return None;
        }
        let session = Self {
            label: label.to_owned(),
            sys: sys.to_owned(),
            session: sys.join("class/iscsi_session").join(name),
            connection: sys.join("class/iscsi_connection").join(format!("connection{number}:0")),
            seen: Mutex::new(Seen { portal: None, own_port: None, ours: true }),
            told: AtomicBool::new(false),
        };
        // Now, while there is no hurry: the first question of all loads a module of the kernel.
        session.look();
        Some(session)
    }

    fn value(&self, name: &str) -> Option<String> {
        value(&self.connection, name)
    }

    fn address(&self, address_name: &str, port: &str) -> Option<SocketAddr> {
        address(&self.connection, address_name, port)
    }

    /// Where it goes, as the next server has to know it.
    pub(super) fn portal(&self) -> Portal {
        match self.seen() {
            Seen { portal: Some(portal), ours: true, .. } => Portal::At(portal),
            _ => Portal::Unknown,
        }
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_port(&self) -> Option<u16> {
        self.value("local_port")?.parse().ok()
    }

    /// Takes note of where the session goes; a login can lead it to another place.
    pub(super) fn look(&self) {
        let Some(portal) = self.address("address", "port") else { return };
        let port = self.own_port();
        let ours = match (port, sockets::connected_to(portal)) {
            (_, Err(error)) => {
                self.tell(&error);
                false
            }
            (Some(port), Ok(all)) => all.iter().any(|socket| socket.local_port() == port),
            (None, Ok(_)) => true,
        };
        if !ours && self.own_port() != port {
            // It is being made anew at this moment.
            return;
        }
        let seen = Seen { portal: Some(portal), own_port: port, ours };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Whether its connection is another one than at the last look. It asks sysfs only.
    pub(super) fn has_moved(&self) -> bool {
        let portal = self.address("address", "port");
        let Seen { portal: known, own_port, .. } = self.seen();
        portal.is_some() && (known, own_port) != (portal, self.own_port())
    }

    /// Says once that nothing can be known.
    fn tell(&self, error: &io::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = self.label,
                %error,
                "what its iSCSI connection has left to send cannot be known or dropped: writes that \
                 are lost with it wait for the fence wait; it takes CAP_NET_ADMIN, the network \
                 namespace of the initiator, and a kernel with INET_DIAG_DESTROY"
            );
        }
    }

    fn is_up(&self) -> bool {
        is_up(&self.session, &self.connection)
    }

    /// What may be left of it, as of now, when its path is cut.
    pub(super) fn left(self: &Arc<Self>) -> Left {
        self.look();
        let Seen { portal, ours, .. } = self.seen();
        Left {
            portal: portal.or_else(|| self.address("persistent_address", "persistent_port")),
            ours,
            own_port: self.own_port(),
            session: Arc::clone(self),
            looked: Mutex::default(),
            unknown: AtomicBool::new(false),
            first: OnceLock::new(),
            asked: Mutex::default(),
        }
    }
}

/// What a file of a directory in sysfs says.
fn value(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(directory.join(name)).ok()?;
    Some(text.trim().to_owned())
}

fn address(connection: &Path, address: &str, port: &str) -> Option<SocketAddr> {
    let address = value(connection, address)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    // The scope of a link-local address is not of use here.
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(SocketAddr::new(address, value(connection, port)?.parse().ok()?))
}

fn is_up(session: &Path, connection: &Path) -> bool {
    let is = |directory, name, state| value(directory, name).is_some_and(|it| it == state);
    is(session, "state", "LOGGED_IN") && is(connection, "state", "up")
}

/// A connection that sysfs lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    portal: SocketAddr,
    own_port: u16,
    pub(super) is_up: bool,
}

/// All connections of which the kernel tells both ends; it does so while they have a socket.
fn listed(sys: &Path) -> Vec<Listed> {
    let Ok(entries) = fs::read_dir(sys.join("class/iscsi_connection")) else { return Vec::new() };
    let of = |entry: fs::DirEntry| {
        let (connection, name) = (entry.path(), entry.file_name());
        let number = name.to_str()?.strip_prefix("connection")?.split(':').next()?.to_owned();
        let session = sys.join("class/iscsi_session").join(format!("session{number}"));
        // The port first: should it be made anew at this moment, its state says so.
        let own_port = value(&connection, "local_port")?.parse().ok()?;
        let portal = address(&connection, "address", "port")?;
        Some(Listed { portal, own_port, is_up: is_up(&session, &connection) })
    };
    entries.flatten().filter_map(of).collect()
}

/// What one look at many disks has found: the kernel is asked once for what several of them share.
#[derive(Debug, Default)]
pub(super) struct Look {
    sending: BTreeMap<SocketAddr, Result<Vec<sockets::Socket>, Arc<io::Error>>>,
    listed: Option<Vec<Listed>>,
    /// The sockets that are waited for.
    waits: BTreeSet<String>,
}

impl Look {
    /// See [`sockets::sending_to`]. What was found first is found again.
    pub(super) fn sending_to(&mut self, portal: SocketAddr) -> io::Result<Vec<sockets::Socket>> {
        let look = || sockets::sending_to(portal).map_err(Arc::new);
        let found = self.sending.entry(portal).or_insert_with(look);
        found.clone().map_err(|error| io::Error::new(error.kind(), error))
    }

    /// The connection of which the socket to `portal` with that own port is.
    pub(super) fn listed(&mut self, sys: &Path, portal: SocketAddr, own: u16) -> Option<Listed> {
        let all = self.listed.get_or_insert_with(|| listed(sys));
        let mut of = all.iter().filter(|it| (it.portal, it.own_port) == (portal, own));
        // Of two the one that tells less.
        of.clone().find(|it| !it.is_up).or_else(|| of.next()).copied()
    }

    /// The socket is waited for.
    pub(super) fn waits_for(&mut self, socket: &sockets::Socket) {
        self.waits.insert(socket.to_string());
    }

    pub(super) fn waits(self) -> Vec<String> {
        self.waits.into_iter().collect()
    }
}

/// What may be left of a session in sockets.
#[derive(Debug)]
pub(super) struct Left {
    session: Arc<Session>,
    portal: Option<SocketAddr>,
    ours: bool,
    /// The own port of its connection, where the kernel told it.
    own_port: Option<u16>,
    /// When it was looked at last, and whether there was nothing.
    looked: Mutex<Option<(Instant, bool)>>,
    unknown: AtomicBool,
    /// When the sockets were looked at first.
    first: OnceLock<Instant>,
    /// When the connection was looked at last, and since when it has been dead.
    asked: Mutex<(Option<Instant>, Option<Instant>)>,
}

impl Left {
    /// Whether no socket has anything of the session to send any more. Ends those that were closed.
    pub(super) fn is_nothing(&self) -> bool {
        let known = self.known();
        known.unwrap_or_else(|| self.is_nothing_in(self.is_up(), &mut Look::default()))
    }

    /// By the last look, where another one would be too early.
    fn known(&self) -> Option<bool> {
        match *self.looked.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((at, false)) if at.elapsed() >= LOOK => None,
            looked => looked.map(|(_, nothing)| nothing),
        }
    }

    /// Whether its connection is up. Who looks for it together with others asks that before the sockets are
    /// looked at: of one that is up later the socket may be another one.
    pub(super) fn is_up(&self) -> bool {
        self.session.is_up()
    }

    /// The same, by what a look at several finds.
    pub(super) fn is_nothing_in(&self, up: bool, look: &mut Look) -> bool {
        if let Some(known) = self.known() {
            return known;
        }
        let found = self.look(up, look);
        self.unknown.store(found.is_err(), Ordering::Relaxed);
        let nothing = found.unwrap_or_else(|error| {
            self.session.tell(&error);
            false
        });
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), nothing));
        nothing
    }

    /// Whether nothing can be known, by the last look.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }

    /// While commands are awaited: ends the connection where it is dead.
    pub(super) fn hurry(&self) {
        self.hurry_in(&mut Look::default());
    }

    /// The same, by what a look at several finds.
    pub(super) fn hurry_in(&self, look: &mut Look) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(portal), Some(own_port)) = (self.portal, self.own_port) else { return };
        if asked.0.is_some_and(|at| at.elapsed() < HURRY) {
            return;
        }
        asked.0 = Some(Instant::now());
        let dead = |socket: &sockets::Socket| {
            socket.local_port() == own_port && socket.retransmits >= RETRANSMITS
        };
        // Where it cannot be done the initiator does it later.
        let socket = look.sending_to(portal).unwrap_or_default().into_iter().find(dead);
        let Some(socket) = socket else {
            asked.1 = None;
            return;
        };
        let since = *asked.1.get_or_insert_with(Instant::now);
        if since.elapsed() >= DEAD && sockets::destroy(&socket).is_ok() {
            tracing::warn!(
                path = self.session.label,
                "its iSCSI connection was dead, and is ended: the initiator logs in again"
            );
        }
    }

    /// Whether it goes where its session was made to go, and not where a login has led it.
    pub(super) fn goes_where_it_began(&self) -> bool {
        let session = &self.session;
        let first = session.address("persistent_address", "persistent_port");
        first.is_some() && first == session.address("address", "port")
    }

    fn look(&self, up: bool, look: &mut Look) -> io::Result<bool> {
        let unknown = || io::Error::other("the address of its portal is not known");
        let portal = self.portal.ok_or_else(unknown)?;
        if !self.ours {
            return Err(io::Error::other("its socket is not in this network namespace"));
        }
        let first = *self.first.get_or_init(Instant::now);
        let (mut nothing, mut foreign) = (true, false);
        for socket in look.sending_to(portal)? {
            let own = self.own_port.is_none_or(|port| port == socket.local_port());
            if !socket.owned {
                sockets::destroy(&socket).inspect_err(|_| look.waits_for(&socket))?;
                tracing::info!(
                    path = self.session.label,
                    bytes = socket.bytes,
                    "dropped what its closed iSCSI connection had left to send"
                );
            } else if own && !up {
                let listed = look.listed(&self.session.sys, portal, socket.local_port());
                match listed.filter(|_| self.own_port.is_none()) {
                    // Another session's.
                    Some(other) if other.is_up => continue,
                    None if self.own_port.is_none() && first.elapsed() >= HELD => foreign = true,
                    _ => nothing = false,
                }
                look.waits_for(&socket);
            }
        }
        if nothing && foreign {
            return Err(io::Error::other("another program holds a socket to its portal"));
        }
        Ok(nothing)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::super::disk::Disk;
    use super::*;
    use crate::path::CutHold;

    /// What sysfs has of a session to a peer that takes nothing, and its socket, full.
    struct Rig {
        sys: tempfile::TempDir,
        _peer: TcpListener,
        socket: TcpStream,
        session: Arc<Session>,
    }

    fn rig() -> Rig {
        let sys = tempfile::tempdir().unwrap();
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let portal = peer.local_addr().unwrap();
        let mut socket = TcpStream::connect(portal).unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 65_536]).is_ok() {}
        let device = sys.path().join("devices/platform/host2/session7/target2:0:0/2:0:0:1");
        fs::create_dir_all(&device).unwrap();
        for folder in ["class/iscsi_session/session7", "class/iscsi_connection/connection7:0"] {
            fs::create_dir_all(sys.path().join(folder)).unwrap();
        }
        let write = |sys: &Path, name: &str, text: &str| fs::write(sys.join(name), text).unwrap();
        write(sys.path(), "class/iscsi_session/session7/state", "LOGGED_IN\n");
        let connection = sys.path().join("class/iscsi_connection/connection7:0");
        write(&connection, "state", "up\n");
        write(&connection, "address", &format!("{}\n", portal.ip()));
        write(&connection, "port", &format!("{}\n", portal.port()));
        let session = Arc::new(Session::of(sys.path(), &device, "sdq").unwrap());
        Rig { sys, _peer: peer, socket, session }
    }

    impl Rig {
        fn tell_port(&self, port: u16) {
            let connection = self.sys.path().join("class/iscsi_connection/connection7:0");
            fs::write(connection.join("local_port"), format!("{port}\n")).unwrap();
        }

        /// The connection is over for the kernel, which tells its address no more.
        fn fail(&self) {
            let connection = self.sys.path().join("class/iscsi_connection/connection7:0");
            fs::write(connection.join("state"), "failed\n").unwrap();
            fs::remove_file(connection.join("address")).unwrap();
        }
    }

    #[test]
    fn a_connection_that_is_made_anew_is_noticed_before_the_next_probe() {
        let rig = rig();
        let session = &rig.session;
        assert!(!session.has_moved());
        let own = TcpStream::connect(rig.socket.peer_addr().unwrap()).unwrap();
        rig.tell_port(own.local_addr().unwrap().port());
        assert!(session.has_moved());
        session.look();
        assert!(!session.has_moved());
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = rig.sys.path().join("class/iscsi_connection/connection7:0");
        let portal = other.local_addr().unwrap();
        fs::write(connection.join("port"), format!("{}\n", portal.port())).unwrap();
        assert!(session.has_moved());
        let own = TcpStream::connect(portal).unwrap();
        rig.tell_port(own.local_addr().unwrap().port());
        session.look();
        assert_eq!((session.has_moved(), session.portal()), (false, Portal::At(portal)));
        rig.fail();
        assert!(!session.has_moved(), "the kernel tells its address no more");
    }

    #[test]
    fn a_connection_goes_where_it_began_or_where_a_login_has_led_it() {
        let rig = rig();
        let portal = rig.socket.peer_addr().unwrap();
        let left = rig.session.left();
        assert!(!left.goes_where_it_began(), "the kernel does not tell where it began");
        let connection = rig.sys.path().join("class/iscsi_connection/connection7:0");
        let write = |name: &str, text: String| fs::write(connection.join(name), text).unwrap();
        write("persistent_address", format!("{}\n", portal.ip()));
        write("persistent_port", format!("{}\n", portal.port()));
        assert!(left.goes_where_it_began());
        write("persistent_port", format!("{}\n", portal.port() ^ 1));
        assert!(!left.goes_where_it_began());
        write("persistent_port", format!("{}\n", portal.port()));
        rig.fail();
        assert!(!left.goes_where_it_began(), "nor does it tell where it goes");
    }

    #[test]
    fn a_connection_that_is_up_holds_no_reset_up() {
        let rig = rig();
        assert!(rig.session.left().is_nothing());
    }

    #[test]
    fn what_a_failed_connection_has_left_is_waited_for_and_dropped() {
        let rig = rig();
        let left = rig.session.left();
        rig.fail();
        // The state of the session comes later.
        assert!(!left.is_nothing());
        assert!(!rig.session.left().is_nothing(), "by the address of before");
        let Rig { sys: _sys, _peer, socket, session: _session } = rig;
        let portal = socket.peer_addr().unwrap();
        drop(socket);
        std::thread::sleep(LOOK);
        let nothing = left.is_nothing();
        let rest = sockets::sending_to(portal).unwrap();
        assert_eq!(nothing, rest.is_empty());
        if let Some(rest) = rest.first() {
            // The right to do so is CAP_NET_ADMIN; without it nothing is proven.
            let error = sockets::destroy(rest).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn the_socket_of_another_session_to_the_portal_is_nothing_of_ours() {
        let rig = rig();
        let own = TcpStream::connect(rig.socket.peer_addr().unwrap()).unwrap();
        rig.tell_port(own.local_addr().unwrap().port());
        let left = rig.session.left();
        rig.fail();
        assert!(left.is_nothing());
    }

    /// Where the kernel did not tell its port, it may be any that is not of a connection that is up.
    #[test]
    fn the_socket_of_another_program_is_not_waited_for_without_end() {
        let rig = rig();
        rig.fail();
        let quiet = |waited| {
            let left = rig.session.left();
            left.first.set(Instant::now() - waited).unwrap();
            (left.is_nothing(), left.is_unknown())
        };
        assert_eq!(quiet(Duration::ZERO), (false, false));
        assert_eq!(quiet(HELD), (false, true));
        // It is that of another session.
        let portal = rig.socket.peer_addr().unwrap();
        let class = rig.sys.path().join("class");
        let connection = class.join("iscsi_connection/connection8:0");
        fs::create_dir_all(&connection).unwrap();
        fs::create_dir_all(class.join("iscsi_session/session8")).unwrap();
        fs::write(class.join("iscsi_session/session8/state"), "LOGGED_IN\n").unwrap();
        let own_port = rig.socket.local_addr().unwrap().port().to_string();
        for (name, text) in [
            ("address", portal.ip().to_string()),
            ("port", portal.port().to_string()),
            ("local_port", own_port),
        ] {
            fs::write(connection.join(name), text + "\n").unwrap();
        }
        for (state, expected) in [("failed", (false, false)), ("up", (true, false))] {
            fs::write(connection.join("state"), format!("{state}\n")).unwrap();
            assert_eq!(quiet(HELD), expected, "{state}");
        }
    }

    #[test]
    fn a_connection_whose_socket_is_not_seen_proves_nothing() {
        let rig = rig();
        rig.tell_port(rig.socket.local_addr().unwrap().port() ^ 1);
        assert!(!rig.session.left().is_nothing());
    }

    #[test]
    fn a_disk_that_is_gone_has_left_something_too() {
        let Rig { sys, _peer, socket, session } = rig();
        fs::remove_dir_all(sys.path().join("class")).unwrap();
        let gone = Disk::gone(Some(&session));
        assert!(!gone.is_idle());
        drop(socket);
        std::thread::sleep(LOOK);
        let rest = sockets::sending_to(session.seen().portal.unwrap()).unwrap();
        let may = rest.first().is_none_or(|rest| sockets::destroy(rest).is_ok());
        assert_eq!(gone.is_idle(), may);
        assert!(Disk::gone(None).is_idle());
    }

    #[test]
    fn where_the_portal_is_not_known_nothing_is_proven() {
        let rig = rig();
        let connection = rig.sys.path().join("class/iscsi_connection/connection7:0");
        fs::write(connection.join("address"), "storage.example\n").unwrap();
        let device = rig.sys.path().join("devices/platform/host2/session7/target2:0:0/2:0:0:1");
        let session = Arc::new(Session::of(rig.sys.path(), &device, "sdq").unwrap());
        assert!(!session.left().is_nothing());
    }

    #[test]
    fn an_adapter_that_does_tcp_itself_has_no_sockets() {
        for (driver, sockets) in [("iscsi_tcp", true), ("qla4xxx", false), ("iscsi_iser", false)] {
            let rig = rig();
            let host = rig.sys.path().join("class/scsi_host/host2");
            fs::create_dir_all(&host).unwrap();
            fs::write(host.join("proc_name"), format!("{driver}\n")).unwrap();
            let device = rig.sys.path().join("devices/platform/host2/session7/target2:0:0/2:0:0:1");
            let session = Session::of(rig.sys.path(), &device, "sdq");
            assert_eq!(session.is_some(), sockets, "{driver}");
        }
    }

    #[test]
    fn a_disk_of_another_transport_has_no_session() {
        let sys = tempfile::tempdir().unwrap();
        let device = sys.path().join("devices/pci0000:00/host1/rport-1:0-2/target1:0:0/1:0:0:1");
        fs::create_dir_all(&device).unwrap();
        assert!(Session::of(sys.path(), &device, "sdq").is_none());
    }
}
