//! A host: the engine, and the shell that carries its actions to the model array.
//!
//! The shell keeps the contract of `alua_multipath` to the letter. The checkers that need to see each
//! action sit in `carry`.

mod carry;
mod hold;
mod reports;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alua_array::{Array, FunctionResult, NexusId, Outcome, TransportError};
use alua_core::failover::{IoOutcome, Summary};
use alua_core::identity::Identity;
use alua_core::spc::Status;
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::sense::SenseKey;
use alua_core::tpgs;
use alua_core::unit;
use alua_multipath::{
    ControlId, Engine, FenceAnswer, FenceId, Geometry, IoId, NewPath, PathId, PathTraits, Request,
    RequestError, RequestId, Time,
};

use crate::options::{BLOCK, LUN, Options, Shell};
use crate::random::Random;
use crate::trace::Trace;
use carry::{is_done, room};
use hold::Held;
pub(crate) use hold::LIMIT_MS;
use reports::Reports;

/// Tags of control commands have this bit, those of I/O commands do not.
const CONTROL: u64 = 1 << 63;
/// The tag of a command that the host sends again by itself is that of the first copy with this bit.
const COPY: u64 = 1 << 62;

/// A path of the shell.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) id: PathId,
    pub(crate) port: u16,
    pub(crate) nexus: NexusId,
}

/// An I/O command that is out.
#[derive(Debug)]
struct Out {
    io: IoId,
    path: PathId,
    /// `None`: its path was gone before it was sent.
    nexus: Option<NexusId>,
    request: RequestId,
    part: Request,
    /// It is kept to be sent again, or was.
    repeated: bool,
}

/// A command that changes blocks and may yet reach the medium, as far as the shell can know.
#[derive(Debug)]
struct Alive {
    number: u64,
    path: PathId,
    nexus: NexusId,
    part: Request,
    sent: Time,
}

/// A control command that is out.
#[derive(Debug)]
struct ControlOut {
    id: ControlId,
    path: PathId,
    nexus: NexusId,
    capacity: usize,
    /// A report that the driver core waits for.
    report: bool,
    /// A report.
    counted: bool,
}

/// What a client waits for.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Its number, over the whole run.
    pub(crate) number: u64,
    pub(crate) request: Request,
    pub(crate) submitted: Time,
    pub(crate) reach: u64,
    sends: u32,
    /// The command that it waits for.
    current: Option<IoId>,
    /// The target has refused it, for every path.
    refused: bool,
    /// What the parts of a read have brought.
    parts: Vec<u8>,
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) client: Client,
    pub(crate) result: Result<(), RequestError>,
    /// The data of a read.
    pub(crate) data: Vec<u8>,
}

/// Something that the shell does later.
#[derive(Clone, Copy, Debug)]
enum Later {
    ControlTimeout(u64),
    /// A command of the driver that was given up is aborted once more.
    AbortControl(NexusId, u64),
    FenceAnswer(FenceId, FenceAnswer),
    /// A held I/O command goes out.
    Depart(u64),
    /// A host that repeats gives up an I/O command.
    Limit(IoId),
    /// An I/O command comes back without having been sent.
    NotSent(IoId),
    /// An I/O command comes back, ended by a fence.
    Over(IoId),
    /// An I/O command comes back, lost with its path.
    Gone(IoId),
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) engine: Engine,
    pub(crate) paths: Vec<Path>,
    means: (bool, bool, bool),
    shell: Shell,
    /// For how long it holds a command at the most, in microseconds; `None`: it never does.
    hold_us: Option<u64>,
    /// For how long it keeps what its transport has lost, at the most, in microseconds; `None`: it
    /// gives it back at once.
    repeat_us: Option<u64>,
    /// By their tags.
    held: BTreeMap<u64, Held>,
    /// For how long it holds which.
    random: Random,
    outs: Vec<Option<Out>>,
    /// The data of commands that came back well, until the actions are taken.
    data: Vec<Vec<u8>>,
    controls: BTreeMap<u64, ControlOut>,
    next_tag: u64,
    later: BTreeMap<(Time, u64), Later>,
    sequence: u64,
    clients: Vec<Option<Client>>,
    /// By the command's tag.
    alive: BTreeMap<u64, Alive>,
    /// The client's number of each changing command ever sent, by its tag.
    numbers: BTreeMap<u64, u64>,
    /// Requests that are complete.
    complete: BTreeSet<u64>,
    /// Every nexus that it ever made.
    nexuses: BTreeSet<NexusId>,
    next_number: u64,
    pub(crate) ended: VecDeque<Ended>,
    /// Paths on which another unit answers.
    pub(crate) strangers: Vec<PathId>,
    reports: Reports,
    /// SET TARGET PORT GROUPS by their tags, and when they were sent, but those of which it is known
    /// that they had no effect.
    stpgs: BTreeMap<u64, Time>,
    /// More of them came in a minute than may.
    stpg_storm: Option<usize>,
    /// I/O commands that were sent.
    choices: u64,
    /// Of those, under service-time, down a worse path that was not faster.
    trials: u64,
}

