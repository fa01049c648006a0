//! The target on sockets: one thread, one [`Target`], the real clock.
//!
//! # Contract
//!
//! - Everything runs on the thread that awaits [`Server::run`]; the target is never locked.
//! - The array's clock is the real time since the server was made.
//! - A connection is read only while the target wants its input, and written as its peer takes it.
//!   What a peer does to its connection never touches another.
//! - [`Control`] reaches the target from other tasks of the same thread.

mod connection;
mod store;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use alua_array::Time;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::event::{ConnectionId, Record};
use crate::target::Target;
use connection::Alarm;
pub use store::{Store, StoreError};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why a portal cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the operating system said.
    pub source: io::Error,
}

/// A listening socket of each portal, in the order of the settings.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Binds a socket per address. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The first address that cannot be had.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let bind = |&address: &SocketAddr| {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            socket
                .and_then(|socket| {
                    // So that a target can be started again while old connections fade.
                    socket.set_reuseaddr(true)?;
                    socket.bind(address)?;
                    socket.listen(BACKLOG)
                })
                .map_err(|source| ListenError { address, source })
        };
        addresses.iter().map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// Where they listen.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(TcpListener::local_addr).collect()
    }
}

/// A hold on a running target. It belongs to the thread of its server.
#[derive(Clone)]
pub struct Control {
    inner: Rc<Inner>,
}

struct Inner {
    target: RefCell<Target>,
    begun: Instant,
    store: RefCell<Option<Store>>,
    /// Why the store is of no use any more: the server ends with it.
    broken: RefCell<Option<StoreError>>,
    /// Wakes the task of each connection.
    alarms: RefCell<HashMap<ConnectionId, Rc<Alarm>>>,
    /// When the clock's task wakes by itself.
    alarm: Cell<Time>,
    /// Wakes it earlier.
    clock: Notify,
    /// There are records to fetch.
    records: Notify,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    /// The time of the array.
    #[must_use]
    pub fn now(&self) -> Time {
        let elapsed = self.inner.begun.elapsed();
        Time::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Does something with the target, up to date, and sees to what comes of it.
    pub fn with<R>(&self, act: impl FnOnce(&mut Target) -> R) -> R {
        let now = self.now();
        let result = {
            let mut target = self.inner.target.borrow_mut();
            target.advance(now);
            act(&mut target)
        };
        self.settle(None);
        result
    }

    /// The records that wait.
    #[must_use]
    pub fn take_records(&self) -> Vec<Record> {
        let mut target = self.inner.target.borrow_mut();
        std::iter::from_fn(|| target.poll_record()).collect()
    }

    /// Waits until there may be records, or lines of the array's trace.
    pub async fn changed(&self) {
        self.inner.records.notified().await;
    }

    /// Wakes the tasks of the connections that the target names, except `own`, which looks itself.
    fn settle(&self, own: Option<ConnectionId>) {
        let mut target = self.inner.target.borrow_mut();
        // Before any answer leaves.
        if let Some(store) = self.inner.store.borrow_mut().as_mut()
            && let Err(error) = store.follow(target.array_mut())
        {
            self.inner.broken.borrow_mut().get_or_insert(error);
            self.inner.clock.notify_one();
        }
        while let Some(id) = target.poll_ready() {
            if Some(id) == own {
                continue;
            }
            if let Some(alarm) = self.inner.alarms.borrow().get(&id) {
                alarm.wake();
            }
        }
        if target.has_records() || target.array().has_trace() {
            self.inner.records.notify_one();
        }
        // The clock's task sleeps until what was then the deadline.
        if target.deadline() < self.inner.alarm.get() {
            self.inner.clock.notify_one();
        }
    }
}

/// A target that is served.
#[derive(Debug)]
pub struct Server {
    control: Control,
    listeners: Listeners,
}

impl Server {
    /// Serves `target` at `listeners`, which are those of its portals in the same order.
    #[must_use]
    pub fn new(target: Target, listeners: Listeners) -> Self {
        let inner = Inner {
            target: RefCell::new(target),
            begun: Instant::now(),
            store: RefCell::new(None),
            broken: RefCell::new(None),
            alarms: RefCell::new(HashMap::new()),
            alarm: Cell::new(Time::from_nanos(0)),
            clock: Notify::new(),
            records: Notify::new(),
        };
        Self { control: Control { inner: Rc::new(inner) }, listeners }
    }

    /// The same, with the data of the units in files.
    #[must_use]
    pub fn with_store(self, store: Store) -> Self {
        self.control.inner.store.replace(Some(store));
        self
    }

    /// A hold on the target.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until it is dropped, or until the store fails: data that cannot be kept must not be
    /// answered for. Must run inside a [`tokio::task::LocalSet`].
    pub async fn run(self) -> StoreError {
        for (portal, listener) in self.listeners.0.into_iter().enumerate() {
            tokio::task::spawn_local(accept(self.control.clone(), portal, listener));
        }
        keep_time(self.control).await
    }
}

/// Moves the array's clock when something is due.
async fn keep_time(control: Control) -> StoreError {
    loop {
        if let Some(error) = control.inner.broken.take() {
            return error;
        }
        let deadline = control.inner.target.borrow().deadline();
        control.inner.alarm.set(deadline);
        let wait =
            Duration::from_nanos(deadline.as_nanos().saturating_sub(control.now().as_nanos()));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = control.inner.clock.notified() => {}
        }
        control.with(|_| ());
    }
}

async fn accept(control: Control, portal: usize, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => begin(&control, portal, stream, peer),
            // Out of descriptors, mostly: some will come free.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// An address as its own family writes it: a socket for all of IPv6 takes IPv4 as well, and an
/// initiator that knows IPv4 only could do nothing with `[::ffff:127.0.0.1]`.
fn shown(at: SocketAddr) -> String {
    SocketAddr::new(at.ip().to_canonical(), at.port()).to_string()
}

fn begin(control: &Control, portal: usize, stream: TcpStream, peer: SocketAddr) {
    let local = stream.local_addr().map(shown).unwrap_or_default();
    let opened = control.with(|target| target.open(portal, &shown(peer), &local));
    match opened {
        Some(id) => {
            let alarm = Rc::new(Alarm::default());
            control.inner.alarms.borrow_mut().insert(id, Rc::clone(&alarm));
            tokio::task::spawn_local(connection::run(control.clone(), id, stream, alarm));
        }
        // As a port that is down answers.
        None => connection::reset(&stream),
    }
}
