//! Asymmetric access: reports, changes, transitions, and what each state permits.

mod common;

use alua_array::{Array, Command, NexusId, shipped};
use alua_core::access::AccessState;
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::target_port_groups::{Report, StatusCode};
use common::*;

const STATES: [AccessState; 7] = AccessState::NAMED;

/// A CDB of the command that is right as far as it goes.
fn cdb_of(command: Command) -> Vec<u8> {
    let mut cdb = vec![0; command.cdb_length().unwrap()];
    cdb[0] = command.opcode().unwrap();
    cdb[1] = command.service_action().unwrap_or(0);
    if command == Command::ReportLuns {
        cdb[9] = 16;
    }
    cdb
}

/// What the states permit, written down a second time: wire facts, section 5.
fn permitted(state: AccessState, command: Command) -> bool {
    use Command as C;
    let always = matches!(command, C::Inquiry | C::ReportLuns | C::RequestSense);
    let capacity = matches!(command, C::ReadCapacity10 | C::ReadCapacity16);
    let rtpg = command == C::ReportTargetPortGroups;
    let stpg = command == C::SetTargetPortGroups;
    let management = matches!(
        command,
        C::LogSense
            | C::ModeSense6
            | C::ModeSense10
            | C::ModeSelect6
            | C::ModeSelect10
            | C::SendDiagnostic
            | C::PersistentReserveIn
            | C::PersistentReserveOut
    );
    match state {
        AccessState::Standby => always || rtpg || stpg || management || capacity,
        AccessState::Unavailable => always || rtpg || stpg,
        AccessState::Transitioning => always || rtpg,
        AccessState::Offline => always,
        _ => true,
    }
}

#[test]
fn every_state_refuses_every_command_that_it_does_not_permit() {
    let mut checked = 0;
    for state in STATES {
        let mut array = array("");
        let nexus = array.connect("host", 1).unwrap();
        set_state(&mut array, 1, state);
        let refusal = match state {
            AccessState::Standby => "CHECK CONDITION 2/04/0b",
            AccessState::Unavailable => "CHECK CONDITION 2/04/0c",
            AccessState::Transitioning => "CHECK CONDITION 2/04/0a",
            AccessState::Offline => "CHECK CONDITION 2/04/12",
            _ => "none",
        };
        for command in Command::all() {
            let seen = said(&mut array, nexus, &cdb_of(command));
            assert_eq!(seen != refusal, permitted(state, command), "{state} {command:?}: {seen}");
            checked += 1;
        }
        // A command that no unit has is refused as such in every state.
        assert_eq!(said(&mut array, nexus, &[0x16, 0, 0, 0, 0, 0]), "CHECK CONDITION 5/20/00");
    }
    assert_eq!(checked, 7 * Command::all().count());
}

#[test]
fn read_capacity_in_standby_is_a_habit() {
    let mut array = array("[alua]\nread_capacity_in_standby = false");
    let nexus = array.connect("host", 1).unwrap();
    set_state(&mut array, 1, AccessState::Standby);
    for command in [Command::ReadCapacity10, Command::ReadCapacity16] {
        assert_eq!(said(&mut array, nexus, &cdb_of(command)), "CHECK CONDITION 2/04/0b");
    }
}

/// A reset of the unit or a loss of power leaves the states alone, unless the array forgets them; one
/// unit attention tells of either.
#[test]
fn only_a_forgetful_array_changes_states_at_a_reset() {
    for (habit, kept) in [("", true), ("reset_keeps_states = false", false)] {
        for by_power in [false, true] {
            let mut array = array(&format!("[alua]\n{habit}"));
            let nexus = array.connect("host", 1).unwrap();
            let first = array.state(0, 1);
            set_state(&mut array, 1, AccessState::Unavailable);
            if by_power {
                apply(&mut array, "do = \"power-cycle\"");
            } else {
                array.reset_unit(nexus, 0);
            }
            let now = array.state(0, 1);
            let wanted = if kept { Some(AccessState::Unavailable) } else { first };
            assert_eq!(now, wanted, "{habit} {by_power}");
            let reset = if by_power { "29/00" } else { "29/03" };
            assert_eq!(said(&mut array, nexus, &TUR), format!("CHECK CONDITION 6/{reset}"));
            let next = if kept { "CHECK CONDITION 2/04/0c" } else { "GOOD" };
            assert_eq!(said(&mut array, nexus, &TUR), next, "{habit} {by_power}");
        }
    }
}

