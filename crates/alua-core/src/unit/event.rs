//! What a logical unit tells its consumer.

use super::activation::{ActivationId, ActivationResult};
use super::refresh::PassEnd;
use super::slots::{Mark, Path, PathId};
use super::{LogicalUnit, Slots};
use crate::access::AccessState;
use crate::cause::{Cause, RefreshError};
use crate::gate::Gate;

/// Something that a consumer may have to act on. Changes between two calls of
/// [`LogicalUnit::poll_event`] are told as one, from the state told last to the state now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The state or the preference of a target port group changed.
    Group {
        /// The TARGET PORT GROUP identifier.
        id: u16,
        /// The state told last; `None` for unknown.
        from: Option<AccessState>,
        /// The state now.
        to: Option<AccessState>,
        /// The PREF bit now.
        preferred: bool,
        /// What the state rests on.
        cause: Cause,
    },
    /// The access state of a path changed, with that of its group or by the path's own evidence.
    Path {
        /// The path.
        path: PathId,
        /// The state told last; `None` for unknown.
        from: Option<AccessState>,
        /// The state now.
        to: Option<AccessState>,
        /// The PREF bit of the path's group now.
        preferred: bool,
        /// What the state rests on.
        cause: Cause,
    },
    /// What becomes of ordinary I/O on a path changed: what was held can be sent, or must be judged
    /// anew. Told first when the path is added.
    Gate {
        /// The path.
        path: PathId,
        /// The gate now.
        gate: Gate,
    },
    /// Another logical unit answers on the path. Nothing may be sent down it for this unit; remove
    /// it.
    IdentityChanged {
        /// The path.
        path: PathId,
    },
    /// A refresh ended without a report, and none has been read since.
    RefreshFailed {
        /// Why.
        error: RefreshError,
    },
    /// Groups of the last report found no place in the storage. Groups that paths name always
    /// have one.
    GroupsNotStored {
        /// How many; told when the number changes.
        count: u16,
    },
    /// One of the driver's own commands met the unit attention that the capacity changed (2A/09):
    /// the target will not tell this path's I/O.
    CapacityChanged {
        /// The path.
        path: PathId,
    },
    /// An activation ended. Told exactly once for each identifier.
    Activation {
        /// The activation.
        id: ActivationId,
        /// How it ended.
        result: ActivationResult,
    },
}

impl<G: Slots<super::Group>, P: Slots<Path>> LogicalUnit<G, P> {
    /// The next event, or `None` when all were told. States come before the activations that
    /// they settle.
    pub fn poll_event(&mut self) -> Option<Event> {
        let mut parts = self.parts();
        if parts.state.untold {
            if let Some(event) = parts.next_state_event() {
                return Some(event);
            }
            parts.state.untold = false;
        }
        parts.state.activations.take_finished().map(|(id, result)| Event::Activation { id, result })
    }
}

impl super::Parts<'_> {
    fn next_state_event(&mut self) -> Option<Event> {
        for group in self.groups.iter_mut().filter(|group| group.used) {
            let (before, now) = (group.told, group.telling());
            if before != now {
                group.told = now;
                return Some(Event::Group {
                    id: group.id,
                    from: before.state,
                    to: now.state,
                    preferred: now.preferred,
                    cause: group.cause,
                });
            }
        }
        if let Some(event) = self.next_path_event() {
            return Some(event);
        }
        if core::mem::take(&mut self.state.untold_failure) {
            // A later pass that went well has made the failure old news.
            if let Some((_, PassEnd::Failed(error))) = self.state.refresh.last_end {
                return Some(Event::RefreshFailed { error });
            }
        }
        if let Some(path) = self.state.untold_capacity.take() {
            return Some(Event::CapacityChanged { path });
        }
        let count = self.state.not_stored;
        if core::mem::replace(&mut self.state.not_stored_told, count) == count {
            return None;
        }
        Some(Event::GroupsNotStored { count })
    }

    fn next_path_event(&mut self) -> Option<Event> {
        for index in 0..self.paths.len() {
            let Some((id, path)) = self.path_at(index) else { continue };
            if path.identity == super::IdentityCheck::Changed && !path.marks.has(Mark::IdentityTold)
            {
                if let Some(path) = self.path_mut(id) {
                    path.marks.set(Mark::IdentityTold);
                }
                return Some(Event::IdentityChanged { path: id });
            }
            let before = path.told;
            let (known, preferred) = self.known(path);
            let now = super::slots::Told { state: known.state, preferred };
            if before != now {
                if let Some(path) = self.path_mut(id) {
                    path.told = now;
                }
                return Some(Event::Path {
                    path: id,
                    from: before.state,
                    to: now.state,
                    preferred,
                    cause: known.cause,
                });
            }
            let gate = super::machine::gate_of(self.state, self.groups, path);
            if path.gate_told != Some(gate) {
                if let Some(path) = self.path_mut(id) {
                    path.gate_told = Some(gate);
                }
                return Some(Event::Gate { path: id, gate });
            }
        }
        None
    }
}
