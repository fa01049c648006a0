//! Wire formats of SPC and SBC, as far as ALUA needs them, in both directions: what a host encodes
//! an array decodes, and the reverse.
//!
//! # Contract
//!
//! Every parser is total: any byte string gives a value or a [`WireError`] that names the field and
//! the rule broken. Nothing past the data that was given is read, no length field is believed
//! before it is checked, and reserved values are kept as sent. Parsing is in two steps: a checked
//! view over the bytes, then plain values.
//!
//! The data given to a parser is what the transport really transferred, not the buffer that it was
//! transferred into: a short transfer (residual) then shows as the truncation that it is.
//!
//! # Writing
//!
//! Every writer counts what it would write also where the caller's buffer ends, because SPC cuts
//! data at the allocation length and leaves the length fields whole. `finish` refuses a buffer that
//! was too small; `finish_truncated` gives both numbers ([`Written`]).

mod asc;
mod ascii;
mod bytes;
pub mod cdb;
pub mod designator;
mod error;
pub mod inquiry;
pub mod luns;
pub mod referrals;
pub mod sense;
pub mod status;
pub mod target_port_groups;

pub use ascii::Ascii;
pub use bytes::Written;
pub use error::{Rule, WireError};
pub use status::Status;
