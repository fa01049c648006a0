//! A build tree: a Debian release with compilers, the kernel's headers and the kernel itself.
//!
//! It is built once and kept in the cache, apart from the guest's image, in a folder named by a hash
//! of everything that goes into it. Beside the tree stand a disk with the kernel's modules and an
//! initramfs, so that the guest's image can be booted with this kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::super::boot::OtherKernel;
use super::super::recipe::{disk, entries, install, pack, quietly, sbin_path};
use super::super::{cache, folder, needs, recipe};
use crate::run;

/// What goes into the hash beside the files.
const SOURCE: &str = include_str!("tree.rs");
/// Where Debian is, for what debootstrap does not know of a release.
const SECURITY: &str = "http://deb.debian.org/debian-security";
/// The size of the disk with the modules.
const DISK: &str = "768M";
/// Modules that lead to the root disk.
const FIRST: [&str; 4] = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// A Debian release whose kernel the module is built for.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// Debian 13, Linux 6.12
    Trixie,
    /// Debian 12, Linux 6.1
    Bookworm,
}

impl Release {
    pub(super) const ALL: [Self; 2] = [Self::Trixie, Self::Bookworm];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Bookworm => "bookworm",
        }
    }
}

/// A built tree.
#[derive(Clone, Debug)]
pub(super) struct BuildTree {
    folder: PathBuf,
}

impl BuildTree {
    /// The tree of a release, built now if it is not in the cache.
    pub(super) fn ready(release: Release) -> Result<Self> {
        let recipe = Recipe::read()?;
        let cache = cache()?;
        let name = format!("kbuild-{}-{:016x}", release.name(), recipe::hash(&recipe.text));
        let folder = cache.join(name);
        if !folder.exists() {
            needs::for_building()?;
            let start = Instant::now();
            println!("lab: building the tree in {} (some minutes, once)", folder.display());
            let partial = cache.join(format!("partial-{}-{}", release.name(), std::process::id()));
            let built = recipe.build(release, &partial);
            if built.is_err() {
                // What is left of a failed build is of no use.
                let _ = fs::remove_dir_all(&partial);
            }
            built.with_context(|| format!("cannot build the tree of {}", release.name()))?;
            fs::rename(&partial, &folder).with_context(|| folder.display().to_string())?;
            println!("lab: tree built in {} s", start.elapsed().as_secs());
        }
        Ok(Self { folder })
    }

    /// The root of the tree.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// The version of its kernel, as `uname -r` gives it.
    pub(super) fn version(&self) -> Result<String> {
        version(&self.root())
    }

    /// What boots the guest with its kernel.
    pub(super) fn kernel(&self) -> Result<OtherKernel> {
        Ok(OtherKernel {
            kernel: self.root().join(format!("boot/vmlinuz-{}", self.version()?)),
            initramfs: self.folder.join("initramfs"),
            modules: self.folder.join("modules.img"),
            arguments: Vec::new(),
        })
    }
}

/// A command that runs in a tree.
pub(super) fn inside(tree: &Path, program: &str) -> Command {
    let mut command = run::command("chroot");
    command.arg(tree).arg(program);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    command
}

