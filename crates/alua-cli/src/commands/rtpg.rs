//! `alua rtpg`: REPORT TARGET PORT GROUPS through one path.

use alua_core::identity::Identity;
use alua_core::spc::Status;
use alua_core::spc::cdb::{Cdb, ReportFormat};
use alua_core::spc::target_port_groups::Report;
use alua_core::tpgs::evaluate;
use alua_core::unit::{CommandKind, REPORT_BYTES_MAX};
use alua_host::driver::{Driver, Limits};

use super::{print, write};
use crate::ask;
use crate::cli::{Global, Rtpg};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::{json, wire};
use crate::target::{Device, World};

/// Time for a report, with all retries.
const LIMITS: Limits = Limits { total_ms: 60_000, pause_ms: 1_000 };

pub(crate) fn run(global: &Global, args: &Rtpg) -> Result<Exit, Error> {
    let world = World::open(&global.choice())?;
    let mut device = world.device(&args.device)?;
    // TPGS first: a target without ALUA answers with anything.
    let (_, inquiry) = ask::inquiry(&mut device, world.timeout_ms())?;
    let managed = evaluate(inquiry.device_type, inquiry.tpgs)
        .map_err(|off| Error::AluaOff { unit: device.label.clone(), off })?;
    let label = device.label.clone();
    let bytes = if args.short {
        read_short(&mut device, world.timeout_ms())?
    } else {
        let clock = world.clock().clone();
        let mut driver = Driver::new(None, Ok(managed), world.config(), clock);
        // The bare path: what page 83h says does not matter for one report.
        driver
            .add_path(device.label, &Identity::default(), device.line)
            .map_err(|error| Error::Usage(error.to_string()))?;
        let (unit, now) = driver.unit_mut();
        unit.refresh(now);
        driver.run_until(LIMITS, |driver| {
            driver.unit().last_report().is_some() || driver.unit().refresh_error().is_some()
        });
        let report = driver.records().filter(|record| {
            matches!(record.kind, CommandKind::ReportTargetPortGroups { .. })
                && record.result.as_ref().is_ok_and(|reply| reply.status == Status::Good)
        });
        match (driver.unit().refresh_error(), report.last()) {
            // What breaks a rule is shown below, with the rule.
            (_, Some(record)) => record.data_in.clone(),
            (Some(error), None) => return Err(Error::Refresh { unit: label, error }),
            (None, None) => return Err(refused(&driver, label)),
        }
    };
    show(global, args, &label, &bytes)
}

/// Why there is no report, by the last answer: the path is in transition and does not tell more.
fn refused<T, C>(driver: &Driver<T, C>, device: String) -> Error
where
    T: alua_host::transport::Transport,
    C: alua_host::driver::Clock,
{
    let last = driver.records().last().and_then(|record| record.result.as_ref().ok());
    match last {
        Some(reply) => {
            let command = "REPORT TARGET PORT GROUPS";
            Error::Refused { device, command, reply: Box::new(reply.clone()) }
        }
        None => Error::Slow { unit: device, limit_ms: LIMITS.total_ms },
    }
}

/// The length-only form, by hand: with a larger buffer when the first was too small.
fn read_short(device: &mut Device, timeout_ms: u32) -> Result<Vec<u8>, Error> {
    let command = "REPORT TARGET PORT GROUPS";
    let mut allocation_length = 1_024;
    loop {
        let format = ReportFormat::LengthOnly;
        let cdb = Cdb::ReportTargetPortGroups { format, allocation_length };
        let length = usize::try_from(allocation_length).unwrap_or(usize::MAX);
        let bytes = ask::read(device, command, &cdb, length, timeout_ms)?;
        match Report::needed_length(&bytes) {
            Ok(need) if need > allocation_length && need <= REPORT_BYTES_MAX => {
                allocation_length = need;
            }
            _ => return Ok(bytes),
        }
    }
}

fn show(global: &Global, args: &Rtpg, device: &str, bytes: &[u8]) -> Result<Exit, Error> {
    // What lies behind the report is not part of it.
    let whole = Report::needed_length(bytes).unwrap_or(u32::MAX);
    let whole = usize::try_from(whole).unwrap_or(usize::MAX).min(bytes.len());
    let bytes = bytes.get(..whole).unwrap_or(bytes);
    if args.raw {
        write(bytes)?;
    } else if args.hex {
        print(&wire::hex_dump(bytes))?;
    } else {
        let decoded = wire::Decoded::rtpg(Some(device), bytes).map_err(|error| {
            Error::Malformed { device: device.to_owned(), what: "the report", error }
        })?;
        print(&if global.json { json::text(&decoded)? } else { decoded.to_string() })?;
    }
    Ok(Exit::Good)
}
