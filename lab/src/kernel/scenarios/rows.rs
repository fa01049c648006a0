//! What a sense code must do where the table alone does not say: without a group, again and again, and
//! when one of the handler's own commands meets it.

use std::thread;
use std::time::{Duration, Instant};

use alua_array::Command;
use anyhow::{Result, anyhow};

use super::super::{Run, disk, rests, until};
use super::access::{agree, seen, settle};
use super::{Model, two_controllers};
use crate::sysfs::rescan;

const SOON: Duration = Duration::from_secs(8);
const READ: Duration = Duration::from_secs(30);

/// A fault that answers a command with a sense code, not armed.
fn fault(sense: &str, command: &str) -> String {
    format!(
        "[[fault]]\nname = \"{sense}\"\narmed = false\ncommand = \"{command}\"\n\
         action = \"check\"\nsense = \"{sense}\"\n"
    )
}

/// The same on the first path only, so often.
fn fault_on_first(sense: &str, command: &str, count: u32) -> String {
    fault(sense, command) + &format!("port = 1\ncount = {count}\n")
}

fn arm(model: &Model, sense: &str) -> Result<()> {
    model.apply(&format!("do = \"arm\"\nfault = \"{sense}\""))
}

pub(super) fn without_group(run: &mut Run) -> Result<()> {
    const CODES: [&str; 5] = ["2/04/0a", "6/04/0a", "6/29/00", "6/2a/06", "6/2a/07"];
    let faults: String = CODES.iter().map(|sense| fault_on_first(sense, "read-10", 1)).collect();
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
    let model = two_controllers("", &fault_on_first(SENSE, "read-10", TIMES))?;
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

/// What the handler's own commands meet again and again: the code, the command, what makes the handler
/// send that, and how many commands that may lead to in 20 s. By the core's tests 100 reports are
/// enough on four paths, and up to 169 were seen; each of nine STPG is sent 17 times.
const OWN: [(&str, &str, Command, Trigger, u32); 4] = [
    ("6/2a/06", "report-target-port-groups", Command::ReportTargetPortGroups, Trigger::Rescan, 200),
    ("2/04/0a", "report-target-port-groups", Command::ReportTargetPortGroups, Trigger::Rescan, 60),
    ("6/2a/06", "set-target-port-groups", Command::SetTargetPortGroups, Trigger::Activation, 200),
    ("2/04/0a", "test-unit-ready", Command::TestUnitReady, Trigger::Transition, 60),
];

#[derive(Clone, Copy)]
enum Trigger {
    Rescan,
    /// Of a group that is in standby.
    Activation,
    /// A path that says so is asked by TEST UNIT READY until it says otherwise.
    Transition,
}

/// Reports, STPG and TEST UNIT READY meet sense codes that ask for a look at the states.
pub(super) fn own_commands(run: &mut Run) -> Result<()> {
    // Nothing but the handler ends what the fault leads to: it has no count.
    const LOOK: Duration = Duration::from_secs(20);
    for (sense, command, counted, trigger, most) in OWN {
        let model = two_controllers("", &fault(sense, command))?;
        settle(&model)?;
        model.reset_counters();
        arm(&model, sense)?;
        let start = Instant::now();
        let path = model.paths[0].hctl.clone();
        let mut rescanned = None;
        match trigger {
            // With the stock handler of 6.12 it comes back when the fault goes.
            Trigger::Rescan => rescanned = Some(thread::spawn(move || rescan(&path))),
            Trigger::Activation => {
                model.apply("do = \"set-state\"\ngroup = 1\nstate = \"standby\"")?;
                disk::activate(&path)?;
            }
            Trigger::Transition => {
                model.apply("do = \"switch\"\nto = \"B\"\ntransition = \"1s\"")?;
                let _ = disk::read_block(&disk::node(&path)?, READ);
            }
        }
        let sent = || {
            model.sent(0, Command::ReportTargetPortGroups)
                + model.sent(0, Command::TestUnitReady)
                + model.sent(0, Command::SetTargetPortGroups)
        };
        thread::sleep(LOOK.saturating_sub(start.elapsed()));
        let (met, sent_then) = (model.fault_count(sense), sent());
        run.check(
            "E14",
            &format!(
                "{command} that always meets {sense} leads to at most {most} commands in 20 s"
            ),
            met > 0 && sent_then <= most,
            format!("{sent_then}, {met} times met of {}", model.sent(0, counted)),
        );
        if let Some(rescanned) = &rescanned {
            let what = format!("a rescan whose report always meets {sense} is over by then");
            run.check("E14", &what, rescanned.is_finished(), "");
        }
        model.apply(&format!("do = \"disarm\"\nfault = \"{sense}\""))?;
        if let Some(rescanned) = rescanned {
            rescanned.join().map_err(|_| anyhow!("the rescan died"))??;
        }
        let time = until(SOON, || agree(&model));
        run.check("E14", "then sysfs shows the truth", time.is_some(), seen(&model));
        // A transition is looked at every two seconds: no pause without a look is so long.
        let quiet = rests(Duration::from_secs(3), Duration::from_secs(30), sent);
        run.check("E14", &format!("and what {sense} led to has an end"), quiet, sent());
        model.take_down()?;
    }
    Ok(())
}
