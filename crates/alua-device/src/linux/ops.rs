//! Reads, writes and flushes of open files through io_uring, with the memory that they need, and
//! the two ioctls of this crate. All `unsafe` of the crate is here.
//!
//! # Why it is sound
//!
//! The kernel reads and writes the memory of an operation from its submission until its completion
//! is in the completion queue. [`Ops`] owns that memory for just so long: an operation and its
//! [`Memory`] are in `flights` from before its entry is pushed until its completion has been taken,
//! and nobody gets a reference to them in between. Moving a [`Memory`] does not move the bytes,
//! which are on the heap and neither grow nor shrink. The bytes of a [`Memory::Data`] are shared
//! and nobody writes them, since an `Arc` gives no mutable access while it is shared; those of a
//! [`Memory::Room`] belong to the operation alone. The file is kept open by the operation.
//!
//! When [`Ops`] is dropped while operations are in flight, their memory and files are given up for
//! good (leaked): closing the ring does not wait for the kernel.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

/// Entries of the submission queue; more operations wait in here.
const ENTRIES: u32 = 256;
/// The name of the operation that waits for a wake-up.
const WAKE: u64 = u64::MAX;

/// The memory of an operation.
#[derive(Debug)]
pub(super) enum Memory {
    None,
    /// `length` bytes from `start` are read into.
    Room {
        bytes: Vec<u8>,
        start: usize,
        length: usize,
    },
    /// `length` bytes from `start` are written.
    Data {
        bytes: Arc<Vec<u8>>,
        start: usize,
        length: usize,
    },
}

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Read,
    Write { durable: bool },
    Sync,
}

/// An operation, with what its owner wants back with it.
#[derive(Debug)]
pub(super) struct Op<T> {
    pub(super) file: Arc<OwnedFd>,
    pub(super) kind: Kind,
    /// In bytes.
    pub(super) offset: u64,
    pub(super) memory: Memory,
    pub(super) owner: T,
}

/// Operations in flight. See the [module](self).
pub(super) struct Ops<T> {
    ring: IoUring,
    flights: Vec<Option<Op<T>>>,
    free: Vec<usize>,
    /// Places in `flights` that found the submission queue full.
    backlog: VecDeque<usize>,
    wake_armed: bool,
}

impl<T> Ops<T> {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            ring: IoUring::new(ENTRIES)?,
            flights: Vec::new(),
            free: Vec::new(),
            backlog: VecDeque::new(),
            wake_armed: false,
        })
    }

    /// The owners of all operations in flight.
    pub(super) fn owners(&self) -> impl Iterator<Item = &T> {
        self.flights.iter().flatten().map(|op| &op.owner)
    }

    /// Queues an operation, which [`submit`](Self::submit) and [`wait`](Self::wait) send off.
    pub(super) fn start(&mut self, op: Op<T>) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() - 1
        });
        self.flights[place] = Some(op);
        if !self.backlog.is_empty() || !self.push(place) {
            self.backlog.push_back(place);
        }
    }

    fn push(&mut self, place: usize) -> bool {
        let Some(op) = self.flights[place].as_mut() else { return true };
        let entry = entry(op).user_data(place as u64);
        // SAFETY: the entry's memory and file are those of `flights[place]`, which stay until its
        // completion was taken; see the module.
        unsafe { self.ring.submission().push(&entry) }.is_ok()
    }

    /// Sends off what is queued.
    pub(super) fn submit(&mut self) {
        loop {
            while let Some(&place) = self.backlog.front() {
                if !self.push(place) {
                    break;
                }
                self.backlog.pop_front();
            }
            if self.ring.submission().is_empty() {
                break;
            }
            match self.ring.submit() {
                Ok(_) if self.backlog.is_empty() => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The completion queue is full (EBUSY), or memory is short (EAGAIN): what is queued
                // stays, and goes after some completions.
                Err(_) => break,
            }
        }
    }

    /// Sends off what is queued, and sleeps until something has completed, `wake` is readable or
    /// the time is over.
    pub(super) fn wait(&mut self, wake: BorrowedFd<'_>, limit: Option<Duration>) {
        // First, so that the queue has room for the poll.
        self.submit();
        if !self.wake_armed {
            let poll = opcode::PollAdd::new(Fd(wake.as_raw_fd()), libc::POLLIN as u32);
            let entry = poll.build().user_data(WAKE);
            // SAFETY: it touches no memory; its file is looked up when it is submitted, just below.
            self.wake_armed = unsafe { self.ring.submission().push(&entry) }.is_ok();
        }
        let timespec = limit.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        // A wait that ends early is a short one: the caller looks again.
        let _ = self.ring.submitter().submit_with_args(1, &args);
    }

    /// The operations that have completed, each with its result: bytes, or minus an error number.
    pub(super) fn completed(&mut self) -> Vec<(Op<T>, i32)> {
        let mut done = Vec::new();
        let mut completion = self.ring.completion();
        completion.sync();
        for entry in completion {
            if entry.user_data() == WAKE {
                self.wake_armed = false;
                continue;
            }
            let place = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
            if let Some(op) = self.flights.get_mut(place).and_then(Option::take) {
                self.free.push(place);
                done.push((op, entry.result()));
            }
        }
        done
    }
}

impl<T> Drop for Ops<T> {
    fn drop(&mut self) {
        for op in self.flights.drain(..).flatten() {
            // The kernel may still use the memory and the file.
            std::mem::forget(op);
        }
    }
}

