//! The seed corpus of the NBD fuzz targets, replayed: every file through its check, each also cut
//! short and with bytes changed.

use std::fs;
use std::path::{Path, PathBuf};

mod nbd_oracle;

#[test]
fn a_file_named_invalid_is_refused_and_every_other_accepted() {
    for (target, check) in nbd_oracle::CHECKS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 5, "{target} has {} seeds", seeds.len());
        for seed in seeds {
            let name = seed.file_name().unwrap().to_str().unwrap();
            let accepted = check(&fs::read(&seed).unwrap());
            assert_eq!(accepted, !name.starts_with("invalid-"), "{}", seed.display());
        }
    }
}

#[test]
fn every_truncation_and_changed_bytes_of_every_seed() {
    for (target, check) in nbd_oracle::CHECKS {
        for seed in seeds(target) {
            let mut data = fs::read(seed).unwrap();
            // Of long payloads, the beginning and a few other places.
            let places: Vec<usize> =
                (0..data.len()).filter(|at| *at < 200 || at % 997 == 0).collect();
            for length in &places {
                check(&data[..*length]);
            }
            for at in places {
                let kept = data[at];
                for value in [0, 1, 0x7f, 0x80, 0xff, kept ^ 1, kept.wrapping_add(1)] {
                    data[at] = value;
                    check(&data);
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
