//! What the engine wants done, and what it tells.

use std::fmt;

use alua_core::access::AccessState;
use alua_core::cause::Cause;
use alua_core::select::Standing;
use alua_core::unit::{ActivationResult, Command};

use crate::identity;
use crate::referrals;
use crate::request::{Request, RequestError, RequestId};
use crate::sbc::{self, CdbBlock};
use crate::table::Key;
use crate::time::Time;

/// Names a path of the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathId {
    pub(crate) place: u16,
    pub(crate) generation: u16,
}

impl PathId {
    /// A small number, less than [`crate::Limits::paths`], free for another path once this one is
    /// removed and everything that was sent down it has come back.
    #[must_use]
    pub const fn index(self) -> usize {
        self.place as usize
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.place)
    }
}

/// Names an I/O command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IoId(pub(crate) Key);

impl IoId {
    /// The identifier as a number, for a transport's tag. Not used again before 2^32 commands were
    /// sent in its place.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The identifier of that number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(Key::from_bits(bits))
    }

    /// A small number, less than [`crate::Engine::commands_max`], free for another command once
    /// this one has come back and nothing of it is in doubt.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0.place()
    }
}

/// An I/O command to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Send {
    /// Names it.
    pub io: IoId,
    /// The request that it is for.
    pub id: RequestId,
    /// The path to send it down.
    pub path: PathId,
    /// What to do; of a request that goes in parts, this part. A flush may stand for a request
    /// that is something else, whose data are done.
    pub part: Request,
    /// Where the part begins in the request, in blocks.
    pub offset: u32,
}

/// A command about the path or the unit, with data of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    /// Names it.
    pub id: ControlId,
    /// The path to send it down.
    pub path: PathId,
    /// What it is.
    pub kind: ControlKind,
    /// After this time the shell gives it up and hands back
    /// [`alua_core::unit::Outcome::TimedOut`].
    pub timeout_ms: u32,
}

/// Names a [`Control`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ControlId(pub(crate) ControlName);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum ControlName {
    Core((alua_core::unit::CommandId, PathId)),
    /// Of that path, the one with that number.
    Probe(PathId, u32),
    Capacity(PathId, u32),
    Identity(PathId, u32),
    Referrals(PathId, u32),
}

/// What a [`Control`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlKind {
    /// One of the driver core's.
    Core(Command),
    /// TEST UNIT READY: does a path that failed answer?
    Probe,
    /// READ CAPACITY (16).
    Capacity,
    /// INQUIRY of page 83h: who is behind the path?
    Identity,
    /// REPORT REFERRALS: which blocks does which group have?
    Referrals {
        /// Bytes to read.
        allocation_length: u32,
    },
}

impl Control {
    /// The command descriptor block.
    #[must_use]
    pub fn cdb(&self) -> CdbBlock {
        match self.kind {
            ControlKind::Core(command) => CdbBlock::new(command.cdb().as_bytes()),
            ControlKind::Probe => CdbBlock::new(&[0; 6]),
            ControlKind::Capacity => sbc::read_capacity_16(),
            ControlKind::Identity => CdbBlock::new(identity::cdb().as_bytes()),
            ControlKind::Referrals { allocation_length } => {
                CdbBlock::new(referrals::cdb(allocation_length).as_bytes())
            }
        }
    }

    /// Bytes of buffer that it reads into; 0 where it reads nothing.
    #[must_use]
    pub const fn data_in_len(&self) -> u32 {
        match self.kind {
            ControlKind::Core(command) => command.data_in_len(),
            ControlKind::Probe => 0,
            ControlKind::Capacity => sbc::CAPACITY_BYTES,
            ControlKind::Identity => identity::PAGE_BYTES as u32,
            ControlKind::Referrals { allocation_length } => allocation_length,
        }
    }
}

/// A step that ends commands which nobody answered: see [`crate::fence`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FenceStep {
    /// Names it.
    pub id: FenceId,
    /// The path whose commands are to end. It may have been removed. An ABORT TASK may also be about
    /// a read that nobody waits for, so that it takes up no room in the target.
    pub path: PathId,
    /// What to do.
    pub kind: FenceKind,
    /// After this time the shell gives it up and hands back [`FenceAnswer::Failed`].
    pub timeout_ms: u32,
}

