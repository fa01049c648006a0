//! Section 4.4: SET TARGET PORT GROUPS, when it is sent, what it says, what its answer means
//! (rows D).

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::spc::Status;
use alua_core::spc::cdb::ReportFormat::Extended;
use alua_core::spc::sense::SenseKey;
use alua_core::spc::target_port_groups::GroupFields;
use alua_core::unit::{
    Activated, ActivationError, ActivationRefused, ActivationResult, Config, PathId, Target,
};

use crate::harness::*;

/// Activates group 2, which is in `state`, on a target that never changes anything.
fn activate(tpgs: Tpgs, config: Config, state: AccessState) -> (Host, ActivationResult) {
    let states = [(1, AO), (2, state)];
    let (mut host, _) = Host::known(tpgs, config, &[1, 2], &states);
    let id = host.unit.activate(2, host.now).unwrap();
    host.run_for(10_000, |command| match kind(command) {
        "STPG" | "TUR" => GOOD,
        _ => report(&states),
    });
    let result = host.result(id);
    (host, result)
}

fn stpgs(host: &Host) -> u32 {
    host.unit.counters().stpg
}

fn two_groups() -> (Host, Vec<PathId>) {
    Host::known(Tpgs::Both, Config::default(), &[1, 1, 2, 2], &[(1, AO), (2, AN)])
}

/// A target that does what it is told, and answers its first STPG with `first`.
fn obedient(host: &mut Host, obeys: bool, first: &Answer) {
    let mut first = Some(first.clone());
    let mut moved = false;
    host.run_for(60_000, |command| match kind(command) {
        "STPG" => {
            let answer = first.take().unwrap_or(GOOD);
            moved |= obeys || matches!(answer, Answer::Good(_));
            answer
        }
        "TUR" => GOOD,
        _ if moved => report(&[(1, AN), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
}

#[test]
fn d01_r1_no_stpg_without_the_explicit_bit() {
    for state in [AN, SBY, UNAV, OFF, LBD, AccessState::Reserved(7)] {
        let (host, result) = activate(Tpgs::Implicit, Config::default(), state);
        assert_eq!(stpgs(&host), 0);
        match result {
            Ok(Activated::ImplicitOnly) => assert!(state.is_live()),
            Err(ActivationError::ImplicitOnly { group: 2, state: told }) => {
                assert!(!state.is_live());
                assert_eq!(told, state);
            }
            other => panic!("{state}: {other:?}"),
        }
    }
}

#[test]
fn d02_an_optimized_group_is_left_alone() {
    let (host, result) = activate(Tpgs::Explicit, Config::default(), AO);
    assert_eq!((stpgs(&host), result), (0, Ok(Activated::AlreadyThere)));
}

#[test]
fn d03_d04_the_optimize_rule() {
    let optimize = Config { optimize: true, ..Config::default() };
    let (host, result) = activate(Tpgs::Both, optimize, AN);
    assert_eq!((stpgs(&host), result), (0, Ok(Activated::LeftToTarget)));
    let (host, _) = activate(Tpgs::Explicit, optimize, AN);
    assert_eq!(stpgs(&host), 1, "the target does not manage itself");
    let (host, _) = activate(Tpgs::Both, Config::default(), AN);
    assert_eq!(stpgs(&host), 1, "the rule is off");

    let preferred = GroupFields { preferred: true, ..fields(2, AN) };
    let (mut host, _) = Host::with_paths(Tpgs::Both, optimize, &[1, 2]);
    host.run(|_| report_with(Extended, 0, [fields(1, AO), preferred]));
    host.unit.activate(2, host.now).unwrap();
    host.run(|command| match kind(command) {
        "STPG" => GOOD,
        _ => report_with(Extended, 0, [fields(1, AO), preferred]),
    });
    assert_eq!(stpgs(&host), 1, "the target prefers the group");
}

#[test]
fn d05_standby_and_unavailable_are_activated() {
    for state in [SBY, UNAV] {
        let (host, _) = activate(Tpgs::Both, Config::default(), state);
        assert_eq!(stpgs(&host), 1, "{state}");
    }
}

#[test]
fn d05_in_transition_nothing_is_sent_before_it_is_over() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, AO), (2, TRANS)]));
    host.run_for(20_000, |command| {
        assert_ne!(kind(command), "STPG", "no STPG in transition");
        match kind(command) {
            "TUR" => IN_TRANSITION,
            _ => report(&[(1, AO), (2, TRANS)]),
        }
    });
    obedient(&mut host, false, &GOOD);
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn d06_offline_is_not_activated() {
    let (host, result) = activate(Tpgs::Both, Config::default(), OFF);
    assert_eq!(stpgs(&host), 0);
    assert_eq!(result, Err(ActivationError::NotActivatable { group: 2, state: OFF }));
}

