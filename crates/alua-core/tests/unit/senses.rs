//! Section 4.5 in the machine: what a sense code on any command sets in motion (rows E). The table
//! itself is tested beside it, in `src/sense.rs`.

use alua_core::access::{AccessState, Tpgs};
use alua_core::cause::Cause;
use alua_core::gate::{Gate, GatePolicy, Hold, Refusal};
use alua_core::sense::{Disposition, Recheck};
use alua_core::spc::Status;
use alua_core::time::Time;
use alua_core::unit::{
    ATTENTIONS_IN_A_ROW_MAX, Command, Config, Event, IDENTITY_READS_MAX, IdentityCheck, PathId,
    Transition,
};

use crate::harness::*;

fn quiet() -> (Host, Vec<PathId>) {
    let states = [(1, AO), (2, AN)];
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1, 1, 2, 2], &states);
    host.wait(60_000);
    (host, paths)
}

#[test]
fn e01_e02_e13_x17_a_transition_is_entered_shown_and_told() {
    for key in [NOT_READY, ATTENTION] {
        let (mut host, paths) = quiet();
        let meaning = host.unit.handle_sense(paths[0], &sense(key, 0x04, 0x0a), host.now);
        assert_eq!(meaning.disposition, Disposition::Wait);
        host.drain();
        let deadline = host.at(255_000);
        let running = Transition::Running { since: host.now, deadline };
        assert_eq!(host.unit.group(1).unwrap().transition(), Some(running));
        // The state that consumers see is written too, for every path of the group, and told.
        for path in &paths[..2] {
            assert_eq!(host.path_state(*path), Some(TRANS));
        }
        let told = |path: PathId| {
            host.events.iter().any(|event| matches!(
                event,
                Event::Path { path: of, from: Some(AO), to: Some(TRANS), cause: Cause::Sense { .. }, .. }
                    if *of == path
            ))
        };
        assert!(told(paths[0]) && told(paths[1]));
        assert_eq!(host.path_state(paths[2]), Some(AN), "the other group is not in it");
    }
}

#[test]
fn e01_x11_a_transition_brings_its_refresh() {
    let (mut host, paths) = quiet();
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.run(|_| report(&[(1, AN), (2, AO)]));
    assert_eq!(host.path_state(paths[0]), Some(AN));
    assert_eq!(host.path_state(paths[2]), Some(AO));
}

#[test]
fn e01_c02_repeated_transition_sense_adds_nothing() {
    let (mut host, paths) = quiet();
    for _ in 0..1_000 {
        host.meet(paths[0], NOT_READY, 0x04, 0x0a);
        host.meet(paths[1], ATTENTION, 0x04, 0x0a);
        host.run_for(5, |command| match kind(command) {
            "TUR" => IN_TRANSITION,
            _ => report(&[(1, TRANS), (2, AN)]),
        });
    }
    assert!(host.sent.len() <= 5, "{} commands in five seconds", host.sent.len());
}

#[test]
fn e03_e04_s7_7_every_reset_leads_to_a_report() {
    for ascq in [0x00, 0x01, 0x02, 0x03, 0x04, 0x07] {
        let (mut host, paths) = quiet();
        host.meet(paths[0], ATTENTION, 0x29, ascq);
        host.run(|_| report(&[(1, AN), (2, AO)]));
        assert_eq!(host.kinds(), ["RTPG"], "29/{ascq:02x}");
        assert_eq!(host.path_state(paths[0]), Some(AN));
    }
}

#[test]
fn e05_e10_what_is_not_of_alua_sets_nothing_in_motion() {
    let senses = [
        (ATTENTION, 0x2a, 0x01),
        (ATTENTION, 0x2a, 0x09),
        (ATTENTION, 0x28, 0x00),
        (NOT_READY, 0x04, 0x01),
        (NOT_READY, 0x04, 0x0d),
        (ILLEGAL, 0x24, 0x00),
        (ILLEGAL, 0x67, 0x0b),
        (alua_core::spc::sense::SenseKey::MediumError, 0x11, 0x00),
    ];
    for (key, asc, ascq) in senses {
        let (mut host, paths) = quiet();
        host.meet(paths[0], key, asc, ascq);
        host.run(|_| panic!("a command for {asc:02x}/{ascq:02x}"));
        assert_eq!(host.events, []);
        assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
    }
}

