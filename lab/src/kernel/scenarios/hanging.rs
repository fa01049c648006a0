//! Paths that take commands and do not answer.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::{Run, disk, millis, until};
use super::access::{agree, seen, settle};
use super::two_controllers;

/// A report is not waited for so long where another path can be asked.
const SOON: Duration = Duration::from_secs(6);
/// The time limit of a command, and the midlayer's error handling.
const LONG: Duration = Duration::from_secs(100);
const READ: Duration = Duration::from_secs(20);

/// Reports through one path are not answered, and all else is: the other path of its group and the
/// other group can be asked.
pub(super) fn report(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "",
        "[[fault]]\nname = \"hang\"\narmed = false\nport = 1\n\
         command = \"report-target-port-groups\"\naction = \"hang\"\n",
    )?;
    settle(&model)?;
    model.apply("do = \"arm\"\nfault = \"hang\"")?;
    // What the path itself tells is asked through it first.
    model.apply("do = \"set-state\"\ngroup = 1\nstate = \"active/non-optimized\"")?;
    disk::read_block(&disk::node(&model.paths[0].hctl)?, READ)?;
    let hangs = until(SOON, || model.fault_count("hang") > 0);
    ensure!(hangs.is_some(), "nobody asked for a report through the path that hangs");

    model.apply("do = \"set-state\"\ngroup = 2\nstate = \"standby\"")?;
    // The group's own path tells of it, as far as it can while it is in standby.
    let _ = disk::read_block(&disk::node(&model.paths[2].hctl)?, READ);
    let other =
        until(LONG, || model.paths[2..].iter().all(|path| disk::access(&path.hctl) == "standby"));
    let all = until(LONG, || agree(&model)).and_then(|more| Some(other? + more));
    let within = |time: Option<Duration>| time.is_some_and(|time| time <= SOON);
    run.check(
        "C09, REG-09",
        "the other group's states are read while a report hangs on a path, within 6 s",
        within(other),
        format!("{} ms, {}", millis(other), seen(&model)),
    );
    run.check(
        "C09, REG-09",
        "and those of its own group, through its other path",
        within(all),
        format!("{} ms, {}", millis(all), seen(&model)),
    );
    run.figure("a report hangs on a path: ms until the other group's states", millis(other));
    run.figure("a report hangs on a path: ms until all states", millis(all));
    model.apply("do = \"disarm\"\nfault = \"hang\"")?;
    model.let_go();
    model.take_down()
}
