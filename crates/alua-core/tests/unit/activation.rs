//! Sections 4.6 and 4.7 as far as they are a matter of the core: parameters, life cycle, and what a
//! device handler reports to dm-multipath (rows F and G).

use alua_core::access::{AccessState, Tpgs};
use alua_core::gate::{Gate, Refusal};
use alua_core::spc::Status;
use alua_core::tpgs::AluaOff;
use alua_core::unit::{
    ACTIVATIONS_MAX, Activated, ActivationError, ActivationRefused, AddPathError, Config, Event,
    NewPath, Outcome, PathId, Target,
};

use crate::harness::*;

fn two_groups() -> (Host, Vec<PathId>) {
    Host::known(Tpgs::Both, Config::default(), &[1, 1, 2, 2], &[(1, AO), (2, AN)])
}

#[test]
fn f01_f02_the_gate_by_state() {
    let expected = |state: AccessState| match state {
        AO | AN | LBD | TRANS => Gate::Pass,
        state => Gate::Refuse(Refusal::State(state)),
    };
    for bits in 0..16 {
        let state = AccessState::from_bits(bits);
        let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
        let first = host.next_at_deadline();
        host.answer(&first, &report(&[(1, state)]));
        assert_eq!(host.unit.gate(paths[0]), expected(state), "{state}");
    }
}

#[test]
fn f05_one_activation_too_many_is_an_error_at_once() {
    let (mut host, _) = two_groups();
    for group in 1..=4 {
        host.unit.activate(group, host.now).unwrap();
    }
    assert_eq!(ACTIVATIONS_MAX, 4);
    assert_eq!(host.unit.activate(5, host.now), Err(ActivationRefused::TooManyActivations));
    // Told ones make room.
    host.run(|command| match kind(command) {
        "STPG" => GOOD,
        _ => report(&[(1, AO), (2, AO)]),
    });
    let ends = host.events.iter().filter(|event| matches!(event, Event::Activation { .. }));
    assert_eq!(ends.count(), 4);
    assert!(host.unit.activate(5, host.now).is_ok());
}

#[test]
fn f06_f07_f24_activations_that_cannot_be_served_are_refused_at_once() {
    let (mut host, paths) = two_groups();
    host.unit.set_managed(Err(AluaOff::NotSupported), host.now);
    assert_eq!(host.unit.activate(2, host.now), Err(ActivationRefused::AluaOff));
    host.unit.set_managed(Ok(managed(Tpgs::Both)), host.now);
    for path in paths {
        host.unit.remove_path(path, host.now);
    }
    assert_eq!(host.unit.activate(2, host.now), Err(ActivationRefused::NoPath));
    host.unit.shut_down();
    assert_eq!(host.unit.activate(2, host.now), Err(ActivationRefused::ShutDown));
    host.drain();
    assert!(host.events.iter().all(|event| !matches!(event, Event::Activation { .. })));
}

/// It is asked for because the other controller is silent: a report through that one would have to
/// run into its time limit first.
#[test]
fn f06_an_activation_reads_its_report_through_the_group_that_it_asks_for() {
    for (state, other) in [(AN, AO), (SBY, AO), (UNAV, AN)] {
        let (mut host, paths) =
            Host::known(Tpgs::Both, Config::default(), &[1, 1, 2, 2], &[(1, other), (2, state)]);
        host.unit.activate(2, host.now).unwrap();
        assert!(paths[2..].contains(&host.expect_next().path), "{state}");
    }
    // Its paths have failed: the others know as well.
    let (mut host, paths) = two_groups();
    for path in &paths[2..] {
        host.unit.handle_transport_failure(*path, host.now);
    }
    host.unit.activate(2, host.now).unwrap();
    assert!(paths[..2].contains(&host.expect_next().path));
}

#[test]
fn f08_r2_an_activation_is_asynchronous_and_told_once() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(1, host.now).unwrap();
    host.drain();
    assert_eq!(host.activated(id), []);
    host.run(|_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.result(id), Ok(Activated::AlreadyThere));
    host.drain();
    assert_eq!(host.activated(id).len(), 1);
}

