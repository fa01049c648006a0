//! Clients of a device.
#![allow(dead_code, reason = "each test uses a part")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use alua_export::block::{BlockDevice, Completion, Outcome, Request, Sink};

struct Channel(mpsc::Sender<Outcome>);

impl Sink for Channel {
    fn completed(&self, _tag: u64, outcome: Outcome) {
        let _ = self.0.send(outcome);
    }
}

/// Submits a request; its outcome arrives at the receiver.
pub(crate) fn start(device: &dyn BlockDevice, request: Request) -> mpsc::Receiver<Outcome> {
    let (sender, receiver) = mpsc::channel();
    device.submit(request, Completion::new(Arc::new(Channel(sender)), 0));
    receiver
}

/// Carries out a request.
pub(crate) fn run(device: &dyn BlockDevice, request: Request) -> Outcome {
    start(device, request).recv_timeout(Duration::from_secs(30)).expect("an answer")
}

/// What a load came to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) mismatches: u64,
    pub(crate) worst: Duration,
}

/// Threads that write and verify, each its own part of the device.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Done>>,
}

const SIZE: usize = 4096;
const SPOTS: u64 = 16;

impl Load {
    pub(crate) fn start(device: &Arc<dyn BlockDevice>, threads: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..threads)
            .map(|number| {
                let (device, stop) = (Arc::clone(device), Arc::clone(&stop));
                thread::spawn(move || write_and_verify(&*device, number, &stop))
            })
            .collect();
        Self { stop, threads }
    }

    pub(crate) fn end(self) -> Done {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Done::default();
        for thread in self.threads {
            let done = thread.join().unwrap();
            all.requests += done.requests;
            all.errors.extend(done.errors);
            all.mismatches += done.mismatches;
            all.worst = all.worst.max(done.worst);
        }
        all
    }
}

fn pattern(offset: u64, turn: u64) -> Vec<u8> {
    let mut data = vec![(turn % 251) as u8; SIZE];
    data[..8].copy_from_slice(&offset.to_le_bytes());
    data[8..16].copy_from_slice(&turn.to_le_bytes());
    data
}

fn write_and_verify(device: &dyn BlockDevice, number: u64, stop: &AtomicBool) -> Done {
    let mut done = Done::default();
    let mut turn = 0_u64;
    let timed = |done: &mut Done, request| {
        let begin = Instant::now();
        let outcome = run(device, request);
        done.worst = done.worst.max(begin.elapsed());
        done.requests += 1;
        outcome
    };
    while !stop.load(Ordering::SeqCst) {
        turn += 1;
        for spot in 0..SPOTS {
            let offset = (number * SPOTS + spot) * SIZE as u64;
            let fua = spot == 3;
            let write = Request::write(offset, pattern(offset, turn)).with_fua(fua);
            if let Err(error) = timed(&mut done, write) {
                done.errors.push(format!("write {offset}: {error}"));
            }
        }
        if let Err(error) = timed(&mut done, Request::flush()) {
            done.errors.push(format!("flush: {error}"));
        }
        for spot in 0..SPOTS {
            let offset = (number * SPOTS + spot) * SIZE as u64;
            match timed(&mut done, Request::read(offset, SIZE as u32, vec![0xee; SIZE])) {
                Ok(data) => done.mismatches += u64::from(data != pattern(offset, turn)),
                Err(error) => done.errors.push(format!("read {offset}: {error}")),
            }
        }
    }
    done
}
