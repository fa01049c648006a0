//! Running the scenarios of the device handler: with ours, and with the stock one beside it, on each
//! kernel.

use std::collections::BTreeSet;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use alua_lab::kernel::{Record, control, scenarios, scenarios::When};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::boot::{self, Boot, Manner, OtherKernel};
use super::super::cache;
use super::super::image::Image;
use super::super::recipe::install;
use super::super::scenarios::keep as keep_files;
use super::module::{self, Modules};
use super::page;
use super::records::{self, Column};
use super::tree::{BuildTree, Release};
use crate::run;

/// What the guest runs.
const RUN: &str = "#!/bin/sh
mkdir -p /run/bin
cp /host/alua-lab-kernel /host/*.ko /run/bin/
exec /run/bin/alua-lab-kernel /host HANDLER
";

/// QEMU's arguments for a clock that counts instructions. Where the guest waits its time jumps.
const COUNTED: [&str; 6] = ["-accel", "tcg", "-icount", "shift=0,sleep=off", "-smp", "1"];
/// How much slower such a guest, or one that finds mistakes, may be.
pub(super) const SLOWER: u32 = 6;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Names of scenarios; without one all that are not long
    scenarios: Vec<String>,
    /// On the kernel of this Debian release only
    #[arg(long)]
    release: Option<Release>,
    /// With this handler only
    #[arg(long)]
    handler: Option<Handler>,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// In a guest with one processor whose clock counts its instructions, one a nanosecond: what is
    /// measured there does not depend on what else this machine does. Slow
    #[arg(long)]
    counted: bool,
    /// Leave a trace of the handler's commands and of the kernel's log in this folder, for each
    /// scenario
    #[arg(long, value_name = "FOLDER")]
    trace: Option<PathBuf>,
    /// Write docs/kernel-side-by-side.md, and the records beside it that it is made from: the newest of
    /// each scenario, from there and from the runs of this machine
    #[arg(long)]
    page: bool,
    /// The stock handler as `cargo xtask test` runs it: the scenarios that tell the two apart, and an
    /// error where it does not fail what it is known to fail
    #[arg(long, exclusive = true)]
    control: bool,
}

/// Which handler runs.
#[derive(
    clap::ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize,
)]
pub(crate) enum Handler {
    /// The distribution's
    Stock,
    /// Ours
    Ours,
}

impl Handler {
    pub(super) const ALL: [Self; 2] = [Self::Stock, Self::Ours];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Ours => "ours",
        }
    }
}

/// `cargo xtask lab kernel`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        for scenario in scenarios::ALL {
            let long = if scenario.when == When::Asked { " (long)" } else { "" };
            println!("{:<26} {}{long}", scenario.name, scenario.summary);
        }
        return Ok(());
    }
    if args.page {
        let columns = records::all()?;
        records::write(&columns)?;
        return page::write(&columns);
    }
    if args.control {
        return run_control();
    }
    let mut failures = Vec::new();
    for release in Release::ALL {
        for handler in Handler::ALL {
            let wanted = args.release.is_none_or(|one| one == release)
                && args.handler.is_none_or(|one| one == handler);
            if wanted {
                let mut ground = Ground::of(release)?;
                if args.counted {
                    ground.kernel.arguments = COUNTED.map(str::to_owned).to_vec();
                    ground.manner = ground.manner.slower(SLOWER);
                    ground.counted = true;
                }
                let column =
                    run_column(&ground, handler, todo(&args.scenarios)?, args.trace.as_deref())?;
                failures.extend(failures_of(&column));
            }
        }
    }
    conclude(&failures)
}

/// What `cargo xtask test` runs: ours in all that is not long, on all kernels at once, for a guest waits most
/// of its time.
pub(crate) fn run_all() -> Result<()> {
    let grounds: Vec<Ground> = Release::ALL.into_iter().map(Ground::of).collect::<Result<_>>()?;
    let names = todo(&[])?;
    let columns: Vec<Result<Column>> = thread::scope(|scope| {
        let start = |ground| {
            let names = names.clone();
            scope.spawn(move || run_column(ground, Handler::Ours, names, None))
        };
        let running: Vec<_> = grounds.iter().map(start).collect();
        let end = |one: ScopedJoinHandle<'_, Result<Column>>| {
            one.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        running.into_iter().map(end).collect()
    });
    let mut failures = Vec::new();
    for column in columns {
        failures.extend(failures_of(&column?));
    }
    conclude(&failures)
}

/// The stock handler on the newest kernel, in the scenarios that tell the two handlers apart: what it
/// is known to fail must be seen to fail.
pub(crate) fn run_control() -> Result<()> {
    let wanted = control::scenarios();
    let names = scenarios::ALL.iter().map(|scenario| scenario.name);
    let names = names.filter(|name| wanted.contains(name)).map(str::to_owned).collect();
    let column = run_column(&Ground::of(Release::Trixie)?, Handler::Stock, names, None)?;
    let mut surprises = Vec::new();
    for record in &column.records {
        let place = format!("{} stock {}", column.release, record.scenario);
        let found = control::surprises(record);
        surprises.extend(found.into_iter().map(|surprise| format!("{place}: {surprise}")));
        // The guest has nothing of ours in its kernel.
        for line in &record.warnings {
            println!("{place}: not judged, a warning of the stock kernel: {line}");
        }
    }
    for surprise in &surprises {
        println!("{surprise}");
    }
    if !surprises.is_empty() {
        bail!(
            "the stock handler surprised {} times: see lab/src/kernel/control.rs",
            surprises.len()
        );
    }
    println!("lab: the stock handler failed {} checks, those that are known", control::FAILS.len());
    Ok(())
}

fn conclude(failures: &[String]) -> Result<()> {
    for failure in failures {
        println!("{failure}");
    }
    if !failures.is_empty() {
        bail!("{} things did not hold", failures.len());
    }
    Ok(())
}

/// What did not hold. Of the stock handler only what kept a scenario from its end: the rest is what
/// the comparison is for.
fn failures_of(column: &Column) -> Vec<String> {
    let mut failures = Vec::new();
    for record in &column.records {
        let place = format!("{} {} {}", column.release, column.handler.name(), record.scenario);
        if column.handler == Handler::Ours {
            for check in record.checks.iter().filter(|check| !check.held) {
                failures.push(format!(
                    "{place}: {}: not so: {} (seen: {})",
                    check.row, check.what, check.seen
                ));
            }
            failures.extend(record.warnings.iter().map(|line| format!("{place}: {line}")));
            failures.extend(record.error.iter().map(|line| format!("{place}: {line}")));
        }
        if record.checks.is_empty() && record.error.is_none() {
            failures.push(format!("{place}: nothing was checked"));
        }
    }
    failures
}

/// The names of the scenarios to run.
pub(super) fn todo(names: &[String]) -> Result<Vec<String>> {
    let known: BTreeSet<&str> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) {
        bail!("there is no scenario {unknown}: `cargo xtask lab kernel --list` shows them");
    }
    Ok(scenarios::ALL
        .iter()
        .filter(|scenario| match names {
            [] => scenario.when != When::Asked,
            names => names.iter().any(|name| name == scenario.name),
        })
        .map(|scenario| scenario.name.to_owned())
        .collect())
}

/// A kernel to run on, and the modules for it.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) release: String,
    pub(super) version: String,
    pub(super) kernel: OtherKernel,
    pub(super) modules: Modules,
    /// How its guest is run.
    pub(super) manner: Manner,
    /// The clock of its guest counts instructions.
    pub(super) counted: bool,
}

impl Ground {
    fn of(release: Release) -> Result<Self> {
        let tree = BuildTree::ready(release)?;
        Ok(Self {
            release: release.name().to_owned(),
            version: tree.version()?,
            kernel: tree.kernel()?,
            modules: module::build_for_lab(release)?,
            manner: Manner::USUAL,
            counted: false,
        })
    }

    /// One without records.
    fn column(&self, handler: Handler) -> Column {
        Column {
            release: self.release.clone(),
            kernel: self.version.clone(),
            handler,
            counted: self.counted,
            records: Vec::new(),
        }
    }
}

/// Runs these scenarios with our handler; what does not hold is an error.
pub(super) fn run_ours(ground: &Ground, names: Vec<String>) -> Result<()> {
    conclude(&failures_of(&run_column(ground, Handler::Ours, names, None)?))
}

/// Runs scenarios with one handler on one kernel, in as many boots as that takes, and keeps the records of
/// each.
fn run_column(
    ground: &Ground,
    handler: Handler,
    mut todo: Vec<String>,
    trace: Option<&Path>,
) -> Result<Column> {
    let image = Image::ready()?;
    let share = Share::new(ground)?;
    let is_long = |name: &String| {
        let is = |scenario: &&scenarios::Scenario| scenario.name == name;
        scenarios::ALL.iter().find(is).is_some_and(|scenario| scenario.when == When::Asked)
    };
    let slower = if todo.iter().any(is_long) { SLOWER } else { 1 };
    if trace.is_some() {
        fs::create_dir_all(share.traces())?;
    }
    // What is changed while it runs is not in it.
    let commit = records::commit();
    let source = (handler == Handler::Ours).then(|| ground.modules.source.clone());
    let start = Instant::now();
    println!("lab: {}, handler: {}", ground.version, handler.name());
    let mut column = ground.column(handler);
    let mut console = String::new();
    while !todo.is_empty() {
        share.prepare(handler, &todo)?;
        let boot = boot::boot_kernel(
            &image,
            &share.folder,
            Some(&ground.kernel),
            ground.manner.slower(slower),
        )?;
        console.push_str(&boot.console);
        let log = format!("kernel-{}-{}.log", ground.release, handler.name());
        fs::write(cache()?.join(log), &console)?;
        let mut done = share.results()?;
        if let Some(folder) = trace {
            share.keep_traces(folder, &ground.release, handler)?;
        }
        if done.len() < todo.len() && done.iter().all(|record| record.error.is_none()) {
            done.push(died(&todo[done.len()], &boot));
        }
        todo.drain(..done.len());
        let at = records::now();
        for record in &mut done {
            (record.commit, record.at, record.source) = (commit.clone(), at, source.clone());
        }
        records::keep(&Column { records: done.clone(), ..ground.column(handler) })?;
        column.records.extend(done);
    }
    let (scenarios, seconds) = (column.records.len(), start.elapsed().as_secs());
    println!("lab: {}, {}: {scenarios} scenarios in {seconds} s", ground.version, handler.name());
    Ok(column)
}

/// The record of a scenario whose guest did not live to tell it.
fn died(scenario: &str, boot: &Boot) -> Record {
    let what = if boot.hung { "the guest hung and was cut off" } else { "the guest died" };
    println!("lab: {scenario}: {what}");
    Record {
        scenario: scenario.to_owned(),
        error: Some(format!("{what}; its console ended with:\n{}", boot.last_lines())),
        ..Record::default()
    }
}

/// The folder that the guest sees as `/host`.
struct Share {
    folder: PathBuf,
}

impl Share {
    fn new(ground: &Ground) -> Result<Self> {
        run::run(run::cargo().args(["build", "--release", "-p", "alua-lab"]))?;
        let metadata =
            run::capture(run::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let target = metadata["target_directory"].as_str().context("no target folder")?;
        let name = format!("share-kernel-{}-{}", std::process::id(), ground.release);
        let folder = cache()?.join(name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let share = Self { folder };
        let program = "alua-lab-kernel";
        install(&Path::new(target).join("release").join(program), &share.folder.join(program))?;
        for module in [&ground.modules.handler, &ground.modules.asker] {
            let name = module.file_name().context("a module is a file")?;
            fs::copy(module, share.folder.join(name))?;
        }
        Ok(share)
    }

    fn prepare(&self, handler: Handler, todo: &[String]) -> Result<()> {
        let file = self.folder.join("script");
        fs::write(&file, RUN.replace("HANDLER", handler.name()))?;
        install(&file, &self.folder.join("run"))?;
        fs::write(self.folder.join("todo"), todo.join("\n"))?;
        Ok(fs::write(self.folder.join("results"), "")?)
    }

    fn traces(&self) -> PathBuf {
        self.folder.join("trace")
    }

    fn keep_traces(&self, to: &Path, release: &str, handler: Handler) -> Result<()> {
        keep_files(&self.traces(), to, |name| format!("{release}-{}-{name}", handler.name()))
    }

    fn results(&self) -> Result<Vec<Record>> {
        let text = fs::read_to_string(self.folder.join("results"))?;
        text.lines()
            .map(|line| serde_json::from_str(line).context("the guest's results are broken"))
            .collect()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It holds copies only.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
