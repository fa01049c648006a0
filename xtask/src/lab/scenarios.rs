//! Running scenarios: as many as possible in one boot, a table of outcomes, and the outcomes as
//! JSON in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alua_lab::report::Outcome;
use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::boot::{self, Boot};
use super::image::Image;
use super::needs;
use super::recipe::install;
use crate::run;

/// What the guest runs. The programs are copied: from the shared folder each start would be slow.
const RUN: &str = "#!/bin/sh
mkdir /run/bin
cp /host/alua /host/alua-lab /host/alua-lab-export /run/bin/
export PATH=/run/bin:$PATH
exec /run/bin/alua-lab /host /run/bin/alua
";

/// What the guest runs for a person.
const SHELL: &str = "#!/bin/sh
export PATH=/host:$PATH
exec setsid --ctty --wait sh -i
";

/// Runs the named scenarios, or all. What each `alua up` of theirs draws goes to the folder
/// `timelines`.
pub(super) fn run(names: &[String], timelines: Option<&Path>) -> Result<()> {
    let mut todo: Vec<String> = super::all()?.into_iter().map(|(name, _)| name).collect();
    if let Some(unknown) = names.iter().find(|name| !todo.contains(name)) {
        bail!("there is no scenario {unknown}: `cargo xtask lab list` shows them");
    }
    if !names.is_empty() {
        todo.retain(|name| names.contains(name));
    }
    let image = Image::ready()?;
    let share = Share::new()?;
    if timelines.is_some() {
        fs::create_dir_all(share.timelines())?;
    }
    let start = Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut console = String::new();
    while !todo.is_empty() {
        share.prepare(RUN, &todo)?;
        let boot = boot::boot(&image, &share.folder)?;
        let mut done = share.results()?;
        if let Some(folder) = timelines {
            // A server that was killed has drawn nothing.
            keep(&share.timelines(), folder, |name| name.to_owned())?;
        }
        if todo.len() > done.len() && done.iter().all(|one| one.left_behind.is_none()) {
            // The guest died in the scenario after the last that has an outcome.
            done.push(died(&todo[done.len()], &boot));
        }
        console.push_str(&boot.console);
        save("console.log", &console)?;
        todo.drain(..done.len());
        outcomes.extend(done);
    }
    report(&outcomes, start.elapsed())
}

/// Boots to a shell.
pub(super) fn shell() -> Result<()> {
    let image = Image::ready()?;
    let share = Share::new()?;
    share.prepare(SHELL, &[])?;
    println!(
        "lab: `exit` powers the guest off; alua is in PATH, {} is /host",
        share.folder.display()
    );
    boot::boot_on_terminal(&image, &share.folder)
}

/// The outcome of a scenario whose guest did not live to tell it.
fn died(scenario: &str, boot: &Boot) -> Outcome {
    let what = if boot.hung { "the guest hung and was cut off" } else { "the guest died" };
    let failure = format!("{what}; its console ended with:\n{}", boot.last_lines());
    println!("lab: {scenario} FAILED: {failure}");
    Outcome {
        scenario: scenario.to_owned(),
        passed: false,
        millis: 0,
        agreed: 0,
        list_millis: 0,
        list_commands: 0,
        failures: vec![failure],
        left_behind: None,
    }
}

/// Keeps a file of the last run in the cache; gives its place.
pub(super) fn save(name: &str, text: &str) -> Result<PathBuf> {
    let file = super::cache()?.join(name);
    fs::write(&file, text).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// Copies what the guest left in a folder, but for what is empty, to another, under names of its own.
pub(super) fn keep(from: &Path, to: &Path, name: impl Fn(&str) -> String) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.metadata()?.len() > 0 {
            fs::copy(entry.path(), to.join(name(&entry.file_name().to_string_lossy())))?;
        }
    }
    Ok(())
}

fn report(outcomes: &[Outcome], time: Duration) -> Result<()> {
    let file = save("results.json", &serde_json::to_string_pretty(outcomes)?)?;
    println!(
        "\n{:<26} {:<7} {:>8} {:>8} {:>9} {:>8}",
        "scenario", "result", "seconds", "agreed", "commands", "list ms"
    );
    for outcome in outcomes {
        let seconds = Duration::from_millis(outcome.millis).as_secs_f64();
        let result = if outcome.passed { "passed" } else { "FAILED" };
        println!(
            "{:<26} {result:<7} {seconds:>8.1} {:>8} {:>9} {:>8}",
            outcome.scenario, outcome.agreed, outcome.list_commands, outcome.list_millis
        );
    }
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
    println!(
        "{} scenarios in {:.1} s with booting; agreed: facts that alua and another source state \
         alike, or checks of a block device that held; commands, list ms: what the first \
         `alua list` sent, and how long it took; \
         details in {}",
        outcomes.len(),
        time.as_secs_f64(),
        file.display()
    );
    if failed.is_empty() {
        return Ok(());
    }
    for outcome in &failed {
        println!("\n{}:", outcome.scenario);
        for failure in &outcome.failures {
            println!("    {failure}");
        }
    }
    bail!("{} of {} scenarios failed", failed.len(), outcomes.len())
}

/// The folder that the guest sees as `/host`.
pub(super) struct Share {
    pub(super) folder: PathBuf,
}

impl Share {
    /// Makes the folder, with the programs of this tree in it.
    fn new() -> Result<Self> {
        let programs =
            [("alua-cli", "alua"), ("alua-lab", "alua-lab"), ("alua-lab", "alua-lab-export")];
        Self::with(&programs, "alua-lab/ublk,alua-cli/ublk")
    }

    /// The same with these programs, package and name, and with these features.
    pub(super) fn with(programs: &[(&str, &str)], features: &str) -> Result<Self> {
        needs::for_programs()?;
        let mut build = run::cargo();
        build.args(["build", "--release", "--features", features]);
        for (package, program) in programs {
            build.args(["-p", package, "--bin", program]);
        }
        run::run(&mut build)?;
        let metadata =
            run::capture(run::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let target = metadata["target_directory"].as_str().context("no target folder")?;
        let folder = super::cache()?.join(format!("share-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let share = Self { folder };
        for (_, program) in programs {
            install(&Path::new(target).join("release").join(program), &share.folder.join(program))?;
        }
        Ok(share)
    }

    /// Lays out what the guest runs, and takes away what an earlier boot left.
    pub(super) fn prepare(&self, script: &str, todo: &[String]) -> Result<()> {
        let file = self.folder.join("script");
        fs::write(&file, script)?;
        install(&file, &self.folder.join("run"))?;
        fs::write(self.folder.join("todo"), todo.join("\n"))?;
        fs::write(self.folder.join("results"), "")?;
        self.copy("scenarios")?;
        self.copy("block")
    }

    /// Copies the files of a folder of the lab.
    pub(super) fn copy(&self, name: &str) -> Result<()> {
        let to = self.folder.join(name);
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(super::folder().join(name))? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    }

    fn timelines(&self) -> PathBuf {
        self.folder.join("timelines")
    }

    fn results(&self) -> Result<Vec<Outcome>> {
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
