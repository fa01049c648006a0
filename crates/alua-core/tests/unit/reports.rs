//! Section 4.2: sending REPORT TARGET PORT GROUPS, and what its answers mean (rows B).

use alua_core::access::{SupportedStates, Tpgs};
use alua_core::cause::{Cause, RefreshError};
use alua_core::gate::{Gate, Refusal};
use alua_core::spc::cdb::ReportFormat::{Extended, LengthOnly};
use alua_core::spc::sense::SenseKey;
use alua_core::spc::target_port_groups::{GroupFields, StatusCode};
use alua_core::spc::{Rule, Status};
use alua_core::unit::{
    ATTENTIONS_AT_ONCE, ATTENTIONS_MAX, Activated, CommandKind, Config, Event, GROWTH_STEPS_MAX,
    RESENDS_MAX, Transition,
};

use crate::harness::*;

fn two_groups(config: Config) -> (Host, Vec<alua_core::unit::PathId>) {
    Host::known(Tpgs::Both, config, &[1, 1, 2, 2], &[(1, AO), (2, AN)])
}

fn failures(host: &Host) -> Vec<RefreshError> {
    let error = |event: &Event| match event {
        Event::RefreshFailed { error } => Some(*error),
        _ => None,
    };
    host.events.iter().filter_map(error).collect()
}

#[test]
fn b01_the_command() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    let command = host.next_at_deadline();
    let cdb = command.cdb();
    assert_eq!(cdb.as_ref(), [0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]);
    assert_eq!(command.data_in_len(), 1024);
    assert_eq!(command.data_out_len(), 0);
    assert_eq!(command.timeout_ms, 30_000);
    assert!(host.unit.is_busy());
}

#[test]
fn b02_reg_14_a_transition_has_255_s_where_the_target_says_nothing() {
    let (mut host, paths) = two_groups(Config::default());
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let deadline = host.at(255_000);
    let expected = Transition::Running { since: host.now, deadline };
    assert_eq!(host.unit.group(1).unwrap().transition(), Some(expected));
}

#[test]
fn b04_reg_05_errors_do_not_matter_where_only_optimized_is_supported() {
    let only = GroupFields { supported: SupportedStates::from_bits(0x01), ..fields(1, AO) };
    for answer in [
        Answer::Failed,
        Answer::TimedOut,
        Answer::Check(SenseKey::HardwareError, 0x44, 0),
        Answer::Check(ILLEGAL, 0x20, 0),
        Answer::Status(Status::TaskAborted),
        Answer::Good(vec![0, 0, 0, 3, 1, 2, 3]),
    ] {
        let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
        host.run(|_| report_with(Extended, 0, [only]));
        host.sent.clear();
        let id = host.unit.activate(1, host.now).unwrap();
        host.run(|_| answer.clone());
        assert_eq!(host.path_state(paths[0]), Some(AO), "{answer:?}");
        assert_eq!(failures(&host), [], "{answer:?}");
        assert_eq!(host.result(id), Ok(Activated::AlreadyThere), "{answer:?}");
    }
}

#[test]
fn b04_x8_support_bits_not_known_are_not_only_optimized() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run_for(1_000, |_| Answer::Check(SenseKey::HardwareError, 0x44, 0));
    assert_eq!(failures(&host).len(), 1);
    assert_eq!(host.state(1), None);
    // An empty set says nothing either.
    let empty = GroupFields { supported: SupportedStates::NONE, ..fields(1, AO) };
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| report_with(Extended, 0, [empty]));
    host.unit.refresh(host.now);
    host.run_for(1_000, |_| Answer::Check(SenseKey::HardwareError, 0x44, 0));
    assert_eq!(failures(&host).len(), 1);
}

#[test]
fn b03_b05_reg_07_a_command_that_was_not_taken_is_sent_again_a_few_times() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run_for(20_000, |_| Answer::NotSubmitted);
    let tries = usize::from(RESENDS_MAX) + 1;
    assert_eq!(host.sent.len(), tries);
    assert_eq!(failures(&host), [RefreshError::NotSubmitted]);
    host.run_for(20_000, |_| report(&[(1, AO)]));
    assert_eq!(host.state(1), Some(AO), "tried again later by itself");
}

