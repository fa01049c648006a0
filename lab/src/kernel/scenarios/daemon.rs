//! multipathd on top: a filesystem, fio with verification, and random events.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::handler::tool;
use super::super::{Run, disk, until};
use super::access::settle;
use super::{Model, two_controllers};
use crate::command;
use crate::sysfs::{delete, need_disk, read, scan};

const SOON: Duration = Duration::from_secs(30);
const SLOW: Duration = Duration::from_secs(300);
const CONFIG: &str = "defaults {
    polling_interval 2
    find_multipaths no
    user_friendly_names no
    no_path_retry 30
    path_grouping_policy group_by_prio
    failback immediate
}
blacklist { devnode \"^vd\" }
";
/// Where the filesystem is mounted.
const MOUNT: &str = "/run/lab-mount";

/// The programs that a machine has running.
struct Daemons(Vec<Child>);

impl Daemons {
    fn start() -> Result<Self> {
        fs::write("/etc/multipath.conf", CONFIG)?;
        let quiet = |program: &str, arguments: &[&str]| {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| program.to_owned())
        };
        let mut daemons = vec![quiet("/usr/lib/systemd/systemd-udevd", &[])?];
        std::thread::sleep(Duration::from_secs(1));
        tool("udevadm", &["trigger", "--subsystem-match=block", "--action=add"])?;
        // A guest that finds mistakes is slow.
        let settled = command::run("udevadm", &["settle", "--timeout=240"], SLOW)?;
        ensure!(settled.status == 0, "udevadm settle: {}", settled.said());
        daemons.push(quiet("multipathd", &["-d", "-s"])?);
        Ok(Self(daemons))
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            // They were started here, and the guest is at its end anyway.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The multipath map, when there is one over all paths.
fn map() -> Option<String> {
    let output = command::run("dmsetup", &["ls", "--target", "multipath"], SOON).ok()?;
    let line = output.stdout.lines().next()?.to_owned();
    let name = line.split_whitespace().next()?.to_owned();
    (name != "No" && Path::new("/dev/mapper").join(&name).exists()).then_some(name)
}

/// What the table of a multipath map says.
#[derive(PartialEq, Debug)]
struct Table {
    /// The hardware handler, with the number of its words before it.
    handler: String,
    /// The device numbers of the paths of each priority group, the first group first.
    groups: Vec<Vec<String>>,
}

impl Table {
    fn parse(line: &str) -> Option<Self> {
        fn number<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<usize> {
            words.next()?.parse().ok()
        }
        let mut words = line.split_whitespace().skip_while(|word| *word != "multipath").skip(1);
        for _ in 0..number(&mut words)? {
            words.next()?;
        }
        let length = number(&mut words)?;
        let mut handler = length.to_string();
        for _ in 0..length {
            handler.push(' ');
            handler.push_str(words.next()?);
        }
        let count = number(&mut words)?;
        // The group to begin with.
        words.next()?;
        let mut groups = Vec::new();
        for _ in 0..count {
            // The selector, and what it is told.
            words.next()?;
            for _ in 0..number(&mut words)? {
                words.next()?;
            }
            let (paths, told) = (number(&mut words)?, number(&mut words)?);
            let mut group = Vec::new();
            for _ in 0..paths {
                group.push(words.next()?.to_owned());
                for _ in 0..told {
                    words.next()?;
                }
            }
            groups.push(group);
        }
        Some(Self { handler, groups })
    }
}

/// The priorities that multipathd gives disks, in their order; none for a disk that it does not show.
fn priorities(shown: &str, disks: &[String]) -> Vec<Option<i32>> {
    let of = |disk: &String| {
        let mut lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.find_map(|words| match words[..] {
            [name, priority] if name == disk => priority.parse().ok(),
            _ => None,
        })
    };
    disks.iter().map(of).collect()
}

/// multipathd takes the paths for what they are: without the handler it would still make a map, and
/// I/O would still survive.
fn detected(run: &mut Run, model: &Model, name: &str) -> Result<()> {
    let (mut disks, mut numbers) = (Vec::new(), Vec::new());
    for path in model.of(0) {
        let disk = need_disk(&path.hctl)?;
        numbers.push(read(&Path::new("/sys/class/block").join(&disk).join("dev"))?);
        disks.push(disk);
    }
    let said = |program: &str, arguments: &[&str]| {
        command::run(program, arguments, SOON).map_or(String::new(), |output| output.stdout)
    };
    let look = || {
        let line = said("dmsetup", &["table", name]);
        let table = Table::parse(&line);
        let handler = table.as_ref().is_some_and(|table| table.handler == "1 alua");
        let mut groups = table.map(|table| table.groups).unwrap_or_default();
        groups.iter_mut().for_each(|group| group.sort());
        let mut paths = groups.concat();
        paths.sort();
        let shown = said("multipathd", &["show", "paths", "format", "%d %p"]);
        (line, handler, paths, groups, priorities(&shown, &disks))
    };
    // A is the owner: its ports are optimized, and multipathd ranks what sysfs says of them.
    let ranks = [50, 50, 10, 10].map(Some);
    let mut halves = [numbers[..2].to_vec(), numbers[2..].to_vec()];
    halves.iter_mut().for_each(|half| half.sort());
    let mut all = numbers.clone();
    all.sort();
    // The map may come with a path or two, and take the others in later.
    let mut last = look();
    until(SLOW, || {
        last = look();
        last.1 && last.3 == halves && last.4 == ranks
    });
    let (line, handler, paths, groups, priorities) = last;
    let line = line.trim();
    run.check("G17", "multipathd's table names the handler alua", handler, line);
    run.check("S6", "its map has all four paths", paths == all, line);
    run.check(
        "F19",
        "its priorities are those of the states, and a priority group has the paths of one",
        groups == halves && priorities == ranks,
        format!("{priorities:?}, {line}"),
    );
    Ok(())
}

/// A small generator: the same events in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % limit
    }
}

