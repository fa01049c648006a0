//! Tags: what a completion belongs to.

/// What a command of the host is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// TEST UNIT READY of the scan.
    ScanReady,
    /// Standard INQUIRY of the scan.
    ScanInquiry,
    /// Page 83h of the scan.
    ScanPage83,
    /// A command of the driver; the number is its place among those in flight.
    Driver(u8),
    /// A read of the workload.
    Read,
    /// TEST UNIT READY of the path checker.
    Check,
}

/// A command's tag: the unit, the path and the purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub(super) unit: usize,
    pub(super) path: usize,
    pub(super) purpose: Purpose,
}

impl Tag {
    pub(super) fn encode(self) -> u64 {
        let purpose: u64 = match self.purpose {
            Purpose::ScanReady => 0,
            Purpose::ScanInquiry => 1,
            Purpose::ScanPage83 => 2,
            Purpose::Read => 3,
            Purpose::Check => 4,
            Purpose::Driver(place) => 5 + u64::from(place),
        };
        (self.unit as u64) << 8 | (self.path as u64) << 4 | purpose
    }

    pub(super) fn decode(tag: u64) -> Self {
        let purpose = match tag & 0xf {
            0 => Purpose::ScanReady,
            1 => Purpose::ScanInquiry,
            2 => Purpose::ScanPage83,
            3 => Purpose::Read,
            4 => Purpose::Check,
            place => Purpose::Driver((place - 5) as u8),
        };
        Self { unit: (tag >> 8) as usize, path: (tag >> 4 & 0xf) as usize, purpose }
    }
}
