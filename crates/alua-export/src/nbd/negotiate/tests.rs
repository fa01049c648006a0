use super::*;

const GEOMETRY: Geometry = Geometry {
    bytes: 1 << 30,
    logical_block: 512,
    preferred: 4096,
    maximum: 1 << 20,
    read_only: false,
    discard: true,
    write_zeroes: true,
    shared_flush: true,
};

fn offers() -> Arc<[Offer]> {
    let offer = |name: &str, geometry| Offer {
        name: name.to_owned(),
        description: format!("the {name}"),
        geometry,
    };
    let large = Geometry { logical_block: 4096, read_only: true, ..GEOMETRY };
    Arc::new([offer("disk", GEOMETRY), offer("large", large)])
}

/// After the flags, with the greeting taken away.
fn negotiation() -> Negotiation {
    let mut negotiation = Negotiation::new(offers());
    assert_eq!(negotiation.output(), b"NBDMAGICIHAVEOPT\0\x03");
    negotiation.sent(18);
    assert_eq!(negotiation.receive(&[0, 0, 0, 3]), 4);
    negotiation
}

fn bytes_of(option: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [b"IHAVEOPT", &option.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

fn go(name: &str, kinds: &[u16]) -> Vec<u8> {
    let mut data = u32::try_from(name.len()).unwrap().to_be_bytes().to_vec();
    data.extend(name.as_bytes());
    data.extend(u16::try_from(kinds.len()).unwrap().to_be_bytes());
    data.extend(kinds.iter().flat_map(|kind| kind.to_be_bytes()));
    data
}

/// Sends an option and gives the replies' types with their data.
fn ask(negotiation: &mut Negotiation, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let bytes = bytes_of(option, data);
    assert_eq!(negotiation.receive(&bytes), bytes.len());
    let output = negotiation.output().to_vec();
    negotiation.sent(output.len());
    replies(&output, option)
}

fn replies(mut output: &[u8], option: u32) -> Vec<(u32, Vec<u8>)> {
    let mut replies = Vec::new();
    while !output.is_empty() {
        let mut reader = Reader(output);
        assert_eq!(reader.u64(), Some(wire::OPTION_REPLY_MAGIC));
        assert_eq!(reader.u32(), Some(option));
        let kind = reader.u32().unwrap();
        let length = reader.u32().unwrap();
        replies.push((kind, reader.bytes(length as usize).unwrap().to_vec()));
        output = reader.0;
    }
    replies
}

#[test]
fn go_tells_size_flags_and_block_sizes_and_begins() {
    let mut negotiation = negotiation();
    let got = ask(&mut negotiation, option::GO, &go("disk", &[info::NAME, info::DESCRIPTION]));
    let export = [0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0x01, 0x6d].to_vec();
    let sizes = [0, 3, 0, 0, 2, 0, 0, 0, 0x10, 0, 0, 0x10, 0, 0].to_vec();
    assert_eq!(
        got,
        [
            (reply::INFO, export),
            (reply::INFO, sizes),
            (reply::INFO, b"\0\x01disk".to_vec()),
            (reply::INFO, b"\0\x02the disk".to_vec()),
            (reply::ACK, vec![]),
        ]
    );
    assert_eq!(negotiation.end(), Some(End::Begin(0)));
    // What follows belongs to the transmission phase.
    assert_eq!(negotiation.receive(&[1, 2, 3]), 0);
}

#[test]
fn info_tells_the_same_and_goes_on() {
    let mut negotiation = negotiation();
    let told = ask(&mut negotiation, option::INFO, &go("large", &[info::BLOCK_SIZE]));
    assert_eq!(told.last(), Some(&(reply::ACK, vec![])));
    // Read-only, with flush, FUA, trim, write zeroes, multi-conn.
    assert_eq!(told[0].1[10..], [0x01, 0x6f]);
    assert_eq!(negotiation.end(), None);
    assert_eq!(ask(&mut negotiation, option::ABORT, &[]), [(reply::ACK, vec![])]);
    assert_eq!(negotiation.end(), Some(End::Aborted));
}

#[test]
fn an_empty_name_is_the_first_offer_and_an_unknown_one_is_an_error() {
    let mut negotiation = negotiation();
    let unknown = ask(&mut negotiation, option::GO, &go("other", &[]));
    assert_eq!(unknown[0].0, reply::ERR_UNKNOWN);
    assert_eq!(negotiation.end(), None);
    ask(&mut negotiation, option::GO, &go("", &[]));
    assert_eq!(negotiation.end(), Some(End::Begin(0)));
}

#[test]
fn a_client_that_does_not_ask_for_block_sizes_is_told_them_and_let_in() {
    let mut first = negotiation();
    let told = ask(&mut first, option::GO, &go("large", &[]));
    assert_eq!(told[1], (reply::INFO, [0, 3, 0, 0, 16, 0, 0, 0, 16, 0, 0, 16, 0, 0].to_vec()));
    assert_eq!(first.end(), Some(End::Begin(1)));
    let mut second = negotiation();
    second.receive(&bytes_of(option::EXPORT_NAME, b"large"));
    assert_eq!(second.end(), Some(End::Begin(1)));
}

#[test]
fn the_old_option_begins_without_a_reply_of_its_own() {
    for (flags, zeroes) in [(3, 0), (1, 124)] {
        let mut negotiation = Negotiation::new(offers());
        negotiation.sent(18);
        negotiation.receive(&[0, 0, 0, flags]);
        negotiation.receive(&bytes_of(option::EXPORT_NAME, b"disk"));
        let head = [0, 0, 0, 0, 0x40, 0, 0, 0, 0x01, 0x6d];
        assert_eq!(negotiation.output(), [&head[..], &vec![0; zeroes]].concat());
        assert_eq!(negotiation.end(), Some(End::Begin(0)));
    }
    let mut other = negotiation();
    other.receive(&bytes_of(option::EXPORT_NAME, b"other"));
    assert_eq!(other.end(), Some(End::Refused(Refusal::NoSuchExport)));
}

#[test]
fn exports_are_listed() {
    let mut negotiation = negotiation();
    let listed = ask(&mut negotiation, option::LIST, &[]);
    assert_eq!(
        listed,
        [
            (reply::SERVER, b"\0\0\0\x04diskthe disk".to_vec()),
            (reply::SERVER, b"\0\0\0\x05largethe large".to_vec()),
            (reply::ACK, vec![]),
        ]
    );
    assert_eq!(ask(&mut negotiation, option::LIST, &[1])[0].0, reply::ERR_INVALID);
}

#[test]
fn what_is_unknown_or_malformed_is_refused_and_the_client_goes_on() {
    let mut negotiation = negotiation();
    // Structured replies, metadata contexts, extended headers, TLS, and nothing that there is.
    for option in [8, 9, 10, 11, option::STARTTLS, 0xffff_ffff] {
        assert_eq!(ask(&mut negotiation, option, &[1, 2, 3])[0].0, reply::ERR_UNSUP);
    }
    let right = go("disk", &[info::NAME]);
    for broken in [&right[..right.len() - 1], &[&right[..], &[0]].concat(), &[], &[0xff; 6]] {
        assert_eq!(ask(&mut negotiation, option::GO, broken)[0].0, reply::ERR_INVALID);
    }
    let long = vec![0; MAX_OPTION_DATA + 1];
    assert_eq!(ask(&mut negotiation, option::GO, &long)[0].0, reply::ERR_TOO_BIG);
    assert_eq!(negotiation.end(), None);
    ask(&mut negotiation, option::GO, &right);
    assert_eq!(negotiation.end(), Some(End::Begin(0)));
}

#[test]
fn what_cannot_be_answered_ends_the_connection() {
    let ended = |bytes: &[u8]| {
        let mut negotiation = negotiation();
        negotiation.receive(bytes);
        negotiation.end()
    };
    let head = |length: u32| [b"IHAVEOPT", &[0, 0, 0, 1][..], &length.to_be_bytes()].concat();
    assert_eq!(ended(b"IHAVEOPX\0\0\0\x01\0\0\0\0"), Some(End::Refused(Refusal::Magic)));
    let too_much = Some(End::Refused(Refusal::TooMuchData));
    assert_eq!(ended(&head(MAX_SKIPPED + 1)), too_much);
    assert_eq!(ended(&head(u32::try_from(MAX_OPTION_DATA + 1).unwrap())), too_much);
    let mut negotiation = Negotiation::new(offers());
    negotiation.receive(&[0, 0, 0, 4]);
    assert_eq!(negotiation.end(), Some(End::Refused(Refusal::Flags)));
}

#[test]
fn a_client_that_asks_for_ever_is_cut_off_and_cannot_fill_the_memory() {
    // One list of these is 10 kB.
    let many: Vec<Offer> = (0..50)
        .map(|index| Offer {
            name: index.to_string(),
            description: "d".repeat(180),
            geometry: GEOMETRY,
        })
        .collect();
    let mut negotiation = Negotiation::new(many.into());
    negotiation.sent(18);
    negotiation.receive(&[0, 0, 0, 3]);
    let list = bytes_of(option::LIST, &[]);
    let all = list.repeat(MAX_OPTIONS as usize * 8);
    let mut left = &all[..];
    let mut most = 0;
    loop {
        left = &left[negotiation.receive(left)..];
        most = most.max(negotiation.output().len());
        if negotiation.end().is_some() {
            break;
        }
        negotiation.sent(1000);
    }
    assert_eq!(negotiation.end(), Some(End::Refused(Refusal::TooManyOptions)));
    assert!((MAX_OUTPUT..MAX_OUTPUT + 12_000).contains(&most), "{most} bytes wait to be sent");
}

#[test]
fn a_server_that_goes_down_refuses_options() {
    let mut first = negotiation();
    first.shut_down();
    let refused = ask(&mut first, option::GO, &go("disk", &[]));
    assert_eq!(refused[0].0, reply::ERR_SHUTDOWN);
    assert_eq!(ask(&mut first, option::ABORT, &[]), [(reply::ACK, vec![])]);
    let mut second = negotiation();
    second.shut_down();
    second.receive(&bytes_of(option::EXPORT_NAME, b"disk"));
    assert_eq!(second.end(), Some(End::Refused(Refusal::ShuttingDown)));
}

proptest::proptest! {
    #[test]
    fn where_the_stream_is_cut_changes_nothing(
        options in proptest::collection::vec(
            (0_u32..12, proptest::collection::vec(0_u8..4, 0..12)), 0..8),
        cuts in proptest::collection::vec(1_usize..30, 1..20),
    ) {
        let mut stream = vec![0, 0, 0, 3];
        for (option, data) in &options {
            // Half of them are well-formed.
            let data = if data.len() % 2 == 0 { go("disk", &[1, 3]) } else { data.clone() };
            stream.extend(bytes_of(*option, &data));
        }
        let mut whole = Negotiation::new(offers());
        let taken = whole.receive(&stream);
        let mut cut = Negotiation::new(offers());
        let (mut at, mut sizes) = (0, cuts.iter().cycle());
        while at < stream.len() {
            let end = (at + sizes.next().unwrap()).min(stream.len());
            let count = cut.receive(&stream[at..end]);
            at += count;
            if cut.end().is_some() { break }
        }
        proptest::prop_assert_eq!(whole.end(), cut.end());
        proptest::prop_assert_eq!(whole.output(), cut.output());
        proptest::prop_assert_eq!(taken, at);
    }
}
