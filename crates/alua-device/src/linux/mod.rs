//! Paths that are SCSI disks of Linux.
//!
//! | module | what |
//! |---|---|
//! | `ring`, `ops` | data: io_uring on `/dev/sdX` with O_DIRECT, on the engine's thread |
//! | `worker` | what waits, on two threads per path: ALUA commands, probes, resets, discard |
//! | [`answer`] | what an error of the block layer means |
//! | `disk` | a disk's node and its files in sysfs |
//! | `counters` | whether a command that the kernel refuses was never sent |
//! | `iscsi`, `sockets` | what an iSCSI connection that failed has left to send |
//! | `join`, `watch` | paths that come and go |
//! | `patience` | how long a start waits for its disks |
//! | `mark`, `behind`, `leftover` | what a server leaves to the next one: in a file, in this host, in its sockets |
//! | `numa` | how far a path's adapter is |
//!
//! # What is done to a disk
//!
//! It is opened exclusively: nobody can mount it or put it into a map meanwhile. The kernel's
//! device handler would best be detached from it, since it refuses I/O by states that it has read
//! itself; no kernel since 4.3 detaches one. What it refuses is told apart from what the path fails
//! ([`answer`]), and where it does not learn by itself it is made to look.
//!
//! # How a path is fenced
//!
//! ABORT TASK and the end of a nexus cannot be asked of Linux. LOGICAL UNIT RESET can, through
//! another path (ioctl `SG_SCSI_RESET`, a device reset that does not escalate). Before it the lost
//! path is set offline, so that the SCSI layer does not itself send again what the reset has ended,
//! and everything that was sent down it has to come back: the reset ends what has reached the
//! target, and what an adapter or a socket still holds could reach it later; of iSCSI's sockets the kernel
//! is asked. A path that hangs gives its commands back when the initiator gives up (for iSCSI when no
//! NOP-Out was answered, or when TCP shows that the connection is dead and it is ended for that); until
//! then its writes wait, for longer than the bounded wait if need be, since the kernel may send them again
//! by itself ([`alua_multipath::PathTraits::host_repeats`]). The path is set running again before it is
//! next probed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use alua_host::discovery::{self, Unit};
use alua_host::hctl::Hctl;
use alua_host::sysfs::Sysfs;
use alua_host::uevent::UeventSocket;

use crate::device::{Device, Settings, StartError};

pub mod answer;
mod behind;
mod counters;
mod disk;
mod iscsi;
mod join;
mod leftover;
mod mark;
mod numa;
#[expect(unsafe_code, reason = "io_uring's memory, and an ioctl")]
mod ops;
mod path;
mod patience;
mod ring;
mod sockets;
mod watch;
mod worker;

pub use disk::DiskError;
pub use join::JoinError;
pub use watch::Watch;

use behind::{Behind, Claims};
use disk::read_number;
use join::{Asked, Asks, Finder, Joiner};
use mark::{Mark, MarkError};
use patience::{Next, Patience};
use ring::SharedRing;

/// How a unit of this machine is served.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Where sysfs is mounted.
    pub sys: PathBuf,
    /// Where the device nodes are.
    pub dev: PathBuf,
    /// Only these paths, now and later; all where it is empty.
    pub only: Vec<Hctl>,
    /// Choices and limits of the engine.
    pub config: alua_multipath::Config,
    /// The device takes no writes.
    pub read_only: bool,
    /// The folder for what the next server of the unit has to know if this one dies. It should be one
    /// that a reboot empties, and the same for every server.
    pub marks: PathBuf,
    /// Set, it ends the wait for the disks. It is looked at only during that wait.
    pub stop: Arc<AtomicBool>,
}

