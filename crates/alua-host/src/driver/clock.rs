//! Time as the driver's shell sees it.

use std::thread;
use std::time::{Duration, Instant};

use alua_core::time::Time;

/// A clock that never goes back. The machine's own one is [`MonotonicClock`]; a simulation has one
/// that stands still until somebody sleeps.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Time;

    /// Returns at `until`, at once when that has passed. May be a little late, never early.
    fn sleep_until(&self, until: Time);
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Time {
        (**self).now()
    }

    fn sleep_until(&self, until: Time) {
        (**self).sleep_until(until);
    }
}

/// The machine's monotonic clock; zero is when this value was made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl MonotonicClock {
    /// A clock that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, until: Time) {
        // `now` rounds down: sleeping from one instant to the other by whole milliseconds would
        // wake up early.
        let until = Duration::from_millis(until.as_millis());
        thread::sleep(until.saturating_sub(self.start.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_never_ends_early() {
        let clock = MonotonicClock::new();
        for _ in 0..5 {
            let until = clock.now().after(3);
            clock.sleep_until(until);
            assert!(clock.now() >= until);
        }
        // In the past: at once.
        clock.sleep_until(Time::ZERO);
    }
}
