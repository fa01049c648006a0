//! The driver core's commands and events, the unit's size, and asking the array for another state.

use alua_core::access::AccessState;
use alua_core::select::Outlook;
use alua_core::sense::{Disposition, Recheck, tells_of_reset};
use alua_core::spc::Status;
use alua_core::spc::sense::Sense;
use alua_core::unit::{self, ActivationId, ActivationRefused, CommandKind, Outcome};

use crate::action::{Action, Control, ControlId, ControlKind, ControlName, Event, PathId};
use crate::config::Activation;
use crate::engine::Engine;
use crate::path::{Capacity, Link};
use crate::sabotage::Sabotage;
use crate::sbc;
use crate::time::Time;

/// From one activation of the engine's own that did not help to the next, first, in milliseconds.
const ACTIVATE_AGAIN_FIRST_MS: u32 = 1_000;
/// Where the doubling of that ends.
const ACTIVATE_AGAIN_MAX_MS: u32 = 60_000;

/// Commands of the driver core that wait at a time: it has one for reports or switches out, and one
/// idle probe.
pub(crate) const HELD_MAX: usize = 2;

/// What the engine asks of the array.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activating {
    /// The activation that runs, and its group.
    running: Option<(ActivationId, u16)>,
    /// No other before then.
    not_before: Option<Time>,
    /// What the next one that does not help waits, in milliseconds.
    pause_ms: u32,
    /// Since when every path to the optimized group has failed.
    lost_since: Option<Time>,
}

impl Engine {
    /// Takes what the driver core wants sent and tells.
    pub(crate) fn drive_core(&mut self, now: Time) {
        self.core_dirty = false;
        self.release_held(now);
        let at = now.core();
        while let Some(command) = self.unit.poll_command(at) {
            let Some(place) = self.of_core[command.path.index()].map(usize::from) else {
                // A path that is going: the core hears of it at once.
                self.unit.handle_completion(command.id, &Outcome::NotSubmitted, at);
                continue;
            };
            if command.kind == CommandKind::ReadIdentification {
                self.paths[place].ask.core = Some((command.id, now));
                self.send_core(place, command);
            } else if self.is_known(place, now) || !self.ask(place, now) {
                self.send_core(place, command);
            } else if self.held.len() < HELD_MAX {
                self.held.push((command, self.paths[place].id(place)));
                self.release_held(now);
            } else {
                // It never has so many out.
                self.unit.handle_completion(command.id, &Outcome::NotSubmitted, at);
            }
        }
        while let Some(event) = self.unit.poll_event() {
            self.core_told(event, now);
        }
        self.core_deadline = self.unit.poll_deadline().map(Time::from);
    }

    fn send_core(&mut self, place: usize, command: unit::Command) {
        let path = self.paths[place].id(place);
        self.act(Action::Control(Control {
            id: ControlId(ControlName::Core((command.id, path))),
            path,
            kind: ControlKind::Core(command),
            timeout_ms: command.timeout_ms,
        }));
    }

    /// Sends the driver core's commands that waited until it was known who is behind their path;
    /// those whose path does not say so count as lost with it.
    fn release_held(&mut self, now: Time) {
        for at in (0..self.held.len()).rev() {
            let (command, id) = self.held[at];
            let place = self.place(id);
            let known = place.filter(|&place| self.is_known(place, now));
            let asked = place.is_some_and(|place| {
                let path = &self.paths[place];
                path.link == Link::Up && path.ask.out.is_some() && !path.ask.doubted
            });
            if known.is_none() && asked {
                continue;
            }
            self.held.swap_remove(at);
            match known {
                Some(place) => self.send_core(place, command),
                None => {
                    self.unit.handle_completion(command.id, &Outcome::Unreachable, now.core());
                }
            }
        }
    }

    fn core_told(&mut self, event: unit::Event, now: Time) {
        self.stale = true;
        match event {
            unit::Event::IdentityChanged { path } => {
                if let Some(place) = self.of_core[path.index()].map(usize::from) {
                    let path = self.paths[place].id(place);
                    self.tell(Event::IdentityChanged { path });
                }
            }
            unit::Event::CapacityChanged { path } => {
                if let Some(place) = self.of_core[path.index()].map(usize::from) {
                    self.want_capacity(place);
                }
            }
            unit::Event::Activation { id, result } => {
                if let Some((running, group)) = self.activating.running
                    && running == id
                {
                    self.activating.running = None;
                    let first = ACTIVATE_AGAIN_FIRST_MS;
                    let pause = self.activating.pause_ms.max(first);
                    self.activating.pause_ms = match result {
                        Ok(_) => first,
                        Err(_) => pause.saturating_mul(2).min(ACTIVATE_AGAIN_MAX_MS),
                    };
                    self.activating.not_before = Some(now.after(pause));
                    self.tell(Event::ActivationEnded { group, result });
                }
            }
            _ => {}
        }
    }

    pub(crate) fn note_sense(&mut self, place: usize, sense: &Sense, now: Time) {
        let Some(core) = self.paths[place].core else { return };
        self.note_reset(sense);
        let meaning = self.unit.handle_sense(core, sense, now.core());
        if meaning.recheck.contains(Recheck::CAPACITY) {
            self.want_capacity(place);
        }
        self.core_dirty = true;
        self.stale = true;
    }

