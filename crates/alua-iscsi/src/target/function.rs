//! Task management (RFC 7143, section 11.5). A function that is answered "complete" has ended the
//! commands in the array, unless a fault of the array makes it lie.

use alua_array::FunctionResult;
use zerocopy::byteorder::big_endian::U32;

use super::Target;
use super::receive::{Pdu, Verdict, reason};
use super::scsi::array_tag;
use super::session::Stage;
use crate::event::{ConnectionId, What};
use crate::pdu::layout::{Answer, Function};
use crate::pdu::{flag, opcode};

use alua_core::spc::luns::Lun;

/// Response codes (RFC 7143, section 11.6.1).
mod response {
    pub(super) const COMPLETE: u8 = 0;
    pub(super) const NO_TASK: u8 = 1;
    pub(super) const NO_UNIT: u8 = 2;
    pub(super) const NO_REASSIGNMENT: u8 = 4;
    pub(super) const NOT_SUPPORTED: u8 = 5;
    pub(super) const REJECTED: u8 = 255;
}

impl Target {
    pub(super) fn function(&mut self, id: ConnectionId, pdu: &Pdu<'_>) -> Verdict {
        let request = Function::of(pdu.header);
        let Some(key) = self.session_of(id) else {
            return Verdict::Fatal(reason::PROTOCOL, "task management in a discovery session");
        };
        let Some(nexus) = self.sessions.get(key).map(|session| session.nexus) else {
            return Verdict::Fine;
        };
        let lun = Lun(request.lun).as_simple().unwrap_or(u16::MAX);
        let mut close_all = false;
        let (name, result) = match request.function & 0x7f {
            1 => ("ABORT TASK", self.abort_task(key, request.referenced_task_tag.get())),
            2 => ("ABORT TASK SET", {
                let result = self.array.abort_task_set(nexus, lun);
                self.after_abort(&result, key, lun, false);
                of_result(&result)
            }),
            3 => ("CLEAR ACA", Some(response::NOT_SUPPORTED)),
            4 => ("CLEAR TASK SET", {
                let result = self.array.clear_task_set(nexus, lun);
                self.after_abort(&result, key, lun, true);
                of_result(&result)
            }),
            5 => ("LOGICAL UNIT RESET", {
                let result = self.array.reset_unit(nexus, lun);
                self.after_abort(&result, key, lun, true);
                of_result(&result)
            }),
            function @ (6 | 7) => {
                let result = self.array.reset_target(nexus);
                if result == FunctionResult::Complete {
                    self.drop_collecting_of_all(key, None);
                }
                close_all = function == 7 && result == FunctionResult::Complete;
                (if function == 6 { "TARGET WARM RESET" } else { "TARGET COLD RESET" }, {
                    of_result(&result)
                })
            }
            8 => ("TASK REASSIGN", Some(response::NO_REASSIGNMENT)),
            _ => ("an unknown function", Some(response::NOT_SUPPORTED)),
        };
        // Answers to commands that ended before go out first, and those to other nexuses.
        self.follow_array();
        self.record(What::Function { nexus, function: name, response: result });
        if let Some(code) = result {
            self.function_response(id, request.initiator_task_tag.get(), code);
        }
        if close_all {
            // RFC 7143, section 11.5.1: a cold reset ends every connection.
            self.dismiss(None);
        }
        Verdict::Fine
    }

    fn function_response(&mut self, id: ConnectionId, tag: u32, code: u8) {
        let Some(numbers) = self.numbers(id, true) else { return };
        let mut header = Answer::zeroed();
        header.opcode = opcode::FUNCTION_RESPONSE;
        header.flags = flag::FINAL;
        header.response = code;
        header.initiator_task_tag = U32::new(tag);
        header.stat_sn = U32::new(numbers.stat_sn);
        header.exp_cmd_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        self.send_short(id, header.bytes(), &[]);
    }

    fn abort_task(&mut self, key: usize, tag: u32) -> Option<u8> {
        let session = self.sessions.get(key)?;
        let nexus = session.nexus;
        let Some(task) = session.tasks.get(&tag) else { return Some(response::NO_TASK) };
        let full = array_tag(tag, task.serial);
        let result = match task.stage {
            // The array has not seen it: there is nothing that could go wrong.
            Stage::Collecting(_) => FunctionResult::Complete,
            Stage::Submitted => self.array.abort(nexus, full),
        };
        if matches!(result, FunctionResult::Complete | FunctionResult::NoSuchTask) {
            self.remove_task(key, tag);
        }
        of_result(&result)
    }

    /// Ends the commands of a logical unit that wait for data: the array does not know them.
    fn after_abort(&mut self, result: &FunctionResult, key: usize, lun: u16, every_nexus: bool) {
        if *result != FunctionResult::Complete {
            return;
        }
        let Some(unit) = self.unit_of(key, lun) else { return };
        if every_nexus {
            self.drop_collecting_of_all(key, Some(unit));
        } else {
            self.drop_collecting_of(key, Some(unit), false);
        }
    }

    fn unit_of(&self, key: usize, lun: u16) -> Option<usize> {
        self.array.unit_behind_lun(self.sessions.get(key)?.nexus, lun)
    }

    fn drop_collecting_of_all(&mut self, by: usize, unit: Option<usize>) {
        let tell = self.array.config().array.task_aborted_status;
        for key in self.sessions.keys() {
            self.drop_collecting_of(key, unit, tell && key != by);
        }
    }

    fn drop_collecting_of(&mut self, key: usize, unit: Option<usize>, tell: bool) {
        let Some(session) = self.sessions.get(key) else { return };
        let (nexus, connection) = (session.nexus, session.connection);
        let mut tags = Vec::new();
        for (&tag, task) in &session.tasks {
            let own = unit.is_none() || self.array.unit_behind_lun(nexus, task.lun) == unit;
            if own && matches!(task.stage, Stage::Collecting(_)) {
                tags.push(tag);
            }
        }
        for tag in tags {
            let task = self.remove_task(key, tag);
            if let (true, Some(id), Some(task)) = (tell, connection, task) {
                self.answer_aborted(id, tag, &task);
            }
        }
    }

    /// Ends every command of a session.
    pub(super) fn abort_all(&mut self, key: usize) {
        let Some(session) = self.sessions.get(key) else { return };
        let nexus = session.nexus;
        let tags: Vec<(u32, u32)> =
            session.tasks.iter().map(|(&tag, task)| (tag, task.serial)).collect();
        for (tag, serial) in tags {
            self.array.abort(nexus, array_tag(tag, serial));
            self.remove_task(key, tag);
        }
    }
}

/// The response for what the array says; `None`: there is none.
const fn of_result(result: &FunctionResult) -> Option<u8> {
    match result {
        FunctionResult::Complete => Some(response::COMPLETE),
        FunctionResult::NoSuchTask => Some(response::NO_TASK),
        FunctionResult::NoSuchUnit => Some(response::NO_UNIT),
        FunctionResult::Rejected => Some(response::REJECTED),
        FunctionResult::NoAnswer | FunctionResult::Transport(_) => None,
    }
}
