//! The commands of a disk.

mod common;

use alua_array::{Array, MediumChange, NexusId};
use common::*;

fn ready() -> (Array, NexusId) {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    (array, nexus)
}

fn cdb_10(opcode: u8, flags: u8, lba: u32, count: u16) -> Vec<u8> {
    let mut cdb = vec![opcode, flags];
    cdb.extend_from_slice(&lba.to_be_bytes());
    cdb.push(0);
    cdb.extend_from_slice(&count.to_be_bytes());
    cdb.push(0);
    cdb
}

fn cdb_12(opcode: u8, lba: u32, count: u32) -> Vec<u8> {
    let mut cdb = vec![opcode, 0];
    cdb.extend_from_slice(&lba.to_be_bytes());
    cdb.extend_from_slice(&count.to_be_bytes());
    cdb.extend_from_slice(&[0, 0]);
    cdb
}

#[test]
fn reads_and_writes_of_every_length_meet() {
    let (mut array, nexus) = ready();
    let writes =
        [vec![0x0a, 0, 0, 10, 2, 0], cdb_10(0x2a, 0, 12, 2), cdb_12(0xaa, 14, 2), write_16(16, 2)];
    for (cdb, value) in writes.iter().zip(1..) {
        assert!(send(&mut array, nexus, cdb, &[value; 1024], 0).is_good());
    }
    let reads =
        [vec![0x08, 0, 0, 10, 8, 0], cdb_10(0x28, 0, 10, 8), cdb_12(0xa8, 10, 8), read_16(10, 8)];
    for cdb in reads {
        let outcome = send(&mut array, nexus, &cdb, &[], 4096);
        let seen: Vec<u8> = outcome.data().chunks(512).map(|block| block[511]).collect();
        assert_eq!(seen, [1, 1, 2, 2, 3, 3, 4, 4]);
    }
    // In READ (6) a count of 0 is 256.
    assert_eq!(send(&mut array, nexus, &[0x08, 0, 0, 0, 0, 0], &[], 1 << 20).data().len(), 131_072);
}

#[test]
fn blocks_that_are_not_there_are_refused() {
    let (mut array, nexus) = ready();
    for cdb in [
        read_16(8192, 1),
        read_16(8191, 2),
        read_16(u64::MAX, 2),
        cdb_10(0x28, 0, u32::MAX, 1),
        cdb_10(0x35, 0, 8192, 1),
        cdb_10(0x2f, 0, 8000, 500),
    ] {
        assert_eq!(said(&mut array, nexus, &cdb), "CHECK CONDITION 5/21/00", "{cdb:02x?}");
    }
    let sense = send(&mut array, nexus, &read_16(8190, 4), &[], 4096);
    let sense = alua_core::spc::sense::Sense::parse(sense.sense().unwrap().as_bytes()).unwrap();
    assert_eq!(sense.information, Some(8192));
    assert!(send(&mut array, nexus, &read_16(8192, 0), &[], 0).is_good());
    // Protection information, which the unit does not have.
    assert_eq!(said(&mut array, nexus, &cdb_10(0x28, 0x20, 0, 1)), "CHECK CONDITION 5/24/00");
}

