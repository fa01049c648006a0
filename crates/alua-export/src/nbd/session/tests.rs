use proptest::prelude::*;

use super::*;

const GEOMETRY: Geometry = Geometry {
    bytes: 1 << 20,
    logical_block: 512,
    preferred: 4096,
    maximum: 1 << 18,
    read_only: false,
    discard: true,
    write_zeroes: true,
    shared_flush: true,
};

fn head(command: u16, cookie: u64, offset: u64, length: u32) -> RequestHead {
    RequestHead { flags: 0, command, cookie, offset, length }
}

fn bytes(head: RequestHead, payload: &[u8]) -> Vec<u8> {
    [&head.to_bytes()[..], payload].concat()
}

fn session() -> Session {
    Session::new(GEOMETRY, Limits::default())
}

/// Gives bytes to a session, in pieces of at most `piece`; false when it takes no more.
fn feed(session: &mut Session, mut bytes: &[u8], piece: usize) -> bool {
    while !bytes.is_empty() {
        if !session.wants_input() {
            return false;
        }
        let space = session.space();
        assert!(!space.is_empty(), "input is wanted and there is no room for it");
        let count = space.len().min(bytes.len()).min(piece);
        space[..count].copy_from_slice(&bytes[..count]);
        session.filled(count);
        bytes = &bytes[count..];
    }
    true
}

fn requests(session: &mut Session) -> Vec<(u64, Request)> {
    std::iter::from_fn(|| session.poll_request()).collect()
}

/// Everything that is to be sent, which is then sent.
fn output(session: &mut Session) -> Vec<u8> {
    let output: Vec<u8> = session.chunks().flatten().copied().collect();
    session.sent(output.len());
    output
}

fn reply(error: u32, cookie: u64, data: &[u8]) -> Vec<u8> {
    [&wire::simple_reply(error, cookie)[..], data].concat()
}

#[test]
fn the_bytes_of_a_read_and_of_its_reply() {
    let mut session = session();
    let stream = b"\x25\x60\x95\x13\0\0\0\0COOKIE!!\0\0\0\0\0\0\x02\0\0\0\x04\0";
    assert!(feed(&mut session, stream, 1));
    let [(tag, request)] = &requests(&mut session)[..] else { panic!("not one request") };
    assert_eq!(*request, Request::read(512, 1024, Vec::new()));
    session.complete(*tag, Ok(vec![7; 1024])).unwrap();
    let want = [&b"\x67\x44\x66\x98\0\0\0\0COOKIE!!"[..], &[7; 1024]].concat();
    assert_eq!(output(&mut session), want);
    assert_eq!(session.in_flight(), 0);
    assert!(!session.is_done());
}

#[test]
fn every_command_becomes_its_request() {
    let mut session = session();
    let fua = |head| RequestHead { flags: command_flags::FUA, ..head };
    let zeroes = head(command::WRITE_ZEROES, 5, 0, 512);
    let no_hole = RequestHead { flags: command_flags::NO_HOLE | command_flags::FUA, ..zeroes };
    let stream = [
        bytes(fua(head(command::READ, 1, 0, 512)), &[]),
        bytes(fua(head(command::WRITE, 2, 512, 512)), &[9; 512]),
        bytes(head(command::FLUSH, 3, 0, 0), &[]),
        bytes(fua(head(command::TRIM, 4, 0, 1 << 20)), &[]),
        bytes(zeroes, &[]),
        bytes(no_hole, &[]),
    ]
    .concat();
    assert!(feed(&mut session, &stream, usize::MAX));
    let got: Vec<Request> = requests(&mut session).into_iter().map(|(_, one)| one).collect();
    let without = Request::without_data;
    let want = [
        Request::read(0, 512, Vec::new()).with_fua(true),
        Request::write(512, vec![9; 512]).with_fua(true),
        Request::flush(),
        without(Operation::Discard, 0, 1 << 20).with_fua(true),
        without(Operation::WriteZeroes { may_unmap: true }, 0, 512),
        without(Operation::WriteZeroes { may_unmap: false }, 0, 512).with_fua(true),
    ];
    assert_eq!(got, want);
    for request in &got {
        assert_eq!(GEOMETRY.check(request), Ok(()));
    }
}

