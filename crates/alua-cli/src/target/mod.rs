//! What commands work on: the devices of this machine, or those of a model array.
//!
//! # Contract
//!
//! - Both sides look alike from here on: a list of SCSI devices, an [`Opener`] that gives a
//!   transport to each, and a clock. Discovery and driver are alua-host's for both.
//! - Nothing is sent before a command asks for it: finding devices reads sysfs (or the model's
//!   ports), [`World::units`] probes them, [`World::device`] opens one.

use std::sync::Arc;
use std::time::Duration;

use alua_core::time::Time;
use alua_host::discovery::{self, Inventory, Opener, Options};
use alua_host::driver::{Clock, MonotonicClock};
use alua_host::hctl::Hctl;
use alua_host::transport::Transport;

use crate::error::Error;
use crate::session::{Closed, Session};

pub(crate) mod linux;
pub(crate) mod model;
pub(crate) mod trace;

use linux::Linux;
use model::{Model, Shared};
use trace::{Monitor, SparingOpener, TracedOpener};

/// A path's transport.
pub(crate) type Line = Box<dyn Transport + Send>;

/// How the world is to be opened: the global options.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Where this machine's sysfs is.
    pub(crate) sysfs: std::path::PathBuf,
    /// Where this machine's device nodes are.
    pub(crate) dev: std::path::PathBuf,
    /// The array file or the name of a built-in array; this machine without one.
    pub(crate) array: Option<String>,
    /// A script for the array.
    pub(crate) script: Option<std::path::PathBuf>,
    /// Whether each command is told of on standard error.
    pub(crate) verbose: bool,
    /// Time limit of each command, in milliseconds.
    pub(crate) timeout_ms: Option<u32>,
    /// The virtual time of the array at which the command begins, in milliseconds.
    pub(crate) at_ms: Option<u64>,
}

/// The devices of this machine or of a model array.
pub(crate) struct World {
    side: Side,
    clock: WorldClock,
    monitor: Arc<Monitor>,
    opener: Arc<dyn Opener>,
    options: Options,
    timeout_ms: Option<u32>,
    /// When the command's own work begins, on a model's clock.
    begin: Time,
    /// Devices to which nothing is sent.
    spared: Vec<Hctl>,
}

enum Side {
    Linux(Linux),
    Model(Model),
}

/// The clock of a world.
#[derive(Clone, Debug)]
pub(crate) enum WorldClock {
    Machine(MonotonicClock),
    Model(Shared),
}

impl Clock for WorldClock {
    fn now(&self) -> Time {
        match self {
            Self::Machine(clock) => clock.now(),
            Self::Model(array) => array.now(),
        }
    }

    fn sleep_until(&self, until: Time) {
        match self {
            Self::Machine(clock) => clock.sleep_until(until),
            Self::Model(array) => array.sleep_until(until),
        }
    }
}

/// Which units are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// All.
    All,
    /// The one with that name, or with that device.
    One(&'a str),
}

/// Units that were found, and what could not be asked.
pub(crate) struct Found {
    pub(crate) units: Vec<Session>,
    pub(crate) problems: Vec<Problem>,
}

/// A device that could not be asked.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) device: String,
    pub(crate) message: String,
    pub(crate) permission: bool,
}

/// One open device.
pub(crate) struct Device {
    pub(crate) label: String,
    /// The device handler that the kernel has attached.
    pub(crate) handler: Option<String>,
    pub(crate) line: Line,
}

impl World {
    /// The world that the options name.
    pub(crate) fn open(choice: &Choice) -> Result<Self, Error> {
        match &choice.array {
            Some(name) => Self::model(name, choice),
            None => Ok(Self::linux(choice)),
        }
    }

    fn model(name: &str, choice: &Choice) -> Result<Self, Error> {
        let model = Model::open(name, choice)?;
        let (opener, clock) = (model.opener(), WorldClock::Model(model.shared().clone()));
        // One thread: the order of commands is part of a run that can be repeated. The array's own
        // time does not move while a busy target is waited for, so no time is lost on that either.
        let options = Options { threads: 1, busy_delay: Duration::ZERO, ..Options::default() };
        Ok(Self::assemble(Side::Model(model), clock, opener, choice, options))
    }

    fn linux(choice: &Choice) -> Self {
        let linux = Linux::new(choice.sysfs.clone(), choice.dev.clone());
        let opener = linux.opener();
        let clock = WorldClock::Machine(MonotonicClock::new());
        Self::assemble(Side::Linux(linux), clock, opener, choice, Options::default())
    }

