//! What goes while something is still on its way: paths while the handler's own commands have no answer
//! yet, groups while they are activated, the module right after activations.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::asker::Asker;
use super::super::model::ModelPath;
use super::super::{Run, until};
use super::access::{agree, seen, settle, touch};
use super::activation::{TURNS, all_told};
use super::churn::{move_to_other_group, place_of_group};
use super::two_controllers;
use crate::sysfs::{delete, rescan, scan};

const SOON: Duration = Duration::from_secs(10);

/// A fault that lets the target answer a command later than the rest, not armed.
fn late(command: &str, delay: &str) -> String {
    format!(
        "[[fault]]\nname = \"{command}\"\narmed = false\ncommand = \"{command}\"\n\
         action = \"late-answer\"\ndelay = \"{delay}\"\n"
    )
}

const STPG: &str = "set-target-port-groups";

/// Activations are asked for, and then the paths go and the module behind them.
pub(super) fn unload(run: &mut Run) -> Result<()> {
    const ROUNDS: u64 = 8;
    let asker = Asker::ready()?;
    let mut open = 0;
    let mut last = String::new();
    for round in 0..ROUNDS {
        let model = two_controllers(
            "other_state = \"standby\"\ntransition = \"20ms\"",
            &late(STPG, "200ms"),
        )?;
        settle(&model)?;
        if round % 2 == 1 {
            model.apply(&format!("do = \"arm\"\nfault = \"{STPG}\""))?;
        }
        for place in [2, 0, 3, 1] {
            asker.ask(&model.paths[place].hctl, 8)?;
        }
        thread::sleep(Duration::from_millis(round * 5));
        model.take_down()?;
        let gone = until(SOON, || run.handler.unload().is_ok());
        ensure!(gone.is_some(), "the module cannot be unloaded after {round} times");
        let counts = asker.counts()?;
        if counts.told != counts.asked {
            open += 1;
            last = format!("round {round}: {counts:?}");
        }
        run.handler.load()?;
    }
    run.check(
        "F08, F16",
        &format!("{ROUNDS} times unloaded right after activations, and none was open then"),
        open == 0,
        last,
    );
    asker.check(run, "F08", "each of these activations ended, once", Duration::ZERO);
    Ok(())
}

/// Paths go and come while a report or an STPG has no answer yet: the one that carries it, and others.
pub(super) fn commands(run: &mut Run) -> Result<()> {
    const COMMANDS: [(&str, u8); 2] = [("report-target-port-groups", 0xa3), (STPG, 0xa4)];
    let faults: String = COMMANDS.iter().map(|(command, _)| late(command, "1s")).collect();
    let asker = Asker::ready()?;
    let model = two_controllers("other_state = \"standby\"", &faults)?;
    settle(&model)?;
    let mut missed = Vec::new();
    for (command, code) in COMMANDS {
        for round in 0..4_usize {
            model.apply(&format!("do = \"arm\"\nfault = \"{command}\""))?;
            // The group that is not there yet, so that there is something to send STPG for.
            let asked = if model.state(0, 1)? == "active/optimized" { 2 } else { 0 };
            asker.ask(&model.paths[asked].hctl, 2)?;
            let mut carrier = None;
            until(TURNS, || {
                carrier = model.carrier(code).cloned();
                carrier.is_some()
            });
            thread::sleep(Duration::from_millis(40 * u64::try_from(round)?));
            let carries =
                |path: &ModelPath| carrier.as_ref().is_some_and(|it| it.hctl == path.hctl);
            let own = model.paths.iter().position(carries).unwrap_or(0);
            let place = (own + if round < 2 { 0 } else { round }) % model.paths.len();
            let path = model.paths[place].hctl.clone();
            if model.carrier(code).is_none() {
                missed.push(format!("{command} {round}"));
            }
            delete(&path)?;
            scan(&path)?;
            model.apply(&format!("do = \"disarm\"\nfault = \"{command}\""))?;
        }
    }
    run.check(
        "F17",
        "a path goes and comes 8 times while a command of the handler's has no answer, 4 times its own",
        missed.is_empty(),
        missed.join(", "),
    );
    asker.check(run, "F08", "and each activation ends, once", TURNS);
    all_told(run);
    touch(&model)?;
    let time = until(SOON, || agree(&model));
    run.check("F17, REG-03", "and the states are right", time.is_some(), seen(&model));
    model.take_down()
}

/// Page 83h of a path names one group and the other in turn, while the path is activated all the time.
pub(super) fn regrouped(run: &mut Run) -> Result<()> {
    const ROUNDS: u32 = 30;
    let asker = Asker::ready()?;
    // No STPG: what is looked for does not need one, and their number is limited.
    let model = two_controllers("tpgs = \"implicit\"", "")?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    let place = place_of_group(&path)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let asking = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Acquire) && asker.counts()?.asked < 20_000 {
                asker.ask(&path, 4)?;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let moves = || -> Result<()> {
            for _ in 0..ROUNDS {
                move_to_other_group(&model, place)?;
                rescan(&path)?;
                model.apply("do = \"disarm\"\nfault = \"moved\"")?;
                rescan(&path)?;
            }
            Ok(())
        };
        let moved = moves();
        stop.store(true, Ordering::Release);
        asking.join().ok().context("the asker has panicked")??;
        moved
    })?;
    asker.check(
        run,
        "C06",
        "each activation of a path that goes from group to group meanwhile ends, once",
        SOON,
    );
    let time = until(SOON, || agree(&model));
    run.check("A18", "and the states are right", time.is_some(), seen(&model));
    model.take_down()
}
