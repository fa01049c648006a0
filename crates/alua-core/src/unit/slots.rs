//! What a logical unit keeps for each target port group and each path.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use super::command::CommandId;
use super::config::ATTENTIONS_IN_A_ROW_MAX;
use crate::access::{AccessState, SupportedStates};
use crate::cause::{Cause, Known};
use crate::gate::Gate;
use crate::spc::target_port_groups::StatusCode;
use crate::time::Time;

/// Names a path of a logical unit. A name is not used again for a later path of the same unit
/// before 65,536 paths were added in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathId {
    index: u16,
    generation: u16,
}

impl PathId {
    /// The place of the path in the storage that the caller gave: small, dense, and free for
    /// another path when this one is removed.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    pub(super) const fn new(index: u16, generation: u16) -> Self {
        Self { index, generation }
    }

    pub(super) const fn generation(self) -> u16 {
        self.generation
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)
    }
}

/// Storage for one target port group of one logical unit. `Group::default()` is a free place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    pub(super) used: bool,
    pub(super) id: u16,
    pub(super) state: Option<AccessState>,
    pub(super) cause: Cause,
    pub(super) preferred: bool,
    pub(super) supported: Option<SupportedStates>,
    pub(super) status: Option<StatusCode>,
    pub(super) transition: Option<Transition>,
    /// How often in the last transition a path took commands as if there were none, and the report
    /// that it was then asked for showed no end.
    pub(super) contradictions: u8,
    /// Pass of the refresh that last listed the group.
    pub(super) listed_in: u32,
    pub(super) told: Told,
}

/// An episode of asymmetric access state transition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transition {
    /// It goes on, and must end by `deadline`.
    Running {
        /// When it was first seen.
        since: Time,
        /// When the group is treated as standby.
        deadline: Time,
    },
    /// It outlived its limit. The group is treated as standby until a report says that the
    /// transition is over.
    Expired {
        /// When it was first seen.
        since: Time,
    },
}

/// What consumers were last told of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    pub(super) state: Option<AccessState>,
    pub(super) preferred: bool,
}

impl Group {
    pub(super) const FREE: Self = Self {
        used: false,
        id: 0,
        state: None,
        cause: Cause::NeverRead,
        preferred: false,
        supported: None,
        status: None,
        transition: None,
        contradictions: 0,
        listed_in: 0,
        told: Told { state: None, preferred: false },
    };

    pub(super) const fn new(id: u16) -> Self {
        Self { used: true, id, ..Self::FREE }
    }

    /// The TARGET PORT GROUP identifier. It means something only inside its logical unit.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// The access state; `None` where it is not known.
    #[must_use]
    pub const fn state(&self) -> Option<AccessState> {
        self.state
    }

    /// What the state rests on.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// The PREF bit of the last report.
    #[must_use]
    pub const fn preferred(&self) -> bool {
        self.preferred
    }

    /// The states that the group supports; `None` before the first report.
    #[must_use]
    pub const fn supported(&self) -> Option<SupportedStates> {
        self.supported
    }

    /// The status code of the last report: why the target says the state changed last.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The transition that goes on, if one does.
    #[must_use]
    pub const fn transition(&self) -> Option<Transition> {
        self.transition
    }

    pub(super) const fn is_in_transition(&self) -> bool {
        matches!(self.transition, Some(Transition::Running { .. }))
    }

    pub(super) fn begin_transition(&mut self, since: Time, deadline: Time) {
        self.transition = Some(Transition::Running { since, deadline });
        self.contradictions = 0;
    }

    pub(super) const fn telling(&self) -> Told {
        Told { state: self.state, preferred: self.preferred }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::FREE
    }
}

/// Storage for one path of one logical unit. `Path::default()` is a free place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    pub(super) used: bool,
    pub(super) generation: u16,
    pub(super) group: Option<u16>,
    /// SPC reserves 0, which is stored as none.
    pub(super) relative_port: Option<NonZeroU16>,
    pub(super) evidence: Option<Evidence>,
    pub(super) identity: IdentityCheck,
    /// When page 83h was read last; the start of the clock where it was not.
    pub(super) identity_read: Time,
    pub(super) transport: Transport,
    /// A command of a refresh that runs on it and is not waited for any more.
    pub(super) left: Option<CommandId>,
    /// Pass of the last report when the path last told of a state change; of the one that was on its
    /// way, if one was.
    pub(super) attention_after: Option<NonZeroU32>,
    /// Unit attentions in a row, without a success that is known of. Page 83h is none: who asks for it meets
    /// no unit attention.
    pub(super) attentions: u8,
    pub(super) told: Told,
    /// What consumers were last told of the gate.
    pub(super) gate_told: Option<Gate>,
    pub(super) marks: Marks,
}

/// What is so or not so of a path: a bit each, since a unit has many paths and no byte to spare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Marks(u8);

/// One of the [`Marks`].
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Mark {
    /// Tried in the running pass of the refresh.
    Tried = 1,
    /// Consumers were told that its identity changed.
    IdentityTold = 2,
    /// A unit attention that waited on it was met, or a report was read through it: one that it
    /// tells now is newer than that.
    Drained = 4,
    /// It said that it is in transition, and has neither succeeded nor been read through since, nor
    /// [`Renewed`](Self::Renewed) its word.
    SaidTransition = 8,
    /// It was put in doubt since page 83h was last asked for through it.
    DoubtedSince = 16,
    /// It met a unit attention after it had said that it is in transition, and has neither succeeded nor
    /// been read through since, nor did looks find that its group's transition goes on for a while.
    Renewed = 32,
    /// It said to the refresh that its group is still in transition, and has not succeeded since, nor was a
    /// report read through any path.
    SaidNotYet = 64,
}

