//! `alua decode`: what a saved dump says.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use alua_core::spc::WireError;

use super::print;
use crate::cli::{Decode, DumpKind, Global};
use crate::dump;
use crate::error::Error;
use crate::exit::Exit;
use crate::render::json;
use crate::render::wire::Decoded;

/// No answer that is decoded here is longer; a dump has several characters for each byte.
const INPUT_MAX: u64 = 4 * 1024 * 1024;

pub(crate) fn run(global: &Global, args: &Decode) -> Result<Exit, Error> {
    let input = read(&args.file)?;
    let bytes = if args.raw {
        input
    } else {
        dump::bytes(&input)
            .map_err(|error| Error::Dump { file: args.file.display().to_string(), error })?
    };
    let whole = whole(args.kind, &bytes);
    let (bytes, rest) = bytes.split_at(whole.map_or(bytes.len(), |(_, end)| end.min(bytes.len())));
    let decoded =
        decode(args.kind, bytes).map_err(|error| Error::Decode { what: what(args.kind), error })?;
    if let (Some((field, end)), false, false) = (whole, rest.is_empty(), args.cut) {
        return Err(Error::Trailing { what: what(args.kind), field, end, extra: rest.len() });
    }
    print(&if global.json { json::text(&decoded)? } else { decoded.to_string() })?;
    Ok(Exit::Good)
}

fn decode(kind: DumpKind, bytes: &[u8]) -> Result<Decoded, WireError> {
    match kind {
        DumpKind::Rtpg => Decoded::rtpg(None, bytes),
        DumpKind::Page83 => Decoded::vpd(None, 0x83, bytes),
        DumpKind::Sense => Decoded::sense(bytes),
        DumpKind::Inquiry => Decoded::inquiry(None, bytes),
    }
}

const fn what(kind: DumpKind) -> &'static str {
    match kind {
        DumpKind::Rtpg => "REPORT TARGET PORT GROUPS data",
        DumpKind::Page83 => "VPD page 83h",
        DumpKind::Sense => "sense data",
        DumpKind::Inquiry => "standard INQUIRY data",
    }
}

/// The field that says how long the data is, and where it says that the data ends; `None` where
/// the field itself is missing (the parser says so).
fn whole(kind: DumpKind, bytes: &[u8]) -> Option<(&'static str, usize)> {
    let byte = |at: usize| bytes.get(at).copied().map(usize::from);
    match kind {
        DumpKind::Rtpg => {
            let need = alua_core::spc::target_port_groups::Report::needed_length(bytes).ok()?;
            Some(("return data length at byte 0", usize::try_from(need).ok()?))
        }
        DumpKind::Page83 => {
            let need = alua_core::spc::inquiry::VpdPage::needed_length(bytes).ok()?;
            Some(("page length at byte 2", usize::try_from(need).ok()?))
        }
        DumpKind::Sense => Some(("additional sense length at byte 7", byte(7)? + 8)),
        DumpKind::Inquiry => Some(("additional length at byte 4", byte(4)? + 5)),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    let result = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(INPUT_MAX + 1).read_to_end(&mut input)
    } else {
        fs::File::open(file).and_then(|file| file.take(INPUT_MAX + 1).read_to_end(&mut input))
    };
    result.map_err(|source| Error::File { path: file.to_path_buf(), source })?;
    if u64::try_from(input.len()).is_ok_and(|length| length > INPUT_MAX) {
        return Err(Error::Usage(format!(
            "{}: longer than {INPUT_MAX} bytes; no answer of a target is",
            file.display()
        )));
    }
    Ok(input)
}
