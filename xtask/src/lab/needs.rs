//! What the lab needs of the host: installed where that is possible, else named exactly.

use std::path::Path;

use anyhow::{Result, bail};

use crate::run;

/// Programs and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 3] =
    [("debootstrap", "debootstrap"), ("mke2fs", "e2fsprogs"), ("chroot", "coreutils")];

/// Makes sure that an image can be built here.
pub(super) fn for_building() -> Result<()> {
    let machine = run::capture(run::command("uname").arg("-m"))?;
    if machine.trim() != "x86_64" {
        bail!("the lab's guest is for x86_64, this machine is {}", machine.trim());
    }
    if !is_root()? {
        bail!(
            "building the lab's image needs root (debootstrap, chroot): run `cargo xtask lab build` \
             as root once, with ALUA_LAB_CACHE set to a folder that you can read"
        );
    }
    let missing: Vec<&(&str, &str)> = PROGRAMS.iter().filter(|(name, _)| !is_there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    if !is_there("apt-get") {
        bail!(
            "the lab's image needs {}, and this is no Debian: install what holds them (on Debian: {})",
            programs.join(", "),
            packages.join(" ")
        );
    }
    println!("lab: installing {}", packages.join(" "));
    run::run(run::command("apt-get").args(["update", "-qq"]))?;
    run::run(
        run::command("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends", "debian-archive-keyring"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn is_root() -> Result<bool> {
    Ok(run::capture(run::command("id").arg("-u"))?.trim() == "0")
}

/// Whether a program can be found. Root's folders are looked at even where PATH lacks them.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file() && folder != Path::new(""))
}
