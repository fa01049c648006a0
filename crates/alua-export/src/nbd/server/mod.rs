//! The server: sockets, threads and limits around [`super::negotiate`] and [`super::session`].
//!
//! # Threads
//!
//! One accepts, and each connection has one of its own, which alone touches its session. A device
//! completes from any thread: the outcome goes to the connection's inbox, and the thread is woken
//! when it sleeps. Depth comes from the session, not from threads.
//!
//! # How a connection ends
//!
//! - The client says so, or is gone: what the device still has of it is waited for, so that a
//!   connection that has ended has nothing in flight.
//! - It breaks a rule of the protocol, or takes longer than [`Config::handshake`] to choose an
//!   export, or, in the middle of a request or a reply, does nothing for [`Config::stalled`].
//! - The server goes down: nothing more is read; what was read is completed and answered.
//!
//! A client that only sits there is left alone: TCP keepalive finds out whether it still exists.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::net::{self, AddressFamily, Shutdown, SocketType, sockopt};

use super::negotiate::Offer;
use super::session::Limits;
use super::wire::{DEFAULT_MAX_PAYLOAD, MAX_STRING};
use crate::block::{BlockDevice, GeometryError, Split};

mod connection;

/// How long the acceptor rests when the system has no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// What is served under a name.
#[derive(Clone)]
pub struct Export {
    /// Its name, at most 4,096 bytes. A client that names none gets the first export.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// What serves it.
    pub device: Arc<dyn BlockDevice>,
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket, which only its owner may use. A socket file on which nobody listens any more
    /// is replaced; at the end the file is removed.
    Unix(PathBuf),
    /// TCP. Port 0 is a free one. There is no authentication: the loopback address is meant.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    /// As an NBD URI without an export's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "nbd+unix:///?socket={}", path.display()),
            Self::Tcp(address) => write!(f, "nbd://{address}"),
        }
    }
}

/// What a server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Connections at the same time. One more is closed at once.
    pub connections: usize,
    /// What each may hold.
    pub limits: Limits,
    /// How long a client may take to choose an export.
    pub handshake: Duration,
    /// How long a client may stop in the middle of a request or a reply.
    pub stalled: Duration,
}

