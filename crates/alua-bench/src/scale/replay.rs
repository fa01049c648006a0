//! The driver alone: every call that the host made into the core, made again on new units without
//! array and host. The CPU time of that is the driver's own.

use alua_core::identity::Identity;
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::inquiry::StandardInquiry;
use alua_core::spc::sense::Sense;
use alua_core::spc::{Status, WireError};
use alua_core::time::Time;
use alua_core::tpgs;
use alua_core::unit::{CommandId, Config, NewPath, Outcome, PathId};

use super::Unit;

/// Bytes of the log's data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    from: u32,
    length: u32,
}

/// One call into the core.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// Standard INQUIRY data of a path, evaluated.
    Inquiry(Range),
    /// Page 83h of a path; that of the first one makes the unit.
    AddPath(Range),
    PollCommand,
    Complete(CommandId, Status, Range, Range),
    Sense(PathId, Range),
    Success(PathId),
    PollEvent,
    PollDeadline,
    Gate(PathId),
    Activate(u16),
}

/// The calls of a run, in order.
#[derive(Debug, Default)]
pub struct Log {
    calls: Vec<(u32, Time, Call)>,
    data: Vec<u8>,
}

impl Log {
    pub(super) fn add(&mut self, unit: usize, now: Time, call: Call) {
        self.calls.push((unit as u32, now, call));
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) -> Range {
        let from = self.data.len() as u32;
        self.data.extend_from_slice(bytes);
        Range { from, length: bytes.len() as u32 }
    }

    /// How many calls there are.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    fn bytes(&self, range: Range) -> &[u8] {
        &self.data[range.from as usize..(range.from + range.length) as usize]
    }

    /// Makes every call again, on `count` new units, and gives them as they are in the end.
    ///
    /// # Errors
    ///
    /// Data that the core took before and does not take now: impossible while it is deterministic.
    pub fn replay(&self, count: usize, config: Config) -> Result<Vec<Option<Unit>>, WireError> {
        let off = tpgs::evaluate(0, alua_core::access::Tpgs::None);
        let mut managed = vec![off; count];
        let mut units: Vec<Option<Unit>> = (0..count).map(|_| None).collect();
        for &(unit, now, call) in &self.calls {
            let at = unit as usize;
            match (call, &mut units[at]) {
                (Call::Inquiry(data), _) => managed[at] = evaluate(self.bytes(data))?,
                (Call::AddPath(page), place) => {
                    let identity = identify(self.bytes(page))?;
                    let unit =
                        place.get_or_insert_with(|| new_unit(&identity, managed[at], config));
                    // The host checked the result.
                    let _ = unit.add_path(new_path(&identity), now);
                }
                (call, Some(unit)) => self.repeat(unit, now, call),
                (_, None) => {}
            }
        }
        Ok(units)
    }

    fn repeat(&self, unit: &mut Unit, now: Time, call: Call) {
        match call {
            Call::Inquiry(_) | Call::AddPath(_) => {}
            Call::PollCommand => {
                std::hint::black_box(unit.poll_command(now).map(|command| command.cdb()));
            }
            Call::Complete(id, status, sense, data) => {
                let (sense, data) = (self.bytes(sense), self.bytes(data));
                unit.handle_completion(id, &Outcome::Answered { status, sense, data }, now);
            }
            Call::Sense(path, sense) => {
                if let Ok(sense) = Sense::parse(self.bytes(sense)) {
                    std::hint::black_box(unit.handle_sense(path, &sense, now));
                }
            }
            Call::Success(path) => unit.handle_success(path, now),
            Call::PollEvent => {
                std::hint::black_box(unit.poll_event());
            }
            Call::PollDeadline => {
                std::hint::black_box(unit.poll_deadline());
            }
            Call::Gate(path) => {
                std::hint::black_box(unit.gate(path));
            }
            Call::Activate(group) => {
                let _ = std::hint::black_box(unit.activate(group, now));
            }
        }
    }
}

/// How the target manages its states, from standard INQUIRY data.
pub(super) fn evaluate(data: &[u8]) -> Result<Result<tpgs::Managed, tpgs::AluaOff>, WireError> {
    let inquiry = StandardInquiry::parse(data)?;
    Ok(tpgs::evaluate(inquiry.device_type, inquiry.tpgs))
}

/// Who is behind a path, from its page 83h.
pub(super) fn identify(page: &[u8]) -> Result<Identity, WireError> {
    let page = DeviceIdentification::new(page)?;
    // The model array's pages say nothing that contradicts itself.
    Ok(Identity::from_page(&page).unwrap_or_default())
}

pub(super) fn new_unit(
    identity: &Identity,
    managed: Result<tpgs::Managed, tpgs::AluaOff>,
    config: Config,
) -> Unit {
    Unit::new(identity.name, managed, config, Default::default(), Default::default())
}

pub(super) fn new_path(identity: &Identity) -> NewPath<'_> {
    NewPath {
        name: identity.name.as_ref(),
        group: identity.group,
        relative_port: identity.relative_port,
    }
}
