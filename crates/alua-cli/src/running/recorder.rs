//! `alua up --timeline`: what a picture of the run needs, collected beside the run.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use alua_device::{Device, Snapshot, Told};
use alua_export::block::{BlockDevice, Completion, Geometry, Outcome, Request, Sink};
use alua_multipath::{Event, PathId};
use alua_timeline::Load;

use crate::error::Error;
use crate::picture::{LOOK, Picture, STALL, nanos};

/// The run of a device, from its start until it has ended.
pub(crate) struct Recorder {
    requests: Arc<Requests>,
    picture: Picture,
    events: Receiver<Told>,
    first: Snapshot,
}

/// One that watches.
pub(crate) struct Watching {
    requests: Arc<Requests>,
    watcher: JoinHandle<Picture>,
}

/// The requests of all clients.
struct Requests {
    /// The zero of the device's clock.
    start: Instant,
    load: Mutex<Load>,
}

impl Recorder {
    /// Will draw `device` to `file`.
    pub(crate) fn new(file: &Path, device: &Device) -> Result<Self, Error> {
        let picture = Picture::new(file)?;
        let ended = |error: alua_device::Ended| Error::Text(error.to_string());
        let events = device.listen().map_err(ended)?;
        let first = device.snapshot().map_err(ended)?;
        let up = Duration::from_nanos(first.at.as_nanos());
        let start = Instant::now().checked_sub(up).unwrap_or_else(Instant::now);
        let load = Mutex::new(Load::new(STALL));
        let requests = Arc::new(Requests { start, load });
        Ok(Self { requests, picture, events, first })
    }

    /// Watches it. The device is kept until it is stopped.
    pub(crate) fn watch(self, device: &Device) -> Result<Watching, Error> {
        let Self { requests, picture, events, first } = self;
        let device = device.clone();
        let watcher = thread::Builder::new()
            .name("timeline".to_owned())
            .spawn(move || watch(picture, &device, &events, first))?;
        Ok(Watching { requests, watcher })
    }

    /// The device for its clients: their requests are counted.
    pub(crate) fn timed(&self, device: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
        Arc::new(Timed { device, requests: Arc::clone(&self.requests) })
    }
}

impl Watching {
    /// Draws the run. The device has ended.
    pub(crate) fn draw(self, title: String) -> Result<(), Error> {
        let end = self.requests.now();
        let died = |_| Error::Text("the run was not watched to its end".to_owned());
        let picture = self.watcher.join().map_err(died)?;
        let load = std::mem::take(&mut *self.requests.load());
        picture.draw(title, Vec::new(), load, end)
    }
}

/// Looks at the paths at each event and, for what no event tells, every [`LOOK`].
fn watch(
    mut picture: Picture,
    device: &Device,
    events: &Receiver<Told>,
    mut snapshot: Snapshot,
) -> Picture {
    loop {
        picture.look(snapshot.at.as_nanos(), &snapshot);
        let mut next = match events.recv_timeout(LOOK) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return picture,
        };
        while let Some(told) = next {
            note(&mut picture, &told, &snapshot);
            next = events.try_recv().ok();
        }
        match device.snapshot() {
            Ok(now) => snapshot = now,
            Err(_) => {
                // It has ended; these are its last words.
                for told in events.iter() {
                    note(&mut picture, &told, &snapshot);
                }
                return picture;
            }
        }
    }
}

fn note(picture: &mut Picture, told: &Told, snapshot: &Snapshot) {
    if let Some(text) = mark(told, snapshot) {
        picture.mark(told.at.as_nanos(), &text);
    }
}

/// What of an event is marked, in a word or two. What a path is good for shows in its row.
fn mark(told: &Told, snapshot: &Snapshot) -> Option<String> {
    let name = |id: PathId| {
        let path = snapshot.paths.iter().find(|path| path.view.id == id);
        path.map_or_else(|| id.to_string(), |path| path.label.clone())
    };
    Some(match told.event {
        // A word of the device's own: by hand, or about an earlier server.
        None => told.text.clone(),
        Some(Event::Standing { .. } | Event::Class { .. } | Event::Stopped) => return None,
        Some(Event::PathFailed { path }) => format!("{} failed", name(path)),
        Some(Event::PathAnswers { path }) => format!("{} answers again", name(path)),
        Some(Event::PathUnsteady { path, .. }) => format!("{} is unsteady", name(path)),
        Some(Event::FenceStarted { path, writes }) => {
            format!("{}: fence, {writes} writes", name(path))
        }
        Some(Event::FenceEnded { path, by, .. }) => format!("{}: {by}", name(path)),
        Some(Event::NoPath) => "no path".to_owned(),
        Some(Event::GivesUp) => "requests fail".to_owned(),
        Some(Event::IdentityChanged { path }) => format!("{}: another unit", name(path)),
        Some(Event::OtherSize { path, .. }) => format!("{}: another size", name(path)),
        Some(Event::Resized { .. }) => "another size".to_owned(),
        Some(Event::ActivationStarted { group }) => format!("STPG: group {group}"),
        Some(Event::ActivationEnded { group, result }) => {
            let word = if result.is_ok() { "done" } else { "failed" };
            format!("STPG: group {group} {word}")
        }
    })
}

impl Requests {
    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device whose requests are counted.
struct Timed {
    device: Arc<dyn BlockDevice>,
    requests: Arc<Requests>,
}

impl BlockDevice for Timed {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn submit(&self, request: Request, completion: Completion) {
        let requests = Arc::clone(&self.requests);
        let submitted = requests.now();
        let open = Open { requests, submitted, completion: Mutex::new(Some(completion)) };
        self.device.submit(request, Completion::new(Arc::new(open), 0));
    }
}

/// A request that is not complete.
struct Open {
    requests: Arc<Requests>,
    submitted: u64,
    completion: Mutex<Option<Completion>>,
}

impl Sink for Open {
    fn completed(&self, _tag: u64, outcome: Outcome) {
        let (submitted, ended) = (self.submitted, self.requests.now());
        let failed = outcome.is_err();
        self.requests.load().add(alua_timeline::Request { submitted, ended, failed });
        let completion = self.completion.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(completion) = completion {
            completion.complete(outcome);
        }
    }
}
