//! `cargo xtask bench`: the figures that `docs/figures.md` records, in one table.
//!
//! - Parsers: instructions and nanoseconds per report, ours beside other implementations.
//! - Scale: 4,096 logical units of eight paths on the model array.
//! - Engine: what one request costs in native multipath.
//! - Export: NBD, beside nbdkit, also through the engine on the model array. Only when it is asked for: it needs the lab's image.
//! - iSCSI: the target, beside tgt. Only when it is asked for.
//!
//! Figures from real units come from the lab: `docs/figures.md` names the command.

mod export;
mod instructions;
mod iscsi;
mod peers;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;
use peers::Peers;

/// The package that holds the benchmarks.
const PACKAGE: &str = "alua-bench";

/// The samples, and what we and others do with each of them.
const PARSERS: [(&str, &[&str], &[&str]); 4] = [
    ("rtpg-2", REPORT, &["libmultipath"]),
    ("rtpg-4", REPORT, &["libmultipath"]),
    ("rtpg-32", REPORT, &["libmultipath"]),
    ("page83", &["alua-core", "alua-core-identity"], &["libiscsi", "libsgutils2"]),
];
const REPORT: &[&str] = &["alua-core", "alua-core-one-state"];

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only this part; without it, parsers, scale and engine
    #[arg(value_enum)]
    only: Option<Part>,
    /// Logical units of the scale part
    #[arg(long, default_value_t = 4096)]
    units: u32,
    /// Turns of each server in the export part
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Seconds of a turn in the export part
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// RTPG and page 83h, beside other implementations
    Parsers,
    /// Many units on the model array
    Scale,
    /// One request of native multipath, without faults
    Engine,
    /// NBD in memory and through the engine on the model array, beside nbdkit, with the programs of
    /// the lab's image
    Export,
    /// The iSCSI target beside tgt, over loopback
    Iscsi,
}

/// A row of the table.
struct Row {
    name: String,
    value: String,
    /// The second figure, or the goal.
    other: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.only == Some(Part::Iscsi) {
        return iscsi::show();
    }
    if args.only == Some(Part::Export) {
        let length = export::Length { rounds: args.rounds.into(), seconds: args.seconds };
        let rows = export::rows(length)?;
        machine();
        println!("| {} |", export::HEAD.join(" | "));
        for row in rows {
            println!("| {} |", row.join(" | "));
        }
        return Ok(());
    }
    let mut build = run::cargo();
    run::run(build.args(["build", "--quiet", "--release", "--bins", "--package", PACKAGE]))?;
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let (mut parsers, mut notes) = (Vec::new(), Vec::new());
    if wanted(Part::Parsers) {
        let folder = target().join("bench");
        run::run(program("alua-bench-parse").arg(folder.join("samples")))?;
        let peers = Peers::build(&folder);
        notes = peers.notes();
        let times = times(&folder, &peers)?;
        parsers = parser_rows(&folder, &peers, &times, &mut notes);
    }
    let scale = if wanted(Part::Scale) { scale_rows(args.units)? } else { Vec::new() };
    let engine = if wanted(Part::Engine) { engine_rows()? } else { Vec::new() };
    machine();
    for note in notes {
        println!("{note}");
    }
    show(["parser", "instructions per report", "ns per report"], &parsers);
    show([&format!("{} units, 8 paths, 2 groups", args.units), "figure", "goal"], &scale);
    show(["4 KiB, submission to completion, 8 paths", "figure", "goal"], &engine);
    Ok(())
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| run::root().join("target"), |path| run::root().join(path))
}

/// A program of the package, built for release.
fn program(name: &str) -> Command {
    run::command(target().join("release").join(name))
}

fn machine() {
    let said = |program: &str, argument: &str| {
        run::capture(run::command(program).arg(argument))
            .ok()
            .and_then(|text| text.lines().next().map(str::to_owned))
            .unwrap_or_else(|| format!("{program}: not there"))
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("\n{cores} cores, {}", std::env::consts::ARCH);
    for (program, argument) in
        [("rustc", "--version"), ("gcc", "--version"), ("valgrind", "--version")]
    {
        println!("{}", said(program, argument));
    }
}

/// Lets criterion measure all, and gives the folder of its results.
fn times(folder: &Path, peers: &Peers) -> Result<PathBuf> {
    let home = folder.join("criterion");
    // Results of a peer that is not there any more must not be taken for new ones.
    if home.exists() {
        std::fs::remove_dir_all(&home)?;
    }
    let mut cargo = run::cargo();
    cargo.args(["bench", "--quiet", "--package", PACKAGE, "--bench", "parse"]);
    cargo.env("CRITERION_HOME", &home);
    peers.set_environment(&mut cargo);
    run::run(&mut cargo)?;
    Ok(home)
}

/// The fastest of criterion's samples, in nanoseconds for one call: what else the machine does can
/// only make a sample slower, and moves a median by half.
fn fastest(home: &Path, sample: &str, subject: &str) -> Result<f64> {
    let file = home.join(sample).join(subject).join("new/sample.json");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("criterion left no {}", file.display()))?;
    let samples: serde_json::Value = serde_json::from_str(&text)?;
    let list = |name: &str| {
        let values = samples[name].as_array().into_iter().flatten();
        values.filter_map(serde_json::Value::as_f64).collect::<Vec<f64>>()
    };
    let (times, calls) = (list("times"), list("iters"));
    let each = times.iter().zip(&calls).map(|(time, calls)| time / calls);
    each.min_by(f64::total_cmp).context("criterion left no samples")
}

