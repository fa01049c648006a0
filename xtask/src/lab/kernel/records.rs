//! The records of the runs: kept on the machine that they ran on, and beside the page that is made of
//! them. The long scenarios take hours; one that ran elsewhere need not run again for the page.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use alua_lab::kernel::{Record, scenarios};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::super::cache;
use super::side_by_side::Handler;
use super::tree::Release;
use crate::run;

/// The records that the page was made of, a line each.
const FILE: &str = "docs/kernel-side-by-side.jsonl";

/// Where a release is named: the kernel that finds mistakes.
pub(super) const DEBUG: &str = "debug";

/// All records of one handler on one kernel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) release: String,
    pub(super) kernel: String,
    pub(super) handler: Handler,
    /// Its times are numbers of instructions.
    #[serde(default)]
    pub(super) counted: bool,
    pub(super) records: Vec<Record>,
}

impl Column {
    /// It ran on the kernel that finds mistakes.
    pub(super) fn is_debug(&self) -> bool {
        self.release == DEBUG
    }

    fn is_of(&self, release: &str, handler: Handler, counted: bool) -> bool {
        (&*self.release, self.handler, self.counted) == (release, handler, counted)
    }

    fn newest(&self) -> u64 {
        self.records.iter().map(|record| record.at).max().unwrap_or(0)
    }

    /// Takes over what another one has that is newer. Of two kernels only the one that ran last counts.
    fn merge(&mut self, other: Self) {
        if other.kernel == self.kernel {
            self.take(other, |old, new| new.at > old.at);
        } else if other.newest() > self.newest() {
            println!(
                "lab: {} {}: the records of {} give way to those of {}",
                self.release,
                self.handler.name(),
                self.kernel,
                other.kernel
            );
            *self = other;
        }
    }

    /// Takes over what ran just now, whatever the clock says.
    fn renew(&mut self, fresh: Self) {
        if fresh.kernel == self.kernel {
            self.take(fresh, |_, _| true);
        } else {
            *self = fresh;
        }
    }

    fn take(&mut self, other: Self, wins: impl Fn(&Record, &Record) -> bool) {
        for record in other.records {
            let same = self.records.iter_mut().find(|it| it.scenario == record.scenario);
            match same {
                Some(old) if wins(old, &record) => *old = record,
                Some(_) => {}
                None => self.records.push(record),
            }
        }
        let places: BTreeMap<&str, usize> =
            scenarios::ALL.iter().map(|it| it.name).zip(0..).collect();
        // A scenario that is no more is nobody's.
        self.records.retain(|record| places.contains_key(&*record.scenario));
        self.records.sort_by_key(|record| places.get(&*record.scenario).copied());
    }
}

/// The commit of the tree, with a `+` where it has changes; `None` where there is none.
pub(super) fn commit() -> Option<String> {
    let git = |args: &[&str]| run::capture(run::command("git").args(args)).ok();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    Some(format!("{}{}", commit.trim(), if changed { "+" } else { "" }))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs())
}

/// Keeps the records of a column on this machine.
pub(super) fn keep(column: &Column) -> Result<()> {
    let file = kept(&column.release, column.handler, column.counted)?;
    let old = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut all: Column = old.unwrap_or_else(|| column.clone());
    all.renew(column.clone());
    fs::write(&file, serde_json::to_string_pretty(&all)?)
        .with_context(|| file.display().to_string())
}

fn kept(release: &str, handler: Handler, counted: bool) -> Result<PathBuf> {
    let counted = if counted { "-counted" } else { "" };
    Ok(cache()?.join(format!("kernel-{release}-{}{counted}.json", handler.name())))
}

/// Those that the page was made of.
pub(super) fn written() -> Result<Vec<Column>> {
    let file = run::root().join(FILE);
    let written = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.with_context(|| file.display().to_string())?,
    };
    from_lines(&written).with_context(|| file.display().to_string())
}

