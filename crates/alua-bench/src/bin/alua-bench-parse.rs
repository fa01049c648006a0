//! `alua-bench-parse SAMPLE SUBJECT COUNT`: reads a sample `COUNT` times and writes the checksum.
//! `cargo xtask bench` runs it under valgrind. `alua-bench-parse FOLDER` writes the samples there.

use std::hint::black_box;
use std::path::Path;

use alua_bench::samples::Sample;
use alua_bench::{peer, subjects};
use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [folder] => {
            for sample in Sample::ALL {
                peer::sample_file(Path::new(folder), sample)?;
            }
        }
        [sample, subject, count] => {
            let sample = Sample::from_name(sample).context("no such sample")?;
            let mut subjects = subjects::of(sample).iter();
            let subject = subjects.find(|s| s.name == subject).context("no such subject")?;
            let bytes = sample.bytes()?;
            let mut sum = 0;
            for _ in 0..count.parse::<u64>()? {
                sum = (subject.run)(black_box(&bytes));
            }
            println!("{sum}");
        }
        _ => bail!("usage: alua-bench-parse SAMPLE SUBJECT COUNT | FOLDER"),
    }
    Ok(())
}
