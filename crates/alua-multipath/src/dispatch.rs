//! A request's way to a path, or to a queue.
//!
//! `admit` takes it in and puts it behind writes that it overlaps; `dispatch` sends it, lets it wait
//! or fails it; `wake` sends those that waited, oldest first.

use alua_core::select::{self, Outlook, Policy, Rank, Why};

use crate::action::{Action, IoId, Send};
use crate::engine::{Command, Engine};
use crate::order::overlap;
use crate::request::{Entry, Operation, Request, RequestError, RequestId, Stage};
use crate::sabotage::Sabotage;
use crate::table::{Chain, Key};
use crate::time::Time;

/// How long beyond the limit of a transition a target may be busy, in milliseconds.
const BUSY_BEYOND_MS: u32 = 5_000;
/// Tries of a request without a pause, where there are fewer paths.
const TRIES_AT_ONCE: usize = 4;
/// Tries after which the pause doubles.
const BUSY_TRIES: u16 = 8;
/// Time after which it doubles once at most.
const BUSY_OLD_MS: u32 = 1_000;
/// The first pause of a request that this host held back, in milliseconds; it doubles up to that of a
/// busy target. The kernel's device handler reads the states within some ten of them.
const SOON_MS: u32 = 2;
/// One request in so many goes the other way, where [`Policy::ServiceTime`] lives on measurements
/// of both.
const TRIAL_TURNS: u32 = 64;

impl Engine {
    /// Takes a request in; `None` where there is no room.
    pub(crate) fn admit(&mut self, request: Request, now: Time) -> Option<Key> {
        let changes = request.operation.changes();
        let key = self.requests.insert(Entry {
            request,
            changes,
            stage: Stage::Waiting,
            submitted: now,
            done: 0,
            part: 0,
            resets: 0,
            attempts: 0,
            busy: None,
            avoid: None,
            flushing: None,
        })?;
        if changes {
            let met = self.stripes.enter(&request);
            self.changing.push(&mut self.orders, key.place());
            if met && self.is_behind(key.place(), &request) && !self.broken(Sabotage::NoOrder) {
                self.counters.ordered += 1;
                self.enqueue(key, Stage::Ordered);
                return Some(key);
            }
        }
        // Whoever waits for a path goes first.
        if self.waiting.is_empty() || self.gives_up {
            if !self.send(key, now) {
                self.hold(key, now);
            }
        } else {
            self.counters.waited += 1;
            self.enqueue(key, Stage::Waiting);
        }
        Some(key)
    }

    /// Whether an earlier unfinished request changes a block of the one in `place`.
    fn is_behind(&self, place: usize, request: &Request) -> bool {
        self.changing
            .iter(&self.orders)
            .take_while(|&other| other != place)
            .filter_map(|other| self.entry_at(other))
            .any(|other| overlap(&other.request, request))
    }

    fn entry_at(&self, place: usize) -> Option<&Entry> {
        self.requests.key_at(place).and_then(|key| self.requests.get(key))
    }

    /// A request that changed blocks is complete: those that waited for it alone go on.
    pub(crate) fn release_ordered(&mut self) {
        let mut next = self.ordered.first();
        while let Some(place) = next {
            next = Chain::next(&self.queues, place);
            let Some(key) = self.requests.key_at(place) else { continue };
            let Some(request) = self.requests.get(key).map(|entry| entry.request) else { continue };
            if !self.is_behind(place, &request) {
                self.ordered.remove(&mut self.queues, place);
                self.set_stage(key, Stage::Waiting);
                self.waiting.push(&mut self.queues, place);
                self.kick = true;
            }
        }
    }

    pub(crate) fn set_stage(&mut self, key: Key, stage: Stage) {
        if let Some(entry) = self.requests.get_mut(key) {
            entry.stage = stage;
        }
    }

    /// Puts a request that stands in no queue into the one of `stage`.
    pub(crate) fn enqueue(&mut self, key: Key, stage: Stage) {
        self.set_stage(key, stage);
        let queue = match stage {
            Stage::Ordered => &mut self.ordered,
            Stage::Waiting => &mut self.waiting,
            Stage::Delayed(_) => &mut self.delayed,
            Stage::Sent(_) | Stage::InDoubt(_) => return,
        };
        queue.push(&mut self.queues, key.place());
    }

    /// Sends a request that stands in no queue, lets it wait, or fails it.
    pub(crate) fn dispatch(&mut self, key: Key, now: Time) {
        if !self.send(key, now) {
            self.hold(key, now);
        }
    }

    /// Lets a request wait that found no path, or fails it.
    fn hold(&mut self, key: Key, now: Time) {
        if self.gives_up && self.outlook == Outlook::Nothing {
            self.complete(key, Err(RequestError::NoPath), None, now);
            return;
        }
        self.counters.waited += 1;
        self.enqueue(key, Stage::Waiting);
    }

