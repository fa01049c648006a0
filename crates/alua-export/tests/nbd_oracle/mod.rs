//! What must hold for every byte string that a client sends: the fuzz targets and the replay of the
//! corpus call these functions.

// Public for the fuzz crate, which includes this file.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::sync::Arc;

use alua_export::block::{BlockError, Geometry, Operation, Request};
use alua_export::nbd::negotiate::{End, MAX_OUTPUT, Negotiation, Offer};
use alua_export::nbd::session::{Closing, Limits, Session};
use alua_export::nbd::wire::{REQUEST_BYTES, RequestHead, SIMPLE_REPLY_BYTES, command};

/// A check that takes any bytes, and panics where the server is wrong. It tells whether the client
/// kept to the protocol.
pub type Check = fn(&[u8]) -> bool;

/// The checks by the name of their fuzz target.
pub const CHECKS: [(&str, Check); 2] = [("nbd_negotiation", negotiation), ("nbd_session", session)];

const GEOMETRY: Geometry = Geometry {
    bytes: 1 << 20,
    logical_block: 512,
    preferred: 4096,
    maximum: 1 << 16,
    read_only: false,
    discard: true,
    write_zeroes: true,
    shared_flush: true,
};

/// The handshake phase. The first byte says in which pieces the rest comes.
pub fn negotiation(data: &[u8]) -> bool {
    let Some((piece, stream)) = data.split_first() else { return false };
    let piece = usize::from(*piece) + 1;
    let (whole, cut) = (negotiate(stream, stream.len().max(1)), negotiate(stream, piece));
    assert_eq!(whole, cut, "the same in pieces of {piece}");
    !matches!(whole.0, Some(End::Refused(_)))
}

/// How it ended, what was sent, and how many bytes were taken.
fn negotiate(stream: &[u8], piece: usize) -> (Option<End>, Vec<u8>, usize) {
    let offer = |name: &str, logical_block| Offer {
        name: name.to_owned(),
        description: "d".repeat(100),
        geometry: Geometry { logical_block, ..GEOMETRY },
    };
    let offers: Arc<[Offer]> = Arc::new([offer("a", 512), offer("b", 4096)]);
    let mut negotiation = Negotiation::new(offers);
    let (mut sent, mut at) = (Vec::new(), 0);
    while at < stream.len() && negotiation.end().is_none() {
        let end = (at + piece).min(stream.len());
        let taken = negotiation.receive(&stream[at..end]);
        assert!(taken > 0, "it takes nothing and does not end");
        at += taken;
        let output = negotiation.output();
        assert!(output.len() < MAX_OUTPUT + 20_000, "{} bytes of output", output.len());
        sent.extend_from_slice(output);
        negotiation.sent(output.len());
    }
    if negotiation.end().is_some() {
        assert_eq!(negotiation.receive(b"more"), 0, "it takes bytes after its end");
    }
    sent.extend_from_slice(negotiation.output());
    (negotiation.end(), sent, at)
}

/// The transmission phase. The first bytes say how many requests may be in flight, in which pieces
/// the rest comes, and in which order completions come.
pub fn session(data: &[u8]) -> bool {
    let Some(([requests, piece, order], stream)) = data.split_first_chunk() else { return false };
    let limits = Limits { requests: usize::from(*requests % 8) + 1, bytes: 1 << 17 };
    let mut run = Run {
        session: Session::new(GEOMETRY, limits),
        limits,
        order: u64::from(*order) | 1,
        held: Vec::new(),
        replies: BTreeMap::new(),
    };
    run.all(stream, (usize::from(*piece) + 1) * 37);
    let expected = expected(stream);
    if run.session.closing() == Some(Closing::BadMagic) {
        assert!(expected.is_none(), "refused a stream that is right");
        return false;
    }
    let expected = expected.expect("a stream that is wrong was taken");
    assert_eq!(run.replies, expected, "cookie to number of replies");
    true
}

