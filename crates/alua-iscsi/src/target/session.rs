//! Connections, sessions and commands as the target keeps them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use alua_array::{NexusId, Time};

use crate::event::ConnectionId;
use crate::login::Login;
use crate::login::keys::Parameters;
use crate::pdu::{Encoder, Framer, before};

/// A connection from connect to close.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// Relative target port identifier of its portal.
    pub(super) port: u16,
    /// The own address, for SendTargets.
    pub(super) local: String,
    pub(super) phase: Phase,
    pub(super) framer: Framer,
    pub(super) encoder: Encoder,
    pub(super) stat_sn: u32,
    pub(super) parameters: Parameters,
    pub(super) began: Time,
    /// When a whole PDU last arrived.
    pub(super) heard: Time,
    /// When a NOP-In was sent that has no answer yet.
    pub(super) asked: Option<Time>,
    /// Since when output waits without progress.
    pub(super) stuck: Option<Time>,
    /// Close it by then: the initiator was asked to log out.
    pub(super) leave_by: Option<Time>,
    /// Why it ends as soon as its output is sent; nothing is read any more then.
    pub(super) closing: Option<&'static str>,
    /// It is in the queue of those with something to do for the shell.
    pub(super) queued: bool,
    /// Text that a response did not hold; the initiator asks for it with this tag.
    pub(super) rest: Option<(u32, Vec<u8>)>,
    /// Text of requests with C set, so far.
    pub(super) text: Vec<u8>,
}

/// What a connection is in.
#[derive(Debug)]
pub(super) enum Phase {
    Login(Box<Login>),
    /// A discovery session, with its CmdSN.
    Discovery {
        exp_cmd_sn: u32,
    },
    /// The session with that key.
    Full(usize),
}

/// A normal session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) nexus: NexusId,
    /// Name and ISID.
    pub(super) initiator: String,
    pub(super) isid: [u8; 6],
    pub(super) tsih: u16,
    pub(super) cid: u16,
    pub(super) port: u16,
    pub(super) connection: Option<ConnectionId>,
    pub(super) parameters: Parameters,
    pub(super) exp_cmd_sn: u32,
    max_cmd_sn: u32,
    /// By initiator task tag.
    pub(super) tasks: HashMap<u32, Task, Numbers>,
    pub(super) next_serial: u32,
    /// Without a connection: the session ends then.
    pub(super) lost_until: Option<Time>,
    /// Unit attentions that were announced and still wait.
    pub(super) announced: Vec<(u16, alua_array::SenseCode)>,
}

/// A command.
#[derive(Debug)]
pub(super) struct Task {
    /// Distinguishes it from others that had the same tag.
    pub(super) serial: u32,
    pub(super) lun: u16,
    pub(super) lun_bytes: [u8; 8],
    pub(super) cdb: [u8; 32],
    pub(super) cdb_length: u8,
    /// Expected data transfer length.
    pub(super) expected: u32,
    pub(super) direction: Direction,
    /// Bytes of data-out that the command takes, by its CDB.
    pub(super) takes: u64,
    pub(super) stage: Stage,
    /// Bytes of the target's budget that it holds.
    pub(super) reserved: usize,
    pub(super) since: Time,
}

/// Which way data go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    None,
    In,
    Out,
}

/// How far a command has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its data are on the way.
    Collecting(Collecting),
    /// The array has it.
    Submitted,
}

/// Data-out as they arrive, in order.
#[derive(Debug)]
pub(super) struct Collecting {
    pub(super) data: Vec<u8>,
    /// Bytes that are kept: the rest is taken and dropped.
    pub(super) wanted: u32,
    /// Where the next byte belongs.
    pub(super) offset: u32,
    /// Unsolicited Data-Out PDUs are to come.
    pub(super) unsolicited: bool,
    /// DataSN of the next Data-Out PDU.
    pub(super) data_sn: u32,
    /// The open R2T: its tag and where its data end.
    pub(super) solicited: Option<(u32, u32)>,
    pub(super) r2t_sn: u32,
    /// There is no room: it ends with TASK SET FULL once its unsolicited data are over.
    pub(super) refused: bool,
}

impl Session {
    #[expect(clippy::too_many_arguments, reason = "a session is all of them")]
    pub(super) fn new(
        nexus: NexusId,
        initiator: String,
        isid: [u8; 6],
        (tsih, cid): (u16, u16),
        port: u16,

        parameters: Parameters,
        exp_cmd_sn: u32,
        window: u16,
    ) -> Self {
        Self {
            nexus,
            initiator,
            isid,
            tsih,
            cid,
            port,
            connection: None,

            parameters,
            exp_cmd_sn,
            max_cmd_sn: exp_cmd_sn.wrapping_add(u32::from(window)).wrapping_sub(1),
            tasks: HashMap::default(),
            next_serial: 0,
            lost_until: None,
            announced: Vec::new(),
        }
    }

    /// MaxCmdSN: as many commands as the window has room for, and never less than was told before
    /// (RFC 7143, section 4.2.2.1).
    pub(super) fn max_cmd_sn(&mut self, window: u16) -> u32 {
        let room = u32::from(window).saturating_sub(self.tasks.len() as u32);
        let now = self.exp_cmd_sn.wrapping_add(room).wrapping_sub(1);
        if before(self.max_cmd_sn, now) {
            self.max_cmd_sn = now;
        }
        self.max_cmd_sn
    }

    /// Where a command's serial number stands to the window.
    pub(super) fn accepts(&self, cmd_sn: u32) -> Arrival {
        if before(cmd_sn, self.exp_cmd_sn) || before(self.max_cmd_sn, cmd_sn) {
            Arrival::Outside
        } else if cmd_sn == self.exp_cmd_sn {
            Arrival::Next
        } else {
            Arrival::Gap
        }
    }
}

/// What the serial number of a request says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// It is the next one.
    Next,
    /// Outside the window: it is ignored.
    Outside,
    /// Inside the window, but some are missing before it. On the only connection of a session they
    /// never come.
    Gap,
}

/// For maps whose keys are numbers and that are small: an initiator chooses its tags, but has no more
/// of them than its window, so that it can slow down nobody by choosing them badly.
pub(super) type Numbers = BuildHasherDefault<NumberHasher>;

/// One multiplication, which spreads a number over all bits.
#[derive(Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio. The low bits are the weak ones, and those that a map
        // looks at first.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// Values with small stable keys.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(at) => {
                self.slots[at] = Some(value);
                at
            }
            None => {
                self.slots.push(Some(value));
                self.slots.len() - 1
            }
        }
    }

    /// The key that the next value will get.
    pub(super) fn next_key(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.slots.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.slots.get_mut(at)?.as_mut()
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        let value = self.slots.get_mut(at)?.take()?;
        self.free.push(at);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn keys(&self) -> Vec<usize> {
        self.iter().map(|(at, _)| at).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again() {
        let mut slots = Slots::default();
        assert_eq!((slots.insert('a'), slots.insert('b')), (0, 1));
        assert_eq!(slots.remove(0), Some('a'));
        assert_eq!((slots.remove(0), slots.len(), slots.next_key()), (None, 1, 0));
        assert_eq!(slots.insert('c'), 0);
        assert_eq!(slots.keys(), [0, 1]);
    }
}