#[test]
fn a_transfer_longer_than_the_limit_is_refused() {
    let mut array = array("[[unit]]\nname = \"big\"\nlun = 5\nblocks = 1099511627776");
    let nexus = array.connect("host", 1).unwrap();
    for count in [32_769, u32::MAX] {
        let seen = send_to(&mut array, nexus, 5, &read_16(0, count), &[], 0).to_string();
        assert_eq!(seen, "CHECK CONDITION 5/24/00");
    }
    let last = write_16(1_099_511_627_775, 1);
    assert!(send_to(&mut array, nexus, 5, &last, &[7; 512], 0).is_good());
    let capacity = send_to(&mut array, nexus, 5, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8);
    assert_eq!(capacity.data(), [0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
    let capacity = send_to(&mut array, nexus, 5, &cdb, &[], 32);
    assert_eq!(capacity.data()[..8], 1_099_511_627_775_u64.to_be_bytes());
}

#[test]
fn data_that_do_not_come_are_missed() {
    let (mut array, nexus) = ready();
    let outcome = send(&mut array, nexus, &write_16(0, 2), &[1; 1023], 0);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 5/0e/03");
    assert_eq!(on_medium(&array, 0), 0);
}

#[test]
fn compare_and_write_is_both_or_neither() {
    let (mut array, nexus) = ready();
    let mut cdb = vec![0x89, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0];
    let data = |compare: u8, write: u8| [[compare; 512], [write; 512]].concat();
    assert!(send(&mut array, nexus, &cdb, &data(0, 4), 0).is_good());
    assert_eq!(on_medium(&array, 3), 4);
    let outcome = send(&mut array, nexus, &cdb, &data(5, 6), 0);
    assert_eq!(outcome.to_string(), "CHECK CONDITION e/1d/00");
    let sense = alua_core::spc::sense::Sense::parse(outcome.sense().unwrap().as_bytes()).unwrap();
    assert_eq!(sense.information, Some(0));
    assert_eq!(on_medium(&array, 3), 4);
    cdb[13] = 0;
    assert!(send(&mut array, nexus, &cdb, &[], 0).is_good());
}

#[test]
fn verify_compares_when_told_to() {
    let (mut array, nexus) = ready();
    assert!(send(&mut array, nexus, &write_16(0, 4), &[3; 2048], 0).is_good());
    for (flags, data, seen) in [
        (0, vec![], "GOOD"),
        (2, vec![3; 2048], "GOOD"),
        (2, [vec![3; 1000], vec![4; 1048]].concat(), "CHECK CONDITION e/1d/00"),
        (6, vec![3; 512], "GOOD"),
        (6, vec![4; 512], "CHECK CONDITION e/1d/00"),
        (4, vec![], "CHECK CONDITION 5/24/00"),
    ] {
        let outcome = send(&mut array, nexus, &cdb_10(0x2f, flags, 0, 4), &data, 0);
        assert_eq!(outcome.to_string(), seen, "{flags}");
    }
}

#[test]
fn write_same_and_unmap_and_their_traces() {
    let (mut array, nexus) = ready();
    array.record_writes();
    assert!(send(&mut array, nexus, &cdb_10(0x41, 0, 0, 64), &[6; 512], 0).is_good());
    assert_eq!((on_medium(&array, 0), on_medium(&array, 63), on_medium(&array, 64)), (6, 6, 0));
    // UNMAP with zeros unmaps, with anything else it writes.
    assert!(send(&mut array, nexus, &cdb_10(0x41, 8, 0, 16), &[0; 512], 0).is_good());
    assert!(send(&mut array, nexus, &cdb_10(0x41, 8, 16, 16), &[5; 512], 0).is_good());
    let mut list = vec![0, 38, 0, 32, 0, 0, 0, 0];
    for (lba, count) in [(20_u64, 4_u32), (32, 8)] {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&count.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    let unmap = cdb_10(0x42, 0, 0, 40);
    assert!(send(&mut array, nexus, &unmap, &list, 0).is_good());
    let seen: Vec<u8> =
        [0, 16, 20, 23, 24, 31, 32, 39, 40].map(|lba| on_medium(&array, lba)).into();
    assert_eq!(seen, [0, 5, 0, 0, 5, 5, 0, 0, 6]);
    let changes: Vec<_> = array.take_writes().iter().map(|w| (w.kind, w.lba, w.blocks)).collect();
    use MediumChange::{Unmap, Write};
    assert_eq!(
        changes,
        [(Write, 0, 64), (Unmap, 0, 16), (Write, 16, 16), (Unmap, 20, 4), (Unmap, 32, 8)]
    );
    // One descriptor past the end: none of them takes effect.
    list[24..32].copy_from_slice(&8190_u64.to_be_bytes());
    list[8..16].copy_from_slice(&40_u64.to_be_bytes());
    let outcome = send(&mut array, nexus, &unmap, &list, 0);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 5/21/00");
    assert_eq!(on_medium(&array, 40), 6);
    assert_eq!(said(&mut array, nexus, &cdb_10(0x41, 0, 0, 0)), "CHECK CONDITION 5/24/00");
}

/// Page B2h says that there is no anchored state: who asks for it is refused, not given another one.
#[test]
fn nothing_can_be_anchored() {
    let (mut array, nexus) = ready();
    let page = send(&mut array, nexus, &[0x12, 1, 0xb2, 0, 64, 0], &[], 64);
    assert_eq!(page.data()[5] & 0x02, 0, "ANC_SUP");
    assert!(send(&mut array, nexus, &write_16(0, 8), &[6; 4096], 0).is_good());
    let mut same_16 = write_16(0, 8);
    same_16[0] = 0x93;
    for flags in [0x10, 0x18] {
        same_16[1] = flags;
        for cdb in [cdb_10(0x41, flags, 0, 8), same_16.clone()] {
            let outcome = send(&mut array, nexus, &cdb, &[0; 512], 0);
            assert_eq!(outcome.to_string(), "CHECK CONDITION 5/24/00", "{cdb:02x?}");
        }
    }
    let mut list = [0; 24];
    (list[1], list[3], list[19]) = (22, 16, 8);
    let outcome = send(&mut array, nexus, &cdb_10(0x42, 1, 0, 24), &list, 0);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 5/24/00");
    assert_eq!(on_medium(&array, 0), 6);
    assert!(send(&mut array, nexus, &cdb_10(0x42, 0, 0, 24), &list, 0).is_good());
    assert_eq!(on_medium(&array, 0), 0);
}

#[test]
fn get_lba_status_tells_the_runs() {
    let (mut array, nexus) = ready();
    assert!(send(&mut array, nexus, &write_16(16, 8), &[1; 4096], 0).is_good());
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x12, 255);
    let outcome = send(&mut array, nexus, &cdb, &[], 255);
    let runs: Vec<(u64, u32, u8)> = outcome.data()[8..]
        .chunks_exact(16)
        .map(|d| {
            let lba = u64::from_be_bytes(d[..8].try_into().unwrap());
            (lba, u32::from_be_bytes(d[8..12].try_into().unwrap()), d[12])
        })
        .collect();
    assert_eq!(runs, [(0, 16, 1), (16, 8, 0), (24, 8168, 1)]);
    // The first one begins where was asked for, not where the run or the physical block does.
    cdb[9] = 19;
    let outcome = send(&mut array, nexus, &cdb, &[], 255);
    assert_eq!(outcome.data()[8..20], [0, 0, 0, 0, 0, 0, 0, 19, 0, 0, 0, 5]);
}

#[test]
fn write_protection_start_and_stop() {
    let (mut array, nexus) = ready();
    apply(&mut array, "do = \"write-protect\"\non = true\nunit = \"disk0\"");
    let outcome = send(&mut array, nexus, &write_16(0, 1), &[1; 512], 0);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 7/27/00");
    let mode = send(&mut array, nexus, &[0x1a, 8, 0x3f, 0, 255, 0], &[], 255);
    assert_eq!(mode.data()[2], 0x90);
    assert!(send(&mut array, nexus, &read_16(0, 1), &[], 512).is_good());
    let start_stop = |on: u8| [0x1b, 0, 0, 0, on, 0];
    assert_eq!(said(&mut array, nexus, &start_stop(0)), "GOOD");
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 2/04/02");
    assert_eq!(said(&mut array, nexus, &read_16(0, 1)), "CHECK CONDITION 2/04/02");
    assert_eq!(said(&mut array, nexus, &start_stop(1)), "GOOD");
    assert_eq!(said(&mut array, nexus, &TUR), "GOOD");
}

#[test]
fn a_resize_is_announced() {
    let (mut array, nexus) = ready();
    apply(&mut array, "do = \"resize\"\nunit = \"disk0\"\nblocks = 100");
    assert_eq!(said(&mut array, nexus, &read_16(0, 1)), "CHECK CONDITION 6/2a/09");
    assert_eq!(said(&mut array, nexus, &read_16(99, 1)), "GOOD 512");
    assert_eq!(said(&mut array, nexus, &read_16(100, 1)), "CHECK CONDITION 5/21/00");
}

#[test]
fn mode_select_changes_what_it_may_and_tells_the_others() {
    let (mut array, nexus) = ready();
    let other = array.connect("other", 2).unwrap();
    let mut list = vec![0; 4];
    list.extend_from_slice(&[0x08, 18, 0x04]);
    list.resize(24, 0);
    let select = [0x15, 0x10, 0, 0, 24, 0];
    assert!(send(&mut array, nexus, &select, &list, 0).is_good());
    assert_eq!(waiting(&array, other), ["2a/01"]);
    assert!(waiting(&array, nexus).is_empty());
    assert!(send(&mut array, nexus, &write_16(0, 4), &[1; 2048], 0).is_good());
    assert_eq!(array.unflushed_blocks(0), 4);
    // Switching the cache off writes it out.
    list[6] = 0;
    assert!(send(&mut array, nexus, &select, &list, 0).is_good());
    assert_eq!(array.unflushed_blocks(0), 0);
    // A bit that cannot be changed.
    list[6] = 0x01;
    let outcome = send(&mut array, nexus, &select, &list, 0);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 5/26/00");
    // Descriptor sense.
    let mut list = vec![0; 8];
    list.extend_from_slice(&[0x0a, 10, 0x04, 0x10, 0, 0x40, 0, 0, 0, 0, 0, 0]);
    let select = [0x55, 0x10, 0, 0, 0, 0, 0, 0, 20, 0];
    assert!(send(&mut array, nexus, &select, &list, 0).is_good());
    let outcome = send(&mut array, nexus, &read_16(9999, 1), &[], 0);
    assert_eq!(outcome.sense().unwrap().as_bytes()[0], 0x72);
}
