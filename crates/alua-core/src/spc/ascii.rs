//! Text fields that a target fills.

use core::fmt::{self, Write};

/// A left-aligned text field of a target (vendor, product, serial number), safe to show: trailing
/// spaces and NULs are cut, every byte that is not printable ASCII shows as `.`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ascii<'a>(
    /// The field as sent.
    pub &'a [u8],
);

impl<'a> Ascii<'a> {
    /// The field without trailing spaces and NULs.
    #[must_use]
    pub fn trimmed(self) -> &'a [u8] {
        let mut text = self.0;
        while let Some((b' ' | 0, rest)) = text.split_last() {
            text = rest;
        }
        text
    }
}

impl fmt::Display for Ascii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.trimmed() {
            f.write_char(if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' })?;
        }
        Ok(())
    }
}

/// `text` as a field of `N` bytes: left-aligned, filled with spaces, cut where it is too long.
pub(crate) fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    field
}
