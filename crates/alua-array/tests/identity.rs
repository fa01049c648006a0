//! What the array says about itself, read by the driver core's parsers; unit attentions; LUNs.

mod common;

use alua_array::{Array, Command, NexusId, shipped};
use alua_core::identity::Identity;
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::inquiry::StandardInquiry;
use common::*;

fn page(array: &mut Array, nexus: NexusId, lun: u16, page: u8) -> Vec<u8> {
    let outcome = send_to(array, nexus, lun, &[0x12, 1, page, 4, 0, 0], &[], 1024);
    assert!(outcome.is_good(), "{page:02x}: {outcome}");
    let data = outcome.data().to_vec();
    assert_eq!(data[2..4], (data.len() as u16 - 4).to_be_bytes());
    data
}

fn identity(
    array: &mut Array,
    nexus: NexusId,
    lun: u16,
) -> (Option<String>, Option<u16>, Option<u16>) {
    let data = page(array, nexus, lun, 0x83);
    let page = DeviceIdentification::new(&data).unwrap();
    let identity = Identity::from_page(&page).unwrap();
    (identity.name.map(|name| name.to_string()), identity.group, identity.relative_port)
}

#[test]
fn every_page_that_is_listed_is_there_and_no_other() {
    let mut array = shipped::FOUR_GROUPS.build();
    let nexus = array.connect("host", 1).unwrap();
    for lun in 0..3 {
        let listed = page(&mut array, nexus, lun, 0x00)[4..].to_vec();
        assert_eq!(listed.contains(&0xb3), lun == 2);
        for code in 0..=255 {
            let cdb = [0x12, 1, code, 4, 0, 0];
            let outcome = send_to(&mut array, nexus, lun, &cdb, &[], 1024);
            assert_eq!(outcome.is_good(), listed.contains(&code), "{code:02x}");
        }
    }
}

#[test]
fn standard_data_are_those_of_the_file() {
    for (tpgs, bits) in [("none", 0), ("implicit", 1), ("explicit", 2), ("both", 3)] {
        let mut array = array(&format!(
            "[array]\nvendor = \"V\"\nproduct = \"P Q\"\n[alua]\ntpgs = \"{tpgs}\""
        ));
        let nexus = array.connect("host", 1).unwrap();
        let outcome = send(&mut array, nexus, &[0x12, 0, 0, 0, 255, 0], &[], 255);
        let data = StandardInquiry::parse(outcome.data()).unwrap();
        assert_eq!(data.vendor_str().to_string().trim(), "V");
        assert_eq!(data.product_str().to_string().trim(), "P Q");
        assert_eq!((data.tpgs.bits(), data.device_type), (bits, 0));
    }
}

#[test]
fn one_unit_is_one_unit_through_every_port() {
    let mut array = shipped::DEMO.build();
    for lun in 0..4 {
        let mut names = Vec::new();
        for port in [1, 2, 3, 4] {
            let nexus = array.connect("host", port).unwrap();
            let (name, group, relative) = identity(&mut array, nexus, lun);
            assert_eq!((group, relative), (array.group_of(port), Some(port)));
            names.push(name.unwrap());
        }
        names.dedup();
        assert_eq!(names.len(), 1);
        assert!(
            names[0].starts_with("naa.600005e0053") && names[0].ends_with(&lun.to_string()),
            "{names:?}"
        );
    }
}

#[test]
fn designators_can_be_of_every_kind_or_missing() {
    for (given, name) in [
        (
            "naa = \"6001405aabbccddeeff0011223344556\"",
            Some("naa.6001405aabbccddeeff0011223344556"),
        ),
        ("eui = \"0011223344556677\"", Some("eui.0011223344556677")),
        ("scsi_name = \"iqn.2026-03.invalid.x:1\"", Some("iqn.2026-03.invalid.x:1")),
    ] {
        let mut array = array(&format!("[[unit]]\nname = \"x\"\nlun = 9\n{given}"));
        let nexus = array.connect("host", 2).unwrap();
        let seen = identity(&mut array, nexus, 9);
        assert_eq!(seen, (name.map(str::to_owned), Some(2), Some(2)));
    }
    let mut array = shipped::NO_DESIGNATORS.build();
    let nexus = array.connect("host", 1).unwrap();
    assert_eq!(identity(&mut array, nexus, 0), (None, None, Some(1)));
    pass(&mut array, 10_000);
    assert_eq!(identity(&mut array, nexus, 0), (None, Some(1), Some(1)));
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/3f/03");
    pass(&mut array, 10_000);
    assert!(identity(&mut array, nexus, 0).0.is_some());
}

