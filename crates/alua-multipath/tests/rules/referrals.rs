//! LBA-dependent paths: see `alua_multipath::referrals`.

use alua_core::access::{AccessState, Tpgs};
use alua_core::spc::referrals::SegmentLayout;
use alua_multipath::{Config, ControlKind, Operation, PathTraits, Request};

use crate::rig::{GOOD, READ, Rig, WRITE, check};

const LBD: AccessState = AccessState::LbaDependent;

/// A segment that one group has and the other refuses.
fn segment(first: u64, last: u64, group: u16) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 2];
    bytes.extend(first.to_be_bytes());
    bytes.extend(last.to_be_bytes());
    for id in [1, 2_u16] {
        bytes.extend([if id == group { 0 } else { 3 }, 0]);
        bytes.extend(id.to_be_bytes());
    }
    bytes
}

fn map(segments: &[Vec<u8>]) -> Vec<u8> {
    let body = segments.concat();
    let mut map = vec![0, 0];
    map.extend((body.len() as u16).to_be_bytes());
    map.extend(body);
    map
}

/// Two LBA-dependent groups; `segments` is what the array tells of them.
fn divided(segments: &[Vec<u8>]) -> Rig {
    let config = Config { referrals: Some(SegmentLayout::default()), ..Config::default() };
    let mut rig = Rig::new(config, Tpgs::Implicit, &[(1, LBD), (2, LBD)]);
    rig.map = map(segments);
    rig.pass(100);
    rig
}

fn halves() -> Rig {
    divided(&[segment(0, 99, 1), segment(100, (1 << 20) - 1, 2)])
}

fn group(rig: &Rig, place: usize) -> u16 {
    rig.view(place).group.unwrap()
}

#[test]
fn each_request_goes_to_the_group_that_has_its_blocks() {
    let mut rig = halves();
    for turn in 0..16 {
        let (low, high) = (rig.goes(READ, turn), rig.goes(WRITE, 1_000 + turn * 8));
        assert_eq!((group(&rig, low), group(&rig, high)), (1, 2));
        rig.all_good();
    }
    assert!(rig.taken.is_empty(), "none went in parts");
}

#[test]
fn a_request_over_two_segments_goes_in_parts_one_after_the_other() {
    let mut rig = halves();
    let id = rig.submit(READ, 95);
    let first = rig.sent[0];
    assert_eq!((first.part.lba, first.part.blocks, first.offset), (95, 5, 0));
    assert_eq!(rig.sent.len(), 1);
    rig.back(id, &GOOD);
    assert_eq!(rig.taken, [(id, 0)]);
    let second = rig.sent[0];
    assert_eq!((second.part.lba, second.part.blocks, second.offset), (100, 3, 5));
    assert_eq!((group(&rig, rig.place(first.path)), group(&rig, rig.place(second.path))), (1, 2));
    assert!(rig.done.iter().all(|done| done.0 != id), "not complete with one part");
    rig.back(id, &GOOD);
    assert_eq!(rig.taken, [(id, 0), (id, 5)]);
    assert!(rig.done.contains(&(id, Ok(()))));
}

#[test]
fn what_is_behind_a_request_in_parts_waits_for_all_of_it() {
    let mut rig = halves();
    let first = rig.submit(WRITE, 96);
    let second = rig.submit(WRITE, 100);
    assert!(rig.sent.iter().all(|send| send.id == first), "it overlaps");
    rig.back(first, &GOOD);
    assert!(rig.sent.iter().all(|send| send.id == first), "the second part is out");
    rig.back(first, &GOOD);
    assert!(rig.sent.iter().all(|send| send.id == second));
    rig.back(second, &GOOD);
    assert_eq!(rig.done.len(), 2);
}

/// WRITE SAME has no FUA, and a cache that was lost before the flush took the data along.
#[test]
fn zeroes_in_parts_are_flushed_at_the_end_and_written_anew_after_a_reset() {
    let mut rig = halves();
    let zeroes = Operation::WriteZeroes { fua: true, unmap: false };
    let id =
        rig.engine.submit(Request { operation: zeroes, lba: 96, blocks: 8 }, rig.now()).unwrap();
    rig.pump();
    rig.back(id, &GOOD);
    rig.back(id, &GOOD);
    assert_eq!(
        rig.sent.iter().find(|send| send.id == id).unwrap().part.operation,
        Operation::Flush
    );
    // Another request meets the reset.
    let other = rig.submit(READ, 500);
    rig.back(other, &check(&crate::rig::sense(6, 0x29, 0)));
    rig.pass(200);
    rig.back(id, &GOOD);
    rig.pass(200);
    let again = rig.sent.iter().find(|send| send.id == id).unwrap();
    assert_eq!((again.part.operation, again.part.lba), (zeroes, 96), "from the beginning");
}

