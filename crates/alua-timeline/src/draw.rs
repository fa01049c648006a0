//! The drawing: where things are, in pixels, and how they look.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::bins::{Run, Window};
use crate::load::Bin;
use crate::text::{duration, escape};
use crate::{Mark, ROWS_MAX, Row, SLICES, Span, State, Timeline};

const WIDTH: usize = 1_200;
/// Left of the plot: names.
const LEFT: usize = 160;
const SLICE_WIDTH: usize = 4;
const PLOT: usize = SLICES * SLICE_WIDTH;
const ROW_HEIGHT: usize = 22;
const GROUP_HEIGHT: usize = 22;
/// Lines of mark labels above the rows.
const LANES: usize = 4;
const LANE_HEIGHT: usize = 14;
const CHART: usize = 84;
/// The mean width of a letter of a label.
const LETTER: usize = 6;
/// Marks of one line that its tooltip names.
const TITLE: usize = 6;
/// A run gets its letter from this width on.
const LETTER_SLICES: usize = 3;
/// Times on the axis of request times: decades, in nanoseconds.
const TIME_MIN: f64 = 1e5;
const TIME_MAX: f64 = 1e11;

const STYLE: &str = "\
text{font:11px 'DejaVu Sans',Verdana,sans-serif;fill:#24292f}\
.t{font-size:15px;font-weight:bold}.g{font-weight:bold}.d{fill:#57606a}.e{text-anchor:end}\
.m{text-anchor:middle}.l{text-anchor:middle;font-weight:bold;font-size:10px}\
.w{fill:#fff}.o{paint-order:stroke;stroke:#fff;stroke-width:4px}.k{stroke:#24292f;stroke-dasharray:2 3;opacity:.55}.x{stroke:#d0d7de}";

const fn colour(state: State) -> &'static str {
    // Apart for those who see few colours, by Okabe and Ito; the letter says it too.
    match state {
        State::ActiveOptimized => "#009e73",
        State::ActiveNonOptimized => "#56b4e9",
        State::Standby => "#f0e442",
        State::Unavailable => "#d55e00",
        State::LbaDependent => "#cc79a7",
        State::Offline => "#57606a",
        State::Transitioning => "#e69f00",
        State::Unknown => "#d0d7de",
    }
}

/// A picture on its way.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    timeline: &'a Timeline,
    window: Window,
    out: String,
}

impl<'a> Picture<'a> {
    pub(crate) fn new(timeline: &'a Timeline) -> Self {
        Self { timeline, window: Window::new(timeline), out: String::new() }
    }

    pub(crate) fn draw(mut self) -> String {
        let groups = self.groups();
        let rows: usize = groups.iter().map(|(_, rows)| rows.len()).sum();
        let top = 60 + LANES * LANE_HEIGHT;
        let hidden = usize::from(self.timeline.rows.len() > rows);
        let charts = top + groups.len() * GROUP_HEIGHT + (rows + hidden) * ROW_HEIGHT + 14;
        let bottom = charts + 2 * CHART + 30;
        let height = bottom + 74;
        self.head(height);
        self.axis(top, bottom);
        self.stalls_and_requests(charts);
        self.rows(&groups, top);
        self.marks(top, bottom);
        self.legend(bottom + 38);
        self.out.push_str("</svg>\n");
        self.out
    }

