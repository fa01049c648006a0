//! The model array behind iSCSI (RFC 7143): any initiator can be tested against arrays that do not
//! exist, or that misbehave on purpose.
//!
//! [`Target`] is a state machine without I/O: bytes in, bytes out, time in. It holds an
//! [`Array`](alua_array::Array) and adds nothing to it: states, unit attentions, sense data and
//! faults are the array's. The module `serve` puts it on sockets.
//!
//! # What is there
//!
//! Discovery by SendTargets; login with negotiation of every operational key; CHAP one-way and
//! mutual with MD5, SHA-1, SHA-256 and SHA3-256; header and data digests; session reinstatement;
//! immediate, unsolicited and solicited data; task management that ends commands in the array;
//! Asynchronous Messages; Reject; NOP both ways. One connection per session, one R2T at a time,
//! ErrorRecoveryLevel 0.
#![forbid(unsafe_code)]

mod event;
mod login;
pub mod pdu;
#[cfg(feature = "serve")]
pub mod serve;
mod settings;
pub mod target;
pub mod text;

pub use event::{ConnectionId, Record, What};
pub use login::chap::{Algorithm, Secret, binary, to_hex};
pub use login::keys::{Parameters, Wishes};
pub use login::{Entropy, Refusal};
pub use settings::{Account, Authentication, Limits, Portal, Settings, Times};
pub use target::{SessionView, Target};
