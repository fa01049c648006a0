//! A caller that drives the core by hand: no device, no clock, no thread.
//!
//! A unit with two paths in two groups is discovered, its controllers switch under it, and an
//! explicit activation brings the first group back. What a shell does with a real device, the
//! function `target` does here.
//!
//! Run it: `cargo run -p alua-core --example by_hand`
#![allow(clippy::unwrap_used, reason = "an example that fails shall say where")]

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter, StatusCode};
use alua_core::spc::{Status, WireError};
use alua_core::time::Time;
use alua_core::tpgs;
use alua_core::unit::{
    Activated, Command, CommandKind, Config, Event, Group, LogicalUnit, NewPath, Outcome, Path,
};

type Unit = LogicalUnit<[Group; 4], [Path; 4]>;

/// The target: the states of groups 1 and 2.
struct Target([AccessState; 2]);

impl Target {
    /// Executes a command and gives the data that it reads.
    fn execute(&mut self, command: &Command) -> Result<Vec<u8>, WireError> {
        let mut data = [0; 64];
        match command.kind {
            CommandKind::SetTargetPortGroups(targets) => {
                for wanted in targets.as_slice() {
                    self.0 = match wanted.id {
                        1 => [wanted.state, AccessState::ActiveNonOptimized],
                        _ => [AccessState::ActiveNonOptimized, wanted.state],
                    };
                }
                Ok(Vec::new())
            }
            CommandKind::ReportTargetPortGroups { format, .. } => {
                let length = self.report(format, &mut data)?;
                Ok(data.into_iter().take(length).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn report(&self, format: ReportFormat, buffer: &mut [u8]) -> Result<usize, WireError> {
        let mut report = ReportWriter::new(buffer, format, 60);
        for (id, state) in (1..).zip(self.0) {
            let supported = SupportedStates::from_bits(0xdf);
            let status = StatusCode::None;
            let fields =
                GroupFields { id, state, supported, status, preferred: id == 1, vendor: 0 };
            report.push(&fields, [id])?;
        }
        report.finish()
    }
}

/// What a shell does after every input: send what is wanted, tell what happened, wait.
fn run(unit: &mut Unit, target: &mut Target, now: &mut Time) {
    loop {
        while let Some(command) = unit.poll_command(*now) {
            println!("{:>6} ms  path {}: {}", now.as_millis(), command.path, command.kind);
            let data = target.execute(&command).unwrap();
            let outcome = Outcome::Answered { status: Status::Good, sense: &[], data: &data };
            unit.handle_completion(command.id, &outcome, *now);
        }
        while let Some(event) = unit.poll_event() {
            match event {
                Event::Path { path, to: Some(state), cause, .. } => {
                    println!("{:>6} ms  path {path} is {state}: {cause}", now.as_millis());
                }
                Event::Activation { result: Ok(how), .. } => {
                    println!("{:>6} ms  activated: {how}", now.as_millis());
                    assert_eq!(how, Activated::Reached);
                }
                _ => {}
            }
        }
        match unit.poll_deadline() {
            Some(deadline) => *now = deadline.max(*now),
            None => return,
        }
    }
}

fn main() {
    let mut now = Time::ZERO;
    let mut target = Target([AccessState::ActiveOptimized, AccessState::ActiveNonOptimized]);
    let groups = [Group::default(); 4];
    let paths = [Path::default(); 4];
    let managed = tpgs::evaluate(0, Tpgs::Both);
    let config = Config::default();
    let name = None;
    let mut unit: Unit = LogicalUnit::new(name, managed, config, groups, paths);

    // A device without a name in page 83h is a unit of one path; with one, paths are added until
    // the storage is full.
    let path = NewPath { group: Some(1), relative_port: Some(1), ..NewPath::default() };
    let path = unit.add_path(path, now).unwrap();
    run(&mut unit, &mut target, &mut now);

    println!("-- the controllers switch; the next command on the path meets standby");
    target.0 = [AccessState::Standby, AccessState::ActiveOptimized];
    let sense = Sense::new(SenseKey::NotReady, 0x04, 0x0b);
    let meaning = unit.handle_sense(path, &sense, now);
    println!("           the command: {:?} ({})", meaning.disposition, meaning.text);
    run(&mut unit, &mut target, &mut now);
    assert_eq!(unit.access(path).state, Some(AccessState::Standby));

    println!("-- group 1 is asked to become optimized again");
    unit.activate(1, now).unwrap();
    run(&mut unit, &mut target, &mut now);
    assert_eq!(unit.access(path).state, Some(AccessState::ActiveOptimized));
    println!("{:?}", unit.counters());
}
