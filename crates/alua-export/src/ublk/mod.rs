//! A device as `/dev/ublkbN`, through the kernel's ublk driver.
//!
//! | module | what | I/O |
//! |---|---|---|
//! | [`request`] | the driver's requests as ours, outcomes as its results, and which requests an earlier server may have sent already | none |
//! | `device` (feature `ublk`) | the device: added, served, recovered, removed; `libublk` stays inside | all of it |
//!
//! # When a server dies
//!
//! The device is added with user recovery and re-issue. When its server dies, by `kill -9` too, the
//! kernel keeps the block device and holds its requests. A new server takes it over by
//! `Device::recover`; the kernel then gives it again what the dead one had not answered. Such a
//! request may have taken effect, and a command for it may still be on its way to the storage: it
//! carries [`Request::reissued`](crate::block::Request::reissued).
//!
//! # What a server has to mind
//!
//! A server must not mount, or share a mount namespace with anybody who mounts, the device that it
//! serves: on the way down it would wait for itself. Start it by `unshare --mount`.

pub mod request;

#[cfg(feature = "ublk")]
mod cdev;
#[cfg(feature = "ublk")]
mod device;
#[cfg(feature = "ublk")]
mod queue;

#[cfg(feature = "ublk")]
pub use device::{Config, Device, Features, UblkError, features};
