//! The engine: its state, its inputs and its outputs.

use std::cell::Cell;
use std::collections::VecDeque;

use alua_core::access::AccessState;
use alua_core::failover::IoOutcome;
use alua_core::identity::UnitName;
use alua_core::select::{Candidate, Class, Outlook, Rank};
use alua_core::spc::Status;
use alua_core::spc::sense::Sense;
use alua_core::tpgs::{AluaOff, Managed};
use alua_core::unit::{self, Group, LogicalUnit};

use crate::action::{Action, ControlId, ControlName, Event, FenceAnswer, FenceId, IoId, PathId};
use crate::by_hand::ByHand;
use crate::config::{Activation, Config, EVENTS_MAX, Limits, PATHS_MAX};
use crate::control::{Activating, HELD_MAX};
use crate::join::Geometry;
use crate::order::Stripes;
use crate::path::Path;
use crate::referrals::Referrals;
use crate::request::{Entry, Operation, Request, RequestError, RequestId, Stage, SubmitError};
use crate::sabotage::Sabotage;
use crate::table::{Chain, Key, Links, Table};
use crate::time::Time;

/// An I/O command that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    pub(crate) path: usize,
    /// The request that waits for it; `None` where that has moved on.
    pub(crate) request: Option<Key>,
    pub(crate) sent: Time,
    /// It changes blocks, so that it must be over before its request goes on.
    pub(crate) changes: bool,
    /// It was given up and may yet be carried out, since then.
    pub(crate) doubt: Option<Time>,
    /// It was given up, and stands in the chain of the lost.
    pub(crate) lost: bool,
    /// It has come back.
    pub(crate) returned: bool,
}

impl Command {
    /// Whether the bounded wait runs: not while its host may send it again.
    pub(crate) const fn waits(&self, host_repeats: bool) -> bool {
        self.returned || !host_repeats
    }
}

/// What happened so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Requests taken.
    pub submitted: u64,
    /// Requests that did what they should.
    pub good: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were sent again, once or more often.
    pub retries: u64,
    /// Requests that waited for a path.
    pub waited: u64,
    /// Requests that waited for an overlapping one.
    pub ordered: u64,
    /// Writes that were in doubt.
    pub doubts: u64,
    /// Of those, the ones that the bounded wait ended.
    pub doubts_outwaited: u64,
    /// The longest time from submission to completion, in nanoseconds.
    pub slowest_ns: u64,
    /// Events that found no room and were dropped.
    pub events_lost: u64,
    /// Things handed back that nobody awaited.
    pub strays: u64,
}

/// The storage of the driver core's unit.
pub(crate) type Unit = LogicalUnit<Box<[Group]>, Box<[unit::Path]>>;

