//! Many logical units on the model array: what the driver sends, keeps and costs.
//!
//! One process holds the array, the host and the driver's units, on the array's virtual clock. The
//! host is honest: it scans every path as a host does, keeps one read going on every path in use,
//! sends again what a unit attention turned back, moves to the paths that the driver names, and
//! looks at every path in the end, so that no unit attention stays unseen.

pub mod cost;
pub mod host;
pub mod replay;
pub mod scenario;
mod slots;

/// Paths of each unit: four ports in each of two groups.
pub const PATHS: usize = 8;

/// Target port groups of each unit.
pub const GROUPS: usize = 2;

/// A unit of the driver in storage of its own size.
pub type Unit =
    alua_core::unit::LogicalUnit<[alua_core::unit::Group; GROUPS], [alua_core::unit::Path; PATHS]>;
