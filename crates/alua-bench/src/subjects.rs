//! Our work on the samples.
//!
//! Each function reads what it is about and folds it into a checksum, so that a compiler cannot
//! leave any of it out. The peers fold the same fields in the same way; equal checksums show that
//! both read the same things. A sample that does not parse gives 0.

use alua_core::identity::Identity;
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::target_port_groups::Report;

use crate::samples::Sample;

/// One way of reading a sample.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The name in the table.
    pub name: &'static str,
    /// Reads the sample and gives the checksum.
    pub run: fn(&[u8]) -> u32,
}

/// What we do with a sample.
#[must_use]
pub const fn of(sample: Sample) -> &'static [Subject] {
    match sample {
        Sample::Report(_) => &[
            Subject { name: "alua-core", run: whole_report },
            Subject { name: "alua-core-one-state", run: last_state },
        ],
        Sample::Page83 => &[
            Subject { name: "alua-core", run: designators },
            Subject { name: "alua-core-identity", run: identity },
        ],
    }
}

/// Every field of every group and every port.
#[must_use]
pub fn whole_report(data: &[u8]) -> u32 {
    let Ok(report) = Report::parse(data) else { return 0 };
    let mut sum = 0_u32;
    for group in report.groups() {
        let fields = u32::from(group.preferred) << 24
            | u32::from(group.state.bits()) << 16
            | u32::from(group.supported.bits()) << 8
            | u32::from(group.status.bits());
        sum = sum.wrapping_mul(31).wrapping_add(fields ^ u32::from(group.id));
        for port in group.ports {
            sum = sum.wrapping_add(u32::from(port));
        }
    }
    sum
}

/// The state and the PREF bit of the group that is listed last, as RTPG has them in one byte: all
/// that multipath-tools asks of a report.
#[must_use]
pub fn last_state(data: &[u8]) -> u32 {
    let Some([high, low]) = data.len().checked_sub(22).and_then(|at| data.get(at..at + 2)) else {
        return 0;
    };
    let wanted = u16::from_be_bytes([*high, *low]);
    let Ok(report) = Report::parse(data) else { return 0 };
    report
        .groups()
        .find(|group| group.id == wanted)
        .map_or(0, |group| u32::from(group.preferred) << 7 | u32::from(group.state.bits()))
}

/// Every designator: code set, association, type, length, first and last byte.
#[must_use]
pub fn designators(data: &[u8]) -> u32 {
    let Ok(page) = DeviceIdentification::new(data) else { return 0 };
    let mut sum = 0_u32;
    for designator in &page {
        let (first, last) = match designator.payload {
            [] => (0, 0),
            [only] => (*only, *only),
            [first, .., last] => (*first, *last),
        };
        let fields = u32::from(designator.code_set.bits()) << 24
            | u32::from(designator.association.bits()) << 20
            | u32::from(designator.kind.bits()) << 16
            | u32::from(first) << 8
            | u32::from(last);
        let length = u32::try_from(designator.payload.len()).unwrap_or(0);
        // A sum, because libiscsi lists the designators in reverse.
        sum = sum.wrapping_add((fields ^ length).wrapping_mul(2_654_435_761));
    }
    sum
}

/// The unit's best name, copied, and the port's group and number: what the driver keeps of a page.
#[must_use]
pub fn identity(data: &[u8]) -> u32 {
    let Ok(page) = DeviceIdentification::new(data) else { return 0 };
    let Ok(identity) = Identity::from_page(&page) else { return 0 };
    let name = identity.name.as_ref().map_or(&[][..], |name| name.as_bytes());
    let sum = name.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    sum ^ u32::from(identity.group.unwrap_or(0)) << 16
        ^ u32::from(identity.relative_port.unwrap_or(0)) << 24
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_reads_its_sample() {
        for sample in Sample::ALL {
            let bytes = sample.bytes().unwrap();
            for subject in of(sample) {
                assert_ne!((subject.run)(&bytes), 0, "{} {}", sample.name(), subject.name);
                assert_eq!((subject.run)(&bytes[..bytes.len() - 1]), 0, "{}", subject.name);
            }
        }
        assert_eq!(last_state(&Sample::Report(4).bytes().unwrap()), 0x01);
    }
}
