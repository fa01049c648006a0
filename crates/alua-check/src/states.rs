//! States against answers: what each path does, beside what the report says of its group.

use alua_core::access::AccessState;
use alua_core::spc::Status;
use alua_core::spc::cdb::Cdb;
use alua_core::spc::sense::SenseKey;

use crate::bench::{Answer, Bench, ROOM, Told, rtpg_cdb};
use crate::identity::takes_part;
use crate::{Check, Needs, Skipped};

/// Commands in a row of steady-answers.
const IN_A_ROW: usize = 256;

/// What can only be seen while a transition is on: before anything waits for its end.
pub(crate) const MOVING: &[Check] = &[
    Check {
        id: "rtpg-in-transition",
        rule: "RTPG is answered through a group in transition",
        source: "SPC, transitions between states: RTPG is among the commands that are processed",
        needs: Needs::Reading,
        run: rtpg_in_transition,
    },
    Check {
        id: "transition-sense",
        rule: "a command that a transition keeps out is refused with NOT READY 04/0A or BUSY",
        source: "SPC, transitions between states",
        needs: Needs::Reading,
        run: transition_sense,
    },
    Check {
        id: "a-path-lives",
        rule: "some path is live",
        source: "practice: hosts report all paths down otherwise",
        needs: Needs::Reading,
        run: a_path_lives,
    },
    Check {
        id: "transition-ends",
        rule: "a transition ends within the time that the target tells",
        source: "SPC, extended header: IMPLICIT TRANSITION TIME",
        needs: Needs::Reading,
        run: transition_ends,
    },
];

/// What is seen when nothing moves.
pub(crate) const SETTLED: &[Check] = &[
    Check {
        id: "state-supported",
        rule: "a group is only in states that it says to support",
        source: "SPC, target port group descriptor: the support bits",
        needs: Needs::Reading,
        run: state_supported,
    },
    Check {
        id: "state-answers",
        rule: "TEST UNIT READY is answered as the reported state of the path's group says",
        source: "SPC, asymmetric access states: GOOD where live; NOT READY 04/0B in standby, 04/0C \
                 in unavailable, 04/12 offline",
        needs: Needs::Reading,
        run: state_answers,
    },
    Check {
        id: "always-permitted",
        rule: "INQUIRY, REPORT LUNS, REQUEST SENSE and RTPG are answered in every state",
        source: "SPC, asymmetric access states: commands processed in each state",
        needs: Needs::Reading,
        run: always_permitted,
    },
    Check {
        id: "read-permitted",
        rule: "READ is answered in live states and refused in the others",
        source: "SPC, asymmetric access states; SBC",
        needs: Needs::Reading,
        run: read_permitted,
    },
    Check {
        id: "no-attention-for-nothing",
        rule: "a unit attention is reported once",
        source: "SAM, unit attention condition: cleared when it is reported",
        needs: Needs::Reading,
        run: no_attention_for_nothing,
    },
    Check {
        id: "steady-answers",
        rule: "a thing asked many times in a row is answered each time",
        source: "practice: an idle unit has room for one command",
        needs: Needs::Reading,
        run: steady_answers,
    },
    Check {
        id: "unknown-service-action",
        rule: "a service action that nobody has is refused with ILLEGAL REQUEST",
        source: "SPC, MAINTENANCE IN: INVALID FIELD IN CDB or INVALID COMMAND OPERATION CODE",
        needs: Needs::Reading,
        run: unknown_service_action,
    },
];

fn state_supported(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let told = bench.told_by_any()?;
    let cdb = rtpg_cdb(told.format, ROOM);
    for (group, _) in &told.groups {
        if !group.supported.contains(group.state) {
            let bits = group.supported.bits();
            let got = format!("group {}: {}, supported {bits:02X}h", group.id, group.state);
            bench.find(0, &cdb, &got, "the support bit of that state is set");
        }
    }
    Ok(())
}

