//! Section 4.3: when a refresh runs, how often, and through which path (rows C).

use alua_core::access::Tpgs;
use alua_core::cause::RefreshError;
use alua_core::spc::Status;
use alua_core::spc::sense::SenseKey;
use alua_core::unit::{Activated, ActivationError, Config, Outcome, PathId};

use crate::harness::*;

fn two_groups() -> (Host, Vec<PathId>) {
    Host::known(Tpgs::Both, Config::default(), &[1, 1, 2, 2], &[(1, AO), (2, AN)])
}

#[test]
fn c01_the_first_trigger_starts_a_refresh_after_five_milliseconds() {
    let (mut host, paths) = two_groups();
    host.wait(60_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    assert_eq!(host.next(), None);
    assert_eq!(host.unit.poll_deadline(), Some(host.at(5)));
    host.wait(5);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[0]), "through the path that told");
}

#[test]
fn c02_c03_c17_r10_x10_triggers_during_a_refresh_make_one_more() {
    let (mut host, paths) = two_groups();
    host.wait(60_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let running = host.next_at_deadline();
    for _ in 0..50 {
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        assert_eq!(host.next(), None, "one command of the refresh at a time");
    }
    host.answer(&running, &report(&[(1, AN), (2, AO)]));
    host.run(|_| report(&[(1, AN), (2, AO)]));
    assert_eq!(host.kinds(), ["RTPG", "RTPG"]);
    assert!(host.unit.counters().coalesced >= 50);
}

#[test]
fn r10_a_request_while_a_refresh_runs_leads_to_a_later_report() {
    let (mut host, _) = two_groups();
    host.unit.refresh(host.now);
    let running = host.expect_next();
    host.unit.refresh(host.now);
    host.answer(&running, &report(&[(1, AO), (2, AN)]));
    let second = host.expect_next();
    host.answer(&second, &report(&[(1, AN), (2, AO)]));
    assert_eq!(host.state(1), Some(AN));
}

#[test]
fn c04_an_activation_brings_its_refresh_at_once() {
    let (mut host, _) = two_groups();
    // Not even after a minute of refreshes that found nothing.
    for _ in 0..10 {
        host.unit.refresh(host.now);
        host.run(|_| report(&[(1, AO), (2, AN)]));
    }
    host.unit.activate(1, host.now).unwrap();
    assert_eq!(kind(&host.expect_next()), "RTPG");
}

#[test]
fn c05_what_a_removed_path_says_is_not_heard() {
    let (mut host, paths) = two_groups();
    host.unit.remove_path(paths[0], host.now);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.unit.handle_success(paths[0], host.now);
    host.unit.handle_transport_failure(paths[0], host.now);
    host.unit.reread_identity(paths[0], host.now);
    assert_eq!(host.state(1), Some(AO));
    assert_eq!(host.next(), None);
    assert_eq!(host.unit.poll_deadline(), None);
    assert!(!host.unit.remove_path(paths[0], host.now));
}

#[test]
fn c05_a_path_in_an_old_place_is_not_the_one_before() {
    let (mut host, paths) = two_groups();
    host.unit.remove_path(paths[0], host.now);
    let reused = host.add(Some(2));
    assert_eq!(reused.index(), paths[0].index());
    host.meet(paths[0], NOT_READY, 0x04, 0x0b);
    host.unit.handle_transport_failure(paths[0], host.now);
    host.unit.reread_identity(paths[0], host.now);
    assert!(!host.unit.remove_path(paths[0], host.now));
    assert_eq!(host.path_state(reused), Some(AN));
    let path = host.unit.path(reused).unwrap();
    assert_eq!(path.transport(), alua_core::unit::Transport::Untried);
    assert_eq!(path.identity(), alua_core::unit::IdentityCheck::Verified);
}

#[test]
fn c06_reg_02_an_activation_ends_though_its_paths_go() {
    let (mut host, paths) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    let report_in_flight = host.expect_next();
    host.unit.remove_path(paths[2], host.now);
    host.unit.remove_path(paths[3], host.now);
    if !paths[2..].contains(&report_in_flight.path) {
        host.answer(&report_in_flight, &report(&[(1, AO), (2, AN)]));
    }
    let mut sent = false;
    host.run(|command| {
        assert!(paths[..2].contains(&command.path), "never down a removed path");
        match kind(command) {
            "STPG" => {
                sent = true;
                GOOD
            }
            _ if sent => report(&[(1, AN), (2, AO)]),
            _ => report(&[(1, AO), (2, AN)]),
        }
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn c07_a_path_in_transition_is_asked_whether_it_is_ready_first() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let first = host.next_at_deadline();
    assert_eq!(kind(&first), "TUR");
    host.answer(&first, &IN_TRANSITION);
    assert_eq!(host.next(), None, "no report while it says so");
    // Any other answer leads to a report.
    for answer in [GOOD, Answer::Check(NOT_READY, 0x04, 0x0b), Answer::Status(Status::TaskAborted)]
    {
        let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
        host.wait(60_000);
        host.meet(paths[0], NOT_READY, 0x04, 0x0a);
        let first = host.next_at_deadline();
        host.answer(&first, &answer);
        assert_eq!(kind(&host.expect_next()), "RTPG");
    }
}

#[test]
fn c07_a_live_path_is_asked_for_all_instead() {
    let (mut host, paths) = two_groups();
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let first = host.next_at_deadline();
    assert_eq!(kind(&first), "RTPG");
    assert!(paths[2..].contains(&first.path));
}

#[test]
fn c08_reg_22_test_unit_ready_in_transition_for_ever_ends_at_the_deadline() {
    for key in [NOT_READY, ATTENTION] {
        let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
        let id = host.unit.activate(1, host.now).unwrap();
        host.meet(paths[0], key, 0x04, 0x0a);
        host.run_for(256_000, |command| match kind(command) {
            "TUR" => Answer::Check(key, 0x04, 0x0a),
            _ => IN_TRANSITION,
        });
        assert_eq!(host.state(1), Some(SBY));
        assert_eq!(host.result(id), Err(ActivationError::TransitionTimedOut { group: 1 }));
    }
}

#[test]
fn c09_each_path_is_tried_once_in_a_pass_and_all_again_in_the_next() {
    let (mut host, paths) = two_groups();
    for _ in 0..2 {
        host.sent.clear();
        host.unit.refresh(host.now);
        host.run_for(10, |_| Answer::Failed);
        let mut asked: Vec<_> = host.sent.iter().map(|sent| sent.path).collect();
        asked.sort();
        assert_eq!(asked, paths);
    }
}

#[test]
fn c09_the_order_of_paths() {
    // Live, then standby, then offline; a failed transport after all of them.
    let states = [(1, OFF), (2, SBY), (3, AN), (4, AO)];
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1, 2, 3, 4], &states);
    host.unit.handle_transport_failure(paths[3], host.now);
    host.unit.refresh(host.now);
    host.run_for(10, |_| Answer::Check(SenseKey::HardwareError, 0x44, 0));
    let asked: Vec<_> = host.sent.iter().map(|sent| sent.path).collect();
    assert_eq!(asked, [paths[2], paths[1], paths[0], paths[3]]);
}

#[test]
fn c10_c12_x9_no_path_left_ends_the_activation_with_the_error_and_without_stpg() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    host.run_for(10, |_| Answer::Failed);
    assert!(matches!(host.result(id), Err(ActivationError::Refresh(RefreshError::Transport(_)))));
    assert_eq!(host.kinds(), ["RTPG"; 4]);
}