/// The cookies that have to be answered, with how often, as a plain walk over the stream finds
/// them; None when the stream goes out of step.
fn expected(mut stream: &[u8]) -> Option<BTreeMap<u64, usize>> {
    let mut cookies = BTreeMap::new();
    while let Some((head, rest)) = stream.split_first_chunk::<REQUEST_BYTES>() {
        let head = RequestHead::parse(head)?;
        if head.command == command::DISC {
            break;
        }
        let payload = if head.command == command::WRITE { head.length as usize } else { 0 };
        let Some(rest) = rest.get(payload..) else { break };
        *cookies.entry(head.cookie).or_default() += 1;
        stream = rest;
    }
    Some(cookies)
}

struct Run {
    session: Session,
    limits: Limits,
    order: u64,
    held: Vec<(u64, Request)>,
    replies: BTreeMap<u64, usize>,
}

impl Run {
    fn all(&mut self, stream: &[u8], piece: usize) {
        let mut at = 0;
        // What was read ends one way or another: this loop does too.
        for _ in 0..stream.len() * 4 + 1000 {
            self.requests();
            if self.session.wants_input() && at < stream.len() {
                let space = self.session.space();
                let count = space.len().min(stream.len() - at).min(piece);
                assert!(count > 0, "input is wanted and there is no room");
                space[..count].copy_from_slice(&stream[at..at + count]);
                self.session.filled(count);
                at += count;
            } else if let Some((tag, request)) = self.next_held() {
                self.complete(tag, request);
            } else if self.session.wants_input() {
                self.session.filled(0);
            } else if self.session.chunks().next().is_none() {
                assert!(self.session.closing().is_some(), "it does not read and has nothing to do");
                break;
            }
            self.send();
        }
        self.requests();
        assert!(self.held.is_empty() && self.session.is_done(), "it does not come to its end");
    }

    fn requests(&mut self) {
        while let Some((tag, request)) = self.session.poll_request() {
            assert_eq!(GEOMETRY.check(&request), Ok(()), "{request:?}");
            self.held.push((tag, request));
        }
        assert!(self.session.in_flight() <= self.limits.requests);
        let bytes: u64 = self.held.iter().map(|(_, one)| one.data.len() as u64).sum();
        assert!(bytes <= self.limits.bytes + u64::from(GEOMETRY.maximum), "{bytes} bytes held");
    }

    fn next_held(&mut self) -> Option<(u64, Request)> {
        self.order = self.order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let count = self.held.len() as u64;
        let index = (self.order >> 33).checked_rem(count)?;
        Some(self.held.swap_remove(index as usize))
    }

    fn complete(&mut self, tag: u64, request: Request) {
        let fails = self.order & (1 << 40) != 0;
        let outcome = if fails { Err(BlockError::Io) } else { Ok(request.data) };
        let read = request.operation == Operation::Read && !fails;
        let before: usize = self.session.chunks().map(<[u8]>::len).sum();
        self.session.complete(tag, outcome.clone()).expect("a request that is in flight");
        let after: usize = self.session.chunks().map(<[u8]>::len).sum();
        let data = if read { request.length as usize } else { 0 };
        if self.session.closing() != Some(Closing::BadMagic) {
            assert_eq!(after - before, SIMPLE_REPLY_BYTES + data, "the length of a reply");
        }
        self.session.complete(tag, outcome).expect_err("a tag counts once");
    }

    /// Takes what is sent, in halves, and counts the replies.
    fn send(&mut self) {
        let heads: Vec<u64> = self
            .session
            .chunks()
            .filter(|chunk| chunk.len() == SIMPLE_REPLY_BYTES)
            .map(|chunk| u64::from_be_bytes(chunk[8..].try_into().expect("eight bytes")))
            .collect();
        for cookie in heads {
            *self.replies.entry(cookie).or_default() += 1;
        }
        let count: usize = self.session.chunks().map(<[u8]>::len).sum();
        self.session.sent(count / 2);
        self.session.sent(count - count / 2);
    }
}
