//! NBD: our server on a device in memory beside nbdkit's memory plugin, and `alua up` with the engine and
//! the model array in its process, with the same client, fio's nbd engine, in turns. nbdkit and fio come
//! out of the lab's image.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::server::{Server, sorted};
use crate::{lab, run};

/// The size of the devices; that of the model array is larger, and this much of it is used.
const MIB: u32 = 512;

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

/// How long it takes.
#[derive(Clone, Copy)]
pub(super) struct Length {
    /// How often each server has its turn; the figures are the medians.
    pub(super) rounds: usize,
    /// How long a turn is, in seconds.
    pub(super) seconds: u32,
}

/// What stands above the rows.
pub(super) const HEAD: [&str; 7] = [
    "",
    "ours",
    "nbdkit",
    "ratio (range)",
    "alua up, model array",
    "ratio to nbdkit (range)",
    "CPU us a request, ours / nbdkit / alua up",
];

/// A row: the load, the rates of each server, the ratio of ours and of `alua up` to nbdkit's with the
/// range over the rounds, and the servers' CPU time for each request in microseconds.
pub(super) type Row = [String; HEAD.len()];

/// What a turn came to.
#[derive(Clone, Copy)]
struct Turn {
    /// MiB or requests in a second.
    rate: f64,
    /// The server's CPU time for each request, in microseconds.
    cpu: f64,
}

/// Measures every load.
pub(super) fn rows(length: Length) -> Result<Vec<Row>> {
    for package in ["alua-lab", "alua-cli"] {
        let mut build = run::cargo();
        run::run(build.args(["build", "--quiet", "--release", "-p", package, "--bins"]))?;
    }
    let folder = std::env::temp_dir().join(format!("bench-export-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let rows = measure(&folder, length);
    // It holds sockets only.
    let _ = std::fs::remove_dir_all(&folder);
    rows
}

/// The servers, in the order of their columns.
const OURS: usize = 0;
const NBDKIT: usize = 1;
const UP: usize = 2;

fn measure(folder: &Path, length: Length) -> Result<Vec<Row>> {
    let tree = lab::tree()?;
    let sockets = ["ours", "nbdkit", "up"].map(|name| folder.join(name));
    let mut ours = super::program("alua-lab-export");
    ours.args(["nbd", "--memory", &MIB.to_string(), "--socket"]).arg(&sockets[OURS]);
    let plugin = "usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-memory-plugin.so";
    let mut nbdkit = lab::program(&tree, "nbdkit");
    nbdkit.arg("-f").arg("-U").arg(&sockets[NBDKIT]).arg(tree.join(plugin));
    nbdkit.arg(format!("size={MIB}M"));
    let mut up = super::program("alua");
    up.args(["up", "data0", "--array"]).arg(instant_array(folder)?).arg("--nbd");
    up.arg(format!("unix:{}", sockets[UP].display()));
    up.arg("--control").arg(folder.join("control"));
    let mut servers = Vec::new();
    for (mut command, socket) in [ours, nbdkit, up].into_iter().zip(&sockets) {
        servers.push((Server::start(&mut command, || socket.exists())?, socket));
    }
    let mut rows = Vec::new();
    for load in &LOADS {
        // For each server its turns, in the order of the rounds.
        let mut turns: [Vec<Turn>; 3] = Default::default();
        for round in 0..length.rounds {
            // Whoever comes later may find a warmer machine: they take turns in that too.
            for place in 0..servers.len() {
                let at = (round + place) % servers.len();
                let (server, socket) = &servers[at];
                turns[at].push(turn(&tree, server, socket, load, length.seconds)?);
            }
        }
        rows.push(row(load, &turns));
    }
    Ok(rows)
}

/// The built-in array without the times that it takes for its commands: what is left is what the
/// programs cost.
fn instant_array(folder: &Path) -> Result<PathBuf> {
    let array = run::capture(super::program("alua").args(["array", "print", "demo"]))?;
    let times = "[array]\ncommand_time = \"0us\"\nnon_optimized_time = \"0us\"";
    let file = folder.join("array.toml");
    std::fs::write(&file, array.replacen("[array]", times, 1))?;
    Ok(file)
}

/// The row of a load, of the turns of each server.
fn row(load: &Load, turns: &[Vec<Turn>; 3]) -> Row {
    let middle = |values: Vec<f64>| values[values.len() / 2];
    let rate = |of: usize| format!("{:.0}", middle(sorted(turns[of].iter().map(|it| it.rate))));
    let cpu = |of: usize| format!("{:.1}", middle(sorted(turns[of].iter().map(|it| it.cpu))));
    let ratio = |of: usize| {
        let pairs = turns[of].iter().zip(&turns[NBDKIT]);
        let ratios = sorted(pairs.map(|(it, nbdkit)| it.rate / nbdkit.rate));
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        format!("{:.2} ({low:.2} to {high:.2})", middle(ratios))
    };
    [
        load.name.to_owned(),
        rate(OURS),
        rate(NBDKIT),
        ratio(OURS),
        rate(UP),
        ratio(UP),
        format!("{} / {} / {}", cpu(OURS), cpu(NBDKIT), cpu(UP)),
    ]
}

/// One turn of a server.
fn turn(tree: &Path, server: &Server, socket: &Path, load: &Load, seconds: u32) -> Result<Turn> {
    let before = server.cpu()?;
    let (rate, requests) = fio(tree, socket, load, seconds)?;
    Ok(Turn { rate, cpu: (server.cpu()? - before) * 1e6 / requests })
}

/// What fio measures on a server: the rate, and how many requests there were.
fn fio(tree: &Path, socket: &Path, load: &Load, seconds: u32) -> Result<(f64, f64)> {
    let mut fio = lab::program(tree, "fio");
    fio.args(["--name=load", "--ioengine=nbd", "--time_based", "--output-format=json"]);
    fio.arg(format!("--uri=nbd+unix:///?socket={}", socket.display()));
    fio.args([format!("--rw={}", load.rw), format!("--bs={}", load.block)]);
    fio.args([format!("--iodepth={}", load.depth), format!("--size={MIB}m")]);
    fio.arg(format!("--runtime={seconds}"));
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
