//! What one request costs: 4 KiB random reads over the same two paths of LIO, by a raw path, by
//! dm-multipath and by `alua up --ublk`.
//!
//! It is meant for a guest whose clock counts instructions (QEMU's `icount`, one instruction a
//! nanosecond): the time of a request is then the number of instructions of everything that takes
//! part, fio and the target included, as long as the processor is not idle.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::contender::{Contender, Running};
use super::event::hctl;
use crate::command;
use crate::scenario::Fabric;
use crate::sysfs;
use crate::target::lio::Lio;

/// Requests of one measurement.
const REQUESTS: u64 = 20_000;
/// Requests before it, so that nothing is done for the first time.
const WARM: u64 = 2_000;

/// Where the requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// The disk of one path.
    Raw,
    /// dm-multipath, bio-based.
    DmBio,
    /// dm-multipath, request-based, which is what multipath-tools asks for.
    DmRequest,
    /// `alua up --ublk`.
    Ublk,
}

impl Device {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::DmBio, Self::DmRequest, Self::Ublk];

    /// For a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "one path, raw",
            Self::DmBio => "dm-multipath, bio-based",
            Self::DmRequest => "dm-multipath, request-based",
            Self::Ublk => "alua up, ublk",
        }
    }
}

/// What one request cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Where it went.
    pub device: Device,
    /// Requests at once.
    pub depth: u32,
    /// Nanoseconds of the guest's clock for each request.
    pub ns: f64,
}

/// Measures every device at these depths; each result is handed out at once.
///
/// # Errors
///
/// Something does not start or end, or fio fails.
pub fn run(depths: &[u32], mut tell: impl FnMut(Cost) -> Result<()>) -> Result<()> {
    for device in Device::ALL {
        let lio = super::set_up(Fabric::Loop)?;
        let (node, ending) = start(device, &lio)?;
        for &depth in depths {
            fio(&node, depth, WARM)?;
            tell(Cost { device, depth, ns: fio(&node, depth, REQUESTS)? })?;
        }
        match ending {
            Ending::Nothing => {}
            Ending::Map(name) => must("dmsetup", &["remove", "--retry", name]).map(drop)?,
            Ending::Server(server) => server.stop()?,
        }
        Lio::take_down()?;
    }
    Ok(())
}

/// How a device ends.
enum Ending {
    Nothing,
    Map(&'static str),
    Server(Box<Running>),
}

fn start(device: Device, lio: &Lio) -> Result<(PathBuf, Ending)> {
    let disk = |port| sysfs::need_disk(&hctl(lio, port)?);
    let first = disk(1)?;
    Ok(match device {
        Device::Raw => (Path::new("/dev").join(first), Ending::Nothing),
        Device::DmBio | Device::DmRequest => {
            let mode = if device == Device::DmBio { "bio" } else { "rq" };
            let folder = Path::new("/sys/class/block");
            let sectors = sysfs::read(&folder.join(&first).join("size"))?;
            let (one, two) = (folder.join(&first).join("dev"), folder.join(disk(2)?).join("dev"));
            let (one, two) = (sysfs::read(&one)?, sysfs::read(&two)?);
            // The table that multipathd makes of two groups.
            let table = format!(
                "0 {sectors} multipath 3 queue_if_no_path queue_mode {mode} 1 alua 2 1 service-time \
                 0 1 1 {one} 1 service-time 0 1 1 {two} 1"
            );
            must("dmsetup", &["create", "cost", "--table", &table])?;
            must("dmsetup", &["mknodes"])?;
            ("/dev/mapper/cost".into(), Ending::Map("cost"))
        }
        Device::Ublk => {
            let running = Running::start(Contender::Ublk, lio)?;
            (running.device().to_owned(), Ending::Server(Box::new(running)))
        }
    })
}

/// Nanoseconds for each request.
fn fio(node: &Path, depth: u32, requests: u64) -> Result<f64> {
    let file = format!("--filename={}", node.display());
    let (depth, bytes) = (format!("--iodepth={depth}"), format!("--io_size={}k", requests * 4));
    let fixed = ["--name=cost", "--rw=randread", "--bs=4k", "--direct=1", "--ioengine=libaio"];
    let more = ["--norandommap", "--output-format=json", "--gtod_reduce=1"];
    let said = must("fio", &[&fixed[..], &more[..], &[&file, &depth, &bytes]].concat())?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    let job = &said["jobs"][0];
    ensure!(job["error"] == 0, "fio failed with {}", job["error"]);
    let done = job["read"]["total_ios"].as_u64().context("fio tells no number")?;
    ensure!(done == requests, "fio read {done} times, not {requests}");
    let runtime = job["read"]["runtime"].as_f64().context("fio tells no time")?;
    Ok(runtime * 1e6 / requests as f64)
}

fn must(program: &str, arguments: &[&str]) -> Result<String> {
    let output = command::run(program, arguments, command::LIMIT)?;
    ensure!(output.status == 0, "`{program} {}`: {}", arguments.join(" "), output.said());
    Ok(output.stdout)
}