#[test]
fn d07_lba_dependent_and_reserved_are_not_activated() {
    for state in [LBD, AccessState::Reserved(5)] {
        let (host, result) = activate(Tpgs::Both, Config::default(), state);
        assert_eq!(stpgs(&host), 0);
        assert_eq!(result, Err(ActivationError::NotActivatable { group: 2, state }));
    }
}

#[test]
fn d08_the_command_names_its_own_group_only() {
    let (mut host, paths) = two_groups();
    host.unit.activate(2, host.now).unwrap();
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, AO), (2, AN)]));
    let stpg = host.expect_next();
    assert_eq!(stpg.cdb().as_ref(), [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
    let mut list = [0xff; 16];
    assert_eq!(stpg.write_data_out(&mut list), Ok(8));
    assert_eq!(list[..8], [0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!((stpg.data_out_len(), stpg.data_in_len()), (8, 0));
    assert!(stpg.write_data_out(&mut [0; 7]).is_err(), "a short buffer is an error");
    assert!(paths[2..].contains(&stpg.path), "through the group that is to become better");
}

#[test]
fn d09_not_submitted_and_busy_are_sent_again_later() {
    for answer in [Answer::NotSubmitted, Answer::Status(Status::Busy)] {
        let (mut host, _) = two_groups();
        let id = host.switch(2);
        obedient(&mut host, false, &answer);
        assert_eq!(host.kinds(), ["RTPG", "STPG", "STPG", "RTPG"], "{answer:?}");
        assert_eq!(host.unit.counters().retries, 1, "{answer:?}");
        assert_eq!(host.result(id), Ok(Activated::Reached));

        let (mut host, _) = two_groups();
        let id = host.switch(2);
        host.run_for(60_000, |command| match kind(command) {
            "STPG" => answer.clone(),
            _ => report(&[(1, AO), (2, AN)]),
        });
        assert_eq!(stpgs(&host), 6, "{answer:?}");
        assert!(matches!(
            host.result(id),
            Err(ActivationError::NotSubmitted | ActivationError::Status(Status::Busy))
        ));
    }
}

#[test]
fn d10_a_refusal_is_checked_by_a_report() {
    let refusal = Answer::Check(SenseKey::HardwareError, 0x67, 0x0a);
    let (mut host, _) = two_groups();
    let id = host.switch(2);
    host.run_for(60_000, |command| match kind(command) {
        "STPG" => refusal.clone(),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG"]);
    assert!(matches!(
        host.result(id),
        Err(ActivationError::Refused(code)) if (code.asc, code.ascq) == (0x67, 0x0a)
    ));
    // The report is the truth, also where the target did it all the same.
    let (mut host, _) = two_groups();
    let id = host.switch(2);
    obedient(&mut host, true, &refusal);
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn d10_check_condition_without_sense_and_odd_statuses_end() {
    for status in [Status::CheckCondition, Status::ReservationConflict, Status::TaskAborted] {
        let (mut host, _) = two_groups();
        let id = host.switch(2);
        host.run_for(60_000, |command| match kind(command) {
            "STPG" => Answer::Status(status),
            _ => report(&[(1, AO), (2, AN)]),
        });
        assert_eq!(stpgs(&host), 1);
        assert_eq!(host.result(id), Err(ActivationError::Status(status)));
    }
}

#[test]
fn d10_a_unit_attention_on_the_stpg_decides_anew() {
    let attention = Answer::Check(ATTENTION, 0x2a, 0x06);
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    obedient(&mut host, false, &attention);
    assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG", "STPG", "RTPG"]);
    assert_eq!(host.result(id), Ok(Activated::Reached));
    // The other host did it meanwhile: nothing more is sent.
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    obedient(&mut host, true, &attention);
    assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG"]);
    assert_eq!(host.result(id), Ok(Activated::AlreadyThere));
}

#[test]
fn d10_unit_attentions_and_transitions_on_the_stpg_without_end_end() {
    for answer in [Answer::Check(ATTENTION, 0x29, 0x00), IN_TRANSITION] {
        for force in [false, true] {
            let (mut host, _) = two_groups();
            let target = [Target { state: AO, id: 2 }];
            let id = host.unit.set_states(&target, force, host.now).unwrap();
            host.run_for(60_000, |command| match kind(command) {
                "STPG" => answer.clone(),
                "TUR" => GOOD,
                _ => report(&[(1, AO), (2, AN)]),
            });
            assert!(host.result(id).is_err());
            assert!(stpgs(&host) <= 9);
        }
    }
}

#[test]
fn d10_a_lost_stpg_is_sent_over_other_paths_after_a_report() {
    for answer in [Answer::Failed, Answer::TimedOut] {
        let (mut host, _) = two_groups();
        let id = host.switch(2);
        obedient(&mut host, false, &answer);
        assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG", "STPG", "RTPG"]);
        assert_ne!(host.sent[1].path, host.sent[3].path);
        assert_eq!(host.result(id), Ok(Activated::Reached));
        // It had arrived after all.
        let (mut host, _) = two_groups();
        let id = host.switch(2);
        obedient(&mut host, true, &answer);
        assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG"]);
        assert_eq!(host.result(id), Ok(Activated::Reached));
        // It never arrives.
        let (mut host, _) = two_groups();
        let id = host.switch(2);
        host.run_for(60_000, |command| match kind(command) {
            "STPG" => answer.clone(),
            _ => report(&[(1, AO), (2, AN)]),
        });
        assert_eq!(stpgs(&host), 3);
        assert_eq!(host.result(id), Err(ActivationError::Transport));
    }
}

#[test]
fn d11_x7_an_effect_that_comes_late_is_waited_for() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    let mut reports = 0;
    host.run_for(60_000, |command| match kind(command) {
        "STPG" => GOOD,
        _ => {
            reports += 1;
            if reports > 3 { report(&[(1, AN), (2, AO)]) } else { report(&[(1, AO), (2, AN)]) }
        }
    });
    assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG", "RTPG", "RTPG"]);
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn d12_an_accepted_stpg_is_done_only_when_its_transition_is() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, AO), (2, AN)]));
    let stpg = host.expect_next();
    host.answer(&stpg, &GOOD);
    let check = host.expect_next();
    host.answer(&check, &report(&[(1, TRANS), (2, TRANS)]));
    host.run_for(100_000, |_| IN_TRANSITION);
    assert_eq!(host.activated(id), [], "still in transition");
    host.run_for(10_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AN), (2, AO)]),
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
    assert_eq!(stpgs(&host), 1);
}

