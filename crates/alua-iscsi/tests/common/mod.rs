//! A small initiator in memory: it says what a test tells it to, right or wrong.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use alua_array::{Array, Time, shipped};
use alua_iscsi::pdu::layout::{Command, DataOut, Function, LoginRequest};
use alua_iscsi::pdu::{Digests, Encoder, Framer, HEADER, flag, opcode};
use alua_iscsi::{ConnectionId, Portal, Settings, Target, text};

pub(crate) const NAME: &str = "iqn.2026-03.invalid.test:host";

/// A PDU as it came.
#[derive(Clone, Debug)]
pub(crate) struct Pdu {
    pub(crate) header: [u8; HEADER],
    pub(crate) data: Vec<u8>,
}

impl Pdu {
    pub(crate) fn opcode(&self) -> u8 {
        self.header[0] & opcode::MASK
    }

    pub(crate) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.header[at..at + 4].try_into().unwrap())
    }

    pub(crate) fn tag(&self) -> u32 {
        self.word(16)
    }

    /// The pairs of a text segment.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        text::pairs(&self.data).unwrap().into_iter().map(own).collect()
    }

    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.pairs().into_iter().find(|pair| pair.0 == key).map(|pair| pair.1)
    }

    /// Status class and detail of a login response.
    pub(crate) fn login_status(&self) -> (u8, u8) {
        assert_eq!(self.opcode(), opcode::LOGIN_RESPONSE);
        (self.header[36], self.header[37])
    }
}

/// The demo array without times of its own, with `change` made to the settings.
pub(crate) fn target(change: impl FnOnce(&mut Settings)) -> Target {
    target_of("", change)
}

/// The same with `more` added to the array file.
pub(crate) fn target_of(more: &str, change: impl FnOnce(&mut Settings)) -> Target {
    let text = format!("{}\n{more}", shipped::DEMO.text);
    let text = text.replace("[alua]", "command_time = \"0s\"\nnon_optimized_time = \"0s\"\n[alua]");
    let array = Array::from_toml("demo.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let portals = array
        .ports()
        .map(|port| Portal { address: Some(format!("127.0.0.{port}:3260")), port })
        .collect();
    let mut settings = Settings { portals, ..Settings::default() };
    change(&mut settings);
    let mut next = 0_u8;
    let entropy = Box::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_mul(167).wrapping_add(13);
            *byte = next;
        }
    });
    Target::new(array, settings, entropy)
}

/// One connection of an initiator.
pub(crate) struct Initiator {
    pub(crate) id: ConnectionId,
    pub(crate) isid: [u8; 6],
    pub(crate) tsih: u16,
    pub(crate) cid: u16,
    pub(crate) cmd_sn: u32,
    pub(crate) next_tag: u32,
    pub(crate) digests: Digests,
    framer: Framer,
    pub(crate) received: Vec<Pdu>,
}