/// The paths whose group is in transition now: by the report, or by what a command meets.
fn in_transition(bench: &mut Bench<'_>) -> Vec<usize> {
    let mut found = Vec::new();
    for path in bench.paths() {
        let answer = bench.tur(path);
        if matches!(answer.sense, Some((_, 0x04, 0x0a))) || answer.status == Some(Status::Busy) {
            found.push(path);
        }
    }
    found
}

const NO_TRANSITION: &str = "no group is in transition now";

fn rtpg_in_transition(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let paths = in_transition(bench);
    if paths.is_empty() {
        return Err(NO_TRANSITION.to_owned());
    }
    for path in paths {
        let told = bench.told_by_any();
        let format = told.map_or(alua_core::spc::cdb::ReportFormat::LengthOnly, |told| told.format);
        let (cdb, answer) = bench.rtpg(path, format);
        bench.want(answer.is_good(), path, &cdb, &answer, "GOOD");
    }
    Ok(())
}

fn transition_sense(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let paths = in_transition(bench);
    if paths.is_empty() {
        return Err(NO_TRANSITION.to_owned());
    }
    let cdb = Cdb::TestUnitReady.encode();
    for path in paths {
        let answer = bench.tur(path);
        let right = answer.is_good()
            || answer.status == Some(Status::Busy)
            || answer.is(SenseKey::NotReady, 0x04, 0x0a);
        bench.want(right, path, cdb.as_bytes(), &answer, "NOT READY 04/0A, or BUSY");
    }
    Ok(())
}

fn transition_ends(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let Ok(told) = bench.told_by_any() else {
        return Err("RTPG gives nothing to work with".to_owned());
    };
    let paths = in_transition(bench);
    if paths.is_empty() && !told.in_transition() {
        return Err(NO_TRANSITION.to_owned());
    }
    let (begin, limit) = (bench.now().as_millis(), bench.limit_ms(&told));
    loop {
        let now = bench.told_by_any();
        let moving = now.as_ref().is_ok_and(Told::in_transition) || now.is_err();
        if !moving && in_transition(bench).is_empty() {
            return Ok(());
        }
        let waited = bench.now().as_millis().saturating_sub(begin);
        if waited > limit {
            let cdb = rtpg_cdb(told.format, ROOM);
            let got = format!("still in transition after {waited} ms: {}", told.states());
            let expected = match told.transition_secs {
                Some(secs) => format!("the end within {secs} s, as the extended header tells"),
                None => format!("the end within {limit} ms"),
            };
            bench.find(0, &cdb, &got, &expected);
            return Ok(());
        }
        bench.wait_ms(200);
    }
}

/// Says whether an answer is right.
type Judge = fn(&Answer) -> bool;

/// What TEST UNIT READY should say in a state; `None` where nothing is laid down.
fn expected_of(state: AccessState) -> Option<(&'static str, Judge)> {
    Some(match state {
        state if state.is_live() => ("GOOD", Answer::is_good),
        AccessState::Standby => {
            ("NOT READY 04/0B", |answer| answer.is(SenseKey::NotReady, 0x04, 0x0b))
        }
        AccessState::Unavailable => {
            ("NOT READY 04/0C", |answer| answer.is(SenseKey::NotReady, 0x04, 0x0c))
        }
        AccessState::Offline => {
            ("NOT READY 04/12", |answer| answer.is(SenseKey::NotReady, 0x04, 0x12))
        }
        _ => return None,
    })
}

/// For each path that names its group: the path and the group's state, when nothing moves.
fn path_states(bench: &mut Bench<'_>) -> Result<Vec<(usize, AccessState)>, Skipped> {
    let told = bench.settled()?;
    let mut states = Vec::new();
    for path in bench.paths() {
        let Some(group) = bench.identity(path)?.group else { continue };
        states.extend(told.group(group).map(|fields| (path, fields.state)));
    }
    if states.is_empty() {
        return Err("no path names its group".to_owned());
    }
    Ok(states)
}

