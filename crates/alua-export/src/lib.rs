//! Offers a block device to others: as an NBD server, and as `/dev/ublkbN` behind the feature
//! `ublk`.
//!
//! | module | what |
//! |---|---|
//! | [`block`] | the border to whatever serves the blocks: [`block::BlockDevice`], requests that own their data, completions in any order; a device in memory, one on a file, one that is told what to do |
//! | [`nbd`] | the NBD protocol, fixed newstyle: negotiation and session without I/O, and the server with its sockets |
//! | [`ublk`] | `/dev/ublkbN`: requests of the kernel's driver as ours, and behind the feature the device itself |
//!
//! Both are [`Exported`]: a program that serves a device does not care by what.
//!
//! What is served is somebody else's business: this crate knows nothing of SCSI and paths.
#![deny(unsafe_code)]

pub mod block;
mod exported;
mod inbox;
pub mod nbd;
pub mod ublk;

pub use exported::{EndError, Exported, Totals};
