//! Which path carries a request.

use alua_core::select::{Policy, Preference};
use alua_multipath::{Config, PathTraits, Port, Switch};

use crate::rig::{AO, READ, Rig, SBY};

fn with(policy: Policy) -> Config {
    Config { policy, ..Config::default() }
}

/// The places of the paths that the next requests go down, none of them answered.
fn places(rig: &mut Rig, count: u64) -> Vec<usize> {
    (0..count).map(|turn| rig.goes(READ, turn * 8)).collect()
}

/// Lets a path take `ms` for each of some reads, so that its time is measured.
fn measured(rig: &mut Rig, place: usize, ms: u32) {
    let id = rig.id(place);
    assert!(rig.engine.switch(Some(Switch::Path(id)), rig.now()));
    for turn in 0..64 {
        assert_eq!(rig.goes(READ, turn * 8), place);
        rig.pass(ms);
        rig.all_good();
    }
    rig.engine.switch(None, rig.now());
}

#[test]
fn n4_round_robin_takes_turns_among_the_optimized() {
    let mut rig = Rig::plain(with(Policy::RoundRobin));
    let places = places(&mut rig, 4);
    assert!(places == [0, 1, 0, 1] || places == [1, 0, 1, 0], "{places:?}");
}

#[test]
fn n5_queue_depth_takes_the_path_with_the_fewest_commands() {
    let mut rig = Rig::plain(with(Policy::QueueDepth));
    let first = rig.goes(READ, 0);
    let other = rig.goes(READ, 8);
    assert_ne!(first, other);
    let third = rig.submit(READ, 16);
    let third = rig.sent.iter().find(|send| send.id == third).unwrap().path;
    let lone = rig.sent.iter().find(|send| send.path != third).unwrap();
    let (lone, io) = (rig.place(lone.path), lone.io);
    rig.sent.retain(|send| send.io != io);
    rig.back_io(io, &crate::rig::GOOD);
    assert_eq!(places(&mut rig, 2), [lone, lone], "it has the fewest until both have two");
}

#[test]
fn n1_affinity_takes_the_nearest_of_the_best_class() {
    let mut rig = Rig::plain(with(Policy::Affinity));
    let far = PathTraits { distance: 20, ..PathTraits::default() };
    rig.add(1, 1, 9, far).unwrap();
    rig.pass(50);
    assert!(!places(&mut rig, 4).contains(&4), "the far one is left alone");
}

#[test]
fn n2_a_worse_class_is_used_only_when_no_better_one_is_live() {
    for policy in Policy::ALL {
        let mut rig = Rig::plain(with(policy));
        assert!(places(&mut rig, 6).iter().all(|&place| place < 2), "{policy}");
        rig.all_good();
        for place in [0, 1] {
            let id = rig.id(place);
            rig.engine.fail_path(id, rig.now());
        }
        assert!(places(&mut rig, 6).iter().all(|&place| place >= 2), "{policy}");
    }
}

#[test]
fn service_time_leaves_optimized_paths_that_are_measurably_slower_and_says_so() {
    let mut rig = Rig::plain(with(Policy::ServiceTime));
    for (place, ms) in [(0, 30), (1, 30), (2, 2), (3, 2)] {
        measured(&mut rig, place, ms);
    }
    let place = rig.goes(READ, 0);
    assert!(place >= 2, "path {place}");
    let (fast, slow) = (rig.view(place), rig.view(0));
    assert!(fast.used && fast.outruns && !fast.outrun);
    assert_eq!(fast.reason(), "the better paths take measurably longer (service-time)");
    assert!(!slow.used && !slow.outruns && slow.outrun);
    assert!(slow.reason().contains("takes measurably longer"), "{}", slow.reason());
    assert_eq!(fast.counters.outran, 1, "the command is counted");
}

#[test]
fn service_time_stays_with_optimized_paths_that_are_not_much_slower() {
    let mut rig = Rig::plain(with(Policy::ServiceTime));
    for (place, ms) in [(0, 11), (1, 11), (2, 9), (3, 9)] {
        measured(&mut rig, place, ms);
    }
    assert!(rig.goes(READ, 0) < 2);
    let views: Vec<_> = (0..4).map(|place| rig.view(place)).collect();
    assert!(views.iter().all(|view| !view.outruns && !view.outrun && view.counters.outran == 0));
    assert!(views[0].used && !views[2].used);
}

#[test]
fn no_other_policy_leaves_the_class() {
    let mut rig = Rig::plain(with(Policy::QueueDepth));
    for (place, ms) in [(0, 30), (1, 30), (2, 2), (3, 2)] {
        measured(&mut rig, place, ms);
    }
    assert!(rig.goes(READ, 0) < 2);
    assert!(rig.view(0).used && !rig.view(0).outrun && !rig.view(2).outruns);
}

