//! The shell that drives one logical unit of `alua-core` over transports.
//!
//! # Contract
//!
//! - It decides nothing. It sends what [`LogicalUnit`] wants sent, on the path that it names, hands
//!   back what came of it, and sleeps until it wants to be asked again.
//! - One command at a time; the caller's thread does the work. Inputs of other kinds (a uevent, an
//!   activation, a path that came or went) are given between calls, through [`Driver::unit_mut`] and
//!   the methods here.
//! - Every command is recorded with its bytes, its times and its outcome ([`Driver::take_records`]),
//!   and every event of the unit kept with its time ([`Driver::take_events`]). Both are bounded: the
//!   oldest go first, and how many went is told.
//! - A call returns in bounded time: the given limit, and the time of the command that is out then.

use std::collections::VecDeque;
use std::fmt;

use alua_core::identity::{Identity, UnitName};
use alua_core::spc::Status;
use alua_core::spc::sense::Sense;
use alua_core::spc::target_port_groups::Report;
use alua_core::time::Time;
use alua_core::tpgs::{AluaOff, Managed};
use alua_core::unit::{
    AddPathError, Command, CommandKind, Config, Event, Group, LogicalUnit, NewPath, Outcome, Path,
    PathId,
};

use crate::transport::{Data, NotSubmitted, Reply, Request, Transport, TransportError};

mod clock;
mod connect;
mod record;

pub use clock::{Clock, MonotonicClock};
pub use connect::{Connected, connect};
pub use record::{Record, outcome_of};

/// Records and events kept when nobody takes them.
const KEPT: usize = 4_096;

/// Groups and paths for which there is room at the start. It grows.
const FIRST_PLACES: usize = 8;

/// More groups or paths than a unit can name by their 16-bit identifiers.
const MOST_PLACES: usize = 1 << 16;

/// The logical unit that a driver holds: it grows with its paths.
pub type OwnedUnit = LogicalUnit<Box<[Group]>, Box<[Path]>>;

/// Drives one logical unit. `T` is what its paths are made of, for instance
/// `Box<dyn Transport + Send>`.
pub struct Driver<T, C> {
    unit: OwnedUnit,
    group_places: usize,
    path_places: usize,
    /// By [`PathId::index`].
    paths: Vec<Option<Line<T>>>,
    clock: C,
    records: Kept<Record>,
    events: Kept<(Time, Event)>,
}

impl<T, C> fmt::Debug for Driver<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<&str> = self.paths.iter().flatten().map(|line| &*line.label).collect();
        f.debug_struct("Driver").field("unit", &self.unit).field("paths", &labels).finish()
    }
}

/// A path's transport.
struct Line<T> {
    id: PathId,
    label: String,
    transport: T,
}

/// How long [`Driver::run`] may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Milliseconds in all. A command that is out at the end is waited for.
    pub total_ms: u32,
    /// A pause longer than this many milliseconds is not slept through: the call returns. So a
    /// listing need not wait for a slow re-probe.
    pub pause_ms: u32,
}

/// Why [`Driver::run`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ended {
    /// Nothing will happen without a new input.
    Idle,
    /// The condition that was waited for holds.
    Reached,
    /// The next thing to do is due at that time, after a pause longer than was allowed.
    Pausing(Time),
    /// The time was over.
    OutOfTime,
}

impl<T: Transport, C: Clock> Driver<T, C> {
    /// A driver of a logical unit without paths. `managed` and `name` are those of
    /// [`LogicalUnit::new`].
    pub fn new(
        name: Option<UnitName>,
        managed: Result<Managed, AluaOff>,
        config: Config,
        clock: C,
    ) -> Self {
        let (groups, paths) = (places(FIRST_PLACES), places(FIRST_PLACES));
        Self {
            unit: LogicalUnit::new(name, managed, config, groups, paths),
            group_places: FIRST_PLACES,
            path_places: FIRST_PLACES,
            paths: Vec::new(),
            clock,
            records: Kept::new(),
            events: Kept::new(),
        }
    }

    /// The logical unit.
    pub fn unit(&self) -> &OwnedUnit {
        &self.unit
    }

