//! The handle of a running device.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use alua_core::identity::{Identity, UnitName};
use alua_core::spc::sense::Sense;
use alua_core::tpgs::{AluaOff, Managed};
use alua_core::unit::{self, ActivationRefused};
use alua_export::block::{self, BlockDevice, BlockError};
use alua_host::discovery;
use alua_host::driver::OwnedUnit;
use alua_host::ports::ReportedPorts;
use alua_multipath::{
    AddPathError, Config, Engine, Event, Geometry, NewPath, PathId, PathTraits, PathView, Switch,
    Time, UnitView,
};

use crate::inbox::{Back, Message, Reactor};
use crate::path::PathIo;
use crate::shell::Shell;
use crate::tell;

/// Events that a listener may be behind; further ones are dropped for it.
const EVENTS_BEHIND: usize = 1_024;

/// The longest read or write that is offered, in bytes.
const MAXIMUM: u32 = 4 << 20;

/// What a device is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Choices and limits of the engine.
    pub config: Config,
    /// The unit's name, from page 83h.
    pub name: Option<UnitName>,
    /// How its asymmetric access is managed, from standard INQUIRY data.
    pub managed: Result<Managed, AluaOff>,
    /// Its size.
    pub geometry: Geometry,
    /// It takes no writes.
    pub read_only: bool,
    /// Discard (UNMAP) is offered.
    pub discard: bool,
    /// Write zeroes is offered.
    pub write_zeroes: bool,
    /// An earlier server of the unit has not ended cleanly: what it has left on its way is fenced off
    /// before anything runs.
    pub inherits: bool,
}

impl Settings {
    /// A unit of that size, with the default configuration, that takes everything.
    #[must_use]
    pub fn new(
        name: Option<UnitName>,
        managed: Result<Managed, AluaOff>,
        geometry: Geometry,
    ) -> Self {
        Self {
            config: Config::default(),
            name,
            managed,
            geometry,
            read_only: false,
            discard: true,
            write_zeroes: true,
            inherits: false,
        }
    }

    /// As an export sees the device.
    #[must_use]
    pub fn block_geometry(&self) -> block::Geometry {
        let block = self.geometry.block_size;
        let most = u64::from(self.config.limits.blocks_per_request) * u64::from(block);
        let maximum = u32::try_from(most).unwrap_or(MAXIMUM).min(MAXIMUM).max(block);
        block::Geometry {
            bytes: self.geometry.blocks.saturating_mul(u64::from(block)),
            logical_block: block,
            preferred: block.max(4096).min(maximum),
            maximum,
            read_only: self.read_only,
            discard: self.discard,
            write_zeroes: self.write_zeroes,
            shared_flush: true,
        }
    }
}

/// A path that joins. Everything in it must have been read from the path just now.
#[derive(Clone, Debug)]
pub struct PathFacts {
    /// How people call it.
    pub label: String,
    /// Who answers on it, from page 83h.
    pub identity: Identity,
    /// The size that it tells, from READ CAPACITY.
    pub geometry: Geometry,
    /// What its transport can do.
    pub traits: PathTraits,
    /// All that discovery found of it, for whoever shows the unit.
    pub found: Arc<discovery::Path>,
}

/// Why a path did not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The engine does not take it.
    #[error("{0}")]
    Refused(AddPathError),
    /// The device has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// The device has ended, or is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device has ended")]
pub struct Ended;

/// Why a device did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Of the operating system: no descriptor or thread.
    #[error("the device cannot be started: {0}")]
    System(#[from] std::io::Error),
    /// No export could offer it.
    #[error("the device cannot be offered: {0}")]
    Geometry(#[from] block::GeometryError),
}

/// Requests that were not complete when the time for stopping was over; they failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{requests} requests were not complete in time and failed")]
pub struct StopError {
    /// How many.
    pub requests: usize,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// When, on the device's clock.
    pub at: Time,
    /// What, where it is the engine's word.
    pub event: Option<Event>,
    /// In words.
    pub text: String,
}

impl Told {
    pub(crate) fn note(at: Time, text: &str) -> Self {
        Self { at, event: None, text: text.to_owned() }
    }

    pub(crate) fn event(at: Time, event: Event, label: impl Fn(PathId) -> Option<String>) -> Self {
        Self { at, event: Some(event), text: tell::text(&event, label) }
    }
}

/// A device and its paths at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When, on the device's clock.
    pub at: Time,
    /// The unit's name.
    pub name: Option<UnitName>,
    /// The unit.
    pub unit: UnitView,
    /// Requests that wait outside the engine: it has no room, or an earlier server's commands are
    /// being fenced off.
    pub held: usize,
    /// Its paths.
    pub paths: Vec<PathSnapshot>,
}

