//! REPORT TARGET PORT GROUPS parameter data and the SET TARGET PORT GROUPS parameter list (SPC-4 and
//! later; the extended header came with SPC-4).
//!
//! # Contract
//!
//! [`Report::parse`] checks every descriptor once; the iterators that walk them afterwards cannot
//! fail. A group without ports is accepted: SPC forbids it, LIO sent it for years. Two descriptors
//! with one group id are not this layer's business.
//!
//! Which header the data has is told by the data, never by what was asked for: targets exist that
//! ignore the request for the extended header and answer with the short one. Byte 4 tells: bits 6:4
//! are 001b in the extended header, and zero in the descriptor that stands there otherwise.

use core::iter::FusedIterator;

use super::bytes::{Sink, Written, claimed, header, length_field, size};
use super::cdb::ReportFormat;
use super::{Rule, WireError};
use crate::access::{AccessState, SupportedStates};

/// How a group came into its state: the STATUS CODE field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum StatusCode {
    /// 00h: no status given.
    #[default]
    None,
    /// 01h: changed by SET TARGET PORT GROUPS.
    ByStpg,
    /// 02h: changed by the target itself (implicit).
    Implicit,
    /// 03h to FFh: reserved, as sent.
    Reserved(u8),
}

impl StatusCode {
    /// The status with that code.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::None,
            1 => Self::ByStpg,
            2 => Self::Implicit,
            other => Self::Reserved(other),
        }
    }

    /// The code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::ByStpg => 1,
            Self::Implicit => 2,
            Self::Reserved(code) => code,
        }
    }
}

/// Checked REPORT TARGET PORT GROUPS parameter data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    format: ReportFormat,
    implicit_transition_secs: u8,
    descriptors: &'a [u8],
    header_not_counted: bool,
}

impl<'a> Report<'a> {
    /// Checks `data`: the bytes that were really transferred. What follows the RETURN DATA LENGTH
    /// is ignored.
    ///
    /// One departure from the format is let pass, because Linux's own target (LIO) has it: an
    /// extended report whose RETURN DATA LENGTH leaves out the four bytes that the extended header
    /// has more, so that exactly the last four bytes of the last descriptor are not transferred.
    /// See [`header_not_counted`](Self::header_not_counted).
    ///
    /// # Errors
    ///
    /// The data is shorter than its header or than its RETURN DATA LENGTH, or a descriptor is not
    /// whole. The offset in the error is counted from the start of `data`.
    pub fn parse(data: &'a [u8]) -> Result<Self, WireError> {
        let (length, rest) = header::<4>(data, RETURN_DATA_LENGTH)?;
        let length = size(u32::from_be_bytes(*length));
        let body = claimed(rest, length, RETURN_DATA_LENGTH, 0)?;
        let (format, implicit_transition_secs, descriptors, offset) = match body {
            [first, ..] if first & 0x70 != 0x10 => (ReportFormat::LengthOnly, 0, body, 4),
            [] => (ReportFormat::LengthOnly, 0, body, 4),
            [_, secs, _, _, rest @ ..] => (ReportFormat::Extended, *secs, rest, 8),
            short => {
                let rule = Rule::Truncated { need: 4, have: short.len() };
                return Err(WireError::new("extended header", 4, rule));
            }
        };
        let may_lack = if format == ReportFormat::Extended { EXTENSION } else { 0 };
        let header_not_counted = check_descriptors(descriptors, offset, may_lack)?;
        Ok(Self { format, implicit_transition_secs, descriptors, header_not_counted })
    }

    /// Whether the RETURN DATA LENGTH leaves out the extension of the header, so that the last
    /// descriptor lacks its last four bytes: the last port identifier, or, where the group has no
    /// port, the status code and the vendor's byte.
    #[must_use]
    pub const fn header_not_counted(&self) -> bool {
        self.header_not_counted
    }

