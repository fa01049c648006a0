//! Virtual time: integer nanoseconds since the array was built.

use std::fmt;
use std::time::Duration;

/// A reading of the array's virtual clock, in nanoseconds since the array was built. Nothing moves
/// it but [`Array::advance`](crate::Array::advance).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The moment at which the array was built.
    pub const ZERO: Self = Self(0);
    /// The last moment that the clock can show.
    pub const MAX: Self = Self(u64::MAX);

    /// The reading of `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The reading of `millis` milliseconds; the largest one where it would not fit.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The reading in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The reading in whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The reading as the driver core takes it: milliseconds, rounded down.
    #[must_use]
    pub const fn to_core(self) -> alua_core::time::Time {
        alua_core::time::Time::from_millis(self.as_millis())
    }

    /// The reading `span` later; the largest one where it would not fit.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this reading; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Seconds with six decimals, as in the trace: `3.000250`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000);
        f.pad_integral(true, "", &text)
    }
}

/// Reads a length of time as the array file writes it: a number, which may have decimals, and a
/// unit: `ns`, `us`, `ms`, `s`, `min` or `h`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit.trim_start() {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || decimals.len() > 9 {
        return None;
    }
    let mut nanos = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if !decimals.is_empty() {
        let places = 10_u64.pow(u32::try_from(decimals.len()).ok()?);
        // At most nine decimals: the product stays below 10^9 * 3.6 * 10^12.
        let part = u128::from(decimals.parse::<u64>().ok()?) * u128::from(scale);
        nanos = nanos.checked_add(u64::try_from(part / u128::from(places)).ok()?)?;
    }
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("3s"), Some(Duration::from_secs(3)));
        assert_eq!(parse_duration("1.5 ms"), Some(Duration::from_micros(1500)));
        assert_eq!(parse_duration("2min"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        for wrong in ["", "3", "s", ".5s", "5.s", "-1s", "3 weeks", "1.2.3s", "99999999999999h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn shows_seconds_with_six_decimals() {
        assert_eq!(Time::from_nanos(3_000_250_999).to_string(), "3.000250");
        assert_eq!(Time::MAX.after(Duration::from_secs(1)), Time::MAX);
        assert_eq!(Time::from_millis(1500).to_core().as_millis(), 1500);
    }
}
