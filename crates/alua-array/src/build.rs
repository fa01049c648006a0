//! From a configuration to an array at time zero.

use alua_core::access::AccessState;

use crate::alua::{Access, ChangedBy};
use crate::array::{Array, Group, Port, position, put};
use crate::config::{Config, UnitConfig, unit_names};
use crate::counters::Counters;
use crate::task::ArmedFault;
use crate::unit::Unit;

impl Array {
    pub(crate) fn build(&mut self) {
        let config = std::mem::take(&mut self.config);
        for group in &config.groups {
            let ports = config.ports.iter().filter(|port| port.group == group.id);
            self.groups.push(Group {
                id: group.id,
                controller: position(&config.controllers, |c| c.name == group.controller),
                supported: group.supported,
                vendor: group.vendor,
                ports: ports.map(|port| port.id).collect(),
            });
        }
        for unit in &config.units {
            self.build_units(&config, unit);
        }
        let mut luns = Vec::new();
        let mut number = 0;
        for unit in &config.units {
            for at in 0..unit.count {
                if let Some(first) = unit.lun {
                    put(&mut luns, usize::from(first) + at as usize, number);
                }
                number += 1;
            }
        }
        for port in &config.ports {
            let group = position(&config.groups, |group| group.id == port.group);
            self.ports.push(Port {
                id: port.id,
                group,
                controller: self.groups[group].controller,
                link_time: port.link_time,
                up: port.up,
                losses: 0,
                luns: luns.clone(),
                remapped: false,
            });
        }
        for fault in &config.faults {
            self.faults.push(ArmedFault::new(fault.clone()));
        }
        self.counters = Counters::new(self.units.len());
        self.config = config;
    }

    /// The units of one `[[unit]]`.
    pub(crate) fn build_units(&mut self, config: &Config, unit: &UnitConfig) {
        for (at, name) in (0..unit.count).zip(unit_names(unit)) {
            let owner = match unit.owner.len() {
                0 => None,
                owners => Some(position(&config.controllers, |c| {
                    c.name == unit.owner[at as usize % owners]
                })),
            };
            let access = self.groups.iter().map(|group| {
                let own = owner.is_none_or(|owner| owner == group.controller);
                let said = unit.states.iter().find(|&&(id, _)| id == group.id);
                let by_owner =
                    if own { AccessState::ActiveOptimized } else { config.alua.other_state };
                Access {
                    state: said.map_or(by_owner, |&(_, state)| state),
                    preferred: unit.prefer_owner && owner.is_some() && own,
                    changed_by: ChangedBy::Nothing,
                }
            });
            let access = access.collect();
            let number = self.units.len();
            self.unit_names.insert(name.clone(), number);
            self.units.push(Unit::new(&config.array, unit, name, at, number as u32, access));
        }
    }
}
