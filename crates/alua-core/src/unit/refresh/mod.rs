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
//! one fails, and ends without a report only when every path was tried or those left are in
//! transition.
//!
//! # A pass
//!
//! 1. A unit attention that may be old news is checked first, on another path of the same group
//!    whose own attentions were met before: if a state that the attention can tell of had changed
//!    since the last report, the target would hold a unit attention for that I_T nexus as well.
//!    TEST UNIT READY there that meets none proves that the report is still true. Only where all
//!    that is known comes from that report is this worth asking.
//! 2. The best path is chosen: the one that told, else live before unknown before standby and
//!    unavailable before offline before transitioning; failed transports last. Paths whose
//!    identity is in doubt are not asked.
//! 3. A path in transition is asked by TEST UNIT READY first: many arrays refuse reports in
//!    transition. "Still in transition" ends the pass, but for the path that told where it was put
//!    off behind that one; the next pass follows after a pause (`transition_poll_first_ms`,
//!    `transition_poll_ms`) and begins with another path. With `look_inside` a pass that looks for
//!    nothing but the end of a transition asks a path of each such group first, unless the target
//!    takes commands in the transition, so that their answers tell no end. One whose path that told
//!    was put off begins like that: the unit attention may tell of the end, of which a path outside
//!    has one too.
//! 4. REPORT TARGET PORT GROUPS. What can go wrong is judged in this order: not submitted;
//!    transport failed (next path); refused with the extended header (again without it, for good);
//!    in transition; unit attention (again); and only then, on a target known to support nothing
//!    but active/optimized, the error is ignored.
//!
//! # Invariants
//!
//! - At most one command of a pass is in flight and waited for (`patience`), and none while the
//!   activation's is.
//! - Nothing repeats without a count or a growing delay.
//! - Whenever a transition runs, or outlived its limit on a group with a path, or the last pass
//!   failed in a way that time may heal, the next pass is due.

mod judge;
mod pass;

use core::num::NonZeroU32;

use super::command::{Command, CommandKind};
use super::config::{Config, REPORT_BYTES_MAX};
use super::machine::{InFlight, Parts, Role, count};
use super::slots::{Mark, Path, PathId};
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
    /// The group of that path.
    group: Option<u16>,
    /// Every trigger so far may be old news.
    may_be_old: bool,
    /// No spacing.
    urgent: bool,
    /// Told by paths that meet unit attentions without end, the driver's own commands perhaps. So told, it
    /// would be told again by the pass.
    slow: bool,
    /// Only the end of a transition is looked for.
    for_end: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pass {
    via: Option<PathId>,
    /// It is another one's turn before `via`: that said already that it is in transition.
    put_off: bool,
    step: Step,
    /// When the step's command is sent.
    at: Time,
    attentions: u8,
    growths: u8,
    resends: u8,
    in_transition: bool,
    /// Asks one path of each group in transition, and no other where one still is
    /// ([`Config::look_inside`]). No longer, when an answer was anything else than "not yet".
    inside: bool,
    /// The path of the step answered TEST UNIT READY as if it were in no transition.
    ready: bool,
    /// Every path asked so far refuses reports altogether.
    all_refuse: bool,
    /// What the last command asked; the same again repeats it.
    asked: Option<Asked>,
    last_error: RefreshError,
}

/// What a command of a pass asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    News,
    Ready,
    Report,
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

    const fn asks(self) -> Asked {
        match self {
            Self::CheckNews(_) => Asked::News,
            Self::TestReady(_) => Asked::Ready,
            Self::Report(_) => Asked::Report,
        }
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
    /// A path was found to lead to the unit after all.
    Verified(PathId),
    /// A path told a state of its own that contradicts what is known.
    Evidence(PathId),
    /// A path said that it is in transition.
    Transition,
    /// A unit attention on a path said, or may hide, that states changed.
    Attention(PathId),
    /// Someone asked.
    Asked,
    /// An activation needs a report, through the group that it asks for where that can be.
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

    /// Whether the target refuses reports, and said so not long ago.
    fn refuses(&self, now: Time, config: &Config) -> bool {
        let recent = |start: Time| now.since(start) < u64::from(config.reprobe_ms);
        self.unsupported.is_some() && self.last_start.is_some_and(recent)
    }

    /// When a triggered pass that is wanted at `now` may start.
    fn spaced(&self, now: Time) -> Time {
        self.last_start.map_or(now, |start| start.after(self.spacing_ms).max(now))
    }

    fn looks_inside(&self) -> bool {
        matches!(self.phase, Phase::Pass(Pass { inside: true, .. }))
    }

    fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Pass(Pass { ready: true, .. }))
    }

    /// From here on the pass that runs is one as any other.
    fn look_outside(&mut self) {
        if let Some(pass) = self.pass_mut() {
            pass.inside = false;
        }
    }

    /// Whether the pass that runs could end now with what it knows.
    pub(super) fn knows_enough(&self) -> bool {
        matches!(self.phase, Phase::Pass(Pass { inside: true, in_transition: true, .. }))
    }

    fn pass_mut(&mut self) -> Option<&mut Pass> {
        match &mut self.phase {
            Phase::Pass(pass) => Some(pass),
            Phase::Idle | Phase::Due { .. } => None,
        }
    }
}

