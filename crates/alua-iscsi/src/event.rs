//! What a target tells of its life, for logs.

use std::fmt;

use alua_array::{NexusId, Time};

/// A connection, good until it is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    pub(crate) at: u32,
    pub(crate) generation: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.at, self.generation)
    }
}

/// Something that happened, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// When, on the array's clock.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// An initiator has connected.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// The relative target port identifier.
        port: u16,
        /// The other end.
        peer: String,
    },
    /// A login was refused.
    Refused {
        /// The connection.
        connection: ConnectionId,
        /// The initiator's name, if it said one.
        initiator: Option<String>,
        /// Status class and detail.
        status: (u8, u8),
        /// Why, in words.
        reason: String,
    },
    /// A discovery session has begun.
    Discovery {
        /// The connection.
        connection: ConnectionId,
        /// The initiator's name.
        initiator: String,
    },
    /// A session has begun.
    LoggedIn {
        /// The connection.
        connection: ConnectionId,
        /// The nexus.
        nexus: NexusId,
        /// The initiator port: name and ISID.
        initiator: String,
        /// The relative target port identifier.
        port: u16,
        /// The CHAP name by which it was authenticated.
        authenticated: Option<String>,
        /// An older session of the same initiator port ended by it.
        reinstated: bool,
    },
    /// A connection has ended; its session, if there is one, may wait for its initiator.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// The nexus that it carried.
        nexus: Option<NexusId>,
        /// Why, in words.
        reason: String,
    },
    /// A session has ended, and with it its commands.
    Ended {
        /// The nexus.
        nexus: NexusId,
        /// Why, in words.
        reason: &'static str,
    },
    /// A task management function was asked for.
    Function {
        /// The nexus.
        nexus: NexusId,
        /// Its name.
        function: &'static str,
        /// The response code; absent: there will be none.
        response: Option<u8>,
    },
    /// A PDU was rejected.
    Rejected {
        /// The connection.
        connection: ConnectionId,
        /// The reason code.
        code: u8,
        /// Why, in words.
        reason: &'static str,
    },
}

impl What {
    /// One word for the kind of event, as in the JSON form.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Refused { .. } => "refused",
            Self::Discovery { .. } => "discovery",
            Self::LoggedIn { .. } => "logged-in",
            Self::Closed { .. } => "closed",
            Self::Ended { .. } => "ended",
            Self::Function { .. } => "function",
            Self::Rejected { .. } => "rejected",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { connection, port, peer } => {
                write!(f, "{connection} port {port}: connected from {peer}")
            }
            Self::Refused { connection, initiator, status: (class, detail), reason } => {
                let who = initiator.as_deref().unwrap_or("an initiator without a name");
                write!(f, "{connection} login of {who} refused ({class:02x}{detail:02x}): {reason}")
            }
            Self::Discovery { connection, initiator } => {
                write!(f, "{connection} discovery by {initiator}")
            }
            Self::LoggedIn { connection, nexus, initiator, port, authenticated, reinstated } => {
                write!(f, "{connection} {nexus}: {initiator} logged in to port {port}")?;
                if let Some(name) = authenticated {
                    write!(f, " as {name:?}")?;
                }
                f.write_str(if *reinstated { ", its older session ends" } else { "" })
            }
            Self::Closed { connection, nexus: Some(nexus), reason } => {
                write!(f, "{connection} {nexus}: connection closed, {reason}")
            }
            Self::Closed { connection, nexus: None, reason } => {
                write!(f, "{connection} connection closed, {reason}")
            }
            Self::Ended { nexus, reason } => write!(f, "{nexus}: session ended, {reason}"),
            Self::Function { nexus, function, response: Some(response) } => {
                write!(f, "{nexus}: {function}, response {response}")
            }
            Self::Function { nexus, function, response: None } => {
                write!(f, "{nexus}: {function}, no response")
            }
            Self::Rejected { connection, code, reason } => {
                write!(f, "{connection} PDU rejected ({code:02x}h): {reason}")
            }
        }
    }
}
