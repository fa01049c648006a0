//! The writers of the wire formats that are generic over their input.

use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter};

#[unsafe(no_mangle)]
pub fn probe_report_writer(
    buffer: &mut [u8],
    fields: &GroupFields,
    ports: &[u16],
) -> Option<usize> {
    let mut writer = ReportWriter::new(buffer, ReportFormat::Extended, 60);
    writer.push(fields, ports.iter().copied()).ok()?;
    writer.finish().ok()
}
