//! From PDUs to bytes.
//!
//! Small PDUs are gathered in one buffer; large data segments are kept as they are and written from
//! where they lie. Buffers are used again.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::layout::length_field;
use super::{Digests, HEADER};

/// A data segment of at least so many bytes is not copied.
pub(crate) const KEEP: usize = 16 << 10;
/// A gathered buffer is not made longer than this.
const GATHER: usize = 64 << 10;

/// Bytes that wait to be sent.
#[derive(Debug, Default)]
pub struct Encoder {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent.
    sent: usize,
    waiting: usize,
    digests: Digests,
    /// A gathered buffer that is empty again.
    spare: Vec<u8>,
    /// Data that are sent, and that nobody else holds.
    returned: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Piece {
    Gathered(Vec<u8>),
    Kept(Arc<Vec<u8>>, Range<usize>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Gathered(bytes) => bytes,
            Self::Kept(bytes, range) => bytes.get(range.clone()).unwrap_or(&[]),
        }
    }
}

impl Encoder {
    /// From the next PDU on, with these digests.
    pub const fn set(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds a PDU whose data segment is that part of `data`; its length is put into the header. More
    /// than 24 bits hold, and a part that is not there, are mistakes of the caller's and are cut.
    pub fn put(&mut self, mut header: [u8; HEADER], data: &Arc<Vec<u8>>, part: Range<usize>) {
        let bytes = data.get(part.clone()).unwrap_or(&[]);
        self.begin(&mut header, bytes.len());
        if bytes.len() >= KEEP {
            self.waiting += bytes.len();
            self.pieces.push_back(Piece::Kept(Arc::clone(data), part));
        } else {
            self.gather(bytes);
        }
        self.end(bytes);
    }

    /// Adds a PDU with a short data segment, which is copied.
    pub fn put_short(&mut self, mut header: [u8; HEADER], data: &[u8]) {
        self.begin(&mut header, data.len());
        self.gather(data);
        self.end(data);
    }

    fn begin(&mut self, header: &mut [u8; HEADER], length: usize) {
        header[5..8].copy_from_slice(&length_field(length));
        self.gather(header);
        if self.digests.header {
            self.gather(&crc32c::crc32c(header).to_le_bytes());
        }
    }

    fn end(&mut self, data: &[u8]) {
        let padding = &[0; 3][..data.len().next_multiple_of(4) - data.len()];
        self.gather(padding);
        if self.digests.data && !data.is_empty() {
            let digest = crc32c::crc32c_append(crc32c::crc32c(data), padding);
            self.gather(&digest.to_le_bytes());
        }
    }

    fn gather(&mut self, bytes: &[u8]) {
        self.waiting += bytes.len();
        match self.pieces.back_mut() {
            Some(Piece::Gathered(last)) if last.len() < GATHER => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => {
                let mut buffer = std::mem::take(&mut self.spare);
                buffer.extend_from_slice(bytes);
                self.pieces.push_back(Piece::Gathered(buffer));
            }
        }
    }

    /// Fills `slices` with what waits, in order; returns how many are filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.sent;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.bytes().get(skip..).unwrap_or(&[]));
            skip = 0;
            count += 1;
        }
        count
    }

    /// `count` bytes have been sent.
    pub fn sent(&mut self, count: usize) {
        self.waiting = self.waiting.saturating_sub(count);
        self.sent += count;
        while let Some(first) = self.pieces.front().map(|piece| piece.bytes().len()) {
            if self.sent < first {
                return;
            }
            self.sent -= first;
            if let Some(piece) = self.pieces.pop_front() {
                self.take_back(piece);
            }
        }
        self.sent = 0;
    }

    /// Keeps the buffer of a piece that is sent.
    fn take_back(&mut self, piece: Piece) {
        match piece {
            Piece::Gathered(mut buffer) => {
                if self.spare.capacity() < buffer.capacity() {
                    buffer.clear();
                    self.spare = buffer;
                }
            }
            Piece::Kept(data, _) => self.returned.extend(Arc::try_unwrap(data).ok()),
        }
    }

    /// A buffer that was given to [`Self::put`], all of whose parts are sent and that the caller let
    /// go: to be used again.
    pub fn returned(&mut self) -> Option<Vec<u8>> {
        self.returned.pop()
    }

    /// Gives memory back while nothing waits.
    pub fn shrink(&mut self) {
        if self.waiting == 0 {
            *self = Self { digests: self.digests, ..Self::default() };
        }
    }

    /// Everything that waits, as one buffer: for streams in memory.
    pub fn take(&mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.waiting);
        let mut skip = std::mem::take(&mut self.sent);
        for piece in self.pieces.drain(..) {
            all.extend_from_slice(piece.bytes().get(skip..).unwrap_or(&[]));
            skip = 0;
        }
        self.waiting = 0;
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::Framer;
    use super::*;

    /// Small and large PDUs, with and without digests, cut into pieces of every size, come out as
    /// they went in.
    #[test]
    fn what_is_encoded_is_framed_again() {
        let sizes = [0, 1, 3, 4, 511, 8192, KEEP - 1, KEEP + 1, 70_000];
        for digests in [(false, false), (true, false), (false, true), (true, true)] {
            let digests = Digests { header: digests.0, data: digests.1 };
            let mut encoder = Encoder::default();
            encoder.set(digests);
            for (n, size) in (0_u8..).zip(sizes) {
                let mut header = [n; HEADER];
                header[4] = 0;
                encoder.put(header, &Arc::new(vec![n; size + 2]), 1..size + 1);
            }
            let bytes = encoder.take();
            for step in [1, 47, 4096, bytes.len()] {
                let mut framer = Framer::new(70_000);
                framer.set(70_000, digests);
                let mut seen = Vec::new();
                for piece in bytes.chunks(step) {
                    let mut rest = piece;
                    while !rest.is_empty() {
                        let space = framer.space();
                        let count = space.len().min(rest.len());
                        space[..count].copy_from_slice(&rest[..count]);
                        framer.filled(count);
                        rest = &rest[count..];
                        while let Some(frame) = framer.next_frame().unwrap() {
                            assert!(frame.data_is_right);
                            assert!(frame.data.iter().all(|&byte| byte == frame.header[0]));
                            seen.push(frame.data.len());
                        }
                    }
                }
                assert_eq!(seen, sizes);
            }
        }
    }

    #[test]
    fn a_broken_digest_is_seen() {
        let digests = Digests { header: true, data: true };
        let mut encoder = Encoder::default();
        encoder.set(digests);
        encoder.put_short([0; HEADER], b"data");
        let bytes = encoder.take();
        let framed = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let mut framer = Framer::new(8192);
            framer.set(8192, digests);
            framer.space()[..bytes.len()].copy_from_slice(&bytes);
            framer.filled(bytes.len());
            framer.next_frame().map(|frame| frame.is_some_and(|frame| frame.data_is_right))
        };
        assert_eq!(framed(20), Err(super::super::FrameError::HeaderDigest));
        assert_eq!(framed(HEADER + 2), Err(super::super::FrameError::HeaderDigest));
        assert_eq!(framed(HEADER + 4), Ok(false));
        assert_eq!(framed(bytes.len() - 1), Ok(false));
    }

    #[test]
    fn a_length_is_bounded_before_it_is_believed() {
        let mut framer = Framer::new(8192);
        let mut header = [0; HEADER];
        header[5..8].copy_from_slice(&length_field(8193));
        framer.space()[..HEADER].copy_from_slice(&header);
        framer.filled(HEADER);
        assert!(framer.next_frame().is_err());
        assert!(framer.memory() <= 16 << 10);
    }

    #[test]
    fn what_is_sent_leaves_in_order() {
        let mut encoder = Encoder::default();
        encoder.put_short([1; HEADER], &[]);
        let data = Arc::new(vec![3; 2 * KEEP]);
        encoder.put([2; HEADER], &data, 0..KEEP);
        encoder.put([2; HEADER], &data, KEEP..2 * KEEP);
        drop(data);
        let mut all = Vec::new();
        while encoder.waiting() > 0 {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = encoder.slices(&mut slices);
            let first = slices[..count].iter().find(|slice| !slice.is_empty()).unwrap();
            let step = first.len().min(1000);
            all.extend_from_slice(&first[..step]);
            assert_eq!(encoder.returned(), None, "as long as a part of it waits");
            encoder.sent(step);
        }
        assert_eq!(all.len(), 3 * HEADER + 2 * KEEP);
        assert_eq!((all[0], all[HEADER], all[2 * HEADER]), (1, 2, 3));
        assert_eq!(encoder.returned(), Some(vec![3; 2 * KEEP]));
        assert_eq!(encoder.returned(), None);
    }
}
