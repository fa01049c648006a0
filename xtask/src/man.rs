//! `cargo xtask man`: the manual pages and shell completions of the `alua` command, as a package
//! installs them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run;

/// The shells that the command writes completions for.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The folder to write to
    #[arg(long, default_value = "target/man")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let out = run::root().join(&args.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    run::run(alua(&["man", "--out"]).arg(&out))?;
    for shell in SHELLS {
        let text = run::capture(&mut alua(&["completions", shell]))?;
        let file = out.join(format!("alua.{shell}"));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    println!("written to {}", args.out.display());
    Ok(())
}

fn alua(arguments: &[&str]) -> std::process::Command {
    let mut cargo = run::cargo();
    cargo.args(["run", "--quiet", "--package", "alua-cli", "--"]).args(arguments);
    cargo
}