impl Marks {
    pub(super) const fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    pub(super) fn set(&mut self, mark: Mark) {
        self.0 |= mark as u8;
    }

    pub(super) fn clear(&mut self, mark: Mark) {
        self.0 &= !(mark as u8);
    }
}

/// What a path says of its own access state, against or before any report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Evidence {
    pub(super) state: AccessState,
    /// [`Cause::Sense`] or [`Cause::TransitionExpired`], which have the time.
    pub(super) cause: Cause,
    /// When it is dropped, if no report could confirm or overrule it before.
    pub(super) expires: Time,
}

impl Evidence {
    /// When that expires which only the path itself can end.
    pub(super) const NEVER: Time = Time::from_millis(u64::MAX);

    /// When the path said it.
    pub(super) const fn at(&self) -> Time {
        match self.cause {
            Cause::Sense { at, .. } => at,
            Cause::TransitionExpired { since, .. } => since,
            _ => Time::ZERO,
        }
    }

    /// Whether it is a transition of the path alone, against its group, or what is left of one:
    /// only the path itself can end that.
    pub(super) const fn is_alone(&self) -> bool {
        matches!(self.state, AccessState::Transitioning)
            || matches!(self.cause, Cause::TransitionExpired { .. })
    }

    /// What is left of it when it expires: a transition of the path alone that outlived its limit
    /// counts as standby until the path says otherwise, anything else is dropped.
    pub(super) fn grown_old(self, limit_ms: u32) -> Option<Self> {
        let cause = Cause::TransitionExpired { since: self.at(), limit_ms };
        let expires = Self::NEVER;
        let standby = Self { state: AccessState::Standby, cause, expires };
        (self.state == AccessState::Transitioning).then_some(standby)
    }
}

/// Whether a path is known to lead to its logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IdentityCheck {
    /// It is.
    Verified,
    /// A sense code put it in doubt; page 83h is read again at `due`.
    InDoubt {
        /// When the next reading is due.
        due: Time,
        /// Readings so far that the target answered.
        reads: u8,
        /// Readings so far without an answer: BUSY, not submitted, lost.
        unanswered: u8,
    },
    /// Page 83h could not be read well within the limit of tries. It is tried again at `due`.
    Unreadable {
        /// When the next reading is due.
        due: Time,
    },
    /// Another logical unit answers on this path. It must be removed.
    Changed,
}

/// How the path's transport did the last time that the driver heard of it: by a command of its own,
/// or from its consumer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// Not used yet.
    Untried,
    /// The target answered.
    Answered {
        /// When.
        at: Time,
    },
    /// The command failed without an answer.
    Failed {
        /// When.
        at: Time,
    },
}

impl Path {
    pub(super) const FREE: Self = Self {
        used: false,
        generation: 0,
        group: None,
        relative_port: None,
        evidence: None,
        identity: IdentityCheck::Verified,
        identity_read: Time::ZERO,
        transport: Transport::Untried,
        left: None,
        attention_after: None,
        attentions: 0,
        told: Told { state: None, preferred: false },
        gate_told: None,
        marks: Marks(0),
    };

    /// The target port group that the path's page 83h names.
    #[must_use]
    pub const fn group(&self) -> Option<u16> {
        self.group
    }

    /// The relative target port identifier that the path's page 83h names.
    #[must_use]
    pub const fn relative_port(&self) -> Option<u16> {
        match self.relative_port {
            Some(port) => Some(port.get()),
            None => None,
        }
    }

    /// Whether the path is known to lead to its logical unit.
    #[must_use]
    pub const fn identity(&self) -> IdentityCheck {
        self.identity
    }

    /// How the path's transport did the last time that the driver heard of it.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// What the path says of itself, where that is not (yet) what the last report says.
    #[must_use]
    pub fn evidence(&self) -> Option<Known> {
        self.evidence.map(|own| Known { state: Some(own.state), cause: own.cause })
    }

    /// Whether what the path says of itself is not the state of its group.
    pub(super) fn is_against(&self, group: Option<AccessState>) -> bool {
        self.evidence.is_some_and(|own| group.is_some_and(|state| state != own.state))
    }

    /// Whether it met more unit attentions in a row than a target keeps.
    pub(super) const fn is_beyond_row(&self) -> bool {
        self.attentions > ATTENTIONS_IN_A_ROW_MAX
    }

    /// Whether its transport failed when the driver last heard of it.
    pub(super) const fn has_failed(&self) -> bool {
        matches!(self.transport, Transport::Failed { .. })
    }

    pub(super) const fn is_trusted(&self) -> bool {
        matches!(self.identity, IdentityCheck::Verified)
    }

    /// It carries commands: its next word of a transition is the first of one, and may be renewed again.
    pub(super) fn forget_transition(&mut self) {
        self.marks.clear(Mark::SaidTransition);
        self.marks.clear(Mark::Renewed);
        self.marks.clear(Mark::SaidNotYet);
    }
}

impl Default for Path {
    fn default() -> Self {
        Self::FREE
    }
}
