//! What the fuzz targets of the iSCSI target check; alua-iscsi's own test `stream` runs it without
//! a fuzzer.
//!
//! The bytes of an input are a little program: raw bytes for a connection, whole PDUs with numbers
//! that fit (so that more than the first check is reached), time, events of the array, closed
//! connections. Whatever it does, nothing may panic, the target's books must be right after each
//! step, and in the end nothing may be left.
#![allow(unreachable_pub, reason = "the fuzz crate includes this file")]

use std::time::Duration;

use alua_array::{Array, Event, LostTasks};
use alua_iscsi::pdu::layout::{LoginRequest, length_field};
use alua_iscsi::pdu::{HEADER, opcode};
use alua_iscsi::{Account, ConnectionId, Portal, Secret, Settings, Target, text};

const ARRAY: &str = r#"
[array]
name = "fuzz"
command_time = "0s"
non_optimized_time = "0s"

[alua]
transition = "1s"

[[controller]]
name = "A"
[[controller]]
name = "B"
[[group]]
id = 1
controller = "A"
[[group]]
id = 2
controller = "B"
[[port]]
id = 1
group = 1
[[port]]
id = 2
group = 2
[[unit]]
name = "disk"
lun = 0
count = 2
blocks = 256
owner = ["A", "B"]
[[fault]]
name = "late"
command = ["read-10", "write-10"]
per_mille = 300
action = "late-start"
delay = "2s"
[[fault]]
name = "hang"
command = "test-unit-ready"
per_mille = 100
action = "hang"
"#;

/// What one connection may send at most before it must have been read.
const PIECE: usize = 4096;

fn target(change: impl FnOnce(&mut Settings)) -> Target {
    let array = Array::from_toml("fuzz.toml", ARRAY).expect("the array is right");
    let portal = |port| Portal { address: None, port };
    let mut settings = Settings { portals: vec![portal(1), portal(2)], ..Settings::default() };
    settings.limits.window = 8;
    settings.limits.immediate = 2;
    settings.limits.connections = 4;
    settings.limits.sessions = 3;
    settings.limits.buffered = 64 << 10;
    settings.limits.output = 16 << 10;
    settings.wishes.max_receive = 16 << 10;
    change(&mut settings);
    Target::new(array, settings, Box::new(|bytes| bytes.fill(0x5a)))
}

/// Bytes of the input, taken from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A host with a few connections.
struct Host {
    target: Target,
    connections: Vec<(ConnectionId, u32)>,
}

impl Host {
    fn check(&self) {
        if let Err(wrong) = self.target.self_check() {
            panic!("{wrong}");
        }
    }

    fn open(&mut self, portal: u8) {
        if let Some(id) = self.target.open(usize::from(portal & 1), "fuzz", "127.0.0.1:3260") {
            self.connections.push((id, 1));
        }
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let Some(&(id, _)) = self.connections.get(at) else { return };
        let now = self.target.array().now();
        self.target.take_bytes(id, bytes, now);
        self.check();
    }

    /// A login that is right, unless the keys in `more` make it wrong.
    fn log_in(&mut self, at: usize, isid: u8, more: &[u8]) {
        let mut keys = Vec::new();
        let name = self.target.name().to_owned();
        text::put(&mut keys, "InitiatorName", "iqn.2026-03.invalid.fuzz:host");
        text::put(&mut keys, "TargetName", &name);
        text::put(&mut keys, "InitialR2T", "No");
        text::put(&mut keys, "DefaultTime2Retain", if isid & 1 == 0 { "0" } else { "5" });
        keys.extend_from_slice(more);
        let mut header = LoginRequest::zeroed();
        header.opcode = opcode::LOGIN | opcode::IMMEDIATE;
        header.flags = 0x87;
        header.isid = [0x80, 0, 0, 0, 0, isid & 3];
        header.cid.set(1);
        header.cmd_sn.set(1);
        self.pdu(at, header.bytes(), &keys);
    }

    fn pdu(&mut self, at: usize, mut header: [u8; HEADER], data: &[u8]) {
        header[4] = 0;
        header[5..8].copy_from_slice(&length_field(data.len()));
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.send(at, &bytes);
    }

