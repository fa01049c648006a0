//! Attach, states, sense, identity.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use alua_array::Command;
use alua_host::sysfs::{HandlerView, Sysfs, handler_units};
use anyhow::{Result, anyhow};

use super::super::asker::Asker;
use super::super::{Handler, Run, disk, millis, until};
use super::{Model, two_controllers, two_controllers_of};
use crate::sysfs::{delete, look_for, need_disk, rescan, write};

const SOON: Duration = Duration::from_secs(8);
const READ: Duration = Duration::from_secs(20);

/// Whether sysfs agrees with the array on every path.
pub(super) fn agree(model: &Model) -> bool {
    model.of(0).all(|path| {
        let group = if path.port <= 2 { 1 } else { 2 };
        model.state(0, group).is_ok_and(|state| state == disk::access(&path.hctl))
    })
}

pub(super) fn seen(model: &Model) -> String {
    let states = model.of(0).map(|path| disk::access(&path.hctl));
    states.collect::<Vec<_>>().join(", ")
}

/// Waits until sysfs agrees with the array. The stock handler of Linux 6.12 asks for no report by
/// itself when a path comes (see [`attach`]): a rescan makes it ask, so that the other scenarios begin
/// alike.
pub(super) fn settle(model: &Model) -> Result<()> {
    if until(Duration::from_secs(1), || agree(model)).is_none() {
        for path in model.of(0) {
            rescan(&path.hctl)?;
        }
        until(SOON, || agree(model));
    }
    // The disk driver looks at a new disk for a while, with commands that scenarios would count.
    for path in model.of(0) {
        until(SOON, || disk::size(&path.hctl) > 0);
    }
    touch(model)?;
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// One read on every path: what a path meets counts, not whether it can read.
pub(super) fn touch(model: &Model) -> Result<()> {
    for path in model.of(0) {
        let _ = disk::read_block(&disk::node(&path.hctl)?, READ);
    }
    Ok(())
}

/// The stock handler of Linux 6.12 means to ask for a report when it attaches, and does not: what queues
/// the report passes over a device whose handler data do not name the group, and attaching sets these
/// data only afterwards. What makes it ask all the same is a unit attention such as 29/00, which some
/// targets have for each new nexus and others have not: both are tried.
pub(super) fn attach(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "prefer_owner = true\n")?;
    let time = until(SOON, || agree(&model));
    let handlers: Vec<String> = model.of(0).map(|path| disk::handler(&path.hctl)).collect();
    run.check(
        "F20",
        "the handler attaches by itself",
        handlers.iter().all(|one| one == "alua"),
        handlers.join(", "),
    );
    run.check("B24", "sysfs shows every path's state", time.is_some(), seen(&model));
    let preferred: Vec<bool> = model.of(0).map(|path| disk::preferred(&path.hctl)).collect();
    run.check(
        "F19",
        "sysfs shows which path is preferred",
        preferred == [true, true, false, false],
        format!("{preferred:?}"),
    );
    run.figure("attach of 4 paths: RTPG", model.sent(0, Command::ReportTargetPortGroups).into());
    if run.handler == Handler::Ours {
        view(run, &model);
    }
    model.take_down()?;
    power_on(run)?;
    if run.handler == Handler::Ours {
        blank_in_name(run)?;
    }
    Ok(())
}

/// Every path's first command but INQUIRY meets 29/00.
fn power_on(run: &mut Run) -> Result<()> {
    let model = two_controllers_of("connect_attention = \"29/00\"", "", "")?;
    let time = until(SOON, || agree(&model));
    let what = "where each new nexus meets 29/00, sysfs shows every path's state";
    run.check("B24, E03", what, time.is_some(), seen(&model));
    let sent = model.sent(0, Command::ReportTargetPortGroups);
    run.figure("attach of 4 paths that meet 29/00: RTPG", sent.into());
    model.take_down()
}

/// The handler's file in debugfs.
pub(super) const VIEW: &str = "/sys/kernel/debug/alua/units";

pub(super) fn debugfs() -> String {
    std::fs::read_to_string(VIEW).unwrap_or_default()
}