    /// Counts what tells of a reset: each nexus is told of each once, by whichever command meets it.
    pub(crate) fn note_reset(&mut self, sense: &Sense) {
        if tells_of_reset(sense) {
            self.resets += 1;
        }
    }

    pub(crate) fn note_success(&mut self, place: usize, now: Time) {
        let Some(core) = self.paths[place].core else { return };
        self.unit.handle_success(core, now.core());
        self.core_dirty = true;
        self.stale = true;
    }

    /// The answer to a command that needs a live state.
    pub(crate) fn note_answer(&mut self, place: usize, status: Status, sense: &[u8], now: Time) {
        match status {
            Status::Good => self.note_success(place, now),
            Status::CheckCondition => {
                if let Ok(sense) = Sense::parse(sense) {
                    self.note_sense(place, &sense, now);
                }
            }
            _ => {}
        }
    }

    /// The capacity may have changed: every path tells what it sees.
    fn want_capacity(&mut self, told: usize) {
        for place in 0..self.paths.len() {
            if place == told || self.paths[place].capacity == Capacity::Known {
                self.paths[place].capacity = Capacity::Wanted;
                self.ask_capacity(place);
            }
        }
    }

    pub(crate) fn capacity_read(
        &mut self,
        id: PathId,
        number: u32,
        outcome: &Outcome<'_>,
        now: Time,
    ) {
        let Some(place) = self.place(id) else { return };
        if self.paths[place].capacity != Capacity::Asked(number) {
            // Asked again meanwhile; what the late answer tells beside the size counts.
            self.note_late(place, outcome, now);
            return;
        }
        self.paths[place].capacity = Capacity::Known;
        let Outcome::Answered { status, sense, data } = *outcome else {
            self.suspect(place, now);
            return;
        };
        match (status, sbc::parse_capacity_16(data)) {
            (Status::Good, Some((blocks, size))) => {
                let right = size == self.geometry.block_size;
                self.paths[place].blocks = if right { blocks } else { 0 };
                self.compare_sizes(place);
            }
            (Status::CheckCondition, _) => {
                let Ok(sense) = Sense::parse(sense) else { return };
                let again = alua_core::sense::meaning(&sense).disposition == Disposition::RetryHere;
                self.note_sense(place, &sense, now);
                if again && self.paths[place].capacity == Capacity::Known {
                    self.paths[place].capacity = Capacity::Wanted;
                    self.ask_capacity(place);
                }
            }
            _ => {}
        }
    }

    /// An answer that nobody awaits any more: its sense may be the only one that tells.
    pub(crate) fn note_late(&mut self, place: usize, outcome: &Outcome<'_>, now: Time) {
        if let Outcome::Answered { status: Status::CheckCondition, sense, .. } = *outcome
            && let Ok(sense) = Sense::parse(sense)
        {
            self.note_sense(place, &sense, now);
        }
    }

    /// A path told its size: the unit has it when every path that answers says so.
    fn compare_sizes(&mut self, told: usize) {
        self.stale = true;
        let blocks = self.paths[told].blocks;
        let up = |path: &&crate::path::Path| path.core.is_some() && path.link == Link::Up;
        let agree = self.paths.iter().filter(up).all(|path| path.blocks == blocks);
        if agree && blocks > 0 && blocks != self.geometry.blocks {
            self.geometry.blocks = blocks;
            self.tell(Event::Resized { blocks });
        } else if blocks != self.geometry.blocks {
            let path = self.paths[told].id(told);
            self.tell(Event::OtherSize { path, blocks });
        }
    }

    /// While requests wait for a live path, the states are looked at again and again, and the array
    /// is asked for another state where that is wanted.
    pub(crate) fn watch_waiters(&mut self, now: Time) {
        self.watch_optimized(now);
        if self.broken(Sabotage::PullAlways) && !self.unit.is_busy() {
            self.pull(now);
        }
        let read = self.unit.last_report().filter(|_| self.broken(Sabotage::ReportIdly));
        if read.is_some_and(|(_, at)| at.after(1_000) <= now.core()) && !self.unit.is_busy() {
            self.unit.refresh(now.core());
            self.core_dirty = true;
        }
        // Whoever fails requests at once must find out by himself when that can end.
        let wanted = !self.waiting.is_empty() || self.gives_up;
        if !wanted || self.outlook == Outlook::Live {
            self.poll = None;
            return;
        }
        if self.poll.is_none() {
            // A target that tells of a live path again and again, and does not let I/O pass, must
            // not have us run in a circle.
            let recent = self.polled.filter(|(at, pause)| at.after(pause.saturating_mul(4)) > now);
            let first = recent.map_or(self.config.wait_poll_first_ms, |(_, pause)| pause);
            self.poll = Some((now.after(first), first));
        }
        let waits = !self.waiting.is_empty();
        if waits && self.outlook == Outlook::Nothing && self.config.activation != Activation::Never
        {
            self.activate_something(now);
        }
    }