/// The keys of an ordinary login, with MaxRecvDataSegmentLength 64 KiB.
pub(crate) const ORDINARY: &[(&str, &str)] = &[
    ("HeaderDigest", "None"),
    ("DataDigest", "None"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxRecvDataSegmentLength", "65536"),
    ("MaxBurstLength", "262144"),
    ("FirstBurstLength", "65536"),
    ("DefaultTime2Wait", "0"),
    ("DefaultTime2Retain", "20"),
];

impl Initiator {
    /// Connects to the portal with that place.
    pub(crate) fn connect(target: &mut Target, portal: usize) -> Self {
        let id = target.open(portal, "test", "127.0.0.9:3260").expect("the portal takes it");
        Self {
            id,
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 1,
            cmd_sn: 100,
            next_tag: 1,
            digests: Digests::default(),
            framer: Framer::new(0xff_ffff),
            received: Vec::new(),
        }
    }

    /// Connects and logs in with the ordinary keys.
    pub(crate) fn log_in(target: &mut Target, portal: usize) -> Self {
        Self::log_in_as(target, portal, [0x80, 0, 0, 0, 0, 1], ORDINARY)
    }

    pub(crate) fn log_in_as(
        target: &mut Target,
        portal: usize,
        isid: [u8; 6],
        keys: &[(&str, &str)],
    ) -> Self {
        let mut initiator = Self::connect(target, portal);
        initiator.isid = isid;
        let name = target.name().to_owned();
        let mut all = vec![("InitiatorName", NAME), ("TargetName", &name)];
        all.extend_from_slice(keys);
        let answer = initiator.login(target, 0x87, &all);
        assert_eq!(answer.login_status(), (0, 0), "{:?}", answer);
        assert_eq!(answer.header[1], 0x87);
        initiator.tsih = u16::from_be_bytes([answer.header[14], answer.header[15]]);
        assert_ne!(initiator.tsih, 0);
        for (key, value) in keys {
            let on = *value == "CRC32C";
            match *key {
                "HeaderDigest" => initiator.digests.header = on,
                "DataDigest" => initiator.digests.data = on,
                _ => {}
            }
        }
        initiator.framer.set(0xff_ffff, initiator.digests);
        initiator
    }

    /// One login request; `flags` are T, C, CSG and NSG.
    pub(crate) fn login(&mut self, target: &mut Target, flags: u8, keys: &[(&str, &str)]) -> Pdu {
        let mut segment = Vec::new();
        for (key, value) in keys {
            text::put(&mut segment, key, value);
        }
        self.login_text(target, flags, &segment)
    }

    pub(crate) fn login_text(&mut self, target: &mut Target, flags: u8, segment: &[u8]) -> Pdu {
        let mut header = LoginRequest::zeroed();
        header.opcode = opcode::LOGIN | opcode::IMMEDIATE;
        header.flags = flags;
        header.isid = self.isid;
        header.tsih.set(self.tsih);
        header.cid.set(self.cid);
        header.initiator_task_tag.set(7);
        header.cmd_sn.set(self.cmd_sn);
        header.exp_stat_sn.set(1);
        self.send(target, header.bytes(), segment);
        self.take(target, opcode::LOGIN_RESPONSE)
    }

    /// Sends one PDU, and gathers what comes back.
    pub(crate) fn send(&mut self, target: &mut Target, header: [u8; HEADER], data: &[u8]) {
        let mut encoder = Encoder::default();
        encoder.set(self.digests);
        encoder.put_short(header, data);
        self.send_bytes(target, &encoder.take());
    }

    pub(crate) fn send_bytes(&mut self, target: &mut Target, bytes: &[u8]) {
        let now = target.array().now();
        target.take_bytes(self.id, bytes, now);
        self.gather(target);
    }

    /// Takes in what the target has for this connection.
    pub(crate) fn gather(&mut self, target: &mut Target) {
        let bytes = target.take_output(self.id);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let space = self.framer.space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            self.framer.filled(count);
            rest = &rest[count..];
            while let Some(frame) = self.framer.next_frame().unwrap() {
                assert!(frame.data_is_right, "a broken data digest");
                let data = frame.data.to_vec();
                self.received.push(Pdu { header: *frame.header, data });
            }
        }
    }

    /// The next PDU, which must be of that kind.
    pub(crate) fn take(&mut self, target: &mut Target, code: u8) -> Pdu {
        self.gather(target);
        assert!(!self.received.is_empty(), "nothing came, wanted {code:02x}");
        let pdu = self.received.remove(0);
        assert_eq!(pdu.opcode(), code, "{pdu:?}");
        pdu
    }

    pub(crate) fn nothing(&mut self, target: &mut Target) {
        self.gather(target);
        assert!(self.received.is_empty(), "{:?}", self.received);
    }

    /// A command header with the next tag and CmdSN.
    pub(crate) fn command(&mut self, cdb: &[u8], flags: u8, expected: u32) -> Command {
        let mut header = Command::zeroed();
        header.opcode = opcode::COMMAND;
        header.flags = flags;
        header.initiator_task_tag.set(self.next_tag);
        header.expected_length.set(expected);
        header.cmd_sn.set(self.cmd_sn);
        header.cdb[..cdb.len()].copy_from_slice(cdb);
        self.next_tag += 1;
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        header
    }

    /// A command that reads up to `expected` bytes: status, data, sense.
    pub(crate) fn read(&mut self, target: &mut Target, cdb: &[u8], expected: u32) -> Answer {
        let direction = if expected > 0 { flag::READ } else { 0 };
        let header = self.command(cdb, flag::FINAL | direction, expected);
        let tag = header.initiator_task_tag.get();
        self.send(target, header.bytes(), &[]);
        self.answer(target, tag)
    }

    /// A command that writes `data`, all of it immediate.
    pub(crate) fn write(&mut self, target: &mut Target, cdb: &[u8], data: &[u8]) -> Answer {
        let header = self.command(cdb, flag::FINAL | flag::WRITE, data.len() as u32);
        let tag = header.initiator_task_tag.get();
        self.send(target, header.bytes(), data);
        self.answer(target, tag)
    }

    /// The answer to the command with that tag, out of what has come.
    pub(crate) fn answer(&mut self, target: &mut Target, tag: u32) -> Answer {
        self.gather(target);
        let mut answer = Answer::default();
        let mut at = 0;
        while at < self.received.len() {
            if self.received[at].tag() != tag {
                at += 1;
                continue;
            }
            let pdu = self.received.remove(at);
            let flags = pdu.header[1];
            match pdu.opcode() {
                opcode::DATA_IN => {
                    assert_eq!(pdu.word(40) as usize, answer.data.len(), "data in order");
                    assert_eq!(pdu.word(36), answer.pdus, "DataSN counts");
                    answer.pdus += 1;
                    answer.data.extend_from_slice(&pdu.data);
                    if flags & flag::STATUS == 0 {
                        continue;
                    }
                }
                opcode::RESPONSE => {
                    let sense = pdu.data.get(2..).unwrap_or(&[]);
                    answer.sense = sense.to_vec();
                }
                _ => panic!("{pdu:?}"),
            }
            answer.status = Some(pdu.header[3]);
            let residual = i64::from(pdu.word(44));
            answer.residual = match flags & (flag::OVERFLOW | flag::UNDERFLOW) {
                0 => 0,
                flag::UNDERFLOW => residual,
                _ => -residual,
            };
            return answer;
        }
        answer
    }

    /// A task management function, as an immediate request: the response code.
    pub(crate) fn function(
        &mut self,
        target: &mut Target,
        function: u8,
        lun: u8,
        referenced: u32,
    ) -> Option<u8> {
        let mut header = Function::zeroed();
        header.opcode = opcode::FUNCTION | opcode::IMMEDIATE;
        header.function = 0x80 | function;
        header.lun[1] = lun;
        header.initiator_task_tag.set(0xf000 + self.next_tag);
        header.referenced_task_tag.set(referenced);
        header.cmd_sn.set(self.cmd_sn);
        self.next_tag += 1;
        self.send(target, header.bytes(), &[]);
        let found = self.received.iter().position(|p| p.opcode() == opcode::FUNCTION_RESPONSE);
        found.map(|at| self.received.remove(at).header[2])
    }

    /// A Data-Out PDU.
    pub(crate) fn data_out(
        &mut self,
        target: &mut Target,
        (tag, transfer): (u32, u32),
        (data_sn, offset): (u32, u32),
        data: &[u8],
        last: bool,
    ) {
        let mut header = DataOut::zeroed();
        header.opcode = opcode::DATA_OUT;
        header.flags = if last { flag::FINAL } else { 0 };
        header.initiator_task_tag.set(tag);
        header.target_transfer_tag.set(transfer);
        header.data_sn.set(data_sn);
        header.buffer_offset.set(offset);
        self.send(target, header.bytes(), data);
    }
}

