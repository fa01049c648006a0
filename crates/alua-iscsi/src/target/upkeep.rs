//! What happens without a PDU: ends of connections and sessions, times that run out, messages that
//! nobody asked for.

use std::time::Duration;

use alua_array::{NexusId, Time};
use alua_core::spc::luns::Lun;
use zerocopy::byteorder::big_endian::{U16, U32};

use super::Target;
use super::session::{Phase, Stage};
use crate::event::{ConnectionId, What};
use crate::pdu::layout::{Async, Exchange};
use crate::pdu::{NO_TAG, flag, opcode};

/// How often times are looked at.
const UPKEEP: Duration = Duration::from_secs(1);

/// AsyncEvent codes (RFC 7143, section 11.9.1).
mod message {
    pub(super) const SCSI: u8 = 0;
    pub(super) const LOGOUT: u8 = 1;
    pub(super) const DROP_ALL: u8 = 3;
}

impl Target {
    /// A connection ends now. Its session stays for a while, unless nothing is kept.
    pub(super) fn drop_connection(&mut self, id: ConnectionId, reason: &str) {
        if self.connection(id).is_none() {
            return;
        }
        // Whoever serves it must see that it is over.
        self.make_ready(id);
        let Some(connection) = self.connections.remove(id.at as usize) else { return };
        self.waiting_out = self.waiting_out.saturating_sub(connection.encoder.waiting());
        let mut nexus = None;
        if let Phase::Full(key) = connection.phase
            && let Some(session) = self.sessions.get_mut(key)
        {
            nexus = Some(session.nexus);
            session.connection = None;
            let wait = u64::from(session.parameters.time_to_wait);
            let retain = u64::from(session.parameters.time_to_retain);
            let until = self.array.now().after(Duration::from_secs(wait + retain));
            session.lost_until = Some(until);
            if retain == 0 {
                self.closed(id, nexus, reason);
                let why = if connection.closing.is_some() { "in order" } else { "it is not kept" };
                self.end_session(key, why);
                return;
            }
            self.drop_collecting(key);
        }
        self.closed(id, nexus, reason);
    }

    fn closed(&mut self, connection: ConnectionId, nexus: Option<NexusId>, reason: &str) {
        self.record(What::Closed { connection, nexus, reason: reason.to_owned() });
    }

