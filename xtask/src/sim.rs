//! `cargo xtask sim`: the simulation of the multipath engine, see `docs/simulation.md`.

use std::fs;

use anyhow::{Context, Result};

use crate::run;

#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What to run: `cargo xtask sim --help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Seeds that a test run searches, beside the regressions.
const SEEDS: u64 = 2_000;

pub(crate) fn run(args: &Args) -> Result<()> {
    let args: Vec<&str> = args.args.iter().map(String::as_str).collect();
    simulate(&args)
}

fn simulate(args: &[&str]) -> Result<()> {
    let cargo = ["run", "--quiet", "--profile", "sim", "--package", "alua-sim", "--"];
    run::run(run::cargo().args(cargo).args(args))
}

/// What a test run does: seeds that once failed and the first seeds, each of them twice, and the
/// negative controls. Other seeds are for a search by hand: what it finds is mended, and its seed
/// joins the regressions.
pub(crate) fn test() -> Result<()> {
    for seed in regressions()? {
        simulate(&regression(&seed))?;
    }
    simulate(&["--seed-start", "0", "--seeds", &SEEDS.to_string(), "--twice"])?;
    simulate(&["--controls"])
}

/// How a seed runs that once failed: its two runs must be equal too.
fn regression(seed: &str) -> [&str; 3] {
    ["--seed", seed, "--twice"]
}

/// The seeds in the list, without the words behind them.
fn regressions() -> Result<Vec<String>> {
    let file = run::root().join("crates/alua-sim/regressions.txt");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    Ok(lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regressions_run_twice() {
        let seeds = regressions().unwrap();
        assert!(seeds.len() > 30 && seeds.iter().all(|seed| seed.parse::<u64>().is_ok()));
        assert_eq!(regression("5"), ["--seed", "5", "--twice"]);
    }
}
