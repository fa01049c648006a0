//! What a host still holds: commands that the engine has sent and the device server has not seen.
//!
//! They lie in a queue, an adapter or a socket, and go out later, also when the engine has given them
//! up. A step of a fence ends at the target what has arrived there; so the shell first takes back what
//! it holds of the path, and where some of that is beyond recall, does not do the step and answers
//! that it failed. This is the contract of `alua_multipath::fence`; [`Shell::Hasty`] breaks it.

use alua_array::{Array, NexusId};
use alua_multipath::{FenceKind, FenceStep, IoId, PathId, Time};

use super::{Host, Later};
use crate::options::{LUN, Shell};
use crate::trace::Trace;

/// Of a hundred held commands, so many can be taken back.
const RECALL_PERCENT: u64 = 60;
/// While the host is slow, it holds so many of a hundred commands.
const HELD_PERCENT: u64 = 30;
/// The length of a spell in milliseconds; in one of three the host is slow.
const SPELL_MS: u64 = 500;

/// A command in the host.
#[derive(Debug)]
pub(super) struct Held {
    path: PathId,
    /// It can be taken back.
    recall: bool,
    packet: Packet,
}

/// What goes to the array.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) io: IoId,
    pub(super) nexus: NexusId,
    pub(super) cdb: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// Room for the data of a read, in bytes.
    pub(super) capacity: usize,
}

impl Host {
    /// Sends a command to the array, or holds it for a while.
    pub(super) fn dispatch(&mut self, array: &mut Array, path: PathId, packet: Packet, now: Time) {
        match self.hold_us.filter(|_| self.holds(now)) {
            None => self.deliver(array, &packet, now),
            Some(most) => {
                let recall = self.random.percent(RECALL_PERCENT);
                let nanos = 1_000 * self.random.between(1, most);
                let tag = packet.io.to_bits();
                self.held.insert(tag, Held { path, recall, packet });
                self.do_later(Time::from_nanos(now.as_nanos() + nanos), Later::Depart(tag));
            }
        }
    }

    /// For how long it may hold a command from now on, in milliseconds.
    pub(crate) fn may_hold_for_ms(&self) -> u32 {
        self.hold_us.map_or(0, |most| (most / 1_000) as u32)
    }

    /// From now on it holds no more commands.
    pub(crate) fn stop_holding(&mut self) {
        self.hold_us = None;
    }

    fn holds(&mut self, now: Time) -> bool {
        let spell = now.as_nanos() / 1_000_000 / SPELL_MS;
        spell.is_multiple_of(3) && self.random.percent(HELD_PERCENT)
    }

    fn deliver(&mut self, array: &mut Array, packet: &Packet, now: Time) {
        let Packet { io, nexus, cdb, data, capacity } = packet;
        if array.submit(*nexus, LUN, io.to_bits(), cdb, data, *capacity).is_err() {
            self.do_later(now, Later::NotSent(*io));
        }
    }

    /// A held command goes out, also one that nobody waits for any more.
    pub(super) fn depart(&mut self, array: &mut Array, tag: u64, now: Time, trace: &mut Trace) {
        if let Some(held) = self.held.remove(&tag) {
            trace.note(now, &self.name, "depart", format_args!("{tag:x}"));
            self.deliver(array, &held.packet, now);
        }
    }

    /// Before a step of a fence: takes back what is held of what the step is to end. False where some
    /// of it is beyond recall, so that the step would prove nothing.
    pub(super) fn recall(&mut self, step: &FenceStep, now: Time) -> bool {
        if self.shell == Shell::Hasty {
            return true;
        }
        let meant = |tag: u64, held: &Held| match step.kind {
            FenceKind::AbortTask(io) => io.to_bits() == tag,
            FenceKind::EndNexus | FenceKind::ResetUnit { .. } => held.path == step.path,
        };
        let back = self.held.iter().filter(|&(&tag, held)| meant(tag, held) && held.recall);
        for tag in back.map(|(&tag, _)| tag).collect::<Vec<_>>() {
            self.held.remove(&tag);
            self.do_later(now, Later::NotSent(IoId::from_bits(tag)));
        }
        !self.held.iter().any(|(&tag, held)| meant(tag, held))
    }

    /// Whether a reset that was done has ended a command: what other paths hold goes out after it.
    pub(super) fn is_ended_by_reset(&self, step: &FenceStep, path: PathId, tag: u64) -> bool {
        path == step.path || !self.held.contains_key(&tag)
    }
}
