//! Sense data, fixed and descriptor format (SPC-4 and later).
//!
//! # Contract
//!
//! Sense data may be cut anywhere, by an allocation length or by a transport, and its length field
//! does not tell. [`Sense::parse`] reads what was not transferred as zero, as Linux does, as soon
//! as the sense key is there. What ALUA lives on (key, ASC, ASCQ) is
//! never lost to a malformed descriptor behind it: such a descriptor ends the walk, and
//! [`descriptors`] tells what is wrong with it.

use core::fmt;
use core::iter::FusedIterator;

use super::bytes::{Sink, be32, be64, byte};
use super::referrals::ReferralSense;
use super::{Rule, WireError};

pub use super::asc::asc_text;

/// The SENSE KEY field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SenseKey {
    /// 0h NO SENSE.
    NoSense,
    /// 1h RECOVERED ERROR.
    RecoveredError,
    /// 2h NOT READY.
    NotReady,
    /// 3h MEDIUM ERROR.
    MediumError,
    /// 4h HARDWARE ERROR.
    HardwareError,
    /// 5h ILLEGAL REQUEST.
    IllegalRequest,
    /// 6h UNIT ATTENTION.
    UnitAttention,
    /// 7h DATA PROTECT.
    DataProtect,
    /// 8h BLANK CHECK.
    BlankCheck,
    /// 9h VENDOR SPECIFIC.
    VendorSpecific,
    /// Ah COPY ABORTED.
    CopyAborted,
    /// Bh ABORTED COMMAND.
    AbortedCommand,
    /// Ch, reserved (EQUAL before SPC-3).
    Reserved,
    /// Dh VOLUME OVERFLOW.
    VolumeOverflow,
    /// Eh MISCOMPARE.
    Miscompare,
    /// Fh COMPLETED.
    Completed,
}

impl SenseKey {
    /// Every key, in the order of its code.
    pub const ALL: [Self; 16] = [
        Self::NoSense,
        Self::RecoveredError,
        Self::NotReady,
        Self::MediumError,
        Self::HardwareError,
        Self::IllegalRequest,
        Self::UnitAttention,
        Self::DataProtect,
        Self::BlankCheck,
        Self::VendorSpecific,
        Self::CopyAborted,
        Self::AbortedCommand,
        Self::Reserved,
        Self::VolumeOverflow,
        Self::Miscompare,
        Self::Completed,
    ];

    /// The key in the low four bits of `bits`.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0x9 => Self::VendorSpecific,
            0xa => Self::CopyAborted,
            0xb => Self::AbortedCommand,
            0xc => Self::Reserved,
            0xd => Self::VolumeOverflow,
            0xe => Self::Miscompare,
            _ => Self::Completed,
        }
    }

    /// The four-bit code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::NoSense => 0x0,
            Self::RecoveredError => 0x1,
            Self::NotReady => 0x2,
            Self::MediumError => 0x3,
            Self::HardwareError => 0x4,
            Self::IllegalRequest => 0x5,
            Self::UnitAttention => 0x6,
            Self::DataProtect => 0x7,
            Self::BlankCheck => 0x8,
            Self::VendorSpecific => 0x9,
            Self::CopyAborted => 0xa,
            Self::AbortedCommand => 0xb,
            Self::Reserved => 0xc,
            Self::VolumeOverflow => 0xd,
            Self::Miscompare => 0xe,
            Self::Completed => 0xf,
        }
    }

    /// The name, in SPC's capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSense => "NO SENSE",
            Self::RecoveredError => "RECOVERED ERROR",
            Self::NotReady => "NOT READY",
            Self::MediumError => "MEDIUM ERROR",
            Self::HardwareError => "HARDWARE ERROR",
            Self::IllegalRequest => "ILLEGAL REQUEST",
            Self::UnitAttention => "UNIT ATTENTION",
            Self::DataProtect => "DATA PROTECT",
            Self::BlankCheck => "BLANK CHECK",
            Self::VendorSpecific => "VENDOR SPECIFIC",
            Self::CopyAborted => "COPY ABORTED",
            Self::AbortedCommand => "ABORTED COMMAND",
            Self::Reserved => "RESERVED KEY Ch",
            Self::VolumeOverflow => "VOLUME OVERFLOW",
            Self::Miscompare => "MISCOMPARE",
            Self::Completed => "COMPLETED",
        }
    }
}

