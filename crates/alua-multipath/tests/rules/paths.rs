//! Who may join, who is taken out, and when a path is used again.

use alua_core::failover::IoOutcome;
use alua_core::gate::Refusal;
use alua_core::select::{Out, Standing};
use alua_core::spc::Status;
use alua_core::unit;
use alua_multipath::{AddPathError, Config, ControlKind, Event, Geometry, NewPath, PathTraits};

use crate::rig::{GEOMETRY, READ, Rig, WRITE};

/// The target answers, and what comes back makes no sense.
const ODD: IoOutcome<'static> =
    IoOutcome::Answered { status: Status::Good, sense: &[], whole: false };

#[test]
fn another_unit_does_not_join() {
    let mut rig = Rig::plain(Config::default());
    let refused = rig.add(2, 1, 9, PathTraits::default());
    assert_eq!(refused, Err(AddPathError::Core(unit::AddPathError::OtherUnit)));
}

#[test]
fn another_size_does_not_join() {
    let mut rig = Rig::plain(Config::default());
    let geometry = Geometry { blocks: GEOMETRY.blocks - 1, ..GEOMETRY };
    let name = *rig.engine.unit().name().unwrap();
    let identity = unit::NewPath { name: Some(&name), group: Some(1), relative_port: Some(9) };
    let new = NewPath { identity, geometry, traits: PathTraits::default() };
    let refused = rig.engine.add_path(new, rig.now());
    assert_eq!(refused, Err(AddPathError::OtherSize { path: geometry, unit: GEOMETRY }));
}

#[test]
fn a_path_behind_which_another_unit_has_come_carries_nothing_more() {
    let mut rig = Rig::plain(Config::default());
    rig.lines[0].unit = 2;
    // Long enough for another unit: the path must say who is there before its next command.
    rig.pass(60_000);
    rig.forget();
    for turn in 0..8 {
        rig.submit(WRITE, turn * 8);
    }
    rig.pass(100);
    let changed = rig.id(0);
    assert!(rig.sent.iter().all(|send| send.path != changed), "no command went there");
    assert!(rig.sent.len() == 8, "the others carry all");
    assert!(rig.told.contains(&Event::IdentityChanged { path: changed }));
    let out = Standing::Out(Out::Refused(Refusal::IdentityChanged));
    assert_eq!(rig.view(0).standing, out);
}

#[test]
fn n18_a_path_that_comes_back_says_who_it_is_first() {
    let mut rig = Rig::plain(Config::default());
    rig.lines[0].answers = false;
    let path = rig.id(0);
    rig.engine.handle_path_down(path, rig.now());
    rig.pass(5_000);
    assert!(!rig.view(0).used);
    rig.forget();
    rig.lines[0].answers = true;
    rig.engine.handle_path_up(path, rig.now());
    rig.pass(3_000);
    let asked = rig.controls.iter().filter(|control| control.path == path);
    let asked = asked.filter(|control| match control.kind {
        ControlKind::Identity => true,
        ControlKind::Core(command) => command.kind == unit::CommandKind::ReadIdentification,
        _ => false,
    });
    assert!(asked.count() > 0, "{:?}", rig.controls);
    assert!(rig.view(0).used && rig.told.contains(&Event::PathAnswers { path }));
}

#[test]
fn x16_a_path_that_does_not_answer_is_not_used_and_not_asked_often() {
    let mut rig = Rig::plain(Config::default());
    rig.lines[0].answers = false;
    let path = rig.id(0);
    rig.engine.handle_path_down(path, rig.now());
    rig.pass(60_000);
    let probes = rig.controls.iter().filter(|it| it.path == path).count();
    assert!(
        (15..40).contains(&probes),
        "{probes} in a minute: each waits 2 s and pauses up to 1 s"
    );
    assert!(rig.goes_after_ask() != 0);
}

