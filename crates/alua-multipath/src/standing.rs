//! What each path is good for, and when that changes.
//!
//! # A path that fails
//!
//! `Up` until a command's transport fails or its time runs out; then `Suspect`: TEST UNIT READY is
//! sent, and no I/O. An answer, whatever it says, makes it `Up` again, with a strike, since it
//! answers and yet fails I/O (a grey failure); no answer makes it `Down`, its commands in flight are
//! given up, and it is looked at again with growing pauses, or when its transport says that it is
//! back. A path that comes back proves who it is before it is used. A path with strikes enough is
//! used only where no other is live, for a time that grows.
//!
//! # Going back
//!
//! When a better path becomes live while those in use still work, it is deferred until it has been
//! live for `failback_ms`. When those in use do not work any more, it is used at once.

use alua_core::gate::Gate;
use alua_core::select::{self, Candidate, Class, Outlook, Standing};
use alua_core::spc::Status;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::unit::{Outcome, Transport};

use crate::action::{Action, Control, ControlId, ControlKind, ControlName, Event, PathId};
use crate::config::NoPath;
use crate::engine::Engine;
use crate::path::{Capacity, Link};
use crate::sabotage::Sabotage;
use crate::time::Time;

/// How long a decision that there is no path may wait for the driver core to be sure, in
/// milliseconds, beyond the configured limit.
const SURE_MS: u32 = 5_000;

impl Engine {
    /// Finds the standing of every path anew.
    pub(crate) fn find_standings(&mut self, now: Time) {
        self.stale = false;
        for place in 0..self.paths.len() {
            self.find_standing(place);
        }
        let there = |path: &crate::path::Path| path.core.is_some();
        self.places = self.paths.iter().rposition(there).map_or(0, |last| last + 1);
        self.defer(now);
        for place in 0..self.paths.len() {
            let (path, candidate) = (&self.paths[place], &mut self.candidates[place]);
            (candidate.class, candidate.distance) = (path.class, path.traits.distance);
            self.load_changed(place);
        }
        let standings = self.paths.iter().map(|path| path.standing);
        self.outlook = select::outlook(standings);
        let class = self.paths.iter().filter_map(|path| path.class).min();
        if class != self.class {
            self.tell(Event::Class {
                from: self.class.map(Class::rank),
                to: class.map(Class::rank),
            });
            self.class = class;
        }
        self.find_by_lba(now);
        self.watch_nothing(now);
        self.kick |= !self.waiting.is_empty();
    }

    fn find_standing(&mut self, place: usize) {
        let path = &self.paths[place];
        let health = path.health(self.geometry.blocks);
        let Some(core) = path.core else {
            self.paths[place].standing = Standing::Out(select::Out::Health(health));
            self.paths[place].class = None;
            self.paths[place].held_until = None;
            self.candidates[place] = Candidate::NONE;
            return;
        };
        let known = self.unit.access(core);
        let preferred = self.unit.is_preferred(core);
        let gate = self.unit.gate(core);
        let standing =
            select::standing(known.state, preferred, gate, health, self.config.preference);
        let heard = self.unit.path(core);
        let answered =
            heard.is_some_and(|path| matches!(path.transport(), Transport::Answered { .. }));
        let settled = heard.is_some_and(|path| path.evidence().is_none())
            && (self.unit.managed().is_err() || known.state.is_some_and(|state| state.is_live()));
        let path = &mut self.paths[place];
        path.success_is_news = !answered || !settled || gate != Gate::Pass;
        let before = std::mem::replace(&mut path.standing, standing);
        if before != standing {
            let (path, state, cause) = (path.id(place), known.state, known.cause);
            self.tell(Event::Standing { path, from: before, to: standing, state, cause });
        }
    }

