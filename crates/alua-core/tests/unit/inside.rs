//! Looks at a transition that ask for its end only (`Config::look_inside`).

use alua_core::access::{AccessState, Tpgs};
use alua_core::spc::Status;
use alua_core::unit::{Activated, ActivationError, Command, Config, PathId};

use crate::harness::*;

fn inside() -> Config {
    Config {
        look_inside: true,
        transition_look_ms: 500,
        transition_poll_first_ms: 500,
        patience_ms: Some(2_000),
        ..Config::default()
    }
}

/// A unit of two groups whose transitions are looked at from inside, with the first group in one.
fn looked_at_inside(pages: &[u16]) -> (Host, Vec<PathId>) {
    let (mut host, paths) = Host::known(Tpgs::Both, inside(), pages, &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.sent.clear();
    (host, paths)
}

/// The looks go on until the path's turn, and all say that the transition goes on.
fn says_not_yet(host: &mut Host, path: PathId) {
    loop {
        let look = host.next_at_deadline();
        host.answer(&look, &IN_TRANSITION);
        if look.path == path {
            return;
        }
    }
}

#[test]
fn b27_a_transition_that_is_looked_at_inside_costs_one_report_at_its_end() {
    for pages in [&[1, 2][..], &[1, 1, 2, 2]] {
        let (mut host, paths) = looked_at_inside(pages);
        for _ in 0..4 {
            let look = host.next_at_deadline();
            assert_eq!(kind(&look), "TUR");
            assert_eq!(host.unit.path(look.path).unwrap().group(), Some(1));
            host.answer(&look, &IN_TRANSITION);
        }
        assert_eq!(host.sent.len(), 4, "one command for each look");
        let look = host.next_at_deadline();
        host.answer(&look, &GOOD);
        let command = host.expect_next();
        assert_eq!((kind(&command), command.path), ("RTPG", look.path));
        host.answer(&command, &report(&[(1, AN), (2, AO)]));
        assert_eq!(host.path_state(paths[0]), Some(AN));
        assert_eq!(host.unit.poll_deadline(), None);
    }
}

#[test]
fn b27_a_look_inside_goes_elsewhere_where_no_path_in_transition_answers() {
    let (mut host, _) = looked_at_inside(&[1, 1, 2]);
    for _ in 0..2 {
        let look = host.next_at_deadline();
        assert_eq!(kind(&look), "TUR");
        host.answer(&look, &Answer::Failed);
    }
    let command = host.expect_next();
    assert_eq!(kind(&command), "RTPG");
    assert_eq!(host.unit.path(command.path).unwrap().group(), Some(2));
}

#[test]
fn b27_a_look_inside_asks_one_path_of_each_group_in_transition() {
    let (mut host, paths) = looked_at_inside(&[1, 1, 2, 2]);
    host.meet(paths[2], NOT_READY, 0x04, 0x0a);
    let mut asked = [0, 0];
    for _ in 0..4 {
        let mut look = host.next_at_deadline();
        for _ in 0..2 {
            assert_eq!(kind(&look), "TUR");
            asked[usize::from(paths[2..].contains(&look.path))] += 1;
            host.answer(&look, &IN_TRANSITION);
            look = host.next().unwrap_or(look);
        }
        assert_eq!(host.next(), None);
    }
    assert_eq!(asked, [4, 4]);
}

#[test]
fn b27_where_another_group_may_come_alive_a_look_at_a_transition_reads_a_report_every_two_seconds()
{
    let (mut host, _) = looked_at_inside(&[1, 2]);
    // The second group goes to standby meanwhile, as a report shows.
    host.unit.refresh(host.now);
    let command = host.expect_next();
    host.answer(&command, &report(&[(1, TRANS), (2, SBY)]));
    for _ in 0..3 {
        let last = host.now;
        let look = host.next_at_deadline();
        assert_eq!((kind(&look), host.now.since(last)), ("RTPG", 2_000));
        assert_eq!(host.unit.path(look.path).unwrap().group(), Some(2));
        host.answer(&look, &report(&[(1, TRANS), (2, SBY)]));
    }
}

#[test]
fn b27_a_report_that_is_owed_is_not_given_up_for_looks_inside() {
    let (mut host, paths) = looked_at_inside(&[1, 2]);
    host.unit.refresh(host.now);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[1]));
    host.answer(&command, &Answer::Failed);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("TUR", paths[0]));
    host.answer(&command, &IN_TRANSITION);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let command = host.next_at_deadline();
        kinds.push((kind(&command), command.path));
        host.answer(&command, &IN_TRANSITION);
    }
    assert!(kinds.contains(&("RTPG", paths[1])), "{kinds:?}");
}

