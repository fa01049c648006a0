//! The phases of a run.
//!
//! 1. **Safety**: requests and fault events, until both are used up. Every answer is checked.
//! 2. **Liveness**: one controller is healed for good, with a group that is active/optimized; what
//!    else is broken stays so. Every request must end well within a bound (I6).
//! 3. **Finale**: in some seeds every path is lost, or every group enters a transition that never
//!    ends; requests must end all the same, with an error if need be (I7, I10).
//! 4. **Reckoning**: everything is healed, every block is read and compared, the paths are removed,
//!    and nothing may be left.

use alua_array::{Event, Transition};
use alua_core::access::AccessState;
use alua_multipath::{NoPath, Operation, Request};

use super::{World, from_array};
use crate::check::Invariant;
use crate::events::Undo;
use crate::host::Host;
use crate::options::{DATA, Finale, GHOST_MS, LUN};
use crate::picture::RECKONING;

/// How long the liveness phase may take.
const LIVENESS_MS: u32 = 60_000;

impl World {
    pub(super) fn safety(&mut self) {
        let end = self.now.after(600_000);
        while (self.left.iter().any(|&left| left > 0) || self.events < self.options.faults)
            && self.goes_on()
        {
            if self.left.iter().all(|&left| left == 0) && self.waiting.is_empty() {
                break;
            }
            if !self.step(end) {
                break;
            }
        }
    }

    pub(super) fn goes_on(&self) -> bool {
        self.checks.found.is_empty() && !self.given_up
    }

    /// One host's paths and one controller are healed for good; everything must end well.
    pub(super) fn liveness(&mut self) {
        self.mark("liveness");
        self.next_fault = None;
        self.undo.retain(|_, undo| matches!(undo, Undo::AddPath(..)));
        self.heal(false);
        for host in 0..self.hosts.len() {
            self.left[host] = self.left[host].min(40) + 20;
            for _ in 0..self.options.depth.min(4) {
                self.start_at(host, self.now);
            }
        }
        self.finish(LIVENESS_MS, Invariant::I6);
    }

    /// Lets every request end. One must end in any `most_ms`.
    fn finish(&mut self, most_ms: u32, invariant: Invariant) {
        let (mut ended, mut bound) = (self.requests, self.now.after(most_ms));
        while (!self.waiting.is_empty() || self.left.iter().any(|&left| left > 0)) && self.goes_on()
        {
            if self.requests != ended {
                (ended, bound) = (self.requests, self.now.after(most_ms));
            }
            if !self.step(bound) {
                self.stuck(invariant);
            }
        }
    }

    pub(super) fn finale(&mut self) {
        // What is asked here is how long the engine takes, not how long its host does.
        self.hosts.iter_mut().for_each(Host::stop_holding);
        let invariant = match self.options.finale {
            Finale::Quiet => return,
            Finale::NoPath => {
                for port in self.array.ports().collect::<Vec<_>>() {
                    if self.array.is_up(port) {
                        let tasks = alua_array::LostTasks::Run;
                        self.apply(&Event::PortDown { port, tasks });
                        self.tell_port(port, false);
                    }
                }
                Invariant::I7
            }
            Finale::Endless => {
                let groups: Vec<u16> = self.array.groups().collect();
                for group in groups {
                    self.set_state(group, AccessState::Standby, None, true);
                    self.set_state(
                        group,
                        AccessState::ActiveOptimized,
                        Some(Transition::Never),
                        true,
                    );
                }
                Invariant::I10
            }
        };
        self.mark("finale");
        self.lenient = true;
        let longest = self.hosts.iter().map(|host| {
            let config = host.engine.config();
            match config.no_path {
                NoPath::Fail => Some(0),
                NoPath::Wait(ms) => Some(ms),
                NoPath::Forever => None,
            }
        });
        let longest: Option<u32> =
            longest.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        // Without a limit the requests wait for ever, as configured.
        let Some(longest) = longest else { return };
        for host in 0..self.hosts.len() {
            self.left[host] = 16;
            for _ in 0..8 {
                self.start_at(host, self.now);
            }
        }
        // The transition's limit, the limit for no path, the fence.
        self.finish(5_000 + longest + GHOST_MS + 15_000, invariant);
    }

    /// Everything is healed, and every block is read.
    pub(super) fn reckoning(&mut self) {
        self.hosts.iter_mut().for_each(Host::stop_holding);
        self.mark(RECKONING);
        self.heal(true);
        let settled = self.now.after(15_000);
        while self.goes_on() && self.step(settled) {}
        self.lenient = false;
        for host in 0..self.hosts.len() {
            let first = host as u64 * self.options.space;
            for lba in first..first + self.options.space {
                self.begin(host, Request { operation: Operation::Read, lba, blocks: 1 });
                let bound = self.now.after(LIVENESS_MS);
                while !self.waiting.is_empty() && self.goes_on() {
                    if !self.step(bound) {
                        self.stuck(Invariant::I6);
                    }
                }
                if !self.goes_on() {
                    return;
                }
            }
        }
        self.shut_down();
    }

