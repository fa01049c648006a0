//! Sense data in both formats, with the referrals in it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    alua_fuzz::oracle::sense(data);
});
