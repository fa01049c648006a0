//! The wish that a device stops, also while its export still starts.
//!
//! The kernel reads a new block device for its partitions inside the call that starts it. These reads wait
//! like all requests: for a path, or for what an earlier server has left to be fenced off. So an export
//! starts on a thread of its own, and the wish to stop ends what it waits for: its requests fail, the kernel
//! goes on without partitions, and what was started is shut down as always.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use alua_device::Device;
use alua_export::Exported;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// An export that has started, or why it has not.
pub(crate) type Begun = Result<Box<dyn Exported>, String>;

/// How long an export may take to start when nothing is held any more.
const PATIENCE: Duration = Duration::from_secs(2);

enum News {
    Asked,
    Begun(Begun),
}

/// See the [module](self).
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    to: Sender<News>,
    from: Receiver<News>,
}

/// What became of the start of an export.
pub(crate) enum Start {
    /// It serves.
    Serves(Box<dyn Exported>),
    /// It has started, but is to stop already.
    Stopped(Box<dyn Exported>),
    /// It is to stop, and has not started yet: [`Stop::begun`] waits for that.
    Unfinished,
    /// It was to stop before its start began.
    Unbegun,
}

impl Stop {
    fn new() -> Self {
        let (to, from) = channel();
        Self { asked: Arc::default(), to, from }
    }

