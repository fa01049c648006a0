//! A run: the array, the hosts, their clients and the faults, under one clock.
//!
//! What a run goes through stands in [`phases`]; here is how it moves.

use std::collections::BTreeMap;

use alua_array::{Array, Event, NexusId, Transition};
use alua_core::access::AccessState;
use alua_multipath::{Operation, Request, Time};

use crate::check::{Checks, Invariant, Violation};
use crate::host::{Ended, Host};
use crate::options::{DATA, Kind, OTHER, Options};
use crate::picture::Picture;
use crate::random::Random;
use crate::shadow::Shadow;
use crate::stalls::Stalls;
use crate::trace::Trace;

mod phases;

/// The contents of the unit that is nobody's business.
pub(crate) const FOREIGN: u64 = u64::MAX;

/// What a run was.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What was found. Empty is good.
    pub violations: Vec<Violation>,
    /// The digest of the trace.
    pub digest: u64,
    /// The trace, where it was wanted.
    pub trace: Vec<String>,
    /// Requests that ended.
    pub requests: u64,
    /// Of those, how many failed.
    pub failed: u64,
    /// Fault events that happened.
    pub events: u64,
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// How long requests took.
    pub stalls: Stalls,
}

/// A request that the world waits for.
#[derive(Debug)]
pub(crate) struct Waiting {
    host: usize,
}

/// The world of one seed.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) array: Array,
    pub(crate) hosts: Vec<Host>,
    pub(crate) shadows: Vec<Shadow>,
    pub(crate) now: Time,
    pub(crate) trace: Trace,
    pub(crate) checks: Checks,
    pub(crate) stalls: Stalls,
    /// What a picture needs, where one was asked for.
    pub(crate) picture: Option<Box<Picture>>,
    pub(crate) faults: Random,
    pub(crate) work: Random,
    /// When each free slot of a host sends its next request.
    pub(crate) starts: BTreeMap<(Time, u64), usize>,
    pub(crate) sequence: u64,
    pub(crate) left: Vec<u64>,
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) events: u64,
    /// The last fault event and when it was.
    pub(crate) last_event: (Kind, Time),
    pub(crate) next_fault: Option<Time>,
    pub(crate) undo: BTreeMap<(Time, u64), crate::events::Undo>,
    pub(crate) events_sequence: u64,
    /// Since when the array could serve each host.
    pub(crate) usable: Vec<Option<Time>>,
    /// The reservation of another host, and when it was there last.
    pub(crate) reserved: Option<Time>,
    pub(crate) rival: Option<NexusId>,
    /// The unit was write protected, and until when that may be met.
    pub(crate) protected: Option<Time>,
    /// Requests may fail for want of a path.
    pub(crate) lenient: bool,
    /// The run cannot go on.
    pub(crate) given_up: bool,
}

