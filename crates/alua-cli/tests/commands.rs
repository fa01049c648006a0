//! Every subcommand on the built-in arrays, whole transcripts. The model's clock is virtual: the
//! same arguments print the same bytes.

mod common;

use common::{run, run_with, transcript};

/// Snapshots of runs: a name, and the arguments.
macro_rules! transcripts {
    ($($name:ident: [$($argument:expr),* $(,)?];)*) => {
        $(
            #[test]
            fn $name() {
                let arguments = [$($argument),*];
                let output = run(&arguments);
                insta::assert_snapshot!(stringify!($name), transcript(&arguments, &output));
            }
        )*
    };
}

transcripts! {
    list_demo: ["list", "--array", "demo"];
    list_four_groups: ["list", "--array", "four-groups"];
    list_one_unit_as_json: ["list", "sda", "--array", "demo", "--json"];
    list_check_on_stale_reports: ["list", "--check", "--array", "misbehaving/stale", "--at", "30"];
    list_metro: ["list", "--array", "metro"];
    list_symmetric: ["list", "--array", "symmetric"];
    list_single_state: ["list", "--array", "single-state"];
    list_without_tpgs: ["list", "--array", "misbehaving/tpgs-zero"];
    list_without_designators: ["list", "--array", "misbehaving/no-designators"];
    list_of_a_liar: ["list", "--array", "misbehaving/liar"];
    list_in_a_mute_transition: ["list", "--array", "misbehaving/mute-transition", "--at", "6"];
    list_with_no_live_path: ["list", "--array", "misbehaving/no-live-path", "--at", "6"];
    show_by_device: ["show", "/dev/sdj", "--array", "demo"];
    show_by_address: ["show", "0:0:3:1", "--array", "demo"];
    explain_optimized: ["explain", "sda", "--array", "demo"];
    explain_reserve: ["explain", "sdi", "--array", "demo"];
    explain_standby: ["explain", "sdg", "--array", "four-groups"];
    explain_transition: ["explain", "sda", "--array", "misbehaving/mute-transition", "--at", "6"];
    explain_unavailable: ["explain", "sda", "--array", "misbehaving/no-live-path", "--at", "6"];
    explain_without_tpgs: ["explain", "sda", "--array", "misbehaving/tpgs-zero"];
    explain_as_json: ["explain", "sdg", "--array", "four-groups", "--json"];
    rtpg_extended: ["rtpg", "sda", "--array", "demo"];
    rtpg_short: ["rtpg", "sda", "--array", "demo", "--short"];
    rtpg_hex: ["rtpg", "sda", "--array", "demo", "--hex"];
    rtpg_json: ["rtpg", "sda", "--array", "demo", "--json"];
    rtpg_header_refused: ["rtpg", "sda", "--array", "misbehaving/refused-header", "-v"];
    rtpg_in_a_mute_transition:
        ["rtpg", "sda", "--array", "misbehaving/mute-transition", "--at", "6"];
    rtpg_without_tpgs: ["rtpg", "sda", "--array", "misbehaving/tpgs-zero"];
    rtpg_malformed: ["rtpg", "sda", "--array", "misbehaving/liar"];
    stpg_dry_run:
        ["stpg", "sda", "--array", "demo", "--group", "2=ao", "--group", "1=an", "--dry-run"];
    stpg_accepted: ["stpg", "sda", "--array", "demo", "--group", "2=active/optimized"];
    stpg_waits: ["stpg", "sda", "--array", "demo", "--group", "2=ao", "--wait"];
    stpg_already_there: ["stpg", "sda", "--array", "demo", "--group", "1=ao"];
    stpg_unsupported: ["stpg", "sda", "--array", "tests/arrays/narrow.toml", "--group", "2=standby"];
    stpg_unsupported_by_force: [
        "stpg", "sda", "--array", "tests/arrays/narrow.toml", "--group", "2=standby", "--force",
    ];
    explain_a_path_that_failed: [
        "explain", "sda", "--array", "tests/arrays/narrow.toml", "--script",
        "tests/arrays/port-down.toml", "--at", "3",
    ];
    explain_unavailable_explicit: ["explain", "sdb", "--array", "tests/arrays/narrow.toml"];
    list_a_port_that_is_down: ["list", "--array", "tests/arrays/narrow.toml"];
    stpg_times_out: [
        "stpg", "sda", "--array", "tests/arrays/never.toml", "--group", "2=ao", "--wait",
    ];
    stpg_offline_is_for_ports: ["stpg", "sda", "--array", "demo", "--group", "1=offline"];
    stpg_fails_half_way:
        ["stpg", "sda", "--array", "misbehaving/half-way", "--group", "2=ao", "--wait"];
    stpg_json: ["stpg", "sda", "--array", "demo", "--group", "2=ao", "--wait", "--json"];
    tur_good: ["tur", "sda", "--array", "demo"];
    tur_several: ["tur", "sda", "--array", "demo", "-n", "3", "--delay", "250", "-v"];
    tur_standby: ["tur", "sdg", "--array", "four-groups"];
    tur_json: ["tur", "sdg", "--array", "four-groups", "--json"];
    inquiry_standard: ["inquiry", "sda", "--array", "demo"];
    inquiry_page_00: ["inquiry", "sda", "--array", "demo", "--vpd", "0"];
    inquiry_page_80: ["inquiry", "sda", "--array", "demo", "--vpd", "80"];
    inquiry_page_83: ["inquiry", "sda", "--array", "demo", "--vpd", "0x83"];
    inquiry_page_83_json: ["inquiry", "sda", "--array", "demo", "--vpd", "83", "--json"];
    inquiry_unknown_page: ["inquiry", "sda", "--array", "demo", "--vpd", "c0"];
    activate_reaches: ["activate", "sda", "--array", "demo", "--group", "2"];
    activate_no_wait: ["activate", "sda", "--array", "demo", "--group", "2", "--no-wait"];
    activate_unknown_group: ["activate", "sda", "--array", "demo", "--group", "7"];
    activate_implicit_only: ["activate", "sda", "--array", "metro", "--group", "2"];
    activate_json: ["activate", "sda", "--array", "demo", "--group", "2", "--json"];
    array_list: ["array"];
    array_check: ["array", "check", "demo"];
    no_such_device: ["tur", "sdzz", "--array", "demo"];
    no_such_unit: ["show", "naa.600", "--array", "demo"];
    no_such_array: ["list", "--array", "nonsense"];
    script_without_array: ["list", "--script", "x.toml"];
    decode_sg_rtpg: ["decode", "rtpg", "tests/dumps/sg_rtpg-H.txt"];
    decode_sg_vpd: ["decode", "page83", "tests/dumps/sg_vpd-di-HH.txt"];
    decode_sg_inq: ["decode", "inquiry", "tests/dumps/sg_inq-HHH.txt"];
    decode_sense_of_c: ["decode", "sense", "tests/dumps/sense.c"];
    demo: ["demo", "tour"];
}

