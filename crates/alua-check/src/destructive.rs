//! Checks that write: to the last block of the unit, which is put back, and to its reservations; and
//! the one that resets it.

use alua_core::access::AccessState;
use alua_core::spc::Status;
use alua_core::spc::cdb::Cdb;
use alua_core::spc::sense::SenseKey;
use alua_core::spc::target_port_groups::GroupFields;

use crate::bench::{Answer, Bench, ROOM, rtpg_cdb};
use crate::explicit::{begin, change, restore, set};
use crate::identity::takes_part;
use crate::{Check, Needs, Skipped};

/// The reservation key.
const KEY: [u8; 8] = *b"aluaChk1";
/// The longest block that is handled, bytes.
const BLOCK_MAX: usize = 4096;

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "write-refused",
        rule: "in standby a WRITE is refused and changes nothing",
        source: "SPC, asymmetric access states: standby",
        needs: Needs::Destructive,
        run: write_refused,
    },
    Check {
        id: "io-over-switch",
        rule: "what was written before and during a switch is there after it, and every refusal in \
               between is one that a host may wait out",
        source: "SPC, transitions between states; practice",
        needs: Needs::Destructive,
        run: io_over_switch,
    },
    Check {
        id: "reservation-over-switch",
        rule: "a persistent reservation survives a change of access states",
        source: "SPC, persistent reservations: kept until released, cleared or preempted",
        needs: Needs::Destructive,
        run: reservation_over_switch,
    },
    // Destructive, for it ends every command of every host to the unit.
    Check {
        id: "states-over-reset",
        rule: "LOGICAL UNIT RESET changes no access state, and no path needs more than its unit \
               attention to go on",
        source: "SPC, asymmetric access after power on, hard reset, logical unit reset and I_T nexus \
                 loss: states that were set are kept; practice where the target changes them by \
                 itself: error recovery must not move a unit",
        needs: Needs::Destructive,
        run: states_over_reset,
    },
];

/// The last block and the block size.
fn last_block(bench: &mut Bench<'_>, path: usize) -> Result<(u64, usize), Skipped> {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
    let answer = bench.ask(path, &cdb, &[], 32);
    let number = |range: std::ops::Range<usize>| {
        answer.data.get(range).map(|b| b.iter().fold(0_u64, |n, &byte| n << 8 | u64::from(byte)))
    };
    match (number(0..8), number(8..12)) {
        (Some(last), Some(size)) if (1..=BLOCK_MAX as u64).contains(&size) => {
            Ok((last, size as usize))
        }
        _ => Err(format!("READ CAPACITY gives nothing to work with: {}", answer.text)),
    }
}

fn cdb_16(opcode: u8, lba: u64) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[13] = 1;
    cdb
}

/// A path that is live now.
fn live_path(bench: &mut Bench<'_>) -> Result<usize, Skipped> {
    for path in bench.paths() {
        if bench.tur(path).is_good() {
            return Ok(path);
        }
    }
    Err("no path is live".to_owned())
}

/// Two groups, each with a path: the one to change and the one to work through.
fn two_groups(bench: &mut Bench<'_>) -> Result<[(u16, usize); 2], Skipped> {
    let mut found: Vec<(u16, usize)> = Vec::new();
    for path in bench.paths() {
        if let Some(group) = bench.identity(path)?.group
            && found.iter().all(|(known, _)| *known != group)
        {
            found.push((group, path));
        }
    }
    match found.as_slice() {
        [one, two, ..] => Ok([*one, *two]),
        _ => Err("it takes paths through two groups".to_owned()),
    }
}

