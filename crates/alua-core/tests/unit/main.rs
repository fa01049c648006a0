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

mod exhaustive;
mod harness;

mod activation;
mod decisions;
mod detection;
mod hostile;
mod inside;
mod patience;
mod races;
mod random;
mod regressions;
mod reports;
mod senses;
mod series;
mod smoke;
mod stpg;
mod uneven;
mod worker;
