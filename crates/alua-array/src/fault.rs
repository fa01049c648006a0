//! Faults: which commands they meet and what they do to them.

use std::time::Duration;

use alua_core::spc::Status;

use crate::command::Command;
use crate::config::{Field, Problem, Table};
use crate::nexus::TransportError;
use crate::sense::SenseTriple;

/// `[[fault]]`: something that goes wrong with some commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// `name`: by which events speak of it.
    pub name: String,
    /// `armed`: whether it works from the start.
    pub armed: bool,
    /// `initiator`: only commands of this initiator.
    pub initiator: Option<String>,
    /// `port`: only commands through the port with this relative target port id.
    pub port: Option<u16>,
    /// `unit`: only commands to the unit with this name.
    pub unit: Option<String>,
    /// `command`: only these commands. Empty: all.
    pub commands: Vec<Command>,
    /// `opcode`: only this operation code, which may be one that the model does not have.
    pub opcode: Option<u8>,
    /// `function`: these task management functions, and no command. The action is then `hang`,
    /// `transport` or `busy`.
    pub functions: Vec<Function>,
    /// `skip`: so many matching commands pass before it begins.
    pub skip: u32,
    /// `count`: it ends after so many commands. `None`: it does not end.
    pub count: Option<u32>,
    /// `per_mille`: of a thousand matching commands it meets so many, by chance; 1000 is each.
    pub per_mille: u16,
    /// `action` and its parameters.
    pub action: FaultAction,
}

impl Default for Fault {
    /// Meets every command, and answers BUSY.
    fn default() -> Self {
        Self {
            name: "fault".to_owned(),
            armed: true,
            initiator: None,
            port: None,
            unit: None,
            commands: Vec::new(),
            opcode: None,
            functions: Vec::new(),
            skip: 0,
            count: None,
            per_mille: 1000,
            action: FaultAction::Status(Status::Busy),
        }
    }
}

/// A task management function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// `abort-task`.
    AbortTask,
    /// `abort-task-set`.
    AbortTaskSet,
    /// `reset-unit`: LOGICAL UNIT RESET.
    ResetUnit,
    /// `clear-task-set`.
    ClearTaskSet,
    /// `reset-target`: a reset of every unit, as iSCSI's TARGET WARM RESET.
    ResetTarget,
}

impl Function {
    /// Every function with its name.
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("abort-task", Self::AbortTask),
        ("abort-task-set", Self::AbortTaskSet),
        ("reset-unit", Self::ResetUnit),
        ("clear-task-set", Self::ClearTaskSet),
        ("reset-target", Self::ResetTarget),
    ];
}

/// What a fault does to the command it meets.
///
/// The first group of actions replaces the command, the second delays it, the third carries it out
/// and changes the data that it returns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FaultAction {
    /// `busy`, `task-set-full`, `reservation-conflict`, `task-aborted`: this status, the command is
    /// not carried out.
    Status(Status),
    /// `check` with `sense`: CHECK CONDITION with that sense, the command is not carried out.
    Check(SenseTriple),
    /// `hang` with `runs`: no answer until it is aborted.
    Hang {
        /// Whether the command is carried out all the same: only the answer is lost.
        runs: bool,
    },
    /// `transport` with `error` and `runs_after`: the transport fails.
    Transport {
        /// What the initiator is told.
        error: TransportError,
        /// Present: the device server carries the command out all the same, so long after it was
        /// submitted, unless a logical unit reset, a preempt and abort or the nexus' end comes
        /// first (a ghost write).
        runs_after: Option<Duration>,
    },
    /// `late-start` with `delay`: carried out so much later.
    LateStart(Duration),
    /// `late-answer` with `delay`: carried out in time, answered so much later. An abort between
    /// the two finds the command but cannot undo it.
    LateAnswer(Duration),
    /// `ignore-abort` with `delay`: carried out so much later, even when an abort or a reset was
    /// answered in between. No array may do that.
    IgnoreAbort(Duration),
    /// `short` with `bytes`: no more than so many bytes of the data arrive.
    Short(u32),
    /// `growing` with `step`: the length field in bytes 0 to 3 tells `step` bytes more than are
    /// true, the next time twice that, and so on; zeros fill the data up.
    Growing(u32),
    /// `endless`: the length field in bytes 0 to 3 always tells 64 KiB more than were asked for.
    Endless,
    /// `garbage` with `bytes`: so many random bytes.
    Garbage(u32),
    /// `patch` with `offset` and `data`: these bytes in that place.
    Patch {
        /// Where, in bytes from the start of the data.
        offset: u32,
        /// What.
        data: Vec<u8>,
    },
    /// `replace` with `data`: these bytes and nothing else.
    Replace(Vec<u8>),
    /// `omit-group` with `group`: RTPG data without that group.
    OmitGroup(u16),
}

