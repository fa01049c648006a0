//! What lies on a logical unit: sparse data, with a volatile cache in front of it.

use std::collections::BTreeMap;

/// Bytes that are allocated at a time.
const CHUNK: usize = 4096;

/// The blocks of a logical unit. Blocks that nobody wrote read as zeros and take no memory.
#[derive(Debug)]
pub(crate) struct Medium {
    block_size: usize,
    blocks: u64,
    chunks: BTreeMap<u64, Box<[u8; CHUNK]>>,
    /// Whether writes without FUA stay volatile until a flush.
    pub(crate) volatile: bool,
    /// Blocks whose newest contents are only in the cache.
    unflushed: BTreeMap<u64, Unflushed>,
}

/// What a loss of the cache brings back.
#[derive(Debug)]
struct Unflushed {
    /// The controller through which the block was last written: its cache has the data.
    controller: usize,
    /// The durable contents; `None` where the block was not mapped.
    durable: Option<Box<[u8]>>,
}

impl Medium {
    pub(crate) const fn new(blocks: u64, block_size: usize, volatile: bool) -> Self {
        Self { block_size, blocks, chunks: BTreeMap::new(), volatile, unflushed: BTreeMap::new() }
    }

    pub(crate) const fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(crate) const fn block_size(&self) -> usize {
        self.block_size
    }

    /// Whether `count` blocks from `lba` on are there.
    pub(crate) fn has(&self, lba: u64, count: u64) -> bool {
        lba.checked_add(count).is_some_and(|end| end <= self.blocks)
    }

    /// Another size. What lay behind a new end is gone.
    pub(crate) fn resize(&mut self, blocks: u64) {
        if blocks < self.blocks {
            self.discard(blocks, self.blocks - blocks);
            self.unflushed.split_off(&blocks);
        }
        self.blocks = blocks;
    }

    const fn per_chunk(&self) -> u64 {
        (CHUNK / self.block_size) as u64
    }

    /// The chunk of a block and where in it the block begins.
    const fn place(&self, lba: u64) -> (u64, usize) {
        let per_chunk = self.per_chunk();
        (lba / per_chunk, (lba % per_chunk) as usize * self.block_size)
    }

    /// Fills `out`, whole blocks, from `lba` on.
    pub(crate) fn read(&self, lba: u64, out: &mut [u8]) {
        self.each_chunk(lba, out.len(), |bytes, at, range| {
            let piece = &mut out[range];
            match bytes {
                Some(bytes) => piece.copy_from_slice(&bytes[at..at + piece.len()]),
                None => piece.fill(0),
            }
        });
    }

    /// Appends `count` blocks from `lba` on to `out`.
    pub(crate) fn read_into(&self, lba: u64, count: u64, out: &mut Vec<u8>) {
        let length = count as usize * self.block_size;
        out.reserve(length);
        self.each_chunk(lba, length, |bytes, at, range| match bytes {
            Some(bytes) => out.extend_from_slice(&bytes[at..at + range.len()]),
            None => out.resize(out.len() + range.len(), 0),
        });
    }

    /// As [`Self::each_piece`], with the chunk where it is mapped.
    fn each_chunk(
        &self,
        lba: u64,
        length: usize,
        mut with: impl FnMut(Option<&[u8; CHUNK]>, usize, std::ops::Range<usize>),
    ) {
        let (first, at) = self.place(lba);
        if at + length <= CHUNK {
            // Most commands: one look into the map.
            with(self.chunks.get(&first).map(|bytes| &**bytes), at, 0..length);
            return;
        }
        // The others walk along it.
        let mut mapped = self.chunks.range(first..).peekable();
        self.each_piece(lba, length, |chunk, at, range| {
            let bytes = mapped.next_if(|(number, _)| **number == chunk).map(|(_, bytes)| &**bytes);
            with(bytes, at, range);
        });
    }

