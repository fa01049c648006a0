//! What waits, on threads of its own: SCSI commands through `SG_IO`, resets, sysfs, deallocation.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use alua_core::failover::{Summary, TargetError};
use alua_core::spc::Status;
use alua_host::sg::SgDevice;
use alua_host::transport::{Data, Request, Transport, TransportError};
use alua_multipath::{FenceAnswer, IoId};

use super::answer::{Changes, Handler, Meaning, after_asking, meaning};
use super::counters::Troubles;
use super::disk::{Deallocate, Disk};
use super::ops::reset_unit;
use super::ring::{Hold, aside};
use crate::inbox::Back;
use crate::path::{Answer, ControlAnswer, ControlCommand, CutHold, Payload, StepId};

/// Time limit of the TEST UNIT READY that explains an error, in milliseconds.
const ASK_MS: u32 = 5_000;
/// How long the kernel's device handler may take to learn of a state, before it is made to look;
/// and how often it is looked whether it has.
const HANDLER: Duration = Duration::from_millis(30);
const HANDLER_LOOK: Duration = Duration::from_millis(1);

/// Where its iSCSI connection goes is looked at so often, also between probes.
const MOVED: Duration = Duration::from_secs(2);

/// Something that waits.
pub(super) enum Job {
    /// Not after that time: nobody waits for it any more, and a command that changes states must
    /// not come late.
    Control(ControlCommand, Instant, Back),
    /// TEST UNIT READY, for everything in `asks`.
    Ask,
    Mend,
    /// Not after that time: nobody holds anything for it any more.
    Reset {
        id: StepId,
        until: Instant,
        cuts: Vec<Box<dyn CutHold>>,
        back: Back,
        hold: Arc<Hold>,
    },
    Deallocate {
        what: Deallocate,
        offset: u64,
        length: u64,
        failed: Failed,
        /// [`Disk::cuts`] when it was sent.
        cuts: u64,
    },
}

/// An I/O command that has to be handed back.
pub(super) struct Failed {
    pub(super) io: IoId,
    pub(super) data: Payload,
    pub(super) back: Back,
    pub(super) changes: Changes,
}

/// One whose path is asked.
struct Asked {
    failed: Failed,
    /// What its error number says, where that is not enough.
    word: Option<Summary>,
    /// The kernel's device handler refused I/O when it failed.
    refused: bool,
}

/// What there is to be done with a command that failed.
#[derive(PartialEq, Eq, Debug)]
enum Told {
    /// It is handed back.
    Answer(Answer),
    /// Its path is asked; what its error number says.
    Ask(Option<Summary>),
}

/// The threads of a path. They end when the last handle is dropped and their work is done.
pub(super) struct Worker {
    quick: Sender<Job>,
    /// For what may take long, so that nothing waits behind it.
    slow: Sender<Job>,
    asks: Arc<Mutex<Vec<Asked>>>,
    pub(super) disk: Arc<Disk>,
}

impl Worker {
    pub(super) fn start(disk: &Arc<Disk>, device: SgDevice) -> io::Result<Arc<Self>> {
        let asks = Arc::new(Mutex::new(Vec::new()));
        let (quick, jobs) = channel();
        let mut hand = Hand { disk: Arc::clone(disk), device, asks: Arc::clone(&asks) };
        let name = format!("{} scsi", disk.label);
        let every = disk.can_move().then_some(MOVED);
        thread::Builder::new().name(name).spawn(move || {
            for_each(&jobs, every, |job| match job {
                Some(job) => hand.run(job),
                None => hand.disk.look_if_moved(),
            });
        })?;
        let (slow, jobs) = channel();
        let (disk, own) = (Arc::clone(disk), Arc::clone(disk));
        let ask = quick.clone();
        let failures = Arc::clone(&asks);
        let name = format!("{} slow", disk.label);
        thread::Builder::new().name(name).spawn(move || {
            for job in jobs {
                deallocate(&disk, job, &failures, &ask);
            }
        })?;
        Ok(Arc::new(Self { quick, slow, asks, disk: own }))
    }

