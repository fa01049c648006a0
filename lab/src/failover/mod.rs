//! How long I/O stands still when the array or a path fails: dm-multipath with its daemon and
//! `alua up` over the same two paths of LIO, one after the other, each event many times.
//!
//! # What is measured
//!
//! fio writes blocks of 4 KiB at random, reads them back and verifies them, four at a time. Each of
//! its requests leaves a line with the times of its submission and of its completion. Around an event:
//!
//! - **first**: from the change to the first completion of a request that was submitted after it. A
//!   transition counts from its end, with every request that waited: no host can go on earlier.
//! - **stall**: the longest that any request took, from its submission.
//! - **back**: from the moment at which the path is whole again and the better one to the first
//!   request that goes down it.
//!
//! The load is stopped (SIGSTOP) between events; what was submitted or completed then does not count.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::scenario::{AccessType, Fabric, Group, State, Unit};
use crate::target::lio::Lio;

mod contender;
pub mod cost;
mod event;
mod load;

pub use contender::Contender;
pub use event::Event;

use contender::Running;
use load::{Load, Request};

/// The unit that everything is done to.
const UNIT: &str = "disk0";
/// Where the logs of the servers are kept.
const LOGS: &str = "/host";
/// How long a pause between two looks is, where something is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// The same where a look is a program that runs.
const SLOW_LOOK: Duration = Duration::from_millis(200);
/// The load runs for so long before an event; the event comes at no fixed phase of anything.
const BEFORE: Duration = Duration::from_millis(150);
/// The load runs on for so long after I/O goes on.
const AFTER: Duration = Duration::from_millis(100);
/// I/O may stand still for so long.
const STAND: Duration = Duration::from_secs(120);
/// A path that is whole again may take so long until it is used.
const RETURN: Duration = Duration::from_secs(3);
/// Between two events: an array that changes its states more than eight times without such a pause
/// is one that flaps for `alua up`, which then asks it ever more slowly.
const REST: Duration = Duration::from_secs(5);
/// Both paths may take so long until they are usable again.
const SETTLE: Duration = Duration::from_secs(60);

/// One event and what it cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Who served the device.
    pub contender: Contender,
    /// What happened.
    pub event: Event,
    /// See the module, in milliseconds.
    pub first_ms: f64,
    /// See the module, in milliseconds.
    pub stall_ms: f64,
    /// See the module, in milliseconds; none where the path was not used again within 3 s, or the
    /// event leaves nothing to come back to.
    pub back_ms: Option<f64>,
}

/// What became of one contender under one kind of event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Each time.
    pub samples: Vec<Sample>,
    /// What is wrong: requests that failed, blocks that were not what was written, a hang.
    pub error: Option<String>,
}

/// Nanoseconds of the monotonic clock, which fio uses as well.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// One path in each of two groups; the first is the better one.
fn unit() -> Unit {
    let group = |id, state| Group {
        id,
        access: AccessType::Both,
        state,
        preferred: false,
        transition_ms: 0,
        implicit_transition_s: 0,
        ports: vec![id],
    };
    let groups = vec![group(1, State::ActiveOptimized), group(2, State::ActiveNonOptimized)];
    Unit::of(groups)
}

/// A target with two paths, and nothing on it.
fn set_up(fabric: Fabric) -> Result<Lio> {
    let lio = Lio::set_up(fabric, 2, &[unit()])?;
    for (group, want) in [(1, State::ActiveOptimized), (2, State::ActiveNonOptimized)] {
        let is = Lio::state(UNIT, group)?;
        ensure!(is == want, "group {group} of LIO is {}, not {}", is.name(), want.name());
    }
    Ok(lio)
}

/// Runs one event so many times for one contender.
#[must_use]
pub fn run(contender: Contender, event: Event, times: u32) -> Batch {
    let mut samples = Vec::new();
    // After a hang dm-multipath uses the paths in ways of its own for a while, and the next hang often
    // meets no request: each is the first of its target.
    let (rounds, each) = if event == Event::Hang { (times, 1) } else { (1, times) };
    for round in 0..rounds {
        if rounds > 1 {
            // Twenty of them take longer than a guest may be silent.
            println!("lab:   target {} of {rounds}", round + 1);
        }
        let result = try_run(contender, event, round, each, &mut samples);
        let down = Lio::take_down();
        if let Err(error) = result.and(down) {
            return Batch { samples, error: Some(format!("{error:#}")) };
        }
    }
    Batch { samples, error: None }
}

/// When things happened, on the monotonic clock.
struct Times {
    /// The load runs, and nothing has happened.
    begin: u64,
    /// Requests count that were submitted from here on.
    from: u64,
    /// The change.
    change: u64,
    /// Just before the path is made whole again.
    end: u64,
    back_ms: Option<f64>,
}

