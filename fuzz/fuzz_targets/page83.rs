//! VPD page 83h and the identity that is read from it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    alua_fuzz::oracle::page83(data);
});
