//! The order of writes that overlap.
//!
//! A block device gives no order between overlapping writes that are in flight together. The engine
//! gives more: of two requests that change a common block, the later is sent only when the earlier
//! is complete. With the fence this carries the whole argument of [`crate::fence`]: for each block
//! at most one request at a time has commands that may change it.
//!
//! Reads and flushes are not ordered: a read that overlaps a write in flight may return either
//! state, as on any disk.
//!
//! # How
//!
//! Every request that changes blocks stands in one chain, in the order of submission, until it is
//! complete. A table counts for stripes of blocks how many of them touch each; only a request that
//! meets a count above zero looks through the chain for a real overlap. Requests are few (the limit
//! is [`crate::Limits::requests`]) and overlaps rare, so the look is short.

use crate::request::Request;

/// 8 blocks, 4 KiB of 512-byte blocks: small so that the neighbours which a sequential writer has in
/// flight do not meet, as long as they are aligned.
const STRIPE_SHIFT: u32 = 3;
/// The number of counters.
const STRIPES: usize = 4096;

/// How many unfinished requests touch each stripe.
#[derive(Debug)]
pub(crate) struct Stripes(Box<[u16; STRIPES]>);

impl Stripes {
    pub(crate) fn new() -> Self {
        Self(Box::new([0; STRIPES]))
    }

    /// Counts `request`; tells whether another one touches a stripe of its own.
    pub(crate) fn enter(&mut self, request: &Request) -> bool {
        let mut met = false;
        for stripe in stripes(request) {
            let count = &mut self.0[stripe];
            met |= *count > 0;
            *count += 1;
        }
        met
    }

    pub(crate) fn leave(&mut self, request: &Request) {
        for stripe in stripes(request) {
            debug_assert!(self.0[stripe] > 0);
            self.0[stripe] -= 1;
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|&count| count == 0)
    }
}

/// The stripes of a request that changes blocks, each once.
fn stripes(request: &Request) -> impl Iterator<Item = usize> + use<> {
    debug_assert!(request.blocks > 0);
    let first = request.lba >> STRIPE_SHIFT;
    let last = (request.lba + u64::from(request.blocks) - 1) >> STRIPE_SHIFT;
    let last = last.min(first + (STRIPES as u64 - 1));
    (first..=last).map(|stripe| stripe as usize % STRIPES)
}

/// Whether two requests have a block in common.
pub(crate) const fn overlap(a: &Request, b: &Request) -> bool {
    a.lba < b.lba + b.blocks as u64 && b.lba < a.lba + a.blocks as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Operation;

    fn write(lba: u64, blocks: u32) -> Request {
        Request { operation: Operation::Write { fua: false }, lba, blocks }
    }

    #[test]
    fn an_overlap_is_a_common_block() {
        assert!(overlap(&write(0, 8), &write(7, 1)));
        assert!(!overlap(&write(0, 8), &write(8, 8)));
        assert!(overlap(&write(100, 1), &write(0, 1000)));
    }

    #[test]
    fn whoever_overlaps_meets() {
        for (a, b) in [((0, 8), (7, 8)), ((0, 1_000_000), (999_999, 1)), ((64, 1), (71, 1))] {
            let mut stripes = Stripes::new();
            assert!(!stripes.enter(&write(a.0, a.1)));
            assert!(stripes.enter(&write(b.0, b.1)));
            stripes.leave(&write(a.0, a.1));
            stripes.leave(&write(b.0, b.1));
            assert!(stripes.is_empty());
        }
    }

    #[test]
    fn neighbours_in_other_stripes_do_not_meet() {
        let mut stripes = Stripes::new();
        assert!(!stripes.enter(&write(0, 8)));
        assert!(!stripes.enter(&write(8, 8)));
    }
}
