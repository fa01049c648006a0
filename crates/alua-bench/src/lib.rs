//! The figures of the ALUA driver. `cargo xtask bench` runs them and prints one table;
//! `docs/figures.md` records it.
//!
//! - [`samples`]: the bytes that every parser gets, ours and those of others.
//! - [`subjects`]: our work on these bytes, each with a checksum of what it read.
//! - `peers/`: the same work through other implementations, as small C programs around the
//!   libraries. They run as processes of their own, so that nothing here is unsafe and a missing
//!   library costs one row of the table. [`peer`] talks to them.
//! - [`scale`]: 4,096 logical units over eight paths each, on the model array.

pub mod load;
pub mod peer;
pub mod samples;
pub mod scale;
pub mod subjects;
