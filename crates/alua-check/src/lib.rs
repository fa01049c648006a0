//! Does a target keep the rules of asymmetric access? A suite of checks through one or several
//! paths of a logical unit, over any [`Transport`].
//!
//! # Contract
//!
//! - **Nothing happens that was not allowed.** By default commands only read. Checks that switch
//!   groups need [`Allowed::explicit`], those that write need [`Allowed::destructive`] as well; each
//!   puts back what it changed, states and blocks.
//! - **Skipped is not passed.** A check that could not look says why.
//! - **A failure can be argued about.** It names the rule and its source, and for each finding what
//!   was sent down which path, what came back and what was expected.
//! - **Bounded.** Every wait has an end; a target that hangs, lies or babbles costs time, never the
//!   run.
//!
//! Sources: clauses are named by what they are about, since their numbers differ between SPC-4,
//! SPC-5 and SPC-6. "Practice" marks what no standard demands and deployed hosts need all the same.

mod bench;
mod destructive;
mod explicit;
mod identity;
mod report;
mod states;

use std::fmt;

use alua_host::driver::Clock;
use alua_host::transport::Transport;

use bench::Bench;

/// One path to the logical unit.
pub struct Path {
    /// How people call it.
    pub name: String,
    /// What carries its commands.
    pub line: Box<dyn Transport + Send>,
    /// The device handler that the operating system has attached to the path. With Linux's `alua`
    /// nobody gets to see unit attentions.
    pub handler: Option<String>,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Path").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the suite may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// Send SET TARGET PORT GROUPS.
    pub explicit: bool,
    /// Write blocks and reserve the unit; other hosts must not use it meanwhile.
    pub destructive: bool,
}

/// How the suite works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What it may do.
    pub allowed: Allowed,
    /// The time that each command is given, milliseconds.
    pub timeout_ms: u32,
    /// The longest wait for the end of a transition whose target does not say how long it may take,
    /// milliseconds.
    pub patience_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { allowed: Allowed::default(), timeout_ms: 10_000, patience_ms: 60_000 }
    }
}

/// What a check needs to be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing: it only reads.
    Reading,
    /// [`Allowed::explicit`].
    Explicit,
    /// [`Allowed::explicit`] and [`Allowed::destructive`].
    Destructive,
}

/// A check.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name: `formats-agree`.
    pub id: &'static str,
    /// The rule, in one line.
    pub rule: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    /// What it needs to be allowed.
    pub needs: Needs,
    run: fn(&mut Bench<'_>) -> Result<(), Skipped>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// Why a check did not look.
pub(crate) type Skipped = String;

/// How a check ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The rule is kept, as far as was looked.
    Passed,
    /// It is not: see the findings.
    Failed,
    /// It was not looked, for that reason.
    Skipped(String),
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The path that it was seen through.
    pub path: String,
    /// What was sent: the command's name and its CDB.
    pub sent: String,
    /// What came back.
    pub got: String,
    /// What was expected.
    pub expected: String,
}

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The check.
    pub check: Check,
    /// How it ended.
    pub verdict: Verdict,
    /// What is wrong; empty unless it failed.
    pub findings: Vec<Finding>,
}

/// All checks, in the order in which they run.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        identity::CHECKS,
        states::MOVING,
        report::CHECKS,
        states::SETTLED,
        explicit::CHECKS,
        destructive::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Runs every check that is allowed and that `wanted` accepts, in order, and calls `told` after
/// each.
pub fn run(
    paths: Vec<Path>,
    options: &Options,
    clock: &dyn Clock,
    wanted: impl Fn(&Check) -> bool,
    mut told: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let mut bench = Bench::new(paths, *options, clock);
    let mut outcomes = Vec::new();
    for check in checks().filter(|check| wanted(check)) {
        let outcome = run_one(&mut bench, check);
        told(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

fn run_one(bench: &mut Bench<'_>, check: &Check) -> Outcome {
    let allowed = bench.options.allowed;
    let skipped = match check.needs {
        Needs::Reading => None,
        Needs::Explicit | Needs::Destructive if !allowed.explicit => {
            Some("it switches groups: allow that with --explicit")
        }
        Needs::Destructive if !allowed.destructive => {
            Some("it writes to the unit: allow that with --destructive")
        }
        Needs::Explicit | Needs::Destructive => None,
    };
    if let Some(why) = skipped {
        let verdict = Verdict::Skipped(why.to_owned());
        return Outcome { check: *check, verdict, findings: Vec::new() };
    }
    let result = (check.run)(bench);
    let findings = bench.take_findings();
    let verdict = match result {
        // What was found before it had to stop counts.
        _ if !findings.is_empty() => Verdict::Failed,
        Ok(()) => Verdict::Passed,
        Err(why) => Verdict::Skipped(why),
    };
    Outcome { check: *check, verdict, findings }
}
