//! What discovery has to say beside the units.

use std::fmt;

use alua_core::access::Tpgs;
use alua_core::identity::{Identity, IdentityError};
use alua_core::spc::sense::Sense;
use alua_core::spc::{Status, WireError};
use alua_core::unit::AddPathError;

use super::Capacity;
use crate::hctl::Hctl;
use crate::sg::OpenError;
use crate::sysfs::DeviceState;
use crate::transport::TransportError;

/// A device that could not be asked, or that is no use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} ({hctl}): {trouble}")]
pub struct Problem {
    /// The device's address.
    pub hctl: Hctl,
    /// The name by which people call it: `sda`.
    pub name: String,
    /// What is the matter.
    pub trouble: Trouble,
}

/// What is the matter with a device.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// The mid layer holds its commands back or refuses them: it was not asked.
    #[error("not asked: its state is {0}")]
    State(DeviceState),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It did not answer a command that it must answer.
    #[error("{step}: {error}")]
    Failed {
        /// The command.
        step: Step,
        /// What happened.
        error: StepError,
    },
    /// It was not done with when the time for all devices was over.
    #[error("did not answer in the time that was given for all devices")]
    Late,
    /// The unit does not take it as a path.
    #[error("not taken as a path: {0}")]
    NotAdded(AddPathError),
    /// No logical unit is behind the address.
    #[error("no logical unit is there (peripheral qualifier {qualifier})")]
    NoUnit {
        /// PERIPHERAL QUALIFIER.
        qualifier: u8,
    },
}

/// What is read from a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Standard INQUIRY data.
    Inquiry,
    /// Page 00h: which pages there are.
    SupportedPages,
    /// Page 80h.
    UnitSerial,
    /// Page 83h.
    Identification,
    /// READ CAPACITY (16), or (10).
    Capacity,
    /// Page B3h.
    Referrals,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inquiry => "INQUIRY",
            Self::SupportedPages => "INQUIRY page 00h",
            Self::UnitSerial => "INQUIRY page 80h",
            Self::Identification => "INQUIRY page 83h",
            Self::Capacity => "READ CAPACITY",
            Self::Referrals => "INQUIRY page B3h",
        })
    }
}

/// Why a step gave nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepError {
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The device refused.
    #[error("{}", Refusal(*status, sense.as_ref()))]
    Refused {
        /// The status.
        status: Status,
        /// The sense data, where it can be read.
        sense: Option<Sense>,
    },
    /// The answer breaks its format.
    #[error("{0}")]
    Malformed(WireError),
    /// Page 00h does not list the page.
    #[error("the device does not list the page")]
    NotListed,
}

struct Refusal<'a>(Status, Option<&'a Sense>);

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(status, Some(sense)) => write!(f, "{status}, {sense}"),
            Self(status, None) => status.fmt(f),
        }
    }
}

/// Something odd about one path.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// The device's page 83h and the kernel's copy speak of different units or ports: the device
    /// changed and was not rescanned. The device's counts.
    IdentityDiffers {
        /// What the device says.
        device: Box<Identity>,
        /// What the kernel's copy says.
        sysfs: Box<Identity>,
    },
    /// The device's page 83h differs from the kernel's copy in something that does not matter here.
    PageDiffers,
    /// The kernel's copy of page 83h cannot be used, and the device's can.
    BadKernelCopy(PageError),
    /// The kernel has no copy of page 83h: its own ALUA handler cannot use this device.
    NoKernelCopy,
    /// Page 83h says nothing reliable.
    BadIdentification(PageError),
    /// Page 83h gives no name of a logical unit: the path cannot be joined with others.
    NoName,
    /// Something could not be read from the device.
    NotRead {
        /// What.
        step: Step,
        /// Why.
        error: StepError,
    },
    /// The kernel's copy of page 83h was used, since the device gave none.
    KernelCopyUsed,
}

/// What is wrong with a page 83h.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PageError {
    /// It is not whole.
    #[error("VPD page 83h: {0}")]
    Format(WireError),
    /// It contradicts itself.
    #[error(transparent)]
    Identity(IdentityError),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdentityDiffers { device, sysfs } => write!(
                f,
                "the device says it is {}, the kernel's copy of page 83h says {}: rescan the device",
                Who(device),
                Who(sysfs)
            ),
            Self::PageDiffers => f.write_str(
                "page 83h differs from the kernel's copy, though not in name, group or port",
            ),
            Self::BadKernelCopy(error) => {
                write!(f, "the kernel's copy of page 83h cannot be used: {error}")
            }
            Self::NoKernelCopy => f.write_str(
                "the kernel has no copy of page 83h, so its own ALUA handler cannot use the path: \
                 rescan the device",
            ),
            Self::BadIdentification(error) => error.fmt(f),
            Self::NoName => f.write_str("page 83h gives no name of the logical unit"),
            Self::NotRead { step, error } => write!(f, "{step}: {error}"),
            Self::KernelCopyUsed => {
                f.write_str("the kernel's copy of page 83h was used, which may be old")
            }
        }
    }
}

struct Who<'a>(&'a Identity);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.name {
            Some(name) => write!(f, "{name}")?,
            None => f.write_str("a unit without a name")?,
        }
        match self.0.group {
            Some(group) => write!(f, " in port group {group}")?,
            None => f.write_str(" in no port group")?,
        }
        match self.0.relative_port {
            Some(port) => write!(f, " at port {port}"),
            None => Ok(()),
        }
    }
}

/// Something that does not fit together among the paths of a unit.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UnitFinding {
    /// Two paths show different sizes: one of them was not rescanned, or they lead to two units.
    SizesDiffer {
        /// A path and its size.
        first: (Hctl, Capacity),
        /// Another path and its size.
        second: (Hctl, Capacity),
    },
    /// Two paths show different TPGS.
    TpgsDiffer {
        /// A path and its TPGS.
        first: (Hctl, Tpgs),
        /// Another path and its TPGS.
        second: (Hctl, Tpgs),
    },
    /// Two paths show different serial numbers under one name.
    SerialsDiffer {
        /// A path and its serial number.
        first: (Hctl, String),
        /// Another path and its serial number.
        second: (Hctl, String),
    },
}

impl fmt::Display for UnitFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SizesDiffer { first, second } => write!(
                f,
                "the size is {} bytes on {} and {} bytes on {}",
                first.1.bytes(),
                first.0,
                second.1.bytes(),
                second.0
            ),
            Self::TpgsDiffer { first, second } => {
                write!(f, "TPGS is {} on {} and {} on {}", first.1, first.0, second.1, second.0)
            }
            Self::SerialsDiffer { first, second } => write!(
                f,
                "one name, two serial numbers: {:?} on {} and {:?} on {}",
                first.1, first.0, second.1, second.0
            ),
        }
    }
}
