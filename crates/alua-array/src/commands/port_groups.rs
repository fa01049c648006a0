//! REPORT TARGET PORT GROUPS, SET TARGET PORT GROUPS and REPORT REFERRALS.
//!
//! The bytes are written here rather than by `alua-core`'s writers: the tests read them with its
//! parsers, so that each checks the other.

use alua_core::access::{AccessState, SupportedStates};

use super::{Answer, Call, Failure, number, parameter_list};
use crate::alua::{Access, Change, ChangedBy};
use crate::array::{Array, Group};
use crate::config::{ExtendedHeader, Segment, StpgBehaviour, Transition};
use crate::fault::FaultAction;
use crate::sense::{Sense, SenseBytes, SenseCode, key};

/// Bits 7:5 of byte 1: the extended header.
const EXTENDED: u8 = 0x20;

impl Array {
    pub(super) fn report_target_port_groups(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        if self.alua.tpgs == alua_core::access::Tpgs::None {
            return Err(Failure::cdb(1));
        }
        let extended = match (call.cdb[1] & 0xe0, self.alua.extended_header) {
            (0, _) | (EXTENDED, ExtendedHeader::Ignored) => false,
            (EXTENDED, ExtendedHeader::Accepted | ExtendedHeader::Uncounted) => true,
            (EXTENDED, ExtendedHeader::Refused) => {
                return Err(Failure::illegal(self.alua.extended_header_sense));
            }
            _ => return Err(Failure::cdb(1)),
        };
        let allocation = number(call.cdb, 6, 4) as usize;
        let omit = match call.task.action() {
            Some(FaultAction::OmitGroup(group)) => Some(*group),
            _ => None,
        };
        out.extend_from_slice(&[0; 4]);
        if extended {
            out.extend_from_slice(&[0x10, self.alua.transition_time_shown, 0, 0]);
        }
        let states = self.reported(call);
        for (group, access) in self.groups.iter().zip(states) {
            if Some(group.id) != omit {
                self.describe_group(group, access, out);
            }
        }
        if extended && self.alua.extended_header == ExtendedHeader::Uncounted {
            out.truncate(out.len() - 4);
        }
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out.truncate(allocation);
        Ok(())
    }

    /// The states as the port's controller tells them now.
    fn reported(&self, call: &Call<'_>) -> &[Access] {
        let unit = &self.units[call.unit];
        let controller = self.ports[call.port].controller;
        let views = match &unit.frozen {
            Some((until, views)) if self.clock.now() < *until => views,
            _ => &unit.views,
        };
        let view = if views.len() > 1 { controller } else { 0 };
        &views[view]
    }

    fn describe_group(&self, group: &Group, access: &Access, out: &mut Vec<u8>) {
        let supported = self.alua.supported_byte.unwrap_or_else(|| self.supported_by(group).bits());
        let [high, low] = group.id.to_be_bytes();
        // SPC has one byte for the number of ports.
        let count = group.ports.len().min(255);
        out.extend_from_slice(&[
            u8::from(access.preferred) << 7 | access.state.bits(),
            supported,
            high,
            low,
            0,
            access.changed_by as u8,
            group.vendor,
            count as u8,
        ]);
        for port in &group.ports[..count] {
            let [high, low] = port.to_be_bytes();
            out.extend_from_slice(&[0, 0, high, low]);
        }
    }

    fn supported_by(&self, group: &Group) -> SupportedStates {
        group.supported.unwrap_or(self.alua.supported)
    }

    pub(super) fn set_target_port_groups(&mut self, call: &Call<'_>) -> Answer {
        if !self.alua.tpgs.has_explicit() {
            return Err(Failure::cdb(1));
        }
        let length = number(call.cdb, 6, 4);
        if length == 0 {
            return Ok(());
        }
        let list = parameter_list(call.task, length)?;
        if list.len() < 8 || list.len() % 4 != 0 {
            return Err(Failure::illegal(SenseCode::PARAMETER_LIST_LENGTH));
        }
        let mut wanted: Vec<(usize, AccessState)> = Vec::with_capacity(list.len() / 4);
        for (descriptor, at) in list[4..].chunks_exact(4).zip((4..).step_by(4)) {
            let target = self.stpg_target(descriptor, at)?;
            wanted.retain(|&(group, _)| group != target.0);
            wanted.push(target);
        }
        match self.alua.stpg {
            StpgBehaviour::Accepted | StpgBehaviour::Half => {}
            StpgBehaviour::Ignored => return Ok(()),
            StpgBehaviour::RefusedParameter => return Err(Failure::list(4)),
            StpgBehaviour::Failed => return Err(stpg_failed()),
        }
        // While another transition is under way, another change is refused as in that state.
        let view = self.view_of(call.unit, self.ports[call.port].controller);
        if self.units[call.unit].pending.iter().any(|pending| pending.view == view) {
            return Err(Failure::Check(Sense::new(key::NOT_READY, SenseCode::TRANSITION)));
        }
        self.add_demotions(call, &mut wanted);
        self.carry_out_stpg(call, wanted)
    }

