//! From TOML to [`Config`].

use std::ops::Range;

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use toml::de::DeTable;

use super::error::{ConfigError, Flaw, Problem};
use super::reader::{Field, Table};
use super::{
    AluaSettings, ArraySettings, Config, ControllerConfig, ExtendedHeader, GroupConfig, PortConfig,
    Segment, StpgBehaviour, Transition, TransitionAnswer, UnitConfig, check,
};
use crate::event;
use crate::event::Event;
use crate::fault;
use crate::sense::{SenseCode, SenseTriple};
use crate::time::Time;

/// The states as the file writes them.
const STATES: [(&str, AccessState); 7] = [
    ("active/optimized", AccessState::ActiveOptimized),
    ("active/non-optimized", AccessState::ActiveNonOptimized),
    ("standby", AccessState::Standby),
    ("unavailable", AccessState::Unavailable),
    ("lba-dependent", AccessState::LbaDependent),
    ("offline", AccessState::Offline),
    ("transitioning", AccessState::Transitioning),
];

/// The whole file.
pub(super) fn config(text: &str) -> Result<Config, Problem> {
    let root = parse(text)?;
    let mut file = Table::new("the file", root.get_ref(), 0..0);
    let array = match file.get("array") {
        Some(field) => array(section(field, "[array]")?)?,
        None => ArraySettings::default(),
    };
    let alua = match file.get("alua") {
        Some(field) => alua(section(field, "[alua]")?, &AluaSettings::default())?,
        None => AluaSettings::default(),
    };
    let config = Config {
        array,
        controllers: each(file.tables("controller")?, controller)?,
        groups: each(file.tables("group")?, group)?,
        ports: each(file.tables("port")?, port)?,
        units: each(file.tables("unit")?, unit)?,
        faults: each(file.tables("fault")?, fault::parse)?,
        script: each(file.tables("event")?, |table| timed_event(table, &alua))?,
        alua,
    };
    file.finish()?;
    check::config(&config).map_err(|flaw| place(&flaw, root.get_ref()))?;
    Ok(config)
}

/// A file of events for `config`.
pub(super) fn script(config: &Config, text: &str) -> Result<Vec<(Time, Event)>, Problem> {
    let root = parse(text)?;
    let mut file = Table::new("the script", root.get_ref(), 0..0);
    let events = each(file.tables("event")?, |table| timed_event(table, &config.alua))?;
    file.finish()?;
    check::script(config, &events).map_err(|flaw| place(&flaw, root.get_ref()))?;
    Ok(events)
}

/// A single event, keys only.
pub(crate) fn one_event(text: &str, base: &AluaSettings) -> Result<Event, ConfigError> {
    let read = || {
        let root = parse(text)?;
        let mut table = Table::new("the event", root.get_ref(), 0..0);
        let event = event::parse(&mut table, base)?;
        table.finish()?;
        Ok(event)
    };
    read().map_err(|problem: Problem| problem.locate("event", text))
}

fn parse(text: &str) -> Result<toml::Spanned<DeTable<'_>>, Problem> {
    DeTable::parse(text).map_err(|error| {
        Problem::new(error.span().unwrap_or(0..0), error.message().trim(), "the file is TOML 1.0")
    })
}

fn section<'a>(field: Field<'a>, name: &str) -> Result<Table<'a>, Problem> {
    field.table().map(|table| table.named(name))
}

fn each<'a, T>(
    tables: Vec<Table<'a>>,
    mut read: impl FnMut(&mut Table<'a>) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let mut all = Vec::with_capacity(tables.len());
    for mut table in tables {
        all.push(read(&mut table)?);
        table.finish()?;
    }
    Ok(all)
}

/// Where a flaw stands in the text: the key's value, else the entry, else the table.
fn place(flaw: &Flaw, root: &DeTable<'_>) -> Problem {
    Problem::new(span_of(flaw, root).unwrap_or(0..0), &*flaw.message, &*flaw.help)
}

fn span_of(flaw: &Flaw, root: &DeTable<'_>) -> Option<Range<usize>> {
    let mut value = root.get(flaw.table)?;
    if let Some(index) = flaw.index {
        value = value.get_ref().get(index)?;
    }
    let key = flaw.key.and_then(|key| value.get_ref().as_table()?.get(key));
    Some(key.unwrap_or(value).span())
}

