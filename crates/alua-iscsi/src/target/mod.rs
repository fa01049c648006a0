//! The target: bytes in, bytes out, time in. No socket, no clock, no thread.
//!
//! # How to drive it
//!
//! [`Target::open`] for each connection that comes in. When bytes have arrived, put them into
//! [`Target::space`], say so with [`Target::filled`]; when the peer is gone, [`Target::lost`]. Call
//! [`Target::advance`] with the time whenever [`Target::deadline`] has passed. After each of these
//! serve every connection that [`Target::poll_ready`] names: send what [`Target::output`] holds,
//! tell [`Target::sent`] how much that was, and close it when [`Target::is_over`] says so. Read
//! from a connection only while [`Target::wants_input`] holds: that is the back pressure.
//!
//! # Contract
//!
//! - Each portal is a target port of the array; a session is an I_T nexus there, of the initiator
//!   port that name and ISID make. A new login of the same initiator port ends the older session and
//!   its commands before it is answered.
//! - The transport never repeats a command, and never answers one that the array did not answer.
//! - A connection that breaks leaves its session behind for DefaultTime2Wait and
//!   DefaultTime2Retain: what the array holds of it goes on, as in an array that does not know yet.
//!   Then it ends.
//! - When the array loses the link of a port, every connection there breaks.
//! - Memory is bounded by [`Limits`](crate::Limits), whatever arrives: see the module's fields.

mod answer;
mod enter;
mod function;
mod receive;
mod scsi;
mod session;
mod text;
mod upkeep;

use std::collections::{HashMap, VecDeque};

use alua_array::{Array, ConfigError, Event, NexusId, Time};

use crate::event::{ConnectionId, Record, What};
use crate::login::Entropy;
use crate::pdu::{Encoder, Framer};
use crate::settings::Settings;
use session::{Connection, Numbers, Phase, Session, Slots};

/// Records that are kept for [`Target::poll_record`]; older ones are dropped.
const RECORDS: usize = 16_384;

/// A data segment of a login is no longer than this (RFC 7143, section 13.12: the default holds
/// until the full feature phase).
const LOGIN_DATA: usize = 8192;

/// An iSCSI target in front of a model array. See the [module](self) for how to drive it.
pub struct Target {
    array: Array,
    name: String,
    settings: Settings,
    connections: Slots<Connection>,
    sessions: Slots<Session>,
    by_nexus: HashMap<NexusId, usize, Numbers>,
    generation: u32,
    last_tsih: u16,
    entropy: Entropy,
    ready: VecDeque<ConnectionId>,
    records: VecDeque<Record>,
    /// Data-out bytes that commands hold or were promised room for.
    held_in: usize,
    /// Data-in bytes that commands may return.
    held_out: usize,
    /// Bytes that wait in all encoders.
    waiting_out: usize,
    /// Commands that wait for room for their data, as session and tag.
    queue: VecDeque<(usize, u32)>,
    dropped: u64,
    /// How often each port has lost its link.
    losses: Vec<(u16, u64)>,
    next_upkeep: Time,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("connections", &self.connections.len())
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

/// A session, as [`Target::sessions`] shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionView {
    /// The nexus.
    pub nexus: NexusId,
    /// The initiator port: name and ISID.
    pub initiator: String,
    /// Relative target port identifier.
    pub port: u16,
    /// Its connection; absent while the initiator is away.
    pub connection: Option<ConnectionId>,
    /// Commands in flight.
    pub commands: usize,
}

impl Target {
    /// A target for `array`. `entropy` fills a buffer with random bytes, for challenges.
    #[must_use]
    pub fn new(array: Array, settings: Settings, entropy: Entropy) -> Self {
        let name = array.target_name();
        let dropped = array.dropped_commands();
        let losses = settings.portals.iter().map(|at| (at.port, array.link_losses(at.port)));
        let losses = losses.collect();
        Self {
            array,
            name,
            settings,
            connections: Slots::default(),
            sessions: Slots::default(),
            by_nexus: HashMap::default(),
            generation: 0,
            last_tsih: 0,
            entropy,
            ready: VecDeque::new(),
            records: VecDeque::new(),
            held_in: 0,
            held_out: 0,
            waiting_out: 0,
            queue: VecDeque::new(),
            dropped,
            losses,
            next_upkeep: Time::from_nanos(0),
        }
    }

