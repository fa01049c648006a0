//! One path to the model array, and the array's place on an engine thread.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use alua_array::{FunctionResult, NexusId, Outcome, TransportError};
use alua_core::failover::Summary;
use alua_multipath::{ControlId, FenceAnswer, IoId, Operation, sbc};

use super::{Model, ModelArray};
use crate::inbox::{Back, Reactor, sleep};
use crate::path::{
    Answer, Command, ControlAnswer, ControlCommand, PathIo, Payload, Step, StepKind,
};

/// A command that the array has.
pub(crate) struct Out {
    lun: u16,
    back: Back,
    what: What,
}

enum What {
    Io(IoId, Payload),
    Control(ControlId),
}

impl Out {
    /// The array says how it ended.
    pub(super) fn completed(self, outcome: Outcome) {
        match self.what {
            What::Io(io, data) => {
                let (answer, data) = io_answer(outcome, data);
                self.back.io(io, answer, data);
            }
            What::Control(id) => self.back.control(id, control_answer(outcome)),
        }
    }

    /// It has ended without a word of the array.
    fn ended(self, io_answer: Answer, control_answer: ControlAnswer) {
        match self.what {
            What::Io(io, data) => self.back.io(io, io_answer, data),
            What::Control(id) => self.back.control(id, control_answer),
        }
    }
}

fn io_answer(outcome: Outcome, data: Payload) -> (Answer, Payload) {
    match outcome {
        Outcome::Transport(TransportError::NoConnect) => (Answer::NotSubmitted, data),
        Outcome::Transport(_) => (Answer::TransportFailed, data),
        Outcome::Answered { status, sense, data_in, .. } => {
            let whole = data_in.len() == data.room();
            let sense = sense.map_or_else(Vec::new, |sense| sense.as_bytes().to_vec());
            let data = match data {
                Payload::Read(mut buffer) if whole => {
                    buffer.copy_from_slice(&data_in);
                    Payload::Read(buffer)
                }
                other => other,
            };
            (Answer::Answered { status, sense, whole }, data)
        }
    }
}

fn control_answer(outcome: Outcome) -> ControlAnswer {
    match outcome {
        Outcome::Transport(TransportError::NoConnect) => ControlAnswer::NotSubmitted,
        Outcome::Transport(_) => ControlAnswer::TransportFailed,
        Outcome::Answered { status, sense, data_in, .. } => ControlAnswer::Answered {
            status,
            sense: sense.map_or_else(Vec::new, |sense| sense.as_bytes().to_vec()),
            data: data_in,
        },
    }
}

/// A path to a unit of the model array: an initiator, a port, a logical unit number.
pub(crate) struct ModelPath {
    array: ModelArray,
    initiator: String,
    port: u16,
    lun: u16,
    nexus: NexusId,
    block_size: usize,
}

impl ModelPath {
    pub(super) const fn new(
        array: ModelArray,
        initiator: String,
        port: u16,
        lun: u16,
        nexus: NexusId,
        block_size: usize,
    ) -> Self {
        Self { array, initiator, port, lun, nexus, block_size }
    }

    /// Sends a command; what the array does not even take comes back at once.
    fn submit(&self, cdb: &[u8], data_out: &[u8], room: usize, back: &Back, what: What) {
        let mut model = self.array.lock();
        model.catch_up();
        let (tag, lun) = (model.tag(), self.lun);
        let out = Out { lun, back: back.clone(), what };
        match model.array.submit(self.nexus, lun, tag, cdb, data_out, room) {
            Ok(()) => {
                model.outs.insert((self.nexus, tag), out);
            }
            Err(_) => out.ended(Answer::NotSubmitted, ControlAnswer::NotSubmitted),
        }
        // A port that is down answers at once.
        model.deliver();
    }