    /// Writes whole blocks through `controller`. `durable`: they do not stay in the cache (FUA).
    pub(crate) fn write(&mut self, lba: u64, data: &[u8], controller: usize, durable: bool) {
        let count = (data.len() / self.block_size) as u64;
        if self.volatile && !durable {
            self.keep(lba, count, controller);
        }
        self.put(lba, data);
        // No blocks are no blocks: to `flush` they would be all.
        if durable && count > 0 {
            self.flush(lba, count);
        }
    }

    fn put(&mut self, lba: u64, data: &[u8]) {
        let (first, at) = self.place(lba);
        if data.is_empty() {
            return;
        }
        if at + data.len() <= CHUNK {
            // Most commands: one look into the map.
            let bytes = self.chunks.entry(first).or_insert_with(|| Box::new([0; CHUNK]));
            bytes[at..at + data.len()].copy_from_slice(data);
            return;
        }
        // The others walk along it, and what is not mapped is added behind them.
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut new = Vec::new();
        let mut mapped = chunks.range_mut(first..).peekable();
        self.each_piece(lba, data.len(), |chunk, at, range| {
            let piece = &data[range];
            match mapped.next_if(|(number, _)| **number == chunk) {
                Some((_, bytes)) => bytes[at..at + piece.len()].copy_from_slice(piece),
                None => {
                    let mut bytes = Box::new([0; CHUNK]);
                    bytes[at..at + piece.len()].copy_from_slice(piece);
                    new.push((chunk, bytes));
                }
            }
        });
        for (chunk, bytes) in new {
            chunks.insert(chunk, bytes);
        }
        self.chunks = chunks;
    }

    /// Unmaps blocks: they read as zeros.
    pub(crate) fn unmap(&mut self, lba: u64, count: u64, controller: usize) {
        if self.volatile {
            // Blocks that were never written have nothing to lose; those that are unmapped but not
            // durably so are now this controller's.
            for block in self.unflushed.range_mut(lba..lba + count).map(|(_, block)| block) {
                block.controller = controller;
            }
            let (first, last) = (self.place(lba).0, self.place(lba + count.max(1) - 1).0);
            let mapped: Vec<u64> = self.chunks.range(first..=last).map(|(&at, _)| at).collect();
            for chunk in mapped {
                let start = (chunk * self.per_chunk()).max(lba);
                let end = ((chunk + 1) * self.per_chunk()).min(lba + count);
                self.keep(start, end - start, controller);
            }
        }
        self.discard(lba, count);
    }

    fn discard(&mut self, lba: u64, count: u64) {
        if count == 0 {
            return;
        }
        let (first, last) = (self.place(lba).0, self.place(lba + count - 1).0);
        let mapped: Vec<u64> = self.chunks.range(first..=last).map(|(&at, _)| at).collect();
        for chunk in mapped {
            let base = chunk * self.per_chunk();
            let start = base.max(lba) - base;
            let end = (base + self.per_chunk()).min(lba + count) - base;
            if end - start == self.per_chunk() {
                self.chunks.remove(&chunk);
            } else if let Some(bytes) = self.chunks.get_mut(&chunk) {
                bytes[start as usize * self.block_size..end as usize * self.block_size].fill(0);
            }
        }
    }

    /// Whether the block takes memory.
    pub(crate) fn is_mapped(&self, lba: u64) -> bool {
        self.chunks.contains_key(&self.place(lba).0)
    }

    /// The end of the run of blocks from `lba` on that are all mapped or all not.
    pub(crate) fn run_end(&self, lba: u64, granularity: u64) -> u64 {
        let (chunk, _) = self.place(lba);
        let mut next = chunk;
        if self.chunks.contains_key(&chunk) {
            for (&at, _) in self.chunks.range(chunk..) {
                if at != next {
                    break;
                }
                next += 1;
            }
        } else {
            next = self.chunks.range(chunk..).next().map_or(u64::MAX, |(&at, _)| at);
        }
        next.saturating_mul(granularity).min(self.blocks)
    }

