//! Nanoseconds per report, ours and the peers'. The peers take part where `cargo xtask bench` has
//! built them.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use alua_bench::peer::{self, Peer};
use alua_bench::samples::Sample;
use alua_bench::subjects;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};

fn parse(criterion: &mut Criterion) {
    for sample in Sample::ALL {
        let mut group = criterion.benchmark_group(sample.name());
        let bytes = sample.bytes().expect("the buffer is large enough");
        for subject in subjects::of(sample) {
            group.bench_function(subject.name, |bencher| {
                bencher.iter(|| (subject.run)(black_box(&bytes)));
            });
        }
        for name in peer::of(sample) {
            match peer::program(name) {
                Some(program) => run_peer(&mut group, sample, name, &program),
                None => println!("{}/{name}: not built, left out", sample.name()),
            }
        }
        group.finish();
    }
}

fn run_peer(group: &mut BenchmarkGroup<'_, WallTime>, sample: Sample, name: &str, program: &Path) {
    let folder = program.parent().unwrap_or(Path::new("."));
    let started = peer::sample_file(&folder.join("samples"), sample)
        .and_then(|file| Peer::start(program, &file));
    let mut peer = match started {
        Ok(peer) => peer,
        Err(error) => return println!("{}/{name}: {error:#}", sample.name()),
    };
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| peer.run(count).expect("the peer runs").1);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = parse
}
criterion_main!(benches);
