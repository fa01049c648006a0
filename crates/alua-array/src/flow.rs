//! The way of a command through the array: from submission to its end.

use std::time::Duration;

use alua_core::access::AccessState;
use alua_core::spc::Status;
use rand_pcg::rand_core::Rng;

use crate::array::{Array, What};
use crate::command::Command;
use crate::completion::{Completion, Outcome, SubmitError};
use crate::fault::FaultAction;
use crate::nexus::{NexusId, TransportError};
use crate::task::{MAX_CDB, Task, TaskKey};

/// Buffers that are kept for later commands.
const SPARES: usize = 256;
/// Bytes of them, all together.
const SPARE_BYTES: usize = 32 << 20;

impl Array {
    /// Sends a command. `capacity` is the room for data that come back, in bytes. It ends with a
    /// [`Completion`] that carries `nexus` and `tag`, or it hangs. The caller gives no tag to two
    /// commands of one nexus at a time; the array does not look.
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
        let mut own = Vec::new();
        if !data_out.is_empty() {
            own = self.buffer();
            own.extend_from_slice(data_out);
        }
        self.submit_owned(nexus, lun, tag, cdb, own, capacity)
    }

    /// An empty buffer for [`submit_owned`](Self::submit_owned), one that was used before if there
    /// is one.
    #[must_use]
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare_buffer()
    }

    /// [`submit`](Self::submit) without a copy of the data.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_owned(
        &mut self,
        nexus: NexusId,
        lun: u16,
        tag: u64,
        cdb: &[u8],
        data_out: Vec<u8>,
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
            data_out,
            capacity,
            fault: None,
            full: false,
            broken: false,
            silent: false,
            ran: false,
            answer: None,
        };
        task.cdb[..cdb.len()].copy_from_slice(cdb);
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
    pub(crate) fn service_time(&mut self, task: &Task, port: usize) -> Duration {
        let settings = &self.config.array;
        let mut time = settings.command_time + self.ports[port].link_time;
        let medium = task.command.row().is_some_and(|row| row.moves_blocks());
        if let Some(unit) = task.unit
            && medium
            && self.state_at(unit as usize, port) != AccessState::ActiveOptimized
        {
            time += settings.non_optimized_time;
        }
        if let Some(most) = u64::try_from(settings.jitter.as_nanos()).ok().filter(|&ns| ns > 0) {
            time += Duration::from_nanos(self.jitter_random.next_u64() % most.saturating_add(1));
        }
        time
    }

    /// Puts a command in the table and schedules what will become of it.
    pub(crate) fn start(&mut self, mut task: Task, time: Duration) {
        let now = self.clock.now();
        let (mut run, mut break_at, mut silent) = (Some(time), None, task.silent);
        match task.action() {
            Some(FaultAction::Hang { runs }) => {
                silent = true;
                run = runs.then_some(time);
            }
            Some(FaultAction::Transport { runs_after, .. }) => {
                silent = true;
                break_at = Some(time);
                run = *runs_after;
            }
            Some(FaultAction::LateStart(delay) | FaultAction::IgnoreAbort(delay)) => {
                run = Some(time + *delay);
            }
            _ => {}
        }
        task.silent = silent;
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
    pub(crate) fn run(&mut self, key: TaskKey) {
        let Some(mut task) = self.tasks.take(key) else { return };
        // One that no data can come back in is not taken from those that wait for large ones.
        let mut data_in = if task.capacity == 0 { Vec::new() } else { self.spare_buffer() };
        let (status, sense) = self.serve(&task, &mut data_in);
        task.ran = true;
        if task.silent {
            self.keep_buffer(data_in);
            let hangs = matches!(task.action(), Some(FaultAction::Hang { .. }));
            // Its transport has yet to fail, or an abort has yet to find it.
            if !task.broken || hangs {
                self.tasks.put(key, task);
            } else {
                self.finish(key, task);
            }
            return;
        }
        if status == Status::Good {
            self.distort(&task, &mut data_in);
        }
        let residual = task.capacity as i64 - data_in.len() as i64;
        data_in.truncate(task.capacity);
        let late = match task.action() {
            Some(FaultAction::LateAnswer(delay)) => Some(*delay),
            _ => None,
        };
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

    pub(crate) fn deliver(&mut self, key: TaskKey) {
        let Some(mut task) = self.tasks.take(key) else { return };
        if let Some(answer) = task.answer.take() {
            self.complete(task.nexus, task.tag, answer.outcome);
        }
        self.finish(key, task);
    }

    pub(crate) fn break_transport(&mut self, key: TaskKey) {
        let Some(mut task) = self.tasks.take(key) else { return };
        // A lost link or another nexus was faster: the initiator has been told.
        if task.broken {
            self.tasks.put(key, task);
            return;
        }
        let error = match task.action() {
            Some(FaultAction::Transport { error, .. }) => *error,
            _ => TransportError::Error,
        };
        self.complete(task.nexus, task.tag, Outcome::Transport(error));
        task.broken = true;
        if task.ran { self.finish(key, task) } else { self.tasks.put(key, task) }
    }

    /// A command leaves the table.
    pub(crate) fn finish(&mut self, key: TaskKey, task: Task) {
        self.tasks.release(key);
        if let Some(unit) = task.unit {
            let unit = &mut self.units[unit as usize];
            unit.in_flight = unit.in_flight.saturating_sub(1);
        }
        self.keep_buffer(task.data_out);
    }

    /// The initiator hears of the end.
    pub(crate) fn complete(&mut self, nexus: u32, tag: u64, outcome: Outcome) {
        let (nexus, at) = (NexusId(nexus), self.clock.now());
        self.trace.note(at, "answer", format_args!("{nexus} tag {tag} {outcome}"));
        self.completions.push_back(Completion { nexus, tag, at, outcome });
    }

    pub(crate) fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        let room = buffer.capacity();
        if room > 0 && self.spare.len() < SPARES && self.spare_bytes + room <= SPARE_BYTES {
            buffer.clear();
            self.spare_bytes += room;
            self.spare.push(buffer);
        }
    }

    /// A buffer that was used before, or a new one.
    pub(crate) fn spare_buffer(&mut self) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= buffer.capacity();
        buffer
    }
}
