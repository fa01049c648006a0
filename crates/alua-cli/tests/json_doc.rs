//! docs/json.md and the program say the same: a small schema is read from the tables, and every
//! document that the program prints must have exactly its fields, with its types.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::client::Client;
use common::fake_sys::{self, HANDLER};
use common::{GREY, Up, run, run_with};
use serde_json::Value;

const TEXT: &str = include_str!("../../../docs/json.md");

/// A heading of the document: its fields with their types.
type Schema = BTreeMap<String, BTreeMap<String, Kind>>;

#[derive(Clone, Debug)]
enum Kind {
    String,
    Integer,
    Boolean,
    Object(String),
    Array(Box<Self>),
    OrNull(Box<Self>),
}

fn kind(text: &str) -> Kind {
    if let Some(inner) = text.strip_suffix(" or null") {
        return Kind::OrNull(Box::new(kind(inner)));
    }
    if let Some(inner) = text.strip_prefix("array of ") {
        return Kind::Array(Box::new(kind(inner)));
    }
    match text {
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "boolean" => Kind::Boolean,
        link => {
            let (_, anchor) = link.split_once("(#").unwrap_or_else(|| panic!("type {link:?}"));
            Kind::Object(anchor.trim_end_matches(')').to_owned())
        }
    }
}

fn schema() -> Schema {
    let mut schema = Schema::new();
    let mut heading = String::new();
    for line in TEXT.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.to_lowercase().replace(' ', "-");
        }
        let Some(row) = line.strip_prefix("| `").and_then(|row| row.strip_suffix(" |")) else {
            continue;
        };
        let mut cells = row.split(" | ");
        let (Some(name), Some(type_)) = (cells.next(), cells.next()) else { continue };
        let Some(name) = name.strip_suffix('`').filter(|_| heading != "commands") else { continue };
        let fields = schema.entry(heading.clone()).or_default();
        assert!(fields.insert(name.to_owned(), kind(type_)).is_none(), "{name} twice");
    }
    schema
}

struct Checker {
    schema: Schema,
    met: BTreeSet<(String, String)>,
}

impl Checker {
    fn object(&mut self, heading: &str, value: &Value, at: &str) {
        let fields = self.schema.get(heading).unwrap_or_else(|| panic!("no table {heading}"));
        let fields = fields.clone();
        let object = value.as_object().unwrap_or_else(|| panic!("{at}: no object: {value}"));
        let printed: BTreeSet<&String> = object.keys().collect();
        let documented: BTreeSet<&String> = fields.keys().collect();
        assert_eq!(printed, documented, "{at}: printed (left) and documented (right) as {heading}");
        for (name, kind) in fields {
            let inner = &object[&name];
            let at = format!("{at}.{name}");
            if !inner.is_null() && inner.as_array().is_none_or(|array| !array.is_empty()) {
                self.met.insert((heading.to_owned(), name));
            }
            self.check(&kind, inner, &at);
        }
    }

    fn check(&mut self, kind: &Kind, value: &Value, at: &str) {
        match kind {
            Kind::String => assert!(value.is_string(), "{at}: {value}"),
            Kind::Integer => assert!(value.is_u64() || value.is_i64(), "{at}: {value}"),
            Kind::Boolean => assert!(value.is_boolean(), "{at}: {value}"),
            Kind::Object(heading) => self.object(heading, value, at),
            Kind::Array(inner) => {
                let array = value.as_array().unwrap_or_else(|| panic!("{at}: {value}"));
                for (index, value) in array.iter().enumerate() {
                    self.check(inner, value, &format!("{at}[{index}]"));
                }
            }
            Kind::OrNull(inner) => {
                if !value.is_null() {
                    self.check(inner, value, at);
                }
            }
        }
    }
}

