//! Paths that take commands and do not answer.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::dm::Map;
use super::super::{Handler, Run, disk, millis, until};
use super::access::{agree, seen, settle};
use super::two_controllers;

/// A report is not waited for so long where another path can be asked.
const SOON: Duration = Duration::from_secs(6);
/// The time limit of a command, and the midlayer's error handling.
const LONG: Duration = Duration::from_secs(100);
const READ: Duration = Duration::from_secs(20);

/// Each path tells that what is behind it may have changed, and one does not answer when it is asked: the
/// others are asked all the same, and pass I/O again.
pub(super) fn identity(run: &mut Run) -> Result<()> {
    const SENSE: &str = "6/3f/0e";
    let news = |port| {
        format!(
            "[[fault]]\nname = \"news-{port}\"\narmed = false\nport = {port}\n\
             command = \"read-10\"\ncount = 1\naction = \"check\"\nsense = \"{SENSE}\"\n"
        )
    };
    let mut faults: String = (1..=4).map(news).collect();
    faults += "[[fault]]\nname = \"hang\"\narmed = false\nport = 1\ncommand = \"inquiry\"\n\
               action = \"hang\"\n";
    let model = two_controllers("", &faults)?;
    settle(&model)?;
    for fault in ["hang", "news-1", "news-2", "news-3", "news-4"] {
        model.apply(&format!("do = \"arm\"\nfault = \"{fault}\""))?;
    }
    let nodes: Vec<_> =
        model.paths.iter().map(|path| disk::node(&path.hctl)).collect::<Result<_>>()?;
    let first = nodes[0].clone();
    let silent = thread::spawn(move || disk::read_block(&first, LONG));
    // The stock handler asks nobody.
    let hangs = until(SOON, || model.fault_count("hang") > 0);
    ensure!(
        hangs.is_some() || run.handler == Handler::Stock,
        "nobody asked through the path that hangs"
    );
    let reads: Vec<_> = nodes[1..]
        .iter()
        .cloned()
        .map(|node| {
            thread::spawn(move || {
                let start = Instant::now();
                // What meets it may be repeated by the midlayer without asking the handler again.
                disk::read_block(&node, LONG)?;
                disk::read_block(&node, LONG).map(|()| start.elapsed())
            })
        })
        .collect();
    let times: Vec<_> = reads.into_iter().filter_map(|read| read.join().ok()).collect();
    let worst = times.iter().flatten().max().copied();
    run.check(
        "C09, S7-7",
        "paths that may lead elsewhere pass I/O within 6 s though another one is silent",
        times.len() == 3 && times.iter().all(|time| time.as_ref().is_ok_and(|it| *it <= SOON)),
        format!("{times:?}"),
    );
    run.figure("page 83h hangs on a path: ms until the other paths pass I/O", millis(worst));
    model.apply("do = \"disarm\"\nfault = \"hang\"")?;
    model.let_go();
    let _ = silent.join();
    let time = until(LONG, || agree(&model));
    run.check("B24", "and then sysfs shows the truth", time.is_some(), seen(&model));
    model.take_down()
}

/// The path in use tells that what is behind it may have changed, and does not answer when it is asked:
/// dm goes on through the other one. Its request-based map makes a request of its own for each try.
pub(super) fn under_dm(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "",
        "[[fault]]\nname = \"news\"\narmed = false\nport = 1\ncommand = \"read-10\"\n\
         count = 1\naction = \"check\"\nsense = \"6/3f/0e\"\n\
         [[fault]]\nname = \"hang\"\narmed = false\nport = 1\ncommand = \"inquiry\"\n\
         action = \"hang\"\n",
    )?;
    settle(&model)?;
    let of = |place: usize| vec![model.paths[place].hctl.clone()];
    let map = Map::create("doubt", &[of(0), of(2)], "1 alua")?;
    let reader = disk::Reader::start(&map.node())?;
    let flows = |more: u64| {
        let from = reader.reads();
        until(LONG, || reader.reads() >= from + more)
    };
    ensure!(flows(10).is_some(), "nothing can be read");
    reader.forget();
    for fault in ["hang", "news"] {
        model.apply(&format!("do = \"arm\"\nfault = \"{fault}\""))?;
    }
    ensure!(until(SOON, || model.fault_count("news") > 0).is_some(), "no read met the news");
    ensure!(flows(100).is_some(), "nothing can be read any more");
    let stall = reader.stall();
    run.check(
        "C09, S7-7",
        "dm reads on within 10 s through the other path, without an error",
        stall <= 10_000.0 && reader.errors() == 0,
        format!("{stall} ms, {} errors, {}", reader.errors(), map.status()?),
    );
    run.figure("page 83h hangs on the path in use under dm: ms of I/O stall", stall);
    model.apply("do = \"disarm\"\nfault = \"hang\"")?;
    model.let_go();
    ensure!(reader.stop(LONG), "the reader hangs");
    map.remove()?;
    let time = until(LONG, || agree(&model));
    run.check("B24", "and then sysfs shows the truth", time.is_some(), seen(&model));
    model.take_down()
}

/// Reports through one path are not answered, and all else is: the other path of its group and the
/// other group can be asked.
pub(super) fn report(run: &mut Run) -> Result<()> {
    let model = two_controllers(
        "",
        "[[fault]]\nname = \"hang\"\narmed = false\nport = 1\n\
         command = \"report-target-port-groups\"\naction = \"hang\"\n",
    )?;
    settle(&model)?;
    model.apply("do = \"arm\"\nfault = \"hang\"")?;
    // What the path itself tells is asked through it first.
    model.apply("do = \"set-state\"\ngroup = 1\nstate = \"active/non-optimized\"")?;
    disk::read_block(&disk::node(&model.paths[0].hctl)?, READ)?;
    let hangs = until(SOON, || model.fault_count("hang") > 0);
    ensure!(hangs.is_some(), "nobody asked for a report through the path that hangs");

    model.apply("do = \"set-state\"\ngroup = 2\nstate = \"standby\"")?;
    // The group's own path tells of it, as far as it can while it is in standby.
    let _ = disk::read_block(&disk::node(&model.paths[2].hctl)?, READ);
    let other =
        until(LONG, || model.paths[2..].iter().all(|path| disk::access(&path.hctl) == "standby"));
    let all = until(LONG, || agree(&model)).and_then(|more| Some(other? + more));
    let within = |time: Option<Duration>| time.is_some_and(|time| time <= SOON);
    run.check(
        "C09, REG-09",
        "the other group's states are read while a report hangs on a path, within 6 s",
        within(other),
        format!("{} ms, {}", millis(other), seen(&model)),
    );
    run.check(
        "C09, REG-09",
        "and those of its own group, through its other path",
        within(all),
        format!("{} ms, {}", millis(all), seen(&model)),
    );
    run.figure("a report hangs on a path: ms until the other group's states", millis(other));
    run.figure("a report hangs on a path: ms until all states", millis(all));
    model.apply("do = \"disarm\"\nfault = \"hang\"")?;
    model.let_go();
    model.take_down()
}
