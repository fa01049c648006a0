//! Hostile bytes, without a fuzzer: what `fuzz/` runs for long, here on random programs.

mod stream_oracle;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_stream_leaves_the_target_in_order(data in vec(any::<u8>(), 0..2000)) {
        stream_oracle::stream(&data);
    }

    #[test]
    fn any_login_ends(data in vec(any::<u8>(), 0..600)) {
        stream_oracle::login(&data);
    }

    /// Commands more than anything else, so that many are in flight.
    #[test]
    fn many_commands_leave_the_target_in_order(
        steps in vec((7..16_u8, vec(any::<u8>(), 24), 0..4_u8), 0..80),
    ) {
        let mut data = Vec::new();
        for (what, mut fields, length) in steps {
            // SCSI commands, Data-Out and task management, mostly with the right flags.
            fields[0] = [0x01, 0x01, 0x41, 0x05, 0x02][usize::from(fields[0]) % 5];
            data.push(what);
            data.extend_from_slice(&fields);
            data.push(length);
            data.extend_from_slice(&vec![7; usize::from(length) * 8]);
        }
        stream_oracle::stream(&data);
    }
}
