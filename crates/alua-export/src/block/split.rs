//! Longer requests than a device takes, in parts.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{BlockDevice, BlockError, Completion, Geometry, Operation, Outcome, Request, Sink};

/// A device that takes longer reads and writes than the one below, and gives them to it in parts.
///
/// Clients that do not ask for the maximum send what they like: the kernel's NBD client, for one.
/// The parts of a request are in flight together, and like two requests they may take effect in
/// either order. When one fails, the request fails, with the error of the first part that did; the
/// others may have taken effect, as with any write that fails.
pub struct Split<D> {
    device: D,
    /// The longest part in bytes.
    part: u64,
    geometry: Geometry,
}

impl<D: BlockDevice> Split<D> {
    /// A device that takes reads and writes of up to `maximum` bytes, rounded down to whole logical
    /// blocks. Where the one below takes as much, everything passes unchanged.
    pub fn new(device: D, maximum: u32) -> Self {
        let below = device.geometry();
        let maximum = maximum - maximum % below.logical_block.max(1);
        let geometry = Geometry { maximum: below.maximum.max(maximum), ..below };
        Self { device, part: u64::from(below.maximum.max(1)), geometry }
    }
}

impl<D: BlockDevice> BlockDevice for Split<D> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: Request, completion: Completion) {
        if !request.operation.carries_data() || request.length <= self.part {
            return self.device.submit(request, completion);
        }
        let count = request.length.div_ceil(self.part);
        let whole = Arc::new(Whole {
            part: self.part,
            joined: Mutex::new(Joined {
                missing: count,
                error: None,
                data: request.data,
                completion: Some(completion),
            }),
            reads: request.operation == Operation::Read,
        });
        for index in 0..count {
            let offset = index * self.part;
            let length = self.part.min(request.length - offset);
            let data = whole.data_of(index, length);
            let part = Request {
                offset: request.offset + offset,
                length,
                data,
                operation: request.operation,
                fua: request.fua,
                reissued: request.reissued,
            };
            self.device.submit(part, Completion::new(Arc::clone(&whole) as Arc<dyn Sink>, index));
        }
    }
}

impl<D> fmt::Debug for Split<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// A request that is served in parts, which are numbered from 0.
struct Whole {
    part: u64,
    reads: bool,
    joined: Mutex<Joined>,
}

struct Joined {
    missing: u64,
    /// Of the failed part with the lowest number.
    error: Option<(u64, BlockError)>,
    data: Vec<u8>,
    completion: Option<Completion>,
}

impl Whole {
    fn start(&self, index: u64) -> usize {
        // No further than the end of data that is in memory.
        usize::try_from(index * self.part).unwrap_or(usize::MAX)
    }

    /// The data that a part is submitted with.
    fn data_of(&self, index: u64, length: u64) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or_default();
        if self.reads {
            return vec![0; length];
        }
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let start = self.start(index);
        joined.data.get(start..start.saturating_add(length)).unwrap_or_default().to_vec()
    }
}

impl Sink for Whole {
    fn completed(&self, index: u64, outcome: Outcome) {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match outcome {
            Err(error) => Some(error),
            Ok(part) if self.reads => {
                let start = self.start(index);
                let length = joined.data.len().saturating_sub(start);
                let length = length.min(usize::try_from(self.part).unwrap_or(usize::MAX));
                let room = joined.data.get_mut(start..start.saturating_add(length));
                match room.filter(|room| room.len() == part.len()) {
                    Some(room) => {
                        room.copy_from_slice(&part);
                        None
                    }
                    // A device that returns another length than was asked for.
                    None => Some(BlockError::Io),
                }
            }
            Ok(_) => None,
        };
        if let Some(error) = failed
            && joined.error.is_none_or(|(of, _)| index < of)
        {
            joined.error = Some((index, error));
        }
        joined.missing = joined.missing.saturating_sub(1);
        if joined.missing > 0 {
            return;
        }
        let (error, data) = (joined.error, std::mem::take(&mut joined.data));
        let completion = joined.completion.take();
        drop(joined);
        if let Some(completion) = completion {
            completion.complete(error.map_or(Ok(data), |(_, error)| Err(error)));
        }
    }
}
