//! Running the program.

#![allow(dead_code, reason = "not every test uses all of it")]

#[path = "../../src/commands/demo/client.rs"]
pub(crate) mod client;
pub(crate) mod fake_sys;
pub(crate) mod target;

use std::process::Output;

use assert_cmd::Command;

/// A program without the caller's environment.
pub(crate) fn alua(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("alua").expect("the program is built");
    command.env_clear().args(arguments);
    command
}

/// What a run gave.
pub(crate) fn run(arguments: &[&str]) -> Output {
    alua(arguments).output().expect("the program runs")
}

/// What a run gave, with something on its standard input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    alua(arguments).write_stdin(input).output().expect("the program runs")
}

/// The exit code.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("the program ends by itself")
}

/// Standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A whole run as one text: the command line, what came, how it ended.
pub(crate) fn transcript(arguments: &[&str], output: &Output) -> String {
    let mut text = format!("$ alua {}\n{}", arguments.join(" "), stdout(output));
    let errors = stderr(output);
    if !errors.is_empty() {
        text.push_str("--- standard error ---\n");
        text.push_str(&errors);
    }
    text.push_str(&format!("--- exit {} ---\n", code(output)));
    text
}

/// A script of the array in which reads through port 1 (`sda`) fail, though it answers everything
/// else.
pub(crate) const GREY: &str = "[[event]]\nat = \"0s\"\ndo = \"fault\"\nname = \"grey\"\n\
                               port = 1\ncommand = [\"read-10\", \"read-16\"]\naction = \"transport\"\n";

/// A report of two groups with two ports each, as the demo array sends it, extended.
pub(crate) const REPORT: [u8; 40] = [
    0x00, 0x00, 0x00, 0x24, 0x10, 0x0a, 0x00, 0x00, 0x80, 0x8f, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x01, 0x8f, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x04,
];

/// An `alua up` of an array's unit `data0`, with a directory of its own for the control socket.
pub(crate) struct Up {
    child: std::process::Child,
    directory: tempfile::TempDir,
    /// What it said when it was ready.
    pub(crate) place: String,
    stdout: std::io::BufReader<std::process::ChildStdout>,
}

impl Up {
    /// Starts it and waits until it serves.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of("demo", arguments)
    }

    /// The same with the unit `data0` of another array.
    pub(crate) fn of(array: &str, arguments: &[&str]) -> Self {
        use std::io::BufRead as _;

        let directory = tempfile::tempdir().expect("a directory");
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_alua"))
            .args(["up", "data0", "--array", array])
            .args(arguments)
            .env("XDG_RUNTIME_DIR", directory.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = std::io::BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let place = line.trim().strip_prefix("ready: ").unwrap_or_else(|| panic!("{line:?}"));
        let place = place.to_owned();
        Self { child, directory, place, stdout }
    }

    /// Runs `alua` where it finds this device.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = alua(arguments);
        command.env("XDG_RUNTIME_DIR", self.directory.path());
        command.output().expect("the program runs")
    }

    /// The folder of the control sockets.
    pub(crate) fn sockets(&self) -> std::path::PathBuf {
        self.directory.path().join("alua")
    }

    /// Sends SIGTERM and waits for the end: exit code, the rest of its output, its log.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        use std::io::Read as _;

        let id = self.child.id().to_string();
        let killed = std::process::Command::new("kill").arg(&id).status().expect("kill runs");
        assert!(killed.success());
        let (mut out, mut log) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).expect("text");
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut log).expect("text");
        }
        let status = self.child.wait().expect("it ends");
        (status.code().expect("it ends by itself"), out, log)
    }
}