    /// Bytes that the whole report has, by the first four bytes of `data`: what a buffer must hold
    /// to read it in one piece.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes are there, or the sum does not fit in 32 bits. A caller still must
    /// set its own limit before it allocates what a target asks for.
    pub fn needed_length(data: &[u8]) -> Result<u32, WireError> {
        let (length, _) = header::<4>(data, RETURN_DATA_LENGTH)?;
        let length = u32::from_be_bytes(*length);
        let rule = Rule::Value { found: length, expected: "at most FFFFFFFBh" };
        length.checked_add(4).ok_or(WireError::new(RETURN_DATA_LENGTH, 0, rule))
    }

    /// Which header the data has.
    #[must_use]
    pub const fn format(&self) -> ReportFormat {
        self.format
    }

    /// IMPLICIT TRANSITION TIME in seconds: how long an initiator should at least wait before it
    /// gives up an implicit transition. `None` where the data
    /// does not say: no extended header, or zero in it.
    #[must_use]
    pub const fn implicit_transition_secs(&self) -> Option<u8> {
        match self.implicit_transition_secs {
            0 => None,
            secs => Some(secs),
        }
    }

    /// The target port group descriptors, in the order of the data.
    #[must_use]
    pub const fn groups(&self) -> Groups<'a> {
        Groups { rest: self.descriptors }
    }
}

/// Checks that every descriptor is whole, or that the last one lacks exactly `may_lack` bytes at its
/// end. Returns whether it does.
fn check_descriptors(
    mut rest: &[u8],
    mut offset: usize,
    may_lack: usize,
) -> Result<bool, WireError> {
    let lacks = |need: usize, have: usize| {
        may_lack > 0 && have > 0 && have.saturating_add(may_lack) == need
    };
    while !rest.is_empty() {
        let Some((fields, after)) = rest.split_first_chunk::<DESCRIPTOR>() else {
            if lacks(DESCRIPTOR, rest.len()) {
                return Ok(true);
            }
            let rule = Rule::Truncated { need: DESCRIPTOR, have: rest.len() };
            return Err(WireError::new("target port group descriptor", offset, rule));
        };
        let [.., count] = *fields;
        let ports = usize::from(count).saturating_mul(PORT);
        let Some(next) = after.get(ports..) else {
            if lacks(DESCRIPTOR.saturating_add(ports), rest.len()) {
                return Ok(true);
            }
            let rule = Rule::Overrun { claimed: ports, available: after.len() };
            return Err(WireError::new("target port count", offset.saturating_add(7), rule));
        };
        rest = next;
        offset = offset.saturating_add(DESCRIPTOR).saturating_add(ports);
    }
    Ok(false)
}

/// Iterator over the descriptors of a [`Report`].
#[derive(Clone, Debug)]
pub struct Groups<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Groups<'a> {
    type Item = GroupDescriptor<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (fields, after) = match self.rest.split_first_chunk::<DESCRIPTOR>() {
            Some((fields, after)) => (*fields, after),
            None => {
                let [flags, supported, id_high, id_low] = *self.rest.first_chunk()?;
                ([flags, supported, id_high, id_low, 0, 0, 0, 0], &[][..])
            }
        };
        let [flags, supported, id_high, id_low, _, status, vendor, count] = fields;
        let ports = usize::from(count).saturating_mul(PORT).min(after.len());
        let (ports, rest) = after.split_at_checked(ports)?;
        self.rest = rest;
        Some(GroupDescriptor {
            preferred: flags & PREF != 0,
            state: AccessState::from_bits(flags),
            supported: SupportedStates::from_bits(supported),
            id: u16::from_be_bytes([id_high, id_low]),
            status: StatusCode::from_bits(status),
            vendor,
            ports: PortIds { rest: ports },
        })
    }
}

impl FusedIterator for Groups<'_> {}

/// One target port group descriptor.
#[derive(Clone, Debug)]
pub struct GroupDescriptor<'a> {
    /// PREF: the target prefers this group for the logical unit. It says nothing about the state.
    pub preferred: bool,
    /// The group's asymmetric access state, without PREF.
    pub state: AccessState,
    /// The states that the group supports.
    pub supported: SupportedStates,
    /// TARGET PORT GROUP: the id, unique only inside the logical unit.
    pub id: u16,
    /// How the group came into its state.
    pub status: StatusCode,
    /// Vendor specific byte.
    pub vendor: u8,
    /// Relative target port identifiers of the group's ports.
    pub ports: PortIds<'a>,
}

