//! Who is behind a path: see `alua_multipath::identity`.

use alua_core::access::Tpgs;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::unit::CommandKind;
use alua_multipath::{Activation, Config, Control, ControlKind};

use crate::rig::{AO, GOOD, READ, Rig, SBY, WRITE};

#[test]
fn a_path_in_use_is_never_asked() {
    let mut rig = Rig::plain(Config::default());
    for turn in 0..100 {
        rig.submit(READ, turn * 8);
        rig.submit(WRITE, turn * 8);
        rig.pass(1);
        rig.all_good();
        rig.pass(400);
    }
    assert_eq!((rig.asks(), rig.done.len()), (0, 200));
}

#[test]
fn what_a_path_answers_counts_from_when_it_was_sent() {
    let mut rig = Rig::plain(Config { slow_ms: 60_000, ..Config::default() });
    let (first, second) = (rig.submit(READ, 0), rig.submit(READ, 8));
    // Both paths of the group answer, and say nothing about who is behind them by now.
    rig.pass(1_500);
    for id in [first, second] {
        rig.back(id, &GOOD);
    }
    rig.submit(READ, 16);
    assert_eq!(rig.asks(), 2, "both are asked");
}

#[test]
fn n18_an_idle_path_keeps_requests_from_worse_ones_while_it_is_asked() {
    let mut rig = Rig::plain(Config::default());
    rig.pass(5_000);
    rig.forget();
    (rig.lines[0].answers, rig.lines[1].answers) = (false, false);
    let id = rig.submit(READ, 0);
    rig.pass(900);
    assert!(rig.sent.is_empty(), "{:?}", rig.sent);
    assert_eq!(rig.asks(), 2, "both of the group, none of the other");
    rig.answer_held();
    assert_eq!(rig.sent.len(), 1);
    assert!(rig.place(rig.sent[0].path) < 2);
    rig.back(id, &GOOD);
}

#[test]
fn a_path_that_does_not_say_who_is_behind_it_holds_nobody_up() {
    let mut rig = Rig::plain(Config::default());
    rig.pass(5_000);
    rig.forget();
    (rig.lines[0].answers, rig.lines[1].answers) = (false, false);
    rig.submit(READ, 0);
    rig.pass(1_100);
    assert_eq!(rig.sent.len(), 1);
    assert!(rig.place(rig.sent[0].path) >= 2, "down a worse path");
}

#[test]
fn an_array_that_answers_slowly_is_known_for_longer() {
    let mut rig = Rig::plain(Config::default());
    rig.pass(5_000);
    for line in &mut rig.lines {
        line.answers = false;
    }
    let id = rig.submit(READ, 0);
    rig.pass(2_600);
    rig.answer_held();
    rig.pass(300);
    let send = *rig.sent.iter().find(|send| send.id == id).expect("it was sent");
    rig.back(id, &GOOD);
    rig.forget();
    rig.engine.switch(Some(alua_multipath::Switch::Path(send.path)), rig.now());
    rig.pass(1_500);
    assert_eq!(rig.goes(READ, 8), rig.place(send.path), "longer than idle_ms, and not asked");
    assert_eq!(rig.asks(), 0);
}

#[test]
fn four_paths_are_asked_at_a_time_and_none_of_them_holds_up_another_group() {
    let groups = [(1, AO), (2, AO), (3, AO), (4, SBY)];
    let mut rig = Rig::new(Config::default(), Tpgs::Implicit, &groups);
    rig.pass(5_000);
    rig.forget();
    rig.lines.iter_mut().for_each(|line| line.answers = false);
    let id = rig.submit(READ, 0);
    assert_eq!(rig.asks(), 4);
    // Those that are asked go away, or are of no use any more when they answer.
    for place in [0, 1, 2, 3, 4, 5] {
        let path = rig.id(place);
        rig.engine.remove_path(path, true, rig.now());
    }
    rig.set(4, AO);
    rig.answer_held();
    rig.tell_changed(6);
    rig.pass(2_000);
    let send = rig.sent.iter().find(|send| send.id == id).expect("it was sent");
    assert!(rig.place(send.path) >= 6);
}

/// Another unit's report would tell of its states, and a switch would move it.
#[test]
fn the_states_are_not_asked_of_a_path_that_leads_elsewhere() {
    let config = Config { activation: Activation::NothingLive, ..Config::default() };
    let mut rig = Rig::new(config, Tpgs::Explicit, &[(1, AO), (2, SBY)]);
    rig.pass(5_000);
    rig.forget();
    // Nobody is told that another unit has come behind the paths of one group.
    for line in rig.lines.iter_mut().take(2) {
        line.unit = 2;
    }
    rig.set(1, SBY);
    rig.engine.handle_sense(rig.id(0), &Sense::new(SenseKey::UnitAttention, 0x2a, 0x06), rig.now());
    rig.pass(100);
    rig.submit(READ, 0);
    rig.pass(5_000);
    let went = |control: &Control| match control.kind {
        ControlKind::Core(command) => command.kind != CommandKind::ReadIdentification,
        _ => false,
    };
    let places: Vec<usize> =
        rig.controls.iter().filter(|it| went(it)).map(|it| rig.place(it.path)).collect();
    assert!(!places.is_empty() && rig.stpgs() > 0);
    assert!(places.iter().all(|&place| place >= 2), "{places:?}");
    assert_eq!(rig.sent.len(), 1, "the unit was moved, and the read is on its way");
}
