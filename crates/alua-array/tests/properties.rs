//! Whatever comes: an answer, no panic, and the same answer again.

mod common;

use std::time::Duration;

use alua_array::{Array, Command, Outcome, Time, TraceMode, shipped};
use alua_core::spc::Status;
use alua_core::spc::sense::Sense;
use proptest::prelude::*;

/// A CDB that begins with an operation code that is known, or with anything.
fn cdb() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<(u8, u8)> = Command::all()
        .map(|command| (command.opcode().unwrap(), command.service_action().unwrap_or(0)))
        .collect();
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 32),
        // Mostly zeros: more of it passes the first checks.
        prop::collection::vec(prop_oneof![4 => Just(0), 1 => 0..=255_u8], 32),
    ];
    (bytes, prop::sample::select(known), any::<bool>(), 1..=32_usize).prop_map(
        |(mut bytes, (opcode, action), known, length)| {
            if known {
                bytes[0] = opcode;
                if action != 0 {
                    bytes[1] = bytes[1] & 0xe0 | action;
                }
            }
            bytes.truncate(length.max(if known { 6 } else { 1 }));
            bytes
        },
    )
}

#[derive(Clone, Debug)]
struct Step {
    nexus: usize,
    lun: u16,
    cdb: Vec<u8>,
    data: Vec<u8>,
    room: usize,
    wait: u64,
    /// 0 to 9: nothing but the command; then task management and events.
    also: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let data = prop_oneof![
        Just(vec![]),
        prop::collection::vec(any::<u8>(), 0..64),
        (any::<u8>(), 0..3000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    (0..4_usize, 0..4_u16, cdb(), data, 0..2048_usize, 0..3_000_000_u64, 0..20_u8).prop_map(
        |(nexus, lun, cdb, data, room, wait, also)| Step {
            nexus,
            lun,
            cdb,
            data,
            room,
            wait,
            also,
        },
    )
}

/// What can happen besides commands.
const EVENTS: [&str; 10] = [
    "do = \"switch\"\nto = \"B\"",
    "do = \"switch\"\nto = \"A\"\ntransition = \"never\"",
    "do = \"port-down\"\nport = 1\ntasks = \"run\"",
    "do = \"port-up\"\nport = 1",
    "do = \"controller-crash\"\ncontroller = \"B\"\nlose_cache = true",
    "do = \"controller-return\"\ncontroller = \"B\"\ngiveback = true",
    "do = \"split\"",
    "do = \"heal\"",
    "do = \"map\"\nlun = 3\nunit = \"disk0\"\nport = 2",
    "do = \"set-state\"\ngroup = 2\nstate = \"lba-dependent\"\nunit = \"disk1\"",
];

const CONFIG: &str = r#"
[array]
seed = 5
jitter = "100us"
queue_depth = 8
connect_attention = "29/00"

[[unit]]
name = "parted"
lun = 2
blocks = 100
block_size = 4096
write_cache = true
states = { 1 = "lba-dependent", 2 = "lba-dependent" }
segments = [{ first = 0, last = 49, group = 1 }, { first = 50, last = 99, group = 2 }]

[[fault]]
name = "ghost"
per_mille = 50
action = "transport"
runs_after = "1ms"

[[fault]]
name = "hang"
per_mille = 30
action = "hang"

[[fault]]
name = "stubborn"
per_mille = 30
action = "ignore-abort"
delay = "1ms"

[[fault]]
name = "late"
per_mille = 50
action = "late-answer"
delay = "2ms"

[[fault]]
name = "growing"
per_mille = 50
action = "growing"
step = 7

[[fault]]
name = "garbage"
per_mille = 50
action = "garbage"
bytes = 40
"#;

/// Runs the steps; gives the lines of the trace and its digest.
fn run(steps: &[Step]) -> (Vec<String>, u64) {
    let mut array = common::array(CONFIG);
    array.set_trace(TraceMode::Lines);
    let alua = array.config().alua.clone();
    let hosts = [("one", 1), ("one", 2), ("two", 1), ("two", 2)];
    let mut nexuses: Vec<_> =
        hosts.iter().map(|(host, port)| array.connect(host, *port).unwrap()).collect();
    let mut open = 0_usize;
    for (tag, step) in (0..).zip(steps) {
        let nexus = nexuses[step.nexus];
        if array.submit(nexus, step.lun, tag, &step.cdb, &step.data, step.room).is_ok() {
            open += 1;
        }
        match step.also {
            8 => drop(array.abort(nexus, tag)),
            9 => drop(array.reset_unit(nexus, step.lun)),
            10..=19 => {
                let event = EVENTS[usize::from(step.also) - 10];
                array.apply(&alua_array::Event::from_toml(event, &alua).unwrap()).unwrap();
            }
            _ => {}
        }
        if step.also == 7
            && let Ok(again) = array.connect(hosts[step.nexus].0, hosts[step.nexus].1)
        {
            nexuses[step.nexus] = again;
        }
        array.advance(array.now().after(Duration::from_nanos(step.wait)));
        open = open.saturating_sub(check(&mut array));
    }
    array.advance(Time::MAX);
    open = open.saturating_sub(check(&mut array));
    // What is left hangs, or was aborted without an answer.
    assert!(array.held_commands() <= open);
    (array.take_trace(), array.trace_digest())
}

/// Every completion is a proper one. Gives how many there were.
fn check(array: &mut Array) -> usize {
    let mut count = 0;
    while let Some(done) = array.poll_completion() {
        count += 1;
        if let Outcome::Answered { status, sense, .. } = &done.outcome {
            assert!(!matches!(status, Status::Other(_)));
            assert_eq!(sense.is_some(), *status == Status::CheckCondition);
            if let Some(sense) = sense {
                let read = Sense::parse(sense.as_bytes()).unwrap();
                let triple = sense.triple();
                assert_eq!((read.asc, read.ascq), (triple.code.asc, triple.code.ascq));
                assert_eq!(read.key.bits(), triple.key);
            }
        }
        array.recycle(done);
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_answered_and_twice_the_same(steps in prop::collection::vec(step(), 1..60)) {
        let (first, digest) = run(&steps);
        let (second, again) = run(&steps);
        prop_assert_eq!(first, second);
        prop_assert_eq!(digest, again);
    }

    #[test]
    fn any_file_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(),
                                   file in 0..shipped::ALL.len()) {
        let mut text = shipped::ALL[file].text.as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(text) = String::from_utf8(text) {
            match Array::from_toml("any.toml", &text) {
                Ok(_) => {}
                Err(error) => {
                    let shown = error.to_string();
                    prop_assert!(shown.starts_with("any.toml:"), "{}", shown);
                }
            }
        }
    }
}

#[test]
fn every_script_runs_twice_the_same() {
    for shipped in shipped::ALL {
        let run = || {
            let mut array = shipped.build();
            array.set_trace(TraceMode::Lines);
            let ports: Vec<u16> = array.ports().collect();
            let nexuses: Vec<_> =
                ports.iter().map(|&port| array.connect("host", port).unwrap()).collect();
            for tag in 0..400_u64 {
                let nexus = nexuses[tag as usize % nexuses.len()];
                let cdb = if tag % 3 == 0 { common::write_16(tag, 1) } else { vec![0; 6] };
                array.submit(nexus, 0, tag, &cdb, &[tag as u8; 512], 0).unwrap();
                array.advance(array.now().after(Duration::from_millis(120)));
                while array.poll_completion().is_some() {}
            }
            array.take_trace()
        };
        let first = run();
        assert!(first.len() > 400, "{}", shipped.name);
        assert_eq!(first, run(), "{}", shipped.name);
    }
}

#[test]
fn the_trace_is_what_the_legend_says() {
    let mut array = shipped::GHOSTS.build();
    array.set_trace(TraceMode::Lines);
    let nexus = array.connect("host", 1).unwrap();
    for tag in 0..300 {
        array.submit(nexus, 0, tag, &common::write_16(tag, 1), &[1; 512], 0).unwrap();
        array.advance(array.now().after(Duration::from_millis(50)));
    }
    array.abort(nexus, 7);
    common::apply(&mut array, "do = \"switch\"\nto = \"B\"");
    array.advance(Time::from_millis(100_000));
    let legend: Vec<&str> = alua_array::TRACE_LEGEND
        .lines()
        .map(|line| line.trim_start_matches("what").split_whitespace().next().unwrap())
        .collect();
    let lines = array.take_trace();
    let mut kinds = std::collections::BTreeSet::new();
    let mut last = String::new();
    for line in &lines {
        let mut columns = line.split_whitespace();
        let time = columns.next().unwrap();
        assert_eq!(line.find(time).map(|at| at + time.len()), Some(14), "{line}");
        assert!(format!("{time:>14}") >= last, "{line}");
        last = format!("{time:>14}");
        kinds.insert(columns.next().unwrap().to_owned());
    }
    for kind in &kinds {
        assert!(legend.contains(&kind.as_str()), "{kind} is not in the legend");
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

/// Seeds that somebody wrote down must give the same run for ever: with another compiler, another
/// machine and another version of every dependency. Change the number only together with the model.
#[test]
fn a_seed_gives_the_same_run_for_ever() {
    let mut array = shipped::GHOSTS.build();
    array.set_trace(TraceMode::Digest);
    let nexuses = [1, 2].map(|port| array.connect("host", port).unwrap());
    for tag in 0..2000_u64 {
        let nexus = nexuses[tag as usize % 2];
        let cdb = common::write_16(tag % 64, 1);
        array.submit(nexus, 0, tag, &cdb, &[tag as u8; 512], 0).unwrap();
        array.advance(array.now().after(Duration::from_millis(10)));
        while array.poll_completion().is_some() {}
    }
    assert!(array.take_trace().is_empty());
    assert_eq!(array.trace_digest(), 17_707_595_870_853_995_469);
}