#[test]
fn e05_capacity_is_left_to_the_consumer() {
    let (mut host, paths) = quiet();
    let meaning = host.unit.handle_sense(paths[0], &sense(ATTENTION, 0x2a, 0x09), host.now);
    assert!(meaning.recheck.contains(Recheck::CAPACITY));
}

#[test]
fn e06_e07_a_changed_state_leads_to_one_report() {
    for ascq in [0x06, 0x07] {
        let (mut host, paths) = quiet();
        host.meet(paths[3], ATTENTION, 0x2a, ascq);
        host.run(|command| match kind(command) {
            "TUR" => Answer::Check(ATTENTION, 0x2a, 0x06),
            _ => report(&[(1, AN), (2, AO)]),
        });
        assert_eq!(host.unit.counters().rtpg, 2, "the first one, and this");
        assert_eq!(host.path_state(paths[3]), Some(AO));
    }
}

#[test]
fn e08_e09_s7_7_the_identity_is_read_again_before_any_io() {
    for ascq in [0x03, 0x05, 0x0e] {
        let (mut host, paths) = quiet();
        host.meet(paths[0], ATTENTION, 0x3f, ascq);
        assert_eq!(host.unit.gate(paths[0]), Gate::Hold(Hold::IdentityInDoubt));
        assert_eq!(host.unit.gate(paths[1]), Gate::Pass, "the other paths go on");
        host.run(|command| match kind(command) {
            "INQUIRY" => {
                assert_eq!(command.path, paths[0]);
                assert_eq!(command.cdb().as_ref(), [0x12, 1, 0x83, 0x10, 0, 0]);
                Answer::Good(page83(1, Some(1), Some(1)))
            }
            "TUR" => GOOD,
            _ => report(&[(1, AO), (2, AN)]),
        });
        assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
        assert!(host.kinds().contains(&"RTPG"), "and the states too");
    }
}

#[test]
fn s7_7_another_unit_behind_the_path_takes_it_out() {
    let (mut host, paths) = quiet();
    host.meet(paths[0], ATTENTION, 0x3f, 0x05);
    host.run(|command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(2, Some(1), Some(1))),
        "TUR" => GOOD,
        _ => {
            assert_ne!(command.path, paths[0], "nothing of ours goes to another unit");
            report(&[(1, AO), (2, AN)])
        }
    });
    assert_eq!(host.unit.path(paths[0]).unwrap().identity(), IdentityCheck::Changed);
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::IdentityChanged));
    let told = Event::IdentityChanged { path: paths[0] };
    assert_eq!(host.events.iter().filter(|&&event| event == told).count(), 1);
    // For good: nothing brings it back but removing and adding it.
    host.unit.reread_identity(paths[0], host.now);
    host.run(|_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::IdentityChanged));
}

