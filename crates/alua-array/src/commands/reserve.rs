//! PERSISTENT RESERVE IN and OUT.

use super::{Answer, Call, Failure, number};
use crate::array::Array;
use crate::command::Reservation;
use crate::reserve::{Kind, Registrant};
use crate::sense::{Sense, SenseCode, key};
use alua_core::spc::Status;

const CONFLICT: Failure = Failure::Status(Status::ReservationConflict);

/// The parameter list of PERSISTENT RESERVE OUT.
struct List {
    key: u64,
    service_key: u64,
    all_ports: bool,
    aptpl: bool,
}

impl Array {
    fn registrant(&self, call: &Call<'_>) -> Registrant {
        let nexus = &self.nexuses[call.task.nexus as usize];
        (nexus.initiator.clone(), self.ports[nexus.port].id)
    }

    /// Whether a reservation lets the command pass.
    pub(super) fn check_reservation(&self, call: &Call<'_>) -> Answer {
        let reservations = &self.units[call.unit].reservations;
        let class = call.task.command.row().map_or(Reservation::Free, |row| row.reservation);
        if reservations.held.is_none() || class == Reservation::Free {
            return Ok(());
        }
        let writes = class == Reservation::Write;
        if reservations.conflicts(&self.registrant(call), writes) { Err(CONFLICT) } else { Ok(()) }
    }

    pub(super) fn persistent_reserve_in(&self, call: &Call<'_>, out: &mut Vec<u8>) -> Answer {
        let reservations = &self.units[call.unit].reservations;
        match call.cdb[1] & 0x1f {
            0 => {
                out.extend_from_slice(&reservations.generation.to_be_bytes());
                out.extend_from_slice(&((reservations.keys.len() * 8) as u32).to_be_bytes());
                for key in reservations.keys.values() {
                    out.extend_from_slice(&key.to_be_bytes());
                }
            }
            1 => {
                out.extend_from_slice(&reservations.generation.to_be_bytes());
                let Some((kind, holder)) = &reservations.held else {
                    out.extend_from_slice(&[0; 4]);
                    out.truncate(number(call.cdb, 7, 2) as usize);
                    return Ok(());
                };
                let key = holder.as_ref().and_then(|holder| reservations.key_of(holder));
                out.extend_from_slice(&16_u32.to_be_bytes());
                out.extend_from_slice(&key.unwrap_or(0).to_be_bytes());
                out.extend_from_slice(&[0, 0, 0, 0, 0, *kind as u8, 0, 0]);
            }
            2 => {
                // ATP_C, PTPL_C; TMV with every type that the model has.
                let active = u8::from(reservations.aptpl);
                out.extend_from_slice(&[0, 8, 0x05, 0x80 | active, 0xea, 0x01, 0, 0]);
            }
            3 => self.full_status(call, out),
            _ => return Err(Failure::cdb(1)),
        }
        out.truncate(number(call.cdb, 7, 2) as usize);
        Ok(())
    }

