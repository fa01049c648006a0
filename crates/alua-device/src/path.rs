//! The border between the runtime and whatever carries commands: [`PathIo`].
//!
//! # Contract
//!
//! - No call waits: what takes time is done elsewhere and comes back through the [`Back`] that the
//!   call was given, from any thread, possibly before the call returns.
//! - Each I/O command, control command and fence step comes back **once**, also after
//!   [`PathIo::close`]. A command that the target never answers comes back at the latest when its
//!   end is proven, or never; its buffer stays with the path until then.
//! - A [`Payload`] belongs to the command. Nothing writes to a read's buffer, and nothing reads
//!   from a write's, after the command has come back.
//! - A path decides nothing. What an outcome means is `alua_core`'s business.

use std::sync::Arc;

use alua_core::failover::{IoOutcome, Summary};
use alua_core::spc::Status;
use alua_core::unit;
use alua_multipath::{
    Control, ControlId, ControlKind, FenceAnswer, FenceId, IoId, Operation, PathId, Request,
};

use crate::inbox::Back;

/// One way to the logical unit.
pub trait PathIo: Send {
    /// Sends an I/O command, which comes back by [`Back::io`].
    fn send(&mut self, command: Command, back: &Back);

    /// Sends a command of the driver, which comes back by [`Back::control`].
    fn control(&mut self, command: ControlCommand, back: &Back);

    /// Takes a step that ends commands, which comes back by [`Back::step`].
    fn step(&mut self, step: Step, back: &Back);

    /// What has to be done, before another path ends the commands of this one, so that nothing
    /// between host and target sends them again, or for the first time. `None`: nothing.
    fn cut(&self) -> Option<Cut> {
        None
    }

    /// The path's transition is over: what a layer below us keeps back because of it can go. A hint.
    fn transition_ended(&mut self) {}

    /// The path is taken away. What has not left yet does not leave any more; everything that is out
    /// comes back, soon. Returns whether the target has confirmed that nothing of it can reach the
    /// medium any more.
    fn close(&mut self, back: &Back) -> bool;
}

/// See [`PathIo::cut`]. `None`: it could not be done. It outlives its path: commands may still be out
/// when that was taken away.
pub type Cut = Arc<dyn Fn() -> Option<Box<dyn CutHold>> + Send + Sync>;

/// A [`Cut`] that was done. The path stays cut at least until it is dropped.
pub trait CutHold: Send {
    /// Whether everything that was sent down the path before has come back. Only then the step
    /// proves anything: what an adapter or a socket holds could reach the target after it.
    fn is_idle(&self) -> bool;
}

/// An I/O command on its way.
#[derive(Debug)]
pub struct Command {
    /// Names it.
    pub io: IoId,
    /// The path that it goes down.
    pub path: PathId,
    /// What to do.
    pub part: Request,
    /// The data.
    pub data: Payload,
}

/// The data of a command.
#[derive(Debug)]
pub enum Payload {
    /// None.
    None,
    /// Room for what is read: exactly as many bytes as the blocks have. What it holds before is
    /// undefined.
    Read(Vec<u8>),
    /// What is written. Other copies of the command may share it.
    Write {
        /// The data of the whole request.
        data: Arc<Vec<u8>>,
        /// Where those of this command begin.
        start: usize,
        /// How many bytes they are.
        length: usize,
    },
}

impl Payload {
    /// The bytes to be written; empty for everything else.
    #[must_use]
    pub fn to_write(&self) -> &[u8] {
        match self {
            Self::Write { data, start, length } => {
                data.get(*start..*start + *length).unwrap_or_default()
            }
            Self::None | Self::Read(_) => &[],
        }
    }

    /// How many bytes are to be read.
    #[must_use]
    pub fn room(&self) -> usize {
        match self {
            Self::Read(buffer) => buffer.len(),
            Self::None | Self::Write { .. } => 0,
        }
    }
}

/// What became of an I/O command: [`IoOutcome`] with its own sense data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The device server answered.
    Answered {
        /// The SCSI status.
        status: Status,
        /// The sense data as received; empty where there is none.
        sense: Vec<u8>,
        /// Whether all data moved.
        whole: bool,
    },
    /// An operating system dealt with the answer.
    Summed(Summary),
    /// It was never sent.
    NotSubmitted,
    /// The transport failed after it took the command.
    TransportFailed,
    /// No answer came in time.
    TimedOut,
}

