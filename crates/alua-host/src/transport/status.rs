//! What the host adapter and the low-level driver say beside the SCSI status.
//!
//! Each is a number with names for the values that are known, so that an unknown value is kept and
//! shown as it came.

use std::fmt;

/// What the host adapter's side said, by the numbers and names of Linux (`DID_*`, linux
/// include/scsi/scsi_status.h). A transport of another kind uses the nearest one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostStatus(u16);

impl HostStatus {
    /// Nothing wrong.
    pub const OK: Self = Self(0x00);
    /// The device did not answer the attempt to reach it: no path.
    pub const NO_CONNECT: Self = Self(0x01);
    /// The bus stayed busy.
    pub const BUS_BUSY: Self = Self(0x02);
    /// Timed out.
    pub const TIME_OUT: Self = Self(0x03);
    /// No such target.
    pub const BAD_TARGET: Self = Self(0x04);
    /// Aborted.
    pub const ABORT: Self = Self(0x05);
    /// Parity error.
    pub const PARITY: Self = Self(0x06);
    /// Internal error.
    pub const ERROR: Self = Self(0x07);
    /// Reset by somebody.
    pub const RESET: Self = Self(0x08);
    /// Unexpected interrupt.
    pub const BAD_INTR: Self = Self(0x09);
    /// Forced through past the mid layer.
    pub const PASSTHROUGH: Self = Self(0x0a);
    /// The low-level driver wants a retry.
    pub const SOFT_ERROR: Self = Self(0x0b);
    /// Retry at once.
    pub const IMM_RETRY: Self = Self(0x0c);
    /// Requeue.
    pub const REQUEUE: Self = Self(0x0d);
    /// The transport was disrupted while the command was out.
    pub const TRANSPORT_DISRUPTED: Self = Self(0x0e);
    /// The transport class fails commands fast (fast_io_fail, replacement timeout).
    pub const TRANSPORT_FAILFAST: Self = Self(0x0f);
    /// Permanent failure of the target (an answer of the device).
    pub const TARGET_FAILURE: Self = Self(0x10);
    /// Permanent failure of the nexus: reservation conflict (an answer of the device).
    pub const NEXUS_FAILURE: Self = Self(0x11);
    /// Space allocation failed (an answer of the device).
    pub const ALLOC_FAILURE: Self = Self(0x12);
    /// Medium error (an answer of the device).
    pub const MEDIUM_ERROR: Self = Self(0x13);
    /// The path is marked marginal.
    pub const TRANSPORT_MARGINAL: Self = Self(0x14);

    /// The status with that number.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Linux's name; `None` for a number that has none.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::OK => "DID_OK",
            Self::NO_CONNECT => "DID_NO_CONNECT",
            Self::BUS_BUSY => "DID_BUS_BUSY",
            Self::TIME_OUT => "DID_TIME_OUT",
            Self::BAD_TARGET => "DID_BAD_TARGET",
            Self::ABORT => "DID_ABORT",
            Self::PARITY => "DID_PARITY",
            Self::ERROR => "DID_ERROR",
            Self::RESET => "DID_RESET",
            Self::BAD_INTR => "DID_BAD_INTR",
            Self::PASSTHROUGH => "DID_PASSTHROUGH",
            Self::SOFT_ERROR => "DID_SOFT_ERROR",
            Self::IMM_RETRY => "DID_IMM_RETRY",
            Self::REQUEUE => "DID_REQUEUE",
            Self::TRANSPORT_DISRUPTED => "DID_TRANSPORT_DISRUPTED",
            Self::TRANSPORT_FAILFAST => "DID_TRANSPORT_FAILFAST",
            Self::TARGET_FAILURE => "DID_TARGET_FAILURE",
            Self::NEXUS_FAILURE => "DID_NEXUS_FAILURE",
            Self::ALLOC_FAILURE => "DID_ALLOC_FAILURE",
            Self::MEDIUM_ERROR => "DID_MEDIUM_ERROR",
            Self::TRANSPORT_MARGINAL => "DID_TRANSPORT_MARGINAL",
            _ => return None,
        })
    }

    /// Whether the status only qualifies an answer that the device gave. Older kernels turn
    /// some statuses and senses into these numbers.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(
            self,
            Self::OK
                | Self::PASSTHROUGH
                | Self::TARGET_FAILURE
                | Self::NEXUS_FAILURE
                | Self::ALLOC_FAILURE
                | Self::MEDIUM_ERROR
        )
    }
}

