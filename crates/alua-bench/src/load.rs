//! A load on an iSCSI target: one session, a number of commands in flight, for a time. The same
//! client for every target, so that figures can stand beside each other.
//!
//! It is no initiator for anything else: it takes what a well-behaved target sends and gives up at
//! the first thing that is not that.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use alua_iscsi::pdu::layout::{Command, DataIn, DataOut, Exchange, LoginRequest, Ready};
use alua_iscsi::pdu::{Framer, HEADER, NO_TAG, flag, opcode};
use alua_iscsi::text;

/// What the load does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Work {
    /// Write, or read.
    pub write: bool,
    /// Random places, or one after the other.
    pub random: bool,
    /// Bytes of one command.
    pub size: u32,
    /// Commands in flight.
    pub depth: u32,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Commands in all.
    pub commands: usize,
    /// Commands per second.
    pub per_second: f64,
    /// The median time of a command, in microseconds.
    pub median_us: f64,
    /// The time that 99 of 100 commands did not exceed, in microseconds.
    pub p99_us: f64,
}

/// A session in the full feature phase.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    framer: Framer,
    cmd_sn: u32,
    stat_sn: u32,
    immediate: u32,
    send_max: u32,
    blocks: u64,
    block: u32,
}

const BUFFER: u32 = 256 << 10;
const CAPACITY_TAG: u32 = 0x7000;

fn odd(what: &str) -> io::Error {
    io::Error::other(format!("the target does what this client does not expect: {what}"))
}

impl Session {
    /// Logs in to `target` at `address`, and reads the capacity of LUN `lun`. `name` is the
    /// initiator's, `serial` part of its ISID.
    ///
    /// # Errors
    ///
    /// The connection, or a login that is refused.
    pub fn log_in(
        address: &str,
        target: &str,
        lun: u8,
        name: &str,
        serial: u16,
    ) -> io::Result<Self> {
        let mut session = Self::connect(address)?;
        session.negotiate(Some(target), name, serial)?;
        session.capacity(lun)?;
        Ok(session)
    }

