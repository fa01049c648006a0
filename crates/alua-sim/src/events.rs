//! What happens to the array and to the hosts while requests run.
//!
//! Each event that breaks something is undone after a while, as in the world; the events in between
//! overlap as they come, so that ports return in another order than they went.

use std::time::Duration;

use alua_array::{Event, LostTasks, SenseCode, Transition};
use alua_core::access::AccessState;
use alua_core::select::{Health, Out, Standing};
use alua_multipath::Switch;

use crate::host::RIVAL_TAG;
use crate::options::{DATA, Kind, LUN, OTHER, REMAP_MS};
use crate::world::World;

/// The end of something.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Event(Event),
    /// A port comes up, with the right unit behind it.
    Port(u16),
    Release,
    Unprotect,
    AddPath(usize, u16),
    Restore(usize),
}

/// A reservation key.
const KEY: [u8; 8] = *b"a rival.";

impl World {
    /// The next fault event.
    pub(crate) fn fault(&mut self) {
        let gap = self.faults.between(5, self.options.fault_gap_ms);
        self.events += 1;
        self.next_fault = (self.events < self.options.faults).then(|| self.now.after(gap as u32));
        let kinds = self.options.kinds.clone();
        let kind = self.faults.pick(&kinds);
        self.last_event = (kind, self.now);
        self.trace.note(self.now, "world", "fault", format_args!("{}", kind.name()));
        self.mark(kind.name());
        self.break_something(kind);
        self.catch_up();
    }

    fn break_something(&mut self, kind: Kind) {
        match kind {
            Kind::Switch => self.switch(),
            Kind::State => self.one_state(),
            Kind::Swap => self.swap(),
            Kind::Port => self.port_down(false),
            Kind::Remap => self.port_down(true),
            Kind::Crash => self.crash(),
            Kind::Attention => self.attentions(),
            Kind::Reset => self.apply(&Event::ResetUnit { unit: Some(DATA.to_owned()) }),
            Kind::Nexus => {
                let port = self.any_port();
                self.apply(&Event::NexusLoss { initiator: None, port });
            }
            Kind::Hang => self.arm(&["hang", "hang-runs"]),
            Kind::Lost => self.arm(&["lost", "lost-runs", "ghost", "no-connect"]),
            Kind::Late => self.arm(&["late", "late-answer"]),
            Kind::Busy => self.arm(&["busy", "full"]),
            Kind::Odd => self.arm(&["aborted", "short"]),
            Kind::NoAbort => self.arm(&["no-function", "mute-function"]),
            Kind::Stale => {
                let duration = self.faults.micros(10_000, 1_000_000);
                self.apply(&Event::FreezeReports { unit: None, duration });
            }
            Kind::Split => {
                self.apply(&Event::Split);
                self.later(1_500, Undo::Event(Event::Heal));
            }
            Kind::Reserve => self.reserve(),
            Kind::Protect => self.protect(),
            Kind::Churn => self.churn(),
            Kind::Power => {
                let lose_cache = self.faults.percent(50);
                self.apply(&Event::PowerCycle { lose_cache });
                if lose_cache {
                    self.cache_lost();
                }
            }
            Kind::Hand => self.by_hand(),
        }
    }

    /// Undoes something after up to so many milliseconds.
    fn later(&mut self, most_ms: u64, undo: Undo) {
        let after = self.faults.between(5, most_ms) as u32;
        self.events_sequence += 1;
        self.undo.insert((self.now.after(after), self.events_sequence), undo);
    }

