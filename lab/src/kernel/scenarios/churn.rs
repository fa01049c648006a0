//! Paths and modules that come and go.

use std::path::Path;
use std::time::Duration;

use alua_host::sysfs::{HandlerPath, handler_units};
use anyhow::{Context, Result, anyhow, ensure};

use super::super::{Handler, Run, disk, until};
use super::access::{VIEW, agree, debugfs, seen, settle, touch};
use super::activation::all_told;
use super::{Model, two_controllers};
use crate::sysfs::{delete, read, rescan, scan, write};

const SOON: Duration = Duration::from_secs(10);

/// Rounds in which a path goes and comes.
const ROUNDS: u32 = 40;

pub(super) fn paths(run: &mut Run) -> Result<()> {
    let model = two_controllers("transition = \"20ms\"\nother_state = \"standby\"", "")?;
    settle(&model)?;
    let mut staying = Vec::new();
    for place in [0, 2, 3] {
        staying.push(disk::Reader::start(&disk::node(&model.paths[place].hctl)?)?);
    }
    let other = model.paths[3].hctl.clone();
    let path = model.paths[1].hctl.clone();
    let (mut read, mut ended) = (0, 0);
    for round in 0..ROUNDS {
        let before: Vec<_> = staying.iter().map(|it| (it.reads(), it.errors())).collect();
        let to = if round % 2 == 0 { "B" } else { "A" };
        model.apply(&format!("do = \"switch\"\nto = \"{to}\""))?;
        disk::activate(&path)?;
        disk::activate(&other)?;
        std::thread::sleep(Duration::from_millis(u64::from(round % 7)));
        delete(&path)?;
        scan(&path)?;
        // The group that is in standby refuses its reads, and which one that is an activation decides:
        // a read ends on each path, and on some path one succeeds.
        let since = || staying.iter().zip(&before);
        let ends = || since().all(|(it, old)| (it.reads(), it.errors()) != *old);
        let reads = || since().any(|(it, old)| it.reads() > old.0);
        ended += u32::from(until(SOON, ends).is_some());
        read += u32::from(until(SOON, reads).is_some());
    }
    run.check(
        "F17",
        "in each round reads end on all paths that stay, and are good on one",
        ended == ROUNDS && read == ROUNDS,
        format!("{ended}, {read} of {ROUNDS}"),
    );
    let stopped = staying.into_iter().all(|reader| reader.stop(SOON));
    run.check("F17", "their readers end", stopped, stopped);
    for path in model.of(0) {
        rescan(&path.hctl)?;
    }
    let time = until(SOON, || agree(&model));
    run.check(
        "F17, REG-03",
        "40 paths go in the middle of everything, and the states are right",
        time.is_some(),
        seen(&model),
    );
    all_told(run);
    model.take_down()
}

/// Where the designators are in the page 83h that the kernel read, and their kinds.
pub(super) fn designators(hctl: &str) -> Result<Vec<(usize, u8)>> {
    let file = Path::new("/sys/bus/scsi/devices").join(hctl).join("vpd_pg83");
    let page = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let mut at = 4;
    let mut all = Vec::new();
    while let Some(&[_, kind, _, length]) = page.get(at..at + 4) {
        all.push((at, kind & 0x3f));
        at += 4 + usize::from(length);
    }
    Ok(all)
}

/// Where the target port group is in the page 83h that the kernel read.
pub(super) fn place_of_group(hctl: &str) -> Result<usize> {
    let group = designators(hctl)?.into_iter().find(|&(_, kind)| kind == 0x15);
    Ok(group.with_context(|| format!("page 83h of {hctl} names no group"))?.0 + 6)
}

/// Lets page 83h of the first path name the second group, with the fault `moved`.
pub(super) fn move_to_other_group(model: &Model, place: usize) -> Result<()> {
    model.apply(&format!(
        "do = \"fault\"\nname = \"moved\"\nport = 1\ncommand = \"inquiry\"\n\
         action = \"patch\"\noffset = {place}\ndata = \"00 02\""
    ))
}