#[test]
fn replies_come_in_the_order_of_completion() {
    let mut session = session();
    let stream: Vec<u8> =
        (0..3).flat_map(|cookie| bytes(head(command::FLUSH, cookie, 0, 0), &[])).collect();
    assert!(feed(&mut session, &stream, usize::MAX));
    let all = requests(&mut session);
    for (tag, _) in all.iter().rev() {
        session.complete(*tag, Ok(Vec::new())).unwrap();
    }
    let want: Vec<u8> = [2, 1, 0].iter().flat_map(|cookie| reply(0, *cookie, &[])).collect();
    assert_eq!(output(&mut session), want);
}

#[test]
fn the_client_may_take_its_replies_in_any_two_pieces() {
    for piece in 0..=2 * SIMPLE_REPLY_BYTES + 512 {
        let mut session = session();
        let read = bytes(head(command::READ, 1, 0, 512), &[]);
        let flush = bytes(head(command::FLUSH, 2, 0, 0), &[]);
        feed(&mut session, &[read, flush].concat(), usize::MAX);
        for (tag, request) in requests(&mut session) {
            let data: Vec<u8> = (0..request.data.len()).map(|at| at as u8).collect();
            session.complete(tag, Ok(data)).unwrap();
        }
        let whole: Vec<u8> = session.chunks().flatten().copied().collect();
        session.sent(piece);
        assert_eq!(output(&mut session), whole[piece..]);
        assert_eq!(session.in_flight(), 0);
    }
}

#[test]
fn what_is_refused_gets_the_number_of_the_specification_and_the_stream_stays_in_step() {
    use wire::errno::{EINVAL, ENOSPC, EPERM};
    let size = u32::try_from(GEOMETRY.bytes).unwrap();
    let read_only = Geometry { read_only: true, ..GEOMETRY };
    let bare = Geometry { discard: false, write_zeroes: false, ..GEOMETRY };
    let unknown_flag = RequestHead { flags: 1 << 2, ..head(command::READ, 1, 0, 512) };
    for (geometry, head, want) in [
        (GEOMETRY, head(command::READ, 1, GEOMETRY.bytes, 512), EINVAL),
        (GEOMETRY, head(command::WRITE, 1, GEOMETRY.bytes, 512), ENOSPC),
        (GEOMETRY, head(command::WRITE, 1, u64::MAX, 512), ENOSPC),
        (GEOMETRY, head(command::WRITE_ZEROES, 1, 512, size), ENOSPC),
        // Beyond the maximum, and longer than any buffer that is there for it.
        (GEOMETRY, head(command::WRITE, 1, 0, 1 << 19), EINVAL),
        (GEOMETRY, head(command::READ, 1, 0, 1 << 19), EINVAL),
        (GEOMETRY, head(command::READ, 1, 100, 512), EINVAL),
        (GEOMETRY, head(command::WRITE, 1, 0, 100), EINVAL),
        (GEOMETRY, head(command::WRITE, 1, 0, 0), EINVAL),
        (GEOMETRY, head(command::FLUSH, 1, 512, 0), EINVAL),
        (GEOMETRY, head(5, 1, 0, 512), EINVAL),
        (GEOMETRY, head(99, 1, 0, 512), EINVAL),
        (GEOMETRY, unknown_flag, EINVAL),
        (read_only, head(command::WRITE, 1, 0, 512), EPERM),
        (read_only, head(command::TRIM, 1, 0, 512), EPERM),
        (bare, head(command::TRIM, 1, 0, 512), EINVAL),
        (bare, head(command::WRITE_ZEROES, 1, 0, 512), EINVAL),
    ] {
        let mut session = Session::new(geometry, Limits::default());
        let length = if head.command == command::WRITE { head.length } else { 0 };
        let payload = vec![0x25; length as usize];
        let next = bytes(self::head(command::FLUSH, 2, 0, 0), &[]);
        let stream = [bytes(head, &payload), next].concat();
        assert!(feed(&mut session, &stream, 5000));
        let [(tag, request)] = &requests(&mut session)[..] else { panic!("{head:?}") };
        assert_eq!(request.operation, Operation::Flush);
        session.complete(*tag, Ok(Vec::new())).unwrap();
        assert_eq!(output(&mut session), [reply(want, 1, &[]), reply(0, 2, &[])].concat());
    }
}

