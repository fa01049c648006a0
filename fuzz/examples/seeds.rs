//! Writes the seed corpus: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.
//!
//! Each seed is what some kind of target sends, or one lie in it (`invalid-...`). The files are
//! part of the tree, and alua-core's test `wire_corpus` replays them; run this after a seed was
//! added here.

use std::path::Path;
use std::{fs, io, iter};

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::spc::WireError;
use alua_core::spc::cdb::{Cdb, ReportFormat};
use alua_core::spc::designator::{
    Association, CodeSet, Designator, DesignatorKind, DesignatorWriter, id_payload,
};
use alua_core::spc::inquiry::StandardInquiry;
use alua_core::spc::luns::{Lun, LunWriter};
use alua_core::spc::referrals::{ReferralWriter, SegmentLayout};
use alua_core::spc::sense::{FieldPointer, Sense, SenseKey};
use alua_core::spc::target_port_groups::{
    GroupFields, ReportWriter, StatusCode, StpgDescriptor, encode_stpg,
};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets = [
        ("cdb", cdb()),
        ("inquiry", inquiry()),
        ("luns", luns()),
        ("page83", page83()),
        ("referrals", referrals()),
        ("rtpg", rtpg()),
        ("sense", sense()),
        ("stpg", stpg()),
    ];
    for (target, seeds) in targets {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (name, data) in seeds {
            fs::write(folder.join(name).with_extension("bin"), data)?;
        }
    }
    Ok(())
}

