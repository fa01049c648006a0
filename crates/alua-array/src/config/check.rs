//! Whether the parts of a configuration fit together.

use std::collections::{BTreeMap, BTreeSet};

use alua_core::access::AccessState;

use super::error::Flaw;
use super::{Config, UnitConfig};
use crate::event::Event;
use crate::fault::{Fault, FaultAction};
use crate::nexus::TransportError;
use crate::time::Time;

/// The largest logical unit number: what the flat address method holds.
const MAX_LUN: u16 = 0x3fff;

/// The names and ids that a configuration has.
#[derive(Debug)]
pub(crate) struct Names {
    controllers: BTreeSet<String>,
    groups: BTreeSet<u16>,
    ports: BTreeSet<u16>,
    units: BTreeSet<String>,
    faults: BTreeSet<String>,
}

/// Checks everything.
pub(super) fn config(config: &Config) -> Result<(), Flaw> {
    settings(config)?;
    let names = Names {
        controllers: controllers(config)?,
        groups: groups(config)?,
        ports: ports(config)?,
        units: units(config)?,
        faults: BTreeSet::new(),
    };
    let names = Names { faults: faults(config, &names)?, ..names };
    events(&config.script, names)
}

/// Checks a script that is not part of the configuration.
pub(super) fn script(config: &Config, script: &[(Time, Event)]) -> Result<(), Flaw> {
    let mut names = Names::of(config);
    for (_, event) in &config.script {
        names.learn(event);
    }
    events(script, names)
}

/// The names of the units that one `[[unit]]` makes.
pub(crate) fn unit_names(unit: &UnitConfig) -> impl Iterator<Item = String> + '_ {
    (0..unit.count)
        .map(|at| if unit.count == 1 { unit.name.clone() } else { format!("{}{at}", unit.name) })
}

fn settings(config: &Config) -> Result<(), Flaw> {
    let a = &config.array;
    let flaw =
        |key, message: String, help: &str| Err(Flaw::new("array", None, Some(key), message, help));
    for (key, text, most) in
        [("vendor", &a.vendor, 8), ("product", &a.product, 16), ("revision", &a.revision, 4)]
    {
        if text.len() > most || !printable(text) {
            let help = format!("at most {most} printable ASCII characters");
            return flaw(key, format!("`{key}` cannot be \"{text}\""), &help);
        }
    }
    if a.name.is_empty() || a.name.len() > 32 || !printable(&a.name) {
        return flaw("name", "`name` is unfit".to_owned(), "1 to 32 printable ASCII characters");
    }
    if a.device_type > 31 {
        return flaw("device_type", "`device_type` is out of range".to_owned(), "0 to 31");
    }
    if a.queue_depth == 0 {
        return flaw("queue_depth", "`queue_depth` cannot be 0".to_owned(), "1 or more");
    }
    if config.alua.other_state == AccessState::Transitioning {
        return Err(Flaw::new(
            "alua",
            None,
            Some("other_state"),
            "`other_state` cannot be \"transitioning\"".to_owned(),
            "a state in which a group can stay",
        ));
    }
    Ok(())
}

fn printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

fn duplicate(table: &'static str, index: usize, key: &'static str, what: &str) -> Flaw {
    Flaw::new(table, Some(index), Some(key), format!("there is already a {table} {what}"), "")
}

/// "there is no group 7", with those that there are.
fn nobody<T: std::fmt::Display>(
    kind: &str,
    what: &str,
    those: impl IntoIterator<Item = T>,
) -> (String, String) {
    let mut list: Vec<String> = those.into_iter().map(|name| name.to_string()).collect();
    if list.len() > 12 {
        list.truncate(12);
        list.push("...".to_owned());
    }
    let help = if list.is_empty() {
        format!("the file has no {kind}")
    } else {
        format!("there are: {}", list.join(", "))
    };
    (format!("there is no {kind} {what}"), help)
}

fn controllers(config: &Config) -> Result<BTreeSet<String>, Flaw> {
    let mut names = BTreeSet::new();
    for (at, controller) in config.controllers.iter().enumerate() {
        if !names.insert(controller.name.clone()) {
            return Err(duplicate("controller", at, "name", &controller.name));
        }
    }
    if names.is_empty() {
        let message = "the array has no controller".to_owned();
        return Err(Flaw::new("controller", None, None, message, "add a [[controller]]"));
    }
    Ok(names)
}

