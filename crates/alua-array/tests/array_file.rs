//! The array file: its errors, and its documentation, which has to say what the parser does.

use std::collections::BTreeMap;

use alua_array::{
    Array, Config, ControllerConfig, Event, GroupConfig, PortConfig, UnitConfig, shipped,
};

const MANUAL: &str = include_str!("../../../docs/array-file.md");

/// An array that every name below is in.
const BASE: &str = r#"
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
[[unit]]
name = "disk"
lun = 0
"#;

/// The error of the base array with `text` after it.
fn error(text: &str) -> String {
    let file = format!("{BASE}{text}");
    match Config::from_toml("test.toml", &file) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_shipped_array_runs_its_script_to_the_end() {
    for shipped in shipped::ALL {
        let mut array = shipped.build();
        let mut events = 0;
        while let Some(next) = array.next_event() {
            array.advance(next);
            events += 1;
            assert!(events < 1000, "{} does not end", shipped.name);
        }
    }
}

#[test]
fn every_file_in_the_folder_is_shipped() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/arrays");
    let mut found = Vec::new();
    for folder in ["", "misbehaving/"] {
        for entry in std::fs::read_dir(format!("{root}/{folder}")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(name) = name.strip_suffix(".toml") {
                found.push(format!("{folder}{name}"));
            }
        }
    }
    let mut listed: Vec<&str> = shipped::ALL.iter().map(|shipped| shipped.name).collect();
    listed.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn an_error_shows_the_line_and_what_is_allowed() {
    let seen = error("[alua]\ntgps = \"both\"\n");
    let line = BASE.lines().count() + 2;
    assert!(seen.starts_with(&format!("test.toml:{line}:1: [alua] has no key `tgps`")), "{seen}");
    assert!(seen.contains(&format!(" {line} | tgps = \"both\"\n")), "{seen}");
    assert!(seen.contains("| ^^^^\n  did you mean `tpgs`? allowed: tpgs, "), "{seen}");
}

#[test]
fn values_are_checked_where_they_stand() {
    for (text, place, message, help) in [
        ("[array]\nvendor = 3", 10, "`vendor` must be a string; this is of type integer", ""),
        ("[array]\nvendor = \"TOO LONG FOR IT\"", 10, "`vendor` cannot be", "at most 8"),
        ("[array]\njitter = 3", 10, "`jitter` must be a string", "a number and a unit"),
        ("[array]\njitter = \"3\"", 10, "`jitter` is not a length of time", "\"250ms\""),
        ("[array]\nqueue_depth = -1", 15, "`queue_depth` is out of range", "0 to 4294967295"),
        ("[alua]\ntpgs = \"all\"", 8, "`tpgs` cannot be \"all\"", "none, implicit, explicit"),
        ("[alua]\nsupported = [\"standby\", \"stanby\"]", 25, "cannot be \"stanby\"", "`standby`?"),
        ("[alua]\nextended_header_sense = \"24\"", 25, "is not a sense code", "\"2a/06\""),
        ("[[group]]\nid = 1\ncontroller = \"A\"", 6, "there is already a group 1", ""),
        ("[[group]]\nid = 3\ncontroller = \"C\"", 14, "there is no controller C", "are: A, B"),
        ("[[port]]\nid = 0\ngroup = 1", 6, "`id` cannot be 0", "1 to 65535"),
        ("[[port]]\nid = 2\ngroup = 9", 9, "there is no group 9", "there are: 1, 2"),
        ("[[unit]]\nname = \"x\"\nlun = 0", 7, "LUN 0 is already that of unit disk", ""),
        ("[[unit]]\nname = \"x\"\nlun = 16383\ncount = 2", 7, "16384 is out of range", "16383"),
        ("[[unit]]\nname = \"x\"\nnaa = \"60\"", 7, "not an NAA designator", "8 bytes"),
        ("[[unit]]\nname = \"x\"\nnaa = \"6g\"", 7, "not hexadecimal", ""),
        ("[[unit]]\nname = \"x\"\nstates = { 7 = \"standby\" }", 10, "no group 7", "1, 2"),
        (
            "[[unit]]\nname = \"x\"\nsegments = { first = 5, last = 9999, group = 1 }",
            12,
            "the segment 5-9999 is not on the unit",
            "at most 2047",
        ),
        ("[[fault]]\nname = \"f\"\naction = \"busi\"", 10, "cannot be \"busi\"", "`busy`?"),
        ("[[fault]]\nname = \"f\"\naction = \"busy\"\nport = 4", 8, "there is no port 4", ""),
        (
            "[[fault]]\nname = \"f\"\nfunction = \"abort-task\"\naction = \"endless\"",
            10,
            "no task management function ends so",
            "hang, transport, busy",
        ),
        ("[[event]]\nat = \"1s\"\ndo = \"switch\"\nto = \"C\"", 6, "no controller C", ""),
        ("[[event]]\nat = \"1s\"\ndo = \"arm\"\nfault = \"f\"", 9, "no fault f", "has no fault"),
        (
            "[[event]]\nat = \"1s\"\ndo = \"switch\"\nto = \"B\"\nport = 1",
            1,
            "has no key `port`",
            "",
        ),
    ] {
        let seen = error(text);
        let first = seen.lines().next().unwrap();
        let column: usize = first.split(':').nth(2).unwrap().parse().unwrap();
        assert!(first.contains(message), "{text}\ngave\n{seen}");
        assert!(seen.contains(help), "{text}\ngave\n{seen}");
        assert_eq!(column, place, "{text}\ngave\n{seen}");
    }
}

#[test]
fn what_is_missing_is_named() {
    assert!(error("[[unit]]\nlun = 1\n").contains("[[unit]] has no `name`"));
    assert!(error("[[event]]\ndo = \"split\"\n").contains("[[event]] has no `at`"));
    assert!(error("[[fault]]\nname = \"f\"\naction = \"check\"\n").contains("has no `sense`"));
    assert!(error("[alua\n").starts_with("test.toml:"));
    let empty = Config::from_toml("e.toml", "").unwrap_err().to_string();
    assert!(empty.contains("the array has no controller"), "{empty}");
}

#[test]
fn an_array_made_in_code_is_checked_too() {
    let mut config = Config::from_toml("test.toml", BASE).unwrap();
    config.ports[0].group = 7;
    let error = Array::new(config).unwrap_err().to_string();
    assert!(error.starts_with("port 1, `group`: there is no group 7"), "{error}");
}

#[test]
fn an_array_can_be_made_in_code() {
    let config = Config {
        controllers: vec![ControllerConfig::new("A"), ControllerConfig::new("B")],
        groups: vec![GroupConfig::new(1, "A"), GroupConfig::new(2, "B")],
        ports: vec![PortConfig::new(1, 1)],
        units: vec![UnitConfig { name: "disk".into(), lun: Some(0), ..UnitConfig::default() }],
        ..Config::default()
    };
    let read = Config::from_toml("test.toml", BASE).unwrap();
    assert_eq!(config, read);
    assert!(Array::new(config).unwrap().connect("host", 1).is_ok());
}

#[test]
fn scripts_and_single_events_are_read_apart() {
    let config = Config::from_toml("test.toml", BASE).unwrap();
    let text = "[[event]]\nat = \"2s\"\ndo = \"switch\"\nto = \"B\"\n";
    assert_eq!(config.script_from_toml("s.toml", text).unwrap().len(), 1);
    let wrong = config.script_from_toml("s.toml", &text.replace('B', "X")).unwrap_err();
    assert_eq!((wrong.line, wrong.column), (4, 6));
    let wrong = config.script_from_toml("s.toml", "[array]\n").unwrap_err();
    assert!(wrong.to_string().contains("the script has no key `array`"), "{wrong}");

    let event = Event::from_toml("do = \"switch\"\nto = \"B\"", &config.alua).unwrap();
    let mut array = Array::new(config.clone()).unwrap();
    array.apply(&event).unwrap();
    let event = Event::from_toml("do = \"switch\"\nto = \"X\"", &config.alua).unwrap();
    let error = array.apply(&event).unwrap_err().to_string();
    assert!(error.contains("there is no controller X"), "{error}");
}

#[test]
fn the_manuals_examples_are_arrays() {
    let mut count = 0;
    for block in MANUAL.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        if let Err(error) = Array::from_toml("docs/array-file.md", text) {
            panic!("{error}");
        }
        count += 1;
    }
    assert!(count >= 3, "only {count} examples found");
}

