//! `alua target serve`: a model array on sockets.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alua_array::{Array, Config, Event, TraceMode};
use alua_iscsi::serve::{Control, Listeners, Server, Store, StoreError};
use alua_iscsi::{Authentication, Portal, Settings, Target};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::control::{
    Answer, GroupStatus, LINE_MAX, PortalStatus, Request, SessionStatus, Status, UnitStatus,
    default_path,
};
use super::log::Line;
use super::secrets;
use crate::cli::{Global, TargetServe};
use crate::error::Error;
use crate::exit::Exit;
use crate::target::model;

/// The TCP port of iSCSI.
const PORT: u16 = 3260;

pub(super) fn run(global: &Global, args: &TargetServe) -> Result<Exit, Error> {
    let mut array = array(global, args)?;
    let portals = portals(&array, &args.portals)?;
    let authentication = match &args.secrets {
        Some(path) => secrets::read(path)?,
        None => Authentication::default(),
    };
    let failed = |error: StoreError| Error::File { path: error.path, source: error.source };
    let store = match &args.data {
        Some(folder) => Some(Store::open(folder, &mut array).map_err(failed)?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Output)?;
    let local = tokio::task::LocalSet::new();
    let (global, args) = (global.clone(), args.clone());
    // In a task of its own: what `block_on` waits for itself is polled whenever any task has run, that
    // is once for every command.
    let served = local.spawn_local(async move {
        let addresses: Vec<SocketAddr> = portals.iter().map(|(address, _)| *address).collect();
        let listeners = Listeners::bind(&addresses).map_err(cannot_listen)?;
        let bound = listeners.addresses().map_err(Error::Output)?;
        let settings = Settings {
            portals: portals
                .iter()
                .zip(&bound)
                .map(|(&(_, port), address)| Portal {
                    // An address that stands for all is no address to connect to.
                    address: (!address.ip().is_unspecified()).then(|| address.to_string()),
                    port,
                })
                .collect(),
            alias: array.config().array.name.clone(),
            authentication,
            announce: args.announce,
            ..Settings::default()
        };
        let entropy = Box::new(|bytes: &mut [u8]| {
            getrandom::fill(bytes).expect("the operating system has random bytes");
        });
        let mut server = Server::new(Target::new(array, settings, entropy), listeners);
        if let Some(store) = store {
            server = server.with_store(store);
        }
        serve(&global, &args, server, &bound).await
    });
    local.block_on(&runtime, served).map_err(|error| Error::Output(error.into()))?
}

/// The array, with the times of its own that are wanted.
fn array(global: &Global, args: &TargetServe) -> Result<Array, Error> {
    let name = global.array.as_deref().unwrap_or("demo");
    let mut config = model::config(name)?;
    if !args.model_times {
        without_times(&mut config);
    }
    let text_error = |error: alua_array::ConfigError| Error::Text(error.to_string());
    let script = match &global.script {
        Some(path) => {
            let text = model::read(path)?;
            config.script_from_toml(&path.display().to_string(), &text).map_err(text_error)?
        }
        None => Vec::new(),
    };
    let mut array = Array::new(config).map_err(text_error)?;
    array.run_script(script);
    if global.verbose {
        array.set_trace(TraceMode::Lines);
    }
    Ok(array)
}

/// What the model takes for each command. On the wire real time passes already.
fn without_times(config: &mut Config) {
    config.array.command_time = Duration::ZERO;
    config.array.non_optimized_time = Duration::ZERO;
    config.array.jitter = Duration::ZERO;
    for port in &mut config.ports {
        port.link_time = Duration::ZERO;
    }
}

/// Where each port listens: as asked for, or port 3260 of one loopback address each.
fn portals(array: &Array, asked: &[String]) -> Result<Vec<(SocketAddr, u16)>, Error> {
    let ports: Vec<u16> = array.ports().collect();
    if asked.is_empty() {
        let place = |(at, port): (usize, u16)| {
            let last = u8::try_from(at % 250 + 1).unwrap_or(1);
            let third = u8::try_from(at / 250).unwrap_or(0);
            (SocketAddr::from(([127, 0, third, last], PORT)), port)
        };
        return Ok(ports.into_iter().enumerate().map(place).collect());
    }
    asked.iter().map(|text| portal(text, &ports)).collect()
}

fn portal(text: &str, ports: &[u16]) -> Result<(SocketAddr, u16), Error> {
    let wrong = |why: String| Error::Usage(format!("--portal {text}: {why}"));
    let form = || wrong("must be ADDRESS:TCPPORT=PORT, as in 127.0.0.1:3260=1".to_owned());
    let (address, port) = text.rsplit_once('=').ok_or_else(form)?;
    let address = address.parse::<SocketAddr>().map_err(|_| form())?;
    let port = port.parse::<u16>().map_err(|_| form())?;
    if !ports.contains(&port) {
        let known: Vec<String> = ports.iter().map(u16::to_string).collect();
        return Err(wrong(format!("the array has no port {port}; it has {}", known.join(", "))));
    }
    Ok((address, port))
}

fn cannot_listen(error: alua_iscsi::serve::ListenError) -> Error {
    let what = match error.source.kind() {
        io::ErrorKind::AddrInUse => "another program has it; choose others with --portal",
        io::ErrorKind::AddrNotAvailable => "it is no address of this machine; choose with --portal",
        _ => "choose another with --portal",
    };
    Error::Text(format!("{error}; {what}"))
}

async fn serve(
    global: &Global,
    args: &TargetServe,
    server: Server,
    bound: &[SocketAddr],
) -> Result<Exit, Error> {
    let control = server.control();
    let stop = std::rc::Rc::new(Notify::new());
    let path = control_socket(args)?.map(|(path, listener)| {
        tokio::task::spawn_local(answer_all(control.clone(), listener, stop.clone()));
        path
    });
    let out = Output { json: global.json };
    out.begin(&control, bound, path.as_deref())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(Error::Output)?;
    let result = tokio::select! {
        error = server.run() => Err(Error::File { path: error.path, source: error.source }),
        result = out.follow(&control) => result.map(|()| Exit::Good),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Good),
        _ = terminate.recv() => Ok(Exit::Good),
        () = stop.notified() => Ok(Exit::Good),
    };
    if let Some(path) = path {
        // It may be gone already.
        let _ = std::fs::remove_file(path);
    }
    result
}

