//! Paths to the model array, in process.
//!
//! A [`ModelArray`] is an [`alua_array::Array`] whose virtual time follows the real clock from the
//! moment at which it was started. Several devices, for several units or with several initiators,
//! may share it, and events may be let happen to it from outside at any time.
//!
//! The array runs on the engine threads of its devices: each lets the clock catch up when it wakes,
//! and sleeps no longer than until the array's next event. Nobody polls.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alua_array::{Array, Config, ConfigError, ConnectError, Event, NexusId, Outcome};
use alua_core::identity::Identity;
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::inquiry::{StandardInquiry, UnitSerial};
use alua_core::spc::referrals::SegmentLayout;
use alua_core::tpgs;
use alua_host::discovery;
use alua_host::hctl::Hctl;
use alua_host::sysfs::{self, Nexus, ScsiDevice, TargetEnd};
use alua_multipath::{Geometry, PathTraits, sbc};

use crate::device::{Device, JoinError, PathFacts, Settings, StartError, WeakDevice};
use crate::inbox::Back;

mod path;

use path::{ModelPath, ModelReactor, Out};

/// From one look at a port that has not joined to the next.
const LATE: Duration = Duration::from_millis(500);
/// How long one command of discovery may take.
const ASK: Duration = Duration::from_secs(10);
/// The same while devices run: the array's time goes ahead of theirs by as much.
const ASK_LATE: Duration = Duration::from_millis(20);
/// Times that a command of discovery which lost its turn to a unit attention is sent again.
const TURNS_MAX: u32 = 8;

/// A model array on the real clock. Cloning gives another handle.
#[derive(Clone)]
pub struct ModelArray(Arc<Mutex<Model>>);

pub(crate) struct Model {
    pub(crate) array: Array,
    start: Instant,
    /// The array's time at the start.
    offset: alua_array::Time,
    pub(crate) outs: HashMap<(NexusId, u64), Out>,
    pub(crate) next_tag: u64,
    /// The threads that let the array's time pass.
    backs: Vec<Back>,
}

impl fmt::Debug for ModelArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelArray")
    }
}

/// What a device serves, and how.
#[derive(Clone, Debug)]
pub struct Serve {
    /// The unit's name in the array file.
    pub unit: String,
    /// The initiator that the array sees: one nexus per port. Two devices that share an array need
    /// two; a nexus that is made anew ends the old one.
    pub initiator: String,
    /// The ports, by relative target port id; all that lead to the unit where it is empty.
    pub ports: Vec<u16>,
    /// How paths are called, by relative target port id; `port1` and so on where it says nothing.
    pub labels: BTreeMap<u16, String>,
    /// The device takes no writes.
    pub read_only: bool,
    /// Choices and limits of the engine.
    pub config: alua_multipath::Config,
    /// What the transport can do to end commands.
    pub traits: PathTraits,
}

impl Serve {
    /// All paths to a unit, with an initiator of its own and everything that a transport can do.
    #[must_use]
    pub fn unit(name: &str) -> Self {
        Self {
            unit: name.to_owned(),
            initiator: format!("iqn.2026-03.invalid.alua:{name}"),
            ports: Vec::new(),
            labels: BTreeMap::new(),
            read_only: false,
            config: alua_multipath::Config::default(),
            traits: PathTraits {
                abort_task: true,
                end_nexus: true,
                reset_unit: true,
                host_repeats: false,
                distance: 0,
            },
        }
    }
}

/// Why a unit of the model is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The array has no such unit.
    #[error("the array has no unit {0:?}; it has: {1}")]
    NoSuchUnit(String, String),
    /// No port that is up leads to it.
    #[error("no port that is up leads to the unit {0:?}")]
    NoPath(String),
    /// A path does not say who it is.
    #[error("port {port}: {what}")]
    Silent {
        /// The relative target port id.
        port: u16,
        /// What could not be read.
        what: &'static str,
    },
    /// The device was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A path did not join.
    #[error("port {port}: {error}")]
    Join {
        /// The relative target port id.
        port: u16,
        /// Why.
        error: JoinError,
    },
}

/// What a path says of itself.
struct Known {
    inquiry: StandardInquiry,
    serial: Option<String>,
    page_83h: Vec<u8>,
    identity: Identity,
    managed: Result<tpgs::Managed, tpgs::AluaOff>,
    geometry: Geometry,
    referrals: Option<SegmentLayout>,
}

impl Known {
    /// As discovery would have found it.
    fn found(&self, (port, lun): (u16, u16), name: &str) -> discovery::Path {
        let Geometry { blocks, block_size } = self.geometry;
        discovery::Path {
            device: scsi_device(port, lun, name),
            inquiry: self.inquiry,
            identity: self.identity,
            alua: self.managed,
            serial: self.serial.clone(),
            page_83h: self.page_83h.clone(),
            source: discovery::Source::Device,
            capacity: Some(discovery::Capacity { blocks, block_length: block_size }),
            findings: Vec::new(),
        }
    }
}