impl World {
    pub(crate) fn new(options: Options, keep_trace: bool) -> Self {
        let mut array = Array::new(options.array.clone()).expect("the seed makes a right array");
        array.record_writes();
        let seed = options.seed;
        let mut world = Self {
            shadows: (0..options.engines.len())
                .map(|host| Shadow::new(host as u64 * options.space, options.space))
                .collect(),
            hosts: (0..options.engines.len()).map(|at| Host::new(at, &options, &array)).collect(),
            now: Time::ZERO,
            trace: Trace::new(keep_trace),
            checks: Checks { only: options.only, ..Checks::default() },
            stalls: Stalls::default(),
            picture: None,
            faults: Random::new(seed, 2),
            work: Random::new(seed, 3),
            starts: BTreeMap::new(),
            sequence: 0,
            left: vec![options.requests; options.engines.len()],
            waiting: BTreeMap::new(),
            requests: 0,
            failed: 0,
            events: 0,
            last_event: (Kind::Switch, Time::ZERO),
            next_fault: None,
            undo: BTreeMap::new(),
            events_sequence: 0,
            usable: vec![None; options.engines.len()],
            reserved: None,
            rival: None,
            protected: None,
            lenient: false,
            given_up: false,
            array,
            options,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        self.mark_other();
        let ports: Vec<u16> = self.array.ports().collect();
        for host in &mut self.hosts {
            for &port in &ports {
                self.now = from_array(self.array.now());
                host.add_path(&mut self.array, port, self.now, &mut self.trace);
            }
        }
        self.catch_up();
        for host in 0..self.hosts.len() {
            for _ in 0..self.options.depth {
                self.start_at(host, self.now);
            }
        }
        self.next_fault = Some(self.now.after(10));
    }

    /// Fills the other unit with what nobody may ever read.
    fn mark_other(&mut self) {
        let map =
            |lun, unit: &str| Event::Map { lun, unit: unit.to_owned(), port: None, quiet: true };
        let port = self.array.ports().next().unwrap_or(1);
        let Ok(nexus) = self.array.connect("marker", port) else { return };
        self.apply(&map(9, OTHER));
        let second = std::time::Duration::from_secs(1);
        let mut block = [0; 512];
        block[..8].copy_from_slice(&FOREIGN.to_le_bytes());
        let mut cdb = [0_u8; 16];
        cdb[0] = 0x93;
        cdb[10..14].copy_from_slice(&4_096_u32.to_be_bytes());
        for tag in 0..3 {
            let _ = self.array.execute(nexus, 9, tag, &cdb, &block, 0, second);
        }
        self.apply(&Event::Unmap { lun: 9, port: None, quiet: true });
        self.array.disconnect(nexus);
        self.array.take_writes();
        self.now = from_array(self.array.now());
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        self.trace.note(self.now, "array", "event", format_args!("{event:?}"));
        if let Err(error) = self.array.apply(event) {
            unreachable!("{error}");
        }
    }

    /// Notes for the picture what happens now.
    pub(crate) fn mark(&mut self, what: &str) {
        if let Some(picture) = &mut self.picture {
            picture.mark(self.now, what);
        }
    }

    /// The whole run.
    pub(crate) fn run(self) -> Report {
        self.run_with(&mut None)
    }

    /// The whole run; what a picture needs of it goes to `picture`, where that was asked for.
    pub(crate) fn run_with(mut self, picture: &mut Option<Picture>) -> Report {
        self.safety();
        if self.goes_on() {
            self.liveness();
        }
        if self.goes_on() {
            self.finale();
        }
        if self.goes_on() {
            self.reckoning();
        }
        self.checks.tell(&mut self.trace);
        *picture = self.picture.map(|picture| *picture);
        Report {
            seed: self.options.seed,
            violations: self.checks.found,
            digest: self.trace.digest(),
            trace: self.trace.take(),
            requests: self.requests,
            failed: self.failed,
            events: self.events,
            virtual_ns: self.now.as_nanos(),
            stalls: self.stalls,
        }
    }

    /// Lets the next thing happen; false when nothing will by `end`.
    fn step(&mut self, end: Time) -> bool {
        let hosts = self.hosts.iter().filter_map(Host::deadline);
        let next = [
            self.array.next_event().map(from_array),
            self.starts.first_key_value().map(|(&(at, _), _)| at),
            self.undo.first_key_value().map(|(&(at, _), _)| at),
            self.next_fault,
        ];
        let next = next.into_iter().flatten().chain(hosts).min();
        let Some(next) = next.filter(|&next| next <= end) else {
            self.now = self.now.max(end);
            self.array.advance(to_array(self.now));
            return false;
        };
        self.now = self.now.max(next);
        self.array.advance(to_array(self.now));
        self.catch_up();
        for at in 0..self.hosts.len() {
            while self.hosts[at].pass_one(&mut self.array, self.now, &mut self.trace) {
                self.act();
            }
            self.hosts[at].pass_time(self.now);
            self.act();
        }
        self.end_undone();
        if self.next_fault.is_some_and(|at| at <= self.now) {
            self.fault();
        }
        self.start_due();
        self.catch_up();
        true
    }

    /// Takes in everything that has happened at this moment.
    pub(crate) fn catch_up(&mut self) {
        // What a host decided is done before it hears of anything else.
        self.act();
        loop {
            self.note_writes();
            let Some(completion) = self.array.poll_completion() else { break };
            let (nexus, tag) = (completion.nexus, completion.tag);
            let owner = self.hosts.iter_mut().find(|host| host.has(nexus));
            if let Some(host) = owner {
                host.completed(nexus, tag, completion.outcome, self.now, &mut self.trace);
            }
            self.act();
        }
        self.act();
        self.remove_strangers();
        self.note_usable();
        if let Some(picture) = &mut self.picture {
            picture.look(&self.hosts, self.now);
        }
    }

    /// A path on which another unit answers is removed; the host looks again now and then.
    fn remove_strangers(&mut self) {
        for at in 0..self.hosts.len() {
            while let Some(path) = self.hosts[at].strangers.pop() {
                let host = &mut self.hosts[at];
                let Some(place) = host.paths.iter().position(|known| known.id == path) else {
                    continue;
                };
                let port = host.paths[place].port;
                host.remove_path(&mut self.array, place, self.now, &mut self.trace);
                self.find_again(at, port);
                self.act();
            }
        }
    }

    /// A host will look for the path through a port a moment later.
    pub(crate) fn find_again(&mut self, host: usize, port: u16) {
        self.events_sequence += 1;
        let undo = crate::events::Undo::AddPath(host, port);
        self.undo.insert((self.now.after(300), self.events_sequence), undo);
    }

    pub(crate) fn act(&mut self) {
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            host.act(&mut self.array, self.now, &mut self.trace, &mut self.checks);
            while let Some(ended) = self.hosts[at].ended.pop_front() {
                self.ended(at, ended);
            }
        }
    }

