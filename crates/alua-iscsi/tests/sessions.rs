//! Sessions: reinstatement, loss, task management, what the array does to ports and nexuses, and
//! that states and unit attentions come over the wire as the array has them.

mod common;

use std::time::Duration;

use alua_array::{Event, LostTasks, SenseCode};
use alua_core::access::AccessState;
use alua_iscsi::What;
use alua_iscsi::pdu::{flag, opcode};

use common::{Initiator, ORDINARY, TUR, pass, read_10, target, target_of, write_10};

const HANGING_READS: &str = "[[fault]]\nname = \"h\"\ncommand = \"read-10\"\naction = \"hang\"\n";
const LATE_WRITES: &str = "[[fault]]\nname = \"w\"\ncommand = \"write-10\"\n\
                           action = \"late-start\"\ndelay = \"3s\"\n";

fn switch(to: &str) -> Event {
    Event::Switch { unit: None, to: to.to_owned(), transition: None, fails: false }
}

fn started(initiator: &mut Initiator, target: &mut alua_iscsi::Target, cdb: &[u8]) -> u32 {
    let header = initiator.command(cdb, flag::FINAL | flag::READ, 512);
    initiator.send(target, header.bytes(), &[]);
    header.initiator_task_tag.get()
}

#[test]
fn a_transition_is_seen_through_every_port() {
    let mut target = target(|_| {});
    let mut a = Initiator::log_in(&mut target, 0);
    let mut b = Initiator::log_in(&mut target, 2);
    target.apply(&switch("B")).unwrap();
    assert_eq!(a.read(&mut target, &TUR, 0).said(), "2/04/0a");
    pass(&mut target, 3);
    for initiator in [&mut a, &mut b] {
        assert_eq!(initiator.read(&mut target, &TUR, 0).said(), "6/2a/06");
        assert_eq!(initiator.read(&mut target, &TUR, 0).said(), "GOOD");
    }
    assert_eq!(target.array().state(0, 2), Some(AccessState::ActiveOptimized));
}

#[test]
fn a_login_with_the_same_isid_ends_the_older_session_and_its_commands() {
    let mut target = target_of(LATE_WRITES, |_| {});
    let mut old = Initiator::log_in(&mut target, 0);
    let header = old.command(&write_10(0, 1), flag::FINAL | flag::WRITE, 512);
    old.send(&mut target, header.bytes(), &[7; 512]);
    let mut new = Initiator::log_in(&mut target, 0);
    assert!(target.is_over(old.id));
    assert_eq!(target.sessions().len(), 1);
    pass(&mut target, 5);
    let answer = new.read(&mut target, &read_10(0, 1), 512);
    assert_eq!(answer.data, [0; 512], "the write of the old session is fenced");
    let told: Vec<What> =
        std::iter::from_fn(|| target.poll_record()).map(|record| record.what).collect();
    assert!(told.iter().any(|what| matches!(what, What::LoggedIn { reinstated: true, .. })));
}

#[test]
fn another_isid_or_another_port_is_another_nexus() {
    let mut target = target(|_| {});
    let one = Initiator::log_in(&mut target, 0);
    let two = Initiator::log_in_as(&mut target, 0, [0x80, 0, 0, 0, 0, 2], ORDINARY);
    let three = Initiator::log_in(&mut target, 1);
    assert_eq!(target.sessions().len(), 3);
    for id in [one.id, two.id, three.id] {
        assert!(!target.is_over(id));
    }
}

