//! The login phase, word for word.

mod common;

use alua_iscsi::{Account, Algorithm, Secret, binary, to_hex};

use common::{Initiator, NAME, ORDINARY, TUR, target};

/// Keys with their values.
type Keys<'a> = &'a [(&'a str, &'a str)];

fn who(target: &alua_iscsi::Target) -> [(&'static str, String); 2] {
    [("InitiatorName", NAME.to_owned()), ("TargetName", target.name().to_owned())]
}

fn login(
    initiator: &mut Initiator,
    target: &mut alua_iscsi::Target,
    flags: u8,
    keys: &[(&str, &str)],
) -> common::Pdu {
    let who = who(target);
    let mut all: Vec<(&str, &str)> = who.iter().map(|(k, v)| (*k, v.as_str())).collect();
    all.extend_from_slice(keys);
    initiator.login(target, flags, &all)
}

#[test]
fn every_operational_key_is_answered() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::connect(&mut target, 2);
    let keys = [
        ("InitiatorAlias", "x"),
        ("HeaderDigest", "CRC32C,None"),
        ("DataDigest", "None"),
        ("MaxConnections", "4"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
        ("MaxRecvDataSegmentLength", "65536"),
        ("MaxBurstLength", "16776192"),
        ("FirstBurstLength", "262144"),
        ("DefaultTime2Wait", "0"),
        ("DefaultTime2Retain", "0"),
        ("MaxOutstandingR2T", "8"),
        ("DataPDUInOrder", "Yes"),
        ("DataSequenceInOrder", "Yes"),
        ("ErrorRecoveryLevel", "2"),
        ("TaskReporting", "RFC3720"),
        ("X-com.example.what", "1"),
    ];
    let answer = login(&mut initiator, &mut target, 0x87, &keys);
    assert_eq!(answer.login_status(), (0, 0));
    let pairs = answer.pairs();
    let said: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        said,
        [
            "TargetPortalGroupTag=3",
            "HeaderDigest=CRC32C",
            "DataDigest=None",
            "MaxConnections=1",
            "InitialR2T=No",
            "ImmediateData=Yes",
            "MaxBurstLength=1048576",
            "FirstBurstLength=262144",
            "DefaultTime2Wait=2",
            "DefaultTime2Retain=0",
            "MaxOutstandingR2T=1",
            "DataPDUInOrder=Yes",
            "DataSequenceInOrder=Yes",
            "ErrorRecoveryLevel=0",
            "TaskReporting=RFC3720",
            "X-com.example.what=NotUnderstood",
            "MaxRecvDataSegmentLength=262144",
        ]
    );
    // ISID comes back, StatSN begins where the initiator wants it.
    assert_eq!(answer.header[8..14], initiator.isid);
    assert_eq!(answer.word(24), 1);
}

#[test]
fn a_login_goes_through_its_stages_one_by_one() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::connect(&mut target, 0);
    let answer = login(&mut initiator, &mut target, 0x81, &[("AuthMethod", "CHAP,None")]);
    assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x81));
    assert_eq!(answer.value("AuthMethod").as_deref(), Some("None"));
    let answer = initiator.login(&mut target, 0x04, &[("InitialR2T", "No")]);
    assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x04));
    let answer = initiator.login(&mut target, 0x87, &[]);
    assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x87));
    assert_eq!(target.sessions().len(), 1);
}

#[test]
fn a_text_may_come_in_pieces() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::connect(&mut target, 0);
    let text = format!("InitiatorName={NAME}\0TargetName={}\0InitialR2T=No\0", target.name());
    let (first, rest) = text.as_bytes().split_at(30);
    let answer = initiator.login_text(&mut target, 0x44, first);
    assert_eq!((answer.login_status(), answer.header[1], answer.data.len()), ((0, 0), 0x04, 0));
    let answer = initiator.login_text(&mut target, 0x87, rest);
    assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x87));
    assert_eq!(answer.value("InitialR2T").as_deref(), Some("No"));
}

