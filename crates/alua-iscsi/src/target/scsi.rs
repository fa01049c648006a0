//! SCSI commands and their data.
//!
//! # Data-out
//!
//! A command first collects the data that it takes: immediate data, then unsolicited Data-Out PDUs
//! up to FirstBurstLength, then one R2T after the other. What the initiator announces beyond what
//! the CDB takes is received and dropped. Then the array gets the command.
//!
//! # Room
//!
//! Unsolicited data find room while less than half of the budget is held; else their command ends
//! with TASK SET FULL. Before the first R2T a command is promised room for all of its data, first
//! come first served, out of the whole budget: so every R2T that was sent can be used up, and one
//! always can be sent.

use alua_array::Time;
use zerocopy::byteorder::big_endian::U32;

use super::Target;
use super::receive::{Pdu, Verdict, reason};
use super::session::{Collecting, Direction, Phase, Stage, Task};
use crate::event::ConnectionId;
use crate::pdu::layout::{Command, DataOut, Ready};
use crate::pdu::{NO_TAG, flag, opcode};

use alua_core::spc::luns::Lun;

/// The most bytes of data that a command moves: more than the array ever takes.
pub(super) const DATA_MAX: u32 = 32 << 20;

/// A number behind which the array has no logical unit: for LUNs of a form that it does not know.
const NOWHERE: u16 = u16::MAX;

/// The tag under which the array knows a command.
pub(super) const fn array_tag(tag: u32, serial: u32) -> u64 {
    (serial as u64) << 32 | tag as u64
}

impl Target {
    pub(super) fn command(
        &mut self,
        id: ConnectionId,
        pdu: &Pdu<'_>,
        immediate: bool,
        now: Time,
    ) -> Verdict {
        let request = Command::of(pdu.header);
        let tag = request.initiator_task_tag.get();
        let Some(key) = self.session_of(id) else {
            return Verdict::Fatal(reason::PROTOCOL, "a command in a discovery session");
        };
        let limits = self.settings.limits;
        let Some(session) = self.sessions.get_mut(key) else { return Verdict::Fine };
        if tag == NO_TAG || session.tasks.contains_key(&tag) {
            return Verdict::Reject(reason::TASK_IN_PROGRESS, "the tag is in use");
        }
        if session.tasks.len() >= usize::from(limits.window) + usize::from(limits.immediate) {
            let words = "too many immediate commands";
            return Verdict::Reject(reason::TOO_MANY_IMMEDIATE, words);
        }
        debug_assert!(immediate || session.tasks.len() <= usize::from(limits.window) + 8);
        let direction = match request.flags & (flag::READ | flag::WRITE) {
            0 => Direction::None,
            flag::READ => Direction::In,
            flag::WRITE => Direction::Out,
            _ => return Verdict::Reject(reason::NOT_SUPPORTED, "a bidirectional command"),
        };
        let Some((cdb, cdb_length)) = whole_cdb(&request, pdu.additional) else {
            return Verdict::Fatal(reason::INVALID_FIELD, "additional headers that make no sense");
        };
        session.next_serial = session.next_serial.wrapping_add(1);
        let lun = Lun(request.lun).as_simple().unwrap_or(NOWHERE);
        let takes = self.array.data_out_length(
            session.nexus,
            lun,
            cdb.get(..usize::from(cdb_length)).unwrap_or(&cdb),
        );
        let task = Task {
            serial: session.next_serial,
            lun,
            lun_bytes: request.lun,
            cdb,
            cdb_length,
            expected: request.expected_length.get(),
            direction,
            takes,
            stage: Stage::Submitted,
            reserved: 0,
            since: now,
        };
        if direction == Direction::Out && (task.expected > 0 || !pdu.data.is_empty()) {
            let last = request.flags & flag::FINAL != 0;
            return self.begin_collecting(id, key, tag, task, pdu.data, last);
        }
        if !pdu.data.is_empty() {
            return Verdict::Fatal(reason::PROTOCOL, "data with a command that takes none");
        }
        self.begin_reading(id, key, tag, task);
        Verdict::Fine
    }