/// The engine of one logical unit. See the [crate's documentation](crate) for how to drive it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) geometry: Geometry,
    pub(crate) unit: Unit,
    /// The place of the engine's path for each place of the core's.
    pub(crate) of_core: Vec<Option<u16>>,
    pub(crate) paths: Vec<Path>,
    pub(crate) candidates: Vec<Candidate>,
    /// Their order under the policy of the configuration.
    pub(crate) ranks: Vec<Rank>,
    /// Of those, up to the last that has a path.
    pub(crate) places: usize,
    /// The path chosen last.
    pub(crate) chosen: usize,
    /// I/O sent, for what is done once in a while.
    pub(crate) turns: u32,
    pub(crate) requests: Table<Entry>,
    /// Through `waiting`, `delayed` and `ordered`.
    pub(crate) queues: Links,
    pub(crate) waiting: Chain,
    pub(crate) delayed: Chain,
    pub(crate) ordered: Chain,
    /// Through `changing`: every unfinished request that changes blocks, oldest first.
    pub(crate) orders: Links,
    pub(crate) changing: Chain,
    pub(crate) stripes: Stripes,
    pub(crate) commands: Table<Command>,
    /// Through the chains of the paths.
    pub(crate) flights: Links,
    /// At most [`actions_max`].
    pub(crate) actions: VecDeque<Action>,
    /// Of those, completions.
    pub(crate) completions: u32,
    pub(crate) events: VecDeque<Event>,
    pub(crate) outlook: Outlook,
    /// The best class that is live.
    pub(crate) class: Option<Class>,
    /// Since when there is nothing to wait for.
    pub(crate) nothing_since: Option<Time>,
    /// The limit for that is over.
    pub(crate) gives_up: bool,
    /// When the states are looked at again because requests wait, and what the next look waits.
    pub(crate) poll: Option<(Time, u32)>,
    /// The last such look, and what the next one would have waited.
    pub(crate) polled: Option<(Time, u32)>,
    pub(crate) activating: Activating,
    /// Commands of the driver core that wait until it is known who is behind their path: at most
    /// [`HELD_MAX`].
    pub(crate) held: Vec<(unit::Command, PathId)>,
    pub(crate) referrals: Referrals,
    /// A path is LBA-dependent, and the unit tells which blocks are whose.
    pub(crate) by_lba: bool,
    pub(crate) by_hand: ByHand,
    /// How often something was seen that may have cost a volatile cache: unit attentions that tell of a
    /// reset, and new paths, since a new nexus need not be told of one that was before it.
    pub(crate) resets: u64,
    /// Standings have to be found anew.
    pub(crate) stale: bool,
    /// Something may have opened a way for requests that wait.
    pub(crate) kick: bool,
    /// A step of a fence may be due.
    pub(crate) fencing: bool,
    /// The driver core has something to say.
    pub(crate) core_dirty: bool,
    /// When the driver core wants to be asked again.
    pub(crate) core_deadline: Option<Time>,
    pub(crate) stopped: Option<bool>,
    /// The last answer of [`Engine::poll_deadline`], while it holds: see `deadline`.
    pub(crate) due: Cell<Option<Option<Time>>>,
    /// The latest time that was given in.
    pub(crate) last_time: Time,
    pub(crate) counters: Counters,
}

/// The most actions that wait to be polled, where the shell polls them all after each input but
/// [`Engine::submit`] and [`Engine::remove_path`], which may come at any time.
///
/// Twice the requests are the places of commands. A send holds the place of its command, which does
/// not come back before it was sent; an ABORT TASK that nobody waits for is about a command that
/// holds a place, and comes once for each in an input (see `tick`). A completion holds the place of
/// its request until it is polled (see `submit`). An input takes one part of a read at most. The rest
/// are, for each path, at most one fence step, one probe, two each of capacity (it is asked anew when
/// told to be outdated), identity, and the core's own identity; for the unit, the core's report or
/// switch and its idle probe, each once more where its path failed, and two readings of the referrals.
const fn actions_max(limits: &Limits) -> usize {
    limits.requests as usize * (2 + 2 + 1) + limits.paths as usize * 8 + 8
}

