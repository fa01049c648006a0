//! Numbers and layouts of the protocol. All integers are in network byte order.

use crate::block::{BlockError, Geometry};

/// What the server says first: "NBDMAGIC".
pub const INIT_PASSWD: u64 = 0x4e42_444d_4147_4943;
/// "IHAVEOPT": the second word of the greeting, and what each option begins with.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// What each reply to an option begins with.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// What each request begins with.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// What each simple reply begins with.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// Bytes of a request without its payload.
pub const REQUEST_BYTES: usize = 28;
/// Bytes of a simple reply without its payload.
pub const SIMPLE_REPLY_BYTES: usize = 16;
/// The longest string that the protocol knows, in bytes.
pub const MAX_STRING: usize = 4096;
/// The payload that a client may send when nothing was agreed on, in bytes.
pub const DEFAULT_MAX_PAYLOAD: u32 = 32 << 20;

/// Handshake flags, of the server and, with the same bits, of the client.
pub mod handshake {
    /// Options have structured replies.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// The 124 bytes of zeroes after EXPORT_NAME are left out.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Transmission flags.
pub mod transmission {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// No writes.
    pub const READ_ONLY: u16 = 1 << 1;
    /// FLUSH is offered.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// FUA is offered.
    pub const SEND_FUA: u16 = 1 << 3;
    /// TRIM is offered.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// WRITE_ZEROES is offered.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// A flush covers the writes of every connection.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
}

/// Command flags.
pub mod command_flags {
    /// Forced unit access.
    pub const FUA: u16 = 1 << 0;
    /// WRITE_ZEROES must not give the blocks back.
    pub const NO_HOLE: u16 = 1 << 1;
}

/// Commands.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write, with a payload.
    pub const WRITE: u16 = 1;
    /// The client goes; no reply.
    pub const DISC: u16 = 2;
    /// Flush.
    pub const FLUSH: u16 = 3;
    /// Discard.
    pub const TRIM: u16 = 4;
    /// Write zeroes.
    pub const WRITE_ZEROES: u16 = 6;
}

/// Options.
pub mod option {
    /// Choose an export and begin, without a reply that could fail.
    pub const EXPORT_NAME: u32 = 1;
    /// Give up.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// TLS.
    pub const STARTTLS: u32 = 5;
    /// Tell of an export.
    pub const INFO: u32 = 6;
    /// Tell of an export and begin.
    pub const GO: u32 = 7;
}

/// Types of replies to options.
pub mod reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// An export, to LIST.
    pub const SERVER: u32 = 2;
    /// A piece of information, to INFO and GO.
    pub const INFO: u32 = 3;
    const ERROR: u32 = 1 << 31;
    /// An unknown option.
    pub const ERR_UNSUP: u32 = ERROR | 1;
    /// Not allowed here.
    pub const ERR_POLICY: u32 = ERROR | 2;
    /// Syntax.
    pub const ERR_INVALID: u32 = ERROR | 3;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = ERROR | 6;
    /// The server goes down.
    pub const ERR_SHUTDOWN: u32 = ERROR | 7;
    /// The option's data is too long.
    pub const ERR_TOO_BIG: u32 = ERROR | 9;
}

/// Types of information.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The export's name.
    pub const NAME: u16 = 1;
    /// A text for people.
    pub const DESCRIPTION: u16 = 2;
    /// Minimum, preferred and maximum block size.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Error numbers of replies.
pub mod errno {
    /// Not allowed: a write to a read-only export.
    pub const EPERM: u32 = 1;
    /// The device failed.
    pub const EIO: u32 = 5;
    /// Not a request that is taken.
    pub const EINVAL: u32 = 22;
    /// No room, or a write beyond the end.
    pub const ENOSPC: u32 = 28;
    /// The server goes down.
    pub const ESHUTDOWN: u32 = 108;
}

/// The error number for what became of a request; `modifies` tells whether it would have changed
/// the export, where a request beyond the end has another number ("Error values" of the
/// specification). The protocol has six numbers only: that no path is left is EIO to a client.
#[must_use]
pub const fn errno_of(error: BlockError, modifies: bool) -> u32 {
    match error {
        BlockError::Io | BlockError::NoPath | BlockError::Abandoned => errno::EIO,
        BlockError::InvalidRequest | BlockError::NotSupported => errno::EINVAL,
        BlockError::OutOfRange => {
            if modifies {
                errno::ENOSPC
            } else {
                errno::EINVAL
            }
        }
        BlockError::ReadOnly | BlockError::Reserved => errno::EPERM,
        BlockError::NoSpace => errno::ENOSPC,
        BlockError::ShuttingDown => errno::ESHUTDOWN,
    }
}

/// The transmission flags of a device.
#[must_use]
pub fn transmission_flags(geometry: &Geometry) -> u16 {
    let always = transmission::HAS_FLAGS | transmission::SEND_FLUSH | transmission::SEND_FUA;
    [
        (geometry.read_only, transmission::READ_ONLY),
        (geometry.discard, transmission::SEND_TRIM),
        (geometry.write_zeroes, transmission::SEND_WRITE_ZEROES),
        (geometry.shared_flush, transmission::CAN_MULTI_CONN),
    ]
    .into_iter()
    .fold(always, |flags, (set, flag)| if set { flags | flag } else { flags })
}

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// See [`command_flags`].
    pub flags: u16,
    /// See [`command`].
    pub command: u16,
    /// Given back in the reply.
    pub cookie: u64,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
}

impl RequestHead {
    /// Reads a head; None when it does not begin with the magic number, after which nothing in the
    /// stream can be trusted.
    #[must_use]
    pub fn parse(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u32()? != REQUEST_MAGIC {
            return None;
        }
        Some(Self {
            flags: reader.u16()?,
            command: reader.u16()?,
            cookie: reader.u64()?,
            offset: reader.u64()?,
            length: reader.u32()?,
        })
    }

    /// Writes a head, as a client does.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.command.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }
}

/// A simple reply without its payload; `error` is 0 or of [`errno`].
#[must_use]
pub fn simple_reply(error: u32, cookie: u64) -> [u8; SIMPLE_REPLY_BYTES] {
    let mut bytes = [0; SIMPLE_REPLY_BYTES];
    bytes[0..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// Reads integers off the front of bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes; None when there are fewer.
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
