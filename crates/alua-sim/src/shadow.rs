//! I1: what a block may hold, by the contract of a block device alone.
//!
//! Each write has a version of its own, which stands in every block of its data. For each block the
//! shadow keeps the versions that it may hold now:
//!
//! - a write that is on its way may be there or not;
//! - a write that is acknowledged is there, or one that was on its way at the same time;
//! - a write that failed may be there or not, until another is acknowledged;
//! - a discard leaves what was there, or zeros (version 0);
//! - where a volatile cache was lost, what was durable before may be back.
//!
//! Order exists only from an acknowledgement to a later submission, so nothing legal is refused.

use std::collections::BTreeMap;

/// Names a write; 0 are blocks of zeros.
pub(crate) type Version = u64;

#[derive(Clone, Debug, Default)]
struct Block {
    /// What it may hold.
    possible: Vec<Version>,
    /// Of these, writes on their way.
    pending: u32,
    /// Counts submissions and ends of writes.
    epoch: u32,
    /// What it may hold again if the cache is lost.
    durable: Vec<Durable>,
}

/// A version that a block may hold again.
#[derive(Clone, Copy, Debug)]
struct Durable {
    /// The end of a write, counted, that made it so.
    at: u64,
    version: Version,
    /// It took the place of what was there before.
    sure: bool,
}

/// What a host's blocks may hold.
#[derive(Debug)]
pub(crate) struct Shadow {
    first: u64,
    blocks: Vec<Block>,
    reads: BTreeMap<u64, Read>,
    acknowledged: u64,
}

/// A read on its way: what each of its blocks may return.
#[derive(Debug)]
struct Read {
    lba: u64,
    allowed: Vec<(u32, Vec<Version>)>,
}

impl Shadow {
    pub(crate) fn new(first: u64, count: u64) -> Self {
        let zeros = Block {
            possible: vec![0],
            durable: vec![Durable { at: 0, version: 0, sure: true }],
            ..Block::default()
        };
        Self { first, blocks: vec![zeros; count as usize], reads: BTreeMap::new(), acknowledged: 0 }
    }

    fn range(&self, lba: u64, count: u32) -> std::ops::Range<usize> {
        let from = (lba - self.first) as usize;
        from..from + count as usize
    }

    /// A write, or a request for zeros (version 0), begins.
    pub(crate) fn write_begins(&mut self, lba: u64, count: u32, version: Version) {
        for at in self.range(lba, count) {
            let block = &mut self.blocks[at];
            add(&mut block.possible, version);
            block.pending += 1;
            block.epoch += 1;
            let at = at as u64 + self.first;
            for read in self.reads.values_mut() {
                if let Some(offset) = at.checked_sub(read.lba)
                    && let Some((_, allowed)) = read.allowed.get_mut(offset as usize)
                {
                    add(allowed, version);
                }
            }
        }
    }

    /// It ended: well, or not. `others` are the versions of writes on their way, by block.
    pub(crate) fn write_ends(
        &mut self,
        (lba, count): (u64, u32),
        version: Version,
        good: Ended,
        others: impl Fn(u64) -> Vec<Version>,
    ) {
        self.acknowledged += 1;
        let acknowledged = self.acknowledged;
        for at in self.range(lba, count) {
            let on_their_way = others(at as u64 + self.first);
            let block = &mut self.blocks[at];
            block.pending -= 1;
            block.epoch += 1;
            let sure = good == Ended::Good || good == Ended::Durable;
            if good == Ended::Durable {
                block.durable.clear();
            }
            block.durable.push(Durable { at: acknowledged, version, sure });
            if !sure {
                continue;
            }
            block.possible = on_their_way;
            add(&mut block.possible, version);
        }
    }

    /// How far a flush that begins now reaches.
    pub(crate) const fn flush_begins(&self) -> u64 {
        self.acknowledged
    }

    /// A flush ended well: what was acknowledged when it began is durable.
    pub(crate) fn flush_ends(&mut self, reach: u64) {
        for block in &mut self.blocks {
            let covered = block.durable.iter().rposition(|it| it.at <= reach && it.sure);
            if let Some(last) = covered {
                block.durable.drain(..last);
            }
        }
    }

    /// A volatile cache was lost.
    pub(crate) fn cache_lost(&mut self) {
        for block in &mut self.blocks {
            block.epoch += 1;
            for durable in &mut block.durable {
                add(&mut block.possible, durable.version);
                // What came after it may be gone: a flush from now on may keep any of them.
                durable.sure = false;
            }
        }
        // A read on its way may see it.
        for read in self.reads.values_mut() {
            for (offset, (_, allowed)) in read.allowed.iter_mut().enumerate() {
                let block = &self.blocks[(read.lba - self.first) as usize + offset];
                for durable in &block.durable {
                    add(allowed, durable.version);
                }
            }
        }
    }

