//! Scenarios for the kernel's device handler: the same ones with the stock handler and with ours.
//!
//! A scenario sets a target up, makes things happen, and says what must hold. What does not hold is
//! a failure of our handler, and a finding about the stock one. Both also leave figures.

mod asker;
pub mod control;
mod disk;
mod dm;
mod handler;
mod model;
mod ring;
pub mod scenarios;
mod trace;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use handler::{Handler, Log, prepare};

/// Something that must hold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// The behaviour's identifier, or none.
    pub row: String,
    /// What must hold.
    pub what: String,
    /// Whether it did.
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

/// A number that was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, with its unit.
    pub what: String,
    /// The number.
    pub value: f64,
}

/// What a scenario came to with one handler.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The scenario's name.
    pub scenario: String,
    /// What had to hold.
    pub checks: Vec<Check>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Why the scenario did not come to its end; none if it did.
    pub error: Option<String>,
    /// Warnings in the kernel's log meanwhile.
    pub warnings: Vec<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What our module was built from, as a number in hexadecimal; none with the stock handler, and where
    /// that was not kept.
    #[serde(default)]
    pub source: Option<String>,
    /// The commit that it ran at, with a `+` where the tree had changes; none where that was not kept.
    #[serde(default)]
    pub commit: Option<String>,
    /// When it was kept, in seconds since 1970; 0 where that was not.
    #[serde(default)]
    pub at: u64,
}

/// A scenario that runs.
#[derive(Debug)]
pub struct Run {
    /// The handler that is loaded.
    pub handler: Handler,
    record: Record,
}

impl Run {
    /// States what must hold.
    pub(crate) fn check(&mut self, row: &str, what: &str, held: bool, seen: impl ToString) {
        let (row, what) = (row.to_owned(), what.to_owned());
        self.record.checks.push(Check { row, what, held, seen: seen.to_string() });
    }

    /// Keeps a number.
    pub(crate) fn figure(&mut self, what: &str, value: f64) {
        self.record.figures.push(Figure { what: what.to_owned(), value });
    }
}

/// Waits until something holds; how long it took, or `None` when it did not in time.
pub(crate) fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let start = Instant::now();
    loop {
        if holds() {
            return Some(start.elapsed());
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a number stays as it is for so long; whether it did in time.
pub(crate) fn rests(pause: Duration, limit: Duration, mut number: impl FnMut() -> u32) -> bool {
    let mut last = number();
    let rested = until(limit, || {
        std::thread::sleep(pause);
        let now = number();
        std::mem::replace(&mut last, now) == now
    });
    rested.is_some()
}

/// The middle one of several numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(-1.0)
}

/// Milliseconds, or -1 for never.
pub(crate) fn millis(time: Option<Duration>) -> f64 {
    time.map_or(-1.0, |time| time.as_secs_f64() * 1_000.0)
}

/// Runs one scenario by its name, and writes what happened to a file if one is given. What the kernel's
/// log says since the scenario before, or since it was opened, counts as this one's.
///
/// # Errors
///
/// There is no such scenario, the kernel's log cannot be read, or the trace cannot be written.
pub fn run(name: &str, handler: Handler, trace: Option<&Path>, log: &Log) -> Result<Record> {
    let scenario = scenarios::ALL.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.with_context(|| format!("there is no scenario {name}"))?;
    let start = Instant::now();
    let mut run = Run { handler, record: Record::default() };
    trace.map_or(Ok(()), |_| trace::start())?;
    let ended = (scenario.run)(&mut run);
    asker::finish(&mut run);
    trace.map_or(Ok(()), trace::finish)?;
    let mut record = run.record;
    record.scenario = name.to_owned();
    record.error = ended.err().map(|error| format!("{error:#}"));
    record.warnings = log.warnings()?;
    record.millis = u64::try_from(start.elapsed().as_millis())?;
    Ok(record)
}
