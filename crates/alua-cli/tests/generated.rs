//! What is made from the definition of the command line, and the demonstration.

mod common;

use std::time::{Duration, Instant};

use common::{code, run, stdout};

#[test]
fn completions_of_every_shell_name_every_command() {
    let help = stdout(&run(&["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .collect();
    assert!(commands.contains(&"explain") && commands.len() >= 12, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        let text = stdout(&output);
        for command in &commands {
            assert!(text.contains(command), "{shell} completes {command}");
        }
    }
}

/// Each option of each command stands in docs/cli.md.
#[test]
fn the_documentation_names_every_option() {
    let text = include_str!("../../../docs/cli.md");
    let mut options = std::collections::BTreeSet::new();
    for command in [
        "activate",
        "array",
        "completions",
        "decode",
        "demo",
        "explain",
        "inquiry",
        "list",
        "man",
        "path",
        "rtpg",
        "show",
        "status",
        "stpg",
        "switch",
        "tur",
        "up",
    ] {
        assert!(text.contains(&format!("`{command}")), "{command}");
        for word in stdout(&run(&["help", command])).split_whitespace() {
            let word = word.trim_start_matches(['[', '<']);
            let end = word.find(|c: char| !(c.is_ascii_lowercase() || c == '-'));
            let option = &word[..end.unwrap_or(word.len())];
            if option.len() > 3 && option.starts_with("--") && option != "--help" {
                options.insert(option.to_owned());
            }
        }
    }
    options.remove("--version");
    assert!(options.len() > 25, "{options:?}");
    for option in options {
        assert!(text.contains(&option), "{option}");
    }
}

#[test]
fn bash_takes_the_completions() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("alua.bash");
    std::fs::write(&file, run(&["completions", "bash"]).stdout).unwrap();
    let script = ". \"$0\"; COMP_WORDS=(alua ex); COMP_CWORD=1; _alua alua ex alua; \
                  printf '%s' \"${COMPREPLY[0]}\"";
    let file = file.to_str().unwrap();
    let output =
        std::process::Command::new("bash").args(["--norc", "-c", script, file]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "explain", "{output:?}");
}

#[test]
fn a_manual_page_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    assert_eq!(code(&run(&["man", "--out", out])), 0);
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for command in [
        "activate", "array", "decode", "demo", "explain", "inquiry", "list", "rtpg", "show",
        "stpg", "tur",
    ] {
        assert!(names.contains(&format!("alua-{command}.1")), "{names:?}");
    }
    let top = std::fs::read_to_string(directory.path().join("alua.1")).unwrap();
    assert_eq!(top.matches("EXIT STATUS").count(), 1);
    assert!(top.contains("target port is in standby") || top.contains("standby state"), "{top}");
    assert_eq!(run(&["man"]).stdout, top.into_bytes());
}

#[test]
fn demo_is_quick_and_tells_the_truth() {
    let start = Instant::now();
    let output = run(&["demo", "tour", "--json"]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(code(&output), 0);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expectations = answer["expectations"].as_array().unwrap();
    assert!(expectations.len() >= 15);
    assert!(expectations.iter().all(|expectation| expectation["holds"] == true));
    let steps: Vec<&str> =
        answer["steps"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap()).collect();
    assert_eq!(steps, ["discovery", "failover", "activation"]);
}

/// An array that ignores SET TARGET PORT GROUPS spoils the last step, and the status says so.
#[test]
fn demo_notices_when_something_else_happens() {
    let arguments = ["demo", "tour", "--array", "demo", "--script", "tests/arrays/spoil-demo.toml"];
    let output = run(&arguments);
    assert_eq!(code(&output), 107);
    let errors = common::stderr(&output);
    assert!(errors.contains("the activation succeeds"), "{errors}");
    assert!(stdout(&output).contains("NO   the activation succeeds"), "{}", stdout(&output));
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let output = run(&arguments);
    assert_eq!(code(&output), 107);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["exit_code"], 107);
    let failed = |e: &&serde_json::Value| e["holds"] == false;
    assert!(answer["expectations"].as_array().unwrap().iter().filter(failed).count() >= 2);
}
