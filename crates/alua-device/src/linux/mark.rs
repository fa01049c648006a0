//! What a server of a unit leaves to the next one, in a file that a reboot takes away.
//!
//! # What is in it
//!
//! - That the unit is **served**, from the start until a clean end: every request complete, so that no
//!   write of it can still land. Who starts and finds that, without a server that lives, inherits what
//!   the other left on its way ([`crate::inherited`]).
//! - The **disks** that it has opened, each by the inode number of its block device's directory, its name and
//!   its directory in sysfs. One that is just being removed is found nowhere else ([`super::behind`]).
//!   For one that is reached by iSCSI also the **portals** to which its connection has gone; what that has left in
//!   a socket is found by nothing else when the disk is gone ([`super::leftover`]). Older servers leave none.
//! - The disks that were set **offline** for a reset ([`super::disk::Disk::cut`]), each by the inode
//!   number of its block device's directory: nobody else would set them running again.
//!
//! # How
//!
//! The server holds a lock (flock(2)) on the file while it lives, and the kernel gives it up when it
//! dies. The text is written anew in one piece each time and has a last line, so that a death in the
//! middle is seen. The file stays: if it was removed, a lock could be held on one that nobody finds.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::leftover::Portal;
use crate::file_name;

const SERVED: &str = "served";
const OFFLINE: &str = "offline ";
const DISK: &str = "disk ";
const PORTAL: &str = "portal ";
const END: &str = "end";

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Mark(Mutex<Text>);

/// A disk that a server has opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Opened {
    /// See [`super::counters::inode_of_block`].
    pub(super) block: u64,
    pub(super) label: String,
    /// Of the device itself in sysfs, without links.
    pub(super) directory: PathBuf,
    /// Where its iSCSI connections have gone; none where it is reached otherwise.
    pub(super) portals: Vec<Portal>,
}

impl Opened {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(DISK)?.splitn(3, ' ');
        let block = words.next()?.parse().ok()?;
        let label = words.next()?.to_owned();
        let directory = PathBuf::from(words.next()?);
        Some(Self { block, label, directory, portals: Vec::new() })
    }

    fn parse_all<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for line in lines {
            all.extend(Self::parse(line));
            let portal = line.strip_prefix(PORTAL).and_then(|rest| rest.split_once(' '));
            let Some((block, portal)) = portal else { continue };
            // It stands behind its disk.
            let disk = all.iter_mut().rfind(|disk| disk.block.to_string() == block);
            if let Some(disk) = disk {
                disk.note(Portal::parse(portal));
            }
        }
        all
    }

    fn note(&mut self, portal: Portal) {
        if !self.portals.contains(&portal) {
            self.portals.push(portal);
        }
    }

    /// Whether it is the same disk.
    fn is(&self, other: &Self) -> bool {
        (self.block, &self.label, &self.directory) == (other.block, &other.label, &other.directory)
    }

    /// Whether it tells nothing that the other does not.
    fn says_no_more_than(&self, other: &Self) -> bool {
        self.is(other) && self.portals.iter().all(|portal| other.portals.contains(portal))
    }
}

#[derive(Debug)]
struct Text {
    file: File,
    served: bool,
    opened: Vec<Opened>,
    /// By an earlier server that has not ended cleanly, and by those before it.
    opened_before: Vec<Opened>,
    /// Set offline by us, or by an earlier server.
    offline: Vec<u64>,
    /// By an earlier server.
    left: Vec<u64>,
}

/// Why there is no mark.
#[derive(Debug, thiserror::Error)]
pub(super) enum MarkError {
    /// A server of the unit lives, or one that was killed waits for the kernel to let it go.
    #[error("another server of the unit runs")]
    Taken,
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A server that has just been told to go is waited for so often, and so long each time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

impl Mark {
    /// Marks the unit as served; whether an earlier server has not ended cleanly.
    pub(super) fn take(folder: &Path, unit: &str) -> Result<(Self, bool), MarkError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(folder.join(file_name(unit) + ".mark"))?;
        lock(&file)?;
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let lines = || text.lines().take_while(|line| *line != END);
        // One without its end was being written when the server died.
        let unclean = read.is_err()
            || lines().any(|line| line == SERVED)
            || !(text.is_empty() || text.lines().any(|line| line == END));
        let number = |line: &str| line.strip_prefix(OFFLINE)?.parse().ok();
        let left: Vec<u64> = lines().filter_map(number).collect();
        let before = Opened::parse_all(lines().filter(|_| unclean));
        let mark = Self(Mutex::new(Text {
            file,
            served: true,
            opened: Vec::new(),
            opened_before: before,
            offline: left.clone(),
            left,
        }));
        mark.with(|_| {});
        Ok((mark, unclean))
    }

