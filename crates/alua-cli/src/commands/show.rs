//! `alua show`: one unit.

use super::list::{learn, listing};
use super::print;
use crate::cli::{Global, Show};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::{json, table};
use crate::target::{Scope, World};

pub(crate) fn run(global: &Global, args: &Show) -> Result<Exit, Error> {
    let world = World::open(&global.choice())?;
    let mut found = world.units(Scope::One(&args.unit))?;
    for unit in &mut found.units {
        learn(unit, args.check, world.timeout_ms());
    }
    let listing = listing(&world, &found);
    print(&if global.json { json::text(&listing)? } else { table::listing(&listing) })?;
    let asked = found.units.iter().any(|unit| unit.lines.iter().any(Result::is_ok));
    let permission = found.problems.iter().any(|problem| problem.permission);
    Ok(if !asked && permission { Exit::Permission } else { Exit::Good })
}
