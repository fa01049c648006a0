//! Faults, lost links, task management: what becomes of commands that go wrong, and what fences
//! those that nobody waits for.

mod common;

use std::time::Duration;

use alua_array::{
    AluaSettings, Array, Event, FunctionResult, NexusId, Outcome, Time, TransportError, shipped,
};
use alua_core::spc::Status;
use alua_core::spc::target_port_groups::Report;
use common::*;

fn fault(action: &str) -> Array {
    array(&format!("[[fault]]\nname = \"f\"\naction = {action}"))
}

fn event(toml: &str) -> Event {
    Event::from_toml(toml, &AluaSettings::default()).unwrap()
}

fn write(array: &mut Array, nexus: NexusId, tag: u64, value: u8) {
    array.submit(nexus, 0, tag, &write_16(0, 1), &[value; 512], 0).unwrap();
}

#[test]
fn statuses_replace_the_command() {
    for (action, seen) in [
        ("\"busy\"", "BUSY"),
        ("\"task-set-full\"", "TASK SET FULL"),
        ("\"reservation-conflict\"", "RESERVATION CONFLICT"),
        ("\"task-aborted\"", "TASK ABORTED"),
        ("\"check\"\nsense = \"b/47/03\"", "CHECK CONDITION b/47/03"),
    ] {
        let mut array = fault(action);
        let nexus = array.connect("host", 1).unwrap();
        let outcome = send(&mut array, nexus, &write_16(0, 1), &[9; 512], 0);
        assert_eq!(outcome.to_string(), seen);
        assert_eq!(on_medium(&array, 0), 0);
    }
}

#[test]
fn a_fault_meets_whom_it_is_meant_for() {
    let mut array = array(
        "[[fault]]\nname = \"f\"\ninitiator = \"one\"\nport = 2\nunit = \"disk1\"\n\
         command = [\"test-unit-ready\", \"read-16\"]\nskip = 1\ncount = 2\naction = \"busy\"",
    );
    let mut busy = 0;
    for (host, port, lun, cdb) in [
        ("two", 2, 1, &TUR[..]),
        ("one", 1, 1, &TUR),
        ("one", 2, 0, &TUR),
        ("one", 2, 1, &[0x1a, 0, 0x3f, 0, 255, 0]),
    ] {
        let nexus = array.connect(host, port).unwrap();
        assert!(send_to(&mut array, nexus, lun, cdb, &[], 255).is_good(), "{host} {port} {lun}");
    }
    let nexus = array.connect("one", 2).unwrap();
    let mut seen = String::new();
    for _ in 0..5 {
        let outcome = send_to(&mut array, nexus, 1, &TUR, &[], 0);
        seen.push(if outcome.is_good() { 'g' } else { 'b' });
        busy += u32::from(!outcome.is_good());
    }
    assert_eq!(seen, "gbbgg");
    assert_eq!(array.fault_count("f"), Some(busy));
    apply(&mut array, "do = \"arm\"\nfault = \"f\"");
    assert!(send_to(&mut array, nexus, 1, &TUR, &[], 0).is_good());
    assert_eq!(send_to(&mut array, nexus, 1, &TUR, &[], 0).status(), Some(Status::Busy));
    apply(&mut array, "do = \"disarm\"\nfault = \"f\"");
    assert!(send_to(&mut array, nexus, 1, &TUR, &[], 0).is_good());
}

