//! Patience: a command that is not answered does not hold the unit up.
//!
//! A controller can take a command and be silent until its time limit, which is long, because some
//! targets answer a switch only when it is done. Where another path can be asked the refresh goes on
//! there after [`Config::patience_ms`](super::Config::patience_ms), and so do the readings of page 83h
//! where another path's is due: each of those paths passes no I/O until it is read. The command is left
//! to run: it is not aborted, and its path is asked nothing of the kind until it ends, so that a silent
//! path costs one command at a time. A report that it brings in the end is old and not used; sense data
//! are. A page is used unless its path was put in doubt again since: two slow paths that leave each
//! other's readings would never be read otherwise.

use super::command::{CommandId, Outcome};
use super::config::LEFT_MAX;
use super::machine::{Parts, Role};
use super::refresh::Reason;
use super::slots::{Path, PathId, Transport};
use crate::time::Time;

/// A reading of page 83h that was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeftReading {
    id: CommandId,
    pub(super) path: PathId,
}

impl Parts<'_> {
    /// When a command in flight is left, if it is one that can be.
    pub(super) fn patience_ends(&self) -> Option<Time> {
        let report = self.report_patience_ends();
        report.into_iter().chain(self.reading_patience_ends()).min()
    }

    fn report_patience_ends(&self) -> Option<Time> {
        let flight = self.state.control.filter(|it| matches!(it.role, Role::Refresh(_)))?;
        let another = self.named_paths().any(|(id, path)| id != flight.path && self.may_ask(path));
        self.patience_since(flight.sent).filter(|_| another || self.state.refresh.knows_enough())
    }

    fn reading_patience_ends(&self) -> Option<Time> {
        let flight = self.state.identity?;
        let others = self.readings_due().filter(|(id, _)| *id != flight.path);
        let another = others.map(|(_, due)| due).min()?;
        self.patience_since(flight.sent).map(|end| end.max(another))
    }

    fn patience_since(&self, sent: Time) -> Option<Time> {
        let readings = self.state.left_readings.iter().flatten().count();
        let reports = self.paths.iter().filter(|path| path.is_left()).count();
        let patience = self.state.config.patience_ms?;
        (readings.saturating_add(reports) < LEFT_MAX).then(|| sent.after(patience))
    }

    pub(super) fn lose_patience(&mut self, now: Time) {
        let over = |end: Option<Time>| end.is_some_and(|end| end <= now);
        if over(self.report_patience_ends())
            && let Some(flight) = self.state.control.take()
        {
            if let Some(path) = self.path_mut(flight.path) {
                path.left = Some(flight.id);
                path.transport = Transport::Failed { at: now };
            }
            self.complete_control(flight, &Outcome::TimedOut, now);
        }
        if over(self.reading_patience_ends())
            && let Some(place) = self.state.left_readings.iter_mut().find(|it| it.is_none())
            && let Some(flight) = self.state.identity.take()
        {
            *place = Some(LeftReading { id: flight.id, path: flight.path });
            if let Some(path) = self.path_mut(flight.path) {
                path.transport = Transport::Failed { at: now };
            }
            self.complete_identity(flight.path, &Outcome::TimedOut, now);
        }
    }

    /// Takes what became of a command that was left. False where there is none of that name.
    pub(super) fn complete_left(
        &mut self,
        id: CommandId,
        outcome: &Outcome<'_>,
        now: Time,
    ) -> bool {
        let reading = self.take_left_reading(id);
        let report = || self.take_left_report(id);
        let Some(path) = reading.map(|it| it.path).or_else(report) else { return false };
        self.note_outcome(path, outcome, now);
        self.note_answer(path, outcome, now);
        self.check_evidence(path, now);
        let answered = matches!(outcome, Outcome::Answered { .. });
        if reading.is_some() && answered {
            self.complete_identity(path, outcome, now);
        }
        if answered && self.state.refresh.failure().is_some() {
            self.want_refresh(Reason::NewPath, now);
        }
        true
    }

    fn take_left_reading(&mut self, id: CommandId) -> Option<LeftReading> {
        self.state.left_readings.iter_mut().find_map(|place| place.take_if(|it| it.id == id))
    }

    fn take_left_report(&mut self, id: CommandId) -> Option<PathId> {
        let of_id = |(_, path): &(PathId, &Path)| path.left == Some(id);
        let left = self.named_paths().find(of_id);
        let (path, _) = left?;
        self.path_mut(path)?.left = None;
        Some(path)
    }

    pub(super) fn forget_left_readings(&mut self, path: PathId) {
        for place in &mut self.state.left_readings {
            place.take_if(|it| it.path == path);
        }
    }

    /// A path on which a command was left.
    pub(super) fn left_path(&self) -> Option<PathId> {
        let mut paths = self.named_paths();
        paths.find(|(_, path)| path.is_left()).map(|(id, _)| id)
    }

    /// Whether a command was left on a path of the same group: the same controller may be silent.
    pub(super) fn is_beside_left(&self, path: &Path) -> bool {
        path.group.is_some() && self.paths.iter().any(|it| it.is_left() && it.group == path.group)
    }
}

impl Path {
    pub(super) const fn is_left(&self) -> bool {
        self.used && self.left.is_some()
    }
}