#[test]
fn a_transitioning_group_refuses_as_the_array_is_used_to() {
    for (habit, tur, rtpg) in [
        ("", "CHECK CONDITION 2/04/0a", "GOOD 36"),
        ("transition_answer = \"unit-attention\"", "CHECK CONDITION 6/04/0a", "GOOD 36"),
        ("transition_answer = \"busy\"\nrtpg_in_transition = false", "BUSY", "BUSY"),
        ("rtpg_in_transition = false", "CHECK CONDITION 2/04/0a", "CHECK CONDITION 2/04/0a"),
    ] {
        let mut array = array(&format!("[alua]\n{habit}"));
        let nexus = array.connect("host", 1).unwrap();
        set_state(&mut array, 1, AccessState::Transitioning);
        assert_eq!(said(&mut array, nexus, &TUR), tur);
        let (outcome, _) = try_report(&mut array, nexus, ReportFormat::Extended);
        let seen = outcome.to_string();
        assert!(seen == rtpg || (rtpg == "GOOD 36" && seen == "GOOD 32"), "{habit}: {seen}");
    }
}

#[test]
fn rtpg_tells_every_group_in_both_formats() {
    let mut array = shipped::FOUR_GROUPS.build();
    let nexus = array.connect("host", 1).unwrap();
    for format in [ReportFormat::Extended, ReportFormat::LengthOnly] {
        let (outcome, groups) = try_report(&mut array, nexus, format);
        let report = Report::parse(outcome.data()).unwrap();
        assert_eq!(report.format(), format);
        let time = (format == ReportFormat::Extended).then_some(5);
        assert_eq!(report.implicit_transition_secs(), time);
        let told: Vec<_> = groups.iter().map(|group| (group.id, group.state.letter())).collect();
        assert_eq!(told, [(0x10, 'A'), (0x11, 'N'), (0x20, 'S'), (0x21, 'S')]);
        assert!(groups.iter().all(|group| group.supported.bits() == 0xdf));
        let ports: Vec<u16> = report.groups().flat_map(|group| group.ports).collect();
        assert_eq!(ports, [1, 2, 3, 4]);
    }
}

#[test]
fn the_allocation_length_cuts_the_data_and_not_the_length_field() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    let mut whole = Vec::new();
    for allocation in (0..64_u8).rev() {
        let cdb = [0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, allocation, 0, 0];
        let outcome = send(&mut array, nexus, &cdb, &[], 256);
        if allocation == 63 {
            whole = outcome.data().to_vec();
            assert_eq!(Report::needed_length(&whole), Ok(whole.len() as u32));
        }
        assert_eq!(outcome.data(), &whole[..whole.len().min(allocation.into())]);
    }
}

