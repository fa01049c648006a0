//! What the parts of the logical unit's machine share: its state, its look-ups, and the commands in
//! flight.

use core::num::{NonZeroU16, NonZeroU32};

use super::activation::Activations;
use super::command::{Command, CommandId, CommandKind, Outcome};
use super::config::{Config, LEFT_MAX};
use super::patience::LeftReading;
use super::refresh::{Reason, Refresh, Step};
use super::slots::{Evidence, Group, IdentityCheck, Path, PathId, Transition, Transport};
use super::{ActivationError, AddPathError, NewPath};
use crate::access::AccessState;
use crate::cause::{Cause, Known};
use crate::gate::{Gate, Hold, Refusal, gate};
use crate::identity::UnitName;
use crate::sense::{Recheck, meaning};
use crate::spc::Status;
use crate::spc::sense::Sense;
use crate::time::Time;
use crate::tpgs::{AluaOff, Managed};

/// Everything of a logical unit but its groups and paths.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) managed: Result<Managed, AluaOff>,
    pub(super) name: Option<UnitName>,
    pub(super) transition_ms: u32,
    pub(super) refresh: Refresh,
    pub(super) activations: Activations,
    /// The command of the refresh or of the activation that is in flight.
    pub(super) control: Option<InFlight>,
    /// The reading of page 83h that is in flight.
    pub(super) identity: Option<Reading>,
    /// Readings of page 83h that run and are not waited for any more.
    pub(super) left_readings: [Option<LeftReading>; LEFT_MAX],
    /// The idle probe that is in flight.
    pub(super) probe: Option<(CommandId, PathId)>,
    pub(super) probe_at: Time,
    pub(super) probe_next: u16,
    next_command: NonZeroU32,
    pub(super) counters: Counters,
    pub(super) untold: bool,
    /// The last pass failed, and nobody was told.
    pub(super) untold_failure: bool,
    pub(super) not_stored: u16,
    pub(super) not_stored_told: u16,
    pub(super) untold_capacity: Option<PathId>,
    pub(super) shut_down: bool,
}

/// How many commands the driver sent for a logical unit, and what it saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// REPORT TARGET PORT GROUPS sent.
    pub rtpg: u32,
    /// SET TARGET PORT GROUPS sent.
    pub stpg: u32,
    /// TEST UNIT READY sent.
    pub tur: u32,
    /// Readings of page 83h.
    pub identity_reads: u32,
    /// Triggers that an already wanted or running refresh served.
    pub coalesced: u32,
    /// Unit attentions found to be old news, so that no report was read for them.
    pub old_news: u32,
    /// Refreshes that ended without a report.
    pub refresh_failures: u32,
    /// Commands among these that repeat the one before, on the same path or another, because that
    /// one brought nothing to go by: not submitted, BUSY, a unit attention, no answer, or refused.
    pub retries: u32,
}

/// A command in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InFlight {
    pub(super) id: CommandId,
    pub(super) path: PathId,
    pub(super) sent: Time,
    pub(super) role: Role,
}

/// A reading of page 83h in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    pub(super) id: CommandId,
    pub(super) path: PathId,
    pub(super) sent: Time,
}

/// What a command in flight is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Refresh(Step),
    Stpg,
    Identity,
    Probe,
}

/// A logical unit with its storage at hand.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) state: &'a mut State,
    pub(super) groups: &'a mut [Group],
    pub(super) paths: &'a mut [Path],
}