/// What a few reads and writes may meet.
const CODES: [&str; 5] = ["6/29/00", "2/04/0a", "6/2a/06", "6/3f/03", "6/3f/0e"];

/// What a unit's group says of itself while it is of no use.
const USELESS: [&str; 3] = ["standby", "unavailable", "offline"];

/// Up to so many milliseconds in which something lasts.
fn last(random: &mut Random, millis: u64) {
    std::thread::sleep(Duration::from_millis(random.below(millis)));
}

/// Ports that answer nothing for a while.
fn silent(model: &Model, ports: &[u16], random: &mut Random) -> Result<()> {
    for port in ports {
        model.apply(&format!("do = \"arm\"\nfault = \"silent-{port}\""))?;
    }
    last(random, 3_000);
    for port in ports {
        model.apply(&format!("do = \"disarm\"\nfault = \"silent-{port}\""))?;
    }
    model.let_go();
    Ok(())
}

/// Kinds of events; the last is drawn twice as often as each other.
const KINDS: u64 = 10;

/// One event of a kind. It leaves a path that can be used, or one that can be soon.
fn event(model: &Model, random: &mut Random, kind: u64) -> Result<&'static str> {
    let to = if random.below(2) == 0 { "A" } else { "B" };
    let path = usize::try_from(random.below(4))?;
    let hctl = model.paths[path].hctl.clone();
    Ok(match kind {
        0 => {
            model.apply(&format!("do = \"switch\"\nto = \"{to}\"\ntransition = \"0s\""))?;
            "switch"
        }
        1 => {
            let time = random.below(4_000);
            model.apply(&format!("do = \"switch\"\nto = \"{to}\"\ntransition = \"{time}ms\""))?;
            "slow switch"
        }
        2 => {
            disk::activate(&hctl)?;
            "activation"
        }
        3 => {
            delete(&hctl)?;
            scan(&hctl)?;
            "path goes and comes"
        }
        4 => {
            let preferred = random.below(2) == 0;
            model.apply(&format!("do = \"set-preferred\"\ngroup = 2\npreferred = {preferred}"))?;
            "preference"
        }
        5 => {
            delete(&hctl)?;
            last(random, 5_000);
            scan(&hctl)?;
            "path stays away"
        }
        6 => {
            silent(model, &[model.paths[path].port], random)?;
            "path is silent"
        }
        7 => {
            let (group, state) = (if to == "A" { 2 } else { 1 }, USELESS[path.min(2)]);
            model.apply(&format!("do = \"switch\"\nto = \"{to}\"\ntransition = \"0s\""))?;
            let set = |state| {
                model.apply(&format!("do = \"set-state\"\ngroup = {group}\nstate = \"{state}\""))
            };
            set(state)?;
            last(random, 3_000);
            // One of the two others is silent meanwhile.
            silent(model, &[if to == "A" { 1 } else { 3 }], random)?;
            // A disk that is found in such a state has no capacity, whatever the handler does.
            set("active/non-optimized")?;
            "group of no use"
        }
        8 => {
            model.apply(&format!("do = \"switch\"\nto = \"{to}\"\ntransition = \"500ms\""))?;
            silent(model, if to == "A" { &[3, 4] } else { &[1, 2] }, random)?;
            "controller is silent, the other takes over"
        }
        _ => {
            let name = CODES[usize::try_from(random.below(CODES.len() as u64))?];
            model.apply(&format!("do = \"arm\"\nfault = \"{name}\""))?;
            "sense"
        }
    })
}