    pub(crate) fn read_begins(&mut self, id: u64, lba: u64, count: u32) {
        let allowed = self.blocks[self.range(lba, count)]
            .iter()
            .map(|block| (block.epoch, block.possible.clone()))
            .collect();
        self.reads.insert(id, Read { lba, allowed });
    }

    pub(crate) fn read_failed(&mut self, id: u64) {
        self.reads.remove(&id);
    }

    /// A read ended well with these versions; the first block that may not hold what it returned,
    /// and what it may hold.
    pub(crate) fn read_ends(
        &mut self,
        id: u64,
        versions: &[Version],
    ) -> Result<(), (u64, Version, Vec<Version>)> {
        let Some(read) = self.reads.remove(&id) else { return Ok(()) };
        for (offset, (&version, (epoch, allowed))) in versions.iter().zip(&read.allowed).enumerate()
        {
            let lba = read.lba + offset as u64;
            if !allowed.contains(&version) {
                return Err((lba, version, allowed.clone()));
            }
            let block = &mut self.blocks[(lba - self.first) as usize];
            if block.pending == 0 && block.epoch == *epoch {
                block.possible = vec![version];
            }
        }
        Ok(())
    }
}

/// How a write ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Good,
    /// Good, with FUA.
    Durable,
    /// A discard ended, well or not.
    Discarded,
    Failed,
}

fn add(to: &mut Vec<Version>, version: Version) {
    if !to.contains(&version) {
        to.push(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: u64) -> Vec<Version> {
        Vec::new()
    }

    fn read(shadow: &mut Shadow, version: Version) -> bool {
        shadow.read_begins(9, 100, 1);
        shadow.read_ends(9, &[version]).is_ok()
    }

    #[test]
    fn i1_what_is_acknowledged_stays() {
        let mut shadow = Shadow::new(100, 4);
        shadow.write_begins(100, 1, 7);
        assert!(read(&mut shadow, 0) && read(&mut shadow, 7), "on its way");
        shadow.write_ends((100, 1), 7, Ended::Good, none);
        assert!(read(&mut shadow, 7));
        assert!(!read(&mut shadow, 0));
    }

    #[test]
    fn what_failed_may_be_there_until_it_is_seen() {
        let mut shadow = Shadow::new(100, 4);
        shadow.write_begins(100, 1, 7);
        shadow.write_ends((100, 1), 7, Ended::Failed, none);
        assert!(read(&mut shadow, 7));
        assert!(!read(&mut shadow, 0), "it was seen");
    }

    #[test]
    fn a_read_may_see_what_begins_beside_it() {
        let mut shadow = Shadow::new(100, 4);
        shadow.read_begins(1, 100, 1);
        shadow.write_begins(100, 1, 7);
        shadow.write_ends((100, 1), 7, Ended::Good, none);
        assert!(shadow.read_ends(1, &[0]).is_ok());
    }

    #[test]
    fn after_a_loss_a_flush_keeps_what_was_left() {
        let mut shadow = Shadow::new(100, 4);
        shadow.write_begins(100, 1, 7);
        shadow.write_ends((100, 1), 7, Ended::Durable, none);
        shadow.write_begins(100, 1, 8);
        shadow.write_ends((100, 1), 8, Ended::Good, none);
        shadow.cache_lost();
        shadow.flush_ends(shadow.flush_begins());
        shadow.write_begins(100, 1, 9);
        shadow.write_ends((100, 1), 9, Ended::Good, none);
        shadow.cache_lost();
        shadow.read_begins(1, 100, 1);
        assert!(shadow.read_ends(1, &[7]).is_ok());
    }

    #[test]
    fn a_lost_cache_brings_back_what_was_durable_and_a_flush_ends_that() {
        let mut shadow = Shadow::new(100, 4);
        for version in [7, 8] {
            shadow.write_begins(100, 1, version);
            shadow.write_ends((100, 1), version, Ended::Good, none);
        }
        let reach = shadow.flush_begins();
        shadow.flush_ends(reach);
        shadow.cache_lost();
        assert!(!read(&mut shadow, 0) && !read(&mut shadow, 7) && read(&mut shadow, 8));
        shadow.write_begins(100, 1, 9);
        shadow.write_ends((100, 1), 9, Ended::Good, none);
        shadow.cache_lost();
        assert!(read(&mut shadow, 8));
    }
}
