//! What is shown of units, groups and paths: plain values, made once and rendered as a table or as
//! JSON. The JSON names and their meaning are documented in docs/json.md.
//!
//! A unit is read back from JSON too: that of a running device comes over its control socket.

use std::borrow::Cow;

use alua_core::cause::{Cause, SenseCode};
use alua_core::gate::{Gate, Hold, Refusal};
use alua_core::spc::sense::{SenseKey, asc_text};
use alua_core::spc::target_port_groups::StatusCode;
use alua_core::time::Time;
use alua_core::unit::{Group, IdentityCheck, PathId, Transition, Transport};
use alua_host::discovery::{Finding, Path, Source, Step};
use serde::{Deserialize, Serialize};

mod handler;
mod subject;

pub(crate) use handler::HandlerView;
pub(crate) use subject::Subject;

/// The version of the schema: the first number changes when something is taken away or changes its
/// meaning, the second when something is added.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SchemaVersion {
    major: u32,
    minor: u32,
}

/// The version of this program's schema.
pub(crate) const SCHEMA: SchemaVersion = SchemaVersion { major: 1, minor: 4 };

/// `list` and `show`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listing {
    pub(crate) schema_version: SchemaVersion,
    pub(crate) source: &'static str,
    pub(crate) time_ms: u64,
    pub(crate) commands_sent: u64,
    pub(crate) units: Vec<UnitView>,
    pub(crate) problems: Vec<ProblemView>,
}

/// A device that could not be asked, or something odd about one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProblemView {
    pub(crate) device: String,
    pub(crate) message: String,
}

/// A word out of a list that the schema knows.
pub(crate) type Word = Cow<'static, str>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UnitView {
    pub(crate) name: Option<String>,
    pub(crate) vendor: String,
    pub(crate) product: String,
    pub(crate) revision: String,
    pub(crate) serial: Option<String>,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) block_bytes: Option<u32>,
    pub(crate) tpgs: Word,
    pub(crate) alua_off: Option<String>,
    pub(crate) transition_time_ms: Option<u32>,
    pub(crate) extended_header: Option<bool>,
    pub(crate) report_age_ms: Option<u64>,
    pub(crate) refresh_error: Option<String>,
    pub(crate) maps: Vec<String>,
    pub(crate) commands: Commands,
    pub(crate) served_by: Option<ServerView>,
    pub(crate) handler: Option<HandlerView>,
    pub(crate) groups: Vec<GroupView>,
    pub(crate) paths: Vec<PathView>,
}

/// The `alua up` that serves a unit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ServerView {
    pub(crate) places: Vec<String>,
    pub(crate) pid: u32,
}

