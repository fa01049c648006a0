//! What an administrator decided, and for how long that holds.
//!
//! A path is taken out, or switched to, until that is undone: no change of states, no failure and
//! no time undoes it.
//!
//! # Over the removal of a path
//!
//! A path that is removed and found again, by a rescan or a session that was made anew, has another
//! [`PathId`]. What it is known by then is its [`Port`].
//!
//! - A path that was out when it was removed is remembered. The next one that joins through its
//!   port is out, and put back like any other.
//! - A switch to a path that was removed stays in force, and the next path that joins through its
//!   port takes its place. Until then every other path is deferred, and so used: for something is
//!   better than nothing.
//! - Where several of our ports reach one port of the target, page 83h does not tell their paths
//!   apart. Then as many are out as were taken out, and they are those that join first.
//! - The same goes for a path that joins before the one that it comes for is removed: until then
//!   they are two, and what was decided is about the old one, and then about the next that joins.
//! - A path that does not tell its relative target port cannot be known again: what was decided
//!   about it ends with it.
//! - As many removed paths are remembered as there are places for paths. One more, and the oldest
//!   is forgotten.

use std::collections::VecDeque;

use alua_core::unit;

use crate::action::PathId;
use crate::engine::Engine;
use crate::time::Time;

/// What an administrator switched to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// One path.
    Path(PathId),
    /// The paths of one target port group.
    Group(u16),
}

/// A port of the target, as the page 83h of a path names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port {
    /// Its target port group.
    pub group: Option<u16>,
    /// Its relative target port.
    pub relative: u16,
}

impl Port {
    /// That of a path, where the path tells it.
    pub(crate) fn of(path: &unit::Path) -> Option<Self> {
        Some(Self { group: path.group(), relative: path.relative_port()? })
    }
}

/// What was decided that outlives a path.
#[derive(Debug)]
pub(crate) struct ByHand {
    /// The only path or group that is used while it works.
    switch: Option<Switch>,
    /// The port of the path that was switched to, where that was removed.
    gone: Option<Port>,
    /// The ports of paths that were removed while they were out, oldest first.
    out: VecDeque<Port>,
    out_max: usize,
}

impl ByHand {
    pub(crate) fn new(out_max: usize) -> Self {
        Self { switch: None, gone: None, out: VecDeque::with_capacity(out_max), out_max }
    }

    pub(crate) const fn switched(&self) -> Option<Switch> {
        self.switch
    }

    pub(crate) const fn gone(&self) -> Option<Port> {
        self.gone
    }

    /// Whether a path that joins through a port is out.
    pub(crate) fn is_out(&self, port: Option<Port>) -> bool {
        port.is_some_and(|port| self.out.contains(&port))
    }

    /// A path has joined, and is what was remembered by its port.
    pub(crate) fn joined(&mut self, path: PathId, port: Option<Port>) {
        let Some(port) = port else { return };
        if let Some(at) = self.out.iter().position(|&out| out == port) {
            self.out.remove(at);
        }
        if self.gone == Some(port) {
            self.gone = None;
            self.switch = Some(Switch::Path(path));
        }
    }

    /// A path is removed.
    pub(crate) fn removed(&mut self, path: PathId, port: Option<Port>, out: bool) {
        if self.switch == Some(Switch::Path(path)) {
            self.gone = port;
            self.switch = self.switch.filter(|_| port.is_some());
        }
        if let (true, Some(port)) = (out, port) {
            if self.out.len() == self.out_max {
                self.out.pop_front();
            }
            self.out.push_back(port);
        }
    }
}

impl Engine {
    /// Takes a path out until [`restore_path`](Self::restore_path), whatever its state, and also
    /// when it is removed and joins again. Returns whether there is such a path.
    pub fn fail_path(&mut self, path: PathId, now: Time) -> bool {
        self.set_by_hand(path, true, now)
    }

    /// Undoes [`fail_path`](Self::fail_path), and forgives what the path did before.
    pub fn restore_path(&mut self, path: PathId, now: Time) -> bool {
        self.set_by_hand(path, false, now)
    }

    fn set_by_hand(&mut self, path: PathId, out: bool, now: Time) -> bool {
        let Some(place) = self.place(path) else { return false };
        self.paths[place].by_hand = out;
        if !out {
            self.paths[place].strikes = Default::default();
            self.look_now(place, now);
        }
        self.stale = true;
        self.settle(now);
        true
    }

    /// Uses only this path, or this group's paths, while one of them is live; `None` undoes it, and
    /// nothing else does, also where the path is removed and joins again. Returns whether there is
    /// such a path or group.
    pub fn switch(&mut self, to: Option<Switch>, now: Time) -> bool {
        let known = match to {
            None => true,
            Some(Switch::Path(path)) => self.place(path).is_some(),
            Some(Switch::Group(group)) => self.unit.group(group).is_some(),
        };
        if known {
            self.by_hand.switch = to;
            self.by_hand.gone = None;
            self.stale = true;
            self.settle(now);
        }
        known
    }

    /// Whether a path is what an administrator switched to; every path, where nobody did.
    pub(crate) fn is_chosen_by_hand(&self, place: usize) -> bool {
        match self.by_hand.switch {
            None => true,
            Some(Switch::Path(path)) => self.paths[place].id(place) == path,
            Some(Switch::Group(group)) => {
                let core = self.paths[place].core.and_then(|core| self.unit.path(core));
                core.is_some_and(|path| path.group() == Some(group))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn path(place: u16, generation: u16) -> PathId {
        PathId { place, generation }
    }

    const fn port(relative: u16) -> Option<Port> {
        Some(Port { group: Some(1), relative })
    }

    #[test]
    fn as_many_paths_of_a_port_are_out_as_were_removed_so() {
        let mut known = ByHand::new(4);
        known.removed(path(0, 1), port(1), true);
        known.removed(path(1, 1), port(1), false);
        assert!(known.is_out(port(1)) && !known.is_out(port(2)));
        known.joined(path(1, 2), port(1));
        assert!(!known.is_out(port(1)));
    }

    #[test]
    fn what_does_not_tell_its_port_is_forgotten() {
        let mut known = ByHand::new(4);
        known.switch = Some(Switch::Path(path(0, 1)));
        known.removed(path(0, 1), None, true);
        assert_eq!((known.switched(), known.gone(), known.is_out(None)), (None, None, false));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut known = ByHand::new(2);
        let room = known.out.capacity();
        for relative in 1..100 {
            known.removed(path(0, relative), port(relative), true);
        }
        let known_out = (1..100).filter(|&relative| known.is_out(port(relative)));
        assert_eq!(known_out.collect::<Vec<_>>(), [98, 99]);
        assert_eq!(known.out.capacity(), room);
    }
}
