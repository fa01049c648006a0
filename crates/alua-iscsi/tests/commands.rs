//! Commands and their data: every way in which data can come and go.

mod common;

use std::time::Duration;

use alua_iscsi::pdu::{NO_TAG, flag, opcode};

use common::{Initiator, ORDINARY, TUR, pass, read_10, target, target_of, write_10};

const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];

fn keys(change: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut keys = ORDINARY.to_vec();
    for &(key, value) in change {
        match keys.iter_mut().find(|pair| pair.0 == key) {
            Some(pair) => pair.1 = value,
            None => keys.push((key, value)),
        }
    }
    keys
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn blocks_come_back_as_they_were_written() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let data = pattern(8192);
    assert_eq!(initiator.write(&mut target, &write_10(5, 16), &data).said(), "GOOD");
    let answer = initiator.read(&mut target, &read_10(5, 16), 8192);
    assert_eq!((answer.said(), answer.residual, answer.pdus), ("GOOD".to_owned(), 0, 1));
    assert_eq!(answer.data, data);
}

/// Immediate, unsolicited and solicited data, with digests and without, in all combinations.
#[test]
fn data_out_takes_every_way() {
    for digest in ["None", "CRC32C"] {
        for (initial_r2t, immediate) in [("No", "Yes"), ("No", "No"), ("Yes", "Yes"), ("Yes", "No")]
        {
            let keys = keys(&[
                ("HeaderDigest", digest),
                ("DataDigest", digest),
                ("InitialR2T", initial_r2t),
                ("ImmediateData", immediate),
                ("FirstBurstLength", "4096"),
                ("MaxBurstLength", "8192"),
            ]);
            let mut target = target(|_| {});
            let mut initiator = Initiator::log_in_as(&mut target, 0, ISID, &keys);
            let data = pattern(32 * 512);
            let length = data.len() as u32;
            let with_it = if immediate == "Yes" { 1024 } else { 0 };
            let unsolicited = initial_r2t == "No";
            let last = if unsolicited { 0 } else { flag::FINAL };
            let header = initiator.command(&write_10(0, 32), last | flag::WRITE, length);
            let tag = header.initiator_task_tag.get();
            initiator.send(&mut target, header.bytes(), &data[..with_it]);
            let mut at = with_it;
            if unsolicited {
                let mut sn = 0;
                while at < 4096 {
                    let step = 512.min(4096 - at);
                    let (place, piece) = ((sn, at as u32), &data[at..at + step]);
                    let final_one = at + step == 4096;
                    initiator.data_out(&mut target, (tag, NO_TAG), place, piece, final_one);
                    at += step;
                    sn += 1;
                }
            }
            let mut bursts = 0;
            while at < data.len() {
                let ready = initiator.take(&mut target, opcode::READY);
                assert_eq!((ready.word(36), ready.word(40)), (bursts, at as u32));
                let wanted = ready.word(44) as usize;
                assert_eq!(wanted, (data.len() - at).min(8192));
                let transfer = ready.word(20);
                let half = wanted / 2;
                let (one, two) = data[at..at + wanted].split_at(half);
                let place = (0, at as u32);
                initiator.data_out(&mut target, (tag, transfer), place, one, false);
                let place = (1, (at + half) as u32);
                initiator.data_out(&mut target, (tag, transfer), place, two, true);
                at += wanted;
                bursts += 1;
            }
            let answer = initiator.answer(&mut target, tag);
            assert_eq!((answer.said(), answer.residual), ("GOOD".to_owned(), 0));
            let back = initiator.read(&mut target, &read_10(0, 32), length);
            assert_eq!(back.data, data, "{digest} {initial_r2t} {immediate}");
            assert_eq!(back.pdus, 2, "two bursts of 8 KiB");
        }
    }
}

#[test]
fn residuals_tell_what_did_not_move() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let data = pattern(1024);
    // Less in the CDB than announced: underflow, and only that is written.
    let answer = initiator.write(&mut target, &write_10(0, 1), &data);
    assert_eq!((answer.said().as_str(), answer.residual), ("GOOD", 512));
    let answer = initiator.read(&mut target, &read_10(0, 2), 1024);
    assert_eq!(answer.data[..512], data[..512]);
    assert_eq!(answer.data[512..], [0; 512]);
    // More in the CDB than announced: overflow, and nothing is written.
    let answer = initiator.write(&mut target, &write_10(0, 4), &data);
    assert_eq!((answer.said().as_str(), answer.residual), ("5/0e/03", -1024));
    let answer = initiator.read(&mut target, &read_10(0, 1), 1024);
    assert_eq!((answer.data.len(), answer.residual), (512, 512));
    let answer = initiator.read(&mut target, &read_10(0, 4), 1024);
    assert_eq!((answer.data.len(), answer.residual), (1024, -1024));
    // An inquiry with a short buffer of the transport.
    let answer = initiator.read(&mut target, &[0x12, 0, 0, 0, 96, 0], 36);
    assert_eq!((answer.data.len(), answer.said().as_str()), (36, "GOOD"));
}

