//! Transitions: short, long, mute, without end.

use std::time::Duration;

use alua_array::Command;
use anyhow::Result;

use super::super::dm::Map;
use super::super::{Run, disk, median, until};
use super::access::{agree, seen, settle, touch};
use super::{Model, two_controllers};

const SOON: Duration = Duration::from_secs(10);

/// Switches in a row.
const ROUNDS: u32 = 5;

/// The paths of the two groups.
pub(super) fn groups(model: &Model) -> [Vec<String>; 2] {
    let of = |ports: [u16; 2]| {
        let paths = model.of(0).filter(|path| ports.contains(&path.port));
        paths.map(|path| path.hctl.clone()).collect()
    };
    [of([1, 2]), of([3, 4])]
}

/// A switch of the unit under a reader on a map.
fn switch(run: &mut Run, seconds: u64) -> Result<()> {
    let model =
        two_controllers(&format!("transition = \"{seconds}s\"\ntransition_time_shown = 60"), "")?;
    settle(&model)?;
    let map = Map::create("lab", &groups(&model), "1 alua")?;
    let reader = disk::Reader::start(&map.node())?;
    until(SOON, || reader.reads() > 50);
    model.reset_counters();
    let limit = Duration::from_secs(seconds + 10);
    let mut stalls = Vec::new();
    for round in 0..ROUNDS {
        reader.forget();
        let (to, best) = if round % 2 == 0 { ("B", 2) } else { ("A", 0) };
        model.apply(&format!("do = \"switch\"\nto = \"{to}\""))?;
        let best = &model.paths[best].hctl;
        let time = until(limit, || agree(&model) && disk::access(best) == "active/optimized");
        let what = format!("sysfs follows each switch of {seconds} s");
        run.check("B27", &what, time.is_some(), seen(&model));
        let before = reader.reads();
        let goes_on = until(limit, || reader.reads() > before + 50);
        let what = format!("I/O goes on after each switch of {seconds} s");
        run.check("REG-11, REG-12", &what, goes_on.is_some(), reader.stall());
        run.check(
            "REG-11",
            "no I/O error reaches the reader",
            reader.errors() == 0,
            reader.errors(),
        );
        stalls.push(reader.stall());
    }
    for (what, command) in [
        ("RTPG", Command::ReportTargetPortGroups),
        ("STPG", Command::SetTargetPortGroups),
        ("TUR", Command::TestUnitReady),
    ] {
        let what = format!("{ROUNDS} switches of {seconds} s, 4 paths: {what}");
        run.figure(&what, model.sent(0, command).into());
    }
    run.figure(&format!("switch of {seconds} s, 4 paths: stall in ms, median"), median(stalls));
    run.check("G15", "the reader ends", reader.stop(SOON), map.status()?);
    map.remove()?;
    model.take_down()
}

pub(super) fn short(run: &mut Run) -> Result<()> {
    switch(run, 1)
}

pub(super) fn long(run: &mut Run) -> Result<()> {
    switch(run, 30)
}

pub(super) fn mute(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "transition = \"3s\"\nrtpg_in_transition = false\ntransition_time_shown = 30",
        "",
    )?;
    settle(&model)?;
    model.reset_counters();
    model.apply("do = \"switch\"\nto = \"B\"")?;
    let node = disk::node(&model.paths[0].hctl)?;
    let read = disk::read_block(&node, Duration::from_secs(30));
    run.check(
        "REG-04",
        "a read waits for the end of a transition in which RTPG is refused",
        read.is_ok(),
        format!("{read:?}"),
    );
    touch(&model)?;
    let time = until(SOON, || agree(&model));
    run.check("REG-04", "the states are right after it", time.is_some(), seen(&model));
    run.figure(
        "mute transition of 3 s: RTPG",
        model.sent(0, Command::ReportTargetPortGroups).into(),
    );
    run.figure("mute transition of 3 s: TUR", model.sent(0, Command::TestUnitReady).into());
    model.take_down()
}

pub(super) fn endless(run: &mut Run) -> Result<()> {
    let model = two_controllers("rtpg_in_transition = false\ntransition_time_shown = 3", "")?;
    settle(&model)?;
    model.apply("do = \"switch\"\nto = \"B\"\ntransition = \"never\"")?;
    // Each read is retried by the midlayer until it gives up or the path is refused: ten times the
    // limit is time enough.
    let nodes = [disk::node(&model.paths[0].hctl)?, disk::node(&model.paths[2].hctl)?];
    let reads: Vec<_> = nodes
        .into_iter()
        .map(|node| std::thread::spawn(move || disk::read_block(&node, Duration::from_secs(30))))
        .collect();
    let over = until(Duration::from_secs(15), || {
        model.of(0).all(|path| disk::access(&path.hctl) == "standby")
    });
    run.check(
        "C08, REG-22",
        "a transition without an end counts as standby after its limit of 3 s",
        over.is_some(),
        seen(&model),
    );
    for read in reads {
        let read = read.join().map_err(|_| anyhow::anyhow!("the reader died"))?;
        run.check(
            "C08",
            "a read in it ends",
            read.as_ref().is_err_and(|error| !error.to_string().contains("did not end")),
            format!("{read:?}"),
        );
    }
    model.apply("do = \"switch\"\nto = \"B\"\ntransition = \"0s\"")?;
    let time = until(SOON, || agree(&model));
    run.check(
        "S7-6",
        "when it ends after all, the states are found without an event",
        time.is_some(),
        seen(&model),
    );
    model.take_down()
}

/// A report tells of a transition before any command meets it, or a unit attention, which would have the
/// stock handler begin anew: an activation asks for it.
fn reported(run: &mut Run, model: &Model, what: &str) -> Result<()> {
    model.apply(
        "do = \"set-state\"\ngroup = 1\nstate = \"active/non-optimized\"\ntransition = \"3s\"\nquiet = true",
    )?;
    let path = &model.paths[0].hctl;
    disk::activate(path)?;
    let standby = until(Duration::from_secs(2), || disk::access(path) == "standby");
    run.check("B14, REG-23", what, standby.is_none(), disk::access(path));
    touch(model)?;
    let time = until(SOON, || agree(model));
    let what = format!("{what}: the states are right in the end");
    run.check("B14", &what, time.is_some(), seen(model));
    Ok(())
}

pub(super) fn stale_deadline(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "tpgs = \"implicit\"\ntransition = \"2s\"\ntransition_time_shown = 4",
        "[[fault]]\nname = \"conflict\"\narmed = false\ncommand = \"report-target-port-groups\"\ncount = 4\n\
         action = \"reservation-conflict\"\n",
    )?;
    settle(&model)?;
    reported(run, &model, "a transition of 3 s that is reported is no standby")?;
    model.apply(
        "do = \"set-state\"\ngroup = 1\nstate = \"active/optimized\"\ntransition = \"0s\"",
    )?;
    settle(&model)?;
    model.apply("do = \"arm\"\nfault = \"conflict\"")?;
    crate::sysfs::rescan(&model.paths[0].hctl)?;
    until(SOON, || model.fault_count("conflict") > 0);
    // No report that is still on its way may come after the failed one.
    std::thread::sleep(Duration::from_secs(1));
    model.apply("do = \"disarm\"\nfault = \"conflict\"")?;
    // Longer than a transition may take.
    std::thread::sleep(Duration::from_secs(6));
    reported(run, &model, "nor is it after a report that failed long ago")?;
    model.take_down()
}