/// A unit's name can be shortened as far as it stays clear.
#[test]
fn show_by_name() {
    let listed = run(&["list", "--array", "demo", "--json"]);
    let listing: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let name = |index: usize| listing["units"][index]["name"].as_str().unwrap().to_owned();
    let (first, second) = (name(0), name(1));
    let common = first.bytes().zip(second.bytes()).take_while(|(a, b)| a == b).count();
    let short = &first[..=common];
    for query in [first.as_str(), short, &short.to_uppercase()] {
        let shown = run(&["show", query, "--array", "demo", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["units"].as_array().unwrap().len(), 1, "{query}");
        assert_eq!(shown["units"][0]["name"], first.as_str(), "{query}");
    }
    let ambiguous = run(&["show", &first[..common], "--array", "demo"]);
    assert_eq!(common::code(&ambiguous), 52);
    let errors = common::stderr(&ambiguous);
    assert!(errors.contains(&first) && errors.contains(&second), "{errors}");
}

const SWITCH: &str = "[[event]]\nat = \"5s\"\ndo = \"switch\"\nto = \"B\"\n";

/// A watch without a terminal prints a line for each change and ends with the script.
#[test]
fn watch_tells_changes() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("switch.toml");
    std::fs::write(&script, SWITCH).unwrap();
    let script = script.to_str().unwrap();
    for (name, json) in [("watch_text", None), ("watch_json", Some("--json"))] {
        let mut arguments = vec!["list", "sda", "--array", "demo", "--script", script, "--watch=1"];
        arguments.extend(json);
        let output = run(&arguments);
        let text = transcript(&arguments, &output).replace(script, "switch.toml");
        insta::assert_snapshot!(name, text);
    }
}

