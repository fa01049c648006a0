//! `alua array`: the built-in arrays.

use std::fmt::Write as _;

use alua_array::shipped;
use serde::Serialize;

use super::print;
use crate::cli::{ArrayCommand, Global};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::json;
use crate::render::style::{STRONG, padded};
use crate::target::model;
use crate::view::{SCHEMA, SchemaVersion};

#[derive(Debug, Serialize)]
struct Arrays {
    schema_version: SchemaVersion,
    arrays: Vec<One>,
}

#[derive(Debug, Serialize)]
struct One {
    name: &'static str,
    title: &'static str,
}

pub(crate) fn run(global: &Global, command: Option<&ArrayCommand>) -> Result<Exit, Error> {
    match command {
        None | Some(ArrayCommand::List) => list(global),
        Some(ArrayCommand::Print { name }) => {
            let shipped = shipped::Shipped::by_name(name).ok_or_else(|| {
                Error::Usage(format!("no built-in array is called {name}; `alua array` lists them"))
            })?;
            print(shipped.text)?;
            Ok(Exit::Good)
        }
        Some(ArrayCommand::Check { file }) => {
            let config = model::config(file)?;
            print(&format!(
                "{file}: {} controllers, {} target port groups, {} ports, {} units, {} events\n",
                config.controllers.len(),
                config.groups.len(),
                config.ports.len(),
                config.units.iter().map(|unit| u64::from(unit.count)).sum::<u64>(),
                config.script.len()
            ))?;
            Ok(Exit::Good)
        }
    }
}

fn list(global: &Global) -> Result<Exit, Error> {
    let arrays = shipped::ALL.iter();
    if global.json {
        let arrays = arrays.map(|one| One { name: one.name, title: one.title }).collect();
        print(&json::text(&Arrays { schema_version: SCHEMA, arrays })?)?;
        return Ok(Exit::Good);
    }
    let width = arrays.clone().map(|one| one.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for one in arrays {
        let _ = writeln!(out, "{}  {}", padded(STRONG, one.name, width), one.title);
    }
    print(&out)?;
    Ok(Exit::Good)
}
