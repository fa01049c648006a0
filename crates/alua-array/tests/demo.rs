//! A newcomer's first steps on the built-in array.

use std::time::Duration;

use alua_array::{Array, Command, Completion, Event, NexusId, Time, shipped};

const SECOND: Duration = Duration::from_secs(1);

fn send(array: &mut Array, nexus: NexusId, cdb: &[u8], out: &[u8], room: usize) -> Completion {
    array.execute(nexus, 0, 7, cdb, out, room, SECOND).unwrap().expect("it does not hang")
}

#[test]
fn a_disk_can_be_found_read_and_written() {
    let mut array = shipped::DEMO.build();
    let nexus = array.connect("host", 1).unwrap();
    let inquiry = send(&mut array, nexus, &[0x12, 0, 0, 0, 96, 0], &[], 96);
    assert_eq!(&inquiry.outcome.data()[8..26], b"ALUA    DEMO ARRAY");
    let mut write = vec![0x8a, 0];
    write.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0]);
    let data: Vec<u8> = (0..1024_u32).map(|n| n as u8).collect();
    assert!(send(&mut array, nexus, &write, &data, 0).outcome.is_good());
    let other = array.connect("host", 4).unwrap();
    let mut read = write.clone();
    read[0] = 0x88;
    let seen = send(&mut array, other, &read, &[], 1024);
    assert_eq!(seen.outcome.data(), data);
    // Through the group that is not optimized it takes longer.
    assert_eq!(array.now().as_nanos(), 200_000 * 3 + 300_000);
}

#[test]
fn a_switch_takes_its_time_and_is_announced_once() {
    let mut array = shipped::DEMO.build();
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 3).unwrap());
    let switch = Event::Switch { unit: None, to: "B".into(), transition: None, fails: false };
    array.apply(&switch).unwrap();
    let said = |array: &mut Array, nexus| send(array, nexus, &[0; 6], &[], 0).outcome.to_string();
    assert_eq!(said(&mut array, a), "CHECK CONDITION 2/04/0a");
    assert_eq!(said(&mut array, b), "CHECK CONDITION 2/04/0a");
    array.advance(Time::from_millis(2000));
    for nexus in [a, b] {
        assert_eq!(said(&mut array, nexus), "CHECK CONDITION 6/2a/06");
        assert_eq!(said(&mut array, nexus), "GOOD");
    }
    assert_eq!(array.counters().sent(Command::TestUnitReady), 6);
}