/// How a command ended; no status: it has not.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: Option<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) sense: Vec<u8>,
    /// Positive: underflow.
    pub(crate) residual: i64,
    pub(crate) pdus: u32,
}

impl Answer {
    /// `GOOD`, `2/04/0a`, or the status as a number.
    pub(crate) fn said(&self) -> String {
        match (self.status, self.sense.as_slice()) {
            (None, _) => "nothing".to_owned(),
            (Some(0), _) => "GOOD".to_owned(),
            (Some(2), [_, _, key, _, _, _, _, _, _, _, _, _, asc, ascq, ..]) => {
                format!("{key:x}/{asc:02x}/{ascq:02x}")
            }
            (Some(status), _) => format!("{status:02x}"),
        }
    }
}

/// Lets time pass.
pub(crate) fn pass(target: &mut Target, seconds: u64) {
    let mut left = seconds;
    while left > 0 {
        let to = target.array().now().after(Duration::from_secs(1));
        target.advance(to);
        left -= 1;
    }
}

pub(crate) fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

pub(crate) const TUR: [u8; 6] = [0; 6];

pub(crate) fn read_10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb_10(0x28, lba, blocks)
}

pub(crate) fn write_10(lba: u32, blocks: u16) -> [u8; 10] {
    cdb_10(0x2a, lba, blocks)
}

fn cdb_10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let [a, b, c, d] = lba.to_be_bytes();
    let [e, f] = blocks.to_be_bytes();
    [opcode, 0, a, b, c, d, 0, e, f, 0]
}
