//! The logical unit: its target port groups, its paths, and what is known of them.
//!
//! [`LogicalUnit`] is the driver's state machine. It owns no I/O, no clock and no memory: a shell
//! feeds it what happened, takes from it the commands to send, and carries them out.
//!
//! # Calls and their order
//!
//! - **Inputs**: [`add_path`](LogicalUnit::add_path), [`remove_path`](LogicalUnit::remove_path),
//!   [`handle_sense`](LogicalUnit::handle_sense) for the sense of any command on any path,
//!   [`handle_success`](LogicalUnit::handle_success),
//!   [`handle_transport_failure`](LogicalUnit::handle_transport_failure),
//!   [`handle_completion`](LogicalUnit::handle_completion) for the driver's own commands,
//!   [`activate`](LogicalUnit::activate), [`set_states`](LogicalUnit::set_states),
//!   [`refresh`](LogicalUnit::refresh), [`reread_identity`](LogicalUnit::reread_identity),
//!   [`set_managed`](LogicalUnit::set_managed), [`set_optimize`](LogicalUnit::set_optimize),
//!   [`shut_down`](LogicalUnit::shut_down).
//! - **Outputs**, after any input and when the deadline has come, in this order:
//!   [`poll_command`](LogicalUnit::poll_command) until it returns `None`, then
//!   [`poll_event`](LogicalUnit::poll_event) until it returns `None`, then
//!   [`poll_deadline`](LogicalUnit::poll_deadline).
//! - **Getters** change nothing.
//!
//! Every command that `poll_command` returns is handed back to `handle_completion` once. The shell
//! ends a command after its `timeout_ms`; the machine does not guess that an answer is lost. With
//! [`Config::patience_ms`] it asks another path before the answer comes.
//!
//! # What is known, and from where
//!
//! An access state belongs to a target port group *of this logical unit*. One report tells the
//! states of all groups, through whichever path it is read. A path's own sense can contradict it:
//! then the path's evidence decides for that path until a report agrees, or a report that was read
//! through the path's own group after the evidence overrules it, or the evidence grows old.
//!
//! # Bounds
//!
//! At most one command of the refresh or the activation is in flight and waited for, one reading of
//! page 83h and one idle probe; [`LEFT_MAX`] more may run that are not waited for. Everything that a
//! target can repeat without end is counted (`config`).

mod activation;
mod command;
mod config;
mod event;
mod evidence;
mod identity_check;
mod machine;
mod patience;
mod probe;
mod refresh;
mod report;
mod slots;

use core::fmt;

pub use activation::{Activated, ActivationError, ActivationId, ActivationRefused};
pub use activation::{ActivationResult, Target};
pub use command::{Command, CommandId, CommandKind, DATA_OUT_MAX, Outcome, StpgTargets};
pub use config::*;
pub use event::Event;
pub use machine::Counters;
pub use slots::{Group, IdentityCheck, Path, PathId, Transition, Transport};

use crate::access::AccessState;
use crate::cause::{Cause, Known, RefreshError};
use crate::gate::{Gate, Refusal};
use crate::identity::UnitName;
use crate::sense::{self, Disposition, Meaning};
use crate::spc::sense::Sense;
use crate::time::Time;
use crate::tpgs::{AluaOff, Managed};
use machine::{Parts, State};
use refresh::Reason;

/// Storage for groups or paths: an array, a boxed slice, a vector or a borrowed slice. Its length
/// is the capacity; its contents start as `default()`.
pub trait Slots<T>: AsRef<[T]> + AsMut<[T]> {}

impl<T, S: AsRef<[T]> + AsMut<[T]>> Slots<T> for S {}

/// One logical unit. The module's documentation tells in which order to call what.
#[derive(Clone, Debug)]
pub struct LogicalUnit<G, P> {
    state: State,
    groups: G,
    paths: P,
}

/// What a shell knows of a path that it adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewPath<'a> {
    /// The name in the path's page 83h. `None` where the page names no logical unit.
    pub name: Option<&'a UnitName>,
    /// The target port group in the path's page 83h.
    pub group: Option<u16>,
    /// The relative target port in the path's page 83h. 0 is reserved and counts as none.
    pub relative_port: Option<u16>,
}

