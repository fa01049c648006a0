//! An engine, an array that answers its own commands at once, and I/O that the test answers.

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::failover::IoOutcome;
use alua_core::identity::Identity;
use alua_core::spc::Status;
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::sense::Sense;
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter, StatusCode};
use alua_core::tpgs;
use alua_core::unit::{self, CommandKind, Outcome};
use alua_multipath::{
    Action, AddPathError, Config, Control, ControlKind, Engine, Event, FenceAnswer, FenceKind,
    FenceStep, Geometry, IoId, NewPath, Operation, PathId, PathTraits, PathView, Request,
    RequestError, RequestId, Send, Time,
};

use crate::memory::counted;

pub(crate) use AccessState::{
    ActiveNonOptimized as AN, ActiveOptimized as AO, Standby as SBY, Transitioning as TRN,
};

pub(crate) const GEOMETRY: Geometry = Geometry { blocks: 1 << 20, block_size: 512 };
pub(crate) const READ: Operation = Operation::Read;
pub(crate) const WRITE: Operation = Operation::Write { fua: false };

/// An input of the engine, which allocates nothing (I14).
pub(crate) fn frugal<T>(input: impl FnOnce() -> T) -> T {
    let (result, allocations) = counted(input);
    assert_eq!(allocations, 0, "the engine allocates after it was set up");
    result
}

/// One path, and what is behind it.
pub(crate) struct Line {
    pub(crate) id: PathId,
    group: u16,
    port: u16,
    /// The array answers through it.
    pub(crate) answers: bool,
    /// The number of the unit behind it; the engine's is 1.
    pub(crate) unit: u8,
}

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    now: Time,
    pub(crate) lines: Vec<Line>,
    /// What the array says of each group: its state, and PREF.
    pub(crate) groups: Vec<(u16, AccessState, bool)>,
    /// I/O that is out.
    pub(crate) sent: Vec<Send>,
    /// Fence steps that are out, where `fence` is `None`.
    pub(crate) steps: Vec<FenceStep>,
    /// The answer to each fence step.
    pub(crate) fence: Option<FenceAnswer>,
    pub(crate) done: Vec<(RequestId, Result<(), RequestError>)>,
    pub(crate) told: Vec<Event>,
    /// Every control command that was sent.
    pub(crate) controls: Vec<Control>,
    /// When SET TARGET PORT GROUPS was sent, in milliseconds.
    pub(crate) stpgs_at: Vec<u64>,
    /// Those that nobody answers, and when their time is over.
    held: Vec<(Control, Time)>,
    /// The array takes SET TARGET PORT GROUPS.
    pub(crate) takes_stpg: bool,
    /// REPORT REFERRALS data; refused where it is empty.
    pub(crate) map: Vec<u8>,
    /// Parts of reads that are done: which request, and where in it.
    pub(crate) taken: Vec<(RequestId, u32)>,
}

/// Page 83h of a unit, through one port of a group.
fn page(unit: u8, group: u16, port: u16) -> Vec<u8> {
    let mut page = vec![0, 0x83, 0, 0];
    page.extend([1, 0x03, 0, 8, 0x50, 0, 0, 0, 0, 0, 0, unit]);
    for (kind, value) in [(0x14, port), (0x15, group)] {
        page.extend([1, kind, 0, 4, 0, 0]);
        page.extend(value.to_be_bytes());
    }
    page[3] = (page.len() - 4) as u8;
    page
}

/// Fixed format sense data.
pub(crate) fn sense(key: u8, asc: u8, ascq: u8) -> [u8; 18] {
    let mut sense = [0; 18];
    (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0x70, key, 10, asc, ascq);
    sense
}

impl Rig {
    /// A unit with two paths in each of `groups`, all of them known.
    pub(crate) fn new(config: Config, tpgs: Tpgs, groups: &[(u16, AccessState)]) -> Self {
        let bytes = page(1, 1, 1);
        let name = Identity::from_page(&DeviceIdentification::new(&bytes).unwrap()).unwrap().name;
        let engine = Engine::new(config, name, tpgs::evaluate(0, tpgs), GEOMETRY);
        let mut rig = Self {
            engine,
            now: Time::from_millis(1_000),
            lines: Vec::new(),
            groups: groups.iter().map(|&(group, state)| (group, state, false)).collect(),
            sent: Vec::new(),
            steps: Vec::new(),
            fence: Some(FenceAnswer::Failed),
            done: Vec::new(),
            told: Vec::new(),
            controls: Vec::new(),
            stpgs_at: Vec::new(),
            held: Vec::new(),
            takes_stpg: true,
            map: Vec::new(),
            taken: Vec::new(),
        };
        for (place, &(group, _)) in groups.iter().enumerate() {
            for port in [1, 2] {
                rig.add(1, group, place as u16 * 2 + port, PathTraits::default()).unwrap();
            }
        }
        rig.pass(50);
        rig.forget();
        rig
    }

