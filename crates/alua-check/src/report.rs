//! REPORT TARGET PORT GROUPS: its bytes, in both formats, through each path.

use std::collections::BTreeSet;

use alua_core::access::AccessState;
use alua_core::spc::WireError;
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::target_port_groups::Report;

use crate::bench::{Bench, ROOM, Told, rtpg_cdb};
use crate::identity::takes_part;
use crate::{Check, Needs, Skipped};

const BOTH: [ReportFormat; 2] = [ReportFormat::LengthOnly, ReportFormat::Extended];
/// Reports in a row that are compared.
const IN_A_ROW: usize = 12;
/// Allocation lengths that are tried, at most.
const LENGTHS: usize = 200;

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "extended-header",
        rule: "RTPG with the extended header is answered with it",
        source: "SPC-4 and later, REPORT TARGET PORT GROUPS: PARAMETER DATA FORMAT 001b",
        needs: Needs::Reading,
        run: extended_header,
    },
    Check {
        id: "report-whole",
        rule: "every report is whole: its length, its descriptors, and no byte beyond",
        source: "SPC, REPORT TARGET PORT GROUPS: RETURN DATA LENGTH and TARGET PORT COUNT",
        needs: Needs::Reading,
        run: report_whole,
    },
    Check {
        id: "formats-agree",
        rule: "both formats tell the same groups, states and ports",
        source: "SPC, REPORT TARGET PORT GROUPS: the formats differ in their header only",
        needs: Needs::Reading,
        run: formats_agree,
    },
    Check {
        id: "allocation-lengths",
        rule: "every allocation length gives the start of the same report, and no error",
        source: "SPC, ALLOCATION LENGTH: data are cut, their length field is not",
        needs: Needs::Reading,
        run: allocation_lengths,
    },
    Check {
        id: "group-descriptors",
        rule: "groups and ports are named once, and no value is reserved",
        source: "SPC, target port group descriptor",
        needs: Needs::Reading,
        run: group_descriptors,
    },
    Check {
        id: "own-group",
        rule: "the report has the group and the port that page 83h names on the path",
        source: "SPC, REPORT TARGET PORT GROUPS: all groups through which the unit is reached",
        needs: Needs::Reading,
        run: own_group,
    },
    Check {
        id: "same-report",
        rule: "every path reports the same states",
        source: "SPC, REPORT TARGET PORT GROUPS: the states are the logical unit's",
        needs: Needs::Reading,
        run: same_report,
    },
];

fn extended_header(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    for path in bench.paths() {
        let (cdb, answer) = bench.rtpg(path, ReportFormat::Extended);
        if answer.is_refusal() {
            continue;
        }
        let expected = "GOOD, and a report with the extended header";
        if !answer.is_good() {
            bench.find(path, &cdb, &answer.text, expected);
            continue;
        }
        if let Ok(report) = Report::parse(&answer.data) {
            let right = report.format() == ReportFormat::Extended;
            bench.want(right, path, &cdb, &answer, expected);
        }
    }
    Ok(())
}

/// What a report must be made of beyond what the parser asks: nothing behind its end.
fn whole(data: &[u8]) -> Result<(), String> {
    let report = Report::parse(data).map_err(|error: WireError| error.to_string())?;
    if report.header_not_counted() {
        return Err("RETURN DATA LENGTH leaves out four bytes of the extended header".to_owned());
    }
    let end = Report::needed_length(data).map_err(|error| error.to_string())? as usize;
    let told: usize = report.groups().map(|group| 8 + 4 * group.ports.len()).sum();
    let header = report.format().header_length();
    if end != data.len() || header + told != data.len() {
        return Err(format!(
            "{} bytes, RETURN DATA LENGTH says {end}, the descriptors take {}",
            data.len(),
            header + told
        ));
    }
    Ok(())
}

fn report_whole(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let mut any = false;
    for path in bench.paths() {
        for format in BOTH {
            for _ in 0..IN_A_ROW {
                let (cdb, answer) = bench.rtpg(path, format);
                if !answer.is_good() {
                    break;
                }
                any = true;
                if let Err(why) = whole(&answer.data) {
                    let got = format!("{why}; {}", answer.text);
                    bench.find(path, &cdb, &got, "a report that is whole");
                }
            }
        }
    }
    if any { Ok(()) } else { Err("no path answers RTPG now".to_owned()) }
}

