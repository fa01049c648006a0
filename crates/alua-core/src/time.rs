//! Time as the core sees it: a number that the caller hands in.

/// A reading of the caller's monotonic clock, in milliseconds since a start that the caller
/// chooses. The core never reads a clock; it only compares and adds such readings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The start of the caller's clock.
    pub const ZERO: Self = Self(0);

    /// The reading of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The reading in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The reading `millis` milliseconds later; the largest one where it would not fit.
    #[must_use]
    pub const fn after(self, millis: u32) -> Self {
        Self(self.0.saturating_add(millis as u64))
    }

    /// Milliseconds from `earlier` to this reading; 0 where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
