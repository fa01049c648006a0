//! The bytes that every parser gets.

use alua_core::access::{AccessState, SupportedStates};
use alua_core::spc::WireError;
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::designator::{
    Association, CodeSet, Designator, DesignatorKind, DesignatorWriter, id_payload,
};
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter, StatusCode};

/// Target ports in each group of a report.
pub const PORTS: u16 = 4;

/// What a sample is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sample {
    /// REPORT TARGET PORT GROUPS data of that many groups, with the length-only header: the only
    /// one that every peer reads.
    Report(u16),
    /// VPD page 83h of one path.
    Page83,
}

impl Sample {
    /// Every sample, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Report(2), Self::Report(4), Self::Report(32), Self::Page83];

    /// The name in the table and in file names.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Report(groups) => format!("rtpg-{groups}"),
            Self::Page83 => "page83".to_owned(),
        }
    }

    /// The sample with that [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sample| sample.name() == name)
    }

    /// The bytes.
    ///
    /// # Errors
    ///
    /// None in practice: the buffer is large enough.
    pub fn bytes(self) -> Result<Vec<u8>, WireError> {
        let mut buffer = vec![0; 4096];
        let length = match self {
            Self::Report(groups) => report(groups, &mut buffer)?,
            Self::Page83 => page83(&mut buffer)?,
        };
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// Group 1 is optimized and preferred, the others are not.
fn report(groups: u16, buffer: &mut [u8]) -> Result<usize, WireError> {
    let mut report = ReportWriter::new(buffer, ReportFormat::LengthOnly, 0);
    for id in 1..=groups {
        let state = match id {
            1 => AccessState::ActiveOptimized,
            _ => AccessState::ActiveNonOptimized,
        };
        let supported = SupportedStates::from_bits(0xcf);
        let status = StatusCode::Implicit;
        let fields = GroupFields { id, state, supported, status, preferred: id == 1, vendor: 0 };
        let first = (id - 1) * PORTS + 1;
        report.push(&fields, first..first + PORTS)?;
    }
    report.finish()
}

/// What arrays send: the unit by NAA and by T10 vendor ID, the port by number, group and name.
fn page83(buffer: &mut [u8]) -> Result<usize, WireError> {
    let naa = [
        0x60, 0x01, 0x40, 0x5a, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
        0xcc,
    ];
    let (port, group) = (id_payload(5), id_payload(2));
    let mut page = DesignatorWriter::new(buffer, 0);
    page.push(&Designator::naa(&naa))?;
    page.push(&Designator {
        protocol: None,
        code_set: CodeSet::Ascii,
        association: Association::LogicalUnit,
        kind: DesignatorKind::T10Vendor,
        payload: b"ALUA    MODEL ARRAY     0123456789abcdef",
    })?;
    page.push(&Designator::port(&port))?;
    page.push(&Designator::group(&group))?;
    page.push(&Designator {
        protocol: Some(5),
        code_set: CodeSet::Utf8,
        association: Association::TargetPort,
        kind: DesignatorKind::ScsiName,
        payload: b"iqn.2026-03.invalid.array:target,t,0x0002\0\0\0",
    })?;
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_lengths_that_the_documents_give() {
        let lengths = Sample::ALL.map(|sample| sample.bytes().unwrap().len());
        assert_eq!(lengths, [52, 100, 772, 132]);
        for sample in Sample::ALL {
            assert_eq!(Sample::from_name(&sample.name()), Some(sample));
        }
    }
}
