//! What a picture of a run needs, collected beside the run: nothing here acts on it, draws a random
//! number or writes a line of the trace.

use std::collections::BTreeMap;

use alua_multipath::Time;
use alua_timeline::{Mark, Request, Row, Timeline};

use crate::host::Host;

/// A request that takes so long has stalled, for a picture.
const STALL_NS: u64 = 100_000_000;
/// How much of the quiet before the reckoning is drawn.
const QUIET_NS: u64 = 500_000_000;
/// The mark of the last phase.
pub(crate) const RECKONING: &str = "reckoning";

/// Collects.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// By host and port, so that a path that is removed and added again stays on its row.
    rows: BTreeMap<(usize, u16), Row>,
    requests: Vec<Request>,
    marks: Vec<Mark>,
}

impl Picture {
    /// Looks at every path as its engine sees it.
    pub(crate) fn look(&mut self, hosts: &[Host], now: Time) {
        let at = now.as_nanos();
        let mut seen = Vec::new();
        for (place, host) in hosts.iter().enumerate() {
            for path in &host.paths {
                let Some(view) = host.engine.view(path.id) else { continue };
                seen.push((place, path.port));
                let row = self.rows.entry((place, path.port)).or_insert_with(|| {
                    let group = view.group.map_or("no group".to_owned(), |it| it.to_string());
                    let group = format!("{}, port group {group}", host.name);
                    Row::new(group, format!("port {}", path.port))
                });
                row.note(at, Some((view.state.into(), view.used)));
            }
        }
        for (key, row) in &mut self.rows {
            if !seen.contains(key) {
                row.note(at, None);
            }
        }
    }

    pub(crate) fn ended(&mut self, submitted: Time, now: Time, failed: bool) {
        let (submitted, ended) = (submitted.as_nanos(), now.as_nanos());
        self.requests.push(Request { submitted, ended, failed });
    }

    pub(crate) fn mark(&mut self, now: Time, what: &str) {
        self.marks.push(Mark { at: now.as_nanos(), text: what.to_owned() });
    }

    /// The run as far as something happens: the reckoning begins with a long quiet.
    pub(crate) fn finish(self, seed: u64, end: u64) -> Timeline {
        let Self { rows, requests, marks } = self;
        let reckoning = marks.iter().find(|mark| mark.text == RECKONING);
        let to = reckoning.map_or(end, |mark| mark.at.saturating_add(QUIET_NS).min(end));
        let title = format!("alua-sim, seed {seed}");
        let rows = rows.into_values().collect();
        let stall = STALL_NS;
        Timeline { title, to, stall, rows, requests, marks, ..Timeline::default() }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Options, run, run_drawn};

    #[test]
    fn a_run_that_is_drawn_is_the_same_run() {
        let plain = run(Options::new(5), false);
        let (report, timeline) = run_drawn(Options::new(5), false);
        assert_eq!(report.digest, plain.digest);
        assert_eq!(timeline.requests.len() as u64, plain.requests);
        let failed = timeline.requests.iter().filter(|it| it.failed).count();
        assert_eq!(failed as u64, plain.failed);
        let faults = timeline.marks.len() as u64;
        assert!(faults > plain.events, "{faults} marks: the faults, and the phases");
        assert!(!timeline.rows.is_empty());
        assert!(timeline.rows.iter().all(|row| !row.spans.is_empty()));
    }
}