impl fmt::Display for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How sense data is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SenseFormat {
    /// Response codes 70h and 71h.
    Fixed,
    /// Response codes 72h and 73h.
    Descriptor,
}

/// The field that ILLEGAL REQUEST complains of: the sense-key specific field pointer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FieldPointer {
    /// C/D: the field is in the CDB, not in the parameter data.
    pub in_cdb: bool,
    /// The byte, counted from zero.
    pub byte: u16,
    /// The bit, where BPV says that it is valid: the field's most significant, 0 to 7.
    pub bit: Option<u8>,
}

/// Sense data, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sense {
    /// INFORMATION, where VALID says that it is valid.
    pub information: Option<u64>,
    /// Progress of what goes on, in 65536ths: with NO SENSE and NOT READY.
    pub progress: Option<u16>,
    /// What is wrong with the command: with ILLEGAL REQUEST.
    pub field_pointer: Option<FieldPointer>,
    /// The sense data speaks of an earlier command (response codes 71h and 73h).
    pub deferred: bool,
    /// SENSE KEY.
    pub key: SenseKey,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
    /// How the sense data was, or will be, laid out.
    pub format: SenseFormat,
    /// OVERFLOW: unit attentions were lost; with UNIT ATTENTION.
    pub unit_attention_overflow: bool,
}

impl Sense {
    /// Bytes of fixed format sense data.
    pub const FIXED_LENGTH: usize = 18;
    /// Bytes of the longest descriptor format sense data that [`emit_descriptor`] writes.
    ///
    /// [`emit_descriptor`]: Self::emit_descriptor
    pub const DESCRIPTOR_LENGTH: usize = 28;
    /// SPC's limit: no sense data is longer.
    pub const MAX_LENGTH: usize = 252;

