//! What the engine allocates: nothing after it was set up, whatever fails. Every other rule is tested
//! under this one too: see `rig::frugal`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use alua_core::access::Tpgs;
use alua_core::failover::IoOutcome;
use alua_core::select::Policy;
use alua_multipath::{
    Config, FenceAnswer, NoPath, PathTraits, Request, RequestError, SubmitError, Switch,
};

use crate::rig::{AN, AO, GOOD, READ, Rig, SBY, TRN, WRITE, check, frugal, sense};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; a counter is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from `System`, by `alloc` above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What something does, and how often it allocates.
pub(crate) fn counted<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATIONS.get();
    let result = act();
    (result, ALLOCATIONS.get() - before)
}

const TRAITS: PathTraits = PathTraits {
    abort_task: true,
    end_nexus: true,
    reset_unit: true,
    host_repeats: false,
    distance: 0,
};

#[test]
fn the_allocator_counts() {
    assert_eq!(counted(|| 1 + 1).1, 0);
    assert!(counted(|| vec![0_u8; 8]).1 > 0);
}

/// A rig with two paths in each of two groups, which can do all that ends commands.
fn rig(config: Config) -> Rig {
    let mut rig = Rig::new(config, Tpgs::Both, &[]);
    rig.groups = vec![(1, AO, false), (2, AN, false)];
    for (group, port) in [(1, 1), (1, 2), (2, 3), (2, 4)] {
        rig.add(1, group, port, TRAITS).unwrap();
    }
    rig.pass(50);
    rig.forget();
    rig
}

/// Everything that fails, one after the other and on top of each other, in an order that a small
/// generator makes.
#[test]
fn nothing_is_allocated_whatever_fails() {
    for seed in 0..24_u64 {
        let mut config = Config { no_path: NoPath::Wait(3_000), ..Config::default() };
        config.policy = Policy::ALL[seed as usize % 4];
        config.io_timeout_ms = 1_500;
        config.fence.wait_ms = 5_000;
        config.limits.requests = 16;
        config.limits.paths = 4;
        let mut rig = rig(config);
        let mut state = seed + 1;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..600 {
            let place = random(4) as usize;
            let (id, now) = (rig.id(place), rig.now());
            rig.fence = Some([FenceAnswer::Done, FenceAnswer::Failed][random(2) as usize]);
            match random(16) {
                0 => {
                    rig.lines[place].answers = false;
                    frugal(|| rig.engine.handle_path_down(id, now));
                }
                1 => {
                    rig.answer_held();
                    frugal(|| rig.engine.handle_path_up(id, now));
                }
                2 => {
                    rig.groups[place % 2].1 = [AO, AN, SBY, TRN][random(4) as usize];
                    rig.tell_changed(place);
                }
                3 => {
                    frugal(|| rig.engine.fail_path(id, now));
                }
                4 => {
                    frugal(|| rig.engine.restore_path(id, now));
                }
                5 => {
                    let to = [None, Some(Switch::Path(id)), Some(Switch::Group(1))];
                    frugal(|| rig.engine.switch(to[random(3) as usize], now));
                }
                6 if rig.lines[place].answers => {
                    frugal(|| rig.engine.remove_path(id, random(2) == 0, now));
                    rig.pump();
                    // What was sent down it comes back.
                    let gone: Vec<_> = rig.sent.extract_if(.., |it| it.path == id).collect();
                    for send in gone {
                        rig.back_io(send.io, &IoOutcome::TransportFailed);
                    }
                    let port = place as u16 + 1;
                    if rig.add(1, 1 + place as u16 / 2, port, TRAITS).is_ok() {
                        let line = rig.lines.pop().unwrap();
                        rig.lines[place] = line;
                    } else {
                        break;
                    }
                }
                7 => rig.pass(700),
                8 | 9 if !rig.sent.is_empty() => {
                    let send = rig.sent.remove(random(rig.sent.len() as u64) as usize);
                    let moved = sense(6, 0x2a, 0x06);
                    let outcomes =
                        [IoOutcome::TransportFailed, check(&moved), IoOutcome::NotSubmitted];
                    rig.back_io(send.io, &outcomes[random(3) as usize]);
                }
                10 => {
                    let sent = std::mem::take(&mut rig.sent);
                    for send in sent {
                        rig.back_io(send.io, &GOOD);
                    }
                }
                _ if rig.engine.pending() < 16 => {
                    rig.submit([READ, WRITE][random(2) as usize], random(16) * 4);
                }
                _ => {}
            }
            rig.pump();
            rig.pass(random(20) as u32);
            rig.engine.check();
        }
    }
}

/// The most that one moment has to do: the time of a whole queue is over, and all that was lost
/// before is aborted again.
#[test]
fn the_queue_of_actions_holds_what_one_moment_has_to_do() {
    let mut config = Config::default();
    config.limits.requests = 64;
    config.limits.paths = 2;
    let mut rig = Rig::new(config, Tpgs::Implicit, &[]);
    rig.groups = vec![(1, AO, false)];
    for port in [1, 2] {
        rig.add(1, 1, port, PathTraits { abort_task: true, ..PathTraits::default() }).unwrap();
    }
    rig.pass(50);
    rig.fence = None;
    for (place, reads) in [(1, 1), (0, 63)] {
        let id = rig.id(place);
        rig.engine.switch(Some(Switch::Path(id)), rig.now());
        for turn in 0..reads {
            assert_eq!(rig.goes(READ, turn * 8), place);
        }
        // They are lost, and go down the other path.
        rig.pass(31_000);
        if place == 1 {
            let again = rig.sent.pop().unwrap();
            rig.back_io(again.io, &GOOD);
        }
    }
    assert_eq!(rig.view(1).in_flight, 63);
    for step in std::mem::take(&mut rig.steps) {
        frugal(|| rig.engine.handle_fence(step.id, FenceAnswer::Failed, rig.now()));
    }
    let late = rig.now().after(100_000);
    frugal(|| rig.engine.handle_time(late));
    rig.pump();
    assert!(rig.steps.len() >= 63 + 1 + 63, "{} are aborted", rig.steps.len());
}

/// A request takes up room until its completion was polled: so a shell that submits and does not
/// poll is refused, and nothing grows.
#[test]
fn completions_that_nobody_polls_take_up_room() {
    let mut config = Config { no_path: NoPath::Fail, ..Config::default() };
    config.limits.requests = 4;
    let mut rig = rig(config);
    for place in 0..4 {
        let id = rig.id(place);
        rig.engine.fail_path(id, rig.now());
    }
    rig.pass(10_000);
    let request = Request { operation: READ, lba: 0, blocks: 8 };
    let now = rig.now();
    for _ in 0..2 {
        for turn in 0..100 {
            let taken = frugal(|| rig.engine.submit(request, now));
            assert_eq!(taken.is_ok(), turn < 4, "request {turn}: {taken:?}");
            assert!(taken.is_ok() || taken == Err(SubmitError::Full));
        }
        rig.done.clear();
        rig.pump();
        assert_eq!(rig.done.len(), 4);
        assert!(rig.done.iter().all(|(_, result)| *result == Err(RequestError::NoPath)));
    }
}