    /// Keeps since when the array could serve each host.
    fn note_usable(&mut self) {
        for at in 0..self.hosts.len() {
            let live = |wanted: Option<u16>| {
                self.hosts[at].paths.iter().any(|path| {
                    let group = self.array.group_of(path.port);
                    let state = group.and_then(|group| self.array.state(0, group));
                    let state = state.filter(|_| self.array.is_up(path.port));
                    match wanted {
                        None => state.is_some_and(|state| {
                            state.is_live() && state != AccessState::LbaDependent
                        }),
                        Some(_) => group == wanted && state == Some(AccessState::LbaDependent),
                    }
                })
            };
            let segments = &self.options.array.units[0].segments;
            let by_lba = !segments.is_empty() && segments.iter().all(|it| live(Some(it.group)));
            let usable = live(None) || by_lba;
            self.usable[at] = if usable { self.usable[at].or(Some(self.now)) } else { None };
        }
    }

    fn start_at(&mut self, host: usize, at: Time) {
        self.sequence += 1;
        self.starts.insert((at, self.sequence), host);
    }

    fn start_due(&mut self) {
        while let Some((&(at, sequence), &host)) = self.starts.first_key_value() {
            if at > self.now {
                break;
            }
            self.starts.remove(&(at, sequence));
            if self.left[host] == 0 {
                continue;
            }
            self.left[host] -= 1;
            let request = self.draw(host);
            self.begin(host, request);
        }
    }

    fn draw(&mut self, host: usize) -> Request {
        let random = &mut self.work;
        let fua = random.percent(20);
        let operation = match random.below(100) {
            0..45 => Operation::Read,
            45..90 => Operation::Write { fua },
            90..94 => Operation::Flush,
            94..97 => Operation::Discard,
            _ => Operation::WriteZeroes { fua, unmap: random.percent(50) },
        };
        if operation == Operation::Flush {
            return Request { operation, lba: 0, blocks: 0 };
        }
        let blocks = random.between(1, self.options.blocks_max);
        let lba = random.below(self.options.space - blocks + 1) + host as u64 * self.options.space;
        Request { operation, lba, blocks: blocks as u32 }
    }

    fn begin(&mut self, host: usize, request: Request) {
        let reach = self.shadows[host].flush_begins();
        let taken = self.hosts[host].submit(request, reach, self.now, &mut self.trace);
        let Some(number) = taken else {
            let what = format_args!("a request was refused");
            self.checks.fail(Invariant::I14, self.now, what);
            return;
        };
        self.waiting.insert(number, Waiting { host });
        let shadow = &mut self.shadows[host];
        let Request { operation, lba, blocks } = request;
        match operation {
            Operation::Read => shadow.read_begins(number, lba, blocks),
            Operation::Write { .. } => shadow.write_begins(lba, blocks, number),
            Operation::Discard | Operation::WriteZeroes { .. } => {
                shadow.write_begins(lba, blocks, 0);
            }
            Operation::Flush => {}
        }
        self.act();
    }

    fn ended(&mut self, host: usize, ended: Ended) {
        let number = ended.client.number;
        if self.waiting.remove(&number).is_none() {
            self.checks.fail(Invariant::I5, self.now, format_args!("#{number:x} ended twice"));
        }
        self.requests += 1;
        if let Some(picture) = &mut self.picture {
            picture.ended(ended.client.submitted, self.now, ended.result.is_err());
        }
        let took = self.now.since(ended.client.submitted);
        let (kind, at) = self.last_event;
        let recent = at.after(2_000) >= ended.client.submitted;
        let cause = if recent { kind.name() } else { "nothing recent" };
        self.stalls.add(cause, took, self.options.seed);
        self.check_time(host, &ended);
        if let Err(error) = ended.result {
            self.failed += 1;
            self.check_failure(host, number, error, ended.client.submitted);
        }
        self.check_data(host, &ended);
        let think = self.work.below(self.options.think_us + 1) * 1_000;
        self.start_at(host, Time::from_nanos(self.now.as_nanos() + think));
    }

    pub(crate) fn cache_lost(&mut self) {
        for shadow in &mut self.shadows {
            shadow.cache_lost();
        }
    }

    pub(crate) fn set_state(
        &mut self,
        group: u16,
        state: AccessState,
        transition: Option<Transition>,
        quiet: bool,
    ) {
        self.apply(&Event::SetState {
            unit: Some(DATA.to_owned()),
            group,
            state,
            transition,
            fails: false,
            seen_by: None,
            quiet,
        });
    }

    /// The hosts' transports tell of a port, where they do.
    pub(crate) fn tell_port(&mut self, port: u16, up: bool) {
        if !self.options.hints {
            return;
        }
        for at in 0..self.hosts.len() {
            let paths = self.hosts[at].paths.iter().filter(|path| path.port == port);
            for path in paths.map(|path| path.id).collect::<Vec<_>>() {
                self.hosts[at].told();
                let engine = &mut self.hosts[at].engine;
                if up {
                    engine.handle_path_up(path, self.now);
                } else {
                    engine.handle_path_down(path, self.now);
                }
                self.act();
            }
        }
    }
}

pub(crate) fn from_array(time: alua_array::Time) -> Time {
    Time::from_nanos(time.as_nanos())
}

pub(crate) fn to_array(time: Time) -> alua_array::Time {
    alua_array::Time::from_nanos(time.as_nanos())
}
