//! The opt-in probe of idle paths: TEST UNIT READY, one path after another, so that a unit attention
//! which a transport delivers only with a command is met before I/O needs the path.

use super::command::{Command, CommandKind, Outcome};
use super::machine::{Parts, Role};
use super::slots::PathId;
use crate::sense::meaning;
use crate::spc::Status;
use crate::spc::sense::Sense;
use crate::time::Time;

impl Parts<'_> {
    pub(super) fn next_probe_time(&self) -> Option<Time> {
        let off = self.state.probe.is_some() || self.state.shut_down || self.state.managed.is_err();
        let any = self.paths.iter().any(|path| path.used && path.is_trusted());
        self.state.config.idle_probe_ms.filter(|_| any && !off).map(|_| self.state.probe_at)
    }

    pub(super) fn next_probe_command(&mut self, now: Time) -> Option<Command> {
        if self.next_probe_time()? > now {
            return None;
        }
        self.state.probe_at = now.after(self.state.config.idle_probe_ms?);
        let first = usize::from(self.state.probe_next);
        let (id, _) = (first..self.paths.len())
            .chain(0..first)
            .filter_map(|index| self.path_at(index))
            .find(|(_, path)| path.is_trusted())?;
        self.state.probe_next = u16::try_from(id.index()).ok()?.wrapping_add(1);
        Some(self.state.send(id, CommandKind::TestUnitReady, Role::Probe, false, now))
    }

    /// What a probe meets is handled like what any other command meets.
    pub(super) fn complete_probe(&mut self, id: PathId, outcome: &Outcome<'_>, now: Time) {
        match *outcome {
            Outcome::Answered { status: Status::Good, .. } => self.note_success(id, now),
            _ => self.note_answer(id, outcome, now),
        }
    }

    /// Takes note of the sense data, if there are any, of a command that nobody waits for.
    pub(super) fn note_answer(&mut self, id: PathId, outcome: &Outcome<'_>, now: Time) {
        let Outcome::Answered { status: Status::CheckCondition, sense, .. } = *outcome else {
            return;
        };
        if let Ok(sense) = Sense::parse(sense) {
            self.note_sense(id, &sense, &meaning(&sense), now);
        }
    }
}
