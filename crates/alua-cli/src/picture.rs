//! The run of a device as a picture.
//!
//! # Contract
//!
//! - What is collected has a limit, however long the run is: [`CHANGES_MAX`] changes of paths,
//!   [`MARKS_MAX`] marks and [`ROWS_MAX`] paths, which is a few MiB. Where there are more changes or marks
//!   the older half of them is forgotten; the picture begins behind it then, and says so. Where there
//!   are more paths those that were gone longest are forgotten, and the picture says how many.
//! - The file is made at the begin and written at the end.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alua_device::Snapshot;
use alua_timeline::{Load, Mark, Request, Row, Span, Timeline};

use crate::error::Error;

/// From one look at the paths to the next.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// A request that takes so long has stalled, in nanoseconds.
pub(crate) const STALL: u64 = 100_000_000;
/// Changes of paths that are kept.
const CHANGES_MAX: usize = 65_536;
/// Marks that are kept.
const MARKS_MAX: usize = 8_192;
/// Letters of a mark that are kept; fewer are drawn.
const TEXT_MAX: usize = 64;
/// Paths that are kept: as many as a device has at one time at the most, so that each that is there
/// has its row.
const ROWS_MAX: usize = 256;

/// What the picture needs, collected while the device runs. Times are nanoseconds since its start.
#[derive(Debug)]
pub(crate) struct Picture {
    path: PathBuf,
    file: File,
    record: Record,
}

/// The paths and what happened.
#[derive(Clone, Debug, Default)]
struct Record {
    /// What was before is forgotten.
    from: u64,
    rows: Vec<Row>,
    /// Paths that had no row, or have it no more.
    paths_left_out: usize,
    marks: Vec<Mark>,
}

impl Picture {
    /// The file is made at once, so that one that cannot be written does not cost a run.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file, record: Record::default() }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Something happened.
    pub(crate) fn mark(&mut self, at: u64, text: &str) {
        self.record.mark(at, text);
    }

    /// Looks at the paths as the device sees them.
    pub(crate) fn look(&mut self, at: u64, snapshot: &Snapshot) {
        let paths = snapshot.paths.iter().map(|path| {
            let view = &path.view;
            let group = view.group.map_or("no group".to_owned(), |it| it.to_string());
            (format!("port group {group}"), &*path.label, (view.state.into(), view.used))
        });
        self.record.look(at, paths);
    }

    /// Draws it, up to `end`.
    pub(crate) fn draw(
        mut self,
        title: String,
        requests: Vec<Request>,
        load: Load,
        end: u64,
    ) -> Result<(), Error> {
        let note = self.record.left_out();
        let Record { from, rows, marks, .. } = self.record;
        let stall = STALL;
        let timeline = Timeline { title, from, to: end, stall, rows, requests, load, marks, note };
        let written = self.file.write_all(timeline.render().as_bytes());
        written.map_err(|source| Error::File { path: self.path, source })
    }
}

impl Record {
    fn mark(&mut self, at: u64, text: &str) {
        self.marks.push(Mark { at, text: text.chars().take(TEXT_MAX).collect() });
        if self.marks.len() > MARKS_MAX {
            let cut = middle(self.marks.iter().map(|mark| mark.at));
            self.forget(cut);
        }
    }

    /// Takes the paths that are there, by group and name.
    fn look<'a>(
        &mut self,
        at: u64,
        paths: impl Iterator<Item = (String, &'a str, (alua_timeline::State, bool))>,
    ) {
        let (mut seen, mut new) = (vec![false; self.rows.len()], Vec::new());
        for (group, name, is) in paths {
            match self.rows.iter().position(|row| row.name == name && row.group == group) {
                Some(place) => {
                    self.rows[place].note(at, Some(is));
                    seen[place] = true;
                }
                None => new.push((Row::new(group, name), is)),
            }
        }
        // What is gone ends first: a new path may need its row.
        for (row, _) in self.rows.iter_mut().zip(seen).filter(|(_, seen)| !seen) {
            row.note(at, None);
        }
        for (mut row, is) in new {
            row.note(at, Some(is));
            self.add(row);
        }
        if self.rows.iter().map(|row| row.spans.len()).sum::<usize>() > CHANGES_MAX {
            let spans = self.rows.iter().flat_map(|row| &row.spans);
            let cut = middle(spans.filter(|span| !is_open(span)).map(|span| span.to));
            self.forget(cut);
        }
    }

    /// Takes a new path, in the place of the one that was gone longest where there are too many.
    fn add(&mut self, row: Row) {
        if self.rows.len() < ROWS_MAX {
            self.rows.push(row);
            return;
        }
        self.paths_left_out += 1;
        let gone = |row: &&mut Row| !row.spans.last().is_some_and(is_open);
        let since = |row: &&mut Row| row.spans.last().map_or(0, |span| span.to);
        if let Some(oldest) = self.rows.iter_mut().filter(gone).min_by_key(since) {
            *oldest = row;
        }
    }

