//! Section 5: bugs that the C code had, each with its symptom (rows REG) as far as no row of
//! another file shows it already.

use alua_core::access::Tpgs;
use alua_core::gate::Gate;
use alua_core::spc::Status;
use alua_core::spc::cdb::ReportFormat::LengthOnly;
use alua_core::spc::sense::SenseKey;
use alua_core::spc::target_port_groups::GroupFields;
use alua_core::unit::{Activated, Config, PathId};

use crate::harness::*;

fn two_groups() -> (Host, Vec<PathId>) {
    let groups = [1, 1, 1, 1, 2, 2, 2, 2];
    Host::known(Tpgs::Both, Config::default(), &groups, &[(1, AO), (2, AN)])
}

#[test]
fn reg_01_s7_2_n12_eight_paths_cost_one_report_and_one_activation() {
    let groups = [1, 1, 1, 1, 2, 2, 2, 2];
    let (mut host, _) = Host::with_paths(Tpgs::Both, Config::default(), &groups);
    host.run(|_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.kinds(), ["RTPG"], "discovery");
    host.sent.clear();
    let ids: Vec<_> = (0..4).map(|_| host.unit.activate(2, host.now).unwrap()).collect();
    let mut done = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            done = true;
            GOOD
        }
        _ if done => report(&[(1, AN), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG"]);
    assert!(ids.iter().all(|&id| host.result(id) == Ok(Activated::Reached)));
}

#[test]
fn reg_01_s7_2_a_failover_costs_one_report_whatever_the_number_of_paths() {
    let (mut host, paths) = two_groups();
    host.wait(3_600_000);
    // Every path tells of the change, each at its next I/O. A target holds a unit attention for
    // each I_T nexus until a command meets it.
    let mut pending = [true; 8];
    for turn in [4, 0, 5, 1, 6, 2, 7, 3_usize] {
        if std::mem::take(&mut pending[turn]) {
            host.meet(paths[turn], ATTENTION, 0x2a, 0x06);
        }
        host.run_for(1_000, |command| {
            if std::mem::take(&mut pending[command.path.index()]) {
                return Answer::Check(ATTENTION, 0x2a, 0x06);
            }
            match kind(command) {
                "TUR" => GOOD,
                _ => report(&[(1, AN), (2, AO)]),
            }
        });
    }
    let reports = host.kinds().iter().filter(|&&kind| kind == "RTPG").count();
    let checks = host.kinds().iter().filter(|&&kind| kind == "TUR").count();
    // A target may tell only the paths of the group that changed: one report through each group.
    assert!(reports <= 2, "{:?}", host.kinds());
    assert!(checks <= 8, "{:?}", host.kinds());
    assert_eq!(host.path_state(paths[7]), Some(AO));
    assert!(host.unit.counters().old_news >= 5);
}

#[test]
fn reg_01_without_the_check_each_attention_costs_a_report() {
    let config = Config { confirm_old_news: false, ..Config::default() };
    let (mut host, paths) = Host::known(Tpgs::Both, config, &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    host.run_for(1_000, |_| report(&[(1, AN), (2, AO)]));
    host.meet(paths[1], ATTENTION, 0x2a, 0x06);
    host.run_for(1_000, |_| report(&[(1, AN), (2, AO)]));
    assert_eq!(host.kinds(), ["RTPG", "RTPG"]);
}

#[test]
fn reg_08_one_attempt_leaves_nothing_for_the_next() {
    // Attentions, growth and resends are counted anew in each pass.
    let config = Config { report_bytes: 16, ..Config::default() };
    let (mut host, _) = Host::with_paths(Tpgs::Both, config, &[1]);
    for _ in 0..5 {
        let mut troubles = vec![
            Answer::Status(Status::Busy),
            Answer::Check(ATTENTION, 0x29, 0),
            Answer::NotSubmitted,
            Answer::Check(ATTENTION, 0x2a, 0x06),
        ];
        host.unit.refresh(host.now);
        host.run(|_| troubles.pop().unwrap_or_else(|| report(&[(1, AN)])));
        assert_eq!(host.unit.refresh_error(), None);
        assert_eq!(host.state(1), Some(AN));
    }
}

#[test]
fn reg_10_reg_11_one_half_unavailable_the_other_in_transition_is_no_failure_yet() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], NOT_READY, 0x04, 0x0c);
    host.meet(paths[4], NOT_READY, 0x04, 0x0a);
    host.run_for(20_000, |command| match kind(command) {
        "TUR" => IN_TRANSITION,
        _ => report(&[(1, UNAV), (2, TRANS)]),
    });
    assert!(matches!(host.unit.gate(paths[0]), Gate::Refuse(_)));
    assert_eq!(host.unit.gate(paths[4]), Gate::Pass, "the device handler passes");
    host.run_for(4_000, |command| match kind(command) {
        "TUR" => GOOD,
        _ => report(&[(1, UNAV), (2, AO)]),
    });
    assert_eq!(host.path_state(paths[4]), Some(AO));
}

#[test]
fn reg_12_a_transition_is_given_all_its_time() {
    let (mut host, paths) = two_groups();
    for path in &paths {
        host.meet(*path, NOT_READY, 0x04, 0x0a);
    }
    host.run_for(250_000, |_| IN_TRANSITION);
    assert!(paths.iter().all(|&path| host.path_state(path) == Some(TRANS)));
    assert!(host.sent.len() <= 130, "about one command in two seconds: {}", host.sent.len());
}

