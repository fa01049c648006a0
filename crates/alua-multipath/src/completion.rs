//! What comes back from the paths.

use alua_core::failover::{IoOutcome, Next, PathNews, TargetError, Verdict, judge};
use alua_core::spc::Status;
use alua_core::spc::sense::Sense;

use crate::action::{Action, Event, IoId};
use crate::engine::{Command, Engine};
use crate::request::{Entry, Operation, RequestError, RequestId, Stage};
use crate::sabotage::Sabotage;
use crate::table::Key;
use crate::time::Time;

impl Engine {
    /// An I/O command has come back.
    pub(crate) fn came_back(&mut self, io: Key, outcome: &IoOutcome<'_>, now: Time) {
        let Some(command) = self.commands.get(io).filter(|command| !command.returned).copied()
        else {
            self.counters.strays += 1;
            return;
        };
        let verdict = judge(outcome);
        if command.lost || verdict.next != Next::Done {
            self.forget_deadline();
        }
        if command.lost {
            self.lost_came_back(io, command, outcome, verdict, now);
            return;
        }
        self.paths[command.path].flight.remove(&mut self.flights, io.place());
        self.note_outcome(command.path, command.sent, outcome, verdict, now);
        self.load_changed(command.path);
        let Some(request) = command.request else {
            self.commands.remove(io);
            return;
        };
        if verdict.ended {
            self.commands.remove(io);
            if verdict.next == Next::Done {
                self.part_done(request, io, now);
            } else {
                self.go_on(request, io, command.path, verdict, now);
            }
        } else {
            if let Some(command) = self.commands.get_mut(io) {
                command.returned = true;
            }
            self.lose(io, now);
        }
    }

    /// A command that was given up has come back after all.
    fn lost_came_back(
        &mut self,
        io: Key,
        command: Command,
        outcome: &IoOutcome<'_>,
        verdict: Verdict,
        now: Time,
    ) {
        self.note_sense_of(command.path, outcome, now);
        let repeats = self.paths[command.path].traits.host_repeats;
        if let Some(command) = self.commands.get_mut(io) {
            command.returned = true;
            command.doubt = command.doubt.map(|since| if repeats { now } else { since });
        }
        if command.doubt.is_none() {
            self.forget_lost(io);
        } else if verdict.ended {
            // Late, and the best proof there is.
            self.clear_doubt(io, "the target answered");
            self.forget_lost(io);
            if let Some(request) = command.request {
                self.go_on(request, io, command.path, verdict, now);
            }
        }
    }

    /// Takes a lost command, which has come back and is not in doubt, out of the books.
    pub(crate) fn forget_lost(&mut self, io: Key) {
        let early = self.broken(Sabotage::ForgetCommands);
        let over = |command: &&Command| (command.returned || early) && command.doubt.is_none();
        let Some(command) = self.commands.get(io).filter(over) else { return };
        self.paths[command.path].lost.remove(&mut self.flights, io.place());
        self.commands.remove(io);
        self.kick |= !self.waiting.is_empty();
    }

    /// What an outcome says of the path.
    fn note_outcome(
        &mut self,
        place: usize,
        sent: Time,
        outcome: &IoOutcome<'_>,
        verdict: Verdict,
        now: Time,
    ) {
        if verdict.next == Next::Done {
            let path = &mut self.paths[place];
            path.answered = now;
            path.still_known(sent);
            path.counters.good += 1;
            let is_news = path.success_is_news;
            self.measure(place, now.since(sent));
            if self.broken(Sabotage::ReportAlways) {
                self.unit.refresh(now.core());
                self.core_dirty = true;
            }
            if is_news {
                self.note_success(place, now);
            }
            return;
        }
        if matches!(outcome, IoOutcome::Answered { .. }) {
            self.paths[place].still_known(sent);
        }
        self.note_sense_of(place, outcome, now);
        match verdict.path {
            PathNews::Works => self.paths[place].counters.good += 1,
            PathNews::Refused => self.paths[place].counters.retried += 1,
            PathNews::Odd => {
                self.paths[place].counters.retried += 1;
                self.strike(place, sent, now);
            }
            PathNews::Failed => {
                self.paths[place].counters.lost += 1;
                self.suspect(place, now);
            }
        }
    }

    fn note_sense_of(&mut self, place: usize, outcome: &IoOutcome<'_>, now: Time) {
        if let IoOutcome::Answered { status: Status::CheckCondition, sense: raw, .. } = *outcome
            && let Ok(sense) = Sense::parse(raw)
        {
            self.note_referral(place, raw, now);
            self.note_sense(place, &sense, now);
        }
    }

    /// The smoothed time of one command: an eighth of each new one.
    fn measure(&mut self, place: usize, took_ns: u64) {
        let sample = u32::try_from(took_ns).unwrap_or(u32::MAX).max(1);
        let known = &mut self.candidates[place].service_ns;
        *known = match *known {
            0 => sample,
            old => old - old / 8 + sample / 8,
        };
    }

    /// A request whose command is over.
    fn go_on(&mut self, request: Key, io: Key, place: usize, verdict: Verdict, now: Time) {
        match verdict.next {
            Next::Done => self.part_done(request, io, now),
            Next::Fail(TargetError::Reservation) if self.broken(Sabotage::RetryConflict) => {
                self.again(request, true, now);
            }
            Next::Fail(TargetError::Protected) if self.broken(Sabotage::RetryProtected) => {
                self.again(request, true, now);
            }
            Next::Fail(error) => {
                self.complete(request, Err(RequestError::Target(error)), None, now);
            }
            Next::Again => self.again(request, verdict.counted, now),
            Next::Later => self.later(request, false, now),
            Next::Soon => self.later(request, true, now),
            Next::Elsewhere | Next::Wait => {
                if let Some(entry) = self.requests.get_mut(request) {
                    entry.avoid = Some(place as u16);
                }
                // What was just learned takes the path out, as a rule; where it does not, the
                // target must not make us run in a circle.
                self.drive_core(now);
                self.find_standings(now);
                let still = self.candidates[place].class.is_some();
                let unsteady = self.paths[place].strikes.until.is_some();
                if still && (unsteady || verdict.next == Next::Wait) {
                    self.later(request, false, now);
                } else {
                    self.again(request, verdict.counted || still, now);
                }
            }
        }
    }

