//! Whether a server that has died has left anything in this host.
//!
//! # The rule
//!
//! A server opens its disks exclusively, and each operation that the kernel has of it keeps the open
//! file: a write in io_uring as long as it is under way, wherever in the block or SCSI layer that is, and
//! an ioctl its thread. So nothing of a dead server is left on a disk that **can be opened exclusively**:
//! all of it has come back, and nobody sends it again. The disk's own count (`inflight`) would not do: a
//! request that the SCSI layer keeps to send again is not in it (linux block/blk-mq.c,
//! `blk_mq_check_inflight`).
//!
//! The kernel looks at the claim before it looks at the disk (linux block/bdev.c,
//! `bd_prepare_to_claim`): a disk that is offline refuses the open too, but not as busy. A disk that
//! became a path of ours is proven by that.
//!
//! Of a disk that is reached by iSCSI nothing must be left in a socket either ([`super::iscsi`]).
//!
//! All disks of the unit count, also those that are no path of ours: to be open somewhere else, or to be
//! offline, may be just what the dead server has left them in. Where the device was told to use certain
//! disks only, those.
//!
//! # A thread of its own
//!
//! An open waits while the error handler of the disk's host is at work.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use alua_host::hctl::Hctl;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::iscsi::{Left, Session};
use super::join::Finder;

/// How often the disks are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// When it is said what is waited for.
const SAY: Duration = Duration::from_secs(2);

/// The disks that this process holds, or has held.
#[derive(Clone, Default, Debug)]
pub(super) struct Claims(Arc<Mutex<BTreeSet<Hctl>>>);

impl Claims {
    pub(super) fn add(&self, hctl: Hctl) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hctl);
    }

    fn has(&self, hctl: Hctl) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&hctl)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Behind {
    finder: Finder,
    claims: Claims,
    /// Whether nothing is left. The thread looks as long as somebody wants to know.
    free: Option<Arc<AtomicBool>>,
}

impl Behind {
    pub(super) const fn new(finder: Finder, claims: Claims) -> Self {
        Self { finder, claims, free: None }
    }

    /// Whether nothing is left; the first question begins the search.
    pub(super) fn is_quiet(&mut self) -> bool {
        if let Some(free) = &self.free {
            return free.load(Ordering::SeqCst);
        }
        let free = Arc::new(AtomicBool::new(false));
        let (finder, claims, says) =
            (self.finder.clone(), self.claims.clone(), Arc::downgrade(&free));
        let search = move || search(&finder, &claims, &says);
        // Where there is no thread to be had, it is tried again.
        if thread::Builder::new().name("behind".to_owned()).spawn(search).is_ok() {
            self.free = Some(free);
        }
        false
    }
}

/// A disk on which something may be left.
struct Suspect {
    hctl: Hctl,
    label: String,
    left: Option<Left>,
}

fn search(finder: &Finder, claims: &Claims, says: &Weak<AtomicBool>) {
    let suspect = |(hctl, label): (Hctl, String)| {
        let session = Session::of(finder.sys(), &finder.directory(hctl), &label);
        let left = session.map(|session| Arc::new(session).left());
        Suspect { hctl, label, left }
    };
    let mut open: Vec<Suspect> = finder.disks().into_iter().map(suspect).collect();
    let start = Instant::now();
    let mut said = false;
    loop {
        open.retain(|disk| {
            let free = claims.has(disk.hctl) || is_free(&finder.node(&disk.label));
            match &disk.left {
                Some(left) if free => !left.is_nothing(),
                Some(left) => {
                    left.hurry();
                    true
                }
                None => !free,
            }
        });
        let Some(says) = says.upgrade() else { return };
        if open.is_empty() {
            return says.store(true, Ordering::SeqCst);
        }
        if !said && start.elapsed() > SAY {
            said = true;
            let disks: Vec<&str> = open.iter().map(|disk| &*disk.label).collect();
            tracing::warn!(
                disks = disks.join(" "),
                "an earlier server may have writes under way there, or another program uses them: \
                 requests wait for the end of that"
            );
        }
        drop(says);
        thread::sleep(LOOK);
    }
}

/// Whether nobody has the disk open exclusively. One that is not there is nobody's.
pub(super) fn is_free(node: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::NONBLOCK | OFlags::CLOEXEC;
    !matches!(rustix::fs::open(node, flags, Mode::empty()), Err(Errno::BUSY))
}