/// Why a path was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AddPathError {
    /// All places for paths are taken; this many there are.
    PathsFull(usize),
    /// All places for groups are taken by groups of other paths; this many there are.
    GroupsFull(usize),
    /// The path's page 83h names another logical unit, or only one of the two has a name. Two
    /// devices without a name are never taken for one logical unit.
    OtherUnit,
    /// The logical unit was shut down.
    ShutDown,
}

impl fmt::Display for AddPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathsFull(places) => write!(f, "all {places} places for paths are taken"),
            Self::GroupsFull(places) => write!(f, "all {places} places for groups are taken"),
            Self::OtherUnit => f.write_str("the path leads to another logical unit"),
            Self::ShutDown => f.write_str("the logical unit was shut down"),
        }
    }
}

impl core::error::Error for AddPathError {}

impl<G: Slots<Group>, P: Slots<Path>> LogicalUnit<G, P> {
    /// A logical unit without paths. `managed` is what [`crate::tpgs::evaluate`] said of it,
    /// `name` its name in page 83h. The storage is emptied.
    pub fn new(
        name: Option<UnitName>,
        managed: Result<Managed, AluaOff>,
        config: Config,
        mut groups: G,
        mut paths: P,
    ) -> Self {
        groups.as_mut().fill(Group::FREE);
        paths.as_mut().fill(Path::FREE);
        Self { state: State::new(name, managed, config), groups, paths }
    }

    /// The same logical unit in other storage, for a caller that grows it. `groups` and `paths`
    /// are overwritten.
    ///
    /// # Errors
    /// The new storage is smaller than the old; the unit comes back unchanged.
    #[expect(clippy::result_large_err, reason = "the error is the unit itself, handed back")]
    pub fn with_storage<H: Slots<Group>, Q: Slots<Path>>(
        self,
        mut groups: H,
        mut paths: Q,
    ) -> Result<LogicalUnit<H, Q>, Self> {
        if !refill(self.groups.as_ref(), groups.as_mut(), Group::FREE)
            || !refill(self.paths.as_ref(), paths.as_mut(), Path::FREE)
        {
            return Err(self);
        }
        Ok(LogicalUnit { state: self.state, groups, paths })
    }

    /// Puts other storage of the same kind in place of the unit's, for a caller that grows it where
    /// it stands: nothing but the groups and paths is moved. Gives back what is not needed any more:
    /// the old storage, or with an error the new.
    ///
    /// # Errors
    /// The new storage is smaller than the old; nothing was changed.
    pub fn replace_storage(&mut self, mut groups: G, mut paths: P) -> Result<(G, P), (G, P)> {
        if !refill(self.groups.as_ref(), groups.as_mut(), Group::FREE)
            || !refill(self.paths.as_ref(), paths.as_mut(), Path::FREE)
        {
            return Err((groups, paths));
        }
        let old = core::mem::replace(&mut self.groups, groups);
        Ok((old, core::mem::replace(&mut self.paths, paths)))
    }

    /// Adds a path. A refresh is started unless the state of the path's group is known already.
    ///
    /// # Errors
    /// See [`AddPathError`]. Nothing was changed then.
    pub fn add_path(&mut self, new: NewPath<'_>, now: Time) -> Result<PathId, AddPathError> {
        self.parts().add_path(new, now)
    }

    /// Removes a path at any moment. A command of the driver that is in flight on it counts as
    /// lost; its completion is ignored. Returns whether there was such a path.
    pub fn remove_path(&mut self, path: PathId, now: Time) -> bool {
        self.parts().remove_path(path, now)
    }

    /// Takes note of sense data that any command on `path` got, and tells what it means for that
    /// command: what the table says, but that a path which meets too many unit attentions in a row
    /// ([`ATTENTIONS_IN_A_ROW_MAX`]) has the next handed on, and what it tells of read after
    /// [`Config::reprobe_ms`]. To be called for every CHECK CONDITION. The driver's own commands go to
    /// [`handle_completion`](Self::handle_completion); a shell that cannot tell them apart (a kernel's
    /// `check_sense`) may hand their sense in here as well, which costs at most one more refresh.
    pub fn handle_sense(&mut self, path: PathId, sense: &Sense, now: Time) -> Meaning {
        let mut meaning = sense::meaning(sense);
        let mut parts = self.parts();
        let failed = parts.has_failed(path);
        if meaning.disposition == Disposition::RetryHere && parts.is_one_too_many(path, now) {
            meaning.disposition = Disposition::HandOn;
        }
        if let Some(path) = parts.path_mut(path) {
            path.transport = Transport::Answered { at: now };
        }
        parts.note_sense(path, sense, &meaning, now);
        if failed {
            parts.check_evidence(path, now);
        }
        meaning
    }

