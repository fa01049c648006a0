//! A command that is not answered does not hold the unit up (C09, REG-09).

use alua_core::access::Tpgs;
use alua_core::cause::RefreshError;
use alua_core::unit::{Command, Config, IdentityCheck, PathId, Transport};

use crate::harness::*;

const PATIENCE: u32 = 5_000;

fn patient() -> Config {
    Config { patience_ms: Some(PATIENCE), ..Config::default() }
}

/// Two paths in each of two groups, all known; the first path told of a change, and its report hangs.
fn hanging() -> (Host, Vec<PathId>, Command) {
    let (mut host, paths) = Host::known(Tpgs::Both, patient(), &[1, 1, 2, 2], &[(1, AO), (2, AN)]);
    host.wait(10_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let hung = host.next_at_deadline();
    assert_eq!((kind(&hung), hung.path), ("RTPG", paths[0]));
    assert!(host.next().is_none(), "one at a time");
    (host, paths, hung)
}

#[test]
fn c09_reg_09_a_report_that_hangs_is_read_through_another_group_after_a_while() {
    let (mut host, paths, hung) = hanging();
    host.wait(PATIENCE - 1);
    assert!(host.next().is_none());
    assert_eq!(host.unit.poll_deadline(), Some(host.at(1)));
    host.wait(1);
    let other = host.expect_next();
    // The other path of the group may lead to the same controller.
    assert_eq!((kind(&other), other.path), ("RTPG", paths[2]));
    assert!(matches!(host.unit.path(paths[0]).unwrap().transport(), Transport::Failed { .. }));
    host.answer(&other, &report(&[(1, AN), (2, AO)]));
    assert_eq!((host.state(1), host.state(2)), (Some(AN), Some(AO)));
    // Its answer comes late, and is not believed: it was written before the other.
    host.answer(&hung, &report(&[(1, SBY), (2, SBY)]));
    assert_eq!((host.state(1), host.state(2)), (Some(AN), Some(AO)));
    assert!(matches!(host.unit.path(paths[0]).unwrap().transport(), Transport::Answered { .. }));
    assert!(host.next().is_none() && !host.unit.is_busy());
}

#[test]
fn c09_a_path_is_asked_nothing_while_its_command_hangs() {
    let (mut host, paths, hung) = hanging();
    host.wait(PATIENCE);
    let other = host.expect_next();
    host.answer(&other, &report(&[(1, AN), (2, AO)]));
    host.wait(10_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let again = host.next_at_deadline();
    assert_ne!(again.path, paths[0]);
    host.answer(&again, &report(&[(1, AN), (2, AO)]));
    // It ends: the next time it is asked.
    host.answer(&hung, &Answer::TimedOut);
    host.wait(10_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    assert_eq!(host.next_at_deadline().path, paths[0]);
}

#[test]
fn c09_what_a_late_answer_tells_is_heard() {
    let (mut host, paths, hung) = hanging();
    host.wait(PATIENCE);
    let other = host.expect_next();
    host.answer(&other, &report(&[(1, AN), (2, AO)]));
    host.answer(&hung, &Answer::Check(NOT_READY, 0x04, 0x0b));
    assert_eq!(host.path_state(paths[0]), Some(SBY));
    assert_eq!(host.next_at_deadline().path, paths[0]);
}

#[test]
fn e10_what_a_path_said_is_checked_when_its_late_answer_comes() {
    let (mut host, paths) = Host::known(Tpgs::Both, patient(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0b);
    let hung = host.next_at_deadline();
    host.wait(PATIENCE);
    let other = host.expect_next();
    let states = report(&[(1, AO), (2, AN)]);
    host.answer(&other, &states);
    host.run_for(10_000, |_| panic!("the path that said so does not answer"));
    assert_eq!(host.path_state(paths[0]), Some(SBY));
    host.answer(&hung, &states);
    let again = host.next_at_deadline();
    assert_eq!((kind(&again), again.path), ("RTPG", paths[0]));
    host.answer(&again, &states);
    assert_eq!(host.path_state(paths[0]), Some(AO));
}

#[test]
fn c09_two_commands_are_left_and_the_third_is_waited_for() {
    let (mut host, paths, first) = hanging();
    host.wait(PATIENCE);
    let second = host.expect_next();
    host.wait(PATIENCE);
    let third = host.expect_next();
    assert!(paths.contains(&third.path) && third.path != second.path);
    host.wait(PATIENCE);
    assert!(host.next().is_none());
    assert_eq!(host.unit.poll_deadline(), None, "nothing but the target can go on");
    // A place for another is free when one has ended.
    host.answer(&first, &Answer::TimedOut);
    let fourth = host.expect_next();
    assert!(![second.path, third.path, first.path].contains(&fourth.path));
    host.answer(&fourth, &report(&[(1, AN), (2, AO)]));
    assert_eq!(host.state(1), Some(AN));
}

#[test]
fn c09_with_one_path_its_command_is_waited_for() {
    let (mut host, paths) = Host::known(Tpgs::Both, patient(), &[1], &[(1, AO), (2, AN)]);
    host.wait(10_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let hung = host.next_at_deadline();
    assert_eq!(host.unit.poll_deadline(), None);
    host.wait(PATIENCE * 2);
    assert!(host.next().is_none());
    host.answer(&hung, &report(&[(1, AN), (2, AO)]));
    assert_eq!(host.state(1), Some(AN));
}

#[test]
fn c09_when_every_path_hangs_the_first_that_answers_ends_it() {
    let (mut host, paths) = Host::known(Tpgs::Both, patient(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(10_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let first = host.next_at_deadline();
    host.wait(PATIENCE);
    let second = host.expect_next();
    assert_eq!(second.path, paths[1]);
    host.wait(PATIENCE);
    assert!(host.next().is_none(), "no path is left to ask");
    host.answer(&second, &Answer::TimedOut);
    assert_eq!(host.unit.refresh_error(), Some(RefreshError::TimedOut(paths[1])));
    // Late, and old; but the path answers.
    host.answer(&first, &report(&[(1, SBY), (2, SBY)]));
    let again = host.next_at_deadline();
    assert_eq!(again.path, paths[0]);
    host.answer(&again, &report(&[(1, AN), (2, AO)]));
    assert_eq!((host.state(1), host.state(2)), (Some(AN), Some(AO)));
    assert_eq!(host.unit.refresh_error(), None);
}

#[test]
fn c09_an_activation_does_not_wait_for_a_report_that_hangs() {
    let (mut host, paths, _hung) = hanging();
    let id = host.switch(2);
    host.wait(PATIENCE);
    let other = host.expect_next();
    host.answer(&other, &report(&[(1, AN), (2, AO)]));
    // The report that the activation asked for.
    host.run_for(1_000, |_| report(&[(1, AN), (2, AO)]));
    assert!(host.result(id).is_ok());
    assert!(host.sent.iter().filter(|command| command.path == paths[0]).count() == 1);
}

#[test]
fn c09_without_patience_the_outcome_is_waited_for() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(10_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let hung = host.next_at_deadline();
    host.wait(3_600_000);
    assert!(host.next().is_none());
    host.answer(&hung, &report(&[(1, AN), (2, AO)]));
}

#[test]
fn c09_a_path_that_goes_takes_its_command_with_it() {
    let (mut host, paths, hung) = hanging();
    host.wait(PATIENCE);
    let other = host.expect_next();
    host.unit.remove_path(paths[0], host.now);
    assert!(!host.offer(&hung, &Answer::TimedOut), "nobody waits for it");
    host.answer(&other, &report(&[(1, AN), (2, AO)]));
    // A path in its place is asked.
    let new = host.add(Some(3));
    assert_eq!(new.index(), paths[0].index());
    assert_eq!(host.next_at_deadline().path.index(), paths[1].index());
}

/// TEST UNIT READY may be answered where a report is not: that is no path for an STPG, which is waited
/// for until its time limit.
#[test]
fn c09_an_stpg_avoids_a_path_whose_command_hangs() {
    let config = Config { idle_probe_ms: Some(20_000), ..patient() };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, config, &[1, 1, 2, 2]);
    host.run_for(1_000, |_| report(&[(1, AN), (2, AO)]));
    host.wait(10_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let hung = host.next_at_deadline();
    assert_eq!((kind(&hung), hung.path), ("RTPG", paths[0]));
    // The path answers what is asked besides.
    let mut stpg = None;
    let mut answer = |command: &Command| match kind(command) {
        "TUR" => GOOD,
        "STPG" => {
            stpg = Some(command.path);
            GOOD
        }
        _ => report(&[(1, if stpg.is_some() { AO } else { AN }), (2, AN)]),
    };
    host.run_for(100_000, &mut answer);
    host.meet(paths[2], ATTENTION, 0x2a, 0x06);
    host.switch(1);
    host.run_for(1_000, &mut answer);
    let answers = host.unit.path(paths[0]).unwrap().transport();
    assert!(matches!(answers, Transport::Answered { .. }), "{answers:?}");
    assert_eq!(stpg, Some(paths[1]), "the other path of the group");
}

/// A path in doubt passes no I/O.
#[test]
fn c09_s7_7_a_page_83h_that_hangs_does_not_keep_the_other_paths_in_doubt() {
    let config = Config { identity_timeout_ms: 20_000, ..patient() };
    let (mut host, paths) = Host::known(Tpgs::Both, config, &[1, 1, 2, 2], &[(1, AO), (2, AN)]);
    host.wait(10_000);
    for path in &paths {
        host.unit.reread_identity(*path, host.now);
    }
    let serve = |command: &Command, read: &mut Vec<PathId>| match kind(command) {
        "INQUIRY" => {
            read.push(command.path);
            let index = u16::try_from(command.path.index()).unwrap();
            Answer::Good(page83(1, Some(index + 1), Some(index / 2 + 1)))
        }
        _ => report(&[(1, AO), (2, AN)]),
    };
    let is_trusted = |host: &Host, path: PathId| {
        host.unit.path(path).unwrap().identity() == IdentityCheck::Verified
    };
    let hung = host.expect_next();
    assert_eq!((kind(&hung), hung.path), ("INQUIRY", paths[0]));
    assert_eq!(hung.timeout_ms, 20_000);
    let mut read = Vec::new();
    host.run_for(PATIENCE - 1, |command| serve(command, &mut read));
    assert!(read.is_empty(), "one at a time");
    host.run_for(1, |command| serve(command, &mut read));
    assert_eq!(read, paths[1..]);
    assert!(paths[1..].iter().all(|path| is_trusted(&host, *path)));
    // It is not asked again before its reading ends.
    host.run_for(10_000, |command| serve(command, &mut read));
    assert_eq!(read, paths[1..]);
    host.answer(&hung, &Answer::Good(page83(1, Some(1), Some(1))));
    assert!(is_trusted(&host, paths[0]), "nothing has put it in doubt since");
}

#[test]
fn c09_s7_7_a_late_page_83h_does_not_answer_a_doubt_that_came_after_it_was_asked_for() {
    for doubted in [false, true] {
        let (mut host, paths) = Host::known(Tpgs::Both, patient(), &[1, 2], &[(1, AO), (2, AN)]);
        host.wait(10_000);
        paths.iter().for_each(|path| host.unit.reread_identity(*path, host.now));
        let slow = host.expect_next();
        host.wait(PATIENCE);
        let other = host.expect_next();
        host.answer(&other, &Answer::Good(page83(1, Some(2), Some(2))));
        if doubted {
            host.unit.reread_identity(slow.path, host.now);
        }
        host.answer(&slow, &Answer::Good(page83(1, Some(1), Some(1))));
        let trusted = host.unit.path(slow.path).unwrap().identity() == IdentityCheck::Verified;
        assert_eq!(trusted, !doubted);
    }
}

/// Each is left for the other, again and again.
#[test]
fn c09_s7_7_two_paths_that_answer_page_83h_slowly_are_both_read() {
    for takes in [PATIENCE + 1_000, PATIENCE * 3] {
        let (mut host, paths) = Host::known(Tpgs::Both, patient(), &[1, 2], &[(1, AO), (2, AN)]);
        host.wait(10_000);
        paths.iter().for_each(|path| host.unit.reread_identity(*path, host.now));
        let mut out = Vec::new();
        for _ in 0..takes / 50 {
            while let Some(command) = host.next() {
                out.push((host.at(takes), command));
            }
            while out.first().is_some_and(|(due, _)| *due <= host.now) {
                let (_, command) = out.remove(0);
                let port = u16::try_from(command.path.index()).unwrap() + 1;
                host.answer(
                    &command,
                    &match kind(&command) {
                        "INQUIRY" => Answer::Good(page83(1, Some(port), Some(port))),
                        _ => report(&[(1, AO), (2, AN)]),
                    },
                );
            }
            host.wait(100);
        }
        for path in &paths {
            assert_eq!(host.unit.path(*path).unwrap().identity(), IdentityCheck::Verified);
        }
    }
}