/// The words in backquotes in one cell.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of the manual's tables: by section and by the head of the first column, the first cell's
/// word and the second cell.
fn manual_rows() -> BTreeMap<(String, String), Vec<(String, String)>> {
    let (mut section, mut head) = (String::new(), None);
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in MANUAL.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim_matches('`').to_owned();
        }
        let Some(inner) = line.strip_prefix('|') else {
            head = None;
            continue;
        };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        match &head {
            None => head = Some(cells[0].to_owned()),
            Some(_) if cells[0].starts_with("---") => {}
            Some(head) => {
                let row = (words(cells[0]).concat(), cells[1].to_owned());
                rows.entry((section.clone(), head.clone())).or_default().push(row);
            }
        }
    }
    rows
}

/// The keys that the parser takes where `text` ends with a key that it does not.
fn keys_after(text: &str) -> Vec<String> {
    let seen = error(&format!("{text}\nzzzzzzzz = 1\n"));
    let (_, list) = seen.split_once("allowed: ").unwrap_or_else(|| panic!("{text}\n{seen}"));
    list.lines().next().unwrap().split(", ").map(str::to_owned).collect()
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort_unstable();
    list
}

#[test]
fn the_manual_has_every_key_and_no_other() {
    let rows = manual_rows();
    for (section, entry) in [
        ("[array]", "[array]"),
        ("[alua]", "[alua]"),
        ("[[controller]]", "[[controller]]\nname = \"C\""),
        ("[[group]]", "[[group]]\nid = 3\ncontroller = \"A\""),
        ("[[port]]", "[[port]]\nid = 3\ngroup = 1"),
        ("[[unit]]", "[[unit]]\nname = \"x\""),
        ("[[fault]]", "[[fault]]\nname = \"x\"\naction = \"busy\""),
    ] {
        let told = rows[&(section.to_owned(), "key".to_owned())].iter();
        let told = told.map(|(key, _)| key.clone()).collect();
        assert_eq!(sorted(told), sorted(keys_after(entry)), "{section}");
    }
}

