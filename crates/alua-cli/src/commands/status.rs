//! `alua status`, `alua switch`, `alua path`: running devices, asked by their control sockets.

use super::print;
use crate::cli::Global;
use crate::cli::running::{OnePath, PathCommand, Status, Switch};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::json;
use crate::running::client::{ask, one, running};
use crate::running::control::Ask;
use crate::running::status::{DeviceStatus, Document};

pub(crate) fn status(global: &Global, args: &Status) -> Result<Exit, Error> {
    let socket = args.control.control.as_deref();
    let devices = match &args.unit {
        Some(query) => vec![one(query, socket)?.status],
        None => running(socket)?.into_iter().map(|running| running.status).collect(),
    };
    show(global, devices)?;
    Ok(Exit::Good)
}

pub(crate) fn switch(global: &Global, args: &Switch) -> Result<Exit, Error> {
    let running = one(&args.unit, args.control.control.as_deref())?;
    let to = Ask::Switch { group: args.to.group, path: args.to.path.clone() };
    show(global, vec![ask(&running.socket, &to)?])?;
    Ok(Exit::Good)
}

pub(crate) fn path(global: &Global, command: &PathCommand) -> Result<Exit, Error> {
    let (PathCommand::Fail(args) | PathCommand::Restore(args)) = command;
    let OnePath { device, control } = args;
    let running = one(device, control.control.as_deref())?;
    let path = device.clone();
    let what = match command {
        PathCommand::Fail(_) => Ask::Fail { path },
        PathCommand::Restore(_) => Ask::Restore { path },
    };
    show(global, vec![ask(&running.socket, &what)?])?;
    Ok(Exit::Good)
}

fn show(global: &Global, devices: Vec<DeviceStatus>) -> Result<(), Error> {
    if global.json {
        return print(&json::text(&Document::new(devices))?);
    }
    if devices.is_empty() {
        return print("no device is running: `alua up` starts one\n");
    }
    let texts: Vec<String> = devices.iter().map(DeviceStatus::text).collect();
    print(&texts.join("\n"))
}