#[test]
fn sense_comes_with_the_response() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    assert_eq!(initiator.read(&mut target, &[0xff; 6], 0).said(), "5/20/00");
    // Past the end, with data expected: nothing moves.
    let answer = initiator.read(&mut target, &read_10(u32::MAX, 1), 512);
    assert_eq!((answer.said().as_str(), answer.residual), ("5/21/00", 512));
    // A LUN of a form that the array does not know leads nowhere.
    let mut header = initiator.command(&TUR, flag::FINAL, 0);
    header.lun = [0xc1, 0x01, 0, 0, 0, 0, 0, 0];
    let tag = header.initiator_task_tag.get();
    initiator.send(&mut target, header.bytes(), &[]);
    assert_eq!(initiator.answer(&mut target, tag).said(), "5/25/00");
}

#[test]
fn commands_end_out_of_order_and_fill_the_window() {
    let fault = "[[fault]]\nname = \"late\"\ncommand = \"read-10\"\naction = \"late-start\"\n\
                 delay = \"500ms\"\n";
    let mut target = target_of(fault, |settings| settings.limits.window = 4);
    let mut initiator = Initiator::log_in(&mut target, 0);
    let mut tags = Vec::new();
    for _ in 0..3 {
        let header = initiator.command(&read_10(0, 1), flag::FINAL | flag::READ, 512);
        tags.push(header.initiator_task_tag.get());
        initiator.send(&mut target, header.bytes(), &[]);
    }
    initiator.nothing(&mut target);
    // A fourth that is not late overtakes them, and its answer tells how small the window is.
    let header = initiator.command(&TUR, flag::FINAL, 0);
    initiator.send(&mut target, header.bytes(), &[]);
    let answer = initiator.take(&mut target, opcode::RESPONSE);
    assert_eq!(answer.tag(), header.initiator_task_tag.get());
    let (expected, most) = (answer.word(28), answer.word(32));
    assert_eq!(expected, initiator.cmd_sn);
    assert_eq!(most.wrapping_sub(expected).wrapping_add(1), 1, "three of four are taken");
    target.advance(target.array().now().after(Duration::from_millis(500)));
    initiator.gather(&mut target);
    for tag in tags {
        assert_eq!(initiator.answer(&mut target, tag).said(), "GOOD");
    }
}

/// Immediate commands have room beside a full window, and an end: the first beyond it is rejected, and
/// everything else goes on.
#[test]
fn immediate_commands_are_bounded_too() {
    let mut target = target_of(
        "[[fault]]\nname = \"f\"\ncommand = \"read-10\"\naction = \"hang\"",
        |settings| (settings.limits.window, settings.limits.immediate) = (2, 2),
    );
    let mut initiator = Initiator::log_in(&mut target, 0);
    for _ in 0..2 {
        let header = initiator.command(&read_10(0, 1), flag::FINAL | flag::READ, 512);
        initiator.send(&mut target, header.bytes(), &[]);
    }
    for rejected in [false, false, true, true] {
        let mut header = initiator.command(&read_10(0, 1), flag::FINAL | flag::READ, 512);
        header.opcode |= opcode::IMMEDIATE;
        // It does not count.
        initiator.cmd_sn -= 1;
        initiator.send(&mut target, header.bytes(), &[]);
        if rejected {
            let reject = initiator.take(&mut target, opcode::REJECT);
            assert_eq!(reject.header[2], 0x06, "too many immediate commands");
            assert_eq!(reject.data, header.bytes());
        }
        initiator.nothing(&mut target);
    }
    assert_eq!(target.sessions()[0].commands, 4);
    target.self_check().unwrap();
}

#[test]
fn numbers_outside_the_window_are_ignored_and_gaps_end_the_connection() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let next = initiator.cmd_sn;
    for wrong in [next.wrapping_sub(1), next.wrapping_add(128), next.wrapping_add(1 << 31)] {
        let mut header = initiator.command(&TUR, flag::FINAL, 0);
        header.cmd_sn.set(wrong);
        initiator.send(&mut target, header.bytes(), &[]);
        initiator.nothing(&mut target);
    }
    initiator.cmd_sn = next;
    assert_eq!(initiator.read(&mut target, &TUR, 0).said(), "GOOD");
    let mut header = initiator.command(&TUR, flag::FINAL, 0);
    header.cmd_sn.set(initiator.cmd_sn.wrapping_add(1));
    initiator.send(&mut target, header.bytes(), &[]);
    initiator.take(&mut target, opcode::REJECT);
    assert!(target.is_over(initiator.id));
}

