//! From devices to a unit whose states are known: discovery, driver and core together.

use std::sync::Arc;

use alua_core::access::AccessState::{ActiveNonOptimized, ActiveOptimized};
use alua_core::unit::Config;
use alua_host::discovery::{Options, Trouble, discover};
use alua_host::driver::{Ended, Limits, MonotonicClock, connect};
use alua_host::sysfs::DeviceState;

mod fake;

use fake::{Fake, FakeHost, device};

const LIMITS: Limits = Limits { total_ms: 5_000, pause_ms: 1_000 };

#[test]
fn s7_2_discovery_and_one_report_tell_the_states_of_all_paths() {
    let mut host = FakeHost::default();
    let mut devices = Vec::new();
    for (hctl, port, group) in [("2:0:0:1", 1, 1), ("2:0:1:1", 2, 1), ("3:0:0:1", 3, 2)] {
        let mut fake = Fake::disk(1, port, Some(group));
        fake.groups = vec![(1, ActiveOptimized), (2, ActiveNonOptimized)];
        devices.push(host.add(hctl, fake));
    }
    // A fourth path by the kernel's copies, to a device that nobody may open; and one that is
    // offline.
    let fourth = Fake::disk(1, 4, Some(2));
    for hctl in ["3:0:1:1", "4:0:0:1"] {
        let mut device = device(hctl);
        device.inquiry = Some(fourth.inquiry.clone());
        device.page_83h = fourth.pages.get(&0x83).cloned();
        devices.push(device);
    }
    devices[4].state = Some(DeviceState::Offline);

    let host = Arc::new(host);
    let inventory = discover(devices, Arc::<FakeHost>::clone(&host), &Options::default());
    assert_eq!(inventory.units.len(), 1);
    let unit = &inventory.units[0];
    assert_eq!(unit.paths.len(), 5);

    let mut connected = connect(unit, &*host, Config::default(), MonotonicClock::new());
    assert_eq!(connected.driver.run(LIMITS), Ended::Idle);
    let states: Vec<_> = connected
        .paths
        .iter()
        .map(|id| id.and_then(|id| connected.driver.unit().access(id).state))
        .collect();
    let (optimized, slow) = (Some(ActiveOptimized), Some(ActiveNonOptimized));
    assert_eq!(states, [optimized, optimized, slow, None, None]);
    assert_eq!(connected.driver.take_records().0.len(), 1);
    let troubles: Vec<_> = connected.problems.iter().map(|problem| &problem.trouble).collect();
    assert!(
        matches!(troubles[..], [Trouble::Open(_), Trouble::State(DeviceState::Offline)]),
        "{troubles:?}"
    );
}

/// A disk without ALUA is driven too: it never gets a command of the driver.
#[test]
fn a02_a_unit_without_alua_is_left_alone() {
    let mut host = FakeHost::default();
    let mut plain = Fake::disk(1, 1, None);
    plain.inquiry = fake::inquiry(alua_core::access::Tpgs::None);
    let devices = vec![host.add("2:0:0:1", plain)];
    let host = Arc::new(host);
    let inventory = discover(devices, Arc::<FakeHost>::clone(&host), &Options::default());
    let connected =
        &mut connect(&inventory.units[0], &*host, Config::default(), MonotonicClock::new());
    assert_eq!(connected.driver.run(LIMITS), Ended::Idle);
    assert_eq!(connected.driver.take_records().0, []);
    assert_eq!(connected.problems, []);
}
