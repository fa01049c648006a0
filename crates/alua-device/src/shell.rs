//! The engine's thread: it owns an engine and its paths, and carries out what the engine wants.
//!
//! # States of a request
//!
//! `held` (no room in the engine, or an earlier server's commands are being fenced off) - `Job`,
//! with one request in the engine at a time - ended. A discard or a write of zeroes that is longer
//! than the engine takes goes in pieces, one after the other.
//!
//! # Invariants
//!
//! - A job is in `jobs` at the place of its request in the engine, from the submission to the
//!   completion; its duty to end is inside it, so that dropping everything ends every request.
//! - A read's buffer is in its job or with one command. What a command read moves to the job when
//!   the engine completes the request by that command, and to nobody otherwise.
//! - A write's data are shared by the job and its commands; the memory lives until the last is
//!   back.
//! - After each input every action of the engine is carried out before the next input.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use alua_core::gate::Hold;
use alua_core::select::Standing;
use alua_core::spc::Status;
use alua_export::block::{self, BlockError};
use alua_host::discovery;
use alua_host::ports::ReportedPorts;
use alua_multipath::{
    Action, ControlId, ControlKind, Engine, Event, FenceAnswer, FenceKind, FenceStep, IoId,
    NewPath, Operation, PathId, PathTraits, Request, RequestError, RequestId, Send, SubmitError,
    Time,
};

use crate::device::Told;
use crate::inbox::{Back, Message, Reactor};
use crate::inherited::Inherited;
use crate::path::{
    Answer, Command, ControlAnswer, ControlCommand, Cut, PathIo, Payload, Step, StepId, StepKind,
    reads,
};

mod show;

/// A path of the shell.
pub(crate) struct Slot {
    pub(crate) id: PathId,
    pub(crate) label: String,
    found: Arc<discovery::Path>,
    traits: PathTraits,
    io: Box<dyn PathIo>,
}

/// A block request at work.
struct Job {
    completion: block::Completion,
    whole: Request,
    /// Blocks of the whole that are done, and those of the piece that is in the engine.
    done: u64,
    blocks: u64,
    data: JobData,
}

/// A command of the driver that was sent.
struct Awaited {
    id: ControlId,
    /// When it is given up.
    until: Time,
    /// It is REPORT TARGET PORT GROUPS.
    reports: bool,
}

enum JobData {
    None,
    /// Empty while a command has it.
    Read(Vec<u8>),
    Write(Arc<Vec<u8>>),
}

/// See the [module](self).
pub(crate) struct Shell {
    pub(crate) engine: Engine,
    pub(crate) slots: Vec<Option<Slot>>,
    /// By place: how the path that was taken away from there last is cut. The engine gives the place to
    /// another one when all that went down this one is over.
    gone: Vec<Option<(PathId, Cut)>>,
    back: Back,
    reactor: Box<dyn Reactor>,
    start: Instant,
    jobs: Vec<Option<Job>>,
    held: VecDeque<(block::Request, block::Completion)>,
    /// What the command that came back just now has read.
    returned: Option<(IoId, Payload)>,
    /// What was sent of the driver's commands and of the steps, and when each is given up.
    controls: Vec<Awaited>,
    steps: Vec<(StepId, Time)>,
    inherited: Inherited<PathId>,
    ports: ReportedPorts,
    listeners: Vec<SyncSender<Told>>,
    /// Paths on which another unit answers.
    strangers: Vec<PathId>,
    stopping: bool,
    stopped: bool,
}

impl Shell {
    /// `inherits`: an earlier server of the unit has not ended cleanly.
    pub(crate) fn new(
        engine: Engine,
        back: Back,
        reactor: Box<dyn Reactor>,
        inherits: bool,
    ) -> Self {
        let limits = engine.config().limits;
        let mut inherited = Inherited::new(&engine.config().fence);
        if inherits {
            inherited.begin(Time::ZERO);
        }
        Self {
            engine,
            slots: (0..limits.paths).map(|_| None).collect(),
            gone: (0..limits.paths).map(|_| None).collect(),
            back,
            reactor,
            start: Instant::now(),
            jobs: (0..limits.requests).map(|_| None).collect(),
            held: VecDeque::new(),
            returned: None,
            controls: Vec::new(),
            steps: Vec::new(),
            inherited,
            ports: ReportedPorts::default(),
            listeners: Vec::new(),
            strangers: Vec::new(),
            stopping: false,
            stopped: false,
        }
    }

