//! Devices grouped into logical units.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alua_core::access::Tpgs;
use alua_core::spc::Status;
use alua_core::spc::sense::SenseKey;
use alua_core::tpgs::AluaOff;
use alua_host::discovery::{
    Finding, Inventory, Options, Source, Step, StepError, Trouble, UnitFinding, discover,
};
use alua_host::sysfs::{DeviceState, ScsiDevice};
use alua_host::transport::{DriverStatus, HostStatus, Reply, TransportError};

mod fake;

use fake::{Fake, FakeHost, check, device, inquiry, page_83h};

fn run(host: FakeHost, devices: Vec<ScsiDevice>) -> Inventory {
    let options = Options { busy_delay: Duration::ZERO, ..Options::default() };
    discover(devices, Arc::new(host), &options)
}

fn with_copies(mut device: ScsiDevice, fake: &Fake) -> ScsiDevice {
    device.inquiry = Some(fake.inquiry.clone());
    device.page_80h = fake.pages.get(&0x80).cloned();
    device.page_83h = fake.pages.get(&0x83).cloned();
    device
}

#[test]
fn a12_paths_with_one_name_are_one_unit_whatever_their_groups() {
    let mut host = FakeHost::default();
    let mut devices = Vec::new();
    // Two units, each over two groups with the same group numbers.
    for (hctl, unit, port, group) in
        [("3:0:0:1", 1, 2, 2), ("2:0:0:2", 2, 1, 1), ("2:0:0:1", 1, 1, 1), ("3:0:0:2", 2, 2, 2)]
    {
        let fake = Fake::disk(unit, port, Some(group));
        let device = host.add(hctl, fake.clone());
        devices.push(with_copies(device, &fake));
    }
    let inventory = run(host, devices);
    assert_eq!(inventory.problems, []);
    // Four commands each: INQUIRY and three pages; sysfs knows the size.
    assert_eq!(inventory.commands, 16);
    for (lun, unit) in (1..).zip(&inventory.units) {
        let name = unit.name.unwrap().to_string();
        assert_eq!(name, format!("naa.6060606060606060606060606060600{lun}"));
        let paths: Vec<_> = unit
            .paths
            .iter()
            .map(|path| (path.device.hctl.to_string(), path.identity.group))
            .collect();
        let expected = [(format!("2:0:0:{lun}"), Some(1)), (format!("3:0:0:{lun}"), Some(2))];
        assert_eq!(paths, expected);
    }
    assert_eq!(inventory.units.len(), 2);
    for path in inventory.units.iter().flat_map(|unit| &unit.paths) {
        assert_eq!(path.findings, []);
        assert_eq!(
            (path.source, path.alua.map(|alua| alua.tpgs())),
            (Source::Device, Ok(Tpgs::Both))
        );
        assert_eq!(path.capacity.unwrap().bytes(), 1 << 20);
        assert_eq!(path.inquiry.vendor_str().to_string(), "LIO-ORG");
    }
    assert_eq!(inventory.units[1].paths[0].serial.as_deref(), Some("SN02"));
}

#[test]
fn a13_devices_without_a_name_are_never_one_unit() {
    let mut host = FakeHost::default();
    let mut nameless = Fake::disk(1, 1, Some(1));
    nameless.pages.insert(0x83, vec![0, 0x83, 0, 8, 1, 0x15, 0, 4, 0, 0, 0, 1]);
    let devices = ["2:0:0:0", "3:0:0:0"].map(|hctl| host.add(hctl, nameless.clone()));
    let inventory = run(host, devices.to_vec());
    assert_eq!(inventory.units.len(), 2);
    for unit in &inventory.units {
        assert_eq!(unit.name, None);
        assert_eq!(unit.paths[0].identity.group, Some(1));
        assert!(unit.paths[0].findings.contains(&Finding::NoName));
        assert_eq!(unit.alua().map(|alua| alua.tpgs()), Ok(Tpgs::Both));
    }
}