    /// A command without data-out goes to the array, if there is room for what it may return.
    fn begin_reading(&mut self, id: ConnectionId, key: usize, tag: u32, mut task: Task) {
        let room = match task.direction {
            Direction::In => task.expected.min(DATA_MAX) as usize,
            _ => 0,
        };
        let held = self.held_out + self.waiting_out;
        let full = room > 0 && held + room > self.settings.limits.buffered;
        task.reserved = room;
        self.held_out += room;
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.tasks.insert(tag, task);
        if full {
            self.answer_full(id, key, tag);
        } else {
            self.submit(key, tag, Vec::new());
        }
    }

    fn begin_collecting(
        &mut self,
        id: ConnectionId,
        key: usize,
        tag: u32,
        mut task: Task,
        immediate: &[u8],
        last: bool,
    ) -> Verdict {
        let Some(session) = self.sessions.get(key) else { return Verdict::Fine };
        let agreed = session.parameters;
        let length = immediate.len() as u32;
        if length > 0 && !agreed.immediate_data {
            return Verdict::Fatal(reason::PROTOCOL, "immediate data, which were not agreed to");
        }
        if length > agreed.first_burst.min(task.expected) {
            return Verdict::Fatal(reason::PROTOCOL, "more immediate data than were agreed to");
        }
        if !last && agreed.initial_r2t {
            return Verdict::Fatal(reason::PROTOCOL, "unsolicited data, which were not agreed to");
        }
        let wanted = u32::try_from(task.takes).unwrap_or(u32::MAX).min(task.expected);
        // The array refuses what is larger, whatever the data are.
        let wanted = if wanted > DATA_MAX { 0 } else { wanted };
        let unsolicited = if last { length } else { agreed.first_burst };
        task.reserved = wanted.min(unsolicited) as usize;
        let budget = self.settings.limits.buffered;
        let crowded = task.reserved > 0 && self.held_in + task.reserved > budget / 2;
        // What never fits must not wait for room.
        let refused = crowded || wanted as usize > budget;
        if refused {
            task.reserved = 0;
        }
        self.held_in += task.reserved;
        let mut collecting = Collecting {
            data: Vec::new(),
            wanted,
            offset: 0,
            unsolicited: !last,
            data_sn: 0,
            solicited: None,
            r2t_sn: 0,
            refused,
        };
        if !refused {
            // What is reserved is accounted for: it may as well be there at once.
            collecting.data = self.array.buffer();
            collecting.data.reserve(task.reserved);
        }
        collecting.take(immediate);
        task.stage = Stage::Collecting(collecting);
        if let Some(session) = self.sessions.get_mut(key) {
            session.tasks.insert(tag, task);
        }
        if last {
            self.go_on_collecting(id, key, tag);
        }
        Verdict::Fine
    }

    pub(super) fn data_out(&mut self, id: ConnectionId, pdu: &Pdu<'_>, now: Time) -> Verdict {
        let header = DataOut::of(pdu.header);
        let tag = header.initiator_task_tag.get();
        let last = header.flags & flag::FINAL != 0;
        let Some(connection) = self.connection(id) else { return Verdict::Fine };
        let Phase::Full(key) = connection.phase else {
            return Verdict::Fatal(reason::PROTOCOL, "data in a discovery session");
        };
        let Some(session) = self.sessions.get_mut(key) else { return Verdict::Fine };
        let first_burst = session.parameters.first_burst;
        // Data of a command that has ended meanwhile, by an abort for instance.
        let Some(task) = session.tasks.get_mut(&tag) else { return Verdict::Fine };
        let Stage::Collecting(collecting) = &mut task.stage else { return Verdict::Fine };
        let length = pdu.data.len() as u32;
        let transfer = header.target_transfer_tag.get();
        let end = match collecting.solicited {
            Some((open, end)) if transfer == open => end,
            None if transfer == NO_TAG && collecting.unsolicited => first_burst.min(task.expected),
            _ => return Verdict::Fatal(reason::PROTOCOL, "data that nobody asked for"),
        };
        let wrong = header.buffer_offset.get() != collecting.offset
            || header.data_sn.get() != collecting.data_sn
            || length > end.saturating_sub(collecting.offset);
        if wrong {
            return Verdict::Fatal(reason::PROTOCOL, "data out of order, or more than were wanted");
        }
        collecting.take(pdu.data);
        collecting.data_sn += 1;
        task.since = now;
        if !last {
            return Verdict::Fine;
        }
        if collecting.solicited.is_some() && collecting.offset != end {
            return Verdict::Fatal(reason::PROTOCOL, "less data than the R2T asked for");
        }
        collecting.unsolicited = false;
        collecting.solicited = None;
        self.go_on_collecting(id, key, tag);
        Verdict::Fine
    }