    pub(crate) fn end_undone(&mut self) {
        while let Some((&(at, sequence), _)) = self.undo.first_key_value() {
            if at > self.now {
                break;
            }
            let Some(undo) = self.undo.remove(&(at, sequence)) else { break };
            match undo {
                Undo::Event(event) => self.apply(&event),
                Undo::Port(port) => {
                    let unit = DATA.to_owned();
                    self.apply(&Event::Map { lun: LUN, unit, port: Some(port), quiet: false });
                    self.apply(&Event::PortUp { port });
                    self.tell_port(port, true);
                }
                Undo::Release => self.end_reservation(),
                Undo::Unprotect => self.end_protection(),
                Undo::AddPath(host, port) => {
                    if self.hosts[host].paths.iter().any(|path| path.port == port) {
                        continue;
                    }
                    let now = self.now;
                    self.hosts[host].add_path(&mut self.array, port, now, &mut self.trace);
                    self.now = crate::world::from_array(self.array.now()).max(self.now);
                    self.act();
                    if !self
                        .undo
                        .values()
                        .any(|undo| matches!(undo, Undo::Restore(it) if *it == host))
                    {
                        // It was out when it was removed, and would be for ever.
                        self.put_back(host);
                    }
                    if !self.hosts[host].paths.iter().any(|path| path.port == port) {
                        self.find_again(host, port);
                    }
                }
                Undo::Restore(host) => {
                    self.hosts[host].told();
                    self.hosts[host].engine.switch(None, self.now);
                    for path in self.hosts[host].engine.paths().collect::<Vec<_>>() {
                        self.hosts[host].engine.restore_path(path, self.now);
                        self.catch_up();
                    }
                }
            }
            self.catch_up();
        }
    }

    /// The administrator puts back what is out by hand.
    fn put_back(&mut self, host: usize) {
        let out = Standing::Out(Out::Health(Health::ByHand));
        let engine = &mut self.hosts[host].engine;
        let views = engine.paths().filter_map(|path| engine.view(path));
        let paths: Vec<_> = views.filter(|it| it.standing == out).map(|it| it.id).collect();
        for path in paths {
            self.hosts[host].told();
            self.hosts[host].engine.restore_path(path, self.now);
            self.catch_up();
        }
    }

    fn any_port(&mut self) -> Option<u16> {
        let ports: Vec<u16> = self.array.ports().collect();
        Some(self.faults.pick(&ports))
    }

    fn controller(&mut self) -> String {
        let all = self.array.config().controllers.len() as u64;
        let at = self.faults.below(all) as usize;
        self.array.config().controllers[at].name.clone()
    }

    fn transition(&mut self) -> Option<Transition> {
        match self.faults.below(4) {
            0 => None,
            1 => Some(Transition::Takes(Duration::ZERO)),
            _ => Some(Transition::Takes(self.faults.micros(1_000, 2_500_000))),
        }
    }

    fn switch(&mut self) {
        let (to, transition) = (self.controller(), self.transition());
        let fails = self.faults.percent(10);
        self.apply(&Event::Switch { unit: Some(DATA.to_owned()), to, transition, fails });
    }

    fn state(&mut self) -> AccessState {
        if self.options.by_lba && self.faults.percent(40) {
            return AccessState::LbaDependent;
        }
        self.faults.pick(&[
            AccessState::ActiveOptimized,
            AccessState::ActiveOptimized,
            AccessState::ActiveNonOptimized,
            AccessState::Standby,
            AccessState::Unavailable,
        ])
    }

    fn one_state(&mut self) {
        let groups: Vec<u16> = self.array.groups().collect();
        let (group, state) = (self.faults.pick(&groups), self.state());
        let transition = self.transition();
        let quiet = self.faults.percent(15);
        if state == AccessState::LbaDependent && self.faults.percent(80) {
            // All of them, so that every block has a group.
            for group in groups {
                self.set_state(group, state, transition, quiet);
            }
            return;
        }
        self.set_state(group, state, transition, quiet);
        if !state.is_live() {
            // An array does not leave its hosts without a live group for ever.
            let unit = Some(DATA.to_owned());
            let (transition, fails, quiet) = (None, false, false);
            let state = AccessState::ActiveOptimized;
            let back =
                Event::SetState { unit, group, state, transition, fails, seen_by: None, quiet };
            self.later(2_000, Undo::Event(back));
        }
    }

    /// The live group goes to standby in the moment in which another comes back.
    fn swap(&mut self) {
        let groups: Vec<u16> = self.array.groups().collect();
        let winner = self.faults.pick(&groups);
        let rest = self.faults.pick(&[AccessState::Standby, AccessState::Unavailable]);
        for group in groups {
            let state = if group == winner { AccessState::ActiveOptimized } else { rest };
            self.set_state(group, state, None, false);
        }
    }