/// Values for every key that an event or an action may need.
const VALUES: [(&str, &str); 25] = [
    ("name", "\"x\""),
    ("action", "\"busy\""),
    ("group", "1"),
    ("state", "\"standby\""),
    ("to", "\"B\""),
    ("preferred", "true"),
    ("code", "\"2a/06\""),
    ("port", "1"),
    ("controller", "\"A\""),
    ("fault", "\"x\""),
    ("lun", "0"),
    ("unit", "\"disk\""),
    ("blocks", "64"),
    ("naa", "\"3000000000000000\""),
    ("duration", "\"1s\""),
    ("alua", "{}"),
    ("on", "true"),
    ("sense", "\"2/04/0a\""),
    ("delay", "\"1s\""),
    ("bytes", "4"),
    ("step", "4"),
    ("offset", "4"),
    ("data", "\"00\""),
    ("error", "\"error\""),
    ("runs", "true"),
];

fn assignments(keys: &[String]) -> String {
    let value = |key: &String| VALUES.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    keys.iter().filter_map(|key| value(key).map(|value| format!("{key} = {value}\n"))).collect()
}

#[test]
fn the_manual_has_every_event_and_action_with_its_keys() {
    let rows = manual_rows();
    let fault_keys = keys_after("[[fault]]\nname = \"x\"\naction = \"busy\"");
    for (section, column, head, own) in [
        ("[[event]]", "do", "[[event]]\nat = \"1s\"\ndo = ", vec!["at".into(), "do".into()]),
        ("[[fault]]", "action", "[[fault]]\nname = \"x\"\naction = ", fault_keys.clone()),
    ] {
        let told = &rows[&(section.to_owned(), column.to_owned())];
        for (name, keys) in told {
            let mut keys = words(keys);
            // Those of another table, behind which an entry of that table is read.
            if keys == ["[[fault]]"] {
                keys.clone_from(&fault_keys);
            }
            let entry = format!("{head}\"{name}\"\n{}", assignments(&keys));
            let mut taken = keys_after(&entry);
            taken.retain(|key| !own.contains(key));
            assert_eq!(sorted(keys), sorted(taken), "{name}");
        }
        let wrong = error(&format!("{head}\"zzzzzzzz\"\n"));
        let (_, list) = wrong.split_once("allowed: ").unwrap();
        let all: Vec<String> =
            list.lines().next().unwrap().split(", ").map(str::to_owned).collect();
        let told: Vec<String> = told.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(sorted(told), sorted(all), "{section}");
    }
}

#[test]
fn the_manual_has_the_legend_of_the_trace() {
    let rows = manual_rows();
    let told = rows[&("The trace".to_owned(), "what".to_owned())].iter();
    let legend = alua_array::TRACE_LEGEND.lines().skip(1);
    let legend = legend.map(|line| line.trim_start_matches("what").trim());
    let legend: Vec<String> =
        legend.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(told.map(|(what, _)| what.clone()).collect::<Vec<_>>(), legend);
}

#[test]
fn the_manual_lists_what_is_shipped() {
    let rows = manual_rows();
    let told = &rows[&(String::new(), "array".to_owned())];
    let shipped: Vec<(String, String)> =
        shipped::ALL.iter().map(|s| (s.name.to_owned(), s.title.to_owned())).collect();
    assert_eq!(*told, shipped);
}
