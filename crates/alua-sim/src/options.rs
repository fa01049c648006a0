//! What a seed makes: the array, the hosts, their work and the faults (a swarm: each seed has some
//! kinds of each, so that rare combinations are met).

use std::time::Duration;

use alua_array::{
    AluaSettings, ArraySettings, Config as ArrayConfig, ControllerConfig, ExtendedHeader, Fault,
    FaultAction, Function, GroupConfig, PortConfig, Segment, StpgBehaviour, Transition,
    TransitionAnswer, TransportError, UnitConfig,
};
use alua_core::access::{AccessState, Tpgs};
use alua_core::select::{Policy, Preference};
use alua_core::spc::Status;
use alua_core::spc::referrals::SegmentLayout;
use alua_multipath::sabotage::Sabotage;
use alua_multipath::{Activation, Config as EngineConfig, NoPath};

use crate::check::Invariant;
use crate::random::Random;

/// The unit that the hosts use.
pub(crate) const DATA: &str = "data";
/// A unit that is nobody's business, until a number leads to it.
pub(crate) const OTHER: &str = "other";
/// The logical unit number.
pub(crate) const LUN: u16 = 1;
pub(crate) const BLOCK: u32 = 512;
/// After so many milliseconds nothing that was sent is still alive in the array: what the engine's
/// bounded wait rests on.
pub(crate) const GHOST_MS: u32 = 4_000;

/// Another unit does not come behind a path in less time than this, in milliseconds.
pub(crate) const REMAP_MS: u32 = 20;

/// A kind of event that the faults of a seed may have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Another controller takes the unit.
    Switch,
    /// One group enters a state.
    State,
    /// All groups enter states in one moment.
    Swap,
    /// A port goes down and comes back.
    Port,
    /// A controller crashes and returns.
    Crash,
    /// A storm of unit attentions.
    Attention,
    /// Another host resets the unit.
    Reset,
    /// The array loses nexuses.
    Nexus,
    /// Commands hang.
    Hang,
    /// The transport loses commands, some of which run later.
    Lost,
    /// Commands are late.
    Late,
    /// The array is busy.
    Busy,
    /// Commands are aborted or answered with nonsense.
    Odd,
    /// Task management does not work.
    NoAbort,
    /// Reports are stale for a while.
    Stale,
    /// The controllers lose sight of each other.
    Split,
    /// The unit behind a path changes while its port is down.
    Remap,
    /// Another host holds a reservation.
    Reserve,
    /// The unit is write protected for a while.
    Protect,
    /// The host removes a path and adds it again.
    Churn,
    /// Power is lost, and the cache with it.
    Power,
    /// The host's own administrator: paths out and in, switches.
    Hand,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::Switch,
        Self::State,
        Self::Swap,
        Self::Port,
        Self::Crash,
        Self::Attention,
        Self::Reset,
        Self::Nexus,
        Self::Hang,
        Self::Lost,
        Self::Late,
        Self::Busy,
        Self::Odd,
        Self::NoAbort,
        Self::Stale,
        Self::Split,
        Self::Remap,
        Self::Reserve,
        Self::Protect,
        Self::Churn,
        Self::Power,
        Self::Hand,
    ];

    /// The name in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::State => "state",
            Self::Swap => "swap",
            Self::Port => "port down",
            Self::Crash => "controller crash",
            Self::Attention => "attentions",
            Self::Reset => "unit reset",
            Self::Nexus => "nexus loss",
            Self::Hang => "hang",
            Self::Lost => "lost commands",
            Self::Late => "late commands",
            Self::Busy => "busy",
            Self::Odd => "odd answers",
            Self::NoAbort => "no abort",
            Self::Stale => "stale reports",
            Self::Split => "split",
            Self::Remap => "remap",
            Self::Reserve => "reservation",
            Self::Protect => "write protection",
            Self::Churn => "path churn",
            Self::Power => "power cycle",
            Self::Hand => "by hand",
        }
    }
}

/// How a run ends, after the liveness phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finale {
    /// Quietly.
    Quiet,
    /// Every path is lost: requests must end all the same (I7).
    NoPath,
    /// Every group enters a transition that never ends: requests must end all the same (I10).
    Endless,
}