#[test]
fn a_number_can_come_to_lead_elsewhere() {
    let mut array = shipped::SWAPPED.build();
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    let before = identity(&mut array, b, 0).0;
    assert_eq!(before, identity(&mut array, a, 0).0);
    pass(&mut array, 5000);
    assert!(waiting(&array, b).is_empty());
    assert_eq!(identity(&mut array, a, 0).0, before);
    assert_ne!(identity(&mut array, b, 0).0, before);
    pass(&mut array, 5000);
    assert_eq!(array.attentions(a, 1)[0].to_string(), "3f/05");
    assert_eq!(identity(&mut array, a, 1).0.unwrap(), "naa.600005e00530bad00bad00bad00bad00");
    // Loudly: every unit of the port says so, until the inventory is read.
    apply(&mut array, "do = \"unmap\"\nlun = 0\nport = 2");
    let on_b =
        |array: &Array| array.attentions(b, 1).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(on_b(&array), ["3f/05", "3f/0e"]);
    assert!(waiting(&array, a).is_empty());
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 5/25/00");
    let outcome = send(&mut array, b, &[0x12, 0, 0, 0, 36, 0], &[], 36);
    assert_eq!(outcome.data()[0], 0x7f);
    let luns = send(&mut array, b, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0], &[], 64);
    assert_eq!(luns.data(), [0, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(on_b(&array), ["3f/05"]);
}

#[test]
fn report_luns_counts_beyond_the_first_256() {
    let mut array = array("[[unit]]\nname = \"x\"\nlun = 255\ncount = 2");
    let nexus = array.connect("host", 1).unwrap();
    // Also through a number that leads nowhere.
    for lun in [0, 77] {
        let cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        let outcome = send_to(&mut array, nexus, lun, &cdb, &[], 256);
        let luns: Vec<[u8; 2]> =
            outcome.data()[8..].chunks(8).map(|lun| [lun[0], lun[1]]).collect();
        assert_eq!(luns, [[0, 0], [0, 1], [0, 255], [0x41, 0]]);
    }
    assert_eq!(array.luns(1).collect::<Vec<_>>(), [0, 1, 255, 256]);
}

#[test]
fn r9_a_new_nexus_may_find_a_unit_attention_everywhere() {
    let mut array = array("[array]\nconnect_attention = \"29/00\"");
    let nexus = array.connect("host", 1).unwrap();
    // What does not report it.
    for cdb in [&[0x12, 0, 0, 0, 36, 0][..], &[0xa0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0]] {
        assert!(send(&mut array, nexus, cdb, &[], 64).is_good());
    }
    let (outcome, _) = try_report(&mut array, nexus, alua_core::spc::cdb::ReportFormat::Extended);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 6/29/00");
    assert_eq!(report(&mut array, nexus).len(), 2);
    // REQUEST SENSE takes it as data.
    let sense = send_to(&mut array, nexus, 1, &[3, 0, 0, 0, 252, 0], &[], 252);
    let sense = alua_core::spc::sense::Sense::parse(sense.data()).unwrap();
    assert_eq!((sense.asc, sense.ascq), (0x29, 0x00));
    assert!(send_to(&mut array, nexus, 1, &TUR, &[], 0).is_good());
}

#[test]
fn request_sense_tells_the_state_of_the_port() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    for (state, told) in [
        (alua_core::access::AccessState::ActiveNonOptimized, (0, 0)),
        (alua_core::access::AccessState::Standby, (4, 0x0b)),
        (alua_core::access::AccessState::Unavailable, (4, 0x0c)),
        (alua_core::access::AccessState::Transitioning, (4, 0x0a)),
        (alua_core::access::AccessState::Offline, (4, 0x12)),
    ] {
        set_state(&mut array, 1, state);
        for format in [0, 1] {
            let outcome = send(&mut array, nexus, &[3, format, 0, 0, 252, 0], &[], 252);
            let sense = alua_core::spc::sense::Sense::parse(outcome.data()).unwrap();
            assert_eq!((sense.asc, sense.ascq), told, "{state}");
        }
    }
}

