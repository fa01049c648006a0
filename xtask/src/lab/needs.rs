//! What the lab needs of the host: installed where that is possible, else named exactly.

use std::path::{Path, PathBuf};

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
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    packages.push("debian-archive-keyring");
    install(&format!("the lab's image needs {}", programs.join(", ")), &packages)
}

/// Makes sure that the programs that run in the guest can be built here: the bindings of the
/// kernel's ublk driver are made by libclang.
pub(super) fn for_programs() -> Result<()> {
    if has_libclang() {
        return Ok(());
    }
    let what = "building the lab's server of block devices needs libclang";
    if !is_root()? {
        bail!("{what}: run `apt-get install libclang-dev` as root");
    }
    install(what, &["libclang-dev"])
}

/// Whether there is a libclang where its users look for it.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let holds = |folder: PathBuf| {
        entries(&folder).any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Not libclang-cpp, which is another library.
            name == "libclang.so"
                || name.starts_with("libclang.so.")
                || (name.starts_with("libclang-") && !name.starts_with("libclang-cpp"))
        })
    };
    let llvm = entries(Path::new("/usr/lib"))
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"))
        .map(|entry| entry.path().join("lib"));
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
        .into_iter()
        .map(PathBuf::from)
        .chain(llvm)
        .any(holds)
}

/// Installs packages for a reason.
fn install(why: &str, packages: &[&str]) -> Result<()> {
    if !is_there("apt-get") {
        bail!(
            "{why}, and this is no Debian: install what holds it (on Debian: {})",
            packages.join(" ")
        );
    }
    println!("lab: installing {}", packages.join(" "));
    run::run(run::command("apt-get").args(["update", "-qq"]))?;
    run::run(
        run::command("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
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
