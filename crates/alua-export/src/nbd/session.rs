//! The transmission phase, without I/O: bytes in, requests out; completions in, bytes out.
//!
//! # How to call it
//!
//! 1. While [`Session::wants_input`], read into [`Session::space`] and tell [`Session::filled`].
//! 2. Take requests by [`Session::poll_request`] until there is none, and submit them.
//! 3. Give what became of them to [`Session::complete`], in any order.
//! 4. Write [`Session::chunks`] and tell [`Session::sent`].
//! 5. When [`Session::is_done`], close the connection.
//!
//! Large payloads are read straight into the buffer of their request and written straight from it.
//!
//! # States and invariants
//!
//! - A request has a *slot* from its head until its reply is sent as a whole, or, when it is never
//!   answered (a client that is gone), until it is completed. [`Limits::requests`] slots are all
//!   there are, and heads are read only while one is free and the data of all slots is below
//!   [`Limits::bytes`]: that is the back-pressure, and the bound on memory. One payload can come on
//!   top, and [`INPUT_BYTES`] of input that are not yet looked at.
//! - Every slot is answered exactly once. A completion whose tag has no slot is refused.
//! - A request that is refused has its payload read all the same, so that the stream stays in step.
//! - After DISC, the end of the stream, [`Session::shut_down`] or a broken head nothing is read any
//!   more; what has a slot is carried out and, except after a broken head, answered.

use std::collections::VecDeque;

use super::wire::{self, REQUEST_BYTES, RequestHead, SIMPLE_REPLY_BYTES, command, command_flags};
use crate::block::{BlockError, Geometry, Operation, Outcome, Request};

/// Bytes of input that are read at once.
pub const INPUT_BYTES: usize = 65_536;
/// A payload of which more than this is missing is read straight into its buffer.
const DIRECT: usize = 16_384;
/// How many buffers wait to be used again.
const SPARE_BUFFERS: usize = 64;
/// How many bytes they may have together.
const SPARE_BYTES: usize = 16 << 20;

/// What one connection may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are read and not yet answered.
    pub requests: usize,
    /// Bytes of data of such requests, above which no further request is read.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 256, bytes: 64 << 20 }
    }
}

/// Why no more requests are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The client said that it goes.
    Disconnected,
    /// The stream ended.
    EndOfStream,
    /// The server goes down.
    ShutDown,
    /// A request did not begin with its magic number: nothing after it can be trusted.
    BadMagic,
}

/// A completion for which there is no request: whoever sends it is in error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a completion with tag {0:#x}, which no request has")]
pub struct UnknownTag(pub u64);

/// A request that is read and not yet answered.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Told apart from earlier users of the slot.
    generation: u32,
    cookie: u64,
    operation: Operation,
    length: u32,
}

#[derive(Debug)]
enum Receive {
    /// The next head is awaited.
    Head,
    /// The payload of an accepted write comes.
    Payload { index: u32, request: Request, got: usize },
    /// The payload of a refused write comes.
    Skip { index: u32, error: BlockError, left: u32 },
}

/// A reply on its way out.
#[derive(Debug)]
struct Reply {
    head: [u8; SIMPLE_REPLY_BYTES],
    data: Vec<u8>,
    /// Bytes of head and data that are sent.
    sent: usize,
    index: u32,
}

impl Reply {
    fn length(&self) -> usize {
        SIMPLE_REPLY_BYTES + self.data.len()
    }
}

/// A client in the transmission phase.
#[derive(Debug)]
pub struct Session {
    geometry: Geometry,
    limits: Limits,
    input: Box<[u8]>,
    /// The bytes of `input` that are received and not yet looked at.
    pending: std::ops::Range<usize>,
    receive: Receive,
    closing: Option<Closing>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// The generation that the next slot gets.
    generation: u32,
    /// Data bytes of all slots.
    bytes: u64,
    /// Nothing is sent any more.
    gone: bool,
    ready: VecDeque<(u64, Request)>,
    replies: VecDeque<Reply>,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
}