#[test]
fn chance_follows_the_seed() {
    let run = |seed: u32| {
        let mut array = array(&format!(
            "[array]\nseed = {seed}\n[[fault]]\nname = \"f\"\nper_mille = 250\naction = \"busy\""
        ));
        let nexus = array.connect("host", 1).unwrap();
        (0..1000).map(|_| send(&mut array, nexus, &TUR, &[], 0).is_good()).collect::<Vec<bool>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let busy = run(3).iter().filter(|good| !**good).count();
    assert!((180..320).contains(&busy), "{busy}");
}

#[test]
fn a_hanging_command_ends_only_by_an_abort() {
    for runs in [false, true] {
        let mut array = fault(&format!("\"hang\"\nruns = {runs}\ncount = 1"));
        let nexus = array.connect("host", 1).unwrap();
        write(&mut array, nexus, 5, 7);
        assert_eq!(drain(&mut array, Time::from_millis(3_600_000)), []);
        assert_eq!(on_medium(&array, 0), if runs { 7 } else { 0 });
        assert_eq!((array.held_commands(), array.next_event()), (1, None));
        assert_eq!(array.abort(nexus, 5), FunctionResult::Complete);
        assert_eq!(array.abort(nexus, 5), FunctionResult::NoSuchTask);
        assert_eq!(array.held_commands(), 0);
        assert_eq!(drain(&mut array, Time::MAX), []);
    }
}

#[test]
fn execute_aborts_what_does_not_end_in_time() {
    let mut array = fault("\"hang\"\ncount = 1");
    let nexus = array.connect("host", 1).unwrap();
    array.submit(nexus, 1, 1, &TUR, &[], 0).unwrap();
    let done = array.execute(nexus, 0, 2, &TUR, &[], 0, SECOND).unwrap();
    assert!(done.unwrap().outcome.is_good());
    assert_eq!(array.held_commands(), 1);
    apply(&mut array, "do = \"arm\"\nfault = \"f\"");
    assert_eq!(array.execute(nexus, 0, 3, &TUR, &[], 0, SECOND).unwrap(), None);
    assert_eq!(array.now(), Time::from_nanos(1_000_200_000));
    assert_eq!(array.held_commands(), 1);
}

/// A fault that no file has: it works at once, can be disarmed by its name, takes the place of an
/// older one, and leaves what that one has met as it was.
#[test]
fn a_fault_can_be_made_while_the_array_runs() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    let error = array.apply(&event("do = \"disarm\"\nfault = \"f\"")).unwrap_err().to_string();
    assert!(error.contains("no fault f") && error.contains("event `fault` makes"), "{error}");
    let keys = "name = \"f\"\ncommand = [\"test-unit-ready\"]\ncount = 1";
    let make = |action: &str| event(&format!("do = \"fault\"\n{keys}\n{action}"));
    array.apply(&make("action = \"late-answer\"\ndelay = \"1s\"")).unwrap();
    array.submit(nexus, 0, 1, &TUR, &[], 0).unwrap();
    array.apply(&make("action = \"check\"\nsense = \"4/44/00\"")).unwrap();
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 4/44/00");
    assert_eq!(array.fault_count("f"), Some(1));
    assert!(said(&mut array, nexus, &TUR) == "GOOD", "it ends after so many");
    // The first command's answer is late all the same, and GOOD.
    assert!(array.now() < Time::from_millis(1_000));
    assert_eq!(drain(&mut array, Time::from_millis(3_000)), [(1, "GOOD".to_owned())]);
    apply(&mut array, "do = \"arm\"\nfault = \"f\"");
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 4/44/00");
    apply(&mut array, "do = \"arm\"\nfault = \"f\"");
    apply(&mut array, "do = \"disarm\"\nfault = \"f\"");
    assert_eq!(said(&mut array, nexus, &TUR), "GOOD");
    let wrong = array.apply(&event("do = \"fault\"\nname = \"g\"\naction = \"busy\"\nport = 77"));
    assert!(wrong.unwrap_err().to_string().contains("no port 77"));
    assert_eq!(array.fault_count("g"), None);
}

/// In a script the events that speak of it may stand before it.
#[test]
fn a_script_may_make_a_fault() {
    let mut array = array(
        "[[event]]\nat = \"2s\"\ndo = \"disarm\"\nfault = \"f\"\n\
         [[event]]\nat = \"1s\"\ndo = \"fault\"\nname = \"f\"\naction = \"busy\"\n",
    );
    let nexus = array.connect("host", 1).unwrap();
    for (at, wanted) in [(500, "GOOD"), (1_500, "BUSY"), (2_500, "GOOD")] {
        array.advance(Time::from_millis(at));
        assert_eq!(said(&mut array, nexus, &TUR), wanted, "{at} ms");
    }
}

