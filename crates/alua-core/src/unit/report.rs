//! What a report changes.

use super::machine::Parts;
use super::refresh::Reason;
use super::slots::{Group, PathId, Transition};
use crate::access::AccessState;
use crate::cause::Cause;
use crate::spc::target_port_groups::{GroupDescriptor, Report};
use crate::spc::{Rule, WireError};
use crate::time::Time;

/// Where and when a report was read.
#[derive(Clone, Copy)]
struct Reading {
    path: PathId,
    sent: Time,
    now: Time,
    pass: u32,
    limit_ms: u32,
}

impl Parts<'_> {
    /// Refuses a report that lists a group of our paths twice: the target says two things at once.
    /// Of a group without paths the last descriptor counts.
    pub(super) fn check_listed_once(&self, report: &Report<'_>) -> Result<(), WireError> {
        for group in self.groups.iter().filter(|group| group.used && self.has_path(group.id)) {
            if report.groups().filter(|listed| listed.id == group.id).count() > 1 {
                let rule = Rule::Value {
                    found: u32::from(group.id),
                    expected: "listed in one descriptor only",
                };
                return Err(WireError::new("target port group", 0, rule));
            }
        }
        Ok(())
    }

    /// Takes over a checked report that was asked for at `sent`. Returns whether anything changed.
    pub(super) fn apply_report(
        &mut self,
        report: &Report<'_>,
        path: PathId,
        sent: Time,
        now: Time,
    ) -> bool {
        let limit_ms = self.transition_limit(report);
        let pass = self.state.refresh.pass;
        let reading = Reading { path, sent, now, pass, limit_ms };
        self.apply_transition_limit(limit_ms);
        let mut changed = false;
        let mut not_stored = 0_u16;
        for listed in report.groups() {
            match self.place_for_group_beside(listed.id, Some(pass)) {
                Some(group) => changed |= apply_descriptor(group, &listed, reading),
                None => not_stored = not_stored.saturating_add(1),
            }
        }
        changed |= self.apply_absence(reading);
        changed |= self.weigh_evidence(reading);
        self.state.untold |= changed || not_stored != self.state.not_stored;
        self.state.not_stored = not_stored;
        changed
    }

    /// The implicit transition time if the target gives one, else the default; at least what the
    /// configuration says.
    fn transition_limit(&self, report: &Report<'_>) -> u32 {
        let config = &self.state.config;
        report
            .implicit_transition_secs()
            .map_or(config.transition_ms, |secs| u32::from(secs).saturating_mul(1_000))
            .max(config.transition_at_least_ms)
    }

    /// A new limit holds for the transitions that run, from their start.
    fn apply_transition_limit(&mut self, limit_ms: u32) {
        if self.state.transition_ms == limit_ms {
            return;
        }
        self.state.transition_ms = limit_ms;
        for group in self.groups.iter_mut() {
            if let Some(Transition::Running { since, deadline }) = &mut group.transition {
                *deadline = since.after(limit_ms);
            }
        }
    }

    /// Groups that the report does not list: without a path they are forgotten, with one their
    /// state is not known any more.
    fn apply_absence(&mut self, reading: Reading) -> bool {
        let mut changed = false;
        for index in 0..self.groups.len() {
            let absent = |group: &Group| group.used && group.listed_in != reading.pass;
            let Some(id) = self.groups.get(index).filter(|group| absent(group)).map(Group::id)
            else {
                continue;
            };
            let has_path = self.has_path(id);
            let Some(group) = self.groups.get_mut(index) else { continue };
            if has_path {
                changed |= group.state.is_some();
                group.state = None;
                group.transition = None;
                group.preferred = false;
                group.cause = Cause::AbsentFromReport { path: reading.path, at: reading.now };
            } else {
                *group = Group::FREE;
            }
        }
        changed
    }

    /// Drops evidence that the report confirms or overrules, and asks the path that still
    /// contradicts it. One that cannot be asked, for its transport failed or its identity is in doubt,
    /// is asked when it can be: until then the report would come through another path, and say the
    /// same.
    fn weigh_evidence(&mut self, reading: Reading) -> bool {
        let reader = self.path(reading.path).and_then(|path| path.group);
        let mut changed = false;
        let mut contradicts = None;
        for index in 0..self.paths.len() {
            let Some((id, path)) = self.path_at(index) else { continue };
            let (Some(own), Some(group)) = (path.evidence, path.group) else { continue };
            let state = self.group(group).and_then(Group::state);
            let older = own.at() <= reading.sent;
            // Read through the path's own group, the report is as near to the truth as the path
            // is; not so for a path that stays in transition when its group has left it.
            let first_hand =
                if own.is_alone() { id == reading.path } else { reader == Some(group) };
            if state == Some(own.state) || older && first_hand {
                if let Some(path) = self.path_mut(id) {
                    path.evidence = None;
                    changed = true;
                }
            } else if !matches!(own.cause, Cause::TransitionExpired { .. })
                && path.is_trusted()
                && !path.has_failed()
            {
                contradicts = Some(id);
            }
        }
        if let Some(path) = contradicts {
            self.want_refresh(Reason::Evidence(path), reading.now);
        }
        changed
    }
}

/// Takes over one descriptor. Returns whether the group changed.
fn apply_descriptor(group: &mut Group, listed: &GroupDescriptor<'_>, reading: Reading) -> bool {
    let before = *group;
    let cause = Cause::Report { path: reading.path, at: reading.now };
    group.listed_in = reading.pass;
    group.preferred = listed.preferred;
    group.supported = Some(listed.supported);
    group.status = Some(listed.status);
    match (listed.state, group.transition) {
        (AccessState::Transitioning, Some(Transition::Expired { .. })) => {}
        // A report that was asked for before the transition began cannot say that it is over.
        (_, Some(Transition::Running { since, .. })) if since > reading.sent => {}
        (AccessState::Transitioning, running) => {
            if running.is_none() {
                group.begin_transition(reading.now, reading.now.after(reading.limit_ms));
            }
            group.state = Some(AccessState::Transitioning);
            group.cause = cause;
        }
        (state, _) => {
            group.transition = None;
            group.state = Some(state);
            group.cause = cause;
        }
    }
    (before.state, before.preferred, before.supported, before.status, before.transition)
        != (group.state, group.preferred, group.supported, group.status, group.transition)
}
