//! `alua activate`: one target port group becomes active/optimized, as a device handler does it.

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
        unit.activate(args.group, now)
    })
}
