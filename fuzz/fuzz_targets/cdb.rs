//! Command descriptor blocks, as an array gets them from any initiator.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    alua_fuzz::oracle::cdb(data);
});
