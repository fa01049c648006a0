//! What a unit is shown from.

use alua_core::time::Time;
use alua_core::unit::PathId;
use alua_host::discovery::Unit;
use alua_host::driver::OwnedUnit;
use alua_host::ports::ReportedPorts;

use super::ServerView;
use crate::session::Closed;

/// A unit that this program has asked ([`Session::subject`](crate::session::Session::subject)), or
/// one that it serves: both are shown alike.
pub(crate) struct Subject<'a> {
    /// What discovery found.
    pub(crate) facts: &'a Unit,
    /// What the driver knows.
    pub(crate) unit: &'a OwnedUnit,
    /// For each path of `facts`: its name in the driver, or why it is not there.
    pub(crate) lines: &'a [Result<PathId, Closed>],
    /// Paths whose transport failed, and that have not answered since.
    pub(crate) down: Vec<PathId>,
    /// The ports of the last report.
    pub(crate) ports: &'a ReportedPorts,
    /// The `alua up` that serves it.
    pub(crate) served_by: Option<&'a ServerView>,
    /// The time now, on the driver's clock.
    pub(crate) now: Time,
}

impl Subject<'_> {
    /// How people call the path with that name.
    pub(super) fn label(&self, id: PathId) -> String {
        let index = self.lines.iter().position(|line| matches!(line, Ok(known) if *known == id));
        let path = index.and_then(|index| self.facts.paths.get(index));
        path.map_or_else(|| format!("path {id}"), |path| path.device.short_name())
    }

    /// The relative target ports of a group.
    pub(super) fn ports(&self, group: u16) -> Vec<u16> {
        let paths = self.facts.paths.iter();
        self.ports.of(group, paths.map(|path| (path.identity.group, path.identity.relative_port)))
    }
}
