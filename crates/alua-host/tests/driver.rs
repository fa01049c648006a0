//! The driver's shell over scripted paths, with a clock that moves only when somebody sleeps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::identity::Identity;
use alua_core::spc::Status;
use alua_core::spc::cdb::Cdb;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter, StatusCode, StpgList};
use alua_core::time::Time;
use alua_core::tpgs::{Managed, evaluate};
use alua_core::unit::{Activated, AddPathError, CommandKind, Config, Event, Outcome, PathId};
use alua_host::driver::{Clock, Driver, Ended, Limits, outcome_of};
use alua_host::transport::{
    Data, DriverStatus, HostStatus, NotSubmitted, Reply, Request, Transport, TransportError,
};

use AccessState::{ActiveNonOptimized, ActiveOptimized, Transitioning};

const LIMITS: Limits = Limits { total_ms: 600_000, pause_ms: 600_000 };

#[derive(Clone, Default)]
struct TestClock(Rc<Cell<u64>>);

impl Clock for TestClock {
    fn now(&self) -> Time {
        Time::from_millis(self.0.get())
    }

    fn sleep_until(&self, until: Time) {
        self.0.set(self.0.get().max(until.as_millis()));
    }
}

/// A target: groups with states, and answers that come before all others.
#[derive(Default)]
struct Target {
    groups: BTreeMap<u16, AccessState>,
    /// What TEST UNIT READY gets; GOOD when empty.
    tur: VecDeque<Reply>,
}

/// Answers that come before the target's own.
type Script = Rc<RefCell<VecDeque<Result<Reply, TransportError>>>>;

struct TestPath {
    target: Rc<RefCell<Target>>,
    clock: TestClock,
    script: Script,
    /// Milliseconds that a command takes.
    takes: u64,
}

