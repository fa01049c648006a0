//! The command ring of `target_core_user` (TCMU): the kernel's target hands commands to a program
//! through memory that both see.
//!
//! The layout is that of `linux/target_core_user.h`. A command is copied out of the ring when it is
//! taken, because commands end in another order than they come: an ending is written over the oldest
//! entry, whose own command may still run.
//!
//! All that the kernel wrote is checked against the length of the memory before it is used.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Offsets in the mailbox.
const RING_OFFSET: usize = 4;
const RING_SIZE: usize = 8;
const HEAD: usize = 12;
const TAIL: usize = 64;
/// Offsets in an entry.
const COMMAND_ID: usize = 4;
const USER_FLAGS: usize = 7;
const IOV_COUNT: usize = 8;
const CDB_OFFSET: usize = 24;
const IOVS: usize = 48;
const ABORTED_COUNT: usize = 12;
const ABORTED: usize = 32;
const STATUS: usize = 8;
const READ_LENGTH: usize = 12;
const SENSE: usize = 16;
const SENSE_BYTES: usize = 96;
/// Operations, and the flag that the length of the data read is told.
const OP_PAD: u32 = 0;
const OP_COMMAND: u32 = 1;
const OP_MANAGEMENT: u32 = 2;
const OP_MASK: u32 = 7;
const FLAG_READ_LENGTH: u8 = 2;

/// A command that the kernel handed over.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: u16,
    /// Offset and length of each part of its data in the memory.
    parts: Vec<(usize, usize)>,
    pub(super) cdb: Vec<u8>,
}

impl Request {
    /// Bytes of data that the command carries, or has room for.
    pub(super) fn capacity(&self) -> usize {
        self.parts.iter().map(|(_, length)| length).sum()
    }
}

/// How a command ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    pub(super) status: u8,
    pub(super) sense: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// It read data, and they are all that `data` holds.
    pub(super) reads: bool,
}

/// The ring of one device.
#[derive(Debug)]
pub(super) struct Ring {
    uio: File,
    memory: NonNull<u8>,
    length: usize,
    /// Where the next command is read.
    next: u32,
    /// Commands that the initiator gave up, and that were not ended yet.
    aborted: Vec<u16>,
}

// SAFETY: the memory is a mapping that belongs to this value alone, on this side.
unsafe impl Send for Ring {}

impl Ring {
    /// Opens the ring of the device with this configuration string.
    pub(super) fn open(config: &str) -> Result<Self> {
        for entry in fs::read_dir("/sys/class/uio").context("no uio device")? {
            let folder = entry?.path();
            let name = fs::read_to_string(folder.join("name"))?;
            if name.trim().ends_with(config) {
                return Self::map(&folder);
            }
        }
        bail!("no uio device is named {config}")
    }

