//! A target that answers with garbage where it is asked who it is, and what is wrong with it.

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

/// Designators of a path's page 83h are garbled one by one, and the path is looked at again, or found.
pub(super) fn pages(run: &mut Run) -> Result<()> {
    let model = two_controllers("", "")?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    // The first one is where other pages have something too.
    let places: Vec<usize> = designators(&path)?.into_iter().skip(1).map(|(at, _)| at).collect();
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
            let others = model.paths[1..].iter().all(|other| {
                disk::node(&other.hctl).and_then(|node| disk::read_block(&node, READ)).is_ok()
            });
            // It may be refused, but not without an end.
            let own = disk::read_block(&disk::node(&path)?, READ);
            let hangs = own.is_err_and(|error| error.to_string().contains("did not end"));
            model.apply("do = \"disarm\"\nfault = \"garbled\"")?;
            rescan(&path)?;
            let mended = until(SOON, || agree(&model)).is_some()
                && until(SOON, || {
                    disk::node(&path).and_then(|node| disk::read_block(&node, READ)).is_ok()
                })
                .is_some();
            if !others || hangs || !mended {
                wrong.push(format!("{what}: {others}, {hangs}, {mended}, {}", seen(&model)));
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

/// What the handler's commands and I/O end with is garbled.
pub(super) fn sense(run: &mut Run) -> Result<()> {
    const ROUNDS: u32 = 48;
    let asker = Asker::ready()?;
    let model = two_controllers(
        "",
        "[[fault]]\nname = \"check\"\narmed = false\ncount = 4\naction = \"check\"\n\
         sense = \"2/04/0a\"\ncommand = [\"read-10\", \"report-target-port-groups\", \
         \"set-target-port-groups\", \"test-unit-ready\", \"inquiry\"]\n",
    )?;
    settle(&model)?;
    let path = model.paths[0].hctl.clone();
    let node = disk::node(&path)?;
    let (mut met, mut hung) = (0, Vec::new());
    for round in 0..ROUNDS {
        model.garble(Some(garbled(round)));
        model.apply("do = \"arm\"\nfault = \"check\"")?;
        match round % 3 {
            0 => rescan(&path)?,
            1 => asker.ask(&path, 1)?,
            _ => {}
        }
        let read = disk::read_block(&node, READ);
        if read.is_err_and(|error| error.to_string().contains("did not end")) {
            hung.push(round.to_string());
        }
        until(Duration::from_millis(50), || model.fault_count("check") >= 4);
        met += model.fault_count("check");
        model.apply("do = \"disarm\"\nfault = \"check\"")?;
        model.garble(None);
    }
    run.check(
        "S7-12",
        &format!("I/O that meets {ROUNDS} kinds of garbled sense data ends"),
        met > ROUNDS && hung.is_empty(),
        format!("{met} commands met them; hung: {}", hung.join(", ")),
    );
    asker.check(run, "F08", "and each activation, once", TURNS);
    rescan(&path)?;
    touch(&model)?;
    let time = until(SOON, || agree(&model));
    run.check("S7-12", "then sysfs shows the truth", time.is_some(), seen(&model));
    let passes = model
        .paths
        .iter()
        .all(|path| disk::node(&path.hctl).and_then(|node| disk::read_block(&node, READ)).is_ok());
    run.check("S7-12", "and every path passes I/O", passes, passes);
    model.take_down()
}
