//! One path of Linux: a disk, its worker and the unit's ring.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alua_multipath::FenceAnswer;

use super::disk::Disk;
use super::ring::{Reset, SharedRing};
use super::worker::{Job, Worker};
use crate::inbox::Back;
use crate::path::{Command, ControlCommand, Cut, CutHold, PathIo, Step, StepKind};

/// See the [module](self).
pub(super) struct LinuxPath {
    pub(super) disk: Arc<Disk>,
    pub(super) worker: Arc<Worker>,
    pub(super) ring: SharedRing,
}

impl PathIo for LinuxPath {
    fn send(&mut self, command: Command, back: &Back) {
        self.ring.send(&self.disk, &self.worker, command, back);
    }

    fn control(&mut self, command: ControlCommand, back: &Back) {
        let until = Instant::now() + Duration::from_millis(command.timeout_ms.into());
        self.worker.give(Job::Control(command, until, back.clone()));
    }

    fn step(&mut self, step: Step, back: &Back) {
        let Step { id, kind, timeout_ms } = step;
        let until = Instant::now() + Duration::from_millis(timeout_ms.into());
        match kind {
            StepKind::ResetUnit { of, cuts } => {
                self.ring.reset(&self.worker, Reset { id, of, until }, cuts, back);
            }
            // Linux has no way to send either for a command of somebody's choice.
            StepKind::AbortTask(_) | StepKind::EndNexus => back.step(id, FenceAnswer::Failed),
        }
    }

    fn cut(&self) -> Option<Cut> {
        // Whatever is out keeps the disk: one that is gone has nothing out.
        let (disk, session) = (Arc::downgrade(&self.disk), self.disk.session());
        Some(Arc::new(move || match disk.upgrade() {
            Some(disk) => Some(Box::new(disk.cut()?) as Box<dyn CutHold>),
            None => Some(Box::new(Disk::gone(session.as_ref()))),
        }))
    }

    fn transition_ended(&mut self) {
        // To the kernel that is a reset too, and its end would be taken for that of a real one.
        if !self.ring.is_holding() {
            self.worker.hurry();
        }
    }

    fn close(&mut self, _back: &Back) -> bool {
        // What is out comes back by the ring and the worker, which it keeps alive.
        self.ring.close(&self.disk);
        false
    }
}
