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
mod judge;
mod options;
mod picture;
mod random;
mod search;
mod shadow;
mod stalls;
mod trace;
mod world;

pub use alua_multipath::sabotage::Sabotage;
pub use check::{Invariant, Violation};
pub use options::{Finale, Kind, Options, Shell};
pub use search::{Search, Summary, brief, negative_control, search};
pub use stalls::Stalls;
pub use trace::LEGEND;
pub use world::Report;

/// Runs what `options` say.
#[must_use]
pub fn run(options: Options, keep_trace: bool) -> Report {
    world::World::new(options, keep_trace).run()
}

/// The same run, and what a picture of it needs. The digest of the trace is that of [`run`].
#[must_use]
pub fn run_drawn(options: Options, keep_trace: bool) -> (Report, alua_timeline::Timeline) {
    let mut world = world::World::new(options, keep_trace);
    let seed = world.options.seed;
    world.picture = Some(Box::default());
    let mut picture = None;
    let report = world.run_with(&mut picture);
    let picture: picture::Picture = picture.unwrap_or_default();
    let timeline = picture.finish(seed, report.virtual_ns);
    (report, timeline)
}
