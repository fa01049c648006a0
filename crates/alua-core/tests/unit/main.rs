//! The logical unit's machine, driven by hand: every row of the behaviour catalogue that is a
//! matter of the core, by its identifier.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed"
)]

mod detection;
mod exhaustive;
mod harness;
mod hostile;
mod races;
mod reports;
mod smoke;
