//! Logical unit numbers (SAM-5) and REPORT LUNS parameter data (SPC-4 and later).

use core::fmt;
use core::iter::FusedIterator;

use super::bytes::{Sink, Written, claimed, header, length_field, size};
use super::{Rule, WireError};

/// A logical unit number: the eight bytes as they stand on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// The REPORT LUNS well known logical unit.
    pub const REPORT_LUNS: Self = Self([0xc1, 0x01, 0, 0, 0, 0, 0, 0]);

    /// The single-level LUN of a small number: peripheral device addressing up to 255, flat space
    /// addressing up to 16383; `None` above.
    #[must_use]
    pub const fn simple(number: u16) -> Option<Self> {
        let [high, low] = number.to_be_bytes();
        match high {
            0 => Some(Self([0, low, 0, 0, 0, 0, 0, 0])),
            1..=0x3f => Some(Self([0x40 | high, low, 0, 0, 0, 0, 0, 0])),
            _ => None,
        }
    }

    /// The number, where the LUN is single-level with peripheral device addressing on bus 0 or flat
    /// space addressing; `None` for every other form.
    #[must_use]
    pub const fn as_simple(self) -> Option<u16> {
        match self.0 {
            [0, low, 0, 0, 0, 0, 0, 0] => Some(u16::from_be_bytes([0, low])),
            [high @ 0x40..=0x7f, low, 0, 0, 0, 0, 0, 0] => {
                Some(u16::from_be_bytes([high & 0x3f, low]))
            }
            _ => None,
        }
    }

    /// The number that Linux shows as L in `H:C:T:L`: each pair of bytes is a 16-bit word, the
    /// first pair the lowest. The addressing method stays in it.
    #[must_use]
    pub const fn linux(self) -> u64 {
        let [a0, a1, b0, b1, c0, c1, d0, d1] = self.0;
        u64::from_be_bytes([d0, d1, c0, c1, b0, b1, a0, a1])
    }

    /// The LUN that Linux shows as `number`.
    #[must_use]
    pub const fn from_linux(number: u64) -> Self {
        let [d0, d1, c0, c1, b0, b1, a0, a1] = number.to_be_bytes();
        Self([a0, a1, b0, b1, c0, c1, d0, d1])
    }

    /// Whether this is a well known logical unit, not a disk.
    #[must_use]
    pub const fn is_well_known(self) -> bool {
        let [first, ..] = self.0;
        first == 0xc1
    }
}

/// As Linux shows it.
impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.linux(), f)
    }
}

/// Checked REPORT LUNS parameter data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportLuns<'a> {
    luns: &'a [u8],
}

impl<'a> ReportLuns<'a> {
    /// Checks `data`, the bytes that were transferred. What follows the LUN LIST LENGTH is ignored.
    ///
    /// # Errors
    ///
    /// The data is shorter than its header or than its LUN LIST LENGTH, or that length is not a
    /// multiple of 8.
    pub fn parse(data: &'a [u8]) -> Result<Self, WireError> {
        let (fields, rest) = header::<8>(data, "report luns header")?;
        let [a, b, c, d, ..] = *fields;
        let length = u32::from_be_bytes([a, b, c, d]);
        if length % 8 != 0 {
            let rule = Rule::Value { found: length, expected: "a multiple of 8" };
            return Err(WireError::new(LUN_LIST_LENGTH, 0, rule));
        }
        let luns = claimed(rest, size(length), LUN_LIST_LENGTH, 0)?;
        Ok(Self { luns })
    }

    /// Bytes that the whole list has with its header, by the first bytes of `data`.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes are there, or the sum does not fit in 32 bits. A caller still must
    /// set its own limit before it allocates what a target asks for.
    pub fn needed_length(data: &[u8]) -> Result<u32, WireError> {
        let (length, _) = header::<4>(data, LUN_LIST_LENGTH)?;
        let length = u32::from_be_bytes(*length);
        let rule = Rule::Value { found: length, expected: "at most FFFFFFF7h" };
        length.checked_add(8).ok_or(WireError::new(LUN_LIST_LENGTH, 0, rule))
    }

    /// The LUNs, in the order of the data.
    #[must_use]
    pub const fn iter(&self) -> Luns<'a> {
        Luns { rest: self.luns }
    }
}

impl<'a> IntoIterator for &ReportLuns<'a> {
    type Item = Lun;
    type IntoIter = Luns<'a>;

    fn into_iter(self) -> Luns<'a> {
        self.iter()
    }
}

/// Iterator over the LUNs of [`ReportLuns`].
#[derive(Clone, Debug)]
pub struct Luns<'a> {
    rest: &'a [u8],
}

impl Iterator for Luns<'_> {
    type Item = Lun;

    fn next(&mut self) -> Option<Lun> {
        let (lun, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(Lun(*lun))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.rest.len() / 8;
        (count, Some(count))
    }
}

impl ExactSizeIterator for Luns<'_> {}
impl FusedIterator for Luns<'_> {}

/// Writes REPORT LUNS parameter data.
#[derive(Debug)]
pub struct LunWriter<'b> {
    sink: Sink<'b>,
}

impl<'b> LunWriter<'b> {
    /// Starts a list in `buffer`, of any size.
    #[must_use]
    pub fn new(buffer: &'b mut [u8]) -> Self {
        let mut sink = Sink::new(buffer);
        sink.put(&[0; 8]);
        Self { sink }
    }

    /// Adds a LUN.
    pub fn push(&mut self, lun: Lun) {
        self.sink.put(&lun.0);
    }

    /// Bytes of the list with its header.
    ///
    /// # Errors
    ///
    /// The buffer is too small for the whole list, or the list too long for its length field.
    pub fn finish(mut self) -> Result<usize, WireError> {
        self.set_length()?;
        self.sink.finish("report luns data")
    }

    /// The list cut where the buffer ends, as the allocation length cuts it.
    ///
    /// # Errors
    ///
    /// The list is too long for its length field.
    pub fn finish_truncated(mut self) -> Result<Written, WireError> {
        self.set_length()?;
        Ok(self.sink.written())
    }

    fn set_length(&mut self) -> Result<(), WireError> {
        let length = length_field(self.sink.total(), 8, LUN_LIST_LENGTH, 0)?;
        self.sink.patch(0, &length);
        Ok(())
    }
}

const LUN_LIST_LENGTH: &str = "lun list length";