impl Session {
    /// A session on a device of that geometry. A limit of 0 is taken for 1.
    #[must_use]
    pub fn new(geometry: Geometry, limits: Limits) -> Self {
        let limits = Limits { requests: limits.requests.max(1), bytes: limits.bytes.max(1) };
        Self {
            geometry,
            limits,
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            pending: 0..0,
            receive: Receive::Head,
            closing: None,
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            bytes: 0,
            gone: false,
            ready: VecDeque::new(),
            replies: VecDeque::new(),
            spare: Vec::new(),
            spare_bytes: 0,
        }
    }

    /// Whether bytes are to be read now.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.closing.is_none() && (self.is_mid_request() || self.may_read_head())
    }

    /// Whether the payload of a request is not all here.
    #[must_use]
    pub const fn is_mid_request(&self) -> bool {
        !matches!(self.receive, Receive::Head)
    }

    fn may_read_head(&self) -> bool {
        self.in_flight() < self.limits.requests && self.bytes < self.limits.bytes
    }

    /// Where the next bytes are to be read to. Never empty while [`Session::wants_input`].
    pub fn space(&mut self) -> &mut [u8] {
        if let Receive::Payload { request, got, .. } = &mut self.receive
            && self.pending.is_empty()
            && request.data.len() - *got > DIRECT
        {
            return &mut request.data[*got..];
        }
        if self.pending.start > 0 {
            self.input.copy_within(self.pending.clone(), 0);
            self.pending = 0..self.pending.len();
        }
        &mut self.input[self.pending.end..]
    }

    /// The first `count` bytes of [`Session::space`] were filled. 0 is the end of the stream, after
    /// which what is still unread here is dropped: it has to be called while
    /// [`Session::wants_input`], when that is less than a request.
    pub fn filled(&mut self, count: usize) {
        if count == 0 {
            self.close(Closing::EndOfStream);
            return;
        }
        if let Receive::Payload { request, got, .. } = &mut self.receive
            && self.pending.is_empty()
            && request.data.len() - *got > DIRECT
        {
            *got = (*got + count).min(request.data.len());
        } else {
            self.pending.end = (self.pending.end + count).min(self.input.len());
        }
        self.parse();
    }

    /// The next request to be submitted, with the tag that its completion carries.
    pub fn poll_request(&mut self) -> Option<(u64, Request)> {
        self.ready.pop_front()
    }

    /// Takes what became of a request.
    ///
    /// # Errors
    ///
    /// [`UnknownTag`] when no request has that tag. Nothing changes.
    pub fn complete(&mut self, tag: u64, outcome: Outcome) -> Result<(), UnknownTag> {
        // The low half is the slot, the high half its generation.
        let index = (tag & u64::from(u32::MAX)) as u32;
        let slot = self.slots.get(index as usize).copied().flatten();
        let slot = slot.filter(|slot| tag_of(index, slot.generation) == tag);
        let slot = slot.ok_or(UnknownTag(tag))?;
        self.answer(index, slot, outcome);
        Ok(())
    }

    /// What is to be sent, in order, as pieces that are not empty.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.replies.iter().flat_map(|reply| {
            let head = reply.head.get(reply.sent..).unwrap_or_default();
            let sent = reply.sent.saturating_sub(SIMPLE_REPLY_BYTES);
            let data = reply.data.get(sent..).unwrap_or_default();
            [head, data].into_iter().filter(|chunk| !chunk.is_empty())
        })
    }

    /// The first `count` bytes of [`Session::chunks`] were sent.
    pub fn sent(&mut self, mut count: usize) {
        while count > 0 {
            let Some(reply) = self.replies.front_mut() else { return };
            let part = count.min(reply.length() - reply.sent);
            reply.sent += part;
            count -= part;
            if reply.sent < reply.length() {
                return;
            }
            if let Some(reply) = self.replies.pop_front() {
                self.end_slot(reply.index);
                self.keep(reply.data);
            }
        }
        self.parse();
    }

    /// Reads no more requests; what was read is carried out and answered.
    pub fn shut_down(&mut self) {
        self.close(Closing::ShutDown);
    }

    /// Why no more requests are read, if so.
    #[must_use]
    pub const fn closing(&self) -> Option<Closing> {
        self.closing
    }

    /// How many requests are read and not yet answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nothing is left to be done: the connection is to be closed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.closing.is_some() && self.in_flight() == 0
    }

    /// The client takes no replies any more: what is to be sent is dropped, and nothing is read.
    pub fn client_is_gone(&mut self) {
        self.close(Closing::EndOfStream);
        self.gone = true;
        while let Some(reply) = self.replies.pop_front() {
            self.end_slot(reply.index);
        }
    }

    /// Reads no more. The first reason stays.
    fn close(&mut self, why: Closing) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(why);
        self.pending = 0..0;
        if why == Closing::BadMagic {
            self.client_is_gone();
        }
        // A request whose payload is not all here never happened.
        match std::mem::replace(&mut self.receive, Receive::Head) {
            Receive::Head => {}
            Receive::Payload { index, .. } | Receive::Skip { index, .. } => self.end_slot(index),
        }
    }

    /// Goes on as far as the input reaches.
    fn parse(&mut self) {
        while self.closing.is_none() && self.step() {}
    }

    /// One head or one payload; false when more input, or a free slot, is needed for it.
    fn step(&mut self) -> bool {
        match &mut self.receive {
            Receive::Head => {
                if !self.may_read_head() {
                    return false;
                }
                let Some(bytes) = self.input[self.pending.clone()].first_chunk::<REQUEST_BYTES>()
                else {
                    return false;
                };
                let head = RequestHead::parse(bytes);
                self.pending.start += REQUEST_BYTES;
                match head {
                    Some(head) => self.head(&head),
                    None => self.close(Closing::BadMagic),
                }
                true
            }
            Receive::Payload { request, got, .. } => {
                let count = (request.data.len() - *got).min(self.pending.len());
                let from = self.pending.start;
                request.data[*got..*got + count].copy_from_slice(&self.input[from..from + count]);
                *got += count;
                self.pending.start += count;
                if *got < request.data.len() {
                    return false;
                }
                if let Receive::Payload { index, request, .. } =
                    std::mem::replace(&mut self.receive, Receive::Head)
                {
                    self.submit(index, request);
                }
                true
            }
            Receive::Skip { index, error, left } => {
                let count = self.pending.len().min(*left as usize);
                self.pending.start += count;
                *left -= u32::try_from(count).unwrap_or(*left);
                if *left > 0 {
                    return false;
                }
                let (index, error) = (*index, *error);
                self.receive = Receive::Head;
                self.refuse(index, error);
                true
            }
        }
    }

    fn head(&mut self, head: &RequestHead) {
        if head.command == command::DISC {
            self.close(Closing::Disconnected);
            return;
        }
        // Only what the client sent, or wants, makes a slot large.
        let operation = operation(head);
        let allowed = operation.and_then(|operation| {
            self.geometry.allows(operation, head.offset, u64::from(head.length))?;
            Ok(operation)
        });
        let of_slot = operation.unwrap_or(Operation::Flush);
        let carries = allowed.is_ok_and(Operation::carries_data);
        let index = self.begin_slot(Slot {
            generation: 0,
            cookie: head.cookie,
            operation: of_slot,
            length: if carries { head.length } else { 0 },
        });
        match allowed {
            Err(error) if head.command == command::WRITE => {
                self.receive = Receive::Skip { index, error, left: head.length };
            }
            Err(error) => self.refuse(index, error),
            Ok(operation) => {
                let request = self.request(operation, head);
                if operation == Operation::Write {
                    self.receive = Receive::Payload { index, request, got: 0 };
                } else {
                    self.submit(index, request);
                }
            }
        }
    }

    fn request(&mut self, operation: Operation, head: &RequestHead) -> Request {
        let mut request = Request::without_data(operation, head.offset, u64::from(head.length));
        if operation.carries_data() {
            request.data = self.buffer(head.length as usize);
        }
        request.with_fua(head.flags & command_flags::FUA != 0)
    }

    fn submit(&mut self, index: u32, request: Request) {
        if let Some(slot) = self.slots.get(index as usize).copied().flatten() {
            self.ready.push_back((tag_of(index, slot.generation), request));
        }
    }

    fn refuse(&mut self, index: u32, error: BlockError) {
        if let Some(slot) = self.slots.get(index as usize).copied().flatten() {
            self.answer(index, slot, Err(error));
        }
    }

    fn answer(&mut self, index: u32, slot: Slot, outcome: Outcome) {
        let modifies = slot.operation.modifies();
        let (error, data) = match outcome {
            Err(error) => (wire::errno_of(error, modifies), Vec::new()),
            Ok(data) if slot.operation == Operation::Read => {
                // A device that returns another length than was asked for would put every client
                // out of step.
                if data.len() == slot.length as usize {
                    (0, data)
                } else {
                    (wire::errno::EIO, Vec::new())
                }
            }
            Ok(data) => {
                self.keep(data);
                (0, Vec::new())
            }
        };
        if self.gone {
            return self.end_slot(index);
        }
        // Spent: a second completion with this tag finds nothing.
        if let Some(Some(slot)) = self.slots.get_mut(index as usize) {
            slot.generation = self.generation;
            self.generation = self.generation.wrapping_add(1);
        }
        let head = wire::simple_reply(error, slot.cookie);
        self.replies.push_back(Reply { head, data, sent: 0, index });
    }

    fn begin_slot(&mut self, slot: Slot) -> u32 {
        self.bytes += u64::from(slot.length);
        let slot = Some(Slot { generation: self.generation, ..slot });
        self.generation = self.generation.wrapping_add(1);
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = slot;
            return index;
        }
        self.slots.push(slot);
        // No more slots than `Limits::requests`, which is checked before.
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    fn end_slot(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::take) {
            self.bytes -= u64::from(slot.length);
            self.free.push(index);
        }
    }

    /// A buffer of that length, with whatever is in it.
    fn buffer(&mut self, length: usize) -> Vec<u8> {
        let fits = self.spare.iter().rposition(|spare| spare.capacity() >= length);
        let Some(index) = fits else { return vec![0; length] };
        let mut buffer = self.spare.swap_remove(index);
        self.spare_bytes -= buffer.capacity();
        buffer.resize(length, 0);
        buffer
    }

    /// Keeps a buffer to be used again.
    fn keep(&mut self, buffer: Vec<u8>) {
        let more = buffer.capacity();
        let room = self.spare.len() < SPARE_BUFFERS && self.spare_bytes + more <= SPARE_BYTES;
        if more > 0 && room {
            self.spare_bytes += more;
            self.spare.push(buffer);
        }
    }
}

fn tag_of(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

/// What a head asks for.
fn operation(head: &RequestHead) -> Result<Operation, BlockError> {
    let no_hole = head.flags & command_flags::NO_HOLE != 0;
    let known = match head.command {
        command::WRITE_ZEROES => command_flags::FUA | command_flags::NO_HOLE,
        _ => command_flags::FUA,
    };
    if head.flags & !known != 0 {
        return Err(BlockError::InvalidRequest);
    }
    match head.command {
        command::READ => Ok(Operation::Read),
        command::WRITE => Ok(Operation::Write),
        command::FLUSH => Ok(Operation::Flush),
        command::TRIM => Ok(Operation::Discard),
        command::WRITE_ZEROES => Ok(Operation::WriteZeroes { may_unmap: !no_hole }),
        _ => Err(BlockError::InvalidRequest),
    }
}

#[cfg(test)]
mod tests;
