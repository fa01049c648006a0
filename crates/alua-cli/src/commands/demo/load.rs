//! The load of the demo: writers that know what they wrote, and look whether it is still there.
//!
//! Each worker has a connection and blocks of its own. What is in a block follows from its number
//! and the number of the write, so every byte that comes back can be told to be right or wrong.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client::Client;

/// Bytes of one request.
const BLOCK: usize = 4096;
/// Blocks of one worker.
const BLOCKS: u64 = 512;
/// From one answer to the next request.
const PAUSE: Duration = Duration::from_micros(300);
/// One request in so many is a flush.
const FLUSH_TURNS: u64 = 64;

/// A request that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// From the start of the demo.
    pub(super) begun: Duration,
    /// How long it took.
    pub(super) took: Duration,
    /// It ended with an error.
    pub(super) failed: bool,
}

/// What all workers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// No more requests.
    pub(super) stop: AtomicBool,
    /// Requests that ended.
    pub(super) requests: AtomicU64,
    /// The longest of them since this was read last, in microseconds.
    pub(super) longest_us: AtomicU64,
}

/// What a worker found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) done: Vec<Done>,
    /// Bytes that were not what they had to be.
    pub(super) wrong: u64,
    /// Bytes that were compared.
    pub(super) compared: u64,
    /// What went wrong, in words.
    pub(super) errors: Vec<String>,
}

/// Works until it is told to stop, then reads back everything.
pub(super) fn work(worker: u64, socket: &Path, start: Instant, shared: &Shared) -> Found {
    let mut found = Found::default();
    match Client::connect(socket) {
        Ok(client) => Worker::new(worker, client, start, shared).run(&mut found),
        Err(error) => found.errors.push(format!("worker {worker} cannot connect: {error}")),
    }
    found
}

struct Worker<'a> {
    worker: u64,
    client: Client,
    start: Instant,
    shared: &'a Shared,
    /// The number of the last write to each block; 0 for none.
    versions: Vec<u64>,
    writes: u64,
    random: u64,
}

impl<'a> Worker<'a> {
    fn new(worker: u64, client: Client, start: Instant, shared: &'a Shared) -> Self {
        let random = worker + 1;
        Self {
            worker,
            client,
            start,
            shared,
            versions: vec![0; BLOCKS as usize],
            writes: 0,
            random,
        }
    }

    fn run(mut self, found: &mut Found) {
        let mut turn = 0;
        while !self.shared.stop.load(Ordering::Relaxed) && found.errors.is_empty() {
            turn += 1;
            let draw = self.draw();
            let block = draw % BLOCKS;
            if turn % FLUSH_TURNS == 0 {
                self.timed(found, "flush", |worker, _| worker.client.flush());
            } else if draw >> 32 & 1 == 0 {
                self.write(block, found);
            } else {
                self.read(block, found);
            }
            std::thread::sleep(PAUSE);
        }
        for block in 0..BLOCKS {
            if found.errors.is_empty() {
                self.read(block, found);
            }
        }
    }

    fn write(&mut self, block: u64, found: &mut Found) {
        self.writes += 1;
        let (offset, version) = (self.offset(block), self.writes);
        let data = contents(offset, version);
        self.timed(found, "write", |worker, _| worker.client.write(offset, &data));
        self.versions[block as usize] = version;
    }

    fn read(&mut self, block: u64, found: &mut Found) {
        let (offset, version) = (self.offset(block), self.versions[block as usize]);
        let mut data = vec![0; BLOCK];
        self.timed(found, "read", |worker, found| {
            worker.client.read(offset, &mut data)?;
            let expected = contents(offset, version);
            found.compared += BLOCK as u64;
            found.wrong +=
                data.iter().zip(&expected).filter(|(is, must)| is != must).count() as u64;
            Ok(())
        });
    }

    fn timed(
        &mut self,
        found: &mut Found,
        what: &str,
        request: impl FnOnce(&mut Self, &mut Found) -> std::io::Result<()>,
    ) {
        let begun = Instant::now();
        let result = request(self, found);
        let took = begun.elapsed();
        let failed = result.is_err();
        if let Err(error) = result {
            found.errors.push(format!("worker {}: a {what} failed: {error}", self.worker));
        }
        found.done.push(Done { begun: begun.duration_since(self.start), took, failed });
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.shared.longest_us.fetch_max(micros, Ordering::Relaxed);
    }

    const fn offset(&self, block: u64) -> u64 {
        (self.worker * BLOCKS + block) * BLOCK as u64
    }

    fn draw(&mut self) -> u64 {
        self.random = mix(self.random);
        self.random
    }
}

/// What a block holds after that write: zeros before the first.
fn contents(offset: u64, version: u64) -> Vec<u8> {
    if version == 0 {
        return vec![0; BLOCK];
    }
    let mut word = mix(offset ^ mix(version));
    let mut data = Vec::with_capacity(BLOCK);
    while data.len() < BLOCK {
        data.extend_from_slice(&word.to_le_bytes());
        word = mix(word);
    }
    data
}

/// One step of splitmix64.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_block_and_another_write_have_other_contents() {
        assert_eq!(contents(0, 0), vec![0; BLOCK]);
        let all = [contents(0, 1), contents(0, 2), contents(BLOCK as u64, 1)];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(one.len(), BLOCK);
            for other in &all[at + 1..] {
                let same = one.iter().zip(other).filter(|(a, b)| a == b).count();
                assert!(same < BLOCK / 64, "{same} bytes are equal");
            }
        }
    }
}
