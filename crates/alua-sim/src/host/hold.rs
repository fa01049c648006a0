//! What a host still holds: commands that the device server has not seen, or may be about to see again.
//!
//! Those that the engine has just sent lie in a queue, an adapter or a socket, and go out later, also when
//! the engine has given them up. Those that the transport has lost are kept by a host that sends them
//! again by itself ([`alua_multipath::PathTraits::host_repeats`]): once, when it has made sure that
//! the first copy does nothing more, and unless the engine has got the command back meanwhile.
//!
//! A step of a fence ends at the target what has arrived there; so the shell first takes back what
//! it holds of the path, and where some of that is beyond recall, does not do the step and answers
//! that it failed. This is the contract of `alua_multipath::fence`; [`Shell::Hasty`] breaks it, and
//! [`Shell::Secretive`] what a path's traits promise.

use alua_array::{Array, NexusId};
use alua_core::failover::IoOutcome;
use alua_multipath::{FenceKind, FenceStep, IoId, PathId, Time};

use super::carry::{is_done, packet};
use super::{Alive, COPY, Host, Later};
use crate::options::{LUN, Shell};
use crate::trace::Trace;

/// Of a hundred held commands, so many can be taken back.
const RECALL_PERCENT: u64 = 60;
/// While the host is slow, it holds so many of a hundred commands.
const HELD_PERCENT: u64 = 30;
/// The length of a spell in milliseconds; in one of three the host is slow.
const SPELL_MS: u64 = 500;
/// Of a hundred commands that were lost, a host that repeats sends so many again.
const REPEATED_PERCENT: u64 = 60;
/// So long after a command was sent, in milliseconds, a host that repeats gives it back, whatever the
/// target says.
pub(crate) const LIMIT_MS: u32 = 8_000;

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
    pub(super) tag: u64,
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
                self.hold(path, packet, most, now);
            }
        }
    }

    fn hold(&mut self, path: PathId, packet: Packet, most_us: u64, now: Time) -> Time {
        let recall = self.random.percent(RECALL_PERCENT);
        let until = Time::from_nanos(now.as_nanos() + 1_000 * self.random.between(1, most_us));
        let tag = packet.tag;
        self.held.insert(tag, Held { path, recall, packet });
        self.do_later(until, Later::Depart(tag));
        until
    }

    /// Keeps a command that the transport has lost, to send it again; whether it does.
    pub(super) fn keep(&mut self, io: IoId, now: Time, trace: &mut Trace) -> bool {
        let Some(most) = self.repeat_us else { return false };
        if !self.random.percent(REPEATED_PERCENT) {
            return false;
        }
        let Some(out) = &mut self.outs[io.index()] else { return false };
        let Some(client) = &self.clients[out.request.index()] else { return false };
        let (Some(nexus), path, part) = (out.nexus, out.path, out.part) else { return false };
        out.repeated = true;
        let tag = io.to_bits() | COPY;
        let number = self.numbers.get(&io.to_bits()).copied().unwrap_or(client.number);
        trace.note(now, &self.name, "keep", format_args!("{:x}", io.to_bits()));
        let until = self.hold(path, packet(tag, nexus, &part, number), most, now);
        if part.operation.changes() {
            self.alive.insert(tag, Alive { number, path, nexus, part, sent: until });
            self.numbers.insert(tag, number);
        }
        true
    }

    /// Gives a command back that was not answered.
    pub(super) fn give_up(&mut self, array: &mut Array, io: IoId, now: Time, trace: &mut Trace) {
        let tag = io.to_bits();
        let Some(out) = self.outs[io.index()].as_ref().filter(|out| out.io == io) else { return };
        if let Some(nexus) = out.nexus {
            array.abort(nexus, tag);
            array.abort(nexus, tag | COPY);
        }
        self.come_back(io, &IoOutcome::TimedOut, now, trace);
    }

    /// The engine gets a command back: what is kept of it does not go out any more.
    pub(super) fn forget_copy(&mut self, io: IoId) {
        let copy = io.to_bits() | COPY;
        if self.held.remove(&copy).is_some() {
            self.alive.remove(&copy);
        }
    }

    /// For how long it may hold a command from now on, in milliseconds.
    pub(crate) fn may_hold_for_ms(&self) -> u32 {
        let most = self.hold_us.unwrap_or(0) + self.repeat_us.unwrap_or(0);
        (most / 1_000) as u32
    }

    /// From now on it holds no more commands.
    pub(crate) fn stop_holding(&mut self) {
        (self.hold_us, self.repeat_us) = (None, None);
    }

    fn holds(&mut self, now: Time) -> bool {
        let spell = now.as_nanos() / 1_000_000 / SPELL_MS;
        spell.is_multiple_of(3) && self.random.percent(HELD_PERCENT)
    }

    fn deliver(&mut self, array: &mut Array, packet: &Packet, now: Time) {
        let Packet { tag, nexus, cdb, data, capacity } = packet;
        if array.submit(*nexus, LUN, *tag, cdb, data, *capacity).is_err() {
            self.do_later(now, given_back(*tag));
        }
    }

    /// A held command goes out, also one that nobody waits for any more.
    pub(super) fn depart(&mut self, array: &mut Array, tag: u64, now: Time, trace: &mut Trace) {
        let Some(mut held) = self.held.remove(&tag) else { return };
        if tag & COPY != 0 {
            let first = tag & !COPY;
            let io = IoId::from_bits(first);
            let Some(out) = self.outs[io.index()].as_mut().filter(|out| out.io == io) else {
                return;
            };
            let path = self.paths.iter().find(|path| path.id == held.path);
            let over = path.is_some_and(|path| {
                out.nexus.is_some_and(|nexus| nexus != path.nexus)
                    || is_done(array.abort(path.nexus, first))
            });
            let Some(path) = path.filter(|_| over) else {
                self.alive.remove(&tag);
                return self.do_later(now, Later::Gone(io));
            };
            out.nexus = Some(path.nexus);
            held.packet.nexus = path.nexus;
            if let Some(alive) = self.alive.get_mut(&tag) {
                alive.nexus = path.nexus;
            }
            self.alive.remove(&first);
        }
        trace.note(now, &self.name, "depart", format_args!("{tag:x}"));
        self.deliver(array, &held.packet, now);
    }

    /// Before a step of a fence: takes back what is held of what the step is to end. False where some
    /// of it is beyond recall, so that the step would prove nothing.
    pub(super) fn recall(&mut self, step: &FenceStep, now: Time) -> bool {
        if self.shell == Shell::Hasty {
            return true;
        }
        let meant = |tag: u64, held: &Held| match step.kind {
            FenceKind::AbortTask(io) => io.to_bits() == tag & !COPY,
            FenceKind::EndNexus | FenceKind::ResetUnit { .. } => held.path == step.path,
        };
        let back = self.held.iter().filter(|&(&tag, held)| meant(tag, held) && held.recall);
        for tag in back.map(|(&tag, _)| tag).collect::<Vec<_>>() {
            self.held.remove(&tag);
            if tag & COPY != 0 {
                self.alive.remove(&tag);
            }
            self.do_later(now, given_back(tag));
        }
        !self.held.iter().any(|(&tag, held)| meant(tag, held))
    }

    /// Whether a reset that was done has ended a command: what other paths hold goes out after it.
    pub(super) fn is_ended_by_reset(&self, step: &FenceStep, path: PathId, tag: u64) -> bool {
        let copies = [tag & !COPY, tag | COPY];
        path == step.path || !copies.iter().any(|copy| self.held.contains_key(copy))
    }
}

/// How a command comes back that was not sent: of one that is sent again the first copy may be out.
fn given_back(tag: u64) -> Later {
    let io = IoId::from_bits(tag & !COPY);
    if tag & COPY == 0 { Later::NotSent(io) } else { Later::Gone(io) }
}