impl Host {
    pub(crate) fn new(place: usize, options: &Options, array: &Array) -> Self {
        let config = options.engines[place].clone();
        let settings = array.config();
        let unit = &settings.units[0];
        let managed = tpgs::evaluate(0, settings.alua.tpgs);
        let geometry = Geometry { blocks: unit.blocks, block_size: BLOCK };
        let name = format!("h{place}");
        let requests = config.limits.requests as usize;
        let engine = Engine::new(config, None, managed, geometry);
        let commands = engine.commands_max();
        Self {
            name,
            engine,
            paths: Vec::new(),
            means: options.means,
            shell: options.shell,
            hold_us: options.hold_us,
            repeat_us: options.repeat_us,
            held: BTreeMap::new(),
            random: Random::new(options.seed, 10 + place as u64),
            outs: (0..commands).map(|_| None).collect(),
            data: vec![Vec::new(); commands],
            controls: BTreeMap::new(),
            next_tag: CONTROL,
            later: BTreeMap::new(),
            sequence: 0,
            clients: vec![None; requests],
            alive: BTreeMap::new(),
            numbers: BTreeMap::new(),
            complete: BTreeSet::new(),
            nexuses: BTreeSet::new(),
            next_number: (place as u64 + 1) << 40,
            ended: VecDeque::new(),
            strangers: Vec::new(),
            reports: Reports::default(),
            stpgs: BTreeMap::new(),
            choices: 0,
            trials: 0,
            stpg_storm: None,
        }
    }

    /// Makes a nexus through a port and adds the path.
    pub(crate) fn add_path(&mut self, array: &mut Array, port: u16, now: Time, trace: &mut Trace) {
        let Ok(nexus) = array.connect(&self.name, port) else { return };
        self.nexuses.insert(nexus);
        let page = inquiry(array, nexus, 0x83);
        let identity = DeviceIdentification::new(&page).ok();
        let identity = identity.and_then(|page| Identity::from_page(&page).ok());
        let Some(identity) = identity else { return };
        if self.engine.unit().name().is_none() && self.paths.is_empty() {
            let managed = self.engine.unit().managed();
            let (config, geometry) = (self.engine.config().clone(), self.engine.geometry());
            self.engine = Engine::new(config, identity.name, managed, geometry);
        }
        let (abort_task, end_nexus, reset_unit) = self.means;
        let new = NewPath {
            identity: unit::NewPath {
                name: identity.name.as_ref(),
                group: identity.group,
                relative_port: identity.relative_port,
            },
            geometry: self.engine.geometry(),
            traits: PathTraits {
                abort_task,
                end_nexus,
                reset_unit,
                host_repeats: self.repeat_us.is_some() && self.shell != Shell::Secretive,
                distance: port as u8 % 3,
            },
        };
        match self.engine.add_path(new, now) {
            Ok(id) => {
                self.reports.reason();
                trace.note(now, &self.name, "path", format_args!("{id} port {port} {nexus} added"));
                self.paths.push(Path { id, port, nexus });
            }
            Err(error) => {
                trace.note(now, &self.name, "path", format_args!("port {port} refused: {error}"));
                array.disconnect(nexus);
            }
        }
    }

