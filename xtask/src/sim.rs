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

/// The first seeds, which every test run searches, beside the regressions.
const FIXED: u64 = 400;
/// Seeds that a test run searches besides, from a start that the commit makes.
const OF_COMMIT: u64 = 1_600;
/// That start where there is no commit, as in an unpacked archive.
const NO_COMMIT: u64 = 1_000_000;

pub(crate) fn run(args: &Args) -> Result<()> {
    let args: Vec<&str> = args.args.iter().map(String::as_str).collect();
    simulate(&args)
}

fn simulate(args: &[&str]) -> Result<()> {
    let cargo = ["run", "--quiet", "--profile", "sim", "--package", "alua-sim", "--"];
    run::run(run::cargo().args(cargo).args(args))
}

/// What a test run does: seeds that once failed, the first seeds, and seeds that no commit before
/// had, each of them twice; and the negative controls.
pub(crate) fn test() -> Result<()> {
    for seed in regressions()? {
        simulate(&regression(&seed)).with_context(|| {
            format!("seed {seed} of the regressions: `cargo xtask sim --seed {seed} --trace`")
        })?;
    }
    simulate(&searched(0, FIXED).each_ref().map(String::as_str)).with_context(|| FOUND)?;
    let commit = run::capture(run::command("git").args(["rev-parse", "HEAD"])).ok();
    let start = start_of(commit.as_deref());
    let args = searched(start, OF_COMMIT);
    let again = format!("cargo xtask sim {}", args.join(" "));
    match &commit {
        Some(commit) => println!("of the commit {}: `{again}`", commit.trim()),
        None => println!("there is no commit to take seeds from; the same as ever: `{again}`"),
    }
    simulate(&args.each_ref().map(String::as_str)).with_context(|| {
        format!(
            "{FOUND}. The commit alone made these seeds what they are, so it need not be the \
             culprit; all of them again: `{again}`"
        )
    })?;
    simulate(&["--controls"])
}

/// What to do with a seed that was found.
const FOUND: &str = "a seed found something, see above: replay it with `cargo xtask sim --seed SEED \
                     --trace`, mend what it shows, and add it to crates/alua-sim/regressions.txt \
                     with the reason in words";

/// Where the seeds of a commit begin, by its hash in hexadecimal digits.
fn start_of(commit: Option<&str>) -> u64 {
    // 48 bits: commits do not meet, and nobody has to type twenty digits.
    let digits = commit.and_then(|hash| hash.trim().get(..12));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(NO_COMMIT)
}

/// How a range of seeds runs: twice each, with equal traces.
fn searched(start: u64, seeds: u64) -> [String; 5] {
    let [start, seeds] = [start, seeds].map(|number| number.to_string());
    ["--seed-start".to_owned(), start, "--seeds".to_owned(), seeds, "--twice".to_owned()]
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

    #[test]
    fn each_commit_has_seeds_of_its_own_and_the_same_each_time() {
        let hash = "efda3ef0123456789abcdef0123456789abcdef0\n";
        assert_eq!(start_of(Some(hash)), 0xefda_3ef0_1234);
        assert_ne!(start_of(Some(hash)), start_of(Some(&hash.replacen('e', "d", 1))));
        for none in [None, Some(""), Some("fatal: no git"), Some("efda3ef")] {
            assert_eq!(start_of(none), NO_COMMIT, "{none:?}");
        }
        let most = start_of(Some(&"f".repeat(40))).checked_add(OF_COMMIT);
        assert!(most.is_some(), "the seeds do not start again at 0");
        assert_eq!(searched(7, 3).join(" "), "--seed-start 7 --seeds 3 --twice");
    }
}
