//! From a PDU to what it asks for.

use std::ops::Range;
use std::sync::Arc;

use alua_array::Time;
use zerocopy::byteorder::big_endian::{U16, U32};

use super::Target;
use super::session::{Arrival, Phase};
use crate::event::{ConnectionId, What};
use crate::pdu::layout::{Answer, Basic, Exchange, LogoutRequest, Reject};
use crate::pdu::{Frame, HEADER, NO_TAG, flag, opcode};

/// Reasons of Reject (RFC 7143, section 11.17.1).
pub(super) mod reason {
    pub(crate) const DATA_DIGEST: u8 = 0x02;
    pub(crate) const SNACK: u8 = 0x03;
    pub(crate) const PROTOCOL: u8 = 0x04;
    pub(crate) const NOT_SUPPORTED: u8 = 0x05;
    pub(crate) const TOO_MANY_IMMEDIATE: u8 = 0x06;
    pub(crate) const TASK_IN_PROGRESS: u8 = 0x07;
    pub(crate) const INVALID_FIELD: u8 = 0x09;
}

/// The serial numbers that a response carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) stat_sn: u32,
    pub(super) exp_cmd_sn: u32,
    pub(super) max_cmd_sn: u32,
}

/// A PDU, copied out of the buffer except for large data: what a handler gets.
pub(super) struct Pdu<'a> {
    pub(super) header: &'a [u8; HEADER],
    pub(super) additional: &'a [u8],
    pub(super) data: &'a [u8],
}