/// Grey failure: it answers TEST UNIT READY and fails I/O.
#[test]
fn a_path_that_answers_and_fails_io_is_taken_out_for_longer_and_longer() {
    let mut rig = Rig::plain(Config::default());
    let mut outs = Vec::new();
    for _ in 0..400 {
        if outs.len() == 4 {
            break;
        }
        let id = rig.submit(READ, 0);
        let Some(send) = rig.sent.iter().find(|send| send.id == id).copied() else {
            rig.pass(100);
            rig.all_good();
            continue;
        };
        if rig.place(send.path) != 0 {
            rig.all_good();
            rig.pass(50);
            continue;
        }
        rig.back(id, &ODD);
        rig.all_good();
        let unsteady = rig.told.iter().rev().find_map(|event| match event {
            Event::PathUnsteady { until, .. } => Some(*until),
            _ => None,
        });
        if let Some(until) = unsteady {
            outs.push(until.since(rig.now()) / 1_000_000);
            let view = rig.view(0);
            assert!(!view.used && view.deferred && view.strikes >= 2 && view.out_until.is_some());
            assert_eq!(view.reason(), "it answers and fails I/O, again and again");
            rig.told.clear();
            // Until it is tried again nothing goes down it.
            let out = outs.last().copied().unwrap() as u32;
            rig.pass(out / 2);
            assert!((0..6).all(|_| rig.goes_after_ask() != 0));
            rig.all_good();
            rig.pass(out / 2 + 1);
        }
    }
    assert_eq!(outs.len(), 4, "{outs:?}");
    assert!(outs.windows(2).all(|pair| pair[1] >= pair[0] * 2), "{outs:?}");
}

/// A queue full of commands fails at one blow: that is one failure, and no reason to take the path
/// out for minutes.
#[test]
fn commands_that_fail_together_count_once() {
    let mut rig = Rig::plain(Config::default());
    let mut together = Vec::new();
    while together.len() < 8 {
        let id = rig.submit(READ, 0);
        let send = rig.sent.iter().find(|send| send.id == id).copied();
        match send.map(|send| rig.place(send.path)) {
            Some(0) => together.push(id),
            Some(_) => {}
            None => rig.pass(1),
        }
    }
    rig.pass(1);
    for id in together {
        rig.back(id, &ODD);
    }
    assert_eq!(rig.view(0).strikes, 1);
    assert!(rig.view(0).out_until.is_none());
}

#[test]
fn a_path_taken_out_by_hand_stays_out_until_it_is_put_back() {
    let mut rig = Rig::plain(Config::default());
    let path = rig.id(0);
    assert!(rig.engine.fail_path(path, rig.now()));
    rig.pass(120_000);
    assert!((0..4).all(|_| rig.goes_after_ask() != 0));
    assert!(rig.engine.restore_path(path, rig.now()));
    rig.pass(1_000);
    assert!(rig.view(0).used);
}

/// A rescan: the path goes, and joins again as another one.
fn found_again(rig: &mut Rig, place: usize, port: u16) {
    let old = rig.id(place);
    assert!(rig.engine.remove_path(old, true, rig.now()));
    rig.pass(1_000);
    let new = rig.add(1, 1, port, PathTraits::default()).unwrap();
    let line = rig.lines.pop().unwrap();
    assert!(new != old && line.id == new, "it is another path");
    rig.lines[place] = line;
    rig.pass(1_000);
}

#[test]
fn a_path_taken_out_by_hand_is_still_out_when_it_is_found_again() {
    let mut rig = Rig::plain(Config::default());
    let path = rig.id(0);
    assert!(rig.engine.fail_path(path, rig.now()));
    for _ in 0..3 {
        found_again(&mut rig, 0, 1);
        assert_eq!(rig.view(0).reason(), "it was taken out by hand");
        assert!((0..4).all(|_| rig.goes_after_ask() != 0));
    }
    // Another one is none of its business.
    found_again(&mut rig, 1, 2);
    assert!(rig.view(1).used);
    let path = rig.id(0);
    assert!(rig.engine.restore_path(path, rig.now()));
    found_again(&mut rig, 0, 1);
    assert!(rig.view(0).used, "that was undone");
}
