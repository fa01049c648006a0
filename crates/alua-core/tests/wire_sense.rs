//! Sense data, fixed and descriptor format, with the referrals in it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alua_core::access::AccessState;
use alua_core::spc::Rule;
use alua_core::spc::referrals::{ReferralWriter, ReportReferrals, SegmentLayout, Segments};
use alua_core::spc::sense::{
    FieldPointer, Sense, SenseFormat, SenseKey, asc_text, descriptors, referrals,
};

/// The fixed format sense data that LIO sends with a state transition.
const TRANSITION: [u8; 18] = [0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x04, 0x0a, 0, 0, 0, 0];

/// Two descriptors in sense data: blocks 0 to 99 by group 1, 100 to 199 by groups 2 and 3.
#[rustfmt::skip]
const REFERRAL_SENSE: [u8; 64] = [
    0x72, 0x0b, 0x3f, 0x15, 0, 0, 0, 56,
    0x0b, 54, 0x01, 0,
    0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0x00, 0, 0, 1,
    0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 199, 0x00, 0, 0, 2, 0x01, 0, 0, 3,
];

#[test]
fn fixed_format() {
    let sense = Sense::parse(&TRANSITION).unwrap();
    assert_eq!(sense, Sense::new(SenseKey::NotReady, 0x04, 0x0a));
    assert_eq!(sense.codes(), (SenseKey::NotReady, 0x04, 0x0a));
    assert_eq!(
        sense.to_string(),
        "NOT READY 04h/0Ah: LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION"
    );
    let mut buffer = [0xaa; 18];
    assert_eq!(sense.emit(&mut buffer), Ok(18));
    assert_eq!(buffer, TRANSITION);
    assert!(sense.emit_fixed(&mut buffer[..17]).is_err());
}

#[test]
fn descriptor_format() {
    let data = [0x72, 0x06, 0x2a, 0x06, 0, 0, 0, 0];
    let sense = Sense::parse(&data).unwrap();
    assert_eq!(sense.codes(), (SenseKey::UnitAttention, 0x2a, 0x06));
    assert_eq!((sense.format, sense.deferred), (SenseFormat::Descriptor, false));
    let mut buffer = [0xaa; 8];
    assert_eq!(sense.emit(&mut buffer), Ok(8));
    assert_eq!(buffer, data);
}

#[test]
fn every_field_survives_both_formats() {
    let mut cases = Vec::new();
    let pointer = FieldPointer { in_cdb: true, byte: 0x0102, bit: Some(7) };
    let other = FieldPointer { in_cdb: false, byte: 6, bit: None };
    for key in SenseKey::ALL {
        cases.push(Sense::new(key, 0x12, 0x34));
        cases.push(Sense { information: Some(0xffff_ffff), ..Sense::new(key, 0, 0) });
        cases.push(Sense { deferred: true, ..Sense::new(key, 0xff, 0xff) });
    }
    for key in [SenseKey::NotReady, SenseKey::NoSense] {
        cases.push(Sense { progress: Some(0x8000), ..Sense::new(key, 4, 0x0a) });
    }
    for pointer in [pointer, other] {
        let base = Sense::new(SenseKey::IllegalRequest, 0x24, 0);
        cases.push(Sense { field_pointer: Some(pointer), ..base });
    }
    let attention = Sense::new(SenseKey::UnitAttention, 0x29, 0);
    cases.push(Sense { unit_attention_overflow: true, ..attention });
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        for case in &cases {
            let sense = Sense { format, ..*case };
            let mut buffer = [0; Sense::DESCRIPTOR_LENGTH];
            let length = sense.emit(&mut buffer).unwrap();
            assert_eq!(Sense::parse(&buffer[..length]), Ok(sense));
            assert!(sense.emit(&mut buffer[..length - 1]).is_err());
        }
    }
}

#[test]
fn information_of_more_than_32_bits_fits_only_the_descriptor_format() {
    let sense = Sense { information: Some(1 << 32), ..Sense::new(SenseKey::MediumError, 0x11, 0) };
    let mut buffer = [0; Sense::DESCRIPTOR_LENGTH];
    sense.emit_fixed(&mut buffer).unwrap();
    assert_eq!(Sense::parse(&buffer).unwrap().information, None);
    let length = sense.emit_descriptor(&mut buffer).unwrap();
    assert_eq!(Sense::parse(&buffer[..length]).unwrap().information, Some(1 << 32));
}

