//! Activation: asking the target for access states (explicit ALUA).
//!
//! # Phases
//!
//! 1. `Reading`: a report that was begun after the request is awaited, and with it the end of any
//!    transition. Then either nothing is to be sent, or
//! 2. `Sending`: one SET TARGET PORT GROUPS with every target that is not there yet, sent now or
//!    at a later time; at most one at a time and never while a group is in transition. Then
//! 3. `Verifying`: reports are read until the targets are there, or the transition outlived its
//!    limit, or `VERIFICATIONS_MAX` (20) reports showed no transition and no success.
//!
//! Activations are served one after another in the order of their requests. A request for the
//! targets of one that has not sent yet joins it and gets its identifier: the paths of a group that
//! are activated together cost one STPG.
//!
//! # Invariants
//!
//! - Every identifier ends in exactly one [`Event::Activation`](super::Event::Activation), also when
//!   the last path goes or the unit is shut down.
//! - What the target answers to STPG is never the result: the report after it is.
//! - In any 60 s at most `stpg_per_minute` commands are sent that may have had an effect, but for
//!   forced requests. Half of them, H, may come at once. Where no path is live, or a device handler is
//!   asked for a group that is not, I/O would stand still for the rest of that time: then one more is
//!   sent 60 s divided by H after the last, and so on, which makes 2 H - 1.

mod machine;
mod queue;
mod result;

pub(super) use queue::Activations;
pub use result::{
    Activated, ActivationError, ActivationId, ActivationRefused, ActivationResult, Target,
};