#[test]
fn a_lost_session_stays_for_its_time_and_its_commands_run_on() {
    let mut target = target_of(LATE_WRITES, |_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let header = initiator.command(&write_10(0, 1), flag::FINAL | flag::WRITE, 512);
    initiator.send(&mut target, header.bytes(), &[7; 512]);
    let now = target.array().now();
    target.lost(initiator.id, now, "test");
    assert_eq!(target.sessions().len(), 1);
    pass(&mut target, 5);
    let mut block = [0; 512];
    assert!(target.array().read_medium(0, 0, &mut block));
    assert_eq!(block, [7; 512], "nobody told the array");
    pass(&mut target, 15);
    assert_eq!(target.sessions().len(), 1);
    pass(&mut target, 5);
    assert_eq!(target.sessions().len(), 0);
}

#[test]
fn the_same_connection_of_the_same_session_takes_its_place() {
    let mut target = target_of(HANGING_READS, |_| {});
    let mut old = Initiator::log_in(&mut target, 0);
    started(&mut old, &mut target, &read_10(0, 1));
    let mut new = Initiator::connect(&mut target, 0);
    new.tsih = old.tsih;
    let name = target.name().to_owned();
    let keys = [("InitiatorName", common::NAME), ("TargetName", &name)];
    assert_eq!(new.login(&mut target, 0x87, &keys).login_status(), (0, 0));
    assert!(target.is_over(old.id));
    assert_eq!((target.sessions().len(), target.sessions()[0].commands), (1, 0));
    assert_eq!(new.read(&mut target, &TUR, 0).said(), "GOOD");
    // Another connection of it is one too many, and a TSIH that nobody has is refused.
    let mut second = Initiator::connect(&mut target, 0);
    (second.tsih, second.cid) = (old.tsih, 2);
    assert_eq!(second.login(&mut target, 0x87, &keys).login_status(), (2, 6));
    let mut stray = Initiator::connect(&mut target, 0);
    stray.tsih = 999;
    assert_eq!(stray.login(&mut target, 0x87, &keys).login_status(), (2, 0x0a));
}

#[test]
fn abort_task_ends_the_command_in_the_array() {
    let mut target = target_of(LATE_WRITES, |_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let header = initiator.command(&write_10(0, 1), flag::FINAL | flag::WRITE, 512);
    let tag = header.initiator_task_tag.get();
    initiator.send(&mut target, header.bytes(), &[7; 512]);
    assert_eq!(initiator.function(&mut target, 1, 0, tag), Some(0));
    assert_eq!(initiator.function(&mut target, 1, 0, tag), Some(1));
    pass(&mut target, 5);
    initiator.nothing(&mut target);
    assert_eq!(initiator.read(&mut target, &read_10(0, 1), 512).data, [0; 512]);
}

#[test]
fn abort_task_finds_a_command_that_waits_for_its_data() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let header = initiator.command(&write_10(0, 4), flag::WRITE, 2048);
    let tag = header.initiator_task_tag.get();
    initiator.send(&mut target, header.bytes(), &[]);
    assert_eq!(initiator.function(&mut target, 1, 0, tag), Some(0));
    // Its data may still be on the way: they are dropped.
    initiator.data_out(&mut target, (tag, u32::MAX), (0, 0), &[7; 2048], true);
    initiator.nothing(&mut target);
    assert_eq!(initiator.read(&mut target, &read_10(0, 1), 512).data, [0; 512]);
}

#[test]
fn functions_over_a_unit_reach_what_they_should() {
    // Function, whether the other nexus' command ends, the unit attentions of both.
    let cases = [(2, false, "GOOD", "GOOD"), (4, true, "GOOD", "6/2f/00")];
    let resets = [(5, true, "6/29/03", "6/29/03"), (6, true, "6/29/03", "6/29/03")];
    for (function, others, own_says, other_says) in cases.into_iter().chain(resets) {
        let mut target = target_of(HANGING_READS, |_| {});
        let mut own = Initiator::log_in(&mut target, 0);
        let mut other = Initiator::log_in(&mut target, 2);
        started(&mut own, &mut target, &read_10(0, 1));
        let tag = started(&mut other, &mut target, &read_10(0, 1));
        assert_eq!(own.function(&mut target, function, 0, 0), Some(0), "{function}");
        own.nothing(&mut target);
        let said = other.answer(&mut target, tag).said();
        assert_eq!(said, if others { "40" } else { "nothing" }, "{function}");
        let left: Vec<usize> = target.sessions().iter().map(|view| view.commands).collect();
        assert_eq!(left, [0, usize::from(!others)], "{function}");
        assert_eq!(own.read(&mut target, &TUR, 0).said(), own_says, "{function}");
        assert_eq!(other.read(&mut target, &TUR, 0).said(), other_says, "{function}");
    }
}

#[test]
fn functions_that_are_not_there_say_so() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    assert_eq!(initiator.function(&mut target, 1, 0, 77), Some(1));
    assert_eq!(initiator.function(&mut target, 2, 99, 0), Some(2));
    assert_eq!(initiator.function(&mut target, 3, 0, 0), Some(5));
    assert_eq!(initiator.function(&mut target, 5, 99, 0), Some(2));
    assert_eq!(initiator.function(&mut target, 8, 0, 0), Some(4));
    assert_eq!(initiator.function(&mut target, 99, 0, 0), Some(5));
    // A cold reset ends every connection, with a word before.
    let other = Initiator::log_in(&mut target, 2);
    assert_eq!(initiator.function(&mut target, 7, 0, 0), Some(0));
    let message = initiator.take(&mut target, opcode::ASYNC);
    assert_eq!(message.header[36], 3);
    target.take_output(other.id);
    assert!(target.is_over(initiator.id) && target.is_over(other.id));
}

