//! Building the module for the kernel of a tree, as `make -C kernel` does on a machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::tree::{BuildTree, Release, inside};
use crate::run;

/// The module's file.
pub(super) const FILE: &str = "scsi_dh_alua_rs.ko";

/// Builds the module for the kernel of a release; gives its file.
pub(super) fn build(release: Release) -> Result<PathBuf> {
    let tree = BuildTree::ready(release)?;
    let version = tree.version()?;
    let file = build_in(&tree.root(), "alua", &format!("KVER={version}"))?;
    println!("kmod: {version}: {} bytes", fs::metadata(&file)?.len());
    Ok(file)
}

/// Builds the module in this folder of a tree, for the kernel that `kernel` names to make; gives its
/// file. Any warning of the compilers, of objtool or of modpost is an error.
pub(super) fn build_in(tree: &Path, folder: &str, kernel: &str) -> Result<PathBuf> {
    let place = tree.join(folder);
    package(&place)?;
    let output = inside(tree, "make")
        .args(["-C", &format!("/{folder}"), kernel, "W=1"])
        .output()
        .context("cannot start make")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if let Some(why) = complaint(output.status.success(), &said) {
        // The next build would take the objects as they are, and warn of nothing.
        fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
        bail!("the module for {kernel}: {why}\n{said}");
    }
    Ok(place.join(FILE))
}

/// What is wrong with a build, if anything is.
fn complaint(succeeded: bool, said: &str) -> Option<String> {
    if !succeeded {
        return Some("it does not build".to_owned());
    }
    let line = said.lines().find(|line| is_warning(line))?;
    Some(format!("building it warns: {line}"))
}

/// Whether a line of a build is a warning. That BTF is left out where the headers have no vmlinux is
/// none.
fn is_warning(line: &str) -> bool {
    let line = line.to_lowercase();
    (line.contains("warning") || line.contains("error:")) && !line.contains("skipping btf")
}

/// Lays the module's source out with the core's below it, as in a source package for DKMS. What a
/// former build left is kept: one that failed or warned leaves nothing (see [`build_in`]).
pub(super) fn package(to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    let kernel = run::root().join("kernel");
    let list = run::capture(run::command("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "kernel",
    ]))?;
    for file in list.lines().filter_map(|line| line.strip_prefix("kernel/")) {
        copy(&kernel.join(file), &to.join(file))?;
    }
    let core = run::root().join("crates/alua-core");
    let list = run::capture(run::command("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "crates/alua-core/src",
    ]))?;
    for file in list.lines().filter_map(|line| line.strip_prefix("crates/alua-core/")) {
        copy(&core.join(file), &to.join("alua-core").join(file))?;
    }
    Ok(())
}

/// Copies a file unless it is there with the same contents, so that make sees what changed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let Ok(new) = fs::read(from) else { return Ok(()) };
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to).with_context(|| to.display().to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{complaint, is_warning};

    #[test]
    fn a_warning_of_any_tool_is_seen() {
        assert!(is_warning("unit.c:3:1: warning: unused variable"));
        assert!(is_warning("x.o: warning: objtool: f+0x1: indirect call found in RETPOLINE build"));
        assert!(is_warning("WARNING: modpost: missing MODULE_LICENSE()"));
        assert!(!is_warning("  CC [M]  /alua/unit.o"));
        assert!(!is_warning("Skipping BTF generation for x.ko due to unavailability of vmlinux"));
    }

    #[test]
    fn a_build_that_fails_or_warns_is_complained_of() {
        assert!(complaint(true, "  CC [M]  /alua/unit.o\n").is_none());
        assert!(complaint(true, "  CC [M]\nunit.c:3:1: warning: x\n").is_some());
        assert!(complaint(false, "").is_some());
    }
}