/// The handler's file in debugfs, as `alua` reads it, says what sysfs and the array say.
fn view(run: &mut Run, model: &Model) {
    let view = |hctl: &str| Sysfs::default().device(hctl.parse().ok()?)?.handler_view;
    let whole = |view: HandlerView| {
        let sent = model.sent(0, Command::ReportTargetPortGroups);
        view.path.gate == "pass"
            && view.unit.groups.len() == 2
            && view.unit.paths.len() == 4
            && view.unit.counters.rtpg == Some(sent.into())
            && view.unit.counters.retries.is_some()
            && view.unit.paths.iter().all(|path| {
                path.state.as_ref() == Some(&disk::access(&path.device.to_string()))
                    && path.why.starts_with("reported through ")
            })
    };
    let holds = || model.of(0).all(|path| view(&path.hctl).is_some_and(whole));
    let time = until(SOON, holds);
    let what = "debugfs lists the unit with 2 groups and 4 paths, and alua reads it";
    run.check("F19", what, time.is_some(), debugfs().trim());
}

/// A name with a blank does not end a word of the handler's file.
fn blank_in_name(run: &mut Run) -> Result<()> {
    let name = "iqn.2026-03.test.invalid:one disk";
    let model = two_controllers("", &format!("scsi_name = \"{name}\"\n"))?;
    let named = || {
        let unit = handler_units(&debugfs()).into_iter().next();
        unit.is_some_and(|unit| unit.name == format!("name.{name}") && unit.paths.len() == 4)
    };
    let time = until(SOON, named);
    run.check("F19", "debugfs keeps a name with a blank whole", time.is_some(), debugfs().trim());
    model.take_down()
}

pub(super) fn each_state(run: &mut Run) -> Result<()> {
    let mut states = [
        "active/non-optimized",
        "standby",
        "unavailable",
        "lba-dependent",
        "offline",
        "active/optimized",
    ];
    let model = two_controllers(
        "supported = [\"active/optimized\", \"active/non-optimized\", \"standby\", \"unavailable\", \"lba-dependent\", \"offline\", \"transitioning\"]",
        "",
    )?;
    settle(&model)?;
    model.reset_counters();
    for group in [1, 2] {
        if group == 2 {
            // It begins active/non-optimized: to set that first would show nothing.
            states.swap(0, 1);
        }
        for state in states {
            let set = format!("do = \"set-state\"\ngroup = {group}\nstate = \"{state}\"");
            model.apply(&set)?;
            touch(&model)?;
            let time = until(SOON, || agree(&model));
            let what = format!("sysfs follows group {group} to {state}");
            run.check("B24", &what, time.is_some(), seen(&model));
        }
        if group == 1 {
            run.figure(
                "6 changes of one group, 4 paths: RTPG",
                model.sent(0, Command::ReportTargetPortGroups).into(),
            );
        }
    }
    model.apply("do = \"set-preferred\"\ngroup = 2\npreferred = true")?;
    touch(&model)?;
    let preferred = || model.of(0).map(|path| disk::preferred(&path.hctl)).collect::<Vec<bool>>();
    let time = until(SOON, || preferred() == [false, false, true, true]);
    run.check("F19", "sysfs follows PREF", time.is_some(), format!("{:?}", preferred()));
    offline_path(run, &model)?;
    model.take_down()
}

/// A path comes while its group is offline. Its INQUIRY says that no unit is connected, so that it has no
/// disk.
fn offline_path(run: &mut Run, model: &Model) -> Result<()> {
    model.apply("do = \"set-state\"\ngroup = 2\nstate = \"offline\"")?;
    let path = &model.paths[3].hctl;
    delete(path)?;
    look_for(path)?;
    let time = until(SOON, || disk::handler(path) == "alua");
    run.check(
        "F14",
        "a path that comes while its group is offline gets the handler",
        time.is_some(),
        disk::handler(path),
    );
    let time = until(SOON, || disk::access(path) == "offline");
    run.check("F14, B24", "and sysfs shows that it is offline", time.is_some(), disk::access(path));
    Ok(())
}