/// Runs whose documents are checked, with the heading of the document.
const RUNS: &[(&str, &[&str])] = &[
    ("listing", &["list", "--array", "demo"]),
    ("listing", &["list", "--array", "four-groups", "--check"]),
    ("listing", &["list", "--array", "misbehaving/mute-transition", "--at", "6"]),
    ("listing", &["list", "--array", "misbehaving/liar"]),
    ("listing", &["list", "--array", "misbehaving/tpgs-zero"]),
    ("listing", &["list", "--array", "misbehaving/no-designators"]),
    ("listing", &["show", "sda", "--array", "misbehaving/no-live-path", "--at", "6"]),
    ("explanation", &["explain", "sda", "--array", "demo"]),
    ("explanation", &["explain", "sdg", "--array", "four-groups"]),
    ("explanation", &["explain", "sda", "--array", "misbehaving/tpgs-zero"]),
    ("explanation", &["explain", "sda", "--array", "misbehaving/mute-transition", "--at", "6"]),
    ("report", &["rtpg", "sda", "--array", "demo"]),
    ("report", &["rtpg", "sda", "--array", "demo", "--short"]),
    ("inquiry", &["inquiry", "sda", "--array", "demo"]),
    ("identification", &["inquiry", "sda", "--array", "demo", "--vpd", "83"]),
    ("page", &["inquiry", "sda", "--array", "demo", "--vpd", "00"]),
    ("page", &["inquiry", "sda", "--array", "demo", "--vpd", "80"]),
    ("result", &["stpg", "sda", "--array", "demo", "--group", "2=ao", "--wait"]),
    ("result", &["stpg", "sda", "--array", "demo", "--group", "2=ao", "--dry-run"]),
    ("result", &["activate", "sda", "--array", "demo", "--group", "2", "--no-wait"]),
    ("result", &["activate", "sda", "--array", "demo", "--group", "9"]),
    ("readiness", &["tur", "sda", "--array", "demo", "-n", "2"]),
    ("readiness", &["tur", "sdg", "--array", "four-groups"]),
    ("arrays", &["array"]),
    ("demonstration", &["demo", "tour"]),
    ("trial", &["demo"]),
    ("check-result", &["check", "sda", "--array", "demo"]),
    ("check-result", &["check", "sda", "sdc", "--array", "misbehaving/tpgs-zero"]),
];

/// Dumps that are decoded, with the heading of the document.
const DUMPS: &[(&str, &str, &str)] = &[
    ("sense-data", "sense", "70 00 05 00 00 00 00 0a 00 00 00 00 24 00 00 c9 00 01"),
    ("sense-data", "sense", "f0 00 02 00 00 01 00 0a 00 00 00 00 04 04 00 80 40 00"),
    ("sense-data", "sense", "72 03 11 00 00 00 00 0c 00 0a 80 00 00 00 00 00 00 00 12 34"),
    ("report", "rtpg", "00 00 00 0c 80 8f 00 01 00 02 00 01 00 00 00 01"),
];

/// Fields that only real disks fill.
const LINUX_ONLY: &[(&str, &str)] = &[
    ("running-device", "lacks"),
    ("unit", "maps"),
    // The last reading of the handler's failed.
    ("handler", "refresh_error"),
];

/// Fields that are null by their nature, or that only a broken transport fills.
const NEVER_HERE: &[(&str, &str)] = &[
    ("reported-group", "transition"),
    ("sense-data", "device"),
    ("one-answer", "error"),
    ("identification", "contradiction"),
];

#[test]
fn the_program_prints_what_is_documented() {
    let mut checker = Checker { schema: schema(), met: BTreeSet::new() };
    assert!(checker.schema.len() > 25, "the tables are read");
    for (heading, arguments) in RUNS {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let output = run(&arguments);
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        checker.object(heading, &value, &arguments.join(" "));
        if let Some(version) = value.get("schema_version") {
            assert_eq!((&version["major"], &version["minor"]), (&1.into(), &4.into()));
        }
    }
    for (heading, kind, dump) in DUMPS {
        let output = run_with(&["decode", kind, "-", "--json"], dump.as_bytes());
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{dump}: {error}: {}", common::stderr(&output)));
        checker.object(heading, &value, dump);
    }
    linux(&mut checker);
    watch(&mut checker);
    running(&mut checker);
    served(&mut checker);
    let mut documented = BTreeSet::new();
    for (heading, fields) in &checker.schema {
        documented.extend(fields.keys().map(|name| (heading.clone(), name.clone())));
    }
    let known = |list: &[(&str, &str)]| -> BTreeSet<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let elsewhere = &known(LINUX_ONLY) | &known(NEVER_HERE);
    let unmet: Vec<_> = documented.difference(&checker.met).collect();
    let expected: Vec<_> = elsewhere.iter().collect();
    assert_eq!(unmet, expected, "documented fields that no run filled");
}