impl Answer {
    /// GOOD, with all data.
    pub const GOOD: Self = Self::Answered { status: Status::Good, sense: Vec::new(), whole: true };

    /// As the engine takes it.
    #[must_use]
    pub fn outcome(&self) -> IoOutcome<'_> {
        match self {
            Self::Answered { status, sense, whole } => {
                IoOutcome::Answered { status: *status, sense, whole: *whole }
            }
            Self::Summed(summary) => IoOutcome::Summed(*summary),
            Self::NotSubmitted => IoOutcome::NotSubmitted,
            Self::TransportFailed => IoOutcome::TransportFailed,
            Self::TimedOut => IoOutcome::TimedOut,
        }
    }
}

/// A command of the driver on its way.
#[derive(Debug)]
pub struct ControlCommand {
    /// Names it.
    pub id: ControlId,
    /// The path that it goes down.
    pub path: PathId,
    /// The command descriptor block.
    pub cdb: Vec<u8>,
    /// What goes with it.
    pub data_out: Vec<u8>,
    /// Bytes of room for what comes back.
    pub room: usize,
    /// Its time limit in milliseconds. The runtime keeps it too: an answer that comes later is
    /// dropped.
    pub timeout_ms: u32,
    /// It asks whether a path that failed works again.
    pub probe: bool,
}

impl ControlCommand {
    pub(crate) fn of(control: &Control) -> Self {
        let mut list = [0; unit::DATA_OUT_MAX];
        let length = match control.kind {
            ControlKind::Core(command) => command.write_data_out(&mut list).unwrap_or(0),
            _ => 0,
        };
        Self {
            id: control.id,
            path: control.path,
            cdb: control.cdb().as_bytes().to_vec(),
            data_out: list[..length].to_vec(),
            room: control.data_in_len() as usize,
            timeout_ms: control.timeout_ms,
            probe: matches!(control.kind, ControlKind::Probe),
        }
    }
}

/// What became of a command of the driver: [`unit::Outcome`] with its own data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlAnswer {
    /// It was never sent.
    NotSubmitted,
    /// The transport failed after it took the command.
    TransportFailed,
    /// No answer came in time.
    TimedOut,
    /// The device server answered.
    Answered {
        /// The SCSI status.
        status: Status,
        /// The sense data as received; empty where there is none.
        sense: Vec<u8>,
        /// The data as received.
        data: Vec<u8>,
    },
}

impl ControlAnswer {
    /// As the engine takes it.
    #[must_use]
    pub fn outcome(&self) -> unit::Outcome<'_> {
        match self {
            Self::NotSubmitted => unit::Outcome::NotSubmitted,
            Self::TransportFailed => unit::Outcome::TransportFailed,
            Self::TimedOut => unit::Outcome::TimedOut,
            Self::Answered { status, sense, data } => {
                unit::Outcome::Answered { status: *status, sense, data }
            }
        }
    }
}

/// A step that ends commands.
#[derive(Debug)]
pub struct Step {
    /// Names it.
    pub id: StepId,
    /// What to do.
    pub kind: StepKind,
    /// Its time limit in milliseconds. The runtime keeps it too.
    pub timeout_ms: u32,
}

/// Names a [`Step`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepId {
    /// One of the engine's.
    Engine(FenceId),
    /// One of the runtime's, for what an earlier server has left: see [`crate::inherited`].
    Inherited(u32),
}

/// What a [`Step`] does.
pub enum StepKind {
    /// ABORT TASK of this command, which went down this path.
    AbortTask(IoId),
    /// End the I_T nexus of this path so that the target confirms it.
    EndNexus,
    /// LOGICAL UNIT RESET through this path, after the cuts.
    ResetUnit {
        /// The path whose commands are to end, where it is one path.
        of: Option<PathId>,
        /// See [`PathIo::cut`]: of the path whose commands are to end.
        cuts: Vec<Cut>,
    },
}

impl StepKind {
    /// In words.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AbortTask(_) => "ABORT TASK",
            Self::EndNexus => "end of the nexus",
            Self::ResetUnit { .. } => "LOGICAL UNIT RESET",
        }
    }
}

impl std::fmt::Debug for StepKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a step came to: [`FenceAnswer`].
pub type StepAnswer = FenceAnswer;

/// Whether a command reads.
pub(crate) const fn reads(part: &Request) -> bool {
    matches!(part.operation, Operation::Read)
}
