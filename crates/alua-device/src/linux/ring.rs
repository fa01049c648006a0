//! The data of all paths of a unit: one io_uring, on the engine's thread.
//!
//! # A reset comes after what it is to end
//!
//! A reset ends the commands that have reached the device server. So the lost path is cut first
//! ([`crate::path::PathIo::cut`]), and the reset waits until everything that the kernel had of it
//! has come back ([`CutHold::is_idle`]); where that takes longer than [`RETURN`] the step has failed,
//! and the engine asks again.
//!
//! # A reset is carried out on an idle unit
//!
//! LOGICAL UNIT RESET ends the commands of all nexuses, those of healthy paths too, and a device
//! server need not answer them: the kernel would then wait for each until its own time limit. So
//! when a reset is to be sent ([`Ring::reset`]) new commands are kept here, and the reset goes when
//! the paths other than the lost one have nothing in flight, or after [`HOLD`] at the latest. When
//! it is done the commands that were kept go. Nothing is decided by that: it is the same reset, a
//! few milliseconds later.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use alua_multipath::{FenceAnswer, IoId, Operation, PathId};

use super::answer::Changes;
use super::behind::Behind;
use super::disk::{Deallocate, Disk, Out};
use super::mark::Mark;
use super::ops::{Kind, Memory, Op, Ops};
use super::worker::{Failed, Job, Worker};
use crate::inbox::{Back, Quiet, Reactor};
use crate::path::{Answer, Command, Cut, CutHold, Payload, StepId};

/// How long the commands of the lost path may take to come back before the step has failed. With
/// [`HOLD`] it is less than the engine waits.
const RETURN: Duration = Duration::from_secs(3);
/// How often the lost path is looked at meanwhile: of what it has left below the kernel's queues nobody
/// tells.
const LOOK: Duration = Duration::from_millis(10);
/// How long commands of healthy paths may take before a reset is sent all the same.
const HOLD: Duration = Duration::from_secs(1);
/// How long the kernel may take to give memory back when a device ends.
const FINISH: Duration = Duration::from_secs(10);

/// Whether commands are kept back.
#[derive(Debug, Default)]
pub(super) struct Hold(AtomicBool);