#[test]
fn a_tag_in_use_is_rejected_and_nothing_else_suffers() {
    let fault = "[[fault]]\nname = \"h\"\ncommand = \"read-10\"\naction = \"hang\"\n";
    let mut target = target_of(fault, |_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let header = initiator.command(&read_10(0, 1), flag::FINAL | flag::READ, 512);
    initiator.send(&mut target, header.bytes(), &[]);
    let mut again = initiator.command(&TUR, flag::FINAL, 0);
    again.initiator_task_tag = header.initiator_task_tag;
    initiator.send(&mut target, again.bytes(), &[]);
    let reject = initiator.take(&mut target, opcode::REJECT);
    assert_eq!(reject.header[2], 0x07);
    assert_eq!(reject.data, again.bytes());
    assert_eq!(initiator.read(&mut target, &TUR, 0).said(), "GOOD");
}

/// A defect that was: bytes that were in the buffer but not yet announced were lost when the
/// buffer was given back in between.
#[test]
fn bytes_that_arrive_with_the_upkeep_are_kept() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let data = pattern(64 * 512);
    initiator.write(&mut target, &write_10(0, 64), &data);
    let header = initiator.command(&read_10(0, 64), flag::FINAL | flag::READ, 32_768);
    let bytes = header.bytes();
    let space = target.space(initiator.id).unwrap();
    space[..48].copy_from_slice(&bytes);
    let now = target.array().now().after(Duration::from_secs(5));
    target.filled(initiator.id, 48, now);
    let answer = initiator.answer(&mut target, header.initiator_task_tag.get());
    assert_eq!((answer.said().as_str(), answer.data.len()), ("GOOD", 32_768));
}

#[test]
fn pings_are_answered_with_their_data_and_asked_of_the_silent() {
    use alua_iscsi::pdu::layout::Exchange;
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let mut header = Exchange::zeroed();
    header.opcode = opcode::NOP_OUT | opcode::IMMEDIATE;
    header.flags = flag::FINAL;
    header.initiator_task_tag.set(9);
    header.target_transfer_tag.set(NO_TAG);
    header.sn.set(initiator.cmd_sn);
    initiator.send(&mut target, header.bytes(), b"hello");
    let answer = initiator.take(&mut target, opcode::NOP_IN);
    assert_eq!((answer.tag(), answer.data.as_slice()), (9, &b"hello"[..]));
    pass(&mut target, 17);
    let ping = initiator.take(&mut target, opcode::NOP_IN);
    assert_eq!(ping.tag(), NO_TAG);
    // Answered, it lives on; unanswered, it ends.
    header.initiator_task_tag.set(NO_TAG);
    header.target_transfer_tag.set(ping.word(20));
    initiator.send(&mut target, header.bytes(), &[]);
    pass(&mut target, 17);
    initiator.take(&mut target, opcode::NOP_IN);
    assert!(!target.is_over(initiator.id));
    pass(&mut target, 32);
    assert!(target.is_over(initiator.id));
}

