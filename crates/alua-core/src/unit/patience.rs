//! The patience of the refresh: a command that is not answered does not hold the unit up.
//!
//! A controller can take a command and be silent until its time limit, which is long, because some
//! targets answer a switch only when it is done. Where another path can be asked the refresh goes on
//! there after [`Config::patience_ms`](super::Config::patience_ms). The command is left to run: it is
//! not aborted, and its path is asked for no report until it ends, so that a silent path costs one
//! command at a time. A report that it brings in the end is old and not used; sense data are.

use super::command::{CommandId, Outcome};
use super::config::LEFT_MAX;
use super::machine::{Parts, Role};
use super::refresh::Reason;
use super::slots::{Path, PathId, Transport};
use crate::time::Time;

impl Parts<'_> {
    /// When the command in flight is left, if it is one that can be.
    pub(super) fn patience_ends(&self) -> Option<Time> {
        let patience = self.state.config.patience_ms?;
        let flight = self.state.control.filter(|it| matches!(it.role, Role::Refresh(_)))?;
        let left = self.paths.iter().filter(|path| path.is_left()).count();
        let another = (0..self.paths.len())
            .filter_map(|index| self.path_at(index))
            .any(|(id, path)| id != flight.path && self.may_ask(path));
        (left < LEFT_MAX && another).then(|| flight.sent.after(patience))
    }

    pub(super) fn lose_patience(&mut self, now: Time) {
        if self.patience_ends().is_none_or(|end| end > now) {
            return;
        }
        let Some(flight) = self.state.control.take() else { return };
        if let Some(path) = self.path_mut(flight.path) {
            path.left = Some(flight.id);
            path.transport = Transport::Failed { at: now };
        }
        self.complete_control(flight, &Outcome::TimedOut, now);
    }

    /// Takes what became of a command that was left. False where there is none of that name.
    pub(super) fn complete_left(
        &mut self,
        id: CommandId,
        outcome: &Outcome<'_>,
        now: Time,
    ) -> bool {
        let of_id = |(_, path): &(PathId, &Path)| path.left == Some(id);
        let left = (0..self.paths.len()).filter_map(|index| self.path_at(index)).find(of_id);
        let Some(path) = left.map(|(path, _)| path) else { return false };
        if let Some(place) = self.path_mut(path) {
            place.left = None;
        }
        self.note_outcome(path, outcome, now);
        self.note_answer(path, outcome, now);
        self.check_evidence(path, now);
        let answered = matches!(outcome, Outcome::Answered { .. });
        if answered && self.state.refresh.failure().is_some() {
            self.want_refresh(Reason::NewPath, now);
        }
        true
    }

    /// A path on which a command was left.
    pub(super) fn left_path(&self) -> Option<PathId> {
        let mut paths = (0..self.paths.len()).filter_map(|index| self.path_at(index));
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
