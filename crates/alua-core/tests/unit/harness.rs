//! A logical unit in the hands of a test: commands are answered one by one, time is a number.

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::identity::{Identity, UnitName};
use alua_core::spc::Status;
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::designator::{Designator, DesignatorWriter, DeviceIdentification, id_payload};
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter, StatusCode};
use alua_core::time::Time;
use alua_core::tpgs::{Managed, evaluate};
use alua_core::unit::{
    ActivationId, ActivationResult, Command, CommandKind, Config, Event, Group, LogicalUnit,
    NewPath, Outcome, Path, PathId, Target,
};

pub(crate) use AccessState::{
    ActiveNonOptimized as AN, ActiveOptimized as AO, LbaDependent as LBD, Offline as OFF,
    Standby as SBY, Transitioning as TRANS, Unavailable as UNAV,
};

pub(crate) const NOT_READY: SenseKey = SenseKey::NotReady;
pub(crate) const ATTENTION: SenseKey = SenseKey::UnitAttention;
pub(crate) const ILLEGAL: SenseKey = SenseKey::IllegalRequest;

pub(crate) type Unit = LogicalUnit<[Group; 4], [Path; 8]>;

/// What a test answers to a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Good(Vec<u8>),
    Check(SenseKey, u8, u8),
    Status(Status),
    NotSubmitted,
    Unreachable,
    Failed,
    TimedOut,
}

pub(crate) const GOOD: Answer = Answer::Good(Vec::new());
pub(crate) const IN_TRANSITION: Answer = Answer::Check(SenseKey::NotReady, 0x04, 0x0a);

#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) unit: Unit,
    pub(crate) now: Time,
    pub(crate) sent: Vec<Command>,
    pub(crate) events: Vec<Event>,
}

pub(crate) fn managed(tpgs: Tpgs) -> Managed {
    evaluate(0, tpgs).expect("a disk with TPGS set")
}