/// A write whose transport fails at once and that is carried out at 3 s; a newer one after it.
fn ghost() -> (Array, NexusId) {
    let mut array = fault("\"transport\"\nruns_after = \"3s\"\ncount = 1");
    let nexus = array.connect("host", 1).unwrap();
    write(&mut array, nexus, 1, 1);
    assert_eq!(drain(&mut array, Time::from_millis(1)), [(1, "disrupted".to_owned())]);
    (array, nexus)
}

#[test]
fn a_ghost_write_lands_on_newer_data() {
    let (mut array, nexus) = ghost();
    array.record_writes();
    write(&mut array, nexus, 2, 2);
    assert_eq!(drain(&mut array, Time::from_millis(2000)), [(2, "GOOD".to_owned())]);
    assert_eq!(on_medium(&array, 0), 2);
    assert_eq!(drain(&mut array, Time::from_millis(4000)), []);
    assert_eq!(on_medium(&array, 0), 1);
    let order: Vec<u64> = array.take_writes().iter().map(|write| write.tag).collect();
    assert_eq!(order, [2, 1]);
    assert_eq!(array.held_commands(), 0);
}

#[test]
fn every_fence_stops_a_ghost_write() {
    type Fence = fn(&mut Array, NexusId);
    let fences: [(&str, Fence); 6] = [
        ("abort", |array, nexus| {
            assert_eq!(array.abort(nexus, 1), FunctionResult::Complete);
        }),
        ("task set", |array, nexus| {
            assert_eq!(array.abort_task_set(nexus, 0), FunctionResult::Complete);
        }),
        ("reset from another nexus", |array, _| {
            let other = array.connect("other", 2).unwrap();
            assert_eq!(array.reset_unit(other, 0), FunctionResult::Complete);
        }),
        ("session reinstatement", |array, _| {
            array.connect("host", 1).unwrap();
        }),
        ("disconnect", |array, nexus| array.disconnect(nexus)),
        ("power cycle", |array, _| apply(array, "do = \"power-cycle\"")),
    ];
    for (name, fence) in fences {
        let (mut array, nexus) = ghost();
        fence(&mut array, nexus);
        assert_eq!(drain(&mut array, Time::from_millis(9000)), [], "{name}");
        assert_eq!(on_medium(&array, 0), 0, "{name}");
        assert_eq!(array.held_commands(), 0, "{name}");
    }
}

#[test]
fn a_reset_of_another_unit_is_no_fence() {
    let (mut array, nexus) = ghost();
    assert_eq!(array.reset_unit(nexus, 1), FunctionResult::Complete);
    assert_eq!(array.abort_task_set(nexus, 1), FunctionResult::Complete);
    assert_eq!(array.abort(nexus, 2), FunctionResult::NoSuchTask);
    assert_eq!(array.reset_unit(nexus, 7), FunctionResult::NoSuchUnit);
    array.advance(Time::from_millis(9000));
    assert_eq!(on_medium(&array, 0), 1);
}

#[test]
fn an_array_that_ignores_aborts_writes_after_the_answer() {
    let mut array = fault("\"ignore-abort\"\ndelay = \"2s\"\ncount = 1");
    let nexus = array.connect("host", 1).unwrap();
    write(&mut array, nexus, 1, 9);
    array.advance(Time::from_millis(1000));
    assert_eq!(array.abort(nexus, 1), FunctionResult::Complete);
    assert_eq!(on_medium(&array, 0), 0);
    assert_eq!(drain(&mut array, Time::from_millis(5000)), []);
    assert_eq!(on_medium(&array, 0), 9);
    assert_eq!(array.held_commands(), 0);
}

