//! What a run is judged by when something ends: the data, the medium, errors and times.

use alua_core::failover::TargetError;
use alua_multipath::{NoPath, Operation, Request, RequestError, Time};

use crate::check::Invariant;
use crate::host::{Ended, LIMIT_MS};
use crate::shadow;
use crate::world::{FOREIGN, World};

/// After a usable path came back, a request may still fail for want of one for so long: the
/// growing pauses of the engine have to end.
const RECOVERY_MS: u32 = 8_000;
/// How long a request may take while a path is usable: the fence's bounded wait, and the longest
/// pauses of the engine.
const PATIENCE_MS: u32 = 15_000;

impl World {
    /// I2 and I12: what reached the medium.
    pub(crate) fn note_writes(&mut self) {
        for write in self.array.take_writes() {
            let known = self
                .hosts
                .iter()
                .find_map(|host| host.writer(write.tag).filter(|_| host.owns(write.nexus)));
            let Some((number, complete)) = known else { continue };
            self.trace.note(
                self.now,
                "array",
                "medium",
                format_args!("{:x} #{number:x}", write.tag),
            );
            if complete {
                let what =
                    format_args!("{:x} of #{number:x}, complete, reaches the medium", write.tag);
                self.checks.fail(Invariant::I2, self.now, what);
            }
            if write.unit != 0 {
                let what = format_args!("{:x} of #{number:x} reaches another unit", write.tag);
                self.checks.fail(Invariant::I12, self.now, what);
            }
        }
    }

    /// I6: a request does not wait while a path is usable for long.
    pub(crate) fn check_time(&mut self, host: usize, ended: &Ended) {
        let since = self.usable[host].map(|since| since.max(ended.client.submitted));
        // The bounded wait begins when a host that repeats gives a command back.
        let kept = self.options.repeat_us.map_or(0, |_| LIMIT_MS);
        let long = since.is_some_and(|since| since.after(PATIENCE_MS + kept) < self.now);
        if long && !self.lenient {
            let what = format_args!(
                "#{:x} took until now, a path is usable since {since:?}",
                ended.client.number
            );
            self.checks.fail(Invariant::I6, self.now, what);
        }
    }

    /// I6, I13: whether a request may have failed so.
    pub(crate) fn check_failure(
        &mut self,
        host: usize,
        number: u64,
        error: RequestError,
        submitted: Time,
    ) {
        match error {
            RequestError::Target(TargetError::Reservation) => {
                self.check_reason(number, self.reserved, submitted, "a reservation conflict");
            }
            RequestError::Target(TargetError::Protected) => {
                self.check_reason(number, self.protected, submitted, "write protection");
            }
            error => {
                // Who fails requests at once does so while a fault is at work on every path, too, its
                // own slowness among them.
                let config = self.hosts[host].engine.config();
                let at_once = config.no_path == NoPath::Fail;
                let slow = self.hosts[host].may_hold_for_ms() >= config.io_timeout_ms;
                let fault = self.last_event.1;
                let usable = match self.usable[host] {
                    Some(_) if at_once && (slow || !self.undo.is_empty()) => None,
                    Some(since) if at_once => Some(since.max(fault)),
                    since => since,
                };
                let long = usable.is_some_and(|since| since.after(RECOVERY_MS) < self.now);
                if long && !self.lenient {
                    let what =
                        format_args!("#{number:x}: {error}, but a path is usable since {usable:?}");
                    self.checks.fail(Invariant::I6, self.now, what);
                }
            }
        }
    }

    /// I13: what the target is said to have refused, it has.
    fn check_reason(&mut self, number: u64, until: Option<Time>, submitted: Time, what: &str) {
        if until.is_none_or(|until| until < submitted) {
            let what = format_args!("#{number:x}: {what}, and there was none");
            self.checks.fail(Invariant::I13, self.now, what);
        }
    }

    /// I1: the data.
    pub(crate) fn check_data(&mut self, host: usize, ended: &Ended) {
        let Request { operation, lba, blocks } = ended.client.request;
        let good = ended.result.is_ok();
        let shadow = &mut self.shadows[host];
        let number = ended.client.number;
        match operation {
            Operation::Read if good => {
                let versions: Result<Vec<u64>, u64> = ended
                    .data
                    .chunks_exact(512)
                    .zip(lba..)
                    .map(|(block, lba)| version(block, lba))
                    .collect();
                let found = match versions {
                    Ok(versions) if versions.len() == blocks as usize => {
                        shadow.read_ends(number, &versions)
                    }
                    Ok(versions) => Err((lba, versions.len() as u64, Vec::new())),
                    Err(lba) => Err((lba, FOREIGN, Vec::new())),
                };
                if let Err((lba, version, allowed)) = found {
                    let invariant = if version == FOREIGN { Invariant::I12 } else { Invariant::I1 };
                    let what = format_args!(
                        "#{number:x} read #{version:x} in block {lba}, which may hold {allowed:x?}"
                    );
                    self.checks.fail(invariant, self.now, what);
                }
            }
            Operation::Read => shadow.read_failed(number),
            Operation::Flush if good => shadow.flush_ends(ended.client.reach),
            Operation::Flush => {}
            _ => {
                let (version, how) = match operation {
                    Operation::Write { .. } if !good => (number, shadow::Ended::Failed),
                    _ if !good => (0, shadow::Ended::Failed),
                    Operation::Discard => (0, shadow::Ended::Discarded),
                    Operation::Write { fua } => (number, how(fua)),
                    _ => (0, how(operation.is_fua())),
                };
                let clients = self.hosts[host].clients();
                let others: Vec<_> = clients
                    .filter(|other| other.request.operation.changes())
                    .map(|other| (other.request, other.number))
                    .collect();
                shadow.write_ends((lba, blocks), version, how, |block| {
                    others
                        .iter()
                        .filter(|(it, _)| (it.lba..it.lba + u64::from(it.blocks)).contains(&block))
                        .map(|(it, number)| match it.operation {
                            Operation::Write { .. } => *number,
                            _ => 0,
                        })
                        .collect()
                });
            }
        }
    }
}

const fn how(durable: bool) -> shadow::Ended {
    if durable { shadow::Ended::Durable } else { shadow::Ended::Good }
}

/// The version in a block; the block's address where its contents are torn or another's.
fn version(block: &[u8], lba: u64) -> Result<u64, u64> {
    let number = |at: usize| {
        block.get(at..at + 8).and_then(|it| it.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let version = number(0);
    if version == FOREIGN || (version == 0 && number(8) == 0) || number(8) == lba {
        Ok(version)
    } else {
        Err(lba)
    }
}