    fn assemble(
        side: Side,
        clock: WorldClock,
        inner: Arc<dyn Opener>,
        choice: &Choice,
        mut options: Options,
    ) -> Self {
        let monitor = Arc::new(Monitor::new(clock.clone(), choice.verbose));
        let opener = Arc::new(TracedOpener { inner, monitor: Arc::clone(&monitor) });
        if let Some(limit) = choice.timeout_ms {
            options.command_timeout_ms = limit;
        }
        let begin = Time::from_millis(choice.at_ms.unwrap_or(0));
        let (timeout_ms, spared) = (choice.timeout_ms, Vec::new());
        Self { side, clock, monitor, opener, options, timeout_ms, begin, spared }
    }

    /// From now on nothing is sent to these devices: a running device holds them as failed, and to
    /// ask them may take as long as their transport takes to give up.
    pub(crate) fn spare(&mut self, devices: Vec<Hctl>) {
        self.spared = devices;
    }

    /// From now on no longer is waited for the answers of devices; of those that are late, the kernel's
    /// copies count.
    pub(crate) const fn give_up_after(&mut self, limit: Duration) {
        self.options.limit = limit;
    }

    /// The devices to which nothing is sent.
    pub(crate) fn spared(&self) -> &[Hctl] {
        &self.spared
    }

    fn opener(&self) -> Arc<dyn Opener> {
        let inner = Arc::clone(&self.opener);
        Arc::new(SparingOpener { inner, spared: self.spared.clone() })
    }