/// How a host's shell does the steps of a fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shell {
    /// By its contract: what it still holds of the path is taken back before.
    Right,
    /// It says that a step is done while it holds commands of the path; a negative control.
    Hasty,
    /// It sends what its transport has lost again and tells the engine that it does not; a negative
    /// control.
    Secretive,
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// The array.
    pub array: ArrayConfig,
    /// The hosts' engines.
    pub engines: Vec<EngineConfig>,
    /// The transports can abort, end a nexus, reset.
    pub means: (bool, bool, bool),
    /// How the hosts' shells do the steps of a fence.
    pub shell: Shell,
    /// For how long a host may hold a command, in microseconds; `None`: it is at the target at once.
    pub hold_us: Option<u64>,
    /// For how long a host may keep a command that its transport has lost before it sends it again, in
    /// microseconds; `None`: it gives it back at once.
    pub repeat_us: Option<u64>,
    /// The hosts' transports tell when a port goes down or comes up.
    pub hints: bool,
    /// Requests of each host.
    pub requests: u64,
    /// Requests that a host has out at a time.
    pub depth: u32,
    /// Blocks that each host uses.
    pub space: u64,
    /// Blocks of one request, at the most.
    pub blocks_max: u64,
    /// From one completion to the next request, at the most, in microseconds.
    pub think_us: u64,
    /// The kinds of fault events.
    pub kinds: Vec<Kind>,
    /// From one fault event to the next, at the most, in milliseconds.
    pub fault_gap_ms: u64,
    /// Fault events.
    pub faults: u64,
    /// Groups may be LBA-dependent: each has some of the blocks.
    pub by_lba: bool,
    /// How it ends.
    pub finale: Finale,
    /// Only this invariant is checked.
    pub only: Option<Invariant>,
}

impl Options {
    /// What `seed` makes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let random = &mut random;
        let array = array(seed, random);
        let hosts = if random.percent(25) { 2 } else { 1 };
        let mut engines: Vec<EngineConfig> = (0..hosts).map(|_| engine(random)).collect();
        give_up_at_once(seed, &mut engines);
        let drawn = |kind: &Kind| *kind != Kind::Protect && random.percent(35);
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(drawn).collect();
        let mut kinds = if kinds.is_empty() { vec![Kind::Switch] } else { kinds };
        if Random::new(seed, 11).percent(15) {
            // From a stream of its own, so that everything else is drawn as without it.
            kinds.push(Kind::Protect);
        }
        let faults = random.between(12, 40);
        let fault_gap_ms = random.pick(&[20, 100, 400]);
        let depth = random.pick(&[1, 2, 4, 8, 16, 32]);
        let requests = random.between(1_500, 3_200) / hosts;
        // The requests last about as long as the faults.
        let paced = faults * fault_gap_ms * 1_000 * u64::from(depth) / requests;
        let means = (random.percent(85), random.percent(60), random.percent(85));
        let mut array = array;
        let by_lba = divide(seed, &mut array, &mut engines);
        let hold_us = hold(seed, &kinds, &mut array);
        let repeat_us = repeat(seed, &kinds);
        if !means.0 {
            // Commands that hang and cannot be aborted would fill it up.
            array.array.queue_depth = 1024;
        }
        Self {
            seed,
            array,
            engines,
            means,
            shell: Shell::Right,
            hold_us,
            repeat_us,
            hints: random.percent(50),
            requests,
            depth,
            space: random.pick(&[32, 64, 256, 1_024]),
            blocks_max: random.pick(&[1, 8, 16]),
            think_us: if random.percent(5) { 0 } else { paced * random.between(60, 180) / 100 },
            kinds,
            fault_gap_ms,
            faults,
            by_lba,
            finale: match random.below(10) {
                0 | 1 => Finale::NoPath,
                2 => Finale::Endless,
                _ => Finale::Quiet,
            },
            only: None,
        }
    }

    /// The same run with an engine that is broken on purpose, and a check of nothing but what
    /// that breaks.
    #[must_use]
    pub fn broken(mut self, how: Sabotage) -> Self {
        for engine in &mut self.engines {
            engine.sabotage = Some(how);
        }
        self.only = Invariant::ALL.into_iter().find(|it| it.number() == how.invariant());
        self
    }
}

fn array(seed: u64, random: &mut Random) -> ArrayConfig {
    let controllers = if random.percent(85) { 2 } else { 3 };
    let groups_each = if random.percent(80) { 1 } else { 2 };
    let ports_each = random.between(1, 3);
    let mut config = ArrayConfig {
        array: ArraySettings {
            seed,
            command_time: random.micros(50, 400),
            non_optimized_time: random.micros(0, 600),
            jitter: random.micros(0, 300),
            connect_attention: None,
            task_aborted_status: random.percent(50),
            descriptor_sense: random.percent(30),
            queue_depth: if random.percent(10) { 8 } else { 1024 },
            ..ArraySettings::default()
        },
        alua: habits(random),
        ..ArrayConfig::default()
    };
    let (mut group, mut port) = (0, 0);
    for controller in 0..controllers {
        let name = ["A", "B", "C"][controller];
        config.controllers.push(ControllerConfig::new(name));
        for _ in 0..groups_each {
            group += 1;
            config.groups.push(GroupConfig::new(group, name));
            for _ in 0..ports_each {
                port += 1;
                let mut place = PortConfig::new(port, group);
                place.link_time = random.micros(0, 100);
                config.ports.push(place);
            }
        }
    }
    let owner = if random.percent(80) { vec!["A".to_owned()] } else { Vec::new() };
    config.units.push(UnitConfig {
        name: DATA.to_owned(),
        lun: Some(LUN),
        blocks: 4_096,
        block_size: BLOCK,
        prefer_owner: random.percent(50) && !owner.is_empty(),
        owner,
        write_cache: random.percent(30),
        ..UnitConfig::default()
    });
    config.units.push(UnitConfig {
        name: OTHER.to_owned(),
        blocks: 4_096,
        block_size: BLOCK,
        ..UnitConfig::default()
    });
    config.faults = faults(random);
    config
}

