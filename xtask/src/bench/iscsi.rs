//! The iSCSI target beside tgt, over loopback, with the same client, in turns.
//!
//! tgt is taken from the system, or else out of the lab's image where that has been built. Where it is
//! nowhere, its columns are left out, and the output says how to get it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::server::{Server, sorted};
use crate::{lab, run};

/// The size of both units.
const MIB: u64 = 256;
/// How often each target has its turn.
const ROUNDS: usize = 5;
/// How long a turn is, in seconds.
const SECONDS: u32 = 2;
/// Sessions that are held without a command.
const IDLE: u64 = 1_000;
/// The targets' iSCSI names.
const OURS: &str = "iqn.2026-03.invalid.alua:demo";
const THEIRS: &str = "iqn.2026-03.invalid.tgt:bench";
/// How to get tgt.
const HOW: &str = "apt install tgt, or cargo xtask lab build";

/// A load: its name, and the client's words for it.
const LOADS: [(&str, [&str; 4]); 6] = [
    ("4 KiB random read, depth 1", ["read", "random", "4096", "1"]),
    ("4 KiB random write, depth 1", ["write", "random", "4096", "1"]),
    ("4 KiB random read, depth 32", ["read", "random", "4096", "32"]),
    ("4 KiB random write, depth 32", ["write", "random", "4096", "32"]),
    ("1 MiB sequential read, depth 4", ["read", "sequential", "1048576", "4"]),
    ("1 MiB sequential write, depth 4", ["write", "sequential", "1048576", "4"]),
];

/// What a turn came to.
#[derive(Clone, Copy)]
struct Turn {
    /// Commands in a second.
    rate: f64,
    /// The median time of a command, in microseconds.
    median: f64,
    /// The target's CPU time for each command, in microseconds.
    cpu: f64,
}

/// A target that is measured.
struct Place {
    server: Server,
    address: String,
    target: &'static str,
    lun: u8,
}

impl Place {
    fn words(&self) -> String {
        format!("it={},{},{}", self.address, self.target, self.lun)
    }

    fn turn(&self, seconds: u32, load: &[&str]) -> Result<Turn> {
        let before = self.server.cpu()?;
        let mut client = super::program("alua-bench-iscsi");
        client.args(["turn", &seconds.to_string()]).args(load).arg(self.words());
        let said = run::capture(client.stdin(Stdio::null()))?;
        let figures = said.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let &[commands, rate, median] = figures.as_slice() else {
            bail!("the client says {said:?}");
        };
        Ok(Turn { rate, median, cpu: (self.server.cpu()? - before) * 1e6 / commands })
    }

    /// System calls for each command, all and by name, as strace counts them.
    fn calls(&self, load: &[&str]) -> Result<String> {
        let mut strace = run::command("strace");
        strace.args(["-c", "-f", "-p", &self.server.id().to_string()]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let strace = strace.spawn().context("strace: not there (apt install strace)")?;
        // It has to be there before the first command.
        thread::sleep(Duration::from_millis(500));
        let mut client = super::program("alua-bench-iscsi");
        client.args(["turn", "1"]).args(load).arg(self.words());
        let said = run::capture(client.stdin(Stdio::null()));
        interrupt(&strace)?;
        let table = strace.wait_with_output()?;
        let commands: f64 = said?.split_whitespace().next().unwrap_or_default().parse()?;
        let mut counts = Vec::new();
        for line in String::from_utf8_lossy(&table.stderr).lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, _, calls, .., name] = fields.as_slice()
                && let Ok(calls) = calls.parse::<f64>()
                && *name != "total"
            {
                counts.push((calls / commands, (*name).to_owned()));
            }
        }
        counts.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all: f64 = counts.iter().map(|(calls, _)| calls).sum();
        let many = counts.iter().filter(|(calls, _)| *calls >= 0.05);
        let named: Vec<String> = many.map(|(calls, name)| format!("{calls:.2} {name}")).collect();
        Ok(format!("{all:.2} ({})", named.join(", ")))
    }
}

/// Ends strace as a person does, so that it prints its table.
fn interrupt(strace: &Child) -> Result<()> {
    run::run(run::command("kill").args(["-INT", &strace.id().to_string()]))
}