    /// Current sense data in fixed format with nothing but the three codes.
    #[must_use]
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self {
            information: None,
            progress: None,
            field_pointer: None,
            deferred: false,
            key,
            asc,
            ascq,
            format: SenseFormat::Fixed,
            unit_attention_overflow: false,
        }
    }

    /// Reads `data`, as much of a sense buffer as was filled.
    ///
    /// # Errors
    ///
    /// The data ends before the sense key, or the response code is none of 70h to 73h.
    pub fn parse(data: &[u8]) -> Result<Self, WireError> {
        let Some(&first) = data.first() else {
            let rule = Rule::Truncated { need: 1, have: 0 };
            return Err(WireError::new("response code", 0, rule));
        };
        let (format, deferred) = match first & 0x7f {
            0x70 => (SenseFormat::Fixed, false),
            0x71 => (SenseFormat::Fixed, true),
            0x72 => (SenseFormat::Descriptor, false),
            0x73 => (SenseFormat::Descriptor, true),
            code => {
                let rule = Rule::Value { found: code.into(), expected: "70h to 73h" };
                return Err(WireError::new("response code", 0, rule));
            }
        };
        let mut sense = Self::new(SenseKey::NoSense, 0, 0);
        sense.deferred = deferred;
        sense.format = format;
        match format {
            SenseFormat::Fixed => sense.read_fixed(first, data)?,
            SenseFormat::Descriptor => sense.read_descriptor(data)?,
        }
        Ok(sense)
    }

    /// Key, ASC and ASCQ, to match on.
    #[must_use]
    pub const fn codes(&self) -> (SenseKey, u8, u8) {
        (self.key, self.asc, self.ascq)
    }

    /// Writes fixed format sense data and gives its length,
    /// [`FIXED_LENGTH`](Self::FIXED_LENGTH). INFORMATION of more than 32 bits has no place in it
    /// and is left out, as SPC has it.
    ///
    /// # Errors
    ///
    /// The buffer is too small.
    pub fn emit_fixed(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let information = self.information.and_then(|value| u32::try_from(value).ok());
        let valid = if information.is_some() { 0x80 } else { 0 };
        let code = 0x70 | u8::from(self.deferred) | valid;
        let [i0, i1, i2, i3] = information.unwrap_or(0).to_be_bytes();
        let [s0, s1, s2] = self.key_specific().unwrap_or([0; 3]);
        let key = self.key.bits();
        let mut sink = Sink::new(buffer);
        sink.put(&[code, 0, key, i0, i1, i2, i3, 10, 0, 0, 0, 0]);
        sink.put(&[self.asc, self.ascq, 0, s0, s1, s2]);
        sink.finish("fixed format sense data")
    }

    /// Writes descriptor format sense data and gives its length, 8 to
    /// [`DESCRIPTOR_LENGTH`](Self::DESCRIPTOR_LENGTH) bytes.
    ///
    /// # Errors
    ///
    /// The buffer is too small.
    pub fn emit_descriptor(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        self.emit_descriptor_with(&[], buffer)
    }

    /// As [`emit_descriptor`](Self::emit_descriptor), with further descriptors, already encoded,
    /// at the end: those of a [`ReferralWriter`](super::referrals::ReferralWriter), for instance.
    ///
    /// # Errors
    ///
    /// The buffer is too small, or all would be longer than
    /// [`MAX_LENGTH`](Self::MAX_LENGTH).
    pub fn emit_descriptor_with(
        &self,
        further: &[u8],
        buffer: &mut [u8],
    ) -> Result<usize, WireError> {
        let code = 0x72 | u8::from(self.deferred);
        let mut sink = Sink::new(buffer);
        sink.put(&[code, self.key.bits(), self.asc, self.ascq, 0, 0, 0, 0]);
        if let Some(information) = self.information {
            sink.put(&[INFORMATION, 0x0a, 0x80, 0]);
            sink.put(&information.to_be_bytes());
        }
        if let Some([s0, s1, s2]) = self.key_specific() {
            sink.put(&[KEY_SPECIFIC, 0x06, 0, 0, s0, s1, s2, 0]);
        }
        sink.put(further);
        let length = sink.total().saturating_sub(8);
        match u8::try_from(length) {
            Ok(length @ 0..=244) => sink.patch(7, &[length]),
            _ => {
                let found = u32::try_from(length).unwrap_or(u32::MAX);
                let rule = Rule::Value { found, expected: "at most 244" };
                return Err(WireError::new("additional sense length", 7, rule));
            }
        }
        sink.finish("descriptor format sense data")
    }

    /// Writes the sense data in its own [`format`](Self::format) and gives its length.
    ///
    /// # Errors
    ///
    /// The buffer is too small.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        match self.format {
            SenseFormat::Fixed => self.emit_fixed(buffer),
            SenseFormat::Descriptor => self.emit_descriptor(buffer),
        }
    }

    fn read_fixed(&mut self, first: u8, data: &[u8]) -> Result<(), WireError> {
        let Some(key) = data.get(2) else {
            return Err(no_key(3, data.len()));
        };
        self.key = SenseKey::from_bits(*key);
        let data = match data.get(7) {
            Some(length) => data.get(..usize::from(*length).saturating_add(8)).unwrap_or(data),
            None => data,
        };
        if first & 0x80 != 0 {
            self.information = be32(data, 3).map(u64::from);
        }
        self.asc = byte(data, 12);
        self.ascq = byte(data, 13);
        if let Some(specific) = data.get(15..).and_then(<[u8]>::first_chunk) {
            self.read_key_specific(*specific);
        }
        Ok(())
    }

    fn read_descriptor(&mut self, data: &[u8]) -> Result<(), WireError> {
        let Some(key) = data.get(1) else {
            return Err(no_key(2, data.len()));
        };
        self.key = SenseKey::from_bits(*key);
        self.asc = byte(data, 2);
        self.ascq = byte(data, 3);
        for SenseDescriptor { kind, body } in descriptors(data).map_while(Result::ok) {
            match (kind, body) {
                (INFORMATION, [valid, _, value @ ..]) if valid & 0x80 != 0 => {
                    self.information = be64(value, 0);
                }
                (KEY_SPECIFIC, [_, _, a, b, c, ..]) => self.read_key_specific([*a, *b, *c]),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_key_specific(&mut self, specific: [u8; 3]) {
        let [flags, high, low] = specific;
        if flags & SKSV == 0 {
            return;
        }
        let value = u16::from_be_bytes([high, low]);
        match self.key {
            SenseKey::NoSense | SenseKey::NotReady => self.progress = Some(value),
            SenseKey::IllegalRequest => {
                let bit = (flags & 0x08 != 0).then_some(flags & 0x07);
                let in_cdb = flags & 0x40 != 0;
                self.field_pointer = Some(FieldPointer { in_cdb, byte: value, bit });
            }
            SenseKey::UnitAttention => self.unit_attention_overflow = flags & 0x01 != 0,
            _ => {}
        }
    }

    fn key_specific(&self) -> Option<[u8; 3]> {
        match self.key {
            SenseKey::NoSense | SenseKey::NotReady => self.progress.map(|progress| {
                let [high, low] = progress.to_be_bytes();
                [SKSV, high, low]
            }),
            SenseKey::IllegalRequest => self.field_pointer.map(|pointer| {
                let [high, low] = pointer.byte.to_be_bytes();
                let side = if pointer.in_cdb { 0x40 } else { 0 };
                let bit = pointer.bit.map_or(0, |bit| 0x08 | bit & 0x07);
                [SKSV | side | bit, high, low]
            }),
            SenseKey::UnitAttention if self.unit_attention_overflow => Some([SKSV | 0x01, 0, 0]),
            _ => None,
        }
    }
}

/// `NOT READY 04h/0Ah: LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION`
impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02X}h/{:02X}h", self.key, self.asc, self.ascq)?;
        if let Some(text) = asc_text(self.asc, self.ascq) {
            write!(f, ": {text}")?;
        }
        if self.deferred {
            f.write_str(" (deferred)")?;
        }
        Ok(())
    }
}

