//! Devices that run: `up`, `status`, `switch`, `path`, and what `explain` makes of them.

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use common::client::Client;
use common::{GREY, Up, code, run, stderr, stdout};
use serde_json::Value;

const UNIT: &str = "naa.600005e00536d39641b6742700000000";

fn status(up: &Up) -> Value {
    let output = up.ask(&["status", "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["devices"][0].take()
}

fn path<'a>(status: &'a Value, device: &str) -> &'a Value {
    let paths = status["paths"].as_array().unwrap();
    paths.iter().find(|path| path["device"] == device).unwrap()
}

fn until(what: &str, up: &Up, mut ready: impl FnMut(&Value) -> bool) {
    for _ in 0..400 {
        if ready(&status(up)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("{what}: {:#}", status(up));
}

fn known(up: &Up) {
    until("the states are known", up, |status| path(status, "sdm")["state"].is_string());
}

#[test]
fn a_device_runs_until_it_is_told_to_stop() {
    let up = Up::start(&["--policy", "round-robin", "--json"]);
    assert!(up.place.starts_with("nbd://127.0.0.1:"), "{}", up.place);
    known(&up);
    let shown = status(&up);
    assert_eq!((&shown["unit"], &shown["policy"]), (&UNIT.into(), &"round-robin".into()));
    assert_eq!(path(&shown, "sda")["reason"], "it is one of the best paths");
    assert_eq!(path(&shown, "sdi")["reason"], "a better path is live");
    assert_eq!(path(&shown, "sdi")["state"], "active/non-optimized");
    let text = stdout(&up.ask(&["status", "600005"]));
    assert!(text.contains(&up.place) && text.contains("it is one of the best paths"), "{text}");
    let (exit, out, log) = up.end();
    assert_eq!(exit, 0, "{log}");
    let did: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(did, serde_json::json!({"requests": 0, "failed": 0, "reissued": 0, "defects": 0}));
    assert!(log.contains("stopped: every request is complete"), "{log}");
}

#[test]
fn only_its_owner_may_use_the_control_socket_and_it_goes_with_the_device() {
    let up = Up::start(&[]);
    let socket = up.sockets().join(format!("{UNIT}.sock"));
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::metadata(up.sockets()).unwrap().permissions().mode() & 0o777, 0o700);
    let second = up.ask(&["up", "data0", "--array", "demo"]);
    assert_eq!(code(&second), 15, "one device, one socket: {}", stderr(&second));
    let directory = up.sockets();
    // It takes the temporary directory with it.
    let kept = std::fs::File::open(&directory).unwrap();
    let (exit, _, log) = up.end();
    drop(kept);
    assert_eq!(exit, 0, "{log}");
    assert!(!socket.exists());
}

#[test]
fn questions_that_make_no_sense_are_refused_and_the_device_goes_on() {
    let up = Up::start(&[]);
    let socket = up.sockets().join(format!("{UNIT}.sock"));
    let long = format!("{}\n", "x".repeat(100_000));
    for question in ["\n", "{}\n", "{\"do\":\"format\"}\n", "[[[[[[\n", long.as_str(), "\u{0}\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The other side may have stopped reading, and may have hung up by then.
        let _ = stream.write_all(question.as_bytes());
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_ok() {
            assert!(answer.contains("refused"), "{answer:?}");
        }
    }
    known(&up);
    assert_eq!(up.end().0, 0);
}

#[test]
fn paths_are_chosen_taken_out_and_put_back() {
    let up = Up::start(&[]);
    known(&up);
    let ok = |arguments: &[&str]| {
        let output = up.ask(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    assert!(ok(&["switch", "sda", "--group", "2"]).contains("switched by hand to group 2"));
    assert_eq!(path(&status(&up), "sdi")["used"], true);
    assert!(ok(&["switch", UNIT, "--path", "/dev/sde"]).contains("switched by hand to sde"));
    assert_eq!(path(&status(&up), "sda")["used"], false);
    ok(&["switch", UNIT, "--undo"]);
    assert_eq!(path(&status(&up), "sda")["used"], true);
    ok(&["path", "fail", "sda"]);
    assert_eq!(path(&status(&up), "sda")["reason"], "it was taken out by hand");
    ok(&["path", "restore", "sda"]);
    until("sda is used again", &up, |status| path(status, "sda")["used"] == true);
    for (arguments, says) in [
        (&["switch", UNIT, "--group", "9"][..], "no target port group 9"),
        (&["switch", UNIT, "--path", "sdz"], "no path \"sdz\""),
        (&["switch", "sdz", "--undo"], "no running device is \"sdz\""),
        (&["path", "fail", "sdb"], "none has such a path"),
    ] {
        let output = up.ask(arguments);
        assert_eq!(code(&output), 52, "{arguments:?}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    assert_eq!(up.end().0, 0);
}

#[test]
fn the_settings_are_shown_as_they_were_given() {
    let up = Up::start(&[
        "--preference=ignore",
        "--failback=30",
        "--activate=optimized-lost=5",
        "--stpg-per-minute=3",
        "--no-path=forever",
        "--io-timeout=7",
        "--no-reset",
        "--fence-wait=90",
        "--idle-probe=never",
    ]);
    let settings = serde_json::json!({
        "preference": "ignore",
        "failback_ms": 30_000,
        "activate": "optimized-lost",
        "optimized_lost_ms": 5_000,
        "stpg_per_minute": 3,
        "no_path_limit_ms": null,
        "io_timeout_ms": 7_000,
        "reset": false,
        "fence_wait_ms": 90_000,
        "idle_probe_ms": null,
    });
    assert_eq!(status(&up)["settings"], settings);
    let text = stdout(&up.ask(&["status"]));
    for says in [
        "preference ignore; failback 30 s; no path forever; command timeout 7 s",
        "activate optimized-lost (5 s), 3 STPG per minute; reset never; fence wait 90 s; \
         idle probe never",
    ] {
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(up.end().0, 0);
}

#[test]
fn idle_paths_are_asked_as_often_as_configured_and_with_never_not_at_all() {
    let (asks, silent) = (Up::start(&["--idle-probe", "1"]), Up::start(&["--idle-probe", "never"]));
    known(&silent);
    let sent = |status: &Value| status["logical_unit"]["commands"]["tur"].as_u64().unwrap();
    until("a path is asked", &asks, |status| sent(status) >= 1);
    let before = sent(&status(&silent));
    until("three paths are asked", &asks, |status| sent(status) >= 3);
    assert_eq!(sent(&status(&silent)), before);
    for (up, every) in [(&asks, Value::from(1_000)), (&silent, Value::Null)] {
        assert_eq!(status(up)["settings"]["idle_probe_ms"], every);
    }
    assert_eq!((asks.end().0, silent.end().0), (0, 0));
}

#[test]
fn io_goes_back_by_hand_where_it_must_not_by_itself() {
    let up = Up::start(&["--failback", "never"]);
    known(&up);
    let ok = |arguments: &[&str]| assert_eq!(code(&up.ask(arguments)), 0, "{arguments:?}");
    ok(&["path", "fail", "sda"]);
    ok(&["path", "fail", "sde"]);
    until("the other group is used", &up, |status| path(status, "sdi")["used"] == true);
    ok(&["path", "restore", "sda"]);
    until("sda is live", &up, |status| path(status, "sda")["standing"] == "live");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let shown = status(&up);
    assert_eq!(
        (&path(&shown, "sda")["used"], &path(&shown, "sdi")["used"]),
        (&false.into(), &true.into())
    );
    ok(&["switch", UNIT, "--group", "1"]);
    until("sda is used", &up, |status| path(status, "sda")["used"] == true);
    ok(&["switch", UNIT, "--undo"]);
    let shown = status(&up);
    assert_eq!(
        (&path(&shown, "sda")["used"], &path(&shown, "sdi")["used"]),
        (&true.into(), &false.into())
    );
    assert_eq!(up.end().0, 0);
}

#[test]
fn what_pref_counts_for_is_as_configured() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.toml");
    // Group 1 is the preferred one of the demo array.
    let events = "[[event]]\nat = \"0s\"\ndo = \"set-state\"\ngroup = 1\n\
                  state = \"active/non-optimized\"\n\
                  [[event]]\nat = \"0s\"\ndo = \"set-state\"\ngroup = 2\n\
                  state = \"active/optimized\"\n";
    std::fs::write(&script, events).unwrap();
    let script = script.to_str().unwrap();
    for (preference, used, spare) in
        [("within-state", "sdi", "sda"), ("above-state", "sda", "sdi"), ("ignore", "sdi", "sda")]
    {
        let up = Up::start(&["--script", script, "--preference", preference]);
        until(preference, &up, |status| {
            path(status, "sda")["state"] == "active/non-optimized"
                && path(status, used)["used"] == true
                && path(status, spare)["used"] == false
        });
        assert_eq!(path(&status(&up), "sda")["preferred"], true);
        assert_eq!(up.end().0, 0);
    }
}

#[test]
fn a_path_that_answers_and_fails_reads_is_left_out_and_what_others_take_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.toml");
    std::fs::write(&script, GREY).unwrap();
    let socket = directory.path().join("nbd");
    let address = format!("unix:{}", socket.display());
    let script = script.to_str().unwrap();
    let up = Up::start(&["--script", script, "--nbd", &address, "--policy", "round-robin"]);
    known(&up);
    let shown = status(&up);
    for device in ["sda", "sde"] {
        let path = path(&shown, device);
        assert_eq!((&path["service_us"], &path["out_for_ms"]), (&Value::Null, &Value::Null));
    }
    let mut client = Client::connect(&socket).unwrap();
    until("sda is left out", &up, |status| {
        client.read(0, &mut [0; 4096]).unwrap();
        path(status, "sda")["out_for_ms"].is_u64()
    });
    let shown = status(&up);
    let grey = path(&shown, "sda");
    let (strikes, left) = (&grey["strikes"], grey["out_for_ms"].as_u64().unwrap());
    assert!(strikes.as_u64().unwrap() >= 2 && (1..=300_000).contains(&left), "{grey:#}");
    assert_eq!((&grey["used"], &grey["service_us"]), (&false.into(), &Value::Null), "{grey:#}");
    let good = path(&shown, "sde");
    assert_eq!((&good["out_for_ms"], &good["strikes"]), (&Value::Null, &0.into()), "{good:#}");
    let took = good["service_us"].as_u64().unwrap();
    let slowest = shown["requests"]["slowest_us"].as_u64().unwrap();
    assert!((1..=slowest).contains(&took), "{took} us, the slowest request {slowest} us");
    assert!(path(&shown, "sdi")["service_us"].is_null(), "nothing was sent down it");
    until("its time is over", &up, |status| path(status, "sda")["out_for_ms"].is_null());
    assert_eq!(up.end().0, 0);
}

#[test]
fn explain_tells_what_the_running_device_says() {
    let up = Up::start(&[]);
    known(&up);
    up.ask(&["path", "fail", "sde"]);
    let text = stdout(&up.ask(&["explain", "sde", "--array", "demo"]));
    assert!(text.starts_with("alua up: process "), "what the device says comes first: {text}");
    assert!(text.contains("this path is not used: it was taken out by hand"), "{text}");
    let text = stdout(&up.ask(&["explain", "sda", "--array", "demo"]));
    assert!(text.contains("this path is used: it is one of the best paths"), "{text}");
    // Another unit's.
    let text = stdout(&up.ask(&["explain", "sdb", "--array", "demo"]));
    assert!(!text.contains("alua up"), "{text}");
    assert_eq!(up.end().0, 0);
}

#[test]
fn a_path_that_failed_is_told_to_have_failed_when_it_is_taken_out_by_hand_too() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.toml");
    // The port of sda goes for good.
    std::fs::write(&script, "[[event]]\nat = \"1s\"\ndo = \"port-down\"\nport = 1\n").unwrap();
    let socket = directory.path().join("nbd");
    let address = format!("unix:{}", socket.display());
    let script = script.to_str().unwrap();
    let up = Up::start(&["--script", script, "--nbd", &address, "--policy", "round-robin"]);
    let mut client = Client::connect(&socket).unwrap();
    until("sda has failed", &up, |status| {
        client.read(0, &mut [0; 4096]).unwrap();
        path(status, "sda")["failed"] == true
    });
    for arguments in [["path", "fail", "sda"], ["path", "fail", "sde"]] {
        assert_eq!(code(&up.ask(&arguments)), 0);
    }
    let shown = status(&up);
    let listed = shown["logical_unit"]["paths"].as_array().unwrap();
    for (device, failed, health) in [("sda", true, "failed"), ("sde", false, "ok")] {
        let path = path(&shown, device);
        assert_eq!(path["reason"], "it was taken out by hand");
        assert_eq!(path["failed"], failed, "{device}");
        let listed = listed.iter().find(|path| path["device"] == device).unwrap();
        assert_eq!(listed["health"], health, "{device}");
    }
    assert_eq!(up.end().0, 0);
}

#[test]
fn what_cannot_be_served_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let no = |arguments: &[&str]| {
        let mut command = common::alua(arguments);
        let output = command.env("XDG_RUNTIME_DIR", directory.path()).output().unwrap();
        (code(&output), stderr(&output))
    };
    let (exit, said) = no(&["up", "data9", "--array", "demo"]);
    assert_eq!(exit, 52, "{said}");
    let (exit, said) = no(&["up", "sda", "sdb", "--array", "demo"]);
    assert!(exit == 1 && said.contains("another unit"), "{said}");
    let (exit, said) = no(&["up", "data0", "--array", "demo", "--nbd", "192.0.2.1:1"]);
    assert!(exit == 99 && said.contains("cannot listen on nbd://192.0.2.1:1"), "{said}");
    let (exit, said) = no(&["up", "data0", "--array", "demo", "--policy", "best"]);
    assert!(exit == 1 && said.contains("round-robin"), "{said}");
    let (exit, said) = no(&["status", "nothing"]);
    assert!(exit == 52 && said.contains("`alua up` starts a device"), "{said}");
    let output = run(&["status", "--control", "/nonexistent/socket"]);
    assert_eq!(code(&output), 15, "{}", stderr(&output));
}

/// A unit without what two programs that ask the array apart cannot have alike: ages, counters.
fn ageless(mut unit: Value) -> Value {
    fn clear(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in ["age_ms", "report_age_ms", "elapsed_ms", "remaining_ms", "commands"] {
                    fields.remove(name);
                }
                fields.values_mut().for_each(clear);
            }
            Value::Array(all) => all.iter_mut().for_each(clear),
            _ => {}
        }
    }
    clear(&mut unit);
    unit
}

