//! What the engine keeps of one path.

use alua_core::select::{Class, Health as Verdict, Standing};
use alua_core::unit::{CommandId, PathId as CorePath};

use crate::action::PathId;
use crate::config::Health as Config;
use crate::fence;
use crate::table::{Chain, Key};
use crate::time::Time;

/// What a path can do to end commands, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathTraits {
    /// The transport can send ABORT TASK.
    pub abort_task: bool,
    /// The transport can end its I_T nexus so that the target confirms it.
    pub end_nexus: bool,
    /// The transport can send LOGICAL UNIT RESET through this path, for commands of another one.
    pub reset_unit: bool,
    /// This host may send again by itself what was sent down the path, until it comes back, which it does
    /// in the end: as Linux does with what a transport has lost. The bounded wait of a command begins
    /// when it has come back.
    pub host_repeats: bool,
    /// How far the path is from where requests come from; 0 for the nearest.
    pub distance: u8,
}

/// The link of a path, as its transport and its commands show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// It works.
    Up,
    /// A command failed: TEST UNIT READY will tell. Not used meanwhile.
    Suspect,
    /// It does not answer. Looked at again now and then.
    Down,
}

/// A path.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) generation: u16,
    /// The driver core's name for it; `None` where the place is free, or the path was removed and
    /// something that was sent down it has not come back.
    pub(crate) core: Option<CorePath>,
    pub(crate) traits: PathTraits,
    pub(crate) blocks: u64,
    /// An administrator took it out.
    pub(crate) by_hand: bool,
    pub(crate) link: Link,
    pub(crate) probe: Probe,
    pub(crate) strikes: Strikes,
    pub(crate) standing: Standing,
    /// The class that it has by its standing, before [`Path::full`].
    pub(crate) class: Option<Class>,
    /// A path that came back: its class is deferred until then.
    pub(crate) held_until: Option<Time>,
    /// A success of an I/O command is news to the driver core.
    pub(crate) success_is_news: bool,
    /// It is known until then who is behind it.
    pub(crate) known_until: Time,
    pub(crate) ask: Ask,
    /// When it last answered.
    pub(crate) answered: Time,
    /// The capacity has to be read again.
    pub(crate) capacity: Capacity,
    /// I/O commands in flight.
    pub(crate) flight: Chain,
    /// I/O commands that were given up and have not come back, or are in doubt.
    pub(crate) lost: Chain,
    /// Of those, the ones in doubt.
    pub(crate) doubts: u32,
    /// Of those, the ones that are over since the fence began.
    pub(crate) fenced: u32,
    /// The fence was told of.
    pub(crate) fence_told: bool,
    pub(crate) fence: fence::Phase,
    /// Whether the steps of this round that need the path itself were tried.
    pub(crate) round: Round,
    /// When commands that nobody waits for are aborted again; `None` where no abort failed.
    pub(crate) abort_again: Option<Time>,
    pub(crate) sequence: u32,
    pub(crate) counters: PathCounters,
}

/// What was tried in this round of the fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Round {
    /// The last command that was aborted, if not all were.
    pub(crate) aborted: Option<Key>,
    pub(crate) aborts_done: bool,
    pub(crate) nexus: bool,
    /// Paths were asked who they lead to, for a reset through them.
    pub(crate) asked: bool,
    /// Rounds in a row that ended so.
    pub(crate) hurries: u8,
    /// The place of the last path through which a reset was tried.
    pub(crate) reset_after: Option<usize>,
}

/// Asking who is behind the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    /// The number of the question that is out, and when it was sent.
    pub(crate) out: Option<(u32, Time)>,
    /// The driver core was told that the answer takes too long.
    pub(crate) doubted: bool,
    /// The driver core's own reading of page 83h that is out, and when it was sent.
    pub(crate) core: Option<(CommandId, Time)>,
    /// How long what is known holds, in milliseconds.
    pub(crate) window_ms: u32,
}

/// Reading the capacity again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Capacity {
    #[default]
    Known,
    Wanted,
    Asked(u32),
}

/// TEST UNIT READY on a path that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Probe {
    /// When the next is due; `None` where none is wanted, or one is out.
    pub(crate) due: Option<Time>,
    /// The number of the one that is out.
    pub(crate) out: Option<u32>,
    /// What the next failure waits, in milliseconds.
    pub(crate) next_ms: u32,
}

/// Failures of a path that answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Strikes {
    pub(crate) count: u8,
    last: Time,
    /// Out until then.
    pub(crate) until: Option<Time>,
}

