//! `alua activate`: one target port group becomes active/optimized, and a report proves it.

use alua_core::access::AccessState;
use alua_core::unit::Target;

use super::change;
use crate::cli::{Activate, Global};
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Follow;
use crate::target::World;

pub(crate) fn run(global: &Global, args: &Activate) -> Result<Exit, Error> {
    let world = World::open(&global.choice())?;
    let session = world.unit(&args.unit)?;
    let target = Target { state: AccessState::ActiveOptimized, id: args.group };
    let how = if args.no_wait { Follow::UntilAccepted } else { Follow::ToEnd };
    change::follow(global, &world, session, &[target], how, |session| {
        let (unit, now) = session.driver.unit_mut();
        // Not the device handler's `activate`: to a person, "live, but not optimized" is a failure.
        unit.set_states(&[target], false, now)
    })
}