#[test]
fn a_running_device_tells_of_its_unit_as_list_does() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.toml");
    let events = "[[event]]\nat = \"0s\"\ndo = \"set-state\"\ngroup = 1\nstate = \"standby\"\n\
                  [[event]]\nat = \"0s\"\ndo = \"set-state\"\ngroup = 2\n\
                  state = \"active/optimized\"\n";
    std::fs::write(&script, events).unwrap();
    let script = script.to_str().unwrap();
    for (more, state) in [(&[][..], "active/optimized"), (&["--script", script][..], "standby")] {
        let up = Up::start(more);
        until(state, &up, |status| path(status, "sda")["state"] == state);
        let arguments = [&["list", UNIT, "--array", "demo", "--json", "--at", "1"], more].concat();
        let output = up.ask(&arguments);
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
        let listed = ageless(listing["units"][0].clone());
        // It may not have asked each path yet.
        let alike = |status: &Value| ageless(status["logical_unit"].clone()) == listed;
        until(&format!("{listed:#} is what it knows"), &up, alike);
        let unit = &status(&up)["logical_unit"];
        assert_eq!(unit["served_by"]["places"][0], up.place);
        assert!(unit["report_age_ms"].is_u64() && unit["commands"]["rtpg"].is_u64(), "{unit}");
        let text = stdout(&up.ask(&["list", "--array", "demo"]));
        assert_eq!(
            text.matches(&format!("served as {} by process ", up.place)).count(),
            1,
            "{text}"
        );
        assert_eq!(up.end().0, 0);
    }
}
