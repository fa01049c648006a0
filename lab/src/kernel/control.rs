//! The stock handler as a control: scenarios that tell the two handlers apart, and what they say of
//! the stock one.
//!
//! That our handler passes a scenario means little if every handler does. So the tests run these
//! scenarios with the stock handler too: each behaviour that is listed here must be seen not to hold
//! there, and all else that they check must hold. A check that can no longer fail, and a target that
//! no longer makes trouble, are found so.

use std::collections::BTreeSet;

use super::{Check, Record};

/// What is known not to hold with the stock handler of the newest kernel: the scenario, the
/// behaviour's rows, and what was checked, as in `docs/kernel-side-by-side.md`.
///
/// Only what fails there each time, whatever the machine does: what hangs on timing is under
/// [`UNJUDGED`]. Only scenarios of about a minute and less: `lying-reports` and `hanging-report` tell
/// the handlers apart too, and take longer with the stock one, for which they wait in vain.
pub static FAILS: &[(&str, &str, &str)] = &[
    ("attach", "B24", "sysfs shows every path's state"),
    ("attach", "F19", "sysfs shows which path is preferred"),
    ("sense-rows", "E04", "6/29/04 leads to another look at the states"),
    ("sense-rows", "E09", "6/3f/0e leads to another look at the states"),
    ("sense-rows", "E10", "2/04/0b leads to another look at the states"),
    ("sense-rows", "E10", "2/04/0c leads to another look at the states"),
    ("sense-rows", "E10", "2/04/12 leads to another look at the states"),
    ("sense-rows", "E10", "6/29/01 leads to another look at the states"),
    ("sense-rows", "E10", "6/29/02 leads to another look at the states"),
    ("sense-rows", "E10", "6/29/03 leads to another look at the states"),
    ("sense-rows", "E10", "6/29/07 leads to another look at the states"),
    ("silent-standby", "E10", "a path that answers 04/0B is looked at again"),
    ("sense-transition", "E13, X17", "sysfs shows the transition that a sense code told of"),
    ("nameless", "A14, REG-25", "a unit without a name follows its states"),
    ("late-group", "A06", "a rescan finds the group that page 83h names later"),
    (
        "swapped",
        "S7-7",
        "no more I/O reaches another logical unit when a unit attention has told of it",
    ),
    (
        "absent-group",
        "B31, REG-26",
        "a group that the report does not list is not shown as optimized",
    ),
    (
        "endless-transition",
        "C08, REG-22",
        "a transition without an end counts as standby after its limit of 3 s",
    ),
    ("endless-transition", "C08", "a read in it ends"),
    ("stale-deadline", "B14, REG-23", "nor is it after a report that failed long ago"),
    (
        "stale-deadline",
        "B14",
        "nor is it after a report that failed long ago: the states are right in the end",
    ),
    ("contended-reports", "B26, REG-24", "no report of 400 leaves out a group that is busy"),
    (
        "ping-pong",
        "REG-27",
        "30 pulls in 6 s send at most 16 STPG (8, and as many that met a unit attention)",
    ),
    ("parameters", "S7-10", "idle_probe_secs: a change is seen without I/O"),
    (
        "parameters",
        "B20",
        "transition_secs: a transition of which the target says 3 s may take 6 s, and no more",
    ),
];

/// What the same scenarios check and what holds with the stock handler only sometimes, written alike:
/// it is not judged. Nothing of that kind was seen yet.
pub static UNJUDGED: &[(&str, &str, &str)] = &[];

/// The scenarios that the control runs.
#[must_use]
pub fn scenarios() -> BTreeSet<&'static str> {
    FAILS.iter().map(|&(scenario, _, _)| scenario).collect()
}

/// In what a record of the stock handler is not as it is known to be; nothing if it is. The kernel's
/// warnings do not count: what the stock handler makes its kernel say is no failure of ours.
#[must_use]
pub fn surprises(record: &Record) -> Vec<String> {
    beside(record, FAILS, UNJUDGED)
}

