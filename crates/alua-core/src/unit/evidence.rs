//! What paths say of themselves: by the sense that commands meet, and by success.
//!
//! A path's word is weighed against what is known of its group. It becomes the path's own evidence,
//! or moves the group into a transition; either way a refresh follows, and the report decides
//! (`report`, `docs/decisions/evidence.md`).

use super::config::ROW_PAUSE_MS;
use super::machine::Parts;
use super::refresh::Reason;
use super::slots::{Evidence, Group, IdentityCheck, Mark, Path, PathId, Transition, Transport};
use crate::access::AccessState;
use crate::cause::Cause;
use crate::sense::{Meaning, Recheck};
use crate::spc::sense::Sense;
use crate::time::Time;

impl Parts<'_> {
    /// Takes note of what sense data says about states and identity.
    pub(super) fn note_sense(&mut self, id: PathId, sense: &Sense, what: &Meaning, now: Time) {
        let Some(path) = self.path(id) else { return };
        let (before, _) = self.known(path);
        self.note_identity(id, what, now);
        let untrusted = !self.is_trusted(id);
        let changed = self.path(id).is_none_or(|path| path.identity == IdentityCheck::Changed);
        if self.state.managed.is_err() || changed || untrusted && what.state.is_some() {
            // Perhaps another logical unit's state.
            return;
        }
        match what.state {
            Some(state) if before.state == Some(state) => {}
            Some(AccessState::Transitioning) => self.note_transition(id, sense, now),
            Some(state) => {
                let expires = now.after(self.state.config.reprobe_ms);
                self.keep_evidence(id, state, sense, expires, now);
            }
            None if what.recheck.contains(Recheck::STATES) => {
                self.renew(id);
                self.want_refresh(Reason::Attention(id), now);
            }
            None => {}
        }
    }

    /// Counts a unit attention on a path: whether it is not to be sent again there without a count.
    pub(super) fn is_one_too_many(&mut self, id: PathId, now: Time) -> bool {
        let Some(path) = self.path_mut(id) else { return false };
        match path.transport {
            // One that is not waited for any more counts as failed, and is sent again all the same.
            Transport::Answered { at } | Transport::Failed { at }
                if now.since(at) < ROW_PAUSE_MS => {}
            _ => path.attentions = 0,
        }
        path.attentions = path.attentions.saturating_add(1);
        path.is_beyond_row()
    }

    /// What a path says of itself, against what is known of its group.
    fn keep_evidence(
        &mut self,
        id: PathId,
        state: AccessState,
        sense: &Sense,
        expires: Time,
        now: Time,
    ) {
        let cause = Cause::Sense { path: id, sense: sense.into(), at: now };
        if let Some(path) = self.path_mut(id) {
            path.evidence = Some(Evidence { state, cause, expires });
        }
        self.state.untold = true;
        self.want_refresh(Reason::Evidence(id), now);
    }

    /// Whether a path that says "in transition" said so before, and a report that was read through
    /// another path a moment ago says that its group is not: then it speaks for itself alone.
    fn is_overruled(&self, id: PathId, now: Time) -> bool {
        let Some(path) = self.path(id) else { return false };
        let group = path.group.and_then(|group| self.group(group));
        let Some(Cause::Report { path: reader, at }) = group.map(Group::cause) else {
            return false;
        };
        let recent = now.since(at) < self.moment_ms();
        path.marks.has(Mark::SaidTransition) && reader != id && recent
    }

    /// A path met a unit attention: states may have changed, and what it says from now on is not what it
    /// said before. Once, for one that meets them all the time would take its group into a transition
    /// with each.
    fn renew(&mut self, id: PathId) {
        let Some(path) = self.path_mut(id) else { return };
        if path.marks.has(Mark::SaidTransition) && !path.marks.has(Mark::Renewed) {
            path.marks.set(Mark::Renewed);
            path.marks.clear(Mark::SaidTransition);
        }
    }

    /// For how long, in milliseconds, what contradicts a report may be older than it; and how long a transition
    /// must have gone on before those that say "not yet" count as right about it.
    fn moment_ms(&self) -> u64 {
        u64::from(self.state.config.transition_poll_ms).saturating_mul(2)
    }

    /// A look found a path still in transition. Where its group's goes on for a while, and no look found it
    /// over, those that said so were right: a unit attention may renew their word again.
    pub(super) fn bear_out(&mut self, id: PathId, now: Time) {
        let Some(group) = self.path(id).and_then(|path| path.group) else { return };
        match self.group(group).and_then(Group::transition) {
            Some(Transition::Running { since, .. }) if now.since(since) >= self.moment_ms() => {}
            _ => return,
        }
        for path in self.paths.iter_mut().filter(|path| path.group == Some(group)) {
            path.marks.clear(Mark::Renewed);
        }
    }

    /// Asks a path whose word still stands against its group's, if it can be asked: for when it could not
    /// be before.
    pub(super) fn check_evidence(&mut self, id: PathId, now: Time) {
        let group = |group| self.group(group).and_then(Group::state);
        let asks = |path: &Path| {
            path.is_trusted() && !path.has_failed() && path.is_against(path.group.and_then(group))
        };
        if self.path(id).is_some_and(asks) {
            self.want_refresh(Reason::Evidence(id), now);
        }
    }

    fn note_transition(&mut self, id: PathId, sense: &Sense, now: Time) {
        if self.enter_transition(id, sense, now) {
            self.want_refresh(Reason::Transition, now);
        }
    }

    pub(super) fn note_success(&mut self, id: PathId, now: Time) {
        let Some(path) = self.path_mut(id) else { return };
        path.transport = Transport::Answered { at: now };
        if !path.is_trusted() {
            return;
        }
        let before = *path;
        path.attentions = 0;
        path.forget_transition();
        // Newer than what the path said before.
        let overruled = path.evidence.take_if(|own| !own.state.is_live()).is_some();
        self.state.untold |= overruled;
        if self.state.managed.is_err() {
            return;
        }
        let (known, _) = self.known(&before);
        if known.state.is_some_and(|state| !state.is_live()) {
            self.want_refresh(Reason::Evidence(id), now);
        }
    }

    /// Enters a transition because a path said so: its group's, or its own where its group is known
    /// to be in none. False where that transition is known, or outlived its limit: a target that
    /// never leaves it must not start it anew.
    pub(super) fn enter_transition(&mut self, id: PathId, sense: &Sense, now: Time) -> bool {
        let alone = self.path(id).and_then(|path| path.evidence).is_some_and(|own| own.is_alone());
        if alone {
            return false;
        }
        let deadline = now.after(self.state.transition_ms);
        if self.is_overruled(id, now) {
            self.keep_evidence(id, AccessState::Transitioning, sense, deadline, now);
            return false;
        }
        let cause = Cause::Sense { path: id, sense: sense.into(), at: now };
        self.state.untold = true;
        if let Some(path) = self.path_mut(id) {
            path.evidence = None;
            path.marks.set(Mark::SaidTransition);
        }
        if let Some(group) = self.group_mut_of(id) {
            if group.transition.is_some() {
                return false;
            }
            group.begin_transition(now, deadline);
            group.state = Some(AccessState::Transitioning);
            group.cause = cause;
        } else if let Some(path) = self.path_mut(id) {
            let state = AccessState::Transitioning;
            path.evidence = Some(Evidence { state, cause, expires: deadline });
        }
        true
    }
}
