//! The other implementations: built from `crates/alua-bench/peers` where their packages are there.
//!
//! A peer that cannot be built is left out, and the output says why. A peer that reads something
//! else than we do is a failure of the comparison, and left out as well.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// What a peer is built with and tells of itself.
struct Recipe {
    name: &'static str,
    link: &'static [&'static str],
    /// The Debian package whose version is told, and what must be installed to build.
    package: &'static str,
    install: &'static str,
    /// Packages that are fetched and unpacked beside the build: installing this one would bring
    /// udev rules, a daemon and an initramfs along.
    fetch: &'static [&'static str],
    /// A sample, and our way of reading it that must give the same checksum.
    check: (&'static str, &'static str),
}

const RECIPES: [Recipe; 3] = [
    Recipe {
        name: "libmultipath",
        link: &["-ldl", "-rdynamic"],
        package: "multipath-tools",
        install: "gcc, and apt-get that reaches a mirror",
        fetch: &["multipath-tools", "liburcu8", "libaio1", "libdevmapper1.02.1"],
        check: ("rtpg-32", "alua-core-one-state"),
    },
    Recipe {
        name: "libiscsi",
        link: &["-liscsi"],
        package: "libiscsi-dev",
        install: "gcc libiscsi-dev",
        fetch: &[],
        check: ("page83", "alua-core"),
    },
    Recipe {
        name: "libsgutils2",
        link: &["-lsgutils2"],
        package: "libsgutils2-dev",
        install: "gcc libsgutils2-dev",
        fetch: &[],
        check: ("page83", "alua-core"),
    },
];

/// The peers, ready or not.
pub(super) struct Peers {
    folder: PathBuf,
    state: Vec<(&'static str, Result<String>)>,
}

impl Peers {
    /// Builds every peer into `folder`.
    pub(super) fn build(folder: &Path) -> Self {
        let mut peers = Self { folder: folder.join("peers"), state: Vec::new() };
        for recipe in &RECIPES {
            let _ = std::fs::remove_file(peers.program(recipe.name));
            let built = peers.build_one(recipe, folder);
            if built.is_err() {
                let _ = std::fs::remove_file(peers.program(recipe.name));
            }
            peers.state.push((recipe.name, built));
        }
        peers
    }

    /// One line for each peer: its version, or why it is left out.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = |(name, state): &(&str, Result<String>)| match state {
            Ok(version) => format!("{name}: {version}"),
            Err(error) => format!("{name}: LEFT OUT, {error:#}"),
        };
        self.state.iter().map(note).collect()
    }

    pub(super) fn is_ready(&self, name: &str) -> bool {
        self.state.iter().any(|(known, state)| *known == name && state.is_ok())
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a program needs to find the peers and their libraries.
    pub(super) fn set_environment(&self, command: &mut Command) {
        let unpacked = self.folder.join("debian");
        let mut libraries = OsString::new();
        for part in ["lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
            libraries.push(unpacked.join(part));
            libraries.push(":");
        }
        libraries.push(std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
        command.env("LD_LIBRARY_PATH", libraries).env("ALUA_BENCH_PEERS", &self.folder);
    }

    fn build_one(&self, recipe: &Recipe, folder: &Path) -> Result<String> {
        std::fs::create_dir_all(&self.folder)?;
        let mut version = None;
        for package in recipe.fetch {
            let fetched = self.fetch(package)?;
            version.get_or_insert(fetched);
        }
        let source = run::root().join("crates/alua-bench/peers").join(recipe.name);
        let mut gcc = run::command("gcc");
        gcc.args(["-O2", "-Wall", "-Wextra", "-o"]).arg(self.program(recipe.name));
        gcc.arg(source.with_extension("c")).args(recipe.link);
        run::capture(&mut gcc)
            .map_err(|_| anyhow::anyhow!("cannot be built: needs {}", recipe.install))?;
        self.check(recipe, folder)?;
        version.map_or_else(|| installed(recipe.package), Ok)
    }

    /// Fetches and unpacks a package; gives its name and version.
    fn fetch(&self, package: &str) -> Result<String> {
        let find = || -> Result<Option<PathBuf>> {
            for entry in std::fs::read_dir(&self.folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with(&format!("{package}_")) && name.ends_with(".deb") {
                    return Ok(Some(path));
                }
            }
            Ok(None)
        };
        if find()?.is_none() {
            let mut apt = run::command("apt-get");
            run::capture(apt.args(["download", "--quiet", package]).current_dir(&self.folder))
                .with_context(|| format!("cannot fetch {package}"))?;
        }
        let file = find()?.with_context(|| format!("apt-get left no {package}"))?;
        run::capture(run::command("dpkg").arg("-x").arg(&file).arg(self.folder.join("debian")))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().replace("%3a", ":");
        Ok(name.rsplit_once('_').map_or(name.as_str(), |(name, _)| name).replace('_', " "))
    }

    /// The peer reads what we read.
    fn check(&self, recipe: &Recipe, folder: &Path) -> Result<()> {
        let (sample, subject) = recipe.check;
        let mut peer = run::command(self.program(recipe.name));
        peer.arg(folder.join("samples").join(sample)).arg("1");
        self.set_environment(&mut peer);
        let theirs = run::capture(&mut peer)?;
        let theirs = theirs.split_whitespace().next().unwrap_or_default().to_owned();
        let mut program = super::program("alua-bench-parse");
        let ours = run::capture(program.args([sample, subject, "1"]))?;
        if theirs != ours.trim() {
            bail!("reads {sample} otherwise than we do: {theirs}, not {}", ours.trim());
        }
        Ok(())
    }
}

fn installed(package: &str) -> Result<String> {
    let mut dpkg = run::command("dpkg-query");
    run::capture(dpkg.args(["--show", "--showformat", "${Package} ${Version}", package]))
}
