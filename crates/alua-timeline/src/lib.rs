//! Draws a run of a multipath device as one SVG picture.
//!
//! Time goes from left to right. Each path is a row, under the name of its target port group; its
//! colour and its letter are the access state, hatching says that the next I/O does not go down it.
//! Below, on the same axis: requests done per slice of time, the longest of each slice, and the
//! times in which a request stalled. Upright lines are what was done to the run.
//!
//! The picture is as large for a day as for a second: everything is put into columns of
//! [`SLICES`] first, and rows, marks and texts have limits of their own. A limit that cuts
//! something off says so in the picture. A run whose length is not known takes a [`Load`] for its
//! requests. No input panics: spans outside the window, turned round
//! or overlapping are clipped.
//!
//! ```
//! use alua_timeline::{Mark, Request, Row, Span, State, Timeline};
//!
//! const MS: u64 = 1_000_000;
//! let mut row = Row::new("group 1", "port 1");
//! row.spans.push(Span { from: 0, to: 40 * MS, state: State::ActiveOptimized, used: true });
//! row.spans.push(Span { from: 40 * MS, to: 100 * MS, state: State::Standby, used: false });
//! let picture = Timeline {
//!     title: "a controller goes".to_owned(),
//!     from: 0,
//!     to: 100 * MS,
//!     stall: 20 * MS,
//!     rows: vec![row],
//!     requests: vec![Request { submitted: 35 * MS, ended: 61 * MS, failed: false }],
//!     marks: vec![Mark { at: 40 * MS, text: "controller crash".to_owned() }],
//!     ..Timeline::default()
//! };
//! assert!(picture.render().starts_with("<svg "));
//! ```
#![forbid(unsafe_code)]

mod bins;
mod draw;
mod load;
mod text;

use alua_core::access::AccessState;

pub use load::Load;

/// Columns of the picture: slices of time of equal length.
pub const SLICES: usize = 250;
/// Rows that are drawn; the picture says how many more there are.
pub const ROWS_MAX: usize = 64;

/// An access state, as SPC-5 has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// 0h, active/optimized.
    ActiveOptimized,
    /// 1h, active/non-optimized.
    ActiveNonOptimized,
    /// 2h, standby.
    Standby,
    /// 3h, unavailable.
    Unavailable,
    /// 4h, logical block dependent.
    LbaDependent,
    /// Eh, offline.
    Offline,
    /// Fh, transitioning.
    Transitioning,
    /// Reserved, or not known yet.
    Unknown,
}

impl State {
    /// Every state, in the order of the legend.
    pub const ALL: [Self; 8] = [
        Self::ActiveOptimized,
        Self::ActiveNonOptimized,
        Self::Standby,
        Self::Unavailable,
        Self::LbaDependent,
        Self::Offline,
        Self::Transitioning,
        Self::Unknown,
    ];

    /// The letter by which the kernel's log names it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::ActiveOptimized => 'A',
            Self::ActiveNonOptimized => 'N',
            Self::Standby => 'S',
            Self::Unavailable => 'U',
            Self::LbaDependent => 'L',
            Self::Offline => 'O',
            Self::Transitioning => 'T',
            Self::Unknown => 'X',
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActiveOptimized => "active/optimized",
            Self::ActiveNonOptimized => "active/non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::LbaDependent => "LBA dependent",
            Self::Offline => "offline",
            Self::Transitioning => "transitioning",
            Self::Unknown => "not known",
        }
    }
}

impl From<Option<AccessState>> for State {
    fn from(state: Option<AccessState>) -> Self {
        match state {
            Some(AccessState::ActiveOptimized) => Self::ActiveOptimized,
            Some(AccessState::ActiveNonOptimized) => Self::ActiveNonOptimized,
            Some(AccessState::Standby) => Self::Standby,
            Some(AccessState::Unavailable) => Self::Unavailable,
            Some(AccessState::LbaDependent) => Self::LbaDependent,
            Some(AccessState::Offline) => Self::Offline,
            Some(AccessState::Transitioning) => Self::Transitioning,
            Some(AccessState::Reserved(_)) | None => Self::Unknown,
        }
    }
}

/// A path was in a state for a while. Times are nanoseconds; `to` does not belong to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its begin.
    pub from: u64,
    /// Its end.
    pub to: u64,
    /// The access state.
    pub state: State,
    /// Whether the next I/O could go down the path.
    pub used: bool,
}

/// A path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The name of its target port group. Rows of one group are drawn together.
    pub group: String,
    /// Its own name.
    pub name: String,
    /// What it went through, in any order. Where there is none, the path was not there.
    pub spans: Vec<Span>,
}

impl Row {
    /// A path that has gone through nothing yet.
    #[must_use]
    pub fn new(group: impl Into<String>, name: impl Into<String>) -> Self {
        Self { group: group.into(), name: name.into(), spans: Vec::new() }
    }

    /// Notes how the path is at `at`. The last span is open until then and goes on if nothing has
    /// changed; `None`: the path is not there any more.
    pub fn note(&mut self, at: u64, now: Option<(State, bool)>) {
        if let Some(last) = self.spans.last_mut()
            && last.to == u64::MAX
        {
            if now == Some((last.state, last.used)) {
                return;
            }
            last.to = at;
            if last.from >= at {
                self.spans.pop();
            }
        }
        if let Some((state, used)) = now {
            self.spans.push(Span { from: at, to: u64::MAX, state, used });
        }
    }
}

/// A request of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// When it came, in nanoseconds.
    pub submitted: u64,
    /// When it was complete.
    pub ended: u64,
    /// Whether it failed.
    pub failed: bool,
}

/// Something that happened to the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// When, in nanoseconds.
    pub at: u64,
    /// What, in a word or two.
    pub text: String,
}

/// A run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeline {
    /// What it is.
    pub title: String,
    /// The first nanosecond that is drawn. The axis counts from the run's zero, not from here.
    pub from: u64,
    /// The nanosecond at which the picture ends.
    pub to: u64,
    /// A request that takes so many nanoseconds or more has stalled.
    pub stall: u64,
    /// The paths.
    pub rows: Vec<Row>,
    /// The requests, in any order.
    pub requests: Vec<Request>,
    /// Requests that were not kept one by one.
    pub load: Load,
    /// What happened, in any order.
    pub marks: Vec<Mark>,
    /// What the picture does not show, in a sentence; empty: nothing.
    pub note: String,
}

impl Timeline {
    /// The picture, a whole SVG document.
    #[must_use]
    pub fn render(&self) -> String {
        draw::Picture::new(self).draw()
    }
}
