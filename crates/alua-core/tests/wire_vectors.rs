//! Bytes written by hand from the standards' tables, against the parsers and the encoders.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::spc::cdb::{Cdb, ReportFormat, opcode};
use alua_core::spc::inquiry::{
    StandardInquiry, SupportedPages, TYPE_DISK, UnitSerial, VpdPage, VpdWriter,
};
use alua_core::spc::luns::{Lun, LunWriter, ReportLuns};
use alua_core::spc::target_port_groups::{
    GroupFields, Report, ReportWriter, StatusCode, StpgDescriptor, StpgList, encode_stpg,
};
use alua_core::spc::{Rule, WireError};

/// Two groups of one port each, as LIO answers with the length-only header.
const LENGTH_ONLY: [u8; 28] = [
    0, 0, 0, 24, // return data length
    0x80, 0xdf, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1, // preferred, optimized, group 1, port 1
    0x01, 0xdf, 0, 2, 0, 1, 0, 1, 0, 0, 0, 2, // non-optimized, group 2, port 2
];

/// One transitioning group of two ports behind the extended header, 60 s.
const EXTENDED: [u8; 24] = [
    0, 0, 0, 20, // return data length
    0x10, 60, 0, 0, // extended header
    0x0f, 0x8f, 0x12, 0x34, 0, 2, 0x5a, 2, 0, 0, 0x01, 0x00, 0, 0, 0xff, 0xff,
];

#[test]
fn b18_length_only_report() {
    let report = Report::parse(&LENGTH_ONLY).unwrap();
    assert_eq!(report.format(), ReportFormat::LengthOnly);
    assert_eq!(report.implicit_transition_secs(), None);
    let groups: Vec<_> = report.groups().collect();
    let [first, second] = groups.as_slice() else { panic!("two groups: {groups:?}") };
    assert_eq!(
        first.fields(),
        GroupFields {
            preferred: true,
            state: AccessState::ActiveOptimized,
            supported: SupportedStates::from_bits(0xdf),
            id: 1,
            status: StatusCode::Implicit,
            vendor: 0,
        }
    );
    assert_eq!(first.ports.clone().collect::<Vec<_>>(), [1]);
    assert_eq!(second.state, AccessState::ActiveNonOptimized);
    assert_eq!((second.preferred, second.id, second.status), (false, 2, StatusCode::ByStpg));
}

#[test]
fn b17_b19_extended_report_is_known_by_its_own_byte_4() {
    let report = Report::parse(&EXTENDED).unwrap();
    assert_eq!(report.format(), ReportFormat::Extended);
    assert_eq!(report.implicit_transition_secs(), Some(60));
    let group = report.groups().next().unwrap();
    assert_eq!(group.state, AccessState::Transitioning);
    assert_eq!((group.id, group.vendor), (0x1234, 0x5a));
    assert_eq!(group.ports.len(), 2);
    assert_eq!(group.ports.collect::<Vec<_>>(), [0x0100, 0xffff]);
}

#[test]
fn b20_extended_report_with_time_zero_gives_no_time() {
    let mut data = EXTENDED;
    data[5] = 0;
    let report = Report::parse(&data).unwrap();
    assert_eq!(report.format(), ReportFormat::Extended);
    assert_eq!(report.implicit_transition_secs(), None);
}

#[test]
fn b17_reserved_response_formats_are_read_as_length_only() {
    for format in [0x00, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        let mut data = LENGTH_ONLY;
        data[4] |= format;
        let report = Report::parse(&data).unwrap();
        assert_eq!(report.format(), ReportFormat::LengthOnly, "format bits {format:02X}h");
        assert_eq!(report.groups().count(), 2);
    }
}