/// Commands that the driver sent for a unit, discovery not counted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Commands {
    pub(crate) rtpg: u32,
    pub(crate) stpg: u32,
    pub(crate) tur: u32,
    pub(crate) identity_reads: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GroupView {
    pub(crate) id: u16,
    pub(crate) state: Option<String>,
    pub(crate) preferred: bool,
    pub(crate) supported: Vec<Word>,
    pub(crate) status: Option<Word>,
    pub(crate) ports: Vec<u16>,
    pub(crate) transition: Option<TransitionView>,
    pub(crate) cause: CauseView,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct TransitionView {
    pub(crate) expired: bool,
    pub(crate) elapsed_ms: u64,
    pub(crate) remaining_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PathView {
    pub(crate) device: String,
    pub(crate) hctl: String,
    pub(crate) group: Option<u16>,
    pub(crate) relative_port: Option<u16>,
    pub(crate) state: Option<String>,
    pub(crate) preferred: bool,
    pub(crate) usable: bool,
    pub(crate) gate: Word,
    pub(crate) gate_reason: Option<String>,
    pub(crate) health: String,
    pub(crate) contradicted: bool,
    pub(crate) cause: CauseView,
    pub(crate) kernel: KernelView,
    pub(crate) findings: Vec<String>,
}

/// What Linux knows of a path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KernelView {
    pub(crate) state: Option<String>,
    pub(crate) device_handler: Option<String>,
    pub(crate) access_state: Option<String>,
    pub(crate) preferred: Option<bool>,
    pub(crate) gate: Option<String>,
    pub(crate) cause: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CauseView {
    pub(crate) kind: Word,
    pub(crate) text: String,
    pub(crate) device: Option<String>,
    pub(crate) age_ms: Option<u64>,
    pub(crate) sense: Option<SenseView>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SenseView {
    pub(crate) key: u8,
    pub(crate) asc: u8,
    pub(crate) ascq: u8,
    pub(crate) text: String,
}

impl From<SenseCode> for SenseView {
    fn from(code: SenseCode) -> Self {
        let key = SenseKey::from_bits(code.key);
        let text = match asc_text(code.asc, code.ascq) {
            Some(words) => format!("{key} {:02X}/{:02X}: {words}", code.asc, code.ascq),
            None => format!("{key} {:02X}/{:02X}", code.asc, code.ascq),
        };
        Self { key: code.key, asc: code.asc, ascq: code.ascq, text }
    }
}

impl UnitView {
    /// What is to be shown of a unit.
    pub(crate) fn of(subject: &Subject<'_>) -> Self {
        let Subject { facts, unit, now, .. } = *subject;
        let first = facts.paths.first();
        let inquiry = first.map(|path| &path.inquiry);
        let text = |field: Option<String>| field.map(|text| text.trim().to_owned());
        let capacity = facts.capacity();
        let counters = unit.counters();
        let mut groups: Vec<GroupView> =
            unit.groups().map(|group| GroupView::of(subject, group)).collect();
        groups.sort_by_key(|group| group.id);
        let mut maps: Vec<String> = facts
            .paths
            .iter()
            .flat_map(|path| path.device.multipath_maps())
            .map(|map| map.map.clone().unwrap_or_else(|| map.name.clone()))
            .collect();
        maps.sort_unstable();
        maps.dedup();
        Self {
            name: facts.name.map(|name| name.to_string()),
            vendor: text(inquiry.map(|i| i.vendor_str().to_string())).unwrap_or_default(),
            product: text(inquiry.map(|i| i.product_str().to_string())).unwrap_or_default(),
            revision: text(inquiry.map(|i| i.revision_str().to_string())).unwrap_or_default(),
            serial: facts.paths.iter().find_map(|path| path.serial.clone()),
            size_bytes: capacity.and_then(|capacity| u64::try_from(capacity.bytes()).ok()),
            block_bytes: capacity.map(|capacity| capacity.block_length),
            tpgs: inquiry.map_or("none", |inquiry| inquiry.tpgs.name()).into(),
            alua_off: unit.managed().err().map(|off| off.to_string()),
            transition_time_ms: unit.managed().is_ok().then(|| unit.transition_limit_ms()),
            extended_header: unit.extended_header(),
            report_age_ms: unit.last_report().map(|(_, at)| now.since(at)),
            refresh_error: unit.refresh_error().map(|error| error.to_string()),
            maps,
            commands: Commands {
                rtpg: counters.rtpg,
                stpg: counters.stpg,
                tur: counters.tur,
                identity_reads: counters.identity_reads,
            },
            served_by: subject.served_by.cloned(),
            handler: HandlerView::of(facts),
            groups,
            paths: (0..facts.paths.len())
                .filter_map(|index| PathView::of(subject, index))
                .collect(),
        }
    }
}

impl GroupView {
    fn of(subject: &Subject<'_>, group: &Group) -> Self {
        let now = subject.now;
        Self {
            id: group.id(),
            state: group.state().map(|state| state.to_string()),
            preferred: group.preferred(),
            supported: group
                .supported()
                .map(|states| states.iter().map(|state| state.name().into()).collect())
                .unwrap_or_default(),
            status: group.status().map(|status| status_name(status).into()),
            ports: subject.ports(group.id()),
            transition: group.transition().map(|transition| match transition {
                Transition::Running { since, deadline } => TransitionView {
                    expired: false,
                    elapsed_ms: now.since(since),
                    remaining_ms: Some(deadline.since(now)),
                },
                Transition::Expired { since } => TransitionView {
                    expired: true,
                    elapsed_ms: now.since(since),
                    remaining_ms: None,
                },
            }),
            cause: CauseView::of(subject, group.cause(), now),
        }
    }
}

/// The STATUS CODE of a group in words.
pub(crate) const fn status_name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::None => "none",
        StatusCode::ByStpg => "set target port groups",
        StatusCode::Implicit => "implicit",
        StatusCode::Reserved(_) => "reserved",
    }
}

impl PathView {
    /// What is to be shown of the path at `index`.
    pub(crate) fn of(subject: &Subject<'_>, index: usize) -> Option<Self> {
        let path = subject.facts.paths.get(index)?;
        let unit = subject.unit;
        let line = subject.lines.get(index)?;
        let (known, gate, preferred, contradicted, health) = match line {
            Ok(id) => {
                let gate = unit.gate(*id);
                let health = health(subject, *id, path);
                let contradicted = unit.is_contradicted(*id);
                (unit.access(*id), gate, unit.is_preferred(*id), contradicted, health)
            }
            Err(why) => {
                let group = path.identity.group.and_then(|id| unit.group(id));
                let cause = group.map_or(Cause::NeverRead, Group::cause);
                let state = group.and_then(Group::state);
                let known = alua_core::cause::Known { state, cause };
                let preferred = group.is_some_and(Group::preferred);
                (known, Gate::Refuse(Refusal::NoPath), preferred, false, why.health.clone())
            }
        };
        let (gate, gate_reason) = match line {
            Ok(_) => gate_words(gate),
            Err(closed) => ("refuse", Some(closed.why.clone())),
        };
        let healthy = matches!(health.as_str(), "ok" | "untried");
        Some(Self {
            device: path.device.short_name(),
            hctl: path.device.hctl.to_string(),
            group: path.identity.group,
            relative_port: path.identity.relative_port,
            state: known.state.map(|state| state.to_string()),
            preferred,
            usable: gate == "pass" && healthy,
            gate: gate.into(),
            gate_reason,
            health,
            contradicted,
            cause: CauseView::of(subject, known.cause, subject.now),
            kernel: KernelView {
                state: path.device.state.as_ref().map(ToString::to_string),
                device_handler: path.device.device_handler.clone(),
                access_state: path.device.access_state.as_ref().map(ToString::to_string),
                preferred: path.device.preferred_path,
                gate: path.device.handler_view.as_ref().map(|view| view.path.gate.clone()),
                cause: path.device.handler_view.as_ref().map(|view| view.path.why.clone()),
            },
            findings: findings(subject, path),
        })
    }
}

/// What is odd about a path. That a path in standby does not tell the size is not, where another
/// path does.
fn findings(subject: &Subject<'_>, path: &Path) -> Vec<String> {
    let sized = subject.facts.capacity().is_some();
    let is_news = |finding: &&Finding| {
        !(sized && matches!(finding, Finding::NotRead { step: Step::Capacity, .. }))
    };
    path.findings.iter().filter(is_news).map(ToString::to_string).collect()
}

/// How the path does, apart from its access state.
fn health(subject: &Subject<'_>, id: PathId, path: &Path) -> String {
    let Some(known) = subject.unit.path(id) else { return "removed".to_owned() };
    let word = match (known.identity(), known.transport()) {
        (IdentityCheck::InDoubt { .. }, _) => "identity in doubt",
        (IdentityCheck::Unreadable { .. }, _) => "identity unreadable",
        (IdentityCheck::Changed, _) => "identity changed",
        (IdentityCheck::Verified, _) if subject.down.contains(&id) => "failed",
        (IdentityCheck::Verified, Transport::Answered { .. } | Transport::Failed { .. }) => "ok",
        // Discovery asked it, and it answered.
        (IdentityCheck::Verified, Transport::Untried) if path.source == Source::Device => "ok",
        (IdentityCheck::Verified, Transport::Untried) => "untried",
    };
    word.to_owned()
}

/// The gate as one word, and why it is not open.
pub(crate) fn gate_words(gate: Gate) -> (&'static str, Option<String>) {
    match gate {
        Gate::Pass => ("pass", None),
        Gate::Hold(hold) => {
            let why = match hold {
                Hold::Transitioning => "the path is in transition, which ends by itself",
                Hold::StateUnknown => "the access state is being read",
                Hold::IdentityInDoubt => {
                    "a sense code put the identity of the path in doubt, page 83h is read again"
                }
            };
            ("hold", Some(why.to_owned()))
        }
        Gate::Refuse(refusal) => {
            let why = match refusal {
                Refusal::State(state) => format!("the path is {state}"),
                Refusal::IdentityChanged => {
                    "another logical unit is behind the path now".to_owned()
                }
                Refusal::IdentityUnreadable => {
                    "the identity of the path is in doubt, and page 83h cannot be read".to_owned()
                }
                Refusal::StateUnreadable => "the access state cannot be read".to_owned(),
                Refusal::NoPath => "the path is not open".to_owned(),
            };
            ("refuse", Some(why))
        }
    }
}

impl CauseView {
    /// A cause in words, with the names that people give to paths.
    pub(crate) fn of(subject: &Subject<'_>, cause: Cause, now: Time) -> Self {
        let label = |id: PathId| subject.label(id);
        let age = |at: Time| Some(now.since(at));
        let (kind, device, age_ms, sense) = match cause {
            Cause::NeverRead => ("never read", None, None, None),
            Cause::AluaOff(_) => ("alua off", None, None, None),
            Cause::NoGroup => ("no group", None, None, None),
            Cause::Report { path, at } => ("report", label(path), age(at), None),
            Cause::Sense { path, sense, at } => ("sense", label(path), age(at), Some(sense.into())),
            Cause::TransitionExpired { since, .. } => {
                ("transition expired", None, age(since), None)
            }
            Cause::AbsentFromReport { path, at } => {
                ("absent from report", label(path), age(at), None)
            }
            Cause::Ready { path, at } => ("ready", label(path), age(at), None),
            _ => ("other", None, None, None),
        };
        let sense: Option<SenseView> = sense;
        let who = device.as_deref().unwrap_or("a path that is gone");
        let text = match (kind, &sense) {
            ("report", _) => format!("reported through {who}"),
            ("sense", Some(sense)) => format!("{who} answered {}", sense.text),
            ("absent from report", _) => {
                format!("the report read through {who} does not list the group")
            }
            ("ready", _) => format!("{who} is ready again, and no report can be read"),
            _ => cause.to_string(),
        };
        Self { kind: kind.into(), text, device, age_ms, sense }
    }
}