    /// Asks for the first group by force, as no engine may.
    fn pull(&mut self, now: Time) {
        let Some(id) = self.unit.groups().map(|group| group.id()).min() else { return };
        let target = unit::Target { state: AccessState::ActiveOptimized, id };
        self.core_dirty = self.unit.set_states(&[target], true, now.core()).is_ok();
    }

    /// Looks at the states because requests wait.
    pub(crate) fn poll_states(&mut self, now: Time) {
        let Some((due, pause)) = self.poll.filter(|&(due, _)| due <= now) else { return };
        let next = pause.saturating_mul(2).min(self.config.wait_poll_max_ms);
        self.poll = Some((due.max(now).after(next), next));
        self.polled = Some((now, next));
        if self.paths.iter().any(|path| path.core.is_some() && path.link == Link::Up) {
            self.unit.refresh(now.core());
            self.core_dirty = true;
        }
    }

    /// Every path to the optimized group has failed for a while, and a worse one works.
    fn watch_optimized(&mut self, now: Time) {
        let Activation::OptimizedLost { after_ms } = self.config.activation else { return };
        let lost = self.class.is_some_and(|class| !class.is_optimized())
            && self.by_hand.switched().is_none()
            && self.is_optimized_group_lost();
        if !lost {
            self.activating.lost_since = None;
            return;
        }
        let since = *self.activating.lost_since.get_or_insert(now);
        if since.after(after_ms) <= now {
            self.activate_something(now);
        }
    }

    /// Whether a group of which we have paths is optimized, and we can use none of them.
    fn is_optimized_group_lost(&self) -> bool {
        self.unit.groups().any(|group| {
            group.state() == Some(AccessState::ActiveOptimized)
                && self.unit.paths().any(|(_, path)| path.group() == Some(group.id()))
        })
    }

    pub(crate) fn next_activation(&self) -> Option<Time> {
        let lost = match (self.config.activation, self.activating.lost_since) {
            (Activation::OptimizedLost { after_ms }, Some(since)) => Some(since.after(after_ms)),
            _ => None,
        };
        let waits = self.outlook == Outlook::Nothing && !self.waiting.is_empty();
        if self.activating.running.is_some() || (lost.is_none() && !waits) {
            return None;
        }
        let at = lost.into_iter().chain(self.activating.not_before).max();
        // What is due and was not done waits for something else than time.
        at.filter(|&at| at > self.last_time)
    }

    /// Asks for the best group that answers to become optimized, unless that was done just now.
    fn activate_something(&mut self, now: Time) {
        let explicit = self.unit.managed().is_ok_and(|managed| managed.tpgs().has_explicit());
        let early = self.activating.not_before.is_some_and(|at| at > now);
        if !explicit || early || self.activating.running.is_some() {
            return;
        }
        let Some(group) = self.group_to_activate() else { return };
        if self.start_activation(group, now).is_err() {
            self.activating.not_before = Some(now.after(ACTIVATE_AGAIN_FIRST_MS));
        }
    }

    pub(crate) fn start_activation(
        &mut self,
        group: u16,
        now: Time,
    ) -> Result<(), ActivationRefused> {
        let id = self.unit.activate(group, now.core())?;
        self.activating.running = Some((id, group));
        self.core_dirty = true;
        self.tell(Event::ActivationStarted { group });
        Ok(())
    }

    /// The group to ask for: one with a path that answers; non-optimized before standby before
    /// unavailable, preferred before others.
    fn group_to_activate(&self) -> Option<u16> {
        let answers = |id: u16| {
            self.paths.iter().any(|path| {
                let core = path.core.and_then(|core| self.unit.path(core));
                let here = core.is_some_and(|core| core.group() == Some(id));
                here && path.link == Link::Up && !path.by_hand && path.strikes.until.is_none()
            })
        };
        let rank = |state: AccessState| match state {
            AccessState::ActiveNonOptimized | AccessState::LbaDependent => Some(0),
            AccessState::Standby => Some(1),
            AccessState::Unavailable => Some(2),
            _ => None,
        };
        let groups = self.unit.groups().filter(|group| answers(group.id()));
        groups
            .filter_map(|group| Some(((rank(group.state()?)?, !group.preferred()), group.id())))
            .min()
            .map(|(_, id)| id)
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Time) {
        if self.core_deadline.is_some_and(|at| at <= now) {
            self.core_dirty = true;
        }
        for place in 0..self.paths.len() {
            // Before others are lost, so that none is aborted twice.
            self.abort_lost_again(place, now);
            self.end_timeouts(place, now);
            self.knock_where_slow(place, now);
            self.probe(place, now);
            self.ask_capacity(place);
            self.end_ask(place, now);
            let path = &mut self.paths[place];
            if path.strikes.until.is_some_and(|until| until <= now) {
                path.strikes.until = None;
                self.stale = true;
            }
            let path = &mut self.paths[place];
            self.stale |= path.held_until.is_some_and(|until| until <= now);
            self.fencing |= path.doubts > 0;
        }
        self.ask_referrals(now);
        self.end_delays(now);
        self.poll_states(now);
        self.end_patience(now);
    }
}
