//! `alua list --watch`: the listing again and again on a terminal; elsewhere one line per change.
//!
//! # Contract
//!
//! - Each unit is read once per interval, and at once when the kernel tells of a unit attention or of
//!   a device that came or went.
//! - On a model array the interval is virtual time and is waited for only on a terminal. Without a
//!   count it ends when nothing more will happen by itself.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::thread;
use std::time::{Duration, Instant};

use alua_core::cause::Cause;
use alua_core::time::Time;
use alua_core::unit::{Event, IdentityCheck};
use alua_host::driver::Clock as _;
use alua_host::uevent::{self, UeventSocket};
use serde::Serialize;

use super::list::{find, learn_all, listing};
use super::print;
use crate::cli::{Global, List};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::{json, style, table};
use crate::running::serving::Serving;
use crate::session::Session;
use crate::target::World;
use crate::view::{CauseView, Listing, PathView, UnitView};

/// A change, on one line of JSON.
#[derive(Debug, Serialize)]
struct Change {
    event: &'static str,
    time_ms: u64,
    unit: String,
    group: Option<u16>,
    device: Option<String>,
    from: Option<String>,
    to: Option<String>,
    preferred: Option<bool>,
    text: String,
}

pub(crate) fn run(global: &Global, args: &List, seconds: u32) -> Result<Exit, Error> {
    let mut world = World::open(&global.choice())?;
    let screen = !global.json && std::io::stdout().is_terminal();
    let mut news = News::open(&world);
    let mut found = find(&mut world, args)?;
    let mut turns = 0_u32;
    loop {
        learn_all(&world, &mut found.units, args.check);
        let listing = listing(&world, &found);
        if screen {
            let text = table::listing(&listing);
            // Home, the text, and nothing of what stood there before.
            print(&format!("\x1b[H\x1b[2J{}\n{text}", head(&world, seconds)))?;
            for unit in &mut found.units {
                let _ = unit.driver.take_events();
            }
        } else if turns == 0 {
            print(&if global.json { json::line(&listing)? } else { table::listing(&listing) })?;
            for unit in &mut found.units {
                let _ = unit.driver.take_events();
            }
        } else {
            tell(global, &changes(&mut found.units))?;
        }
        let before = listing;
        turns = turns.saturating_add(1);
        if args.count.is_some_and(|count| turns >= count) {
            return Ok(Exit::Good);
        }
        let until = world.clock().now().after(seconds.saturating_mul(1_000));
        if args.count.is_none() && is_over(&world, &found.units) {
            return Ok(Exit::Good);
        }
        let came = news.wait(&world, &mut found.units, until, screen)?;
        let serving = Serving::ask(world.source());
        serving.mark(&mut found.units);
        // What a device that runs holds as failed is left alone from then on, and asked again after.
        if came || serving.failed(&world) != world.spared() {
            found = find(&mut world, args)?;
            if !screen {
                learn_all(&world, &mut found.units, false);
                let now = super::list::listing(&world, &found);
                tell(global, &differences(&before, &now))?;
                for unit in &mut found.units {
                    let _ = unit.driver.take_events();
                }
            }
        }
    }
}

/// What became different while devices came and went: units and paths there and gone, and states of
/// groups.
fn differences(before: &Listing, now: &Listing) -> Vec<Change> {
    let mut changes = Vec::new();
    let same = |a: &UnitView, b: &UnitView| match (&a.name, &b.name) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.paths.first().map(|p| &p.hctl) == b.paths.first().map(|p| &p.hctl),
        _ => false,
    };
    let title = |unit: &UnitView| {
        let first = unit.paths.first().map(|path| path.device.clone());
        unit.name.clone().or(first).unwrap_or_default()
    };
    let time_ms = now.time_ms;
    for unit in &now.units {
        let old = before.units.iter().find(|old| same(old, unit));
        let Some(old) = old else {
            changes.push(Change::of("unit added", time_ms, title(unit), "is there".to_owned()));
            continue;
        };
        for group in &unit.groups {
            let from = old.groups.iter().find(|old| old.id == group.id);
            let from = from.and_then(|old| old.state.clone());
            if from == group.state {
                continue;
            }
            let words = |state: &Option<String>| state.as_deref().unwrap_or("unknown").to_owned();
            let text = format!(
                "group {}: {} -> {} ({})",
                group.id,
                words(&from),
                words(&group.state),
                group.cause.text
            );
            let mut change = Change::of("group", time_ms, title(unit), text);
            (change.from, change.to) = (from, group.state.clone());
            (change.group, change.preferred) = (Some(group.id), Some(group.preferred));
            changes.push(change);
        }
        let mut path = |event, path: &PathView, what: &str| {
            let text = format!("{} ({}) {what}", path.device, path.hctl);
            let mut change = Change::of(event, time_ms, title(unit), text);
            change.device = Some(path.device.clone());
            changes.push(change);
        };
        let is_in = |paths: &[PathView], one: &PathView| {
            paths.iter().any(|path| path.hctl == one.hctl && path.device == one.device)
        };
        unit.paths.iter().filter(|one| !is_in(&old.paths, one)).for_each(|one| {
            path("path added", one, "is there");
        });
        old.paths.iter().filter(|one| !is_in(&unit.paths, one)).for_each(|one| {
            path("path removed", one, "is gone");
        });
    }
    for old in before.units.iter().filter(|old| now.units.iter().all(|unit| !same(old, unit))) {
        changes.push(Change::of("unit removed", time_ms, title(old), "is gone".to_owned()));
    }
    changes
}

impl Change {
    fn of(event: &'static str, time_ms: u64, unit: String, text: String) -> Self {
        let text = format!("{unit} {text}");
        Self {
            event,
            time_ms,
            unit,
            group: None,
            device: None,
            from: None,
            to: None,
            preferred: None,
            text,
        }
    }
}