#[test]
fn reg_28_a_page_in_flux_is_read_again_and_the_group_kept() {
    // Without type 5 for a while: the group before stays.
    let (mut host, paths) = quiet();
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    let mut reads = 0;
    host.run(|command| match kind(command) {
        "INQUIRY" => {
            reads += 1;
            let group = (reads > 2).then_some(1);
            Answer::Good(page83(1, Some(1), group))
        }
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(reads, 3);
    assert_eq!(host.unit.path(paths[0]).unwrap().group(), Some(1));
    // Without type 5 for good: ALUA is not lost over it.
    let (mut host, paths) = quiet();
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    host.run(|command| match kind(command) {
        "INQUIRY" => Answer::Good(page83(1, Some(1), None)),
        "TUR" => GOOD,
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.unit.path(paths[0]).unwrap().group(), Some(1));
    assert_eq!(host.unit.gate(paths[0]), Gate::Pass);
}

#[test]
fn reg_28_a_page_that_cannot_be_read_is_given_up_slowly() {
    for answer in [
        Answer::Good(Vec::new()),
        Answer::Good(vec![0, 0x83, 0xff, 0xff]),
        Answer::Good(vec![0, 0x80, 0, 0]),
        Answer::Good(vec![0, 0x83, 0, 0]),
        Answer::Check(ILLEGAL, 0x24, 0),
    ] {
        let (mut host, paths) = quiet();
        host.meet(paths[0], ATTENTION, 0x3f, 0x03);
        host.run_for(20_000, |command| match kind(command) {
            "INQUIRY" => answer.clone(),
            "TUR" => GOOD,
            _ => report(&[(1, AO), (2, AN)]),
        });
        let reads = host.kinds().iter().filter(|&&kind| kind == "INQUIRY").count();
        assert_eq!(reads, usize::from(IDENTITY_READS_MAX), "{answer:?}");
        assert_eq!(host.unit.gate(paths[0]), Gate::Refuse(Refusal::IdentityUnreadable));
        // And it comes back by itself.
        host.run_for(40_000, |command| match kind(command) {
            "INQUIRY" => Answer::Good(page83(1, Some(1), Some(1))),
            "TUR" => GOOD,
            _ => report(&[(1, AO), (2, AN)]),
        });
        assert_eq!(host.unit.gate(paths[0]), Gate::Pass, "{answer:?}");
    }
}

#[test]
fn e10_what_a_path_said_that_is_gone_is_not_checked_through_others() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    // Its controller sees things otherwise, and then it is not there any more.
    host.meet(paths[1], NOT_READY, 0x04, 0x0b);
    host.unit.handle_transport_failure(paths[1], host.now);
    host.sent.clear();
    let others = |command: &Command| {
        if command.path == paths[1] { Answer::Unreachable } else { report(&[(1, AO), (2, AN)]) }
    };
    host.run_for(20_000, others);
    assert_eq!(host.kinds(), ["RTPG", "RTPG"], "through each path, once");
    assert_eq!(host.path_state(paths[1]), Some(SBY));
    // It answers again, as before.
    host.sent.clear();
    host.meet(paths[1], NOT_READY, 0x04, 0x0b);
    host.run_for(20_000, |_| report(&[(1, AO), (2, SBY)]));
    assert_eq!(host.sent.first().map(|command| command.path), Some(paths[1]));
    assert_eq!(host.state(2), Some(SBY));
}

#[test]
fn e10_what_a_path_said_whose_identity_is_in_doubt_is_not_checked_through_others() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.meet(paths[1], NOT_READY, 0x04, 0x0b);
    host.meet(paths[1], ATTENTION, 0x3f, 0x0e);
    host.sent.clear();
    // Nobody says who is there.
    let silent = |command: &Command| match kind(command) {
        "INQUIRY" => Answer::Status(Status::Busy),
        _ => report(&[(1, AO), (2, AN)]),
    };
    host.run_for(20_000, silent);
    let reports = host.kinds().iter().filter(|&&kind| kind == "RTPG").count();
    assert_eq!(reports, 1);
}

#[test]
fn e10_n7_standby_and_unavailable_move_io_and_refresh_through_that_path() {
    let told = [(0x0b, SBY), (0x0c, UNAV), (0x12, OFF)];
    for (ascq, state) in told {
        let (mut host, paths) = quiet();
        let meaning = host.unit.handle_sense(paths[1], &sense(NOT_READY, 0x04, ascq), host.now);
        assert_eq!(meaning.disposition, Disposition::RetryElsewhere);
        assert_eq!(host.path_state(paths[1]), Some(state));
        assert_eq!(host.unit.gate(paths[1]), Gate::Refuse(Refusal::State(state)));
        assert_eq!(host.path_state(paths[0]), Some(AO), "its own evidence, not the group's");
        assert!(host.unit.is_contradicted(paths[1]));
        let command = host.next_at_deadline();
        assert_eq!((kind(&command), command.path), ("RTPG", paths[1]));
        host.answer(&command, &report(&[(1, state), (2, AO)]));
        assert_eq!(host.path_state(paths[0]), Some(state));
        assert!(!host.unit.is_contradicted(paths[1]), "they agree");
        assert_eq!(host.unit.path(paths[1]).unwrap().evidence(), None);
    }
}

#[test]
fn e12_r8_io_is_held_in_transition_where_the_consumer_can_wait() {
    let native = GatePolicy { pass_transitioning: false, ..GatePolicy::default() };
    let config = Config { gate: native, ..Config::default() };
    let (mut host, paths) = Host::known(Tpgs::Both, config, &[1], &[(1, AO)]);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(host.unit.gate(paths[0]), Gate::Hold(Hold::Transitioning));
}

#[test]
fn e14_what_the_drivers_own_commands_meet_does_not_feed_itself() {
    // Every command meets every kind of sense, for ten minutes.
    let senses = [
        (NOT_READY, 0x04, 0x0a),
        (ATTENTION, 0x04, 0x0a),
        (ATTENTION, 0x29, 0x00),
        (ATTENTION, 0x2a, 0x06),
        (NOT_READY, 0x04, 0x0b),
        (NOT_READY, 0x04, 0x0c),
        (NOT_READY, 0x04, 0x12),
        (ATTENTION, 0x3f, 0x03),
        (ATTENTION, 0x3f, 0x0e),
        (ILLEGAL, 0x25, 0x00),
        (ILLEGAL, 0x20, 0x00),
    ];
    for (key, asc, ascq) in senses {
        let (mut host, paths) = quiet();
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        host.meet(paths[2], NOT_READY, 0x04, 0x0a);
        host.run_for(600_000, |_| Answer::Check(key, asc, ascq));
        let sent = host.sent.len();
        // Nine tries in a pass and a pass every two seconds while a transition runs.
        assert!(sent < 1_500, "{sent} commands for {asc:02x}/{ascq:02x} in ten minutes");
    }
}

/// What is sent again for a unit attention must not count on the target to run out of them.
#[test]
fn e14_too_many_unit_attentions_in_a_row_are_handed_on() {
    let (mut host, paths) = quiet();
    let meets = |host: &mut Host, path| {
        let met = host.unit.handle_sense(path, &sense(ATTENTION, 0x2a, 0x06), host.now);
        assert_eq!((met.recheck, met.not_executed), (Recheck::STATES, true));
        met.disposition
    };
    let row = |host: &mut Host| {
        for _ in 0..ATTENTIONS_IN_A_ROW_MAX {
            assert_eq!(meets(host, paths[0]), Disposition::RetryHere);
            host.wait(3);
        }
    };
    row(&mut host);
    for _ in 0..300 {
        assert_eq!(meets(&mut host, paths[0]), Disposition::HandOn);
        host.wait(29_999);
    }
    assert_eq!(meets(&mut host, paths[1]), Disposition::RetryHere, "each path has its own row");

    host.wait(30_000);
    row(&mut host);
    host.unit.handle_success(paths[0], host.now);
    row(&mut host);
    assert_eq!(meets(&mut host, paths[0]), Disposition::HandOn);
    let command = host.next_at_deadline();
    assert_eq!(command.path, paths[0]);
    host.answer(&command, &report(&[(1, AO), (2, AN)]));
    row(&mut host);
}

/// A path whose news another one tells first goes on to be heard.
#[test]
fn e14_unit_attentions_that_are_found_to_be_old_news_do_not_make_the_next_one_wait() {
    let (mut host, paths) = quiet();
    for turn in 0..60 {
        let state = if turn % 2 == 0 { AN } else { AO };
        let answer = |command: &Command| match kind(command) {
            "TUR" => GOOD,
            _ => {
                assert_eq!(command.path, paths[0]);
                report(&[(1, state), (2, AN)])
            }
        };
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        host.run_for(6_000, answer);
        assert_eq!(host.state(1), Some(state));
        host.sent.clear();
        host.meet(paths[1], ATTENTION, 0x2a, 0x06);
        host.run_for(20, answer);
        assert_eq!(host.kinds(), ["TUR"], "{turn}");
    }
}

/// An own command may have met it: what it met must not bring the next about, whichever way it came back.
#[test]
fn e14_the_news_of_a_path_that_meets_unit_attentions_without_end_waits_half_a_minute() {
    let (mut host, paths) = quiet();
    for _ in 0..ATTENTIONS_IN_A_ROW_MAX {
        host.meet(paths[0], ATTENTION, 0x2a, 0x06);
        host.wait(3);
    }
    host.run_for(500, |command| {
        if command.path == paths[0] {
            Answer::Check(ATTENTION, 0x2a, 0x06)
        } else {
            Answer::TimedOut
        }
    });
    host.run_for(9_000, |_| Answer::TimedOut);
    host.sent.clear();
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let told = host.now;
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let before = host.sent.len();
    host.run_for(19_000, |_| Answer::TimedOut);
    assert_eq!(host.sent.len(), before);
    host.meet(paths[2], ATTENTION, 0x2a, 0x06);
    assert_eq!(host.next_at_deadline().path, paths[2], "another path is heard");
    assert!(host.now.since(told) < 20_000);
}

/// A midlayer that asks for the disposition first, sends again what it says after `pause` ms, and hands back the
/// rest; every command meets a unit attention. `named`: but page 83h is read.
struct Midlayer {
    attention: (u8, u8),
    pause: u32,
    named: bool,
}

impl Midlayer {
    /// How many commands of the driver's own meet the unit attention in `millis`.
    fn met(&self, groups: &[u16], millis: u32) -> usize {
        let (asc, ascq) = self.attention;
        let config = Config {
            spacing_max_ms: 500,
            look_inside: true,
            patience_ms: Some(2_000),
            ..Config::default()
        };
        let states = [(1, AO), (2, AN)];
        let (mut host, paths) = Host::known(Tpgs::Both, config, groups, &states);
        host.wait(60_000);
        host.meet(paths[0], ATTENTION, asc, ascq);
        host.unit.refresh(host.now);
        let (end, mut met) = (host.at(millis), 0);
        let mut flights: Vec<(Command, Time)> = Vec::new();
        while host.now < end {
            while let Some(command) = host.next() {
                flights.push((command, host.at(self.pause)));
            }
            let mut back = Vec::new();
            for (command, due) in flights.iter_mut().filter(|(_, due)| *due <= host.now) {
                if self.named && kind(command) == "INQUIRY" {
                    let group = host.unit.path(command.path).unwrap().group();
                    back.push((*command, Answer::Good(page83(1, group, group))));
                    continue;
                }
                met += 1;
                let attention = sense(ATTENTION, asc, ascq);
                let what = host.unit.handle_sense(command.path, &attention, host.now);
                *due = host.at(self.pause);
                if what.disposition != Disposition::RetryHere {
                    back.push((*command, Answer::Check(ATTENTION, asc, ascq)));
                }
            }
            for (command, answer) in back {
                flights.retain(|(flight, _)| flight.id != command.id);
                host.offer(&command, &answer);
            }
            let next = flights.iter().map(|(_, due)| *due).chain(host.unit.poll_deadline()).min();
            host.now = next.unwrap_or(end).min(end).max(host.now);
        }
        met
    }
}

/// Linux asks the handler of the device of each CHECK CONDITION first, and then sends again what the handler
/// says, whose command it ever is; on a busy machine not at once.
#[test]
fn e14_an_own_command_that_always_meets_a_unit_attention_comes_back() {
    for attention in [(0x29, 0x00), (0x2a, 0x01), (0x2a, 0x06), (0x2a, 0x09), (0x3f, 0x03)] {
        for groups in [&[1, 1, 2, 2][..], &[1, 1, 1, 1, 2, 2, 2, 2]] {
            for pause in [3, 50, 130, 300] {
                for named in [false, true] {
                    let midlayer = Midlayer { attention, pause, named };
                    // 16 on each path, and what a pass sends itself.
                    let most = 25 * groups.len();
                    let met = midlayer.met(groups, 20_000);
                    assert!(
                        (16..=most).contains(&met),
                        "{met} in 20 s, {attention:x?}, {pause} ms"
                    );
                    // The next half a minute after the last.
                    let met = midlayer.met(groups, 600_000);
                    assert!(met <= 17 * most, "{met} in ten minutes, {attention:x?}, {pause} ms");
                }
            }
        }
    }
}

#[test]
fn e10_a_sense_that_says_what_is_known_sets_nothing_in_motion() {
    let states = [(1, AO), (2, SBY)];
    let (mut host, paths) = Host::known(Tpgs::Both, Config::default(), &[1, 2], &states);
    host.meet(paths[1], NOT_READY, 0x04, 0x0b);
    host.run(|_| panic!("known already"));
    assert_eq!(host.unit.path(paths[1]).unwrap().evidence(), None);
}

#[test]
fn e10_an_unknown_path_takes_its_own_word() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1]);
    host.meet(paths[0], NOT_READY, 0x04, 0x0c);
    assert_eq!(host.path_state(paths[0]), Some(UNAV));
    assert_eq!(host.state(1), None);
    host.run(|_| report(&[(1, UNAV)]));
    assert_eq!(host.state(1), Some(UNAV));
}

