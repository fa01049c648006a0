//! From the greeting to the choice of an export: the handshake phase, without I/O.
//!
//! # States and events
//!
//! - `Flags`: the client's four bytes of flags are awaited, then
//! - `Head`: the 16 bytes of an option; then `Data` or, where they are more than any option needs,
//!   `Skip`; then the reply, and `Head` again;
//! - `Ended`: an export was chosen, or the client gave up, or it broke a rule.
//!
//! [`Negotiation::receive`] takes bytes, [`Negotiation::output`] has what goes to the client,
//! [`Negotiation::end`] tells how it ended. What is then still in `output` has to be sent.
//!
//! # Block sizes
//!
//! They are told to every client of INFO and GO, asked for or not. A client that did not ask is let
//! in all the same, where the specification would allow to refuse it when blocks are larger than it
//! may expect: the kernel's client does not ask, and its user may well have given it the size by
//! hand. Requests that are not of whole blocks are refused one by one.
//!
//! # Bounds
//!
//! Of an option's data no more than [`MAX_OPTION_DATA`] bytes are kept. An option that announces
//! more than [`MAX_SKIPPED`] bytes, and the option after [`MAX_OPTIONS`], end the connection. While
//! [`MAX_OUTPUT`] bytes wait to be sent, nothing more is taken. How long all of this may last is
//! the caller's to bound.

use std::sync::Arc;

use super::wire::{self, MAX_STRING, Reader, handshake, info, option, reply};
use crate::block::Geometry;

/// The most bytes of an option's data that are kept: a name and far more kinds of information than
/// there are.
pub const MAX_OPTION_DATA: usize = 2 * MAX_STRING;
/// The most bytes that an option may announce.
pub const MAX_SKIPPED: u32 = 1 << 20;
/// The most options of one client.
pub const MAX_OPTIONS: u32 = 256;
/// Above this many bytes to be sent nothing is received.
pub const MAX_OUTPUT: usize = 65_536;
/// Bytes of an option without its data.
const OPTION_BYTES: usize = 16;

/// An export, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name, at most 4,096 bytes. A client that names none gets the first offer.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Its size and what it can.
    pub geometry: Geometry,
}

/// How a negotiation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The transmission phase begins, with the offer of that index.
    Begin(usize),
    /// The client gave up, as it may.
    Aborted,
    /// The connection has to be closed.
    Refused(Refusal),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Client flags that the server did not offer.
    #[error("the client set flags that were not offered")]
    Flags,
    /// An option did not begin with its magic number.
    #[error("an option without its magic number")]
    Magic,
    /// An option's data is beyond all bounds.
    #[error("an option with too much data")]
    TooMuchData,
    /// Too many options.
    #[error("too many options")]
    TooManyOptions,
    /// EXPORT_NAME named no export, and has no way to say so.
    #[error("the client asked for an export that is not there")]
    NoSuchExport,
    /// EXPORT_NAME came while the server goes down.
    #[error("the server goes down")]
    ShuttingDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flags,
    Head,
    Data { option: u32, length: usize },
    Skip { option: u32, left: u32 },
    Ended(End),
}

/// A client in the handshake phase.
#[derive(Debug)]
pub struct Negotiation {
    offers: Arc<[Offer]>,
    state: State,
    /// What was received of the thing that `state` waits for.
    input: Vec<u8>,
    output: Vec<u8>,
    no_zeroes: bool,
    shutting_down: bool,
    options: u32,
}

impl Negotiation {
    /// Begins with the greeting.
    #[must_use]
    pub fn new(offers: Arc<[Offer]>) -> Self {
        let mut output = Vec::new();
        output.extend(wire::INIT_PASSWD.to_be_bytes());
        output.extend(wire::OPTION_MAGIC.to_be_bytes());
        output.extend((handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES).to_be_bytes());
        Self {
            offers,
            state: State::Flags,
            input: Vec::new(),
            output,
            no_zeroes: false,
            shutting_down: false,
            options: 0,
        }
    }

    /// From now on every option but ABORT is refused.
    pub const fn shut_down(&mut self) {
        self.shutting_down = true;
    }

