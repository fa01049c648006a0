//! Many units at once, on the kernel's own target.
//!
//! The times are not the handler's alone. In a failover the lab sets the groups of each unit in configfs
//! and reads each path, one after the other; in an activation it asks for one unit after the other; and in
//! both it reads the state of each path in sysfs until all are right.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::{Run, disk, millis, until};
use crate::scenario::{AccessType, Fabric, Group, State, Unit};
use crate::sysfs::{read, write};
use crate::target::lio::Lio;

const LIMIT: Duration = Duration::from_secs(60);
/// Where the kernel counts the commands that are dispatched.
const EVENT: &str = "/sys/kernel/tracing/events/scsi/scsi_dispatch_cmd_start";

/// Counts the commands of the initiator by their operation code.
struct Count;

impl Count {
    fn start() -> Result<Self> {
        let trigger = Path::new(EVENT).join("trigger");
        // A former count is taken away; there may be none.
        let _ = write(&trigger, "!hist:keys=opcode");
        write(&trigger, "hist:keys=opcode")?;
        Ok(Self)
    }

    fn of(&self, opcode: u8) -> Result<f64> {
        let text = read(&Path::new(EVENT).join("hist"))?;
        for line in text.lines() {
            let Some((key, count)) = line.split_once("hitcount:") else { continue };
            let digits: String = key.chars().filter(char::is_ascii_digit).collect();
            if digits.parse() == Ok(opcode) {
                return count.trim().parse().context("a count");
            }
        }
        Ok(0.0)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // Only this guest would go on counting.
        let _ = write(&Path::new(EVENT).join("trigger"), "!hist:keys=opcode");
    }
}

fn group(access: AccessType, id: u16, state: State, ports: [u16; 2]) -> Group {
    Group {
        id,
        access,
        state,
        preferred: false,
        transition_ms: 0,
        implicit_transition_s: 0,
        ports: ports.to_vec(),
    }
}

/// A unit of two groups, the first active/optimized behind ports 1 and 2, the other not behind 3 and 4.
pub(super) fn two_groups(access: AccessType) -> Unit {
    Unit::of(vec![
        group(access, 1, State::ActiveOptimized, [1, 2]),
        group(access, 2, State::ActiveNonOptimized, [3, 4]),
    ])
}

/// What an event on many units cost; the time is with what the lab did meanwhile.
fn figures(run: &mut Run, event: &str, count: &Count, took: Option<Duration>) -> Result<()> {
    for (what, opcode) in [("RTPG", 0xa3), ("STPG", 0xa4), ("TUR", 0x00)] {
        run.figure(&format!("{event}, 4 paths each: {what}"), count.of(opcode)?);
    }
    run.figure(&format!("{event}, 4 paths each: ms until all states are right"), millis(took));
    Ok(())
}

fn failover(run: &mut Run, units: u16) -> Result<()> {
    let unit = two_groups(AccessType::Both);
    let target = Lio::set_up(Fabric::Loop, 4, &[Unit { copies: units, ..unit }])?;
    let of = |port: u16, first: &'static str, second: &'static str| {
        if port <= 2 { first } else { second }
    };
    let shown = |first: &'static str, second: &'static str| {
        target.places.iter().all(|place| disk::access(&place.hctl) == of(place.port, first, second))
    };
    let known = until(LIMIT, || shown("active/optimized", "active/non-optimized"));
    run.check(
        "B24",
        &format!("the states of {units} units are read"),
        known.is_some(),
        millis(known),
    );
    let count = Count::start()?;
    let start = Instant::now();
    for unit in target.unit_names() {
        Lio::set_state(unit, 1, State::ActiveNonOptimized)?;
        Lio::set_state(unit, 2, State::ActiveOptimized)?;
    }
    // Hosts hear of it when they use a path.
    for place in &target.places {
        let _ = disk::read_block(&disk::node(&place.hctl)?, LIMIT);
    }
    let right = until(LIMIT, || shown("active/non-optimized", "active/optimized"));
    run.check(
        "B24",
        &format!("all paths of {units} units show the new states"),
        right.is_some(),
        millis(right),
    );
    figures(run, &format!("failover of {units} units"), &count, right.map(|_| start.elapsed()))?;
    drop(count);
    // Then activations of the other group. LIO leaves the first as it is.
    let count = Count::start()?;
    let start = Instant::now();
    for place in target.places.iter().filter(|place| place.port == 1) {
        disk::activate(&place.hctl)?;
    }
    let right = until(LIMIT, || shown("active/optimized", "active/optimized"));
    run.check(
        "F08, B24",
        &format!("after an activation of each of {units} units all paths show it"),
        right.is_some(),
        millis(right),
    );
    figures(run, &format!("activation of {units} units"), &count, right.map(|_| start.elapsed()))?;
    drop(count);
    Lio::take_down()
}

pub(super) fn some(run: &mut Run) -> Result<()> {
    failover(run, 32)
}

pub(super) fn all(run: &mut Run) -> Result<()> {
    failover(run, 256)
}
