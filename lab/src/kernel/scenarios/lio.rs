//! What the kernel's own target can set.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::{Run, disk, until};
use super::many::two_groups;
use crate::command;
use crate::scenario::{AccessType, Fabric, State};
use crate::sysfs::rescan;
use crate::target::lio::Lio;

const SOON: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(20);

/// What LIO sets on a unit with implicit and explicit management, and which sense TEST UNIT READY meets
/// then: the unit attention, and in a state of no use its code. There is none with offline: LIO answers no
/// report then. LBA-dependent it refuses where explicit management is on. The first is a state in which no
/// group begins, or it would show nothing.
const BOTH: [(State, &str); 4] = [
    (State::Standby, "B24, E06, E10"),
    (State::ActiveNonOptimized, "B24, E06"),
    (State::Unavailable, "B24, E06, E10"),
    (State::ActiveOptimized, "B24, E06"),
];
const IMPLICIT: [(State, &str); 2] =
    [(State::LbaDependent, "B24, E06"), (State::ActiveOptimized, "B24, E06")];
const PORTS: [(u16, [u16; 2]); 2] = [(1, [1, 2]), (2, [3, 4])];

/// TEST UNIT READY on every path, twice: behind the unit attention waits what the state says.
fn touch(target: &Lio) -> Result<()> {
    for place in &target.places {
        let node = disk::node(&place.hctl)?;
        let node = node.to_str().context("a path")?;
        for _ in 0..2 {
            let _ = command::run("sg_raw", &[&[node], &["0"; 6][..]].concat(), READ)?;
        }
    }
    Ok(())
}

/// The states of a group's paths.
fn shown(target: &Lio, ports: [u16; 2]) -> Vec<String> {
    let of = target.places.iter().filter(|place| ports.contains(&place.port));
    of.map(|place| disk::access(&place.hctl)).collect()
}

/// Waits until sysfs shows a state for a group.
fn shows(run: &mut Run, target: &Lio, ports: [u16; 2], state: State, row: &str, what: &str) {
    let right = until(SOON, || shown(target, ports).iter().all(|it| it == state.name()));
    run.check(row, what, right.is_some(), shown(target, ports).join(", "));
}

/// LIO sets each state of each group.
pub(super) fn each_state(run: &mut Run) -> Result<()> {
    for (access, states) in [(AccessType::Both, &BOTH[..]), (AccessType::Implicit, &IMPLICIT)] {
        let target = Lio::set_up(Fabric::Loop, 4, &[two_groups(access)])?;
        let unit = target.unit_names().next().context("no unit")?;
        for (id, ports) in PORTS {
            if access == AccessType::Implicit {
                Lio::allow_lba_dependent(unit, id)?;
            }
            for &(state, row) in states {
                Lio::set_state(unit, id, state)?;
                touch(&target)?;
                let what = format!("sysfs follows LIO's group {id} to {}", state.name());
                shows(run, &target, ports, state, row, &what);
            }
        }
        if access == AccessType::Both {
            preferred(run, &target, unit)?;
        }
        if access == AccessType::Implicit {
            for (id, ports) in PORTS {
                slow_change(run, &target, unit, id, ports)?;
            }
        }
        Lio::take_down()?;
    }
    explicit_only(run)
}

/// One group after the other is preferred for a while. LIO tells nobody of it: a rescan has the handler
/// read the report again.
fn preferred(run: &mut Run, target: &Lio, unit: &str) -> Result<()> {
    for (id, ports) in PORTS {
        for prefer in [true, false] {
            Lio::set_preferred(unit, id, prefer)?;
            for place in &target.places {
                rescan(&place.hctl)?;
            }
            let shown = || -> Vec<bool> {
                target.places.iter().map(|place| disk::preferred(&place.hctl)).collect()
            };
            let of = target.places.iter().map(|place| prefer && ports.contains(&place.port));
            let wanted: Vec<bool> = of.collect();
            let right = until(SOON, || shown() == wanted);
            let what = if prefer { "alone is preferred" } else { "is preferred no longer" };
            let what = format!("sysfs shows that LIO's group {id} {what}");
            run.check("F19", &what, right.is_some(), format!("{:?}", shown()));
        }
    }
    Ok(())
}

/// There LIO sets nothing itself: a group changes by STPG only.
fn explicit_only(run: &mut Run) -> Result<()> {
    let target = Lio::set_up(Fabric::Loop, 4, &[two_groups(AccessType::Explicit)])?;
    touch(&target)?;
    let (id, ports) = PORTS[1];
    let path = target.places.iter().find(|place| place.port == ports[0]).context("no path")?;
    disk::activate(&path.hctl)?;
    let what =
        format!("an STPG brings LIO's group {id} to active/optimized where it takes STPG only");
    shows(run, &target, ports, State::ActiveOptimized, "C15, B24", &what);
    Lio::take_down()
}

/// LIO takes its time, and is in transition meanwhile.
fn slow_change(run: &mut Run, target: &Lio, unit: &str, id: u16, ports: [u16; 2]) -> Result<()> {
    Lio::set_transition(unit, id, 6_000)?;
    std::thread::scope(|scope| -> Result<()> {
        let setter = scope.spawn(|| Lio::set_state(unit, id, State::ActiveNonOptimized));
        let limit = Duration::from_millis(5_500);
        let met = until(limit, || {
            let _ = touch(target);
            shown(target, ports).iter().all(|it| it == State::Transitioning.name())
        });
        let what = format!("sysfs follows LIO's group {id} into a transition of 6 s");
        run.check("E01", &what, met.is_some(), shown(target, ports).join(", "));
        setter.join().map_err(|_| anyhow::anyhow!("the setter died"))??;
        let what =
            format!("sysfs follows LIO's group {id} out of the transition to active/non-optimized");
        shows(run, target, ports, State::ActiveNonOptimized, "B24, B27", &what);
        Ok(())
    })
}
