//! Paths that come and go: uevents, and a slow look at everything in case one was missed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use alua_host::hctl::Hctl;
use alua_host::uevent::{Event, UeventSocket};
use alua_multipath::PathId;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::join::{Asked, Asks, JoinError};
use crate::device::Device;

/// Everything is looked at so often, should an event have been missed.
const LOOK: Duration = Duration::from_secs(30);
/// A disk that has just appeared is tried so often,
const TRY: Duration = Duration::from_millis(50);
/// and for so long: its node and its answers come a moment after the event.
const TRY_FOR: Duration = Duration::from_secs(3);

/// One of the unit that could not be used is tried again after so long, then after twice as long: it may
/// have hung, or be held by a server that has died.
const AGAIN: Duration = Duration::from_secs(2);

/// Adds paths that appear and removes those that are gone, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(
        device: Device,
        asks: Asks,
        paths: BTreeMap<Hctl, PathId>,
        events: Option<UeventSocket>,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let end = Arc::clone(&stop);
        let (tries, again, pauses) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let looked = Instant::now();
        let watcher = Watcher { device, asks, paths, tries, again, pauses, looked };
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watcher.run(events, &end))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watcher {
    device: Device,
    asks: Asks,
    paths: BTreeMap<Hctl, PathId>,
    /// Disks that have appeared, and until when they are tried.
    tries: BTreeMap<Hctl, Instant>,
    /// Disks that could not be used, and when they are tried again.
    again: BTreeMap<Hctl, Instant>,
    /// How long after the next failure.
    pauses: BTreeMap<Hctl, Duration>,
    looked: Instant,
}

impl Watcher {
    fn run(mut self, mut events: Option<UeventSocket>, stop: &OwnedFd) {
        loop {
            if !self.wait(events.as_ref(), stop) {
                break;
            }
            let mut failed = false;
            while let Some(socket) = &mut events {
                match socket.next_event() {
                    Ok(Some(event)) => self.note(&event),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "uevents cannot be read any more");
                        failed = true;
                        break;
                    }
                }
            }
            if failed {
                events = None;
            }
            if self.device.back().is_closed() {
                break;
            }
            while let Some((hctl, said)) = self.asks.take() {
                self.answered(hctl, said);
            }
            self.try_again();
            if self.looked.elapsed() >= LOOK {
                self.look();
            }
        }
    }

    /// Sleeps until there is something to do; false when the watch is over.
    fn wait(&self, events: Option<&UeventSocket>, stop: &OwnedFd) -> bool {
        let left = LOOK.saturating_sub(self.looked.elapsed());
        let left = if self.tries.is_empty() { left } else { left.min(TRY) };
        let again = self.again.values().min();
        let left = again.map_or(left, |at| left.min(at.saturating_duration_since(Instant::now())));
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut all = vec![PollFd::new(stop, PollFlags::IN)];
        all.push(PollFd::new(self.asks.bell(), PollFlags::IN));
        all.extend(events.map(|events| PollFd::new(events, PollFlags::IN)));
        // An interrupted wait is a short one.
        let _ = poll(&mut all, Some(&timeout));
        all[0].revents().is_empty()
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::DeviceRemoved { hctl } => self.remove(*hctl),
            Event::DeviceAdded { hctl } | Event::DeviceChanged { hctl } => {
                match self.paths.get(hctl) {
                    // It may have been set running, or offline: the engine looks.
                    Some(path) => self.device.back().path_up(*path),
                    None => {
                        self.tries.insert(*hctl, Instant::now() + TRY_FOR);
                    }
                }
            }
            Event::Rescan(cause) => {
                tracing::info!(%cause, "all devices are looked at again");
                self.look();
            }
            _ => {
                let path = event.hctl().and_then(|hctl| self.paths.get(&hctl));
                if let (Some(path), Some(sense)) = (path, event.sense()) {
                    let _ = self.device.note_sense(*path, sense);
                }
            }
        }
    }

    fn remove(&mut self, hctl: Hctl) {
        self.tries.remove(&hctl);
        self.again.remove(&hctl);
        self.pauses.remove(&hctl);
        if let Some(path) = self.paths.remove(&hctl) {
            let _ = self.device.remove_path(path);
        }
    }

    fn try_again(&mut self) {
        let tries = std::mem::take(&mut self.tries);
        for (hctl, until) in tries {
            if !self.ask(hctl) && Instant::now() < until {
                self.tries.insert(hctl, until);
            }
        }
        let now = Instant::now();
        let due = self.again.iter().filter(|(_, at)| **at <= now);
        for hctl in due.map(|(hctl, _)| *hctl).collect::<Vec<_>>() {
            self.again.remove(&hctl);
            self.ask(hctl);
        }
    }

    /// Asks a disk whether it is a path; whether it needs no further try: it is one, or it is none of
    /// the unit's.
    fn ask(&mut self, hctl: Hctl) -> bool {
        if self.paths.contains_key(&hctl) {
            return true;
        }
        match self.asks.joiner.may_belong(hctl) {
            Ok(true) => self.asks.ask(hctl),
            Ok(false) => return true,
            Err(error) => tracing::debug!(%hctl, %error, "not a path yet"),
        }
        false
    }

    fn answered(&mut self, hctl: Hctl, said: Result<Asked, JoinError>) {
        if self.paths.contains_key(&hctl) {
            return;
        }
        // It answered before it went; who came in its place was not asked meanwhile.
        if said.as_ref().is_ok_and(|asked| !asked.is_there()) {
            self.tries.insert(hctl, Instant::now() + TRY_FOR);
            return;
        }
        match said.and_then(|asked| self.asks.joiner.join(&self.device, hctl, asked)) {
            Ok(path) => {
                self.tries.remove(&hctl);
                self.pauses.remove(&hctl);
                self.paths.insert(hctl, path);
            }
            Err(error) => {
                tracing::debug!(%hctl, %error, "not a path yet");
                if self.asks.joiner.is_ours(hctl) {
                    let pause = self.pauses.entry(hctl).or_insert(AGAIN);
                    self.again.insert(hctl, Instant::now() + *pause);
                    *pause = (*pause * 2).min(LOOK);
                }
            }
        }
    }

    /// Looks at every device.
    fn look(&mut self) {
        self.looked = Instant::now();
        let Ok(snapshot) = self.device.snapshot() else { return };
        // The runtime has taken out those on which another unit answered.
        self.paths.retain(|_, id| snapshot.paths.iter().any(|path| path.view.id == *id));
        let there = self.asks.joiner.candidates();
        let gone: Vec<Hctl> =
            self.paths.keys().copied().filter(|hctl| !self.asks.joiner.is_there(*hctl)).collect();
        for hctl in gone {
            self.remove(hctl);
        }
        for hctl in there {
            self.ask(hctl);
        }
    }
}