#[test]
fn the_extended_header_can_be_refused_or_ignored() {
    let mut refuses = shipped::REFUSED_HEADER.build();
    let nexus = refuses.connect("host", 1).unwrap();
    let (outcome, _) = try_report(&mut refuses, nexus, ReportFormat::Extended);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 5/20/00");
    assert!(try_report(&mut refuses, nexus, ReportFormat::LengthOnly).0.is_good());

    let mut ignores = array("[alua]\nextended_header = \"ignored\"");
    let nexus = ignores.connect("host", 1).unwrap();
    let (outcome, groups) = try_report(&mut ignores, nexus, ReportFormat::Extended);
    assert_eq!(Report::parse(outcome.data()).unwrap().format(), ReportFormat::LengthOnly);
    assert_eq!(groups.len(), 2);
    // Formats that are reserved are refused.
    let cdb = [0xa3, 0x4a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(said(&mut ignores, nexus, &cdb), "CHECK CONDITION 5/24/00");
}

#[test]
fn the_extended_header_can_be_left_out_of_the_length() {
    let mut array = array("[alua]\nextended_header = \"uncounted\"");
    let nexus = array.connect("host", 1).unwrap();
    let (outcome, groups) = try_report(&mut array, nexus, ReportFormat::Extended);
    let report = Report::parse(outcome.data()).unwrap();
    assert!(report.header_not_counted());
    assert_eq!(report.format(), ReportFormat::Extended);
    assert_eq!(groups.len(), 2, "the last group lacks only the end of its port list");
    let (outcome, _) = try_report(&mut array, nexus, ReportFormat::LengthOnly);
    assert!(!Report::parse(outcome.data()).unwrap().header_not_counted());
}

#[test]
fn a_change_can_be_told_to_the_group_that_changed_only() {
    for (setting, other) in [("false", "CHECK CONDITION 6/2a/06"), ("true", "GOOD")] {
        let mut array = array(&format!("[alua]\nattention_to_changed_group = {setting}"));
        let first = array.connect("host", 1).unwrap();
        let second = array.connect("host", 2).unwrap();
        apply(&mut array, "do = \"set-state\"\ngroup = 2\nstate = \"active/optimized\"");
        assert_eq!(said(&mut array, first, &[0; 6]), other);
        assert_eq!(said(&mut array, second, &[0; 6]), "CHECK CONDITION 6/2a/06");
    }
}

#[test]
fn without_tpgs_neither_command_is_there() {
    for (tpgs, rtpg, stpg_is) in [
        ("none", false, "CHECK CONDITION 5/24/00"),
        ("implicit", true, "CHECK CONDITION 5/24/00"),
        ("explicit", true, "GOOD"),
        ("both", true, "GOOD"),
    ] {
        let mut array = array(&format!("[alua]\ntpgs = \"{tpgs}\""));
        let nexus = array.connect("host", 1).unwrap();
        assert_eq!(try_report(&mut array, nexus, ReportFormat::Extended).0.is_good(), rtpg);
        let wanted = [(2, AccessState::ActiveOptimized)];
        assert_eq!(stpg(&mut array, nexus, &wanted).to_string(), stpg_is, "{tpgs}");
    }
}

/// Three nexuses: two hosts on port 1, one on port 2.
fn three(array: &mut Array) -> [NexusId; 3] {
    [("one", 1), ("two", 1), ("one", 2)].map(|(host, port)| array.connect(host, port).unwrap())
}

#[test]
fn stpg_is_told_once_to_every_other_nexus() {
    for transition in ["0s", "2s"] {
        let mut array = array(&format!("[alua]\ntransition = \"{transition}\""));
        let [own, other, far] = three(&mut array);
        assert!(stpg(&mut array, own, &[(2, AccessState::ActiveOptimized)]).is_good());
        pass(&mut array, 2500);
        assert_eq!(waiting(&array, own), [""; 0]);
        for nexus in [other, far] {
            assert_eq!(waiting(&array, nexus), ["2a/06"]);
            assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
            assert_eq!(said(&mut array, nexus, &TUR), "GOOD");
        }
        // The other unit is not concerned.
        assert!(array.attentions(other, 1).is_empty());
        let groups = report(&mut array, own);
        let told: Vec<_> = groups.iter().map(|g| (g.state.letter(), g.status)).collect();
        assert_eq!(told, [('N', StatusCode::ByStpg), ('A', StatusCode::ByStpg)]);
    }
}

#[test]
fn an_implicit_change_is_told_once_to_every_nexus() {
    let mut array = array("[alua]\ntransition = \"1s\"");
    let all = three(&mut array);
    apply(&mut array, "do = \"switch\"\nto = \"B\"\nunit = \"disk0\"");
    assert!(all.iter().all(|&nexus| waiting(&array, nexus).is_empty()));
    pass(&mut array, 1000);
    for nexus in all {
        assert_eq!(waiting(&array, nexus), ["2a/06"]);
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
        assert!(waiting(&array, nexus).is_empty());
    }
    assert!(report(&mut array, all[0]).iter().all(|g| g.status == StatusCode::Implicit));
    // The same again changes nothing, and nobody is told.
    apply(&mut array, "do = \"switch\"\nto = \"B\"\nunit = \"disk0\"");
    pass(&mut array, 2000);
    assert!(all.iter().all(|&nexus| waiting(&array, nexus).is_empty()));
}

#[test]
fn attention_habits_can_be_switched_on() {
    let mut array = array(
        "[alua]\ntransition = \"1s\"\nattention_at_start = true\nattention_to_requester = true",
    );
    let [own, other, _] = three(&mut array);
    assert!(stpg(&mut array, own, &[(2, AccessState::ActiveOptimized)]).is_good());
    for nexus in [own, other] {
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 2/04/0a");
    }
    pass(&mut array, 1000);
    for nexus in [own, other] {
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
        assert_eq!(said(&mut array, nexus, &TUR), "GOOD");
    }
}

#[test]
fn a_failed_transition_brings_the_old_states_back_and_says_so() {
    let mut array = array("[alua]\ntransition = \"1s\"");
    let [own, ..] = three(&mut array);
    apply(&mut array, "do = \"switch\"\nto = \"B\"\nfails = true");
    assert_eq!(states(&mut array, own), "TT");
    pass(&mut array, 1000);
    assert_eq!(said(&mut array, own, &TUR), "CHECK CONDITION 6/2a/07");
    assert_eq!(states(&mut array, own), "AN");
}

#[test]
fn reg_11_one_half_is_unavailable_while_the_other_transitions() {
    let mut array = shipped::NO_LIVE_PATH.build();
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    pass(&mut array, 6000);
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 2/04/0c");
    assert_eq!(said(&mut array, b, &TUR), "BUSY");
    assert_eq!(states(&mut array, b), "UT");
    pass(&mut array, 6000);
    for nexus in [a, b] {
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
        assert_eq!(said(&mut array, nexus, &TUR), "GOOD");
    }
}

#[test]
fn stpg_refuses_what_cannot_be() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    for (group, state) in [
        (7, AccessState::ActiveOptimized),
        (2, AccessState::LbaDependent),
        (2, AccessState::Transitioning),
        (2, AccessState::Reserved(7)),
        (2, AccessState::Offline),
        (9, AccessState::Offline),
    ] {
        let seen = stpg(&mut array, nexus, &[(group, state)]).to_string();
        assert_eq!(seen, "CHECK CONDITION 5/26/00", "{group} {state}");
    }
    let cdb = |length: u8| [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
    let list = [0, 0, 0, 0, 0, 0, 0, 2];
    assert!(send(&mut array, nexus, &cdb(0), &[], 0).is_good());
    for (length, sent) in [(4, 8), (7, 8), (8, 7)] {
        let seen = send(&mut array, nexus, &cdb(length), &list[..sent], 0).to_string();
        assert_eq!(seen, "CHECK CONDITION 5/1a/00", "{length} {sent}");
    }
    assert_eq!(states(&mut array, nexus), "AN");
}

#[test]
fn stpg_can_fail_in_every_way() {
    for (habit, answer, after) in [
        ("refused-parameter", "CHECK CONDITION 5/26/00", "AN"),
        ("failed", "CHECK CONDITION 4/67/0a", "AN"),
        ("half", "CHECK CONDITION 4/67/0a", "AA"),
        ("ignored", "GOOD", "AN"),
    ] {
        let mut array = array(&format!("[alua]\nstpg = \"{habit}\""));
        let nexus = array.connect("host", 1).unwrap();
        let seen = stpg(&mut array, nexus, &[(2, AccessState::ActiveOptimized)]);
        assert_eq!(seen.to_string(), answer);
        assert_eq!(states(&mut array, nexus), after, "{habit}");
    }
}

#[test]
fn stpg_sets_several_groups_and_every_state_that_is_supported() {
    use AccessState as S;
    let mut array = array(
        "[alua]\nsupported = [\"active/optimized\", \"active/non-optimized\", \
                           \"standby\", \"unavailable\", \"offline\"]\nstpg_demotes = false",
    );
    let nexus = array.connect("host", 1).unwrap();
    for (wanted, after) in [
        (vec![(1, S::Standby), (2, S::ActiveOptimized)], "SA"),
        (vec![(1, S::ActiveNonOptimized), (2, S::Unavailable)], "NU"),
        // For offline the number is that of a port.
        (vec![(2, S::Offline)], "NO"),
        (vec![(2, S::ActiveOptimized), (1, S::ActiveOptimized)], "AA"),
    ] {
        assert!(stpg(&mut array, nexus, &wanted).is_good());
        assert_eq!(states(&mut array, nexus), after);
    }
}

#[test]
fn during_a_transition_another_stpg_waits_its_turn() {
    let mut array = shipped::FOUR_GROUPS.build();
    let nexus = array.connect("host", 2).unwrap();
    let wanted = [(0x20, AccessState::ActiveOptimized)];
    assert!(stpg(&mut array, nexus, &wanted).is_good());
    assert_eq!(states(&mut array, nexus), "TNTS");
    assert_eq!(stpg(&mut array, nexus, &wanted).to_string(), "CHECK CONDITION 2/04/0a");
    pass(&mut array, 1000);
    assert_eq!(states(&mut array, nexus), "SNAS");
}

#[test]
fn a_transition_can_last_for_ever_and_be_ended() {
    let mut array = shipped::ENDLESS_TRANSITION.build();
    let nexus = array.connect("host", 1).unwrap();
    pass(&mut array, 6000);
    assert_eq!(states(&mut array, nexus), "TT");
    pass(&mut array, 390_000);
    assert_eq!(states(&mut array, nexus), "TT");
    pass(&mut array, 10_000);
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, nexus), "NA");
}

