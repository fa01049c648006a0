//! I8: reports of the target port groups are few, one at a time, and none comes for nothing.
//!
//! What is a reason is told by what the host has met, not by what the engine says of it:
//!
//! - a command that came back with anything but success;
//! - a success on a path that was not live for the engine, or whose last command had none;
//! - a path that the host added, removed, or heard of from its transport or its administrator;
//! - an activation, and a SET TARGET PORT GROUPS, which is followed until its states are there.
//!
//! Each allows a few reports: one, the one behind it, and one more path. While a transition runs, or
//! no path is live, the engine looks again and again, as it must; then nothing is said here but how
//! many there are in a second.

use std::collections::{BTreeSet, VecDeque};

use alua_core::cause::Cause;
use alua_core::select::{Health, Out as Why, Standing};
use alua_core::unit::VERIFICATIONS_MAX;
use alua_multipath::{Engine, PathId, Time};

use crate::check::{Checks, Invariant};

/// Reports that a reason allows.
const FOR_A_REASON: u32 = 3;
/// Those that a SET TARGET PORT GROUPS allows.
const FOR_STPG: u32 = VERIFICATIONS_MAX as u32;

/// What the checker keeps of one host.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// When those of the last second were sent.
    times: VecDeque<Time>,
    /// How many more there are reasons for.
    allowed: u32,
    /// And how many more a SET TARGET PORT GROUPS allows.
    following: u32,
    /// Paths whose last command had success.
    well: BTreeSet<PathId>,
}

impl Reports {
    /// Something happened that the states may have to be read for.
    pub(super) fn reason(&mut self) {
        self.allowed = self.allowed.max(FOR_A_REASON);
    }

    pub(super) fn stpg(&mut self) {
        self.reason();
        self.following = FOR_STPG;
    }

    /// A command has come back, and the engine does not know it yet.
    pub(super) fn answered(&mut self, engine: &Engine, path: PathId, good: bool) {
        let live = engine.view(path).is_some_and(|it| matches!(it.standing, Standing::Live(_)));
        let before = if good { !self.well.insert(path) } else { self.well.remove(&path) };
        if !(good && before && live) {
            self.reason();
        }
    }

    /// A report has come back, and the engine has judged it.
    pub(super) fn read(&mut self, engine: &Engine, good: bool, now: Time) {
        let read = engine.unit().last_report().is_some_and(|(_, at)| at == now.core());
        if !(good && read) {
            self.reason();
        }
    }

    /// One that met a unit attention is sent once more: as many as there are attentions.
    pub(super) fn met_attention(&mut self) {
        self.times.pop_back();
    }

    /// A report is sent, `others` beside it.
    pub(super) fn sent<'a>(
        &mut self,
        engine: &Engine,
        mut others: impl Iterator<Item = &'a PathId>,
        now: Time,
        checks: &mut Checks,
    ) {
        let failed = |path| {
            let failed = Standing::Out(Why::Health(Health::Failed));
            engine.view(path).is_none_or(|view| view.standing == failed)
        };
        if others.any(|&path| !failed(path)) {
            checks.fail(Invariant::I8, now, format_args!("two reports at a time"));
        }
        // Where every path refuses, all are asked, ten times in a second, and twice more for the
        // requests that wait.
        let most = (12 * engine.paths().count()).max(80);
        checks.window(Invariant::I8, &mut self.times, now, 1_000, most, "reports in a second");
        if looks_again(engine) {
            // None of the others' reports.
        } else if self.allowed > 0 {
            self.allowed -= 1;
        } else if self.following > 0 {
            self.following -= 1;
        } else {
            checks.fail(Invariant::I8, now, format_args!("a report for nothing"));
        }
    }
}

/// Whether time alone is a reason.
fn looks_again(engine: &Engine) -> bool {
    let unit = engine.unit();
    let expired = |cause| matches!(cause, Cause::TransitionExpired { .. });
    let mut views = engine.paths().filter_map(|path| engine.view(path));
    unit.groups().any(|group| group.transition().is_some())
        || unit.paths().any(|(path, _)| expired(unit.access(path).cause))
        || !views.any(|view| matches!(view.standing, Standing::Live(_)))
}