    /// Every path goes: nothing may be left in the engines.
    fn shut_down(&mut self) {
        for at in 0..self.hosts.len() {
            self.hosts[at].engine.stop(self.now);
            while !self.hosts[at].paths.is_empty() {
                let host = &mut self.hosts[at];
                host.remove_path(&mut self.array, 0, self.now, &mut self.trace);
            }
        }
        let bound = self.now.after(2 * GHOST_MS + 2_000);
        while self.step(bound) && self.goes_on() {}
        for host in &self.hosts {
            if !host.engine.is_idle() {
                let view = host.engine.view_unit();
                self.checks.fail(Invariant::I5, self.now, format_args!("left over: {view:?}"));
            }
        }
    }

    /// Puts the array in order: one controller for good, or all of them.
    fn heal(&mut self, all: bool) {
        let controllers: Vec<String> =
            self.array.config().controllers.iter().map(|it| it.name.clone()).collect();
        let chosen = controllers[self.faults.below(controllers.len() as u64) as usize].clone();
        if let Some(port) = self.rival.and_then(|rival| self.array.port_of(rival)) {
            let controller = self.array.controller_of(port).unwrap_or_default().to_owned();
            self.apply(&Event::ControllerReturn { controller, giveback: false });
            self.apply(&Event::PortUp { port });
            let unit = DATA.to_owned();
            self.apply(&Event::Map { lun: LUN, unit, port: Some(port), quiet: false });
        }
        self.apply(&Event::Heal);
        for fault in self.array.config().faults.iter().map(|it| it.name.clone()).collect::<Vec<_>>()
        {
            self.apply(&Event::Disarm { fault });
        }
        self.end_reservation();
        self.end_protection();
        for controller in controllers.iter().filter(|name| all || **name == chosen) {
            self.apply(&Event::ControllerReturn {
                controller: controller.clone(),
                giveback: false,
            });
        }
        let ports: Vec<u16> = self.array.ports().collect();
        for port in ports {
            let here = self.array.controller_of(port) == Some(chosen.as_str());
            if !all && !here {
                continue;
            }
            if !self.array.is_up(port) {
                self.apply(&Event::PortUp { port });
                self.tell_port(port, true);
            }
            let unit = DATA.to_owned();
            self.apply(&Event::Map { lun: LUN, unit, port: Some(port), quiet: false });
            for at in 0..self.hosts.len() {
                let host = &mut self.hosts[at];
                if !host.paths.iter().any(|path| path.port == port) {
                    host.add_path(&mut self.array, port, self.now, &mut self.trace);
                    self.now = from_array(self.array.now());
                    self.act();
                }
                let host = &mut self.hosts[at];
                let path = host.paths.iter().find(|path| path.port == port).map(|path| path.id);
                if let Some(path) = path {
                    host.told();
                    host.engine.restore_path(path, self.now);
                    self.act();
                }
            }
        }
        let groups: Vec<u16> = self.array.groups().collect();
        for group in groups {
            let port = self.array.ports().find(|&port| self.array.group_of(port) == Some(group));
            let owner = port.and_then(|port| self.array.controller_of(port));
            let mine = owner == Some(chosen.as_str());
            if mine || all {
                let state = if mine {
                    AccessState::ActiveOptimized
                } else {
                    AccessState::ActiveNonOptimized
                };
                self.set_state(group, state, None, false);
            }
        }
        for host in &mut self.hosts {
            host.told();
            host.engine.switch(None, self.now);
        }
        self.catch_up();
    }

    /// Nothing more will happen, and requests are not complete: those that the engine does not
    /// have any more, or those that it has.
    fn stuck(&mut self, invariant: Invariant) {
        let who = self.who_waits();
        let pending: usize = self.hosts.iter().map(|host| host.engine.pending()).sum();
        let invariant = if pending < self.waiting.len() { Invariant::I5 } else { invariant };
        self.checks.fail(invariant, self.now, format_args!("stuck: {who}"));
        self.given_up = true;
    }

    /// Who waits for whom.
    fn who_waits(&self) -> String {
        let mut text = String::new();
        for (at, host) in self.hosts.iter().enumerate() {
            let waiting = self.waiting.values().filter(|it| it.host == at).count();
            text.push_str(&format!(
                "{}: {waiting} requests; {:?}; ",
                host.name,
                host.engine.view_unit()
            ));
            for path in host.engine.paths().filter_map(|path| host.engine.view(path)) {
                text.push_str(&format!(
                    "{} {:?} {:?} in flight {} doubts {}; ",
                    path.id, path.state, path.standing, path.in_flight, path.doubts
                ));
            }
        }
        text
    }
}