#[test]
fn r12_the_dispositions_are_those_of_the_one_table() {
    let (mut host, paths) = quiet();
    for row in alua_core::sense::TABLE {
        assert!(!row.meaning.text.is_empty());
    }
    for (key, asc, ascq) in [(NOT_READY, 0x04, 0x0a), (ATTENTION, 0x2a, 0x06), (ILLEGAL, 0x24, 0)] {
        let sense = sense(key, asc, ascq);
        let found = host.unit.handle_sense(paths[0], &sense, host.now);
        assert_eq!(found, alua_core::sense::meaning(&sense));
    }
}

#[test]
fn e13_every_state_a_sense_can_name_reaches_the_event() {
    for (ascq, state) in [(0x0a, TRANS), (0x0b, SBY), (0x0c, UNAV), (0x12, OFF)] {
        let (mut host, paths) = quiet();
        host.meet(paths[0], NOT_READY, 0x04, ascq);
        let found: Option<AccessState> = host.events.iter().find_map(|event| match event {
            Event::Path { path, to, .. } if *path == paths[0] => *to,
            _ => None,
        });
        assert_eq!(found, Some(state));
    }
}

#[test]
fn e11_the_table_holds_where_alua_is_off() {
    let (mut host, paths) = quiet();
    let off = alua_core::tpgs::AluaOff::NotSupported;
    host.unit.set_managed(Err(off), host.now);
    for key in [NOT_READY, ATTENTION] {
        let found = host.unit.handle_sense(paths[0], &sense(key, 0x04, 0x0a), host.now);
        assert_eq!(found.disposition, Disposition::Wait);
    }
    assert_eq!(host.path_state(paths[0]), None, "but no state is kept");
    assert_eq!(host.state(1), None);
}

