//! Targets that answer anything, at any step, and hosts that take paths away at any moment: the
//! unit never hangs, never spins, and never asks a path that is gone.

use alua_core::access::Tpgs;
use alua_core::cause::RefreshError;
use alua_core::gate::{Gate, GatePolicy, Hold, Refusal};
use alua_core::spc::Status;
use alua_core::unit::{ActivationError, Config, Event, Target};

use crate::harness::*;

#[test]
fn a_waiting_step_is_not_sent_down_a_removed_path() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 1]);
    let first = host.next_at_deadline();
    host.answer(&first, &Answer::Status(Status::Busy));
    assert!(host.unit.remove_path(first.path, host.now));
    let second = host.next_at_deadline();
    assert_ne!(second.path, first.path);
    assert!(paths.contains(&second.path));
}

#[test]
fn a_waiting_step_is_not_sent_down_a_path_in_doubt() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 1]);
    let first = host.next_at_deadline();
    host.answer(&first, &Answer::Status(Status::Busy));
    host.meet(first.path, ATTENTION, 0x3f, 0x0e);
    assert_eq!(kind(&host.expect_next()), "INQUIRY");
    let report = host.next_at_deadline();
    assert_eq!(kind(&report), "RTPG");
    assert_ne!(report.path, first.path);
}

#[test]
fn a_path_added_to_a_group_in_transition_has_it_polled() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    let first = host.next_at_deadline();
    host.answer(&first, &report(&[(1, AO), (2, TRANS)]));
    let late = host.add(Some(2));
    host.run_for(10_000, |_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.path_state(late), Some(AN));
}

#[test]
fn an_activation_of_a_group_without_paths_sees_its_transition_end() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO), (2, SBY)]);
    let id = host.unit.activate(2, host.now).unwrap();
    let mut states = [SBY, TRANS, AO].into_iter();
    let start = host.now;
    host.run(|command| match kind(command) {
        "STPG" => GOOD,
        _ => report(&[(1, AN), (2, states.next().unwrap_or(AO))]),
    });
    assert!(host.result(id).is_ok(), "{:?}", host.result(id));
    assert!(host.now.since(start) <= 5_000, "polled, not left to the deadline");
}

#[test]
fn a_waiting_stpg_and_a_waiting_report_do_not_spin() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(10_000);
    host.unit.activate(2, host.now).unwrap();
    let rtpg = host.next_at_deadline();
    host.answer(&rtpg, &report(&[(1, AO), (2, AN)]));
    let stpg = host.expect_next();
    assert_eq!(kind(&stpg), "STPG");
    host.answer(&stpg, &Answer::Status(Status::Busy));
    host.wait(400);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let rtpg = host.next_at_deadline();
    assert_eq!(kind(&rtpg), "RTPG");
    host.answer(&rtpg, &Answer::Status(Status::Busy));
    let mut polls = 0;
    while host.next().is_none() {
        let deadline = host.unit.poll_deadline().unwrap();
        assert!(deadline > host.now, "a deadline that has come has a command");
        host.now = deadline;
        polls += 1;
        assert!(polls < 10);
    }
}

#[test]
fn identity_attentions_without_end_are_answered_ever_more_slowly() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run_for(60_000, |command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(1), Some(1))),
        _ => Answer::Check(ATTENTION, 0x3f, 0x0e),
    });
    assert!(host.sent.len() < 100, "{} commands in a minute", host.sent.len());
}

#[test]
fn a_doubt_that_comes_during_a_reading_is_read_again() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    let inquiry = host.expect_next();
    host.wait(1);
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    host.answer(&inquiry, &Answer::Good(page83(1, Some(1), Some(1))));
    assert_eq!(host.unit.gate(paths[0]), Gate::Hold(Hold::IdentityInDoubt));
    let mut others = 0;
    host.run_for(5_000, |command| match kind(command) {
        "INQUIRY" => {
            others += 1;
            Answer::Good(page83(2, Some(1), Some(1)))
        }
        _ => report(&[(1, AO)]),
    });
    assert_eq!(others, 1);
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::IdentityChanged));
}

