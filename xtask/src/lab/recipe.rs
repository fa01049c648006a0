//! What the guest's image and the build trees are made with. This file is a part of the hash of each
//! of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run;

/// What goes into a hash of its users.
pub(super) const SOURCE: &str = include_str!("recipe.rs");

/// FNV-1a: the same on every machine and with every compiler.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The lines of a list, without comments.
pub(super) fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Copies a file that is to be run.
pub(super) fn install(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Packs a folder as an initramfs. Busybox is static: a tree's own runs here, whatever the host has.
pub(super) fn pack(root: &Path, busybox: &Path, to: &Path) -> Result<()> {
    let archive = fs::File::create(to).with_context(|| to.display().to_string())?;
    run::run(
        Command::new("sh")
            .args(["-c", r#"find . | "$0" cpio -o -H newc -R 0:0 2>/dev/null"#])
            .arg(busybox)
            .current_dir(root)
            .stdout(archive),
    )
}

/// Makes a disk with the contents of a folder; the file is sparse.
pub(super) fn disk(from: &Path, to: &Path, size: &str) -> Result<()> {
    run::run(
        run::command("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .args([from, to])
            .arg(size)
            .env("PATH", sbin_path()),
    )
}

/// Runs a command that talks much: its words are added to a file, and shown when it fails.
pub(super) fn quietly(command: &mut Command, log: &Path) -> Result<()> {
    let out = fs::File::options().append(true).create(true).open(log);
    let out = out.with_context(|| log.display().to_string())?;
    let status = command
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out)
        .status()
        .with_context(|| format!("cannot start `{}`", run::shown(command)))?;
    if !status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!("`{}` failed ({status}):\n{last}", run::shown(command));
    }
    Ok(())
}

/// PATH with root's folders in it, which a plain `su` may leave out.
pub(super) fn sbin_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{entries, quietly};
    use std::process::Command;

    #[test]
    fn comments_and_empty_lines_are_no_packages() {
        assert_eq!(entries("# a\n\nkmod\n udev \n").collect::<Vec<_>>(), ["kmod", "udev"]);
    }

    #[test]
    fn the_words_of_a_command_that_fails_are_shown() {
        let log = std::env::temp_dir().join(format!("quietly-{}", std::process::id()));
        let run = |script: &str| quietly(Command::new("sh").args(["-c", script]), &log);
        run("echo one").unwrap();
        let error = run("echo two >&2; exit 3").unwrap_err().to_string();
        let kept = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        assert!(error.contains("two"), "{error}");
        assert_eq!(kept, "one\ntwo\n");
    }
}
