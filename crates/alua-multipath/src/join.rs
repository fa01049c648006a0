//! Paths that join the engine and leave it.

use std::fmt;

use alua_core::unit;

use crate::action::PathId;
use crate::by_hand::Port;
use crate::engine::Engine;
use crate::path::{Path, PathTraits};
use crate::time::Time;

/// The size of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes in one.
    pub block_size: u32,
}

/// A path that joins. Everything in it must have been read from the path just now.
#[derive(Clone, Copy, Debug)]
pub struct NewPath<'a> {
    /// Who answers on it, and through which port: from page 83h.
    pub identity: unit::NewPath<'a>,
    /// The size that it tells: from READ CAPACITY.
    pub geometry: Geometry,
    /// What its transport can do.
    pub traits: PathTraits,
}

/// Why a path was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddPathError {
    /// The driver core refuses it.
    Core(unit::AddPathError),
    /// It tells another size than the unit has.
    OtherSize {
        /// The size that it tells.
        path: Geometry,
        /// The size that the unit has.
        unit: Geometry,
    },
    /// As many paths as there is room for are there, or were and have commands out.
    Full(u16),
}

impl fmt::Display for AddPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(error) => error.fmt(f),
            Self::OtherSize { path, unit } => write!(
                f,
                "the path tells {} blocks of {} bytes, the logical unit has {} of {}",
                path.blocks, path.block_size, unit.blocks, unit.block_size
            ),
            Self::Full(places) => write!(f, "all {places} places for paths are taken"),
        }
    }
}

impl std::error::Error for AddPathError {}

impl Engine {
    /// Adds a path. It is used as soon as its access state is known.
    ///
    /// # Errors
    ///
    /// See [`AddPathError`]. Nothing was changed then.
    pub fn add_path(&mut self, new: NewPath<'_>, now: Time) -> Result<PathId, AddPathError> {
        if new.geometry != self.geometry {
            return Err(AddPathError::OtherSize { path: new.geometry, unit: self.geometry });
        }
        let place = self.paths.iter().position(Path::is_free);
        let place = place.ok_or(AddPathError::Full(self.config.limits.paths))?;
        let core = self.unit.add_path(new.identity, now.core()).map_err(AddPathError::Core)?;
        let generation = self.paths[place].generation.wrapping_add(1);
        let port = self.unit.path(core).and_then(Port::of);
        self.paths[place] = Path {
            core: Some(core),
            traits: new.traits,
            blocks: new.geometry.blocks,
            by_hand: self.by_hand.is_out(port),
            ..Path::free(generation)
        };
        self.by_hand.joined(self.paths[place].id(place), port);
        self.resets += 1;
        self.verified(place, now);
        self.of_core[core.index()] = Some(place as u16);
        self.core_dirty = true;
        self.stale = true;
        self.settle(now);
        Ok(self.paths[place].id(place))
    }

    /// Removes a path. What was sent down it is still to be handed back. `nexus_ended`: the target
    /// has confirmed that the path's nexus is over, so that nothing of it can reach the medium.
    /// Returns whether there was such a path.
    pub fn remove_path(&mut self, path: PathId, nexus_ended: bool, now: Time) -> bool {
        let Some(place) = self.place(path) else { return false };
        let Some(core) = self.paths[place].core.take() else { return false };
        let port = self.unit.path(core).and_then(Port::of);
        self.by_hand.removed(path, port, self.paths[place].by_hand);
        self.unit.remove_path(core, now.core());
        self.of_core[core.index()] = None;
        self.core_dirty = true;
        self.give_up_flight(place, now);
        if nexus_ended {
            self.end_doubts(place, now, "the nexus was ended", now);
        }
        self.stale = true;
        self.settle(now);
        true
    }
}
