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
//!
//! # Example
//!
//! ```
//! use alua_core::access::AccessState;
//! use alua_core::spc::cdb::{Cdb, ReportFormat};
//! use alua_core::spc::target_port_groups::Report;
//!
//! let command =
//!     Cdb::ReportTargetPortGroups { format: ReportFormat::Extended, allocation_length: 128 };
//! assert_eq!(command.encode().as_bytes(), [0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0]);
//!
//! // What the target answered: 60 s, one group, preferred and non-optimized, of one port.
//! let data = [0, 0, 0, 16, 0x10, 60, 0, 0, 0x81, 0x0f, 0, 7, 0, 2, 0, 1, 0, 0, 0, 3];
//! let report = Report::parse(&data)?;
//! assert_eq!(report.implicit_transition_secs(), Some(60));
//! for group in report.groups() {
//!     assert_eq!((group.id, group.state), (7, AccessState::ActiveNonOptimized));
//!     assert!(group.preferred && group.ports.eq([3]));
//! }
//!
//! // A port count that reaches past the data is refused, and the error says where.
//! let mut lie = data;
//! lie[15] = 3;
//! let error = Report::parse(&lie).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "target port count at byte 15: claims 12 bytes where 4 are left"
//! );
//! # Ok::<(), alua_core::spc::WireError>(())
//! ```

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
