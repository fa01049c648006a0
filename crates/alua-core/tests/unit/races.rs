//! Things that happen while a command is in flight.

use alua_core::access::Tpgs;
use alua_core::spc::Status;
use alua_core::unit::Config;

use crate::harness::*;

#[test]
fn a_report_asked_for_before_a_transition_does_not_end_it() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    host.wait(1_000);
    host.unit.refresh(host.now);
    let asked = host.expect_next();
    host.wait(10);
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    assert_eq!(host.state(1), Some(TRANS));
    host.answer(&asked, &report(&[(1, AO), (2, AN)]));
    assert_eq!(host.state(1), Some(TRANS), "the answer is older than the sense");

    host.run(|_| report(&[(1, AN), (2, AO)]));
    assert_eq!(host.state(1), Some(AN), "the next one is not");
}

/// Found by the exhaustive walk at depth six.
#[test]
fn c06_a_switch_held_up_by_a_transition_ends_though_no_report_can_be_read() {
    let (mut host, paths) =
        Host::known(Tpgs::Both, Config::default(), &[1, 2], &[(1, AO), (2, AN)]);
    let id = host.unit.activate(2, host.now).unwrap();
    let rtpg = host.expect_next();
    host.answer(&rtpg, &report(&[(1, AO), (2, AN)]));
    let stpg = host.expect_next();
    host.answer(&stpg, &Answer::Status(Status::Busy));
    // While the switch waits for its next turn, the other group enters a transition, reports
    // are refused from then on, and the path in transition goes.
    host.meet(paths[0], NOT_READY, 0x04, 0x0a);
    host.unit.remove_path(paths[0], host.now);
    host.run(|_| Answer::Check(ILLEGAL, 0x24, 0x00));
    assert!(host.result(id).is_err());
}
