//! The control socket of a served target: one JSON line asks, one JSON line answers.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::exit::Exit;

/// The longest line of a request or an answer, in bytes.
pub(super) const LINE_MAX: u64 = 1 << 20;

/// What a running target is asked to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    /// An event of the array, as a script writes it.
    Event {
        /// The table in TOML.
        toml: String,
    },
    /// Breaks the connections of a port, or all.
    Cut { port: Option<u16> },
    /// Asks the sessions of a port, or all, to log out.
    #[serde(rename = "request-logout")]
    Logout { port: Option<u16>, seconds: u16 },
    /// Says that connections are dropped, and drops them.
    Dismiss { port: Option<u16> },
    /// Tells of sessions and states.
    Status,
    /// Ends the target.
    Stop,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It is done; how many connections it was done to, where that says something.
    Done { connections: Option<usize> },
    /// It is not done, in words.
    Failed { error: String },
    /// What there is.
    Status(Box<Status>),
}

/// A running target (docs/json.md, "Target status").
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) name: String,
    pub(super) up_ms: u64,
    pub(super) connections: usize,
    pub(super) portals: Vec<PortalStatus>,
    pub(super) sessions: Vec<SessionStatus>,
    pub(super) units: Vec<UnitStatus>,
}

/// A portal of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct PortalStatus {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) group: Option<u16>,
    pub(super) up: bool,
}

/// A session of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SessionStatus {
    pub(super) nexus: String,
    pub(super) initiator: String,
    pub(super) port: u16,
    pub(super) connected: bool,
    pub(super) commands: usize,
}

/// A logical unit of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct UnitStatus {
    pub(super) name: String,
    pub(super) groups: Vec<GroupStatus>,
}

/// A group of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct GroupStatus {
    pub(super) id: u16,
    pub(super) state: String,
    pub(super) preferred: bool,
}

/// Where the socket is unless the command line says: a folder that only this user can write to, or
/// without one the system's, where only root can make it.
pub(super) fn default_path() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_absolute());
    own.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("alua-target.sock")
}

/// Asks a running target.
pub(super) fn ask(path: Option<&Path>, request: &Request) -> Result<Answer, Error> {
    let path = path.map_or_else(default_path, Path::to_path_buf);
    let failed = |error: io::Error| Error::NoAnswer {
        device: path.display().to_string(),
        why: format!("no target answers there ({error}); `alua target serve` starts one"),
        exit: Exit::NoSuchDevice,
    };
    let mut stream = UnixStream::connect(&path).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    let mut line = serde_json::to_string(request).map_err(|error| failed(error.into()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    let mut reader = BufReader::new(io::Read::take(stream, LINE_MAX));
    reader.read_line(&mut answer).map_err(failed)?;
    serde_json::from_str(&answer).map_err(|error| failed(error.into()))
}
