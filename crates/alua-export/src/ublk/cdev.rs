//! The character device, through which the data of requests is copied.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use libublk::io::UblkDev;

/// A descriptor of our own for the open character device. It cannot be opened twice, so the one
/// that `libublk` has is duplicated.
pub(super) fn duplicate(device: &UblkDev) -> io::Result<File> {
    let descriptor = device.tgt.fds[0];
    // SAFETY: `fds[0]` is the raw number of `UblkDev`'s own open file, which `UblkDev` keeps until
    // it is dropped; it is set in its only constructor and never changed here. `device` is
    // borrowed for the whole of this function, and the borrowed descriptor does not leave it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(File::from(borrowed.try_clone_to_owned()?))
}
