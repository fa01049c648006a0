//! Events at work: what happens to the array besides commands.

use std::time::Duration;

use alua_core::access::AccessState;

use crate::alua::{Change, ChangedBy};
use crate::array::{Array, put};
use crate::config::Transition;
use crate::event::{Event, LostTasks};
use crate::fault::Fault;
use crate::sense::SenseCode;
use crate::task::ArmedFault;

const AT_ONCE: Transition = Transition::Takes(Duration::ZERO);

impl Array {
    /// Carries out an event whose names are known to be right.
    pub(crate) fn happen(&mut self, event: &Event) {
        self.trace.note(self.clock.now(), "event", format_args!("{event:?}"));
        match event {
            Event::SetState { .. } | Event::Switch { .. } | Event::SetPreferred { .. } => {
                self.happen_to_access(event);
            }
            Event::UnitAttention { initiator, port, unit, code } => {
                for unit in self.units_named(unit.as_ref()) {
                    self.establish(unit, *code, |array, nexus| {
                        array.nexus_is(nexus, initiator.as_ref(), *port)
                    });
                }
            }
            Event::PortDown { port, tasks } => {
                if let Some(at) = self.port_index(*port) {
                    self.ports[at].up = false;
                    self.lose_link(at, *tasks);
                }
            }
            Event::PortUp { port } => {
                if let Some(at) = self.port_index(*port) {
                    self.ports[at].up = true;
                    self.attend_port(at, SenseCode::NEXUS_LOSS);
                }
            }
            Event::ControllerCrash { .. } | Event::ControllerReturn { .. } => {
                self.happen_to_controller(event);
            }
            Event::Split => self.split(),
            Event::Heal => self.heal(),
            Event::Arm { fault } | Event::Disarm { fault } => {
                let armed = matches!(event, Event::Arm { .. });
                for state in self.faults.iter_mut().filter(|state| state.rule.name == *fault) {
                    state.armed = armed;
                    (state.seen, state.met) = (0, 0);
                }
            }
            Event::Fault { fault } => self.add_fault((**fault).clone()),
            Event::Map { .. }
            | Event::Unmap { .. }
            | Event::Resize { .. }
            | Event::SetIdentity { .. } => self.happen_to_inventory(event),
            Event::FreezeReports { unit, duration } => {
                let until = self.clock.now().after(*duration);
                for unit in self.units_named(unit.as_ref()) {
                    let views = self.units[unit].views.clone();
                    self.units[unit].frozen = Some((until, views));
                }
            }
            Event::ResetUnit { unit } => {
                for unit in self.units_named(unit.as_ref()) {
                    self.reset(unit, None);
                }
            }
            Event::NexusLoss { initiator, port } => {
                self.lose_nexuses(initiator.as_ref(), *port);
            }
            Event::PowerCycle { lose_cache } => self.power_cycle(*lose_cache),
            Event::SetAlua { alua } => self.set_alua((**alua).clone()),
            Event::WriteProtect { unit, on } => {
                for unit in self.units_named(unit.as_ref()) {
                    self.units[unit].read_only = *on;
                }
            }
        }
    }

    fn add_fault(&mut self, fault: Fault) {
        let old = self.faults.iter_mut().find(|state| state.rule.name == fault.name);
        let new = ArmedFault::new(fault);
        match old {
            Some(old) => *old = new,
            None => self.faults.push(new),
        }
    }

    fn happen_to_inventory(&mut self, event: &Event) {
        match event {
            Event::Map { lun, unit, port, quiet } => {
                let unit = self.unit_index(unit).map(|unit| unit as u32);
                self.map(*lun, unit, *port, *quiet);
            }
            Event::Unmap { lun, port, quiet } => self.map(*lun, None, *port, *quiet),
            Event::Resize { unit, blocks, quiet } => {
                if let Some(unit) = self.unit_index(unit) {
                    self.units[unit].medium.resize(*blocks);
                    self.announce(unit, SenseCode::CAPACITY_CHANGED, *quiet);
                }
            }
            Event::SetIdentity { unit, naa, quiet } => {
                if let Some(unit) = self.unit_index(unit) {
                    self.units[unit].naa = Some(naa.clone());
                    self.units[unit].serial =
                        naa.iter().map(|byte| format!("{byte:02X}")).collect();
                    self.announce(unit, SenseCode::IDENTIFIER_CHANGED, *quiet);
                }
            }
            _ => {}
        }
    }

