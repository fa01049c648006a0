//! How activations end, and why they are not taken.

use core::fmt;

use super::super::config::{ACTIVATIONS_MAX, TARGETS_MAX};
use crate::access::AccessState;
use crate::cause::{RefreshError, SenseCode};
use crate::spc::Status;
use crate::spc::target_port_groups::StpgDescriptor;
use crate::time::Time;

/// A state to be asked for, and for which group; for offline, for which relative target port.
pub type Target = StpgDescriptor;

/// Names an activation of one logical unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ActivationId(pub(super) u32);

impl ActivationId {
    /// The number behind the name, for a shell that hands it over a language border. Used again
    /// after 2^32 activations of the unit.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// How an activation ended.
pub type ActivationResult = Result<Activated, ActivationError>;

/// How an activation succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Activated {
    /// The targets were in the states asked for; nothing was sent.
    AlreadyThere,
    /// The target changed the states, and a report shows it.
    Reached,
    /// The groups are live, and by the `optimize` rule the target decides itself which of them is
    /// optimized. Nothing was sent.
    LeftToTarget,
    /// The target manages its states alone (implicit only), and the groups are live. Nothing was
    /// sent.
    ImplicitOnly,
    /// The target did not make the groups optimized (it refused, kept them as they are, or was
    /// asked too often), but they are live: good enough for a device handler, whose caller would
    /// fail usable paths otherwise.
    StaysLive,
    /// The target accepted the request, and no report can show its effect: it was about a port
    /// that no path names.
    Accepted,
}

/// Why an activation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ActivationError {
    /// The target manages its states alone (implicit only), and this group is not live.
    ImplicitOnly {
        /// The group.
        group: u16,
        /// Its state.
        state: AccessState,
    },
    /// The target does not list this group.
    UnknownGroup(u16),
    /// The group is in a state that SET TARGET PORT GROUPS cannot leave for an optimized one.
    NotActivatable {
        /// The group.
        group: u16,
        /// Its state.
        state: AccessState,
    },
    /// The group's support bits do not have the state asked for.
    StateNotSupported {
        /// The group.
        group: u16,
        /// The state asked for.
        state: AccessState,
    },
    /// Too many SET TARGET PORT GROUPS were sent in the last 60 s.
    RateLimited {
        /// When the next one may be sent.
        until: Time,
    },
    /// The states could not be read.
    Refresh(RefreshError),
    /// A transition outlived its limit.
    TransitionTimedOut {
        /// The group in transition.
        group: u16,
    },
    /// The target refused SET TARGET PORT GROUPS, and a report shows that it did nothing.
    Refused(SenseCode),
    /// The target answered with this status each time, or with CHECK CONDITION and no sense data.
    Status(Status),
    /// The command could not be handed to a transport.
    NotSubmitted,
    /// The transport failed each time, and a report shows no effect.
    Transport,
    /// The target accepted the request, but the group did not become what was asked for.
    NotReached {
        /// The group.
        group: u16,
        /// The state that the last report gives; `None` where it does not list the group.
        state: Option<AccessState>,
    },
    /// The last path was removed.
    NoPath,
    /// Asymmetric access is off for the logical unit.
    AluaOff,
    /// The logical unit was shut down.
    ShutDown,
}

/// Why an activation was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ActivationRefused {
    /// No target was given.
    Empty,
    /// More than [`TARGETS_MAX`] targets were given.
    TooManyTargets,
    /// [`ACTIVATIONS_MAX`] activations are running or waiting.
    TooManyActivations,
    /// The same group was given twice.
    Twice(u16),
    /// SET TARGET PORT GROUPS cannot ask for this state.
    NotSettable(AccessState),
    /// Asymmetric access is off for the logical unit.
    AluaOff,
    /// The unit has no path.
    NoPath,
    /// The logical unit was shut down.
    ShutDown,
}

impl fmt::Display for Activated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyThere => "already there, nothing was sent",
            Self::Reached => "reached, a report shows it",
            Self::LeftToTarget => "left to the target, which prefers other groups",
            Self::ImplicitOnly => "the target manages its states alone, and the group is live",
            Self::StaysLive => "the target did not make it optimized, but it is live",
            Self::Accepted => "accepted, but no report can show the effect",
        })
    }
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImplicitOnly { group, state } => write!(
                f,
                "group {group} is {state}, and the target manages its states alone (implicit only)"
            ),
            Self::UnknownGroup(group) => write!(f, "the target does not list group {group}"),
            Self::NotActivatable { group, state } => {
                write!(f, "group {group} is {state}, which cannot be activated")
            }
            Self::StateNotSupported { group, state } => {
                write!(f, "group {group} does not support {state}")
            }
            Self::RateLimited { .. } => f.write_str(
                "too many SET TARGET PORT GROUPS in the last minute, another host may be pulling",
            ),
            Self::Refresh(error) => write!(f, "the states could not be read: {error}"),
            Self::TransitionTimedOut { group } => {
                write!(f, "the transition of group {group} outlived its limit")
            }
            Self::Refused(sense) => write!(f, "the target refused (sense {sense})"),
            Self::Status(status) => write!(f, "the target answered {status}"),
            Self::NotSubmitted => f.write_str("no path took the command"),
            Self::Transport => f.write_str("the transport failed, and the states did not change"),
            Self::NotReached { group, state: Some(state) } => {
                write!(f, "the target accepted the request, but group {group} is {state}")
            }
            Self::NotReached { group, state: None } => {
                write!(f, "the target accepted the request, but does not list group {group}")
            }
            Self::NoPath => f.write_str("no path is left"),
            Self::AluaOff => f.write_str("asymmetric access is off for the logical unit"),
            Self::ShutDown => f.write_str("the logical unit was shut down"),
        }
    }
}

impl core::error::Error for ActivationError {}

impl fmt::Display for ActivationRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no group was given"),
            Self::TooManyTargets => {
                write!(f, "more than {TARGETS_MAX} groups were given for one command")
            }
            Self::TooManyActivations => {
                write!(f, "{ACTIVATIONS_MAX} activations are running or waiting already")
            }
            Self::Twice(group) => write!(f, "group {group} was given twice"),
            Self::NotSettable(state) => {
                write!(f, "SET TARGET PORT GROUPS cannot ask for {state}")
            }
            Self::AluaOff => f.write_str("asymmetric access is off for the logical unit"),
            Self::NoPath => f.write_str("the logical unit has no path"),
            Self::ShutDown => f.write_str("the logical unit was shut down"),
        }
    }
}

impl core::error::Error for ActivationRefused {}
