//! A transport that counts what goes through it, tells of it, and can hold back what would change
//! something.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alua_core::spc::cdb::opcode;
use alua_core::time::Time;
use alua_host::discovery::Opener;
use alua_host::driver::Clock;
use alua_host::hctl::Hctl;
use alua_host::sg::OpenError;
use alua_host::sysfs::ScsiDevice;
use alua_host::transport::{
    Data, NotSubmitted, Reply, Request, ResetError, Transport, TransportError,
};

use super::WorldClock;
use crate::error::reply_text;

/// What all transports of a run share.
#[derive(Debug)]
pub(crate) struct Monitor {
    clock: WorldClock,
    verbose: bool,
    keep: AtomicBool,
    hold_stpg: AtomicBool,
    held: Mutex<Option<Held>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    lines: Mutex<Vec<Sent>>,
}

/// A SET TARGET PORT GROUPS that was not sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) device: String,
    pub(crate) cdb: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

/// A command that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Time,
    pub(crate) device: String,
    pub(crate) name: &'static str,
    pub(crate) cdb: Vec<u8>,
    pub(crate) data_out: Vec<u8>,
    pub(crate) outcome: String,
    pub(crate) took_ms: u64,
}

impl Monitor {
    pub(crate) fn new(clock: WorldClock, verbose: bool) -> Self {
        Self {
            clock,
            verbose,
            keep: AtomicBool::new(false),
            hold_stpg: AtomicBool::new(false),
            held: Mutex::new(None),
            counts: Mutex::new(BTreeMap::new()),
            lines: Mutex::new(Vec::new()),
        }
    }

    /// From now on, what is sent is kept for [`take`](Self::take).
    pub(crate) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// What was sent since the last call.
    pub(crate) fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut *locked(&self.lines))
    }

    /// From now on, no SET TARGET PORT GROUPS leaves: the first is kept for
    /// [`held`](Self::held).
    pub(crate) fn hold_stpg(&self) {
        self.hold_stpg.store(true, Ordering::Relaxed);
    }

    /// The SET TARGET PORT GROUPS that was held back.
    pub(crate) fn held(&self) -> Option<Held> {
        locked(&self.held).clone()
    }

    /// Commands sent so far, in all.
    pub(crate) fn total(&self) -> u64 {
        locked(&self.counts).values().sum()
    }

    fn enter(&self, sent: Sent) {
        *locked(&self.counts).entry(sent.name).or_default() += 1;
        if self.verbose {
            anstream::eprintln!("{}", sent.line());
        }
        if self.keep.load(Ordering::Relaxed) {
            locked(&self.lines).push(sent);
        }
    }
}

impl Sent {
    /// The command on one line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{:>7}.{:03} s  {}  {}  [{}]",
            self.at.as_millis() / 1_000,
            self.at.as_millis() % 1_000,
            self.device,
            self.name,
            hex(&self.cdb)
        );
        if !self.data_out.is_empty() {
            let _ = write!(line, " data [{}]", hex(&self.data_out));
        }
        let _ = write!(line, " -> {} ({} ms)", self.outcome, self.took_ms);
        line
    }
}

/// Bytes as `a3 2a 00`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if !text.is_empty() {
            text.push(' ');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A transport of a device, under a monitor.
pub(crate) struct Traced {
    pub(crate) device: String,
    pub(crate) inner: Box<dyn Transport + Send>,
    pub(crate) monitor: std::sync::Arc<Monitor>,
}

