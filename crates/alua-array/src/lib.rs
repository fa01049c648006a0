//! A storage array with asymmetric access, in memory: a deterministic SCSI device server with
//! controllers, target port groups, transitions, unit attentions, reservations, faults and scripts.
//!
//! # Contract
//!
//! - **Virtual time.** The clock is an integer number of nanoseconds and moves only in
//!   [`Array::advance`]. No wall clock, no thread, no I/O.
//! - **Deterministic.** The same configuration and the same calls give the same completions and the
//!   same trace. Randomness comes from the seed in the configuration, one generator per concern;
//!   what happens at one moment happens in the order in which it was scheduled.
//! - **Any bytes.** Whatever is in a CDB or in its data, the answer is a status; nothing panics.
//! - **Concurrent commands.** A command waits in the array from [`Array::submit`] until its time,
//!   then it is checked and carried out in one step, and a [`Completion`] appears. Commands of one
//!   nexus can overtake each other. The order of the checks is that of SAM: see the module
//!   `commands` in the source.
//!
//! # How to drive it
//!
//! Call [`Array::submit`], [`Array::apply`] and the task management functions whenever something
//! shall happen; read [`Array::poll_completion`] until it is empty; then ask
//! [`Array::next_event`] how far the clock may jump and call [`Array::advance`].
//! [`Array::execute`] does that for one command.
//!
//! ```
//! use std::time::Duration;
//! use alua_array::{Array, Event, shipped};
//!
//! let mut array = shipped::DEMO.build();
//! let nexus = array.connect("iqn.2026-03.invalid.host:one", 1)?;
//! let test_unit_ready = [0; 6];
//! let second = Duration::from_secs(1);
//!
//! let done = array.execute(nexus, 0, 1, &test_unit_ready, &[], 0, second)?.unwrap();
//! assert!(done.outcome.is_good());
//!
//! // Controller B takes the unit over: for two seconds nobody has it.
//! let unit = Some("data0".to_owned());
//! array.apply(&Event::Switch { unit, to: "B".to_owned(), transition: None, fails: false })?;
//! let done = array.execute(nexus, 0, 2, &test_unit_ready, &[], 0, second)?.unwrap();
//! assert_eq!(done.outcome.to_string(), "CHECK CONDITION 2/04/0a");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The array file is described in `docs/array-file.md`; [`shipped`] has examples.

mod alua;
mod apply;
mod array;
mod build;
mod clock;
mod command;
mod commands;
mod completion;
mod config;
mod counters;
mod distort;
mod event;
mod fault;
mod flow;
mod inspect;
mod manage;
mod medium;
mod nexus;
mod reserve;
mod sense;
pub mod shipped;
mod task;
mod time;
mod trace;
mod unit;

pub use array::Array;
pub use command::{Command, DataOut};
pub use completion::{
    Completion, ConnectError, FunctionResult, MediumChange, MediumWrite, Outcome, SubmitError,
};
pub use config::{
    AluaSettings, ArraySettings, Config, ConfigError, ControllerConfig, ExtendedHeader,
    GroupConfig, PortConfig, Segment, StpgBehaviour, Transition, TransitionAnswer, UnitConfig,
};
pub use counters::Counters;
pub use event::{Event, LostTasks};
pub use fault::{Fault, FaultAction, Function};
pub use nexus::{NexusId, TransportError};
pub use sense::{SenseBytes, SenseCode, SenseTriple};
pub use time::Time;
pub use trace::{TRACE_LEGEND, TraceMode};
