//! `alua demo`: one block device over all paths of a unit of the built-in array, served by NBD, under
//! load, while controllers fail over, a path dies, a transition takes its time and all comes back.
//!
//! The exit status tells whether every byte was right and no request failed. Times are those of this
//! machine: they are shown and not judged.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alua_array::{Event, LostTasks, Transition, shipped};
use alua_core::access::AccessState;
use alua_device::Device;
use alua_device::model::{ModelArray, Serve};
use alua_export::block::BlockDevice;
use alua_export::nbd::server::{Address, Config, Export, Server};
use alua_timeline::{Load, Request};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::load::{self, Done, Found, Shared};
use super::table::{Frame, ROWS};
use super::verdict::Verdict;
use crate::cli::Global;
use crate::commands::print;
use crate::error::Error;
use crate::exit::Exit;
use crate::picture::{LOOK, Picture, nanos};
use crate::render::style::{STRONG, paint};

/// The unit of the built-in array that is served.
const UNIT: &str = "data0";
/// Connections at a time.
const WORKERS: u64 = 8;
/// From one picture of the live table to the next.
const FRAME: Duration = Duration::from_millis(200);
/// When the load ends.
pub(super) const END: Duration = Duration::from_millis(15_000);
/// How long everything may take to come to its end.
const LIMIT: Duration = Duration::from_secs(30);

/// Something that happens to the array.
pub(super) struct Act {
    pub(super) at_ms: u64,
    pub(super) text: &'static str,
    pub(super) events: Vec<Event>,
}

pub(super) fn plot() -> Vec<Act> {
    let act = |at_ms, text, events| Act { at_ms, text, events };
    let takes = |millis| Some(Transition::Takes(Duration::from_millis(millis)));
    let unit = || Some(UNIT.to_owned());
    let switch = |to: &str, millis| Event::Switch {
        unit: unit(),
        to: to.to_owned(),
        transition: takes(millis),
        fails: false,
    };
    let state = |group, state| Event::SetState {
        unit: unit(),
        group,
        state,
        transition: None,
        fails: false,
        seen_by: None,
        quiet: false,
    };
    let crash = Event::ControllerCrash {
        controller: "A".to_owned(),
        tasks: LostTasks::Run,
        lose_cache: false,
        takeover: true,
        transition: takes(2_000),
    };
    let back = Event::ControllerReturn { controller: "A".to_owned(), giveback: false };
    vec![
        act(1_000, "controller A crashes, B takes over in 2 s", vec![crash]),
        act(4_500, "controller A is back", vec![back]),
        act(6_000, "A takes the unit back at once", vec![switch("A", 0)]),
        act(
            7_500,
            "a port dies with commands in flight",
            vec![Event::PortDown { port: 1, tasks: LostTasks::Run }],
        ),
        act(9_500, "the port is back", vec![Event::PortUp { port: 1 }]),
        act(11_000, "B takes over, in transition for 1.5 s", vec![switch("B", 1_500)]),
        act(
            13_500,
            "swap: B to standby as A comes back",
            vec![state(2, AccessState::Standby), state(1, AccessState::ActiveOptimized)],
        ),
    ]
}

pub(super) fn run(global: &Global, timeline: Option<&Path>) -> Result<Exit, Error> {
    let mut picture = timeline.map(Picture::new).transpose()?;
    let interrupted = interruption()?;
    let text = |what: &str, error: &dyn std::fmt::Display| Error::Text(format!("{what}: {error}"));
    let array = ModelArray::start(shipped::DEMO.build());
    let device = array
        .serve(&Serve::unit(UNIT))
        .map_err(|error| text("the built-in array cannot be served", &error))?;
    let folder = Folder::new()?;
    let socket = folder.0.join("nbd");
    let block: Arc<dyn BlockDevice> = Arc::new(device.clone());
    let export =
        Export { name: UNIT.to_owned(), description: "the demo's unit".to_owned(), device: block };
    let server = Server::start(&Address::Unix(socket.clone()), vec![export], Config::default())
        .map_err(|error| text("the device cannot be offered", &error))?;
    let show = Show::new(global, &device)?;
    let plot = plot();
    let shared = Shared::default();
    let start = Instant::now();
    let (found, end) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (socket, shared) = (&socket, &shared);
                scope.spawn(move || load::work(worker, socket, start, shared))
            })
            .collect();
        let mut stage = Stage {
            array: &array,
            device: &device,
            show: &show,
            shared: &shared,
            picture: picture.as_mut(),
            interrupted: &interrupted,
            start,
        };
        let told = stage.play(&plot);
        let end = start.elapsed().min(END);
        shared.stop.store(true, Ordering::Relaxed);
        let mut found: Vec<Found> =
            workers.into_iter().map(|it| it.join().unwrap_or_default()).collect();
        if let (Err(error), Some(first)) = (told, found.first_mut()) {
            first.errors.push(error);
        }
        (found, end)
    });
    let mut errors: Vec<String> = found.iter().flat_map(|it| it.errors.clone()).collect();
    if let Err(unfinished) = server.shut_down(LIMIT) {
        errors.push(format!("the server did not end: {unfinished}"));
    }
    if let Err(unfinished) = device.stop(LIMIT) {
        errors.push(format!("the device did not end: {unfinished}"));
    }
    let done: Vec<Done> = found.iter().flat_map(|it| it.done.iter().copied()).collect();
    if let Some(picture) = picture {
        let requests = done.iter().map(|it| Request {
            submitted: nanos(it.begun),
            ended: nanos(it.begun + it.took),
            failed: it.failed,
        });
        let (title, requests) = ("alua demo".to_owned(), requests.collect());
        picture.draw(title, requests, Load::default(), nanos(end))?;
    }
    let begun = |act: &&Act| Duration::from_millis(act.at_ms) < end;
    let plot: Vec<&Act> = plot.iter().take_while(begun).collect();
    Verdict::of(&plot, &found, &done, end, errors).tell(global)
}