impl State {
    pub(super) fn new(
        name: Option<UnitName>,
        managed: Result<Managed, AluaOff>,
        config: Config,
    ) -> Self {
        Self {
            config,
            managed,
            name,
            transition_ms: config.transition_ms.max(config.transition_at_least_ms),
            refresh: Refresh::new(&config),
            activations: Activations::default(),
            control: None,
            identity: None,
            left_readings: [None; LEFT_MAX],
            probe: None,
            probe_at: Time::ZERO,
            probe_next: 0,
            next_command: NonZeroU32::MIN,
            counters: Counters::default(),
            untold: false,
            untold_failure: false,
            not_stored: 0,
            not_stored_told: 0,
            untold_capacity: None,
            shut_down: false,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.control.is_some()
            || self.identity.is_some()
            || self.refresh.is_wanted()
            || self.activations.is_any_running()
    }

    fn take_flight(&mut self, id: CommandId) -> Option<InFlight> {
        if let Some(Reading { path, sent, .. }) = self.identity.take_if(|it| it.id == id) {
            return Some(InFlight { id, path, sent, role: Role::Identity });
        }
        if let Some((_, path)) = self.probe.take_if(|(probe, _)| *probe == id) {
            return Some(InFlight { id, path, sent: Time::ZERO, role: Role::Probe });
        }
        self.control.take_if(|it| it.id == id)
    }

    /// Makes a command and enters it as in flight. `again`: it repeats one that brought nothing.
    pub(super) fn send(
        &mut self,
        path: PathId,
        kind: CommandKind,
        role: Role,
        again: bool,
        now: Time,
    ) -> Command {
        let id = CommandId(self.next_command);
        self.next_command = self.next_command.checked_add(1).unwrap_or(NonZeroU32::MIN);
        match role {
            Role::Refresh(_) | Role::Stpg => {
                self.control = Some(InFlight { id, path, sent: now, role });
            }
            Role::Identity => self.identity = Some(Reading { id, path, sent: now }),
            Role::Probe => self.probe = Some((id, path)),
        }
        let counters = &mut self.counters;
        let counter = match kind {
            CommandKind::TestUnitReady => &mut counters.tur,
            CommandKind::ReportTargetPortGroups { .. } => &mut counters.rtpg,
            CommandKind::SetTargetPortGroups(_) => &mut counters.stpg,
            CommandKind::ReadIdentification => &mut counters.identity_reads,
        };
        count(counter);
        if again {
            count(&mut counters.retries);
        }
        let limit = self.config.command_timeout_ms;
        let timeout_ms = match kind {
            CommandKind::ReadIdentification => limit.min(self.config.identity_timeout_ms),
            _ => limit,
        };
        Command { id, path, kind, timeout_ms }
    }
}

/// One more of what a counter counts.
pub(super) const fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// The access state that counts for `path`, what it rests on, and the preference of its group.
pub(super) fn known(state: &State, groups: &[Group], path: &Path) -> (Known, bool) {
    let group = path.group.and_then(|id| groups.iter().find(|group| group.used && group.id == id));
    let preferred = group.is_some_and(|group| group.preferred);
    let known = match (state.managed, path.evidence, group) {
        (Err(off), _, _) => Known { state: None, cause: Cause::AluaOff(off) },
        (Ok(_), Some(own), _) => Known { state: Some(own.state), cause: own.cause },
        (Ok(_), None, Some(group)) => Known { state: group.state, cause: group.cause },
        (Ok(_), None, None) => Known { state: None, cause: Cause::NoGroup },
    };
    (known, preferred)
}

/// What becomes of ordinary I/O for `path`.
pub(super) fn gate_of(state: &State, groups: &[Group], path: &Path) -> Gate {
    let policy = state.config.gate;
    match path.identity {
        IdentityCheck::Verified => match known(state, groups, path).0 {
            // No state will ever be known, or TEST UNIT READY showed that it is a live one.
            Known {
                state: None,
                cause: Cause::AluaOff(_) | Cause::NoGroup | Cause::Ready { .. },
            } => Gate::Pass,
            Known { state: None, .. } if !policy.pass_unknown && state.refresh.gave_up() => {
                Gate::Refuse(Refusal::StateUnreadable)
            }
            known => gate(known.state, policy),
        },
        IdentityCheck::InDoubt { .. } => Gate::Hold(Hold::IdentityInDoubt),
        IdentityCheck::Unreadable { .. } => Gate::Refuse(Refusal::IdentityUnreadable),
        IdentityCheck::Changed => Gate::Refuse(Refusal::IdentityChanged),
    }
}

impl Parts<'_> {
    pub(super) fn path_at(&self, index: usize) -> Option<(PathId, &Path)> {
        let path = self.paths.get(index).filter(|path| path.used)?;
        let index = u16::try_from(index).ok()?;
        Some((PathId::new(index, path.generation), path))
    }