fn parser_rows(folder: &Path, peers: &Peers, home: &Path, notes: &mut Vec<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (sample, ours, others) in PARSERS {
        let mut add = |subject: &str, counted: Result<u64>| {
            let mut shown = |what: Result<String>| {
                what.unwrap_or_else(|error| {
                    notes.push(format!("{sample}, {subject}: {error:#}"));
                    "-".to_owned()
                })
            };
            rows.push(Row {
                name: format!("{sample}, {subject}"),
                value: shown(counted.map(|count| count.to_string())),
                other: shown(fastest(home, sample, subject).map(|ns| format!("{ns:.1}"))),
            });
        };
        for subject in ours {
            let counted = instructions::per_call(|count| {
                let mut command = program("alua-bench-parse");
                command.args([sample, subject, &count.to_string()]);
                command
            });
            add(subject, counted);
        }
        for peer in others.iter().filter(|peer| peers.is_ready(peer)) {
            let counted = instructions::per_call(|count| {
                let mut command = run::command(peers.program(peer));
                command.arg(folder.join("samples").join(sample)).arg(count.to_string());
                peers.set_environment(&mut command);
                command
            });
            add(peer, counted);
        }
    }
    rows
}

fn scale_rows(units: u32) -> Result<Vec<Row>> {
    let said = run::capture(program("alua-bench-scale").arg(units.to_string()))?;
    let row = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        Row { name: next(), value: next(), other: next() }
    };
    Ok(said.lines().map(row).collect())
}

/// What is measured of the engine: the work, its name, and the goals for instructions and time. By
/// queue-depth, the engine's default, and by service-time, that of `alua up`.
const ENGINE: [(&str, &str, &str, &str); 6] = [
    ("read", "read", "1000", ""),
    ("write", "write, with its place in the order of writes", "1000", ""),
    ("select", "the choice alone, and the load taken in", "", "20"),
    ("read-service-time", "read, service-time", "1000", ""),
    ("write-service-time", "write, service-time", "1000", ""),
    ("select-service-time", "the choice alone, service-time", "", "20"),
];

/// What a shell calls of the engine for a request without faults.
const ENTRIES: [&str; 5] = [
    "alua_multipath::engine::Engine::submit",
    "alua_multipath::engine::Engine::handle_io",
    "alua_multipath::engine::Engine::poll_action",
    "alua_multipath::engine::Engine::poll_event",
    "alua_multipath::deadline::<impl alua_multipath::engine::Engine>::poll_deadline",
];

fn engine_rows() -> Result<Vec<Row>> {
    let times = run::capture(program("alua-bench-engine").arg("time"))?;
    let mut rows = Vec::new();
    for (work, name, instructions, nanos) in ENGINE {
        let mut add = |what: &str, value: String, goal: &str| {
            rows.push(Row { name: format!("{name}, {what}"), value, other: goal.to_owned() });
        };
        let command = |count: u64| {
            let mut command = program("alua-bench-engine");
            command.args([work, &count.to_string()]);
            command
        };
        if work.starts_with("select") {
            add("instructions", instructions::per_call(command)?.to_string(), instructions);
        } else {
            // The bench makes requests and answers, and keeps a clock: that is not the engine's.
            let own = instructions::per_call_within(&ENTRIES, command)?;
            add("instructions", own.to_string(), instructions);
            add(
                "instructions with the bench's own",
                instructions::per_call(command)?.to_string(),
                "",
            );
        }
        let line = times.lines().find_map(|line| line.strip_prefix(work)?.strip_prefix(' '));
        let (ns, allocations) = line
            .and_then(|line| line.split_once(' '))
            .with_context(|| format!("alua-bench-engine told no time of {work}"))?;
        add("ns", ns.to_owned(), nanos);
        add("allocations", allocations.to_owned(), "0");
    }
    Ok(rows)
}

fn show(head: [&str; 3], rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let width = |of: fn(&Row) -> &str, head: &str| {
        rows.iter().map(|row| of(row).len()).chain([head.len()]).max().unwrap_or(0)
    };
    let first = width(|row| &row.name, head[0]);
    let second = width(|row| &row.value, head[1]);
    let third = width(|row| &row.other, head[2]);
    println!();
    let line = |a: &str, b: &str, c: &str| println!("{a:first$}  {b:>second$}  {c:>third$}");
    line(head[0], head[1], head[2]);
    line(&"-".repeat(first), &"-".repeat(second), &"-".repeat(third));
    for row in rows {
        line(&row.name, &row.value, &row.other);
    }
}