/// The newest of each scenario: of those that the page was made of, and of those of this machine.
pub(super) fn all() -> Result<Vec<Column>> {
    let written = written()?;
    let mut columns = Vec::new();
    for counted in [false, true] {
        for release in Release::ALL.map(Release::name).into_iter().chain([DEBUG]) {
            for handler in Handler::ALL {
                let file = kept(release, handler, counted)?;
                let kept = match fs::read_to_string(&file) {
                    Ok(text) => Some(
                        serde_json::from_str::<Column>(&text)
                            .with_context(|| file.display().to_string())?,
                    ),
                    Err(_) => None,
                };
                let is_it = |it: &&Column| it.is_of(release, handler, counted);
                let mut column = written.iter().find(is_it).cloned();
                match (&mut column, kept) {
                    (Some(column), Some(kept)) => column.merge(kept),
                    (column, Some(kept)) => *column = Some(kept),
                    (_, None) => {}
                }
                columns.extend(column);
            }
        }
    }
    if columns.is_empty() {
        bail!("nothing has run yet: `cargo xtask lab kernel`");
    }
    Ok(columns)
}

/// Writes the records beside the page.
pub(super) fn write(columns: &[Column]) -> Result<()> {
    let file = run::root().join(FILE);
    fs::write(&file, to_lines(columns)?).with_context(|| file.display().to_string())
}

/// A record with what its column says.
#[derive(Serialize, Deserialize)]
struct Line {
    release: String,
    kernel: String,
    handler: Handler,
    counted: bool,
    #[serde(flatten)]
    record: Record,
}

fn to_lines(columns: &[Column]) -> Result<String> {
    let mut text = String::new();
    for column in columns {
        for record in &column.records {
            let (release, kernel) = (column.release.clone(), column.kernel.clone());
            let (handler, counted) = (column.handler, column.counted);
            let line = Line { release, kernel, handler, counted, record: record.clone() };
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
    }
    Ok(text)
}

fn from_lines(text: &str) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    for line in text.lines() {
        let Line { release, kernel, handler, counted, record } = serde_json::from_str(line)?;
        let one = Column { release, kernel, handler, counted, records: vec![record] };
        match columns.iter_mut().find(|it| it.is_of(&one.release, one.handler, one.counted)) {
            Some(column) if column.kernel == one.kernel => column.records.extend(one.records),
            Some(column) => bail!("{} and {} in one column", column.kernel, one.kernel),
            None => columns.push(one),
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kernel: &str, records: &[(&str, u64, u64)]) -> Column {
        let record = |&(scenario, at, millis): &(&str, u64, u64)| Record {
            scenario: scenario.to_owned(),
            at,
            millis,
            ..Record::default()
        };
        Column {
            release: "trixie".to_owned(),
            kernel: kernel.to_owned(),
            handler: Handler::Ours,
            counted: false,
            records: records.iter().map(record).collect(),
        }
    }

    #[test]
    fn of_each_scenario_the_newest_record_stays() {
        let mut all = column("6.12", &[("reload-1000", 5, 1), ("attach", 5, 2)]);
        all.merge(column("6.12", &[("attach", 7, 3), ("reload-1000", 4, 4), ("activation", 1, 5)]));
        let want = [("attach", 7, 3), ("activation", 1, 5), ("reload-1000", 5, 1)];
        assert_eq!(all, column("6.12", &want), "in the order of the list");
    }

    #[test]
    fn what_ran_just_now_stays_though_the_clock_went_back() {
        let mut all = column("6.12", &[("attach", 5, 1), ("activation", 6, 2)]);
        all.renew(column("6.12", &[("attach", 2, 3)]));
        assert_eq!(all, column("6.12", &[("attach", 2, 3), ("activation", 6, 2)]));
        let other = column("6.13", &[("attach", 1, 4)]);
        all.renew(other.clone());
        assert_eq!(all, other);
    }

    #[test]
    fn of_two_kernels_the_one_that_ran_last_stays() {
        let (old, new) =
            (column("6.12.1", &[("attach", 5, 1)]), column("6.12.2", &[("attach", 6, 2)]));
        let mut all = old.clone();
        all.merge(new.clone());
        assert_eq!(all, new);
        all.merge(old);
        assert_eq!(all, new);
    }

    #[test]
    fn a_file_of_records_gives_them_back() {
        let mut columns = vec![column("6.12", &[("attach", 5, 1), ("activation", 6, 2)])];
        let counted = Column { counted: true, ..columns[0].clone() };
        columns.push(counted);
        let text = to_lines(&columns).expect("they are plain data");
        assert_eq!(text.lines().count(), 4);
        assert_eq!(from_lines(&text).expect("as written"), columns);
    }
}
