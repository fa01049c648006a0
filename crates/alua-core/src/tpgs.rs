//! Whether a logical unit takes part in ALUA at all.

use core::fmt;

use crate::access::Tpgs;
use crate::identity::Identity;
use crate::spc::inquiry::TYPE_DISK;

/// How the asymmetric access of a logical unit that takes part is managed. Never [`Tpgs::None`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Managed(Tpgs);

impl Managed {
    /// Implicit, explicit or both.
    #[must_use]
    pub const fn tpgs(self) -> Tpgs {
        self.0
    }
}

/// Why a logical unit, or one path to it, takes no part in ALUA. The disk itself goes on without.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AluaOff {
    /// ALUA is for disks; TPGS on other devices has done more harm than good.
    NotDisk {
        /// PERIPHERAL DEVICE TYPE found.
        device_type: u8,
    },
    /// TPGS is 00b: the target has no asymmetric access, or a vendor's own.
    NotSupported,
    /// TPGS is 00b, and yet page 83h names a target port group: the target is misconfigured, or
    /// has a mode of its own that must be switched to ALUA.
    GroupWithoutTpgs {
        /// The target port group that page 83h names.
        group: u16,
    },
    /// TPGS is set, but page 83h could not be read.
    NoIdentification,
    /// TPGS is set, but page 83h names no target port group: the path belongs to none.
    NoGroup,
}

impl fmt::Display for AluaOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDisk { device_type } => {
                write!(f, "not a disk: peripheral device type is {device_type:02X}h")
            }
            Self::NotSupported => f.write_str("the target does not support ALUA: TPGS is 0"),
            Self::GroupWithoutTpgs { group } => write!(
                f,
                "TPGS is 0 although page 83h names target port group {group}: \
                 switch ALUA on in the array's settings for this host"
            ),
            Self::NoIdentification => {
                f.write_str("TPGS is set, but VPD page 83h could not be read: rescan the device")
            }
            Self::NoGroup => {
                f.write_str("TPGS is set, but VPD page 83h names no target port group")
            }
        }
    }
}

impl core::error::Error for AluaOff {}

/// Whether a device takes part, by its standard INQUIRY data alone: the low five bits of
/// `device_type` and TPGS.
///
/// # Errors
///
/// [`AluaOff::NotDisk`] or [`AluaOff::NotSupported`].
pub const fn evaluate(device_type: u8, tpgs: Tpgs) -> Result<Managed, AluaOff> {
    match (device_type & 0x1f, tpgs) {
        (TYPE_DISK, Tpgs::None) => Err(AluaOff::NotSupported),
        (TYPE_DISK, managed) => Ok(Managed(managed)),
        (device_type, _) => Err(AluaOff::NotDisk { device_type }),
    }
}

/// Whether a path takes part, by INQUIRY data and page 83h together; `None` where the page could
/// not be read. Gives the path's target port group too.
///
/// # Errors
///
/// Why not.
pub fn evaluate_path(
    device_type: u8,
    tpgs: Tpgs,
    identity: Option<&Identity>,
) -> Result<(Managed, u16), AluaOff> {
    let group = identity.and_then(|identity| identity.group);
    match (evaluate(device_type, tpgs), group) {
        (Ok(managed), Some(group)) => Ok((managed, group)),
        (Ok(_), None) if identity.is_none() => Err(AluaOff::NoIdentification),
        (Ok(_), None) => Err(AluaOff::NoGroup),
        (Err(AluaOff::NotSupported), Some(group)) => Err(AluaOff::GroupWithoutTpgs { group }),
        (Err(off), _) => Err(off),
    }
}
