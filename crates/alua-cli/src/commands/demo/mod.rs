//! `alua demo`: on the built-in array, without hardware and without privileges.

mod client;
mod device;
mod load;
mod table;
mod tour;
mod verdict;

use std::path::Path;

use crate::cli::{DemoPart, Global};
use crate::error::Error;
use crate::exit::Exit;

pub(crate) fn run(global: &Global, part: DemoPart, timeline: Option<&Path>) -> Result<Exit, Error> {
    match (part, timeline) {
        (DemoPart::Device, timeline) => device::run(global, timeline),
        (DemoPart::Tour, None) => tour::run(global),
        (DemoPart::Tour, Some(_)) => Err(Error::Usage(
            "the tour has no timeline: --timeline draws `alua demo device`".to_owned(),
        )),
    }
}