impl Default for Config {
    /// 64 connections with the limits of [`Limits::default`], 10 s, 60 s.
    fn default() -> Self {
        Self {
            connections: 64,
            limits: Limits::default(),
            handshake: Duration::from_secs(10),
            stalled: Duration::from_secs(60),
        }
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to serve.
    #[error("there is no export to serve")]
    NoExport,
    /// Two exports have one name.
    #[error("two exports are called {0:?}")]
    SameName(String),
    /// A name is longer than the protocol allows.
    #[error("the name of an export has {0} bytes: NBD allows 4096")]
    LongName(usize),
    /// A device contradicts itself.
    #[error("export {name:?} cannot be served")]
    Geometry {
        /// The export's name.
        name: String,
        /// What is wrong.
        source: GeometryError,
    },
    /// Somebody listens there already.
    #[error("{0} is in use by another server")]
    InUse(Address),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

/// What a server has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were closed at once, because there were too many.
    pub refused: u64,
    /// Connections that were closed because their client broke a rule or stopped.
    pub cut_off: u64,
    /// Connections that are open.
    pub open: u64,
    /// Requests that were submitted to a device.
    pub requests: u64,
    /// Of these, how many failed.
    pub failed: u64,
    /// Completions that no request had: a defect of a device. It stays 0.
    pub defects: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    cut_off: AtomicU64,
    requests: AtomicU64,
    failed: AtomicU64,
    defects: AtomicU64,
}

/// What the acceptor, the connections and the owner share.
struct Shared {
    exports: Vec<Export>,
    offers: Arc<[Offer]>,
    config: Config,
    going_down: AtomicBool,
    counters: Counters,
    /// The sockets of open connections, by number of connection.
    open: Mutex<HashMap<u64, Arc<OwnedFd>>>,
    ended: Condvar,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OwnedFd>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn going_down(&self) -> bool {
        self.going_down.load(Ordering::SeqCst)
    }
}

/// A server at work. Dropping it shuts it down and waits for ten seconds at most.
pub struct Server {
    shared: Arc<Shared>,
    address: Address,
    wake: Arc<OwnedFd>,
    acceptor: Option<JoinHandle<()>>,
    /// Device and inode of the Unix socket's file.
    file: Option<(u64, u64)>,
}

/// A server that went down left requests behind: devices did not complete them in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{connections} connections still had requests in flight")]
pub struct Unfinished {
    /// How many connections had not ended.
    pub connections: usize,
}

impl Server {
    /// Listens, and serves from now on. A device that takes no requests of 32 MiB, which clients
    /// may send that ask for nothing, is given them in parts.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        address: &Address,
        mut exports: Vec<Export>,
        config: Config,
    ) -> Result<Self, StartError> {
        for export in &mut exports {
            if export.device.geometry().maximum < DEFAULT_MAX_PAYLOAD {
                let device = Arc::clone(&export.device);
                export.device = Arc::new(Split::new(device, DEFAULT_MAX_PAYLOAD));
            }
        }
        let offers = offers(&exports)?;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::InUse(address.clone()),
            _ => StartError::Listen { address: address.clone(), source },
        };
        let (listener, address, file) = listen(address).map_err(failed)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let wake = Arc::new(wake);
        let shared = Arc::new(Shared {
            exports,
            offers,
            config,
            going_down: AtomicBool::new(false),
            counters: Counters::default(),
            open: Mutex::default(),
            ended: Condvar::new(),
        });
        let (for_acceptor, to_wake) = (Arc::clone(&shared), Arc::clone(&wake));
        let acceptor = thread::Builder::new()
            .name("nbd-accept".to_owned())
            .spawn(move || accept(&for_acceptor, &listener, &to_wake))
            .map_err(failed)?;
        tracing::info!(%address, "NBD server listens");
        Ok(Self { shared, address, wake, acceptor: Some(acceptor), file })
    }

    /// Where it listens, with the port that it got.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What it has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            accepted: read(&counters.accepted),
            refused: read(&counters.refused),
            cut_off: read(&counters.cut_off),
            open: self.shared.open().len() as u64,
            requests: read(&counters.requests),
            failed: read(&counters.failed),
            defects: read(&counters.defects),
        }
    }

    /// Goes down: takes no connection and reads no request any more, and waits until everything
    /// that was read is completed and answered, for `limit` at most.
    ///
    /// # Errors
    ///
    /// Something was still in flight then. Its replies go nowhere.
    pub fn shut_down(mut self, limit: Duration) -> Result<Statistics, Unfinished> {
        let ended = self.end(limit);
        let statistics = self.statistics();
        ended.map(|()| statistics)
    }

    fn end(&mut self, limit: Duration) -> Result<(), Unfinished> {
        let Some(acceptor) = self.acceptor.take() else { return Ok(()) };
        self.shared.going_down.store(true, Ordering::SeqCst);
        crate::inbox::wake(&self.wake);
        // It only accepts: if it panicked, nothing is left to be done for it.
        let _ = acceptor.join();
        self.remove_file();
        for socket in self.shared.open().values() {
            // Whoever waits for the client's next request wakes up. It may be gone already.
            let _ = net::shutdown(socket, Shutdown::Read);
        }
        let end = Instant::now() + limit;
        let mut open = self.shared.open();
        while !open.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unfinished { connections: open.len() });
            }
            let waited = self.shared.ended.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Removes the socket's file, unless somebody has put another one there.
    fn remove_file(&self) {
        let Address::Unix(path) = &self.address else { return };
        let now = fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()));
        if now.is_some() && now == self.file {
            // Nobody can connect to it any more, whether it stays or not.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end(Duration::from_secs(10)) {
            tracing::warn!(%error, "NBD server went down");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What clients are told of the exports.
fn offers(exports: &[Export]) -> Result<Arc<[Offer]>, StartError> {
    if exports.is_empty() {
        return Err(StartError::NoExport);
    }
    let mut offers: Vec<Offer> = Vec::new();
    for Export { name, description, device } in exports {
        if name.len() > MAX_STRING {
            return Err(StartError::LongName(name.len()));
        }
        if offers.iter().any(|offer| offer.name == *name) {
            return Err(StartError::SameName(name.clone()));
        }
        let geometry = device.geometry();
        geometry
            .validate()
            .map_err(|source| StartError::Geometry { name: name.clone(), source })?;
        let mut description = description.clone();
        let end = (0..=description.len().min(MAX_STRING))
            .rev()
            .find(|end| description.is_char_boundary(*end));
        description.truncate(end.unwrap_or_default());
        offers.push(Offer { name: name.clone(), description, geometry });
    }
    Ok(offers.into())
}

/// A socket that listens, where it does, and the file of a Unix socket.
type Listening = (OwnedFd, Address, Option<(u64, u64)>);

fn listen(address: &Address) -> io::Result<Listening> {
    match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            let address = Address::Tcp(listener.local_addr()?);
            Ok((listener.into(), address, None))
        }
        Address::Unix(path) => {
            let name = net::SocketAddrUnix::new(path)?;
            let flags = net::SocketFlags::CLOEXEC;
            let socket = || net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
            if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
                if net::connect(socket()?, &name).is_ok() {
                    return Err(io::ErrorKind::AddrInUse.into());
                }
                // Left by a server that died.
                fs::remove_file(path)?;
            }
            let listener = socket()?;
            // Linux gives the file the mode of the socket: at no time can others connect.
            rustix::fs::fchmod(&listener, 0o600.into())?;
            net::bind(&listener, &name)?;
            net::listen(&listener, 128)?;
            let file = fs::symlink_metadata(path)?;
            Ok((listener, address.clone(), Some((file.dev(), file.ino()))))
        }
    }
}

