use std::sync::Mutex;

use super::*;

/// Keeps every outcome.
#[derive(Default)]
struct Kept(Mutex<Vec<(u64, Outcome)>>);

impl Sink for Kept {
    fn completed(&self, tag: u64, outcome: Outcome) {
        self.0.lock().unwrap().push((tag, outcome));
    }
}

fn run(device: &dyn BlockDevice, request: Request) -> Outcome {
    let (sender, receiver) = std::sync::mpsc::channel();
    struct Channel(std::sync::mpsc::Sender<Outcome>);
    impl Sink for Channel {
        fn completed(&self, _tag: u64, outcome: Outcome) {
            self.0.send(outcome).unwrap();
        }
    }
    device.submit(request, Completion::new(Arc::new(Channel(sender)), 0));
    receiver.recv().unwrap()
}

const GEOMETRY: Geometry = Geometry {
    bytes: 8192,
    logical_block: 512,
    preferred: 512,
    maximum: 4096,
    read_only: false,
    discard: true,
    write_zeroes: true,
    shared_flush: true,
};

#[test]
fn a_completion_that_is_dropped_ends_its_request_as_abandoned() {
    let kept = Arc::new(Kept::default());
    drop(Completion::new(Arc::clone(&kept) as Arc<dyn Sink>, 7));
    assert_eq!(*kept.0.lock().unwrap(), [(7, Err(BlockError::Abandoned))]);
}

#[test]
fn a_completion_ends_its_request_once() {
    let kept = Arc::new(Kept::default());
    Completion::new(Arc::clone(&kept) as Arc<dyn Sink>, 7).complete(Ok(Vec::new()));
    assert_eq!(*kept.0.lock().unwrap(), [(7, Ok(Vec::new()))]);
}

#[test]
fn requests_that_a_device_must_not_see_are_refused() {
    use BlockError::{InvalidRequest, NotSupported, OutOfRange, ReadOnly};
    let read = |offset, length| Request::read(offset, length, Vec::new());
    let zero = Operation::WriteZeroes { may_unmap: true };
    let without = |operation, offset, length| Request::without_data(operation, offset, length);
    let short = Request { length: 1024, ..read(0, 512) };
    let with_data = Request { data: vec![0; 512], ..Request::flush() };
    for (request, want) in [
        (read(0, 512), Ok(())),
        (read(8192 - 4096, 4096), Ok(())),
        (read(0, 8192), Err(InvalidRequest)),
        (read(0, 0), Err(InvalidRequest)),
        (read(1, 512), Err(InvalidRequest)),
        (read(0, 511), Err(InvalidRequest)),
        (read(8192, 512), Err(OutOfRange)),
        (read(8192 - 512, 1024), Err(OutOfRange)),
        (read(u64::MAX, 512), Err(OutOfRange)),
        (short, Err(InvalidRequest)),
        (with_data, Err(InvalidRequest)),
        (Request::flush(), Ok(())),
        // The maximum is for what carries data.
        (without(Operation::Discard, 0, 8192), Ok(())),
        (without(zero, 0, 8192), Ok(())),
        (without(zero, 512, 8192), Err(OutOfRange)),
        (without(Operation::Discard, 0, 0), Err(InvalidRequest)),
    ] {
        assert_eq!(GEOMETRY.check(&request), want, "{request:?}");
    }
    let none = Geometry { discard: false, write_zeroes: false, ..GEOMETRY };
    assert_eq!(none.check(&without(Operation::Discard, 0, 512)), Err(NotSupported));
    assert_eq!(none.check(&without(zero, 0, 512)), Err(NotSupported));
    let read_only = Geometry { read_only: true, ..GEOMETRY };
    assert_eq!(read_only.check(&Request::write(0, vec![0; 512])), Err(ReadOnly));
    assert_eq!(read_only.check(&read(0, 512)), Ok(()));
    assert_eq!(read_only.check(&Request::flush()), Ok(()));
}

#[test]
fn a_geometry_that_contradicts_itself_is_refused() {
    assert_eq!(GEOMETRY.validate(), Ok(()));
    for (geometry, want) in [
        (Geometry { logical_block: 256, ..GEOMETRY }, GeometryError::LogicalBlock(256)),
        (Geometry { logical_block: 1000, ..GEOMETRY }, GeometryError::LogicalBlock(1000)),
        (Geometry { logical_block: 131_072, ..GEOMETRY }, GeometryError::LogicalBlock(131_072)),
        (Geometry { bytes: 700, ..GEOMETRY }, GeometryError::Size(700)),
        (Geometry { preferred: 0, ..GEOMETRY }, GeometryError::Preferred(0)),
        (Geometry { maximum: 0, ..GEOMETRY }, GeometryError::Maximum(0)),
        (Geometry { maximum: 700, ..GEOMETRY }, GeometryError::Maximum(700)),
    ] {
        assert_eq!(geometry.validate(), Err(want));
    }
}

