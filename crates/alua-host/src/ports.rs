//! The ports of each target port group by the last report, for which the driver core has no use.

use std::collections::BTreeMap;

use alua_core::spc::target_port_groups::Report;

/// The relative target ports of each group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReportedPorts {
    groups: BTreeMap<u16, Vec<u16>>,
    /// The group whose last port the report lacks.
    cut_in: Option<u16>,
}

impl ReportedPorts {
    /// Takes the ports out of what REPORT TARGET PORT GROUPS brought, in place of those that were
    /// known; of what is no report it takes nothing.
    pub fn note(&mut self, data: &[u8]) {
        let Ok(report) = Report::parse(data) else { return };
        self.groups = report.groups().map(|group| (group.id, group.ports.collect())).collect();
        let last = report.groups().last().map(|group| group.id);
        self.cut_in = last.filter(|_| report.header_not_counted());
    }

    /// The ports of a group: those of the last report, else those of its `paths`, which are given
    /// as group and port. A report that lacks its end lacks a port that a path may know.
    pub fn of(
        &self,
        group: u16,
        paths: impl IntoIterator<Item = (Option<u16>, Option<u16>)>,
    ) -> Vec<u16> {
        let reported = self.groups.get(&group);
        let mut ports = reported.cloned().unwrap_or_default();
        if reported.is_none() || self.cut_in == Some(group) {
            let of_group = paths.into_iter().filter(|path| path.0 == Some(group));
            ports.extend(of_group.filter_map(|path| path.1));
            ports.sort_unstable();
            ports.dedup();
        }
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [(Option<u16>, Option<u16>); 4] =
        [(Some(1), Some(2)), (Some(1), Some(1)), (Some(2), Some(3)), (None, Some(9))];

    #[test]
    fn without_a_report_the_ports_are_those_of_the_paths() {
        let mut ports = ReportedPorts::default();
        ports.note(&[1, 2, 3]);
        assert_eq!((ports.of(1, PATHS), ports.of(7, PATHS)), (vec![1, 2], vec![]));
    }

    #[test]
    fn a_report_counts_before_the_paths() {
        let mut ports = ReportedPorts::default();
        ports.note(&[0, 0, 0, 12, 0x80, 0x8f, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5]);
        assert_eq!((ports.of(1, PATHS), ports.of(2, PATHS)), (vec![5], vec![3]));
    }
}
