//! From the end of a command to PDUs.

use std::sync::Arc;

use alua_array::{Completion, Outcome};
use alua_core::spc::Status;
use zerocopy::byteorder::big_endian::U32;

use super::Target;
use super::scsi::DATA_MAX;
use super::session::{Direction, Task};
use crate::event::ConnectionId;
use crate::pdu::layout::{DataIn, Response};
use crate::pdu::{KEEP, flag, opcode};

/// A residual with its flag (RFC 7143, section 11.4.5).
#[derive(Clone, Copy)]
struct Residual {
    flag: u8,
    count: u32,
}

impl Residual {
    /// Positive: so many bytes less than expected. Negative: so many more.
    fn of(difference: i64) -> Self {
        let count = u32::try_from(difference.unsigned_abs()).unwrap_or(u32::MAX);
        let flag = match difference {
            0 => 0,
            1.. => flag::UNDERFLOW,
            _ => flag::OVERFLOW,
        };
        Self { flag, count }
    }
}

impl Target {
    /// A command of the array has ended.
    pub(super) fn complete(&mut self, completion: Completion) {
        let (tag, serial) = (completion.tag as u32, (completion.tag >> 32) as u32);
        let Some(&key) = self.by_nexus.get(&completion.nexus) else { return };
        let Some(session) = self.sessions.get(key) else { return };
        if session.tasks.get(&tag).is_none_or(|task| task.serial != serial) {
            return;
        }
        let connection = session.connection;
        let Some(task) = self.remove_task(key, tag) else { return };
        let Some(id) = connection else { return };
        match completion.outcome {
            Outcome::Transport(_) => {
                self.drop_connection(id, "a fault of the array breaks the connection");
            }
            Outcome::Answered { status, sense, data_in, residual } => {
                let sense = sense.as_ref().map_or(&[][..], |sense| sense.as_bytes());
                self.answer(id, tag, &task, status, sense, data_in, residual);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an answer is all of them")]
    fn answer(
        &mut self,
        id: ConnectionId,
        tag: u32,
        task: &Task,
        status: Status,
        sense: &[u8],
        data: Vec<u8>,
        residual: i64,
    ) {
        let expected = i64::from(task.expected);
        let difference = match task.direction {
            // What the array was not given as room counts as well.
            Direction::In => residual + expected - i64::from(task.expected.min(DATA_MAX)),
            Direction::Out => expected - i64::try_from(task.takes).unwrap_or(i64::MAX),
            Direction::None => 0,
        };
        let residual = Residual::of(difference);
        if status == Status::Good && !data.is_empty() {
            self.send_data(id, tag, task, data, residual);
            return;
        }
        self.array.give_buffer(data);
        let Some(numbers) = self.numbers(id, true) else { return };
        let mut header = Response::zeroed();
        header.opcode = opcode::RESPONSE;
        header.flags = flag::FINAL | residual.flag;
        header.status = status.code();
        header.initiator_task_tag = U32::new(tag);
        header.stat_sn = U32::new(numbers.stat_sn);
        header.exp_cmd_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        header.residual = U32::new(residual.count);
        if sense.is_empty() {
            self.send_short(id, header.bytes(), &[]);
        } else {
            let mut segment = Vec::with_capacity(sense.len() + 2);
            segment.extend_from_slice(&(sense.len() as u16).to_be_bytes());
            segment.extend_from_slice(sense);
            self.send_short(id, header.bytes(), &segment);
        }
    }

    /// Data-In PDUs, the last of them with the status.
    fn send_data(
        &mut self,
        id: ConnectionId,
        tag: u32,
        task: &Task,
        data: Vec<u8>,
        residual: Residual,
    ) {
        let Some(connection) = self.connection(id) else { return };
        let most = connection.parameters.max_send as usize;
        let burst = connection.parameters.max_burst as usize;
        // Small data are copied into the output; large ones lie where they are until they are sent.
        let whole = data.len();
        let (copied, kept) =
            if whole < KEEP { (Some(data), None) } else { (None, Some(Arc::new(data))) };
        let (mut offset, mut data_sn) = (0, 0);
        while offset < whole {
            let in_burst = burst - offset % burst;
            let length = most.min(in_burst).min(whole - offset);
            let last = offset + length == whole;
            let Some(numbers) = self.numbers(id, last) else { return };
            let mut header = DataIn::zeroed();
            header.opcode = opcode::DATA_IN;
            header.lun = task.lun_bytes;
            header.initiator_task_tag = U32::new(tag);
            header.target_transfer_tag = U32::new(u32::MAX);
            header.exp_cmd_sn = U32::new(numbers.exp_cmd_sn);
            header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
            header.data_sn = U32::new(data_sn);
            header.buffer_offset = U32::new(offset as u32);
            if last || length == in_burst {
                header.flags |= flag::FINAL;
            }
            if last {
                header.flags |= flag::STATUS | residual.flag;
                header.status = Status::Good.code();
                header.stat_sn = U32::new(numbers.stat_sn);
                header.residual = U32::new(residual.count);
            }
            let part = offset..offset + length;
            if let Some(data) = &kept {
                self.send(id, header.bytes(), data, part);
            } else if let Some(data) = copied.as_ref().and_then(|data| data.get(part)) {
                self.send_short(id, header.bytes(), data);
            }
            offset += length;
            data_sn += 1;
        }
        if let Some(buffer) = copied {
            self.array.give_buffer(buffer);
        }
    }

    /// There is no room for the data of a command.
    pub(super) fn answer_full(&mut self, id: ConnectionId, key: usize, tag: u32) {
        let Some(task) = self.remove_task(key, tag) else { return };
        let residual = i64::from(task.expected.min(DATA_MAX));
        self.answer(id, tag, &task, Status::TaskSetFull, &[], Vec::new(), residual);
    }

    /// A command that never came to the array ends by the hand of another nexus.
    pub(super) fn answer_aborted(&mut self, id: ConnectionId, tag: u32, task: &Task) {
        let residual = i64::from(task.expected.min(DATA_MAX));
        self.answer(id, tag, task, Status::TaskAborted, &[], Vec::new(), residual);
    }
}
