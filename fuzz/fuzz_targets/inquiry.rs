//! Standard INQUIRY data and the VPD pages 00h, 80h and B3h.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    alua_fuzz::oracle::inquiry(data);
});
