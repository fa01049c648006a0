//! Exit codes: those of the runs, and those of the documentation.

mod common;

use std::collections::BTreeMap;

use common::{code, run, run_with, stderr, stdout};

const CASES: &[(i32, &[&str])] = &[
    (0, &["list", "--array", "demo"]),
    (0, &["tur", "sda", "--array", "demo"]),
    (0, &["--help"]),
    (0, &["--version"]),
    (0, &["help", "stpg"]),
    (1, &[]),
    (1, &["nonsense"]),
    (1, &["tur"]),
    (1, &["tur", "sda", "-n", "0"]),
    (1, &["stpg", "sda", "--array", "demo"]),
    (1, &["stpg", "sda", "--array", "demo", "--group", "1"]),
    (1, &["stpg", "sda", "--array", "demo", "--group", "1=fast"]),
    (1, &["stpg", "sda", "--array", "demo", "--group", "1=ao", "--group", "1=an"]),
    (1, &["stpg", "sda", "--array", "demo", "--port", "1=standby"]),
    (1, &["list", "--array", "nonsense"]),
    (1, &["list", "--script", "x"]),
    (1, &["list", "--count", "3"]),
    (5, &["inquiry", "sda", "--array", "demo", "--vpd", "c0"]),
    (12, &["tur", "sdg", "--array", "four-groups"]),
    (12, &["explain", "sdg", "--array", "four-groups"]),
    (2, &["tur", "sdc", "--array", "misbehaving/mute-transition", "--at", "6"]),
    (13, &["tur", "sda", "--array", "misbehaving/no-live-path", "--at", "6"]),
    (13, &["explain", "sda", "--array", "misbehaving/no-live-path", "--at", "6"]),
    (26, &["tur", "sdc", "--array", "misbehaving/no-live-path", "--at", "6"]),
    (100, &["explain", "sdc", "--array", "misbehaving/mute-transition", "--at", "6"]),
    (15, &["list", "--array", "/nonexistent/array.toml"]),
    (15, &["decode", "rtpg", "/nonexistent/dump"]),
    (52, &["tur", "sdzz", "--array", "demo"]),
    (52, &["show", "naa.1", "--array", "demo"]),
    (97, &["rtpg", "sda", "--array", "misbehaving/liar"]),
    (102, &["rtpg", "sda", "--array", "misbehaving/tpgs-zero"]),
    (102, &["activate", "sda", "--array", "misbehaving/tpgs-zero", "--group", "1"]),
    (105, &["activate", "sda", "--array", "demo", "--group", "7"]),
    (105, &["stpg", "sda", "--array", "tests/arrays/narrow.toml", "--group", "2=standby"]),
    (
        35,
        &[
            "tur",
            "sda",
            "--array",
            "tests/arrays/narrow.toml",
            "--script",
            "tests/arrays/port-down.toml",
            "--at",
            "3",
        ],
    ),
    (15, &["list", "--array", "tests/arrays/wrong.toml"]),
    (100, &["stpg", "sda", "--array", "tests/arrays/never.toml", "--group", "2=ao", "--wait"]),
    (0, &["stpg", "sda", "--array", "tests/arrays/never.toml", "--group", "2=ao"]),
    (103, &["stpg", "sda", "--array", "tests/arrays/ignores.toml", "--group", "2=ao"]),
    (104, &["stpg", "sda", "--array", "tests/arrays/refuses.toml", "--group", "2=ao"]),
    (33, &["tur", "sda", "--array", "tests/arrays/hangs.toml", "--timeout", "2"]),
];

#[test]
fn runs_end_as_documented() {
    for (expected, arguments) in CASES {
        let output = run(arguments);
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(code(&output), *expected, "alua {}\n{said}", arguments.join(" "));
    }
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    for (exit, arguments) in CASES.iter().filter(|(exit, _)| *exit > 1) {
        let output = run(arguments);
        if matches!(arguments[0], "tur" | "explain") && *exit != 52 {
            // Their answer is their output.
            assert!(!stdout(&output).is_empty(), "{arguments:?}");
            continue;
        }
        let errors = stderr(&output);
        assert!(errors.starts_with("alua: "), "{arguments:?}: {errors}");
        assert!(!errors.contains("Error") && !errors.contains("panicked"), "{errors}");
    }
}

