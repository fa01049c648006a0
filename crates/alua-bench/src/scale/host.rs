//! The host: it scans, reads, follows the driver, and carries out what the driver wants sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use alua_array::{Array, Completion, NexusId};
use alua_core::access::AccessState;
use alua_core::gate::Gate;
use alua_core::sense::Disposition;
use alua_core::spc::Status;
use alua_core::spc::cdb::Cdb;
use alua_core::spc::sense::Sense;
use alua_core::time::Time;
use alua_core::tpgs::{AluaOff, Managed};
use alua_core::unit::{CommandId, Config, Event, Outcome, PathId};
use anyhow::{Context, Result, bail};

use super::replay::{Call, Log, evaluate, identify, new_path, new_unit};
use super::slots::{Purpose, Tag};
use super::{PATHS, Unit};

/// No scenario takes longer than this, in milliseconds of virtual time.
const TOO_LATE_MS: u64 = 24 * 3_600_000;

/// READ (16) of the first block.
const READ: [u8; 16] = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
const BLOCK: usize = 512;

/// One logical unit as the host has it.
struct Disk {
    unit: Option<Unit>,
    managed: Option<Result<Managed, AluaOff>>,
    ids: [Option<PathId>; PATHS],
    /// The driver's commands that are out.
    out: [Option<CommandId>; 3],
    /// Reads that wait for a path.
    held: u8,
    /// Paths on which the workload has sent a read since it was told to follow.
    followed: u8,
    /// When the driver wants to be asked again, as in the heap.
    due: Option<Time>,
    right: bool,
}

/// What the host counted since it was asked last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Reads that ended GOOD.
    pub reads: u64,
    /// Reads that a sense code turned back.
    pub turned_back: u64,
    /// Commands of the path checker.
    pub checks: u64,
    /// Activations that ended well.
    pub activated: u64,
    /// The most commands of the driver that were out at one moment.
    pub most_out: u64,
}

/// The host, its units and the array.
pub struct Host {
    array: Array,
    nexuses: Vec<NexusId>,
    config: Config,
    disks: Vec<Disk>,
    deadlines: BinaryHeap<Reverse<(Time, u32)>>,
    now: Time,
    tally: Tally,
    out: u64,
    follow: bool,
    wanted: [AccessState; 2],
    right: usize,
    all_right_at: Option<alua_array::Time>,
    log: Option<Log>,
}

impl Host {
    /// A host with a nexus to every port of `array`, before its scan. With `log` it keeps every
    /// call into the core.
    ///
    /// # Errors
    ///
    /// A port that is down.
    pub fn new(mut array: Array, config: Config, log: bool) -> Result<Self> {
        let ports: Vec<u16> = array.ports().collect();
        let nexuses: Result<Vec<NexusId>, _> =
            ports.into_iter().map(|port| array.connect("host", port)).collect();
        let disks = (0..array.units().count()).map(|_| Disk {
            unit: None,
            managed: None,
            ids: [None; PATHS],
            out: [None; 3],
            held: 0,
            followed: 0,
            due: None,
            right: false,
        });
        Ok(Self {
            disks: disks.collect(),
            array,
            nexuses: nexuses?,
            config,
            deadlines: BinaryHeap::new(),
            now: Time::ZERO,
            tally: Tally::default(),
            out: 0,
            follow: false,
            wanted: [AccessState::ActiveOptimized, AccessState::ActiveNonOptimized],
            right: 0,
            all_right_at: None,
            log: log.then(Log::default),
        })
    }

    /// The array.
    pub fn array(&mut self) -> &mut Array {
        &mut self.array
    }

