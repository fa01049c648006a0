//! The array: nexuses, commands and the virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use alua_core::access::SupportedStates;
use rand_pcg::Pcg64Mcg;

use crate::clock::Clock;
use crate::completion::{Completion, ConnectError, MediumChange, MediumWrite, Outcome};
use crate::config::{AluaSettings, Config, ConfigError, Names};
use crate::counters::Counters;
use crate::event::Event;
use crate::nexus::{Nexus, NexusId};
use crate::task::{ArmedFault, Task, TaskKey, Tasks};
use crate::time::Time;
use crate::trace::Trace;
use crate::unit::Unit;

/// A controller as it runs.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) name: String,
    pub(crate) up: bool,
}

/// A target port group as it runs.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: u16,
    pub(crate) controller: usize,
    /// `None`: those of the settings.
    pub(crate) supported: Option<SupportedStates>,
    pub(crate) vendor: u8,
    /// Relative target port ids.
    pub(crate) ports: Vec<u16>,
}

/// A target port as it runs.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: u16,
    pub(crate) group: usize,
    pub(crate) controller: usize,
    pub(crate) link_time: Duration,
    pub(crate) up: bool,
    /// How often the link was lost.
    pub(crate) losses: u64,
    /// By logical unit number: the unit behind it.
    pub(crate) luns: Vec<Option<u32>>,
    /// An event has changed the numbers.
    pub(crate) remapped: bool,
}

/// What the clock has in store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A command is carried out.
    Run(TaskKey),
    /// The transport of a command fails.
    Break(TaskKey),
    /// An answer arrives.
    Deliver(TaskKey),
    /// A transition ends.
    TransitionEnd { unit: u32, episode: u32, fails: bool, quiet: bool, except: Option<u32> },
    /// The script goes on.
    Script(u32),
}

/// A SCSI array in memory. See the [crate's documentation](crate) for how to drive it.
#[derive(Debug)]
pub struct Array {
    pub(crate) config: Config,
    names: Names,
    pub(crate) alua: AluaSettings,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) groups: Vec<Group>,
    pub(crate) ports: Vec<Port>,
    pub(crate) units: Vec<Unit>,
    pub(crate) unit_names: BTreeMap<String, usize>,
    pub(crate) nexuses: Vec<Nexus>,
    /// The places of the nexuses that are alive.
    pub(crate) alive: Vec<u32>,
    /// The places of nexuses whose identifiers nobody holds any more.
    pub(crate) forgotten: Vec<u32>,
    pub(crate) tasks: Tasks,
    /// Commands that ended without an answer.
    pub(crate) dropped: u64,
    pub(crate) clock: Clock<What>,
    script: Vec<Event>,
    pub(crate) completions: VecDeque<Completion>,
    pub(crate) faults: Vec<ArmedFault>,
    pub(crate) fault_random: Pcg64Mcg,
    pub(crate) jitter_random: Pcg64Mcg,
    pub(crate) counters: Counters,
    pub(crate) trace: Trace,
    pub(crate) writes: Option<Vec<MediumWrite>>,
    /// Buffers to use again.
    pub(crate) spare: Vec<Vec<u8>>,
    /// Their capacity, all together.
    pub(crate) spare_bytes: usize,
}

impl Array {
    /// Builds the array that `config` describes, at time zero, and sets its script going.
    ///
    /// # Errors
    ///
    /// What [`Config::check`] finds.
    pub fn new(mut config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let names = Names::of(&config);
        let script = std::mem::take(&mut config.script);
        let seed = config.array.seed;
        // One generator per concern: another fault shifts no latency.
        let random =
            |concern: u64| Pcg64Mcg::new(u128::from(seed) << 64 | u128::from(concern) << 1 | 1);
        let mut array = Self {
            names,
            alua: config.alua.clone(),
            controllers: config
                .controllers
                .iter()
                .map(|c| Controller { name: c.name.clone(), up: true })
                .collect(),
            groups: Vec::new(),
            ports: Vec::new(),
            units: Vec::new(),
            unit_names: BTreeMap::new(),
            nexuses: Vec::new(),
            alive: Vec::new(),
            forgotten: Vec::new(),
            dropped: 0,
            tasks: Tasks::default(),
            clock: Clock::new(),
            script: Vec::new(),
            completions: VecDeque::new(),
            faults: Vec::new(),
            fault_random: random(0xfa01),
            jitter_random: random(0x7173),
            counters: Counters::default(),
            trace: Trace::new(),
            writes: None,
            spare: Vec::new(),
            spare_bytes: 0,
            config,
        };
        array.build();
        array.run_script(script);
        Ok(array)
    }

