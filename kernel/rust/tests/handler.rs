//! The device handler without a kernel: what the glue sees of one unit.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod glue;

use alua_kernel::abi::*;
use alua_kernel::map::*;
use alua_kernel::unit;
use glue::{Glue, page, report, sense, well};

const CHECK: i32 = 0x02;

fn two_paths() -> (Glue, u16, u16) {
    let mut glue = Glue::new(&page(Some(1), 1, Some(1)), 3);
    let first = glue.add(&page(Some(1), 1, Some(1))).unwrap();
    let second = glue.add(&page(Some(1), 2, Some(2))).unwrap();
    glue.run(well(&[(1, 0x80), (2, 0x02)]));
    (glue, first, second)
}

#[test]
fn a17_one_report_tells_every_path_and_sysfs_gets_state_and_preference() {
    let (mut glue, first, second) = two_paths();
    assert_eq!(glue.unit_view().rtpg, 1);
    assert_eq!(glue.ports[&first].access_state, 0x80);
    assert_eq!(glue.ports[&second].access_state, 0x02);
    assert_eq!(glue.ports[&first].gate, ALUA_GATE_PASS);
    assert_eq!(glue.ports[&second].gate, ALUA_GATE_REFUSE);
    assert_eq!(glue.group_views().len(), 2);
    assert_eq!(glue.name()[..4], [0x60, 0x01, 0x40, 0x50]);
}

#[test]
fn r11_x4_before_the_first_report_sysfs_has_no_state() {
    let mut glue = Glue::new(&page(Some(1), 1, Some(1)), 3);
    let path = glue.add(&page(Some(1), 1, Some(1))).unwrap();
    assert_eq!(glue.ports[&path].access_state, ALUA_ACCESS_UNKNOWN);
    assert_eq!(glue.ports[&path].gate, ALUA_GATE_PASS, "I/O passes meanwhile (F03)");
}

#[test]
fn reports_and_stpg_have_the_time_that_the_stock_handler_gives_and_page_83h_has_less() {
    let (mut glue, first, second) = two_paths();
    glue.activate(second);
    glue.sense(first, 6, 0x3f, 0x0e);
    let mut kinds = Vec::new();
    glue.run(|command| {
        let limit = if command.cdb[0] == 0x12 { 20_000 } else { 60_000 };
        assert_eq!(command.timeout_ms, limit);
        kinds.push(command.cdb[0]);
        match command.cdb[0] {
            0x12 => (0, vec![], page(Some(1), 1, Some(1))),
            _ => (0, vec![], report(&[(1, 0x80), (2, 0x02)])),
        }
    });
    assert!([0x12, 0xa3, 0xa4].iter().all(|kind| kinds.contains(kind)), "{kinds:x?}");
}

#[test]
fn x17_e01_a_sense_code_alone_changes_what_sysfs_shows() {
    let (mut glue, first, _) = two_paths();
    assert_eq!(glue.sense(first, 2, 0x04, 0x0a), NEEDS_RETRY);
    assert_eq!(glue.ports[&first].access_state & 0x0f, 0x0f);
    assert_eq!(glue.ports[&first].gate, ALUA_GATE_PASS, "REG-11");
}

/// The midlayer keeps what met the transition for a second each time, and nobody else tells it.
#[test]
fn reg_12_the_end_of_a_transition_has_requests_sent_again() {
    let (mut glue, first, _) = two_paths();
    glue.sense(first, 2, 0x04, 0x0a);
    assert!(glue.events.iter().all(|event| event.resend == 0), "it begins");
    let of = |glue: &Glue| -> Vec<u16> {
        glue.events.iter().filter(|event| event.resend == 1).map(|event| event.path).collect()
    };
    while glue.ports[&first].access_state & 0x0f == 0x0f {
        assert_eq!(of(&glue), [], "it goes on");
        assert!(glue.next_deadline(10_000), "it is looked at");
        glue.run(well(&[(1, 0x01), (2, 0x00)]));
    }
    assert_eq!(of(&glue), [first], "and not the path that did not meet it");
}