    /// The time on the engine's clock.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Runs until the device has stopped, or `abandon` was called.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::new();
        let back = self.back.clone();
        loop {
            self.reactor.reap(&back);
            back.take(&mut batch);
            for message in batch.drain(..) {
                self.take(message);
                self.act();
            }
            self.pass_time();
            if self.stopped {
                break;
            }
            if back.sleeps() {
                let limit = self.sleep_limit();
                self.reactor.wait(back.descriptor(), limit);
                back.wakes();
            }
        }
        self.end();
    }

    /// How long nothing happens by itself.
    fn sleep_limit(&self) -> Option<Duration> {
        let others = self.controls.iter().map(|control| control.until);
        let others = others.chain(self.steps.iter().map(|&(_, at)| at));
        let inherited = self.inherited.deadline();
        let next = others.chain(self.engine.poll_deadline()).chain(inherited).min()?;
        Some(Duration::from_nanos(next.since(self.now())))
    }

    fn take(&mut self, message: Message) {
        let now = self.now();
        match message {
            Message::Request(request, completion) => self.submit(request, completion),
            Message::Io(io, answer, data) => {
                self.returned = Some((io, data));
                self.engine.handle_io(io, &answer.outcome(), now);
                self.act();
                // What nobody wants is dropped with the command that brought it.
                self.returned = None;
            }
            Message::Control(id, answer) => {
                if let Some(sent) = self.ended(id) {
                    if sent.reports
                        && let ControlAnswer::Answered { status: Status::Good, data, .. } = &answer
                    {
                        self.ports.note(data);
                    }
                    self.engine.handle_control(id, &answer.outcome(), now);
                }
            }
            Message::Step(id, answer) => self.step_ended(id, answer),
            Message::Down(path) => self.engine.handle_path_down(path, now),
            Message::Up(path) => self.engine.handle_path_up(path, now),
            Message::Call(call) => call(self),
        }
    }

    /// A command of the driver that is awaited; it is not any more.
    fn ended(&mut self, id: ControlId) -> Option<Awaited> {
        let at = self.controls.iter().position(|control| control.id == id);
        at.map(|at| self.controls.swap_remove(at))
    }

    fn step_ended(&mut self, id: StepId, answer: FenceAnswer) {
        let Some(at) = self.steps.iter().position(|&(known, _)| known == id) else { return };
        self.steps.swap_remove(at);
        let now = self.now();
        match id {
            StepId::Engine(id) => self.engine.handle_fence(id, answer, now),
            StepId::Inherited(number) => self.inherited.answered(number, answer, now),
        }
    }

    fn pass_time(&mut self) {
        let now = self.now();
        if self.engine.poll_deadline().is_some_and(|at| at <= now) {
            self.engine.handle_time(now);
            self.act();
        }
        let late = self.controls.iter().filter(|control| control.until <= now);
        let late: Vec<ControlId> = late.map(|control| control.id).collect();
        for id in late {
            self.ended(id);
            self.engine.handle_control(id, &ControlAnswer::TimedOut.outcome(), now);
            self.act();
        }
        let late: Vec<StepId> =
            self.steps.iter().filter(|&&(_, at)| at <= now).map(|&(id, _)| id).collect();
        for id in late {
            self.step_ended(id, FenceAnswer::Failed);
            self.act();
        }
        self.clear_inheritance(now);
        self.admit_held();
        if self.stopping && self.held.is_empty() && self.jobs.iter().all(Option::is_none) {
            self.engine.stop(self.now());
            self.act();
        }
    }

    /// See [`crate::inherited`].
    fn clear_inheritance(&mut self, now: Time) {
        if self.inherited.lets_pass() {
            return;
        }
        let slots = self.slots.iter().flatten();
        let able: Vec<PathId> =
            slots.filter(|slot| slot.traits.reset_unit).map(|slot| slot.id).collect();
        let reactor = &mut self.reactor;
        let reset = self.inherited.poll(&able, || reactor.quiet(), now);
        if let Some((number, via)) = reset {
            let timeout_ms = self.engine.config().fence.step_timeout_ms;
            let kind = StepKind::ResetUnit { of: None, cuts: Vec::new() };
            self.start_step(via, Step { id: StepId::Inherited(number), kind, timeout_ms }, now);
        }
        if self.inherited.lets_pass() {
            self.tell(Told::note(
                now,
                "nothing of the earlier server is under way: requests go on",
            ));
        }
    }

    /// Gives held requests to the engine, while it has room and may have them.
    fn admit_held(&mut self) {
        while self.inherited.lets_pass() && self.engine.pending() < self.jobs.len() {
            let Some((request, completion)) = self.held.pop_front() else { break };
            self.start(request, completion);
            self.act();
        }
    }

    fn submit(&mut self, request: block::Request, completion: block::Completion) {
        if self.stopping {
            return completion.complete(Err(BlockError::ShuttingDown));
        }
        let now = self.now();
        if request.reissued && request.operation.modifies() && self.inherited.begin(now) {
            self.tell(Told::note(
                now,
                "requests of an earlier server are here again: what it sent is fenced off first",
            ));
        }
        let room = self.engine.pending() < self.jobs.len();
        if !room || !self.held.is_empty() || !self.inherited.lets_pass() {
            self.held.push_back((request, completion));
            return;
        }
        self.start(request, completion);
    }

    fn start(&mut self, request: block::Request, completion: block::Completion) {
        let block = u64::from(self.engine.geometry().block_size);
        let (lba, blocks) = (request.offset / block, request.length / block);
        let operation = match request.operation {
            block::Operation::Read => Operation::Read,
            block::Operation::Write => Operation::Write { fua: request.fua },
            block::Operation::Flush => Operation::Flush,
            block::Operation::Discard => Operation::Discard,
            block::Operation::WriteZeroes { may_unmap } => {
                Operation::WriteZeroes { fua: request.fua, unmap: may_unmap }
            }
        };
        let data = match operation {
            Operation::Read => JobData::Read(request.data),
            Operation::Write { .. } => JobData::Write(Arc::new(request.data)),
            _ => JobData::None,
        };
        let whole = Request { operation, lba, blocks: 0 };
        self.enter(Job { completion, whole, done: 0, blocks, data });
    }

    /// Gives the next piece of a job to the engine.
    fn enter(&mut self, job: Job) {
        let most = u64::from(self.engine.config().limits.blocks_per_request);
        let blocks = u32::try_from((job.blocks - job.done).min(most)).unwrap_or(u32::MAX);
        let piece = Request { lba: job.whole.lba + job.done, blocks, ..job.whole };
        match self.engine.submit(piece, self.now()) {
            Ok(id) => {
                if let Some(place) = self.jobs.get_mut(id.index()) {
                    *place = Some(Job { whole: Request { blocks, ..job.whole }, ..job });
                }
            }
            Err(error) => job.completion.complete(Err(match error {
                SubmitError::OutOfRange => BlockError::OutOfRange,
                SubmitError::Length => BlockError::InvalidRequest,
                SubmitError::Stopped => BlockError::ShuttingDown,
                // There is one place for each request of the engine, and it was asked.
                SubmitError::Full => BlockError::Io,
            })),
        }
    }

    /// Carries out what the engine wants.
    pub(crate) fn act(&mut self) {
        loop {
            self.listen();
            if let Some(stranger) = self.strangers.pop() {
                self.take_out(stranger);
                continue;
            }
            let Some(action) = self.engine.poll_action() else { break };
            match action {
                Action::Send(send) => self.send(&send),
                Action::Control(control) => {
                    let command = ControlCommand::of(&control);
                    let until = self.now().after(command.timeout_ms.saturating_add(GRACE_MS));
                    let reports = is_report(&control.kind);
                    self.controls.push(Awaited { id: command.id, until, reports });
                    let back = self.back.clone();
                    match self.slot(command.path) {
                        Some(slot) => slot.io.control(command, &back),
                        None => back.control(command.id, ControlAnswer::NotSubmitted),
                    }
                }
                Action::Fence(step) => self.fence(&step),
                Action::Take { id, by, offset } => self.keep(id, by, offset),
                Action::Complete { id, result, by } => self.finish(id, result, by),
            }
        }
    }

    fn slot(&mut self, path: PathId) -> Option<&mut Slot> {
        self.slots.get_mut(path.index())?.as_mut().filter(|slot| slot.id == path)
    }

    fn send(&mut self, send: &Send) {
        let block = self.engine.geometry().block_size as usize;
        let length = send.part.blocks as usize * block;
        let start = send.offset as usize * block;
        let job = self.jobs.get_mut(send.id.index()).and_then(Option::as_mut);
        let data = match job.map(|job| &mut job.data) {
            Some(JobData::Read(buffer)) if reads(&send.part) => {
                // A part, or where an abandoned command has kept the buffer: this one gets its own.
                let mut buffer =
                    if buffer.len() == length { std::mem::take(buffer) } else { Vec::new() };
                buffer.resize(length, 0);
                Payload::Read(buffer)
            }
            Some(JobData::Write(data))
                if matches!(send.part.operation, Operation::Write { .. }) =>
            {
                Payload::Write { data: Arc::clone(data), start, length }
            }
            _ => Payload::None,
        };
        let command = Command { io: send.io, path: send.path, part: send.part, data };
        let back = self.back.clone();
        match self.slot(send.path) {
            Some(slot) => slot.io.send(command, &back),
            None => back.io(command.io, Answer::NotSubmitted, command.data),
        }
    }

    fn fence(&mut self, step: &FenceStep) {
        let (path, kind) = match step.kind {
            FenceKind::AbortTask(io) => (step.path, StepKind::AbortTask(io)),
            FenceKind::EndNexus => (step.path, StepKind::EndNexus),
            FenceKind::ResetUnit { via } => {
                let cuts = self.cut_of(step.path).into_iter().collect();
                (via, StepKind::ResetUnit { of: Some(step.path), cuts })
            }
        };
        let (id, timeout_ms) = (StepId::Engine(step.id), step.timeout_ms);
        self.start_step(path, Step { id, kind, timeout_ms }, self.now());
    }

    /// How a path is cut, also one that was taken away.
    fn cut_of(&mut self, path: PathId) -> Option<Cut> {
        if let Some(slot) = self.slot(path) {
            return slot.io.cut();
        }
        let gone = self.gone.get(path.index())?.as_ref();
        gone.filter(|(id, _)| *id == path).map(|(_, cut)| Arc::clone(cut))
    }

    fn start_step(&mut self, path: PathId, step: Step, now: Time) {
        self.steps.push((step.id, now.after(step.timeout_ms)));
        let back = self.back.clone();
        match self.slot(path) {
            Some(slot) => slot.io.step(step, &back),
            None => back.step(step.id, FenceAnswer::Failed),
        }
    }

    /// What the command has brought back that came back just now, if it is this one.
    fn brought(&mut self, by: Option<IoId>) -> Option<Payload> {
        self.returned.take_if(|returned| Some(returned.0) == by).map(|(_, data)| data)
    }

    /// Keeps what a part of a read has brought, in the job's own buffer.
    fn keep(&mut self, id: RequestId, by: IoId, offset: u32) {
        let Some(Payload::Read(part)) = self.brought(Some(by)) else { return };
        let block = self.engine.geometry().block_size as usize;
        let Some(job) = self.jobs.get_mut(id.index()).and_then(Option::as_mut) else { return };
        if let JobData::Read(buffer) = &mut job.data {
            buffer.resize(job.blocks as usize * block, 0);
            let start = offset as usize * block;
            if let Some(place) = buffer.get_mut(start..start + part.len()) {
                place.copy_from_slice(&part);
            }
        }
    }

    fn finish(&mut self, id: RequestId, result: Result<(), RequestError>, by: Option<IoId>) {
        let Some(mut job) = self.jobs.get_mut(id.index()).and_then(Option::take) else { return };
        if let Err(error) = result {
            return job.completion.complete(Err(block_error(error)));
        }
        let block = u64::from(self.engine.geometry().block_size);
        job.done += u64::from(job.whole.blocks);
        if job.done < job.blocks {
            return self.enter(job);
        }
        let data = match (job.data, self.brought(by)) {
            (JobData::None, _) => Vec::new(),
            (JobData::Write(data), brought) => {
                // The command's share of them goes; where another copy is out, that keeps its own.
                drop(brought);
                Arc::try_unwrap(data).unwrap_or_default()
            }
            (JobData::Read(_), Some(Payload::Read(buffer)))
                if buffer.len() as u64 == job.blocks * block =>
            {
                buffer
            }
            // It went in parts.
            (JobData::Read(buffer), None)
                if by.is_none() && buffer.len() as u64 == job.blocks * block =>
            {
                buffer
            }
            // A read is complete by the command that has come back with all of its data, and by no
            // other.
            (JobData::Read(_), _) => return job.completion.complete(Err(BlockError::Io)),
        };
        job.completion.complete(Ok(data));
    }

    fn listen(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.stopped |= event == Event::Stopped;
            match event {
                Event::IdentityChanged { path } => self.strangers.push(path),
                Event::Standing { path, from: Standing::Waits(Hold::Transitioning), .. } => {
                    if let Some(slot) = self.slot(path) {
                        slot.io.transition_ended();
                    }
                }
                _ => {}
            }
            let now = self.now();
            let told = Told::event(now, event, |path| self.known_label(path));
            self.tell(told);
        }
    }

    fn known_label(&self, path: PathId) -> Option<String> {
        let slot = self.slots.get(path.index()).and_then(Option::as_ref);
        slot.filter(|slot| slot.id == path).map(|slot| slot.label.clone())
    }

    /// How people call a path, or the engine where it is gone.
    pub(crate) fn label(&self, path: PathId) -> String {
        self.known_label(path).unwrap_or_else(|| path.to_string())
    }

    /// Tells what somebody did by hand, before what comes of it.
    pub(crate) fn by_hand(&mut self, at: Time, text: &str) {
        self.tell(Told::note(at, text));
    }

    fn tell(&mut self, told: Told) {
        tracing::debug!("{}", told.text);
        let send = |to: &SyncSender<Told>| {
            !matches!(to.try_send(told.clone()), Err(TrySendError::Disconnected(_)))
        };
        self.listeners.retain(send);
    }

    pub(crate) fn open_requests(&self) -> usize {
        self.held.len() + self.jobs.iter().flatten().count()
    }

    pub(crate) fn listen_to(&mut self, listener: SyncSender<Told>) {
        self.listeners.push(listener);
    }

    pub(crate) fn add_path(
        &mut self,
        new: NewPath<'_>,
        label: String,
        found: Arc<discovery::Path>,
        io: Box<dyn PathIo>,
    ) -> Result<PathId, alua_multipath::AddPathError> {
        let now = self.now();
        let id = self.engine.add_path(new, now)?;
        if let Some(place) = self.slots.get_mut(id.index()) {
            *place = Some(Slot { id, label, found, traits: new.traits, io });
        }
        self.act();
        Ok(id)
    }

    pub(crate) fn remove_path(&mut self, path: PathId) -> bool {
        let was_there = self.take_out(path);
        self.act();
        was_there
    }

    fn take_out(&mut self, path: PathId) -> bool {
        let Some(place) = self.slots.get_mut(path.index()) else { return false };
        let Some(mut slot) = place.take_if(|slot| slot.id == path) else { return false };
        let cut = slot.io.cut();
        if let Some(gone) = self.gone.get_mut(path.index()) {
            *gone = cut.map(|cut| (path, cut));
        }
        let ended = slot.io.close(&self.back);
        let now = self.now();
        self.engine.remove_path(path, ended, now)
    }

    /// Takes no more requests; ends when those that are there are complete.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        // What was held was taken by us, so it is carried out; unless nothing may run yet.
        if !self.inherited.lets_pass() {
            for (_, completion) in self.held.drain(..) {
                completion.complete(Err(BlockError::ShuttingDown));
            }
        }
    }

    /// See [`crate::Device::give_up_held`].
    pub(crate) fn give_up_held(&mut self) {
        if !self.inherited.lets_pass() {
            self.stop();
        }
    }

    /// Ends now: what is not complete fails.
    pub(crate) const fn abandon(&mut self) {
        self.stopping = true;
        self.stopped = true;
    }

    /// Gives every path and every request back.
    fn end(mut self) {
        for slot in &mut self.slots {
            if let Some(mut slot) = slot.take() {
                slot.io.close(&self.back);
            }
        }
        let whole = self.inherited.lets_pass()
            && self.held.is_empty()
            && self.jobs.iter().all(Option::is_none);
        self.reactor.finish(&self.back, whole);
        for message in self.back.close() {
            if let Message::Request(_, completion) = message {
                completion.complete(Err(BlockError::ShuttingDown));
            }
        }
        let jobs = self.jobs.drain(..).flatten().map(|job| job.completion);
        let held = self.held.drain(..).map(|(_, completion)| completion);
        for completion in jobs.chain(held) {
            completion.complete(Err(BlockError::ShuttingDown));
        }
    }
}

/// An answer may come so many milliseconds after its time limit and still be worth something: the
/// transport's own time-out says more than ours.
const GRACE_MS: u32 = 500;

const fn is_report(kind: &ControlKind) -> bool {
    use alua_core::unit::CommandKind;

    matches!(kind, ControlKind::Core(command)
        if matches!(command.kind, CommandKind::ReportTargetPortGroups { .. }))
}

const fn block_error(error: RequestError) -> BlockError {
    use alua_core::failover::TargetError;

    match error {
        RequestError::NoPath => BlockError::NoPath,
        RequestError::Exhausted => BlockError::Io,
        RequestError::Target(error) => match error {
            TargetError::Protected => BlockError::ReadOnly,
            TargetError::NoSpace => BlockError::NoSpace,
            TargetError::Reservation => BlockError::Reserved,
            TargetError::OutOfRange => BlockError::OutOfRange,
            TargetError::Unsupported => BlockError::NotSupported,
            _ => BlockError::Io,
        },
    }
}
