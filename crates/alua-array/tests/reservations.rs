//! Persistent reservations.

mod common;

use alua_array::{Array, FunctionResult, NexusId, Time};
use alua_core::access::AccessState;
use common::*;

/// Two hosts; each with a path through port 1.
fn hosts() -> (Array, NexusId, NexusId) {
    let mut array = array("");
    let (one, two) = (array.connect("one", 1).unwrap(), array.connect("two", 1).unwrap());
    (array, one, two)
}

struct Out {
    action: u8,
    kind: u8,
    key: u64,
    service_key: u64,
    flags: u8,
}

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const REGISTER_AND_IGNORE: u8 = 6;

fn out(array: &mut Array, nexus: NexusId, action: u8, kind: u8, key: u64, service: u64) -> String {
    full_out(array, nexus, Out { action, kind, key, service_key: service, flags: 0 })
}

fn full_out(array: &mut Array, nexus: NexusId, out: Out) -> String {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&out.key.to_be_bytes());
    list[8..16].copy_from_slice(&out.service_key.to_be_bytes());
    list[20] = out.flags;
    let cdb = [0x5f, out.action, out.kind, 0, 0, 0, 0, 0, 24, 0];
    send(array, nexus, &cdb, &list, 0).to_string()
}

fn prin(array: &mut Array, nexus: NexusId, action: u8) -> Vec<u8> {
    let outcome = send(array, nexus, &[0x5e, action, 0, 0, 0, 0, 0, 4, 0, 0], &[], 1024);
    assert!(outcome.is_good(), "{outcome}");
    outcome.data().to_vec()
}

fn keys(array: &mut Array, nexus: NexusId) -> Vec<u64> {
    let data = prin(array, nexus, 0);
    assert_eq!(data[4..8], (data.len() as u32 - 8).to_be_bytes());
    data[8..].chunks(8).map(|key| u64::from_be_bytes(key.try_into().unwrap())).collect()
}

/// Key and type of the reservation.
fn reservation(array: &mut Array, nexus: NexusId) -> Option<(u64, u8)> {
    let data = prin(array, nexus, 1);
    (data.len() > 8).then(|| (u64::from_be_bytes(data[8..16].try_into().unwrap()), data[21]))
}

fn register_both(array: &mut Array, one: NexusId, two: NexusId) {
    assert_eq!(out(array, one, REGISTER, 0, 0, 1), "GOOD");
    assert_eq!(out(array, two, REGISTER, 0, 0, 2), "GOOD");
}

const CONFLICT: &str = "RESERVATION CONFLICT";

#[test]
fn each_type_lets_pass_whom_it_says() {
    // By type: reading and writing of an unregistered and of a registered nexus.
    for (kind, unregistered, registered) in [
        (1, (true, false), (true, false)),
        (3, (false, false), (false, false)),
        (5, (true, false), (true, true)),
        (6, (false, false), (true, true)),
        (7, (true, false), (true, true)),
        (8, (false, false), (true, true)),
    ] {
        let (mut array, one, two) = hosts();
        let stranger = array.connect("three", 2).unwrap();
        register_both(&mut array, one, two);
        assert_eq!(out(&mut array, one, RESERVE, kind, 1, 0), "GOOD");
        let mut may = |nexus, lun| {
            let read = send_to(&mut array, nexus, lun, &read_16(0, 1), &[], 512);
            let write = send_to(&mut array, nexus, lun, &write_16(0, 1), &[1; 512], 0);
            for outcome in [&read, &write] {
                assert!(outcome.is_good() || outcome.to_string() == CONFLICT, "{outcome}");
            }
            (read.is_good(), write.is_good())
        };
        assert_eq!(may(one, 0), (true, true), "{kind}");
        assert_eq!(may(two, 0), registered, "{kind}");
        assert_eq!(may(stranger, 0), unregistered, "{kind}");
        // The other unit is free.
        assert_eq!(may(stranger, 1), (true, true), "{kind}");
        // What is always allowed.
        for cdb in [&TUR[..], &[0x12, 0, 0, 0, 36, 0], &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(send(&mut array, stranger, cdb, &[], 64).is_good());
        }
        assert!(!report(&mut array, stranger).is_empty());
        let wanted = [(2, AccessState::ActiveOptimized)];
        assert_eq!(stpg(&mut array, stranger, &wanted).to_string(), CONFLICT);
        let all = kind >= 7;
        assert_eq!(reservation(&mut array, two), Some((if all { 0 } else { 1 }, kind)));
    }
}

