//! What an array is made of, as plain values and as a TOML file.
//!
//! The keys of the file are described in `docs/array-file.md`; each field here says which key it
//! is. A configuration made in code goes through the same checks as one from a file.

mod check;
mod error;
mod parse;
mod reader;

use std::time::Duration;

use alua_core::access::{AccessState, SupportedStates, Tpgs};

pub(crate) use check::{Names, unit_names};
pub use error::ConfigError;
pub(crate) use error::Problem;
pub(crate) use parse::{alua, one_event};
pub(crate) use reader::{Field, Table};

use crate::event::Event;
use crate::fault::Fault;
use crate::sense::SenseCode;
use crate::time::Time;

/// A whole array: its parts, its habits, its faults and its script.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Config {
    /// `[array]`.
    pub array: ArraySettings,
    /// `[alua]`.
    pub alua: AluaSettings,
    /// `[[controller]]`.
    pub controllers: Vec<ControllerConfig>,
    /// `[[group]]`: target port groups.
    pub groups: Vec<GroupConfig>,
    /// `[[port]]`: target ports.
    pub ports: Vec<PortConfig>,
    /// `[[unit]]`: logical units.
    pub units: Vec<UnitConfig>,
    /// `[[fault]]`.
    pub faults: Vec<Fault>,
    /// `[[event]]`: what happens at which time.
    pub script: Vec<(Time, Event)>,
}

/// `[array]`: who the array is and how fast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArraySettings {
    /// `name`: part of the serial numbers and of the ports' SCSI names.
    pub name: String,
    /// `vendor`: T10 vendor identification, at most 8 printable ASCII characters.
    pub vendor: String,
    /// `product`: at most 16 printable ASCII characters.
    pub product: String,
    /// `revision`: at most 4 printable ASCII characters.
    pub revision: String,
    /// `device_type`: peripheral device type, 0 (disk) to 31.
    pub device_type: u8,
    /// `seed`: of every random choice.
    pub seed: u64,
    /// `queue_depth`: commands that one unit holds at once from all nexuses; one more is answered
    /// TASK SET FULL.
    pub queue_depth: u32,
    /// `command_time`: from submission to completion through an optimized group.
    pub command_time: Duration,
    /// `non_optimized_time`: what reading and writing takes longer through any other group.
    pub non_optimized_time: Duration,
    /// `jitter`: a random time up to this is added to each command.
    pub jitter: Duration,
    /// `connect_attention`: the unit attention that a new nexus finds on every unit.
    pub connect_attention: Option<SenseCode>,
    /// `task_aborted_status`: whether a command that another nexus aborts is answered TASK ABORTED.
    /// Otherwise its nexus never hears of it.
    pub task_aborted_status: bool,
    /// `descriptor_sense`: sense data in descriptor format.
    pub descriptor_sense: bool,
}

impl Default for ArraySettings {
    fn default() -> Self {
        Self {
            name: "array".to_owned(),
            vendor: "ALUA".to_owned(),
            product: "MODEL ARRAY".to_owned(),
            revision: "1".to_owned(),
            device_type: 0,
            seed: 0,
            queue_depth: 1024,
            command_time: Duration::from_micros(200),
            non_optimized_time: Duration::from_micros(300),
            jitter: Duration::ZERO,
            connect_attention: None,
            task_aborted_status: true,
            descriptor_sense: false,
        }
    }
}