fn head(world: &World, seconds: u32) -> String {
    let now = table::span(world.clock().now().as_millis());
    let text = format!("alua list, every {seconds} s; {now} since the start; Ctrl-C ends");
    style::paint(style::FAINT, &text).to_string()
}

/// Whether nothing more will happen on a model.
fn is_over(world: &World, units: &[Session]) -> bool {
    let Some(model) = world.array() else { return false };
    let quiet =
        units.iter().all(|unit| unit.unit().groups().all(|group| group.transition().is_none()));
    let settled = units.iter().all(|unit| {
        let doubt = |check| matches!(check, IdentityCheck::InDoubt { .. });
        unit.unit().paths().all(|(_, path)| !doubt(path.identity()))
    });
    quiet && settled && model.shared().lock().next_event().is_none()
}

/// What the units told since the last call.
fn changes(units: &mut [Session]) -> Vec<Change> {
    let mut all = Vec::new();
    for unit in units {
        let (events, dropped) = unit.driver.take_events();
        if dropped > 0 {
            let text = format!("{dropped} older changes were dropped");
            all.push(Change::of("dropped", 0, unit.title(), text));
        }
        all.extend(events.iter().filter_map(|(at, event)| change(unit, *at, event)));
    }
    all.sort_by_key(|change| change.time_ms);
    all
}

fn tell(global: &Global, changes: &[Change]) -> Result<(), Error> {
    let mut out = String::new();
    for change in changes {
        if global.json {
            out.push_str(&json::line(change)?);
        } else {
            let ms = change.time_ms;
            let _ = writeln!(out, "{:>4}.{:03} s  {}", ms / 1_000, ms % 1_000, change.text);
        }
    }
    if out.is_empty() { Ok(()) } else { print(&out) }
}

/// An event in words; `None` for one that another event tells already.
fn change(unit: &Session, at: Time, event: &Event) -> Option<Change> {
    let title = unit.title();
    let name = |state: Option<alua_core::access::AccessState>| state.map(|s| s.to_string());
    let words = |state: &Option<String>| state.as_deref().unwrap_or("unknown").to_owned();
    let mut change = Change::of("", at.as_millis(), title.clone(), String::new());
    match event {
        Event::Group { id, from, to, preferred, cause } => {
            change.event = "group";
            (change.from, change.to) = (name(*from), name(*to));
            (change.group, change.preferred) = (Some(*id), Some(*preferred));
            let cause = CauseView::of(&unit.subject(), *cause, at).text;
            let pref = if *preferred { ", preferred" } else { "" };
            let (from, to) = (words(&change.from), words(&change.to));
            change.text = format!("{title} group {id}: {from} -> {to}{pref} ({cause})");
        }
        // The paths of a group change with it; only what a path says of itself is news.
        Event::Path { path, from, to, cause: cause @ Cause::Sense { .. }, .. } => {
            let label = unit.label(*path);
            change.event = "path";
            (change.from, change.to) = (name(*from), name(*to));
            let cause = CauseView::of(&unit.subject(), *cause, at).text;
            let (from, to) = (words(&change.from), words(&change.to));
            change.text = format!("{title} {label}: {from} -> {to} ({cause})");
            change.device = Some(label);
        }
        Event::IdentityChanged { path } => {
            let label = unit.label(*path);
            change.event = "identity changed";
            change.text = format!("{title} {label}: another logical unit is behind the path now");
            change.device = Some(label);
        }
        Event::RefreshFailed { error } => {
            change.event = "refresh failed";
            change.text = format!("{title}: the states could not be read: {error}");
        }
        _ => return None,
    }
    Some(change)
}

/// Devices that come or go are looked at when no event came for so long, or after the most.
const SETTLE: Duration = Duration::from_millis(100);
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// What comes between two readings: uevents of the kernel.
struct News {
    socket: Option<UeventSocket>,
}

impl News {
    /// Without uevents (a container) the interval alone must do.
    fn open(world: &World) -> Self {
        let socket = if world.is_model() { None } else { UeventSocket::open().ok() };
        Self { socket }
    }

    /// Waits until `until`, or for news. Unit attentions go to the unit; true when devices came or
    /// went, so that everything is to be found again.
    fn wait(
        &mut self,
        world: &World,
        units: &mut [Session],
        until: Time,
        screen: bool,
    ) -> Result<bool, Error> {
        let now = world.clock().now();
        let pause = Duration::from_millis(until.since(now));
        if world.is_model() && screen {
            thread::sleep(pause);
        }
        let Some(socket) = &mut self.socket else {
            world.clock().sleep_until(until);
            return Ok(false);
        };
        let failed = |error| Error::Output(std::io::Error::other(error));
        let Some(event) = socket.wait(pause).map_err(failed)? else { return Ok(false) };
        let mut rescan = give(units, &event);
        let start = Instant::now();
        while start.elapsed() < SETTLE_MAX {
            // A disk that comes brings many events, and its node comes last.
            let settle = if rescan { SETTLE } else { Duration::ZERO };
            match socket.wait(settle).map_err(failed)? {
                Some(event) => rescan |= give(units, &event),
                None => break,
            }
        }
        Ok(rescan)
    }
}

/// Gives a uevent to the unit that it is about; true when devices came, went or changed.
fn give(units: &mut [Session], event: &uevent::Event) -> bool {
    let (Some(hctl), Some(sense)) = (event.hctl(), event.sense()) else { return true };
    for unit in units {
        let Some(index) = unit.path_of(&[hctl]) else { continue };
        if let Some(Ok(id)) = unit.lines.get(index).cloned() {
            let (unit, now) = unit.driver.unit_mut();
            unit.handle_sense(id, &sense, now);
        }
    }
    false
}
