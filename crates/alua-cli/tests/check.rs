//! `alua check`: clean on every array that keeps the rules, and for each check an array that breaks
//! just that rule (its negative control).

mod common;

use std::collections::BTreeSet;

use common::{code, stderr, stdout};
use serde_json::Value;

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = common::run(args);
    (code(&output), stdout(&output), stderr(&output))
}

fn check(args: &[&str]) -> (i32, Value) {
    let mut all = vec!["check", "--json"];
    all.extend_from_slice(args);
    let (code, out, err) = run(&all);
    let document = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code, document)
}

fn with_verdict(document: &Value, verdict: &str) -> Vec<String> {
    let checks = document["checks"].as_array().unwrap().iter();
    let own = checks.filter(|check| check["verdict"] == verdict);
    own.map(|check| check["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn arrays_that_keep_the_rules_are_clean() {
    for (array, device) in [
        ("demo", "sda"),
        ("symmetric", "sda"),
        ("single-state", "sda"),
        ("four-groups", "sda"),
        ("four-groups", "sdb"),
        ("four-groups", "sdc"),
        ("metro", "sda"),
    ] {
        let (code, document) = check(&["--array", array, "--explicit", "--destructive", device]);
        assert_eq!(with_verdict(&document, "failed"), [""; 0], "{array}: {document}");
        assert_eq!(code, 0);
        assert!(document["passed"].as_u64().unwrap() >= 19, "{array}: {document}");
    }
}

/// The built-in arrays that break something: what is found, when, and nothing else.
#[test]
fn each_broken_array_is_found_out() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("refused-header", &["--explicit", "--destructive"], &["extended-header"]),
        (
            "mute-transition",
            &["--at", "6"],
            &["rtpg-in-transition", "transition-sense", "a-path-lives"],
        ),
        ("no-live-path", &["--at", "6"], &["a-path-lives"]),
        ("endless-transition", &["--at", "6"], &["a-path-lives", "transition-ends"]),
        ("half-way", &["--explicit", "--destructive"], &["stpg-each-state"]),
        ("liar", &[], &["report-whole"]),
        ("stale", &["--at", "6"], &["state-answers", "read-permitted"]),
        ("tpgs-zero", &[], &["tpgs-with-groups"]),
        ("no-designators", &[], &["unit-name", "port-designators"]),
        ("swapped", &["--at", "6"], &["same-unit"]),
        ("forgetful", &["--explicit", "--destructive"], &["states-over-reset"]),
        ("ghosts", &[], &["steady-answers"]),
    ];
    for (name, args, found) in cases {
        let array = format!("misbehaving/{name}");
        let mut all = vec!["--array", &array];
        all.extend_from_slice(args);
        all.extend_from_slice(&["sda", "sdc"]);
        let (code, document) = check(&all);
        assert_eq!(with_verdict(&document, "failed"), *found, "{name}: {document:#}");
        assert_eq!(code, 108, "{name}");
    }
}

const BASE: &str = r#"
[array]
name = "control"

[alua]
transition_time_shown = 5
ALUA

[[controller]]
name = "A"
[[controller]]
name = "B"
[[group]]
id = 1
controller = "A"
[[group]]
id = 2
controller = "B"
[[port]]
id = 1
group = 1
[[port]]
id = 2
group = 2
[[unit]]
name = "disk"
lun = 0
owner = ["A"]
[[unit]]
name = "other"
"#;

/// A fault on a command: which, how often it strikes, and what it does.
fn fault(command: &str, rest: &str) -> String {
    format!("[[fault]]\nname = \"f\"\ncommand = \"{command}\"\n{rest}\n")
}

fn rtpg(rest: &str) -> String {
    fault("report-target-port-groups", rest)
}