type Seeds = Vec<(&'static str, Vec<u8>)>;
type Groups<'a> = &'a [(AccessState, u16)];

/// What `encode` writes.
fn bytes(encode: impl FnOnce(&mut [u8]) -> Result<usize, WireError>) -> Vec<u8> {
    let mut buffer = vec![0; 0x1_0000];
    let length = encode(&mut buffer).expect("a seed is well-formed and short");
    buffer.truncate(length);
    buffer
}

/// `data` with the bytes at `at` replaced: one lie.
fn with(data: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data[at..at + bytes.len()].copy_from_slice(bytes);
    data
}

/// `data` without its last bytes.
fn cut(data: &[u8], bytes: usize) -> Vec<u8> {
    data[..data.len() - bytes].to_vec()
}

fn cdb() -> Seeds {
    let encode = |cdb: Cdb| cdb.encode().as_bytes().to_vec();
    let (short, extended) = (ReportFormat::LengthOnly, ReportFormat::Extended);
    let rtpg = |format| Cdb::ReportTargetPortGroups { format, allocation_length: 128 };
    let referrals =
        Cdb::ReportReferrals { lba: 1 << 40, allocation_length: 512, one_segment: true };
    vec![
        ("test-unit-ready", encode(Cdb::TestUnitReady)),
        ("inquiry", encode(Cdb::Inquiry { page: None, allocation_length: 36 })),
        ("inquiry-page83", encode(Cdb::Inquiry { page: Some(0x83), allocation_length: 252 })),
        (
            "request-sense",
            encode(Cdb::RequestSense { descriptor_format: true, allocation_length: 252 }),
        ),
        ("report-luns", encode(Cdb::ReportLuns { select_report: 2, allocation_length: 4096 })),
        ("rtpg-length-only", encode(rtpg(short))),
        ("rtpg-extended", encode(rtpg(extended))),
        ("rtpg-padded", rtpg(extended).encode().padded().to_vec()),
        ("stpg", encode(Cdb::SetTargetPortGroups { parameter_list_length: 8 })),
        ("report-referrals", encode(referrals)),
        ("invalid-rtpg-short", cut(&encode(rtpg(short)), 2)),
        ("invalid-rtpg-format", with(&encode(rtpg(short)), 1, &[0x4a])),
        ("invalid-service-action", with(&encode(rtpg(short)), 1, &[0x0c])),
        ("invalid-page-without-evpd", vec![0x12, 0, 0x83, 0, 36, 0]),
        ("invalid-read-10", vec![0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
    ]
}

fn inquiry() -> Seeds {
    let emit = |inquiry: StandardInquiry| bytes(|buffer| inquiry.emit(buffer));
    let disk = StandardInquiry::disk(Tpgs::Both, "ALUA", "Model Array", "1.0");
    let odd = StandardInquiry { peripheral_qualifier: 1, device_type: 0x0d, ..disk };
    let mut long = with(&emit(disk), 4, &[91]);
    long.resize(96, 0);
    let unprintable = StandardInquiry { product: [0x1b; 16], ..disk };
    vec![
        ("disk-both", emit(disk)),
        ("disk-none", emit(StandardInquiry { tpgs: Tpgs::None, ..disk })),
        ("disk-96-bytes", long),
        ("enclosure-not-connected", emit(odd)),
        ("unprintable", emit(unprintable)),
        ("page00", vec![0, 0x00, 0, 4, 0x00, 0x80, 0x83, 0xb3]),
        ("page80", b"\x00\x80\x00\x0c  SERIAL-42 ".to_vec()),
        ("pageb3", bytes(|buffer| SegmentLayout { size: 4096, multiplier: 2 }.emit(buffer))),
        ("invalid-short", cut(&emit(disk), 1)),
        ("invalid-additional-length", with(&emit(disk), 4, &[30])),
        ("invalid-page80-overrun", b"\x00\x80\x00\x0cSHORT".to_vec()),
    ]
}

fn luns() -> Seeds {
    let list = |luns: &[Lun]| {
        bytes(|buffer| {
            let mut writer = LunWriter::new(buffer);
            luns.iter().for_each(|lun| writer.push(*lun));
            writer.finish()
        })
    };
    let simple = |number| Lun::simple(number).expect("a small number");
    let three = list(&[simple(0), simple(255), simple(256)]);
    vec![
        ("one", list(&[simple(0)])),
        ("three", three.clone()),
        ("well-known", list(&[Lun::REPORT_LUNS])),
        ("two-levels", list(&[Lun([0, 1, 0, 2, 0, 0, 0, 0])])),
        ("none", list(&[])),
        ("trailing-data", [&three[..], &[0xff; 16]].concat()),
        ("invalid-not-a-multiple", with(&three, 3, &[23])),
        ("invalid-overrun", with(&three, 0, &[0xff; 4])),
    ]
}

const NAA6: [u8; 16] =
    [0x60, 1, 0x40, 0x5a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12];
const UUID: [u8; 18] =
    [0x10, 0, 0x6b, 0xa7, 0xb8, 16, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0, 0xc0, 79, 0xd4, 48, 200];

fn page83() -> Seeds {
    let page = |designators: &[Designator<'_>]| {
        bytes(|buffer| {
            let mut writer = DesignatorWriter::new(buffer, 0);
            for designator in designators {
                writer.push(designator)?;
            }
            writer.finish()
        })
    };
    let unit = |kind, code_set, payload| Designator { kind, code_set, ..Designator::naa(payload) };
    let t10 = unit(DesignatorKind::T10Vendor, CodeSet::Ascii, b"LIO-ORG disk-1");
    let name = b"iqn.2003-01.org.linux-iscsi.array:disk-1,L,0x6001405\0\0\0\0";
    let name = unit(DesignatorKind::ScsiName, CodeSet::Utf8, name);
    let (one, two) = (id_payload(1), id_payload(2));
    let iscsi = |designator| Designator { protocol: Some(5), ..designator };
    let lio = page(&[
        Designator::naa(&NAA6),
        t10,
        iscsi(Designator::port(&one)),
        iscsi(Designator::group(&two)),
        name,
        Designator { association: Association::TargetDevice, ..iscsi(name) },
    ]);
    let eui = |length| unit(DesignatorKind::Eui64, CodeSet::Binary, &NAA6[..length]);
    let short = Designator { payload: &one[..3], ..Designator::group(&one) };
    let vendor = unit(DesignatorKind::VendorSpecific, CodeSet::Reserved(0), &[]);
    let reserved = unit(DesignatorKind::Reserved(0xf), CodeSet::Reserved(0xf), &[1, 2, 3]);
    vec![
        ("lio", lio.clone()),
        ("naa5", page(&[Designator::naa(&[0x50, 1, 0x40, 0x50, 0, 0, 0, 1])])),
        ("eui-8-12-16", page(&[eui(8), eui(12), eui(16)])),
        ("uuid", page(&[unit(DesignatorKind::Uuid, CodeSet::Binary, &UUID)])),
        ("no-designator", page(&[])),
        ("no-group", page(&[Designator::naa(&NAA6), Designator::port(&one)])),
        ("no-name", page(&[Designator::port(&one), Designator::group(&two)])),
        ("group-short", page(&[Designator::naa(&NAA6), short])),
        ("groups-disagree", page(&[Designator::group(&one), Designator::group(&two)])),
        ("naa-of-a-wrong-length", page(&[Designator::naa(&NAA6[..8])])),
        ("reserved-values", page(&[vendor, reserved])),
        ("invalid-designator-overrun", with(&lio, 7, &[0xff])),
        ("invalid-page-length", with(&lio, 2, &[0xff, 0xff])),
        ("invalid-cut", cut(&lio, 1)),
        ("invalid-other-page", with(&lio, 1, &[0x80])),
    ]
}

fn rtpg() -> Seeds {
    let group = |id, state, preferred| GroupFields {
        preferred,
        state,
        supported: SupportedStates::from_bits(0xdf),
        id,
        status: StatusCode::Implicit,
        vendor: 0,
    };
    let report = |format, secs, groups: &[(GroupFields, u16)]| {
        bytes(|buffer| {
            let mut writer = ReportWriter::new(buffer, format, secs);
            for (group, ports) in groups {
                writer.push(group, group.id * 16..group.id * 16 + ports)?;
            }
            writer.finish()
        })
    };
    use AccessState::{ActiveNonOptimized, ActiveOptimized, Transitioning, Unavailable};
    let (short, extended) = (ReportFormat::LengthOnly, ReportFormat::Extended);
    let two = [(group(1, ActiveOptimized, true), 2), (group(2, ActiveNonOptimized, false), 2)];
    let switch = [(group(1, Unavailable, false), 4), (group(2, Transitioning, true), 4)];
    let states = (0..16).map(|bits| (group(bits.into(), AccessState::from_bits(bits), false), 1));
    let states: Vec<_> = states.collect();
    let plain = report(short, 0, &two);
    vec![
        ("length-only", plain.clone()),
        ("extended-60-s", report(extended, 60, &two)),
        ("extended-no-time", report(extended, 0, &two)),
        ("controller-switch", report(extended, 255, &switch)),
        ("every-state", report(short, 0, &states)),
        ("empty-group", report(short, 0, &[(group(0, ActiveOptimized, false), 0)])),
        ("255-ports", report(short, 0, &[(group(0, ActiveOptimized, false), 255)])),
        ("no-group", report(short, 0, &[])),
        ("no-group-extended", report(extended, 1, &[])),
        ("reserved-format", with(&plain, 4, &[0x20])),
        ("trailing-data", [&plain[..], &[0xff; 9]].concat()),
        ("invalid-length-of-4-gib", with(&plain, 0, &[0xff; 4])),
        ("invalid-cut", cut(&plain, 1)),
        ("invalid-port-count", with(&plain, 11, &[0xff])),
        ("invalid-half-a-descriptor", with(&plain, 3, &[20])),
        ("invalid-extended-header", vec![0, 0, 0, 3, 0x10, 0, 0]),
    ]
}

fn sense() -> Seeds {
    use SenseKey::{AbortedCommand, IllegalRequest, MediumError, NotReady, UnitAttention};
    let fixed = |sense: Sense| bytes(|buffer| sense.emit_fixed(buffer));
    let descriptor = |sense: Sense| bytes(|buffer| sense.emit_descriptor(buffer));
    let transition = Sense::new(NotReady, 0x04, 0x0a);
    let progress = Sense { progress: Some(0x4000), ..transition };
    let pointer = FieldPointer { in_cdb: true, byte: 1, bit: Some(7) };
    let refused = Sense { field_pointer: Some(pointer), ..Sense::new(IllegalRequest, 0x24, 0) };
    let lost = Sense { unit_attention_overflow: true, ..Sense::new(UnitAttention, 0x29, 0) };
    let lba = Sense { information: Some(1 << 40), ..Sense::new(MediumError, 0x11, 0) };
    let changed = Sense::new(UnitAttention, 0x2a, 0x06);
    let mut padded = fixed(transition);
    padded.resize(96, 0);
    let referral = bytes(|buffer| {
        let mut writer = ReferralWriter::sense(buffer, true);
        writer.push(0, 99, [(AccessState::ActiveOptimized, 1)])?;
        writer.finish()
    });
    let refer = Sense::new(AbortedCommand, 0x3f, 0x15);
    let referral = bytes(|buffer| refer.emit_descriptor_with(&referral, buffer));
    vec![
        ("fixed-transition", fixed(transition)),
        ("fixed-padded-to-96", padded),
        ("fixed-progress", fixed(progress)),
        ("fixed-field-pointer", fixed(refused)),
        ("fixed-deferred", fixed(Sense { deferred: true, ..changed })),
        ("fixed-cut-after-the-key", fixed(changed)[..3].to_vec()),
        ("descriptor-transition", descriptor(progress)),
        ("descriptor-changed", descriptor(changed)),
        ("descriptor-overflow", descriptor(lost)),
        ("descriptor-lba", descriptor(lba)),
        ("descriptor-referral", referral.clone()),
        ("descriptor-referral-lies", with(&referral, 15, &[9])),
        ("descriptor-cut", cut(&descriptor(lba), 3)),
        ("invalid-response-code", with(&fixed(changed), 0, &[0x7f])),
        ("invalid-no-key", vec![0x70, 0]),
    ]
}

fn stpg() -> Seeds {
    let list = |descriptors: &[StpgDescriptor]| bytes(|buffer| encode_stpg(descriptors, buffer));
    let one = StpgDescriptor { state: AccessState::ActiveOptimized, id: 1 };
    let two = StpgDescriptor { state: AccessState::Standby, id: 2 };
    let port = StpgDescriptor { state: AccessState::Offline, id: 0x0101 };
    let reserved = StpgDescriptor { state: AccessState::Reserved(9), id: 0xffff };
    let many: Vec<_> = iter::repeat_n(two, 64).collect();
    vec![
        ("one", list(&[one])),
        ("switch", list(&[one, two])),
        ("port-offline", list(&[port])),
        ("reserved-state", list(&[reserved])),
        ("same-group-often", list(&many)),
        ("header-only", list(&[])),
        ("invalid-half-a-descriptor", cut(&list(&[one, two]), 2)),
        ("invalid-no-header", vec![0, 0, 0]),
    ]
}

fn referrals() -> Seeds {
    let report = |segments: &[(u64, u64, Groups<'_>)]| {
        bytes(|buffer| {
            let mut writer = ReferralWriter::report(buffer);
            for (first, last, groups) in segments {
                writer.push(*first, *last, groups.iter().copied())?;
            }
            writer.finish()
        })
    };
    let one = (AccessState::ActiveOptimized, 1);
    let two = (AccessState::ActiveNonOptimized, 2);
    let both = report(&[(0, 99, &[one, two]), (100, 199, &[two])]);
    vec![
        ("one", report(&[(0, u64::MAX, &[one])])),
        ("two", both.clone()),
        ("no-group", report(&[(0, 99, &[])])),
        ("last-before-first", report(&[(99, 0, &[one])])),
        ("none", report(&[])),
        ("invalid-group-count", with(&both, 7, &[0xff])),
        ("invalid-length", with(&both, 2, &[0xff, 0xff])),
        ("invalid-cut", cut(&both, 1)),
    ]
}
