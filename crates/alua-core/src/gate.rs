//! What may go down a path in which access state.
//!
//! Two questions, kept apart: may ordinary I/O be sent ([`gate`]), and would a device server process
//! this very command in that state ([`permitted`], SPC-4 5.11.2.4 to 5.11.2.8).

use crate::access::AccessState;
use crate::spc::cdb::opcode;

/// What becomes of I/O that is about to be sent down a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Gate {
    /// Send it.
    Pass,
    /// Keep it for now: what holds it ends by itself.
    Hold(Hold),
    /// Do not send it down this path.
    Refuse(Refusal),
}

/// Why I/O is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hold {
    /// The path is in transition.
    Transitioning,
    /// The access state is being read, and the configuration says to wait for it.
    StateUnknown,
    /// A sense code put the path's identity in doubt; page 83h is being read again.
    IdentityInDoubt,
}

/// Why I/O is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The access state lets no I/O pass.
    State(AccessState),
    /// Another logical unit is behind the path now.
    IdentityChanged,
    /// The path's identity is in doubt and could not be read again.
    IdentityUnreadable,
    /// The access state could not be read, or the target does not list the path's group, and the
    /// configuration does not let I/O pass without it.
    StateUnreadable,
    /// There is no such path.
    NoPath,
}

/// What the gate does where the access state alone does not say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GatePolicy {
    /// Whether I/O passes while the access state is unknown. Default: it does.
    pub pass_unknown: bool,
    /// Whether I/O passes in transition. A consumer that can only pass or fail (the device
    /// handler) passes; one that can wait (native multipath) holds. Default: pass.
    pub pass_transitioning: bool,
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self { pass_unknown: true, pass_transitioning: true }
    }
}

/// Whether ordinary I/O may be sent down a path in `state`; `None` is a state never read.
#[must_use]
pub const fn gate(state: Option<AccessState>, policy: GatePolicy) -> Gate {
    match state {
        None if policy.pass_unknown => Gate::Pass,
        None => Gate::Hold(Hold::StateUnknown),
        Some(AccessState::Transitioning) if policy.pass_transitioning => Gate::Pass,
        Some(AccessState::Transitioning) => Gate::Hold(Hold::Transitioning),
        Some(state) if state.is_live() => Gate::Pass,
        Some(state) => Gate::Refuse(Refusal::State(state)),
    }
}

/// Whether a device server processes the command `cdb` through a target port in `state`.
///
/// Live states process everything. For the rest the answer is SPC's list of commands that shall be
/// processed; a target may process more, so `false` means "do not count on it". An empty CDB and
/// the reserved states are not permitted.
#[must_use]
pub fn permitted(state: AccessState, cdb: &[u8]) -> bool {
    let Some(&operation) = cdb.first() else { return false };
    let action = cdb.get(1).map_or(0, |byte| byte & 0x1f);
    let report_groups =
        operation == opcode::MAINTENANCE_IN && action == opcode::REPORT_TARGET_PORT_GROUPS;
    let set_groups =
        operation == opcode::MAINTENANCE_OUT && action == opcode::SET_TARGET_PORT_GROUPS;
    let always = report_groups
        || matches!(
            operation,
            opcode::INQUIRY
                | opcode::REPORT_LUNS
                | opcode::REQUEST_SENSE
                | opcode::READ_BUFFER_10
                | opcode::WRITE_BUFFER
        );
    match state {
        live if live.is_live() => true,
        AccessState::Standby => always || set_groups || is_standby_command(operation, action),
        AccessState::Unavailable => always || set_groups,
        AccessState::Transitioning => always,
        // SPC gives offline no list; what identifies a unit and its states is expected to work.
        AccessState::Offline => {
            report_groups
                || set_groups
                || matches!(
                    operation,
                    opcode::INQUIRY | opcode::REPORT_LUNS | opcode::REQUEST_SENSE
                )
        }
        _ => false,
    }
}

