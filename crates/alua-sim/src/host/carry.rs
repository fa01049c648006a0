//! What the engine wants done, carried out on the model array; the checkers that see each action.

use alua_array::{Array, FunctionResult, NexusId, TransportError};
use alua_core::access::AccessState;
use alua_core::select::{OUTRUN_DEN, OUTRUN_FLOOR_NS, OUTRUN_NUM, Policy, Standing};
use alua_core::unit::{self, CommandKind};
use alua_multipath::{
    Action, Control, ControlKind, Event, FenceAnswer, FenceKind, FenceStep, IoId, Operation,
    PathId, PathView, Request, RequestError, RequestId, Send, Time, sbc,
};

use super::hold::{LIMIT_MS, Packet};
use super::{Alive, COPY, ControlOut, Ended, Host, Later, Out};
use crate::check::{Checks, Invariant};
use crate::options::{BLOCK, GHOST_MS, LUN};
use crate::trace::Trace;

/// Under service-time a worse path may be used in one choice of so many without being faster; the
/// engine tries one in 64, and not each choice is a command.
const TRIALS_PART: u64 = 32;
/// And so often from the start.
const TRIALS_FREE: u64 = 2;

impl Host {
    /// Carries out what the engine wants.
    pub(crate) fn act(
        &mut self,
        array: &mut Array,
        now: Time,
        trace: &mut Trace,
        checks: &mut Checks,
    ) {
        self.listen(now, trace);
        if let Some(count) = self.stpg_storm.take() {
            checks.fail(Invariant::I9, now, format_args!("{count} STPG in a minute"));
        }
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Send(send) => self.send(array, &send, now, trace, checks),
                Action::Control(control) => self.control(array, &control, now, trace, checks),
                Action::Fence(step) => self.fence(array, &step, now, trace),
                Action::Take { id, by, offset } => self.take(id, by, offset),
                Action::Complete { id, result, by } => {
                    self.finish(id, result, by, now, trace, checks);
                }
            }
        }
    }

    /// Takes in what the engine tells.
    fn listen(&mut self, now: Time, trace: &mut Trace) {
        while let Some(event) = self.engine.poll_event() {
            if let Event::PathFailed { path } = event {
                // The driver core does not wait for what is out on it.
                for out in self.controls.values_mut().filter(|out| out.path == path) {
                    out.report = false;
                }
            }
            if let Event::ActivationStarted { .. } = event {
                self.reports.reason();
            }
            if let Event::IdentityChanged { path } = event {
                self.strangers.push(path);
            }
            trace.note(now, &self.name, "tell", format_args!("{event:?}"));
        }
    }

    fn send(
        &mut self,
        array: &mut Array,
        send: &Send,
        now: Time,
        trace: &mut Trace,
        checks: &mut Checks,
    ) {
        let Send { io, id, path, part, .. } = *send;
        let tag = io.to_bits();
        let Some(client) = &mut self.clients[id.index()] else {
            checks.fail(Invariant::I5, now, format_args!("{tag:x} is sent for nobody"));
            return;
        };
        client.sends += 1;
        client.current = Some(io);
        let (number, first, refused) = (client.number, client.sends == 1, client.refused);
        trace.note(
            now,
            &self.name,
            "send",
            format_args!("{tag:x} #{number:x} {path} {}", part.operation),
        );
        if self.outs[io.index()].is_some() {
            checks.fail(Invariant::I4, now, format_args!("the place of {tag:x} is in use"));
        }
        if refused {
            checks.fail(
                Invariant::I13,
                now,
                format_args!("#{number:x} was refused by the target, is sent again"),
            );
        }
        self.check_choice(path, first, now, checks);
        if part.operation.changes() {
            self.check_alone(tag, number, path, &part, now, checks);
        }
        let Some(at) = self.paths.iter().position(|known| known.id == path) else {
            let nexus = None;
            let out = Out { io, path, nexus, request: id, part, repeated: false };
            self.outs[io.index()] = Some(out);
            self.do_later(now, Later::NotSent(io));
            return;
        };
        let nexus = self.paths[at].nexus;
        let out = Out { io, path, nexus: Some(nexus), request: id, part, repeated: false };
        self.outs[io.index()] = Some(out);
        if part.operation.changes() {
            let alive = Alive { number, path, nexus, part, sent: now };
            self.alive.insert(tag, alive);
            self.numbers.insert(tag, number);
        }
        if self.repeat_us.is_some() {
            self.do_later(now.after(LIMIT_MS), Later::Limit(io));
        }
        self.dispatch(array, path, packet(io.to_bits(), nexus, &part, number), now);
    }

    /// I11 and I14, by the states that the engine itself knows.
    fn check_choice(&mut self, path: PathId, first: bool, now: Time, checks: &mut Checks) {
        self.choices += 1;
        let Some(chosen) = self.engine.view(path) else { return };
        let config = self.engine.config();
        let limit = config.limits.commands_per_path;
        if chosen.in_flight > limit {
            checks.fail(
                Invariant::I14,
                now,
                format_args!("{} in flight on {path}", chosen.in_flight),
            );
        }
        let Standing::Live(class) = chosen.standing else {
            // It may have gone out since, in the same moment.
            return;
        };
        if chosen.state.is_some_and(|state| !state.is_live()) {
            checks.fail(Invariant::I11, now, format_args!("{path} is {:?}", chosen.state));
        }
        // An LBA-dependent path may be optimized for these blocks, or not.
        let by_lba = |state| state == Some(AccessState::LbaDependent);
        if !first || by_lba(chosen.state) {
            return;
        }
        let by_time = config.policy == Policy::ServiceTime;
        let mut views = self.engine.paths().filter_map(|other| self.engine.view(other));
        if by_time && views.any(|other| by_lba(other.state)) {
            // What it leaves may be the best class for these blocks alone.
            return;
        }
        let mut worse = false;
        let others = || {
            let views = self.engine.paths().filter_map(|other| self.engine.view(other));
            views.filter(|other| !by_lba(other.state)).filter_map(|other| match other.standing {
                Standing::Live(theirs) => Some((theirs, other)),
                _ => None,
            })
        };
        // Once it leaves the best class, service-time looks at the time alone.
        let best = others().filter(|(_, it)| !it.deferred).map(|(theirs, _)| theirs).min();
        let compared = |theirs| !by_time || chosen.deferred || Some(theirs) == best;
        for (theirs, other) in others().filter(|&(theirs, _)| compared(theirs)) {
            let free = !other.deferred && !other.asked && other.in_flight < limit;
            let better = free && (theirs < class || chosen.deferred);
            if !better {
                continue;
            }
            if by_time && !chosen.deferred && is_slow(&other) {
                worse |= !may_outrun(&chosen, &other);
                continue;
            }
            let id = other.id;
            checks.fail(Invariant::I11, now, format_args!("{path} is used, {id} is better"));
        }
        // A worse path is tried now and then, so that its time is known.
        self.trials += u64::from(worse);
        if self.trials > TRIALS_FREE + self.choices / TRIALS_PART {
            checks.fail(
                Invariant::I11,
                now,
                format_args!("{path} is used, better ones are not measurably slower"),
            );
        }
    }

    /// I3: nothing that may yet change these blocks is alive.
    fn check_alone(
        &mut self,
        tag: u64,
        number: u64,
        path: PathId,
        part: &Request,
        now: Time,
        checks: &mut Checks,
    ) {
        self.alive.retain(|_, alive| alive.sent.after(GHOST_MS) > now);
        for (other, alive) in &self.alive {
            let apart = part.lba >= alive.part.lba + u64::from(alive.part.blocks)
                || alive.part.lba >= part.lba + u64::from(part.blocks);
            if !apart {
                checks.fail(
                    Invariant::I3,
                    now,
                    format_args!(
                        "{tag:x} of #{number:x} on {path}: {other:x} of #{:x} on {} is not over",
                        alive.number, alive.path
                    ),
                );
            }
        }
    }

    fn control(
        &mut self,
        array: &mut Array,
        control: &Control,
        now: Time,
        trace: &mut Trace,
        checks: &mut Checks,
    ) {
        let (report, stpg) = match control.kind {
            ControlKind::Core(command) => (
                matches!(command.kind, CommandKind::ReportTargetPortGroups { .. }),
                matches!(command.kind, CommandKind::SetTargetPortGroups(_)),
            ),
            _ => (false, false),
        };
        trace.note(
            now,
            &self.name,
            "ctl",
            format_args!("{:?} {} {}", control.id, control.path, kind(control)),
        );
        if report {
            let others = self.controls.values().filter(|out| out.report).map(|out| &out.path);
            self.reports.sent(&self.engine, others, now, checks);
        }
        self.next_tag += 1;
        let tag = self.next_tag;
        let known = self.paths.iter().find(|known| known.id == control.path);
        let Some(nexus) = known.map(|known| known.nexus) else {
            self.reports.reason();
            self.engine.handle_control(control.id, &unit::Outcome::NotSubmitted, now);
            return;
        };
        let cdb = control.cdb();
        let mut list = [0; unit::DATA_OUT_MAX];
        let length = match control.kind {
            ControlKind::Core(command) => command.write_data_out(&mut list).unwrap_or(0),
            _ => 0,
        };
        let capacity = control.data_in_len() as usize;
        match array.submit(nexus, LUN, tag, cdb.as_bytes(), &list[..length], capacity) {
            Ok(()) => {
                if stpg {
                    self.stpgs.insert(tag, now);
                }
                self.controls.insert(
                    tag,
                    ControlOut {
                        id: control.id,
                        path: control.path,
                        nexus,
                        capacity,
                        report,
                        counted: report,
                    },
                );
                self.do_later(now.after(control.timeout_ms), Later::ControlTimeout(tag));
            }
            Err(_) => {
                self.reports.answered(&self.engine, control.path, false);
                self.engine.handle_control(control.id, &unit::Outcome::NotSubmitted, now);
            }
        }
    }

    fn fence(&mut self, array: &mut Array, step: &FenceStep, now: Time, trace: &mut Trace) {
        trace.note(now, &self.name, "fence", format_args!("{:?} {:?}", step.id, step.kind));
        let at = self.paths.iter().position(|known| known.id == step.path);
        if !self.recall(step, now) {
            self.do_later(now.after(1), Later::FenceAnswer(step.id, FenceAnswer::Failed));
            return;
        }
        let result = match step.kind {
            FenceKind::AbortTask(io) => at.map_or(FunctionResult::NoAnswer, |at| {
                let nexus = self.paths[at].nexus;
                let copy = array.abort(nexus, io.to_bits() | COPY);
                let first = array.abort(nexus, io.to_bits());
                if is_done(copy) { first } else { copy }
            }),
            FenceKind::EndNexus => self.renew(array, at),
            FenceKind::ResetUnit { via } => {
                let via = self.paths.iter().find(|known| known.id == via);
                via.map_or(FunctionResult::NoAnswer, |via| array.reset_unit(via.nexus, LUN))
            }
        };
        let done = is_done(result);
        if done {
            self.fenced(step, now);
        }
        let answer = if done { FenceAnswer::Done } else { FenceAnswer::Failed };
        let mute = result == FunctionResult::NoAnswer;
        let at = if mute { now.after(step.timeout_ms) } else { now.after(1) };
        self.do_later(at, Later::FenceAnswer(step.id, answer));
    }

    /// Session reinstatement: the old nexus ends at the target.
    fn renew(&mut self, array: &mut Array, at: Option<usize>) -> FunctionResult {
        let Some(at) = at else { return FunctionResult::NoAnswer };
        match array.connect(&self.name, self.paths[at].port) {
            Ok(nexus) => {
                self.nexuses.insert(nexus);
                let old = std::mem::replace(&mut self.paths[at].nexus, nexus);
                self.end_nexus(old);
                FunctionResult::Complete
            }
            Err(_) => FunctionResult::Transport(TransportError::NoConnect),
        }
    }

    /// A step was done: what it ended is over, and comes back.
    fn fenced(&mut self, step: &FenceStep, now: Time) {
        let back: Vec<IoId> = match step.kind {
            FenceKind::AbortTask(io) => vec![io],
            FenceKind::EndNexus => {
                let outs = self.outs.iter().flatten();
                outs.filter(|out| out.path == step.path).map(|out| out.io).collect()
            }
            FenceKind::ResetUnit { .. } => {
                let arrived = |out: &&Out| self.is_ended_by_reset(step, out.path, out.io.to_bits());
                self.outs.iter().flatten().filter(arrived).map(|out| out.io).collect()
            }
        };
        match step.kind {
            FenceKind::AbortTask(io) => {
                self.alive.remove(&io.to_bits());
                self.alive.remove(&(io.to_bits() | COPY));
            }
            FenceKind::EndNexus => {
                let path = step.path;
                self.alive.retain(|_, alive| alive.path != path);
            }
            FenceKind::ResetUnit { .. } => {
                let alive = std::mem::take(&mut self.alive).into_iter();
                let held = alive.filter(|(tag, it)| !self.is_ended_by_reset(step, it.path, *tag));
                self.alive = held.collect();
            }
        }
        for io in back {
            self.do_later(now.after(1), Later::Over(io));
        }
    }

    /// Keeps what a part of a read has brought.
    fn take(&mut self, id: RequestId, by: IoId, offset: u32) {
        let part = std::mem::take(&mut self.data[by.index()]);
        if let Some(client) = &mut self.clients[id.index()] {
            client.parts.resize(client.request.blocks as usize * BLOCK as usize, 0);
            let start = offset as usize * BLOCK as usize;
            client.parts[start..start + part.len()].copy_from_slice(&part);
        }
    }

    fn finish(
        &mut self,
        id: RequestId,
        result: Result<(), RequestError>,
        by: Option<IoId>,
        now: Time,
        trace: &mut Trace,
        checks: &mut Checks,
    ) {
        let Some(mut client) = self.clients[id.index()].take() else {
            checks.fail(Invariant::I5, now, format_args!("a request is completed twice"));
            return;
        };
        let number = client.number;
        trace.note(now, &self.name, "done", format_args!("#{number:x} {result:?}"));
        if let Some((tag, _)) = self
            .alive
            .iter()
            .find(|(_, alive)| alive.number == number && alive.sent.after(GHOST_MS) > now)
        {
            checks.fail(
                Invariant::I3,
                now,
                format_args!("#{number:x} is complete, {tag:x} of it is not over"),
            );
        }
        self.complete.insert(number);
        let data = match by {
            Some(io) => std::mem::take(&mut self.data[io.index()]),
            None => std::mem::take(&mut client.parts),
        };
        self.ended.push_back(Ended { client, result, data });
    }
}

