//! `alua up --timeline`: the picture of a run, by what stands in it.

mod common;

use std::time::{Duration, Instant};

use common::client::Client;
use common::{GREY, Up, code, run, stderr};
use serde_json::Value;

/// Colours of the picture: active/optimized, failed requests and stalls, hatching.
const OPTIMIZED: &str = "fill=\"#009e73\"";
const NOT_USED: &str = "fill=\"url(#h)\"";

/// The elements of a path's row.
fn row<'a>(svg: &'a str, device: &str) -> Vec<&'a str> {
    let begin = svg.find(&format!(">{device}</text>")).unwrap_or_else(|| panic!("{device}: {svg}"));
    let elements = svg[begin..].lines().skip(1);
    elements
        .take_while(|line| line.starts_with("<rect") || line.starts_with("<text class=\"l"))
        .collect()
}

/// Columns of 250 that these elements take.
fn columns(elements: &[&str], fill: &str) -> usize {
    let width = |line: &&str| -> usize {
        let (_, rest) = line.split_once("width=\"").unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    elements.iter().filter(|line| line.contains(fill)).map(width).sum::<usize>() / 4
}

fn is(up: &Up, device: &str, ready: impl Fn(&Value) -> bool) -> bool {
    let output = up.ask(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths = status["devices"][0]["paths"].as_array().unwrap();
    ready(paths.iter().find(|path| path["device"] == device).unwrap())
}

#[test]
fn the_picture_of_a_run_shows_paths_requests_and_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let (script, socket) = (folder.path().join("script.toml"), folder.path().join("nbd"));
    let picture = folder.path().join("run.svg");
    // Reads through sda fail; then its port goes, and a transition makes everything wait.
    let events = "[[event]]\nat = \"1s\"\ndo = \"port-down\"\nport = 1\n\
                  [[event]]\nat = \"2s\"\ndo = \"port-up\"\nport = 1\n\
                  [[event]]\nat = \"2500ms\"\ndo = \"switch\"\nto = \"B\"\ntransition = \"600ms\"\n";
    std::fs::write(&script, format!("{GREY}{events}")).unwrap();
    let address = format!("unix:{}", socket.display());
    let up = Up::start(&[
        "--policy=round-robin",
        "--script",
        script.to_str().unwrap(),
        "--nbd",
        &address,
        "--timeline",
        picture.to_str().unwrap(),
    ]);
    assert_eq!(std::fs::read(&picture).unwrap(), b"", "the file is there from the begin");
    let mut client = Client::connect(&socket).unwrap();
    let (start, mut reads, mut switched) = (Instant::now(), 0, false);
    while start.elapsed() < Duration::from_millis(3_600) {
        client.read(0, &mut [0; 4096]).unwrap();
        reads += 1;
        if !switched && is(&up, "sda", |path| path["failed"] == true) {
            assert_eq!(code(&up.ask(&["switch", "sde", "--group", "2"])), 0);
            assert_eq!(code(&up.ask(&["path", "fail", "sdm"])), 0);
            switched = true;
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(code(&up.ask(&["switch", "sde", "--undo"])), 0);
        }
    }
    assert!(switched && reads > 20, "{reads} reads");
    let (exit, _, log) = up.end();
    assert_eq!(exit, 0, "{log}");
    for line in ["switch by hand: group 2", "sdm: taken out by hand", "switch by hand: undone"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let svg = std::fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    for text in [
        ">alua up naa.600005e00536d39641b6742700000000</text>",
        ">port group 1</text>",
        ">port group 2</text>",
        "sda is unsteady",
        "sda failed",
        "sda answers again",
        "switch by hand: group 2",
        "sdm: taken out by hand",
        ">active/non-optimized</text>",
        ">transitioning</text>",
        ">a request waits 100 ms or more</text>",
    ] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    assert!(!svg.contains("are left out"), "it is whole");
    // sda: first used, out for its failures and its port, in transition, then not optimized.
    let sda = row(&svg, "sda");
    let (optimized, not_used) = (columns(&sda, OPTIMIZED), columns(&sda, NOT_USED));
    assert!((40..=200).contains(&optimized), "{optimized}: {sda:#?}");
    assert!(not_used > 120, "{not_used}: {sda:#?}");
    // sdi takes over by the switch by hand, and for good after the transition.
    let sdi = row(&svg, "sdi");
    let optimized = columns(&sdi, OPTIMIZED);
    assert!((3..150).contains(&optimized), "{optimized}: {sdi:#?}");
    // Each read is in the picture, none failed; the transition is a stall.
    let bars = |fill: &str| svg.lines().filter(|line| line.contains(fill)).count();
    assert!(bars("width=\"3\" height=\"") > 10 && bars("fill=\"#b30000\"") >= 1, "{svg}");
    assert!(svg.contains("fill=\"#d55e00\" opacity=\".13\""), "no stall: {svg}");
}

#[test]
fn a_picture_that_cannot_be_drawn_is_told_before_anything_is_served() {
    let output = run(&["up", "data0", "--array", "demo", "--timeline", "/nonexistent/x.svg"]);
    assert_eq!(code(&output), 15);
    assert!(stderr(&output).contains("/nonexistent/x.svg"), "{}", stderr(&output));
}

#[test]
fn what_was_served_is_told_also_where_its_picture_cannot_be_written() {
    for (more, told) in [
        (&[][..], "served 0 requests, 0 failed"),
        (&["--json"], "{\"requests\":0,\"failed\":0,\"reissued\":0,\"defects\":0}"),
    ] {
        // It can be opened, and is full.
        let up = Up::start(&[&["--timeline", "/dev/full"], more].concat());
        let (exit, out, log) = up.end();
        assert_eq!(out.lines().last(), Some(told), "{log}");
        assert!(exit == 15 && log.contains("alua: /dev/full: No space left"), "{exit}: {log}");
    }
}
