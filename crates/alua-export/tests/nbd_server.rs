//! The server with its sockets, met by a small client of the test's own.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alua_export::block::{BlockDevice, BlockError, MemoryDevice, Operation, ScriptedDevice};
use alua_export::nbd::server::{Address, Config, Export, Server, StartError};
use alua_export::nbd::session::Limits;
use alua_export::nbd::wire::{self, RequestHead, command};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

struct Served {
    device: Arc<ScriptedDevice>,
    server: Server,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

fn serve(config: Config) -> Served {
    let device = Arc::new(ScriptedDevice::new(MemoryDevice::new(8 << 20, 512)));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("nbd");
    let server = Server::start(&Address::Unix(socket.clone()), exports(&device), config).unwrap();
    Served { device, server, socket, _folder: folder }
}

fn exports(device: &Arc<ScriptedDevice>) -> Vec<Export> {
    vec![Export {
        name: "disk".to_owned(),
        description: String::new(),
        device: Arc::clone(device) as Arc<dyn BlockDevice>,
    }]
}

/// A client in the transmission phase.
struct Client<S>(S);

impl<S: Read + Write> Client<S> {
    /// Negotiates by the oldest option, which suits a test.
    fn new(mut stream: S) -> Self {
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        stream.write_all(b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\x04disk").unwrap();
        let mut begin = [0; 10];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(begin[..8], (8_u64 << 20).to_be_bytes());
        Self(stream)
    }

    fn send(&mut self, command: u16, cookie: u64, offset: u64, length: u32, payload: &[u8]) {
        let head = RequestHead { flags: 0, command, cookie, offset, length };
        self.0.write_all(&[&head.to_bytes()[..], payload].concat()).unwrap();
    }

    /// The next reply's error and cookie.
    fn reply(&mut self) -> (u32, u64) {
        let mut bytes = [0; wire::SIMPLE_REPLY_BYTES];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..4], wire::SIMPLE_REPLY_MAGIC.to_be_bytes());
        let error = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
        (error, u64::from_be_bytes(bytes[8..].try_into().unwrap()))
    }

    fn data(&mut self, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.0.read_exact(&mut data).unwrap();
        data
    }

    /// Whether the server has closed the connection.
    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(0) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
            Ok(_) => false,
        }
    }
}

impl Served {
    fn client(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Client::new(stream)
    }

