//! Connections, PDUs, time and events for the iSCSI target.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    alua_fuzz::iscsi::stream(data);
});
