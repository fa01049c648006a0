//! What sysfs tells about one SCSI device.

use std::fmt;
use std::path::Path;

use alua_core::access::AccessState;

use super::attribute;
use super::handler::HandlerView;
use super::nexus::Nexus;
use crate::hctl::Hctl;

/// One SCSI device of Linux: a path to a logical unit, with what sysfs knows of it. A value that the
/// kernel does not give (another kernel, no permission, gone in between) is `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScsiDevice {
    /// Its address.
    pub hctl: Hctl,
    /// The block device on it, when a disk driver has bound.
    pub block: Option<BlockDevice>,
    /// The name of its sg node: `sg3`.
    pub sg: Option<String>,
    /// The name of its bsg node: the address again, under `/dev/bsg`.
    pub bsg: Option<String>,
    /// The peripheral device type (0 is a disk).
    pub device_type: Option<u8>,
    /// Vendor identification.
    pub vendor: Option<String>,
    /// Product identification.
    pub model: Option<String>,
    /// Product revision level.
    pub revision: Option<String>,
    /// The state in which the SCSI mid layer holds the device.
    pub state: Option<DeviceState>,
    /// The access state that the kernel's device handler holds; `None` without a handler.
    pub access_state: Option<KernelAccessState>,
    /// The PREF bit that the kernel's device handler holds; `None` without a handler.
    pub preferred_path: Option<bool>,
    /// The attached device handler (`dh_state`); `None` when it is detached.
    pub device_handler: Option<String>,
    /// What the handler tells of the path and its unit besides; `None` where it tells nothing more.
    pub handler_view: Option<HandlerView>,
    /// The kernel's copy of standard INQUIRY data.
    pub inquiry: Option<Vec<u8>>,
    /// The kernel's copy of page 80h.
    pub page_80h: Option<Vec<u8>>,
    /// The kernel's copy of page 83h. It can be older than the device's.
    pub page_83h: Option<Vec<u8>>,
    /// The two ends of the path, as far as a transport class names them.
    pub nexus: Nexus,
}

/// The disk driver's side of a SCSI device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockDevice {
    /// `sda`.
    pub name: String,
    /// Major and minor number.
    pub number: Option<(u32, u32)>,
    /// Capacity in bytes.
    pub size: Option<u64>,
    /// Logical block length in bytes.
    pub block_length: Option<u32>,
    /// Whether the kernel treats it as write protected.
    pub read_only: Option<bool>,
    /// Block devices that stand on this one, dm-multipath maps among them.
    pub holders: Vec<Holder>,
}

/// A block device that stands on another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// `dm-3`, `md0`.
    pub name: String,
    /// The name of a device-mapper device: `mpatha`.
    pub map: Option<String>,
    /// The identifier of a device-mapper device. dm-multipath's begin with `mpath-`.
    pub uuid: Option<String>,
}

impl Holder {
    /// Whether it is a dm-multipath map.
    #[must_use]
    pub fn is_multipath(&self) -> bool {
        self.uuid.as_deref().is_some_and(|uuid| uuid.starts_with("mpath-"))
    }
}

/// `state` of a SCSI device (linux drivers/scsi/scsi_sysfs.c).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum DeviceState {
    /// Just allocated.
    Created,
    /// In use.
    Running,
    /// Being removed, may still finish I/O.
    Cancel,
    /// Removed.
    Deleted,
    /// Only special commands pass.
    Quiesce,
    /// Taken offline by error recovery or by hand.
    Offline,
    /// Offline because its remote port is lost.
    TransportOffline,
    /// Commands are held back (remote port lost for the moment).
    Blocked,
    /// Blocked before it was set up.
    CreatedBlocked,
    /// A word that this program does not know.
    Other(String),
}

impl DeviceState {
    /// The state that the kernel writes as `word`.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "created" => Self::Created,
            "running" => Self::Running,
            "cancel" => Self::Cancel,
            "deleted" => Self::Deleted,
            "quiesce" => Self::Quiesce,
            "offline" => Self::Offline,
            "transport-offline" => Self::TransportOffline,
            "blocked" => Self::Blocked,
            "created-blocked" => Self::CreatedBlocked,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The kernel's word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Cancel => "cancel",
            Self::Deleted => "deleted",
            Self::Quiesce => "quiesce",
            Self::Offline => "offline",
            Self::TransportOffline => "transport-offline",
            Self::Blocked => "blocked",
            Self::CreatedBlocked => "created-blocked",
            Self::Other(word) => word,
        }
    }

    /// Whether a command sent now would be carried. A blocked device holds it back, for as long as
    /// the transport's timers let it.
    #[must_use]
    pub fn takes_commands(&self) -> bool {
        matches!(self, Self::Running | Self::Created | Self::Quiesce | Self::Other(_))
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// `access_state` of a SCSI device.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum KernelAccessState {
    /// A state of SPC.
    Known(AccessState),
    /// A word that this program does not know.
    Other(String),
}

