//! Time as the engine sees it.

use std::fmt;

/// A reading of the caller's monotonic clock, in nanoseconds since a start that the caller chooses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

const NANOS_PER_MILLI: u64 = 1_000_000;

impl Time {
    /// The start of the caller's clock.
    pub const ZERO: Self = Self(0);

    /// The reading of `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The reading of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// The reading in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The reading `millis` milliseconds later.
    #[must_use]
    pub const fn after(self, millis: u32) -> Self {
        Self(self.0.saturating_add(millis as u64 * NANOS_PER_MILLI))
    }

    /// Nanoseconds from `earlier` to this reading; 0 where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The driver core's reading of the same moment.
    #[must_use]
    pub const fn core(self) -> alua_core::time::Time {
        alua_core::time::Time::from_millis(self.0 / NANOS_PER_MILLI)
    }
}

impl From<alua_core::time::Time> for Time {
    fn from(time: alua_core::time::Time) -> Self {
        Self::from_millis(time.as_millis())
    }
}

/// In seconds, to the microsecond.
impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}
