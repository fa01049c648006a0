//! A logical unit as one running block device.
//!
//! [`alua_multipath`] decides, this crate carries out: one thread per unit owns an engine and its
//! paths, and sleeps until a request, a completion or a deadline is there. The device is an
//! [`alua_export::block::BlockDevice`], which the NBD server and ublk offer to others.
//!
//! # How to use it
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use alua_array::{Event, shipped};
//! use alua_device::model::{ModelArray, Serve};
//! use alua_export::block::BlockDevice;
//!
//! // A model array whose virtual time is real time from now on.
//! let array = ModelArray::start(shipped::DEMO.build());
//! // One device over all its paths to the unit `data0`.
//! let device = array.serve(&Serve::unit("data0"))?;
//! let events = device.listen()?;
//! let block: Arc<dyn BlockDevice> = Arc::new(device.clone());
//! assert_eq!(block.geometry().bytes, 1 << 30);
//!
//! // Things happen to the array while the device is in use.
//! array.apply(&Event::PortDown { port: 1, tasks: alua_array::LostTasks::Aborted })?;
//! let snapshot = device.snapshot()?;
//! for path in &snapshot.paths {
//!     println!("{}: {}", path.label, path.view.reason());
//! }
//! while let Ok(told) = events.try_recv() {
//!     println!("{:?} {}", told.at, told.text);
//! }
//! device.stop(Duration::from_secs(10))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read
//!
//! | module | holds |
//! |---|---|
//! | [`path`] | the border to whatever carries commands: [`path::PathIo`] |
//! | `shell` | the engine's thread: data, requests, time limits |
//! | `device` | its handle: [`Device`] |
//! | [`inherited`] | requests of an earlier, dead server: what is fenced off before they run |
//! | [`model`] | paths to the model array, in process |
//! | [`linux`] | paths that are SCSI disks of Linux |
#![deny(unsafe_code)]

mod device;
mod inbox;
pub mod inherited;
pub mod linux;
pub mod model;
mod naming;
pub mod path;
mod shell;
mod tell;

pub use device::{
    Device, Ended, JoinError, Knowledge, KnownPath, PathFacts, PathSnapshot, Settings, Snapshot,
    StartError, StopError, Told,
};
pub use inbox::{Back, InboxOnly, Quiet, Reactor};
pub use naming::file_name;
pub use tell::standing;
