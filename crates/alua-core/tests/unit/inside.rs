//! Looks at a transition that ask for its end only (`Config::look_inside`).

use alua_core::access::Tpgs;
use alua_core::spc::Status;
use alua_core::unit::{Config, PathId};

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
    for pages in [&[1, 2][..], &[1, 1]] {
        let (mut host, _) = looked_at_inside(pages);
        let mut reports = Vec::new();
        while reports.len() < 4 {
            let command = host.next_at_deadline();
            if kind(&command) == "TUR" {
                assert_eq!(host.unit.path(command.path).unwrap().group(), Some(1));
                host.answer(&command, &GOOD);
            } else {
                reports.push(host.now);
                host.answer(&command, &report(&[(1, TRANS), (2, AO)]));
            }
        }
        let pauses: Vec<_> = reports.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert_eq!(pauses, [2_000; 3]);
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

#[test]
fn b27_the_next_transition_is_looked_at_inside_again() {
    let (mut host, paths) = looked_at_inside(&[1, 1]);
    let look = host.next_at_deadline();
    host.answer(&look, &GOOD);
    let command = host.expect_next();
    host.answer(&command, &report(&[(1, TRANS), (2, AO)]));
    let mut command = host.next_at_deadline();
    if kind(&command) == "TUR" {
        host.answer(&command, &GOOD);
        command = host.expect_next();
    }
    host.answer(&command, &report(&[(1, AO), (2, AO)]));
    assert_eq!(host.unit.poll_deadline(), None);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    for _ in 0..2 {
        let told = host.now;
        let look = host.next_at_deadline();
        assert_eq!((kind(&look), host.now.since(told)), ("TUR", 500));
        host.answer(&look, &IN_TRANSITION);
    }
}

#[test]
fn b27_only_the_path_that_took_a_command_and_then_reported_its_transition_contradicts_itself() {
    let (mut host, paths) = looked_at_inside(&[1, 2]);
    let look = host.next_at_deadline();
    host.answer(&look, &GOOD);
    let command = host.expect_next();
    host.answer(&command, &Answer::Good(vec![0; 3]));
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", paths[1]));
    host.answer(&command, &report(&[(1, TRANS), (2, TRANS)]));
    let read = host.now;
    let look = host.next_at_deadline();
    assert_eq!(kind(&look), "TUR");
    assert!(host.now.since(read) < 2_000, "not a look from inside");
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