    // Writing to a string does not fail, here and below.
    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(what);
        self.out.push('\n');
    }

    /// The rows that are drawn, by group, in the order in which the groups come first.
    fn groups(&self) -> Vec<(&'a str, Vec<&'a Row>)> {
        let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
        for row in self.timeline.rows.iter().take(ROWS_MAX) {
            match groups.iter_mut().find(|(name, _)| *name == row.group) {
                Some((_, rows)) => rows.push(row),
                None => groups.push((&row.group, vec![row])),
            }
        }
        groups
    }

    fn head(&mut self, height: usize) {
        let title = escape(&self.timeline.title, 48);
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n<defs><pattern id=\"h\" width=\"6\" height=\"6\" \
             patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <rect width=\"3\" height=\"6\" fill=\"#fff\" opacity=\".75\"/></pattern></defs>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text class=\"t\" x=\"16\" y=\"26\">{title}</text>"
        ));
        if !self.timeline.note.is_empty() {
            let note = escape(&self.timeline.note, 120);
            let x = WIDTH - 16;
            self.put(format_args!("<text class=\"d e\" x=\"{x}\" y=\"26\">{note}</text>"));
        }
    }

    /// Lines at round times.
    fn axis(&mut self, top: usize, bottom: usize) {
        let (from, length) = (self.window.from(), self.window.length());
        let step = round_step(length);
        let mut at = from.div_ceil(step).saturating_mul(step);
        // A window has at most eleven steps; the bound holds at the end of time too.
        for _ in 0..12 {
            let since = at.saturating_sub(from);
            if at < from || since > length {
                break;
            }
            let x = LEFT as f64 + PLOT as f64 * since as f64 / length as f64;
            let text = duration(at);
            self.put(format_args!(
                "<path class=\"x\" d=\"M{x:.1} {top}V{bottom}\"/>\
                 <text class=\"m d\" x=\"{x:.1}\" y=\"{}\">{text}</text>",
                bottom + 15
            ));
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
    }

    fn rows(&mut self, groups: &[(&str, Vec<&Row>)], top: usize) {
        let mut y = top;
        for (name, rows) in groups {
            let name = escape(name, 40);
            self.put(format_args!("<text class=\"g\" x=\"16\" y=\"{}\">{name}</text>", y + 16));
            y += GROUP_HEIGHT;
            for row in rows {
                let name = escape(&row.name, 22);
                let x = LEFT - 8;
                let base = y + 14;
                self.put(format_args!("<text class=\"e\" x=\"{x}\" y=\"{base}\">{name}</text>"));
                for run in self.window.runs(&row.spans) {
                    self.run(&run, y + 1);
                }
                y += ROW_HEIGHT;
            }
        }
        let drawn: usize = groups.iter().map(|(_, rows)| rows.len()).sum();
        let hidden = self.timeline.rows.len() - drawn;
        if hidden > 0 {
            let base = y + 14;
            self.put(format_args!(
                "<text class=\"d\" x=\"16\" y=\"{base}\">and {hidden} more paths, not drawn</text>"
            ));
        }
    }

    fn run(&mut self, run: &Run, y: usize) {
        let x = LEFT + run.first * SLICE_WIDTH;
        let width = (run.end - run.first) * SLICE_WIDTH;
        let letter = (run.end - run.first >= LETTER_SLICES).then(|| run.state.letter());
        self.bar(x, y, width, (run.state, run.used), letter);
    }

    fn bar(&mut self, x: usize, y: usize, width: usize, is: (State, bool), letter: Option<char>) {
        let (state, used) = is;
        let fill = colour(state);
        let height = ROW_HEIGHT - 4;
        let size = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        self.put(format_args!("<rect {size} fill=\"{fill}\"/>"));
        if !used {
            self.put(format_args!("<rect {size} fill=\"url(#h)\"/>"));
        }
        if let Some(letter) = letter {
            let white = used && matches!(state, State::ActiveOptimized | State::Offline);
            let class = match (used, white) {
                (false, _) => "l o",
                (true, true) => "l w",
                (true, false) => "l",
            };
            let (x, y) = (x + width / 2, y + 13);
            self.put(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{letter}</text>"));
        }
    }

    fn stalls_and_requests(&mut self, top: usize) {
        let done =
            self.window.done(&self.timeline.requests, &self.timeline.load, self.timeline.stall);
        let base = top + CHART - 8;
        let mut at = 0;
        while at < SLICES {
            let end = (at..SLICES).find(|&it| !done[it].stalled).unwrap_or(SLICES);
            if end > at {
                let (x, width) = (LEFT + at * SLICE_WIDTH, (end - at) * SLICE_WIDTH);
                let height = 2 * CHART;
                self.put(format_args!(
                    "<rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" \
                     fill=\"#d55e00\" opacity=\".13\"/>"
                ));
            }
            at = end + 1;
        }
        self.bars(&done, base);
        self.times(&done, base + 16);
    }

    /// Requests done, failed ones on top.
    fn bars(&mut self, done: &[Bin], base: usize) {
        let most = done.iter().map(|it| it.good + it.failed).max().unwrap_or(0);
        let slice = duration(self.window.length() / SLICES as u64);
        self.put(format_args!(
            "<text class=\"g\" x=\"16\" y=\"{}\">requests done</text>\
             <text class=\"d\" x=\"16\" y=\"{}\">per {slice}</text>\
             <text class=\"d e\" x=\"{}\" y=\"{}\">{most}</text>\
             <path class=\"x\" d=\"M{LEFT} {base}h{PLOT}\"/>",
            base - 42,
            base - 28,
            LEFT - 8,
            base - CHART + 24
        ));
        let scale = (CHART - 16) as f64 / most.max(1) as f64;
        for (at, it) in done.iter().enumerate() {
            let x = LEFT + at * SLICE_WIDTH;
            let good = it.good as f64 * scale;
            let failed = it.failed as f64 * scale;
            let mut top = base as f64;
            for (height, fill) in [(good, "#4878a8"), (failed, "#b30000")] {
                if height > 0.0 {
                    top -= height;
                    self.put(format_args!(
                        "<rect x=\"{x}\" y=\"{top:.1}\" width=\"3\" height=\"{height:.1}\" \
                         fill=\"{fill}\"/>"
                    ));
                }
            }
        }
    }

    /// The longest request of each slice, on a logarithmic axis.
    fn times(&mut self, done: &[Bin], top: usize) {
        let base = top + CHART - 16;
        self.put(format_args!(
            "<text class=\"g\" x=\"16\" y=\"{}\">longest request</text>",
            top + 26
        ));
        let longest = done.iter().map(|it| it.longest).max().unwrap_or(0) as f64;
        let decades = (longest / TIME_MIN).max(10.0).log10().ceil();
        let decades = decades.min((TIME_MAX / TIME_MIN).log10());
        let high = (base - top) as f64;
        for decade in 0..=decades as u32 {
            let y = base as f64 - high * f64::from(decade) / decades;
            let text = duration(100_000 * 10_u64.pow(decade));
            self.put(format_args!(
                "<path class=\"x\" d=\"M{LEFT} {y:.1}h{PLOT}\"/>\
                 <text class=\"d e\" x=\"{}\" y=\"{:.1}\" style=\"font-size:9px\">{text}</text>",
                LEFT - 8,
                y + 3.0
            ));
        }
        for (at, it) in done.iter().enumerate().filter(|(_, it)| it.longest > 0) {
            let part = (it.longest as f64 / TIME_MIN).log10().clamp(0.0, decades) / decades;
            let (x, y) = (LEFT + at * SLICE_WIDTH + 2, base as f64 - high * part);
            let stalled = it.longest >= self.timeline.stall.max(1);
            let (size, fill) = if stalled { ("3", "#b30000") } else { ("1.6", "#4878a8") };
            self.put(format_args!(
                "<circle cx=\"{x}\" cy=\"{y:.1}\" r=\"{size}\" fill=\"{fill}\"/>"
            ));
        }
    }

    /// Upright lines, one a slice at most; labels where there is room.
    fn marks(&mut self, top: usize, bottom: usize) {
        let mut slices: BTreeMap<usize, Vec<&Mark>> = BTreeMap::new();
        for mark in &self.timeline.marks {
            if let Some(at) = self.window.slice(mark.at) {
                slices.entry(at).or_default().push(mark);
            }
        }
        let mut ends = [0; LANES];
        for (at, mut marks) in slices {
            marks.sort_by_key(|mark| mark.at);
            let more = marks.len() - 1;
            let mut text = escape(&marks[0].text, 26);
            let mut letters = marks[0].text.chars().count().min(27);
            if more > 0 {
                let _ = write!(text, " +{more}");
                letters += 5;
            }
            let x = LEFT + at * SLICE_WIDTH + 2;
            let width = letters * LETTER + 8;
            // At the right edge a label stands to the left of its line.
            let turned = x + width > WIDTH - 4;
            let begin = if turned { x.saturating_sub(width) } else { x };
            let lane = ends.iter().position(|&end| end <= begin);
            let line = lane.map_or(top - 6, |lane| top - 16 - lane * LANE_HEIGHT);
            let line_at = format!("<path class=\"k\" d=\"M{x} {line}V{bottom}\"");
            if more == 0 {
                self.put(format_args!("{line_at}/>"));
            } else {
                // Whoever points at the line reads them.
                let texts = marks.iter().take(TITLE).map(|mark| escape(&mark.text, 26));
                let mut texts = texts.collect::<Vec<_>>().join("; ");
                if marks.len() > TITLE {
                    texts.push_str("; ...");
                }
                self.put(format_args!("{line_at}><title>{texts}</title></path>"));
            }
            let Some(lane) = lane else { continue };
            ends[lane] = begin + width;
            let (x, class) = if turned { (x - 3, "e") } else { (x + 3, "") };
            let y = line + 7;
            self.put(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>"));
        }
    }

    /// The states that occur, and the signs.
    fn legend(&mut self, y: usize) {
        let mut x = 16;
        let spans = || self.timeline.rows.iter().flat_map(|row| &row.spans);
        let (from, to) = (self.timeline.from, self.timeline.to);
        let shown = |span: &Span, state| span.state == state && span.from < to && span.to > from;
        let met: Vec<State> =
            State::ALL.into_iter().filter(|&it| spans().any(|span| shown(span, it))).collect();
        for state in met {
            self.bar(x, y, 22, (state, true), Some(state.letter()));
            let name = state.name();
            self.put(format_args!("<text x=\"{}\" y=\"{}\">{name}</text>", x + 28, y + 13));
            x += 28 + name.len() * 7 + 18;
        }
        self.bar(x, y, 22, (State::ActiveNonOptimized, false), None);
        self.put(format_args!("<text x=\"{}\" y=\"{}\">not used</text>", x + 28, y + 13));
        x += 110;
        let stall = duration(self.timeline.stall);
        self.put(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"22\" height=\"18\" fill=\"#d55e00\" opacity=\".2\"/>\
             <text x=\"{}\" y=\"{}\">a request waits {stall} or more</text>",
            x + 28,
            y + 13
        ));
        self.put(format_args!(
            "<rect x=\"{x}\" y=\"{}\" width=\"3\" height=\"10\" fill=\"#b30000\"/>\
             <text x=\"{}\" y=\"{}\">failed requests</text>",
            y + 22,
            x + 28,
            y + 31
        ));
    }
}

/// The time between two lines of the axis: 1, 2 or 5 times a power of ten, ten lines at most.
fn round_step(length: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let step = power.saturating_mul(factor);
            if length / step <= 10 {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_few_lines_at_round_times() {
        assert_eq!([1, 10, 11, 34_000_000_000].map(round_step), [1, 1, 2, 5_000_000_000]);
        assert!(u64::MAX / round_step(u64::MAX) <= 10);
    }
}
