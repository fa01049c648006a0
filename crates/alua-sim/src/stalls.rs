//! How long requests took, by what had happened last.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Powers of two of a millisecond: below 1, 2, 4, ...
const BUCKETS: usize = 18;
/// Requests that took less are not stalls.
const STALL_NS: u64 = 1_000_000;

/// A distribution for each cause.
#[derive(Clone, Debug, Default)]
pub struct Stalls(BTreeMap<&'static str, Row>);

#[derive(Clone, Debug, Default)]
struct Row {
    counts: [u64; BUCKETS],
    longest_ns: u64,
    seed: u64,
}

impl Stalls {
    /// One request that took so long.
    pub(crate) fn add(&mut self, cause: &'static str, took_ns: u64, seed: u64) {
        if took_ns < STALL_NS {
            return;
        }
        let row = self.0.entry(cause).or_default();
        let millis = took_ns / 1_000_000;
        let bucket = (u64::BITS - millis.leading_zeros()) as usize;
        row.counts[bucket.min(BUCKETS - 1)] += 1;
        if took_ns > row.longest_ns {
            (row.longest_ns, row.seed) = (took_ns, seed);
        }
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        for (cause, from) in &other.0 {
            let row = self.0.entry(cause).or_default();
            for (to, count) in row.counts.iter_mut().zip(&from.counts) {
                *to += count;
            }
            if from.longest_ns > row.longest_ns {
                (row.longest_ns, row.seed) = (from.longest_ns, from.seed);
            }
        }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<18} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  seed of the longest\n",
            "stalls after", "<4 ms", "<32 ms", "<256 ms", "<2 s", "<16 s", "longer", "longest s"
        );
        for (cause, row) in &self.0 {
            let sum = |from: usize, to: usize| row.counts[from..to].iter().sum::<u64>();
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{cause:<18} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9.3}  {}",
                sum(0, 3),
                sum(3, 6),
                sum(6, 9),
                sum(9, 12),
                sum(12, 15),
                sum(15, BUCKETS),
                row.longest_ns as f64 / 1e9,
                row.seed
            );
        }
        text
    }
}