    /// Removes a path; the target confirms the end of the nexus where its port is up.
    pub(crate) fn remove_path(
        &mut self,
        array: &mut Array,
        at: usize,
        now: Time,
        trace: &mut Trace,
    ) {
        let path = self.paths.remove(at);
        let confirmed = array.is_up(path.port);
        trace.note(now, &self.name, "path", format_args!("{} removed", path.id));
        if confirmed {
            array.disconnect(path.nexus);
            self.end_nexus(path.nexus);
        }
        self.reports.reason();
        self.engine.remove_path(path.id, confirmed, now);
        for at in 0..self.outs.len() {
            if let Some(out) = &self.outs[at]
                && out.path == path.id
            {
                let io = out.io;
                self.do_later(now, Later::Gone(io));
            }
        }
    }

    /// What was sent through a nexus is over.
    fn end_nexus(&mut self, nexus: NexusId) {
        self.alive.retain(|_, alive| alive.nexus != nexus);
    }

    fn do_later(&mut self, at: Time, what: Later) {
        self.sequence += 1;
        self.later.insert((at, self.sequence), what);
    }

    pub(crate) fn submit(
        &mut self,
        request: Request,
        reach: u64,
        now: Time,
        trace: &mut Trace,
    ) -> Option<u64> {
        let id = self.engine.submit(request, now).ok()?;
        self.next_number += 1;
        let number = self.next_number;
        let Request { operation, lba, blocks } = request;
        trace.note(
            now,
            &self.name,
            "submit",
            format_args!("#{number:x} {operation} {lba}+{blocks}"),
        );
        let client = Client {
            number,
            request,
            submitted: now,
            reach,
            sends: 0,
            current: None,
            refused: false,
            parts: Vec::new(),
        };
        self.clients[id.index()] = Some(client);
        Some(number)
    }

