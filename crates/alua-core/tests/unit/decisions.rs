//! Sections 6 and 7: what is learnt from NVMe (rows N) and the decisions for this driver (s7), as
//! far as no row of another file shows it already.

use alua_core::access::Tpgs;
use alua_core::cause::Cause;
use alua_core::gate::{Gate, GatePolicy, Hold, Refusal};
use alua_core::unit::{Config, Event, PathId, Transition};

use crate::harness::*;

fn two_groups() -> (Host, Vec<PathId>) {
    let states = [(1, AO), (2, AN)];
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1, 1, 2, 2], &states);
    host.wait(60_000);
    (host, paths)
}

#[test]
fn s7_2_at_most_one_report_in_flight_and_one_behind_it() {
    let (mut host, paths) = two_groups();
    let mut in_flight = None;
    for round in 0..2_000 {
        match round % 5 {
            0 => host.meet(paths[round % 4], ATTENTION, 0x2a, 0x06),
            1 => host.unit.refresh(host.now),
            2 => host.meet(paths[(round + 1) % 4], NOT_READY, 0x04, 0x0b),
            _ => host.wait(3),
        }
        if let Some(command) = host.next() {
            assert_eq!(in_flight.replace(command), None, "one at a time");
        }
        if round % 7 == 0 {
            if let Some(command) = in_flight.take() {
                let answer =
                    if kind(&command) == "TUR" { GOOD } else { report(&[(1, AO), (2, AN)]) };
                host.answer(&command, &answer);
            }
        }
    }
}

#[test]
fn s7_2_a_paths_own_evidence_stands_against_a_report_read_elsewhere() {
    let (mut host, paths) = two_groups();
    host.unit.refresh(host.now);
    let running = host.expect_next();
    assert!(paths[..2].contains(&running.path));
    // While the report is read through group 1, a path of group 2 says that it is unavailable.
    host.wait(1);
    host.meet(paths[2], NOT_READY, 0x04, 0x0c);
    host.answer(&running, &report(&[(1, AO), (2, AN)]));
    assert_eq!(host.path_state(paths[2]), Some(UNAV), "for that path its own word");
    assert_eq!(host.path_state(paths[3]), Some(AN), "for the other the report");
    assert!(host.unit.is_contradicted(paths[2]));
    assert_eq!(host.unit.gate(paths[2]), Gate::Refuse(Refusal::State(UNAV)));
    // Read through the very path, the report is as near to the truth as the path.
    let second = host.next_at_deadline();
    assert_eq!((kind(&second), second.path), ("RTPG", paths[2]));
    host.answer(&second, &report(&[(1, AO), (2, AN)]));
    assert_eq!(host.path_state(paths[2]), Some(AN));
    assert!(!host.unit.is_contradicted(paths[2]));
}

#[test]
fn s7_2_split_brain_is_settled_without_a_storm() {
    // The two controllers tell different truths, and the path of one of them fails for reports.
    let (mut host, paths) = two_groups();
    host.meet(paths[2], NOT_READY, 0x04, 0x0c);
    host.run_for(29_000, |command| {
        if paths[..2].contains(&command.path) {
            report(&[(1, AO), (2, AN)])
        } else {
            Answer::Failed
        }
    });
    assert_eq!(host.path_state(paths[2]), Some(UNAV), "no report of its own group overruled it");
    assert_eq!(host.kinds(), ["RTPG", "RTPG"], "it is asked again when it answers again");
    host.run_for(10_000, |_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.path_state(paths[2]), Some(AN), "the evidence grew old");
}

#[test]
fn s7_2_evidence_grows_old_without_any_answer() {
    let (mut host, paths) = two_groups();
    host.meet(paths[2], NOT_READY, 0x04, 0x0c);
    let _lost = host.next_at_deadline();
    host.wait(30_000);
    assert_eq!(host.next(), None);
    assert_eq!(host.path_state(paths[2]), Some(AN));
    let told = host
        .events
        .iter()
        .filter(|event| matches!(event, Event::Path { path, .. } if *path == paths[2]));
    assert_eq!(told.count(), 2, "there and back");
}