    /// Gives each live path its class, deferred where it has to wait its turn.
    fn defer(&mut self, now: Time) {
        let raw = |standing: Standing| match standing {
            Standing::Live(class) => Some(class),
            _ => None,
        };
        let in_use = self.class.filter(|class| !class.is_deferred());
        let steady = |path: &crate::path::Path| path.strikes.until.is_none();
        let still_live = in_use.filter(|&used| {
            self.paths.iter().any(|path| raw(path.standing) == Some(used) && steady(path))
        });
        for place in 0..self.paths.len() {
            let other = !self.is_chosen_by_hand(place);
            let path = &mut self.paths[place];
            let class = raw(path.standing);
            let better = class.zip(still_live).is_some_and(|(class, used)| class < used);
            path.held_until = match (better, path.held_until) {
                (true, None) => Some(now.after(self.config.failback_ms)),
                (true, held) => held,
                (false, _) => None,
            };
            let held = path.held_until.is_some_and(|until| until > now);
            // A path that fails I/O again and again is better than none.
            let unsteady = path.strikes.until.is_some();
            path.class = match class {
                Some(class) if held || other || unsteady => Some(class.deferred()),
                class => class,
            };
        }
    }

    /// Starts or ends the limit for having no path.
    fn watch_nothing(&mut self, now: Time) {
        if self.outlook != Outlook::Nothing {
            self.nothing_since = None;
            self.gives_up = false;
            return;
        }
        if self.nothing_since.is_none() {
            self.nothing_since = Some(now);
            self.tell(Event::NoPath);
        }
        self.end_patience(now);
    }

    /// Gives up where the limit for having no path is over.
    pub(crate) fn end_patience(&mut self, now: Time) {
        let limit = self.patience_ends();
        if self.gives_up
            || limit.is_none_or(|limit| limit > now)
            || self.broken(Sabotage::NeverGiveUp)
        {
            return;
        }
        let late = limit.is_some_and(|limit| limit.after(SURE_MS) <= now);
        if !late && !self.is_sure(self.nothing_since.unwrap_or(now)) {
            return;
        }
        self.gives_up = true;
        self.kick = true;
        self.tell(Event::GivesUp);
    }

    /// When the limit for having no path is over; `None` where it does not run, or has no end.
    pub(crate) fn patience_ends(&self) -> Option<Time> {
        let since = self.nothing_since?;
        match self.config.no_path {
            NoPath::Fail => Some(since),
            NoPath::Wait(ms) => Some(since.after(ms)),
            NoPath::Forever => None,
        }
    }

    /// Whether all that can be known of the paths since then is known: no path is being looked at,
    /// and the states were read again through those that answer.
    fn is_sure(&self, since: Time) -> bool {
        let here = || self.paths.iter().filter(|path| path.core.is_some());
        if here().any(|path| path.link == Link::Suspect) {
            return false;
        }
        let read = self.unit.last_report().is_some_and(|(_, at)| Time::from(at) >= since);
        !here().any(|path| path.link == Link::Up) || read || !self.unit.is_busy()
    }

    /// The next moment at which [`Self::end_patience`] has something to decide.
    pub(crate) fn next_patience(&self, now: Time) -> Option<Time> {
        let limit = self.patience_ends().filter(|_| !self.gives_up)?;
        [limit, limit.after(SURE_MS)].into_iter().find(|&at| at > now)
    }

    /// The transport of a path failed under a command.
    pub(crate) fn suspect(&mut self, place: usize, now: Time) {
        if self.paths[place].link != Link::Up {
            return;
        }
        let Some(core) = self.paths[place].core else { return };
        let path = &mut self.paths[place];
        path.link = Link::Suspect;
        path.counters.failures += 1;
        path.probe.next_ms = self.config.health.probe_first_ms;
        path.probe.due = Some(now);
        let path = path.id(place);
        self.tell(Event::PathFailed { path });
        self.unit.handle_transport_failure(core, now.core());
        self.core_dirty = true;
        self.stale = true;
        self.probe(place, now);
    }

    /// The transport says that a path is down.
    pub(crate) fn link_lost(&mut self, place: usize, now: Time) {
        self.suspect(place, now);
        if self.paths[place].link == Link::Suspect {
            self.go_down(place, now);
        }
    }

    fn go_down(&mut self, place: usize, now: Time) {
        self.paths[place].link = Link::Down;
        self.give_up_flight(place, now);
        self.fencing = true;
        self.stale = true;
    }

    /// Looks at a path that is not up at once.
    pub(crate) fn look_now(&mut self, place: usize, now: Time) {
        if self.paths[place].link != Link::Up {
            self.paths[place].probe.due = Some(now);
            self.paths[place].probe.next_ms = self.config.health.probe_first_ms;
            self.probe(place, now);
        }
    }

