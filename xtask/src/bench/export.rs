//! NBD: our server on a device in memory beside nbdkit's memory plugin, with the same client, fio's
//! nbd engine, in turns. nbdkit and fio come out of the lab's image.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::server::{Server, sorted};
use crate::{lab, run};

/// The size of both devices.
const MIB: u32 = 512;
/// How often each server has its turn.
const ROUNDS: usize = 5;
/// How long a turn is, in seconds.
const SECONDS: u32 = 3;

/// A load: its name, fio's `rw`, block size, depth, and whether bytes or requests are counted.
struct Load {
    name: &'static str,
    rw: &'static str,
    block: &'static str,
    depth: &'static str,
    bytes: bool,
}

const LOADS: [Load; 5] = [
    Load {
        name: "1 MiB reads, depth 16, MiB/s",
        rw: "read",
        block: "1m",
        depth: "16",
        bytes: true,
    },
    Load {
        name: "1 MiB writes, depth 16, MiB/s",
        rw: "write",
        block: "1m",
        depth: "16",
        bytes: true,
    },
    Load {
        name: "4 KiB random reads, depth 32, /s",
        rw: "randread",
        block: "4k",
        depth: "32",
        bytes: false,
    },
    Load {
        name: "4 KiB random writes, depth 32, /s",
        rw: "randwrite",
        block: "4k",
        depth: "32",
        bytes: false,
    },
    Load {
        name: "4 KiB random reads, depth 1, /s",
        rw: "randread",
        block: "4k",
        depth: "1",
        bytes: false,
    },
];

/// One row: the load, ours, nbdkit's, the ratio with its range over the rounds, and the servers'
/// CPU time for each request in microseconds.
pub(super) type Row = [String; 5];

/// What a turn came to.
#[derive(Clone, Copy)]
struct Turn {
    /// MiB or requests in a second.
    rate: f64,
    /// The server's CPU time for each request, in microseconds.
    cpu: f64,
}

/// Measures every load.
pub(super) fn rows() -> Result<Vec<Row>> {
    let mut build = run::cargo();
    run::run(build.args(["build", "--quiet", "--release", "-p", "alua-lab", "--bins"]))?;
    let folder = std::env::temp_dir().join(format!("bench-export-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let rows = measure(&folder);
    // It holds sockets only.
    let _ = std::fs::remove_dir_all(&folder);
    rows
}

fn measure(folder: &Path) -> Result<Vec<Row>> {
    let (ours, theirs) = (folder.join("ours"), folder.join("nbdkit"));
    let mut server = super::program("alua-lab-export");
    server.args(["nbd", "--memory", &MIB.to_string(), "--socket"]).arg(&ours);
    let our_server = Server::start(&mut server, || ours.exists())?;
    let tree = lab::tree()?;
    let plugin = "usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so";
    let mut server = lab::program(&tree, "nbdkit");
    server.arg("-f").arg("-U").arg(&theirs).arg(tree.join(plugin)).arg(format!("size={MIB}M"));
    let their_server = Server::start(&mut server, || theirs.exists())?;
    let turn_of_ours = |load| turn(&tree, &our_server, &ours, load);
    let turn_of_theirs = |load| turn(&tree, &their_server, &theirs, load);
    let mut rows = Vec::new();
    for load in &LOADS {
        let mut rounds: Vec<(Turn, Turn)> = Vec::new();
        for round in 0..ROUNDS {
            // Whoever comes second may find a warmer machine: they take turns in that too.
            rounds.push(if round % 2 == 0 {
                let first = turn_of_ours(load)?;
                (first, turn_of_theirs(load)?)
            } else {
                let first = turn_of_theirs(load)?;
                (turn_of_ours(load)?, first)
            });
        }
        let ratios = sorted(rounds.iter().map(|(ours, theirs)| ours.rate / theirs.rate));
        let median = |of: fn(&(Turn, Turn)) -> f64| sorted(rounds.iter().map(of))[ROUNDS / 2];
        rows.push([
            load.name.to_owned(),
            format!("{:.0}", median(|(ours, _)| ours.rate)),
            format!("{:.0}", median(|(_, theirs)| theirs.rate)),
            format!("{:.2} ({:.2} to {:.2})", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]),
            format!("{:.1} / {:.1}", median(|(ours, _)| ours.cpu), median(|(_, it)| it.cpu)),
        ]);
    }
    Ok(rows)
}

/// One turn of a server.
fn turn(tree: &Path, server: &Server, socket: &Path, load: &Load) -> Result<Turn> {
    let before = server.cpu()?;
    let (rate, requests) = fio(tree, socket, load)?;
    Ok(Turn { rate, cpu: (server.cpu()? - before) * 1e6 / requests })
}

/// What fio measures on a server: the rate, and how many requests there were.
fn fio(tree: &Path, socket: &Path, load: &Load) -> Result<(f64, f64)> {
    let mut fio = lab::program(tree, "fio");
    fio.args(["--name=load", "--ioengine=nbd", "--time_based", "--output-format=json"]);
    fio.arg(format!("--uri=nbd+unix:///?socket={}", socket.display()));
    fio.args([format!("--rw={}", load.rw), format!("--bs={}", load.block)]);
    fio.args([format!("--iodepth={}", load.depth), format!("--size={MIB}m")]);
    fio.arg(format!("--runtime={SECONDS}"));
    let said = run::capture(fio.stdin(Stdio::null()))?;
    // fio says more than its JSON.
    let json = said.find('{').map_or("", |start| &said[start..]);
    let report: Value = serde_json::from_str(json).context("fio wrote no JSON")?;
    let job = &report["jobs"][0];
    if job["error"] != 0 {
        bail!("fio failed on {}: {}", socket.display(), job["error"]);
    }
    let part = if load.rw.ends_with("read") { &job["read"] } else { &job["write"] };
    let member = if load.bytes { "bw" } else { "iops" };
    let value = part[member].as_f64().filter(|value| *value > 0.0);
    let value = value.with_context(|| format!("fio measured no {member}"))?;
    let requests = part["total_ios"].as_f64().context("fio counted no requests")?;
    // fio counts KiB.
    Ok((if load.bytes { value / 1024.0 } else { value }, requests))
}
