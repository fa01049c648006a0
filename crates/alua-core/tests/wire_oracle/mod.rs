//! What must hold for every byte string that is given to a parser, whoever made it: the fuzz
//! targets, the property tests and the replay of the corpus all call these functions.
//!
//! Each parses; where that succeeds it walks everything, shows what can be shown, encodes it again
//! and parses the result, which must be the same. Bytes that SPC reserves may differ; what was
//! read from them may not.

// Public for the fuzz crate, which includes this file.
#![allow(unreachable_pub)]

use alua_core::identity::Identity;
use alua_core::spc::cdb::Cdb;
use alua_core::spc::designator::{Designator, DesignatorWriter, DeviceIdentification};
use alua_core::spc::inquiry::{StandardInquiry, SupportedPages, UnitSerial, VpdPage};
use alua_core::spc::luns::{Lun, LunWriter, ReportLuns};
use alua_core::spc::referrals::{
    ReferralSense, ReferralWriter, ReportReferrals, SegmentLayout, Segments,
};
use alua_core::spc::sense::{Sense, SenseFormat, descriptors, referrals as sense_referrals};
use alua_core::spc::target_port_groups::{
    Report, ReportWriter, StpgDescriptor, StpgList, encode_stpg,
};
use alua_core::spc::{WireError, Written};

/// A check that takes any bytes, and panics where the wire layer is wrong. It tells whether the
/// bytes were accepted.
pub type Check = fn(&[u8]) -> bool;

/// The checks by the name of their fuzz target.
pub const CHECKS: [(&str, Check); 8] = [
    ("cdb", cdb),
    ("inquiry", inquiry),
    ("luns", luns),
    ("page83", page83),
    ("referrals", referrals),
    ("rtpg", rtpg),
    ("sense", sense),
    ("stpg", stpg),
];

/// REPORT TARGET PORT GROUPS parameter data.
pub fn rtpg(data: &[u8]) -> bool {
    let Some(report) = show_error(Report::parse(data)) else { return false };
    let needed = Report::needed_length(data).unwrap();
    let encode = |buffer: &mut [u8]| {
        let secs = report.implicit_transition_secs().unwrap_or(0);
        let mut writer = ReportWriter::new(buffer, report.format(), secs);
        for group in report.groups() {
            assert_eq!(group.ports.len(), group.ports.clone().count());
            let shown = format!("{} {}", group.state, group.supported);
            assert!(!shown.is_empty());
            writer.push(&group.fields(), group.ports).unwrap();
        }
        writer.finish_truncated().unwrap()
    };
    // Where the header was not counted, the encoding may have the four bytes that the data lacks.
    let whole = encode_whole_and_cut(encode, data.len() + 4);
    assert!(whole.len() == needed as usize || report.header_not_counted());
    let again = Report::parse(&whole).unwrap();
    assert_eq!(again.format(), report.format());
    assert_eq!(again.implicit_transition_secs(), report.implicit_transition_secs());
    assert!(again.groups().eq(report.groups()));
    true
}

/// VPD page 83h and what is made of it.
pub fn page83(data: &[u8]) -> bool {
    let Some(page) = show_error(DeviceIdentification::new(data)) else { return false };
    let peripheral = page.page().peripheral_qualifier() << 5 | page.page().device_type();
    let encode = |buffer: &mut [u8]| {
        let mut writer = DesignatorWriter::new(buffer, peripheral);
        for designator in &page {
            writer.push(&designator).unwrap();
        }
        writer.finish_truncated().unwrap()
    };
    let whole = encode_whole_and_cut(encode, data.len());
    assert_eq!(Ok(whole.len()), VpdPage::needed_length(data).map(|length| length as usize));
    let again = DeviceIdentification::new(&whole).unwrap();
    assert!(again.iter().eq(page.iter()));
    let identity = Identity::from_page(&page);
    assert_eq!(Identity::from_page(&again), identity);
    match identity {
        Ok(identity) => check_identity(&identity, &page),
        Err(error) => assert!(error.to_string().starts_with("VPD page 83h")),
    }
    true
}

fn check_identity(identity: &Identity, page: &DeviceIdentification<'_>) {
    if let Some(name) = identity.name {
        let shown = name.to_string();
        assert!(!shown.is_empty() && !shown.chars().any(char::is_control), "{shown:?}");
        let found = |payload: &[u8]| payload.starts_with(name.as_bytes());
        assert!(page.iter().any(|designator| found(designator.payload)));
    }
    let mut ids = page.iter().filter_map(|designator| designator.target_port_group());
    assert!(identity.group.is_none_or(|group| ids.any(|id| id == Ok(group))));
    let mut ids =
        page.iter().filter_map(|designator| Designator::relative_target_port(&designator));
    assert!(identity.relative_port.is_none_or(|port| ids.any(|id| id == Ok(port))));
}

/// Sense data, with the referrals in it.
pub fn sense(data: &[u8]) -> bool {
    for descriptor in descriptors(data) {
        show_error(descriptor);
    }
    if let Some(Some(found)) = sense_referrals(data).map(show_error) {
        check_referral_sense(found);
    }
    let Some(sense) = show_error(Sense::parse(data)) else { return false };
    assert!(sense.to_string().starts_with(sense.key.name()));
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        let mut expected = Sense { format, ..sense };
        if format == SenseFormat::Fixed && expected.information > Some(u32::MAX.into()) {
            expected.information = None;
        }
        let mut buffer = [0; Sense::DESCRIPTOR_LENGTH];
        let length = expected.emit(&mut buffer).unwrap();
        assert_eq!(Sense::parse(&buffer[..length]), Ok(expected));
    }
    true
}

