use alua_core::access::Tpgs;
use alua_core::unit::{Activated, Config};

use crate::harness::*;

#[test]
fn one_report_tells_all_groups_and_an_activation_is_verified() {
    let (mut host, paths) = Host::with_paths(Tpgs::Both, Config::default(), &[1, 1, 2, 2]);
    host.run(|_| report(&[(1, AO), (2, AN)]));
    assert_eq!(host.kinds(), ["RTPG"]);
    assert_eq!(host.path_state(paths[3]), Some(AN));

    host.sent.clear();
    let id = host.unit.activate(2, host.now).unwrap();
    let mut done = false;
    host.run(|command| match kind(command) {
        "STPG" => {
            done = true;
            GOOD
        }
        _ if done => report(&[(1, AN), (2, AO)]),
        _ => report(&[(1, AO), (2, AN)]),
    });
    assert_eq!(host.kinds(), ["RTPG", "STPG", "RTPG"]);
    assert_eq!(host.result(id), Ok(Activated::Reached));
}
