//! Each rule of the engine by hand, beside the seeds of the simulation: one test says one rule.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

mod explicit;
mod fences;
mod identity;
mod memory;
mod paths;
mod referrals;
mod rig;
mod selection;
mod waits;
