//! What the answer to a command of the pass means.

use super::super::command::Outcome;
use super::super::config::{
    ATTENTIONS_AT_ONCE, ATTENTIONS_MAX, GROWTH_STEPS_MAX, REPORT_BYTES_MAX, RESENDS_MAX,
};
use super::super::machine::{InFlight, Parts};
use super::super::slots::{Mark, PathId};
use super::{LastReport, PassEnd, Step};
use crate::access::AccessState;
use crate::cause::{Cause, RefreshError, SenseCode};
use crate::sense::{is_transition, meaning};
use crate::spc::Status;
use crate::spc::sense::{Sense, SenseKey};
use crate::spc::target_port_groups::Report;
use crate::time::Time;

impl Parts<'_> {
    /// Takes what became of a command of the pass.
    pub(in crate::unit) fn complete_refresh(
        &mut self,
        flight: InFlight,
        step: Step,
        outcome: &Outcome<'_>,
        now: Time,
    ) {
        if !self.state.refresh.is_in_pass() {
            return;
        }
        let path = step.path();
        let (status, sense, data) = match *outcome {
            Outcome::NotSubmitted => {
                return self.resend(path, RefreshError::NotSubmitted, now);
            }
            Outcome::Unreachable | Outcome::TransportFailed => {
                return self.give_up_path(path, RefreshError::Transport(path), now);
            }
            Outcome::TimedOut => {
                return self.give_up_path(path, RefreshError::TimedOut(path), now);
            }
            Outcome::Answered { status, sense, data } => (status, sense, data),
        };
        let sense = match status {
            Status::CheckCondition => Sense::parse(sense).ok(),
            _ => None,
        };
        if let Some(sense) = sense {
            self.note_identity(path, &meaning(&sense), now);
        }
        if matches!(status, Status::Busy | Status::TaskSetFull) {
            return self.resend(path, RefreshError::Status(status), now);
        }
        match step {
            Step::CheckNews(_) => self.judge_news(path, status, sense.as_ref(), now),
            Step::TestReady(_) => self.judge_ready(path, status, sense.as_ref(), now),
            Step::Report(_) if status == Status::Good => {
                self.judge_report(path, flight.sent, data, now);
            }
            Step::Report(_) => self.judge_refusal(path, status, sense.as_ref(), now),
        }
    }

    fn judge_news(&mut self, path: PathId, status: Status, sense: Option<&Sense>, now: Time) {
        let state = self.path(path).and_then(|path| self.known(path).0.state);
        match sense {
            Some(sense) if sense.key == SenseKey::UnitAttention => {
                self.go_on(Step::Report(path), now);
            }
            Some(sense) if is_transition(sense) && state != Some(AccessState::Transitioning) => {
                self.enter_transition(path, sense, now);
                self.try_next_path(path, now);
            }
            Some(sense) => match meaning(sense).state {
                Some(told) if state != Some(told) => self.go_on(Step::Report(path), now),
                _ => self.end_pass(PassEnd::OldNews, now),
            },
            // Its consumer took the unit attention and sent the command again, as Linux does.
            None if status == Status::Good && self.told_since_report(path) => {
                self.go_on(Step::Report(path), now);
            }
            None if status == Status::Good => self.end_pass(PassEnd::OldNews, now),
            // Whether the target looked for unit attentions before it answered is not known.
            None => self.go_on(Step::Report(path), now),
        }
    }

    fn judge_ready(&mut self, path: PathId, status: Status, sense: Option<&Sense>, now: Time) {
        if sense.is_some_and(is_transition) {
            if self.state.refresh.looks_inside() {
                self.pass_over_group_of(path);
            }
            self.try_next_path(path, now);
        } else if self.state.refresh.unsupported.is_none() {
            // What comes of it may be no report, and then one is owed.
            self.state.refresh.look_outside();
            if let Some(pass) = self.state.refresh.pass_mut() {
                // A unit attention comes before the target looks at the state.
                pass.ready = sense.is_none_or(|sense| sense.key != SenseKey::UnitAttention);
            }
            self.go_on(Step::Report(path), now);
        } else if status == Status::Good {
            let cause = Cause::Ready { path, at: now };
            if let Some(path) = self.path_mut(path) {
                path.evidence = None;
            }
            if let Some(group) = self.group_mut_of(path) {
                group.transition = None;
                group.state = None;
                group.cause = cause;
            }
            if let Some(path) = self.path_mut(path) {
                path.evidence = None;
            }
            self.state.untold = true;
            self.end_pass(PassEnd::Read(true), now);
        } else {
            let error = error_of(status, sense);
            self.give_up_path(path, error, now);
        }
    }

    fn judge_refusal(&mut self, path: PathId, status: Status, sense: Option<&Sense>, now: Time) {
        let Some(sense) = sense else {
            return self.give_up_path(path, RefreshError::Status(status), now);
        };
        if !self.is_trusted(path) {
            return self.give_up_path(path, RefreshError::Sense(sense.into()), now);
        }
        let refused = sense.key == SenseKey::IllegalRequest;
        if refused && !self.state.refresh.extended_refused {
            self.state.refresh.extended_refused = true;
            self.ask_otherwise(path, now);
        } else if is_transition(sense) {
            self.enter_transition(path, sense, now);
            self.note_contradiction(path);
            self.try_next_path(path, now);
        } else if sense.key == SenseKey::UnitAttention {
            self.take_attention(path, sense, now);
        } else if refused {
            // The extended header may have been refused for the same reason: ask for it again
            // when something changed.
            self.state.refresh.extended_refused = false;
            self.give_up_path(path, RefreshError::Unsupported(sense.into()), now);
        } else {
            self.give_up_path(path, RefreshError::Sense(sense.into()), now);
        }
    }

    fn take_attention(&mut self, path: PathId, sense: &Sense, now: Time) {
        let delay = self.state.config.retry_ms;
        let Some(pass) = self.state.refresh.pass_mut() else { return };
        // It may tell of a transition that begins.
        pass.ready = false;
        pass.attentions = pass.attentions.saturating_add(1);
        let attentions = pass.attentions;
        if attentions > ATTENTIONS_MAX {
            return self.give_up_path(path, RefreshError::Attentions(sense.into()), now);
        }
        let at = if attentions <= ATTENTIONS_AT_ONCE { now } else { now.after(delay) };
        self.go_on(Step::Report(path), at);
    }

    fn judge_report(&mut self, path: PathId, sent: Time, data: &[u8], now: Time) {
        if !self.is_trusted(path) {
            return self.give_up_path(path, RefreshError::IdentityInDoubt, now);
        }
        let needed = match Report::needed_length(data) {
            Ok(needed) => needed,
            Err(error) => return self.give_up_path(path, RefreshError::Malformed(error), now),
        };
        if needed > self.state.refresh.report_bytes {
            return self.grow(path, needed, now);
        }
        let parsed = Report::parse(data).and_then(|report| {
            self.check_listed_once(&report)?;
            Ok(report)
        });
        match parsed {
            Ok(report) => {
                let changed = self.apply_report(&report, path, sent, now);
                self.note_contradiction(path);
                for path in self.paths.iter_mut() {
                    path.marks.clear(Mark::SaidNotYet);
                }
                let refresh = &mut self.state.refresh;
                let (pass, format) = (refresh.pass, report.format());
                refresh.report = Some(LastReport { path, at: now, pass, format });
                if let Some(place) = self.path_mut(path) {
                    // What it told since the report was asked for may be newer.
                    place.attention_after.take_if(|after| after.get() != pass);
                    place.forget_transition();
                    place.marks.set(Mark::Drained);
                }
                self.end_pass(PassEnd::Read(changed), now);
            }
            Err(error) => self.give_up_path(path, RefreshError::Malformed(error), now),
        }
    }

    /// Counts it where a path that answered as if it were in no transition is in one after all.
    fn note_contradiction(&mut self, path: PathId) {
        if !self.state.refresh.is_ready() {
            return;
        }
        if let Some(group) = self.group_mut_of(path).filter(|group| group.is_in_transition()) {
            group.contradictions = group.contradictions.saturating_add(1);
        }
    }

    /// The report did not fit: again with a buffer that it fits into, within limits.
    fn grow(&mut self, path: PathId, needed: u32, now: Time) {
        if needed > REPORT_BYTES_MAX {
            return self.give_up_path(path, RefreshError::TooLong(needed), now);
        }
        let Some(pass) = self.state.refresh.pass_mut() else { return };
        if pass.growths >= GROWTH_STEPS_MAX {
            return self.give_up_path(path, RefreshError::KeepsGrowing(needed), now);
        }
        pass.growths = pass.growths.saturating_add(1);
        self.state.refresh.report_bytes = needed;
        self.ask_otherwise(path, now);
    }

    /// A report again, by another command: with another header, or into a longer buffer.
    fn ask_otherwise(&mut self, path: PathId, now: Time) {
        self.go_on(Step::Report(path), now);
        if let Some(pass) = self.state.refresh.pass_mut() {
            pass.asked = None;
        }
    }

    /// The command was not started: the same step again later, on another path when that does not
    /// end.
    fn resend(&mut self, path: PathId, error: RefreshError, now: Time) {
        let at = now.after(self.state.config.retry_ms);
        let Some(pass) = self.state.refresh.pass_mut() else { return };
        // Who looks for an end first asks somebody else.
        let looks = pass.inside || pass.put_off && matches!(pass.step, Step::TestReady(_));
        if pass.resends >= RESENDS_MAX || looks {
            return self.give_up_path(path, error, now);
        }
        pass.resends = pass.resends.saturating_add(1);
        pass.at = at;
    }

    pub(super) fn go_on(&mut self, step: Step, at: Time) {
        if let Some(pass) = self.state.refresh.pass_mut() {
            pass.step = step;
            pass.at = at;
        }
    }
}

fn error_of(status: Status, sense: Option<&Sense>) -> RefreshError {
    sense.map_or(RefreshError::Status(status), |sense| RefreshError::Sense(SenseCode::from(sense)))
}
