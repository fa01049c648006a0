//! The model array as a target of the kernel: each path is a device of `target_core_user` behind a
//! `tcm_loop` port of its own, and a thread lets the array answer in real time.
//!
//! The kernel's target core passes every command through; ALUA, unit attentions and faults are the
//! array's. What the array calls a transport failure the guest sees as BUSY: a loop port cannot
//! fail.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use alua_array::{Array, Command, Event, NexusId, Outcome, Time};
use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ring::{Ending, Request, Ring};
use crate::sysfs::{read, wait_for_device, write};

const BASE: &str = "/sys/kernel/config/target";
/// How long the thread sleeps at most: an event that a scenario applies is carried out by then.
const TURN: Duration = Duration::from_millis(2);

/// The status of a command that the target cannot carry out now.
const BUSY: u8 = 0x08;
/// The status of a command that sense data tell of.
const CHECK: u8 = 0x02;

/// A path to a unit of the array.
#[derive(Clone, Debug)]
pub(super) struct ModelPath {
    /// The relative target port.
    pub(super) port: u16,
    /// The logical unit number.
    pub(super) lun: u16,
    /// Its address.
    pub(super) hctl: String,
}

struct Shared {
    array: Array,
    start: Instant,
    /// Every command that has no answer yet is to end with BUSY.
    let_go: bool,
    /// What goes out as sense data, whatever the array said.
    garbled: Option<Vec<u8>>,
    /// Commands without an answer, by their tag: the port, and the operation code.
    out: HashMap<u64, (u16, u8)>,
}

impl Shared {
    fn now(&self) -> Time {
        Time::from_millis(0).after(self.start.elapsed())
    }
}

/// A model array that stands.
pub(super) struct Model {
    /// Its paths, by unit and then by port.
    pub(super) paths: Vec<ModelPath>,
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<Result<()>>>,
}

struct Served {
    ring: Ring,
    nexus: NexusId,
    port: u16,
    lun: u16,
}

fn name(port: u16, lun: u16) -> String {
    format!("p{port}l{lun}")
}

fn core(name: &str) -> PathBuf {
    Path::new(BASE).join("core/user_0").join(name)
}

