//! Wire formats of SPC and SBC, as far as ALUA needs them, in both directions: what a host encodes
//! an array decodes, and the reverse.
//!
//! # Contract
//!
//! Every parser is total: any byte string gives a value or a [`WireError`] that names the field and
//! the rule broken. Nothing past the data that was given is read, no length field is believed
//! before it is checked, and reserved values are kept as sent. Parsing is in two steps: a checked
//! view over the bytes, then plain values.

mod error;
pub mod status;

pub use error::{Rule, WireError};
pub use status::Status;
