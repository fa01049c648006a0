//! Dumps as people keep them: hex with or without offsets and text column (sg3_utils, xxd,
//! hexdump -C, this program), C arrays, bare hex digits, raw bytes.
//!
//! # Contract
//!
//! Every byte of the input is accounted for: it is a digit of the data, part of a column that is
//! recognised, a heading before the data, or an error that names line and column. An offset that
//! does not fit the bytes before it is an error: a line is missing.

use std::fmt;

/// What is wrong with a dump.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) struct DumpError {
    /// From 1; 0 for the dump as a whole.
    line: usize,
    /// In characters, from 1.
    column: usize,
    why: String,
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}, column {}: {}", self.column, self.why),
        }
    }
}

fn error<T>(line: usize, column: usize, why: impl Into<String>) -> Result<T, DumpError> {
    Err(DumpError { line, column, why: why.into() })
}

/// The bytes that a dump stands for.
pub(crate) fn bytes(dump: &[u8]) -> Result<Vec<u8>, DumpError> {
    let Some(text) = as_text(dump) else { return Ok(dump.to_vec()) };
    let bytes = match text.split_once('{') {
        Some((before, array)) if is_declaration(before) => c_array(text, array)?,
        _ => rows(text)?,
    };
    if bytes.is_empty() {
        return error(0, 0, "there is no byte in it");
    }
    Ok(bytes)
}

/// The text, unless a byte in it is in no text: then it is raw data.
fn as_text(dump: &[u8]) -> Option<&str> {
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~') || *byte >= 0x80;
    std::str::from_utf8(dump).ok().filter(|text| text.bytes().all(|byte| is_text(&byte)))
}

/// Whether what stands before a brace begins a C array. A brace can stand in a text column too.
fn is_declaration(before: &str) -> bool {
    let before = before.trim();
    let first = before.split_whitespace().next().unwrap_or_default();
    before.is_empty() || before.ends_with('=') && !is_start(first)
}

/// `{ 0x00, 0x20, 8 }`: numbers of C between braces.
fn c_array(whole: &str, after_brace: &str) -> Result<Vec<u8>, DumpError> {
    let start = whole.len() - after_brace.len();
    let place = |at: usize| {
        let before = whole.get(..at).unwrap_or(whole);
        let line = before.matches('\n').count() + 1;
        (line, before.rsplit('\n').next().map_or(0, |row| row.chars().count()) + 1)
    };
    let Some(end) = after_brace.find('}') else {
        let (line, column) = place(start - 1);
        return error(line, column, "the brace is never closed");
    };
    let inside = after_brace.get(..end).unwrap_or(after_brace);
    let clean = without_comments(inside);
    let mut bytes = Vec::new();
    let mut at = start;
    for piece in clean.split(',') {
        let number = piece.trim();
        if !number.is_empty() {
            let digits = number.trim_end_matches(['u', 'U']);
            let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
                Some(hex) => u8::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            let lead = piece.len() - piece.trim_start().len();
            let (line, column) = place(at + lead);
            match value {
                Ok(value) => bytes.push(value),
                Err(_) => return error(line, column, format!("{number:?} is no byte")),
            }
        }
        at += piece.len() + 1;
    }
    Ok(bytes)
}

