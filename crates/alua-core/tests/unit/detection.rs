//! Section 4.1 and what else decides which device is a path of which unit (rows A).

use alua_core::access::Tpgs;
use alua_core::cause::Cause;
use alua_core::gate::Gate;
use alua_core::spc::sense::SenseKey;
use alua_core::tpgs::AluaOff;
use alua_core::unit::{
    ActivationRefused, AddPathError, Config, Event, Group, IdentityCheck, LogicalUnit, NewPath,
    Path,
};

use crate::harness::*;

fn off(cause: AluaOff) -> Host {
    let mut host = Host::new(Tpgs::Both, Config::default());
    host.unit.set_managed(Err(cause), host.now);
    host
}

#[test]
fn a01_a02_a04_a05_a06_x13_without_alua_the_disk_works_and_nothing_is_sent() {
    for cause in [
        AluaOff::NotDisk { device_type: 1 },
        AluaOff::NotSupported,
        AluaOff::NoIdentification,
        AluaOff::NoGroup,
        AluaOff::GroupWithoutTpgs { group: 1 },
    ] {
        let mut host = off(cause);
        let path = host.add(Some(1));
        host.meet(path, NOT_READY, 0x04, 0x0a);
        host.meet(path, ATTENTION, 0x2a, 0x06);
        host.unit.refresh(host.now);
        host.run(|_| panic!("a command where ALUA is off"));
        assert_eq!(host.unit.gate(path), Gate::Pass);
        assert_eq!(host.unit.access(path).state, None);
        assert_eq!(host.unit.access(path).cause, Cause::AluaOff(cause));
        assert_eq!(host.unit.activate(1, host.now), Err(ActivationRefused::AluaOff));
    }
}

#[test]
fn a06_x13_a_path_without_a_group_is_a_path() {
    let mut host = Host::new(Tpgs::Both, Config::default());
    let path = host.add(None);
    assert_eq!(host.unit.gate(path), Gate::Pass);
    assert_eq!(host.unit.access(path).cause, Cause::NoGroup);
    host.meet(path, NOT_READY, 0x04, 0x0b);
    assert_eq!(host.path_state(path), Some(SBY), "its own word is all there is");
}

#[test]
fn a08_the_relative_port_may_be_missing() {
    let mut host = Host::new(Tpgs::Both, Config::default());
    let name = name(1);
    let new = NewPath { name: Some(&name), group: Some(7), relative_port: None };
    let path = host.unit.add_path(new, host.now).unwrap();
    host.run(|_| report(&[(7, AN)]));
    assert_eq!(host.path_state(path), Some(AN));
    assert_eq!(host.unit.path(path).unwrap().relative_port(), None);
}

#[test]
fn a10_a11_paths_of_one_group_share_it() {
    let (host, paths) = Host::known(Tpgs::Both, Config::default(), &[5, 5, 5], &[(5, AN)]);
    assert_eq!(host.unit.groups().count(), 1);
    assert!(paths.iter().all(|&path| host.path_state(path) == Some(AN)));
}

