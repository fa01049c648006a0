//! What a test or a tool may look at without sending a command.

use alua_core::access::AccessState;

use crate::array::Array;
use crate::command::{Command, DataOut};
use crate::completion::MediumWrite;
use crate::counters::Counters;
use crate::nexus::NexusId;
use crate::sense::SenseCode;
use crate::trace::TraceMode;

impl Array {
    /// The number of the unit with that name, from 0.
    #[must_use]
    pub fn unit_index(&self, name: &str) -> Option<usize> {
        self.unit_names.get(name).copied()
    }

    /// The names of the units, in the order of their numbers.
    pub fn units(&self) -> impl Iterator<Item = &str> {
        self.units.iter().map(|unit| unit.name.as_str())
    }

    /// The relative target port ids of the ports, in the order of the configuration.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().map(|port| port.id)
    }

    /// The target port group ids, in the order of the configuration.
    pub fn groups(&self) -> impl Iterator<Item = u16> {
        self.groups.iter().map(|group| group.id)
    }

    /// The target port group of a port; `None` where there is no such port.
    #[must_use]
    pub fn group_of(&self, port: u16) -> Option<u16> {
        self.port_index(port).map(|at| self.groups[self.ports[at].group].id)
    }

    /// The name of the controller of a port; `None` where there is no such port.
    #[must_use]
    pub fn controller_of(&self, port: u16) -> Option<&str> {
        self.port_index(port).map(|at| self.controllers[self.ports[at].controller].name.as_str())
    }

    /// The port of a nexus; `None` where that has ended.
    #[must_use]
    pub fn port_of(&self, nexus: NexusId) -> Option<u16> {
        let nexus = self.nexuses.get(nexus.0 as usize).filter(|nexus| nexus.alive)?;
        Some(self.ports[nexus.port].id)
    }

    /// Whether a port, and its controller, work.
    #[must_use]
    pub fn is_up(&self, port: u16) -> bool {
        self.port_index(port).is_some_and(|at| self.port_is_up(at))
    }

    /// How often the link of a port was lost so far, by whatever event: a front end that finds
    /// another number than before closes the connections that it had there.
    #[must_use]
    pub fn link_losses(&self, port: u16) -> u64 {
        self.port_index(port).map_or(0, |at| self.ports[at].losses)
    }

    /// Commands that ended so far without an answer to their initiator: aborted, reset, lost with
    /// their nexus.
    #[must_use]
    pub const fn dropped_commands(&self) -> u64 {
        self.dropped
    }

    /// Whether a nexus still has a command with that tag in the array. A command that goes on though
    /// its initiator was told of its end does not count.
    #[must_use]
    pub fn holds(&self, nexus: NexusId, tag: u64) -> bool {
        self.tasks.find(|task| task.nexus == nexus.0 && task.tag == tag && !task.broken).is_some()
    }

    /// The number of the unit behind a logical unit number of a nexus.
    #[must_use]
    pub fn unit_behind_lun(&self, nexus: NexusId, lun: u16) -> Option<usize> {
        self.unit_behind(nexus, lun).map(|unit| unit as usize)
    }

    /// How many bytes of data-out a command to this logical unit number takes, as its CDB says.
    #[must_use]
    pub fn data_out_length(&self, nexus: NexusId, lun: u16, cdb: &[u8]) -> u64 {
        match DataOut::of(cdb) {
            DataOut::None => 0,
            DataOut::Bytes(bytes) => u64::from(bytes),
            DataOut::Blocks(blocks) => {
                let unit = self.unit_behind(nexus, lun);
                let size = unit.map_or(0, |unit| self.units[unit as usize].medium.block_size());
                u64::from(blocks) * size as u64
            }
        }
    }

    /// The logical unit numbers that lead to a unit through a port, ascending.
    pub fn luns(&self, port: u16) -> impl Iterator<Item = u16> {
        let luns = self.port_index(port).map_or(&[][..], |at| &self.ports[at].luns);
        (0..).zip(luns).filter(|(_, unit)| unit.is_some()).map(|(lun, _)| lun)
    }

    /// The number of the unit behind a logical unit number of a port.
    #[must_use]
    pub fn unit_at(&self, port: u16, lun: u16) -> Option<usize> {
        let luns = &self.ports[self.port_index(port)?].luns;
        luns.get(usize::from(lun)).copied().flatten().map(|unit| unit as usize)
    }

    /// The state of a group for a unit, as the group's own controller has it.
    #[must_use]
    pub fn state(&self, unit: usize, group: u16) -> Option<AccessState> {
        let at = self.group_index(group)?;
        let view = self.units.get(unit).map(|_| self.view_of(unit, self.groups[at].controller))?;
        Some(self.units[unit].views[view][at].state)
    }

    /// Whether PREF is set on a group for a unit.
    #[must_use]
    pub fn preferred(&self, unit: usize, group: u16) -> Option<bool> {
        let at = self.group_index(group)?;
        let view = self.units.get(unit).map(|_| self.view_of(unit, self.groups[at].controller))?;
        Some(self.units[unit].views[view][at].preferred)
    }

    /// The unit attentions that wait, in the order in which they will be reported.
    #[must_use]
    pub fn attentions(&self, nexus: NexusId, lun: u16) -> &[SenseCode] {
        self.nexuses.get(nexus.0 as usize).map_or(&[], |nexus| nexus.pending(lun))
    }

    /// What the array was sent.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Commands of this kind that came through a nexus.
    #[must_use]
    pub fn sent_on(&self, nexus: NexusId, command: Command) -> u32 {
        self.counters.on_nexus(nexus.0 as usize, command)
    }

    /// Commands of this kind that a unit was sent.
    #[must_use]
    pub fn sent_to(&self, unit: usize, command: Command) -> u32 {
        self.counters.on_unit(unit, command)
    }

    /// Counts from 0 again.
    pub fn reset_counters(&mut self) {
        self.counters.reset();
    }

    /// How many commands a fault has met since it was armed; `None` where there is no such fault.
    #[must_use]
    pub fn fault_count(&self, name: &str) -> Option<u32> {
        self.faults.iter().find(|fault| fault.rule.name == name).map(|fault| fault.met)
    }

    /// Commands that the array holds: waiting, hanging, on their way back, or alive though their
    /// initiator was told otherwise.
    #[must_use]
    pub fn held_commands(&self) -> usize {
        self.tasks.len()
    }

    /// Reads the medium of a unit, past every state and cache: blocks from `lba` on, as many as
    /// `out` holds whole ones. `false`: they are not there.
    pub fn read_medium(&self, unit: usize, lba: u64, out: &mut [u8]) -> bool {
        let Some(unit) = self.units.get(unit) else { return false };
        let size = unit.medium.block_size();
        let count = out.len() / size;
        if !unit.medium.has(lba, count as u64) {
            return false;
        }
        unit.medium.read(lba, &mut out[..count * size]);
        true
    }

    /// Writes to the medium of a unit, past every state and cache: whole blocks from `lba` on, as
    /// data that were there before the array was. `false`: they are not there, and nothing is
    /// written.
    pub fn write_medium(&mut self, unit: usize, lba: u64, data: &[u8]) -> bool {
        let Some(unit) = self.units.get_mut(unit) else { return false };
        let size = unit.medium.block_size();
        let count = (data.len() / size) as u64;
        if !data.len().is_multiple_of(size) || !unit.medium.has(lba, count) {
            return false;
        }
        unit.medium.write(lba, data, 0, true);
        true
    }

    /// Bytes of a logical block of a unit, and how many blocks it has.
    #[must_use]
    pub fn geometry(&self, unit: usize) -> Option<(usize, u64)> {
        self.units.get(unit).map(|unit| (unit.medium.block_size(), unit.medium.blocks()))
    }

    /// Blocks of a unit whose newest contents a crash may lose.
    #[must_use]
    pub fn unflushed_blocks(&self, unit: usize) -> usize {
        self.units.get(unit).map_or(0, |unit| unit.medium.unflushed())
    }

    /// Begins to keep the order in which the medium changes, for
    /// [`take_writes`](Self::take_writes).
    pub fn record_writes(&mut self) {
        self.writes.get_or_insert_with(Vec::new);
    }

    /// The changes of the medium since the last call, in order. Empty unless
    /// [`record_writes`](Self::record_writes) was called.
    pub fn take_writes(&mut self) -> Vec<MediumWrite> {
        self.writes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What the trace keeps from now on.
    pub fn set_trace(&mut self, mode: TraceMode) {
        self.trace.set_mode(mode);
    }

    /// The lines of the trace since the last call. [`TRACE_LEGEND`](crate::TRACE_LEGEND) says what
    /// their columns mean.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take()
    }

    /// Whether [`take_trace`](Self::take_trace) has something.
    #[must_use]
    pub fn has_trace(&self) -> bool {
        self.trace.has_lines()
    }

    /// A digest of every line since the trace was switched on: equal runs have equal digests.
    #[must_use]
    pub const fn trace_digest(&self) -> u64 {
        self.trace.digest()
    }
}
