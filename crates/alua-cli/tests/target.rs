//! `alua target`: serve, event and status, over loopback.

mod common;

use std::time::Duration;

use alua_bench::load::Work;
use common::target::Served;

#[test]
fn a_served_array_is_read_written_and_switched() {
    let served = Served::start(&[]);
    let mut session = served.log_in("iqn.2026-03.invalid.test:host", 1);
    assert_eq!(session.0.bytes(), 1 << 30);
    for write in [true, false] {
        let work = Work { write, random: true, size: 4096, depth: 8 };
        let rate = session.0.run(0, &work, Duration::from_millis(50)).unwrap();
        assert!(rate.per_second > 0.0);
    }
    let status = served.status();
    assert_eq!(status["sessions"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["units"][0]["groups"][1]["state"], "active/non-optimized");
    assert_eq!(served.event(&["switch", "to=B", "transition=0s"]).0, 0);
    assert_eq!(served.status()["units"][0]["groups"][1]["state"], "active/optimized");
    let (code, said) = served.event(&["cut", "port=1"]);
    assert_eq!((code, said.as_str()), (0, "1 connections\n"));
    let work = Work { write: false, random: true, size: 4096, depth: 1 };
    assert!(session.0.run(0, &work, Duration::from_millis(50)).is_err(), "the connection is cut");
    let lines = served.stop();
    assert!(lines.iter().any(|line| line.contains("logged in to port 1")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("cut")), "{lines:?}");
}

/// Whether the machine has the address `::1`; without it, IPv6 cannot be tried on loopback.
fn has_ipv6() -> bool {
    let list = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    list.lines().any(|line| line.starts_with("00000000000000000000000000000001 "))
}

/// Portals of both families side by side: discovery through either tells both, each leads to its own
/// port, and data written by the one are read by the other.
#[test]
fn portals_may_be_of_either_family() {
    assert!(has_ipv6(), "this machine has no ::1: IPv6 was not tried (sysctl net.ipv6.conf.lo)");
    let served = Served::start(&["--portal", "[::1]:0=2", "--portal", "[::1]:0=4"]);
    let name = "iqn.2026-03.invalid.test:host";
    let all: Vec<String> = (0..4).map(|portal| served.address_of(portal)).collect();
    assert!(all[2].starts_with("[::1]:") && all[3].starts_with("[::1]:"), "{all:?}");
    let mut wanted = vec![("TargetName".to_owned(), common::target::TARGET.to_owned())];
    for (address, port) in all.iter().zip([1, 3, 2, 4]) {
        wanted.push(("TargetAddress".to_owned(), format!("{address},{port}")));
    }
    for address in &all {
        assert_eq!(alua_bench::load::Session::discover(address, name).unwrap(), wanted);
    }
    for (address, port) in all.iter().zip([1, 3, 2, 4]) {
        let target = common::target::TARGET;
        let mut session =
            alua_bench::load::Session::log_in(address, target, 0, name, port).unwrap();
        for write in [true, false] {
            for (size, depth) in [(4096, 8), (1 << 20, 2)] {
                let work = Work { write, random: true, size, depth };
                let rate = session.run(0, &work, Duration::from_millis(20)).unwrap();
                assert!(rate.per_second > 0.0, "{address}");
            }
        }
        // The portal is the port that it was given to, and its peer stands in the log as it is.
        let status = served.status();
        let sessions = status["sessions"].as_array().unwrap();
        assert!(sessions.iter().any(|session| session["port"] == port), "{status}");
    }
    let lines = served.stop();
    assert!(lines.iter().any(|line| line.contains("port 4: connected from [::1]:")), "{lines:?}");
}

/// A portal at the address that stands for all of IPv6: SendTargets tells the one that was connected
/// to, in brackets; an initiator of the older family is told its own.
#[test]
fn an_address_that_stands_for_all_is_told_as_it_was_reached() {
    assert!(has_ipv6(), "this machine has no ::1: IPv6 was not tried (sysctl net.ipv6.conf.lo)");
    let served = Served::start(&["--portal", "[::]:0=2"]);
    let (name, at) = ("iqn.2026-03.invalid.test:host", served.address_of(2));
    let port = at.rsplit(':').next().unwrap();
    let told = |address: &str| alua_bench::load::Session::discover(address, name).unwrap();
    let pair = |text: String| ("TargetAddress".to_owned(), text);
    let six = format!("[::1]:{port}");
    assert!(told(&six).contains(&pair(format!("{six},2"))), "{:?}", told(&six));
    let four = format!("127.0.0.1:{port}");
    assert!(told(&four).contains(&pair(format!("{four},2"))), "{:?}", told(&four));
}

/// Any fault, with the words of the array file, without being in it.
#[test]
fn a_fault_is_made_by_an_event() {
    let served = Served::start(&[]);
    let mut session = served.log_in("iqn.2026-03.invalid.test:host", 1);
    let work = Work { write: false, random: true, size: 4096, depth: 1 };
    let short = Duration::from_millis(50);
    let fault = ["fault", "name=f", "command=read-10,read-16", "action=check", "sense=3/11/00"];
    assert_eq!(served.event(&fault).0, 0);
    assert!(session.0.run(0, &work, short).is_err(), "reads end with MEDIUM ERROR");
    let mut session = served.log_in("iqn.2026-03.invalid.test:host", 2);
    assert_eq!(served.event(&["disarm", "fault=f"]).0, 0);
    assert!(session.0.run(0, &work, short).is_ok());
    let (code, said) = served.event(&["fault", "name=g", "action=bussy"]);
    assert!(code == 1 && said.contains("did you mean `busy`?"), "{code} {said}");
}

/// Events of a script come at their times, and the log tells of each nexus in JSON.
#[test]
fn a_script_runs_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    let text = "[[event]]\nat = \"700ms\"\ndo = \"switch\"\nto = \"B\"\ntransition = \"0s\"\n\
                [[event]]\nat = \"1s\"\ndo = \"port-down\"\nport = 1\n";
    std::fs::write(&script, text).unwrap();
    let begin = std::time::Instant::now();
    let served =
        Served::start(&["--json", "--array", "demo", "--script", script.to_str().unwrap()]);
    let _session = served.log_in("iqn.2026-03.invalid.test:host", 1);
    let state = |served: &Served| served.status()["units"][0]["groups"][1]["state"].clone();
    // A machine that is too busy to look before the event says nothing about it.
    let first = state(&served);
    if begin.elapsed() < Duration::from_millis(700) {
        assert_eq!(first, "active/non-optimized");
    }
    while begin.elapsed() < Duration::from_secs(10) && served.status()["portals"][0]["up"] == true {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(state(&served), "active/optimized");
    let log: Vec<serde_json::Value> =
        served.stop().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| log.iter().find(|line| line["event"] == kind);
    let (login, closed) = (of("logged-in").unwrap(), of("closed").unwrap());
    assert_eq!((&login["nexus"], &login["port"]), (&closed["nexus"], &serde_json::json!(1)));
    assert!(closed["at_ms"].as_u64().unwrap() >= 1_000, "{closed}");
    assert!(closed["text"].as_str().unwrap().contains("lost its link"), "{closed}");
}

#[test]
fn what_is_wrong_with_an_event_is_said() {
    let served = Served::start(&[]);
    for (words, part) in [
        (&["switch", "to=C"][..], "C"),
        (&["swich", "to=B"], "swich"),
        (&["switch", "to"], "KEY=VALUE"),
        (&["cut", "ports=1"], "ports"),
    ] {
        let (code, said) = served.event(words);
        assert_eq!(code, 1, "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[test]
fn a_port_that_is_down_resets_who_connects() {
    let served = Served::start(&[]);
    assert_eq!(served.event(&["port-down", "port=1"]).0, 0);
    let target = common::target::TARGET;
    let refused = alua_bench::load::Session::log_in(&served.address, target, 0, "iqn.a.b:c", 1);
    assert!(refused.is_err());
    assert_eq!(served.event(&["port-up", "port=1"]).0, 0);
    served.log_in("iqn.2026-03.invalid.test:host", 1);
}

#[test]
fn many_idle_sessions_are_held() {
    let served = Served::start(&[]);
    let name = "iqn.2026-03.invalid.test:host";
    let sessions: Vec<_> = (1..=200).map(|serial| served.log_in(name, serial)).collect();
    assert_eq!(served.status()["sessions"].as_array().unwrap().len(), sessions.len());
}

#[test]
fn nobody_answers_where_nothing_is_served() {
    let output = common::run(&["target", "status", "--control", "/nowhere/at/all"]);
    assert_eq!(common::code(&output), 52);
    assert!(common::stderr(&output).contains("alua target serve"));
    let output = common::run(&["target", "serve", "--portal", "127.0.0.1:0=99"]);
    assert_eq!(common::code(&output), 1);
    assert!(common::stderr(&output).contains("the array has no port 99"));
}
