//! How fast the model runs: `cargo run --release -p alua-array --example speed -- 2`, where the
//! number is how many millions of commands of each kind are sent.
//!
//! Prints commands per second of wall time for short commands, for reads and writes of 4 KiB, and
//! for a controller failover of 4096 units with eight paths each.

use std::time::Instant;

use alua_array::{Array, Event, NexusId, Outcome, Time, shipped};

/// Runs `count` commands with 32 at a time and prints the rate.
fn rate(name: &str, array: &mut Array, nexuses: &[NexusId], count: u64, cdb: &[u8], data: &[u8]) {
    let start = Instant::now();
    let (mut sent, mut done) = (0, 0);
    while done < count {
        while sent < count && sent - done < 32 {
            let nexus = nexuses[sent as usize % nexuses.len()];
            array.submit(nexus, (sent % 4) as u16, sent, cdb, data, 4096).expect("the nexus lives");
            sent += 1;
        }
        if let Some(next) = array.next_event() {
            array.advance(next);
        }
        while let Some(completion) = array.poll_completion() {
            assert!(matches!(completion.outcome, Outcome::Answered { .. }));
            array.recycle(completion);
            done += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:<32} {:>12.0} commands/s", count as f64 / seconds);
}

fn main() {
    let millions: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    // Without an argument few enough for a build that is not optimized.
    let count = if millions == 0 { 50_000 } else { millions * 1_000_000 };
    let mut array = shipped::DEMO.build();
    let nexuses: Vec<NexusId> =
        (1..=4).map(|port| array.connect("host", port).expect("the port is up")).collect();
    rate("test unit ready", &mut array, &nexuses, count, &[0; 6], &[]);
    let rtpg = [0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0];
    rate("report target port groups", &mut array, &nexuses, count, &rtpg, &[]);
    let write = [0x2a, 0, 0, 0, 0, 8, 0, 0, 8, 0];
    rate("write 4 KiB", &mut array, &nexuses, count, &write, &[7; 4096]);
    let read = [0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0];
    rate("read 4 KiB", &mut array, &nexuses, count, &read, &[]);

    let start = Instant::now();
    let mut array = shipped::LARGE.build();
    println!("{:<32} {:>12.1} ms", "build 4096 units x 8 paths", ms(start));
    let nexuses: Vec<NexusId> =
        (1..=8).map(|port| array.connect("host", port).expect("the port is up")).collect();
    let start = Instant::now();
    let crash = "do = \"controller-crash\"\ncontroller = \"A\"";
    let crash = Event::from_toml(crash, &array.config().alua).expect("the event is right");
    array.apply(&crash).expect("the controller is there");
    array.advance(Time::from_millis(10_000));
    println!("{:<32} {:>12.1} ms", "failover of all of them", ms(start));
    let waiting: usize = nexuses
        .iter()
        .map(|&nexus| (0..4096).map(|lun| array.attentions(nexus, lun).len()).sum::<usize>())
        .sum();
    println!("{:<32} {waiting:>12}", "unit attentions that wait");
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
