//! The rules that `explain` names: which one let a path pass or kept it back, by the number of its
//! row in docs/behaviours.md and in SPC's words. The decision itself was the core's.

use alua_core::access::AccessState;
use alua_core::cause::Cause;
use alua_core::gate::{Gate, Hold, Refusal};
use alua_core::sense::meaning;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::tpgs::{AluaOff, Managed};
use serde::Serialize;

use crate::view::PathView;

/// A rule, by its row and in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) text: String,
}

fn rule(id: &'static str, text: impl Into<String>) -> Rule {
    Rule { id, text: text.into() }
}

/// The rule that decides about a path.
pub(crate) fn rule_of_path(gate: Gate, cause: Cause, path: &PathView) -> Rule {
    let open = matches!(gate, Gate::Pass | Gate::Refuse(Refusal::NoPath));
    if open && path.health == "failed" {
        return rule("C09", "where the transport of a path fails, another path is used");
    }
    rule_of_gate(gate, cause)
}

/// The rule behind the gate.
fn rule_of_gate(gate: Gate, cause: Cause) -> Rule {
    match (gate, cause) {
        (_, Cause::AluaOff(off)) => rule_of_off(off),
        (Gate::Refuse(Refusal::State(AccessState::Standby)), Cause::TransitionExpired { .. }) => {
            rule("S7-6", "a transition that outlives its limit counts as standby until it is over")
        }
        (Gate::Pass, Cause::NeverRead | Cause::NoGroup | Cause::AbsentFromReport { .. }) => {
            rule("F03", "while the access state is not known, I/O passes")
        }
        (Gate::Pass, _) => rule(
            "F01",
            "SPC, asymmetric access states: optimized, non-optimized and LBA-dependent take every \
             command",
        ),
        (Gate::Hold(Hold::Transitioning), _) => rule(
            "S7-9",
            "in transition I/O waits: the transition ends, or its limit ends it (S7-5)",
        ),
        (Gate::Hold(Hold::StateUnknown), _) => {
            rule("S7-3", "the access state is not known, and I/O was configured to wait for it")
        }
        (Gate::Hold(Hold::IdentityInDoubt), _) => rule(
            "S7-7",
            "a path whose identity is in doubt takes no I/O until page 83h was read again",
        ),
        (Gate::Refuse(Refusal::State(state)), _) => rule(
            "F02",
            format!("SPC, asymmetric access states: {state} gives no access to the medium"),
        ),
        (Gate::Refuse(Refusal::IdentityChanged | Refusal::IdentityUnreadable), _) => {
            rule("S7-7", "I/O goes only down a path that is known to lead to this logical unit")
        }
        (Gate::Refuse(Refusal::StateUnreadable), _) => {
            rule("S7-3", "the access state cannot be read, and I/O was configured not to pass then")
        }
        (Gate::Refuse(Refusal::NoPath), _) => rule(
            "linux",
            "a device that cannot be opened, or that the kernel sends no commands to, is no path",
        ),
    }
}

fn rule_of_off(off: AluaOff) -> Rule {
    match off {
        AluaOff::NotDisk { .. } => rule("A01", "ALUA is for disks only"),
        AluaOff::NotSupported | AluaOff::GroupWithoutTpgs { .. } => {
            rule("A02", "without TPGS all paths are equal: I/O passes on each")
        }
        AluaOff::NoIdentification => rule("A05", "without page 83h a path has no port group"),
        AluaOff::NoGroup => {
            rule("A06", "without a type 5 designator in page 83h a path has no port group")
        }
    }
}

/// The row of the sense table.
pub(crate) fn rule_of_sense(sense: &Sense) -> Rule {
    let id = match (sense.key, sense.asc, sense.ascq) {
        (SenseKey::NotReady, 0x04, 0x0a) => "E01",
        (SenseKey::UnitAttention, 0x04, 0x0a) => "E02",
        (SenseKey::UnitAttention, 0x29, 0x00) => "E03",
        (SenseKey::UnitAttention, 0x29, _) => "E04",
        (SenseKey::UnitAttention, 0x2a, 0x01 | 0x09) => "E05",
        (SenseKey::UnitAttention, 0x2a, 0x06) => "E06",
        (SenseKey::UnitAttention, 0x2a, 0x07) => "E07",
        (SenseKey::UnitAttention, 0x3f, 0x03 | 0x05) => "E08",
        (SenseKey::UnitAttention, 0x3f, 0x0e) => "E09",
        _ => "E10",
    };
    rule(id, meaning(sense).text)
}

