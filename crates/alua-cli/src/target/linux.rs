//! The SCSI devices of this machine.

use std::path::PathBuf;
use std::sync::Arc;

use alua_core::identity::Identity;
use alua_core::spc::designator::DeviceIdentification;
use alua_host::discovery::{NodeOpener, Opener};
use alua_host::hctl::Hctl;
use alua_host::sysfs::{NameError, Named, ScsiDevice, Sysfs};

use crate::error::Error;

/// This machine.
pub(crate) struct Linux {
    sysfs: Sysfs,
}

impl Linux {
    pub(crate) fn new(sysfs: PathBuf, dev: PathBuf) -> Self {
        Self { sysfs: Sysfs::at(sysfs, dev) }
    }

    pub(crate) fn opener(&self) -> Arc<dyn Opener> {
        Arc::new(NodeOpener::new(self.sysfs.clone()))
    }

    /// All disks.
    pub(crate) fn devices(&self) -> Result<Vec<ScsiDevice>, Error> {
        Ok(self.sysfs.disks()?)
    }

    /// The disks that can belong to the unit that `query` names: by the kernel's copies of page
    /// 83h those with the same name as the device that was named, and those without a copy. All,
    /// where `query` is no device.
    pub(crate) fn devices_of(&self, query: &str) -> Result<Vec<ScsiDevice>, Error> {
        let mut devices = self.devices()?;
        let Ok(named) = self.resolve(query) else { return Ok(devices) };
        for hctl in &named {
            // Not a disk, but asked for by name.
            if devices.iter().all(|device| device.hctl != *hctl) {
                devices.extend(self.sysfs.device(*hctl));
            }
        }
        let is_named = |device: &ScsiDevice| named.contains(&device.hctl);
        let names: Vec<_> =
            devices.iter().filter(|device| is_named(device)).map(kernel_name).collect();
        if names.iter().all(Option::is_some) {
            devices.retain(|device| {
                let name = kernel_name(device);
                is_named(device) || name.is_none() || names.contains(&name)
            });
        }
        Ok(devices)
    }

    /// The one device that `name` stands for.
    pub(crate) fn device(&self, name: &str) -> Result<ScsiDevice, Error> {
        let missing = || NameError::Missing { name: name.to_owned() };
        match self.sysfs.resolve(name)? {
            Named::Device(hctl) => Ok(self.sysfs.device(hctl).ok_or_else(missing)?),
            Named::Map { block, name: map, paths } => {
                let map = map.unwrap_or(block);
                let paths: Vec<String> = paths
                    .into_iter()
                    .filter_map(|hctl| Some(self.sysfs.device(hctl)?.short_name()))
                    .collect();
                Err(Error::Usage(format!(
                    "{map} is a map over {} paths; name one of them: {}",
                    paths.len(),
                    paths.join(", ")
                )))
            }
        }
    }

    pub(crate) fn resolve(&self, name: &str) -> Result<Vec<Hctl>, Error> {
        Ok(match self.sysfs.resolve(name)? {
            Named::Device(hctl) => vec![hctl],
            Named::Map { paths, .. } => paths,
        })
    }
}

/// The name of the unit by the kernel's copy of page 83h.
fn kernel_name(device: &ScsiDevice) -> Option<String> {
    let page = DeviceIdentification::new(device.page_83h.as_deref()?).ok()?;
    Identity::from_page(&page).ok()?.name.map(|name| name.to_string())
}
