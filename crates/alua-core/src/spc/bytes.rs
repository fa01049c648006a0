//! Big-endian fields out of and into byte slices, without a panic.

use super::{Rule, WireError};

/// How much a writer wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Bytes of the whole encoding; its length fields speak of these.
    pub total: usize,
    /// Bytes of it that are in the caller's buffer.
    pub stored: usize,
}

impl Written {
    /// Whether the buffer was too small for the whole encoding.
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        self.stored < self.total
    }
}

/// The byte at `at`, zero past the end: for fields whose presence was checked, and for those that
/// SPC reads as zero when they were not transferred.
pub(crate) fn byte(data: &[u8], at: usize) -> u8 {
    data.get(at).copied().unwrap_or(0)
}

/// The big-endian 16 bits at `at`, if they are there.
pub(crate) fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

/// The big-endian 32 bits at `at`, if they are there.
pub(crate) fn be32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

/// The big-endian 64 bits at `at`, if they are there.
pub(crate) fn be64(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

/// The first `N` bytes of `data` and the rest, or the error that `field` is cut short.
pub(crate) fn header<'a, const N: usize>(
    data: &'a [u8],
    field: &'static str,
) -> Result<(&'a [u8; N], &'a [u8]), WireError> {
    data.split_first_chunk::<N>().ok_or(WireError::new(
        field,
        0,
        Rule::Truncated { need: N, have: data.len() },
    ))
}

/// The first `claimed` bytes of `rest`, where `field` at `offset` claims that many.
pub(crate) fn claimed<'a>(
    rest: &'a [u8],
    claimed: usize,
    field: &'static str,
    offset: usize,
) -> Result<&'a [u8], WireError> {
    rest.get(..claimed).ok_or(WireError::new(
        field,
        offset,
        Rule::Overrun { claimed, available: rest.len() },
    ))
}

/// A wire count as a size in memory; a count that memory cannot hold becomes one that no slice has.
pub(crate) fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Writes into a caller's buffer as far as it goes and counts the rest.
#[derive(Debug)]
pub(crate) struct Sink<'b> {
    buffer: &'b mut [u8],
    total: usize,
}

impl<'b> Sink<'b> {
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, total: 0 }
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.store(self.total, bytes);
        self.total = self.total.saturating_add(bytes.len());
    }

    /// Writes over bytes that were put before, or over those that did not fit.
    pub(crate) fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.store(at, bytes);
    }

    /// Takes back everything put from `at` on.
    pub(crate) fn rewind(&mut self, at: usize) {
        self.total = self.total.min(at);
    }

    pub(crate) fn written(&self) -> Written {
        Written { total: self.total, stored: self.total.min(self.buffer.len()) }
    }

    /// The length of the encoding, which must be whole in the buffer.
    pub(crate) fn finish(&self, field: &'static str) -> Result<usize, WireError> {
        let written = self.written();
        if written.is_truncated() {
            let rule = Rule::NoRoom { need: written.total, have: self.buffer.len() };
            return Err(WireError::new(field, 0, rule));
        }
        Ok(written.total)
    }

    fn store(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.buffer.get_mut(at..) {
            for (place, byte) in room.iter_mut().zip(bytes) {
                *place = *byte;
            }
        }
    }
}

/// The length of what stands behind the first `skip` bytes of `total`, as a 32-bit field.
pub(crate) fn length_field(
    total: usize,
    skip: usize,
    field: &'static str,
    offset: usize,
) -> Result<[u8; 4], WireError> {
    u32::try_from(total.saturating_sub(skip)).map(u32::to_be_bytes).map_err(|_| {
        let rule = Rule::Value { found: u32::MAX, expected: "a length that fits in 32 bits" };
        WireError::new(field, offset, rule)
    })
}

/// The same as a 16-bit field.
pub(crate) fn short_length_field(
    total: usize,
    skip: usize,
    field: &'static str,
    offset: usize,
) -> Result<[u8; 2], WireError> {
    let length = total.saturating_sub(skip);
    u16::try_from(length).map(u16::to_be_bytes).map_err(|_| {
        let found = u32::try_from(length).unwrap_or(u32::MAX);
        WireError::new(field, offset, Rule::Value { found, expected: "at most 65535" })
    })
}
