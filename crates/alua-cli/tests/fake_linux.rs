//! This machine's side on a made-up sysfs: what is shown where the devices themselves cannot be
//! asked. (That they are asked, and answer, the lab shows on a real kernel.)

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::fake_sys::{HANDLER, device, tell};
use common::{Up, code, run, stderr, stdout};
use serde_json::Value;
use serde_json::Value::Null;

#[test]
fn the_kernels_copies_stand_in_for_devices_without_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let (sys, dev) = (directory.path().join("sys"), directory.path().join("dev"));
    fs::create_dir_all(&dev).unwrap();
    device(&sys, "2:0:0:0", [2, 2], "sda", "running\n");
    device(&sys, "3:0:0:0", [3, 3], "sdb", "transport-offline\n");
    let told = "unit name=naa.6001 why=\"\"\n  path device=2:0:0:0 group=2 state=standby gate=refuse \
                why=\"2:0:0:0 answered sense 2h 04/0B\"\n";
    tell(&sys, told);
    let (sys, dev) = (sys.to_str().unwrap(), dev.to_str().unwrap());
    let output = run(&["list", "--sysfs", sys, "--dev", dev, "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
    let units = listing["units"].as_array().unwrap();
    assert_eq!(units.len(), 1);
    assert_eq!(units[0]["name"], "naa.6001405a0102030405060708090a0b0c");
    // What scsi_dh_alua_rs tells in debugfs of the paths that it has.
    let kernel = |path: usize| &units[0]["paths"][path]["kernel"];
    assert_eq!(kernel(0)["gate"], "refuse");
    assert_eq!(kernel(0)["cause"], "2:0:0:0 answered sense 2h 04/0B");
    assert!(kernel(1)["gate"].is_null());
    let handler = &units[0]["handler"];
    assert_eq!((&handler["name"], &handler["counters"]["rtpg"]), (&"naa.6001".into(), &Null));
    assert_eq!(handler["paths"].as_array().unwrap().len(), 1);
    assert_eq!(units[0]["tpgs"], "implicit and explicit");
    assert_eq!(units[0]["size_bytes"], 1 << 30);
    let paths = units[0]["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 2);
    assert_eq!((&paths[0]["device"], &paths[0]["group"]), (&"sda".into(), &2.into()));
    assert_eq!(paths[0]["health"], "not opened");
    assert_eq!(paths[1]["health"], "transport-offline");
    for path in paths {
        assert_eq!((&path["usable"], &path["gate"]), (&false.into(), &"refuse".into()));
        assert_eq!(path["state"], Null);
        assert_eq!(path["kernel"]["access_state"], "active/optimized");
        assert_eq!(path["kernel"]["device_handler"], "alua");
        assert_eq!(path["kernel"]["preferred"], true);
    }
    let problems = listing["problems"].to_string();
    assert!(problems.contains("no such device node"), "{problems}");
    assert!(problems.contains("transport-offline"), "{problems}");

    let text = stdout(&run(&["list", "--sysfs", sys, "--dev", dev]));
    assert!(text.contains("kernel says active/optimized"), "{text}");

    let output = run(&["explain", "sdb", "--sysfs", sys, "--dev", dev]);
    assert_eq!(code(&output), 56, "{}", stderr(&output));
    assert!(stdout(&output).contains("/sys/bus/scsi/devices/3:0:0:0/state"), "{}", stdout(&output));

    let output = run(&["tur", "3:0:0:0", "--sysfs", sys, "--dev", dev]);
    assert_eq!(code(&output), 56);
    assert!(stderr(&output).contains("transport-offline"), "{}", stderr(&output));

    let output = run(&["tur", "sda", "--sysfs", sys, "--dev", dev]);
    assert_eq!(code(&output), 52);
    assert!(stderr(&output).contains("no such device node"), "{}", stderr(&output));

    let output = run(&["activate", "sda", "--group", "2", "--sysfs", sys, "--dev", dev]);
    assert_eq!(code(&output), 35, "{}", stderr(&output));
}

/// A control socket in `folder` that answers every question with this status.
fn running(folder: &Path, status: &Value) {
    let sockets = folder.join("alua");
    fs::create_dir_all(&sockets).unwrap();
    let listener = UnixListener::bind(sockets.join("disk0.sock")).unwrap();
    let answer = format!("{}\n", serde_json::json!({ "status": status }));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
}

#[test]
fn explain_and_list_ask_the_running_device_first_and_not_the_path_that_it_holds_as_failed() {
    let directory = tempfile::tempdir().unwrap();
    let (sys, dev) = (directory.path().join("sys"), directory.path().join("dev"));
    fs::create_dir_all(&dev).unwrap();
    device(&sys, "2:0:0:0", [2, 2], "sda", "running\n");
    device(&sys, "3:0:0:0", [3, 3], "sdb", "running\n");
    // What a device says of its paths, as one that serves disks would.
    let up = Up::start(&[]);
    let output = up.ask(&["status", "--json"]);
    let mut status = serde_json::from_slice::<Value>(&output.stdout).unwrap()["devices"][0].take();
    assert_eq!(up.end().0, 0);
    status["source"] = "linux".into();
    status["unit"] = "naa.6001405a0102030405060708090a0b0c".into();
    let paths = status["paths"].as_array_mut().unwrap();
    paths.truncate(2);
    for (path, device, failed) in [(0, "sda", true), (1, "sdb", false)] {
        paths[path]["device"] = device.into();
        paths[path]["failed"] = failed.into();
        paths[path]["used"] = (!failed).into();
        let reason = if failed { "its transport failed" } else { "it is one of the best paths" };
        paths[path]["reason"] = reason.into();
    }
    running(directory.path(), &status);
    let (sys, dev) = (sys.to_str().unwrap(), dev.to_str().unwrap());
    let explain = |device: &str, more: &[&str]| {
        let arguments = [&["explain", device, "--sysfs", sys, "--dev", dev], more].concat();
        let mut command = common::alua(&arguments);
        command.env("XDG_RUNTIME_DIR", directory.path()).output().unwrap()
    };
    for name in ["sda", "2:0:0:0"] {
        let output = explain(name, &[]);
        let said = stdout(&output);
        let first = said.lines().next().unwrap_or_else(|| panic!("{output:?}"));
        assert!(first.starts_with("alua up: process "), "{said}");
        assert!(first.ends_with("this path is not used: its transport failed"), "{said}");
        assert!(said.contains("`alua up` holds it as failed, so it was not asked"), "{said}");
        assert!(!said.contains("no such device node"), "it was opened: {said}");
        assert_eq!(code(&output), 35, "{said}");
    }
    let output = explain("sda", &["--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["asked_now"], Null);
    assert_eq!((&told["path"]["health"], &told["rule"]["id"]), (&"failed".into(), &"C09".into()));
    assert_eq!(told["served_by"]["reason"], "its transport failed");
    assert_eq!(told["exit_code"], 35);
    // The other is asked, after what the device says of it: it has no node here.
    let output = explain("sdb", &[]);
    let said = stdout(&output);
    assert!(
        said.lines().next().unwrap().ends_with("is used: it is one of the best paths"),
        "{said}"
    );
    assert!(said.contains("no such device node"), "{said}");
    assert_eq!(code(&output), 56, "{said}");
    let mut command = common::alua(&["list", "--check", "--json", "--sysfs", sys, "--dev", dev]);
    let output = command.env("XDG_RUNTIME_DIR", directory.path()).output().unwrap();
    let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
    let unit = &listing["units"][0];
    assert_eq!(unit["served_by"]["pid"], status["pid"]);
    let health = |path: usize| unit["paths"][path]["health"].as_str().unwrap();
    assert_eq!((health(0), health(1)), ("failed", "not opened"), "{listing}");
    let problems = listing["problems"].as_array().unwrap();
    let devices: Vec<_> = problems.iter().map(|problem| &problem["device"]).collect();
    assert_eq!(devices, ["sdb"], "only that one was to be asked: {listing}");
}

#[test]
fn what_the_kernels_handler_holds_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (sys, dev) = (directory.path().join("sys"), directory.path().join("dev"));
    fs::create_dir_all(&dev).unwrap();
    device(&sys, "0:0:1:0", [1, 1], "sda", "running\n");
    device(&sys, "1:0:1:0", [2, 1], "sdb", "running\n");
    device(&sys, "2:0:1:0", [3, 2], "sdc", "running\n");
    device(&sys, "3:0:1:0", [4, 2], "sdd", "running\n");
    tell(&sys, HANDLER);
    let (sys, dev) = (sys.to_str().unwrap(), dev.to_str().unwrap());
    let output = run(&["list", "--sysfs", sys, "--dev", dev, "--json"]);
    let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
    let handler = &listing["units"][0]["handler"];
    assert_eq!(handler["transition_time_ms"], 60_000, "{handler}");
    assert_eq!((&handler["refresh_error"], &handler["busy"]), (&Null, &true.into()));
    let counters = &handler["counters"];
    assert_eq!((&counters["rtpg"], &counters["coalesced"]), (&1.into(), &1.into()));
    assert_eq!((&counters["retries"], &handler["deadline_ms"]), (&0.into(), &507.into()));
    let states = |of: &str| -> Vec<String> {
        let all = handler[of].as_array().unwrap().iter();
        all.map(|one| one["state"].as_str().unwrap_or("unknown").to_owned()).collect()
    };
    assert_eq!(states("groups"), ["transitioning", "transitioning"]);
    assert_eq!(states("paths"), ["transitioning"; 4]);
    assert_eq!(handler["groups"][0]["deadline_ms"], 58_506);
    assert_eq!(handler["groups"][1]["cause"], "3:0:1:0 answered sense 2h 04/0A");
    for path in handler["paths"].as_array().unwrap() {
        assert_eq!((&path["gate"], &path["identity"]), (&"pass".into(), &"verified".into()));
    }

    let explained = stdout(&run(&["explain", "sdc", "--sysfs", sys, "--dev", dev]));
    let told = "
  kernel    device handler alua holds active/optimized
            its gate: pass; the path is transitioning: 3:0:1:0 answered sense 2h 04/0A
            group 2 is transitioning: 3:0:1:0 answered sense 2h 04/0A; 58.5 s left for the transition
            its next deadline: in 507 ms
            it sent: 1 RTPG, 0 STPG, 0 TEST UNIT READY, 0 INQUIRY; 0 of them were retries
            triggers: 1 coalesced, 0 old news; refreshes that failed: 0
";
    assert!(explained.contains(told), "{explained}");

    // Another handler has no such file; a user without the right does not see it.
    fs::remove_file(directory.path().join("sys/kernel/debug/alua/units")).unwrap();
    let output = run(&["list", "--sysfs", sys, "--dev", dev, "--json"]);
    let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(listing["units"][0]["handler"].is_null());
    let explained = stdout(&run(&["explain", "sdc", "--sysfs", sys, "--dev", dev]));
    assert!(explained.contains("device handler alua holds") && !explained.contains("its gate"));
}

#[test]
fn a_machine_without_disks_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let sys = directory.path().join("sys");
    fs::create_dir_all(sys.join("bus")).unwrap();
    let sys = sys.to_str().unwrap();
    let output = run(&["list", "--sysfs", sys]);
    assert_eq!((code(&output), stdout(&output)), (0, "no SCSI disk was found\n".to_owned()));
    let nowhere = directory.path().join("nowhere");
    let output = run(&["list", "--sysfs", nowhere.to_str().unwrap()]);
    assert_eq!(code(&output), 99);
    assert!(stderr(&output).contains("cannot be read"), "{}", stderr(&output));
}
