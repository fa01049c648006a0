//! From a login to a session.

use zerocopy::byteorder::big_endian::{U16, U32};

use super::Target;
use super::receive::{Pdu, Verdict, reason};
use super::session::{Phase, Session};
use crate::event::{ConnectionId, What};
use crate::login::{Login, Refusal};
use crate::pdu::layout::{LoginRequest, LoginResponse};
use crate::pdu::{Frame, opcode};

impl Target {
    /// A PDU of a connection that has not logged in yet.
    pub(super) fn log_in(&mut self, id: ConnectionId, pdu: &Pdu<'_>) -> Verdict {
        let frame = Frame { header: pdu.header, additional: &[], data: &[], data_is_right: true };
        if frame.opcode() != opcode::LOGIN {
            self.refused(id, None, &Refusal::InitiatorError("something else than a login"));
            return Verdict::Close("the login was refused");
        }
        let request = LoginRequest::of(pdu.header);
        let Some(connection) = self.connection(id) else { return Verdict::Fine };
        let (tag, nothing) = (connection.port, Phase::Discovery { exp_cmd_sn: 0 });
        let Phase::Login(mut login) = std::mem::replace(&mut connection.phase, nothing) else {
            return Verdict::Fatal(reason::PROTOCOL, "a login in the full feature phase");
        };
        if login.identity().is_none() {
            // The initiator may choose where StatSN begins: it says what it expects.
            connection.stat_sn = request.exp_stat_sn.get();
        }
        let (settings, name) = (&self.settings, &self.name);
        let step = login.request(&request, pdu.data, settings, name, tag, &mut self.entropy);
        let entered = step.and_then(|step| {
            let tsih = if step.done { self.enter(id, &login, &request)? } else { 0 };
            Ok((step, tsih))
        });
        match entered {
            Ok((step, tsih)) => {
                if !step.done
                    && let Some(connection) = self.connection(id)
                {
                    connection.phase = Phase::Login(login);
                }
                let tsih = if step.done { tsih } else { request.tsih.get() };
                self.login_response(id, &request, step.flags, tsih, (0, 0), &step.text);
                if step.done {
                    // Digests begin behind this response.
                    self.begin_full_feature(id);
                }
                Verdict::Fine
            }
            Err(refusal) => {
                let initiator = login.initiator.clone();
                if let Some(connection) = self.connection(id) {
                    connection.phase = Phase::Login(login);
                }
                self.login_response(id, &request, 0, 0, refusal.status(), &[]);
                self.refused(id, initiator, &refusal);
                Verdict::Close("the login was refused")
            }
        }
    }

    fn refused(&mut self, id: ConnectionId, initiator: Option<String>, refusal: &Refusal) {
        let (status, reason) = (refusal.status(), refusal.to_string());
        self.record(What::Refused { connection: id, initiator, status, reason });
    }

    fn login_response(
        &mut self,
        id: ConnectionId,
        request: &LoginRequest,
        flags: u8,
        tsih: u16,
        (class, detail): (u8, u8),
        text: &[u8],
    ) {
        let Some(numbers) = self.numbers(id, true) else { return };
        let mut header = LoginResponse::zeroed();
        header.opcode = opcode::LOGIN_RESPONSE;
        header.flags = flags;
        header.isid = request.isid;
        header.tsih = U16::new(tsih);
        header.initiator_task_tag = request.initiator_task_tag;
        header.stat_sn = U32::new(numbers.stat_sn);
        // During the login the session is not there yet: CmdSN stands where the request has it.
        let begun = self.connection(id).is_some_and(|c| !matches!(c.phase, Phase::Login(_)));
        let cmd_sn = request.cmd_sn.get();
        header.exp_cmd_sn = U32::new(if begun { numbers.exp_cmd_sn } else { cmd_sn });
        header.max_cmd_sn = U32::new(if begun { numbers.max_cmd_sn } else { cmd_sn });
        header.status_class = class;
        header.status_detail = detail;
        self.send_short(id, header.bytes(), text);
    }

