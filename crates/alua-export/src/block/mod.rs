//! The border between an export and whatever serves the blocks: [`BlockDevice`].
//!
//! # Contract
//!
//! - An export gives a device only requests that [`Geometry::check`] lets pass: inside the device,
//!   of whole logical blocks, not longer than the maximum, nothing that the device does not offer.
//! - A [`Request`] owns its data. The device keeps it for as long as anything may still read or
//!   write the memory, whatever became of the client meanwhile.
//! - Every request ends exactly once, by [`Completion::complete`], from any thread, in any order.
//!   It may be called inside [`BlockDevice::submit`]. A completion that is dropped ends its request
//!   with [`BlockError::Abandoned`], which is a defect of the device.
//! - `submit` does not wait for the request. A device that must wait has threads of its own.
//! - Two requests that are in flight at the same time and overlap may take effect in either order.
//!   A request that was submitted after another one's completion sees its effect.
//! - A flush that completes has made durable every write that completed before it was submitted;
//!   with [`Geometry::shared_flush`], over whatever connection that write came.

use std::fmt;
use std::sync::Arc;

mod file;
mod memory;
mod scripted;
mod split;

pub use file::FileDevice;
pub use memory::MemoryDevice;
pub use scripted::{Held, ScriptedDevice};
pub use split::Split;

/// Something that holds blocks.
pub trait BlockDevice: Send + Sync {
    /// Size, block sizes and what is offered. It does not change while the device is exported.
    fn geometry(&self) -> Geometry;

    /// Takes a request, which ends by its completion. See the module's contract.
    fn submit(&self, request: Request, completion: Completion);
}

impl<T: BlockDevice + ?Sized> BlockDevice for Arc<T> {
    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }

    fn submit(&self, request: Request, completion: Completion) {
        (**self).submit(request, completion);
    }
}

/// Size, block sizes and what a device offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size in bytes, a multiple of the logical block.
    pub bytes: u64,
    /// The logical block in bytes, a power of two from 512 to 65,536. Every request is made of
    /// whole logical blocks.
    pub logical_block: u32,
    /// The request size in bytes that is served best, a power of two, at least a logical block.
    pub preferred: u32,
    /// The longest read or write in bytes, a multiple of the logical block.
    pub maximum: u32,
    /// No write, discard or write-zeroes is taken.
    pub read_only: bool,
    /// [`Operation::Discard`] is offered.
    pub discard: bool,
    /// [`Operation::WriteZeroes`] is offered.
    pub write_zeroes: bool,
    /// A flush covers the completed writes of all connections, not only of its own.
    pub shared_flush: bool,
}

/// The smallest logical block that an export takes, in bytes.
pub const MIN_BLOCK: u32 = 512;
/// The largest logical block that an export takes, in bytes.
pub const MAX_BLOCK: u32 = 65_536;

/// What is wrong with a geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The logical block is no power of two, or out of bounds.
    #[error("a logical block of {0} bytes: it must be a power of two from 512 to 65536")]
    LogicalBlock(u32),
    /// The size is no multiple of the logical block.
    #[error("a size of {0} bytes is no multiple of the logical block")]
    Size(u64),
    /// The preferred size is no power of two, or below the logical block.
    #[error("a preferred size of {0} bytes: it must be a power of two, at least a logical block")]
    Preferred(u32),
    /// The maximum is no multiple of the logical block, or below the preferred size.
    #[error(
        "a maximum of {0} bytes: it must be a multiple of the logical block, at least the \
         preferred size"
    )]
    Maximum(u32),
}

