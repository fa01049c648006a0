//! From a disk to a path: asked anew who it is and how large, each time.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use alua_core::identity::{Identity, UnitName};
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::referrals::SegmentLayout;
use alua_host::discovery::{Options, Path, path_of, probe};
use alua_host::hctl::Hctl;
use alua_host::sg::{OpenError, SgDevice};
use alua_host::sysfs::{ScsiDevice, Sysfs, SysfsError};
use alua_multipath::{Geometry, PathId, PathTraits};
use rustix::event::{EventfdFlags, eventfd};

use super::behind::{Claims, is_free};
use super::counters::inode_of_block;
use super::disk::{Disk, DiskError};
use super::mark::Mark;
use super::numa;
use super::path::LinuxPath;
use super::ring::SharedRing;
use super::worker::Worker;
use crate::device::{Device, JoinError as Refused, PathFacts};

/// So often a disk is tried that is in use, and after such a pause.
const BUSY_TRIES: usize = 3;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Why a disk is not a path.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It has no node, or sysfs does not show it.
    #[error("{0}: there is no such disk")]
    Missing(Hctl),
    /// SCSI commands cannot be sent.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be used for data.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It does not say who it is, or how large.
    #[error("{0}: it does not tell {1}")]
    Silent(String, &'static str),
    /// It belongs to another unit.
    #[error("{0}: it leads to another unit")]
    Stranger(String),
    /// It does not belong to the unit.
    #[error("{0}: {1}")]
    Refused(String, Refused),
    /// No thread can be had.
    #[error("{0}: {1}")]
    System(String, io::Error),
}

/// Where the disks of a unit are found.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    pub(super) sysfs: Sysfs,
    pub(super) sys: PathBuf,
    pub(super) name: Option<UnitName>,
    /// Only these; all where it is empty.
    pub(super) only: Vec<Hctl>,
    /// The disks that discovery found.
    pub(super) found: Vec<Hctl>,
}

impl Finder {
    pub(super) fn sys(&self) -> &std::path::Path {
        &self.sys
    }

    /// Of the SCSI device in sysfs.
    pub(super) fn directory(&self, hctl: Hctl) -> PathBuf {
        self.sys.join("bus/scsi/devices").join(hctl.to_string())
    }

    pub(super) fn node(&self, label: &str) -> PathBuf {
        self.sysfs.dev().join(label)
    }

    pub(super) fn is_meant(&self, hctl: Hctl) -> bool {
        self.only.is_empty() || self.only.contains(&hctl)
    }

    /// All disks of the unit, by what sysfs tells and discovery found, with their names.
    pub(super) fn disks(&self) -> Result<Vec<(Hctl, String)>, SysfsError> {
        let disks = self.sysfs.disks()?;
        let ours = disks.iter().filter(|disk| self.is_ours(disk));
        Ok(ours.filter_map(|disk| Some((disk.hctl, disk.block.as_ref()?.name.clone()))).collect())
    }

    fn is_ours(&self, disk: &ScsiDevice) -> bool {
        let named = self.name.is_some() && name_of(disk) == self.name;
        named || self.found.contains(&disk.hctl)
    }

    /// By the kernel's copy of page 83h, which is good enough to pass a disk over.
    fn may_belong(&self, disk: &ScsiDevice) -> bool {
        let name = name_of(disk);
        let ours = name.is_none() || self.name.is_none() || name == self.name;
        ours && self.is_meant(disk.hctl)
    }
}

/// By the kernel's copy of page 83h.
fn name_of(disk: &ScsiDevice) -> Option<UnitName> {
    let page = DeviceIdentification::new(disk.page_83h.as_deref()?).ok()?;
    Identity::from_page(&page).ok()?.name
}

/// What paths of one unit need to join.
pub(super) struct Joiner {
    pub(super) finder: Finder,
    pub(super) read_only: bool,
    pub(super) ring: SharedRing,
    pub(super) claims: Claims,
    pub(super) mark: Option<Arc<Mark>>,
}

