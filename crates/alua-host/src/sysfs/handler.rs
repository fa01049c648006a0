//! What the device handler `scsi_dh_alua_rs` tells of its paths in debugfs
//! (`kernel/debug/alua/units`, readable for root): what it does with I/O, and why.
//!
//! One line for each unit, group and path, in words of the form `name=value`; the last word of a
//! line, `why="..."`, is for people. Lines and words that this program does not know are passed over.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::hctl::Hctl;

/// What the device handler does with the I/O of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandlerView {
    /// `pass`, `hold` or `refuse`.
    pub gate: String,
    /// What the access state rests on, in the handler's words.
    pub why: String,
}

/// The views of all paths; none where the handler is not loaded, or may not be asked.
pub(super) fn read(sysfs: &Path) -> BTreeMap<Hctl, HandlerView> {
    let file = sysfs.join("kernel/debug/alua/units");
    let Ok(bytes) = fs::read(file) else { return BTreeMap::new() };
    String::from_utf8_lossy(&bytes).lines().filter_map(path).collect()
}

/// A line about a path.
fn path(line: &str) -> Option<(Hctl, HandlerView)> {
    let words = line.trim().strip_prefix("path ")?;
    let (words, why) = words.split_once(" why=\"")?;
    let word =
        |name: &str| words.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let why = why.trim_end_matches('"').chars().filter(|c| !c.is_control()).collect();
    Some((word("device")?.parse().ok()?, HandlerView { gate: word("gate")?.to_owned(), why }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "  path device=2:0:1:0 group=1 port=3 state=standby gate=refuse \
                        identity=verified transport=answered why=\"2:0:1:0 answered sense 2h 04/0B\"";

    #[test]
    fn a_line_about_a_path_is_understood() {
        let (hctl, view) = path(LINE).unwrap();
        assert_eq!(hctl.to_string(), "2:0:1:0");
        assert_eq!(view.gate, "refuse");
        assert_eq!(view.why, "2:0:1:0 answered sense 2h 04/0B");
    }

    #[test]
    fn other_lines_are_passed_over() {
        let unit = "unit name=naa.6001 tpgs=both busy=0 why=\"\"";
        for line in [unit, "  group id=1 state=standby why=\"x\"", "", "path", &LINE[..40]] {
            assert_eq!(path(line), None, "{line}");
        }
    }
}
