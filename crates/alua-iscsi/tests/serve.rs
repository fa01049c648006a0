//! The shell on sockets: slow, silent and half-open peers are dropped in their time, and whatever they
//! do to their connections, the others go on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alua_array::{Array, shipped};
use alua_iscsi::pdu::layout::{Command, LoginRequest};
use alua_iscsi::pdu::{HEADER, flag, opcode};
use alua_iscsi::serve::{Listeners, Server};
use alua_iscsi::{Limits, Portal, Settings, Target, Times, text};

/// A target that is served until this is dropped.
struct Served {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Served {
    fn start(change: impl FnOnce(&mut Settings) + Send + 'static) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
                let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
                let address = listeners.addresses().unwrap()[0];
                let portals = vec![Portal { address: Some(address.to_string()), port: 1 }];
                let mut settings = Settings { portals, ..Settings::default() };
                change(&mut settings);
                let text = shipped::DEMO.text.replace(
                    "[alua]",
                    "command_time = \"0s\"\nnon_optimized_time = \"0s\"\n[alua]",
                );
                let array = Array::from_toml("demo.toml", &text).unwrap();
                let target = Target::new(array, settings, Box::new(|bytes| bytes.fill(7)));
                let server = Server::new(target, listeners);
                let control = server.control();
                tell.send(address).unwrap();
                tokio::select! {
                    error = server.run() => panic!("{error}"),
                    _ = stopped => {}
                }
                control.with(|target| target.self_check()).unwrap();
                control.take_records().iter().map(|record| record.what.to_string()).collect()
            })
        });
        Self { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn log_in(&self, serial: u8) -> TcpStream {
        let mut stream = self.connect();
        let request = login(serial);
        stream.write_all(&request).unwrap();
        let answer = receive(&mut stream).unwrap();
        assert_eq!((answer[0], answer[36]), (opcode::LOGIN_RESPONSE, 0));
        stream
    }

    /// What the log says at the end.
    fn stop(mut self) -> Vec<String> {
        self.stop.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

fn login(serial: u8) -> Vec<u8> {
    let mut keys = Vec::new();
    for (key, value) in [
        ("InitiatorName", "iqn.2026-03.invalid.test:serve"),
        ("TargetName", "iqn.2026-03.invalid.alua:demo"),
        ("SessionType", "Normal"),
        ("MaxRecvDataSegmentLength", "262144"),
        ("DefaultTime2Retain", "0"),
        ("InitialR2T", "No"),
        ("ImmediateData", "Yes"),
    ] {
        text::put(&mut keys, key, value);
    }
    let mut header = LoginRequest::zeroed();
    header.opcode = opcode::LOGIN | opcode::IMMEDIATE;
    header.flags = 0x87;
    header.isid = [0x80, 0, 0, 0, 0, serial];
    header.cmd_sn.set(1);
    with_data(header.bytes(), &keys)
}

fn with_data(mut header: [u8; HEADER], data: &[u8]) -> Vec<u8> {
    header[6..8].copy_from_slice(&(data.len() as u16).to_be_bytes());
    let mut all = [&header, data].concat();
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

fn receive(stream: &mut TcpStream) -> std::io::Result<[u8; HEADER]> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
    stream.read_exact(&mut vec![0; length.next_multiple_of(4)])?;
    Ok(header)
}

/// A READ(10) of that many blocks.
fn read_10(sn: u32, blocks: u16) -> Vec<u8> {
    let mut header = Command::zeroed();
    header.opcode = opcode::COMMAND;
    header.flags = flag::FINAL | flag::READ;
    header.initiator_task_tag.set(sn);
    header.expected_length.set(u32::from(blocks) * 512);
    header.cmd_sn.set(sn);
    header.cdb[0] = 0x28;
    header.cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    header.bytes().to_vec()
}

/// One block is read, within a second.
fn works(stream: &mut TcpStream, sn: u32) {
    let begin = Instant::now();
    stream.write_all(&read_10(sn, 1)).unwrap();
    let mut answer = receive(stream).unwrap();
    // On a busy machine it may have been silent for long enough to be asked.
    while answer[0] == opcode::NOP_IN {
        answer = receive(stream).unwrap();
    }
    assert_eq!((answer[0], answer[3]), (opcode::DATA_IN, 0));
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
}

/// How long until the target ends the connection; what it sends until then is dropped.
fn ended(stream: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return begin.elapsed(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return begin.elapsed(),
            Err(error) => panic!("{error}: the target does not end the connection"),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn short(settings: &mut Settings) {
    settings.times = Times { login: SECOND, silence: SECOND, patience: 3 * SECOND };
}

#[test]
fn who_does_not_log_in_is_dropped_and_nobody_else() {
    let served = Served::start(short);
    let mut good = served.log_in(1);
    let mut silent = served.connect();
    let mut slow = served.connect();
    let mut half_open = served.connect();
    half_open.shutdown(Shutdown::Write).unwrap();
    // Bytes alone are no progress: the login has an end, however busily it is not finished.
    let bytes = login(2);
    let mut sn = 0;
    for byte in &bytes[..30] {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        sn += 1;
        works(&mut good, sn);
    }
    for stream in [&mut silent, &mut slow, &mut half_open] {
        ended(stream);
    }
    works(&mut good, sn + 1);
    let log = served.stop();
    let too_long = log.iter().filter(|line| line.contains("the login took too long")).count();
    assert_eq!(too_long, 2, "{log:?}");
    assert!(log.iter().any(|line| line.contains("the initiator closed it")), "{log:?}");
}

#[test]
fn who_takes_no_output_is_dropped_and_nobody_else() {
    let served = Served::start(|settings| {
        short(settings);
        settings.times.silence = Duration::from_secs(60);
        settings.times.patience = SECOND;
        settings.limits = Limits { output: 1 << 20, ..Limits::default() };
    });
    let mut good = served.log_in(1);
    let mut deaf = served.log_in(2);
    // Far more than socket buffers hold, and never a byte taken.
    for sn in 1..=64 {
        deaf.write_all(&read_10(sn, 2048)).unwrap();
    }
    for sn in 1..=50 {
        works(&mut good, sn);
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = served.stop();
    assert!(log.iter().any(|line| line.contains("it takes no output")), "{log:?}");
}

#[test]
fn who_is_silent_is_asked_and_then_dropped() {
    let served = Served::start(short);
    let mut silent = served.log_in(1);
    let answer = receive(&mut silent).unwrap();
    assert_eq!(answer[0], opcode::NOP_IN);
    assert!(ended(&mut silent) < Duration::from_secs(10));
    let log = served.stop();
    assert!(log.iter().any(|line| line.contains("no answer to NOP-In")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("session ended")), "{log:?}");
}

/// The first connection beyond the limit is closed at once; when one ends there is room again.
#[test]
fn connections_are_bounded() {
    let served = Served::start(|settings| settings.limits.connections = 2);
    let one = served.log_in(1);
    let mut two = served.log_in(2);
    ended(&mut served.connect());
    works(&mut two, 1);
    drop(one);
    let begin = Instant::now();
    loop {
        // The target has to see the end of the first one.
        let mut stream = served.connect();
        let sent = stream.write_all(&login(3)).is_ok();
        if sent && receive(&mut stream).is_ok_and(|answer| answer[36] == 0) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "there is no room again");
        std::thread::sleep(Duration::from_millis(20));
    }
    served.stop();
}