/// The acceptor's thread.
fn accept(shared: &Arc<Shared>, listener: &OwnedFd, wake: &OwnedFd) {
    let mut number = 0;
    while !shared.going_down() {
        let mut watched = [PollFd::new(listener, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        if poll(&mut watched, None).is_err() || watched[0].revents().is_empty() {
            continue;
        }
        let socket = match net::accept_with(listener, net::SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an NBD connection");
                thread::sleep(OUT_OF_DESCRIPTORS);
                continue;
            }
        };
        number += 1;
        begin(shared, socket, number);
    }
}

/// Starts a connection's thread, unless there are too many.
fn begin(shared: &Arc<Shared>, socket: OwnedFd, number: u64) {
    let counters = &shared.counters;
    let socket = Arc::new(socket);
    {
        let mut open = shared.open();
        if open.len() >= shared.config.connections {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(connections = open.len(), "too many NBD connections: one is refused");
            return;
        }
        open.insert(number, Arc::clone(&socket));
    }
    counters.accepted.fetch_add(1, Ordering::Relaxed);
    keep_alive(&socket);
    let place = Place { shared: Arc::clone(shared), number };
    let spawned = thread::Builder::new().name(format!("nbd-{number}")).spawn(move || {
        if let Err(error) = connection::serve(&place.shared, &socket, number) {
            place.shared.counters.cut_off.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(connection = number, %error, "NBD connection is cut off");
        }
        // At the latest now the client learns of it, before the place is given to another one.
        let _ = net::shutdown(&*socket, Shutdown::Both);
        drop(socket);
        drop(place);
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for an NBD connection");
    }
}

/// The place of an open connection, which is given back however its thread ends.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open().remove(&self.number);
        self.shared.ended.notify_all();
    }
}

/// Lets the system find out whether a TCP client still exists, and send small replies at once.
fn keep_alive(socket: impl AsFd) {
    let socket = socket.as_fd();
    if sockopt::socket_domain(socket).is_ok_and(|domain| domain == AddressFamily::UNIX) {
        return;
    }
    // A socket without these still works.
    let _ = sockopt::set_tcp_nodelay(socket, true);
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(socket, 6);
}