impl Strikes {
    /// One more failure, of a command sent then; true where the path is to be taken out, until
    /// [`Self::until`]. Commands that were in flight together at a failure failed together: they
    /// count once.
    pub(crate) fn add(&mut self, config: &Config, sent: Time, now: Time) -> bool {
        if sent < self.last {
            return false;
        }
        let forgiven = now.since(self.last) / (u64::from(config.forgive_ms.max(1)) * 1_000_000);
        let left = self.count.saturating_sub(forgiven.min(255) as u8);
        self.count = left.saturating_add(1);
        self.last = now;
        let Some(beyond) = self.count.checked_sub(config.strikes) else { return false };
        let doubled = u64::from(config.out_first_ms) << beyond.min(20);
        let out = doubled.min(u64::from(config.out_max_ms)) as u32;
        self.until = Some(now.after(out));
        true
    }
}

/// What was sent down a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathCounters {
    /// I/O commands sent.
    pub sent: u64,
    /// Of those, how many because it was expected to be faster than every better path.
    pub outran: u64,
    /// Of those, how many did what they should.
    pub good: u64,
    /// Of those, how many the transport lost or nobody answered in time.
    pub lost: u64,
    /// Of those, how many were answered with something else and sent again.
    pub retried: u64,
    /// Times that the path failed.
    pub failures: u64,
}

impl Path {
    pub(crate) const fn free(generation: u16) -> Self {
        Self {
            generation,
            core: None,
            traits: PathTraits {
                abort_task: false,
                end_nexus: false,
                reset_unit: false,
                host_repeats: false,
                distance: 0,
            },
            blocks: 0,
            by_hand: false,
            link: Link::Up,
            probe: Probe { due: None, out: None, next_ms: 0 },
            strikes: Strikes { count: 0, last: Time::ZERO, until: None },
            standing: Standing::Out(alua_core::select::Out::Health(Verdict::Failed)),
            class: None,
            held_until: None,
            success_is_news: true,
            known_until: Time::ZERO,
            ask: Ask { out: None, doubted: false, core: None, window_ms: 0 },
            answered: Time::ZERO,
            capacity: Capacity::Known,
            flight: Chain::EMPTY,
            lost: Chain::EMPTY,
            doubts: 0,
            fenced: 0,
            fence_told: false,
            fence: fence::Phase::Idle,
            round: Round {
                aborted: None,
                aborts_done: false,
                nexus: false,
                asked: false,
                hurries: 0,
                reset_after: None,
            },
            abort_again: None,
            sequence: 0,
            counters: PathCounters {
                sent: 0,
                outran: 0,
                good: 0,
                lost: 0,
                retried: 0,
                failures: 0,
            },
        }
    }

    pub(crate) const fn id(&self, place: usize) -> PathId {
        PathId { place: place as u16, generation: self.generation }
    }

    /// Whether another path may take the place.
    pub(crate) const fn is_free(&self) -> bool {
        self.core.is_none() && self.flight.is_empty() && self.lost.is_empty()
    }

    /// What the engine says of it, apart from ALUA.
    pub(crate) const fn health(&self, unit_blocks: u64) -> Verdict {
        if self.by_hand {
            Verdict::ByHand
        } else if !matches!(self.link, Link::Up) {
            Verdict::Failed
        } else if self.blocks != unit_blocks {
            Verdict::OtherSize
        } else {
            Verdict::Good
        }
    }

    /// A command that was sent then, while it was known who is behind the path, was answered: see
    /// `identity`.
    pub(crate) fn still_known(&mut self, sent: Time) {
        self.known_until = self.known_until.max(sent.after(self.ask.window_ms));
    }

    /// The next number for a command or a step of this path.
    pub(crate) const fn number(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        if self.sequence == 0 {
            self.sequence = 1;
        }
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        probe_first_ms: 100,
        probe_max_ms: 5_000,
        probe_timeout_ms: 2_000,
        strikes: 2,
        out_first_ms: 1_000,
        out_max_ms: 10_000,
        forgive_ms: 30_000,
    };

    #[test]
    fn each_failure_takes_the_path_out_for_twice_as_long() {
        let mut strikes = Strikes::default();
        let first = Time::from_millis(100);
        assert!(!strikes.add(&CONFIG, first, first), "the first is forgiven");
        let outs: Vec<u64> = (2..8)
            .map(|turn| {
                let now = Time::from_millis(100 * turn);
                assert!(strikes.add(&CONFIG, now, now));
                strikes.until.unwrap().since(now) / 1_000_000
            })
            .collect();
        assert_eq!(outs, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    }

    #[test]
    fn a_quiet_time_forgives() {
        let mut strikes = Strikes::default();
        for turn in 1..5 {
            strikes.add(&CONFIG, Time::from_millis(turn), Time::from_millis(turn));
        }
        let late = Time::from_millis(10 * 30_000);
        assert!(!strikes.add(&CONFIG, late, late));
        assert_eq!(strikes.count, 1);
    }
}