/// What a disk said of itself just now; it is open.
pub(super) struct Asked {
    identity: Identity,
    pub(super) geometry: Geometry,
    pub(super) referrals: Option<SegmentLayout>,
    found: Path,
    disk: Disk,
    device: SgDevice,
}

impl Asked {
    /// Whether the disk has not gone meanwhile. Another one may have its address.
    pub(super) fn is_there(&self) -> bool {
        self.disk.is_there()
    }
}

impl Joiner {
    pub(super) fn is_there(&self, hctl: Hctl) -> bool {
        self.finder.sysfs.device(hctl).is_some()
    }

    /// The disks that may belong to the unit, by what sysfs tells.
    pub(super) fn candidates(&self) -> Vec<Hctl> {
        let disks = self.finder.sysfs.disks().unwrap_or_default();
        disks.iter().filter(|disk| self.finder.may_belong(disk)).map(|disk| disk.hctl).collect()
    }

    /// Whether the disk is known to belong to the unit.
    pub(super) fn is_ours(&self, hctl: Hctl) -> bool {
        self.finder.sysfs.device(hctl).is_some_and(|disk| self.finder.is_ours(&disk))
    }

    /// Whether the disk may belong to the unit, by what sysfs tells; an error where it is not there.
    pub(super) fn may_belong(&self, hctl: Hctl) -> Result<bool, JoinError> {
        let disk = self.finder.sysfs.device(hctl).ok_or(JoinError::Missing(hctl))?;
        Ok(self.finder.may_belong(&disk))
    }

    /// Asks a disk who it is, and opens it. It waits for the disk.
    fn ask(&self, hctl: Hctl) -> Result<Asked, JoinError> {
        let disk = self.finder.sysfs.device(hctl).ok_or(JoinError::Missing(hctl))?;
        let block = disk.block.as_ref().ok_or(JoinError::Missing(hctl))?;
        let (label, node) = (block.name.clone(), self.finder.node(&block.name));
        self.set_running(hctl, &label, &node);
        let mut device = SgDevice::open(&node)?;
        let silent = |what| JoinError::Silent(label.clone(), what);
        let (says, _) = probe(&mut device, true, &Options::default());
        let says = says.map_err(|_| silent("standard INQUIRY data"))?;
        let page = says.page_83h.as_deref().ok_or_else(|| silent("page 83h"))?;
        let page = DeviceIdentification::new(page).map_err(|_| silent("a page 83h that is one"))?;
        let identity =
            Identity::from_page(&page).map_err(|_| silent("a page 83h without contradiction"))?;
        if self.finder.name.is_some() && identity.name != self.finder.name {
            return Err(JoinError::Stranger(label));
        }
        let capacity = says.capacity.ok_or_else(|| silent("its capacity"))?;
        let geometry = Geometry { blocks: capacity.blocks, block_size: capacity.block_length };
        let referrals = says.referrals;
        let found = path_of(disk, says).ok_or_else(|| silent("a logical unit"))?;
        let disk = self.open(&node, &label, hctl, geometry.block_size)?;
        Ok(Asked { identity, geometry, referrals, found, disk, device })
    }

    /// Sets a disk running that an earlier server has set offline and left so, when nothing of it is
    /// under way there any more.
    fn set_running(&self, hctl: Hctl, label: &str, node: &std::path::Path) {
        let Some(mark) = &self.mark else { return };
        let directory = self.finder.directory(hctl);
        let left = |block: &u64| mark.is_left_offline(*block);
        let Some(block) = inode_of_block(&directory, label).filter(left) else { return };
        let state = std::fs::read_to_string(directory.join("state")).unwrap_or_default();
        if state.trim() == "offline" {
            if !is_free(node, &directory) {
                return;
            }
            tracing::info!(path = label, "an earlier server had set it offline: it is set running");
            if let Err(error) = std::fs::write(directory.join("state"), "running\n") {
                tracing::warn!(path = label, %error, "it cannot be set running");
                return;
            }
        }
        mark.forget_offline(block);
    }