    fn full_status(&self, call: &Call<'_>, out: &mut Vec<u8>) {
        let reservations = &self.units[call.unit].reservations;
        out.extend_from_slice(&reservations.generation.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        for (registrant, key) in &reservations.keys {
            let holder = reservations.is_holder(registrant);
            let kind = reservations.held.as_ref().filter(|_| holder).map(|(kind, _)| *kind as u8);
            out.extend_from_slice(&key.to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, 0, u8::from(holder), kind.unwrap_or(0)]);
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&registrant.1.to_be_bytes());
            // An iSCSI TransportID with the initiator's name, NUL-terminated and padded.
            let mut name = registrant.0.as_bytes().to_vec();
            name.truncate(220);
            name.resize((name.len() / 4 + 1) * 4, 0);
            name.resize(name.len().max(20), 0);
            out.extend_from_slice(&((name.len() + 4) as u32).to_be_bytes());
            out.extend_from_slice(&[0x05, 0]);
            out.extend_from_slice(&(name.len() as u16).to_be_bytes());
            out.extend_from_slice(&name);
        }
        let length = (out.len() - 8) as u32;
        out[4..8].copy_from_slice(&length.to_be_bytes());
    }

    pub(super) fn persistent_reserve_out(&mut self, call: &Call<'_>) -> Answer {
        let length = number(call.cdb, 5, 4);
        let list = call.task.data_out.get(..24).filter(|_| length == 24);
        let Some(list) = list else {
            return Err(Failure::illegal(SenseCode::PARAMETER_LIST_LENGTH));
        };
        let action = call.cdb[1] & 0x1f;
        // SPEC_I_PT is not supported.
        if list[20] & 0x08 != 0 {
            return Err(Failure::list(20));
        }
        let list = List {
            key: number(list, 0, 8),
            service_key: number(list, 8, 8),
            all_ports: list[20] & 0x04 != 0,
            aptpl: list[20] & 0x01 != 0,
        };
        let own = self.registrant(call);
        if matches!(action, 0 | 6) {
            return self.register(call, &own, &list, action == 6);
        }
        if !(1..=5).contains(&action) {
            return Err(Failure::cdb(1));
        }
        if self.units[call.unit].reservations.key_of(&own) != Some(list.key) {
            return Err(CONFLICT);
        }
        if action == 3 {
            self.clear(call, &own);
            return Ok(());
        }
        let kind = Kind::from_code(call.cdb[2] & 0x0f).filter(|_| call.cdb[2] >> 4 == 0);
        let kind = kind.ok_or(Failure::cdb(2))?;
        match action {
            1 => self.reserve(call, &own, kind),
            2 => self.release(call, &own, kind),
            _ => self.preempt(call, &own, kind, list.service_key, action == 5),
        }
    }

    fn register(&mut self, call: &Call<'_>, own: &Registrant, list: &List, ignore: bool) -> Answer {
        let known = self.units[call.unit].reservations.key_of(own);
        if !ignore && known.unwrap_or(0) != list.key {
            return Err(CONFLICT);
        }
        let mut targets = vec![own.clone()];
        if list.all_ports {
            targets = self.ports.iter().map(|port| (own.0.clone(), port.id)).collect();
        }
        if known.is_none() && list.service_key == 0 {
            return Ok(());
        }
        let reservations = &mut self.units[call.unit].reservations;
        let mut released = false;
        for target in &targets {
            if list.service_key == 0 {
                released |= reservations.unregister(target);
            } else {
                reservations.keys.insert(target.clone(), list.service_key);
            }
        }
        reservations.aptpl = list.aptpl;
        reservations.generation = reservations.generation.wrapping_add(1);
        if released {
            let others = reservations.others(own);
            self.tell(call.unit, &others, SenseCode::RESERVATIONS_RELEASED);
        }
        Ok(())
    }

    fn reserve(&mut self, call: &Call<'_>, own: &Registrant, kind: Kind) -> Answer {
        let reservations = &mut self.units[call.unit].reservations;
        match &reservations.held {
            None => {
                let holder = (!kind.is_held_by_all()).then(|| own.clone());
                reservations.held = Some((kind, holder));
                Ok(())
            }
            Some((held, _)) if *held == kind && reservations.is_holder(own) => Ok(()),
            Some(_) => Err(CONFLICT),
        }
    }

    fn release(&mut self, call: &Call<'_>, own: &Registrant, kind: Kind) -> Answer {
        let reservations = &mut self.units[call.unit].reservations;
        let Some((held, _)) = reservations.held else { return Ok(()) };
        if !reservations.is_holder(own) {
            return Ok(());
        }
        if held != kind {
            // INVALID RELEASE OF PERSISTENT RESERVATION.
            let code = SenseCode::new(0x26, 0x04);
            return Err(Failure::Check(Sense::new(key::ILLEGAL_REQUEST, code)));
        }
        reservations.held = None;
        if kind.opens_to_registrants() {
            let others = reservations.others(own);
            self.tell(call.unit, &others, SenseCode::RESERVATIONS_RELEASED);
        }
        Ok(())
    }

    fn clear(&mut self, call: &Call<'_>, own: &Registrant) {
        let reservations = &mut self.units[call.unit].reservations;
        let others = reservations.others(own);
        reservations.keys.clear();
        reservations.held = None;
        reservations.generation = reservations.generation.wrapping_add(1);
        self.tell(call.unit, &others, SenseCode::RESERVATIONS_PREEMPTED);
    }

    fn preempt(
        &mut self,
        call: &Call<'_>,
        own: &Registrant,
        kind: Kind,
        victim: u64,
        abort: bool,
    ) -> Answer {
        let reservations = &mut self.units[call.unit].reservations;
        // Whether the reservation itself is taken over, and who loses the registration.
        let (takes, all) = match &reservations.held {
            Some((held, _)) if held.is_held_by_all() => (victim == 0, victim == 0),
            Some((_, Some(holder))) => (reservations.key_of(holder) == Some(victim), false),
            _ => (false, false),
        };
        if victim == 0 && !all {
            return Err(Failure::list(8));
        }
        let removed: Vec<Registrant> = reservations
            .keys
            .iter()
            .filter(|&(_, &key)| all || key == victim)
            .map(|(registrant, _)| registrant.clone())
            .collect();
        if removed.is_empty() {
            return Err(CONFLICT);
        }
        let gone: Vec<Registrant> =
            removed.into_iter().filter(|other| other != own || !(takes || all)).collect();
        for registrant in &gone {
            reservations.keys.remove(registrant);
        }
        let mut changed = false;
        if takes {
            changed = reservations.held.as_ref().is_some_and(|(held, _)| *held != kind);
            let holder = (!kind.is_held_by_all()).then(|| own.clone());
            reservations.held = Some((kind, holder));
        } else if reservations.keys.is_empty() {
            reservations.held = None;
        }
        reservations.generation = reservations.generation.wrapping_add(1);
        let staying = reservations.others(own);
        let told: Vec<Registrant> = gone.iter().filter(|other| *other != own).cloned().collect();
        self.tell(call.unit, &told, SenseCode::REGISTRATIONS_PREEMPTED);
        if changed {
            self.tell(call.unit, &staying, SenseCode::RESERVATIONS_RELEASED);
        }
        if abort {
            self.abort_for(call, &told);
        }
        Ok(())
    }

    /// Ends the commands to the unit that came through the preempted nexuses.
    fn abort_for(&mut self, call: &Call<'_>, registrants: &[Registrant]) {
        let nexuses = self.nexuses_of(registrants);
        let unit = Some(call.unit as u32);
        self.end_tasks(Some(call.task.nexus), |task| {
            task.unit == unit && nexuses.contains(&task.nexus)
        });
    }

    fn tell(&mut self, unit: usize, registrants: &[Registrant], code: SenseCode) {
        let nexuses = self.nexuses_of(registrants);
        self.establish(unit, code, |_, nexus| nexuses.contains(&(nexus as u32)));
    }

    /// The nexuses by which registrants are connected, those that ended with commands still in the
    /// unit included.
    fn nexuses_of(&self, registrants: &[Registrant]) -> Vec<u32> {
        let known = |nexus: &crate::nexus::Nexus| {
            let id = self.ports[nexus.port].id;
            registrants.iter().any(|(name, port)| *name == nexus.initiator && *port == id)
        };
        (0..).zip(&self.nexuses).filter(|(_, nexus)| known(nexus)).map(|(at, _)| at).collect()
    }
}
