//! Device identification, VPD page 83h (SPC-4 and later): who the logical unit, the target port and
//! the target device are.
//!
//! # Contract
//!
//! [`DeviceIdentification::new`] walks the page once and refuses it when any designator reaches
//! past the page; the iterator that walks it afterwards cannot fail.

use core::iter::FusedIterator;

use super::bytes::{Written, be16};
use super::inquiry::{DEVICE_IDENTIFICATION, VpdPage, VpdWriter};
use super::{Rule, WireError};

/// How the designator is encoded: the CODE SET field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CodeSet {
    /// 1h: binary values.
    Binary,
    /// 2h: printable ASCII.
    Ascii,
    /// 3h: UTF-8.
    Utf8,
    /// The rest: reserved, as sent.
    Reserved(u8),
}

impl CodeSet {
    /// The code set in the low four bits of `bits`.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            1 => Self::Binary,
            2 => Self::Ascii,
            3 => Self::Utf8,
            other => Self::Reserved(other),
        }
    }

    /// The four-bit code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Binary => 1,
            Self::Ascii => 2,
            Self::Utf8 => 3,
            Self::Reserved(code) => code & 0x0f,
        }
    }
}

/// What the designator names: the ASSOCIATION field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Association {
    /// 00b: the addressed logical unit.
    LogicalUnit,
    /// 01b: the target port that received the request.
    TargetPort,
    /// 10b: the SCSI target device that contains the logical unit.
    TargetDevice,
    /// 11b: reserved.
    Reserved,
}

impl Association {
    /// The association in the low two bits of `bits`.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x03 {
            0 => Self::LogicalUnit,
            1 => Self::TargetPort,
            2 => Self::TargetDevice,
            _ => Self::Reserved,
        }
    }

    /// The two-bit code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::LogicalUnit => 0,
            Self::TargetPort => 1,
            Self::TargetDevice => 2,
            Self::Reserved => 3,
        }
    }
}

/// The format of the designator: the DESIGNATOR TYPE field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DesignatorKind {
    /// 0h: vendor specific.
    VendorSpecific,
    /// 1h: T10 vendor ID, then what the vendor chose.
    T10Vendor,
    /// 2h: EUI-64 based, of 8, 12 or 16 bytes.
    Eui64,
    /// 3h: NAA, of 8 or 16 bytes.
    Naa,
    /// 4h: relative target port identifier.
    RelativeTargetPort,
    /// 5h: target port group.
    TargetPortGroup,
    /// 6h: logical unit group.
    LogicalUnitGroup,
    /// 7h: MD5 logical unit identifier.
    Md5,
    /// 8h: SCSI name string.
    ScsiName,
    /// 9h: protocol specific port identifier.
    ProtocolSpecificPort,
    /// Ah: UUID.
    Uuid,
    /// Bh to Fh: reserved, as sent.
    Reserved(u8),
}

impl DesignatorKind {
    /// The type in the low four bits of `bits`.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0x0 => Self::VendorSpecific,
            0x1 => Self::T10Vendor,
            0x2 => Self::Eui64,
            0x3 => Self::Naa,
            0x4 => Self::RelativeTargetPort,
            0x5 => Self::TargetPortGroup,
            0x6 => Self::LogicalUnitGroup,
            0x7 => Self::Md5,
            0x8 => Self::ScsiName,
            0x9 => Self::ProtocolSpecificPort,
            0xa => Self::Uuid,
            other => Self::Reserved(other),
        }
    }

    /// The four-bit code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::VendorSpecific => 0x0,
            Self::T10Vendor => 0x1,
            Self::Eui64 => 0x2,
            Self::Naa => 0x3,
            Self::RelativeTargetPort => 0x4,
            Self::TargetPortGroup => 0x5,
            Self::LogicalUnitGroup => 0x6,
            Self::Md5 => 0x7,
            Self::ScsiName => 0x8,
            Self::ProtocolSpecificPort => 0x9,
            Self::Uuid => 0xa,
            Self::Reserved(code) => code & 0x0f,
        }
    }
}

/// A checked device identification page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceIdentification<'a> {
    page: VpdPage<'a>,
}

impl<'a> DeviceIdentification<'a> {
    /// Checks `data`, the bytes that were transferred, to be page 83h with every designator whole.
    ///
    /// # Errors
    ///
    /// Those of [`VpdPage::new`], or a designator that is cut short by the end of the page.
    pub fn new(data: &'a [u8]) -> Result<Self, WireError> {
        let page = VpdPage::new(data, DEVICE_IDENTIFICATION)?;
        let mut rest = page.payload();
        let mut offset = 4_usize;
        while !rest.is_empty() {
            let Some(([_, _, _, length], after)) = rest.split_first_chunk::<HEADER>() else {
                let rule = Rule::Truncated { need: HEADER, have: rest.len() };
                return Err(WireError::new("designation descriptor", offset, rule));
            };
            let length = usize::from(*length);
            let Some(next) = after.get(length..) else {
                let rule = Rule::Overrun { claimed: length, available: after.len() };
                return Err(WireError::new("designator length", offset.saturating_add(3), rule));
            };
            rest = next;
            offset = offset.saturating_add(HEADER).saturating_add(length);
        }
        Ok(Self { page })
    }

    /// The page without regard to its designators.
    #[must_use]
    pub const fn page(&self) -> &VpdPage<'a> {
        &self.page
    }

    /// The designators, in the order of the page.
    #[must_use]
    pub const fn iter(&self) -> Designators<'a> {
        Designators { rest: self.page.payload() }
    }
}

impl<'a> IntoIterator for &DeviceIdentification<'a> {
    type Item = Designator<'a>;
    type IntoIter = Designators<'a>;