    /// The paths, with the name of each.
    pub(super) fn named_paths(&self) -> impl Iterator<Item = (PathId, &Path)> {
        (0..self.paths.len()).filter_map(|index| self.path_at(index))
    }

    pub(super) fn path(&self, id: PathId) -> Option<&Path> {
        self.path_at(id.index()).filter(|(found, _)| *found == id).map(|(_, path)| path)
    }

    pub(super) fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.paths
            .get_mut(id.index())
            .filter(|path| path.used && path.generation == id.generation())
    }

    pub(super) fn known(&self, path: &Path) -> (Known, bool) {
        known(self.state, self.groups, path)
    }

    pub(super) fn group(&self, id: u16) -> Option<&Group> {
        self.groups.iter().find(|group| group.used && group.id == id)
    }

    pub(super) fn group_mut(&mut self, id: u16) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.used && group.id == id)
    }

    pub(super) fn group_mut_of(&mut self, path: PathId) -> Option<&mut Group> {
        let id = self.path(path)?.group?;
        self.group_mut(id)
    }

    pub(super) fn has_path(&self, group: u16) -> bool {
        self.paths.iter().any(|path| path.used && path.group == Some(group))
    }

    /// The place of a group, made if there is room; a group that no path names makes room.
    pub(super) fn place_for_group(&mut self, id: u16) -> Option<&mut Group> {
        self.place_for_group_beside(id, None)
    }

    /// The same, but the groups that the report of `pass` listed already keep their places.
    pub(super) fn place_for_group_beside(
        &mut self,
        id: u16,
        pass: Option<u32>,
    ) -> Option<&mut Group> {
        let of_id = |group: &Group| group.used && group.id == id;
        let index = self
            .groups
            .iter()
            .position(of_id)
            .or_else(|| self.groups.iter().position(|group| !group.used))
            .or_else(|| {
                self.groups
                    .iter()
                    .position(|group| pass != Some(group.listed_in) && !self.has_path(group.id))
            })?;
        let place = self.groups.get_mut(index)?;
        if !of_id(place) {
            *place = Group::new(id);
        }
        Some(place)
    }

    pub(super) fn add_path(&mut self, new: NewPath<'_>, now: Time) -> Result<PathId, AddPathError> {
        if self.state.shut_down {
            return Err(AddPathError::ShutDown);
        }
        let has_paths = self.paths.iter().any(|path| path.used);
        let same_unit = new.name == self.state.name.as_ref();
        if !same_unit || (new.name.is_none() && has_paths) {
            return Err(AddPathError::OtherUnit);
        }
        let free = self.paths.iter().position(|path| !path.used);
        let Some((index, Ok(number))) = free.map(|index| (index, u16::try_from(index))) else {
            return Err(AddPathError::PathsFull(self.paths.len()));
        };
        let places = self.groups.len();
        let known = match new.group {
            // A transition is polled only where a path can ask: that starts now.
            Some(id) => {
                let group = self.place_for_group(id).ok_or(AddPathError::GroupsFull(places))?;
                group.state.is_some() && group.transition.is_none()
            }
            None => true,
        };
        let Some(place) = self.paths.get_mut(index) else {
            return Err(AddPathError::PathsFull(0));
        };
        let generation = place.generation;
        *place = Path {
            used: true,
            generation,
            group: new.group,
            relative_port: new.relative_port.and_then(NonZeroU16::new),
            ..Path::FREE
        };
        self.state.untold = true;
        if !known {
            self.want_refresh(Reason::NewPath, now);
        }
        Ok(PathId::new(number, generation))
    }

    pub(super) fn remove_path(&mut self, id: PathId, now: Time) -> bool {
        let Some(path) = self.path_mut(id) else { return false };
        let generation = path.generation.wrapping_add(1);
        *path = Path { generation, ..Path::FREE };
        self.forget_left_readings(id);
        self.state.identity.take_if(|it| it.path == id);
        self.state.probe.take_if(|(_, path)| *path == id);
        if !self.paths.iter().any(|path| path.used) {
            self.count_stpg(now);
            self.stop(ActivationError::NoPath);
            self.forget_groups();
        } else if let Some(flight) = self.state.control.take_if(|it| it.path == id) {
            self.complete_control(flight, &Outcome::TransportFailed, now);
        }
        true
    }

    /// The transport of a path failed: what is in flight on it is lost.
    pub(super) fn note_transport_failure(&mut self, id: PathId, now: Time) {
        let Some(path) = self.path_mut(id) else { return };
        path.transport = Transport::Failed { at: now };
        path.left = None;
        self.forget_left_readings(id);
        if self.state.identity.take_if(|it| it.path == id).is_some() {
            self.complete_identity(id, &Outcome::TransportFailed, now);
        }
        self.state.probe.take_if(|(_, path)| *path == id);
        if let Some(flight) = self.state.control.take_if(|it| it.path == id) {
            self.complete_control(flight, &Outcome::TransportFailed, now);
        }
    }

    pub(super) fn set_managed(&mut self, managed: Result<Managed, AluaOff>, now: Time) {
        if self.state.managed == managed {
            return;
        }
        self.state.managed = managed;
        self.state.untold = true;
        if managed.is_ok() {
            self.want_refresh(Reason::Asked, now);
            return;
        }
        self.forget_groups();
        for path in self.paths.iter_mut() {
            path.evidence = None;
        }
        self.count_stpg(now);
        self.stop(ActivationError::AluaOff);
    }

    pub(super) fn shut_down(&mut self) {
        self.state.shut_down = true;
        self.state.identity = None;
        self.state.left_readings = [None; LEFT_MAX];
        self.state.probe = None;
        self.stop(ActivationError::ShutDown);
    }

    /// Counts a SET TARGET PORT GROUPS whose outcome nobody will hear.
    fn count_stpg(&mut self, now: Time) {
        if self.state.control.is_some_and(|flight| flight.role == Role::Stpg) {
            self.state.activations.count_sent(now);
        }
    }

    /// Ends the refresh and every activation, and forgets the command of theirs that is in flight.
    fn stop(&mut self, error: ActivationError) {
        self.state.control = None;
        self.state.refresh.stop();
        self.state.activations.end_all(error);
    }

    /// Forgets what is known of every group, but not what was told of it.
    fn forget_groups(&mut self) {
        for group in self.groups.iter_mut().filter(|group| group.used) {
            *group = Group { told: group.told, ..Group::new(group.id) };
        }
        self.state.untold = true;
    }

    /// Hands an outcome to the machine that waits for it.
    pub(super) fn complete(&mut self, id: CommandId, outcome: &Outcome<'_>, now: Time) -> bool {
        let Some(flight) = self.state.take_flight(id) else {
            return self.complete_left(id, outcome, now);
        };
        let failed = self.has_failed(flight.path);
        self.note_outcome(flight.path, outcome, now);
        let good = matches!(outcome, Outcome::Answered { status: Status::Good, .. });
        if let Some(path) = self.path_mut(flight.path)
            && good
            && flight.role != Role::Identity
        {
            path.attentions = 0;
        }
        match flight.role {
            Role::Identity => self.complete_identity(flight.path, outcome, now),
            Role::Probe => self.complete_probe(flight.path, outcome, now),
            Role::Refresh(_) | Role::Stpg => self.complete_control(flight, outcome, now),
        }
        if failed {
            self.check_evidence(flight.path, now);
        }
        true
    }

    /// Whether the transport of a path has failed.
    pub(super) fn has_failed(&self, id: PathId) -> bool {
        self.path(id).is_some_and(Path::has_failed)
    }

    /// What every outcome of a command on a path tells.
    pub(super) fn note_outcome(&mut self, id: PathId, outcome: &Outcome<'_>, now: Time) {
        if let Some(path) = self.path_mut(id) {
            path.transport = match outcome {
                Outcome::Answered { .. } => Transport::Answered { at: now },
                Outcome::NotSubmitted => path.transport,
                Outcome::Unreachable | Outcome::TransportFailed | Outcome::TimedOut => {
                    Transport::Failed { at: now }
                }
            };
        }
        self.note_capacity(id, outcome);
    }

    /// A unit attention about the capacity that one of the driver's own commands met is lost to the
    /// consumer, unless it is told.
    fn note_capacity(&mut self, path: PathId, outcome: &Outcome<'_>) {
        let Outcome::Answered { status: Status::CheckCondition, sense, .. } = *outcome else {
            return;
        };
        if Sense::parse(sense).is_ok_and(|it| meaning(&it).recheck.contains(Recheck::CAPACITY)) {
            self.state.untold_capacity = Some(path);
            self.state.untold = true;
        }
    }

    pub(super) fn complete_control(&mut self, flight: InFlight, outcome: &Outcome<'_>, now: Time) {
        match flight.role {
            Role::Refresh(step) => self.complete_refresh(flight, step, outcome, now),
            Role::Stpg => self.complete_stpg(flight.path, outcome, now),
            Role::Identity | Role::Probe => {}
        }
    }

    /// Lets time pass: ends transitions that outlived their limit, drops old evidence, leaves
    /// commands that were waited for long enough.
    pub(super) fn tick(&mut self, now: Time) {
        self.lose_patience(now);
        let limit_ms = self.state.transition_ms;
        let mut expired = false;
        for group in self.groups.iter_mut().filter(|group| group.used) {
            if let Some(Transition::Running { since, deadline }) = group.transition {
                if deadline <= now {
                    group.transition = Some(Transition::Expired { since });
                    group.state = Some(AccessState::Standby);
                    group.cause = Cause::TransitionExpired { since, limit_ms };
                    expired = true;
                }
            }
        }
        let mut alone = None;
        for (index, path) in (0..).zip(self.paths.iter_mut()) {
            if let Some(own) = path.evidence.filter(|own| own.expires <= now) {
                // Without a group there is nothing that the path stands against.
                path.evidence = path.group.and_then(|_| own.grown_old(limit_ms));
                let id = PathId::new(index, path.generation);
                alone = path.evidence.map(|_| id).or(alone);
                self.state.untold = true;
            }
        }
        if let Some(path) = alone {
            self.poll_alone(path, now);
        }
        if expired {
            self.state.untold = true;
            self.advance_activations(now);
        }
    }

    /// The earliest time at which [`tick`](Self::tick) has something to do.
    pub(super) fn next_limit(&self) -> Option<Time> {
        let transitions = self.groups.iter().filter_map(|group| match group.transition {
            Some(Transition::Running { deadline, .. }) if group.used => Some(deadline),
            _ => None,
        });
        let evidence = self
            .paths
            .iter()
            .filter_map(|path| path.evidence.map(|own| own.expires))
            .filter(|expires| *expires != Evidence::NEVER);
        transitions.chain(evidence).chain(self.patience_ends()).min()
    }

    /// The earliest time at which [`tick`](Self::tick) or one of the machines has something to do.
    pub(super) fn deadline(&mut self) -> Option<Time> {
        let control = match self.state.control {
            None => self.next_control_time(),
            Some(_) => None,
        };
        [self.next_limit(), control, self.next_identity_time(), self.next_probe_time()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn is_trusted(&self, id: PathId) -> bool {
        self.path(id).is_some_and(Path::is_trusted)
    }

    pub(super) fn is_any_identity_in_doubt(&self) -> bool {
        self.paths
            .iter()
            .any(|path| path.used && matches!(path.identity, IdentityCheck::InDoubt { .. }))
    }
}
