//! What the kernel's device handler `scsi_dh_alua_rs` holds of a unit, by its file in debugfs.

use alua_host::discovery::Unit;
use alua_host::sysfs::{HandlerCounters, HandlerGroup, HandlerPath, HandlerUnit};
use serde::{Deserialize, Serialize};

/// What the handler holds of a unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandlerView {
    pub(crate) name: String,
    pub(crate) busy: Option<bool>,
    pub(crate) transition_time_ms: Option<u64>,
    pub(crate) extended_header: Option<bool>,
    pub(crate) report_age_ms: Option<u64>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) refresh_error: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) counters: HandlerCountersView,
    pub(crate) groups: Vec<HandlerGroupView>,
    pub(crate) paths: Vec<HandlerPathView>,
}

/// Commands that the handler sent for a unit, and what it saved.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct HandlerCountersView {
    pub(crate) rtpg: Option<u64>,
    pub(crate) stpg: Option<u64>,
    pub(crate) tur: Option<u64>,
    pub(crate) identity_reads: Option<u64>,
    pub(crate) retries: Option<u64>,
    pub(crate) coalesced: Option<u64>,
    pub(crate) old_news: Option<u64>,
    pub(crate) refresh_failures: Option<u64>,
}

/// What the handler holds of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandlerGroupView {
    pub(crate) id: u16,
    pub(crate) state: Option<String>,
    pub(crate) preferred: Option<bool>,
    pub(crate) transition: Option<String>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) cause: String,
}

/// What the handler holds of a path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandlerPathView {
    pub(crate) hctl: String,
    pub(crate) group: Option<u16>,
    pub(crate) relative_port: Option<u16>,
    pub(crate) state: Option<String>,
    pub(crate) gate: String,
    pub(crate) identity: Option<String>,
    pub(crate) transport: Option<String>,
    pub(crate) cause: String,
}

impl HandlerView {
    /// The handler's unit to which the paths of `unit` belong; none where they have another
    /// handler, or it may not be asked.
    pub(crate) fn of(unit: &Unit) -> Option<Self> {
        let view = unit.paths.iter().find_map(|path| path.device.handler_view.as_ref())?;
        Some(Self::from(&*view.unit))
    }

    /// The group with that identifier.
    pub(crate) fn group(&self, id: u16) -> Option<&HandlerGroupView> {
        self.groups.iter().find(|group| group.id == id)
    }

    /// The path with that address.
    pub(crate) fn path(&self, hctl: &str) -> Option<&HandlerPathView> {
        self.paths.iter().find(|path| path.hctl == hctl)
    }
}

impl From<&HandlerUnit> for HandlerView {
    fn from(unit: &HandlerUnit) -> Self {
        let mut groups: Vec<_> = unit.groups.iter().map(HandlerGroupView::from).collect();
        groups.sort_by_key(|group| group.id);
        let mut paths: Vec<_> = unit.paths.iter().collect();
        paths.sort_by_key(|path| path.device);
        Self {
            name: unit.name.clone(),
            busy: unit.busy,
            transition_time_ms: unit.limit_ms,
            extended_header: unit.extended_header,
            report_age_ms: unit.report_age_ms,
            deadline_ms: unit.deadline_ms,
            refresh_error: unit.failure.clone(),
            memory_bytes: unit.bytes,
            counters: unit.counters.into(),
            groups,
            paths: paths.into_iter().map(HandlerPathView::from).collect(),
        }
    }
}

impl From<HandlerCounters> for HandlerCountersView {
    fn from(counters: HandlerCounters) -> Self {
        Self {
            rtpg: counters.rtpg,
            stpg: counters.stpg,
            tur: counters.tur,
            identity_reads: counters.identity_reads,
            retries: counters.retries,
            coalesced: counters.coalesced,
            old_news: counters.old_news,
            refresh_failures: counters.refresh_failures,
        }
    }
}

impl From<&HandlerGroup> for HandlerGroupView {
    fn from(group: &HandlerGroup) -> Self {
        Self {
            id: group.id,
            state: group.state.clone(),
            preferred: group.preferred,
            transition: group.transition.clone(),
            deadline_ms: group.deadline_ms,
            cause: group.why.clone(),
        }
    }
}

impl From<&HandlerPath> for HandlerPathView {
    fn from(path: &HandlerPath) -> Self {
        Self {
            hctl: path.device.to_string(),
            group: path.group,
            relative_port: path.relative_port,
            state: path.state.clone(),
            gate: path.gate.clone(),
            identity: path.identity.clone(),
            transport: path.transport.clone(),
            cause: path.why.clone(),
        }
    }
}