#[test]
fn registrations_follow_their_keys() {
    let (mut array, one, two) = hosts();
    assert_eq!(out(&mut array, one, REGISTER, 0, 9, 1), CONFLICT);
    assert_eq!(out(&mut array, one, RESERVE, 1, 0, 0), CONFLICT);
    register_both(&mut array, one, two);
    assert_eq!(out(&mut array, one, REGISTER, 0, 9, 3), CONFLICT);
    assert_eq!(out(&mut array, one, REGISTER, 0, 1, 3), "GOOD");
    assert_eq!(out(&mut array, one, REGISTER_AND_IGNORE, 0, 77, 4), "GOOD");
    assert_eq!(keys(&mut array, two), [4, 2]);
    assert_eq!(prin(&mut array, two, 0)[..4], 4_u32.to_be_bytes());
    assert_eq!(out(&mut array, one, REGISTER, 0, 4, 0), "GOOD");
    assert_eq!(keys(&mut array, two), [2]);
    // On every port of the array.
    let all = Out { action: REGISTER, kind: 0, key: 0, service_key: 6, flags: 4 };
    assert_eq!(full_out(&mut array, one, all), "GOOD");
    assert_eq!(keys(&mut array, two), [6, 6, 2]);
    // What the array does not have.
    let spec_i_pt = Out { action: REGISTER, kind: 0, key: 2, service_key: 6, flags: 8 };
    assert_eq!(full_out(&mut array, two, spec_i_pt), "CHECK CONDITION 5/26/00");
    assert_eq!(out(&mut array, two, 7, 0, 2, 0), "CHECK CONDITION 5/24/00");
    assert_eq!(out(&mut array, two, RESERVE, 2, 2, 0), "CHECK CONDITION 5/24/00");
    assert_eq!(out(&mut array, two, RESERVE, 0x11, 2, 0), "CHECK CONDITION 5/24/00");
    let short = send(&mut array, two, &[0x5f, 0, 0, 0, 0, 0, 0, 0, 23, 0], &[0; 24], 0);
    assert_eq!(short.to_string(), "CHECK CONDITION 5/1a/00");
    for opcode in [0x16, 0x17, 0x56, 0x57] {
        assert_eq!(said(&mut array, two, &[opcode; 10]), "CHECK CONDITION 5/20/00");
    }
}

#[test]
fn only_the_holder_releases() {
    let (mut array, one, two) = hosts();
    register_both(&mut array, one, two);
    assert_eq!(out(&mut array, one, RESERVE, 5, 1, 0), "GOOD");
    assert_eq!(out(&mut array, one, RESERVE, 5, 1, 0), "GOOD");
    assert_eq!(out(&mut array, one, RESERVE, 6, 1, 0), CONFLICT);
    assert_eq!(out(&mut array, two, RESERVE, 5, 2, 0), CONFLICT);
    assert_eq!(out(&mut array, two, RELEASE, 5, 2, 0), "GOOD");
    assert_eq!(out(&mut array, one, RELEASE, 6, 1, 0), "CHECK CONDITION 5/26/04");
    assert_eq!(reservation(&mut array, one), Some((1, 5)));
    assert_eq!(out(&mut array, one, RELEASE, 5, 1, 0), "GOOD");
    assert_eq!(reservation(&mut array, one), None);
    assert_eq!(waiting(&array, two), ["2a/04"]);
    assert!(waiting(&array, one).is_empty());
}