    /// `linux` or `array`.
    pub(crate) fn source(&self) -> &'static str {
        match self.side {
            Side::Linux(_) => "linux",
            Side::Model(_) => "array",
        }
    }

    /// Whether this is a model: its time is virtual, and a run of it can be repeated.
    pub(crate) fn is_model(&self) -> bool {
        self.source() == "array"
    }

    pub(crate) fn clock(&self) -> &WorldClock {
        &self.clock
    }

    pub(crate) fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// The time limit of a command of our own, in milliseconds.
    pub(crate) fn timeout_ms(&self) -> u32 {
        self.options.command_timeout_ms
    }

    /// What the driver's configuration is.
    pub(crate) fn config(&self) -> alua_core::unit::Config {
        let mut config = alua_core::unit::Config::default();
        // What is shown is what a consumer that can wait makes of a transition: it waits.
        config.gate.pass_transitioning = false;
        if let Some(limit) = self.timeout_ms {
            config.command_timeout_ms = limit;
        }
        config
    }

    /// Opens one device by its name. Sends nothing.
    pub(crate) fn device(&self, name: &str) -> Result<Device, Error> {
        let facts = match &self.side {
            Side::Linux(linux) => linux.device(name)?,
            Side::Model(model) => model.device(name)?.clone(),
        };
        let label = facts.short_name();
        if let Some(state) = facts.state.as_ref().filter(|state| !state.takes_commands()) {
            return Err(Error::NoAnswer {
                device: label,
                why: format!(
                    "the kernel sends it no commands: its state is {state} \
                     (/sys/bus/scsi/devices/{}/state)",
                    facts.hctl
                ),
                exit: crate::exit::Exit::DeviceGone,
            });
        }
        let line = self.opener().open(&facts)?;
        self.clock.sleep_until(self.begin);
        Ok(Device { label, handler: facts.device_handler, line })
    }

    /// Probes the devices in `scope`, and makes the units of them.
    pub(crate) fn units(&self, scope: Scope<'_>) -> Result<Found, Error> {
        let devices = match (&self.side, scope) {
            (Side::Linux(linux), Scope::All) => linux.devices()?,
            (Side::Linux(linux), Scope::One(query)) => linux.devices_of(query)?,
            (Side::Model(model), _) => model.devices().to_vec(),
        };
        let inventory = discovery::discover(devices, self.opener(), &self.options);
        let (mut units, mut problems) = self.sessions(inventory);
        // The host found its disks at the start; what the command is about comes later.
        self.clock.sleep_until(self.begin);
        if let Scope::One(query) = scope {
            units = self.pick(units, query, &problems)?;
            let known: Vec<String> = units.iter().flat_map(Session::device_names).collect();
            problems.retain(|problem| known.contains(&problem.device));
        }
        Ok(Found { units, problems })
    }

    /// The one unit that `query` names.
    pub(crate) fn unit(&self, query: &str) -> Result<Session, Error> {
        let found = self.units(Scope::One(query))?;
        let missing = || Error::NoSuchUnit { query: query.to_owned() };
        found.units.into_iter().next().ok_or_else(missing)
    }

    fn sessions(&self, inventory: Inventory) -> (Vec<Session>, Vec<Problem>) {
        let mut problems: Vec<Problem> = inventory.problems.iter().map(Problem::of).collect();
        if let Side::Model(model) = &self.side {
            problems.extend_from_slice(model.problems());
        }
        let opener = self.opener();
        let mut units = Vec::new();
        for unit in inventory.units {
            let clock = self.clock.clone();
            let mut session = Session::open(unit, &*opener, clock, self.config());
            for hctl in &self.spared {
                let Some(index) = session.path_of(&[*hctl]) else { continue };
                if let Some(line) = session.lines.get_mut(index) {
                    *line = Err(Closed::spared());
                }
                // That it was not opened is what was wanted.
                let name = session.facts.paths.get(index).map(|path| path.device.short_name());
                problems.retain(|problem| Some(&problem.device) != name.as_ref());
            }
            units.push(session);
        }
        (units, problems)
    }

    /// The model array, if this is one.
    pub(crate) fn array(&self) -> Option<&Model> {
        match &self.side {
            Side::Linux(_) => None,
            Side::Model(model) => Some(model),
        }
    }

    /// Of `units`, the one that `query` names: by its whole name, by one of its devices, or by the
    /// start of its name if that is clear.
    fn pick(
        &self,
        mut units: Vec<Session>,
        query: &str,
        problems: &[Problem],
    ) -> Result<Vec<Session>, Error> {
        if let Some(at) = units.iter().position(|unit| unit.has_name(query)) {
            return Ok(vec![units.swap_remove(at)]);
        }
        let hctls = self.resolve(query);
        if let Ok(hctls) = &hctls {
            let mut of = units.iter().enumerate().filter(|(_, unit)| unit.has_device(hctls));
            if let Some((at, _)) = of.next() {
                return Ok(vec![units.swap_remove(at)]);
            }
        }
        let fits = |unit: &&Session| unit.name_starts_with(query);
        let matches: Vec<String> = units.iter().filter(fits).map(Session::title).collect();
        match matches.as_slice() {
            [] => match hctls {
                Ok(_) => Err(self.no_unit(query, problems)),
                Err(_) => Err(Error::NoSuchUnit { query: query.to_owned() }),
            },
            [_] => {
                units.retain(|unit| unit.name_starts_with(query));
                Ok(units)
            }
            _ => Err(Error::Ambiguous { query: query.to_owned(), matches }),
        }
    }

    /// Why a device that is there belongs to no unit.
    fn no_unit(&self, query: &str, problems: &[Problem]) -> Error {
        use crate::exit::Exit;

        let label = self.device_name(query);
        let own: Vec<&Problem> =
            problems.iter().filter(|problem| problem.device == label).collect();
        let exit = if own.iter().any(|problem| problem.permission) {
            Exit::Permission
        } else {
            Exit::Transport
        };
        let why = own.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>();
        let why = if why.is_empty() {
            "it says nothing that can be used".to_owned()
        } else {
            why.join("; ")
        };
        Error::NoAnswer { device: label, why, exit }
    }

    /// How people call the device that `query` names.
    pub(crate) fn device_name(&self, query: &str) -> String {
        let facts = match &self.side {
            Side::Linux(linux) => linux.device(query).ok(),
            Side::Model(model) => model.device(query).ok().cloned(),
        };
        facts.map_or_else(|| query.to_owned(), |facts| facts.short_name())
    }

    /// The addresses that a device's name stands for.
    pub(crate) fn resolve(&self, name: &str) -> Result<Vec<Hctl>, Error> {
        match &self.side {
            Side::Linux(linux) => linux.resolve(name),
            Side::Model(model) => Ok(vec![model.device(name)?.hctl]),
        }
    }
}

impl Problem {
    fn of(problem: &discovery::Problem) -> Self {
        use alua_host::discovery::{StepError, Trouble};
        use alua_host::sg::OpenError;
        use alua_host::transport::{NotSubmitted, TransportError};

        let permission = match &problem.trouble {
            Trouble::Open(OpenError::NoPermission { .. }) => true,
            Trouble::Failed { error: StepError::Transport(error), .. } => matches!(
                error,
                TransportError::NotSubmitted { cause: NotSubmitted::NoPermission, .. }
            ),
            _ => false,
        };
        Self { device: problem.name.clone(), message: problem.trouble.to_string(), permission }
    }
}