#[test]
fn d12_a_transition_that_outlives_its_limit_ends_the_activation_then() {
    let (mut host, _) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    let start = host.now;
    let mut switching = false;
    host.run_for(400_000, |command| match kind(command) {
        "STPG" => {
            switching = true;
            GOOD
        }
        "TUR" => IN_TRANSITION,
        _ if switching => report(&[(1, TRANS), (2, TRANS)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert!(matches!(host.result(id), Err(ActivationError::TransitionTimedOut { .. })));
    assert_eq!(stpgs(&host), 1);
    let told = host
        .events
        .iter()
        .rposition(|event| matches!(event, alua_core::unit::Event::Group { to: Some(SBY), .. }));
    assert!(told.is_some(), "and the group is standby");
    assert!(host.now.since(start) >= 255_000);
}

#[test]
fn d08_states_of_several_groups_go_into_one_command() {
    let (mut host, _) = two_groups();
    let targets = [Target { state: SBY, id: 1 }, Target { state: AO, id: 2 }];
    let id = host.unit.set_states(&targets, false, host.now).unwrap();
    let mut lists = Vec::new();
    let mut done = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            let mut list = [0; 16];
            let length = command.write_data_out(&mut list).unwrap();
            lists.push(list[..length].to_vec());
            done = true;
            GOOD
        }
        _ if done => report(&[(1, SBY), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(lists, [[0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 2]]);
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn d08_requests_that_make_no_sense_are_not_taken() {
    let (mut host, _) = two_groups();
    let target = |state, id| Target { state, id };
    let mut refused = |targets: &[Target]| {
        host.unit.set_states(targets, false, alua_core::time::Time::ZERO).unwrap_err()
    };
    assert_eq!(refused(&[]), ActivationRefused::Empty);
    let many: Vec<_> = (0..17).map(|id| target(AO, id)).collect();
    assert_eq!(refused(&many), ActivationRefused::TooManyTargets);
    assert_eq!(refused(&[target(AO, 1), target(SBY, 1)]), ActivationRefused::Twice(1));
    for state in [TRANS, LBD, AccessState::Reserved(9)] {
        assert_eq!(refused(&[target(state, 1)]), ActivationRefused::NotSettable(state));
    }
    assert_eq!(host.next(), None);
}

#[test]
fn d08_a_state_that_the_group_does_not_support_needs_force() {
    let narrow = GroupFields { supported: SupportedStates::from_bits(0x03), ..fields(2, AN) };
    for force in [false, true] {
        let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
        let answer = report_with(Extended, 0, [fields(1, AO), narrow]);
        host.run(|_| answer.clone());
        let target = [Target { state: SBY, id: 2 }];
        let id = host.unit.set_states(&target, force, host.now).unwrap();
        host.run(|command| if kind(command) == "STPG" { GOOD } else { answer.clone() });
        assert_eq!(stpgs(&host), u32::from(force));
        let missing = ActivationError::StateNotSupported { group: 2, state: SBY };
        assert_eq!(host.result(id) == Err(missing), !force);
    }
}

#[test]
fn d08_a_port_is_taken_offline_by_its_relative_identifier() {
    let (mut host, _) = two_groups();
    // The harness gives each path its group's number as relative port.
    let known = [Target { state: OFF, id: 2 }];
    let id = host.unit.set_states(&known, false, host.now).unwrap();
    let mut done = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            done = true;
            GOOD
        }
        _ if done => report(&[(1, AO), (2, OFF)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
    let unknown = [Target { state: OFF, id: 77 }];
    let id = host.unit.set_states(&unknown, false, host.now).unwrap();
    host.run(|command| match kind(command) {
        "STPG" => GOOD,
        _ => report(&[(1, AO), (2, OFF)]),
    });
    assert_eq!(host.result(id), Ok(Activated::Accepted));
}

#[test]
fn reg_27_stpg_is_limited_per_minute() {
    let (mut host, _) = two_groups();
    let mut limited = 0;
    for round in 0..20 {
        // Another host pulls it back each time.
        let group = 1 + u16::from(round % 2 == 0);
        let mut states = if group == 2 { [(1, AO), (2, AN)] } else { [(1, AN), (2, AO)] };
        let id = host.switch(group);
        host.run(|command| match kind(command) {
            "STPG" => {
                states = if group == 2 { [(1, AN), (2, AO)] } else { [(1, AO), (2, AN)] };
                GOOD
            }
            _ => report(&states),
        });
        match host.result(id) {
            Ok(Activated::Reached) => {}
            Err(ActivationError::RateLimited { until }) => {
                assert!(until > host.now);
                limited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stpgs(&host), limited), (8, 12));
    host.wait(60_001);
    host.switch(2);
    host.run(|command| if kind(command) == "STPG" { GOOD } else { report(&[(1, AO), (2, AN)]) });
    assert_eq!(stpgs(&host), 9);
}

/// What became of it nobody hears: it may have had an effect.
#[test]
fn reg_27_an_stpg_under_way_when_the_last_path_goes_counts() {
    let config = Config { stpg_per_minute: 1, ..Config::default() };
    let known = [(1, AO), (2, AN)];
    let (mut host, paths) = Host::known(Tpgs::Both, config, &[1, 2], &known);
    let id = host.switch(2);
    let first = host.expect_next();
    host.answer(&first, &report(&known));
    assert_eq!(kind(&host.expect_next()), "STPG");
    for path in paths {
        assert!(host.unit.remove_path(path, host.now));
    }
    host.drain();
    assert_eq!(host.result(id), Err(ActivationError::NoPath));
    for group in [1, 2] {
        host.add(Some(group));
    }
    host.run(|_| report(&known));
    let id = host.switch(2);
    host.run(|command| if kind(command) == "STPG" { GOOD } else { report(&known) });
    let result = host.result(id);
    assert!(matches!(result, Err(ActivationError::RateLimited { .. })), "{result:?}");
    assert_eq!(stpgs(&host), 1);
}

/// A host that has no live path would stand still for the rest of the minute.
#[test]
fn reg_27_where_no_path_is_live_the_limit_only_spaces() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, SBY), (2, SBY)]);
    let begin = host.now;
    for round in 0..12_u32 {
        let id = host.switch(1);
        // The group falls back each time.
        let mut taken = false;
        host.run_for(8_000, |command| match kind(command) {
            "STPG" => {
                taken = true;
                GOOD
            }
            _ => report(&[(1, if taken { AO } else { SBY }), (2, SBY)]),
        });
        assert_eq!(host.result(id), Ok(Activated::Reached), "round {round}");
        host.unit.refresh(host.now);
        host.run(|_| report(&[(1, SBY), (2, SBY)]));
    }
    assert_eq!(stpgs(&host), 12);
    assert!(host.now.since(begin) >= 4 * 7_500, "one every 7.5 s beyond the limit");
}

/// dm-multipath asks for a group when it has no better one; it fails the paths of one that is
/// refused, and the live group that we see may be one whose paths are gone.
#[test]
fn reg_27_for_a_device_handler_the_limit_only_spaces() {
    let config = Config { stpg_per_minute: 1, ..Config::default() };
    let (mut host, _) = Host::known(Tpgs::Both, config, &[1, 2], &[(1, AO), (2, SBY)]);
    let begin = host.now;
    for (group, other) in [(2, 1), (1, 2)] {
        let id = host.unit.activate(group, host.now).unwrap();
        let mut taken = false;
        host.run_for(61_000 * u32::from(group == 1), |command| match kind(command) {
            "STPG" => {
                taken = true;
                GOOD
            }
            _ if taken => report(&[(group, AO), (other, SBY)]),
            _ => report(&[(group, SBY), (other, AO)]),
        });
        assert_eq!(host.result(id), Ok(Activated::Reached));
    }
    assert_eq!(stpgs(&host), 2);
    assert!(host.now.since(begin) >= 60_000);
}

/// The paths of the group that is asked for may go in the middle of it: what was never sent is no
/// try, and does not count towards the limit.
#[test]
fn reg_02_paths_that_are_gone_cost_an_activation_nothing() {
    let config = Config { stpg_per_minute: 1, ..Config::default() };
    let groups = [1, 2, 2, 2, 2, 2];
    let (mut host, paths) = Host::known(Tpgs::Both, config, &groups, &[(1, SBY), (2, SBY)]);
    let begin = host.now;
    let id = host.unit.activate(2, host.now).unwrap();
    let mut taken = false;
    host.run(|command| match kind(command) {
        _ if command.path != paths[0] => Answer::Unreachable,
        "STPG" => {
            taken = true;
            GOOD
        }
        _ => report(&[(1, SBY), (2, if taken { AO } else { SBY })]),
    });
    assert_eq!(host.result(id), Ok(Activated::Reached));
    assert!(host.now.since(begin) < 1_000, "without a pause");
}

#[test]
fn reg_02_an_activation_none_of_whose_paths_can_be_reached_ends() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, SBY)]);
    let id = host.unit.activate(2, host.now).unwrap();
    host.run_for(600_000, |command| match kind(command) {
        "STPG" => Answer::Unreachable,
        _ => report(&[(1, AO), (2, SBY)]),
    });
    assert_eq!(host.result(id), Err(ActivationError::Transport));
    assert!(stpgs(&host) < 32, "{}", stpgs(&host));
}

