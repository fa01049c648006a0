//! What a served target tells: one line per event, as text or JSON.

use alua_array::Time;
use alua_iscsi::{Record, What};
use serde::Serialize;

use crate::error::Error;
use crate::render::json;

/// A line of the log in its JSON form (docs/json.md, "Target event").
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    at_ms: u64,
    event: &'static str,
    connection: Option<String>,
    nexus: Option<String>,
    initiator: Option<String>,
    port: Option<u16>,
    status: Option<u32>,
    text: String,
}

impl Line {
    pub(super) fn new(at: Time, event: &'static str, text: String) -> Self {
        Self { at_ms: at.as_nanos() / 1_000_000, event, text, ..Self::default() }
    }

    pub(super) fn of(record: &Record) -> Self {
        let what = &record.what;
        let mut line = Self::new(record.at, what.kind(), what.to_string());
        match what {
            What::Connected { connection, port, peer: _ } => {
                line.connection = Some(connection.to_string());
                line.port = Some(*port);
            }
            What::Refused { connection, initiator, status: (class, detail), reason: _ } => {
                line.connection = Some(connection.to_string());
                line.initiator.clone_from(initiator);
                line.status = Some(u32::from(*class) << 8 | u32::from(*detail));
            }
            What::Discovery { connection, initiator } => {
                line.connection = Some(connection.to_string());
                line.initiator = Some(initiator.clone());
            }
            What::LoggedIn { connection, nexus, initiator, port, .. } => {
                line.connection = Some(connection.to_string());
                line.nexus = Some(nexus.to_string());
                line.initiator = Some(initiator.clone());
                line.port = Some(*port);
            }
            What::Closed { connection, nexus, reason: _ } => {
                line.connection = Some(connection.to_string());
                line.nexus = nexus.map(|nexus| nexus.to_string());
            }
            What::Ended { nexus, reason: _ } => line.nexus = Some(nexus.to_string()),
            What::Function { nexus, function: _, response } => {
                line.nexus = Some(nexus.to_string());
                line.status = response.map(u32::from);
            }
            What::Rejected { connection, code, reason: _ } => {
                line.connection = Some(connection.to_string());
                line.status = Some(u32::from(*code));
            }
        }
        line
    }

    pub(super) fn show(&self, as_json: bool) -> Result<String, Error> {
        if as_json {
            return json::line(self);
        }
        let (seconds, millis) = (self.at_ms / 1_000, self.at_ms % 1_000);
        Ok(format!("{seconds:>7}.{millis:03} {}\n", self.text))
    }
}
