//! The scenarios: a discovery, then a change that touches every unit.

use std::time::Duration;

use alua_array::{
    AluaSettings, Array, ArraySettings, Command, Config as ArrayConfig, ControllerConfig, Event,
    GroupConfig, PortConfig, SenseCode, Transition, UnitConfig,
};
use alua_core::access::AccessState;
use alua_core::gate::GatePolicy;
use alua_core::unit::Config;
use anyhow::{Context, Result, ensure};

use super::cost::cpu;
use super::host::{Host, Tally};
use super::replay::Log;
use super::{PATHS, Unit};

/// What happens to every unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The array moves the units to its other controller at once.
    AtOnce,
    /// The same with a transition of two seconds, in which RTPG is answered.
    Transition,
    /// The same with a transition of two seconds, in which RTPG is refused with 04h/0Ah.
    SilentTransition,
    /// The host moves the units, by SET TARGET PORT GROUPS.
    Activation,
}

impl Change {
    /// Every change, in the order of the table.
    pub const ALL: [Self; 4] =
        [Self::AtOnce, Self::Transition, Self::SilentTransition, Self::Activation];

    /// The name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "failover at once",
            Self::Transition => "failover in 2 s, RTPG answered",
            Self::SilentTransition => "failover in 2 s, RTPG refused",
            Self::Activation => "activation by STPG",
        }
    }
}

/// What one half of a run sent and took.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// REPORT TARGET PORT GROUPS, as the array counted them.
    pub rtpg: u64,
    /// SET TARGET PORT GROUPS, as the array counted them.
    pub stpg: u64,
    /// TEST UNIT READY that the driver sent, as it counted them.
    pub tur: u64,
    /// Commands of every kind that the array was sent.
    pub commands: u64,
    /// From the start of the half until every state was right, in virtual time.
    pub right_after: Duration,
    /// CPU time of driver, host and array.
    pub cpu: Duration,
    /// What the host counted.
    pub tally: Tally,
}

/// A run.
#[derive(Debug)]
pub struct Run {
    /// CPU time in which the array was built.
    pub build: Duration,
    /// The scan, and the driver's reading of every state.
    pub discovery: Part,
    /// The change.
    pub change: Part,
    /// The calls into the core, if they were asked for.
    pub log: Option<Log>,
    /// What the driver counted in all: to be compared with a replay.
    pub sent: (u64, u64, u64),
}

/// Discovers `units` units of eight paths, and lets `change` happen to all of them. With `log` the
/// calls into the core are kept, which costs CPU time.
///
/// # Errors
///
/// The driver ends with a state that the array does not have, or something that a run without
/// faults does not have.
pub fn run(units: u32, change: Change, log: bool) -> Result<Run> {
    let start = cpu();
    let array = Array::new(array_config(units, change))?;
    let build = cpu() - start;
    let mut host = Host::new(array, core_config(), log)?;
    let discovery = part(&mut host, Host::scan)?;
    // The change comes when the discovery is long past.
    host.rest(Duration::from_secs(3600))?;
    host.expect([AccessState::ActiveNonOptimized, AccessState::ActiveOptimized]);
    let change = part(&mut host, |host| {
        match change {
            Change::Activation => {
                host.start_reads()?;
                host.activate(2)?;
            }
            _ => {
                let (unit, to) = (None, "B".to_owned());
                let event = Event::Switch { unit, to, transition: None, fails: false };
                host.array().apply(&event)?;
                host.start_reads()?;
            }
        }
        host.run()?;
        host.check_paths()
    })?;
    check(&mut host)?;
    let sent = counters(host.units());
    Ok(Run { build, discovery, change, log: host.take_log(), sent })
}

/// How the driver is set: I/O waits for the end of a transition.
#[must_use]
pub fn core_config() -> Config {
    let gate = GatePolicy { pass_transitioning: false, ..GatePolicy::default() };
    Config { gate, attentions_on_every_nexus: true, ..Config::default() }
}