#[test]
fn a_late_answer_follows_a_write_in_time() {
    let mut array = fault("\"late-answer\"\ndelay = \"5s\"\ncount = 2");
    let nexus = array.connect("host", 1).unwrap();
    write(&mut array, nexus, 1, 3);
    assert_eq!(drain(&mut array, Time::from_millis(1000)), []);
    assert_eq!(on_medium(&array, 0), 3);
    assert_eq!(drain(&mut array, Time::from_millis(6000)), [(1, "GOOD".to_owned())]);
    // An abort on the way takes the answer back, not the write.
    write(&mut array, nexus, 2, 4);
    array.advance(Time::from_millis(7000));
    assert_eq!(array.abort(nexus, 2), FunctionResult::Complete);
    assert_eq!(drain(&mut array, Time::from_millis(20_000)), []);
    assert_eq!(on_medium(&array, 0), 4);
}

#[test]
fn late_starts_let_commands_overtake() {
    let mut array = fault("\"late-start\"\ndelay = \"1s\"\ncount = 1");
    let nexus = array.connect("host", 1).unwrap();
    write(&mut array, nexus, 1, 1);
    write(&mut array, nexus, 2, 2);
    let order: Vec<u64> =
        drain(&mut array, Time::from_millis(5000)).into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(order, [2, 1]);
    assert_eq!(on_medium(&array, 0), 1);
}

#[test]
fn a_lost_link_ends_commands_and_may_leave_them_running() {
    for (tasks, lands) in [("aborted", 0), ("run", 8)] {
        let mut array = array("");
        let (nexus, other) = (array.connect("host", 1).unwrap(), array.connect("host", 2).unwrap());
        write(&mut array, nexus, 1, 8);
        array.submit(other, 1, 2, &TUR, &[], 0).unwrap();
        apply(&mut array, &format!("do = \"port-down\"\nport = 1\ntasks = \"{tasks}\""));
        array.submit(nexus, 0, 3, &TUR, &[], 0).unwrap();
        let seen = drain(&mut array, Time::from_millis(100));
        let seen: Vec<(u64, &str)> = seen.iter().map(|(tag, text)| (*tag, text.as_str())).collect();
        assert_eq!(seen, [(1, "disrupted"), (3, "no-connect"), (2, "GOOD")]);
        assert_eq!(on_medium(&array, 0), lands);
        let no_connect = FunctionResult::Transport(TransportError::NoConnect);
        assert_eq!(array.abort(nexus, 1), no_connect);
        apply(&mut array, "do = \"port-up\"\nport = 1");
        assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/29/07");
        assert_eq!(said(&mut array, nexus, &TUR), "GOOD");
        assert_eq!(array.held_commands(), 0);
    }
}

#[test]
fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
    for (lose, second, third) in [(false, 2, 3), (true, 0, 3)] {
        let mut array = shipped::METRO.build();
        let (nexus, far) = (array.connect("h", 1).unwrap(), array.connect("h", 3).unwrap());
        for nexus in [nexus, far] {
            assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/29/00");
        }
        let flush = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(send(&mut array, nexus, &write_16(1, 1), &[1; 512], 0).is_good());
        assert!(send(&mut array, nexus, &flush, &[], 0).is_good());
        assert!(send(&mut array, nexus, &write_16(2, 1), &[2; 512], 0).is_good());
        assert!(send(&mut array, far, &write_16(3, 1), &[3; 512], 0).is_good());
        let mut fua = write_16(4, 1);
        fua[1] = 0x08;
        assert!(send(&mut array, nexus, &fua, &[4; 512], 0).is_good());
        assert_eq!(array.unflushed_blocks(0), 2);
        apply(
            &mut array,
            &format!("do = \"controller-crash\"\ncontroller = \"north-1\"\nlose_cache = {lose}"),
        );
        let seen: Vec<u8> = (1..=4).map(|lba| on_medium(&array, lba)).collect();
        assert_eq!(seen, [1, second, third, 4]);
    }
}

