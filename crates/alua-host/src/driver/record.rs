//! What was sent, and what came of it.

use std::fmt;

use alua_core::spc::Status;
use alua_core::spc::cdb::CdbBytes;
use alua_core::time::Time;
use alua_core::unit::{CommandKind, Outcome, PathId};

use crate::transport::{Reply, TransportError};

/// One command that was sent for a logical unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The path.
    pub path: PathId,
    /// The path's label, as given when it was added.
    pub label: String,
    /// What was sent, as the core names it.
    pub kind: CommandKind,
    /// What was sent, as bytes.
    pub cdb: CdbBytes,
    /// The data sent with it.
    pub data_out: Vec<u8>,
    /// When it was handed to the transport.
    pub sent: Time,
    /// When the transport returned.
    pub ended: Time,
    /// The answer, or why there is none.
    pub result: Result<Reply, TransportError>,
    /// The data received; no byte more than was received.
    pub data_in: Vec<u8>,
}

impl Record {
    /// The record as the core takes it.
    #[must_use]
    pub fn outcome(&self) -> Outcome<'_> {
        match &self.result {
            Ok(reply) => Outcome::Answered {
                status: reply.status,
                sense: reply.sense.as_bytes(),
                data: &self.data_in,
            },
            Err(error) => outcome_of(error),
        }
    }
}

/// What a transport error is to the core.
#[must_use]
pub fn outcome_of(error: &TransportError) -> Outcome<'static> {
    match error {
        TransportError::NotSubmitted { .. } => Outcome::NotSubmitted,
        TransportError::TimedOut { .. } => Outcome::TimedOut,
        // An interrupted wait leaves the command as unknown as a broken transport does.
        TransportError::Failed { .. } | TransportError::Interrupted { .. } => {
            Outcome::TransportFailed
        }
    }
}

/// One line: time, path, command, outcome.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.ended.since(self.sent);
        write!(f, "{} ms {}: {} -> ", self.sent.as_millis(), self.label, self.kind)?;
        match &self.result {
            Err(error) => write!(f, "{error}")?,
            Ok(reply) => {
                write!(f, "{}", reply.status)?;
                match reply.parsed_sense() {
                    Some(Ok(sense)) => write!(f, ", {sense}")?,
                    Some(Err(error)) => write!(f, ", sense data: {error}")?,
                    None => {}
                }
                if reply.status == Status::Good && !self.data_in.is_empty() {
                    write!(f, ", {} bytes", self.data_in.len())?;
                }
            }
        }
        write!(f, " ({took} ms)")
    }
}
