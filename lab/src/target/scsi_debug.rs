//! The kernel's `scsi_debug` module as a target: one path to a unit with two groups, the path's own
//! and one that is unavailable and behind which there is nothing.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Place;
use crate::{command, sysfs};

/// A loaded `scsi_debug`.
#[derive(Debug)]
pub struct ScsiDebug {
    /// Its one path.
    pub places: Vec<Place>,
}

impl ScsiDebug {
    /// Loads the module. Only with `vpd_use_hostno=0` does it claim ALUA in INQUIRY data; a second
    /// host would be a second path to the same unit with other groups, which no array does.
    ///
    /// # Errors
    ///
    /// The module cannot be loaded, or its disk does not come.
    pub fn set_up() -> Result<Self> {
        let arguments = ["scsi_debug", "max_luns=1", "add_host=1", "vpd_use_hostno=0"];
        let output = command::run("modprobe", &arguments, command::LIMIT)?;
        ensure!(output.status == 0, "modprobe scsi_debug: {}", output.said());
        let mut places = Vec::new();
        for host in sysfs::hosts_of("scsi_debug")? {
            let hctl = format!("{host}:0:0:0");
            sysfs::wait_for_device(&hctl)?;
            places.push(Place { unit: "disk0".to_owned(), port: 1, hctl });
        }
        ensure!(places.len() == 1, "scsi_debug made {} hosts", places.len());
        Ok(Self { places })
    }

    /// Unloads the module, if it is loaded.
    ///
    /// # Errors
    ///
    /// It is in use.
    pub fn take_down() -> Result<()> {
        if Path::new("/sys/module/scsi_debug").exists() {
            let output = command::run("rmmod", &["scsi_debug"], command::LIMIT)?;
            ensure!(output.status == 0, "rmmod scsi_debug: {}", output.said());
        }
        Ok(())
    }
}
