//! What the fuzz targets check. The checks are those of the crates' own tests; alua-core's replay
//! the seed corpus without a fuzzer, alua-iscsi's run random programs.

#[path = "../../crates/alua-core/tests/wire_oracle/mod.rs"]
pub mod oracle;

#[path = "../../crates/alua-iscsi/tests/stream_oracle/mod.rs"]
pub mod iscsi;
/// The checks of what an NBD client sends, which alua-export's tests use too.
#[path = "../../crates/alua-export/tests/nbd_oracle/mod.rs"]
pub mod nbd_oracle;