#[test]
fn s7_2_after_a_split_each_controller_tells_its_own_view() {
    let mut array = array("");
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    apply(&mut array, "do = \"split\"");
    apply(&mut array, "do = \"set-state\"\ngroup = 2\nstate = \"active/optimized\"");
    apply(&mut array, "do = \"set-state\"\ngroup = 1\nstate = \"unavailable\"\nseen_by = \"B\"");
    assert!(waiting(&array, a).is_empty());
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, a), "AN");
    assert_eq!(states(&mut array, b), "UA");
    // Each port works as its own controller says.
    assert_eq!(said(&mut array, a, &TUR), "GOOD");
    assert_eq!(said(&mut array, b, &TUR), "GOOD");
    apply(&mut array, "do = \"heal\"");
    for nexus in [a, b] {
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
        assert_eq!(states(&mut array, nexus), "AA");
    }
}

#[test]
fn the_metro_cluster_splits_and_heals() {
    let mut array = shipped::METRO.build();
    let (north, south) = (array.connect("host", 1).unwrap(), array.connect("host", 3).unwrap());
    for nexus in [north, south] {
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/29/00");
    }
    pass(&mut array, 13_000);
    assert_eq!(
        (states(&mut array, north), states(&mut array, south)),
        ("ANNN".into(), "ANTN".into())
    );
    pass(&mut array, 3_000);
    assert_eq!(said(&mut array, south, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(
        (states(&mut array, north), states(&mut array, south)),
        ("ANNN".into(), "ANAN".into())
    );
    pass(&mut array, 30_000);
    for nexus in [north, south] {
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
        assert_eq!(states(&mut array, nexus), "NNAN");
    }
}

#[test]
fn reports_can_be_stale_while_commands_meet_the_truth() {
    let mut array = shipped::STALE.build();
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    pass(&mut array, 6000);
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 2/04/0b");
    assert_eq!(states(&mut array, a), "AS");
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(said(&mut array, b, &TUR), "GOOD");
    pass(&mut array, 60_000);
    assert_eq!(states(&mut array, b), "SA");
}

#[test]
fn pref_overlays_the_state() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    apply(&mut array, "do = \"set-preferred\"\ngroup = 2\npreferred = true");
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
    let told: Vec<_> =
        report(&mut array, nexus).iter().map(|g| (g.state.letter(), g.preferred)).collect();
    assert_eq!(told, [('A', false), ('N', true)]);
}

#[test]
fn a_controller_crash_moves_its_units_and_giveback_brings_them_home() {
    let mut array = array("[alua]\ntransition = \"2s\"");
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    apply(&mut array, "do = \"controller-crash\"\ncontroller = \"A\"");
    assert_eq!(said(&mut array, a, &TUR), "no-connect");
    assert!(array.connect("other", 1).is_err());
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, b), "UT");
    pass(&mut array, 2000);
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, b), "UA");
    apply(&mut array, "do = \"controller-return\"\ncontroller = \"A\"\ngiveback = true");
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 6/29/00");
    assert_eq!(said(&mut array, a, &TUR), "GOOD");
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, b), "AN");
}

