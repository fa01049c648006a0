//! Other implementations, as processes.
//!
//! A peer is a program of `peers/` that `cargo xtask bench` built. Called as `PEER FILE COUNT` it
//! reads the sample `COUNT` times and writes `CHECKSUM NANOSECONDS`; without a count it takes one
//! count after another from its standard input.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::samples::Sample;

/// The environment variable that names the folder of the peers.
pub const FOLDER: &str = "ALUA_BENCH_PEERS";

/// The programs that read a sample.
#[must_use]
pub const fn of(sample: Sample) -> &'static [&'static str] {
    match sample {
        Sample::Report(_) => &["libmultipath"],
        Sample::Page83 => &["libiscsi", "libsgutils2"],
    }
}

/// The built program with that name, if it is there.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os(FOLDER)?).join(name);
    path.is_file().then_some(path)
}

/// Writes the samples as files into `folder` and gives the path of this one.
///
/// # Errors
///
/// The file cannot be written.
pub fn sample_file(folder: &Path, sample: Sample) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(sample.name());
    fs::write(&path, sample.bytes()?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A peer that runs.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `program` on the sample in `file`.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(program: &Path, file: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take().context("the peer has no input")?;
        let output = BufReader::new(child.stdout.take().context("the peer has no output")?);
        Ok(Self { child, input, output })
    }

    /// Reads the sample `count` times: the checksum of the last reading and the time of all.
    ///
    /// # Errors
    ///
    /// The peer has ended, or says something else.
    pub fn run(&mut self, count: u64) -> Result<(u32, Duration)> {
        writeln!(self.input, "{count}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let (sum, nanos) = line.trim().split_once(' ').context("the peer said nothing")?;
        Ok((sum.parse()?, Duration::from_nanos(nanos.parse()?)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Nothing that it could still do matters.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
