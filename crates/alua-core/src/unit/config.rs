//! The limits and choices of a logical unit.

use crate::gate::GatePolicy;

/// How a logical unit is managed. Every number has a default that suits an array of which nothing
/// is known; times are in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// What the gate does where the state alone does not say.
    pub gate: GatePolicy,
    /// How long a transition may take when the target gives no implicit transition time.
    /// Default 255 s, the longest that the one-byte field can tell.
    pub transition_ms: u32,
    /// Raises the limit of every transition to at least this. Default 0: the target's own time.
    pub transition_at_least_ms: u32,
    /// How often a transition is looked at, at the least. Default 2 s.
    pub transition_poll_ms: u32,
    /// How soon a transition is looked at again while it is young, for each path that a look had to
    /// ask. The pauses grow to a part in [`TRANSITION_POLL_PART`] of its length, and never beyond
    /// [`transition_poll_ms`](Self::transition_poll_ms). Default 2 s, with the default of which the
    /// pace is steady.
    pub transition_poll_first_ms: u32,
    /// From a sense code that begins a transition to the first look at the states of the other
    /// groups. Default 5 ms like [`start_delay_ms`](Self::start_delay_ms), for whoever moves I/O to
    /// another group meanwhile. Where I/O waits on its path whatever the others do, as below a device
    /// handler, a look before the first poll costs a report and brings nothing.
    pub transition_look_ms: u32,
    /// Whether a look at a transition asks for its end only, by TEST UNIT READY through one path of each
    /// group that is in it, and spends no report on "not yet". For where I/O waits on its path until the
    /// transition is over, as below a device handler. Where there is more to learn, because a path is
    /// neither live nor in transition, is not trusted, is silent, or failed in transition, and where the
    /// target takes commands in the transition, a look reads a report as ever, and the next follows after
    /// [`transition_poll_ms`](Self::transition_poll_ms). Default off.
    pub look_inside: bool,
    /// How often a unit is looked at whose transition outlived its limit or whose last refresh
    /// failed. Default 30 s.
    pub reprobe_ms: u32,
    /// From the first trigger to the start of a refresh, so that the triggers of one event share
    /// one report. Default 5 ms.
    pub start_delay_ms: u32,
    /// Least time between the starts of two triggered refreshes. Doubles with every refresh that
    /// finds nothing changed, or the latest of many changes in a row. Default 20 ms.
    pub spacing_min_ms: u32,
    /// Where the doubling ends. Default 5 s.
    pub spacing_max_ms: u32,
    /// Delay before a command that could not be submitted, met BUSY, or lost too many turns to
    /// unit attentions is sent again. Default 500 ms.
    pub retry_ms: u32,
    /// Time limit of each of the driver's own commands. Default 30 s; a transition's length does
    /// not belong here, no command waits for one.
    pub command_timeout_ms: u32,
    /// The same of a reading of page 83h, where it is shorter. Its path passes no I/O meanwhile, and
    /// every state has to answer INQUIRY (SPC). Default 30 s.
    pub identity_timeout_ms: u32,
    /// How long a command of a refresh is waited for while another path can be asked, and a reading of
    /// page 83h while that of another path is due. Then the path counts as failed, and what the command
    /// was for goes on without it: it keeps running, nothing but the other of the two and probes is asked
    /// through its path until it ends, and what it meets in the end counts as what any other command
    /// meets. Not more than [`LEFT_MAX`] commands are left so. For shells whose commands can take long to
    /// time out. Default off.
    pub patience_ms: Option<u32>,
    /// Allocation length of the first report, in bytes. Default 1,024: 32 groups of 6 ports.
    pub report_bytes: u32,
    /// Whether the C handler's `optimize_stpg` rule holds: a live, non-preferred group of a target
    /// that also manages itself is left alone. Default off.
    pub optimize: bool,
    /// SET TARGET PORT GROUPS commands in any 60 s at most (one that was not started, or met BUSY or
    /// a unit attention, does not count), so that two hosts cannot pull a unit back and forth. Half of
    /// them, rounded up, may be sent one after the other. The others are kept for when no path is live,
    /// and for a device handler when the group is not: then one is sent 60 s divided by that half after
    /// the last, and so on. More than [`STPG_MAX`] counts as that. Default 15.
    pub stpg_per_minute: u8,
    /// Sends TEST UNIT READY to one path after another, one path per this time, for transports
    /// that deliver unit attentions only with a command. Default off.
    pub idle_probe_ms: Option<u32>,
    /// Whether a unit attention that may be old news is checked by TEST UNIT READY on the path of
    /// the last report before another report is read. Needs every sense of the unit's I_T nexuses
    /// to reach [`LogicalUnit::handle_sense`](super::LogicalUnit::handle_sense). Default on.
    pub confirm_old_news: bool,
    /// Whether a change of any group leaves a unit attention on the I_T nexuses of every group, as
    /// SPC has it, and not only on those of the group that changed, as LIO does it. Lets old news
    /// be checked through another group. Default off.
    pub attentions_on_every_nexus: bool,
}