    /// Makes what is in the cache durable, from `lba` on; 0 blocks are all that follow.
    pub(crate) fn flush(&mut self, lba: u64, count: u64) {
        if self.unflushed.is_empty() {
            return;
        }
        if lba == 0 && count == 0 {
            self.unflushed.clear();
            return;
        }
        let end = if count == 0 { self.blocks } else { lba.saturating_add(count) };
        let done: Vec<u64> = self.unflushed.range(lba..end).map(|(&lba, _)| lba).collect();
        for lba in done {
            self.unflushed.remove(&lba);
        }
    }

    /// Loses what is unflushed: of one controller, or of all.
    pub(crate) fn lose_cache(&mut self, controller: Option<usize>) -> usize {
        let lost: Vec<u64> = self
            .unflushed
            .iter()
            .filter(|(_, block)| controller.is_none_or(|own| block.controller == own))
            .map(|(&lba, _)| lba)
            .collect();
        for &lba in &lost {
            let durable = self.unflushed.remove(&lba).and_then(|block| block.durable);
            let (chunk, at) = self.place(lba);
            let block_size = self.block_size;
            match durable {
                Some(old) => {
                    let bytes = self.chunks.entry(chunk).or_insert_with(|| Box::new([0; CHUNK]));
                    bytes[at..at + block_size].copy_from_slice(&old);
                }
                None => {
                    if let Some(bytes) = self.chunks.get_mut(&chunk) {
                        bytes[at..at + block_size].fill(0);
                    }
                }
            }
        }
        lost.len()
    }

    /// Blocks whose newest contents are only in the cache.
    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    /// Keeps the durable contents of blocks that are about to be overwritten.
    fn keep(&mut self, lba: u64, count: u64, controller: usize) {
        for lba in lba..lba + count {
            let (chunk, at) = self.place(lba);
            let durable =
                self.chunks.get(&chunk).map(|bytes| bytes[at..at + self.block_size].into());
            self.unflushed
                .entry(lba)
                .and_modify(|block| block.controller = controller)
                .or_insert(Unflushed { controller, durable });
        }
    }