#[test]
fn deferred_and_invalid_response_codes() {
    for (code, format, deferred) in [
        (0x70, SenseFormat::Fixed, false),
        (0x71, SenseFormat::Fixed, true),
        (0x72, SenseFormat::Descriptor, false),
        (0x73, SenseFormat::Descriptor, true),
    ] {
        let sense = Sense::parse(&[code, 6, 6, 6, 0, 0, 0, 0]).unwrap();
        assert_eq!(
            (sense.format, sense.deferred, sense.key),
            (format, deferred, SenseKey::UnitAttention)
        );
        assert_eq!(sense.to_string().ends_with("(deferred)"), deferred);
    }
    for code in (0..=0x7f_u8).filter(|code| !(0x70..=0x73).contains(code)) {
        let mut data = TRANSITION;
        data[0] = code;
        let error = Sense::parse(&data).unwrap_err();
        assert_eq!((error.field, error.offset), ("response code", 0));
    }
}

#[test]
fn what_was_cut_off_reads_as_zero_and_nothing_else_changes() {
    for length in 0..=TRANSITION.len() {
        match Sense::parse(&TRANSITION[..length]) {
            Err(error) => {
                assert!(length < 3, "{length} bytes hold the key: {error}");
                assert!(matches!(error.rule, Rule::Truncated { .. }), "{error}");
            }
            Ok(sense) => {
                let asc = if length > 12 { 0x04 } else { 0 };
                let ascq = if length > 13 { 0x0a } else { 0 };
                assert_eq!(sense.codes(), (SenseKey::NotReady, asc, ascq), "{length} bytes");
            }
        }
    }
}

#[test]
fn additional_sense_length_ends_fixed_sense_data() {
    let mut data = TRANSITION;
    data[7] = 4; // bytes 8 to 11
    assert_eq!(Sense::parse(&data).unwrap().codes(), (SenseKey::NotReady, 0, 0));
    data[7] = 0xff;
    assert_eq!(Sense::parse(&data).unwrap().codes(), (SenseKey::NotReady, 4, 0x0a));
}

#[test]
fn a_malformed_descriptor_costs_no_sense_code() {
    // A key-specific descriptor, then one that reaches past the end.
    let data =
        [0x72, 0x02, 0x04, 0x0a, 0, 0, 0, 12, 0x02, 6, 0, 0, 0x80, 0x12, 0x34, 0, 0x00, 0x0a, 0, 0];
    let sense = Sense::parse(&data).unwrap();
    assert_eq!(sense.codes(), (SenseKey::NotReady, 0x04, 0x0a));
    assert_eq!((sense.progress, sense.information), (Some(0x1234), None));
    let walk: Vec<_> = descriptors(&data).collect();
    let [Ok(first), Err(error)] = walk.as_slice() else { panic!("{walk:?}") };
    assert_eq!((first.kind, first.body.len()), (0x02, 6));
    assert_eq!((error.field, error.offset), ("additional length", 17));
    assert_eq!(error.rule, Rule::Overrun { claimed: 10, available: 2 });
    let walk: Vec<_> = descriptors(&data[..17]).collect();
    assert_eq!(walk[1].unwrap_err().rule, Rule::Truncated { need: 2, have: 1 });
    assert_eq!(descriptors(&TRANSITION).count(), 0, "fixed format has none");
}

