//! What is made of a run of the demo: whether every byte was right and no request failed, for people,
//! for programs, and as the exit status.

use std::time::Duration;

use serde::Serialize;

use super::device::{Act, END};
use super::load::{Done, Found};
use crate::cli::Global;
use crate::commands::print;
use crate::error::Error;
use crate::exit::Exit;
use crate::render::json;
use crate::render::style::{BAD, GOOD, paint};
use crate::view::{SCHEMA, SchemaVersion};

/// One time between two events, for people and programs.
#[derive(Debug, Serialize)]
struct Phase {
    event: &'static str,
    at_ms: u64,
    requests: usize,
    p999_us: u64,
    worst_us: u64,
}

#[derive(Debug, Serialize)]
struct Trial {
    schema_version: SchemaVersion,
    phases: Vec<Phase>,
    requests: usize,
    errors: usize,
    compared_bytes: u64,
    wrong_bytes: u64,
    exit_code: u8,
}

/// How a run was.
pub(super) struct Verdict {
    trial: Trial,
    /// What was not as it must be, in words.
    wrong: Vec<String>,
    exit: Exit,
}

impl Verdict {
    /// Judges a run that ended at `end`, of whose plot so much happened; `wrong` is what is known
    /// already to have gone wrong.
    pub(super) fn of(
        plot: &[&Act],
        found: &[Found],
        done: &[Done],
        end: Duration,
        mut wrong: Vec<String>,
    ) -> Self {
        let errors = done.iter().filter(|it| it.failed).count();
        let wrong_bytes: u64 = found.iter().map(|it| it.wrong).sum();
        let compared_bytes: u64 = found.iter().map(|it| it.compared).sum();
        if wrong_bytes > 0 {
            wrong.push(format!("{wrong_bytes} bytes were not what was written"));
        }
        if errors > 0 {
            wrong.push(format!("{errors} requests failed"));
        }
        if compared_bytes == 0 {
            wrong.push("nothing was read back".to_owned());
        }
        if end < END {
            let ended =
                format!("interrupted after {:.1} s of {}", end.as_secs_f64(), END.as_secs());
            wrong.push(ended);
        }
        let phases = phases(plot, done);
        for phase in phases.iter().filter(|phase| phase.requests == 0) {
            wrong.push(format!("no request ended after: {}", phase.event));
        }
        let exit = if wrong.is_empty() { Exit::Good } else { Exit::Expectation };
        let trial = Trial {
            schema_version: SCHEMA,
            phases,
            requests: done.len(),
            errors,
            compared_bytes,
            wrong_bytes,
            exit_code: exit.code(),
        };
        Self { trial, wrong, exit }
    }

    /// Prints it, and gives the exit status.
    pub(super) fn tell(self, global: &Global) -> Result<Exit, Error> {
        if global.json {
            print(&json::text(&self.trial)?)?;
            return Ok(self.exit);
        }
        print(&self.text())?;
        self.end()
    }

    /// The exit status, with what went wrong in words.
    fn end(self) -> Result<Exit, Error> {
        if self.wrong.is_empty() { Ok(self.exit) } else { Err(Error::Expectation(self.wrong)) }
    }

    fn text(&self) -> String {
        let Trial { phases, requests, errors, compared_bytes, wrong_bytes, .. } = &self.trial;
        let mut out = format!(
            "\n{:<40} {:>9} {:>11} {:>11}\n",
            "from this event to the next", "requests", "p99.9 ms", "worst ms"
        );
        for phase in phases {
            out.push_str(&format!(
                "{:<40} {:>9} {:>11.1} {:>11.1}\n",
                phase.event,
                phase.requests,
                phase.p999_us as f64 / 1e3,
                phase.worst_us as f64 / 1e3
            ));
        }
        let mark = |good: bool| if good { paint(GOOD, "yes") } else { paint(BAD, "NO ") };
        let mebibytes = *compared_bytes as f64 / f64::from(1 << 20);
        out.push_str(&format!(
            "\n  {}  {requests} requests, {errors} errors\n  {}  {mebibytes:.1} MiB read back, \
             {wrong_bytes} wrong bytes\n",
            mark(*errors == 0),
            mark(*wrong_bytes == 0 && *compared_bytes > 0),
        ));
        out
    }
}