/// Row, sense, whether the states must be read again, whether the read must succeed.
const ROWS: [(&str, &str, bool, bool); 16] = [
    ("E01", "2/04/0a", true, true),
    ("E02", "6/04/0a", true, true),
    ("E03", "6/29/00", true, true),
    ("E04", "6/29/04", true, true),
    ("E05", "6/2a/01", false, true),
    ("E06", "6/2a/06", true, true),
    ("E07", "6/2a/07", true, true),
    ("E08", "6/3f/03", true, true),
    ("E09", "6/3f/0e", true, true),
    ("E10", "2/04/0b", true, false),
    ("E10", "2/04/0c", true, false),
    ("E10", "2/04/12", true, false),
    ("E10", "6/29/01", true, true),
    ("E10", "6/29/02", true, true),
    ("E10", "6/29/03", true, true),
    ("E10", "6/29/07", true, true),
];

pub(super) fn sense_rows(run: &mut Run) -> Result<()> {
    let mut faults = String::new();
    for (_, sense, _, _) in ROWS {
        faults.push_str(&format!(
            "[[fault]]\nname = \"{sense}\"\narmed = false\nport = 1\ncommand = \"read-10\"\n\
             count = 1\naction = \"check\"\nsense = \"{sense}\"\n"
        ));
    }
    let model = two_controllers("", &faults)?;
    settle(&model)?;
    let mut asked = 0;
    for (row, sense, again, succeeds) in ROWS {
        // Time for the spacing between refreshes that found nothing new to go by.
        thread::sleep(Duration::from_millis(300));
        model.reset_counters();
        model.apply(&format!("do = \"arm\"\nfault = \"{sense}\""))?;
        let node = disk::node(&model.paths[0].hctl)?;
        let read = disk::read_block(&node, READ);
        let sent = || {
            model.sent(0, Command::ReportTargetPortGroups) + model.sent(0, Command::TestUnitReady)
        };
        if again {
            let time = until(SOON, || sent() > 0);
            run.check(
                row,
                &format!("{sense} leads to another look at the states"),
                time.is_some(),
                sent(),
            );
        }
        run.check(
            row,
            &format!(
                "a read that meets {sense} {}",
                if succeeds { "succeeds" } else { "fails on this path" }
            ),
            read.is_ok() == succeeds && model.fault_count(sense) == 1,
            read.map_or_else(|error| format!("{error:#}"), |()| "read".to_owned()),
        );
        let settled = until(SOON, || agree(&model));
        run.check(
            row,
            &format!("after {sense} sysfs shows the truth"),
            settled.is_some(),
            seen(&model),
        );
        asked += sent();
    }
    run.figure(&format!("{} sense codes, nothing changed: RTPG and TUR", ROWS.len()), asked.into());
    model.take_down()
}

pub(super) fn silent_standby(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "")?;
    settle(&model)?;
    model.apply("do = \"set-state\"\ngroup = 1\nstate = \"standby\"\nquiet = true")?;
    touch(&model)?;
    let time = until(SOON, || agree(&model));
    run.check("E10", "a path that answers 04/0B is looked at again", time.is_some(), seen(&model));
    model.take_down()
}

pub(super) fn sense_transition(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "",
        "[[fault]]\nname = \"late\"\narmed = false\ncommand = [\"report-target-port-groups\", \"test-unit-ready\"]\n\
         action = \"late-answer\"\ndelay = \"1500ms\"\n\
         [[fault]]\nname = \"told\"\narmed = false\nport = 1\ncommand = \"read-10\"\ncount = 1\n\
         action = \"check\"\nsense = \"2/04/0a\"\n",
    )?;
    settle(&model)?;
    model.apply("do = \"arm\"\nfault = \"late\"")?;
    model.apply("do = \"arm\"\nfault = \"told\"")?;
    let path = &model.paths[0].hctl;
    let read = disk::read_block(&disk::node(path)?, READ);
    let shown = until(Duration::from_millis(900), || disk::access(path) == "transitioning");
    run.check(
        "E13, X17",
        "sysfs shows the transition that a sense code told of",
        shown.is_some(),
        disk::access(path),
    );
    run.check("E01", "the read is retried", read.is_ok(), format!("{read:?}"));
    model.apply("do = \"disarm\"\nfault = \"late\"")?;
    until(SOON, || agree(&model));
    model.take_down()
}