fn array(mut table: Table<'_>) -> Result<ArraySettings, Problem> {
    let t = &mut table;
    let default = ArraySettings::default();
    let settings = ArraySettings {
        name: t.or("name", default.name, Field::string)?,
        vendor: t.or("vendor", default.vendor, Field::string)?,
        product: t.or("product", default.product, Field::string)?,
        revision: t.or("revision", default.revision, Field::string)?,
        device_type: t.or("device_type", default.device_type, Field::u8)?,
        seed: t.or("seed", default.seed, Field::u64)?,
        queue_depth: t.or("queue_depth", default.queue_depth, Field::u32)?,
        command_time: t.or("command_time", default.command_time, Field::duration)?,
        non_optimized_time: t.or(
            "non_optimized_time",
            default.non_optimized_time,
            Field::duration,
        )?,
        jitter: t.or("jitter", default.jitter, Field::duration)?,
        connect_attention: t.maybe("connect_attention", Field::sense_code)?,
        task_aborted_status: t.or(
            "task_aborted_status",
            default.task_aborted_status,
            Field::bool,
        )?,
        descriptor_sense: t.or("descriptor_sense", default.descriptor_sense, Field::bool)?,
    };
    table.finish()?;
    Ok(settings)
}

/// Reads the keys of `[alua]`; those that are absent are taken from `base`.
pub(crate) fn alua(mut table: Table<'_>, base: &AluaSettings) -> Result<AluaSettings, Problem> {
    let t = &mut table;
    let settings = AluaSettings {
        tpgs: t.or("tpgs", base.tpgs, Field::tpgs)?,
        supported: t.or("supported", base.supported, Field::states)?,
        supported_byte: t.maybe("supported_byte", Field::u8)?.or(base.supported_byte),
        other_state: t.or("other_state", base.other_state, Field::state)?,
        transition: t.or("transition", base.transition, Field::transition)?,
        transition_time_shown: t.or(
            "transition_time_shown",
            base.transition_time_shown,
            Field::u8,
        )?,
        others_in_transition: t
            .maybe("others_in_transition", Field::state)?
            .or(base.others_in_transition),
        transition_answer: t.or("transition_answer", base.transition_answer, |field| {
            field.choice(&[
                ("not-ready", TransitionAnswer::NotReady),
                ("unit-attention", TransitionAnswer::UnitAttention),
                ("busy", TransitionAnswer::Busy),
            ])
        })?,
        rtpg_in_transition: t.or("rtpg_in_transition", base.rtpg_in_transition, Field::bool)?,
        attention_at_start: t.or("attention_at_start", base.attention_at_start, Field::bool)?,
        attention_to_requester: t.or(
            "attention_to_requester",
            base.attention_to_requester,
            Field::bool,
        )?,
        attention_to_changed_group: t.or(
            "attention_to_changed_group",
            base.attention_to_changed_group,
            Field::bool,
        )?,
        stpg: t.or("stpg", base.stpg, |field| {
            field.choice(&[
                ("accepted", StpgBehaviour::Accepted),
                ("refused-parameter", StpgBehaviour::RefusedParameter),
                ("failed", StpgBehaviour::Failed),
                ("half", StpgBehaviour::Half),
                ("ignored", StpgBehaviour::Ignored),
            ])
        })?,
        stpg_demotes: t.or("stpg_demotes", base.stpg_demotes, Field::bool)?,
        extended_header: t.or("extended_header", base.extended_header, |field| {
            field.choice(&[
                ("accepted", ExtendedHeader::Accepted),
                ("refused", ExtendedHeader::Refused),
                ("ignored", ExtendedHeader::Ignored),
                ("uncounted", ExtendedHeader::Uncounted),
            ])
        })?,
        extended_header_sense: t.or(
            "extended_header_sense",
            base.extended_header_sense,
            Field::sense_code,
        )?,
        unit_designator: t.or("unit_designator", base.unit_designator, Field::bool)?,
        group_designator: t.or("group_designator", base.group_designator, Field::bool)?,
        port_designator: t.or("port_designator", base.port_designator, Field::bool)?,
        read_capacity_in_standby: t.or(
            "read_capacity_in_standby",
            base.read_capacity_in_standby,
            Field::bool,
        )?,
        reset_keeps_states: t.or("reset_keeps_states", base.reset_keeps_states, Field::bool)?,
    };
    table.finish()?;
    Ok(settings)
}