#[test]
fn c11_nothing_is_repeated_at_once_but_what_lost_its_turn() {
    // BUSY waits; a failed pass waits; a transition waits; only unit attentions do not.
    let (mut host, _) = two_groups();
    host.unit.refresh(host.now);
    let first = host.expect_next();
    host.answer(&first, &Answer::Check(ATTENTION, 0x29, 0x00));
    assert_eq!(host.expect_next().path, first.path);
}

#[test]
fn c13_d11_the_stpg_is_sent_once_and_a_report_proves_it() {
    let (mut host, _) = two_groups();
    let id = host.switch(2);
    host.run(|command| match kind(command) {
        "STPG" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.unit.counters().stpg, 1, "not repeated though it had no effect");
    assert_eq!(host.result(id), Err(ActivationError::NotReached { group: 2, state: Some(AN) }));
}

#[test]
fn c14_events_are_told_after_the_states_that_they_rest_on() {
    let (mut host, _) = two_groups();
    host.unit.activate(2, host.now).unwrap();
    let mut sent = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            sent = true;
            GOOD
        }
        _ if sent => report(&[(1, AN), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    use alua_core::unit::Event;
    let activation = host.events.iter().position(|event| matches!(event, Event::Activation { .. }));
    assert_eq!(activation, Some(host.events.len() - 1));
    assert_eq!(host.events.len(), 2 + 4 + 1);
    assert!(!host.unit.is_busy());
}

#[test]
fn c15_reg_18_an_implicit_only_target_costs_one_report_and_no_stpg() {
    let (mut host, _) =
        Host::known(Tpgs::Implicit, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    for (group, expected) in [(1, Activated::AlreadyThere), (2, Activated::ImplicitOnly)] {
        host.sent.clear();
        let id = host.unit.activate(group, host.now).unwrap();
        host.run(|_| report(&[(1, AO), (2, AN)]));
        assert_eq!(host.kinds(), ["RTPG"]);
        assert_eq!(host.result(id), Ok(expected));
    }
}

#[test]
fn c16_activations_of_one_group_share_everything() {
    let (mut host, _) = two_groups();
    let first = host.unit.activate(2, host.now).unwrap();
    for _ in 0..7 {
        assert_eq!(host.unit.activate(2, host.now).unwrap(), first, "joined");
    }
    let mut sent = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            sent = true;
            GOOD
        }
        _ if sent => report(&[(1, AN), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG"]);
    assert_eq!(host.result(first), Ok(Activated::Reached));
}

#[test]
fn c17_s7_7_a_thousand_attentions_that_change_nothing_cost_few_reports() {
    let (mut host, paths) = two_groups();
    host.wait(60_000);
    for round in 0..1_000 {
        host.meet(paths[round % 4], ATTENTION, 0x2a, 0x06);
        host.run_for(10, |command| match kind(command) {
            "TUR" => GOOD,
            _ => report(&[(1, AO), (2, AN)]),
        });
    }
    assert!(host.sent.len() <= 15, "{} commands in ten seconds", host.sent.len());
}

#[test]
fn c17_the_spacing_is_forgotten_in_quiet_times() {
    let (mut host, paths) = two_groups();
    for _ in 0..500 {
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        host.run_for(20, |_| report(&[(1, AO), (2, AN)]));
    }
    host.run_for(120_000, |_| report(&[(1, AO), (2, AN)]));
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    assert_eq!(host.unit.poll_deadline(), Some(host.at(5)));
}

#[test]
fn c14_stale_and_made_up_completions_are_not_awaited() {
    let (mut host, paths) = two_groups();
    host.unit.refresh(host.now);
    let first = host.expect_next();
    host.unit.remove_path(first.path, host.now);
    let second = host.expect_next();
    assert_ne!(second.path, first.path);
    let good = report(&[(1, SBY), (2, SBY)]);
    let Answer::Good(data) = good else { panic!() };
    let outcome = Outcome::Answered { status: Status::Good, sense: &[], data: &data };
    assert!(!host.unit.handle_completion(first.id, &outcome, host.now));
    assert_eq!(host.state(2), Some(AN), "a late answer of a removed path changes nothing");
    host.answer(&second, &report(&[(1, AN), (2, AO)]));
    assert_eq!(host.path_state(paths[3]), Some(AO));
}

#[test]
fn c02_busy_while_anything_is_still_to_come() {
    let (mut host, paths) = two_groups();
    assert!(!host.unit.is_busy());
    // A refresh that is due.
    host.wait(60_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    assert!(host.unit.is_busy());
    host.run(|_| report(&[(1, AO), (2, AN)]));
    assert!(!host.unit.is_busy());
    // An identity that is read: alone, for the refresh it brings comes later.
    host.unit.reread_identity(paths[0], host.now);
    let reading = host.expect_next();
    assert!(host.unit.is_busy());
    host.answer(&reading, &Answer::Good(page83(1, Some(1), Some(1))));
    host.run(|_| report(&[(1, AO), (2, AN)]));
    // An activation that pauses between two reports.
    host.unit.activate(2, host.now).unwrap();
    for answer in [report(&[(1, AO), (2, AN)]), GOOD, report(&[(1, AO), (2, AN)])] {
        let command = host.expect_next();
        host.answer(&command, &answer);
    }
    assert_eq!(host.next(), None);
    assert!(host.unit.is_busy());
    assert_eq!(host.unit.poll_deadline(), Some(host.at(500)));
}