    /// How it ended, if it has.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        match self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// What has to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The first `count` bytes of the output were sent.
    pub fn sent(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
    }

    /// Takes bytes; gives how many. What it leaves comes after the end and belongs to the
    /// transmission phase, or waits until output was sent.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while self.end().is_none() && self.output.len() < MAX_OUTPUT && self.step(&mut left) {}
        bytes.len() - left.len()
    }

    /// Goes on by one state; false when more bytes are needed for that.
    fn step(&mut self, bytes: &mut &[u8]) -> bool {
        match self.state {
            State::Flags => {
                let Some(input) = self.collect(bytes, 4) else { return false };
                let flags = Reader(&input).u32().unwrap_or(u32::MAX);
                self.state = self.client_flags(flags);
            }
            State::Head => {
                let Some(input) = self.collect(bytes, OPTION_BYTES) else { return false };
                self.state = self.head(&input);
            }
            State::Data { option, length } => {
                let Some(input) = self.collect(bytes, length) else { return false };
                self.state = State::Head;
                self.option(option, &input);
            }
            State::Skip { option, left } => {
                let count = bytes.len().min(left as usize);
                *bytes = &bytes[count..];
                // `count` is at most `left`.
                let left = left - u32::try_from(count).unwrap_or(left);
                if left > 0 {
                    self.state = State::Skip { option, left };
                    return false;
                }
                self.state = State::Head;
                self.error(option, reply::ERR_TOO_BIG, "more data than this server reads");
            }
            State::Ended(_) => return false,
        }
        true
    }

    /// Moves bytes to the input until it has `length`; then gives it.
    fn collect(&mut self, bytes: &mut &[u8], length: usize) -> Option<Vec<u8>> {
        let missing = length.saturating_sub(self.input.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        self.input.extend_from_slice(taken);
        *bytes = rest;
        (self.input.len() == length).then(|| std::mem::take(&mut self.input))
    }

    fn client_flags(&mut self, flags: u32) -> State {
        let (fixed, no_zeroes) =
            (u32::from(handshake::FIXED_NEWSTYLE), u32::from(handshake::NO_ZEROES));
        if flags & !(fixed | no_zeroes) != 0 {
            return State::Ended(End::Refused(Refusal::Flags));
        }
        self.no_zeroes = flags & no_zeroes != 0;
        State::Head
    }

    fn head(&mut self, input: &[u8]) -> State {
        let refused = |refusal| State::Ended(End::Refused(refusal));
        let mut reader = Reader(input);
        let (Some(wire::OPTION_MAGIC), Some(option), Some(length)) =
            (reader.u64(), reader.u32(), reader.u32())
        else {
            return refused(Refusal::Magic);
        };
        self.options += 1;
        if self.options > MAX_OPTIONS {
            return refused(Refusal::TooManyOptions);
        }
        if length > MAX_SKIPPED {
            return refused(Refusal::TooMuchData);
        }
        let kept = length as usize;
        if kept <= MAX_OPTION_DATA {
            return State::Data { option, length: kept };
        }
        // EXPORT_NAME has no reply that could say so.
        if option == option::EXPORT_NAME {
            return refused(Refusal::TooMuchData);
        }
        State::Skip { option, left: length }
    }

    fn option(&mut self, option: u32, data: &[u8]) {
        if self.shutting_down && option != option::ABORT {
            if option == option::EXPORT_NAME {
                self.state = State::Ended(End::Refused(Refusal::ShuttingDown));
            } else {
                self.error(option, reply::ERR_SHUTDOWN, "the server is shutting down");
            }
            return;
        }
        match option {
            option::EXPORT_NAME => self.export_name(data),
            option::ABORT => {
                self.reply(option, reply::ACK, &[]);
                self.state = State::Ended(End::Aborted);
            }
            option::LIST => self.list(data),
            option::INFO | option::GO => self.info(option, data),
            option::STARTTLS => {
                self.error(option, reply::ERR_UNSUP, "this server has no TLS");
            }
            _ => self.error(option, reply::ERR_UNSUP, "this server does not know the option"),
        }
    }

    /// The offer of that name, with its index.
    fn find(&self, name: &[u8]) -> Option<(usize, Offer)> {
        let mut offers = self.offers.iter().enumerate();
        let (index, offer) =
            offers.find(|(_, offer)| name.is_empty() || offer.name.as_bytes() == name)?;
        Some((index, offer.clone()))
    }

    fn export_name(&mut self, name: &[u8]) {
        let refused = |refusal| State::Ended(End::Refused(refusal));
        let Some((index, offer)) = self.find(name) else {
            self.state = refused(Refusal::NoSuchExport);
            return;
        };
        self.output.extend(offer.geometry.bytes.to_be_bytes());
        self.output.extend(wire::transmission_flags(&offer.geometry).to_be_bytes());
        if !self.no_zeroes {
            self.output.extend([0; 124]);
        }
        self.state = State::Ended(End::Begin(index));
    }

    fn list(&mut self, data: &[u8]) {
        if !data.is_empty() {
            return self.error(option::LIST, reply::ERR_INVALID, "LIST takes no data");
        }
        for offer in Arc::clone(&self.offers).iter() {
            let length = u32::try_from(offer.name.len()).unwrap_or_default();
            let description = offer.description.as_bytes();
            let data = [&length.to_be_bytes(), offer.name.as_bytes(), description].concat();
            self.reply(option::LIST, reply::SERVER, &data);
        }
        self.reply(option::LIST, reply::ACK, &[]);
    }

    /// INFO and GO, which differ only in what comes after.
    fn info(&mut self, option: u32, data: &[u8]) {
        let Some((name, kinds)) = parse_info(data) else {
            return self.error(option, reply::ERR_INVALID, "the data of the option is malformed");
        };
        let Some((index, offer)) = self.find(name) else {
            return self.error(option, reply::ERR_UNKNOWN, "there is no export of that name");
        };
        let geometry = offer.geometry;
        let (name, description) = (offer.name.as_bytes(), offer.description.as_bytes());
        let tell = |kind: u16, data: &[u8]| [&kind.to_be_bytes(), data].concat();
        let size = geometry.bytes.to_be_bytes();
        let flags = wire::transmission_flags(&geometry).to_be_bytes();
        self.reply(option, reply::INFO, &tell(info::EXPORT, &[&size[..], &flags].concat()));
        // Told unasked too: a client that does not know it passes over it.
        let maximum = geometry.maximum.min(wire::DEFAULT_MAX_PAYLOAD);
        let sizes = [geometry.logical_block, geometry.preferred.min(maximum), maximum];
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
        self.reply(option, reply::INFO, &tell(info::BLOCK_SIZE, &sizes));
        if kinds.contains(&info::NAME) {
            self.reply(option, reply::INFO, &tell(info::NAME, name));
        }
        if kinds.contains(&info::DESCRIPTION) && !description.is_empty() {
            self.reply(option, reply::INFO, &tell(info::DESCRIPTION, description));
        }
        self.reply(option, reply::ACK, &[]);
        if option == option::GO {
            self.state = State::Ended(End::Begin(index));
        }
    }

    fn error(&mut self, option: u32, kind: u32, text: &str) {
        self.reply(option, kind, text.as_bytes());
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) {
        self.output.extend(wire::OPTION_REPLY_MAGIC.to_be_bytes());
        self.output.extend(option.to_be_bytes());
        self.output.extend(kind.to_be_bytes());
        self.output.extend(u32::try_from(data.len()).unwrap_or_default().to_be_bytes());
        self.output.extend_from_slice(data);
    }
}

/// The data of INFO and GO: the export's name, and the kinds of information that are asked for.
fn parse_info(data: &[u8]) -> Option<(&[u8], Vec<u16>)> {
    let mut reader = Reader(data);
    let length = reader.u32()? as usize;
    let name = reader.bytes(length)?;
    let count = reader.u16()?;
    let kinds = (0..count).map(|_| reader.u16()).collect::<Option<Vec<u16>>>()?;
    (reader.0.is_empty() && length <= MAX_STRING).then_some((name, kinds))
}

#[cfg(test)]
mod tests;