#[test]
fn b03_b05_busy_and_task_set_full_are_the_same() {
    for status in [Status::Busy, Status::TaskSetFull] {
        let (mut host, _) = two_groups(Config::default());
        host.unit.refresh(host.now);
        let first = host.expect_next();
        host.answer(&first, &Answer::Status(status));
        assert_eq!(host.next(), None, "not at once");
        assert_eq!(host.unit.poll_deadline(), Some(host.at(500)));
        host.wait(500);
        assert_eq!(host.expect_next().path, first.path);
    }
}

#[test]
fn b03_b05_b06_what_repeats_a_command_that_brought_nothing_is_counted() {
    let retries = |host: &Host| (host.sent.len(), host.unit.counters().retries);
    for nothing in [
        Answer::NotSubmitted,
        Answer::Status(Status::Busy),
        Answer::Check(ATTENTION, 0x29, 0x00),
        Answer::Failed,
        Answer::TimedOut,
        Answer::Check(SenseKey::HardwareError, 0x44, 0x00),
    ] {
        let (mut host, _) = two_groups(Config::default());
        let mut first = true;
        host.unit.refresh(host.now);
        host.run_for(20_000, |command| {
            let reports = kind(command) != "INQUIRY" && !std::mem::take(&mut first);
            if reports { report(&[(1, AO), (2, AN)]) } else { nothing.clone() }
        });
        assert_eq!(host.unit.counters().retries, 1, "{nothing:?}: {:?}", host.kinds());
    }
    // One refresh after the other, and what asks otherwise, are no retries.
    let (mut host, _) = two_groups(Config::default());
    host.unit.refresh(host.now);
    let first = host.expect_next();
    host.answer(&first, &Answer::Check(ILLEGAL, 0x24, 0x00));
    host.run_for(1_000, |_| report(&[(1, AO), (2, AN)]));
    host.unit.refresh(host.now);
    host.run_for(1_000, |_| report(&[(1, AO), (2, AN)]));
    assert_eq!(retries(&host), (3, 0), "{:?}", host.kinds());
    host.unit.refresh(host.now);
    let long = Answer::Good(vec![0, 0, 0x20, 0, 0, 0, 0, 0]);
    let first = host.expect_next();
    host.answer(&first, &long);
    host.run_for(1_000, |_| report(&[(1, AO), (2, AN)]));
    assert_eq!(retries(&host), (5, 0), "{:?}", host.kinds());
}

#[test]
fn b06_c09_reg_09_a_failed_transport_moves_on_to_another_path() {
    for answer in [Answer::Failed, Answer::TimedOut] {
        let (mut host, paths) = two_groups(Config::default());
        host.unit.refresh(host.now);
        let first = host.expect_next();
        host.answer(&first, &answer);
        let second = host.expect_next();
        assert_ne!(second.path, first.path);
        host.answer(&second, &report(&[(1, AN), (2, AO)]));
        assert_eq!(host.path_state(paths[0]), Some(AN));
        // The path that failed is the last to be asked next time.
        host.unit.refresh(host.now);
        assert_ne!(host.expect_next().path, first.path);
    }
}

#[test]
fn b07_c10_all_paths_failed_is_told_and_tried_again_slowly() {
    let (mut host, paths) = two_groups(Config::default());
    host.unit.refresh(host.now);
    host.run_for(29_000, |_| Answer::Failed);
    assert_eq!(host.sent.len(), 4, "each path once");
    assert!(matches!(failures(&host)[..], [RefreshError::Transport(_)]));
    assert!(host.unit.refresh_error().is_some());
    assert_eq!(host.path_state(paths[0]), Some(AO), "what was known stays");
    host.run_for(2_000, |_| report(&[(1, AN), (2, AO)]));
    assert_eq!(host.path_state(paths[0]), Some(AN));
    assert_eq!(host.unit.refresh_error(), None);
}

#[test]
fn b07_check_condition_without_sense_is_an_error_of_its_own() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run_for(100, |_| Answer::Status(Status::CheckCondition));
    assert_eq!(failures(&host), [RefreshError::Status(Status::CheckCondition)]);
}

