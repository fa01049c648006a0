//! What a running device tells of itself. The JSON names and their meaning are documented in
//! docs/json.md.

use std::fmt::Write as _;
use std::sync::Arc;

use alua_core::select::{Outlook, Standing};
use alua_device::{Knowledge, PathSnapshot, Snapshot};
use alua_host::discovery::Unit;
use alua_host::sysfs::Sysfs;
use alua_multipath::{Activation, Config, NoPath, Port, Switch};
use serde::{Deserialize, Serialize};

use crate::cli::running::{Failback, preference_name};
use crate::render::style::{self, BAD, GOOD, STRONG, WAIT, padded, paint};
use crate::render::table::{size, span};
use crate::view::{SCHEMA, SchemaVersion, ServerView, Subject, UnitView};

/// `status`.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    schema_version: SchemaVersion,
    pub(crate) devices: Vec<DeviceStatus>,
}

impl Document {
    pub(crate) const fn new(devices: Vec<DeviceStatus>) -> Self {
        Self { schema_version: SCHEMA, devices }
    }
}

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceStatus {
    pub(crate) unit: String,
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) starting: bool,
    pub(crate) places: Vec<String>,
    pub(crate) pid: u32,
    pub(crate) up_ms: u64,
    pub(crate) size_bytes: u64,
    pub(crate) block_bytes: u32,
    pub(crate) policy: String,
    #[serde(default)]
    pub(crate) settings: Option<Settings>,
    #[serde(default)]
    pub(crate) lacks: Vec<String>,
    pub(crate) outlook: String,
    pub(crate) switched_to: Option<String>,
    pub(crate) no_path_ms: Option<u64>,
    pub(crate) gives_up: bool,
    pub(crate) requests: Requests,
    pub(crate) paths: Vec<PathStatus>,
    #[serde(default)]
    pub(crate) logical_unit: Option<UnitView>,
}

/// What a device was told by the options of its `alua up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) preference: String,
    pub(crate) failback_ms: Option<u32>,
    pub(crate) activate: String,
    pub(crate) optimized_lost_ms: Option<u32>,
    pub(crate) stpg_per_minute: u8,
    pub(crate) no_path_limit_ms: Option<u32>,
    pub(crate) io_timeout_ms: u32,
    pub(crate) reset: bool,
    pub(crate) fence_wait_ms: u32,
    #[serde(default)]
    pub(crate) idle_probe_ms: Option<u32>,
}

impl Settings {
    /// What the engine was given.
    pub(crate) fn of(config: &Config) -> Self {
        let (activate, optimized_lost_ms) = match config.activation {
            Activation::Never => ("never", None),
            Activation::NothingLive => ("nothing-live", None),
            Activation::OptimizedLost { after_ms } => ("optimized-lost", Some(after_ms)),
        };
        Self {
            preference: preference_name(config.preference).to_owned(),
            failback_ms: Some(config.failback_ms).filter(|millis| *millis != Failback::NEVER_MS),
            activate: activate.to_owned(),
            optimized_lost_ms,
            stpg_per_minute: config.core.stpg_per_minute,
            no_path_limit_ms: match config.no_path {
                NoPath::Fail => Some(0),
                NoPath::Wait(millis) => Some(millis),
                NoPath::Forever => None,
            },
            io_timeout_ms: config.io_timeout_ms,
            reset: config.fence.reset_unit,
            fence_wait_ms: config.fence.wait_ms,
            idle_probe_ms: config.core.idle_probe_ms,
        }
    }

    /// For people: as the options call it.
    fn text(&self, out: &mut String) {
        let time = |millis: Option<u32>, none: &str| {
            millis.map_or_else(|| none.to_owned(), |millis| format!("{} s", millis / 1_000))
        };
        let lost = self
            .optimized_lost_ms
            .map_or_else(String::new, |millis| format!(" ({} s)", millis / 1_000));
        let _ = writeln!(
            out,
            "  preference {}; failback {}; no path {}; command timeout {} s",
            self.preference,
            time(self.failback_ms, "never"),
            time(self.no_path_limit_ms, "forever"),
            self.io_timeout_ms / 1_000,
        );
        let _ = writeln!(
            out,
            "  activate {}{lost}, {} STPG per minute; reset {}; fence wait {} s; idle probe {}",
            self.activate,
            self.stpg_per_minute,
            if self.reset { "allowed" } else { "never" },
            self.fence_wait_ms / 1_000,
            time(self.idle_probe_ms, "never"),
        );
    }
}

/// The requests of a device.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Requests {
    pub(crate) open: u64,
    pub(crate) waiting: u64,
    pub(crate) ordered: u64,
    pub(crate) held: u64,
    pub(crate) submitted: u64,
    pub(crate) good: u64,
    pub(crate) failed: u64,
    pub(crate) sent_again: u64,
    pub(crate) have_waited: u64,
    pub(crate) doubts: u64,
    pub(crate) doubts_outwaited: u64,
    pub(crate) slowest_us: u64,
}

