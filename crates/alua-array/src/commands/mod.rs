//! The device server: from a command to its answer.
//!
//! # Order of the checks
//!
//! What answers a command is decided in this order, when the command is carried out:
//!
//! 1. a fault that replaces the answer;
//! 2. no room in the unit: TASK SET FULL;
//! 3. no unit behind the number (INQUIRY, REPORT LUNS and REQUEST SENSE are answered);
//! 4. a reservation of another nexus: RESERVATION CONFLICT, which leaves unit attentions waiting
//!    (SAM-5, status precedence);
//! 5. a unit attention, except for INQUIRY, REPORT LUNS and REQUEST SENSE;
//! 6. a command that the unit does not have: ILLEGAL REQUEST 20/00, or 24/00 for a service action;
//! 7. the access state of the port's group;
//! 8. the command itself.

mod block;
mod inquiry;
mod mode;
mod port_groups;
mod report;
mod reserve;

use alua_core::spc::Status;

use crate::array::Array;
use crate::command::Command;
use crate::fault::FaultAction;
use crate::sense::{Sense, SenseBytes, SenseCode, key};
use crate::task::Task;

/// Why a command did not end GOOD.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// CHECK CONDITION.
    Check(Sense),
    /// CHECK CONDITION with sense data that are made already.
    Made(SenseBytes),
    /// Another status.
    Status(Status),
}

impl Failure {
    pub(crate) const fn illegal(code: SenseCode) -> Self {
        Self::Check(Sense::illegal(code))
    }

    /// ILLEGAL REQUEST, invalid field in CDB, at that byte.
    pub(crate) const fn cdb(byte: u16) -> Self {
        Self::Check(Sense::cdb_field(byte))
    }

    /// ILLEGAL REQUEST, invalid field in parameter list, at that byte.
    pub(crate) const fn list(byte: usize) -> Self {
        Self::Check(Sense::list_field(byte as u16))
    }
}

pub(crate) type Answer = Result<(), Failure>;

/// A command with what it is addressed to.
pub(crate) struct Call<'a> {
    pub(crate) task: &'a Task,
    pub(crate) cdb: &'a [u8; crate::task::MAX_CDB],
    pub(crate) port: usize,
    pub(crate) unit: usize,
}

impl Array {
    /// Answers a command; data go to `out`.
    pub(crate) fn serve(&mut self, task: &Task, out: &mut Vec<u8>) -> (Status, Option<SenseBytes>) {
        let failure = match self.answer(task, out) {
            Ok(()) => return (Status::Good, None),
            Err(failure) => failure,
        };
        out.clear();
        match failure {
            Failure::Status(status) => (status, None),
            Failure::Made(sense) => (Status::CheckCondition, Some(sense)),
            Failure::Check(sense) => {
                let descriptor = match task.unit {
                    Some(unit) => self.units[unit as usize].descriptor_sense,
                    None => self.config.array.descriptor_sense,
                };
                (Status::CheckCondition, Some(sense.encode(descriptor)))
            }
        }
    }

    fn answer(&mut self, task: &Task, out: &mut Vec<u8>) -> Answer {
        match task.action() {
            Some(FaultAction::Status(status)) => return Err(Failure::Status(*status)),
            Some(FaultAction::Check(sense)) => {
                return Err(Failure::Check(Sense::new(sense.key, sense.code)));
            }
            _ => {}
        }
        if task.full {
            return Err(Failure::Status(Status::TaskSetFull));
        }
        let port = self.nexuses[task.nexus as usize].port;
        let Some(unit) = task.unit else { return self.answer_nowhere(task, port, out) };
        let call = Call { task, cdb: &task.cdb, port, unit: unit as usize };
        self.check_reservation(&call)?;
        let quiet =
            matches!(task.command, Command::Inquiry | Command::ReportLuns | Command::RequestSense);
        if !quiet {
            self.check_attention(&call)?;
        }
        if task.command == Command::Other {
            let known = Command::rows().any(|row| row.opcode == task.cdb[0]);
            return Err(if known {
                Failure::cdb(1)
            } else {
                Failure::illegal(SenseCode::INVALID_OPCODE)
            });
        }
        self.permit(call.unit, port, task.command)?;
        self.carry_out(&call, out)
    }