    /// Sends a request down the best path; false where none is live, or has room.
    fn send(&mut self, key: Key, now: Time) -> bool {
        if !self.commands.has_room() {
            return false;
        }
        let Some(entry) = self.requests.get(key) else { return true };
        let (mut part, avoid) = (part_of(entry), entry.avoid);
        let place = if self.by_lba {
            let range = self.cut(&mut part);
            self.choose_by_lba(range, avoid, now)
        } else {
            self.choose_known(avoid, now)
        };
        let Some(place) = place else { return false };
        let Some(entry) = self.requests.get_mut(key) else { return true };
        let offset = entry.done;
        entry.part = part.blocks;
        let command = Command {
            path: place,
            request: Some(key),
            sent: now,
            changes: entry.changes && entry.flushing.is_none(),
            doubt: None,
            lost: false,
            returned: false,
        };
        let Some(io) = self.commands.insert(command) else { return false };
        entry.stage = Stage::Sent(io);
        if self.paths[place].flight.is_empty() {
            self.note_sent(now);
        }
        let path = &mut self.paths[place];
        path.flight.push(&mut self.flights, io.place());
        path.counters.sent += 1;
        let id = path.id(place);
        self.load_changed(place);
        self.act(Action::Send(Send { io: IoId(io), id: RequestId(key), path: id, part, offset }));
        true
    }

    /// As [`Self::choose_but`], and only a path of which is known who is behind it; others are asked.
    #[inline(always)]
    pub(crate) fn choose_known(&mut self, avoid: Option<u16>, now: Time) -> Option<usize> {
        let place = self.choose_but(avoid)?;
        if self.is_known(place, now) {
            return Some(place);
        }
        self.ask_and_choose(place, avoid, now)
    }

    /// The first chosen is not known.
    #[cold]
    fn ask_and_choose(&mut self, first: usize, avoid: Option<u16>, now: Time) -> Option<usize> {
        let mut place = first;
        while !self.is_known(place, now) {
            if self.asks_enough() {
                return None;
            }
            if !self.ask(place, now) {
                break;
            }
            self.candidates[place].room = false;
            self.rank(place);
            place = self.choose_but(avoid)?;
        }
        Some(place)
    }

    /// As [`Self::choose`], another path than `avoid` where one is live.
    #[inline]
    fn choose_but(&mut self, avoid: Option<u16>) -> Option<usize> {
        match avoid {
            None => self.choose(),
            Some(avoid) => self.choose_other(avoid.into()),
        }
    }

    #[cold]
    fn choose_other(&mut self, avoid: usize) -> Option<usize> {
        let class = self.candidates[avoid].class.take();
        let rank = std::mem::replace(&mut self.ranks[avoid], Rank::NONE);
        let other = self.choose();
        self.candidates[avoid].class = class;
        self.ranks[avoid] = rank;
        other.or_else(|| self.choose())
    }

    /// The place of the path for the next command.
    #[inline(always)]
    fn choose(&mut self) -> Option<usize> {
        let policy = self.config.policy;
        let ranks = &self.ranks[..self.places];
        let (mut place, why) = select::pick_ranked(ranks, &self.candidates, policy, self.chosen)?;
        if policy == Policy::ServiceTime {
            self.turns = self.turns.wrapping_add(1);
            let trial = self.turns.is_multiple_of(TRIAL_TURNS);
            if let Some(other) = trial.then(|| self.trial(place, why)).flatten() {
                place = other;
            } else if why == Why::Outruns {
                self.paths[place].counters.outran += 1;
            }
        }
        if self.broken(Sabotage::WorstFirst) {
            let live = self.candidates.iter().enumerate().filter(|(_, it)| it.room);
            place = live.max_by_key(|(_, it)| it.class).map_or(place, |(worst, _)| worst);
        }
        self.chosen = place;
        Some(place)
    }

    /// The other way, so that its time is known: where a worse class outruns the best, the best;
    /// where the best is slow, a worse one that was never measured.
    #[cold]
    fn trial(&self, chosen: usize, why: Why) -> Option<usize> {
        if why == Why::Outruns {
            return select::pick(&self.candidates[..self.places], Policy::QueueDepth, chosen)
                .map(|(it, _)| it);
        }
        if u64::from(self.candidates[chosen].service_ns) < select::OUTRUN_FLOOR_NS {
            return None;
        }
        let class = self.candidates[chosen].class;
        let worse = self.candidates.iter().enumerate().filter(|(_, it)| {
            it.room && it.class > class && !it.class.is_some_and(|class| class.is_deferred())
        });
        worse.min_by_key(|(_, it)| (it.service_ns, it.in_flight)).map(|(place, _)| place)
    }

    /// The number of commands in flight on a path changed.
    #[inline(always)]
    pub(crate) fn load_changed(&mut self, place: usize) {
        let path = &self.paths[place];
        let in_flight = path.flight.len();
        let candidate = &mut self.candidates[place];
        candidate.in_flight = in_flight;
        let had_room = candidate.room;
        let limit = self.config.limits.commands_per_path;
        candidate.room = candidate.class.is_some()
            && (in_flight < limit || self.config.is_broken(Sabotage::NoLimit))
            && path.ask.out.is_none();
        self.ranks[place] = Rank::of(candidate, self.config.policy);
        if !had_room && candidate.room && !self.waiting.is_empty() {
            self.kick = true;
        }
    }