    /// What a discovery session at `address` is told: the pairs of SendTargets=All, in order.
    ///
    /// # Errors
    ///
    /// The connection, or a login that is refused.
    pub fn discover(address: &str, name: &str) -> io::Result<Vec<(String, String)>> {
        let mut session = Self::connect(address)?;
        session.negotiate(None, name, 1)?;
        let mut header = Exchange::zeroed();
        header.opcode = opcode::TEXT;
        header.flags = flag::FINAL;
        header.initiator_task_tag.set(1);
        header.target_transfer_tag.set(NO_TAG);
        header.sn.set(session.cmd_sn);
        header.exp_sn.set(session.stat_sn);
        session.send(header.bytes(), b"SendTargets=All\0")?;
        let (answer, data) = session.receive()?;
        if answer[0] & opcode::MASK != opcode::TEXT_RESPONSE || answer[1] & flag::FINAL == 0 {
            return Err(odd("SendTargets is not answered in one piece"));
        }
        let pairs = text::pairs(&data).map_err(|error| odd(&error.to_string()))?;
        Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            framer: Framer::new(BUFFER as usize),
            cmd_sn: 1,
            stat_sn: 0,
            immediate: 0,
            send_max: 8192,
            blocks: 0,
            block: 512,
        })
    }

    /// `target`: none for a discovery session.
    fn negotiate(&mut self, target: Option<&str>, name: &str, serial: u16) -> io::Result<()> {
        let mut keys = Vec::new();
        let buffer = BUFFER.to_string();
        text::put(&mut keys, "InitiatorName", name);
        match target {
            Some(target) => text::put(&mut keys, "TargetName", target),
            None => text::put(&mut keys, "SessionType", "Discovery"),
        }
        let normal = [
            ("SessionType", "Normal"),
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxRecvDataSegmentLength", &buffer),
            ("MaxBurstLength", "1048576"),
            ("FirstBurstLength", &buffer),
            ("MaxOutstandingR2T", "1"),
            ("MaxConnections", "1"),
            // What is not offered some targets offer themselves, and wait for an answer.
            ("DefaultTime2Wait", "2"),
            ("DefaultTime2Retain", "0"),
            ("DataPDUInOrder", "Yes"),
            ("DataSequenceInOrder", "Yes"),
            ("IFMarker", "No"),
            ("OFMarker", "No"),
            ("ErrorRecoveryLevel", "0"),
        ];
        for (key, value) in normal.into_iter().take(if target.is_some() { usize::MAX } else { 0 }) {
            text::put(&mut keys, key, value);
        }
        let mut header = LoginRequest::zeroed();
        header.opcode = opcode::LOGIN | opcode::IMMEDIATE;
        header.flags = 0x87;
        header.isid = [0x80, 0, 0, 1, 0, 0];
        header.isid[4..].copy_from_slice(&serial.to_be_bytes());
        header.cid.set(1);
        header.cmd_sn.set(self.cmd_sn);
        let (mut first_burst, mut said) = (65_536, String::new());
        // A target may want to say its keys before it lets go on.
        for _ in 0..8 {
            self.send(header.bytes(), &keys)?;
            let (answer, data) = self.receive()?;
            if answer[0] & opcode::MASK != opcode::LOGIN_RESPONSE || answer[36] != 0 {
                return Err(odd(&format!("login status {:02x}{:02x}", answer[36], answer[37])));
            }
            let pairs = text::pairs(&data).map_err(|error| odd(&error.to_string()))?;
            for (key, value) in pairs {
                match (key, text::number(value)) {
                    ("MaxRecvDataSegmentLength", Some(length)) => self.send_max = length,
                    ("FirstBurstLength", Some(length)) => first_burst = length,
                    _ => {}
                }
            }
            self.stat_sn = word(&answer, 24).wrapping_add(1);
            if answer[1] & 0x83 == 0x83 {
                self.immediate = first_burst.min(self.send_max).min(BUFFER);
                return Ok(());
            }
            said = format!("{:02x}: {}", answer[1], String::from_utf8_lossy(&data));
            keys.clear();
        }
        Err(odd(&format!("the login does not end, the last answer is {said}")))
    }

    fn capacity(&mut self, lun: u8) -> io::Result<()> {
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        // Unit attentions of a new nexus come first.
        for _ in 0..8 {
            self.command(CAPACITY_TAG, lun, cdb, flag::READ, 32, &[])?;
            let (answer, data) = self.receive()?;
            if answer[0] & opcode::MASK == opcode::DATA_IN && data.len() >= 12 {
                let last = u64::from_be_bytes(data[..8].try_into().unwrap_or_default());
                self.blocks = last + 1;
                self.block = u32::from_be_bytes(data[8..12].try_into().unwrap_or_default());
                // Some targets send data of no meaning before a CHECK CONDITION.
                let with_status = answer[1] & flag::STATUS != 0;
                let end = if with_status { answer } else { self.receive()?.0 };
                if end[3] == 0 {
                    return Ok(());
                }
            }
        }
        Err(odd("no answer to READ CAPACITY"))
    }

    /// Bytes of the logical unit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks * u64::from(self.block)
    }

    /// Sends one header that is nothing of this client's business; the header that comes back.
    ///
    /// # Errors
    ///
    /// The connection.
    pub fn exchange(&mut self, header: [u8; HEADER]) -> io::Result<[u8; HEADER]> {
        self.send(header, &[])?;
        Ok(self.receive()?.0)
    }

    fn send(&mut self, mut header: [u8; HEADER], data: &[u8]) -> io::Result<()> {
        let [_, a, b, c] = (data.len() as u32).to_be_bytes();
        header[5..8].copy_from_slice(&[a, b, c]);
        let padding = &[0; 3][..data.len().next_multiple_of(4) - data.len()];
        if data.is_empty() {
            return self.stream.write_all(&header);
        }
        let slices = [io::IoSlice::new(&header), io::IoSlice::new(data), io::IoSlice::new(padding)];
        let total = header.len() + data.len() + padding.len();
        let sent = self.stream.write_vectored(&slices)?;
        if sent < total {
            let all = [&header[..], data, padding].concat();
            self.stream.write_all(&all[sent..])?;
        }
        Ok(())
    }

    fn command(
        &mut self,
        tag: u32,
        lun: u8,
        cdb: [u8; 16],
        direction: u8,
        expected: u32,
        data: &[u8],
    ) -> io::Result<()> {
        let mut header = Command::zeroed();
        header.opcode = opcode::COMMAND;
        header.flags = flag::FINAL | direction;
        header.lun[1] = lun;
        header.initiator_task_tag.set(tag);
        header.expected_length.set(expected);
        header.cmd_sn.set(self.cmd_sn);
        header.exp_stat_sn.set(self.stat_sn);
        header.cdb = cdb;
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.send(header.bytes(), data)
    }

    /// The next PDU; pings are answered on the way.
    fn receive(&mut self) -> io::Result<([u8; HEADER], Vec<u8>)> {
        let mut data = Vec::new();
        let header = self.receive_into(|bytes| data.extend_from_slice(bytes))?;
        Ok((header, data))
    }

    fn receive_into(&mut self, mut with: impl FnMut(&[u8])) -> io::Result<[u8; HEADER]> {
        loop {
            let next = self.framer.next_frame().map_err(|error| odd(&error.to_string()))?;
            let Some(frame) = next else {
                let space = self.framer.space();
                let count = self.stream.read(space)?;
                if count == 0 {
                    return Err(odd("the connection is closed"));
                }
                self.framer.filled(count);
                continue;
            };
            let header = *frame.header;
            if frame.opcode() == opcode::NOP_IN && word(&header, 20) != NO_TAG {
                let mut pong = Exchange::zeroed();
                pong.opcode = opcode::NOP_OUT | opcode::IMMEDIATE;
                pong.flags = flag::FINAL;
                pong.initiator_task_tag.set(NO_TAG);
                pong.target_transfer_tag.set(word(&header, 20));
                pong.sn.set(self.cmd_sn);
                self.send(pong.bytes(), &[])?;
                continue;
            }
            with(frame.data);
            return Ok(header);
        }
    }

    /// Works for that long.
    ///
    /// # Errors
    ///
    /// The connection, or an answer that is not GOOD.
    pub fn run(&mut self, lun: u8, work: &Work, time: Duration) -> io::Result<Rate> {
        let data = vec![0x5a; work.size as usize];
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let places = self.bytes() / u64::from(work.size);
        let mut next = 0;
        let mut began = vec![Instant::now(); work.depth as usize];
        let mut times = Vec::new();
        let begin = Instant::now();
        let mut in_flight = 0;
        for tag in 0..work.depth {
            let place = place(work, &mut random, &mut next, places);
            began[tag as usize] = Instant::now();
            self.issue(tag, lun, work, place, &data)?;
            in_flight += 1;
        }
        while in_flight > 0 {
            let header = self.receive_into(|_| ())?;
            let tag = word(&header, 16);
            let code = header[0] & opcode::MASK;
            let ended = match code {
                opcode::DATA_IN => DataIn::of(&header).flags & flag::STATUS != 0,
                opcode::RESPONSE => true,
                opcode::READY => {
                    self.give(&Ready::of(&header), lun, &data)?;
                    false
                }
                opcode::NOP_IN => false,
                _ => return Err(odd(&format!("PDU {code:02x}"))),
            };
            if !ended {
                continue;
            }
            if header[3] != 0 {
                return Err(odd(&format!("status {:02x}", header[3])));
            }
            self.stat_sn = word(&header, 24).wrapping_add(1);
            times.push(began[tag as usize].elapsed());
            if begin.elapsed() < time {
                let place = place(work, &mut random, &mut next, places);
                began[tag as usize] = Instant::now();
                self.issue(tag, lun, work, place, &data)?;
            } else {
                in_flight -= 1;
            }
        }
        Ok(rate(&mut times, begin.elapsed()))
    }

    fn issue(&mut self, tag: u32, lun: u8, work: &Work, at: u64, data: &[u8]) -> io::Result<()> {
        let blocks = work.size / self.block;
        let lba = at * u64::from(blocks);
        let mut cdb = [0; 16];
        cdb[0] = if work.write { 0x8a } else { 0x88 };
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
        if work.write {
            let immediate = &data[..(self.immediate.min(work.size)) as usize];
            self.command(tag, lun, cdb, flag::WRITE, work.size, immediate)
        } else {
            self.command(tag, lun, cdb, flag::READ, work.size, &[])
        }
    }

    /// The data that an R2T asks for.
    fn give(&mut self, ready: &Ready, lun: u8, data: &[u8]) -> io::Result<()> {
        let (mut at, mut left) = (ready.buffer_offset.get(), ready.desired_length.get());
        let mut data_sn = 0;
        while left > 0 {
            let length = left.min(self.send_max);
            let mut header = DataOut::zeroed();
            header.opcode = opcode::DATA_OUT;
            header.flags = if length == left { flag::FINAL } else { 0 };
            header.lun[1] = lun;
            header.initiator_task_tag = ready.initiator_task_tag;
            header.target_transfer_tag = ready.target_transfer_tag;
            header.exp_stat_sn.set(self.stat_sn);
            header.data_sn.set(data_sn);
            header.buffer_offset.set(at);
            self.send(header.bytes(), &data[at as usize..(at + length) as usize])?;
            at += length;
            left -= length;
            data_sn += 1;
        }
        Ok(())
    }
}

fn place(work: &Work, random: &mut u64, next: &mut u64, places: u64) -> u64 {
    if work.random {
        // xorshift64: the same places for every target.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        return *random % places;
    }
    let place = *next % places;
    *next += 1;
    place
}

fn rate(times: &mut [Duration], elapsed: Duration) -> Rate {
    times.sort_unstable();
    let at = |per_mille: usize| {
        let index = (times.len() * per_mille / 1000).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    let per_second = times.len() as f64 / elapsed.as_secs_f64();
    Rate { commands: times.len(), per_second, median_us: at(500), p99_us: at(990) }
}

fn word(header: &[u8; HEADER], at: usize) -> u32 {
    header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}
