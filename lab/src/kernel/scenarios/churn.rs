//! Paths and modules that come and go.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::{Run, disk, until};
use super::access::{agree, seen, settle};
use super::two_controllers;
use crate::sysfs::{delete, read, scan, write};

const SOON: Duration = Duration::from_secs(10);

pub(super) fn paths(run: &mut Run) -> Result<()> {
    let model = two_controllers("transition = \"20ms\"\nother_state = \"standby\"", "")?;
    settle(&model)?;
    let other = model.paths[3].hctl.clone();
    let path = model.paths[1].hctl.clone();
    for round in 0..40 {
        let to = if round % 2 == 0 { "B" } else { "A" };
        model.apply(&format!("do = \"switch\"\nto = \"{to}\""))?;
        disk::activate(&path)?;
        disk::activate(&other)?;
        std::thread::sleep(Duration::from_millis(round % 7));
        delete(&path)?;
        scan(&path)?;
    }
    for path in model.of(0) {
        crate::sysfs::rescan(&path.hctl)?;
    }
    let time = until(SOON, || agree(&model));
    run.check(
        "F17, REG-03",
        "40 paths go in the middle of everything, and the states are right",
        time.is_some(),
        seen(&model),
    );
    model.take_down()
}

/// Loads, uses and unloads the handler so often.
fn reloads(run: &mut Run, times: u32) -> Result<()> {
    let free = until(SOON, || run.handler.unload().is_ok());
    ensure!(free.is_some(), "the module cannot be unloaded at the start");
    let mut done = 0;
    for _ in 0..times {
        run.handler.load()?;
        // The module goes right after the disks, in the middle of what it began.
        let model = two_controllers("transition = \"20ms\"", "")?;
        model.apply("do = \"switch\"\nto = \"B\"")?;
        disk::activate(&model.paths[0].hctl)?;
        model.take_down()?;
        let gone = until(SOON, || run.handler.unload().is_ok());
        ensure!(gone.is_some(), "the module cannot be unloaded after {done} times");
        done += 1;
        if done % 50 == 0 {
            println!("lab: {done} times");
        }
    }
    run.handler.load()?;
    run.check("F16", &format!("{times} times loaded, used and unloaded"), done == times, done);
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
