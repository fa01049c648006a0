//! `cargo xtask lab`: scenarios on a real Linux kernel in QEMU. See `lab/README.md`.

mod boot;
mod image;
pub(crate) mod kernel;
mod needs;
mod scenarios;

use std::path::PathBuf;

use alua_lab::scenario::Scenario;
use anyhow::{Context, Result};
use clap::Subcommand;

use crate::run;

#[derive(Subcommand, Debug)]
pub(crate) enum Lab {
    /// Build the guest's image, unless it is there
    Build,
    /// Run scenarios, all of them without a name
    Run {
        /// Names of scenarios
        scenarios: Vec<String>,
    },
    /// List the scenarios
    List,
    /// Boot the guest to a shell; /host is the folder that is shared
    Shell,
    /// Scenarios for the kernel's device handler, ours and the stock one side by side
    Kernel(kernel::Args),
    /// The scenarios with our handler on a kernel that finds mistakes; builds it once (an hour)
    KernelDebug(kernel::debug::Args),
}

pub(crate) fn run(lab: &Lab) -> Result<()> {
    match lab {
        Lab::Build => image::Image::ready().map(|_| ()),
        Lab::Run { scenarios } => scenarios::run(scenarios),
        Lab::List => list(),
        Lab::Shell => scenarios::shell(),
        Lab::Kernel(args) => kernel::run(args),
        Lab::KernelDebug(args) => kernel::debug::run(args),
    }
}

/// Every scenario, as `cargo xtask test` runs them.
pub(crate) fn run_all() -> Result<()> {
    scenarios::run(&[])
}

fn list() -> Result<()> {
    for scenario in Scenario::read_all(&folder().join("scenarios"))? {
        println!("{:<24} {}", scenario.name, scenario.summary);
    }
    Ok(())
}

/// The project's folder `lab`.
fn folder() -> PathBuf {
    run::root().join("lab")
}

/// Where trees, images and results are kept: `ALUA_LAB_CACHE`, or `alua-lab` in the user's cache.
fn cache() -> Result<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("ALUA_LAB_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("alua-lab")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/alua-lab")))
        .context("no place for the lab's image: set ALUA_LAB_CACHE to a folder with 2 GB of room")
}
