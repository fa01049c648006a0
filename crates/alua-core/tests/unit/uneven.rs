//! Paths that behave unlike each other: one that is dead, stuck, or refuses what the others do not.
//! It must not cost the others.

use alua_core::access::Tpgs;
use alua_core::gate::{Gate, GatePolicy, Hold};
use alua_core::unit::{Activated, Config, Event, Transition};

use crate::harness::*;

/// What native multipath sets: it can wait in transition.
fn waits() -> Config {
    let gate = GatePolicy { pass_transitioning: false, ..GatePolicy::default() };
    Config { gate, ..Config::default() }
}

#[test]
fn s7_7_a_dead_path_does_not_keep_others_from_being_identified() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1; 4], &[(1, AO)]);
    for &path in &paths {
        host.meet(path, ATTENTION, 0x3f, 0x0e);
    }
    let dead = &paths[..2];
    let end = host.at(120_000);
    while host.now < end {
        let Some(command) = host.next() else {
            let Some(deadline) = host.unit.poll_deadline() else { break };
            host.now = host.now.max(deadline);
            continue;
        };
        if dead.contains(&command.path) {
            host.wait(30_000);
            host.answer(&command, &Answer::TimedOut);
        } else if kind(&command) == "INQUIRY" {
            host.answer(&command, &Answer::Good(page83(1, Some(1), Some(1))));
        } else {
            host.answer(&command, &report(&[(1, AO)]));
        }
        let identified = paths[2..].iter().all(|&path| host.unit.gate(path) == Gate::Pass);
        if identified {
            return;
        }
    }
    panic!("the living paths are still in doubt after two minutes: {:?}", host.unit);
}

/// One port of a group says "in transition" for ever; its sibling is fine.
#[test]
fn reg_26_a_path_stuck_in_transition_does_not_take_its_sibling_along() {
    let (mut host, paths) = Host::known(Tpgs::Both, waits(), &[1, 1], &[(1, AO)]);
    let (stuck, healthy) = (paths[0], paths[1]);
    let mut held = 0;
    // For ten minutes, ten times a second, I/O goes wherever the gate lets it.
    for _ in 0..6_000 {
        if host.unit.gate(stuck) == Gate::Pass {
            host.meet(stuck, NOT_READY, 0x04, 0x0a);
        }
        if host.unit.gate(healthy) == Gate::Pass {
            host.unit.handle_success(healthy, host.now);
        } else {
            held += 1;
        }
        host.run_for(100, |command| {
            if command.path == stuck {
                IN_TRANSITION
            } else if kind(command) == "TUR" {
                GOOD
            } else {
                report(&[(1, AO)])
            }
        });
    }
    assert!(held < 200, "the healthy path was held {held} of 6,000 times");
    assert_ne!(host.unit.gate(stuck), Gate::Pass, "the stuck one is not used");
}

/// Two controllers tell different truths about group 1.
#[test]
fn s7_2_s7_5_a_split_truth_does_not_flap() {
    let (mut host, paths) = Host::known(Tpgs::Both, waits(), &[1, 2], &[(1, AO), (2, AO)]);
    let mut eaten = 0;
    for _ in 0..6_000 {
        if host.unit.gate(paths[0]) == Gate::Pass {
            eaten += 1;
            host.meet(paths[0], NOT_READY, 0x04, 0x0a);
        }
        host.run_for(100, |command| {
            if command.path == paths[0] { IN_TRANSITION } else { report(&[(1, AO), (2, AO)]) }
        });
    }
    assert!(eaten <= 8, "{eaten} I/Os met the transition in ten minutes");
    assert_eq!(host.unit.gate(paths[1]), Gate::Pass);
}

