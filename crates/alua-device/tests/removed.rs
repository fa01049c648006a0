//! A path that is taken away while commands are out on it: they are fenced as those of a path that is
//! there, with what its transport has to do before.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alua_core::identity::Identity;
use alua_core::spc::Status;
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::inquiry::StandardInquiry;
use alua_core::tpgs::AluaOff;
use alua_device::model::scsi_device;
use alua_device::path::{
    Answer, Command, ControlAnswer, ControlCommand, Cut, CutHold, PathIo, Step, StepKind,
};
use alua_device::{Back, Device, InboxOnly, PathFacts, Settings};
use alua_export::block::Request;
use alua_host::discovery;
use alua_multipath::{FenceAnswer, Geometry, PathTraits};

mod common;

use common::start;

const PAGE_83H: [u8; 16] = [0, 0x83, 0, 12, 1, 3, 0, 8, 0x50, 0, 0, 0, 0, 0, 0, 1];

/// What a path has seen.
#[derive(Debug, Default)]
struct Seen {
    sent: AtomicU32,
    cuts: AtomicU32,
    /// Resets through it that began with a cut of the other path.
    resets: Mutex<Vec<bool>>,
    /// What was sent down it has come back.
    idle: AtomicBool,
}

/// A path without a target: it answers everything, or no I/O.
struct Fake {
    mute: bool,
    seen: Arc<Seen>,
}

struct Hold(Arc<Seen>);

impl CutHold for Hold {
    fn is_idle(&self) -> bool {
        self.0.idle.load(Ordering::SeqCst)
    }
}

impl PathIo for Fake {
    fn send(&mut self, command: Command, back: &Back) {
        self.seen.sent.fetch_add(1, Ordering::SeqCst);
        if !self.mute {
            back.io(command.io, Answer::GOOD, command.data);
        }
    }

    fn control(&mut self, command: ControlCommand, back: &Back) {
        let data = if command.cdb[0] == 0x12 { PAGE_83H.to_vec() } else { Vec::new() };
        let answer = ControlAnswer::Answered { status: Status::Good, sense: Vec::new(), data };
        back.control(command.id, answer);
    }

    fn step(&mut self, step: Step, back: &Back) {
        let StepKind::ResetUnit { cuts, .. } = step.kind else {
            return back.step(step.id, FenceAnswer::Failed);
        };
        let holds: Option<Vec<_>> = cuts.iter().map(|cut| cut()).collect();
        let done = holds.is_some_and(|holds| holds.iter().all(|hold| hold.is_idle()));
        self.seen.resets.lock().unwrap().push(!cuts.is_empty());
        back.step(step.id, if done { FenceAnswer::Done } else { FenceAnswer::Failed });
    }

    fn cut(&self) -> Option<Cut> {
        let seen = Arc::clone(&self.seen);
        Some(Arc::new(move || {
            seen.cuts.fetch_add(1, Ordering::SeqCst);
            Some(Box::new(Hold(Arc::clone(&seen))))
        }))
    }

    fn close(&mut self, _back: &Back) -> bool {
        false
    }
}

fn add(device: &Device, port: u16, mute: bool) -> (alua_multipath::PathId, Arc<Seen>) {
    let page = DeviceIdentification::new(&PAGE_83H).unwrap();
    let identity = Identity::from_page(&page).unwrap();
    let geometry = device_geometry();
    let label = format!("fake{port}");
    let mut inquiry = [0; 36];
    // ADDITIONAL LENGTH.
    inquiry[4] = 31;
    let found = discovery::Path {
        device: scsi_device(port, 0, &label),
        inquiry: StandardInquiry::parse(&inquiry).unwrap(),
        identity,
        alua: Err(AluaOff::NotSupported),
        serial: None,
        page_83h: PAGE_83H.to_vec(),
        source: discovery::Source::Device,
        capacity: None,
        findings: Vec::new(),
    };
    let traits = PathTraits { reset_unit: true, ..PathTraits::default() };
    let facts = PathFacts { label, identity, geometry, traits, found: Arc::new(found) };
    let seen = Arc::new(Seen::default());
    let io = Fake { mute, seen: Arc::clone(&seen) };
    (device.add_path(facts, Box::new(io)).unwrap(), seen)
}

const fn device_geometry() -> Geometry {
    Geometry { blocks: 4_096, block_size: 512 }
}

#[test]
fn a_write_of_a_path_that_is_gone_waits_for_its_cut() {
    let page = DeviceIdentification::new(&PAGE_83H).unwrap();
    let name = Identity::from_page(&page).unwrap().name;
    let mut settings = Settings::new(name, Err(AluaOff::NotSupported), device_geometry());
    settings.config.fence.retry_ms = 50;
    // Nothing but the fence ends the doubt in the time of this test.
    settings.config.fence.wait_ms = 600_000;
    let device = Device::start(settings, Box::new(InboxOnly)).unwrap();
    let (lost, lost_seen) = add(&device, 1, true);
    let pending = start(&device, Request::write(0, vec![7; 512]));
    while lost_seen.sent.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (_, other) = add(&device, 2, false);
    assert!(device.remove_path(lost).unwrap());
    assert!(pending.recv_timeout(Duration::from_millis(400)).is_err(), "it is out");
    let resets = other.resets.lock().unwrap().clone();
    assert!(!resets.is_empty() && resets.iter().all(|cut| *cut), "{resets:?}");
    assert!(lost_seen.cuts.load(Ordering::SeqCst) > 0);
    assert_eq!(other.sent.load(Ordering::SeqCst), 0, "it was not sent again");
    lost_seen.idle.store(true, Ordering::SeqCst);
    pending.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(other.sent.load(Ordering::SeqCst), 1);
}
