//! When the array is asked for another state.

use alua_core::access::Tpgs;
use alua_multipath::{Activation, Config, Event, NoPath};

use crate::rig::{AN, AO, READ, Rig, SBY};

fn rig(tpgs: Tpgs, activation: Activation) -> Rig {
    Rig::new(Config { activation, ..Config::default() }, tpgs, &[(1, AO), (2, SBY)])
}

fn hear(rig: &mut Rig, place: usize) {
    rig.tell_changed(place);
    rig.pass(50);
}

#[test]
fn nothing_live_and_requests_that_wait_make_it_ask() {
    let mut rig = rig(Tpgs::Explicit, Activation::NothingLive);
    rig.set(1, SBY);
    hear(&mut rig, 0);
    assert_eq!(rig.stpgs(), 0, "nobody waits");
    let id = rig.submit(READ, 0);
    rig.pass(1_000);
    assert_eq!(rig.stpgs(), 1);
    rig.all_good();
    assert_eq!(rig.done, [(id, Ok(()))]);
    assert!(
        rig.told.iter().any(|event| matches!(event, Event::ActivationEnded { result: Ok(_), .. }))
    );
}

#[test]
fn an_implicit_unit_is_never_asked() {
    let mut rig = rig(Tpgs::Implicit, Activation::NothingLive);
    rig.set(1, SBY);
    hear(&mut rig, 0);
    rig.submit(READ, 0);
    rig.pass(20_000);
    assert_eq!(rig.stpgs(), 0);
}

/// Another host moved the unit: we use what is live, and do not pull it back.
#[test]
fn we_follow_where_another_host_moved_the_unit() {
    for activation in [Activation::NothingLive, Activation::OptimizedLost { after_ms: 1_000 }] {
        let mut rig = rig(Tpgs::Explicit, activation);
        rig.set(1, AN);
        rig.set(2, AO);
        hear(&mut rig, 0);
        for turn in 0..50 {
            assert!(rig.goes(READ, turn * 8) >= 2);
            rig.all_good();
            rig.pass(500);
        }
        assert_eq!(rig.stpgs(), 0, "{activation:?}");
    }
}

#[test]
fn the_loss_of_all_optimized_paths_makes_it_ask_where_that_is_configured() {
    for (activation, expected) in
        [(Activation::NothingLive, 0), (Activation::OptimizedLost { after_ms: 2_000 }, 1)]
    {
        let mut rig = rig(Tpgs::Explicit, activation);
        rig.set(2, AN);
        hear(&mut rig, 0);
        for place in [0, 1] {
            rig.lines[place].answers = false;
            let id = rig.id(place);
            rig.engine.handle_path_down(id, rig.now());
        }
        for _ in 0..4 {
            rig.goes(READ, 0);
            rig.all_good();
            rig.pass(400);
        }
        assert_eq!(rig.stpgs(), 0, "not before its time");
        for _ in 0..10 {
            rig.goes(READ, 0);
            rig.all_good();
            rig.pass(400);
        }
        assert_eq!(rig.stpgs(), expected, "{activation:?}");
    }
}

/// Where nothing is live half of the limit comes at once, and the rest one 20 s after the last: up to
/// five in a minute, and never six.
#[test]
fn never_more_than_the_limit_per_minute_are_sent() {
    let (activation, no_path) = (Activation::NothingLive, NoPath::Forever);
    let mut config = Config { activation, no_path, ..Config::default() };
    config.core.stpg_per_minute = 5;
    let mut rig = Rig::new(config, Tpgs::Explicit, &[(1, SBY), (2, SBY)]);
    rig.takes_stpg = false;
    rig.submit(READ, 0);
    rig.pass(600_000);
    let sent = &rig.stpgs_at;
    assert!(sent.len() > 10, "{sent:?}");
    let in_minute = |last: u64| sent.iter().filter(|&&at| at <= last && at + 60_000 > last).count();
    let most = sent.iter().map(|&last| in_minute(last)).max();
    assert_eq!(most, Some(5), "{sent:?}");
    assert!(sent[3..].windows(2).all(|pair| pair[1] - pair[0] >= 20_000), "{sent:?}");
}
