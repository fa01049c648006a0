//! `alua explain`: why a path is used or not, with the evidence, the rule and what to do.

use std::fmt::Write as _;

use alua_core::cause::{Cause, SenseCode};
use alua_core::gate::{Gate, Hold, Refusal};
use alua_core::sense::meaning;
use alua_core::spc::sense::Sense;
use alua_core::unit::PathId;
use alua_host::driver::Clock as _;
use serde::Serialize;

use super::print;
use super::rules::{Rule, rule_of_path, rule_of_sense, to_do};
use crate::cli::{Explain, Global};
use crate::error::{Error, reply_text};
use crate::exit::Exit;
use crate::render::json;
use crate::render::style::{self, BAD, GOOD, STRONG, WAIT, paint};
use crate::render::table::span;
use crate::render::wire::MeaningView;
use crate::running::serving::Serving;
use crate::running::status::{DeviceStatus, PathStatus};
use crate::session::{Closed, Session};
use crate::target::trace::hex;
use crate::target::{Problem, Scope, World};
use crate::view::{HandlerView, PathView, SCHEMA, SchemaVersion, SenseView};

/// Everything that can be said about one path.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    schema_version: SchemaVersion,
    source: &'static str,
    unit: String,
    alua_off: Option<String>,
    path: PathView,
    asked_now: Option<AskedNow>,
    rule: Rule,
    to_do: Vec<String>,
    alternatives: Vec<PathView>,
    handler: Option<HandlerView>,
    served_by: Option<ServedBy>,
    exit_code: u8,
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// What an `alua up` that serves the unit says of the path.
#[derive(Clone, Debug, Serialize)]
struct ServedBy {
    places: Vec<String>,
    pid: u32,
    used: bool,
    outruns: bool,
    standing: String,
    reason: String,
}

impl ServedBy {
    fn of(status: &DeviceStatus, path: &PathStatus) -> Self {
        Self {
            places: status.places.clone(),
            pid: status.pid,
            used: path.used,
            outruns: path.outruns,
            standing: path.standing.clone(),
            reason: path.reason.clone(),
        }
    }

    /// For people.
    fn text(&self) -> String {
        let (style, word) = if self.used { (GOOD, "used") } else { (WAIT, "not used") };
        let pid = self.pid;
        let serves = match &self.places[..] {
            [] => "starts to serve the unit".to_owned(),
            places => format!("serves the unit as {}", places.join(" and ")),
        };
        format!(
            "alua up: process {pid} {serves}; this path is {}: {}\n\n",
            paint(style, word),
            self.reason
        )
    }
}

/// What the path answered to a TEST UNIT READY just now.
#[derive(Debug, Serialize)]
struct AskedNow {
    command: &'static str,
    answer: String,
    sense: Option<SenseView>,
    sense_bytes: Option<String>,
    meaning: Option<MeaningView>,
    rule: Option<Rule>,
    took_ms: u64,
}

pub(crate) fn run(global: &Global, args: &Explain) -> Result<Exit, Error> {
    let mut world = World::open(&global.choice())?;
    let named = world.resolve(&args.device)?;
    let serving = Serving::ask(world.source());
    // A device that runs knows its paths and answers at once; while a path hangs, whatever is sent
    // down it takes as long as its transport needs to give up. On a model, where nothing takes any
    // time, the names of the devices say nothing until the unit is known.
    let mut served = None;
    if !world.is_model()
        && let Some((status, path)) = serving.of_path(None, &world.device_name(&args.device))
    {
        served = Some(tell(global, status, path)?);
    }
    world.spare(serving.failed(&world));
    let mut found = world.units(Scope::One(&args.device))?;
    let missing = || Error::NoSuchUnit { query: args.device.clone() };
    let session = found.units.first_mut().ok_or_else(missing)?;
    let index = session.path_of(&named).ok_or_else(missing)?;
    if world.is_model()
        && let Some(device) = session.device_names().nth(index)
        && let Some((status, path)) = serving.of_path(Some(&session.title()), &device)
    {
        served = Some(tell(global, status, path)?);
    }
    let mut explanation = explain(&world, session, index, &found.problems)?;
    explanation.served_by = served;
    print(&if global.json { json::text(&explanation)? } else { explanation.text() })?;
    Ok(explanation.exit)
}

/// What a running device says comes first; a program reads it in the one document.
fn tell(global: &Global, status: &DeviceStatus, path: &PathStatus) -> Result<ServedBy, Error> {
    let served = ServedBy::of(status, path);
    if !global.json {
        print(&served.text())?;
    }
    Ok(served)
}

