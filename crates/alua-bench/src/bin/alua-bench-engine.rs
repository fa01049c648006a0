//! `alua-bench-engine WORK COUNT`: the engine without faults, `COUNT` times; `cargo xtask bench engine`
//! runs it under valgrind. `alua-bench-engine time` prints a line for each work: its name, the
//! nanoseconds of one in the fastest of many rounds, since other work on the machine can only make a
//! round slower, and the allocations of all rounds.
//!
//! | work | what is done each time |
//! |---|---|
//! | `read`, `write` | one request of 4 KiB from submission to completion, eight paths in two groups |
//! | `select` | the choice among eight paths alone, and the load of the chosen one taken in |
//!
//! By the engine's default, queue-depth, and with `-service-time` behind the name by that, the default
//! of `alua up`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::failover::IoOutcome;
use alua_core::select::{Candidate, Policy, Preference, Rank, class, pick_ranked};
use alua_core::spc::Status;
use alua_core::spc::cdb::ReportFormat;
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter, StatusCode};
use alua_core::tpgs;
use alua_core::unit::{self, CommandKind};
use alua_multipath::{
    Action, Config, ControlKind, Engine, Geometry, NewPath, Operation, PathTraits, Request, Time,
};
use anyhow::{Context, Result, bail};

const PATHS: u16 = 8;
/// Requests out at a time.
const DEPTH: u64 = 8;
/// From one step to the next, in nanoseconds.
const STEP: u64 = 10_000;

/// How often each work is done in one round of `time`, and how many rounds there are.
const ROUND: u64 = 20_000;
const ROUNDS: u32 = 200;

/// Counts what is allocated.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; a counter is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from `System`, by `alloc` above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An engine whose paths are all live: four optimized, four not.
struct Bench {
    engine: Engine,
    now: u64,
}

impl Bench {
    fn new(policy: Policy) -> Result<Self> {
        let managed = tpgs::evaluate(0, Tpgs::Implicit);
        let geometry = Geometry { blocks: 1 << 30, block_size: 512 };
        let config = || Config { policy, ..Config::default() };
        let mut bench = Self { engine: Engine::new(config(), None, managed, geometry), now: 0 };
        // Paths without a name would be eight units: they share one.
        let page = [0, 0x83, 0, 12, 1, 3, 0, 8, 0x50, 0, 0, 0, 0, 0, 0, 1];
        let page = alua_core::spc::designator::DeviceIdentification::new(&page)?;
        let identity = alua_core::identity::Identity::from_page(&page)?;
        bench.engine = Engine::new(config(), identity.name, managed, geometry);
        for port in 1..=PATHS {
            let identity = unit::NewPath {
                name: identity.name.as_ref(),
                group: Some(1 + (port - 1) / 4),
                relative_port: Some(port),
            };
            let new = NewPath { identity, geometry, traits: PathTraits::default() };
            bench.engine.add_path(new, Time::ZERO)?;
        }
        for _ in 0..64 {
            bench.step();
            bench.answer()?;
        }
        Ok(bench)
    }

    fn time(&self) -> Time {
        Time::from_nanos(self.now)
    }

    fn step(&mut self) {
        self.now += 1_000_000;
        self.engine.handle_time(self.time());
    }

    /// Answers the driver's own commands: one report.
    fn answer(&mut self) -> Result<()> {
        while let Some(action) = self.engine.poll_action() {
            let Action::Control(control) = action else { bail!("{action:?} at the start") };
            let data = match control.kind {
                ControlKind::Core(command)
                    if matches!(command.kind, CommandKind::ReportTargetPortGroups { .. }) =>
                {
                    report()?
                }
                _ => bail!("{control:?} at the start"),
            };
            let outcome = unit::Outcome::Answered { status: Status::Good, sense: &[], data: &data };
            self.engine.handle_control(control.id, &outcome, self.time());
        }
        while self.engine.poll_event().is_some() {}
        Ok(())
    }

