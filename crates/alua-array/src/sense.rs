//! Sense codes as the array file writes them, and sense data as it goes over the wire.

use std::fmt;

/// Sense keys that the model uses.
pub(crate) mod key {
    pub(crate) const NO_SENSE: u8 = 0x0;
    pub(crate) const NOT_READY: u8 = 0x2;
    pub(crate) const HARDWARE_ERROR: u8 = 0x4;
    pub(crate) const ILLEGAL_REQUEST: u8 = 0x5;
    pub(crate) const UNIT_ATTENTION: u8 = 0x6;
    pub(crate) const DATA_PROTECT: u8 = 0x7;
    pub(crate) const ABORTED_COMMAND: u8 = 0xb;
    pub(crate) const MISCOMPARE: u8 = 0xe;
}

/// An additional sense code with its qualifier, written `2a/06`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SenseCode {
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

impl SenseCode {
    /// 20/00 INVALID COMMAND OPERATION CODE.
    pub const INVALID_OPCODE: Self = Self::new(0x20, 0x00);
    /// 21/00 LOGICAL BLOCK ADDRESS OUT OF RANGE.
    pub const LBA_OUT_OF_RANGE: Self = Self::new(0x21, 0x00);
    /// 24/00 INVALID FIELD IN CDB.
    pub const INVALID_FIELD_IN_CDB: Self = Self::new(0x24, 0x00);
    /// 25/00 LOGICAL UNIT NOT SUPPORTED.
    pub const LUN_NOT_SUPPORTED: Self = Self::new(0x25, 0x00);
    /// 26/00 INVALID FIELD IN PARAMETER LIST.
    pub const INVALID_FIELD_IN_PARAMETER_LIST: Self = Self::new(0x26, 0x00);
    /// 1A/00 PARAMETER LIST LENGTH ERROR.
    pub const PARAMETER_LIST_LENGTH: Self = Self::new(0x1a, 0x00);
    /// 04/0A NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION.
    pub const TRANSITION: Self = Self::new(0x04, 0x0a);
    /// 04/0B NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE.
    pub const STANDBY: Self = Self::new(0x04, 0x0b);
    /// 04/0C NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE.
    pub const UNAVAILABLE: Self = Self::new(0x04, 0x0c);
    /// 04/12 NOT READY, OFFLINE.
    pub const OFFLINE: Self = Self::new(0x04, 0x12);
    /// 29/00 POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
    pub const POWER_ON: Self = Self::new(0x29, 0x00);
    /// 29/03 BUS DEVICE RESET FUNCTION OCCURRED.
    pub const DEVICE_RESET: Self = Self::new(0x29, 0x03);
    /// 29/07 I_T NEXUS LOSS OCCURRED.
    pub const NEXUS_LOSS: Self = Self::new(0x29, 0x07);
    /// 2A/01 MODE PARAMETERS CHANGED.
    pub const MODE_PARAMETERS_CHANGED: Self = Self::new(0x2a, 0x01);
    /// 2A/03 RESERVATIONS PREEMPTED.
    pub const RESERVATIONS_PREEMPTED: Self = Self::new(0x2a, 0x03);
    /// 2A/04 RESERVATIONS RELEASED.
    pub const RESERVATIONS_RELEASED: Self = Self::new(0x2a, 0x04);
    /// 2A/05 REGISTRATIONS PREEMPTED.
    pub const REGISTRATIONS_PREEMPTED: Self = Self::new(0x2a, 0x05);
    /// 2A/06 ASYMMETRIC ACCESS STATE CHANGED.
    pub const STATE_CHANGED: Self = Self::new(0x2a, 0x06);
    /// 2A/07 IMPLICIT ASYMMETRIC ACCESS STATE TRANSITION FAILED.
    pub const TRANSITION_FAILED: Self = Self::new(0x2a, 0x07);
    /// 2A/09 CAPACITY DATA HAS CHANGED.
    pub const CAPACITY_CHANGED: Self = Self::new(0x2a, 0x09);
    /// 2F/00 COMMANDS CLEARED BY ANOTHER INITIATOR.
    pub const COMMANDS_CLEARED: Self = Self::new(0x2f, 0x00);
    /// 3F/03 INQUIRY DATA HAS CHANGED.
    pub const INQUIRY_CHANGED: Self = Self::new(0x3f, 0x03);
    /// 3F/05 DEVICE IDENTIFIER CHANGED.
    pub const IDENTIFIER_CHANGED: Self = Self::new(0x3f, 0x05);
    /// 3F/0E REPORTED LUNS DATA HAS CHANGED.
    pub const LUNS_CHANGED: Self = Self::new(0x3f, 0x0e);
    /// 3F/15 INSPECT REFERRALS SENSE DESCRIPTORS.
    pub const INSPECT_REFERRALS: Self = Self::new(0x3f, 0x15);
    /// 67/0A SET TARGET PORT GROUPS COMMAND FAILED.
    pub const STPG_FAILED: Self = Self::new(0x67, 0x0a);