/// As LIO of Linux 6.12 sends it: the RETURN DATA LENGTH leaves out the four bytes that the extended
/// header has more, and so does the transfer.
#[test]
fn b17_extended_report_that_does_not_count_its_header_is_read() {
    let data = [
        0x00, 0x00, 0x00, 0x18, 0x10, 0x00, 0x00, 0x00, // header
        0x02, 0xcf, 0x00, 0x01, 0x00, 0x02, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, // group 1
        0x01, 0xcf, 0x00, 0x02, 0x00, 0x02, 0x00, 0x01, // group 2, port 2 is not there
    ];
    let report = Report::parse(&data).unwrap();
    assert!(report.header_not_counted());
    let groups: Vec<_> = report.groups().map(|group| (group.id, group.state)).collect();
    assert_eq!(groups, [(1, AccessState::Standby), (2, AccessState::ActiveNonOptimized)]);
    let ports: Vec<Vec<u16>> = report.groups().map(|group| group.ports.collect()).collect();
    assert_eq!(ports, [vec![1], vec![]]);

    // A last group without ports lacks its second half.
    let data = [0, 0, 0, 8, 0x10, 60, 0, 0, 0x80, 0xdf, 0x00, 0x07];
    let report = Report::parse(&data).unwrap();
    assert!(report.header_not_counted());
    let group = report.groups().next().unwrap();
    assert_eq!((group.id, group.preferred, group.ports.len()), (7, true, 0));
}