#[test]
fn b08_reg_06_x3_reg_34_any_illegal_request_turns_to_the_short_header_for_good() {
    for asc in [0x24, 0x20, 0x00, 0x26, 0x80] {
        let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
        host.run(|command| match kind(command) {
            "RTPG" => Answer::Check(ILLEGAL, asc, 0),
            _ => report_with(LengthOnly, 0, [fields(1, AN)]),
        });
        assert_eq!(host.kinds(), ["RTPG", "RTPG-short"], "ASC {asc:02x}h");
        assert_eq!(host.state(1), Some(AN));
        assert_eq!(host.unit.extended_header(), Some(false));
        host.unit.refresh(host.now);
        assert_eq!(kind(&host.expect_next()), "RTPG-short", "sticky");
    }
}

#[test]
fn b09_refused_both_ways_ends_and_is_not_asked_again_without_a_reason() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 1]);
    host.run(|_| Answer::Check(ILLEGAL, 0x20, 0));
    // One path may be in the middle of an update: the other is asked too.
    assert_eq!(host.kinds(), ["RTPG", "RTPG-short", "RTPG", "RTPG-short"]);
    assert!(matches!(failures(&host)[..], [RefreshError::Unsupported(_)]));
    assert_eq!(host.state(1), None);
    assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
    host.unit.refresh(host.now);
    host.run(|_| report(&[(1, AO)]));
    assert_eq!(host.state(1), Some(AO), "a rescan is a reason");
}

#[test]
fn b10_reg_04_x4_r8_transition_sense_on_the_report_itself() {
    for key in [NOT_READY, ATTENTION] {
        let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
        let first = host.next_at_deadline();
        host.answer(&first, &Answer::Check(key, 0x04, 0x0a));
        assert_eq!(host.path_state(paths[0]), Some(TRANS));
        host.run_for(10_000, |command| match kind(command) {
            "TUR" => GOOD,
            _ => report(&[(1, AO)]),
        });
        assert_eq!(host.path_state(paths[0]), Some(AO));
    }
}

#[test]
fn b11_r9_x5_unit_attentions_on_the_first_report_are_stepped_over() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    let mut attentions = 3;
    host.run(|_| {
        if attentions > 0 {
            attentions -= 1;
            return Answer::Check(ATTENTION, 0x29, 0x00);
        }
        report(&[(1, AO)])
    });
    assert_eq!(host.sent.len(), 4);
    assert_eq!(host.state(1), Some(AO));
    assert_eq!(failures(&host), []);
    assert!(host.now.as_millis() < 100, "without waiting");
}

#[test]
fn b12_unit_attentions_without_end_end_the_pass() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run_for(20_000, |_| Answer::Check(ATTENTION, 0x29, 0x00));
    assert!(matches!(failures(&host)[..], [RefreshError::Attentions(_)]), "{:?}", host.events);
    assert_eq!(host.sent.len(), usize::from(ATTENTIONS_MAX) + 1);
}

#[test]
fn b11_the_first_attentions_are_answered_at_once_and_the_others_later() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    for attention in 1..=ATTENTIONS_MAX {
        let command = host.next_at_deadline();
        host.answer(&command, &Answer::Check(ATTENTION, 0x29, 0x00));
        let wait = if attention <= ATTENTIONS_AT_ONCE { 0 } else { 500 };
        assert_eq!(host.unit.poll_deadline(), Some(host.at(wait)), "after {attention}");
    }
}

#[test]
fn b13_other_sense_moves_on_and_is_told() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 1]);
    host.run_for(1_000, |_| Answer::Check(SenseKey::AbortedCommand, 0x47, 0x00));
    assert_eq!(host.sent.len(), 2);
    assert!(matches!(
        failures(&host)[..],
        [RefreshError::Sense(code)] if (code.key, code.asc) == (0xb, 0x47)
    ));
}

