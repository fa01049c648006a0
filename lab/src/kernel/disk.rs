//! A path as the kernel shows it, and I/O on it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::sysfs::{need_disk, read, write};

const O_DIRECT: i32 = 0o40_000;
/// Bytes of one read.
const BYTES: usize = 4_096;

/// A buffer that direct I/O takes: aligned to a page.
#[repr(align(4096))]
struct Page([u8; BYTES]);

fn attribute(hctl: &str, name: &str) -> PathBuf {
    Path::new("/sys/bus/scsi/devices").join(hctl).join(name)
}

/// What sysfs gives as the access state; the error where it gives none.
pub(crate) fn access(hctl: &str) -> String {
    match std::fs::read_to_string(attribute(hctl, "access_state")) {
        Ok(state) => state.trim().to_owned(),
        Err(_) => "no state".to_owned(),
    }
}

/// Whether sysfs says that the path is preferred.
pub(crate) fn preferred(hctl: &str) -> bool {
    read(&attribute(hctl, "preferred_path")).is_ok_and(|value| value == "1")
}

/// The handler that is attached.
pub(crate) fn handler(hctl: &str) -> String {
    read(&attribute(hctl, "dh_state")).unwrap_or_else(|_| "none".to_owned())
}

/// Sectors of the disk; 0 while the disk driver does not know them.
pub(crate) fn size(hctl: &str) -> u64 {
    let size =
        |disk| read(&Path::new("/sys/class/block").join(disk).join("size")).ok()?.parse().ok();
    need_disk(hctl).ok().and_then(size).unwrap_or(0)
}

/// Asks the handler for an activation, as an administrator does.
pub(crate) fn activate(hctl: &str) -> Result<()> {
    write(&attribute(hctl, "dh_state"), "activate")
}

/// The device node of a path.
pub(crate) fn node(hctl: &str) -> Result<PathBuf> {
    Ok(Path::new("/dev").join(need_disk(hctl)?))
}

fn open(node: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_DIRECT)
        .open(node)
        .with_context(|| node.display().to_string())
}

/// Reads one block past every cache, within a time.
pub(crate) fn read_block(node: &Path, limit: Duration) -> Result<()> {
    let file = open(node)?;
    let (sender, result) = mpsc::channel();
    // A read that hangs in the kernel is left to itself.
    thread::spawn(move || {
        let mut page = Box::new(Page([0; BYTES]));
        let _ = sender.send(file.read_exact_at(&mut page.0, 0));
    });
    Ok(result.recv_timeout(limit).context("the read did not end")??)
}

/// A reader without a pause, and what it suffers.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    errors: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    longest: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub(crate) fn start(node: &Path) -> Result<Self> {
        let file = open(node)?;
        let reader = Self {
            stop: Arc::default(),
            errors: Arc::default(),
            reads: Arc::default(),
            longest: Arc::default(),
            thread: None,
        };
        let (stop, errors) = (Arc::clone(&reader.stop), Arc::clone(&reader.errors));
        let (reads, longest) = (Arc::clone(&reader.reads), Arc::clone(&reader.longest));
        let thread = thread::spawn(move || {
            let mut page = Box::new(Page([0; BYTES]));
            while !stop.load(Ordering::Acquire) {
                let start = Instant::now();
                let read = file.read_exact_at(&mut page.0, 0);
                let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                longest.fetch_max(took, Ordering::Relaxed);
                if read.is_ok() {
                    reads.fetch_add(1, Ordering::Relaxed);
                } else {
                    errors.fetch_add(1, Ordering::Relaxed);
                    // What refuses at once is not to take a processor.
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Ok(Self { thread: Some(thread), ..reader })
    }

    /// Forgets what it suffered so far.
    pub(crate) fn forget(&self) {
        self.longest.store(0, Ordering::Relaxed);
        self.errors.store(0, Ordering::Relaxed);
    }

    /// The reads that did not fail.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The reads that failed since it last forgot.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The longest read, in milliseconds.
    pub(crate) fn stall(&self) -> f64 {
        self.longest.load(Ordering::Relaxed) as f64 / 1_000.0
    }

    /// Stops it. False where it hangs in the kernel.
    pub(crate) fn stop(mut self, limit: Duration) -> bool {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return true };
        let ended = super::until(limit, || thread.is_finished()).is_some();
        ended && thread.join().is_ok()
    }
}
