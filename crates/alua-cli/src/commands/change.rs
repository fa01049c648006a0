//! What `activate` and `stpg` share: following a change and telling how it went.

use std::fmt::Write as _;

use alua_core::unit::{ActivationId, ActivationRefused, Target};
use serde::Serialize;

use super::print;
use crate::cli::Global;
use crate::error::Error;
use crate::exit::Exit;
use crate::render::style::{GOOD, WAIT, paint};
use crate::render::{json, table};
use crate::running::serving::Serving;
use crate::session::{Follow, Followed, Session};
use crate::target::World;
use crate::target::trace::{Held, Sent, hex};
use crate::view::{SCHEMA, SchemaVersion, UnitView};

/// The answer to `activate` and `stpg`.
#[derive(Debug, Serialize)]
struct Answer {
    schema_version: SchemaVersion,
    source: &'static str,
    unit: String,
    asked: Vec<Asked>,
    dry_run: bool,
    result: &'static str,
    text: String,
    would_send: Option<HeldView>,
    sent: Vec<SentView>,
    exit_code: u8,
    after: UnitView,
}

#[derive(Debug, Serialize)]
struct Asked {
    kind: &'static str,
    id: u16,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct HeldView {
    device: String,
    cdb: String,
    data: String,
}

#[derive(Debug, Serialize)]
struct SentView {
    time_ms: u64,
    device: String,
    command: &'static str,
    cdb: String,
    data: Option<String>,
    outcome: String,
    took_ms: u64,
}

/// Follows a change and tells how it went.
pub(crate) fn follow(
    global: &Global,
    world: &World,
    mut session: Session,
    targets: &[Target],
    how: Follow,
    begin: impl FnOnce(&mut Session) -> Result<ActivationId, ActivationRefused>,
) -> Result<Exit, Error> {
    let unit = session.title();
    if let Err(off) = session.managed() {
        return Err(Error::AluaOff { unit, off });
    }
    let monitor = world.monitor();
    if how == Follow::UntilSent {
        monitor.hold_stpg();
    }
    monitor.keep();
    let id = begin(&mut session).map_err(|error| Error::NotAsked { unit: unit.clone(), error })?;
    let groups: Vec<u16> = targets.iter().map(|target| target.id).collect();
    let followed = session.follow(id, &groups, how, || monitor.held().is_some());
    let held = monitor.held();
    let sent = monitor.take();
    let (result, text, error) = outcome(followed, held.as_ref(), &unit);
    let exit = error.as_ref().map_or(Exit::Good, Error::exit);
    Serving::ask(world.source()).mark(std::slice::from_mut(&mut session));
    let after = UnitView::of(&session.subject());
    if global.json {
        let answer = Answer {
            schema_version: SCHEMA,
            source: world.source(),
            unit,
            asked: targets.iter().map(Asked::of).collect(),
            dry_run: how == Follow::UntilSent,
            result,
            text,
            would_send: held.map(HeldView::from),
            sent: sent.into_iter().map(SentView::from).collect(),
            exit_code: exit.code(),
            after,
        };
        print(&json::text(&answer)?)?;
        return Ok(exit);
    }
    print(&report(&unit, &text, held.as_ref(), &sent, &after, error.is_some()))?;
    error.map_or(Ok(exit), Err)
}

fn report(
    unit: &str,
    text: &str,
    held: Option<&Held>,
    sent: &[Sent],
    after: &UnitView,
    failed: bool,
) -> String {
    let mut out = String::new();
    for command in sent.iter().filter(|sent| sent.name == "SET TARGET PORT GROUPS") {
        let _ = writeln!(out, "{}", command.line().trim_start());
    }
    if let Some(held) = held {
        let _ = writeln!(out, "would send through {}: SET TARGET PORT GROUPS", held.device);
        let _ = writeln!(out, "  CDB  {}", hex(&held.cdb));
        let _ = writeln!(out, "  data {}", hex(&held.data));
    }
    if !failed {
        let style = if held.is_some() { WAIT } else { GOOD };
        let _ = writeln!(out, "{unit}: {}", paint(style, text));
    }
    table::unit(&mut out, after);
    out
}

/// How it ended: a word for programs, a sentence, and the error where it is one.
fn outcome(
    followed: Followed,
    held: Option<&Held>,
    unit: &str,
) -> (&'static str, String, Option<Error>) {
    use alua_core::unit::Activated;

    match (followed, held) {
        (Followed::Held, _) | (_, Some(_)) => {
            ("would send", "nothing was sent, the checks passed".to_owned(), None)
        }
        (Followed::Ended(Ok(done)), None) => {
            let word = match done {
                Activated::AlreadyThere => "already there",
                Activated::Reached => "reached",
                Activated::LeftToTarget => "left to target",
                Activated::ImplicitOnly => "implicit only",
                Activated::Accepted => "accepted",
                Activated::StaysLive => "stays live",
                _ => "done",
            };
            (word, done.to_string(), None)
        }
        (Followed::InTransition, None) => (
            "in transition",
            "accepted; the target is in transition (--wait waits for its end)".to_owned(),
            None,
        ),
        (Followed::Ended(Err(error)), None) => {
            let error = Error::Activation { unit: unit.to_owned(), error };
            ("failed", error.to_string(), Some(error))
        }
        (Followed::OutOfTime, None) => {
            let error = Error::NoAnswer {
                device: unit.to_owned(),
                why: "the change did not end in time; look at `alua list --watch`".to_owned(),
                exit: Exit::TimedOut,
            };
            ("out of time", error.to_string(), Some(error))
        }
    }
}

impl Asked {
    fn of(target: &Target) -> Self {
        let offline = target.state == alua_core::access::AccessState::Offline;
        let kind = if offline { "port" } else { "group" };
        Self { kind, id: target.id, state: target.state.name() }
    }
}

impl From<Held> for HeldView {
    fn from(held: Held) -> Self {
        Self { device: held.device, cdb: hex(&held.cdb), data: hex(&held.data) }
    }
}

impl From<Sent> for SentView {
    fn from(sent: Sent) -> Self {
        Self {
            time_ms: sent.at.as_millis(),
            device: sent.device,
            command: sent.name,
            cdb: hex(&sent.cdb),
            data: (!sent.data_out.is_empty()).then(|| hex(&sent.data_out)),
            outcome: sent.outcome,
            took_ms: sent.took_ms,
        }
    }
}