    /// A port goes down; where its unit is changed meanwhile, another one is behind it for a while.
    fn port_down(&mut self, remap: bool) {
        let Some(port) = self.any_port().filter(|&port| self.array.is_up(port)) else { return };
        let tasks = self.faults.pick(&[LostTasks::Aborted, LostTasks::Run]);
        self.apply(&Event::PortDown { port, tasks });
        self.tell_port(port, false);
        if !remap {
            self.later(2_000, Undo::Port(port));
            return;
        }
        // Nothing tells of it but the link: the worst that an administrator can do.
        let quiet = self.faults.percent(50);
        let unit = OTHER.to_owned();
        self.apply(&Event::Map { lun: LUN, unit, port: Some(port), quiet });
        self.events_sequence += 1;
        let after = self.faults.between(u64::from(REMAP_MS) + 1, 200) as u32;
        let up = Undo::Event(Event::PortUp { port });
        self.undo.insert((self.now.after(after), self.events_sequence), up);
        // It goes down once more before the right unit comes back.
        self.events_sequence += 1;
        let down = Undo::Event(Event::PortDown { port, tasks: LostTasks::Aborted });
        self.undo.insert((self.now.after(1_000), self.events_sequence), down);
        self.events_sequence += 1;
        self.undo.insert((self.now.after(1_100), self.events_sequence), Undo::Port(port));
    }

    fn crash(&mut self) {
        let controller = self.controller();
        let lose_cache = self.faults.percent(20);
        let tasks = self.faults.pick(&[LostTasks::Aborted, LostTasks::Run]);
        let transition = self.transition();
        let ports = self.ports_of(&controller);
        self.apply(&Event::ControllerCrash {
            controller: controller.clone(),
            tasks,
            lose_cache,
            takeover: true,
            transition,
        });
        if lose_cache {
            self.cache_lost();
        }
        for port in ports {
            self.tell_port(port, false);
        }
        let giveback = self.faults.percent(50);
        self.later(3_000, Undo::Event(Event::ControllerReturn { controller, giveback }));
    }

    fn ports_of(&self, controller: &str) -> Vec<u16> {
        let mine = |&port: &u16| self.array.controller_of(port) == Some(controller);
        self.array.ports().filter(mine).collect()
    }

    fn attentions(&mut self) {
        let codes = [
            SenseCode::STATE_CHANGED,
            SenseCode::POWER_ON,
            SenseCode::LUNS_CHANGED,
            SenseCode::CAPACITY_CHANGED,
            SenseCode::new(0x3f, 0x03),
            SenseCode::new(0x2a, 0x01),
        ];
        let code = self.faults.pick(&codes);
        for turn in 0..self.faults.between(1, 20) {
            let event = Event::UnitAttention { initiator: None, port: None, unit: None, code };
            if turn == 0 {
                self.apply(&event);
            } else {
                self.later(200, Undo::Event(event));
            }
        }
    }

    fn arm(&mut self, names: &[&str]) {
        let fault = self.faults.pick(names).to_owned();
        self.apply(&Event::Arm { fault: fault.clone() });
        self.later(3_000, Undo::Event(Event::Disarm { fault }));
    }

    /// The administrator of the array forbids writes for a while.
    fn protect(&mut self) {
        self.apply(&Event::WriteProtect { unit: Some(DATA.to_owned()), on: true });
        self.protected = Some(self.now.after(u32::MAX));
        self.later(500, Undo::Unprotect);
    }

    pub(crate) fn end_protection(&mut self) {
        self.apply(&Event::WriteProtect { unit: Some(DATA.to_owned()), on: false });
        // Answers may be on their way for a while.
        self.protected = self.protected.map(|_| self.now.after(5_000));
    }