pub(super) fn nameless(run: &mut Run) -> Result<()> {
    let model = two_controllers("unit_designator = false", "")?;
    settle(&model)?;
    model.apply("do = \"set-state\"\ngroup = 1\nstate = \"standby\"")?;
    touch(&model)?;
    let time = until(SOON, || agree(&model));
    run.check(
        "A14, REG-25",
        "a unit without a name follows its states",
        time.is_some(),
        seen(&model),
    );
    model.take_down()
}

pub(super) fn late_group(run: &mut Run) -> Result<()> {
    let model = two_controllers("group_designator = false", "")?;
    let path = model.paths[2].hctl.clone();
    let read = disk::read_block(&disk::node(&path)?, READ);
    run.check(
        "X13",
        "a disk whose page 83h names no group can be used",
        read.is_ok(),
        format!("{read:?}"),
    );
    model.apply("do = \"set-alua\"\nalua = { group_designator = true }")?;
    for path in model.of(0) {
        rescan(&path.hctl)?;
    }
    let time = until(SOON, || agree(&model));
    run.check(
        "A06",
        "a rescan finds the group that page 83h names later",
        time.is_some(),
        seen(&model),
    );
    model.take_down()
}

pub(super) fn rescan_in_flux(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "")?;
    settle(&model)?;
    model.apply("do = \"set-alua\"\nalua = { group_designator = false }")?;
    for path in model.of(0) {
        rescan(&path.hctl)?;
    }
    model.apply("do = \"set-alua\"\nalua = { group_designator = true }")?;
    model.apply("do = \"switch\"\nto = \"B\"")?;
    touch(&model)?;
    let time = until(SOON, || agree(&model));
    run.check(
        "REG-28",
        "ALUA survives a rescan while page 83h names no group",
        time.is_some(),
        seen(&model),
    );
    model.take_down()
}

/// While page 83h names no group the path holds I/O, and its queue is needed meanwhile: by whoever
/// freezes it, and by the reading of the page when every request of the queue is taken.
pub(super) fn held_in_queue(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "")?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    let node = disk::node(&path)?;
    let queue = Path::new("/sys/class/block").join(need_disk(&path)?).join("queue");
    write(&queue.join("scheduler"), "none")?;

    let lose_group = || -> Result<()> {
        model.apply("do = \"set-alua\"\nalua = { group_designator = false }")?;
        rescan(&path)
    };
    let read_all = |count: usize| {
        let start = |_| {
            let node = node.clone();
            thread::spawn(move || disk::read_block(&node, READ).map_err(|error| format!("{error}")))
        };
        (0..count).map(start).collect::<Vec<_>>()
    };

    lose_group()?;
    let held = read_all(1);
    thread::sleep(Duration::from_millis(50));
    let depth = queue.join("nr_requests");
    let freeze = thread::spawn(move || write(&depth, "4"));
    let time = until(SOON, || freeze.is_finished());
    run.check(
        "REG-10",
        "a queue can be frozen while the path is in doubt",
        time.is_some(),
        millis(time),
    );
    model.apply("do = \"set-alua\"\nalua = { group_designator = true }")?;
    let time = until(SOON, || held.iter().all(JoinHandle::is_finished));
    run.check("REG-10", "what it held there ends", time.is_some(), millis(time));
    until(SOON, || disk::read_block(&node, READ).is_ok());

    // The queue has four requests now.
    lose_group()?;
    let held = read_all(8);
    thread::sleep(Duration::from_millis(50));
    model.apply("do = \"set-alua\"\nalua = { group_designator = true }")?;
    // A request that is held until its time is over waits five seconds.
    let time = until(Duration::from_secs(4), || held.iter().all(JoinHandle::is_finished));
    run.check(
        "REG-10",
        "I/O that takes every request of the queue ends",
        time.is_some(),
        millis(time),
    );
    let time = until(SOON, || disk::read_block(&node, READ).is_ok());
    run.check("REG-28", "and then the path can be read", time.is_some(), millis(time));
    model.take_down()
}

