//! `alua demo tour`: what ALUA is for, on the built-in array. No hardware, no privileges, virtual time.
//!
//! # Contract
//!
//! Every step states what must come of it, and the exit status tells whether it did. What is shown
//! is what was really sent and received, by the same code that works on real disks.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use alua_array::Event as ArrayEvent;
use alua_core::access::AccessState;
use alua_core::time::Time;
use alua_core::unit::{Activated, Event};
use alua_host::driver::Clock as _;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::explain::{Explanation, explain};
use crate::commands::list::{learn, learn_all, listing};
use crate::commands::print;
use crate::error::Error;
use crate::exit::Exit;
use crate::render::style::{BAD, GOOD, STRONG, paint};
use crate::render::{json, table};
use crate::session::{Follow, Followed, Session};
use crate::target::trace::Sent;
use crate::target::{Choice, Found, Scope, World};
use crate::view::{CauseView, Listing, SCHEMA, SchemaVersion, UnitView};

/// The demonstration must not take longer than this.
const WALL_LIMIT: Duration = Duration::from_secs(5);

/// When controller A crashes, and when it is back.
const CRASH: Time = Time::from_millis(5_000);
const RETURN: Time = Time::from_millis(60_000);

/// A failover and all that follows from it is over by then.
const QUIET_AFTER_MS: u32 = 20_000;

pub(super) fn run(global: &Global) -> Result<Exit, Error> {
    let start = Instant::now();
    let choice = Choice { array: Some("demo".to_owned()), ..global.choice() };
    let world = World::open(&choice)?;
    world.monitor().keep();
    let mut demo = Demo {
        found: world.units(Scope::All)?,
        world,
        expectations: Vec::new(),
        out: String::new(),
        steps: Vec::new(),
    };
    demo.discovery();
    demo.failover()?;
    demo.why()?;
    demo.activation()?;
    let took = start.elapsed();
    demo.expect(took < WALL_LIMIT, format!("all of it takes less than {WALL_LIMIT:?}"));
    demo.end(global)
}

struct Demo {
    world: World,
    found: Found,
    expectations: Vec<Expectation>,
    out: String,
    steps: Vec<Step>,
}

/// Something that must be true.
#[derive(Debug, Serialize)]
struct Expectation {
    text: String,
    holds: bool,
}

/// One step, for programs.
#[derive(Debug, Serialize)]
struct Step {
    title: &'static str,
    time_ms: u64,
    sent: Vec<String>,
    changed: Vec<String>,
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    schema_version: SchemaVersion,
    steps: &'a [Step],
    expectations: &'a [Expectation],
    exit_code: u8,
}

impl Demo {
    fn discovery(&mut self) {
        self.title("Discovery: two controllers, four units, two paths through each controller");
        let asked = self.world.monitor().take().len();
        learn_all(&self.world, &mut self.found.units, false);
        let sent = self.world.monitor().take();
        let listing = listing(&self.world, &self.found);
        let paths = listing.units.iter().map(|unit| unit.paths.len()).sum::<usize>();
        let _ = writeln!(
            self.out,
            "{asked} commands found {paths} paths and what they lead to; {} more read the access \
             states of all:\n",
            sent.len()
        );
        self.commands(&sent);
        self.out.push('\n');
        self.out.push_str(&table::listing(&listing));
        self.expect(listing.units.len() == 4, "discovery finds four units");
        self.expect(paths == 16, "each unit has four paths");
        self.expect(sent.len() == 4, "one report per unit is enough");
        self.expect(
            listing
                .units
                .iter()
                .all(|unit| states(unit) == ["active/non-optimized", "active/optimized"]),
            "each unit has one optimized and one non-optimized group",
        );
        self.expect(listing.problems.is_empty(), "there is no problem");
        let changed = self.changes();
        self.step("discovery", &sent, changed, listing);
    }

