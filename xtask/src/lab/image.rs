//! The guest's image: a Debian tree, a disk made from it, and a small initramfs.
//!
//! It is built once and kept in the cache, in a folder named by a hash of everything that goes into
//! it: the package list, the guest's scripts, this file, and `recipe.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::recipe::{disk, entries, install, pack, quietly, sbin_path};
use super::{needs, recipe};
use crate::run;

/// The release that everything in the guest comes from.
const RELEASE: &str = "trixie";
/// The size of the disk.
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
        let folder = cache.join(format!("image-{:016x}", recipe::hash(&recipe.text)));
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
        let (first, second) = (read("guest/init")?, read("guest/start")?);
        let parts = [&packages, &modules, &first, &second, SOURCE, recipe::SOURCE];
        let text = parts.map(str::to_owned).join("\0");
        let (init, start) = (lab.join("guest/init"), lab.join("guest/start"));
        Ok(Self { packages, init, start, modules, text })
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
        disk(&tree, &folder.join("disk.img"), DISK)
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
        pack(&root, &tree.join("bin/busybox"), &folder.join("initramfs"))
    }
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