#[test]
fn b27_a_transition_is_looked_at_twice_a_second_where_it_was_met_and_reported_once() {
    let (mut glue, first, second) = two_paths();
    glue.sense(second, 6, 0x2a, 0x06);
    glue.run(well(&[(1, 0x80), (2, 0x01)]));
    assert_eq!(glue.ports[&second].gate, ALUA_GATE_PASS);
    glue.now += 60_000;
    glue.sense(first, 2, 0x04, 0x0a);
    let (begin, before) = (glue.now, glue.unit_view());
    while glue.now - begin < 30_000 {
        let last = glue.now;
        assert!(glue.next_deadline(500), "it is looked at");
        assert_eq!(glue.now - last, 500);
        let slots: Vec<u8> = glue.running.keys().copied().collect();
        assert_eq!(slots.len(), 1, "by one command");
        let look = glue.running[&slots[0]];
        assert_eq!((look.cdb[0], look.path), (0, first), "TEST UNIT READY");
        glue.complete(look.slot, CHECK, &sense(2, 0x04, 0x0a), &[]);
    }
    assert_eq!(glue.unit_view().rtpg, before.rtpg, "no report says \"not yet\"");
    assert!(glue.next_deadline(500));
    glue.run(well(&[(1, 0x01), (2, 0x00)]));
    assert_eq!(glue.unit_view().rtpg, before.rtpg + 1);
    assert_eq!(glue.ports[&first].access_state, 0x01);
}

#[test]
fn e10_a_path_that_says_standby_is_refused_and_looked_at_again() {
    let (mut glue, first, _) = two_paths();
    let before = glue.unit_view().rtpg;
    assert_eq!(glue.sense(first, 2, 0x04, 0x0b), SCSI_RETURN_NOT_HANDLED);
    assert_eq!(glue.ports[&first].gate, ALUA_GATE_REFUSE);
    glue.run(well(&[(1, 0x02), (2, 0x00)]));
    assert!(glue.unit_view().rtpg > before);
    assert_eq!(glue.ports[&first].access_state, 0x02);
}

#[test]
fn c16_the_paths_of_a_group_share_one_stpg_and_each_is_told_once() {
    let mut glue = Glue::new(&page(Some(1), 1, Some(1)), 3);
    let paths: Vec<u16> =
        (1..=8).map(|port| glue.add(&page(Some(1), port, Some(1))).unwrap()).collect();
    assert_eq!(glue.places.1, 8, "the unit grew");
    glue.run(well(&[(1, 0x02)]));
    for &path in &paths {
        assert_eq!(glue.activate(path).kind, ALUA_ACT_RUNS);
    }
    let mut sent = 0;
    glue.run(|command| match command.cdb[0] {
        0xa4 => {
            assert_eq!(command.data_out[..8], [0, 0, 0, 0, 0, 0, 0, 1]);
            assert_eq!((command.data_out_len, command.cdb_len), (8, 12));
            sent += 1;
            (0, vec![], vec![])
        }
        _ => (0, vec![], report(&[(1, if sent > 0 { 0 } else { 2 })])),
    });
    assert_eq!(sent, 1);
    assert_eq!(glue.ended.len(), 8);
    assert!(glue.ended.iter().all(|(_, result)| *result == SCSI_DH_OK));
}

#[test]
fn more_groups_than_the_core_activates_at_once_wait_their_turn() {
    let mut glue = Glue::new(&page(Some(1), 1, Some(1)), 3);
    let paths: Vec<u16> =
        (1..=7).map(|group| glue.add(&page(Some(1), group, Some(group))).unwrap()).collect();
    let states: Vec<(u16, u8)> = (1..=7).map(|group| (group, 0)).collect();
    let kinds: Vec<u32> = paths.iter().map(|&path| glue.activate(path).kind).collect();
    assert_eq!(kinds[..4], [ALUA_ACT_RUNS; 4]);
    assert_eq!(kinds[4..], [ALUA_ACT_LATER; 3]);
    glue.run(well(&states));
    assert_eq!(glue.ended.len(), 7);
    assert!(glue.ended.iter().all(|(_, result)| *result == SCSI_DH_OK));
}

#[test]
fn f07_an_activation_ends_when_its_last_path_goes() {
    let (mut glue, first, second) = two_paths();
    glue.activate(second);
    glue.remove(second);
    glue.remove(first);
    assert_eq!(glue.ended.len(), 1);
    assert_ne!(glue.ended[0].1, SCSI_DH_OK);
    assert!(!glue.next_deadline(u64::MAX), "a unit without paths has no timer");
}

#[test]
fn f06_a_path_without_a_group_has_nothing_to_activate_and_passes() {
    let mut glue = Glue::new(&page(Some(1), 1, None), 3);
    let path = glue.add(&page(Some(1), 1, None)).unwrap();
    let answer = glue.activate(path);
    assert_eq!((answer.kind, answer.result), (ALUA_ACT_DONE, SCSI_DH_OK));
    assert_eq!(glue.ports[&path].gate, ALUA_GATE_PASS);
    // The group comes with a rescan (A18).
    assert_eq!(glue.rescan(path, 3, &page(Some(1), 1, Some(1))), ALUA_RESCAN_KEEP);
    glue.run(well(&[(1, 0x01)]));
    assert_eq!(glue.ports[&path].access_state, 0x01);
}

