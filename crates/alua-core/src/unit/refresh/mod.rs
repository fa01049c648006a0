//! The refresh: learning the access states again.
//!
//! # States
//!
//! - `Idle`: nothing is wanted.
//! - `Due`: a pass starts at a time; more triggers join it.
//! - `Pass`: a pass runs. It sends one command at a time until it has a report or gives up.
//!
//! A trigger during a pass is kept as `again`: one more pass behind the running one, whatever the
//! number of triggers. A pass belongs to the unit, not to a path: it moves on to another path when
//! one fails, and ends only when every path was tried.
//!
//! # A pass
//!
//! 1. A trigger that may be old news is checked first: if any state had changed since the last
//!    report, the target would hold a unit attention for the I_T nexus through which that report
//!    was read. TEST UNIT READY there that meets none proves that the report is still true. Only
//!    where all that is known comes from that report is this worth asking.
//! 2. The best path is chosen: the one that told, else live before unknown before standby and
//!    unavailable before offline before transitioning; failed transports last. Paths whose
//!    identity is in doubt are not asked.
//! 3. A path in transition is asked by TEST UNIT READY first: many arrays refuse reports in
//!    transition. "Still in transition" ends the pass; the next one follows after
//!    `transition_poll_ms`.
//! 4. REPORT TARGET PORT GROUPS. What can go wrong is judged in this order: not submitted;
//!    transport failed (next path); refused with the extended header (again without it, for good);
//!    in transition; unit attention (again); and only then, on a target known to support nothing
//!    but active/optimized, the error is ignored.
//!
//! # Invariants
//!
//! - At most one command of a pass is in flight, and none while the activation's is.
//! - Nothing repeats without a count or a growing delay.
//! - Whenever a transition runs, or outlived its limit on a group with a path, or the last pass
//!   failed in a way that time may heal, the next pass is due.

mod judge;
mod pass;

use super::command::{Command, CommandKind};
use super::config::{Config, REPORT_BYTES_MAX};
use super::machine::{Parts, Role};
use super::slots::{Path, PathId};
use crate::cause::{Cause, RefreshError, SenseCode};
use crate::spc::cdb::ReportFormat;
use crate::time::Time;

/// The longer of the two headers, in bytes.
const REPORT_BYTES_MIN: u32 = 8;

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    phase: Phase,
    again: Option<Trigger>,
    /// Number of the running pass, or of the last one.
    pub(super) pass: u32,
    /// How the last pass ended; `None` before the first.
    pub(super) last_end: Option<(u32, PassEnd)>,
    last_start: Option<Time>,
    spacing_ms: u32,
    /// Passes in a row, without a quiet time, that found a change.
    changes: u8,
    report: Option<LastReport>,
    /// The target refused the extended header. Sticky.
    extended_refused: bool,
    /// The target refuses reports altogether, with this sense.
    unsupported: Option<SenseCode>,
    report_bytes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Due { at: Time, trigger: Trigger },
    Pass(Pass),
}

/// What a pass is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Trigger {
    /// The path that told.
    via: Option<PathId>,
    /// Every trigger so far may be old news.
    may_be_old: bool,
    /// No spacing.
    urgent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pass {
    via: Option<PathId>,
    step: Step,
    /// When the step's command is sent.
    at: Time,
    attentions: u8,
    growths: u8,
    resends: u8,
    in_transition: bool,
    last_error: RefreshError,
}

/// A command of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// TEST UNIT READY on the path of the last report.
    CheckNews(PathId),
    /// TEST UNIT READY on a path in transition.
    TestReady(PathId),
    /// REPORT TARGET PORT GROUPS.
    Report(PathId),
}

impl Step {
    const fn path(self) -> PathId {
        let (Self::CheckNews(path) | Self::TestReady(path) | Self::Report(path)) = self;
        path
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct LastReport {
    path: PathId,
    at: Time,
    pass: u32,
    format: ReportFormat,
}

/// How a pass ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PassEnd {
    /// A report was read. Whether it changed anything.
    Read(bool),
    /// The last report is still true.
    OldNews,
    /// The target supports nothing but active/optimized, so the error does not matter.
    Ignored,
    /// The paths left are in transition and refuse reports.
    InTransition,
    /// No report.
    Failed(RefreshError),
}

/// Why a refresh is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// A path was added whose group's state is not known.
    NewPath,
    /// A path told a state of its own that contradicts what is known.
    Evidence(PathId),
    /// A path said that it is in transition.
    Transition,
    /// A unit attention on a path said, or may hide, that states changed.
    Attention(PathId),
    /// Someone asked.
    Asked,
    /// An activation needs a report.
    Activation,
    /// The target took an STPG on a path; a report through it shows the effect. There alone no
    /// unit attention of the change waits (SPC: "asymmetric access state changed" is established
    /// for every other I_T nexus).
    Activated(PathId),
}

