//! Both sides of the border say the same.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use alua_core::access::AccessState;
use alua_core::cause::RefreshError;
use alua_core::sense::TABLE;
use alua_core::spc::Status;
use alua_core::unit::{Activated, ActivationError, Outcome};
use alua_kernel::map;

fn text(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(folder.join(file)).unwrap()
}

fn number(value: &str) -> u64 {
    let value = value.trim().trim_end_matches(';').replace('_', "");
    match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => value.parse().unwrap(),
    }
}

/// The `ALUA_*` numbers of the header.
fn in_c() -> BTreeMap<String, u64> {
    text("../alua_rs.h")
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
        .map(|(name, value)| (name.to_owned(), number(value)))
        .collect()
}

/// The `ALUA_*` numbers of `abi.rs`.
fn in_rust() -> BTreeMap<String, u64> {
    text("src/abi.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ALUA_")?.split_once(": "))
        .map(|(name, rest)| (format!("ALUA_{name}"), number(rest.split_once("= ").unwrap().1)))
        .collect()
}

#[test]
fn every_number_of_the_border_is_the_same_on_both_sides() {
    let mut c = in_c();
    // These have other names in Rust.
    assert_eq!(c.remove("ALUA_SLOTS"), Some(alua_kernel::abi::SLOTS as u64));
    assert_eq!(c.remove("ALUA_DATA_OUT_BYTES"), Some(alua_kernel::abi::DATA_OUT_BYTES as u64));
    assert_eq!(c.remove("ALUA_NAME_BYTES"), Some(alua_kernel::abi::NAME_BYTES as u64));
    assert!(c.len() > 30, "the header was not understood");
    assert_eq!(c, in_rust());
}

#[test]
fn both_sides_assert_the_same_sizes() {
    let sizes = |text: &str, before: &str, after: &str| -> Vec<u64> {
        let mut sizes: Vec<u64> = text
            .lines()
            .filter(|line| line.contains(before))
            .filter_map(|line| line.split_once("== ")?.1.split_once(after))
            .map(|(size, _)| number(size))
            .collect();
        sizes.sort_unstable();
        sizes
    };
    let c = sizes(&text("../alua_rs.h"), "static_assert(sizeof(struct alua_", ")");
    let rust = sizes(&text("src/abi.rs"), "assert!(size_of::<Alua", ")");
    assert_eq!(c.len(), 9);
    assert_eq!(c, rust);
}

#[test]
fn every_entry_point_is_declared_and_every_declaration_is_one() {
    let names = |text: &str, after: &str| {
        let mut names: Vec<String> = text
            .split(after)
            .skip(1)
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
            .map(|name: String| format!("alua_rs_{name}"))
            .collect();
        names.sort();
        names
    };
    let rust = format!("{}{}", text("src/entry.rs"), text("src/view.rs"));
    let rust = names(&rust, "extern \"C\" fn alua_rs_");
    let header = text("../alua_rs.h");
    let c: String = header.lines().filter(|line| line.contains('(')).collect();
    assert_eq!(names(&c, "alua_rs_"), rust);
}

/// The disposition of each row as the catalogue has it (E01 to E11).
#[test]
fn e01_to_e11_dispositions() {
    let mut seen = [0; 3];
    for row in TABLE {
        let got = map::disposition(&row.meaning);
        let index = [map::NEEDS_RETRY, map::ADD_TO_MLQUEUE, map::SCSI_RETURN_NOT_HANDLED]
            .iter()
            .position(|known| *known == got);
        seen[index.unwrap()] += 1;
        if row.meaning.state == Some(AccessState::Transitioning) {
            assert_eq!(got, map::NEEDS_RETRY);
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    assert!(alua_kernel::unit::sense_matters(2, 0x04, 0x0b));
    assert!(!alua_kernel::unit::sense_matters(3, 0x11, 0x00), "a medium error is not ours");
}

#[test]
fn d_g_what_dm_is_told_of_an_activation() {
    use map::*;
    let of = |error| activation(Err(error));
    assert_eq!(activation(Ok(Activated::StaysLive)), SCSI_DH_OK);
    assert_eq!(of(ActivationError::AluaOff), SCSI_DH_OK);
    assert_eq!(of(ActivationError::NotSubmitted), SCSI_DH_DEV_TEMP_BUSY);
    assert_eq!(of(ActivationError::Status(Status::Busy)), SCSI_DH_DEV_TEMP_BUSY);
    assert_eq!(of(ActivationError::Status(Status::ReservationConflict)), SCSI_DH_IO);
    assert_eq!(of(ActivationError::Transport), SCSI_DH_RES_TEMP_UNAVAIL);
    assert_eq!(of(ActivationError::NoPath), SCSI_DH_DEV_OFFLINED);
    assert_eq!(of(ActivationError::ShutDown), SCSI_DH_NOTCONN);
    assert_eq!(of(ActivationError::UnknownGroup(1)), SCSI_DH_IO);
    assert_eq!(of(ActivationError::TransitionTimedOut { group: 1 }), SCSI_DH_IO);
    let standby = ActivationError::ImplicitOnly { group: 1, state: AccessState::Standby };
    assert_eq!(of(standby), SCSI_DH_IO, "G18: not OK where no I/O passes");
    let offline = ActivationError::NotActivatable { group: 1, state: AccessState::Offline };
    assert_eq!(of(offline), SCSI_DH_DEV_OFFLINED);
    assert_eq!(of(ActivationError::Refresh(RefreshError::IdentityInDoubt)), SCSI_DH_RETRY);
    assert_eq!(of(ActivationError::Refresh(RefreshError::NoPath)), SCSI_DH_DEV_OFFLINED);
}

#[test]
fn b05_b06_b07_what_became_of_a_command() {
    let sense = [0x70, 0, 6];
    assert_eq!(map::outcome(-12, &sense, &[1]), Outcome::NotSubmitted);
    assert_eq!(map::outcome(1 << 16, &sense, &[1]), Outcome::Unreachable);
    assert_eq!(map::outcome(14 << 16, &sense, &[1]), Outcome::TransportFailed);
    assert_eq!(map::outcome(3 << 16, &sense, &[1]), Outcome::TimedOut);
    let good = Outcome::Answered { status: Status::Good, sense: &[], data: &[1] };
    assert_eq!(map::outcome(0, &sense, &[1]), good);
    // The midlayer sets a host byte for some sense data: the status counts.
    let check = Outcome::Answered { status: Status::CheckCondition, sense: &sense, data: &[] };
    assert_eq!(map::outcome(0x10_0002, &sense, &[1]), check);
}
