//! From bytes to PDUs.
//!
//! # Contract
//!
//! - A length is bounded before it is believed: a PDU whose header announces more than the limit is
//!   an error when the header is there, and nothing is reserved for it.
//! - Memory grows with the bytes that arrived and with what one PDU of an allowed length needs,
//!   never with what a header merely claims beyond the limit.
//! - A frame is a view into the buffer: nothing is copied to parse it.

use super::layout::{Basic, length_of};
use super::{HEADER, opcode};

/// The buffer before anything large has arrived, in bytes.
const SMALL: usize = 8 << 10;
/// A buffer that is filled at once grows up to this, in bytes.
const LARGE: usize = 512 << 10;

/// Whether PDUs carry digests (RFC 7143, section 13.1). Login PDUs never do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digests {
    /// CRC32C over the header segments.
    pub header: bool,
    /// CRC32C over the data segment with its padding.
    pub data: bool,
}

/// A PDU in the buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The basic header segment.
    pub header: &'a [u8; HEADER],
    /// The additional header segments.
    pub additional: &'a [u8],
    /// The data segment, without padding.
    pub data: &'a [u8],
    /// Whether the data digest, if there is one, is right.
    pub data_is_right: bool,
}

impl Frame<'_> {
    /// The operation code without the immediate bit.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.header[0] & opcode::MASK
    }
}

/// Why a stream cannot be cut into PDUs any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The data segment is longer than was negotiated.
    #[error("a data segment of {length} bytes, at most {limit} were declared")]
    DataTooLong {
        /// What the header says.
        length: usize,
        /// MaxRecvDataSegmentLength.
        limit: usize,
    },
    /// More additional header segments than any PDU has.
    #[error("additional header segments of {0} bytes")]
    HeadersTooLong(usize),
    /// The header digest is wrong: where the next PDU begins is not known.
    #[error("the header digest is wrong")]
    HeaderDigest,
}

/// Cuts a stream into PDUs.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the bytes begin that no frame has taken.
    start: usize,
    /// Where the bytes end that have arrived.
    end: usize,
    /// Bytes of the PDU that [`Self::next_frame`] returned last.
    taken: usize,
    /// The most bytes of a data segment.
    limit: usize,
    digests: Digests,
}

/// The additional header segments that are needed: an extended CDB and a bidirectional read length
/// take less.
const ADDITIONAL_MAX: usize = 256;

impl Framer {
    /// For PDUs with data segments of up to `limit` bytes and without digests.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        let digests = Digests { header: false, data: false };
        Self { buffer: Vec::new(), start: 0, end: 0, taken: 0, limit, digests }
    }

    /// From the next PDU on, other limits and digests.
    pub const fn set(&mut self, limit: usize, digests: Digests) {
        self.limit = limit;
        self.digests = digests;
    }

    /// The most bytes of a data segment.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Which digests the PDUs carry.
    #[must_use]
    pub const fn digests(&self) -> Digests {
        self.digests
    }

    /// Room for bytes that arrive, never empty unless a whole PDU waits for [`Self::next_frame`].
    /// Say with [`Self::filled`] how many have come.
    pub fn space(&mut self) -> &mut [u8] {
        self.finish();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let need = self.needed().max(SMALL);
        if self.buffer.len() - self.start < need {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() < need {
                self.buffer.resize(need, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// `count` bytes have been put into [`Self::space`]; more than it has room for count as that.
    pub fn filled(&mut self, count: usize) {
        let full = count >= self.buffer.len() - self.end && count > 0;
        self.end += count.min(self.buffer.len() - self.end);
        // A peer that fills the buffer in one go has more to send.
        if full && self.limit > SMALL && self.buffer.len() < LARGE {
            let more = (self.buffer.len() * 2).min(LARGE);
            self.buffer.resize(more, 0);
        }
    }

    /// Gives memory back while nothing waits in the buffer.
    pub fn shrink(&mut self) {
        self.finish();
        if self.start == self.end && self.buffer.len() > SMALL {
            *self = Self { buffer: Vec::new(), start: 0, end: 0, taken: 0, ..*self };
        }
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next PDU, if all of it has arrived. It is taken by the call after this one.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the stream is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        self.finish();
        let Some(parts) = self.parts()? else { return Ok(None) };
        let bytes = &self.buffer[self.start..self.end];
        if parts.header_digest && bytes.len() >= parts.data_at {
            let at = parts.data_at - 4;
            if !digest_is(&bytes[..at], &bytes[at..parts.data_at]) {
                return Err(FrameError::HeaderDigest);
            }
        }
        if bytes.len() < parts.total {
            return Ok(None);
        }
        self.taken = parts.total;
        let (Some(header), Some(data)) = (
            bytes.first_chunk::<HEADER>(),
            bytes.get(parts.data_at..parts.data_at + parts.data_length),
        ) else {
            return Ok(None);
        };
        let padded = parts.data_at + parts.data_length.next_multiple_of(4);
        let data_is_right = !parts.data_digest
            || digest_is(&bytes[parts.data_at..padded], &bytes[padded..padded + 4]);
        let additional = &bytes[HEADER..HEADER + parts.additional];
        Ok(Some(Frame { header, additional, data, data_is_right }))
    }

    fn finish(&mut self) {
        self.start += std::mem::take(&mut self.taken);
    }

    /// Bytes that the PDU at the start of the buffer takes in all, as far as that is known.
    fn needed(&self) -> usize {
        self.parts().ok().flatten().map_or(HEADER, |parts| parts.total)
    }

    fn parts(&self) -> Result<Option<Parts>, FrameError> {
        let bytes = &self.buffer[self.start..self.end];
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Basic::of(header);
        let additional = usize::from(header.total_ahs_length) * 4;
        let data_length = length_of(header.data_segment_length);
        if additional > ADDITIONAL_MAX {
            return Err(FrameError::HeadersTooLong(additional));
        }
        if data_length > self.limit {
            return Err(FrameError::DataTooLong { length: data_length, limit: self.limit });
        }
        let data_digest = self.digests.data && data_length > 0;
        let data_at = HEADER + additional + if self.digests.header { 4 } else { 0 };
        let total = data_at + data_length.next_multiple_of(4) + if data_digest { 4 } else { 0 };
        let header_digest = self.digests.header;
        Ok(Some(Parts { additional, header_digest, data_at, data_length, data_digest, total }))
    }
}

/// How a PDU is made up, by its header.
#[derive(Clone, Copy)]
struct Parts {
    additional: usize,
    header_digest: bool,
    data_at: usize,
    data_length: usize,
    data_digest: bool,
    total: usize,
}

/// Whether `digest` is the CRC32C of `bytes`, least significant byte first.
fn digest_is(bytes: &[u8], digest: &[u8]) -> bool {
    digest == crc32c::crc32c(bytes).to_le_bytes()
}