/// The requests that ended between each event and the next.
fn phases(plot: &[&Act], done: &[Done]) -> Vec<Phase> {
    let first = Act { at_ms: 0, text: "reads and writes, nothing happens", events: Vec::new() };
    let acts: Vec<&Act> = std::iter::once(&first).chain(plot.iter().copied()).collect();
    acts.iter()
        .enumerate()
        .map(|(at, act)| {
            let from = Duration::from_millis(act.at_ms);
            let to =
                acts.get(at + 1).map_or(Duration::MAX, |next| Duration::from_millis(next.at_ms));
            // A request that an event held up belongs to that event.
            let ended = |it: &&Done| (from..to).contains(&(it.begun + it.took));
            let mut took: Vec<Duration> = done.iter().filter(ended).map(|it| it.took).collect();
            took.sort_unstable();
            let micros = |it: Option<&Duration>| {
                it.map_or(0, |it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX))
            };
            let p999 = took.get((took.len() * 999 / 1000).min(took.len().saturating_sub(1)));
            Phase {
                event: act.text,
                at_ms: act.at_ms,
                requests: took.len(),
                p999_us: micros(p999),
                worst_us: micros(took.last()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::device::plot;
    use super::*;

    fn done(begun_ms: u64, took_ms: u64) -> Done {
        let millis = Duration::from_millis;
        Done { begun: millis(begun_ms), took: millis(took_ms), failed: false }
    }

    #[test]
    fn a_request_that_an_event_held_up_counts_for_that_event() {
        let plot = plot();
        let plot: Vec<&Act> = plot.iter().collect();
        let phases = phases(&plot, &[done(10, 1), done(990, 2_100), done(5_000, 1)]);
        let counts: Vec<usize> = phases.iter().map(|phase| phase.requests).collect();
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(phases[1].worst_us, 2_100_000);
    }

    /// A run of two workers in which a request ended after each event, with what `change` makes of
    /// it: the two lines that say yes or no, what went wrong, and the exit status.
    fn judged(
        end: Duration,
        change: impl FnOnce(&mut Vec<Found>, &mut Vec<Done>, &mut Vec<String>),
    ) -> (Vec<String>, Vec<String>, u8) {
        let plot = plot();
        let plot: Vec<&Act> = plot.iter().collect();
        let mut ended: Vec<Done> = plot.iter().map(|act| done(act.at_ms + 1, 1)).collect();
        ended.push(done(1, 1));
        let worker = || Found { compared: 1 << 20, ..Found::default() };
        let (mut found, mut wrong) = (vec![worker(), worker()], Vec::new());
        change(&mut found, &mut ended, &mut wrong);
        let verdict = Verdict::of(&plot, &found, &ended, end, wrong);
        let told = anstream::adapter::strip_str(&verdict.text()).to_string();
        let said = told.lines().rev().take(2).map(str::to_owned).collect::<Vec<_>>();
        let (code, shown) = (verdict.exit.code(), verdict.trial.exit_code);
        assert_eq!(code, shown, "the document tells the exit status");
        let (ended_with, wrong) = match verdict.end() {
            Ok(exit) => (exit, Vec::new()),
            Err(error) => (error.exit(), vec![error.to_string()]),
        };
        assert_eq!(ended_with.code(), code, "people and programs get the same exit status");
        (said.into_iter().rev().collect(), wrong, code)
    }

    #[test]
    fn a_run_without_an_error_is_good() {
        let (said, wrong, code) = judged(END, |_, _, _| {});
        assert_eq!(
            said,
            ["  yes  8 requests, 0 errors", "  yes  2.0 MiB read back, 0 wrong bytes"]
        );
        assert_eq!((wrong.len(), code), (0, 0));
    }

    #[test]
    fn one_wrong_byte_is_told_and_is_the_exit_status() {
        let (said, wrong, code) = judged(END, |found, _, _| found[1].wrong = 1);
        assert_eq!(
            said,
            ["  yes  8 requests, 0 errors", "  NO   2.0 MiB read back, 1 wrong bytes"]
        );
        assert!(wrong[0].contains("1 bytes were not what was written"), "{wrong:?}");
        assert_eq!(code, 107);
    }

    #[test]
    fn one_failed_request_is_told_and_is_the_exit_status() {
        let (said, wrong, code) = judged(END, |_, done, _| done[3].failed = true);
        assert_eq!(
            said,
            ["  NO   8 requests, 1 errors", "  yes  2.0 MiB read back, 0 wrong bytes"]
        );
        assert!(wrong[0].contains("1 requests failed"), "{wrong:?}");
        assert_eq!(code, 107);
    }

    #[test]
    fn what_shows_nothing_is_not_good_either() {
        let (said, wrong, code) = judged(END, |found, _, _| found.clear());
        assert!(said[1].starts_with("  NO ") && wrong[0].contains("nothing was read back"));
        assert_eq!(code, 107);
        let (_, wrong, code) = judged(END, |_, done, _| done.truncate(7));
        assert!(wrong[0].contains("no request ended after: reads and writes"), "{wrong:?}");
        assert_eq!(code, 107);
        let (_, wrong, code) = judged(END - Duration::from_millis(100), |_, _, _| {});
        assert!(wrong[0].contains("interrupted after 14.9 s of 15"), "{wrong:?}");
        assert_eq!(code, 107);
        let (said, wrong, code) = judged(END, |_, _, wrong| wrong.push("a worker died".to_owned()));
        assert!(said.iter().all(|line| line.starts_with("  yes")), "{said:?}");
        assert!(wrong[0].contains("a worker died") && code == 107, "{wrong:?}");
    }
}
