//! Who is behind a path.
//!
//! Another logical unit can come behind a path: a port goes away and comes back, and the array has
//! mapped something else to the number meanwhile. A write that goes down such a path destroys
//! somebody else's data.
//!
//! The unit attention that tells of the lost nexus (29h) is told once to each nexus, to whichever
//! command comes next. That command's answer may be lost or late, nobody may have waited for it, or
//! it may be another program's. So nothing rests on it; it only lets the engine know sooner.
//!
//! # The rule
//!
//! I/O, a reset that is to prove something, and the driver core's commands but page 83h itself (a
//! report of another unit would tell of its states, a switch would move it) go only down a path that
//! is *known*. A path is known
//! at a time when it led to the unit less than [`Config::idle_ms`](crate::Config::idle_ms) before,
//! because then
//!
//! - it joined, or page 83h was asked, and the page was the unit's, or
//! - a command was sent down it while it was known, and the target answered that command.
//!
//! What counts is when the command was **sent**: an answer may have been under way for long. A path
//! in use stays known by what it carries, at no cost. One that is not known is asked when a request
//! wants it. Meanwhile it keeps its class and has no room: a request waits for it or goes to one of
//! its equals, and not to a worse path only because this one was idle. When the answer takes longer
//! than what is known holds, the driver core is told that the path is in doubt, and worse paths are
//! used. It is told too when the page is anything but the unit's; it finds out the rest.
//!
//! # Why that suffices
//!
//! It is assumed that no array needs less than `idle_ms` to put another unit behind a path, and
//! that what was sent through a nexus never reaches another unit than the one that was behind it
//! then (a nexus that is lost takes its commands along: SAM-5, I_T nexus loss). So between the moment
//! in which a path is certain to have led to the unit and a command that is sent before `idle_ms`
//! are over, nothing can have come between; and if the target answers that command, it reached the
//! unit, and the moment moves on.
//!
//! # Slow answers
//!
//! An array that takes longer than `idle_ms` for page 83h would never be known. For such a path
//! what is known holds twice as long, up to
//! [`Config::idle_max_ms`](crate::Config::idle_max_ms), until an answer is quick again.

use alua_core::gate::{Gate, Hold, Refusal};
use alua_core::identity::Identity;
use alua_core::spc::Status;
use alua_core::spc::cdb::{Cdb, CdbBytes};
use alua_core::spc::designator::DeviceIdentification;
use alua_core::unit::{CommandId, Outcome};

use crate::action::{Action, Control, ControlId, ControlKind, ControlName, PathId};
use crate::engine::Engine;
use crate::path::Link;
use crate::sabotage::Sabotage;
use crate::time::Time;

/// Bytes of page 83h that are read.
pub(crate) const PAGE_BYTES: u16 = alua_core::unit::IDENTITY_BYTES;

/// INQUIRY of page 83h.
pub(crate) fn cdb() -> CdbBytes {
    Cdb::Inquiry { page: Some(0x83), allocation_length: PAGE_BYTES }.encode()
}

/// Paths of a unit that are asked at a time.
const ASKS_MAX: usize = 4;

impl Engine {
    /// Whether it is known who is behind a path.
    pub(crate) fn is_known(&self, place: usize, now: Time) -> bool {
        self.paths[place].known_until > now || self.broken(Sabotage::TrustReturn)
    }

    /// Whether as many paths are being asked as may be at a time. Asking all of many would fill the
    /// queue of a target that is nearly full.
    pub(crate) fn asks_enough(&self) -> bool {
        let asked = |path: &&crate::path::Path| {
            path.core.is_some() && path.ask.out.is_some() && !path.ask.doubted
        };
        self.paths.iter().filter(asked).count() >= ASKS_MAX
    }

    /// Asks a path who is behind it; false where there is nothing to compare the answer with, so
    /// that the path counts as known.
    pub(crate) fn ask(&mut self, place: usize, now: Time) -> bool {
        if self.unit.name().is_none() {
            self.verified(place, now);
            return false;
        }
        let path = &mut self.paths[place];
        if path.ask.out.is_some() || path.core.is_none() || path.link != Link::Up {
            return true;
        }
        let number = path.number();
        path.ask.out = Some((number, now));
        path.ask.doubted = false;
        let id = path.id(place);
        let timeout_ms = self.config.core.command_timeout_ms;
        let name = ControlId(ControlName::Identity(id, number));
        let control = Control { id: name, path: id, kind: ControlKind::Identity, timeout_ms };
        self.act(Action::Control(control));
        self.load_changed(place);
        true
    }

