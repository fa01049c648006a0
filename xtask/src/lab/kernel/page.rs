//! The page that shows both handlers side by side, made from the records of the runs.

use std::fs;

use alua_lab::kernel::{Check, Record, scenarios};
use anyhow::{Context, Result};

use super::module;
use super::records::Column;
use super::side_by_side::Handler;
use crate::run;

const FILE: &str = "docs/kernel-side-by-side.md";

/// Writes the page.
pub(super) fn write(columns: &[Column]) -> Result<()> {
    let file = run::root().join(FILE);
    fs::write(&file, text(columns, &module::source()?))
        .with_context(|| file.display().to_string())?;
    println!("lab: wrote {FILE}");
    Ok(())
}

fn text(columns: &[Column], source: &str) -> String {
    let mut page = String::from(
        "# The device handler side by side with the stock one\n\n\
         Made by `cargo xtask lab kernel` and then `cargo xtask lab kernel --page`; not to be edited. \
         The same\nscenarios ran with the stock `scsi_dh_alua` and with ours in otherwise equal guests \
         (QEMU, TCG, 2 CPUs),\nagainst the model array behind `target_core_user`, or Linux's own target where the name of the scenario or its \
         figures\nsays LIO. `yes`: it held; \
         `NO`: it did not; `-`: the scenario did not\nrun, or did not come so far. Ours was loaded with `reprobe_secs=3`, \
         so that no scenario waits for the 30 s of\nthe default: what ours finds by looking again it \
         finds up to ten times later without it.\n\n\
         The records are in `kernel-side-by-side.jsonl`, each with the commit that it ran at; those of before \
         November 28,\n2026 do not say.\n\n",
    );
    let of = |counted| -> Vec<&Column> {
        columns.iter().filter(|it| it.counted == counted && !it.is_debug()).collect()
    };
    let (timed, counted) = (of(false), of(true));
    provenance(&mut page, columns, source);
    page.push_str("## What must hold\n");
    for scenario in scenarios::ALL {
        checks(&mut page, &timed, scenario.name, scenario.summary);
    }
    for column in columns.iter().filter(|column| column.is_debug()) {
        on_debug_kernel(&mut page, column);
    }
    page.push_str(
        "\n## Figures\n\nCommands are counted by the model array, and those to LIO by the kernel \
         that sends them.\n-1: it did not happen. ",
    );
    page.push_str(
        "Times depend on what else the machine did. Those of many units have in them what the\nlab does \
         itself, one after the other: it sets the groups of each unit in configfs, reads each path or asks \
         for an\nactivation of each unit, and reads each path's state in sysfs.\n\n",
    );
    figures(&mut page, &timed);
    if !counted.is_empty() {
        page.push_str(
            "\n## Figures of guests whose clock counts instructions\n\n\
             Made with `--counted`: one processor, one nanosecond for each instruction, and the time \
             jumps where the\nguest waits. A millisecond is a million instructions, whatever else \
             the machine did.\n\n",
        );
        figures(&mut page, &counted);
    }
    page
}

/// The same scenarios on the kernel that finds mistakes: what held, and what it said.
fn on_debug_kernel(page: &mut String, column: &Column) {
    page.push_str(&format!(
        "\n## On a kernel that finds mistakes\n\n\
         Linux {} with KASAN, lockdep, kmemleak and DEBUG_ATOMIC_SLEEP, built from Debian's source by \
         `cargo xtask lab\nkernel-debug`, which runs the scenarios; ours alone. KASAN sees what the glue \
         and the kernel do with memory. The\nRust half is not compiled with it: the language bounds what it \
         does, but for the raw pointers of the entry points.\n\n\
         | scenario | checks that hold | reports of the kernel |\n|---|---|---|\n",
        short(&column.kernel)
    ));
    for record in &column.records {
        let held = record.checks.iter().filter(|check| check.held).count();
        let all = record.checks.len();
        let reports = match record.warnings.first() {
            None => "none".to_owned(),
            Some(first) => format!("{}, first: `{first}`", record.warnings.len()),
        };
        let failed = record.checks.iter().find(|check| !check.held);
        let failed = failed.map(|check| format!(" ({}: {})", check.what, check.seen));
        let failed = failed.or_else(|| record.error.clone()).unwrap_or_default();
        let failed = failed.replace(['|', '\n'], " ");
        page.push_str(&format!(
            "| `{}` | {held} of {all}{failed} | {reports} |\n",
            record.scenario
        ));
    }
}