#[test]
fn a_reset_answers_the_others_or_leaves_them_in_the_dark() {
    for (tas, told) in [(true, vec![(2, "TASK ABORTED".to_owned())]), (false, vec![])] {
        let mut array = array(&format!("[array]\ntask_aborted_status = {tas}"));
        let (own, other) = (array.connect("one", 1).unwrap(), array.connect("two", 1).unwrap());
        write(&mut array, own, 1, 1);
        write(&mut array, other, 2, 2);
        assert_eq!(array.reset_unit(own, 0), FunctionResult::Complete);
        assert_eq!(drain(&mut array, Time::from_millis(100)), told);
        assert_eq!((on_medium(&array, 0), array.held_commands()), (0, 0));
        for nexus in [own, other] {
            assert_eq!(waiting(&array, nexus), ["29/03"]);
        }
    }
}

#[test]
fn task_management_can_fail_too() {
    for (action, result, done) in [
        ("\"hang\"", FunctionResult::NoAnswer, false),
        ("\"hang\"\nruns = true", FunctionResult::NoAnswer, true),
        ("\"transport\"", FunctionResult::Transport(TransportError::Disrupted), false),
        ("\"busy\"", FunctionResult::Rejected, false),
    ] {
        let mut array = fault(&format!("{action}\nfunction = [\"abort-task\"]\ncount = 1"));
        let nexus = array.connect("host", 1).unwrap();
        write(&mut array, nexus, 1, 6);
        assert_eq!(array.abort(nexus, 1), result);
        array.advance(Time::from_millis(10));
        assert_eq!(on_medium(&array, 0), if done { 0 } else { 6 });
        assert_eq!(array.abort(nexus, 2), FunctionResult::NoSuchTask);
    }
}

#[test]
fn a_full_task_set_says_so() {
    let mut array = array("[array]\nqueue_depth = 2");
    let (one, two) = (array.connect("one", 1).unwrap(), array.connect("two", 2).unwrap());
    for (nexus, tag) in [(one, 1), (two, 2), (one, 3)] {
        array.submit(nexus, 0, tag, &TUR, &[], 0).unwrap();
    }
    array.submit(one, 1, 4, &TUR, &[], 0).unwrap();
    let seen = drain(&mut array, Time::from_millis(10));
    let seen: Vec<&str> = seen.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(seen, ["GOOD", "GOOD", "TASK SET FULL", "GOOD"]);
    assert_eq!(said(&mut array, one, &TUR), "GOOD");
}

/// RTPG with room for so many bytes.
fn rtpg(array: &mut Array, nexus: NexusId, room: u32) -> Vec<u8> {
    let mut cdb = [0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[6..10].copy_from_slice(&room.to_be_bytes());
    let outcome = send(array, nexus, &cdb, &[], room as usize);
    assert!(outcome.is_good());
    outcome.data().to_vec()
}

#[test]
fn lying_reports_lie_as_told() {
    let mut array = shipped::LIAR.build();
    let nexus = array.connect("host", 1).unwrap();
    assert_eq!(said(&mut array, nexus, &TUR), "CHECK CONDITION 6/29/00");
    // Short: cut in the middle of a descriptor.
    for _ in 0..2 {
        assert_eq!(rtpg(&mut array, nexus, 128).len(), 13);
    }
    // Growing: each time 96 bytes more than the time before, whatever the room.
    let needed: Vec<u32> =
        (0..5).map(|_| Report::needed_length(&rtpg(&mut array, nexus, 1024)).unwrap()).collect();
    assert_eq!(needed, [128, 224, 320, 416, 512]);
    // Endless: never enough.
    for room in [64, 256, 4096, 65536, 128] {
        let data = rtpg(&mut array, nexus, room);
        assert_eq!(Report::needed_length(&data).unwrap(), room + 0x1_0000 + 4);
        assert_eq!(data.len(), room as usize);
    }
    // A port count that leads past the end.
    for _ in 0..2 {
        assert!(Report::parse(&rtpg(&mut array, nexus, 128)).is_err());
    }
    // Without the own group.
    for _ in 0..2 {
        let data = rtpg(&mut array, nexus, 128);
        let report = Report::parse(&data).unwrap();
        assert_eq!(report.groups().map(|group| group.id).collect::<Vec<_>>(), [2]);
    }
    // Garbage, and another garbage.
    assert_ne!(rtpg(&mut array, nexus, 128), rtpg(&mut array, nexus, 128));
    let data = rtpg(&mut array, nexus, 128);
    let report = Report::parse(&data).unwrap();
    assert!(report.groups().all(|group| group.supported.bits() == 0xcf));
}

#[test]
fn the_residual_tells_what_did_not_fit() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    for (room, left) in [(100, 64), (36, 0), (10, -26)] {
        let outcome = send(&mut array, nexus, &[0x12, 0, 0, 0, 36, 0], &[], room);
        let Outcome::Answered { data_in, residual, .. } = outcome else { panic!() };
        assert_eq!((data_in.len(), residual), (room.min(36), left));
    }
}

