//! The driver's requests as ours, and outcomes as its results: no I/O, and no need of the driver.
//!
//! The numbers are those of the kernel's `include/uapi/linux/ublk_cmd.h`; where the feature `ublk`
//! is on, they are held against `libublk`'s at compile time.

use crate::block::{BlockError, Geometry, Operation, Outcome, Request};

/// The unit of the driver's offsets and lengths, in bytes.
pub const SECTOR: u64 = 512;

/// Operations, the low byte of a descriptor's `op_flags`.
pub mod op {
    /// Read.
    pub const READ: u32 = 0;
    /// Write.
    pub const WRITE: u32 = 1;
    /// Flush.
    pub const FLUSH: u32 = 2;
    /// Discard.
    pub const DISCARD: u32 = 3;
    /// Write zeroes.
    pub const WRITE_ZEROES: u32 = 5;
}

/// Flags, the rest of `op_flags`.
pub mod flags {
    /// Forced unit access.
    pub const FUA: u32 = 1 << 13;
    /// The blocks are to stay allocated.
    pub const NO_UNMAP: u32 = 1 << 15;
}

/// Error numbers of results. The kernel turns them into block layer states, from which whoever
/// stands above learns whether another path could help.
pub mod errno {
    /// The device failed.
    pub const EIO: i32 = 5;
    /// Not a request that is taken.
    pub const EINVAL: i32 = 22;
    /// No room.
    pub const ENOSPC: i32 = 28;
    /// No writes here.
    pub const EROFS: i32 = 30;
    /// Reservation conflict.
    pub const EBADE: i32 = 52;
    /// No path: the transport failed.
    pub const ENOLINK: i32 = 67;
    /// Not offered.
    pub const EOPNOTSUPP: i32 = 95;
}

/// The error number for what became of a request.
#[must_use]
pub const fn errno_of(error: BlockError) -> i32 {
    match error {
        BlockError::Io | BlockError::Abandoned | BlockError::ShuttingDown => errno::EIO,
        BlockError::NoPath => errno::ENOLINK,
        BlockError::OutOfRange | BlockError::InvalidRequest => errno::EINVAL,
        BlockError::ReadOnly => errno::EROFS,
        BlockError::NoSpace => errno::ENOSPC,
        BlockError::NotSupported => errno::EOPNOTSUPP,
        BlockError::Reserved => errno::EBADE,
    }
}

/// A request as the driver describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// See [`op`] and [`flags`].
    pub op_flags: u32,
    /// Length in sectors of 512 bytes.
    pub sectors: u32,
    /// The first sector.
    pub start: u64,
}

/// The driver's request as ours, without its data: the caller gives it `data` of that length.
///
/// # Errors
///
/// What [`Geometry::allows`] says, or [`BlockError::NotSupported`] for an operation that we do not
/// know. The kernel keeps to what it was told of the device, so neither is expected.
pub fn request(descriptor: Descriptor, geometry: &Geometry) -> Result<Request, BlockError> {
    let Descriptor { op_flags, sectors, start } = descriptor;
    let operation = match op_flags & 0xff {
        op::READ => Operation::Read,
        op::WRITE => Operation::Write,
        op::FLUSH => Operation::Flush,
        op::DISCARD => Operation::Discard,
        op::WRITE_ZEROES => Operation::WriteZeroes { may_unmap: op_flags & flags::NO_UNMAP == 0 },
        _ => return Err(BlockError::NotSupported),
    };
    let (offset, length) = match operation {
        Operation::Flush => (0, 0),
        _ => {
            (start.checked_mul(SECTOR).ok_or(BlockError::OutOfRange)?, u64::from(sectors) * SECTOR)
        }
    };
    geometry.allows(operation, offset, length)?;
    let request = Request::without_data(operation, offset, length);
    Ok(request.with_fua(op_flags & flags::FUA != 0))
}

/// The result for the driver: the number of bytes that were served, or a negative error number. A
/// read that did not return `length` bytes is an error: the rest of the kernel's pages would be
/// somebody else's data.
#[must_use]
pub fn result(operation: Operation, length: u64, outcome: &Outcome) -> i32 {
    match outcome {
        Err(error) => -errno_of(*error),
        Ok(data) if operation == Operation::Read && data.len() as u64 != length => -errno::EIO,
        Ok(_) => i32::try_from(length).unwrap_or(-errno::EIO),
    }
}

/// Which requests of a recovered device an earlier server may have had.
///
/// With no I/O scheduler a request keeps its tag from its allocation to its end, over recovery too.
/// So only the first request of each tag can be one that the dead server had; the next one with
/// that tag was allocated after it. With a scheduler tags are given anew at each dispatch and say
/// nothing: every request counts then.
#[derive(Clone, Debug)]
pub struct Reissued {
    /// By tag: a request may still come that the dead server had.
    expected: Vec<bool>,
    tags_are_kept: bool,
}