impl GroupDescriptor<'_> {
    /// The descriptor without its ports, as [`ReportWriter::push`] takes it.
    #[must_use]
    pub const fn fields(&self) -> GroupFields {
        GroupFields {
            preferred: self.preferred,
            state: self.state,
            supported: self.supported,
            id: self.id,
            status: self.status,
            vendor: self.vendor,
        }
    }
}

impl PartialEq for GroupDescriptor<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.fields() == other.fields() && self.ports.clone().eq(other.ports.clone())
    }
}

impl Eq for GroupDescriptor<'_> {}

/// Iterator over the relative target port identifiers of a group. Its length is the TARGET PORT
/// COUNT, or one less in the last group of a report whose [header was not
/// counted](Report::header_not_counted).
#[derive(Clone, Debug)]
pub struct PortIds<'a> {
    rest: &'a [u8],
}

impl Iterator for PortIds<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let ([_, _, high, low], rest) = self.rest.split_first_chunk::<PORT>()?;
        self.rest = rest;
        Some(u16::from_be_bytes([*high, *low]))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.rest.len() / PORT;
        (count, Some(count))
    }
}

impl ExactSizeIterator for PortIds<'_> {}
impl FusedIterator for PortIds<'_> {}

/// A target port group descriptor without its ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupFields {
    /// PREF.
    pub preferred: bool,
    /// The asymmetric access state.
    pub state: AccessState,
    /// The states that the group supports.
    pub supported: SupportedStates,
    /// TARGET PORT GROUP.
    pub id: u16,
    /// How the group came into its state.
    pub status: StatusCode,
    /// Vendor specific byte.
    pub vendor: u8,
}

/// Writes REPORT TARGET PORT GROUPS parameter data.
#[derive(Debug)]
pub struct ReportWriter<'b> {
    sink: Sink<'b>,
}

impl<'b> ReportWriter<'b> {
    /// Starts a report in `buffer`, of any size. `implicit_transition_secs` is written only with
    /// the extended header; zero says that no time is given.
    #[must_use]
    pub fn new(buffer: &'b mut [u8], format: ReportFormat, implicit_transition_secs: u8) -> Self {
        let mut sink = Sink::new(buffer);
        sink.put(&[0; 4]);
        if format == ReportFormat::Extended {
            sink.put(&[format.bits() << 4, implicit_transition_secs, 0, 0]);
        }
        Self { sink }
    }

    /// Adds a group with its ports, by relative target port identifier.
    ///
    /// # Errors
    ///
    /// More than 255 ports: the count field has one byte. Nothing is added then.
    pub fn push(
        &mut self,
        group: &GroupFields,
        ports: impl IntoIterator<Item = u16>,
    ) -> Result<(), WireError> {
        let start = self.sink.total();
        let [id_high, id_low] = group.id.to_be_bytes();
        let flags = group.state.bits() | if group.preferred { PREF } else { 0 };
        let (supported, status) = (group.supported.bits(), group.status.bits());
        self.sink.put(&[flags, supported, id_high, id_low, 0, status, group.vendor, 0]);
        let mut count = 0_u8;
        for port in ports {
            let Some(more) = count.checked_add(1) else {
                self.sink.rewind(start);
                let rule = Rule::Value { found: 256, expected: "at most 255" };
                return Err(WireError::new("target port count", start.saturating_add(7), rule));
            };
            count = more;
            let [high, low] = port.to_be_bytes();
            self.sink.put(&[0, 0, high, low]);
        }
        self.sink.patch(start.saturating_add(7), &[count]);
        Ok(())
    }

    /// Bytes of the report.
    ///
    /// # Errors
    ///
    /// The buffer is too small for the whole report, or the report too long for its length field.
    pub fn finish(mut self) -> Result<usize, WireError> {
        self.set_length()?;
        self.sink.finish("report target port groups data")
    }