impl Trigger {
    const POLL: Self = Self {
        via: None,
        group: None,
        may_be_old: false,
        urgent: false,
        slow: false,
        for_end: false,
    };

    fn merge(&mut self, other: Self) {
        // One witness speaks for one group.
        self.may_be_old &= other.may_be_old && self.group == other.group;
        self.via = other.via.or(self.via);
        self.urgent |= other.urgent;
        self.slow &= other.slow;
        self.for_end &= other.for_end;
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
            // A target that refuses reports is asked again now and then, for it may have been in
            // the middle of an update; evidence grows old by itself.
            Reason::Evidence(_) if self.state.refresh.refuses(now, &self.state.config) => return,
            Reason::Transition if self.state.refresh.refuses(now, &self.state.config) => {}
            _ => self.state.refresh.unsupported = None,
        }
        let via = match reason {
            Reason::Evidence(path) | Reason::Attention(path) | Reason::Activated(path) => {
                Some(path)
            }
            Reason::Activation => self.path_to_activate(),
            _ => None,
        };
        let trigger = Trigger {
            via,
            group: via.and_then(|path| self.path(path)).and_then(|path| path.group),
            may_be_old: match reason {
                Reason::Attention(path) => self.is_first_attention(path),
                _ => false,
            },
            urgent: matches!(reason, Reason::Asked | Reason::Activation | Reason::Activated(_)),
            slow: match reason {
                Reason::Attention(path) | Reason::Verified(path) => {
                    self.path(path).is_some_and(Path::is_beyond_row)
                }
                _ => false,
            },
            for_end: reason == Reason::Transition,
        };
        let refresh = &mut self.state.refresh;
        if refresh.is_wanted() {
            count(&mut self.state.counters.coalesced);
        }
        let config = &self.state.config;
        let delay = match reason {
            Reason::Transition => config.transition_look_ms,
            _ => config.start_delay_ms,
        };
        let at = self.start_of(trigger, now, delay);
        self.state.refresh.join(at, trigger);
    }

    /// When the pass that `trigger` wants may start, not before `delay` milliseconds are over where it is
    /// not urgent.
    fn start_of(&self, trigger: Trigger, now: Time, delay: u32) -> Time {
        match trigger {
            Trigger { urgent: true, .. } => now,
            Trigger { slow: true, .. } => now.after(self.state.config.reprobe_ms),
            _ => self.state.refresh.spaced(now.after(delay)),
        }
    }

    /// Whether a unit attention is the first on `path` since the last report: it may tell of the
    /// change which that report showed.
    fn is_first_attention(&mut self, path: PathId) -> bool {
        let refresh = &self.state.refresh;
        // A report that is on its way may have been written before the attention arose: as if it
        // had been told after it.
        let coming = matches!(
            self.state.control,
            Some(InFlight { role: Role::Refresh(Step::Report(_)), .. })
        );
        let known = refresh.report.is_some();
        let last = refresh.report.map_or(0, |report| report.pass);
        let report = NonZeroU32::new(if coming { refresh.pass } else { last });
        let Some(place) = self.path_mut(path) else { return false };
        let first = place.attention_after != report;
        place.attention_after = report;
        place.marks.set(Mark::Drained);
        first && known && self.state.config.confirm_old_news
    }

    /// The path to check old news on: one that would hold a unit attention if a state had changed
    /// since the last report of which the attention on `told` may tell. `None` where that cannot be
    /// known, or where what is known is not all from that report.
    fn witness_of(&self, told: PathId) -> Option<PathId> {
        let report = self.state.refresh.report?;
        let cause = Cause::Report { path: report.path, at: report.at };
        let from_report = self.paths.iter().all(|path| path.evidence.is_none())
            && self.groups.iter().all(|group| !group.used || group.cause == cause);
        if !from_report {
            return None;
        }
        let group = self.path(told)?.group;
        self.named_paths()
            .filter(|(id, path)| {
                let shares = self.state.config.attentions_on_every_nexus || path.group == group;
                // One that told since the report has no attention left to show.
                let silent = path.attention_after != NonZeroU32::new(report.pass);
                let fit = path.marks.has(Mark::Drained)
                    && path.is_trusted()
                    && path.left.is_none()
                    && !path.has_failed();
                fit && silent && shares && *id != told
            })
            .min_by_key(|(id, _)| *id != report.path)
            .map(|(id, _)| id)
    }

    /// Whether the path met a unit attention after the last report.
    fn told_since_report(&self, path: PathId) -> bool {
        let report = self.state.refresh.report.and_then(|report| NonZeroU32::new(report.pass));
        report.is_some() && self.path(path).is_some_and(|path| path.attention_after == report)
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
            if matches!(pass.step, Step::Report(_)) {
                // What was told before a report is sent, the report shows.
                self.state.refresh.again.take_if(|trigger| !trigger.urgent);
            }
            let asks = Some(pass.step.asks());
            if let Some(pass) = self.state.refresh.pass_mut() {
                pass.asked = asks;
            }
            let (role, again) = (Role::Refresh(pass.step), pass.asked == asks);
            return Some(self.state.send(path, kind, role, again, now));
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