fn entry<T>(op: &mut Op<T>) -> squeue::Entry {
    let file = Fd(op.file.as_raw_fd());
    match (&mut op.memory, op.kind) {
        (Memory::Room { bytes, start, length }, Kind::Read) => {
            // A slice first: it is inside the buffer, or empty.
            let room = bytes.get_mut(*start..*start + *length).unwrap_or_default();
            let length = u32::try_from(room.len()).unwrap_or(0);
            opcode::Read::new(file, room.as_mut_ptr(), length).offset(op.offset).build()
        }
        (Memory::Data { bytes, start, length }, Kind::Write { durable }) => {
            let data = bytes.get(*start..*start + *length).unwrap_or_default();
            let length = u32::try_from(data.len()).unwrap_or(0);
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            let write = opcode::Write::new(file, data.as_ptr(), length);
            write.offset(op.offset).rw_flags(flags).build()
        }
        _ => opcode::Fsync::new(file).build(),
    }
}

const SG_SCSI_RESET: libc::c_ulong = 0x2284;
const SG_SCSI_RESET_NOTHING: libc::c_int = 0;
const SG_SCSI_RESET_DEVICE: libc::c_int = 1;
const SG_SCSI_RESET_NO_ESCALATE: libc::c_int = 0x100;

/// LOGICAL UNIT RESET through an open SCSI disk, and nothing stronger where that fails.
pub(super) fn reset_unit(disk: impl AsFd) -> io::Result<()> {
    reset(disk, SG_SCSI_RESET_DEVICE | SG_SCSI_RESET_NO_ESCALATE)
}

/// Has the kernel start what it keeps back in the queues of the disk's host. It is the reset that
/// resets nothing, after which, as after any other, the queues run (linux drivers/scsi/scsi_error.c,
/// `scsi_ioctl_reset`).
pub(super) fn run_queues(disk: impl AsFd) -> io::Result<()> {
    reset(disk, SG_SCSI_RESET_NOTHING)
}

fn reset(disk: impl AsFd, mut what: libc::c_int) -> io::Result<()> {
    // SAFETY: the ioctl reads one int at the address, which lives across the call (linux
    // include/scsi/sg.h; drivers/scsi/scsi_error.c, scsi_ioctl_reset).
    let result = unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), SG_SCSI_RESET, &raw mut what) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const BLKDISCARD: libc::c_ulong = 0x1277;

/// Lets blocks of an open disk go, from and for so many bytes.
pub(super) fn discard(disk: impl AsFd, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: the ioctl reads two numbers of 64 bits at the address, which live across the call
    // (linux block/ioctl.c, blk_ioctl_discard).
    let result = unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Instant;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn wait_all(ops: &mut Ops<u32>, count: usize) -> Vec<(Op<u32>, i32)> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let mut done = Vec::new();
        let end = Instant::now() + Duration::from_secs(10);
        while done.len() < count {
            assert!(Instant::now() < end, "{} of {count}", done.len());
            ops.wait(wake.as_fd(), Some(Duration::from_millis(100)));
            done.extend(ops.completed());
        }
        done
    }

    #[test]
    fn more_operations_than_the_queue_holds_write_and_read_what_they_should() {
        let mut ops = Ops::new().expect("io_uring, which this test needs");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 512]).unwrap();
        let shared = Arc::new(OwnedFd::from(file.try_clone().unwrap()));
        let count = ENTRIES * 3;
        let op = |number: u32, kind, memory| Op {
            file: Arc::clone(&shared),
            kind,
            offset: u64::from(number) * 8,
            memory,
            owner: number,
        };
        for number in 0..count {
            let bytes = Arc::new([&[0xff; 3][..], &u64::from(number).to_le_bytes()].concat());
            let memory = Memory::Data { bytes, start: 3, length: 8 };
            ops.start(op(number, Kind::Write { durable: number % 7 == 0 }, memory));
        }
        assert_eq!(ops.owners().count(), count as usize);
        assert!(wait_all(&mut ops, count as usize).iter().all(|(_, result)| *result == 8));
        for number in 0..count {
            let memory = Memory::Room { bytes: vec![9; 24], start: 8, length: 8 };
            ops.start(op(number, Kind::Read, memory));
        }
        for (op, result) in wait_all(&mut ops, count as usize) {
            assert_eq!(result, 8);
            let Memory::Room { bytes, .. } = op.memory else { panic!("its memory") };
            assert_eq!(bytes[8..16], u64::from(op.owner).to_le_bytes());
            assert_eq!((&bytes[..8], &bytes[16..]), (&[9; 8][..], &[9; 8][..]));
        }
        ops.start(op(0, Kind::Sync, Memory::None));
        assert_eq!(wait_all(&mut ops, 1)[0].1, 0);
        let mut all = Vec::new();
        let mut again = std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        again.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), count as usize * 8);
    }

    #[test]
    fn a_wake_up_ends_the_wait() {
        let mut ops = Ops::<u32>::new().expect("io_uring, which this test needs");
        let wake = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        rustix::io::write(&wake, &1_u64.to_ne_bytes()).unwrap();
        let begin = Instant::now();
        ops.wait(wake.as_fd(), Some(Duration::from_secs(20)));
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert!(ops.completed().is_empty());
    }

    #[test]
    fn what_is_no_scsi_disk_cannot_be_reset() {
        assert!(reset_unit(tempfile::tempfile().unwrap()).is_err());
    }
}
