//! A logical unit in memory that C handed in.
//!
//! One block holds the machine, then its groups, then its paths. C asks how large it must be
//! ([`bytes`]), allocates it, and hands a larger one over when it is full. C knows a path by its
//! place in the unit (`alua_core`'s path index) from `path_add` to `path_remove`, and a command by
//! its slot from `poll_command` to `complete`.
//!
//! # Slots
//!
//! The core keeps at most one command of each of three kinds in flight, leaves up to `LEFT_MAX`
//! reports to run that it does not wait for, and forgets a command whose path is removed. The glue
//! cannot: the command runs until its timeout. Such a command keeps its slot until it comes back, and
//! while all slots are taken nothing is sent.

use core::fmt;

use alua_core::access::{AccessState, Tpgs};
use alua_core::identity::{Identity, UnitName};
use alua_core::sense::{self, Recheck};
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::time::Time;
use alua_core::tpgs::{self, AluaOff, Managed};
use alua_core::unit::{
    AddPathError, Command, Config, Event, Group, IdentityCheck, LogicalUnit, NewPath, Path, PathId,
};

use crate::abi::*;
use crate::map;

/// The core's machine over the rest of its block.
pub type Core = LogicalUnit<&'static mut [Group], &'static mut [Path]>;

/// A logical unit as the glue knows it.
pub struct Unit {
    pub(crate) core: Core,
    slots: [Option<Command>; SLOTS],
    /// The last failure that was told since states were, without its path.
    failure: AluaCause,
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").field("core", &self.core).finish_non_exhaustive()
    }
}

/// Where the parts of a block begin, and how long it is; `None` where that does not fit a `usize`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) groups: usize,
    pub(crate) paths: usize,
    pub(crate) bytes: usize,
}

impl Layout {
    pub(crate) fn of(groups: u16, paths: u16) -> Option<Self> {
        let after = |start: usize, places: u16, size: usize, align: usize| {
            usize::from(places)
                .checked_mul(size)?
                .checked_add(start)?
                .checked_next_multiple_of(align)
        };
        let groups_at = after(0, 1, size_of::<Unit>(), align_of::<Group>())?;
        let paths_at = after(groups_at, groups, size_of::<Group>(), align_of::<Path>())?;
        let bytes = after(paths_at, paths, size_of::<Path>(), align_of::<Unit>())?;
        Some(Self { groups: groups_at, paths: paths_at, bytes })
    }
}

/// Bytes of the block for a unit with so many places, aligned to 8; 0 where there is no such block.
#[must_use]
pub fn bytes(groups: u16, paths: u16) -> usize {
    Layout::of(groups, paths).map_or(0, |layout| layout.bytes)
}

// kmalloc aligns to 8 bytes at least.
const _: () = assert!(align_of::<Unit>() <= 8 && align_of::<Group>() <= 8);
const _: () = assert!(align_of::<Path>() <= 8);

/// What page 83h says. A page that is missing says nothing; one that is malformed is an error.
pub(crate) fn read_page(page: &[u8]) -> Result<Option<Identity>, ()> {
    if page.is_empty() {
        return Ok(None);
    }
    let page = DeviceIdentification::new(page).map_err(drop)?;
    Identity::from_page(&page).map(Some).map_err(drop)
}

/// What a device says of itself, in the glue's words.
#[must_use]
pub fn identify(page: &[u8], device_type: u8, tpgs: u8) -> AluaIdentity {
    let read = read_page(page);
    let identity = read.unwrap_or(None);
    let verdict = match tpgs::evaluate_path(device_type, Tpgs::from_bits(tpgs), identity.as_ref()) {
        Ok(_) => ALUA_ID_OK,
        Err(AluaOff::GroupWithoutTpgs { .. }) => ALUA_ID_OFF_WITH_GROUP,
        Err(AluaOff::NoIdentification | AluaOff::NoGroup) if read.is_err() => ALUA_ID_BAD_PAGE,
        Err(AluaOff::NoIdentification | AluaOff::NoGroup) => ALUA_ID_NO_GROUP,
        Err(_) => ALUA_ID_OFF,
    };
    let identity = identity.unwrap_or_default();
    AluaIdentity {
        name_hash: identity.name.as_ref().map_or(0, hash),
        group: identity.group.map_or(-1, i32::from),
        relative_port: identity.relative_port.map_or(-1, i32::from),
        verdict,
        has_name: identity.name.is_some().into(),
        tpgs: tpgs & 3,
        reserved: 0,
    }
}

