//! What the kernel's SCSI layer says, and the doors it opens: scan, rescan, delete.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::facts::{self, Statement, Statements};
use crate::target::Place;

/// How long the kernel may take to show a disk.
const APPEAR: Duration = Duration::from_secs(20);

fn device(hctl: &str) -> PathBuf {
    Path::new("/sys/bus/scsi/devices").join(hctl)
}

/// Writes to a file of sysfs or configfs.
///
/// # Errors
///
/// The kernel refuses the value: the message holds both.
pub fn write(file: &Path, value: &str) -> Result<()> {
    fs::write(file, value).with_context(|| format!("cannot write {value:?} to {}", file.display()))
}

/// Reads a file of sysfs or configfs, without space at its ends.
///
/// # Errors
///
/// It cannot be read.
pub fn read(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.trim().to_owned())
}

/// The disk's name (`sda`) at an address, if the disk is there.
#[must_use]
pub fn disk(hctl: &str) -> Option<String> {
    let mut entries = fs::read_dir(device(hctl).join("block")).ok()?;
    let name = entries.next()?.ok()?.file_name();
    Some(name.to_string_lossy().into_owned())
}

/// The disk's name at an address.
///
/// # Errors
///
/// There is none.
pub fn need_disk(hctl: &str) -> Result<String> {
    disk(hctl).with_context(|| format!("no disk at {hctl}"))
}

/// Waits for a disk and its device node.
///
/// # Errors
///
/// It does not come.
pub fn wait_for_device(hctl: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        if disk(hctl).is_some_and(|name| Path::new("/dev").join(name).exists()) {
            return Ok(());
        }
        if start.elapsed() > APPEAR {
            bail!("no disk came at {hctl}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The SCSI hosts that a driver made, by number.
///
/// # Errors
///
/// sysfs cannot be read.
pub fn hosts_of(driver: &str) -> Result<Vec<u32>> {
    let mut hosts = Vec::new();
    for entry in fs::read_dir("/sys/class/scsi_host")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("host").and_then(|number| number.parse().ok());
        if let Some(number) = number
            && read(&entry.path().join("proc_name"))? == driver
        {
            hosts.push(number);
        }
    }
    hosts.sort_unstable();
    Ok(hosts)
}

/// Lets the kernel read the VPD pages again; its device handler starts anew.
///
/// # Errors
///
/// The kernel refuses.
pub fn rescan(hctl: &str) -> Result<()> {
    write(&device(hctl).join("rescan"), "1")
}

/// Deletes a path.
///
/// # Errors
///
/// The kernel refuses.
pub fn delete(hctl: &str) -> Result<()> {
    write(&device(hctl).join("delete"), "1")
}

/// Brings a deleted path back, and lets the kernel read its pages once more: the stock handler of
/// 6.12 does not ask for the states of a path that joins a group which it knows already, and
/// `access_state` would stay at active/optimized until something else makes it ask.
///
/// # Errors
///
/// The kernel refuses, or the disk does not come.
pub fn scan(hctl: &str) -> Result<()> {
    look_for(hctl)?;
    wait_for_device(hctl)?;
    rescan(hctl)
}

/// Lets the kernel look for a path. It may find one without a disk.
///
/// # Errors
///
/// The kernel refuses.
pub fn look_for(hctl: &str) -> Result<()> {
    let parts: Vec<&str> = hctl.split(':').collect();
    let [host, channel, target, _] = parts[..] else { bail!("{hctl} is no H:C:T:L") };
    let door = format!("/sys/class/scsi_host/host{host}/scan");
    // tcm_loop says that its hosts have no LUN above none, so a LUN by number is refused.
    write(Path::new(&door), &format!("{channel} {target} -"))
}

/// What sysfs states of one path. The access state is there only where a device handler is
/// attached.
///
/// # Errors
///
/// The disk is not there.
pub fn statements(place: &Place) -> Result<Vec<Statement>> {
    let disk = need_disk(&place.hctl)?;
    let device = device(&place.hctl);
    let path = facts::path(&place.unit, place.port);
    let mut said = Statements::by(format!("sysfs {disk}"));
    // These three have no value when there is no handler, or no page 83h.
    said.state_some(&path, "state", read(&device.join("access_state")).ok());
    let preferred = read(&device.join("preferred_path")).ok();
    said.state_some(&path, "preferred", preferred.map(|value| value == "1"));
    said.state_some(&place.unit, "name", read(&device.join("wwid")).ok());
    for (property, file) in [("vendor", "vendor"), ("product", "model"), ("revision", "rev")] {
        said.state(&place.unit, property, read(&device.join(file))?);
    }
    let block = device.join("block").join(&disk);
    let sectors: u64 = read(&block.join("size"))?.parse()?;
    // 0: READ CAPACITY found no live path when the kernel looked.
    said.state_some(&place.unit, "bytes", Some(sectors * 512).filter(|bytes| *bytes != 0));
    said.state(&place.unit, "bytes of a block", read(&block.join("queue/logical_block_size"))?);
    said.state(&path, "hctl", &place.hctl);
    Ok(said.into_vec())
}

/// Whether the kernel got page 83h from a path.
#[must_use]
pub fn has_page_83(hctl: &str) -> bool {
    fs::read(device(hctl).join("vpd_pg83")).is_ok_and(|page| !page.is_empty())
}
