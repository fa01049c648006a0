//! What the kernel's own target can set.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::{Run, disk, until};
use super::many::group;
use crate::command;
use crate::scenario::{Fabric, State, Unit};
use crate::target::lio::Lio;

const SOON: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(20);

/// The states of a group that LIO sets, and their names in sysfs. There is none with offline: LIO answers
/// no report then. LBA-dependent it refuses where explicit management is on.
const STATES: [(State, &str); 4] = [
    (State::ActiveNonOptimized, "active/non-optimized"),
    (State::Standby, "standby"),
    (State::Unavailable, "unavailable"),
    (State::ActiveOptimized, "active/optimized"),
];

/// LIO sets each state of each group.
pub(super) fn each_state(run: &mut Run) -> Result<()> {
    let groups =
        vec![group(1, State::ActiveOptimized, [1, 2]), group(2, State::ActiveNonOptimized, [3, 4])];
    let target = Lio::set_up(Fabric::Loop, 4, &[Unit::of(groups)])?;
    let unit = target.unit_names().next().context("no unit")?;
    for (id, ports) in [(1, [1, 2]), (2, [3, 4])] {
        for (state, name) in STATES {
            Lio::set_state(unit, id, state)?;
            for place in &target.places {
                // The unit attention tells of it. A read would not be let through in some states.
                let node = disk::node(&place.hctl)?;
                let node = node.to_str().context("a path")?;
                let _ = command::run("sg_raw", &[&[node], &["0"; 6][..]].concat(), READ)?;
            }
            let shown = || {
                let of = target.places.iter().filter(|place| ports.contains(&place.port));
                of.map(|place| disk::access(&place.hctl)).collect::<Vec<_>>()
            };
            let right = until(SOON, || shown().iter().all(|it| it == name));
            run.check(
                "B24",
                &format!("sysfs follows LIO's group {id} to {name}"),
                right.is_some(),
                shown().join(", "),
            );
        }
    }
    Lio::take_down()
}