/// An activation is ended by `end` after each number of steps; whatever the moment, it is told
/// exactly once and nothing is sent or awaited afterwards.
fn ended_by(end: impl Fn(&mut Host, &[PathId]), expected: ActivationError) {
    for steps in 0..4 {
        for in_flight in [false, true] {
            let (mut host, paths) = two_groups();
            let running = host.unit.activate(2, host.now).unwrap();
            let waiting = host.unit.set_states(&[Target { state: SBY, id: 1 }], false, host.now);
            for _ in 0..steps {
                let command = host.next_at_deadline();
                let answer = match kind(&command) {
                    "STPG" => GOOD,
                    _ => report(&[(1, AO), (2, AN)]),
                };
                host.answer(&command, &answer);
            }
            let flight = in_flight.then(|| host.next_at_deadline());
            end(&mut host, &paths);
            host.drain();
            assert_eq!(host.result(running), Err(expected), "{steps} {in_flight}");
            assert_eq!(host.result(waiting.unwrap()), Err(expected), "{steps} {in_flight}");
            if let Some(flight) = flight {
                let outcome = Outcome::TimedOut;
                assert!(!host.unit.handle_completion(flight.id, &outcome, host.now));
            }
            assert_eq!(host.next(), None);
            assert_eq!(host.unit.poll_deadline(), None);
            assert!(!host.unit.is_busy());
        }
    }
}

#[test]
fn f16_f17_s7_11_reg_02_reg_03_activations_end_when_the_paths_go() {
    let end = |host: &mut Host, paths: &[PathId]| {
        for &path in paths {
            assert!(host.unit.remove_path(path, host.now));
        }
    };
    ended_by(end, ActivationError::NoPath);
}

#[test]
fn f16_s7_11_x12_n19_activations_end_at_shutdown() {
    ended_by(|host, _| host.unit.shut_down(), ActivationError::ShutDown);
}

#[test]
fn f13_s7_11_activations_end_when_alua_is_turned_off() {
    let end = |host: &mut Host, _: &[PathId]| {
        host.unit.set_managed(Err(AluaOff::NotSupported), host.now);
    };
    ended_by(end, ActivationError::AluaOff);
}

#[test]
fn x12_n19_after_shutdown_nothing_is_taken_or_sent() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.meet(paths[1], ATTENTION, 0x3f, 0x03);
    host.unit.shut_down();
    let name = name(1);
    let new = NewPath { name: Some(&name), group: Some(1), relative_port: None };
    assert_eq!(host.unit.add_path(new, host.now), Err(AddPathError::ShutDown));
    host.unit.refresh(host.now);
    host.meet(paths[2], ATTENTION, 0x2a, 0x06);
    host.unit.reread_identity(paths[2], host.now);
    host.run(|_| panic!("a command after shutdown"));
}

#[test]
fn f11_the_optimize_rule_is_the_units() {
    let config = Config { optimize: true, ..Config::default() };
    let (host, _) = Host::known(Tpgs::Both, config, &[1], &[(1, AN)]);
    assert!(host.unit.config().optimize);
}

#[test]
fn f12_f13_a_rescan_turns_alua_off_and_on() {
    let (mut host, paths) = two_groups();
    host.unit.set_managed(Err(AluaOff::NotSupported), host.now);
    host.drain();
    let lost = host.events.iter().filter(|event| matches!(event, Event::Path { to: None, .. }));
    assert_eq!(lost.count(), 4, "the old states are not kept");
    assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
    host.unit.set_managed(Ok(managed(Tpgs::Implicit)), host.now);
    host.run(|_| report(&[(1, SBY), (2, AO)]));
    assert_eq!(host.path_state(paths[0]), Some(SBY));
    assert_eq!(host.unit.managed().unwrap().tpgs(), Tpgs::Implicit);
    host.sent.clear();
    host.unit.set_managed(Ok(managed(Tpgs::Implicit)), host.now);
    host.run(|_| panic!("nothing changed"));
}

#[test]
fn f17_a_path_is_removed_at_every_moment_of_a_refresh() {
    for removed in 0..4 {
        for steps in 0..3 {
            let (mut host, paths) = two_groups();
            host.unit.refresh(host.now);
            for _ in 0..steps {
                if let Some(command) = host.next() {
                    if steps > 1 {
                        host.answer(&command, &Answer::Status(Status::Busy));
                    }
                }
            }
            let in_flight = host.sent.last().copied().filter(|_| steps == 1);
            host.unit.remove_path(paths[removed], host.now);
            host.sent.clear();
            if let Some(command) = in_flight.filter(|sent| sent.path != paths[removed]) {
                host.answer(&command, &report(&[(1, AN), (2, AO)]));
            }
            host.run(|command| {
                assert_ne!(command.path, paths[removed]);
                report(&[(1, AN), (2, AO)])
            });
            assert_eq!(host.state(1), Some(AN), "path {removed} after {steps} steps");
        }
    }
}

#[test]
fn f18_f19_the_words_of_sysfs() {
    let names: Vec<_> = AccessState::NAMED.into_iter().map(AccessState::name).collect();
    assert_eq!(
        names,
        [
            "active/optimized",
            "active/non-optimized",
            "standby",
            "unavailable",
            "lba-dependent",
            "offline",
            "transitioning"
        ]
    );
    assert!(
        AccessState::NAMED
            .into_iter()
            .all(|state| { AccessState::from_name(state.name()) == Some(state) })
    );
}