#[test]
fn b27_a_silent_path_in_transition_is_left_for_a_path_outside() {
    let (mut host, paths) = Host::known(Tpgs::Both, inside(), &[1, 1, 1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let silent = host.next_at_deadline();
    assert_eq!(kind(&silent), "TUR");
    let begin = host.now;
    let next = host.next_at_deadline();
    assert_eq!((kind(&next), next.path, host.now.since(begin)), ("RTPG", paths[3], 2_000));
}

/// A unit with a path in each of these groups, all of them live, of which those in `told` then say that
/// they are in transition; looked at inside.
fn in_transition_inside(groups: &[u16], told: &[usize]) -> (Host, Vec<PathId>) {
    let mut states: Vec<_> = groups.iter().map(|&id| (id, AO)).collect();
    states.dedup();
    let (mut host, paths) = Host::known(Tpgs::Both, inside(), groups, &states);
    host.wait(60_000);
    for &place in told {
        host.meet(paths[place], NOT_READY, 0x04, 0x0a);
    }
    (host, paths)
}

#[test]
fn b27_a_silent_path_does_not_hold_up_a_look_that_knows_enough() {
    let (mut host, paths) = in_transition_inside(&[1, 2], &[0, 1]);
    let first = host.next_at_deadline();
    host.answer(&first, &IN_TRANSITION);
    let silent = host.expect_next();
    assert_ne!(silent.path, first.path);
    let begin = host.now;
    let next = host.next_at_deadline();
    assert_eq!((kind(&next), next.path), ("TUR", first.path));
    assert!(host.now.since(begin) <= 4_000, "2 s of patience, and a pause of 2 s");
    assert_eq!(host.path_state(paths[0]), Some(TRANS));
}

#[test]
fn b27_one_silent_path_in_transition_is_enough_to_look_outside() {
    let (mut host, paths) = in_transition_inside(&[1, 2, 3, 4], &[0, 1, 2]);
    assert_eq!(kind(&host.next_at_deadline()), "TUR");
    let begin = host.now;
    let next = host.next_at_deadline();
    assert_eq!((kind(&next), next.path, host.now.since(begin)), ("RTPG", paths[3], 2_000));
}

#[test]
fn b27_a_busy_path_in_transition_is_not_asked_again_before_a_live_one() {
    let (mut host, paths) = in_transition_inside(&[1, 2], &[0]);
    let look = host.next_at_deadline();
    host.answer(&look, &Answer::Status(Status::Busy));
    let next = host.expect_next();
    assert_eq!((kind(&next), next.path), ("RTPG", paths[1]));
}

#[test]
fn b27_an_answer_that_is_not_not_yet_leads_to_a_report_though_another_group_says_not_yet() {
    let (mut host, paths) = in_transition_inside(&[1, 2, 3], &[0, 1]);
    let mut read = false;
    for _ in 0..4 {
        let command = host.next_at_deadline();
        read |= (kind(&command), command.path) == ("RTPG", paths[2]);
        // Whose reports are refused where commands are taken again.
        let answer = match (kind(&command), command.path) {
            ("TUR", path) if path == paths[0] => GOOD,
            (_, path) if path != paths[2] => IN_TRANSITION,
            _ => report(&[(1, TRANS), (2, TRANS), (3, AO)]),
        };
        host.answer(&command, &answer);
    }
    assert!(read, "{:?}", host.kinds());
}

#[test]
fn b27_whoever_asks_for_states_in_a_transition_gets_a_report_from_outside() {
    let (mut host, _) = looked_at_inside(&[1, 2]);
    host.unit.refresh(host.now);
    let command = host.expect_next();
    assert_eq!(kind(&command), "RTPG");
    assert_eq!(host.unit.path(command.path).unwrap().group(), Some(2));
}

#[test]
fn b27_a_target_that_takes_commands_in_a_transition_is_asked_for_a_report_every_two_seconds() {
    let conflict = Answer::Status(Status::ReservationConflict);
    for (pages, ready, refuses) in [
        (&[1, 2][..], GOOD, false),
        (&[1, 1], GOOD, false),
        (&[1, 2], conflict.clone(), false),
        (&[1, 2], GOOD, true),
        (&[1, 2], conflict, true),
    ] {
        let (mut host, _) = looked_at_inside(pages);
        let mut reports = Vec::new();
        while reports.len() < 5 {
            let command = host.next_at_deadline();
            let inside = host.unit.path(command.path).unwrap().group() == Some(1);
            if kind(&command) == "TUR" {
                assert!(inside);
                host.answer(&command, &ready);
            } else if inside && refuses {
                host.answer(&command, &IN_TRANSITION);
            } else {
                reports.push(host.now);
                host.answer(&command, &report(&[(1, TRANS), (2, AO)]));
            }
        }
        let pauses: Vec<_> = reports.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(pauses[0] <= 1_000, "once may be a report that comes late");
        assert_eq!(pauses[1..], [2_000; 3]);
    }
}

#[test]
fn b27_a_unit_attention_met_by_a_look_or_by_its_report_contradicts_nothing() {
    let met = || Answer::Check(ATTENTION, 0x2a, 0x06);
    for by_report in [false, true] {
        let (mut host, _) = looked_at_inside(&[1, 2]);
        for _ in 0..4 {
            let last = host.now;
            let look = host.next_at_deadline();
            assert_eq!((kind(&look), host.now.since(last)), ("TUR", 500), "{by_report}");
            host.answer(&look, &if by_report { GOOD } else { met() });
            let mut command = host.expect_next();
            if by_report {
                host.answer(&command, &met());
                command = host.expect_next();
            }
            host.answer(&command, &report(&[(1, TRANS), (2, AO)]));
        }
    }
}

#[test]
fn b27_the_end_of_one_groups_transition_does_not_slow_the_looks_at_anothers() {
    let (mut host, paths) = in_transition_inside(&[1, 2, 3], &[0, 1]);
    let mut over = false;
    while !over {
        let command = host.next_at_deadline();
        over = (kind(&command), command.path) == ("RTPG", paths[0]);
        let answer = match (kind(&command), command.path) {
            ("RTPG", _) => report(&[(1, AO), (2, TRANS), (3, AO)]),
            (_, path) if path == paths[0] => GOOD,
            _ => IN_TRANSITION,
        };
        host.answer(&command, &answer);
    }
    let end = host.now;
    let look = host.next_at_deadline();
    assert_eq!((kind(&look), look.path, host.now.since(end)), ("TUR", paths[1], 500));
}

/// A unit of three groups, a path in each, whose target took commands twice in the transition of group 1.
fn contradicted() -> (Host, Vec<PathId>) {
    let (mut host, paths) = in_transition_inside(&[1, 2, 3], &[0]);
    for _ in 0..2 {
        let look = host.next_at_deadline();
        host.answer(&look, &GOOD);
        let command = host.expect_next();
        host.answer(&command, &report(&[(1, TRANS), (2, AO), (3, AO)]));
    }
    (host, paths)
}

#[test]
fn b27_the_next_transition_is_looked_at_inside_again() {
    for told in [0, 1] {
        let (mut host, paths) = contradicted();
        let command = host.next_at_deadline();
        assert_eq!(kind(&command), "RTPG");
        host.answer(&command, &report(&[(1, AO), (2, AO), (3, AO)]));
        assert_eq!(host.unit.poll_deadline(), None);
        host.wait(60_000);
        host.meet(paths[told], NOT_READY, 0x04, 0x0a);
        for _ in 0..2 {
            let last = host.now;
            let look = host.next_at_deadline();
            assert_eq!((kind(&look), host.now.since(last)), ("TUR", 500));
            host.answer(&look, &IN_TRANSITION);
        }
    }
}

#[test]
fn b27_a_group_that_contradicted_itself_slows_no_look_at_another_once_it_is_done() {
    let (mut host, paths) = contradicted();
    host.meet(paths[1], NOT_READY, 0x04, 0x0a);
    let command = host.next_at_deadline();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[2]));
    host.answer(&command, &report(&[(1, AO), (2, TRANS), (3, AO)]));
    let read = host.now;
    let look = host.next_at_deadline();
    assert_eq!((kind(&look), look.path, host.now.since(read)), ("TUR", paths[1], 500));
}