#[test]
fn b14_reg_23_a_failure_long_ago_does_not_shorten_a_transition() {
    let (mut host, paths) = two_groups(Config::default());
    host.unit.refresh(host.now);
    host.run_for(1_000, |_| Answer::Status(Status::CheckCondition));
    host.run_for(400_000, |_| report(&[(1, AO), (2, AN)]));
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.run_for(254_000, |_| IN_TRANSITION);
    assert_eq!(host.state(1), Some(TRANS), "its own 255 s, from its own start");
    host.run_for(2_000, |_| IN_TRANSITION);
    assert_eq!(host.state(1), Some(SBY));
}

#[test]
fn b15_b16_a_long_report_gets_the_buffer_it_needs() {
    let (mut host, _) =
        Host::with_paths(Tpgs::Both, Config { report_bytes: 16, ..Config::default() }, &[1]);
    host.run(|_| report(&[(1, AO), (2, AN), (3, SBY)]));
    assert_eq!(host.sent.iter().map(|sent| sent.data_in_len()).collect::<Vec<_>>(), [16, 44]);
    assert_eq!(host.state(1), Some(AO));
    host.unit.refresh(host.now);
    assert_eq!(host.expect_next().data_in_len(), 44, "remembered");
}

#[test]
fn b15_s7_12_a_report_that_always_grows_is_given_up() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run_for(1_000, |command| {
        Answer::Good((command.data_in_len() + 100).to_be_bytes().to_vec())
    });
    assert_eq!(host.sent.len(), usize::from(GROWTH_STEPS_MAX) + 1);
    assert!(matches!(failures(&host)[..], [RefreshError::KeepsGrowing(_)]));
}

#[test]
fn b15_s7_12_the_largest_report_that_is_read() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    let first = host.next_at_deadline();
    host.answer(&first, &Answer::Good(0xfffc_u32.to_be_bytes().to_vec()));
    assert_eq!(host.expect_next().data_in_len(), 0x1_0000);
}

#[test]
fn b15_s7_12_absurd_lengths_are_not_believed() {
    for (claimed, wraps) in [(0x0001_0000_u32, false), (0xffff_fffb, false), (0xffff_fffc, true)] {
        let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
        host.run_for(1_000, |_| Answer::Good(claimed.to_be_bytes().to_vec()));
        assert_eq!(host.sent.len(), 1);
        match failures(&host)[..] {
            [RefreshError::TooLong(needed)] if !wraps => assert_eq!(needed, claimed + 4),
            [RefreshError::Malformed(_)] if wraps => {}
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn b17_b18_the_response_tells_its_header() {
    // A target that ignores the request for the extended header.
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| report_with(LengthOnly, 0, [fields(1, UNAV)]));
    assert_eq!(host.state(1), Some(UNAV));
    assert_eq!(host.unit.extended_header(), Some(false));
    host.unit.refresh(host.now);
    let again = host.expect_next();
    assert_eq!(kind(&again), "RTPG", "not refused, so asked for again");
    host.answer(&again, &report(&[(1, UNAV)]));
    assert_eq!(host.unit.extended_header(), Some(true));
}

#[test]
fn b19_b20_b21_the_targets_own_transition_time() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| report_with(Extended, 10, [fields(1, AO)]));
    assert_eq!(host.unit.transition_limit_ms(), 10_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let since = host.now;
    host.wait(1_000);
    let command = host.next_at_deadline();
    assert_eq!(kind(&command), "TUR");
    host.answer(&command, &GOOD);
    let command = host.expect_next();
    // A new time holds for the transition that runs, from its start.
    host.answer(&command, &report_with(Extended, 20, [fields(1, TRANS)]));
    let deadline = since.after(20_000);
    let running = Some(Transition::Running { since, deadline });
    assert_eq!(host.unit.group(1).unwrap().transition(), running);
    host.run_for(3_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report_with(Extended, 0, [fields(1, AO)]),
    });
    assert_eq!(host.unit.transition_limit_ms(), 255_000, "zero says nothing");
}

#[test]
fn b19_s7_5_a_local_override_raises_the_limit_only() {
    let config = Config { transition_at_least_ms: 600_000, ..Config::default() };
    let (mut host, _) = Host::with_paths(Tpgs::Both, config, &[1]);
    assert_eq!(host.unit.transition_limit_ms(), 600_000);
    host.run(|_| report_with(Extended, 10, [fields(1, AO)]));
    assert_eq!(host.unit.transition_limit_ms(), 600_000);
}

