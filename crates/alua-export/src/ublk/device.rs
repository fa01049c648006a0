//! The device: added or recovered, served by a thread for each queue, removed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libublk::ctrl::{UblkCtrl, UblkCtrlBuilder};
use libublk::io::UblkDev;
use libublk::{UblkFlags, sys};

use super::{queue, request};
use crate::Totals;
use crate::block::{BlockDevice, Geometry, GeometryError};

/// The driver's control device.
const CONTROL: &str = "/dev/ublk-control";
/// How often it is looked whether a device has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What the kernel's driver can, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// All of it, as the driver tells.
    pub bits: u64,
    /// Data is copied by reading and writing the character device, so that no buffer is pinned.
    pub user_copy: bool,
    /// A device outlives its server.
    pub recovery: bool,
    /// And its requests are given to the next one again, instead of failing.
    pub reissue: bool,
}

impl Features {
    fn of(bits: u64) -> Self {
        let has = |flag: u32| bits & u64::from(flag) != 0;
        Self {
            bits,
            user_copy: has(sys::UBLK_F_USER_COPY),
            recovery: has(sys::UBLK_F_USER_RECOVERY),
            reissue: has(sys::UBLK_F_USER_RECOVERY_REISSUE),
        }
    }

    /// The flags that a device is added with.
    fn wanted(self) -> u64 {
        [
            (self.user_copy, sys::UBLK_F_USER_COPY),
            (self.recovery, sys::UBLK_F_USER_RECOVERY),
            (self.recovery && self.reissue, sys::UBLK_F_USER_RECOVERY_REISSUE),
        ]
        .into_iter()
        .fold(0, |flags, (has, flag)| if has { flags | u64::from(flag) } else { flags })
    }
}

/// What a device that was added with these flags does not survive, in words; `None` where it outlives
/// its server and loses nothing.
fn lacks(flags: u64) -> Option<&'static str> {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    if !has(sys::UBLK_F_USER_RECOVERY) {
        Some(
            "this kernel's ublk driver has no UBLK_F_USER_RECOVERY: if this process dies, the device \
             goes with it, and what is in flight fails",
        )
    } else if !has(sys::UBLK_F_USER_RECOVERY_REISSUE) {
        Some(
            "this kernel's ublk driver has no UBLK_F_USER_RECOVERY_REISSUE: if this process dies, \
             the device can be taken over, but what is in flight fails",
        )
    } else {
        None
    }
}

