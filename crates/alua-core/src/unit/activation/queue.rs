//! The activations of a logical unit: running, waiting, and ended but not told.

use super::super::command::StpgTargets;
use super::super::config::{ACTIVATIONS_MAX, STPG_WINDOW};
use super::{ActivationError, ActivationId, ActivationResult};
use crate::time::Time;

const WINDOW_MS: u32 = 60_000;

#[derive(Clone, Copy, Debug, Default)]
pub(in crate::unit) struct Activations {
    pub(super) slots: [Slot; ACTIVATIONS_MAX],
    pub(super) next: u32,
    /// When the last commands were sent, the oldest overwritten.
    pub(super) sent: [Option<Time>; STPG_WINDOW],
    pub(super) sent_next: usize,
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
    pub(super) trouble: Option<ActivationError>,
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
    /// Verifying, and the next report is read at this time.
    Pausing {
        until: Time,
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
        let in_window = |sent: &&Time| now.since(**sent) < u64::from(WINDOW_MS);
        let recent = self.sent.iter().flatten().filter(in_window);
        let limit = usize::from(limit).min(STPG_WINDOW);
        if recent.clone().count() < limit {
            return None;
        }
        Some(recent.min().map_or(now.after(WINDOW_MS), |oldest| oldest.after(WINDOW_MS)))
    }

    pub(super) fn enter_sent(&mut self, now: Time) {
        if let Some(place) = self.sent.get_mut(self.sent_next) {
            *place = Some(now);
        }
        let next = self.sent_next.saturating_add(1);
        self.sent_next = if next < STPG_WINDOW { next } else { 0 };
    }
}
