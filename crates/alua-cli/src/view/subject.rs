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
    /// How people call the path with that name; none where it is gone.
    pub(super) fn label(&self, id: PathId) -> Option<String> {
        let index = self.lines.iter().position(|line| matches!(line, Ok(known) if *known == id));
        let path = index.and_then(|index| self.facts.paths.get(index));
        path.map(|path| path.device.short_name())
    }

    /// The relative target ports of a group.
    pub(super) fn ports(&self, group: u16) -> Vec<u16> {
        let paths = self.facts.paths.iter();
        self.ports.of(group, paths.map(|path| (path.identity.group, path.identity.relative_port)))
    }
}

#[cfg(test)]
mod tests {
    use alua_core::cause::Cause;
    use alua_core::unit::{Config, Group, LogicalUnit, NewPath, Path};

    use super::*;
    use crate::view::CauseView;

    #[test]
    fn a_cause_by_a_path_that_is_gone_says_so() {
        let groups = vec![Group::default(); 1].into_boxed_slice();
        let paths = vec![Path::default(); 1].into_boxed_slice();
        let managed = Err(alua_core::tpgs::AluaOff::NotSupported);
        let mut unit: OwnedUnit = LogicalUnit::new(None, managed, Config::default(), groups, paths);
        let now = Time::from_millis(9);
        let path = unit.add_path(NewPath::default(), now).unwrap();
        let subject = Subject {
            facts: &Unit { name: None, paths: Vec::new(), findings: Vec::new() },
            unit: &unit,
            lines: &[],
            down: Vec::new(),
            ports: &ReportedPorts::default(),
            served_by: None,
            now,
        };
        let cause = Cause::Report { path, at: Time::from_millis(4) };
        let shown = CauseView::of(&subject, cause, now);
        assert_eq!((shown.device, shown.age_ms), (None, Some(5)));
        assert_eq!(shown.text, "reported through a path that is gone");
    }
}
