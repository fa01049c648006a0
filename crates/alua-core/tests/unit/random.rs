//! Long random lives of a unit: everything that can happen, in any order, hundreds of times over.
//! The walk in `exhaustive` is complete and short; this is incomplete and long. The same lives are
//! lived in every run.

use alua_core::access::{AccessState, Tpgs};
use alua_core::spc::Status;
use alua_core::spc::sense::SenseKey;
use alua_core::tpgs::AluaOff;
use alua_core::unit::{ActivationId, Command, Config, Event, NewPath, Target};

use crate::harness::*;

const LIVES: u32 = 1_500;
const STEPS: u32 = 300;

struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn state(&mut self) -> AccessState {
        AccessState::from_bits(u8::try_from(self.below(16)).unwrap())
    }

    fn sense(&mut self) -> (SenseKey, u8, u8) {
        self.pick(&[
            (NOT_READY, 0x04, 0x0a),
            (ATTENTION, 0x04, 0x0a),
            (NOT_READY, 0x04, 0x0b),
            (NOT_READY, 0x04, 0x0c),
            (NOT_READY, 0x04, 0x12),
            (ATTENTION, 0x29, 0x00),
            (ATTENTION, 0x2a, 0x06),
            (ATTENTION, 0x2a, 0x09),
            (ATTENTION, 0x3f, 0x03),
            (ATTENTION, 0x3f, 0x0e),
            (ILLEGAL, 0x20, 0x00),
            (ILLEGAL, 0x24, 0x00),
            (ILLEGAL, 0x25, 0x00),
            (SenseKey::AbortedCommand, 0x47, 0x00),
        ])
    }

    fn answer(&mut self, command: &Command) -> Answer {
        match self.below(12) {
            0 => Answer::Failed,
            1 => Answer::TimedOut,
            2 => Answer::NotSubmitted,
            3 => Answer::Status(Status::Busy),
            4 => Answer::Status(Status::CheckCondition),
            5 => {
                let (key, asc, ascq) = self.sense();
                Answer::Check(key, asc, ascq)
            }
            6 => Answer::Good((0_u8..64).take(self.below(64)).collect()),
            _ => match kind(command) {
                "TUR" | "STPG" => GOOD,
                "INQUIRY" => {
                    let unit = if self.below(8) == 0 { 2 } else { 1 };
                    let group = self.pick(&[None, Some(1), Some(2), Some(3), Some(7)]);
                    Answer::Good(page83(unit, Some(1), group))
                }
                _ => {
                    let mut listed = Vec::new();
                    for group in [1, 2, 3, 8, 9] {
                        if self.below(5) > 0 {
                            listed.push((group, self.state()));
                        }
                    }
                    report(&listed)
                }
            },
        }
    }
}

struct Life {
    host: Host,
    random: Random,
    flights: Vec<Command>,
    asked: Vec<ActivationId>,
}

