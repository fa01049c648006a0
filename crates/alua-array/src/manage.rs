//! What ends commands from outside, and what tells nexuses of it: task management, resets, lost
//! links, unit attentions.

use alua_core::spc::Status;

use crate::array::Array;
use crate::completion::{FunctionResult, Outcome};
use crate::event::LostTasks;
use crate::fault::{FaultAction, Function};
use crate::nexus::{NexusId, TransportError};
use crate::sense::SenseCode;
use crate::task::Task;

impl Array {
    /// ABORT TASK. The answer is there at once: after it the command is neither answered nor
    /// carried out, unless a fault makes the array lie. What it had done before stays done.
    pub fn abort(&mut self, nexus: NexusId, tag: u64) -> FunctionResult {
        let target = self.tasks.find(|task| task.nexus == nexus.0 && task.tag == tag);
        let unit = target.and_then(|task| task.unit);
        self.function(Function::AbortTask, nexus, unit, |array| {
            let ended = array.drop_tasks(|task| task.nexus == nexus.0 && task.tag == tag);
            let now = array.clock.now();
            array.trace.note(now, "abort", format_args!("{nexus} tag {tag}: {ended} ended"));
            if ended == 0 { FunctionResult::NoSuchTask } else { FunctionResult::Complete }
        })
    }

    /// ABORT TASK SET: every command of this nexus to this logical unit.
    pub fn abort_task_set(&mut self, nexus: NexusId, lun: u16) -> FunctionResult {
        let unit = self.unit_behind(nexus, lun);
        self.function(Function::AbortTaskSet, nexus, unit, |array| {
            if unit.is_none() {
                return FunctionResult::NoSuchUnit;
            }
            let ended = array.drop_tasks(|task| task.nexus == nexus.0 && task.lun == lun);
            let now = array.clock.now();
            array.trace.note(now, "abort", format_args!("{nexus} L{lun} task set: {ended} ended"));
            FunctionResult::Complete
        })
    }

    /// LOGICAL UNIT RESET: every command of every nexus to the unit is gone, 29/03 waits on each.
    /// Persistent reservations stay.
    pub fn reset_unit(&mut self, nexus: NexusId, lun: u16) -> FunctionResult {
        let unit = self.unit_behind(nexus, lun);
        self.function(Function::ResetUnit, nexus, unit, |array| match unit {
            Some(unit) => {
                array.reset(unit as usize, Some(nexus.0));
                FunctionResult::Complete
            }
            None => FunctionResult::NoSuchUnit,
        })
    }

    /// CLEAR TASK SET: every command of every nexus to the logical unit; 2F/00 waits on the others
    /// that had one.
    pub fn clear_task_set(&mut self, nexus: NexusId, lun: u16) -> FunctionResult {
        let unit = self.unit_behind(nexus, lun);
        self.function(Function::ClearTaskSet, nexus, unit, |array| {
            let Some(unit) = unit else { return FunctionResult::NoSuchUnit };
            let mut others = Vec::new();
            for key in array.tasks.select(|task| task.unit == Some(unit) && task.nexus != nexus.0) {
                others.extend(array.tasks.get(key).map(|task| task.nexus));
            }
            let ended = array.end_tasks_of(unit as usize, Some(nexus.0));
            let now = array.clock.now();
            array.trace.note(now, "abort", format_args!("{nexus} L{lun} cleared: {ended} ended"));
            // COMMANDS CLEARED BY ANOTHER INITIATOR.
            let code = SenseCode::new(0x2f, 0x00);
            array.establish(unit as usize, code, |_, at| others.contains(&(at as u32)));
            FunctionResult::Complete
        })
    }

    /// A reset of the whole target (iSCSI's TARGET WARM RESET): [`Self::reset_unit`] for every unit.
    pub fn reset_target(&mut self, nexus: NexusId) -> FunctionResult {
        self.function(Function::ResetTarget, nexus, None, |array| {
            for unit in 0..array.units.len() {
                array.reset(unit, Some(nexus.0));
            }
            FunctionResult::Complete
        })
    }

    /// Carries a task management function out, unless the link or a fault keeps it from that.
    fn function(
        &mut self,
        function: Function,
        nexus: NexusId,
        unit: Option<u32>,
        carry_out: impl FnOnce(&mut Self) -> FunctionResult,
    ) -> FunctionResult {
        match self.nexuses.get(nexus.0 as usize) {
            Some(known) if known.alive && self.port_is_up(known.port) => {}
            _ => return FunctionResult::Transport(TransportError::NoConnect),
        }
        match self.find_function_fault(function, nexus.0, unit) {
            None => carry_out(self),
            Some((result, runs)) => {
                if runs {
                    carry_out(self);
                }
                result
            }
        }
    }

    /// The unit behind a logical unit number of a nexus.
    pub(crate) fn unit_behind(&self, nexus: NexusId, lun: u16) -> Option<u32> {
        let port = self.nexuses.get(nexus.0 as usize)?.port;
        self.ports[port].luns.get(usize::from(lun)).copied().flatten()
    }

    /// What a logical unit reset does.
    pub(crate) fn reset(&mut self, unit: usize, by: Option<u32>) {
        let ended = self.end_tasks_of(unit, by);
        let name = &self.units[unit].name;
        self.trace.note(self.clock.now(), "abort", format_args!("{name} reset: {ended} ended"));
        self.units[unit].stopped = false;
        self.forget_states(unit);
        self.establish(unit, SenseCode::DEVICE_RESET, |_, _| true);
    }

    /// Ends a unit's commands; those of other nexuses than `by` are answered TASK ABORTED if the
    /// array does that.
    pub(crate) fn end_tasks_of(&mut self, unit: usize, by: Option<u32>) -> usize {
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

    /// Drops commands without an answer. Those that ignore aborts stay, and nobody waits for them.
    /// Returns how many were found.
    pub(crate) fn drop_tasks(&mut self, wanted: impl Fn(&Task) -> bool) -> usize {
        let keys = self.tasks.select(wanted);
        self.dropped += keys.len() as u64;
        for &key in &keys {
            let Some(mut task) = self.tasks.take(key) else { continue };
            let stubborn = matches!(task.action(), Some(FaultAction::IgnoreAbort(_)));
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

    /// The commands in flight on a port end with a transport error.
    pub(crate) fn lose_link(&mut self, port: usize, tasks: LostTasks) {
        self.ports[port].losses += 1;
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
    pub(crate) fn luns_of(&self, unit: usize, port: usize) -> impl Iterator<Item = u16> + use<> {
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
}