impl Geometry {
    /// Checks the geometry itself, which an export does before it offers a device.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn validate(&self) -> Result<(), GeometryError> {
        let block = self.logical_block;
        if !block.is_power_of_two() || !(MIN_BLOCK..=MAX_BLOCK).contains(&block) {
            return Err(GeometryError::LogicalBlock(block));
        }
        if !self.bytes.is_multiple_of(u64::from(block)) {
            return Err(GeometryError::Size(self.bytes));
        }
        if !self.preferred.is_power_of_two() || self.preferred < block {
            return Err(GeometryError::Preferred(self.preferred));
        }
        if !self.maximum.is_multiple_of(block) || self.maximum < self.preferred {
            return Err(GeometryError::Maximum(self.maximum));
        }
        Ok(())
    }

    /// Checks a request before it is submitted.
    ///
    /// # Errors
    ///
    /// [`BlockError::InvalidRequest`] when its data does not fit it, else as [`Geometry::allows`].
    pub fn check(&self, request: &Request) -> Result<(), BlockError> {
        let Request { operation, offset, length, data, .. } = request;
        self.allows(*operation, *offset, *length)?;
        let room = if operation.carries_data() { *length } else { 0 };
        if data.len() as u64 != room {
            return Err(BlockError::InvalidRequest);
        }
        Ok(())
    }

    /// Whether a request of that kind may be made there.
    ///
    /// # Errors
    ///
    /// [`BlockError::NotSupported`], [`BlockError::ReadOnly`], [`BlockError::OutOfRange`], or
    /// [`BlockError::InvalidRequest`]: not whole blocks, no bytes, too long.
    pub fn allows(&self, operation: Operation, offset: u64, length: u64) -> Result<(), BlockError> {
        let offered = match operation {
            Operation::Read | Operation::Write | Operation::Flush => true,
            Operation::Discard => self.discard,
            Operation::WriteZeroes { .. } => self.write_zeroes,
        };
        if !offered {
            return Err(BlockError::NotSupported);
        }
        if self.read_only && operation.modifies() {
            return Err(BlockError::ReadOnly);
        }
        if operation == Operation::Flush {
            let right = offset == 0 && length == 0;
            return right.then_some(()).ok_or(BlockError::InvalidRequest);
        }
        let end = offset.checked_add(length).ok_or(BlockError::OutOfRange)?;
        if end > self.bytes {
            return Err(BlockError::OutOfRange);
        }
        let block = u64::from(self.logical_block);
        let whole = offset.is_multiple_of(block) && length.is_multiple_of(block);
        let too_long = operation.carries_data() && length > u64::from(self.maximum);
        if !whole || length == 0 || too_long {
            return Err(BlockError::InvalidRequest);
        }
        Ok(())
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads into the request's data.
    Read,
    /// Writes the request's data.
    Write,
    /// Makes completed writes durable. Offset and length are 0.
    Flush,
    /// Says that the blocks' contents are not needed any more. What a read of them gives then is
    /// undefined.
    Discard,
    /// Writes zeroes.
    WriteZeroes {
        /// The blocks may be given back to the storage's pool, as long as they read as zeroes.
        may_unmap: bool,
    },
}

impl Operation {
    /// Whether its request has data, in either direction.
    #[must_use]
    pub const fn carries_data(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    /// Whether it changes what the device holds.
    #[must_use]
    pub const fn modifies(self) -> bool {
        match self {
            Self::Read | Self::Flush => false,
            Self::Write | Self::Discard | Self::WriteZeroes { .. } => true,
        }
    }
}

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// `length` bytes for a read and a write, empty for all others. What a read finds in it is
    /// undefined (it may be what an earlier request left); the device overwrites all of it.
    pub data: Vec<u8>,
    /// Forced unit access: it completes only when what it changes is durable.
    pub fua: bool,
    /// An earlier server of the same device had this request and died with it: it may have taken
    /// effect, and a command for it may still be on its way. Whatever could bring the old copy to
    /// the medium has to be fenced off before this one runs. It is set on every such request and on
    /// some that are new; the first request after a recovery has it, whatever it does, so that one
    /// fence, before that one, is enough for all.
    pub reissued: bool,
}