/// Where the log goes.
struct Output {
    json: bool,
}

impl Output {
    fn begin(
        &self,
        control: &Control,
        bound: &[SocketAddr],
        path: Option<&Path>,
    ) -> Result<(), Error> {
        let (name, portals) = control.with(|target| {
            let portals: Vec<u16> = target.settings().portals.iter().map(|at| at.port).collect();
            (target.name().to_owned(), portals)
        });
        let now = control.now();
        for (address, port) in bound.iter().zip(portals) {
            let text = format!("{name} at {address}, port {port}");
            self.line(&Line::new(now, "listening", text))?;
        }
        let text = match path {
            Some(path) => format!("control socket {}", path.display()),
            None => "no control socket: /run is not this user's; see --control".to_owned(),
        };
        self.line(&Line::new(now, "control", text))
    }

    fn line(&self, line: &Line) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(line.show(self.json)?.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Tells what happens, until standard output is closed.
    async fn follow(&self, control: &Control) -> Result<(), Error> {
        loop {
            for record in control.take_records() {
                self.line(&Line::of(&record))?;
            }
            for text in control.with(|target| target.array_mut().take_trace()) {
                self.line(&Line::new(control.now(), "trace", text))?;
            }
            control.changed().await;
        }
    }
}

/// The control socket, and where it is. Where nobody asked for one and none can be made, there is
/// none.
fn control_socket(args: &TargetServe) -> Result<Option<(PathBuf, UnixListener)>, Error> {
    let path = args.control.clone().unwrap_or_else(default_path);
    match listen(&path) {
        Ok(listener) => Ok(Some((path, listener))),
        Err(Error::File { source, .. })
            if args.control.is_none() && source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The control socket, which only this user can use.
fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source: io::Error| Error::File { path: path.to_path_buf(), source };
    // A socket that nobody answers at is what a target left that was killed.
    if std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Usage(format!(
            "{}: another target has this control socket; give this one its own with --control",
            path.display()
        )),
        _ => failed(source),
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

async fn answer_all(control: Control, listener: UnixListener, stop: std::rc::Rc<Notify>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (control, stop) = (control.clone(), stop.clone());
        // Who goes away before the answer does not want it.
        tokio::task::spawn_local(async move { answer_one(&control, stream, &stop).await.ok() });
    }
}

async fn answer_one(control: &Control, stream: UnixStream, stop: &Notify) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(LINE_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Stop) => {
            stop.notify_one();
            Answer::Done { connections: None }
        }
        Ok(request) => obey(control, &request),
        Err(error) => Answer::Failed { error: format!("no request: {error}") },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

fn obey(control: &Control, request: &Request) -> Answer {
    let count = |connections| Answer::Done { connections: Some(connections) };
    control.with(|target| match request {
        Request::Event { toml } => {
            let base = &target.array().config().alua;
            let done = Event::from_toml(toml, base).and_then(|event| target.apply(&event));
            match done {
                Ok(()) => Answer::Done { connections: None },
                Err(error) => Answer::Failed { error: error.to_string() },
            }
        }
        Request::Cut { port } => count(target.cut(*port)),
        Request::Dismiss { port } => count(target.dismiss(*port)),
        Request::Logout { port, seconds } => {
            count(target.request_logout(*port, Duration::from_secs(u64::from(*seconds))))
        }
        Request::Status | Request::Stop => Answer::Status(Box::new(status(target))),
    })
}

fn status(target: &Target) -> Status {
    let array = target.array();
    let groups: Vec<u16> = array.groups().collect();
    let group = |unit: usize, id: u16| GroupStatus {
        id,
        state: array.state(unit, id).map_or_else(String::new, |state| state.to_string()),
        preferred: array.preferred(unit, id).unwrap_or(false),
    };
    let unit = |(at, name): (usize, &str)| UnitStatus {
        name: name.to_owned(),
        groups: groups.iter().map(|&id| group(at, id)).collect(),
    };
    let portal = |portal: &Portal| PortalStatus {
        address: portal.address.clone().unwrap_or_else(|| "any address".to_owned()),
        port: portal.port,
        group: array.group_of(portal.port),
        up: array.is_up(portal.port),
    };
    let session = |view: alua_iscsi::SessionView| SessionStatus {
        nexus: view.nexus.to_string(),
        initiator: view.initiator,
        port: view.port,
        connected: view.connection.is_some(),
        commands: view.commands,
    };
    Status {
        name: target.name().to_owned(),
        up_ms: array.now().as_nanos() / 1_000_000,
        connections: target.connection_count(),
        portals: target.settings().portals.iter().map(portal).collect(),
        sessions: target.sessions().into_iter().map(session).collect(),
        units: array.units().enumerate().map(unit).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_names_an_address_and_a_port_of_the_array() {
        let ports = [1, 2];
        assert_eq!(portal("127.0.0.1:3260=2", &ports).unwrap().1, 2);
        assert_eq!(portal("[::1]:3260=1", &ports).unwrap().0.port(), 3260);
        for wrong in ["", "127.0.0.1=1", "127.0.0.1:3260", "127.0.0.1:3260=9", "::1:3260=1"] {
            assert!(portal(wrong, &ports).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_port_has_an_address_of_its_own_by_default() {
        let array = alua_array::shipped::DEMO.build();
        let all = portals(&array, &[]).unwrap();
        let shown: Vec<String> = all.iter().map(|(address, _)| address.to_string()).collect();
        assert_eq!(shown[..2], ["127.0.0.1:3260", "127.0.0.2:3260"]);
    }
}