    /// Takes note that a command which needs a live state (TEST UNIT READY, or medium access)
    /// succeeded on `path`. Cheap; starts a refresh where that contradicts what is known.
    pub fn handle_success(&mut self, path: PathId, now: Time) {
        self.parts().note_success(path, now);
    }

    /// Takes note that the transport of `path` failed: the path is the last to be asked, and a
    /// command of the driver that is in flight on it counts as lost; its completion is ignored.
    pub fn handle_transport_failure(&mut self, path: PathId, now: Time) {
        self.parts().note_transport_failure(path, now);
    }

    /// Takes what became of a command. Returns whether the command was awaited; one whose path was
    /// removed, or that was handed back before, is not.
    pub fn handle_completion(&mut self, id: CommandId, outcome: &Outcome<'_>, now: Time) -> bool {
        self.parts().complete(id, outcome, now)
    }

    /// Asks for a refresh now, as an administrator or a rescan does.
    pub fn refresh(&mut self, now: Time) {
        self.parts().want_refresh(Reason::Asked, now);
    }

    /// Asks for page 83h of `path` to be read again. No I/O passes on the path until it was.
    pub fn reread_identity(&mut self, path: PathId, now: Time) {
        self.parts().doubt_identity(path, now);
    }

    /// Takes a new evaluation of TPGS, as a rescan or changed INQUIRY data brings it. Turned off,
    /// what was known is forgotten; turned on, a refresh starts.
    pub fn set_managed(&mut self, managed: Result<Managed, AluaOff>, now: Time) {
        self.parts().set_managed(managed, now);
    }

    /// Sets [`Config::optimize`], as `set_params` of a device handler does.
    pub fn set_optimize(&mut self, optimize: bool) {
        self.state.config.optimize = optimize;
    }

    /// Asks for one target port group to become active/optimized, as a device handler's `activate`
    /// does. The result comes as [`Event::Activation`].
    ///
    /// # Errors
    /// The request was not taken and no event will come for it.
    pub fn activate(&mut self, group: u16, now: Time) -> Result<ActivationId, ActivationRefused> {
        let target = Target { state: AccessState::ActiveOptimized, id: group };
        self.parts().request_activation(&[target], false, true, now)
    }

    /// Asks for the given states, in one SET TARGET PORT GROUPS. For offline the identifier is a
    /// relative target port's. With `force` neither the support bits nor the limit per minute
    /// stand in the way. The result comes as [`Event::Activation`].
    ///
    /// # Errors
    /// The request was not taken and no event will come for it.
    pub fn set_states(
        &mut self,
        targets: &[Target],
        force: bool,
        now: Time,
    ) -> Result<ActivationId, ActivationRefused> {
        self.parts().request_activation(targets, force, false, now)
    }

    /// Ends everything: activations fail, commands in flight are forgotten, nothing is sent any
    /// more. Events can still be polled.
    pub fn shut_down(&mut self) {
        self.parts().shut_down();
    }

    /// The next command to send, or `None` when nothing is to be sent at `now`.
    pub fn poll_command(&mut self, now: Time) -> Option<Command> {
        let mut parts = self.parts();
        parts.tick(now);
        parts
            .next_control_command(now)
            .or_else(|| parts.next_identity_command(now))
            .or_else(|| parts.next_probe_command(now))
    }

    /// When [`poll_command`](Self::poll_command) must be called again at the latest; `None` when
    /// only an input can bring something new. A time that has come already means "now".
    pub fn poll_deadline(&mut self) -> Option<Time> {
        self.parts().deadline()
    }

    /// Lets time pass where no command can be taken just now: limits of transitions end as they do
    /// in [`poll_command`](Self::poll_command). Gives the time at which the next one ends.
    pub fn pass_time(&mut self, now: Time) -> Option<Time> {
        let mut parts = self.parts();
        parts.tick(now);
        parts.next_limit()
    }