const ACTIONS: [&str; 17] = [
    "busy",
    "task-set-full",
    "reservation-conflict",
    "task-aborted",
    "check",
    "hang",
    "transport",
    "late-start",
    "late-answer",
    "ignore-abort",
    "short",
    "growing",
    "endless",
    "garbage",
    "patch",
    "replace",
    "omit-group",
];

/// Reads one `[[fault]]` table.
pub(crate) fn parse(t: &mut Table<'_>) -> Result<Fault, Problem> {
    Ok(Fault {
        name: t.need("name")?.string()?,
        armed: t.or("armed", true, Field::bool)?,
        initiator: t.maybe("initiator", Field::string)?,
        port: t.maybe("port", Field::u16)?,
        unit: t.maybe("unit", Field::string)?,
        commands: t
            .or("command", Vec::new(), |field| field.list().into_iter().map(command).collect())?,
        opcode: t.maybe("opcode", Field::u8)?,
        functions: t
            .or("function", Vec::new(), |field| field.list().into_iter().map(function).collect())?,
        skip: t.or("skip", 0, Field::u32)?,
        count: t.maybe("count", Field::u32)?,
        per_mille: t
            .or("per_mille", 1000, |field| field.integer(0, 1000).map(|value| value as u16))?,
        action: action(t)?,
    })
}

fn command(field: Field<'_>) -> Result<Command, Problem> {
    let mut names: Vec<(&str, Command)> = Command::all().map(|c| (c.name(), c)).collect();
    names.push((Command::Other.name(), Command::Other));
    field.choice(&names)
}

fn function(field: Field<'_>) -> Result<Function, Problem> {
    field.choice(&Function::NAMES)
}

fn action(t: &mut Table<'_>) -> Result<FaultAction, Problem> {
    Ok(match t.need("action")?.choice(&ACTIONS.map(|name| (name, name)))? {
        "busy" => FaultAction::Status(Status::Busy),
        "task-set-full" => FaultAction::Status(Status::TaskSetFull),
        "reservation-conflict" => FaultAction::Status(Status::ReservationConflict),
        "task-aborted" => FaultAction::Status(Status::TaskAborted),
        "check" => FaultAction::Check(t.need("sense")?.sense_triple()?),
        "hang" => FaultAction::Hang { runs: t.or("runs", false, Field::bool)? },
        "transport" => FaultAction::Transport {
            error: t.or("error", TransportError::Disrupted, |field| {
                field.choice(&[
                    ("no-connect", TransportError::NoConnect),
                    ("disrupted", TransportError::Disrupted),
                    ("error", TransportError::Error),
                ])
            })?,
            runs_after: t.maybe("runs_after", Field::duration)?,
        },
        "late-start" => FaultAction::LateStart(t.need("delay")?.duration()?),
        "late-answer" => FaultAction::LateAnswer(t.need("delay")?.duration()?),
        "ignore-abort" => FaultAction::IgnoreAbort(t.need("delay")?.duration()?),
        "short" => FaultAction::Short(t.need("bytes")?.u32()?),
        "growing" => FaultAction::Growing(t.need("step")?.u32()?),
        "endless" => FaultAction::Endless,
        "garbage" => FaultAction::Garbage(t.need("bytes")?.integer(0, MOST_DATA)? as u32),
        "patch" => FaultAction::Patch {
            offset: t.need("offset")?.integer(0, MOST_DATA)? as u32,
            data: t.need("data")?.bytes()?,
        },
        "replace" => FaultAction::Replace(t.need("data")?.bytes()?),
        _ => FaultAction::OmitGroup(t.need("group")?.u16()?),
    })
}

/// The most bytes that a fault makes up.
pub(crate) const MOST_DATA: u64 = 1 << 20;
