//! `docs/behaviours.md` names every row of the behaviour catalogue, and no test that is not there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The ranges of identifiers: what stands before the number, how many digits it has at least, and
/// the last number.
const RANGES: [(&str, usize, u32); 12] = [
    ("R", 1, 18),
    ("X", 1, 19),
    ("A", 2, 20),
    ("B", 2, 34),
    ("C", 2, 17),
    ("D", 2, 12),
    ("E", 2, 14),
    ("F", 2, 24),
    ("G", 2, 18),
    ("REG-", 2, 34),
    ("N", 1, 20),
    ("S7-", 1, 13),
];

struct Row {
    id: String,
    behaviour: String,
    place: String,
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn top() -> PathBuf {
    crates().parent().unwrap().to_path_buf()
}

fn rows() -> Vec<Row> {
    let file = top().join("docs/behaviours.md");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let cells = |line: &str| -> Option<Row> {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let mut cells = line.splitn(3, " | ").map(str::to_owned);
        let row = Row { id: cells.next()?, behaviour: cells.next()?, place: cells.next()? };
        (row.id != "id").then_some(row)
    };
    text.lines().filter_map(cells).collect()
}

/// The file that the left side of a test's name stands for.
fn file_of(module: &str) -> PathBuf {
    match module.split_once('/') {
        Some(("unit", name)) => crates().join(format!("alua-core/tests/unit/{name}.rs")),
        Some(("alua-kernel", name)) => top().join(format!("kernel/rust/tests/{name}.rs")),
        Some(("src", name)) => crates().join(format!("alua-core/src/{name}.rs")),
        Some((other, name)) => crates().join(format!("{other}/tests/{name}.rs")),
        None => crates().join(format!("alua-core/tests/{module}.rs")),
    }
}

/// The functions of a source file that stand directly behind `#[test]`.
fn tests_in(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let mut found = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            found.extend(rest.split('(').next().map(str::to_owned));
            marked = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            marked = false;
        }
    }
    found
}

/// The text of the device handler's scenarios, by file.
fn scenarios() -> BTreeMap<PathBuf, String> {
    let folder = top().join("lab/src/kernel/scenarios");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    files
        .map(|entry| entry.unwrap().path())
        .map(|file| (file.clone(), fs::read_to_string(&file).unwrap()))
        .collect()
}

/// Whether some scenario checks a row: its id stands in a string that begins with a row.
fn is_checked(text: &str, id: &str) -> bool {
    text.split('"')
        .skip(1)
        .step_by(2)
        .any(|string| string.split([' ', ',', ':']).any(|word| word == id))
}

/// The tests that a row names: what stands between backticks and has `::` after a lower-case
/// module.
fn named(place: &str) -> impl Iterator<Item = (&str, &str)> {
    place
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|name| name.split_once("::"))
        .filter(|(module, _)| module.starts_with(|first: char| first.is_ascii_lowercase()))
}

#[test]
fn every_row_is_there_once_and_says_something() {
    let rows = rows();
    let mut wanted = BTreeSet::new();
    for (letters, digits, last) in RANGES {
        for number in 1..=last {
            wanted.insert(format!("{letters}{number:0digits$}"));
        }
    }
    assert_eq!(wanted.len(), 243);
    let mut seen = BTreeSet::new();
    for row in &rows {
        assert!(seen.insert(row.id.clone()), "{} stands there twice", row.id);
        assert!(wanted.contains(&row.id), "{} is no row of the catalogue", row.id);
        assert!(row.behaviour.len() > 4, "{} says no behaviour", row.id);
        assert!(row.place.len() > 4, "{} says no place", row.id);
    }
    let missing: Vec<_> = wanted.difference(&seen).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn every_test_named_exists_and_carries_the_row() {
    let mut files: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    let mut count = 0;
    let scenarios = scenarios();
    for row in rows() {
        for (module, test) in named(&row.place) {
            count += 1;
            if module == "lab" {
                let listed = format!("\"{test}\"");
                let known = scenarios
                    .iter()
                    .any(|(file, text)| file.ends_with("mod.rs") && text.contains(&listed));
                assert!(known, "{}: no scenario {test}", row.id);
                let checked = scenarios.values().any(|text| is_checked(text, &row.id));
                assert!(checked, "{}: no scenario checks it", row.id);
                continue;
            }
            let file = file_of(module);
            let tests = files.entry(file.clone()).or_insert_with(|| tests_in(&file));
            assert!(tests.contains(test), "{}: no test {test} in {}", row.id, file.display());
            let id = row.id.to_lowercase().replace('-', "_");
            assert!(
                format!("{test}_").contains(&format!("{id}_")),
                "{}: {test} does not carry its id",
                row.id
            );
        }
    }
    assert!(count > 200, "only {count} tests were found in the table");
}