    pub(super) fn give(&self, job: Job) {
        let to = if matches!(job, Job::Deallocate { .. }) { &self.slow } else { &self.quick };
        // The threads live as long as this handle.
        let _ = to.send(job);
    }

    /// The path's transition is over. A command that met it is kept by the SCSI layer for a second,
    /// and then for another (linux drivers/scsi/scsi_lib.c, `ALUA_TRANSITION_REPREP_DELAY`), and what was
    /// sent after it waits with it. Since Linux 6.5 that ends when the queues of the host are run.
    pub(super) fn hurry(&self) {
        if self.disk.has_out() {
            let disk = Arc::clone(&self.disk);
            aside(move || disk.run_queues());
        }
    }

    /// A command has failed: it is handed back, or its path is asked first. The troubles are those
    /// counted before it was sent.
    pub(super) fn failed(&self, errno: i32, troubles: Option<Troubles>, failed: Failed) {
        let word = word(errno, &self.disk, failed.changes);
        let told = told(word, &self.disk, troubles, failed.changes);
        if settle(told, &self.asks, &self.disk, failed) {
            self.give(Job::Ask);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The path is taken away, and all that went through the ring has come back.
        self.give(Job::Mend);
    }
}

/// Hands a command back, or keeps it until its path was asked; whether it is kept. The device handler
/// is looked at now: it may have learned the states when the path is asked.
fn settle(told: Told, asks: &Mutex<Vec<Asked>>, disk: &Disk, failed: Failed) -> bool {
    match told {
        Told::Answer(answer) => {
            failed.back.io(failed.io, answer, failed.data);
            false
        }
        Told::Ask(word) => {
            let refused = disk.is_refused_by_handler();
            let asked = Asked { failed, word, refused };
            asks.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
            true
        }
    }
}

/// Hands on each job until nobody can give one any more, and `None` when that time has passed again; a job may
/// keep it for longer.
fn for_each<T>(jobs: &Receiver<T>, every: Option<Duration>, mut run: impl FnMut(Option<T>)) {
    let Some(every) = every else { return jobs.iter().for_each(|job| run(Some(job))) };
    let mut last = Instant::now();
    loop {
        match jobs.recv_timeout(every.saturating_sub(last.elapsed())) {
            Ok(job) => run(Some(job)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if last.elapsed() >= every {
            run(None);
            last = Instant::now();
        }
    }
}

/// What the error number says by itself; `None` where the path has to be asked.
fn word(errno: i32, disk: &Disk, changes: Changes) -> Option<Summary> {
    match meaning(errno) {
        Meaning::Known(summary) => Some(summary),
        Meaning::NoSpaceOrGone if disk.has_size() => Some(Summary::Target(TargetError::NoSpace)),
        // Of one of many commands it may be the target's word, before the disk went.
        Meaning::NoSpaceOrGone if changes == Changes::Once => Some(Summary::Gone),
        Meaning::NoSpaceOrGone | Meaning::Ask => None,
    }
}

/// What there is to be done with a command whose error says that.
fn told(word: Option<Summary>, disk: &Disk, troubles: Option<Troubles>, changes: Changes) -> Told {
    let unsent = || disk.had_no_trouble_since(troubles);
    match word {
        Some(word) if changes == Changes::Once || unsent() => Told::Answer(Answer::Summed(word)),
        // TEST UNIT READY would be refused too, after it has waited for the end of the disk.
        None if disk.is_refused() && unsent() => Told::Answer(Answer::Summed(Summary::Gone)),
        _ if disk.is_refused() => Told::Answer(Answer::TransportFailed),
        _ => Told::Ask(word),
    }
}

fn deallocate(disk: &Arc<Disk>, job: Job, failures: &Mutex<Vec<Asked>>, ask: &Sender<Job>) {
    let Job::Deallocate { what, offset, length, failed, cuts } = job else { return };
    // What had not begun when the path was cut never does.
    let Some(out) = disk.begin(cuts) else {
        failed.back.io(failed.io, Answer::NotSubmitted, failed.data);
        return;
    };
    let done = disk.deallocate(what, offset, length);
    let troubles = out.troubles();
    drop(out);
    match done {
        Ok(()) => failed.back.io(failed.io, Answer::GOOD, failed.data),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let word = match what {
                // It is a hint.
                Deallocate::Discard if errno == libc::EOPNOTSUPP => Some(Summary::Good),
                _ => word(errno, disk, failed.changes),
            };
            let told = told(word, disk, troubles, failed.changes);
            if settle(told, failures, disk, failed) {
                let _ = ask.send(Job::Ask);
            }
        }
    }
}

/// The thread that sends SCSI commands.
struct Hand {
    disk: Arc<Disk>,
    device: SgDevice,
    asks: Arc<Mutex<Vec<Asked>>>,
}

impl Hand {
    fn run(&mut self, job: Job) {
        match job {
            Job::Control(command, until, back) if until < Instant::now() => {
                back.control(command.id, ControlAnswer::NotSubmitted);
            }
            Job::Control(command, _, back) => {
                self.control(command, &back);
                self.disk.count_troubles();
            }
            Job::Ask => {
                self.ask();
                self.disk.count_troubles();
            }
            Job::Mend => {
                self.disk.mend();
            }
            Job::Reset { id, until, cuts, back, hold } => {
                let late = until < Instant::now();
                let answer = if late { FenceAnswer::Failed } else { self.reset() };
                hold.release();
                back.step(id, answer);
                // They last until the reset is done; to end the last one of a disk may take long.
                aside(move || drop(cuts));
            }
            Job::Deallocate { .. } => {}
        }
    }

    fn control(&mut self, command: ControlCommand, back: &Back) {
        if command.probe {
            self.disk.look();
            self.disk.mend();
        }
        let mut buffer = vec![0; command.room];
        let data = match (command.data_out.is_empty(), command.room) {
            (false, _) => Data::Out(&command.data_out),
            (true, 0) => Data::None,
            (true, _) => Data::In(&mut buffer),
        };
        let request = Request { cdb: &command.cdb, data, timeout_ms: command.timeout_ms.max(1) };
        let answer = match self.device.execute(request) {
            Ok(reply) => {
                buffer.truncate(reply.transferred);
                if !command.data_out.is_empty() {
                    buffer.clear();
                }
                ControlAnswer::Answered {
                    status: reply.status,
                    sense: reply.sense.as_bytes().to_vec(),
                    data: buffer,
                }
            }
            Err(TransportError::NotSubmitted { .. }) => ControlAnswer::NotSubmitted,
            Err(TransportError::TimedOut { .. }) => ControlAnswer::TimedOut,
            Err(TransportError::Failed { .. } | TransportError::Interrupted { .. }) => {
                ControlAnswer::TransportFailed
            }
        };
        back.control(command.id, answer);
    }

    /// One TEST UNIT READY answers for every command that had failed before it was sent.
    fn ask(&mut self) {
        let asks = std::mem::take(&mut *self.asks.lock().unwrap_or_else(PoisonError::into_inner));
        if asks.is_empty() {
            return;
        }
        let request = Request { cdb: &[0; 6], data: Data::None, timeout_ms: ASK_MS };
        let said = self.device.execute(request);
        let good = said.as_ref().is_ok_and(|reply| reply.status == Status::Good);
        let passes = !good || self.await_handler();
        tracing::debug!(path = self.disk.label, commands = asks.len(), ?said, passes, "why");
        for Asked { failed, word, refused } in asks {
            let handler = match (passes, refused) {
                (false, _) => Handler::Refuses,
                (true, true) => Handler::Refused,
                (true, false) => Handler::Passes,
            };
            failed.back.io(failed.io, after_asking(&said, handler, word), failed.data);
        }
    }

    /// Waits a moment for the kernel's device handler to learn the states, and makes it look where
    /// it does not; whether it lets I/O pass.
    fn await_handler(&self) -> bool {
        let end = Instant::now() + HANDLER;
        while self.disk.is_refused_by_handler() {
            if Instant::now() > end {
                self.disk.rescan();
                return false;
            }
            thread::sleep(HANDLER_LOOK);
        }
        true
    }

    fn reset(&self) -> FenceAnswer {
        match reset_unit(&*self.disk.file) {
            Ok(()) => FenceAnswer::Done,
            Err(error) => {
                tracing::warn!(path = self.disk.label, %error, "LOGICAL UNIT RESET");
                FenceAnswer::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::disk::tests::{open, tree};
    use super::*;
    use crate::inbox::Message;

    #[test]
    fn where_a_connection_goes_is_looked_at_however_busy_the_thread_is() {
        let every = Duration::from_millis(20);
        for busy in [false, true] {
            let (to, from) = channel();
            let begin = Instant::now();
            let (mut looks, mut jobs) = (0, 0);
            let mut to = Some(to);
            to.iter().for_each(|to| to.send(()).unwrap());
            for_each(&from, Some(every), |job| {
                looks += u32::from(job.is_none());
                jobs += u32::from(job.is_some());
                to.iter().filter(|_| busy && job.is_some()).for_each(|to| to.send(()).unwrap());
                if looks == 3 || begin.elapsed() > every * 100 {
                    to = None;
                }
            });
            assert!(looks >= 3 && begin.elapsed() >= every * 3, "{busy}");
            assert!(jobs >= 1 && busy == (jobs > 1));
        }
        let (to, from) = channel();
        to.send(()).unwrap();
        drop(to);
        for_each(&from, None, |job| assert!(job.is_some()));
    }

    /// The reset that came meanwhile has proved nothing about it.
    #[test]
    fn a_deallocation_that_waits_when_the_path_is_cut_is_not_done() {
        let (folder, _) = tree("running", "alua");
        let disk = open(&folder);
        let asks = Mutex::new(Vec::new());
        let (ask, _jobs) = channel();
        let back = Back::new().unwrap();
        let mut done = Vec::new();
        for (cut_before, expected) in [(true, Answer::NotSubmitted), (false, Answer::GOOD)] {
            let cuts = disk.cuts();
            if cut_before {
                drop(disk.cut());
            }
            let io = IoId::from_bits(7);
            let changes = Changes::Often;
            let failed = Failed { io, data: Payload::None, back: back.clone(), changes };
            let what = Deallocate::Zero { unmap: true };
            let job = Job::Deallocate { what, offset: 0, length: 4096, failed, cuts };
            deallocate(&disk, job, &asks, &ask);
            back.take(&mut done);
            let [Message::Io(_, answer, _)] = &done[..] else { panic!("{}", done.len()) };
            assert_eq!(*answer, expected, "{cut_before}");
            done.clear();
        }
    }

    fn tell(errno: i32, disk: &Disk, troubles: Option<Troubles>, changes: Changes) -> Told {
        told(word(errno, disk, changes), disk, troubles, changes)
    }

    const GONE: Told = Told::Answer(Answer::Summed(Summary::Gone));
    const LOST: Told = Told::Answer(Answer::TransportFailed);
    const NO_SPACE: Summary = Summary::Target(TargetError::NoSpace);

    /// A disk that was removed refuses writes with ENOSPC, which must not reach a client.
    #[test]
    fn no_space_on_a_disk_without_a_size_says_that_it_is_gone() {
        let (folder, directory) = tree("running", "alua");
        let disk = open(&folder);
        let size = directory.join("block/sdq/size");
        let no_space = || Told::Answer(Answer::Summed(NO_SPACE));
        for (sectors, once, often) in
            [("32768\n", no_space(), Told::Ask(Some(NO_SPACE))), ("0\n", GONE, Told::Ask(None))]
        {
            fs::write(&size, sectors).unwrap();
            assert_eq!(tell(libc::ENOSPC, &disk, None, Changes::Once), once, "{sectors:?}");
            assert_eq!(tell(libc::ENOSPC, &disk, None, Changes::Often), often, "{sectors:?}");
        }
        assert_eq!(tell(libc::EIO, &disk, None, Changes::Once), Told::Ask(None));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(tell(libc::ENOSPC, &disk, None, Changes::Once), GONE);
        assert_eq!(tell(libc::ENOSPC, &disk, None, Changes::Often), LOST);
        assert_eq!(tell(libc::EIO, &disk, None, Changes::Once), LOST);
    }

    /// A copy of it may have been sent, and taken back, before the device went offline.
    #[test]
    fn a_disk_that_refuses_was_not_sent_a_command_only_where_none_came_back() {
        let (folder, directory) = tree("offline", "alua");
        let put = |name, text: &str| fs::write(directory.join(name), format!("{text}\n")).unwrap();
        put("ioerr_cnt", "0x1a");
        let disk = open(&folder);
        let send = || disk.begin(disk.cuts()).unwrap().troubles();
        disk.count_troubles();
        assert_eq!(
            tell(libc::EIO, &disk, send(), Changes::Once),
            LOST,
            "a kernel that counts no time-outs"
        );
        put("iotmo_cnt", "0x0");
        assert_eq!(tell(libc::EIO, &disk, send(), Changes::Once), LOST, "counted too late");
        disk.count_troubles();
        let sent = send();
        for errno in [libc::EIO, libc::ENODEV] {
            assert_eq!(tell(errno, &disk, sent, Changes::Once), GONE);
        }
        for state in ["running", "blocked", "quiesce"] {
            put("state", state);
            assert_eq!(tell(libc::EIO, &disk, sent, Changes::Once), Told::Ask(None));
        }
        for state in ["cancel", "deleted", "transport-offline"] {
            put("state", state);
            assert_eq!(tell(libc::EIO, &disk, sent, Changes::Once), GONE);
        }
        for (name, before, after) in [("ioerr_cnt", "0x1a", "0x1b"), ("iotmo_cnt", "0x0", "0x1")] {
            put(name, after);
            assert_eq!(tell(libc::EIO, &disk, sent, Changes::Once), LOST, "{name}");
            disk.count_troubles();
            assert_eq!(
                tell(libc::EIO, &disk, sent, Changes::Once),
                LOST,
                "{name}, which was before the count"
            );
            assert_eq!(tell(libc::EIO, &disk, send(), Changes::Once), GONE);
            put(name, before);
        }
        // Deleted and found again: another device, with the same counts.
        fs::rename(&directory, directory.with_extension("old")).unwrap();
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in [("state", "offline"), ("ioerr_cnt", "0x1a"), ("iotmo_cnt", "0x0")] {
            put(name, text);
        }
        assert_eq!(tell(libc::EIO, &disk, sent, Changes::Once), LOST);
    }

    /// The first error of a write that the block layer has taken apart says nothing of its other parts.
    #[test]
    fn the_targets_word_is_all_there_is_to_know_of_one_command_only() {
        let (folder, directory) = tree("running", "alua");
        let put = |name, text: &str| fs::write(directory.join(name), format!("{text}\n")).unwrap();
        put("ioerr_cnt", "0x1a");
        put("iotmo_cnt", "0x0");
        let disk = open(&folder);
        disk.count_troubles();
        let sent = disk.begin(disk.cuts()).unwrap().troubles();
        for (errno, error) in [
            (libc::EREMOTEIO, TargetError::Other),
            (libc::ENODATA, TargetError::Medium),
            (libc::EBADE, TargetError::Reservation),
            (libc::EOPNOTSUPP, TargetError::Unsupported),
        ] {
            let says = |changes| tell(errno, &disk, sent, changes);
            let summary = Summary::Target(error);
            let word = || Told::Answer(Answer::Summed(summary));
            put("state", "running");
            put("ioerr_cnt", "0x1b");
            assert_eq!(says(Changes::Once), word());
            assert_eq!(says(Changes::Often), Told::Ask(Some(summary)));
            // It cannot be asked.
            put("state", "offline");
            assert_eq!(says(Changes::Once), word());
            assert_eq!(says(Changes::Often), LOST);
            // Of what was sent nothing has failed: the block layer refused it.
            put("ioerr_cnt", "0x1a");
            for state in ["offline", "running"] {
                put("state", state);
                assert_eq!(says(Changes::Often), word());
            }
        }
    }
}