    /// Nothing is on the way for this command: it is ready, or asks for more.
    pub(super) fn go_on_collecting(&mut self, id: ConnectionId, key: usize, tag: u32) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(task) = session.tasks.get_mut(&tag) else { return };
        let Stage::Collecting(collecting) = &mut task.stage else { return };
        if collecting.refused {
            self.answer_full(id, key, tag);
            return;
        }
        if collecting.offset >= collecting.wanted {
            let data = std::mem::take(&mut collecting.data);
            task.stage = Stage::Submitted;
            self.submit(key, tag, data);
            return;
        }
        let lacks = (collecting.wanted as usize).saturating_sub(task.reserved);
        if lacks == 0 {
            self.ask_for_data(id, key, tag);
        } else if self.queue.is_empty() && self.held_in + lacks <= self.settings.limits.buffered {
            task.reserved += lacks;
            self.held_in += lacks;
            self.ask_for_data(id, key, tag);
        } else {
            self.queue.push_back((key, tag));
        }
    }

    /// Promises room to those who wait for it, in their order, as far as it goes.
    pub(super) fn grant_room(&mut self) {
        while let Some(&(key, tag)) = self.queue.front() {
            let found = self.sessions.get_mut(key).and_then(|session| {
                let id = session.connection?;
                let task = session.tasks.get_mut(&tag)?;
                match &task.stage {
                    Stage::Collecting(c) => {
                        let lacks = (c.wanted as usize).saturating_sub(task.reserved);
                        Some((id, lacks))
                    }
                    Stage::Submitted => None,
                }
            });
            if let Some((id, lacks)) = found {
                if self.held_in + lacks > self.settings.limits.buffered {
                    return;
                }
                self.queue.pop_front();
                self.held_in += lacks;
                let session = self.sessions.get_mut(key);
                if let Some(task) = session.and_then(|session| session.tasks.get_mut(&tag)) {
                    task.reserved += lacks;
                    task.since = self.array.now();
                }
                self.ask_for_data(id, key, tag);
            } else {
                self.queue.pop_front();
            }
        }
    }

    /// Sends the next R2T of a command.
    fn ask_for_data(&mut self, id: ConnectionId, key: usize, tag: u32) {
        let Some(numbers) = self.numbers(id, false) else { return };
        let Some(session) = self.sessions.get_mut(key) else { return };
        let max_burst = session.parameters.max_burst;
        let Some(task) = session.tasks.get_mut(&tag) else { return };
        let Stage::Collecting(collecting) = &mut task.stage else { return };
        let length = (collecting.wanted - collecting.offset).min(max_burst);
        // Tags need to differ only among the open R2Ts of a session, and a command has one.
        let transfer = tag & 0x7fff_ffff;
        collecting.solicited = Some((transfer, collecting.offset + length));
        // Room for all of it was promised: it does not have to grow piece by piece.
        let missing = (collecting.wanted as usize).saturating_sub(collecting.data.len());
        collecting.data.reserve(missing);
        collecting.data_sn = 0;
        let mut header = Ready::zeroed();
        header.opcode = opcode::READY;
        header.flags = flag::FINAL;
        header.lun = task.lun_bytes;
        header.initiator_task_tag = U32::new(tag);
        header.target_transfer_tag = U32::new(transfer);
        header.stat_sn = U32::new(numbers.stat_sn);
        header.exp_cmd_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        header.r2t_sn = U32::new(collecting.r2t_sn);
        header.buffer_offset = U32::new(collecting.offset);
        header.desired_length = U32::new(length);
        collecting.r2t_sn += 1;
        self.send_short(id, header.bytes(), &[]);
    }

    /// Gives a command to the array, and lets the array work.
    fn submit(&mut self, key: usize, tag: u32, data: Vec<u8>) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(task) = session.tasks.get(&tag) else { return };
        let cdb = task.cdb.get(..usize::from(task.cdb_length)).unwrap_or(&task.cdb);
        let capacity = match task.direction {
            Direction::In => task.expected.min(DATA_MAX) as usize,
            _ => 0,
        };
        let full = array_tag(tag, task.serial);
        let sent = self.array.submit_owned(session.nexus, task.lun, full, cdb, data, capacity);
        if sent.is_err() {
            self.end_session(key, "the array has no such nexus any more");
            return;
        }
        // What takes no time is done now.
        let now = self.array.now();
        if self.array.next_event().is_some_and(|next| next <= now) {
            self.array.advance(now);
        }
        while let Some(completion) = self.array.poll_completion() {
            self.complete(completion);
        }
    }

    /// Takes a command out and gives back what it holds.
    pub(super) fn remove_task(&mut self, key: usize, tag: u32) -> Option<Task> {
        let task = self.sessions.get_mut(key)?.tasks.remove(&tag)?;
        self.release(&task);
        if task.direction == Direction::Out {
            self.grant_room();
        }
        Some(task)
    }

    pub(super) fn release(&mut self, task: &Task) {
        let held =
            if task.direction == Direction::Out { &mut self.held_in } else { &mut self.held_out };
        *held = held.saturating_sub(task.reserved);
    }
}