#[test]
fn a_function_that_a_fault_swallows_has_no_answer() {
    let fault = "[[fault]]\nname = \"f\"\nfunction = \"reset-unit\"\naction = \"hang\"\n";
    let mut target = target_of(fault, |_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    assert_eq!(initiator.function(&mut target, 5, 0, 0), None);
    assert_eq!(initiator.read(&mut target, &TUR, 0).said(), "GOOD");
}

#[test]
fn a_port_that_goes_down_breaks_its_connections_and_takes_no_new_ones() {
    let mut target = target(|_| {});
    let a = Initiator::log_in(&mut target, 0);
    let b = Initiator::log_in(&mut target, 1);
    target.apply(&Event::PortDown { port: 1, tasks: LostTasks::Aborted }).unwrap();
    assert!(target.is_over(a.id) && !target.is_over(b.id));
    assert_eq!(target.open(0, "x", "y"), None);
    target.apply(&Event::PortUp { port: 1 }).unwrap();
    let mut again = Initiator::log_in(&mut target, 0);
    assert_eq!(again.read(&mut target, &TUR, 0).said(), "GOOD");
}

#[test]
fn a_power_cycle_of_the_script_breaks_everything_at_its_time() {
    let script = "[[event]]\nat = \"5s\"\ndo = \"power-cycle\"\n";
    let mut target = target_of(script, |_| {});
    let a = Initiator::log_in(&mut target, 0);
    let b = Initiator::log_in(&mut target, 3);
    pass(&mut target, 4);
    assert!(!target.is_over(a.id) && !target.is_over(b.id));
    pass(&mut target, 1);
    assert!(target.is_over(a.id) && target.is_over(b.id));
}

#[test]
fn a_transport_fault_breaks_the_connection_and_its_command_may_run_later() {
    let fault = "[[fault]]\nname = \"g\"\ncommand = \"write-10\"\naction = \"transport\"\n\
                 runs_after = \"2s\"\n";
    let mut target = target_of(fault, |_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    let header = initiator.command(&write_10(0, 1), flag::FINAL | flag::WRITE, 512);
    initiator.send(&mut target, header.bytes(), &[7; 512]);
    assert!(target.is_over(initiator.id));
    let mut block = [0; 512];
    assert!(target.array().read_medium(0, 0, &mut block) && block == [0; 512]);
    pass(&mut target, 3);
    assert!(target.array().read_medium(0, 0, &mut block) && block == [7; 512], "a ghost write");
}

#[test]
fn a_reset_by_an_event_frees_what_it_ended() {
    let mut target = target_of(HANGING_READS, |_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    started(&mut initiator, &mut target, &read_10(0, 1));
    assert_eq!(target.sessions()[0].commands, 1);
    target.apply(&Event::NexusLoss { initiator: None, port: None }).unwrap();
    assert_eq!(target.sessions()[0].commands, 0);
    assert_eq!(initiator.read(&mut target, &TUR, 0).said(), "6/29/07");
}

#[test]
fn logging_out_ends_the_session_and_the_connection() {
    use alua_iscsi::pdu::layout::LogoutRequest;
    for (reason, cid, response) in [(0, 1, 0), (1, 1, 0), (1, 9, 1), (2, 1, 2)] {
        let mut target = target(|_| {});
        let mut initiator = Initiator::log_in(&mut target, 0);
        let mut header = LogoutRequest::zeroed();
        header.opcode = opcode::LOGOUT | opcode::IMMEDIATE;
        header.reason = 0x80 | reason;
        header.cid.set(cid);
        header.initiator_task_tag.set(5);
        header.cmd_sn.set(initiator.cmd_sn);
        initiator.send(&mut target, header.bytes(), &[]);
        let answer = initiator.take(&mut target, opcode::LOGOUT_RESPONSE);
        assert_eq!((answer.tag(), answer.header[2]), (5, response));
        assert_eq!(target.is_over(initiator.id), response == 0);
        assert_eq!(target.sessions().is_empty(), response == 0);
    }
}

#[test]
fn unit_attentions_are_announced_where_that_is_wanted() {
    let mut target = target(|settings| settings.announce = true);
    let mut initiator = Initiator::log_in(&mut target, 0);
    let code = SenseCode::from_text("3f/0e").unwrap();
    let event =
        Event::UnitAttention { initiator: None, port: None, unit: Some("data1".into()), code };
    target.apply(&event).unwrap();
    let message = initiator.take(&mut target, opcode::ASYNC);
    assert_eq!((message.header[36], message.header[9]), (0, 1));
    assert_eq!((message.data[1], message.data[4], message.data[14]), (18, 6, 0x3f));
    // Once only; and the condition waits all the same.
    pass(&mut target, 3);
    initiator.nothing(&mut target);
    let mut header = initiator.command(&TUR, flag::FINAL, 0);
    header.lun[1] = 1;
    initiator.send(&mut target, header.bytes(), &[]);
    let said = initiator.answer(&mut target, header.initiator_task_tag.get()).said();
    assert_eq!(said, "6/3f/0e");
}

/// A change of states is announced to every session, through whichever port, and only with its end.
#[test]
fn a_change_of_states_is_announced_to_every_session() {
    let mut target = target(|settings| settings.announce = true);
    let mut all: Vec<Initiator> = (0..4).map(|port| Initiator::log_in(&mut target, port)).collect();
    let event = Event::from_toml(
        "do = \"switch\"\nto = \"B\"\nunit = \"data0\"\ntransition = \"3s\"",
        &target.array().config().alua,
    );
    target.apply(&event.unwrap()).unwrap();
    for initiator in &mut all {
        initiator.nothing(&mut target);
    }
    pass(&mut target, 5);
    for initiator in &mut all {
        let message = initiator.take(&mut target, opcode::ASYNC);
        assert_eq!((message.header[36], message.header[9]), (0, 0));
        assert_eq!((message.data[14], message.data[15]), (0x2a, 0x06));
        initiator.nothing(&mut target);
    }
}

#[test]
fn who_is_asked_to_log_out_and_does_not_is_cut() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::log_in(&mut target, 0);
    assert_eq!(target.request_logout(Some(2), Duration::from_secs(5)), 0);
    assert_eq!(target.request_logout(Some(1), Duration::from_secs(5)), 1);
    let message = initiator.take(&mut target, opcode::ASYNC);
    assert_eq!((message.header[36], message.header[43]), (1, 5));
    pass(&mut target, 4);
    assert!(!target.is_over(initiator.id));
    pass(&mut target, 2);
    assert!(target.is_over(initiator.id));
    let again = Initiator::log_in(&mut target, 0);
    assert_eq!(target.cut(Some(1)), 1);
    assert!(target.is_over(again.id));
}

#[test]
fn connections_and_sessions_are_bounded() {
    let mut target = target(|settings| {
        settings.limits.connections = 3;
        settings.limits.sessions = 2;
    });
    let isid = |n| [0x80, 0, 0, 0, 0, n];
    let one = Initiator::log_in_as(&mut target, 0, isid(1), ORDINARY);
    let _two = Initiator::log_in_as(&mut target, 0, isid(2), ORDINARY);
    let mut three = Initiator::connect(&mut target, 0);
    assert_eq!(target.open(0, "x", "y"), None);
    three.isid = isid(3);
    let name = target.name().to_owned();
    let keys = [("InitiatorName", common::NAME), ("TargetName", &name)];
    assert_eq!(three.login(&mut target, 0x87, &keys).login_status(), (3, 2));
    // One whose initiator is away makes room.
    let now = target.array().now();
    target.lost(one.id, now, "test");
    let _three = Initiator::log_in_as(&mut target, 0, isid(3), ORDINARY);
    assert_eq!(target.sessions().len(), 2);
}

#[test]
fn many_logins_leave_nothing_behind() {
    let mut target = target(|_| {});
    for _ in 0..50 {
        let mut initiator = Initiator::log_in(&mut target, 0);
        assert_eq!(initiator.read(&mut target, &TUR, 0).said(), "GOOD");
    }
    assert_eq!((target.sessions().len(), target.connection_count()), (1, 1));
    // The array gives the same few identifiers again.
    let nexus = target.sessions()[0].nexus.to_string();
    assert!(["n0", "n1"].contains(&nexus.as_str()), "{nexus}");
}