#[test]
fn g02_a_group_that_is_there_does_not_wait_for_another_in_transition() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.unit.refresh(host.now);
    host.run_for(10, |_| report(&[(1, AO), (2, TRANS)]));
    let id = host.unit.activate(1, host.now).unwrap();
    host.run_for(3_000, |_| report(&[(1, AO), (2, TRANS)]));
    assert_eq!(host.result(id), Ok(Activated::AlreadyThere));
}

#[test]
fn d05_a_switch_does_not_wait_for_a_group_that_it_is_not_about() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, SBY), (2, AN)]);
    host.unit.refresh(host.now);
    host.run_for(10, |_| report(&[(1, SBY), (2, TRANS)]));
    let id = host.unit.activate(1, host.now).unwrap();
    let mut done = false;
    host.run_for(5_000, |command| match kind(command) {
        "STPG" => {
            done = true;
            GOOD
        }
        _ => report(&[(1, if done { AO } else { SBY }), (2, TRANS)]),
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
    assert!(matches!(host.unit.group(2).unwrap().transition(), Some(Transition::Running { .. })));
}

#[test]
fn b09_a_path_that_refuses_reports_does_not_speak_for_the_others() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
    host.run(|command| {
        if command.path == paths[0] {
            Answer::Check(ILLEGAL, 0x20, 0x00)
        } else {
            report(&[(1, AN), (2, AO)])
        }
    });
    assert_eq!(host.path_state(paths[0]), Some(AN));
    assert_eq!(host.unit.refresh_error(), None);
}

/// LIO tells a change of a group to the I_T nexuses of that group only.
#[test]
fn e06_old_news_is_not_checked_through_a_group_that_is_not_told() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(10_000);
    host.meet(paths[1], ATTENTION, 0x2a, 0x06);
    host.run(|command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, SBY)]),
    });
    assert_eq!(host.path_state(paths[1]), Some(SBY));
}

/// All attentions of one change are met before any report is read: none of them is old.
#[test]
fn e06_a_path_that_told_is_no_witness_that_nothing_changed() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1; 4], &[(1, AO)]);
    host.wait(10_000);
    for &path in &paths {
        host.unit.refresh(host.now);
        let command = host.expect_next();
        host.answer(&command, &report(&[(1, AO)]));
        host.wait(1_000);
        let _ = path;
    }
    for &path in &paths {
        host.meet(path, ATTENTION, 0x2a, 0x06);
    }
    host.run(|command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, SBY)]),
    });
    assert_eq!(host.state(1), Some(SBY));
}

#[test]
fn c09_a_report_lost_with_its_transport_is_asked_for_elsewhere_at_once() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AO)]);
    host.unit.refresh(host.now);
    let lost = host.expect_next();
    host.unit.handle_transport_failure(lost.path, host.now);
    let next = host.expect_next();
    assert_ne!(next.path, lost.path);
    assert!(paths.contains(&next.path));
}

#[test]
fn d10_a_path_that_refuses_a_switch_does_not_speak_for_its_sibling() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2, 2], &[(1, AO), (2, SBY)]);
    let id = host.unit.activate(2, host.now).unwrap();
    let mut done = false;
    host.run_for(20_000, |command| match kind(command) {
        "STPG" if command.path == paths[1] => Answer::Check(NOT_READY, 0x04, 0x0c),
        "STPG" => {
            done = true;
            GOOD
        }
        "TUR" => GOOD,
        _ => report(&[(1, AN), (2, if done { AO } else { SBY })]),
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

/// What holds I/O must say when it lets go: nothing else would wake the I/O.
#[test]
fn x18_n10_a_gate_that_opens_is_told() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.meet(paths[0], ATTENTION, 0x3f, 0x05);
    let held = Gate::Hold(Hold::IdentityInDoubt);
    assert!(host.events.contains(&Event::Gate { path: paths[0], gate: held }));
    host.events.clear();
    host.run(|command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(1), Some(1))),
        _ => report(&[(1, AO)]),
    });
    assert!(host.events.contains(&Event::Gate { path: paths[0], gate: Gate::Pass }));
}
