//! Requests of a run of any length, put together as they end.

use crate::Request;

/// Slices of time that a [`Load`] has at most: sixteen for each column of the picture.
const BINS: usize = 16 * crate::SLICES;

/// The requests that ended in a slice of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bin {
    pub(crate) good: u64,
    pub(crate) failed: u64,
    /// The longest, in nanoseconds.
    pub(crate) longest: u64,
    /// A request that stalled was waiting in this slice, wherever it ended.
    pub(crate) stalled: bool,
}

/// Requests, counted by the time at which they ended. It takes 125 KiB whatever the run is: slices of
/// time that become too many are put together two by two, which a picture of the whole run does not
/// show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// A request that takes so many nanoseconds or more has stalled.
    stall: u64,
    /// Nanoseconds in a slice.
    width: u64,
    bins: Vec<Bin>,
}

impl Load {
    /// No request yet. One that takes `stall` nanoseconds or more has stalled.
    #[must_use]
    pub const fn new(stall: u64) -> Self {
        Self { stall, width: 1, bins: Vec::new() }
    }

    /// One more, which may have come and ended at any time.
    pub fn add(&mut self, request: Request) {
        let took = request.ended.saturating_sub(request.submitted);
        let bin = self.at(request.ended);
        *if request.failed { &mut bin.failed } else { &mut bin.good } += 1;
        bin.longest = bin.longest.max(took);
        if took >= self.stall.max(1) {
            let first = (request.submitted / self.width) as usize;
            let last = (request.ended / self.width) as usize;
            // In the end of one slice it waited in the one before.
            let last = if request.ended.is_multiple_of(self.width) { last } else { last + 1 };
            for bin in &mut self.bins[first..last.max(first)] {
                bin.stalled = true;
            }
        }
    }

    /// The slice of a time. All that were there may be put together for it.
    fn at(&mut self, time: u64) -> &mut Bin {
        while time / self.width >= BINS as u64 {
            self.width *= 2;
            for at in 0..self.bins.len().div_ceil(2) {
                let [first, second] = [2 * at, 2 * at + 1].map(|at| self.bins.get(at));
                let (first, second) = (first.copied(), second.copied());
                self.bins[at] = first.unwrap_or_default().with(second.unwrap_or_default());
            }
            self.bins.truncate(self.bins.len().div_ceil(2));
        }
        let place = (time / self.width) as usize;
        if self.bins.len() <= place {
            self.bins.resize(place + 1, Bin::default());
        }
        &mut self.bins[place]
    }

    /// The slices in which something was, each with its begin and its end.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (u64, u64, Bin)> {
        let bins = self.bins.iter().enumerate().filter(|(_, bin)| **bin != Bin::default());
        bins.map(|(at, bin)| {
            let from = at as u64 * self.width;
            (from, from.saturating_add(self.width), *bin)
        })
    }

    /// How many requests ended, and how many of these failed.
    #[must_use]
    pub fn count(&self) -> (u64, u64) {
        let failed = self.bins.iter().map(|bin| bin.failed).sum();
        (self.bins.iter().map(|bin| bin.good).sum::<u64>() + failed, failed)
    }
}

impl Default for Load {
    /// Nothing stalls.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Bin {
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            good: self.good + other.good,
            failed: self.failed + other.failed,
            longest: self.longest.max(other.longest),
            stalled: self.stalled || other.stalled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(submitted: u64, ended: u64, failed: bool) -> Request {
        Request { submitted, ended, failed }
    }

    #[test]
    fn a_long_run_takes_no_more_room_and_loses_no_request() {
        let mut load = Load::new(u64::MAX);
        for second in 0..10_000 {
            let at = second * 1_000_000_000;
            load.add(request(at, at + second, second % 10 == 0));
        }
        assert!(load.bins.len() <= BINS && load.bins.len() > BINS / 2, "{}", load.bins.len());
        assert_eq!(load.count(), (10_000, 1_000));
        assert_eq!(load.bins().map(|(_, _, bin)| bin.longest).max(), Some(9_999));
        load.add(request(0, u64::MAX, false));
        assert_eq!(load.count(), (10_001, 1_000), "the end of time is a time");
    }

    #[test]
    fn a_stall_is_where_the_request_waited() {
        let mut load = Load::new(50);
        load.add(request(100, 149, false));
        load.add(request(200, 250, true));
        // Ended before it came: took no time.
        load.add(request(90, 20, false));
        let stalled: Vec<_> =
            load.bins().filter(|(_, _, bin)| bin.stalled).map(|(from, _, _)| from).collect();
        assert_eq!(stalled, (200..250).collect::<Vec<_>>());
        load.add(request(0, 100_000, false));
        assert!(load.bins().all(|(from, _, bin)| bin.stalled || from == 100_000));
    }
}
