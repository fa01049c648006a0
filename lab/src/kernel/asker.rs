//! The lab's own module, which asks for activations as dm-multipath does: with a function that is called
//! at the end. sysfs (`disk::activate`) has none.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::handler::tool;
use super::{Run, until};
use crate::sysfs::{read, write};

const MODULE: &str = "/run/bin/lab_asker.ko";

fn parameter(name: &str) -> PathBuf {
    Path::new("/sys/module/lab_asker/parameters").join(name)
}

/// What was asked, and how often the functions were called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counts {
    /// Activations that were asked for.
    pub(super) asked: u64,
    /// Those that have ended.
    pub(super) told: u64,
    /// Calls for one that had ended before.
    pub(super) again: u64,
    /// Those that ended well.
    pub(super) ok: u64,
}

/// Whether the scenario that runs has made one.
static USED: AtomicBool = AtomicBool::new(false);

/// Asks, and counts from when it was made.
#[derive(Debug)]
pub(super) struct Asker(Counts);

impl Asker {
    /// Loads the module unless it is there. It stays.
    pub(super) fn ready() -> Result<Self> {
        if !parameter("told").exists() {
            tool("insmod", &[MODULE])?;
        }
        let start = counts()?;
        // What ends later would count for what is asked from here on.
        ensure!(start.told == start.asked, "activations from before are open: {start:?}");
        // One that came late would be taken for what was there at the start.
        ensure!(start.again == 0, "an activation from before ended twice: {start:?}");
        USED.store(true, Ordering::Release);
        Ok(Self(start))
    }

    /// Asks for so many activations through a path. One that has gone is asked nothing.
    pub(super) fn ask(&self, hctl: &str, number: u32) -> Result<()> {
        match write(&parameter("ask"), &format!("{hctl} {number}")) {
            Err(_) if crate::sysfs::disk(hctl).is_none() => Ok(()),
            result => result,
        }
    }

    /// Hands the handler its parameters so often, through a path that stays.
    pub(super) fn set_parameters(hctl: &str, number: u32) -> Result<()> {
        write(&parameter("set"), &format!("{hctl} {number}"))
    }

    /// What was asked and told since.
    pub(super) fn counts(&self) -> Result<Counts> {
        let now = counts()?;
        Ok(Counts {
            asked: now.asked - self.0.asked,
            told: now.told - self.0.told,
            again: now.again - self.0.again,
            ok: now.ok - self.0.ok,
        })
    }

    /// States that each activation that was asked for ends, once.
    pub(super) fn check(&self, run: &mut Run, row: &str, what: &str, limit: Duration) {
        let right = |counts: &Counts| counts.told == counts.asked && counts.again == 0;
        let mut last = String::new();
        let ended = until(limit, || {
            let counts = self.counts();
            last = format!("{counts:?}");
            counts.is_ok_and(|counts| counts.asked > 0 && right(&counts))
        });
        run.check(row, what, ended.is_some(), last);
    }

    /// States that each activation that was asked for, and they have ended, ended well.
    pub(super) fn check_ok(&self, run: &mut Run, row: &str, what: &str) {
        let counts = self.counts();
        let held =
            counts.as_ref().is_ok_and(|counts| counts.asked > 0 && counts.ok == counts.asked);
        run.check(row, what, held, format!("{counts:?}"));
    }
}

/// The last look of a scenario that has asked: a second call may have come after `Asker::check`.
pub(super) fn finish(run: &mut Run) {
    if USED.swap(false, Ordering::AcqRel) {
        let counts = counts();
        let held = counts.as_ref().is_ok_and(|counts| counts.again == 0);
        run.check(
            "F08",
            "at the scenario's end no activation had ended twice",
            held,
            format!("{counts:?}"),
        );
    }
}

fn counts() -> Result<Counts> {
    let text = read(&parameter("told"))?;
    let number = |name: &str| {
        let word = text.split_whitespace().find_map(|word| word.strip_prefix(name));
        word.and_then(|word| word.strip_prefix('=')?.parse().ok())
            .with_context(|| format!("lab_asker says {text}"))
    };
    Ok(Counts {
        asked: number("asked")?,
        told: number("told")?,
        again: number("again")?,
        ok: number("ok")?,
    })
}
