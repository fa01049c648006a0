//! The steps that keep the rule of [`crate::fence`].

use alua_core::gate::{Hold, Refusal};
use alua_core::select::{Out, Standing};

use crate::action::{Action, Event, FenceAnswer, FenceId, FenceKind, FenceStep, IoId};
use crate::engine::{Command, Engine};
use crate::fence::{Phase, proof};
use crate::path::{Link, Round};
use crate::table::{Chain, Key};
use crate::time::Time;

/// From a round in which paths were asked who they lead to, to the next, in milliseconds.
const HURRY_MS: u32 = 5;
/// Such rounds in a row.
const HURRIES: u8 = 20;
/// The number of steps whose answer nobody awaits.
const COURTESY: u32 = 0;

impl Engine {
    /// A command that changes blocks was given up.
    pub(crate) fn doubt(&mut self, io: Key, now: Time) {
        let Some(command) = self.commands.get_mut(io) else { return };
        command.doubt = Some(now);
        let path = &mut self.paths[command.path];
        path.doubts += 1;
        self.counters.doubts += 1;
        if path.fence == Phase::Idle {
            path.fence = Phase::Due(now);
            path.round = Round::default();
        }
        self.fencing = true;
    }

    /// Aborts a command that nobody waits for, so that it does not take up room in the target. What
    /// comes of it changes nothing, but where it fails it is tried again.
    pub(crate) fn abort_lost(&mut self, place: usize, io: Key, now: Time) {
        let retry = now.after(self.config.fence.retry_ms);
        let path = &mut self.paths[place];
        if path.core.is_none() || !path.traits.abort_task {
            return;
        }
        if path.link == Link::Down {
            path.abort_again = Some(retry);
            return;
        }
        let path = path.id(place);
        let id = FenceId { path, number: COURTESY };
        let kind = FenceKind::AbortTask(IoId(io));
        let timeout_ms = self.config.fence.step_timeout_ms;
        self.act(Action::Fence(FenceStep { id, path, kind, timeout_ms }));
    }

    /// Aborts again what nobody waits for, where an abort failed or could not be sent: a target that
    /// is full of such commands takes no others.
    pub(crate) fn abort_lost_again(&mut self, place: usize, now: Time) {
        if self.paths[place].abort_again.is_none_or(|at| at > now) {
            return;
        }
        self.paths[place].abort_again = None;
        self.for_each_lost(place, |engine, io, command| {
            if command.doubt.is_none() && !command.returned {
                engine.abort_lost(place, io, now);
            }
        });
    }

    /// A command is not in doubt any more; its request goes on as the caller sees fit.
    pub(crate) fn clear_doubt(&mut self, io: Key, by: &'static str) {
        let Some(command) = self.commands.get_mut(io) else { return };
        if command.doubt.take().is_none() {
            return;
        }
        let place = command.path;
        self.paths[place].doubts -= 1;
        self.paths[place].fenced += 1;
        if self.paths[place].doubts == 0 {
            self.fence_over(place, by);
        }
    }

    fn fence_over(&mut self, place: usize, by: &'static str) {
        let path = &mut self.paths[place];
        if !matches!(path.fence, Phase::Step { .. }) {
            path.fence = Phase::Idle;
        }
        let writes = std::mem::take(&mut path.fenced);
        if std::mem::take(&mut path.fence_told) {
            let path = path.id(place);
            self.tell(Event::FenceEnded { path, by, writes });
        }
    }

    /// A command is over: its request is sent again.
    pub(crate) fn end_doubt(&mut self, io: Key, by: &'static str, now: Time) {
        self.clear_doubt(io, by);
        let request = self.commands.get_mut(io).and_then(|command| command.request.take());
        self.forget_lost(io);
        if let Some(request) = request {
            self.again(request, true, now);
        }
    }

    /// Every command of a path that was sent before `until` is over. One sent at that very time may
    /// have been sent behind the step.
    pub(crate) fn end_doubts(&mut self, place: usize, until: Time, by: &'static str, now: Time) {
        self.for_each_lost(place, |engine, io, command| {
            if command.doubt.is_some() && command.sent < until {
                engine.end_doubt(io, by, now);
            }
        });
    }

    /// Does something with each command that was given up on a path, oldest first. It may take that
    /// command out of the chain, and no other.
    fn for_each_lost(&mut self, place: usize, mut act: impl FnMut(&mut Self, Key, Command)) {
        let mut next = self.paths[place].lost.first();
        while let Some(it) = next {
            next = Chain::next(&self.flights, it);
            let Some(io) = self.commands.key_at(it) else { continue };
            if let Some(command) = self.commands.get(io).copied() {
                act(self, io, command);
            }
        }
    }

    /// The commands in doubt on a path, oldest first.
    fn doubts_of(&self, place: usize) -> impl Iterator<Item = Key> {
        let lost = self.paths[place].lost.iter(&self.flights);
        lost.filter_map(|it| self.commands.key_at(it))
            .filter(|&io| self.commands.get(io).is_some_and(|command| command.doubt.is_some()))
    }

    /// Ends what has been in doubt for so long that it counts as over.
    fn outwait(&mut self, place: usize, now: Time) {
        let wait = self.config.fence.wait_ms;
        let repeats = self.paths[place].traits.host_repeats;
        self.for_each_lost(place, |engine, io, command| {
            if command.waits(repeats) && command.doubt.is_some_and(|since| since.after(wait) <= now)
            {
                engine.counters.doubts_outwaited += 1;
                engine.end_doubt(io, "the bounded wait", now);
            }
        });
    }