impl Refresh {
    #[expect(clippy::manual_clamp, reason = "`clamp` can panic")]
    pub(super) fn new(config: &Config) -> Self {
        Self {
            phase: Phase::Idle,
            again: None,
            pass: 0,
            last_end: None,
            last_start: None,
            spacing_ms: config.spacing_min_ms,
            changes: 0,
            report: None,
            extended_refused: false,
            unsupported: None,
            report_bytes: config.report_bytes.min(REPORT_BYTES_MAX).max(REPORT_BYTES_MIN),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Whether a pass ended and none runs: what is unknown now stays so until something happens.
    pub(super) fn gave_up(&self) -> bool {
        self.last_end.is_some() && !self.is_in_pass()
    }

    pub(super) fn is_in_pass(&self) -> bool {
        matches!(self.phase, Phase::Pass(_))
    }

    pub(super) fn extended_header(&self) -> Option<bool> {
        match self.report {
            _ if self.extended_refused => Some(false),
            Some(report) => Some(report.format == ReportFormat::Extended),
            None => None,
        }
    }

    pub(super) fn last_report(&self) -> Option<(PathId, Time)> {
        self.report.map(|report| (report.path, report.at))
    }

    pub(super) fn failure(&self) -> Option<RefreshError> {
        match (self.unsupported, self.last_end) {
            (Some(sense), _) => Some(RefreshError::Unsupported(sense)),
            (None, Some((_, PassEnd::Failed(error)))) => Some(error),
            _ => None,
        }
    }

    pub(super) fn stop(&mut self) {
        self.phase = Phase::Idle;
        self.again = None;
    }

    fn join(&mut self, at: Time, trigger: Trigger) {
        match &mut self.phase {
            Phase::Idle => self.phase = Phase::Due { at, trigger },
            Phase::Due { at: due, trigger: wanted } => {
                *due = at.min(*due);
                wanted.merge(trigger);
            }
            Phase::Pass(_) => match &mut self.again {
                Some(wanted) => wanted.merge(trigger),
                None => self.again = Some(trigger),
            },
        }
    }

    /// When a triggered pass that is wanted at `now` may start.
    fn spaced(&self, now: Time) -> Time {
        self.last_start.map_or(now, |start| start.after(self.spacing_ms).max(now))
    }

    fn pass_mut(&mut self) -> Option<&mut Pass> {
        match &mut self.phase {
            Phase::Pass(pass) => Some(pass),
            Phase::Idle | Phase::Due { .. } => None,
        }
    }
}

impl Trigger {
    const POLL: Self = Self { via: None, may_be_old: false, urgent: false };

    fn merge(&mut self, other: Self) {
        self.via = other.via.or(self.via);
        self.may_be_old &= other.may_be_old;
        self.urgent |= other.urgent;
    }
}
impl Parts<'_> {
    /// Wants a pass, with what every reason brings along.
    pub(super) fn want_refresh(&mut self, reason: Reason, now: Time) {
        let idle = self.state.shut_down || self.state.managed.is_err();
        if idle || !self.paths.iter().any(|path| path.used) {
            return;
        }
        match reason {
            // No report can confirm or overrule it; it grows old by itself.
            Reason::Evidence(_) if self.state.refresh.unsupported.is_some() => return,
            Reason::Evidence(_) | Reason::Transition => {}
            _ => self.state.refresh.unsupported = None,
        }
        let trigger = Trigger {
            via: match reason {
                Reason::Evidence(path) | Reason::Attention(path) | Reason::Activated(path) => {
                    Some(path)
                }
                _ => None,
            },
            may_be_old: match reason {
                Reason::Attention(path) => self.is_first_attention(path),
                _ => false,
            },
            urgent: matches!(reason, Reason::Asked | Reason::Activation | Reason::Activated(_)),
        };
        let refresh = &mut self.state.refresh;
        if refresh.is_wanted() {
            let coalesced = &mut self.state.counters.coalesced;
            *coalesced = coalesced.saturating_add(1);
        }
        let at = if trigger.urgent {
            now
        } else {
            refresh.spaced(now.after(self.state.config.start_delay_ms))
        };
        refresh.join(at, trigger);
    }

    /// Whether a unit attention is the first on `path` since a report that was read through
    /// another path: it may tell of the change which that report showed.
    fn is_first_attention(&mut self, path: PathId) -> bool {
        let Some(report) = self.state.refresh.report else { return false };
        let usable = self.state.config.confirm_old_news && self.is_all_from(&report);
        let Some(place) = self.path_mut(path) else { return false };
        let first = place.attention_after != Some(report.pass);
        place.attention_after = Some(report.pass);
        usable && first && report.path != path
    }

    /// Whether what is known is what that report said, and its path can still be asked.
    fn is_all_from(&self, report: &LastReport) -> bool {
        let cause = Cause::Report { path: report.path, at: report.at };
        self.is_trusted(report.path)
            && self.paths.iter().all(|path| path.evidence.is_none())
            && self.groups.iter().all(|group| !group.used || group.cause == cause)
    }

    pub(super) fn next_refresh_time(&self) -> Option<Time> {
        match self.state.refresh.phase {
            Phase::Idle => None,
            Phase::Due { at, .. } => Some(at),
            Phase::Pass(pass) => Some(pass.at),
        }
    }

    /// The next command of the refresh, when no other control command is in flight.
    pub(super) fn next_refresh_command(&mut self, now: Time) -> Option<Command> {
        // Every turn starts the pass that is due, or gives up one path of the pass that runs.
        while self.next_refresh_time()? <= now {
            let pass = match self.state.refresh.phase {
                Phase::Idle => return None,
                Phase::Due { trigger, .. } => {
                    self.start_pass(trigger, now);
                    continue;
                }
                Phase::Pass(pass) => pass,
            };
            let path = pass.step.path();
            match self.path(path).map(Path::is_trusted) {
                Some(true) => {}
                Some(false) => {
                    self.give_up_path(path, RefreshError::IdentityInDoubt, now);
                    continue;
                }
                None => {
                    self.move_on(path, now);
                    continue;
                }
            }
            let kind = match pass.step {
                Step::CheckNews(_) | Step::TestReady(_) => CommandKind::TestUnitReady,
                Step::Report(_) => self.report_command(),
            };
            return Some(self.state.send(path, kind, Role::Refresh(pass.step), now));
        }
        None
    }

    fn report_command(&self) -> CommandKind {
        let refresh = &self.state.refresh;
        let format = if refresh.extended_refused {
            ReportFormat::LengthOnly
        } else {
            ReportFormat::Extended
        };
        CommandKind::ReportTargetPortGroups { format, allocation_length: refresh.report_bytes }
    }
}