#[test]
fn with_its_holder_a_reservation_goes() {
    let (mut array, one, two) = hosts();
    register_both(&mut array, one, two);
    assert_eq!(out(&mut array, one, RESERVE, 6, 1, 0), "GOOD");
    assert_eq!(out(&mut array, one, REGISTER, 0, 1, 0), "GOOD");
    assert_eq!(waiting(&array, two), ["2a/04"]);
    assert_eq!(said(&mut array, two, &TUR), "CHECK CONDITION 6/2a/04");
    assert_eq!(reservation(&mut array, two), None);
    // Where all hold it, it stays until the last one goes.
    assert_eq!(out(&mut array, one, REGISTER, 0, 0, 1), "GOOD");
    assert_eq!(out(&mut array, one, RESERVE, 8, 1, 0), "GOOD");
    assert_eq!(out(&mut array, one, REGISTER, 0, 1, 0), "GOOD");
    assert_eq!(reservation(&mut array, two), Some((0, 8)));
    assert_eq!(out(&mut array, two, REGISTER, 0, 2, 0), "GOOD");
    assert_eq!(reservation(&mut array, two), None);
}

#[test]
fn clear_and_preempt_tell_the_losers() {
    let (mut array, one, two) = hosts();
    register_both(&mut array, one, two);
    assert_eq!(out(&mut array, one, RESERVE, 3, 1, 0), "GOOD");
    // Of a key that nobody has.
    assert_eq!(out(&mut array, two, PREEMPT, 3, 2, 9), CONFLICT);
    assert_eq!(out(&mut array, two, PREEMPT, 3, 2, 0), "CHECK CONDITION 5/26/00");
    assert_eq!(out(&mut array, two, PREEMPT, 1, 2, 1), "GOOD");
    assert_eq!((keys(&mut array, two), reservation(&mut array, two)), (vec![2], Some((2, 1))));
    assert_eq!(waiting(&array, one), ["2a/05"]);
    assert_eq!(said(&mut array, one, &TUR), "CHECK CONDITION 6/2a/05");
    assert_eq!(out(&mut array, one, REGISTER, 0, 0, 1), "GOOD");
    // Of one that does not hold it: only the registration goes.
    assert_eq!(out(&mut array, two, PREEMPT, 1, 2, 1), "GOOD");
    assert_eq!(reservation(&mut array, two), Some((2, 1)));
    assert_eq!(said(&mut array, one, &TUR), "CHECK CONDITION 6/2a/05");
    assert_eq!(out(&mut array, one, REGISTER, 0, 0, 1), "GOOD");
    assert_eq!(out(&mut array, one, CLEAR, 0, 1, 0), "GOOD");
    assert_eq!((keys(&mut array, one), reservation(&mut array, one)), (vec![], None));
    assert_eq!(waiting(&array, two), ["2a/03"]);
}

#[test]
fn preempt_and_abort_ends_the_commands_of_the_preempted() {
    for (action, landed) in [(PREEMPT, 7), (PREEMPT_AND_ABORT, 0)] {
        let mut array = array(
            "[[fault]]\nname = \"f\"\ncommand = \"write-16\"\naction = \"transport\"\nruns_after = \"5s\"",
        );
        let (one, two) = (array.connect("one", 1).unwrap(), array.connect("two", 2).unwrap());
        register_both(&mut array, one, two);
        assert_eq!(out(&mut array, one, RESERVE, 7, 1, 0), "GOOD");
        array.submit(one, 0, 1, &write_16(0, 1), &[7; 512], 0).unwrap();
        array.submit(one, 1, 2, &write_16(0, 1), &[8; 512], 0).unwrap();
        array.advance(Time::from_millis(1000));
        // Both registrants hold it: key 0 preempts all others. Then nobody forbids writing.
        assert_eq!(out(&mut array, two, action, 7, 2, 0), "GOOD");
        assert_eq!(keys(&mut array, two), [2]);
        assert_eq!(out(&mut array, two, CLEAR, 0, 2, 0), "GOOD");
        // The registration's end waits as a unit attention: take it away from the ghost's path.
        assert_eq!(said(&mut array, one, &TUR), "CHECK CONDITION 6/2a/05");
        array.advance(Time::from_millis(10_000));
        assert_eq!(on_medium(&array, 0), landed);
        let mut block = [0; 512];
        assert!(array.read_medium(1, 0, &mut block));
        assert_eq!(block[0], 8);
    }
}

