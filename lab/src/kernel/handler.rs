//! The handler under test: loading it, and the kernel's log.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::command;
use crate::sysfs::write;

/// Which handler is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handler {
    /// The distribution's `scsi_dh_alua`.
    Stock,
    /// `scsi_dh_alua_rs`.
    Ours,
}

/// Where our module is.
const MODULE: &str = "/run/bin/scsi_dh_alua_rs.ko";

impl Handler {
    /// The handler with that name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "stock" => Ok(Self::Stock),
            "ours" => Ok(Self::Ours),
            _ => bail!("there is no handler {name}"),
        }
    }

    /// Loads the handler.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn load(self) -> Result<()> {
        match self {
            Self::Stock => tool("modprobe", &["scsi_dh_alua"]),
            // Looks again at what is stuck after three seconds: scenarios do not wait thirty.
            Self::Ours => tool("insmod", &[MODULE, "reprobe_secs=3"]),
        }
    }

    /// Unloads the handler.
    ///
    /// # Errors
    ///
    /// A device has it.
    pub(crate) fn unload(self) -> Result<()> {
        tool(
            "rmmod",
            &[match self {
                Self::Stock => "scsi_dh_alua",
                Self::Ours => "scsi_dh_alua_rs",
            }],
        )
    }
}

/// Runs a program that has to end well.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Result<()> {
    let output = command::run(program, arguments, command::LIMIT)?;
    ensure!(output.status == 0, "{program} {}: {}", arguments.join(" "), output.said());
    Ok(())
}

/// Mounts what the scenarios look at, and loads what they need but the handler.
///
/// # Errors
///
/// The kernel refuses.
pub fn prepare() -> Result<()> {
    let modules = [
        "-a",
        "configfs",
        "sd_mod",
        "sg",
        "dm_multipath",
        "dm_round_robin",
        "dm_service_time",
        "target_core_mod",
        "target_core_user",
        "target_core_file",
        "tcm_loop",
    ];
    tool("modprobe", &modules)?;
    for (kind, at) in [
        ("configfs", "/sys/kernel/config"),
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
    ] {
        if !std::fs::read_to_string("/proc/mounts")?.contains(&format!(" {at} ")) {
            tool("mount", &["-t", kind, kind, at])?;
        }
    }
    // A task that hangs is a finding after half a minute; the kernel's own limit is two.
    let limit = Path::new("/proc/sys/kernel/hung_task_timeout_secs");
    if limit.exists() {
        write(limit, "60")?;
    }
    Ok(())
}

/// The kernel's log from now on.
#[derive(Debug)]
pub(crate) struct Log(File);

/// Words of lines that no kernel may write.
const BAD: [&str; 12] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "RIP:",
    "Call Trace",
    "INFO: task",
    "INFO: rcu",
    "possible",
    "KASAN",
    "UBSAN",
    "kmemleak",
    "general protection",
];

impl Log {
    pub(crate) fn open() -> Result<Self> {
        const O_NONBLOCK: i32 = 0o4000;
        let mut log = Self(
            OpenOptions::new()
                .read(true)
                .custom_flags(O_NONBLOCK)
                .open("/dev/kmsg")
                .context("/dev/kmsg")?,
        );
        log.lines()?;
        Ok(log)
    }

    /// The lines since the last call.
    pub(crate) fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; 8_192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return Ok(lines),
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]).into_owned();
                    let line = text.split_once(';').map_or(&*text, |(_, line)| line);
                    lines.push(line.lines().next().unwrap_or_default().to_owned());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(lines),
                // Records were overwritten before they were read.
                Err(error) if error.raw_os_error() == Some(32) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The lines since the last call that no kernel may write.
    pub(crate) fn warnings(&mut self) -> Result<Vec<String>> {
        let lines = self.lines()?;
        Ok(lines.into_iter().filter(|line| BAD.iter().any(|bad| line.contains(bad))).collect())
    }
}
