//! Why a path is used or not: what a status command, a log and a trace say.

use alua_core::access::AccessState;
use alua_core::cause::Cause;
use alua_core::gate::{Hold, Refusal};
use alua_core::select::{self, Class, Health, Out, Outlook, Standing, Why};

use crate::action::PathId;
use crate::by_hand::{Port, Switch};
use crate::engine::{Counters, Engine};
use crate::join::Geometry;
use crate::path::{Link, PathCounters};
use crate::time::Time;

/// A path as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathView {
    /// The path.
    pub id: PathId,
    /// Its target port group.
    pub group: Option<u16>,
    /// Its relative target port.
    pub relative_port: Option<u16>,
    /// Its access state.
    pub state: Option<AccessState>,
    /// What the state rests on.
    pub cause: Cause,
    /// The PREF bit of its group.
    pub preferred: bool,
    /// What it is good for.
    pub standing: Standing,
    /// Its link has failed, or is being looked at because a command failed: what is sent down it may
    /// hang. [`Self::standing`] does not tell it of a path that is out for another reason as well.
    pub link_failed: bool,
    /// Whether the next I/O may go down it.
    pub used: bool,
    /// It is used though a better path is live, because the better ones take measurably longer
    /// ([`select::Policy::ServiceTime`]).
    pub outruns: bool,
    /// It is one of the best paths, and not used because it takes measurably longer than another.
    pub outrun: bool,
    /// Live, and behind others: it came back a moment ago, or another was chosen by hand.
    pub deferred: bool,
    /// It is being asked who is behind it, and used when it has answered.
    pub asked: bool,
    /// Failed commands that count against it.
    pub strikes: u8,
    /// When it is tried again, if it was taken out for these.
    pub out_until: Option<Time>,
    /// I/O commands in flight.
    pub in_flight: u32,
    /// Writes of unknown outcome on it.
    pub doubts: u32,
    /// What one command takes, smoothed, in nanoseconds; 0 where that was never measured.
    pub service_ns: u32,
    /// What was sent down it.
    pub counters: PathCounters,
}

/// A unit as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitView {
    /// Its size.
    pub geometry: Geometry,
    /// What its paths are good for.
    pub outlook: Outlook,
    /// What was switched to by hand.
    pub switched: Option<Switch>,
    /// That is a path which was removed, and this is its port: the next path through it takes its
    /// place, and until then every other is deferred.
    pub switched_gone: Option<Port>,
    /// Since when there is no path to wait for.
    pub no_path_since: Option<Time>,
    /// That is over: requests fail.
    pub gives_up: bool,
    /// Requests that are not complete.
    pub pending: usize,
    /// Of those, the ones that wait for a path.
    pub waiting: u32,
    /// Of those, the ones that wait for an overlapping one.
    pub ordered: u32,
    /// What happened so far.
    pub counters: Counters,
}

impl Engine {
    /// A path as it stands; `None` where there is no such path.
    #[must_use]
    pub fn view(&self, id: PathId) -> Option<PathView> {
        let place = self.place(id)?;
        let path = &self.paths[place];
        let core = path.core?;
        let known = self.unit.access(core);
        let candidate = &self.candidates[place];
        let faster = self.faster_class();
        let is_of = |class: Option<Class>| class.is_some() && path.class == class;
        let outruns = is_of(faster) && candidate.service_ns > 0;
        let outrun = faster.is_some() && is_of(self.class);
        Some(PathView {
            id,
            group: self.unit.path(core).and_then(|path| path.group()),
            relative_port: self.unit.path(core).and_then(|path| path.relative_port()),
            state: known.state,
            cause: known.cause,
            preferred: self.unit.is_preferred(core),
            standing: path.standing,
            link_failed: path.link != Link::Up,
            used: outruns || (is_of(self.class) && !outrun),
            outruns,
            outrun,
            deferred: path.class.is_some_and(|class| class.is_deferred()),
            asked: path.ask.out.is_some(),
            strikes: path.strikes.count,
            out_until: path.strikes.until,
            in_flight: candidate.in_flight,
            doubts: path.doubts,
            service_ns: candidate.service_ns,
            counters: path.counters,
        })
    }

    /// The class that the policy uses now instead of the best, because that is measurably slower.
    fn faster_class(&self) -> Option<Class> {
        let policy = self.config.policy;
        let (place, why) = select::pick_ranked(&self.ranks, &self.candidates, policy, self.chosen)?;
        (why == Why::Outruns).then(|| self.candidates[place].class).flatten()
    }

    /// The path that the driver core, and a cause of its, calls so.
    #[must_use]
    pub fn path_of_core(&self, core: alua_core::unit::PathId) -> Option<PathId> {
        let place = usize::from(self.of_core.get(core.index()).copied().flatten()?);
        self.paths.get(place).map(|path| path.id(place)).filter(|id| self.place(*id).is_some())
    }

    /// The unit as it stands.
    #[must_use]
    pub fn view_unit(&self) -> UnitView {
        UnitView {
            geometry: self.geometry,
            outlook: self.outlook,
            switched: self.by_hand.switched(),
            switched_gone: self.by_hand.gone(),
            no_path_since: self.nothing_since,
            gives_up: self.gives_up,
            pending: self.requests.len(),
            waiting: self.waiting.len(),
            ordered: self.ordered.len(),
            counters: self.counters,
        }
    }
}

impl PathView {
    /// Why I/O goes down the path or not, in words.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.standing {
            Standing::Live(_) if self.outruns => {
                "the better paths take measurably longer (service-time)"
            }
            Standing::Live(_) if self.outrun => {
                "it takes measurably longer than a path of a worse class (service-time)"
            }
            Standing::Live(_) if self.used && self.out_until.is_some() => {
                "it fails I/O again and again, and nothing better is live"
            }
            Standing::Live(_) if self.out_until.is_some() => {
                "it answers and fails I/O, again and again"
            }
            Standing::Live(_) if self.used && self.deferred => "nothing better is live",
            Standing::Live(_) if self.used => "it is one of the best paths",
            Standing::Live(_) if self.deferred => {
                "it came back a moment ago, or another path was chosen by hand"
            }
            Standing::Live(_) => "a better path is live",
            Standing::Waits(Hold::Transitioning) => "its group is in transition",
            Standing::Waits(Hold::StateUnknown) => "its access state is being read",
            Standing::Waits(Hold::IdentityInDoubt) => "its identity is being read again",
            Standing::Out(Out::Refused(refusal)) => match refusal {
                Refusal::State(_) => "its access state lets no I/O pass",
                Refusal::IdentityChanged => "another logical unit answers on it",
                Refusal::IdentityUnreadable => "its identity cannot be read",
                Refusal::StateUnreadable => "its access state cannot be read",
                Refusal::NoPath => "it is gone",
            },
            Standing::Out(Out::Health(health)) => match health {
                Health::Failed => "its transport failed",
                Health::OtherSize => "it tells another size than the unit has",
                Health::ByHand => "it was taken out by hand",
                Health::Good => "nothing is wrong with it",
            },
        }
    }
}