/// A path at one moment.
#[derive(Clone, Debug)]
pub struct PathSnapshot {
    /// How people call it.
    pub label: String,
    /// How it stands, and why: [`PathView::reason`].
    pub view: PathView,
    /// What its state rests on, in words.
    pub cause: String,
}

impl Snapshot {
    /// The path that people call so, or the engine (`p0`).
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&PathSnapshot> {
        let named = |path: &&PathSnapshot| path.label == name || path.view.id.to_string() == name;
        self.paths.iter().find(named)
    }
}

/// What the driver core knows of the unit, and what discovery found: what a listing is made of.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// The driver core's unit.
    pub unit: OwnedUnit,
    /// The ports of the last report.
    pub ports: ReportedPorts,
    /// The paths.
    pub paths: Vec<KnownPath>,
}

/// A path, as the driver core and discovery know it.
#[derive(Clone, Debug)]
pub struct KnownPath {
    /// The driver core's name for it.
    pub core: unit::PathId,
    /// What discovery found when it joined.
    pub found: Arc<discovery::Path>,
    /// Its transport failed, and it has not answered since.
    pub failed: bool,
}

/// A running device: one engine on a thread of its own, and the paths that it was given.
///
/// Cloning gives another handle. The device runs until [`Device::stop`], or until the last handle
/// is dropped: then what is not complete fails.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    back: Back,
    geometry: block::Geometry,
    thread: Mutex<Option<JoinHandle<()>>>,
    ended: Arc<AtomicBool>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("geometry", &self.0.geometry).finish_non_exhaustive()
    }
}

/// A handle that does not keep the device.
pub(crate) struct WeakDevice(Weak<Inner>);

impl WeakDevice {
    /// The device, while it runs.
    pub(crate) fn upgrade(&self) -> Option<Device> {
        let inner = self.0.upgrade().filter(|inner| !inner.ended.load(Ordering::SeqCst))?;
        Some(Device(inner))
    }
}

impl Device {
    pub(crate) fn downgrade(&self) -> WeakDevice {
        WeakDevice(Arc::downgrade(&self.0))
    }

