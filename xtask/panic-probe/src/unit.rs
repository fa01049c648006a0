//! The logical unit's machine over storage that C hands in, as the kernel module holds it.

use alua_core::access::AccessState;
use alua_core::gate::Gate;
use alua_core::spc::Status;
use alua_core::spc::sense::Sense;
use alua_core::time::Time;
use alua_core::tpgs;
use alua_core::unit::{
    AddPathError, Command, CommandId, Config, Event, Group, LogicalUnit, NewPath, Outcome, Path,
    PathId, Target,
};

type Unit = LogicalUnit<&'static mut [Group], &'static mut [Path]>;

#[unsafe(no_mangle)]
pub fn probe_unit_new(
    groups: &'static mut [Group],
    paths: &'static mut [Path],
    config: Config,
    device_type: u8,
) -> Unit {
    let managed = tpgs::evaluate(device_type, alua_core::access::Tpgs::Both);
    LogicalUnit::new(None, managed, config, groups, paths)
}

#[unsafe(no_mangle)]
pub fn probe_unit_grow(
    unit: Unit,
    groups: &'static mut [Group],
    paths: &'static mut [Path],
) -> Option<Unit> {
    unit.with_storage(groups, paths).ok()
}

#[unsafe(no_mangle)]
pub fn probe_unit_go_over(
    unit: &mut Unit,
    groups: &'static mut [Group],
    paths: &'static mut [Path],
) -> bool {
    unit.replace_storage(groups, paths).is_ok()
}

#[unsafe(no_mangle)]
pub fn probe_unit_paths(
    unit: &mut Unit,
    new: NewPath<'_>,
    now: Time,
) -> Result<PathId, AddPathError> {
    let old = unit.paths().map(|(id, _)| id).last();
    if let Some(old) = old {
        unit.handle_transport_failure(old, now);
        unit.handle_success(old, now);
        unit.reread_identity(old, now);
        unit.remove_path(old, now);
    }
    unit.add_path(new, now)
}

#[unsafe(no_mangle)]
pub fn probe_unit_sense(unit: &mut Unit, path: PathId, sense: &[u8], now: Time) -> bool {
    Sense::parse(sense).is_ok_and(|sense| unit.handle_sense(path, &sense, now).not_executed)
}

#[unsafe(no_mangle)]
pub fn probe_unit_complete(
    unit: &mut Unit,
    id: CommandId,
    answer: u8,
    data: &[u8],
    now: Time,
) -> bool {
    let outcome = match answer {
        0 => Outcome::NotSubmitted,
        1 => Outcome::TransportFailed,
        2 => Outcome::TimedOut,
        code => Outcome::Answered { status: Status::from_code(code), sense: data, data },
    };
    unit.handle_completion(id, &outcome, now)
}

#[unsafe(no_mangle)]
pub fn probe_unit_requests(unit: &mut Unit, targets: &[Target], group: u16, now: Time) -> bool {
    unit.refresh(now);
    unit.set_managed(tpgs::evaluate(0, alua_core::access::Tpgs::Implicit), now);
    unit.activate(group, now).is_ok() && unit.set_states(targets, true, now).is_ok()
}

#[unsafe(no_mangle)]
pub fn probe_unit_poll(
    unit: &mut Unit,
    now: Time,
    data_out: &mut [u8],
) -> (Option<Command>, Option<Event>, Option<Time>, usize, u8) {
    let command = unit.poll_command(now);
    let written = command.and_then(|command| command.write_data_out(data_out).ok()).unwrap_or(0);
    let first = command.map_or(0, |command| *command.cdb().padded().first().unwrap_or(&0));
    (command, unit.poll_event(), unit.poll_deadline(), written, first)
}

#[unsafe(no_mangle)]
pub fn probe_unit_look(unit: &mut Unit, path: PathId) -> (Option<AccessState>, bool, bool) {
    let passes = unit.gate(path) == Gate::Pass;
    let group = unit.groups().next().map(|group| group.id());
    let known = group.and_then(|id| unit.group(id)).is_some_and(|group| group.preferred());
    let telling = unit.is_preferred(path) || unit.is_contradicted(path) || unit.is_busy();
    unit.shut_down();
    (unit.access(path).state, passes, known || telling)
}