    /// The driver's units.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.disks.iter().filter_map(|disk| disk.unit.as_ref())
    }

    /// The calls into the core so far.
    pub fn take_log(&mut self) -> Option<Log> {
        self.log.take()
    }

    /// What was counted since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// From now on the states of groups 1 and 2 shall be these on every unit.
    pub fn expect(&mut self, wanted: [AccessState; 2]) {
        self.wanted = wanted;
        self.all_right_at = None;
        self.right = 0;
        for disk in &mut self.disks {
            disk.right = false;
        }
    }

    /// When the driver had the expected states on every path of every unit, and kept them.
    #[must_use]
    pub fn all_right_at(&self) -> Option<alua_array::Time> {
        self.all_right_at
    }

    /// Scans every path of every unit as a host does: TEST UNIT READY until the unit attention of
    /// the new nexus is met, INQUIRY, page 83h; each path is then the driver's.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn scan(&mut self) -> Result<()> {
        for unit in 0..self.disks.len() {
            for path in 0..PATHS {
                self.submit(Tag { unit, path, purpose: Purpose::ScanReady })?;
            }
        }
        self.run()
    }

    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn rest(&mut self, span: Duration) -> Result<()> {
        self.run()?;
        let until = self.array.now().after(span);
        self.array.advance(until);
        self.now = until.to_core();
        Ok(())
    }

    /// Sends a read down every path that the driver says is optimized, and from now on also down
    /// every path that becomes so.
    ///
    /// # Errors
    ///
    /// A nexus that has ended.
    pub fn start_reads(&mut self) -> Result<()> {
        self.follow = true;
        for unit in 0..self.disks.len() {
            self.disks[unit].followed = 0;
            self.follow(unit)?;
            // What becomes optimized again is in use again.
            self.disks[unit].followed = 0;
        }
        Ok(())
    }

    /// Sends TEST UNIT READY down every path, as a path checker does, and works until all is done.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn check_paths(&mut self) -> Result<()> {
        for unit in 0..self.disks.len() {
            for path in 0..PATHS {
                self.submit(Tag { unit, path, purpose: Purpose::Check })?;
            }
        }
        self.run()
    }

    /// Asks the driver of every unit to activate a group.
    ///
    /// # Errors
    ///
    /// A refusal.
    pub fn activate(&mut self, group: u16) -> Result<()> {
        for at in 0..self.disks.len() {
            self.note(at, Call::Activate(group));
            let unit = self.disks[at].unit.as_mut().context("not scanned")?;
            if let Err(refused) = unit.activate(group, self.now) {
                bail!("unit {at}: {refused}");
            }
            self.serve(at)?;
        }
        Ok(())
    }

    /// Works until neither array nor driver has anything to do.
    ///
    /// # Errors
    ///
    /// Something that a scenario without faults does not have: a transport failure, a status other
    /// than GOOD and CHECK CONDITION, a read that the driver's table cannot place, no end.
    pub fn run(&mut self) -> Result<()> {
        loop {
            while let Some(completion) = self.array.poll_completion() {
                self.complete(&completion)?;
                self.array.recycle(completion);
            }
            let core = self.deadlines.peek().map(|Reverse((due, _))| *due);
            if core.is_some_and(|due| due <= self.now) {
                self.wake()?;
                continue;
            }
            let core = core.map(|due| alua_array::Time::from_millis(due.as_millis()));
            let Some(next) = [core, self.array.next_event()].into_iter().flatten().min() else {
                return self.check_end();
            };
            self.array.advance(next);
            self.now = self.array.now().to_core();
            if self.now.as_millis() > TOO_LATE_MS {
                bail!("no end after {TOO_LATE_MS} ms of virtual time");
            }
        }
    }

    fn check_end(&self) -> Result<()> {
        let held: usize = self.disks.iter().map(|disk| usize::from(disk.held)).sum();
        if held > 0 || self.out > 0 {
            bail!("{held} reads found no path, {} commands of the driver are out", self.out);
        }
        Ok(())
    }

    /// Gives every unit whose time has come its turn.
    fn wake(&mut self) -> Result<()> {
        while let Some(&Reverse((due, unit))) = self.deadlines.peek() {
            if due > self.now {
                break;
            }
            self.deadlines.pop();
            let disk = &mut self.disks[unit as usize];
            // An entry that a later one replaced says nothing.
            if disk.due == Some(due) {
                disk.due = None;
                self.serve(unit as usize)?;
            }
        }
        Ok(())
    }

    fn submit(&mut self, tag: Tag) -> Result<()> {
        let (cdb, room) = match tag.purpose {
            Purpose::ScanReady | Purpose::Check => (Cdb::TestUnitReady, 0),
            Purpose::ScanInquiry => (Cdb::Inquiry { page: None, allocation_length: 96 }, 96),
            Purpose::ScanPage83 => (Cdb::Inquiry { page: Some(0x83), allocation_length: 255 }, 255),
            Purpose::Read => return self.send(tag, &READ, &[], BLOCK),
            Purpose::Driver(_) => bail!("the driver's commands have their own way"),
        };
        if tag.purpose == Purpose::Check {
            self.tally.checks += 1;
        }
        self.send(tag, cdb.encode().as_bytes(), &[], room)
    }

    fn send(&mut self, tag: Tag, cdb: &[u8], data_out: &[u8], room: usize) -> Result<()> {
        let (nexus, lun) = (self.nexuses[tag.path], tag.unit as u16);
        Ok(self.array.submit(nexus, lun, tag.encode(), cdb, data_out, room)?)
    }

    fn complete(&mut self, completion: &Completion) -> Result<()> {
        let tag = Tag::decode(completion.tag);
        let alua_array::Outcome::Answered { status, sense, data_in, .. } = &completion.outcome
        else {
            bail!("{}", completion.outcome);
        };
        let (status, data) = (*status, data_in.as_slice());
        let sense = sense.as_ref().map_or(&[][..], |sense| sense.as_bytes());
        if let Purpose::Driver(place) = tag.purpose {
            return self.complete_driver(tag.unit, place, status, sense, data);
        }
        match status {
            Status::Good => self.succeed(tag, data),
            Status::CheckCondition => self.turn_back(tag, sense),
            status => bail!("{:?} ended with {status}", tag.purpose),
        }
    }

    fn complete_driver(
        &mut self,
        at: usize,
        place: u8,
        status: Status,
        sense: &[u8],
        data: &[u8],
    ) -> Result<()> {
        let disk = &mut self.disks[at];
        let id = disk.out[usize::from(place)].take().context("an answer that nobody awaits")?;
        self.out -= 1;
        if let Some(log) = &mut self.log {
            let (sense, data) = (log.keep(sense), log.keep(data));
            log.add(at, self.now, Call::Complete(id, status, sense, data));
        }
        let unit = disk.unit.as_mut().context("not scanned")?;
        unit.handle_completion(id, &Outcome::Answered { status, sense, data }, self.now);
        self.serve(at)
    }

    fn succeed(&mut self, tag: Tag, data: &[u8]) -> Result<()> {
        match tag.purpose {
            Purpose::ScanReady => self.submit(Tag { purpose: Purpose::ScanInquiry, ..tag }),
            Purpose::ScanInquiry => {
                self.disks[tag.unit].managed = Some(evaluate(data)?);
                self.note_data(tag.unit, Call::Inquiry, data);
                self.submit(Tag { purpose: Purpose::ScanPage83, ..tag })
            }
            Purpose::ScanPage83 => self.add_path(tag, data),
            _ => {
                self.tally.reads += u64::from(tag.purpose == Purpose::Read);
                let id = self.disks[tag.unit].ids[tag.path].context("not scanned")?;
                self.note(tag.unit, Call::Success(id));
                let unit = self.disks[tag.unit].unit.as_mut().context("not scanned")?;
                unit.handle_success(id, self.now);
                self.serve(tag.unit)
            }
        }
    }

    fn add_path(&mut self, tag: Tag, page: &[u8]) -> Result<()> {
        let identity = identify(page)?;
        self.note_data(tag.unit, Call::AddPath, page);
        let disk = &mut self.disks[tag.unit];
        let managed = disk.managed.context("no INQUIRY")?;
        let unit = disk.unit.get_or_insert_with(|| new_unit(&identity, managed, self.config));
        disk.ids[tag.path] = Some(unit.add_path(new_path(&identity), self.now)?);
        self.serve(tag.unit)
    }

    /// A sense code: the driver's table says what becomes of the command.
    fn turn_back(&mut self, tag: Tag, bytes: &[u8]) -> Result<()> {
        if tag.purpose == Purpose::ScanReady {
            return self.submit(tag);
        }
        let sense = Sense::parse(bytes)?;
        let id = self.disks[tag.unit].ids[tag.path].context("not scanned")?;
        self.note_data(tag.unit, |range| Call::Sense(id, range), bytes);
        let unit = self.disks[tag.unit].unit.as_mut().context("not scanned")?;
        let meaning = unit.handle_sense(id, &sense, self.now);
        match (meaning.disposition, tag.purpose) {
            (Disposition::RetryHere, Purpose::Check) => self.submit(tag)?,
            (_, Purpose::Check) => {}
            (Disposition::RetryHere, _) => {
                self.tally.turned_back += 1;
                self.submit(tag)?;
            }
            (Disposition::RetryElsewhere | Disposition::Wait, _) => {
                self.tally.turned_back += 1;
                self.disks[tag.unit].held += 1;
                self.place_held(tag.unit)?;
            }
            (other, _) => bail!("{}: {other:?}", meaning.text),
        }
        self.serve(tag.unit)
    }

    /// Sends what the driver wants sent, hears its events, and asks when to come again.
    fn serve(&mut self, at: usize) -> Result<()> {
        loop {
            self.note(at, Call::PollCommand);
            let disk = &mut self.disks[at];
            let unit = disk.unit.as_mut().context("not scanned")?;
            let Some(command) = unit.poll_command(self.now) else { break };
            let place = disk.out.iter().position(Option::is_none).context("too many commands")?;
            disk.out[place] = Some(command.id);
            let path = disk.ids.iter().position(|id| *id == Some(command.path));
            let path = path.context("a command for a path that is not there")?;
            self.out += 1;
            self.tally.most_out = self.tally.most_out.max(self.out);
            let mut list = [0; alua_core::unit::DATA_OUT_MAX];
            let written = command.write_data_out(&mut list)?;
            let tag = Tag { unit: at, path, purpose: Purpose::Driver(place as u8) };
            let room = command.data_in_len() as usize;
            self.send(tag, command.cdb().as_bytes(), &list[..written], room)?;
        }
        self.hear_events(at)?;
        self.note(at, Call::PollDeadline);
        let disk = &mut self.disks[at];
        let due = disk.unit.as_mut().and_then(Unit::poll_deadline);
        // A time that has come, and nothing was sent: a millisecond on.
        let due = due.map(|due| if due <= self.now { self.now.after(1) } else { due });
        if due != disk.due {
            disk.due = due;
            self.deadlines.extend(due.map(|due| Reverse((due, at as u32))));
        }
        Ok(())
    }

    fn hear_events(&mut self, at: usize) -> Result<()> {
        let mut moved = false;
        loop {
            self.note(at, Call::PollEvent);
            match self.disks[at].unit.as_mut().and_then(Unit::poll_event) {
                Some(Event::Path { .. }) => moved = true,
                Some(Event::Activation { result: Ok(_), .. }) => self.tally.activated += 1,
                Some(Event::Activation { result: Err(error), .. }) => bail!("unit {at}: {error}"),
                Some(Event::IdentityChanged { .. } | Event::GroupsNotStored { .. }) => {
                    bail!("unit {at} is not what it was")
                }
                Some(_) => {}
                None => break,
            }
        }
        if moved {
            self.judge(at);
            if self.follow {
                self.follow(at)?;
            }
            self.place_held(at)?;
        }
        Ok(())
    }

    /// Whether the driver has the expected states on all eight paths.
    fn judge(&mut self, at: usize) {
        let disk = &mut self.disks[at];
        let wanted = self.wanted;
        let right = disk.unit.as_ref().is_some_and(|unit| {
            unit.paths().count() == PATHS
                && unit.paths().all(|(id, path)| {
                    let place = usize::from(path.group() == Some(2));
                    unit.access(id).state == Some(wanted[place])
                })
        });
        if right != disk.right {
            disk.right = right;
            self.right = if right { self.right + 1 } else { self.right - 1 };
            let all = self.right == self.disks.len();
            self.all_right_at = all.then(|| self.array.now());
        }
    }

    /// A read down every optimized path that has not had one.
    fn follow(&mut self, at: usize) -> Result<()> {
        for path in 0..PATHS {
            let disk = &mut self.disks[at];
            let Some((unit, id)) = disk.unit.as_ref().zip(disk.ids[path]) else { continue };
            let optimized = unit.access(id).state == Some(AccessState::ActiveOptimized);
            if optimized && disk.followed & 1 << path == 0 {
                disk.followed |= 1 << path;
                self.submit(Tag { unit: at, path, purpose: Purpose::Read })?;
            }
        }
        Ok(())
    }

    /// Sends the reads that wait down the best path whose gate is open, if there is one.
    fn place_held(&mut self, at: usize) -> Result<()> {
        while self.disks[at].held > 0 {
            let mut best = None;
            for path in 0..PATHS {
                let Some(id) = self.disks[at].ids[path] else { continue };
                self.note(at, Call::Gate(id));
                let Some(unit) = &self.disks[at].unit else { continue };
                if unit.gate(id) == Gate::Pass {
                    let optimized = unit.access(id).state == Some(AccessState::ActiveOptimized);
                    if optimized || best.is_none() {
                        best = Some(path);
                    }
                    if optimized {
                        break;
                    }
                }
            }
            let Some(path) = best else { return Ok(()) };
            self.disks[at].held -= 1;
            self.submit(Tag { unit: at, path, purpose: Purpose::Read })?;
        }
        Ok(())
    }

    fn note(&mut self, at: usize, call: Call) {
        if let Some(log) = &mut self.log {
            log.add(at, self.now, call);
        }
    }

    fn note_data(
        &mut self,
        at: usize,
        call: impl FnOnce(super::replay::Range) -> Call,
        data: &[u8],
    ) {
        if let Some(log) = &mut self.log {
            let range = log.keep(data);
            log.add(at, self.now, call(range));
        }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("units", &self.disks.len()).finish_non_exhaustive()
    }
}
