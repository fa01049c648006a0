//! What sense data means for ALUA: one table for every consumer.
//!
//! A row says three things about a sense code: what it tells of the path's access state, what must
//! be read again, and what becomes of the command that got it. The kernel handler, the multipath
//! engine and the driver's own commands all ask this table, so they cannot disagree.
//!
//! Rows are matched from the top; the first that fits wins. A sense that no row names, and every
//! deferred error (it speaks of an earlier command), is [`Disposition::HandOn`]: not a matter of
//! ALUA, the consumer's general error handling decides.

use crate::access::AccessState;
use crate::spc::sense::{Sense, SenseKey};

/// What a sense code means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meaning {
    /// The access state that the path tells of itself, where the code names one.
    pub state: Option<AccessState>,
    /// What must be read again.
    pub recheck: Recheck,
    /// What becomes of the command.
    pub disposition: Disposition,
    /// Whether the code proves that the command was not executed, so that even a write may be sent
    /// again anywhere without a fence.
    pub not_executed: bool,
    /// The row in words.
    pub text: &'static str,
}

/// What becomes of a command after a sense code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Disposition {
    /// Send it again on this path: it lost its turn to a unit attention.
    RetryHere,
    /// This path cannot carry it now; another may.
    RetryElsewhere,
    /// The path is in transition: another path may carry it now, this one when the transition is
    /// over.
    Wait,
    /// The answer is about the command or the medium and would be the same on every path.
    Fail,
    /// Not a matter of ALUA: the consumer's general error handling decides.
    HandOn,
}

/// What must be read again after a sense code. A set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Recheck(u8);

impl Recheck {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// The access states (REPORT TARGET PORT GROUPS).
    pub const STATES: Self = Self(1);
    /// Who the device behind the path is (page 83h).
    pub const IDENTITY: Self = Self(2);
    /// The capacity. The core leaves this to the consumer.
    pub const CAPACITY: Self = Self(4);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One row of the table: the codes, and what they mean.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The sense keys that the row is for.
    keys: &'static [SenseKey],
    /// Additional sense code; `None` for any.
    asc: Option<u8>,
    /// Additional sense code qualifier; `None` for any.
    ascq: Option<u8>,
    /// What they mean.
    pub meaning: Meaning,
}

impl Row {
    fn fits(&self, sense: &Sense) -> bool {
        self.keys.contains(&sense.key)
            && self.asc.is_none_or(|asc| asc == sense.asc)
            && self.ascq.is_none_or(|ascq| ascq == sense.ascq)
    }
}

/// The meaning of `sense`.
#[must_use]
pub fn meaning(sense: &Sense) -> Meaning {
    if sense.deferred {
        return NOT_OURS;
    }
    TABLE.iter().find(|row| row.fits(sense)).map_or(NOT_OURS, |row| row.meaning)
}

/// Whether `sense` says that the path is in an asymmetric access state transition. Deployed
/// targets send 04h/0Ah under NOT READY and under UNIT ATTENTION.
#[must_use]
pub fn is_transition(sense: &Sense) -> bool {
    meaning(sense).state == Some(AccessState::Transitioning)
}

/// Whether `sense` is the unit attention that tells of a reset or a lost nexus (ASC 29h): what
/// was behind the path before, and what lay in a volatile cache, may be gone.
#[must_use]
pub fn tells_of_reset(sense: &Sense) -> bool {
    sense.key == SenseKey::UnitAttention && sense.asc == RESET && !sense.deferred
}

/// ASC of these unit attentions.
const RESET: u8 = 0x29;

const NOT_READY: &[SenseKey] = &[SenseKey::NotReady];
const ATTENTION: &[SenseKey] = &[SenseKey::UnitAttention];
/// Targets that report a state under UNIT ATTENTION mean the same as under NOT READY.
const STATE_KEYS: &[SenseKey] = &[SenseKey::NotReady, SenseKey::UnitAttention];

const STATES: Recheck = Recheck::STATES;
const IDENTITY: Recheck = Recheck::STATES.and(Recheck::IDENTITY);