/// FNV-1a over kind and bytes.
fn hash(name: &UnitName) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let seed = step(0x811c_9dc5, &(name.kind() as u8));
    name.as_bytes().iter().fold(seed, step)
}

/// Time between two looks at a transition.
const TRANSITION_POLL_MS: u32 = 500;
/// The longest pause between two reports that attentions ask for.
const SPACING_MAX_MS: u32 = 500;
/// Time limit of each command, that of the C handler (`ALUA_FAILOVER_TIMEOUT`): some targets answer
/// SET TARGET PORT GROUPS only when the switch is done.
const COMMAND_TIMEOUT_MS: u32 = 60_000;
/// Less than the 30 s of a disk's reads and writes (`SD_TIMEOUT`): a silent path is not found out later
/// because it was asked who it is. The midlayer, which counts the reading as a command under way, holds
/// the path's I/O back behind it.
const IDENTITY_TIMEOUT_MS: u32 = 20_000;

/// How long a report or page 83h is waited for while another path can be asked. A busy controller answers within
/// a second or two; what one tells that does not is not worth the limit above.
const PATIENCE_MS: u32 = 2_000;

/// The longest time that a path holds its requests: then dm may take another path, and a silent one has had
/// [`PATIENCE_MS`] twice. Of the gate and not of a request: dm's request-based multipath gives a new one with
/// each try, which is never old.
const HOLD_MOST_MS: u16 = 5_000;
/// How long a command waits for a free request before one that is held on its path makes room: longer than one
/// that runs takes to end, and no stall.
const ROOM_MS: u16 = 20;

/// The core's choices for a device handler.
fn config(from: &AluaConfig) -> Config {
    let default = Config::default();
    Config {
        transition_at_least_ms: from.transition_at_least_ms,
        // The midlayer repeats what met a transition on the path that met it, once a second. A look twice
        // a second is no burden beside it, and I/O goes on sooner.
        transition_look_ms: TRANSITION_POLL_MS,
        transition_poll_first_ms: TRANSITION_POLL_MS,
        look_inside: true,
        // A target that told of many things while it was set up must not be believed late when it
        // tells of a switch.
        spacing_max_ms: SPACING_MAX_MS,
        reprobe_ms: if from.reprobe_ms == 0 { default.reprobe_ms } else { from.reprobe_ms },
        command_timeout_ms: COMMAND_TIMEOUT_MS,
        identity_timeout_ms: IDENTITY_TIMEOUT_MS,
        patience_ms: Some(PATIENCE_MS),
        idle_probe_ms: (from.idle_probe_ms != 0).then_some(from.idle_probe_ms),
        optimize: from.optimize != 0,
        ..default
    }
}

/// A device's own TPGS. That its page names no group yet does not turn ALUA off.
fn managed(device_type: u8, tpgs: u8) -> Result<Managed, AluaOff> {
    tpgs::evaluate(device_type, Tpgs::from_bits(tpgs))
}

/// Whether some sense is a matter of ours at all. A pure function: `check_sense` asks it before it
/// takes a lock.
#[must_use]
pub fn sense_matters(key: u8, asc: u8, ascq: u8) -> bool {
    let meaning = sense::meaning(&Sense::new(SenseKey::from_bits(key), asc, ascq));
    meaning.state.is_some()
        || meaning.recheck != Recheck::NOTHING
        || map::disposition(&meaning) != map::SCSI_RETURN_NOT_HANDLED
}

impl Unit {
    /// A unit without paths, named as `page` says.
    pub(crate) fn new(
        page: &[u8],
        (device_type, tpgs): (u8, u8),
        settings: &AluaConfig,
        groups: &'static mut [Group],
        paths: &'static mut [Path],
    ) -> Self {
        let name = read_page(page).unwrap_or(None).and_then(|identity| identity.name);
        let managed = managed(device_type, tpgs);
        let core = LogicalUnit::new(name, managed, config(settings), groups, paths);
        Self { core, slots: [None; SLOTS], failure: AluaCause::default() }
    }

    /// Goes over to larger storage. False, and nothing has changed, where it is smaller.
    pub(crate) fn go_over(
        &mut self,
        groups: &'static mut [Group],
        paths: &'static mut [Path],
    ) -> bool {
        self.core.replace_storage(groups, paths).is_ok()
    }

    /// Whether a device with this page belongs here. Never without a name (row A13).
    pub fn is_named_in(&self, page: &[u8]) -> bool {
        let identity = read_page(page).unwrap_or(None);
        let name = identity.as_ref().and_then(|identity| identity.name.as_ref());
        name.is_some() && name == self.core.name()
    }