/// Reads the states, asks the path itself, and puts together what is known of it.
pub(crate) fn explain(
    world: &World,
    session: &mut Session,
    index: usize,
    problems: &[Problem],
) -> Result<Explanation, Error> {
    session.learn();
    let line = session.lines.get(index).cloned();
    let mut asked_now = None;
    let mut exit = None;
    if let Some(Ok(id)) = line {
        let (asked, code) = ask(world, session, id);
        asked_now = Some(asked);
        exit = Some(code);
        if session.unit().is_busy() {
            session.learn();
        }
    }
    let subject = session.subject();
    let missing = || Error::NoSuchUnit { query: session.title() };
    let path = PathView::of(&subject, index).ok_or_else(missing)?;
    let (gate, cause) = match &line {
        Some(Ok(id)) => (session.unit().gate(*id), session.unit().access(*id).cause),
        _ => (Gate::Refuse(Refusal::NoPath), Cause::NeverRead),
    };
    let own: Vec<&Problem> =
        problems.iter().filter(|problem| problem.device == path.device).collect();
    let permission = own.iter().any(|problem| problem.permission);
    let exit = exit_of(gate, &line, exit, permission);
    let alternatives: Vec<PathView> = (0..session.facts.paths.len())
        .filter(|other| *other != index)
        .filter_map(|other| PathView::of(&subject, other))
        .collect();
    let mut steps = to_do(gate, cause, session.managed(), &path, &alternatives);
    let said =
        |message: &String| steps.contains(message) || path.gate_reason.as_ref() == Some(message);
    let more: Vec<String> =
        own.iter().map(|problem| problem.message.clone()).filter(|m| !said(m)).collect();
    steps.extend(more);
    Ok(Explanation {
        schema_version: SCHEMA,
        source: world.source(),
        unit: session.title(),
        alua_off: session.managed().err().map(|off| off.to_string()),
        rule: rule_of_path(gate, cause, &path),
        to_do: steps,
        handler: HandlerView::of(&session.facts),
        served_by: None,
        path,
        asked_now,
        alternatives,
        exit_code: exit.code(),
        exit,
    })
}

/// Sends TEST UNIT READY down the path, and lets the unit know what it says.
fn ask(world: &World, session: &mut Session, id: PathId) -> (AskedNow, Exit) {
    let timeout_ms = world.timeout_ms();
    let before = world.clock().now();
    let result = session.ask(id, timeout_ms);
    let took_ms = world.clock().now().since(before);
    let command = "TEST UNIT READY";
    match result {
        Ok(reply) => {
            let bytes = reply.sense.as_bytes();
            let sense = Sense::parse(bytes).ok();
            let asked = AskedNow {
                command,
                answer: reply_text(&reply),
                sense: sense.as_ref().map(|sense| SenseCode::from(sense).into()),
                sense_bytes: (!bytes.is_empty()).then(|| hex(bytes)),
                meaning: sense.as_ref().map(|sense| MeaningView::of(&meaning(sense))),
                rule: sense.as_ref().map(rule_of_sense),
                took_ms,
            };
            (asked, Exit::of_reply(&reply))
        }
        Err(error) => {
            let answer = error.to_string();
            let exit = Exit::of_transport(&error);
            let asked = AskedNow {
                command,
                answer,
                sense: None,
                sense_bytes: None,
                meaning: None,
                rule: None,
                took_ms,
            };
            (asked, exit)
        }
    }
}

/// A path that the gate lets through but that fails a TEST UNIT READY is not ready; a unit
/// attention is news, not a fault.
fn exit_of(
    gate: Gate,
    line: &Option<Result<PathId, Closed>>,
    asked: Option<Exit>,
    permission: bool,
) -> Exit {
    if permission {
        return Exit::Permission;
    }
    match line {
        Some(Ok(_)) => {}
        Some(Err(closed)) if closed.health == "failed" => return Exit::Transport,
        _ => return Exit::DeviceGone,
    }
    match (gate, asked) {
        (Gate::Refuse(Refusal::State(state)), _) => Exit::of_state(state),
        (Gate::Hold(Hold::Transitioning), _) => Exit::Transitioning,
        (Gate::Hold(Hold::StateUnknown), _) => Exit::NotReady,
        (Gate::Hold(_) | Gate::Refuse(_), _) => Exit::Identity,
        (Gate::Pass, Some(Exit::UnitAttention) | None) => Exit::Good,
        (Gate::Pass, Some(exit)) => exit,
    }
}