fn formats_agree(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let mut any = false;
    for path in bench.paths() {
        let mut both = Vec::new();
        for format in BOTH {
            let (cdb, answer) = bench.rtpg(path, format);
            let told = if answer.is_good() { Told::parse(&answer.data).ok() } else { None };
            both.push((cdb, answer, told));
        }
        let [(_, _, Some(one)), (cdb, answer, Some(two))] = both.as_slice() else { continue };
        any = true;
        // A report whose header is not counted lacks the last port: another check tells that.
        if one.groups != two.groups && !two.uncounted && !one.in_transition() {
            bench.find(
                path,
                cdb,
                &answer.text,
                &format!("as in the other format: {}", one.states()),
            );
        }
    }
    if any { Ok(()) } else { Err("no path gives a report in both formats".to_owned()) }
}

fn allocation_lengths(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    bench.settled()?;
    let mut any = false;
    for format in BOTH {
        let (_, answer) = bench.rtpg(0, format);
        if !answer.is_good() || whole(&answer.data).is_err() {
            continue;
        }
        any = true;
        let all = answer.data;
        for length in 0..(all.len() + 5).min(LENGTHS) {
            let cdb = rtpg_cdb(format, length);
            let answer = bench.ask(0, &cdb, &[], ROOM.min(length));
            let right = answer.is_good()
                && answer.data.as_slice() == all.get(..length.min(all.len())).unwrap_or(&all);
            let expected = format!("GOOD, and the first {} bytes", length.min(all.len()));
            bench.want(right, 0, &cdb, &answer, &expected);
        }
    }
    if any { Ok(()) } else { Err("there is no whole report to compare with".to_owned()) }
}

fn group_descriptors(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let told = bench.told_by_any()?;
    let cdb = rtpg_cdb(told.format, ROOM);
    let (mut groups, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (group, own) in &told.groups {
        let id = group.id;
        if !groups.insert(id) {
            bench.find(0, &cdb, &format!("two descriptors of group {id}"), "one for each group");
        }
        if own.is_empty() && !told.uncounted {
            bench.find(0, &cdb, &format!("group {id} has no port"), "at least one port");
        }
        if let AccessState::Reserved(state) = group.state {
            bench.find(0, &cdb, &format!("group {id}: state {state:X}h"), "a defined state");
        }
        if group.supported.bits() & 0x20 != 0 {
            let got = format!("group {id}: supported states {:02X}h", group.supported.bits());
            bench.find(0, &cdb, &got, "the reserved bit 20h is 0");
        }
        for &port in own {
            if port == 0 {
                let got = format!("group {id}: relative target port 0");
                bench.find(0, &cdb, &got, "1 to FFFFh");
            }
            if !ports.insert(port) {
                let got = format!("port {port} stands in two places");
                bench.find(0, &cdb, &got, "each port once, in one group");
            }
        }
    }
    Ok(())
}

fn own_group(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    let mut any = false;
    for path in bench.paths() {
        let identity = bench.identity(path)?;
        let Some(group) = identity.group else { continue };
        for _ in 0..4 {
            let Ok(told) = bench.told(path) else { break };
            any = true;
            let cdb = rtpg_cdb(told.format, ROOM);
            let found = told.groups.iter().find(|(fields, _)| fields.id == group);
            match (found, identity.relative_port) {
                (None, _) => {
                    let expected = format!("group {group}, which page 83h names on this path");
                    bench.find(path, &cdb, &told.states(), &expected);
                }
                (Some((_, ports)), Some(port)) if !ports.contains(&port) && !told.uncounted => {
                    let got = format!("group {group} has the ports {ports:?}");
                    let expected = format!("port {port}, which page 83h names on this path");
                    bench.find(path, &cdb, &got, &expected);
                }
                _ => {}
            }
        }
    }
    if any { Ok(()) } else { Err("no path names its group and answers RTPG".to_owned()) }
}

fn same_report(bench: &mut Bench<'_>) -> Result<(), Skipped> {
    takes_part(bench)?;
    bench.one_unit()?;
    if bench.paths().len() < 2 {
        return Err("it takes two paths".to_owned());
    }
    let first = bench.settled()?;
    for path in bench.paths() {
        let Ok(own) = bench.told(path) else { continue };
        // States may change at any time: only what stays different counts.
        let again = bench.told_by_any()?;
        let states = |told: &Told| -> Vec<(u16, AccessState, bool)> {
            told.groups.iter().map(|(g, _)| (g.id, g.state, g.preferred)).collect()
        };
        let moved = states(&again) != states(&first) || own.in_transition();
        if !moved && states(&own) != states(&first) {
            let cdb = rtpg_cdb(own.format, ROOM);
            let expected = format!("as through another path: {}", first.states());
            bench.find(path, &cdb, &own.states(), &expected);
        }
    }
    Ok(())
}