    /// Adds the path of a device with this page. Gives its place, or one of `ALUA_ADD_*`.
    pub fn add(&mut self, page: &[u8], now: Time) -> Result<u16, i32> {
        let identity = read_page(page).unwrap_or(None).unwrap_or_default();
        let new = NewPath {
            name: identity.name.as_ref(),
            group: identity.group,
            relative_port: identity.relative_port,
        };
        match self.core.add_path(new, now) {
            Ok(path) => Ok(map::number(path)),
            Err(AddPathError::PathsFull(_) | AddPathError::GroupsFull(_)) => Err(ALUA_ADD_GROW),
            Err(_) => Err(ALUA_ADD_OTHER),
        }
    }

    /// The path at that place.
    pub(crate) fn path(&self, place: u16) -> Option<PathId> {
        self.core.path_at(usize::from(place))
    }

    /// Removes the path at that place, if there is one.
    pub fn remove(&mut self, place: u16, now: Time) {
        if let Some(path) = self.path(place) {
            self.core.remove_path(path, now);
        }
    }

    /// A device was looked at again (rows A18, A19, F12, F13, REG-28). `page` is what the SCSI core
    /// read just now. Where it agrees with what is known, the states are read again; where it does
    /// not, or says nothing, the page is read again until it is clear, and what was known stays.
    pub fn rescan(&mut self, place: u16, of: (u8, u8), page: &[u8], now: Time) -> i32 {
        let Some(path) = self.path(place) else { return ALUA_RESCAN_KEEP };
        let known = self.core.path(path).copied().unwrap_or_default();
        let identity = read_page(page).unwrap_or(None).unwrap_or_default();
        let moved = identity.name.is_some() && identity.name.as_ref() != self.core.name();
        if moved || known.identity() == IdentityCheck::Changed {
            return ALUA_RESCAN_MOVE;
        }
        self.core.set_managed(managed(of.0, of.1), now);
        let agrees = identity.name.as_ref() == self.core.name()
            && identity.group.is_some()
            && identity.group == known.group()
            && known.identity() == IdentityCheck::Verified;
        // One that the SCSI core does not ask for its pages, and that never told who it is.
        let mute = page.is_empty() && self.core.name().is_none() && known.group().is_none();
        if !agrees && !mute {
            self.core.reread_identity(path, now);
        }
        self.core.refresh(now);
        ALUA_RESCAN_KEEP
    }

    /// Some command on the path met this sense. Gives an `enum scsi_disposition`.
    pub fn sense(&mut self, place: u16, (key, asc, ascq): (u8, u8, u8), now: Time) -> i32 {
        let sense = Sense::new(SenseKey::from_bits(key), asc, ascq);
        match self.path(place) {
            Some(path) => map::disposition(&self.core.handle_sense(path, &sense, now)),
            None => map::disposition(&sense::meaning(&sense)),
        }
    }

    /// The next command to send, if there is one and a slot for it.
    pub fn poll_command(&mut self, now: Time) -> Option<AluaCommand> {
        let free = (0_u8..).zip(&mut self.slots).find(|(_, slot)| slot.is_none());
        let Some((number, free)) = free else {
            self.core.pass_time(now);
            return None;
        };
        let command = self.core.poll_command(now)?;
        *free = Some(command);
        Some(in_words_of_c(number, &command))
    }

