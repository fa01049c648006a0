//! No stale write: a write of unknown outcome goes elsewhere only behind a proof.

use alua_core::failover::IoOutcome;
use alua_multipath::{Config, Event, FenceAnswer, FenceKind, PathTraits};

use crate::rig::{GOOD, READ, Rig, WRITE, check, sense};

const LOST: IoOutcome<'static> = IoOutcome::TransportFailed;

/// A rig whose paths can do all that ends commands, and whose steps the test answers.
fn rig() -> Rig {
    rig_with(false)
}

fn rig_with(host_repeats: bool) -> Rig {
    let mut config = Config::default();
    config.fence.wait_ms = 20_000;
    let mut rig = Rig::new(config, alua_core::access::Tpgs::Implicit, &[]);
    rig.groups = vec![(1, crate::rig::AO, false)];
    let traits = PathTraits {
        abort_task: true,
        end_nexus: true,
        reset_unit: true,
        host_repeats,
        distance: 0,
    };
    for port in [1, 2] {
        rig.add(1, 1, port, traits).unwrap();
    }
    rig.pass(50);
    rig.forget();
    rig.fence = None;
    rig
}

/// Loses the command of a write on a path that still answers.
fn lose(rig: &mut Rig) -> (alua_multipath::RequestId, usize) {
    let id = rig.submit(WRITE, 0);
    let on = rig.place(rig.sent[0].path);
    rig.back(id, &LOST);
    (id, on)
}

#[test]
fn a_lost_write_waits_for_the_abort_of_its_command() {
    let mut rig = rig();
    let (id, on) = lose(&mut rig);
    rig.pass(10);
    assert!(rig.sent.is_empty(), "not sent again yet");
    assert_eq!(rig.view(on).doubts, 1);
    assert!(matches!(rig.take_step(FenceAnswer::Done), FenceKind::AbortTask(_)));
    rig.pass(10);
    assert_eq!(rig.sent.len(), 1, "now it is");
    rig.back(id, &GOOD);
    assert_eq!(rig.done, [(id, Ok(()))]);
    let told = |event: &&Event| matches!(event, Event::FenceEnded { by: "ABORT TASK", .. });
    assert!(rig.told.iter().any(|event| told(&event)), "{:?}", rig.told);
}

#[test]
fn s7_13_the_steps_come_one_after_the_other() {
    let mut rig = rig();
    let (_, on) = lose(&mut rig);
    let mut kinds = Vec::new();
    for _ in 0..50 {
        if rig.steps.is_empty() {
            rig.pass(5);
            continue;
        }
        kinds.push(rig.take_step(FenceAnswer::Failed));
        if kinds.len() == 3 {
            break;
        }
    }
    let other = rig.id(1 - on);
    assert!(matches!(kinds[0], FenceKind::AbortTask(_)), "{kinds:?}");
    assert_eq!(
        kinds[1..],
        [FenceKind::EndNexus, FenceKind::ResetUnit { via: rig.id(0).min(other) }]
    );
    assert!(rig.sent.is_empty());
}

#[test]
fn s7_13_the_bounded_wait_ends_what_nothing_proves() {
    let mut rig = rig();
    rig.fence = Some(FenceAnswer::Failed);
    let (id, on) = lose(&mut rig);
    rig.pass(19_000);
    assert!(rig.sent.is_empty() && rig.view(on).doubts == 1);
    rig.pass(1_500);
    assert_eq!(rig.sent.len(), 1);
    assert_eq!(rig.engine.counters().doubts_outwaited, 1);
    rig.back(id, &GOOD);
    assert_eq!(rig.done, [(id, Ok(()))]);
}

#[test]
fn s7_13_the_bounded_wait_begins_when_the_host_cannot_send_the_command_again() {
    for host_repeats in [false, true] {
        let mut rig = rig_with(host_repeats);
        rig.fence = Some(FenceAnswer::Failed);
        let id = rig.submit(WRITE, 0);
        let send = rig.sent.remove(0);
        let on = rig.place(send.path);
        rig.lines[on].answers = false;
        rig.pass(60_000);
        if !host_repeats {
            assert_eq!(rig.sent.len(), 1, "it was lost long ago");
            continue;
        }
        // The kernel has it, and may send it when the path works again.
        assert!(rig.sent.is_empty() && rig.view(on).doubts == 1);
        rig.back_io(send.io, &LOST);
        rig.pass(19_000);
        assert!(rig.sent.is_empty() && rig.view(on).doubts == 1);
        rig.pass(1_500);
        assert_eq!(rig.sent.len(), 1);
        rig.back(id, &GOOD);
        assert_eq!(rig.done, [(id, Ok(()))]);
    }
}

#[test]
fn a_late_answer_is_proof() {
    let mut rig = rig();
    let id = rig.submit(WRITE, 0);
    let send = rig.sent.remove(0);
    let on = rig.place(send.path);
    rig.lines[on].answers = false;
    let path = rig.id(on);
    rig.engine.handle_path_down(path, rig.now());
    rig.pass(100);
    assert!(rig.sent.is_empty() && rig.done.is_empty());
    rig.back_io(send.io, &GOOD);
    assert_eq!(rig.done, [(id, Ok(()))], "what it says counts");
}

#[test]
fn an_answered_write_needs_no_fence() {
    let mut rig = rig();
    let id = rig.submit(WRITE, 0);
    rig.back(id, &check(&sense(6, 0x29, 0x00)));
    rig.pass(50);
    assert_eq!(rig.sent.len(), 1, "sent again at once");
    assert!(rig.steps.is_empty() && rig.engine.counters().doubts == 0);
}

#[test]
fn a_lost_read_is_sent_again_at_once() {
    let mut rig = rig();
    let id = rig.submit(READ, 0);
    let first = rig.sent[0].path;
    rig.back(id, &LOST);
    assert_eq!(rig.sent.len(), 1);
    assert_ne!(rig.sent[0].path, first, "on the other path");
}

#[test]
fn n8_overlapping_writes_go_one_after_the_other() {
    let mut rig = rig();
    let first = rig.submit(WRITE, 0);
    let second = rig.submit(WRITE, 4);
    let apart = rig.submit(WRITE, 64);
    let sent: Vec<_> = rig.sent.iter().map(|send| send.id).collect();
    assert_eq!(sent, [first, apart]);
    // Also while the first is in doubt.
    rig.back(first, &LOST);
    rig.pass(10);
    assert!(rig.sent.iter().all(|send| send.id != second));
    rig.take_step(FenceAnswer::Done);
    rig.pass(10);
    rig.back(first, &GOOD);
    rig.pass(1);
    assert!(rig.sent.iter().any(|send| send.id == second), "now it is its turn");
}
