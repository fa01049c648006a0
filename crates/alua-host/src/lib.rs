//! The Linux shell of the ALUA driver: SCSI commands through `SG_IO`, SCSI disks and their paths
//! from sysfs, logical units found by page 83h, kernel uevents.
//!
//! Decisions are `alua-core`'s. This crate owns file descriptors, threads and time.
//!
//! | module | what |
//! |---|---|
//! | [`transport`] | the border: one path that carries SCSI commands, as a trait |
//! | [`sg`] | that trait over `/dev/sdX`, `/dev/sgN` and `/dev/bsg/H:C:T:L` |
//! | [`sysfs`] | SCSI devices, their nodes, states and holders; names resolved |
//! | [`uevent`] | what the kernel says by itself: devices added, removed, changed |
//! | [`discovery`] | from devices to logical units, with what is odd about them |
//! | [`driver`] | the shell that drives one logical unit of the core over its paths |
//! | [`ports`] | the ports of each group by the last report |
//!
//! `unsafe` is allowed in one place, `sg::abi`, where `SG_IO` is called.
#![deny(unsafe_code)]

pub mod discovery;
pub mod driver;
pub mod hctl;
pub mod ports;
pub mod sg;
pub mod sysfs;
pub mod transport;
pub mod uevent;
