//! Command descriptor blocks: the commands that an ALUA initiator sends and an ALUA device server
//! answers.
//!
//! # Contract
//!
//! [`Cdb::decode`] reads the fields that SPC defines for the command and ignores reserved bits and
//! the CONTROL byte. It refuses an operation code, a service action or a parameter data format that
//! is none of ours; [`WireError::offset`] is then the byte that a device server names in the field
//! pointer of ILLEGAL REQUEST. Bytes past the command's length are ignored: transports that carry
//! a fixed 16-byte field pad with zero.

use super::bytes::{be16, be32, be64, byte};
use super::{Rule, WireError};

/// Operation codes (SPC-4 and later, SBC-3 and later), and the service actions of those that
/// have them.
pub mod opcode {
    /// TEST UNIT READY.
    pub const TEST_UNIT_READY: u8 = 0x00;
    /// REQUEST SENSE.
    pub const REQUEST_SENSE: u8 = 0x03;
    /// FORMAT UNIT.
    pub const FORMAT_UNIT: u8 = 0x04;
    /// READ (6).
    pub const READ_6: u8 = 0x08;
    /// WRITE (6).
    pub const WRITE_6: u8 = 0x0a;
    /// INQUIRY.
    pub const INQUIRY: u8 = 0x12;
    /// MODE SELECT (6).
    pub const MODE_SELECT_6: u8 = 0x15;
    /// RESERVE (6).
    pub const RESERVE_6: u8 = 0x16;
    /// RELEASE (6).
    pub const RELEASE_6: u8 = 0x17;
    /// MODE SENSE (6).
    pub const MODE_SENSE_6: u8 = 0x1a;
    /// START STOP UNIT.
    pub const START_STOP_UNIT: u8 = 0x1b;
    /// RECEIVE DIAGNOSTIC RESULTS.
    pub const RECEIVE_DIAGNOSTIC_RESULTS: u8 = 0x1c;
    /// SEND DIAGNOSTIC.
    pub const SEND_DIAGNOSTIC: u8 = 0x1d;
    /// PREVENT ALLOW MEDIUM REMOVAL.
    pub const PREVENT_ALLOW_MEDIUM_REMOVAL: u8 = 0x1e;
    /// READ CAPACITY (10).
    pub const READ_CAPACITY_10: u8 = 0x25;
    /// READ (10).
    pub const READ_10: u8 = 0x28;
    /// WRITE (10).
    pub const WRITE_10: u8 = 0x2a;
    /// WRITE AND VERIFY (10).
    pub const WRITE_AND_VERIFY_10: u8 = 0x2e;
    /// VERIFY (10).
    pub const VERIFY_10: u8 = 0x2f;
    /// PRE-FETCH (10).
    pub const PRE_FETCH_10: u8 = 0x34;
    /// SYNCHRONIZE CACHE (10).
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    /// WRITE BUFFER.
    pub const WRITE_BUFFER: u8 = 0x3b;
    /// READ BUFFER (10).
    pub const READ_BUFFER_10: u8 = 0x3c;
    /// WRITE SAME (10).
    pub const WRITE_SAME_10: u8 = 0x41;
    /// UNMAP.
    pub const UNMAP: u8 = 0x42;
    /// LOG SELECT.
    pub const LOG_SELECT: u8 = 0x4c;
    /// LOG SENSE.
    pub const LOG_SENSE: u8 = 0x4d;
    /// MODE SELECT (10).
    pub const MODE_SELECT_10: u8 = 0x55;
    /// RESERVE (10).
    pub const RESERVE_10: u8 = 0x56;
    /// RELEASE (10).
    pub const RELEASE_10: u8 = 0x57;
    /// MODE SENSE (10).
    pub const MODE_SENSE_10: u8 = 0x5a;
    /// PERSISTENT RESERVE IN.
    pub const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    /// PERSISTENT RESERVE OUT.
    pub const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
    /// Third-party copy OUT commands (EXTENDED COPY).
    pub const THIRD_PARTY_COPY_OUT: u8 = 0x83;
    /// Third-party copy IN commands (RECEIVE COPY RESULTS).
    pub const THIRD_PARTY_COPY_IN: u8 = 0x84;
    /// ATA PASS-THROUGH (16).
    pub const ATA_PASS_THROUGH_16: u8 = 0x85;
    /// READ (16).
    pub const READ_16: u8 = 0x88;
    /// COMPARE AND WRITE.
    pub const COMPARE_AND_WRITE: u8 = 0x89;
    /// WRITE (16).
    pub const WRITE_16: u8 = 0x8a;
    /// ORWRITE (16).
    pub const ORWRITE_16: u8 = 0x8b;
    /// READ ATTRIBUTE.
    pub const READ_ATTRIBUTE: u8 = 0x8c;
    /// WRITE ATTRIBUTE.
    pub const WRITE_ATTRIBUTE: u8 = 0x8d;
    /// WRITE AND VERIFY (16).
    pub const WRITE_AND_VERIFY_16: u8 = 0x8e;
    /// VERIFY (16).
    pub const VERIFY_16: u8 = 0x8f;
    /// SYNCHRONIZE CACHE (16).
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    /// WRITE SAME (16).
    pub const WRITE_SAME_16: u8 = 0x93;
    /// WRITE ATOMIC (16).
    pub const WRITE_ATOMIC_16: u8 = 0x9c;
    /// SERVICE ACTION IN (16): READ CAPACITY (16), REPORT REFERRALS and others.
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    /// SERVICE ACTION OUT (16).
    pub const SERVICE_ACTION_OUT_16: u8 = 0x9f;
    /// REPORT LUNS.
    pub const REPORT_LUNS: u8 = 0xa0;
    /// SECURITY PROTOCOL IN.
    pub const SECURITY_PROTOCOL_IN: u8 = 0xa2;
    /// MAINTENANCE IN: REPORT TARGET PORT GROUPS and others.
    pub const MAINTENANCE_IN: u8 = 0xa3;
    /// MAINTENANCE OUT: SET TARGET PORT GROUPS and others.
    pub const MAINTENANCE_OUT: u8 = 0xa4;
    /// READ (12).
    pub const READ_12: u8 = 0xa8;
    /// WRITE (12).
    pub const WRITE_12: u8 = 0xaa;
    /// SECURITY PROTOCOL OUT.
    pub const SECURITY_PROTOCOL_OUT: u8 = 0xb5;