#[test]
fn b27_only_the_path_that_took_a_command_contradicts_itself() {
    let (mut host, paths) = looked_at_inside(&[1, 2]);
    let look = host.next_at_deadline();
    host.answer(&look, &GOOD);
    let command = host.expect_next();
    host.answer(&command, &Answer::Good(vec![0; 3]));
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[1]), "which was not asked before");
    host.answer(&command, &report(&[(1, TRANS), (2, TRANS)]));
    // Then it is, and contradicts itself once.
    let mut command = host.next_at_deadline();
    while kind(&command) == "TUR" {
        let inside = command.path == paths[0];
        host.answer(&command, &if inside { IN_TRANSITION } else { GOOD });
        command = host.next_at_deadline();
    }
    assert_eq!(command.path, paths[1]);
    host.answer(&command, &report(&[(1, TRANS), (2, TRANS)]));
    let read = host.now;
    assert_eq!(kind(&host.next_at_deadline()), "TUR");
    assert!(host.now.since(read) < 2_000, "a look from inside");
}

#[test]
fn d12_looks_inside_take_no_report_from_the_activation_that_waits_behind_another() {
    for state in [AN, AO] {
        let (mut host, paths) = Host::known(Tpgs::Both, inside(), &[1, 2], &[(1, AN), (2, state)]);
        host.wait(60_000);
        host.meet(paths[0], NOT_READY, 0x04, 0x0a);
        let first = host.switch(1);
        let second = host.switch(2);
        let mut now = state;
        host.run_for(300_000, |command| match kind(command) {
            "STPG" => {
                now = AO;
                GOOD
            }
            _ if command.path == paths[0] => IN_TRANSITION,
            "TUR" => GOOD,
            _ => report(&[(1, TRANS), (2, now)]),
        });
        let timed_out = ActivationError::TransitionTimedOut { group: 1 };
        assert_eq!(host.result(first), Err(timed_out));
        let ended = if state == AO { Activated::AlreadyThere } else { Activated::Reached };
        assert_eq!(host.result(second), Ok(ended));
    }
}