/// Shows how things stand, for whoever asks why fio ended early.
fn evidence() {
    println!("lab: fio ended early");
    let script = "dmesg | tail -n 150; dmsetup status; dmsetup table; multipathd show paths; \
                  cat /sys/kernel/debug/alua/units";
    match command::run("sh", &["-c", script], SLOW) {
        Ok(output) => println!("{}", output.stdout),
        Err(error) => println!("{error:#}"),
    }
}

/// The longest read or write of a run of fio, in milliseconds.
fn longest(said: &str) -> Option<f64> {
    // What it warns of stands before.
    let report: Value = serde_json::from_str(said.get(said.find('{')?..)?).ok()?;
    let job = &report["jobs"][0];
    let nanos = ["read", "write"].map(|kind| job[kind]["clat_ns"]["max"].as_f64());
    nanos.into_iter().flatten().reduce(f64::max).map(|longest| longest / 1e6)
}

fn random(run: &mut Run, length: Duration) -> Result<()> {
    let mut faults = String::new();
    for sense in CODES {
        faults.push_str(&format!(
            "[[fault]]\nname = \"{sense}\"\narmed = false\ncommand = [\"read-10\", \"write-10\"]\n\
             count = 3\naction = \"check\"\nsense = \"{sense}\"\n"
        ));
    }
    for port in 1..=4 {
        faults.push_str(&format!(
            "[[fault]]\nname = \"silent-{port}\"\narmed = false\nport = {port}\naction = \"hang\"\n"
        ));
    }
    let model = two_controllers("transition_time_shown = 30", &faults)?;
    settle(&model)?;
    let daemons = Daemons::start()?;
    let up = until(SLOW, || map().is_some());
    ensure!(up.is_some(), "multipathd made no map");
    let name = map().context("the map is gone")?;
    detected(run, &model, &name)?;
    let node = format!("/dev/mapper/{name}");
    tool("mkfs.ext4", &["-q", "-F", &node])?;
    fs::create_dir_all(MOUNT)?;
    tool("mount", &[&node, MOUNT])?;
    let seconds = length.as_secs();
    let mut fio = Command::new("fio")
        .args(["--name=lab", "--directory", MOUNT, "--size=4m", "--rw=randwrite", "--bs=4k"])
        .args(["--direct=1", "--verify=crc32c", "--verify_fatal=1", "--time_based"])
        .args(["--ioengine=psync", &format!("--runtime={seconds}"), "--verify_backlog=64"])
        .arg("--output-format=json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("fio")?;
    let mut generator = Random(17);
    let start = Instant::now();
    let mut events = 0_u32;
    let mut kinds = BTreeMap::new();
    while start.elapsed() < length {
        // Each kind once, and then what comes.
        let drawn = generator.below(KINDS + 1);
        let kind = if u64::from(events) < KINDS { events.into() } else { drawn };
        *kinds.entry(event(&model, &mut generator, kind)?).or_insert(0_u32) += 1;
        events += 1;
        std::thread::sleep(Duration::from_millis(300 + generator.below(2_500)));
        if start.elapsed() < length && fio.try_wait()?.is_some() {
            evidence();
            break;
        }
        if events.is_multiple_of(20) {
            println!("lab: {events} events, {} s", start.elapsed().as_secs());
        }
    }
    let output = fio.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complained = complaint.lines().next().unwrap_or_default();
    run.check("S6", "fio finds no error and no mismatch", output.status.success(), complained);
    let longest = longest(&said).context("fio says no times")?;
    run.check(
        "S6",
        "no read or write takes longer than 30 s",
        longest <= 30_000.0,
        format!("{longest} ms"),
    );
    run.figure(&format!("random events in {seconds} s: longest read or write in ms"), longest);
    for (kind, number) in &kinds {
        run.figure(&format!("random events in {seconds} s: {kind}"), (*number).into());
    }
    run.figure(&format!("random events in {seconds} s"), events.into());
    tool("umount", &[MOUNT])?;
    let checked = command::run("fsck.ext4", &["-f", "-n", &node], SOON)?;
    run.check("S6", "the filesystem is sound", checked.status == 0, checked.said());
    drop(daemons);
    // Nobody is left who would answer dmsetup's question to udev.
    tool("dmsetup", &["remove", "--noudevsync", "--retry", &name])?;
    model.take_down()
}

pub(super) fn short(run: &mut Run) -> Result<()> {
    random(run, Duration::from_secs(40))
}

pub(super) fn hour(run: &mut Run) -> Result<()> {
    random(run, Duration::from_secs(3_600))
}

#[cfg(test)]
mod tests {
    use super::{Table, longest, priorities};

    #[test]
    fn a_table_gives_its_handler_and_its_groups() {
        let line = "0 65536 multipath 2 queue_if_no_path retain_attached_hw_handler 1 alua 2 1 \
                    service-time 0 2 2 8:0 1 1 8:16 1 1 round-robin 1 9 1 0 8:32 ";
        let groups = vec![vec!["8:0".to_owned(), "8:16".to_owned()], vec!["8:32".to_owned()]];
        assert_eq!(Table::parse(line), Some(Table { handler: "1 alua".to_owned(), groups }));
        let bare = Table::parse("0 8 multipath 0 0 1 1 service-time 0 1 2 8:0 1 1").unwrap();
        assert_eq!((&bare.handler[..], bare.groups.len()), ("0", 1));
        assert_eq!(Table::parse("0 8 multipath 0 1 alua 1 1 service-time 0 2 2 8:0 1"), None);
        assert_eq!(Table::parse("0 8 linear 8:0 0"), None);
    }

    #[test]
    fn priorities_are_found_by_the_names_of_the_disks() {
        let shown = "dev pri\nsdb 10\nsda 50\nvda undef\n";
        let disks = ["sda", "sdb", "sdc", "vda"].map(str::to_owned);
        assert_eq!(priorities(shown, &disks), [Some(50), Some(10), None, None]);
    }

    #[test]
    fn the_longest_of_reads_and_writes_is_found_behind_a_warning() {
        let said = "fio: a warning\n{\"jobs\": [{\"read\": {\"clat_ns\": {\"max\": 2000000}}, \
                    \"write\": {\"clat_ns\": {\"max\": 31000000000}}}]}";
        assert_eq!(longest(said), Some(31_000.0));
        assert_eq!(longest("fio: no such file"), None);
    }
}