fn groups(config: &Config) -> Result<BTreeSet<u16>, Flaw> {
    let mut ids = BTreeSet::new();
    for (at, group) in config.groups.iter().enumerate() {
        if !ids.insert(group.id) {
            return Err(duplicate("group", at, "id", &group.id.to_string()));
        }
        if !config.controllers.iter().any(|c| c.name == group.controller) {
            let (message, help) =
                nobody("controller", &group.controller, config.controllers.iter().map(|c| &c.name));
            return Err(Flaw::new("group", Some(at), Some("controller"), message, help));
        }
    }
    Ok(ids)
}

fn ports(config: &Config) -> Result<BTreeSet<u16>, Flaw> {
    let mut ids = BTreeSet::new();
    for (at, port) in config.ports.iter().enumerate() {
        if port.id == 0 {
            let message = "`id` cannot be 0".to_owned();
            return Err(Flaw::new("port", Some(at), Some("id"), message, "1 to 65535"));
        }
        if !ids.insert(port.id) {
            return Err(duplicate("port", at, "id", &port.id.to_string()));
        }
        if !config.groups.iter().any(|g| g.id == port.group) {
            let (message, help) =
                nobody("group", &port.group.to_string(), config.groups.iter().map(|g| g.id));
            return Err(Flaw::new("port", Some(at), Some("group"), message, help));
        }
    }
    Ok(ids)
}

fn units(config: &Config) -> Result<BTreeSet<String>, Flaw> {
    let mut names = BTreeSet::new();
    let mut luns = BTreeMap::new();
    for (at, unit) in config.units.iter().enumerate() {
        unit_values(at, unit)?;
        unit_references(config, at, unit)?;
        for name in unit_names(unit) {
            if !names.insert(name.clone()) {
                return Err(duplicate("unit", at, "name", &name));
            }
        }
        let Some(first) = unit.lun else { continue };
        for lun in u32::from(first)..u32::from(first) + unit.count {
            if lun > u32::from(MAX_LUN) {
                let message = format!("`lun` {lun} is out of range");
                let help = format!("0 to {MAX_LUN}, and `count` is added to it");
                return Err(Flaw::new("unit", Some(at), Some("lun"), message, help));
            }
            if let Some(other) = luns.insert(lun, &unit.name) {
                let message = format!("LUN {lun} is already that of unit {other}");
                return Err(Flaw::new("unit", Some(at), Some("lun"), message, ""));
            }
        }
    }
    Ok(names)
}

fn unit_values(at: usize, unit: &UnitConfig) -> Result<(), Flaw> {
    let flaw = |key, message: &str, help: &str| {
        Err(Flaw::new("unit", Some(at), Some(key), message.to_owned(), help))
    };
    if unit.name.is_empty() {
        return flaw("name", "`name` is empty", "");
    }
    if !(1..=u32::from(MAX_LUN) + 1).contains(&unit.count) {
        return flaw("count", "`count` is out of range", "1 to 16384");
    }
    if !matches!(unit.block_size, 512 | 4096) {
        return flaw("block_size", "`block_size` is not one that the model has", "512 or 4096");
    }
    if unit.blocks == 0 || unit.blocks > 1 << 50 {
        return flaw("blocks", "`blocks` is out of range", "1 to 1125899906842624 (2^50)");
    }
    if unit.naa.as_ref().is_some_and(|naa| !naa_is_whole(naa)) {
        return flaw("naa", "`naa` is not an NAA designator", NAA_HELP);
    }
    if unit.eui.as_ref().is_some_and(|eui| !matches!(eui.len(), 8 | 12 | 16)) {
        return flaw("eui", "`eui` is not an EUI-64 based designator", "8, 12 or 16 bytes");
    }
    if unit.scsi_name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 220) {
        return flaw("scsi_name", "`scsi_name` has an unfit length", "1 to 220 bytes");
    }
    if unit.serial.as_ref().is_some_and(|s| s.is_empty() || s.len() > 64 || !printable(s)) {
        return flaw("serial", "`serial` is unfit", "1 to 64 printable ASCII characters");
    }
    Ok(())
}

