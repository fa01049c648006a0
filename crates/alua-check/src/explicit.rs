//! SET TARGET PORT GROUPS: each check changes states and puts them back.

use alua_core::access::AccessState;
use alua_core::spc::Status;
use alua_core::spc::cdb::{Cdb, ReportFormat};
use alua_core::spc::sense::SenseKey;
use alua_core::spc::target_port_groups::StatusCode;

use crate::bench::{Answer, Bench, ROOM, Told, rtpg_cdb};
use crate::identity::takes_part;
use crate::states::always;
use crate::{Check, Needs, Skipped};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "stpg-each-state",
        rule: "each state that a group supports can be asked for, and comes",
        source: "SPC, SET TARGET PORT GROUPS; target port group descriptor: the support bits",
        needs: Needs::Explicit,
        run: each_state,
    },
    Check {
        id: "stpg-status-code",
        rule: "after STPG the STATUS CODE of the group is 01h",
        source: "SPC, target port group descriptor: STATUS CODE",
        needs: Needs::Explicit,
        run: status_code,
    },
    Check {
        id: "stpg-transition",
        rule: "during an explicit transition RTPG is answered, and other commands are refused with \
               NOT READY 04/0A or BUSY",
        source: "SPC, transitions between states",
        needs: Needs::Explicit,
        run: transition,
    },
    Check {
        id: "stpg-time-kept",
        rule: "an explicit transition ends within the time that the extended header tells",
        source: "SPC, extended header: IMPLICIT TRANSITION TIME; practice for explicit ones",
        needs: Needs::Explicit,
        run: time_kept,
    },
    Check {
        id: "attention-on-others",
        rule: "a change by STPG is told by 2A/06 once to every other nexus, and not to the \
               requester",
        source: "SPC, SET TARGET PORT GROUPS: unit attention ASYMMETRIC ACCESS STATE CHANGED",
        needs: Needs::Explicit,
        run: attention_on_others,
    },
    Check {
        id: "refusals-by-state",
        rule: "in standby and unavailable, what must be answered is, and the rest is refused with \
               the state's own sense",
        source: "SPC, asymmetric access states: commands processed in each state",
        needs: Needs::Explicit,
        run: refusals,
    },
    Check {
        id: "stpg-bad-lists",
        rule: "malformed lists are refused with ILLEGAL REQUEST and change nothing",
        source: "SPC, SET TARGET PORT GROUPS: INVALID FIELD IN PARAMETER LIST, PARAMETER LIST \
                 LENGTH ERROR",
        needs: Needs::Explicit,
        run: bad_lists,
    },
];

/// The states that every group had.
type States = Vec<(u16, AccessState)>;

fn states(told: &Told) -> States {
    told.groups.iter().map(|(group, _)| (group.id, group.state)).collect()
}

/// That STPG is there, nothing moves, and the states to go back to.
pub(crate) fn begin(bench: &mut Bench<'_>) -> Result<(Told, States), Skipped> {
    if !takes_part(bench)?.has_explicit() {
        return Err("TPGS says that there is no SET TARGET PORT GROUPS".to_owned());
    }
    bench.one_unit()?;
    let told = bench.settled()?;
    let states = states(&told);
    match states.iter().find(|(_, state)| !state.is_settable()) {
        Some((group, state)) => {
            Err(format!("group {group} is {state}, which STPG could not bring back"))
        }
        None => Ok((told, states)),
    }
}

/// Brings back the states of before, with as many attempts as a stubborn target needs.
pub(crate) fn restore(bench: &mut Bench<'_>, before: &States) {
    let settable: States = before.iter().copied().filter(|(_, s)| s.is_settable()).collect();
    for path in bench.paths() {
        let Ok(now) = bench.settled() else { return };
        if states(&now) == *before {
            break;
        }
        bench.stpg(path, &settable);
        let _ = bench.settled();
    }
    if let Ok(now) = bench.settled()
        && states(&now) != *before
    {
        let expected = "the states of before, which the check asked for at its end";
        bench.find(0, &rtpg_cdb(now.format, ROOM), &now.states(), expected);
    }
    // Nobody else shall find what we have left behind.
    for path in bench.paths() {
        bench.tur(path);
    }
}

/// A path that leads to another group than `group`, so that it stays usable; else the first.
fn other_path(bench: &mut Bench<'_>, group: u16) -> usize {
    for path in bench.paths() {
        if bench.identity(path).is_ok_and(|identity| identity.group.is_some_and(|g| g != group)) {
            return path;
        }
    }
    0
}

/// Asks for a state of one group and waits for the end. `Err`: it was not reached, and why.
pub(crate) fn set(
    bench: &mut Bench<'_>,
    path: usize,
    group: u16,
    state: AccessState,
) -> Result<Told, (Vec<u8>, String)> {
    let (cdb, answer) = bench.stpg(path, &[(group, state)]);
    if !answer.is_good() {
        return Err((cdb, answer.text));
    }
    match bench.settled() {
        Err(why) => Err((cdb, why)),
        Ok(told) if told.group(group).is_some_and(|g| g.state == state) => Ok(told),
        Ok(told) => Err((cdb, format!("GOOD, and then {}", told.states()))),
    }
}