    /// When the host has something to do by itself.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let later = self.later.first_key_value().map(|(&(at, _), _)| at);
        [later, self.engine.poll_deadline()].into_iter().flatten().min()
    }

    /// Lets one thing happen that is due; false where nothing is.
    pub(crate) fn pass_one(&mut self, array: &mut Array, now: Time, trace: &mut Trace) -> bool {
        let due = self.later.first_key_value().map(|(&key, _)| key).filter(|&(at, _)| at <= now);
        let Some(what) = due.and_then(|key| self.later.remove(&key)) else { return false };
        self.happen(array, what, now, trace);
        true
    }

    /// Lets the engine see the time.
    pub(crate) fn pass_time(&mut self, now: Time) {
        if self.engine.poll_deadline().is_some_and(|at| at <= now) {
            self.engine.handle_time(now);
            let next = self.engine.poll_deadline();
            assert!(next.is_none_or(|at| at > now), "{next:?} is not after {now:?}");
        }
        if self.sequence.is_multiple_of(64) {
            self.engine.check();
        }
    }

    fn happen(&mut self, array: &mut Array, what: Later, now: Time, trace: &mut Trace) {
        match what {
            Later::ControlTimeout(tag) => {
                let Some(control) = self.controls.remove(&tag) else { return };
                self.abort_control(array, control.nexus, tag, now);
                trace.note(now, &self.name, "ctl-back", format_args!("{:?} timed out", control.id));
                self.stpg_ended(tag, true);
                self.reports.answered(&self.engine, control.path, false);
                self.engine.handle_control(control.id, &unit::Outcome::TimedOut, now);
            }
            Later::AbortControl(nexus, tag) => self.abort_control(array, nexus, tag, now),
            Later::FenceAnswer(id, answer) => {
                trace.note(now, &self.name, "fenced", format_args!("{id:?} {answer:?}"));
                self.engine.handle_fence(id, answer, now);
            }
            Later::Depart(tag) => self.depart(array, tag, now, trace),
            Later::Limit(io) => self.give_up(array, io, now, trace),
            Later::NotSent(io) => self.come_back(io, &IoOutcome::NotSubmitted, now, trace),
            Later::Over(io) => {
                self.come_back(io, &IoOutcome::Summed(Summary::Ended), now, trace);
            }
            Later::Gone(io) => self.come_back(io, &IoOutcome::TransportFailed, now, trace),
        }
    }

    /// Aborts a command of the driver. A transport does not leave one at the target for ever, where
    /// it takes up room.
    fn abort_control(&mut self, array: &mut Array, nexus: NexusId, tag: u64, now: Time) {
        let result = array.abort(nexus, tag);
        let there = !matches!(result, FunctionResult::Transport(_));
        if there && !is_done(result) {
            self.do_later(now.after(200), Later::AbortControl(nexus, tag));
        }
    }

    /// Hands an I/O command back, unless that was done.
    fn come_back(&mut self, io: IoId, outcome: &IoOutcome<'_>, now: Time, trace: &mut Trace) {
        let place = &mut self.outs[io.index()];
        if place.as_ref().is_none_or(|out| out.io != io) {
            return;
        }
        let out = place.take();
        self.forget_copy(io);
        let path = out.as_ref().map(|out| out.path);
        if let Some(out) = out
            && is_refusal(outcome)
            && let Some(client) = &mut self.clients[out.request.index()]
            && client.current == Some(io)
            && out.part.operation.changes()
        {
            client.refused = true;
        }
        if !matches!(outcome, IoOutcome::TransportFailed | IoOutcome::TimedOut) {
            self.alive.remove(&io.to_bits());
            self.alive.remove(&(io.to_bits() | COPY));
        }
        let tag = io.to_bits();
        trace.note(now, &self.name, "back", format_args!("{tag:x} {}", Short(outcome)));
        if let Some(path) = path {
            self.reports.answered(&self.engine, path, is_success(outcome));
        }
        self.engine.handle_io(io, outcome, now);
    }

    /// A completion of the array.
    pub(crate) fn completed(
        &mut self,
        nexus: NexusId,
        tag: u64,
        outcome: Outcome,
        now: Time,
        trace: &mut Trace,
    ) {
        if tag & CONTROL != 0 {
            self.control_completed(tag, &outcome, now, trace);
            return;
        }
        let io = IoId::from_bits(tag & !COPY);
        let Some(out) = self.outs[io.index()].as_ref().filter(|out| out.io == io) else {
            return;
        };
        debug_assert_eq!(out.nexus, Some(nexus));
        let repeated = out.repeated;
        let expected = room(&out.part);
        match outcome {
            Outcome::Transport(TransportError::NoConnect) if !repeated => {
                self.come_back(io, &IoOutcome::NotSubmitted, now, trace);
            }
            Outcome::Transport(_) if !repeated && self.keep(io, now, trace) => {}
            Outcome::Transport(_) => {
                self.come_back(io, &IoOutcome::TransportFailed, now, trace);
            }
            Outcome::Answered { status, sense, data_in, .. } => {
                let whole = data_in.len() == expected;
                let sense = sense.as_ref().map_or(&[][..], |sense| sense.as_bytes());
                self.data[io.index()] = data_in;
                self.come_back(io, &IoOutcome::Answered { status, sense, whole }, now, trace);
            }
        }
    }

    fn control_completed(&mut self, tag: u64, outcome: &Outcome, now: Time, trace: &mut Trace) {
        let Some(control) = self.controls.remove(&tag) else { return };
        trace.note(now, &self.name, "ctl-back", format_args!("{:?} {outcome}", control.id));
        if control.counted && is_attention(outcome) {
            self.reports.met_attention();
        }
        self.stpg_ended(tag, may_have_effect(outcome));
        if !control.counted {
            self.reports.answered(&self.engine, control.path, outcome.is_good());
        }
        let good = outcome.is_good();
        let outcome = match outcome {
            Outcome::Transport(TransportError::NoConnect) => unit::Outcome::NotSubmitted,
            Outcome::Transport(_) => unit::Outcome::TransportFailed,
            Outcome::Answered { status, sense, data_in, .. } => unit::Outcome::Answered {
                status: *status,
                sense: sense.as_ref().map_or(&[][..], |sense| sense.as_bytes()),
                data: &data_in[..data_in.len().min(control.capacity)],
            },
        };
        self.engine.handle_control(control.id, &outcome, now);
        if control.counted {
            self.reports.read(&self.engine, good, now);
        }
    }

    /// I9: counts a SET TARGET PORT GROUPS that may have had an effect, in the minute before it was
    /// sent. The driver core's clock has milliseconds.
    fn stpg_ended(&mut self, tag: u64, effect: bool) {
        if self.stpgs.contains_key(&tag) {
            self.reports.stpg();
        }
        if !effect {
            self.stpgs.remove(&tag);
            return;
        }
        let Some(&sent) = self.stpgs.get(&tag) else { return };
        let millis = |at: Time| at.as_nanos() / 1_000_000;
        let minute = |at: Time| at <= sent && millis(at) + 60_000 > millis(sent);
        let count = self.stpgs.values().filter(|&&at| minute(at)).count();
        let limit = usize::from(self.engine.config().core.stpg_per_minute);
        if count > limit {
            self.stpg_storm = Some(count);
        }
    }

    /// The engine hears of a path, or is told what to do, by someone else than the target.
    pub(crate) fn told(&mut self) {
        self.reports.reason();
    }

    /// The client's number of a changing command, and whether its request is complete.
    pub(crate) fn writer(&self, tag: u64) -> Option<(u64, bool)> {
        let number = *self.numbers.get(&tag)?;
        Some((number, self.complete.contains(&number)))
    }

    /// Whether the host made a nexus.
    pub(crate) fn owns(&self, nexus: NexusId) -> bool {
        self.nexuses.contains(&nexus)
    }

    /// Whether the host has a path through a nexus.
    pub(crate) fn has(&self, nexus: NexusId) -> bool {
        self.paths.iter().any(|path| path.nexus == nexus)
            || self.outs.iter().flatten().any(|out| out.nexus == Some(nexus))
            || self.controls.values().any(|out| out.nexus == nexus)
    }

    /// The clients that wait.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().flatten()
    }
}

