//! Asymmetric access: the states of the groups, how they change, and what a state permits.

use std::time::Duration;

use alua_core::access::AccessState;
use alua_core::spc::Status;

use crate::array::{Array, What};
use crate::command::Command;
use crate::commands::Failure;
use crate::config::{Transition, TransitionAnswer};
use crate::sense::{Sense, SenseCode, key};

/// How a group got its state: the status code of its descriptor in RTPG data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChangedBy {
    Nothing = 0,
    Stpg = 1,
    Implicit = 2,
}

/// The access state of one group for one unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) state: AccessState,
    pub(crate) preferred: bool,
    pub(crate) changed_by: ChangedBy,
}

/// Where a transition will lead a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    episode: u32,
    pub(crate) view: usize,
    group: usize,
    to: AccessState,
    from: AccessState,
}

/// A change that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) unit: usize,
    /// Groups and their new states.
    pub(crate) targets: &'a [(usize, AccessState)],
    /// In whose view; `None`: in that of each group's own controller.
    pub(crate) view: Option<usize>,
    pub(crate) by: ChangedBy,
    pub(crate) transition: Transition,
    /// The old state comes back at the end.
    pub(crate) fails: bool,
    /// Whether anybody is told.
    pub(crate) quiet: bool,
    /// The nexus that asked and is not told.
    pub(crate) except: Option<u32>,
}

/// Whom a change concerns: bits of controllers' views and of groups.
#[derive(Clone, Copy, Default)]
struct Told {
    views: u64,
    groups: u64,
}

impl Array {
    /// Which of a unit's views the controller sees.
    pub(crate) fn view_of(&self, unit: usize, controller: usize) -> usize {
        if self.units[unit].views.len() > 1 { controller } else { 0 }
    }

    /// The state that commands through a port meet.
    pub(crate) fn state_at(&self, unit: usize, port: usize) -> AccessState {
        let port = &self.ports[port];
        let view = self.view_of(unit, port.controller);
        self.units[unit].views[view][port.group].state
    }

    /// The state that a group is in, or that its transition leads to.
    pub(crate) fn goal(&self, unit: usize, view: usize, group: usize) -> AccessState {
        let unit = &self.units[unit];
        let pending = unit.pending.iter().find(|p| (p.view, p.group) == (view, group));
        pending.map_or(unit.views[view][group].state, |pending| pending.to)
    }

    /// Changes states, at once or through a transition, and tells the nexuses.
    pub(crate) fn change(&mut self, change: &Change<'_>) {
        let mut told = Told::default();
        let slow = change.transition != Transition::Takes(Duration::ZERO);
        let episode = self.units[change.unit].episode + 1;
        for &(group, to) in change.targets {
            let view = match change.view {
                Some(controller) => self.view_of(change.unit, controller),
                None => self.view_of(change.unit, self.groups[group].controller),
            };
            let unit = &mut self.units[change.unit];
            let access = &mut unit.views[view][group];
            let mut from = access.state;
            // A group on its way elsewhere: the new goal replaces the old one.
            unit.pending.retain(|pending| {
                let same = (pending.view, pending.group) == (view, group);
                if same {
                    from = pending.from;
                }
                !same
            });
            if access.state == to && !change.fails {
                continue;
            }
            if slow {
                access.state = match self.alua.others_in_transition {
                    Some(meanwhile) if to != AccessState::ActiveOptimized => meanwhile,
                    _ => AccessState::Transitioning,
                };
                unit.pending.push(Pending { episode, view, group, to, from });
            } else if !change.fails {
                access.state = to;
            }
            access.changed_by = change.by;
            told.views |= 1 << view.min(63);
            told.groups |= 1 << group.min(63);
            let (now, id) = (access.state, self.groups[group].id);
            let name = &self.units[change.unit].name;
            self.trace.note(
                self.clock.now(),
                "state",
                format_args!("{name} g{id} {from} -> {now}"),
            );
        }
        if told.views == 0 {
            return;
        }
        self.units[change.unit].episode = episode;
        if let (true, Transition::Takes(span)) = (slow, change.transition) {
            let what = What::TransitionEnd {
                unit: change.unit as u32,
                episode,
                fails: change.fails,
                quiet: change.quiet,
                except: change.except,
            };
            self.clock.schedule(self.clock.now().after(span), what);
        }
        if change.quiet || (slow && !self.alua.attention_at_start) {
            return;
        }
        let code = if change.fails && !slow {
            SenseCode::TRANSITION_FAILED
        } else {
            SenseCode::STATE_CHANGED
        };
        self.tell_nexuses(change.unit, told, code, change.except);
    }

