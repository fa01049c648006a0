//! Devices that answer from a table, and the records of sysfs that go with them.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alua_core::access::{AccessState, SupportedStates, Tpgs};
use alua_core::spc::Status;
use alua_core::spc::cdb::{Cdb, opcode};
use alua_core::spc::designator::{Designator, DesignatorWriter, id_payload};
use alua_core::spc::inquiry::StandardInquiry;
use alua_core::spc::sense::{Sense, SenseKey};
use alua_core::spc::target_port_groups::{GroupFields, ReportWriter, StatusCode};
use alua_host::discovery::Opener;
use alua_host::hctl::Hctl;
use alua_host::sg::OpenError;
use alua_host::sysfs::{BlockDevice, ScsiDevice};
use alua_host::transport::{Data, Reply, Request, Transport, TransportError};

/// What a fake device is.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) inquiry: Vec<u8>,
    /// Pages by code, whole.
    pub(crate) pages: BTreeMap<u8, Vec<u8>>,
    /// Blocks and block length.
    pub(crate) capacity: (u64, u32),
    /// What REPORT TARGET PORT GROUPS tells; refused when empty.
    pub(crate) groups: Vec<(u16, AccessState)>,
    /// READ CAPACITY (16) is refused.
    pub(crate) no_capacity_16: bool,
    /// What the next commands get instead of an answer.
    pub(crate) first: VecDeque<Result<Reply, TransportError>>,
    /// How long every command takes.
    pub(crate) delay: Duration,
}

/// Page 83h with an NAA 6 name, a port and a group.
pub(crate) fn page_83h(unit: u8, port: u16, group: Option<u16>) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut name = [0x60; 16];
    name[15] = unit;
    let mut writer = DesignatorWriter::new(&mut buffer, 0);
    writer.push(&Designator::naa(&name)).unwrap();
    writer.push(&Designator::port(&id_payload(port))).unwrap();
    if let Some(group) = group {
        writer.push(&Designator::group(&id_payload(group))).unwrap();
    }
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

pub(crate) fn inquiry(tpgs: Tpgs) -> Vec<u8> {
    let mut buffer = [0; 96];
    let length = StandardInquiry::disk(tpgs, "LIO-ORG", "disk0", "4.0").emit(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

pub(crate) fn check(key: SenseKey, asc: u8, ascq: u8) -> Reply {
    let mut sense = [0; 18];
    Sense::new(key, asc, ascq).emit_fixed(&mut sense).unwrap();
    Reply::new(Status::CheckCondition, 0, 0).with_sense(&sense)
}

impl Fake {
    /// A disk with both kinds of ALUA.
    pub(crate) fn disk(unit: u8, port: u16, group: Option<u16>) -> Self {
        let mut fake = Self {
            inquiry: inquiry(Tpgs::Both),
            pages: BTreeMap::new(),
            capacity: (2048, 512),
            groups: Vec::new(),
            no_capacity_16: false,
            first: VecDeque::new(),
            delay: Duration::ZERO,
        };
        fake.pages.insert(0x83, page_83h(unit, port, group));
        fake.pages.insert(0x80, [&[0, 0x80, 0, 4][..], format!("SN{unit:02}").as_bytes()].concat());
        fake.pages.insert(0x00, vec![0, 0, 0, 3, 0, 0x80, 0x83]);
        fake
    }

    fn answer(&self, cdb: &[u8]) -> Result<Vec<u8>, Box<Reply>> {
        let illegal = || Box::new(check(SenseKey::IllegalRequest, 0x24, 0));
        match (cdb[0], Cdb::decode(cdb)) {
            (_, Ok(Cdb::Inquiry { page: None, .. })) => Ok(self.inquiry.clone()),
            (_, Ok(Cdb::Inquiry { page: Some(page), .. })) => {
                self.pages.get(&page).cloned().ok_or_else(illegal)
            }
            (opcode::SERVICE_ACTION_IN_16, _) if !self.no_capacity_16 => {
                let last = self.capacity.0 - 1;
                let mut data = [0; 32];
                data[..8].copy_from_slice(&last.to_be_bytes());
                data[8..12].copy_from_slice(&self.capacity.1.to_be_bytes());
                Ok(data.to_vec())
            }
            (opcode::READ_CAPACITY_10, _) => {
                let last = u32::try_from(self.capacity.0 - 1).unwrap();
                Ok([last.to_be_bytes(), self.capacity.1.to_be_bytes()].concat())
            }
            (_, Ok(Cdb::ReportTargetPortGroups { format, .. })) if !self.groups.is_empty() => {
                let mut buffer = vec![0; 1024];
                let mut writer = ReportWriter::new(&mut buffer, format, 0);
                for &(id, state) in &self.groups {
                    let supported = SupportedStates::from_bits(0xdf);
                    let status = StatusCode::None;
                    let fields =
                        GroupFields { preferred: false, state, supported, id, status, vendor: 0 };
                    writer.push(&fields, [id]).unwrap();
                }
                let length = writer.finish().unwrap();
                buffer.truncate(length);
                Ok(buffer)
            }
            _ => Err(illegal()),
        }
    }
}

/// A transport to a [`Fake`], and what was sent through it.
pub(crate) struct FakeTransport {
    pub(crate) fake: Fake,
    pub(crate) sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Transport for FakeTransport {
    fn execute(&mut self, request: Request<'_>) -> Result<Reply, TransportError> {
        self.sent.lock().unwrap().push(request.cdb.to_vec());
        std::thread::sleep(self.fake.delay);
        if let Some(first) = self.fake.first.pop_front() {
            return first;
        }
        let data = match self.fake.answer(request.cdb) {
            Ok(data) => data,
            Err(reply) => return Ok(*reply),
        };
        let Data::In(buffer) = request.data else { panic!("no buffer for data in") };
        let moved = data.len().min(buffer.len());
        buffer[..moved].copy_from_slice(&data[..moved]);
        Ok(Reply::new(Status::Good, buffer.len(), moved))
    }
}

/// Opens fakes by address. An address that is not there has no permission.
#[derive(Default)]
pub(crate) struct FakeHost {
    pub(crate) fakes: BTreeMap<Hctl, Fake>,
    pub(crate) sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FakeHost {
    /// Adds a fake and gives the record of sysfs for it, without copies of pages.
    pub(crate) fn add(&mut self, hctl: &str, fake: Fake) -> ScsiDevice {
        let device = device(hctl);
        self.fakes.insert(device.hctl, fake);
        device
    }
}

impl Opener for FakeHost {
    fn open(&self, device: &ScsiDevice) -> Result<Box<dyn Transport + Send>, OpenError> {
        let Some(fake) = self.fakes.get(&device.hctl) else {
            return Err(OpenError::NoPermission { path: device.short_name().into() });
        };
        Ok(Box::new(FakeTransport { fake: fake.clone(), sent: Arc::clone(&self.sent) }))
    }
}

/// A running disk of 1 MiB, without copies of pages.
pub(crate) fn device(hctl: &str) -> ScsiDevice {
    let block = BlockDevice {
        name: format!("sd-{hctl}"),
        number: None,
        size: Some(2048 * 512),
        block_length: Some(512),
        read_only: Some(false),
        holders: Vec::new(),
    };
    ScsiDevice { device_type: Some(0), ..ScsiDevice::running(hctl.parse().unwrap(), block) }
}