#[test]
fn doubts_without_end_do_not_start_the_count_anew() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    for _ in 0..50 {
        host.meet(paths[0], ATTENTION, 0x3f, 0x03);
        while let Some(command) = host.next() {
            host.answer(&command, &Answer::Check(NOT_READY, 0x04, 0x00));
        }
        host.wait(100);
    }
    let reads = host.kinds().iter().filter(|&&kind| kind == "INQUIRY").count();
    assert!(reads <= 12, "{reads} readings in five seconds");
}

#[test]
fn what_a_path_in_doubt_says_of_its_state_does_not_count() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1, 1], &[(1, AO)]);
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    let inquiry = host.expect_next();
    host.answer(&inquiry, &Answer::Good(page83(2, Some(1), Some(1))));
    assert!(host.events.contains(&Event::IdentityChanged { path: paths[0] }));
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(host.state(1), Some(AO), "another logical unit's transition is not ours");
    assert_eq!(host.path_state(paths[1]), Some(AO));
}

#[test]
fn a_path_that_moves_to_a_group_without_a_place_is_in_no_group() {
    let (mut host, paths) = Host::known(
        Tpgs::Both,
        Config::default(),
        &[1, 2, 3, 4, 4],
        &[(1, AO), (2, AN), (3, AN), (4, AN)],
    );
    host.meet(paths[4], ATTENTION, 0x3f, 0x03);
    let inquiry = host.expect_next();
    host.answer(&inquiry, &Answer::Good(page83(1, Some(9), Some(9))));
    let path = host.unit.path(paths[4]).unwrap();
    assert_eq!(path.group(), None, "group 4 is not where it is");
}

#[test]
fn a_path_that_leaves_its_group_alone_makes_room_for_the_new_one() {
    let (mut host, paths) = Host::known(
        Tpgs::Both,
        Config::default(),
        &[1, 2, 3, 4],
        &[(1, AO), (2, AN), (3, AN), (4, AN)],
    );
    host.meet(paths[3], ATTENTION, 0x3f, 0x03);
    host.run(|command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(9), Some(9))),
        _ => report(&[(1, AO), (2, AN), (3, AN), (9, SBY)]),
    });
    assert_eq!(host.path_state(paths[3]), Some(SBY));
}

#[test]
fn groups_without_a_place_are_counted_and_change_nothing() {
    let all: Vec<_> = (1..=10).map(|id| (id, AN)).collect();
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
    host.run(|_| report(&all));
    assert!(host.events.contains(&Event::GroupsNotStored { count: 6 }), "{:?}", host.events);
    host.events.clear();
    host.unit.refresh(host.now);
    host.run(|_| report(&all));
    let of_groups = |event: &&Event| matches!(event, Event::Group { .. });
    assert_eq!(host.events.iter().filter(of_groups).count(), 0, "{:?}", host.events);
}

#[test]
fn a_forced_request_does_not_spin_on_a_target_that_claims_a_transition() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    let id = host.unit.set_states(&[Target { state: AO, id: 2 }], true, host.now).unwrap();
    host.run_for(60_000, |command| match kind(command) {
        "STPG" => IN_TRANSITION,
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert!(host.sent.len() < 100, "{}", host.sent.len());
    assert!(host.result(id).is_err());
}

#[test]
fn without_alua_or_without_a_group_no_io_is_held() {
    let strict = GatePolicy { pass_unknown: false, ..GatePolicy::default() };
    let config = Config { gate: strict, ..Config::default() };
    let mut host = Host::new(Tpgs::Both, config);
    let without_group = host.add(None);
    assert_eq!(host.unit.gate(without_group), Gate::Pass);
    let off = alua_core::tpgs::AluaOff::NotSupported;
    host.unit.set_managed(Err(off), host.now);
    assert_eq!(host.unit.gate(without_group), Gate::Pass);
}

#[test]
fn success_overrules_older_evidence_where_no_report_can_be_read() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| Answer::Check(ILLEGAL, 0x20, 0x00));
    host.meet(paths[0], NOT_READY, 0x04, 0x0b);
    assert_eq!(host.path_state(paths[0]), Some(SBY));
    host.events.clear();
    host.unit.handle_success(paths[0], host.now);
    host.drain();
    assert!(matches!(host.news()[..], [Event::Path { from: Some(SBY), to: None, .. }]));
    host.run_for(10, |_| GOOD);
    assert_eq!(host.path_state(paths[0]), None, "ready, and no report tells more");
    assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
}