fn try_run(
    contender: Contender,
    event: Event,
    first: u32,
    times: u32,
    to: &mut Vec<Sample>,
) -> Result<()> {
    let lio = set_up(event.fabric())?;
    let running = Running::start(contender, &lio)?;
    let load = Load::start(running.device())?;
    let mut all = Vec::new();
    let done: Result<()> = (first..first + times).try_for_each(|number| {
        all.push(once(&lio, &running, &load, event, number)?);
        Ok(())
    });
    let log = running.log();
    let _ = std::fs::copy(contender::LOG, format!("{LOGS}/{}-{}", contender.name(), event.name()));
    let requests = load.stop();
    let stopped = running.stop();
    let log = || format!("the server's log ended with:\n{log}");
    let requests = match (requests, done) {
        (Ok(requests), done) => done.map(|()| requests).with_context(log)?,
        // That fio failed may be why nothing went on, or the other way round.
        (Err(load), Err(done)) => return Err(load.context(format!("{done:#}")).context(log())),
        (Err(load), Ok(())) => return Err(load.context(log())),
    };
    stopped?;
    for times in all {
        let (first_ms, stall_ms) = judge(&requests, &times)?;
        let back_ms = times.back_ms;
        to.push(Sample { contender, event, first_ms, stall_ms, back_ms });
    }
    Ok(())
}

/// One event, from a state at rest to the next.
fn once(lio: &Lio, running: &Running, load: &Load, event: Event, number: u32) -> Result<Times> {
    event.prepare(lio)?;
    let live = event.live();
    let start = std::time::Instant::now();
    loop {
        running.settle(lio, live, SETTLE)?;
        // No two events come at the same phase of whoever polls.
        std::thread::sleep(REST + Duration::from_millis(u64::from(number) * 137 % 1_000));
        load.go_on()?;
        std::thread::sleep(BEFORE);
        let before = event::commands(lio, live);
        std::thread::sleep(LOOK * 10);
        if event::commands(lio, live) > before {
            break;
        }
        load.pause()?;
        ensure!(start.elapsed() < SETTLE, "I/O does not go down path {live}");
    }
    let begin = now();
    let (from, change) = event.act(lio)?;
    let completed = running.completed()?;
    wait_for(LOOK, STAND, || Ok(running.completed()? > completed + 4))
        .with_context(|| format!("{}, time {number}: I/O does not go on", event.name()))?;
    std::thread::sleep(AFTER);
    let end = now();
    let back_ms = event.undo(lio, &running.returns())?;
    load.pause()?;
    Ok(Times { begin, from, change, end, back_ms })
}

fn wait_for(
    look: Duration,
    limit: Duration,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = std::time::Instant::now();
    while !is_so()? {
        if start.elapsed() > limit {
            bail!("not within {} s", limit.as_secs());
        }
        std::thread::sleep(look);
    }
    Ok(())
}

/// Time to the first completion after the change, and the longest request, in milliseconds.
fn judge(requests: &[Request], times: &Times) -> Result<(f64, f64)> {
    let counted = |it: &&Request| it.submitted >= times.begin && it.completed <= times.end;
    let after = |it: &&Request| it.submitted >= times.from && it.completed >= times.change;
    let first = requests.iter().filter(counted).filter(after).map(|it| it.completed).min();
    let first = first.context("no request completed after an event")?;
    let stall = requests.iter().filter(counted).map(|it| it.completed - it.submitted).max();
    let ms = |ns: u64| ns as f64 / 1e6;
    Ok((ms(first - times.change), ms(stall.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn request(submitted: u64, completed: u64) -> Request {
        Request { submitted, completed }
    }

    #[test]
    fn what_was_under_way_at_the_change_or_stopped_with_the_load_does_not_count() {
        let ms = 1_000_000;
        let change = 110 * ms;
        let mut times =
            Times { begin: 100 * ms, from: change, change, end: 200 * ms, back_ms: None };
        let requests = [
            // Stopped with the load, before.
            request(10 * ms, 101 * ms),
            request(101 * ms, 102 * ms),
            // Under way at the change, and good.
            request(109 * ms, 111 * ms),
            // The one that waited, and one that came after.
            request(109 * ms, 150 * ms),
            request(112 * ms, 149 * ms),
            request(151 * ms, 152 * ms),
            // Stopped with the load, after.
            request(199 * ms, 900 * ms),
        ];
        assert_eq!(judge(&requests, &times).unwrap(), (39.0, 41.0));
        // A transition that began at 109 ms and ended at 110 ms.
        times.from = 109 * ms;
        assert_eq!(judge(&requests, &times).unwrap(), (1.0, 41.0));
        assert!(judge(&requests[..1], &times).is_err());
    }
}
