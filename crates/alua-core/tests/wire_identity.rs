//! Page 83h, the names and ports in it, and what TPGS makes of a path: rows A01 to A09 and A13.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alua_core::access::Tpgs;
use alua_core::identity::{Identity, IdentityError, NameKind, UnitName};
use alua_core::spc::designator::{
    Association, CodeSet, Designator, DesignatorKind, DesignatorWriter, DeviceIdentification,
    id_payload,
};
use alua_core::spc::{Rule, WireError};
use alua_core::tpgs::{AluaOff, evaluate, evaluate_path};

const NAA6: [u8; 16] = [
    0x60, 0x01, 0x40, 0x5a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12,
];
const NAA5: [u8; 8] = [0x50, 0x01, 0x40, 0x50, 0, 0, 0, 1];
const NAA3: [u8; 8] = [0x30, 0, 0, 0, 0, 0, 0, 1];
const NAA2: [u8; 8] = [0x20, 0, 0, 0xc5, 0, 0, 0, 1];
const EUI: [u8; 16] = [0, 0x25, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
const UUID: [u8; 18] = [
    0x10, 0, 0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0, 0xc0, 0x4f, 0xd4, 0x30,
    0xc8,
];

/// A page as LIO's, by hand: T10 vendor, NAA 6, relative port 3, group 16.
#[rustfmt::skip]
const PAGE: [u8; 56] = [
    0x00, 0x83, 0x00, 52,
    0x02, 0x01, 0, 12, b'L', b'I', b'O', b'-', b'O', b'R', b'G', b' ', b'd', b'i', b's', b'k',
    0x01, 0x03, 0, 16, 0x60, 0x01, 0x40, 0x5a, 0xbc, 0xde, 0xf0, 0x12,
                       0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12,
    0x51, 0x94, 0, 4, 0, 0, 0, 3,
    0x51, 0x95, 0, 4, 0, 0, 0, 16,
];

#[test]
fn page_as_a_target_sends_it() {
    let page = DeviceIdentification::new(&PAGE).unwrap();
    let designators: Vec<_> = page.iter().collect();
    let [t10, naa, port, group] = designators.as_slice() else { panic!("{designators:?}") };
    assert_eq!((t10.kind, t10.code_set), (DesignatorKind::T10Vendor, CodeSet::Ascii));
    assert_eq!((t10.association, t10.protocol), (Association::LogicalUnit, None));
    assert_eq!((naa.kind, naa.payload), (DesignatorKind::Naa, &NAA6[..]));
    assert_eq!((port.association, port.protocol), (Association::TargetPort, Some(5)));
    assert_eq!(port.relative_target_port(), Some(Ok(3)));
    assert_eq!(port.target_port_group(), None);
    assert_eq!(group.target_port_group(), Some(Ok(16)));

    let identity = Identity::from_page(&page).unwrap();
    assert_eq!(identity.group, Some(16));
    assert_eq!(identity.relative_port, Some(3));
    assert_eq!(identity.name.unwrap().to_string(), "naa.6001405abcdef0123456789abcdef012");

    let mut buffer = [0xaa; 56];
    let mut writer = DesignatorWriter::new(&mut buffer, 0);
    for designator in designators {
        writer.push(&designator).unwrap();
    }
    assert_eq!(writer.finish(), Ok(56));
    assert_eq!(buffer, PAGE);
}

#[test]
fn a01_only_disks_take_part() {
    for device_type in 0..=0x1f {
        let answer = evaluate(device_type, Tpgs::Both);
        if device_type == 0 {
            assert_eq!(answer.unwrap().tpgs(), Tpgs::Both);
        } else {
            assert_eq!(answer, Err(AluaOff::NotDisk { device_type }));
        }
    }
    assert_eq!(evaluate(0x20, Tpgs::Implicit).unwrap().tpgs(), Tpgs::Implicit, "low five bits");
    let error = evaluate_path(0x0d, Tpgs::Both, Some(&identity(1))).unwrap_err();
    assert_eq!(error.to_string(), "not a disk: peripheral device type is 0Dh");
}

#[test]
fn a02_tpgs_zero_is_not_supported() {
    assert_eq!(evaluate(0, Tpgs::None), Err(AluaOff::NotSupported));
    assert_eq!(evaluate_path(0, Tpgs::None, None), Err(AluaOff::NotSupported));
    let plain = Identity::default();
    assert_eq!(evaluate_path(0, Tpgs::None, Some(&plain)), Err(AluaOff::NotSupported));
}

#[test]
fn a02_group_named_although_tpgs_is_zero_has_its_own_cause() {
    let off = evaluate_path(0, Tpgs::None, Some(&identity(9))).unwrap_err();
    assert_eq!(off, AluaOff::GroupWithoutTpgs { group: 9 });
    assert!(off.to_string().contains("target port group 9"), "{off}");
}

#[test]
fn a03_modes_are_kept() {
    for tpgs in [Tpgs::Implicit, Tpgs::Explicit, Tpgs::Both] {
        assert_eq!(evaluate(0, tpgs).unwrap().tpgs(), tpgs);
        let (managed, group) = evaluate_path(0, tpgs, Some(&identity(7))).unwrap();
        assert_eq!((managed.tpgs(), group), (tpgs, 7));
    }
}

#[test]
fn a04_no_other_tpgs_value_exists() {
    for bits in 0..=0xff {
        assert_eq!(Tpgs::from_bits(bits).bits(), bits & 3);
    }
}

#[test]
fn a05_page_83h_not_read() {
    assert_eq!(evaluate_path(0, Tpgs::Implicit, None), Err(AluaOff::NoIdentification));
}

#[test]
fn a06_no_target_port_group_designator() {
    let page = page(&[Designator::naa(&NAA6), Designator::port(&id_payload(1))]);
    let identity = read(&page).unwrap();
    assert_eq!((identity.group, identity.relative_port), (None, Some(1)));
    assert_eq!(evaluate_path(0, Tpgs::Both, Some(&identity)), Err(AluaOff::NoGroup));
}

#[test]
fn a07_designators_that_disagree_are_refused_with_both_values() {
    let groups = page(&[Designator::group(&id_payload(1)), Designator::group(&id_payload(2))]);
    let error = read(&groups).unwrap_err();
    assert_eq!(error, IdentityError::Groups { first: 1, second: 2 });
    assert!(error.to_string().ends_with("two target port groups: 1 and 2"), "{error}");
    let ports = page(&[Designator::port(&id_payload(7)), Designator::port(&id_payload(0x107))]);
    let error = read(&ports).unwrap_err();
    assert_eq!(error, IdentityError::RelativePorts { first: 7, second: 0x107 });
}

#[test]
fn a07_equal_duplicates_are_fine() {
    let (group, port) = (id_payload(1), id_payload(2));
    let twice = [Designator::group(&group), Designator::port(&port)];
    let identity = read(&page(&[twice, twice].concat())).unwrap();
    assert_eq!((identity.group, identity.relative_port), (Some(1), Some(2)));
}

#[test]
fn a07_the_association_is_checked() {
    let (right, wrong) = (id_payload(1), id_payload(2));
    for association in [Association::LogicalUnit, Association::TargetDevice, Association::Reserved]
    {
        let elsewhere = |designator: Designator<'static>| Designator { association, ..designator };
        let wrong: &'static [u8; 4] = Box::leak(Box::new(wrong));
        let strangers = [elsewhere(Designator::group(wrong)), elsewhere(Designator::port(wrong))];
        let alone = read(&page(&strangers)).unwrap();
        assert_eq!((alone.group, alone.relative_port), (None, None), "{association:?}");
        let mut all = vec![Designator::group(&right)];
        all.extend(strangers);
        assert_eq!(read(&page(&all)).unwrap().group, Some(1), "{association:?}");
    }
    for association in [Association::TargetPort, Association::TargetDevice, Association::Reserved] {
        let port_name = Designator { association, ..Designator::naa(&NAA6) };
        assert_eq!(read(&page(&[port_name])).unwrap().name, None, "{association:?}");
    }
}

#[test]
fn a08_relative_target_port_may_be_missing() {
    let identity = read(&page(&[Designator::group(&id_payload(5))])).unwrap();
    assert_eq!((identity.group, identity.relative_port), (Some(5), None));
}

#[test]
fn a09_short_port_and_group_designators_are_refused() {
    for length in 0..4 {
        let payload = vec![0xff; length];
        for kind in [DesignatorKind::TargetPortGroup, DesignatorKind::RelativeTargetPort] {
            let short = Designator {
                protocol: None,
                code_set: CodeSet::Binary,
                association: Association::TargetPort,
                kind,
                payload: &payload,
            };
            let IdentityError::Malformed(error) =
                read(&page(&[Designator::naa(&NAA6), short])).unwrap_err()
            else {
                panic!("another error");
            };
            assert_eq!(error.rule, Rule::Truncated { need: 4, have: length });
            assert_eq!(error.offset, 4 + 4 + 16 + 4, "from the start of the page");
        }
    }
}

#[test]
fn a09_reg_21_designator_past_the_page_is_refused() {
    for extra in 1..=251 {
        let mut page = PAGE;
        page[51] += extra;
        let rule = Rule::Overrun { claimed: 4 + usize::from(extra), available: 4 };
        let error = WireError::new("designator length", 51, rule);
        assert_eq!(DeviceIdentification::new(&page), Err(error));
    }
}

#[test]
fn a09_reg_21_designator_header_past_the_page_is_refused() {
    for extra in 1..4 {
        let mut page = PAGE.to_vec();
        page.extend(vec![0; extra]);
        page[3] += u8::try_from(extra).unwrap();
        let error = DeviceIdentification::new(&page).unwrap_err();
        assert_eq!((error.field, error.offset), ("designation descriptor", 56));
    }
}

#[test]
fn a09_page_length_past_the_transferred_data_is_refused() {
    let mut page = PAGE;
    page[2..4].copy_from_slice(&[0xff, 0xff]);
    let rule = Rule::Overrun { claimed: 0xffff, available: 52 };
    assert_eq!(DeviceIdentification::new(&page), Err(WireError::new("page length", 2, rule)));
}

#[test]
fn a13_no_designator_names_the_unit() {
    let vendor =
        Designator { kind: DesignatorKind::VendorSpecific, ..Designator::naa(&[0x60; 16]) };
    let identity = read(&page(&[vendor, Designator::group(&id_payload(1))])).unwrap();
    assert_eq!((identity.name, identity.group), (None, Some(1)));
}

#[test]
fn names_by_preference() {
    // Best first; each beats all that follow, in either order.
    let name = |kind, payload| Designator { kind, ..Designator::naa(payload) };
    let order = [
        name(DesignatorKind::ScsiName, b"iqn.2003-01.org.linux-iscsi:disk,L,0x1"),
        Designator::naa(&NAA6),
        name(DesignatorKind::Eui64, &EUI),
        name(DesignatorKind::Uuid, &UUID),
        name(DesignatorKind::Eui64, &EUI[..12]),
        Designator::naa(&NAA5),
        Designator::naa(&NAA2),
        Designator::naa(&NAA3),
        name(DesignatorKind::Eui64, &EUI[..8]),
        name(DesignatorKind::T10Vendor, b"VENDOR  disk"),
    ];
    for (index, better) in order.iter().enumerate() {
        let expected = UnitName::from_designator(better).unwrap().unwrap();
        for worse in &order[index..] {
            for pair in [[*better, *worse], [*worse, *better]] {
                assert_eq!(read(&page(&pair)).unwrap().name, Some(expected), "{pair:?}");
            }
        }
    }
}

#[test]
fn of_equally_good_names_the_first_counts() {
    let first = Designator::naa(&NAA6);
    let second = Designator::naa(&[0x60; 16]);
    let name = read(&page(&[first, second])).unwrap().name.unwrap();
    assert_eq!(name.as_bytes(), NAA6);
}

#[test]
fn names_as_linux_shows_them() {
    let cases: [(DesignatorKind, &[u8], &str); 9] = [
        (DesignatorKind::Naa, &NAA5, "naa.5001405000000001"),
        (DesignatorKind::Eui64, &EUI[..8], "eui.0025380102030405"),
        (DesignatorKind::Eui64, &EUI[..12], "eui.002538010203040506070809"),
        (DesignatorKind::T10Vendor, b"ATA     disk 1\x01\xff  ", "t10.ATA     disk 1.."),
        (DesignatorKind::ScsiName, b"naa.6001405\0\0\0", "naa.6001405"),
        (
            DesignatorKind::ScsiName,
            "iqn.2003-01.org.ex\u{e4}mple:a\n".as_bytes(),
            "iqn.2003-01.org.ex\u{e4}mple:a.",
        ),
        (DesignatorKind::ScsiName, b"a\xffb", "a.b"),
        (DesignatorKind::Uuid, &UUID, "uuid.6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        (DesignatorKind::Naa, &NAA2, "naa.200000c500000001"),
    ];
    for (kind, payload, shown) in cases {
        let designator = Designator { kind, ..Designator::naa(payload) };
        let name = UnitName::from_designator(&designator).unwrap().unwrap();
        assert_eq!(name.to_string(), shown);
        assert_eq!(format!("{name:?}"), format!("UnitName({shown})"));
    }
}

#[test]
fn padding_does_not_part_two_paths() {
    let of = |payload| {
        let designator = Designator { kind: DesignatorKind::ScsiName, ..Designator::naa(payload) };
        UnitName::from_designator(&designator).map(Result::unwrap)
    };
    assert_eq!(of(b"iqn.a:b\0"), of(b"iqn.a:b\0\0\0\0\0"));
    assert_ne!(of(b"iqn.a:b\0"), of(b"iqn.a:c\0"));
    assert_eq!(of(b"\0\0\0\0"), None, "only padding is no name");
    assert_eq!(of(b""), None);
    let longest = [b'x'; 255];
    let name = of(&longest).unwrap();
    assert_eq!((name.as_bytes(), name.kind()), (&longest[..], NameKind::ScsiName));
}

#[test]
fn names_of_a_length_that_their_format_has_not_are_refused() {
    let cases: [(DesignatorKind, &[u8]); 9] = [
        (DesignatorKind::Naa, &NAA6[..8]),
        (DesignatorKind::Naa, &NAA6[..15]),
        (DesignatorKind::Naa, &NAA5[..7]),
        (DesignatorKind::Naa, &[0x50; 16]),
        (DesignatorKind::Naa, &[0x70; 16]),
        (DesignatorKind::Eui64, &EUI[..9]),
        (DesignatorKind::Eui64, &[1; 17]),
        (DesignatorKind::Uuid, &UUID[..17]),
        (DesignatorKind::Uuid, &[0x20; 18]),
    ];
    for (kind, payload) in cases {
        let designator = Designator { kind, ..Designator::naa(payload) };
        let alone = read(&page(&[designator])).unwrap();
        assert_eq!(alone.name, None, "{designator:?}");
        assert_eq!(alone.odd_name.map(|error| error.offset), Some(8), "{designator:?}");

        let beside = read(&page(&[designator, Designator::naa(&NAA6)])).unwrap();
        let whole = read(&page(&[Designator::naa(&NAA6)])).unwrap();
        assert_eq!(beside.name, whole.name, "an odd name costs no other");
        assert!(beside.odd_name.is_some() && whole.odd_name.is_none());
    }
}

#[test]
fn designator_longer_than_its_length_field_cannot_be_written() {
    let mut buffer = [0; 600];
    let mut writer = DesignatorWriter::new(&mut buffer, 0);
    assert!(writer.push(&Designator::naa(&[0x60; 256])).is_err());
    writer.push(&Designator::naa(&NAA6)).unwrap();
    assert_eq!(writer.finish(), Ok(24));
    let mut writer = DesignatorWriter::new(&mut buffer[..10], 0);
    writer.push(&Designator::naa(&NAA6)).unwrap();
    let written = writer.finish_truncated().unwrap();
    assert_eq!((written.total, written.stored), (24, 10));
    assert_eq!(buffer[..4], [0, 0x83, 0, 20]);
}

fn page(designators: &[Designator<'_>]) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let mut writer = DesignatorWriter::new(&mut buffer, 0);
    for designator in designators {
        writer.push(designator).unwrap();
    }
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

fn read(page: &[u8]) -> Result<Identity, IdentityError> {
    Identity::from_page(&DeviceIdentification::new(page).unwrap())
}

fn identity(group: u16) -> Identity {
    Identity { group: Some(group), ..Identity::default() }
}