    /// Service action of [`SERVICE_ACTION_IN_16`]: READ CAPACITY (16).
    pub const READ_CAPACITY_16: u8 = 0x10;
    /// Service action of [`SERVICE_ACTION_IN_16`]: REPORT REFERRALS.
    pub const REPORT_REFERRALS: u8 = 0x13;
    /// Service action of [`MAINTENANCE_IN`]: REPORT TARGET PORT GROUPS.
    pub const REPORT_TARGET_PORT_GROUPS: u8 = 0x0a;
    /// Service action of [`MAINTENANCE_IN`]: REPORT SUPPORTED OPERATION CODES.
    pub const REPORT_SUPPORTED_OPERATION_CODES: u8 = 0x0c;
    /// Service action of [`MAINTENANCE_OUT`]: SET TARGET PORT GROUPS.
    pub const SET_TARGET_PORT_GROUPS: u8 = 0x0a;

    /// The length of a CDB in bytes by the group code of its operation code (bits 7:5); `None` for variable-length, reserved and vendor specific groups.
    #[must_use]
    pub const fn cdb_length(opcode: u8) -> Option<usize> {
        match opcode >> 5 {
            0 => Some(6),
            1 | 2 => Some(10),
            4 => Some(16),
            5 => Some(12),
            _ => None,
        }
    }
}

/// The parameter data format of REPORT TARGET PORT GROUPS: which header the data has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReportFormat {
    /// 000b: a 4-byte header that holds only the length.
    LengthOnly,
    /// 001b: an 8-byte header that also holds the implicit transition time. Not every target
    /// accepts a request for it.
    Extended,
}

impl ReportFormat {
    /// The three-bit code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::LengthOnly => 0,
            Self::Extended => 1,
        }
    }

    /// Bytes of the header.
    #[must_use]
    pub const fn header_length(self) -> usize {
        match self {
            Self::LengthOnly => 4,
            Self::Extended => 8,
        }
    }
}