    /// Another host reserves the unit for itself, for a while.
    fn reserve(&mut self) {
        if self.reserved.is_some() && self.rival.is_some() {
            return;
        }
        let Some(port) = self.array.ports().find(|&port| self.array.is_up(port)) else { return };
        let Ok(rival) = self.array.connect("rival", port) else { return };
        self.rival = Some(rival);
        let mut list = [0; 24];
        list[8..16].copy_from_slice(&KEY);
        self.rival_sends(0x00, 0, &list);
        list[8..16].fill(0);
        list[..8].copy_from_slice(&KEY);
        // Exclusive access.
        self.rival_sends(0x01, 3, &list);
        self.reserved = Some(self.now.after(u32::MAX));
        self.later(500, Undo::Release);
    }

    /// PERSISTENT RESERVE OUT, until it is done or will not be.
    fn rival_sends(&mut self, action: u8, kind: u8, list: &[u8; 24]) {
        let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
        for _ in 0..8 {
            let Some(rival) = self.rival else { return };
            let wait = Duration::from_millis(100);
            let done = self.array.execute(rival, LUN, RIVAL_TAG, &cdb, list, 0, wait);
            self.now = crate::world::from_array(self.array.now()).max(self.now);
            match done {
                Ok(Some(done)) if done.outcome.is_good() => break,
                Ok(Some(_)) => {}
                // One that cannot be aborted either would take up room in the target for ever: it
                // ends with its nexus.
                Ok(None) => {
                    let Some(port) = self.array.port_of(rival) else { return };
                    self.rival = self.array.connect("rival", port).ok().or(self.rival);
                }
                Err(_) => break,
            }
        }
    }

    pub(crate) fn end_reservation(&mut self) {
        if self.rival.is_none() {
            return;
        }
        if let Some(port) = self.rival.and_then(|rival| self.array.port_of(rival)) {
            let unit = DATA.to_owned();
            self.apply(&Event::Map { lun: LUN, unit, port: Some(port), quiet: true });
        }
        let mut list = [0; 24];
        list[..8].copy_from_slice(&KEY);
        // CLEAR; through another port where the first is down.
        self.rival_sends(0x03, 0, &list);
        if self.is_reserved() {
            self.later(100, Undo::Release);
            return;
        }
        if let Some(rival) = self.rival.take() {
            self.array.disconnect(rival);
        }
        // Answers may be on their way for a while.
        self.reserved = Some(self.now.after(5_000));
    }

    /// Whether the rival's key is still registered.
    fn is_reserved(&mut self) -> bool {
        let Some(rival) = self.rival else { return false };
        let cdb = [0x5e, 0, 0, 0, 0, 0, 0, 0, 24, 0];
        let wait = Duration::from_millis(100);
        let done = self.array.execute(rival, LUN, RIVAL_TAG, &cdb, &[], 24, wait);
        self.now = crate::world::from_array(self.array.now()).max(self.now);
        match done {
            Ok(Some(done)) if done.outcome.is_good() => done.outcome.data().get(7) != Some(&0),
            _ => true,
        }
    }

    fn churn(&mut self) {
        let host = self.faults.below(self.hosts.len() as u64) as usize;
        let count = self.hosts[host].paths.len() as u64;
        if count < 2 {
            return;
        }
        let at = self.faults.below(count) as usize;
        let port = self.hosts[host].paths[at].port;
        let now = self.now;
        self.hosts[host].remove_path(&mut self.array, at, now, &mut self.trace);
        self.later(2_000, Undo::AddPath(host, port));
    }

    fn by_hand(&mut self) {
        let host = self.faults.below(self.hosts.len() as u64) as usize;
        let paths: Vec<_> = self.hosts[host].engine.paths().collect();
        if paths.len() < 2 {
            return;
        }
        let path = self.faults.pick(&paths);
        self.hosts[host].told();
        let engine = &mut self.hosts[host].engine;
        match self.faults.below(3) {
            0 => {
                engine.fail_path(path, self.now);
            }
            1 => {
                engine.switch(Some(Switch::Path(path)), self.now);
            }
            _ => {
                let group = engine.view(path).and_then(|view| view.group);
                engine.switch(group.map(Switch::Group), self.now);
            }
        }
        self.later(2_000, Undo::Restore(host));
    }
}
