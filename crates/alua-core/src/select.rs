//! Which path carries the next I/O.
//!
//! Two steps, both pure. [`standing`] turns what is known of one path into its [`Standing`]: live in
//! a class, waiting for something that ends by itself, or out; it changes only when something is
//! learned, so a consumer keeps it. [`pick`] chooses among the live paths for one request, and runs
//! for each; it compares one number for each path, the [`Rank`].
//!
//! # Rules
//!
//! 1. A path of a better class goes before one of a worse class: optimized before non-optimized and
//!    LBA-dependent, whatever the policy (I11). Standby, unavailable and offline are never used.
//! 2. Between paths of the best class the [`Policy`] decides.
//! 3. [`Policy::ServiceTime`] alone may leave the class, and only where the optimized paths are
//!    measurably worse: see [`OUTRUN_NUM`]. It never does so for a deferred path.
//! 4. No live path: the request waits where a path stands in [`Standing::Waits`], else nothing is
//!    left to wait for but the consumer's own limit ([`outlook`]).

use core::fmt;

use crate::access::AccessState;
use crate::gate::{Gate, Hold, Refusal};

/// What a path is good for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// I/O may be sent.
    Live(Class),
    /// No I/O now, and what is in the way ends by itself.
    Waits(Hold),
    /// No I/O until something changes.
    Out(Out),
}

/// How good a live path is; less is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Class(u8);

impl Class {
    /// The class as a small number, 0 for the best.
    #[must_use]
    pub const fn rank(self) -> u8 {
        self.0
    }

    /// Whether it is one of the classes of active/optimized paths.
    #[must_use]
    pub const fn is_optimized(self) -> bool {
        self.0 & OPTIMIZED_MASK == 0
    }

    /// The same path when it is used only where no other is live: while a path that came back
    /// proves itself, or because an administrator chose another one.
    #[must_use]
    pub const fn deferred(self) -> Self {
        Self(self.0 | DEFERRED_MASK)
    }

    /// Whether it is [`deferred`](Self::deferred).
    #[must_use]
    pub const fn is_deferred(self) -> bool {
        self.0 & DEFERRED_MASK != 0
    }
}

const OPTIMIZED_MASK: u8 = 0b100;
const DEFERRED_MASK: u8 = 0b1_0000;
/// No class is worse.
const CLASS_MAX: u8 = 0b1_1111;

/// Why a path is out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Out {
    /// The gate refuses: by the access state or the path's identity.
    Refused(Refusal),
    /// The consumer holds it out: see [`Health`].
    Health(Health),
}

/// What the consumer says of a path, apart from ALUA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Health {
    /// Nothing is wrong.
    #[default]
    Good,
    /// Its transport failed.
    Failed,
    /// Its capacity is not the unit's.
    OtherSize,
    /// An administrator took it out.
    ByHand,
}

/// What the PREF bit counts for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Preference {
    /// Nothing.
    Ignore,
    /// Between paths in the same state, the preferred go first. Default.
    #[default]
    WithinState,
    /// A preferred path goes before every other, even a non-optimized one before an optimized one
    /// (an array that prefers a group wants I/O there, and moves the unit when it comes).
    AboveState,
}

/// The standing of a path in `state`, with the gate that the unit has for it.
#[must_use]
pub const fn standing(
    state: Option<AccessState>,
    preferred: bool,
    gate: Gate,
    health: Health,
    preference: Preference,
) -> Standing {
    if !matches!(health, Health::Good) {
        return Standing::Out(Out::Health(health));
    }
    match gate {
        Gate::Hold(hold) => Standing::Waits(hold),
        Gate::Refuse(refusal) => Standing::Out(Out::Refused(refusal)),
        Gate::Pass => {
            let optimized = matches!(state, Some(AccessState::ActiveOptimized));
            Standing::Live(class(optimized, preferred, preference))
        }
    }
}

/// The class of a live path.
#[must_use]
pub const fn class(optimized: bool, preferred: bool, preference: Preference) -> Class {
    let state = if optimized { 0 } else { OPTIMIZED_MASK };
    Class(match preference {
        Preference::Ignore => state,
        Preference::WithinState => state | if preferred { 0 } else { 1 },
        Preference::AboveState => state | if preferred { 0 } else { 0b1000 },
    })
}

