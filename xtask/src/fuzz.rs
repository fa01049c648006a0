//! `cargo xtask fuzz`: the fuzz targets, with the seed corpus that the tree ships.
//!
//! cargo-fuzz wants a nightly compiler for its sanitizers; `RUSTC_BOOTSTRAP=1` lets the stable one
//! take the same flags, so that one toolchain does everything.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::run;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The target; without it, each in turn
    target: Option<String>,

    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    install()?;
    let all = targets()?;
    let chosen: Vec<&String> = match &args.target {
        None => all.iter().collect(),
        Some(name) => {
            let found = all.iter().find(|target| *target == name);
            vec![found.with_context(|| {
                format!("no fuzz target is called {name}: there are {}", all.join(", "))
            })?]
        }
    };
    for target in chosen {
        let start = Instant::now();
        fuzz(target, args.seconds)?;
        println!("fuzz {target}: no finding in {} s", start.elapsed().as_secs());
    }
    Ok(())
}

/// The targets that the fuzz crate declares.
fn targets() -> Result<Vec<String>> {
    let list = run::capture(run::cargo().args(["fuzz", "list"]).env("RUSTC_BOOTSTRAP", "1"))?;
    let targets: Vec<String> = list.lines().map(str::to_owned).collect();
    if targets.is_empty() {
        bail!("the fuzz crate declares no target");
    }
    Ok(targets)
}

/// Runs one target. New inputs go to `corpus/`, the shipped seeds are only read.
fn fuzz(target: &str, seconds: u32) -> Result<()> {
    let corpus = run::root().join("fuzz/corpus").join(target);
    let seeds = run::root().join("fuzz/seeds").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
    let mut cargo = run::cargo();
    cargo.args(["fuzz", "run", target]).arg(&corpus).env("RUSTC_BOOTSTRAP", "1");
    if seeds.is_dir() {
        cargo.arg(&seeds);
    }
    cargo.arg("--").arg(format!("-max_total_time={seconds}"));
    run::run(&mut cargo)
        .with_context(|| format!("the input that broke {target} is in fuzz/artifacts/{target}"))
}

/// Installs cargo-fuzz when it is not there.
fn install() -> Result<()> {
    let there = run::cargo()
        .args(["fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if there {
        return Ok(());
    }
    println!("cargo-fuzz is missing: installing it");
    run::run(run::cargo().args(["install", "--locked", "cargo-fuzz"]))
        .context("cannot install cargo-fuzz; install it by hand, then run this again")
}