/// The text with C comments as blanks: places stay what they are.
fn without_comments(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("/*").into_iter().chain(rest.find("//")).min() {
        let (before, comment) = rest.split_at(start);
        let end = if comment.starts_with("/*") {
            comment.find("*/").map_or(comment.len(), |end| end + 2)
        } else {
            comment.find('\n').unwrap_or(comment.len())
        };
        let (comment, after) = comment.split_at(end);
        clean.push_str(before);
        clean.extend(comment.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// Rows of hex.
fn rows(text: &str) -> Result<Vec<u8>, DumpError> {
    let mut bytes = Vec::new();
    for (index, row) in text.lines().enumerate() {
        let line = index + 1;
        let row = row.split('#').next().unwrap_or(row);
        let mut words = Words::new(row);
        let Some(first) = words.next() else { continue };
        if bytes.is_empty() && !is_start(first.text) {
            continue; // A heading.
        }
        if first.text == "*" {
            return error(
                line,
                first.column,
                "`*` leaves out rows that repeat; dump them all (-v)",
            );
        }
        match offset(&first, words.peek(), bytes.len()) {
            Offset::None => plain_row(row, line, &mut bytes)?,
            Offset::Fits => columned_row(words, line, &mut bytes)?,
            Offset::End => {}
            Offset::Wrong(claimed) => {
                let have = bytes.len();
                let why = format!(
                    "offset {claimed:X}h, but {have:X}h bytes came before: is a line missing?"
                );
                return error(line, first.column, why);
            }
        }
    }
    Ok(bytes)
}

/// Whether data can begin with this word: hex digits, with what may stand around them.
fn is_start(word: &str) -> bool {
    let digits = word.trim_end_matches([':', ',']);
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    !digits.is_empty() && digits.split(',').all(|part| is_hex(part.trim_start_matches("0x")))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

enum Offset {
    None,
    Fits,
    /// An offset alone: the end of a `hexdump -C`.
    End,
    Wrong(usize),
}

/// Whether the first word of a row is its offset: it ends with a colon, or it is the number of
/// bytes so far and stands apart from the data.
fn offset(first: &Word<'_>, second: Option<&Word<'_>>, have: usize) -> Offset {
    let digits = first.text.trim_end_matches(':');
    let value = usize::from_str_radix(digits, 16).ok().filter(|_| is_hex(digits));
    if first.text.ends_with(':') {
        return match value {
            Some(value) if value == have => Offset::Fits,
            Some(value) => Offset::Wrong(value),
            None => Offset::None,
        };
    }
    let Some(second) = second else {
        let is_end = digits.len() >= 4 && value == Some(have) && have > 0;
        return if is_end { Offset::End } else { Offset::None };
    };
    let pairs = second.text.len() == 2 && is_hex(second.text);
    let apart = match digits.len() {
        2 | 3 => second.gap >= 3,
        4..=8 => second.gap >= 2,
        _ => false,
    };
    match value {
        Some(value) if apart && pairs && value == have => Offset::Fits,
        // Wider than a byte and apart from pairs of digits: nothing but an offset looks so.
        Some(value) if apart && pairs && digits.len() != 2 => Offset::Wrong(value),
        _ => Offset::None,
    }
}

/// A row with an offset: up to sixteen bytes, then perhaps a column of text.
fn columned_row(words: Words<'_>, line: usize, bytes: &mut Vec<u8>) -> Result<(), DumpError> {
    const ROW: usize = 16;
    let start = bytes.len();
    for word in words {
        let seen = bytes.len() - start;
        if seen >= ROW || seen > 0 && word.gap >= 3 || word.text.starts_with('|') {
            break;
        }
        push(&word, line, bytes)?;
    }
    if bytes.len() - start > ROW {
        return error(line, 1, "more than sixteen bytes behind an offset");
    }
    Ok(())
}

/// A row of nothing but bytes, with blanks or commas between them.
fn plain_row(row: &str, line: usize, bytes: &mut Vec<u8>) -> Result<(), DumpError> {
    let clean = row.replace(',', " ");
    for word in Words::new(&clean) {
        push(&word, line, bytes)?;
    }
    Ok(())
}

/// The bytes of one word: pairs of digits, or a single digit.
fn push(word: &Word<'_>, line: usize, bytes: &mut Vec<u8>) -> Result<(), DumpError> {
    let digits = word.text.strip_prefix("0x").unwrap_or(word.text);
    if !is_hex(digits) {
        return error(line, word.column, format!("{:?} is not hex", word.text));
    }
    if digits.len() == 1 {
        bytes.extend(u8::from_str_radix(digits, 16));
        return Ok(());
    }
    if !digits.len().is_multiple_of(2) {
        let why = format!("{:?} has an odd number of hex digits", word.text);
        return error(line, word.column, why);
    }
    for pair in digits.as_bytes().chunks(2) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        bytes.extend(u8::from_str_radix(pair, 16));
    }
    Ok(())
}

/// A word of a row, with its place and the blanks before it.
struct Word<'a> {
    text: &'a str,
    column: usize,
    gap: usize,
}

/// The words of a row.
struct Words<'a> {
    rest: &'a str,
    column: usize,
    next: Option<Word<'a>>,
}

impl<'a> Words<'a> {
    fn new(row: &'a str) -> Self {
        let mut words = Self { rest: row, column: 1, next: None };
        words.next = words.read();
        words
    }

    fn peek(&self) -> Option<&Word<'a>> {
        self.next.as_ref()
    }

    fn read(&mut self) -> Option<Word<'a>> {
        let trimmed = self.rest.trim_start();
        let gap = self.rest.chars().count() - trimmed.chars().count();
        let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
        let (text, rest) = trimmed.split_at(end);
        if text.is_empty() {
            return None;
        }
        let column = self.column + gap;
        self.rest = rest;
        self.column = column + text.chars().count();
        Some(Word { text, column, gap })
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let word = self.next.take()?;
        self.next = self.read();
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::wire::hex_dump;

    /// A report of two groups with one port each.
    const REPORT: [u8; 32] = [
        0x00, 0x00, 0x00, 0x1c, 0x10, 0x0a, 0x00, 0x00, 0x80, 0x8f, 0x00, 0x01, 0x00, 0x00, 0x00,
        0x01, 0x00, 0x00, 0x00, 0x01, 0x01, 0x8f, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
        0x00, 0x02,
    ];

    fn read(text: &str) -> Result<Vec<u8>, String> {
        bytes(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_of_dump_gives_the_same_bytes() {
        let sg3 = " 00     00 00 00 1c 10 0a 00 00  80 8f 00 01 00 00 00 01    ................\n \
                   10     00 00 00 01 01 8f 00 02  00 00 00 01 00 00 00 02    ................\n";
        let sg3_without_text = " 00     00 00 00 1c 10 0a 00 00  80 8f 00 01 00 00 00 01\n \
                                10     00 00 00 01 01 8f 00 02  00 00 00 01 00 00 00 02\n";
        let xxd = "00000000: 0000 001c 100a 0000 808f 0001 0000 0001  ................\n\
                   00000010: 0000 0001 018f 0002 0000 0001 0000 0002  ................\n";
        let hexdump = "00000000  00 00 00 1c 10 0a 00 00  80 8f 00 01 00 00 00 01  |................|\n\
                       00000010  00 00 00 01 01 8f 00 02  00 00 00 01 00 00 00 02  |................|\n\
                       00000020\n";
        let plain = "0000001c100a0000 808f000100000001\n00000001018f0002 0000000100000002\n";
        let spaced = "# from the array of the second floor\n\
                      00 00 00 1c 10 0a 00 00 80 8f 00 01 00 00 00 01\n\
                      0,0,0,1,1,8f,0,2,0,0,0,1 0 0 0 2\n";
        let c = "static const uint8_t report[32] = { /* header */\n\
                 0x00, 0x00, 0x00, 28, 0x10, 0x0a, 0, 0, // group 1, 2 ports\n\
                 0x80, 0x8f, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1,\n\
                 0x01, 0x8f, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2,\n};\n";
        let headed = format!("Report target port groups:\n{sg3}");
        for text in [sg3, sg3_without_text, xxd, hexdump, plain, spaced, c, &headed] {
            assert_eq!(read(text).as_deref(), Ok(&REPORT[..]), "{text}");
        }
        assert_eq!(read(&hex_dump(&REPORT)).as_deref(), Ok(&REPORT[..]));
        assert_eq!(bytes(&REPORT).as_deref(), Ok(&REPORT[..]), "raw");
    }

    #[test]
    fn a_text_column_of_hex_digits_is_not_data() {
        let text = " 00     64 65 61 64 20 62 65 65  66 20 31 32 20 33 34 20    dead beef 12 34 \n \
                    10     61 62                                               ab\n";
        assert_eq!(read(text).as_deref(), Ok(&b"dead beef 12 34 ab"[..]));
    }

    #[test]
    fn our_own_dump_of_any_bytes_reads_back() {
        let all: Vec<u8> = (0..=255).chain(b"  |ab cd 12 ".iter().copied()).collect();
        for length in 1..all.len() {
            let part = &all[all.len() - length..];
            assert_eq!(read(&hex_dump(part)).as_deref(), Ok(part), "{length}");
        }
    }

    #[test]
    fn what_is_no_dump_is_refused_with_the_place() {
        for (text, place) in [
            ("00 01 zz\n", "line 1, column 7: \"zz\" is not hex"),
            ("00 01\n02 123\n", "line 2, column 4: \"123\" has an odd number of hex digits"),
            ("0000  00 01\n0010  02\n", "line 2, column 1: offset 10h, but 2h bytes came before"),
            ("00000000  00 00\n*\n00000020\n", "line 2, column 1: `*` leaves out rows"),
            ("char a[] = { 0x00, 0x100 };", "line 1, column 20: \"0x100\" is no byte"),
            ("char a[] = { 0x00, ", "line 1, column 12: the brace is never closed"),
            ("nothing to see\n", "there is no byte in it"),
            ("", "there is no byte in it"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(place), "{text:?}: {error}");
        }
    }
}