#[test]
fn reg_28_a_rescan_that_finds_no_group_keeps_what_was_known() {
    let (mut glue, first, _) = two_paths();
    assert_eq!(glue.rescan(first, 3, &[]), ALUA_RESCAN_KEEP);
    assert_eq!(glue.ports[&first].gate, ALUA_GATE_HOLD, "until the page is read again");
    glue.run(well(&[(1, 0x00), (2, 0x02)]));
    assert_eq!(glue.path_view(first).unwrap().group, 1);
    assert_eq!(glue.ports[&first].gate, ALUA_GATE_PASS);
}

#[test]
fn f13_a_rescan_that_finds_tpgs_zero_lets_everything_pass() {
    let (mut glue, _, second) = two_paths();
    assert_eq!(glue.rescan(second, 0, &page(Some(1), 2, Some(2))), ALUA_RESCAN_KEEP);
    assert_eq!(glue.ports[&second].gate, ALUA_GATE_PASS);
    assert_eq!(glue.activate(second).result, SCSI_DH_OK);
}

#[test]
fn s7_7_another_unit_behind_a_path_is_refused_and_moves_with_a_rescan() {
    let (mut glue, first, _) = two_paths();
    assert_eq!(glue.sense(first, 6, 0x3f, 0x0e), ADD_TO_MLQUEUE);
    assert_eq!(glue.ports[&first].gate, ALUA_GATE_HOLD);
    glue.run(|command| match command.cdb[0] {
        0x12 => (0, vec![], page(Some(9), 1, Some(1))),
        _ => (0, vec![], report(&[(1, 0), (2, 2)])),
    });
    assert_eq!(glue.ports[&first].gate, ALUA_GATE_REFUSE);
    assert!(glue.ports[&first].lost);
    assert_eq!(glue.rescan(first, 3, &page(Some(9), 1, Some(1))), ALUA_RESCAN_MOVE);
    assert!(!glue.is(&page(Some(9), 1, Some(1))));
    assert!(glue.is(&page(Some(1), 5, Some(3))));
}

#[test]
fn a13_a_unit_without_a_name_is_never_joined() {
    let nameless = page(None, 1, Some(1));
    let mut glue = Glue::new(&nameless, 1);
    let path = glue.add(&nameless).unwrap();
    assert!(!glue.is(&nameless));
    assert_eq!(glue.add(&nameless), Err(ALUA_ADD_OTHER));
    glue.run(well(&[(1, 0x03)]));
    assert_eq!(glue.ports[&path].access_state, 0x03, "A14, REG-25");
}

/// A target that is set up tells of this and that; then it switches.
#[test]
fn c17_a_switch_is_seen_soon_whatever_came_to_nothing_before_it() {
    let (mut glue, first, second) = two_paths();
    glue.run(well(&[(1, 0), (2, 1)]));
    for _ in 0..40 {
        // Twice: what a path tells again is not old news.
        glue.sense(first, 6, 0x2a, 0x06);
        glue.sense(first, 6, 0x2a, 0x06);
        glue.run(well(&[(1, 0), (2, 1)]));
    }
    let told = glue.now;
    glue.sense(first, 6, 0x2a, 0x06);
    glue.run(well(&[(1, 1), (2, 0)]));
    assert_eq!(glue.ports[&second].access_state, 0);
    assert!(glue.now - told <= 1_000, "after {} ms", glue.now - told);
    assert!(glue.now - told > 100, "and yet not at once: {} ms", glue.now - told);
}

#[test]
fn a_command_that_is_lost_with_its_path_keeps_its_slot_until_it_comes_back() {
    let (mut glue, first, second) = two_paths();
    glue.sense(first, 6, 0x2a, 0x06);
    while glue.running.is_empty() {
        assert!(glue.next_deadline(60_000));
    }
    let lost = *glue.running.keys().next().unwrap();
    let path = glue.running[&lost].path;
    glue.remove(path);
    let left = if path == first { second } else { first };
    while glue.running.len() < 2 {
        assert!(glue.next_deadline(60_000), "another path is asked");
    }
    let other = *glue.running.keys().find(|slot| **slot != lost).unwrap();
    assert_eq!(glue.running[&other].path, left);
    // The lost one says what is not true any more: it is not believed.
    glue.complete(lost, 0, &[], &report(&[(1, 3), (2, 3)]));
    glue.complete(other, 0, &[], &report(&[(1, 0), (2, 0)]));
    assert_eq!(glue.ports[&left].access_state, 0);
}

