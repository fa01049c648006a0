//! Text requests of the full feature phase: SendTargets (RFC 7143, appendix C).

use zerocopy::byteorder::big_endian::U32;

use super::Target;
use super::receive::{Pdu, Verdict, reason};
use crate::event::ConnectionId;
use crate::login::keys::Said;
use crate::pdu::layout::Exchange;
use crate::pdu::{NO_TAG, flag, opcode};
use crate::text::{self, TEXT_MAX};

/// The tag of a text that goes on.
const GOES_ON: u32 = 0x5e4d;

impl Target {
    pub(super) fn text_request(&mut self, id: ConnectionId, pdu: &Pdu<'_>) -> Verdict {
        let request = Exchange::of(pdu.header);
        let goes_on = request.flags & flag::CONTINUE != 0;
        let asks = request.target_transfer_tag.get();
        let Some(connection) = self.connection(id) else { return Verdict::Fine };
        if let Some((tag, rest)) = connection.rest.take()
            && asks == tag
        {
            self.text_response(id, &request, rest);
            return Verdict::Fine;
        }
        if connection.text.len() + pdu.data.len() > TEXT_MAX {
            return Verdict::Fatal(reason::INVALID_FIELD, "a text that is too long");
        }
        connection.text.extend_from_slice(pdu.data);
        if goes_on {
            self.text_response(id, &request, Vec::new());
            return Verdict::Fine;
        }
        let text = std::mem::take(&mut connection.text);
        let Ok(pairs) = text::pairs(&text) else {
            return Verdict::Fatal(reason::INVALID_FIELD, "a text that cannot be read");
        };
        let mut answer = Vec::new();
        for (key, value) in pairs {
            self.text_key(id, key, value, &mut answer);
        }
        self.text_response(id, &request, answer);
        Verdict::Fine
    }

    fn text_key(&mut self, id: ConnectionId, key: &str, value: &str, answer: &mut Vec<u8>) {
        let discovery = self.session_of(id).is_none();
        match key {
            "SendTargets" => match value {
                "All" if discovery => self.list_targets(id, answer),
                "" if !discovery => self.list_targets(id, answer),
                name if name.eq_ignore_ascii_case(&self.name) => self.list_targets(id, answer),
                "All" | "" => text::put(answer, key, "Reject"),
                _ => {}
            },
            "MaxRecvDataSegmentLength" => {
                let wishes = self.settings.wishes;
                let Some(connection) = self.connection(id) else { return };
                if let Said::Value(said) =
                    connection.parameters.hear(key, value, &wishes, discovery)
                {
                    text::put(answer, key, &said);
                }
            }
            _ => text::put(answer, key, "NotUnderstood"),
        }
    }

    fn list_targets(&mut self, id: ConnectionId, answer: &mut Vec<u8>) {
        let local = self.connection(id).map(|c| c.local.clone()).unwrap_or_default();
        text::put(answer, "TargetName", &self.name);
        for portal in &self.settings.portals {
            if self.array.is_up(portal.port) {
                let address = portal.address.as_deref().unwrap_or(&local);
                text::put(answer, "TargetAddress", &format!("{address},{}", portal.port));
            }
        }
    }

    fn text_response(&mut self, id: ConnectionId, request: &Exchange, mut text: Vec<u8>) {
        let Some(numbers) = self.numbers(id, true) else { return };
        let Some(connection) = self.connection(id) else { return };
        let most = connection.parameters.max_send as usize;
        let goes_on = request.flags & flag::CONTINUE != 0;
        let mut header = Exchange::zeroed();
        header.opcode = opcode::TEXT_RESPONSE;
        header.initiator_task_tag = request.initiator_task_tag;
        header.target_transfer_tag = U32::new(NO_TAG);
        if text.len() > most {
            let rest = text.split_off(most);
            connection.rest = Some((GOES_ON, rest));
            header.flags = flag::CONTINUE;
            header.target_transfer_tag = U32::new(GOES_ON);
        } else if goes_on {
            header.target_transfer_tag = U32::new(GOES_ON);
        } else {
            header.flags = flag::FINAL;
        }
        header.sn = U32::new(numbers.stat_sn);
        header.exp_sn = U32::new(numbers.exp_cmd_sn);
        header.max_cmd_sn = U32::new(numbers.max_cmd_sn);
        self.send_short(id, header.bytes(), &text);
    }
}
