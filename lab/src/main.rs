//! Runs scenarios in the guest: `alua-lab FOLDER ALUA`.
//!
//! ALUA is the program under test. The folder holds `scenarios/`, `block/` and `todo` with the
//! names of the scenarios to run, one a line. Where there is a folder `timelines`, each `alua up` of a
//! scenario leaves a picture of its run there. Outcomes go to `results`, one JSON object a line, each written when its scenario is done,
//! so that whatever hangs the guest loses no result. Lines that a person reads begin with `lab: `.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use alua_lab::block;
use alua_lab::scenario::Scenario;
use alua_lab::target::{Target, lio};
use alua_lab::{report::Outcome, runner};
use anyhow::Result;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, alua] = &arguments[..] else {
        eprintln!("lab: usage: alua-lab FOLDER ALUA");
        return ExitCode::FAILURE;
    };
    match run(Path::new(folder), alua) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, alua: &str) -> Result<()> {
    lio::load()?;
    Target::take_down()?;
    let todo = fs::read_to_string(folder.join("todo"))?;
    let timelines = Some(folder.join("timelines")).filter(|folder| folder.exists());
    for name in todo.lines() {
        println!("lab: {name} ...");
        let file = format!("{name}.toml");
        let of_block = folder.join("block").join(&file);
        let outcome = if of_block.exists() {
            block::runner::run(&block::Scenario::read(&of_block)?, timelines.as_deref())
        } else {
            let scenario = Scenario::read(&folder.join("scenarios").join(&file))?;
            runner::run(&scenario, alua)
        };
        write(&folder.join("results"), &outcome)?;
        show(&outcome);
        if outcome.left_behind.is_some() {
            println!("lab: this guest is of no further use");
            break;
        }
    }
    Ok(())
}

fn write(file: &Path, outcome: &Outcome) -> Result<()> {
    let mut line = serde_json::to_string(outcome)?;
    line.push('\n');
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

fn show(outcome: &Outcome) {
    let word = if outcome.passed { "passed" } else { "FAILED" };
    let seconds = std::time::Duration::from_millis(outcome.millis).as_secs_f64();
    println!("lab: {} {word} in {seconds:.1} s", outcome.scenario);
    for failure in &outcome.failures {
        println!("lab:     {failure}");
    }
}