/// Lets the hosts of some seeds fail requests at once when no path is left. From a stream of its own,
/// so that everything else is drawn as without it.
fn give_up_at_once(seed: u64, engines: &mut [EngineConfig]) {
    let mut random = Random::new(seed, 8);
    for engine in engines {
        if random.percent(15) {
            engine.no_path = NoPath::Fail;
        }
    }
}

/// For how long the hosts of some seeds hold a command. What the array keeps of a lost one is shorter
/// by that, so that the two together are within [`GHOST_MS`].
fn hold(seed: u64, kinds: &[Kind], array: &mut ArrayConfig) -> Option<u64> {
    let mut random = Random::new(seed, 9);
    let most = random.pick(&[1_000, 100_000, 2_000_000]);
    // A command that goes out late may find another unit behind its port, and no host can prevent it.
    if !random.percent(40) || kinds.contains(&Kind::Remap) {
        return None;
    }
    for fault in &mut array.faults {
        let longest = Duration::from_millis(u64::from(GHOST_MS)) - Duration::from_micros(most);
        let after = match &mut fault.action {
            FaultAction::Transport { runs_after: Some(after), .. } => after,
            FaultAction::LateStart(after) => after,
            _ => continue,
        };
        *after = (*after).min(longest);
    }
    Some(most)
}

/// For how long the hosts of some seeds keep what their transport has lost: also for longer than the
/// bounded wait.
fn repeat(seed: u64, kinds: &[Kind]) -> Option<u64> {
    let mut random = Random::new(seed, 12);
    let most = random.pick(&[20_000, 1_000_000, 12_000_000]);
    // A command that goes out late may find another unit behind its port, and no host can prevent it.
    (random.percent(30) && !kinds.contains(&Kind::Remap)).then_some(most)
}

/// Divides the unit's blocks among the groups, in some seeds; whether it did.
fn divide(seed: u64, array: &mut ArrayConfig, engines: &mut [EngineConfig]) -> bool {
    let mut random = Random::new(seed, 7);
    if !random.percent(12) {
        return false;
    }
    let unit = &mut array.units[0];
    let mut first = 0;
    while first < unit.blocks {
        let length = random.pick(&[8, 24, 64, 700]);
        let last = (first + length - 1).min(unit.blocks - 1);
        let group = array.groups[random.below(array.groups.len() as u64) as usize].id;
        unit.segments.push(Segment { first, last, group });
        first = last + 1;
    }
    if unit.segments.len() > 100 {
        // More than one report can tell is not the subject here.
        unit.segments.truncate(100);
    }
    for engine in engines {
        engine.referrals = Some(SegmentLayout::default());
    }
    true
}

fn habits(random: &mut Random) -> AluaSettings {
    let transition = match random.below(3) {
        0 => Duration::ZERO,
        1 => random.micros(1_000, 300_000),
        _ => random.micros(100_000, 2_500_000),
    };
    AluaSettings {
        tpgs: random.pick(&[Tpgs::Implicit, Tpgs::Both, Tpgs::Both]),
        other_state: random.pick(&[
            AccessState::ActiveNonOptimized,
            AccessState::ActiveNonOptimized,
            AccessState::Standby,
            AccessState::Unavailable,
        ]),
        transition: Transition::Takes(transition),
        transition_time_shown: random.pick(&[0, 4, 5]),
        others_in_transition: random.pick(&[None, Some(AccessState::Unavailable)]),
        transition_answer: random.pick(&[
            TransitionAnswer::NotReady,
            TransitionAnswer::NotReady,
            TransitionAnswer::UnitAttention,
            TransitionAnswer::Busy,
        ]),
        rtpg_in_transition: random.percent(70),
        attention_at_start: random.percent(50),
        attention_to_requester: random.percent(30),
        attention_to_changed_group: random.percent(50),
        stpg: random.pick(&[
            StpgBehaviour::Accepted,
            StpgBehaviour::Accepted,
            StpgBehaviour::Accepted,
            StpgBehaviour::Failed,
            StpgBehaviour::Ignored,
            StpgBehaviour::Half,
        ]),
        extended_header: random.pick(&[
            ExtendedHeader::Accepted,
            ExtendedHeader::Refused,
            ExtendedHeader::Ignored,
            ExtendedHeader::Uncounted,
        ]),
        ..AluaSettings::default()
    }
}

