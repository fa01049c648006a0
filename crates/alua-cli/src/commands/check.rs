//! `alua check`: does the target keep the rules of asymmetric access?

use alua_check::{Allowed, Needs, Options, Outcome, Path, Verdict};
use serde::Serialize;

use super::print;
use crate::cli::{Check, Global};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::json;
use crate::render::style::{BAD, GOOD, paint};
use crate::target::World;

pub(super) fn run(global: &Global, args: &Check) -> Result<Exit, Error> {
    if args.list {
        print(&list())?;
        return Ok(Exit::Good);
    }
    if let Some(id) = args.only.iter().find(|id| alua_check::checks().all(|c| c.id != **id)) {
        return Err(Error::Usage(format!("no check is called {id}: `alua check --list`")));
    }
    let world = World::open(&global.choice())?;
    let paths = paths(&world, &args.devices)?;
    let names: Vec<String> = paths.iter().map(|path| path.name.clone()).collect();
    let mut options = Options {
        allowed: Allowed { explicit: args.explicit, destructive: args.destructive },
        ..Options::default()
    };
    options.timeout_ms = world.timeout_ms();
    if let Some(seconds) = args.patience {
        options.patience_ms = u64::from(seconds) * 1_000;
    }
    if !global.json {
        print(&format!("checking the unit behind {}\n", names.join(", ")))?;
    }
    let mut shown = Ok(());
    let wanted = |check: &alua_check::Check| {
        args.only.is_empty() || args.only.iter().any(|id| id == check.id)
    };
    let outcomes = alua_check::run(paths, &options, world.clock(), wanted, |outcome| {
        if !global.json && shown.is_ok() {
            shown = print(&text(outcome));
        }
    });
    shown?;
    if global.json {
        print(&json::text(&Document::new(&names, &outcomes))?)?;
    } else {
        print(&summary(&outcomes))?;
    }
    let failed = outcomes.iter().any(|outcome| outcome.verdict == Verdict::Failed);
    Ok(if failed { Exit::CheckFailed } else { Exit::Good })
}

/// The devices that are named; those of the unit that one name stands for.
fn paths(world: &World, names: &[String]) -> Result<Vec<Path>, Error> {
    let mut wanted = names.to_vec();
    if let [one] = names {
        // All paths of a unit, if discovery can tell which those are.
        if let Ok(session) = world.unit(one) {
            wanted = session.device_names().collect();
        }
    }
    let open = |name: &String| {
        let device = world.device(name)?;
        Ok(Path { name: device.label, line: device.line, handler: device.handler })
    };
    wanted.iter().map(open).collect()
}

const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Skipped(_) => "skipped",
    }
}

fn text(outcome: &Outcome) -> String {
    let id = outcome.check.id;
    match &outcome.verdict {
        Verdict::Passed => format!("  {}  {id}\n", paint(GOOD, "passed ")),
        Verdict::Skipped(why) => format!("  skipped  {id}: {why}\n"),
        Verdict::Failed => {
            let mut text = format!("  {}  {id}\n", paint(BAD, "FAILED "));
            text.push_str(&format!("             rule      {}\n", outcome.check.rule));
            text.push_str(&format!("             source    {}\n", outcome.check.source));
            for finding in &outcome.findings {
                text.push_str(&format!(
                    "           - sent      {}, {}\n",
                    finding.path, finding.sent
                ));
                text.push_str(&format!("             got       {}\n", finding.got));
                text.push_str(&format!("             expected  {}\n", finding.expected));
            }
            text
        }
    }
}

fn summary(outcomes: &[Outcome]) -> String {
    let count = |wanted: &str| outcomes.iter().filter(|o| word(&o.verdict) == wanted).count();
    let (passed, failed, skipped) = (count("passed"), count("failed"), count("skipped"));
    format!("{passed} passed, {failed} failed, {skipped} skipped (skipped is not passed)\n")
}

fn list() -> String {
    let mut text = String::new();
    for check in alua_check::checks() {
        let needs = match check.needs {
            Needs::Reading => "",
            Needs::Explicit => " (--explicit)",
            Needs::Destructive => " (--explicit --destructive)",
        };
        let (id, rule, source) = (check.id, check.rule, check.source);
        text.push_str(&format!("{id}{needs}\n  rule    {rule}\n  source  {source}\n"));
    }
    text
}

/// docs/json.md, "Check".
#[derive(Serialize)]
struct Document {
    schema_version: crate::view::SchemaVersion,
    devices: Vec<String>,
    passed: usize,
    failed: usize,
    skipped: usize,
    checks: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    rule: &'static str,
    source: &'static str,
    verdict: &'static str,
    reason: Option<String>,
    findings: Vec<FindingRow>,
}

#[derive(Serialize)]
struct FindingRow {
    device: String,
    sent: String,
    got: String,
    expected: String,
}

impl Document {
    fn new(names: &[String], outcomes: &[Outcome]) -> Self {
        let count = |wanted: &str| outcomes.iter().filter(|o| word(&o.verdict) == wanted).count();
        Self {
            schema_version: crate::view::SCHEMA,
            devices: names.to_vec(),
            passed: count("passed"),
            failed: count("failed"),
            skipped: count("skipped"),
            checks: outcomes.iter().map(Row::new).collect(),
        }
    }
}

impl Row {
    fn new(outcome: &Outcome) -> Self {
        let row = |finding: &alua_check::Finding| FindingRow {
            device: finding.path.clone(),
            sent: finding.sent.clone(),
            got: finding.got.clone(),
            expected: finding.expected.clone(),
        };
        Self {
            id: outcome.check.id,
            rule: outcome.check.rule,
            source: outcome.check.source,
            verdict: word(&outcome.verdict),
            reason: match &outcome.verdict {
                Verdict::Skipped(why) => Some(why.clone()),
                _ => None,
            },
            findings: outcome.findings.iter().map(row).collect(),
        }
    }
}
