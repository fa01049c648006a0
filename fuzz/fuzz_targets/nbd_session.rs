//! What an NBD client sends: the transmission phase.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    alua_fuzz::nbd_oracle::session(data);
});