/// What sysfs would show of the disk `name` behind a port of the model: port P is target P.
#[must_use]
pub fn scsi_device(port: u16, lun: u16, name: &str) -> ScsiDevice {
    let block = sysfs::BlockDevice {
        name: name.to_owned(),
        number: None,
        size: None,
        block_length: None,
        read_only: None,
        holders: Vec::new(),
    };
    let hctl = Hctl { host: 0, channel: 0, target: port.into(), lun: lun.into() };
    let nexus = Nexus { host_driver: Some("model".to_owned()), target: TargetEnd::Unknown };
    ScsiDevice { nexus, ..ScsiDevice::running(hctl, block) }
}

impl ModelArray {
    /// Lets the time of `array` pass from now on.
    #[must_use]
    pub fn start(array: Array) -> Self {
        let offset = array.now();
        Self(Arc::new(Mutex::new(Model {
            array,
            start: Instant::now(),
            offset,
            outs: HashMap::new(),
            next_tag: 0,
            backs: Vec::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes something happen to the array, now.
    ///
    /// # Errors
    ///
    /// The event speaks of what the array does not have; nothing has happened then.
    pub fn apply(&self, event: &Event) -> Result<(), ConfigError> {
        self.with(|array| array.apply(event))
    }

    /// Does something with the array, at the present time. It must not take the array's time
    /// further than that for long: it is the time of all its devices.
    pub fn with<R>(&self, f: impl FnOnce(&mut Array) -> R) -> R {
        let mut model = self.lock();
        model.catch_up();
        let result = f(&mut model.array);
        model.deliver();
        // What happens next may have come nearer.
        for back in &model.backs {
            back.wake();
        }
        result
    }

    /// The configuration that the array was built from.
    #[must_use]
    pub fn config(&self) -> Config {
        self.lock().array.config().clone()
    }

    /// Starts a device over the paths to a unit, through every port that is up and says who it is.
    /// The others join when they do.
    ///
    /// # Errors
    ///
    /// See [`ServeError`].
    pub fn serve(&self, serve: &Serve) -> Result<Device, ServeError> {
        let (mut known, mut missing, mut silent) = (Vec::new(), Vec::new(), None);
        for place in self.places(serve)? {
            match self.look(serve, place, ASK) {
                Ok((nexus, says)) => known.push((place, nexus, says)),
                Err(error) => {
                    missing.push(place);
                    silent = silent.or(error);
                }
            }
        }
        let none = || silent.unwrap_or_else(|| ServeError::NoPath(serve.unit.clone()));
        let (_, _, first) = known.first().ok_or_else(none)?;
        let mut settings = Settings::new(first.identity.name, first.managed, first.geometry);
        settings.config = serve.config.clone();
        settings.config.referrals = first.referrals;
        settings.read_only = serve.read_only;
        let device = Device::start(settings, Box::new(ModelReactor::new(self.clone())))?;
        self.lock().backs.push(device.back());
        for (place, nexus, known) in known {
            let port = place.0;
            self.join(serve, &device, place, nexus, known)
                .map_err(|error| ServeError::Join { port, error })?;
        }
        if !missing.is_empty() {
            let (array, serve, device) = (self.clone(), serve.clone(), device.downgrade());
            std::thread::Builder::new()
                .name("late paths".to_owned())
                .spawn(move || array.join_late(&serve, &device, missing))
                .map_err(StartError::from)?;
        }
        Ok(device)
    }

    /// Connects to a port, and asks who is there. No error of its own where the port is down.
    fn look(
        &self,
        serve: &Serve,
        (port, lun): (u16, u16),
        limit: Duration,
    ) -> Result<(NexusId, Known), Option<ServeError>> {
        let mut model = self.lock();
        model.catch_up();
        let nexus = model.array.connect(&serve.initiator, port);
        let nexus = match nexus {
            Ok(nexus) => nexus,
            Err(ConnectError::PortDown(_) | ConnectError::NoSuchPort(_)) => return Err(None),
        };
        let says = model.ask(port, nexus, lun, limit);
        // Others' commands may have ended meanwhile.
        model.deliver();
        Ok((nexus, says.map_err(Some)?))
    }

    fn join(
        &self,
        serve: &Serve,
        device: &Device,
        (port, lun): (u16, u16),
        nexus: NexusId,
        known: Known,
    ) -> Result<(), JoinError> {
        let size = known.geometry.block_size as usize;
        let path = ModelPath::new(self.clone(), serve.initiator.clone(), port, lun, nexus, size);
        let label = serve.labels.get(&port);
        let label = label.cloned().unwrap_or_else(|| format!("port{port}"));
        let facts = PathFacts {
            found: Arc::new(known.found((port, lun), &label)),
            label,
            identity: known.identity,
            geometry: known.geometry,
            traits: serve.traits,
        };
        device.add_path(facts, Box::new(path)).map(|_| ())
    }

    /// Looks at the ports that were down at the start, or did not say who is there, until each has
    /// joined or the device has ended.
    fn join_late(&self, serve: &Serve, device: &WeakDevice, mut missing: Vec<(u16, u16)>) {
        while !missing.is_empty() {
            std::thread::sleep(LATE);
            let Some(device) = device.upgrade() else { return };
            missing.retain(|&place| match self.look(serve, place, ASK_LATE) {
                Ok((nexus, known)) => self.join(serve, &device, place, nexus, known).is_err(),
                Err(_) => true,
            });
        }
    }

    /// The ports, and the logical unit numbers there, that lead to the unit.
    fn places(&self, serve: &Serve) -> Result<Vec<(u16, u16)>, ServeError> {
        let model = self.lock();
        let array = &model.array;
        let unit = array.unit_index(&serve.unit).ok_or_else(|| {
            let names = array.units().collect::<Vec<_>>().join(", ");
            ServeError::NoSuchUnit(serve.unit.clone(), names)
        })?;
        let wanted = |port: &u16| serve.ports.is_empty() || serve.ports.contains(port);
        let at = |port: u16| {
            let lun = array.luns(port).find(|&lun| array.unit_at(port, lun) == Some(unit));
            lun.map(|lun| (port, lun))
        };
        Ok(array.ports().filter(wanted).filter_map(at).collect())
    }
}

impl Model {
    /// Lets the array's time come up to the real one.
    pub(crate) fn catch_up(&mut self) {
        let now = self.offset.after(self.start.elapsed());
        self.array.advance(now);
    }

    /// How long nothing happens in the array by itself.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let next = self.array.next_event()?;
        Some(next.since(self.offset.after(self.start.elapsed())))
    }

    /// Hands back what has completed.
    pub(crate) fn deliver(&mut self) {
        while let Some(completion) = self.array.poll_completion() {
            if let Some(out) = self.outs.remove(&(completion.nexus, completion.tag)) {
                out.completed(completion.outcome);
            }
        }
    }

    /// Takes out, and gives back, what `wanted` says.
    pub(crate) fn take_outs(&mut self, wanted: impl Fn(&Out, NexusId) -> bool) -> Vec<Out> {
        self.outs.extract_if(|(nexus, _), out| wanted(out, *nexus)).map(|(_, out)| out).collect()
    }

    /// The device of that thread has ended.
    pub(crate) fn forget(&mut self, back: &Back) {
        self.backs.retain(|other| !other.is(back));
    }

    pub(crate) fn tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }

    /// Reads from a path who it is.
    fn ask(
        &mut self,
        port: u16,
        nexus: NexusId,
        lun: u16,
        limit: Duration,
    ) -> Result<Known, ServeError> {
        let silent = |what| ServeError::Silent { port, what };
        let inquiry = self.read(nexus, lun, &[0x12, 0, 0, 0, 96, 0], 96, limit);
        let inquiry = inquiry.and_then(|data| StandardInquiry::parse(&data).ok());
        let inquiry = inquiry.ok_or_else(|| silent("no standard INQUIRY data"))?;
        let page = self.read(nexus, lun, &[0x12, 1, 0x80, 0, 252, 0], 252, limit);
        let serial = page.and_then(|page| {
            let text = UnitSerial::new(&page).ok()?.serial().to_string().trim().to_owned();
            (!text.is_empty()).then_some(text)
        });
        let page = self.read(nexus, lun, &[0x12, 1, 0x83, 0x10, 0, 0], 4096, limit);
        let page_83h = page.ok_or_else(|| silent("no page 83h"))?;
        let page =
            DeviceIdentification::new(&page_83h).map_err(|_| silent("a malformed page 83h"))?;
        let identity =
            Identity::from_page(&page).map_err(|_| silent("a contradictory page 83h"))?;
        let capacity = sbc::read_capacity_16();
        let data = self.read(nexus, lun, capacity.as_bytes(), sbc::CAPACITY_BYTES as usize, limit);
        let capacity = data.and_then(|data| sbc::parse_capacity_16(&data));
        let (blocks, block_size) = capacity.ok_or_else(|| silent("no READ CAPACITY data"))?;
        let page = self.read(nexus, lun, &[0x12, 1, 0xb3, 0, 16, 0], 16, limit);
        let referrals = page.and_then(|page| SegmentLayout::parse(&page).ok());
        let managed = tpgs::evaluate_path(inquiry.device_type, inquiry.tpgs, Some(&identity));
        Ok(Known {
            inquiry,
            serial,
            page_83h,
            identity,
            managed: managed.map(|(managed, _)| managed),
            geometry: Geometry { blocks, block_size },
            referrals,
        })
    }

    fn read(
        &mut self,
        nexus: NexusId,
        lun: u16,
        cdb: &[u8],
        room: usize,
        limit: Duration,
    ) -> Option<Vec<u8>> {
        for _ in 0..TURNS_MAX {
            let tag = self.tag();
            let done = self.array.execute(nexus, lun, tag, cdb, &[], room, limit).ok()??;
            match done.outcome {
                Outcome::Answered { status: alua_core::spc::Status::Good, data_in, .. } => {
                    return Some(data_in);
                }
                Outcome::Answered { .. } => {}
                Outcome::Transport(_) => return None,
            }
        }
        None
    }
}
