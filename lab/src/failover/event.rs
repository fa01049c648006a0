//! What happens to the array or to a path, and how it is made good again.
//!
//! Before each event path 1 is the better one (its group is optimized, the other's is non-optimized)
//! and I/O goes down it; `swap` has them in turns instead, and a transition only has path 1.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use alua_host::sg::SgDevice;
use alua_host::transport::{Data, Request, Transport};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::contender::Returns;
use super::{LOOK, RETURN, UNIT, now};
use crate::scenario::{Fabric, State};
use crate::sysfs;
use crate::target::lio::Lio;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Nothing: what the measure itself comes to.
    Nothing,
    /// The array sets the live group to standby and the other to optimized.
    Implicit,
    /// Another program sends SET TARGET PORT GROUPS for the same.
    Explicit,
    /// The live group goes to standby at the moment at which the other comes back from there.
    Swap,
    /// The only live group is in transition for two seconds; the other is unavailable.
    Transition,
    /// The disk in use is set offline in sysfs, then running.
    Offline,
    /// The disk in use is deleted, then found again by a scan.
    Removal,
    /// The path in use answers nothing any more, then does again.
    Hang,
}

/// Which path is live before a swap.
static SWAPPED: AtomicU16 = AtomicU16::new(1);

/// How long a transition takes.
const TRANSITION_MS: u32 = 2_000;

impl Event {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Implicit,
        Self::Explicit,
        Self::Swap,
        Self::Transition,
        Self::Offline,
        Self::Removal,
        Self::Hang,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Implicit => "implicit",
            Self::Explicit => "explicit",
            Self::Swap => "swap",
            Self::Transition => "transition",
            Self::Offline => "offline",
            Self::Removal => "removal",
            Self::Hang => "hang",
        }
    }

    /// The kind with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }

    /// What the paths are: only those of iSCSI can hang.
    pub(super) const fn fabric(self) -> Fabric {
        match self {
            Self::Hang => Fabric::Iscsi,
            _ => Fabric::Loop,
        }
    }

    /// The path that I/O goes down before it.
    pub(super) fn live(self) -> u16 {
        if self == Self::Swap { SWAPPED.load(Ordering::Relaxed) } else { 1 }
    }

    /// Brings the groups into the states before it.
    pub(super) fn prepare(self, lio: &Lio) -> Result<()> {
        match self {
            Self::Swap => {
                set(self.live(), State::ActiveOptimized)?;
                set(3 - self.live(), State::Standby)
            }
            Self::Transition => set(2, State::Unavailable),
            _ => normal(lio),
        }
    }

    /// Has it happen; gives from when on a request counts that was submitted, and the moment from
    /// which is counted.
    pub(super) fn act(self, lio: &Lio) -> Result<(u64, u64)> {
        let begin = now();
        match self {
            Self::Nothing => {}
            Self::Implicit => {
                set(1, State::Standby)?;
                set(2, State::ActiveOptimized)?;
            }
            Self::Explicit => stpg(lio, 2, &[(1, State::Standby), (2, State::ActiveOptimized)])?,
            Self::Swap => {
                let live = self.live();
                set(3 - live, State::ActiveOptimized)?;
                set(live, State::Standby)?;
                SWAPPED.store(3 - live, Ordering::Relaxed);
            }
            Self::Transition => {
                Lio::set_transition(UNIT, 1, TRANSITION_MS)?;
                set(1, State::ActiveNonOptimized)?;
                let end = now();
                Lio::set_transition(UNIT, 1, 0)?;
                return Ok((begin, end));
            }
            Self::Offline => sysfs::write(&attribute(&hctl(lio, 1)?, "state"), "offline\n")?,
            // It comes back when all of the disk is gone, long after no request passes any more.
            Self::Removal => {
                sysfs::delete(&hctl(lio, 1)?)?;
                return Ok((begin, begin));
            }
            Self::Hang => lio.set_hung(1, true)?,
        }
        let end = now();
        Ok((end, end))
    }

    /// Makes it good; gives how long it took until I/O went down the path again, in milliseconds,
    /// where the path was away and is the better one now.
    pub(super) fn undo(self, lio: &Lio, returns: &Returns) -> Result<Option<f64>> {
        let before = commands(lio, 1);
        let at = now();
        match self {
            Self::Implicit | Self::Explicit => normal(lio)?,
            Self::Nothing | Self::Swap => return Ok(None),
            Self::Transition => {
                set(1, State::ActiveOptimized)?;
                return Ok(None);
            }
            Self::Offline => sysfs::write(&attribute(&hctl(lio, 1)?, "state"), "running\n")?,
            Self::Removal => sysfs::scan(&hctl(lio, 1)?)?,
            Self::Hang => lio.set_hung(1, false)?,
        }
        if !returns.by_itself {
            return Ok(None);
        }
        // A disk that was found again counts anew.
        let before = if self == Self::Removal { 0 } else { before };
        let quiet = commands(lio, 1);
        let limit = if self == Self::Hang { RETURN * 10 } else { RETURN };
        while now() - at < u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX) {
            let is = commands(lio, 1);
            // What an identity check or a scan reads is no data of ours: a few commands more.
            if is > before.max(quiet) + 8 {
                return Ok(Some((now() - at) as f64 / 1e6));
            }
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }
}