/// Reads the last block, works, and writes the block back.
fn with_block(
    bench: &mut Bench<'_>,
    work: impl FnOnce(&mut Bench<'_>, u64, usize) -> Result<(), Skipped>,
) -> Result<(), Skipped> {
    let (_, before) = begin(bench)?;
    let path = live_path(bench)?;
    let (last, size) = last_block(bench, path)?;
    let saved = bench.ask(path, &cdb_16(0x88, last), &[], size);
    if !saved.is_good() || saved.data.len() != size {
        return Err(format!("the last block cannot be read: {}", saved.text));
    }
    let result = work(bench, last, size);
    restore(bench, &before);
    let path = live_path(bench)?;
    let written = bench.ask(path, &cdb_16(0x8a, last), &saved.data, 0);
    bench.want(written.is_good(), path, &cdb_16(0x8a, last), &written, "the block is put back");
    result
}

fn write_refused(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let [(group, path), (_, other)] = two_groups(bench)?;
    with_block(bench, |bench, last, size| {
        let write = cdb_16(0x8a, last);
        let live = live_path(bench)?;
        bench.ask(live, &write, &vec![0xa1; size], 0);
        let (_, answer) = bench.stpg(other, &[(group, AccessState::Standby)]);
        bench.settled()?;
        if !answer.is_good() {
            return Err("the group cannot be put into standby".to_owned());
        }
        let answer = bench.ask(path, &write, &vec![0xb2; size], 0);
        let right = answer.is(SenseKey::NotReady, 0x04, 0x0b);
        bench.want(right, path, &write, &answer, "NOT READY 04/0B: the group is standby");
        let read = cdb_16(0x88, last);
        let live = live_path(bench)?;
        let answer = bench.ask(live, &read, &[], size);
        let right = answer.is_good() && answer.data.iter().all(|&byte| byte == 0xa1);
        bench.want(right, live, &read, &answer, "the block as it was before the refused WRITE");
        Ok(())
    })
}

/// Whether a host may wait such an answer out on another path or later.
fn may_wait(answer: &Answer) -> bool {
    answer.is_good()
        || matches!(answer.status, Some(Status::Busy | Status::TaskSetFull))
        || matches!(answer.sense, Some((SenseKey::NotReady, 0x04, 0x0a..=0x0c)))
        || answer.is_attention()
}

fn io_over_switch(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let groups = two_groups(bench)?;
    with_block(bench, |bench, last, size| {
        let (write, read) = (cdb_16(0x8a, last), cdb_16(0x88, last));
        let told = bench.settled()?;
        let optimized =
            |group: u16| told.group(group).is_some_and(|g| g.state == AccessState::ActiveOptimized);
        let (to, through) = match groups {
            [one, two] if optimized(one.0) => (two.0, one.1),
            [one, two] => (one.0, two.1),
        };
        let mut newest = 0_u8;
        let (_, answer) = bench.stpg(through, &[(to, AccessState::ActiveOptimized)]);
        if !answer.is_good() {
            return Err("STPG changes nothing: see stpg-each-state".to_owned());
        }
        let begin = bench.now().as_millis();
        let limit = bench.limit_ms(&told);
        loop {
            for path in bench.paths() {
                let next = newest.wrapping_add(1);
                let answer = bench.send(path, &write, &vec![next; size], 0);
                bench.want(may_wait(&answer), path, &write, &answer, "GOOD or a wait");
                if answer.is_good() {
                    newest = next;
                }
                let answer = bench.send(path, &read, &[], size);
                if newest > 0 && answer.is_good() {
                    let right = answer.data.iter().all(|&byte| byte == newest);
                    bench.want(right, path, &read, &answer, "the block as it was written last");
                }
            }
            let told = bench.told_by_any()?;
            let over = !told.in_transition() && newest > 0;
            if over || bench.now().as_millis().saturating_sub(begin) > limit {
                break;
            }
            bench.wait_ms(100);
        }
        for path in bench.paths() {
            let answer = bench.ask(path, &read, &[], size);
            if answer.is_good() {
                let right = answer.data.iter().all(|&byte| byte == newest);
                bench.want(right, path, &read, &answer, "after it: the block as written last");
            }
        }
        Ok(())
    })
}

fn reserve_out(action: u8, kind: u8, key: [u8; 8], new: [u8; 8]) -> ([u8; 10], [u8; 24]) {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key);
    list[8..16].copy_from_slice(&new);
    ([0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], list)
}