/// The states that a group can be asked for, the optimized one last.
fn settable(told: &Told, group: u16) -> Vec<AccessState> {
    let Some(fields) = told.group(group) else { return Vec::new() };
    let order = [
        AccessState::ActiveNonOptimized,
        AccessState::Standby,
        AccessState::Unavailable,
        AccessState::ActiveOptimized,
    ];
    order.into_iter().filter(|&state| fields.supported.contains(state)).collect()
}

fn each_state(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let (told, before) = begin(bench)?;
    for &(group, _) in &before {
        let path = other_path(bench, group);
        for state in settable(&told, group) {
            if let Err((cdb, got)) = set(bench, path, group, state) {
                let expected = format!("group {group} becomes {state}, which it supports");
                bench.find(path, &cdb, &got, &expected);
            }
        }
        restore(bench, &before);
    }
    Ok(())
}

/// A group, a path beside it, and a state that it is not in: for one change that shows.
pub(crate) fn change(
    bench: &mut Bench<'_>,
    told: &Told,
) -> Result<(u16, usize, AccessState), Skipped> {
    for (group, _) in &told.groups {
        let other = settable(told, group.id)
            .into_iter()
            .rev()
            .find(|&state| state != group.state && state.is_live());
        if let Some(state) = other {
            return Ok((group.id, other_path(bench, group.id), state));
        }
    }
    Err("no group supports a second live state".to_owned())
}

fn status_code(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let (told, before) = begin(bench)?;
    let (group, path, state) = change(bench, &told)?;
    let changed = set(bench, path, group, state);
    restore(bench, &before);
    let told = changed.map_err(|_| "STPG changes nothing: see stpg-each-state".to_owned())?;
    if let Some(fields) = told.group(group)
        && fields.status != StatusCode::ByStpg
    {
        let got = format!("group {group}: STATUS CODE {:02X}h", fields.status.bits());
        bench.find(path, &rtpg_cdb(told.format, ROOM), &got, "01h: changed by STPG");
    }
    Ok(())
}

fn transition(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let (told, before) = begin(bench)?;
    let (group, path, state) = change(bench, &told)?;
    let (_, answer) = bench.stpg(path, &[(group, state)]);
    let looked = answer.is_good() && during_transition(bench, &told);
    restore(bench, &before);
    if looked {
        Ok(())
    } else {
        Err("the change is over at once: no transition is seen".to_owned())
    }
}

/// Looks at every path while a transition is on. Whether there was one to look at.
fn during_transition(bench: &mut Bench<'_>, told: &Told) -> bool {
    let mut looked = false;
    let cdb = Cdb::TestUnitReady.encode();
    for path in bench.paths() {
        let answer = bench.tur(path);
        let moving =
            matches!(answer.sense, Some((_, 0x04, 0x0a))) || answer.status == Some(Status::Busy);
        if !moving {
            continue;
        }
        looked = true;
        let right =
            answer.status == Some(Status::Busy) || answer.is(SenseKey::NotReady, 0x04, 0x0a);
        bench.want(right, path, cdb.as_bytes(), &answer, "NOT READY 04/0A, or BUSY");
        let (cdb, answer) = bench.rtpg(path, told.format);
        bench.want(answer.is_good(), path, &cdb, &answer, "GOOD: RTPG is answered in transition");
        for (cdb, room) in always() {
            let answer = bench.ask(path, &cdb, &[], room);
            bench.want(answer.is_good(), path, &cdb, &answer, "GOOD, in transition too");
        }
    }
    looked
}

fn time_kept(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let (told, before) = begin(bench)?;
    let Some(secs) = told.transition_secs else {
        return Err("the target does not tell a transition time".to_owned());
    };
    let (group, path, state) = change(bench, &told)?;
    let begin = bench.now().as_millis();
    let (cdb, answer) = bench.stpg(path, &[(group, state)]);
    let settled = if answer.is_good() { bench.settled().is_ok() } else { true };
    let took = bench.now().as_millis().saturating_sub(begin);
    restore(bench, &before);
    if !answer.is_good() {
        return Err("STPG changes nothing: see stpg-each-state".to_owned());
    }
    if !settled || took > u64::from(secs) * 1_000 + 500 {
        bench.find(path, &cdb, &format!("{took} ms until the end"), &format!("at most {secs} s"));
    }
    Ok(())
}