    /// Takes what became of the command in that slot.
    pub fn complete(&mut self, slot: u8, result: i32, sense: &[u8], data: &[u8], now: Time) {
        let slot = self.slots.get_mut(usize::from(slot));
        if let Some(command) = slot.and_then(Option::take) {
            self.core.handle_completion(command.id, &map::outcome(result, sense, data), now);
        }
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<AluaEvent> {
        loop {
            let event = self.core.poll_event()?;
            if let Some(mut event) = event_for_c(&event) {
                event.log = self.is_worth_a_line(&event).into();
                return Some(event);
            }
        }
    }

    /// What a path says against its group is worth a line, else the group's line says it; what is
    /// forgotten with the last path is not. Of failures each that differs from the last: not in the path,
    /// for where several fail alike, each look ends on another.
    fn is_worth_a_line(&mut self, event: &AluaEvent) -> bool {
        match event.kind {
            ALUA_EV_GROUP => {
                self.failure = AluaCause::default();
                self.core.paths().next().is_some()
            }
            ALUA_EV_PATH => event.cause.kind == ALUA_CAUSE_SENSE,
            ALUA_EV_FAILED => {
                let failure = AluaCause { path: ALUA_NO_PATH, ..event.cause };
                core::mem::replace(&mut self.failure, failure) != failure
            }
            _ => true,
        }
    }

    /// Milliseconds until the unit must be polled again; `None` where only an input or a completion
    /// brings something new. Limits of transitions end although every slot is taken.
    pub fn delay(&mut self, now: Time) -> Option<u64> {
        let deadline = if self.slots.iter().all(Option::is_some) {
            self.core.pass_time(now)
        } else {
            self.core.poll_deadline()
        };
        deadline.map(|deadline| deadline.since(now))
    }

    /// Asks for the group of the path to become active/optimized (rows F06 to F08). Where the path
    /// has no group there is nothing to ask, and I/O passes.
    pub fn activate(&mut self, place: u16, now: Time) -> AluaActivation {
        let path = self.path(place).and_then(|path| self.core.path(path));
        let Some(path) = path else { return map::done(map::SCSI_DH_NOTCONN) };
        let Some(group) = path.group() else { return map::done(map::SCSI_DH_OK) };
        match self.core.activate(group, now) {
            Ok(id) => AluaActivation { kind: ALUA_ACT_RUNS, id: id.number(), result: 0 },
            Err(refused) => map::refused(refused),
        }
    }

    /// Sets or clears the `optimize_stpg` rule (rows F10, F11).
    pub fn set_optimize(&mut self, optimize: bool) {
        self.core.set_optimize(optimize);
    }
}

fn in_words_of_c(slot: u8, command: &Command) -> AluaCommand {
    let cdb = command.cdb();
    let mut data_out = [0; DATA_OUT_BYTES];
    let sent = command.write_data_out(&mut data_out).unwrap_or(0);
    AluaCommand {
        slot,
        cdb_len: u8::try_from(cdb.as_bytes().len()).unwrap_or(16),
        room_ms: ROOM_MS,
        path: map::number(command.path),
        data_out_len: u16::try_from(sent).unwrap_or(0),
        data_in_len: command.data_in_len(),
        timeout_ms: command.timeout_ms,
        cdb: *cdb.padded(),
        data_out,
    }
}

/// What met a transition the midlayer sends again once a second, and does not hear of the end.
fn ends_transition(from: Option<AccessState>, to: Option<AccessState>) -> bool {
    let transitioning = Some(AccessState::Transitioning);
    from == transitioning && to != transitioning
}

fn event_for_c(event: &Event) -> Option<AluaEvent> {
    let path_event =
        |kind, path| AluaEvent { kind, path: map::number(path), ..AluaEvent::default() };
    Some(match *event {
        Event::Group { id, from, to, preferred, cause } => AluaEvent {
            kind: ALUA_EV_GROUP,
            from: map::state(from),
            to: map::state(to),
            preferred: preferred.into(),
            group: id,
            cause: map::cause(cause),
            ..AluaEvent::default()
        },
        Event::Path { path, from, to, preferred, cause } => AluaEvent {
            from: map::state(from),
            to: map::state(to),
            preferred: preferred.into(),
            access_state: map::access_state(to, preferred),
            resend: ends_transition(from, to).into(),
            cause: map::cause(cause),
            ..path_event(ALUA_EV_PATH, path)
        },
        Event::Gate { path, gate } => {
            let gate = map::gate(gate);
            let hold_most_ms = if gate == ALUA_GATE_HOLD { HOLD_MOST_MS } else { 0 };
            AluaEvent { gate, hold_most_ms, ..path_event(ALUA_EV_GATE, path) }
        }
        Event::IdentityChanged { path } => path_event(ALUA_EV_IDENTITY, path),
        Event::CapacityChanged { path } => path_event(ALUA_EV_CAPACITY, path),
        Event::RefreshFailed { error } => {
            AluaEvent { kind: ALUA_EV_FAILED, cause: map::failure(error), ..AluaEvent::default() }
        }
        Event::GroupsNotStored { count } => {
            let cause = AluaCause { detail: count.into(), ..AluaCause::default() };
            AluaEvent { kind: ALUA_EV_NOT_STORED, cause, ..AluaEvent::default() }
        }
        Event::Activation { id, result } => AluaEvent {
            kind: ALUA_EV_ACTIVATION,
            activation: id.number(),
            result: map::activation(result),
            ..AluaEvent::default()
        },
        // One that this version does not know.
        _ => return None,
    })
}
