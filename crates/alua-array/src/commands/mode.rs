//! MODE SENSE and MODE SELECT: the caching, control and informational exceptions pages.

use super::{Answer, Call, Failure, number, parameter_list};
use crate::array::Array;
use crate::command::Command;
use crate::sense::SenseCode;

/// The bits that MODE SELECT may change: WCE, and D_SENSE.
const WCE: u8 = 0x04;
const D_SENSE: u8 = 0x04;

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const EXCEPTIONS: u8 = 0x1c;

impl Array {
    /// A mode page by its code; `control` is the PC field: 0 current, 1 changeable, 2 default.
    fn mode_page(&self, unit: usize, page: u8, control: u8) -> Option<Vec<u8>> {
        let unit = &self.units[unit];
        let bit = |current: bool, default: bool, bit: u8| match control {
            1 => bit,
            2 if default => bit,
            0 if current => bit,
            _ => 0,
        };
        let bytes = match page {
            CACHING => {
                let mut bytes = vec![CACHING, 18];
                bytes.resize(20, 0);
                bytes[2] = bit(unit.medium.volatile, unit.default_volatile, WCE);
                bytes
            }
            CONTROL => {
                let mut bytes = vec![CONTROL, 10];
                bytes.resize(12, 0);
                let default = self.config.array.descriptor_sense;
                bytes[2] = bit(unit.descriptor_sense, default, D_SENSE);
                if control != 1 {
                    // Unrestricted reordering; TAS.
                    bytes[3] = 0x10;
                    bytes[5] = u8::from(self.config.array.task_aborted_status) << 6;
                }
                bytes
            }
            EXCEPTIONS => vec![EXCEPTIONS, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            _ => return None,
        };
        Some(bytes)
    }

    pub(super) fn mode_sense(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        let six = call.task.command == Command::ModeSense6;
        let (control, page, subpage) = (call.cdb[2] >> 6, call.cdb[2] & 0x3f, call.cdb[3]);
        if control == 3 {
            // SAVING PARAMETERS NOT SUPPORTED.
            return Err(Failure::illegal(SenseCode::new(0x39, 0x00)));
        }
        let codes: &[u8] = match page {
            0x3f => &[CACHING, CONTROL, EXCEPTIONS],
            CACHING => &[CACHING],
            CONTROL => &[CONTROL],
            EXCEPTIONS => &[EXCEPTIONS],
            _ => return Err(Failure::cdb(2)),
        };
        if subpage != 0 && !(page == 0x3f && subpage == 0xff) {
            return Err(Failure::cdb(3));
        }
        // DPOFUA, and WP where writes are refused.
        let unit = &self.units[call.unit];
        let specific = 0x10 | u8::from(unit.read_only) << 7;
        if six {
            out.extend_from_slice(&[0, 0, specific, 0]);
        } else {
            out.extend_from_slice(&[0, 0, 0, specific, 0, 0, 0, 0]);
        }
        if call.cdb[1] & 0x08 == 0 {
            let blocks = u32::try_from(unit.medium.blocks()).unwrap_or(u32::MAX);
            let size = unit.medium.block_size() as u32;
            out.extend_from_slice(&blocks.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
            out[if six { 3 } else { 7 }] = 8;
        }
        for &code in codes {
            out.extend(self.mode_page(call.unit, code, control).unwrap_or_default());
        }
        if six {
            out[0] = (out.len() - 1) as u8;
            out.truncate(usize::from(call.cdb[4]));
        } else {
            let length = (out.len() - 2) as u16;
            out[..2].copy_from_slice(&length.to_be_bytes());
            out.truncate(number(call.cdb, 7, 2) as usize);
        }
        Ok(())
    }

    pub(super) fn mode_select(&mut self, call: &Call<'_>) -> Answer {
        let six = call.task.command == Command::ModeSelect6;
        // PF must be set; SP cannot be.
        if call.cdb[1] & 0x11 != 0x10 {
            return Err(Failure::cdb(1));
        }
        let length = if six { u64::from(call.cdb[4]) } else { number(call.cdb, 7, 2) };
        if length == 0 {
            return Ok(());
        }
        let list = parameter_list(call.task, length)?;
        let header = if six { 4 } else { 8 };
        if list.len() < header {
            return Err(Failure::illegal(SenseCode::PARAMETER_LIST_LENGTH));
        }
        let descriptors = if six { usize::from(list[3]) } else { number(list, 6, 2) as usize };
        let mut at = header + descriptors;
        let unit = &self.units[call.unit];
        let (mut volatile, mut descriptor_sense) = (unit.medium.volatile, unit.descriptor_sense);
        while at < list.len() {
            let page = list.get(at..at + 2).map(|head| head[0] & 0x3f);
            let whole = page.and_then(|page| self.mode_page(call.unit, page, 0));
            let Some(current) = whole else { return Err(Failure::list(at)) };
            let Some(new) = list.get(at..at + current.len()) else {
                return Err(Failure::illegal(SenseCode::PARAMETER_LIST_LENGTH));
            };
            let changeable = self.mode_page(call.unit, current[0], 1).unwrap_or_default();
            for (offset, (&new, &old)) in new.iter().zip(&current).enumerate().skip(1) {
                let may = if offset < 2 { 0 } else { changeable[offset] };
                if (new ^ old) & !may != 0 {
                    return Err(Failure::list(at + offset));
                }
            }
            match current[0] {
                CACHING => volatile = new[2] & WCE != 0,
                CONTROL => descriptor_sense = new[2] & D_SENSE != 0,
                _ => {}
            }
            at += current.len();
        }
        self.set_mode(call, volatile, descriptor_sense);
        Ok(())
    }

    fn set_mode(&mut self, call: &Call<'_>, volatile: bool, descriptor_sense: bool) {
        let unit = &mut self.units[call.unit];
        if (unit.medium.volatile, unit.descriptor_sense) == (volatile, descriptor_sense) {
            return;
        }
        if unit.medium.volatile && !volatile {
            unit.medium.flush(0, 0);
        }
        unit.medium.volatile = volatile;
        unit.descriptor_sense = descriptor_sense;
        let own = call.task.nexus as usize;
        self.establish(call.unit, SenseCode::MODE_PARAMETERS_CHANGED, |_, nexus| nexus != own);
    }
}