    /// The code `asc`/`ascq`.
    #[must_use]
    pub const fn new(asc: u8, ascq: u8) -> Self {
        Self { asc, ascq }
    }

    /// Reads `2a/06`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (asc, ascq) = text.split_once('/')?;
        Some(Self::new(hex_byte(asc)?, hex_byte(ascq)?))
    }
}

impl fmt::Display for SenseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}/{:02x}", self.asc, self.ascq)
    }
}

/// A sense key with its code, written `2/04/0a`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SenseTriple {
    /// Sense key, 0 to 15.
    pub key: u8,
    /// The code.
    pub code: SenseCode,
}

impl SenseTriple {
    /// The triple `key`/`code`.
    #[must_use]
    pub const fn new(key: u8, code: SenseCode) -> Self {
        Self { key, code }
    }

    /// Reads `2/04/0a`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (key, code) = text.split_once('/')?;
        let key = hex_byte(key).filter(|&key| key <= 0xf)?;
        Some(Self::new(key, SenseCode::from_text(code)?))
    }
}

impl fmt::Display for SenseTriple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}/{}", self.key, self.code)
    }
}

fn hex_byte(text: &str) -> Option<u8> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// Sense data as it went over the wire.
#[derive(Clone, Copy)]
pub struct SenseBytes {
    length: u8,
    bytes: [u8; Self::CAPACITY],
}

impl SenseBytes {
    /// The most bytes that the model sends: room for the referral of a segment to 23 groups.
    pub const CAPACITY: usize = 124;

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// Key and code, wherever the format has them.
    #[must_use]
    pub fn triple(&self) -> SenseTriple {
        let [_, a, b, c, ..] = self.bytes;
        if self.bytes[0] & 0x7f >= 0x72 {
            SenseTriple::new(a & 0x0f, SenseCode::new(b, c))
        } else {
            SenseTriple::new(b & 0x0f, SenseCode::new(self.bytes[12], self.bytes[13]))
        }
    }
}

impl PartialEq for SenseBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for SenseBytes {}

impl fmt::Debug for SenseBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02x?}", self.triple(), self.as_bytes())
    }
}

/// What to say in sense data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sense {
    pub(crate) triple: SenseTriple,
    pub(crate) information: Option<u64>,
    /// Byte of the CDB (true) or of the parameter list (false) that is at fault.
    pub(crate) field: Option<(bool, u16)>,
    pub(crate) attention_overflow: bool,
}

impl Sense {
    pub(crate) const fn new(key: u8, code: SenseCode) -> Self {
        Self {
            triple: SenseTriple::new(key, code),
            information: None,
            field: None,
            attention_overflow: false,
        }
    }

    pub(crate) const fn illegal(code: SenseCode) -> Self {
        Self::new(key::ILLEGAL_REQUEST, code)
    }

    /// ILLEGAL REQUEST, invalid field in CDB, at that byte.
    pub(crate) const fn cdb_field(byte: u16) -> Self {
        let mut sense = Self::illegal(SenseCode::INVALID_FIELD_IN_CDB);
        sense.field = Some((true, byte));
        sense
    }

