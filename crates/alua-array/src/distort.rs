//! Faults at work: which one meets a command, and what it does to the data.

use std::sync::Arc;

use rand_pcg::rand_core::Rng;

use crate::array::Array;
use crate::completion::FunctionResult;
use crate::fault::{FaultAction, Function};
use crate::nexus::NexusId;
use crate::task::{Met, Task};

impl Array {
    /// The first armed fault that meets the command.
    pub(crate) fn find_fault(&mut self, task: &Task, port: usize) -> Option<Met> {
        for at in 0..self.faults.len() {
            let rule = &self.faults[at].rule;
            let wanted = rule.functions.is_empty()
                && rule.opcode.is_none_or(|wanted| wanted == task.cdb[0])
                && (rule.commands.is_empty() || rule.commands.contains(&task.command));
            if wanted && self.aims_at(at, task.nexus, port, task.unit) && self.meets(at) {
                let rule = Arc::clone(&self.faults[at].rule);
                let (nexus, tag) = (NexusId(task.nexus), task.tag);
                let now = self.clock.now();
                self.trace.note(now, "fault", format_args!("{} {nexus} tag {tag}", rule.name));
                return Some(Met { at: at as u32, rule });
            }
        }
        None
    }

    /// What the first armed fault that meets a task management function makes of it: the answer,
    /// and whether the function is carried out all the same.
    pub(crate) fn find_function_fault(
        &mut self,
        function: Function,
        nexus: u32,
        unit: Option<u32>,
    ) -> Option<(FunctionResult, bool)> {
        let port = self.nexuses[nexus as usize].port;
        for at in 0..self.faults.len() {
            let wanted = self.faults[at].rule.functions.contains(&function);
            if wanted && self.aims_at(at, nexus, port, unit) && self.meets(at) {
                let rule = &self.faults[at].rule;
                let (now, nexus) = (self.clock.now(), NexusId(nexus));
                self.trace.note(now, "fault", format_args!("{} {nexus} {function:?}", rule.name));
                return Some(match rule.action {
                    FaultAction::Hang { runs } => (FunctionResult::NoAnswer, runs),
                    FaultAction::Transport { error, runs_after } => {
                        (FunctionResult::Transport(error), runs_after.is_some())
                    }
                    _ => (FunctionResult::Rejected, false),
                });
            }
        }
        None
    }

    /// Whether an armed fault is meant for this nexus and this unit.
    fn aims_at(&self, at: usize, nexus: u32, port: usize, unit: Option<u32>) -> bool {
        let rule = &self.faults[at].rule;
        let nexus = &self.nexuses[nexus as usize];
        let unit = unit.map(|unit| &self.units[unit as usize].name);
        self.faults[at].armed
            && rule.initiator.as_ref().is_none_or(|wanted| nexus.initiator_is(wanted))
            && rule.port.is_none_or(|wanted| wanted == self.ports[port].id)
            && rule.unit.as_ref().is_none_or(|wanted| Some(wanted) == unit)
    }

    /// Counts a match, and says whether the fault strikes this time.
    fn meets(&mut self, at: usize) -> bool {
        let state = &mut self.faults[at];
        let rule = &state.rule;
        state.seen = state.seen.saturating_add(1);
        if state.seen <= rule.skip || rule.count.is_some_and(|count| state.met >= count) {
            return false;
        }
        if rule.per_mille < 1000 && self.fault_random.next_u32() % 1000 >= u32::from(rule.per_mille)
        {
            return false;
        }
        state.met = state.met.saturating_add(1);
        true
    }

    /// Changes the data of an answer as the command's fault says.
    pub(crate) fn distort(&mut self, task: &Task, data: &mut Vec<u8>) {
        let Some(fault) = &task.fault else { return };
        match &fault.rule.action {
            FaultAction::Short(most) => data.truncate(*most as usize),
            FaultAction::Growing(step) => {
                let more = u64::from(*step) * u64::from(self.faults[fault.at as usize].met);
                lengthen(data, more, task.capacity);
            }
            FaultAction::Endless => {
                let asked = task.capacity.max(data.len()) as u64;
                set_length(data, asked + 0x1_0000);
                data.resize(task.capacity.max(data.len()), 0);
            }
            FaultAction::Garbage(bytes) => {
                let bytes = *bytes as usize;
                data.resize(bytes, 0);
                self.fault_random.fill_bytes(data);
            }
            FaultAction::Patch { offset, data: patch } => {
                for (at, &byte) in (*offset as usize..).zip(patch) {
                    if let Some(place) = data.get_mut(at) {
                        *place = byte;
                    }
                }
            }
            FaultAction::Replace(with) => with.clone_into(data),
            _ => {}
        }
    }
}

/// Tells `more` bytes than there are in the length field of the first four bytes, and fills the
/// data up with zeros as far as the initiator has room.
fn lengthen(data: &mut Vec<u8>, more: u64, capacity: usize) {
    let Some(head) = data.first_chunk::<4>() else { return };
    let told = u64::from(u32::from_be_bytes(*head)) + more;
    set_length(data, told);
    let whole = usize::try_from(told + 4).unwrap_or(usize::MAX);
    data.resize(whole.min(capacity).max(data.len()), 0);
}

fn set_length(data: &mut [u8], length: u64) {
    if let Some(head) = data.first_chunk_mut::<4>() {
        *head = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    }
}