    /// The logical unit and the time now, for inputs: `refresh`, `activate`, `reread_identity`, ...
    /// Commands that these bring about are sent by [`step`](Self::step) and [`run`](Self::run).
    pub fn unit_mut(&mut self) -> (&mut OwnedUnit, Time) {
        (&mut self.unit, self.clock.now())
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// Adds a path. `label` is how records call it: `sda`.
    ///
    /// # Errors
    ///
    /// [`AddPathError`]: it leads to another unit, or the unit holds as many as it can name.
    pub fn add_path(
        &mut self,
        label: impl Into<String>,
        identity: &Identity,
        transport: T,
    ) -> Result<PathId, AddPathError> {
        let new = NewPath {
            name: identity.name.as_ref(),
            group: identity.group,
            relative_port: identity.relative_port,
        };
        let now = self.clock.now();
        let id = loop {
            match self.unit.add_path(new, now) {
                Ok(id) => break id,
                Err(error @ (AddPathError::PathsFull(_) | AddPathError::GroupsFull(_))) => {
                    if !self.grow(error) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        };
        if self.paths.len() <= id.index() {
            self.paths.resize_with(id.index() + 1, || None);
        }
        self.paths[id.index()] = Some(Line { id, label: label.into(), transport });
        Ok(id)
    }

    /// Removes a path and gives its transport back; `None` when there is no such path.
    pub fn remove_path(&mut self, id: PathId) -> Option<T> {
        self.unit.remove_path(id, self.clock.now());
        let place = self.paths.get_mut(id.index())?;
        if place.as_ref().is_some_and(|line| line.id == id) {
            return place.take().map(|line| line.transport);
        }
        None
    }

    /// The label of a path.
    pub fn label(&self, id: PathId) -> Option<&str> {
        let line = self.paths.get(id.index())?.as_ref()?;
        (line.id == id).then_some(line.label.as_str())
    }

    /// Sends the next command that the unit wants sent now, waits for its end and hands it back;
    /// false when there is none.
    pub fn step(&mut self) -> bool {
        let Some(command) = self.unit.poll_command(self.clock.now()) else {
            self.collect_events();
            return false;
        };
        let record = self.carry_out(command);
        self.make_room_for(&record);
        self.unit.handle_completion(command.id, &record.outcome(), record.ended);
        tracing::debug!(%record, "command of the driver");
        self.records.push(record);
        self.collect_events();
        true
    }

    /// When [`step`](Self::step) should be called again; `None` when only an input brings
    /// something new.
    pub fn deadline(&mut self) -> Option<Time> {
        self.unit.poll_deadline()
    }

    /// Works until nothing is to be done, or a limit is reached.
    pub fn run(&mut self, limits: Limits) -> Ended {
        self.run_until(limits, |_| false)
    }

    /// As [`run`](Self::run), and returns as soon as `done` says so. It is asked before the first
    /// command and after every one.
    pub fn run_until(&mut self, limits: Limits, mut done: impl FnMut(&Self) -> bool) -> Ended {
        let end = self.clock.now().after(limits.total_ms);
        loop {
            if done(self) {
                return Ended::Reached;
            }
            if self.step() {
                if self.clock.now() >= end {
                    return Ended::OutOfTime;
                }
                continue;
            }
            // The events that the last poll brought may be what is waited for.
            if done(self) {
                return Ended::Reached;
            }
            let Some(due) = self.deadline() else { return Ended::Idle };
            let now = self.clock.now();
            if now >= end {
                return Ended::OutOfTime;
            }
            if due.since(now) > u64::from(limits.pause_ms) {
                return Ended::Pausing(due);
            }
            // A deadline that has come, and still no command: a millisecond on, not a busy loop.
            let due = due.max(now.after(1));
            self.clock.sleep_until(due.min(end));
        }
    }

    /// Sends a command of the caller's own down a path, and lets the unit know what its answer says
    /// of the path. `needs_live`: the command succeeds only where ordinary I/O may pass (TEST UNIT
    /// READY, medium access), so its success tells something too.
    ///
    /// # Errors
    ///
    /// Those of the transport, and [`NotSubmitted::NoDevice`] for a path that is not there.
    pub fn execute(
        &mut self,
        path: PathId,
        request: Request<'_>,
        needs_live: bool,
    ) -> Result<Reply, TransportError> {
        let line = self.paths.get_mut(path.index()).and_then(Option::as_mut);
        let Some(line) = line.filter(|line| line.id == path) else { return Err(NO_PATH) };
        let result = line.transport.execute(request);
        let now = self.clock.now();
        match &result {
            Ok(reply) if reply.status == Status::Good => {
                if needs_live {
                    self.unit.handle_success(path, now);
                }
            }
            Ok(reply) => {
                if let Ok(sense) = Sense::parse(reply.sense.as_bytes()) {
                    self.unit.handle_sense(path, &sense, now);
                }
            }
            Err(TransportError::NotSubmitted { .. }) => {}
            Err(_) => self.unit.handle_transport_failure(path, now),
        }
        self.collect_events();
        result
    }

    /// Commands sent since the last call, oldest first, and how many older ones were dropped.
    pub fn take_records(&mut self) -> (Vec<Record>, u64) {
        self.records.take()
    }

    /// The commands that [`take_records`](Self::take_records) would give.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.items.iter()
    }

    /// Events of the unit since the last call, oldest first, and how many older ones were dropped.
    pub fn take_events(&mut self) -> (Vec<(Time, Event)>, u64) {
        self.events.take()
    }

    /// The events that [`take_events`](Self::take_events) would give.
    pub fn events(&self) -> impl Iterator<Item = &(Time, Event)> {
        self.events.items.iter()
    }

    fn carry_out(&mut self, command: Command) -> Record {
        let cdb = command.cdb();
        let mut data_out = vec![0; length(command.data_out_len())];
        let mut data_in = vec![0; length(command.data_in_len())];
        let written = command.write_data_out(&mut data_out);
        let sent = self.clock.now();
        let line = self.paths.get_mut(command.path.index()).and_then(Option::as_mut);
        let line = line.filter(|line| line.id == command.path);
        let label = line.as_ref().map(|line| line.label.clone()).unwrap_or_default();
        let result = match (line, written) {
            (None, _) => Err(NO_PATH),
            (_, Err(_)) => Err(NOT_ENCODED),
            (Some(line), Ok(_)) => {
                let data = if !data_in.is_empty() {
                    Data::In(&mut data_in)
                } else if !data_out.is_empty() {
                    Data::Out(&data_out)
                } else {
                    Data::None
                };
                let timeout_ms = command.timeout_ms;
                line.transport.execute(Request { cdb: cdb.as_bytes(), data, timeout_ms })
            }
        };
        let received = match &result {
            Ok(reply) if !data_in.is_empty() => reply.transferred,
            _ => 0,
        };
        data_in.truncate(received);
        Record {
            path: command.path,
            label,
            kind: command.kind,
            cdb,
            data_out,
            sent,
            ended: self.clock.now(),
            result,
            data_in,
        }
    }

    fn collect_events(&mut self) {
        while let Some(event) = self.unit.poll_event() {
            self.events.push((self.clock.now(), event));
        }
    }

    /// Makes room for the groups of a report before the unit sees it: memory is the shell's matter.
    fn make_room_for(&mut self, record: &Record) {
        let Outcome::Answered { status: Status::Good, data, .. } = record.outcome() else { return };
        if !matches!(record.kind, CommandKind::ReportTargetPortGroups { .. }) {
            return;
        }
        let Ok(report) = Report::parse(data) else { return };
        let known = |id| self.unit.group(id).is_some();
        let new = report.groups().filter(|group| !known(group.id)).count();
        let wanted = self.unit.groups().count() + new;
        if wanted > self.group_places {
            self.make_room(wanted, self.path_places);
        }
    }

    /// Doubles the room that ran out; false when that cannot be.
    fn grow(&mut self, error: AddPathError) -> bool {
        match error {
            AddPathError::PathsFull(_) => self.make_room(self.group_places, self.path_places * 2),
            AddPathError::GroupsFull(_) => self.make_room(self.group_places * 2, self.path_places),
            _ => false,
        }
    }

    fn make_room(&mut self, groups: usize, paths: usize) -> bool {
        let (groups, paths) = (groups.min(MOST_PLACES), paths.min(MOST_PLACES));
        if (groups, paths) == (self.group_places, self.path_places) {
            return false;
        }
        let Ok(unit) = self.unit.clone().with_storage(places(groups), places(paths)) else {
            return false;
        };
        self.unit = unit;
        (self.group_places, self.path_places) = (groups, paths);
        true
    }
}

/// Free places.
fn places<P: Default + Clone>(count: usize) -> Box<[P]> {
    vec![P::default(); count].into_boxed_slice()
}

/// A length of the core as one of memory.
fn length(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// For a command on a path that was taken away.
const NO_PATH: TransportError =
    TransportError::NotSubmitted { cause: NotSubmitted::NoDevice, errno: 0 };

/// For data that the core could not write into the buffer of the length that it named.
const NOT_ENCODED: TransportError = TransportError::NotSubmitted {
    cause: NotSubmitted::BadRequest("its parameter data does not fit"),
    errno: 0,
};

/// The newest of something, and how many older ones were dropped.
#[derive(Clone, Debug)]
struct Kept<I> {
    items: VecDeque<I>,
    dropped: u64,
}

impl<I> Kept<I> {
    fn new() -> Self {
        Self { items: VecDeque::new(), dropped: 0 }
    }

    fn push(&mut self, item: I) {
        if self.items.len() >= KEPT {
            self.items.pop_front();
            self.dropped += 1;
        }
        self.items.push_back(item);
    }

    fn take(&mut self) -> (Vec<I>, u64) {
        (std::mem::take(&mut self.items).into(), std::mem::take(&mut self.dropped))
    }
}