    /// Takes the steps that are due on every path.
    pub(crate) fn advance_fences(&mut self, now: Time) {
        self.fencing = false;
        for place in 0..self.paths.len() {
            if self.paths[place].doubts > 0 {
                self.outwait(place, now);
            }
            if let Phase::Due(at) = self.paths[place].fence
                && at <= now
                && self.paths[place].doubts > 0
            {
                self.next_step(place, now);
            }
        }
    }

    fn next_step(&mut self, place: usize, now: Time) {
        if !self.paths[place].fence_told {
            let writes = self.paths[place].doubts;
            self.paths[place].fence_told = true;
            let path = self.paths[place].id(place);
            self.tell(Event::FenceStarted { path, writes });
        }
        if let Some(kind) = self.choose_step(place, now) {
            let number = self.paths[place].number();
            let path = self.paths[place].id(place);
            self.paths[place].fence = Phase::Step { kind, number, since: now };
            let id = FenceId { path, number };
            let timeout_ms = self.config.fence.step_timeout_ms;
            self.act(Action::Fence(FenceStep { id, path, kind, timeout_ms }));
        } else {
            let hurries = self.paths[place].round.hurries;
            let soon = self.paths[place].round.asked && hurries < HURRIES;
            let pause = if soon { HURRY_MS } else { self.config.fence.retry_ms };
            let hurries = if soon { hurries + 1 } else { 0 };
            self.paths[place].round = Round { hurries, ..Round::default() };
            self.paths[place].fence = Phase::Due(now.after(pause));
        }
    }

    /// The command in doubt behind the one whose abort was tried last; the first, where that one is
    /// over.
    fn next_to_abort(&self, place: usize) -> Option<Key> {
        let last = self.paths[place].round.aborted;
        let mut rest = self.doubts_of(place).skip_while(|&io| Some(io) != last);
        match rest.next() {
            Some(_) => rest.next(),
            None => self.doubts_of(place).next(),
        }
    }

    fn choose_step(&mut self, place: usize, now: Time) -> Option<FenceKind> {
        let path = &self.paths[place];
        let there = path.core.is_some();
        if there && path.traits.abort_task && path.link != Link::Down && !path.round.aborts_done {
            let next = self.next_to_abort(place);
            let round = &mut self.paths[place].round;
            round.aborted = next;
            round.aborts_done = next.is_none();
            if let Some(io) = next {
                return Some(FenceKind::AbortTask(IoId(io)));
            }
        }
        let path = &mut self.paths[place];
        if there && path.traits.end_nexus && !path.round.nexus {
            path.round.nexus = true;
            return Some(FenceKind::EndNexus);
        }
        if !self.config.fence.reset_unit {
            return None;
        }
        let from = self.paths[place].round.reset_after.map_or(0, |last| last + 1);
        for via in from..self.paths.len() {
            let other = &self.paths[via];
            if other.core.is_none() || !other.traits.reset_unit || other.link != Link::Up {
                continue;
            }
            self.paths[place].round.reset_after = Some(via);
            if self.is_sure_of(via, now) {
                return Some(FenceKind::ResetUnit { via: self.paths[via].id(via) });
            }
            // A reset has no unit attention to meet: through a path behind which another unit has
            // come it would end that one's commands, and prove nothing.
            self.paths[place].round.asked = self.ask(via, now);
        }
        None
    }

    /// Whether it is known who is behind a path, and the driver core has no doubt.
    fn is_sure_of(&self, place: usize, now: Time) -> bool {
        let path = &self.paths[place];
        let doubtful = matches!(
            path.standing,
            Standing::Waits(Hold::IdentityInDoubt)
                | Standing::Out(Out::Refused(
                    Refusal::IdentityChanged | Refusal::IdentityUnreadable
                ))
        );
        !doubtful && self.is_known(place, now)
    }

    pub(crate) fn fence_answered(&mut self, id: FenceId, answer: FenceAnswer, now: Time) {
        let place = id.path.index();
        if id.number == COURTESY {
            let retry = now.after(self.config.fence.retry_ms);
            let path = self.paths.get_mut(place);
            if let Some(path) = path.filter(|path| path.generation == id.path.generation)
                && answer == FenceAnswer::Failed
            {
                path.abort_again = Some(retry);
            }
            return;
        }
        let asked = self.paths.get(place).filter(|path| path.generation == id.path.generation);
        let Some(Phase::Step { kind, number, since }) = asked.map(|path| path.fence) else {
            self.counters.strays += 1;
            return;
        };
        if number != id.number {
            self.counters.strays += 1;
            return;
        }
        self.paths[place].fence = Phase::Due(now);
        if answer == FenceAnswer::Done {
            match kind {
                FenceKind::AbortTask(io) => self.end_doubt(io.0, proof(kind), now),
                FenceKind::EndNexus | FenceKind::ResetUnit { .. } => {
                    self.end_doubts(place, since, proof(kind), now);
                }
            }
        }
        if self.paths[place].doubts == 0 {
            self.paths[place].fence = Phase::Idle;
        }
        self.fencing = true;
    }

    /// When something is due on the fence of a path.
    pub(crate) fn next_fence_time(&self, place: usize) -> Option<Time> {
        let path = &self.paths[place];
        if path.doubts == 0 {
            return None;
        }
        // The oldest doubt is the first whose time is over.
        let doubts = path.lost.iter(&self.flights).filter_map(|it| self.commands.key_at(it));
        let repeats = self.paths[place].traits.host_repeats;
        let waiting = |io| self.commands.get(io).filter(|command| command.waits(repeats))?.doubt;
        let since = doubts.filter_map(waiting).min();
        let over = since.map(|since| since.after(self.config.fence.wait_ms));
        match path.fence {
            Phase::Due(at) => over.map(|over| over.min(at)).or(Some(at)),
            Phase::Idle | Phase::Step { .. } => over,
        }
    }
}