/// Whether a function leaves nothing of a command.
pub(super) fn is_done(result: FunctionResult) -> bool {
    matches!(result, FunctionResult::Complete | FunctionResult::NoSuchTask)
}

/// What goes to the array for a command of a client's request.
pub(super) fn packet(tag: u64, nexus: NexusId, part: &Request, number: u64) -> Packet {
    let cdb = sbc::cdb(part).as_bytes().to_vec();
    Packet { tag, nexus, cdb, data: data_out(part, number), capacity: room(part) }
}

/// The bytes that a command reads.
pub(super) fn room(part: &Request) -> usize {
    match part.operation {
        Operation::Read => part.blocks as usize * BLOCK as usize,
        _ => 0,
    }
}

/// Whether a path takes so long that service-time may look at worse ones. What is in flight now is
/// no less than when the choice was made.
fn is_slow(better: &PathView) -> bool {
    expected_ns(better) >= OUTRUN_FLOOR_NS
}

/// Whether service-time may prefer a path of a worse class to a better one.
fn may_outrun(worse: &PathView, better: &PathView) -> bool {
    let least = u64::from(worse.service_ns);
    least > 0 && least * OUTRUN_DEN < expected_ns(better) * OUTRUN_NUM
}

fn expected_ns(path: &PathView) -> u64 {
    (u64::from(path.in_flight) + 1) * u64::from(path.service_ns)
}

fn kind(control: &Control) -> String {
    match control.kind {
        ControlKind::Core(command) => command.kind.to_string(),
        ControlKind::Probe => "TEST UNIT READY (probe)".to_owned(),
        ControlKind::Capacity => "READ CAPACITY".to_owned(),
        ControlKind::Identity => "INQUIRY page 83h (before use)".to_owned(),
        ControlKind::Referrals { .. } => "REPORT REFERRALS".to_owned(),
    }
}

/// The data of a request: each block begins with its version and its address.
fn data_out(part: &Request, number: u64) -> Vec<u8> {
    match part.operation {
        Operation::Write { .. } => {
            let mut data = vec![0; part.blocks as usize * BLOCK as usize];
            for (block, lba) in data.chunks_exact_mut(BLOCK as usize).zip(part.lba..) {
                block[..8].copy_from_slice(&number.to_le_bytes());
                block[8..16].copy_from_slice(&lba.to_le_bytes());
            }
            data
        }
        Operation::WriteZeroes { .. } => vec![0; BLOCK as usize],
        Operation::Discard => sbc::unmap_list(part).to_vec(),
        Operation::Read | Operation::Flush => Vec::new(),
    }
}
