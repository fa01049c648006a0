//! One logical unit at work: what discovery found, the driver over its paths, and what of the last
//! report the core has no use for.

use alua_core::sense::{Disposition, meaning};
use alua_core::spc::Status;
use alua_core::spc::cdb::Cdb;
use alua_core::tpgs::{AluaOff, Managed};
use alua_core::unit::{
    ActivationId, ActivationResult, CommandKind, Config, Event, PathId, Transition, Transport,
};
use alua_host::discovery::{Opener, Trouble, Unit};
use alua_host::driver::{Clock as _, Driver, Limits, OwnedUnit, Record, connect};
use alua_host::hctl::Hctl;
use alua_host::ports::ReportedPorts;
use alua_host::transport::{Data, NotSubmitted, Reply, Request, TransportError};

use crate::target::{Line, WorldClock};
use crate::view::{ServerView, Subject};

/// A reading of the states may take this long, retries and refused reports included.
const LEARN_MS: u32 = 60_000;

/// A wait longer than this is not part of a reading: a transition is polled every two seconds, and
/// a listing shows it instead.
const PAUSE_MS: u32 = 1_000;

/// What an activation may take beside the transition itself.
const ACTIVATION_SPARE_MS: u32 = 60_000;

/// A unit with its driver.
pub(crate) struct Session {
    pub(crate) facts: Unit,
    pub(crate) driver: Driver<Line, WorldClock>,
    /// For each path of `facts`: its name in the driver, or why it is not there.
    pub(crate) lines: Vec<Result<PathId, Closed>>,
    /// The ports of each group, by the last report.
    ports: ReportedPorts,
    /// The `alua up` that serves the unit.
    pub(crate) served_by: Option<ServerView>,
}

/// Why a path is not open.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    /// In a word or two: the kernel's state of the device, or `not opened`.
    pub(crate) health: String,
    /// In a sentence.
    pub(crate) why: String,
}

/// Times that a TEST UNIT READY which lost its turn to a unit attention is sent again.
const TURNS_MAX: u32 = 8;

/// How far an activation is to be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Follow {
    /// To its end.
    ToEnd,
    /// Until the target has accepted it and a report shows the transition.
    UntilAccepted,
    /// Until it would send something.
    UntilSent,
}

/// What became of an activation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Followed {
    Ended(ActivationResult),
    /// Accepted, and the target is in transition.
    InTransition,
    /// It was held back (or the time was over).
    Held,
    OutOfTime,
}

impl Session {
    /// Opens the paths of a unit. Sends nothing.
    pub(crate) fn open(
        facts: Unit,
        opener: &dyn Opener,
        clock: WorldClock,
        config: Config,
    ) -> Self {
        let connected = connect(&facts, opener, config, clock);
        let lines = facts
            .paths
            .iter()
            .zip(connected.paths)
            .map(|(path, id)| {
                id.ok_or_else(|| {
                    let mut problems = connected.problems.iter();
                    let problem = problems.find(|problem| problem.hctl == path.device.hctl);
                    Closed::of(problem.map(|problem| &problem.trouble))
                })
            })
            .collect();
        let ports = ReportedPorts::default();
        Self { facts, driver: connected.driver, lines, ports, served_by: None }
    }

    pub(crate) fn unit(&self) -> &OwnedUnit {
        self.driver.unit()
    }