    /// Keeps the rank of a path whose candidate has changed.
    pub(crate) fn rank(&mut self, place: usize) {
        self.ranks[place] = Rank::of(&self.candidates[place], self.config.policy);
    }

    /// Sends what waits, oldest first, as far as there is a way; fails it where there will be none.
    pub(crate) fn wake(&mut self, now: Time) {
        let fails = self.gives_up && self.outlook == Outlook::Nothing;
        if !fails && self.broken(Sabotage::NoWake) {
            return;
        }
        while let Some(key) = self.waiting.first().and_then(|it| self.requests.key_at(it)) {
            self.waiting.remove(&mut self.queues, key.place());
            if self.send(key, now) {
                continue;
            }
            if fails {
                self.complete(key, Err(RequestError::NoPath), None, now);
                continue;
            }
            self.waiting.push_front(&mut self.queues, key.place());
            break;
        }
    }

    /// Sends a request again after a try that did not do it. `counted` tries are limited, and when
    /// every path had its turn they grow rarer: what fails them all takes its time to pass.
    pub(crate) fn again(&mut self, key: Key, counted: bool, now: Time) {
        let turns = self.paths.len().max(TRIES_AT_ONCE);
        let Some(entry) = self.requests.get_mut(key) else { return };
        self.counters.retries += 1;
        entry.busy = None;
        entry.begin_anew_if_flushing();
        if counted {
            entry.attempts += 1;
            if entry.attempts >= self.config.attempts_max {
                self.complete(key, Err(RequestError::Exhausted), None, now);
                return;
            }
            let rounds = usize::from(entry.attempts) / turns;
            if rounds > 0 {
                self.delay(key, now.after(self.config.busy_ms << (rounds - 1).min(4)));
                return;
            }
        }
        // Sent when everything that was learned has been taken in.
        self.enqueue(key, Stage::Waiting);
        self.kick = true;
    }

    /// As [`Self::again`], a moment later, for the target is busy; or `soon`, for the host was.
    pub(crate) fn later(&mut self, key: Key, soon: bool, now: Time) {
        let limit = self.unit.transition_limit_ms();
        let Some(entry) = self.requests.get_mut(key) else { return };
        self.counters.retries += 1;
        entry.begin_anew_if_flushing();
        let (since, times) = entry.busy.unwrap_or((now, 0));
        entry.busy = Some((since, times.saturating_add(1)));
        if since.after(limit).after(BUSY_BEYOND_MS) <= now {
            self.complete(key, Err(RequestError::Exhausted), None, now);
            return;
        }
        // Whoever has waited for long is not to lose its turn to those that came later.
        let most = if since.after(BUSY_OLD_MS) <= now { 1 } else { 4 };
        let doublings = u32::from(times / BUSY_TRIES).min(most);
        let pause = self.config.busy_ms << doublings;
        let first = if soon { SOON_MS << times.min(8) } else { pause };
        self.delay(key, now.after(first.min(pause)));
    }

    fn delay(&mut self, key: Key, until: Time) {
        self.set_stage(key, Stage::Delayed(until));
        // Behind those that are due earlier: nearly always the last.
        let before = self.delayed.iter_back(&self.queues).find(|&other| {
            self.entry_at(other).is_none_or(|other| match other.stage {
                Stage::Delayed(other) => other <= until,
                _ => true,
            })
        });
        self.delayed.insert_behind(&mut self.queues, before, key.place());
    }

    /// Requests whose moment is over.
    pub(crate) fn end_delays(&mut self, now: Time) {
        while let Some(key) = self.delayed.first().and_then(|it| self.requests.key_at(it)) {
            match self.requests.get(key).map(|entry| entry.stage) {
                Some(Stage::Delayed(until)) if until > now => break,
                _ => {}
            }
            self.delayed.remove(&mut self.queues, key.place());
            // Sent when everything else that is due was taken in, and before those that came later.
            self.set_stage(key, Stage::Waiting);
            if self.is_older_than_first(key) {
                self.waiting.push_front(&mut self.queues, key.place());
            } else {
                self.waiting.push(&mut self.queues, key.place());
            }
            self.kick = true;
        }
    }

    /// Whether a request was submitted before the first of those that wait.
    fn is_older_than_first(&self, key: Key) -> bool {
        let first = self.waiting.first().and_then(|place| self.entry_at(place));
        let own = self.requests.get(key);
        first.zip(own).is_some_and(|(first, own)| own.submitted < first.submitted)
    }

    pub(crate) fn next_delay(&self) -> Option<Time> {
        match self.delayed.first().and_then(|it| self.entry_at(it))?.stage {
            Stage::Delayed(until) => Some(until),
            _ => None,
        }
    }
}

/// What is to be sent for a request next.
fn part_of(entry: &Entry) -> Request {
    let request = entry.request;
    if entry.flushing.is_some() {
        return Request { operation: Operation::Flush, lba: 0, blocks: 0 };
    }
    let done = entry.done;
    Request { lba: request.lba + u64::from(done), blocks: request.blocks - done, ..request }
}
