//! `alua up`: a unit as one block device over all its paths, until it is told to stop.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use alua_array::Array;
use alua_device::model::{ModelArray, Serve};
use alua_device::{Device, Told, linux};
use alua_export::block::BlockDevice;
use alua_export::nbd::server::{Address, Config as NbdConfig, Export, Server};
use alua_export::{Exported, Totals};
use alua_host::sysfs::Sysfs;
use alua_multipath::{Activation, Config};
use sd_notify::NotifyState;
use serde::Serialize;

use super::print;
use crate::cli::Global;
use crate::cli::running::Up;
use crate::error::Error;
use crate::exit::Exit;
use crate::render::json;
use crate::render::style::{FAINT, paint};
use crate::running::control::{self, socket_of};
use crate::running::recorder::Recorder;
use crate::running::starting::{Begun, Start, Stop};
use crate::running::status::{Facts, Settings};
use crate::target::model::script_of;
use crate::target::{Scope, World, model};

/// How long everything that is in flight may take when the device goes down.
const LIMIT: Duration = Duration::from_secs(60);
/// The same where nothing that matters is in flight any more, or nobody can complete it.
const BRIEF: Duration = Duration::from_secs(10);
/// How long the last lines of the log may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long disks may take to answer when their unit is looked for. Those of the unit are asked again,
/// and may take longer then.
const DISCOVERY: Duration = Duration::from_secs(3);
/// Where servers of Linux disks leave word for the next one, whoever starts them.
const MARKS: &str = "/run/alua";

/// A device that was opened, and what keeps its paths up to date.
struct Opened {
    device: Device,
    unit: String,
    source: &'static str,
    watch: Option<linux::Watch>,
}

/// What was done, in the end.
#[derive(Clone, Copy, Debug, Serialize)]
struct Did {
    requests: u64,
    failed: u64,
    reissued: u64,
    defects: u64,
}

pub(crate) fn run(global: &Global, args: &Up) -> Result<Exit, Error> {
    // Before anything is served, so that no signal is missed.
    let stop = Stop::on_signals()?;
    let start = Instant::now();
    let Some(opened) = open(global, args, &stop)? else {
        say(start, "asked to stop before all of its disks had answered: nothing was served");
        return Ok(Exit::Good);
    };
    let unit = opened.unit.clone();
    let serve = |why: String| Error::Serve { unit: unit.clone(), why };
    let events = opened.device.listen().ok();
    let logger = events.map(|events| thread::spawn(move || log(&events, start)));
    let recorder = args.timeline.as_deref().map(|file| Recorder::new(file, &opened.device));
    let recorder = recorder.transpose()?;
    let device: Arc<dyn BlockDevice> = Arc::new(opened.device.clone());
    let device = recorder.as_ref().map_or(device.clone(), |recorder| recorder.timed(device));
    let recorder = recorder.map(|recorder| recorder.watch(&opened.device)).transpose()?;
    let mut exports = export_nbd(args, &opened, &device)?;
    let facts = Facts {
        unit: opened.unit.clone(),
        source: opened.source,
        starting: args.ublk,
        places: exports.iter().map(|export| export.place()).collect(),
        lacks: Vec::new(),
        settings: Settings::of(&config(args)),
        policy: args.policy.name(),
        sysfs: global.array.is_none().then(|| Sysfs::at(&global.sysfs, &global.dev)),
    };
    let socket = args.control.control.clone().unwrap_or_else(|| socket_of(&opened.unit));
    let control = control::Server::start(&socket, opened.device.clone(), facts)
        .map_err(|source| Error::File { path: socket, source })?;
    let mut late = None;
    if args.ublk {
        let waits = "the block device starts: what the kernel reads of it waits as all requests do";
        tell_manager(&[NotifyState::Status(waits)]);
        let begin = args.clone();
        // To take a device over waits for no request of it. It keeps them where it is not.
        let waits_for = (!args.recover).then_some(&opened.device);
        match stop.start(waits_for, move || export_ublk(&begin, device)) {
            Ok(Start::Serves(export)) => exports.push(export),
            Ok(Start::Stopped(export)) => {
                exports.push(export);
                late = Some(if args.recover { Late::TakenOver } else { Late::Started });
            }
            Ok(Start::Unfinished) if args.recover => late = Some(Late::Left),
            Ok(Start::Unfinished) => late = Some(Late::Unfinished),
            Ok(Start::Unbegun) => late = Some(Late::Unbegun),
            Err(why) => {
                drop(control);
                let also = end(exports, opened).err();
                let all: Vec<String> = std::iter::once(why).chain(also).collect();
                return Err(serve(all.join("; ")));
            }
        }
    }
    if late.is_none() {
        let places: Vec<String> = exports.iter().map(|export| export.place()).collect();
        let lacks = exports.iter().filter_map(|export| export.lacks()).map(str::to_owned);
        control.serves(places.clone(), lacks.collect());
        for place in &places {
            print(&format!("ready: {place}\n"))?;
        }
        let status = format!("serving {} as {}", opened.unit, places.join(" and "));
        tell_manager(&[NotifyState::Ready, NotifyState::Status(&status)]);
        stop.wait();
    }
    tell_manager(&[NotifyState::Stopping]);
    say(start, late.map_or(IN_FLIGHT, Late::told));
    drop(control);
    let ended = match late {
        None | Some(Late::Started | Late::TakenOver | Late::Unbegun) => end(exports, opened),
        Some(Late::Unfinished) => end_unfinished(exports, opened, &stop),
        Some(Late::Left) => concluded(end_exports(exports, BRIEF), None),
    };
    if late == Some(Late::Left) {
        // What is not ended would be waited for: the device runs until this process is gone.
        tell_totals(ended.map_err(serve)?, global.json)?;
        return Ok(Exit::Good);
    }
    let drawn = recorder.map(|recorder| recorder.draw(format!("alua up {unit}"))).transpose();
    // It ends with the device, and has its last words to say.
    let patience = Instant::now() + LAST_WORDS;
    while logger.as_ref().is_some_and(|it| !it.is_finished()) && Instant::now() < patience {
        thread::sleep(Duration::from_millis(1));
    }
    let totals = match ended {
        Ok(totals) => totals,
        Err(why) => {
            // One error ends the program; the other is told here.
            if let Err(error) = drawn {
                say(start, &format!("the picture is not drawn: {error}"));
            }
            return Err(serve(why));
        }
    };
    let defects = totals.defects;
    tell_totals(totals, global.json)?;
    // What was served is told also where its picture cannot be written.
    drawn?;
    Ok(if defects == 0 { Exit::Good } else { Exit::Other })
}

