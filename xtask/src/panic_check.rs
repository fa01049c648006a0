//! `cargo xtask panic-check`: proof that no panic is reachable in alua-core.
//!
//! alua-core is built as the kernel builds it (one codegen unit, `panic=abort`, optimized, without
//! link-time optimization), with every function compiled whether something calls it or not. The
//! linker then keeps what can be reached from its functions (`ld -r --gc-sections -u ...`). When a
//! function of core's panic machinery is left in that object, the check fails and shows the chain
//! of calls that leads there.
//!
//! Left out as starting points are the implementations of `core::fmt` traits (the kernel object
//! formats nothing, it hands numbers to C) and what core itself provides for our types, such as
//! `Ord::clamp`; where our code uses such a function, it is reached and looked at. Generic code
//! exists only where it is used, so the probe crate (`xtask/panic-probe`) uses it.
//!
//! # Negative control
//!
//! The same check runs first on a probe with an index that may be out of bounds. Unless it is
//! caught, the check itself is broken and fails.

mod graph;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol, SymbolKind};

use crate::run;
use graph::Graph;

/// Prefixes of the archive members that are ours; the rest is core.
const OURS: [&str; 2] = ["alua_core-", "panic_probe-"];

/// The function that the negative control adds.
const CONTROL: &str = "probe_may_panic";

pub(crate) fn run() -> Result<()> {
    let control = link(&build(true)?, "control.o")?;
    let caught = control.panics();
    if !caught.iter().any(|chain| chain.first().is_some_and(|first| first == CONTROL)) {
        bail!("the negative control was not caught: the panic check sees nothing");
    }
    println!("negative control caught: {}", caught_line(&caught));

    let linked = link(&build(false)?, "probe.o")?;
    let sizes = linked.sizes();
    println!(
        "{} functions of alua-core looked at: {} bytes of code in them, {} in what they use of core, \
         {} bytes of constant data",
        linked.roots(),
        sizes.ours,
        sizes.core,
        sizes.constants
    );
    let chains = linked.panics();
    if chains.is_empty() {
        println!("no panic can be reached");
        return Ok(());
    }
    for chain in &chains {
        println!("panic: {}", chain.join("\n    -> "));
    }
    bail!("{} functions of alua-core can panic", chains.len());
}

fn caught_line(chains: &[Vec<String>]) -> String {
    chains
        .iter()
        .find(|chain| chain.first().is_some_and(|first| first == CONTROL))
        .map_or_else(String::new, |chain| chain.join(" -> "))
}

/// Builds the probe as a static library, with or without the negative control; gives its path.
fn build(control: bool) -> Result<PathBuf> {
    let target = folder().join(if control { "control" } else { "probe" });
    let mut cargo = run::cargo();
    cargo
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(run::root().join("xtask/panic-probe/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-Clink-dead-code -Csymbol-mangling-version=v0");
    if control {
        cargo.args(["--features", "may-panic"]);
    }
    run::run(&mut cargo)?;
    Ok(target.join("release/libpanic_probe.a"))
}

/// Links what can be reached from the library's own functions into one object.
fn link(library: &Path, name: &str) -> Result<Graph> {
    let roots = roots(library)?;
    if roots.is_empty() {
        bail!("{} holds no function of alua-core", library.display());
    }
    let options = folder().join(format!("{name}.options"));
    let lines: String = roots.iter().map(|root| format!("-u {root}\n")).collect();
    fs::write(&options, lines).with_context(|| options.display().to_string())?;
    let linked = folder().join(name);
    run::run(
        run::command("ld")
            .args(["-r", "--gc-sections", "-o"])
            .arg(&linked)
            .arg(format!("@{}", options.display()))
            .arg(library),
    )
    .context("the panic check needs `ld`: on Debian, apt-get install binutils")?;
    let data = fs::read(&linked).with_context(|| linked.display().to_string())?;
    Graph::read(&data, &roots)
}

/// The functions that the check starts from: all that the library's own members define, but for
/// formatting.
fn roots(library: &Path) -> Result<Vec<String>> {
    let data = fs::read(library).with_context(|| library.display().to_string())?;
    let archive = ArchiveFile::parse(&*data)?;
    let mut roots = Vec::new();
    for member in archive.members() {
        let member = member?;
        let name = String::from_utf8_lossy(member.name());
        if !OURS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let file = object::File::parse(member.data(&*data)?)?;
        for symbol in file.symbols() {
            if symbol.kind() == SymbolKind::Text && symbol.is_global() && symbol.is_definition() {
                let name = symbol.name()?;
                if is_start(name) {
                    roots.push(name.to_owned());
                }
            }
        }
    }
    roots.sort();
    Ok(roots)
}

/// Whether the check starts from a function: it is written in our crates, it formats nothing, and it
/// is not the probe's own panic handler.
fn is_start(symbol: &str) -> bool {
    // `Y` in a mangled name: a method that a trait provides, for a type that does not write its own.
    let provided = ["_RNvY", "_RINvY"].iter().any(|prefix| symbol.starts_with(prefix));
    let plain = graph::plain(symbol);
    let of_core = plain.starts_with("core::") || plain.starts_with("<core::");
    let formats = plain.contains(" as core::fmt::");
    !(provided || of_core || formats || symbol.contains("rust_begin_unwind"))
}

fn folder() -> PathBuf {
    let folder = run::root().join("target/panic-check");
    // A folder that cannot be made shows in the first write to it, with its path.
    let _ = fs::create_dir_all(&folder);
    folder
}

#[cfg(test)]
mod tests {
    use super::is_start;

    #[test]
    fn the_check_starts_from_our_own_code_only() {
        assert!(is_start("probe_access_state"));
        assert!(is_start("_RNvMNtCsjvhBWRKPiiX_9alua_core4timeNtB2_4Time5afterB4_"));
        // Ordering::is_ge, instantiated in our crate.
        assert!(!is_start(
            "_RNvMNtCsgEmfK2I1SDS_4core3cmpNtB2_8Ordering5is_geCsjvhBWRKPiiX_9alua_core"
        ));
        assert!(!is_start("_RNvCsfLfy6EI15iL_7___rustc17rust_begin_unwind"));
    }
}