    fn with(&self, change: impl FnOnce(&mut Text)) {
        let mut text = self.text();
        change(&mut text);
        if let Err(error) = text.write() {
            tracing::warn!(%error, "what the next server has to know cannot be written down");
        }
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk was opened, or its connection goes to another place now.
    pub(super) fn note_opened(&self, disk: Opened) {
        if self.text().opened.iter().any(|known| disk.says_no_more_than(known)) {
            return;
        }
        self.with(|text| {
            let Text { opened, opened_before, .. } = text;
            // What was told of it before, by an earlier server too, is still so.
            let before = opened_before.extract_if(.., |it| it.is(&disk));
            let mut all: Vec<Opened> =
                before.chain(opened.extract_if(.., |it| it.is(&disk))).collect();
            all.push(disk);
            opened.extend(all.into_iter().reduce(|mut known, more| {
                more.portals.into_iter().for_each(|portal| known.note(portal));
                known
            }));
        });
    }

    /// The disks of earlier servers, the last of which has not ended cleanly.
    pub(super) fn opened_before(&self) -> Vec<Opened> {
        self.text().opened_before.clone()
    }

    /// A disk is about to be set offline.
    pub(super) fn note_offline(&self, block: u64) {
        if !self.text().offline.contains(&block) {
            self.with(|text| text.offline.push(block));
        }
    }

    /// It is running, or nothing of ours any more.
    pub(super) fn forget_offline(&self, block: u64) {
        self.with(|text| {
            text.offline.retain(|it| *it != block);
            text.left.retain(|it| *it != block);
        });
    }

    /// Whether an earlier server has set it offline.
    pub(super) fn is_left_offline(&self, block: u64) -> bool {
        self.text().left.contains(&block)
    }

    /// The end is clean.
    pub(super) fn clear(&self) {
        self.with(|text| {
            text.served = false;
            text.opened.clear();
            text.opened_before.clear();
        });
    }

    #[cfg(test)]
    pub(super) fn offline(&self) -> Vec<u64> {
        self.text().offline.clone()
    }
}

fn lock(file: &File) -> Result<(), MarkError> {
    for tries in 0.. {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if tries < TRIES => thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => return Err(MarkError::Taken),
            Err(errno) => return Err(MarkError::System(errno.into())),
        }
    }
    Ok(())
}

impl Text {
    fn write(&self) -> io::Result<()> {
        let mut text = String::new();
        if self.served {
            text.push_str(SERVED);
            text.push('\n');
        }
        for disk in self.opened_before.iter().chain(&self.opened) {
            let Opened { block, label, directory, portals } = disk;
            text.push_str(&format!("{DISK}{block} {label} {}\n", directory.display()));
            for portal in portals {
                text.push_str(&format!("{PORTAL}{block} {portal}\n"));
            }
        }
        for block in &self.offline {
            text.push_str(&format!("{OFFLINE}{block}\n"));
        }
        text.push_str(END);
        text.push('\n');
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_end_cleanly_is_known_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Mark::take(&folder.path().join("alua"), "naa.6 1/2");
        let (mark, unclean) = take().unwrap();
        assert!(!unclean, "nobody was there before");
        assert!(matches!(take(), Err(MarkError::Taken)));
        drop(mark);
        let (mark, unclean) = take().unwrap();
        assert!(unclean);
        mark.clear();
        drop(mark);
        let (mark, unclean) = take().unwrap();
        assert!(!unclean);
        drop(mark);
        let (_, other) = Mark::take(&folder.path().join("alua"), "naa.7").unwrap();
        assert!(!other, "each unit has its own");
    }