#[test]
fn g02_paths_of_several_groups_are_activated_one_after_the_other() {
    // dm-multipath activates every path of its priority group in parallel.
    let (mut host, _) = two_groups();
    let one = host.unit.activate(1, host.now).unwrap();
    let two = host.unit.activate(2, host.now).unwrap();
    let mut done = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            done = true;
            GOOD
        }
        _ if done => report(&[(1, AO), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.result(one), Ok(Activated::AlreadyThere));
    assert_eq!(host.result(two), Ok(Activated::Reached));
    assert_eq!(host.unit.counters().stpg, 1);
}

#[test]
fn g04_g09_every_end_says_whether_the_group_is_usable() {
    // Ok exactly where I/O would pass: what a handler maps to OK must not fail in prep.
    for tpgs in [Tpgs::Implicit, Tpgs::Explicit, Tpgs::Both] {
        for bits in 0..16 {
            let state = AccessState::from_bits(bits);
            if state == TRANS {
                continue;
            }
            let states = [(1, state)];
            let (mut host, paths) = Host::known(tpgs, Config::default(), &[1], &states);
            let id = host.unit.activate(1, host.now).unwrap();
            host.run_for(60_000, |command| match kind(command) {
                "STPG" => GOOD,
                _ => report(&states),
            });
            if host.result(id).is_ok() {
                assert_eq!(host.unit.gate(paths[0]), Gate::Pass, "{tpgs:?} {state}");
            }
        }
    }
}

#[test]
fn g05_an_unlisted_group_is_an_error() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(9, host.now).unwrap();
    host.run(|_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.result(id), Err(ActivationError::UnknownGroup(9)));
}

#[test]
fn g18_standby_on_an_implicit_only_target_is_no_success() {
    for state in [SBY, UNAV, OFF] {
        let states = [(1, AO), (2, state)];
        let (mut host, _) = Host::known(Tpgs::Implicit, Config::default(), &[1, 2], &states);
        let id = host.unit.activate(2, host.now).unwrap();
        host.run(|_| report(&states));
        assert_eq!(host.result(id), Err(ActivationError::ImplicitOnly { group: 2, state }));
    }
}

#[test]
fn g18_a_transition_on_an_implicit_only_target_is_waited_for() {
    let states = [(1, AN), (2, AO)];
    let (mut host, _) = Host::known(Tpgs::Implicit, Config::default(), &[1, 2], &states);
    let id = host.unit.activate(1, host.now).unwrap();
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, TRANS), (2, TRANS)]));
    host.run_for(20_000, |_| IN_TRANSITION);
    assert_eq!(host.activated(id), []);
    host.run_for(4_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.result(id), Ok(Activated::AlreadyThere));
}

/// A device handler's caller fails the path of every activation that fails: a group that carries
/// I/O is success, whatever became of the wish to have it optimized.
#[test]
fn d10_d11_g09_a_device_handler_is_content_with_a_live_group() {
    let answers = [
        GOOD,
        Answer::Check(ILLEGAL, 0x24, 0x00),
        Answer::Check(ILLEGAL, 0x67, 0x0a),
        Answer::Status(Status::ReservationConflict),
    ];
    for answer in answers {
        for (state, content) in [(AN, true), (SBY, false)] {
            let known = [(1, AO), (2, state)];
            let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &known);
            let id = host.unit.activate(2, host.now).unwrap();
            host.run_for(30_000, |command| match kind(command) {
                "STPG" => answer.clone(),
                _ => report(&known),
            });
            match host.result(id) {
                Ok(Activated::StaysLive) => assert!(content, "{answer:?}"),
                Err(_) => assert!(!content, "{answer:?}"),
                other => panic!("{answer:?}, {state}: {other:?}"),
            }
        }
    }
}

#[test]
fn reg_27_the_limit_per_minute_does_not_fail_a_live_group() {
    let config = Config { stpg_per_minute: 1, ..Config::default() };
    let known = [(1, AO), (2, AN)];
    let (mut host, _) = Host::known(Tpgs::Both, config, &[1, 2], &known);
    for _ in 0..3 {
        let id = host.unit.activate(2, host.now).unwrap();
        host.run_for(5_000, |command| match kind(command) {
            "STPG" => GOOD,
            _ => report(&known),
        });
        assert_eq!(host.result(id), Ok(Activated::StaysLive));
    }
    assert_eq!(host.unit.counters().stpg, 1);
}
