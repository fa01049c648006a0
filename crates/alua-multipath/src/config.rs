//! Choices and limits of the engine.

use alua_core::gate::GatePolicy;
use alua_core::select::{Policy, Preference};
use alua_core::spc::referrals::SegmentLayout;

/// How a unit is served. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The driver core's choices. The gate's are set by the engine, which can wait.
    pub core: alua_core::unit::Config,
    /// How the next path is chosen among equals.
    pub policy: Policy,
    /// What the PREF bit counts for.
    pub preference: Preference,
    /// What becomes of requests when no path is live and nothing ends by itself.
    pub no_path: NoPath,
    /// How long a better path must stay live before I/O goes back to it from a worse one that
    /// works. Default 0: at once.
    pub failback_ms: u32,
    /// The unit's Referrals page, B3h, where it has one: see [`crate::referrals`]. Without it,
    /// LBA-dependent is as good as non-optimized. Default: none.
    pub referrals: Option<SegmentLayout>,
    /// When the engine itself asks the array for another state.
    pub activation: Activation,
    /// How long one command may take. Default 30 s.
    pub io_timeout_ms: u32,
    /// From a BUSY or TASK SET FULL to the next try, first; up to sixteen times that when it goes
    /// on. A target may be busy for as long as a transition takes (SPC lets it say so instead of
    /// NOT READY); then the request fails. Default 20 ms.
    pub busy_ms: u32,
    /// A path that has not shown for so long who is behind it is asked before its next command:
    /// see [`crate::identity`]. No array may need less to put another logical unit behind a path.
    /// Default 1 s.
    pub idle_ms: u32,
    /// An array that takes longer than that for page 83h has it doubled, up to this. Default 30 s.
    pub idle_max_ms: u32,
    /// When the oldest command in flight on a path is so old and nothing was answered since,
    /// TEST UNIT READY asks whether the path still answers: where not, its commands are given up
    /// long before their own time is over. Default 2 s.
    pub slow_ms: u32,
    /// Tries of one request that are counted (see [`alua_core::failover::Verdict::counted`]), after
    /// which it fails. Default 64.
    pub attempts_max: u16,
    /// How a write of unknown outcome is fenced.
    pub fence: Fence,
    /// How failed paths are looked at again.
    pub health: Health,
    /// How the states are looked at while requests wait for a live path: after this time first,
    /// then after twice that, and so on.
    pub wait_poll_first_ms: u32,
    /// Where that doubling ends.
    pub wait_poll_max_ms: u32,
    /// Room for requests, paths and commands.
    pub limits: Limits,
    /// How the engine is broken on purpose.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<crate::sabotage::Sabotage>,
}

/// What becomes of requests when no path is live and nothing ends by itself. A transition is not
/// that: it has its own end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPath {
    /// They fail at once.
    Fail,
    /// They wait so many milliseconds from the moment at which the last chance went, then fail;
    /// later ones fail at once until a path is back.
    Wait(u32),
    /// They wait without end.
    Forever,
}

/// When the engine sends SET TARGET PORT GROUPS. Never on a unit that is managed implicitly only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// Never: the engine follows the array and other hosts.
    Never,
    /// When requests wait and no path is live. Default. Where another host moved the unit, we
    /// follow and do not pull it back.
    NothingLive,
    /// Also when every path to the optimized group has failed for this long, and a live
    /// non-optimized one is left.
    OptimizedLost {
        /// The time, in milliseconds.
        after_ms: u32,
    },
}

/// How a write of unknown outcome is fenced: see [`crate::fence`].
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// Whether a logical unit reset may be sent. It ends the commands of other hosts to the unit
    /// as well; they repeat them. Default true, as in Linux's own error handling.
    pub reset_unit: bool,
    /// How long after it was lost a command may still reach the medium, at the most: the bounded
    /// wait, where no proof can be had. Default 60 s.
    pub wait_ms: u32,
    /// From one round of steps without success to the next. Default 500 ms.
    pub retry_ms: u32,
    /// How long the shell waits for the answer to one step. Default 5 s.
    pub step_timeout_ms: u32,
}

/// How failed paths are looked at again.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// From a failed TEST UNIT READY to the next, first. Doubles. Default 100 ms.
    pub probe_first_ms: u32,
    /// Where that doubling ends. Default 1 s.
    pub probe_max_ms: u32,
    /// Time limit of such a TEST UNIT READY. Default 2 s.
    pub probe_timeout_ms: u32,
    /// Failures of a path that answers TEST UNIT READY before it is taken out; commands that were in
    /// flight together count once. Default 2.
    pub strikes: u8,
    /// How long it is taken out first. Doubles with each further failure. Default 1 s.
    pub out_first_ms: u32,
    /// Where that doubling ends. Default 5 min.
    pub out_max_ms: u32,
    /// A time without a failure after which one failure is forgiven. Default 30 s.
    pub forgive_ms: u32,
}

/// Room, allocated once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at once; one more is refused with [`crate::SubmitError::Full`]. Default 1,024.
    pub requests: u32,
    /// Paths. Default 16, at most [`PATHS_MAX`].
    pub paths: u16,
    /// Target port groups. Default 16.
    pub groups: u16,
    /// Commands in flight on one path; more wait. Default 128.
    pub commands_per_path: u32,
    /// Blocks in one request. Default 32,768.
    pub blocks_per_request: u32,
}

/// The most paths of one unit.
pub const PATHS_MAX: u16 = 256;
/// Events kept for the shell; older ones are dropped and counted.
pub const EVENTS_MAX: usize = 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            core: alua_core::unit::Config {
                gate: GatePolicy { pass_unknown: true, pass_transitioning: false },
                transition_poll_ms: 100,
                transition_poll_first_ms: 25,
                reprobe_ms: 10_000,
                start_delay_ms: 1,
                transition_look_ms: 1,
                spacing_max_ms: 1_000,
                retry_ms: 100,
                command_timeout_ms: 5_000,
                ..alua_core::unit::Config::default()
            },
            policy: Policy::default(),
            preference: Preference::default(),
            no_path: NoPath::Wait(60_000),
            failback_ms: 0,
            activation: Activation::NothingLive,
            io_timeout_ms: 30_000,
            busy_ms: 20,
            referrals: None,
            idle_ms: 1_000,
            idle_max_ms: 30_000,
            slow_ms: 2_000,
            attempts_max: 64,
            fence: Fence {
                reset_unit: true,
                wait_ms: 60_000,
                retry_ms: 500,
                step_timeout_ms: 5_000,
            },
            health: Health {
                probe_first_ms: 100,
                probe_max_ms: 1_000,
                probe_timeout_ms: 2_000,
                strikes: 2,
                out_first_ms: 1_000,
                out_max_ms: 300_000,
                forgive_ms: 30_000,
            },
            wait_poll_first_ms: 5,
            wait_poll_max_ms: 500,
            limits: Limits {
                requests: 1_024,
                paths: 16,
                groups: 16,
                commands_per_path: 128,
                blocks_per_request: 32_768,
            },
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }
}
