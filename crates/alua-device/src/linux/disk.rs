//! A SCSI disk that is a path: its open node, and what sysfs lets us do with it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alua_host::hctl::Hctl;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::counters::{Troubles, inode_of_block};
use super::iscsi::{Left, Session};
use super::mark::{Mark, Opened};
use super::ops::{discard, run_queues};
use crate::path::CutHold;

/// A disk. What a thread that may wait does with it is in [`super::worker`].
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) label: String,
    pub(super) file: Arc<OwnedFd>,
    /// Of the SCSI device in sysfs: by its descriptor, so that it is never that of another device that
    /// came to the same address.
    directory: PathBuf,
    /// Keeps that descriptor.
    #[expect(dead_code, reason = "it is used by its number")]
    held: Option<OwnedFd>,
    /// Addresses of memory must be multiples of this.
    pub(super) align: usize,
    pub(super) block_size: u32,
    cut: Mutex<Cut>,
    /// As counted last.
    troubles: Mutex<Option<Troubles>>,
    /// Where it is reached by iSCSI.
    session: Option<Arc<Session>>,
    /// Where it is noted that we have set it offline.
    mark: Option<Arc<Mark>>,
}

/// See [`Disk::cut`].
#[derive(Debug, Default)]
struct Cut {
    /// We have set the disk offline.
    ours: bool,
    /// As what that is noted.
    noted: Option<u64>,
    /// Somebody is just setting it running.
    mending: bool,
    /// Resets that count on it.
    holds: usize,
    /// Cuts so far.
    number: u64,
    /// Reads, writes, flushes and deallocations that the kernel has.
    out: usize,
}

/// Something that the kernel has, until it is dropped.
#[derive(Debug)]
pub(super) struct Out {
    disk: Arc<Disk>,
    /// Counted before the kernel got it.
    troubles: Option<Troubles>,
}

impl Out {
    /// See [`Troubles`].
    pub(super) const fn troubles(&self) -> Option<Troubles> {
        self.troubles
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.disk.state_of_cut().out -= 1;
    }
}

/// A disk down which the kernel sends nothing.
#[derive(Debug)]
pub(super) struct Hold {
    disk: Arc<Disk>,
    left: Option<Left>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.disk.state_of_cut().holds -= 1;
    }
}

impl CutHold for Hold {
    fn is_idle(&self) -> bool {
        let back = self.disk.state_of_cut().out == 0;
        match &self.left {
            Some(left) if back => left.is_nothing(),
            Some(left) => {
                left.hurry();
                false
            }
            None => back,
        }
    }
}

/// A disk that is gone: what was out on it has come back, and may lie in a socket.
#[derive(Debug)]
pub(super) struct Gone(Option<Left>);

impl CutHold for Gone {
    fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(Left::is_nothing)
    }
}

/// Why a disk cannot be a path.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It is in use.
    #[error(
        "{0}: in use by the kernel: mounted, or part of a map; `lsblk` shows by whom. A path \
         belongs to one user alone"
    )]
    Busy(String),
    /// It cannot be opened.
    #[error("{0}: cannot be opened: {1}")]
    Open(String, io::Error),
}

