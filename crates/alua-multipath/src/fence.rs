//! No stale write: when a write whose outcome is unknown may be sent again.
//!
//! # The danger
//!
//! A command that the transport lost, or that nobody answered in time, may still lie in a queue:
//! of the adapter, of the network, of a controller that is cut off. If the write is sent again on
//! another path, and acknowledged, and the client writes the same blocks anew, the first copy can
//! land last: acknowledged data are gone, silently.
//!
//! # The rule
//!
//! A command is **over** when nothing of it can change the medium any more. A request is sent again,
//! and completed, with an error too, only when every command that was sent for it is over.
//!
//! Proof that a command is over is one of these:
//!
//! | proof | source |
//! |---|---|
//! | the device server answered it, with any status | SAM-5: a task ends with its status |
//! | it never left the host | the transport says so |
//! | ABORT TASK was answered "complete", or "no such task" | SAM-5: aborted tasks do nothing more |
//! | its I_T nexus was ended, confirmed by the target (reinstatement, logout) | SAM-5, I_T nexus loss |
//! | LOGICAL UNIT RESET through any path was answered "complete" | SAM-5: ends the tasks of all nexuses |
//! | [`crate::config::Fence::wait_ms`] has passed since it was lost, or came back to a host that may send it again by itself until then ([`crate::PathTraits::host_repeats`]) | an assumption, and the only one |
//!
//! Only where a device is told to end at once, or dies, requests end (or are lost) whose commands are not over.
//! The next server of the unit has to fence them then, before it takes requests: `alua-device`, `inherited`.
//!
//! A step that reaches the target ends what has reached it before. So a shell answers that the end of
//! a nexus or a reset is done only where nothing of the path's commands is left in the host that could
//! still go out: not in a queue, an adapter or a socket. That holds for a path that was taken away, too.
//!
//! The bounded wait is what is left where a target cannot be reached on any path; NVMe has made a
//! field of it (Command Quiesce Time), SCSI has not, so it is configuration.
//!
//! # The argument
//!
//! For each block, by [`crate::order`], only the first unfinished request that changes it has
//! commands on their way; by the rule above at most one of these is not over. So when a request is
//! completed no command can change its blocks but those of requests that were submitted later.
//! Writes to a block land in the order of their requests, and none lands after the next one was
//! acknowledged. (I1, I2, I3)
//!
//! Reads and flushes change nothing. A lost one is sent again at once; the shell keeps its buffer
//! until the first copy has come back (I4).
//!
//! # The steps
//!
//! Per path, for the commands in doubt there: ABORT TASK for each, while the path answers; then the
//! end of the nexus; then LOGICAL UNIT RESET through a path that answers, where the configuration
//! lets it; again every [`crate::config::Fence::retry_ms`] until all are over, or their time is.
//! A shell that cannot do a step answers that it failed.

use crate::action::FenceKind;
use crate::time::Time;

/// The fence of one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Phase {
    /// Nothing on the path is in doubt.
    #[default]
    Idle,
    /// The next round begins then.
    Due(Time),
    /// A step was handed out.
    Step {
        kind: FenceKind,
        number: u32,
        /// When: commands sent later are not fenced by it.
        since: Time,
    },
}

/// The name of a proof.
pub(crate) const fn proof(kind: FenceKind) -> &'static str {
    match kind {
        FenceKind::AbortTask(_) => "ABORT TASK",
        FenceKind::EndNexus => "the nexus was ended",
        FenceKind::ResetUnit { .. } => "LOGICAL UNIT RESET",
    }
}
