//! SCSI devices as sysfs shows them, and the names by which a person calls one.
//!
//! # Contract
//!
//! - No command is sent to any device, and nothing is written.
//! - A device that goes away while it is read gives a record with less in it, or none.
//! - sysfs and `/dev` can stand elsewhere ([`Sysfs::at`]): a test's directory, the root file system
//!   of a container's host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::hctl::Hctl;

mod attribute;
mod device;
mod handler;
mod nexus;

pub use device::{BlockDevice, DeviceState, Holder, KernelAccessState, ScsiDevice};
pub use handler::{
    HandlerCounters, HandlerGroup, HandlerPath, HandlerUnit, HandlerView, handler_units,
};
pub use nexus::{Nexus, TargetEnd};

/// sysfs and `/dev`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sysfs {
    sys: PathBuf,
    dev: PathBuf,
}

impl Default for Sysfs {
    fn default() -> Self {
        Self::at("/sys", "/dev")
    }
}

/// How many device-mapper devices may stand on each other before the search for paths ends.
const MAP_DEPTH: u32 = 8;

/// What a name stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// A SCSI device.
    Device(Hctl),
    /// A device-mapper device on top of SCSI devices.
    Map {
        /// `dm-3`.
        block: String,
        /// `mpatha`.
        name: Option<String>,
        /// The SCSI devices below it.
        paths: Vec<Hctl>,
    },
}

/// Why a name stands for no SCSI device.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// Nothing has that name.
    #[error("{name}: there is no such device")]
    Missing {
        /// The name as given.
        name: String,
    },
    /// A partition.
    #[error("{name}: a partition; name its disk, {disk}")]
    Partition {
        /// The name as given.
        name: String,
        /// The disk.
        disk: String,
    },
    /// A device that is no SCSI device.
    #[error("{name}: not a SCSI device (the kernel knows {kernel_name}, but not as one)")]
    NotScsi {
        /// The name as given.
        name: String,
        /// The name that the kernel gives it.
        kernel_name: String,
    },
    /// The kernel's SCSI tree is not there or cannot be read.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
}

/// The tree of SCSI devices cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {source}", path.display())]
pub struct SysfsError {
    /// The directory.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl Sysfs {
    /// sysfs mounted at `sys`, device nodes under `dev`.
    #[must_use]
    pub fn at(sys: impl Into<PathBuf>, dev: impl Into<PathBuf>) -> Self {
        Self { sys: sys.into(), dev: dev.into() }
    }

    /// The directory of the device nodes.
    #[must_use]
    pub fn dev(&self) -> &Path {
        &self.dev
    }

    /// The addresses of all SCSI devices (disks and others), in order. A kernel without SCSI, or
    /// without any SCSI host, has none.
    ///
    /// # Errors
    ///
    /// [`SysfsError`] when the tree is there and cannot be read, or sysfs itself is missing.
    pub fn addresses(&self) -> Result<Vec<Hctl>, SysfsError> {
        let directory = self.devices();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_mounted() => {
                return Ok(Vec::new());
            }
            Err(source) => return Err(SysfsError { path: directory, source }),
        };
        // Hosts and targets stand in the same directory: their names are no addresses.
        let mut found: Vec<Hctl> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// What sysfs tells about the device at `hctl`; `None` when it is not there.
    #[must_use]
    pub fn device(&self, hctl: Hctl) -> Option<ScsiDevice> {
        let mut device = self.device_by_itself(hctl)?;
        if device.device_handler.is_some() {
            device.handler_view = handler::read(&self.sys).remove(&hctl);
        }
        Some(device)
    }

    /// The device without what its handler tells in a file about all devices.
    fn device_by_itself(&self, hctl: Hctl) -> Option<ScsiDevice> {
        let directory = fs::canonicalize(self.devices().join(hctl.to_string())).ok()?;
        Some(device::read(&self.sys, &directory, hctl))
    }

    /// All SCSI devices that are disks by their peripheral device type (0: disk, 14h: host managed
    /// zoned disk), or whose type sysfs does not tell.
    ///
    /// # Errors
    ///
    /// As [`addresses`](Self::addresses).
    pub fn disks(&self) -> Result<Vec<ScsiDevice>, SysfsError> {
        let mut disks = self.all()?;
        disks.retain(|device| matches!(device.device_type, None | Some(0x00 | 0x14)));
        Ok(disks)
    }

    /// All SCSI devices.
    ///
    /// # Errors
    ///
    /// As [`addresses`](Self::addresses).
    pub fn all(&self) -> Result<Vec<ScsiDevice>, SysfsError> {
        let addresses = self.addresses()?.into_iter();
        let mut all: Vec<_> = addresses.filter_map(|hctl| self.device_by_itself(hctl)).collect();
        let mut views = handler::read(&self.sys);
        for device in &mut all {
            device.handler_view = views.remove(&device.hctl);
        }
        Ok(all)
    }