impl fmt::Display for HostStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "host status {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for HostStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What the low-level driver said (`DRIVER_*`): the low four bits, with "suggestions" of old
/// kernels above them. Linux since 5.14 sets nothing but [`DriverStatus::SENSE`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DriverStatus(u16);

impl DriverStatus {
    /// Nothing.
    pub const OK: Self = Self(0x00);
    /// Busy.
    pub const BUSY: Self = Self(0x01);
    /// Soft error.
    pub const SOFT: Self = Self(0x02);
    /// Medium.
    pub const MEDIA: Self = Self(0x03);
    /// Error.
    pub const ERROR: Self = Self(0x04);
    /// Invalid.
    pub const INVALID: Self = Self(0x05);
    /// Timed out.
    pub const TIMEOUT: Self = Self(0x06);
    /// Hard error.
    pub const HARD: Self = Self(0x07);
    /// Sense data is there.
    pub const SENSE: Self = Self(0x08);

    /// The status with that number.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The number, suggestions included.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The status without the suggestion bits.
    #[must_use]
    pub const fn code(self) -> Self {
        Self(self.0 & 0x0f)
    }

    /// Linux's name of [`code`](Self::code); `None` for a number that has none.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.code() {
            Self::OK => "DRIVER_OK",
            Self::BUSY => "DRIVER_BUSY",
            Self::SOFT => "DRIVER_SOFT",
            Self::MEDIA => "DRIVER_MEDIA",
            Self::ERROR => "DRIVER_ERROR",
            Self::INVALID => "DRIVER_INVALID",
            Self::TIMEOUT => "DRIVER_TIMEOUT",
            Self::HARD => "DRIVER_HARD",
            Self::SENSE => "DRIVER_SENSE",
            _ => return None,
        })
    }
}

impl fmt::Display for DriverStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) if self.0 == self.code().0 => f.pad(name),
            Some(name) => write!(f, "{name} ({:#04x})", self.0),
            None => write!(f, "driver status {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for DriverStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_raw_value_is_kept_and_shown() {
        for raw in 0..0x40_u16 {
            let host = HostStatus::from_raw(raw);
            assert_eq!(host.raw(), raw);
            assert_eq!(host.name().is_some(), raw <= 0x14, "{raw:#x}");
            let driver = DriverStatus::from_raw(raw);
            assert_eq!(driver.raw(), raw);
        }
        assert_eq!(HostStatus::from_raw(0x15).to_string(), "host status 0x15");
        assert_eq!(DriverStatus::from_raw(0x28).to_string(), "DRIVER_SENSE (0x28)");
        assert_eq!(DriverStatus::from_raw(0x08).to_string(), "DRIVER_SENSE");
        assert_eq!(DriverStatus::from_raw(0x0f).to_string(), "driver status 0x0f");
    }

    #[test]
    fn names_stand_at_the_numbers_of_scsi_status_h() {
        let names = [
            "DID_OK",
            "DID_NO_CONNECT",
            "DID_BUS_BUSY",
            "DID_TIME_OUT",
            "DID_BAD_TARGET",
            "DID_ABORT",
            "DID_PARITY",
            "DID_ERROR",
            "DID_RESET",
            "DID_BAD_INTR",
            "DID_PASSTHROUGH",
            "DID_SOFT_ERROR",
            "DID_IMM_RETRY",
            "DID_REQUEUE",
            "DID_TRANSPORT_DISRUPTED",
            "DID_TRANSPORT_FAILFAST",
            "DID_TARGET_FAILURE",
            "DID_NEXUS_FAILURE",
            "DID_ALLOC_FAILURE",
            "DID_MEDIUM_ERROR",
            "DID_TRANSPORT_MARGINAL",
        ];
        for (raw, name) in (0_u16..).zip(names) {
            assert_eq!(HostStatus::from_raw(raw).name(), Some(name));
        }
    }
}
