//! Properties of the wire layer on generated data: what is written is read back the same, cut data
//! is refused, and no byte string does harm.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::spc::WireError;
use alua_core::spc::cdb::{Cdb, ReportFormat};
use alua_core::spc::designator::{
    Association, CodeSet, Designator, DesignatorKind, DesignatorWriter, DeviceIdentification,
};
use alua_core::spc::inquiry::StandardInquiry;
use alua_core::spc::luns::{Lun, LunWriter, ReportLuns};
use alua_core::spc::referrals::{ReferralWriter, ReportReferrals};
use alua_core::spc::sense::{FieldPointer, Sense, SenseFormat, SenseKey};
use alua_core::spc::target_port_groups::{
    GroupFields, Report, ReportWriter, StatusCode, StpgDescriptor, StpgList, encode_stpg,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

mod wire_oracle;

proptest! {
    #[test]
    fn report_survives_a_round_trip(
        format in prop_oneof![Just(ReportFormat::LengthOnly), Just(ReportFormat::Extended)],
        secs: u8,
        groups in groups(),
    ) {
        let data = write_report(format, secs, &groups);
        let report = Report::parse(&data).unwrap();
        prop_assert_eq!(report.format(), format);
        let told = (format == ReportFormat::Extended && secs != 0).then_some(secs);
        prop_assert_eq!(report.implicit_transition_secs(), told);
        let read: Vec<_> =
            report.groups().map(|group| (group.fields(), group.ports.collect::<Vec<_>>())).collect();
        prop_assert_eq!(read, groups);
        prop_assert!(wire_oracle::rtpg(&data));
    }

    #[test]
    fn reg_20_report_cut_anywhere_is_refused(secs: u8, groups in groups()) {
        let data = write_report(ReportFormat::Extended, secs, &groups);
        for length in 0..data.len() {
            prop_assert!(Report::parse(&data[..length]).is_err(), "cut to {} bytes", length);
        }
    }

    #[test]
    fn reg_20_report_shortened_by_its_own_length_ends_between_descriptors_or_is_refused(
        groups in groups(),
    ) {
        // The length field says less than the descriptors need: only the borders between two of
        // them are legal ends.
        let data = write_report(ReportFormat::LengthOnly, 0, &groups);
        let mut ends = vec![0];
        for (_, ports) in &groups {
            ends.push(ends.last().unwrap() + 8 + 4 * ports.len());
        }
        for length in 0..data.len() - 4 {
            let mut data = data.clone();
            data[..4].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            prop_assert_eq!(Report::parse(&data).is_ok(), ends.contains(&length), "{}", length);
        }
    }

    #[test]
    fn page83_survives_a_round_trip(designators in designators()) {
        let data = write_page83(&designators);
        let page = DeviceIdentification::new(&data).unwrap();
        prop_assert!(page.iter().eq(designators.iter().map(OwnedDesignator::borrow)));
        prop_assert!(wire_oracle::page83(&data));
    }

    #[test]
    fn reg_21_page83_cut_anywhere_is_refused(designators in designators()) {
        let data = write_page83(&designators);
        for length in 0..data.len() {
            prop_assert!(DeviceIdentification::new(&data[..length]).is_err(), "{} bytes", length);
        }
    }

    #[test]
    fn reg_21_page83_shortened_by_its_own_length_ends_between_designators_or_is_refused(
        designators in designators(),
    ) {
        let data = write_page83(&designators);
        let mut ends = vec![0];
        for designator in &designators {
            ends.push(ends.last().unwrap() + 4 + designator.payload.len());
        }
        for length in 0..data.len() - 4 {
            let mut data = data.clone();
            data[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            let accepted = DeviceIdentification::new(&data).is_ok();
            prop_assert_eq!(accepted, ends.contains(&length), "{}", length);
        }
    }

    #[test]
    fn sense_survives_a_round_trip(sense in sense()) {
        let mut buffer = [0; Sense::DESCRIPTOR_LENGTH];
        let length = sense.emit(&mut buffer).unwrap();
        prop_assert_eq!(Sense::parse(&buffer[..length]), Ok(sense));
        prop_assert!(wire_oracle::sense(&buffer[..length]));
    }

    #[test]
    fn sense_cut_anywhere_keeps_what_is_there(sense in sense()) {
        let mut buffer = [0; Sense::DESCRIPTOR_LENGTH];
        let length = sense.emit(&mut buffer).unwrap();
        let (key_at, asc_at) = match sense.format {
            SenseFormat::Fixed => (2, 12),
            SenseFormat::Descriptor => (1, 2),
        };
        for length in 0..length {
            match Sense::parse(&buffer[..length]) {
                Err(_) => prop_assert!(length <= key_at, "{} bytes", length),
                Ok(cut) => {
                    let zero = |at: usize, value| if length > at { value } else { 0 };
                    let codes = (sense.key, zero(asc_at, sense.asc), zero(asc_at + 1, sense.ascq));
                    prop_assert_eq!(cut.codes(), codes, "{} bytes", length);
                }
            }
        }
    }

    #[test]
    fn stpg_survives_a_round_trip(fields in vec((0..16_u8, any::<u16>()), 0..40)) {
        let descriptors: Vec<_> = fields
            .into_iter()
            .map(|(state, id)| StpgDescriptor { state: AccessState::from_bits(state), id })
            .collect();
        let mut data = vec![0; 4 + 4 * descriptors.len()];
        prop_assert_eq!(encode_stpg(&descriptors, &mut data), Ok(data.len()));
        prop_assert!(StpgList::parse(&data).unwrap().iter().eq(descriptors.iter().copied()));
        // The list has no length of its own: cut between descriptors it is a shorter list.
        for length in 0..data.len() {
            let accepted = StpgList::parse(&data[..length]).is_ok();
            prop_assert_eq!(accepted, length >= 4 && length % 4 == 0, "{} bytes", length);
        }
    }

    #[test]
    fn cdb_survives_a_round_trip(cdb in cdb()) {
        let encoded = cdb.encode();
        prop_assert_eq!(Cdb::decode(encoded.as_bytes()), Ok(cdb));
        prop_assert_eq!(Cdb::decode(encoded.padded()), Ok(cdb));
        for length in 0..encoded.as_bytes().len() {
            prop_assert!(Cdb::decode(&encoded.as_bytes()[..length]).is_err());
        }
    }

    #[test]
    fn luns_survive_a_round_trip(luns in vec(any::<[u8; 8]>().prop_map(Lun), 0..40)) {
        let mut data = vec![0; 8 + 8 * luns.len()];
        let mut writer = LunWriter::new(&mut data);
        luns.iter().for_each(|lun| writer.push(*lun));
        prop_assert_eq!(writer.finish(), Ok(8 + 8 * luns.len()));
        prop_assert!(ReportLuns::parse(&data).unwrap().iter().eq(luns));
        for length in 0..data.len() {
            prop_assert!(ReportLuns::parse(&data[..length]).is_err());
        }
    }

    #[test]
    fn referrals_survive_a_round_trip(segments in segments()) {
        let data = encode(|buffer| {
            let mut writer = ReferralWriter::report(buffer);
            for (first, last, groups) in &segments {
                writer.push(*first, *last, groups.iter().copied())?;
            }
            writer.finish()
        });
        let read: Vec<_> = ReportReferrals::parse(&data)
            .unwrap()
            .segments()
            .map(|segment| (segment.first_lba, segment.last_lba, segment.groups.collect()))
            .collect();
        prop_assert_eq!(read, segments);
        for length in 0..data.len() {
            prop_assert!(ReportReferrals::parse(&data[..length]).is_err());
        }
    }

    #[test]
    fn inquiry_survives_a_round_trip(
        bits in any::<[u8; 5]>(),
        vendor: [u8; 8],
        product: [u8; 16],
        revision: [u8; 4],
    ) {
        let inquiry = StandardInquiry {
            peripheral_qualifier: bits[0] >> 5,
            device_type: bits[0] & 0x1f,
            version: bits[1],
            hierarchical_luns: bits[2] & 1 != 0,
            response_data_format: bits[2] >> 4,
            tpgs: Tpgs::from_bits(bits[3]),
            third_party_copy: bits[3] & 4 != 0,
            protect: bits[3] & 8 != 0,
            multi_port: bits[4] & 1 != 0,
            cmd_queue: bits[4] & 2 != 0,
            vendor,
            product,
            revision,
        };
        let mut data = [0; StandardInquiry::LENGTH];
        prop_assert_eq!(inquiry.emit(&mut data), Ok(36));
        prop_assert_eq!(StandardInquiry::parse(&data), Ok(inquiry));
        for length in 0..data.len() {
            prop_assert!(StandardInquiry::parse(&data[..length]).is_err());
        }
    }

    #[test]
    fn any_bytes_do_no_harm(data in vec(any::<u8>(), 0..300)) {
        for (_, check) in wire_oracle::CHECKS {
            check(&data);
        }
    }

    #[test]
    fn any_single_changed_byte_does_no_harm(
        groups in groups(),
        designators in designators(),
        sense in sense(),
        value: u8,
    ) {
        let sense = encode(|buffer| sense.emit(buffer));
        let report = write_report(ReportFormat::Extended, 60, &groups);
        let cases: [(_, wire_oracle::Check); 3] = [
            (report, wire_oracle::rtpg),
            (write_page83(&designators), wire_oracle::page83),
            (sense, wire_oracle::sense),
        ];
        for (mut data, check) in cases {
            for at in 0..data.len() {
                let kept = std::mem::replace(&mut data[at], value);
                check(&data);
                data[at] = kept;
            }
        }
    }
}

type Group = (GroupFields, Vec<u16>);

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let fields = (any::<bool>(), 0..16_u8, any::<u8>(), any::<u16>(), any::<u8>(), any::<u8>());
    let fields = fields.prop_map(|(preferred, state, supported, id, status, vendor)| GroupFields {
        preferred,
        state: AccessState::from_bits(state),
        supported: SupportedStates::from_bits(supported),
        id,
        status: StatusCode::from_bits(status),
        vendor,
    });
    vec((fields, vec(any::<u16>(), 0..6)), 0..6)
}

fn write_report(format: ReportFormat, secs: u8, groups: &[Group]) -> Vec<u8> {
    encode(|buffer| {
        let mut writer = ReportWriter::new(buffer, format, secs);
        for (fields, ports) in groups {
            writer.push(fields, ports.iter().copied())?;
        }
        writer.finish()
    })
}

#[derive(Clone, Debug)]
struct OwnedDesignator {
    protocol: Option<u8>,
    codes: [u8; 3],
    payload: Vec<u8>,
}

impl OwnedDesignator {
    fn borrow(&self) -> Designator<'_> {
        let [code_set, association, kind] = self.codes;
        Designator {
            protocol: self.protocol,
            code_set: CodeSet::from_bits(code_set),
            association: Association::from_bits(association),
            kind: DesignatorKind::from_bits(kind),
            payload: &self.payload,
        }
    }
}