    /// Asks a path that is up whether it still answers.
    pub(crate) fn knock(&mut self, place: usize, now: Time) {
        if self.paths[place].link == Link::Up {
            self.paths[place].probe.due = Some(now);
            self.probe(place, now);
        }
    }

    /// Knocks where the oldest command in flight is old and nothing was answered since.
    pub(crate) fn knock_where_slow(&mut self, place: usize, now: Time) {
        if self.next_slow(place).is_some_and(|at| at <= now) {
            self.knock(place, now);
        }
    }

    /// When a path is slow, unless it answers before.
    pub(crate) fn next_slow(&self, place: usize) -> Option<Time> {
        let path = &self.paths[place];
        let since = self.oldest_sent(place)?.max(path.answered);
        let asks = path.probe.out.is_some() || path.link != Link::Up;
        (!asks).then(|| since.after(self.config.slow_ms))
    }

    /// Sends the TEST UNIT READY that is due on a path.
    pub(crate) fn probe(&mut self, place: usize, now: Time) {
        let path = &mut self.paths[place];
        let due = path.probe.due.is_some_and(|due| due <= now) && path.core.is_some();
        if !due || path.probe.out.is_some() {
            return;
        }
        let number = path.number();
        path.probe.due = None;
        path.probe.out = Some(number);
        let id = path.id(place);
        let timeout_ms = self.config.health.probe_timeout_ms;
        let name = ControlId(ControlName::Probe(id, number));
        let control = Control { id: name, path: id, kind: ControlKind::Probe, timeout_ms };
        self.act(Action::Control(control));
    }

    /// A TEST UNIT READY on a path that failed has come back.
    pub(crate) fn probed(&mut self, id: PathId, number: u32, outcome: &Outcome<'_>, now: Time) {
        let Some(place) = self.place(id) else { return };
        if self.paths[place].probe.out != Some(number) {
            self.counters.strays += 1;
            self.note_late(place, outcome, now);
            return;
        }
        self.paths[place].probe.out = None;
        let Some(core) = self.paths[place].core else { return };
        if let Outcome::Answered { status, sense, .. } = *outcome {
            self.paths[place].answered = now;
            if self.paths[place].link == Link::Up {
                self.knocked(place, status, sense, now);
                return;
            }
            let was = std::mem::replace(&mut self.paths[place].link, Link::Up);
            if was == Link::Suspect {
                self.strike(place, now, now);
            }
            self.paths[place].probe.due = None;
            self.tell(Event::PathAnswers { path: id });
            if !self.broken(Sabotage::TrustReturn) {
                self.unit.reread_identity(core, now.core());
            }
            self.note_answer(place, status, sense, now);
            self.stale = true;
            self.fencing = true;
            return;
        }
        match self.paths[place].link {
            // One more, and the commands in flight are given up.
            Link::Up => return self.suspect(place, now),
            Link::Suspect => self.go_down(place, now),
            Link::Down => {}
        }
        let path = &mut self.paths[place];
        let pause = path.probe.next_ms;
        path.probe.next_ms = pause.saturating_mul(2).min(self.config.health.probe_max_ms);
        path.probe.due = Some(path.probe.due.unwrap_or(now.after(pause)).max(now.after(1)));
    }

    /// A path that is up has answered. What it has to tell is told one by one, and there is only so
    /// much of it.
    fn knocked(&mut self, place: usize, status: Status, sense: &[u8], now: Time) {
        self.note_answer(place, status, sense, now);
        let attention = status == Status::CheckCondition
            && Sense::parse(sense).is_ok_and(|sense| sense.key == SenseKey::UnitAttention);
        if attention {
            self.paths[place].probe.due = Some(now.after(1));
        }
    }

    /// Reads the capacity of the paths on which that is wanted.
    pub(crate) fn ask_capacity(&mut self, place: usize) {
        let path = &mut self.paths[place];
        if path.capacity != Capacity::Wanted || path.link != Link::Up || path.core.is_none() {
            return;
        }
        let number = path.number();
        path.capacity = Capacity::Asked(number);
        let id = path.id(place);
        let timeout_ms = self.config.core.command_timeout_ms;
        let name = ControlId(ControlName::Capacity(id, number));
        let control = Control { id: name, path: id, kind: ControlKind::Capacity, timeout_ms };
        self.act(Action::Control(control));
    }
}