/// Why a device cannot be added, recovered or removed.
#[derive(Debug, thiserror::Error)]
pub enum UblkError {
    /// The driver is not there.
    #[error(
        "{CONTROL} is not there: load the driver with `modprobe ublk_drv` (Linux 6.0 or later)"
    )]
    NoDriver,
    /// The control device cannot be used.
    #[error("{CONTROL} cannot be used: root is needed, and io_uring must not be disabled")]
    NoAccess,
    /// The block device contradicts itself.
    #[error("the device cannot be served")]
    Geometry(#[from] GeometryError),
    /// The driver's block sizes go up to a page.
    #[error("a logical block of {0} bytes: ublk has at most 4096")]
    LogicalBlock(u32),
    /// The driver cannot keep a device whose server dies.
    #[error("this kernel's ublk driver knows no recovery")]
    NoRecovery,
    /// The device that is to be recovered is served.
    #[error("/dev/ublkb{id} is served: its server, process {server}, lives")]
    ServerLives {
        /// Which device.
        id: u32,
        /// The process.
        server: i32,
    },
    /// The device that is to be recovered has another size than what is to be served.
    #[error("/dev/ublkb{id} has {has} bytes, and what is to be served now has {now}")]
    OtherSize {
        /// Which device.
        id: u32,
        /// Its size.
        has: u64,
        /// The size of what is to be served.
        now: u64,
    },
    /// The device that is to be recovered takes longer requests than what is to be served.
    #[error("the device takes requests of {longest} bytes, what is to be served {maximum}")]
    LongRequests {
        /// The longest request that the kernel may send, in bytes.
        longest: u32,
        /// The longest that can be served, in bytes.
        maximum: u32,
    },
    /// The driver refused.
    #[error("the ublk driver refused to {what}: {why}")]
    Refused {
        /// What it was to do.
        what: &'static str,
        /// What it, or `libublk`, said.
        why: String,
    },
    /// The kernel did not do it in time.
    #[error("the kernel did not {0} in time")]
    Timeout(&'static str),
}

fn refused(what: &'static str, error: libublk::UblkError) -> UblkError {
    let why = match error {
        libublk::UblkError::OtherError(number) | libublk::UblkError::UringIOError(number) => {
            std::io::Error::from_raw_os_error(number.abs()).to_string()
        }
        libublk::UblkError::IOError(error) => error.to_string(),
        other => other.to_string(),
    };
    UblkError::Refused { what, why }
}

/// What the kernel's driver can.
///
/// # Errors
///
/// [`UblkError::NoDriver`] or [`UblkError::NoAccess`].
pub fn features() -> Result<Features, UblkError> {
    if !Path::new(CONTROL).exists() {
        return Err(UblkError::NoDriver);
    }
    UblkCtrl::get_features().map(Features::of).ok_or(UblkError::NoAccess)
}

/// How a device is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its number; without it the next that is free.
    pub id: Option<u32>,
    /// Queues, each with a thread.
    pub queues: u16,
    /// Requests in flight of each queue.
    pub depth: u16,
    /// The longest read or write in bytes; the device's maximum, where that is shorter.
    pub request_bytes: u32,
    /// Data is copied through the character device where the driver offers that. Otherwise each
    /// request that can be in flight has a buffer of [`Config::request_bytes`].
    pub user_copy: bool,
}

impl Default for Config {
    /// One queue with 128 requests of at most 1 MiB, with user copy.
    fn default() -> Self {
        Self { id: None, queues: 1, depth: 128, request_bytes: 1 << 20, user_copy: true }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) reissued: AtomicU64,
    pub(super) defects: AtomicU64,
}

/// That a device was taken over from a server that died.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    /// It has no I/O scheduler.
    pub(super) tags_are_kept: bool,
}

/// What the queues share.
pub(super) struct Shared {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) geometry: Geometry,
    pub(super) recovered: Option<Recovered>,
    pub(super) counters: Counters,
}

/// A block device `/dev/ublkbN` that is served.
///
/// Dropping it without [`Device::shut_down`] leaves it to be served until the process ends.
pub struct Device {
    id: u32,
    lacks: Option<&'static str>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), UblkError>>,
}

impl Device {
    /// Adds a device and serves it. The kernel reads it for its partitions before it has started it
    /// (linux block/genhd.c, `device_add_disk`), so this takes as long as the device takes to answer.
    /// That the reads fail is no error.
    ///
    /// # Errors
    ///
    /// See [`UblkError`].
    pub fn add(config: Config, device: Arc<dyn BlockDevice>) -> Result<Self, UblkError> {
        let features = features()?;
        let features = Features { user_copy: features.user_copy && config.user_copy, ..features };
        let geometry = checked(&*device)?;
        let longest = config.request_bytes.min(geometry.maximum);
        let id = config.id.map_or(-1, |id| i32::try_from(id).unwrap_or(i32::MAX));
        let plan = Plan {
            id,
            queues: config.queues,
            depth: config.depth,
            longest,
            flags: features.wanted(),
            how: UblkFlags::UBLK_DEV_F_ADD_DEV,
        };
        Self::start(plan, device, geometry, None)
    }