    /// A command did what it should: its request is done, or goes on.
    #[inline(always)]
    fn part_done(&mut self, key: Key, io: Key, now: Time) {
        if self.requests.get(key).is_some_and(Entry::is_one_command) {
            self.complete(key, Ok(()), Some(io), now);
        } else {
            self.next_part(key, io, now);
        }
    }

    /// A part of a request is done: the next part follows, or a flush, or that was all.
    fn next_part(&mut self, key: Key, io: Key, now: Time) {
        let Some(entry) = self.requests.get_mut(key) else { return };
        entry.avoid = None;
        match entry.flushing {
            Some(resets) if resets == self.resets => {
                self.complete(key, Ok(()), None, now);
                return;
            }
            Some(_) => {
                entry.begin_anew_if_flushing();
                self.dispatch(key, now);
                return;
            }
            None => {}
        }
        let offset = entry.done;
        if offset == 0 {
            entry.resets = self.resets;
        } else if entry.changes && entry.resets != self.resets {
            // The parts before may have been in a cache that is gone, and nobody flushes what was
            // not acknowledged.
            entry.done = 0;
            self.dispatch(key, now);
            return;
        }
        entry.done += entry.part;
        let (done, request, resets) = (entry.done, entry.request, entry.resets);
        let in_parts = entry.part < request.blocks;
        if matches!(request.operation, Operation::WriteZeroes { fua: true, .. })
            && done == request.blocks
        {
            // WRITE SAME has no FUA (SBC-4).
            entry.flushing = Some(resets);
        }
        let more = done < request.blocks || entry.flushing.is_some();
        if in_parts && request.operation == Operation::Read {
            self.act(Action::Take { id: RequestId(key), by: IoId(io), offset });
        }
        if more {
            self.dispatch(key, now);
            return;
        }
        self.complete(key, Ok(()), (!in_parts).then_some(io), now);
    }

    /// Gives up a command in flight, which may yet be carried out. A read goes on elsewhere, a
    /// request that changes blocks waits for the fence.
    pub(crate) fn lose(&mut self, io: Key, now: Time) {
        let Some(command) = self.commands.get_mut(io) else { return };
        command.lost = true;
        let (place, changes, returned) = (command.path, command.changes, command.returned);
        let request = if changes { command.request } else { command.request.take() };
        self.paths[place].lost.push(&mut self.flights, io.place());
        if let (true, Some(request)) = (changes, request) {
            if self.broken(Sabotage::AcknowledgeLost) {
                self.complete(request, Ok(()), None, now);
                return;
            }
            self.set_stage(request, Stage::InDoubt(io));
            self.doubt(io, now);
            if self.broken(Sabotage::NoFence) {
                self.end_doubt(io, "nothing", now);
            }
            return;
        }
        if returned || self.broken(Sabotage::ForgetCommands) {
            self.forget_lost(io);
        } else {
            self.abort_lost(place, io, now);
        }
        if let Some(request) = request {
            if let Some(entry) = self.requests.get_mut(request) {
                entry.avoid = Some(place as u16);
            }
            self.again(request, true, now);
        }
    }

    /// Gives up every command in flight on a path.
    pub(crate) fn give_up_flight(&mut self, place: usize, now: Time) {
        while let Some(io) =
            self.paths[place].flight.first().and_then(|it| self.commands.key_at(it))
        {
            self.give_up(place, io, now);
        }
    }

    fn give_up(&mut self, place: usize, io: Key, now: Time) {
        self.paths[place].flight.remove(&mut self.flights, io.place());
        self.paths[place].counters.lost += 1;
        self.load_changed(place);
        self.lose(io, now);
    }

    /// Gives up the commands of a path that took too long.
    pub(crate) fn end_timeouts(&mut self, place: usize, now: Time) {
        while let Some(io) = self.oldest(place) {
            let sent = self.commands.get(io).map(|command| command.sent);
            if sent.is_none_or(|sent| sent.after(self.config.io_timeout_ms) > now) {
                break;
            }
            self.suspect(place, now);
            self.give_up(place, io, now);
        }
    }

    /// When the oldest command in flight on a path has taken too long.
    pub(crate) fn next_timeout(&self, place: usize) -> Option<Time> {
        Some(self.oldest_sent(place)?.after(self.config.io_timeout_ms))
    }

    /// When the oldest command in flight on a path was sent.
    pub(crate) fn oldest_sent(&self, place: usize) -> Option<Time> {
        self.oldest(place).and_then(|io| self.commands.get(io)).map(|command| command.sent)
    }

    fn oldest(&self, place: usize) -> Option<Key> {
        self.paths[place].flight.first().and_then(|it| self.commands.key_at(it))
    }

    /// A path that reaches the target failed a command that was sent then.
    pub(crate) fn strike(&mut self, place: usize, sent: Time, now: Time) {
        let path = &mut self.paths[place];
        if path.strikes.add(&self.config.health, sent, now)
            && let Some(until) = path.strikes.until
        {
            let (path, strikes) = (path.id(place), path.strikes.count);
            self.tell(Event::PathUnsteady { path, strikes, until });
            self.stale = true;
        }
    }
}
