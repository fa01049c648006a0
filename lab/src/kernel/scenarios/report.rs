//! REPORT TARGET PORT GROUPS that goes wrong.

use std::time::Duration;

use alua_array::Command;
use anyhow::Result;

use super::super::{Run, disk, millis, until};
use super::access::{agree, seen, settle, touch};
use super::two_controllers;
use crate::sysfs::rescan;

const SOON: Duration = Duration::from_secs(10);

pub(super) fn refused_header(run: &mut Run) -> Result<()> {
    let model =
        two_controllers("extended_header = \"refused\"\nextended_header_sense = \"20/00\"", "")?;
    settle(&model)?;
    let time = until(SOON, || agree(&model));
    run.check(
        "B08, REG-06",
        "states are read though the extended header is refused",
        time.is_some(),
        seen(&model),
    );
    run.figure(
        "attach of 4 paths, header refused: RTPG",
        model.sent(0, Command::ReportTargetPortGroups).into(),
    );
    model.take_down()
}

/// Name and what is wrong with the report.
const LIES: [(&str, &str); 7] = [
    ("short", "action = \"short\"\nbytes = 13"),
    ("stub", "action = \"short\"\nbytes = 3"),
    ("growing", "action = \"growing\"\nstep = 96"),
    ("endless", "action = \"endless\""),
    ("port count", "action = \"patch\"\noffset = 15\ndata = \"ff\""),
    ("huge length", "action = \"patch\"\noffset = 0\ndata = \"ff ff ff ff\""),
    ("garbage", "action = \"garbage\"\nbytes = 64"),
];

pub(super) fn lying(run: &mut Run) -> Result<()> {
    let mut faults = String::new();
    for (name, what) in LIES {
        faults.push_str(&format!(
            "[[fault]]\nname = \"{name}\"\narmed = false\ncommand = \"report-target-port-groups\"\n{what}\n"
        ));
    }
    let model = two_controllers("", &faults)?;
    settle(&model)?;
    // Other noise each time.
    const NOISES: usize = 5;
    let more = LIES.iter().filter(|(name, _)| *name == "garbage").cycle().take(NOISES - 1);
    for (name, _) in LIES.iter().chain(more) {
        model.apply(&format!("do = \"arm\"\nfault = \"{name}\""))?;
        model.reset_counters();
        let to = if model.state(0, 1)? == "active/optimized" { "B" } else { "A" };
        model.apply(&format!("do = \"switch\"\nto = \"{to}\""))?;
        touch(&model)?;
        std::thread::sleep(Duration::from_millis(600));
        let met = model.fault_count(name);
        run.check("S7-12", &format!("{name}: a report is so"), met > 0, met);
        let sent = model.sent(0, Command::ReportTargetPortGroups);
        run.check("B15", &format!("{name}: at most 40 reports are asked for"), sent <= 40, sent);
        model.apply(&format!("do = \"disarm\"\nfault = \"{name}\""))?;
        let time = until(SOON, || agree(&model));
        run.check(
            "S7-12",
            &format!("{name}: the states are right by themselves when the target is"),
            time.is_some(),
            seen(&model),
        );
        if time.is_none() {
            for path in model.of(0) {
                rescan(&path.hctl)?;
            }
            until(SOON, || agree(&model));
        }
    }
    model.take_down()
}

pub(super) fn absent_group(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "",
        "[[fault]]\nname = \"omit\"\narmed = false\ncommand = \"report-target-port-groups\"\n\
         action = \"omit-group\"\ngroup = 1\n",
    )?;
    settle(&model)?;
    model.apply("do = \"arm\"\nfault = \"omit\"")?;
    rescan(&model.paths[0].hctl)?;
    let path = model.paths[0].hctl.clone();
    let time = until(Duration::from_secs(3), || disk::access(&path) != "active/optimized");
    run.check(
        "B31, REG-26",
        "a group that the report does not list is not shown as optimized",
        time.is_some(),
        disk::access(&path),
    );
    run.figure("absent group noticed after ms", millis(time));
    model.apply("do = \"disarm\"\nfault = \"omit\"")?;
    // Nothing tells of it: a rescan, or the next sense code.
    rescan(&model.paths[0].hctl)?;
    let time = until(SOON, || agree(&model));
    run.check(
        "B31",
        "when it is listed again, a rescan finds its state",
        time.is_some(),
        seen(&model),
    );
    model.take_down()
}