fn every_slot_taken() -> Glue {
    let mut glue = Glue::new(&page(Some(1), 1, Some(1)), 3);
    // Each path goes while its command runs, so that the command is lost and keeps its slot.
    for (port, running) in (1..).zip(1..=SLOTS) {
        let path = glue.add(&page(Some(1), port, Some(1))).unwrap();
        while glue.running.len() < running {
            assert!(glue.next_deadline(60_000));
        }
        glue.remove(path);
    }
    assert_eq!(glue.running.len(), SLOTS);
    glue
}

#[test]
fn while_every_slot_is_taken_nothing_is_sent() {
    let mut glue = every_slot_taken();
    let path = glue.add(&page(Some(1), 50, Some(1))).unwrap();
    assert!(!glue.next_deadline(u64::MAX), "no timer: a command that comes back goes on");
    let slot = *glue.running.keys().next().unwrap();
    glue.complete(slot, 1 << 16, &[], &[]);
    glue.run(well(&[(1, 1)]));
    assert_eq!(glue.ports[&path].access_state, 1);
}

/// Commands that are lost take no limit away from a transition.
#[test]
fn s7_5_a_transition_ends_though_every_slot_is_taken() {
    let mut glue = every_slot_taken();
    let path = glue.add(&page(Some(1), 50, Some(1))).unwrap();
    glue.sense(path, 2, 0x04, 0x0a);
    assert_eq!(glue.ports[&path].access_state, 0x0f);
    let mut ends = 0;
    while glue.ports[&path].access_state == 0x0f {
        assert!(glue.next_deadline(300_000), "the transition has a limit");
        ends += 1;
    }
    assert_eq!((ends, glue.running.len()), (1, SLOTS), "and nothing else is due");
}

#[test]
fn b08_reg_06_the_extended_header_is_given_up_on_any_illegal_request() {
    let mut glue = Glue::new(&page(Some(1), 1, Some(1)), 3);
    let path = glue.add(&page(Some(1), 1, Some(1))).unwrap();
    glue.run(|command| {
        if command.cdb[1] & 0xe0 != 0 {
            return (CHECK, sense(5, 0x20, 0x00).to_vec(), vec![]);
        }
        let mut short = report(&[(1, 1)]);
        short.drain(4..8);
        short[3] -= 4;
        (0, vec![], short)
    });
    assert_eq!(glue.ports[&path].access_state, 1);
    assert_eq!(glue.unit_view().extended_header, 2);
}

#[test]
fn b03_the_view_counts_commands_that_were_sent_again() {
    const BUSY: i32 = 0x08;
    let (mut glue, first, _) = two_paths();
    assert_eq!((glue.unit_view().rtpg, glue.unit_view().retries), (1, 0));
    glue.sense(first, 6, 0x2a, 0x06);
    let mut left = 2_u8;
    let mut answer = well(&[(1, 0x80), (2, 0x02)]);
    glue.run(|command| match left.checked_sub(1) {
        Some(rest) => {
            left = rest;
            (BUSY, vec![], vec![])
        }
        None => answer(command),
    });
    assert_eq!(glue.unit_view().retries, 2);
}

#[test]
fn b02_b22_hostile_reports_end_in_a_failure_with_its_cause() {
    let (mut glue, first, _) = two_paths();
    glue.sense(first, 6, 0x2a, 0x06);
    let mut asked = 0;
    while asked < 40 {
        if let Some((&slot, _)) = glue.running.first_key_value() {
            asked += 1;
            glue.complete(slot, 0, &[], &[0xff; 64]);
        } else if !glue.next_deadline(1_000) {
            break;
        }
    }
    assert!(asked < 20, "{asked} reports were asked for");
    let kinds: Vec<u8> = glue.events.iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&ALUA_EV_FAILED));
    assert_ne!(glue.unit_view().failure.kind, ALUA_CAUSE_NEVER);
}

/// Of the events of a kind, which are worth a line.
fn lines(glue: &Glue, kind: u8) -> Vec<bool> {
    glue.events.iter().filter(|event| event.kind == kind).map(|event| event.log != 0).collect()
}

