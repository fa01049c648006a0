//! One command of our own down one path.

use alua_core::spc::Status;
use alua_core::spc::cdb::Cdb;
use alua_core::spc::inquiry::{StandardInquiry, VpdPage};
use alua_core::spc::sense::SenseKey;
use alua_host::transport::{Data, Reply, Request};

use crate::error::Error;
use crate::target::{Device, Line};

/// Unit attentions that a read takes before it gives up: each is told once and means that the
/// command was not executed.
const ATTENTIONS_MAX: u32 = 8;

/// Sends `cdb` and gives the answer, whatever it says.
pub(crate) fn once(
    line: &mut Line,
    device: &str,
    command: &'static str,
    cdb: &Cdb,
    data: Data<'_>,
    timeout_ms: u32,
) -> Result<Reply, Error> {
    let cdb = cdb.encode();
    let request = Request { cdb: cdb.as_bytes(), data, timeout_ms };
    line.execute(request).map_err(|error| Error::Transport {
        device: device.to_owned(),
        command,
        error,
    })
}

/// Reads `length` bytes, and takes unit attentions on the way.
pub(crate) fn read(
    device: &mut Device,
    command: &'static str,
    cdb: &Cdb,
    length: usize,
    timeout_ms: u32,
) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; length];
    let mut attentions = 0;
    loop {
        let data = Data::In(&mut buffer);
        let reply = once(&mut device.line, &device.label, command, cdb, data, timeout_ms)?;
        if reply.status == Status::Good {
            buffer.truncate(reply.transferred);
            return Ok(buffer);
        }
        let attention = matches!(reply.parsed_sense(),
            Some(Ok(sense)) if sense.key == SenseKey::UnitAttention);
        attentions += 1;
        if !attention || attentions > ATTENTIONS_MAX {
            let device = device.label.clone();
            return Err(Error::Refused { device, command, reply: Box::new(reply) });
        }
    }
}

/// Standard INQUIRY data: the bytes, and what they say.
pub(crate) fn inquiry(
    device: &mut Device,
    timeout_ms: u32,
) -> Result<(Vec<u8>, StandardInquiry), Error> {
    let allocation_length = 252;
    let cdb = Cdb::Inquiry { page: None, allocation_length };
    let bytes = read(device, "INQUIRY", &cdb, usize::from(allocation_length), timeout_ms)?;
    let parsed = StandardInquiry::parse(&bytes)
        .map_err(|error| malformed(device, "standard INQUIRY data", error))?;
    // What follows the additional length was not the device's to say.
    let length = usize::from(bytes.get(4).copied().unwrap_or(0)).saturating_add(5);
    let mut bytes = bytes;
    bytes.truncate(length);
    Ok((bytes, parsed))
}

/// A VPD page, whole.
pub(crate) fn page(device: &mut Device, page: u8, timeout_ms: u32) -> Result<Vec<u8>, Error> {
    const FIRST: u16 = 252;
    let command = "INQUIRY for a VPD page";
    let cdb = |allocation_length| Cdb::Inquiry { page: Some(page), allocation_length };
    let mut bytes = read(device, command, &cdb(FIRST), usize::from(FIRST), timeout_ms)?;
    let need =
        VpdPage::needed_length(&bytes).map_err(|error| malformed(device, "the VPD page", error))?;
    if need > u32::from(FIRST) {
        let length = u16::try_from(need).unwrap_or(u16::MAX);
        bytes = read(device, command, &cdb(length), usize::from(length), timeout_ms)?;
    }
    let whole = VpdPage::new(&bytes, page)
        .map_err(|error| malformed(device, "the VPD page", error))?
        .payload()
        .len()
        .saturating_add(4);
    bytes.truncate(whole);
    Ok(bytes)
}

pub(crate) fn malformed(
    device: &Device,
    what: &'static str,
    error: alua_core::spc::WireError,
) -> Error {
    Error::Malformed { device: device.label.clone(), what, error }
}
