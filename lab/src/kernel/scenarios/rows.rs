//! What a sense code must do where the table alone does not say: without a group, again and again, and
//! when one of the handler's own commands meets it.

use std::time::{Duration, Instant};

use alua_array::Command;
use anyhow::Result;

use super::super::{Run, disk, rests, until};
use super::access::{agree, seen, settle};
use super::{Model, two_controllers};
use crate::sysfs::rescan;

const SOON: Duration = Duration::from_secs(8);
const READ: Duration = Duration::from_secs(30);

/// A fault that answers so many of a command on the first path with a sense code, not armed.
fn fault(sense: &str, command: &str, count: u32) -> String {
    format!(
        "[[fault]]\nname = \"{sense}\"\narmed = false\nport = 1\ncommand = \"{command}\"\n\
         count = {count}\naction = \"check\"\nsense = \"{sense}\"\n"
    )
}

fn arm(model: &Model, sense: &str) -> Result<()> {
    model.apply(&format!("do = \"arm\"\nfault = \"{sense}\""))
}

pub(super) fn without_group(run: &mut Run) -> Result<()> {
    const CODES: [&str; 5] = ["2/04/0a", "6/04/0a", "6/29/00", "6/2a/06", "6/2a/07"];
    let faults: String = CODES.iter().map(|sense| fault(sense, "read-10", 1)).collect();
    let model = two_controllers("group_designator = false", &faults)?;
    for path in model.of(0) {
        until(SOON, || disk::size(&path.hctl) > 0);
    }
    let node = disk::node(&model.paths[0].hctl)?;
    for sense in CODES {
        arm(&model, sense)?;
        let read = disk::read_block(&node, READ);
        run.check(
            "E11",
            &format!("a read that meets {sense} succeeds where no group is known"),
            read.is_ok() && model.fault_count(sense) == 1,
            format!("{read:?}"),
        );
    }
    model.take_down()
}

/// The midlayer retries a command five times at once and then prepares it again after a second.
pub(super) fn used_up(run: &mut Run) -> Result<()> {
    const SENSE: &str = "2/04/0a";
    const TIMES: u32 = 8;
    let model = two_controllers("", &fault(SENSE, "read-10", TIMES))?;
    settle(&model)?;
    arm(&model, SENSE)?;
    let start = Instant::now();
    let read = disk::read_block(&disk::node(&model.paths[0].hctl)?, READ);
    let took = start.elapsed();
    run.check(
        "E12",
        &format!("a read that meets {SENSE} {TIMES} times succeeds in the end"),
        read.is_ok() && model.fault_count(SENSE) == TIMES,
        format!("{read:?}, {} times", model.fault_count(SENSE)),
    );
    let slow = took > Duration::from_secs(1);
    run.check("E12", "and waits in between", slow, format!("{} ms", took.as_millis()));
    let time = until(SOON, || agree(&model));
    run.check("E12", "then sysfs shows the truth", time.is_some(), seen(&model));
    model.take_down()
}

/// Reports meet unit attentions, more than one report takes.
pub(super) fn own_commands(run: &mut Run) -> Result<()> {
    const SENSE: &str = "6/2a/06";
    const TIMES: u32 = 12;
    let model = two_controllers("", &fault(SENSE, "report-target-port-groups", TIMES))?;
    settle(&model)?;
    model.reset_counters();
    arm(&model, SENSE)?;
    rescan(&model.paths[0].hctl)?;
    let sent =
        || model.sent(0, Command::ReportTargetPortGroups) + model.sent(0, Command::TestUnitReady);
    // What a rescan of the disk itself sends is over when the handler's first report is.
    until(SOON, || model.fault_count(SENSE) > 0);
    let quiet = rests(Duration::from_secs(2), Duration::from_secs(20), sent);
    run.check("E14", "what the reports meet leads to an end", quiet, sent());
    let reports = model.sent(0, Command::ReportTargetPortGroups);
    run.check(
        "E14",
        &format!("{TIMES} unit attentions on reports cost at most {TIMES} reports and 4 more"),
        reports <= TIMES + 4,
        reports,
    );
    let time = until(SOON, || agree(&model));
    run.check("E14", "then sysfs shows the truth", time.is_some(), seen(&model));
    model.take_down()
}
