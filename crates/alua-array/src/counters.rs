//! How many commands were sent: for tests and figures.

use crate::command::Command;

type Row = [u32; Command::COUNT];

/// Commands submitted, by command and by nexus or unit. Every submission counts, whatever became
/// of it.
#[derive(Debug, Default)]
pub struct Counters {
    total: Vec<u64>,
    nexuses: Vec<Row>,
    units: Vec<Row>,
}

impl Counters {
    pub(crate) fn new(units: usize) -> Self {
        Self {
            total: vec![0; Command::COUNT],
            nexuses: Vec::new(),
            units: vec![[0; Command::COUNT]; units],
        }
    }

    pub(crate) fn add(&mut self, command: Command, nexus: usize, unit: Option<usize>) {
        let at = command as usize;
        if nexus >= self.nexuses.len() {
            self.nexuses.resize(nexus + 1, [0; Command::COUNT]);
        }
        self.total[at] += 1;
        self.nexuses[nexus][at] = self.nexuses[nexus][at].saturating_add(1);
        if let Some(unit) = unit {
            self.units[unit][at] = self.units[unit][at].saturating_add(1);
        }
    }

    /// Commands of this kind that the array was sent.
    #[must_use]
    pub fn sent(&self, command: Command) -> u64 {
        self.total.get(command as usize).copied().unwrap_or(0)
    }

    /// Commands of every kind that the array was sent.
    #[must_use]
    pub fn sent_in_all(&self) -> u64 {
        self.total.iter().sum()
    }

    pub(crate) fn on_nexus(&self, nexus: usize, command: Command) -> u32 {
        self.nexuses.get(nexus).map_or(0, |row| row[command as usize])
    }

    pub(crate) fn on_unit(&self, unit: usize, command: Command) -> u32 {
        self.units.get(unit).map_or(0, |row| row[command as usize])
    }

    /// Starts again at 0.
    pub(crate) fn reset(&mut self) {
        self.total.fill(0);
        self.nexuses.fill([0; Command::COUNT]);
        self.units.fill([0; Command::COUNT]);
    }
}