    /// Takes a step, and says what has ended by it.
    fn take_step(&mut self, model: &mut Model, kind: &StepKind) -> (FunctionResult, Vec<Out>) {
        let own = self.nexus;
        match kind {
            StepKind::AbortTask(io) => {
                let is_it = |out: &Out| matches!(out.what, What::Io(it, _) if it == *io);
                let known = model.outs.iter().find(|((nexus, _), out)| *nexus == own && is_it(out));
                let Some((&(_, tag), _)) = known else {
                    return (FunctionResult::NoSuchTask, Vec::new());
                };
                let result = model.array.abort(own, tag);
                let ended = if is_done(result) {
                    model.take_outs(|out, nexus| nexus == own && is_it(out))
                } else {
                    Vec::new()
                };
                (result, ended)
            }
            StepKind::EndNexus => match model.array.connect(&self.initiator, self.port) {
                Ok(nexus) => {
                    self.nexus = nexus;
                    (FunctionResult::Complete, model.take_outs(|_, nexus| nexus == own))
                }
                Err(_) => (FunctionResult::Transport(TransportError::NoConnect), Vec::new()),
            },
            StepKind::ResetUnit { .. } => {
                let result = model.array.reset_unit(own, self.lun);
                // Those that the array answers first (TASK ABORTED) keep their answers.
                model.deliver();
                let unit = model.array.unit_at(self.port, self.lun);
                let ended = if is_done(result) {
                    let ports: Vec<(NexusId, u16)> = model
                        .outs
                        .iter()
                        .filter(|((nexus, _), out)| {
                            let port = model.array.port_of(*nexus);
                            port.is_some_and(|port| model.array.unit_at(port, out.lun) == unit)
                        })
                        .map(|((nexus, _), out)| (*nexus, out.lun))
                        .collect();
                    model.take_outs(|out, nexus| ports.contains(&(nexus, out.lun)))
                } else {
                    Vec::new()
                };
                (result, ended)
            }
        }
    }
}

/// The data that go with a command, other than those of a write; `block` is the block's size.
fn list_of(command: &Command, block: usize) -> Vec<u8> {
    match command.part.operation {
        Operation::Discard => sbc::unmap_list(&command.part).to_vec(),
        Operation::WriteZeroes { .. } => vec![0; block],
        Operation::Read | Operation::Write { .. } | Operation::Flush => Vec::new(),
    }
}

const fn is_done(result: FunctionResult) -> bool {
    matches!(result, FunctionResult::Complete | FunctionResult::NoSuchTask)
}

impl PathIo for ModelPath {
    fn send(&mut self, command: Command, back: &Back) {
        let cdb = sbc::cdb(&command.part);
        let room = command.data.room();
        if let Payload::Write { data, start, length } = &command.data {
            // The array copies what it is given before `submit` returns.
            let (data, start, length) = (Arc::clone(data), *start, *length);
            let bytes = data.get(start..start.saturating_add(length)).unwrap_or_default();
            let what = What::Io(command.io, command.data);
            return self.submit(cdb.as_bytes(), bytes, 0, back, what);
        }
        let list = list_of(&command, self.block_size);
        let what = What::Io(command.io, command.data);
        self.submit(cdb.as_bytes(), &list, room, back, what);
    }

    fn control(&mut self, command: ControlCommand, back: &Back) {
        let what = What::Control(command.id);
        self.submit(&command.cdb, &command.data_out, command.room, back, what);
    }

    fn step(&mut self, step: Step, back: &Back) {
        let array = self.array.clone();
        let mut model = array.lock();
        model.catch_up();
        let (result, ended) = self.take_step(&mut model, &step.kind);
        // First what the step has ended, then that it has: the engine's books agree with ours.
        for out in ended {
            out.ended(Answer::Summed(Summary::Ended), ControlAnswer::TransportFailed);
        }
        model.deliver();
        match result {
            // It never comes: the runtime's time limit ends the step.
            FunctionResult::NoAnswer => {}
            result if is_done(result) => back.step(step.id, FenceAnswer::Done),
            _ => back.step(step.id, FenceAnswer::Failed),
        }
    }

    fn close(&mut self, _back: &Back) -> bool {
        let mut model = self.array.lock();
        model.catch_up();
        let (own, confirmed) = (self.nexus, model.array.is_up(self.port));
        model.deliver();
        model.array.disconnect(own);
        for out in model.take_outs(|_, nexus| nexus == own) {
            out.ended(Answer::TransportFailed, ControlAnswer::TransportFailed);
        }
        confirmed
    }
}

/// Lets the array's time pass on an engine's thread.
pub(crate) struct ModelReactor {
    array: ModelArray,
}

impl ModelReactor {
    pub(super) const fn new(array: ModelArray) -> Self {
        Self { array }
    }
}

impl Reactor for ModelReactor {
    fn wait(&mut self, wake: BorrowedFd<'_>, limit: Option<Duration>) {
        let next = self.array.lock().idle_for();
        sleep(wake, limit.into_iter().chain(next).min());
    }

    fn reap(&mut self, _back: &Back) {
        let mut model = self.array.lock();
        model.catch_up();
        model.deliver();
    }

    fn finish(&mut self, back: &Back, _whole: bool) {
        self.array.lock().forget(back);
    }
}
