//! Reading one attribute of sysfs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// No attribute that is read here is longer; a page 83h of the kernel's copy is at most 64 KiB.
const LIMIT: u64 = 64 * 1024 + 4;

/// The bytes of a binary attribute; `None` when it is not there, cannot be read, or is empty.
pub(super) fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

/// The text of an attribute without blanks around it; `None` as for [`bytes`]. What is not UTF-8 or
/// not printable is replaced: some of it is what a device sent.
pub(super) fn text(path: &Path) -> Option<String> {
    let bytes = bytes(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let shown: String = text
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect();
    (!shown.is_empty()).then_some(shown)
}

/// A decimal number.
pub(super) fn number<N: std::str::FromStr>(path: &Path) -> Option<N> {
    text(path)?.parse().ok()
}

/// The names in a directory, sorted; none when it is not there.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The last component of where a link leads.
pub(super) fn link_name(link: &Path) -> Option<String> {
    Some(std::fs::canonicalize(link).ok()?.file_name()?.to_str()?.to_owned())
}