/// The faults that events arm; each ends by its count.
fn faults(random: &mut Random) -> Vec<Fault> {
    let fault = |name: &str, count: u64, per_mille: u16, action: FaultAction| Fault {
        name: name.to_owned(),
        armed: false,
        count: Some(count as u32),
        per_mille,
        action,
        ..Fault::default()
    };
    let ghost = || Some(Duration::from_millis(u64::from(GHOST_MS)));
    let later = |random: &mut Random| Some(random.micros(100, 1_000 * u64::from(GHOST_MS) / 2));
    let lost = |error, runs_after| FaultAction::Transport { error, runs_after };
    let no_function = |name: &str, action| Fault {
        functions: vec![Function::AbortTask, Function::AbortTaskSet, Function::ResetUnit],
        ..fault(name, 20, 700, action)
    };
    let disrupted = TransportError::Disrupted;
    vec![
        fault("hang", random.between(1, 6), 100, FaultAction::Hang { runs: false }),
        fault("hang-runs", random.between(1, 6), 100, FaultAction::Hang { runs: true }),
        fault("lost", random.between(1, 20), 200, lost(disrupted, None)),
        fault("lost-runs", random.between(1, 20), 200, lost(disrupted, later(random))),
        fault("ghost", random.between(1, 4), 200, lost(TransportError::Error, ghost())),
        fault("no-connect", random.between(1, 20), 300, lost(TransportError::NoConnect, None)),
        fault(
            "late",
            random.between(1, 20),
            200,
            FaultAction::LateStart(random.micros(1_000, 2_500_000)),
        ),
        fault(
            "late-answer",
            random.between(1, 20),
            200,
            FaultAction::LateAnswer(random.micros(1_000, 2_500_000)),
        ),
        fault("busy", random.between(1, 50), 300, FaultAction::Status(Status::Busy)),
        fault("full", random.between(1, 50), 300, FaultAction::Status(Status::TaskSetFull)),
        fault("aborted", random.between(1, 10), 200, FaultAction::Status(Status::TaskAborted)),
        fault("short", random.between(1, 4), 100, FaultAction::Short(3)),
        no_function("no-function", FaultAction::Status(Status::Busy)),
        no_function("mute-function", FaultAction::Hang { runs: false }),
    ]
}

fn engine(random: &mut Random) -> EngineConfig {
    let mut config = EngineConfig {
        policy: random.pick(&Policy::ALL),
        preference: random.pick(&[
            Preference::Ignore,
            Preference::WithinState,
            Preference::AboveState,
        ]),
        no_path: random.pick(&[NoPath::Wait(3_000), NoPath::Wait(20_000), NoPath::Forever]),
        failback_ms: random.pick(&[0, 0, 200, 2_000]),
        activation: random.pick(&[
            Activation::NothingLive,
            Activation::NothingLive,
            Activation::Never,
            Activation::OptimizedLost { after_ms: 1_000 },
        ]),
        io_timeout_ms: 1_500,
        attempts_max: 200,
        ..EngineConfig::default()
    };
    config.idle_ms = REMAP_MS;
    // What is longer than that proves nothing here.
    config.idle_max_ms = REMAP_MS;
    config.slow_ms = 500;
    config.fence.wait_ms = GHOST_MS + 500;
    config.fence.step_timeout_ms = 500;
    config.fence.reset_unit = random.percent(80);
    config.health.probe_timeout_ms = 400;
    config.health.probe_max_ms = 1_000;
    config.health.out_first_ms = 100;
    config.health.out_max_ms = 2_000;
    config.health.forgive_ms = 2_000;
    config.core.command_timeout_ms = 800;
    config.core.transition_ms = 5_000;
    config.core.reprobe_ms = 2_000;
    config.core.gate.pass_unknown = random.percent(70);
    config.core.idle_probe_ms = random.pick(&[None, None, Some(500)]);
    config.core.attentions_on_every_nexus = false;
    config.limits.requests = 64;
    config.limits.commands_per_path = random.pick(&[2, 8, 64]);
    config.limits.blocks_per_request = 1_024;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_have_no_path_is_drawn() {
        let engines = (0..100).flat_map(|seed| Options::new(seed).engines);
        let drawn: Vec<NoPath> = engines.map(|engine| engine.no_path).collect();
        for wanted in [NoPath::Fail, NoPath::Wait(3_000), NoPath::Wait(20_000), NoPath::Forever] {
            let count = drawn.iter().filter(|&&it| it == wanted).count();
            assert!(count > 5, "{wanted:?}: {count} of {}", drawn.len());
        }
    }
}
