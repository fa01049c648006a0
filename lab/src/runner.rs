//! Runs one scenario: target up, a check, the steps, a check, target down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::{self, Background, LIMIT, Output};
use crate::facts::{Comparison, Disagreement, Statement, compare};
use crate::report::Outcome;
use crate::scenario::{Change, Scenario, State, Step};
use crate::target::lio::Lio;
use crate::target::{Place, Target};
use crate::{answer, peers, sysfs};

/// How long the stock handler may take to see a change: it looks every two seconds while a group
/// is in transition.
const SETTLE: Duration = Duration::from_secs(8);

/// How long a watch looks at the state before it changes.
const BEFORE: Duration = Duration::from_millis(1500);
/// How long a watch may take to see the last change.
const AFTER: Duration = Duration::from_millis(3000);

/// A scenario at work.
struct Run<'a> {
    alua: &'a str,
    alua_off: bool,
    target: Target,
    outcome: Outcome,
}

/// Runs a scenario with the `alua` at that path. What is wrong is in the outcome.
#[must_use]
pub fn run(scenario: &Scenario, alua: &str) -> Outcome {
    let start = Instant::now();
    let mut outcome = Outcome {
        scenario: scenario.name.clone(),
        passed: false,
        millis: 0,
        agreed: 0,
        list_millis: 0,
        list_commands: 0,
        failures: Vec::new(),
        left_behind: None,
    };
    match Target::set_up(&scenario.target) {
        Err(error) => outcome.failures.push(format!("set-up: {error:#}")),
        Ok(target) => {
            let mut run = Run { alua, alua_off: scenario.alua_off, target, outcome };
            run.steps(&scenario.steps);
            outcome = run.outcome;
        }
    }
    if let Err(error) = Target::take_down() {
        let message = format!("{error:#}");
        outcome.failures.push(format!("removal: {message}"));
        outcome.left_behind = Some(message);
    }
    if outcome.agreed == 0 && outcome.failures.is_empty() {
        outcome.failures.push("nothing was compared".to_owned());
    }
    outcome.passed = outcome.failures.is_empty();
    outcome.millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    outcome
}