#[test]
fn a_device_that_fails_is_told_to_the_client() {
    use wire::errno::{EIO, ENOSPC, EPERM, ESHUTDOWN};
    for (error, want) in [
        (BlockError::Io, EIO),
        (BlockError::NoPath, EIO),
        (BlockError::Abandoned, EIO),
        (BlockError::NoSpace, ENOSPC),
        (BlockError::Reserved, EPERM),
        (BlockError::ShuttingDown, ESHUTDOWN),
    ] {
        let mut session = session();
        feed(&mut session, &bytes(head(command::READ, 1, 0, 512), &[]), usize::MAX);
        let (tag, _) = session.poll_request().unwrap();
        session.complete(tag, Err(error)).unwrap();
        assert_eq!(output(&mut session), reply(want, 1, &[]));
    }
}

#[test]
fn a_read_that_returns_another_length_is_an_error_and_not_a_stream_out_of_step() {
    for length in [0, 511, 513] {
        let mut session = session();
        feed(&mut session, &bytes(head(command::READ, 1, 0, 512), &[]), usize::MAX);
        let (tag, _) = session.poll_request().unwrap();
        session.complete(tag, Ok(vec![0; length])).unwrap();
        assert_eq!(output(&mut session), reply(wire::errno::EIO, 1, &[]));
    }
}

#[test]
fn a_completion_counts_once() {
    let mut session = session();
    feed(&mut session, &bytes(head(command::FLUSH, 1, 0, 0), &[]), usize::MAX);
    let (tag, _) = session.poll_request().unwrap();
    session.complete(tag, Ok(Vec::new())).unwrap();
    assert_eq!(session.complete(tag, Ok(Vec::new())), Err(UnknownTag(tag)));
    output(&mut session);
    // The same slot, another request.
    feed(&mut session, &bytes(head(command::FLUSH, 2, 0, 0), &[]), usize::MAX);
    assert_eq!(session.complete(tag, Ok(Vec::new())), Err(UnknownTag(tag)));
    assert_eq!(session.complete(u64::MAX, Ok(Vec::new())), Err(UnknownTag(u64::MAX)));
    let (tag, _) = session.poll_request().unwrap();
    session.complete(tag, Ok(Vec::new())).unwrap();
    assert_eq!(output(&mut session), reply(0, 2, &[]));
}

#[test]
fn a_client_that_sends_without_reading_is_stopped() {
    let mut session = Session::new(GEOMETRY, Limits { requests: 4, bytes: 1 << 20 });
    let stream = bytes(head(command::READ, 1, 0, 512), &[]).repeat(3000);
    assert!(!feed(&mut session, &stream, usize::MAX), "everything was taken");
    let first = requests(&mut session);
    assert_eq!((first.len(), session.in_flight()), (4, 4));
    for (tag, request) in first {
        session.complete(tag, Ok(request.data)).unwrap();
    }
    // Answered is not yet sent.
    assert!(!session.wants_input());
    assert!(session.poll_request().is_none());
    session.sent(SIMPLE_REPLY_BYTES + 512);
    assert_eq!(requests(&mut session).len(), 1);
    assert_eq!(session.in_flight(), 4);
}

#[test]
fn data_is_bounded_too() {
    let mut session = Session::new(GEOMETRY, Limits { requests: 100, bytes: 1 << 20 });
    let stream = bytes(head(command::READ, 1, 0, 1 << 18), &[]).repeat(3000);
    feed(&mut session, &stream, usize::MAX);
    assert_eq!(requests(&mut session).len(), 4);
    assert!(!session.wants_input());
}

#[test]
fn disconnect_ends_the_session_after_what_is_in_flight() {
    let mut session = session();
    let stream = [
        bytes(head(command::FLUSH, 1, 0, 0), &[]),
        bytes(head(command::DISC, 2, 0, 0), &[]),
        bytes(head(command::FLUSH, 3, 0, 0), &[]),
    ]
    .concat();
    feed(&mut session, &stream, usize::MAX);
    assert_eq!(session.closing(), Some(Closing::Disconnected));
    let [(tag, _)] = requests(&mut session)[..] else { panic!("not one request") };
    assert!(!session.is_done() && !session.wants_input());
    session.complete(tag, Ok(Vec::new())).unwrap();
    assert!(!session.is_done(), "the reply is not sent yet");
    assert_eq!(output(&mut session), reply(0, 1, &[]));
    assert!(session.is_done());
}

#[test]
fn shutting_down_answers_what_was_read_and_forgets_half_a_write() {
    let mut session = session();
    let whole = bytes(head(command::WRITE, 1, 0, 512), &[1; 512]);
    let half = bytes(head(command::WRITE, 2, 512, 512), &[2; 100]);
    feed(&mut session, &[whole, half].concat(), usize::MAX);
    session.shut_down();
    let [(tag, _)] = requests(&mut session)[..] else { panic!("not one request") };
    session.complete(tag, Ok(Vec::new())).unwrap();
    assert_eq!(output(&mut session), reply(0, 1, &[]));
    assert!(session.is_done());
}