#[test]
fn an_old_kernel_copy_is_a_finding_and_the_device_counts() {
    let mut host = FakeHost::default();
    let moved = Fake::disk(1, 2, Some(2));
    let mut moved_device = host.add("2:0:0:0", moved);
    moved_device.page_83h = Some(page_83h(1, 1, Some(1)));
    moved_device.inquiry = Some(inquiry(Tpgs::Both));

    let padded = Fake::disk(2, 1, Some(1));
    let mut copy = padded.pages[&0x83].clone();
    copy.extend([0, 0]);
    let mut padded_device = host.add("2:0:0:1", padded);
    padded_device.page_83h = Some(copy);

    let mut broken_device = host.add("2:0:0:2", Fake::disk(3, 1, Some(1)));
    broken_device.page_83h = Some(vec![0, 0x83, 0xff, 0xff]);

    // A kernel that keeps copies, but none of this page.
    let mut none_device = host.add("2:0:0:3", Fake::disk(4, 1, Some(1)));
    none_device.inquiry = Some(inquiry(Tpgs::Both));

    let devices = vec![moved_device, padded_device, broken_device, none_device];
    let inventory = run(host, devices);
    let finding = |index: usize| &inventory.units[index].paths[0].findings[..];
    let [Finding::IdentityDiffers { device, sysfs }] = finding(0) else {
        panic!("{:?}", finding(0));
    };
    assert_eq!((device.group, sysfs.group), (Some(2), Some(1)));
    assert_eq!(device.name, sysfs.name);
    assert_eq!(inventory.units[0].paths[0].identity.group, Some(2));
    let text = finding(0)[0].to_string();
    assert!(text.contains("port group 2 at port 2") && text.contains("rescan"), "{text}");
    assert_eq!(finding(1), [Finding::PageDiffers]);
    assert!(matches!(finding(2), [Finding::BadKernelCopy(_)]), "{:?}", finding(2));
    assert_eq!(finding(3), [Finding::NoKernelCopy]);
}

/// Without permission, or when the device does not answer, the copies make the unit.
#[test]
fn the_kernel_copies_stand_in_for_a_device_that_cannot_be_asked() {
    let mut host = FakeHost::default();
    let fake = Fake::disk(1, 1, Some(1));
    let no_permission = with_copies(device("2:0:0:0"), &fake);
    let mut dead = Fake::disk(1, 2, Some(2));
    let copies = dead.clone();
    dead.first.push_back(Err(TransportError::Failed {
        host: HostStatus::NO_CONNECT,
        driver: DriverStatus::OK,
        duration: Duration::ZERO,
    }));
    let dead = with_copies(host.add("3:0:0:0", dead), &copies);
    let mut offline = with_copies(host.add("4:0:0:0", copies.clone()), &copies);
    offline.state = Some(DeviceState::TransportOffline);
    let inventory = run(host, vec![no_permission, dead, offline]);

    assert_eq!(inventory.units.len(), 1);
    let unit = &inventory.units[0];
    assert_eq!(unit.paths.len(), 3);
    for path in &unit.paths {
        assert_eq!(path.source, Source::Sysfs);
        assert_eq!(path.alua.map(|alua| alua.tpgs()), Ok(Tpgs::Both));
        assert_eq!(path.serial.as_deref(), Some("SN01"));
    }
    let text: Vec<String> = inventory.problems.iter().map(ToString::to_string).collect();
    assert!(text[0].contains("run as root"), "{text:?}");
    assert!(text[1].contains("INQUIRY: the transport failed: DID_NO_CONNECT"), "{text:?}");
    assert!(text[2].contains("its state is transport-offline"), "{text:?}");
    // The offline device was not asked at all.
    assert_eq!(inventory.commands, 1);
}

#[test]
fn a_device_that_fails_does_not_stop_the_rest() {
    let mut host = FakeHost::default();
    let mut hostile = Fake::disk(1, 1, Some(1));
    hostile.inquiry = vec![0, 0];
    let mut placeholder = Fake::disk(2, 1, Some(1));
    placeholder.inquiry[0] = 0x7f;
    let devices = vec![
        host.add("2:0:0:0", hostile),
        host.add("2:0:0:1", placeholder),
        device("2:0:0:2"),
        host.add("2:0:0:3", Fake::disk(4, 1, Some(1))),
    ];
    let inventory = run(host, devices);
    assert_eq!(inventory.units.len(), 1);
    let troubles: Vec<&Trouble> = inventory.problems.iter().map(|p| &p.trouble).collect();
    assert!(
        matches!(
            troubles[..],
            [
                Trouble::Failed { step: Step::Inquiry, error: StepError::Malformed(_) },
                Trouble::NoUnit { qualifier: 3 },
                Trouble::Open(_),
            ]
        ),
        "{troubles:?}"
    );
}