#[test]
fn a12_r4_one_group_id_on_two_units_is_two_groups() {
    let (mut one, ones) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    let (other, others) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    one.meet(ones[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(one.path_state(ones[0]), Some(TRANS));
    assert_eq!(other.path_state(others[0]), Some(AO));
}

#[test]
fn a10_r4_a_path_of_another_unit_is_refused() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    let other = name(2);
    let new = NewPath { name: Some(&other), group: Some(1), relative_port: Some(1) };
    assert_eq!(host.unit.add_path(new, host.now), Err(AddPathError::OtherUnit));
    let nameless = NewPath { name: None, group: Some(1), relative_port: Some(1) };
    assert_eq!(host.unit.add_path(nameless, host.now), Err(AddPathError::OtherUnit));
    assert_eq!(host.unit.paths().count(), 1);
}

fn nameless() -> LogicalUnit<[Group; 2], [Path; 2]> {
    LogicalUnit::new(
        None,
        Ok(managed(Tpgs::Both)),
        Config::default(),
        [Group::default(); 2],
        [Path::default(); 2],
    )
}

fn nameless_host() -> Host {
    let mut host = Host::new(Tpgs::Both, Config::default());
    host.unit = LogicalUnit::new(
        None,
        Ok(managed(Tpgs::Both)),
        Config::default(),
        [Group::default(); 4],
        [Path::default(); 8],
    );
    host
}

#[test]
fn a13_two_devices_without_a_name_are_never_one_unit() {
    let mut unit = nameless();
    let new = NewPath { name: None, group: Some(1), relative_port: Some(1) };
    let now = alua_core::time::Time::ZERO;
    unit.add_path(new, now).unwrap();
    assert_eq!(unit.add_path(new, now), Err(AddPathError::OtherUnit));
    let named = name(1);
    let named = NewPath { name: Some(&named), ..new };
    assert_eq!(unit.add_path(named, now), Err(AddPathError::OtherUnit));
}

/// Nothing was known of who is behind the path, and an array that refuses page 83h says nothing of it.
#[test]
fn a13_x13_a_disk_that_never_told_who_it_is_is_not_doubted_for_long() {
    let mut host = nameless_host();
    let new = NewPath { name: None, group: None, relative_port: None };
    let path = host.unit.add_path(new, host.now).unwrap();
    host.run(|_| report(&[(1, AO)]));
    let inquiry_changed = sense(SenseKey::UnitAttention, 0x3f, 0x03);
    host.unit.handle_sense(path, &inquiry_changed, host.now);
    assert_ne!(host.unit.gate(path), Gate::Pass);
    let read = host.next_at_deadline();
    assert_eq!(kind(&read), "INQUIRY");
    host.answer(&read, &Answer::Check(SenseKey::IllegalRequest, 0x24, 0));
    assert_eq!(host.unit.path(path).unwrap().identity(), IdentityCheck::Verified);
    assert_eq!(host.unit.gate(path), Gate::Pass);
}

#[test]
fn a14_reg_25_a_unit_without_a_name_learns_its_states() {
    let mut host = nameless_host();
    let new = NewPath { name: None, group: Some(1), relative_port: Some(1) };
    let path = host.unit.add_path(new, host.now).unwrap();
    host.run(|_| report(&[(1, SBY)]));
    assert_eq!(host.path_state(path), Some(SBY));
}

#[test]
fn a15_full_storage_is_an_error_value_that_changes_nothing() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2, 3, 4]);
    let name = name(1);
    let fifth = NewPath { name: Some(&name), group: Some(5), relative_port: None };
    assert_eq!(host.unit.add_path(fifth, host.now), Err(AddPathError::GroupsFull(4)));
    for _ in 0..4 {
        host.add(Some(4));
    }
    let ninth = NewPath { name: Some(&name), group: Some(1), relative_port: None };
    assert_eq!(host.unit.add_path(ninth, host.now), Err(AddPathError::PathsFull(8)));
    assert_eq!(host.unit.paths().count(), 8);
    assert_eq!(host.unit.groups().count(), 4);
}

#[test]
fn a15_a_unit_moves_to_larger_storage_with_all_it_knows() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.meet(paths[1], NOT_READY, 0x04, 0x0b);
    let small = host.unit.clone().with_storage([Group::default(); 1], [Path::default(); 9]);
    assert!(small.is_err(), "too small comes back");
    let grown = host.unit.with_storage(vec![Group::default(); 9], vec![Path::default(); 9]);
    let grown = grown.unwrap();
    assert_eq!(grown.access(paths[0]).state, Some(AO));
    assert_eq!(grown.access(paths[1]).state, Some(SBY));
    assert_eq!(grown.paths().count(), 2);
}