#[test]
fn a_nexus_that_ended_takes_no_command() {
    let mut array = array("");
    let nexus = array.connect("host", 1).unwrap();
    write(&mut array, nexus, 1, 5);
    let again = array.connect("host", 1).unwrap();
    assert!(array.submit(nexus, 0, 2, &TUR, &[], 0).is_err());
    assert!(array.submit(again, 0, 2, &[], &[], 0).is_err());
    assert!(array.submit(again, 0, 2, &[0; 33], &[], 0).is_err());
    assert!(array.connect("host", 9).is_err());
    array.advance(Time::ZERO.after(Duration::from_secs(1)));
    assert_eq!(on_medium(&array, 0), 0);
    assert_eq!(array.poll_completion(), None);
}

#[test]
fn latencies_add_up() {
    let mut array = array(
        "[array]\ncommand_time = \"1ms\"\nnon_optimized_time = \"2ms\"\n\
         [[port]]\nid = 3\ngroup = 2\nlink_time = \"4ms\"",
    );
    let near = array.connect("host", 1).unwrap();
    let far = array.connect("host", 3).unwrap();
    let mut took = |nexus, cdb: &[u8]| {
        let before = array.now();
        assert!(send(&mut array, nexus, cdb, &[], 512).is_good());
        array.now().since(before).as_millis()
    };
    assert_eq!(took(near, &TUR), 1);
    assert_eq!(took(near, &read_16(0, 1)), 1);
    assert_eq!(took(far, &TUR), 5);
    assert_eq!(took(far, &read_16(0, 1)), 7);
}

#[test]
fn a_command_ends_once_for_its_initiator() {
    let mut array = fault("\"transport\"\nruns_after = \"3s\"\ncount = 1");
    let nexus = array.connect("host", 1).unwrap();
    write(&mut array, nexus, 1, 1);
    // The link goes before the transport of the command fails by itself.
    apply(&mut array, "do = \"port-down\"\nport = 1\ntasks = \"run\"");
    assert_eq!(drain(&mut array, Time::from_millis(1000)), [(1, "disrupted".to_owned())]);
    assert_eq!(array.held_commands(), 1);
    assert_eq!(drain(&mut array, Time::from_millis(5000)), []);
    assert_eq!((on_medium(&array, 0), array.held_commands()), (1, 0));
}

#[test]
fn only_good_data_are_changed() {
    let mut array = fault("\"replace\"\ndata = \"00 00 00 00\"\ncount = 2");
    let nexus = array.connect("host", 1).unwrap();
    let outcome = send(&mut array, nexus, &read_16(9999, 1), &[], 512);
    assert_eq!(outcome.to_string(), "CHECK CONDITION 5/21/00");
    assert!(outcome.data().is_empty());
    assert_eq!(send(&mut array, nexus, &read_16(0, 1), &[], 512).data(), [0; 4]);
}
