//! The module itself: its parameters, and the stock handler in its place.

use std::time::Duration;

use alua_array::Command;
use anyhow::{Context, Result};

use super::super::{Handler, Run, disk, millis, rests, until};
use super::access::{agree, seen, settle};
use super::activation::asked_for;
use super::two_controllers;

const SOON: Duration = Duration::from_secs(8);
const READ: Duration = Duration::from_secs(20);

/// Takes the handler out, once no device has it any more.
fn out(handler: Handler) -> Result<()> {
    until(SOON, || handler.unload().is_ok()).map(drop).context("the module cannot be unloaded")
}

/// `transition_secs` and `idle_probe_secs`, then `optimize_stpg`. Of the first two the stock handler has neither: it runs as it is.
pub(super) fn parameters(run: &mut Run) -> Result<()> {
    if run.handler == Handler::Ours {
        out(run.handler)?;
        run.handler.load_with(&["transition_secs=6", "idle_probe_secs=1", "reprobe_secs=3"])?;
    }
    let model = two_controllers("rtpg_in_transition = false\ntransition_time_shown = 3", "")?;
    settle(&model)?;
    model.reset_counters();
    // No I/O meets the unit attention of this change.
    model.apply("do = \"set-state\"\ngroup = 2\nstate = \"standby\"")?;
    let time = until(SOON, || agree(&model));
    run.check(
        "S7-10",
        "idle_probe_secs: a change is seen without I/O",
        time.is_some(),
        format!("{} ms, {}", millis(time), seen(&model)),
    );
    run.figure("idle_probe_secs=1: TUR until a change was seen", {
        model.sent(0, Command::TestUnitReady).into()
    });
    model.apply("do = \"switch\"\nto = \"B\"\ntransition = \"never\"")?;
    let path = model.paths[0].hctl.clone();
    let node = disk::node(&path)?;
    let read = std::thread::spawn(move || disk::read_block(&node, Duration::from_secs(60)));
    let over = until(Duration::from_secs(15), || disk::access(&path) == "standby");
    run.check(
        "B20",
        "transition_secs: a transition of which the target says 3 s may take 6 s, and no more",
        over.is_some_and(|over| (5_500..9_000).contains(&over.as_millis())),
        millis(over),
    );
    model.apply("do = \"switch\"\nto = \"B\"\ntransition = \"0s\"")?;
    let _ = read.join();
    let time = until(SOON, || agree(&model));
    run.check("S7-6", "when it ends the states are found", time.is_some(), seen(&model));
    model.take_down()?;
    optimize(run)
}

/// `optimize_stpg` as a parameter of the module, which the stock handler has too.
fn optimize(run: &mut Run) -> Result<()> {
    out(run.handler)?;
    run.handler.load_with(&["optimize_stpg=1"])?;
    let model = two_controllers("", "prefer_owner = true\n")?;
    settle(&model)?;
    model.reset_counters();
    // Its group is live, and the other one is preferred.
    disk::activate(&model.paths[2].hctl)?;
    rests(Duration::from_secs(1), SOON, || asked_for(&model));
    let stpg = model.sent(0, Command::SetTargetPortGroups);
    let what = "optimize_stpg: a live group that is not preferred is left alone";
    run.check("D03, F11", what, stpg == 0, stpg);
    model.take_down()?;
    out(run.handler)?;
    run.handler.load()
}

/// The handler that is not under test is loaded beside the one that is, and then in its place.
pub(super) fn beside_the_other(run: &mut Run) -> Result<()> {
    let (first, other) = match run.handler {
        Handler::Stock => (Handler::Stock, Handler::Ours),
        Handler::Ours => (Handler::Ours, Handler::Stock),
    };
    let both = other.load();
    run.check(
        "F20",
        "a second handler of the same name is refused",
        both.as_ref().is_err_and(|error| error.to_string().contains("busy")),
        format!("{both:?}"),
    );
    out(first)?;
    other.load()?;
    let refused = first.load();
    run.check(
        "F20",
        "and refuses the first when it is there instead",
        refused.as_ref().is_err_and(|error| error.to_string().contains("busy")),
        format!("{refused:?}"),
    );
    if run.handler == Handler::Ours {
        let output = crate::command::run("dmesg", &[], SOON)?.stdout;
        let said = output.contains("unload scsi_dh_alua first");
        run.check("F20", "and the log says what to do", said, output.lines().last().unwrap_or(""));
    }
    // What the first left behind, if anything, would meet the other.
    let model = two_controllers("", "")?;
    settle(&model)?;
    let paths = || model.of(0).map(|path| path.hctl.as_str());
    let attached = paths().all(|path| disk::handler(path) == "alua");
    run.check("F20", "the other handler works in its place", attached && agree(&model), {
        format!("{}, {}", paths().map(disk::handler).collect::<Vec<_>>().join(", "), seen(&model))
    });
    let read = disk::read_block(&disk::node(&model.paths[0].hctl)?, READ);
    run.check("F20", "and I/O passes", read.is_ok(), format!("{read:?}"));
    model.take_down()?;
    out(other)?;
    first.load()
}
