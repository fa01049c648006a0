//! What debugfs shows of a unit. Reading changes nothing but the cached deadline. All of it is called from
//! process context: as the debugfs file is read, and of a new unit as its device is attached or rescanned.
//!
//! # Safety
//! As in [`crate::entry`].

use alua_core::identity::NameKind;
use alua_core::time::Time;
use alua_core::unit::{Group, IdentityCheck, Transition, Transport};

use crate::abi::*;
use crate::map;
use crate::unit::Unit;

fn millis(span: u64) -> i64 {
    i64::try_from(span).unwrap_or(i64::MAX)
}

impl Unit {
    /// The unit itself.
    pub fn view(&mut self, now: Time) -> AluaUnitView {
        let counters = *self.core.counters();
        AluaUnitView {
            rtpg: counters.rtpg,
            stpg: counters.stpg,
            tur: counters.tur,
            identity_reads: counters.identity_reads,
            coalesced: counters.coalesced,
            old_news: counters.old_news,
            refresh_failures: counters.refresh_failures,
            transition_limit_ms: self.core.transition_limit_ms(),
            report_age_ms: self.core.last_report().map_or(-1, |(_, at)| millis(now.since(at))),
            deadline_ms: self.core.poll_deadline().map_or(-1, |at| millis(at.since(now))),
            failure: self.core.refresh_error().map_or(AluaCause::default(), map::failure),
            tpgs: self.core.managed().map_or(0, |managed| managed.tpgs().bits()),
            busy: self.core.is_busy().into(),
            extended_header: match self.core.extended_header() {
                None => 0,
                Some(true) => 1,
                Some(false) => 2,
            },
            name_kind: match self.core.name().map(|name| name.kind()) {
                None => 0,
                Some(NameKind::T10Vendor) => 1,
                Some(NameKind::Eui64) => 2,
                Some(NameKind::Naa) => 3,
                Some(NameKind::ScsiName) => 4,
                Some(NameKind::Uuid) => 5,
            },
            retries: counters.retries,
        }
    }

    /// The group with that position among those in use.
    pub fn group_view(&self, position: u16, now: Time) -> Option<AluaGroupView> {
        let group = self.core.groups().nth(position.into())?;
        Some(AluaGroupView {
            id: group.id(),
            state: map::state(group.state()),
            preferred: group.preferred().into(),
            supported: group.supported().map_or(0, |states| states.bits()),
            transition: match group.transition() {
                None => 0,
                Some(Transition::Running { .. }) => 1,
                Some(Transition::Expired { .. }) => 2,
            },
            reserved: [0; 2],
            deadline_ms: deadline(group, now),
            cause: map::cause(group.cause()),
        })
    }

    /// The path at that place.
    pub fn path_view(&self, place: u16) -> Option<AluaPathView> {
        let id = self.path(place)?;
        let path = self.core.path(id)?;
        let known = self.core.access(id);
        Some(AluaPathView {
            group: path.group().map_or(-1, i32::from),
            relative_port: path.relative_port().map_or(-1, i32::from),
            state: map::state(known.state),
            gate: map::gate(self.core.gate(id)),
            identity: match path.identity() {
                IdentityCheck::Verified => 0,
                IdentityCheck::InDoubt { .. } => 1,
                IdentityCheck::Unreadable { .. } => 2,
                IdentityCheck::Changed => 3,
            },
            transport: match path.transport() {
                Transport::Untried => 0,
                Transport::Answered { .. } => 1,
                Transport::Failed { .. } => 2,
            },
            cause: map::cause(known.cause),
        })
    }

    /// Copies the name into `to`; gives its length, 0 without a name.
    pub fn copy_name(&self, to: &mut [u8; NAME_BYTES]) -> u8 {
        let Some(name) = self.core.name() else { return 0 };
        for (place, byte) in to.iter_mut().zip(name.as_bytes()) {
            *place = *byte;
        }
        u8::try_from(name.as_bytes().len()).unwrap_or(0)
    }
}

fn deadline(group: &Group, now: Time) -> i64 {
    match group.transition() {
        Some(Transition::Running { deadline, .. }) => millis(deadline.since(now)),
        _ => -1,
    }
}

/// The unit. Unit lock held, or the unit not yet known to others.
///
/// # Safety
/// See [`crate::entry`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_unit_view(unit: *mut Unit, now: u64, view: *mut AluaUnitView) {
    // SAFETY: the caller's promises.
    unsafe { view.write((*unit).view(Time::from_millis(now))) }
}

/// The name of the unit, into 255 bytes; gives its length. Unit lock held, or the unit not yet known
/// to others.
///
/// # Safety
/// See [`crate::entry`]; the 255 bytes are initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_unit_name(unit: *const Unit, name: *mut [u8; NAME_BYTES]) -> u8 {
    // SAFETY: the caller's promises.
    unsafe { (*unit).copy_name(&mut *name) }
}

/// The group at a position; false behind the last. Unit lock held.
///
/// # Safety
/// See [`crate::entry`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_group_view(
    unit: *const Unit,
    position: u16,
    now: u64,
    view: *mut AluaGroupView,
) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let Some(group) = (*unit).group_view(position, Time::from_millis(now)) else {
            return false;
        };
        view.write(group);
    }
    true
}

/// The path at a place; false where there is none. Unit lock held.
///
/// # Safety
/// See [`crate::entry`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alua_rs_path_view(
    unit: *const Unit,
    place: u16,
    view: *mut AluaPathView,
) -> bool {
    // SAFETY: the caller's promises.
    unsafe {
        let Some(path) = (*unit).path_view(place) else { return false };
        view.write(path);
    }
    true
}