    fn happen_to_access(&mut self, event: &Event) {
        match event {
            Event::SetState { unit, group, state, transition, fails, seen_by, quiet } => {
                let targets: Vec<_> =
                    self.group_index(*group).map(|at| (at, *state)).into_iter().collect();
                let view = seen_by.as_ref().map(|name| self.controller_index(name));
                for unit in self.units_named(unit.as_ref()) {
                    self.change(&Change {
                        unit,
                        targets: &targets,
                        view,
                        by: ChangedBy::Implicit,
                        transition: transition.unwrap_or(AT_ONCE),
                        fails: *fails,
                        quiet: *quiet,
                        except: None,
                    });
                }
            }
            Event::Switch { unit, to, transition, fails } => {
                let to = self.controller_index(to);
                let transition = transition.unwrap_or(self.alua.transition);
                for unit in self.units_named(unit.as_ref()) {
                    self.switch(unit, to, transition, *fails);
                }
            }
            Event::SetPreferred { unit, group, preferred, quiet } => {
                let Some(group) = self.group_index(*group) else { return };
                for unit in self.units_named(unit.as_ref()) {
                    let mut changed = false;
                    for view in &mut self.units[unit].views {
                        changed |= view[group].preferred != *preferred;
                        view[group].preferred = *preferred;
                    }
                    if changed {
                        self.announce(unit, SenseCode::STATE_CHANGED, *quiet);
                    }
                }
            }
            _ => {}
        }
    }

    /// The groups of one controller become optimized, those of the others step back; groups of a
    /// controller that is down stay as they are.
    fn switch(&mut self, unit: usize, to: usize, transition: Transition, fails: bool) {
        let mut targets = Vec::with_capacity(self.groups.len());
        for (at, group) in self.groups.iter().enumerate() {
            if group.controller == to {
                targets.push((at, AccessState::ActiveOptimized));
            } else if self.controllers[group.controller].up {
                targets.push((at, self.alua.other_state));
            }
        }
        self.change(&Change {
            unit,
            targets: &targets,
            view: None,
            by: ChangedBy::Implicit,
            transition,
            fails,
            quiet: false,
            except: None,
        });
    }

    fn happen_to_controller(&mut self, event: &Event) {
        match event {
            Event::ControllerCrash { controller, tasks, lose_cache, takeover, transition } => {
                let at = self.controller_index(controller);
                if !self.controllers[at].up {
                    return;
                }
                self.controllers[at].up = false;
                for port in 0..self.ports.len() {
                    if self.ports[port].controller == at {
                        self.lose_link(port, *tasks);
                    }
                }
                let transition = transition.unwrap_or(self.alua.transition);
                for unit in 0..self.units.len() {
                    if *lose_cache {
                        self.units[unit].medium.lose_cache(Some(at));
                    }
                    self.crash_unit(unit, at, *takeover, transition);
                }
            }
            Event::ControllerReturn { controller, giveback } => {
                let at = self.controller_index(controller);
                if self.controllers[at].up {
                    return;
                }
                self.controllers[at].up = true;
                for unit in 0..self.units.len() {
                    self.return_unit(unit, at, *giveback);
                }
                for port in 0..self.ports.len() {
                    if self.ports[port].controller == at {
                        self.attend_port(port, SenseCode::POWER_ON);
                    }
                }
            }
            _ => {}
        }
    }

    /// What the crash of a controller means to a unit.
    fn crash_unit(
        &mut self,
        unit: usize,
        controller: usize,
        takeover: bool,
        transition: Transition,
    ) {
        // Where each group is or is on its way to.
        let view = self.view_of(unit, controller);
        let states: Vec<AccessState> =
            (0..self.groups.len()).map(|group| self.goal(unit, view, group)).collect();
        let lost = |at: &usize| self.groups[*at].controller == controller;
        let owned =
            (0..states.len()).filter(lost).any(|at| states[at] == AccessState::ActiveOptimized);
        let optimized_left = (0..states.len()).filter(|at| !lost(at)).any(|at| {
            states[at] == AccessState::ActiveOptimized
                && self.controllers[self.groups[at].controller].up
        });
        let dead: Vec<_> =
            (0..states.len()).filter(lost).map(|at| (at, AccessState::Unavailable)).collect();
        let heirs: Vec<_> = (0..states.len())
            .filter(|at| !lost(at) && self.controllers[self.groups[*at].controller].up)
            .map(|at| (at, AccessState::ActiveOptimized))
            .collect();
        let saved = &mut self.units[unit].before_crash;
        saved.retain(|&(other, _)| other != controller);
        saved.push((controller, states));
        let change = Change {
            unit,
            targets: &dead,
            view: None,
            by: ChangedBy::Implicit,
            transition: AT_ONCE,
            fails: false,
            quiet: false,
            except: None,
        };
        self.change(&change);
        if takeover && owned && !optimized_left {
            self.change(&Change { targets: &heirs, transition, ..change });
        }
    }

    /// What the return of a controller means to a unit.
    fn return_unit(&mut self, unit: usize, controller: usize, giveback: bool) {
        let saved = &mut self.units[unit].before_crash;
        let place = saved.iter().position(|&(other, _)| other == controller);
        let states = place.map(|at| saved.remove(at).1);
        let own = |at: usize| self.groups[at].controller == controller;
        let targets: Vec<_> = (0..self.groups.len())
            .filter_map(|at| match (&states, giveback) {
                (Some(states), true) => {
                    let up = self.controllers[self.groups[at].controller].up;
                    up.then_some((at, states[at]))
                }
                _ => own(at).then_some((at, self.alua.other_state)),
            })
            .collect();
        self.change(&Change {
            unit,
            targets: &targets,
            view: None,
            by: ChangedBy::Implicit,
            transition: AT_ONCE,
            fails: false,
            quiet: false,
            except: None,
        });
    }

