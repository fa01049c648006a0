//! From a disk to a path: asked anew who it is and how large, each time.

use std::path::PathBuf;
use std::sync::Arc;

use alua_core::identity::{Identity, UnitName};
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::referrals::SegmentLayout;
use alua_host::discovery::{Options, Path, path_of, probe};
use alua_host::hctl::Hctl;
use alua_host::sg::{OpenError, SgDevice};
use alua_host::sysfs::{ScsiDevice, Sysfs};
use alua_multipath::{Geometry, PathId, PathTraits};

use super::disk::{Disk, DiskError};
use super::numa;
use super::path::LinuxPath;
use super::ring::SharedRing;
use super::worker::Worker;
use crate::device::{Device, JoinError as Refused, PathFacts};

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
    /// It does not belong to the unit.
    #[error("{0}: {1}")]
    Refused(String, Refused),
    /// No thread can be had.
    #[error("{0}: {1}")]
    System(String, std::io::Error),
}

/// What paths of one unit need to join.
pub(super) struct Joiner {
    pub(super) sysfs: Sysfs,
    pub(super) sys: PathBuf,
    pub(super) name: Option<UnitName>,
    /// Only these; all where it is empty.
    pub(super) only: Vec<Hctl>,
    pub(super) read_only: bool,
    pub(super) ring: SharedRing,
}

/// What a disk said of itself just now.
pub(super) struct Asked {
    identity: Identity,
    pub(super) geometry: Geometry,
    pub(super) referrals: Option<SegmentLayout>,
    found: Path,
    device: SgDevice,
    node: PathBuf,
    label: String,
}

impl Joiner {
    pub(super) fn is_there(&self, hctl: Hctl) -> bool {
        self.sysfs.device(hctl).is_some()
    }

    /// The disks that may belong to the unit, by what sysfs tells.
    pub(super) fn candidates(&self) -> Vec<Hctl> {
        let disks = self.sysfs.disks().unwrap_or_default();
        let may = |disk: &ScsiDevice| self.may_belong(disk);
        disks.iter().filter(|disk| may(disk)).map(|disk| disk.hctl).collect()
    }

    /// By the kernel's copy of page 83h, which is good enough to pass a disk over.
    fn may_belong(&self, disk: &ScsiDevice) -> bool {
        let page = disk.page_83h.as_deref().and_then(|page| DeviceIdentification::new(page).ok());
        let name = page.and_then(|page| Identity::from_page(&page).ok()).and_then(|it| it.name);
        let ours = name.is_none() || self.name.is_none() || name == self.name;
        ours && (self.only.is_empty() || self.only.contains(&disk.hctl))
    }

    /// Asks a disk who it is.
    pub(super) fn ask(&self, hctl: Hctl) -> Result<Asked, JoinError> {
        let disk = self.sysfs.device(hctl).ok_or(JoinError::Missing(hctl))?;
        let block = disk.block.as_ref().ok_or(JoinError::Missing(hctl))?;
        let (label, node) = (block.name.clone(), self.sysfs.dev().join(&block.name));
        let mut device = SgDevice::open(&node)?;
        let silent = |what| JoinError::Silent(label.clone(), what);
        let (says, _) = probe(&mut device, true, &Options::default());
        let says = says.map_err(|_| silent("standard INQUIRY data"))?;
        let page = says.page_83h.as_deref().ok_or_else(|| silent("page 83h"))?;
        let page = DeviceIdentification::new(page).map_err(|_| silent("a page 83h that is one"))?;
        let identity =
            Identity::from_page(&page).map_err(|_| silent("a page 83h without contradiction"))?;
        let capacity = says.capacity.ok_or_else(|| silent("its capacity"))?;
        let geometry = Geometry { blocks: capacity.blocks, block_size: capacity.block_length };
        let referrals = says.referrals;
        let found = path_of(disk, says).ok_or_else(|| silent("a logical unit"))?;
        Ok(Asked { identity, geometry, referrals, found, device, node, label })
    }

    /// Makes a path of a disk; `None` for one of another unit.
    pub(super) fn join(&self, device: &Device, hctl: Hctl) -> Result<Option<PathId>, JoinError> {
        let disk = self.sysfs.device(hctl).ok_or(JoinError::Missing(hctl))?;
        if !self.may_belong(&disk) {
            return Ok(None);
        }
        let asked = self.ask(hctl)?;
        self.join_asked(device, hctl, asked).map(Some)
    }

    pub(super) fn join_asked(
        &self,
        device: &Device,
        hctl: Hctl,
        asked: Asked,
    ) -> Result<PathId, JoinError> {
        let Asked { identity, geometry, found, device: scsi, node, label, .. } = asked;
        let size = geometry.block_size;
        let disk = Disk::open(&node, &label, hctl, &self.sys, size, self.read_only)?;
        let disk = Arc::new(disk);
        let worker =
            Worker::start(&disk, scsi).map_err(|error| JoinError::System(label.clone(), error))?;
        let distance = numa::distance(&self.sys, hctl);
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
