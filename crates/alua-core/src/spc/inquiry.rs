//! Standard INQUIRY data and the vital product data pages 00h and 80h (SPC-4 and later).
//!
//! Page 83h has its own module, [`designator`](super::designator).

use super::ascii::{self, Ascii};
use super::bytes::{Sink, Written, be16, claimed, header, short_length_field};
use super::{Rule, WireError};
use crate::access::Tpgs;

/// Page code of the supported VPD pages.
pub const SUPPORTED_PAGES: u8 = 0x00;
/// Page code of the unit serial number.
pub const UNIT_SERIAL_NUMBER: u8 = 0x80;
/// Page code of the device identification.
pub const DEVICE_IDENTIFICATION: u8 = 0x83;
/// Page code of the referrals page (SBC-3).
pub const REFERRALS: u8 = 0xb3;

/// PERIPHERAL DEVICE TYPE of a direct access block device.
pub const TYPE_DISK: u8 = 0x00;
/// PERIPHERAL DEVICE TYPE of a well known logical unit.
pub const TYPE_WELL_KNOWN: u8 = 0x1e;
/// PERIPHERAL DEVICE TYPE for "unknown or no device".
pub const TYPE_NO_DEVICE: u8 = 0x1f;

/// Standard INQUIRY data, as far as an ALUA initiator reads it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StandardInquiry {
    /// PERIPHERAL QUALIFIER, three bits: 0 a device is there, 1 could be, 3 cannot be.
    pub peripheral_qualifier: u8,
    /// PERIPHERAL DEVICE TYPE, five bits: [`TYPE_DISK`] and others.
    pub device_type: u8,
    /// VERSION: 05h SPC-3, 06h SPC-4, 07h SPC-5.
    pub version: u8,
    /// HISUP: the target uses the hierarchical addressing of logical units.
    pub hierarchical_luns: bool,
    /// RESPONSE DATA FORMAT, four bits: 2.
    pub response_data_format: u8,
    /// TPGS: how asymmetric access is managed.
    pub tpgs: Tpgs,
    /// 3PC: third-party copy commands are supported.
    pub third_party_copy: bool,
    /// PROTECT: protection information is supported.
    pub protect: bool,
    /// MULTIP: the SCSI target device has more than one port.
    pub multi_port: bool,
    /// CMDQUE: the command management model with task sets is supported.
    pub cmd_queue: bool,
    /// T10 VENDOR IDENTIFICATION.
    pub vendor: [u8; 8],
    /// PRODUCT IDENTIFICATION.
    pub product: [u8; 16],
    /// PRODUCT REVISION LEVEL.
    pub revision: [u8; 4],
}

impl StandardInquiry {
    /// Bytes that SPC requires of standard INQUIRY data, and that [`emit`](Self::emit) writes.
    pub const LENGTH: usize = 36;

    /// A disk by SPC-4 with several ports; the texts are cut or filled with spaces to their fields.
    #[must_use]
    pub fn disk(tpgs: Tpgs, vendor: &str, product: &str, revision: &str) -> Self {
        Self {
            peripheral_qualifier: 0,
            device_type: TYPE_DISK,
            version: 0x06,
            hierarchical_luns: true,
            response_data_format: 2,
            tpgs,
            third_party_copy: false,
            protect: false,
            multi_port: true,
            cmd_queue: true,
            vendor: ascii::field(vendor),
            product: ascii::field(product),
            revision: ascii::field(revision),
        }
    }

    /// Reads `data`, the bytes that were transferred.
    ///
    /// # Errors
    ///
    /// Fewer than 36 bytes are there, or the ADDITIONAL LENGTH says so.
    pub fn parse(data: &[u8]) -> Result<Self, WireError> {
        let (fields, _) = header::<{ Self::LENGTH }>(data, "standard inquiry data")?;
        let [peripheral, _, version, format, additional, byte5, byte6, byte7, rest @ ..] = fields;
        if usize::from(*additional) < Self::LENGTH.saturating_sub(5) {
            let rule = Rule::Value { found: (*additional).into(), expected: "at least 31" };
            return Err(WireError::new("additional length", 4, rule));
        }
        let (vendor, rest) = header::<8>(rest, "t10 vendor identification")?;
        let (product, rest) = header::<16>(rest, "product identification")?;
        let (revision, _) = header::<4>(rest, "product revision level")?;
        Ok(Self {
            peripheral_qualifier: peripheral >> 5,
            device_type: peripheral & 0x1f,
            version: *version,
            hierarchical_luns: format & 0x10 != 0,
            response_data_format: format & 0x0f,
            tpgs: Tpgs::from_bits(byte5 >> 4),
            third_party_copy: byte5 & 0x08 != 0,
            protect: byte5 & 0x01 != 0,
            multi_port: byte6 & 0x10 != 0,
            cmd_queue: byte7 & 0x02 != 0,
            vendor: *vendor,
            product: *product,
            revision: *revision,
        })
    }