#[test]
fn r9_unit_attentions_and_busy_are_waited_out_and_no_more() {
    let mut host = FakeHost::default();
    let mut nervous = Fake::disk(1, 1, Some(1));
    nervous.first.extend([
        Ok(check(SenseKey::UnitAttention, 0x29, 0)),
        Ok(Reply::new(Status::Busy, 0, 0)),
        Ok(check(SenseKey::UnitAttention, 0x2a, 6)),
    ]);
    let mut endless = Fake::disk(2, 1, Some(1));
    endless.first.extend((0..100).map(|_| Ok(check(SenseKey::UnitAttention, 0x29, 0))));
    let devices = vec![host.add("2:0:0:0", nervous), host.add("2:0:0:1", endless)];
    let inventory = run(host, devices);
    assert_eq!(inventory.units.len(), 1);
    assert_eq!(inventory.units[0].paths[0].device.hctl.to_string(), "2:0:0:0");
    assert_eq!(inventory.commands, (3 + 4) + 6);
    let text = inventory.problems[0].to_string();
    assert!(text.contains("INQUIRY: CHECK CONDITION, "), "{text}");
    assert!(text.contains("29h/00h"), "{text}");
}

#[test]
fn a05_a06_pages_that_are_missing_or_useless_leave_a_disk_without_alua() {
    let mut host = FakeHost::default();
    let mut unlisted = Fake::disk(1, 1, Some(1));
    unlisted.pages.insert(0x00, vec![0, 0, 0, 1, 0]);
    let no_group = Fake::disk(2, 1, None);
    let mut malformed = Fake::disk(3, 1, Some(1));
    malformed.pages.insert(0x83, vec![0, 0x83, 0, 5, 1, 3, 0, 200, 0]);
    let mut two_groups = Fake::disk(4, 1, Some(1));
    let page = two_groups.pages.get_mut(&0x83).unwrap();
    page.extend([1, 0x15, 0, 4, 0, 0, 0, 9]);
    page[3] += 8;
    let devices = vec![
        host.add("2:0:0:0", unlisted),
        host.add("2:0:0:1", no_group),
        host.add("2:0:0:2", malformed),
        host.add("2:0:0:3", two_groups),
    ];
    let sent = Arc::clone(&host.sent);
    let inventory = run(host, devices);
    let alua: Vec<_> = inventory.units.iter().map(|unit| unit.alua()).collect();
    assert_eq!(
        alua,
        [
            Err(AluaOff::NoIdentification),
            Err(AluaOff::NoGroup),
            Err(AluaOff::NoIdentification),
            Err(AluaOff::NoIdentification),
        ]
    );
    let findings = |index: usize| &inventory.units[index].paths[0].findings;
    let not_listed = Finding::NotRead { step: Step::Identification, error: StepError::NotListed };
    assert!(findings(0).contains(&not_listed), "{:?}", findings(0));
    assert!(findings(2)[0].to_string().contains("claims 200 bytes"), "{:?}", findings(2));
    assert!(findings(3)[0].to_string().contains("two target port groups: 1 and 9"));
    // The unlisted pages were not asked for: two commands for that device, four for the others.
    assert_eq!(sent.lock().unwrap().len(), 2 + 3 * 4);
}

#[test]
fn a02_tpgs_zero_with_a_group_in_page_83h_is_told_apart() {
    let mut host = FakeHost::default();
    let mut plain = Fake::disk(1, 1, None);
    plain.inquiry = inquiry(Tpgs::None);
    let mut odd = Fake::disk(2, 1, Some(7));
    odd.inquiry = inquiry(Tpgs::None);
    let devices = vec![host.add("2:0:0:0", plain), host.add("2:0:0:1", odd)];
    let inventory = run(host, devices);
    assert_eq!(inventory.units[0].alua(), Err(AluaOff::NotSupported));
    assert_eq!(inventory.units[1].alua(), Err(AluaOff::GroupWithoutTpgs { group: 7 }));
}

#[test]
fn a_long_page_is_read_again_in_full_and_no_further() {
    let mut host = FakeHost::default();
    let mut long = Fake::disk(1, 1, Some(1));
    let page = long.pages.get_mut(&0x83).unwrap();
    // A T10 vendor designator of 250 bytes behind the others.
    page.extend([2, 1, 0, 250]);
    page.extend([b'x'; 250]);
    let length = u16::try_from(page.len() - 4).unwrap();
    page[2..4].copy_from_slice(&length.to_be_bytes());
    let whole = page.clone();
    // A page that claims more than it has, every time.
    let mut liar = Fake::disk(2, 1, Some(1));
    liar.pages.get_mut(&0x83).unwrap()[2] = 0xff;
    let devices = vec![host.add("2:0:0:0", long), host.add("2:0:0:1", liar)];
    let inventory = run(host, devices);
    assert_eq!(inventory.units[0].paths[0].page_83h, whole);
    assert_eq!(inventory.units[0].paths[0].identity.group, Some(1));
    assert_eq!(inventory.commands, 5 + 5);
    let liar = &inventory.units[1].paths[0];
    assert!(
        matches!(
            liar.findings[..],
            [Finding::NotRead { step: Step::Identification, error: StepError::Malformed(_) }]
        ),
        "{:?}",
        liar.findings
    );
}

