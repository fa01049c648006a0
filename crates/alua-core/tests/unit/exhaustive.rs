//! Every sequence of events, up to a depth, on a unit with two groups.
//!
//! An event that means nothing in the state at hand (an answer when nothing is in flight) is left
//! out, so that the depth is spent on what can happen. After every event the invariants of
//! `unit`, `unit::refresh` and `unit::activation` are checked; at the end of every sequence the
//! target turns good, and the unit must come to rest knowing everything, with every activation
//! ended once. A count of the distinct (state, event) pairs shows that the walk went somewhere.

use std::collections::{BTreeMap, BTreeSet};

use alua_core::access::{AccessState, Tpgs};
use alua_core::cause::RefreshError;
use alua_core::gate::Gate;
use alua_core::spc::Status;
use alua_core::unit::{
    ActivationId, Command, CommandKind, Config, Event, IdentityCheck, LEFT_MAX, PathId,
    REPORT_BYTES_MAX, Transition,
};

use crate::harness::*;

/// Events in a sequence. `ALUA_EXHAUSTIVE_DEPTH` sets another number; each one more costs about
/// fifteen times the time.
const DEPTH: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Act {
    /// The oldest command in flight is answered by a report, or by GOOD where it is no RTPG.
    Report(AccessState, AccessState),
    Refuse(u8, u8, u8),
    Garbage,
    Busy,
    Lose,
    /// I/O on the first path meets this sense.
    Meet(u8, u8, u8),
    /// I/O on the second path does.
    MeetOther(u8, u8, u8),
    Succeed,
    Activate,
    RemoveFirst,
    Add,
    /// To the next deadline.
    Wait,
    /// Past every limit.
    WaitLong,
}

const ACTS: &[Act] = &[
    Act::Report(AO, AN),
    Act::Report(SBY, AO),
    Act::Report(TRANS, AO),
    Act::Refuse(2, 0x04, 0x0a),
    Act::Refuse(6, 0x2a, 0x06),
    Act::Refuse(6, 0x3f, 0x0e),
    Act::Refuse(5, 0x24, 0x00),
    Act::Garbage,
    Act::Busy,
    Act::Lose,
    Act::Meet(2, 0x04, 0x0a),
    Act::Meet(2, 0x04, 0x0b),
    Act::Meet(6, 0x2a, 0x06),
    Act::MeetOther(6, 0x2a, 0x06),
    Act::MeetOther(6, 0x3f, 0x05),
    Act::Succeed,
    Act::Activate,
    Act::RemoveFirst,
    Act::Add,
    Act::Wait,
    Act::WaitLong,
];

#[derive(Clone)]
struct World {
    host: Host,
    in_flight: Vec<Command>,
    activations: Vec<ActivationId>,
    ended: Vec<ActivationId>,
    history: Vec<Act>,
    /// The gates as events told them.
    gates: BTreeMap<PathId, Gate>,
}

impl World {
    fn new(config: Config) -> Self {
        let (mut host, _) = Host::with_paths(Tpgs::Both, config, &[1, 2]);
        host.drain();
        Self {
            host,
            in_flight: Vec::new(),
            activations: Vec::new(),
            ended: Vec::new(),
            history: Vec::new(),
            gates: BTreeMap::new(),
        }
    }

    fn path(&self, place: usize) -> Option<PathId> {
        self.host.unit.paths().nth(place).map(|(id, _)| id)
    }