#[test]
fn s7_13_only_what_proves_it_says_not_executed() {
    use alua_core::spc::sense::SenseKey::{AbortedCommand, HardwareError, MediumError};
    let of = |key, asc, ascq| alua_core::sense::meaning(&sense(key, asc, ascq)).not_executed;
    assert!(of(ATTENTION, 0x29, 0x00));
    assert!(of(NOT_READY, 0x04, 0x0a));
    assert!(of(NOT_READY, 0x04, 0x0b));
    for (key, asc) in [(AbortedCommand, 0x47), (HardwareError, 0x44), (MediumError, 0x0c)] {
        assert!(!of(key, asc, 0x00), "{asc:02x}");
    }
    let mut deferred = sense(ATTENTION, 0x29, 0x00);
    deferred.deferred = true;
    assert!(!alua_core::sense::meaning(&deferred).not_executed);
}

#[test]
fn e08_a_path_removed_while_it_is_read_makes_way() {
    let (mut host, paths) = quiet();
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    host.meet(paths[1], ATTENTION, 0x3f, 0x03);
    let first = host.expect_next();
    assert_eq!((kind(&first), first.path), ("INQUIRY", paths[0]));
    // In doubt again while it is read: that must not be held against the next path.
    host.meet(paths[0], ATTENTION, 0x3f, 0x03);
    host.unit.remove_path(paths[0], host.now);
    let outcome = alua_core::unit::Outcome::TimedOut;
    assert!(!host.unit.handle_completion(first.id, &outcome, host.now));
    let second = host.expect_next();
    assert_eq!((kind(&second), second.path), ("INQUIRY", paths[1]));
    host.answer(&second, &Answer::Good(page83(1, Some(1), Some(1))));
    assert_eq!(host.unit.gate(paths[1]), Gate::Pass);
}

