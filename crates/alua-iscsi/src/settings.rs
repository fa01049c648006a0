//! What a target is told: portals, wishes, secrets, limits and times.

use std::time::Duration;

use crate::login::chap::{Algorithm, Secret};
use crate::login::keys::Wishes;

/// A network portal: where initiators connect, and the target port that they reach there. The
/// relative target port identifier is the portal group tag as well, since a SCSI target port of
/// iSCSI is a portal group (RFC 7143, section 4.4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Portal {
    /// `address:port` as SendTargets tells it, IPv6 addresses in brackets. Absent: the address at
    /// which the asking connection arrived.
    pub address: Option<String>,
    /// Relative target port identifier.
    pub port: u16,
}

/// Who may log in, and by what secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The iSCSI name of the initiator that this is for; absent: any.
    pub initiator: Option<String>,
    /// What the initiator proves.
    pub incoming: Secret,
    /// What the target proves when it is asked to.
    pub outgoing: Option<Secret>,
}

/// Authentication. Without an account nobody is asked for anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authentication {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// Whether discovery sessions must authenticate too.
    pub discovery: bool,
    /// The hashes that are agreed to. The initiator's order decides.
    pub algorithms: Vec<Algorithm>,
}

impl Default for Authentication {
    fn default() -> Self {
        Self { accounts: Vec::new(), discovery: false, algorithms: Algorithm::ALL.to_vec() }
    }
}

/// What is bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections in all, those that are logging in included.
    pub connections: usize,
    /// Sessions in all.
    pub sessions: usize,
    /// Commands of one session at a time: its CmdSN window.
    pub window: u16,
    /// Immediate commands of one session beyond the window.
    pub immediate: u16,
    /// Bytes of data-out that are held for commands whose data are not complete, and the same again
    /// for data-in that is not sent yet.
    pub buffered: usize,
    /// Bytes that wait on one connection before it is read no further.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            sessions: 4096,
            window: 128,
            immediate: 8,
            buffered: 256 << 20,
            output: 1 << 20,
        }
    }
}

/// How long the other side may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// From connect to the full feature phase.
    pub login: Duration,
    /// Silence after which a connection is asked for a sign of life (NOP-In).
    pub silence: Duration,
    /// Time to answer that, to take output, and to send the data of a command.
    pub patience: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            login: Duration::from_secs(15),
            silence: Duration::from_secs(15),
            patience: Duration::from_secs(30),
        }
    }
}

/// Everything about a target besides its array.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// The portals.
    pub portals: Vec<Portal>,
    /// The target's alias, for people.
    pub alias: String,
    /// What the target wants of the negotiation.
    pub wishes: Wishes,
    /// Who may log in.
    pub authentication: Authentication,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub times: Times,
    /// Whether unit attentions are announced by Asynchronous Messages too. They wait for the next
    /// command all the same.
    pub announce: bool,
}