fn set(group: u16, state: State) -> Result<()> {
    if Lio::state(UNIT, group)? == state {
        return Ok(());
    }
    Lio::set_state(UNIT, group, state)
}

/// Group 1 optimized, group 2 not.
fn normal(_: &Lio) -> Result<()> {
    set(1, State::ActiveOptimized)?;
    set(2, State::ActiveNonOptimized)
}

pub(super) fn hctl(lio: &Lio, port: u16) -> Result<String> {
    let place = lio.places.iter().find(|place| place.port == port);
    Ok(place.with_context(|| format!("there is no path {port}"))?.hctl.clone())
}

pub(super) fn attribute(hctl: &str, name: &str) -> std::path::PathBuf {
    std::path::Path::new("/sys/bus/scsi/devices").join(hctl).join(name)
}

/// Reads and writes that the path's disk has completed; 0 while there is none.
pub(super) fn commands(lio: &Lio, port: u16) -> u64 {
    let disk = hctl(lio, port).ok().and_then(|hctl| sysfs::disk(&hctl));
    disk.and_then(|disk| completed(&disk).ok()).unwrap_or(0)
}

/// Reads and writes that a block device has completed.
pub(super) fn completed(device: &str) -> Result<u64> {
    let text = sysfs::read(&std::path::Path::new("/sys/class/block").join(device).join("stat"))?;
    let number = |at: usize| text.split_whitespace().nth(at)?.parse::<u64>().ok();
    let sum = number(0).zip(number(4)).map(|(reads, writes)| reads + writes);
    sum.with_context(|| format!("{device} has no counters: {text:?}"))
}

/// SET TARGET PORT GROUPS down a path.
fn stpg(lio: &Lio, port: u16, groups: &[(u16, State)]) -> Result<()> {
    let disk = sysfs::need_disk(&hctl(lio, port)?)?;
    let mut device = SgDevice::open(std::path::Path::new("/dev").join(disk).as_path())?;
    let mut list = vec![0; 4];
    for (group, state) in groups {
        let [high, low] = group.to_be_bytes();
        list.extend([*state as u8, 0, high, low]);
    }
    let length = u32::try_from(list.len())?.to_be_bytes();
    let mut cdb = [0; 12];
    (cdb[0], cdb[1]) = (0xa4, 0x0a);
    cdb[6..10].copy_from_slice(&length);
    for _ in 0..3 {
        let request = Request { cdb: &cdb, data: Data::Out(&list), timeout_ms: 10_000 };
        let reply = device.execute(request).map_err(|error| anyhow::anyhow!("STPG: {error}"))?;
        if reply.status == alua_core::spc::Status::Good {
            return Ok(());
        }
        // A unit attention that waited comes first.
        std::thread::sleep(Duration::from_millis(1));
    }
    ensure!(false, "STPG is refused");
    Ok(())
}