    /// A request whose CmdSN is the next one.
    fn request(&mut self, at: usize, input: &mut Input<'_>) {
        let Some((_, cmd_sn)) = self.connections.get_mut(at) else { return };
        let mut header = [0; HEADER];
        let head = input.take(12);
        // Operation code and flags; LUN; tags; then the specific fields from 20 on.
        for (to, from) in [0, 1, 9, 19, 20, 21, 22, 23, 32, 33, 34, 37].into_iter().zip(head) {
            header[to] = *from;
        }
        for (to, from) in header[36..48].iter_mut().zip(input.take(12)) {
            *to = *from;
        }
        header[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
        if header[0] & opcode::IMMEDIATE == 0 && header[0] & opcode::MASK != opcode::DATA_OUT {
            *cmd_sn = cmd_sn.wrapping_add(1);
        }
        let length = usize::from(input.byte()) * 8;
        let data = input.take(length.min(PIECE)).to_vec();
        self.pdu(at, header, &data);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        let at = usize::from(what >> 4) % 4;
        match what & 0x0f {
            0 => self.open(what >> 4),
            1 => self.log_in(at, input.byte(), &[]),
            2 => {
                let length = usize::from(input.byte());
                let bytes = input.take(length).to_vec();
                self.send(at, &bytes);
            }
            3 => {
                let step = Duration::from_millis(u64::from(input.byte()) * 100);
                let to = self.target.array().now().after(step);
                self.target.advance(to);
            }
            4 => {
                if let Some(&(id, _)) = self.connections.get(at) {
                    let now = self.target.array().now();
                    self.target.lost(id, now, "fuzz");
                }
            }
            5 => {
                if let Some(&(id, _)) = self.connections.get(at) {
                    self.target.take_output(id);
                }
            }
            6 => self.event(input.byte()),
            _ => self.request(at, input),
        }
        self.check();
        while let Some(id) = self.target.poll_ready() {
            if self.target.is_over(id) {
                self.connections.retain(|(own, _)| *own != id);
            }
        }
    }

    fn event(&mut self, which: u8) {
        let switch = |to: &str| Event::Switch {
            unit: None,
            to: to.to_owned(),
            transition: None,
            fails: false,
        };
        let event = match which % 6 {
            0 => switch("A"),
            1 => switch("B"),
            2 => Event::PortDown { port: 1, tasks: LostTasks::Run },
            3 => Event::PortUp { port: 1 },
            4 => Event::ResetUnit { unit: None },
            _ => Event::PowerCycle { lose_cache: false },
        };
        self.target.apply(&event).expect("the array has these names");
    }

    /// Everything ends: nothing may be held any more.
    fn end(mut self) {
        let open: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| *id).collect();
        let now = self.target.array().now();
        for id in open {
            self.target.lost(id, now, "the end");
        }
        for _ in 0..40 {
            let to = self.target.array().now().after(Duration::from_secs(1));
            self.target.advance(to);
        }
        self.check();
        assert_eq!(self.target.connection_count(), 0);
        assert_eq!(self.target.sessions().len(), 0);
    }
}

/// A program of connections, PDUs, time and events.
pub fn stream(data: &[u8]) {
    let mut host = Host { target: target(|_| {}), connections: Vec::new() };
    host.open(0);
    host.log_in(0, 1, &[]);
    host.open(1);
    let mut input = Input(data);
    for _ in 0..256 {
        if input.0.is_empty() {
            break;
        }
        host.step(&mut input);
    }
    host.end();
}

/// Login requests with any text: without the secret nobody gets in, and every login ends.
pub fn login(data: &[u8]) {
    let account = Account {
        initiator: None,
        incoming: Secret { name: "user".to_owned(), secret: b"nobody knows this".to_vec() },
        outgoing: Some(Secret { name: "array".to_owned(), secret: b"nor that, indeed".to_vec() }),
    };
    let guarded = data.first().is_some_and(|byte| byte & 1 != 0);
    let target = target(|settings| {
        if guarded {
            settings.authentication.accounts.push(account);
            settings.authentication.discovery = true;
        }
    });
    let mut host = Host { target, connections: Vec::new() };
    host.open(0);
    let mut input = Input(data.get(1..).unwrap_or(&[]));
    for _ in 0..40 {
        if input.0.is_empty() {
            break;
        }
        let mut header = LoginRequest::zeroed();
        header.opcode = opcode::LOGIN | opcode::IMMEDIATE;
        header.flags = input.byte();
        header.cid.set(1);
        header.cmd_sn.set(1);
        let mut keys = Vec::new();
        let choice = input.byte();
        if choice & 1 != 0 {
            text::put(&mut keys, "InitiatorName", "iqn.2026-03.invalid.fuzz:host");
        }
        if choice & 2 != 0 {
            let name = host.target.name().to_owned();
            text::put(&mut keys, "TargetName", &name);
        }
        let length = usize::from(input.byte()) * 2;
        keys.extend_from_slice(input.take(length));
        host.pdu(0, header.bytes(), &keys);
        if let Some(&(id, _)) = host.connections.first() {
            host.target.take_output(id);
        }
        let logged_in = !host.target.sessions().is_empty();
        assert!(!(guarded && logged_in), "somebody got in without the secret");
        host.check();
    }
    host.end();
}