/// A command, decoded. Lengths are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cdb {
    /// TEST UNIT READY (00h).
    TestUnitReady,
    /// INQUIRY (12h).
    Inquiry {
        /// The vital product data page asked for (EVPD 1), or standard data (EVPD 0).
        page: Option<u8>,
        /// At most this much data is transferred.
        allocation_length: u16,
    },
    /// REQUEST SENSE (03h).
    RequestSense {
        /// DESC: descriptor format sense data is asked for.
        descriptor_format: bool,
        /// At most this much data is transferred.
        allocation_length: u8,
    },
    /// REPORT LUNS (A0h).
    ReportLuns {
        /// SELECT REPORT: 0 the logical units without well known ones, 1 only those, 2 all.
        select_report: u8,
        /// At most this much data is transferred.
        allocation_length: u32,
    },
    /// REPORT TARGET PORT GROUPS (A3h, service action 0Ah).
    ReportTargetPortGroups {
        /// The header asked for. The data itself says which one it has.
        format: ReportFormat,
        /// At most this much data is transferred.
        allocation_length: u32,
    },
    /// SET TARGET PORT GROUPS (A4h, service action 0Ah).
    SetTargetPortGroups {
        /// Length of the parameter list that follows; zero asks for nothing.
        parameter_list_length: u32,
    },
    /// REPORT REFERRALS (9Eh, service action 13h; SBC-3).
    ReportReferrals {
        /// The first user data segment reported holds this logical block.
        lba: u64,
        /// At most this much data is transferred.
        allocation_length: u32,
        /// ONE_SEG: only that segment is reported.
        one_segment: bool,
    },
}

impl Cdb {
    /// The command's bytes.
    #[must_use]
    pub fn encode(&self) -> CdbBytes {
        let mut bytes = [0; 16];
        let length = match *self {
            Self::TestUnitReady => 6,
            Self::Inquiry { page, allocation_length } => {
                let [high, low] = allocation_length.to_be_bytes();
                let evpd = u8::from(page.is_some());
                start(&mut bytes, &[opcode::INQUIRY, evpd, page.unwrap_or(0), high, low]);
                6
            }
            Self::RequestSense { descriptor_format, allocation_length } => {
                let desc = u8::from(descriptor_format);
                start(&mut bytes, &[opcode::REQUEST_SENSE, desc, 0, 0, allocation_length]);
                6
            }
            Self::ReportLuns { select_report, allocation_length } => {
                let [a, b, c, d] = allocation_length.to_be_bytes();
                let report = select_report;
                start(&mut bytes, &[opcode::REPORT_LUNS, 0, report, 0, 0, 0, a, b, c, d]);
                12
            }
            Self::ReportTargetPortGroups { format, allocation_length } => {
                let [a, b, c, d] = allocation_length.to_be_bytes();
                let action = opcode::REPORT_TARGET_PORT_GROUPS | format.bits() << 5;
                start(&mut bytes, &[opcode::MAINTENANCE_IN, action, 0, 0, 0, 0, a, b, c, d]);
                12
            }
            Self::SetTargetPortGroups { parameter_list_length } => {
                let [a, b, c, d] = parameter_list_length.to_be_bytes();
                let action = opcode::SET_TARGET_PORT_GROUPS;
                start(&mut bytes, &[opcode::MAINTENANCE_OUT, action, 0, 0, 0, 0, a, b, c, d]);
                12
            }
            Self::ReportReferrals { lba, allocation_length, one_segment } => {
                let [l0, l1, l2, l3, l4, l5, l6, l7] = lba.to_be_bytes();
                let [a, b, c, d] = allocation_length.to_be_bytes();
                let (code, action) = (opcode::SERVICE_ACTION_IN_16, opcode::REPORT_REFERRALS);
                let one = u8::from(one_segment);
                bytes = [code, action, l0, l1, l2, l3, l4, l5, l6, l7, a, b, c, d, one, 0];
                16
            }
        };
        CdbBytes { bytes, length }
    }

