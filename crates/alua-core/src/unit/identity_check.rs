//! Who is behind a path: reading page 83h again when a sense code puts it in doubt.
//!
//! A path in doubt passes no I/O and is not asked for reports. Page 83h is read until it says
//! something clear: the same logical unit (the path is trusted again, perhaps in another group),
//! or another one (the path must be removed). A page that cannot be read, or that names no logical
//! unit or group while the target is in flux, is read again; what was known before stays. After
//! [`IDENTITY_READS_MAX`] answers, or many more readings without one, the path counts as unreadable
//! and is tried slowly; one of which nothing was known, no name and no group, is trusted as before.

use core::num::NonZeroU16;

use super::command::{Command, CommandKind, Outcome};
use super::config::{IDENTITY_READS_MAX, IDENTITY_UNANSWERED_MAX};
use super::machine::{Parts, Role};
use super::refresh::Reason;
use super::slots::{IdentityCheck, Mark, PathId};
use crate::identity::Identity;
use crate::sense::{Meaning, Recheck};
use crate::spc::Status;
use crate::spc::designator::DeviceIdentification;
use crate::time::Time;

/// What a reading of page 83h says.
enum Reading {
    Same { group: Option<u16>, relative_port: Option<u16> },
    SameWithoutGroup,
    Other,
    Unclear,
}

