//! What the SCSI layer counts of a disk's commands: the proof that one was never sent.
//!
//! The SCSI layer refuses a command for a disk that is offline or going away before the low-level driver
//! sees it, with EIO or ENODEV. That says nothing of the times before: what a lost link gave back is
//! queued to be sent again, is refused in the end, and its first copy may yet land in the target.
//!
//! To be queued again a command that was sent has to come back first, and both ways back are counted
//! for the disk, with whatever else happened to it: a completion with a result other than GOOD
//! (`ioerr_cnt`; linux drivers/scsi/scsi_lib.c, `scsi_complete`), and the time limit of the block layer
//! (`iotmo_cnt`; drivers/scsi/scsi_error.c, `scsi_timeout`), through which also comes what an error
//! handler takes back by itself. Both are counted before the command is queued again. **So where neither
//! count has moved between a moment before a read or write was given to the kernel and its end, none of
//! its commands was sent in vain**: each was carried out and has ended, or never left the host. Nothing of
//! it can land later. Where a count has moved, for whatever reason, nothing is known.
//!
//! The counts have to be those of the same device: one that is found again after it was deleted begins
//! anew, and so does one that the disk driver was unbound from and bound to (drivers/scsi/sd.c,
//! `sd_probe`). Both come with a new block device.
//!
//! A kernel that counts no time-outs (before Linux 6.2, unless its distribution added it) leaves it open.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::disk::read_hexadecimal;

/// Commands of a disk that did not just succeed, so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Troubles {
    /// See [`inode_of_block`].
    block: u64,
    errors: u64,
    timeouts: u64,
}

impl Troubles {
    /// Reads them in the SCSI device's directory of sysfs; `None` where one is not there.
    pub(super) fn count(directory: &Path, label: &str) -> Option<Self> {
        let number = |name| read_hexadecimal(&directory.join(name));
        let (errors, timeouts) = (number("ioerr_cnt")?, number("iotmo_cnt")?);
        let block = inode_of_block(directory, label)?;
        Some(Self { block, errors, timeouts })
    }
}

/// The inode number of a block device's directory, which sysfs gives to no other one until the host is
/// started again.
pub(super) fn inode_of_block(directory: &Path, label: &str) -> Option<u64> {
    Some(fs::metadata(directory.join("block").join(label)).ok()?.ino())
}