    /// What limits cut off, in words; nothing where they did not.
    fn left_out(&self) -> String {
        let seconds = Duration::from_nanos(self.from).as_secs_f64();
        let time = (self.from > 0).then(|| format!("the first {seconds:.1} s"));
        let paths = self.paths_left_out;
        let paths = (paths > 0).then(|| format!("{paths} paths that were gone"));
        let cut: Vec<String> = time.into_iter().chain(paths).collect();
        if cut.is_empty() {
            return String::new();
        }
        format!(
            "{} are left out: {CHANGES_MAX} changes, {MARKS_MAX} marks and {ROWS_MAX} paths are kept",
            cut.join(" and ")
        )
    }

    /// Forgets what was over at `cut`.
    fn forget(&mut self, cut: u64) {
        self.from = self.from.max(cut);
        for row in &mut self.rows {
            row.spans.retain(|span| span.to > cut);
        }
        self.rows.retain(|row| !row.spans.is_empty());
        self.marks.retain(|mark| mark.at >= cut);
    }
}

/// Whether it goes on.
const fn is_open(span: &Span) -> bool {
    span.to == u64::MAX
}

/// The time before which, and behind which, half of them lie.
fn middle(times: impl Iterator<Item = u64>) -> u64 {
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Nanoseconds.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use alua_timeline::State;

    use super::*;

    #[test]
    fn a_run_without_end_is_kept_within_limits_and_its_picture_says_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.svg");
        let mut picture = Picture::new(&file).unwrap();
        let end = 200_000_u64;
        for turn in 0..end {
            let is = (State::ActiveOptimized, turn % 2 == 0);
            let paths = [("port group 1".to_owned(), "sda", is)];
            picture.record.look(turn * 1_000_000, paths.into_iter());
            if turn % 4 == 0 {
                picture.mark(turn * 1_000_000, "x");
            }
        }
        let record = &picture.record;
        assert!(record.rows[0].spans.len() <= CHANGES_MAX && record.marks.len() <= MARKS_MAX);
        assert!(record.marks.len() >= MARKS_MAX / 2, "{}", record.marks.len());
        assert!(record.marks.iter().all(|mark| mark.at >= record.from));
        let from = format!("{:.1}", record.from as f64 / 1e9);
        picture.draw("t".to_owned(), Vec::new(), Load::new(STALL), end * 1_000_000).unwrap();
        let drawn = std::fs::read_to_string(&file).unwrap();
        assert!(drawn.contains(&format!("the first {from} s are left out: 65536 changes")));
    }

    #[test]
    fn a_path_that_goes_and_comes_back_stays_on_its_row() {
        let mut record = Record::default();
        let is = (State::ActiveOptimized, true);
        let there = || [("port group 1".to_owned(), "sda", is)].into_iter();
        record.look(0, there());
        record.look(10, std::iter::empty());
        record.look(20, there());
        let spans: Vec<_> = record.rows[0].spans.iter().map(|it| (it.from, it.to)).collect();
        assert_eq!((record.rows.len(), spans), (1, vec![(0, 10), (20, u64::MAX)]));
    }
    #[test]
    fn of_too_many_paths_those_that_were_gone_longest_make_way_and_the_picture_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.svg");
        let mut picture = Picture::new(&file).unwrap();
        let is = (State::ActiveOptimized, true);
        // One stays, the others come one after another and go.
        for turn in 0..300_u64 {
            let name = format!("disk{turn}");
            let paths = ["stays", &*name].map(|name| ("port group 1".to_owned(), name, is));
            picture.record.look(turn * 1_000_000, paths.into_iter());
        }
        let names: Vec<&str> = picture.record.rows.iter().map(|row| &*row.name).collect();
        assert_eq!((names.len(), names[0]), (ROWS_MAX, "stays"));
        assert_eq!(picture.record.rows[0].spans.len(), 1);
        let kept = |turn: usize| names.contains(&&*format!("disk{turn}"));
        assert!((0..300).all(|turn| kept(turn) == (turn >= 300 - 255)), "{names:?}");
        picture.draw("t".to_owned(), Vec::new(), Load::new(STALL), 300_000_000).unwrap();
        let drawn = std::fs::read_to_string(&file).unwrap();
        let says = "45 paths that were gone are left out: 65536 changes, 8192 marks and 256 paths";
        assert!(drawn.contains(says), "{drawn}");
    }

    #[test]
    fn as_many_paths_as_a_device_may_have_are_kept_when_all_are_exchanged_at_once() {
        let mut record = Record::default();
        let is = (State::ActiveOptimized, true);
        for round in 0..2_u64 {
            let names: Vec<String> = (0..ROWS_MAX).map(|n| format!("disk{round}-{n}")).collect();
            let paths = names.iter().map(|name| ("port group 1".to_owned(), &**name, is));
            record.look(round * 1_000_000, paths);
            assert!(record.rows.iter().all(|row| names.contains(&row.name)));
            assert_eq!(record.rows.len(), ROWS_MAX);
        }
        assert_eq!(record.paths_left_out, ROWS_MAX);
    }
}