impl Config {
    /// From one look at a transition of this length, in milliseconds, to the next. One that had to
    /// ask several paths has earned as many pauses.
    pub(super) fn transition_pause_ms(&self, age: u64, asked: usize) -> u32 {
        let grown = u32::try_from(age / TRANSITION_POLL_PART).unwrap_or(u32::MAX);
        let asked = u32::try_from(asked).unwrap_or(u32::MAX).max(1);
        let first = self.transition_poll_first_ms.saturating_mul(asked);
        grown.max(first).min(self.transition_poll_ms)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gate: GatePolicy::default(),
            transition_ms: 255_000,
            transition_at_least_ms: 0,
            transition_poll_ms: 2_000,
            transition_poll_first_ms: 2_000,
            transition_look_ms: 5,
            look_inside: false,
            reprobe_ms: 30_000,
            start_delay_ms: 5,
            spacing_min_ms: 20,
            spacing_max_ms: 5_000,
            retry_ms: 500,
            command_timeout_ms: 30_000,
            identity_timeout_ms: 30_000,
            patience_ms: None,
            report_bytes: 1_024,
            optimize: false,
            stpg_per_minute: 15,
            idle_probe_ms: None,
            confirm_old_news: true,
            attentions_on_every_nexus: false,
        }
    }
}

/// The pause between two looks at a transition is its length so far divided by this, within the
/// limits of [`Config`].
pub const TRANSITION_POLL_PART: u64 = 64;
/// The largest report that is read, in bytes. A target that claims more is not believed.
pub const REPORT_BYTES_MAX: u32 = 64 * 1024;
/// How often one refresh enlarges its buffer before the target is said to grow without end.
pub const GROWTH_STEPS_MAX: u8 = 3;
/// Unit attentions that one refresh, or one STPG, takes before it gives up.
pub const ATTENTIONS_MAX: u8 = 8;
/// Of those, how many are answered at once; the rest after [`Config::retry_ms`].
pub const ATTENTIONS_AT_ONCE: u8 = 4;
/// Unit attentions in a row on one path that make a command be sent again there. The next are handed on:
/// who sends again where no count runs, as Linux does, would not come to an end on a path that meets one
/// with each command (reads and writes it sends again all the same, other commands come back). More than
/// a target keeps for one I_T nexus.
pub const ATTENTIONS_IN_A_ROW_MAX: u8 = 16;
/// A path of which nothing was heard for so long, in milliseconds, is in no row any more: not all that
/// succeeds is told to the driver.
pub const ROW_PAUSE_MS: u64 = 30_000;
/// Times a command that was not started (not submitted, BUSY, TASK SET FULL) is sent again.
pub const RESENDS_MAX: u8 = 5;
/// Answered readings of page 83h before an identity in doubt counts as unreadable.
pub const IDENTITY_READS_MAX: u8 = 5;
/// The same for readings without an answer (BUSY, not submitted, lost), which follow each other
/// after [`Config::transition_poll_ms`]: more than four minutes, the longest controller switch.
pub const IDENTITY_UNANSWERED_MAX: u8 = 130;
/// Commands that are left to run ([`Config::patience_ms`]) beside those that are waited for.
pub const LEFT_MAX: usize = 2;
/// Length of the buffer for page 83h, in bytes.
pub const IDENTITY_BYTES: u16 = 4_096;
/// Reports that an activation reads after its STPG before it says "not reached": with the default
/// [`Config::retry_ms`], ten seconds of a target that shows no transition.
pub const VERIFICATIONS_MAX: u8 = 20;
/// The same where the groups are live and a device handler asked.
pub const VERIFICATIONS_LIVE_MAX: u8 = 3;
/// Paths that an activation finds gone before its STPG counts as lost.
pub const UNREACHABLE_MAX: u8 = 16;
/// Paths over which an activation whose STPG got lost sends it.
pub const STPG_ATTEMPTS_MAX: u8 = 3;
/// Activations that a unit holds, running and waiting.
pub const ACTIVATIONS_MAX: usize = 4;
/// Target port groups in one activation.
pub const TARGETS_MAX: usize = 16;
/// STPG times kept for the limit per minute.
pub const STPG_WINDOW: usize = 16;
/// No higher [`Config::stpg_per_minute`] is kept to.
pub const STPG_MAX: u8 = 31;
const _: () = assert!(STPG_MAX as usize == 2 * STPG_WINDOW - 1);
