//! `cargo xtask lab`: scenarios on a real Linux kernel in QEMU. See `lab/README.md`.

mod boot;
mod failover;
mod image;
mod initiators;
pub(crate) mod kernel;
mod needs;
mod recipe;
mod scenarios;

use std::path::{Path, PathBuf};
use std::process::Command;

use alua_lab::block;
use alua_lab::scenario::Scenario;
use anyhow::{Context, Result, bail};
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
        /// Leave a picture of the run of each `alua up` in this folder, SVG
        #[arg(long, value_name = "FOLDER")]
        timelines: Option<PathBuf>,
    },
    /// Run real initiators against the iSCSI target, all scripts of lab/initiators without a name
    Initiators {
        /// Names of scripts
        scripts: Vec<String>,
    },
    /// Measure how long I/O stands still at failures, beside dm-multipath; without an event all of
    /// them, and docs/failover.md is written
    Failover(failover::Args),
    /// Count the instructions of one request, beside dm-multipath
    Cost,
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
        Lab::Run { scenarios, timelines } => scenarios::run(scenarios, timelines.as_deref()),
        Lab::Initiators { scripts } => initiators::run(scripts),
        Lab::Failover(args) => failover::run(args),
        Lab::Cost => failover::cost(),
        Lab::List => list(),
        Lab::Shell => scenarios::shell(),
        Lab::Kernel(args) => kernel::run(args),
        Lab::KernelDebug(args) => kernel::debug::run(args),
    }
}

/// Every scenario, as `cargo xtask test` runs them, after what else can be built only where the
/// lab's programs can: the code behind the feature `ublk` is linted and tested here.
pub(crate) fn run_all() -> Result<()> {
    needs::for_programs()?;
    let packages = ["-p", "alua-export", "-p", "alua-lab", "-p", "alua-cli"];
    let mut lints = run::cargo();
    lints.arg("clippy").args(packages).args(["--features", "alua-lab/ublk,alua-cli/ublk"]);
    lints.args(["--all-targets", "--quiet", "--", "-D", "warnings"]);
    run::run(&mut lints)?;
    run::run(run::cargo().args(["test", "-p", "alua-export", "--features", "ublk", "ublk"]))?;
    // The command itself, and its devices that run; the rest of its tests has nothing of ublk.
    let part = ["--bin", "alua", "--test", "running"];
    run::run(run::cargo().args(["test", "-p", "alua-cli", "--features", "ublk"]).args(part))?;
    scenarios::run(&[], None)
}

/// Every script with real initiators, as `cargo xtask test` runs them.
pub(crate) fn run_initiators() -> Result<()> {
    initiators::run(&[])
}

fn list() -> Result<()> {
    for (name, summary) in all()? {
        println!("{name:<24} {summary}");
    }
    println!("\nwith real initiators: {}", initiators::names()?.join(", "));
    Ok(())
}

/// Name and summary of every scenario: those of paths, then those of block devices.
fn all() -> Result<Vec<(String, String)>> {
    let paths = Scenario::read_all(&folder().join("scenarios"))?;
    let blocks = block::Scenario::read_all(&folder().join("block"))?;
    let mut all: Vec<(String, String)> =
        paths.into_iter().map(|scenario| (scenario.name, scenario.summary)).collect();
    for scenario in blocks {
        if all.iter().any(|(name, _)| *name == scenario.name) {
            bail!("two scenarios are called {}", scenario.name);
        }
        all.push((scenario.name, scenario.summary));
    }
    Ok(all)
}

/// The tree of the guest's image, built now if it is not there.
pub(crate) fn tree() -> Result<PathBuf> {
    Ok(image::Image::ready()?.tree())
}

/// The newest tree that is in the cache already, of whichever image.
pub(crate) fn old_tree() -> Option<PathBuf> {
    let images = std::fs::read_dir(cache().ok()?).ok()?.filter_map(std::result::Result::ok);
    let images = images.filter(|entry| entry.file_name().to_string_lossy().starts_with("image-"));
    let age = |entry: &std::fs::DirEntry| entry.metadata().and_then(|data| data.modified()).ok();
    images.max_by_key(age).map(|entry| entry.path().join("tree")).filter(|tree| tree.exists())
}

/// A program out of that tree, run on this machine with the tree's own loader and libraries.
pub(crate) fn program(tree: &Path, name: &str) -> Command {
    let libraries = tree.join("usr/lib/x86_64-linux-gnu");
    let mut command = run::command(tree.join("lib64/ld-linux-x86-64.so.2"));
    // Some libraries stand in a folder of their own, which their users know.
    let path = [libraries.clone(), libraries.join("ceph")].map(|path| path.display().to_string());
    let places = ["usr/bin", "usr/sbin"].map(|folder| tree.join(folder).join(name));
    let [usual, for_root] = places;
    let place = if for_root.exists() { for_root } else { usual };
    command.arg("--library-path").arg(path.join(":")).arg(place);
    command
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
