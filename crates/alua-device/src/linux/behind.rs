//! Whether a server that has died has left anything in this host.
//!
//! # The rule
//!
//! A server opens its disks exclusively, and each operation that the kernel has of it keeps the open
//! file: a write in io_uring as long as it is under way, wherever in the block or SCSI layer that is, and
//! an ioctl its thread. So nothing of a dead server is left on a disk that **can be opened exclusively**:
//! all of it has come back, and nobody sends it again. The disk's own count (`inflight`) would not do: a
//! request that the SCSI layer keeps to send again is not in it (linux block/blk-mq.c,
//! `blk_mq_check_inflight`).
//!
//! The kernel looks at the claim before it looks at the disk (linux block/bdev.c,
//! `bd_prepare_to_claim`): a disk that is offline refuses the open too, but not as busy. A disk that
//! became a path of ours is proven by that.
//!
//! Of a disk that is reached by iSCSI nothing must be left in a socket either ([`super::iscsi`]); where
//! that is not to be known, a reset would prove nothing ([`Quiet::Unproven`]).
//!
//! All disks of the unit count, also those that are no path of ours, and that the device was not told to
//! use: to be open somewhere else, or to be offline, may be just what the dead server has left them in.
//!
//! A disk that is just being removed cannot be found any more while it still has commands; the mark of the
//! dead server names it ([`super::mark`]). Its directory goes when all of it has come back. What the iSCSI
//! connection of one that is gone, or goes elsewhere now, has left is found by the portals that the mark names
//! ([`super::leftover`]). Where the mark itself cannot be read in whole nothing is proven.
//!
//! # A thread of its own
//!
//! An open waits while the error handler of the disk's host is at work. The search ends when nothing is left,
//! or when nobody has asked for a while: requests go on after the bounded wait though something may be left.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use alua_host::hctl::Hctl;
use alua_host::sysfs::SysfsError;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::counters::inode_of_block;
use super::iscsi::{Left, Look, Session};
use super::join::Finder;
use super::leftover::{Leftover, Portal};
use super::mark::Opened;
use crate::inbox::Quiet;

/// How often the disks are looked at in the first moment,
const LOOK: Duration = Duration::from_millis(10);
const FIRST: Duration = Duration::from_secs(1);
/// after that,
const LOOK_LATER: Duration = Duration::from_millis(100);
/// and where nothing is known to be there: the end of the bounded wait is then what counts.
const LOOK_RARELY: Duration = Duration::from_secs(1);
/// Where nobody has asked for so long, nobody wants to know any more.
const LAPSE: Duration = Duration::from_secs(10);
/// After so long it is said what is waited for, and then so often.
const SAY: Duration = Duration::from_secs(2);
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// The block devices that this process has held, by inode number: nobody else has anything on them.
#[derive(Clone, Default, Debug)]
pub(super) struct Claims(Arc<Mutex<BTreeSet<u64>>>);

impl Claims {
    pub(super) fn add(&self, block: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(block);
    }

    fn has(&self, block: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&block)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Behind {
    found: Arc<Mutex<Found>>,
    /// When it is said next what is waited for; it is not before the first question.
    say: Option<Instant>,
}

/// What a search has found so far.
#[derive(Debug)]
struct Found {
    quiet: Quiet,
    /// The disks that are waited for.
    disks: Vec<String>,
    sockets: Vec<String>,
    /// When somebody wanted to know last.
    asked: Instant,
    /// The search, where no thread is at it.
    idle: Option<Search>,
}

impl Behind {
    /// `opened` are the disks of the dead server. Where it has left more than can be read, `doubt`, nothing is
    /// proven.
    pub(super) fn new(finder: Finder, claims: Claims, opened: Vec<Opened>, doubt: bool) -> Self {
        let found = Found {
            quiet: Quiet::No,
            disks: Vec::new(),
            sockets: Vec::new(),
            asked: Instant::now(),
            idle: Some(Search { finder, claims, opened, doubt, open: None, begun: None }),
        };
        Self { found: Arc::new(Mutex::new(found)), say: None }
    }