/// A path of a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PathStatus {
    pub(crate) device: String,
    pub(crate) group: Option<u16>,
    pub(crate) relative_port: Option<u16>,
    pub(crate) state: Option<String>,
    pub(crate) cause: String,
    pub(crate) preferred: bool,
    pub(crate) standing: String,
    pub(crate) used: bool,
    #[serde(default)]
    pub(crate) outruns: bool,
    #[serde(default)]
    pub(crate) failed: bool,
    pub(crate) reason: String,
    pub(crate) strikes: u8,
    pub(crate) out_for_ms: Option<u64>,
    pub(crate) service_us: Option<u64>,
    pub(crate) commands: Commands,
}

/// The I/O commands of a path.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Commands {
    pub(crate) in_flight: u64,
    pub(crate) doubts: u64,
    pub(crate) sent: u64,
    #[serde(default)]
    pub(crate) outran: u64,
    pub(crate) good: u64,
    pub(crate) lost: u64,
    pub(crate) sent_again: u64,
    pub(crate) failures: u64,
}

/// What does not change while a device runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) unit: String,
    pub(crate) source: &'static str,
    /// Not all places are there yet.
    pub(crate) starting: bool,
    pub(crate) places: Vec<String>,
    pub(crate) policy: &'static str,
    pub(crate) settings: Settings,
    pub(crate) lacks: Vec<String>,
    /// Where the disks are; none on a model.
    pub(crate) sysfs: Option<Sysfs>,
}

impl DeviceStatus {
    pub(crate) fn of(facts: &Facts, snapshot: &Snapshot, knowledge: Knowledge) -> Self {
        let (unit, at) = (&snapshot.unit, snapshot.at);
        let counters = &unit.counters;
        let switched_to = unit.switched.map(|switch| match switch {
            Switch::Group(group) => format!("group {group}"),
            Switch::Path(path) => {
                let known = snapshot.paths.iter().find(|other| other.view.id == path);
                known.map_or_else(|| gone(unit.switched_gone), |it| it.label.clone())
            }
        });
        Self {
            unit: facts.unit.clone(),
            source: facts.source.to_owned(),
            starting: facts.starting,
            places: facts.places.clone(),
            pid: std::process::id(),
            up_ms: at.as_nanos() / 1_000_000,
            size_bytes: unit.geometry.blocks.saturating_mul(unit.geometry.block_size.into()),
            block_bytes: unit.geometry.block_size,
            policy: facts.policy.to_owned(),
            settings: Some(facts.settings.clone()),
            lacks: facts.lacks.clone(),
            outlook: match unit.outlook {
                Outlook::Live => "live",
                Outlook::Waits(_) => "waits",
                Outlook::Nothing => "nothing",
            }
            .to_owned(),
            switched_to,
            no_path_ms: unit.no_path_since.map(|since| at.since(since) / 1_000_000),
            gives_up: unit.gives_up,
            requests: Requests {
                open: unit.pending as u64,
                waiting: unit.waiting.into(),
                ordered: unit.ordered.into(),
                held: snapshot.held as u64,
                submitted: counters.submitted,
                good: counters.good,
                failed: counters.failed,
                sent_again: counters.retries,
                have_waited: counters.waited,
                doubts: counters.doubts,
                doubts_outwaited: counters.doubts_outwaited,
                slowest_us: counters.slowest_ns / 1_000,
            },
            paths: snapshot.paths.iter().map(|path| PathStatus::of(path, snapshot)).collect(),
            logical_unit: Some(listed(facts, snapshot, knowledge)),
        }
    }

    /// Whether `query` names the unit, begins its name, or names one of its devices.
    pub(crate) fn is(&self, query: &str) -> bool {
        let query = query.strip_prefix("/dev/").unwrap_or(query);
        let bare = self.unit.split_once('.').map_or("", |(_, bare)| bare);
        self.unit == query
            || (query.len() > 1 && (self.unit.starts_with(query) || bare.starts_with(query)))
            || self.path(query).is_some()
    }

    pub(crate) fn path(&self, query: &str) -> Option<&PathStatus> {
        let query = query.strip_prefix("/dev/").unwrap_or(query);
        self.paths.iter().find(|path| path.device == query)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let served = if self.places.is_empty() {
            "not served yet".into()
        } else {
            self.places.join(" and ")
        };
        let _ =
            writeln!(out, "{}  {}  {}", paint(STRONG, &self.unit), size(self.size_bytes), served);
        let _ =
            writeln!(out, "  {}; process {}, up for {}", self.policy, self.pid, span(self.up_ms));
        if let Some(settings) = &self.settings {
            settings.text(&mut out);
        }
        if self.starting {
            let what = "it is starting: what the kernel reads of a new block device waits as all requests \
                        do";
            let _ = writeln!(out, "  {}", paint(WAIT, what));
        }
        for lacks in &self.lacks {
            let _ = writeln!(out, "  {}", paint(WAIT, lacks));
        }
        let requests = &self.requests;
        let _ = writeln!(
            out,
            "  {} requests good, {} failed, {} sent again; slowest {} ms; {} open, {} waiting",
            requests.good,
            requests.failed,
            requests.sent_again,
            requests.slowest_us / 1_000,
            requests.open + requests.held,
            requests.waiting + requests.held,
        );
        if let Some(to) = &self.switched_to {
            let _ = writeln!(out, "  {}", paint(WAIT, &format!("switched by hand to {to}")));
        }
        if self.paths.iter().any(|path| path.outruns) {
            let what = "the better paths are measurably slower now: service-time uses another";
            let _ = writeln!(out, "  {}", paint(WAIT, what));
        }
        if self.outlook != "live" {
            let what = match (self.gives_up, self.outlook.as_str()) {
                (true, _) => "no path came back in time: requests fail",
                (_, "waits") => "no path is live now, and that ends by itself: requests wait",
                _ => "no path is live: requests wait",
            };
            let _ = writeln!(out, "  {}", paint(BAD, what));
        }
        let width = self.paths.iter().map(|path| path.device.len()).max().unwrap_or(0);
        for path in &self.paths {
            path.text(&mut out, width);
        }
        out
    }
}