    /// Calls `with` for each chunk that `length` bytes from `lba` on touch: the chunk, where in it
    /// the piece begins, and which of the bytes are meant.
    fn each_piece(
        &self,
        lba: u64,
        length: usize,
        mut with: impl FnMut(u64, usize, std::ops::Range<usize>),
    ) {
        let (mut chunk, mut at) = self.place(lba);
        let mut done = 0;
        while done < length {
            let step = (CHUNK - at).min(length - done);
            with(chunk, at, done..done + step);
            done += step;
            chunk += 1;
            at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(medium: &Medium, lba: u64, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        medium.read_into(lba, count, &mut out);
        out.chunks(medium.block_size()).map(|block| block[0]).collect()
    }

    #[test]
    fn writes_across_chunks_are_read_back() {
        for size in [512, 4096] {
            let mut medium = Medium::new(64, size, false);
            let data: Vec<u8> = (1..=20).flat_map(|n| vec![n; size]).collect();
            medium.write(5, &data, 0, false);
            let seen = blocks(&medium, 4, 22);
            let wanted: Vec<u8> = std::iter::once(0).chain(1..=20).chain([0]).collect();
            assert_eq!(seen, wanted);
            medium.unmap(6, 18, 0);
            assert_eq!(blocks(&medium, 5, 20), [&[1][..], &[0; 18], &[20]].concat());
        }
    }

    #[test]
    fn only_unflushed_blocks_of_the_lost_controller_are_lost() {
        let mut medium = Medium::new(64, 512, true);
        for (lba, value, controller, durable) in
            [(0, 1, 0, true), (0, 2, 0, false), (1, 3, 1, false), (2, 4, 0, false)]
        {
            medium.write(lba, &[value; 512], controller, durable);
        }
        medium.flush(2, 1);
        assert_eq!(medium.unflushed(), 2);
        assert_eq!(medium.lose_cache(Some(0)), 1);
        assert_eq!(blocks(&medium, 0, 3), [1, 3, 4]);
        assert_eq!(medium.lose_cache(None), 1);
        assert_eq!(blocks(&medium, 0, 3), [1, 0, 4]);
    }

    #[test]
    fn an_unflushed_unmap_is_lost_too() {
        let mut medium = Medium::new(64, 512, true);
        medium.write(0, &[7; 512 * 16], 0, true);
        medium.unmap(4, 12, 1);
        assert_eq!(blocks(&medium, 3, 13), [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // What was dropped with a whole chunk must come back as well.
        medium.lose_cache(Some(1));
        assert_eq!(blocks(&medium, 3, 13), [7; 13]);
    }

    #[test]
    fn a_smaller_size_cuts_the_data_off() {
        let mut medium = Medium::new(64, 512, false);
        medium.write(0, &[9; 512 * 64], 0, false);
        medium.resize(10);
        medium.resize(64);
        assert_eq!(blocks(&medium, 9, 2), [9, 0]);
        assert!(medium.has(63, 1) && !medium.has(63, 2) && !medium.has(u64::MAX, 2));
    }

    /// Two plain lists: what reads give, and what a loss of the cache leaves of each block.
    #[derive(Default)]
    struct Shadow {
        now: Vec<u8>,
        /// The durable value and the last writer of a block that is not flushed.
        dirty: BTreeMap<usize, (u8, usize)>,
    }

    impl Shadow {
        fn put(&mut self, lba: usize, value: u8, controller: usize, volatile: bool) {
            if volatile {
                let old = self.now[lba];
                self.dirty.entry(lba).or_insert((old, controller)).1 = controller;
            }
            self.now[lba] = value;
        }
    }

    proptest::proptest! {
        #[test]
        fn the_medium_is_its_shadow(
            small in proptest::bool::ANY,
            volatile in proptest::bool::ANY,
            steps in proptest::collection::vec(
                (0..6_u8, 0..60_usize, 0..30_usize, 1..255_u8, 0..2_usize), 1..40),
        ) {
            let size = if small { 512 } else { 4096 };
            let mut medium = Medium::new(64, size, volatile);
            let mut shadow = Shadow { now: vec![0; 64], ..Shadow::default() };
            for (what, lba, count, value, controller) in steps {
                let count = count.min(64 - lba);
                let range = lba..lba + count;
                match what {
                    0 | 1 => {
                        let durable = what == 1;
                        let data = vec![value; count * size];
                        medium.write(lba as u64, &data, controller, durable);
                        for at in range {
                            shadow.put(at, value, controller, volatile && !durable);
                            if durable {
                                shadow.dirty.remove(&at);
                            }
                        }
                    }
                    2 if count > 0 => {
                        medium.unmap(lba as u64, count as u64, controller);
                        for at in range {
                            shadow.put(at, 0, controller, volatile);
                        }
                    }
                    3 => {
                        medium.flush(lba as u64, count as u64);
                        let end = if count == 0 { 64 } else { lba + count };
                        shadow.dirty.retain(|&at, _| !(lba..end).contains(&at));
                    }
                    _ => {
                        let whose = (what == 4).then_some(controller);
                        medium.lose_cache(whose);
                        let lost = |(_, by): &(u8, usize)| whose.is_none_or(|own| own == *by);
                        let gone: Vec<(usize, (u8, usize))> = shadow
                            .dirty
                            .iter()
                            .filter(|(_, block)| lost(block))
                            .map(|(&at, &block)| (at, block))
                            .collect();
                        for (at, (old, _)) in gone {
                            shadow.now[at] = old;
                            shadow.dirty.remove(&at);
                        }
                    }
                }
                proptest::prop_assert_eq!(blocks(&medium, 0, 64), &shadow.now[..]);
            }
        }
    }
}