    /// Takes over the device of a server that died. What that one had not answered comes again,
    /// with [`Request::reissued`](crate::block::Request::reissued).
    ///
    /// # Errors
    ///
    /// See [`UblkError`]; that there is no such device is [`UblkError::Refused`].
    pub fn recover(id: u32, device: Arc<dyn BlockDevice>) -> Result<Self, UblkError> {
        if !features()?.recovery {
            return Err(UblkError::NoRecovery);
        }
        let geometry = checked(&*device)?;
        let bytes = size(id).unwrap_or(geometry.bytes);
        if bytes != geometry.bytes {
            return Err(UblkError::OtherSize { id, has: bytes, now: geometry.bytes });
        }
        let number = i32::try_from(id).unwrap_or(i32::MAX);
        let control = UblkCtrl::new_simple(number).map_err(|e| refused("find the device", e))?;
        let server = control.dev_info().ublksrv_pid;
        if lives(server) {
            // The driver would only say that it is busy, after half a minute.
            return Err(UblkError::ServerLives { id, server });
        }
        let begun = control.start_user_recover();
        match begun {
            Ok(0) => {}
            Ok(errno) => {
                let error = libublk::UblkError::OtherError(errno);
                return Err(refused("begin the recovery", error));
            }
            Err(error) => return Err(refused("begin the recovery", error)),
        }
        let info = control.dev_info();
        drop(control);
        let recovered = Recovered { tags_are_kept: scheduler_is_none(id) };
        let plan = Plan {
            id: number,
            // `libublk` wants to be told what the device was added with.
            queues: info.nr_hw_queues,
            depth: info.queue_depth,
            longest: info.max_io_buf_bytes,
            flags: info.flags,
            how: UblkFlags::UBLK_DEV_F_RECOVER_DEV,
        };
        Self::start(plan, device, geometry, Some(recovered))
    }

    fn start(
        plan: Plan,
        device: Arc<dyn BlockDevice>,
        geometry: Geometry,
        recovered: Option<Recovered>,
    ) -> Result<Self, UblkError> {
        let counters = Counters::default();
        let lacks = lacks(plan.flags);
        let shared = Arc::new(Shared { device, geometry, recovered, counters });
        let (sender, started) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("ublk".to_owned())
            .spawn(move || run(plan, &for_thread, &sender))
            .map_err(|error| UblkError::Refused {
                what: "start a thread",
                why: error.to_string(),
            })?;
        match started.recv() {
            // Its thread is left in the kernel, for this process to end.
            Ok(Err(error)) => Err(error),
            Ok(Ok(id)) => {
                if recovered.is_none() {
                    without_scheduler(id);
                }
                tracing::info!(id, recovered = recovered.is_some(), "ublk device is served");
                if let Some(lacks) = lacks {
                    tracing::warn!("/dev/ublkb{id}: {lacks}");
                }
                Ok(Self { id, lacks, shared, thread })
            }
            Err(mpsc::RecvError) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err(UblkError::Refused {
                    what: "start the device",
                    why: "it has ended at once".to_owned(),
                }),
                Err(_) => Err(UblkError::Refused {
                    what: "start the device",
                    why: "its thread panicked, see above".to_owned(),
                }),
            },
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The block device.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/ublkb{}", self.id))
    }

