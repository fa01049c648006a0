//! A target that is served on loopback, and a session with it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use alua_bench::load::Session;
use serde_json::Value;

use super::{code, run, stderr, stdout};

/// The address in the line of a portal.
fn address(line: &str) -> String {
    let mut words = line.rsplit([' ', ',', '"']);
    words.find(|word| word.starts_with("127.0.0.") || word.starts_with("[::")).unwrap().to_owned()
}

/// A running `alua target serve`.
pub(crate) struct Served {
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) address: String,
    lines: BufReader<std::process::ChildStdout>,
    first: Vec<String>,
}

pub(crate) const TARGET: &str = "iqn.2026-03.invalid.alua:demo";

impl Served {
    /// Serves the built-in array's ports 1 and 3 at free ports of 127.0.0.1.
    pub(crate) fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("control");
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("alua"))
            .env_clear()
            .args(["target", "serve", "--portal", "127.0.0.1:0=1", "--portal", "127.0.0.1:0=3"])
            .arg("--control")
            .arg(&control)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = Vec::new();
        while !first.last().is_some_and(|line: &String| line.contains("control socket")) {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {first:?}");
            first.push(line);
        }
        let address = address(&first[0]);
        Self { child, address, folder, lines, first }
    }

    /// Where the portal with that place listens.
    pub(crate) fn address_of(&self, portal: usize) -> String {
        address(&self.first[portal])
    }

    fn control(&self) -> String {
        self.folder.path().join("control").display().to_string()
    }

    pub(crate) fn log_in(&self, name: &str, serial: u16) -> TestSession {
        TestSession(Session::log_in(&self.address, TARGET, 0, name, serial).unwrap())
    }

    /// `alua target event`: exit code, and what it said.
    pub(crate) fn event(&self, words: &[&str]) -> (i32, String) {
        let control = self.control();
        let output = run(&[&["target", "event", "--control", &control], words].concat());
        (code(&output), stdout(&output) + &stderr(&output))
    }

    pub(crate) fn status(&self) -> Value {
        let output = run(&["target", "status", "--json", "--control", &self.control()]);
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    /// Stops it; the lines that it wrote.
    pub(crate) fn stop(mut self) -> Vec<String> {
        assert_eq!(self.event(&["stop"]).0, 0);
        assert!(self.child.wait().unwrap().success());
        let mut all = std::mem::take(&mut self.first);
        for line in self.lines.by_ref().lines() {
            all.push(line.unwrap());
        }
        assert!(!self.folder.path().join("control").exists(), "the socket is taken away");
        all
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct TestSession(pub(crate) Session);

impl TestSession {
    /// Something that the target rejects, so that its log has all kinds of lines.
    pub(crate) fn say_odd_things(&mut self) {
        let mut snack = [0; 48];
        snack[0] = 0x10;
        let answer = self.0.exchange(snack).unwrap();
        assert_eq!(answer[0] & 0x3f, 0x3f, "a Reject");
    }
}