impl Run<'_> {
    fn steps(&mut self, steps: &[Step]) {
        let check = Step::Check { states: BTreeMap::new() };
        self.step("at the start", &check);
        for (index, step) in steps.iter().enumerate() {
            self.step(&format!("step {}", index + 1), step);
        }
        if !matches!(steps.last(), None | Some(Step::Check { .. } | Step::Tamper { .. })) {
            self.step("at the end", &check);
        }
    }

    fn step(&mut self, label: &str, step: &Step) {
        match self.carry_out(step) {
            Ok(problems) => {
                self.outcome
                    .failures
                    .extend(problems.into_iter().map(|one| format!("{label}: {one}")));
            }
            Err(error) => self.outcome.failures.push(format!("{label}: {error:#}")),
        }
    }

    /// Carries a step out; gives what was wrong with it.
    fn carry_out(&mut self, step: &Step) -> Result<Vec<String>> {
        match step {
            Step::Check { states } => self.check(states),
            Step::Tamper { change, caught } => self.tamper(change, caught),
            Step::SetState { group, state } => {
                self.for_units(|unit| Lio::set_state(unit, *group, *state))
            }
            Step::SetPreferred { group, preferred } => {
                self.for_units(|unit| Lio::set_preferred(unit, *group, *preferred))?;
                self.tell_kernel()
            }
            Step::Watch { group, state, seen } => self.watch(*group, *state, seen),
            Step::Stpg { port, groups, wait, dry_run, exit } => {
                let mut arguments = vec!["stpg".to_owned(), self.device(*port)?];
                for (group, state) in groups {
                    arguments.extend(["--group".to_owned(), format!("{group}={}", state.name())]);
                }
                arguments.extend(wait.then(|| "--wait".to_owned()));
                arguments.extend(dry_run.then(|| "--dry-run".to_owned()));
                let wrong = self.alua_exits(&arguments, *exit)?;
                self.tell_kernel()?;
                Ok(wrong)
            }
            Step::Activate { port, group, exit } => {
                let unit = match port {
                    Some(port) => self.device(*port)?,
                    None => self.unit_name()?,
                };
                let group = group.to_string();
                let arguments = ["activate".to_owned(), unit, "--group".to_owned(), group];
                let wrong = self.alua_exits(&arguments, *exit)?;
                self.tell_kernel()?;
                Ok(wrong)
            }
            Step::Tur { port, exit } => self.test_unit_ready(*port, *exit),
            Step::Readd { port } => {
                for place in self.of_port(*port) {
                    sysfs::delete(&place.hctl)?;
                    sysfs::scan(&place.hctl)?;
                }
                Ok(Vec::new())
            }
            Step::Churn { port, times } => self.churn(*port, *times),
            Step::SetOffline { port, offline } => {
                self.lio()?.set_offline(*port, *offline)?;
                Ok(Vec::new())
            }
        }
    }

    fn lio(&self) -> Result<&Lio> {
        match &self.target {
            Target::Lio(lio) => Ok(lio),
            Target::ScsiDebug(_) => bail!("this step needs LIO"),
        }
    }

    fn for_units(&self, change: impl Fn(&str) -> Result<()>) -> Result<Vec<String>> {
        for unit in self.lio()?.unit_names() {
            change(unit)?;
        }
        Ok(Vec::new())
    }

    /// Lets the stock handler read the states again, where LIO queues no unit attention by which
    /// it would learn of a change: for PREF it never does, and after an STPG not for the path that
    /// brought it.
    fn tell_kernel(&self) -> Result<Vec<String>> {
        for place in self.target.places() {
            sysfs::rescan(&place.hctl)?;
        }
        Ok(Vec::new())
    }

    fn of_port(&self, port: u16) -> Vec<Place> {
        self.target.places().iter().filter(|place| place.port == port).cloned().collect()
    }

    /// The device of the first unit's path over a port.
    fn device(&self, port: u16) -> Result<String> {
        let place = self.target.places().iter().find(|place| place.port == port);
        let place = place.with_context(|| format!("there is no port {port}"))?;
        Ok(format!("/dev/{}", sysfs::need_disk(&place.hctl)?))
    }

    /// The first unit's name, as the kernel has it.
    fn unit_name(&self) -> Result<String> {
        let place = self.target.places().first().context("there is no path")?;
        let said = sysfs::statements(place)?;
        let name = said.into_iter().find(|one| one.fact.ends_with(": name"));
        Ok(name.context("the unit has no name")?.value)
    }

    fn list(&self) -> Result<Value> {
        self.json(&["list"])
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let line = arguments.join(" ");
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = command::run(self.alua, &arguments, LIMIT)?;
        ensure!(output.status == 0, "alua {line} ended with {}: {}", output.status, output.said());
        serde_json::from_str(&output.stdout).with_context(|| format!("alua {line} wrote no JSON"))
    }

    fn alua_exits(&self, arguments: &[String], exit: i32) -> Result<Vec<String>> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = command::run(self.alua, &arguments, LIMIT)?;
        Ok(wrong_exit(&format!("alua {}", arguments.join(" ")), &output, exit))
    }

    fn check(&mut self, states: &BTreeMap<String, State>) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (group, want) in states {
            let group = group.parse()?;
            for unit in self.lio()?.unit_names() {
                let is = Lio::state(unit, group)?;
                if is != *want {
                    let (is, want) = (is.name(), want.name());
                    wrong.push(format!("{unit} group {group} is {is} in LIO, not {want}"));
                }
            }
        }
        // `alua` first: it meets the unit attentions that are pending.
        let start = Instant::now();
        let list = self.list();
        if self.outcome.list_commands == 0
            && let Ok(list) = &list
        {
            self.outcome.list_millis = u64::try_from(start.elapsed().as_millis())?;
            self.outcome.list_commands = list["commands_sent"].as_u64().unwrap_or_default();
        }
        let comparison = self.compare(list.as_ref().ok())?;
        match list {
            Err(error) => wrong.push(format!("{error:#}")),
            Ok(list) => wrong.extend(self.off_wrongly(&list)),
        }
        self.outcome.agreed += comparison.agreed;
        wrong.extend(comparison.disagreements.iter().map(Disagreement::to_string));
        Ok(wrong)
    }

    /// Units of which `alua list` says wrongly that there is ALUA, or that there is none.
    fn off_wrongly(&self, list: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        for reason in answer::reasons_off(list) {
            match reason {
                None if self.alua_off => wrong.push("alua list gives no alua_off".to_owned()),
                Some(reason) if !self.alua_off => wrong.push(format!("alua is off: {reason}")),
                _ => {}
            }
        }
        wrong
    }

    /// Compares an answer of `alua list` with everybody else.
    fn compare(&self, list: Option<&Value>) -> Result<Comparison> {
        let mut places = Vec::new();
        for place in self.target.places() {
            places.push((place.clone(), sysfs::need_disk(&place.hctl)?));
        }
        let mut peers = Vec::new();
        if !self.alua_off {
            peers.extend(self.target.statements()?);
        }
        peers.extend(self.ask_peers(&places)?);
        self.add_settled_sysfs(&mut peers, &places)?;
        if let Some(list) = list {
            let mut said = answer::statements(list, &places)?;
            for (place, disk) in sample(&places) {
                said.extend(self.through_one_path(place, disk)?);
            }
            if let Target::Lio(lio) = &self.target {
                lio.complete(&mut said, &peers);
            }
            peers.extend(said);
        }
        Ok(compare(&peers))
    }

    /// What sg3_utils say of each path; the guest's two processors share the work.
    fn ask_peers(&self, places: &[(Place, String)]) -> Result<Vec<Statement>> {
        let alua = !self.alua_off;
        let ask = |part: &[(Place, String)]| -> Result<Vec<Statement>> {
            let mut said = Vec::new();
            for (place, _) in part {
                said.extend(peers::statements(place, alua)?);
            }
            Ok(said)
        };
        let (one, two) = places.split_at(places.len() / 2);
        thread::scope(|scope| {
            let one = scope.spawn(|| ask(one));
            let mut said = ask(two)?;
            said.extend(one.join().map_err(|_| anyhow::anyhow!("asking sg3_utils panicked"))??);
            Ok(said)
        })
    }

    /// Adds what sysfs says. The stock handler learns of changes late: where sysfs differs from
    /// the other peers, it is asked again for a while.
    fn add_settled_sysfs(
        &self,
        peers: &mut Vec<Statement>,
        places: &[(Place, String)],
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let mut said = Vec::new();
            for (place, _) in places {
                said.extend(sysfs::statements(place)?);
            }
            if self.alua_off {
                said.retain(|one| !one.fact.ends_with(": state"));
            }
            let all: Vec<Statement> = peers.iter().chain(&said).cloned().collect();
            if compare(&all).disagreements.is_empty() || start.elapsed() > SETTLE {
                peers.extend(said);
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What `alua rtpg` and `alua inquiry` state through one path.
    fn through_one_path(&self, place: &Place, disk: &str) -> Result<Vec<Statement>> {
        let mut said = Vec::new();
        if !self.alua_off {
            for options in [&["rtpg", disk][..], &["rtpg", disk, "--short"]] {
                let source = format!("alua {}", options.join(" "));
                said.extend(answer::rtpg(&self.json(options)?, place, source)?);
            }
        }
        let standard = self.json(&["inquiry", disk])?;
        let has_page = sysfs::has_page_83(&place.hctl);
        let page =
            if has_page { Some(self.json(&["inquiry", disk, "--vpd", "83"])?) } else { None };
        let mut inquiry = answer::inquiry(&standard, page.as_ref(), place, disk)?;
        if self.alua_off {
            inquiry.retain(|one| !one.fact.contains(" port "));
        }
        said.extend(inquiry);
        Ok(said)
    }

    fn tamper(&self, changes: &[Change], caught: &[String]) -> Result<Vec<String>> {
        let mut list = self.list()?;
        for change in changes {
            answer::tamper(&mut list, change)?;
        }
        let found = match self.compare(Some(&list)) {
            Ok(comparison) => comparison.disagreements.into_iter().map(|one| one.fact).collect(),
            // An answer that cannot be told apart by unit and port is caught as a whole.
            Err(error) => vec![format!("{error:#}")],
        };
        if found == caught {
            return Ok(Vec::new());
        }
        Ok(vec![format!("tampering had to be caught as {caught:?}, and was as {found:?}")])
    }

    fn watch(&self, group: u16, state: State, want: &[State]) -> Result<Vec<String>> {
        let unit = self.target.places().first().context("there is no path")?.unit.clone();
        let watcher = Background::start(self.alua, &["list", "--watch=1", "--json"])?;
        let done = AtomicBool::new(false);
        let mut polled: Vec<String> = Vec::new();
        let changed = thread::scope(|scope| -> Result<()> {
            let writer = scope.spawn(|| {
                thread::sleep(BEFORE);
                let result = Lio::set_state(&unit, group, state);
                done.store(true, Ordering::Release);
                result
            });
            loop {
                let last = done.load(Ordering::Acquire);
                let seen = answer::state_of(&self.list()?, group);
                if polled.last() != Some(&seen) {
                    polled.push(seen);
                }
                if last {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
            writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
        });
        thread::sleep(AFTER);
        let watched = answer::watched(&watcher.stop()?, group)?;
        changed?;
        let want: Vec<&str> = want.iter().map(|state| state.name()).collect();
        let mut wrong = Vec::new();
        for (by, seen) in [("alua list", polled), ("alua list --watch", watched)] {
            if seen != want {
                wrong.push(format!("{by} had to show group {group} as {want:?}, not {seen:?}"));
            }
        }
        Ok(wrong)
    }

    fn test_unit_ready(&self, port: u16, exit: i32) -> Result<Vec<String>> {
        let device = self.device(port)?;
        let mut wrong = self.alua_exits(&["tur".to_owned(), device.clone()], exit)?;
        let by_peer = peers::test_unit_ready(device.trim_start_matches("/dev/"))?;
        if by_peer != exit {
            wrong.push(format!("sg_raw {device} ended with {by_peer}, not {exit}"));
        }
        Ok(wrong)
    }

    /// Every call of `alua list` must end by itself with JSON: exit 0, or another status that its
    /// `problems` explain.
    fn churn(&self, port: u16, times: u32) -> Result<Vec<String>> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let lister = scope.spawn(|| {
                let mut wrong = Vec::new();
                let mut calls = 0;
                while !done.load(Ordering::Acquire) || calls == 0 {
                    calls += 1;
                    if let Err(error) = self.list_meanwhile() {
                        wrong.push(format!("{error:#}"));
                    }
                }
                wrong
            });
            let churned = (|| {
                for _ in 0..times {
                    for place in self.of_port(port) {
                        sysfs::delete(&place.hctl)?;
                        sysfs::scan(&place.hctl)?;
                    }
                }
                Ok(())
            })();
            done.store(true, Ordering::Release);
            let wrong = lister.join().map_err(|_| anyhow::anyhow!("the lister panicked"))?;
            churned.map(|()| wrong)
        })
    }

    fn list_meanwhile(&self) -> Result<()> {
        let output = command::run(self.alua, &["list", "--json"], LIMIT)?;
        let answer: Value = serde_json::from_str(&output.stdout).with_context(|| {
            format!("alua list, status {}, wrote no JSON: {}", output.status, output.said())
        })?;
        let problems = answer["problems"].as_array().map_or(0, Vec::len);
        ensure!(
            output.status == 0 || problems > 0,
            "alua list ended with {} and named no problem",
            output.status
        );
        Ok(())
    }
}

fn wrong_exit(what: &str, output: &Output, exit: i32) -> Vec<String> {
    if output.status == exit {
        return Vec::new();
    }
    vec![format!("{what} ended with {}, not {exit}: {}", output.status, output.said())]
}

/// The paths on which commands for one path are tried: those of the first and the last unit.
fn sample(places: &[(Place, String)]) -> impl Iterator<Item = (&Place, &str)> {
    let first = places.first().map(|(place, _)| place.unit.clone());
    let last = places.last().map(|(place, _)| place.unit.clone());
    let wanted = move |unit: &String| Some(unit) == first.as_ref() || Some(unit) == last.as_ref();
    places
        .iter()
        .filter(move |(place, _)| wanted(&place.unit))
        .map(|(place, disk)| (place, disk.as_str()))
}