fn attention_on_others(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let (told, before) = begin(bench)?;
    if bench.paths().len() < 2 {
        return Err("it takes two paths".to_owned());
    }
    if let Some(handler) = bench.muffled() {
        return Err(format!(
            "with the kernel's device handler {handler} no unit attention is seen"
        ));
    }
    let (group, requester, state) = change(bench, &told)?;
    // Nothing waits from before.
    for path in bench.paths() {
        bench.tur(path);
    }
    let (_, answer) = bench.stpg(requester, &[(group, state)]);
    let waited = if answer.is_good() { wait_through(bench, requester) } else { None };
    let Some(on_the_way) = waited else {
        restore(bench, &before);
        return Err("STPG changes nothing: see stpg-each-state".to_owned());
    };
    let cdb = Cdb::TestUnitReady.encode();
    for path in bench.paths() {
        let seen: Vec<Answer> = (0..3).map(|_| bench.send(path, cdb.as_bytes(), &[], 0)).collect();
        let mut changed = seen.iter().filter(|answer| is_change(answer)).count();
        if path == requester {
            changed += on_the_way;
        }
        let wanted = usize::from(path != requester);
        if changed != wanted {
            let got = format!("2A/06 {changed} times, the last answer {}", seen[2].text);
            let expected = match wanted {
                0 => "never: this path sent the STPG",
                _ => "once: another path sent the STPG",
            };
            bench.find(path, cdb.as_bytes(), &got, expected);
        }
    }
    restore(bench, &before);
    Ok(())
}

fn is_change(answer: &Answer) -> bool {
    answer.is(SenseKey::UnitAttention, 0x2a, 0x06)
}

/// Waits for the end of a transition by asking one path only, so that what waits on the others
/// stays there. How often this path was told of a change; `None`: there is no end.
fn wait_through(bench: &mut Bench<'_>, path: usize) -> Option<usize> {
    let begin = bench.now().as_millis();
    let mut told_of = 0;
    loop {
        let cdb = rtpg_cdb(ReportFormat::LengthOnly, ROOM);
        let answer = bench.send(path, &cdb, &[], ROOM);
        told_of += usize::from(is_change(&answer));
        let limit = bench.options.patience_ms;
        match Told::parse(&answer.data) {
            Ok(told) if answer.is_good() && !told.in_transition() => return Some(told_of),
            _ if bench.now().as_millis().saturating_sub(begin) > limit => return None,
            _ => bench.wait_ms(if is_change(&answer) { 0 } else { 100 }),
        }
    }
}

fn refusals(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let (told, before) = begin(bench)?;
    let mut any = false;
    for path in bench.paths() {
        let Some(group) = bench.identity(path)?.group else { continue };
        for (state, ascq) in [(AccessState::Standby, 0x0b), (AccessState::Unavailable, 0x0c)] {
            let supported = told.group(group).is_some_and(|g| g.supported.contains(state));
            let through = other_path(bench, group);
            if !supported || through == path || set(bench, through, group, state).is_err() {
                continue;
            }
            any = true;
            refusals_in(bench, path, state, ascq, told.format);
        }
        restore(bench, &before);
    }
    if any { Ok(()) } else { Err("no group can be put into standby or unavailable".to_owned()) }
}

fn refusals_in(
    bench: &mut Bench<'_>,
    path: usize,
    state: AccessState,
    ascq: u8,
    format: ReportFormat,
) {
    for (cdb, room) in always() {
        let answer = bench.ask(path, &cdb, &[], room);
        bench.want(answer.is_good(), path, &cdb, &answer, &format!("GOOD, in {state} too"));
    }
    let (cdb, answer) = bench.rtpg(path, format);
    bench.want(answer.is_good(), path, &cdb, &answer, &format!("GOOD, in {state} too"));
    let size = bench.block_size();
    let read = vec![0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    for (cdb, room) in [(vec![0; 6], 0), (read, size)] {
        let answer = bench.ask(path, &cdb, &[], room);
        let right = answer.is(SenseKey::NotReady, 0x04, ascq);
        let expected = format!("NOT READY 04/{ascq:02X}: the group is {state}");
        bench.want(right, path, &cdb, &answer, &expected);
    }
}

fn bad_lists(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    let (told, before) = begin(bench)?;
    let Some(&(group, _)) = before.first() else { return Err("there is no group".to_owned()) };
    let unknown = (1..=u16::MAX).find(|id| told.group(*id).is_none()).unwrap_or(0);
    let [high, low] = group.to_be_bytes();
    let [unknown_high, unknown_low] = unknown.to_be_bytes();
    let lists: [(&str, &[u8]); 5] = [
        ("a group that is not there", &[0, 0, 0, 0, 0, 0, unknown_high, unknown_low]),
        ("a reserved state", &[0, 0, 0, 0, 5, 0, high, low]),
        ("transitioning", &[0, 0, 0, 0, 0x0f, 0, high, low]),
        ("a list that is too short", &[0, 0, 0]),
        ("half a descriptor", &[0, 0, 0, 0, 1, 0]),
    ];
    for (what, list) in lists {
        let (cdb, answer) = bench.stpg_list(0, list);
        let expected = format!("ILLEGAL REQUEST for {what}");
        bench.want(answer.is_illegal(), 0, &cdb, &answer, &expected);
        let now = bench.settled()?;
        if states(&now) != before {
            bench.find(0, &cdb, &now.states(), &format!("no change after {what}"));
            restore(bench, &before);
        }
    }
    Ok(())
}