    /// Starts a device without paths. `reactor` is what its paths need on the engine's thread:
    /// [`crate::InboxOnly`], or what the paths' module says.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(settings: Settings, reactor: Box<dyn Reactor>) -> Result<Self, StartError> {
        let geometry = settings.block_geometry();
        geometry.validate()?;
        let back = Back::new().map_err(std::io::Error::from)?;
        let Settings { config, name, managed, geometry: size, inherits, .. } = settings;
        let (to_thread, ended) = (back.clone(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&ended);
        let thread = thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let engine = Engine::new(config, name, managed, size);
            Shell::new(engine, to_thread, reactor, inherits).run();
            over.store(true, Ordering::SeqCst);
        })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self(Arc::new(Inner { back, geometry, thread, ended })))
    }

    /// Adds a path. It is used as soon as its access state is known.
    ///
    /// # Errors
    ///
    /// It does not belong to the unit: see [`AddPathError`]. `io` was closed then.
    pub fn add_path(&self, facts: PathFacts, io: Box<dyn PathIo>) -> Result<PathId, JoinError> {
        let added = self.call(move |shell| {
            let PathFacts { label, identity, geometry, traits, found } = facts;
            let identity = unit::NewPath {
                name: identity.name.as_ref(),
                group: identity.group,
                relative_port: identity.relative_port,
            };
            shell.add_path(NewPath { identity, geometry, traits }, label, found, io)
        })?;
        added.map_err(JoinError::Refused)
    }

    /// Removes a path; what was sent down it goes on down others. Returns whether there was such a
    /// path.
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn remove_path(&self, path: PathId) -> Result<bool, Ended> {
        self.call(move |shell| shell.remove_path(path))
    }

    /// Takes a path out by hand, or puts it back. Returns whether there is such a path.
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn set_failed(&self, path: PathId, failed: bool) -> Result<bool, Ended> {
        self.call(move |shell| {
            let now = shell.now();
            let (known, word) = if failed {
                (shell.engine.fail_path(path, now), "taken out")
            } else {
                (shell.engine.restore_path(path, now), "put back")
            };
            if known {
                shell.by_hand(now, &format!("{}: {word} by hand", shell.label(path)));
            }
            known
        })
    }

    /// As [`Engine::handle_sense`]: what somebody else heard on a path.
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn note_sense(&self, path: PathId, sense: Sense) -> Result<(), Ended> {
        self.call(move |shell| {
            let now = shell.now();
            shell.engine.handle_sense(path, &sense, now);
            shell.act();
        })
    }

    /// As [`Engine::switch`].
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn switch(&self, to: Option<Switch>) -> Result<bool, Ended> {
        self.call(move |shell| {
            let now = shell.now();
            let known = shell.engine.switch(to, now);
            if known {
                let to = match to {
                    Some(Switch::Group(group)) => format!("group {group}"),
                    Some(Switch::Path(path)) => shell.label(path),
                    None => "undone".to_owned(),
                };
                shell.by_hand(now, &format!("switch by hand: {to}"));
            }
            known
        })
    }

    /// As [`Engine::activate`].
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn activate(&self, group: u16) -> Result<Result<(), ActivationRefused>, Ended> {
        self.call(move |shell| {
            let now = shell.now();
            shell.engine.activate(group, now)
        })
    }

    /// The device and its paths as they stand.
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn snapshot(&self) -> Result<Snapshot, Ended> {
        self.call(|shell| shell.snapshot())
    }

    /// The device and its paths as they stand, and what is known of the unit at that moment.
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn knowledge(&self) -> Result<(Snapshot, Knowledge), Ended> {
        self.call(|shell| (shell.snapshot(), shell.knowledge()))
    }

    /// From now on, what happens. Events are dropped for a listener that is 1,024 behind.
    ///
    /// # Errors
    ///
    /// The device has ended.
    pub fn listen(&self) -> Result<Receiver<Told>, Ended> {
        let (sender, receiver) = mpsc::sync_channel(EVENTS_BEHIND);
        self.call(move |shell| shell.listen_to(sender))?;
        Ok(receiver)
    }

    /// The way back to the engine's thread, for whoever watches paths from outside.
    #[must_use]
    pub fn back(&self) -> Back {
        self.0.back.clone()
    }

    /// The end is near, before the exports end: where requests are held until what an earlier server has
    /// left is fenced off, they fail now, and the next server has to do it.
    pub fn give_up_held(&self) {
        // Where the device has ended, nothing is held.
        let _ = self.call(Shell::give_up_held);
    }

    /// Takes no more requests, waits until those that are there are complete, and ends.
    ///
    /// # Errors
    ///
    /// Some were not complete after `limit`, for want of a path: they failed with
    /// [`BlockError::ShuttingDown`]. The device has ended in any case.
    pub fn stop(&self, limit: Duration) -> Result<(), StopError> {
        let end = Instant::now() + limit;
        if self.call(Shell::stop).is_err() {
            self.join();
            return Ok(());
        }
        let mut pause = Duration::from_micros(100);
        while !self.0.ended.load(Ordering::SeqCst) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let requests = self.call(|shell| {
                    let requests = shell.open_requests();
                    shell.abandon();
                    requests
                });
                self.join();
                let requests = requests.unwrap_or(0);
                return if requests == 0 { Ok(()) } else { Err(StopError { requests }) };
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.join();
        Ok(())
    }

    fn join(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that panicked has dropped its completions, which told the exports.
            let _ = thread.join();
        }
    }

    /// Runs `f` on the engine's thread.
    fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Shell) -> R + Send + 'static,
    ) -> Result<R, Ended> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let call = Box::new(move |shell: &mut Shell| {
            // Nobody waits for it any more, then.
            let _ = sender.send(f(shell));
        });
        self.0.back.post(Message::Call(call)).map_err(|_| Ended)?;
        // A device that ends drops the call, and with it the sender.
        loop {
            match receiver.recv_timeout(Duration::from_secs(60)) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(Ended),
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!("the engine's thread has not answered for a minute");
                }
            }
        }
    }
}

impl BlockDevice for Device {
    fn geometry(&self) -> block::Geometry {
        self.0.geometry
    }

    /// The number of requests at a time is the submitter's to bound: what the engine has no room
    /// for waits in the device.
    fn submit(&self, request: block::Request, completion: block::Completion) {
        if let Err(error) = self.0.geometry.check(&request) {
            return completion.complete(Err(error));
        }
        if let Err(Message::Request(_, completion)) =
            self.0.back.post(Message::Request(request, completion))
        {
            completion.complete(Err(BlockError::ShuttingDown));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.back.post(Message::Call(Box::new(Shell::abandon))));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may be dropped by the engine's own thread, inside a completion.
        if let Some(thread) = thread.filter(|it| it.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}