/// What a unit's paths, taken together, are good for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outlook {
    /// A path is live.
    Live,
    /// None is, and one will be judged anew by itself.
    Waits(Hold),
    /// None is, and nothing ends by itself. The access state or the health of some path may yet
    /// change: the consumer's limit for that counts from here.
    Nothing,
}

/// The outlook over the paths of a unit. A transition counts before other holds.
pub fn outlook(standings: impl Iterator<Item = Standing>) -> Outlook {
    let mut found = Outlook::Nothing;
    for standing in standings {
        match standing {
            Standing::Live(_) => return Outlook::Live,
            Standing::Waits(hold) => {
                if !matches!(found, Outlook::Waits(Hold::Transitioning)) {
                    found = Outlook::Waits(hold);
                }
            }
            Standing::Out(_) => {}
        }
    }
    found
}

/// How the next path is chosen among equals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest commands in flight. Default.
    #[default]
    QueueDepth,
    /// The one that is expected to answer first: commands in flight times the time that one takes.
    ServiceTime,
    /// The nearest to where the request comes from, then one after the other.
    Affinity,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 4] =
        [Self::RoundRobin, Self::QueueDepth, Self::ServiceTime, Self::Affinity];

    /// The name that a person gives and reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::QueueDepth => "queue-depth",
            Self::ServiceTime => "service-time",
            Self::Affinity => "affinity",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One path, as [`pick`] sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The class; `None` for a path that is not live.
    pub class: Option<Class>,
    /// Whether it has room for another command. A full path keeps worse ones from being used:
    /// the request waits for it.
    pub room: bool,
    /// Commands in flight.
    pub in_flight: u32,
    /// What one command takes, smoothed, in nanoseconds; 0 where that was never measured.
    pub service_ns: u32,
    /// How far it is; 0 for the nearest.
    pub distance: u8,
}

impl Candidate {
    /// A place without a path.
    pub const NONE: Self =
        Self { class: None, room: false, in_flight: 0, service_ns: 0, distance: 0 };

    const fn cost(&self) -> u64 {
        // The largest is (2^32)(2^32 - 1): it does not wrap.
        (self.in_flight as u64).wrapping_add(1).wrapping_mul(self.service_ns as u64)
    }
}

/// A worse class is used where its expected time is less than this part of what the best class
/// takes: two thirds in numbers of [`OUTRUN_DEN`].
pub const OUTRUN_NUM: u64 = 2;
/// See [`OUTRUN_NUM`].
pub const OUTRUN_DEN: u64 = 3;
/// The best class must take at least this long, in nanoseconds, before a worse one is looked at:
/// below it the difference is noise.
pub const OUTRUN_FLOOR_NS: u64 = 1_000_000;

/// Why [`pick`] chose as it did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    /// It is of the best class that is live, and the policy's choice there.
    Best,
    /// It is of a worse class, and expected to be faster ([`Policy::ServiceTime`]).
    Outruns,
}

/// A path's place in the order of choice: the least goes first. It changes when the path's
/// [`Candidate`] does, not with each request, so a consumer keeps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rank(u64);

impl Rank {
    /// That of a place without a live path.
    pub const NONE: Self = Self(u64::MAX);

    // From the highest bit down: the class, whether the path is full, and what the policy counts.
    const CLASS_SHIFT: u32 = 59;
    const FULL: u64 = 1 << 58;
    /// More would reach into the bits above: nine years of expected time count as endless.
    const KEY_MAX: u64 = Self::FULL - 1;

    /// That of `it` under `policy`.
    #[must_use]
    #[inline]
    pub const fn of(it: &Candidate, policy: Policy) -> Self {
        let Some(Class(class)) = it.class else { return Self::NONE };
        let key = match policy {
            Policy::RoundRobin => 0,
            Policy::QueueDepth => it.in_flight as u64,
            Policy::ServiceTime => it.cost(),
            Policy::Affinity => it.distance as u64,
        };
        let key = if key > Self::KEY_MAX { Self::KEY_MAX } else { key };
        let full = if it.room { 0 } else { Self::FULL };
        Self((class as u64) << Self::CLASS_SHIFT | full | key)
    }

