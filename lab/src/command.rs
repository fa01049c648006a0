//! Running a program with a deadline.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a program may take. The slowest that is waited for is a transition of a few seconds.
pub const LIMIT: Duration = Duration::from_secs(40);

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status; -1 when a signal ended it.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The last lines of what it said, for a message.
    #[must_use]
    pub fn said(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" | ")
    }
}

/// Runs a program to its end.
///
/// # Errors
///
/// It cannot be started, or it is not done within `limit`, when it is killed.
pub fn run(program: &str, arguments: &[&str], limit: Duration) -> Result<Output> {
    let line = || format!("`{program} {}`", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line()))?;
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let status = wait(&mut child, limit).with_context(line)?;
    let text = |thread: Option<thread::JoinHandle<String>>| {
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    Ok(Output { status, stdout: text(stdout), stderr: text(stderr) })
}

/// A program that runs on until it is stopped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    stdout: Option<thread::JoinHandle<String>>,
}

impl Background {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{program} {}`", arguments.join(" ")))?;
        let stdout = child.stdout.take().map(reader);
        Ok(Self { child, stdout })
    }

    /// Stops it and gives its standard output.
    ///
    /// # Errors
    ///
    /// It ended before by itself.
    pub fn stop(mut self) -> Result<String> {
        let ended = self.child.try_wait()?;
        if ended.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        let stdout = self.stdout.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        match ended {
            None => Ok(stdout),
            Some(status) => bail!("the program did not run on: {status}: {stdout}"),
        }
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still shown.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> Result<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().unwrap_or(-1));
        }
        if start.elapsed() > limit {
            child.kill()?;
            // A program that hangs in the kernel does not die: it is left alone.
            bail!("not done within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept() {
        let output = run("sh", &["-c", "echo out; echo err >&2; exit 3"], LIMIT).unwrap();
        assert_eq!((output.status, output.stdout.as_str()), (3, "out\n"));
        assert_eq!(output.said(), "err");
    }

    #[test]
    fn a_program_in_the_background_is_read_and_stopped() {
        let program = Background::start("sh", &["-c", "echo one; exec sleep 30"]).unwrap();
        thread::sleep(Duration::from_millis(300));
        assert_eq!(program.stop().unwrap(), "one\n");
        let program = Background::start("true", &[]).unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(program.stop().is_err());
    }

    #[test]
    fn a_program_that_hangs_is_cut_off() {
        let error = run("sleep", &["30"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(format!("{error:#}"), "`sleep 30`: not done within 0 s");
    }
}
