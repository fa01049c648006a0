//! Activation: through dm and through sysfs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alua_array::Command;
use anyhow::{Context, Result, anyhow, ensure};

use super::super::asker::Asker;
use super::super::dm::Map;
use super::super::{Handler, Run, disk, median, millis, rests, until};
use super::access::{agree, seen, settle};
use super::transition::groups;
use super::{Model, two_controllers};
use crate::sysfs::{delete, scan};

const SOON: Duration = Duration::from_secs(10);
/// Activations that wait for their turn to send STPG may take some tens of seconds.
pub(super) const TURNS: Duration = Duration::from_secs(100);

/// Whether reads through a map go on.
fn reads(map: &Map, limit: Duration) -> Option<Duration> {
    until(limit, || disk::read_block(&map.node(), limit).is_ok())
}

fn counts(run: &mut Run, model: &Model, what: &str) {
    run.figure(&format!("{what}: RTPG"), model.sent(0, Command::ReportTargetPortGroups).into());
    run.figure(&format!("{what}: STPG"), model.sent(0, Command::SetTargetPortGroups).into());
}

/// Reports and STPG together.
pub(super) fn asked_for(model: &Model) -> u32 {
    model.sent(0, Command::SetTargetPortGroups) + model.sent(0, Command::ReportTargetPortGroups)
}

pub(super) fn activation(run: &mut Run) -> Result<()> {
    let model = two_controllers("other_state = \"standby\"", "")?;
    settle(&model)?;
    let map = Map::create("lab", &groups(&model), "1 alua")?;
    let first = reads(&map, SOON);
    run.check("G01", "I/O goes through the optimized group", first.is_some(), map.status()?);
    model.reset_counters();
    map.message("switch_group 2")?;
    let time = reads(&map, SOON);
    let reached = until(SOON, || model.state(0, 2).is_ok_and(|state| state == "active/optimized"));
    run.check(
        "F08, G02",
        "dm's activation makes the standby group optimized",
        reached.is_some(),
        model.state(0, 2)?,
    );
    run.check("G11", "I/O goes on in the new group", time.is_some(), map.status()?);
    let stpg = model.sent(0, Command::SetTargetPortGroups);
    run.check("C16", "the two paths of the group cost one STPG", stpg == 1, stpg);
    run.check(
        "B24",
        "sysfs shows the new states",
        until(SOON, || agree(&model)).is_some(),
        seen(&model),
    );
    counts(run, &model, "activation by dm, 2 paths");
    // Each switch is one activation; what waits in it is the stall of the I/O.
    let mut times = vec![time];
    for to in [1, 2, 1, 2] {
        map.message(&format!("switch_group {to}"))?;
        times.push(reads(&map, SOON));
        let reached = until(SOON, || model.state(0, to).is_ok_and(|it| it == "active/optimized"));
        run.check(
            "F08, G02",
            &format!("another switch makes group {to} optimized"),
            reached.is_some(),
            model.state(0, to)?,
        );
    }
    let back = times.iter().flatten().count();
    run.check("G11", "I/O goes on after each of 5 switches", back == 5, back);
    // One that never came back would lower it.
    if back == 5 {
        run.figure(
            "activation by dm: ms until I/O, median of 5",
            median(times.into_iter().map(millis).collect()),
        );
    }
    map.remove()?;
    model.take_down()
}

pub(super) fn storm(run: &mut Run) -> Result<()> {
    let model = two_controllers("other_state = \"standby\"", "")?;
    settle(&model)?;
    model.reset_counters();
    let asker = Asker::ready()?;
    std::thread::scope(|scope| {
        for path in groups(&model).concat().iter().cycle().take(32) {
            let (asker, path) = (&asker, path.clone());
            scope.spawn(move || {
                for _ in 0..10 {
                    // What it did not ask is missing below.
                    let _ = asker.ask(&path, 1);
                }
            });
        }
    });
    let asked = asker.counts()?.asked;
    run.check("F08", "320 activations are asked for at once", asked == 320, asked);
    asker.check(run, "F08", "each of them ends, once", TURNS);
    // The storm ends: no command for a second.
    let all = || asked_for(&model);
    let quiet = rests(Duration::from_secs(1), Duration::from_secs(30), all);
    run.check("REG-01", "the storm ends", quiet, all());
    counts(run, &model, "320 activations of 4 paths");
    run.figure("320 activations of 4 paths: ended well", asker.counts()?.ok as f64);
    all_told(run);
    run.check(
        "B24",
        "sysfs shows the truth after it",
        until(SOON, || agree(&model)).is_some(),
        seen(&model),
    );
    model.take_down()
}