#[test]
fn reservations_survive_everything_but_the_power() {
    for (aptpl, left) in [(0, None), (1, Some((1, 3)))] {
        let (mut array, one, two) = hosts();
        let register = Out { action: REGISTER, kind: 0, key: 0, service_key: 1, flags: aptpl };
        assert_eq!(full_out(&mut array, one, register), "GOOD");
        assert_eq!(out(&mut array, one, RESERVE, 3, 1, 0), "GOOD");
        apply(&mut array, "do = \"switch\"\nto = \"B\"");
        apply(&mut array, "do = \"controller-crash\"\ncontroller = \"A\"");
        apply(&mut array, "do = \"controller-return\"\ncontroller = \"A\"");
        apply(&mut array, "do = \"nexus-loss\"");
        assert_eq!(array.reset_unit(two, 0), FunctionResult::Complete);
        // A unit attention waits; the conflict comes first and leaves it there.
        assert_eq!(said(&mut array, two, &read_16(0, 1)), CONFLICT);
        assert_eq!(waiting(&array, two), ["29/00"]);
        // The registration is that of a name and a port: it outlives the session.
        let one = array.connect("one", 1).unwrap();
        assert_eq!(said(&mut array, one, &read_16(0, 1)), "GOOD 512");
        let elsewhere = array.connect("one", 2).unwrap();
        assert_eq!(said(&mut array, elsewhere, &read_16(0, 1)), CONFLICT);
        apply(&mut array, "do = \"power-cycle\"");
        assert_eq!(said(&mut array, one, &TUR), "CHECK CONDITION 6/29/00");
        assert_eq!(reservation(&mut array, one), left);
    }
}

#[test]
fn full_status_names_the_registrants() {
    let (mut array, one, two) = hosts();
    register_both(&mut array, one, two);
    assert_eq!(out(&mut array, two, RESERVE, 6, 2, 0), "GOOD");
    let data = prin(&mut array, one, 3);
    assert_eq!(data[4..8], (data.len() as u32 - 8).to_be_bytes());
    let mut seen = Vec::new();
    let mut at = 8;
    while at < data.len() {
        let more = u32::from_be_bytes(data[at + 20..at + 24].try_into().unwrap()) as usize;
        let id = &data[at + 24..at + 24 + more];
        let name = id[4..].split(|&byte| byte == 0).next().unwrap();
        assert_eq!((id[0], id.len() % 4), (5, 0));
        let port = u16::from_be_bytes(data[at + 18..at + 20].try_into().unwrap());
        let name = String::from_utf8(name.to_vec()).unwrap();
        seen.push((data[at + 7], data[at + 12], data[at + 13], port, name));
        at += 24 + more;
    }
    assert_eq!(seen, [(1, 0, 0, 1, "one".to_owned()), (2, 1, 6, 1, "two".to_owned())]);
    assert_eq!(prin(&mut array, one, 2).len(), 8);
}

#[test]
fn those_who_stay_hear_of_another_type() {
    let (mut array, one, two) = hosts();
    let three = array.connect("three", 2).unwrap();
    register_both(&mut array, one, two);
    assert_eq!(out(&mut array, three, REGISTER, 0, 0, 3), "GOOD");
    assert_eq!(out(&mut array, one, RESERVE, 5, 1, 0), "GOOD");
    assert_eq!(out(&mut array, two, PREEMPT, 6, 2, 1), "GOOD");
    assert_eq!(reservation(&mut array, two), Some((2, 6)));
    assert_eq!(waiting(&array, one), ["2a/05"]);
    assert_eq!(waiting(&array, three), ["2a/04"]);
    assert!(waiting(&array, two).is_empty());
}
