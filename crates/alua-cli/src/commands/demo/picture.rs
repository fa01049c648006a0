//! The run of the demo as a picture.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alua_device::Snapshot;
use alua_timeline::{Mark, Request, Row, Timeline};

use super::load::Done;
use crate::error::Error;

/// From one look at the paths to the next.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// A request that takes so long has stalled.
const STALL: Duration = Duration::from_millis(100);

/// What the picture needs, collected while the demo runs.
#[derive(Debug)]
pub(super) struct Picture {
    path: PathBuf,
    file: File,
    rows: Vec<Row>,
    marks: Vec<Mark>,
}

impl Picture {
    /// The file is made at once, so that one that cannot be written does not cost a run.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file, rows: Vec::new(), marks: Vec::new() }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    pub(super) fn mark(&mut self, now: Duration, text: &str) {
        self.marks.push(Mark { at: nanos(now), text: text.to_owned() });
    }

    /// Looks at the paths as the device sees them.
    pub(super) fn look(&mut self, now: Duration, snapshot: &Snapshot) {
        for path in &snapshot.paths {
            let view = &path.view;
            let place = self.rows.iter().position(|row| row.name == path.label);
            let row = match place {
                Some(place) => &mut self.rows[place],
                None => {
                    let group = view.group.map_or("no group".to_owned(), |it| it.to_string());
                    self.rows.push(Row::new(format!("port group {group}"), path.label.clone()));
                    let last = self.rows.len() - 1;
                    &mut self.rows[last]
                }
            };
            row.note(nanos(now), Some((view.state.into(), view.used)));
        }
    }

    /// Draws it, with the requests that ended until `end`.
    pub(super) fn draw(mut self, done: &[Done], end: Duration) -> Result<(), Error> {
        let requests = done.iter().map(|it| Request {
            submitted: nanos(it.begun),
            ended: nanos(it.begun + it.took),
            failed: it.failed,
        });
        let timeline = Timeline {
            title: "alua demo".to_owned(),
            from: 0,
            to: nanos(end),
            stall: nanos(STALL),
            rows: self.rows,
            requests: requests.collect(),
            marks: self.marks,
        };
        let written = self.file.write_all(timeline.render().as_bytes());
        written.map_err(|source| Error::File { path: self.path, source })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
