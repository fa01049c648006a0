//! Send, wait or fail, and how a wait ends.

use alua_core::failover::{IoOutcome, Summary};
use alua_multipath::{Config, Event, NoPath, RequestError};

use crate::rig::{AN, AO, READ, Rig, SBY, TRN, WRITE, check, sense};

fn with(no_path: NoPath) -> Config {
    Config { no_path, ..Config::default() }
}

/// Both groups go to one state, and the engine hears of it.
fn all(rig: &mut Rig, state: alua_core::access::AccessState) {
    rig.set(1, state);
    rig.set(2, state);
    rig.tell_changed(0);
    rig.pass(50);
}

#[test]
fn n8_n10_requests_wait_out_a_transition_and_go_in_order() {
    // No limit for having no path: a transition is not that.
    let mut rig = Rig::plain(with(NoPath::Fail));
    all(&mut rig, TRN);
    let ids: Vec<_> = (0..5).map(|turn| rig.submit(WRITE, turn * 8)).collect();
    assert!(rig.sent.is_empty() && rig.done.is_empty());
    rig.pass(3_000);
    assert!(rig.sent.is_empty() && rig.done.is_empty(), "they wait");
    rig.set(1, AN);
    rig.set(2, AO);
    rig.pass(2_500);
    let sent: Vec<_> = rig.sent.iter().map(|send| send.id).collect();
    assert_eq!(sent, ids, "woken in the order in which they came");
    rig.all_good();
    assert!(rig.done.iter().all(|(_, result)| result.is_ok()) && rig.done.len() == 5);
}

#[test]
fn r15_whoever_waits_goes_before_whoever_comes() {
    let mut rig = Rig::plain(with(NoPath::Forever));
    all(&mut rig, SBY);
    let early = rig.submit(READ, 0);
    rig.set(1, AO);
    let late = rig.submit(READ, 8);
    rig.pass(1_000);
    let sent: Vec<_> = rig.sent.iter().map(|send| send.id).collect();
    assert_eq!(sent, [early, late]);
}

#[test]
fn a_transition_ends_at_its_deadline() {
    let mut config = with(NoPath::Fail);
    config.core.transition_ms = 5_000;
    let mut rig = Rig::plain(config);
    all(&mut rig, TRN);
    let id = rig.submit(READ, 0);
    rig.pass(4_000);
    assert!(rig.done.is_empty());
    rig.pass(8_000);
    assert_eq!(rig.done, [(id, Err(RequestError::NoPath))]);
}

#[test]
fn r15_a_refused_command_waits_for_the_state_and_is_not_lost() {
    let mut rig = Rig::plain(with(NoPath::Wait(10_000)));
    let id = rig.submit(READ, 0);
    rig.set(1, SBY);
    rig.set(2, SBY);
    rig.back(id, &check(&sense(2, 0x04, 0x0b)));
    rig.pass(200);
    // The other path of the group and the other group may be tried; each says the same.
    while let Some(send) = rig.sent.pop() {
        rig.back_io(send.io, &check(&sense(2, 0x04, 0x0b)));
        rig.pass(200);
    }
    assert!(rig.done.is_empty());
    rig.set(2, AO);
    rig.pass(1_000);
    rig.all_good();
    assert_eq!(rig.done, [(id, Ok(()))]);
}

#[test]
fn n16_without_a_path_requests_fail_at_once_or_later_or_never() {
    for (no_path, fails_after) in
        [(NoPath::Fail, Some(0)), (NoPath::Wait(5_000), Some(5_000)), (NoPath::Forever, None)]
    {
        let mut rig = Rig::plain(with(no_path));
        all(&mut rig, SBY);
        let since = rig.now();
        let id = rig.submit(READ, 0);
        let mut failed = None;
        for _ in 0..200 {
            if !rig.done.is_empty() {
                assert_eq!(rig.done, [(id, Err(RequestError::NoPath))]);
                failed = Some(rig.now().since(since) / 1_000_000);
                break;
            }
            rig.pass(100);
        }
        match (fails_after, failed) {
            (Some(limit), Some(took)) => {
                // It makes sure first: the states are read once more.
                assert!(
                    (limit - 100..limit + 5_200).contains(&(took as i64)),
                    "{no_path:?} {took}"
                );
                assert!(rig.told.contains(&Event::GivesUp));
                let later = rig.submit(READ, 8);
                assert!(rig.done.contains(&(later, Err(RequestError::NoPath))), "the next at once");
            }
            (None, None) => assert!(!rig.told.contains(&Event::GivesUp)),
            other => panic!("{no_path:?}: {other:?}"),
        }
        // A path that is back ends it.
        rig.done.clear();
        rig.set(1, AO);
        rig.pass(2_000);
        rig.all_good();
        let after = rig.submit(READ, 16);
        rig.all_good();
        assert!(rig.done.contains(&(after, Ok(()))), "{no_path:?}");
    }
}

#[test]
fn what_the_target_refuses_fails_on_the_first_path() {
    let mut rig = Rig::plain(Config::default());
    let id = rig.submit(READ, 0);
    rig.back(id, &check(&sense(3, 0x11, 0x00)));
    let (done, result) = rig.done[0];
    assert!(done == id && matches!(result, Err(RequestError::Target(_))), "{result:?}");
    assert!(rig.sent.is_empty(), "it is not tried elsewhere");
}

#[test]
fn what_the_host_held_back_goes_soon_and_ever_less_so() {
    let mut rig = Rig::plain(Config::default());
    let id = rig.submit(READ, 0);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        assert_eq!(rig.sent.len(), 1);
        rig.back(id, &IoOutcome::Summed(Summary::Held));
        let mut pause = 0;
        while rig.sent.is_empty() {
            rig.pass(1);
            pause += 1;
        }
        pauses.push(pause);
    }
    assert_eq!(pauses, [2, 4, 8, 16, 20, 20, 20, 20, 40, 40]);
}