#[test]
fn b27_a_path_that_met_a_unit_attention_since_may_tell_of_its_groups_next_transition() {
    let (mut host, paths) = looked_at_inside(&[1, 1, 2]);
    let mut look = host.next_at_deadline();
    while look.path == paths[0] {
        host.answer(&look, &IN_TRANSITION);
        look = host.next_at_deadline();
    }
    host.answer(&look, &GOOD);
    let command = host.expect_next();
    host.answer(&command, &report(&[(1, AN), (2, AO)]));
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let check = host.next_at_deadline();
    host.answer(&check, &GOOD);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(host.state(1), Some(TRANS));
    assert_eq!(kind(&host.next_at_deadline()), "TUR");
}

#[test]
fn b27_each_look_begins_with_the_next_path_in_transition_wherever_it_lies() {
    let (mut host, _) = in_transition_inside(&[2, 1, 1], &[1]);
    let mut asked = Vec::new();
    for _ in 0..6 {
        let look = host.next_at_deadline();
        assert_eq!(kind(&look), "TUR");
        asked.push(look.path);
        host.answer(&look, &IN_TRANSITION);
    }
    assert!(asked.windows(2).all(|pair| pair[0] != pair[1]), "{asked:?}");
}

#[test]
fn d12_what_a_path_said_in_an_earlier_transition_does_not_keep_the_report_after_an_stpg_from_it() {
    let (mut host, paths) = looked_at_inside(&[1, 2]);
    let look = host.next_at_deadline();
    host.answer(&look, &IN_TRANSITION);
    host.run_for(60_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, SBY), (2, AO)]),
    });
    let id = host.switch(1);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[0]));
    host.answer(&command, &report(&[(1, SBY), (2, AO)]));
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("STPG", paths[0]));
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.answer(&command, &GOOD);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("TUR", paths[0]));
    host.answer(&command, &GOOD);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[0]));
    host.answer(&command, &report(&[(1, AO), (2, SBY)]));
    host.drain();
    assert_eq!(host.result(id), Ok(Activated::Reached));
}