/// Each activation that our handler has taken has ended, once. The stock handler does not tell.
pub(super) fn all_told(run: &mut Run) {
    if run.handler == Handler::Stock {
        return;
    }
    let look = || std::fs::read_to_string("/sys/kernel/debug/alua/activations").unwrap_or_default();
    let number = |text: &str, name: &str| -> Option<u64> {
        let word = text.split_whitespace().find_map(|word| word.strip_prefix(name))?;
        word.strip_prefix('=')?.parse().ok()
    };
    let is_so = |text: &str| {
        let taken = number(text, "taken");
        taken.is_some_and(|taken| taken > 0) && taken == number(text, "told")
    };
    let held = until(TURNS, || is_so(&look())).is_some();
    run.check("F08", "each activation ended, once", held, look().trim());
}

/// A group changes and tells nobody, so that it hears of it from the reports that the other group reads;
/// first alone, and then while its lock is wanted all the time, by what leads to no report.
pub(super) fn contended(run: &mut Run) -> Result<()> {
    const ALONE: usize = 50;
    const WANTED: usize = 400;
    // One after the other: none is what an older report says.
    const STATES: [&str; 3] = ["standby", "active/non-optimized", "unavailable"];
    let model = two_controllers("", "")?;
    settle(&model)?;
    let asker = Asker::ready()?;
    let [first, second] = groups(&model).map(|group| group[0].clone());
    let stop = AtomicBool::new(false);
    let reports = |number: usize| -> Result<(u32, String)> {
        let (mut skipped, mut last) = (0, String::new());
        for state in STATES.iter().cycle().take(number) {
            model.apply(&format!(
                "do = \"set-state\"\ngroup = 2\nstate = \"{state}\"\nquiet = true"
            ))?;
            asker.ask(&first, 1)?;
            let ended = || asker.counts().is_ok_and(|counts| counts.told == counts.asked);
            until(SOON, ended).context("an activation does not end")?;
            if until(Duration::from_millis(300), || agree(&model)).is_none() {
                skipped += 1;
                last = seen(&model);
            }
        }
        Ok((skipped, last))
    };
    let alone = reports(ALONE)?;
    let wanted = std::thread::scope(|scope| {
        let busy = scope.spawn(|| -> Result<u32> {
            let mut times = 0;
            while !stop.load(Ordering::Acquire) {
                Asker::set_parameters(&second, 1_000)?;
                times += 1;
            }
            Ok(times)
        });
        let wanted = reports(WANTED);
        stop.store(true, Ordering::Release);
        let times = busy.join().map_err(|_| anyhow!("who wanted the lock died"))??;
        ensure!(times > 0, "nobody wanted the lock");
        wanted
    })?;
    for ((skipped, last), number, which) in
        [(alone, ALONE, "at rest"), (wanted, WANTED, "that is busy")]
    {
        run.check(
            "B26, REG-24",
            &format!("no report of {number} leaves out a group {which}"),
            skipped == 0,
            format!("{skipped}, last {last}"),
        );
    }
    asker.check_ok(run, "F08", "each activation of the group that is optimized ended well");
    model.take_down()
}

/// Has dm ask for the second group of a target with such ALUA, once; gives how long I/O took then.
fn switched(alua: &str) -> Result<(Model, Map, Option<Duration>)> {
    let model = two_controllers(alua, "")?;
    settle(&model)?;
    let map = Map::create("lab", &groups(&model), "1 alua")?;
    reads(&map, SOON);
    model.reset_counters();
    map.message("switch_group 2")?;
    let time = reads(&map, SOON);
    Ok((model, map, time))
}

pub(super) fn implicit(run: &mut Run) -> Result<()> {
    let (model, map, time) = switched("tpgs = \"implicit\"")?;
    run.check("C15", "I/O goes through the non-optimized group", time.is_some(), map.status()?);
    let stpg = model.sent(0, Command::SetTargetPortGroups);
    run.check("REG-18", "no STPG is sent to an implicit-only target", stpg == 0, stpg);
    counts(run, &model, "activation by dm, implicit only, 2 paths");
    map.remove()?;
    model.take_down()
}

pub(super) fn explicit(run: &mut Run) -> Result<()> {
    let (model, map, time) = switched("tpgs = \"explicit\"\nother_state = \"standby\"")?;
    run.check(
        "C15",
        "I/O goes through the group that was asked for",
        time.is_some(),
        map.status()?,
    );
    let stpg = model.sent(0, Command::SetTargetPortGroups);
    run.check("C16", "an explicit-only target is sent one STPG", stpg == 1, stpg);
    let right = until(SOON, || agree(&model));
    run.check("B24", "sysfs shows the new states", right.is_some(), seen(&model));
    counts(run, &model, "activation by dm, explicit only, 2 paths");
    map.remove()?;
    model.take_down()
}