impl Request {
    /// A read of `length` bytes into `data`, which is made to fit.
    #[must_use]
    pub fn read(offset: u64, length: u32, mut data: Vec<u8>) -> Self {
        data.resize(length as usize, 0);
        Self::new(Operation::Read, offset, u64::from(length), data)
    }

    /// A write of `data`.
    #[must_use]
    pub fn write(offset: u64, data: Vec<u8>) -> Self {
        Self::new(Operation::Write, offset, data.len() as u64, data)
    }

    /// A flush.
    #[must_use]
    pub const fn flush() -> Self {
        Self::new(Operation::Flush, 0, 0, Vec::new())
    }

    /// A discard or a write of zeroes.
    #[must_use]
    pub const fn without_data(operation: Operation, offset: u64, length: u64) -> Self {
        Self::new(operation, offset, length, Vec::new())
    }

    const fn new(operation: Operation, offset: u64, length: u64, data: Vec<u8>) -> Self {
        Self { operation, offset, length, data, fua: false, reissued: false }
    }

    /// A copy of what is asked for, without the data.
    #[must_use]
    pub const fn without_its_data(&self) -> Self {
        let Self { operation, offset, length, fua, reissued, .. } = *self;
        Self { operation, offset, length, data: Vec::new(), fua, reissued }
    }

    /// The same with forced unit access.
    #[must_use]
    pub const fn with_fua(mut self, fua: bool) -> Self {
        self.fua = fua;
        self
    }
}

impl fmt::Debug for Request {
    /// Without the data, which may be megabytes and somebody's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("operation", &self.operation)
            .field("offset", &self.offset)
            .field("length", &self.length)
            .field("fua", &self.fua)
            .field("reissued", &self.reissued)
            .finish_non_exhaustive()
    }
}

/// Why a request failed. Each export maps it to its own error numbers, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The medium or the device failed.
    #[error("input/output error")]
    Io,
    /// There is no path to the device, and the device does not wait for one.
    #[error("no path to the device")]
    NoPath,
    /// It reaches beyond the end of the device.
    #[error("beyond the end of the device")]
    OutOfRange,
    /// It is not made of whole blocks, too long, or contradicts itself.
    #[error("not a request that the device takes")]
    InvalidRequest,
    /// The device takes no writes.
    #[error("the device is read-only")]
    ReadOnly,
    /// A thinly provisioned device has no room left.
    #[error("no space left on the device")]
    NoSpace,
    /// The device does not offer the operation.
    #[error("the device does not offer this operation")]
    NotSupported,
    /// Another initiator's reservation forbids it.
    #[error("reservation conflict")]
    Reserved,
    /// The device goes down.
    #[error("the device is shutting down")]
    ShuttingDown,
    /// The device dropped the request: a defect of the device.
    #[error("the device dropped the request")]
    Abandoned,
}

/// What a request came to. A completed read returns its data; a completed write may return its
/// buffer to be used again, or an empty one.
pub type Outcome = Result<Vec<u8>, BlockError>;

/// Where completions arrive: an export.
pub trait Sink: Send + Sync {
    /// The request with that tag has ended. Called once for each, from any thread; it does not
    /// block.
    fn completed(&self, tag: u64, outcome: Outcome);
}

/// The duty to end a request.
pub struct Completion {
    /// None when the duty is done.
    sink: Option<Arc<dyn Sink>>,
    tag: u64,
}

impl Completion {
    /// The duty to tell `sink` what became of `tag`.
    #[must_use]
    pub fn new(sink: Arc<dyn Sink>, tag: u64) -> Self {
        Self { sink: Some(sink), tag }
    }

    /// Ends the request.
    pub fn complete(mut self, outcome: Outcome) {
        if let Some(sink) = self.sink.take() {
            sink.completed(self.tag, outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            tracing::error!(tag = self.tag, "a device dropped a request without ending it");
            sink.completed(self.tag, Err(BlockError::Abandoned));
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("tag", &self.tag).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