    /// A unit attention on every nexus of a port, at every unit.
    fn attend_port(&mut self, port: usize, code: SenseCode) {
        for unit in 0..self.units.len() {
            self.establish(unit, code, |array, nexus| array.nexuses[nexus].port == port);
        }
    }

    fn announce(&mut self, unit: usize, code: SenseCode, quiet: bool) {
        if !quiet {
            self.establish(unit, code, |_, _| true);
        }
    }

    fn map(&mut self, lun: u16, unit: Option<u32>, only: Option<u16>, quiet: bool) {
        for at in 0..self.ports.len() {
            let port = &mut self.ports[at];
            if only.is_some_and(|only| only != port.id) {
                continue;
            }
            port.remapped = true;
            match unit {
                Some(unit) => put(&mut port.luns, usize::from(lun), unit),
                None => {
                    if let Some(place) = port.luns.get_mut(usize::from(lun)) {
                        *place = None;
                    }
                }
            }
            if !quiet {
                self.announce_luns(at);
            }
        }
    }

    /// 3F/0E on every nexus of a port, at every logical unit number that leads somewhere.
    fn announce_luns(&mut self, port: usize) {
        let luns: Vec<u16> = (0..)
            .zip(&self.ports[port].luns)
            .filter(|(_, unit)| unit.is_some())
            .map(|(lun, _)| lun)
            .collect();
        for at in 0..self.alive.len() {
            let nexus = self.alive[at] as usize;
            if self.nexuses[nexus].port == port {
                for &lun in &luns {
                    self.nexuses[nexus].establish(lun, SenseCode::LUNS_CHANGED);
                }
            }
        }
    }

    fn lose_nexuses(&mut self, initiator: Option<&String>, port: Option<u16>) {
        let lost: Vec<u32> = self
            .alive
            .iter()
            .copied()
            .filter(|&nexus| self.nexus_is(nexus as usize, initiator, port))
            .collect();
        self.drop_tasks(|task| lost.contains(&task.nexus));
        for unit in 0..self.units.len() {
            self.establish(unit, SenseCode::NEXUS_LOSS, |_, nexus| lost.contains(&(nexus as u32)));
        }
    }

    fn power_cycle(&mut self, lose_cache: bool) {
        for port in 0..self.ports.len() {
            self.lose_link(port, LostTasks::Aborted);
        }
        for unit in 0..self.units.len() {
            let state = &mut self.units[unit];
            if lose_cache {
                state.medium.lose_cache(None);
            }
            state.reservations.lose_power();
            state.stopped = false;
            state.medium.volatile = state.default_volatile;
            state.descriptor_sense = self.config.array.descriptor_sense;
            self.forget_states(unit);
            self.establish(unit, SenseCode::POWER_ON, |_, _| true);
        }
    }

    /// What a reset does to the access states, where it does anything to them.
    pub(crate) fn forget_states(&mut self, unit: usize) {
        if self.alua.reset_keeps_states {
            return;
        }
        let first = self.units[unit].first_states.clone();
        let targets: Vec<_> = first.into_iter().enumerate().collect();
        self.change(&Change {
            unit,
            targets: &targets,
            view: None,
            by: ChangedBy::Implicit,
            transition: AT_ONCE,
            fails: false,
            quiet: true,
            except: None,
        });
    }

    /// Other habits. What INQUIRY shows of them is announced with 3F/03.
    fn set_alua(&mut self, alua: crate::config::AluaSettings) {
        let shown = |a: &crate::config::AluaSettings| {
            (a.tpgs, a.unit_designator, a.group_designator, a.port_designator)
        };
        let changed = shown(&alua) != shown(&self.alua);
        self.alua = alua;
        if changed {
            for unit in 0..self.units.len() {
                self.establish(unit, SenseCode::INQUIRY_CHANGED, |_, _| true);
            }
        }
    }

    fn nexus_is(&self, nexus: usize, initiator: Option<&String>, port: Option<u16>) -> bool {
        let nexus = &self.nexuses[nexus];
        initiator.is_none_or(|wanted| nexus.initiator_is(wanted))
            && port.is_none_or(|wanted| wanted == self.ports[nexus.port].id)
    }

    fn units_named(&self, name: Option<&String>) -> Vec<usize> {
        match name {
            Some(name) => self.unit_index(name).into_iter().collect(),
            None => (0..self.units.len()).collect(),
        }
    }

    pub(crate) fn group_index(&self, id: u16) -> Option<usize> {
        self.groups.iter().position(|group| group.id == id)
    }

    fn controller_index(&self, name: &str) -> usize {
        self.controllers.iter().position(|controller| controller.name == name).unwrap_or(0)
    }
}
