//! What lies in each slice of the picture's time.

use crate::load::{Bin, Load};
use crate::{Request, SLICES, Span, State, Timeline};

/// The window of time, cut into slices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    from: u64,
    length: u64,
}

/// What a path is in a slice; `None` where it is not there.
pub(crate) type Cell = Option<(State, bool)>;

/// A path's cells that are equal and next to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) first: usize,
    /// The slice behind the last.
    pub(crate) end: usize,
    pub(crate) state: State,
    pub(crate) used: bool,
}

impl Window {
    pub(crate) fn new(timeline: &Timeline) -> Self {
        Self { from: timeline.from, length: timeline.to.saturating_sub(timeline.from).max(1) }
    }

    pub(crate) const fn from(self) -> u64 {
        self.from
    }

    pub(crate) const fn length(self) -> u64 {
        self.length
    }

    /// The slice in which a time lies.
    pub(crate) fn slice(self, at: u64) -> Option<usize> {
        let since = at.checked_sub(self.from).filter(|&since| since < self.length)?;
        Some((u128::from(since) * SLICES as u128 / u128::from(self.length)) as usize)
    }

    /// The slices that a time from `from` up to `to` touches; empty outside the window.
    fn slices(self, from: u64, to: u64) -> std::ops::Range<usize> {
        let end = self.from.saturating_add(self.length);
        let (from, to) = (from.max(self.from), to.min(end));
        if from >= to {
            return 0..0;
        }
        match (self.slice(from), self.slice(to - 1)) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        }
    }

    /// A path's row. A slice shows the worst that it holds, so that what was short is not lost: not
    /// used before used, and of these the later one.
    pub(crate) fn runs(self, spans: &[Span]) -> Vec<Run> {
        let mut cells: [Cell; SLICES] = [None; SLICES];
        for span in spans {
            for cell in &mut cells[self.slices(span.from, span.to)] {
                if cell.is_none_or(|(_, used)| used || !span.used) {
                    *cell = Some((span.state, span.used));
                }
            }
        }
        let mut runs: Vec<Run> = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            let Some((state, used)) = *cell else { continue };
            match runs.last_mut() {
                Some(last) if last.end == at && (last.state, last.used) == (state, used) => {
                    last.end += 1;
                }
                _ => runs.push(Run { first: at, end: at + 1, state, used }),
            }
        }
        runs
    }

    /// Those of a load count in the slice in which the middle of its own slice lies.
    pub(crate) fn done(self, requests: &[Request], load: &Load, stall: u64) -> Vec<Bin> {
        let mut slices = vec![Bin::default(); SLICES];
        // How many stalled requests begin to wait in a slice, less those that no longer do.
        let mut steps = [0_i64; SLICES + 1];
        for request in requests {
            let took = request.ended.saturating_sub(request.submitted);
            if let Some(at) = self.slice(request.ended) {
                let slice = &mut slices[at];
                *if request.failed { &mut slice.failed } else { &mut slice.good } += 1;
                slice.longest = slice.longest.max(took);
            }
            if took >= stall.max(1) {
                let waits = self.slices(request.submitted, request.ended);
                steps[waits.start] += 1;
                steps[waits.end] -= 1;
            }
        }
        for (from, to, bin) in load.bins() {
            if let Some(at) = self.slice(from + (to - from) / 2) {
                slices[at] = slices[at].with(Bin { stalled: false, ..bin });
            }
            let waits = self.slices(from, to);
            if bin.stalled {
                steps[waits.start] += 1;
                steps[waits.end] -= 1;
            }
        }
        let mut waiting = 0;
        for (slice, step) in slices.iter_mut().zip(steps) {
            waiting += step;
            slice.stalled = waiting > 0;
        }
        slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: u64, to: u64) -> Window {
        Window::new(&Timeline { from, to, ..Timeline::default() })
    }

    fn span(from: u64, to: u64, used: bool) -> Span {
        Span { from, to, state: State::Standby, used }
    }

    #[test]
    fn spans_are_clipped_to_the_window() {
        let runs = window(1_000, 1_250).runs(&[span(0, 1_010, true), span(1_240, 9_999, true)]);
        let ends: Vec<_> = runs.iter().map(|run| (run.first, run.end)).collect();
        assert_eq!(ends, [(0, 10), (240, 250)]);
    }

    #[test]
    fn spans_outside_or_turned_round_are_nothing() {
        let spans = [span(0, 1_000, true), span(1_250, 2_000, true), span(1_200, 1_100, true)];
        assert_eq!(window(1_000, 1_250).runs(&spans), []);
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        let runs = window(0, u64::MAX).runs(&[span(0, u64::MAX, true)]);
        assert_eq!((runs[0].first, runs[0].end), (0, SLICES));
        assert_eq!(window(u64::MAX, 0).runs(&[span(0, u64::MAX, true)]), []);
        assert_eq!(window(5, 5).slice(5), Some(0));
    }

    #[test]
    fn what_was_short_is_shown() {
        let spans = [span(0, 5_000, true), span(5_000, 5_001, false), span(5_001, 250_000, true)];
        let runs = window(0, 250_000).runs(&spans);
        let used: Vec<_> = runs.iter().map(|run| (run.first, run.used)).collect();
        assert_eq!(used, [(0, true), (5, false), (6, true)]);
    }

    #[test]
    fn requests_count_where_they_end_and_stall_where_they_wait() {
        let requests = [
            Request { submitted: 10, ended: 20, failed: false },
            Request { submitted: 10, ended: 20, failed: true },
            Request { submitted: 100, ended: 200, failed: false },
            // Ended before it came: took no time.
            Request { submitted: 90, ended: 20, failed: false },
        ];
        let done = window(0, 250).done(&requests, &Load::default(), 50);
        let Bin { good, failed, longest, stalled } = done[20];
        assert_eq!((good, failed, longest, stalled), (2, 1, 10, false));
        let stalled: Vec<_> = (0..SLICES).filter(|&at| done[at].stalled).collect();
        assert_eq!(stalled, (100..200).collect::<Vec<_>>());
        assert_eq!(done[200].longest, 100);
        let mut load = Load::new(50);
        requests.into_iter().for_each(|request| load.add(request));
        assert_eq!(window(0, 250).done(&[], &load, 50), done, "put together they are the same");
    }
}