fn reservation_over_switch(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    const WRITE_EXCLUSIVE_REGISTRANTS: u8 = 5;
    let [(group, path), (_, other)] = two_groups(bench)?;
    let (_, before) = begin(bench)?;
    let read_reservation = [0x5e, 1, 0, 0, 0, 0, 0, 0, 24, 0];
    let present = bench.ask(path, &read_reservation, &[], 24);
    if !present.is_good() {
        return Err(format!("there are no persistent reservations: {}", present.text));
    }
    if present.data.get(4..8).is_some_and(|length| length != [0; 4]) {
        return Err("somebody else has reserved the unit".to_owned());
    }
    let (cdb, list) = reserve_out(0, 0, [0; 8], KEY);
    let registered = bench.ask(path, &cdb, &list, 0);
    if !registered.is_good() {
        return Err(format!("REGISTER is refused: {}", registered.text));
    }
    let (cdb, list) = reserve_out(1, WRITE_EXCLUSIVE_REGISTRANTS, KEY, [0; 8]);
    let reserved = bench.ask(path, &cdb, &list, 0);
    bench.want(reserved.is_good(), path, &cdb, &reserved, "GOOD: the unit is reserved");
    let state = AccessState::ActiveNonOptimized;
    let (_, answer) = bench.stpg(path, &[(group, state)]);
    let switched = answer.is_good() && bench.settled().is_ok();
    for seen_by in [path, other] {
        let answer = bench.ask(seen_by, &read_reservation, &[], 24);
        let right = answer.data.get(8..16) == Some(&KEY);
        bench.want(right, seen_by, &read_reservation, &answer, "the reservation, with its key");
    }
    restore(bench, &before);
    let (cdb, list) = reserve_out(3, 0, KEY, [0; 8]);
    let cleared = bench.ask(path, &cdb, &list, 0);
    bench.want(cleared.is_good(), path, &cdb, &cleared, "GOOD: reservation and key are gone");
    for path in bench.paths() {
        bench.tur(path);
    }
    if switched { Ok(()) } else { Err("STPG changes nothing: see stpg-each-state".to_owned()) }
}

fn states_over_reset(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    // Where states can be set, one is set first: a target that goes back to its first ones would not
    // be found out otherwise.
    let before = match begin(bench) {
        Ok((told, before)) => {
            if let Ok((group, path, state)) = change(bench, &told)
                && set(bench, path, group, state).is_err()
            {
                restore(bench, &before);
                return Err("STPG changes nothing: see stpg-each-state".to_owned());
            }
            Some(before)
        }
        Err(_) => {
            takes_part(bench)?;
            bench.one_unit()?;
            None
        }
    };
    let result = over_reset(bench);
    if let Some(before) = before {
        restore(bench, &before);
    }
    result
}

fn over_reset(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let told = bench.settled()?;
    let mut live = Vec::new();
    for path in bench.paths() {
        // Nothing waits from before, either.
        if bench.tur(path).is_good() {
            live.push(path);
        }
    }
    let Some(&through) = live.first() else { return Err("no path is live".to_owned()) };
    bench.reset_unit(through)?;
    bench.settled()?;
    let expected = format!("the states of before: {}", told.states());
    for path in bench.paths() {
        let after = bench.told(path)?;
        let same = |(group, _): &(GroupFields, Vec<u16>)| {
            after.group(group.id).is_some_and(|now| now.state == group.state)
        };
        if !told.groups.iter().all(same) {
            bench.find(path, &rtpg_cdb(after.format, ROOM), &after.states(), &expected);
        }
    }
    for path in live {
        let cdb = Cdb::TestUnitReady.encode();
        let answer = bench.tur(path);
        let expected = "GOOD behind the unit attention: the path was live before";
        bench.want(answer.is_good(), path, cdb.as_bytes(), &answer, expected);
    }
    Ok(())
}