/// Which records are of an earlier module than the one that the page is written beside.
fn provenance(page: &mut String, columns: &[Column], source: &str) {
    if columns.iter().all(|column| column.handler != Handler::Ours) {
        return;
    }
    page.push_str(&format!("Our module's source is `{source}` (a hash). "));
    let mut earlier = Vec::new();
    for column in columns.iter().filter(|column| column.handler == Handler::Ours) {
        let old = |record: &&Record| record.source.as_deref() != Some(source);
        let names: Vec<_> = column.records.iter().filter(old).map(|it| &*it.scenario).collect();
        if !names.is_empty() {
            let counted = match column {
                column if column.is_debug() => ", finds mistakes",
                column if column.counted => ", counted",
                _ => "",
            };
            let (release, names) = (short(&column.kernel), names.join("`, `"));
            earlier.push(format!("- {release}{counted}: `{names}`\n"));
        }
    }
    if earlier.is_empty() {
        page.push_str("All records of ours are of it.\n\n");
    } else {
        page.push_str("All records of ours are of it but these, of earlier ones:\n\n");
        page.push_str(&earlier.concat());
        page.push('\n');
    }
}

fn head(columns: &[&Column]) -> Vec<String> {
    let name = |column: &&Column| format!("{} {}", column.handler.name(), short(&column.kernel));
    columns.iter().map(name).collect()
}

fn short(kernel: &str) -> String {
    kernel.split(['+', '-']).next().unwrap_or(kernel).to_owned()
}

fn table_head(page: &mut String, first: &str, head: &[String]) {
    page.push_str(&format!(
        "| {first} | {} |\n|---|{}\n",
        head.join(" | "),
        "---|".repeat(head.len())
    ));
}

