//! What the fuzz targets check. The checks are those of alua-core's own tests, which also replay
//! the seed corpus without a fuzzer.

#[path = "../../crates/alua-core/tests/wire_oracle/mod.rs"]
pub mod oracle;

/// The checks of what an NBD client sends, which alua-export's tests use too.
#[path = "../../crates/alua-export/tests/nbd_oracle/mod.rs"]
pub mod nbd_oracle;