#[test]
fn b22_b23_b34_reg_20_a_malformed_report_changes_nothing_and_names_the_rule() {
    let whole = |answer| match answer {
        Answer::Good(data) => data,
        other => panic!("{other:?}"),
    };
    let good = whole(report(&[(1, AN), (2, AO)]));
    for cut in 0..good.len() {
        let (mut host, paths) = two_groups(Config::default());
        host.unit.refresh(host.now);
        host.run_for(1_000, |_| Answer::Good(good[..cut].to_vec()));
        assert_eq!(host.path_state(paths[0]), Some(AO), "cut at {cut}");
        assert_eq!(host.path_state(paths[2]), Some(AN), "cut at {cut}");
        assert!(matches!(failures(&host)[..], [RefreshError::Malformed(_)]), "cut at {cut}");
    }
}

#[test]
fn b24_b25_b26_reg_24_one_report_updates_every_group_whole() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
    let first = GroupFields {
        preferred: true,
        supported: SupportedStates::from_bits(0x8f),
        status: StatusCode::ByStpg,
        ..fields(1, AN)
    };
    let second = GroupFields { supported: SupportedStates::from_bits(0x05), ..fields(2, SBY) };
    host.run(|_| report_with(Extended, 0, [first, second]));
    assert_eq!(host.sent.len(), 1);
    let one = host.unit.group(1).unwrap();
    assert_eq!((one.state(), one.preferred()), (Some(AN), true));
    assert_eq!(one.supported(), Some(SupportedStates::from_bits(0x8f)));
    assert_eq!(one.status(), Some(StatusCode::ByStpg));
    let two = host.unit.group(2).unwrap();
    assert_eq!((two.state(), two.preferred()), (Some(SBY), false));
    assert_eq!(two.supported(), Some(SupportedStates::from_bits(0x05)));
}

#[test]
fn b24_s7_12_a_group_listed_twice_is_refused() {
    let (mut host, paths) = two_groups(Config::default());
    host.unit.refresh(host.now);
    host.run_for(1_000, |_| report(&[(1, AN), (2, AO), (1, SBY)]));
    assert_eq!(host.path_state(paths[0]), Some(AO));
    let [RefreshError::Malformed(error)] = failures(&host)[..] else { panic!() };
    assert!(matches!(error.rule, Rule::Value { found: 1, .. }));
}

#[test]
fn b27_c07_d12_a_transition_is_polled_every_two_seconds() {
    let (mut host, paths) = two_groups(Config::default());
    host.unit.refresh(host.now);
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, TRANS), (2, TRANS)]));
    assert_eq!(host.path_state(paths[0]), Some(TRANS));
    for _ in 0..5 {
        let seen = host.now;
        let poll = host.next_at_deadline();
        assert_eq!(kind(&poll), "TUR");
        assert_eq!(host.now.since(seen), 2_000);
        host.answer(&poll, &IN_TRANSITION);
    }
    host.sent.clear();
    host.run_for(2_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AN), (2, AO)]),
    });
    assert_eq!(host.kinds(), ["TUR", "RTPG"]);
    assert_eq!(host.path_state(paths[0]), Some(AN));
    assert_eq!(host.unit.poll_deadline(), None);
}

#[test]
fn b27_a_transition_is_looked_at_in_pauses_that_grow_with_it() {
    let config = Config {
        transition_poll_first_ms: 25,
        transition_poll_ms: 100,
        command_timeout_ms: 5_000,
        ..Config::default()
    };
    let (mut host, _) = two_groups(config);
    host.unit.refresh(host.now);
    let first = host.expect_next();
    host.answer(&first, &report(&[(1, TRANS), (2, TRANS)]));
    let since = host.now;
    let mut looks = 0;
    while host.now.since(since) < 20_000 {
        let age = host.now.since(since);
        let poll = host.next_at_deadline();
        let pause = host.now.since(since) - age;
        assert_eq!(pause, (age / 64).clamp(25, 100), "at {age} ms");
        host.answer(&poll, &IN_TRANSITION);
        looks += 1;
    }
    // 1.6 s in steps of 25 ms, to 6.4 s in growing ones, then every 100 ms.
    assert_eq!(looks, 291);
}