impl Hold {
    fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn release(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A reset that waits: for the lost path's commands to come back, then until the unit is idle.
struct Pending {
    what: Reset,
    cuts: Vec<Box<dyn CutHold>>,
    /// New commands are kept: it is the unit that is waited for.
    holds: bool,
    until: Instant,
    worker: Arc<Worker>,
    back: Back,
}

/// A reset that the engine wants.
#[derive(Clone, Copy)]
pub(super) struct Reset {
    pub(super) id: StepId,
    /// The path whose commands are to end, where it is one path.
    pub(super) of: Option<PathId>,
    /// Nobody waits for it any longer.
    pub(super) until: Instant,
}

/// Whose an operation is.
pub(super) struct Owner {
    io: IoId,
    path: PathId,
    worker: Arc<Worker>,
    back: Back,
    /// What the command gets back where the operation had memory of its own.
    bounced: Option<Payload>,
    /// [`Disk::cuts`] when it was sent.
    cuts: u64,
    /// While the kernel has it.
    out: Option<Out>,
}

/// See the [module](self).
pub(super) struct Ring {
    ops: Ops<Owner>,
    hold: Arc<Hold>,
    kept: VecDeque<Op<Owner>>,
    pending: Option<Pending>,
    /// Until when commands are kept, once the reset was given away.
    held_until: Option<Instant>,
    /// Disks whose paths were taken away.
    closed: Vec<Weak<Disk>>,
    behind: Behind,
    mark: Option<Arc<Mark>>,
}

/// A ring that the paths of a unit and its engine's thread share. Only that thread uses it, so the
/// lock is never waited for.
#[derive(Clone)]
pub(super) struct SharedRing(Arc<Mutex<Ring>>);

impl SharedRing {
    pub(super) fn new(behind: Behind, mark: Option<Arc<Mark>>) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Ring {
            ops: Ops::new()?,
            hold: Arc::default(),
            kept: VecDeque::new(),
            pending: None,
            held_until: None,
            closed: Vec::new(),
            behind,
            mark,
        }))))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Ring) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a command, or has it sent where that waits.
    pub(super) fn send(
        &self,
        disk: &Arc<Disk>,
        worker: &Arc<Worker>,
        command: Command,
        back: &Back,
    ) {
        let Command { io, path, part, data } = command;
        let offset = part.lba * u64::from(disk.block_size);
        let length = u64::from(part.blocks) * u64::from(disk.block_size);
        let slow = |what, data| {
            let changes = Changes::Often;
            let failed = Failed { io, data, back: back.clone(), changes };
            worker.give(Job::Deallocate { what, offset, length, failed, cuts: disk.cuts() });
        };
        let kind = match part.operation {
            Operation::Read => Kind::Read,
            Operation::Write { fua } => Kind::Write { durable: fua },
            Operation::Flush => Kind::Sync,
            Operation::Discard => return slow(Deallocate::Discard, data),
            Operation::WriteZeroes { unmap, .. } => {
                return slow(Deallocate::Zero { unmap }, data);
            }
        };
        let (memory, bounced) = memory_for(data, disk.align);
        let (worker, back) = (Arc::clone(worker), back.clone());
        let cuts = disk.cuts();
        let owner = Owner { io, path, worker, back, bounced, cuts, out: None };
        let op = Op { file: Arc::clone(&disk.file), kind, offset, memory, owner };
        self.with(|ring| {
            if ring.hold.is_on() {
                ring.kept.push_back(op);
            } else {
                ring.start(op);
            }
        });
    }

    /// Whether a reset is awaited, and commands are kept for it.
    pub(super) fn is_holding(&self) -> bool {
        self.with(|ring| ring.hold.is_on())
    }

    /// The path of a disk is taken away.
    pub(super) fn close(&self, disk: &Arc<Disk>) {
        disk.close();
        self.with(|ring| {
            ring.closed.retain(|it| it.strong_count() > 0);
            ring.closed.push(Arc::downgrade(disk));
        });
    }

    /// Sends a reset through a path when the others are idle.
    pub(super) fn reset(&self, worker: &Arc<Worker>, what: Reset, cuts: Vec<Cut>, back: &Back) {
        let id = what.id;
        self.with(|ring| {
            if ring.pending.is_some() {
                // One at a time: the engine asks again.
                return back.step(id, FenceAnswer::Failed);
            }
            let cuts: Option<Vec<_>> = cuts.into_iter().map(|cut| cut()).collect();
            let Some(cuts) = cuts else {
                tracing::warn!("the lost path cannot be set offline: no reset");
                return back.step(id, FenceAnswer::Failed);
            };
            let (worker, back) = (Arc::clone(worker), back.clone());
            let until = Instant::now() + RETURN;
            ring.pending = Some(Pending { what, cuts, holds: false, until, worker, back });
            ring.advance();
        });
    }
}

/// Memory that an operation can use, and what is given back in its place where that is not the
/// command's own.
fn memory_for(data: Payload, align: usize) -> (Memory, Option<Payload>) {
    let fits = |address: *const u8| address.addr().is_multiple_of(align.max(1));
    match data {
        Payload::None => (Memory::None, None),
        Payload::Read(bytes) if fits(bytes.as_ptr()) => {
            let length = bytes.len();
            (Memory::Room { bytes, start: 0, length }, None)
        }
        Payload::Read(own) => {
            let (bytes, start) = aligned(own.len(), align);
            (Memory::Room { bytes, start, length: own.len() }, Some(Payload::Read(own)))
        }
        Payload::Write { data, start, length } => {
            let bytes = data.get(start..start + length).unwrap_or_default();
            if fits(bytes.as_ptr()) {
                return (Memory::Data { bytes: data, start, length }, None);
            }
            let (mut copy, begin) = aligned(length, align);
            copy[begin..begin + bytes.len()].copy_from_slice(bytes);
            let own = Some(Payload::Write { data: Arc::clone(&data), start, length });
            (Memory::Data { bytes: Arc::new(copy), start: begin, length }, own)
        }
    }
}

