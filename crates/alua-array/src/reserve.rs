//! Persistent reservations of a logical unit: who is registered, who holds what (SPC-4, persistent reservations).

use std::collections::BTreeMap;

/// An I_T nexus as reservations know it: it outlives connections.
pub(crate) type Registrant = (String, u16);

/// The type of a persistent reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    WriteExclusive = 1,
    ExclusiveAccess = 3,
    WriteExclusiveRegistrants = 5,
    ExclusiveAccessRegistrants = 6,
    WriteExclusiveAll = 7,
    ExclusiveAccessAll = 8,
}

impl Kind {
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::WriteExclusive,
            3 => Self::ExclusiveAccess,
            5 => Self::WriteExclusiveRegistrants,
            6 => Self::ExclusiveAccessRegistrants,
            7 => Self::WriteExclusiveAll,
            8 => Self::ExclusiveAccessAll,
            _ => return None,
        })
    }

    /// Whether reading is exclusive too.
    pub(crate) const fn is_exclusive_access(self) -> bool {
        matches!(
            self,
            Self::ExclusiveAccess | Self::ExclusiveAccessRegistrants | Self::ExclusiveAccessAll
        )
    }

    /// Whether every registrant holds it.
    pub(crate) const fn is_held_by_all(self) -> bool {
        matches!(self, Self::WriteExclusiveAll | Self::ExclusiveAccessAll)
    }

    /// Whether every registrant may do what the holder may.
    pub(crate) const fn opens_to_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }
}

/// The registrations and the reservation of one unit.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    pub(crate) generation: u32,
    pub(crate) keys: BTreeMap<Registrant, u64>,
    /// The type, and the holder where it is not every registrant.
    pub(crate) held: Option<(Kind, Option<Registrant>)>,
    /// Whether they outlive a loss of power.
    pub(crate) aptpl: bool,
}

impl Reservations {
    pub(crate) fn key_of(&self, registrant: &Registrant) -> Option<u64> {
        self.keys.get(registrant).copied()
    }

    /// Whether the registrant holds the reservation.
    pub(crate) fn is_holder(&self, registrant: &Registrant) -> bool {
        match &self.held {
            Some((kind, _)) if kind.is_held_by_all() => self.keys.contains_key(registrant),
            Some((_, holder)) => holder.as_ref() == Some(registrant),
            None => false,
        }
    }

    /// Whether a command of the registrant conflicts: `writes` for one that changes the unit.
    pub(crate) fn conflicts(&self, registrant: &Registrant, writes: bool) -> bool {
        let Some((kind, _)) = &self.held else { return false };
        let open = kind.opens_to_registrants() && self.keys.contains_key(registrant);
        !open && !self.is_holder(registrant) && (writes || kind.is_exclusive_access())
    }

    /// Removes a registration, and the reservation with its last holder. True: a reservation that
    /// other registrants relied on is gone.
    pub(crate) fn unregister(&mut self, registrant: &Registrant) -> bool {
        let held = self.is_holder(registrant);
        self.keys.remove(registrant);
        let Some((kind, _)) = self.held else { return false };
        if !held || (kind.is_held_by_all() && !self.keys.is_empty()) {
            return false;
        }
        self.held = None;
        kind.opens_to_registrants() && !kind.is_held_by_all()
    }

    /// The registrants other than `own`.
    pub(crate) fn others(&self, own: &Registrant) -> Vec<Registrant> {
        self.keys.keys().filter(|&other| other != own).cloned().collect()
    }

    /// What a loss of power leaves.
    pub(crate) fn lose_power(&mut self) {
        if !self.aptpl {
            *self = Self::default();
        }
    }
}