#[test]
fn b17_no_other_number_of_missing_bytes_is_let_pass() {
    let whole = [0, 0, 0, 20, 0x10, 0, 0, 0, 0x00, 0xcf, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    for missing in 0..16 {
        let mut data = whole[..whole.len() - missing].to_vec();
        data[3] -= u8::try_from(missing).unwrap();
        let parsed = Report::parse(&data);
        match missing {
            0 => assert!(!parsed.unwrap().header_not_counted()),
            4 => assert!(parsed.unwrap().header_not_counted()),
            // One descriptor of half its length, its port count cut off: the same departure.
            12 => assert!(parsed.unwrap().header_not_counted()),
            _ => assert!(parsed.is_err(), "{missing} bytes are missing"),
        }
    }
    // The length-only header is counted in full: nothing can be missing.
    let data = [0, 0, 0, 8, 0x00, 0xcf, 0, 1, 0, 0, 0, 1];
    assert!(Report::parse(&data).is_err());
}

#[test]
fn b17_extended_header_cut_short() {
    for length in 1..4_u8 {
        let data = [0, 0, 0, length, 0x10, 0, 0, 0];
        let error = Report::parse(&data).unwrap_err();
        assert_eq!((error.field, error.offset), ("extended header", 4));
    }
    let empty = Report::parse(&[0, 0, 0, 4, 0x10, 5, 0, 0]).unwrap();
    assert_eq!((empty.groups().count(), empty.implicit_transition_secs()), (0, Some(5)));
}

#[test]
fn x14_pref_never_gets_into_the_state() {
    for bits in 0..=0xff_u8 {
        let mut data = EXTENDED;
        data[8] = bits;
        let group = Report::parse(&data).unwrap().groups().next().unwrap();
        assert_eq!(group.preferred, bits & 0x80 != 0, "{bits:02X}h");
        assert_eq!(group.state, AccessState::from_bits(bits & 0x0f), "{bits:02X}h");
    }
}

#[test]
fn b15_needed_length_counts_the_header_and_never_wraps() {
    assert_eq!(Report::needed_length(&LENGTH_ONLY), Ok(28));
    assert_eq!(Report::needed_length(&[0, 1, 0, 0]), Ok(0x1_0004));
    assert_eq!(Report::needed_length(&[0xff, 0xff, 0xff, 0xfb]), Ok(u32::MAX));
    for lie in 0xfffffffc..=u32::MAX {
        let error = Report::needed_length(&lie.to_be_bytes()).unwrap_err();
        assert_eq!(error.rule, Rule::Value { found: lie, expected: "at most FFFFFFFBh" });
    }
    assert!(Report::needed_length(&[0, 0, 0]).is_err());
}

#[test]
fn b15_return_data_length_past_the_data_is_refused() {
    let mut data = LENGTH_ONLY;
    data[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let rule = Rule::Overrun { claimed: 0xffff_ffff, available: 24 };
    assert_eq!(Report::parse(&data), Err(WireError::new("return data length", 0, rule)));
}

#[test]
fn b22_each_descriptor_steps_by_its_port_count() {
    let mut buffer = [0; 2048];
    let mut writer = ReportWriter::new(&mut buffer, ReportFormat::LengthOnly, 0);
    for (id, ports) in [(1, 0), (2, 1), (3, 255), (4, 7)] {
        writer.push(&group(id), 0..ports).unwrap();
    }
    let length = writer.finish().unwrap();
    assert_eq!(length, 4 + 4 * 8 + (1 + 255 + 7) * 4);
    let report = Report::parse(&buffer[..length]).unwrap();
    let seen: Vec<_> = report.groups().map(|group| (group.id, group.ports.len())).collect();
    assert_eq!(seen, [(1, 0), (2, 1), (3, 255), (4, 7)]);
}

#[test]
fn b23_trailing_bytes_that_are_no_descriptor_are_refused() {
    for extra in 1..8_u8 {
        let mut data = LENGTH_ONLY.to_vec();
        data.extend(std::iter::repeat_n(0, extra.into()));
        data[3] += extra;
        let error = Report::parse(&data).unwrap_err();
        let rule = Rule::Truncated { need: 8, have: extra.into() };
        assert_eq!(error, WireError::new("target port group descriptor", 28, rule));
    }
}

#[test]
fn reg_20_port_count_past_the_last_descriptor_is_refused() {
    let mut data = LENGTH_ONLY;
    data[4 + 12 + 7] = 2;
    let rule = Rule::Overrun { claimed: 8, available: 4 };
    assert_eq!(Report::parse(&data), Err(WireError::new("target port count", 23, rule)));
}

#[test]
fn b34_short_transfer_is_refused_though_the_buffer_is_longer() {
    // A residual: the target said 28 bytes and transferred 20. Only those are given, whatever
    // stands in the rest of the buffer.
    let error = Report::parse(&LENGTH_ONLY[..20]).unwrap_err();
    assert_eq!(error.rule, Rule::Overrun { claimed: 24, available: 16 });
}

#[test]
fn data_behind_the_return_data_length_is_not_read() {
    let mut data = LENGTH_ONLY.to_vec();
    data.extend([0xff; 100]);
    assert_eq!(Report::parse(&data).unwrap().groups().count(), 2);
}

#[test]
fn reg_31_group_without_ports_is_accepted() {
    let data = [0, 0, 0, 8, 0x00, 0x01, 0, 0, 0, 0, 0, 0];
    let group = Report::parse(&data).unwrap().groups().next().unwrap();
    assert_eq!((group.id, group.ports.len()), (0, 0));
}

#[test]
fn report_writer_writes_the_vectors() {
    for vector in [&LENGTH_ONLY[..], &EXTENDED[..]] {
        let report = Report::parse(vector).unwrap();
        let mut buffer = [0xaa; 64];
        let secs = report.implicit_transition_secs().unwrap_or(0);
        let mut writer = ReportWriter::new(&mut buffer, report.format(), secs);
        for group in report.groups() {
            writer.push(&group.fields(), group.ports).unwrap();
        }
        let length = writer.finish().unwrap();
        assert_eq!(&buffer[..length], vector);
    }
}

#[test]
fn report_cut_at_the_allocation_length_still_tells_its_length() {
    for room in 0..LENGTH_ONLY.len() {
        let mut buffer = vec![0xaa; room];
        let mut writer = ReportWriter::new(&mut buffer, ReportFormat::LengthOnly, 0);
        for group in Report::parse(&LENGTH_ONLY).unwrap().groups() {
            writer.push(&group.fields(), group.ports).unwrap();
        }
        let written = writer.finish_truncated().unwrap();
        assert_eq!((written.total, written.stored), (28, room));
        assert!(written.is_truncated());
        assert_eq!(buffer, LENGTH_ONLY[..room]);
    }
}

#[test]
fn more_than_255_ports_are_refused_and_leave_no_trace() {
    let mut buffer = [0; 4096];
    let mut writer = ReportWriter::new(&mut buffer, ReportFormat::LengthOnly, 0);
    writer.push(&group(1), [1]).unwrap();
    assert!(writer.push(&group(2), 0..256).is_err());
    writer.push(&group(3), [3]).unwrap();
    let length = writer.finish().unwrap();
    let report = Report::parse(&buffer[..length]).unwrap();
    let seen: Vec<_> = report.groups().map(|group| group.id).collect();
    assert_eq!(seen, [1, 3]);
}

#[test]
fn stpg_list_both_ways() {
    let vector = [0, 0, 0, 0, 0x00, 0, 0x00, 0x01, 0x02, 0, 0xab, 0xcd];
    let descriptors = [
        StpgDescriptor { state: AccessState::ActiveOptimized, id: 1 },
        StpgDescriptor { state: AccessState::Standby, id: 0xabcd },
    ];
    let mut buffer = [0xaa; 12];
    assert_eq!(encode_stpg(&descriptors, &mut buffer), Ok(12));
    assert_eq!(buffer, vector);
    let list = StpgList::parse(&vector).unwrap();
    assert_eq!(list.iter().len(), 2);
    assert!(list.iter().eq(descriptors));
    let error = encode_stpg(&descriptors, &mut buffer[..11]).unwrap_err();
    assert_eq!(error.rule, Rule::NoRoom { need: 12, have: 11 });
    for cut in [1, 2, 3, 5, 6, 7, 9, 10, 11] {
        assert!(StpgList::parse(&vector[..cut]).is_err(), "{cut} bytes");
    }
}

#[test]
fn cdb_vectors() {
    let vectors: [(Cdb, &[u8]); 9] = [
        (Cdb::TestUnitReady, &[0; 6]),
        (Cdb::Inquiry { page: None, allocation_length: 36 }, &[0x12, 0, 0, 0, 36, 0]),
        (Cdb::Inquiry { page: Some(0x83), allocation_length: 0x1fc }, &[0x12, 1, 0x83, 1, 0xfc, 0]),
        (
            Cdb::RequestSense { descriptor_format: true, allocation_length: 252 },
            &[3, 1, 0, 0, 252, 0],
        ),
        (
            Cdb::ReportLuns { select_report: 2, allocation_length: 0x0102_0304 },
            &[0xa0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 0, 0],
        ),
        (
            Cdb::ReportTargetPortGroups { format: ReportFormat::Extended, allocation_length: 128 },
            &[0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0],
        ),
        (
            Cdb::ReportTargetPortGroups { format: ReportFormat::LengthOnly, allocation_length: 1 },
            &[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        ),
        (
            Cdb::SetTargetPortGroups { parameter_list_length: 8 },
            &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0],
        ),
        (
            Cdb::ReportReferrals {
                lba: 0x1122_3344_5566_7788,
                allocation_length: 512,
                one_segment: true,
            },
            &[0x9e, 0x13, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 2, 0, 1, 0],
        ),
    ];
    for (cdb, bytes) in vectors {
        assert_eq!(cdb.encode().as_bytes(), bytes, "{cdb:?}");
        assert_eq!(Cdb::decode(bytes), Ok(cdb));
        assert_eq!(Cdb::decode(cdb.encode().padded()), Ok(cdb));
        assert_eq!(opcode::cdb_length(bytes[0]), Some(bytes.len()));
        for cut in 0..bytes.len() {
            assert!(Cdb::decode(&bytes[..cut]).is_err(), "{cdb:?} cut to {cut}");
        }
    }
}

#[test]
fn cdb_errors_point_at_the_field() {
    let cases: [(&[u8], usize); 7] = [
        (&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 0), // READ (10) is not of this type
        (&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1), // another service action
        (&[0xa3, 0x4a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1), // parameter data format 2
        (&[0xa4, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1),
        (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1), // READ CAPACITY (16)
        (&[0x12, 0x00, 0x83, 0, 36, 0], 2),                           // a page code without EVPD
        (&[0x12, 0x02, 0x00, 0, 36, 0], 1),                           // CMDDT
    ];
    for (cdb, offset) in cases {
        let error = Cdb::decode(cdb).unwrap_err();
        assert!(matches!(error.rule, Rule::Value { .. }), "{error}");
        assert_eq!(error.offset, offset, "{error}");
    }
}

#[test]
fn standard_inquiry_vector() {
    let mut data = *b"\x00\x00\x06\x12\x1f\x39\x10\x02LIO-ORG alua demo       4.0 ";
    let inquiry = StandardInquiry::parse(&data).unwrap();
    assert_eq!((inquiry.peripheral_qualifier, inquiry.device_type), (0, TYPE_DISK));
    assert_eq!((inquiry.version, inquiry.response_data_format), (6, 2));
    assert_eq!(inquiry.tpgs, Tpgs::Both);
    assert!(inquiry.third_party_copy && inquiry.protect && inquiry.hierarchical_luns);
    assert!(inquiry.multi_port && inquiry.cmd_queue);
    assert_eq!(inquiry.vendor_str().to_string(), "LIO-ORG");
    assert_eq!(inquiry.product_str().to_string(), "alua demo");
    assert_eq!(inquiry.revision_str().to_string(), "4.0");
    let mut out = [0; 36];
    assert_eq!(inquiry.emit(&mut out), Ok(36));
    assert_eq!(out, data);
    assert!(inquiry.emit(&mut out[..35]).is_err());
    data[9] = 0x1b;
    assert_eq!(StandardInquiry::parse(&data).unwrap().vendor_str().to_string(), "L.O-ORG");
    data[4] = 30;
    let error = StandardInquiry::parse(&data).unwrap_err();
    assert_eq!((error.field, error.offset), ("additional length", 4));
}

#[test]
fn a02_a03_tpgs_is_bits_5_and_4_of_byte_5() {
    let disk = StandardInquiry::disk(Tpgs::None, "V", "P", "R");
    let mut data = [0; 36];
    disk.emit(&mut data).unwrap();
    for bits in 0..=0xff_u8 {
        data[5] = bits;
        let tpgs = StandardInquiry::parse(&data).unwrap().tpgs;
        assert_eq!(
            tpgs,
            [Tpgs::None, Tpgs::Implicit, Tpgs::Explicit, Tpgs::Both][usize::from(bits >> 4 & 3)]
        );
    }
}

#[test]
fn vpd_pages_both_ways() {
    let mut buffer = [0; 16];
    let mut writer = VpdWriter::new(&mut buffer, TYPE_DISK, 0x00);
    writer.put(&[0x00, 0x80, 0x83]);
    assert_eq!(writer.finish(), Ok(7));
    assert_eq!(&buffer[..7], [0, 0, 0, 3, 0x00, 0x80, 0x83]);
    let pages = SupportedPages::new(&buffer[..7]).unwrap();
    assert_eq!(pages.iter().collect::<Vec<_>>(), [0x00, 0x80, 0x83]);
    assert!(pages.contains(0x83) && !pages.contains(0xb3));
    assert_eq!(VpdPage::needed_length(&buffer), Ok(7));

    let serial = b"\x00\x80\x00\x08  42\n7\0 ";
    assert_eq!(UnitSerial::new(serial).unwrap().serial().to_string(), "  42.7");
    let error = SupportedPages::new(serial).unwrap_err();
    assert_eq!((error.field, error.offset), ("page code", 1));
    for cut in 0..serial.len() {
        assert!(UnitSerial::new(&serial[..cut]).is_err(), "{cut} bytes");
    }
}

#[test]
fn luns_both_ways() {
    let mut buffer = [0; 40];
    let luns = [0, 1, 255, 256].map(|number| Lun::simple(number).unwrap());
    assert_eq!(luns[3].0, [0x41, 0, 0, 0, 0, 0, 0, 0]);
    let mut writer = LunWriter::new(&mut buffer);
    for lun in luns {
        writer.push(lun);
    }
    assert_eq!(writer.finish(), Ok(40));
    assert_eq!(&buffer[..8], [0, 0, 0, 32, 0, 0, 0, 0]);
    assert!(ReportLuns::parse(&buffer).unwrap().iter().eq(luns));
    assert_eq!(ReportLuns::needed_length(&buffer), Ok(40));
    for cut in 0..buffer.len() {
        assert!(ReportLuns::parse(&buffer[..cut]).is_err(), "{cut} bytes");
    }
    buffer[3] = 31;
    let error = ReportLuns::parse(&buffer).unwrap_err();
    assert_eq!(error.rule, Rule::Value { found: 31, expected: "a multiple of 8" });
}

#[test]
fn luns_as_linux_shows_them() {
    assert_eq!(Lun::simple(3).unwrap().linux(), 3);
    assert_eq!(Lun::simple(256).unwrap().linux(), 0x4100);
    assert_eq!(Lun::REPORT_LUNS.linux(), 49409);
    assert!(Lun::REPORT_LUNS.is_well_known());
    assert_eq!(Lun([0x00, 0x01, 0x00, 0x02, 0, 0, 0, 0]).linux(), 0x0002_0001);
    assert_eq!(Lun::REPORT_LUNS.as_simple(), None);
    for number in 0..0x4000 {
        let lun = Lun::simple(number).unwrap();
        assert_eq!(lun.as_simple(), Some(number));
        assert_eq!(Lun::from_linux(lun.linux()), lun);
    }
    assert_eq!(Lun::simple(0x4000), None);
}

fn group(id: u16) -> GroupFields {
    GroupFields {
        preferred: false,
        state: AccessState::ActiveOptimized,
        supported: SupportedStates::from_bits(0x0f),
        id,
        status: StatusCode::None,
        vendor: 0,
    }
}