/// RTPG, STPG and TUR that the driver says it sent.
pub fn counters<'a>(units: impl Iterator<Item = &'a Unit>) -> (u64, u64, u64) {
    units.map(Unit::counters).fold((0, 0, 0), |(rtpg, stpg, tur), one| {
        (rtpg + u64::from(one.rtpg), stpg + u64::from(one.stpg), tur + u64::from(one.tur))
    })
}

fn part(host: &mut Host, work: impl FnOnce(&mut Host) -> Result<()>) -> Result<Part> {
    let sent = |host: &mut Host| {
        let counters = host.array().counters();
        (
            counters.sent(Command::ReportTargetPortGroups),
            counters.sent(Command::SetTargetPortGroups),
            counters.sent_in_all(),
        )
    };
    let (rtpg, stpg, commands) = sent(host);
    let (_, _, tur) = counters(host.units());
    let (from, began) = (cpu(), host.array().now());
    host.take_tally();
    work(host)?;
    let cpu = cpu() - from;
    let right = host.all_right_at().context("not every state is right in the end")?;
    let after = sent(host);
    Ok(Part {
        rtpg: after.0 - rtpg,
        stpg: after.1 - stpg,
        tur: counters(host.units()).2 - tur,
        commands: after.2 - commands,
        right_after: right.since(began),
        cpu,
        tally: host.take_tally(),
    })
}

/// The driver and the array agree on every state, and no unit attention waits.
fn check(host: &mut Host) -> Result<()> {
    let truth: Vec<[Option<AccessState>; 2]> = (0..host.units().count())
        .map(|unit| [1, 2].map(|group| host.array().state(unit, group)))
        .collect();
    for (unit, truth) in host.units().zip(truth) {
        ensure!(unit.paths().count() == PATHS, "a path is missing");
        ensure!(!unit.is_busy(), "the driver is not done");
        for (id, path) in unit.paths() {
            let place = usize::from(path.group() == Some(2));
            ensure!(unit.access(id).state == truth[place], "a wrong state on path {id}");
        }
    }
    Ok(())
}

fn array_config(units: u32, change: Change) -> ArrayConfig {
    let slow = matches!(change, Change::Transition | Change::SilentTransition);
    let span = if slow { Duration::from_secs(2) } else { Duration::ZERO };
    ArrayConfig {
        array: ArraySettings {
            connect_attention: Some(SenseCode::POWER_ON),
            ..ArraySettings::default()
        },
        alua: AluaSettings {
            transition: Transition::Takes(span),
            rtpg_in_transition: change != Change::SilentTransition,
            ..AluaSettings::default()
        },
        controllers: ["A", "B"].map(|name| ControllerConfig { name: name.to_owned() }).into(),
        groups: [(1, "A"), (2, "B")]
            .map(|(id, controller)| GroupConfig {
                id,
                controller: controller.to_owned(),
                supported: None,
                vendor: 0,
            })
            .into(),
        ports: (1..=8)
            .map(|id| PortConfig {
                id,
                group: if id <= 4 { 1 } else { 2 },
                link_time: Duration::ZERO,
                up: true,
            })
            .collect(),
        units: vec![UnitConfig {
            lun: Some(0),
            count: units,
            owner: vec!["A".to_owned()],
            ..UnitConfig::default()
        }],
        ..ArrayConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts do not depend on how many units there are, so a few show what many will.
    #[test]
    fn one_report_finds_all_paths_and_a_replay_sends_the_same() {
        for change in Change::ALL {
            let run = run(16, change, true).unwrap();
            assert_eq!(run.discovery.rtpg, 16, "{change:?}");
            assert_eq!(run.change.stpg, if change == Change::Activation { 16 } else { 0 });
            let again = run.log.unwrap().replay(16, core_config()).unwrap();
            assert_eq!(counters(again.iter().flatten()), run.sent, "{change:?}");
        }
    }
}