#[test]
fn b28_reg_32_s7_6_an_expired_transition_is_standby_and_looked_at_again() {
    let (mut host, paths) = two_groups(Config::default());
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let since = host.now;
    host.run_for(254_999, |_| IN_TRANSITION);
    assert_eq!(host.state(1), Some(TRANS));
    host.events.clear();
    host.run_for(1, |_| IN_TRANSITION);
    assert_eq!(host.state(1), Some(SBY));
    let cause = Cause::TransitionExpired { since, limit_ms: 255_000 };
    assert_eq!(host.unit.group(1).unwrap().cause(), cause);
    assert!(matches!(
        host.events[0],
        Event::Group { id: 1, from: Some(TRANS), to: Some(SBY), cause: told, .. } if told == cause
    ));
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::State(SBY)));
    assert_eq!(host.unit.group(1).unwrap().transition(), Some(Transition::Expired { since }));
    // Still the same episode: neither sense nor a report starts it anew.
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.sent.clear();
    host.run_for(300_000, |_| report(&[(1, TRANS), (2, AN)]));
    assert_eq!(host.state(1), Some(SBY));
    assert!((9..=11).contains(&host.sent.len()), "every 30 s: {}", host.sent.len());
    host.run_for(31_000, |_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.state(1), Some(AO), "without any event");
    assert_eq!(host.unit.poll_deadline(), None);
}

#[test]
fn b29_offline_is_shown_and_refused() {
    let (host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, OFF)]);
    assert_eq!(host.path_state(paths[0]), Some(OFF));
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::State(OFF)));
    assert_eq!(host.unit.refresh_error(), None);
}

#[test]
fn b30_reserved_states_are_kept_and_refused() {
    for bits in 0x5..=0xd {
        let state = alua_core::access::AccessState::from_bits(bits);
        let (host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, state)]);
        assert_eq!(host.path_state(paths[0]).unwrap().bits(), bits);
        assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::State(state)));
    }
}

#[test]
fn b31_reg_26_x6_a_group_that_is_not_listed_is_unknown() {
    let (mut host, paths) = two_groups(Config::default());
    host.unit.refresh(host.now);
    host.run(|_| report(&[(2, AO)]));
    assert_eq!(host.path_state(paths[0]), None);
    assert!(matches!(host.unit.access(paths[0]).cause, Cause::AbsentFromReport { .. }));
    assert!(
        host.events
            .iter()
            .any(|event| { matches!(event, Event::Group { id: 1, from: Some(AO), to: None, .. }) })
    );
    // Also from the very first report on.
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| report(&[(2, AO)]));
    assert_eq!(host.path_state(paths[0]), None);
}

#[test]
fn b31_a_group_without_paths_that_is_not_listed_is_forgotten() {
    let (mut host, _) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO), (9, SBY)]);
    assert_eq!(host.unit.groups().count(), 2);
    host.unit.refresh(host.now);
    host.run(|_| report(&[(1, AO)]));
    assert_eq!(host.unit.groups().count(), 1);
}

#[test]
fn b32_b33_reg_19_changes_are_told_once_and_nothing_else() {
    let (mut host, _) = two_groups(Config::default());
    host.unit.refresh(host.now);
    host.run(|_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.events, [], "nothing changed");
    host.unit.refresh(host.now);
    host.run(|_| report(&[(1, AN), (2, AO)]));
    let groups = host.events.iter().filter(|event| matches!(event, Event::Group { .. })).count();
    let paths = host.events.iter().filter(|event| matches!(event, Event::Path { .. })).count();
    assert_eq!((groups, paths), (2, 4), "one for each group and each path");
    assert!(matches!(
        host.events[0],
        Event::Group { id: 1, from: Some(AO), to: Some(AN), cause: Cause::Report { .. }, .. }
    ));
}

