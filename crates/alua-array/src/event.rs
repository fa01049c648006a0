//! What can happen to an array besides commands: by a script at a set time, or at any moment by
//! [`Array::apply`](crate::Array::apply).

use std::time::Duration;

use alua_core::access::AccessState;

use crate::config::{AluaSettings, Field, Problem, Table, Transition, alua};
use crate::fault::{self, Fault};
use crate::sense::SenseCode;

/// Something that happens to the array. Where `unit` is absent, it happens to every unit; where
/// `port` or `initiator` is absent, to every one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// `set-state`: a group enters an access state by itself (implicitly).
    SetState {
        /// `unit`: its name.
        unit: Option<String>,
        /// `group`: the id of the target port group.
        group: u16,
        /// `state`: the new state.
        state: AccessState,
        /// `transition`: how long it takes. Absent: at once.
        transition: Option<Transition>,
        /// `fails`: at the end of the transition the old state is back, with 2A/07.
        fails: bool,
        /// `seen_by`: only in the eyes of this controller; needs a split.
        seen_by: Option<String>,
        /// `quiet`: no unit attention.
        quiet: bool,
    },
    /// `switch`: the groups of one controller become active/optimized, all others go to
    /// `other_state`.
    Switch {
        /// `unit`: its name.
        unit: Option<String>,
        /// `to`: the name of the controller.
        to: String,
        /// `transition`: how long it takes. Absent: as `[alua]` says.
        transition: Option<Transition>,
        /// `fails`: at the end of the transition the old states are back, with 2A/07.
        fails: bool,
    },
    /// `set-preferred`: the PREF bit of a group.
    SetPreferred {
        /// `unit`: its name.
        unit: Option<String>,
        /// `group`: the id of the target port group.
        group: u16,
        /// `preferred`: the bit.
        preferred: bool,
        /// `quiet`: no unit attention.
        quiet: bool,
    },
    /// `unit-attention`: a condition is established.
    UnitAttention {
        /// `initiator`: its name.
        initiator: Option<String>,
        /// `port`: relative target port id.
        port: Option<u16>,
        /// `unit`: its name.
        unit: Option<String>,
        /// `code`.
        code: SenseCode,
    },
    /// `port-down`: the link is lost. Every command in flight on it ends with a transport error.
    PortDown {
        /// `port`: relative target port id.
        port: u16,
        /// `tasks`: what the device server does with them.
        tasks: LostTasks,
    },
    /// `port-up`: the link is back; 29/07 waits on its nexuses.
    PortUp {
        /// `port`: relative target port id.
        port: u16,
    },
    /// `controller-crash`: its ports go down and its groups become unavailable.
    ControllerCrash {
        /// `controller`: its name.
        controller: String,
        /// `tasks`: what becomes of its commands.
        tasks: LostTasks,
        /// `lose_cache`: data that it wrote and nobody flushed is lost.
        lose_cache: bool,
        /// `takeover`: where no live group is left, the groups of the other controllers become
        /// active/optimized.
        takeover: bool,
        /// `transition`: how long the takeover takes. Absent: as `[alua]` says.
        transition: Option<Transition>,
    },
    /// `controller-return`: its ports come up with 29/00.
    ControllerReturn {
        /// `controller`: its name.
        controller: String,
        /// `giveback`: every unit has again the states that it had at the crash; otherwise the
        /// groups of the controller enter `other_state`.
        giveback: bool,
    },
    /// `split`: the controllers lose sight of each other. From now on each has its own view of
    /// every state.
    Split,
    /// `heal`: the controllers see each other again; each group has the state that its own
    /// controller says.
    Heal,
    /// `arm`: a fault begins to work, its `skip` and `count` from the start.
    Arm {
        /// `fault`: its name.
        fault: String,
    },
    /// `fault`: a fault begins that nobody has written down before, with the keys of `[[fault]]`. It
    /// takes the place of the one that has its name, and comes behind all others otherwise.
    Fault {
        /// The fault.
        fault: Box<Fault>,
    },
    /// `disarm`: a fault ends.
    Disarm {
        /// `fault`: its name.
        fault: String,
    },
    /// `map`: a logical unit number leads to a unit. Nothing tells a nexus that did not look.
    Map {
        /// `lun`: the logical unit number.
        lun: u16,
        /// `unit`: the name of the unit behind it.
        unit: String,
        /// `port`: only through this port.
        port: Option<u16>,
        /// `quiet`: no unit attention; otherwise 3F/0E.
        quiet: bool,
    },
    /// `unmap`: a logical unit number leads nowhere.
    Unmap {
        /// `lun`: the logical unit number.
        lun: u16,
        /// `port`: only through this port.
        port: Option<u16>,
        /// `quiet`: no unit attention; otherwise 3F/0E.
        quiet: bool,
    },
    /// `resize`: another capacity, with 2A/09. What lay behind a new end is gone.
    Resize {
        /// `unit`: its name.
        unit: String,
        /// `blocks`: the new number of blocks.
        blocks: u64,
        /// `quiet`: no unit attention.
        quiet: bool,
    },
    /// `set-identity`: the unit shows another NAA designator, and a serial number made of it, with
    /// 3F/05.
    SetIdentity {
        /// `unit`: its name.
        unit: String,
        /// `naa`: 8 or 16 bytes.
        naa: Vec<u8>,
        /// `quiet`: no unit attention.
        quiet: bool,
    },
    /// `freeze-reports`: for a while RTPG tells the states of this moment.
    FreezeReports {
        /// `unit`: its name.
        unit: Option<String>,
        /// `duration`: how long.
        duration: Duration,
    },
    /// `reset-unit`: as a logical unit reset: its commands are gone, 29/03 waits on every nexus.
    ResetUnit {
        /// `unit`: its name.
        unit: Option<String>,
    },
    /// `nexus-loss`: the device server loses the nexus: its commands are gone without an answer,
    /// 29/07 waits.
    NexusLoss {
        /// `initiator`: its name.
        initiator: Option<String>,
        /// `port`: relative target port id.
        port: Option<u16>,
    },
    /// `power-cycle`: every command ends with a transport error, reservations without APTPL are
    /// gone, 29/00 waits everywhere.
    PowerCycle {
        /// `lose_cache`: data that nobody flushed is lost.
        lose_cache: bool,
    },
    /// `set-alua`: other habits from now on. The TOML form changes the keys that it gives and
    /// leaves the others as the file's `[alua]` has them.
    SetAlua {
        /// `alua`: the keys of `[alua]`.
        alua: Box<AluaSettings>,
    },
    /// `write-protect`: writes are refused with DATA PROTECT, or no longer.
    WriteProtect {
        /// `unit`: its name.
        unit: Option<String>,
        /// `on`.
        on: bool,
    },
}