fn fabric(port: u16, lun: u16) -> PathBuf {
    Path::new(BASE).join(format!("loopback/naa.500140500000{port:02x}{lun:02x}/tpgt_1"))
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Model {
    /// Builds the array that an array file describes, and waits for its disks.
    pub(super) fn set_up(file: &str) -> Result<Self> {
        let mut array = Array::from_toml("scenario", file)?;
        let mut wanted = Vec::new();
        for port in array.ports().collect::<Vec<_>>() {
            let nexus = array.connect("lab", port)?;
            wanted.extend(array.luns(port).map(|lun| (port, lun, nexus)));
        }
        let mut rings = Vec::new();
        for &(port, lun, nexus) in &wanted {
            rings.push(Served { ring: make_device(port, lun)?, nexus, port, lun });
        }
        let shared = Arc::new(Mutex::new(Shared {
            array,
            start: Instant::now(),
            let_go: false,
            garbled: None,
            out: HashMap::new(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let server = {
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            thread::spawn(move || serve(&shared, &stop, rings))
        };
        let mut model = Self { paths: Vec::new(), shared, stop, server: Some(server) };
        for (port, lun, _) in wanted {
            let hctl = make_port(port, lun)?;
            model.paths.push(ModelPath { port, lun, hctl });
        }
        for path in &model.paths {
            wait_for_device(&path.hctl)?;
        }
        model.paths.sort_by_key(|path| (path.lun, path.port));
        Ok(model)
    }

    /// Makes something happen, as a line of a script says it.
    pub(super) fn apply(&self, event: &str) -> Result<()> {
        let mut shared = locked(&self.shared);
        let event = Event::from_toml(event, &shared.array.config().alua.clone())?;
        let now = shared.now();
        shared.array.advance(now);
        shared.array.apply(&event)?;
        Ok(())
    }

    /// Ends what hangs with BUSY, so that the initiator sends it again.
    pub(super) fn let_go(&self) {
        locked(&self.shared).let_go = true;
    }

    /// From now on these bytes go out as sense data, at most as many as the kernel takes (96); none: what
    /// the array says.
    pub(super) fn garble(&self, sense: Option<Vec<u8>>) {
        locked(&self.shared).garbled = sense;
    }

    /// The path on which a command with this operation code has no answer yet.
    pub(super) fn carrier(&self, code: u8) -> Option<&ModelPath> {
        let out = locked(&self.shared).out.values().find(|(_, out)| *out == code).copied();
        out.and_then(|(port, _)| self.paths.iter().find(|path| path.port == port))
    }

    /// How many commands of a kind came to a unit, all paths together.
    pub(super) fn sent(&self, unit: usize, command: Command) -> u32 {
        locked(&self.shared).array.sent_to(unit, command)
    }

    /// Counts from here on.
    pub(super) fn reset_counters(&self) {
        locked(&self.shared).array.reset_counters();
    }

    /// The state of a group, by the name that sysfs gives it.
    pub(super) fn state(&self, unit: usize, group: u16) -> Result<String> {
        let state = locked(&self.shared).array.state(unit, group).context("no such group")?;
        Ok(state.to_string())
    }

    /// How often a fault struck.
    pub(super) fn fault_count(&self, name: &str) -> u32 {
        locked(&self.shared).array.fault_count(name).unwrap_or(0)
    }

    /// The paths of a unit.
    pub(super) fn of(&self, lun: u16) -> impl Iterator<Item = &ModelPath> {
        self.paths.iter().filter(move |path| path.lun == lun)
    }

    /// Takes everything down: disks, ports, devices.
    pub(super) fn take_down(mut self) -> Result<()> {
        for path in &self.paths {
            let folder = fabric(path.port, path.lun);
            let lun = folder.join("lun/lun_0");
            fs::remove_file(lun.join("port"))?;
            fs::remove_dir(&lun)?;
            fs::remove_dir(&folder)?;
            fs::remove_dir(folder.parent().context("a fabric is in a folder")?)?;
        }
        self.stop.store(true, Ordering::Release);
        let ended = self.server.take().map(JoinHandle::join);
        let served = ended.map_or(Ok(()), |ended| ended.unwrap_or_else(|_| Err(anyhow!("died"))));
        for path in &self.paths {
            fs::remove_dir(core(&name(path.port, path.lun)))?;
        }
        fs::remove_dir(Path::new(BASE).join("core/user_0"))?;
        served.context("the array's thread")
    }
}

fn make_device(port: u16, lun: u16) -> Result<Ring> {
    let name = name(port, lun);
    let folder = core(&name);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let control = format!(
        "dev_config=alua/{name},dev_size=1073741824,hw_block_size=512,nl_reply_supported=-1"
    );
    write(&folder.join("control"), &control)?;
    // A command that hangs is the initiator's to give up: the kernel tells of that, and does not do it
    // by itself.
    write(&folder.join("attrib/tmr_notification"), "1")?;
    write(&folder.join("attrib/cmd_time_out"), "0")?;
    write(&folder.join("enable"), "1")?;
    Ring::open(&format!("/{name}/alua/{name}"))
}

fn make_port(port: u16, lun: u16) -> Result<String> {
    let folder = fabric(port, lun);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    write(&folder.join("nexus"), &format!("naa.500140600000{port:02x}{lun:02x}"))?;
    let place = folder.join("lun/lun_0");
    fs::create_dir_all(&place)?;
    symlink(core(&name(port, lun)), place.join("port"))?;
    Ok(format!("{}:0", read(&folder.join("address"))?))
}

/// Whether the data of a command go to the target.
fn sends(cdb: &[u8]) -> bool {
    let writes =
        [0x0a, 0x15, 0x2a, 0x2e, 0x3b, 0x41, 0x42, 0x55, 0x5f, 0x89, 0x8a, 0x8e, 0x93, 0xa4, 0xaa];
    cdb.first().is_some_and(|operation| writes.contains(operation))
}

/// Lets the array answer until it is told to stop.
fn serve(shared: &Mutex<Shared>, stop: &AtomicBool, mut served: Vec<Served>) -> Result<()> {
    let mut running: HashMap<u64, (usize, Request)> = HashMap::new();
    let mut tag = 0_u64;
    while !stop.load(Ordering::Acquire) {
        let wait = {
            let shared = locked(shared);
            let now = shared.now();
            let next = shared.array.next_event().map(|at| at.since(now));
            next.map_or(TURN, |next| next.min(TURN))
        };
        let mut fds: Vec<PollFd<'_>> = served
            .iter()
            .map(|one| PollFd::from_borrowed_fd(one.ring.fd(), PollFlags::IN))
            .collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        poll(&mut fds, Some(&timeout))?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut shared = locked(shared);
        let now = shared.now();
        shared.array.advance(now);
        for (index, one) in served.iter_mut().enumerate() {
            if ready[index] {
                one.ring.acknowledge()?;
            }
            while let Some(request) = one.ring.next()? {
                let data =
                    if sends(&request.cdb) { one.ring.data_out(&request)? } else { Vec::new() };
                let capacity = if sends(&request.cdb) { 0 } else { request.capacity() };
                tag += 1;
                shared.array.submit(one.nexus, one.lun, tag, &request.cdb, &data, capacity)?;
                let code = request.cdb.first().copied().unwrap_or(0);
                shared.out.insert(tag, (one.port, code));
                running.insert(tag, (index, request));
            }
            let aborted = one.ring.take_aborted();
            let ended = running.iter().filter(|(_, (of, request))| {
                *of == index && (aborted.contains(&request.id) || shared.let_go)
            });
            for tag in ended.map(|(&tag, _)| tag).collect::<Vec<_>>() {
                let Some((_, request)) = running.remove(&tag) else { continue };
                shared.array.abort(one.nexus, tag);
                shared.out.remove(&tag);
                one.ring.end(&request, &Ending { status: BUSY, ..Ending::default() })?;
            }
        }
        shared.let_go = false;
        while let Some(completion) = shared.array.poll_completion() {
            let Some((index, request)) = running.remove(&completion.tag) else { continue };
            shared.out.remove(&completion.tag);
            let mut ending = ending(&completion.outcome);
            if let Some(sense) = shared.garbled.as_ref().filter(|_| ending.status == CHECK) {
                ending.sense.clone_from(sense);
            }
            ending.reads = ending.status == 0 && request.capacity() > 0 && !sends(&request.cdb);
            served[index].ring.end(&request, &ending)?;
        }
    }
    Ok(())
}

fn ending(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Answered { status, sense, data_in, .. } => Ending {
            status: status.code(),
            sense: sense.as_ref().map(|sense| sense.as_bytes().to_vec()).unwrap_or_default(),
            data: data_in.clone(),
            reads: false,
        },
        Outcome::Transport(_) => Ending { status: BUSY, ..Ending::default() },
    }
}