#[test]
fn b27_a_path_that_carries_io_again_is_asked_first_whatever_it_said_before() {
    for place in [0, 1] {
        let (mut host, paths) = looked_at_inside(&[1, 1]);
        says_not_yet(&mut host, paths[place]);
        host.unit.handle_success(paths[place], host.now);
        assert_eq!(host.next_at_deadline().path, paths[place]);
    }
}

/// Two paths in one group: the first stays in transition, and meets an attention every so often; the second
/// left it. When it was found out, in milliseconds.
fn found_beside_attentions(pages: &[u16], first: u32, gap: u32) -> Option<u64> {
    let (mut host, paths) = looked_at_inside(pages);
    let begin = host.now;
    let mut attention = host.at(first);
    while host.now.since(begin) < 60_000 {
        if let Some(command) = host.next() {
            let answer = match (kind(&command), command.path) {
                (_, path) if path == paths[0] => IN_TRANSITION,
                ("TUR", _) => GOOD,
                _ => report(&[(1, AN), (2, AO)]),
            };
            host.answer(&command, &answer);
            if kind(&command) == "RTPG" && command.path != paths[0] {
                return Some(host.now.since(begin));
            }
        } else if host.now >= attention {
            host.meet(paths[0], ATTENTION, 0x2a, 0x06);
            attention = host.at(gap);
        } else {
            host.wait(10);
        }
    }
    None
}

#[test]
fn b27_attentions_on_a_path_that_stays_in_transition_keep_no_look_from_the_others() {
    for pages in [&[1, 1][..], &[1, 1, 1]] {
        for first in [100, 400, 600] {
            for gap in [300, 700, 1_000, 1_500, 1_900, 2_500] {
                let found = found_beside_attentions(pages, first, gap);
                let soon = found.is_some_and(|found| found < 5_000);
                assert!(soon, "{pages:?}, {first}, then every {gap} ms: {found:?}");
            }
        }
    }
}

#[test]
fn b27_a_path_that_tells_of_the_end_right_after_it_said_not_yet_is_asked_behind_one_that_stays() {
    for place in [0, 1, 2] {
        for (asc, ascq) in [(0x2a, 0x06), (0x29, 0x00)] {
            let (mut host, paths) = looked_at_inside(&[1, 1, 1]);
            says_not_yet(&mut host, paths[place]);
            let told = host.now;
            host.meet(paths[place], ATTENTION, asc, ascq);
            let look = host.next_at_deadline();
            assert_eq!(kind(&look), "TUR");
            assert_ne!(look.path, paths[place]);
            host.answer(&look, &IN_TRANSITION);
            let look = host.expect_next();
            assert_eq!((kind(&look), look.path), ("TUR", paths[place]));
            assert!(host.now.since(told) < 100);
            host.answer(&look, &GOOD);
            let command = host.expect_next();
            assert_eq!((kind(&command), command.path), ("RTPG", paths[place]));
            host.answer(&command, &report(&[(1, AN), (2, AO)]));
            assert_eq!(host.path_state(paths[place]), Some(AN));
        }
    }
}

#[test]
fn b27_a_path_that_was_put_off_and_is_still_in_transition_is_asked_once() {
    let (mut host, _) = looked_at_inside(&[1, 1, 1]);
    for _ in 0..10 {
        let look = host.next_at_deadline();
        host.answer(&look, &IN_TRANSITION);
        host.meet(look.path, ATTENTION, 0x2a, 0x06);
        let mut asked = Vec::new();
        let mut look = Some(host.next_at_deadline());
        while let Some(command) = look {
            assert_eq!(kind(&command), "TUR");
            asked.push(command.path);
            host.answer(&command, &IN_TRANSITION);
            look = host.next();
        }
        assert_eq!(asked.len(), 2);
        assert_ne!(asked[0], asked[1]);
    }
}