    /// Whether anything is left; the first question begins the search.
    pub(super) fn quiet(&mut self) -> Quiet {
        let now = Instant::now();
        let mut found = locked(&self.found);
        found.asked = now;
        let say = *self.say.get_or_insert(now + SAY);
        if found.idle.is_some() {
            let to = Arc::downgrade(&self.found);
            // Where there is no thread to be had, it is tried again.
            let _ = thread::Builder::new().name("behind".to_owned()).spawn(move || search(&to));
        }
        if found.quiet != Quiet::Yes && say <= now {
            self.say = Some(now + SAY_AGAIN);
            tracing::warn!(
                disks = found.disks.join(" "),
                sockets = found.sockets.join(", "),
                "requests wait: an earlier server may have writes under way there, or another program \
                 holds these disks or sockets, or what their iSCSI connection has left cannot be known"
            );
        }
        found.quiet
    }
}

/// A disk on which something may be left.
#[derive(Debug)]
struct Suspect {
    label: String,
    node: PathBuf,
    /// Of the device itself, not of whatever has its address.
    directory: PathBuf,
    block: u64,
    left: Option<Left>,
    /// By what the dead server has told of it.
    leftover: Option<Leftover>,
}

/// Whether a device is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    There,
    /// It is being removed.
    Going,
    /// It was removed; another one may have its address, and its name.
    Gone,
}

impl Suspect {
    /// `None` for one that has gone meanwhile.
    fn new(finder: &Finder, hctl: Hctl, label: String) -> Option<Self> {
        let address = finder.directory(hctl);
        let session = Session::of(finder.sys(), &address, &label);
        let directory = fs::canonicalize(address).ok()?;
        let block = inode_of_block(&directory, &label)?;
        let left = session.map(|session| Arc::new(session).left());
        let node = finder.node(&label);
        Some(Self { node, directory, block, left, leftover: None, label })
    }

    /// One that the dead server had.
    fn of(finder: &Finder, disk: &Opened) -> Self {
        let Opened { block, label, directory, .. } = disk.clone();
        let node = finder.node(&label);
        Self { node, directory, block, left: None, leftover: None, label }
    }

    /// All on which something may be left.
    fn all(finder: &Finder, opened: &[Opened]) -> Result<Vec<Self>, SysfsError> {
        let there = |(hctl, label)| Self::new(finder, hctl, label);
        let mut all: Vec<Self> = finder.disks()?.into_iter().filter_map(there).collect();
        for disk in opened {
            let at = all.iter().position(|it| it.block == disk.block).unwrap_or_else(|| {
                all.push(Self::of(finder, disk));
                all.len() - 1
            });
            if let Some(suspect) = all.get_mut(at) {
                // Where the dead server did not know, the session that is still there tells enough, unless a
                // login may have led it elsewhere before.
                let enough = suspect.left.as_ref().is_some_and(Left::goes_where_it_began);
                let told = |portal: &Portal| !enough || *portal != Portal::Unknown;
                let portals = disk.portals.iter().copied().filter(told).collect();
                let (sys, label) = (finder.sys().to_owned(), disk.label.clone());
                suspect.leftover = Some(Leftover::new(sys, label, portals));
            }
        }
        Ok(all)
    }

    fn presence(&self) -> Presence {
        match inode_of_block(&self.directory, &self.label) {
            Some(block) if block == self.block => Presence::There,
            Some(_) => Presence::Gone,
            None if is_gone(&self.directory) => Presence::Gone,
            None => Presence::Going,
        }
    }

    fn is_free(&self, claims: &Claims) -> bool {
        // Its node is that of another disk where it is gone. That must be so before and after the open.
        let free = match self.presence() {
            Presence::There => claims.has(self.block) || is_free(&self.node, &self.directory),
            Presence::Going => return false,
            Presence::Gone => return true,
        };
        match self.presence() {
            Presence::There => free,
            Presence::Going => false,
            Presence::Gone => true,
        }
    }

    /// What is known before the sockets are looked at: whether it is free, and then whether the connection of its
    /// session is up.
    fn before(&self, claims: &Claims) -> Option<bool> {
        self.is_free(claims).then(|| self.left.as_ref().is_some_and(Left::is_up))
    }

    /// By what is known of it from before the look.
    fn quiet(&mut self, before: Option<bool>, look: &mut Look) -> Quiet {
        let Some(up) = before else {
            self.left.as_ref().inspect(|left| left.hurry_in(look));
            return Quiet::No;
        };
        let by_session = match &self.left {
            Some(left) if left.is_nothing_in(up, look) => Quiet::Yes,
            Some(left) if left.is_unknown() => Quiet::Unproven,
            Some(_) => Quiet::No,
            None => Quiet::Yes,
        };
        let now = Instant::now();
        let leftover = self.leftover.as_mut();
        by_session.min(leftover.map_or(Quiet::Yes, |leftover| leftover.quiet(look, now)))
    }
}

