//! `alua-bench-iscsi SECONDS NAME=ADDRESS,TARGET,LUN ...`: the same loads on each iSCSI target in
//! turn, in one run, with the ratios to the last one. With `idle COUNT` in place of the seconds: so
//! many sessions are held on the one target until standard input is closed. With `turn SECONDS
//! read|write random|sequential SIZE DEPTH`: one load on one target; it says how many commands there
//! were, how many in a second, and their median time in microseconds.

use std::io::Read as _;
use std::time::Duration;

use alua_bench::load::{Session, Work};

const NAME: &str = "iqn.2026-03.invalid.alua:bench";

struct Place {
    name: String,
    address: String,
    target: String,
    lun: u8,
}

fn place(text: &str) -> Option<Place> {
    let (name, rest) = text.split_once('=')?;
    let mut parts = rest.split(',');
    let (address, target, lun) = (parts.next()?, parts.next()?, parts.next()?);
    let own = str::to_owned;
    Some(Place {
        name: own(name),
        address: own(address),
        target: own(target),
        lun: lun.parse().ok()?,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = "alua-bench-iscsi SECONDS|idle COUNT|turn ... NAME=ADDRESS,TARGET,LUN ...";
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["turn", seconds, way @ ("read" | "write"), order, size, depth, at] => {
            let (write, random) = (*way == "write", *order == "random");
            let work = Work { write, random, size: size.parse()?, depth: depth.parse()? };
            let place = place(at).ok_or(usage)?;
            let mut session = Session::log_in(&place.address, &place.target, place.lun, NAME, 1)?;
            let rate = session.run(place.lun, &work, Duration::from_secs(seconds.parse()?))?;
            println!("{} {:.1} {:.1}", rate.commands, rate.per_second, rate.median_us);
            Ok(())
        }
        ["idle", count, at] => idle(count.parse()?, &place(at).ok_or(usage)?),
        [seconds, places @ ..] if !places.is_empty() => {
            let places: Option<Vec<Place>> = places.iter().copied().map(place).collect();
            compare(Duration::from_secs(seconds.parse()?), &places.ok_or(usage)?)
        }
        _ => Err(usage.into()),
    }
}

fn compare(time: Duration, places: &[Place]) -> Result<(), Box<dyn std::error::Error>> {
    let small = |write, depth| Work { write, random: true, size: 4096, depth };
    let large = |write| Work { write, random: false, size: 1 << 20, depth: 4 };
    println!(
        "{:<28}{:<8}{:>12}{:>10}{:>10}{:>8}",
        "load", "target", "per s", "median", "p99", "ratio"
    );
    for (title, work) in [
        ("4 KiB random read, 1", small(false, 1)),
        ("4 KiB random write, 1", small(true, 1)),
        ("4 KiB random read, 32", small(false, 32)),
        ("4 KiB random write, 32", small(true, 32)),
        ("1 MiB sequential write, 4", large(true)),
        ("1 MiB sequential read, 4", large(false)),
    ] {
        let mut rates = Vec::new();
        for (serial, place) in (0..).zip(places) {
            let mut session =
                Session::log_in(&place.address, &place.target, place.lun, NAME, serial)?;
            // Once to warm up.
            session.run(place.lun, &work, time / 4)?;
            rates.push(session.run(place.lun, &work, time)?);
        }
        let last = rates.last().map_or(1.0, |rate| rate.per_second);
        for (place, rate) in places.iter().zip(&rates) {
            println!(
                "{title:<28}{:<8}{:>12.0}{:>7.0} us{:>7.0} us{:>8.2}",
                place.name,
                rate.per_second,
                rate.median_us,
                rate.p99_us,
                rate.per_second / last
            );
        }
    }
    Ok(())
}

fn idle(count: u16, place: &Place) -> Result<(), Box<dyn std::error::Error>> {
    let log_in = |serial| Session::log_in(&place.address, &place.target, place.lun, NAME, serial);
    let sessions = (0..count).map(log_in).collect::<Result<Vec<_>, _>>()?;
    println!("{} sessions", sessions.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