#[test]
fn c09_a_failure_is_logged_once_as_long_as_nothing_else_comes_of_it() {
    let (mut glue, ..) = two_paths();
    glue.run(well(&[(1, 0x00), (2, 0x02)]));
    glue.events.clear();
    let fail = |glue: &mut Glue| {
        glue.sense(0, 0x6, 0x2a, 0x06);
        for _ in 0..20 {
            match glue.running.first_key_value() {
                Some((&slot, _)) => glue.complete(slot, 0, &[], &[0xff; 64]),
                None => assert!(glue.next_deadline(60_000)),
            }
        }
    };
    fail(&mut glue);
    let told = lines(&glue, ALUA_EV_FAILED);
    assert!(told.len() > 1 && told[0] && !told[1..].contains(&true), "{told:?}");
    glue.next_deadline(60_000);
    glue.run(well(&[(1, 0x02), (2, 0x00)]));
    assert_eq!(lines(&glue, ALUA_EV_GROUP), [true; 2]);
    assert_eq!(lines(&glue, ALUA_EV_PATH), [false; 2], "the groups' lines say it");
    glue.events.clear();
    fail(&mut glue);
    assert!(lines(&glue, ALUA_EV_FAILED)[0], "states were read in between");
}

#[test]
fn x17_a_line_says_what_a_path_says_of_itself_and_none_what_is_forgotten_with_the_last() {
    let (mut glue, first, second) = two_paths();
    glue.run(well(&[(1, 0x00), (2, 0x02)]));
    glue.events.clear();
    glue.sense(first, 0x2, 0x04, 0x0b);
    assert_eq!(lines(&glue, ALUA_EV_PATH), [true]);
    glue.remove(first);
    glue.events.clear();
    glue.remove(second);
    assert!(!lines(&glue, ALUA_EV_GROUP).contains(&true));
}

#[test]
fn a01_a02_a06_who_the_handler_is_for() {
    let verdict = |page: &[u8], device_type, tpgs| unit::identify(page, device_type, tpgs).verdict;
    let whole = page(Some(1), 1, Some(1));
    assert_eq!(verdict(&whole, 0, 3), ALUA_ID_OK);
    assert_eq!(verdict(&whole, 5, 3), ALUA_ID_OFF);
    assert_eq!(verdict(&page(Some(1), 1, None), 0, 0), ALUA_ID_OFF);
    assert_eq!(verdict(&whole, 0, 0), ALUA_ID_OFF_WITH_GROUP);
    assert_eq!(verdict(&page(Some(1), 1, None), 0, 1), ALUA_ID_NO_GROUP);
    assert_eq!(verdict(&[], 0, 1), ALUA_ID_NO_GROUP);
    assert_eq!(verdict(&[0, 0x83, 0, 9, 1], 0, 1), ALUA_ID_BAD_PAGE);
    let one = unit::identify(&whole, 0, 3);
    assert_eq!((one.group, one.relative_port, one.has_name), (1, 1, 1));
    let two = unit::identify(&page(Some(2), 1, Some(1)), 0, 3);
    assert_ne!(one.name_hash, two.name_hash);
}

#[test]
fn blocks_grow_with_their_places_and_impossible_ones_are_none() {
    assert!(unit::bytes(4, 4) > 0);
    assert!(unit::bytes(8, 8) > unit::bytes(4, 8));
    assert!(unit::bytes(4, 4) < 8_192, "two pages for the common unit: {}", unit::bytes(4, 4));
    assert_eq!(unit::bytes(4, 4) % 8, 0);
}

#[test]
fn c09_reg_09_a_report_that_hangs_does_not_hold_the_unit_up() {
    const TIMED_OUT: i32 = 3 << 16;
    let (mut glue, first, second) = two_paths();
    glue.now += 10_000;
    glue.sense(first, 6, 0x2a, 0x06);
    while glue.running.is_empty() {
        assert!(glue.next_deadline(60_000));
    }
    let (sent, hung) = (glue.now, *glue.running.first_key_value().unwrap().0);
    assert_eq!(glue.running[&hung].path, first);
    assert!(glue.next_deadline(60_000));
    assert_eq!(glue.now - sent, 2_000);
    let slot = *glue.running.keys().find(|slot| **slot != hung).expect("a second command");
    assert_eq!(glue.running[&slot].path, second);
    glue.complete(slot, 0, &[], &report(&[(1, 0x02), (2, 0x00)]));
    assert_eq!(glue.ports[&first].access_state, 0x02);
    assert_eq!(glue.ports[&second].access_state, 0x00);
    // The command itself ends when the midlayer has given it up.
    glue.complete(hung, TIMED_OUT, &[], &[]);
    assert!(glue.running.is_empty() && !glue.next_deadline(60_000));
}