/// What every device has to do.
fn obeys(device: &dyn BlockDevice) {
    let bytes = device.geometry().bytes;
    let pattern: Vec<u8> = (0..2 << 20_usize).map(|index| (index % 251) as u8).collect();
    // Over a border of whatever the device is made of.
    let offset = (1 << 20) - 4096;
    run(device, Request::write(offset, pattern.clone()).with_fua(true)).unwrap();
    let back = run(device, Request::read(offset, 2 << 20, vec![9; 3 << 20])).unwrap();
    assert!(back == pattern, "what was read is not what was written");
    let zeroes = Operation::WriteZeroes { may_unmap: false };
    run(device, Request::without_data(zeroes, offset + 512, 1024)).unwrap();
    let back = run(device, Request::read(offset, 2048, Vec::new())).unwrap();
    assert_eq!(back[..512], pattern[..512]);
    assert_eq!(back[512..1536], [0; 1024]);
    assert_eq!(back[1536..], pattern[1536..2048]);
    let unmap = Operation::WriteZeroes { may_unmap: true };
    run(device, Request::without_data(unmap, 0, bytes)).unwrap();
    assert_eq!(run(device, Request::read(offset, 512, Vec::new())).unwrap(), [0; 512]);
    run(device, Request::without_data(Operation::Discard, 0, 4096)).unwrap();
    run(device, Request::flush()).unwrap();
    let beyond = run(device, Request::read(bytes, 512, Vec::new()));
    assert_eq!(beyond, Err(BlockError::OutOfRange));
}

#[test]
fn the_device_in_memory_obeys() {
    obeys(&MemoryDevice::new(4 << 20, 512));
}

#[test]
fn the_device_on_a_file_obeys_and_keeps_what_it_was_given() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(4 << 20).unwrap();
    let device = FileDevice::open(file.path(), false).unwrap();
    obeys(&device);
    run(&device, Request::write(512, vec![7; 512])).unwrap();
    drop(device);
    let kept = std::fs::read(file.path()).unwrap();
    assert_eq!((kept.len(), &kept[512..1024]), (4 << 20, &[7; 512][..]));
    let device = FileDevice::open(file.path(), true).unwrap();
    let refused = run(&device, Request::write(0, vec![0; 512]));
    assert_eq!(refused, Err(BlockError::ReadOnly));
}

#[test]
fn the_scripted_device_holds_fails_and_remembers() {
    let device = ScriptedDevice::new(MemoryDevice::new(8192, 512));
    device.fail_next(Operation::Flush, BlockError::NoPath);
    assert_eq!(run(&device, Request::flush()), Err(BlockError::NoPath));
    assert_eq!(run(&device, Request::flush()), Ok(Vec::new()));
    device.hold(true);
    let kept = Arc::new(Kept::default());
    for tag in 0..2 {
        let completion = Completion::new(Arc::clone(&kept) as Arc<dyn Sink>, tag);
        device.submit(Request::flush(), completion);
    }
    assert!(device.wait_held(2, std::time::Duration::from_secs(5)));
    assert!(kept.0.lock().unwrap().is_empty());
    device.release();
    let tags: Vec<u64> = kept.0.lock().unwrap().iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, [1, 0]);
    assert_eq!(device.seen().len(), 4);
}

#[test]
fn a_device_that_is_split_obeys() {
    obeys(&Split::new(MemoryDevice::new(4 << 20, 512).with_maximum(12_288), 4 << 20));
}

#[test]
fn long_requests_come_in_parts_and_end_once() {
    let below = Arc::new(ScriptedDevice::new(MemoryDevice::new(1 << 20, 512).with_maximum(4096)));
    let device = Split::new(Arc::clone(&below), 1 << 20);
    assert_eq!(device.geometry().maximum, 1 << 20);
    let data: Vec<u8> = (0..10_240_u32).map(|index| (index / 512) as u8).collect();
    below.hold(true);
    let kept = Arc::new(Kept::default());
    let submit = |request, tag| {
        device.submit(request, Completion::new(Arc::clone(&kept) as Arc<dyn Sink>, tag));
    };
    let write = Request { reissued: true, ..Request::write(512, data.clone()) };
    submit(write.with_fua(true), 1);
    let part = |offset, length| Request {
        reissued: true,
        fua: true,
        ..Request::without_data(Operation::Write, offset, length)
    };
    assert_eq!(below.seen(), [part(512, 4096), part(4608, 4096), part(8704, 2048)]);
    // In whatever order the parts end.
    below.release();
    assert_eq!(*kept.0.lock().unwrap(), [(1, Ok(data.clone()))]);
    below.hold(false);
    assert_eq!(run(&device, Request::read(512, 10_240, vec![0xff; 9])), Ok(data));
}

#[test]
fn a_long_request_fails_with_its_first_part_that_fails() {
    let below = Arc::new(ScriptedDevice::new(MemoryDevice::new(1 << 20, 512).with_maximum(4096)));
    let device = Split::new(Arc::clone(&below), 1 << 20);
    below.fail_next(Operation::Write, BlockError::NoSpace);
    below.fail_next(Operation::Write, BlockError::Io);
    assert_eq!(run(&device, Request::write(0, vec![0; 16_384])), Err(BlockError::NoSpace));
    // All of its parts were submitted, and nothing is left of them.
    assert_eq!(below.seen().len(), 4);
    // A part that is dropped is a part that fails.
    below.hold(true);
    let kept = Arc::new(Kept::default());
    let completion = Completion::new(Arc::clone(&kept) as Arc<dyn Sink>, 0);
    device.submit(Request::read(0, 8192, Vec::new()), completion);
    drop(below.take_held());
    assert_eq!(*kept.0.lock().unwrap(), [(0, Err(BlockError::Abandoned))]);
}