impl Disk {
    /// Opens the disk for us alone, past the page cache.
    pub(super) fn open(
        node: &Path,
        label: &str,
        hctl: Hctl,
        sys: &Path,
        block_size: u32,
        read_only: bool,
        mark: Option<Arc<Mark>>,
    ) -> Result<Self, DiskError> {
        let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let flags = access | OFlags::DIRECT | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(node, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::BUSY => DiskError::Busy(label.to_owned()),
            errno => DiskError::Open(label.to_owned(), errno.into()),
        })?;
        let directory = sys.join("bus/scsi/devices").join(hctl.to_string());
        let mask = read_number(&directory.join("block").join(label).join("queue/dma_alignment"));
        let align = usize::try_from(mask.unwrap_or(511)).unwrap_or(511) + 1;
        let session = Session::of(sys, &directory, label).map(Arc::new);
        let (directory, held) = held(directory);
        Ok(Self {
            label: label.to_owned(),
            file: Arc::new(file),
            troubles: Mutex::new(Troubles::count(&directory, label)),
            directory,
            held,
            align,
            block_size,
            cut: Mutex::default(),
            session,
            mark,
        })
    }

    /// Counts the troubles, for what is sent from now on.
    pub(super) fn count_troubles(&self) {
        let troubles = Troubles::count(&self.directory, &self.label);
        *self.troubles.lock().unwrap_or_else(PoisonError::into_inner) = troubles;
    }

    /// See [`inode_of_block`].
    pub(super) fn block(&self) -> Option<u64> {
        inode_of_block(&self.directory, &self.label)
    }

    /// As the next server has to know it.
    pub(super) fn opened(&self) -> Option<Opened> {
        let directory = fs::canonicalize(&self.directory).ok()?;
        let portals = self.session.iter().map(|session| session.portal()).collect();
        Some(Opened { block: self.block()?, label: self.label.clone(), directory, portals })
    }

    /// Whether it has not been removed.
    pub(super) fn is_there(&self) -> bool {
        self.state().is_ok()
    }

    /// Whether the kernel refuses every command for it: it is offline, or going away, or gone.
    pub(super) fn is_refused(&self) -> bool {
        refuses(&self.state())
    }

    /// Whether it had no trouble since these were counted.
    pub(super) fn had_no_trouble_since(&self, before: Option<Troubles>) -> bool {
        before.is_some() && before == Troubles::count(&self.directory, &self.label)
    }

    fn state_of_cut(&self) -> MutexGuard<'_, Cut> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last cut: what is sent later belongs behind it.
    pub(super) fn cuts(&self) -> u64 {
        self.state_of_cut().number
    }

    /// Notes that the kernel gets something; `None` where the disk was cut since that number.
    pub(super) fn begin(self: &Arc<Self>, number: u64) -> Option<Out> {
        let troubles = *self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cut = self.state_of_cut();
        (cut.number == number).then(|| {
            cut.out += 1;
            Out { disk: Arc::clone(self), troubles }
        })
    }

    /// Whether the kernel has something of ours.
    pub(super) fn has_out(&self) -> bool {
        self.state_of_cut().out > 0
    }

    /// See [`run_queues`].
    pub(super) fn run_queues(&self) {
        if let Err(error) = run_queues(&*self.file) {
            tracing::debug!(path = self.label, %error, "its queues cannot be run");
        }
    }

    fn state(&self) -> io::Result<String> {
        Ok(fs::read_to_string(self.directory.join("state"))?.trim().to_owned())
    }

    /// The kernel takes a state with its end of line only (linux drivers/scsi/scsi_sysfs.c,
    /// `store_state_field`).
    fn set_state(&self, state: &str) -> io::Result<()> {
        fs::write(self.directory.join("state"), format!("{state}\n"))
    }

    /// Whether the kernel's own device handler lets no I/O pass, by a state that it has read
    /// before. It cannot be detached, and it learns of a change a moment after the first command
    /// that tells of it.
    pub(super) fn is_refused_by_handler(&self) -> bool {
        let state = fs::read_to_string(self.directory.join("access_state")).unwrap_or_default();
        let closed = ["standby", "unavailable", "offline", "transitioning"];
        closed.contains(&state.trim())
    }

    /// Has the kernel's device handler read the states again.
    pub(super) fn rescan(&self) {
        if let Err(error) = fs::write(self.directory.join("rescan"), "1\n") {
            tracing::debug!(path = self.label, %error, "it cannot be rescanned");
        }
    }

    /// Has the kernel send nothing more down this path, until the hold is dropped and
    /// [`mend`](Self::mend) is called: nothing that waits in a queue of ours or of the block layer,
    /// and no copy of what the kernel would repeat by itself; `None` where that cannot be. A transport
    /// may set a disk running again that was offline, which is why the hold counts what is out. A device
    /// that is gone sends nothing; one that somebody else has set offline stays so. One whose transport
    /// blocks it sends nothing, and cannot be set offline: what the kernel has of it comes back when that
    /// is over, sent again or not, and until then the hold is not idle.
    pub(super) fn cut(self: &Arc<Self>) -> Option<Hold> {
        let mut cut = self.state_of_cut();
        cut.number += 1;
        if cut.mending {
            return None;
        }
        let state = self.state();
        let quiet = refuses(&state)
            || match state.as_deref() {
                Ok("blocked") => true,
                Ok(_) => {
                    // First: this process can die between the two.
                    self.note(&mut cut);
                    let done = self.set_state("offline").is_ok();
                    cut.ours |= done;
                    done
                }
                Err(_) => false,
            };
        cut.holds += usize::from(quiet);
        let left = || self.session.as_ref().map(Session::left);
        quiet.then(|| Hold { disk: Arc::clone(self), left: left() })
    }

    /// The path is taken away: what waits in a queue of ours does not go to the kernel any more.
    pub(super) fn close(&self) {
        self.state_of_cut().number += 1;
    }

    /// Takes note of where its iSCSI session goes, for the next server too. It asks the kernel.
    pub(super) fn look(&self) {
        let Some(session) = &self.session else { return };
        session.look();
        if let (Some(mark), Some(opened)) = (&self.mark, self.opened()) {
            mark.note_opened(opened);
        }
    }

    /// Whether it is reached by an iSCSI connection that can go elsewhere.
    pub(super) const fn can_move(&self) -> bool {
        self.session.is_some()
    }

    /// The same as [`look`](Self::look), where its connection is another one than before. Else it asks sysfs only.
    pub(super) fn look_if_moved(&self) {
        if self.session.as_ref().is_some_and(|session| session.has_moved()) {
            self.look();
        }
    }

    /// Undoes [`cut`](Self::cut), before the path is tried again; not while a cut is held, or the
    /// kernel has something that was sent before it and might be repeated. It can wait for the target:
    /// since Linux 5.14 the kernel rescans a disk that is set running.
    pub(super) fn mend(&self) {
        {
            let mut cut = self.state_of_cut();
            if cut.mending || !cut.ours || cut.holds > 0 || cut.out > 0 {
                return;
            }
            cut.mending = true;
        }
        let running = match self.state() {
            Ok(state) if state == "offline" => self.set_state("running"),
            // Its transport has taken over, and sets it running when it can.
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        let mut cut = self.state_of_cut();
        cut.mending = false;
        match running {
            Err(error) if !is_gone(&error) => {
                tracing::warn!(path = self.label, %error, "the path cannot be set running again");
            }
            _ => {
                cut.ours = false;
                if let (Some(mark), Some(block)) = (&self.mark, cut.noted.take()) {
                    mark.forget_offline(block);
                }
            }
        }
    }

    fn note(&self, cut: &mut Cut) {
        let Some(mark) = &self.mark else { return };
        cut.noted = cut.noted.or_else(|| self.block());
        if let Some(block) = cut.noted {
            mark.note_offline(block);
        }
    }

    /// Whether it is not offline by our doing. The kernel sets it running before it rescans it.
    pub(super) fn is_whole(&self) -> bool {
        !self.state_of_cut().ours || self.state().is_ok_and(|state| state != "offline")
    }

    /// Whether the disk is there, with a size.
    pub(super) fn has_size(&self) -> bool {
        let size = self.directory.join("block").join(&self.label).join("size");
        read_number(&size).is_some_and(|sectors| sectors > 0)
    }

    /// The hold of a disk that is gone, down which nothing is sent.
    pub(super) fn gone(session: Option<&Arc<Session>>) -> Gone {
        Gone(session.map(Session::left))
    }

    /// What outlives the disk of it.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.clone()
    }

    /// Lets blocks go, or makes them zeroes. It waits.
    pub(super) fn deallocate(&self, what: Deallocate, offset: u64, length: u64) -> io::Result<()> {
        // What the block layer makes of these modes: linux block/fops.c, blkdev_fallocate. A
        // discard is none of them.
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match what {
            Deallocate::Discard => discard(&*self.file, offset, length),
            Deallocate::Zero { unmap } => {
                let unmapped = if unmap {
                    rustix::fs::fallocate(&*self.file, hole, offset, length)
                } else {
                    Err(Errno::OPNOTSUPP)
                };
                match unmapped {
                    // The disk cannot make zeroes by letting go: they are written.
                    Err(Errno::OPNOTSUPP) => {
                        Ok(rustix::fs::fallocate(&*self.file, zero, offset, length)?)
                    }
                    other => Ok(other?),
                }
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nothing is out and no cut is held: they keep the disk. Where that is known to be so before, a
        // thread that may wait has done it.
        self.mend();
    }
}

/// What [`Disk::deallocate`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deallocate {
    Discard,
    Zero { unmap: bool },
}

