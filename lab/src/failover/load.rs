//! The load: fio, which is stopped and continued, and what became of each of its requests.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

/// Where it writes.
const FOLDER: &str = "/run/failover-load";
/// How long it may take to end.
const END: Duration = Duration::from_secs(60);

/// One request of fio, in nanoseconds of the monotonic clock. fio tells the completion to the
/// millisecond, and what the request took exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) submitted: u64,
    pub(super) completed: u64,
}

/// fio at work. It is stopped when it has begun.
pub(super) struct Load {
    child: Child,
}

impl Load {
    pub(super) fn start(device: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(FOLDER);
        fs::create_dir_all(FOLDER)?;
        let child = Command::new("fio")
            .args(["--name=load", &format!("--filename={}", device.display())])
            .args(["--direct=1", "--ioengine=psync", "--rw=randwrite", "--bs=4k"])
            // Four jobs, each with a quarter of the device and one request at a time. A pause after
            // each request, and not a rate: nothing is made up for after a stall.
            .args(["--numjobs=4", "--size=25%", "--offset_increment=25%", "--thinktime=8ms"])
            .args(["--verify=crc32c", "--verify_backlog=4", "--verify_fatal=1"])
            .args(["--time_based", "--runtime=100000", "--clocksource=clock_gettime"])
            .args(["--write_lat_log=log", "--log_alternate_epoch=1"])
            .arg("--log_alternate_epoch_clock_id=1")
            // Its estimate of the end would go to the console, as one line that never ends.
            .args(["--output=out", "--group_reporting", "--eta=never"])
            .current_dir(FOLDER)
            .stdin(Stdio::null())
            .stderr(fs::File::create(Path::new(FOLDER).join("err"))?)
            .process_group(0)
            .spawn()
            .context("cannot start fio")?;
        let load = Self { child };
        std::thread::sleep(Duration::from_millis(300));
        load.pause()?;
        Ok(load)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process_group(pid.context("fio has no number")?, signal)?)
    }

    pub(super) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(super) fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends it; gives every request that it completed, in no order.
    pub(super) fn stop(mut self) -> Result<Vec<Request>> {
        self.go_on()?;
        let early = self.child.try_wait()?;
        if early.is_none() {
            self.signal(Signal::INT)?;
        }
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > END {
                // What hangs in the kernel does not die: it is left alone.
                self.signal(Signal::KILL)?;
                bail!("fio does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let read = |name: &str| fs::read_to_string(Path::new(FOLDER).join(name));
        let said =
            format!("{}{}", read("err").unwrap_or_default(), read("out").unwrap_or_default());
        let failed = early.is_some() || !said.contains("err= 0") || said.contains("verify");
        let how = early.map_or("at its end".to_owned(), |status| format!("early, {status}"));
        ensure!(
            !failed,
            "fio failed {how}: {}",
            said.lines().take(20).collect::<Vec<_>>().join(" | ")
        );
        let mut requests = Vec::new();
        for entry in fs::read_dir(FOLDER)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("log_lat") {
                let text = fs::read_to_string(entry.path())?;
                requests.extend(text.lines().map(parse).collect::<Result<Vec<_>>>()?);
            }
        }
        Ok(requests)
    }
}

/// A line of fio's log: milliseconds, nanoseconds that it took, and more.
fn parse(line: &str) -> Result<Request> {
    let mut fields = line.split(',').map(|field| field.trim().parse::<u64>());
    let mut next = || fields.next().and_then(Result::ok);
    let (Some(at), Some(took)) = (next(), next()) else { bail!("fio's log has a line {line:?}") };
    let completed = at * 1_000_000;
    Ok(Request { submitted: completed.saturating_sub(took), completed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read() {
        let request = parse("33411, 134020, 1, 4096, 29052928, 0").unwrap();
        assert_eq!((request.submitted, request.completed), (33_410_865_980, 33_411_000_000));
        assert!(parse("33411").is_err() && parse("").is_err());
    }
}