fn designators() -> impl Strategy<Value = Vec<OwnedDesignator>> {
    // Mostly the lengths that names and ports have, so that identities come out of it too.
    let length = prop_oneof![Just(4_usize), Just(8), Just(12), Just(16), Just(18), 0..40_usize];
    let payload = length.prop_flat_map(|length| vec(any::<u8>(), length));
    let designator = (option::of(0..16_u8), any::<[u8; 3]>(), payload);
    let designator = designator.prop_map(|(protocol, codes, payload)| OwnedDesignator {
        protocol,
        codes,
        payload,
    });
    vec(designator, 0..8)
}

fn write_page83(designators: &[OwnedDesignator]) -> Vec<u8> {
    encode(|buffer| {
        let mut writer = DesignatorWriter::new(buffer, 0);
        for designator in designators {
            writer.push(&designator.borrow())?;
        }
        writer.finish()
    })
}

/// Sense data with only those fields set that its key and format can carry.
fn sense() -> impl Strategy<Value = Sense> {
    let pointer = (any::<bool>(), any::<u16>(), option::of(0..8_u8))
        .prop_map(|(in_cdb, byte, bit)| FieldPointer { in_cdb, byte, bit });
    let specific = (option::of(any::<u16>()), option::of(pointer), any::<bool>());
    let codes = (0..16_u8, any::<u8>(), any::<u8>());
    let rest = (any::<bool>(), any::<bool>(), option::of(any::<u64>()));
    (codes, specific, rest).prop_map(|((key, asc, ascq), specific, rest)| {
        let ((progress, field_pointer, overflow), (deferred, fixed, information)) =
            (specific, rest);
        let mut sense = Sense { deferred, ..Sense::new(SenseKey::from_bits(key), asc, ascq) };
        sense.format = if fixed { SenseFormat::Fixed } else { SenseFormat::Descriptor };
        sense.information = information.map(|value| if fixed { value >> 32 } else { value });
        match sense.key {
            SenseKey::NoSense | SenseKey::NotReady => sense.progress = progress,
            SenseKey::IllegalRequest => sense.field_pointer = field_pointer,
            SenseKey::UnitAttention => sense.unit_attention_overflow = overflow,
            _ => {}
        }
        sense
    })
}