/// A name of this very directory, whatever comes where it was. Where it is not there its own, which
/// leads nowhere.
fn held(directory: PathBuf) -> (PathBuf, Option<OwnedFd>) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(&directory, flags, Mode::empty()) {
        Ok(fd) => (Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string()), Some(fd)),
        Err(_) => (directory, None),
    }
}

/// Whether the kernel refuses every command for a disk in that state.
fn refuses(state: &io::Result<String>) -> bool {
    match state {
        Ok(state) => ["offline", "transport-offline", "cancel", "deleted"].contains(&&**state),
        Err(error) => is_gone(error),
    }
}

/// A directory of sysfs that is not there, or is just going away.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

pub(super) fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn read_hexadecimal(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tree as sysfs has it, over an ordinary file.
    pub(crate) fn tree(state: &str, handler: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("bus/scsi/devices/1:0:0:0");
        fs::create_dir_all(directory.join("block/sdq/queue")).unwrap();
        fs::write(directory.join("state"), format!("{state}\n")).unwrap();
        fs::write(directory.join("dh_state"), format!("{handler}\n")).unwrap();
        fs::write(directory.join("block/sdq/queue/dma_alignment"), "3\n").unwrap();
        fs::write(directory.join("block/sdq/inflight"), "       0        2\n").unwrap();
        fs::write(folder.path().join("sdq"), [0; 4096]).unwrap();
        (folder, directory)
    }

    pub(crate) fn open(folder: &tempfile::TempDir) -> Arc<Disk> {
        // An ordinary file: what O_DIRECT needs, a tmpfs may not have.
        let file = fs::File::options().read(true).write(true).open(folder.path().join("sdq"));
        let directory = folder.path().join("bus/scsi/devices/1:0:0:0");
        Arc::new(Disk {
            label: "sdq".to_owned(),
            file: Arc::new(file.unwrap().into()),
            directory,
            held: None,
            align: 4,
            block_size: 512,
            cut: Mutex::default(),
            troubles: Mutex::default(),
            session: None,
            mark: None,
        })
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    #[test]
    fn a_path_that_is_cut_is_offline_until_it_is_mended() {
        let (folder, directory) = tree("running", "alua");
        let disk = open(&folder);
        let holds = [disk.cut(), disk.cut()];
        assert!(holds.iter().all(Option::is_some));
        // The kernel refuses a state without its end of line.
        let state = || fs::read_to_string(directory.join("state")).unwrap();
        assert_eq!(state(), "offline\n");
        // A reset is under way.
        disk.mend();
        assert_eq!(state(), "offline\n");
        drop(holds);
        disk.mend();
        assert_eq!(state(), "running\n");
        fs::write(directory.join("state"), "offline").unwrap();
        disk.mend();
        assert_eq!(read(&directory.join("state")), "offline", "that was not us");
    }

    #[test]
    fn a_path_that_its_transport_blocks_is_cut_as_it_is_and_left_to_it() {
        let (folder, directory) = tree("blocked", "alua");
        let disk = open(&folder);
        let out = disk.begin(disk.cuts()).unwrap();
        let hold = disk.cut().unwrap();
        assert_eq!(read(&directory.join("state")), "blocked");
        assert!(!hold.is_idle(), "the kernel may send that again when the block ends");
        drop(out);
        assert!(hold.is_idle());
        drop(hold);
        disk.mend();
        assert_eq!(read(&directory.join("state")), "blocked");
        // The same where the transport came when we had set it offline.
        fs::write(directory.join("state"), "running\n").unwrap();
        drop(disk.cut().unwrap());
        fs::write(directory.join("state"), "transport-offline\n").unwrap();
        disk.mend();
        assert_eq!(read(&directory.join("state")), "transport-offline");
    }

    /// Its address is given to another one, which must not be set running for it.
    #[test]
    fn a_device_that_is_gone_is_not_mistaken_for_the_one_that_came_in_its_place() {
        let (folder, directory) = tree("running", "alua");
        let (name, held) = held(directory.clone());
        assert!(held.is_some());
        let mut disk = open(&folder);
        Arc::get_mut(&mut disk).unwrap().directory = name;
        drop(disk.cut().unwrap());
        assert_eq!(read(&directory.join("state")), "offline");
        fs::remove_dir_all(&directory).unwrap();
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("state"), "offline\n").unwrap();
        disk.mend();
        assert_eq!(read(&directory.join("state")), "offline");
        assert!(disk.is_refused() && disk.cut().is_some());
    }

    /// Setting a disk running can take as long as a rescan of it; the cut would be undone by its end.
    #[test]
    fn a_path_that_is_just_being_mended_cannot_be_cut() {
        let (folder, directory) = tree("running", "alua");
        let disk = open(&folder);
        drop(disk.cut().unwrap());
        disk.state_of_cut().mending = true;
        assert!(disk.cut().is_none());
        disk.mend();
        assert_eq!(read(&directory.join("state")), "offline", "another thread does it");
        assert!(!disk.is_whole());
        disk.state_of_cut().mending = false;
        disk.mend();
        assert!(disk.is_whole());
        assert_eq!(read(&directory.join("state")), "running");
        assert!(disk.cut().is_some());
    }

    /// A path is taken away because another unit is behind it: what waited for a reset would land
    /// there.
    #[test]
    fn what_had_not_begun_when_the_path_was_closed_never_does() {
        let (folder, directory) = tree("running", "alua");
        let disk = open(&folder);
        let sent = disk.cuts();
        let under_way = disk.begin(sent);
        assert!(under_way.is_some());
        disk.close();
        assert!(disk.begin(sent).is_none());
        assert_eq!(read(&directory.join("state")), "running");
    }

    /// A deallocation in the queue, or an operation that waits for a reset: it would land after what
    /// the reset has made way for.
    #[test]
    fn what_had_not_begun_when_the_path_was_cut_never_does() {
        let (folder, _) = tree("running", "alua");
        let disk = open(&folder);
        let sent = disk.cuts();
        let hold = disk.cut().unwrap();
        assert!(disk.begin(sent).is_none());
        assert!(hold.is_idle());
        let out = disk.begin(disk.cuts()).unwrap();
        assert!(!hold.is_idle());
        drop(out);
        assert!(hold.is_idle());
    }

    /// The kernel repeats by itself what it gets no answer to, on a disk that is running.
    #[test]
    fn a_path_is_not_mended_before_all_of_it_has_come_back() {
        let (folder, directory) = tree("running", "alua");
        let disk = open(&folder);
        let out = disk.begin(disk.cuts()).unwrap();
        drop(disk.cut().unwrap());
        disk.mend();
        drop(disk);
        assert_eq!(read(&directory.join("state")), "offline");
        drop(out);
        assert_eq!(read(&directory.join("state")), "running", "nobody else does it");
    }

    #[test]
    fn a_path_that_somebody_else_took_offline_stays_offline() {
        let (folder, directory) = tree("offline", "alua");
        let disk = open(&folder);
        assert!(disk.cut().is_some());
        disk.mend();
        assert_eq!(read(&directory.join("state")), "offline");
        assert_eq!(read(&directory.join("dh_state")), "alua");
    }

    #[test]
    fn the_kernels_handler_refuses_by_the_state_that_it_holds() {
        let (folder, directory) = tree("running", "alua");
        let disk = open(&folder);
        // No handler, no state.
        assert!(!disk.is_refused_by_handler());
        for (state, refused) in [
            ("active/optimized", false),
            ("active/non-optimized", false),
            ("lba-dependent", false),
            ("standby", true),
            ("unavailable", true),
            ("offline", true),
            ("transitioning", true),
        ] {
            fs::write(directory.join("access_state"), format!("{state}\n")).unwrap();
            assert_eq!(disk.is_refused_by_handler(), refused, "{state}");
        }
        disk.rescan();
        assert_eq!(read(&directory.join("rescan")), "1");
    }

    #[test]
    fn a_device_that_is_gone_is_cut_as_it_is() {
        let (folder, directory) = tree("running", "alua");
        let disk = open(&folder);
        fs::remove_dir_all(&directory).unwrap();
        assert!(disk.cut().is_some());
        disk.mend();
    }

    /// It is told to the next server, should this one die.
    #[test]
    fn a_disk_that_was_set_offline_is_noted_until_it_runs_again() {
        let (folder, directory) = tree("running", "alua");
        let (mark, _) = Mark::take(folder.path(), "unit").unwrap();
        let mark = Arc::new(mark);
        let mut disk = open(&folder);
        Arc::get_mut(&mut disk).unwrap().mark = Some(Arc::clone(&mark));
        let block = inode_of_block(&directory, "sdq").unwrap();
        drop(disk.cut().unwrap());
        assert_eq!(mark.offline(), [block]);
        disk.mend();
        assert_eq!(mark.offline(), [0; 0]);
        fs::write(directory.join("state"), "offline\n").unwrap();
        drop(disk.cut().unwrap());
        assert_eq!(mark.offline(), [0; 0], "that was not us");
        fs::write(directory.join("state"), "running\n").unwrap();
        drop(disk.cut().unwrap());
        assert_eq!(mark.offline(), [block]);
        fs::remove_dir_all(&directory).unwrap();
        disk.mend();
        assert_eq!(mark.offline(), [0; 0], "it is gone");
    }
}