    /// The nodes, best first, through which commands go to `device`; those that are there.
    #[must_use]
    pub fn nodes(&self, device: &ScsiDevice) -> Vec<PathBuf> {
        let all = device.nodes().into_iter().map(|name| self.dev.join(name));
        all.filter(|node| node.exists()).collect()
    }

    /// What `name` stands for: an address (`2:0:0:1`), a kernel name (`sda`, `sg3`, `dm-0`), or any
    /// path to a device node, links as under `/dev/disk/by-id` and `/dev/mapper` included.
    ///
    /// # Errors
    ///
    /// [`NameError`], which says what the name stands for instead.
    pub fn resolve(&self, name: &str) -> Result<Named, NameError> {
        if let Ok(hctl) = name.parse::<Hctl>() {
            return if self.devices().join(name).exists() {
                Ok(Named::Device(hctl))
            } else {
                Err(NameError::Missing { name: name.to_owned() })
            };
        }
        let kernel_name = self.kernel_name(name)?;
        if let Ok(hctl) = kernel_name.parse::<Hctl>() {
            // A bsg node.
            return Ok(Named::Device(hctl));
        }
        for class in ["block", "scsi_generic"] {
            let entry = self.sys.join("class").join(class).join(&kernel_name);
            if entry.exists() {
                return self.class_device(name, kernel_name, &entry);
            }
        }
        Err(NameError::NotScsi { name: name.to_owned(), kernel_name })
    }

    fn class_device(
        &self,
        name: &str,
        kernel_name: String,
        entry: &Path,
    ) -> Result<Named, NameError> {
        if entry.join("partition").exists() {
            let disk = fs::canonicalize(entry)
                .ok()
                .and_then(|path| Some(path.parent()?.file_name()?.to_str()?.to_owned()))
                .unwrap_or_default();
            return Err(NameError::Partition { name: name.to_owned(), disk });
        }
        if entry.join("dm").exists() {
            let mut paths = Vec::new();
            self.paths_below(entry, MAP_DEPTH, &mut paths);
            paths.sort_unstable();
            paths.dedup();
            let map = attribute::text(&entry.join("dm/name"));
            return Ok(Named::Map { block: kernel_name, name: map, paths });
        }
        match self.owner(entry) {
            Some(hctl) => Ok(Named::Device(hctl)),
            None => Err(NameError::NotScsi { name: name.to_owned(), kernel_name }),
        }
    }

    /// Adds the SCSI devices below a device-mapper device: a partition or a volume of a map stands
    /// on the map.
    fn paths_below(&self, entry: &Path, depth: u32, paths: &mut Vec<Hctl>) {
        let slaves = entry.join("slaves");
        for slave in attribute::names(&slaves).into_iter().map(|name| slaves.join(name)) {
            match self.owner(&slave) {
                Some(hctl) => paths.push(hctl),
                None if depth > 0 => self.paths_below(&slave, depth - 1, paths),
                None => {}
            }
        }
    }

    /// The SCSI device to which a class device belongs.
    fn owner(&self, entry: &Path) -> Option<Hctl> {
        let hctl: Hctl = attribute::link_name(&entry.join("device"))?.parse().ok()?;
        self.devices().join(hctl.to_string()).exists().then_some(hctl)
    }

    /// The kernel's name of what `name` means: itself, or that of the node to which it leads.
    fn kernel_name(&self, name: &str) -> Result<String, NameError> {
        let missing = || NameError::Missing { name: name.to_owned() };
        let node = if name.contains('/') { PathBuf::from(name) } else { self.dev.join(name) };
        if let Ok(node) = fs::canonicalize(&node) {
            if let Some(kernel_name) = self.name_by_number(&node) {
                return Ok(kernel_name);
            }
            let last = node.file_name().and_then(|last| last.to_str()).ok_or_else(missing)?;
            return Ok(last.to_owned());
        }
        // No node (a container without it, udev not there yet): the kernel may know the name.
        let known = ["block", "scsi_generic"]
            .iter()
            .any(|class| self.sys.join("class").join(class).join(name).exists());
        if known && !name.contains('/') { Ok(name.to_owned()) } else { Err(missing()) }
    }

    /// The kernel's name of a device node, by its number: the node may be called anything.
    fn name_by_number(&self, node: &Path) -> Option<String> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};

        let metadata = fs::metadata(node).ok()?;
        let kind = metadata.file_type();
        let directory = if kind.is_block_device() {
            "block"
        } else if kind.is_char_device() {
            "char"
        } else {
            return None;
        };
        let (major, minor) =
            (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        attribute::link_name(&self.sys.join("dev").join(directory).join(format!("{major}:{minor}")))
    }

    fn devices(&self) -> PathBuf {
        self.sys.join("bus/scsi/devices")
    }

    fn is_mounted(&self) -> bool {
        self.sys.join("bus").exists() || self.sys.join("class").exists()
    }
}