    /// Builds the array that a TOML file describes. `file` is the name that errors show.
    ///
    /// # Errors
    ///
    /// As [`Config::from_toml`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, ConfigError> {
        Self::new(Config::from_toml(file, text)?)
    }

    /// Adds the events of a script. Times that have passed count as now.
    pub fn run_script(&mut self, script: Vec<(Time, Event)>) {
        for (at, event) in script {
            self.names.learn(&event);
            self.clock.schedule(at, What::Script(self.script.len() as u32));
            self.script.push(event);
        }
    }

    /// The configuration that the array was built from, without its script.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The virtual time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.clock.now()
    }

    /// The moment of the next event: a command that is carried out or answered, the end of a
    /// transition, an event of the script. `None`: nothing will happen any more by itself.
    #[must_use]
    pub fn next_event(&self) -> Option<Time> {
        self.clock.next()
    }

    /// Moves the clock to `to` and lets everything happen that is due by then, in order.
    pub fn advance(&mut self, to: Time) {
        while let Some(what) = self.clock.pop_until(to) {
            match what {
                What::Run(key) => self.run(key),
                What::Break(key) => self.break_transport(key),
                What::Deliver(key) => self.deliver(key),
                What::TransitionEnd { unit, episode, fails, quiet, except } => {
                    self.end_transition(unit as usize, episode, fails, quiet, except);
                }
                What::Script(at) => {
                    let event = self.script[at as usize].clone();
                    self.happen(&event);
                }
            }
        }
        self.clock.move_to(to);
    }

    /// The next command that has ended.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Gives the buffer of a completion back, so that a later command can use it.
    pub fn recycle(&mut self, completion: Completion) {
        if let Outcome::Answered { data_in, .. } = completion.outcome {
            self.keep_buffer(data_in);
        }
    }

    /// Gives a buffer that is not needed any more to the array, for a later command.
    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.keep_buffer(buffer);
    }

    /// Makes something happen now.
    ///
    /// # Errors
    ///
    /// An event that speaks of what the array does not have; nothing has happened then.
    pub fn apply(&mut self, event: &Event) -> Result<(), ConfigError> {
        self.names.check(event)?;
        self.names.learn(event);
        self.happen(event);
        Ok(())
    }

    /// Makes a nexus between an initiator and a port. If that initiator has one there already, the
    /// old one ends first with all its commands (session reinstatement): nothing of it is carried
    /// out any more, not even what an answer was lost of.
    ///
    /// # Errors
    ///
    /// No such port, or it is down.
    pub fn connect(&mut self, initiator: &str, port: u16) -> Result<NexusId, ConnectError> {
        let at = self.port_index(port).ok_or(ConnectError::NoSuchPort(port))?;
        if !self.port_is_up(at) {
            return Err(ConnectError::PortDown(port));
        }
        let old = self.alive.iter().copied().find(|&nexus| {
            let nexus = &self.nexuses[nexus as usize];
            nexus.port == at && nexus.initiator == initiator
        });
        if let Some(old) = old {
            self.disconnect(NexusId(old));
        }
        let nexus = Nexus::new(initiator.to_owned(), at);
        let id = match self.free_place() {
            Some(place) => {
                self.nexuses[place as usize] = nexus;
                NexusId(place)
            }
            None => {
                self.nexuses.push(nexus);
                NexusId((self.nexuses.len() - 1) as u32)
            }
        };
        self.alive.push(id.0);
        self.trace.note(self.now(), "nexus", format_args!("{id} {initiator} port {port}"));
        if let Some(code) = self.config.array.connect_attention {
            for lun in 0..self.ports[at].luns.len() {
                if self.ports[at].luns[lun].is_some() {
                    self.nexuses[id.0 as usize].establish(lun as u16, code);
                }
            }
        }
        Ok(id)
    }

    /// Ends a nexus. Its commands are gone: they are neither answered nor carried out any more.
    pub fn disconnect(&mut self, nexus: NexusId) {
        let Some(known) = self.nexuses.get_mut(nexus.0 as usize).filter(|nexus| nexus.alive) else {
            return;
        };
        known.end();
        self.alive.retain(|&alive| alive != nexus.0);
        self.drop_tasks(|task| task.nexus == nexus.0);
        self.trace.note(self.clock.now(), "nexus", format_args!("{nexus} ended"));
    }

    /// [`Self::disconnect`], with the promise that `nexus` is never used again: a later nexus may get
    /// the same identifier. For callers that run for long; one that wants to see stale identifiers
    /// refused does not call it.
    pub fn forget(&mut self, nexus: NexusId) {
        self.disconnect(nexus);
        let known = (nexus.0 as usize) < self.nexuses.len();
        if known && !self.forgotten.contains(&nexus.0) {
            self.forgotten.push(nexus.0);
        }
    }

    /// A forgotten place that no command refers to; commands that ignore aborts outlive their nexus.
    fn free_place(&mut self) -> Option<u32> {
        let free = |place: &u32| self.tasks.find(|task| task.nexus == *place).is_none();
        let at = self.forgotten.iter().position(free)?;
        Some(self.forgotten.swap_remove(at))
    }

    /// A record of a change of the medium, for whoever asked for it.
    pub(crate) fn record(&mut self, task: &Task, kind: MediumChange, lba: u64, blocks: u64) {
        let Some(unit) = task.unit else { return };
        let (unit, nexus, at) = (unit as usize, NexusId(task.nexus), self.clock.now());
        let tag = task.tag;
        let name = &self.units[unit].name;
        self.trace.note(
            at,
            "medium",
            format_args!("{name} {nexus} tag {tag} {kind:?} {lba} {blocks}"),
        );
        if let Some(writes) = &mut self.writes {
            writes.push(MediumWrite { at, unit, nexus, tag, kind, lba, blocks });
        }
    }

    pub(crate) fn port_index(&self, id: u16) -> Option<usize> {
        self.ports.iter().position(|port| port.id == id)
    }

    pub(crate) fn port_is_up(&self, port: usize) -> bool {
        self.ports[port].up && self.controllers[self.ports[port].controller].up
    }
}

/// Where the one is that a checked configuration has.
pub(crate) fn position<T>(all: &[T], wanted: impl FnMut(&T) -> bool) -> usize {
    all.iter().position(wanted).unwrap_or(0)
}

/// Sets `list[at]`, making the list as long as that needs.
pub(crate) fn put(list: &mut Vec<Option<u32>>, at: usize, value: u32) {
    if at >= list.len() {
        list.resize(at + 1, None);
    }
    list[at] = Some(value);
}