    /// Whether the event means anything here; if so, it happens.
    fn act(&mut self, act: Act) -> bool {
        self.history.push(act);
        let happened = match act {
            Act::Report(first, second) => self.answer(&report(&[(1, first), (2, second)])),
            Act::Refuse(key, asc, ascq) => self.answer(&check(key, asc, ascq)),
            Act::Garbage => self.answer(&Answer::Good(vec![0, 0, 0, 9, 0xff, 1, 2])),
            Act::Busy => self.answer(&Answer::Status(Status::Busy)),
            Act::Lose => self.answer(&Answer::Failed),
            Act::Meet(key, asc, ascq) => self.meet(0, key, asc, ascq),
            Act::MeetOther(key, asc, ascq) => self.meet(1, key, asc, ascq),
            Act::Succeed => match self.path(0) {
                Some(path) => {
                    self.host.unit.handle_success(path, self.host.now);
                    true
                }
                None => false,
            },
            Act::Activate => match self.host.unit.activate(2, self.host.now) {
                Ok(id) => {
                    if !self.activations.contains(&id) {
                        self.activations.push(id);
                    }
                    true
                }
                Err(_) => false,
            },
            Act::RemoveFirst => match self.path(0) {
                Some(path) => {
                    self.host.unit.remove_path(path, self.host.now);
                    self.in_flight.retain(|command| command.path != path);
                    true
                }
                None => false,
            },
            Act::Add => {
                let room = self.host.unit.paths().count() < 3;
                if room {
                    self.host.add(Some(1));
                }
                room
            }
            Act::Wait => match self.host.unit.poll_deadline() {
                Some(deadline) => {
                    self.host.now = self.host.now.max(deadline);
                    true
                }
                None => false,
            },
            Act::WaitLong => {
                self.host.wait(300_000);
                true
            }
        };
        if happened {
            self.take_commands();
            self.check();
        }
        happened
    }

    fn answer(&mut self, answer: &Answer) -> bool {
        if self.in_flight.is_empty() {
            return false;
        }
        let command = self.in_flight.remove(0);
        let answer = match (&command.kind, answer) {
            (CommandKind::ReadIdentification, Answer::Good(data)) if data.len() > 7 => {
                let group = self.host.unit.path(command.path).and_then(|path| path.group());
                &Answer::Good(page83(1, group, group))
            }
            (_, answer) => answer,
        };
        self.host.answer(&command, answer);
        true
    }

    fn meet(&mut self, place: usize, key: u8, asc: u8, ascq: u8) -> bool {
        let Some(path) = self.path(place) else { return false };
        let Answer::Check(key, asc, ascq) = check(key, asc, ascq) else { return false };
        self.host.meet(path, key, asc, ascq);
        true
    }

    fn take_commands(&mut self) {
        while let Some(command) = self.host.next() {
            self.check_command(&command);
            self.in_flight.push(command);
        }
        for event in std::mem::take(&mut self.host.events) {
            if let Event::Gate { path, gate } = event {
                self.gates.insert(path, gate);
            }
            if let Event::Activation { id, .. } = event {
                assert!(self.activations.contains(&id), "{id:?} was asked for");
                assert!(!self.ended.contains(&id), "{id:?} ends once");
                self.ended.push(id);
            }
        }
        self.host.sent.clear();
    }

    fn check_command(&self, command: &Command) {
        let path = self.host.unit.path(command.path).expect("commands go down existing paths");
        let identity = is_identity(command);
        assert_eq!(identity, path.identity() != IdentityCheck::Verified, "{command:?}");
        let beside = |other: &Command| other.path == command.path && !is_identity(other);
        let alone = identity || !self.in_flight.iter().any(beside);
        // The STPG of an activation may have no other path.
        let stpg = matches!(command.kind, CommandKind::SetTargetPortGroups(_));
        assert!(alone || stpg, "one command on a path: {command:?} {:?}", self.in_flight);
        assert!(command.data_in_len() <= REPORT_BYTES_MAX);
        if let CommandKind::SetTargetPortGroups(targets) = command.kind {
            let running = |transition| matches!(transition, Some(Transition::Running { .. }));
            let mut groups = self.host.unit.groups();
            assert!(
                !groups.any(|it| it.id() == 2 && running(it.transition())),
                "not in transition"
            );
            assert!(targets.as_slice().iter().all(|target| target.id == 2));
        }
    }

