//! REPORT TARGET PORT GROUPS parameter data.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    alua_fuzz::oracle::rtpg(data);
});