    /// A command to a logical unit number with nothing behind it.
    fn answer_nowhere(&mut self, task: &Task, port: usize, out: &mut Vec<u8>) -> Answer {
        match task.command {
            Command::Inquiry => inquiry::nowhere(&task.cdb, out),
            Command::ReportLuns => self.report_luns(task, port, out),
            Command::RequestSense => {
                let sense = Sense::illegal(SenseCode::LUN_NOT_SUPPORTED);
                out.extend_from_slice(sense.encode(task.cdb[1] & 1 != 0).as_bytes());
                out.truncate(usize::from(task.cdb[4]));
                Ok(())
            }
            _ => Err(Failure::illegal(SenseCode::LUN_NOT_SUPPORTED)),
        }
    }

    fn check_attention(&mut self, call: &Call<'_>) -> Answer {
        let nexus = &mut self.nexuses[call.task.nexus as usize];
        let Some((code, overflow)) =
            nexus.attentions(call.task.lun).and_then(crate::nexus::Attentions::take)
        else {
            return Ok(());
        };
        let mut sense = Sense::new(key::UNIT_ATTENTION, code);
        sense.attention_overflow = overflow;
        Err(Failure::Check(sense))
    }

    fn carry_out(&mut self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        use Command as C;
        match call.task.command {
            C::TestUnitReady => self.ready(call),
            C::Read6 | C::Read10 | C::Read12 | C::Read16 => self.read(call, out),
            C::Write6 | C::Write10 | C::Write12 | C::Write16 => self.write(call),
            C::Verify10 | C::Verify12 | C::Verify16 => self.verify(call),
            C::CompareAndWrite => self.compare_and_write(call),
            C::WriteSame10 | C::WriteSame16 => self.write_same(call),
            C::Unmap => self.unmap(call),
            C::SynchronizeCache10 | C::SynchronizeCache16 => self.synchronize_cache(call),
            C::GetLbaStatus => self.get_lba_status(call, out),
            C::ReadCapacity10 => self.read_capacity_10(call, out),
            C::ReadCapacity16 => self.read_capacity_16(call, out),
            C::StartStopUnit => self.start_stop(call),
            C::Inquiry => self.inquiry(call, out),
            C::RequestSense => self.request_sense(call, out),
            C::ReportLuns => self.report_luns(call.task, call.port, out),
            C::ReportTargetPortGroups => self.report_target_port_groups(call, out),
            C::SetTargetPortGroups => self.set_target_port_groups(call),
            C::ReportReferrals => self.report_referrals(call, out),
            C::ReportSupportedOperationCodes => self.report_opcodes(call, out),
            C::ReportSupportedTaskManagement => report::task_management(call, out),
            C::ModeSense6 | C::ModeSense10 => self.mode_sense(call, out),
            C::ModeSelect6 | C::ModeSelect10 => self.mode_select(call),
            C::LogSense => report::log_sense(call, out),
            C::SendDiagnostic => report::send_diagnostic(call),
            C::PersistentReserveIn => self.persistent_reserve_in(call, out),
            C::PersistentReserveOut => self.persistent_reserve_out(call),
            C::Other => Err(Failure::illegal(SenseCode::INVALID_OPCODE)),
        }
    }
}

/// A big-endian number of up to 8 bytes in a CDB or a parameter list; 0 where it is not there.
pub(crate) fn number(bytes: &[u8], from: usize, length: usize) -> u64 {
    let field = bytes.get(from..from + length).unwrap_or(&[]);
    field.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A parameter list of `length` bytes, as the CDB says, out of the data that came with it.
pub(crate) fn parameter_list(task: &Task, length: u64) -> Result<&[u8], Failure> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let wrong = Failure::illegal(SenseCode::PARAMETER_LIST_LENGTH);
    task.data_out.get(..length).ok_or(wrong)
}
