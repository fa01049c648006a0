//! What a unit costs: CPU time of this process, bytes of the driver's state.

use std::time::Duration;

use alua_core::unit::{Group, LogicalUnit, Path};
use rustix::time::{ClockId, clock_gettime};

use super::{GROUPS, PATHS, Unit};

/// CPU time that this process has used.
#[must_use]
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of the driver's state. All of it is here: the core has no other memory.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// For each path.
    pub path: usize,
    /// For each group.
    pub group: usize,
    /// For the unit apart from its paths and groups.
    pub own: usize,
    /// For a unit with eight paths in two groups, all together.
    pub unit: usize,
}

impl Bytes {
    /// What this build has.
    #[must_use]
    pub const fn measure() -> Self {
        Self {
            path: size_of::<Path>(),
            group: size_of::<Group>(),
            own: size_of::<LogicalUnit<[Group; 0], [Path; 0]>>(),
            unit: size_of::<Unit>(),
        }
    }

    /// The unit's bytes, shared out to its paths; rounded up.
    #[must_use]
    pub const fn per_path(self) -> usize {
        self.unit.div_ceil(PATHS)
    }

    /// Whether the parts make up the whole, up to alignment.
    #[must_use]
    pub const fn adds_up(self) -> bool {
        self.unit - (self.own + GROUPS * self.group + PATHS * self.path) < 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_of_eight_paths_keeps_to_its_bytes() {
        let bytes = Bytes::measure();
        assert!(bytes.adds_up(), "{bytes:?}");
        assert!(bytes.per_path() <= 256, "the goal of docs/figures.md: {bytes:?}");
    }
}