/// The search itself.
#[derive(Debug)]
struct Search {
    finder: Finder,
    claims: Claims,
    opened: Vec<Opened>,
    doubt: bool,
    /// What is still to be looked at; nothing before the first look.
    open: Option<Vec<Suspect>>,
    begun: Option<Instant>,
}

impl Search {
    /// Looks once. What it finds, and the sockets that are waited for.
    fn look(&mut self) -> (Quiet, Vec<String>) {
        if self.open.is_none() {
            match Suspect::all(&self.finder, &self.opened) {
                Ok(all) => self.open = Some(all),
                Err(error) => tracing::debug!(%error, "the disks cannot be looked at"),
            }
        }
        let Some(open) = &mut self.open else { return (Quiet::No, Vec::new()) };
        let mut quiet = if self.doubt { Quiet::Unproven } else { Quiet::Yes };
        // All of them before the first socket: what is found in one look counts for all.
        let mut before: Vec<_> = open.iter().map(|disk| disk.before(&self.claims)).collect();
        let mut before = before.drain(..);
        let mut look = Look::default();
        open.retain_mut(|disk| {
            let of_disk = disk.quiet(before.next().flatten(), &mut look);
            quiet = quiet.min(of_disk);
            of_disk != Quiet::Yes
        });
        (quiet, look.waits())
    }

    /// Whether another look would find the same.
    fn is_over(&self) -> bool {
        self.open.as_ref().is_some_and(Vec::is_empty)
    }
}

/// How long after a look the next one is, where it found that so long after the first one.
fn pause(quiet: Quiet, since_first: Duration) -> Duration {
    match quiet {
        _ if since_first < FIRST => LOOK,
        Quiet::Unproven => LOOK_RARELY,
        Quiet::No | Quiet::Yes => LOOK_LATER,
    }
}

/// Searches until nothing is left, or nobody wants to know.
fn search(to: &Weak<Mutex<Found>>) {
    let idle = to.upgrade().and_then(|to| locked(&to).idle.take());
    let Some(mut search) = idle else { return };
    let begun = *search.begun.get_or_insert_with(Instant::now);
    loop {
        let (quiet, sockets) = search.look();
        let Some(to) = to.upgrade() else { return };
        {
            let mut found = locked(&to);
            let disks = search.open.iter().flatten().map(|disk| disk.label.clone()).collect();
            (found.quiet, found.disks, found.sockets) = (quiet, disks, sockets);
            if search.is_over() {
                return;
            }
            if found.asked.elapsed() > LAPSE {
                // It goes on from there should somebody ask after all.
                found.idle = Some(search);
                return;
            }
        }
        drop(to);
        thread::sleep(pause(quiet, begun.elapsed()));
    }
}