#[test]
fn a_broken_head_ends_everything_but_what_is_in_flight() {
    let mut session = session();
    feed(&mut session, &bytes(head(command::FLUSH, 1, 0, 0), &[]), usize::MAX);
    let (tag, _) = session.poll_request().unwrap();
    feed(&mut session, &[0; REQUEST_BYTES], usize::MAX);
    assert_eq!(session.closing(), Some(Closing::BadMagic));
    assert!(!session.is_done(), "the device still has a request");
    session.complete(tag, Ok(Vec::new())).unwrap();
    assert_eq!(output(&mut session), Vec::<u8>::new());
    assert!(session.is_done());
}

#[test]
fn a_client_that_is_gone_leaves_nothing_but_what_is_in_flight() {
    let mut session = session();
    let read = bytes(head(command::READ, 1, 0, 512), &[]);
    feed(&mut session, &read.repeat(2), usize::MAX);
    let all = requests(&mut session);
    session.complete(all[0].0, Ok(vec![0; 512])).unwrap();
    session.filled(0);
    assert_eq!(session.closing(), Some(Closing::EndOfStream));
    session.client_is_gone();
    assert_eq!((session.in_flight(), session.chunks().count()), (1, 0));
    session.complete(all[1].0, Ok(vec![0; 512])).unwrap();
    assert!(session.is_done());
    assert_eq!(session.chunks().count(), 0);
}

/// A request and how much of it is there: any kind, mostly right.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![Just(512_u32), Just(4096), Just(65_536), Just(100), Just(1 << 19)];
    let commands = prop_oneof![4 => Just(1_u16), 4 => Just(0), 1 => 0_u16..9];
    (commands, any::<u64>(), 0_u64..300, lengths, 0_u16..4, any::<u8>()).prop_map(
        |(command, cookie, block, length, flags, fill)| {
            let head = RequestHead { flags, command, cookie, offset: block * 512, length };
            let payload = if command == command::WRITE { length as usize } else { 0 };
            bytes(head, &vec![fill; payload])
        },
    )
}

/// What a session makes of a stream that comes in those pieces: the requests in order, and the
/// replies, sorted, when each request is completed at once. The order of replies is free: what is
/// refused is answered as soon as it is read.
fn run(stream: &[u8], pieces: &[usize]) -> (Vec<Request>, Vec<Vec<u8>>, Option<Closing>) {
    let mut session = Session::new(GEOMETRY, Limits { requests: 3, bytes: 1 << 18 });
    let (mut all, mut sent) = (Vec::new(), Vec::new());
    let (mut at, mut pieces) = (0, pieces.iter().cycle());
    loop {
        while let Some((tag, request)) = session.poll_request() {
            let data = vec![u8::try_from(all.len() % 256).unwrap(); request.data.len()];
            let read = request.operation == Operation::Read;
            // What a read finds in its buffer says nothing.
            all.push(if read { request.without_its_data() } else { request });
            session.complete(tag, Ok(data)).unwrap();
        }
        sent.extend(session.replies.iter().map(|reply| [&reply.head[..], &reply.data].concat()));
        output(&mut session);
        let over = session.closing().is_some() || at == stream.len();
        if over && session.in_flight() == 0 {
            break;
        }
        if session.wants_input() && !over {
            let end = (at + pieces.next().unwrap()).min(stream.len());
            let space = session.space();
            let count = space.len().min(end - at);
            space[..count].copy_from_slice(&stream[at..at + count]);
            session.filled(count);
            at += count;
        }
    }
    sent.sort();
    (all, sent, session.closing())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn where_the_stream_is_cut_changes_nothing(
        stream in proptest::collection::vec(any_request(), 0..12),
        pieces in proptest::collection::vec(1_usize..70_000, 1..12),
    ) {
        let stream = stream.concat();
        prop_assert_eq!(run(&stream, &[usize::MAX / 2]), run(&stream, &pieces));
    }

    #[test]
    fn cut_into_single_bytes_it_is_the_same(
        stream in proptest::collection::vec(any_request(), 0..3),
    ) {
        let stream = stream.concat();
        prop_assert_eq!(run(&stream, &[usize::MAX / 2]), run(&stream, &[1]));
    }
}