#[test]
fn b32_preference_alone_is_a_change() {
    let (mut host, _) = two_groups(Config::default());
    host.unit.refresh(host.now);
    let preferred = GroupFields { preferred: true, ..fields(2, AN) };
    host.run(|_| report_with(Extended, 0, [fields(1, AO), preferred]));
    assert!(matches!(
        host.events[0],
        Event::Group { id: 2, from: Some(AN), to: Some(AN), preferred: true, .. }
    ));
}

#[test]
fn b32_letters_as_in_the_kernel_log() {
    assert_eq!(SupportedStates::from_bits(0xdf).to_string(), "TOLUSNA");
    assert_eq!(SupportedStates::from_bits(0x05).to_string(), "toluSnA");
    let letters: String =
        (0..16).map(|bits| alua_core::access::AccessState::from_bits(bits).letter()).collect();
    assert_eq!(letters, "ANSULXXXXXXXXXOT");
}

#[test]
fn b27_a_transition_without_any_poll_answered_still_ends() {
    // Every command is lost: the deadline does not need an answer.
    let (mut host, paths) = two_groups(Config::default());
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.run_for(256_000, |_| Answer::TimedOut);
    assert_eq!(host.state(1), Some(SBY));
}

#[test]
fn b01_a_command_in_flight_for_ever_does_not_stop_the_clock() {
    let (mut host, paths) = two_groups(Config::default());
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let flight = host.next_at_deadline();
    let CommandKind::ReportTargetPortGroups { .. } = flight.kind else { panic!("{flight:?}") };
    let deadline = host.unit.poll_deadline().unwrap();
    host.now = deadline;
    assert_eq!(host.next(), None);
    assert_eq!(host.state(1), Some(SBY));
    assert_eq!(host.unit.poll_deadline(), None, "nothing to do before the answer");
}

#[test]
fn b31_absence_alone_is_told_and_ends_what_was_known() {
    let preferred = GroupFields { preferred: true, ..fields(1, TRANS) };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    let first = host.next_at_deadline();
    host.answer(&first, &report_with(Extended, 0, [preferred]));
    assert!(host.unit.is_preferred(paths[0]));
    assert!(matches!(host.unit.access(paths[0]).cause, Cause::Report { .. }));
    host.events.clear();
    host.run_for(3_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[]),
    });
    assert!(matches!(
        host.events[..],
        [Event::Group { from: Some(TRANS), to: None, .. }, Event::Path { to: None, .. }]
    ));
    assert!(!host.unit.is_preferred(paths[0]));
    assert_eq!(host.unit.group(1).unwrap().transition(), None);
    assert_eq!(host.unit.poll_deadline(), None, "no transition is left to end");
}

#[test]
fn b13_identity_sense_on_the_report_itself_is_followed() {
    for (key, asc, ascq) in [(ATTENTION, 0x3f, 0x0e), (ILLEGAL, 0x25, 0x00)] {
        let (mut host, _) = two_groups(Config::default());
        host.unit.refresh(host.now);
        let first = host.expect_next();
        host.answer(&first, &Answer::Check(key, asc, ascq));
        let rest: Vec<_> = std::iter::from_fn(|| host.next()).collect();
        let reading = rest.iter().find(|command| kind(command) == "INQUIRY");
        assert_eq!(reading.map(|command| command.path), Some(first.path));
        let again = rest.iter().find(|command| kind(command) == "RTPG").unwrap();
        assert_ne!(again.path, first.path, "the report goes on elsewhere");
    }
}

#[test]
fn b06_no_path_that_may_be_asked_is_an_error_without_retries() {
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.unit.reread_identity(paths[0], host.now);
    host.run_for(1_000, |_| Answer::Good(page83(2, Some(1), Some(1))));
    host.unit.refresh(host.now);
    assert_eq!(host.next(), None);
    assert_eq!(host.unit.refresh_error(), Some(RefreshError::NoPath));
    assert_eq!(host.unit.poll_deadline(), None);
    // One in doubt may come back.
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1], &[(1, AO)]);
    host.unit.reread_identity(paths[0], host.now);
    let _reading = host.expect_next();
    host.unit.refresh(host.now);
    assert_eq!(host.next(), None);
    assert_eq!(host.unit.refresh_error(), Some(RefreshError::IdentityInDoubt));
    assert!(host.unit.poll_deadline().is_some());
}
