//! Path selection: the policies by hand, the rules over every combination of states.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use alua_core::access::AccessState as S;
use alua_core::gate::{Gate, GatePolicy, Hold, Refusal, gate};
use alua_core::select::{
    Candidate, Class, Health, Outlook, Policy, Preference, Rank, Standing, Why, class, outlook,
    pick, pick_ranked, standing,
};

const NATIVE: GatePolicy = GatePolicy { pass_unknown: false, pass_transitioning: false };
const STATES: [Option<S>; 9] = [
    None,
    Some(S::ActiveOptimized),
    Some(S::ActiveNonOptimized),
    Some(S::Standby),
    Some(S::Unavailable),
    Some(S::LbaDependent),
    Some(S::Reserved(9)),
    Some(S::Offline),
    Some(S::Transitioning),
];

fn of(state: Option<S>, preferred: bool, preference: Preference) -> Standing {
    standing(state, preferred, gate(state, NATIVE), Health::Good, preference)
}

fn candidate(standing: Standing) -> Candidate {
    let class = match standing {
        Standing::Live(class) => Some(class),
        _ => None,
    };
    Candidate { class, room: true, ..Candidate::NONE }
}

/// I11, N2: every state of four groups with two paths each, one of the paths of each group failed or
/// not, under every policy.
#[test]
fn i11_n2_n4_never_a_worse_state_while_a_better_one_is_live() {
    let mut checked = 0_u32;
    for choice in 0..9_usize.pow(4) {
        let states: [Option<S>; 4] =
            std::array::from_fn(|group| STATES[choice / 9_usize.pow(group as u32) % 9]);
        for failed in 0..16_u8 {
            let paths: Vec<(Option<S>, Standing)> = (0..8)
                .map(|path| {
                    let state = states[path / 2];
                    let down = path % 2 == 1 && failed >> (path / 2) & 1 == 1;
                    let health = if down { Health::Failed } else { Health::Good };
                    let of =
                        standing(state, false, gate(state, NATIVE), health, Preference::Ignore);
                    (state, of)
                })
                .collect();
            let candidates: Vec<Candidate> =
                paths.iter().map(|&(_, standing)| candidate(standing)).collect();
            for policy in Policy::ALL {
                checked += 1;
                let chosen = pick(&candidates, policy, choice % 8);
                let usable = |wanted: S| {
                    paths.iter().any(|&(state, it)| {
                        state == Some(wanted) && matches!(it, Standing::Live(_))
                    })
                };
                let Some((place, why)) = chosen else {
                    assert!(!paths.iter().any(|(_, it)| matches!(it, Standing::Live(_))));
                    continue;
                };
                let state = paths[place].0.expect("an unknown state is not live here");
                assert_eq!(why, Why::Best);
                assert!(state.is_live(), "{state}");
                assert!(state == S::ActiveOptimized || !usable(S::ActiveOptimized));
            }
            let live = paths.iter().any(|(_, it)| matches!(it, Standing::Live(_)));
            let outlook = outlook(paths.iter().map(|&(_, it)| it));
            assert_eq!(outlook == Outlook::Live, live);
            if !live && states.contains(&Some(S::Transitioning)) {
                assert_eq!(outlook, Outlook::Waits(Hold::Transitioning), "s7_9");
            }
        }
    }
    assert_eq!(checked, 9_u32.pow(4) * 16 * 4);
}

#[test]
fn s7_8_x14_reg_33_preference_orders_and_never_disables() {
    for preference in [Preference::Ignore, Preference::WithinState, Preference::AboveState] {
        for state in STATES {
            for preferred in [false, true] {
                let live = matches!(of(state, preferred, preference), Standing::Live(_));
                assert_eq!(live, state.is_some_and(S::is_live));
            }
        }
    }
    let ao = |preferred, preference| class(true, preferred, preference);
    let an = |preferred, preference| class(false, preferred, preference);
    assert_eq!(ao(true, Preference::Ignore), ao(false, Preference::Ignore));
    assert!(ao(true, Preference::WithinState) < ao(false, Preference::WithinState));
    assert!(ao(false, Preference::WithinState) < an(true, Preference::WithinState));
    assert!(an(true, Preference::AboveState) < ao(false, Preference::AboveState));
    assert!(ao(true, Preference::AboveState) < an(true, Preference::AboveState));
}