    #[test]
    fn the_disks_that_were_set_offline_are_known_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Mark::take(folder.path(), "unit").unwrap().0;
        let mark = take();
        for block in [7, 8, 7, u64::MAX] {
            mark.note_offline(block);
        }
        mark.forget_offline(8);
        assert!(!mark.is_left_offline(7), "that was ourselves");
        mark.clear();
        drop(mark);
        let mark = take();
        assert!(mark.is_left_offline(7) && mark.is_left_offline(u64::MAX));
        assert!(!mark.is_left_offline(8));
        mark.forget_offline(7);
        assert!(!mark.is_left_offline(7));
        assert_eq!(mark.offline(), [u64::MAX]);
    }

    #[test]
    fn the_disks_of_one_that_died_are_known_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Mark::take(folder.path(), "unit").unwrap().0;
        let disk = |block| Opened {
            block,
            label: format!("sd{block}"),
            directory: PathBuf::from(format!("/sys/devices/a b/{block}:0:0:0")),
            portals: Vec::new(),
        };
        let mark = take();
        for block in [7, 8, 7] {
            mark.note_opened(disk(block));
        }
        assert_eq!(mark.opened_before(), []);
        drop(mark);
        let mark = take();
        mark.note_opened(disk(9));
        assert_eq!(mark.opened_before(), [disk(7), disk(8)]);
        drop(mark);
        let mark = take();
        assert_eq!(mark.opened_before(), [disk(7), disk(8), disk(9)]);
        mark.note_opened(disk(8));
        assert_eq!(mark.opened_before(), [disk(7), disk(9)]);
        mark.clear();
        drop(mark);
        assert_eq!(take().opened_before(), []);
    }

    #[test]
    fn the_portals_of_a_disk_are_known_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Mark::take(folder.path(), "unit").unwrap().0;
        let disk = |block, portals: &[&str]| Opened {
            block,
            label: "sdq".to_owned(),
            directory: PathBuf::from(format!("/sys/devices/{block}:0:0:0")),
            portals: portals.iter().map(|text| Portal::parse(text)).collect(),
        };
        let (one, other) = ("10.0.0.1:3260", "[fd00::1]:3260");
        let mark = take();
        mark.note_opened(disk(7, &[one]));
        mark.note_opened(disk(8, &[]));
        mark.note_opened(disk(7, &["unknown"]));
        mark.note_opened(disk(7, &[one]));
        drop(mark);
        let mark = take();
        let known = disk(7, &[one, "unknown"]);
        assert_eq!(mark.opened_before(), [disk(8, &[]), known]);
        // One that goes elsewhere now: the next one looks at both.
        mark.note_opened(disk(7, &[other]));
        assert_eq!(mark.opened_before(), [disk(8, &[])]);
        drop(mark);
        let both = disk(7, &[one, "unknown", other]);
        assert_eq!(take().opened_before(), [disk(8, &[]), both]);
        // A mark of before there were portals, and one with what is none.
        let file = folder.path().join("unit.mark");
        for (lines, portals) in [("", &[][..]), ("portal 7 x\nportal 9 y\nportal 7\n", &["x"])] {
            fs::write(&file, format!("served\ndisk 7 sdq /sys/devices/7:0:0:0\n{lines}end\n"))
                .unwrap();
            assert_eq!(take().opened_before(), [disk(7, portals)], "{lines}");
        }
    }

    #[test]
    fn a_text_without_its_end_is_of_one_who_died() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unit.mark");
        for (text, expected, left) in [
            ("", false, false),
            ("end\n", false, false),
            ("end\noffline 5\n", false, false),
            ("served\n", true, false),
            ("offline 5\nend\nx", false, true),
            ("offl", true, false),
            ("offline 5\n", true, true),
            ("\u{1}\u{2}\n", true, false),
        ] {
            fs::write(&file, text).unwrap();
            let (mark, unclean) = Mark::take(folder.path(), "unit").unwrap();
            assert_eq!((unclean, mark.is_left_offline(5)), (expected, left), "{text:?}");
        }
    }
}
