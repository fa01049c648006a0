//! The engine broken on purpose, so that the simulator's checkers can be seen to catch it.
//!
//! Nothing of it acts in a build without the feature `sabotage`.

/// One way to break the engine, with the invariant that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sabotage {
    /// I1: a write that was lost is acknowledged.
    AcknowledgeLost,
    /// I2: a write of unknown outcome is sent again without a fence.
    NoFence,
    /// I3: writes that overlap one of unknown outcome do not wait for it.
    NoOrder,
    /// I4: the place of a command is used again before the command has come back.
    ForgetCommands,
    /// I5: a request that fails on every path is never completed.
    LoseCompletion,
    /// I6: nobody wakes what waits when a path becomes live.
    NoWake,
    /// I7: the limit for having no path never ends.
    NeverGiveUp,
    /// I8: every answer leads to a report.
    ReportAlways,
    /// I9: the preferred group is asked for again and again.
    PullAlways,
    /// I10: a transition has no end.
    EndlessTransition,
    /// I11: the worst path goes first.
    WorstFirst,
    /// I12: a path that comes back is used without proof of who it is.
    TrustReturn,
    /// I13: a reservation conflict is tried on another path.
    RetryConflict,
    /// I14: the limit of commands per path does not hold.
    NoLimit,
    /// I8: the states are read once a second, whatever happened.
    ReportIdly,
    /// I13: what write protection refused is tried on another path.
    RetryProtected,
}

impl Sabotage {
    /// Every way.
    pub const ALL: [Self; 16] = [
        Self::AcknowledgeLost,
        Self::NoFence,
        Self::NoOrder,
        Self::ForgetCommands,
        Self::LoseCompletion,
        Self::NoWake,
        Self::NeverGiveUp,
        Self::ReportAlways,
        Self::PullAlways,
        Self::EndlessTransition,
        Self::WorstFirst,
        Self::TrustReturn,
        Self::RetryConflict,
        Self::NoLimit,
        Self::ReportIdly,
        Self::RetryProtected,
    ];

    /// The number of the invariant that it breaks.
    #[must_use]
    pub const fn invariant(self) -> u8 {
        match self {
            Self::AcknowledgeLost => 1,
            Self::NoFence => 2,
            Self::NoOrder => 3,
            Self::ForgetCommands => 4,
            Self::LoseCompletion => 5,
            Self::NoWake => 6,
            Self::NeverGiveUp => 7,
            Self::ReportAlways | Self::ReportIdly => 8,
            Self::PullAlways => 9,
            Self::EndlessTransition => 10,
            Self::WorstFirst => 11,
            Self::TrustReturn => 12,
            Self::RetryConflict | Self::RetryProtected => 13,
            Self::NoLimit => 14,
        }
    }
}

impl crate::Config {
    /// Whether the engine is broken in this way.
    #[cfg(feature = "sabotage")]
    pub(crate) fn is_broken(&self, how: Sabotage) -> bool {
        self.sabotage == Some(how)
    }

    /// Whether the engine is broken in this way: never.
    #[cfg(not(feature = "sabotage"))]
    #[expect(clippy::unused_self, reason = "the same call in both builds")]
    pub(crate) const fn is_broken(&self, _how: Sabotage) -> bool {
        false
    }
}

impl crate::Engine {
    /// Whether the engine is broken in this way.
    pub(crate) fn broken(&self, how: Sabotage) -> bool {
        self.config.is_broken(how)
    }
}