/// Prints every figure.
pub(super) fn show() -> Result<()> {
    let mut build = run::cargo();
    build.args(["build", "--quiet", "--release", "-p", "alua-cli", "-p", "alua-bench", "--bins"]);
    run::run(&mut build)?;
    let folder = std::env::temp_dir().join(format!("bench-iscsi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let shown = measure(&folder);
    // It holds sockets, a log and tgt's file.
    let _ = std::fs::remove_dir_all(&folder);
    shown
}

fn measure(folder: &Path) -> Result<()> {
    let ours = serve(folder)?;
    let theirs = match tgt(folder) {
        Ok(place) => Some(place),
        Err(error) => {
            println!("tgt: LEFT OUT, {error:#} ({HOW})");
            None
        }
    };
    // Every block is written once: the first write of one allocates it.
    for place in std::iter::once(&ours).chain(&theirs) {
        place.turn(3, &["write", "sequential", "1048576", "4"])?;
    }
    super::machine();
    println!(
        "\n{ROUNDS} rounds of {SECONDS} s each, in alternation; medians, ratios with their range\n"
    );
    println!(
        "| load | alua, per s | tgt, per s | ratio | median us, alua / tgt | target's CPU us a command, alua / tgt |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for (name, load) in &LOADS {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let of_theirs = || theirs.as_ref().map(|place| place.turn(SECONDS, load)).transpose();
            // Whoever comes second may find a warmer machine: they take turns in that too.
            rounds.push(if round % 2 == 0 {
                let first = ours.turn(SECONDS, load)?;
                (first, of_theirs()?)
            } else {
                let first = of_theirs()?;
                (ours.turn(SECONDS, load)?, first)
            });
        }
        println!("{}", row(name, &rounds));
    }
    println!("\nSystem calls of the target for each command, under strace, which slows it down:\n");
    println!("| load | alua | tgt |\n|---|---|---|");
    for (name, load) in &LOADS {
        let shown = |place: &Place| place.calls(load).unwrap_or_else(|error| format!("{error:#}"));
        let their_calls = theirs.as_ref().map_or_else(|| "-".to_owned(), shown);
        println!("| {name} | {} | {their_calls} |", shown(&ours));
    }
    idle(folder)
}

fn row(name: &str, rounds: &[(Turn, Option<Turn>)]) -> String {
    let middle = |of: &dyn Fn(&Turn) -> f64, theirs: bool| {
        let turns = rounds.iter().filter_map(|(a, b)| if theirs { *b } else { Some(*a) });
        sorted(turns.map(|turn| of(&turn))).get(ROUNDS / 2).copied()
    };
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let both = |of: &dyn Fn(&Turn) -> f64, digits| {
        (shown(middle(of, false), digits), shown(middle(of, true), digits))
    };
    let ratios = sorted(rounds.iter().filter_map(|(a, b)| Some(a.rate / (*b)?.rate)));
    let ratio = match ratios.as_slice() {
        [least, .., most] => format!("{:.2} ({least:.2} to {most:.2})", ratios[ROUNDS / 2]),
        _ => "-".to_owned(),
    };
    let (rate, rate_of_tgt) = both(&|turn| turn.rate, 0);
    let (median, median_of_tgt) = both(&|turn| turn.median, 0);
    let (cpu, cpu_of_tgt) = both(&|turn| turn.cpu, 1);
    format!(
        "| {name} | {rate} | {rate_of_tgt} | {ratio} | {median} / {median_of_tgt} | {cpu} / \
         {cpu_of_tgt} |"
    )
}

/// What sessions cost that do nothing: ours alone, on a fresh target.
fn idle(folder: &Path) -> Result<()> {
    let place = serve(folder)?;
    let before = place.server.resident()?;
    let mut client = super::program("alua-bench-iscsi");
    client.args(["idle", &IDLE.to_string(), &place.words()]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().context("cannot start alua-bench-iscsi")?;
    let mut line = String::new();
    let out = client.stdout.take().context("no output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line)?;
    if line.trim() != format!("{IDLE} sessions") {
        bail!("the client holds {line:?}");
    }
    let after = place.server.resident()?;
    let each = (after.saturating_sub(before)) as f64 / IDLE as f64;
    println!(
        "\n{IDLE} idle sessions held: {before} KiB resident before, {after} KiB with them, {each:.1} \
         KiB for each"
    );
    // Its sessions end with its input.
    drop(client.stdin.take());
    client.wait()?;
    Ok(())
}

/// A port that nobody has now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn listens(address: &str) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

/// Ours: the built-in array with smaller units, in memory.
fn serve(folder: &Path) -> Result<Place> {
    let alua = || super::program("alua");
    let array = run::capture(alua().args(["array", "print", "demo"]))?;
    let blocks = format!("blocks = {}", MIB * 2048);
    let array: Vec<&str> = array
        .lines()
        .map(|line| if line.starts_with("blocks = ") { blocks.as_str() } else { line })
        .collect();
    let file = folder.join("array.toml");
    std::fs::write(&file, array.join("\n"))?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = alua();
    command.args(["target", "serve", "--portal", &format!("{address}=1"), "--array"]).arg(&file);
    command.arg("--control").arg(folder.join(format!("control-{}", free_port()?)));
    let server = Server::start(&mut command, || listens(&address))?;
    Ok(Place { server, address, target: OURS, lun: 0 })
}

/// tgt, with a file on tmpfs where there is one.
fn tgt(folder: &Path) -> Result<Place> {
    let program = tgt_programs()?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let socket = folder.join("tgt.socket");
    let shm = Path::new("/dev/shm");
    let image = if shm.is_dir() { shm } else { folder }.join(format!("bench-tgt-{port}.img"));
    let unlinked = Unlink(image.clone());
    std::fs::File::create(&image)?.set_len(MIB << 20)?;
    let mut command = program("tgtd");
    command.args(["-f", "--iscsi", &format!("portal={address}")]);
    command.env("TGT_IPC_SOCKET", &socket).stderr(Stdio::null());
    let server = Server::start(&mut command, || listens(&address))?;
    let name = image.display().to_string();
    for words in [
        &["--op", "new", "--mode", "target", "--tid", "1", "-T", THEIRS][..],
        &["--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", &name],
        &["--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"],
    ] {
        let mut admin = program("tgtadm");
        admin.args(["--lld", "iscsi"]).args(words).env("TGT_IPC_SOCKET", &socket);
        run::capture(&mut admin)?;
    }
    // tgtd holds the file open; nothing is left of it when it ends.
    drop(unlinked);
    Ok(Place { server, address, target: THEIRS, lun: 1 })
}

/// Takes a file away.
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where tgt's programs are.
fn tgt_programs() -> Result<impl Fn(&str) -> Command> {
    let installed = ["/usr/sbin", "/usr/local/sbin"]
        .map(PathBuf::from)
        .into_iter()
        .find(|folder| folder.join("tgtd").exists());
    let tree = lab::old_tree().filter(|tree| tree.join("usr/sbin/tgtd").exists());
    if installed.is_none() && tree.is_none() {
        bail!("it is neither installed nor in the lab's image");
    }
    Ok(move |name: &str| match (&installed, &tree) {
        (Some(folder), _) => run::command(folder.join(name)),
        (None, Some(tree)) => lab::program(tree, name),
        (None, None) => run::command(name),
    })
}