    fn check(&mut self) {
        let identity = self.in_flight.iter().filter(|command| is_identity(command)).count();
        let control = self.in_flight.len() - identity;
        let left = self.host.unit.config().patience_ms.map_or(0, |_| LEFT_MAX);
        let extra = identity.saturating_sub(1) + control.saturating_sub(1);
        assert!(extra <= left, "too many commands: {:?}", self.in_flight);

        let unit = &mut self.host.unit;
        let deadline = unit.poll_deadline();
        let busy = unit.is_busy() || self.activations.len() > self.ended.len();
        let history = &self.history;
        let forgotten = busy && deadline.is_none() && self.in_flight.is_empty();
        assert!(!forgotten, "{history:?}\n{unit:?}");
        // A time that has come and brings nothing would be a busy loop.
        assert!(deadline.is_none_or(|at| at > self.host.now), "{history:?}\n{unit:?}");
        for group in unit.groups() {
            if let Some(Transition::Running { deadline: end, .. }) = group.transition() {
                assert!(deadline.is_some_and(|at| at <= end), "a transition is looked after");
            }
        }
        for (id, path) in unit.paths() {
            if path.identity() != IdentityCheck::Verified {
                assert_ne!(unit.gate(id), Gate::Pass, "no I/O while in doubt");
            }
            assert_eq!(
                self.gates.get(&id),
                Some(&unit.gate(id)),
                "every gate is told: {history:?}"
            );
        }
    }

    /// The target turns good: everything must come to rest.
    fn settle(mut self) {
        self.come_to_rest();
        let (unit, history) = (&self.host.unit, &self.history);
        assert_eq!(self.ended.len(), self.activations.len(), "{history:?}\n{unit:?}");
        let unsupported = matches!(unit.refresh_error(), Some(RefreshError::Unsupported(_)));
        for (id, path) in unit.paths() {
            assert!(path.evidence().is_none(), "{history:?}\n{unit:?}");
            assert!(unsupported || unit.access(id).state.is_some(), "{history:?}\n{unit:?}");
        }
        for group in unit.groups().filter(|group| group.transition().is_some()) {
            let reachable = unit.paths().any(|(_, path)| path.group() == Some(group.id()));
            assert!(!reachable, "{history:?}\n{unit:?}");
        }

        // What was read before the target turned good may still be believed; asked, it is not.
        self.host.unit.refresh(self.host.now);
        self.take_commands();
        self.come_to_rest();
        let (unit, history) = (&self.host.unit, &self.history);
        for (id, path) in unit.paths() {
            let state = if path.group() == Some(1) { AN } else { AO };
            assert_eq!(unit.access(id).state, Some(state), "{history:?}\n{unit:?}");
            assert_eq!(unit.gate(id), Gate::Pass, "{history:?}\n{unit:?}");
        }
    }

    fn come_to_rest(&mut self) {
        for _ in 0..60 {
            if let Some(command) = self.in_flight.first() {
                let answer = match command.kind {
                    CommandKind::ReadIdentification => {
                        let group = self.host.unit.path(command.path).and_then(|path| path.group());
                        Answer::Good(page83(1, group, group))
                    }
                    CommandKind::ReportTargetPortGroups { .. } => report(&[(1, AN), (2, AO)]),
                    _ => GOOD,
                };
                self.answer(&answer);
            } else if let Some(deadline) = self.host.unit.poll_deadline() {
                self.host.now = self.host.now.max(deadline);
            } else {
                break;
            }
            self.take_commands();
            self.check();
        }
        let (unit, history) = (&self.host.unit, &self.history);
        assert!(!unit.is_busy() && self.in_flight.is_empty(), "{history:?}\n{unit:?}");
    }

    /// What distinguishes states for the count of pairs: everything but times and numbers.
    fn signature(&self) -> String {
        use std::fmt::Write;
        let unit = &self.host.unit;
        let mut text = String::new();
        for group in unit.groups() {
            let transition = group.transition().map(|transition| match transition {
                Transition::Running { .. } => 'r',
                Transition::Expired { .. } => 'e',
            });
            write!(text, "{:?}{transition:?} ", group.state()).unwrap();
        }
        for (id, path) in unit.paths() {
            let identity = std::mem::discriminant(&path.identity());
            write!(text, "{:?}{identity:?}{} ", path.evidence().map(|own| own.state), id.index())
                .unwrap();
        }
        let kinds: Vec<_> = self.in_flight.iter().map(kind).collect();
        write!(text, "{kinds:?} {}", self.activations.len() - self.ended.len()).unwrap();
        text
    }
}