#[test]
fn e01_a_transition_overrules_what_the_path_said_before() {
    let (mut host, paths) = quiet();
    host.meet(paths[0], NOT_READY, 0x04, 0x0b);
    assert_eq!(host.path_state(paths[0]), Some(SBY));
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(host.path_state(paths[0]), Some(TRANS));
    assert_eq!(host.unit.path(paths[0]).unwrap().evidence(), None);
}

/// A unit attention that may be old news, and what the check of it meets.
fn checked(answer: &Answer) -> (Host, Vec<PathId>, PathId) {
    let (mut host, paths) = quiet();
    let (reader, _) = host.unit.last_report().unwrap();
    let other = paths.iter().copied().find(|&path| path != reader).unwrap();
    host.meet(other, ATTENTION, 0x2a, 0x06);
    let check = host.next_at_deadline();
    assert_eq!((kind(&check), check.path), ("TUR", reader), "on the path of the report");
    host.answer(&check, answer);
    (host, paths, reader)
}

#[test]
fn e06_old_news_is_proven_by_test_unit_ready() {
    let (mut host, ..) = checked(&GOOD);
    host.run(|_| panic!("the report is still true"));
    assert_eq!(host.unit.counters().old_news, 1);
}

#[test]
fn e06_news_are_met_by_test_unit_ready() {
    for (key, asc, ascq) in
        [(ATTENTION, 0x2a, 0x06), (ATTENTION, 0x29, 0x00), (NOT_READY, 0x04, 0x0b)]
    {
        let (mut host, paths, reader) = checked(&Answer::Check(key, asc, ascq));
        let command = host.expect_next();
        assert_eq!((kind(&command), command.path), ("RTPG", reader));
        host.answer(&command, &report(&[(1, AN), (2, AO)]));
        assert_eq!(host.path_state(paths[0]), Some(AN));
    }
}