#[test]
fn a15_a_unit_goes_over_to_larger_storage_where_it_stands() {
    let (host, paths) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    let vectors = |groups, paths| (vec![Group::default(); groups], vec![Path::default(); paths]);
    let (groups, places) = vectors(4, 8);
    let Ok(mut unit) = host.unit.with_storage(groups, places) else { panic!("large enough") };
    let (groups, places) = vectors(9, 2);
    let too_small = unit.replace_storage(groups, places).unwrap_err();
    assert_eq!((too_small.0.len(), too_small.1.len()), (9, 2), "the new storage comes back");
    let (groups, places) = vectors(16, 16);
    let old = unit.replace_storage(groups, places).unwrap();
    assert_eq!((old.0.len(), old.1.len()), (4, 8), "the old storage comes back");
    assert_eq!(unit.access(paths[0]).state, Some(AO));
    assert_eq!(unit.access(paths[1]).state, Some(AN));
    assert_eq!(unit.paths().count(), 2);
}

#[test]
fn a16_r11_a_new_group_is_unknown_not_optimized() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    assert_eq!(host.state(1), None);
    assert_eq!(host.unit.group(1).unwrap().cause(), Cause::NeverRead);
    assert_eq!(host.unit.group(1).unwrap().supported(), None);
    assert_eq!(host.path_state(paths[0]), None);
    host.drain();
    assert_eq!(host.news(), [], "unknown is not news");
}

#[test]
fn a17_a_new_path_is_followed_by_a_report() {
    let (mut host, _) = Host::with_paths(Tpgs::Implicit, Config::default(), &[1]);
    assert_eq!(host.unit.poll_deadline(), Some(host.at(5)));
    let first = host.next_at_deadline();
    assert_eq!(kind(&first), "RTPG");
}

#[test]
fn a17_a_path_to_a_known_group_needs_none() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    let late = host.add(Some(1));
    host.run(|_| panic!("the state is known"));
    assert_eq!(host.path_state(late), Some(AO));
    assert!(matches!(
        host.news()[..],
        [Event::Path { path, from: None, to: Some(AO), .. }] if path == late
    ));
}

#[test]
fn a18_a_path_changes_its_group() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, SBY)]);
    host.unit.reread_identity(paths[0], host.now);
    assert_ne!(host.unit.gate(paths[0]), Gate::Pass, "no I/O before it was read");
    host.run(|command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(9), Some(2))),
        _ => report(&[(1, AO), (2, SBY)]),
    });
    assert_eq!(host.path_state(paths[0]), Some(SBY));
    let path = host.unit.path(paths[0]).unwrap();
    assert_eq!((path.group(), path.relative_port()), (Some(2), Some(9)));
}

#[test]
fn a18_a_path_moves_to_a_group_never_seen() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1, 1], &[(1, AO)]);
    host.unit.reread_identity(paths[1], host.now);
    host.run(|command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(3), Some(3))),
        _ => report(&[(1, AO), (3, UNAV)]),
    });
    assert_eq!(host.path_state(paths[1]), Some(UNAV));
    assert_eq!(host.path_state(paths[0]), Some(AO));
}

#[test]
fn a19_an_unchanged_path_is_trusted_again_and_refreshed() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.unit.reread_identity(paths[0], host.now);
    host.run(|command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(1), Some(1))),
        _ => report(&[(1, AO)]),
    });
    assert_eq!(host.kinds(), ["INQUIRY", "RTPG"]);
    assert_eq!(host.unit.path(paths[0]).unwrap().identity(), IdentityCheck::Verified);
    assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
}

#[test]
fn a20_the_last_path_takes_what_was_known_with_it() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.unit.refresh(host.now);
    let flight = host.expect_next();
    assert!(host.unit.remove_path(paths[0], host.now));
    let outcome = alua_core::unit::Outcome::TransportFailed;
    assert!(!host.unit.handle_completion(flight.id, &outcome, host.now));
    assert_eq!(host.next(), None);
    assert_eq!(host.unit.poll_deadline(), None);
    assert_eq!(host.state(1), None);
    let again = host.add(Some(1));
    assert_ne!(again, paths[0], "a name is not used again");
    host.run(|_| report(&[(1, AN)]));
    assert_eq!(host.path_state(again), Some(AN));
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(alua_core::gate::Refusal::NoPath));
}
