//! Running the program.

#![allow(dead_code, reason = "not every test uses all of it")]

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

/// A report of two groups with two ports each, as the demo array sends it, extended.
pub(crate) const REPORT: [u8; 40] = [
    0x00, 0x00, 0x00, 0x24, 0x10, 0x0a, 0x00, 0x00, 0x80, 0x8f, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x01, 0x8f, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02,
    0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x04,
];
