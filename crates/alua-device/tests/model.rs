//! Devices over the model array on the real clock.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use alua_array::{Array, Event, LostTasks, TraceMode, shipped};
use alua_device::model::{ModelArray, Serve};
use alua_device::{Device, Ended};
use alua_export::block::{BlockDevice, BlockError, Operation, Request};
use alua_multipath::{NoPath, Switch};

mod common;

use common::{Load, run, start};

const LIMIT: Duration = Duration::from_secs(20);

fn quick() -> ModelArray {
    // As the demo array, with transitions that a test can wait for.
    let text = shipped::DEMO.text.replace("transition = \"2s\"", "transition = \"300ms\"");
    ModelArray::start(Array::from_toml("quick.toml", &text).unwrap())
}

fn serve(array: &ModelArray, change: impl FnOnce(&mut Serve)) -> Device {
    let mut serve = Serve::unit("data0");
    change(&mut serve);
    array.serve(&serve).unwrap()
}

fn wait_for(what: &str, device: &Device, ready: impl Fn(&alua_device::Snapshot) -> bool) {
    let end = Instant::now() + LIMIT;
    while !ready(&device.snapshot().unwrap()) {
        assert!(Instant::now() < end, "{what}: {:#?}", device.snapshot().unwrap());
        thread::sleep(Duration::from_millis(5));
    }
}

fn switch(to: &str) -> Event {
    Event::Switch {
        unit: Some("data0".to_owned()),
        to: to.to_owned(),
        transition: None,
        fails: false,
    }
}

#[test]
fn a_path_whose_port_is_down_at_the_start_joins_when_it_is_up() {
    let array = quick();
    array.apply(&Event::PortDown { port: 1, tasks: LostTasks::Run }).unwrap();
    let device = serve(&array, |_| {});
    assert_eq!(device.snapshot().unwrap().paths.len(), 3);
    array.apply(&Event::PortUp { port: 1 }).unwrap();
    wait_for("port 1 is used", &device, |snapshot| {
        snapshot.paths.iter().any(|path| path.label == "port1" && path.view.used)
    });
    assert_eq!(device.snapshot().unwrap().paths.len(), 4, "once");
    // What still looks for ports does not keep a device that nobody holds.
    array.apply(&Event::PortDown { port: 2, tasks: LostTasks::Run }).unwrap();
    let other =
        serve(&array, |serve| serve.initiator = "iqn.2026-03.invalid.alua:other".to_owned());
    other.stop(LIMIT).unwrap();
    assert_eq!(other.snapshot().map(|_| ()), Err(Ended));
    assert_eq!(device.snapshot().unwrap().paths.len(), 4);
}

#[test]
fn every_operation_does_what_it_should() {
    let device = serve(&quick(), |_| {});
    let geometry = device.geometry();
    assert_eq!((geometry.bytes, geometry.logical_block), (1 << 30, 512));
    let data: Vec<u8> = (0..1 << 20_u32).map(|index| (index % 253) as u8).collect();
    let buffer = run(&device, Request::write(512, data.clone()).with_fua(true)).unwrap();
    assert_eq!(buffer.len(), data.len(), "the buffer of a write can be used again");
    assert!(run(&device, Request::read(512, 1 << 20, Vec::new())).unwrap() == data);
    let zeroes = Operation::WriteZeroes { may_unmap: false };
    run(&device, Request::without_data(zeroes, 1024, 1024)).unwrap();
    let back = run(&device, Request::read(512, 4096, Vec::new())).unwrap();
    assert_eq!((&back[..512], &back[512..1536]), (&data[..512], &[0; 1024][..]));
    assert_eq!(back[1536..], data[1536..4096]);
    run(&device, Request::flush()).unwrap();
    // Longer than a request of the engine: in pieces.
    run(&device, Request::without_data(Operation::Discard, 0, 1 << 30)).unwrap();
    let pieces = device.snapshot().unwrap().unit.counters.submitted;
    let back = run(&device, Request::read(512, 512, Vec::new())).unwrap();
    assert_eq!(back, [0; 512], "the model reads unmapped blocks as zeroes");
    assert!(pieces > 64, "{pieces} requests");
    let beyond = run(&device, Request::read(1 << 30, 512, Vec::new()));
    assert_eq!(beyond, Err(BlockError::OutOfRange));
    device.stop(LIMIT).unwrap();
    assert_eq!(run(&device, Request::flush()), Err(BlockError::ShuttingDown));
    assert_eq!(device.snapshot().unwrap_err(), Ended);
}

