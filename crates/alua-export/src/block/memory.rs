//! A device in memory.

use std::fmt;
use std::sync::RwLock;

use super::{BlockDevice, BlockError, Completion, Geometry, Operation, Outcome, Request};

/// How much of the device one lock covers: neighbours do not wait for each other.
const STRIPE: usize = 1 << 20;

/// A device in memory: every request is done when [`BlockDevice::submit`] returns.
pub struct MemoryDevice {
    geometry: Geometry,
    stripes: Vec<RwLock<Vec<u8>>>,
}

impl MemoryDevice {
    /// A device of zeroes, of `bytes` rounded down to whole logical blocks of `logical_block`
    /// bytes.
    ///
    /// # Panics
    ///
    /// The logical block is no power of two from 512 to 65,536.
    #[must_use]
    pub fn new(bytes: u64, logical_block: u32) -> Self {
        let bytes = bytes - bytes % u64::from(logical_block.max(1));
        let geometry = Geometry {
            bytes,
            logical_block,
            preferred: logical_block.max(4096),
            maximum: 32 << 20,
            read_only: false,
            discard: true,
            write_zeroes: true,
            shared_flush: true,
        };
        geometry.validate().expect("a geometry that is right");
        let mut left = usize::try_from(bytes).expect("a device that fits into memory");
        let mut stripes = Vec::new();
        while left > 0 {
            let size = left.min(STRIPE);
            stripes.push(RwLock::new(vec![0; size]));
            left -= size;
        }
        Self { geometry, stripes }
    }

    /// The same, which takes no writes.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.geometry.read_only = true;
        self
    }

    /// The same with another longest request, in bytes.
    ///
    /// # Panics
    ///
    /// It is no multiple of the logical block, or below the preferred size.
    #[must_use]
    pub fn with_maximum(mut self, maximum: u32) -> Self {
        self.geometry.maximum = maximum;
        self.geometry.validate().expect("a geometry that is right");
        self
    }

    fn run(&self, mut request: Request) -> Outcome {
        self.geometry.check(&request)?;
        let start = usize::try_from(request.offset).map_err(|_| BlockError::OutOfRange)?;
        let length = usize::try_from(request.length).map_err(|_| BlockError::OutOfRange)?;
        match request.operation {
            Operation::Read => self.each_part(start, length, |stripe, at, part, done| {
                let stripe = stripe.read().map_err(|_| BlockError::Io)?;
                request.data[done..done + part].copy_from_slice(&stripe[at..at + part]);
                Ok(())
            })?,
            Operation::Write => self.each_part(start, length, |stripe, at, part, done| {
                let mut stripe = stripe.write().map_err(|_| BlockError::Io)?;
                stripe[at..at + part].copy_from_slice(&request.data[done..done + part]);
                Ok(())
            })?,
            Operation::Discard | Operation::WriteZeroes { .. } => {
                self.each_part(start, length, |stripe, at, part, _| {
                    let mut stripe = stripe.write().map_err(|_| BlockError::Io)?;
                    stripe[at..at + part].fill(0);
                    Ok(())
                })?;
            }
            Operation::Flush => {}
        }
        Ok(request.data)
    }

    /// Calls `f` with each stripe that `length` bytes from `start` touch, where in it the part
    /// begins, how long it is, and how many bytes came before it.
    fn each_part(
        &self,
        start: usize,
        length: usize,
        mut f: impl FnMut(&RwLock<Vec<u8>>, usize, usize, usize) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let mut done = 0;
        while done < length {
            let (index, at) = ((start + done) / STRIPE, (start + done) % STRIPE);
            let part = (length - done).min(STRIPE - at);
            let stripe = self.stripes.get(index).ok_or(BlockError::OutOfRange)?;
            f(stripe, at, part, done)?;
            done += part;
        }
        Ok(())
    }
}

impl BlockDevice for MemoryDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&self, request: Request, completion: Completion) {
        completion.complete(self.run(request));
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDevice").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