    /// Controller A crashes; a command on each unit meets it, and the driver finds out the rest.
    fn failover(&mut self) -> Result<(), Error> {
        self.world.clock().sleep_until(CRASH);
        self.title("Failover: controller A crashes, B takes its units over in two seconds");
        self.happen("do = \"controller-crash\"\ncontroller = \"A\"\n")?;
        let _ = writeln!(
            self.out,
            "each unit is used through the path that was best, then the rest:\n"
        );
        for unit in &mut self.found.units {
            touch(&self.world, unit);
        }
        work_together(&self.world, &mut self.found.units);
        let sent = self.world.monitor().take();
        let changed = self.changes();
        self.commands(&sent);
        let _ = writeln!(self.out, "\nwhat changed:\n");
        for line in &changed {
            let _ = writeln!(self.out, "  {line}");
        }
        let listing = listing(&self.world, &self.found);
        let _ = writeln!(self.out, "\nthe first unit now:\n");
        if let Some(unit) = listing.units.first() {
            table::unit(&mut self.out, unit);
        }
        let reports = count(&sent, "REPORT TARGET PORT GROUPS");
        let set = count(&sent, "SET TARGET PORT GROUPS");
        let all_on_b = listing.units.iter().all(|unit| {
            let of = |id| unit.groups.iter().find(|group| group.id == id);
            of(2).is_some_and(|group| group.state.as_deref() == Some("active/optimized"))
                && of(1).is_some_and(|group| group.state.as_deref() == Some("unavailable"))
        });
        self.expect(all_on_b, "after the crash B's group is optimized and A's is unavailable");
        self.expect(
            changed.iter().any(|line| line.contains("-> transitioning")),
            "the transition was seen",
        );
        self.expect(set == 0, "the array did it: nothing was set");
        self.expect(reports <= 12, "at most three reports per unit follow the crash");
        let usable = |group: u16| {
            let of = |path: &&crate::view::PathView| path.group == Some(group) && path.usable;
            listing.units.iter().flat_map(|unit| &unit.paths).filter(of).count()
        };
        self.expect(usable(1) == 0, "no path through A is used");
        self.expect(usable(2) == 8, "each path through B is used");
        self.step("failover", &sent, changed, listing);
        Ok(())
    }

    fn why(&mut self) -> Result<(), Error> {
        self.title("Explanation: why is sda not used?");
        let explanation = self.explain(0)?;
        self.out.push_str(&explanation.text());
        let _ = self.world.monitor().take();
        self.expect(explanation.exit == Exit::Unavailable, "sda is not used: it is unavailable");
        Ok(())
    }

    fn explain(&mut self, index: usize) -> Result<Explanation, Error> {
        let missing = || Error::Expectation(vec!["there is no unit".to_owned()]);
        let unit = self.found.units.first_mut().ok_or_else(missing)?;
        explain(&self.world, unit, index, &self.found.problems)
    }

    /// Controller A is back; the host moves the first unit to it.
    fn activation(&mut self) -> Result<(), Error> {
        self.world.clock().sleep_until(RETURN);
        self.title("Activation: A is back, and the host asks for its group again");
        self.happen("do = \"controller-return\"\ncontroller = \"A\"\n")?;
        let missing = || Error::Expectation(vec!["there is no unit".to_owned()]);
        let unit = self.found.units.first_mut().ok_or_else(missing)?;
        // The host uses the paths again and sees that they answer.
        learn(unit, true, self.world.timeout_ms());
        let _ = unit.driver.take_events();
        let _ = self.world.monitor().take();
        let (core, now) = unit.driver.unit_mut();
        let id =
            core.activate(1, now).map_err(|error| Error::NotAsked { unit: unit.title(), error })?;
        let followed = unit.follow(id, &[1], Follow::ToEnd, || false);
        let sent = self.world.monitor().take();
        let title = unit.title();
        let view = UnitView::of(&unit.subject());
        let changed = self.changes();
        let _ = writeln!(self.out, "`alua activate sda --group 1` on {title}:\n");
        self.commands(&sent);
        let _ = writeln!(self.out, "\nwhat changed:\n");
        for line in &changed {
            let _ = writeln!(self.out, "  {line}");
        }
        self.out.push('\n');
        table::unit(&mut self.out, &view);
        self.expect(followed == Followed::Ended(Ok(Activated::Reached)), "the activation succeeds");
        self.expect(count(&sent, "SET TARGET PORT GROUPS") == 1, "one STPG is sent");
        let optimized = Some(AccessState::ActiveOptimized.name());
        let on_a = view.groups.iter().any(|g| g.id == 1 && g.state.as_deref() == optimized);
        self.expect(on_a, "a report shows A's group optimized");
        self.expect(view.paths.iter().all(|path| path.usable), "all four paths are used again");
        let listing = listing(&self.world, &self.found);
        self.step("activation", &sent, changed, listing);
        Ok(())
    }

