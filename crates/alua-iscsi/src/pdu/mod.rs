//! iSCSI PDUs as they stand on the wire (RFC 7143, section 11).
//!
//! A PDU is a basic header segment of 48 bytes, additional header segments, a header digest, a data
//! segment with padding and a data digest. [`layout`] has the fields of each header, [`Framer`]
//! cuts a stream of bytes into PDUs, [`Encoder`] is its counterpart.

mod encode;
mod frame;
pub mod layout;

pub use encode::Encoder;
pub(crate) use encode::KEEP;
pub use frame::{Digests, Frame, FrameError, Framer};

/// Bytes of a basic header segment.
pub const HEADER: usize = 48;

/// The tag that stands for "none" (RFC 7143, section 11.2.1.8).
pub const NO_TAG: u32 = u32::MAX;

/// Operation codes (RFC 7143, section 11.2.1.2).
pub mod opcode {
    /// NOP-Out.
    pub const NOP_OUT: u8 = 0x00;
    /// SCSI Command.
    pub const COMMAND: u8 = 0x01;
    /// SCSI Task Management Function Request.
    pub const FUNCTION: u8 = 0x02;
    /// Login Request.
    pub const LOGIN: u8 = 0x03;
    /// Text Request.
    pub const TEXT: u8 = 0x04;
    /// SCSI Data-Out.
    pub const DATA_OUT: u8 = 0x05;
    /// Logout Request.
    pub const LOGOUT: u8 = 0x06;
    /// SNACK Request.
    pub const SNACK: u8 = 0x10;
    /// NOP-In.
    pub const NOP_IN: u8 = 0x20;
    /// SCSI Response.
    pub const RESPONSE: u8 = 0x21;
    /// SCSI Task Management Function Response.
    pub const FUNCTION_RESPONSE: u8 = 0x22;
    /// Login Response.
    pub const LOGIN_RESPONSE: u8 = 0x23;
    /// Text Response.
    pub const TEXT_RESPONSE: u8 = 0x24;
    /// SCSI Data-In.
    pub const DATA_IN: u8 = 0x25;
    /// Logout Response.
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    /// Ready To Transfer.
    pub const READY: u8 = 0x31;
    /// Asynchronous Message.
    pub const ASYNC: u8 = 0x32;
    /// Reject.
    pub const REJECT: u8 = 0x3f;
    /// The bit that marks a request for immediate delivery.
    pub const IMMEDIATE: u8 = 0x40;
    /// The bits of the operation code proper.
    pub const MASK: u8 = 0x3f;
}

/// Flag bits of byte 1.
pub mod flag {
    /// Final.
    pub const FINAL: u8 = 0x80;
    /// Continue (text and login).
    pub const CONTINUE: u8 = 0x40;
    /// Read (SCSI Command).
    pub const READ: u8 = 0x40;
    /// Write (SCSI Command).
    pub const WRITE: u8 = 0x20;
    /// Residual overflow.
    pub const OVERFLOW: u8 = 0x04;
    /// Residual underflow.
    pub const UNDERFLOW: u8 = 0x02;
    /// Status in this Data-In PDU.
    pub const STATUS: u8 = 0x01;
}

/// Whether serial number `a` is before `b` (RFC 1982 arithmetic on 32 bits).
#[must_use]
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::before;

    #[test]
    fn serial_numbers_wrap() {
        assert!(before(1, 2) && !before(2, 1) && !before(2, 2));
        assert!(before(u32::MAX, 0) && !before(0, u32::MAX));
    }
}