    /// One descriptor: the group, and the state that it shall have. `at` is its place in the list.
    fn stpg_target(&self, descriptor: &[u8], at: usize) -> Result<(usize, AccessState), Failure> {
        let state = AccessState::from_bits(descriptor[0]);
        let id = number(descriptor, 2, 2) as u16;
        let group = if state == AccessState::Offline {
            // For a request to go offline the number is that of a port.
            self.port_index(id).map(|port| self.ports[port].group)
        } else {
            self.groups.iter().position(|group| group.id == id)
        };
        let group = group.ok_or(Failure::list(at + 2))?;
        if !state.is_settable() || !self.supported_by(&self.groups[group]).contains(state) {
            return Err(Failure::list(at));
        }
        Ok((group, state))
    }

    /// What the array changes besides what it was told to: groups that must make room.
    fn add_demotions(&self, call: &Call<'_>, wanted: &mut Vec<(usize, AccessState)>) {
        let promoted = wanted.iter().any(|&(_, state)| state == AccessState::ActiveOptimized);
        if !promoted || !self.alua.stpg_demotes {
            return;
        }
        let view = self.view_of(call.unit, self.ports[call.port].controller);
        for (group, access) in self.units[call.unit].views[view].iter().enumerate() {
            let told = wanted.iter().any(|&(told, _)| told == group);
            let own = wanted.iter().any(|&(told, state)| {
                state == AccessState::ActiveOptimized
                    && self.groups[told].controller == self.groups[group].controller
            });
            if !told && !own && access.state == AccessState::ActiveOptimized {
                wanted.push((group, self.alua.other_state));
            }
        }
    }

    fn carry_out_stpg(&mut self, call: &Call<'_>, mut wanted: Vec<(usize, AccessState)>) -> Answer {
        let view = self.view_of(call.unit, self.ports[call.port].controller);
        let states = &self.units[call.unit].views[view];
        wanted.retain(|&(group, state)| states[group].state != state);
        let half = self.alua.stpg == StpgBehaviour::Half;
        if half {
            wanted.truncate(wanted.len().div_ceil(2));
        }
        let change = Change {
            unit: call.unit,
            targets: &wanted,
            view: Some(self.ports[call.port].controller),
            by: ChangedBy::Stpg,
            transition: if half {
                Transition::Takes(std::time::Duration::ZERO)
            } else {
                self.alua.transition
            },
            fails: false,
            quiet: false,
            except: (!self.alua.attention_to_requester).then_some(call.task.nexus),
        };
        self.change(&change);
        if half { Err(stpg_failed()) } else { Ok(()) }
    }

    /// Refuses a command whose blocks another group has, where the group is LBA-dependent.
    pub(super) fn check_referral(&self, call: &Call<'_>, lba: u64, count: u64) -> Answer {
        let unit = &self.units[call.unit];
        if count == 0 || self.state_at(call.unit, call.port) != AccessState::LbaDependent {
            return Ok(());
        }
        let last = lba + count - 1;
        let own = self.groups[self.ports[call.port].group].id;
        let elsewhere = unit
            .segments
            .iter()
            .find(|segment| segment.first <= last && segment.last >= lba && segment.group != own);
        let Some(segment) = elsewhere else { return Ok(()) };
        let sense = Sense::new(key::ABORTED_COMMAND, SenseCode::INSPECT_REFERRALS).encode(true);
        let mut descriptor = vec![0x0b, 0, 0, 0];
        self.describe_segment(call, segment, &mut descriptor);
        descriptor[1] = (descriptor.len() - 2) as u8;
        let sense: SenseBytes = sense.with_descriptor(&descriptor);
        Err(Failure::Made(sense))
    }

    /// A user data segment referral descriptor: the blocks, and how each group stands to them.
    fn describe_segment(&self, call: &Call<'_>, segment: &Segment, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 0, 0, self.groups.len().min(255) as u8]);
        out.extend_from_slice(&segment.first.to_be_bytes());
        out.extend_from_slice(&segment.last.to_be_bytes());
        for (group, access) in self.groups.iter().zip(self.reported(call)).take(255) {
            let state = match access.state {
                AccessState::LbaDependent if group.id == segment.group => {
                    AccessState::ActiveOptimized
                }
                // It refuses these blocks.
                AccessState::LbaDependent => AccessState::Unavailable,
                state => state,
            };
            let [high, low] = group.id.to_be_bytes();
            out.extend_from_slice(&[state.bits(), 0, high, low]);
        }
    }

    pub(super) fn report_referrals(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        let unit = &self.units[call.unit];
        if unit.segments.is_empty() {
            return Err(Failure::cdb(1));
        }
        let lba = number(call.cdb, 2, 8);
        if lba >= unit.medium.blocks() {
            return Err(Failure::illegal(SenseCode::LBA_OUT_OF_RANGE));
        }
        let one = call.cdb[14] & 1 != 0;
        out.extend_from_slice(&[0; 4]);
        let segments = unit.segments.iter().filter(|segment| segment.last >= lba);
        for segment in segments.take(if one { 1 } else { usize::MAX }) {
            self.describe_segment(call, segment, out);
        }
        let length = (out.len() - 4) as u16;
        out[2..4].copy_from_slice(&length.to_be_bytes());
        out.truncate(number(call.cdb, 10, 4) as usize);
        Ok(())
    }
}

fn stpg_failed() -> Failure {
    Failure::Check(Sense::new(key::HARDWARE_ERROR, SenseCode::STPG_FAILED))
}
