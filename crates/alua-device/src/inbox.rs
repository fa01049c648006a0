//! What the engine's thread waits for: its inbox, and a [`Reactor`].

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alua_export::block;
use alua_multipath::{ControlId, IoId, PathId};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

use crate::path::{Answer, ControlAnswer, Payload, StepAnswer, StepId};
use crate::shell::Shell;

/// Something for the engine's thread.
pub(crate) enum Message {
    Request(block::Request, block::Completion),
    Io(IoId, Answer, Payload),
    Control(ControlId, ControlAnswer),
    Step(StepId, StepAnswer),
    Down(PathId),
    Up(PathId),
    Call(Box<dyn FnOnce(&mut Shell) + Send>),
}

struct Inbox {
    arrived: Mutex<Vec<Message>>,
    /// Nobody takes messages any more.
    closed: AtomicBool,
    asleep: AtomicBool,
    descriptor: OwnedFd,
}

/// The way back to the engine's thread, for whoever carries out what it wants.
///
/// The thread says that it is going to sleep, looks once more whether something arrived, and then
/// waits on the descriptor. Whoever sends adds first and looks whether the thread sleeps then: one
/// of the two sees the other.
#[derive(Clone)]
pub struct Back(Arc<Inbox>);

impl fmt::Debug for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Back")
    }
}

impl Back {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self(Arc::new(Inbox {
            arrived: Mutex::default(),
            closed: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            descriptor: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })))
    }

    /// An I/O command has come back, with its data.
    pub fn io(&self, io: IoId, answer: Answer, data: Payload) {
        self.send(Message::Io(io, answer, data));
    }

    /// A command of the driver has come back.
    pub fn control(&self, id: ControlId, answer: ControlAnswer) {
        self.send(Message::Control(id, answer));
    }

    /// A step was done, or not.
    pub fn step(&self, id: StepId, answer: StepAnswer) {
        self.send(Message::Step(id, answer));
    }

    /// The transport of a path says that it is down.
    pub fn path_down(&self, path: PathId) {
        self.send(Message::Down(path));
    }

    /// The transport of a path says that it is up again.
    pub fn path_up(&self, path: PathId) {
        self.send(Message::Up(path));
    }

    /// Has the thread look at its reactor.
    pub fn wake(&self) {
        if self.0.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when it has been woken 2^64 times and nobody has looked.
            let _ = write(&self.0.descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// Adds a message; gives it back where nobody takes any more.
    pub(crate) fn post(&self, message: Message) -> Result<(), Message> {
        let mut arrived = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: what got in before it was closed is still taken.
        if self.0.closed.load(Ordering::SeqCst) {
            return Err(message);
        }
        arrived.push(message);
        drop(arrived);
        self.wake();
        Ok(())
    }

    /// Adds a message that nobody misses once the device has ended.
    fn send(&self, message: Message) {
        drop(self.post(message));
    }

    /// Exchanges `taken`, which is empty, for what has arrived.
    pub(crate) fn take(&self, taken: &mut Vec<Message>) {
        let mut arrived = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *arrived, taken);
    }

    /// Takes no more messages, and gives what has arrived.
    pub(crate) fn close(&self) -> Vec<Message> {
        let mut arrived = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.closed.store(true, Ordering::SeqCst);
        std::mem::take(&mut *arrived)
    }

    /// The thread is going to sleep; false when something is here already.
    pub(crate) fn sleeps(&self) -> bool {
        self.0.asleep.store(true, Ordering::SeqCst);
        let empty = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !empty {
            self.0.asleep.store(false, Ordering::SeqCst);
        }
        empty
    }

    /// The thread is awake.
    pub(crate) fn wakes(&self) {
        if !self.0.asleep.swap(false, Ordering::SeqCst) {
            // Somebody woke it. Where there is nothing to read, it does not block.
            let _ = read(&self.0.descriptor, &mut [0; 8]);
        }
    }

    /// Whether the device has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// Whether both lead to the same thread.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Readable when the thread is to wake up.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

/// Whether anything of an earlier server is under way in this host.
/// The less is known, the less it is: what holds of several is the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Quiet {
    /// Something is, or may be.
    No,
    /// The disks have nothing more of it; what a transport has is not to be known.
    Unproven,
    /// Nothing is, nor will be.
    Yes,
}

/// What the engine's thread waits on beside its inbox, for transports that live on this thread.
pub trait Reactor: Send {
    /// Sends off what paths have queued, and sleeps until something can be reaped, `wake` is
    /// readable, or the time is over (`None`: never).
    fn wait(&mut self, wake: BorrowedFd<'_>, limit: Option<Duration>);

    /// Hands back what has completed, without waiting, and sends off what paths have queued.
    fn reap(&mut self, back: &Back);

    /// Whether nothing that an earlier server of the unit sent is under way in this host, down any path
    /// of the unit. Asked until it is so, without waiting. The default is for transports that die with
    /// their process.
    fn quiet(&mut self) -> Quiet {
        Quiet::Yes
    }

    /// The device ends: waits until nothing is under way that uses memory of ours, or gives that
    /// memory up for good. `whole` says that every request was completed by the rules: no write of ours
    /// is in doubt.
    fn finish(&mut self, _back: &Back, _whole: bool) {}
}

/// Nothing but the inbox: for paths that have threads of their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct InboxOnly;

impl Reactor for InboxOnly {
    fn wait(&mut self, wake: BorrowedFd<'_>, limit: Option<Duration>) {
        sleep(wake, limit);
    }

    fn reap(&mut self, _back: &Back) {}
}

/// Sleeps until `wake` is readable, or the time is over.
pub(crate) fn sleep(wake: BorrowedFd<'_>, limit: Option<Duration>) {
    let timeout = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    // An interrupted wait is a short one: the caller looks again.
    let _ = poll(&mut [PollFd::new(&wake, PollFlags::IN)], timeout.as_ref());
}