/// Names in the order in which any column has them first.
fn names<T: PartialEq>(lists: impl Iterator<Item = Vec<T>>) -> Vec<T> {
    let mut names = Vec::new();
    for name in lists.flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn checks(page: &mut String, columns: &[&Column], scenario: &str, summary: &str) {
    let head = head(columns);
    let record = |column: &&Column| {
        column.records.iter().find(|record| record.scenario == scenario).cloned()
    };
    let records: Vec<_> = columns.iter().map(record).collect();
    // Two checks may say the same of different behaviours, and the one tells nothing of the other.
    let key = |check: &Check| (check.row.clone(), check.what.clone());
    let all = names(records.iter().flatten().map(|record| record.checks.iter().map(key).collect()));
    if all.is_empty() {
        return;
    }
    page.push_str(&format!("\n### `{scenario}`: {summary}\n\n"));
    table_head(page, "behaviour", &head);
    for (row, what) in all {
        let mut cells = Vec::new();
        for record in &records {
            let same = |check: &&Check| check.row == row && check.what == what;
            let found = || record.iter().flat_map(|record| &record.checks).filter(same);
            // What was checked several times held if it held each time.
            let check = found().find(|check| !check.held).or_else(|| found().next());
            cells.push(match check {
                Some(check) if check.held => "yes".to_owned(),
                Some(check) => format!("NO ({})", check.seen.replace(['|', '\n'], " ")),
                None => "-".to_owned(),
            });
        }
        page.push_str(&format!("| {row}: {what} | {} |\n", cells.join(" | ")));
    }
    for (record, head) in records.iter().zip(&head) {
        let Some(record) = record else { continue };
        if let Some(error) = &record.error {
            let line = error.lines().next().unwrap_or_default();
            page.push_str(&format!("\n{head}: did not come to its end: {line}\n"));
        }
        if let Some(line) = record.warnings.first() {
            page.push_str(&format!(
                "\n{head}: {} warnings of the kernel, first: `{line}`\n",
                record.warnings.len()
            ));
        }
    }
}

fn figures(page: &mut String, columns: &[&Column]) {
    table_head(page, "figure", &head(columns));
    for scenario in scenarios::ALL {
        figures_of(page, columns, scenario.name);
    }
}

fn figures_of(page: &mut String, columns: &[&Column], scenario: &str) {
    let of = |column: &&Column| {
        let record = column.records.iter().find(|record| record.scenario == scenario);
        record.map(|record| record.figures.clone()).unwrap_or_default()
    };
    let lists: Vec<_> = columns.iter().map(of).collect();
    let all = names(lists.iter().map(|list| list.iter().map(|one| one.what.as_str()).collect()));
    for what in all {
        let cells: Vec<String> = lists
            .iter()
            .map(|list| {
                let figure = list.iter().find(|figure| figure.what == what);
                figure.map_or("-".to_owned(), |figure| format!("{:.0}", figure.value))
            })
            .collect();
        page.push_str(&format!("| {what} | {} |\n", cells.join(" | ")));
    }
}

#[cfg(test)]
mod tests {
    use alua_lab::kernel::{Check, Figure, Record};

    use super::super::records::{self, Column, DEBUG};
    use super::super::side_by_side::Handler;
    use super::{FILE, text};

    fn column(handler: Handler, counted: bool, value: f64) -> Column {
        let record = Record {
            scenario: "attach".to_owned(),
            checks: vec![Check {
                row: "F20".to_owned(),
                what: "it attaches".to_owned(),
                held: handler == Handler::Ours,
                seen: "nothing".to_owned(),
            }],
            figures: vec![Figure { what: "time".to_owned(), value }],
            ..Record::default()
        };
        let kernel = "6.12.1+deb13-amd64".to_owned();
        Column { release: "trixie".to_owned(), kernel, handler, counted, records: vec![record] }
    }

    #[test]
    fn counted_figures_stand_apart_and_their_checks_do_not_count() {
        let columns = [
            column(Handler::Stock, false, 1.0),
            column(Handler::Ours, false, 2.0),
            column(Handler::Stock, true, 3.0),
            column(Handler::Ours, true, 4.0),
        ];
        let page = text(&columns, "0123");
        assert_eq!(
            page.matches("| F20: it attaches | NO (nothing) | yes |\n").count(),
            1,
            "{page}"
        );
        assert!(page.contains("| time | 1 | 2 |\n"), "{page}");
        assert!(page.contains("| time | 3 | 4 |\n"), "{page}");
        assert!(!text(&columns[..2], "0123").contains("counts instructions"));
    }

    #[test]
    fn checks_of_the_same_text_are_one_row_only_where_they_are_of_the_same_behaviour() {
        let mut columns = [column(Handler::Stock, false, 1.0), column(Handler::Ours, false, 2.0)];
        let check = |row: &str, held, seen: &str| Check {
            row: row.to_owned(),
            what: "it follows".to_owned(),
            held,
            seen: seen.to_owned(),
        };
        columns[0].records[0].checks = vec![
            check("B24", true, "first"),
            check("B24", true, "second"),
            check("C15", false, "third"),
        ];
        columns[1].records[0].checks = vec![
            check("B24", true, "first"),
            check("B24", false, "second"),
            check("B24", true, "third"),
        ];
        let page = text(&columns, "0123");
        let rows: Vec<_> = page.lines().filter(|line| line.contains("it follows")).collect();
        let right =
            ["| B24: it follows | yes | NO (second) |", "| C15: it follows | NO (third) | - |"];
        assert_eq!(rows, right);
    }

    #[test]
    fn the_kernel_that_finds_mistakes_has_a_table_of_its_own() {
        let debug = Column { release: DEBUG.to_owned(), ..column(Handler::Ours, false, 2.0) };
        let mut columns = [column(Handler::Stock, false, 1.0), debug];
        let page = text(&columns, "0123");
        assert!(page.contains("| `attach` | 1 of 1 | none |\n"), "{page}");
        assert!(page.contains("| F20: it attaches | NO (nothing) |\n"), "no column: {page}");
        assert!(page.contains("- 6.12.1, finds mistakes: `attach`\n"), "{page}");
        columns[1].records[0].checks[0].held = false;
        columns[1].records[0].warnings.push("BUG: KASAN".to_owned());
        let page = text(&columns, "0123");
        let line = "| `attach` | 0 of 1 (it attaches: nothing) | 1, first: `BUG: KASAN` |\n";
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn the_page_is_what_its_records_make_of_it() {
        let page = std::fs::read_to_string(crate::run::root().join(FILE)).unwrap();
        let source = page.split("Our module's source is `").nth(1).unwrap();
        let source = source.split('`').next().unwrap();
        let made = text(&records::written().unwrap(), source);
        let differs = page.lines().zip(made.lines()).find(|(old, new)| old != new);
        assert_eq!(differs, None, "`cargo xtask lab kernel --page` writes it");
        assert_eq!(page.len(), made.len());
    }

    #[test]
    fn records_of_an_earlier_module_are_named() {
        let mut columns = [column(Handler::Stock, false, 1.0), column(Handler::Ours, false, 2.0)];
        let old = "of earlier ones:\n\n- 6.12.1: `attach`\n";
        assert!(text(&columns, "0123").contains(old), "one that kept nothing");
        columns[1].records[0].source = Some("9999".to_owned());
        assert!(text(&columns, "0123").contains(old));
        columns[1].records[0].source = Some("0123".to_owned());
        assert!(
            text(&columns, "0123").contains("`0123` (a hash). All records of ours are of it.\n")
        );
    }
}