#[test]
fn s7_3_states_forgotten_are_unknown_again() {
    let (mut host, paths) = two_groups();
    for &path in &paths {
        host.unit.remove_path(path, host.now);
    }
    let back = host.add(Some(1));
    assert_eq!(host.path_state(back), None);
    host.run(|_| report(&[(1, SBY)]));
    assert_eq!(host.path_state(back), Some(SBY));
}

#[test]
fn s7_4_the_order_of_judgement() {
    // Each of these comes before "ignored on a target that is only optimized".
    use alua_core::access::SupportedStates;
    use alua_core::spc::cdb::ReportFormat::Extended;
    use alua_core::spc::target_port_groups::GroupFields;
    let only = GroupFields { supported: SupportedStates::from_bits(0x01), ..fields(1, AO) };
    let all = report_with(Extended, 0, [only]);
    for (trouble, expected) in [
        (Answer::Failed, vec!["RTPG", "RTPG"]),
        (Answer::NotSubmitted, vec!["RTPG", "RTPG"]),
        (Answer::Check(ATTENTION, 0x29, 0), vec!["RTPG", "RTPG"]),
        (Answer::Check(ILLEGAL, 0x24, 0), vec!["RTPG", "RTPG-short"]),
    ] {
        let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 1]);
        host.run(|_| all.clone());
        host.sent.clear();
        host.unit.refresh(host.now);
        let mut first = Some(trouble);
        host.run(|_| first.take().unwrap_or_else(|| all.clone()));
        assert_eq!(host.kinds(), expected);
        assert_eq!(host.state(1), Some(AO));
    }
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| all.clone());
    host.unit.refresh(host.now);
    let first = host.expect_next();
    host.answer(&first, &IN_TRANSITION);
    assert_eq!(host.state(1), Some(TRANS), "a transition is not ignored");
}

#[test]
fn s7_5_an_episode_is_set_on_entry_and_cleared_on_exit() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let first = host.now;
    host.run_for(10_000, |_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.unit.group(1).unwrap().transition(), None);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert!(host.now > first);
    let deadline = host.at(255_000);
    let second = Transition::Running { since: host.now, deadline };
    assert_eq!(host.unit.group(1).unwrap().transition(), Some(second), "a new one, all its time");
}

#[test]
fn s7_5_n14_each_group_has_its_own_deadline() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.run_for(100_000, |command| match kind(command) {
        "TUR" => IN_TRANSITION,
        _ => report(&[(1, TRANS), (2, AN)]),
    });
    host.meet(paths[2], NOT_READY, 0x04, 0x0a);
    host.run_for(156_000, |_| IN_TRANSITION);
    assert_eq!(host.state(1), Some(SBY));
    assert_eq!(host.state(2), Some(TRANS));
    host.run_for(100_000, |_| IN_TRANSITION);
    assert_eq!(host.state(2), Some(SBY));
}

#[test]
fn s7_5_a_leap_of_the_clock_ends_what_it_must_and_nothing_else() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.meet(paths[2], NOT_READY, 0x04, 0x0c);
    host.wait(u32::MAX);
    host.run_for(60_000, |_| report(&[(1, TRANS), (2, AN)]));
    assert_eq!(host.state(1), Some(SBY));
    assert_eq!(host.path_state(paths[2]), Some(AN));
    assert!(host.sent.len() <= 10, "{}", host.sent.len());
}

#[test]
fn s7_6_n13_the_slow_probe_ends_an_expired_transition() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.run_for(300_000, |_| IN_TRANSITION);
    assert_eq!(host.path_state(paths[0]), Some(SBY));
    assert!(host.unit.poll_deadline().is_some());
    host.sent.clear();
    host.run_for(60_000, |_| IN_TRANSITION);
    assert!((1..=12).contains(&host.sent.len()), "{}", host.sent.len());
    host.run_for(60_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AN), (2, AN)]),
    });
    assert_eq!(host.path_state(paths[0]), Some(AN));
}