/// Memory with room for `length` bytes from an address that is a multiple of `align`, and where.
fn aligned(length: usize, align: usize) -> (Vec<u8>, usize) {
    let bytes = vec![0; length + align];
    let start = bytes.as_ptr().addr().wrapping_neg() % align.max(1);
    (bytes, start)
}

/// The command's own data, with what was read.
fn payload_of(memory: Memory, bounced: Option<Payload>) -> Payload {
    match (memory, bounced) {
        (Memory::Room { bytes, .. }, None) => Payload::Read(bytes),
        (Memory::Room { bytes, start, length }, Some(Payload::Read(mut own))) => {
            if let Some(read) = bytes.get(start..start + length) {
                own.copy_from_slice(read);
            }
            Payload::Read(own)
        }
        (Memory::Data { bytes, start, length }, None) => {
            Payload::Write { data: bytes, start, length }
        }
        (_, Some(own)) => own,
        (Memory::None, None) => Payload::None,
    }
}

/// Does what may wait for a target on a thread of its own, which nobody waits for.
pub(super) fn aside(what: impl FnOnce() + Send + 'static) {
    // Where there is no thread to be had, it is not done: what it holds is dropped here.
    let _ = thread::Builder::new().name("aside".to_owned()).spawn(what);
}

impl Ring {
    /// Gives an operation to the kernel, unless its path was cut since it was sent.
    fn start(&mut self, mut op: Op<Owner>) {
        op.owner.out = op.owner.worker.disk.begin(op.owner.cuts);
        if op.owner.out.is_some() {
            return self.ops.start(op);
        }
        let Op { memory, owner: Owner { io, back, bounced, .. }, .. } = op;
        back.io(io, Answer::NotSubmitted, payload_of(memory, bounced));
    }

    /// Hands back what has completed.
    fn complete(&mut self) {
        for (op, result) in self.ops.completed() {
            let Op { kind, memory, owner, .. } = op;
            let wanted = match (&memory, kind) {
                (Memory::Room { length, .. } | Memory::Data { length, .. }, _) => *length,
                (Memory::None, _) => 0,
            };
            let Owner { io, worker, back, bounced, out, .. } = owner;
            let troubles = out.and_then(|out| out.troubles());
            let data = payload_of(memory, bounced);
            match usize::try_from(result) {
                Ok(done) if done == wanted || kind == Kind::Sync => {
                    back.io(io, Answer::GOOD, data);
                }
                // Less than all: what ended it does not say why. Else minus the error number.
                short => {
                    let errno = if short.is_ok() { libc::EIO } else { result.wrapping_neg() };
                    let changes = Changes::of(kind, wanted);
                    worker.failed(errno, troubles, Failed { io, data, back, changes });
                }
            }
        }
    }

    /// Ends the wait of a reset.
    fn go(&mut self) {
        let Some(Pending { what, cuts, holds, worker, back, .. }) = self.pending.take() else {
            return;
        };
        let Reset { id, until, .. } = what;
        if !holds {
            tracing::debug!("the lost path does not give its commands back: no reset");
            aside(move || drop(cuts));
            return back.step(id, FenceAnswer::Failed);
        }
        let hold = Arc::clone(&self.hold);
        self.held_until = Some(until);
        worker.give(Job::Reset { id, until, cuts, back, hold });
    }

    /// Lets a reset go that has waited for this, and commands that have waited for a reset.
    fn advance(&mut self) {
        let now = Instant::now();
        if let Some(pending) = &mut self.pending
            && !pending.holds
            && pending.cuts.iter().all(|cut| cut.is_idle())
        {
            (pending.holds, pending.until) = (true, now + HOLD);
            // Its own: the end of an earlier one that came late does not release it.
            self.hold = Arc::new(Hold(AtomicBool::new(true)));
        }
        if let Some(pending) = &self.pending {
            let late = pending.until <= now;
            let of = pending.what.of;
            let idle = || self.ops.owners().all(|owner| Some(owner.path) == of);
            if late || (pending.holds && idle()) {
                self.go();
            }
        }
        if self.held_until.is_some_and(|until| until <= now) {
            // The path of the reset does not get at it: the others do not wait for that.
            self.held_until = None;
            self.hold.release();
        }
        if !self.hold.is_on() {
            self.held_until = None;
            while let Some(op) = self.kept.pop_front() {
                self.start(op);
            }
        }
    }
}

