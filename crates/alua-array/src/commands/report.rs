//! Reports about the device server itself: REPORT LUNS, REQUEST SENSE, REPORT SUPPORTED OPERATION
//! CODES, LOG SENSE, SEND DIAGNOSTIC.

use super::{Answer, Call, Failure, number};
use crate::array::Array;
use crate::command::{Command, Row};
use crate::nexus::Attentions;
use crate::sense::{Sense, SenseCode, key};
use crate::task::Task;

/// A logical unit number as eight bytes: peripheral addressing up to 255, flat addressing above.
fn lun_bytes(lun: u16) -> [u8; 8] {
    let [high, low] = lun.to_be_bytes();
    let method = if lun > 255 { 0x40 } else { 0 };
    [high & 0x3f | method, low, 0, 0, 0, 0, 0, 0]
}

impl Array {
    pub(super) fn report_luns(&mut self, task: &Task, port: usize, out: &mut Vec<u8>) -> Answer {
        let allocation = number(&task.cdb, 6, 4) as usize;
        if allocation < 16 {
            return Err(Failure::cdb(6));
        }
        // 00h: all but well known units, 02h: all; the model has no well known units (01h).
        let units = match task.cdb[2] {
            0 | 2 => self.ports[port].luns.as_slice(),
            1 => &[],
            _ => return Err(Failure::cdb(2)),
        };
        out.extend_from_slice(&[0; 8]);
        for (lun, behind) in (0..).zip(units) {
            if behind.is_some() {
                out.extend_from_slice(&lun_bytes(lun));
            }
        }
        let length = (out.len() - 8) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out.truncate(allocation);
        self.nexuses[task.nexus as usize].forget_lun_changes();
        Ok(())
    }

    /// A waiting unit attention is told, and with that done; else the state of the port's group.
    pub(super) fn request_sense(&mut self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        let nexus = &mut self.nexuses[call.task.nexus as usize];
        let waiting = nexus.attentions(call.task.lun).and_then(Attentions::take);
        let sense = match waiting {
            Some((code, overflow)) => {
                let mut sense = Sense::new(key::UNIT_ATTENTION, code);
                sense.attention_overflow = overflow;
                sense
            }
            None => match self.permit(call.unit, call.port, Command::TestUnitReady) {
                Err(Failure::Check(sense)) => sense,
                _ => Sense::new(key::NO_SENSE, SenseCode::new(0, 0)),
            },
        };
        out.extend_from_slice(sense.encode(call.cdb[1] & 1 != 0).as_bytes());
        out.truncate(usize::from(call.cdb[4]));
        Ok(())
    }

    pub(super) fn report_opcodes(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        let allocation = number(call.cdb, 6, 4) as usize;
        let timeouts = call.cdb[2] & 0x80 != 0;
        let (opcode, action) = (call.cdb[3], number(call.cdb, 4, 2));
        match call.cdb[2] & 7 {
            0 => {
                out.extend_from_slice(&[0; 4]);
                for row in Command::rows() {
                    let [high, low] = u16::from(row.service_action.unwrap_or(0)).to_be_bytes();
                    let flag = u8::from(row.service_action.is_some()) | u8::from(timeouts) << 1;
                    let length = row.usage.len() as u8;
                    out.extend_from_slice(&[row.opcode, 0, high, low, 0, flag, 0, length]);
                    if timeouts {
                        out.extend_from_slice(&TIMEOUTS);
                    }
                }
                let length = (out.len() - 4) as u32;
                out[..4].copy_from_slice(&length.to_be_bytes());
            }
            1 => {
                let row = Command::rows().find(|row| row.opcode == opcode);
                if row.is_some_and(|row| row.service_action.is_some()) {
                    return Err(Failure::cdb(2));
                }
                describe(row, timeouts, out);
            }
            2 => {
                let of_code = |row: &&Row| row.opcode == opcode;
                if Command::rows().any(|row| of_code(&row) && row.service_action.is_none()) {
                    return Err(Failure::cdb(2));
                }
                let wanted = |row: &&Row| row.service_action.map(u64::from) == Some(action);
                describe(Command::rows().filter(of_code).find(wanted), timeouts, out);
            }
            3 => {
                let wanted = |row: &&Row| {
                    row.opcode == opcode && row.service_action.map_or(0, u64::from) == action
                };
                describe(Command::rows().find(wanted), timeouts, out);
            }
            _ => return Err(Failure::cdb(2)),
        }
        out.truncate(allocation);
        Ok(())
    }
}

/// The command timeouts descriptor (RCTD): neither a nominal nor a recommended time is given.
const TIMEOUTS: [u8; 12] = [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The one-command format: supported as the standard says, with usage data; or not supported.
fn describe(row: Option<&Row>, timeouts: bool, out: &mut Vec<u8>) {
    match row {
        Some(row) => {
            let support = 3 | u8::from(timeouts) << 7;
            out.extend_from_slice(&[0, support, 0, row.usage.len() as u8]);
            out.extend_from_slice(row.usage);
            if timeouts {
                out.extend_from_slice(&TIMEOUTS);
            }
        }
        None => out.extend_from_slice(&[0, 1, 0, 0]),
    }
}

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET and LOGICAL UNIT RESET.
pub(super) fn task_management(call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
    let allocation = number(call.cdb, 6, 4) as usize;
    if allocation < 4 {
        return Err(Failure::cdb(6));
    }
    let extended = call.cdb[2] & 0x80 != 0;
    out.extend_from_slice(&[0xd8, 0, 0, 0]);
    if extended {
        out[3] = 12;
        out.resize(16, 0);
    }
    out.truncate(allocation);
    Ok(())
}

/// The supported pages (00h) and an empty informational exceptions page (2Fh).
pub(super) fn log_sense(call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
    if call.cdb[3] != 0 {
        return Err(Failure::cdb(3));
    }
    match call.cdb[2] & 0x3f {
        0x00 => out.extend_from_slice(&[0x00, 0, 0, 2, 0x00, 0x2f]),
        0x2f => out.extend_from_slice(&[0x2f, 0, 0, 8, 0, 0, 0x03, 4, 0, 0, 0, 0]),
        _ => return Err(Failure::cdb(2)),
    }
    out.truncate(number(call.cdb, 7, 2) as usize);
    Ok(())
}

/// The default self-test, which finds nothing.
pub(super) fn send_diagnostic(call: &Call<'_>) -> Answer {
    let self_test = call.cdb[1] & 0x04 != 0;
    if !self_test || call.cdb[1] & 0xf0 != 0 || number(call.cdb, 3, 2) != 0 {
        return Err(Failure::cdb(1));
    }
    Ok(())
}