    /// The target's iSCSI name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the target was told.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The array.
    #[must_use]
    pub const fn array(&self) -> &Array {
        &self.array
    }

    /// The array, to look into it more deeply. What happens to it here is seen by the target at the
    /// next [`advance`](Self::advance).
    pub const fn array_mut(&mut self) -> &mut Array {
        &mut self.array
    }

    /// A connection has come in at the portal with that place in the settings; `peer` is for the
    /// log, `local` its own address for SendTargets. `None`: it is to be closed at once, for the
    /// port is down or there are too many.
    pub fn open(&mut self, portal: usize, peer: &str, local: &str) -> Option<ConnectionId> {
        let port = self.settings.portals.get(portal)?.port;
        let full = self.connections.len() >= self.settings.limits.connections;
        if full || !self.array.is_up(port) {
            return None;
        }
        let now = self.array.now();
        self.generation = self.generation.wrapping_add(1);
        let at = u32::try_from(self.connections.next_key()).ok()?;
        let id = ConnectionId { at, generation: self.generation };
        self.connections.insert(Connection {
            id,
            port,
            local: local.to_owned(),
            phase: Phase::Login(Box::default()),
            framer: Framer::new(LOGIN_DATA),
            encoder: Encoder::default(),
            stat_sn: 0,
            parameters: Default::default(),
            began: now,
            heard: now,
            asked: None,
            stuck: None,
            leave_by: None,
            closing: None,
            queued: false,
            rest: None,
            text: Vec::new(),
        });
        self.record(What::Connected { connection: id, port, peer: peer.to_owned() });
        Some(id)
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.at as usize).filter(|connection| connection.id == id)
    }

    /// Room for bytes of a connection; `None` when it is over. Read no more than fits.
    pub fn space(&mut self, id: ConnectionId) -> Option<&mut [u8]> {
        let connection = self.connection(id).filter(|connection| connection.closing.is_none())?;
        Some(connection.framer.space())
    }

    /// Whether bytes of a connection are wanted now. When this turns from no to yes the connection
    /// is named by [`poll_ready`](Self::poll_ready).
    #[must_use]
    pub fn wants_input(&self, id: ConnectionId) -> bool {
        let limit = self.settings.limits.output;
        self.connections.get(id.at as usize).is_some_and(|connection| {
            connection.id == id
                && connection.closing.is_none()
                && connection.encoder.waiting() < limit
        })
    }

    /// `count` bytes were put into [`Self::space`] at `now`.
    pub fn filled(&mut self, id: ConnectionId, count: usize, now: Time) {
        // Before anything else: what is due by now may give unused buffers back.
        if let Some(connection) = self.connection(id) {
            connection.framer.filled(count);
        }
        self.advance(now);
        self.receive(id);
    }

    /// Bytes in one go, for streams in memory: [`Self::space`] and [`Self::filled`] until all are
    /// taken. What comes after a connection is over is dropped; back pressure is not kept.
    pub fn take_bytes(&mut self, id: ConnectionId, mut bytes: &[u8], now: Time) {
        self.advance(now);
        while let Some(connection) = self.connection(id).filter(|c| c.closing.is_none()) {
            let space = connection.framer.space();
            let count = space.len().min(bytes.len());
            if let (Some(to), Some((from, rest))) =
                (space.get_mut(..count), bytes.split_at_checked(count))
            {
                to.copy_from_slice(from);
                bytes = rest;
            }
            connection.framer.filled(count);
            self.receive(id);
            if bytes.is_empty() || count == 0 {
                break;
            }
        }
    }

    /// The peer has closed the connection, or it broke.
    pub fn lost(&mut self, id: ConnectionId, now: Time, reason: &str) {
        self.advance(now);
        self.drop_connection(id, reason);
    }

    /// What waits to be sent on a connection. `None`: it is over.
    #[must_use]
    pub fn output(&self, id: ConnectionId) -> Option<&Encoder> {
        let connection = self.connections.get(id.at as usize)?;
        (connection.id == id).then_some(&connection.encoder)
    }

    /// So many bytes of the output were sent.
    pub fn sent(&mut self, id: ConnectionId, count: usize) {
        let limit = self.settings.limits.output;
        let Some(connection) = self.connection(id) else { return };
        let blocked = connection.encoder.waiting() >= limit;
        connection.encoder.sent(count);
        connection.stuck = None;
        let returned = connection.encoder.returned();
        let over = connection.closing.filter(|_| connection.encoder.waiting() == 0);
        let again = blocked && connection.encoder.waiting() < limit;
        self.waiting_out = self.waiting_out.saturating_sub(count);
        if let Some(buffer) = returned {
            self.give_back(id, buffer);
        }
        if let Some(reason) = over {
            self.drop_connection(id, reason);
        } else if again {
            // PDUs may be in the buffer that were left there.
            self.receive(id);
            self.make_ready(id);
        }
    }

    /// Data that are sent: their buffers serve again.
    fn give_back(&mut self, id: ConnectionId, first: Vec<u8>) {
        let mut next = Some(first);
        while let Some(buffer) = next {
            self.array.give_buffer(buffer);
            next = self.connection(id).and_then(|connection| connection.encoder.returned());
        }
    }

    /// Everything that waits on a connection, as sent: for streams in memory.
    pub fn take_output(&mut self, id: ConnectionId) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(connection) = self.connection(id) {
            let bytes = connection.encoder.take();
            if bytes.is_empty() {
                break;
            }
            self.waiting_out = self.waiting_out.saturating_sub(bytes.len());
            all.extend_from_slice(&bytes);
            self.sent(id, 0);
            // What was held back by the output is let go on.
            self.receive(id);
        }
        all
    }

    /// Whether the connection has ended: close it.
    #[must_use]
    pub fn is_over(&self, id: ConnectionId) -> bool {
        self.connections.get(id.at as usize).is_none_or(|connection| connection.id != id)
    }

    /// The next connection that has something to send, wants input again or is over.
    pub fn poll_ready(&mut self) -> Option<ConnectionId> {
        let id = self.ready.pop_front()?;
        if let Some(connection) = self.connection(id) {
            connection.queued = false;
        }
        Some(id)
    }

    fn make_ready(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection(id)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// When [`advance`](Self::advance) has something to do next, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let array = self.array.next_event();
        array.map_or(self.next_upkeep, |next| next.min(self.next_upkeep))
    }

    /// Moves the clock, and does everything that is due.
    pub fn advance(&mut self, now: Time) {
        let now = now.max(self.array.now());
        self.array.advance(now);
        self.follow_array();
        if now >= self.next_upkeep {
            self.upkeep(now);
        }
    }

    /// Takes in what has happened to the array.
    fn follow_array(&mut self) {
        while let Some(completion) = self.array.poll_completion() {
            self.complete(completion);
        }
        if self.array.dropped_commands() != self.dropped {
            self.dropped = self.array.dropped_commands();
            self.sweep();
        }
        self.follow_links();
    }

    /// Makes something happen to the array now.
    ///
    /// # Errors
    ///
    /// As [`Array::apply`].
    pub fn apply(&mut self, event: &Event) -> Result<(), ConfigError> {
        self.array.apply(event)?;
        self.follow_array();
        self.announce();
        Ok(())
    }

    /// The sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        let view = |(_, session): (usize, &Session)| SessionView {
            nexus: session.nexus,
            initiator: session.initiator.clone(),
            port: session.port,
            connection: session.connection,
            commands: session.tasks.len(),
        };
        self.sessions.iter().map(view).collect()
    }

    /// Connections, those in the login phase included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// The next thing to tell.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// Whether [`poll_record`](Self::poll_record) has something.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    fn record(&mut self, what: What) {
        if self.records.len() == RECORDS {
            self.records.pop_front();
        }
        self.records.push_back(Record { at: self.array.now(), what });
    }
}