    /// From now on SIGTERM and SIGINT mean to stop.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::new();
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let (asked, to) = (Arc::clone(&stop.asked), stop.to.clone());
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            // The first says it all; the others must not end the process in the middle of its end.
            for _ in signals.forever() {
                if !asked.swap(true, Ordering::SeqCst) {
                    let _ = to.send(News::Asked);
                }
            }
        })?;
        Ok(stop)
    }

    /// True from when it was asked for.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// Waits until it is asked for.
    pub(crate) fn wait(&self) {
        while let Ok(News::Begun(_)) = self.from.recv() {}
    }

    /// Starts an export by `begin`. Where that waits for requests of `waits_for`, those that this holds fail
    /// when it is to stop; one that waits for none has two seconds.
    ///
    /// # Errors
    ///
    /// It has not started: why, in words.
    pub(crate) fn start(
        &self,
        waits_for: Option<&Device>,
        begin: impl FnOnce() -> Begun + Send + 'static,
    ) -> Result<Start, String> {
        if self.asked.load(Ordering::SeqCst) {
            return Ok(Start::Unbegun);
        }
        let to = self.to.clone();
        let run = move || {
            // Whoever waits for it must hear of its end, however it ends.
            let begun = catch_unwind(AssertUnwindSafe(begin));
            let begun = begun.unwrap_or_else(|_| Err("it panicked, see above".to_owned()));
            let _ = to.send(News::Begun(begun));
        };
        let spawned = thread::Builder::new().name("start".to_owned()).spawn(run);
        spawned.map_err(|error| format!("a thread cannot be started: {error}"))?;
        if let Ok(News::Begun(begun)) = self.from.recv() {
            return Ok(Start::Serves(begun?));
        }
        if let Some(device) = waits_for {
            device.give_up_held();
        }
        match self.begun(PATIENCE) {
            Some(begun) => Ok(Start::Stopped(begun?)),
            None => Ok(Start::Unfinished),
        }
    }

    /// The export that has not started yet, if it does within that time.
    pub(crate) fn begun(&self, limit: Duration) -> Option<Begun> {
        let end = Instant::now() + limit;
        loop {
            match self.from.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(News::Begun(begun)) => return Some(begun),
                Ok(News::Asked) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alua_array::shipped;
    use alua_device::model::{ModelArray, Serve};
    use alua_export::block::{BlockDevice as _, Completion, Outcome, Request, Sink};
    use alua_export::{EndError, Totals};

    use super::*;
    use crate::running::client::ask;
    use crate::running::control::{Ask, Server};
    use crate::running::status::{Facts, Settings};

    /// One that reads the device before it has started, as the kernel does.
    struct Reads(Outcome);

    impl Exported for Reads {
        fn place(&self) -> String {
            format!("{:?}", self.0)
        }

        fn totals(&self) -> Totals {
            Totals::default()
        }

        fn shut_down(self: Box<Self>, _limit: Duration) -> Result<Totals, EndError> {
            Ok(Totals::default())
        }
    }

    struct Tell(Sender<Outcome>);

    impl Sink for Tell {
        fn completed(&self, _tag: u64, outcome: Outcome) {
            let _ = self.0.send(outcome);
        }
    }

    fn submit(device: &Device, request: Request) -> Receiver<Outcome> {
        let (to, from) = channel();
        device.submit(request, Completion::new(Arc::new(Tell(to)), 0));
        from
    }

    fn reads(device: &Device) -> impl FnOnce() -> Begun + Send + 'static {
        let device = device.clone();
        move || {
            let read = submit(&device, Request::read(0, 512, Vec::new()));
            let outcome = read.recv().map_err(|error| error.to_string())?;
            Ok(Box::new(Reads(outcome)))
        }
    }

    fn device(change: impl FnOnce(&mut Serve)) -> Device {
        let mut serve = Serve::unit("data0");
        change(&mut serve);
        ModelArray::start(shipped::DEMO.build()).serve(&serve).unwrap()
    }

    #[test]
    fn an_export_that_starts_serves() {
        let device = device(|_| {});
        let Start::Serves(export) = Stop::new().start(Some(&device), reads(&device)).unwrap()
        else {
            panic!("it does not serve");
        };
        assert!(export.place().starts_with("Ok"), "{}", export.place());
        let stop = Stop::new();
        let why = stop.start(Some(&device), || Err("no driver".to_owned())).err().unwrap();
        assert_eq!(why, "no driver");
    }

    #[test]
    fn the_control_socket_answers_while_an_export_starts() {
        let device = device(|_| {});
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("unit.sock");
        let facts = Facts {
            unit: "unit".to_owned(),
            source: "array",
            starting: true,
            places: Vec::new(),
            policy: "round-robin",
            settings: Settings::of(&alua_multipath::Config::default()),
            lacks: Vec::new(),
            sysfs: None,
        };
        let control = Server::start(&socket, device.clone(), facts).unwrap();
        let asked = socket.clone();
        let begin = move || {
            let status = ask(&asked, &Ask::Status {}).map_err(|error| error.to_string())?;
            assert!(status.starting && status.places.is_empty() && !status.paths.is_empty());
            let text = status.text();
            assert!(text.contains("not served yet") && text.contains("it is starting"), "{text}");
            Ok(Box::new(Reads(Ok(Vec::new()))) as Box<dyn Exported>)
        };
        let Start::Serves(export) = Stop::new().start(Some(&device), begin).unwrap() else {
            panic!("it does not serve");
        };
        control.serves(vec![export.place()], vec!["recovery".to_owned()]);
        let status = ask(&socket, &Ask::Status {}).unwrap();
        assert!(!status.starting && status.lacks == ["recovery"]);
        assert!(status.text().contains(&export.place()) && !status.text().contains("starting"));
    }

    #[test]
    fn one_that_waits_for_the_fence_is_stopped_at_once() {
        let device = device(|serve| serve.config.fence.reset_unit = false);
        let mut again = Request::write(0, vec![1; 512]);
        again.reissued = true;
        let _held = submit(&device, again);
        let stop = Stop::new();
        stop.to.send(News::Asked).unwrap();
        let Start::Stopped(export) = stop.start(Some(&device), reads(&device)).unwrap() else {
            panic!("it has not started, or it serves");
        };
        assert_eq!(export.place(), "Err(ShuttingDown)");
        device.stop(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn one_that_waits_for_a_path_starts_when_the_device_has_ended() {
        let device = device(|serve| serve.config.no_path = alua_multipath::NoPath::Forever);
        let paths: Vec<_> = device.snapshot().unwrap().paths;
        for path in &paths {
            device.set_failed(path.view.id, true).unwrap();
        }
        let stop = Stop::new();
        stop.to.send(News::Asked).unwrap();
        let started = stop.start(Some(&device), reads(&device)).unwrap();
        assert!(matches!(started, Start::Unfinished));
        assert_eq!(device.stop(Duration::ZERO).unwrap_err().requests, 1);
        let export = stop.begun(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(export.place(), "Err(ShuttingDown)");
    }

    #[test]
    fn one_that_panics_has_not_started() {
        let stop = Stop::new();
        let why = stop.start(None, || panic!("on purpose")).err().unwrap();
        assert_eq!(why, "it panicked, see above");
    }

    #[test]
    fn one_that_has_started_just_as_it_was_to_stop_is_known_to_have() {
        let device = device(|_| {});
        let stop = Stop::new();
        stop.to.send(News::Asked).unwrap();
        assert!(matches!(stop.start(None, reads(&device)).unwrap(), Start::Stopped(_)));
    }

    #[test]
    fn one_that_waits_for_no_request_is_left_and_its_requests_do_not_fail() {
        let device = device(|_| {});
        let stop = Stop::new();
        stop.to.send(News::Asked).unwrap();
        let (go, gone) = channel::<()>();
        let read = reads(&device);
        let begin = move || {
            let _ = gone.recv();
            read()
        };
        assert!(matches!(stop.start(None, begin).unwrap(), Start::Unfinished));
        go.send(()).unwrap();
        let export = stop.begun(Duration::from_secs(10)).unwrap().unwrap();
        assert!(export.place().starts_with("Ok"), "{}", export.place());
    }

    #[test]
    fn what_is_to_stop_already_does_not_start() {
        let stop = Stop::new();
        stop.flag().store(true, Ordering::SeqCst);
        let started = stop.start(None, || panic!("it begins")).unwrap();
        assert!(matches!(started, Start::Unbegun));
    }
}