/// The unit as `list` shows it, by what the device and sysfs know. It sends nothing.
fn listed(facts: &Facts, snapshot: &Snapshot, knowledge: Knowledge) -> UnitView {
    let Knowledge { unit, ports, mut paths } = knowledge;
    paths.sort_by_key(|path| path.found.device.hctl);
    let down = paths.iter().filter(|path| path.failed).map(|path| path.core).collect();
    let lines: Vec<_> = paths.iter().map(|path| Ok(path.core)).collect();
    let found = paths.into_iter().map(|path| {
        let mut found = Arc::unwrap_or_clone(path.found);
        // The kernel's view of it may have changed since it joined.
        let fresh = facts.sysfs.as_ref().and_then(|sysfs| sysfs.device(found.device.hctl));
        found.device = fresh.unwrap_or(found.device);
        found
    });
    let name = snapshot.name;
    let found = Unit { name, paths: found.collect(), findings: Vec::new() };
    let server = ServerView { places: facts.places.clone(), pid: std::process::id() };
    UnitView::of(&Subject {
        facts: &found,
        unit: &unit,
        lines: &lines,
        down,
        ports: &ports,
        served_by: Some(&server),
        now: snapshot.at.core(),
    })
}

/// A path that was switched to and is not there.
fn gone(port: Option<Port>) -> String {
    let group = |group: u16| format!(" of group {group}");
    match port {
        Some(Port { group: id, relative }) => format!(
            "the path through port {relative}{}, which is gone: until it is back, others are used",
            id.map(group).unwrap_or_default()
        ),
        None => "a path that is gone".to_owned(),
    }
}

impl PathStatus {
    fn of(path: &PathSnapshot, snapshot: &Snapshot) -> Self {
        let view = &path.view;
        let counters = &view.counters;
        Self {
            device: path.label.clone(),
            group: view.group,
            relative_port: view.relative_port,
            state: view.state.map(|state| state.name().to_owned()),
            cause: path.cause.clone(),
            preferred: view.preferred,
            standing: match view.standing {
                Standing::Live(_) => "live",
                Standing::Waits(_) => "waits",
                Standing::Out(_) => "out",
            }
            .to_owned(),
            used: view.used,
            outruns: view.outruns,
            failed: view.link_failed,
            reason: view.reason().to_owned(),
            strikes: view.strikes,
            out_for_ms: view.out_until.map(|until| until.since(snapshot.at) / 1_000_000),
            service_us: (view.service_ns > 0).then(|| u64::from(view.service_ns) / 1_000),
            commands: Commands {
                in_flight: view.in_flight.into(),
                doubts: view.doubts.into(),
                sent: counters.sent,
                outran: counters.outran,
                good: counters.good,
                lost: counters.lost,
                sent_again: counters.retried,
                failures: counters.failures,
            },
        }
    }

    fn text(&self, out: &mut String, width: usize) {
        let group = self.group.map_or_else(|| "no group".to_owned(), |id| format!("group {id}"));
        let state = self.state.as_deref();
        let (word, style) = match (self.used, self.standing.as_str()) {
            (true, _) => ("used", GOOD),
            (_, "live") => ("spare", style::FAIR),
            (_, "waits") => ("waits", WAIT),
            _ => ("out", BAD),
        };
        let _ = writeln!(
            out,
            "  {:width$}  {group:8}  {}  {}  {}; {} sent, {} lost",
            self.device,
            padded(style::of_state(state), state.unwrap_or("state unknown"), 20),
            padded(style, word, 5),
            self.reason,
            self.commands.sent,
            self.commands.lost,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_to_a_path_that_is_gone_says_what_it_waits_for() {
        let port = Port { group: Some(2), relative: 5 };
        let text = gone(Some(port));
        assert!(text.starts_with("the path through port 5 of group 2, which is gone"), "{text}");
        let text = gone(Some(Port { group: None, ..port }));
        assert!(text.starts_with("the path through port 5, which is gone"), "{text}");
    }
}