    /// What it does not survive if its server dies, in words; `None` where the kernel keeps the
    /// device and all of its requests for the next server.
    #[must_use]
    pub const fn lacks(&self) -> Option<&'static str> {
        self.lacks
    }

    /// What it has done so far.
    #[must_use]
    pub fn statistics(&self) -> Totals {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            requests: read(&counters.requests),
            failed: read(&counters.failed),
            reissued: read(&counters.reissued),
            defects: read(&counters.defects),
        }
    }

    /// Removes the device: the kernel lets what is in flight end first, then the device is gone,
    /// even for whoever has it open.
    ///
    /// # Errors
    ///
    /// [`UblkError::Timeout`] when something was still in flight after `limit`; else what the
    /// driver said.
    pub fn shut_down(self, limit: Duration) -> Result<Totals, UblkError> {
        let number = i32::try_from(self.id).unwrap_or(i32::MAX);
        let stopper = thread::spawn(move || {
            // A control of its own: the device's is in use. The kernel waits in here.
            UblkCtrl::new_simple(number).and_then(|control| control.stop_dev())
        });
        let end = Instant::now() + limit;
        while !self.thread.is_finished() || !stopper.is_finished() {
            if Instant::now() > end {
                return Err(UblkError::Timeout("remove the device"));
            }
            thread::sleep(LOOK);
        }
        if let Ok(Err(error)) = stopper.join() {
            return Err(refused("stop the device", error));
        }
        let statistics = self.statistics();
        match self.thread.join() {
            Ok(ended) => ended?,
            Err(_) => {
                let why = "a thread panicked".to_owned();
                return Err(UblkError::Refused { what: "serve the device", why });
            }
        }
        if self.shared.recovered.is_some() {
            // Whoever adds a device also removes it, except one that was added by the dead server.
            UblkCtrl::new_simple(number)
                .and_then(|control| {
                    // What `libublk` keeps of a device; it may never have been written.
                    let _ = fs::remove_file(control.run_path());
                    control.del_dev()
                })
                .map_err(|error| refused("remove the device", error))?;
        }
        Ok(statistics)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the driver is asked for.
struct Plan {
    id: i32,
    queues: u16,
    depth: u16,
    longest: u32,
    flags: u64,
    how: UblkFlags,
}

/// The device's thread: from adding or recovering to removing.
fn run(
    plan: Plan,
    shared: &Arc<Shared>,
    started: &mpsc::Sender<Result<u32, UblkError>>,
) -> Result<(), UblkError> {
    let builder = UblkCtrlBuilder::default()
        .name("alua")
        .id(plan.id)
        .nr_queues(plan.queues)
        .depth(plan.depth)
        .io_buf_bytes(plan.longest)
        .ctrl_flags(plan.flags)
        .dev_flags(plan.how);
    let control = builder.build().map_err(|error| refused("add the device", error))?;
    let geometry = shared.geometry;
    let longest = control.dev_info().max_io_buf_bytes;
    if longest > geometry.maximum {
        return Err(UblkError::LongRequests { longest, maximum: geometry.maximum });
    }
    let for_queues = Arc::clone(shared);
    let (sender, failed) = (started.clone(), started.clone());
    control
        .run_target(
            move |device: &mut UblkDev| {
                parameters(device, &geometry);
                Ok(())
            },
            move |number, device: &UblkDev| {
                if let Err(error) = queue::serve(&for_queues, number, device) {
                    tracing::error!(error, number, "a ublk queue ended");
                    // Before the start the kernel waits for it, and would for ever.
                    let why = error;
                    let _ = failed.send(Err(UblkError::Refused { what: "serve a queue", why }));
                }
            },
            move |control: &UblkCtrl| {
                // Whoever waited for it may have given up.
                let _ = sender.send(Ok(control.dev_info().dev_id));
            },
        )
        .map_err(|error| refused("serve the device", error))?;
    Ok(())
}

/// What the kernel is told of the device.
fn parameters(device: &mut UblkDev, geometry: &Geometry) {
    let shift = |bytes: u32| u8::try_from(bytes.trailing_zeros()).unwrap_or(9);
    let sectors = |bytes: u64| bytes / request::SECTOR;
    let mut attrs = sys::UBLK_ATTR_VOLATILE_CACHE | sys::UBLK_ATTR_FUA;
    if geometry.read_only {
        attrs |= sys::UBLK_ATTR_READ_ONLY;
    }
    let longest = device.dev_info.max_io_buf_bytes;
    let all = u32::try_from(sectors(geometry.bytes)).unwrap_or(u32::MAX >> 9);
    // Above this the length of one request in bytes would not fit the driver's result.
    let all = all.min((i32::MAX as u32) >> 9);
    let all = all - all % (geometry.logical_block >> 9);
    let mut params = sys::ublk_params {
        types: sys::UBLK_PARAM_TYPE_BASIC,
        basic: sys::ublk_param_basic {
            attrs,
            logical_bs_shift: shift(geometry.logical_block),
            physical_bs_shift: shift(geometry.logical_block.max(geometry.preferred.min(4096))),
            io_opt_shift: shift(geometry.preferred),
            io_min_shift: shift(geometry.logical_block),
            max_sectors: longest >> 9,
            dev_sectors: sectors(geometry.bytes),
            ..Default::default()
        },
        ..Default::default()
    };
    if geometry.discard || geometry.write_zeroes {
        params.types |= sys::UBLK_PARAM_TYPE_DISCARD;
        params.discard = sys::ublk_param_discard {
            // The driver wants one even where there is no discard.
            discard_granularity: geometry.logical_block,
            max_discard_sectors: if geometry.discard { all } else { 0 },
            max_write_zeroes_sectors: if geometry.write_zeroes { all } else { 0 },
            max_discard_segments: 1,
            ..Default::default()
        };
    }
    device.tgt.dev_size = geometry.bytes;
    device.tgt.params = params;
    // Room for the command that watches the inbox.
    device.tgt.sq_depth = device.dev_info.queue_depth.saturating_add(8);
    device.tgt.cq_depth = device.tgt.sq_depth;
}

fn checked(device: &dyn BlockDevice) -> Result<Geometry, UblkError> {
    let geometry = device.geometry();
    geometry.validate()?;
    if geometry.logical_block > 4096 {
        return Err(UblkError::LogicalBlock(geometry.logical_block));
    }
    Ok(geometry)
}

/// Whether a process runs. One that is dead and not yet waited for does not.
fn lives(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state stands after the name, which may hold anything.
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    process > 0 && state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The size of a block device in bytes, as sysfs tells it.
fn size(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/sys/block/ublkb{id}/size")).ok()?;
    Some(text.trim().parse::<u64>().ok()? * request::SECTOR)
}

fn scheduler(id: u32) -> PathBuf {
    PathBuf::from(format!("/sys/block/ublkb{id}/queue/scheduler"))
}

/// Takes the I/O scheduler away: below are paths with schedulers of their own, and a request keeps
/// its tag without one, see [`request::Reissued`].
fn without_scheduler(id: u32) {
    if let Err(error) = fs::write(scheduler(id), "none") {
        tracing::warn!(%error, id, "the I/O scheduler of a ublk device cannot be taken away");
    }
}

fn scheduler_is_none(id: u32) -> bool {
    fs::read_to_string(scheduler(id)).is_ok_and(|text| text.contains("[none]"))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_is_dead_does_not_live() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        assert!(lives(number));
        child.kill().unwrap();
        // Dead, and nobody has waited for it.
        let start = Instant::now();
        while lives(number) {
            assert!(start.elapsed() < Duration::from_secs(10), "a dead process lives");
        }
        child.wait().unwrap();
        assert!(!lives(number) && !lives(0) && !lives(-1));
    }

    #[test]
    fn only_what_the_driver_offers_is_asked_for() {
        let all = u64::from(
            sys::UBLK_F_USER_COPY | sys::UBLK_F_USER_RECOVERY | sys::UBLK_F_USER_RECOVERY_REISSUE,
        );
        assert_eq!(Features::of(u64::MAX).wanted(), all);
        assert_eq!(Features::of(0).wanted(), 0);
        assert_eq!(lacks(Features::of(u64::MAX).wanted()), None);
        let said = |bits: u32| lacks(Features::of(bits.into()).wanted()).unwrap();
        assert!(said(sys::UBLK_F_USER_RECOVERY).contains("no UBLK_F_USER_RECOVERY_REISSUE:"));
        assert!(said(sys::UBLK_F_USER_COPY).contains("no UBLK_F_USER_RECOVERY:"));
        assert!(said(sys::UBLK_F_USER_RECOVERY_REISSUE).contains("no UBLK_F_USER_RECOVERY:"));
        // Re-issue means nothing without recovery.
        assert_eq!(Features::of(u64::from(sys::UBLK_F_USER_RECOVERY_REISSUE)).wanted(), 0);
    }
}