#[test]
fn s7_6_success_ends_an_expired_transition_sooner() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.run_for(260_000, |_| IN_TRANSITION);
    host.unit.handle_success(paths[0], host.now);
    host.run_for(5_100, |_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.path_state(paths[0]), Some(AO));
}

#[test]
fn s7_6_where_no_report_can_be_read_ready_ends_the_transition() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| Answer::Check(ILLEGAL, 0x20, 0));
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.run_for(20_000, |command| {
        assert_eq!(kind(command), "TUR", "reports are not asked for");
        IN_TRANSITION
    });
    assert_eq!(host.path_state(paths[0]), Some(TRANS));
    host.run_for(4_000, |_| GOOD);
    assert_eq!(host.path_state(paths[0]), None);
    assert!(matches!(host.unit.access(paths[0]).cause, Cause::Ready { .. }));
    assert_eq!(host.unit.poll_deadline(), None);
}

#[test]
fn s7_9_n6_n9_native_multipath_holds_what_may_come_back() {
    let native = GatePolicy { pass_transitioning: false, pass_unknown: false };
    let config = Config { gate: native, ..Config::default() };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, config, &[1, 2, 3, 4]);
    assert_eq!(host.unit.gate(paths[0]), Gate::Hold(Hold::StateUnknown));
    let first = host.next_at_deadline();
    host.answer(&first, &report(&[(1, AO), (2, LBD), (3, TRANS), (4, UNAV)]));
    assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
    assert_eq!(host.unit.gate(paths[1]), Gate::Pass);
    assert_eq!(host.unit.gate(paths[2]), Gate::Hold(Hold::Transitioning));
    assert_eq!(host.unit.gate(paths[3]), Gate::Refuse(Refusal::State(UNAV)));
    host.unit.reread_identity(paths[0], host.now);
    assert_eq!(host.unit.gate(paths[0]), Gate::Hold(Hold::IdentityInDoubt));
}

#[test]
fn n18_a_path_proves_who_it_is_before_it_is_used_again() {
    let (mut host, paths) = two_groups();
    host.unit.reread_identity(paths[0], host.now);
    host.run_for(1_000, |command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(9, Some(1), Some(1))),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::IdentityChanged));
}

#[test]
fn n11_s7_12_random_data_is_an_error_or_a_report_and_never_more() {
    // A small generator: the same bytes in every run.
    let mut seed = 1_u32;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed
    };
    for _ in 0..3_000 {
        let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
        host.run_for(5_000, |_| {
            let length = usize::try_from(random() % 80).unwrap();
            let mut data: Vec<u8> =
                (0..length).map(|_| u8::try_from(random() & 0xff).unwrap()).collect();
            if let Some(head) = data.get_mut(..4) {
                let claimed = u32::try_from(length - 4).unwrap();
                head.copy_from_slice(&claimed.to_be_bytes());
            }
            Answer::Good(data)
        });
        assert!(host.sent.len() < 100);
    }
}

#[test]
fn s7_6_ready_is_told_and_ends_the_paths_own_word_too() {
    // Two groups, and no report can be read: each is asked whether its transition is over.
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 2]);
    host.run(|_| Answer::Check(ILLEGAL, 0x20, 0));
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.meet(paths[1], NOT_READY, 0x04, 0x0b);
    host.events.clear();
    host.run_for(5_000, |_| GOOD);
    assert_eq!(host.path_state(paths[0]), None);
    assert_eq!(host.path_state(paths[1]), Some(SBY), "nobody asked it");
    assert!(host.events.iter().any(|event| matches!(
        event,
        Event::Group { id: 1, from: Some(TRANS), to: None, cause: Cause::Ready { .. }, .. }
    )));
}

#[test]
fn s7_4_refused_both_ways_the_extended_header_gets_another_chance() {
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.run(|_| Answer::Check(ILLEGAL, 0x20, 0));
    host.unit.refresh(host.now);
    assert_eq!(kind(&host.expect_next()), "RTPG", "extended again, not for good the short one");
}