#[test]
fn optimized_classes_know_that_they_are() {
    for preference in [Preference::Ignore, Preference::WithinState, Preference::AboveState] {
        for preferred in [false, true] {
            assert!(class(true, preferred, preference).is_optimized());
            assert!(!class(false, preferred, preference).is_optimized());
        }
    }
}

#[test]
fn health_comes_before_state() {
    for health in [Health::Failed, Health::Unsteady, Health::OtherSize, Health::ByHand] {
        let it = standing(Some(S::ActiveOptimized), true, Gate::Pass, health, Preference::Ignore);
        assert!(matches!(it, Standing::Out(_)));
    }
    let refused = of(Some(S::Standby), false, Preference::Ignore);
    assert_eq!(refused, Standing::Out(alua_core::select::Out::Refused(Refusal::State(S::Standby))));
}

fn live(rank: bool, in_flight: u32, service_ns: u32, distance: u8) -> Candidate {
    let class: Option<Class> = Some(class(rank, false, Preference::Ignore));
    Candidate { class, room: true, in_flight, service_ns, distance }
}

fn ranks(paths: &[Candidate], policy: Policy) -> Vec<Rank> {
    paths.iter().map(|it| Rank::of(it, policy)).collect()
}

/// The rules in plain words, for comparison.
fn plainly(paths: &[Candidate], policy: Policy, after: usize) -> Option<usize> {
    let best = paths.iter().filter_map(|it| it.class).min()?;
    let key = |it: &Candidate| match policy {
        Policy::RoundRobin => 0,
        Policy::QueueDepth => u64::from(it.in_flight),
        Policy::ServiceTime => (u64::from(it.in_flight) + 1) * u64::from(it.service_ns),
        Policy::Affinity => u64::from(it.distance),
    };
    let usable = |place: &usize| paths[*place].class == Some(best) && paths[*place].room;
    (0..paths.len()).filter(usable).min_by_key(|&place| (key(&paths[place]), place <= after, place))
}

/// Every class beside every other, full or not, with loads that differ by little and by much.
#[test]
fn ranks_say_what_the_rules_say() {
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let preferences = [Preference::Ignore, Preference::WithinState, Preference::AboveState];
    let mut left = 0;
    for _ in 0..50_000 {
        let preference = preferences[random(3) as usize];
        let paths: Vec<Candidate> = (0..=random(9))
            .map(|_| {
                let class = class(random(2) == 0, random(2) == 0, preference);
                let class = if random(3) == 0 { class.deferred() } else { class };
                Candidate {
                    class: (random(5) > 0).then_some(class),
                    room: random(4) > 0,
                    in_flight: [random(3), random(1 << 20)][random(2) as usize] as u32,
                    service_ns: [0, 500_000, 900_000, 1 << 18_u32][random(4) as usize],
                    distance: random(3) as u8,
                }
            })
            .collect();
        let after = random(9) as usize;
        for policy in Policy::ALL {
            let chosen = pick(&paths, policy, after);
            let ranks: Vec<Rank> = ranks(&paths, policy);
            assert_eq!(pick_ranked(&ranks, &paths, policy, after), chosen);
            let plainly = plainly(&paths, policy, after);
            match chosen {
                Some((place, Why::Outruns)) => {
                    left += 1;
                    assert!(paths[place].class > paths[plainly.unwrap()].class);
                }
                chosen => {
                    assert_eq!(chosen.map(|(place, _)| place), plainly, "{policy}: {paths:?}");
                }
            }
        }
    }
    assert!(left > 0, "no class was ever left");
}