#[test]
fn json_goes_with_the_same_exit_code() {
    let takes_options = |arguments: &&[&str]| !arguments.is_empty() && arguments[0] != "help";
    for (exit, arguments) in CASES.iter().filter(|(_, arguments)| takes_options(arguments)) {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let output = run(&arguments);
        assert_eq!(code(&output), *exit, "{arguments:?}");
        if !output.stdout.is_empty() && !arguments[0].starts_with("--") {
            let value = serde_json::from_slice::<serde_json::Value>(&output.stdout);
            let value = value.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            if let Some(code) = value.get("exit_code") {
                assert_eq!(code, exit, "{arguments:?}");
            }
        }
    }
}

/// The table in docs/cli.md says what `--help` says.
#[test]
fn the_documentation_lists_every_code() {
    let text = include_str!("../../../docs/cli.md");
    let documented: BTreeMap<u8, String> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
            let code = cells.next()?.parse().ok()?;
            Some((code, cells.next()?.to_owned()))
        })
        .collect();
    // A line that begins with more blanks goes on with the text of the one before.
    let mut printed: Vec<(u8, String)> = Vec::new();
    let help = stdout(&run(&["--help"]));
    let (_, codes) = help.split_once("Exit codes").unwrap();
    for line in codes.lines().skip(1) {
        let (number, meaning) = line.split_at(line.len().min(7));
        match (number.trim().parse(), printed.last_mut()) {
            (Ok(code), _) => printed.push((code, meaning.to_owned())),
            (Err(_), Some((_, before))) if !line.trim().is_empty() => {
                before.push(' ');
                before.push_str(line.trim());
            }
            _ => {}
        }
    }
    let printed: BTreeMap<u8, String> = printed.into_iter().collect();
    assert!(printed.len() > 20);
    assert_eq!(documented, printed);
}

/// A reader that goes away is no error.
#[test]
fn a_closed_pipe_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("alua"))
        .args(["array", "print", "demo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

/// Truncated at every length: an error that names field and rule, or for what is still whole, not.
#[test]
fn truncated_dumps_name_field_and_rule() {
    for length in 1..common::REPORT.len() {
        let output = run_with(&["decode", "rtpg", "-", "--raw"], &common::REPORT[..length]);
        assert_eq!(code(&output), 97, "{length}");
        let errors = stderr(&output);
        assert!(errors.contains("return data length at byte 0: "), "{length}: {errors}");
    }
}

#[test]
fn oversized_dumps_are_refused_and_can_be_cut() {
    let mut long = common::REPORT.to_vec();
    long.extend([0xee; 3]);
    let output = run_with(&["decode", "rtpg", "-"], &long);
    assert_eq!(code(&output), 97);
    let errors = stderr(&output);
    assert!(errors.contains("return data length at byte 0 says"), "{errors}");
    assert!(errors.contains("3 more are there"), "{errors}");
    let cut = run_with(&["decode", "rtpg", "-", "--cut"], &long);
    let whole = run_with(&["decode", "rtpg", "-"], &common::REPORT);
    assert_eq!((code(&cut), &cut.stdout), (0, &whole.stdout));
}

/// Random bytes are refused by every decoder with field and rule, or are by chance what they say.
#[test]
fn random_dumps_never_end_in_a_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..40 {
        let mut bytes = Vec::new();
        for _ in 0..(round * 7) % 130 + 1 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.push(state.to_be_bytes()[3]);
        }
        for kind in ["rtpg", "page83", "sense", "inquiry"] {
            let output = run_with(&["decode", kind, "-", "--raw"], &bytes);
            let errors = stderr(&output);
            match code(&output) {
                0 => assert!(!output.stdout.is_empty()),
                97 => assert!(errors.contains(" at byte "), "{kind} {bytes:02x?}: {errors}"),
                other => panic!("{kind} {bytes:02x?}: exit {other}: {errors}"),
            }
        }
    }
}
