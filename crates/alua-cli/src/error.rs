//! What ends a command early: what happened, where, and what to do about it.

use std::io;
use std::path::PathBuf;

use alua_core::cause::RefreshError;
use alua_core::spc::sense::{Sense, asc_text};
use alua_core::spc::{Rule, WireError};
use alua_core::tpgs::AluaOff;
use alua_core::unit::{ActivationError, ActivationRefused};
use alua_host::sg::OpenError;
use alua_host::sysfs::{NameError, SysfsError};
use alua_host::transport::{Reply, TransportError};

use crate::dump::DumpError;
use crate::exit::Exit;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("no logical unit is named {query:?}, and none has such a device")]
    NoSuchUnit { query: String },
    #[error("{query:?} could be any of: {}", matches.join(", "))]
    Ambiguous { query: String, matches: Vec<String> },
    #[error("{device}: {why}")]
    NoAnswer { device: String, why: String, exit: Exit },
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{device}: {command}: {error}")]
    Transport { device: String, command: &'static str, error: TransportError },
    #[error("{device}: {command}: {}", reply_text(reply))]
    Refused { device: String, command: &'static str, reply: Box<Reply> },
    #[error("{device}: {what}: {error}")]
    Malformed { device: String, what: &'static str, error: WireError },
    #[error("{unit}: ALUA is off: {off}")]
    AluaOff { unit: String, off: AluaOff },
    #[error("{unit}: the access states could not be read: {error}")]
    Refresh { unit: String, error: RefreshError },
    #[error("{unit}: the access states could not be read in {} s", limit_ms / 1_000)]
    Slow { unit: String, limit_ms: u32 },
    #[error("{unit}: {error}")]
    Activation { unit: String, error: ActivationError },
    #[error("{unit}: not asked for: {error}")]
    NotAsked { unit: String, error: ActivationRefused },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Text(String),
    #[error("{what}: {error}")]
    Decode { what: &'static str, error: WireError },
    #[error("{file}: {error}")]
    Dump { file: String, error: DumpError },
    #[error("{what}: {field} says that the data ends after {end} bytes, {extra} more are there")]
    Trailing { what: &'static str, field: &'static str, end: usize, extra: usize },
    #[error("{unit}: {why}")]
    Serve { unit: String, why: String },
    #[error("no running device is {query:?}, and none has such a path")]
    NotRunning { query: String },
    #[error("{}: {why}", socket.display())]
    Refusal { socket: PathBuf, why: String },
    #[error("the demonstration did not go as expected: {}", .0.join("; "))]
    Expectation(Vec<String>),
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Name(NameError::Missing { .. })
            | Self::NoSuchUnit { .. }
            | Self::NotRunning { .. }
            | Self::Refusal { .. }
            | Self::Ambiguous { .. } => Exit::NoSuchDevice,
            Self::Name(NameError::Sysfs(_))
            | Self::Sysfs(_)
            | Self::Output(_)
            | Self::Serve { .. } => Exit::Other,
            Self::Name(_) => Exit::Usage,
            Self::NoAnswer { exit, .. } => *exit,
            Self::Open(error) => Exit::of_open(error),
            Self::Transport { error, .. } => Exit::of_transport(error),
            Self::Refused { reply, .. } => Exit::of_reply(reply),
            Self::Malformed { .. }
            | Self::Decode { .. }
            | Self::Dump { .. }
            | Self::Trailing { .. } => Exit::Malformed,
            Self::AluaOff { .. } => Exit::AluaOff,
            Self::Refresh { error, .. } => of_refresh(error),
            Self::Slow { .. } => Exit::TimedOut,
            Self::Activation { error, .. } => of_activation(error),
            Self::NotAsked { error, .. } => match error {
                ActivationRefused::AluaOff => Exit::AluaOff,
                ActivationRefused::NoPath => Exit::Transport,
                _ => Exit::Usage,
            },
            Self::File { .. } | Self::Text(_) => Exit::File,
            Self::Expectation(_) => Exit::Expectation,
        }
    }

    /// What to do about it, where the message does not say.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoSuchUnit { .. } => "`alua list` shows the names of all units and devices",
            Self::Ambiguous { .. } => "give more of the name",
            Self::NotRunning { .. } => "`alua status` shows what runs; `alua up` starts a device",
            Self::AluaOff { off: AluaOff::NotSupported, .. } => {
                "the paths are equal, or the array's ALUA mode must be switched on for this host"
            }
            Self::Transport {
                error: TransportError::Failed { .. } | TransportError::TimedOut { .. },
                ..
            } => "look at the kernel log, the link and the target; `alua list` shows other paths",
            Self::Refresh { error: RefreshError::NoPath, .. } => {
                "no path takes commands: `alua list` says why"
            }
            Self::Name(NameError::Missing { .. }) => "`alua list` shows the devices there are",
            Self::Trailing { .. } => "--cut decodes the data and leaves out what follows",
            Self::Decode {
                error: WireError { rule: Rule::Truncated { .. } | Rule::Overrun { .. }, .. },
                ..
            } => "the dump is cut short, or its length field is wrong",
            Self::Activation { error, .. } => return activation_hint(error),
            _ => return None,
        })
    }
}