    fn end(mut self, global: &Global) -> Result<Exit, Error> {
        let failed: Vec<String> =
            self.expectations.iter().filter(|e| !e.holds).map(|e| e.text.clone()).collect();
        let exit = if failed.is_empty() { Exit::Good } else { Exit::Expectation };
        if global.json {
            let answer = Answer {
                schema_version: SCHEMA,
                steps: &self.steps,
                expectations: &self.expectations,
                exit_code: exit.code(),
            };
            print(&json::text(&answer)?)?;
            return Ok(exit);
        }
        self.title("Was it as it must be?");
        for expectation in &self.expectations {
            let mark = if expectation.holds { paint(GOOD, "yes") } else { paint(BAD, "NO ") };
            let _ = writeln!(self.out, "  {mark}  {}", expectation.text);
        }
        print(&self.out)?;
        if failed.is_empty() { Ok(exit) } else { Err(Error::Expectation(failed)) }
    }

    fn title(&mut self, title: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let now = table::span(self.world.clock().now().as_millis());
        let _ = writeln!(self.out, "{} (at {now})\n", paint(STRONG, &format!("== {title}")));
    }

    fn expect(&mut self, holds: bool, text: impl Into<String>) {
        self.expectations.push(Expectation { text: text.into(), holds });
    }

    /// What was sent, one line each.
    fn commands(&mut self, sent: &[Sent]) {
        for command in sent {
            let _ = writeln!(self.out, "{}", command.line());
        }
    }

    /// What the units told since the last call.
    fn changes(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for unit in &mut self.found.units {
            let (events, _) = unit.driver.take_events();
            for (at, event) in events {
                let Event::Group { id, from, to, cause, .. } = event else { continue };
                let name = |state: Option<AccessState>| state.map_or("unknown", AccessState::name);
                let cause = CauseView::of(&unit.subject(), cause, at).text;
                let (from, to, title) = (name(from), name(to), unit.title());
                all.push((at, format!("{title} group {id}: {from} -> {to} ({cause})")));
            }
        }
        all.sort_by_key(|(at, _)| *at);
        let line = |(at, text): (Time, String)| {
            format!("{:>3}.{:03} s  {text}", at.as_millis() / 1_000, at.as_millis() % 1_000)
        };
        all.into_iter().map(line).collect()
    }

    fn step(&mut self, title: &'static str, sent: &[Sent], changed: Vec<String>, listing: Listing) {
        let sent = sent.iter().map(|sent| sent.line().trim_start().to_owned()).collect();
        let time_ms = self.world.clock().now().as_millis();
        self.steps.push(Step { title, time_ms, sent, changed, listing });
    }

    fn happen(&self, event: &str) -> Result<(), Error> {
        let missing = || Error::Expectation(vec!["the demo runs on a model".to_owned()]);
        let model = self.world.array().ok_or_else(missing)?;
        let base = model.shared().lock().config().alua.clone();
        let event =
            ArrayEvent::from_toml(event, &base).map_err(|error| Error::Text(error.to_string()))?;
        model.apply(&event)
    }
}

/// What a host's I/O does: it uses the best path, and on failure the next one. TEST UNIT READY
/// stands for the I/O.
fn touch(world: &World, unit: &mut Session) {
    let timeout_ms = world.timeout_ms();
    let rank = |unit: &Session, id| match unit.unit().access(id).state {
        Some(AccessState::ActiveOptimized) => 0,
        Some(state) if state.is_live() => 1,
        _ => 2,
    };
    let mut ids: Vec<_> = unit.unit().paths().map(|(id, _)| id).collect();
    ids.sort_by_key(|id| rank(unit, *id));
    for id in ids {
        // What it says is noted by the unit.
        let _ = unit.ask(id, timeout_ms);
    }
}

/// Lets the drivers of all units work, in the order of time, until none has anything to do soon.
fn work_together(world: &World, units: &mut [Session]) {
    let end = world.clock().now().after(QUIET_AFTER_MS);
    loop {
        for unit in &mut *units {
            while unit.driver.step() {}
        }
        let next = units.iter_mut().filter_map(|unit| unit.driver.deadline()).min();
        match next.filter(|next| *next < end) {
            // A deadline that has come and brings no command must not stop the clock.
            Some(next) => world.clock().sleep_until(next.max(world.clock().now().after(1))),
            None => break,
        }
    }
    for unit in units {
        unit.settle();
    }
}

fn states(unit: &UnitView) -> Vec<&str> {
    let mut states: Vec<&str> =
        unit.groups.iter().filter_map(|group| group.state.as_deref()).collect();
    states.sort_unstable();
    states
}

fn count(sent: &[Sent], name: &str) -> usize {
    sent.iter().filter(|sent| sent.name.starts_with(name)).count()
}