fn check_referral_sense(found: ReferralSense<'_>) {
    let mut buffer = [0; 512];
    let mut writer = ReferralWriter::sense(&mut buffer, found.is_partial());
    push_segments(&mut writer, found.segments());
    let length = writer.finish().unwrap();
    let again = ReferralSense::parse(&buffer[2..length]).unwrap();
    assert_eq!(again.is_partial(), found.is_partial());
    assert_segments(again.segments(), found.segments());
}

/// REPORT REFERRALS parameter data.
pub fn referrals(data: &[u8]) -> bool {
    let Some(report) = show_error(ReportReferrals::parse(data)) else { return false };
    let encode = |buffer: &mut [u8]| {
        let mut writer = ReferralWriter::report(buffer);
        push_segments(&mut writer, report.segments());
        writer.finish_truncated().unwrap()
    };
    let whole = encode_whole_and_cut(encode, data.len());
    assert_eq!(Ok(whole.len()), ReportReferrals::needed_length(data).map(|length| length as usize));
    let again = ReportReferrals::parse(&whole).unwrap();
    assert_segments(again.segments(), report.segments());
    true
}

fn push_segments(writer: &mut ReferralWriter<'_>, segments: Segments<'_>) {
    for segment in segments {
        writer.push(segment.first_lba, segment.last_lba, segment.groups).unwrap();
    }
}

fn assert_segments(left: Segments<'_>, right: Segments<'_>) {
    assert_eq!(left.clone().count(), right.clone().count());
    for (left, right) in left.zip(right) {
        assert_eq!((left.first_lba, left.last_lba), (right.first_lba, right.last_lba));
        let layout = SegmentLayout { size: 1 << 12, multiplier: 3 };
        assert_eq!(left.contains(left.first_lba, layout), left.first_lba <= left.last_lba);
        assert_eq!(left.groups.len(), right.groups.len());
        assert!(left.groups.eq(right.groups));
    }
}

/// Standard INQUIRY data and the VPD pages 00h, 80h and B3h.
pub fn inquiry(data: &[u8]) -> bool {
    let pages = SupportedPages::new(data);
    if let Ok(pages) = pages {
        assert!(pages.iter().all(|code| pages.contains(code)));
    }
    let serial = UnitSerial::new(data);
    if let Ok(serial) = serial {
        let shown = serial.serial().to_string();
        assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown:?}");
    }
    let layout = SegmentLayout::parse(data);
    if let Ok(layout) = layout {
        let mut buffer = [0; SegmentLayout::LENGTH];
        assert_eq!(layout.emit(&mut buffer), Ok(buffer.len()));
        assert_eq!(SegmentLayout::parse(&buffer), Ok(layout));
    }
    let Some(inquiry) = show_error(StandardInquiry::parse(data)) else {
        return pages.is_ok() || serial.is_ok() || layout.is_ok();
    };
    let shown =
        format!("{}{}{}", inquiry.vendor_str(), inquiry.product_str(), inquiry.revision_str());
    assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown:?}");
    let mut buffer = [0; StandardInquiry::LENGTH];
    assert_eq!(inquiry.emit(&mut buffer), Ok(buffer.len()));
    assert_eq!(StandardInquiry::parse(&buffer), Ok(inquiry));
    true
}

/// REPORT LUNS parameter data.
pub fn luns(data: &[u8]) -> bool {
    let Some(list) = show_error(ReportLuns::parse(data)) else { return false };
    let encode = |buffer: &mut [u8]| {
        let mut writer = LunWriter::new(buffer);
        for lun in list.iter() {
            assert_eq!(Lun::from_linux(lun.linux()), lun);
            assert_eq!(lun.to_string(), lun.linux().to_string());
            writer.push(lun);
        }
        writer.finish_truncated().unwrap()
    };
    let whole = encode_whole_and_cut(encode, data.len());
    assert_eq!(Ok(whole.len()), ReportLuns::needed_length(data).map(|length| length as usize));
    assert!(ReportLuns::parse(&whole).unwrap().iter().eq(list.iter()));
    true
}

/// The SET TARGET PORT GROUPS parameter list.
pub fn stpg(data: &[u8]) -> bool {
    let Some(list) = show_error(StpgList::parse(data)) else { return false };
    let descriptors: Vec<StpgDescriptor> = list.iter().collect();
    let mut buffer = vec![0xaa; data.len()];
    assert_eq!(encode_stpg(&descriptors, &mut buffer), Ok(data.len()));
    assert!(StpgList::parse(&buffer).unwrap().iter().eq(descriptors));
    true
}

/// A command descriptor block.
pub fn cdb(data: &[u8]) -> bool {
    let Some(cdb) = show_error(Cdb::decode(data)) else { return false };
    let encoded = cdb.encode();
    assert!(encoded.as_bytes().len() <= data.len());
    assert_eq!(Cdb::decode(encoded.as_ref()), Ok(cdb));
    assert_eq!(Cdb::decode(encoded.padded()), Ok(cdb));
    true
}

/// An error can be shown, and names its field.
fn show_error<T>(result: Result<T, WireError>) -> Option<T> {
    result.map_err(|error| assert!(error.to_string().starts_with(error.field))).ok()
}

/// Encodes into a buffer that is large enough and into one that ends half way, which must hold the
/// same bytes as far as it goes.
fn encode_whole_and_cut(encode: impl Fn(&mut [u8]) -> Written, room: usize) -> Vec<u8> {
    let mut whole = vec![0xaa; room];
    let written = encode(&mut whole);
    assert!(!written.is_truncated());
    whole.truncate(written.total);
    let mut half = vec![0xaa; written.total / 2];
    let cut = encode(&mut half);
    assert_eq!((cut.total, cut.stored), (written.total, half.len()));
    assert_eq!(half, whole[..half.len()]);
    whole
}