impl Engine {
    /// An engine without paths. `name` and `managed` are those of the driver core's
    /// [`LogicalUnit::new`].
    ///
    /// # Panics
    ///
    /// Limits of 0, more than [`PATHS_MAX`] paths, or more than 65,535 requests.
    #[must_use]
    pub fn new(
        mut config: Config,
        name: Option<UnitName>,
        managed: Result<Managed, AluaOff>,
        geometry: Geometry,
    ) -> Self {
        let limits = config.limits;
        assert!(limits.paths > 0 && limits.paths <= PATHS_MAX, "limits.paths");
        assert!(limits.requests > 0 && limits.requests <= 65_535, "limits.requests");
        assert!(limits.groups > 0 && limits.commands_per_path > 0, "limits");
        assert!(limits.blocks_per_request > 0, "limits.blocks_per_request");
        // Lost reads keep a place while their request goes on.
        let commands = limits.requests * 2;
        config.core.gate.pass_transitioning = false;
        if config.is_broken(Sabotage::EndlessTransition) {
            config.core.transition_at_least_ms = u32::MAX;
        }
        let groups = vec![Group::default(); usize::from(limits.groups)].into_boxed_slice();
        let paths = vec![unit::Path::default(); usize::from(limits.paths)].into_boxed_slice();
        let places = usize::from(limits.paths);
        let actions = actions_max(&limits);
        Self {
            unit: LogicalUnit::new(name, managed, config.core, groups, paths),
            geometry,
            of_core: vec![None; places],
            paths: (0..places).map(|_| Path::free(0)).collect(),
            candidates: vec![Candidate::NONE; places],
            ranks: vec![Rank::NONE; places],
            places: 0,
            chosen: 0,
            turns: 0,
            requests: Table::new(limits.requests),
            queues: Links::new(limits.requests),
            waiting: Chain::EMPTY,
            delayed: Chain::EMPTY,
            ordered: Chain::EMPTY,
            orders: Links::new(limits.requests),
            changing: Chain::EMPTY,
            stripes: Stripes::new(),
            commands: Table::new(commands),
            flights: Links::new(commands),
            actions: VecDeque::with_capacity(actions),
            completions: 0,
            events: VecDeque::with_capacity(EVENTS_MAX),
            outlook: Outlook::Nothing,
            class: None,
            nothing_since: None,
            gives_up: false,
            poll: None,
            polled: None,
            activating: Activating::default(),
            held: Vec::with_capacity(HELD_MAX),
            referrals: Referrals::new(),
            by_lba: false,
            by_hand: ByHand::new(places),
            resets: 0,
            stale: true,
            kick: false,
            fencing: false,
            core_dirty: false,
            core_deadline: None,
            stopped: None,
            due: Cell::new(None),
            last_time: Time::ZERO,
            counters: Counters::default(),
            config,
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    ///
    /// It was not taken; there will be no completion.
    pub fn submit(&mut self, request: Request, now: Time) -> Result<RequestId, SubmitError> {
        if self.stopped.is_some() {
            return Err(SubmitError::Stopped);
        }
        if request.operation != Operation::Flush {
            if request.blocks == 0 || request.blocks > self.config.limits.blocks_per_request {
                return Err(SubmitError::Length);
            }
            let end = request.lba.checked_add(u64::from(request.blocks));
            if end.is_none_or(|end| end > self.geometry.blocks) {
                return Err(SubmitError::OutOfRange);
            }
        }
        if self.completions + self.requests.len() as u32 >= self.config.limits.requests {
            return Err(SubmitError::Full);
        }
        let key = self.admit(request, now).ok_or(SubmitError::Full)?;
        self.counters.submitted += 1;
        self.settle_request(now);
        Ok(RequestId(key))
    }

    /// Takes what became of an I/O command.
    pub fn handle_io(&mut self, io: IoId, outcome: &IoOutcome<'_>, now: Time) {
        self.came_back(io.0, outcome, now);
        self.settle_request(now);
    }

    /// Takes what became of a control command.
    pub fn handle_control(&mut self, id: ControlId, outcome: &unit::Outcome<'_>, now: Time) {
        if let unit::Outcome::Answered { status: Status::CheckCondition, sense, .. } = *outcome
            && let Ok(sense) = Sense::parse(sense)
        {
            self.note_reset(&sense);
        }
        match id.0 {
            ControlName::Core(id) => {
                self.unit.handle_completion(id.0, outcome, now.core());
                self.core_dirty = true;
                self.core_read_identity(id.0, id.1, now);
                if !matches!(outcome, unit::Outcome::Answered { .. })
                    && let Some(place) = self.place(id.1)
                {
                    self.suspect(place, now);
                }
            }
            ControlName::Probe(path, number) => self.probed(path, number, outcome, now),
            ControlName::Capacity(path, number) => self.capacity_read(path, number, outcome, now),
            ControlName::Identity(path, number) => self.identity_read(path, number, outcome, now),
            ControlName::Referrals(path, number) => {
                self.referrals_read(path, number, outcome, now);
            }
        }
        self.settle(now);
    }

    /// Takes the answer to a fence step.
    pub fn handle_fence(&mut self, id: FenceId, answer: FenceAnswer, now: Time) {
        self.fence_answered(id, answer, now);
        self.settle(now);
    }

    /// Takes note of sense data that a command outside the engine got on a path.
    pub fn handle_sense(&mut self, path: PathId, sense: &Sense, now: Time) {
        if let Some(place) = self.place(path) {
            self.note_sense(place, sense, now);
        }
        self.settle(now);
    }

    /// The transport of a path says that it is down. Commands in flight may still come back.
    pub fn handle_path_down(&mut self, path: PathId, now: Time) {
        if let Some(place) = self.place(path) {
            self.link_lost(place, now);
        }
        self.settle(now);
    }

    /// The transport of a path says that it is up again: it is looked at now.
    pub fn handle_path_up(&mut self, path: PathId, now: Time) {
        if let Some(place) = self.place(path) {
            self.look_now(place, now);
        }
        self.settle(now);
    }

    /// Lets time pass.
    pub fn handle_time(&mut self, now: Time) {
        self.tick(now);
        self.settle(now);
    }

    /// The next thing to do; `None` when everything was handed out.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front()?;
        self.completions -= u32::from(matches!(action, Action::Complete { .. }));
        Some(action)
    }

    /// The next event; `None` when all were told.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Asks the array to make a group optimized. The result comes as [`Event::ActivationEnded`].
    ///
    /// # Errors
    ///
    /// The driver core does not take it.
    pub fn activate(&mut self, group: u16, now: Time) -> Result<(), unit::ActivationRefused> {
        self.start_activation(group, now)?;
        self.settle(now);
        Ok(())
    }

    /// Takes no more requests. [`Event::Stopped`] comes when those that are there are complete.
    pub fn stop(&mut self, now: Time) {
        self.stopped.get_or_insert(false);
        self.settle(now);
    }

    /// The size of the device.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The driver core's unit.
    #[must_use]
    pub const fn unit(&self) -> &LogicalUnit<Box<[Group]>, Box<[unit::Path]>> {
        &self.unit
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The most I/O commands that can be out at a time, those that were given up included.
    #[must_use]
    pub const fn commands_max(&self) -> usize {
        self.config.limits.requests as usize * 2
    }

    /// Requests that are not complete.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is out: no request, no command, nothing in doubt.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.commands.is_empty() && self.actions.is_empty()
    }

    /// The paths, in the order of their places.
    pub fn paths(&self) -> impl Iterator<Item = PathId> {
        let known = self.paths.iter().enumerate().filter(|(_, path)| path.core.is_some());
        known.map(|(place, path)| path.id(place))
    }

    /// The access state that counts for a path.
    #[must_use]
    pub fn access_state(&self, path: PathId) -> Option<AccessState> {
        let core = self.place(path).and_then(|place| self.paths[place].core)?;
        self.unit.access(core).state
    }

    /// The place of a path that is there.
    pub(crate) fn place(&self, path: PathId) -> Option<usize> {
        let known = self.paths.get(path.index())?;
        (known.generation == path.generation && known.core.is_some()).then_some(path.index())
    }

    /// Brings everything into a known shape after an input: the driver core is asked, standings are
    /// found anew where they may have changed, and requests that wait are sent where they can.
    pub(crate) fn settle(&mut self, now: Time) {
        self.forget_deadline();
        self.settle_request(now);
    }

    /// As [`Self::settle`], after what may be no more than a plain request: see `deadline`.
    #[inline(always)]
    fn settle_request(&mut self, now: Time) {
        self.last_time = now;
        if !self.is_quiet() {
            self.settle_news(now);
        }
    }

    fn settle_news(&mut self, now: Time) {
        self.forget_deadline();
        loop {
            if self.core_dirty {
                self.drive_core(now);
            }
            if self.stale {
                self.find_standings(now);
            }
            if self.fencing {
                self.advance_fences(now);
            }
            if self.kick {
                self.kick = false;
                self.wake(now);
            }
            if !self.core_dirty && !self.stale && !self.fencing && !self.kick {
                break;
            }
        }
        self.watch_waiters(now);
        if self.stopped == Some(false) && self.requests.is_empty() {
            self.stopped = Some(true);
            self.tell(Event::Stopped);
        }
    }

    /// Whether nothing is to be settled: the state of nearly every request without faults.
    #[inline(always)]
    fn is_quiet(&self) -> bool {
        // As one number: the compiler makes a chain of steps of four flags otherwise.
        let news = [self.core_dirty, self.stale, self.fencing, self.kick].map(u8::from);
        let news = u32::from_ne_bytes(news) != 0;
        let waits = !self.waiting.is_empty() || self.poll.is_some() || self.gives_up;
        let watches = matches!(self.config.activation, Activation::OptimizedLost { .. })
            || self.broken(Sabotage::PullAlways);
        !news && !waits && !watches && self.stopped.is_none()
    }

    /// Whether what the engine keeps twice agrees; for tests.
    ///
    /// # Panics
    ///
    /// It does not.
    pub fn check(&self) {
        let queued = self.waiting.len() + self.delayed.len() + self.ordered.len();
        let stages = |wanted: fn(&Stage) -> bool| {
            self.requests.iter().filter(|(_, entry)| wanted(&entry.stage)).count()
        };
        let out = stages(|stage| matches!(stage, Stage::Sent(_)));
        let doubts = stages(|stage| matches!(stage, Stage::InDoubt(_)));
        assert_eq!(
            queued as usize + out + doubts,
            self.requests.len(),
            "each request is somewhere"
        );
        let flight: u32 = self.paths.iter().map(|path| path.flight.len()).sum();
        let lost: u32 = self.paths.iter().map(|path| path.lost.len()).sum();
        assert_eq!((flight + lost) as usize, self.commands.len(), "each command is on a path");
        assert_eq!(flight as usize, out, "each command in flight has its request");
        let in_doubt: u32 = self.paths.iter().map(|path| path.doubts).sum();
        assert_eq!(in_doubt as usize, doubts, "each doubt has its request");
        let changing = self.requests.iter().filter(|(_, it)| it.request.operation.changes());
        assert_eq!(changing.count(), self.changing.len() as usize, "each change is ordered");
        for (place, path) in self.paths.iter().enumerate() {
            assert_eq!(self.candidates[place].in_flight, path.flight.len(), "loads are counted");
            let rank = Rank::of(&self.candidates[place], self.config.policy);
            assert_eq!(self.ranks[place], rank, "ranks are kept");
            assert!(
                path.doubts == 0 || path.fence != crate::fence::Phase::Idle,
                "doubts are fenced"
            );
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        debug_assert!(self.actions.len() < actions_max(&self.config.limits), "I14");
        self.completions += u32::from(matches!(action, Action::Complete { .. }));
        if matches!(action, Action::Control(_) | Action::Fence(_)) {
            self.forget_deadline();
        }
        self.actions.push_back(action);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.counters.events_lost += 1;
        }
        self.events.push_back(event);
    }

    /// Ends a request.
    pub(crate) fn complete(
        &mut self,
        key: Key,
        result: Result<(), RequestError>,
        by: Option<Key>,
        now: Time,
    ) {
        let Some(entry) = self.requests.remove(key) else { return };
        match result {
            Ok(()) => self.counters.good += 1,
            Err(_) => self.counters.failed += 1,
        }
        self.counters.slowest_ns = self.counters.slowest_ns.max(now.since(entry.submitted));
        if result != Err(RequestError::NoPath) || !self.broken(Sabotage::LoseCompletion) {
            self.act(Action::Complete { id: RequestId(key), result, by: by.map(IoId) });
        }
        if entry.changes {
            self.changing.remove(&mut self.orders, key.place());
            self.stripes.leave(&entry.request);
            self.release_ordered();
        }
    }
}