/// Why a unit is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No path can be used; why the last one cannot.
    #[error("no path can be used; the last one that was tried")]
    NoPath(#[source] JoinError),
    /// It has no paths.
    #[error("it has no path that is a disk")]
    NoDisk,
    /// A server of the unit lives, or one that was killed waits for the kernel to let it go.
    #[error("another server of the unit runs, or is being ended by the kernel")]
    Served,
    /// It was asked to stop before a path could be used.
    #[error("asked to stop before a path could be used")]
    Stopped,
    /// io_uring cannot be used.
    #[error("io_uring cannot be used (Linux 5.11 or later; see kernel.io_uring_disabled): {0}")]
    Ring(io::Error),
    /// The device was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No thread can be had.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Serves a unit that discovery found. The watch keeps the paths up to date until it is dropped,
/// which comes before [`Device::stop`].
///
/// # Errors
///
/// See [`ServeError`]. A path that cannot be used does not matter while another can.
pub fn serve(unit: &Unit, serve: Serve) -> Result<(Device, Watch), ServeError> {
    let Serve { sys, dev, only, config, read_only, marks, stop } = serve;
    // First, so that nothing that happens from now on is missed.
    let events = UeventSocket::open().inspect_err(|error| {
        tracing::warn!(%error, "paths that come and go are noticed late");
    });
    let (mark, inherits) = marked(unit, &marks)?;
    let found = unit.paths.iter().map(|path| path.device.hctl).collect();
    let finder = Finder { sysfs: Sysfs::at(&sys, dev), sys, name: unit.name, only, found };
    let claims = Claims::default();
    let opened = mark.as_ref().map(|mark| mark.opened_before()).unwrap_or_default();
    let doubt = mark.as_ref().is_some_and(|mark| mark.is_in_doubt());
    let behind = Behind::new(finder.clone(), claims.clone(), opened, doubt);
    let ring = SharedRing::new(behind, mark.clone()).map_err(ServeError::Ring)?;
    let joiner = Joiner { finder, read_only, ring: ring.clone(), claims, mark };
    let mut asks = Asks::new(joiner).map_err(ServeError::Thread)?;
    let joiner = Arc::clone(&asks.joiner);
    let mut device = None;
    let mut paths = BTreeMap::new();
    let mut last = None;
    let Some(answers) = ask_all(unit, &mut asks, &stop) else {
        unmark(&joiner, inherits);
        return Err(ServeError::Stopped);
    };
    for (path, said) in answers {
        let hctl = path.device.hctl;
        let joined = said.and_then(|asked| {
            let device = match &mut device {
                Some(device) => &*device,
                none => {
                    let mut settings = Settings::new(unit.name, unit.alua(), asked.geometry);
                    settings.config = config.clone();
                    settings.config.referrals = asked.referrals;
                    settings.inherits = inherits;
                    offers(&mut settings, &joiner, path, read_only);
                    let started = Device::start(settings, Box::new(ring.clone()));
                    &*none.insert(started.map_err(|error| {
                        JoinError::System(hctl.to_string(), io::Error::other(error))
                    })?)
                }
            };
            joiner.join(device, hctl, asked)
        });
        match joined {
            Ok(id) => {
                paths.insert(hctl, id);
            }
            Err(error) => {
                tracing::warn!(%hctl, %error, "not used as a path");
                last = Some(error);
            }
        }
    }
    match (device, paths.is_empty()) {
        (Some(device), false) => {
            let watch = Watch::start(device.clone(), asks, paths, events.ok());
            Ok((device, watch.map_err(ServeError::Thread)?))
        }
        _ => {
            unmark(&joiner, inherits);
            Err(last.map_or(ServeError::NoDisk, ServeError::NoPath))
        }
    }
}

/// Nothing was sent: what the next one inherits is what this one did.
fn unmark(joiner: &Joiner, inherits: bool) {
    if let Some(mark) = joiner.mark.as_ref().filter(|_| !inherits) {
        mark.clear();
    }
}

/// Marks the unit as served; whether an earlier server has not ended cleanly.
fn marked(unit: &Unit, folder: &Path) -> Result<(Option<Arc<Mark>>, bool), ServeError> {
    let Some(name) = unit.name else {
        tracing::warn!("the unit has no name: should this server die, the next one cannot know");
        return Ok((None, false));
    };
    match Mark::take(folder, &name.to_string()) {
        Ok((mark, inherits)) => {
            if inherits {
                tracing::warn!(
                    "the last server of the unit has not ended cleanly: what it sent is fenced off \
                     before anything runs"
                );
            }
            Ok((Some(Arc::new(mark)), inherits))
        }
        Err(MarkError::Taken) => Err(ServeError::Served),
        Err(error) => {
            tracing::warn!(
                folder = %folder.display(),
                %error,
                "should this server die, the next one cannot know"
            );
            Ok((None, false))
        }
    }
}

/// Asks the disks of the unit all at once. What does not answer soon after another one did is left to
/// the watch. `None` where it was asked to stop before one could be used.
fn ask_all<'a>(
    unit: &'a Unit,
    asks: &mut Asks,
    stop: &AtomicBool,
) -> Option<Vec<(&'a discovery::Path, Result<Asked, JoinError>)>> {
    let joiner = Arc::clone(&asks.joiner);
    let meant = |path: &&discovery::Path| joiner.finder.is_meant(path.device.hctl);
    let paths: Vec<&discovery::Path> = unit.paths.iter().filter(meant).collect();
    paths.iter().for_each(|path| asks.ask(path.device.hctl));
    let mut said = BTreeMap::new();
    let mut patience = Patience::new(Instant::now());
    while !asks.is_idle() {
        if stop.load(Ordering::SeqCst) {
            return None;
        }
        match patience.next(Instant::now()) {
            Next::Enough => break,
            Next::Say => {
                let late = paths.iter().filter(|path| asks.has(path.device.hctl));
                let names: Vec<String> = late.map(|path| name_of(path)).collect();
                tracing::warn!("{}", patience::words(&names));
            }
            Next::Wait(limit) => {
                if let Some((hctl, answer)) = asks.next(limit) {
                    if answer.is_ok() {
                        patience.answered(Instant::now());
                    }
                    said.insert(hctl, answer);
                }
            }
        }
    }
    let late = paths.iter().filter(|path| asks.has(path.device.hctl));
    late.for_each(|path| tracing::warn!(hctl = %path.device.hctl, "does not answer: no path yet"));
    let answer = |path: &'a discovery::Path| Some((path, said.remove(&path.device.hctl)?));
    Some(paths.into_iter().filter_map(answer).collect())
}

/// How people know the disk: its device and its address.
fn name_of(path: &discovery::Path) -> String {
    let hctl = path.device.hctl;
    let block = path.device.block.as_ref();
    block.map_or_else(|| hctl.to_string(), |block| format!("{} ({hctl})", block.name))
}

/// What the block layer offers on a path, the device offers.
fn offers(settings: &mut Settings, joiner: &Joiner, path: &discovery::Path, read_only: bool) {
    let Some(block) = &path.device.block else { return };
    let directory = joiner.finder.directory(path.device.hctl);
    let queue = directory.join("block").join(&block.name).join("queue");
    settings.discard = read_number(&queue.join("discard_max_bytes")).is_some_and(|most| most > 0);
    settings.read_only = read_only || block.read_only == Some(true);
}