    /// What it is shown from.
    pub(crate) fn subject(&self) -> Subject<'_> {
        let down = self.lines.iter().filter_map(|line| line.as_ref().ok().copied());
        Subject {
            facts: &self.facts,
            unit: self.unit(),
            lines: &self.lines,
            down: down.filter(|id| self.is_down(*id)).collect(),
            ports: &self.ports,
            served_by: self.served_by.as_ref(),
            now: self.driver.clock().now(),
        }
    }

    /// Whether the unit takes part in ALUA.
    pub(crate) fn managed(&self) -> Result<Managed, AluaOff> {
        self.unit().managed()
    }

    /// The unit's name, or that of its first device.
    pub(crate) fn title(&self) -> String {
        match self.facts.name {
            Some(name) => name.to_string(),
            None => self.device_names().next().unwrap_or_else(|| "a unit without paths".to_owned()),
        }
    }

    /// The names of the unit's devices.
    pub(crate) fn device_names(&self) -> impl Iterator<Item = String> {
        self.facts.paths.iter().map(|path| path.device.short_name())
    }

    pub(crate) fn has_name(&self, query: &str) -> bool {
        self.facts.name.is_some_and(|name| name.to_string() == query)
    }

    /// Whether the unit's name begins with `query`; `naa.` and the like may be left out.
    pub(crate) fn name_starts_with(&self, query: &str) -> bool {
        let Some(name) = self.facts.name.map(|name| name.to_string()) else { return false };
        let bare = name.split_once('.').map_or("", |(_, bare)| bare);
        let query = query.to_ascii_lowercase();
        !query.is_empty()
            && (name.to_ascii_lowercase().starts_with(&query) || bare.starts_with(&query))
    }

    pub(crate) fn has_device(&self, hctls: &[Hctl]) -> bool {
        self.facts.paths.iter().any(|path| hctls.contains(&path.device.hctl))
    }

    /// The path on the device at one of these addresses: its place in `facts`.
    pub(crate) fn path_of(&self, hctls: &[Hctl]) -> Option<usize> {
        self.facts.paths.iter().position(|path| hctls.contains(&path.device.hctl))
    }

    /// How people call the path with that name.
    pub(crate) fn label(&self, id: PathId) -> String {
        self.driver.label(id).map_or_else(|| format!("path {id}"), str::to_owned)
    }

    /// Reads the access states, unless ALUA is off.
    pub(crate) fn learn(&mut self) {
        if self.managed().is_err() {
            return;
        }
        let (unit, now) = self.driver.unit_mut();
        if !unit.is_busy() {
            unit.refresh(now);
        }
        let before = (unit.last_report(), unit.counters().refresh_failures);
        let limits = Limits { total_ms: LEARN_MS, pause_ms: PAUSE_MS };
        self.driver.run_until(limits, |driver| {
            let unit = driver.unit();
            (unit.last_report(), unit.counters().refresh_failures) != before
        });
        self.absorb();
    }

    /// Sends TEST UNIT READY down a path, lets the unit know what it says, and gives the first
    /// answer. One that lost its turn to a unit attention is sent again.
    pub(crate) fn ask(&mut self, id: PathId, timeout_ms: u32) -> Result<Reply, TransportError> {
        let cdb = Cdb::TestUnitReady.encode();
        let mut first = None;
        for _ in 0..TURNS_MAX {
            let request = Request { cdb: cdb.as_bytes(), data: Data::None, timeout_ms };
            let result = self.driver.execute(id, request, true);
            let again = result.as_ref().is_ok_and(|reply| {
                let sense = reply.parsed_sense().and_then(Result::ok);
                sense.is_some_and(|sense| meaning(&sense).disposition == Disposition::RetryHere)
            });
            let result = first.get_or_insert(result);
            if !again || result.is_err() {
                break;
            }
        }
        first.unwrap_or(Err(TransportError::NotSubmitted { cause: NotSubmitted::Other, errno: 0 }))
    }

    /// Whether the transport of a path failed, and the path has not answered since.
    fn is_down(&self, id: PathId) -> bool {
        let transport = self.unit().path(id).map(alua_core::unit::Path::transport);
        matches!(transport, Some(Transport::Failed { .. }))
    }

    /// After work that was not [`learn`](Self::learn)'s: keeps what the driver's records tell.
    pub(crate) fn settle(&mut self) {
        self.absorb();
    }

    /// Follows an activation.
    pub(crate) fn follow(
        &mut self,
        id: ActivationId,
        groups: &[u16],
        how: Follow,
        held: impl Fn() -> bool,
    ) -> Followed {
        let total_ms = self.unit().transition_limit_ms().saturating_add(ACTIVATION_SPARE_MS);
        let limits = Limits { total_ms, pause_ms: total_ms };
        let mut followed = Followed::OutOfTime;
        self.driver.run_until(limits, |driver| {
            let result = driver.events().find_map(|(_, event)| match event {
                Event::Activation { id: ended, result } if *ended == id => Some(*result),
                _ => None,
            });
            if how == Follow::UntilSent && held() {
                followed = Followed::Held;
            } else if let Some(result) = result {
                followed = Followed::Ended(result);
            } else if how == Follow::UntilAccepted && is_accepted(driver, groups) {
                followed = Followed::InTransition;
            } else {
                return false;
            }
            true
        });
        self.absorb();
        followed
    }

    /// Keeps what the core has no use for: the ports in the last report.
    fn absorb(&mut self) {
        let is_report = |record: &&Record| {
            matches!(record.kind, CommandKind::ReportTargetPortGroups { .. })
                && record.result.as_ref().is_ok_and(|reply| reply.status == Status::Good)
        };
        for report in self.driver.records().filter(is_report) {
            self.ports.note(&report.data_in);
        }
    }
}

impl Closed {
    /// The path is one that a running device holds as failed.
    pub(crate) fn spared() -> Self {
        let why = "`alua up` holds it as failed, so it was not asked";
        Self { health: "failed".to_owned(), why: why.to_owned() }
    }

    fn of(trouble: Option<&Trouble>) -> Self {
        let health = match trouble {
            Some(Trouble::State(state)) => state.to_string(),
            _ => "not opened".to_owned(),
        };
        Self { health, why: trouble.map_or_else(String::new, ToString::to_string) }
    }
}

/// Whether the target accepted a SET TARGET PORT GROUPS, and a report after it shows one of
/// `groups` in transition.
fn is_accepted(driver: &Driver<Line, WorldClock>, groups: &[u16]) -> bool {
    let accepted = driver.records().any(|record| {
        matches!(record.kind, CommandKind::SetTargetPortGroups(_))
            && record.result.as_ref().is_ok_and(|reply| reply.status == Status::Good)
    });
    accepted
        && driver.unit().groups().any(|group| {
            groups.contains(&group.id())
                && matches!(group.transition(), Some(Transition::Running { .. }))
        })
}
