//! `cargo xtask bench`: the figures that the documents record.

use anyhow::Result;

use crate::run;

/// The package that holds the benchmarks.
const PACKAGE: &str = "alua-bench";

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only the benchmarks whose name holds this
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut cargo = run::cargo();
    cargo.args(["bench", "--package", PACKAGE]);
    if let Some(filter) = &args.filter {
        cargo.arg("--").arg(filter);
    }
    run::run(&mut cargo)
}
