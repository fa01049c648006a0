//! Sections 1 and 2: what the reviewers of the posted series asked for (rows R) and the defects
//! of the series (rows X), as far as no row of another file shows it already.

use alua_core::access::Tpgs;
use alua_core::cause::Cause;
use alua_core::gate::{Gate, GatePolicy, Hold};
use alua_core::spc::Status;
use alua_core::unit::{Activated, CommandKind, Config, PathId};

use crate::harness::*;

fn two_groups() -> (Host, Vec<PathId>) {
    Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)])
}

#[test]
fn r1_s7_1_the_implicit_personality_never_sends_stpg() {
    let states = [(1, SBY), (2, AN)];
    let (mut host, paths) = Host::known(Tpgs::Implicit, Config::default(), &[1, 2], &states);
    for group in [1, 2] {
        let _ = host.unit.activate(group, host.now);
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        host.meet(paths[1], NOT_READY, 0x04, 0x0a);
        host.run_for(300_000, |command| {
            assert!(!matches!(command.kind, CommandKind::SetTargetPortGroups(_)));
            match kind(command) {
                "TUR" => IN_TRANSITION,
                _ => report(&states),
            }
        });
    }
}

#[test]
fn r1_r2_without_a_request_no_target_gets_an_stpg() {
    // Not even an explicit one, on any event: only an activation sends it.
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
    host.run(|_| report(&[(1, SBY), (2, SBY)]));
    host.meet(paths[0], NOT_READY, 0x04, 0x0b);
    host.meet(paths[1], ATTENTION, 0x2a, 0x06);
    host.unit.refresh(host.now);
    host.run_for(300_000, |_| report(&[(1, SBY), (2, SBY)]));
    assert_eq!(host.unit.counters().stpg, 0);
}

#[test]
fn r4_r5_the_states_are_read_once_and_again_on_disagreement_only() {
    let (mut host, paths) = two_groups();
    host.run_for(86_400_000, |_| panic!("a day without an event needs no command"));
    host.meet(paths[0], NOT_READY, 0x04, 0x0b);
    host.run(|_| report(&[(1, SBY), (2, AO)]));
    assert_eq!(host.kinds(), ["RTPG"]);
}

#[test]
fn r6_n15_s7_10_there_is_no_polling_unless_asked_for() {
    let (mut host, _) = two_groups();
    assert_eq!(host.unit.poll_deadline(), None);
    host.wait(86_400_000);
    assert_eq!(host.next(), None);
}

#[test]
fn r6_s7_10_the_opt_in_probe_visits_one_path_after_another() {
    let config = Config { idle_probe_ms: Some(1_000), ..Config::default() };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, config, &[1, 2, 2]);
    host.run_for(5_500, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    let probed: Vec<_> =
        host.sent.iter().filter(|sent| kind(sent) == "TUR").map(|sent| sent.path).collect();
    assert_eq!(probed, [paths[0], paths[1], paths[2], paths[0], paths[1], paths[2]]);
    // What the probe meets counts: an idle path learns of the change.
    host.sent.clear();
    let mut told = false;
    host.run_for(3_000, |command| match kind(command) {
        "TUR" if !std::mem::replace(&mut told, true) => Answer::Check(ATTENTION, 0x2a, 0x06),
        "TUR" => GOOD,
        _ => report(&[(1, AN), (2, AO)]),
    });
    assert_eq!(host.path_state(paths[2]), Some(AO));
}

#[test]
fn s7_10_the_probe_goes_on_when_paths_do_not_answer() {
    let config = Config { idle_probe_ms: Some(1_000), ..Config::default() };
    let (mut host, _) = Host::with_paths(Tpgs::Both, config, &[1, 1]);
    host.run_for(500, |_| report(&[(1, AO)]));
    host.sent.clear();
    for answer in [Answer::Failed, Answer::Status(Status::Busy), Answer::NotSubmitted] {
        host.run_for(10_000, |_| answer.clone());
    }
    assert!((28..=31).contains(&host.sent.len()), "one in a second: {}", host.sent.len());
}

#[test]
fn r7_preference_is_kept_beside_every_state() {
    use alua_core::spc::cdb::ReportFormat::Extended;
    use alua_core::spc::target_port_groups::GroupFields;
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| report_with(Extended, 0, [GroupFields { preferred: true, ..fields(1, AN) }]));
    assert_eq!(host.path_state(paths[0]), Some(AN));
    assert!(host.unit.is_preferred(paths[0]));
    // A sense code says nothing of the preference.
    host.meet(paths[0], NOT_READY, 0x04, 0x0b);
    assert!(host.unit.is_preferred(paths[0]));
}

#[test]
fn r8_x4_a_transition_on_the_first_report_is_not_optimized() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
    host.run_for(1_000, |_| IN_TRANSITION);
    for path in paths {
        assert_eq!(host.path_state(path), Some(TRANS));
    }
}

#[test]
fn r11_s7_3_unknown_is_a_state_with_a_cause_and_its_gate_is_a_choice() {
    for (pass_unknown, expected) in [(true, Gate::Pass), (false, Gate::Hold(Hold::StateUnknown))] {
        let gate = GatePolicy { pass_unknown, ..GatePolicy::default() };
        let config = Config { gate, ..Config::default() };
        let (host, paths) = Host::with_paths(Tpgs::Both, config, &[1]);
        assert_eq!(host.path_state(paths[0]), None);
        assert_eq!(host.unit.access(paths[0]).cause, Cause::NeverRead);
        assert_eq!(host.unit.gate(paths[0]), expected);
    }
}