#[test]
fn pref_decides_as_configured() {
    for (preference, expected) in [
        (Preference::Ignore, 0..2),
        (Preference::WithinState, 0..2),
        (Preference::AboveState, 2..4),
    ] {
        let mut rig = Rig::plain(Config { preference, ..Config::default() });
        rig.groups[1].2 = true;
        rig.tell_changed(0);
        rig.pass(2_000);
        let place = rig.goes(READ, 0);
        assert!(expected.contains(&place), "{preference:?}: path {place}");
    }
    let groups = [(1, AO), (2, AO)];
    let mut rig = Rig::new(Config::default(), alua_core::access::Tpgs::Implicit, &groups);
    rig.groups[1].2 = true;
    rig.tell_changed(0);
    rig.pass(2_000);
    assert!(places(&mut rig, 6).iter().all(|&place| place >= 2), "preferred within the state");
}

#[test]
fn n3_io_goes_back_when_a_better_path_has_been_live_for_the_failback_time() {
    let mut rig = Rig::plain(Config { failback_ms: 3_000, ..Config::default() });
    rig.set(1, SBY);
    rig.tell_changed(0);
    rig.pass(100);
    assert!(rig.goes(READ, 0) >= 2);
    rig.all_good();
    rig.set(1, AO);
    rig.tell_changed(2);
    rig.pass(2_000);
    assert!(rig.goes(READ, 0) >= 2, "not yet");
    assert!(rig.view(0).deferred);
    rig.all_good();
    rig.pass(3_000);
    assert!(rig.goes(READ, 0) < 2, "now");
}

#[test]
fn io_goes_to_a_better_path_at_once_when_the_worse_do_not_work_any_more() {
    let mut rig = Rig::plain(Config { failback_ms: 60_000, ..Config::default() });
    rig.set(1, SBY);
    rig.tell_changed(0);
    rig.pass(100);
    assert!(rig.goes(READ, 0) >= 2);
    rig.all_good();
    rig.set(1, AO);
    rig.set(2, SBY);
    rig.tell_changed(2);
    rig.pass(100);
    assert!(rig.goes(READ, 0) < 2);
}

/// The faster paths were put back by hand: speed is no reason to use them.
#[test]
fn service_time_does_not_leave_what_was_chosen_by_hand() {
    let mut rig = Rig::plain(with(Policy::ServiceTime));
    for (place, ms) in [(2, 2), (3, 2), (0, 30), (1, 30)] {
        measured(&mut rig, place, ms);
    }
    rig.engine.switch(Some(Switch::Group(1)), rig.now());
    for turn in 0..200 {
        assert!(rig.goes(READ, turn * 8) < 2, "request {turn}");
        rig.pass(1);
        rig.all_good();
    }
}

#[test]
fn a_manual_switch_sticks_until_it_is_undone() {
    let mut rig = Rig::plain(Config::default());
    assert!(!rig.engine.switch(Some(Switch::Group(9)), rig.now()), "no such group");
    assert!(rig.engine.switch(Some(Switch::Group(2)), rig.now()));
    assert!(rig.goes(READ, 0) >= 2);
    rig.all_good();
    // A look at the states and a long time do not undo it.
    rig.tell_changed(0);
    rig.pass(120_000);
    assert!(rig.goes_after_ask() >= 2);
    assert!(rig.view(0).deferred && !rig.view(0).used);
    // Its paths fail: others are better than none; and it holds again when they are back.
    for place in [2, 3] {
        let id = rig.id(place);
        rig.engine.fail_path(id, rig.now());
    }
    assert!(rig.goes_after_ask() < 2);
    for place in [2, 3] {
        let id = rig.id(place);
        rig.engine.restore_path(id, rig.now());
    }
    rig.pass(100);
    assert!(rig.goes_after_ask() >= 2);
    rig.engine.switch(None, rig.now());
    assert!(rig.goes_after_ask() < 2);
}

/// The path that was switched to goes, others are used meanwhile, and it is used again when it joins
/// as another one.
#[test]
fn a_manual_switch_sticks_while_its_path_is_gone() {
    let mut rig = Rig::plain(Config::default());
    let chosen = rig.id(2);
    assert!(rig.engine.switch(Some(Switch::Path(chosen)), rig.now()));
    for _ in 0..3 {
        let old = rig.id(2);
        assert!(rig.engine.remove_path(old, true, rig.now()));
        rig.pass(60_000);
        rig.lines.remove(2);
        let unit = rig.engine.view_unit();
        assert_eq!(unit.switched, Some(Switch::Path(old)));
        assert_eq!(unit.switched_gone, Some(Port { group: Some(2), relative: 3 }));
        assert!(rig.goes_after_ask() < 2, "something is better than nothing");
        assert!((0..3).all(|place| rig.view(place).deferred));
        let new = rig.add(1, 2, 3, PathTraits::default()).unwrap();
        let line = rig.lines.pop().unwrap();
        rig.lines.insert(2, line);
        rig.pass(100);
        assert_eq!(rig.engine.view_unit().switched, Some(Switch::Path(new)));
        assert_eq!(rig.engine.view_unit().switched_gone, None);
        assert!((0..4).all(|_| rig.goes_after_ask() == 2));
    }
    rig.engine.switch(None, rig.now());
    assert!(rig.goes_after_ask() < 2);
}
