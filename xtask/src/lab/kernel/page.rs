//! The page that shows both handlers side by side, made from the records of the runs.

use std::fs;

use alua_lab::kernel::{Check, scenarios};
use anyhow::{Context, Result};

use super::side_by_side::Column;
use crate::run;

const FILE: &str = "docs/kernel-side-by-side.md";

/// Writes the page.
pub(super) fn write(columns: &[Column]) -> Result<()> {
    let file = run::root().join(FILE);
    fs::write(&file, text(columns)).with_context(|| file.display().to_string())?;
    println!("lab: wrote {FILE}");
    Ok(())
}

fn text(columns: &[Column]) -> String {
    let mut page = String::from(
        "# The device handler side by side with the stock one\n\n\
         Made by `cargo xtask lab kernel` and then `cargo xtask lab kernel --page`; not to be edited. \
         The same\nscenarios ran with the stock `scsi_dh_alua` and with ours in otherwise equal guests \
         (QEMU, TCG, 2 CPUs),\nagainst the model array behind `target_core_user`. `yes`: it held; \
         `NO`: it did not; `-`: the scenario did not\nrun, or did not come so far.\n\n",
    );
    let head: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.handler.name(), short(&column.kernel)))
        .collect();
    page.push_str("## What must hold\n");
    for scenario in scenarios::ALL {
        checks(&mut page, columns, &head, scenario.name, scenario.summary);
    }
    page.push_str("\n## Figures\n\nCommands are counted by the target. -1: it did not happen.\n\n");
    table_head(&mut page, "figure", &head);
    for scenario in scenarios::ALL {
        figures(&mut page, columns, scenario.name);
    }
    page
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
fn names<'a>(lists: impl Iterator<Item = Vec<&'a str>>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for name in lists.flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn checks(page: &mut String, columns: &[Column], head: &[String], scenario: &str, summary: &str) {
    let record = |column: &'_ Column| {
        column.records.iter().find(|record| record.scenario == scenario).cloned()
    };
    let records: Vec<_> = columns.iter().map(record).collect();
    let all = names(
        records
            .iter()
            .flatten()
            .map(|record| record.checks.iter().map(|check| check.what.as_str()).collect()),
    );
    if all.is_empty() {
        return;
    }
    page.push_str(&format!("\n### `{scenario}`: {summary}\n\n"));
    table_head(page, "behaviour", head);
    for what in all {
        let mut row = "";
        let mut cells = Vec::new();
        for record in &records {
            let same = |check: &&Check| check.what == what;
            let found = || record.iter().flat_map(|record| &record.checks).filter(same);
            // What was checked several times held if it held each time.
            let check = found().find(|check| !check.held).or_else(|| found().next());
            row = check.map_or(row, |check| &check.row);
            cells.push(match check {
                Some(check) if check.held => "yes".to_owned(),
                Some(check) => format!("NO ({})", check.seen.replace(['|', '\n'], " ")),
                None => "-".to_owned(),
            });
        }
        page.push_str(&format!("| {row}: {what} | {} |\n", cells.join(" | ")));
    }
    for (record, head) in records.iter().zip(head) {
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

fn figures(page: &mut String, columns: &[Column], scenario: &str) {
    let of = |column: &'_ Column| {
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