    /// The end of a transition.
    pub(crate) fn end_transition(
        &mut self,
        unit: usize,
        episode: u32,
        fails: bool,
        quiet: bool,
        except: Option<u32>,
    ) {
        let mut told = Told::default();
        let mut pending = std::mem::take(&mut self.units[unit].pending);
        pending.retain(|pending| {
            if pending.episode != episode {
                return true;
            }
            let access = &mut self.units[unit].views[pending.view][pending.group];
            access.state = if fails { pending.from } else { pending.to };
            told.views |= 1 << pending.view.min(63);
            told.groups |= 1 << pending.group.min(63);
            let (now, id) = (access.state, self.groups[pending.group].id);
            let name = &self.units[unit].name;
            self.trace.note(self.clock.now(), "state", format_args!("{name} g{id} -> {now}"));
            false
        });
        self.units[unit].pending = pending;
        if told.views == 0 || quiet {
            return;
        }
        let code = if fails { SenseCode::TRANSITION_FAILED } else { SenseCode::STATE_CHANGED };
        self.tell_nexuses(unit, told, code, except);
    }

    /// A unit attention on every nexus whose controller shares one of the views; of the changed
    /// groups only, where the configuration says so.
    fn tell_nexuses(&mut self, unit: usize, told: Told, code: SenseCode, except: Option<u32>) {
        let split = self.units[unit].views.len() > 1;
        let all_groups = !self.alua.attention_to_changed_group;
        self.establish(unit, code, |array, nexus| {
            let port = &array.ports[array.nexuses[nexus].port];
            Some(nexus as u32) != except
                && (!split || told.views & 1 << port.controller.min(63) != 0)
                && (all_groups || told.groups & 1 << port.group.min(63) != 0)
        });
    }

    /// Gives every controller its own view, or makes one of them again.
    pub(crate) fn split(&mut self) {
        let controllers = self.controllers.len();
        for unit in &mut self.units {
            if unit.views.len() == 1 && controllers > 1 {
                unit.views = vec![unit.views[0].clone(); controllers];
                // Each controller ends for its own groups what had begun.
                for pending in &mut unit.pending {
                    pending.view = self.groups[pending.group].controller;
                }
            }
        }
    }

    /// One view again: each group as its own controller has it.
    pub(crate) fn heal(&mut self) {
        for at in 0..self.units.len() {
            let unit = &mut self.units[at];
            if unit.views.len() == 1 {
                continue;
            }
            let truth: Vec<Access> = (0..self.groups.len())
                .map(|group| unit.views[self.groups[group].controller][group])
                .collect();
            let mut wrong = 0_u64;
            for (controller, view) in unit.views.iter().enumerate() {
                if *view != truth {
                    wrong |= 1 << controller.min(63);
                }
            }
            let groups = &self.groups;
            unit.pending.retain(|pending| pending.view == groups[pending.group].controller);
            for pending in &mut unit.pending {
                pending.view = 0;
            }
            unit.views = vec![truth];
            if wrong != 0 {
                self.establish(at, SenseCode::STATE_CHANGED, |array, nexus| {
                    let controller = array.ports[array.nexuses[nexus].port].controller;
                    wrong & 1 << controller.min(63) != 0
                });
            }
        }
    }

    /// Whether the group's state lets the command pass (SPC-4 revision 17, 5.9.2.4 and
    /// 5.9.2.5, as LIO cites it).
    pub(crate) fn permit(&self, unit: usize, port: usize, command: Command) -> Result<(), Failure> {
        let state = self.state_at(unit, port);
        if state.is_live() {
            return Ok(());
        }
        let refuse = |code| Err(Failure::Check(Sense::new(key::NOT_READY, code)));
        // A command that the unit does not have is refused as such in every state.
        let Some(row) = command.row() else { return Ok(()) };
        match state {
            AccessState::Standby if row.in_standby(self.alua.read_capacity_in_standby) => Ok(()),
            AccessState::Unavailable if row.in_unavailable() => Ok(()),
            AccessState::Offline if row.in_offline() => Ok(()),
            AccessState::Transitioning => {
                let rtpg = command == Command::ReportTargetPortGroups;
                if row.in_transitioning() && (!rtpg || self.alua.rtpg_in_transition) {
                    return Ok(());
                }
                match self.alua.transition_answer {
                    TransitionAnswer::NotReady => refuse(SenseCode::TRANSITION),
                    TransitionAnswer::UnitAttention => {
                        Err(Failure::Check(Sense::new(key::UNIT_ATTENTION, SenseCode::TRANSITION)))
                    }
                    TransitionAnswer::Busy => Err(Failure::Status(Status::Busy)),
                }
            }
            AccessState::Unavailable => refuse(SenseCode::UNAVAILABLE),
            AccessState::Offline => refuse(SenseCode::OFFLINE),
            _ => refuse(SenseCode::STANDBY),
        }
    }
}
