//! SBC: the commands that read, write and describe blocks.

use super::{Answer, Call, Failure, number, parameter_list};
use crate::array::Array;
use crate::command::Command;
use crate::completion::MediumChange;
use crate::sense::{Sense, SenseCode, key};

/// The most bytes that one command moves; Block Limits tells it in blocks.
pub(crate) const MAX_TRANSFER_BYTES: usize = 16 << 20;
/// What the medium allocates at a time.
pub(crate) const GRANULARITY_BYTES: usize = 4096;
/// The most block descriptors of one UNMAP.
pub(crate) const MAX_UNMAP_DESCRIPTORS: u32 = 256;

/// The blocks that a command is about.
#[derive(Clone, Copy, Debug)]
struct Extent {
    lba: u64,
    count: u64,
    /// The byte of the CDB in which the count begins.
    count_at: u16,
    /// Force unit access.
    fua: bool,
}

/// Reads block address and count out of a CDB by the length of the CDB.
fn extent(call: &Call<'_>) -> Extent {
    let cdb = call.cdb;
    let fua = cdb[1] & 0x08 != 0;
    match call.task.command.cdb_length() {
        Some(6) => {
            let count = if cdb[4] == 0 { 256 } else { u64::from(cdb[4]) };
            Extent { lba: number(cdb, 1, 3) & 0x1f_ffff, count, count_at: 4, fua: false }
        }
        Some(10) => Extent { lba: number(cdb, 2, 4), count: number(cdb, 7, 2), count_at: 7, fua },
        Some(12) => Extent { lba: number(cdb, 2, 4), count: number(cdb, 6, 4), count_at: 6, fua },
        _ => Extent { lba: number(cdb, 2, 8), count: number(cdb, 10, 4), count_at: 10, fua },
    }
}

impl Array {
    pub(super) fn ready(&self, call: &Call<'_>) -> Answer {
        if self.units[call.unit].stopped {
            // LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED.
            return Err(Failure::Check(Sense::new(key::NOT_READY, SenseCode::new(0x04, 0x02))));
        }
        Ok(())
    }

    /// Whether the blocks are there, not too many, and this group's business.
    fn check_extent(&self, call: &Call<'_>, extent: Extent) -> Answer {
        self.ready(call)?;
        let medium = &self.units[call.unit].medium;
        if !medium.has(extent.lba, extent.count) {
            // The information field holds the first block that is not there.
            let first = extent.lba.max(medium.blocks());
            let sense = Sense::illegal(SenseCode::LBA_OUT_OF_RANGE).with_information(first);
            return Err(Failure::Check(sense));
        }
        if extent.count > (MAX_TRANSFER_BYTES / medium.block_size()) as u64 {
            return Err(Failure::cdb(extent.count_at));
        }
        self.check_referral(call, extent.lba, extent.count)
    }

    /// The same, for a command that changes blocks.
    fn check_write(&self, call: &Call<'_>, extent: Extent) -> Answer {
        self.check_extent(call, extent)?;
        self.check_protection(call)
    }

    fn check_protection(&self, call: &Call<'_>) -> Answer {
        if self.units[call.unit].read_only {
            // WRITE PROTECTED.
            let sense = Sense::new(key::DATA_PROTECT, SenseCode::new(0x27, 0x00));
            return Err(Failure::Check(sense));
        }
        Ok(())
    }