/// Names a [`FenceStep`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FenceId {
    pub(crate) path: PathId,
    pub(crate) number: u32,
}

/// What ends commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceKind {
    /// ABORT TASK of this command.
    AbortTask(IoId),
    /// End the I_T nexus of the path, so that the target knows: session reinstatement, logout. A
    /// new nexus may be made by it.
    EndNexus,
    /// LOGICAL UNIT RESET, sent through this other path.
    ResetUnit {
        /// The path to send it through.
        via: PathId,
    },
}

/// The answer to a [`FenceStep`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FenceAnswer {
    /// Done, the target says so: nothing that was sent before and that the step is about reaches
    /// the medium any more, nor will whatever lies between send it again.
    Done,
    /// Not done, or nobody knows.
    Failed,
}

/// What the shell has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send an I/O command; hand it back with [`crate::Engine::handle_io`].
    Send(Send),
    /// Send a command of the driver; hand it back with [`crate::Engine::handle_control`].
    Control(Control),
    /// End commands; answer with [`crate::Engine::handle_fence`].
    Fence(FenceStep),
    /// A part of a read that goes in parts is done: keep what the command has read. Comes for each
    /// part, when its command has come back and before anything else does.
    Take {
        /// The request.
        id: RequestId,
        /// The command that did the part.
        by: IoId,
        /// Where the part begins in the request, in blocks.
        offset: u32,
    },
    /// A request has ended: answer the client.
    Complete {
        /// The request.
        id: RequestId,
        /// How it ended.
        result: Result<(), RequestError>,
        /// The command that did it, whose data a read returns. `None` where it failed, where it
        /// went in parts, and for a request whose last command was a flush of its own.
        by: Option<IoId>,
    },
}

/// Something that a person or a log wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// What a path is good for changed.
    Standing {
        /// The path.
        path: PathId,
        /// What it was good for.
        from: Standing,
        /// What it is good for.
        to: Standing,
        /// The access state that counts for it.
        state: Option<AccessState>,
        /// What that state rests on.
        cause: Cause,
    },
    /// I/O goes to paths of another class now; `None` for no path at all.
    Class {
        /// Its rank before.
        from: Option<u8>,
        /// Its rank now.
        to: Option<u8>,
    },
    /// The transport of a path failed.
    PathFailed {
        /// The path.
        path: PathId,
    },
    /// A path whose transport had failed answers again.
    PathAnswers {
        /// The path.
        path: PathId,
    },
    /// A path fails I/O though it answers: it is the last choice until then.
    PathUnsteady {
        /// The path.
        path: PathId,
        /// The failures that count.
        strikes: u8,
        /// When it is as good as others again.
        until: Time,
    },
    /// Writes of unknown outcome are on a path: it is being fenced.
    FenceStarted {
        /// The path.
        path: PathId,
        /// How many writes.
        writes: u32,
    },
    /// They can be sent again.
    FenceEnded {
        /// The path.
        path: PathId,
        /// What proved it, or that the bounded wait is over.
        by: &'static str,
        /// How many writes.
        writes: u32,
    },
    /// No path is live and nothing ends by itself: the limit for that runs.
    NoPath,
    /// That limit is over: requests fail.
    GivesUp,
    /// Another logical unit answers on a path. It is not used any more; remove it.
    IdentityChanged {
        /// The path.
        path: PathId,
    },
    /// A path has another size than the unit; it is not used.
    OtherSize {
        /// The path.
        path: PathId,
        /// Its size in blocks.
        blocks: u64,
    },
    /// Every path says that the unit has another size now.
    Resized {
        /// The size in blocks.
        blocks: u64,
    },
    /// The engine asks the array to make a group optimized.
    ActivationStarted {
        /// The group.
        group: u16,
    },
    /// An activation ended.
    ActivationEnded {
        /// The group.
        group: u16,
        /// How.
        result: ActivationResult,
    },
    /// The engine was stopped and every request is complete.
    Stopped,
}
