//! `alua up --nbd` of a unit with blocks of 4096 bytes, met by a client that counts the bytes.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use alua_export::nbd::wire::{
    OPTION_REPLY_MAGIC, RequestHead, SIMPLE_REPLY_BYTES, command, command_flags, errno, info,
    option, reply, transmission,
};
use common::Up;

const BLOCK: u32 = 4096;
/// Of the unit: 64 MiB.
const BLOCKS: u64 = 16_384;

/// What GO tells of an export.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    bytes: u64,
    flags: u16,
    /// Minimum, preferred, maximum.
    sizes: [u32; 3],
}

struct Client(TcpStream);

impl Client {
    fn new(place: &str) -> (Self, Told) {
        let address = place.strip_prefix("nbd://").expect("an address");
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self(stream);
        client.bytes::<18>();
        client.0.write_all(b"\0\0\0\x03IHAVEOPT").unwrap();
        // GO with ten bytes: no name, one question.
        client.0.write_all(&option::GO.to_be_bytes()).unwrap();
        client.0.write_all(b"\0\0\0\x08\0\0\0\0\0\x01").unwrap();
        client.0.write_all(&info::BLOCK_SIZE.to_be_bytes()).unwrap();
        let mut told = Told { bytes: 0, flags: 0, sizes: [0; 3] };
        loop {
            assert_eq!(client.bytes(), OPTION_REPLY_MAGIC.to_be_bytes());
            let [_, kind, length] = [(); 3].map(|()| u32::from_be_bytes(client.bytes()));
            if kind == reply::ACK {
                return (client, told);
            }
            assert_eq!(kind, reply::INFO);
            match u16::from_be_bytes(client.bytes()) {
                info::EXPORT => {
                    told.bytes = u64::from_be_bytes(client.bytes());
                    told.flags = u16::from_be_bytes(client.bytes());
                }
                info::BLOCK_SIZE => {
                    told.sizes = [(); 3].map(|()| u32::from_be_bytes(client.bytes()));
                }
                _ => drop(client.read(length - 2)),
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn read(&mut self, length: u32) -> Vec<u8> {
        let mut data = vec![0; length as usize];
        self.0.read_exact(&mut data).unwrap();
        data
    }

    /// The error number of a request.
    fn ask(&mut self, command: u16, flags: u16, offset: u64, length: u32, data: &[u8]) -> u32 {
        let head = RequestHead { flags, command, cookie: 7, offset, length };
        self.0.write_all(&[&head.to_bytes()[..], data].concat()).unwrap();
        let answer: [u8; SIMPLE_REPLY_BYTES] = self.bytes();
        u32::from_be_bytes(*answer[4..].first_chunk().unwrap())
    }

    fn data(&mut self, offset: u64, length: u32) -> Vec<u8> {
        assert_eq!(self.ask(command::READ, 0, offset, length, &[]), 0);
        self.read(length)
    }
}

#[test]
fn a_unit_with_blocks_of_4096_bytes_is_served_by_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.toml");
    let demo = alua_array::shipped::DEMO.text;
    let text =
        demo.replace("blocks = 2097152", &format!("blocks = {BLOCKS}\nblock_size = {BLOCK}"));
    assert_ne!(text, demo);
    std::fs::write(&file, text).unwrap();
    let up = Up::of(file.to_str().unwrap(), &["--json", "--nbd", "127.0.0.1:0"]);
    let (mut client, told) = Client::new(&up.place);
    let size = BLOCKS * u64::from(BLOCK);
    assert_eq!((told.bytes, told.sizes), (size, [BLOCK, BLOCK, 32 << 20]));
    let offered =
        transmission::SEND_FUA | transmission::SEND_TRIM | transmission::SEND_WRITE_ZEROES;
    assert_eq!(told.flags & offered, offered);

    // The last block, and two in the middle of which one is let go and one is zeroed.
    let (block, fua) = (u64::from(BLOCK), command_flags::FUA);
    let data: Vec<u8> = (0..3 * BLOCK).map(|index| (index % 251) as u8).collect();
    let part = |index: usize| &data[index * BLOCK as usize..][..BLOCK as usize];
    assert_eq!(client.ask(command::WRITE, fua, size - block, BLOCK, part(0)), 0);
    assert!(client.data(size - block, BLOCK) == part(0));
    assert_eq!(client.ask(command::WRITE, 0, 5 * block, 3 * BLOCK, &data), 0);
    let no_hole = command_flags::NO_HOLE;
    for (command, flags, at) in [
        (command::TRIM, 0, 5),
        (command::TRIM, fua, 5),
        (command::WRITE_ZEROES, fua, 6),
        (command::WRITE_ZEROES, fua | no_hole, 6),
    ] {
        assert_eq!(client.ask(command, flags, at * block, BLOCK, &[]), 0, "{command} {flags}");
    }
    let back = client.data(5 * block, 3 * BLOCK);
    // The model reads what was let go as zeroes.
    assert!(back[..2 * BLOCK as usize].iter().all(|&byte| byte == 0), "let go, and zeroed");
    assert!(back[2 * BLOCK as usize..] == *part(2), "the block behind them is whole");

    // Less than a block, or not from the start of one; and the connection goes on.
    for (offset, length) in [(0, 512), (512, BLOCK), (block, BLOCK + 512)] {
        for command in [command::READ, command::TRIM, command::WRITE_ZEROES] {
            let said = client.ask(command, 0, offset, length, &[]);
            assert_eq!(said, errno::EINVAL, "{command} {offset} {length}");
        }
        let zeroes = vec![0; length as usize];
        assert_eq!(client.ask(command::WRITE, 0, offset, length, &zeroes), errno::EINVAL);
    }
    assert_eq!(client.ask(command::FLUSH, 0, 0, 0, &[]), 0);
    drop(client);
    let (exit, out, log) = up.end();
    assert_eq!(exit, 0, "{log}");
    let did: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&did["failed"], &did["defects"]), (&0.into(), &0.into()));
}