/// `[alua]`: how the array manages asymmetric access. Every deviation of deployed arrays has its
/// switch here; an event may turn them while the array runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AluaSettings {
    /// `tpgs`: the TPGS field of standard INQUIRY data.
    pub tpgs: Tpgs,
    /// `supported`: the states that a group supports, where the group does not say.
    pub supported: SupportedStates,
    /// `supported_byte`: what RTPG shows as supported states whatever is true.
    pub supported_byte: Option<u8>,
    /// `other_state`: the state of the groups that do not own a unit.
    pub other_state: AccessState,
    /// `transition`: how long a change of state takes where nothing else is said.
    pub transition: Transition,
    /// `transition_time_shown`: implicit transition time in the extended header, seconds; 0 is
    /// "not given".
    pub transition_time_shown: u8,
    /// `others_in_transition`: the state in which the groups that are not about to become active
    /// wait for the end of a transition. Absent: they keep theirs.
    pub others_in_transition: Option<AccessState>,
    /// `transition_answer`: how a command is refused in a transitioning group.
    pub transition_answer: TransitionAnswer,
    /// `rtpg_in_transition`: whether RTPG is answered through a transitioning group.
    pub rtpg_in_transition: bool,
    /// `attention_at_start`: 2A/06 also when a transition starts, not only at its end.
    pub attention_at_start: bool,
    /// `attention_to_requester`: 2A/06 also to the nexus that sent STPG.
    pub attention_to_requester: bool,
    /// `attention_to_changed_group`: 2A/06 only on the nexuses of the groups that changed, as LIO
    /// does it, not on those of every group.
    pub attention_to_changed_group: bool,
    /// `stpg`: what becomes of SET TARGET PORT GROUPS.
    pub stpg: StpgBehaviour,
    /// `stpg_demotes`: whether making one group optimized puts the other optimized groups in
    /// `other_state`.
    pub stpg_demotes: bool,
    /// `extended_header`: what becomes of RTPG with the extended header.
    pub extended_header: ExtendedHeader,
    /// `extended_header_sense`: the code under ILLEGAL REQUEST with which it is refused.
    pub extended_header_sense: SenseCode,
    /// `unit_designator`: page 83h names the logical unit.
    pub unit_designator: bool,
    /// `group_designator`: page 83h names the target port group (type 5).
    pub group_designator: bool,
    /// `port_designator`: page 83h names the relative target port (type 4).
    pub port_designator: bool,
    /// `read_capacity_in_standby`: READ CAPACITY is answered in standby, as LIO does.
    pub read_capacity_in_standby: bool,
    /// `reset_keeps_states`: a reset of a unit leaves its access states as they are; otherwise they
    /// are those of the start again, and nobody is told.
    pub reset_keeps_states: bool,
}

impl Default for AluaSettings {
    fn default() -> Self {
        Self {
            tpgs: Tpgs::Both,
            supported: SupportedStates::NONE
                .with(AccessState::ActiveOptimized)
                .with(AccessState::ActiveNonOptimized)
                .with(AccessState::Standby)
                .with(AccessState::Unavailable)
                .with(AccessState::Transitioning),
            supported_byte: None,
            other_state: AccessState::ActiveNonOptimized,
            transition: Transition::Takes(Duration::ZERO),
            transition_time_shown: 0,
            others_in_transition: None,
            transition_answer: TransitionAnswer::NotReady,
            rtpg_in_transition: true,
            attention_at_start: false,
            attention_to_requester: false,
            attention_to_changed_group: false,
            stpg: StpgBehaviour::Accepted,
            stpg_demotes: true,
            extended_header: ExtendedHeader::Accepted,
            extended_header_sense: SenseCode::INVALID_FIELD_IN_CDB,
            unit_designator: true,
            group_designator: true,
            port_designator: true,
            read_capacity_in_standby: true,
            reset_keeps_states: true,
        }
    }
}

/// How long a change of state takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// This long. Zero: the new state is there at once and nobody sees "transitioning".
    Takes(Duration),
    /// It never ends by itself; an event may end it.
    Never,
}

/// How a command that a transitioning group does not permit is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransitionAnswer {
    /// `not-ready`: CHECK CONDITION, NOT READY 04/0A.
    NotReady,
    /// `unit-attention`: CHECK CONDITION, UNIT ATTENTION 04/0A, as some deployed arrays do.
    UnitAttention,
    /// `busy`: status BUSY.
    Busy,
}

/// What becomes of SET TARGET PORT GROUPS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StpgBehaviour {
    /// `accepted`: carried out, in the time of `transition`.
    Accepted,
    /// `refused-parameter`: ILLEGAL REQUEST 26/00, nothing changes.
    RefusedParameter,
    /// `failed`: HARDWARE ERROR 67/0A, nothing changes.
    Failed,
    /// `half`: the first half of what had to change (rounded up) is changed, then HARDWARE ERROR
    /// 67/0A.
    Half,
    /// `ignored`: GOOD, and nothing changes.
    Ignored,
}

/// What becomes of RTPG with the extended header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExtendedHeader {
    /// `accepted`: answered in that format.
    Accepted,
    /// `refused`: ILLEGAL REQUEST with the code of `extended_header_sense`.
    Refused,
    /// `ignored`: answered length-only.
    Ignored,
    /// `uncounted`: answered in that format, but the RETURN DATA LENGTH and the transfer leave out
    /// the four bytes that the header has more, as Linux's own target does.
    Uncounted,
}

/// `[[controller]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControllerConfig {
    /// `name`.
    pub name: String,
}