    /// A disk that seems to be in use may just be looked at by us ([`is_free`]).
    fn open(
        &self,
        node: &std::path::Path,
        label: &str,
        hctl: Hctl,
        block_size: u32,
    ) -> Result<Disk, DiskError> {
        let (sys, mark) = (&self.finder.sys, &self.mark);
        let open = || Disk::open(node, label, hctl, sys, block_size, self.read_only, mark.clone());
        let mut disk = open();
        for _ in 0..BUSY_TRIES {
            if !matches!(disk, Err(DiskError::Busy(_))) {
                break;
            }
            thread::sleep(BUSY_PAUSE);
            disk = open();
        }
        let disk = disk?;
        if let Some(opened) = disk.opened() {
            self.claims.add(opened.block);
            if let Some(mark) = &self.mark {
                mark.note_opened(opened);
            }
        }
        Ok(disk)
    }

    /// Makes a path of a disk.
    pub(super) fn join(
        &self,
        device: &Device,
        hctl: Hctl,
        asked: Asked,
    ) -> Result<PathId, JoinError> {
        let Asked { identity, geometry, found, disk, device: scsi, .. } = asked;
        let label = disk.label.clone();
        let disk = Arc::new(disk);
        let worker =
            Worker::start(&disk, scsi).map_err(|error| JoinError::System(label.clone(), error))?;
        let distance = numa::distance(&self.finder.sys, hctl);
        let traits = PathTraits {
            abort_task: false,
            end_nexus: false,
            reset_unit: true,
            host_repeats: true,
            distance,
        };
        let found = Arc::new(found);
        let facts = PathFacts { label: label.clone(), identity, geometry, traits, found };
        let path = LinuxPath { disk, worker, ring: self.ring.clone() };
        let joined = device.add_path(facts, Box::new(path));
        joined.map_err(|error| JoinError::Refused(label, error))
    }
}

/// What a disk said, or why it did not.
type Said = (Hctl, Result<Asked, JoinError>);

/// Disks that are being asked, each on a thread of its own: one that does not answer keeps nobody.
pub(super) struct Asks {
    pub(super) joiner: Arc<Joiner>,
    open: BTreeSet<Hctl>,
    to: Sender<Said>,
    from: Receiver<Said>,
    /// Readable when an answer has come.
    bell: Arc<OwnedFd>,
}

impl Asks {
    pub(super) fn new(joiner: Joiner) -> io::Result<Self> {
        let (to, from) = channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { joiner: Arc::new(joiner), open: BTreeSet::new(), to, from, bell })
    }

    /// Asks a disk, unless it is being asked.
    pub(super) fn ask(&mut self, hctl: Hctl) {
        if !self.open.insert(hctl) {
            return;
        }
        let (joiner, to, bell) =
            (Arc::clone(&self.joiner), self.to.clone(), Arc::clone(&self.bell));
        let asker = thread::Builder::new().name(format!("ask {hctl}")).spawn(move || {
            // Nobody wants to know any more where this fails.
            let _ = to.send((hctl, joiner.ask(hctl)));
            let _ = rustix::io::write(&bell, &1_u64.to_ne_bytes());
        });
        if let Err(error) = asker {
            let _ = self.to.send((hctl, Err(JoinError::System(hctl.to_string(), error))));
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Whether the disk is being asked.
    pub(super) fn has(&self, hctl: Hctl) -> bool {
        self.open.contains(&hctl)
    }

    /// Whether no disk is being asked.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// The next answer, if one comes within that time.
    pub(super) fn next(&mut self, limit: Duration) -> Option<Said> {
        let said = self.from.recv_timeout(limit).ok()?;
        self.open.remove(&said.0);
        Some(said)
    }

    /// The next answer that is there.
    pub(super) fn take(&mut self) -> Option<Said> {
        // Before the look: an answer that comes later rings again.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let said = self.from.try_recv().ok()?;
        self.open.remove(&said.0);
        Some(said)
    }
}
