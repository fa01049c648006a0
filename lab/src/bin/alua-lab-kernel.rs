//! Runs scenarios for the kernel's device handler in the guest: `alua-lab-kernel FOLDER HANDLER`.
//!
//! The folder holds `todo` with the names of the scenarios, one a line. Records go to `results`, one
//! JSON object a line, each written when its scenario is done. Where there is a folder `trace`, each
//! scenario leaves a trace of its name there. Lines that a person reads begin with `lab: `.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use alua_lab::kernel::{self, Handler, Log, Record};
use anyhow::Result;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, handler] = &arguments[..] else {
        eprintln!("lab: usage: alua-lab-kernel FOLDER HANDLER");
        return ExitCode::FAILURE;
    };
    match run(Path::new(folder), handler) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, handler: &str) -> Result<()> {
    let handler = Handler::named(handler)?;
    kernel::prepare()?;
    // What the kernel says when the handler is loaded counts.
    let log = Log::open()?;
    handler.load()?;
    // Two guests may run at once.
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = kernel.trim();
    for name in fs::read_to_string(folder.join("todo"))?.lines() {
        println!("lab: {kernel} {name} ...");
        let trace = folder.join("trace");
        let file = trace.exists().then(|| trace.join(name));
        let record = kernel::run(name, handler, file.as_deref(), &log)?;
        let mut line = serde_json::to_string(&record)?;
        line.push('\n');
        let mut file = OpenOptions::new().append(true).create(true).open(folder.join("results"))?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        show(kernel, &record);
        if record.error.is_some() {
            println!("lab: this guest is of no further use");
            // Not by the end of this process: one of its threads may hang in the kernel.
            fs::write("/proc/sysrq-trigger", "b")?;
            break;
        }
    }
    Ok(())
}

fn show(kernel: &str, record: &Record) {
    let held = record.checks.iter().filter(|check| check.held).count();
    let seconds = std::time::Duration::from_millis(record.millis).as_secs_f64();
    let (name, all) = (&record.scenario, record.checks.len());
    println!("lab: {kernel} {name}: {held} of {all} hold, {seconds:.1} s");
    for check in record.checks.iter().filter(|check| !check.held) {
        println!("lab:     {}: not so: {} (seen: {})", check.row, check.what, check.seen);
    }
    for line in record.error.iter().chain(&record.warnings) {
        println!("lab:     {line}");
    }
}
