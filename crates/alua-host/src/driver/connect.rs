//! From a discovered logical unit to a driver of it.

use alua_core::unit::{Config, PathId};

use super::{Clock, Driver};
use crate::discovery::{Opener, Problem, Trouble, Unit};
use crate::transport::Transport;

/// A driver of a discovered unit.
#[derive(Debug)]
pub struct Connected<C> {
    /// The driver, with a path for each device that could be opened.
    pub driver: Driver<Box<dyn Transport + Send>, C>,
    /// The core's name for each of the unit's paths, in their order; `None` for one that the driver
    /// does not have.
    pub paths: Vec<Option<PathId>>,
    /// Why it does not have them.
    pub problems: Vec<Problem>,
}

/// Opens the paths of `unit` and gives them to a new driver. No command is sent.
pub fn connect<C: Clock>(
    unit: &Unit,
    opener: &dyn Opener,
    config: Config,
    clock: C,
) -> Connected<C> {
    let mut driver = Driver::new(unit.name, unit.alua(), config, clock);
    let mut problems = Vec::new();
    let mut paths = Vec::new();
    for path in &unit.paths {
        let device = &path.device;
        let state = device.state.as_ref().filter(|state| !state.takes_commands());
        let opened = match state {
            Some(state) => Err(Trouble::State(state.clone())),
            None => opener.open(device).map_err(Trouble::Open),
        };
        let added = opened.and_then(|transport| {
            driver
                .add_path(device.short_name(), &path.identity, transport)
                .map_err(Trouble::NotAdded)
        });
        paths.push(match added {
            Ok(id) => Some(id),
            Err(trouble) => {
                let name = device.short_name();
                problems.push(Problem { hctl: device.hctl, name, trouble });
                None
            }
        });
    }
    Connected { driver, paths, problems }
}
