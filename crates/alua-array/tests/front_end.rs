//! What a front end on a real transport needs: functions over many nexuses, link losses, names of
//! iSCSI initiator ports, identifiers that are used again.

mod common;

use alua_array::{Event, FunctionResult, LostTasks, Outcome};
use alua_core::spc::Status;

use common::{SECOND, TUR, array, said};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];

#[test]
fn clear_task_set_ends_the_commands_of_every_nexus_and_tells_the_others() {
    let mut array = array("");
    let (a, b) = (array.connect("a", 1).unwrap(), array.connect("b", 2).unwrap());
    array.submit(a, 0, 1, &READ, &[], 512).unwrap();
    array.submit(b, 0, 2, &READ, &[], 512).unwrap();
    assert!(array.holds(a, 1) && array.holds(b, 2) && !array.holds(a, 2));
    assert_eq!(array.clear_task_set(a, 0), FunctionResult::Complete);
    assert_eq!(array.dropped_commands(), 2);
    assert!(!array.holds(a, 1) && !array.holds(b, 2));
    let told = array.poll_completion().unwrap();
    assert_eq!((told.nexus, told.tag, told.outcome.status()), (b, 2, Some(Status::TaskAborted)));
    assert_eq!(array.poll_completion(), None);
    assert_eq!(said(&mut array, b, &TUR), "CHECK CONDITION 6/2f/00");
    assert_eq!(said(&mut array, a, &TUR), "GOOD");
    assert_eq!(array.clear_task_set(a, 77), FunctionResult::NoSuchUnit);
}

#[test]
fn a_target_reset_resets_every_unit() {
    let mut array = array("");
    let (a, b) = (array.connect("a", 1).unwrap(), array.connect("b", 2).unwrap());
    assert_eq!(array.reset_target(a), FunctionResult::Complete);
    for nexus in [a, b] {
        for lun in [0, 1] {
            let done = array.execute(nexus, lun, 9, &TUR, &[], 0, SECOND).unwrap().unwrap();
            assert_eq!(done.outcome.to_string(), "CHECK CONDITION 6/29/03");
        }
    }
}

#[test]
fn every_loss_of_a_link_is_counted() {
    let mut array = array("");
    assert_eq!((array.link_losses(1), array.link_losses(2)), (0, 0));
    array.apply(&Event::PortDown { port: 1, tasks: LostTasks::Aborted }).unwrap();
    array.apply(&Event::PowerCycle { lose_cache: false }).unwrap();
    assert_eq!((array.link_losses(1), array.link_losses(2)), (2, 1));
}

#[test]
fn an_iscsi_initiator_port_is_found_by_its_node_name() {
    let fault = "[[fault]]\nname = \"f\"\ninitiator = \"iqn.a\"\naction = \"busy\"\n";
    let mut array = array(fault);
    let port = array.connect("iqn.a,i,0x00023d000001", 1).unwrap();
    let other = array.connect("iqn.ab,i,0x00023d000001", 1).unwrap();
    assert_eq!(said(&mut array, port, &TUR), "BUSY");
    assert_eq!(said(&mut array, other, &TUR), "GOOD");
}

#[test]
fn only_forgotten_identifiers_are_used_again() {
    let mut array = array("");
    let first = array.connect("a", 1).unwrap();
    array.disconnect(first);
    let second = array.connect("a", 1).unwrap();
    assert_ne!(first, second);
    array.forget(second);
    array.forget(second);
    let third = array.connect("a", 1).unwrap();
    assert_eq!(second, third);
    assert_ne!(array.connect("b", 1).unwrap(), third);
}

#[test]
fn an_identifier_waits_for_commands_that_outlive_their_nexus() {
    let fault = "[[fault]]\nname = \"f\"\ncount = 1\naction = \"ignore-abort\"\ndelay = \"5s\"\n";
    let mut array = array(fault);
    let first = array.connect("a", 1).unwrap();
    array.submit(first, 0, 1, &READ, &[], 512).unwrap();
    array.forget(first);
    let second = array.connect("a", 1).unwrap();
    assert_ne!(first, second, "the command of the first still runs");
    array.advance(array.now().after(10 * SECOND));
    assert_eq!(array.connect("b", 1).unwrap(), first);
}

#[test]
fn data_out_lengths_count_in_the_units_blocks() {
    let mut array = array("");
    let nexus = array.connect("a", 1).unwrap();
    let write = [0x2a, 0, 0, 0, 0, 0, 0, 0, 3, 0];
    assert_eq!(array.data_out_length(nexus, 0, &write), 3 * 512);
    assert_eq!(array.data_out_length(nexus, 77, &write), 0);
    let stpg = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];
    assert_eq!(array.data_out_length(nexus, 0, &stpg), 12);
    let buffer = vec![7; 512];
    let one = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    array.submit_owned(nexus, 0, 1, &one, buffer, 0).unwrap();
    array.advance(array.now().after(SECOND));
    assert!(matches!(array.poll_completion().unwrap().outcome, Outcome::Answered { .. }));
    let mut block = [0; 512];
    assert!(array.read_medium(0, 0, &mut block));
    assert_eq!(block, [7; 512]);
}

#[test]
fn command_timeouts_are_described_where_they_are_asked_for() {
    let mut array = array("");
    let nexus = array.connect("a", 1).unwrap();
    let ask = |array: &mut _, options| {
        let cdb = [0xa3, 0x0c, options, 0x28, 0, 0, 0, 0, 16, 0, 0, 0];
        common::send(array, nexus, &cdb, &[], 4096).data().to_vec()
    };
    let (plain, timed) = (ask(&mut array, 0x01), ask(&mut array, 0x81));
    assert_eq!((plain[1], timed[1]), (0x03, 0x83));
    assert_eq!(timed[4 + 10..], [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (plain, timed) = (ask(&mut array, 0x00), ask(&mut array, 0x80));
    assert_eq!((plain.len() - 4) / 8 * 20 + 4, timed.len());
    assert!(timed[4..].chunks(20).all(|descriptor| descriptor[5] & 2 != 0));
}

#[test]
fn a_medium_can_be_filled_before_anybody_reads_it() {
    let mut array = array("");
    assert!(array.write_medium(0, 3, &[5; 1024]));
    let (size, blocks) = array.geometry(0).unwrap();
    assert!(!array.write_medium(0, blocks, &vec![5; size]));
    assert!(!array.write_medium(0, 0, &[5; 100]));
    assert!(!array.write_medium(99, 0, &[5; 512]));
    let nexus = array.connect("a", 1).unwrap();
    let cdb = [0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0];
    let outcome = common::send(&mut array, nexus, &cdb, &[], 1024);
    assert_eq!(outcome.data(), [5; 1024]);
}