#[test]
fn controllers_fail_over_under_load_and_nothing_is_lost() {
    let array = quick();
    let device = serve(&array, |_| {});
    let told = device.listen().unwrap();
    let block: Arc<dyn BlockDevice> = Arc::new(device.clone());
    let load = Load::start(&block, 4);
    let crash = |tasks| Event::ControllerCrash {
        controller: "A".to_owned(),
        tasks,
        lose_cache: false,
        takeover: true,
        transition: None,
    };
    let back = Event::ControllerReturn { controller: "A".to_owned(), giveback: true };
    let events = [
        switch("B"),
        switch("A"),
        Event::PortDown { port: 1, tasks: LostTasks::Run },
        Event::PortUp { port: 1 },
        crash(LostTasks::Run),
        back,
        Event::ResetUnit { unit: None },
    ];
    for event in &events {
        array.apply(event).unwrap();
        thread::sleep(Duration::from_millis(600));
    }
    let done = load.end();
    assert_eq!((done.errors.as_slice(), done.mismatches), (&[][..], 0), "{done:?}");
    assert!(done.requests > 1_000, "{done:?}");
    device.stop(LIMIT).unwrap();
    let texts: Vec<String> = told.try_iter().map(|told| told.text).collect();
    for expected in ["port1: its transport failed", "port1: answers again", "(transitioning)"] {
        assert!(texts.iter().any(|text| text.contains(expected)), "{expected}: {texts:#?}");
    }
    assert_eq!(texts.last().unwrap(), "stopped: every request is complete");
}

#[test]
fn requests_wait_for_a_path_and_fail_when_the_limit_is_over() {
    let array = quick();
    let device = serve(&array, |serve| serve.config.no_path = NoPath::Wait(400));
    for port in 1..=4 {
        array.apply(&Event::PortDown { port, tasks: LostTasks::Aborted }).unwrap();
    }
    let begin = Instant::now();
    assert_eq!(run(&device, Request::write(0, vec![1; 512])), Err(BlockError::NoPath));
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
    for port in 1..=4 {
        array.apply(&Event::PortUp { port }).unwrap();
    }
    wait_for("a path is back", &device, |it| it.paths.iter().any(|path| path.view.used));
    run(&device, Request::write(0, vec![1; 512])).unwrap();
    device.stop(LIMIT).unwrap();
}

#[test]
fn what_cannot_be_complete_in_time_fails_when_the_device_stops() {
    let array = quick();
    let device = serve(&array, |serve| serve.config.no_path = NoPath::Forever);
    for port in 1..=4 {
        array.apply(&Event::PortDown { port, tasks: LostTasks::Aborted }).unwrap();
    }
    let waiting = start(&device, Request::write(0, vec![1; 512]));
    let stopped = device.stop(Duration::from_millis(200));
    assert_eq!(stopped.unwrap_err().requests, 1);
    assert_eq!(waiting.recv().unwrap(), Err(BlockError::ShuttingDown));
}

#[test]
fn a_device_that_stops_completes_what_it_was_given() {
    let array = quick();
    let device = serve(&array, |serve| serve.config.limits.requests = 4);
    let requests: Vec<_> = (0..200)
        .map(|turn| start(&device, Request::write(turn * 4096, vec![turn as u8; 4096])))
        .collect();
    device.stop(LIMIT).unwrap();
    for request in requests {
        request.recv().unwrap().unwrap();
    }
}

#[test]
fn paths_are_taken_out_put_back_and_switched_to_by_hand() {
    let device = serve(&quick(), |_| {});
    wait_for("states are known", &device, |it| {
        it.paths.iter().all(|path| path.view.state.is_some())
    });
    let snapshot = device.snapshot().unwrap();
    let path = |name: &str| snapshot.path(name).unwrap().view.id;
    assert_eq!(snapshot.path("port1").unwrap().view.reason(), "it is one of the best paths");
    assert_eq!(snapshot.path("p2").unwrap().label, "port3");
    assert!(snapshot.path("port1").unwrap().cause.starts_with("reported through port"));
    assert!(device.set_failed(path("port1"), true).unwrap());
    let reason = |name: &str| device.snapshot().unwrap().path(name).unwrap().view.reason();
    assert_eq!(reason("port1"), "it was taken out by hand");
    device.set_failed(path("port1"), false).unwrap();
    wait_for("it is back", &device, |it| it.path("port1").unwrap().view.used);
    assert!(device.switch(Some(Switch::Group(2))).unwrap());
    assert_eq!(reason("port1"), "it came back a moment ago, or another path was chosen by hand");
    assert!(!device.switch(Some(Switch::Group(7))).unwrap());
    assert!(device.switch(None).unwrap());
    assert_eq!(reason("port3"), "a better path is live");
    assert!(device.remove_path(path("port3")).unwrap());
    assert!(!device.remove_path(path("port3")).unwrap());
    run(&device, Request::write(0, vec![1; 512])).unwrap();
    device.stop(LIMIT).unwrap();
}

