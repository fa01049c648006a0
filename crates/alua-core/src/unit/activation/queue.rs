//! The activations of a logical unit: running, waiting, and ended but not told.

use super::super::command::StpgTargets;
use super::super::config::{ACTIVATIONS_MAX, STPG_WINDOW};
use super::{ActivationError, ActivationId, ActivationResult};
use crate::cause::SenseCode;
use crate::spc::Status;
use crate::time::Time;
use crate::unit::PathId;

const WINDOW_MS: u16 = 60_000;

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::unit) struct Activations {
    pub(super) slots: [Slot; ACTIVATIONS_MAX],
    pub(super) next: u32,
    pub(super) sent: Sent,
}

/// When the last commands were sent, as far as it still counts: one time and distances to it, a
/// fifth of the bytes that as many times would take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// The last one.
    last: Option<Time>,
    /// How long before it others were, in milliseconds, the newest first.
    before: [u16; STPG_WINDOW - 1],
    /// How many others.
    others: u8,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Slot {
    #[default]
    Free,
    Running(Run),
    Finished(ActivationId, ActivationResult),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) id: ActivationId,
    pub(super) request: Request,
    pub(super) phase: Phase,
    pub(super) attempts: u8,
    pub(super) attentions: u8,
    pub(super) resends: u8,
    pub(super) verifications: u8,
    /// Why the last STPG did not succeed, if it did not.
    pub(super) trouble: Option<Trouble>,
    /// The path on which the last STPG was lost or refused.
    pub(super) avoid: Option<PathId>,
}

/// What can keep an STPG from success: an [`ActivationError`] in a tenth of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    NotSubmitted,
    Transport,
    Status(Status),
    Refused(SenseCode),
    /// The path refused, not the target.
    Path(SenseCode),
}

impl From<Trouble> for ActivationError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotSubmitted => Self::NotSubmitted,
            Trouble::Transport => Self::Transport,
            Trouble::Status(status) => Self::Status(status),
            Trouble::Refused(sense) | Trouble::Path(sense) => Self::Refused(sense),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) targets: StpgTargets,
    pub(super) force: bool,
    /// The rules of a device handler's `activate` hold: which states it leaves alone.
    pub(super) handler: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// A pass with at least this number is awaited.
    Reading {
        pass: u32,
    },
    Sending {
        at: Time,
    },
    Sent,
    Verifying {
        pass: u32,
    },
    /// Reading or verifying, and the next report is read at this time.
    Pausing {
        until: Time,
        verifying: bool,
    },
}

impl Activations {
    pub(in crate::unit) fn is_any_running(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Running(_)))
    }

    pub(in crate::unit) fn take_finished(&mut self) -> Option<(ActivationId, ActivationResult)> {
        let finished = self
            .slots
            .iter_mut()
            .filter_map(|slot| match *slot {
                Slot::Finished(id, result) => Some((slot, id, result)),
                _ => None,
            })
            .min_by_key(|(_, id, _)| *id);
        finished.map(|(slot, id, result)| {
            *slot = Slot::Free;
            (id, result)
        })
    }

    pub(in crate::unit) fn end_all(&mut self, error: ActivationError) {
        for slot in &mut self.slots {
            if let Slot::Running(run) = slot {
                *slot = Slot::Finished(run.id, Err(error));
            }
        }
    }

    /// Counts a command that may have had an effect towards the limit.
    pub(in crate::unit) fn count_sent(&mut self, now: Time) {
        self.sent.enter(now);
    }

    /// The activation that is served: the one that was requested first.
    pub(super) fn front(&self) -> Option<Run> {
        self.slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::Running(run) => Some(*run),
                _ => None,
            })
            .min_by_key(|run| run.id)
    }

    pub(super) fn put(&mut self, run: Run) {
        if let Some(slot) = self.slot_of(run.id) {
            *slot = Slot::Running(run);
        }
    }

    pub(super) fn end(&mut self, id: ActivationId, result: ActivationResult) {
        if let Some(slot) = self.slot_of(id) {
            *slot = Slot::Finished(id, result);
        }
    }

    pub(super) fn slot_of(&mut self, id: ActivationId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| matches!(slot, Slot::Running(run) if run.id == id))
    }

    /// The activation that has sent nothing yet and wants just this.
    pub(super) fn joinable(&self, request: &Request) -> Option<ActivationId> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Running(run) if run.request == *request && run.attempts == 0 => Some(run.id),
            _ => None,
        })
    }

    /// When the next command may be sent; `None` for now.
    pub(super) fn limited_until(&self, limit: u8, now: Time) -> Option<Time> {
        let limit = usize::from(limit).min(STPG_WINDOW);
        if self.sent.recent(now).count() < limit {
            return None;
        }
        // How long ago the oldest was; a limit of none at all counts from now.
        let ago = self.sent.recent(now).last().unwrap_or(0);
        Some(now.after(u32::from(WINDOW_MS).saturating_sub(ago)))
    }

    /// When the next command may be sent beyond the limit: they are as far apart then as the limit
    /// has them on average, so that in any minute there are fewer than twice as many. For of those in
    /// a minute, take the last that was sent within the limit: up to it there are no more than the
    /// limit, and behind it fewer than the limit, for so many do not fit when they are so far apart.
    pub(super) fn spaced(&self, limit: u8) -> Option<Time> {
        let limit = usize::from(limit).min(STPG_WINDOW);
        // Rounded up.
        let minute = usize::from(WINDOW_MS).saturating_add(limit).saturating_sub(1);
        let apart = minute.checked_div(limit)?;
        Some(self.sent.last?.after(u32::try_from(apart).ok()?))
    }
}

