//! `cargo xtask sim`: runs seeds of the simulation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use alua_sim::{LEGEND, Options, Report, Sabotage, Search};
use alua_sim::{brief, negative_control, run, run_drawn, search};
use clap::Parser;

/// Runs the multipath engine on the model array under faults, from seeds.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// Run this seed alone
    #[arg(long, conflicts_with_all = ["seed_start", "seeds", "controls"])]
    seed: Option<u64>,
    /// Break the engine in this way, named as `--controls` names it
    #[arg(long, requires = "seed", value_name = "HOW", value_parser = named)]
    broken: Option<Sabotage>,
    /// Print the trace of the seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Draw the run of the seed into this file, as SVG
    #[arg(long, requires = "seed", value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Draw this part of the run only, in virtual seconds
    #[arg(long, requires = "timeline", num_args = 2, value_names = ["FROM", "TO"])]
    window: Option<Vec<f64>>,
    /// The first seed of a search
    #[arg(long, default_value_t = 0)]
    seed_start: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Run each seed twice and compare the traces; also with --seed
    #[arg(long)]
    twice: bool,
    /// Run the negative controls: an engine that is broken on purpose has to be caught
    #[arg(long)]
    controls: bool,
    /// Threads; all cores without it
    #[arg(long)]
    jobs: Option<usize>,
}

fn named(name: &str) -> Result<Sabotage, String> {
    let names = Sabotage::ALL.map(|how| format!("{how:?}"));
    let at = names.iter().position(|it| it == name);
    at.map(|at| Sabotage::ALL[at]).ok_or_else(|| format!("it is one of {}", names.join(", ")))
}

/// Seeds within which a negative control must be caught.
const CONTROL_SEEDS: u64 = 120;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.seed.is_none() {
        // A panic is a finding like any other.
        std::panic::set_hook(Box::new(|_| {}));
    }
    if let Some(seed) = args.seed {
        return one(seed, &args);
    }
    if args.controls {
        return controls(args.seed_start);
    }
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into));
    println!("seeds {} to {}", args.seed_start, args.seed_start.wrapping_add(args.seeds - 1));
    let summary = search(Search {
        start: args.seed_start,
        count: args.seeds,
        twice: args.twice,
        jobs: jobs.unwrap_or(1),
        progress: true,
    });
    print!("{}", summary.stalls.table());
    let seeds = summary.seeds.max(1) as f64;
    println!(
        "{} seeds in {:.1} s ({:.0} a minute): per seed {:.0} requests, {:.1} fault events, {:.1} \
         virtual seconds; {} requests failed for want of a path, by a reservation or by write protection",
        summary.seeds,
        summary.time.as_secs_f64(),
        seeds * 60.0 / summary.time.as_secs_f64(),
        summary.requests as f64 / seeds,
        summary.events as f64 / seeds,
        summary.virtual_secs / seeds,
        summary.failed
    );
    let twice = if args.twice { " --twice" } else { "" };
    for (seed, found) in &summary.bad {
        println!("\nseed {seed}:");
        for what in found.iter().take(3) {
            println!("    {what}");
        }
        println!("    replay: cargo xtask sim --seed {seed} --trace{twice}");
    }
    println!("{} passed, {} failed", summary.seeds - summary.bad.len() as u64, summary.bad.len());
    if summary.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, args: &Args) -> ExitCode {
    let options = Options::new(seed);
    let options = args.broken.map_or(options.clone(), |how| options.broken(how));
    let again = args.twice.then(|| run(options.clone(), false).digest);
    let report = match &args.timeline {
        None => run(options, args.trace),
        Some(file) => match drawn(options, args, file) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("the picture cannot be written to {}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        },
    };
    if args.trace {
        println!("{LEGEND}\n");
        for line in &report.trace {
            println!("{line}");
        }
    }
    println!(
        "seed {seed}: {} requests, {} failed, {} fault events, {:.3} virtual seconds, trace {:016x}",
        report.requests,
        report.failed,
        report.events,
        report.virtual_ns as f64 / 1e9,
        report.digest
    );
    for violation in &report.violations {
        println!("{violation}");
    }
    let differs = again.is_some_and(|again| again != report.digest);
    if differs {
        println!("two runs of this seed differ");
    }
    if report.violations.is_empty() && !differs { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a seed and draws it.
fn drawn(options: Options, args: &Args, file: &Path) -> std::io::Result<Report> {
    let (report, mut timeline) = run_drawn(options, args.trace);
    if let Some(&[from, to]) = args.window.as_deref() {
        // What is no time at all becomes 0 or the end of time, which the picture can show.
        (timeline.from, timeline.to) = ((from * 1e9) as u64, (to * 1e9) as u64);
    }
    std::fs::write(file, timeline.render())?;
    Ok(report)
}

fn controls(start: u64) -> ExitCode {
    let mut missed = 0;
    for how in Sabotage::ALL {
        match negative_control(how, start, CONTROL_SEEDS) {
            Some((seed, turns, caught)) => {
                let caught = caught.to_string();
                println!(
                    "I{:<2} {how:?}: caught after {turns} seeds ({seed}): {}",
                    how.invariant(),
                    brief(&caught)
                );
            }
            None => {
                missed += 1;
                println!("I{:<2} {how:?}: NOT CAUGHT in {CONTROL_SEEDS} seeds", how.invariant());
            }
        }
    }
    println!("{} passed, {missed} failed", Sabotage::ALL.len() - missed);
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