const NAA_HELP: &str = "8 bytes that begin with 2, 3 or 5, or 16 bytes that begin with 6";

fn naa_is_whole(naa: &[u8]) -> bool {
    let kind = naa.first().map(|byte| byte >> 4);
    matches!((naa.len(), kind), (8, Some(2 | 3 | 5)) | (16, Some(6)))
}

fn unit_references(config: &Config, at: usize, unit: &UnitConfig) -> Result<(), Flaw> {
    for owner in &unit.owner {
        if !config.controllers.iter().any(|c| c.name == *owner) {
            let (message, help) =
                nobody("controller", owner, config.controllers.iter().map(|c| &c.name));
            return Err(Flaw::new("unit", Some(at), Some("owner"), message, help));
        }
    }
    let unknown = |key, id: u16| {
        let (message, help) = nobody("group", &id.to_string(), config.groups.iter().map(|g| g.id));
        Err(Flaw::new("unit", Some(at), Some(key), message, help))
    };
    for &(id, _) in &unit.states {
        if !config.groups.iter().any(|g| g.id == id) {
            return unknown("states", id);
        }
    }
    for segment in &unit.segments {
        if !config.groups.iter().any(|g| g.id == segment.group) {
            return unknown("segments", segment.group);
        }
        if segment.first > segment.last || segment.last >= unit.blocks {
            let message =
                format!("the segment {}-{} is not on the unit", segment.first, segment.last);
            let help = format!("`first` to `last`, at most {}", unit.blocks - 1);
            return Err(Flaw::new("unit", Some(at), Some("segments"), message, help));
        }
    }
    Ok(())
}

fn faults(config: &Config, names: &Names) -> Result<BTreeSet<String>, Flaw> {
    let mut known = BTreeSet::new();
    for (at, fault) in config.faults.iter().enumerate() {
        if !known.insert(fault.name.clone()) {
            return Err(duplicate("fault", at, "name", &fault.name));
        }
        one_fault(fault, names).map_err(|(key, message, help)| {
            Flaw::new("fault", Some(at), Some(key), message, help)
        })?;
    }
    Ok(known)
}

