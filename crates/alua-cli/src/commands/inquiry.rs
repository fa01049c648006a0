//! `alua inquiry`: standard INQUIRY data or a VPD page through one path.

use super::{print, write};
use crate::ask;
use crate::cli::{Global, Inquiry};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::{json, wire};
use crate::target::World;

pub(crate) fn run(global: &Global, args: &Inquiry) -> Result<Exit, Error> {
    let world = World::open(&global.choice())?;
    let mut device = world.device(&args.device)?;
    let timeout_ms = world.timeout_ms();
    let bytes = match args.vpd {
        None => ask::inquiry(&mut device, timeout_ms)?.0,
        Some(page) => ask::page(&mut device, page, timeout_ms)?,
    };
    if args.raw {
        write(&bytes)?;
    } else if args.hex {
        print(&wire::hex_dump(&bytes))?;
    } else {
        let device_name = Some(device.label.as_str());
        let decoded = match args.vpd {
            None => wire::Decoded::inquiry(device_name, &bytes),
            Some(page) => wire::Decoded::vpd(device_name, page, &bytes),
        };
        let decoded = decoded.map_err(|error| ask::malformed(&device, "INQUIRY data", error))?;
        print(&if global.json { json::text(&decoded)? } else { decoded.to_string() })?;
    }
    Ok(Exit::Good)
}