const fn is_identity(command: &Command) -> bool {
    matches!(command.kind, CommandKind::ReadIdentification)
}

fn check(key: u8, asc: u8, ascq: u8) -> Answer {
    let key = match key {
        2 => NOT_READY,
        5 => ILLEGAL,
        _ => ATTENTION,
    };
    Answer::Check(key, asc, ascq)
}

#[derive(Default)]
struct Walk {
    depth: usize,
    config: Config,
    sequences: u64,
    pairs: BTreeSet<(String, Act)>,
    states: BTreeSet<String>,
}

impl Walk {
    fn go(&mut self, world: &World, depth: usize) {
        if depth == 0 {
            self.sequences += 1;
            world.clone().settle();
            return;
        }
        // Signatures are dear, and the deepest level only repeats pairs.
        let signature = (depth > 1).then(|| world.signature());
        for &act in ACTS {
            let mut next = world.clone();
            if !next.act(act) {
                continue;
            }
            if let Some(signature) = &signature {
                self.pairs.insert((signature.clone(), act));
                self.states.insert(signature.clone());
            }
            self.go(&next, depth - 1);
        }
    }

    /// Walks on from where `prefix` leads; every event of it must mean something.
    fn from(&mut self, prefix: &[Act]) {
        let mut world = World::new(self.config);
        world.host.wait(1_000);
        world.take_commands();
        for &act in prefix {
            assert!(world.act(act), "{act:?} of {prefix:?}");
        }
        self.go(&world, self.depth);
        println!(
            "after {prefix:?}: {} sequences, {} states, {} (state, event) pairs so far",
            self.sequences,
            self.states.len(),
            self.pairs.len()
        );
    }
}

fn depth() -> usize {
    let depth = std::env::var("ALUA_EXHAUSTIVE_DEPTH").ok();
    depth.map_or(DEPTH, |depth| depth.parse().expect("a number of events"))
}

#[test]
fn every_sequence_of_events_keeps_the_invariants_and_comes_to_rest() {
    let mut walk = Walk { depth: depth(), ..Walk::default() };
    walk.from(&[]);
    let known = [Act::Report(SBY, AO)];
    let transition = [Act::Report(TRANS, AO)];
    let expired = [Act::Report(TRANS, AO), Act::WaitLong];
    let sent = [Act::Report(AO, AN), Act::Activate, Act::Report(AO, AN)];
    let verifying = [Act::Report(AO, AN), Act::Activate, Act::Report(AO, AN), Act::Report(AO, AN)];
    for prefix in [&known[..], &transition, &expired, &sent, &verifying] {
        walk.from(prefix);
    }
    assert!(walk.states.len() > 800 && walk.pairs.len() > 15_000, "the walk went somewhere");
}

/// The same where a command that hangs is left: a wait with one in flight comes to that.
#[test]
fn every_sequence_keeps_them_where_commands_are_left() {
    let config = Config { patience_ms: Some(5_000), ..Config::default() };
    let mut walk = Walk { depth: depth() - 1, config, ..Walk::default() };
    walk.from(&[]);
    let left = [Act::Report(SBY, AO), Act::Meet(6, 0x2a, 0x06), Act::Wait, Act::Wait];
    let mut world = World::new(config);
    world.host.wait(1_000);
    world.take_commands();
    assert!(left.iter().all(|&act| world.act(act)));
    assert_eq!(world.in_flight.len(), 2, "one of them was left");
    let switching = [&left[..], &[Act::Activate]].concat();
    for prefix in [&left[..], &switching] {
        walk.from(prefix);
    }
    assert!(walk.states.len() > 150, "the walk went somewhere: {}", walk.states.len());
}