    /// The data of `count` blocks that came with the command.
    fn blocks_out<'a>(&self, call: &Call<'a>, count: u64) -> Result<&'a [u8], Failure> {
        let length = count as usize * self.units[call.unit].medium.block_size();
        call.task.data_out.get(..length).ok_or({
            // INVALID FIELD IN COMMAND INFORMATION UNIT: the initiator announced less data than the
            // CDB takes (as Linux answers where iSCSI's Expected Data Transfer Length is too small).
            Failure::illegal(SenseCode::new(0x0e, 0x03))
        })
    }

    pub(super) fn read(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        let extent = extent(call);
        self.check_protect_field(call)?;
        self.check_extent(call, extent)?;
        self.units[call.unit].medium.read_into(extent.lba, extent.count, out);
        Ok(())
    }

    /// RDPROTECT, WRPROTECT and VRPROTECT: the model has no protection information.
    fn check_protect_field(&self, call: &Call<'_>) -> Answer {
        let six = call.task.command.cdb_length() == Some(6);
        if !six && call.cdb[1] & 0xe0 != 0 {
            return Err(Failure::cdb(1));
        }
        Ok(())
    }

    pub(super) fn write(&mut self, call: &Call<'_>) -> Answer {
        let extent = extent(call);
        self.check_protect_field(call)?;
        self.check_write(call, extent)?;
        let data = self.blocks_out(call, extent.count)?;
        self.put_blocks(call, extent, data);
        Ok(())
    }

    fn put_blocks(&mut self, call: &Call<'_>, extent: Extent, data: &[u8]) {
        let controller = self.ports[call.port].controller;
        self.units[call.unit].medium.write(extent.lba, data, controller, extent.fua);
        self.record(call.task, MediumChange::Write, extent.lba, extent.count);
    }

    pub(super) fn verify(&self, call: &Call<'_>) -> Answer {
        let extent = extent(call);
        self.check_protect_field(call)?;
        self.check_extent(call, extent)?;
        match call.cdb[1] >> 1 & 3 {
            0 => Ok(()),
            1 => {
                let data = self.blocks_out(call, extent.count)?;
                self.compare(call, extent, data)
            }
            3 if extent.count == 0 => Ok(()),
            3 => {
                let block = self.blocks_out(call, 1)?;
                for lba in extent.lba..extent.lba + extent.count {
                    self.compare(call, Extent { lba, count: 1, ..extent }, block)?;
                }
                Ok(())
            }
            _ => Err(Failure::cdb(1)),
        }
    }

    /// MISCOMPARE where the medium differs, with the offset of the first byte that does.
    fn compare(&self, call: &Call<'_>, extent: Extent, data: &[u8]) -> Answer {
        let mut there = Vec::new();
        self.units[call.unit].medium.read_into(extent.lba, extent.count, &mut there);
        match there.iter().zip(data).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(at) => {
                let code = SenseCode::new(0x1d, 0x00);
                let sense = Sense::new(key::MISCOMPARE, code).with_information(at as u64);
                Err(Failure::Check(sense))
            }
        }
    }

    pub(super) fn compare_and_write(&mut self, call: &Call<'_>) -> Answer {
        let count = u64::from(call.cdb[13]);
        let extent = Extent { count, count_at: 13, ..extent(call) };
        self.check_protect_field(call)?;
        self.check_write(call, extent)?;
        let both = self.blocks_out(call, 2 * count)?;
        let (compare, write) = both.split_at(both.len() / 2);
        self.compare(call, extent, compare)?;
        self.put_blocks(call, extent, write);
        Ok(())
    }

    pub(super) fn write_same(&mut self, call: &Call<'_>) -> Answer {
        let extent = extent(call);
        self.check_protect_field(call)?;
        let unmap = call.cdb[1] & 0x08 != 0;
        let no_data = call.task.command == Command::WriteSame16 && call.cdb[1] & 1 != 0;
        // ANCHOR: page B2h says (ANC_SUP) that blocks cannot be anchored.
        if call.cdb[1] & 0x10 != 0 {
            return Err(Failure::cdb(1));
        }
        // WSNZ: a count of 0 does not mean "to the end".
        if extent.count == 0 {
            return Err(Failure::cdb(extent.count_at));
        }
        self.check_write(call, extent)?;
        let zeros;
        let block = if no_data {
            zeros = vec![0; self.units[call.unit].medium.block_size()];
            zeros.as_slice()
        } else {
            self.blocks_out(call, 1)?
        };
        if unmap && block.iter().all(|&byte| byte == 0) {
            self.drop_blocks(call, extent.lba, extent.count);
            return Ok(());
        }
        let data = block.repeat(extent.count as usize);
        // There is no FUA bit: in its place stands UNMAP.
        self.put_blocks(call, Extent { fua: false, ..extent }, &data);
        Ok(())
    }

    fn drop_blocks(&mut self, call: &Call<'_>, lba: u64, count: u64) {
        let controller = self.ports[call.port].controller;
        self.units[call.unit].medium.unmap(lba, count, controller);
        self.record(call.task, MediumChange::Unmap, lba, count);
    }

    pub(super) fn unmap(&mut self, call: &Call<'_>) -> Answer {
        self.ready(call)?;
        // ANCHOR, as in WRITE SAME.
        if call.cdb[1] & 1 != 0 {
            return Err(Failure::cdb(1));
        }
        self.check_protection(call)?;
        let length = number(call.cdb, 7, 2);
        if length == 0 {
            return Ok(());
        }
        let list = parameter_list(call.task, length)?;
        if list.len() < 8 {
            return Err(Failure::illegal(SenseCode::PARAMETER_LIST_LENGTH));
        }
        let told = number(list, 2, 2) as usize;
        let Some(descriptors) = list.get(8..8 + told).filter(|_| told.is_multiple_of(16)) else {
            return Err(Failure::list(2));
        };
        if told / 16 > MAX_UNMAP_DESCRIPTORS as usize {
            return Err(Failure::list(2));
        }
        // All are checked before the first takes effect.
        for carry_out in [false, true] {
            for descriptor in descriptors.chunks_exact(16) {
                let (lba, count) = (number(descriptor, 0, 8), number(descriptor, 8, 4));
                if carry_out && count > 0 {
                    self.drop_blocks(call, lba, count);
                } else if !self.units[call.unit].medium.has(lba, count) {
                    return Err(Failure::illegal(SenseCode::LBA_OUT_OF_RANGE));
                } else {
                    self.check_referral(call, lba, count)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn synchronize_cache(&mut self, call: &Call<'_>) -> Answer {
        self.ready(call)?;
        let extent = extent(call);
        let medium = &mut self.units[call.unit].medium;
        if !medium.has(extent.lba, extent.count) {
            return Err(Failure::illegal(SenseCode::LBA_OUT_OF_RANGE));
        }
        medium.flush(extent.lba, extent.count);
        Ok(())
    }

    pub(super) fn get_lba_status(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        self.ready(call)?;
        let first = number(call.cdb, 2, 8);
        let medium = &self.units[call.unit].medium;
        if first >= medium.blocks() {
            return Err(Failure::illegal(SenseCode::LBA_OUT_OF_RANGE));
        }
        let allocation = number(call.cdb, 10, 4) as usize;
        out.extend_from_slice(&[0; 8]);
        let granularity = (GRANULARITY_BYTES / medium.block_size()) as u64;
        let mut lba = first;
        // One descriptor per run, no more than fit and no more than a few.
        while lba < medium.blocks() && out.len() < allocation.min(8 + 16 * 64) {
            let mapped = medium.is_mapped(lba);
            let end = medium.run_end(lba, granularity);
            let count = u32::try_from(end - lba).unwrap_or(u32::MAX);
            out.extend_from_slice(&lba.to_be_bytes());
            out.extend_from_slice(&count.to_be_bytes());
            out.extend_from_slice(&[u8::from(!mapped), 0, 0, 0]);
            lba += u64::from(count);
        }
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out.truncate(allocation);
        Ok(())
    }

    pub(super) fn read_capacity_10(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        self.ready(call)?;
        let medium = &self.units[call.unit].medium;
        let last = u32::try_from(medium.blocks() - 1).unwrap_or(u32::MAX);
        out.extend_from_slice(&last.to_be_bytes());
        out.extend_from_slice(&(medium.block_size() as u32).to_be_bytes());
        Ok(())
    }

    pub(super) fn read_capacity_16(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        self.ready(call)?;
        let medium = &self.units[call.unit].medium;
        out.extend_from_slice(&(medium.blocks() - 1).to_be_bytes());
        out.extend_from_slice(&(medium.block_size() as u32).to_be_bytes());
        out.resize(32, 0);
        if medium.block_size() == 512 {
            // Eight logical blocks per physical block.
            out[13] = 3;
        }
        // LBPME, LBPRZ.
        out[14] = 0xc0;
        out.truncate(number(call.cdb, 10, 4) as usize);
        Ok(())
    }

    pub(super) fn start_stop(&mut self, call: &Call<'_>) -> Answer {
        // POWER CONDITION 0 is START_VALID; there is nothing to load or eject.
        if call.cdb[4] & 0xf2 != 0 {
            return Err(Failure::cdb(4));
        }
        let stop = call.cdb[4] & 1 == 0;
        let unit = &mut self.units[call.unit];
        unit.stopped = stop;
        // Stopping writes the cache out, unless NO_FLUSH says not to.
        if stop && call.cdb[4] & 0x04 == 0 {
            unit.medium.flush(0, 0);
        }
        Ok(())
    }
}