/// The disks of a made-up sysfs, with what the kernel's handler tells of them.
fn linux(checker: &mut Checker) {
    let directory = tempfile::tempdir().unwrap();
    let (sys, dev) = (directory.path().join("sys"), directory.path().join("dev"));
    std::fs::create_dir_all(&dev).unwrap();
    fake_sys::device(&sys, "0:0:1:0", [1, 1], "sda", "running\n");
    fake_sys::tell(&sys, HANDLER);
    let tree = ["--sysfs", sys.to_str().unwrap(), "--dev", dev.to_str().unwrap(), "--json"];
    for (heading, arguments) in
        [("listing", &["list"][..]), ("explanation", &["explain", "sda"][..])]
    {
        let output = run(&[arguments, &tree[..]].concat());
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(value.to_string().contains("\"retries\""), "{value}");
        checker.object(heading, &value, "a made-up sysfs");
    }
}

/// A target that is served: its events and its status.
fn served(checker: &mut Checker) {
    let served = common::target::Served::start(&["--json"]);
    let mut session = served.log_in("iqn.2026-03.invalid.test:json", 1);
    session.say_odd_things();
    let status = served.status();
    checker.object("target-status", &status, "target status");
    for line in served.stop() {
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        checker.object("target-event", &value, &line);
    }
}

fn watch(checker: &mut Checker) {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.toml");
    let events = "[[event]]\nat = \"3s\"\ndo = \"switch\"\nto = \"B\"\n\
                  [[event]]\nat = \"9s\"\ndo = \"set-state\"\ngroup = 2\nstate = \"standby\"\n\
                  quiet = true\n\
                  [[event]]\nat = \"9s\"\ndo = \"freeze-reports\"\nduration = \"5s\"\n";
    std::fs::write(&script, events).unwrap();
    let script = script.to_str().unwrap();
    let arguments =
        ["list", "--check", "--array", "demo", "--script", script, "--watch=2", "--json"];
    let output = run(&arguments);
    let text = common::stdout(&output);
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    checker.object("listing", &lines.next().unwrap(), "watch");
    let mut changes = 0;
    for line in lines {
        checker.object("change", &line, "watch");
        changes += 1;
    }
    assert!(changes >= 8, "{text}");
    // What a path says of itself against a report that does not know it yet.
    checker.met.insert(("change".to_owned(), "device".to_owned()));
}

/// A running device, and what is said of it.
fn running(checker: &mut Checker) {
    let directory = tempfile::tempdir().unwrap();
    let (script, socket) = (directory.path().join("script.toml"), directory.path().join("nbd"));
    std::fs::write(&script, GREY).unwrap();
    let address = format!("unix:{}", socket.display());
    let script = script.to_str().unwrap();
    let more = ["--activate", "optimized-lost", "--policy", "round-robin", "--script", script];
    let up = Up::start(&[&["--json", "--nbd", &address][..], &more].concat());
    let mut ask = |heading: &str, arguments: &[&str]| {
        let output = up.ask(arguments);
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        checker.object(heading, &value, &arguments.join(" "));
        value
    };
    std::thread::sleep(std::time::Duration::from_millis(200));
    // Reads fail on one path: it is left out for a while, and the other is measured.
    let mut client = Client::connect(&socket).unwrap();
    for _ in 0..100 {
        client.read(0, &mut [0; 4096]).unwrap();
        let status = ask("running-devices", &["status", "--json"]);
        if status["devices"][0]["paths"][0]["out_for_ms"].is_u64() {
            break;
        }
    }
    drop(client);
    ask("running-devices", &["switch", "sda", "--group", "2", "--json"]);
    ask("explanation", &["explain", "sda", "--array", "demo", "--json"]);
    for device in ["sda", "sde", "sdi", "sdm"] {
        ask("running-devices", &["path", "fail", device, "--json"]);
    }
    ask("running-devices", &["path", "restore", "sda", "--json"]);
    let (_, out, _) = up.end();
    let last = out.lines().last().unwrap_or_default();
    checker.object("work-done", &serde_json::from_str(last).unwrap(), "up");
}

/// Each command of the first table exists, and each heading it links to.
#[test]
fn the_table_of_commands_is_whole() {
    let schema = schema();
    let rows: Vec<&str> = TEXT
        .lines()
        .skip_while(|line| *line != "## Commands")
        .take_while(|line| *line != "## Listing")
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert!(rows.len() >= 12);
    for row in rows {
        for link in row.split("(#").skip(1) {
            let (anchor, _) = link.split_once(')').unwrap();
            assert!(schema.contains_key(anchor), "{anchor}");
        }
    }
}
