//! The array: nexuses, commands and the virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use alua_core::access::{AccessState, SupportedStates};
use alua_core::spc::Status;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

use crate::alua::{Access, ChangedBy};
use crate::clock::Clock;
use crate::command::Command;
use crate::completion::{
    Completion, ConnectError, FunctionResult, MediumChange, MediumWrite, Outcome, SubmitError,
};
use crate::config::{AluaSettings, Config, ConfigError, Names, UnitConfig, unit_names};
use crate::counters::Counters;
use crate::event::{Event, LostTasks};
use crate::fault::FaultAction;
use crate::nexus::{Nexus, NexusId, TransportError};
use crate::sense::SenseCode;
use crate::task::{ArmedFault, MAX_CDB, Task, TaskKey, Tasks};
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
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock<What>,
    script: Vec<Event>,
    completions: VecDeque<Completion>,
    pub(crate) faults: Vec<ArmedFault>,
    pub(crate) fault_random: Pcg64Mcg,
    jitter_random: Pcg64Mcg,
    pub(crate) counters: Counters,
    pub(crate) trace: Trace,
    pub(crate) writes: Option<Vec<MediumWrite>>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
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

    fn build(&mut self) {
        let config = std::mem::take(&mut self.config);
        for group in &config.groups {
            let ports = config.ports.iter().filter(|port| port.group == group.id);
            self.groups.push(Group {
                id: group.id,
                controller: position(&config.controllers, |c| c.name == group.controller),
                supported: group.supported,
                vendor: group.vendor,
                ports: ports.map(|port| port.id).collect(),
            });
        }
        for unit in &config.units {
            self.build_units(&config, unit);
        }
        let mut luns = Vec::new();
        let mut number = 0;
        for unit in &config.units {
            for at in 0..unit.count {
                if let Some(first) = unit.lun {
                    put(&mut luns, usize::from(first) + at as usize, number);
                }
                number += 1;
            }
        }
        for port in &config.ports {
            let group = position(&config.groups, |group| group.id == port.group);
            self.ports.push(Port {
                id: port.id,
                group,
                controller: self.groups[group].controller,
                link_time: port.link_time,
                up: port.up,
                luns: luns.clone(),
                remapped: false,
            });
        }
        for fault in &config.faults {
            self.faults.push(ArmedFault {
                name: fault.name.clone(),
                armed: fault.armed,
                seen: 0,
                met: 0,
                action: fault.action.clone(),
            });
        }
        self.counters = Counters::new(self.units.len());
        self.config = config;
    }

    /// The units of one `[[unit]]`.
    fn build_units(&mut self, config: &Config, unit: &UnitConfig) {
        for (at, name) in (0..unit.count).zip(unit_names(unit)) {
            let owner = match unit.owner.len() {
                0 => None,
                owners => Some(position(&config.controllers, |c| {
                    c.name == unit.owner[at as usize % owners]
                })),
            };
            let access = self.groups.iter().map(|group| {
                let own = owner.is_none_or(|owner| owner == group.controller);
                let said = unit.states.iter().find(|&&(id, _)| id == group.id);
                let by_owner =
                    if own { AccessState::ActiveOptimized } else { config.alua.other_state };
                Access {
                    state: said.map_or(by_owner, |&(_, state)| state),
                    preferred: unit.prefer_owner && owner.is_some() && own,
                    changed_by: ChangedBy::Nothing,
                }
            });
            let access = access.collect();
            let number = self.units.len();
            self.unit_names.insert(name.clone(), number);
            self.units.push(Unit::new(&config.array, unit, name, at, number as u32, access));
        }
    }

    /// Adds the events of a script. Times that have passed count as now.
    pub fn run_script(&mut self, script: Vec<(Time, Event)>) {
        for (at, event) in script {
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

    fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.spare.len() < 256 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Makes something happen now.
    ///
    /// # Errors
    ///
    /// An event that speaks of what the array does not have; nothing has happened then.
    pub fn apply(&mut self, event: &Event) -> Result<(), ConfigError> {
        self.names.check(event)?;
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
        let id = NexusId(self.nexuses.len() as u32);
        self.nexuses.push(Nexus::new(initiator.to_owned(), at));
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

    /// Sends a command. `capacity` is the room for data that come back, in bytes. It ends with a
    /// [`Completion`] that carries `nexus` and `tag`, or it hangs.
    ///
    /// # Errors
    ///
    /// The nexus has ended, or the CDB is no CDB. Everything that a device server can say it says
    /// in a completion.
    pub fn submit(
        &mut self,
        nexus: NexusId,
        lun: u16,
        tag: u64,
        cdb: &[u8],
        data_out: &[u8],
        capacity: usize,
    ) -> Result<(), SubmitError> {
        let alive = self.nexuses.get(nexus.0 as usize).filter(|nexus| nexus.alive);
        let port = alive.ok_or(SubmitError::NexusEnded(nexus))?.port;
        if cdb.is_empty() || cdb.len() > MAX_CDB {
            return Err(SubmitError::CdbLength(cdb.len()));
        }
        let command = Command::of(cdb);
        let unit = self.ports[port].luns.get(usize::from(lun)).copied().flatten();
        self.counters.add(command, nexus.0 as usize, unit.map(|unit| unit as usize));
        self.trace.note(
            self.clock.now(),
            "submit",
            format_args!("{nexus} L{lun} tag {tag} {} {cdb:02x?}", command.name()),
        );
        if !self.port_is_up(port) {
            self.complete(nexus.0, tag, Outcome::Transport(TransportError::NoConnect));
            return Ok(());
        }
        let mut task = Task {
            nexus: nexus.0,
            tag,
            lun,
            unit,
            command,
            cdb: [0; MAX_CDB],
            data_out: Vec::new(),
            capacity,
            fault: None,
            full: false,
            broken: false,
            silent: false,
            ran: false,
            answer: None,
        };
        task.cdb[..cdb.len()].copy_from_slice(cdb);
        if !data_out.is_empty() {
            task.data_out = self.spare.pop().unwrap_or_default();
            task.data_out.extend_from_slice(data_out);
        }
        if let Some(unit) = unit {
            let unit = &mut self.units[unit as usize];
            task.full = unit.in_flight >= self.config.array.queue_depth;
            unit.in_flight += 1;
        }
        task.fault = self.find_fault(&task, port);
        let time = self.service_time(&task, port);
        self.start(task, time);
        Ok(())
    }

    /// Sends a command, moves the clock until it has ended and returns its completion: for callers
    /// that want one answer at a time. Completions of other commands stay for
    /// [`poll_completion`](Self::poll_completion). `None`: it did not end within `timeout`; it has
    /// been aborted.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    #[expect(clippy::too_many_arguments, reason = "a command is all of them")]
    pub fn execute(
        &mut self,
        nexus: NexusId,
        lun: u16,
        tag: u64,
        cdb: &[u8],
        data_out: &[u8],
        capacity: usize,
        timeout: Duration,
    ) -> Result<Option<Completion>, SubmitError> {
        let deadline = self.now().after(timeout);
        self.submit(nexus, lun, tag, cdb, data_out, capacity)?;
        let mut seen = 0;
        loop {
            let ours = |c: &Completion| c.nexus == nexus && c.tag == tag;
            if let Some(at) = self.completions.iter().skip(seen).position(ours) {
                return Ok(self.completions.remove(seen + at));
            }
            seen = self.completions.len();
            match self.next_event() {
                Some(next) if next <= deadline => self.advance(next),
                _ => break,
            }
        }
        self.advance(deadline);
        self.abort(nexus, tag);
        Ok(None)
    }

    /// How long the command takes, faults apart.
    fn service_time(&mut self, task: &Task, port: usize) -> Duration {
        let settings = &self.config.array;
        let mut time = settings.command_time + self.ports[port].link_time;
        let medium = task.command.row().is_some_and(|row| row.moves_blocks());
        if let (Some(unit), true) = (task.unit, medium) {
            if self.state_at(unit as usize, port) != AccessState::ActiveOptimized {
                time += settings.non_optimized_time;
            }
        }
        if let Some(most) = u64::try_from(settings.jitter.as_nanos()).ok().filter(|&ns| ns > 0) {
            time += Duration::from_nanos(self.jitter_random.next_u64() % most.saturating_add(1));
        }
        time
    }

    /// Puts a command in the table and schedules what will become of it.
    fn start(&mut self, mut task: Task, time: Duration) {
        let now = self.clock.now();
        let action = task.fault.map(|fault| self.faults[fault as usize].action.clone());
        let (mut run, mut break_at) = (Some(time), None);
        match action {
            Some(FaultAction::Hang { runs }) => {
                task.silent = true;
                run = runs.then_some(time);
            }
            Some(FaultAction::Transport { runs_after, .. }) => {
                task.silent = true;
                break_at = Some(time);
                run = runs_after;
            }
            Some(FaultAction::LateStart(delay) | FaultAction::IgnoreAbort(delay)) => {
                run = Some(time + delay);
            }
            _ => {}
        }
        task.ran = run.is_none();
        let key = self.tasks.insert(task);
        if let Some(after) = run {
            self.clock.schedule(now.after(after), What::Run(key));
        }
        if let Some(after) = break_at {
            self.clock.schedule(now.after(after), What::Break(key));
        }
    }

    /// Carries a command out.
    fn run(&mut self, key: TaskKey) {
        let Some(mut task) = self.tasks.take(key) else { return };
        let mut data_in = self.spare.pop().unwrap_or_default();
        let (status, sense) = self.serve(&task, &mut data_in);
        task.ran = true;
        if task.silent {
            self.keep_buffer(data_in);
            let hangs = task.fault.is_some_and(|fault| {
                matches!(self.faults[fault as usize].action, FaultAction::Hang { .. })
            });
            // Its transport has yet to fail, or an abort has yet to find it.
            if !task.broken || hangs {
                self.tasks.put(key, task);
            } else {
                self.finish(key, task);
            }
            return;
        }
        self.distort(&task, &mut data_in);
        let residual = task.capacity as i64 - data_in.len() as i64;
        data_in.truncate(task.capacity);
        let late = task.fault.and_then(|fault| match self.faults[fault as usize].action {
            FaultAction::LateAnswer(delay) => Some(delay),
            _ => None,
        });
        let outcome = Outcome::Answered { status, sense, data_in, residual };
        match late {
            Some(delay) => {
                let at = self.clock.now().after(delay);
                let (nexus, tag) = (NexusId(task.nexus), task.tag);
                task.answer = Some(Completion { nexus, tag, at, outcome });
                self.tasks.put(key, task);
                self.clock.schedule(at, What::Deliver(key));
            }
            None => {
                self.complete(task.nexus, task.tag, outcome);
                self.finish(key, task);
            }
        }
    }

    fn deliver(&mut self, key: TaskKey) {
        let Some(mut task) = self.tasks.take(key) else { return };
        if let Some(answer) = task.answer.take() {
            self.complete(task.nexus, task.tag, answer.outcome);
        }
        self.finish(key, task);
    }

    fn break_transport(&mut self, key: TaskKey) {
        let Some(mut task) = self.tasks.take(key) else { return };
        let error = match task.fault.map(|fault| &self.faults[fault as usize].action) {
            Some(FaultAction::Transport { error, .. }) => *error,
            _ => TransportError::Error,
        };
        self.complete(task.nexus, task.tag, Outcome::Transport(error));
        task.broken = true;
        if task.ran { self.finish(key, task) } else { self.tasks.put(key, task) }
    }

    /// A command leaves the table.
    fn finish(&mut self, key: TaskKey, task: Task) {
        self.tasks.release(key);
        if let Some(unit) = task.unit {
            let unit = &mut self.units[unit as usize];
            unit.in_flight = unit.in_flight.saturating_sub(1);
        }
        self.keep_buffer(task.data_out);
    }

    /// The initiator hears of the end.
    fn complete(&mut self, nexus: u32, tag: u64, outcome: Outcome) {
        let (nexus, at) = (NexusId(nexus), self.clock.now());
        self.trace.note(at, "answer", format_args!("{nexus} tag {tag} {outcome}"));
        self.completions.push_back(Completion { nexus, tag, at, outcome });
    }

    /// Drops commands without an answer. Those that ignore aborts stay, and nobody waits for them.
    /// Returns how many were found.
    pub(crate) fn drop_tasks(&mut self, wanted: impl Fn(&Task) -> bool) -> usize {
        let keys = self.tasks.select(wanted);
        for &key in &keys {
            let Some(mut task) = self.tasks.take(key) else { continue };
            let stubborn = task.fault.is_some_and(|fault| {
                matches!(self.faults[fault as usize].action, FaultAction::IgnoreAbort(_))
            });
            if stubborn && !task.ran {
                task.silent = true;
                task.broken = true;
                self.tasks.put(key, task);
            } else {
                self.finish(key, task);
            }
        }
        keys.len()
    }

    /// ABORT TASK. The answer is there at once: after it the command is neither answered nor
    /// carried out, unless a fault makes the array lie. What it had done before stays done.
    pub fn abort(&mut self, nexus: NexusId, tag: u64) -> FunctionResult {
        if let Err(result) = self.function_arrives(nexus) {
            return result;
        }
        let ended = self.drop_tasks(|task| task.nexus == nexus.0 && task.tag == tag);
        self.trace.note(
            self.clock.now(),
            "abort",
            format_args!("{nexus} tag {tag}: {ended} ended"),
        );
        if ended == 0 { FunctionResult::NoSuchTask } else { FunctionResult::Complete }
    }

    /// ABORT TASK SET: every command of this nexus to this logical unit.
    pub fn abort_task_set(&mut self, nexus: NexusId, lun: u16) -> FunctionResult {
        if let Err(result) = self.function_arrives(nexus) {
            return result;
        }
        let ended = self.drop_tasks(|task| task.nexus == nexus.0 && task.lun == lun);
        let now = self.clock.now();
        self.trace.note(now, "abort", format_args!("{nexus} L{lun} task set: {ended} ended"));
        FunctionResult::Complete
    }

    /// LOGICAL UNIT RESET: every command of every nexus to the unit is gone, 29/03 waits on each.
    /// Persistent reservations stay.
    pub fn reset_unit(&mut self, nexus: NexusId, lun: u16) -> FunctionResult {
        if let Err(result) = self.function_arrives(nexus) {
            return result;
        }
        let port = self.nexuses[nexus.0 as usize].port;
        match self.ports[port].luns.get(usize::from(lun)).copied().flatten() {
            Some(unit) => {
                self.reset(unit as usize, Some(nexus.0));
                FunctionResult::Complete
            }
            None => FunctionResult::NoSuchUnit,
        }
    }

    fn function_arrives(&self, nexus: NexusId) -> Result<(), FunctionResult> {
        let no_connect = FunctionResult::Transport(TransportError::NoConnect);
        match self.nexuses.get(nexus.0 as usize) {
            Some(known) if known.alive && self.port_is_up(known.port) => Ok(()),
            _ => Err(no_connect),
        }
    }

    /// What a logical unit reset does.
    pub(crate) fn reset(&mut self, unit: usize, by: Option<u32>) {
        let ended = self.end_tasks_of(unit, by);
        let name = &self.units[unit].name;
        self.trace.note(self.clock.now(), "abort", format_args!("{name} reset: {ended} ended"));
        self.units[unit].stopped = false;
        self.establish(unit, SenseCode::DEVICE_RESET, |_, _| true);
    }

    /// Ends a unit's commands; those of other nexuses than `by` are answered TASK ABORTED if the
    /// array does that.
    fn end_tasks_of(&mut self, unit: usize, by: Option<u32>) -> usize {
        self.end_tasks(by, |task| task.unit == Some(unit as u32))
    }

    /// As [`Self::drop_tasks`], with TASK ABORTED for the commands of other nexuses than `by`.
    pub(crate) fn end_tasks(&mut self, by: Option<u32>, wanted: impl Fn(&Task) -> bool) -> usize {
        if self.config.array.task_aborted_status {
            let others =
                self.tasks.select(|task| wanted(task) && Some(task.nexus) != by && !task.broken);
            for key in others {
                let Some(task) = self.tasks.get(key) else { continue };
                let (nexus, tag) = (task.nexus, task.tag);
                task.broken = true;
                let outcome = Outcome::Answered {
                    status: Status::TaskAborted,
                    sense: None,
                    data_in: Vec::new(),
                    residual: task.capacity as i64,
                };
                self.complete(nexus, tag, outcome);
            }
        }
        self.drop_tasks(wanted)
    }

    /// The commands in flight on a port end with a transport error.
    pub(crate) fn lose_link(&mut self, port: usize, tasks: LostTasks) {
        let on_port: Vec<u32> = self
            .alive
            .iter()
            .copied()
            .filter(|&nexus| self.nexuses[nexus as usize].port == port)
            .collect();
        for key in self.tasks.select(|task| on_port.contains(&task.nexus)) {
            let Some(mut task) = self.tasks.take(key) else { continue };
            if !task.broken {
                let error = Outcome::Transport(TransportError::Disrupted);
                self.complete(task.nexus, task.tag, error);
            }
            task.broken = true;
            task.silent = true;
            if tasks == LostTasks::Run && !task.ran {
                self.tasks.put(key, task);
            } else {
                self.finish(key, task);
            }
        }
    }

    /// Establishes a unit attention on the nexuses that `wanted` accepts, at every logical unit
    /// number that leads to the unit.
    pub(crate) fn establish(
        &mut self,
        unit: usize,
        code: SenseCode,
        wanted: impl Fn(&Self, usize) -> bool,
    ) {
        for at in 0..self.alive.len() {
            let nexus = self.alive[at] as usize;
            if !wanted(self, nexus) {
                continue;
            }
            let port = self.nexuses[nexus].port;
            for lun in self.luns_of(unit, port) {
                self.nexuses[nexus].establish(lun, code);
                self.trace.note(
                    self.clock.now(),
                    "attend",
                    format_args!("{} L{lun} {code}", NexusId(nexus as u32)),
                );
            }
        }
    }

    /// The logical unit numbers that lead to a unit through a port.
    fn luns_of(&self, unit: usize, port: usize) -> impl Iterator<Item = u16> + use<> {
        let port = &self.ports[port];
        // Nearly always the number that the configuration gave it, and no other.
        let usual = self.units[unit].lun.filter(|_| !port.remapped);
        let searched = if port.remapped { port.luns.as_slice() } else { &[] };
        let found: Vec<u16> = searched
            .iter()
            .zip(0..)
            .filter(|(behind, _)| **behind == Some(unit as u32))
            .map(|(_, lun)| lun)
            .collect();
        usual.into_iter().chain(found)
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
fn position<T>(all: &[T], wanted: impl FnMut(&T) -> bool) -> usize {
    all.iter().position(wanted).unwrap_or(0)
}

/// Sets `list[at]`, making the list as long as that needs.
pub(crate) fn put(list: &mut Vec<Option<u32>>, at: usize, value: u32) {
    if at >= list.len() {
        list.resize(at + 1, None);
    }
    list[at] = Some(value);
}
