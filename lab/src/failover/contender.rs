//! Who serves one device over both paths: started, looked at, stopped.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::event::{attribute, completed, hctl};
use super::{SLOW_LOOK, wait_for};
use crate::command;
use crate::sysfs;
use crate::target::lio::Lio;

/// Where its log goes.
pub(super) const LOG: &str = "/run/failover-server.log";
/// How long it may take to start, and to end.
const START: Duration = Duration::from_secs(60);

/// Somebody who serves one device over several paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// dm-multipath and multipathd as multipath-tools ships them, but for `no_path_retry`: with the
    /// shipped value a swap fails requests.
    Shipped,
    /// The same with the shortest polling interval that there is, and failback at once.
    Tuned,
    /// `alua up --ublk`.
    Ublk,
    /// `alua up --nbd`, with the kernel's client.
    Nbd,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Shipped, Self::Tuned, Self::Ublk, Self::Nbd];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shipped => "dm-shipped",
            Self::Tuned => "dm-tuned",
            Self::Ublk => "ublk",
            Self::Nbd => "nbd",
        }
    }

    /// The one with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The options of multipath.conf.
    const fn options(self) -> &'static str {
        match self {
            Self::Tuned => {
                "    no_path_retry 120\n    polling_interval 1\n    max_polling_interval 1\n    \
                 failback immediate\n"
            }
            _ => "    no_path_retry 120\n",
        }
    }

    const fn is_dm(self) -> bool {
        matches!(self, Self::Shipped | Self::Tuned)
    }
}

/// What is to be expected of a path that is whole again.
pub(super) struct Returns {
    /// I/O goes back to it without anybody's doing.
    pub(super) by_itself: bool,
}

/// A contender at work.
pub(super) struct Running {
    contender: Contender,
    server: Child,
    device: PathBuf,
    /// Its name in sysfs.
    block: String,
}

impl Running {
    pub(super) fn start(contender: Contender, lio: &Lio) -> Result<Self> {
        let log = fs::File::create(LOG)?;
        let mut command = match contender {
            Contender::Shipped | Contender::Tuned => {
                let options = contender.options();
                let text = format!(
                    "defaults {{\n    find_multipaths no\n    user_friendly_names no\n{options}}}\n"
                );
                fs::write("/etc/multipath.conf", text)?;
                fs::create_dir_all("/run/multipath")?;
                must("udevadm", &["trigger", "--settle", "--subsystem-match=block"])?;
                let mut command = Command::new("multipathd");
                command.args(["-d", "-v2"]);
                command
            }
            Contender::Ublk | Contender::Nbd => {
                let disk = format!("/dev/{}", sysfs::need_disk(&hctl(lio, 1)?)?);
                let mut command = Command::new("unshare");
                command.args(["--mount", "alua", "up", &disk]);
                match contender {
                    Contender::Nbd => command.args(["--nbd", "unix:/run/failover.sock"]),
                    _ => command.args(["--ublk", "--ublk-id", "0"]),
                };
                command
            }
        };
        let server = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", contender.name()))?;
        let mut running = Self { contender, server, device: PathBuf::new(), block: String::new() };
        match running.find(lio) {
            Ok(()) => Ok(running),
            Err(error) => {
                let log = running.log();
                let _ = running.stop();
                Err(error.context(format!("{} does not start: {log}", contender.name())))
            }
        }
    }

    fn find(&mut self, lio: &Lio) -> Result<()> {
        let device = match self.contender {
            Contender::Shipped | Contender::Tuned => {
                let wwid = sysfs::read(&attribute(&hctl(lio, 1)?, "wwid"))?;
                let wwid = wwid.strip_prefix("naa.").context("a unit without a NAA name")?;
                Path::new("/dev/mapper").join(format!("3{wwid}"))
            }
            Contender::Ublk => PathBuf::from("/dev/ublkb0"),
            Contender::Nbd => {
                wait_for(SLOW_LOOK, START, || Ok(Path::new("/run/failover.sock").exists()))?;
                must("nbd-client", &["-unix", "/run/failover.sock", "/dev/nbd0"])?;
                PathBuf::from("/dev/nbd0")
            }
        };
        wait_for(SLOW_LOOK, START, || Ok(device.exists()))
            .with_context(|| format!("there is no {}", device.display()))?;
        let node = fs::canonicalize(&device)?;
        self.block = node.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.device = device;
        wait_for(SLOW_LOOK, START, || self.is_whole(lio)).context("not all paths are used")
    }

