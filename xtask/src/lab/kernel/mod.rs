//! The kernel's device handler: built for each kernel that is supported, and run in guests beside
//! the stock one.

pub(crate) mod debug;
mod module;
mod page;
mod records;
mod side_by_side;
mod tree;

use std::path::PathBuf;

use anyhow::Result;
use tree::Release;

pub(crate) use side_by_side::{Args, run, run_all, run_control};

#[derive(clap::Args, Debug)]
pub(crate) struct BuildArgs {
    /// For the kernel of this Debian release only
    #[arg(long)]
    release: Option<Release>,
    /// Lay the source out for DKMS in this folder, and build nothing
    #[arg(long, value_name = "FOLDER")]
    dkms: Option<PathBuf>,
}

/// `cargo xtask kmod`.
pub(crate) fn build(args: &BuildArgs) -> Result<()> {
    if let Some(folder) = &args.dkms {
        module::package(folder)?;
        println!("kmod: the source for DKMS is in {}", folder.display());
        return Ok(());
    }
    for release in Release::ALL {
        if args.release.is_none_or(|wanted| wanted == release) {
            let file = module::build(release)?;
            println!("kmod: {}", file.display());
        }
    }
    Ok(())
}