/// Set by the first SIGINT or SIGTERM: the demo ends early and leaves nothing behind. The second one
/// ends the program at once.
fn interruption() -> Result<Arc<AtomicBool>, Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let register = |signal| {
        flag::register_conditional_default(signal, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))
    };
    for signal in [SIGINT, SIGTERM] {
        register(signal).map_err(|error| Error::Text(format!("signal {signal}: {error}")))?;
    }
    Ok(interrupted)
}

/// Where it happens.
struct Stage<'a> {
    array: &'a ModelArray,
    device: &'a Device,
    show: &'a Show,
    shared: &'a Shared,
    picture: Option<&'a mut Picture>,
    interrupted: &'a AtomicBool,
    start: Instant,
}

impl Stage<'_> {
    /// Lets everything happen in its time, and shows it.
    fn play(&mut self, plot: &[Act]) -> Result<(), String> {
        let mut acts = plot.iter().peekable();
        let mut last = "reads and writes, nothing happens";
        let mut frame = Duration::ZERO;
        while self.start.elapsed() < END && !self.interrupted.load(Ordering::Relaxed) {
            let now = self.start.elapsed();
            while let Some(act) = acts.next_if(|act| Duration::from_millis(act.at_ms) <= now) {
                last = act.text;
                self.show.line(now, &paint(STRONG, act.text).to_string());
                if let Some(picture) = &mut self.picture {
                    picture.mark(nanos(now), act.text);
                }
                for event in &act.events {
                    self.array.apply(event).map_err(|error| error.to_string())?;
                }
            }
            if let Some(picture) = &mut self.picture
                && let Ok(snapshot) = self.device.snapshot()
            {
                picture.look(nanos(now), &snapshot);
            }
            if frame <= now {
                self.show.frame(self.device, self.shared, self.start, last);
                frame = now + FRAME;
            }
            let next = acts.peek().map_or(END, |act| Duration::from_millis(act.at_ms));
            let pause = if self.picture.is_some() { LOOK } else { FRAME };
            std::thread::sleep(next.saturating_sub(self.start.elapsed()).min(pause));
        }
        self.show.end();
        Ok(())
    }
}

/// What a person sees meanwhile.
struct Show {
    live: bool,
    quiet: bool,
}

impl Show {
    /// On a terminal a table that stays in its place; lines as they come elsewhere; nothing for a
    /// program.
    fn new(global: &Global, device: &Device) -> Result<Self, Error> {
        let quiet = global.json;
        let live = !quiet && std::io::stdout().is_terminal();
        let head = format!(
            "{}\n\nEight connections write and read back {UNIT} of the built-in array by NBD, over \
             four paths in two target port groups.\n\n",
            paint(STRONG, "== One block device over all paths")
        );
        if !quiet {
            print(&head)?;
        }
        if live {
            // Room for the table.
            print(&"\n".repeat(ROWS))?;
        } else if !quiet && let Ok(events) = device.listen() {
            let start = Instant::now();
            std::thread::spawn(move || {
                while let Ok(told) = events.recv() {
                    // Whoever reads no more ends nothing.
                    let _ = print(&line(start.elapsed(), &told.text));
                }
            });
        }
        Ok(Self { live, quiet })
    }

    fn line(&self, now: Duration, text: &str) {
        if !self.live && !self.quiet {
            let _ = print(&line(now, text));
        }
    }

    fn frame(&self, device: &Device, shared: &Shared, start: Instant, last: &str) {
        if !self.live {
            return;
        }
        let Ok(snapshot) = device.snapshot() else { return };
        let frame = Frame {
            at: start.elapsed(),
            requests: shared.requests.load(Ordering::Relaxed),
            longest: Duration::from_micros(shared.longest_us.swap(0, Ordering::Relaxed)),
            last,
        };
        let _ = print(&frame.text(&snapshot.paths));
    }

    fn end(&self) {
        if self.live {
            let _ = print("\n");
        }
    }
}

fn line(now: Duration, text: &str) -> String {
    format!("{:>8.3} s  {text}\n", now.as_secs_f64())
}

/// A folder of one's own, gone at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("alua-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .map_err(|source| Error::File { path: folder.clone(), source })?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It holds a socket at most.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_is_in_order_and_ends_before_the_load() {
        let times: Vec<u64> = plot().iter().map(|act| act.at_ms).collect();
        assert!(times.is_sorted());
        assert!(times.iter().all(|&at| Duration::from_millis(at) < END));
    }
}