type List<'a> = &'a [(&'a str, &'a str, &'a str)];

fn beside(record: &Record, fails: List<'_>, unjudged: List<'_>) -> Vec<String> {
    let scenario = record.scenario.as_str();
    let listed = |list: List<'_>| -> Vec<_> {
        let of = list.iter().filter(|(of, _, _)| *of == scenario);
        of.map(|&(_, row, what)| (row.to_owned(), what.to_owned())).collect()
    };
    let (fails, unjudged) = (listed(fails), listed(unjudged));
    let mut surprises = Vec::new();
    if let Some(error) = &record.error {
        surprises.push(format!("it did not come to its end: {error}"));
    }
    let mut failed = BTreeSet::new();
    for check in record.checks.iter().filter(|check| !check.held) {
        let this = (check.row.clone(), check.what.clone());
        let known = fails.contains(&this) || unjudged.contains(&this);
        // What is checked several times holds if it holds each time.
        if failed.insert(this) && !known {
            let Check { row, what, seen, .. } = check;
            surprises
                .push(format!("{row}: a failure that is not known of it: {what} (seen: {seen})"));
        }
    }
    for known in fails.iter().filter(|known| !failed.contains(known)) {
        let (row, what) = known;
        let same = |check: &Check| check.row == *row && check.what == *what;
        let how = if record.checks.iter().any(same) {
            "it holds, so the scenario does not tell the handlers apart"
        } else {
            "it was not checked"
        };
        surprises.push(format!("{row}: {how}: {what}"));
    }
    surprises
}

#[cfg(test)]
mod tests {
    use super::super::{Check, Record, scenarios};
    use super::{FAILS, UNJUDGED, beside, surprises};

    fn record(checks: &[(&str, &str, bool)]) -> Record {
        let check = |&(row, what, held): &(&str, &str, bool)| Check {
            row: row.to_owned(),
            what: what.to_owned(),
            held,
            seen: "this".to_owned(),
        };
        Record {
            scenario: "sense-transition".to_owned(),
            checks: checks.iter().map(check).collect(),
            ..Record::default()
        }
    }

    const KNOWN: (&str, &str, bool) =
        ("E13, X17", "sysfs shows the transition that a sense code told of", false);
    const HOLDS: (&str, &str, bool) = ("E01", "the read is retried", true);

    #[test]
    fn what_is_known_of_the_stock_handler_is_no_surprise() {
        assert!(surprises(&record(&[KNOWN, HOLDS])).is_empty());
    }

    #[test]
    fn a_known_failure_that_is_not_seen_is_a_surprise() {
        let (row, what, _) = KNOWN;
        let held = surprises(&record(&[(row, what, true), HOLDS]));
        assert!(
            held.len() == 1 && held[0].contains("does not tell the handlers apart"),
            "{held:?}"
        );
        let absent = surprises(&record(&[HOLDS]));
        assert!(absent.len() == 1 && absent[0].contains("it was not checked"), "{absent:?}");
        // Once is enough where a thing is checked several times.
        assert!(surprises(&record(&[(row, what, true), KNOWN, HOLDS])).is_empty());
    }

    #[test]
    fn a_failure_that_is_not_known_and_a_scenario_without_an_end_are_surprises() {
        let (row, what, _) = HOLDS;
        let new = surprises(&record(&[KNOWN, (row, what, false)]));
        assert!(new.len() == 1 && new[0].contains("not known of it"), "{new:?}");
        let cut = Record { error: Some("the guest died".to_owned()), ..record(&[KNOWN, HOLDS]) };
        assert_eq!(surprises(&cut).len(), 1);
    }

    #[test]
    fn what_holds_only_sometimes_is_not_judged() {
        let (row, what, _) = HOLDS;
        let unjudged = [("sense-transition", row, what)];
        for held in [true, false] {
            assert!(beside(&record(&[KNOWN, (row, what, held)]), FAILS, &unjudged).is_empty());
        }
    }

    #[test]
    fn the_lists_name_scenarios_that_are_there_and_nothing_twice() {
        let all: Vec<_> = FAILS.iter().chain(UNJUDGED).collect();
        for (index, entry) in all.iter().enumerate() {
            assert!(scenarios::ALL.iter().any(|scenario| scenario.name == entry.0), "{entry:?}");
            assert!(!all[..index].contains(entry), "{entry:?}");
        }
    }
}
