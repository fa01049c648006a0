//! The control socket: the questions, the answers, and the side of the device.

use std::fs;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use alua_device::{Device, file_name};
use alua_multipath::Switch;
use serde::{Deserialize, Serialize};

use super::status::{DeviceStatus, Facts};

/// The longest line that is read, in bytes.
pub(super) const LINE_MAX: u64 = 64 << 10;
/// How long the other side may take for a line.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// How does the device stand?
    Status {},
    /// Use only this; nothing: undo that.
    Switch {
        #[serde(default)]
        group: Option<u16>,
        #[serde(default)]
        path: Option<String>,
    },
    /// Take a path out.
    Fail { path: String },
    /// Use it again.
    Restore { path: String },
}

/// An answer: how the device stands after what was asked, or why it was not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// Done.
    Status(Box<DeviceStatus>),
    /// Not done.
    Refused(String),
}

/// Where the sockets are.
pub(crate) fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_absolute()) {
        Some(dir) => PathBuf::from(dir).join("alua"),
        None => PathBuf::from("/run/alua"),
    }
}

/// Where the socket of a unit is.
pub(crate) fn socket_of(unit: &str) -> PathBuf {
    directory().join(file_name(unit) + ".sock")
}

/// The socket of a running device, and the thread that answers there.
pub(crate) struct Server {
    path: PathBuf,
    facts: Arc<Mutex<Facts>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `path`. A socket there that nobody listens on is replaced.
    pub(crate) fn start(path: &Path, device: Device, facts: Facts) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        match UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => fs::remove_file(path)?,
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let facts = Arc::new(Mutex::new(facts));
        let known = Arc::clone(&facts);
        let serve = move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                // One at a time: each is over in a moment, or left after `PATIENCE`.
                if let Ok(stream) = stream {
                    let facts = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let _ = converse(&stream, &device, &facts);
                }
            }
        };
        let thread = thread::Builder::new().name("control".to_owned()).spawn(serve)?;
        Ok(Self { path: path.to_path_buf(), facts, stop, thread: Some(thread) })
    }

    /// The device has started, and serves at these places; what it lacks there, in words.
    pub(crate) fn serves(&self, places: Vec<String>, lacks: Vec<String>) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        *facts = Facts { starting: false, places, lacks, ..facts.clone() };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The thread waits for a connection: this is one.
        let woken = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn converse(stream: &UnixStream, device: &Device, facts: &Facts) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
    let answer = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => answer(&ask, device, facts),
        Err(error) => Answer::Refused(format!("not a question that this device knows: {error}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    let mut stream = stream;
    stream.write_all(text.as_bytes())
}

fn answer(ask: &Ask, device: &Device, facts: &Facts) -> Answer {
    match carry_out(ask, device) {
        Ok(()) => match device.knowledge() {
            Ok((snapshot, known)) => {
                Answer::Status(Box::new(DeviceStatus::of(facts, &snapshot, known)))
            }
            Err(error) => Answer::Refused(error.to_string()),
        },
        Err(why) => Answer::Refused(why),
    }
}

fn carry_out(ask: &Ask, device: &Device) -> Result<(), String> {
    let path = |name: &str| {
        let snapshot = device.snapshot().map_err(|error| error.to_string())?;
        let name = name.strip_prefix("/dev/").unwrap_or(name);
        let known = snapshot.path(name).map(|path| path.view.id);
        known.ok_or_else(|| format!("the device has no path {name:?}"))
    };
    let done = match ask {
        Ask::Status {} => return Ok(()),
        Ask::Switch { group: Some(_), path: Some(_) } => {
            return Err("a group or a path, not both".to_owned());
        }
        Ask::Switch { group: Some(group), path: None } => {
            let known = device.switch(Some(Switch::Group(*group)));
            let unknown = || format!("the device has no target port group {group}");
            return known.map_err(|error| error.to_string())?.then_some(()).ok_or_else(unknown);
        }
        Ask::Switch { group: None, path: Some(name) } => {
            device.switch(Some(Switch::Path(path(name)?)))
        }
        Ask::Switch { group: None, path: None } => device.switch(None),
        Ask::Fail { path: name } => device.set_failed(path(name)?, true),
        Ask::Restore { path: name } => device.set_failed(path(name)?, false),
    };
    let known = done.map_err(|error| error.to_string())?;
    known.then_some(()).ok_or_else(|| "the path is gone".to_owned())
}