#[test]
fn wrong_logins_are_refused_with_their_status() {
    let name = target(|_| {}).name().to_owned();
    let other = "iqn.2026-03.invalid.alua:other";
    let cases: &[(u8, Keys<'_>, (u8, u8))] = &[
        (0x87, &[("TargetName", &name)], (2, 7)),
        (0x87, &[("InitiatorName", NAME)], (2, 7)),
        (0x87, &[("InitiatorName", "no name"), ("TargetName", &name)], (2, 0)),
        (0x87, &[("InitiatorName", NAME), ("TargetName", other)], (2, 3)),
        (0x87, &[("InitiatorName", NAME), ("SessionType", "Odd")], (2, 9)),
        // A stage that does not follow, and one that does not exist.
        (0x84, &[("InitiatorName", NAME), ("TargetName", &name)], (2, 0)),
        (0x86, &[("InitiatorName", NAME), ("TargetName", &name)], (2, 0)),
        (0x0c, &[("InitiatorName", NAME), ("TargetName", &name)], (2, 0)),
        // T and C together.
        (0xc7, &[("InitiatorName", NAME), ("TargetName", &name)], (2, 0)),
        (0x87, &[("InitiatorName", NAME), ("TargetName", &name), ("A", "1"), ("A", "1")], (2, 0)),
    ];
    for (flags, keys, status) in cases {
        let mut target = target(|_| {});
        let mut initiator = Initiator::connect(&mut target, 0);
        let answer = initiator.login(&mut target, *flags, keys);
        assert_eq!(answer.login_status(), *status, "{flags:02x} {keys:?}");
        assert!(target.is_over(initiator.id), "{keys:?}");
        assert!(target.sessions().is_empty());
    }
}

#[test]
fn only_a_login_may_come_first() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::connect(&mut target, 0);
    let header = initiator.command(&TUR, 0x80, 0);
    initiator.send(&mut target, header.bytes(), &[]);
    initiator.nothing(&mut target);
    assert!(target.is_over(initiator.id));
}

#[test]
fn a_login_that_takes_too_long_ends() {
    let mut target = target(|_| {});
    let slow = Initiator::connect(&mut target, 0);
    common::pass(&mut target, 14);
    assert!(!target.is_over(slow.id));
    common::pass(&mut target, 3);
    assert!(target.is_over(slow.id));
}

#[test]
fn a_login_has_an_end() {
    let mut target = target(|_| {});
    let mut initiator = Initiator::connect(&mut target, 0);
    let mut last = login(&mut initiator, &mut target, 0x04, &[]).login_status();
    for _ in 0..40 {
        if target.is_over(initiator.id) {
            break;
        }
        last = initiator.login(&mut target, 0x04, &[]).login_status();
    }
    assert_eq!(last, (2, 0));
}

const SECRET: &[u8] = b"initiators secret";
const OWN: &[u8] = b"the targets secret";

fn with_account(target: &mut alua_iscsi::Settings) {
    target.authentication.accounts.push(Account {
        initiator: None,
        incoming: Secret { name: "user".to_owned(), secret: SECRET.to_vec() },
        outgoing: Some(Secret { name: "array".to_owned(), secret: OWN.to_vec() }),
    });
}

/// Up to the challenge: identifier and challenge.
fn challenged(
    target: &mut alua_iscsi::Target,
    initiator: &mut Initiator,
    algorithms: &str,
) -> (u8, Vec<u8>, u32) {
    let answer = login(initiator, target, 0x00, &[("AuthMethod", "CHAP,None")]);
    assert_eq!(answer.value("AuthMethod").as_deref(), Some("CHAP"));
    let answer = initiator.login(target, 0x00, &[("CHAP_A", algorithms)]);
    assert_eq!(answer.login_status(), (0, 0));
    let identifier = answer.value("CHAP_I").unwrap().parse().unwrap();
    let challenge = binary(&answer.value("CHAP_C").unwrap()).unwrap();
    (identifier, challenge, answer.value("CHAP_A").unwrap().parse().unwrap())
}

#[test]
fn chap_lets_in_with_every_hash_and_proves_the_target_too() {
    for algorithm in Algorithm::ALL {
        let mut target = target(with_account);
        let mut initiator = Initiator::connect(&mut target, 0);
        let offered = format!("99,{},5", algorithm.number());
        let (identifier, challenge, chosen) = challenged(&mut target, &mut initiator, &offered);
        assert_eq!(chosen, algorithm.number());
        let response = to_hex(&algorithm.response(identifier, SECRET, &challenge));
        let own = [9, 8, 7, 6, 5, 4, 3, 2, 1];
        let keys = [
            ("CHAP_N", "user"),
            ("CHAP_R", &response),
            ("CHAP_I", "77"),
            ("CHAP_C", &to_hex(&own)),
        ];
        let answer = initiator.login(&mut target, 0x81, &keys);
        assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x81));
        assert_eq!(answer.value("CHAP_N").as_deref(), Some("array"));
        let proof = binary(&answer.value("CHAP_R").unwrap()).unwrap();
        assert_eq!(proof, algorithm.response(77, OWN, &own));
        let answer = initiator.login(&mut target, 0x87, ORDINARY);
        assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x87));
        assert_eq!(target.sessions().len(), 1);
    }
}

