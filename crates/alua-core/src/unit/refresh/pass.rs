//! The course of a pass: where it starts, which path is asked next, how it ends.

use super::super::machine::{Parts, count};
use super::super::slots::{Group, Mark, Path, PathId, Transition, Transport};
use super::{Pass, PassEnd, Phase, Step, Trigger};
use crate::access::AccessState;
use crate::cause::{Cause, RefreshError};
use crate::time::Time;

/// A spacing that was not needed for this many times its length is forgotten, unless the last
/// pass failed: what failed may wait for something else than the spacing, a reading of page 83h
/// that the pass itself brought about.
const SPACING_MEMORY: u64 = 4;
/// Changes in a row that are followed with the least spacing. More are flapping: a target whose
/// sense and reports contradict each other for ever is asked ever more slowly.
const CHANGES_AT_ONCE: u8 = 8;
/// Contradictions in one transition after which it is looked at by reports: the first may be a report
/// that comes late.
const CONTRADICTIONS_MAX: u8 = 2;

impl Parts<'_> {
    pub(super) fn start_pass(&mut self, trigger: Trigger, now: Time) {
        for path in self.paths.iter_mut() {
            path.marks.clear(Mark::Tried);
        }
        let refresh = &mut self.state.refresh;
        refresh.pass = refresh.pass.wrapping_add(1);
        let quiet = refresh.last_start.map_or(0, |start| now.since(start));
        let failed = matches!(refresh.last_end, Some((_, PassEnd::Failed(_))));
        if !failed && quiet > u64::from(refresh.spacing_ms).saturating_mul(SPACING_MEMORY) {
            refresh.spacing_ms = self.state.config.spacing_min_ms;
        }
        if quiet > u64::from(self.state.config.spacing_max_ms).saturating_mul(SPACING_MEMORY) {
            refresh.changes = 0;
        }
        refresh.last_start = Some(now);
        let told = trigger.via;
        let put_off =
            told.and_then(|id| self.path(id)).is_some_and(|path| self.has_said_not_yet(path));
        let trigger = Trigger { via: told.filter(|_| !put_off), ..trigger };
        let may_look_inside = self.may_look_inside();
        let inside = may_look_inside && trigger.for_end && trigger.via.is_none();
        let Some(step) = self.first_step(trigger, inside || may_look_inside && put_off) else {
            let end = match self.state.refresh.unsupported {
                Some(_) if self.supports_only_optimized() => PassEnd::Ignored,
                Some(sense) => PassEnd::Failed(RefreshError::Unsupported(sense)),
                None if self.is_any_identity_in_doubt() => {
                    PassEnd::Failed(RefreshError::IdentityInDoubt)
                }
                None => PassEnd::Failed(
                    self.left_path().map_or(RefreshError::NoPath, RefreshError::TimedOut),
                ),
            };
            self.end_pass(end, now);
            return;
        };
        self.state.untold |= !self.state.config.gate.pass_unknown;
        self.state.refresh.phase = Phase::Pass(Pass {
            via: told,
            put_off,
            step,
            at: now,
            attentions: 0,
            growths: 0,
            resends: 0,
            in_transition: false,
            inside,
            ready: false,
            all_refuse: true,
            asked: None,
            last_error: RefreshError::NoPath,
        });
    }

    fn first_step(&self, trigger: Trigger, inside: bool) -> Option<Step> {
        // A pass that failed may have taken the unit attention with it.
        let last = self.state.refresh.last_end;
        let holds = matches!(last, Some((_, PassEnd::Read(_) | PassEnd::OldNews)));
        let told = trigger.via.filter(|_| trigger.may_be_old && holds);
        match told.and_then(|told| self.witness_of(told)) {
            Some(witness) => Some(Step::CheckNews(witness)),
            None => self.next_step(trigger.via, inside),
        }
    }

    /// Whether the end of a transition is all that there is to learn.
    fn may_look_inside(&self) -> bool {
        let is_fine = |path: &Path| {
            let known = self.known(path).0.state;
            let live = known.is_some_and(AccessState::is_live);
            let in_transition = known == Some(AccessState::Transitioning) && !path.has_failed();
            path.is_trusted() && !path.is_left() && (live || in_transition)
        };
        let contradicts = |group: &Group| {
            group.used && group.is_in_transition() && group.contradictions >= CONTRADICTIONS_MAX
        };
        self.state.config.look_inside
            && !self.groups.iter().any(contradicts)
            && self.state.refresh.unsupported.is_none()
            && self.paths.iter().filter(|path| path.used).all(is_fine)
    }

    /// A path of a group said that it is still in transition: the others of the group would say the same.
    pub(super) fn pass_over_group_of(&mut self, id: PathId) {
        let Some(group) = self.path(id).filter(|path| path.evidence.is_none()).map(|it| it.group)
        else {
            return;
        };
        for path in self.paths.iter_mut() {
            if path.used && path.group == group && path.evidence.is_none() {
                path.marks.set(Mark::Tried);
            }
        }
    }

    /// The step on the best path that was not tried, `via` before all others, and then those in
    /// transition where the pass looks inside.
    fn next_step(&self, via: Option<PathId>, inside: bool) -> Option<Step> {
        let told = via.filter(|&id| self.path(id).is_some_and(|path| self.may_ask(path)));
        let best = || {
            let first = self.first_in_transition();
            self.named_paths()
                .filter(|(_, path)| self.may_ask(path))
                .min_by_key(|(id, path)| {
                    let in_transition = self.is_in_transition(path);
                    let beside_left = self.is_beside_left(path);
                    let outside = inside && (path.has_failed() || beside_left || !in_transition);
                    let comes_later = in_transition && first.is_some_and(|first| *id < first);
                    (outside, self.rank(path), beside_left, comes_later)
                })
                .map(|(id, _)| id)
        };
        let id = told.or_else(best)?;
        let in_transition = self.path(id).is_some_and(|path| self.is_in_transition(path));
        let ready_first = in_transition || self.state.refresh.unsupported.is_some();
        Some(if ready_first { Step::TestReady(id) } else { Step::Report(id) })
    }

    /// Where no report can be read, only groups in transition are asked, whether theirs is over.
    pub(in crate::unit) fn may_ask(&self, path: &Path) -> bool {
        let in_transition = || {
            path.group.and_then(|id| self.group(id)).is_some_and(|group| group.transition.is_some())
        };
        let alone = path.evidence.is_some_and(|own| own.is_alone());
        let may_be_over = alone || in_transition();
        !path.marks.has(Mark::Tried)
            && path.left.is_none()
            && path.is_trusted()
            && (self.state.refresh.unsupported.is_none() || may_be_over)
    }

    /// With which of the paths in transition this pass begins: each pass with the next one, so that one
    /// that never leaves it does not stand before those that did.
    fn first_in_transition(&self) -> Option<PathId> {
        let waiting = || self.named_paths().filter(|(_, path)| self.is_in_transition(path));
        let count = u32::try_from(waiting().count()).unwrap_or(u32::MAX);
        let place = usize::try_from(self.state.refresh.pass.checked_rem(count)?).unwrap_or(0);
        waiting().nth(place).map(|(id, _)| id)
    }

    /// Whether the path said that its group is still in transition, and no report was read since: whatever else
    /// it tells of, it is another one's turn first.
    fn has_said_not_yet(&self, path: &Path) -> bool {
        path.marks.has(Mark::SaidNotYet) && path.evidence.is_none() && self.is_in_transition(path)
    }

    fn is_in_transition(&self, path: &Path) -> bool {
        self.known(path).0.state == Some(AccessState::Transitioning)
    }

    /// How well a path suits a report; less is better.
    pub(in crate::unit) fn rank(&self, path: &Path) -> u8 {
        let by_state = match self.known(path).0.state {
            Some(state) if state.is_live() => 0,
            None => 1,
            Some(AccessState::Offline) => 3,
            Some(AccessState::Transitioning) => 4,
            Some(_) => 2,
        };
        match path.transport {
            Transport::Failed { .. } => by_state | 0x10,
            Transport::Untried | Transport::Answered { .. } => by_state,
        }
    }

    pub(super) fn give_up_path(&mut self, path: PathId, error: RefreshError, now: Time) {
        if let Some(pass) = self.state.refresh.pass_mut() {
            pass.last_error = error;
            // A transport that failed says so at once; what is silent or busy may cost a long time.
            pass.inside &= matches!(error, RefreshError::Transport(_));
            pass.all_refuse &= matches!(error, RefreshError::Unsupported(_));
        }
        self.move_on(path, now);
    }

    /// A path refused because of its transition: only paths that are not in one are asked now.
    pub(super) fn try_next_path(&mut self, path: PathId, now: Time) {
        self.bear_out(path, now);
        if let Some(path) = self.path_mut(path) {
            path.marks.set(Mark::SaidNotYet);
        }
        if let Some(pass) = self.state.refresh.pass_mut() {
            pass.in_transition = true;
        }
        self.move_on(path, now);
    }

    pub(super) fn move_on(&mut self, path: PathId, now: Time) {
        if let Some(path) = self.path_mut(path) {
            path.marks.set(Mark::Tried);
        }
        let Some(pass) = self.state.refresh.pass_mut() else { return };
        (pass.resends, pass.attentions, pass.growths) = (0, 0, 0);
        pass.ready = false;
        let (in_transition, inside) = (pass.in_transition, pass.inside);
        let error = pass.last_error;
        let all_refuse = pass.all_refuse;
        // The path that told may have told of the transition: the best of the others then. One that was put
        // off is asked behind the "not yet" of another, and only there.
        let via = pass.via.filter(|_| pass.put_off == in_transition);
        match self.next_step(via, inside) {
            Some(Step::Report(_)) if in_transition && inside => {
                self.end_pass(PassEnd::InTransition, now);
            }
            Some(Step::TestReady(id))
                if in_transition
                    && !inside
                    && via != Some(id)
                    && self.state.refresh.unsupported.is_none() =>
            {
                self.end_pass(PassEnd::InTransition, now);
            }
            Some(step) => self.go_on(step, now),
            None if in_transition => self.end_pass(PassEnd::InTransition, now),
            None => {
                if let (RefreshError::Unsupported(sense), true) = (error, all_refuse) {
                    self.state.refresh.unsupported = Some(sense);
                }
                let end = if self.supports_only_optimized() {
                    PassEnd::Ignored
                } else {
                    PassEnd::Failed(error)
                };
                self.end_pass(end, now);
            }
        }
    }

    /// Whether every group is known to support active/optimized and nothing else. "Not known yet"
    /// is not that.
    fn supports_only_optimized(&self) -> bool {
        let mut known = self.groups.iter().filter(|group| group.used).peekable();
        known.peek().is_some()
            && known.all(|group| group.supported.is_some_and(|states| states.is_only_optimized()))
    }

    pub(super) fn end_pass(&mut self, end: PassEnd, now: Time) {
        let config = self.state.config;
        self.state.untold |= !config.gate.pass_unknown;
        let refresh = &mut self.state.refresh;
        let inside = refresh.looks_inside();
        let told = refresh.pass_mut().and_then(|pass| pass.via);
        refresh.phase = Phase::Idle;
        // "Not yet", where that was all that was asked, takes no report away from the activations that
        // wait: once the front one is over, the next is judged by it.
        if !(inside && end == PassEnd::InTransition) {
            refresh.last_end = Some((refresh.pass, end));
        }
        match end {
            PassEnd::Read(true) if refresh.changes < CHANGES_AT_ONCE => {
                refresh.changes = refresh.changes.saturating_add(1);
                refresh.spacing_ms = config.spacing_min_ms;
            }
            _ => {
                let doubled = refresh.spacing_ms.saturating_mul(2);
                refresh.spacing_ms = doubled.min(config.spacing_max_ms);
            }
        }
        match end {
            PassEnd::OldNews => {
                count(&mut self.state.counters.old_news);
                // It told of something that was new once.
                if let Some(path) = told.and_then(|id| self.path_mut(id)) {
                    path.attentions = 0;
                }
            }
            PassEnd::Failed(_) => {
                count(&mut self.state.counters.refresh_failures);
                self.state.untold_failure = true;
                self.state.untold = true;
            }
            _ => {}
        }
        if let Some(trigger) = self.state.refresh.again.take() {
            let at = self.start_of(trigger, now, 0);
            self.state.refresh.join(at, trigger);
        }
        self.schedule_poll(end, inside, now);
        self.advance_activations(now);
    }

    /// Looks slowly at a path whose own transition outlived its limit.
    pub(in crate::unit) fn poll_alone(&mut self, path: PathId, now: Time) {
        let trigger = Trigger { via: Some(path), ..Trigger::POLL };
        self.state.refresh.join(now.after(self.state.config.reprobe_ms), trigger);
    }

    /// Enters the next pass that time alone asks for. `inside`: so looked the one that ended.
    fn schedule_poll(&mut self, end: PassEnd, inside: bool, now: Time) {
        let config = &self.state.config;
        let mut delay = match end {
            PassEnd::Failed(error) if error.is_worth_retrying() => Some(config.reprobe_ms),
            // The path in transition may have been removed since.
            PassEnd::InTransition => Some(config.reprobe_ms),
            _ => None,
        };
        let reports = self.state.refresh.unsupported.is_none();
        let tried = |path: &&Path| path.used && path.marks.has(Mark::Tried);
        // The one that the report came through was not marked.
        let read = usize::from(matches!(end, PassEnd::Read(_)));
        let asked = match inside {
            true => 1,
            false => self.paths.iter().filter(tried).count().saturating_add(read),
        };
        // A pass that brought no report may owe one to somebody.
        let for_end = match end {
            PassEnd::Read(_) | PassEnd::OldNews => self.may_look_inside(),
            PassEnd::InTransition => inside && self.may_look_inside(),
            PassEnd::Ignored | PassEnd::Failed(_) => false,
        };
        for group in self.groups.iter().filter(|group| group.used) {
            let has_path = self.has_path(group.id);
            let polled = match group.transition {
                Some(Transition::Running { .. }) if !has_path && !reports => continue,
                // A report is no small matter.
                Some(Transition::Running { .. }) if config.look_inside && !for_end => {
                    config.transition_poll_ms
                }
                Some(Transition::Running { since, .. }) => {
                    config.transition_pause_ms(now.since(since), asked)
                }
                Some(Transition::Expired { .. }) if has_path => config.reprobe_ms,
                _ => continue,
            };
            delay = Some(delay.map_or(polled, |delay| delay.min(polled)));
        }
        if let Some(delay) = delay {
            let trigger = Trigger { for_end, ..Trigger::POLL };
            self.state.refresh.join(now.after(delay), trigger);
        }
        let expired = |cause| matches!(cause, Cause::TransitionExpired { .. });
        let alone = self.named_paths().find(|(_, path)| {
            path.is_trusted() && path.evidence.is_some_and(|own| expired(own.cause))
        });
        if let Some(path) = alone.map(|(id, _)| id) {
            self.poll_alone(path, now);
        }
    }
}