    /// `count` requests, `DEPTH` at a time, each answered well.
    fn serve(&mut self, operation: Operation, count: u64) -> Result<u64> {
        let (mut sent, mut done) = (0, 0);
        while done < count {
            while sent < count && sent - done < DEPTH {
                let lba = sent * 8 % (1 << 20);
                let request = Request { operation, lba, blocks: 8 };
                self.engine.submit(request, Time::from_nanos(self.now))?;
                sent += 1;
            }
            self.now += STEP;
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Send(send) => {
                        let outcome =
                            IoOutcome::Answered { status: Status::Good, sense: &[], whole: true };
                        let now = Time::from_nanos(self.now);
                        self.engine.handle_io(black_box(send.io), &outcome, now);
                    }
                    Action::Complete { result, .. } => {
                        result?;
                        done += 1;
                    }
                    other => bail!("{other:?} without a fault"),
                }
            }
            // What a shell asks before it sleeps.
            while self.engine.poll_event().is_some() {}
            black_box(self.engine.poll_deadline());
        }
        Ok(done)
    }
}

fn report() -> Result<Vec<u8>> {
    let mut buffer = [0; 256];
    let mut writer = ReportWriter::new(&mut buffer, ReportFormat::Extended, 0);
    for (id, state) in [(1, AccessState::ActiveOptimized), (2, AccessState::ActiveNonOptimized)] {
        let fields = GroupFields {
            preferred: false,
            state,
            supported: SupportedStates::from_bits(0xdf),
            id,
            status: StatusCode::None,
            vendor: 0,
        };
        writer.push(&fields, [id])?;
    }
    let length = writer.finish()?;
    Ok(buffer[..length].to_vec())
}

fn select(policy: Policy, count: u64) -> u64 {
    let path = |place: usize| Candidate {
        class: Some(class(place < 4, false, Preference::Ignore)),
        room: true,
        in_flight: place as u32 % 3,
        service_ns: 100_000,
        distance: 0,
    };
    let mut paths: [Candidate; PATHS as usize] = std::array::from_fn(path);
    let mut ranks = paths.map(|path| Rank::of(&path, policy));
    let mut after = 0;
    for turn in 0..count {
        if let Some((place, _)) = pick_ranked(black_box(&ranks), &paths, policy, after) {
            after = place;
            paths[place].in_flight = (turn % 5) as u32;
            ranks[place] = Rank::of(black_box(&paths[place]), policy);
        }
    }
    after as u64
}

/// What is measured, and the policies with what each adds to the name of a work.
const WORKS: [&str; 3] = ["read", "write", "select"];
const POLICIES: [(&str, Policy); 2] =
    [("", Policy::QueueDepth), ("-service-time", Policy::ServiceTime)];

/// The work of that name, and the policy.
fn named(name: &str) -> Result<(&'static str, Policy)> {
    for work in WORKS {
        for (suffix, policy) in POLICIES {
            if name.strip_prefix(work) == Some(suffix) {
                return Ok((work, policy));
            }
        }
    }
    bail!("no such work: {name}")
}

/// The request of a work; none for the choice alone.
fn operation(work: &str) -> Option<Operation> {
    match work {
        "read" => Some(Operation::Read),
        "write" => Some(Operation::Write { fua: false }),
        _ => None,
    }
}

fn work(name: &str, count: u64) -> Result<u64> {
    let (work, policy) = named(name)?;
    match operation(work) {
        Some(operation) => Bench::new(policy)?.serve(operation, count),
        None => Ok(select(policy, count)),
    }
}

fn times() -> Result<()> {
    for (suffix, policy) in POLICIES {
        for work in WORKS {
            let name = format!("{work}{suffix}");
            if let Some(operation) = operation(work) {
                let mut bench = Bench::new(policy)?;
                bench.serve(operation, ROUND)?;
                time(&name, || bench.serve(operation, ROUND))?;
            } else {
                time(&name, || Ok(select(policy, ROUND)))?;
            }
        }
    }
    Ok(())
}

/// Prints the line of one work, of which `round` does [`ROUND`].
fn time(name: &str, mut round: impl FnMut() -> Result<u64>) -> Result<()> {
    let mut fastest = Duration::MAX;
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        let (start, before) = (Instant::now(), ALLOCATIONS.load(Ordering::Relaxed));
        black_box(round()?);
        fastest = fastest.min(start.elapsed());
        allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
    }
    println!("{name} {:.1} {allocations}", fastest.as_nanos() as f64 / ROUND as f64);
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [only] if only == "time" => times(),
        [name, count] => {
            println!("{}", work(name, count.parse().context("COUNT is a number")?)?);
            Ok(())
        }
        _ => bail!("usage: alua-bench-engine (read|write|select)[-service-time] COUNT | time"),
    }
}
