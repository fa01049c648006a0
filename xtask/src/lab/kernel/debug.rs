//! The debug kernel: Debian's own source with a small configuration and everything that finds
//! mistakes (KASAN, lockdep, kmemleak, DEBUG_ATOMIC_SLEEP), and our handler in it.
//!
//! It is built once inside the build tree of Debian 13, which takes up to an hour, and is no part of
//! `cargo xtask test`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::super::boot::{Manner, OtherKernel};
use super::super::folder;
use super::super::image::Image;
use super::super::recipe::{self, install, pack};
use super::side_by_side::Ground;
use super::tree::{BuildTree, Release, inside};
use super::{module, records, side_by_side};
use crate::run;

/// KASAN falls silent after its first report, and lockdep with it. An interrupt in the moment of early
/// boot at which the kernel forgets its processor's features makes KASAN report the kernel itself where
/// there are five levels of pages.
const PARAMETERS: &str = "kasan_multi_shot no5lvl";
/// The scenario that looks for lost memory. It has its place before what may end lockdep's watch.
const LEAKS: &str = "leaks";
/// The size of the disk with the modules.
const DISK: &str = "64M";

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Names of scenarios; without one all that are not long
    scenarios: Vec<String>,
}

/// `cargo xtask lab kernel-debug`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let tree = BuildTree::ready(Release::Trixie)?.root();
    let place = tree.join("debug");
    build_kernel(&tree, &place)?;
    let ground = Ground {
        release: records::DEBUG.to_owned(),
        version: version(&tree)?,
        kernel: kernel(&tree, &place)?,
        // They have their own folders: the kernel is configured otherwise.
        modules: module::build_both(&tree, "alua-debug", "KDIR=/debug/build")?,
        // That it is slower `run_ours` allows for: `leaks` is among the long ones.
        manner: Manner { parameters: PARAMETERS, ..Manner::USUAL },
        counted: false,
    };
    let mut names = side_by_side::todo(&args.scenarios)?;
    // What the scenarios before it have lost.
    names.push(LEAKS.to_owned());
    side_by_side::run_ours(&ground, side_by_side::todo(&names)?)
}

/// Builds the kernel unless it is there for this configuration and this recipe.
fn build_kernel(tree: &Path, place: &Path) -> Result<()> {
    let config = folder().join("guest/kernel-debug.config");
    let script = folder().join("guest/kernel-debug-build");
    let recipe = fs::read_to_string(&config)? + &fs::read_to_string(&script)?;
    let done = place.join("done");
    if fs::read_to_string(&done).is_ok_and(|built| built == recipe) {
        return Ok(());
    }
    fs::create_dir_all(place).with_context(|| place.display().to_string())?;
    fs::copy(&config, place.join("config"))?;
    install(&script, &place.join("run"))?;
    println!("lab: building the debug kernel (up to an hour, once)");
    run::run(&mut inside(tree, "/debug/run"))?;
    Ok(fs::write(&done, recipe)?)
}

fn version(tree: &Path) -> Result<String> {
    let release = tree.join("debug/build/include/config/kernel.release");
    let text = fs::read_to_string(&release).with_context(|| release.display().to_string())?;
    Ok(text.trim().to_owned())
}

/// What boots it: nearly all is built in, so the initramfs has no module.
fn kernel(tree: &Path, place: &Path) -> Result<OtherKernel> {
    let version = version(tree)?;
    let modules = place.join("modules.d");
    // What a former build left would be a second kernel's.
    let _ = fs::remove_dir_all(&modules);
    run::run(inside(tree, "make").args([
        "-s",
        "-C",
        "/debug/build",
        "modules_install",
        "INSTALL_MOD_PATH=/debug/modules.d",
    ]))?;
    let disk = place.join("modules.img");
    let _ = fs::remove_file(&disk);
    recipe::disk(&modules.join("lib/modules").join(&version), &disk, DISK)?;
    let root = place.join("initramfs.d");
    for name in ["bin", "dev", "modules", "root"] {
        fs::create_dir_all(root.join(name))?;
    }
    let busybox = Image::ready()?.tree().join("bin/busybox");
    install(&folder().join("guest/kernel-init"), &root.join("init"))?;
    install(&busybox, &root.join("bin/busybox"))?;
    fs::write(root.join("modules/order"), "")?;
    pack(&root, &busybox, &place.join("initramfs"))?;
    Ok(OtherKernel {
        kernel: place.join("vmlinuz"),
        initramfs: place.join("initramfs"),
        modules: disk,
        arguments: Vec::new(),
    })
}