/// What is said of a device that serves.
const IN_FLIGHT: &str = "asked to stop: what is in flight is completed";

/// How far the start of the ublk device was, where the wish to stop came before it served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Late {
    /// It started all the same, with what it waited for failed.
    Started,
    /// It was taken over all the same.
    TakenOver,
    /// The kernel is still in it.
    Unfinished,
    /// It had not begun.
    Unbegun,
    /// The device of an earlier server was not taken over. It keeps its requests for the next one.
    Left,
}

impl Late {
    const fn told(self) -> &'static str {
        match self {
            Self::TakenOver => IN_FLIGHT,
            Self::Started | Self::Unfinished => {
                "asked to stop before the block device was ready: what the kernel reads of it fails, \
                 and it is removed"
            }
            Self::Unbegun => "asked to stop before the block device was made",
            Self::Left => {
                "asked to stop before the block device was taken over: it is left as it is, for the \
                 next `alua up --recover`"
            }
        }
    }
}

/// The last line on standard output.
fn tell_totals(totals: Totals, as_json: bool) -> Result<(), Error> {
    let did = Did {
        requests: totals.requests,
        failed: totals.failed,
        reissued: totals.reissued,
        defects: totals.defects,
    };
    if as_json {
        return print(&json::line(&did)?);
    }
    print(&format!("served {} requests, {} failed\n", did.requests, did.failed))
}