#[test]
fn sense_codes_of_alua_have_texts() {
    for (asc, ascq, words) in [
        (0x04, 0x0b, "STANDBY"),
        (0x04, 0x0c, "UNAVAILABLE"),
        (0x04, 0x0d, "STRUCTURE CHECK"),
        (0x04, 0x12, "OFFLINE"),
        (0x2a, 0x01, "MODE PARAMETERS CHANGED"),
        (0x2a, 0x06, "ASYMMETRIC ACCESS STATE CHANGED"),
        (0x2a, 0x07, "TRANSITION FAILED"),
        (0x2a, 0x09, "CAPACITY DATA HAS CHANGED"),
        (0x29, 0x00, "POWER ON"),
        (0x29, 0x01, "POWER ON"),
        (0x29, 0x02, "BUS RESET"),
        (0x29, 0x03, "DEVICE RESET"),
        (0x29, 0x04, "INTERNAL RESET"),
        (0x29, 0x07, "I_T NEXUS LOSS"),
        (0x3f, 0x03, "INQUIRY DATA"),
        (0x3f, 0x05, "DEVICE IDENTIFIER"),
        (0x3f, 0x0e, "REPORTED LUNS"),
        (0x67, 0x0a, "SET TARGET PORT GROUPS COMMAND FAILED"),
        (0x67, 0x0b, "ATA DEVICE FEATURE NOT ENABLED"),
        (0x24, 0x00, "INVALID FIELD IN CDB"),
        (0x20, 0x00, "INVALID COMMAND OPERATION CODE"),
        (0x26, 0x00, "INVALID FIELD IN PARAMETER LIST"),
        (0x25, 0x00, "LOGICAL UNIT NOT SUPPORTED"),
        (0x5d, 0x00, "FAILURE PREDICTION"),
    ] {
        let text = asc_text(asc, ascq).unwrap_or("");
        assert!(text.contains(words), "{asc:02X}h/{ascq:02X}h: {text}");
    }
    assert_eq!(asc_text(0xff, 0xff), None);
    assert_eq!(Sense::new(SenseKey::NotReady, 0x80, 1).to_string(), "NOT READY 80h/01h");
}

#[test]
fn every_key_survives_a_round_trip() {
    for (bits, key) in (0_u8..).zip(SenseKey::ALL) {
        assert_eq!((SenseKey::from_bits(bits), key.bits()), (key, bits));
        assert_eq!(SenseKey::from_bits(bits | 0xf0), key, "upper bits are other fields");
    }
}

#[test]
fn referrals_in_sense_data() {
    let sense = Sense::parse(&REFERRAL_SENSE).unwrap();
    assert_eq!(sense.to_string(), "ABORTED COMMAND 3Fh/15h: INSPECT REFERRALS SENSE DESCRIPTORS");
    let found = referrals(&REFERRAL_SENSE).unwrap().unwrap();
    assert!(found.is_partial());
    check_segments(found.segments());
    assert!(referrals(&TRANSITION).is_none());

    let mut descriptor = [0; 56];
    let mut writer = ReferralWriter::sense(&mut descriptor, true);
    push_segments(&mut writer);
    assert_eq!(writer.finish(), Ok(56));
    let sense = Sense::new(SenseKey::AbortedCommand, 0x3f, 0x15);
    let mut buffer = [0; 64];
    assert_eq!(sense.emit_descriptor_with(&descriptor, &mut buffer), Ok(64));
    assert_eq!(buffer, REFERRAL_SENSE);
    let mut long = [0; 300];
    assert!(sense.emit_descriptor_with(&[0; 245], &mut long).is_err(), "252 bytes at most");
    assert_eq!(sense.emit_descriptor_with(&[0; 244], &mut long), Ok(Sense::MAX_LENGTH));
}

#[test]
fn referrals_that_lie_are_refused() {
    let mut data = REFERRAL_SENSE;
    data[15] = 9; // more groups than there are
    let error = referrals(&data).unwrap().unwrap_err();
    assert_eq!(error.rule, Rule::Overrun { claimed: 36, available: 32 });
    assert_eq!(error.offset, 7);
    for cut in 8..REFERRAL_SENSE.len() {
        assert!(referrals(&REFERRAL_SENSE[..cut]).is_none(), "cut to {cut}: descriptor not whole");
    }
}

#[test]
fn referral_sense_as_sg3_utils_has_it() {
    // One descriptor, byte 3 of the sense data descriptor reserved: the vector of sg3_utils' own
    // test of its decoder has these values.
    let mut data = vec![0x72, 0x01, 0x03, 0x02, 0x80, 0, 0, 28, 0x0b, 26, 0x01, 0x00, 0, 0, 0, 1];
    data.extend(0x0102_0304_0506_0708_u64.to_be_bytes());
    data.extend(0x0102_0304_5506_0708_u64.to_be_bytes());
    data.extend([2, 0, 0x12, 0x34]);
    let found = referrals(&data).unwrap().unwrap();
    let segment = found.segments().next().unwrap();
    assert_eq!(segment.first_lba, 0x0102_0304_0506_0708);
    assert_eq!(segment.last_lba, 0x0102_0304_5506_0708);
    assert!(segment.groups.eq([(AccessState::Standby, 0x1234)]));
    data[11] = 0xff;
    assert!(referrals(&data).unwrap().is_ok(), "reserved bytes are not looked at");
}

