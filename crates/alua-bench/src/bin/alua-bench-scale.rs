//! `alua-bench-scale [UNITS]`: the scenarios of [`alua_bench::scale`], one row for each figure:
//! name, value, goal ("-" where there is none), separated by tabs.

use std::time::Duration;

use alua_bench::scale::cost::{Bytes, cpu};
use alua_bench::scale::scenario::{Change, Part, Run, core_config, counters, run};
use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let units: u32 = match std::env::args().nth(1) {
        Some(count) => count.parse().context("the number of units")?,
        None => 4096,
    };
    show_bytes();
    for change in Change::ALL {
        let plain = run(units, change, false)?;
        let core = core_alone(units, change)?;
        if change == Change::AtOnce {
            show_discovery(&plain, units);
        }
        show_change(change, &plain, core, units);
    }
    Ok(())
}

fn row(name: &str, value: impl std::fmt::Display, goal: impl std::fmt::Display) {
    println!("{name}\t{value}\t{goal}");
}

fn show_bytes() {
    let bytes = Bytes::measure();
    row("state: bytes per path, storage of one path", bytes.path, "-");
    row("state: bytes per group, storage of one group", bytes.group, "-");
    row("state: bytes per unit apart from paths and groups", bytes.own, "-");
    row("state: bytes per unit with 8 paths in 2 groups", bytes.unit, "-");
    row("state: bytes per path, all of the unit shared out", bytes.per_path(), "at most 256");
}

fn show_discovery(run: &Run, units: u32) {
    let part = &run.discovery;
    row("discovery: RTPG", part.rtpg, units);
    row("discovery: TUR by the driver", part.tur, "-");
    row("discovery: commands of the array in all, with the scan", part.commands, "-");
    row("discovery: virtual ms until every state was right", millis(part.right_after), "-");
    row("discovery: CPU s, array built", seconds(run.build), "-");
    row("discovery: CPU s, driver, host and array", seconds(part.cpu), "-");
}

fn show_change(change: Change, run: &Run, core: Duration, units: u32) {
    let name = change.name();
    let part: &Part = &run.change;
    let goal = match change {
        Change::AtOnce => format!("at most {units}"),
        _ => "-".to_owned(),
    };
    row(&format!("{name}: RTPG"), part.rtpg, goal);
    row(&format!("{name}: STPG"), part.stpg, "-");
    row(&format!("{name}: TUR by the driver"), part.tur, "-");
    row(&format!("{name}: reads turned back by sense"), part.tally.turned_back, "-");
    row(&format!("{name}: virtual ms until every state was right"), millis(part.right_after), "-");
    row(&format!("{name}: driver's commands out at once, at most"), part.tally.most_out, "-");
    row(&format!("{name}: commands of the array in all"), part.commands, "-");
    row(&format!("{name}: CPU s, driver alone, with discovery"), seconds(core), "-");
    let all = run.build + run.discovery.cpu + part.cpu;
    row(&format!("{name}: CPU s, all of it, with discovery"), seconds(all), "under 1");
}

/// CPU time of the calls into the core, made again alone.
fn core_alone(units: u32, change: Change) -> Result<Duration> {
    let logged = run(units, change, true)?;
    let log = logged.log.context("no log")?;
    let from = cpu();
    let again = log.replay(units as usize, core_config())?;
    let used = cpu() - from;
    ensure!(counters(again.iter().flatten()) == logged.sent, "the replay sent something else");
    Ok(used)
}

fn millis(span: Duration) -> String {
    format!("{:.1}", span.as_secs_f64() * 1e3)
}

fn seconds(span: Duration) -> String {
    format!("{:.3}", span.as_secs_f64())
}