/// One transition right after the other, of which the same path tells, and no report is read through it: how
/// many reports that takes.
fn reports_of_transitions(rounds: usize, millis: u64) -> usize {
    let pages = [1, 1, 2, 2];
    let (mut host, paths) = Host::known(Tpgs::Both, inside(), &pages, &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.sent.clear();
    let over = |command: &Command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    };
    for _ in 0..rounds {
        host.meet(paths[0], NOT_READY, 0x04, 0x0a);
        let begin = host.now;
        let mut look = host.next_at_deadline();
        // The end is told by another one.
        while look.path == paths[0] || host.now.since(begin) < millis {
            let in_transition = report(&[(1, TRANS), (2, TRANS)]);
            let answer = if kind(&look) == "TUR" { IN_TRANSITION } else { in_transition };
            host.answer(&look, &answer);
            look = host.next_at_deadline();
        }
        host.answer(&look, &over(&look));
        host.run_for(20, over);
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        host.run_for(200, over);
        assert_eq!(host.path_state(paths[0]), Some(AO));
    }
    host.sent.iter().filter(|command| kind(command) == "RTPG").count()
}

#[test]
fn b27_transitions_of_which_a_path_tells_that_no_report_is_read_through_cost_a_report_each() {
    assert_eq!(reports_of_transitions(5, 6_000), 5);
    assert_eq!(reports_of_transitions(5, 30_000), 5);
}

/// Two of three paths stay in transition and take turns in telling of changes; the third left it.
#[test]
fn b27_paths_that_take_turns_in_telling_of_changes_keep_no_look_from_another() {
    for gap in [300, 700, 1_000, 1_500, 1_900] {
        let (mut host, paths) = looked_at_inside(&[1, 1, 1]);
        let begin = host.now;
        let mut found = false;
        let mut teller = 0;
        while !found && host.now.since(begin) < 60_000 {
            host.meet(paths[teller % 2], ATTENTION, 0x2a, 0x06);
            teller += 1;
            host.run_for(gap, |command| {
                found |= command.path == paths[2];
                match kind(command) {
                    _ if command.path != paths[2] => IN_TRANSITION,
                    "TUR" => GOOD,
                    _ => report(&[(1, AN), (2, AO)]),
                }
            });
        }
        let time = host.now.since(begin);
        assert!(found && time < 10_000, "every {gap} ms: {found}, {time} ms");
    }
}

/// I/O through a path that said "not yet" meets the unit attention of the end before a look does. Each path
/// has one; a look takes it along, a report from outside would be asked for twice.
#[test]
fn b27_the_end_told_by_a_path_that_said_not_yet_costs_one_report() {
    for live in [AO, AN] {
        let (mut host, paths) =
            Host::known(Tpgs::Both, inside(), &[1, 1, 2, 2], &[(1, AO), (2, live)]);
        host.wait(60_000);
        host.meet(paths[0], NOT_READY, 0x04, 0x0a);
        says_not_yet(&mut host, paths[0]);
        host.sent.clear();
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        let look = host.next_at_deadline();
        assert_eq!((kind(&look), look.path), ("TUR", paths[1]));
        host.meet(paths[1], ATTENTION, 0x2a, 0x06);
        host.answer(&look, &GOOD);
        let command = host.expect_next();
        assert_eq!((kind(&command), command.path), ("RTPG", paths[1]));
        host.answer(&command, &report(&[(1, AN), (2, AO)]));
        assert_eq!(host.path_state(paths[0]), Some(AN));
        host.run_for(10_000, |command| {
            assert_eq!(kind(command), "TUR", "what was told is old news");
            GOOD
        });
    }
}

/// A path that said "not yet" tells of a change. The look at it fails, and then the path outside that is asked
/// first says that it is in transition: the next one outside is still owed.
#[test]
fn b27_what_is_told_in_transition_leads_to_a_report_though_a_look_fails_and_another_path_is_in_transition()
 {
    let states = [(1, AO), (2, AN), (3, AN)];
    let (mut host, paths) = Host::known(Tpgs::Both, inside(), &[1, 2, 3], &states);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    let look = host.next_at_deadline();
    assert_eq!(look.path, paths[0]);
    host.answer(&look, &IN_TRANSITION);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let look = host.next_at_deadline();
    assert_eq!((kind(&look), look.path), ("TUR", paths[0]));
    host.answer(&look, &Answer::Failed);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[1]));
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.answer(&command, &IN_TRANSITION);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[2]));
}