/// A key, what is wrong with its value, and what would be right.
type Wrong = (&'static str, String, String);

fn one_fault(fault: &Fault, names: &Names) -> Result<(), Wrong> {
    names.port(fault.port)?;
    names.unit(fault.unit.as_ref())?;
    if let FaultAction::OmitGroup(group) = fault.action {
        names.group(group)?;
    }
    let of_functions = matches!(
        fault.action,
        FaultAction::Hang { .. }
            | FaultAction::Transport { .. }
            | FaultAction::Status(alua_core::spc::Status::Busy)
    );
    if !fault.functions.is_empty() && !of_functions {
        let help = "allowed with `function`: hang, transport, busy";
        return Err(("action", "no task management function ends so".into(), help.into()));
    }
    if let FaultAction::Transport { error: TransportError::NoConnect, runs_after: Some(_) } =
        fault.action
    {
        let message = "`no-connect` means that the command never left".into();
        let help = "leave `runs_after` out, or take \"disrupted\" or \"error\"".into();
        return Err(("runs_after", message, help));
    }
    if fault.per_mille > 1000 {
        return Err(("per_mille", "`per_mille` is out of range".into(), "0 to 1000".into()));
    }
    Ok(())
}

fn events(script: &[(Time, Event)], mut names: Names) -> Result<(), Flaw> {
    // The order in the file need not be that of the times.
    for (_, event) in script {
        names.learn(event);
    }
    for (at, (_, event)) in script.iter().enumerate() {
        one_event(event, &names).map_err(|(key, message, help)| {
            Flaw::new("event", Some(at), Some(key), message, help)
        })?;
    }
    Ok(())
}

fn one_event(event: &Event, names: &Names) -> Result<(), Wrong> {
    match event {
        Event::SetState { unit, group, seen_by, .. } => {
            names.unit(unit.as_ref())?;
            names.group(*group)?;
            seen_by.as_ref().map_or(Ok(()), |name| names.controller("seen_by", name))
        }
        Event::Switch { unit, to, .. } => {
            names.unit(unit.as_ref())?;
            names.controller("to", to)
        }
        Event::SetPreferred { unit, group, .. } => {
            names.unit(unit.as_ref())?;
            names.group(*group)
        }
        Event::UnitAttention { port, unit, .. } => {
            names.port(*port)?;
            names.unit(unit.as_ref())
        }
        Event::PortDown { port, .. } | Event::PortUp { port } => names.port(Some(*port)),
        Event::ControllerCrash { controller, .. } | Event::ControllerReturn { controller, .. } => {
            names.controller("controller", controller)
        }
        Event::Arm { fault } | Event::Disarm { fault } => {
            found("fault", "fault", fault, &names.faults).map_err(|(key, message, help)| {
                (key, message, format!("{help}; the event `fault` makes a new one"))
            })
        }
        Event::Fault { fault } => one_fault(fault, names),
        Event::Map { lun, unit, port, .. } => {
            lun_in_range(*lun)?;
            names.unit(Some(unit))?;
            names.port(*port)
        }
        Event::Unmap { lun, port, .. } => {
            lun_in_range(*lun)?;
            names.port(*port)
        }
        Event::Resize { unit, blocks, .. } => {
            names.unit(Some(unit))?;
            if (1..=1 << 50).contains(blocks) {
                return Ok(());
            }
            Err(("blocks", "`blocks` is out of range".into(), "1 to 2^50".into()))
        }
        Event::SetIdentity { unit, naa, .. } => {
            names.unit(Some(unit))?;
            if naa_is_whole(naa) {
                return Ok(());
            }
            Err(("naa", "`naa` is not an NAA designator".into(), NAA_HELP.into()))
        }
        Event::FreezeReports { unit, .. }
        | Event::ResetUnit { unit }
        | Event::WriteProtect { unit, .. } => names.unit(unit.as_ref()),
        Event::NexusLoss { port, .. } => names.port(*port),
        Event::Split | Event::Heal | Event::PowerCycle { .. } | Event::SetAlua { .. } => Ok(()),
    }
}

fn lun_in_range(lun: u16) -> Result<(), Wrong> {
    if lun <= MAX_LUN {
        return Ok(());
    }
    Err(("lun", format!("`lun` {lun} is out of range"), format!("0 to {MAX_LUN}")))
}

fn found<T: Ord + std::fmt::Display>(
    key: &'static str,
    kind: &str,
    what: &T,
    those: &BTreeSet<T>,
) -> Result<(), Wrong> {
    if those.contains(what) {
        return Ok(());
    }
    let (message, help) = nobody(kind, &what.to_string(), those);
    Err((key, message, help))
}

impl Names {
    /// The names in a configuration that was found right.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            controllers: config.controllers.iter().map(|c| c.name.clone()).collect(),
            groups: config.groups.iter().map(|g| g.id).collect(),
            ports: config.ports.iter().map(|p| p.id).collect(),
            units: config.units.iter().flat_map(unit_names).collect(),
            faults: config.faults.iter().map(|f| f.name.clone()).collect(),
        }
    }

    /// Takes in the name of the fault that an event makes.
    pub(crate) fn learn(&mut self, event: &Event) {
        if let Event::Fault { fault } = event {
            self.faults.insert(fault.name.clone());
        }
    }

    /// Checks one event that no text belongs to.
    pub(crate) fn check(&self, event: &Event) -> Result<(), super::ConfigError> {
        one_event(event, self).map_err(|(key, message, help)| {
            Flaw::new("event", None, Some(key), message, help).without_text()
        })
    }

    fn controller(&self, key: &'static str, name: &String) -> Result<(), Wrong> {
        found(key, "controller", name, &self.controllers)
    }

    fn group(&self, id: u16) -> Result<(), Wrong> {
        found("group", "group", &id, &self.groups)
    }

    fn port(&self, id: Option<u16>) -> Result<(), Wrong> {
        id.map_or(Ok(()), |id| found("port", "port", &id, &self.ports))
    }

    fn unit(&self, name: Option<&String>) -> Result<(), Wrong> {
        name.map_or(Ok(()), |name| found("unit", "unit", name, &self.units))
    }
}
