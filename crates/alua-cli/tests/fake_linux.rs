//! This machine's side on a made-up sysfs: what is shown where the devices themselves cannot be
//! asked. (That they are asked, and answer, the lab shows on a real kernel.)

mod common;

use std::fs;
use std::path::Path;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;

use common::{Up, code, run, stderr, stdout};
use serde_json::Value;

/// Page 83h: an NAA 6 name for the unit, relative port and group for the port.
fn page_83h(port: u8, group: u8) -> Vec<u8> {
    let mut page = vec![0x00, 0x83, 0, 36, 0x01, 0x03, 0, 16];
    page.extend([0x60, 0x01, 0x40, 0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    page.extend([0x01, 0x14, 0, 4, 0, 0, 0, port, 0x01, 0x15, 0, 4, 0, 0, 0, group]);
    page
}

fn inquiry() -> Vec<u8> {
    let mut data = vec![0, 0, 6, 0x12, 31, 0x30, 0x10, 2];
    data.extend(b"LIO-ORG disk0           4.0 ");
    data
}

fn device(sys: &Path, host: u32, name: &str, state: &str) {
    let directory = sys.join(format!("devices/host{host}/target{host}:0:0/{host}:0:0:0"));
    let block = directory.join("block").join(name);
    fs::create_dir_all(block.join("queue")).unwrap();
    for (file, text) in [
        ("type", "0\n"),
        ("vendor", "LIO-ORG \n"),
        ("model", "disk0           \n"),
        ("rev", "4.0 \n"),
        ("state", state),
        ("dh_state", "alua\n"),
        ("access_state", "active/optimized\n"),
        ("preferred_path", "1\n"),
    ] {
        fs::write(directory.join(file), text).unwrap();
    }
    let port = u8::try_from(host).unwrap();
    fs::write(directory.join("inquiry"), inquiry()).unwrap();
    fs::write(directory.join("vpd_pg83"), page_83h(port, port)).unwrap();
    fs::write(block.join("size"), "2097152\n").unwrap();
    fs::write(block.join("queue/logical_block_size"), "512\n").unwrap();
    std::os::unix::fs::symlink("../..", block.join("device")).unwrap();
    for (class, entry, target) in [
        ("bus/scsi/devices", directory.file_name().unwrap().to_str().unwrap(), &directory),
        ("class/block", name, &block),
    ] {
        let class = sys.join(class);
        fs::create_dir_all(&class).unwrap();
        std::os::unix::fs::symlink(target, class.join(entry)).unwrap();
    }
}

#[test]
fn the_kernels_copies_stand_in_for_devices_without_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let (sys, dev) = (directory.path().join("sys"), directory.path().join("dev"));
    fs::create_dir_all(&dev).unwrap();
    device(&sys, 2, "sda", "running\n");
    device(&sys, 3, "sdb", "transport-offline\n");
    fs::create_dir_all(sys.join("kernel/debug/alua")).unwrap();
    let told = "unit name=naa.6001 why=\"\"\n  path device=2:0:0:0 group=2 state=standby gate=refuse \
                why=\"2:0:0:0 answered sense 2h 04/0B\"\n";
    fs::write(sys.join("kernel/debug/alua/units"), told).unwrap();
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
    assert_eq!(units[0]["tpgs"], "implicit and explicit");
    assert_eq!(units[0]["size_bytes"], 1 << 30);
    let paths = units[0]["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 2);
    assert_eq!((&paths[0]["device"], &paths[0]["group"]), (&"sda".into(), &2.into()));
    assert_eq!(paths[0]["health"], "not opened");
    assert_eq!(paths[1]["health"], "transport-offline");
    for path in paths {
        assert_eq!((&path["usable"], &path["gate"]), (&false.into(), &"refuse".into()));
        assert_eq!(path["state"], Value::Null);
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
fn explain_asks_the_running_device_first_and_not_the_path_that_it_holds_as_failed() {
    let directory = tempfile::tempdir().unwrap();
    let (sys, dev) = (directory.path().join("sys"), directory.path().join("dev"));
    fs::create_dir_all(&dev).unwrap();
    device(&sys, 2, "sda", "running\n");
    device(&sys, 3, "sdb", "running\n");
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
    assert_eq!(told["asked_now"], Value::Null);
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
