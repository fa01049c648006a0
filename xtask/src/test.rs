//! `cargo xtask test`: everything that must pass before a change lands, in the order of what it
//! costs; the first step that fails ends the run and says what to do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{lab, panic_check, run, sim};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Leave out the lab: nothing is then tested on a real kernel
    #[arg(long)]
    no_lab: bool,
}

/// One step: its name, what to do when it fails, and the step itself.
struct Step {
    name: &'static str,
    help: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "format", help: "run `cargo fmt --all`", run: format },
    Step { name: "lints", help: "mend what clippy names above", run: lints },
    Step {
        name: "tests",
        help: "run the failed test alone with `cargo test -p PACKAGE NAME`",
        run: tests,
    },
    Step {
        name: "documents",
        help: "mend the doc comment that rustdoc names above",
        run: documents,
    },
    Step {
        name: "examples",
        help: "run the example alone with `cargo run -p PACKAGE --example NAME`",
        run: examples,
    },
    Step {
        name: "demo",
        help: "run it alone with `cargo run -- demo`; its last lines say what went wrong",
        run: demo,
    },
    Step {
        name: "fuzz targets build",
        help: "run `cargo check --manifest-path fuzz/Cargo.toml`",
        run: fuzz_builds,
    },
    Step {
        name: "no panic in alua-core",
        help: "take the panic out of the function that stands first in the chain above",
        run: panic_check::run,
    },
    Step {
        name: "simulation",
        help: "mend what the seed named above shows; docs/simulation.md tells of the seeds",
        run: sim::test,
    },
    Step {
        name: LAB,
        help: "run the scenario alone with `cargo xtask lab run NAME`; without a guest: --no-lab",
        run: lab::run_all,
    },
    Step {
        name: KERNEL,
        help: "run the scenario alone with `cargo xtask lab kernel NAME`; without a guest: --no-lab",
        run: lab::kernel::run_all,
    },
    Step {
        name: CONTROL,
        help: "run it alone with `cargo xtask lab kernel --control`; without a guest: --no-lab",
        run: lab::kernel::run_control,
    },
    Step {
        name: INITIATORS,
        help: "run the script alone with `cargo xtask lab initiators NAME`; without a guest: --no-lab",
        run: lab::run_initiators,
    },
];

const LAB: &str = "lab";
const KERNEL: &str = "the kernel's device handler";
const CONTROL: &str = "the stock device handler as a control";
const INITIATORS: &str = "initiators";
/// The steps that `--no-lab` leaves out.
const IN_GUESTS: [&str; 4] = [LAB, KERNEL, CONTROL, INITIATORS];

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        println!("\n==> {}/{}: {}", index + 1, STEPS.len(), step.name);
        if IN_GUESTS.contains(&step.name) && args.no_lab {
            println!("left out");
            continue;
        }
        let start = Instant::now();
        (step.run)().with_context(|| format!("step `{}` failed: {}", step.name, step.help))?;
        done.push((step.name, start.elapsed()));
    }
    println!();
    for (name, time) in &done {
        println!("{:>8.1} s  passed    {name}", time.as_secs_f64());
    }
    if args.no_lab {
        println!(
            "         --  LEFT OUT  {}: NOTHING WAS TESTED ON A REAL KERNEL (--no-lab)",
            IN_GUESTS.join(", ")
        );
    }
    Ok(())
}

fn format() -> Result<()> {
    run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
    // These stand outside the workspace.
    for manifest in ["xtask/panic-probe/Cargo.toml", "fuzz/Cargo.toml"] {
        if run::root().join(manifest).exists() {
            run::run(run::cargo().args(["fmt", "--check", "--manifest-path", manifest]))?;
        }
    }
    Ok(())
}

fn lints() -> Result<()> {
    run::run(run::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn tests() -> Result<()> {
    run::run(run::cargo().args(["test", "--workspace"]))
}

fn documents() -> Result<()> {
    run::run(
        run::cargo()
            .args(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Runs every example of the workspace: each ends by itself, and its exit status tells the truth.
fn examples() -> Result<()> {
    let metadata =
        run::capture(run::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let all = example_names(&metadata);
    if all.is_empty() {
        println!("the workspace has no example");
    }
    for (package, example) in all {
        println!("--> example {example} of {package}");
        run::run(run::cargo().args(["run", "--quiet", "-p", &package, "--example", &example]))?;
    }
    Ok(())
}

/// Runs the demo to its end, with the program that the tests built: it must end with 0 and say yes
/// twice, of the requests and of the bytes.
fn demo() -> Result<()> {
    let mut command = run::cargo();
    command.args(["run", "--quiet", "-p", "alua-cli", "--bin", "alua", "--", "demo"]);
    let said = run::capture(&mut command)?;
    let yes: Vec<&str> = said.lines().filter(|line| line.starts_with("  yes  ")).collect();
    println!("{}", yes.join("\n"));
    let all = |part: &str| yes.iter().any(|line| line.ends_with(part));
    if yes.len() != 2 || !all(" requests, 0 errors") || !all(" MiB read back, 0 wrong bytes") {
        bail!("the demo ended with 0 and did not say yes twice:\n{}", said.trim_end());
    }
    Ok(())
}

/// The (package, example) pairs in cargo's metadata.
fn example_names(metadata: &Value) -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["kind"].as_array().into_iter().flatten();
            if kinds.filter_map(Value::as_str).any(|kind| kind == "example")
                && let (Some(package), Some(name)) =
                    (package["name"].as_str(), target["name"].as_str())
            {
                names.insert((package.to_owned(), name.to_owned()));
            }
        }
    }
    names
}

/// The fuzz crate stands outside the workspace, so the steps above do not see it.
fn fuzz_builds() -> Result<()> {
    let manifest = run::root().join("fuzz/Cargo.toml");
    if !manifest.exists() {
        println!("there is no fuzz crate");
        return Ok(());
    }
    run::run(
        run::cargo().args(["check", "--quiet", "--all-targets", "--manifest-path"]).arg(manifest),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::example_names;

    #[test]
    fn examples_are_found_in_the_metadata() {
        let metadata = json!({"packages": [
            {"name": "a", "targets": [
                {"kind": ["lib"], "name": "a"},
                {"kind": ["example"], "name": "drive"},
            ]},
            {"name": "b", "targets": [{"kind": ["bin"], "name": "b"}]},
        ]});
        let names: Vec<_> = example_names(&metadata).into_iter().collect();
        assert_eq!(names, [("a".to_owned(), "drive".to_owned())]);
    }
}