/// Page 83h of a path names another group, and later the first again.
pub(super) fn regroup(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "")?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    let other = model.paths[2].hctl.clone();
    let place = place_of_group(&path)?;
    move_to_other_group(&model, place)?;
    rescan(&path)?;
    let both = || format!("{}, {}", disk::access(&path), disk::access(&other));
    let time = until(SOON, || disk::access(&path) == "active/non-optimized");
    run.check(
        "A18",
        "a rescan moves a path to the group that page 83h names",
        time.is_some(),
        both(),
    );
    model.apply("do = \"set-state\"\ngroup = 2\nstate = \"standby\"")?;
    touch(&model)?;
    let follows = || [&path, &other].iter().all(|path| disk::access(path) == "standby");
    run.check("A18", "it follows its new group", until(SOON, follows).is_some(), both());
    if run.handler == Handler::Ours {
        let moved = |it: &HandlerPath| it.device.to_string() == path && it.group == Some(2);
        let shown = || {
            let units = handler_units(&debugfs());
            let [unit] = &units[..] else { return false };
            unit.paths.len() == 4 && unit.groups.len() == 2 && unit.paths.iter().any(moved)
        };
        let time = until(SOON, shown);
        run.check(
            "A18",
            "debugfs shows it there, in the one unit",
            time.is_some(),
            debugfs().trim(),
        );
    }
    model.apply("do = \"disarm\"\nfault = \"moved\"")?;
    rescan(&path)?;
    let time = until(SOON, || agree(&model));
    run.check("A18", "and moves it back", time.is_some(), seen(&model));
    model.take_down()?;
    if run.handler == Handler::Ours {
        let view = || std::fs::read_to_string(VIEW);
        let empty = until(SOON, || view().is_ok_and(|text| handler_units(&text).is_empty()));
        run.check(
            "A20",
            "no unit is left when the paths are gone",
            empty.is_some(),
            format!("{:?}", view()),
        );
    }
    Ok(())
}

/// Readers on the disks, which are on them while the module comes and until the disks go.
fn readers(model: &Model) -> Result<Vec<disk::Reader>> {
    let mut readers = Vec::new();
    for path in model.of(0) {
        let node = disk::node(&path.hctl)?;
        // A new disk cannot be opened for a moment after it is seen.
        let mut reader = Err(anyhow!("it never opened"));
        until(SOON, || {
            reader = disk::Reader::start(&node);
            reader.is_ok()
        });
        readers.push(reader?);
    }
    Ok(readers)
}

/// The module comes to disks under I/O, is used, and goes right after them.
pub(super) fn reload_busy(run: &mut Run) -> Result<()> {
    busy_reloads(run, 20)
}

pub(super) fn reload_busy_1000(run: &mut Run) -> Result<()> {
    busy_reloads(run, 1_000)
}