#[test]
fn reg_15_identity_is_never_read_without_end() {
    let (mut host, paths) = two_groups();
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    host.run_for(3_600_000, |command| match kind(command) {
        "INQUIRY" => Answer::Check(NOT_READY, 0x04, 0x00),
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    let reads = host.kinds().iter().filter(|&&kind| kind == "INQUIRY").count();
    assert!(reads <= 5 + 120, "every 30 s after five tries: {reads}");
}

#[test]
fn reg_29_nothing_is_asked_again_at_once_on_a_busy_target() {
    let (mut host, _) = two_groups();
    host.unit.refresh(host.now);
    host.run_for(10_000, |_| Answer::Status(Status::TaskSetFull));
    assert!(host.sent.len() <= 30, "{} commands in ten seconds", host.sent.len());
}

#[test]
fn reg_31_a_group_without_ports_is_a_group() {
    let (mut host, _) = two_groups();
    host.unit.refresh(host.now);
    host.run(|_| {
        let mut buffer = [0; 64];
        let mut writer =
            alua_core::spc::target_port_groups::ReportWriter::new(&mut buffer, LengthOnly, 0);
        writer.push(&fields(0, AO), []).unwrap();
        writer.push(&fields(1, AN), [1]).unwrap();
        writer.push(&fields(2, AO), [2]).unwrap();
        let length = writer.finish().unwrap();
        Answer::Good(buffer[..length].to_vec())
    });
    assert_eq!(host.state(1), Some(AN));
    assert_eq!(host.state(0), Some(AO));
}

#[test]
fn reg_33_x14_s7_8_preference_never_touches_the_state() {
    for bits in [AO, AN, SBY, UNAV, LBD, OFF] {
        let preferred = GroupFields { preferred: true, ..fields(1, bits) };
        let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
        host.run(|_| report_with(LengthOnly, 0, [preferred]));
        assert_eq!(host.path_state(paths[0]), Some(bits));
        assert!(host.unit.is_preferred(paths[0]));
        let passes = host.unit.gate(paths[0]) == Gate::Pass;
        assert_eq!(passes, bits.is_live());
    }
}

#[test]
fn reg_34_x8_an_array_that_rejects_the_extended_header_and_is_only_optimized() {
    let only = GroupFields {
        supported: alua_core::access::SupportedStates::from_bits(0x01),
        ..fields(1, AO)
    };
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    for _ in 0..2 {
        host.unit.refresh(host.now);
        host.run(|command| match kind(command) {
            "RTPG" => Answer::Check(ILLEGAL, 0x24, 0x00),
            _ => report_with(LengthOnly, 0, [only]),
        });
    }
    assert_eq!(host.kinds(), ["RTPG", "RTPG-short", "RTPG-short"]);
    assert_eq!(host.path_state(paths[0]), Some(AO));
}

#[test]
fn reg_13_recovery_after_repeated_transport_faults() {
    let (mut host, paths) = two_groups();
    for round in 0..4 {
        for &path in &paths[..4] {
            host.unit.handle_transport_failure(path, host.now);
            host.meet(path, ATTENTION, 0x04, 0x0a);
        }
        host.run_for(5_000, |command| match (kind(command), command.path.index()) {
            ("TUR", _) => GOOD,
            (_, index) if index < 4 && round % 2 == 0 => Answer::Failed,
            _ => report(&[(1, AO), (2, AN)]),
        });
    }
    assert!(paths[..4].iter().all(|&path| host.path_state(path) == Some(AO)));
}

#[test]
fn reg_07_every_kind_of_answer_to_every_kind_of_command_comes_to_rest() {
    let answers = [
        GOOD,
        Answer::Good(vec![0xff; 4096]),
        Answer::Good(vec![0; 4096]),
        IN_TRANSITION,
        Answer::Check(ATTENTION, 0x29, 0),
        Answer::Check(ATTENTION, 0x3f, 0x0e),
        Answer::Check(ILLEGAL, 0x20, 0),
        Answer::Check(ILLEGAL, 0x25, 0),
        Answer::Check(SenseKey::HardwareError, 0x44, 0),
        Answer::Status(Status::Busy),
        Answer::Status(Status::CheckCondition),
        Answer::Status(Status::ReservationConflict),
        Answer::NotSubmitted,
        Answer::Failed,
        Answer::TimedOut,
    ];
    for on_report in &answers {
        for on_ready in &answers {
            for on_stpg in &answers {
                let states = [(1, AO), (2, AN)];
                let (mut host, paths) =
                    Host::known(Tpgs::Both, Config::default(), &[1, 2], &states);
                host.meet(paths[0], ATTENTION, 0x2a, 0x06);
                let id = host.unit.activate(2, host.now).unwrap();
                let mut first = true;
                host.run_for(600_000, |command| match kind(command) {
                    "STPG" => on_stpg.clone(),
                    "TUR" => on_ready.clone(),
                    "INQUIRY" => Answer::Good(page83(1, Some(2), Some(2))),
                    _ if std::mem::take(&mut first) => report(&states),
                    _ => on_report.clone(),
                });
                assert_eq!(host.activated(id).len(), 1, "{on_report:?} {on_ready:?} {on_stpg:?}");
                assert!(host.sent.len() < 2_000, "{}", host.sent.len());
            }
        }
    }
}

#[test]
fn reg_17_the_places_of_activations_are_used_again() {
    let (mut host, _) = two_groups();
    let mut last = None;
    for _ in 0..1_000 {
        let id = host.unit.activate(1, host.now).unwrap();
        assert!(last.replace(id) < Some(id), "each has its own name");
        host.run(|_| report(&[(1, AO), (2, AN)]));
        assert_eq!(host.result(id), Ok(Activated::AlreadyThere));
        host.events.clear();
    }
}