#[test]
fn an_attention_after_a_failed_refresh_is_not_old_news() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    // The report's own path tells of the change, and the refresh for it fails for good.
    let (reader, _) = host.unit.last_report().unwrap();
    host.meet(reader, ATTENTION, 0x2a, 0x06);
    host.run(|_| Answer::Check(ILLEGAL, 0x20, 0x00));
    assert!(matches!(host.unit.refresh_error(), Some(RefreshError::Unsupported(_))));
    let other = paths.iter().copied().find(|&path| path != reader).unwrap();
    host.wait(60_000);
    host.meet(other, ATTENTION, 0x2a, 0x06);
    host.run(|command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AN), (2, AO)]),
    });
    assert_eq!(host.state(1), Some(AN));
}

#[test]
fn a_check_that_proves_nothing_leads_to_a_report() {
    for answer in
        [Answer::Status(Status::ReservationConflict), Answer::Status(Status::CheckCondition)]
    {
        let (mut host, paths) =
            Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
        host.wait(60_000);
        let (reader, _) = host.unit.last_report().unwrap();
        let other = paths.iter().copied().find(|&path| path != reader).unwrap();
        host.meet(other, ATTENTION, 0x2a, 0x06);
        host.run(|command| match kind(command) {
            "TUR" => answer.clone(),
            _ => report(&[(1, AN), (2, AO)]),
        });
        assert_eq!(host.state(1), Some(AN), "{answer:?}");
    }
}

#[test]
fn the_last_path_removed_ends_activations_the_same_at_every_moment() {
    for steps in 0..4 {
        let (mut host, paths) =
            Host::known(Tpgs::Both, Config::default(), &[2], &[(1, AO), (2, AN)]);
        let id = host.unit.activate(2, host.now).unwrap();
        for _ in 0..steps / 2 {
            let command = host.next_at_deadline();
            let answer = match kind(&command) {
                "STPG" => GOOD,
                _ => report(&[(1, AO), (2, AN)]),
            };
            host.answer(&command, &answer);
        }
        let flight = (steps % 2 == 1).then(|| host.next_at_deadline());
        assert!(host.unit.remove_path(paths[0], host.now));
        host.drain();
        assert_eq!(host.result(id), Err(ActivationError::NoPath), "after {steps} steps");
        assert_eq!(host.next(), None);
        assert_eq!(host.unit.poll_deadline(), None);
        if let Some(flight) = flight {
            let outcome = alua_core::unit::Outcome::TransportFailed;
            assert!(!host.unit.handle_completion(flight.id, &outcome, host.now));
        }
    }
}

#[test]
fn an_absent_group_is_not_said_to_be_live() {
    for tpgs in [Tpgs::Implicit, Tpgs::Both] {
        let (mut host, _) = Host::known(tpgs, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
        let id = host.unit.activate(2, host.now).unwrap();
        host.run(|command| match kind(command) {
            "STPG" => panic!("a group that the target does not list"),
            _ => report(&[(1, AO)]),
        });
        assert_eq!(host.result(id), Err(ActivationError::UnknownGroup(2)));
    }
}

#[test]
fn a_refusal_in_transition_of_a_path_without_group_is_not_the_last_word() {
    let mut host = Host::new(Tpgs::Both, Config::default());
    host.add(None);
    let grouped = host.add(Some(1));
    let mut troubled = true;
    host.run_for(400_000, |command| {
        if command.path != grouped {
            return IN_TRANSITION;
        }
        if std::mem::take(&mut troubled) {
            return Answer::Failed;
        }
        report(&[(1, AO)])
    });
    assert_eq!(host.path_state(grouped), Some(AO));
}

#[test]
fn states_that_flap_with_every_io_cost_ever_fewer_reports() {
    // The path says "in transition", the report says that it is not, for ever.
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    for _ in 0..3_000 {
        host.meet(paths[0], NOT_READY, 0x04, 0x0a);
        host.run_for(20, |_| report(&[(1, AO), (2, AN)]));
    }
    assert!(host.sent.len() <= 40, "{} commands in a minute", host.sent.len());
}

#[test]
fn a_few_changes_in_a_row_are_followed_at_once() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    for round in 0..6 {
        let state = if round % 2 == 0 { SBY } else { AO };
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        host.run_for(100, |_| report(&[(1, state), (2, AN)]));
        assert_eq!(host.state(1), Some(state), "change {round}");
    }
}