    pub(super) fn device(&self) -> &Path {
        &self.device
    }

    pub(super) fn completed(&self) -> Result<u64> {
        completed(&self.block)
    }

    pub(super) fn returns(&self) -> Returns {
        Returns { by_itself: self.contender != Contender::Shipped }
    }

    /// Whether it holds both paths for usable.
    fn is_whole(&self, lio: &Lio) -> Result<bool> {
        if self.contender.is_dm() {
            let states = self.path_states()?;
            return Ok(states.len() == 2 && states.iter().all(|(_, active)| *active));
        }
        let status = must("alua", &["--json", "status"])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        // It can be asked a moment after its device is there.
        let Some(paths) = status["devices"][0]["paths"].as_array() else { return Ok(false) };
        let there = lio.places.iter().filter_map(|place| sysfs::disk(&place.hctl)).count();
        Ok(there == 2 && paths.len() == 2)
    }

    /// dm's word for each path in the order of its groups: its number, and whether it is active.
    fn path_states(&self) -> Result<Vec<(String, bool)>> {
        let name = self.device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let status = must("dmsetup", &["status", &name])?;
        let words: Vec<&str> = status.split_whitespace().collect();
        let mut states = Vec::new();
        for pair in words.windows(2) {
            let number = pair[0].split_once(':').is_some_and(|(major, minor)| {
                major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok()
            });
            if number && ["A", "F"].contains(&pair[1]) {
                states.push((pair[0].to_owned(), pair[1] == "A"));
            }
        }
        Ok(states)
    }

    /// Waits until it holds every path that should be usable for usable, and brings I/O to the path
    /// that is live, where it does not go there by itself.
    pub(super) fn settle(&self, lio: &Lio, live: u16, limit: Duration) -> Result<()> {
        if !self.contender.is_dm() {
            return wait_for(SLOW_LOOK, limit, || self.is_whole(lio))
                .context("alua up has not both paths");
        }
        let number = |port| {
            let disk = sysfs::need_disk(&hctl(lio, port)?)?;
            sysfs::read(&Path::new("/sys/class/block").join(disk).join("dev"))
        };
        let live = number(live)?;
        wait_for(SLOW_LOOK, limit, || {
            let states = self.path_states()?;
            Ok(states.len() == 2 && states.iter().any(|(it, active)| *it == live && *active))
        })
        .context("dm-multipath has not the path")?;
        let at = self.path_states()?.iter().position(|(it, _)| *it == live).unwrap_or(0) + 1;
        let name = self.device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Where both paths stand in one group there is no second one.
        let _ = command::run(
            "dmsetup",
            &["message", &name, "0", &format!("switch_group {at}")],
            command::LIMIT,
        );
        Ok(())
    }

    /// The end of what it said.
    pub(super) fn log(&self) -> String {
        let text = fs::read_to_string(LOG).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub(super) fn stop(mut self) -> Result<()> {
        if self.contender == Contender::Nbd {
            command::run("nbd-client", &["-d", "/dev/nbd0"], command::LIMIT)?;
        }
        let pid = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw);
        if self.server.try_wait()?.is_none() {
            kill_process(pid.context("a server without a number")?, Signal::TERM)?;
        }
        let ended = wait_for(SLOW_LOOK, START, || Ok(self.server.try_wait()?.is_some()));
        if ended.is_err() {
            let _ = self.server.kill();
            bail!("{} does not end: {}", self.contender.name(), self.log());
        }
        if self.contender.is_dm() {
            if self.device.exists() {
                let name =
                    self.device.file_name().unwrap_or_default().to_string_lossy().into_owned();
                must("dmsetup", &["remove", "--retry", &name])?;
            }
        } else {
            let status = self.server.wait()?;
            ensure!(status.success(), "alua up ended with {status}: {}", self.log());
        }
        Ok(())
    }
}

fn must(program: &str, arguments: &[&str]) -> Result<String> {
    let output = command::run(program, arguments, command::LIMIT)?;
    let line = arguments.join(" ");
    ensure!(output.status == 0, "`{program} {line}`: {}", output.said());
    Ok(output.stdout)
}