    /// Waits until a statistic is what it should be.
    fn wait_until(&self, what: impl Fn(&Server) -> bool) {
        let start = Instant::now();
        while !what(&self.server) {
            assert!(start.elapsed() < LONG, "{:?}", self.server.statistics());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the server, which must have nothing left and no defect seen.
    fn end(self) {
        let socket = self.socket.clone();
        let statistics = self.server.shut_down(LONG).unwrap();
        assert_eq!((statistics.open, statistics.defects), (0, 0));
        assert!(!socket.exists(), "the socket's file is still there");
    }
}

#[test]
fn what_one_connection_writes_another_one_reads() {
    let served = serve(Config::default());
    let (mut one, mut two) = (served.client(), served.client());
    let data: Vec<u8> = (0..3 << 20_u32).map(|index| (index % 253) as u8).collect();
    let length = u32::try_from(data.len()).unwrap();
    one.send(command::WRITE, 1, 512, length, &data);
    assert_eq!(one.reply(), (0, 1));
    two.send(command::READ, 2, 512, length, &[]);
    assert_eq!(two.reply(), (0, 2));
    assert!(two.data(data.len()) == data, "not what was written");
    two.send(command::DISC, 0, 0, 0, &[]);
    assert!(two.is_closed());
    served.end();
}

#[test]
fn tcp_serves_the_same() {
    let device = Arc::new(ScriptedDevice::new(MemoryDevice::new(8 << 20, 512)));
    let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let server = Server::start(&address, exports(&device), Config::default()).unwrap();
    let Address::Tcp(address) = server.address() else { panic!("not TCP") };
    let mut client = Client::new(TcpStream::connect(address).unwrap());
    client.send(command::WRITE, 1, 0, 512, &[5; 512]);
    assert_eq!(client.reply(), (0, 1));
    client.send(command::READ, 2, 0, 512, &[]);
    assert_eq!((client.reply(), client.data(512)), ((0, 2), vec![5; 512]));
    assert_eq!(server.shut_down(LONG).unwrap().requests, 2);
}

#[test]
fn a_device_with_a_small_maximum_serves_long_requests_in_parts() {
    let memory = MemoryDevice::new(8 << 20, 512).with_maximum(65_536);
    let device = Arc::new(ScriptedDevice::new(memory));
    let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let server = Server::start(&address, exports(&device), Config::default()).unwrap();
    let Address::Tcp(address) = server.address() else { panic!("not TCP") };
    let mut client = Client::new(TcpStream::connect(address).unwrap());
    let data: Vec<u8> = (0..1_000_448_u32).map(|index| (index % 251) as u8).collect();
    client.send(command::WRITE, 1, 512, 1_000_448, &data);
    assert_eq!(client.reply(), (0, 1));
    client.send(command::READ, 2, 512, 1_000_448, &[]);
    assert_eq!(client.reply(), (0, 2));
    assert!(client.data(data.len()) == data, "not what was written");
    assert_eq!(device.seen().len(), 32);
    server.shut_down(LONG).unwrap();
}

#[test]
fn many_requests_are_in_flight_and_answered_in_any_order() {
    let served = serve(Config::default());
    let mut client = served.client();
    served.device.hold(true);
    for cookie in 0..100 {
        client.send(command::WRITE, cookie, cookie * 512, 512, &[cookie as u8; 512]);
    }
    assert!(served.device.wait_held(100, LONG), "not all of them came through");
    served.device.release();
    let cookies: Vec<u64> = (0..100).map(|_| client.reply().1).collect();
    assert_eq!(cookies, (0..100).rev().collect::<Vec<u64>>());
    served.end();
}

#[test]
fn a_server_that_goes_down_completes_and_answers_what_it_has_read() {
    let served = serve(Config::default());
    let mut client = served.client();
    served.device.hold(true);
    for cookie in 0..10 {
        client.send(command::WRITE, cookie, cookie * 512, 512, &[1; 512]);
    }
    assert!(served.device.wait_held(10, LONG));
    let Served { device, server, socket, _folder } = served;
    let ending = std::thread::spawn(move || server.shut_down(LONG));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!ending.is_finished(), "it does not wait for what is in flight");
    // No new client comes in, and the file is gone.
    assert!(UnixStream::connect(&socket).is_err());
    device.hold(false);
    device.release();
    let answered: Vec<(u32, u64)> = (0..10).map(|_| client.reply()).collect();
    assert!(answered.iter().all(|(error, _)| *error == 0), "{answered:?}");
    assert!(client.is_closed());
    assert_eq!(ending.join().unwrap().unwrap().open, 0);
}

#[test]
fn a_device_that_never_completes_is_told_of() {
    let served = serve(Config::default());
    let mut client = served.client();
    served.device.hold(true);
    client.send(command::FLUSH, 1, 0, 0, &[]);
    assert!(served.device.wait_held(1, LONG));
    let error = served.server.shut_down(SECOND / 10).unwrap_err();
    assert_eq!(error.connections, 1);
    served.device.release();
}

#[test]
fn idle_clients_do_not_hold_a_server_up() {
    let served = serve(Config::default());
    let mut client = served.client();
    let shy = UnixStream::connect(&served.socket).unwrap();
    served.wait_until(|server| server.statistics().open == 2);
    let start = Instant::now();
    served.end();
    assert!(start.elapsed() < SECOND * 5, "{:?}", start.elapsed());
    assert!(client.is_closed());
    drop(shy);
}

#[test]
fn a_client_that_vanishes_costs_nobody_anything() {
    let served = serve(Config::default());
    let mut gone = served.client();
    served.device.hold(true);
    for cookie in 0..50 {
        gone.send(command::READ, cookie, 0, 65_536, &[]);
    }
    assert!(served.device.wait_held(50, LONG));
    drop(gone);
    // Its place is kept until the device has ended its requests.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(served.server.statistics().open, 1);
    served.device.hold(false);
    served.device.release();
    served.wait_until(|server| server.statistics().open == 0);
    let mut next = served.client();
    next.send(command::FLUSH, 1, 0, 0, &[]);
    assert_eq!(next.reply(), (0, 1));
    served.end();
}

#[test]
fn a_client_that_sends_without_reading_is_stopped_and_the_rest_is_served_later() {
    let limits = Limits { requests: 8, bytes: 1 << 20 };
    let served = serve(Config { limits, ..Config::default() });
    let mut client = served.client();
    let mut writer = Client(client.0.try_clone().unwrap());
    let sender = std::thread::spawn(move || {
        for cookie in 0..400 {
            writer.send(command::READ, cookie, 0, 1 << 17, &[]);
        }
    });
    // 50 MB of replies that nobody reads: the server must not have taken more than its limit.
    std::thread::sleep(Duration::from_millis(200));
    let submitted = served.server.statistics().requests;
    assert!(submitted < 40, "{submitted} requests were taken");
    for cookie in 0..400 {
        assert_eq!(client.reply(), (0, cookie));
        client.data(1 << 17);
    }
    sender.join().unwrap();
    served.end();
}

#[test]
fn slow_clients_are_cut_off() {
    let config = Config { handshake: SECOND / 5, stalled: SECOND / 5, ..Config::default() };
    let served = serve(config);
    // One never chooses, one stops in the middle of a payload, one does not read its replies.
    let shy = UnixStream::connect(&served.socket).unwrap();
    let mut half = served.client();
    half.send(command::WRITE, 1, 0, 65_536, &[1; 1000]);
    let mut deaf = served.client();
    deaf.send(command::READ, 1, 0, 4 << 20, &[]);
    // One that only sits there is not.
    let mut idle = served.client();
    served.wait_until(|server| server.statistics().cut_off == 3);
    assert!(half.is_closed());
    idle.send(command::FLUSH, 1, 0, 0, &[]);
    assert_eq!(idle.reply(), (0, 1));
    drop(shy);
    served.end();
}

#[test]
fn a_client_that_breaks_the_protocol_is_cut_off() {
    let served = serve(Config::default());
    let mut client = served.client();
    client.0.write_all(&[0; 28]).unwrap();
    assert!(client.is_closed());
    let mut flags = UnixStream::connect(&served.socket).unwrap();
    flags.write_all(&[0xff; 4]).unwrap();
    served.wait_until(|server| server.statistics().cut_off == 2);
    served.end();
}

#[test]
fn there_is_a_limit_to_connections() {
    let served = serve(Config { connections: 2, ..Config::default() });
    let (one, _two) = (served.client(), served.client());
    let mut third = Client(UnixStream::connect(&served.socket).unwrap());
    assert!(third.is_closed());
    assert_eq!(served.server.statistics().refused, 1);
    drop(one);
    served.wait_until(|server| server.statistics().open == 1);
    served.client();
    served.end();
}

#[test]
fn errors_of_the_device_reach_the_client_and_are_counted() {
    let served = serve(Config::default());
    let mut client = served.client();
    served.device.fail_next(Operation::Write, BlockError::NoSpace);
    served.device.fail_next(Operation::Read, BlockError::NoPath);
    client.send(command::WRITE, 1, 0, 512, &[1; 512]);
    assert_eq!(client.reply(), (wire::errno::ENOSPC, 1));
    client.send(command::READ, 2, 0, 512, &[]);
    assert_eq!(client.reply(), (wire::errno::EIO, 2));
    assert_eq!(served.server.statistics().failed, 2);
    served.end();
}

#[test]
fn a_request_that_the_device_drops_is_an_error_and_not_a_hang() {
    let served = serve(Config::default());
    let mut client = served.client();
    served.device.hold(true);
    client.send(command::FLUSH, 1, 0, 0, &[]);
    assert!(served.device.wait_held(1, LONG));
    drop(served.device.take_held());
    assert_eq!(client.reply(), (wire::errno::EIO, 1));
    served.end();
}

#[test]
fn the_sockets_file_is_its_owners_and_a_dead_ones_is_replaced() {
    let served = serve(Config::default());
    let mode = std::fs::metadata(&served.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // In use.
    let address = Address::Unix(served.socket.clone());
    let second = Server::start(&address, exports(&served.device), Config::default());
    assert!(matches!(second, Err(StartError::InUse(_))), "{second:?}");
    // Left behind.
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let address = Address::Unix(left.clone());
    let third = Server::start(&address, exports(&served.device), Config::default()).unwrap();
    UnixStream::connect(&left).unwrap();
    drop(third);
    assert!(!left.exists());
    // Something that is no socket is left alone.
    std::fs::write(&left, "a file").unwrap();
    let fourth = Server::start(&address, exports(&served.device), Config::default());
    assert!(matches!(fourth, Err(StartError::InUse(_))), "{fourth:?}");
    assert_eq!(std::fs::read(&left).unwrap(), b"a file");
    served.end();
}

#[test]
fn exports_that_cannot_be_served_are_refused() {
    let device = Arc::new(ScriptedDevice::new(MemoryDevice::new(8 << 20, 512)));
    let start = |exports| {
        let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
        Server::start(&address, exports, Config::default()).unwrap_err().to_string()
    };
    assert_eq!(start(Vec::new()), "there is no export to serve");
    let twice = [exports(&device), exports(&device)].concat();
    assert_eq!(start(twice), "two exports are called \"disk\"");
    let mut long = exports(&device);
    long[0].name = "x".repeat(4097);
    assert_eq!(start(long), "the name of an export has 4097 bytes: NBD allows 4096");
    let mut geometry = device.geometry();
    geometry.logical_block = 100;
    let wrong = ScriptedDevice::new(MemoryDevice::new(512, 512)).with_geometry(geometry);
    assert_eq!(start(exports(&Arc::new(wrong))), "export \"disk\" cannot be served");
}