impl Transport for TestPath {
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
        self.clock.0.set(self.clock.0.get() + self.takes);
        if let Some(next) = self.script.borrow_mut().pop_front() {
            return next;
        }
        let mut target = self.target.borrow_mut();
        match (Cdb::decode(request.cdb).unwrap(), request.data) {
            (Cdb::TestUnitReady, Data::None) => {
                Ok(target.tur.pop_front().unwrap_or_else(|| Reply::new(Status::Good, 0, 0)))
            }
            (Cdb::ReportTargetPortGroups { format, .. }, Data::In(buffer)) => {
                let mut writer = ReportWriter::new(buffer, format, 30);
                for (&id, &state) in &target.groups {
                    let fields = GroupFields {
                        preferred: false,
                        state,
                        supported: SupportedStates::from_bits(0xdf),
                        id,
                        status: StatusCode::None,
                        vendor: 0,
                    };
                    writer.push(&fields, [id]).unwrap();
                }
                let moved = writer.finish_truncated().unwrap().stored;
                Ok(Reply::new(Status::Good, buffer.len(), moved))
            }
            (Cdb::SetTargetPortGroups { .. }, Data::Out(list)) => {
                for wanted in StpgList::parse(list).unwrap().iter() {
                    for (&id, state) in &mut target.groups {
                        *state = if id == wanted.id { wanted.state } else { ActiveNonOptimized };
                    }
                }
                Ok(Reply::new(Status::Good, list.len(), list.len()))
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Lab {
    driver: Driver<Box<dyn Transport>, TestClock>,
    target: Rc<RefCell<Target>>,
    clock: TestClock,
}

fn managed() -> Managed {
    evaluate(0, Tpgs::Both).unwrap()
}

impl Lab {
    fn new() -> Self {
        let (clock, target) = (TestClock::default(), Rc::default());
        let driver = Driver::new(None, Ok(managed()), Config::default(), clock.clone());
        Self { driver, target, clock }
    }

    /// Adds a path, each of whose commands takes `takes` milliseconds.
    fn path(&mut self, label: &str, identity: &Identity, takes: u64) -> (PathId, Script) {
        let script = Script::default();
        let path = TestPath {
            target: Rc::clone(&self.target),
            clock: self.clock.clone(),
            script: Rc::clone(&script),
            takes,
        };
        let id = self.driver.add_path(label, identity, Box::new(path)).unwrap();
        (id, script)
    }

    fn states(&self) -> Vec<(u16, Option<AccessState>)> {
        self.driver.unit().groups().map(|group| (group.id(), group.state())).collect()
    }
}

/// What page 83h says of a port in `group` of a unit with a name.
fn named(group: u16, unit: u8) -> Identity {
    use alua_core::spc::designator::{Designator, DesignatorWriter, DeviceIdentification};

    let mut buffer = [0; 64];
    let mut naa = [0x60; 16];
    naa[15] = unit;
    let mut writer = DesignatorWriter::new(&mut buffer, 0);
    writer.push(&Designator::naa(&naa)).unwrap();
    let length = writer.finish().unwrap();
    let page = DeviceIdentification::new(&buffer[..length]).unwrap();
    let mut identity = Identity::from_page(&page).unwrap();
    identity.group = Some(group);
    identity
}

/// A lab whose unit has a name, with a path in each group.
fn two_paths() -> (Lab, [(PathId, Script); 2]) {
    let mut lab = Lab::new();
    lab.driver = Driver::new(named(1, 1).name, Ok(managed()), Config::default(), lab.clock.clone());
    lab.target.borrow_mut().groups = [(1, ActiveOptimized), (2, ActiveNonOptimized)].into();
    let paths = [("sda", 1), ("sdb", 2)].map(|(label, group)| lab.path(label, &named(group, 1), 1));
    (lab, paths)
}

fn check(key: SenseKey, asc: u8, ascq: u8) -> Reply {
    let mut sense = [0; 18];
    Sense::new(key, asc, ascq).emit_fixed(&mut sense).unwrap();
    Reply::new(Status::CheckCondition, 0, 0).with_sense(&sense)
}

fn down() -> TransportError {
    TransportError::Failed {
        host: HostStatus::NO_CONNECT,
        driver: DriverStatus::OK,
        duration: Duration::ZERO,
    }
}

#[test]
fn s7_2_one_report_serves_both_groups_and_the_driver_is_idle() {
    let (mut lab, _) = two_paths();
    assert_eq!(lab.driver.run(LIMITS), Ended::Idle);
    assert_eq!(lab.states(), [(1, Some(ActiveOptimized)), (2, Some(ActiveNonOptimized))]);
    let (records, dropped) = lab.driver.take_records();
    assert_eq!((records.len(), dropped), (1, 0));
    let record = &records[0];
    assert_eq!(record.cdb.as_bytes()[..2], [0xa3, 0x2a]);
    assert_eq!(record.data_in.len(), 8 + 2 * 12);
    assert_eq!(record.ended.since(record.sent), 1);
    let text = record.to_string();
    assert!(
        text.contains("REPORT TARGET PORT GROUPS (extended) -> GOOD, 32 bytes (1 ms)"),
        "{text}"
    );
    assert!(text.contains("sda") || text.contains("sdb"), "{text}");
    let (events, _) = lab.driver.take_events();
    assert!(events.iter().any(|(_, event)| matches!(event, Event::Group { id: 1, .. })));
    assert_eq!(lab.driver.take_records().0, []);
}

#[test]
fn reg_09_a_path_that_is_down_hands_over_to_the_other() {
    let (mut lab, paths) = two_paths();
    for (_, script) in &paths {
        script.borrow_mut().push_back(Err(down()));
    }
    lab.driver.run(Limits { total_ms: 1_000, pause_ms: 100 });
    let (records, _) = lab.driver.take_records();
    assert_eq!(records.len(), 2, "{records:?}");
    assert_ne!(records[0].label, records[1].label);
    for record in &records {
        assert_eq!(record.outcome(), Outcome::TransportFailed);
        assert!(record.to_string().contains("DID_NO_CONNECT"), "{record}");
    }
    // Both were down. The next try succeeds by itself, in time.
    assert_eq!(lab.driver.run(LIMITS), Ended::Idle);
    assert_eq!(lab.states()[0], (1, Some(ActiveOptimized)));
}

#[test]
fn a_pause_longer_than_allowed_is_not_slept_through() {
    let (mut lab, paths) = two_paths();
    for (_, script) in &paths {
        script.borrow_mut().extend((0..50).map(|_| Err(down())));
    }
    let Ended::Pausing(due) = lab.driver.run(Limits { total_ms: 600_000, pause_ms: 1_000 }) else {
        panic!("not pausing");
    };
    assert!(due.since(lab.clock.now()) > 1_000);
    let (events, _) = lab.driver.take_events();
    assert!(events.iter().any(|(_, event)| matches!(event, Event::RefreshFailed { .. })));
}

#[test]
fn b27_a_transition_is_slept_through_up_to_the_limit() {
    let (mut lab, _) = two_paths();
    lab.target.borrow_mut().groups.insert(1, Transitioning);
    let transition = || check(SenseKey::NotReady, 0x04, 0x0a);
    lab.target.borrow_mut().tur.extend((0..1_000).map(|_| transition()));
    let ended = lab.driver.run(Limits { total_ms: 5_000, pause_ms: 60_000 });
    assert_eq!(ended, Ended::OutOfTime);
    assert_eq!(lab.clock.now().as_millis(), 5_000);
    assert_eq!(lab.states()[0], (1, Some(Transitioning)));

    lab.target.borrow_mut().tur.clear();
    lab.target.borrow_mut().groups.insert(1, ActiveOptimized);
    assert_eq!(lab.driver.run(LIMITS), Ended::Idle);
    assert_eq!(lab.states()[0], (1, Some(ActiveOptimized)));
}

#[test]
fn a_command_that_is_out_at_the_limit_is_waited_for() {
    let mut lab = Lab::new();
    lab.target.borrow_mut().groups.insert(1, ActiveOptimized);
    let identity = Identity { group: Some(1), relative_port: Some(1), ..Identity::default() };
    lab.path("sda", &identity, 9_000);
    let ended = lab.driver.run(Limits { total_ms: 1_000, pause_ms: 1_000 });
    assert_eq!(ended, Ended::OutOfTime);
    assert_eq!(lab.states(), [(1, Some(ActiveOptimized))]);
}

#[test]
fn d08_an_activation_is_sent_verified_and_told_once() {
    let (mut lab, _) = two_paths();
    lab.driver.run(LIMITS);
    lab.driver.take_records();
    let (unit, now) = lab.driver.unit_mut();
    let wanted = unit.activate(2, now).unwrap();
    let finished = |driver: &Driver<Box<dyn Transport>, TestClock>| {
        driver
            .events()
            .any(|(_, event)| matches!(event, Event::Activation { id, .. } if *id == wanted))
    };
    assert_eq!(lab.driver.run_until(LIMITS, finished), Ended::Reached);
    let (events, _) = lab.driver.take_events();
    let results: Vec<_> = events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Activation { result, .. } => Some(*result),
            _ => None,
        })
        .collect();
    assert_eq!(results, [Ok(Activated::Reached)]);
    assert_eq!(lab.states(), [(1, Some(ActiveNonOptimized)), (2, Some(ActiveOptimized))]);
    let (records, _) = lab.driver.take_records();
    let stpg: Vec<_> = records
        .iter()
        .filter(|record| matches!(record.kind, CommandKind::SetTargetPortGroups(_)))
        .collect();
    assert_eq!(stpg.len(), 1);
    assert_eq!(stpg[0].data_out, [0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(stpg[0].data_in, []);
}

#[test]
fn e06_the_callers_own_commands_tell_the_unit_what_they_saw() {
    let (mut lab, paths) = two_paths();
    lab.driver.run(LIMITS);
    lab.driver.take_records();
    let (id, script) = &paths[0];
    lab.target.borrow_mut().groups = [(1, ActiveNonOptimized), (2, ActiveOptimized)].into();
    script.borrow_mut().push_back(Ok(check(SenseKey::UnitAttention, 0x2a, 0x06)));
    let request = || Request { cdb: &[0; 6], data: Data::None, timeout_ms: 1_000 };
    let reply = lab.driver.execute(*id, request(), true).unwrap();
    assert_eq!(reply.status, Status::CheckCondition);
    assert_eq!(lab.driver.run(LIMITS), Ended::Idle);
    assert_eq!(lab.states(), [(1, Some(ActiveNonOptimized)), (2, Some(ActiveOptimized))]);

    let transport = lab.driver.remove_path(*id);
    assert!(transport.is_some());
    assert_eq!(lab.driver.label(*id), None);
    let gone = lab.driver.execute(*id, request(), true).unwrap_err();
    assert!(matches!(gone, TransportError::NotSubmitted { cause: NotSubmitted::NoDevice, .. }));
    assert!(lab.driver.remove_path(*id).is_none());
}

/// The name of a removed path does not lead to the path that took its place.
#[test]
fn s7_4_a_path_that_came_back_is_another_path() {
    let (mut lab, paths) = two_paths();
    let old = paths[0].0;
    assert!(lab.driver.remove_path(old).is_some());
    let (new, _) = lab.path("sdc", &named(1, 1), 1);
    assert_ne!(old, new);
    assert_eq!(lab.driver.label(new), Some("sdc"));
    assert_eq!(lab.driver.label(old), None);
    assert!(lab.driver.remove_path(old).is_none());
    assert_eq!(lab.driver.label(new), Some("sdc"));
    assert_eq!(lab.driver.run(LIMITS), Ended::Idle);
}

#[test]
fn a_path_of_another_unit_is_refused() {
    let (mut lab, _) = two_paths();
    let path = TestPath {
        target: Rc::clone(&lab.target),
        clock: lab.clock.clone(),
        script: Rc::default(),
        takes: 1,
    };
    let refused = lab.driver.add_path("sdx", &named(1, 2), Box::new(path));
    assert_eq!(refused, Err(AddPathError::OtherUnit));
}

#[test]
fn the_unit_grows_with_its_paths_and_with_the_groups_of_a_report() {
    let (mut lab, _) = two_paths();
    for group in 3..=40 {
        lab.target.borrow_mut().groups.insert(group, ActiveNonOptimized);
        lab.path(&format!("sd{group}"), &named(group, 1), 0);
    }
    // Groups that no path names, past what there is room for.
    for group in 100..190 {
        lab.target.borrow_mut().groups.insert(group, ActiveNonOptimized);
    }
    assert_eq!(lab.driver.run(LIMITS), Ended::Idle);
    assert_eq!(lab.driver.unit().paths().count(), 40);
    assert_eq!(lab.driver.unit().groups().count(), 40 + 90);
    assert!(lab.driver.unit().groups().all(|group| group.state().is_some()));
    // The second report only because the first did not fit into its buffer.
    assert_eq!(lab.driver.take_records().0.len(), 2);
    let (events, _) = lab.driver.take_events();
    let lost = events.iter().any(|(_, event)| matches!(event, Event::GroupsNotStored { .. }));
    assert!(!lost, "{events:?}");
}

#[test]
fn transport_errors_keep_what_is_known_of_the_command() {
    let duration = Duration::ZERO;
    let not_submitted =
        TransportError::NotSubmitted { cause: NotSubmitted::NoResources, errno: 12 };
    assert_eq!(outcome_of(&not_submitted), Outcome::NotSubmitted);
    assert_eq!(outcome_of(&down()), Outcome::TransportFailed);
    let interrupted = TransportError::Interrupted { duration };
    assert_eq!(outcome_of(&interrupted), Outcome::TransportFailed);
    let timed_out = TransportError::TimedOut { limit_ms: 1, duration };
    assert_eq!(outcome_of(&timed_out), Outcome::TimedOut);
}

/// A transport that claims more data than the buffer holds, or that writes none, changes nothing.
#[test]
fn b34_only_the_bytes_that_came_reach_the_unit() {
    struct Liar(usize);
    impl Transport for Liar {
        fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
            let length = request.data.len();
            if let Data::In(buffer) = request.data {
                buffer.fill(0xff);
            }
            let mut reply = Reply::new(Status::Good, length, length);
            reply.transferred = self.0;
            Ok(reply)
        }
    }
    for claimed in [0, 3, usize::MAX] {
        let clock = TestClock::default();
        let mut driver: Driver<Liar, _> =
            Driver::new(None, Ok(managed()), Config::default(), &clock);
        let identity = Identity { group: Some(1), ..Identity::default() };
        driver.add_path("sda", &identity, Liar(claimed)).unwrap();
        driver.run(Limits { total_ms: 10_000, pause_ms: 1_000 });
        assert_eq!(driver.unit().group(1).unwrap().state(), None);
        let (records, _) = driver.take_records();
        assert!(!records.is_empty());
        for record in records {
            assert!(record.data_in.len() <= 64 * 1024);
        }
    }
}