#[test]
fn chap_keeps_everybody_else_out() {
    let response = |id, secret: &[u8], challenge: &[u8]| {
        to_hex(&Algorithm::Sha256.response(id, secret, challenge))
    };
    type Made = Vec<(&'static str, String)>;
    type Make<'a> = &'a dyn Fn(u8, &[u8]) -> Made;
    let cases: [(&str, Make<'_>); 6] = [
        ("a wrong secret", &|id, challenge| {
            vec![("CHAP_N", "user".into()), ("CHAP_R", response(id, b"guess", challenge))]
        }),
        ("a wrong name", &|id, challenge| {
            vec![("CHAP_N", "other".into()), ("CHAP_R", response(id, SECRET, challenge))]
        }),
        ("no name", &|id, challenge| vec![("CHAP_R", response(id, SECRET, challenge))]),
        ("no binary", &|_, _| vec![("CHAP_N", "user".into()), ("CHAP_R", "zz".into())]),
        ("the challenge sent back", &|id, challenge| {
            vec![
                ("CHAP_N", "user".into()),
                ("CHAP_R", response(id, SECRET, challenge)),
                ("CHAP_I", "1".into()),
                ("CHAP_C", to_hex(challenge)),
            ]
        }),
        ("the response to another identifier", &|id, challenge| {
            let wrong = id.wrapping_add(1);
            vec![("CHAP_N", "user".into()), ("CHAP_R", response(wrong, SECRET, challenge))]
        }),
    ];
    for (case, make) in cases {
        let mut target = target(with_account);
        let mut initiator = Initiator::connect(&mut target, 0);
        let (identifier, challenge, _) = challenged(&mut target, &mut initiator, "7");
        let keys = make(identifier, &challenge);
        let keys: Vec<(&str, &str)> = keys.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let answer = initiator.login(&mut target, 0x81, &keys);
        assert_eq!(answer.login_status(), (2, 1), "{case}");
        assert!(target.is_over(initiator.id) && target.sessions().is_empty(), "{case}");
    }
}

#[test]
fn nobody_gets_around_chap() {
    // Straight to the operational stage; no method; only None; the full feature phase at once.
    let cases: &[(u8, Keys<'_>)] = &[
        (0x87, &[]),
        (0x81, &[]),
        (0x83, &[]),
        (0x81, &[("AuthMethod", "None")]),
        (0x83, &[("AuthMethod", "None")]),
        (0x04, &[("InitialR2T", "No")]),
    ];
    for (flags, keys) in cases {
        let mut target = target(with_account);
        let mut initiator = Initiator::connect(&mut target, 0);
        let answer = login(&mut initiator, &mut target, *flags, keys);
        assert_eq!(answer.login_status(), (2, 1), "{flags:02x} {keys:?}");
        assert!(target.sessions().is_empty());
    }
    // T in the middle of CHAP is not granted, and CHAP goes on.
    let mut target = target(with_account);
    let mut initiator = Initiator::connect(&mut target, 0);
    let answer = login(&mut initiator, &mut target, 0x81, &[("AuthMethod", "CHAP")]);
    assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x00));
    let answer = initiator.login(&mut target, 0x83, &[("CHAP_A", "7")]);
    assert_eq!((answer.login_status(), answer.header[1]), ((0, 0), 0x00));
    assert!(target.sessions().is_empty());
}

#[test]
fn an_account_may_be_for_one_initiator_only() {
    let mut target = target(|settings| {
        with_account(settings);
        settings.authentication.accounts[0].initiator = Some("iqn.2026-03.invalid.test:b".into());
    });
    let mut initiator = Initiator::connect(&mut target, 0);
    let (identifier, challenge, _) = challenged(&mut target, &mut initiator, "7");
    let response = to_hex(&Algorithm::Sha256.response(identifier, SECRET, &challenge));
    let answer = initiator.login(&mut target, 0x81, &[("CHAP_N", "user"), ("CHAP_R", &response)]);
    assert_eq!(answer.login_status(), (2, 1));
}

#[test]
fn discovery_lists_every_portal_with_its_port_as_the_group_tag() {
    let mut target = target(|settings| {
        // Discovery stays open though there is an account, unless the settings say otherwise.
        with_account(settings);
        settings.portals[3].address = None;
    });
    let mut initiator = Initiator::connect(&mut target, 0);
    let keys = [("InitiatorName", NAME), ("SessionType", "Discovery"), ("MaxBurstLength", "1024")];
    let answer = initiator.login(&mut target, 0x87, &keys);
    assert_eq!(answer.login_status(), (0, 0));
    assert_eq!(answer.value("MaxBurstLength").as_deref(), Some("Irrelevant"));
    let listed = send_targets(&mut target, &mut initiator, "All");
    assert_eq!(
        listed,
        [
            "TargetName=iqn.2026-03.invalid.alua:demo",
            "TargetAddress=127.0.0.1:3260,1",
            "TargetAddress=127.0.0.2:3260,2",
            "TargetAddress=127.0.0.3:3260,3",
            "TargetAddress=127.0.0.9:3260,4",
        ]
    );
    assert!(send_targets(&mut target, &mut initiator, "iqn.2026-03.invalid.alua:x").is_empty());
    // No SCSI in a discovery session.
    let header = initiator.command(&TUR, 0x80, 0);
    initiator.send(&mut target, header.bytes(), &[]);
    initiator.take(&mut target, alua_iscsi::pdu::opcode::REJECT);
    assert!(target.is_over(initiator.id));
}

fn send_targets(
    target: &mut alua_iscsi::Target,
    initiator: &mut Initiator,
    value: &str,
) -> Vec<String> {
    use alua_iscsi::pdu::{flag, layout::Exchange, opcode};
    let mut header = Exchange::zeroed();
    header.opcode = opcode::TEXT;
    header.flags = flag::FINAL;
    header.initiator_task_tag.set(50);
    header.target_transfer_tag.set(u32::MAX);
    header.sn.set(initiator.cmd_sn);
    initiator.cmd_sn += 1;
    initiator.send(target, header.bytes(), format!("SendTargets={value}\0").as_bytes());
    let answer = initiator.take(target, opcode::TEXT_RESPONSE);
    assert_eq!(answer.header[1], flag::FINAL);
    answer.pairs().iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[test]
fn a_long_list_is_sent_in_pieces() {
    use alua_iscsi::pdu::{flag, layout::Exchange, opcode};
    let mut target = target(|_| {});
    let mut initiator = Initiator::connect(&mut target, 0);
    let keys = [
        ("InitiatorName", NAME),
        ("SessionType", "Discovery"),
        ("MaxRecvDataSegmentLength", "512"),
    ];
    initiator.login(&mut target, 0x87, &keys);
    let portals = 4;
    let mut header = Exchange::zeroed();
    header.opcode = opcode::TEXT;
    header.flags = flag::FINAL;
    header.initiator_task_tag.set(50);
    header.target_transfer_tag.set(u32::MAX);
    header.sn.set(initiator.cmd_sn);
    // The list of four portals fits; ask for it five times in one text.
    let text = "SendTargets=All\0".repeat(5);
    initiator.send(&mut target, header.bytes(), text.as_bytes());
    let mut all = Vec::new();
    let mut answer = initiator.take(&mut target, opcode::TEXT_RESPONSE);
    let mut steps = 0;
    while answer.header[1] & flag::CONTINUE != 0 {
        assert_eq!(answer.data.len(), 512);
        all.extend_from_slice(&answer.data);
        initiator.cmd_sn += 1;
        header.sn.set(initiator.cmd_sn);
        header.target_transfer_tag.set(answer.word(20));
        initiator.send(&mut target, header.bytes(), &[]);
        answer = initiator.take(&mut target, opcode::TEXT_RESPONSE);
        steps += 1;
    }
    all.extend_from_slice(&answer.data);
    assert!(steps > 0);
    let pairs = alua_iscsi::text::pairs(&all).unwrap();
    assert_eq!(pairs.len(), 5 * (portals + 1));
}