    /// An implicitly managed unit: group 1 optimized, group 2 not.
    pub(crate) fn plain(config: Config) -> Self {
        Self::new(config, Tpgs::Implicit, &[(1, AO), (2, AN)])
    }

    pub(crate) fn add(
        &mut self,
        unit: u8,
        group: u16,
        port: u16,
        traits: PathTraits,
    ) -> Result<PathId, AddPathError> {
        let bytes = page(unit, group, port);
        let identity = Identity::from_page(&DeviceIdentification::new(&bytes).unwrap()).unwrap();
        let identity = unit::NewPath {
            name: identity.name.as_ref(),
            group: Some(group),
            relative_port: Some(port),
        };
        let new = NewPath { identity, geometry: GEOMETRY, traits };
        let id = frugal(|| self.engine.add_path(new, self.now))?;
        self.lines.push(Line { id, group, port, answers: true, unit });
        self.pump();
        Ok(id)
    }

    /// Forgets what was told, sent as control and completed so far.
    pub(crate) fn forget(&mut self) {
        self.told.clear();
        self.controls.clear();
        self.done.clear();
    }

    pub(crate) fn id(&self, place: usize) -> PathId {
        self.lines[place].id
    }

    pub(crate) fn place(&self, id: PathId) -> usize {
        self.lines.iter().position(|line| line.id == id).unwrap()
    }

    pub(crate) fn view(&self, place: usize) -> PathView {
        self.engine.view(self.id(place)).unwrap()
    }

    /// The array tells, through one path, that access states have changed (2A/06).
    pub(crate) fn tell_changed(&mut self, place: usize) {
        let sense = Sense::parse(&sense(6, 0x2a, 0x06)).unwrap();
        let id = self.id(place);
        frugal(|| self.engine.handle_sense(id, &sense, self.now));
    }

    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn set(&mut self, group: u16, state: AccessState) {
        self.groups.iter_mut().find(|it| it.0 == group).unwrap().1 = state;
    }

    /// Lets time pass, and the engine act whenever it wants to.
    pub(crate) fn pass(&mut self, ms: u32) {
        let end = self.now.after(ms);
        self.pump();
        loop {
            let held = self.held.iter().map(|(_, over)| *over).min();
            let due = self.engine.poll_deadline().into_iter().chain(held).min();
            let next = due.filter(|&due| due < end).unwrap_or(end).max(self.now);
            self.now = next;
            let over: Vec<Control> =
                self.held.extract_if(.., |(_, over)| *over <= next).map(|(it, _)| it).collect();
            for control in over {
                frugal(|| self.engine.handle_control(control.id, &Outcome::TimedOut, next));
            }
            frugal(|| self.engine.handle_time(next));
            self.pump();
            self.engine.check();
            if next == end {
                return;
            }
        }
    }

    /// Carries out what the engine wants.
    pub(crate) fn pump(&mut self) {
        while let Some(action) = frugal(|| self.engine.poll_action()) {
            match action {
                Action::Send(send) => self.sent.push(send),
                Action::Control(control) => {
                    self.controls.push(control);
                    if is_stpg(&control) {
                        self.stpgs_at.push(self.now.as_nanos() / 1_000_000);
                    }
                    self.answer_control(control);
                }
                Action::Fence(step) => match self.fence {
                    Some(answer) => frugal(|| self.engine.handle_fence(step.id, answer, self.now)),
                    None => self.steps.push(step),
                },
                Action::Take { id, offset, .. } => self.taken.push((id, offset)),
                Action::Complete { id, result, .. } => self.done.push((id, result)),
            }
        }
        while let Some(event) = self.engine.poll_event() {
            self.told.push(event);
        }
    }

    fn answer_control(&mut self, control: Control) {
        let line = &self.lines[self.lines.iter().position(|it| it.id == control.path).unwrap()];
        if !line.answers {
            self.held.push((control, self.now.after(control.timeout_ms)));
            return;
        }
        let own = self.groups.iter().find(|it| it.0 == line.group).unwrap().1;
        let page = page(line.unit, line.group, line.port);
        let (mut status, mut data) = (Status::Good, Vec::new());
        let mut said = Vec::new();
        match control.kind {
            ControlKind::Core(command) => match command.kind {
                CommandKind::ReportTargetPortGroups { .. } => data = self.report(),
                CommandKind::ReadIdentification => data = page,
                CommandKind::SetTargetPortGroups(targets) if self.takes_stpg => {
                    for target in targets.as_slice() {
                        self.groups.iter_mut().for_each(|it| it.1 = SBY);
                        self.set(target.id, target.state);
                    }
                }
                CommandKind::SetTargetPortGroups(_) => {
                    (status, said) = (Status::CheckCondition, sense(4, 0x67, 0x0a).to_vec());
                }
                CommandKind::TestUnitReady => (status, said) = ready(own),
            },
            ControlKind::Probe => (status, said) = ready(own),
            ControlKind::Identity => data = page,
            ControlKind::Capacity => {
                data.extend((GEOMETRY.blocks - 1).to_be_bytes());
                data.extend(GEOMETRY.block_size.to_be_bytes());
                data.resize(32, 0);
            }
            ControlKind::Referrals { .. } if self.map.is_empty() => {
                (status, said) = (Status::CheckCondition, sense(5, 0x24, 0).to_vec());
            }
            ControlKind::Referrals { .. } => data.clone_from(&self.map),
        }
        let outcome = Outcome::Answered { status, sense: &said, data: &data };
        frugal(|| self.engine.handle_control(control.id, &outcome, self.now));
    }