    /// Writes the 36 bytes to `buffer` and gives their number.
    ///
    /// # Errors
    ///
    /// The buffer is too small. A device server that must cut at the allocation length emits into
    /// [`LENGTH`](Self::LENGTH) bytes of its own first.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut sink = Sink::new(buffer);
        sink.put(&[
            self.peripheral_qualifier << 5 | self.device_type & 0x1f,
            0,
            self.version,
            flag(self.hierarchical_luns, 0x10) | self.response_data_format & 0x0f,
            31,
            self.tpgs.bits() << 4 | flag(self.third_party_copy, 0x08) | flag(self.protect, 0x01),
            flag(self.multi_port, 0x10),
            flag(self.cmd_queue, 0x02),
        ]);
        sink.put(&self.vendor);
        sink.put(&self.product);
        sink.put(&self.revision);
        sink.finish("standard inquiry data")
    }

    /// The vendor, to be shown.
    #[must_use]
    pub const fn vendor_str(&self) -> Ascii<'_> {
        Ascii(&self.vendor)
    }

    /// The product, to be shown.
    #[must_use]
    pub const fn product_str(&self) -> Ascii<'_> {
        Ascii(&self.product)
    }

    /// The product revision, to be shown.
    #[must_use]
    pub const fn revision_str(&self) -> Ascii<'_> {
        Ascii(&self.revision)
    }
}

/// A checked vital product data page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VpdPage<'a> {
    peripheral: u8,
    code: u8,
    payload: &'a [u8],
}

impl<'a> VpdPage<'a> {
    /// Checks `data`, the bytes that were transferred, to be the page `expected`, whole. What
    /// follows the PAGE LENGTH is ignored.
    ///
    /// # Errors
    ///
    /// The data is shorter than the header or than its PAGE LENGTH, or it is another page: some
    /// targets answer every request with standard INQUIRY data.
    pub fn new(data: &'a [u8], expected: u8) -> Result<Self, WireError> {
        let ([peripheral, code, high, low], rest) = header::<4>(data, "vpd page header")?;
        if *code != expected {
            let expected = "the page that was asked for";
            let rule = Rule::Value { found: (*code).into(), expected };
            return Err(WireError::new("page code", 1, rule));
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let payload = claimed(rest, length, "page length", 2)?;
        Ok(Self { peripheral: *peripheral, code: *code, payload })
    }

    /// Bytes that the whole page has, by the first four bytes of `data`.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes are there.
    pub fn needed_length(data: &[u8]) -> Result<u32, WireError> {
        let (fields, _) = header::<4>(data, "vpd page header")?;
        Ok(u32::from(be16(fields, 2).unwrap_or(0)).saturating_add(4))
    }

    /// PAGE CODE.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// PERIPHERAL QUALIFIER.
    #[must_use]
    pub const fn peripheral_qualifier(&self) -> u8 {
        self.peripheral >> 5
    }

    /// PERIPHERAL DEVICE TYPE.
    #[must_use]
    pub const fn device_type(&self) -> u8 {
        self.peripheral & 0x1f
    }

    /// What follows the 4-byte header.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Writes a vital product data page.
#[derive(Debug)]
pub struct VpdWriter<'b> {
    sink: Sink<'b>,
}

impl<'b> VpdWriter<'b> {
    /// Starts page `code` in `buffer`, of any size. `peripheral` is the first byte: qualifier and
    /// device type.
    #[must_use]
    pub fn new(buffer: &'b mut [u8], peripheral: u8, code: u8) -> Self {
        let mut sink = Sink::new(buffer);
        sink.put(&[peripheral, code, 0, 0]);
        Self { sink }
    }

    /// Adds bytes to the payload.
    pub fn put(&mut self, bytes: &[u8]) {
        self.sink.put(bytes);
    }

    /// Bytes of the page.
    ///
    /// # Errors
    ///
    /// The buffer is too small for the whole page, or the page too long for its length field.
    pub fn finish(mut self) -> Result<usize, WireError> {
        self.set_length()?;
        self.sink.finish("vpd page")
    }

    /// The page cut where the buffer ends, as the allocation length cuts it.
    ///
    /// # Errors
    ///
    /// The page is too long for its length field.
    pub fn finish_truncated(mut self) -> Result<Written, WireError> {
        self.set_length()?;
        Ok(self.sink.written())
    }

    fn set_length(&mut self) -> Result<(), WireError> {
        let length = short_length_field(self.sink.total(), 4, "page length", 2)?;
        self.sink.patch(2, &length);
        Ok(())
    }
}

/// The supported VPD pages, page 00h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SupportedPages<'a>(VpdPage<'a>);

impl<'a> SupportedPages<'a> {
    /// Checks `data` to be page 00h.
    ///
    /// # Errors
    ///
    /// Those of [`VpdPage::new`].
    pub fn new(data: &'a [u8]) -> Result<Self, WireError> {
        VpdPage::new(data, SUPPORTED_PAGES).map(Self)
    }

    /// The page codes, in the order of the page: ascending, if the target keeps to SPC.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u8> + use<'a> {
        self.0.payload.iter().copied()
    }

    /// Whether the page is listed.
    #[must_use]
    pub fn contains(&self, code: u8) -> bool {
        self.0.payload.contains(&code)
    }
}

/// The unit serial number, page 80h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitSerial<'a>(VpdPage<'a>);

impl<'a> UnitSerial<'a> {
    /// Checks `data` to be page 80h.
    ///
    /// # Errors
    ///
    /// Those of [`VpdPage::new`].
    pub fn new(data: &'a [u8]) -> Result<Self, WireError> {
        VpdPage::new(data, UNIT_SERIAL_NUMBER).map(Self)
    }

    /// The serial number, to be shown. It may be all spaces: SPC says so where there is none.
    #[must_use]
    pub const fn serial(&self) -> Ascii<'a> {
        Ascii(self.0.payload)
    }
}