    /// A path is certain to have led to the unit then.
    pub(crate) fn verified(&mut self, place: usize, sent: Time) {
        let path = &mut self.paths[place];
        path.ask.window_ms = path.ask.window_ms.max(self.config.idle_ms);
        path.still_known(sent);
    }

    /// Page 83h has come back.
    pub(crate) fn identity_read(
        &mut self,
        id: PathId,
        number: u32,
        outcome: &Outcome<'_>,
        now: Time,
    ) {
        let Some(place) = self.place(id) else { return };
        let sent = match self.paths[place].ask.out {
            Some((out, sent)) if out == number => sent,
            _ => {
                self.counters.strays += 1;
                return;
            }
        };
        self.paths[place].ask.out = None;
        self.fencing = true;
        self.core_dirty |= !self.held.is_empty();
        // Another path may be asked now, even where this one is of no use any more.
        self.kick |= !self.waiting.is_empty();
        match *outcome {
            Outcome::Answered { status: Status::Good, data, .. } if self.is_unit(place, data) => {
                self.adapt_window(place, sent, now);
                self.verified(place, sent);
            }
            Outcome::Answered { status, sense, .. } => {
                self.note_answer(place, status, sense, now);
                self.doubt_path(place, now);
            }
            _ => self.suspect(place, now),
        }
        self.load_changed(place);
    }

    /// What is known holds for as long as the array needs to answer.
    fn adapt_window(&mut self, place: usize, sent: Time, now: Time) {
        let (first, most) = (self.config.idle_ms, self.config.idle_max_ms);
        let ask = &mut self.paths[place].ask;
        if sent.after(first) > now {
            ask.window_ms = first;
        } else if sent.after(ask.window_ms) <= now {
            ask.window_ms = ask.window_ms.saturating_mul(2).min(most.max(first));
        }
    }

    /// Whether page 83h names the unit, and the path's own group and port.
    fn is_unit(&self, place: usize, page: &[u8]) -> bool {
        let core = self.paths[place].core.and_then(|core| self.unit.path(core));
        let found = DeviceIdentification::new(page).ok();
        let found = found.and_then(|page| Identity::from_page(&page).ok());
        core.zip(found).is_some_and(|(path, found)| {
            found.name.as_ref() == self.unit.name()
                && found.group == path.group()
                && found.relative_port == path.relative_port()
        })
    }

    /// The driver core finds out who is behind a path.
    fn doubt_path(&mut self, place: usize, now: Time) {
        if let Some(core) = self.paths[place].core {
            self.unit.reread_identity(core, now.core());
            self.core_dirty = true;
            self.stale = true;
        }
    }

    /// The driver core's own reading of page 83h may have come back.
    pub(crate) fn core_read_identity(&mut self, command: CommandId, id: PathId, now: Time) {
        let Some(place) = self.place(id) else { return };
        let Some((_, sent)) = self.paths[place].ask.core.filter(|&(out, _)| out == command) else {
            return;
        };
        self.paths[place].ask.core = None;
        let gate = self.paths[place].core.map(|core| self.unit.gate(core));
        let open = !matches!(
            gate,
            None | Some(
                Gate::Hold(Hold::IdentityInDoubt)
                    | Gate::Refuse(Refusal::IdentityChanged | Refusal::IdentityUnreadable)
            )
        );
        if open {
            self.paths[place].ask.out = None;
            self.core_dirty |= !self.held.is_empty();
            self.kick |= !self.waiting.is_empty();
            self.adapt_window(place, sent, now);
            self.verified(place, sent);
            self.load_changed(place);
        }
    }

    /// A path that does not say who is behind it holds nobody up.
    pub(crate) fn end_ask(&mut self, place: usize, now: Time) {
        if self.next_ask(place).is_some_and(|at| at <= now) {
            self.paths[place].ask.doubted = true;
            self.doubt_path(place, now);
        }
    }

    /// When a path takes too long to say who is behind it.
    pub(crate) fn next_ask(&self, place: usize) -> Option<Time> {
        let path = &self.paths[place];
        let (_, sent) = path.ask.out.filter(|_| !path.ask.doubted && path.core.is_some())?;
        Some(sent.after(path.ask.window_ms.max(self.config.idle_ms)))
    }
}