    /// The report cut where the buffer ends, as the allocation length cuts it; its RETURN DATA
    /// LENGTH tells of all.
    ///
    /// # Errors
    ///
    /// The report is too long for its length field.
    pub fn finish_truncated(mut self) -> Result<Written, WireError> {
        self.set_length()?;
        Ok(self.sink.written())
    }

    fn set_length(&mut self) -> Result<(), WireError> {
        let length = length_field(self.sink.total(), 4, RETURN_DATA_LENGTH, 0)?;
        self.sink.patch(0, &length);
        Ok(())
    }
}

/// One descriptor of a SET TARGET PORT GROUPS parameter list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StpgDescriptor {
    /// The asymmetric access state asked for.
    pub state: AccessState,
    /// The target port group; for a request to go offline the relative target port identifier.
    pub id: u16,
}

/// A checked SET TARGET PORT GROUPS parameter list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StpgList<'a> {
    descriptors: &'a [u8],
}

impl<'a> StpgList<'a> {
    /// Checks a parameter list: `data` is as long as the PARAMETER LIST LENGTH of the command. A
    /// length of zero means that there is no list, which is no error and not for this function.
    ///
    /// # Errors
    ///
    /// The list is shorter than its header, or ends inside a descriptor.
    pub fn parse(data: &'a [u8]) -> Result<Self, WireError> {
        let (_, descriptors) = header::<4>(data, "set target port groups header")?;
        let cut = descriptors.len() % STPG_DESCRIPTOR;
        if cut != 0 {
            let offset = data.len().saturating_sub(cut);
            let rule = Rule::Truncated { need: STPG_DESCRIPTOR, have: cut };
            return Err(WireError::new("set target port group descriptor", offset, rule));
        }
        Ok(Self { descriptors })
    }

    /// The descriptors, in the order of the list.
    #[must_use]
    pub const fn iter(&self) -> StpgDescriptors<'a> {
        StpgDescriptors { rest: self.descriptors }
    }
}

impl<'a> IntoIterator for &StpgList<'a> {
    type Item = StpgDescriptor;
    type IntoIter = StpgDescriptors<'a>;

    fn into_iter(self) -> StpgDescriptors<'a> {
        self.iter()
    }
}

/// Iterator over the descriptors of a [`StpgList`].
#[derive(Clone, Debug)]
pub struct StpgDescriptors<'a> {
    rest: &'a [u8],
}

impl Iterator for StpgDescriptors<'_> {
    type Item = StpgDescriptor;

    fn next(&mut self) -> Option<StpgDescriptor> {
        let ([state, _, high, low], rest) = self.rest.split_first_chunk::<STPG_DESCRIPTOR>()?;
        self.rest = rest;
        let id = u16::from_be_bytes([*high, *low]);
        Some(StpgDescriptor { state: AccessState::from_bits(*state), id })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.rest.len() / STPG_DESCRIPTOR;
        (count, Some(count))
    }
}

impl ExactSizeIterator for StpgDescriptors<'_> {}
impl FusedIterator for StpgDescriptors<'_> {}

/// Encodes a SET TARGET PORT GROUPS parameter list into `buffer` and gives its length in bytes:
/// 4 and 4 for each descriptor.
///
/// # Errors
///
/// The buffer is too small.
pub fn encode_stpg(descriptors: &[StpgDescriptor], buffer: &mut [u8]) -> Result<usize, WireError> {
    let mut sink = Sink::new(buffer);
    sink.put(&[0; 4]);
    for descriptor in descriptors {
        let [high, low] = descriptor.id.to_be_bytes();
        sink.put(&[descriptor.state.bits(), 0, high, low]);
    }
    sink.finish("set target port groups list")
}

const RETURN_DATA_LENGTH: &str = "return data length";
const PREF: u8 = 0x80;
/// Bytes that the extended header has more than the other.
const EXTENSION: usize = 4;
const DESCRIPTOR: usize = 8;
const PORT: usize = 4;
const STPG_DESCRIPTOR: usize = 4;
