//! A model array as if it were the SCSI devices of a machine.
//!
//! # Contract
//!
//! - One initiator with one host: port P of the array is target P, so a logical unit number L behind
//!   it is the device `0:0:P:L`. Devices get names in the order of their addresses: `sda`, `sdb`.
//! - Time is virtual: a command takes what the array says, a wait takes none of the user's time. A
//!   run with the same arguments prints the same bytes.
//! - A port that is down at the start has no devices; it is told as a problem.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alua_array::{
    Array, Completion, Config, ConnectError, Event, FunctionResult, NexusId, Outcome, shipped,
};
use alua_core::spc::cdb::Cdb;
use alua_core::spc::luns::ReportLuns;
use alua_core::time::Time;
use alua_device::model::scsi_device;
use alua_host::discovery::Opener;
use alua_host::hctl::Hctl;
use alua_host::sg::OpenError;
use alua_host::sysfs::{NameError, ScsiDevice};
use alua_host::transport::{
    Data, HostStatus, NotSubmitted, Reply, Request, ResetError, Transport, TransportError,
};

use super::{Choice, Problem};
use crate::error::Error;

/// The initiator that the model sees.
const INITIATOR: &str = "iqn.2026-03.invalid.alua:cli";

/// LUNs of a port that are looked for.
const LUNS_MAX: u32 = 16_384;

/// A model array and its devices.
pub(crate) struct Model {
    array: Shared,
    devices: Vec<ScsiDevice>,
    nexuses: Vec<(u16, NexusId)>,
    problems: Vec<Problem>,
}

/// An array that transports and clock share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Array>>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Array> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Time {
        self.lock().now().to_core()
    }

    pub(crate) fn sleep_until(&self, until: Time) {
        self.lock().advance(alua_array::Time::from_millis(until.as_millis()));
    }
}

impl Model {
    /// The array that `name` stands for: a built-in one, or a file.
    pub(crate) fn open(name: &str, choice: &Choice) -> Result<Self, Error> {
        let config = config(name)?;
        let script = match &choice.script {
            Some(path) => script(&config, path)?,
            None => Vec::new(),
        };
        let mut array = Array::new(config).map_err(|error| Error::Text(error.to_string()))?;
        array.run_script(script);
        let mut model = Self {
            array: Shared(Arc::new(Mutex::new(array))),
            devices: Vec::new(),
            nexuses: Vec::new(),
            problems: Vec::new(),
        };
        model.scan();
        Ok(model)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.array
    }

    pub(crate) fn devices(&self) -> &[ScsiDevice] {
        &self.devices
    }

    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(crate) fn opener(&self) -> Arc<dyn Opener> {
        Arc::new(ModelOpener { array: self.array.clone(), nexuses: self.nexuses.clone() })
    }

    /// The device that `name` stands for: `sda`, `/dev/sda`, `0:0:1:0`.
    pub(crate) fn device(&self, name: &str) -> Result<&ScsiDevice, Error> {
        let bare = name.strip_prefix("/dev/").unwrap_or(name);
        let hctl = bare.parse::<Hctl>().ok();
        let fits = |device: &&ScsiDevice| Some(device.hctl) == hctl || device.short_name() == bare;
        self.devices
            .iter()
            .find(fits)
            .ok_or_else(|| NameError::Missing { name: name.to_owned() }.into())
    }

    /// Makes something happen to the array.
    pub(crate) fn apply(&self, event: &Event) -> Result<(), Error> {
        self.array.lock().apply(event).map_err(|error| Error::Text(error.to_string()))
    }

    /// Logs in to each port and finds its logical units by REPORT LUNS, as a host does.
    fn scan(&mut self) {
        let ports: Vec<u16> = self.array.lock().ports().collect();
        for port in ports {
            let connected = self.array.lock().connect(INITIATOR, port);
            let nexus = match connected {
                Ok(nexus) => nexus,
                Err(error) => {
                    let message = match error {
                        ConnectError::PortDown(_) => "down at the start: no path leads through it",
                        ConnectError::NoSuchPort(_) => "there is no such port",
                    };
                    self.problem(port, message.to_owned());
                    continue;
                }
            };
            self.nexuses.push((port, nexus));
            match self.luns(nexus) {
                Ok(luns) => {
                    self.devices.extend(luns.into_iter().map(|lun| scsi_device(port, lun, "")));
                }
                Err(message) => self.problem(port, format!("REPORT LUNS: {message}")),
            }
        }
        self.devices.sort_by_key(|device| device.hctl);
        for (index, device) in self.devices.iter_mut().enumerate() {
            if let Some(block) = &mut device.block {
                block.name = disk_name(index);
            }
        }
    }

    fn problem(&mut self, port: u16, message: String) {
        let device = format!("port {port}");
        self.problems.push(Problem { device, message, permission: false });
    }

    fn luns(&self, nexus: NexusId) -> Result<Vec<u16>, String> {
        let mut path = ModelPath { array: self.array.clone(), nexus, lun: 0, tag: 0 };
        let allocation_length = 8 + 8 * LUNS_MAX;
        let cdb = Cdb::ReportLuns { select_report: 0, allocation_length }.encode();
        let mut buffer = vec![0; usize::try_from(allocation_length).unwrap_or(0)];
        // A new nexus may find a unit attention first.
        for _ in 0..8 {
            let data = Data::In(&mut buffer);
            let request = Request { cdb: cdb.as_bytes(), data, timeout_ms: 10_000 };
            let reply = path.execute(request).map_err(|error| error.to_string())?;
            if reply.status == alua_core::spc::Status::Good {
                let bytes = buffer.get(..reply.transferred).unwrap_or(&buffer);
                let luns = ReportLuns::parse(bytes).map_err(|error| error.to_string())?;
                return Ok(luns.iter().filter_map(alua_core::spc::luns::Lun::as_simple).collect());
            }
        }
        Err("the array answers nothing but unit attentions".to_owned())
    }
}