/// The path through which the zeroes went died with a cache, and the new one is told of nothing.
#[test]
fn zeroes_are_written_anew_when_they_are_flushed_through_a_path_that_was_not_there() {
    let mut rig = Rig::new(Config::default(), Tpgs::Implicit, &[(1, AccessState::ActiveOptimized)]);
    let zeroes = Operation::WriteZeroes { fua: true, unmap: false };
    let id = rig.submit(zeroes, 96);
    rig.back(id, &GOOD);
    let flushing = rig.sent.iter().find(|send| send.id == id).unwrap();
    assert_eq!(flushing.part.operation, Operation::Flush);
    rig.add(1, 1, 9, PathTraits::default()).unwrap();
    rig.back(id, &GOOD);
    rig.pass(200);
    assert!(rig.done.is_empty());
    let again = rig.sent.iter().find(|send| send.id == id).unwrap();
    assert_eq!(again.part.operation, zeroes);
}

/// Nobody flushes what was not acknowledged, so a cache that was lost meanwhile took it along.
#[test]
fn a_write_in_parts_begins_anew_when_a_reset_came_between_them() {
    let mut rig = halves();
    let id = rig.submit(WRITE, 96);
    rig.back(id, &GOOD);
    let other = rig.submit(READ, 500);
    rig.back(other, &check(&crate::rig::sense(6, 0x29, 0)));
    rig.pass(200);
    rig.back(id, &GOOD);
    rig.pass(200);
    assert!(rig.done.iter().all(|done| done.0 != id), "the first part may be gone");
    let again = rig.sent.iter().find(|send| send.id == id).unwrap();
    assert_eq!(again.part.lba, 96, "from the beginning");
    rig.back(id, &GOOD);
    rig.back(id, &GOOD);
    assert!(rig.done.contains(&(id, Ok(()))));
}

/// Sense data that say which group has the first blocks.
fn referral(group: u16) -> Vec<u8> {
    let mut sense = vec![0x72, 0x0b, 0x3f, 0x15, 0, 0, 0, 0];
    let referral = segment(0, 4_095, group);
    sense.extend([0x0b, referral.len() as u8 + 2, 0, 0]);
    sense.extend(referral);
    sense[7] = (sense.len() - 8) as u8;
    sense
}

/// It has become LBA-dependent and told nobody; that another group was so before must not hide it.
#[test]
fn a_referral_by_a_group_that_is_not_known_to_be_lba_dependent_has_the_states_read() {
    let config = Config { referrals: Some(SegmentLayout::default()), ..Config::default() };
    let states = [(1, AccessState::ActiveOptimized), (2, LBD)];
    let mut rig = Rig::new(config, Tpgs::Implicit, &states);
    rig.map = map(&[segment(0, (1 << 20) - 1, 2)]);
    rig.pass(100);
    rig.set(1, LBD);
    let id = rig.submit(READ, 1_000);
    assert_eq!(group(&rig, rig.place(rig.sent[0].path)), 1);
    rig.back(id, &check(&referral(2)));
    rig.pass(1_000);
    for turn in 0..8 {
        let place = rig.goes(READ, turn * 8);
        assert_eq!(group(&rig, place), 2);
    }
}

#[test]
fn a_referral_in_sense_data_counts_at_once() {
    let mut rig = divided(&[]);
    rig.map = Vec::new();
    let id = rig.submit(READ, 1_000);
    let wrong = rig.sent[0].path;
    let other = if group(&rig, rig.place(wrong)) == 1 { 2 } else { 1 };
    rig.back(id, &check(&referral(other)));
    assert_eq!(group(&rig, rig.place(rig.sent[0].path)), other);
    for turn in 0..8 {
        let place = rig.goes(READ, turn * 8);
        assert_eq!(group(&rig, place), other);
    }
}

#[test]
fn a_map_that_cannot_be_read_is_asked_for_ever_more_slowly() {
    let mut rig = divided(&[]);
    rig.map = Vec::new();
    rig.set(1, AccessState::ActiveNonOptimized);
    rig.tell_changed(2);
    rig.pass(60_000);
    let reads = rig.controls.iter().filter(|it| matches!(it.kind, ControlKind::Referrals { .. }));
    assert!((10..40).contains(&reads.clone().count()), "{}", reads.count());
    let place = rig.goes_after_ask();
    assert!(place < 4, "LBA-dependent is as good as non-optimized");
}
