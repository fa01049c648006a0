//! A program that runs beside the scenario: what it says is kept, and it can be waited for, ended
//! and killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::Output;

/// How often a program is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Lines of a log that are shown where something failed.
const LOG_LINES: usize = 60;

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    line: String,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(command: &[String]) -> Result<Self> {
        let line = command.join(" ");
        let (program, arguments) = command.split_first().context("an empty command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = child
            .stdout
            .take()
            .map(|pipe| keep(pipe, Arc::clone(&stdout)))
            .into_iter()
            .chain(child.stderr.take().map(|pipe| keep(pipe, Arc::clone(&stderr))))
            .collect();
        Ok(Self { child, line, stdout, stderr, readers })
    }

    /// Waits until it has said a line with that beginning; gives the rest of it.
    ///
    /// # Errors
    ///
    /// It ended, or did not say so within `limit`.
    pub fn wait_for(&mut self, beginning: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?;
            if ended.is_some() {
                // All that it said is then here.
                self.read_to_the_end();
            }
            let said = text(&self.stdout);
            if let Some(rest) = said.lines().find_map(|line| line.strip_prefix(beginning)) {
                return Ok(rest.to_owned());
            }
            if let Some(status) = ended {
                bail!("`{}` ended with {status}: {}", self.line, text(&self.stderr).trim());
            }
            if Instant::now() > end {
                bail!("`{}` did not say `{beginning}` within {} s", self.line, limit.as_secs());
            }
            thread::sleep(LOOK);
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process without a number")?;
        if !self.is_running()? {
            bail!("`{}` had ended: {}", self.line, text(&self.stderr).trim());
        }
        Ok(kill_process(pid, signal)?)
    }

    /// The end of what it has said on standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        let said = text(&self.stderr);
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn read_to_the_end(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader only reads; what it kept counts.
            let _ = reader.join();
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It is not done within `limit`, when it is killed.
    pub fn finish(mut self, limit: Duration) -> Result<Output> {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                // What hangs in the kernel does not die: it is left alone.
                self.child.kill()?;
                bail!("`{}`: not done within {} s", self.line, limit.as_secs());
            }
            thread::sleep(LOOK);
        };
        self.read_to_the_end();
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        Ok(Output { status: status.code().unwrap_or(-1), stdout, stderr })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.try_wait();
    }
}

fn text(kept: &Mutex<String>) -> String {
    kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn keep(pipe: impl Read + Send + 'static, kept: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_str(&line);
            kept.push('\n');
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        Process::start(&["sh", "-c", script].map(str::to_owned)).unwrap()
    }

    #[test]
    fn what_it_says_is_waited_for_and_kept() {
        let mut process = shell("echo one; echo ready: here; echo bad >&2; exit 3");
        assert_eq!(process.wait_for("ready: ", LONG).unwrap(), "here");
        assert!(["", "bad"].contains(&process.log().as_str()), "it may not have said it yet");
        let output = process.finish(LONG).unwrap();
        assert_eq!((output.status, output.stdout.as_str()), (3, "one\nready: here\n"));
        assert_eq!(output.stderr, "bad\n");
    }

    #[test]
    fn one_that_ends_without_a_word_is_an_error() {
        let error = shell("echo no >&2; exit 1").wait_for("ready: ", LONG).unwrap_err();
        assert!(error.to_string().contains("ended with exit status: 1"), "{error}");
    }

    #[test]
    fn it_is_ended_and_killed_by_signals() {
        let mut process =
            shell("trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.02; done");
        process.wait_for("up", LONG).unwrap();
        process.signal(Signal::TERM).unwrap();
        let output = process.finish(LONG).unwrap();
        assert_eq!((output.status, output.stdout.as_str()), (4, "up\nbye\n"));
        let mut process = shell("exec sleep 60");
        process.signal(Signal::KILL).unwrap();
        assert_eq!(process.finish(LONG).unwrap().status, -1);
    }

    #[test]
    fn one_that_does_not_end_is_cut_off() {
        let error = shell("exec sleep 60").finish(Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().ends_with("not done within 0 s"), "{error}");
    }
}