/// The errors of a script name its line.
#[test]
fn script_errors_name_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("wrong.toml");
    std::fs::write(&script, SWITCH.replace("\"B\"", "\"C\"")).unwrap();
    let script = script.to_str().unwrap();
    let output = run(&["list", "--array", "demo", "--script", script]);
    assert_eq!(common::code(&output), 15);
    assert!(common::stderr(&output).contains("wrong.toml:4:"), "{}", common::stderr(&output));
}

/// What `array print` prints is a file that `--array` takes, and the same array.
#[test]
fn printed_arrays_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let listed = run(&["array", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    for one in listed["arrays"].as_array().unwrap() {
        let name = one["name"].as_str().unwrap();
        let printed = run(&["array", "print", name]);
        assert_eq!(common::code(&printed), 0, "{name}");
        let file = directory.path().join("array.toml");
        std::fs::write(&file, &printed.stdout).unwrap();
        let file = file.to_str().unwrap();
        if name == "large" {
            // Thousands of units: reading the file is enough.
            assert_eq!(common::code(&run(&["array", "check", file])), 0);
            continue;
        }
        let (by_file, by_name) = (run(&["list", "--array", file]), run(&["list", "--array", name]));
        assert_eq!(common::stdout(&by_file), common::stdout(&by_name), "{name}");
        assert_eq!(common::code(&by_file), 0, "{name}");
    }
}

/// Raw bytes of one command are input of another.
#[test]
fn raw_output_decodes() {
    let raw = run(&["rtpg", "sda", "--array", "demo", "--raw"]);
    assert_eq!(raw.stdout, common::REPORT);
    let arguments = ["decode", "rtpg", "-"];
    let decoded = run_with(&arguments, &raw.stdout);
    insta::assert_snapshot!("decode_rtpg", transcript(&arguments, &decoded));
    let raw = run(&["inquiry", "sda", "--array", "demo", "--vpd", "83", "--raw"]);
    let arguments = ["decode", "page83", "-"];
    let decoded = run_with(&arguments, &raw.stdout);
    insta::assert_snapshot!("decode_page83", transcript(&arguments, &decoded));
}

/// Linux's own target leaves the extension of the header out of the length.
#[test]
fn a_report_of_lio_is_read_and_told_of() {
    let mut report = common::REPORT[..36].to_vec();
    report[3] -= 4;
    let arguments = ["decode", "rtpg", "-"];
    let decoded = run_with(&arguments, &report);
    insta::assert_snapshot!("decode_rtpg_of_lio", transcript(&arguments, &decoded));
}

/// The same run prints the same bytes, commands and times included.
#[test]
fn a_run_can_be_repeated() {
    let arguments = ["stpg", "sda", "--array", "demo", "--group", "2=ao", "--wait", "-v"];
    let (first, second) = (run(&arguments), run(&arguments));
    assert_eq!(first, second);
    assert!(common::stderr(&first).lines().count() > 80, "each command is told of");
}

/// Colours only where asked for, and the same words without them.
#[test]
fn colour_changes_no_word() {
    let plain = common::stdout(&run(&["list", "--array", "demo"]));
    let never = common::stdout(&run(&["list", "--array", "demo", "--color", "never"]));
    let always = common::stdout(&run(&["list", "--array", "demo", "--color", "always"]));
    assert_eq!(plain, never);
    assert!(!plain.contains('\u{1b}'));
    assert!(always.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&always).to_string(), plain);
}