#[test]
fn an_lba_dependent_group_refers_to_the_group_that_has_the_blocks() {
    let mut array = shipped::FOUR_GROUPS.build();
    let nexus = array.connect("host", 1).unwrap();
    let mut at = |lba| send_to(&mut array, nexus, 2, &read_16(lba, 4), &[], 4096);
    assert!(at(0).is_good());
    assert!(at(524_284).is_good());
    for lba in [524_285, 524_288, 1_048_572] {
        let outcome = at(lba);
        assert_eq!(outcome.to_string(), "CHECK CONDITION b/3f/15");
        let sense = outcome.sense().unwrap().as_bytes();
        let referral = alua_core::spc::sense::referrals(sense).unwrap().unwrap();
        let segments: Vec<_> = referral.segments().collect();
        assert_eq!(segments.len(), 1);
        assert_eq!((segments[0].first_lba, segments[0].last_lba), (524_288, 1_048_575));
    }
    let cdb = [0x9e, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let outcome = send_to(&mut array, nexus, 2, &cdb, &[], 256);
    assert_eq!(outcome.data().len(), 4 + 2 * (20 + 4 * 4));
}

#[test]
fn a_second_crash_in_the_middle_of_a_takeover_is_survived() {
    let mut array = array("[alua]\ntransition = \"2s\"");
    let a = array.connect("host", 1).unwrap();
    apply(&mut array, "do = \"switch\"\nto = \"B\"");
    pass(&mut array, 1000);
    assert_eq!(states(&mut array, a), "TT");
    apply(&mut array, "do = \"controller-crash\"\ncontroller = \"B\"");
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, a), "TU");
    pass(&mut array, 2000);
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, a), "AU");
    // Giving back means: as it would have been.
    apply(&mut array, "do = \"controller-return\"\ncontroller = \"B\"\ngiveback = true");
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, a), "NA");
}