impl Collecting {
    /// Keeps what is wanted of the next bytes.
    fn take(&mut self, bytes: &[u8]) {
        let room = (self.wanted.saturating_sub(self.offset) as usize).min(bytes.len());
        if !self.refused {
            self.data.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        self.offset = self.offset.saturating_add(bytes.len() as u32);
    }
}

/// The CDB with its extension (RFC 7143, section 11.2.2.3).
fn whole_cdb(request: &Command, additional: &[u8]) -> Option<([u8; 32], u8)> {
    let mut cdb = [0; 32];
    cdb[..16].copy_from_slice(&request.cdb);
    if additional.is_empty() {
        return Some((cdb, 16));
    }
    // Length of the specific part with its reserved byte; type 1 is the extended CDB.
    let [high, low, kind, _reserved, rest @ ..] = additional else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(1)?;
    let extension = rest.get(..length)?;
    if *kind != 1 {
        return None;
    }
    let room = cdb.get_mut(16..16 + length)?;
    room.copy_from_slice(extension);
    Some((cdb, 16 + length as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cdb_comes_in_an_additional_header() {
        let mut request = Command::zeroed();
        request.cdb = [0x7f; 16];
        assert_eq!(whole_cdb(&request, &[]).unwrap().1, 16);
        let (cdb, length) = whole_cdb(&request, &[0, 5, 1, 0, 9, 9, 9, 9]).unwrap();
        assert_eq!((length, &cdb[15..21]), (20, &[0x7f, 9, 9, 9, 9, 0][..]));
        for wrong in [&[0, 5, 2, 0, 9, 9, 9, 9][..], &[0, 9, 1, 0, 9], &[0, 0, 1, 0], &[0, 5]] {
            assert!(whole_cdb(&request, wrong).is_none(), "{wrong:?}");
        }
        let long = [&[0, 18, 1, 0][..], &[0; 20]].concat();
        assert!(whole_cdb(&request, &long).is_none());
    }
}