/// The configuration that `name` stands for.
pub(crate) fn config(name: &str) -> Result<Config, Error> {
    if let Some(built_in) = shipped::Shipped::by_name(name) {
        return Ok(built_in.config());
    }
    let path = Path::new(name);
    if !path.exists() && !name.contains(['/', '.']) {
        let names: Vec<&str> = shipped::ALL.iter().map(|shipped| shipped.name).collect();
        return Err(Error::Usage(format!(
            "--array {name}: no built-in array and no file has that name; built-in are {}",
            names.join(", ")
        )));
    }
    let text = read(path)?;
    Config::from_toml(name, &text).map_err(|error| Error::Text(error.to_string()))
}

/// The events of a script file, for the array that `name` stands for.
pub(crate) fn script_of(name: &str, path: &Path) -> Result<Vec<(alua_array::Time, Event)>, Error> {
    script(&config(name)?, path)
}

fn script(config: &Config, path: &Path) -> Result<Vec<(alua_array::Time, Event)>, Error> {
    let text = read(path)?;
    config
        .script_from_toml(&path.display().to_string(), &text)
        .map_err(|error| Error::Text(error.to_string()))
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_path_buf(), source })
}

/// `sda` ... `sdz`, `sdaa` ...: as the kernel counts disks.
fn disk_name(mut index: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'a' + u8::try_from(index % 26).unwrap_or(0)));
        if index < 26 {
            break;
        }
        index = index / 26 - 1;
    }
    letters.push('d');
    letters.push('s');
    letters.iter().rev().collect()
}

struct ModelOpener {
    array: Shared,
    nexuses: Vec<(u16, NexusId)>,
}

impl Opener for ModelOpener {
    fn open(&self, device: &ScsiDevice) -> Result<Box<dyn Transport + Send>, OpenError> {
        let missing = || OpenError::Missing { path: device.short_name().into() };
        let port = u16::try_from(device.hctl.target).map_err(|_| missing())?;
        let lun = u16::try_from(device.hctl.lun).map_err(|_| missing())?;
        let nexus = self.nexuses.iter().find(|(known, _)| *known == port).ok_or_else(missing)?.1;
        Ok(Box::new(ModelPath { array: self.array.clone(), nexus, lun, tag: 0 }))
    }
}

/// A path to a logical unit of the model.
struct ModelPath {
    array: Shared,
    nexus: NexusId,
    lun: u16,
    tag: u64,
}

impl Transport for ModelPath {
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
        let (out, capacity): (&[u8], usize) = match &request.data {
            Data::None => (&[], 0),
            Data::In(buffer) => (&[], buffer.len()),
            Data::Out(bytes) => (bytes, 0),
        };
        self.tag += 1;
        let limit = Duration::from_millis(request.timeout_ms.into());
        let mut array = self.array.lock();
        let before = array.now();
        let ended =
            array.execute(self.nexus, self.lun, self.tag, request.cdb, out, capacity, limit);
        let duration = array.now().since(before);
        match ended {
            Err(_) => Err(TransportError::NotSubmitted { cause: NotSubmitted::NoDevice, errno: 0 }),
            Ok(None) => Err(TransportError::TimedOut { limit_ms: request.timeout_ms, duration }),
            Ok(Some(Completion { outcome: Outcome::Transport(error), .. })) => {
                Err(failed(error, duration))
            }
            Ok(Some(Completion {
                outcome: Outcome::Answered { status, sense, data_in, residual },
                ..
            })) => {
                let moved = match request.data {
                    Data::In(buffer) => {
                        let moved = data_in.len().min(buffer.len());
                        if let (Some(to), Some(from)) =
                            (buffer.get_mut(..moved), data_in.get(..moved))
                        {
                            to.copy_from_slice(from);
                        }
                        moved
                    }
                    Data::Out(bytes) => bytes.len(),
                    Data::None => 0,
                };
                let mut reply = Reply::new(status, moved, moved);
                reply.residual = residual;
                reply.duration = duration;
                Ok(match sense {
                    Some(sense) => reply.with_sense(sense.as_bytes()),
                    None => reply,
                })
            }
        }
    }

    fn reset_unit(&mut self) -> Result<(), ResetError> {
        reset(self.array.lock().reset_unit(self.nexus, self.lun))
    }
}

/// The model's answer to a reset as Linux would tell it.
fn reset(result: FunctionResult) -> Result<(), ResetError> {
    match result {
        FunctionResult::Complete => Ok(()),
        FunctionResult::Transport(alua_array::TransportError::NoConnect) => {
            Err(ResetError::NotReady { errno: 0 })
        }
        _ => Err(ResetError::Failed { errno: 0 }),
    }
}

/// The model's transport errors as Linux would tell them.
fn failed(error: alua_array::TransportError, duration: Duration) -> TransportError {
    let host = match error {
        alua_array::TransportError::NoConnect => HostStatus::NO_CONNECT,
        alua_array::TransportError::Disrupted => HostStatus::TRANSPORT_DISRUPTED,
        alua_array::TransportError::Error => HostStatus::ERROR,
    };
    TransportError::Failed { host, driver: alua_host::transport::DriverStatus::OK, duration }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_the_kernel_names_them() {
        let names: Vec<String> = [0, 25, 26, 27, 701, 702].map(disk_name).into();
        assert_eq!(names, ["sda", "sdz", "sdaa", "sdab", "sdzz", "sdaaa"]);
    }
}
