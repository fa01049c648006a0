//! The activation that is served: from its report to its STPG to the report that proves it.

use super::super::command::{Command, CommandKind, Outcome, StpgTargets};
use super::super::config::{
    ACTIVATIONS_MAX, ATTENTIONS_MAX, RESENDS_MAX, STPG_ATTEMPTS_MAX, TARGETS_MAX, UNREACHABLE_MAX,
    VERIFICATIONS_LIVE_MAX, VERIFICATIONS_MAX,
};
use super::super::machine::{Parts, Role, count};
use super::super::refresh::{PassEnd, Reason};
use super::super::slots::{Group, Path, PathId, Transition};
use super::queue::{Phase, Request, Run, Slot, Trouble};
use super::{
    Activated, ActivationError, ActivationId, ActivationRefused, ActivationResult, Target,
};
use crate::access::AccessState;
use crate::cause::Cause;
use crate::sense::{Disposition, meaning};
use crate::spc::Status;
use crate::spc::sense::{Sense, SenseKey};
use crate::time::Time;

/// Turns until nothing is due: more than a queue of activations that all end can need.
const TURNS_MAX: usize = 4 * ACTIVATIONS_MAX;

enum Next {
    Wait,
    Go(Phase),
    End(ActivationResult),
}

impl Parts<'_> {
    pub(in crate::unit) fn request_activation(
        &mut self,
        targets: &[Target],
        force: bool,
        handler: bool,
        now: Time,
    ) -> Result<ActivationId, ActivationRefused> {
        self.check_request(targets)?;
        let request =
            Request { targets: StpgTargets::collect(targets.iter().copied()), force, handler };
        let activations = &mut self.state.activations;
        if let Some(id) = activations.joinable(&request) {
            count(&mut self.state.counters.coalesced);
            return Ok(id);
        }
        let next = activations.next;
        let free = activations.slots.iter_mut().find(|slot| matches!(slot, Slot::Free));
        let slot = free.ok_or(ActivationRefused::TooManyActivations)?;
        let id = ActivationId(next);
        *slot = Slot::Running(Run {
            id,
            request,
            phase: Phase::Reading { pass: self.state.refresh.pass.wrapping_add(1) },
            attempts: 0,
            attentions: 0,
            resends: 0,
            verifications: 0,
            trouble: None,
            avoid: None,
        });
        activations.next = next.wrapping_add(1);
        self.want_refresh(Reason::Activation, now);
        Ok(id)
    }

    fn check_request(&self, targets: &[Target]) -> Result<(), ActivationRefused> {
        if self.state.shut_down {
            return Err(ActivationRefused::ShutDown);
        }
        if self.state.managed.is_err() {
            return Err(ActivationRefused::AluaOff);
        }
        if targets.is_empty() {
            return Err(ActivationRefused::Empty);
        }
        if targets.len() > TARGETS_MAX {
            return Err(ActivationRefused::TooManyTargets);
        }
        let mut rest = targets.iter();
        while let Some(target) = rest.next() {
            if !target.state.is_settable() {
                return Err(ActivationRefused::NotSettable(target.state));
            }
            let same = |other: &Target| {
                other.id == target.id && is_port(other.state) == is_port(target.state)
            };
            if rest.as_slice().iter().any(same) {
                return Err(ActivationRefused::Twice(target.id));
            }
        }
        if !self.paths.iter().any(|path| path.used) {
            return Err(ActivationRefused::NoPath);
        }
        Ok(())
    }

    pub(in crate::unit) fn next_control_time(&self) -> Option<Time> {
        let sending = self.state.activations.front().and_then(|run| match run.phase {
            // Sent between passes only: the pass has its own time.
            Phase::Sending { at } if !self.state.refresh.is_in_pass() => Some(at),
            Phase::Pausing { until, .. } => Some(until),
            _ => None,
        });
        [sending, self.next_refresh_time()].into_iter().flatten().min()
    }

    /// The next command of the activation or of the refresh.
    pub(in crate::unit) fn next_control_command(&mut self, now: Time) -> Option<Command> {
        if self.state.control.is_some() || self.state.shut_down {
            return None;
        }
        // A pass that ends without a command makes way for a switch, and a switch that may not be
        // sent for a pass; each turn ends one or the other.
        for _ in 0..TURNS_MAX {
            self.end_pause(now);
            let command = self.next_stpg(now).or_else(|| self.next_refresh_command(now));
            if command.is_some() || self.next_control_time().is_none_or(|due| due > now) {
                return command;
            }
        }
        None
    }

    fn end_pause(&mut self, now: Time) {
        let Some(mut run) = self.state.activations.front() else { return };
        match run.phase {
            Phase::Pausing { until, verifying } if until <= now => {
                let pass = self.state.refresh.pass.wrapping_add(1);
                run.phase =
                    if verifying { Phase::Verifying { pass } } else { Phase::Reading { pass } };
                self.state.activations.put(run);
                self.want_refresh(Reason::Activation, now);
            }
            _ => {}
        }
    }

    /// A pause before the report that `phase` waits for is read again.
    fn pause(&self, phase: Phase, now: Time) -> Phase {
        let until = now.after(self.state.config.retry_ms);
        Phase::Pausing { until, verifying: matches!(phase, Phase::Verifying { .. }) }
    }

    fn next_stpg(&mut self, now: Time) -> Option<Command> {
        if self.state.refresh.is_in_pass() {
            return None;
        }
        let mut run = self.state.activations.front()?;
        let Phase::Sending { at } = run.phase else { return None };
        if at > now {
            return None;
        }
        // Between the report and this moment a transition may have begun.
        if self.transition_of(&run).is_some() {
            run.phase = Phase::Reading { pass: self.state.refresh.pass.wrapping_add(1) };
            self.state.activations.put(run);
            self.want_refresh(Reason::Activation, now);
            return None;
        }
        // So many at once, and as many less one spaced: the configured number, at most.
        let limit = self.state.config.stpg_per_minute.div_ceil(2);
        if let Some(until) = self.state.activations.limited_until(limit, now)
            && !run.request.force
        {
            // A device handler is asked by one who has no better group.
            let paced = run.request.handler || !self.is_any_live();
            let live = self.is_live_enough(&run);
            match self.state.activations.spaced(limit).filter(|_| paced && !live) {
                Some(at) if at <= now => {}
                Some(at) => {
                    run.phase = Phase::Pausing { until: at, verifying: false };
                    self.state.activations.put(run);
                    return None;
                }
                None => {
                    let limited = Err(ActivationError::RateLimited { until });
                    let result = if live { Ok(Activated::StaysLive) } else { limited };
                    self.state.activations.end(run.id, result);
                    self.advance_activations(now);
                    return None;
                }
            }
        }
        let wanted = self.targets_to_send(&run);
        let Some(path) = self.path_for_stpg(&wanted, run.avoid) else {
            self.state.activations.end(run.id, Err(ActivationError::NoPath));
            self.advance_activations(now);
            return None;
        };
        // One that was not carried out counts as a resend, or as an attempt.
        let again = run.attempts > 0 || run.resends > 0;
        run.phase = Phase::Sent;
        run.attempts = run.attempts.saturating_add(1);
        self.state.activations.put(run);
        let kind = CommandKind::SetTargetPortGroups(wanted);
        Some(self.state.send(path, kind, Role::Stpg, again, now))
    }

    fn targets_to_send(&self, run: &Run) -> StpgTargets {
        let missing = run.request.targets.as_slice().iter().filter(|target| !self.is_there(target));
        StpgTargets::collect(missing.copied())
    }

    /// A path in a group that is to become better first, then the best of the others; paths that
    /// speak against their group, failed transports and those on which a command was left, last.
    fn path_for_stpg(&self, wanted: &StpgTargets, avoid: Option<PathId>) -> Option<PathId> {
        self.named_paths()
            .filter(|(_, path)| path.is_trusted())
            .min_by_key(|(id, path)| {
                let avoided = Some(*id) == avoid;
                let failed = path.has_failed();
                let asked = is_asked_for(path, wanted);
                let silent = failed || path.is_left();
                (avoided || silent, path.evidence.is_some(), !asked, self.rank(path))
            })
            .map(|(id, _)| id)
    }

    /// The path of the group to activate through which its report is read: the others may be on a
    /// controller that is silent, which is why it was asked for.
    pub(in crate::unit) fn path_to_activate(&self) -> Option<PathId> {
        let run = self.state.activations.front()?;
        let id = self.path_for_stpg(&run.request.targets, run.avoid)?;
        let path = self.path(id)?;
        let failed = path.has_failed();
        let in_transition = self.known(path).0.state == Some(AccessState::Transitioning);
        let silent = failed || path.is_left();
        (is_asked_for(path, &run.request.targets) && !silent && !in_transition).then_some(id)
    }

    /// Takes what became of the STPG in flight.
    pub(in crate::unit) fn complete_stpg(
        &mut self,
        path: PathId,
        outcome: &Outcome<'_>,
        now: Time,
    ) {
        let Some(mut run) = self.state.activations.front() else { return };
        if run.phase != Phase::Sent {
            return;
        }
        let later = now.after(self.state.config.retry_ms);
        let verify = Phase::Verifying { pass: self.state.refresh.pass.wrapping_add(1) };
        run.trouble = None;
        if may_have_executed(outcome) {
            self.state.activations.count_sent(now);
        }
        run.phase = match *outcome {
            Outcome::NotSubmitted => self.resend_stpg(&mut run, Trouble::NotSubmitted, later),
            // Nothing was sent, so nothing was tried: the paths that are gone come last from now on.
            Outcome::Unreachable if run.resends < UNREACHABLE_MAX => {
                run.resends = run.resends.saturating_add(1);
                run.attempts = run.attempts.saturating_sub(1);
                run.avoid = Some(path);
                Phase::Sending { at: now }
            }
            Outcome::Unreachable | Outcome::TransportFailed | Outcome::TimedOut => {
                run.trouble = Some(Trouble::Transport);
                verify
            }
            Outcome::Answered { status: Status::Good, .. } => verify,
            Outcome::Answered { status: status @ (Status::Busy | Status::TaskSetFull), .. } => {
                self.resend_stpg(&mut run, Trouble::Status(status), later)
            }
            Outcome::Answered { status: Status::CheckCondition, sense, .. } => {
                match Sense::parse(sense) {
                    Ok(sense) => self.judge_stpg_sense(&mut run, path, &sense, now),
                    Err(_) => {
                        run.trouble = Some(Trouble::Status(Status::CheckCondition));
                        verify
                    }
                }
            }
            Outcome::Answered { status, .. } => {
                run.trouble = Some(Trouble::Status(status));
                verify
            }
        };
        if matches!(run.trouble, Some(Trouble::Transport | Trouble::Path(_))) {
            run.avoid = Some(path);
        }
        self.state.activations.put(run);
        if matches!(run.phase, Phase::Verifying { .. } | Phase::Reading { .. }) {
            let taken = matches!(outcome, Outcome::Answered { status: Status::Good, .. });
            let reason = if taken { Reason::Activated(path) } else { Reason::Activation };
            self.want_refresh(reason, now);
        }
    }

    /// The command was not started: the same again later, within a limit.
    fn resend_stpg(&self, run: &mut Run, trouble: Trouble, at: Time) -> Phase {
        run.resends = run.resends.saturating_add(1);
        if run.resends <= RESENDS_MAX {
            return Phase::Sending { at };
        }
        run.trouble = Some(trouble);
        run.attempts = STPG_ATTEMPTS_MAX;
        Phase::Verifying { pass: self.state.refresh.pass.wrapping_add(1) }
    }

    fn judge_stpg_sense(&mut self, run: &mut Run, path: PathId, sense: &Sense, now: Time) -> Phase {
        let next_pass = self.state.refresh.pass.wrapping_add(1);
        let what = meaning(sense);
        self.note_identity(path, &what, now);
        let in_transition = what.state == Some(AccessState::Transitioning);
        if in_transition {
            self.enter_transition(path, sense, now);
        }
        let comes_back = in_transition || sense.key == SenseKey::UnitAttention;
        if comes_back && run.attentions < ATTENTIONS_MAX {
            // A state may have changed: what to send is decided on a new report.
            run.attentions = run.attentions.saturating_add(1);
            return Phase::Reading { pass: next_pass };
        }
        if what.disposition == Disposition::RetryElsewhere {
            self.note_sense(path, sense, &what, now);
            run.trouble = Some(Trouble::Path(sense.into()));
        } else {
            run.trouble = Some(Trouble::Refused(sense.into()));
            run.attempts = STPG_ATTEMPTS_MAX;
        }
        Phase::Verifying { pass: next_pass }
    }

    /// Moves the activation that is served as far as what is known allows, and then the next.
    pub(in crate::unit) fn advance_activations(&mut self, now: Time) {
        while let Some(mut run) = self.state.activations.front() {
            match self.next_phase(&mut run, now) {
                Next::Wait => {
                    self.state.activations.put(run);
                    return;
                }
                Next::Go(phase) => {
                    run.phase = phase;
                    self.state.activations.put(run);
                    return;
                }
                Next::End(result) => self.state.activations.end(run.id, result),
            }
        }
    }

    fn next_phase(&self, run: &mut Run, now: Time) -> Next {
        let (Phase::Reading { pass } | Phase::Verifying { pass }) = run.phase else {
            return Next::Wait;
        };
        let read = match self.state.refresh.last_end {
            Some((last, PassEnd::Read(_))) => !is_before(last, pass),
            _ => false,
        };
        let reading = matches!(run.phase, Phase::Reading { .. });
        if read && reading && self.are_all_there(run) {
            return Next::End(Ok(Activated::AlreadyThere));
        }
        match self.transition_of(run) {
            Some((_, Transition::Running { .. })) => return Next::Wait,
            Some((group, Transition::Expired { .. })) => {
                return Next::End(Err(ActivationError::TransitionTimedOut { group }));
            }
            None => {}
        }
        let Some((last, end)) = self.state.refresh.last_end else { return Next::Wait };
        if is_before(last, pass) || self.state.refresh.is_in_pass() {
            return Next::Wait;
        }
        match end {
            PassEnd::Read(_) | PassEnd::OldNews | PassEnd::Ignored => {}
            PassEnd::InTransition => return self.wait_for_transition(run),
            // Page 83h is being read: a later pass may find the path trusted again.
            PassEnd::Failed(_)
                if self.is_any_identity_in_doubt() && run.attentions < ATTENTIONS_MAX =>
            {
                run.attentions = run.attentions.saturating_add(1);
                return Next::Go(self.pause(run.phase, now));
            }
            PassEnd::Failed(error) => {
                return Next::End(Err(run
                    .trouble
                    .map_or(ActivationError::Refresh(error), Into::into)));
            }
        }
        match run.phase {
            Phase::Verifying { .. } => self.judge_effect(run, now),
            _ => self.judge_need(run, now),
        }
    }

    /// No report, because paths in transition refuse it. Some transition must run then, or the
    /// wait would not end.
    fn wait_for_transition(&self, run: &Run) -> Next {
        let running = self.groups.iter().any(|group| group.used && group.is_in_transition());
        if running {
            return Next::Wait;
        }
        let group = run.request.targets.as_slice().first().map_or(0, |target| target.id);
        Next::End(Err(ActivationError::TransitionTimedOut { group }))
    }

    /// A fresh report is there: is anything to be sent?
    fn judge_need(&self, run: &Run, now: Time) -> Next {
        if self.are_all_there(run) {
            return Next::End(Ok(Activated::AlreadyThere));
        }
        let targets = run.request.targets.as_slice();
        let explicit = self.state.managed.is_ok_and(|managed| managed.tpgs().has_explicit());
        let mut send = false;
        for target in targets.iter().filter(|target| !self.is_there(target)) {
            let listed = |group: &&Group| !matches!(group.cause, Cause::AbsentFromReport { .. });
            let Some(group) = self.group_of_target(target).filter(listed) else {
                if is_port(target.state) {
                    send = true;
                    continue;
                }
                return Next::End(Err(ActivationError::UnknownGroup(target.id)));
            };
            let checked =
                if explicit { self.judge_target(run, target, group) } else { implicit_only(group) };
            match checked {
                Ok(needed) => send |= needed,
                Err(error) => return Next::End(Err(error)),
            }
        }
        if !send {
            let left = if explicit { Activated::LeftToTarget } else { Activated::ImplicitOnly };
            return Next::End(Ok(left));
        }
        if !explicit {
            return Next::End(Ok(Activated::ImplicitOnly));
        }
        Next::Go(Phase::Sending { at: now })
    }

    /// Whether the state of a target must be asked for, by its group's state.
    fn judge_target(
        &self,
        run: &Run,
        target: &Target,
        group: &Group,
    ) -> Result<bool, ActivationError> {
        let implicit = self.state.managed.is_ok_and(|managed| managed.tpgs().has_implicit());
        let optimize = self.state.config.optimize;
        if run.request.handler {
            match group.state {
                Some(AccessState::ActiveNonOptimized) => {
                    if optimize && !group.preferred && implicit {
                        return Ok(false);
                    }
                }
                Some(AccessState::Standby | AccessState::Unavailable) | None => {}
                Some(state) => {
                    return Err(ActivationError::NotActivatable { group: group.id, state });
                }
            }
        }
        let supported = group.supported.filter(|states| states.bits() != 0);
        if !run.request.force && supported.is_some_and(|states| !states.contains(target.state)) {
            let (group, state) = (group.id, target.state);
            return Err(ActivationError::StateNotSupported { group, state });
        }
        Ok(true)
    }

    /// A report after the STPG is there: did it take effect?
    fn judge_effect(&self, run: &mut Run, now: Time) -> Next {
        let targets = run.request.targets.as_slice();
        let Some(missing) = targets.iter().find(|target| !self.is_there(target)) else {
            return Next::End(Ok(Activated::Reached));
        };
        let Some(group) = self.group_of_target(missing) else {
            if is_port(missing.state) && run.trouble.is_none() {
                return Next::End(Ok(Activated::Accepted));
            }
            let unlisted = ActivationError::NotReached { group: missing.id, state: None };
            return Next::End(Err(run.trouble.map_or(unlisted, Into::into)));
        };
        let live = self.is_live_enough(run);
        if let Some(trouble) = run.trouble {
            let of_path = matches!(trouble, Trouble::Transport | Trouble::Path(_));
            if of_path && run.attempts < STPG_ATTEMPTS_MAX {
                return Next::Go(Phase::Sending { at: now });
            }
            let failed = Err(trouble.into());
            return Next::End(if live { Ok(Activated::StaysLive) } else { failed });
        }
        run.verifications = run.verifications.saturating_add(1);
        let enough = if live { VERIFICATIONS_LIVE_MAX } else { VERIFICATIONS_MAX };
        if run.verifications < enough {
            return Next::Go(self.pause(run.phase, now));
        }
        let missed = ActivationError::NotReached { group: group.id, state: group.state };
        Next::End(if live { Ok(Activated::StaysLive) } else { Err(missed) })
    }

    /// Whether a device handler's request got what it needs: groups that carry I/O, optimized or
    /// not.
    fn is_live_enough(&self, run: &Run) -> bool {
        let live = |target: &Target| {
            self.group_of_target(target).and_then(Group::state).is_some_and(|state| state.is_live())
        };
        run.request.handler && run.request.targets.as_slice().iter().all(live)
    }

    /// Whether I/O has somewhere to go.
    fn is_any_live(&self) -> bool {
        self.paths.iter().any(|path| {
            let live = self.known(path).0.state.is_some_and(|state| state.is_live());
            path.used && path.is_trusted() && live
        })
    }

    /// The transition of a target's group, the running ones first.
    fn transition_of(&self, run: &Run) -> Option<(u16, Transition)> {
        let transition = |running: bool| {
            let targets = run.request.targets.as_slice().iter();
            targets
                .filter_map(|target| self.group_of_target(target))
                .find(|group| group.transition.is_some() && group.is_in_transition() == running)
                .and_then(|group| Some((group.id, group.transition?)))
        };
        transition(true).or_else(|| transition(false))
    }

    fn are_all_there(&self, run: &Run) -> bool {
        run.request.targets.as_slice().iter().all(|target| self.is_there(target))
    }

    fn is_there(&self, target: &Target) -> bool {
        self.group_of_target(target).is_some_and(|group| group.state == Some(target.state))
    }

    /// The group that a target is about. A port is found through a path that names it.
    fn group_of_target(&self, target: &Target) -> Option<&Group> {
        let id = if is_port(target.state) {
            self.paths
                .iter()
                .find(|path| path.used && path.relative_port() == Some(target.id))?
                .group?
        } else {
            target.id
        };
        self.group(id)
    }
}