/// Loads the handler so often under I/O, attaches it, uses and unloads it.
fn busy_reloads(run: &mut Run, rounds: usize) -> Result<()> {
    let free = until(SOON, || run.handler.unload().is_ok());
    ensure!(free.is_some(), "the module cannot be unloaded at the start");
    let (mut right, mut idle, mut hung, mut failed) = (0, 0, 0, 0);
    let mut last = String::new();
    for round in 1..=rounds {
        if round % 50 == 0 {
            println!("lab: {round} times");
        }
        let model = two_controllers("transition = \"20ms\"", "")?;
        for path in model.of(0) {
            until(SOON, || disk::size(&path.hctl) > 0);
        }
        let readers = readers(&model)?;
        run.handler.load()?;
        for path in model.of(0) {
            let state = Path::new("/sys/bus/scsi/devices").join(&path.hctl).join("dh_state");
            write(&state, "alua")?;
        }
        let before: Vec<_> = readers.iter().map(disk::Reader::reads).collect();
        let behind = || readers.iter().zip(&before).filter(|(it, old)| it.reads() <= **old).count();
        model.apply("do = \"switch\"\nto = \"B\"")?;
        if until(SOON, || agree(&model)).is_some() {
            right += 1;
        } else {
            last = seen(&model);
        }
        // Before the activation, so that the disks still go right after it.
        until(SOON, || behind() == 0);
        idle += behind();
        disk::activate(&model.paths[0].hctl)?;
        // Every group is live or soon will be: no path has a reason to refuse a read until it goes.
        failed += readers.iter().map(disk::Reader::errors).sum::<u64>();
        model.take_down()?;
        hung += readers.into_iter().map(|it| it.stop(SOON)).filter(|ended| !ended).count();
        let gone = until(SOON, || run.handler.unload().is_ok());
        ensure!(gone.is_some(), "the module cannot be unloaded: {right} rounds were right");
    }
    run.handler.load()?;
    let what =
        format!("{rounds} times loaded, attached under I/O and unloaded, the states are right");
    run.check("F14, F16", &what, right == rounds, format!("{right}, {last}"));
    run.check(
        "F16",
        "every reader reads on with the module, and ends",
        idle == 0 && hung == 0,
        format!("{idle}, {hung}"),
    );
    run.check("F14, F16", "no read fails before the disks go", failed == 0, failed);
    Ok(())
}

/// Loads, uses and unloads the handler so often.
fn reloads(run: &mut Run, times: u32) -> Result<()> {
    let free = until(SOON, || run.handler.unload().is_ok());
    ensure!(free.is_some(), "the module cannot be unloaded at the start");
    let mut used = 0;
    for done in 1..=times {
        run.handler.load()?;
        // The module goes right after the disks, in the middle of what it began.
        let model = two_controllers("transition = \"20ms\"", "")?;
        model.apply("do = \"switch\"\nto = \"B\"")?;
        disk::activate(&model.paths[0].hctl)?;
        used += u32::from(model.of(0).all(|path| disk::handler(&path.hctl) == "alua"));
        model.take_down()?;
        let gone = until(SOON, || run.handler.unload().is_ok());
        ensure!(gone.is_some(), "the module cannot be unloaded the {done}th time");
        if done % 50 == 0 {
            println!("lab: {done} times");
        }
    }
    run.handler.load()?;
    run.check("F16", &format!("{times} times loaded, used and unloaded"), used == times, used);
    Ok(())
}

pub(super) fn reload(run: &mut Run) -> Result<()> {
    reloads(run, 10)
}

pub(super) fn reload_1000(run: &mut Run) -> Result<()> {
    reloads(run, 1_000)
}

/// What kmemleak finds of our handler, and of nobody else: the kernel's own leaks are not ours.
pub(super) fn leaks(run: &mut Run) -> Result<()> {
    // One report of any kind, of the kernel's own too, turns it off for good.
    let locks = read(Path::new("/proc/lockdep_stats"))?;
    let on = locks.lines().find(|line| line.contains("debug_locks")).unwrap_or("debug_locks: none");
    run.check("X12", "lockdep looked on to the end", on.trim().ends_with('1'), on);
    let file = Path::new("/sys/kernel/debug/kmemleak");
    // An object counts as lost when two scans apart in time find no pointer to it.
    for _ in 0..2 {
        write(file, "scan")?;
        std::thread::sleep(Duration::from_secs(6));
    }
    let found = std::fs::read_to_string(file)?;
    let ours: Vec<&str> =
        found.split("unreferenced object").filter(|object| object.contains("alua_")).collect();
    run.check("X12", "kmemleak finds no object of the handler's", ours.is_empty(), ours.join(" "));
    run.figure("objects that kmemleak finds, the kernel's own included", {
        let all = found.matches("unreferenced object").count();
        f64::from(u32::try_from(all)?)
    });
    Ok(())
}