    fn map(folder: &Path) -> Result<Self> {
        let node = Path::new("/dev").join(folder.file_name().unwrap_or_default());
        let uio = OpenOptions::new().read(true).write(true).open(&node);
        let uio = uio.with_context(|| node.display().to_string())?;
        let size = fs::read_to_string(folder.join("maps/map0/size"))?;
        let length = usize::from_str_radix(size.trim().trim_start_matches("0x"), 16)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice; nothing else refers to it.
        let memory =
            unsafe { mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, &uio, 0) }?;
        let memory = NonNull::new(memory.cast()).context("mmap gave nothing")?;
        let mut ring = Self { uio, memory, length, next: 0, aborted: Vec::new() };
        ring.next = ring.index(TAIL).load(Ordering::Acquire);
        Ok(ring)
    }

    /// What to poll: readable when commands came.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.uio.as_fd()
    }

    /// Takes note that commands came.
    pub(super) fn acknowledge(&mut self) -> Result<()> {
        let mut count = [0; 4];
        self.uio.read_exact(&mut count).context("cannot read from uio")
    }

    /// The next command, if one came.
    pub(super) fn next(&mut self) -> Result<Option<Request>> {
        loop {
            if self.next == self.index(HEAD).load(Ordering::Acquire) {
                return Ok(None);
            }
            let entry = self.entry(self.next)?;
            let header = u32::from_ne_bytes(self.read(entry)?);
            let at = self.next;
            self.next = self.after(at, header)?;
            match header & OP_MASK {
                OP_COMMAND => return self.request(entry).map(Some),
                OP_MANAGEMENT => self.take_notice(entry)?,
                OP_PAD => {}
                _ => {}
            }
            // An entry that is no command ends by itself when all before it have.
            if self.index(TAIL).load(Ordering::Acquire) == at {
                self.index(TAIL).store(self.next, Ordering::Release);
            }
        }
    }

    /// Takes note of a task management function: the kernel waits until its commands are ended.
    fn take_notice(&mut self, entry: usize) -> Result<()> {
        let count = u32::from_ne_bytes(self.read(entry + ABORTED_COUNT)?) as usize;
        ensure!(count <= 1 << 16, "{count} commands given up");
        for place in 0..count {
            let id = u16::from_ne_bytes(self.read(entry + ABORTED + 2 * place)?);
            self.aborted.push(id);
        }
        Ok(())
    }

    /// The commands that the initiator gave up since the last call, by their [`Request::id`].
    pub(super) fn take_aborted(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.aborted)
    }

    /// What a command carries.
    pub(super) fn data_out(&self, request: &Request) -> Result<Vec<u8>> {
        let mut data = Vec::with_capacity(request.capacity());
        for &(offset, length) in &request.parts {
            data.extend(self.bytes(offset, length)?);
        }
        Ok(data)
    }

    /// Ends a command.
    pub(super) fn end(&mut self, request: &Request, ending: &Ending) -> Result<()> {
        let mut rest = &ending.data[..];
        for &(offset, length) in &request.parts {
            let (now, later) = rest.split_at(rest.len().min(length));
            self.write(offset, now)?;
            rest = later;
        }
        self.skip_pads()?;
        let tail = self.index(TAIL).load(Ordering::Acquire);
        let entry = self.entry(tail)?;
        let header = u32::from_ne_bytes(self.read(entry)?);
        self.write(entry + COMMAND_ID, &request.id.to_ne_bytes())?;
        let told = u32::try_from(ending.data.len()).unwrap_or(u32::MAX);
        self.write(entry + USER_FLAGS, &[if ending.reads { FLAG_READ_LENGTH } else { 0 }])?;
        self.write(entry + STATUS, &[ending.status, 0, 0, 0])?;
        self.write(entry + READ_LENGTH, &told.to_ne_bytes())?;
        let mut sense = [0; SENSE_BYTES];
        for (place, byte) in sense.iter_mut().zip(&ending.sense) {
            *place = *byte;
        }
        self.write(entry + SENSE, &sense)?;
        self.index(TAIL).store(self.after(tail, header)?, Ordering::Release);
        self.skip_pads()?;
        self.uio.write_all(&[0; 4]).context("cannot write to uio")
    }

    /// Entries at the tail that are no commands are done.
    fn skip_pads(&self) -> Result<()> {
        loop {
            let tail = self.index(TAIL).load(Ordering::Acquire);
            if tail == self.next {
                return Ok(());
            }
            let header = u32::from_ne_bytes(self.read(self.entry(tail)?)?);
            if header & OP_MASK == OP_COMMAND {
                return Ok(());
            }
            self.index(TAIL).store(self.after(tail, header)?, Ordering::Release);
        }
    }

    fn request(&self, entry: usize) -> Result<Request> {
        let id = u16::from_ne_bytes(self.read(entry + COMMAND_ID)?);
        let count = u32::from_ne_bytes(self.read(entry + IOV_COUNT)?) as usize;
        let cdb_at = u64::from_ne_bytes(self.read(entry + CDB_OFFSET)?) as usize;
        ensure!(count <= 1 << 16, "{count} parts of data");
        let mut parts = Vec::with_capacity(count);
        for part in 0..count {
            let at = entry + IOVS + 16 * part;
            let base = u64::from_ne_bytes(self.read(at)?) as usize;
            let length = u64::from_ne_bytes(self.read(at + 8)?) as usize;
            self.bytes(base, length)?;
            parts.push((base, length));
        }
        let [first] = self.read(cdb_at)?;
        let length = match first >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            _ => 12,
        };
        Ok(Request { id, parts, cdb: self.bytes(cdb_at, length)? })
    }

    fn entry(&self, at: u32) -> Result<usize> {
        let start = u32::from_ne_bytes(self.read(RING_OFFSET)?) as usize;
        Ok(start + at as usize)
    }

    fn after(&self, at: u32, header: u32) -> Result<u32> {
        let size = u32::from_ne_bytes(self.read(RING_SIZE)?);
        let length = header & !OP_MASK;
        ensure!(length > 0 && size > 0, "an entry of {length} bytes in a ring of {size}");
        Ok((at + length) % size)
    }

    /// An index that both sides use.
    fn index(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset == HEAD || offset == TAIL);
        // SAFETY: both offsets lie in the mailbox at the start of the mapping, aligned to four
        // bytes; the kernel reads and writes them as whole words.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(offset).cast()) }
    }

    fn check(&self, offset: usize, length: usize) -> Result<()> {
        let end = offset.checked_add(length).filter(|&end| end <= self.length);
        ensure!(end.is_some(), "{length} bytes at {offset} are not in the memory");
        Ok(())
    }

    fn bytes(&self, offset: usize, length: usize) -> Result<Vec<u8>> {
        self.check(offset, length)?;
        let mut copy = vec![0; length];
        // SAFETY: checked to lie in the mapping. The kernel does not write to what it handed over.
        unsafe {
            let from = self.memory.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), length);
        }
        Ok(copy)
    }

    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N]> {
        let mut value = [0; N];
        value.copy_from_slice(&self.bytes(offset, N)?);
        Ok(value)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len())?;
        // SAFETY: checked to lie in the mapping. The kernel does not look at what it handed over
        // until the tail has passed it.
        unsafe {
            let to = self.memory.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, and nothing refers to it any more.
        let _ = unsafe { munmap(self.memory.as_ptr().cast(), self.length) };
    }
}