fn no_key(need: usize, have: usize) -> WireError {
    WireError::new("sense key", need.saturating_sub(1), Rule::Truncated { need, have })
}

/// One descriptor of descriptor format sense data.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SenseDescriptor<'a> {
    /// DESCRIPTOR TYPE.
    pub kind: u8,
    /// What follows the ADDITIONAL LENGTH.
    pub body: &'a [u8],
}

/// The descriptors of `sense`; none for fixed format. A descriptor that is cut short gives an
/// error, and the walk ends there.
#[must_use]
pub fn descriptors(sense: &[u8]) -> SenseDescriptors<'_> {
    let none = SenseDescriptors { rest: &[], offset: 8 };
    let Some(([first, .., length], after)) = sense.split_first_chunk::<8>() else {
        return none;
    };
    if !matches!(first & 0x7f, 0x72 | 0x73) {
        return none;
    }
    let rest = after.get(..usize::from(*length)).unwrap_or(after);
    SenseDescriptors { rest, offset: 8 }
}

/// Iterator over [`SenseDescriptor`]s.
#[derive(Clone, Debug)]
pub struct SenseDescriptors<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for SenseDescriptors<'a> {
    type Item = Result<SenseDescriptor<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, length, after) = match self.rest {
            [] => return None,
            [kind, length, after @ ..] => (*kind, usize::from(*length), after),
            [_] => {
                self.rest = &[];
                let rule = Rule::Truncated { need: 2, have: 1 };
                return Some(Err(WireError::new("sense data descriptor", self.offset, rule)));
            }
        };
        let Some((body, rest)) = after.split_at_checked(length) else {
            self.rest = &[];
            let rule = Rule::Overrun { claimed: length, available: after.len() };
            let offset = self.offset.saturating_add(1);
            return Some(Err(WireError::new("additional length", offset, rule)));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(2).saturating_add(length);
        Some(Ok(SenseDescriptor { kind, body }))
    }
}

impl FusedIterator for SenseDescriptors<'_> {}

/// The user data segment referrals in `sense` (SBC-3, descriptor type 0Bh): which groups to use
/// for which logical blocks. `None` where there are none.
///
/// # Errors
///
/// Inside the option: the descriptor is malformed.
#[must_use]
pub fn referrals(sense: &[u8]) -> Option<Result<ReferralSense<'_>, WireError>> {
    descriptors(sense)
        .map_while(Result::ok)
        .find(|descriptor| descriptor.kind == ReferralSense::KIND)
        .map(|descriptor| ReferralSense::parse(descriptor.body))
}

const INFORMATION: u8 = 0x00;
const KEY_SPECIFIC: u8 = 0x02;
const SKSV: u8 = 0x80;

// It is copied into events and errors: keep it small.
const _: () = assert!(size_of::<Sense>() <= 32);
