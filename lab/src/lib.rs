//! The lab's own code: scenarios, targets, and the comparison of what `alua` says with what others
//! say about the same disks. `README.md` beside this crate tells how the lab works.

pub mod answer;
pub mod block;
pub mod command;
pub mod facts;
pub mod failover;
pub mod kernel;
pub mod peers;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod sysfs;
pub mod target;