/// What standby adds to the commands that unavailable processes.
const fn is_standby_command(operation: u8, action: u8) -> bool {
    match operation {
        opcode::LOG_SELECT
        | opcode::LOG_SENSE
        | opcode::MODE_SELECT_6
        | opcode::MODE_SENSE_6
        | opcode::MODE_SELECT_10
        | opcode::MODE_SENSE_10
        | opcode::SEND_DIAGNOSTIC
        | opcode::RECEIVE_DIAGNOSTIC_RESULTS
        | opcode::READ_CAPACITY_10
        | opcode::PERSISTENT_RESERVE_IN
        | opcode::PERSISTENT_RESERVE_OUT => true,
        opcode::SERVICE_ACTION_IN_16 => action == opcode::READ_CAPACITY_16,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [AccessState; 9] = [
        AccessState::ActiveOptimized,
        AccessState::ActiveNonOptimized,
        AccessState::Standby,
        AccessState::Unavailable,
        AccessState::LbaDependent,
        AccessState::Reserved(0x5),
        AccessState::Reserved(0xd),
        AccessState::Offline,
        AccessState::Transitioning,
    ];

    #[test]
    fn f01_reg_11_live_and_transitioning_pass_for_the_device_handler() {
        let policy = GatePolicy::default();
        for state in ALL {
            let passes = state.is_live() || state == AccessState::Transitioning;
            assert_eq!(gate(Some(state), policy) == Gate::Pass, passes, "{state}");
        }
    }

    #[test]
    fn f02_the_rest_is_refused_with_its_state() {
        for state in [
            AccessState::Standby,
            AccessState::Unavailable,
            AccessState::Offline,
            AccessState::Reserved(7),
        ] {
            assert_eq!(
                gate(Some(state), GatePolicy::default()),
                Gate::Refuse(Refusal::State(state))
            );
        }
    }

    #[test]
    fn f03_s7_3_unknown_passes_unless_told_otherwise() {
        assert_eq!(gate(None, GatePolicy::default()), Gate::Pass);
        let strict = GatePolicy { pass_unknown: false, ..GatePolicy::default() };
        assert_eq!(gate(None, strict), Gate::Hold(Hold::StateUnknown));
    }

    #[test]
    fn s7_9_x19_native_multipath_holds_in_transition() {
        let native = GatePolicy { pass_transitioning: false, ..GatePolicy::default() };
        assert_eq!(gate(Some(AccessState::Transitioning), native), Gate::Hold(Hold::Transitioning));
        assert_eq!(gate(Some(AccessState::LbaDependent), native), Gate::Pass);
    }

    #[test]
    fn a_smaller_set_of_commands_in_each_worse_state() {
        for operation in 0..=u8::MAX {
            for action in 0..=0x1f_u8 {
                let cdb = [operation, action, 0, 0, 0, 0];
                let allowed = |state| permitted(state, &cdb);
                assert!(allowed(AccessState::ActiveOptimized));
                assert!(allowed(AccessState::Standby) || !allowed(AccessState::Unavailable));
                assert!(allowed(AccessState::Unavailable) || !allowed(AccessState::Transitioning));
                assert!(!allowed(AccessState::Reserved(9)));
            }
        }
    }

    #[test]
    fn a_test_unit_ready_succeeds_in_live_states_only() {
        for state in ALL {
            assert_eq!(permitted(state, &[opcode::TEST_UNIT_READY; 1]), state.is_live());
        }
    }

    #[test]
    fn states_are_set_in_standby_and_unavailable_but_not_in_transition() {
        let stpg = [opcode::MAINTENANCE_OUT, opcode::SET_TARGET_PORT_GROUPS];
        assert!(permitted(AccessState::Standby, &stpg));
        assert!(permitted(AccessState::Unavailable, &stpg));
        assert!(!permitted(AccessState::Transitioning, &stpg));
        let rtpg = [opcode::MAINTENANCE_IN, opcode::REPORT_TARGET_PORT_GROUPS | 0x20];
        assert!(permitted(AccessState::Transitioning, &rtpg), "the format bits do not matter");
    }

    #[test]
    fn an_empty_cdb_is_not_a_command() {
        assert!(ALL.iter().all(|&state| !permitted(state, &[])));
    }
}