    /// Commands whose data will not come any more.
    fn drop_collecting(&mut self, key: usize) {
        let Some(session) = self.sessions.get(key) else { return };
        let collecting: Vec<u32> = session
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.stage, Stage::Collecting(_)))
            .map(|(&tag, _)| tag)
            .collect();
        for tag in collecting {
            self.remove_task(key, tag);
        }
    }

    /// A session ends with all its commands: nothing of them is carried out any more.
    pub(super) fn end_session(&mut self, key: usize, reason: &'static str) {
        let Some(session) = self.sessions.remove(key) else { return };
        for task in session.tasks.values() {
            self.release(task);
        }
        self.by_nexus.remove(&session.nexus);
        self.array.forget(session.nexus);
        self.record(What::Ended { nexus: session.nexus, reason });
        if let Some(connection) = session.connection {
            self.drop_connection(connection, reason);
        }
        self.grant_room();
    }

    /// Lets go of commands that the array does not have any more, though it did not answer them.
    pub(super) fn sweep(&mut self) {
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get(key) else { continue };
            let gone: Vec<u32> = session
                .tasks
                .iter()
                .filter(|(tag, task)| {
                    let full = super::scsi::array_tag(**tag, task.serial);
                    matches!(task.stage, Stage::Submitted) && !self.array.holds(session.nexus, full)
                })
                .map(|(&tag, _)| tag)
                .collect();
            for tag in gone {
                self.remove_task(key, tag);
            }
        }
    }

    /// Breaks the connections of ports whose link the array has lost since they were made.
    pub(super) fn follow_links(&mut self) {
        let same = |&(port, count): &(u16, u64)| self.array.link_losses(port) == count;
        if self.losses.iter().all(same) {
            return;
        }
        let now = |&(port, _): &(u16, u64)| (port, self.array.link_losses(port));
        let ports = self.losses.iter().map(now).collect();
        let old = std::mem::replace(&mut self.losses, ports);
        let changed = |port: u16| {
            let find = |list: &[(u16, u64)]| list.iter().find(|at| at.0 == port).map(|at| at.1);
            find(&old) != find(&self.losses)
        };
        let cut: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| changed(connection.port))
            .map(|(_, connection)| connection.id)
            .collect();
        for id in cut {
            self.drop_connection(id, "the port has lost its link");
        }
    }

    /// Whether the target's books are in order: for tests.
    ///
    /// # Errors
    ///
    /// The first sum or link that is wrong, in words.
    #[doc(hidden)]
    pub fn self_check(&self) -> Result<(), String> {
        let (mut held_in, mut held_out) = (0, 0);
        for (key, session) in self.sessions.iter() {
            for task in session.tasks.values() {
                match task.direction {
                    super::session::Direction::Out => held_in += task.reserved,
                    _ => held_out += task.reserved,
                }
            }
            let limits = &self.settings.limits;
            let most = usize::from(limits.window) + usize::from(limits.immediate);
            if session.tasks.len() > most {
                return Err(format!("session {key} has {} commands", session.tasks.len()));
            }
            if self.by_nexus.get(&session.nexus) != Some(&key) {
                return Err(format!("nexus {} does not lead to session {key}", session.nexus));
            }
            let back = session.connection.and_then(|id| self.connections.get(id.at as usize));
            let leads =
                |c: &super::session::Connection| matches!(c.phase, Phase::Full(own) if own == key);
            if session.connection.is_some() != back.is_some_and(leads) {
                return Err(format!("session {key} and its connection do not fit"));
            }
        }
        let waiting: usize = self.connections.iter().map(|(_, c)| c.encoder.waiting()).sum();
        let books = (self.held_in, self.held_out, self.waiting_out, self.by_nexus.len());
        let true_ones = (held_in, held_out, waiting, self.sessions.len());
        if books != true_ones {
            return Err(format!("books {books:?}, in truth {true_ones:?}"));
        }
        if held_in > self.settings.limits.buffered || held_out > self.settings.limits.buffered {
            return Err(format!("{held_in} and {held_out} bytes are held"));
        }
        Ok(())
    }

    /// Breaks the connections of a port, or all: as a cable that is pulled for a moment. Returns
    /// how many.
    pub fn cut(&mut self, port: Option<u16>) -> usize {
        let cut: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| port.is_none_or(|port| port == connection.port))
            .map(|(_, connection)| connection.id)
            .collect();
        for &id in &cut {
            self.drop_connection(id, "cut");
        }
        cut.len()
    }

    /// Asks the sessions of a port, or all, to log out within `patience` (Asynchronous Message,
    /// event 1); those that do not are cut then. Returns how many were asked.
    pub fn request_logout(&mut self, port: Option<u16>, patience: Duration) -> usize {
        let leave_by = self.array.now().after(patience);
        let seconds = u16::try_from(patience.as_secs()).unwrap_or(u16::MAX);
        let asked = self.live_connections(port);
        for &id in &asked {
            self.send_async(id, message::LOGOUT, [0, 0, seconds], &[0; 8], &[]);
            if let Some(connection) = self.connection(id) {
                connection.leave_by = Some(leave_by);
            }
        }
        asked.len()
    }

    /// Tells the sessions of a port, or all, that their connections end, and ends them
    /// (Asynchronous Message, event 3). Returns how many.
    pub fn dismiss(&mut self, port: Option<u16>) -> usize {
        let gone = self.live_connections(port);
        for &id in &gone {
            let parameters = self.connection(id).map(|c| c.parameters).unwrap_or_default();
            let times = [0, parameters.time_to_wait, parameters.time_to_retain];
            self.send_async(id, message::DROP_ALL, times, &[0; 8], &[]);
            if let Some(connection) = self.connection(id) {
                connection.closing = Some("the target has ended it");
            }
        }
        gone.len()
    }

    fn live_connections(&self, port: Option<u16>) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, c)| matches!(c.phase, Phase::Full(_)) && c.closing.is_none())
            .filter(|(_, c)| port.is_none_or(|port| port == c.port))
            .map(|(_, connection)| connection.id)
            .collect()
    }

    fn send_async(
        &mut self,
        id: ConnectionId,
        event: u8,
        [one, two, three]: [u16; 3],
        lun: &[u8; 8],
        data: &[u8],
    ) {
        let Some(numbers) = self.numbers(id, true) else { return };
        let mut header = Async::zeroed();
        header.opcode = opcode::ASYNC;
        header.flags = flag::FINAL;
        header.lun = *lun;
        header.no_tag = U32::new(NO_TAG);
        header.stat_sn = U32::new(numbers.stat_sn);
        header.exp_cmd_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        header.event = event;
        header.parameter_1 = U16::new(one);
        header.parameter_2 = U16::new(two);
        header.parameter_3 = U16::new(three);
        self.send_short(id, header.bytes(), data);
    }

    /// Announces unit attentions that wait and were not announced yet (Asynchronous Message,
    /// event 0, with the sense data that the next command will get).
    pub(super) fn announce(&mut self) {
        if !self.settings.announce {
            return;
        }
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let Some(id) = session.connection else { continue };
            let mut waiting = Vec::new();
            for lun in self.array.luns(session.port) {
                let codes = self.array.attentions(session.nexus, lun);
                waiting.extend(codes.iter().map(|&code| (lun, code)));
            }
            let old = std::mem::replace(&mut session.announced, waiting.clone());
            for (lun, code) in waiting.into_iter().filter(|one| !old.contains(one)) {
                let mut sense = [0; 20];
                sense[1] = 18;
                sense[2..].copy_from_slice(&fixed_sense(code));
                let lun = Lun::simple(lun).unwrap_or_default();
                self.send_async(id, message::SCSI, [0; 3], &lun.0, &sense);
            }
        }
    }

    /// Looks at every time that may have run out.
    pub(super) fn upkeep(&mut self, now: Time) {
        self.next_upkeep = now.after(UPKEEP);
        for key in self.sessions.keys() {
            let ended = self.sessions.get(key).and_then(|session| session.lost_until);
            if ended.is_some_and(|until| until <= now) {
                self.end_session(key, "its initiator did not come back in time");
            }
        }
        for at in self.connections.keys() {
            self.look_after(at, now);
        }
        self.announce();
    }

    /// What a connection's times say.
    fn look_after(&mut self, at: usize, now: Time) {
        let times = self.settings.times;
        let Some(connection) = self.connections.get_mut(at) else { return };
        let id = connection.id;
        let over = |since: Time, limit: Duration| since.after(limit) <= now;
        if connection.encoder.waiting() > 0 {
            let since = *connection.stuck.get_or_insert(now);
            if over(since, times.patience) {
                self.drop_connection(id, "it takes no output");
                return;
            }
        }
        if connection.leave_by.is_some_and(|by| by <= now) {
            self.drop_connection(id, "it did not log out when asked to");
            return;
        }
        let key = match connection.phase {
            Phase::Login(_) => {
                if over(connection.began, times.login) {
                    self.drop_connection(id, "the login took too long");
                }
                return;
            }
            Phase::Discovery { .. } => {
                if over(connection.heard, times.silence + times.patience) {
                    self.drop_connection(id, "silent for too long");
                }
                return;
            }
            Phase::Full(key) => key,
        };
        if connection.asked.is_some_and(|since| over(since, times.patience)) {
            self.drop_connection(id, "no answer to NOP-In");
            return;
        }
        let ask = connection.asked.is_none() && over(connection.heard, times.silence);
        connection.framer.shrink();
        connection.encoder.shrink();
        let late = self.sessions.get(key).is_some_and(|session| {
            session.tasks.values().any(|task| match &task.stage {
                Stage::Collecting(c) => {
                    (c.unsolicited || c.solicited.is_some()) && over(task.since, times.patience)
                }
                Stage::Submitted => false,
            })
        });
        if late {
            self.drop_connection(id, "the data of a command did not come");
        } else if ask {
            self.ask_for_life(id, now);
        }
    }

    fn ask_for_life(&mut self, id: ConnectionId, now: Time) {
        let Some(numbers) = self.numbers(id, false) else { return };
        let Some(connection) = self.connection(id) else { return };
        connection.asked = Some(now);
        let mut header = Exchange::zeroed();
        header.opcode = opcode::NOP_IN;
        header.flags = flag::FINAL;
        header.initiator_task_tag = U32::new(NO_TAG);
        header.target_transfer_tag = U32::new(1);
        header.sn = U32::new(numbers.stat_sn);
        header.exp_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        self.send_short(id, header.bytes(), &[]);
    }
}

/// Sense data in fixed format for a unit attention.
fn fixed_sense(code: alua_array::SenseCode) -> [u8; 18] {
    let mut sense = [0; 18];
    sense[0] = 0x70;
    sense[2] = 6;
    sense[7] = 10;
    (sense[12], sense[13]) = (code.asc, code.ascq);
    sense
}
