//! `alua target`: a model array as an iSCSI target, and what can be done to it while it runs.

mod control;
mod event;
mod log;
mod secrets;
mod serve;

use crate::cli::{Global, TargetCommand};
use crate::error::Error;
use crate::exit::Exit;

pub(super) fn run(global: &Global, command: &TargetCommand) -> Result<Exit, Error> {
    match command {
        TargetCommand::Serve(args) => serve::run(global, args),
        TargetCommand::Event(args) => event::happen(args),
        TargetCommand::Status(args) => event::status(global, args),
    }
}
