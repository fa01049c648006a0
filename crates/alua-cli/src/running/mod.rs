//! Running devices: what an `alua up` shows of its device, and the socket by which it is asked.
//!
//! # Contract
//!
//! - One socket per device, `UNIT.sock` in `$XDG_RUNTIME_DIR/alua`, or in `/run/alua` without that
//!   variable; only its owner may use it (mode 0600).
//! - A conversation is one line of JSON to the device and one back ([`control`]); a line is at most
//!   64 KiB long, and a client that does not finish one in five seconds is left.
//! - A socket on which nobody listens any more is what a device that was killed has left: it is
//!   passed over, and replaced by the next device of that name.

pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod recorder;
pub(crate) mod serving;
pub(crate) mod starting;
pub(crate) mod status;
