//! Deterministic simulation: the multipath engine, the driver core and the model array under one
//! virtual clock, from one seed.
//!
//! Everything of a run comes from a 64-bit seed: the array and its habits, the hosts and their
//! configuration, the requests, the faults. The same seed gives the same trace, line by line.
//! `docs/simulation.md` tells how to search, to replay and to read a trace, and lists the
//! invariants.
#![forbid(unsafe_code)]

mod check;
mod events;
mod host;
mod options;
mod random;
mod search;
mod shadow;
mod stalls;
mod trace;
mod world;

pub use alua_multipath::sabotage::Sabotage;
pub use check::{Invariant, Violation};
pub use options::{Finale, Kind, Options};
pub use search::{Search, Summary, negative_control, search};
pub use stalls::Stalls;
pub use trace::LEGEND;
pub use world::Report;

/// Runs what `options` say.
#[must_use]
pub fn run(options: Options, keep_trace: bool) -> Report {
    world::World::new(options, keep_trace).run()
}
