//! The ALUA driver core: everything a SCSI initiator must know and decide about asymmetric logical
//! unit access, without I/O, clock, threads or allocation.
#![no_std]
#![forbid(unsafe_code)]

pub mod access;
pub mod cause;
pub mod gate;
pub mod identity;
pub mod sense;
pub mod spc;
pub mod time;
pub mod tpgs;
pub mod unit;