/// What the device server does with the commands of a link that is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LostTasks {
    /// `aborted`: none of them is carried out any more.
    Aborted,
    /// `run`: it does not know yet and carries them out (ghost writes), unless a logical unit reset,
    /// a preempt and abort or the nexus' end comes first.
    Run,
}

/// The names of all events, in the order of the documentation.
const NAMES: [&str; 23] = [
    "set-state",
    "switch",
    "set-preferred",
    "unit-attention",
    "port-down",
    "port-up",
    "controller-crash",
    "controller-return",
    "split",
    "heal",
    "arm",
    "fault",
    "disarm",
    "map",
    "unmap",
    "resize",
    "set-identity",
    "freeze-reports",
    "reset-unit",
    "nexus-loss",
    "power-cycle",
    "set-alua",
    "write-protect",
];

impl Event {
    /// Reads one event as a script writes it, without `[[event]]` and `at`:
    /// `do = "switch"`, newline, `to = "B"`. For interactive use; `base` are the settings that
    /// `set-alua` starts from. The names in it are checked by [`Array::apply`](crate::Array::apply).
    ///
    /// # Errors
    ///
    /// As [`Config::from_toml`](crate::Config::from_toml).
    pub fn from_toml(text: &str, base: &AluaSettings) -> Result<Self, crate::ConfigError> {
        crate::config::one_event(text, base)
    }
}

/// Reads an event from its table.
pub(crate) fn parse(t: &mut Table<'_>, base: &AluaSettings) -> Result<Event, Problem> {
    let kind = t.need("do")?.choice(&NAMES.map(|name| (name, name)))?;
    match kind {
        "set-state" | "switch" | "set-preferred" | "freeze-reports" | "split" | "heal"
        | "set-alua" => access_event(kind, t, base),
        "port-down" | "port-up" | "controller-crash" | "controller-return" | "nexus-loss"
        | "power-cycle" | "arm" | "fault" | "disarm" => machine_event(kind, t),
        _ => unit_event(kind, t),
    }
}