#[test]
fn unit_attentions_wait_where_they_are_meant() {
    let mut array = array("");
    let all =
        [("one", 1), ("one", 2), ("two", 1)].map(|(host, port)| array.connect(host, port).unwrap());
    apply(
        &mut array,
        "do = \"unit-attention\"\ninitiator = \"one\"\nport = 1\nunit = \"disk0\"\ncode = \"3f/03\"",
    );
    let counts: Vec<usize> = all
        .iter()
        .flat_map(|&nexus| [0, 1].map(|lun| array.attentions(nexus, lun).len()))
        .collect();
    assert_eq!(counts, [1, 0, 0, 0, 0, 0]);
    // A reset clears it, here and nowhere else.
    apply(&mut array, "do = \"unit-attention\"\ncode = \"29/02\"");
    assert_eq!(waiting(&array, all[0]), ["29/02"]);
}

#[test]
fn supported_operation_codes_are_those_that_are_answered() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    let all = send(&mut array, nexus, &[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], &[], 4096);
    assert_eq!(all.data().len(), 4 + 8 * Command::all().count());
    for descriptor in all.data()[4..].chunks(8) {
        let (opcode, low, action) = (descriptor[0], descriptor[3], descriptor[5] & 1 != 0);
        let how = if action { 2 } else { 1 };
        let cdb = [0xa3, 0x0c, how, opcode, 0, low, 0, 0, 1, 0, 0, 0];
        let one = send(&mut array, nexus, &cdb, &[], 256);
        assert_eq!((one.data()[1], one.data()[4]), (3, opcode));
        assert_eq!(one.data().len(), 4 + usize::from(descriptor[7]));
        // The wrong way to ask.
        let cdb = [0xa3, 0x0c, 3 - how, opcode, 0, low, 0, 0, 1, 0, 0, 0];
        assert_eq!(said(&mut array, nexus, &cdb), "CHECK CONDITION 5/24/00");
    }
    let cdb = [0xa3, 0x0c, 3, 0x16, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(send(&mut array, nexus, &cdb, &[], 256).data(), [0, 1, 0, 0]);
}

#[test]
fn counters_count_by_command_nexus_and_unit() {
    let mut array = array("");
    let (a, b) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
    for (nexus, lun) in [(a, 0), (a, 1), (b, 1), (b, 7)] {
        send_to(&mut array, nexus, lun, &TUR, &[], 0);
    }
    report(&mut array, a);
    let tur = Command::TestUnitReady;
    assert_eq!((array.counters().sent(tur), array.counters().sent_in_all()), (4, 5));
    assert_eq!((array.sent_on(a, tur), array.sent_on(b, tur)), (2, 2));
    assert_eq!((array.sent_to(0, tur), array.sent_to(1, tur)), (1, 2));
    assert_eq!(array.sent_to(0, Command::ReportTargetPortGroups), 1);
    array.reset_counters();
    assert_eq!((array.counters().sent_in_all(), array.sent_on(a, tur)), (0, 0));
}

#[test]
fn a01_other_devices_than_disks_can_be_shown() {
    let mut array = array("[array]\ndevice_type = 13");
    let nexus = array.connect("host", 1).unwrap();
    let outcome = send(&mut array, nexus, &[0x12, 0, 0, 0, 36, 0], &[], 36);
    assert_eq!(outcome.data()[0], 13);
    assert_eq!(page(&mut array, nexus, 0, 0x00)[4..], [0x00, 0x80, 0x83, 0x86]);
}
