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
//!   a socket is found by nothing else when the disk is gone ([`super::leftover`]).
//! - The **network namespace** of the server, whose sockets it saw. In another one, portals say nothing: they
//!   count as not known. Older servers leave neither it nor portals: of them, that of a disk whose directory is
//!   a session's is not known. A newer one leaves no portal for such a disk where its adapter has no socket of
//!   the host.
//! - The disks that were set **offline** for a reset ([`super::disk::Disk::cut`]), each by the inode
//!   number of its block device's directory: nobody else would set them running again.
//!
//! # How
//!
//! The server holds a lock (flock(2)) on the file while it lives, and the kernel gives it up when it
//! dies. The file stays: if it was removed, a lock could be held on one that nobody finds. So the text is
//! written anew in its place, over an older one. A signal can end that between two pages, and what is there then
//! may look like a text with an end: the first line has the length of the text and a sum of it. Older servers
//! write none; of theirs only a missing last line is seen.
//!
//! What was not written in whole, or has a line that is not understood, is of a server that has died. What can
//! be read of it counts, and that there was more counts too: nothing is proven for the unit then
//! ([`Mark::is_in_doubt`]), nor for those who come later until one has ended cleanly.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::leftover::Portal;
use crate::file_name;

const SUM: &str = "sum ";
const SERVED: &str = "served";
/// Something was not understood, by this server or by one before it.
const DOUBT: &str = "doubt";
const NAMESPACE: &str = "net ";
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

    /// Whether it is reached by iSCSI, by its place in sysfs.
    fn is_of_session(&self) -> bool {
        let names = self.directory.components().filter_map(|part| part.as_os_str().to_str());
        names
            .filter_map(|name| name.strip_prefix("session"))
            .any(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
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

/// What an earlier server has left.
#[derive(PartialEq, Eq, Default, Debug)]
struct Before {
    /// It has not ended cleanly.
    unclean: bool,
    doubt: bool,
    opened: Vec<Opened>,
    offline: Vec<u64>,
}

impl Before {
    /// Of what stands in the file, for a server in that network namespace.
    fn parse(bytes: &[u8], namespace: Option<&str>) -> Self {
        let (text, whole) = checked(bytes);
        let text = String::from_utf8_lossy(text);
        let mut before = Self::default();
        let (mut served, mut odd, mut theirs) = (false, false, None);
        // What is not whole may have the end of an older text anywhere.
        for line in text.lines().filter(|line| whole || *line != END) {
            match line {
                END => break,
                SERVED => served = true,
                DOUBT => odd = true,
                _ => match (line.strip_prefix(NAMESPACE), line.strip_prefix(OFFLINE)) {
                    (Some(namespace), _) => theirs = Some(namespace),
                    (_, Some(block)) => match block.parse() {
                        Ok(block) => before.offline.push(block),
                        Err(_) => odd = true,
                    },
                    _ => odd |= before.disk_line(line).is_none(),
                },
            }
        }
        // One without its end was being written when the server died.
        let cut = !whole || !(text.is_empty() || text.lines().any(|line| line == END));
        before.unclean = served || cut;
        before.doubt = before.unclean && (odd || cut);
        // The portals of what is not whole may be of an older server.
        let same = whole && theirs.is_some() && theirs == namespace;
        for disk in &mut before.opened {
            let untold = theirs.is_none() && disk.is_of_session();
            if !same && (untold || !disk.portals.is_empty()) {
                disk.portals = vec![Portal::Unknown];
            }
        }
        if !before.unclean {
            before.opened.clear();
        }
        before
    }

    /// Of a disk, or of a portal, which stands behind its disk.
    fn disk_line(&mut self, line: &str) -> Option<()> {
        if let Some(rest) = line.strip_prefix(PORTAL) {
            let (block, portal) = rest.split_once(' ')?;
            let of = |disk: &&mut Opened| disk.block.to_string() == block;
            self.opened.iter_mut().rfind(of)?.note(Portal::parse(portal));
        } else {
            self.opened.push(Opened::parse(line)?);
        }
        Some(())
    }
}

/// The text behind its sum, and whether it is the one that was summed. Older servers have summed none.
fn checked(bytes: &[u8]) -> (&[u8], bool) {
    let Some(rest) = bytes.strip_prefix(SUM.as_bytes()) else { return (bytes, true) };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (head, text) = rest.split_at(end);
    let text = text.get(1..).unwrap_or_default();
    let length = || str::from_utf8(head).ok()?.split_once(' ')?.1.parse().ok();
    match length().and_then(|length| text.get(..length)) {
        // Behind it there may be the rest of a longer one.
        Some(whole) if head == summary(whole).as_bytes() => (whole, true),
        _ => (text, false),
    }
}

/// A sum of the text (64-bit FNV-1a) and its length.
fn summary(text: &[u8]) -> String {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x} {}", text.iter().fold(0xcbf2_9ce4_8422_2325, step), text.len())
}

/// The network namespace of this process; the kernel gives the number of one that is there to no other one.
fn own_namespace() -> Option<String> {
    let namespace = fs::metadata("/proc/self/ns/net").ok()?;
    Some(format!("{}:{}", namespace.dev(), namespace.ino()))
}

#[derive(Debug)]
struct Text {
    file: File,
    served: bool,
    doubt: bool,
    namespace: Option<String>,
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
        Self::take_in(folder, unit, own_namespace())
    }

    fn take_in(
        folder: &Path,
        unit: &str,
        namespace: Option<String>,
    ) -> Result<(Self, bool), MarkError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(folder.join(file_name(unit) + ".mark"))?;
        lock(&file)?;
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        let mut before = Before::parse(&bytes, namespace.as_deref());
        if read.is_err() {
            (before.unclean, before.doubt) = (true, true);
        }
        let Before { unclean, doubt, opened, offline } = before;
        if doubt {
            tracing::warn!(
                "what an earlier server of the unit has written down is damaged, or of a newer version: \
                 requests wait for the fence wait"
            );
        }
        let mark = Self(Mutex::new(Text {
            file,
            served: true,
            doubt,
            namespace,
            opened: Vec::new(),
            opened_before: opened,
            left: offline.clone(),
            offline,
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

    /// Whether an earlier server has left more than can be read.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.text().doubt
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
            text.doubt = false;
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
        if self.doubt {
            text.push_str(DOUBT);
            text.push('\n');
        }
        if let Some(namespace) = &self.namespace {
            text.push_str(&format!("{NAMESPACE}{namespace}\n"));
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
        let text = format!("{SUM}{}\n{text}", summary(text.as_bytes()));
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
    }

    fn portals(before: &Before) -> Vec<&[Portal]> {
        before.opened.iter().map(|disk| &disk.portals[..]).collect()
    }

    #[test]
    fn the_portals_of_another_network_namespace_are_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let take = |namespace: Option<&str>| {
            Mark::take_in(folder.path(), "unit", namespace.map(str::to_owned)).unwrap().0
        };
        let at = Portal::parse("10.0.0.1:3260");
        let disk = |block, portals: &[Portal]| Opened {
            block,
            label: "sdq".to_owned(),
            directory: PathBuf::from("/sys/devices/host2/session1/target2:0:0/2:0:0:0"),
            portals: portals.to_vec(),
        };
        for (ours, theirs, same) in [
            (Some("4:1"), Some("4:1"), true),
            (Some("4:2"), Some("4:1"), false),
            (None, Some("4:1"), false),
            (None, None, false),
        ] {
            let mark = take(theirs);
            mark.note_opened(disk(7, &[at]));
            drop(mark);
            let expected = disk(7, &[if same { at } else { Portal::Unknown }]);
            let mark = take(ours);
            assert_eq!(mark.opened_before(), std::slice::from_ref(&expected));
            // It is not known to those who come after this one either.
            drop(mark);
            let mark = take(theirs);
            assert_eq!(mark.opened_before(), [expected]);
            mark.clear();
        }
        // Who tells its namespace knows of portals: a disk without one has no socket of the host.
        let mark = take(Some("4:1"));
        mark.note_opened(disk(7, &[]));
        drop(mark);
        assert_eq!(take(Some("4:2")).opened_before(), [disk(7, &[])]);
        assert!(own_namespace().is_some());
    }

    #[test]
    fn what_an_older_server_does_not_tell_is_not_known() {
        for (directory, expected) in [
            ("/sys/devices/platform/host2/session12/target2:0:0/2:0:0:0", &[Portal::Unknown][..]),
            ("/sys/devices/pci0/host1/rport-1:0-2/target1:0:0/1:0:0:0", &[]),
            ("/sys/devices/session/sessions/sessionx/1:0:0:0", &[]),
        ] {
            let text = format!("served\ndisk 7 sdq {directory}\nend\n");
            let before = Before::parse(text.as_bytes(), Some("4:1"));
            assert_eq!(portals(&before), [expected], "{directory}");
            assert!(before.unclean && !before.doubt);
        }
        let text = b"served\ndisk 7 sdq /sys/devices/7:0:0:0\nportal 7 10.0.0.1:3260\nend\n";
        assert_eq!(portals(&Before::parse(text, None)), [&[Portal::Unknown][..]]);
    }

    /// A server of a newer version may have written it.
    #[test]
    fn a_line_that_is_not_understood_leaves_the_unit_in_doubt_until_a_clean_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unit.mark");
        let take = || Mark::take(folder.path(), "unit").unwrap();
        let disk = "disk 7 sdq /sys/devices/7:0:0:0\n";
        for (lines, odd) in [
            ("", false),
            ("offline 9\nnet 4:1\nportal 7 10.0.0.1:3260\nportal 7 x\n", false),
            ("portal 9 10.0.0.1:3260\n", true),
            ("portal 7\n", true),
            ("disk x sdr /sys/devices/8:0:0:0\n", true),
            ("disk 8 sdr\n", true),
            ("disk 8\n", true),
            ("offline x\n", true),
            ("dis\n", true),
            ("\n", true),
            ("served \n", true),
            ("doubt\n", true),
        ] {
            fs::write(&file, format!("served\n{disk}{lines}end\n")).unwrap();
            for _ in 0..2 {
                let (mark, unclean) = take();
                assert_eq!((unclean, mark.is_in_doubt()), (true, odd), "{lines:?}");
                assert_eq!(mark.opened_before().len(), 1, "{lines:?}");
            }
            take().0.clear();
            let (mark, unclean) = take();
            assert_eq!((unclean, mark.is_in_doubt()), (false, false), "{lines:?}");
            mark.clear();
            drop(mark);
            // Of one that has ended cleanly nothing is left.
            fs::write(&file, format!("{lines}end\n")).unwrap();
            let (mark, unclean) = take();
            assert_eq!((unclean, mark.is_in_doubt()), (false, false), "{lines:?}");
        }
    }

    /// A text is written over the one before, and a signal can end that anywhere.
    #[test]
    fn a_death_in_the_middle_of_a_text_is_seen_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unit.mark");
        let namespace = || Some("4:1".to_owned());
        let mut texts = Vec::new();
        let mark = Mark::take_in(folder.path(), "unit", namespace()).unwrap().0;
        for block in [7, 8, 9] {
            texts.push(fs::read(&file).unwrap());
            mark.note_opened(Opened {
                block,
                label: format!("sd{block}"),
                directory: PathBuf::from(format!("/sys/devices/{block}:0:0:0")),
                portals: vec![Portal::parse("10.0.0.1:3260")],
            });
            mark.note_offline(block);
        }
        texts.push(fs::read(&file).unwrap());
        // One of the same length.
        mark.forget_offline(7);
        mark.note_offline(6);
        texts.push(fs::read(&file).unwrap());
        mark.clear();
        texts.push(fs::read(&file).unwrap());
        let parse = |bytes: &[u8]| Before::parse(bytes, Some("4:1"));
        for (old, new) in texts.iter().flat_map(|old| texts.iter().map(move |new| (old, new))) {
            assert!(!parse(old).doubt && !parse(new).doubt);
            for written in 0..=new.len() {
                let rest = old.get(written..).unwrap_or_default();
                let mixed = [new.get(..written).unwrap(), rest].concat();
                let read = parse(&mixed);
                let is_one = read == parse(old) || read == parse(new);
                assert!(is_one || (read.unclean && read.doubt), "{written} {read:?}");
            }
        }
        // Whatever stands there, it is read.
        for text in
            ["sum ", "sum \n", "sum 0\nserved\nend\n", "sum 0 -1\n", "sum 0 99999999999\nend\n"]
        {
            let read = parse(text.as_bytes());
            assert!(read.unclean && read.doubt, "{text:?}");
        }
        assert_eq!(parse(&[&b"sum "[..], &[0xff; 40]].concat()).opened, []);
    }

    #[test]
    fn a_text_without_its_end_is_of_one_who_died() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unit.mark");
        for (text, expected, doubt, left) in [
            ("", false, false, false),
            ("end\n", false, false, false),
            ("end\noffline 5\n", false, false, false),
            ("served\n", true, true, false),
            ("offline 5\nend\nx", false, false, true),
            ("offl", true, true, false),
            ("offline 5\n", true, true, true),
            ("\u{1}\u{2}\n", true, true, false),
        ] {
            fs::write(&file, text).unwrap();
            let (mark, unclean) = Mark::take(folder.path(), "unit").unwrap();
            let found = (unclean, mark.is_in_doubt(), mark.is_left_offline(5));
            assert_eq!(found, (expected, doubt, left), "{text:?}");
        }
    }
}