/// What becomes of the connection after a PDU.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on.
    Fine,
    /// The PDU is rejected, and the connection goes on.
    Reject(u8, &'static str),
    /// The PDU is rejected, and the connection ends when that is sent.
    Fatal(u8, &'static str),
    /// The connection ends when what waits is sent, for that reason.
    Close(&'static str),
}

impl Target {
    /// Works through the PDUs that have arrived, as long as the output has room.
    pub(super) fn receive(&mut self, id: ConnectionId) {
        while self.wants_input(id) {
            // The framer leaves its connection for the time of one PDU, so that a handler can have
            // both the PDU and the target.
            let Some(connection) = self.connection(id) else { return };
            let empty = crate::pdu::Framer::new(0);
            let mut framer = std::mem::replace(&mut connection.framer, empty);
            let went_on = match framer.next_frame() {
                Ok(None) => false,
                Ok(Some(frame)) => {
                    self.receive_one(id, &frame);
                    true
                }
                Err(error) => {
                    self.drop_connection(id, &error.to_string());
                    return;
                }
            };
            if let Some(connection) = self.connection(id) {
                // The handler may have changed limits and digests.
                let (limit, digests) = (connection.framer.limit(), connection.framer.digests());
                if limit > 0 {
                    framer.set(limit, digests);
                }
                connection.framer = framer;
            }
            if !went_on {
                return;
            }
        }
    }

    fn receive_one(&mut self, id: ConnectionId, frame: &Frame<'_>) {
        let now = self.array.now();
        let Some(connection) = self.connection(id) else { return };
        connection.heard = now;
        let in_login = matches!(connection.phase, Phase::Login(_));
        let pdu = Pdu { header: frame.header, additional: frame.additional, data: frame.data };
        let verdict = if in_login {
            self.log_in(id, &pdu)
        } else if !frame.data_is_right {
            // There is no recovery within a connection at ERL 0.
            Verdict::Fatal(reason::DATA_DIGEST, "the data digest is wrong")
        } else {
            self.dispatch(id, &pdu, frame.opcode(), now)
        };
        match verdict {
            Verdict::Fine => {}
            Verdict::Reject(code, words) => self.reject(id, frame.header, code, words),
            Verdict::Fatal(code, words) => {
                self.reject(id, frame.header, code, words);
                self.close_when_sent(id, words);
            }
            Verdict::Close(words) => self.close_when_sent(id, words),
        }
    }

    fn dispatch(&mut self, id: ConnectionId, pdu: &Pdu<'_>, code: u8, now: Time) -> Verdict {
        if !pdu.additional.is_empty() && code != opcode::COMMAND {
            return Verdict::Fatal(reason::INVALID_FIELD, "additional headers where none belong");
        }
        match code {
            opcode::DATA_OUT => return self.data_out(id, pdu, now),
            opcode::SNACK => return Verdict::Reject(reason::SNACK, "SNACK at ERL 0"),
            opcode::NOP_OUT
            | opcode::COMMAND
            | opcode::FUNCTION
            | opcode::TEXT
            | opcode::LOGOUT => {}
            opcode::LOGIN => {
                return Verdict::Fatal(reason::PROTOCOL, "a login in the full feature phase");
            }
            _ => return Verdict::Fatal(reason::NOT_SUPPORTED, "an unknown operation code"),
        }
        // The rest carries a CmdSN, at the same place.
        let immediate = pdu.header[0] & opcode::IMMEDIATE != 0;
        let cmd_sn = Exchange::of(pdu.header).sn.get();
        match self.arrival(id, cmd_sn, immediate) {
            Arrival::Next => {}
            // RFC 7143, section 4.2.2.1: silently ignored.
            Arrival::Outside => return Verdict::Fine,
            Arrival::Gap => {
                return Verdict::Fatal(reason::PROTOCOL, "commands before this one are missing");
            }
        }
        match code {
            opcode::COMMAND => self.command(id, pdu, immediate, now),
            opcode::FUNCTION => self.function(id, pdu),
            opcode::NOP_OUT => self.nop_out(id, pdu),
            opcode::TEXT => self.text_request(id, pdu),
            _ => self.log_out(id, pdu),
        }
    }

    /// Checks a CmdSN, and counts it if it is the next.
    fn arrival(&mut self, id: ConnectionId, cmd_sn: u32, immediate: bool) -> Arrival {
        let Some(connection) = self.connection(id) else { return Arrival::Outside };
        match &mut connection.phase {
            Phase::Login(_) => Arrival::Outside,
            // An immediate request has the number of the next command, and does not count.
            _ if immediate => Arrival::Next,
            Phase::Discovery { exp_cmd_sn } => {
                if cmd_sn != *exp_cmd_sn {
                    return Arrival::Outside;
                }
                *exp_cmd_sn = exp_cmd_sn.wrapping_add(1);
                Arrival::Next
            }
            Phase::Full(key) => {
                let key = *key;
                let Some(session) = self.sessions.get_mut(key) else { return Arrival::Outside };
                let arrival = session.accepts(cmd_sn);
                if arrival == Arrival::Next {
                    session.exp_cmd_sn = session.exp_cmd_sn.wrapping_add(1);
                }
                arrival
            }
        }
    }

    /// The key of a connection's session; `None` in discovery.
    pub(super) fn session_of(&mut self, id: ConnectionId) -> Option<usize> {
        match self.connection(id)?.phase {
            Phase::Full(key) => Some(key),
            _ => None,
        }
    }

    /// The numbers for a response; StatSN counts on if `counts`.
    pub(super) fn numbers(&mut self, id: ConnectionId, counts: bool) -> Option<Numbers> {
        let window = self.settings.limits.window;
        let connection = self.connection(id)?;
        let stat_sn = connection.stat_sn;
        if counts {
            connection.stat_sn = stat_sn.wrapping_add(1);
        }
        Some(match connection.phase {
            Phase::Login(_) => Numbers { stat_sn, exp_cmd_sn: 0, max_cmd_sn: 0 },
            Phase::Discovery { exp_cmd_sn } => {
                Numbers { stat_sn, exp_cmd_sn, max_cmd_sn: exp_cmd_sn.wrapping_add(7) }
            }
            Phase::Full(key) => {
                let session = self.sessions.get_mut(key)?;
                let max_cmd_sn = session.max_cmd_sn(window);
                Numbers { stat_sn, exp_cmd_sn: session.exp_cmd_sn, max_cmd_sn }
            }
        })
    }

    /// Puts a PDU into the output.
    pub(super) fn send(
        &mut self,
        id: ConnectionId,
        header: [u8; HEADER],
        data: &Arc<Vec<u8>>,
        part: Range<usize>,
    ) {
        let Some(connection) = self.connection(id) else { return };
        let before = connection.encoder.waiting();
        connection.encoder.put(header, data, part);
        let more = connection.encoder.waiting() - before;
        self.waiting_out += more;
        self.make_ready(id);
    }

    /// The same with a short data segment.
    pub(super) fn send_short(&mut self, id: ConnectionId, header: [u8; HEADER], data: &[u8]) {
        let Some(connection) = self.connection(id) else { return };
        let before = connection.encoder.waiting();
        connection.encoder.put_short(header, data);
        let more = connection.encoder.waiting() - before;
        self.waiting_out += more;
        self.make_ready(id);
    }

    /// The connection ends as soon as its output is sent.
    pub(super) fn close_when_sent(&mut self, id: ConnectionId, reason: &'static str) {
        let Some(connection) = self.connection(id) else { return };
        connection.closing = Some(reason);
        if connection.encoder.waiting() == 0 {
            self.drop_connection(id, reason);
        }
    }

    fn reject(&mut self, id: ConnectionId, rejected: &[u8; HEADER], code: u8, words: &'static str) {
        self.record(What::Rejected { connection: id, code, reason: words });
        let Some(numbers) = self.numbers(id, true) else { return };
        let mut header = Reject::zeroed();
        header.opcode = opcode::REJECT;
        header.flags = flag::FINAL;
        header.reason = code;
        header.no_tag = U32::new(NO_TAG);
        header.stat_sn = U32::new(numbers.stat_sn);
        header.exp_cmd_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        self.send_short(id, header.bytes(), rejected);
    }

    fn nop_out(&mut self, id: ConnectionId, pdu: &Pdu<'_>) -> Verdict {
        let request = Exchange::of(pdu.header);
        let Some(connection) = self.connection(id) else { return Verdict::Fine };
        if request.initiator_task_tag.get() == NO_TAG {
            // The answer to our own question, or just a sign of life.
            connection.asked = None;
            return Verdict::Fine;
        }
        let most = connection.parameters.max_send as usize;
        let data = pdu.data.get(..most).unwrap_or(pdu.data);
        let Some(numbers) = self.numbers(id, true) else { return Verdict::Fine };
        let mut header = Exchange::zeroed();
        header.opcode = opcode::NOP_IN;
        header.flags = flag::FINAL;
        header.lun = request.lun;
        header.initiator_task_tag = request.initiator_task_tag;
        header.target_transfer_tag = U32::new(NO_TAG);
        header.sn = U32::new(numbers.stat_sn);
        header.exp_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        self.send_short(id, header.bytes(), data);
        Verdict::Fine
    }

    fn log_out(&mut self, id: ConnectionId, pdu: &Pdu<'_>) -> Verdict {
        let request = LogoutRequest::of(pdu.header);
        let key = self.session_of(id);
        let cid = key.and_then(|key| self.sessions.get(key)).map(|session| session.cid);
        // 0: the session; 1: a connection; 2: a connection, for recovery.
        let reason = request.reason & 0x7f;
        let response = match reason {
            0 => 0,
            1 if cid.is_none_or(|cid| cid == request.cid.get()) => 0,
            1 => 1,
            2 => 2,
            _ => return Verdict::Fatal(reason::INVALID_FIELD, "a logout with an unknown reason"),
        };
        if response == 0
            && let Some(key) = key
        {
            // What the session has in flight ends before the answer goes out.
            if let Some(session) = self.sessions.get_mut(key) {
                session.parameters.time_to_retain = 0;
            }
            self.abort_all(key);
        }
        let Some(numbers) = self.numbers(id, true) else { return Verdict::Fine };
        let parameters = self.connection(id).map(|c| c.parameters).unwrap_or_default();
        let mut header = Answer::zeroed();
        header.opcode = opcode::LOGOUT_RESPONSE;
        header.flags = flag::FINAL;
        header.response = response;
        header.initiator_task_tag = Basic::of(pdu.header).initiator_task_tag;
        header.stat_sn = U32::new(numbers.stat_sn);
        header.exp_cmd_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        header.time_to_wait = U16::new(parameters.time_to_wait);
        header.time_to_retain = U16::new(0);
        self.send_short(id, header.bytes(), &[]);
        if response == 0 { Verdict::Close("logged out") } else { Verdict::Fine }
    }
}
