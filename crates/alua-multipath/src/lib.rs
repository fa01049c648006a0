//! Native multipath: one block device over all paths of a logical unit, as a state machine.
//!
//! Block requests go in, path commands come out; completions and the time go in. On
//! [`alua_core`], without device handler and daemon. A shell around it owns data, transports and
//! the clock: a block device in user space, the `alua` command's demo, the simulator.
//!
//! # How to drive it
//!
//! [`Engine`] follows the core's four verbs. In any order, whenever something happens:
//! [`Engine::submit`], the `handle_*` inputs, [`Engine::add_path`], [`Engine::remove_path`]. Then
//! [`Engine::poll_action`] until it returns `None`, [`Engine::poll_event`] likewise, and
//! [`Engine::poll_deadline`]: at that time, at the latest, [`Engine::handle_time`].
//!
//! # Contract
//!
//! - **Exactly once.** Each request that was taken is completed once (I5). Each I/O command, control
//!   and fence step is handed back once, whatever became of it, also after its path was removed.
//! - **Three outcomes.** A request is sent, waits for something that ends, or fails: see
//!   [`alua_core::select`] and [`NoPath`].
//! - **Nothing lost.** What is acknowledged stays: see [`fence`], and [`order`] under it.
//! - **Buffers.** A request's data must stay until its completion; a command's buffer until the
//!   command has come back, which may be later (I4).
//! - **Bounds.** All memory is allocated in [`Engine::new`], by [`Limits`] (I14), where the shell
//!   polls after each input; only [`Engine::submit`] and [`Engine::remove_path`] may come between.
//!   One that does not loses nothing, and pays with memory. A full engine refuses requests: a
//!   request takes up room until its completion was polled.
//! - **Deterministic.** The same inputs give the same outputs. No clock, no random number, no hash.
//!
//! # Where to read
//!
//! | module | holds |
//! |---|---|
//! | `engine` | the machine's state and its inputs and outputs |
//! | `join` | paths that join and leave |
//! | `dispatch` | a request's way to a path, or to a queue |
//! | `completion` | what comes back |
//! | [`fence`], `fencing` | the rule of the stale write, and the steps that keep it |
//! | [`order`] | overlapping writes |
//! | `standing` | what each path is good for, and when that changes |
//! | `by_hand` | what an administrator decided, and for how long that holds |
//! | [`identity`] | who is behind a path, and how that is known |
//! | `deadline` | when it wants to be called again |
//! | `control` | the driver core's commands, probes, capacity, activation |
//! | [`referrals`] | which blocks a group has, where that differs |
//! | `explain` | why a path is used or not |
#![forbid(unsafe_code)]

mod action;
mod by_hand;
mod completion;
pub mod config;
mod control;
mod deadline;
mod dispatch;
mod engine;
mod explain;
pub mod fence;
mod fencing;
pub mod identity;
mod join;
pub mod order;
mod path;
pub mod referrals;
mod request;
pub mod sabotage;
pub mod sbc;
mod standing;
mod table;
mod time;

pub use action::{
    Action, Control, ControlId, ControlKind, Event, FenceAnswer, FenceId, FenceKind, FenceStep,
    IoId, PathId, Send,
};
pub use by_hand::{Port, Switch};
pub use config::{Activation, Config, Limits, NoPath};
pub use engine::{Counters, Engine};
pub use explain::{PathView, UnitView};
pub use join::{AddPathError, Geometry, NewPath};
pub use path::{PathCounters, PathTraits};
pub use request::{Operation, Request, RequestError, RequestId, SubmitError};
pub use time::Time;