/// A path that is busy costs no pauses while another may tell of the end.
#[test]
fn b27_what_is_told_in_transition_does_not_wait_for_a_busy_path() {
    let (mut host, paths) = looked_at_inside(&[1, 1, 2]);
    for _ in 0..2 {
        let look = host.next_at_deadline();
        host.answer(&look, &IN_TRANSITION);
    }
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let look = host.next_at_deadline();
    assert_eq!(kind(&look), "TUR");
    host.answer(&look, &Answer::Status(Status::Busy));
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[2]));
}

/// What a path in transition tells of may be a change of the other group.
#[test]
fn b27_what_a_path_in_transition_tells_of_leads_to_a_report_though_the_transition_goes_on() {
    let (mut host, paths) = looked_at_inside(&[1, 1, 2]);
    for _ in 0..2 {
        let look = host.next_at_deadline();
        host.answer(&look, &IN_TRANSITION);
    }
    for _ in 0..3 {
        host.sent.clear();
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        let told = host.now;
        let mut command = host.next_at_deadline();
        while kind(&command) == "TUR" {
            host.answer(&command, &IN_TRANSITION);
            command = host.expect_next();
        }
        assert_eq!((kind(&command), command.path), ("RTPG", paths[2]));
        assert!(host.now.since(told) < 100);
        assert!(host.sent.len() <= 3);
        host.answer(&command, &report(&[(1, TRANS), (2, AO)]));
        for _ in 0..4 {
            let look = host.next_at_deadline();
            host.answer(&look, &IN_TRANSITION);
        }
        host.wait(20_000);
    }
}

/// A path told of the end right after it had said "not yet"; the one that is asked before it fails.
#[test]
fn b27_a_path_that_was_put_off_is_asked_behind_one_whose_transport_fails() {
    let (mut host, paths) = looked_at_inside(&[1, 1]);
    says_not_yet(&mut host, paths[0]);
    let told = host.now;
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let look = host.next_at_deadline();
    assert_eq!((kind(&look), look.path), ("TUR", paths[1]));
    host.answer(&look, &Answer::Failed);
    let look = host.expect_next();
    assert_eq!((kind(&look), look.path), ("TUR", paths[0]));
    assert!(host.now.since(told) < 100);
}

/// How long the last path of a group is in transition in a minute, in milliseconds, because the others of it
/// say all the time that they are in one, and the first `changes` of these that states changed, `pause` ms
/// before. `other`: the state of the other group.
fn taken_along(
    liars: usize,
    changes: usize,
    (asc, ascq): (u8, u8),
    pause: u32,
    other: AccessState,
) -> u32 {
    let config = Config { spacing_max_ms: 500, ..inside() };
    let mut pages = vec![1; liars + 1];
    pages.push(2);
    let (mut host, paths) = Host::known(Tpgs::Both, config, &pages, &[(1, AO), (2, AN)]);
    host.wait(60_000);
    let (lie, honest) = paths.split_at(liars);
    let answer = |command: &Command| match kind(command) {
        "TUR" if lie.contains(&command.path) => IN_TRANSITION,
        "TUR" if command.path == honest[1] && other == TRANS => IN_TRANSITION,
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, other)]),
    };
    let mut taken = 0;
    for _ in 0..60 {
        if other == TRANS {
            host.meet(honest[1], NOT_READY, 0x04, 0x0a);
        }
        for (place, &path) in lie.iter().enumerate() {
            if place < changes {
                host.meet(path, ATTENTION, asc, ascq);
                host.run_for(pause, answer);
            }
            host.meet(path, NOT_READY, 0x04, 0x0a);
        }
        for _ in 0..100 {
            host.run_for(10, answer);
            taken += 10 * u32::from(host.path_state(honest[0]) == Some(TRANS));
        }
    }
    taken
}

#[test]
fn reg_26_a_path_that_tells_of_changes_all_the_time_does_not_take_its_sibling_along() {
    for sense in [(0x2a, 0x06), (0x29, 0x07)] {
        for pause in [10, 100, 600] {
            for (liars, changes) in [(1, 1), (2, 2), (2, 1)] {
                let taken = taken_along(liars, changes, sense, pause, AN);
                assert!(taken < 20_000, "{taken} ms: {liars}, {changes}, {sense:x?}, {pause} ms");
            }
        }
        let taken = taken_along(1, 1, sense, 10, TRANS);
        assert!(taken < 10_000, "{taken} ms beside a group in transition, {sense:x?}");
    }
}
