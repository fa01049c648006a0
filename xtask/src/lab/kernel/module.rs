//! Building the module for the kernel of a tree, as `make -C kernel` does on a machine, and the lab's own
//! module beside it, which asks it for activations.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::super::recipe;
use super::tree::{BuildTree, Release, inside};
use crate::run;

/// The handler's file.
const FILE: &str = "scsi_dh_alua_rs.ko";
/// The file of the lab's own module.
const ASKER: &str = "lab_asker.ko";

/// What was built for a kernel.
#[derive(Debug)]
pub(super) struct Modules {
    /// The handler.
    pub(super) handler: PathBuf,
    /// The lab's module that asks it for activations.
    pub(super) asker: PathBuf,
    /// What the handler was built from ([`source`]).
    pub(super) source: String,
}

/// Builds the handler for the kernel of a release; gives its file.
pub(super) fn build(release: Release) -> Result<PathBuf> {
    let tree = BuildTree::ready(release)?;
    build_handler(&tree.root(), "alua", &kernel_of(&tree)?)
}

/// Builds the handler, and what the scenarios need besides, for the kernel of a release.
pub(super) fn build_for_lab(release: Release) -> Result<Modules> {
    let tree = BuildTree::ready(release)?;
    build_both(&tree.root(), "alua", &kernel_of(&tree)?)
}

fn kernel_of(tree: &BuildTree) -> Result<String> {
    Ok(format!("KVER={}", tree.version()?))
}

/// The same in such a folder of a tree, for the kernel that `kernel` names to make.
pub(super) fn build_both(tree: &Path, folder: &str, kernel: &str) -> Result<Modules> {
    let source = source()?;
    let handler = build_handler(tree, folder, kernel)?;
    let asker = format!("{folder}-asker");
    lay_out("lab/asker", "", &tree.join(&asker))?;
    Ok(Modules { handler, asker: make(tree, &asker, kernel)?.join(ASKER), source })
}

fn build_handler(tree: &Path, folder: &str, kernel: &str) -> Result<PathBuf> {
    package(&tree.join(folder))?;
    let file = make(tree, folder, kernel)?.join(FILE);
    let (_, of) = kernel.split_once('=').unwrap_or(("", kernel));
    println!("kmod: {of}: {} bytes", fs::metadata(&file)?.len());
    Ok(file)
}

/// Builds what was laid out in this folder of a tree; gives the folder. Any warning of the compilers, of
/// sparse, of objtool or of modpost is an error.
fn make(tree: &Path, folder: &str, kernel: &str) -> Result<PathBuf> {
    let place = tree.join(folder);
    let output = inside(tree, "make")
        .args(["-C", &format!("/{folder}"), kernel, "W=1", "C=2"])
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
    Ok(place)
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
/// former build left is kept: one that failed or warned leaves nothing (see [`make`]).
pub(super) fn package(to: &Path) -> Result<()> {
    lay_out("kernel", "", to)?;
    lay_out("crates/alua-core", "src", &to.join("alua-core"))
}

/// The source that the handler is built from, as a number in hexadecimal. Compilers and kernels are not in
/// it.
pub(super) fn source() -> Result<String> {
    let mut all = String::new();
    for (folder, below) in [("kernel", ""), ("crates/alua-core", "src")] {
        for file in files(folder, below)? {
            // What is for people changes nothing.
            if file.ends_with(".md") || file.starts_with("rust/tests") {
                continue;
            }
            let path = run::root().join(folder).join(&file);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            all.push_str(&format!("{file}\n{text}"));
        }
    }
    Ok(format!("{:016x}", recipe::hash(&all)))
}

/// The files of a folder of the repository, or of one below it, by their names there.
fn files(folder: &str, below: &str) -> Result<Vec<String>> {
    let wanted = Path::new(folder).join(below);
    let list = run::capture(
        run::command("git").args(["ls-files", "-co", "--exclude-standard"]).arg(&wanted),
    )?;
    let root = run::root().join(folder);
    let names = list.lines().filter_map(|line| line.strip_prefix(folder)?.strip_prefix('/'));
    // One that was deleted and is not committed yet is listed too; new ones come before the others.
    let names: BTreeSet<String> =
        names.filter(|name| root.join(name).is_file()).map(str::to_owned).collect();
    Ok(names.into_iter().collect())
}

fn lay_out(folder: &str, below: &str, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for file in files(folder, below)? {
        copy(&run::root().join(folder).join(&file), &to.join(&file))?;
    }
    Ok(())
}

/// Copies a file unless it is there with the same contents, so that make sees what changed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| from.display().to_string())?;
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
