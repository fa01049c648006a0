//! What the tests share: a small initiator.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use alua_array::{Array, Event, NexusId, Outcome, Time};
use alua_core::access::AccessState;
use alua_core::spc::cdb::{Cdb, ReportFormat};
use alua_core::spc::target_port_groups::{GroupFields, Report, StpgDescriptor, encode_stpg};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const TUR: [u8; 6] = [0; 6];

/// Two controllers with a group and a port each, two units; `more` is added to the file.
pub(crate) fn array(more: &str) -> Array {
    let text = format!("{}\n{more}", include_str!("two-controllers.toml"));
    Array::from_toml("test.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends one command to LUN 0 and waits for it.
pub(crate) fn send(
    array: &mut Array,
    nexus: NexusId,
    cdb: &[u8],
    out: &[u8],
    room: usize,
) -> Outcome {
    send_to(array, nexus, 0, cdb, out, room)
}

pub(crate) fn send_to(
    array: &mut Array,
    nexus: NexusId,
    lun: u16,
    cdb: &[u8],
    out: &[u8],
    room: usize,
) -> Outcome {
    let done = array.execute(nexus, lun, 99, cdb, out, room, 60 * SECOND).unwrap();
    done.expect("the command ends").outcome
}

/// Sends a command without data and gives the outcome in short.
pub(crate) fn said(array: &mut Array, nexus: NexusId, cdb: &[u8]) -> String {
    send(array, nexus, cdb, &[], 4096).to_string()
}

/// Lets so many milliseconds pass.
pub(crate) fn pass(array: &mut Array, millis: u64) {
    let to = array.now().after(Duration::from_millis(millis));
    array.advance(to);
}

/// The groups that RTPG tells, read by the driver core's parser.
pub(crate) fn report(array: &mut Array, nexus: NexusId) -> Vec<GroupFields> {
    let (outcome, groups) = try_report(array, nexus, ReportFormat::Extended);
    assert!(outcome.is_good(), "{outcome}");
    groups
}

pub(crate) fn try_report(
    array: &mut Array,
    nexus: NexusId,
    format: ReportFormat,
) -> (Outcome, Vec<GroupFields>) {
    let cdb = Cdb::ReportTargetPortGroups { format, allocation_length: 4096 }.encode();
    let outcome = send(array, nexus, cdb.as_bytes(), &[], 4096);
    let groups = if outcome.is_good() {
        let report = Report::parse(outcome.data()).unwrap();
        report.groups().map(|group| group.fields()).collect()
    } else {
        Vec::new()
    };
    (outcome, groups)
}

/// The states that RTPG tells, as letters.
pub(crate) fn states(array: &mut Array, nexus: NexusId) -> String {
    report(array, nexus).iter().map(|group| group.state.letter()).collect()
}

pub(crate) fn stpg(array: &mut Array, nexus: NexusId, wanted: &[(u16, AccessState)]) -> Outcome {
    let list: Vec<StpgDescriptor> =
        wanted.iter().map(|&(id, state)| StpgDescriptor { id, state }).collect();
    let mut buffer = [0; 256];
    let length = encode_stpg(&list, &mut buffer).unwrap();
    let cdb = Cdb::SetTargetPortGroups { parameter_list_length: length as u32 }.encode();
    send(array, nexus, cdb.as_bytes(), &buffer[..length], 0)
}

pub(crate) fn apply(array: &mut Array, toml: &str) {
    let event =
        Event::from_toml(toml, &array.config().alua.clone()).unwrap_or_else(|e| panic!("{e}"));
    array.apply(&event).unwrap_or_else(|error| panic!("{error}"));
}

pub(crate) fn set_state(array: &mut Array, group: u16, state: AccessState) {
    apply(
        array,
        &format!("do = \"set-state\"\ngroup = {group}\nstate = \"{}\"\nquiet = true", state.name()),
    );
}

/// The unit attentions that wait on LUN 0.
pub(crate) fn waiting(array: &Array, nexus: NexusId) -> Vec<String> {
    array.attentions(nexus, 0).iter().map(ToString::to_string).collect()
}

pub(crate) fn write_16(lba: u64, blocks: u32) -> Vec<u8> {
    let mut cdb = vec![0x8a, 0];
    cdb.extend_from_slice(&lba.to_be_bytes());
    cdb.extend_from_slice(&blocks.to_be_bytes());
    cdb.extend_from_slice(&[0, 0]);
    cdb
}

pub(crate) fn read_16(lba: u64, blocks: u32) -> Vec<u8> {
    let mut cdb = write_16(lba, blocks);
    cdb[0] = 0x88;
    cdb
}

/// The first byte of a block of the first unit.
pub(crate) fn on_medium(array: &Array, lba: u64) -> u8 {
    let mut block = [0; 512];
    assert!(array.read_medium(0, lba, &mut block));
    block[0]
}

/// Runs everything that is due and gives what ended: the tag and the outcome in short.
pub(crate) fn drain(array: &mut Array, until: Time) -> Vec<(u64, String)> {
    array.advance(until);
    std::iter::from_fn(|| array.poll_completion())
        .map(|done| (done.tag, done.outcome.to_string()))
        .collect()
}
