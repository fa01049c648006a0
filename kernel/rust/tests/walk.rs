//! Every sequence of what can happen to a unit of two paths, to a depth, through the entry points.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod glue;

use alua_kernel::abi::*;
use glue::{Glue, page, report, sense};

/// What can happen. Each is skipped where it makes no sense.
#[derive(Clone, Copy, Debug)]
enum Step {
    Answer,
    Refuse,
    Attention,
    Transition,
    Unavailable,
    Lose,
    Time,
    Activate(u16),
    Told,
    Doubt,
    Rescan,
    Go(u16),
    Come,
}

const STEPS: [Step; 15] = [
    Step::Answer,
    Step::Refuse,
    Step::Attention,
    Step::Transition,
    Step::Unavailable,
    Step::Lose,
    Step::Time,
    Step::Activate(0),
    Step::Activate(1),
    Step::Told,
    Step::Doubt,
    Step::Rescan,
    Step::Go(0),
    Step::Go(1),
    Step::Come,
];

/// A path by its group: 0 is group 1, 1 is group 2.
fn page_of(which: u16) -> Vec<u8> {
    page(Some(1), which + 1, Some(which + 1))
}

struct Walk {
    glue: Glue,
    /// The place of each of the two paths.
    places: [Option<u16>; 2],
    asked: usize,
    states: (u8, u8),
}

impl Walk {
    fn new() -> Self {
        let glue = Glue::new(&page_of(0), 3);
        let mut walk = Self { glue, places: [None; 2], asked: 0, states: (0, 2) };
        for which in 0..2 {
            walk.places[usize::from(which)] = walk.glue.add(&page_of(which)).ok();
        }
        walk
    }

    fn answer(&mut self, result: i32, data_sense: &[u8]) {
        let Some((&slot, command)) = self.glue.running.first_key_value() else { return };
        let (operation, path) = (command.cdb[0], command.path);
        let data = match operation {
            0xa3 => report(&[(1, self.states.0), (2, self.states.1)]),
            0x12 => page_of(u16::from(self.places[1] == Some(path))),
            _ => vec![],
        };
        if operation == 0xa4 && result == 0 {
            self.states = (2, 0);
        }
        self.glue.now += 1;
        self.glue.complete(slot, result, data_sense, if result == 0 { &data } else { &[] });
    }

    fn take(&mut self, step: Step) {
        let place = |walk: &Self, which: u16| walk.places[usize::from(which)];
        match step {
            Step::Answer => self.answer(0, &[]),
            Step::Refuse => self.answer(2, &sense(5, 0x24, 0)),
            Step::Attention => self.answer(2, &sense(6, 0x2a, 0x06)),
            Step::Transition => self.answer(2, &sense(2, 0x04, 0x0a)),
            Step::Unavailable => self.answer(-5, &[]),
            Step::Lose => self.answer(1 << 16, &[]),
            Step::Time => {
                self.glue.next_deadline(300_000);
            }
            Step::Activate(which) => {
                if let Some(place) = place(self, which) {
                    self.asked += 1;
                    self.glue.activate(place);
                }
            }
            Step::Told => {
                if let Some(place) = place(self, 0) {
                    self.glue.sense(place, 2, 0x04, 0x0a);
                }
            }
            Step::Doubt => {
                if let Some(place) = place(self, 1) {
                    self.glue.sense(place, 6, 0x3f, 0x03);
                }
            }
            Step::Rescan => {
                if let Some(place) = place(self, 0) {
                    self.glue.rescan(place, 3, &[]);
                }
            }
            Step::Go(which) => {
                if let Some(place) = self.places[usize::from(which)].take() {
                    self.glue.remove(place);
                }
            }
            Step::Come => {
                for which in 0..2 {
                    if self.places[usize::from(which)].is_none() {
                        self.places[usize::from(which)] = self.glue.add(&page_of(which)).ok();
                    }
                }
            }
        }
    }

    /// What holds after every step.
    fn check(&self) {
        let glue = &self.glue;
        assert!(glue.running.len() <= SLOTS);
        assert_eq!(
            glue.ended.len() + glue.waiting.len() + glue.later.len(),
            self.asked,
            "each activation is waited for or has ended, once"
        );
        for (&place, port) in &glue.ports {
            let view = glue.path_view(place).expect("a path that is there");
            assert_eq!(port.gate, view.gate, "prep_fn's word is the unit's gate");
            let state = if view.state == ALUA_UNKNOWN { ALUA_ACCESS_UNKNOWN } else { view.state };
            assert_eq!(port.access_state & 0x0f, state, "sysfs shows the unit's state");
        }
        for command in glue.running.values() {
            assert!(usize::from(command.data_out_len) <= DATA_OUT_BYTES);
            assert!(command.timeout_ms > 0 && command.data_in_len <= 65_536);
        }
    }

    /// A target that answers well again: everything that was asked for ends, and the unit rests.
    fn come_to_rest(mut self) {
        self.take(Step::Come);
        for _ in 0..4_000 {
            if !self.glue.running.is_empty() {
                self.answer(0, &[]);
            } else if !self.glue.next_deadline(300_000) {
                self.check();
                assert!(self.glue.waiting.is_empty() && self.glue.later.is_empty());
                return;
            }
        }
        panic!("the unit never comes to rest");
    }
}

fn walk(sequence: &mut Vec<Step>, depth: usize, count: &mut u64) {
    let mut walk_so_far = Walk::new();
    for &step in &*sequence {
        walk_so_far.take(step);
        walk_so_far.check();
    }
    if sequence.len() == depth {
        *count += 1;
        walk_so_far.come_to_rest();
        return;
    }
    for step in STEPS {
        sequence.push(step);
        walk(sequence, depth, count);
        sequence.pop();
    }
}

#[test]
fn every_sequence_keeps_the_border_s_promises() {
    let depth = std::env::var("ALUA_EXHAUSTIVE_DEPTH").ok().and_then(|text| text.parse().ok());
    let depth = depth.unwrap_or(4);
    let mut count = 0;
    walk(&mut Vec::new(), depth, &mut count);
    assert_eq!(count, 15_u64.pow(u32::try_from(depth).unwrap()));
}

/// The negative control: a glue that forgets an activation is caught by the same check.
#[test]
#[should_panic(expected = "each activation is waited for or has ended, once")]
fn a_forgotten_activation_is_caught() {
    let mut walk = Walk::new();
    walk.take(Step::Activate(0));
    walk.glue.waiting.clear();
    walk.check();
}

/// The negative control of the gate: a word that was not updated is caught.
#[test]
#[should_panic(expected = "prep_fn's word is the unit's gate")]
fn a_stale_gate_is_caught() {
    let mut walk = Walk::new();
    walk.glue.ports.values_mut().for_each(|port| port.gate = ALUA_GATE_REFUSE);
    walk.check();
}