pub(super) fn in_transition(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "other_state = \"standby\"\ntransition = \"4s\"\ntransition_time_shown = 30",
        "",
    )?;
    settle(&model)?;
    let map = Map::create("lab", &groups(&model), "1 alua")?;
    reads(&map, SOON);
    model.reset_counters();
    let asker = Asker::ready()?;
    model.apply("do = \"switch\"\nto = \"B\"")?;
    let start = Instant::now();
    map.message("switch_group 2")?;
    for path in &groups(&model)[1] {
        asker.ask(path, 2)?;
    }
    let time = std::thread::scope(|scope| -> Result<_> {
        let reader = scope.spawn(|| reads(&map, Duration::from_secs(20)));
        // The array's own switch makes the group optimized, whatever became of the activations: what
        // shows that they waited is that none had ended in its middle.
        std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
        let (counts, state) = (asker.counts()?, model.state(0, 2)?);
        run.check(
            "D12",
            "no activation ends in the middle of the transition",
            counts.asked == 4 && counts.told == 0 && state == "transitioning",
            format!("{counts:?}, {state}, {} ms", start.elapsed().as_millis()),
        );
        reader.join().map_err(|_| anyhow!("the reader died"))
    })?;
    run.check(
        "D12",
        "an activation in a transition ends, and I/O goes on",
        time.is_some(),
        map.status()?,
    );
    let state = model.state(0, 2)?;
    run.check("D12", "the group is optimized", state == "active/optimized", state);
    asker.check(run, "F08", "four more that were asked for meanwhile end, once each", TURNS);
    asker.check_ok(run, "D12", "and they end well");
    all_told(run);
    counts(run, &model, "5 activations in a transition of 4 s");
    map.remove()?;
    model.take_down()
}

/// A path, or every path, of the group goes while dm activates it. An activation that never came
/// back would leave dm waiting for ever.
pub(super) fn path_dies(run: &mut Run) -> Result<()> {
    const ROUNDS: u32 = 5;
    // Beyond eight in a minute a switch waits its turn.
    const PATIENCE: Duration = Duration::from_secs(20);
    let model = two_controllers("other_state = \"standby\"\ntransition = \"20ms\"", "")?;
    let asker = Asker::ready()?;
    let mut went_on = 0;
    let mut last = String::new();
    for round in 0..ROUNDS {
        settle(&model)?;
        let groups = groups(&model);
        let map = Map::create("lab", &groups, "1 alua")?;
        reads(&map, PATIENCE);
        let target = usize::from(model.state(0, 1)? == "active/optimized");
        map.message(&format!("switch_group {}", target + 1))?;
        for path in &groups[target] {
            asker.ask(path, 1)?;
        }
        let node = map.node();
        // The read begins the activation.
        let read = std::thread::spawn(move || disk::read_block(&node, PATIENCE));
        std::thread::sleep(Duration::from_millis(u64::from(round) * 7));
        let dying = if round % 3 == 0 { &groups[target][..] } else { &groups[target][..1] };
        for path in dying {
            delete(path)?;
        }
        let read = read.join().map_err(|_| anyhow!("the reader died"))?;
        if read.is_ok() && reads(&map, PATIENCE).is_some() {
            went_on += 1;
        } else {
            last = format!("round {round}: {read:?}, {}", map.status()?);
        }
        map.remove()?;
        for path in dying {
            scan(path)?;
        }
    }
    run.check(
        "C06, REG-02",
        &format!("I/O goes on after each of {ROUNDS} activations whose paths go in the middle"),
        went_on == ROUNDS,
        last,
    );
    asker.check(run, "F08", "each activation through a path that goes ends, once", TURNS);
    all_told(run);
    settle(&model)?;
    run.check(
        "B24",
        "sysfs shows the truth after it",
        until(SOON, || agree(&model)).is_some(),
        seen(&model),
    );
    model.take_down()
}

pub(super) fn optimize(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "prefer_owner = true\n")?;
    settle(&model)?;
    let map = Map::create("lab", &groups(&model), "2 alua 1")?;
    reads(&map, SOON);
    model.reset_counters();
    map.message("switch_group 2")?;
    let time = reads(&map, SOON);
    let stpg = model.sent(0, Command::SetTargetPortGroups);
    run.check(
        "D03, F11",
        "with optimize_stpg a live group that is not preferred is left alone",
        stpg == 0,
        stpg,
    );
    run.check("D03", "I/O goes on there", time.is_some(), map.status()?);
    map.remove()?;
    model.take_down()
}

pub(super) fn ping_pong(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "")?;
    settle(&model)?;
    model.reset_counters();
    let [first, second] = groups(&model);
    for _ in 0..15 {
        for path in [&second[0], &first[0]] {
            disk::activate(path)?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let stpg = model.sent(0, Command::SetTargetPortGroups);
    run.check(
        "REG-27",
        "30 pulls in 6 s send at most 16 STPG (8, and as many that met a unit attention)",
        stpg <= 16,
        stpg,
    );
    counts(run, &model, "30 pulls back and forth in 6 s");
    model.take_down()
}