#[test]
fn read_capacity_is_sent_only_where_sysfs_has_no_size() {
    let mut host = FakeHost::default();
    let mut no_block = host.add("2:0:0:0", Fake::disk(1, 1, Some(1)));
    no_block.block = None;
    let mut old = Fake::disk(2, 1, Some(1));
    old.no_capacity_16 = true;
    let mut zero = host.add("2:0:0:1", old);
    zero.block.as_mut().unwrap().size = Some(0);
    let known = host.add("2:0:0:2", Fake::disk(3, 1, Some(1)));
    let inventory = run(host, vec![no_block, zero, known]);
    for unit in &inventory.units {
        let capacity = unit.capacity().unwrap();
        assert_eq!((capacity.blocks, capacity.block_length), (2048, 512));
    }
    assert_eq!(inventory.commands, 5 + 6 + 4);
}

#[test]
fn n18_paths_that_do_not_fit_together_are_reported() {
    let mut host = FakeHost::default();
    let mut other = Fake::disk(1, 2, Some(2));
    other.pages.insert(0x80, vec![0, 0x80, 0, 2, b'X', b'Y']);
    other.inquiry = inquiry(Tpgs::Implicit);
    let first = host.add("2:0:0:0", Fake::disk(1, 1, Some(1)));
    let mut second = host.add("3:0:0:0", other);
    second.block.as_mut().unwrap().size = Some(512);
    let inventory = run(host, vec![first, second]);
    let findings = &inventory.units[0].findings;
    assert!(
        matches!(
            findings[..],
            [
                UnitFinding::SizesDiffer { .. },
                UnitFinding::TpgsDiffer { .. },
                UnitFinding::SerialsDiffer { .. }
            ]
        ),
        "{findings:?}"
    );
    assert_eq!(
        findings[0].to_string(),
        "the size is 1048576 bytes on 2:0:0:0 and 512 bytes on 3:0:0:0"
    );
}

#[test]
fn a_device_that_hangs_costs_the_limit_and_not_more() {
    let mut host = FakeHost::default();
    let mut devices = Vec::new();
    for lun in 0..8 {
        let mut fake = Fake::disk(lun, 1, Some(1));
        if lun == 3 {
            fake.delay = Duration::from_secs(5);
        }
        devices.push(host.add(&format!("2:0:0:{lun}"), fake));
    }
    let options = Options { limit: Duration::from_millis(300), threads: 2, ..Options::default() };
    let start = Instant::now();
    let inventory = discover(devices, Arc::new(host), &options);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(inventory.units.len(), 7);
    assert_eq!(inventory.problems.len(), 1);
    assert_eq!(inventory.problems[0].trouble, Trouble::Late);
    assert_eq!(inventory.problems[0].hctl.to_string(), "2:0:0:3");
}

#[test]
fn a_silent_device_costs_one_timeout() {
    let mut host = FakeHost::default();
    let mut fake = Fake::disk(1, 1, Some(1));
    let timeout =
        || Err(TransportError::TimedOut { limit_ms: 10_000, duration: Duration::from_secs(10) });
    let good = fake.inquiry.clone();
    fake.first.push_back(timeout());
    fake.first.push_back(timeout());
    let mut device = host.add("2:0:0:0", fake);
    device.inquiry = Some(good);
    let inventory = run(host, vec![device]);
    assert_eq!(inventory.commands, 1);
    assert_eq!(inventory.units.len(), 1);
    assert!(inventory.problems[0].to_string().contains("no answer within 10000 ms"));
}

#[test]
fn no_devices_give_an_empty_inventory() {
    assert_eq!(run(FakeHost::default(), Vec::new()), Inventory::default());
}

/// What a target sends never makes discovery panic or run on.
#[test]
fn any_byte_of_any_answer_may_be_wrong() {
    for page in [0x00, 0x80, 0x83, 0xff] {
        for at in 0..40 {
            for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut host = FakeHost::default();
                let mut fake = Fake::disk(1, 1, Some(1));
                let bytes = match page {
                    0xff => &mut fake.inquiry,
                    page => fake.pages.get_mut(&page).unwrap(),
                };
                let Some(place) = bytes.get_mut(at) else { continue };
                *place = byte;
                let device = host.add("2:0:0:0", fake);
                let inventory = run(host, vec![device]);
                assert!(inventory.commands <= 8, "page {page:#x} byte {at} = {byte:#x}");
                assert_eq!(inventory.units.len() + inventory.problems.len(), 1);
            }
        }
    }
}