/// What an administrator can do about it.
pub(crate) fn to_do(
    gate: Gate,
    cause: Cause,
    managed: Result<Managed, AluaOff>,
    path: &PathView,
    others: &[PathView],
) -> Vec<String> {
    let mut steps = Vec::new();
    let explicit = managed.is_ok_and(|managed| managed.tpgs().has_explicit());
    if managed.is_err() && path.usable {
        steps.push("nothing: without ALUA every path that answers is used".to_owned());
        return steps;
    }
    if path.health == "failed" {
        steps.push(
            "the last command had no answer: look at the link, the target port and the kernel log"
                .to_owned(),
        );
        return steps;
    }
    match (gate, cause) {
        (Gate::Pass, _) if path.state.as_deref() == Some("active/non-optimized") => {
            let better = others
                .iter()
                .any(|other| other.usable && other.state.as_deref() == Some("active/optimized"));
            steps.push(if better {
                "nothing: it is in reserve, a better path is there".to_owned()
            } else {
                format!("no path is optimized: {}", activate(path, explicit))
            });
        }
        (Gate::Pass, _) => steps.push("nothing".to_owned()),
        (Gate::Hold(Hold::Transitioning), _) => {
            steps.push("wait; `alua list --watch` shows how long it may still take".to_owned());
        }
        (Gate::Hold(_), _) => steps.push("wait a moment and ask again".to_owned()),
        (Gate::Refuse(Refusal::State(_)), Cause::TransitionExpired { .. }) => steps.push(
            "the target takes longer than it said: look at the array; the state is read again \
             every 30 s"
                .to_owned(),
        ),
        (Gate::Refuse(Refusal::State(AccessState::Offline)), _) => steps.push(
            "bring the target port back online on the array; no command of a host can do it \
             through this port"
                .to_owned(),
        ),
        (Gate::Refuse(Refusal::State(_)), _) => {
            if others.iter().any(|other| other.gate == "hold") {
                steps.push("wait: the unit is in transition on another path".to_owned());
            }
            let how = activate(path, explicit);
            steps.push(format!("if this controller is to serve the unit: {how}"));
        }
        (Gate::Refuse(Refusal::StateUnreadable), _) => {
            steps.push("look at what REPORT TARGET PORT GROUPS meets: alua rtpg -v".to_owned());
        }
        (Gate::Refuse(Refusal::IdentityChanged), _) => steps.push(format!(
            "remove the device and rescan: echo 1 > /sys/bus/scsi/devices/{}/delete",
            path.hctl
        )),
        (Gate::Refuse(Refusal::IdentityUnreadable), _) => {
            steps.push("find out why the target does not answer INQUIRY page 83h".to_owned());
        }
        // What cannot be opened says itself what to do.
        (Gate::Refuse(Refusal::NoPath), _) if path.health == "not opened" => {
            steps.extend(path.gate_reason.clone());
        }
        (Gate::Refuse(Refusal::NoPath), _) => steps.push(format!(
            "look at /sys/bus/scsi/devices/{}/state, the link and the kernel log",
            path.hctl
        )),
    }
    steps
}

fn activate(path: &PathView, explicit: bool) -> String {
    match path.group.filter(|_| explicit) {
        Some(group) => format!("`alua activate {} --group {group}`", path.device),
        None => "move the unit with the array's own tools".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use alua_core::time::Time;

    use super::*;

    const BEHAVIOURS: &str = include_str!("../../../../docs/behaviours.md");

    /// The identifiers of the table's rows.
    fn rows() -> BTreeSet<&'static str> {
        BEHAVIOURS.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).collect()
    }

    #[test]
    fn every_gate_and_cause_has_a_rule_that_is_documented() {
        let expired = Cause::TransitionExpired { since: Time::ZERO, limit_ms: 1 };
        let standby = Gate::Refuse(Refusal::State(AccessState::Standby));
        let cases = [
            (standby, Cause::NeverRead, "F02"),
            (standby, expired, "S7-6"),
            (Gate::Refuse(Refusal::State(AccessState::Offline)), expired, "F02"),
            (Gate::Refuse(Refusal::IdentityChanged), Cause::NeverRead, "S7-7"),
            (Gate::Refuse(Refusal::IdentityUnreadable), Cause::NeverRead, "S7-7"),
            (Gate::Refuse(Refusal::NoPath), Cause::NeverRead, "linux"),
            (Gate::Hold(Hold::Transitioning), Cause::NeverRead, "S7-9"),
            (Gate::Hold(Hold::StateUnknown), Cause::NeverRead, "S7-3"),
            (Gate::Hold(Hold::IdentityInDoubt), Cause::NeverRead, "S7-7"),
            (Gate::Pass, Cause::NeverRead, "F03"),
            (Gate::Pass, expired, "F01"),
            (Gate::Pass, Cause::AluaOff(AluaOff::NotDisk { device_type: 1 }), "A01"),
            (Gate::Pass, Cause::AluaOff(AluaOff::NotSupported), "A02"),
            (Gate::Pass, Cause::AluaOff(AluaOff::NoIdentification), "A05"),
            (Gate::Pass, Cause::AluaOff(AluaOff::NoGroup), "A06"),
        ];
        let rows = rows();
        for (gate, cause, id) in cases {
            let rule = rule_of_gate(gate, cause);
            assert_eq!(rule.id, id, "{gate:?} {cause:?}");
            assert!(rows.contains(id) || id == "linux", "{id}");
        }
    }

    #[test]
    fn every_sense_code_has_a_row_that_is_documented() {
        let rows = rows();
        for key in SenseKey::ALL {
            for asc in 0..=u8::MAX {
                for ascq in [0, 1, 3, 4, 5, 6, 7, 9, 0x0a, 0x0b, 0x0c, 0x0e, 0x12, 0xff] {
                    let rule = rule_of_sense(&Sense::new(key, asc, ascq));
                    assert!(rows.contains(rule.id), "{rule:?}");
                }
            }
        }
        let id = |key, asc, ascq| rule_of_sense(&Sense::new(key, asc, ascq)).id;
        assert_eq!(id(SenseKey::NotReady, 0x04, 0x0a), "E01");
        assert_eq!(id(SenseKey::UnitAttention, 0x2a, 0x06), "E06");
        assert_eq!(id(SenseKey::NotReady, 0x04, 0x0b), "E10");
    }
}