    /// The command in `cdb`.
    ///
    /// # Errors
    ///
    /// The CDB is shorter than its command, or its operation code, service action or another field
    /// is one that this type does not know.
    pub fn decode(cdb: &[u8]) -> Result<Self, WireError> {
        let Some(&code) = cdb.first() else {
            let rule = Rule::Truncated { need: 6, have: 0 };
            return Err(WireError::new("operation code", 0, rule));
        };
        match code {
            opcode::TEST_UNIT_READY => whole(cdb, 6).map(|_| Self::TestUnitReady),
            opcode::REQUEST_SENSE => whole(cdb, 6).map(|cdb| Self::RequestSense {
                descriptor_format: byte(cdb, 1) & 0x01 != 0,
                allocation_length: byte(cdb, 4),
            }),
            opcode::INQUIRY => decode_inquiry(whole(cdb, 6)?),
            opcode::REPORT_LUNS => whole(cdb, 12).map(|cdb| Self::ReportLuns {
                select_report: byte(cdb, 2),
                allocation_length: be32(cdb, 6).unwrap_or(0),
            }),
            opcode::MAINTENANCE_IN => decode_maintenance_in(whole(cdb, 12)?),
            opcode::MAINTENANCE_OUT => {
                let cdb = whole(cdb, 12)?;
                service_action(cdb, opcode::SET_TARGET_PORT_GROUPS, "0Ah")?;
                Ok(Self::SetTargetPortGroups { parameter_list_length: be32(cdb, 6).unwrap_or(0) })
            }
            opcode::SERVICE_ACTION_IN_16 => {
                let cdb = whole(cdb, 16)?;
                service_action(cdb, opcode::REPORT_REFERRALS, "13h")?;
                Ok(Self::ReportReferrals {
                    lba: be64(cdb, 2).unwrap_or(0),
                    allocation_length: be32(cdb, 10).unwrap_or(0),
                    one_segment: byte(cdb, 14) & 0x01 != 0,
                })
            }
            _ => Err(value("operation code", 0, code, "a command of this type")),
        }
    }
}

fn decode_inquiry(cdb: &[u8]) -> Result<Cdb, WireError> {
    let page = byte(cdb, 2);
    let page = match byte(cdb, 1) & 0x03 {
        0 if page != 0 => return Err(value("page code", 2, page, "0 where EVPD is 0")),
        0 => None,
        1 => Some(page),
        // CMDDT, obsolete since SPC-3.
        bits => return Err(value("cmddt and evpd", 1, bits, "0 or 1")),
    };
    Ok(Cdb::Inquiry { page, allocation_length: be16(cdb, 3).unwrap_or(0) })
}

fn decode_maintenance_in(cdb: &[u8]) -> Result<Cdb, WireError> {
    service_action(cdb, opcode::REPORT_TARGET_PORT_GROUPS, "0Ah")?;
    let format = match byte(cdb, 1) >> 5 {
        0 => ReportFormat::LengthOnly,
        1 => ReportFormat::Extended,
        other => return Err(value("parameter data format", 1, other, "0 or 1")),
    };
    let allocation_length = be32(cdb, 6).unwrap_or(0);
    Ok(Cdb::ReportTargetPortGroups { format, allocation_length })
}

fn service_action(cdb: &[u8], wanted: u8, expected: &'static str) -> Result<(), WireError> {
    let found = byte(cdb, 1) & 0x1f;
    if found == wanted { Ok(()) } else { Err(value("service action", 1, found, expected)) }
}

fn whole(cdb: &[u8], need: usize) -> Result<&[u8], WireError> {
    cdb.get(..need).ok_or(WireError::new("cdb", 0, Rule::Truncated { need, have: cdb.len() }))
}

fn value(field: &'static str, offset: usize, found: u8, expected: &'static str) -> WireError {
    WireError::new(field, offset, Rule::Value { found: found.into(), expected })
}

fn start(bytes: &mut [u8; 16], fields: &[u8]) {
    for (place, field) in bytes.iter_mut().zip(fields) {
        *place = *field;
    }
}

/// An encoded command: 6, 12 or 16 bytes, held in 16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CdbBytes {
    bytes: [u8; 16],
    length: u8,
}

impl CdbBytes {
    /// The command's bytes, without padding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes)
    }

    /// The command's bytes, padded with zero to the 16 that iSCSI carries.
    #[must_use]
    pub const fn padded(&self) -> &[u8; 16] {
        &self.bytes
    }
}

impl AsRef<[u8]> for CdbBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}
