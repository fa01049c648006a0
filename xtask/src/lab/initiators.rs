//! Real initiators against `alua target serve`, in the guest: shell scripts under `lab/initiators`.
//!
//! Each script is one scenario: it ends with 0 when all it looked at was right, and says with
//! `lab: ` lines what it does. They share one boot and run one after the other, in the order of
//! their names; each cleans up behind itself.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::boot;
use super::image::Image;
use super::scenarios::Share;

/// What the guest runs. A script that hangs is ended, and counts as failed.
const RUN: &str = r#"#!/bin/bash
mkdir /run/bin
cp /host/alua /host/alua-bench-iscsi /run/bin/
export PATH=/run/bin:$PATH HERE=/host/initiators
mkdir -p /run/lock /var/lib/iscsi /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t configfs configfs /sys/kernel/config 2>/dev/null
ip link set lo up
for name in $(cat /host/todo); do
    echo "lab: $name ..."
    start=$(date +%s)
    timeout --kill-after=10 600 bash $HERE/$name.sh > /run/$name.log 2>&1 &
    script=$!
    # What it says to people comes through at once.
    tail --pid=$script -n +1 -F /run/$name.log 2>/dev/null | grep --line-buffered "^lab: "
    wait $script
    code=$?
    [ $code = 0 ] || { echo "--- $name"; tail -n 80 /run/$name.log; }
    cp /run/$name.log /host/$name.log
    echo "$name $code $(( $(date +%s) - start ))" >> /host/results
done
"#;

/// The scripts that are there, without `.sh`.
pub(super) fn names() -> Result<Vec<String>> {
    let folder = super::folder().join("initiators");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".sh").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Runs the named scripts, or all that are no figures.
pub(super) fn run(wanted: &[String]) -> Result<()> {
    let all = names()?;
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        bail!("no script is called {unknown}: there are {}", all.join(", "));
    }
    // Figures are measured, not tested.
    let by_default = |name: &&String| wanted.is_empty() && !name.starts_with("figures");
    let todo: Vec<String> =
        all.iter().filter(|name| wanted.contains(name) || by_default(name)).cloned().collect();
    let image = Image::ready()?;
    let programs = [("alua-cli", "alua"), ("alua-bench", "alua-bench-iscsi")];
    let share = Share::with(&programs, "alua-cli/ublk")?;
    share.prepare(RUN, &todo)?;
    share.copy("initiators")?;
    let start = Instant::now();
    let boot = boot::boot(&image, &share.folder)?;
    super::scenarios::save("initiators-console.log", &boot.console)?;
    for name in &todo {
        if let Ok(log) = fs::read_to_string(share.folder.join(format!("{name}.log"))) {
            super::scenarios::save(&format!("initiators-{name}.log"), &log)?;
        }
    }
    let results = fs::read_to_string(share.folder.join("results"))?;
    let mut failed = Vec::new();
    println!("\n{:<26} {:<7} {:>8}", "initiators", "result", "seconds");
    for name in &todo {
        let line = results.lines().find(|line| line.split(' ').next() == Some(name));
        let mut words = line.unwrap_or_default().split(' ').skip(1);
        let (code, seconds) = (words.next().unwrap_or("none"), words.next().unwrap_or("-"));
        let result = if code == "0" { "passed" } else { "FAILED" };
        println!("{name:<26} {result:<7} {seconds:>8}");
        if code != "0" {
            failed.push(name.as_str());
        }
    }
    println!("{} scripts in {} s with booting", todo.len(), start.elapsed().as_secs());
    if failed.is_empty() {
        return Ok(());
    }
    println!("{}", boot.last_lines());
    bail!("failed with real initiators: {}; logs in the lab's cache", failed.join(", "))
}
