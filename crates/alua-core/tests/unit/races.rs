//! Things that happen while a command is in flight.

use alua_core::access::Tpgs;
use alua_core::gate::{Gate, GatePolicy, Hold, Refusal};
use alua_core::spc::Status;
use alua_core::unit::{Activated, CommandKind, Config, Event, Transport};

use crate::harness::*;

#[test]
fn a_report_asked_for_before_a_transition_does_not_end_it() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(1_000);
    host.unit.refresh(host.now);
    let asked = host.expect_next();
    host.wait(10);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(host.state(1), Some(TRANS));
    host.answer(&asked, &report(&[(1, AO), (2, AN)]));
    assert_eq!(host.state(1), Some(TRANS), "the answer is older than the sense");

    host.run(|_| report(&[(1, AN), (2, AO)]));
    assert_eq!(host.state(1), Some(AN), "the next one is not");
}

/// Found by the exhaustive walk at depth six.
#[test]
fn c06_a_switch_held_up_by_a_transition_ends_though_no_report_can_be_read() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    let id = host.unit.activate(2, host.now).unwrap();
    let rtpg = host.expect_next();
    host.answer(&rtpg, &report(&[(1, AO), (2, AN)]));
    let stpg = host.expect_next();
    host.answer(&stpg, &Answer::Status(Status::Busy));
    // While the switch waits for its next turn, the other group enters a transition, reports
    // are refused from then on, and the path in transition goes.
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.unit.remove_path(paths[0], host.now);
    host.run(|_| Answer::Check(ILLEGAL, 0x24, 0x00));
    assert!(host.result(id).is_err());
}

#[test]
fn a_changed_capacity_that_the_driver_meets_is_told() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.unit.refresh(host.now);
    let mut first = true;
    host.run(|_| {
        if std::mem::take(&mut first) {
            Answer::Check(ATTENTION, 0x2a, 0x09)
        } else {
            report(&[(1, AO)])
        }
    });
    assert!(host.events.contains(&Event::CapacityChanged { path: paths[0] }));
}

#[test]
fn s7_3_strictly_gated_io_is_held_while_states_are_read_and_refused_after() {
    let gate = GatePolicy { pass_unknown: false, ..GatePolicy::default() };
    let config = Config { gate, ..Config::default() };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, config, &[1]);
    assert_eq!(host.unit.gate(paths[0]), Gate::Hold(Hold::StateUnknown));
    host.run_for(1_000, |_| Answer::Check(ILLEGAL, 0x20, 0x00));
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::StateUnreadable));
    host.unit.refresh(host.now);
    let _in_flight = host.expect_next();
    assert_eq!(host.unit.gate(paths[0]), Gate::Hold(Hold::StateUnknown));
}

#[test]
fn an_activation_waits_for_an_identity_that_is_being_read() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AN)]);
    let id = host.unit.activate(1, host.now).unwrap();
    let (mut doubt, mut done) = (true, false);
    host.run_for(10_000, |command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(1), Some(1))),
        "STPG" => {
            done = true;
            GOOD
        }
        _ if std::mem::take(&mut doubt) => Answer::Check(ATTENTION, 0x3f, 0x0e),
        _ => report(&[(1, if done { AO } else { AN })]),
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn an_activation_ends_when_the_identity_cannot_be_read() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AN)]);
    let id = host.unit.activate(1, host.now).unwrap();
    host.run_for(20_000, |command| match kind(command) {
        "INQUIRY" => GOOD,
        _ => Answer::Check(ATTENTION, 0x3f, 0x0e),
    });
    assert!(host.result(id).is_err());
}

#[test]
fn a_switch_that_was_not_started_does_not_count_towards_the_limit() {
    let config = Config { stpg_per_minute: 1, ..Config::default() };
    let (mut host, _) = Host::known(Tpgs::Both, config, &[1], &[(1, AN)]);
    let id = host.unit.activate(1, host.now).unwrap();
    let (mut busy, mut done) = (2, false);
    host.run_for(10_000, |command| match kind(command) {
        "STPG" if busy > 0 => {
            busy -= 1;
            Answer::Status(Status::Busy)
        }
        "STPG" => {
            done = true;
            GOOD
        }
        _ => report(&[(1, if done { AO } else { AN })]),
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn sense_on_io_is_an_answer_of_the_transport() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.unit.handle_transport_failure(paths[0], host.now);
    host.wait(10);
    host.meet(paths[0], ATTENTION, 0x29, 0x00);
    let transport = host.unit.path(paths[0]).unwrap().transport();
    assert_eq!(transport, Transport::Answered { at: host.now });
}

/// What is told while a report is on its way, the report may be too old to show. The paths that told
/// have nothing left to tell, so none of them is a witness that it was old news.
#[test]
fn e06_attentions_that_overtake_a_report_are_no_old_news() {
    let (mut host, paths) =
        Host::known(Tpgs::Implicit, Config::default(), &[1, 1, 2], &[(1, AO), (2, AN)]);
    // Every path has met what it had to tell from before.
    for &path in &paths {
        host.wait(1_000);
        host.meet(path, ATTENTION, 0x2a, 0x06);
        host.run(|_| report(&[(1, AO), (2, AN)]));
    }
    host.wait(1_000);
    host.unit.refresh(host.now);
    let asked = host.expect_next();
    host.wait(1);
    for &path in &paths[..2] {
        host.meet(path, ATTENTION, 0x2a, 0x06);
    }
    host.answer(&asked, &report(&[(1, AO), (2, AN)]));
    host.run(|command| match command.kind {
        CommandKind::TestUnitReady => GOOD,
        _ => report(&[(1, AN), (2, AO)]),
    });
    assert_eq!(host.state(1), Some(AN), "what was told is looked at");
}