impl Life {
    fn new(seed: u32) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9) | 1);
        let config = Config {
            idle_probe_ms: random.pick(&[None, None, Some(700)]),
            report_bytes: random.pick(&[16, 1024]),
            optimize: random.below(2) == 0,
            confirm_old_news: random.below(4) > 0,
            look_inside: random.below(2) == 0,
            ..Config::default()
        };
        let tpgs = random.pick(&[Tpgs::Implicit, Tpgs::Explicit, Tpgs::Both]);
        Self { host: Host::new(tpgs, config), random, flights: Vec::new(), asked: Vec::new() }
    }

    fn step(&mut self) {
        let paths: Vec<_> = self.host.unit.paths().map(|(id, _)| id).collect();
        let path = (!paths.is_empty()).then(|| self.random.pick(&paths));
        let now = self.host.now;
        match (self.random.below(24), path) {
            (0..=7, _) if !self.flights.is_empty() => {
                let index = self.random.below(self.flights.len());
                let command = self.flights.swap_remove(index);
                let answer = self.random.answer(&command);
                self.host.offer(&command, &answer);
                assert!(!self.host.offer(&command, &answer), "awaited once");
            }
            (8..=11, Some(path)) => {
                let (key, asc, ascq) = self.random.sense();
                self.host.meet(path, key, asc, ascq);
            }
            (12, Some(path)) => self.host.unit.handle_success(path, now),
            (13, Some(path)) => self.host.unit.handle_transport_failure(path, now),
            (14, Some(path)) => self.host.unit.reread_identity(path, now),
            (15, Some(path)) => {
                self.host.unit.remove_path(path, now);
            }
            (16, _) => {
                let group = self.random.pick(&[1, 2, 3, 9]);
                self.asked.extend(self.host.unit.activate(group, now).ok());
            }
            (17, _) => {
                let state = self.random.pick(&[AO, AN, SBY, OFF]);
                let force = self.random.below(2) == 0;
                let targets = [Target { state, id: 1 }, Target { state: AO, id: 2 }];
                self.asked.extend(self.host.unit.set_states(&targets, force, now).ok());
            }
            (18, _) => self.host.unit.refresh(now),
            (19, _) if self.random.below(6) == 0 => {
                let managed = self.random.pick(&[
                    Err(AluaOff::NotSupported),
                    Ok(managed(Tpgs::Both)),
                    Ok(managed(Tpgs::Implicit)),
                ]);
                self.host.unit.set_managed(managed, now);
            }
            (20, _) => {
                let wait = self.random.pick(&[1, 4, 20, 500, 2_000, 31_000, 300_000]);
                self.host.wait(wait);
            }
            (21..=22, _) => {
                if let Some(deadline) = self.host.unit.poll_deadline() {
                    self.host.now = now.max(deadline);
                }
            }
            _ => {
                let name = name(1);
                let group = self.random.pick(&[None, Some(1), Some(1), Some(2), Some(3)]);
                let new = NewPath { name: Some(&name), group, relative_port: group };
                let _ = self.host.unit.add_path(new, now);
            }
        }
        self.collect();
    }

    /// Takes every command that is due, and checks what always holds.
    fn collect(&mut self) {
        let mut taken = 0;
        while let Some(command) = self.host.next() {
            assert!(self.host.unit.path(command.path).is_some(), "a path that is there");
            self.flights.push(command);
            taken += 1;
            assert!(taken <= 3, "one command of each kind in flight");
        }
        self.host.drain();
        let deadline = self.host.unit.poll_deadline();
        assert!(
            deadline.is_none_or(|deadline| deadline > self.host.now),
            "a deadline in the past: {deadline:?} at {:?}: {:?}",
            self.host.now,
            self.host.unit
        );
    }

    /// The target turns good: all comes to rest, and everything is known.
    fn rest(&mut self) {
        for command in std::mem::take(&mut self.flights) {
            self.host.offer(&command, &Answer::TimedOut);
        }
        self.host.unit.set_managed(Ok(managed(Tpgs::Both)), self.host.now);
        self.host.unit.refresh(self.host.now);
        let before = self.host.sent.len();
        let states = [(1, AO), (2, AN), (3, SBY), (7, UNAV)];
        // What the target says of a path agrees with what it reports of its group.
        let groups: Vec<_> = self.host.unit.paths().map(|(id, path)| (id, path.group())).collect();
        let group_of = |path| groups.iter().find(|(id, _)| *id == path).and_then(|found| found.1);
        self.host.run_for(700_000, |command| match (kind(command), group_of(command.path)) {
            ("INQUIRY", group) => Answer::Good(page83(1, Some(1), group)),
            ("TUR", Some(3)) => Answer::Check(NOT_READY, 0x04, 0x0b),
            ("TUR", Some(7)) => Answer::Check(NOT_READY, 0x04, 0x0c),
            ("TUR" | "STPG", _) => GOOD,
            _ => report(&states),
        });
        let probes = self.host.unit.config().idle_probe_ms.map_or(0, |_| 1_001);
        let sent = &self.host.sent[before..];
        assert!(
            sent.len() < 200 + probes,
            "{} {:?}",
            sent.len(),
            sent.iter().map(kind).collect::<Vec<_>>()
        );
        assert!(!self.host.unit.is_busy() || self.host.unit.config().idle_probe_ms.is_some());
        for id in &self.asked {
            assert_eq!(self.host.activated(*id).len(), 1, "{id:?} ends exactly once");
        }
        for (path, slot) in self.host.unit.paths() {
            let listed = slot.group().and_then(|group| {
                states.iter().find(|(id, _)| *id == group).map(|(_, state)| *state)
            });
            if self.host.unit.path(path).unwrap().identity() == TRUSTED {
                assert_eq!(self.host.path_state(path), listed, "{path}: {slot:?}");
            }
        }
    }
}

const TRUSTED: alua_core::unit::IdentityCheck = alua_core::unit::IdentityCheck::Verified;

#[test]
fn s7_11_s7_12_random_lives_come_to_rest() {
    let (mut reached, mut failed) = (0, 0);
    for seed in 1..=LIVES {
        let mut life = Life::new(seed);
        for _ in 0..STEPS {
            life.step();
        }
        life.rest();
        for event in &life.host.events {
            match event {
                Event::Activation { result: Ok(_), .. } => reached += 1,
                Event::Activation { .. } => failed += 1,
                _ => {}
            }
        }
    }
    assert!(reached > 1_000 && failed > 1_000, "both ends are met: {reached}, {failed}");
}