/// INQUIRY for a page, at once.
fn inquiry(array: &mut Array, nexus: NexusId, page: u8) -> Vec<u8> {
    let cdb = [0x12, 1, page, 0x10, 0, 0];
    let second = std::time::Duration::from_secs(1);
    let done = array.execute(nexus, LUN, CONTROL, &cdb, &[], 4096, second);
    done.ok().flatten().map(|done| done.outcome.data().to_vec()).unwrap_or_default()
}

/// Whether a SET TARGET PORT GROUPS may have been carried out.
fn may_have_effect(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Transport(TransportError::NoConnect) => false,
        Outcome::Transport(_) => true,
        Outcome::Answered { status, .. } => {
            !matches!(status, Status::Busy | Status::TaskSetFull) && !is_attention(outcome)
        }
    }
}

fn is_attention(outcome: &Outcome) -> bool {
    let sense = outcome.sense().map(|sense| alua_core::spc::sense::Sense::parse(sense.as_bytes()));
    sense.is_some_and(|it| it.is_ok_and(|it| it.key == SenseKey::UnitAttention))
}

/// Whether the target refused a command as it would on every path: a reservation conflict, or DATA
/// PROTECT.
fn is_refusal(outcome: &IoOutcome<'_>) -> bool {
    let IoOutcome::Answered { status, sense, .. } = outcome else { return false };
    let sense = alua_core::spc::sense::Sense::parse(sense);
    *status == Status::ReservationConflict
        || sense.is_ok_and(|sense| sense.key == SenseKey::DataProtect)
}

fn is_success(outcome: &IoOutcome<'_>) -> bool {
    matches!(
        outcome,
        IoOutcome::Answered { status: Status::Good, whole: true, .. }
            | IoOutcome::Summed(Summary::Good)
    )
}

/// An outcome in short.
struct Short<'a>(&'a IoOutcome<'a>);

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IoOutcome::Answered { status, sense, whole } => {
                write!(f, "{status}")?;
                if let Ok(sense) = alua_core::spc::sense::Sense::parse(sense) {
                    write!(f, " {:?} {:02x}/{:02x}", sense.key, sense.asc, sense.ascq)?;
                }
                if *whole { Ok(()) } else { f.write_str(" short") }
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// Used by the world's own commands.
pub(crate) const RIVAL_TAG: u64 = CONTROL - 1;