    /// Every line answers, and what was held is answered now.
    pub(crate) fn answer_held(&mut self) {
        self.lines.iter_mut().for_each(|line| line.answers = true);
        for (control, _) in std::mem::take(&mut self.held) {
            self.answer_control(control);
        }
        self.pump();
    }

    fn report(&self) -> Vec<u8> {
        let mut buffer = [0; 256];
        let mut writer = ReportWriter::new(&mut buffer, ReportFormat::Extended, 0);
        for &(id, state, preferred) in &self.groups {
            let fields = GroupFields {
                preferred,
                state,
                supported: SupportedStates::from_bits(0xdf),
                id,
                status: StatusCode::None,
                vendor: 0,
            };
            let ports = self.lines.iter().filter(|it| it.group == id).map(|it| it.port);
            writer.push(&fields, ports).unwrap();
        }
        let length = writer.finish().unwrap();
        buffer[..length].to_vec()
    }

    pub(crate) fn submit(&mut self, operation: Operation, lba: u64) -> RequestId {
        let request = Request { operation, lba, blocks: 8 };
        let id = frugal(|| self.engine.submit(request, self.now)).unwrap();
        self.pump();
        id
    }

    /// Submits a request and tells the place of the path that it goes down at once.
    pub(crate) fn goes(&mut self, operation: Operation, lba: u64) -> usize {
        let id = self.submit(operation, lba);
        let send = self.sent.iter().rev().find(|send| send.id == id).copied();
        self.place(send.expect("it was sent at once").path)
    }

    /// As [`Self::goes`], where a path may have to say first who is behind it. The command is
    /// answered.
    pub(crate) fn goes_after_ask(&mut self) -> usize {
        let id = self.submit(READ, 0);
        self.pass(20);
        let send = self.sent.iter().find(|send| send.id == id).copied().expect("it was sent");
        self.back(id, &GOOD);
        self.place(send.path)
    }

    /// Answers the I/O command of a request.
    pub(crate) fn back(&mut self, id: RequestId, outcome: &IoOutcome<'_>) {
        let at = self.sent.iter().position(|send| send.id == id).expect("it is out");
        let io = self.sent.remove(at).io;
        self.back_io(io, outcome);
    }

    pub(crate) fn back_io(&mut self, io: IoId, outcome: &IoOutcome<'_>) {
        frugal(|| self.engine.handle_io(io, outcome, self.now));
        self.pump();
        self.engine.check();
    }

    /// All I/O that is out does what it should, and what follows from that too.
    pub(crate) fn all_good(&mut self) {
        while let Some(send) = self.sent.pop() {
            self.back_io(send.io, &GOOD);
        }
    }

    /// How often a path was asked who is behind it.
    pub(crate) fn asks(&self) -> usize {
        let asks = self.controls.iter().filter(|it| it.kind == ControlKind::Identity);
        asks.count()
    }

    pub(crate) fn stpgs(&self) -> usize {
        self.controls.iter().filter(|control| is_stpg(control)).count()
    }

    /// Answers the oldest fence step.
    pub(crate) fn take_step(&mut self, answer: FenceAnswer) -> FenceKind {
        let step = self.steps.remove(0);
        frugal(|| self.engine.handle_fence(step.id, answer, self.now));
        self.pump();
        step.kind
    }
}

const fn is_stpg(control: &Control) -> bool {
    matches!(control.kind, ControlKind::Core(command)
        if matches!(command.kind, CommandKind::SetTargetPortGroups(_)))
}

/// What TEST UNIT READY says in a state.
fn ready(state: AccessState) -> (Status, Vec<u8>) {
    match state {
        SBY => (Status::CheckCondition, sense(2, 0x04, 0x0b).to_vec()),
        TRN => (Status::CheckCondition, sense(2, 0x04, 0x0a).to_vec()),
        _ => (Status::Good, Vec::new()),
    }
}

pub(crate) const GOOD: IoOutcome<'static> =
    IoOutcome::Answered { status: Status::Good, sense: &[], whole: true };

pub(crate) const fn check(sense: &[u8]) -> IoOutcome<'_> {
    IoOutcome::Answered { status: Status::CheckCondition, sense, whole: false }
}