    /// Makes the session. Returns its TSIH.
    fn enter(
        &mut self,
        id: ConnectionId,
        login: &Login,
        request: &LoginRequest,
    ) -> Result<u16, Refusal> {
        let cmd_sn = request.cmd_sn.get();
        let name = login.initiator.clone().unwrap_or_default();
        let Some(connection) = self.connection(id) else { return Ok(0) };
        connection.parameters = login.parameters;
        if login.discovery {
            connection.phase = Phase::Discovery { exp_cmd_sn: cmd_sn };
            self.record(What::Discovery { connection: id, initiator: name });
            return Ok(self.new_tsih());
        }
        let port = connection.port;
        let isid: String = request.isid.iter().map(|byte| format!("{byte:02x}")).collect();
        let initiator = format!("{name},i,0x{isid}");
        let older = self.sessions.iter().find(|(_, session)| {
            session.port == port && session.isid == request.isid && session.initiator == initiator
        });
        let older = older.map(|(key, session)| (key, session.tsih, session.cid));
        let key = match (request.tsih.get(), older) {
            // Same ISID, no TSIH: the older session ends (RFC 7143, section 6.3.5).
            (0, older) => {
                if let Some((key, ..)) = older {
                    self.end_session(key, "its initiator logged in anew");
                }
                self.begin_session(port, &initiator, request, login)?
            }
            // The same connection of the same session: it takes the place of the old one.
            (tsih, Some((key, known, cid))) if tsih == known && cid == request.cid.get() => {
                self.take_over(key, login, cmd_sn);
                key
            }
            (tsih, Some((_, known, _))) if tsih == known => {
                return Err(Refusal::TooManyConnections);
            }
            _ => return Err(Refusal::NoSession),
        };
        let Some(session) = self.sessions.get_mut(key) else { return Err(Refusal::NoSession) };
        session.connection = Some(id);
        session.lost_until = None;
        let (nexus, tsih) = (session.nexus, session.tsih);
        if let Some(connection) = self.connection(id) {
            connection.phase = Phase::Full(key);
        }
        self.record(What::LoggedIn {
            connection: id,
            nexus,
            initiator,
            port,
            authenticated: login.authenticated.clone(),
            reinstated: older.is_some(),
        });
        Ok(tsih)
    }

    fn begin_session(
        &mut self,
        port: u16,
        initiator: &str,
        request: &LoginRequest,
        login: &Login,
    ) -> Result<usize, Refusal> {
        if self.sessions.len() >= self.settings.limits.sessions && !self.evict() {
            return Err(Refusal::OutOfResources);
        }
        let nexus = self.array.connect(initiator, port).map_err(|_| Refusal::PortDown)?;
        let tsih = self.new_tsih();
        let session = Session::new(
            nexus,
            initiator.to_owned(),
            request.isid,
            (tsih, request.cid.get()),
            port,
            login.parameters,
            request.cmd_sn.get(),
            self.settings.limits.window,
        );
        let key = self.sessions.insert(session);
        self.by_nexus.insert(nexus, key);
        Ok(key)
    }

    /// A new connection for a session that goes on: what the old one had in flight is over.
    fn take_over(&mut self, key: usize, login: &Login, cmd_sn: u32) {
        self.abort_all(key);
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.parameters = login.parameters;
        session.exp_cmd_sn = cmd_sn;
        if let Some(old) = session.connection.take() {
            if let Some(connection) = self.connection(old) {
                // It has no session any more that its end could touch.
                connection.phase = Phase::Discovery { exp_cmd_sn: 0 };
            }
            self.drop_connection(old, "another connection has taken its place");
        }
    }

    /// Ends the session whose initiator has been away for longest, if there is one.
    fn evict(&mut self) -> bool {
        let away = self.sessions.iter().filter_map(|(key, s)| Some((s.lost_until?, key)));
        let Some((_, key)) = away.min() else { return false };
        self.end_session(key, "room was needed for another");
        true
    }

    /// A TSIH that no session has; never 0.
    fn new_tsih(&mut self) -> u16 {
        for _ in 0..=u16::MAX {
            self.last_tsih = self.last_tsih.wrapping_add(1).max(1);
            let taken = self.sessions.iter().any(|(_, s)| s.tsih == self.last_tsih);
            if !taken {
                break;
            }
        }
        self.last_tsih
    }

    fn begin_full_feature(&mut self, id: ConnectionId) {
        let limit = self.settings.wishes.max_receive as usize;
        let Some(connection) = self.connection(id) else { return };
        let digests = connection.parameters.digests;
        connection.framer.set(limit, digests);
        connection.encoder.set(digests);
    }
}