    fn into_iter(self) -> Designators<'a> {
        self.iter()
    }
}

/// Iterator over the designators of a [`DeviceIdentification`] page.
#[derive(Clone, Debug)]
pub struct Designators<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Designators<'a> {
    type Item = Designator<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let ([first, second, _, length], after) = self.rest.split_first_chunk::<HEADER>()?;
        let (payload, rest) = after.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some(Designator {
            protocol: (second & PIV != 0).then_some(first >> 4),
            code_set: CodeSet::from_bits(*first),
            association: Association::from_bits(second >> 4),
            kind: DesignatorKind::from_bits(*second),
            payload,
        })
    }
}

impl FusedIterator for Designators<'_> {}

/// One designation descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Designator<'a> {
    /// PROTOCOL IDENTIFIER, four bits, where PIV says that it is valid: 0 Fibre Channel, 5 iSCSI,
    /// 6 SAS.
    pub protocol: Option<u8>,
    /// How the payload is encoded.
    pub code_set: CodeSet,
    /// What is named.
    pub association: Association,
    /// The format of the payload.
    pub kind: DesignatorKind,
    /// The DESIGNATOR field: at most 255 bytes.
    pub payload: &'a [u8],
}

impl<'a> Designator<'a> {
    /// A relative target port designator whose payload is `payload`, see [`id_payload`].
    #[must_use]
    pub const fn port(payload: &'a [u8; 4]) -> Self {
        Self::of_port(DesignatorKind::RelativeTargetPort, payload)
    }

    /// A target port group designator whose payload is `payload`, see [`id_payload`].
    #[must_use]
    pub const fn group(payload: &'a [u8; 4]) -> Self {
        Self::of_port(DesignatorKind::TargetPortGroup, payload)
    }

    /// A binary NAA designator of the logical unit.
    #[must_use]
    pub const fn naa(payload: &'a [u8]) -> Self {
        Self {
            protocol: None,
            code_set: CodeSet::Binary,
            association: Association::LogicalUnit,
            kind: DesignatorKind::Naa,
            payload,
        }
    }

    /// The relative target port identifier (type 4h); `None` for another type. SPC gives the type a
    /// meaning only with association [`TargetPort`](Association::TargetPort), which is for the
    /// caller to look at.
    ///
    /// # Errors
    ///
    /// Inside the option: the payload has fewer than the 4 bytes of the format. The offset is
    /// counted from the start of the payload.
    #[must_use]
    pub fn relative_target_port(&self) -> Option<Result<u16, WireError>> {
        (self.kind == DesignatorKind::RelativeTargetPort)
            .then(|| self.id("relative target port designator"))
    }

    /// The target port group (type 5h); `None` for another type.
    ///
    /// # Errors
    ///
    /// As for [`relative_target_port`](Self::relative_target_port).
    #[must_use]
    pub fn target_port_group(&self) -> Option<Result<u16, WireError>> {
        (self.kind == DesignatorKind::TargetPortGroup)
            .then(|| self.id("target port group designator"))
    }

    const fn of_port(kind: DesignatorKind, payload: &'a [u8; 4]) -> Self {
        let (code_set, association) = (CodeSet::Binary, Association::TargetPort);
        Self { protocol: None, code_set, association, kind, payload }
    }

    fn id(&self, field: &'static str) -> Result<u16, WireError> {
        let rule = Rule::Truncated { need: 4, have: self.payload.len() };
        be16(self.payload, 2).ok_or(WireError::new(field, 0, rule))
    }
}

/// The payload of a relative target port or target port group designator: two reserved bytes, then
/// the identifier.
#[must_use]
pub const fn id_payload(id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [0, 0, high, low]
}

/// Writes a device identification page.
#[derive(Debug)]
pub struct DesignatorWriter<'b> {
    page: VpdWriter<'b>,
}

impl<'b> DesignatorWriter<'b> {
    /// Starts page 83h in `buffer`, of any size. `peripheral` is the first byte: qualifier and
    /// device type.
    #[must_use]
    pub fn new(buffer: &'b mut [u8], peripheral: u8) -> Self {
        Self { page: VpdWriter::new(buffer, peripheral, DEVICE_IDENTIFICATION) }
    }

    /// Adds a designator.
    ///
    /// # Errors
    ///
    /// The payload is longer than 255 bytes. Nothing is added then.
    pub fn push(&mut self, designator: &Designator<'_>) -> Result<(), WireError> {
        let length = designator.payload.len();
        let Ok(length) = u8::try_from(length) else {
            let found = u32::try_from(length).unwrap_or(u32::MAX);
            let rule = Rule::Value { found, expected: "at most 255" };
            return Err(WireError::new("designator length", 0, rule));
        };
        let piv = if designator.protocol.is_some() { PIV } else { 0 };
        self.page.put(&[
            designator.protocol.unwrap_or(0) << 4 | designator.code_set.bits(),
            piv | designator.association.bits() << 4 | designator.kind.bits(),
            0,
            length,
        ]);
        self.page.put(designator.payload);
        Ok(())
    }

    /// Bytes of the page.
    ///
    /// # Errors
    ///
    /// The buffer is too small for the whole page, or the page too long for its length field.
    pub fn finish(self) -> Result<usize, WireError> {
        self.page.finish()
    }

    /// The page cut where the buffer ends, as the allocation length cuts it.
    ///
    /// # Errors
    ///
    /// The page is too long for its length field.
    pub fn finish_truncated(self) -> Result<Written, WireError> {
        self.page.finish_truncated()
    }
}

const HEADER: usize = 4;
const PIV: u8 = 0x80;
