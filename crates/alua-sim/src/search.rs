//! Running many seeds, on every core, and negative controls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alua_multipath::sabotage::Sabotage;

use crate::check::Violation;
use crate::options::Options;
use crate::stalls::Stalls;
use crate::{Report, run};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The first seed.
    pub start: u64,
    /// How many.
    pub count: u64,
    /// Each seed runs twice, and the traces must be equal.
    pub twice: bool,
    /// Threads.
    pub jobs: usize,
    /// Whether progress is printed to standard error.
    pub progress: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that ran.
    pub seeds: u64,
    /// Requests that ended.
    pub requests: u64,
    /// Of those, how many failed.
    pub failed: u64,
    /// Fault events.
    pub events: u64,
    /// Virtual seconds.
    pub virtual_secs: f64,
    /// Seeds with what was found, in order.
    pub bad: Vec<(u64, Vec<String>)>,
    /// How long requests took.
    pub stalls: Stalls,
    /// How long all this took.
    pub time: Duration,
}

/// Seeds with findings that are kept; then the search ends.
const BAD_MAX: usize = 8;

/// Runs seeds.
#[must_use]
pub fn search(search: Search) -> Summary {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..search.jobs.max(1) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= search.count {
                        break;
                    }
                    let seed = search.start.wrapping_add(turn);
                    let (report, found) = one(seed, search.twice);
                    let mut summary = summary.lock().unwrap_or_else(|it| it.into_inner());
                    if let (Some(first), true) = (found.first(), search.progress) {
                        eprintln!("seed {seed}: {}", brief(first));
                    }
                    summary.add(report.as_ref(), seed, found);
                    enough.fetch_or(summary.bad.len() >= BAD_MAX, Ordering::Relaxed);
                    if search.progress && summary.seeds.is_multiple_of(1_000) {
                        let secs = start.elapsed().as_secs_f64();
                        eprintln!(
                            "{} of {} seeds, {:.0} a minute, {} with findings",
                            summary.seeds,
                            search.count,
                            summary.seeds as f64 * 60.0 / secs,
                            summary.bad.len()
                        );
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(|it| it.into_inner());
    summary.bad.sort();
    summary.time = start.elapsed();
    summary
}

/// The beginning of a line that may be very long.
#[must_use]
pub fn brief(line: &str) -> &str {
    line.char_indices().nth(150).map_or(line, |(end, _)| &line[..end])
}

/// One seed, and what is wrong with it.
fn one(seed: u64, twice: bool) -> (Option<Report>, Vec<String>) {
    let attempt = || {
        catch_unwind(AssertUnwindSafe(|| run(Options::new(seed), false))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panic: {}", text.unwrap_or("without a word"))
        })
    };
    let report = match attempt() {
        Ok(report) => report,
        Err(panic) => return (None, vec![panic]),
    };
    let mut found: Vec<String> = report.violations.iter().map(Violation::to_string).collect();
    if twice && attempt().map(|again| again.digest) != Ok(report.digest) {
        found.push("two runs of this seed differ".to_owned());
    }
    (Some(report), found)
}

impl Summary {
    fn add(&mut self, report: Option<&Report>, seed: u64, found: Vec<String>) {
        self.seeds += 1;
        if let Some(report) = report {
            self.requests += report.requests;
            self.failed += report.failed;
            self.events += report.events;
            self.virtual_secs += report.virtual_ns as f64 / 1e9;
            self.stalls.merge(&report.stalls);
        }
        if !found.is_empty() {
            self.bad.push((seed, found));
        }
    }
}

/// Runs seeds with an engine that is broken in one way until that is caught as what it is: the seed,
/// how many were needed, and what was said. `None`: not within `most` seeds.
#[must_use]
pub fn negative_control(how: Sabotage, start: u64, most: u64) -> Option<(u64, u64, Violation)> {
    (0..most).find_map(|turn| {
        let seed = start.wrapping_add(turn);
        let options = Options::new(seed).broken(how);
        let report = catch_unwind(AssertUnwindSafe(|| run(options, false))).ok()?;
        let caught = report.violations.into_iter();
        let caught = caught.into_iter().next()?;
        Some((seed, turn + 1, caught))
    })
}

#[cfg(test)]
mod tests {
    use alua_core::select::Policy;

    use super::*;
    use crate::check::Invariant;
    use crate::options::Shell;

    /// A shell that says a step of a fence is done while it holds commands of the path is seen by what
    /// these do on the medium; with the right shell the same seeds pass.
    #[test]
    fn a_hasty_shell_is_caught_by_its_stale_writes() {
        let holding = || (0..400).map(Options::new).filter(|it| it.hold_us == Some(2_000_000));
        let hasty = |options: Options| Options {
            shell: Shell::Hasty,
            only: Some(Invariant::I2),
            ..options
        };
        let found = |options: &Options| !run(hasty(options.clone()), false).violations.is_empty();
        let caught: Vec<Options> = holding().filter(found).collect();
        println!("{} of {} seeds", caught.len(), holding().count());
        assert!(caught.len() >= 3, "{}", caught.len());
        for options in caught {
            let seed = options.seed;
            assert_eq!(run(options, false).violations.len(), 0, "seed {seed}");
        }
    }

    /// A host that sends lost commands again by itself, and does not say so, is seen by what these do when
    /// the bounded wait is over; where the engine knows the same seeds pass.
    #[test]
    fn a_secretive_shell_is_caught_by_its_stale_writes() {
        let repeating = || (0..600).map(Options::new).filter(|it| it.repeat_us == Some(12_000_000));
        let secretive = |options: Options| Options {
            shell: Shell::Secretive,
            only: Some(Invariant::I3),
            ..options
        };
        let found =
            |options: &Options| !run(secretive(options.clone()), false).violations.is_empty();
        let caught: Vec<Options> = repeating().filter(found).collect();
        println!("{} of {} seeds", caught.len(), repeating().count());
        assert!(caught.len() >= 3, "{}", caught.len());
        for options in caught {
            let seed = options.seed;
            assert_eq!(run(options, false).violations.len(), 0, "seed {seed}");
        }
    }

    /// The wrong choice is seen under every policy, service-time too, which may leave the best class.
    #[test]
    fn the_worst_path_is_seen_under_every_policy() {
        for policy in Policy::ALL {
            let seeds = (0..120).map(Options::new).filter(|options| !options.by_lba);
            let seeds = seeds.filter(|it| it.engines.iter().all(|it| it.policy == policy));
            let caught = seeds.take(12).map(|options| {
                let report = run(options.broken(Sabotage::WorstFirst), false);
                report.violations.iter().any(|found| found.invariant == Invariant::I11)
            });
            let caught: Vec<bool> = caught.collect();
            let count = caught.iter().filter(|&&it| it).count();
            println!("{policy}: {count} of {}", caught.len());
            assert!(caught.len() >= 6 && count * 3 > caught.len() * 2, "{policy}: {count}");
        }
    }
}