impl Sent {
    /// How long before `now` the commands were sent that count, in milliseconds, the newest first.
    fn recent(&self, now: Time) -> impl Iterator<Item = u32> {
        let last = self.last.map_or(u64::MAX, |last| now.since(last));
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        let others = self.before.iter().take(usize::from(self.others));
        let others = others.map(move |&gap| last.saturating_add(gap.into()));
        core::iter::once(last).chain(others).take_while(|&ago| ago < u32::from(WINDOW_MS))
    }

    /// Enters a command that is sent at `now`. Those that do not count any more are dropped.
    pub(super) fn enter(&mut self, now: Time) {
        let mut before = [0; STPG_WINDOW - 1];
        let mut others = 0_u8;
        for (place, ago) in before.iter_mut().zip(self.recent(now)) {
            *place = u16::try_from(ago).unwrap_or(WINDOW_MS);
            others = others.saturating_add(1);
        }
        *self = Self { last: Some(now), before, others };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Time {
        Time::ZERO.after(seconds.saturating_mul(1_000))
    }

    #[test]
    fn a_command_counts_for_a_minute() {
        let mut queue = Activations::default();
        assert_eq!(queue.limited_until(0, at(5)), Some(at(65)));
        assert_eq!(queue.limited_until(2, at(5)), None);
        for seconds in [10, 10, 20, 75] {
            queue.sent.enter(at(seconds));
        }
        assert_eq!(queue.limited_until(3, at(69)), None);
        assert_eq!(queue.limited_until(2, at(79)), Some(at(80)));
        assert_eq!(queue.limited_until(2, at(80)), None);
        assert_eq!(queue.limited_until(1, at(134)), Some(at(135)));
        assert_eq!(queue.limited_until(1, at(135)), None);
    }

    /// Whoever sends whenever it may, with or without pauses, never sends twice the limit in a
    /// minute, and may send one less.
    #[test]
    fn beyond_the_limit_there_are_fewer_than_twice_as_many_in_any_minute() {
        let minute = u64::from(WINDOW_MS);
        for limit in (1..=20).chain([255]) {
            for pause in [0, 1, 13, 7_000, 30_011, 61_000] {
                let mut queue = Activations::default();
                let mut now = Time::ZERO;
                let mut sent = [0; 100];
                for (turn, at) in sent.iter_mut().enumerate() {
                    if turn % 23 == 22 {
                        now = now.after(pause);
                    }
                    if queue.limited_until(limit, now).is_some() {
                        now = now.max(queue.spaced(limit).unwrap_or(now));
                    }
                    queue.sent.enter(now);
                    *at = now.as_millis();
                }
                let in_minute =
                    |last: u64| sent.iter().filter(|&&at| at <= last && at + minute > last).count();
                let most = sent.iter().map(|&last| in_minute(last)).max();
                let bound = Some(2 * usize::from(limit).min(STPG_WINDOW) - 1);
                assert!(most <= bound, "limit {limit}, pause {pause}: {most:?}");
                assert!(most == bound || pause > 0, "limit {limit}: {most:?}");
            }
        }
    }

    #[test]
    fn more_commands_than_there_is_room_for_push_the_oldest_out() {
        let mut queue = Activations::default();
        for seconds in 0..40 {
            queue.sent.enter(at(seconds));
        }
        assert_eq!(queue.limited_until(u8::MAX, at(40)), Some(at(24 + 60)));
        assert_eq!(queue.limited_until(16, at(84)), None);
        assert_eq!(queue.limited_until(15, at(84)), Some(at(25 + 60)));
    }
}
