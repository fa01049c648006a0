//! Measures in the guest: `alua-lab-failover FOLDER`.
//!
//! The folder holds `todo`, one measurement a line: `failover CONTENDER EVENT TIMES`, or
//! `cost DEPTH...`. Results go to `results`, one JSON object a line. Lines that a person reads begin
//! with `lab: `.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use alua_lab::command;
use alua_lab::failover::{self, Contender, Event, cost};
use alua_lab::target::lio;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder] = &arguments[..] else {
        eprintln!("lab: usage: alua-lab-failover FOLDER");
        return ExitCode::FAILURE;
    };
    match run(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Result<()> {
    prepare()?;
    for line in fs::read_to_string(folder.join("todo"))?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["failover", contender, event, times] => {
                let who = Contender::named(contender).with_context(|| contender.to_owned())?;
                let what = Event::named(event).with_context(|| event.to_owned())?;
                println!("lab: {contender} {event} ...");
                let batch = failover::run(who, what, times.parse()?);
                for sample in &batch.samples {
                    let back = sample.back_ms.map(|ms| format!(", back after {ms:.0} ms"));
                    let (first, stall) = (sample.first_ms, sample.stall_ms);
                    let back = back.unwrap_or_default();
                    println!("lab:     first {first:.0} ms, stall {stall:.1} ms{back}");
                }
                write(folder, &batch)?;
                if let Some(error) = &batch.error {
                    bail!("{contender} {event}: {error}");
                }
            }
            ["cost", ref depths @ ..] => {
                let depths: Vec<u32> =
                    depths.iter().map(|depth| depth.parse()).collect::<Result<_, _>>()?;
                cost::run(&depths, |cost| {
                    let name = cost.device.name();
                    println!("lab: {name}, depth {}: {:.0} ns", cost.depth, cost.ns);
                    write(folder, &cost)
                })?;
            }
            _ => bail!("no measurement is called {line:?}"),
        }
    }
    Ok(())
}

/// What both contenders need.
fn prepare() -> Result<()> {
    lio::load()?;
    let modules = ["dm_multipath", "dm_service_time", "ublk_drv", "nbd"];
    let output = command::run("modprobe", &[&["-a"], &modules[..]].concat(), command::LIMIT)?;
    ensure!(output.status == 0, "modprobe: {}", output.said());
    fs::create_dir_all("/dev/shm")?;
    let output = command::run("mount", &["-t", "tmpfs", "tmpfs", "/dev/shm"], command::LIMIT)?;
    ensure!(output.status == 0, "mount: {}", output.said());
    let udevd = "/usr/lib/systemd/systemd-udevd";
    let output = command::run(udevd, &["--daemon"], command::LIMIT)?;
    ensure!(output.status == 0, "udevd: {}", output.said());
    Ok(())
}

fn write(folder: &Path, result: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string(result)?;
    line.push('\n');
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join("results"))?;
    file.write_all(line.as_bytes())?;
    Ok(file.sync_all()?)
}
