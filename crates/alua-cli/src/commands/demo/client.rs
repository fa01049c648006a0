//! A small NBD client: one request at a time, as a program sees a disk.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use alua_export::nbd::wire::{
    INIT_PASSWD, OPTION_MAGIC, OPTION_REPLY_MAGIC, REQUEST_BYTES, RequestHead, SIMPLE_REPLY_BYTES,
    SIMPLE_REPLY_MAGIC, command, handshake, option, reply,
};

/// No answer for so long is an answer too.
const PATIENCE: Duration = Duration::from_secs(120);
/// Replies to one option, before the server is said to talk without end.
const REPLIES_MAX: usize = 64;

/// A connection in transmission.
pub(crate) struct Client {
    stream: UnixStream,
    cookie: u64,
}

impl Client {
    /// Connects to the server's first export.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting)?;
        if number(&greeting, 0) != INIT_PASSWD || number(&greeting, 8) != OPTION_MAGIC {
            return Err(wrong("it is no NBD server"));
        }
        let flags = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
        stream.write_all(&u32::from(flags).to_be_bytes())?;
        let mut go = Vec::new();
        go.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
        go.extend_from_slice(&option::GO.to_be_bytes());
        // An empty name, and no information asked for.
        go.extend_from_slice(&6_u32.to_be_bytes());
        go.extend_from_slice(&[0; 6]);
        stream.write_all(&go)?;
        let mut client = Self { stream, cookie: 0 };
        for _ in 0..REPLIES_MAX {
            if client.option_reply()? == reply::ACK {
                return Ok(client);
            }
        }
        Err(wrong("the server does not come to an end"))
    }

    fn option_reply(&mut self) -> io::Result<u32> {
        let mut head = [0; 20];
        self.stream.read_exact(&mut head)?;
        let kind = number(&head, 8) as u32;
        if number(&head, 0) != OPTION_REPLY_MAGIC || kind > reply::INFO {
            return Err(wrong("the server refuses the export"));
        }
        let length = number(&head, 12) as u32;
        let mut payload = vec![0; length.min(65_536) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(kind)
    }

    /// Reads into `data` from byte `offset` on.
    pub(crate) fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.send(command::READ, offset, data.len())?;
        self.reply()?;
        self.stream.read_exact(data)
    }

    /// Writes `data` from byte `offset` on.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.send(command::WRITE, offset, data.len())?;
        self.stream.write_all(data)?;
        self.reply()
    }

    /// Makes durable what was written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.send(command::FLUSH, 0, 0)?;
        self.reply()
    }

    fn send(&mut self, command: u16, offset: u64, length: usize) -> io::Result<()> {
        self.cookie += 1;
        let length = u32::try_from(length).map_err(|_| wrong("a request that is too long"))?;
        let head = RequestHead { flags: 0, command, cookie: self.cookie, offset, length };
        let bytes: [u8; REQUEST_BYTES] = head.to_bytes();
        self.stream.write_all(&bytes)
    }

    fn reply(&mut self) -> io::Result<()> {
        let mut head = [0; SIMPLE_REPLY_BYTES];
        self.stream.read_exact(&mut head)?;
        let (first, cookie) = (number(&head, 0), number(&head, 8));
        if (first >> 32) as u32 != SIMPLE_REPLY_MAGIC || cookie != self.cookie {
            return Err(wrong("the server answers something else"));
        }
        match first as u32 {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno as i32)),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u64::from_be_bytes(word)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