#[test]
fn a_transition_that_another_replaced_is_not_told() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    let to = |state: &str, time: &str| {
        format!("do = \"set-state\"\ngroup = 1\nstate = \"{state}\"\ntransition = \"{time}\"")
    };
    apply(&mut array, &to("standby", "1s"));
    apply(&mut array, &to("unavailable", "5s"));
    pass(&mut array, 2000);
    assert!(waiting(&array, nexus).is_empty());
    assert_eq!(states(&mut array, nexus), "TN");
    pass(&mut array, 4000);
    assert_eq!(waiting(&array, nexus), ["2a/06"]);
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, nexus), "UN");
}

#[test]
fn stpg_demotes_other_controllers_only() {
    let mut array = shipped::FOUR_GROUPS.build();
    let nexus = array.connect("host", 1).unwrap();
    assert!(stpg(&mut array, nexus, &[(0x11, AccessState::ActiveOptimized)]).is_good());
    pass(&mut array, 1000);
    assert_eq!(states(&mut array, nexus), "AASS");
}

#[test]
fn nobody_takes_over_what_the_crashed_controller_did_not_own() {
    let mut array = array("");
    let nexus = array.connect("host", 2).unwrap();
    set_state(&mut array, 1, AccessState::ActiveNonOptimized);
    apply(&mut array, "do = \"controller-crash\"\ncontroller = \"A\"");
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
    assert_eq!(states(&mut array, nexus), "UN");
}

#[test]
fn a_transition_under_way_survives_a_split_with_its_owner() {
    let mut array = array("[alua]\ntransition = \"2s\"");
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    apply(&mut array, "do = \"switch\"\nto = \"B\"");
    apply(&mut array, "do = \"split\"");
    pass(&mut array, 2000);
    for nexus in [a, b] {
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/2a/06");
    }
    // Each has ended it for its own group and knows nothing of the other.
    assert_eq!((states(&mut array, a), states(&mut array, b)), ("NT".into(), "TA".into()));
}

#[test]
fn what_a_controller_only_believed_ends_with_the_split() {
    let mut array = array("");
    let b = array.connect("host", 2).unwrap();
    apply(&mut array, "do = \"split\"");
    apply(
        &mut array,
        "do = \"set-state\"\ngroup = 1\nstate = \"standby\"\nseen_by = \"B\"\ntransition = \"5s\"",
    );
    assert_eq!(states(&mut array, b), "TN");
    apply(&mut array, "do = \"heal\"");
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 6/2a/06");
    pass(&mut array, 6000);
    assert!(waiting(&array, b).is_empty());
    assert_eq!(states(&mut array, b), "AN");
}

#[test]
fn stpg_in_a_split_changes_one_view() {
    let mut array = array("");
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    let other = array.connect("other", 1).unwrap();
    apply(&mut array, "do = \"split\"");
    let wanted = [(2, AccessState::ActiveOptimized), (1, AccessState::Standby)];
    assert!(stpg(&mut array, a, &wanted).is_good());
    assert_eq!(waiting(&array, other), ["2a/06"]);
    assert!(waiting(&array, b).is_empty());
    assert_eq!((states(&mut array, a), states(&mut array, b)), ("SA".into(), "AN".into()));
    assert_eq!(said(&mut array, a, &TUR), "CHECK CONDITION 2/04/0b");
}
