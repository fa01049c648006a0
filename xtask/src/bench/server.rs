//! A server that is measured, and what is done with the figures.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run;

/// Clock ticks of `/proc/PID/stat` in a second, on every Linux.
const TICKS: f64 = 100.0;

/// A server that is ended with the benchmark.
pub(super) struct Server(Child);

impl Server {
    /// Starts it, and waits until it is `ready`.
    pub(super) fn start(command: &mut Command, mut ready: impl FnMut() -> bool) -> Result<Self> {
        let shown = run::shown(command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = Self(command.spawn().with_context(|| format!("cannot start `{shown}`"))?);
        let start = Instant::now();
        while !ready() {
            if let Some(status) = server.0.try_wait()? {
                bail!("`{shown}` ended at once ({status})");
            }
            if start.elapsed() > Duration::from_secs(10) {
                bail!("`{shown}` does not listen");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The CPU time that it has used so far, in seconds.
    pub(super) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // After the name, which may hold anything, the fields are plain: user and system time are
        // the 12th and the 13th.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        Ok(ticks / TICKS)
    }

    /// Its resident memory in KiB.
    pub(super) fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        figure.context("no VmRSS in /proc")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The values in order: the middle one is the median.
pub(super) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}