    /// How the target manages its states; the cause where ALUA is off.
    pub fn managed(&self) -> Result<Managed, AluaOff> {
        self.state.managed
    }

    /// The name in page 83h.
    pub fn name(&self) -> Option<&UnitName> {
        self.state.name.as_ref()
    }

    /// The choices and limits.
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    /// How long a transition of this unit may take, in milliseconds: the target's implicit
    /// transition time or the default, raised by the configuration.
    pub fn transition_limit_ms(&self) -> u32 {
        self.state.transition_ms
    }

    /// Whether the target answers the extended header; `None` before the first report.
    pub fn extended_header(&self) -> Option<bool> {
        self.state.refresh.extended_header()
    }

    /// When the last report was read, and through which path.
    pub fn last_report(&self) -> Option<(PathId, Time)> {
        self.state.refresh.last_report()
    }

    /// Why the last refresh ended without a report; `None` when it did not.
    pub fn refresh_error(&self) -> Option<RefreshError> {
        self.state.refresh.failure()
    }

    /// Whether a refresh runs or is due (the polls of a transition and slow re-probes count), an
    /// activation runs, or a command of the driver is in flight.
    pub fn is_busy(&self) -> bool {
        self.state.is_busy()
    }

    /// What was sent so far.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// The groups, in the order of their storage.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.as_ref().iter().filter(|group| group.used)
    }

    /// The group with that identifier.
    pub fn group(&self, id: u16) -> Option<&Group> {
        self.groups().find(|group| group.id == id)
    }

    /// The paths and their names, in the order of their storage.
    pub fn paths(&self) -> impl Iterator<Item = (PathId, &Path)> {
        self.paths.as_ref().iter().zip(0_u16..).filter_map(|(path, index)| {
            path.used.then_some((PathId::new(index, path.generation), path))
        })
    }

    /// The path with that name, if it was not removed.
    pub fn path(&self, id: PathId) -> Option<&Path> {
        self.paths
            .as_ref()
            .get(id.index())
            .filter(|path| path.used && path.generation == id.generation())
    }

    /// The name of the path that holds this place of the storage now, for a shell that knows its
    /// paths by place.
    pub fn path_at(&self, index: usize) -> Option<PathId> {
        let path = self.paths.as_ref().get(index).filter(|path| path.used)?;
        Some(PathId::new(u16::try_from(index).ok()?, path.generation))
    }

    /// The access state that counts for a path, and what it rests on: the path's own evidence,
    /// else the state of its group.
    pub fn access(&self, id: PathId) -> Known {
        let unknown = Known { state: None, cause: Cause::NeverRead };
        let Some(path) = self.path(id) else { return unknown };
        machine::known(&self.state, self.groups.as_ref(), path).0
    }

    /// Whether the path's group is preferred by the target.
    pub fn is_preferred(&self, id: PathId) -> bool {
        self.path(id)
            .and_then(|path| path.group)
            .and_then(|group| self.group(group))
            .is_some_and(|group| group.preferred)
    }

    /// Whether a path says of itself something else than the last report says of its group.
    pub fn is_contradicted(&self, id: PathId) -> bool {
        let group = |group| self.group(group).and_then(Group::state);
        self.path(id).is_some_and(|path| path.is_against(path.group().and_then(group)))
    }

    /// What becomes of ordinary I/O for a path now.
    pub fn gate(&self, id: PathId) -> Gate {
        let Some(path) = self.path(id) else { return Gate::Refuse(Refusal::NoPath) };
        machine::gate_of(&self.state, self.groups.as_ref(), path)
    }

    fn parts(&mut self) -> Parts<'_> {
        Parts { state: &mut self.state, groups: self.groups.as_mut(), paths: self.paths.as_mut() }
    }
}

/// Moves `from` to the start of `to` and frees the rest; false, with `to` as it was, where it does
/// not fit.
fn refill<T: Copy>(from: &[T], to: &mut [T], free: T) -> bool {
    let Some(head) = to.get_mut(..from.len()) else { return false };
    head.copy_from_slice(from);
    if let Some(tail) = to.get_mut(from.len()..) {
        tail.fill(free);
    }
    true
}