/// Tells the service manager, if there is one, as sd_notify(3) has it. It is told as a favour: that it
/// cannot be is no reason to stop.
fn tell_manager(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

/// Ends the exports first, the paths last: nothing in flight loses its way back.
fn end(exports: Vec<Box<dyn Exported>>, opened: Opened) -> Result<Totals, String> {
    opened.device.give_up_held();
    let ended = end_exports(exports, LIMIT);
    drop(opened.watch);
    let stopped = opened.device.stop(LIMIT);
    concluded(ended, stopped.err().map(|error| error.to_string()))
}

/// What exports came to, or all that went wrong, in one sentence.
fn concluded(ended: Result<Totals, Vec<String>>, also: Option<String>) -> Result<Totals, String> {
    match (ended, also) {
        (Ok(totals), None) => Ok(totals),
        (ended, also) => {
            Err(ended.err().into_iter().flatten().chain(also).collect::<Vec<_>>().join("; "))
        }
    }
}

/// As [`end`], where an export has not started yet. Once those that serve have ended, only the kernel's
/// reads of the new block device are left; nobody needs them, and that they fail is no error.
fn end_unfinished(
    exports: Vec<Box<dyn Exported>>,
    opened: Opened,
    stop: &Stop,
) -> Result<Totals, String> {
    opened.device.give_up_held();
    let ended = end_exports(exports, LIMIT);
    drop(opened.watch);
    let stopped = opened.device.stop(Duration::ZERO);
    let begun = match stop.begun(BRIEF) {
        Some(Ok(export)) => end_exports(vec![export], LIMIT),
        Some(Err(why)) => Err(vec![why]),
        None => Err(vec![
            "the kernel has not finished the start of the block device in time: see `ls /dev/ublkc*`, \
             and delete what is left of it with ublk's own tool"
                .to_owned(),
        ]),
    };
    match (ended, begun) {
        (Ok(all), Ok(more)) => Ok(sum(all, more)),
        (ended, begun) => {
            let mut wrong =
                [ended.err(), begun.err()].into_iter().flatten().flatten().collect::<Vec<_>>();
            wrong.extend(stopped.err().map(|error| error.to_string()));
            Err(wrong.join("; "))
        }
    }
}

fn end_exports(exports: Vec<Box<dyn Exported>>, limit: Duration) -> Result<Totals, Vec<String>> {
    let mut all = Totals::default();
    let mut wrong = Vec::new();
    for export in exports {
        match export.shut_down(limit) {
            Ok(totals) => all = sum(all, totals),
            Err(error) => wrong.push(chain(&error)),
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

const fn sum(one: Totals, other: Totals) -> Totals {
    Totals {
        requests: one.requests + other.requests,
        failed: one.failed + other.failed,
        reissued: one.reissued + other.reissued,
        defects: one.defects + other.defects,
    }
}

/// An error with what it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

fn log(events: &Receiver<Told>, start: Instant) {
    while let Ok(told) = events.recv() {
        say(start, &told.text);
    }
}

/// A line of the log: seconds since the start, and what.
fn say(start: Instant, text: &str) {
    let seconds = format!("{:9.3}", start.elapsed().as_secs_f64());
    let _ = writeln!(anstream::stderr(), "{} {text}", paint(FAINT, &seconds));
}

fn config(args: &Up) -> Config {
    let mut config = Config {
        policy: args.policy,
        preference: args.preference,
        no_path: args.no_path,
        failback_ms: args.failback.millis(),
        activation: if args.no_activate { Activation::Never } else { args.activate },
        ..Config::default()
    };
    if let Some(seconds) = args.io_timeout {
        config.io_timeout_ms = seconds.saturating_mul(1_000);
    }
    config.fence.reset_unit = !args.no_reset;
    config.fence.wait_ms = args.fence_wait.saturating_mul(1_000);
    config.core.stpg_per_minute = args.stpg_per_minute;
    // A target may tell of a change only on the paths of the group that has changed (LIO does), and
    // on these no I/O may go that would meet what it tells.
    config.core.idle_probe_ms = args.idle_probe.millis();
    config
}

/// `None` where it was asked to stop first.
fn open(global: &Global, args: &Up, stop: &Stop) -> Result<Option<Opened>, Error> {
    match &global.array {
        Some(name) => open_model(name, global, args).map(Some),
        None => open_linux(global, args, stop),
    }
}

fn open_model(name: &str, global: &Global, args: &Up) -> Result<Opened, Error> {
    let text = |error: &dyn std::error::Error| Error::Text(error.to_string());
    let mut array = Array::new(model::config(name)?).map_err(|error| text(&error))?;
    let world = World::open(&global.choice())?;
    let devices = world.array().map_or(&[][..], |model| model.devices());
    let places: Vec<(u16, u16, String)> = devices
        .iter()
        .filter_map(|device| {
            let port = u16::try_from(device.hctl.target).ok()?;
            let lun = u16::try_from(device.hctl.lun).ok()?;
            Some((port, lun, device.short_name()))
        })
        .collect();
    let (unit, ports) = choose(&array, &world, &places, &args.units)?;
    let labels: BTreeMap<u16, String> = places
        .into_iter()
        .filter(|(port, lun, _)| array.unit_at(*port, *lun) == array.unit_index(&unit))
        .map(|(port, _, label)| (port, label))
        .collect();
    if let Some(path) = &global.script {
        array.run_script(script_of(name, path)?);
    }
    let serve = Serve {
        ports,
        labels,
        config: config(args),
        read_only: args.read_only,
        ..Serve::unit(&unit)
    };
    let failed = |why: String| Error::Serve { unit: unit.clone(), why };
    let device = ModelArray::start(array).serve(&serve).map_err(|error| failed(chain(&error)))?;
    let snapshot = device.snapshot().map_err(|error| failed(error.to_string()))?;
    let unit = snapshot.name.map_or_else(|| unit.clone(), |name| name.to_string());
    Ok(Opened { device, unit, source: world.source(), watch: None })
}

/// The unit of the model that is meant, and the ports; none for all.
fn choose(
    array: &Array,
    world: &World,
    places: &[(u16, u16, String)],
    queries: &[String],
) -> Result<(String, Vec<u16>), Error> {
    let names: Vec<&str> = array.units().collect();
    if let [query] = queries
        && names.contains(&query.as_str())
    {
        return Ok((query.clone(), Vec::new()));
    }
    let mut ports = Vec::new();
    let mut unit = None;
    for query in queries {
        let session = world.unit(query)?;
        let hctls = world.resolve(query).unwrap_or_default();
        let path = session.path_of(&hctls).unwrap_or(0);
        let hctl = session.facts.paths.get(path).map(|path| path.device.hctl);
        let missing = || Error::NoSuchUnit { query: query.clone() };
        let hctl = hctl.ok_or_else(missing)?;
        let place = places
            .iter()
            .find(|(port, lun, _)| {
                u64::from(*port) == u64::from(hctl.target) && u64::from(*lun) == hctl.lun
            })
            .ok_or_else(missing)?;
        let found = array.unit_at(place.0, place.1).ok_or_else(missing)?;
        if *unit.get_or_insert(found) != found {
            return Err(Error::Usage(format!("{query} leads to another unit than the first")));
        }
        ports.push(place.0);
    }
    let index = unit.unwrap_or(0);
    let name = names.get(index).copied().unwrap_or_default().to_owned();
    Ok((name, if queries.len() > 1 { ports } else { Vec::new() }))
}

fn open_linux(global: &Global, args: &Up, stop: &Stop) -> Result<Option<Opened>, Error> {
    let mut world = World::open(&global.choice())?;
    world.give_up_after(DISCOVERY);
    let first = args.units.first().map(String::as_str).unwrap_or_default();
    let mut wanted = Vec::new();
    for query in args.units.iter().skip(1) {
        wanted.extend(world.resolve(query)?);
    }
    if !wanted.is_empty() {
        wanted.extend(world.resolve(first)?);
    }
    let found = world.units(Scope::One(first))?;
    let missing = || Error::NoSuchUnit { query: first.to_owned() };
    let session = found.units.into_iter().next().ok_or_else(missing)?;
    if let Some(stranger) = wanted.iter().find(|&&hctl| !session.has_device(&[hctl])) {
        return Err(Error::Usage(format!("{stranger} leads to another unit than {first}")));
    }
    let unit = session.title();
    let serve = linux::Serve {
        sys: global.sysfs.clone(),
        dev: global.dev.clone(),
        only: wanted,
        config: config(args),
        read_only: args.read_only,
        marks: PathBuf::from(MARKS),
        stop: stop.flag(),
    };
    let facts = session.facts.clone();
    // Its device nodes are closed before the device opens its own.
    drop(session.driver);
    let (device, watch) = match linux::serve(&facts, serve) {
        Ok(served) => served,
        Err(linux::ServeError::Stopped) => return Ok(None),
        Err(error) => return Err(Error::Serve { unit, why: chain(&error) }),
    };
    Ok(Some(Opened { device, unit, source: "linux", watch: Some(watch) }))
}

fn export_nbd(
    args: &Up,
    opened: &Opened,
    device: &Arc<dyn BlockDevice>,
) -> Result<Vec<Box<dyn Exported>>, Error> {
    let default = (!args.ublk).then(|| Address::Tcp(([127, 0, 0, 1], 0).into()));
    let Some(address) = args.nbd.clone().or(default) else { return Ok(Vec::new()) };
    let export = Export {
        name: opened.unit.clone(),
        description: "all paths of the logical unit".to_owned(),
        device: Arc::clone(device),
    };
    let server = Server::start(&address, vec![export], NbdConfig::default());
    let server =
        server.map_err(|error| Error::Serve { unit: opened.unit.clone(), why: chain(&error) })?;
    Ok(vec![Box::new(server)])
}

#[cfg(feature = "ublk")]
fn export_ublk(args: &Up, device: Arc<dyn BlockDevice>) -> Begun {
    use alua_export::ublk::{Config, Device};

    let exported = match args.ublk_id {
        Some(id) if args.recover => Device::recover(id, device),
        id => Device::add(Config { id, ..Config::default() }, device),
    };
    Ok(Box::new(exported.map_err(|error| chain(&error))?))
}

#[cfg(not(feature = "ublk"))]
fn export_ublk(args: &Up, _device: Arc<dyn BlockDevice>) -> Begun {
    let _ = (args.ublk_id, args.recover);
    Err("this `alua` was built without ublk: build it with --features ublk, or use --nbd"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use alua_core::select::{Policy, Preference};
    use alua_multipath::NoPath;
    use clap::Parser as _;

    use super::*;
    use crate::cli::running::Failback;
    use crate::cli::{Cli, Command};

    fn args(options: &[&str]) -> Result<Up, clap::Error> {
        let line = ["alua", "up", "data0"].iter().chain(options);
        match Cli::try_parse_from(line)?.command {
            Command::Up(up) => Ok(up),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_engine_gets_what_the_options_say() {
        let options = [
            "--policy=affinity",
            "--preference=above-state",
            "--failback=30",
            "--activate=optimized-lost=5",
            "--stpg-per-minute=3",
            "--fence-wait=90",
            "--no-path=forever",
            "--no-reset",
            "--io-timeout=7",
            "--idle-probe=11",
        ];
        let config = config(&args(&options).unwrap());
        assert_eq!(config.policy, Policy::Affinity);
        assert_eq!(config.preference, Preference::AboveState);
        assert_eq!(config.failback_ms, 30_000);
        assert_eq!(config.activation, Activation::OptimizedLost { after_ms: 5_000 });
        assert_eq!(config.core.stpg_per_minute, 3);
        assert_eq!((config.fence.wait_ms, config.fence.reset_unit), (90_000, false));
        assert_eq!(config.no_path, NoPath::Forever);
        assert_eq!(config.io_timeout_ms, 7_000);
        assert_eq!(config.core.idle_probe_ms, Some(11_000));
    }

    #[test]
    fn without_options_the_engine_keeps_its_own_choices_but_for_policy_and_probe() {
        let (ours, own) = (config(&args(&[]).unwrap()), Config::default());
        assert_eq!(ours.policy, Policy::ServiceTime);
        assert_eq!((ours.core.idle_probe_ms, own.core.idle_probe_ms), (Some(2_000), None));
        assert_eq!(
            (ours.preference, ours.no_path, ours.failback_ms, ours.activation),
            (own.preference, own.no_path, own.failback_ms, own.activation)
        );
        assert_eq!(ours.core.stpg_per_minute, own.core.stpg_per_minute);
        assert_eq!(ours.fence.wait_ms, own.fence.wait_ms);
        assert_eq!(ours.fence.reset_unit, own.fence.reset_unit);
        assert_eq!(ours.io_timeout_ms, own.io_timeout_ms);
    }

    #[test]
    fn both_spellings_of_never_are_known_and_ranges_are_checked() {
        for options in [&["--no-activate"][..], &["--activate", "never"]] {
            assert_eq!(config(&args(options).unwrap()).activation, Activation::Never);
        }
        assert_eq!(
            config(&args(&["--failback", "never"]).unwrap()).failback_ms,
            Failback::NEVER_MS
        );
        let config = config(&args(&["--idle-probe", "never"]).unwrap());
        assert_eq!(config.core.idle_probe_ms, None);
        for wrong in [
            &["--no-activate", "--activate", "nothing-live"][..],
            &["--stpg-per-minute", "0"],
            &["--stpg-per-minute", "32"],
            &["--fence-wait", "0"],
            &["--fence-wait", "3601"],
            &["--failback", "86401"],
            &["--idle-probe", "0"],
            &["--preference", "always"],
        ] {
            assert!(args(wrong).is_err(), "{wrong:?}");
        }
    }
}