/// `[[group]]`: a target port group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// `id`: the target port group identifier.
    pub id: u16,
    /// `controller`: the name of the controller that holds it.
    pub controller: String,
    /// `supported`: the states that it supports. Absent: those of `[alua]`.
    pub supported: Option<SupportedStates>,
    /// `vendor`: the vendor specific byte of its descriptor.
    pub vendor: u8,
}

/// `[[port]]`: a target port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// `id`: the relative target port identifier, not 0.
    pub id: u16,
    /// `group`: the id of its target port group.
    pub group: u16,
    /// `link_time`: what the way to this port adds to every command.
    pub link_time: Duration,
    /// `up`: whether the port works when the array starts.
    pub up: bool,
}

/// `[[unit]]`: a logical unit, or `count` of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitConfig {
    /// `name`: by which events and faults speak of it. With `count` the number of each, from 0, is
    /// added.
    pub name: String,
    /// `lun`: the logical unit number, 0 to 16383, the same through every port. Absent: the unit
    /// has none until an event maps it.
    pub lun: Option<u16>,
    /// `count`: makes this many, with successive numbers, identities and owners.
    pub count: u32,
    /// `blocks`: capacity in logical blocks.
    pub blocks: u64,
    /// `block_size`: bytes per logical block, 512 or 4096.
    pub block_size: u32,
    /// `owner`: the controllers whose groups are active/optimized. With `count` the owners take
    /// turns. Absent: every controller.
    pub owner: Vec<String>,
    /// `prefer_owner`: PREF is set on the owner's groups.
    pub prefer_owner: bool,
    /// `states`: the state of single groups, instead of what `owner` says.
    pub states: Vec<(u16, AccessState)>,
    /// `segments`: for LBA-dependent access, which group has which blocks.
    pub segments: Vec<Segment>,
    /// `serial`: unit serial number, printable ASCII. Absent: made from the array's name and the
    /// unit's number.
    pub serial: Option<String>,
    /// `naa`: NAA designator of the unit, 8 or 16 bytes.
    pub naa: Option<Vec<u8>>,
    /// `eui`: EUI-64 based designator of the unit, 8, 12 or 16 bytes.
    pub eui: Option<Vec<u8>>,
    /// `scsi_name`: SCSI name string designator of the unit.
    pub scsi_name: Option<String>,
    /// `write_cache`: writes stay volatile until a flush.
    pub write_cache: bool,
    /// `read_only`: writes are refused with DATA PROTECT.
    pub read_only: bool,
}

impl Default for UnitConfig {
    fn default() -> Self {
        Self {
            name: "unit".to_owned(),
            lun: None,
            count: 1,
            blocks: 2048,
            block_size: 512,
            owner: Vec::new(),
            prefer_owner: false,
            states: Vec::new(),
            segments: Vec::new(),
            serial: None,
            naa: None,
            eui: None,
            scsi_name: None,
            write_cache: false,
            read_only: false,
        }
    }
}

impl ControllerConfig {
    /// A controller of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

impl GroupConfig {
    /// A group of a controller, with the states of `[alua]`.
    #[must_use]
    pub fn new(id: u16, controller: &str) -> Self {
        Self { id, controller: controller.to_owned(), supported: None, vendor: 0 }
    }
}

impl PortConfig {
    /// A port of a group, up, without a way to it that takes time.
    #[must_use]
    pub const fn new(id: u16, group: u16) -> Self {
        Self { id, group, link_time: Duration::ZERO, up: true }
    }
}

/// A range of blocks and the group through which it is optimized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// `first`: the first block.
    pub first: u64,
    /// `last`: the last block.
    pub last: u64,
    /// `group`: the id of the target port group.
    pub group: u16,
}

impl Config {
    /// Reads an array file. `file` is the name that errors show.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the line, what is wrong with it and what is allowed: broken TOML, an
    /// unknown key, a value of the wrong type or out of range, a name that nothing has.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, ConfigError> {
        parse::config(text).map_err(|problem| problem.locate(file, text))
    }

    /// Reads the events of a script: a file with nothing but `[[event]]` tables, for this array.
    ///
    /// # Errors
    ///
    /// As [`Config::from_toml`].
    pub fn script_from_toml(
        &self,
        file: &str,
        text: &str,
    ) -> Result<Vec<(Time, Event)>, ConfigError> {
        parse::script(self, text).map_err(|problem| problem.locate(file, text))
    }

    /// Whether the parts fit together: what [`Array::new`](crate::Array::new) asks first.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, by table, number and key.
    pub fn check(&self) -> Result<(), ConfigError> {
        check::config(self).map_err(error::Flaw::without_text)
    }
}

#[cfg(test)]
mod tests;