/// Linux's midlayer shows a handler the unit attention that the handler's own command met, and sends
/// the command again: it ends well, and the attention is gone.
#[test]
fn e06_news_that_the_consumer_took_from_the_check_are_met_at_once() {
    let (mut host, paths) = quiet();
    let (reader, _) = host.unit.last_report().unwrap();
    let other = paths.iter().copied().find(|&path| path != reader).unwrap();
    host.meet(other, ATTENTION, 0x2a, 0x06);
    let check = host.next_at_deadline();
    assert_eq!((kind(&check), check.path), ("TUR", reader));
    host.meet(reader, ATTENTION, 0x2a, 0x06);
    host.answer(&check, &GOOD);
    let command = host.expect_next();
    assert_eq!((kind(&command), command.path), ("RTPG", reader), "without a pause");
    host.answer(&command, &report(&[(1, AN), (2, AO)]));
    assert_eq!(host.path_state(paths[0]), Some(AN));
    host.run(|_| panic!("the report is newer than all that was told"));
    assert_eq!(host.unit.counters().old_news, 0);
}

#[test]
fn e01_the_first_look_at_a_transition_can_wait_for_the_first_poll() {
    let config = Config { transition_look_ms: 2_000, ..Config::default() };
    let (mut host, paths) = Host::known(Tpgs::Both, config, &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(host.path_state(paths[0]), Some(TRANS));
    let (begin, before) = (host.now, host.sent.len());
    host.run_for(1_999, |_| panic!("nobody waits for this look"));
    assert_eq!(host.sent.len(), before);
    host.next_at_deadline();
    assert_eq!(host.now, begin.after(2_000));
}

#[test]
fn e01_an_attention_ends_the_wait_for_the_first_look_at_a_transition() {
    let config = Config { transition_look_ms: 2_000, ..Config::default() };
    let (mut host, paths) = Host::known(Tpgs::Both, config, &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(60_000);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.wait(1_000);
    host.meet(paths[0], ATTENTION, 0x2a, 0x06);
    let told = host.now;
    assert_eq!(kind(&host.next_at_deadline()), "TUR");
    assert_eq!(host.now, told.after(5));
}

#[test]
fn e06_a_transition_met_by_the_check_is_entered_and_another_path_asked() {
    let (mut host, paths, reader) = checked(&IN_TRANSITION);
    assert_eq!(host.path_state(reader), Some(TRANS));
    let command = host.expect_next();
    assert_eq!(kind(&command), "RTPG");
    assert!(!paths[..2].contains(&command.path), "one that is not in transition");
}

#[test]
fn e06_a_check_that_fails_leads_to_a_report_elsewhere() {
    for answer in [Answer::Failed, Answer::TimedOut] {
        let (mut host, _, reader) = checked(&answer);
        let command = host.expect_next();
        assert_eq!(kind(&command), "RTPG");
        assert_ne!(command.path, reader);
    }
}

#[test]
fn e06_a_second_attention_on_one_path_is_never_old_news() {
    let (mut host, paths, reader) = checked(&GOOD);
    let other = paths.iter().copied().find(|&path| path != reader).unwrap();
    host.wait(60_000);
    host.meet(other, ATTENTION, 0x2a, 0x06);
    assert_eq!(kind(&host.next_at_deadline()), "RTPG");
}
