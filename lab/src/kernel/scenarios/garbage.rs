//! A target that answers with garbage where it is asked who it is, and what is wrong with it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::super::asker::Asker;
use super::super::{Run, disk, until};
use super::access::{agree, seen, settle, touch};
use super::churn::designators;
use super::two_controllers;
use crate::sysfs::{delete, rescan, scan};

const SOON: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(20);
const TURNS: Duration = Duration::from_secs(100);

/// Whether a block can be read through a path.
fn passes(hctl: &str) -> bool {
    disk::node(hctl).and_then(|node| disk::read_block(&node, READ)).is_ok()
}

/// Page 83h as the kernel read it.
fn page_83(hctl: &str) -> Result<Vec<u8>> {
    Ok(std::fs::read(Path::new("/sys/bus/scsi/devices").join(hctl).join("vpd_pg83"))?)
}

/// Designators of a path's page 83h are garbled one by one, and the path is looked at again, or found.
pub(super) fn pages(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "")?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    // The first one is where other pages have something too.
    let places: Vec<usize> = designators(&path)?.into_iter().skip(1).map(|(at, _)| at).collect();
    let good = page_83(&path)?;
    let mut wrong = Vec::new();
    let mut done = 0_u32;
    for at in places {
        // Code set and association, kind, length: none of them what it was, or what may be.
        for (offset, data) in [(at, "0f ff 00 ff"), (at + 3, "01"), (at + 3, "ff")] {
            done += 1;
            let what = format!("{data} at {offset}");
            model.apply(&format!(
                "do = \"fault\"\nname = \"garbled\"\nport = 1\ncommand = \"inquiry\"\n\
                 action = \"patch\"\noffset = {offset}\ndata = \"{data}\""
            ))?;
            if done.is_multiple_of(4) {
                delete(&path)?;
                scan(&path)?;
            } else {
                rescan(&path)?;
            }
            // The kernel has it, or none at all.
            let reached = page_83(&path).map_or(true, |page| page != good);
            let others = model.paths[1..].iter().all(|other| passes(&other.hctl));
            // It may be refused, but not without an end.
            let own = disk::read_block(&disk::node(&path)?, READ);
            let hangs = own.is_err_and(|error| error.to_string().contains("did not end"));
            model.apply("do = \"disarm\"\nfault = \"garbled\"")?;
            rescan(&path)?;
            let mended =
                until(SOON, || agree(&model)).is_some() && until(SOON, || passes(&path)).is_some();
            if !reached || !others || hangs || !mended {
                let seen = seen(&model);
                wrong.push(format!("{what}: {reached}, {others}, {hangs}, {mended}, {seen}"));
            }
        }
    }
    run.check(
        "A09, S7-7",
        "with a garbled page 83h the other paths pass I/O, and with a good one the path does again",
        done >= 5 && wrong.is_empty(),
        wrong.join("; "),
    );
    run.figure("garbled pages 83h", done.into());
    model.take_down()
}

/// A small generator: the same bytes in every run.
fn noise(round: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// Sense data that begin like some format and are noise from there, or nothing but one byte.
fn garbled(round: u32) -> Vec<u8> {
    const CODES: [u8; 8] = [0x70, 0x71, 0x72, 0x73, 0xf0, 0x7f, 0x00, 0xff];
    let code = CODES[round as usize % CODES.len()];
    let mut sense = match round / 8 {
        0 => vec![0xff; 96],
        1 => vec![0; 96],
        2 => noise(round, 8),
        _ => noise(round, 96),
    };
    sense[0] = code;
    sense
}

/// What commands meet, each its own fault.
const MET: [&str; 4] =
    ["read-10", "report-target-port-groups", "set-target-port-groups", "test-unit-ready"];

/// What the handler's commands and I/O end with is garbled.
pub(super) fn sense(run: &mut Run) -> Result<()> {
    const ROUNDS: u32 = 48;
    let asker = Asker::ready()?;
    let faults: String = MET
        .iter()
        .map(|command| {
            format!(
                "[[fault]]\nname = \"{command}\"\narmed = false\ncount = 2\naction = \"check\"\n\
                 sense = \"2/04/0a\"\ncommand = \"{command}\"\n"
            )
        })
        .collect();
    let model = two_controllers("", &faults)?;
    settle(&model)?;
    let nodes = [disk::node(&model.paths[0].hctl)?, disk::node(&model.paths[2].hctl)?];
    let mut met = [0; MET.len()];
    let mut hung = Vec::new();
    for round in 0..ROUNDS {
        model.garble(Some(garbled(round)));
        for command in MET {
            model.apply(&format!("do = \"arm\"\nfault = \"{command}\""))?;
        }
        let place = if model.state(0, 1)? == "active/optimized" { 2 } else { 0 };
        match round % 3 {
            0 => rescan(&model.paths[place].hctl)?,
            // Not there yet: STPG is sent.
            1 => asker.ask(&model.paths[place].hctl, 1)?,
            // Asked by TEST UNIT READY.
            _ => touch(&model)?,
        }
        for node in &nodes {
            let read = disk::read_block(node, READ);
            if read.is_err_and(|error| error.to_string().contains("did not end")) {
                hung.push(round.to_string());
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        for (met, command) in met.iter_mut().zip(MET) {
            *met += model.fault_count(command);
            model.apply(&format!("do = \"disarm\"\nfault = \"{command}\""))?;
        }
        model.garble(None);
    }
    run.check(
        "S7-12",
        &format!("commands that meet {ROUNDS} kinds of garbled sense data end"),
        hung.is_empty(),
        hung.join(", "),
    );
    run.check(
        "S7-12",
        "reads, reports and STPG met them",
        met[..3].iter().all(|&met| met > 0),
        format!("{met:?}"),
    );
    asker.check(run, "F08", "and each activation ends, once", TURNS);
    for path in model.of(0) {
        rescan(&path.hctl)?;
    }
    touch(&model)?;
    let time = until(SOON, || agree(&model));
    run.check("S7-12", "then sysfs shows the truth", time.is_some(), seen(&model));
    let all = model.paths.iter().all(|path| passes(&path.hctl));
    run.check("S7-12", "and every path passes I/O", all, all);
    model.take_down()
}