impl fmt::Display for KernelAccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(state) => state.fmt(f),
            Self::Other(word) => f.pad(word),
        }
    }
}

impl ScsiDevice {
    /// A disk that runs and of which no more is known.
    #[must_use]
    pub fn running(hctl: Hctl, block: BlockDevice) -> Self {
        Self {
            hctl,
            block: Some(block),
            state: Some(DeviceState::Running),
            sg: None,
            bsg: None,
            device_type: None,
            vendor: None,
            model: None,
            revision: None,
            access_state: None,
            preferred_path: None,
            device_handler: None,
            handler_view: None,
            inquiry: None,
            page_80h: None,
            page_83h: None,
            nexus: Nexus::default(),
        }
    }

    /// The block device's name where there is one, else the sg node's, else the address.
    #[must_use]
    pub fn short_name(&self) -> String {
        match (&self.block, &self.sg) {
            (Some(block), _) => block.name.clone(),
            (None, Some(sg)) => sg.clone(),
            (None, None) => self.hctl.to_string(),
        }
    }

    /// The nodes under `/dev` that take SCSI commands for it, best first. sg is the last: a signal
    /// that stops the process, or whose handler restarts system calls, makes its `SG_IO` send the
    /// command once more. Block devices and bsg wait without letting a signal in.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        let sg = self.sg.clone();
        let bsg = self.bsg.as_ref().map(|name| format!("bsg/{name}"));
        let block = self.block.as_ref().map(|block| block.name.clone());
        [block, bsg, sg].into_iter().flatten().collect()
    }

    /// The holders of the block device that are dm-multipath maps.
    pub fn multipath_maps(&self) -> impl Iterator<Item = &Holder> {
        self.block.iter().flat_map(|block| &block.holders).filter(|holder| holder.is_multipath())
    }
}

/// Reads the device whose directory (not a link) is `directory`.
pub(super) fn read(sysfs: &Path, directory: &Path, hctl: Hctl) -> ScsiDevice {
    let text = |name: &str| attribute::text(&directory.join(name));
    let child = |class: &str| attribute::names(&directory.join(class)).into_iter().next();
    ScsiDevice {
        hctl,
        block: child("block").map(|name| block(&directory.join("block").join(&name), name)),
        sg: child("scsi_generic"),
        bsg: child("bsg"),
        device_type: attribute::number(&directory.join("type")),
        vendor: text("vendor"),
        model: text("model"),
        revision: text("rev"),
        state: text("state").map(|word| DeviceState::from_word(&word)),
        access_state: text("access_state").map(|word| {
            AccessState::from_name(&word)
                .map_or(KernelAccessState::Other(word), KernelAccessState::Known)
        }),
        preferred_path: flag(&directory.join("preferred_path")),
        device_handler: text("dh_state").filter(|word| word != "detached"),
        handler_view: None,
        inquiry: attribute::bytes(&directory.join("inquiry")),
        page_80h: attribute::bytes(&directory.join("vpd_pg80")),
        page_83h: attribute::bytes(&directory.join("vpd_pg83")),
        nexus: Nexus::read(sysfs, directory, hctl.host),
    }
}

fn block(directory: &Path, name: String) -> BlockDevice {
    let number = attribute::text(&directory.join("dev")).and_then(|text| {
        let (major, minor) = text.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    // sysfs counts in units of 512 bytes, whatever the block length.
    let sectors: Option<u64> = attribute::number(&directory.join("size"));
    BlockDevice {
        name,
        number,
        size: sectors.and_then(|sectors| sectors.checked_mul(512)),
        block_length: attribute::number(&directory.join("queue/logical_block_size")),
        read_only: flag(&directory.join("ro")),
        holders: attribute::names(&directory.join("holders"))
            .into_iter()
            .map(|name| {
                let dm = directory.join("holders").join(&name).join("dm");
                Holder {
                    map: attribute::text(&dm.join("name")),
                    uuid: attribute::text(&dm.join("uuid")),
                    name,
                }
            })
            .collect(),
    }
}

fn flag(path: &Path) -> Option<bool> {
    match attribute::text(path)?.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}
