//! `alua demo`: on the built-in array, without hardware and without privileges.

mod client;
mod device;
mod load;
mod tour;

use crate::cli::{DemoPart, Global};
use crate::error::Error;
use crate::exit::Exit;

pub(crate) fn run(global: &Global, part: DemoPart) -> Result<Exit, Error> {
    match part {
        DemoPart::Device => device::run(global),
        DemoPart::Tour => tour::run(global),
    }
}