fn controller(t: &mut Table<'_>) -> Result<ControllerConfig, Problem> {
    Ok(ControllerConfig { name: t.need("name")?.string()? })
}

fn group(t: &mut Table<'_>) -> Result<GroupConfig, Problem> {
    Ok(GroupConfig {
        id: t.need("id")?.u16()?,
        controller: t.need("controller")?.string()?,
        supported: t.maybe("supported", Field::states)?,
        vendor: t.or("vendor", 0, Field::u8)?,
    })
}

fn port(t: &mut Table<'_>) -> Result<PortConfig, Problem> {
    Ok(PortConfig {
        id: t.need("id")?.u16()?,
        group: t.need("group")?.u16()?,
        link_time: t.or("link_time", std::time::Duration::ZERO, Field::duration)?,
        up: t.or("up", true, Field::bool)?,
    })
}

fn unit(t: &mut Table<'_>) -> Result<UnitConfig, Problem> {
    let default = UnitConfig::default();
    Ok(UnitConfig {
        name: t.need("name")?.string()?,
        lun: t.maybe("lun", Field::u16)?,
        count: t.or("count", 1, Field::u32)?,
        blocks: t.or("blocks", default.blocks, Field::u64)?,
        block_size: t.or("block_size", default.block_size, Field::u32)?,
        owner: t.or("owner", Vec::new(), |field| {
            field.list().into_iter().map(Field::string).collect()
        })?,
        prefer_owner: t.or("prefer_owner", false, Field::bool)?,
        states: t.or("states", Vec::new(), |field| {
            let pairs = field.numbered()?;
            pairs.into_iter().map(|(id, state)| Ok((id, state.state()?))).collect()
        })?,
        segments: t
            .or("segments", Vec::new(), |field| field.list().into_iter().map(segment).collect())?,
        serial: t.maybe("serial", Field::string)?,
        naa: t.maybe("naa", Field::bytes)?,
        eui: t.maybe("eui", Field::bytes)?,
        scsi_name: t.maybe("scsi_name", Field::string)?,
        write_cache: t.or("write_cache", false, Field::bool)?,
        read_only: t.or("read_only", false, Field::bool)?,
    })
}

fn segment(field: Field<'_>) -> Result<Segment, Problem> {
    let mut t = field.table()?;
    let segment = Segment {
        first: t.need("first")?.u64()?,
        last: t.need("last")?.u64()?,
        group: t.need("group")?.u16()?,
    };
    t.finish()?;
    Ok(segment)
}

fn timed_event(t: &mut Table<'_>, base: &AluaSettings) -> Result<(Time, Event), Problem> {
    let at = Time::ZERO.after(t.need("at")?.duration()?);
    Ok((at, event::parse(t, base)?))
}

impl Field<'_> {
    /// An access state by its name in sysfs.
    pub(crate) fn state(self) -> Result<AccessState, Problem> {
        self.choice(&STATES)
    }

    /// A list of access states.
    pub(crate) fn states(self) -> Result<SupportedStates, Problem> {
        let mut states = SupportedStates::NONE;
        for item in self.list() {
            states = states.with(item.state()?);
        }
        Ok(states)
    }

    fn tpgs(self) -> Result<Tpgs, Problem> {
        self.choice(&[
            ("none", Tpgs::None),
            ("implicit", Tpgs::Implicit),
            ("explicit", Tpgs::Explicit),
            ("both", Tpgs::Both),
        ])
    }

    /// A length of time, or "never".
    pub(crate) fn transition(self) -> Result<Transition, Problem> {
        if self.str() == Ok("never") {
            return Ok(Transition::Never);
        }
        self.duration()
            .map(Transition::Takes)
            .map_err(|wrong| Problem { help: format!("{}; or \"never\"", wrong.help), ..wrong })
    }

    /// "2a/06".
    pub(crate) fn sense_code(self) -> Result<SenseCode, Problem> {
        SenseCode::from_text(self.str()?).ok_or_else(|| {
            self.wrong("is not a sense code", "ASC and ASCQ in hexadecimal: \"2a/06\"")
        })
    }

    /// "2/04/0a".
    pub(crate) fn sense_triple(self) -> Result<SenseTriple, Problem> {
        SenseTriple::from_text(self.str()?).ok_or_else(|| {
            self.wrong("is not sense data", "sense key, ASC and ASCQ in hexadecimal: \"2/04/0a\"")
        })
    }
}
