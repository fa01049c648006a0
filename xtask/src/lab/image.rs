//! The guest's image: a Debian tree, a disk made from it, and a small initramfs.
//!
//! It is built once and kept in the cache, in a folder named by a hash of everything that goes into
//! it: the package list, the guest's scripts, and this file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::needs;
use crate::run;

/// The release that everything in the guest comes from.
const RELEASE: &str = "trixie";
/// The size of the disk; the file is sparse.
const DISK: &str = "4G";

/// What goes into the hash beside the files of `lab/`.
const SOURCE: &str = include_str!("image.rs");

/// A built image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    folder: PathBuf,
}

impl Image {
    /// The image, built now if it is not in the cache.
    pub(super) fn ready() -> Result<Self> {
        let recipe = Recipe::read()?;
        let cache = super::cache()?;
        let folder = cache.join(format!("image-{:016x}", recipe.hash()));
        if !folder.exists() {
            needs::for_building()?;
            let start = Instant::now();
            println!("lab: building the image in {} (some minutes, once)", folder.display());
            let partial = cache.join(format!("partial-{}", std::process::id()));
            let built = recipe.build(&partial);
            if built.is_err() {
                // What is left of a failed build is of no use.
                let _ = fs::remove_dir_all(&partial);
            }
            built.context("cannot build the lab's image")?;
            fs::rename(&partial, &folder).with_context(|| folder.display().to_string())?;
            println!("lab: image built in {} s", start.elapsed().as_secs());
        }
        Ok(Self { folder })
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    pub(super) fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }

    /// Where the kind of acceleration that works is kept.
    pub(super) fn acceleration(&self) -> PathBuf {
        self.folder.join("acceleration")
    }

    pub(super) fn kernel(&self) -> Result<PathBuf> {
        kernel(&self.tree())
    }
}

/// Everything that decides what the image is.
struct Recipe {
    packages: String,
    init: PathBuf,
    start: PathBuf,
    modules: String,
    text: String,
}

impl Recipe {
    fn read() -> Result<Self> {
        let lab = super::folder();
        let read = |name: &str| {
            let file = lab.join(name);
            fs::read_to_string(&file).with_context(|| file.display().to_string())
        };
        let (packages, modules) = (read("packages/base")?, read("guest/modules")?);
        let text = [&packages, &modules, &read("guest/init")?, &read("guest/start")?, SOURCE]
            .map(str::to_owned)
            .join("\0");
        let (init, start) = (lab.join("guest/init"), lab.join("guest/start"));
        Ok(Self { packages, init, start, modules, text })
    }

    /// FNV-1a: the same on every machine and with every compiler.
    fn hash(&self) -> u64 {
        self.text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    fn build(&self, folder: &Path) -> Result<()> {
        let tree = folder.join("tree");
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let packages = entries(&self.packages).collect::<Vec<_>>().join(",");
        quietly(
            run::command("debootstrap")
                .args(["--variant=minbase", &format!("--include={packages}"), RELEASE])
                .arg(&tree)
                .env("PATH", sbin_path()),
            &folder.join("debootstrap.log"),
        )?;
        fs::remove_dir_all(tree.join("var/cache/apt"))?;
        install(&self.start, &tree.join("lab-start"))?;
        self.initramfs(folder, &tree)?;
        run::run(
            run::command("mke2fs")
                .args(["-q", "-t", "ext4", "-d"])
                .args([tree.as_path(), &folder.join("disk.img")])
                .arg(DISK)
                .env("PATH", sbin_path()),
        )
    }

    /// Busybox, our init, and the modules that lead to the root disk.
    fn initramfs(&self, folder: &Path, tree: &Path) -> Result<()> {
        let root = folder.join("initramfs.d");
        for name in ["bin", "dev", "modules", "root"] {
            fs::create_dir_all(root.join(name))?;
        }
        install(&self.init, &root.join("init"))?;
        install(&tree.join("bin/busybox"), &root.join("bin/busybox"))?;
        let kernel = kernel(tree)?;
        let name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.trim_start_matches("vmlinuz-");
        let mut order = String::new();
        for module in entries(&self.modules) {
            let packed = format!("/usr/lib/modules/{version}/kernel/{module}.ko.xz");
            let short = module.rsplit('/').next().unwrap_or(module);
            let unpacked = fs::File::create(root.join("modules").join(format!("{short}.ko")))?;
            run::run(
                run::command("chroot").arg(tree).args(["xz", "-dc", &packed]).stdout(unpacked),
            )?;
            order.push_str(&format!("{short}.ko\n"));
        }
        fs::write(root.join("modules/order"), order)?;
        // Busybox is static: the tree's own runs here, whatever the host has.
        let archive = fs::File::create(folder.join("initramfs"))?;
        run::run(
            Command::new("sh")
                .args(["-c", r#"find . | "$0" cpio -o -H newc -R 0:0 2>/dev/null"#])
                .arg(tree.join("bin/busybox"))
                .current_dir(&root)
                .stdout(archive),
        )
    }
}

/// The lines of a list, without comments.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The tree's one kernel.
fn kernel(tree: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(tree.join("boot"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz-") {
            return Ok(entry.path());
        }
    }
    bail!("{} holds no kernel", tree.display())
}

/// Copies a file that is to be run.
pub(super) fn install(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Runs a command that talks much: its words go to a file, and are shown when it fails.
fn quietly(command: &mut Command, log: &Path) -> Result<()> {
    let out = fs::File::create(log).with_context(|| log.display().to_string())?;
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
fn sbin_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn comments_and_empty_lines_are_no_packages() {
        assert_eq!(entries("# a\n\nkmod\n udev \n").collect::<Vec<_>>(), ["kmod", "udev"]);
    }
}
