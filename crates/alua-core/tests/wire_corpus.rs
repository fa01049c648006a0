//! The seed corpus of the fuzz targets, replayed: every file through its check, each also cut
//! short at every length and with every byte changed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs;
use std::path::{Path, PathBuf};

mod wire_oracle;

#[test]
fn every_seed_passes_its_check() {
    for (target, check) in wire_oracle::CHECKS {
        let seeds = seeds(target);
        let accepted = seeds.iter().filter(|seed| check(&fs::read(seed).unwrap())).count();
        assert!(accepted >= 2, "{target}: {accepted} of {} seeds are valid", seeds.len());
    }
}

#[test]
fn a_file_named_invalid_is_refused_and_every_other_accepted() {
    for (target, check) in wire_oracle::CHECKS {
        for seed in seeds(target) {
            let name = seed.file_name().unwrap().to_str().unwrap();
            let accepted = check(&fs::read(&seed).unwrap());
            assert_eq!(accepted, !name.starts_with("invalid-"), "{}", seed.display());
        }
    }
}

#[test]
fn every_truncation_and_every_changed_byte_of_every_seed() {
    for (target, check) in wire_oracle::CHECKS {
        for seed in seeds(target) {
            let mut data = fs::read(seed).unwrap();
            for length in 0..data.len() {
                check(&data[..length]);
            }
            // The first bytes hold the lengths and formats: all values there, a few elsewhere.
            for at in 0..data.len() {
                let kept = data[at];
                for value in 0..=0xff_u8 {
                    if at < 64 || value.count_ones() <= 1 || value == 0xff {
                        data[at] = value;
                        check(&data);
                    }
                }
                data[at] = kept;
            }
        }
    }
}

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let files = files.map(|file| file.unwrap().path());
    // What a fuzzer found on this machine stands beside the seeds, without the suffix.
    files.filter(|file| file.extension().is_some_and(|suffix| suffix == "bin")).collect()
}
