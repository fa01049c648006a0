//! What the engine's thread tells of itself when it is asked.

use std::sync::Arc;

use super::Shell;
use crate::device::{Knowledge, KnownPath, PathSnapshot, Snapshot};
use crate::tell;

impl Shell {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let paths = self.slots.iter().flatten().filter_map(|slot| {
            let view = self.engine.view(slot.id)?;
            let core = |core| self.known_label(self.engine.path_of_core(core)?);
            Some(PathSnapshot {
                label: slot.label.clone(),
                cause: tell::cause(&view.cause, core),
                view,
            })
        });
        Snapshot {
            at: self.now(),
            name: self.engine.unit().name().copied(),
            unit: self.engine.view_unit(),
            held: self.held.len(),
            paths: paths.collect(),
        }
    }

    pub(crate) fn knowledge(&self) -> Knowledge {
        let unit = self.engine.unit();
        let paths = unit.paths().filter_map(|(core, _)| {
            let id = self.engine.path_of_core(core)?;
            let slot = self.slots.iter().flatten().find(|slot| slot.id == id)?;
            let failed = self.engine.view(id)?.link_failed;
            Some(KnownPath { core, found: Arc::clone(&slot.found), failed })
        });
        let paths = paths.collect();
        Knowledge { unit: unit.clone(), ports: self.ports.clone(), paths }
    }
}