fn access_event(kind: &str, t: &mut Table<'_>, base: &AluaSettings) -> Result<Event, Problem> {
    Ok(match kind {
        "set-state" => Event::SetState {
            unit: t.maybe("unit", Field::string)?,
            group: t.need("group")?.u16()?,
            state: t.need("state")?.state()?,
            transition: t.maybe("transition", Field::transition)?,
            fails: t.or("fails", false, Field::bool)?,
            seen_by: t.maybe("seen_by", Field::string)?,
            quiet: t.or("quiet", false, Field::bool)?,
        },
        "switch" => Event::Switch {
            unit: t.maybe("unit", Field::string)?,
            to: t.need("to")?.string()?,
            transition: t.maybe("transition", Field::transition)?,
            fails: t.or("fails", false, Field::bool)?,
        },
        "set-preferred" => Event::SetPreferred {
            unit: t.maybe("unit", Field::string)?,
            group: t.need("group")?.u16()?,
            preferred: t.need("preferred")?.bool()?,
            quiet: t.or("quiet", false, Field::bool)?,
        },
        "freeze-reports" => Event::FreezeReports {
            unit: t.maybe("unit", Field::string)?,
            duration: t.need("duration")?.duration()?,
        },
        "split" => Event::Split,
        "heal" => Event::Heal,
        _ => {
            Event::SetAlua { alua: Box::new(alua(t.need("alua")?.table()?.named("`alua`"), base)?) }
        }
    })
}

fn machine_event(kind: &str, t: &mut Table<'_>) -> Result<Event, Problem> {
    Ok(match kind {
        "port-down" => Event::PortDown { port: t.need("port")?.u16()?, tasks: tasks(t)? },
        "port-up" => Event::PortUp { port: t.need("port")?.u16()? },
        "controller-crash" => Event::ControllerCrash {
            controller: t.need("controller")?.string()?,
            tasks: tasks(t)?,
            lose_cache: t.or("lose_cache", false, Field::bool)?,
            takeover: t.or("takeover", true, Field::bool)?,
            transition: t.maybe("transition", Field::transition)?,
        },
        "controller-return" => Event::ControllerReturn {
            controller: t.need("controller")?.string()?,
            giveback: t.or("giveback", false, Field::bool)?,
        },
        "nexus-loss" => Event::NexusLoss {
            initiator: t.maybe("initiator", Field::string)?,
            port: t.maybe("port", Field::u16)?,
        },
        "power-cycle" => Event::PowerCycle { lose_cache: t.or("lose_cache", false, Field::bool)? },
        "arm" => Event::Arm { fault: t.need("fault")?.string()? },
        "fault" => Event::Fault { fault: Box::new(fault::parse(t)?) },
        _ => Event::Disarm { fault: t.need("fault")?.string()? },
    })
}

fn unit_event(kind: &str, t: &mut Table<'_>) -> Result<Event, Problem> {
    Ok(match kind {
        "unit-attention" => Event::UnitAttention {
            initiator: t.maybe("initiator", Field::string)?,
            port: t.maybe("port", Field::u16)?,
            unit: t.maybe("unit", Field::string)?,
            code: t.need("code")?.sense_code()?,
        },
        "map" => Event::Map {
            lun: t.need("lun")?.u16()?,
            unit: t.need("unit")?.string()?,
            port: t.maybe("port", Field::u16)?,
            quiet: t.or("quiet", false, Field::bool)?,
        },
        "unmap" => Event::Unmap {
            lun: t.need("lun")?.u16()?,
            port: t.maybe("port", Field::u16)?,
            quiet: t.or("quiet", false, Field::bool)?,
        },
        "resize" => Event::Resize {
            unit: t.need("unit")?.string()?,
            blocks: t.need("blocks")?.u64()?,
            quiet: t.or("quiet", false, Field::bool)?,
        },
        "set-identity" => Event::SetIdentity {
            unit: t.need("unit")?.string()?,
            naa: t.need("naa")?.bytes()?,
            quiet: t.or("quiet", false, Field::bool)?,
        },
        "reset-unit" => Event::ResetUnit { unit: t.maybe("unit", Field::string)? },
        _ => {
            Event::WriteProtect { unit: t.maybe("unit", Field::string)?, on: t.need("on")?.bool()? }
        }
    })
}

fn tasks(t: &mut Table<'_>) -> Result<LostTasks, Problem> {
    t.or("tasks", LostTasks::Aborted, |field| {
        field.choice(&[("aborted", LostTasks::Aborted), ("run", LostTasks::Run)])
    })
}
