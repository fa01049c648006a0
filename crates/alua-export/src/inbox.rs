//! Where the completions of one connection, or one queue, arrive for its thread.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use crate::block::{Outcome, Sink};

/// Completions that the thread has not yet taken.
///
/// The thread says that it is going to sleep ([`Inbox::sleeps`]), looks once more whether something
/// arrived, and then waits on the descriptor. Whoever completes adds first and looks whether the
/// thread sleeps then: one of the two sees the other.
#[derive(Debug)]
pub(crate) struct Inbox {
    arrived: Mutex<Vec<(u64, Outcome)>>,
    asleep: AtomicBool,
    descriptor: OwnedFd,
}

impl Inbox {
    pub(crate) fn new() -> Result<Self, Errno> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { arrived: Mutex::default(), asleep: AtomicBool::new(false), descriptor })
    }

    /// Readable when something arrived while the thread slept.
    pub(crate) const fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Exchanges `taken`, which is empty, for what has arrived.
    pub(crate) fn take(&self, taken: &mut Vec<(u64, Outcome)>) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *arrived, taken);
    }

    /// The thread is going to sleep; false when something is here already.
    pub(crate) fn sleeps(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let empty = self.arrived.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !empty {
            self.asleep.store(false, Ordering::SeqCst);
        }
        empty
    }

    /// The thread is awake.
    pub(crate) fn wakes(&self) {
        if !self.asleep.swap(false, Ordering::SeqCst) {
            // Somebody woke it. Where there is nothing to read, it is not blocking.
            let _ = read(&self.descriptor, &mut [0; 8]);
        }
    }
}

impl Sink for Inbox {
    fn completed(&self, tag: u64, outcome: Outcome) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push((tag, outcome));
        if self.asleep.swap(false, Ordering::SeqCst) {
            wake(&self.descriptor);
        }
    }
}

/// Makes an eventfd readable.
pub(crate) fn wake(descriptor: &OwnedFd) {
    // It fails only when it has been woken 2^64 times and nobody has looked.
    let _ = write(descriptor, &1_u64.to_ne_bytes());
}
