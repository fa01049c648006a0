//! `alua list`: all units with their groups and paths.

use std::thread;

use alua_host::driver::Clock as _;

use super::print;
use crate::cli::{Global, List};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::{json, table};
use crate::running::serving::Serving;
use crate::session::Session;
use crate::target::{Found, Problem, Scope, World};
use crate::view::{Listing, ProblemView, SCHEMA, UnitView};

/// Units that are read at the same time.
const THREADS: usize = 16;

pub(crate) fn run(global: &Global, args: &List) -> Result<Exit, Error> {
    let mut world = World::open(&global.choice())?;
    let mut found = find(&mut world, args)?;
    learn_all(&world, &mut found.units, args.check);
    let listing = listing(&world, &found);
    print(&if global.json { json::text(&listing)? } else { table::listing(&listing) })?;
    Ok(exit(&found.units, &found.problems))
}

/// Finds the units that are asked for. A device that runs is asked first: nothing is sent down the
/// paths that it holds as failed, which could take as long as their transport needs to give up.
pub(crate) fn find(world: &mut World, args: &List) -> Result<Found, Error> {
    let serving = Serving::ask(world.source());
    world.spare(serving.failed(world));
    let mut found = world.units(args.unit.as_deref().map_or(Scope::All, Scope::One))?;
    serving.mark(&mut found.units);
    Ok(found)
}

/// What is shown of everything that was found.
pub(crate) fn listing(world: &World, found: &Found) -> Listing {
    let mut problems: Vec<ProblemView> = found
        .problems
        .iter()
        .map(|problem| ProblemView {
            device: problem.device.clone(),
            message: problem.message.clone(),
        })
        .collect();
    for unit in &found.units {
        for finding in &unit.facts.findings {
            problems.push(ProblemView { device: unit.title(), message: finding.to_string() });
        }
    }
    Listing {
        schema_version: SCHEMA,
        source: world.source(),
        time_ms: world.clock().now().as_millis(),
        commands_sent: world.monitor().total(),
        units: found.units.iter().map(|unit| UnitView::of(&unit.subject())).collect(),
        problems,
    }
}

/// Reads the states of all units. On real disks many at a time, so that one that does not answer
/// does not hold up the others; on a model one after the other, so that a run can be repeated.
pub(crate) fn learn_all(world: &World, units: &mut [Session], check: bool) {
    let timeout_ms = world.timeout_ms();
    let threads = if world.is_model() { 1 } else { THREADS };
    let chunk = units.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        for units in units.chunks_mut(chunk) {
            let work = move || {
                for unit in units {
                    learn(unit, check, timeout_ms);
                }
            };
            if threads == 1 {
                work();
            } else {
                scope.spawn(work);
            }
        }
    });
}

/// Reads the states of one unit and, where asked to, compares them with what each path says.
pub(crate) fn learn(unit: &mut Session, check: bool, timeout_ms: u32) {
    unit.learn();
    if !check {
        return;
    }
    for id in unit.lines.iter().filter_map(|line| line.as_ref().ok().copied()).collect::<Vec<_>>() {
        // What it says is noted by the unit; what is wrong shows in the path's health.
        let _ = unit.ask(id, timeout_ms);
    }
    if unit.unit().is_busy() {
        unit.learn();
    }
}

/// Missing permission is the one thing that makes the whole listing worth little.
fn exit(units: &[Session], problems: &[Problem]) -> Exit {
    let asked = units.iter().any(|unit| unit.lines.iter().any(Result::is_ok));
    if !asked && problems.iter().any(|problem| problem.permission) {
        return Exit::Permission;
    }
    Exit::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_nobody_may_make_ends_so() {
        let problem = |permission| Problem {
            device: "sda".to_owned(),
            message: "no permission".to_owned(),
            permission,
        };
        assert_eq!(exit(&[], &[problem(false), problem(true)]), Exit::Permission);
        assert_eq!(exit(&[], &[problem(false)]), Exit::Good);
    }
}
