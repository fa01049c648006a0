//! The ALUA driver core: everything that a SCSI initiator must know and decide about asymmetric
//! logical unit access, without I/O, clock, threads or allocation.
//!
//! An array with several controllers gives a host several paths to one disk, and the paths are not
//! equal: each *target port group* has an *asymmetric access state* for each *logical unit*. This
//! crate learns the states (REPORT TARGET PORT GROUPS), asks for changes (SET TARGET PORT GROUPS),
//! understands what sense codes tell of them, and says which I/O may pass. A shell around it sends
//! the commands: a kernel module, a user-space multipath engine, the `alua` command, a simulator.
//!
//! # Where to start
//!
//! | module | holds |
//! |---|---|
//! | [`mod@unit`] | the logical unit: its groups, its paths, the refresh and the activation. The driver proper |
//! | [`sense`] | what each sense code means, in one table for every consumer |
//! | [`gate`] | what may go down a path in which state |
//! | [`mod@select`] | which path carries the next I/O |
//! | [`failover`] | what a failed I/O means for the request, the path and the blocks |
//! | [`tpgs`], [`identity`] | whether a device takes part, who it is, and in which group a path is |
//! | [`access`], [`cause`], [`time`] | the states, what they rest on, and the caller's clock |
//! | [`spc`] | the bytes: CDBs, INQUIRY, page 83h, RTPG, STPG, sense data, referrals; both directions |
//!
//! # For readers of the Linux kernel
//!
//! | `scsi_dh_alua` and the 2026 core-ALUA series | here |
//! |---|---|
//! | `alua_check_tpgs` | [`tpgs::evaluate`] |
//! | `alua_check_vpd`, `scsi_vpd_lun_id`, `scsi_vpd_tpg_id` | [`identity::Identity::from_page`] |
//! | `struct alua_port_group` | [`unit::Group`], owned by its [`unit::LogicalUnit`]; never shared |
//! | `struct alua_dh_data` | [`unit::Path`] |
//! | `alua_rtpg_queue` | [`unit::LogicalUnit::refresh`], and every `handle_*` that finds a reason |
//! | `alua_rtpg_work` | [`unit::LogicalUnit::poll_command`] and [`unit::LogicalUnit::poll_deadline`] |
//! | `submit_rtpg`, `submit_stpg`, `alua_tur` | [`unit::Command`], encoded by [`unit::Command::cdb`] |
//! | `alua_rtpg`, `alua_tur_work` | [`unit::LogicalUnit::handle_completion`], [`spc::target_port_groups::Report`] |
//! | `alua_stpg` | the activation: [`unit::LogicalUnit::set_states`] |
//! | `alua_activate`, `activate_complete` | [`unit::LogicalUnit::activate`], [`unit::Event::Activation`] |
//! | `alua_check_sense` | [`unit::LogicalUnit::handle_sense`], [`sense::meaning`] |
//! | `alua_prep_fn` | [`unit::LogicalUnit::gate`] |
//! | `sdev->access_state` | [`unit::LogicalUnit::access`], told by [`unit::Event::Path`] |
//! | `alua_bus_detach` | [`unit::LogicalUnit::remove_path`] |
//! | `optimize_stpg` | [`unit::Config::optimize`] |
//! | `ALUA_FAILOVER_TIMEOUT` | [`unit::Config::transition_ms`], and apart from it [`unit::Config::command_timeout_ms`] |
//! | `SCSI_DH_*` | nothing: [`unit::ActivationResult`] is typed, a kernel module maps it |
//!
//! # Contract
//!
//! No function panics, allocates, blocks or reads a clock, whatever a target sends. The storage is
//! the caller's; running out of it is an error value. Unsafe code is forbidden. The crate has no
//! dependency, so that it builds with plain `rustc` for a kernel object.
//!
//! # By hand
//!
//! ```
//! use alua_core::access::{AccessState, Tpgs};
//! use alua_core::spc::Status;
//! use alua_core::time::Time;
//! use alua_core::tpgs;
//! use alua_core::unit::{Config, Group, LogicalUnit, NewPath, Outcome, Path};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let managed = tpgs::evaluate(0, Tpgs::Both);
//! let places = ([Group::default(); 4], [Path::default(); 8]);
//! let mut unit = LogicalUnit::new(None, managed, Config::default(), places.0, places.1);
//! let path = unit.add_path(NewPath { group: Some(1), ..NewPath::default() }, Time::ZERO)?;
//!
//! // The refresh starts a moment later, so that the paths found together share it.
//! let now = unit.poll_deadline().unwrap();
//! let command = unit.poll_command(now).unwrap();
//! assert_eq!(command.cdb().as_bytes()[0], 0xa3);
//!
//! // A shell sends it down the path; this is what a target with one optimized group answers.
//! let data = [0, 0, 0, 16, 0x10, 60, 0, 0, 0x80, 0x03, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
//! let answer = Outcome::Answered { status: Status::Good, sense: &[], data: &data };
//! unit.handle_completion(command.id, &answer, now);
//!
//! assert_eq!(unit.access(path).state, Some(AccessState::ActiveOptimized));
//! assert_eq!(unit.transition_limit_ms(), 60_000);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/by_hand.rs` carries on from here: a failover by sense code, and an activation.
#![no_std]
#![forbid(unsafe_code)]

pub mod access;
pub mod cause;
pub mod failover;
pub mod gate;
pub mod identity;
pub mod select;
pub mod sense;
pub mod spc;
pub mod time;
pub mod tpgs;
pub mod unit;