#[test]
fn identity_attentions_on_every_io_are_read_twice_a_second_at_most() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.wait(60_000);
    for _ in 0..1_000 {
        if host.unit.gate(paths[0]) == Gate::Pass {
            host.meet(paths[0], ATTENTION, 0x3f, 0x0e);
        }
        host.run_for(10, |command| match kind(command) {
            "INQUIRY" => Answer::Good(page83(1, Some(1), Some(1))),
            _ => report(&[(1, AO)]),
        });
    }
    let reads = host.kinds().iter().filter(|&&kind| kind == "INQUIRY").count();
    assert!((2..=21).contains(&reads), "{reads} readings in ten seconds");
}

#[test]
fn a_group_without_paths_that_is_listed_twice_spoils_no_report() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    for _ in 0..3 {
        host.unit.refresh(host.now);
        host.run(|_| report(&[(1, AO), (9, AN), (9, SBY)]));
        assert_eq!(host.unit.refresh_error(), None, "the same each time");
    }
    assert_eq!(host.state(1), Some(AO));
}

#[test]
fn an_stpg_in_flight_on_a_removed_path_is_lost_and_sent_again() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1, 2, 2], &[(1, AO), (2, AN)]);
    let id = host.unit.activate(2, host.now).unwrap();
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, AO), (2, AN)]));
    let stpg = host.expect_next();
    assert_eq!(kind(&stpg), "STPG");
    host.unit.remove_path(stpg.path, host.now);
    let mut moved = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            moved = true;
            GOOD
        }
        _ if moved => report(&[(1, AN), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.result(id), Ok(alua_core::unit::Activated::Reached));
    assert_eq!(host.unit.counters().stpg, 2);
}

#[test]
fn an_activation_ends_at_the_deadline_though_a_command_is_never_answered() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AN)]);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let id = host.unit.activate(1, host.now).unwrap();
    let _lost = host.next_at_deadline();
    host.wait(256_000);
    assert_eq!(host.next(), None);
    assert_eq!(host.result(id), Err(ActivationError::TransitionTimedOut { group: 1 }));
}

#[test]
fn readings_in_flight_at_shutdown_are_not_awaited() {
    let config = Config { idle_probe_ms: Some(1_000), ..Config::default() };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, config, &[1, 2]);
    host.run_for(900, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    let mut flights = Vec::new();
    host.wait(2_000);
    while let Some(command) = host.next() {
        flights.push(command);
    }
    assert_eq!(flights.iter().map(kind).collect::<Vec<_>>(), ["RTPG", "INQUIRY", "TUR"]);
    host.unit.shut_down();
    for flight in flights {
        let outcome = alua_core::unit::Outcome::TimedOut;
        assert!(!host.unit.handle_completion(flight.id, &outcome, host.now));
    }
}

#[test]
fn turning_alua_off_forgets_what_paths_said() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.meet(paths[0], NOT_READY, 0x04, 0x0c);
    let off = alua_core::tpgs::AluaOff::NotSupported;
    host.unit.set_managed(Err(off), host.now);
    host.unit.set_managed(Ok(managed(Tpgs::Both)), host.now);
    assert_eq!(host.path_state(paths[0]), None);
}

#[test]
fn groups_left_without_any_path_are_told_to_be_unknown() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.unit.remove_path(paths[0], host.now);
    host.drain();
    assert!(matches!(host.events[..], [Event::Group { id: 1, from: Some(AO), to: None, .. }]));
}
