//! Commands that the array holds.

use std::sync::Arc;

use crate::command::Command;
use crate::completion::Completion;
use crate::fault::{Fault, FaultAction};

/// A place in the task table, good until the task ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskKey {
    at: u32,
    generation: u32,
}

/// The most bytes of a CDB that are kept.
pub(crate) const MAX_CDB: usize = 32;

/// A command from submission to its end.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) nexus: u32,
    pub(crate) tag: u64,
    pub(crate) lun: u16,
    pub(crate) unit: Option<u32>,
    pub(crate) command: Command,
    pub(crate) cdb: [u8; MAX_CDB],
    pub(crate) data_out: Vec<u8>,
    pub(crate) capacity: usize,
    /// The fault that met it, as it was then.
    pub(crate) fault: Option<Met>,
    /// The unit had no room for it.
    pub(crate) full: bool,
    /// Its initiator has been told that it is over.
    pub(crate) broken: bool,
    /// It is carried out, though nobody waits for the answer.
    pub(crate) silent: bool,
    /// It has been carried out.
    pub(crate) ran: bool,
    /// The answer, on its way.
    pub(crate) answer: Option<Completion>,
}

/// Every command that the array holds.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    slots: Vec<(u32, Option<Task>)>,
    free: Vec<u32>,
}

impl Tasks {
    pub(crate) fn insert(&mut self, task: Task) -> TaskKey {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[at as usize];
        slot.1 = Some(task);
        TaskKey { at, generation: slot.0 }
    }

    pub(crate) fn get(&mut self, key: TaskKey) -> Option<&mut Task> {
        let (generation, task) = self.slots.get_mut(key.at as usize)?;
        task.as_mut().filter(|_| *generation == key.generation)
    }

    /// Takes a task out for a moment; [`Self::put`] brings it back.
    pub(crate) fn take(&mut self, key: TaskKey) -> Option<Task> {
        let (generation, task) = self.slots.get_mut(key.at as usize)?;
        if *generation == key.generation { task.take() } else { None }
    }

    pub(crate) fn put(&mut self, key: TaskKey, task: Task) {
        self.slots[key.at as usize].1 = Some(task);
    }

    /// Ends the key of a task that was taken out.
    pub(crate) fn release(&mut self, key: TaskKey) {
        let slot = &mut self.slots[key.at as usize];
        slot.0 = slot.0.wrapping_add(1);
        slot.1 = None;
        self.free.push(key.at);
    }

    /// The keys of the tasks that `wanted` accepts, oldest place first.
    pub(crate) fn select(&self, wanted: impl Fn(&Task) -> bool) -> Vec<TaskKey> {
        let mut keys = Vec::new();
        for (at, (generation, task)) in self.slots.iter().enumerate() {
            if task.as_ref().is_some_and(&wanted) {
                keys.push(TaskKey { at: at as u32, generation: *generation });
            }
        }
        keys
    }

    /// The first task that `wanted` accepts.
    pub(crate) fn find(&self, wanted: impl Fn(&Task) -> bool) -> Option<&Task> {
        self.slots.iter().filter_map(|(_, task)| task.as_ref()).find(|task| wanted(task))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl Task {
    /// What its fault does to it.
    pub(crate) fn action(&self) -> Option<&FaultAction> {
        self.fault.as_ref().map(|met| &met.rule.action)
    }
}

/// A fault that a command has met.
#[derive(Clone, Debug)]
pub(crate) struct Met {
    /// Its place in the list.
    pub(crate) at: u32,
    pub(crate) rule: Arc<Fault>,
}

/// A fault with its counts.
#[derive(Debug)]
pub(crate) struct ArmedFault {
    /// Shared with the commands that it has met: they keep it when another takes its place.
    pub(crate) rule: Arc<Fault>,
    pub(crate) armed: bool,
    pub(crate) seen: u32,
    pub(crate) met: u32,
}

impl ArmedFault {
    pub(crate) fn new(rule: Fault) -> Self {
        Self { armed: rule.armed, rule: Arc::new(rule), seen: 0, met: 0 }
    }
}
