//! The side of the control socket that asks.

use std::fs;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::control::{Answer, Ask, LINE_MAX, PATIENCE, directory};
use super::status::DeviceStatus;
use crate::error::Error;

/// A device that runs.
pub(crate) struct Running {
    pub(crate) socket: PathBuf,
    pub(crate) status: DeviceStatus,
}

/// Asks the device at a socket.
pub(crate) fn ask(socket: &Path, ask: &Ask) -> Result<DeviceStatus, Error> {
    match converse(socket, ask) {
        Ok(Answer::Status(status)) => Ok(*status),
        Ok(Answer::Refused(why)) => Err(Error::Refusal { socket: socket.to_path_buf(), why }),
        Err(source) => Err(Error::File { path: socket.to_path_buf(), source }),
    }
}

fn converse(socket: &Path, ask: &Ask) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(ask)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    let mut line = String::new();
    // A unit with hundreds of paths says more than it is asked.
    BufReader::new(stream.take(LINE_MAX * 64)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Every device that runs, or the one at `socket`.
pub(crate) fn running(socket: Option<&Path>) -> Result<Vec<Running>, Error> {
    if let Some(socket) = socket {
        let status = ask(socket, &Ask::Status {})?;
        return Ok(vec![Running { socket: socket.to_path_buf(), status }]);
    }
    let mut all = Vec::new();
    for socket in sockets()? {
        match ask(&socket, &Ask::Status {}) {
            Ok(status) => all.push(Running { socket, status }),
            // Left by a device that was killed.
            Err(Error::File { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Every device that runs and can be asked.
pub(crate) fn answering() -> Vec<DeviceStatus> {
    let sockets = sockets().unwrap_or_default();
    sockets.iter().filter_map(|socket| ask(socket, &Ask::Status {}).ok()).collect()
}

/// The sockets of the devices that run, and of those that were killed.
fn sockets() -> Result<Vec<PathBuf>, Error> {
    let directory = directory();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::File { path: directory, source }),
    };
    let mut sockets: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect();
    sockets.sort();
    Ok(sockets)
}

/// The one device that runs and that `query` names.
pub(crate) fn one(query: &str, socket: Option<&Path>) -> Result<Running, Error> {
    let mut all = running(socket)?;
    all.retain(|running| running.status.is(query));
    match all.len() {
        1 => Ok(all.remove(0)),
        0 => Err(Error::NotRunning { query: query.to_owned() }),
        _ => {
            let matches = all.into_iter().map(|running| running.status.unit).collect();
            Err(Error::Ambiguous { query: query.to_owned(), matches })
        }
    }
}
