//! From SCSI devices to logical units: what each device says of itself, and which of them are paths
//! to the same unit.
//!
//! # Contract
//!
//! - The device is asked first: standard INQUIRY, the pages 00h, 80h and 83h, and READ CAPACITY
//!   where sysfs knows no size. The kernel's copies in sysfs stand in where the device cannot be
//!   asked or does not answer, and where both are there, a difference is a [`Finding`].
//! - No device stops another: what went wrong stands in [`Inventory::problems`] and in the findings
//!   of a path. Devices are probed in parallel by a bounded number of threads, and after
//!   [`Options::limit`] no more is waited for.
//! - Paths belong together when page 83h gives them the same name of a logical unit. A device
//!   without a name is a unit of its own: two of them are never taken for one.
//! - Only commands that change nothing are sent. They are repeated a bounded number of times after
//!   a unit attention or a busy status, never after a transport failure.

use std::time::Duration;

use alua_core::identity::UnitName;
use alua_core::spc::inquiry::StandardInquiry;
use alua_core::tpgs::{AluaOff, Managed};

use crate::sg::{OpenError, SgDevice};
use crate::sysfs::{ScsiDevice, Sysfs};
use crate::transport::Transport;

mod assemble;
mod finding;
mod pool;
mod probe;

pub use assemble::path_of;
pub use finding::{Finding, Problem, Step, StepError, Trouble, UnitFinding};
pub use probe::{Capacity, Probe, probe};

use alua_core::identity::Identity;

/// Opens the way to a SCSI device.
pub trait Opener: Send + Sync {
    /// A transport to `device`.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which says what to do about it.
    fn open(&self, device: &ScsiDevice) -> Result<Box<dyn Transport + Send>, OpenError>;
}

/// Opens device nodes: the block device where there is one, else bsg, else sg.
#[derive(Clone, Debug, Default)]
pub struct NodeOpener {
    sysfs: Sysfs,
}

impl NodeOpener {
    /// Opens the nodes under the `/dev` of `sysfs`.
    #[must_use]
    pub fn new(sysfs: Sysfs) -> Self {
        Self { sysfs }
    }
}

impl Opener for NodeOpener {
    fn open(&self, device: &ScsiDevice) -> Result<Box<dyn Transport + Send>, OpenError> {
        let mut first_error = None;
        for node in self.sysfs.nodes(device) {
            match SgDevice::open(&node) {
                Ok(open) => return Ok(Box::new(open)),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| OpenError::Missing {
            path: self.sysfs.dev().join(device.short_name()),
        }))
    }
}

/// How devices are probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The time that each command may take, in milliseconds. Default 10 s.
    pub command_timeout_ms: u32,
    /// The time after which no more devices are waited for. Default 60 s.
    pub limit: Duration,
    /// Threads, at most; one at least. Default 16.
    pub threads: usize,
    /// How often a command is repeated after a unit attention or a busy status. Default 5.
    pub repeats: u32,
    /// Before a repetition after a busy status. Default 100 ms.
    pub busy_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command_timeout_ms: 10_000,
            limit: Duration::from_secs(60),
            threads: 16,
            repeats: 5,
            busy_delay: Duration::from_millis(100),
        }
    }
}

/// Logical units, and what went wrong on the way to them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    /// The logical units, in the order of their first path.
    pub units: Vec<Unit>,
    /// Devices that could not be asked, or that said nothing that can be used. Such a device can be
    /// a path of a unit all the same, by the kernel's copies.
    pub problems: Vec<Problem>,
    /// Commands sent.
    pub commands: u64,
}

/// One logical unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Its name; `None` when page 83h gives none.
    pub name: Option<UnitName>,
    /// Its paths, by address. At least one.
    pub paths: Vec<Path>,
    /// What does not fit together.
    pub findings: Vec<UnitFinding>,
}

/// One path to a logical unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// The SCSI device, as sysfs shows it.
    pub device: ScsiDevice,
    /// Standard INQUIRY data.
    pub inquiry: StandardInquiry,
    /// What page 83h says; without content when there is no page that can be used.
    pub identity: Identity,
    /// Whether it takes part in ALUA.
    pub alua: Result<Managed, AluaOff>,
    /// The serial number of page 80h.
    pub serial: Option<String>,
    /// Page 83h, whole; empty when there is none.
    pub page_83h: Vec<u8>,
    /// Where INQUIRY data and page 83h come from.
    pub source: Source,
    /// The size of the unit as seen on this path.
    pub capacity: Option<Capacity>,
    /// What is odd about the path.
    pub findings: Vec<Finding>,
}

/// Where something was read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// From the device.
    Device,
    /// From the kernel's copy in sysfs, which can be old.
    Sysfs,
}

impl Unit {
    /// The capacity in bytes, by the first path that knows it.
    #[must_use]
    pub fn capacity(&self) -> Option<Capacity> {
        self.paths.iter().find_map(|path| path.capacity)
    }

    /// Whether the unit takes part in ALUA: if it does on any path, it does.
    ///
    /// # Errors
    ///
    /// Why it does not, by its first path.
    pub fn alua(&self) -> Result<Managed, AluaOff> {
        let mut off = AluaOff::NotSupported;
        for (index, path) in self.paths.iter().enumerate() {
            match path.alua {
                Ok(managed) => return Ok(managed),
                Err(why) if index == 0 => off = why,
                Err(_) => {}
            }
        }
        Err(off)
    }
}

/// Probes `devices` and groups them into logical units.
pub fn discover(
    devices: Vec<ScsiDevice>,
    opener: std::sync::Arc<dyn Opener>,
    options: &Options,
) -> Inventory {
    let probed = pool::probe_all(devices, opener, options);
    assemble::assemble(probed)
}