#[test]
fn x1_x2_the_gate_has_the_right_sense() {
    let (host, paths) = Host::known(
        Tpgs::Both,
        Config::default(),
        &[1, 2, 3, 4],
        &[(1, AO), (2, AN), (3, SBY), (4, UNAV)],
    );
    let passes: Vec<_> = paths.iter().map(|&path| host.unit.gate(path) == Gate::Pass).collect();
    assert_eq!(passes, [true, true, false, false]);
}

#[test]
fn x6_a_group_not_in_the_report_is_not_optimized() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[7]);
    host.run(|_| report(&[(1, AO)]));
    assert_eq!(host.path_state(paths[0]), None);
}

#[test]
fn x9_every_way_a_refresh_ends_is_told() {
    for answer in [Answer::Failed, Answer::TimedOut, Answer::NotSubmitted, GOOD] {
        let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
        host.run_for(5_000, |_| answer.clone());
        assert!(host.unit.refresh_error().is_some(), "{answer:?}");
        assert_eq!(host.unit.counters().refresh_failures, 1, "{answer:?}");
    }
}

#[test]
fn x11_a_transition_never_stays_without_a_next_step() {
    // Entered by sense, by a report, by the sense of a report, of TUR and of STPG.
    for entry in 0..4 {
        let (mut host, paths) = two_groups();
        match entry {
            0 => host.meet(paths[0], NOT_READY, 0x04, 0x0a),
            1 => host.unit.refresh(host.now),
            2 => host.unit.refresh(host.now),
            _ => drop(host.unit.activate(2, host.now)),
        }
        host.run_for(3_000, |command| match (kind(command), entry) {
            ("STPG", _) => IN_TRANSITION,
            ("TUR", _) => IN_TRANSITION,
            (_, 2) => IN_TRANSITION,
            (_, 3) => report(&[(1, AO), (2, AN)]),
            _ => report(&[(1, TRANS), (2, TRANS)]),
        });
        host.run_for(40_000, |command| match kind(command) {
            "TUR" | "STPG" => GOOD,
            _ => report(&[(1, AO), (2, AN)]),
        });
        assert_eq!(host.path_state(paths[0]), Some(AO), "entry {entry}");
        assert_eq!(host.path_state(paths[1]), Some(AN), "entry {entry}");
    }
}

#[test]
fn x15_a_path_that_was_never_added_is_refused() {
    let (mut host, paths) = two_groups();
    host.unit.remove_path(paths[0], host.now);
    assert!(matches!(host.unit.gate(paths[0]), Gate::Refuse(_)));
    assert_eq!(host.unit.access(paths[0]).state, None);
    assert!(!host.unit.is_preferred(paths[0]));
    assert!(!host.unit.is_contradicted(paths[0]));
    assert!(host.unit.path(paths[0]).is_none());
}

#[test]
fn x18_n10_a_path_that_becomes_live_is_told() {
    use alua_core::unit::Event;
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, SBY), (2, UNAV)]);
    host.wait(60_000);
    // TEST UNIT READY or I/O succeeded where standby was known.
    host.unit.handle_success(paths[0], host.now);
    host.run(|_| report(&[(1, AO), (2, UNAV)]));
    assert!(host.events.iter().any(|event| matches!(
        event,
        Event::Path { path, from: Some(SBY), to: Some(AO), .. } if *path == paths[0]
    )));
}

#[test]
fn x18_success_on_a_live_path_costs_nothing() {
    let (mut host, paths) = two_groups();
    for _ in 0..1_000 {
        host.unit.handle_success(paths[0], host.now);
    }
    host.run(|_| panic!("nothing contradicts"));
}

#[test]
fn x19_one_definition_of_usable() {
    use alua_core::access::AccessState;
    for bits in 0..16 {
        let state = AccessState::from_bits(bits);
        let waits = GatePolicy { pass_transitioning: false, ..GatePolicy::default() };
        let passes = alua_core::gate::gate(Some(state), waits) == Gate::Pass;
        assert_eq!(passes, state.is_live(), "{state}");
    }
}

#[test]
fn x7_an_activation_that_must_be_verified_is_not_done_at_good_status() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, AO), (2, AN)]));
    let stpg = host.expect_next();
    host.answer(&stpg, &GOOD);
    assert_eq!(host.activated(id), []);
    let check = host.expect_next();
    host.answer(&check, &report(&[(1, AN), (2, AO)]));
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn s7_10_a_path_removed_while_it_is_probed_makes_way() {
    let config = Config { idle_probe_ms: Some(1_000), ..Config::default() };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, config, &[1, 1]);
    let probe = host.expect_next();
    assert_eq!((kind(&probe), probe.path), ("TUR", paths[0]));
    host.unit.remove_path(paths[0], host.now);
    let outcome = alua_core::unit::Outcome::TimedOut;
    assert!(!host.unit.handle_completion(probe.id, &outcome, host.now));
    host.run_for(1_500, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AO)]),
    });
    assert!(host.sent.iter().any(|sent| kind(sent) == "TUR" && sent.path == paths[1]));
}