#[test]
fn d09_no_path_that_may_carry_the_stpg_ends_the_activation() {
    let (mut host, paths) = two_groups();
    let id = host.unit.activate(2, host.now).unwrap();
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, AO), (2, AN)]));
    // Between the report and the STPG every path is put in doubt.
    for path in paths {
        host.meet(path, ATTENTION, 0x3f, 0x0e);
    }
    while host.next().is_some() {}
    assert_eq!(host.result(id), Err(ActivationError::NoPath));
    assert_eq!(stpgs(&host), 0);
}

#[test]
fn d08_sixteen_groups_fit_into_one_request() {
    let (mut host, _) = two_groups();
    let targets: Vec<_> = (1..=16).map(|id| Target { state: AO, id }).collect();
    assert!(host.unit.set_states(&targets, false, host.now).is_ok());
}

#[test]
fn d10_a_trouble_that_is_over_is_not_held_against_the_next_try() {
    // Lost once, then accepted without effect: the end tells the second, not the first.
    let (mut host, _) = two_groups();
    let id = host.switch(2);
    let mut first = Some(Answer::Failed);
    host.run_for(60_000, |command| match kind(command) {
        "STPG" => first.take().unwrap_or(GOOD),
        _ => report(&[(1, AO), (2, AN)]),
    });
    let expected = ActivationError::NotReached { group: 2, state: Some(AN) };
    assert_eq!(host.result(id), Err(expected));
}

#[test]
fn d10_what_the_stpg_meets_counts_for_its_path() {
    let sent = |answer: &Answer| {
        let (mut host, _) = two_groups();
        host.unit.activate(2, host.now).unwrap();
        let first = host.expect_next();
        host.answer(&first, &report(&[(1, AO), (2, AN)]));
        let stpg = host.expect_next();
        host.answer(&stpg, answer);
        (host, stpg.path)
    };
    let (host, path) = sent(&IN_TRANSITION);
    assert_eq!(host.path_state(path), Some(TRANS));
    let (mut host, path) = sent(&Answer::Check(ATTENTION, 0x3f, 0x0e));
    let rest: Vec<_> = std::iter::from_fn(|| host.next()).collect();
    let reading = rest.iter().find(|command| kind(command) == "INQUIRY");
    assert_eq!(reading.map(|command| command.path), Some(path));
}
