//! The demo of one block device. A whole run takes its fifteen seconds; what is judged at its end is
//! tested beside the code.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{code, run, stderr};

#[test]
fn an_interrupted_demo_ends_early_says_so_and_leaves_its_picture_only() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("run.svg");
    let child = Command::new(env!("CARGO_BIN_EXE_alua"))
        .args(["demo", "--timeline"])
        .arg(&picture)
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = common::stdout(&output);
    assert_eq!(output.status.code(), Some(107), "{said}");
    assert!(stderr(&output).contains("interrupted after"), "{}", stderr(&output));
    assert!(said.contains("0 errors") && said.contains("0 wrong bytes"), "{said}");
    assert!(!said.contains("controller A is back"), "what did not happen is not listed: {said}");
    let svg = std::fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    for part in ["port1", "port4", "port group 2", "controller A crashes"] {
        assert!(svg.contains(part), "{part}");
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["run.svg"], "its folder is gone");
}

#[test]
fn a_picture_that_cannot_be_drawn_is_told_before_the_run() {
    let tour = run(&["demo", "tour", "--timeline", "x.svg"]);
    assert_eq!(code(&tour), 1);
    assert!(stderr(&tour).contains("the tour has no timeline"), "{}", stderr(&tour));
    let nowhere = run(&["demo", "--timeline", "/nonexistent/x.svg"]);
    assert_eq!(code(&nowhere), 15);
    assert!(stderr(&nowhere).contains("/nonexistent/x.svg"), "{}", stderr(&nowhere));
}