#[test]
fn striped_segments_belong_to_their_descriptor_only() {
    // Segments of 10 blocks, every third one: 100 to 109, 130 to 139, 160 to 169.
    let mut buffer = [0; 64];
    let mut writer = ReferralWriter::report(&mut buffer);
    writer.push(100, 169, [(AccessState::ActiveOptimized, 1)]).unwrap();
    let length = writer.finish().unwrap();
    let report = ReportReferrals::parse(&buffer[..length]).unwrap();
    let segment = report.segments().next().unwrap();
    let striped = SegmentLayout { size: 10, multiplier: 3 };
    let inside: Vec<u64> = (0..300).filter(|lba| segment.contains(*lba, striped)).collect();
    let expected: Vec<u64> = (100..110).chain(130..140).chain(160..170).collect();
    assert_eq!(inside, expected);
    for whole in [
        SegmentLayout { size: 10, multiplier: 1 },
        SegmentLayout { size: 10, multiplier: 0 },
        SegmentLayout { size: 0, multiplier: 3 },
    ] {
        let inside = (0..300).filter(|lba| segment.contains(*lba, whole));
        assert!(inside.eq(100..170), "{whole:?}");
    }
    let huge = SegmentLayout { size: u32::MAX, multiplier: u32::MAX };
    assert!(segment.contains(169, huge) && !segment.contains(u64::MAX, huge));
}

#[test]
fn referrals_page_both_ways() {
    let layout = SegmentLayout { size: 0x0001_0000, multiplier: 2 };
    let mut page = [0xaa; SegmentLayout::LENGTH];
    assert_eq!(layout.emit(&mut page), Ok(16));
    assert_eq!(page, [0, 0xb3, 0, 12, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2]);
    assert_eq!(SegmentLayout::parse(&page), Ok(layout));
    for cut in 0..page.len() {
        assert!(SegmentLayout::parse(&page[..cut]).is_err(), "{cut} bytes");
    }
    page[3] = 11;
    assert!(SegmentLayout::parse(&page).is_err(), "too short by its own length");
}

#[test]
fn report_referrals_both_ways() {
    let mut buffer = [0; 56];
    let mut writer = ReferralWriter::report(&mut buffer);
    push_segments(&mut writer);
    assert_eq!(writer.finish(), Ok(56));
    assert_eq!(buffer[..4], [0, 0, 0, 52]);
    assert_eq!(buffer[4..], REFERRAL_SENSE[12..]);
    check_segments(ReportReferrals::parse(&buffer).unwrap().segments());
    assert_eq!(ReportReferrals::needed_length(&buffer), Ok(56));
    for cut in 0..buffer.len() {
        assert!(ReportReferrals::parse(&buffer[..cut]).is_err(), "{cut} bytes");
    }
    let mut short = [0xaa; 10];
    let mut writer = ReferralWriter::report(&mut short);
    push_segments(&mut writer);
    let written = writer.finish_truncated().unwrap();
    assert_eq!((written.total, written.stored), (56, 10));
    assert_eq!(short, buffer[..10]);
}

fn push_segments(writer: &mut ReferralWriter<'_>) {
    writer.push(0, 99, [(AccessState::ActiveOptimized, 1)]).unwrap();
    let both = [(AccessState::ActiveOptimized, 2), (AccessState::ActiveNonOptimized, 3)];
    assert!(writer.push(0, 1, [both[0]; 256]).is_err());
    writer.push(100, 199, both).unwrap();
}

fn check_segments(segments: Segments<'_>) {
    let all: Vec<_> = segments.collect();
    let [first, second] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((first.first_lba, first.last_lba), (0, 99));
    let whole = SegmentLayout::default();
    assert!(first.contains(99, whole) && !first.contains(100, whole));
    assert!(first.groups.clone().eq([(AccessState::ActiveOptimized, 1)]));
    assert_eq!((second.first_lba, second.last_lba), (100, 199));
    assert_eq!(second.groups.len(), 2);
    assert_eq!(second.groups.clone().last(), Some((AccessState::ActiveNonOptimized, 3)));
}