impl Explanation {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let path = &self.path;
        let _ = write!(out, "{}", paint(STRONG, &path.device));
        if path.device != path.hctl {
            let _ = write!(out, " ({})", path.hctl);
        }
        let _ = write!(out, " is a path to {}", self.unit);
        if let Some(port) = path.relative_port {
            let _ = write!(out, ", through port {port}");
        }
        if let Some(group) = path.group {
            let _ = write!(out, " of target port group {group}");
        }
        out.push_str("\n\n");
        self.verdict(&mut out);
        self.evidence(&mut out);
        let _ = writeln!(out, "  rule      {} ({})", self.rule.text, self.rule.id);
        for (index, step) in self.to_do.iter().enumerate() {
            let _ = writeln!(out, "  {}  {step}", if index == 0 { "to do   " } else { "        " });
        }
        self.others(&mut out);
        out
    }

    fn verdict(&self, out: &mut String) {
        let path = &self.path;
        let (style, text) = match (&*path.gate, path.usable) {
            ("pass", true) => (GOOD, "yes, ordinary I/O may be sent down this path".to_owned()),
            ("pass", false) => (BAD, format!("no, the path's health is: {}", path.health)),
            ("hold", _) => (WAIT, "it waits".to_owned()),
            _ => (BAD, "no, it is not sent down this path".to_owned()),
        };
        let _ = writeln!(out, "  used?     {}", paint(style, &text));
        if let Some(reason) = &path.gate_reason {
            let opened = path.health != "not opened";
            let reason = if opened { reason } else { "its device could not be opened" };
            let _ = writeln!(out, "  because   {reason}");
            if path.health == "failed" {
                let _ = writeln!(out, "            and its transport failed");
            }
        }
        let state = path.state.as_deref();
        let shown = state.unwrap_or("not known");
        let preferred = if path.preferred { ", its group is preferred" } else { "" };
        let _ = writeln!(out, "  state     {}{preferred}", paint(style::of_state(state), shown));
    }

    fn evidence(&self, out: &mut String) {
        let path = &self.path;
        let age = path.cause.age_ms.map_or(String::new(), |age| format!(", {} ago", span(age)));
        let _ = writeln!(out, "  cause     {}{age}", path.cause.text);
        if path.contradicted {
            let text = "the path says something else than the last report says of its group";
            let _ = writeln!(out, "            {}", paint(WAIT, text));
        }
        if let Some(asked) = &self.asked_now {
            let took = span(asked.took_ms);
            let _ = writeln!(out, "  asked     {} -> {} ({took})", asked.command, asked.answer);
            if let Some(bytes) = &asked.sense_bytes {
                let _ = writeln!(out, "  sense     {bytes}");
            }
            if let (Some(meaning), Some(rule)) = (&asked.meaning, &asked.rule) {
                let _ = writeln!(out, "            {} ({})", rule.text, rule.id);
                let executed = if meaning.not_executed { ", it was not executed" } else { "" };
                let _ = writeln!(out, "            the command: {}{executed}", meaning.command);
            }
        }
        if let Some(handler) = &path.kernel.device_handler {
            let state = path.kernel.access_state.as_deref().unwrap_or("no state");
            let _ = writeln!(out, "  kernel    device handler {handler} holds {state}");
            self.handler(out);
        }
        for finding in &path.findings {
            let _ = writeln!(out, "  note      {finding}");
        }
    }

    /// What the kernel's handler holds, where it tells.
    fn handler(&self, out: &mut String) {
        let Some(unit) = &self.handler else { return };
        let Some(path) = unit.path(&self.path.hctl) else { return };
        let mut line = |text: &str| {
            let _ = writeln!(out, "            {text}");
        };
        let state = |state: &Option<String>| state.clone().unwrap_or("not known".to_owned());
        line(&format!(
            "its gate: {}; the path is {}: {}",
            path.gate,
            state(&path.state),
            path.cause
        ));
        if let Some(group) = path.group.and_then(|id| unit.group(id)) {
            let end = match (group.transition.as_deref(), group.deadline_ms) {
                (Some("running"), Some(left)) => {
                    format!("; {} left for the transition", span(left))
                }
                (Some("expired"), _) => "; its transition outlived its limit".to_owned(),
                _ => String::new(),
            };
            line(&format!("group {} is {}: {}{end}", group.id, state(&group.state), group.cause));
        }
        if let Some(error) = &unit.refresh_error {
            line(&format!("its last reading of the states failed: {error}"));
        }
        line(&match unit.deadline_ms {
            Some(left) => format!("its next deadline: in {}", span(left)),
            None => "its next deadline: none, it waits for news".to_owned(),
        });
        let count = |count: Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
        let all = &unit.counters;
        line(&format!(
            "it sent: {} RTPG, {} STPG, {} TEST UNIT READY, {} INQUIRY; {} of them were retries",
            count(all.rtpg),
            count(all.stpg),
            count(all.tur),
            count(all.identity_reads),
            count(all.retries)
        ));
        line(&format!(
            "triggers: {} coalesced, {} old news; refreshes that failed: {}",
            count(all.coalesced),
            count(all.old_news),
            count(all.refresh_failures)
        ));
    }

    fn others(&self, out: &mut String) {
        let _ = writeln!(out);
        if self.alternatives.is_empty() {
            let _ = writeln!(out, "  the unit has no other path");
            return;
        }
        let usable = self.alternatives.iter().filter(|path| path.usable).count();
        let all = self.alternatives.len();
        let _ = writeln!(out, "  other paths: {usable} of {all} usable");
        for path in &self.alternatives {
            let state = path.state.as_deref();
            let shown = state.unwrap_or("state unknown");
            let group = path.group.map_or("no group".to_owned(), |id| format!("group {id}"));
            let usable = if path.usable { "" } else { "  not used" };
            let state = paint(style::of_state(state), shown);
            let _ = writeln!(out, "    {}  {group}  {state}{usable}", path.device);
        }
    }
}