#[test]
fn data_that_nobody_asked_for_end_the_connection() {
    let cases: [(&str, u32, (u32, u32), usize); 4] = [
        ("a wrong transfer tag", 0x1234, (0, 0), 512),
        ("a wrong offset", u32::MAX, (0, 512), 512),
        ("a wrong DataSN", u32::MAX, (1, 0), 512),
        ("more than was asked for", u32::MAX, (0, 0), 4096),
    ];
    for (case, transfer, place, length) in cases {
        let mut target = target(|_| {});
        let keys = keys(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
        let mut initiator = Initiator::log_in_as(&mut target, 0, ISID, &keys);
        let header = initiator.command(&write_10(0, 4), flag::FINAL | flag::WRITE, 2048);
        let tag = header.initiator_task_tag.get();
        initiator.send(&mut target, header.bytes(), &[]);
        let ready = initiator.take(&mut target, opcode::READY);
        let transfer = if transfer == u32::MAX { ready.word(20) } else { transfer };
        let data = vec![1; length];
        initiator.data_out(&mut target, (tag, transfer), place, &data, true);
        initiator.take(&mut target, opcode::REJECT);
        assert!(target.is_over(initiator.id), "{case}");
        let mut block = [9; 512];
        assert!(target.array().read_medium(0, 0, &mut block));
        assert_eq!(block, [0; 512], "{case}");
    }
}

#[test]
fn a_broken_data_digest_ends_the_connection_and_writes_nothing() {
    use alua_iscsi::pdu::{Digests, Encoder};
    let keys = keys(&[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]);
    for at in [20, 60] {
        let mut target = target(|_| {});
        let mut initiator = Initiator::log_in_as(&mut target, 0, ISID, &keys);
        let header = initiator.command(&write_10(0, 1), flag::FINAL | flag::WRITE, 512);
        let mut encoder = Encoder::default();
        encoder.set(Digests { header: true, data: true });
        encoder.put_short(header.bytes(), &[7; 512]);
        let mut bytes = encoder.take();
        bytes[at] ^= 1;
        initiator.send_bytes(&mut target, &bytes);
        assert!(target.is_over(initiator.id));
        let mut block = [9; 512];
        assert!(target.array().read_medium(0, 0, &mut block));
        assert_eq!(block, [0; 512]);
    }
}

#[test]
fn room_for_data_is_bounded_and_shared_fairly() {
    // 128 KiB in all: half of it for unsolicited data.
    let mut target = target(|settings| settings.limits.buffered = 128 << 10);
    let mut initiator = Initiator::log_in(&mut target, 0);
    // Each announces 64 KiB of unsolicited data: the second finds no room.
    let first = initiator.command(&write_10(0, 128), flag::WRITE, 65_536);
    initiator.send(&mut target, first.bytes(), &[]);
    let second = initiator.command(&write_10(0, 128), flag::WRITE, 65_536);
    let tag = second.initiator_task_tag.get();
    initiator.send(&mut target, second.bytes(), &[]);
    initiator.nothing(&mut target);
    initiator.data_out(&mut target, (tag, NO_TAG), (0, 0), &[2; 65_536], true);
    assert_eq!(initiator.answer(&mut target, tag).said(), "28");
    // The first goes through.
    let tag = first.initiator_task_tag.get();
    initiator.data_out(&mut target, (tag, NO_TAG), (0, 0), &[1; 65_536], true);
    assert_eq!(initiator.answer(&mut target, tag).said(), "GOOD");
    // A read of more than the bound is told so as well.
    let answer = initiator.read(&mut target, &read_10(0, 512), 262_144);
    assert_eq!(answer.said(), "28");
    let answer = initiator.read(&mut target, &read_10(0, 128), 65_536);
    assert_eq!((answer.said().as_str(), answer.data[0]), ("GOOD", 1));
}

#[test]
fn those_who_wait_for_room_get_it_in_their_order() {
    let keys = keys(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let mut target = target(|settings| settings.limits.buffered = 128 << 10);
    let mut initiator = Initiator::log_in_as(&mut target, 0, ISID, &keys);
    let mut tags = Vec::new();
    for _ in 0..3 {
        let header = initiator.command(&write_10(0, 128), flag::FINAL | flag::WRITE, 65_536);
        tags.push(header.initiator_task_tag.get());
        initiator.send(&mut target, header.bytes(), &[]);
    }
    let asked: Vec<u32> =
        (0..2).map(|_| initiator.take(&mut target, opcode::READY).tag()).collect();
    assert_eq!(asked, tags[..2]);
    initiator.nothing(&mut target);
    let transfer = tags[0] & 0x7fff_ffff;
    initiator.data_out(&mut target, (tags[0], transfer), (0, 0), &[1; 65_536], true);
    assert_eq!(initiator.take(&mut target, opcode::READY).tag(), tags[2]);
    assert_eq!(initiator.answer(&mut target, tags[0]).said(), "GOOD");
}

#[test]
fn output_that_is_not_taken_keeps_input_out_and_ends_the_connection() {
    let mut target = target(|settings| settings.limits.output = 64 << 10);
    let mut initiator = Initiator::log_in(&mut target, 0);
    let mut bytes = Vec::new();
    for _ in 0..10 {
        let header = initiator.command(&read_10(0, 128), flag::FINAL | flag::READ, 65_536);
        bytes.extend_from_slice(&header.bytes());
    }
    let now = target.array().now();
    target.take_bytes(initiator.id, &bytes, now);
    assert!(!target.wants_input(initiator.id));
    let waiting = target.output(initiator.id).unwrap().waiting();
    assert!(waiting < 2 * 65_536 + 1024, "{waiting}");
    // Taken at last, all ten come.
    initiator.gather(&mut target);
    assert_eq!(initiator.received.len(), 10);
    initiator.received.clear();
    target.take_bytes(initiator.id, &bytes[..0], now);
    let header = initiator.command(&read_10(0, 128), flag::FINAL | flag::READ, 65_536);
    target.take_bytes(initiator.id, &header.bytes(), now);
    pass(&mut target, 33);
    assert!(target.is_over(initiator.id));
}

#[test]
fn data_that_never_come_end_the_connection() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let header = initiator.command(&write_10(0, 4), flag::WRITE, 2048);
    initiator.send(&mut target, header.bytes(), &[]);
    pass(&mut target, 28);
    assert!(!target.is_over(initiator.id));
    pass(&mut target, 5);
    assert!(target.is_over(initiator.id));
}