fn turns(paths: &[Candidate], policy: Policy, count: usize) -> Vec<usize> {
    let mut after = paths.len() - 1;
    (0..count)
        .map(|_| {
            after = pick(paths, policy, after).unwrap().0;
            after
        })
        .collect()
}

#[test]
fn n4_round_robin_takes_turns_in_the_best_class() {
    let paths = [live(true, 9, 0, 0), live(false, 0, 0, 0), live(true, 0, 0, 0), Candidate::NONE];
    assert_eq!(turns(&paths, Policy::RoundRobin, 4), [0, 2, 0, 2]);
}

#[test]
fn n5_queue_depth_takes_the_least_and_turns_between_equals() {
    let mut paths = [live(true, 3, 0, 0), live(true, 1, 0, 0), live(true, 1, 0, 0)];
    assert_eq!(turns(&paths, Policy::QueueDepth, 4), [1, 2, 1, 2]);
    paths[0].in_flight = 0;
    assert_eq!(turns(&paths, Policy::QueueDepth, 2), [0, 0]);
}

#[test]
fn service_time_weighs_the_queue_by_the_time() {
    let paths = [live(true, 4, 100_000, 0), live(true, 1, 200_000, 0)];
    assert_eq!(pick(&paths, Policy::ServiceTime, 0), Some((1, Why::Best)));
}

#[test]
fn service_time_leaves_the_class_only_where_it_is_measurably_worse() {
    let fast = live(false, 0, 500_000, 0);
    let slow = |ns| live(true, 0, ns, 0);
    assert_eq!(pick(&[slow(20_000_000), fast], Policy::ServiceTime, 0), Some((1, Why::Outruns)));
    assert_eq!(pick(&[slow(700_000), fast], Policy::ServiceTime, 0), Some((0, Why::Best)), "noise");
    let close = live(false, 0, 1_900_000, 0);
    assert_eq!(pick(&[slow(2_000_000), close], Policy::ServiceTime, 0), Some((0, Why::Best)));
    let unknown = live(false, 0, 0, 0);
    assert_eq!(pick(&[slow(20_000_000), unknown], Policy::ServiceTime, 0), Some((0, Why::Best)));
    assert_eq!(pick(&[slow(20_000_000), fast], Policy::QueueDepth, 0), Some((0, Why::Best)));
}

#[test]
fn n1_n3_affinity_takes_the_nearest_of_the_best_class() {
    let paths = [live(true, 0, 0, 20), live(true, 0, 0, 10), live(false, 0, 0, 0)];
    assert_eq!(pick(&paths, Policy::Affinity, 1), Some((1, Why::Best)));
}

#[test]
fn nothing_live_is_nothing() {
    for policy in Policy::ALL {
        assert_eq!(pick(&[], policy, 0), None);
        assert_eq!(pick(&[Candidate::NONE; 3], policy, 7), None);
    }
}

#[test]
fn a_deferred_path_goes_behind_every_other_and_keeps_its_order_there() {
    for preference in [Preference::Ignore, Preference::WithinState, Preference::AboveState] {
        let worst = class(false, false, preference);
        let (best, deferred) = (class(true, true, preference), class(true, true, preference));
        let deferred = deferred.deferred();
        assert!(worst < deferred && best < deferred && deferred.is_deferred());
        assert!(deferred.is_optimized() && deferred < worst.deferred());
    }
}

#[test]
fn a_full_path_is_waited_for() {
    let full = Candidate { room: false, ..live(true, 9, 0, 0) };
    for policy in Policy::ALL {
        assert_eq!(pick(&[full, live(false, 0, 0, 0)], policy, 0), None);
        assert_eq!(pick(&[full, live(true, 0, 0, 0)], policy, 1), Some((1, Why::Best)));
    }
}