    /// ILLEGAL REQUEST, invalid field in parameter list, at that byte.
    pub(crate) const fn list_field(byte: u16) -> Self {
        let mut sense = Self::illegal(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST);
        sense.field = Some((false, byte));
        sense
    }

    pub(crate) const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    fn specific(&self) -> Option<[u8; 3]> {
        if let Some((cdb, byte)) = self.field {
            let [high, low] = byte.to_be_bytes();
            return Some([if cdb { 0xc0 } else { 0x80 }, high, low]);
        }
        self.attention_overflow.then_some([0x81, 0, 0])
    }

    /// The bytes, in fixed or descriptor format.
    pub(crate) fn encode(&self, descriptor: bool) -> SenseBytes {
        let mut bytes = [0; SenseBytes::CAPACITY];
        let SenseTriple { key, code } = self.triple;
        let length = if descriptor {
            bytes[..4].copy_from_slice(&[0x72, key, code.asc, code.ascq]);
            let mut at = 8;
            if let Some(information) = self.information {
                bytes[at..at + 4].copy_from_slice(&[0x00, 0x0a, 0x80, 0]);
                bytes[at + 4..at + 12].copy_from_slice(&information.to_be_bytes());
                at += 12;
            }
            if let Some(specific) = self.specific() {
                bytes[at..at + 2].copy_from_slice(&[0x02, 0x06]);
                bytes[at + 4..at + 7].copy_from_slice(&specific);
                at += 8;
            }
            bytes[7] = (at - 8) as u8;
            at
        } else {
            bytes[0] = 0x70;
            bytes[2] = key;
            bytes[7] = 10;
            bytes[12] = code.asc;
            bytes[13] = code.ascq;
            // The fixed format has 32 bits for it: a larger value is left out.
            if let Some(information) = self.information.and_then(|value| u32::try_from(value).ok())
            {
                bytes[0] |= 0x80;
                bytes[3..7].copy_from_slice(&information.to_be_bytes());
            }
            if let Some(specific) = self.specific() {
                bytes[15..18].copy_from_slice(&specific);
            }
            18
        };
        SenseBytes { length: length as u8, bytes }
    }
}

impl SenseBytes {
    /// The same sense data, in descriptor format, with one more descriptor. It is left out when
    /// there is no room for all of it.
    pub(crate) fn with_descriptor(mut self, descriptor: &[u8]) -> Self {
        let from = usize::from(self.length);
        if let Some(room) = self.bytes.get_mut(from..from + descriptor.len()) {
            room.copy_from_slice(descriptor);
            self.length += descriptor.len() as u8;
            self.bytes[7] += descriptor.len() as u8;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip() {
        for code in [SenseCode::STATE_CHANGED, SenseCode::STPG_FAILED] {
            assert_eq!(SenseCode::from_text(&code.to_string()), Some(code));
        }
        let triple = SenseTriple::new(2, SenseCode::TRANSITION);
        assert_eq!(triple.to_string(), "2/04/0a");
        assert_eq!(SenseTriple::from_text("2/4/A"), Some(triple));
        for wrong in ["", "2a", "2a/", "2a/0006", "+2/06", "g/00", "2a/06/01"] {
            assert_eq!(SenseCode::from_text(wrong), None, "{wrong:?}");
        }
        assert_eq!(SenseTriple::from_text("10/04/0a"), None);
    }

    #[test]
    fn both_formats_tell_the_same() {
        let sense = Sense::cdb_field(2).with_information(7);
        for descriptor in [false, true] {
            let bytes = sense.encode(descriptor);
            assert_eq!(bytes.triple().to_string(), "5/24/00");
        }
        assert_eq!(sense.encode(false).as_bytes().len(), 18);
        assert_eq!(sense.encode(true).as_bytes().len(), 28);
        assert_eq!(sense.encode(false).as_bytes()[15..18], [0xc0, 0, 2]);
    }
}