impl Transport for Traced {
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
        let cdb = request.cdb.to_vec();
        let data_out = match &request.data {
            Data::Out(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let reads = matches!(request.data, Data::In(_));
        if is_stpg(&cdb) && self.monitor.hold_stpg.load(Ordering::Relaxed) {
            let held = Held { device: self.device.clone(), cdb, data: data_out };
            locked(&self.monitor.held).get_or_insert(held);
            let cause = NotSubmitted::BadRequest("held back, nothing is to be changed");
            return Err(TransportError::NotSubmitted { cause, errno: 0 });
        }
        let at = self.monitor.clock.now();
        let result = self.inner.execute(request);
        let outcome = match &result {
            Ok(reply) if reads && reply.transferred > 0 => {
                format!("{}, {} bytes", reply_text(reply), reply.transferred)
            }
            Ok(reply) => reply_text(reply),
            Err(error) => error.to_string(),
        };
        let took_ms = self.monitor.clock.now().since(at);
        let name = command_name(&cdb);
        let device = self.device.clone();
        self.monitor.enter(Sent { at, device, name, cdb, data_out, outcome, took_ms });
        result
    }

    fn reset_unit(&mut self) -> Result<(), ResetError> {
        let at = self.monitor.clock.now();
        let result = self.inner.reset_unit();
        let outcome = match &result {
            Ok(()) => "complete".to_owned(),
            Err(error) => error.to_string(),
        };
        let took_ms = self.monitor.clock.now().since(at);
        let (device, name) = (self.device.clone(), "LOGICAL UNIT RESET");
        // A task management function has neither a CDB nor data.
        let (cdb, data_out) = (Vec::new(), Vec::new());
        self.monitor.enter(Sent { at, device, name, cdb, data_out, outcome, took_ms });
        result
    }
}

fn is_stpg(cdb: &[u8]) -> bool {
    matches!(cdb, [opcode::MAINTENANCE_OUT, second, ..]
        if second & 0x1f == opcode::SET_TARGET_PORT_GROUPS)
}

/// The name of a command, as SPC has it.
pub(crate) fn command_name(cdb: &[u8]) -> &'static str {
    let action = cdb.get(1).map_or(0, |byte| byte & 0x1f);
    match (cdb.first().copied(), action) {
        (Some(opcode::TEST_UNIT_READY), _) => "TEST UNIT READY",
        (Some(opcode::INQUIRY), action) if action & 1 == 0 => "INQUIRY",
        (Some(opcode::INQUIRY), _) => match cdb.get(2) {
            Some(0x00) => "INQUIRY page 00h",
            Some(0x80) => "INQUIRY page 80h",
            Some(0x83) => "INQUIRY page 83h",
            _ => "INQUIRY, a VPD page",
        },
        (Some(opcode::REQUEST_SENSE), _) => "REQUEST SENSE",
        (Some(opcode::REPORT_LUNS), _) => "REPORT LUNS",
        (Some(opcode::READ_CAPACITY_10), _) => "READ CAPACITY (10)",
        (Some(opcode::SERVICE_ACTION_IN_16), opcode::READ_CAPACITY_16) => "READ CAPACITY (16)",
        (Some(opcode::MAINTENANCE_IN), opcode::REPORT_TARGET_PORT_GROUPS) => {
            if cdb.get(1).is_some_and(|byte| byte & 0xe0 != 0) {
                "REPORT TARGET PORT GROUPS (extended)"
            } else {
                "REPORT TARGET PORT GROUPS"
            }
        }
        (Some(opcode::MAINTENANCE_OUT), opcode::SET_TARGET_PORT_GROUPS) => "SET TARGET PORT GROUPS",
        _ => "another command",
    }
}

/// Opens devices, each under the monitor.
pub(crate) struct TracedOpener {
    pub(crate) inner: std::sync::Arc<dyn Opener>,
    pub(crate) monitor: std::sync::Arc<Monitor>,
}

impl Opener for TracedOpener {
    fn open(&self, device: &ScsiDevice) -> Result<Box<dyn Transport + Send>, OpenError> {
        let inner = self.inner.open(device)?;
        let monitor = std::sync::Arc::clone(&self.monitor);
        Ok(Box::new(Traced { device: device.short_name(), inner, monitor }))
    }
}

/// Opens devices, but for some.
pub(crate) struct SparingOpener {
    pub(crate) inner: std::sync::Arc<dyn Opener>,
    pub(crate) spared: Vec<Hctl>,
}

impl Opener for SparingOpener {
    fn open(&self, device: &ScsiDevice) -> Result<Box<dyn Transport + Send>, OpenError> {
        if self.spared.contains(&device.hctl) {
            let path = std::path::PathBuf::from(device.short_name());
            return Err(OpenError::Missing { path });
        }
        self.inner.open(device)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
