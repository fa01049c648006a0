//! Instructions per call, by valgrind.
//!
//! A program that does its work `n` times is run with two values of `n`; the difference of the
//! instructions over the difference of `n` is what one call costs. What the program does besides
//! cancels out, so the same rule holds for Rust and for C, whatever a compiler inlines; no markers
//! in the programs and no symbols are needed. Where a driver of the work costs something for each
//! call, [`per_call_within`] leaves it out.

use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// The two values.
const FEW: u64 = 1_000;
const MANY: u64 = 3_000;

/// Instructions per call of the program that `command` gives for a number of calls.
pub(super) fn per_call(command: impl Fn(u64) -> Command) -> Result<u64> {
    per_call_within(&[], command)
}

/// As [`per_call`], and only what is done within these functions, which do not call each other.
///
/// # Errors
///
/// Also where one of them does nothing: a compiler may have inlined it.
pub(super) fn per_call_within(functions: &[&str], command: impl Fn(u64) -> Command) -> Result<u64> {
    for &function in functions {
        let own = instructions(&command(FEW), &[function])?;
        anyhow::ensure!(own > 0, "nothing is called {function}");
    }
    let few = instructions(&command(FEW), functions)?;
    let many = instructions(&command(MANY), functions)?;
    let more = many.checked_sub(few).context("more calls took fewer instructions")?;
    Ok((more + (MANY - FEW) / 2) / (MANY - FEW))
}

fn instructions(command: &Command, functions: &[&str]) -> Result<u64> {
    let mut valgrind = run::command("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.args(functions.iter().map(|name| format!("--toggle-collect={name}")));
    valgrind.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            valgrind.env(name, value);
        }
    }
    let output = valgrind.output().context("cannot start valgrind (Debian: valgrind)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "valgrind failed: {}", said.trim_end());
    said.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
        .context("valgrind told no count of instructions")
}