pub(super) fn swapped(run: &mut Run) -> Result<()> {
    let model =
        two_controllers("", "[[unit]]\nname = \"other\"\nblocks = 65536\nowner = [\"A\"]\n")?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    model.apply("do = \"map\"\nlun = 0\nunit = \"other\"\nport = 1")?;
    let node = disk::node(&path)?;
    // The midlayer repeats the command that meets the unit attention, whatever a handler says.
    let _ = disk::read_block(&node, READ);
    thread::sleep(Duration::from_millis(300));
    let read = disk::read_block(&node, READ);
    run.check(
        "S7-7",
        "no more I/O reaches another logical unit when a unit attention has told of it",
        read.is_err(),
        format!("{read:?}"),
    );
    rescan(&path)?;
    let time = until(SOON, || disk::read_block(&node, READ).is_ok());
    run.check(
        "S7-7",
        "after a rescan the path belongs to the unit that is there",
        time.is_some(),
        millis(time),
    );
    model.take_down()
}

/// The only path of a unit changes between two units, so that each rescan is the end of one and the
/// beginning of the other, while the path is asked for activations and reads without a pause.
pub(super) fn swapped_alone(run: &mut Run) -> Result<()> {
    const ROUNDS: usize = 30;
    let model = Model::set_up(
        "[array]\nname = \"lab\"\n[alua]\ntransition = \"20ms\"\n[[controller]]\nname = \"A\"\n\
         [[group]]\nid = 1\ncontroller = \"A\"\n[[port]]\nid = 1\ngroup = 1\n\
         [[unit]]\nname = \"disk\"\nlun = 0\nblocks = 65536\nowner = [\"A\"]\n\
         [[unit]]\nname = \"other\"\nblocks = 65536\nowner = [\"A\"]\n",
    )?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    let node = disk::node(&path)?;
    let stop = Arc::new(AtomicBool::new(false));
    let repeat = |what: Box<dyn Fn() -> bool + Send>| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let (mut times, mut failed) = (0_u32, 0_u32);
            while !stop.load(Ordering::Acquire) {
                times += 1;
                failed += u32::from(!what());
            }
            (times, failed)
        })
    };
    let asker = Arc::new(Asker::ready()?);
    let askers = [&asker; 2].map(|asker| {
        let (asker, path) = (Arc::clone(asker), path.clone());
        repeat(Box::new(move || {
            // As many in all as it can count.
            thread::sleep(Duration::from_millis(2));
            asker.ask(&path, 1).is_ok()
        }))
    });
    let reader = {
        let node = node.clone();
        repeat(Box::new(move || disk::read_block(&node, READ).is_ok()))
    };
    // Whoever looks holds the lock that leaving and joining need.
    let onlooker = repeat(Box::new(|| std::fs::read("/sys/kernel/debug/alua/units").is_ok()));

    let mut moved = 0;
    for round in 0..ROUNDS {
        let unit = if round % 2 == 0 { "other" } else { "disk" };
        model.apply(&format!("do = \"map\"\nlun = 0\nunit = \"{unit}\"\nport = 1"))?;
        thread::sleep(Duration::from_millis((round % 5) as u64 * 10));
        rescan(&path)?;
        moved += usize::from(until(SOON, || disk::read_block(&node, READ).is_ok()).is_some());
    }
    stop.store(true, Ordering::Release);
    let mut asked = 0;
    let mut refused = 0;
    for asker in askers {
        let (times, failed) = asker.join().map_err(|_| anyhow!("an asker died"))?;
        asked += times;
        refused += failed;
    }
    for other in [reader, onlooker] {
        other.join().map_err(|_| anyhow!("a reader died"))?;
    }
    run.check(
        "S7-7",
        &format!("the only path of a unit moves to another unit, {ROUNDS} times"),
        moved == ROUNDS,
        moved,
    );
    run.check(
        "F08",
        "activations can be asked for meanwhile",
        asked > 0 && refused == 0,
        format!("{refused} of {asked} could not"),
    );
    asker.check(run, "F08", "each of them ends, once", SOON);
    let state = until(SOON, || disk::access(&path) == "active/optimized");
    run.check("B24", "and then sysfs shows the path's state", state.is_some(), disk::access(&path));
    model.take_down()
}