/// The page 83h of a path: an NAA name that ends in `unit`, a relative port, a group.
pub(crate) fn page83(unit: u8, relative_port: Option<u16>, group: Option<u16>) -> Vec<u8> {
    let mut buffer = [0; 128];
    let naa = [0x60, 0x01, 0x40, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, unit];
    let mut writer = DesignatorWriter::new(&mut buffer, 0);
    writer.push(&Designator::naa(&naa)).unwrap();
    if let Some(port) = relative_port {
        writer.push(&Designator::port(&id_payload(port))).unwrap();
    }
    if let Some(group) = group {
        writer.push(&Designator::group(&id_payload(group))).unwrap();
    }
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

pub(crate) fn name(unit: u8) -> UnitName {
    let page = page83(unit, None, None);
    let page = DeviceIdentification::new(&page).unwrap();
    Identity::from_page(&page).unwrap().name.unwrap()
}

/// A report in the extended format.
pub(crate) fn report(groups: &[(u16, AccessState)]) -> Answer {
    report_with(ReportFormat::Extended, 0, groups.iter().map(|&(id, state)| fields(id, state)))
}

pub(crate) fn fields(id: u16, state: AccessState) -> GroupFields {
    GroupFields {
        preferred: false,
        state,
        supported: SupportedStates::from_bits(0xdf),
        id,
        status: StatusCode::None,
        vendor: 0,
    }
}

pub(crate) fn report_with(
    format: ReportFormat,
    implicit_transition_secs: u8,
    groups: impl IntoIterator<Item = GroupFields>,
) -> Answer {
    let mut buffer = [0; 4096];
    let mut writer = ReportWriter::new(&mut buffer, format, implicit_transition_secs);
    for group in groups {
        writer.push(&group, [group.id]).unwrap();
    }
    let length = writer.finish().unwrap();
    Answer::Good(buffer[..length].to_vec())
}

pub(crate) fn sense(key: SenseKey, asc: u8, ascq: u8) -> Sense {
    Sense::new(key, asc, ascq)
}

impl Host {
    pub(crate) fn new(tpgs: Tpgs, config: Config) -> Self {
        let unit = LogicalUnit::new(
            Some(name(1)),
            Ok(managed(tpgs)),
            config,
            [Group::default(); 4],
            [Path::default(); 8],
        );
        Self { unit, now: Time::ZERO, sent: Vec::new(), events: Vec::new() }
    }

    /// A host with one path to each of the groups, in that order, and nothing read yet.
    pub(crate) fn with_paths(tpgs: Tpgs, config: Config, groups: &[u16]) -> (Self, Vec<PathId>) {
        let mut host = Self::new(tpgs, config);
        let paths = groups.iter().map(|&group| host.add(Some(group))).collect();
        (host, paths)
    }

    /// The same, with the first report read: group states in the order of the groups given.
    pub(crate) fn known(
        tpgs: Tpgs,
        config: Config,
        paths: &[u16],
        groups: &[(u16, AccessState)],
    ) -> (Self, Vec<PathId>) {
        let (mut host, paths) = Self::with_paths(tpgs, config, paths);
        host.run(|_| report(groups));
        host.sent.clear();
        host.events.clear();
        (host, paths)
    }

    pub(crate) fn add(&mut self, group: Option<u16>) -> PathId {
        let name = name(1);
        let new = NewPath { name: Some(&name), group, relative_port: group };
        self.unit.add_path(new, self.now).expect("room for a path")
    }

    pub(crate) fn at(&self, millis: u32) -> Time {
        self.now.after(millis)
    }

    /// Lets time pass without sending anything.
    pub(crate) fn wait(&mut self, millis: u32) {
        self.now = self.now.after(millis);
    }

    /// The next command that is due now.
    pub(crate) fn next(&mut self) -> Option<Command> {
        let command = self.unit.poll_command(self.now);
        self.sent.extend(command);
        self.drain();
        command
    }

    pub(crate) fn expect_next(&mut self) -> Command {
        self.next().expect("a command is due")
    }

    /// Goes to the next deadline and takes the command that is due then.
    pub(crate) fn next_at_deadline(&mut self) -> Command {
        for _ in 0..100 {
            if let Some(command) = self.next() {
                return command;
            }
            let deadline = self.unit.poll_deadline().expect("something is still to be done");
            self.now = self.now.max(deadline);
        }
        panic!("deadlines without commands");
    }

    /// Hands an answer back that must be awaited.
    pub(crate) fn answer(&mut self, command: &Command, answer: &Answer) {
        assert!(self.offer(command, answer), "the answer is awaited");
        assert!(!self.offer(command, answer), "and only once");
    }

    /// Hands an answer back, and tells whether it was awaited.
    pub(crate) fn offer(&mut self, command: &Command, answer: &Answer) -> bool {
        let mut buffer = [0; 252];
        let (status, length, data): (_, _, &[u8]) = match answer {
            Answer::Good(data) => (Status::Good, 0, data),
            Answer::Check(key, asc, ascq) => {
                let length = Sense::new(*key, *asc, *ascq).emit_fixed(&mut buffer).unwrap();
                (Status::CheckCondition, length, &[])
            }
            Answer::Status(status) => (*status, 0, &[]),
            Answer::NotSubmitted => return self.complete(command, &Outcome::NotSubmitted),
            Answer::Unreachable => return self.complete(command, &Outcome::Unreachable),
            Answer::Failed => return self.complete(command, &Outcome::TransportFailed),
            Answer::TimedOut => return self.complete(command, &Outcome::TimedOut),
        };
        let offered = usize::try_from(command.data_in_len()).unwrap();
        let data = &data[..data.len().min(offered)];
        let outcome = Outcome::Answered { status, sense: &buffer[..length], data };
        self.complete(command, &outcome)
    }

    fn complete(&mut self, command: &Command, outcome: &Outcome<'_>) -> bool {
        let awaited = self.unit.handle_completion(command.id, outcome, self.now);
        self.drain();
        awaited
    }

    /// Answers every command, and goes to every deadline, until nothing is wanted.
    pub(crate) fn run(&mut self, answer: impl FnMut(&Command) -> Answer) {
        let end = Time::from_millis(u64::MAX);
        self.run_until(end, answer);
    }

    pub(crate) fn run_for(&mut self, millis: u32, answer: impl FnMut(&Command) -> Answer) {
        let end = self.at(millis);
        self.run_until(end, answer);
        self.now = self.now.max(end);
    }

    fn run_until(&mut self, end: Time, mut answer: impl FnMut(&Command) -> Answer) {
        for _ in 0..10_000 {
            if let Some(command) = self.next() {
                let answer = answer(&command);
                self.answer(&command, &answer);
                continue;
            }
            match self.unit.poll_deadline() {
                Some(deadline) if deadline <= end => self.now = self.now.max(deadline),
                _ => return,
            }
        }
        panic!("the unit never came to rest: {:?}", self.unit);
    }

    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.unit.poll_event() {
            self.events.push(event);
        }
    }

    /// An administrator asks for a group to become optimized: unlike a device handler's
    /// `activate`, "live, but not optimized" is a failure.
    pub(crate) fn switch(&mut self, group: u16) -> ActivationId {
        self.unit.set_states(&[Target { state: AO, id: group }], false, self.now).unwrap()
    }

    /// What was told of states and ends, without what follows from it for the gates.
    pub(crate) fn news(&self) -> Vec<Event> {
        let of_gate = |event: &&Event| matches!(event, Event::Gate { .. });
        self.events.iter().filter(|event| !of_gate(event)).copied().collect()
    }

    /// I/O on `path` meets this sense.
    pub(crate) fn meet(&mut self, path: PathId, key: SenseKey, asc: u8, ascq: u8) {
        self.unit.handle_sense(path, &sense(key, asc, ascq), self.now);
        self.drain();
    }

    pub(crate) fn state(&self, group: u16) -> Option<AccessState> {
        self.unit.group(group).expect("a known group").state()
    }

    pub(crate) fn path_state(&self, path: PathId) -> Option<AccessState> {
        self.unit.access(path).state
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.sent.iter().map(kind).collect()
    }

    pub(crate) fn activated(&self, id: ActivationId) -> Vec<ActivationResult> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Activation { id: ended, result } if *ended == id => Some(*result),
                _ => None,
            })
            .collect()
    }

    /// The one result of an activation.
    pub(crate) fn result(&self, id: ActivationId) -> ActivationResult {
        let results = self.activated(id);
        assert_eq!(results.len(), 1, "{id:?} ends exactly once: {results:?}");
        results[0]
    }
}

/// A short word for a command: T, R, r (length-only), S, I.
pub(crate) fn kind(command: &Command) -> &'static str {
    match command.kind {
        CommandKind::TestUnitReady => "TUR",
        CommandKind::ReportTargetPortGroups { format: ReportFormat::Extended, .. } => "RTPG",
        CommandKind::ReportTargetPortGroups { .. } => "RTPG-short",
        CommandKind::SetTargetPortGroups(_) => "STPG",
        CommandKind::ReadIdentification => "INQUIRY",
    }
}