const NOT_OURS: Meaning = Meaning {
    state: None,
    recheck: Recheck::NOTHING,
    disposition: Disposition::HandOn,
    not_executed: false,
    text: "not a matter of asymmetric access",
};

/// A row of a path that tells its own state.
const fn told(
    keys: &'static [SenseKey],
    ascq: u8,
    state: AccessState,
    disposition: Disposition,
    text: &'static str,
) -> Row {
    let meaning =
        Meaning { state: Some(state), recheck: STATES, disposition, not_executed: true, text };
    Row { keys, asc: Some(0x04), ascq: Some(ascq), meaning }
}

/// A row of a unit attention that concerns ALUA: the command is sent again.
const fn attention(asc: u8, ascq: Option<u8>, recheck: Recheck, text: &'static str) -> Row {
    let disposition = Disposition::RetryHere;
    let meaning = Meaning { state: None, recheck, disposition, not_executed: true, text };
    Row { keys: ATTENTION, asc: Some(asc), ascq, meaning }
}

/// The table.
pub static TABLE: &[Row] = &[
    told(
        STATE_KEYS,
        0x0a,
        AccessState::Transitioning,
        Disposition::Wait,
        "not accessible, asymmetric access state transition",
    ),
    told(
        STATE_KEYS,
        0x0b,
        AccessState::Standby,
        Disposition::RetryElsewhere,
        "not accessible, target port in standby state",
    ),
    told(
        STATE_KEYS,
        0x0c,
        AccessState::Unavailable,
        Disposition::RetryElsewhere,
        "not accessible, target port in unavailable state",
    ),
    told(NOT_READY, 0x12, AccessState::Offline, Disposition::RetryElsewhere, "not ready, offline"),
    // A reset clears the unit attentions before it, a state change among them (SPC-5, 5.14).
    attention(0x29, None, STATES, "power on or reset, may hide a state change"),
    attention(0x2a, Some(0x01), Recheck::NOTHING, "mode parameters changed"),
    attention(0x2a, Some(0x06), STATES, "asymmetric access state changed"),
    attention(0x2a, Some(0x07), STATES, "implicit asymmetric access state transition failed"),
    attention(0x2a, Some(0x09), Recheck::CAPACITY, "capacity data has changed"),
    attention(0x3f, Some(0x03), IDENTITY, "inquiry data has changed"),
    attention(0x3f, Some(0x05), IDENTITY, "device identifier changed"),
    attention(0x3f, Some(0x0e), IDENTITY, "reported LUNs data has changed"),
    // Any other unit attention is a matter of the consumer's, but it was not executed either.
    Row {
        keys: ATTENTION,
        asc: None,
        ascq: None,
        meaning: Meaning { not_executed: true, text: "another unit attention", ..NOT_OURS },
    },
    Row {
        keys: &[SenseKey::IllegalRequest],
        asc: Some(0x25),
        ascq: Some(0x00),
        meaning: Meaning {
            state: None,
            recheck: IDENTITY,
            disposition: Disposition::RetryElsewhere,
            not_executed: true,
            text: "logical unit not supported, it is no longer behind this path",
        },
    },
    Row {
        keys: &[
            SenseKey::MediumError,
            SenseKey::IllegalRequest,
            SenseKey::DataProtect,
            SenseKey::BlankCheck,
            SenseKey::VolumeOverflow,
            SenseKey::Miscompare,
        ],
        asc: None,
        ascq: None,
        meaning: Meaning {
            disposition: Disposition::Fail,
            text: "about the command or the medium, the same on every path",
            ..NOT_OURS
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: SenseKey, asc: u8, ascq: u8) -> Meaning {
        meaning(&Sense::new(key, asc, ascq))
    }

    fn attention_of(asc: u8, ascq: u8) -> Meaning {
        of(SenseKey::UnitAttention, asc, ascq)
    }

    #[test]
    fn e01_transition_under_not_ready_waits_and_refreshes() {
        let found = of(SenseKey::NotReady, 0x04, 0x0a);
        assert_eq!(found.state, Some(AccessState::Transitioning));
        assert_eq!(found.disposition, Disposition::Wait);
        assert_eq!(found.recheck, Recheck::STATES);
    }

    #[test]
    fn e02_reg_13_transition_under_unit_attention_is_the_same() {
        assert_eq!(attention_of(0x04, 0x0a), of(SenseKey::NotReady, 0x04, 0x0a));
    }

    #[test]
    fn e03_e04_s7_7_every_reset_may_hide_a_state_change() {
        for ascq in 0..=u8::MAX {
            let found = attention_of(0x29, ascq);
            assert_eq!(found.disposition, Disposition::RetryHere);
            assert!(found.recheck.contains(Recheck::STATES));
            assert!(!found.recheck.contains(Recheck::IDENTITY));
        }
    }

    #[test]
    fn e05_mode_parameters_changed_reads_nothing_again() {
        let found = attention_of(0x2a, 0x01);
        assert_eq!(found.disposition, Disposition::RetryHere);
        assert_eq!(found.recheck, Recheck::NOTHING);
    }

    #[test]
    fn e06_e07_state_changes_refresh() {
        for ascq in [0x06, 0x07] {
            let found = attention_of(0x2a, ascq);
            assert_eq!(found.disposition, Disposition::RetryHere);
            assert_eq!(found.recheck, Recheck::STATES);
            assert_eq!(found.state, None);
        }
    }

    #[test]
    fn e08_e09_s7_7_changed_identity_is_read_again() {
        for ascq in [0x03, 0x05, 0x0e] {
            let found = attention_of(0x3f, ascq);
            assert_eq!(found.disposition, Disposition::RetryHere);
            assert!(found.recheck.contains(Recheck::STATES.and(Recheck::IDENTITY)));
        }
    }

    #[test]
    fn e10_s7_7_standby_unavailable_and_offline_move_the_command_and_refresh() {
        for (ascq, state) in [
            (0x0b, AccessState::Standby),
            (0x0c, AccessState::Unavailable),
            (0x12, AccessState::Offline),
        ] {
            let found = of(SenseKey::NotReady, 0x04, ascq);
            assert_eq!(found.state, Some(state));
            assert_eq!(found.disposition, Disposition::RetryElsewhere);
            assert_eq!(found.recheck, Recheck::STATES);
            assert!(found.not_executed);
        }
    }

    #[test]
    fn structure_check_required_is_not_ours() {
        assert_eq!(of(SenseKey::NotReady, 0x04, 0x0d), NOT_OURS);
    }

    #[test]
    fn a_deferred_error_speaks_of_another_command() {
        let mut sense = Sense::new(SenseKey::NotReady, 0x04, 0x0a);
        sense.deferred = true;
        assert_eq!(meaning(&sense), NOT_OURS);
    }

    /// E10 and E11 over the whole space: what no rule names is handed on or failed, tells no
    /// state and reads nothing again; and nothing but a unit attention, a state code or "logical
    /// unit not supported" proves that a command was not executed.
    #[test]
    fn every_code_has_the_meaning_of_its_rule_and_no_other() {
        for key in (0..16).map(SenseKey::from_bits) {
            for asc in 0..=u8::MAX {
                for ascq in 0..=u8::MAX {
                    let found = of(key, asc, ascq);
                    let attention = key == SenseKey::UnitAttention;
                    let not_ready = key == SenseKey::NotReady;
                    let tells = asc == 0x04
                        && ((attention || not_ready) && (0x0a..=0x0c).contains(&ascq)
                            || not_ready && ascq == 0x12);
                    let gone = key == SenseKey::IllegalRequest && asc == 0x25 && ascq == 0;
                    assert_eq!(found.state.is_some(), tells);
                    assert_eq!(found.not_executed, tells || attention || gone);
                    let rechecks = tells
                        || gone
                        || attention
                            && (asc == 0x29
                                || asc == 0x2a && (0x06..=0x07).contains(&ascq)
                                || asc == 0x3f && [0x03, 0x05, 0x0e].contains(&ascq));
                    assert_eq!(found.recheck.contains(Recheck::STATES), rechecks);
                    if !tells && !attention && !gone {
                        assert!(matches!(
                            found.disposition,
                            Disposition::Fail | Disposition::HandOn
                        ));
                    }
                }
            }
        }
    }
}
