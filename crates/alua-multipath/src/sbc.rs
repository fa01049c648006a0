//! The commands of SBC that carry block requests, for shells that send CDBs.

use crate::request::{Operation, Request};

/// A command descriptor block of up to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CdbBlock {
    bytes: [u8; 16],
    length: u8,
}

impl CdbBlock {
    /// The block with the first 16 of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut block = Self { bytes: [0; 16], length: 0 };
        for (to, from) in block.bytes.iter_mut().zip(bytes) {
            *to = *from;
            block.length += 1;
        }
        block
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Bytes of READ CAPACITY (16) parameter data that are read.
pub const CAPACITY_BYTES: u32 = 32;
/// Bytes of an UNMAP parameter list with one descriptor.
pub const UNMAP_BYTES: usize = 24;
/// WRPROTECT, DPO, FUA and so on stand in byte 1; FUA is this bit (SBC-4, WRITE (16)).
const FUA: u8 = 0x08;
/// UNMAP of WRITE SAME (16).
const UNMAP: u8 = 0x08;

/// READ CAPACITY (16).
#[must_use]
pub fn read_capacity_16() -> CdbBlock {
    let mut cdb = [0; 16];
    cdb[0] = 0x9e;
    cdb[1] = 0x10;
    cdb[10..14].copy_from_slice(&CAPACITY_BYTES.to_be_bytes());
    CdbBlock::new(&cdb)
}

/// Number and size of the blocks in READ CAPACITY (16) parameter data; `None` where the data is
/// short, or describes no device that can be.
#[must_use]
pub fn parse_capacity_16(data: &[u8]) -> Option<(u64, u32)> {
    let last = u64::from_be_bytes(*data.first_chunk::<8>()?);
    let size = u32::from_be_bytes(*data.get(8..)?.first_chunk::<4>()?);
    let plausible = size.is_power_of_two() && (512..=65_536).contains(&size);
    let blocks = last.checked_add(1)?;
    (plausible && blocks.checked_mul(u64::from(size)).is_some()).then_some((blocks, size))
}

/// The command for a request: READ (16), WRITE (16), SYNCHRONIZE CACHE (16), UNMAP, or WRITE SAME
/// (16) of zeros. FUA is not in the last two: the engine flushes behind them.
#[must_use]
pub fn cdb(request: &Request) -> CdbBlock {
    let mut cdb = [0; 16];
    if request.operation == Operation::Discard {
        cdb[0] = 0x42;
        cdb[7..9].copy_from_slice(&(UNMAP_BYTES as u16).to_be_bytes());
        return CdbBlock::new(&cdb[..10]);
    }
    (cdb[0], cdb[1]) = match request.operation {
        Operation::Read => (0x88, 0),
        Operation::Write { fua } => (0x8a, if fua { FUA } else { 0 }),
        Operation::WriteZeroes { unmap, .. } => (0x93, if unmap { UNMAP } else { 0 }),
        Operation::Flush | Operation::Discard => (0x91, 0),
    };
    cdb[2..10].copy_from_slice(&request.lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&request.blocks.to_be_bytes());
    CdbBlock::new(&cdb)
}

/// The parameter list of the UNMAP that [`cdb`] makes.
#[must_use]
pub fn unmap_list(request: &Request) -> [u8; UNMAP_BYTES] {
    let mut list = [0; UNMAP_BYTES];
    list[0..2].copy_from_slice(&(UNMAP_BYTES as u16 - 2).to_be_bytes());
    list[2..4].copy_from_slice(&16_u16.to_be_bytes());
    list[8..16].copy_from_slice(&request.lba.to_be_bytes());
    list[16..20].copy_from_slice(&request.blocks.to_be_bytes());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_of_eight_blocks() {
        let request =
            Request { operation: Operation::Write { fua: true }, lba: 0x0102_0304_0506, blocks: 8 };
        assert_eq!(cdb(&request).as_bytes(), [0x8a, 8, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 8, 0, 0]);
    }

    #[test]
    fn a_discard_of_eight_blocks() {
        let request = Request { operation: Operation::Discard, lba: 0x10, blocks: 8 };
        assert_eq!(cdb(&request).as_bytes(), [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
        let list = unmap_list(&request);
        assert_eq!(list[..8], [0, 22, 0, 16, 0, 0, 0, 0]);
        assert_eq!(list[8..], [0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0, 0]);
    }

    #[test]
    fn capacity_data_is_not_believed_blindly() {
        let data = |last: u64, size: u32| {
            let mut data = [0; 32];
            data[..8].copy_from_slice(&last.to_be_bytes());
            data[8..12].copy_from_slice(&size.to_be_bytes());
            data
        };
        assert_eq!(parse_capacity_16(&data(2047, 512)), Some((2048, 512)));
        assert_eq!(parse_capacity_16(&data(2047, 512)[..11]), None);
        assert_eq!(parse_capacity_16(&data(u64::MAX, 512)), None);
        assert_eq!(parse_capacity_16(&data(u64::MAX - 1, 512)), None);
        assert_eq!(parse_capacity_16(&data(7, 0)), None);
        assert_eq!(parse_capacity_16(&data(7, 520)), None);
    }
}