fn locked(found: &Mutex<Found>) -> MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device's directory goes at the end of its removal, after its driver has let it go (linux
/// drivers/base/core.c, `device_del`); its files go before.
fn is_gone(directory: &Path) -> bool {
    fs::metadata(directory).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether nobody has the disk open exclusively; `directory` is the device's own in sysfs. What cannot be
/// known is not so.
///
/// The kernel takes the claim before it has the disk opened, which is refused where that is offline. But
/// a disk that is just being removed cannot be opened whoever has it, until all of it has come back; then
/// its directory goes.
pub(super) fn is_free(node: &Path, directory: &Path) -> bool {
    let state = || fs::read_to_string(directory.join("state"));
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(node, flags, Mode::empty()) {
        Ok(_) => true,
        Err(Errno::NXIO | Errno::NODEV) => match state() {
            Ok(state) => ["offline", "transport-offline"].contains(&state.trim()),
            Err(_) => is_gone(directory),
        },
        Err(_) => is_gone(directory),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use alua_host::sysfs::Sysfs;
    use rustix::fs::inotify;

    use super::super::sockets::tests::full;
    use super::*;

    #[test]
    fn what_cannot_be_known_of_a_disk_is_not_that_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, directory) = (folder.path().join("sdq"), folder.path().join("1:0:0:0"));
        assert!(is_free(&disk, &directory), "it is gone");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("state"), "running\n").unwrap();
        assert!(!is_free(&disk, &directory), "it has no node here");
        fs::write(&disk, "").unwrap();
        assert!(is_free(&disk, &directory));
        // A socket cannot be opened: ENXIO.
        fs::remove_file(&disk).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(&disk).unwrap();
        for (state, free) in
            [("running", false), ("offline", true), ("transport-offline", true), ("cancel", false)]
        {
            fs::write(directory.join("state"), format!("{state}\n")).unwrap();
            assert_eq!(is_free(&disk, &directory), free, "{state}");
        }
        fs::remove_file(directory.join("state")).unwrap();
        assert!(!is_free(&disk, &directory), "it is being removed");
        fs::remove_dir_all(&directory).unwrap();
        assert!(is_free(&disk, &directory));
    }

    /// The kernel has commands of it until its directory goes.
    #[test]
    fn a_disk_that_is_being_removed_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("1:0:0:0");
        fs::create_dir_all(directory.join("block/sdq")).unwrap();
        fs::write(directory.join("state"), "running\n").unwrap();
        let node = folder.path().join("sdq");
        fs::write(&node, "").unwrap();
        let block = inode_of_block(&directory, "sdq").unwrap();
        let suspect = |block| {
            let (label, node, directory) = ("sdq".to_owned(), node.clone(), directory.clone());
            Suspect { label, node, directory, block, left: None, leftover: None }
        };
        let quiet = |block| {
            let mut suspect = suspect(block);
            let before = suspect.before(&Claims::default());
            suspect.quiet(before, &mut Look::default())
        };
        assert_eq!(quiet(block), Quiet::Yes);
        fs::remove_file(&node).unwrap();
        assert_eq!(quiet(block), Quiet::No, "it cannot be opened");
        assert_eq!(quiet(block + 1), Quiet::Yes, "another one has its address");
        fs::write(&node, "").unwrap();
        fs::remove_dir_all(directory.join("block")).unwrap();
        assert_eq!(quiet(block), Quiet::No, "it is being removed");
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(quiet(block), Quiet::Yes);
    }

    fn finder(folder: &Path) -> Finder {
        Finder {
            sysfs: Sysfs::at(folder, folder),
            sys: folder.to_owned(),
            name: None,
            only: Vec::new(),
            found: Vec::new(),
        }
    }

    /// For a disk of a dead server that is gone.
    fn behind_one_gone(folder: &Path, portals: &[Portal], doubt: bool) -> Behind {
        fs::create_dir_all(folder.join("bus/scsi/devices")).unwrap();
        let gone = Opened {
            block: 7,
            label: "sdq".to_owned(),
            directory: folder.join("1:0:0:0"),
            portals: portals.to_vec(),
        };
        Behind::new(finder(folder), Claims::default(), vec![gone], doubt)
    }

    /// What the search comes to there.
    fn searched(portals: &[Portal], doubt: bool) -> Quiet {
        let folder = tempfile::tempdir().unwrap();
        let mut behind = behind_one_gone(folder.path(), portals, doubt);
        let begin = Instant::now();
        loop {
            let quiet = behind.quiet();
            if quiet != Quiet::No || begin.elapsed() > Duration::from_millis(500) {
                return quiet;
            }
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn of_a_disk_that_is_gone_nothing_must_be_left_in_a_socket() {
        let (peer, _socket) = full("127.0.0.1:0");
        let portal = Portal::At(peer.local_addr().unwrap());
        assert_eq!(searched(&[portal], false), Quiet::No);
        assert_eq!(searched(&[], false), Quiet::Yes, "an older mark does not tell where it went");
        assert_eq!(searched(&[Portal::Unknown], false), Quiet::Unproven);
        let other =
            SocketAddr::new("127.0.0.9".parse().unwrap(), peer.local_addr().unwrap().port());
        assert_eq!(searched(&[Portal::At(other)], false), Quiet::Yes);
        // What is not known may be anything.
        assert_eq!(searched(&[], true), Quiet::Unproven);
        assert_eq!(searched(&[portal], true), Quiet::No);
    }

    /// A login may have led it elsewhere, where the dead server did not see it.
    #[test]
    fn what_was_not_known_counts_unless_the_session_goes_where_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path();
        let directory = sys.join("devices/platform/host2/session7/target2:0:0/2:0:0:1");
        fs::create_dir_all(directory.join("block/sdq")).unwrap();
        fs::write(directory.join("type"), "0\n").unwrap();
        fs::create_dir_all(sys.join("bus/scsi/devices")).unwrap();
        std::os::unix::fs::symlink(&directory, sys.join("bus/scsi/devices/2:0:0:1")).unwrap();
        let idle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let portal = idle.local_addr().unwrap();
        let connection = sys.join("class/iscsi_connection/connection7:0");
        fs::create_dir_all(&connection).unwrap();
        let write = |name: &str, text: String| fs::write(connection.join(name), text).unwrap();
        for (address, port) in [("address", "port"), ("persistent_address", "persistent_port")] {
            write(address, format!("{}\n", portal.ip()));
            write(port, format!("{}\n", portal.port()));
        }
        let mut finder = finder(sys);
        finder.found = vec!["2:0:0:1".parse().unwrap()];
        let opened = Opened {
            block: inode_of_block(&directory, "sdq").unwrap(),
            label: "sdq".to_owned(),
            directory: directory.clone(),
            portals: vec![Portal::Unknown],
        };
        let quiet = || {
            let mut all = Suspect::all(&finder, std::slice::from_ref(&opened)).unwrap();
            let [suspect] = &mut all[..] else { panic!("{all:?}") };
            suspect.quiet(Some(true), &mut Look::default())
        };
        assert_eq!(quiet(), Quiet::Yes);
        write("persistent_address", "10.0.0.1\n".to_owned());
        assert_eq!(quiet(), Quiet::Unproven);
    }

    #[test]
    fn what_lasts_is_looked_at_less_often() {
        for (quiet, after, expected) in [
            (Quiet::No, 0, 10),
            (Quiet::Unproven, 999, 10),
            (Quiet::No, 1_000, 100),
            (Quiet::No, 3_600_000, 100),
            (Quiet::Unproven, 1_000, 1_000),
        ] {
            let found = pause(quiet, Duration::from_millis(after));
            assert_eq!(found, Duration::from_millis(expected), "{quiet:?} {after}");
        }
    }

    /// The bounded wait may be over long before the search is.
    #[test]
    fn who_asks_no_more_is_searched_for_no_more_and_may_ask_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut behind = behind_one_gone(folder.path(), &[Portal::Unknown], false);
        let rests = |behind: &Behind| locked(&behind.found).idle.is_some();
        let begin = Instant::now();
        let until = |done: &mut dyn FnMut() -> bool| {
            while !done() {
                assert!(begin.elapsed() < Duration::from_secs(20));
                thread::sleep(LOOK);
            }
        };
        until(&mut || behind.quiet() == Quiet::Unproven);
        assert!(!rests(&behind), "a thread is at it");
        locked(&behind.found).asked -= LAPSE + LOOK;
        until(&mut || rests(&behind));
        assert_eq!(behind.quiet(), Quiet::Unproven, "as it was");
        until(&mut || !rests(&behind));
        let found = Arc::downgrade(&behind.found);
        drop(behind);
        until(&mut || found.strong_count() == 0);
    }

    /// An open for us alone is an offence to others.
    #[test]
    fn a_disk_that_has_but_the_name_of_one_that_is_gone_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (node, directory) = (folder.path().join("sdq"), folder.path().join("1:0:0:0"));
        fs::write(&node, []).unwrap();
        fs::create_dir_all(directory.join("block/sdq")).unwrap();
        let block = inode_of_block(&directory, "sdq").unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, &node, inotify::WatchFlags::OPEN).unwrap();
        let opened = || rustix::io::read(&watch, &mut [0; 256]).is_ok();
        let free = |block| {
            let (label, node, directory) = ("sdq".to_owned(), node.clone(), directory.clone());
            let suspect = Suspect { label, node, directory, block, left: None, leftover: None };
            suspect.is_free(&Claims::default())
        };
        assert!(free(block) && opened());
        assert!(free(block + 1) && !opened(), "another one has its name");
        fs::remove_dir(directory.join("block/sdq")).unwrap();
        assert!(!free(block) && !opened(), "it is being removed");
        fs::remove_dir_all(&directory).unwrap();
        assert!(free(block) && !opened());
    }
}