    const fn is_full(self) -> bool {
        self.0 & Self::FULL != 0
    }

    /// What the policy counts.
    const fn key(self) -> u64 {
        self.0 & Self::KEY_MAX
    }
}

// A class fits into the bits above the others.
const _: () = assert!(CLASS_MAX >> (64 - Rank::CLASS_SHIFT) == 0);

/// The path for the next request: its place in `paths`. `after` is the place of the path chosen
/// last, for the policies that take turns. `None`: none is live, or those of the best class are full.
#[must_use]
pub fn pick(paths: &[Candidate], policy: Policy, after: usize) -> Option<(usize, Why)> {
    let (chosen, rank) = least(paths, after, |it| Rank::of(it, policy))?;
    Some(or_faster(paths, policy, after, chosen, rank))
}

/// As [`pick`], with the ranks of `paths` under `policy` as the caller keeps them.
#[must_use]
#[inline]
pub fn pick_ranked(
    ranks: &[Rank],
    paths: &[Candidate],
    policy: Policy,
    after: usize,
) -> Option<(usize, Why)> {
    let (chosen, rank) = least(ranks, after, |&rank| rank)?;
    Some(or_faster(paths, policy, after, chosen, rank))
}

/// The place with the least rank, and that; of equals the first after `after`, going round. `None`
/// where no path is live, or the best are full.
#[inline]
fn least<T>(places: &[T], after: usize, rank: impl Fn(&T) -> Rank) -> Option<(usize, Rank)> {
    let start = after.wrapping_add(1).min(places.len());
    let (before, from) = places.split_at_checked(start)?;
    let none = (0, Rank::NONE);
    let (steps, least) = from.iter().chain(before).enumerate().fold(none, |least, (steps, it)| {
        let rank = rank(it);
        if rank < least.1 { (steps, rank) } else { least }
    });
    // As many steps from the start, going round.
    let rest = from.len();
    let place = if steps < rest { start.wrapping_add(steps) } else { steps.wrapping_sub(rest) };
    (!least.is_full()).then_some((place, least))
}

/// `chosen`, which has that rank, or where the policy allows it, a path of a worse class that is
/// faster.
#[inline]
fn or_faster(
    paths: &[Candidate],
    policy: Policy,
    after: usize,
    chosen: usize,
    rank: Rank,
) -> (usize, Why) {
    // Under this policy the key is the time that is expected.
    if policy == Policy::ServiceTime && rank.key() >= OUTRUN_FLOOR_NS {
        if let Some(other) = outruns(paths, after, chosen) {
            return (other, Why::Outruns);
        }
    }
    (chosen, Why::Best)
}

/// The place with the least key; of equals the first after `after`, going round.
fn first_by(
    paths: &[Candidate],
    after: usize,
    key: impl Fn(&Candidate) -> Option<u64>,
) -> Option<usize> {
    let mut least: Option<(bool, u64, usize)> = None;
    for (place, it) in paths.iter().enumerate() {
        let Some(key) = key(it) else { continue };
        let earlier = place <= after;
        let better = match least {
            None => true,
            Some((was_earlier, least, _)) => key < least || key == least && was_earlier && !earlier,
        };
        if better {
            least = Some((earlier, key, place));
        }
    }
    least.map(|(_, _, place)| place)
}

/// A measured path of a worse class that is expected to answer well before the chosen one. No
/// deferred one: speed is not what it was put back for.
#[cold]
fn outruns(paths: &[Candidate], after: usize, chosen: usize) -> Option<usize> {
    let chosen = paths.get(chosen)?;
    let (best, cost) = (chosen.class?, chosen.cost());
    let measured = |it: &Candidate| {
        let worse = it.class.is_some_and(|class| class > best && !class.is_deferred());
        (worse && it.room && it.service_ns > 0).then(|| it.cost())
    };
    let other = first_by(paths, after, measured)?;
    let least = paths.get(other)?.cost();
    let faster = least.saturating_mul(OUTRUN_DEN) < cost.saturating_mul(OUTRUN_NUM);
    faster.then_some(other)
}