#[test]
fn a_hanging_write_is_fenced_and_its_buffer_stays_until_then() {
    let fault =
        "\n[[fault]]\nname = \"hang\"\ncommand = \"write-16\"\ncount = 3\naction = \"hang\"\n";
    let text = format!("{}{fault}", shipped::DEMO.text);
    let array = match Array::from_toml("hang.toml", &text) {
        Ok(array) => ModelArray::start(array),
        Err(error) => panic!("{error}"),
    };
    let device = serve(&array, |serve| {
        serve.config.io_timeout_ms = 300;
        serve.traits.abort_task = false;
    });
    wait_for("states are known", &device, |it| {
        it.paths.iter().all(|path| path.view.state.is_some())
    });
    for turn in 0..8 {
        run(&device, Request::write(turn * 512, vec![turn as u8; 512])).unwrap();
    }
    let counters = device.snapshot().unwrap().unit.counters;
    assert!(counters.doubts > 0, "{counters:?}");
    assert_eq!(counters.doubts_outwaited, 0, "{counters:?}");
    device.stop(LIMIT).unwrap();
}

#[test]
fn a_reissued_write_runs_after_what_was_left_is_fenced_off() {
    let array = quick();
    let device = serve(&array, |_| {});
    run(&device, Request::write(0, vec![1; 512])).unwrap();
    array.with(|array| array.set_trace(TraceMode::Lines));
    let mut again = Request::write(0, vec![2; 512]);
    again.reissued = true;
    let later = start(&device, again);
    let behind = start(&device, Request::write(0, vec![3; 512]));
    later.recv().unwrap().unwrap();
    behind.recv().unwrap().unwrap();
    let trace = array.with(Array::take_trace);
    let at = |what: &str| trace.iter().position(|line| line.contains(what));
    let reset = at("data0 reset").expect("a logical unit reset");
    assert!(reset < at("medium").unwrap(), "{trace:#?}");
    device.stop(LIMIT).unwrap();
}

#[test]
fn without_a_reset_a_reissued_write_waits_as_long_as_an_old_one_may_live() {
    let array = quick();
    let begin = Instant::now();
    let device = serve(&array, |serve| {
        serve.config.fence.reset_unit = false;
        serve.config.fence.wait_ms = 500;
    });
    let mut again = Request::write(0, vec![2; 512]);
    again.reissued = true;
    run(&device, again).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?}", begin.elapsed());
    device.stop(LIMIT).unwrap();
}

/// Else its exports would wait for it as long as they wait at all.
#[test]
fn what_is_held_fails_at_once_when_the_end_is_near() {
    let array = quick();
    let device = serve(&array, |serve| serve.config.fence.reset_unit = false);
    run(&device, Request::write(0, vec![1; 512])).unwrap();
    device.give_up_held();
    run(&device, Request::write(0, vec![1; 512])).expect("nothing is held, so nothing changes");
    let mut again = Request::write(0, vec![2; 512]);
    again.reissued = true;
    let held = start(&device, again);
    let begin = Instant::now();
    device.give_up_held();
    assert_eq!(held.recv().unwrap(), Err(BlockError::ShuttingDown));
    device.stop(LIMIT).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[test]
fn two_devices_share_an_array() {
    let array = quick();
    let one = serve(&array, |_| {});
    let two = array.serve(&Serve::unit("data1")).unwrap();
    run(&one, Request::write(0, vec![1; 512])).unwrap();
    run(&two, Request::write(0, vec![2; 512])).unwrap();
    assert_eq!(run(&one, Request::read(0, 512, Vec::new())).unwrap(), [1; 512]);
    one.stop(LIMIT).unwrap();
    assert_eq!(run(&two, Request::read(0, 512, Vec::new())).unwrap(), [2; 512]);
    two.stop(LIMIT).unwrap();
}

#[test]
fn a_request_over_two_segments_goes_in_parts_to_the_group_that_has_each() {
    let array = ModelArray::start(shipped::FOUR_GROUPS.build());
    let device = array.serve(&Serve::unit("halves")).unwrap();
    wait_for("live paths", &device, |it| it.paths.iter().any(|path| path.view.used));
    let border = 524_288 * 512;
    let data: Vec<u8> = (0..64 * 512_u32).map(|index| (index % 251) as u8).collect();
    // The first requests may come before the map was read; the target refers them on.
    for turn in 0..20_u64 {
        let offset = border - 512 * (turn + 5);
        let write = Request::write(offset, data.clone()).with_fua(turn % 2 == 0);
        run(&device, write).unwrap();
        assert!(
            run(&device, Request::read(offset, data.len() as u32, Vec::new())).unwrap() == data
        );
    }
    let zeroes = Operation::WriteZeroes { may_unmap: true };
    run(&device, Request::without_data(zeroes, border - 4096, 8192).with_fua(true)).unwrap();
    let back = run(&device, Request::read(border - 4608, 8192, Vec::new())).unwrap();
    assert!(back[512..].iter().all(|&byte| byte == 0), "zeroes on both sides");
    let snapshot = device.snapshot().unwrap();
    let sum = |count: fn(&alua_multipath::PathCounters) -> u64| {
        snapshot.paths.iter().map(|path| count(&path.view.counters)).sum::<u64>()
    };
    let (good, retried) = (sum(|it| it.good), sum(|it| it.retried));
    assert!(good >= 84, "two commands for each request, {good} in all");
    assert!(retried <= 4, "{retried} went to the wrong group: {snapshot:#?}");
    device.stop(LIMIT).unwrap();
}
