//! Writes the seed corpus of the NBD targets:
//! `cargo run --manifest-path fuzz/Cargo.toml --example nbd_seeds`.
//!
//! Each seed is what some client sends, or one lie in it (`invalid-...`). The bytes before it are
//! for the check: see `crates/alua-export/tests/nbd_oracle`.

use std::path::Path;
use std::{fs, io};

use alua_export::nbd::wire::{RequestHead, command, command_flags, info, option};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [("nbd_negotiation", negotiation()), ("nbd_session", session())] {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (name, data) in seeds {
            fs::write(folder.join(name).with_extension("bin"), data)?;
        }
    }
    Ok(())
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn negotiation() -> Seeds {
    let one = |option: u32, data: &[u8]| {
        let length = u32::try_from(data.len()).expect("a short option");
        [b"IHAVEOPT", &option.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
    };
    let named = |name: &str, kinds: &[u16]| {
        let length = u32::try_from(name.len()).expect("a short name").to_be_bytes();
        let count = u16::try_from(kinds.len()).expect("a few kinds").to_be_bytes();
        let kinds: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        [&length[..], name.as_bytes(), &count, &kinds].concat()
    };
    let client =
        |flags: u8, options: &[Vec<u8>]| [&[16, 0, 0, 0, flags][..], &options.concat()].concat();
    let all = [info::NAME, info::DESCRIPTION, info::BLOCK_SIZE];
    let extensions: Vec<_> = [5, 8, 9, 10, 11].iter().map(|option| one(*option, &[])).collect();
    vec![
        ("go", client(3, &[one(option::GO, &named("", &all))])),
        ("extensions-then-go", {
            let go = one(option::GO, &named("a", &[]));
            client(3, &[extensions.concat(), go])
        }),
        ("export-name", client(1, &[one(option::EXPORT_NAME, b"a")])),
        ("list-info-abort", {
            let info = one(option::INFO, &named("b", &all));
            client(3, &[one(option::LIST, &[]), info, one(option::ABORT, &[])])
        }),
        ("large-blocks-unasked", client(3, &[one(option::GO, &named("b", &[]))])),
        ("no-such-export", client(3, &[one(option::GO, &named("zz", &[]))])),
        ("too-big", client(3, &[one(option::GO, &[0; 9000])])),
        ("malformed-go", client(3, &[one(option::GO, &[0, 0, 0, 9, 1])])),
        ("invalid-flags", client(0xff, &[])),
        ("invalid-magic", client(3, &[b"IHAVEOPX\0\0\0\x01\0\0\0\0".to_vec()])),
        ("invalid-export-name", client(3, &[one(option::EXPORT_NAME, b"zz")])),
        ("invalid-length", client(3, &[b"IHAVEOPT\0\0\0\x07\xff\xff\xff\xff".to_vec()])),
    ]
}

fn session() -> Seeds {
    let head = |command: u16, cookie: u64, offset: u64, length: u32| RequestHead {
        flags: 0,
        command,
        cookie,
        offset,
        length,
    };
    let one = |head: RequestHead| {
        let length = if head.command == command::WRITE { head.length as usize } else { 0 };
        [&head.to_bytes()[..], &vec![head.cookie as u8; length]].concat()
    };
    let client = |setting: [u8; 3], all: &[Vec<u8>]| [&setting[..], &all.concat()].concat();
    let fua = RequestHead { flags: command_flags::FUA, ..head(command::WRITE, 3, 512, 512) };
    let no_hole =
        RequestHead { flags: command_flags::NO_HOLE, ..head(command::WRITE_ZEROES, 4, 0, 4096) };
    let unknown = RequestHead { flags: 0x8000, ..head(command::READ, 5, 0, 512) };
    let mixed: Vec<Vec<u8>> =
        (0..6).map(|cookie| one(head((cookie % 2) as u16, cookie, cookie * 4096, 4096))).collect();
    vec![
        ("read", client([3, 9, 0], &[one(head(command::READ, 1, 0, 512))])),
        ("write-flush-disc", {
            let flush = one(head(command::FLUSH, 2, 0, 0));
            client([3, 0, 1], &[one(fua), flush, one(head(command::DISC, 9, 0, 0))])
        }),
        ("all-kinds", {
            let trim = one(head(command::TRIM, 6, 0, 1 << 20));
            client([7, 255, 7], &[one(no_hole), one(unknown), trim, one(head(5, 7, 0, 512))])
        }),
        ("deep", client([2, 200, 3], &mixed)),
        ("one-at-a-time", client([0, 1, 5], &mixed)),
        ("refused-write-then-read", {
            let write = one(head(command::WRITE, 1, 1 << 20, 3000));
            client([1, 3, 0], &[write, one(head(command::READ, 2, 0, 512))])
        }),
        ("large", client([1, 255, 0], &[one(head(command::WRITE, 1, 0, 65_536))])),
        ("half-a-write", {
            let mut write = one(head(command::WRITE, 1, 0, 4096));
            write.truncate(1000);
            client([1, 9, 0], &[write])
        }),
        ("same-cookie-often", client([7, 99, 9], &vec![one(head(command::READ, 1, 0, 512)); 9])),
        ("invalid-magic", client([1, 9, 0], &[one(head(command::READ, 1, 0, 512)), vec![7; 28]])),
    ]
}