impl Parts<'_> {
    /// Doubts the identity of a path where sense data gives a reason.
    pub(super) fn note_identity(&mut self, id: PathId, what: &Meaning, now: Time) {
        if what.recheck.contains(Recheck::IDENTITY) {
            self.doubt_identity(id, now);
        }
    }

    pub(super) fn doubt_identity(&mut self, id: PathId, now: Time) {
        let spacing = self.state.config.retry_ms;
        self.state.untold = true;
        let Some(path) = self.path_mut(id) else { return };
        // What is being read may be from before the change.
        path.marks.set(Mark::DoubtedSince);
        // A target that puts every command in doubt has its page read, but not for each of them.
        let never = path.identity_read == Time::ZERO;
        let due = if never { now } else { path.identity_read.after(spacing).max(now) };
        if matches!(path.identity, IdentityCheck::Verified | IdentityCheck::Unreadable { .. }) {
            path.identity = IdentityCheck::InDoubt { due, reads: 0, unanswered: 0 };
        }
    }

    pub(super) fn next_identity_time(&self) -> Option<Time> {
        if self.state.identity.is_some() || self.state.shut_down {
            return None;
        }
        self.readings_due().map(|(_, due)| due).min()
    }

    /// The paths through which page 83h is to be read, and when. While a reading is left on a path it is
    /// read through others only.
    pub(super) fn readings_due(&self) -> impl Iterator<Item = (PathId, Time)> {
        self.named_paths()
            .filter(|(id, _)| {
                !self.state.left_readings.iter().flatten().any(|left| left.path == *id)
            })
            .filter_map(|(id, path)| Some((id, due(path.identity)?)))
    }

    pub(super) fn next_identity_command(&mut self, now: Time) -> Option<Command> {
        if self.next_identity_time()? > now {
            return None;
        }
        // The longest due first, so that no path that never answers stands before the others; one
        // whose transport failed after all of them.
        let (id, _) = self
            .readings_due()
            .filter(|(_, due)| *due <= now)
            .min_by_key(|(id, due)| (self.has_failed(*id), *due))?;
        let path = self.path_mut(id)?;
        path.marks.clear(Mark::DoubtedSince);
        let again = match path.identity {
            IdentityCheck::InDoubt { reads, unanswered, .. } => reads > 0 || unanswered > 0,
            _ => false,
        };
        Some(self.state.send(id, CommandKind::ReadIdentification, Role::Identity, again, now))
    }

    pub(super) fn complete_identity(&mut self, id: PathId, outcome: &Outcome<'_>, now: Time) {
        let again = self.path(id).is_some_and(|path| path.marks.has(Mark::DoubtedSince));
        let reading = if again { Reading::Unclear } else { self.judge_identity(id, outcome) };
        let config = &self.state.config;
        let (retry, reprobe) = (config.retry_ms, config.reprobe_ms);
        let patience = config.transition_poll_ms;
        let nameless = self.state.name.is_none();
        let Some(path) = self.path_mut(id) else { return };
        let answered = is_answer(outcome);
        // Nothing was known of who it is, and nothing can be told of it now: nothing has changed.
        let nothing = nameless && path.group.is_none() && answered && !again;
        let (reads, unanswered) = match path.identity {
            IdentityCheck::InDoubt { reads, unanswered, .. } if answered => {
                (reads.saturating_add(1), unanswered)
            }
            IdentityCheck::InDoubt { reads, unanswered, .. } => {
                (reads, unanswered.saturating_add(1))
            }
            IdentityCheck::Unreadable { .. } => (IDENTITY_READS_MAX, IDENTITY_UNANSWERED_MAX),
            IdentityCheck::Verified | IdentityCheck::Changed => return,
        };
        path.identity_read = now;
        let enough = reads >= IDENTITY_READS_MAX || unanswered >= IDENTITY_UNANSWERED_MAX;
        path.identity = match reading {
            Reading::Same { .. } => IdentityCheck::Verified,
            Reading::SameWithoutGroup if enough => IdentityCheck::Verified,
            Reading::Other => IdentityCheck::Changed,
            Reading::Unclear if nothing => IdentityCheck::Verified,
            _ if enough => IdentityCheck::Unreadable { due: now.after(reprobe) },
            _ => {
                let delay = if answered { retry } else { patience };
                IdentityCheck::InDoubt { due: now.after(delay), reads, unanswered }
            }
        };
        let trusted = path.is_trusted();
        self.state.untold = true;
        if let Reading::Same { group, relative_port } = reading {
            self.move_to_group(id, group, relative_port);
        }
        if trusted {
            // Not urgent: the refresh may bring the next doubt.
            self.want_refresh(Reason::Verified(id), now);
        }
    }

    /// Puts a path where its page 83h says it belongs. Where that group finds no place, the path
    /// is in none: it is not where it was.
    fn move_to_group(&mut self, id: PathId, group: Option<u16>, relative_port: Option<u16>) {
        let Some(path) = self.path_mut(id) else { return };
        path.relative_port = relative_port.and_then(NonZeroU16::new);
        if path.group == group {
            return;
        }
        // Out of its old group first, which may make room for the new one.
        path.group = None;
        path.evidence = None;
        self.state.untold = true;
        let placed = group.filter(|&group| self.place_for_group(group).is_some());
        if let Some(path) = self.path_mut(id) {
            path.group = placed;
        }
    }

    fn judge_identity(&self, id: PathId, outcome: &Outcome<'_>) -> Reading {
        let Outcome::Answered { status: Status::Good, data, .. } = *outcome else {
            return Reading::Unclear;
        };
        let Ok(page) = DeviceIdentification::new(data) else { return Reading::Unclear };
        let Ok(found) = Identity::from_page(&page) else { return Reading::Unclear };
        let had_group = self.path(id).is_some_and(|path| path.group.is_some());
        match (&found.name, &self.state.name) {
            (Some(now), Some(before)) if now != before => Reading::Other,
            // A name that comes or goes is a target in flux, or not the unit that was added.
            (None, Some(_)) => Reading::Unclear,
            (Some(_), None) => Reading::Other,
            _ if found.group.is_none() && had_group => Reading::SameWithoutGroup,
            _ => Reading::Same { group: found.group, relative_port: found.relative_port },
        }
    }
}

/// Whether the target said something: a controller that restarts says BUSY, or nothing, for a while.
const fn is_answer(outcome: &Outcome<'_>) -> bool {
    matches!(
        outcome,
        Outcome::Answered { status, .. } if !matches!(status, Status::Busy | Status::TaskSetFull)
    )
}

const fn due(identity: IdentityCheck) -> Option<Time> {
    match identity {
        IdentityCheck::InDoubt { due, .. } | IdentityCheck::Unreadable { due } => Some(due),
        IdentityCheck::Verified | IdentityCheck::Changed => None,
    }
}