impl Reissued {
    /// For a device that is new: no request was ever sent.
    #[must_use]
    pub fn none(depth: u16) -> Self {
        Self { expected: vec![false; usize::from(depth)], tags_are_kept: true }
    }

    /// For a device that is recovered; `tags_are_kept` where it has no scheduler.
    #[must_use]
    pub fn after_recovery(depth: u16, tags_are_kept: bool) -> Self {
        Self { expected: vec![true; usize::from(depth)], tags_are_kept }
    }

    /// A request with that tag came: whether an earlier server may have had it.
    pub fn arrived(&mut self, tag: u16) -> bool {
        let Some(expected) = self.expected.get_mut(usize::from(tag)) else { return true };
        let may_be = *expected;
        if self.tags_are_kept {
            *expected = false;
        }
        may_be
    }
}

#[cfg(feature = "ublk")]
mod same_numbers {
    use libublk::sys;

    use super::{flags, op};

    const _: () = assert!(
        op::READ == sys::UBLK_IO_OP_READ
            && op::WRITE == sys::UBLK_IO_OP_WRITE
            && op::FLUSH == sys::UBLK_IO_OP_FLUSH
            && op::DISCARD == sys::UBLK_IO_OP_DISCARD
            && op::WRITE_ZEROES == sys::UBLK_IO_OP_WRITE_ZEROES
            && flags::FUA == sys::UBLK_IO_F_FUA
            && flags::NO_UNMAP == sys::UBLK_IO_F_NOUNMAP
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry {
        bytes: 1 << 20,
        logical_block: 512,
        preferred: 4096,
        maximum: 65_536,
        read_only: false,
        discard: true,
        write_zeroes: true,
        shared_flush: true,
    };

    fn of(op_flags: u32, start: u64, sectors: u32) -> Result<Request, BlockError> {
        request(Descriptor { op_flags, sectors, start }, &GEOMETRY)
    }

    #[test]
    fn every_operation_becomes_its_request() {
        let without = Request::without_data;
        let zeroes = |may_unmap| Operation::WriteZeroes { may_unmap };
        for (op_flags, want) in [
            (op::READ, without(Operation::Read, 1024, 4096)),
            (op::WRITE | 1 << 20, without(Operation::Write, 1024, 4096)),
            (op::WRITE | flags::FUA, without(Operation::Write, 1024, 4096).with_fua(true)),
            (op::DISCARD, without(Operation::Discard, 1024, 4096)),
            (op::WRITE_ZEROES, without(zeroes(true), 1024, 4096)),
            (op::WRITE_ZEROES | flags::NO_UNMAP, without(zeroes(false), 1024, 4096)),
            // Linux gives a flush whatever place.
            (op::FLUSH, Request::flush()),
        ] {
            assert_eq!(of(op_flags, 2, 8), Ok(want));
        }
    }

    #[test]
    fn what_cannot_be_served_is_an_error_and_not_a_panic() {
        assert_eq!(of(4, 0, 8), Err(BlockError::NotSupported));
        assert_eq!(of(op::READ, u64::MAX, 8), Err(BlockError::OutOfRange));
        assert_eq!(of(op::READ, 2048, 8), Err(BlockError::OutOfRange));
        assert_eq!(of(op::WRITE, 0, u32::MAX), Err(BlockError::OutOfRange));
        assert_eq!(of(op::WRITE, 0, 256), Err(BlockError::InvalidRequest));
    }

    #[test]
    fn results_are_bytes_or_errors() {
        let read = |outcome| result(Operation::Read, 512, &outcome);
        assert_eq!(read(Ok(vec![0; 512])), 512);
        assert_eq!(read(Ok(vec![0; 511])), -errno::EIO);
        assert_eq!(read(Err(BlockError::NoPath)), -errno::ENOLINK);
        assert_eq!(result(Operation::Write, 512, &Ok(Vec::new())), 512);
        assert_eq!(result(Operation::Flush, 0, &Ok(Vec::new())), 0);
        assert_eq!(result(Operation::Write, 512, &Err(BlockError::Reserved)), -errno::EBADE);
    }

    #[test]
    fn only_the_first_request_of_a_tag_may_have_been_the_dead_servers() {
        let mut reissued = Reissued::after_recovery(2, true);
        assert_eq!(
            [1, 1, 0, 1, 0].map(|tag| reissued.arrived(tag)),
            [true, false, true, false, false]
        );
        let mut new = Reissued::none(2);
        assert_eq!([0, 1].map(|tag| new.arrived(tag)), [false, false]);
    }

    #[test]
    fn where_tags_are_not_kept_every_request_counts() {
        let mut reissued = Reissued::after_recovery(2, false);
        assert_eq!([0, 0, 1].map(|tag| reissued.arrived(tag)), [true; 3]);
        assert!(Reissued::none(1).arrived(9), "a tag that there is not");
    }
}
