//! The NBD protocol, server's side: fixed newstyle, simple replies, many requests in flight.
//!
//! The rules are those of the protocol's specification, `doc/proto.md` of the NBD project, whose
//! names are used here.
//!
//! | module | what | I/O |
//! |---|---|---|
//! | [`wire`] | numbers and layouts | none |
//! | [`negotiate`] | from the greeting to the choice of an export | none |
//! | [`session`] | the transmission phase: bytes in, requests out; completions in, bytes out | none |
//! | [`server`] | sockets, threads, limits | all of it |
//!
//! # What is not offered, and why
//!
//! - **Structured replies**, metadata contexts, extended headers: refused by "unsupported", with
//!   which every client goes on. A device that answers a request as a whole gains nothing by them;
//!   holes cannot be told apart from data over SCSI paths without asking for each.
//! - **TLS**: the server listens on a Unix socket or on the loopback address. Whatever goes
//!   further belongs into a tunnel that its administrator chose.

pub mod negotiate;
pub mod server;
pub mod session;
pub mod wire;