fn state_answers(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    bench.one_unit()?;
    let cdb = Cdb::TestUnitReady.encode();
    for (path, state) in path_states(bench)? {
        let Some((words, right)) = expected_of(state) else { continue };
        let answer = bench.tur(path);
        let expected = format!("{words}: the report says {state}");
        bench.want(right(&answer), path, cdb.as_bytes(), &answer, &expected);
    }
    Ok(())
}

fn a_path_lives(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let cdb = Cdb::TestUnitReady.encode();
    let mut last = None;
    for path in bench.paths() {
        let answer = bench.tur(path);
        if answer.is_good() {
            return Ok(());
        }
        last = Some((path, answer));
    }
    if let Some((path, answer)) = last {
        bench.find(path, cdb.as_bytes(), &answer.text, "GOOD through at least one path");
    }
    Ok(())
}

/// Commands that every state lets through: name of the field and CDB with its room.
pub(crate) fn always() -> [(Vec<u8>, usize); 3] {
    let bytes = |cdb: Cdb| cdb.encode().as_bytes().to_vec();
    [
        (bytes(Cdb::Inquiry { page: None, allocation_length: 96 }), 96),
        (bytes(Cdb::ReportLuns { select_report: 0, allocation_length: 4096 }), 4096),
        (bytes(Cdb::RequestSense { descriptor_format: false, allocation_length: 252 }), 252),
    ]
}

fn always_permitted(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let told = bench.settled()?;
    for path in bench.paths() {
        for (cdb, room) in always() {
            let answer = bench.ask(path, &cdb, &[], room);
            bench.want(answer.is_good(), path, &cdb, &answer, "GOOD");
        }
        let cdb = rtpg_cdb(told.format, ROOM);
        let answer = bench.ask(path, &cdb, &[], ROOM);
        bench.want(answer.is_good(), path, &cdb, &answer, "GOOD");
    }
    Ok(())
}

fn read_permitted(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    bench.one_unit()?;
    let read = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let size = bench.block_size();
    for (path, state) in path_states(bench)? {
        // An LBA-dependent group may be the wrong one for block 0.
        if state == AccessState::LbaDependent {
            continue;
        }
        let Some((words, right)) = expected_of(state) else { continue };
        let answer = bench.ask(path, &read, &[], size);
        // That it hangs is another check's business.
        if answer.status.is_some() {
            let expected = format!("{words}: the report says {state}");
            bench.want(right(&answer), path, &read, &answer, &expected);
        }
    }
    Ok(())
}

fn no_attention_for_nothing(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    bench.told_by_any()?;
    let cdb = Cdb::TestUnitReady.encode();
    for path in bench.paths() {
        // What waits is told now.
        bench.tur(path);
        for _ in 0..4 {
            let answer = bench.send(path, cdb.as_bytes(), &[], 0);
            let right = !answer.is_attention() || answer.is_refusal();
            bench.want(right, path, cdb.as_bytes(), &answer, "no unit attention: nothing happened");
        }
    }
    Ok(())
}

fn steady_answers(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let cdb = Cdb::TestUnitReady.encode();
    for path in bench.paths() {
        let first = bench.tur(path);
        if first.is_refusal() && first.status == Some(Status::Busy) {
            return Err("a path is BUSY: see the checks of transitions".to_owned());
        }
        for _ in 0..IN_A_ROW {
            let answer = bench.send(path, cdb.as_bytes(), &[], 0);
            let right = answer.status.is_some() && !answer.is_busy();
            bench.want(right, path, cdb.as_bytes(), &answer, "an answer that is not BUSY");
        }
    }
    Ok(())
}

fn unknown_service_action(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    // 1Eh is vendor specific nowhere and defined nowhere.
    let cdb = [0xa3, 0x1e, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    for path in bench.paths() {
        let answer = bench.ask(path, &cdb, &[], 256);
        // That there is no answer at all is another check's business.
        if !answer.is_refusal() && answer.status.is_some() {
            bench.want(answer.is_illegal(), path, &cdb, &answer, "ILLEGAL REQUEST 24/00 or 20/00");
        }
    }
    Ok(())
}