impl Reactor for SharedRing {
    fn wait(&mut self, wake: BorrowedFd<'_>, limit: Option<Duration>) {
        self.with(|ring| {
            let pending = ring.pending.as_ref().map(|it| {
                let left = it.until.saturating_duration_since(Instant::now());
                if it.holds { left } else { left.min(LOOK) }
            });
            let held = ring.held_until.filter(|_| ring.hold.is_on());
            let held = held.map(|until| until.saturating_duration_since(Instant::now()));
            ring.ops.wait(wake, limit.into_iter().chain(pending).chain(held).min());
        });
    }

    fn reap(&mut self, _back: &Back) {
        self.with(|ring| {
            ring.ops.submit();
            ring.complete();
            ring.advance();
            ring.ops.submit();
        });
    }

    fn quiet(&mut self) -> Quiet {
        self.with(|ring| ring.behind.quiet())
    }

    fn finish(&mut self, back: &Back, whole: bool) {
        let end = Instant::now() + FINISH;
        self.with(|ring| {
            while ring.ops.owners().next().is_some() && Instant::now() < end {
                ring.ops.wait(back.descriptor(), Some(Duration::from_millis(100)));
                ring.complete();
            }
            // Their workers' threads end with the process, which may be now.
            if let Some(Pending { cuts, .. }) = ring.pending.take() {
                aside(move || drop(cuts));
            }
            let offline = |disk: &Arc<Disk>| !disk.is_whole();
            while Instant::now() < end {
                let disks = ring.closed.iter().filter_map(Weak::upgrade).filter(offline);
                let disks: Vec<_> = disks.collect();
                if disks.is_empty() {
                    break;
                }
                disks.into_iter().for_each(|disk| aside(move || disk.mend()));
                thread::sleep(LOOK);
            }
            if let Some(mark) = ring.mark.as_ref().filter(|_| whole) {
                mark.clear();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_lies_wrong_is_copied_and_given_back() {
        let align = 4096;
        // A vector's address is a multiple of 4096 once in a long while: shift it for certain.
        let own: Vec<u8> = (0..=255).collect();
        let shared = Arc::new([vec![0; 1], own].concat());
        for start in [1, 2] {
            let data = Payload::Write { data: Arc::clone(&shared), start, length: 200 };
            let (memory, bounced) = memory_for(data, align);
            let Memory::Data { bytes, start: at, length } = &memory else { panic!("{memory:?}") };
            let (at, length) = (*at, *length);
            assert!(bytes[at..].as_ptr().addr().is_multiple_of(align) && length == 200);
            assert_eq!(bytes[at..at + length], shared[start..start + 200]);
            let back = payload_of(memory, bounced);
            assert_eq!(back.to_write(), &shared[start..start + 200]);
        }
        let room = vec![7; 512];
        let aligned_by_chance = room.as_ptr().addr().is_multiple_of(align);
        let (mut memory, bounced) = memory_for(Payload::Read(room), align);
        assert_eq!(bounced.is_none(), aligned_by_chance);
        if let Memory::Room { bytes, start, length } = &mut memory {
            assert!(bytes[*start..].as_ptr().addr().is_multiple_of(align));
            bytes[*start..*start + *length].fill(9);
        }
        let Payload::Read(back) = payload_of(memory, bounced) else { panic!("a read") };
        assert_eq!(back, [9; 512]);
    }

    #[test]
    fn memory_that_lies_right_is_used_as_it_is() {
        let room = vec![0; 4096];
        let address = room.as_ptr();
        let (memory, bounced) = memory_for(Payload::Read(room), 4);
        assert!(bounced.is_none());
        let Payload::Read(back) = payload_of(memory, bounced) else { panic!("a read") };
        assert_eq!(back.as_ptr(), address);
    }
}
