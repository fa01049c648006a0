//! Targets that stand in the guest: set up, asked, changed, taken down.

mod iscsi;
pub mod lio;
pub mod scsi_debug;

use anyhow::Result;

use crate::facts::Statement;
use crate::scenario;

/// One path of one unit: where it is, whatever its device is called at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The unit's name in the scenario.
    pub unit: String,
    /// The target port, counted from 1.
    pub port: u16,
    /// Host, channel, target, LUN.
    pub hctl: String,
}

/// A target that stands.
#[derive(Debug)]
pub enum Target {
    /// The kernel's own target.
    Lio(lio::Lio),
    /// The kernel's test adapter.
    ScsiDebug(scsi_debug::ScsiDebug),
}

impl Target {
    /// Sets a target up and waits until its paths are there.
    ///
    /// # Errors
    ///
    /// The kernel refuses something.
    pub fn set_up(target: &scenario::Target) -> Result<Self> {
        match target {
            scenario::Target::Lio { fabric, ports, units } => {
                Ok(Self::Lio(lio::Lio::set_up(*fabric, *ports, units)?))
            }
            scenario::Target::ScsiDebug {} => Ok(Self::ScsiDebug(scsi_debug::ScsiDebug::set_up()?)),
        }
    }

    /// Every path.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        match self {
            Self::Lio(lio) => &lio.places,
            Self::ScsiDebug(scsi_debug) => &scsi_debug.places,
        }
    }

    /// What the target itself says of its groups and ports.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn statements(&self) -> Result<Vec<Statement>> {
        match self {
            Self::Lio(lio) => lio.statements(),
            Self::ScsiDebug(_) => Ok(Vec::new()),
        }
    }

    /// Takes the target down.
    ///
    /// # Errors
    ///
    /// Something stays.
    pub fn take_down() -> Result<()> {
        lio::Lio::take_down()?;
        scsi_debug::ScsiDebug::take_down()
    }
}