fn cdb() -> impl Strategy<Value = Cdb> {
    let format = prop_oneof![Just(ReportFormat::LengthOnly), Just(ReportFormat::Extended)];
    prop_oneof![
        Just(Cdb::TestUnitReady),
        (option::of(any::<u8>()), any::<u16>())
            .prop_map(|(page, allocation_length)| Cdb::Inquiry { page, allocation_length }),
        (any::<bool>(), any::<u8>()).prop_map(|(descriptor_format, allocation_length)| {
            Cdb::RequestSense { descriptor_format, allocation_length }
        }),
        (any::<u8>(), any::<u32>()).prop_map(|(select_report, allocation_length)| {
            Cdb::ReportLuns { select_report, allocation_length }
        }),
        (format, any::<u32>()).prop_map(|(format, allocation_length)| {
            Cdb::ReportTargetPortGroups { format, allocation_length }
        }),
        any::<u32>()
            .prop_map(|parameter_list_length| Cdb::SetTargetPortGroups { parameter_list_length }),
        (any::<u64>(), any::<u32>(), any::<bool>()).prop_map(
            |(lba, allocation_length, one_segment)| {
                Cdb::ReportReferrals { lba, allocation_length, one_segment }
            }
        ),
    ]
}

type Segment = (u64, u64, Vec<(AccessState, u16)>);

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let group =
        (0..16_u8, any::<u16>()).prop_map(|(state, id)| (AccessState::from_bits(state), id));
    vec((any::<u64>(), any::<u64>(), vec(group, 0..5)), 0..6)
}

fn encode(write: impl FnOnce(&mut [u8]) -> Result<usize, WireError>) -> Vec<u8> {
    let mut buffer = vec![0xaa; 4096];
    let length = write(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}