/// For each check: settings of `[alua]`, the rest of the file, and the time to begin at.
fn controls() -> Vec<(&'static str, &'static str, String, &'static str)> {
    let none = String::new;
    let moving = |time: &str| {
        let event = "[[event]]\nat = \"1s\"\ndo = \"switch\"\nto = \"B\"\n";
        format!("{event}transition = \"{time}\"\n")
    };
    let patch = |offset: u8, data: &str| {
        rtpg(&format!("action = \"patch\"\noffset = {offset}\ndata = \"{data}\""))
    };
    let sense = |code: &str| format!("action = \"check\"\nsense = \"{code}\"");
    let swap = "[[event]]\nat = \"1s\"\ndo = \"map\"\nlun = 0\nunit = \"other\"\nport = 2\n";
    let mute = "rtpg_in_transition = false";
    vec![
        (
            "tpgs-same",
            "",
            fault("inquiry", "port = 2\ncount = 1\naction = \"patch\"\noffset = 5\ndata = \"10\""),
            "0",
        ),
        ("tpgs-with-groups", "tpgs = \"none\"", none(), "0"),
        ("unit-name", "unit_designator = false", none(), "0"),
        ("same-unit", "", swap.to_owned(), "2"),
        ("port-designators", "group_designator = false", none(), "0"),
        ("rtpg-in-transition", mute, moving("20s"), "2"),
        ("transition-sense", "transition_answer = \"unit-attention\"", moving("20s"), "2"),
        ("a-path-lives", "", moving("20s"), "2"),
        ("transition-ends", "", moving("20s"), "2"),
        ("extended-header", "extended_header = \"ignored\"", none(), "0"),
        ("report-whole", "extended_header = \"uncounted\"", none(), "0"),
        (
            "formats-agree",
            "",
            rtpg("port = 1\nskip = 1\ncount = 1\naction = \"omit-group\"\ngroup = 2"),
            "0",
        ),
        (
            "allocation-lengths",
            "",
            rtpg(&format!("skip = 10\ncount = 1\n{}", sense("5/24/00"))),
            "0",
        ),
        ("group-descriptors", "", patch(9, "ef"), "0"),
        ("own-group", "", rtpg("action = \"omit-group\"\ngroup = 1\nport = 1"), "0"),
        ("same-report", "", rtpg("port = 2\naction = \"patch\"\noffset = 8\ndata = \"02\""), "0"),
        ("state-supported", "", patch(9, "80"), "0"),
        ("state-answers", "", patch(8, "02"), "0"),
        (
            "always-permitted",
            "",
            fault("report-luns", &format!("skip = 2\n{}", sense("2/04/0c"))),
            "0",
        ),
        ("read-permitted", "", fault("read-16", &sense("2/04/0b")), "0"),
        (
            "no-attention-for-nothing",
            "",
            fault("test-unit-ready", &format!("skip = 2\ncount = 1\n{}", sense("6/2a/06"))),
            "0",
        ),
        (
            "steady-answers",
            "",
            fault("test-unit-ready", "skip = 20\ncount = 1\naction = \"busy\""),
            "0",
        ),
        ("unknown-service-action", "", fault("other", &sense("4/44/00")), "0"),
        ("stpg-each-state", "stpg = \"ignored\"", none(), "0"),
        ("stpg-status-code", "", patch(13, "00"), "0"),
        ("stpg-transition", "rtpg_in_transition = false\ntransition = \"2s\"", none(), "0"),
        ("stpg-time-kept", "transition = \"20s\"", none(), "0"),
        ("attention-on-others", "attention_to_requester = true", none(), "0"),
        ("refusals-by-state", "", fault("read-16", &sense("2/04/0a")), "0"),
        ("stpg-bad-lists", "", fault("set-target-port-groups", &sense("4/44/00")), "0"),
        (
            "write-refused",
            "",
            fault("write-16", &format!("skip = 1\ncount = 1\n{}", sense("4/44/00"))),
            "0",
        ),
        ("io-over-switch", "", fault("write-16", &format!("count = 1\n{}", sense("3/0c/00"))), "0"),
        (
            "reservation-over-switch",
            "",
            fault(
                "persistent-reserve-in",
                "skip = 1\naction = \"replace\"\ndata = \"0000000000000000\"",
            ),
            "0",
        ),
        ("states-over-reset", "reset_keeps_states = false", none(), "0"),
    ]
}

#[test]
fn every_check_fails_where_its_rule_is_broken_and_passes_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let run_one = |id: &str, alua: &str, rest: &str, at: &str| {
        let file = folder.path().join(format!("{id}.toml"));
        std::fs::write(&file, format!("{}{rest}", BASE.replace("ALUA", alua))).unwrap();
        let file = file.display().to_string();
        let args = ["--array", &file, "--at", at, "--explicit", "--destructive", "--only", id];
        check(&[&args[..], &["sda", "sdb"]].concat())
    };
    let mut known = BTreeSet::new();
    for (id, alua, rest, at) in controls() {
        known.insert(id.to_owned());
        let (code, document) = run_one(id, alua, &rest, at);
        assert_eq!(with_verdict(&document, "failed"), [id], "{document:#}");
        assert_eq!(code, 108);
        let findings = document["checks"][0]["findings"].as_array().unwrap();
        assert!(findings.iter().all(|f| f["expected"] != "" && f["device"] != ""), "{document}");
        // The same array without the break. A quick transition lets the checks of transitions look.
        let (_, document) = run_one(id, "transition = \"1s\"", "", "0");
        assert_eq!(with_verdict(&document, "failed"), [""; 0], "{document:#}");
    }
    let (_, list, _) = run(&["check", "--list"]);
    let ids = list.lines().filter(|line| !line.starts_with(' '));
    let listed: BTreeSet<String> =
        ids.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(listed, known, "checks (left) and controls (right)");
}

#[test]
fn nothing_is_switched_or_written_without_leave() {
    let (code, out, err) = run(&["check", "-v", "--array", "demo", "sda"]);
    assert_eq!(code, 0, "{out}");
    for forbidden in ["SET TARGET PORT GROUPS", "WRITE", "RESERVE OUT"] {
        assert!(!err.contains(forbidden), "{err}");
    }
    assert!(out.contains("skipped  stpg-each-state: it switches groups"), "{out}");
    let (code, _, err) = run(&["check", "--array", "demo", "--destructive", "sda"]);
    assert_eq!(code, 1, "{err}");
}
