//! Random numbers: one generator for each concern, so that more of one shifts nothing of another.

use std::time::Duration;

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng as _;

/// A seeded generator.
#[derive(Debug)]
pub(crate) struct Random(Pcg64Mcg);

impl Random {
    /// The generator of a concern.
    #[must_use]
    pub(crate) fn new(seed: u64, concern: u64) -> Self {
        Self(Pcg64Mcg::new(u128::from(seed) << 64 | u128::from(concern) << 1 | 1))
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// A number from `from` to `to`, both included.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A time from `from` to `to` microseconds, small ones as likely as large ones.
    pub(crate) fn micros(&mut self, from: u64, to: u64) -> Duration {
        let mut span = to - from;
        if self.percent(50) {
            span /= 10;
        }
        Duration::from_micros(from + self.below(span + 1))
    }
}