fn version(tree: &Path) -> Result<String> {
    for entry in fs::read_dir(tree.join("usr/lib/modules"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if tree.join(format!("boot/vmlinuz-{name}")).exists() {
            return Ok(name);
        }
    }
    bail!("{} holds no kernel", tree.display())
}

/// Everything that decides what the tree is.
struct Recipe {
    packages: String,
    folders: String,
    init: PathBuf,
    text: String,
}

impl Recipe {
    fn read() -> Result<Self> {
        let read =
            |file: &Path| fs::read_to_string(file).with_context(|| file.display().to_string());
        let packages = read(&run::root().join("kernel/packages"))?;
        let folders = read(&folder().join("guest/kernel-modules"))?;
        let init = folder().join("guest/kernel-init");
        let parts = [&packages, &folders, &read(&init)?, SOURCE, recipe::SOURCE];
        let text = parts.map(str::to_owned).join("\0");
        Ok(Self { packages, folders, init, text })
    }

    fn build(&self, release: Release, folder: &Path) -> Result<()> {
        let tree = folder.join("tree");
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        quietly(
            run::command("debootstrap")
                .args(["--variant=minbase", "--include=ca-certificates", release.name()])
                .arg(&tree)
                .env("PATH", sbin_path()),
            &folder.join("debootstrap.log"),
        )?;
        let list = tree.join("etc/apt/sources.list");
        let mut sources = fs::read_to_string(&list)?;
        sources.push_str(&format!("deb {SECURITY} {}-security main\n", release.name()));
        fs::write(&list, sources)?;
        // Names are resolved as the machine does it.
        let _ = fs::copy("/etc/resolv.conf", tree.join("etc/resolv.conf"));
        let log = folder.join("packages.log");
        quietly(inside(&tree, "apt-get").args(["update", "-q"]), &log)?;
        let mut apt = inside(&tree, "apt-get");
        apt.args(["install", "-y", "-q", "--no-install-recommends"]);
        apt.args(entries(&self.packages)).env("DEBIAN_FRONTEND", "noninteractive");
        quietly(&mut apt, &log)?;
        fs::remove_dir_all(tree.join("var/cache/apt"))?;
        self.modules(folder, &tree)?;
        self.initramfs(folder, &tree)
    }

    /// The disk with the modules that the guest may need.
    fn modules(&self, folder: &Path, tree: &Path) -> Result<()> {
        let version = version(tree)?;
        let from = tree.join("usr/lib/modules").join(&version);
        // depmod wants the folder where it is on a machine.
        let root = folder.join("modules.d");
        let to = root.join("lib/modules").join(&version);
        for part in entries(&self.folders) {
            let source = from.join("kernel").join(part);
            // What a kernel has built in is not there, nor what is packed under another name.
            let packed = from.join("kernel").join(format!("{part}.xz"));
            let Some(source) = [source, packed].into_iter().find(|file| file.exists()) else {
                continue;
            };
            let target = to.join("kernel").join(part);
            fs::create_dir_all(target.parent().context("a module is in a folder")?)?;
            let into = if source.is_dir() {
                target
            } else {
                target.with_file_name(source.file_name().unwrap_or_default())
            };
            run::run(run::command("cp").arg("-a").arg(&source).arg(&into))?;
        }
        for file in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            fs::copy(from.join(file), to.join(file))?;
        }
        let inner = tree.join("modules.d");
        fs::rename(&root, &inner)?;
        run::run(inside(tree, "depmod").args(["-b", "/modules.d", &version]))?;
        fs::rename(&inner, &root)?;
        disk(&to, &folder.join("modules.img"), DISK)?;
        Ok(fs::remove_dir_all(&root)?)
    }

    /// The image's busybox, our init, and the modules that lead to the root disk.
    fn initramfs(&self, folder: &Path, tree: &Path) -> Result<()> {
        let version = version(tree)?;
        let root = folder.join("initramfs.d");
        for name in ["bin", "dev", "modules", "root"] {
            fs::create_dir_all(root.join(name))?;
        }
        install(&self.init, &root.join("init"))?;
        let busybox = super::super::image::Image::ready()?.tree().join("bin/busybox");
        install(&busybox, &root.join("bin/busybox"))?;
        let mut order = Vec::new();
        for module in FIRST {
            let depends = inside(tree, "modprobe")
                .args(["-S", &version, "--show-depends", module])
                .output()
                .context("cannot start modprobe")?;
            let said = String::from_utf8_lossy(&depends.stdout).into_owned();
            for file in said.lines().filter_map(|line| line.strip_prefix("insmod ")) {
                unpack(tree, file.trim(), &root.join("modules"), &mut order)?;
            }
        }
        fs::write(root.join("modules/order"), order.join("\n"))?;
        pack(&root, &busybox, &folder.join("initramfs"))
    }
}

/// Puts a module, unpacked, into a folder, once.
fn unpack(tree: &Path, file: &str, to: &Path, order: &mut Vec<String>) -> Result<()> {
    let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".xz").to_owned();
    if order.contains(&name) {
        return Ok(());
    }
    let out = fs::File::create(to.join(&name))?;
    if file.ends_with(".xz") {
        run::run(inside(tree, "xz").args(["-dc", file]).stdout(out))?;
    } else {
        run::run(inside(tree, "cat").arg(file).stdout(out))?;
    }
    order.push(name);
    Ok(())
}