fn of_refresh(error: &RefreshError) -> Exit {
    match error {
        RefreshError::Unsupported(sense)
        | RefreshError::Sense(sense)
        | RefreshError::Attentions(sense) => Exit::of_code(*sense),
        RefreshError::Status(status) => Exit::of_status(*status),
        RefreshError::TimedOut(_) => Exit::TimedOut,
        RefreshError::Malformed(_) | RefreshError::TooLong(_) | RefreshError::KeepsGrowing(_) => {
            Exit::Malformed
        }
        RefreshError::IdentityInDoubt => Exit::Identity,
        _ => Exit::Transport,
    }
}

fn of_activation(error: &ActivationError) -> Exit {
    match error {
        ActivationError::ImplicitOnly { .. }
        | ActivationError::UnknownGroup(_)
        | ActivationError::NotActivatable { .. }
        | ActivationError::StateNotSupported { .. }
        | ActivationError::RateLimited { .. } => Exit::NotSent,
        ActivationError::Refresh(error) => of_refresh(error),
        ActivationError::TransitionTimedOut { .. } => Exit::Transitioning,
        ActivationError::Refused(_) => Exit::TargetRefused,
        ActivationError::Status(status) => Exit::of_status(*status),
        ActivationError::NotReached { .. } => Exit::NotReached,
        ActivationError::AluaOff => Exit::AluaOff,
        ActivationError::NotSubmitted | ActivationError::Transport | ActivationError::NoPath => {
            Exit::Transport
        }
        _ => Exit::Other,
    }
}

fn activation_hint(error: &ActivationError) -> Option<&'static str> {
    Some(match error {
        ActivationError::ImplicitOnly { .. } => {
            "move the unit with the array's own tools: this target takes no SET TARGET PORT GROUPS"
        }
        ActivationError::UnknownGroup(_) => "`alua show` lists the groups of the unit",
        ActivationError::StateNotSupported { .. } => {
            "`alua show` lists the states that each group supports; --force sends it all the same"
        }
        ActivationError::RateLimited { .. } => {
            "find out who else moves the unit; --force sends it all the same"
        }
        ActivationError::TransitionTimedOut { .. } => {
            "the target takes longer than it said: look at `alua list --watch`"
        }
        ActivationError::NotReached { .. } | ActivationError::Refused(_) => {
            "look at the array's own log: `alua explain` shows what the path says now"
        }
        _ => return None,
    })
}

/// A status with its sense data, in words.
pub(crate) fn reply_text(reply: &Reply) -> String {
    match reply.parsed_sense() {
        Some(Ok(sense)) => format!("{}, {}", reply.status, sense_text(&sense)),
        Some(Err(error)) => format!("{}, sense data: {error}", reply.status),
        None => reply.status.to_string(),
    }
}

/// Sense data in words: key, codes, T10's text.
pub(crate) fn sense_text(sense: &Sense) -> String {
    let mut text = format!("{} {:02X}/{:02X}", sense.key, sense.asc, sense.ascq);
    if let Some(words) = asc_text(sense.asc, sense.ascq) {
        text.push_str(": ");
        text.push_str(words);
    }
    if sense.deferred {
        text.push_str(" (deferred: it speaks of an earlier command)");
    }
    text
}
