//! A device on a file or a block device.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{BlockDevice, BlockError, Completion, Geometry, Operation, Outcome, Request};

/// How many requests are worked on at the same time.
const THREADS: usize = 4;
/// What is written where the file system cannot make zeroes by itself, a piece at a time.
static ZEROES: [u8; 65_536] = [0; 65_536];

/// A device on a regular file or a block device, with a few threads that read and write it.
///
/// Dropping it ends the threads after what was submitted is done.
#[derive(Debug)]
pub struct FileDevice {
    geometry: Geometry,
    /// None when the device goes down.
    jobs: Mutex<Option<mpsc::Sender<(Request, Completion)>>>,
    threads: Vec<JoinHandle<()>>,
}

impl FileDevice {
    /// Opens a file, for reading and writing unless `read_only`. Its size is the device's, rounded
    /// down to whole logical blocks of 512 bytes.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or its size cannot be found.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let mut file = File::options().read(true).write(!read_only).open(path)?;
        // The end of a block device is its size too; its metadata would say 0.
        let bytes = file.seek(SeekFrom::End(0))?;
        let regular = file.metadata()?.is_file();
        let geometry = Geometry {
            bytes: bytes - bytes % 512,
            logical_block: 512,
            preferred: 4096,
            maximum: 32 << 20,
            read_only,
            discard: regular,
            write_zeroes: true,
            shared_flush: true,
        };
        let (sender, jobs) = mpsc::channel::<(Request, Completion)>();
        let (file, jobs) = (Arc::new(file), Arc::new(Mutex::new(jobs)));
        let mut threads = Vec::new();
        for index in 0..THREADS {
            let (file, jobs) = (Arc::clone(&file), Arc::clone(&jobs));
            let name = format!("file-{index}");
            threads.push(thread::Builder::new().name(name).spawn(move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((request, completion)) = job else { break };
                    completion.complete(run(&file, geometry, request));
                }
            })?);
        }
        Ok(Self { geometry, jobs: Mutex::new(Some(sender)), threads })
    }
}

impl BlockDevice for FileDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: Request, completion: Completion) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = jobs.as_ref() else {
            return completion.complete(Err(BlockError::ShuttingDown));
        };
        if let Err(mpsc::SendError((_, completion))) = jobs.send((request, completion)) {
            completion.complete(Err(BlockError::ShuttingDown));
        }
    }
}

impl Drop for FileDevice {
    fn drop(&mut self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        for thread in self.threads.drain(..) {
            // A thread that panicked has dropped its completion, which told the export.
            let _ = thread.join();
        }
    }
}

fn run(file: &File, geometry: Geometry, mut request: Request) -> Outcome {
    geometry.check(&request)?;
    let (offset, length) = (request.offset, request.length);
    match request.operation {
        Operation::Read => file.read_exact_at(&mut request.data, offset).map_err(failed)?,
        Operation::Write => file.write_all_at(&request.data, offset).map_err(failed)?,
        Operation::Flush => file.sync_data().map_err(failed)?,
        Operation::Discard => {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(file, hole, offset, length) {
                // A discard is a hint.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        Operation::WriteZeroes { may_unmap } => zero(file, offset, length, may_unmap)?,
    }
    if request.fua && request.operation.modifies() {
        file.sync_data().map_err(failed)?;
    }
    Ok(request.data)
}

fn zero(file: &File, offset: u64, length: u64, may_unmap: bool) -> Result<(), BlockError> {
    let flags = if may_unmap {
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
    } else {
        FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE
    };
    match fallocate(file, flags, offset, length) {
        Ok(()) => return Ok(()),
        Err(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(failed(error.into())),
    }
    let mut done = 0;
    while done < length {
        let part = (length - done).min(ZEROES.len() as u64);
        file.write_all_at(&ZEROES[..usize::try_from(part).unwrap_or(ZEROES.len())], offset + done)
            .map_err(failed)?;
        done += part;
    }
    Ok(())
}

fn failed(error: io::Error) -> BlockError {
    tracing::warn!(%error, "the file of a device failed");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlockError::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => BlockError::ReadOnly,
        _ => BlockError::Io,
    }
}