/// Whether pass `one` comes before pass `other`. Numbers wrap: "before" is a distance in the upper
/// half.
const fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) > u32::MAX / 2
}

/// Whether the target may have done what was asked, so that the limit per minute counts it.
fn may_have_executed(outcome: &Outcome<'_>) -> bool {
    match *outcome {
        Outcome::NotSubmitted
        | Outcome::Unreachable
        | Outcome::Answered { status: Status::Busy | Status::TaskSetFull, .. } => false,
        // SPC: a command that meets a unit attention is not performed.
        Outcome::Answered { status: Status::CheckCondition, sense, .. } => {
            !Sense::parse(sense).is_ok_and(|sense| sense.key == SenseKey::UnitAttention)
        }
        _ => true,
    }
}

/// Offline is a state of ports: its descriptor carries a relative target port identifier.
const fn is_port(state: AccessState) -> bool {
    matches!(state, AccessState::Offline)
}

/// A target that manages its states alone: live is as good as it gets.
fn implicit_only(group: &Group) -> Result<bool, ActivationError> {
    match group.state {
        Some(state) if !state.is_live() => {
            Err(ActivationError::ImplicitOnly { group: group.id, state })
        }
        _ => Ok(false),
    }
}

/// Whether the path is in a group that is to become optimized.
fn is_asked_for(path: &Path, targets: &StpgTargets) -> bool {
    targets
        .as_slice()
        .iter()
        .any(|target| target.state == AccessState::ActiveOptimized && path.group == Some(target.id))
}
