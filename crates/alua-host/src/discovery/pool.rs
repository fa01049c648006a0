//! Probing many devices at a time, for no longer than is given.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::{Opener, Options, Probe, Step, Trouble, probe};
use crate::sysfs::ScsiDevice;

/// A device and what came of asking it.
pub(super) struct Probed {
    pub(super) device: ScsiDevice,
    pub(super) answer: Result<Probe, Trouble>,
    pub(super) commands: u64,
}

/// What the threads share. They outlive the call when a device holds one of them up, so they own it.
struct Shared {
    queue: Mutex<VecDeque<(usize, ScsiDevice)>>,
    opener: Arc<dyn Opener>,
    options: Options,
    stop: AtomicBool,
}

/// Asks all `devices`; the results stand in their order.
pub(super) fn probe_all(
    devices: Vec<ScsiDevice>,
    opener: Arc<dyn Opener>,
    options: &Options,
) -> Vec<Probed> {
    let start = Instant::now();
    let shared = Arc::new(Shared {
        queue: Mutex::new(devices.iter().cloned().enumerate().collect()),
        opener,
        options: *options,
        stop: AtomicBool::new(false),
    });
    let mut answers: Vec<Option<(Result<Probe, Trouble>, u64)>> =
        devices.iter().map(|_| None).collect();

    let (sender, receiver) = mpsc::channel();
    let threads = options.threads.clamp(1, devices.len().max(1));
    let started = (0..threads).filter(|_| start_thread(&shared, &sender)).count();
    if started == 0 {
        // No thread to be had: do the work here, without a limit.
        work(&shared, &sender);
    }
    drop(sender);
    loop {
        let left = options.limit.saturating_sub(start.elapsed());
        match receiver.recv_timeout(left) {
            Ok((index, answer)) => {
                if let Some(place) = answers.get_mut(index) {
                    *place = Some(answer);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    shared.stop.store(true, Ordering::Relaxed);

    devices
        .into_iter()
        .zip(answers)
        .map(|(device, answer)| {
            let (answer, commands) = answer.unwrap_or((Err(Trouble::Late), 0));
            Probed { device, answer, commands }
        })
        .collect()
}

type Answer = (usize, (Result<Probe, Trouble>, u64));

fn start_thread(shared: &Arc<Shared>, sender: &Sender<Answer>) -> bool {
    let (shared, sender) = (Arc::clone(shared), sender.clone());
    thread::Builder::new()
        .name("alua-probe".to_owned())
        .spawn(move || work(&shared, &sender))
        .is_ok()
}

fn work(shared: &Shared, sender: &Sender<Answer>) {
    while !shared.stop.load(Ordering::Relaxed) {
        let next = shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((index, device)) = next else { return };
        if sender.send((index, ask(shared, &device))).is_err() {
            return;
        }
    }
}

fn ask(shared: &Shared, device: &ScsiDevice) -> (Result<Probe, Trouble>, u64) {
    if let Some(state) = device.state.as_ref().filter(|state| !state.takes_commands()) {
        return (Err(Trouble::State(state.clone())), 0);
    }
    let mut transport = match shared.opener.open(device) {
        Ok(transport) => transport,
        Err(error) => return (Err(Trouble::Open(error)), 0),
    };
    let sized = device.block.as_ref().is_some_and(|block| block.size.is_some_and(|size| size > 0));
    let (answer, commands) = probe(&mut *transport, !sized, &shared.options);
    (answer.map_err(|error| Trouble::Failed { step: Step::Inquiry, error }), commands)
}
