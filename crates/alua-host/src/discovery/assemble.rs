//! From devices and their answers to logical units.

use std::collections::BTreeMap;

use alua_core::identity::{Identity, UnitName};
use alua_core::spc::designator::DeviceIdentification;
use alua_core::spc::inquiry::{StandardInquiry, UnitSerial};
use alua_core::tpgs::evaluate_path;

use super::finding::PageError;
use super::pool::Probed;
use super::{
    Capacity, Finding, Inventory, Path, Probe, Problem, Source, Trouble, Unit, UnitFinding,
};
use crate::sysfs::ScsiDevice;

/// Groups what was probed.
pub(super) fn assemble(probed: Vec<Probed>) -> Inventory {
    let mut inventory = Inventory::default();
    let mut named: BTreeMap<UnitName, usize> = BTreeMap::new();
    for Probed { device, answer, commands } in probed {
        inventory.commands += commands;
        let problem = |device: &ScsiDevice, trouble| Problem {
            hctl: device.hctl,
            name: device.short_name(),
            trouble,
        };
        let probe = match answer {
            Ok(probe) => Some(probe),
            Err(trouble) => {
                inventory.problems.push(problem(&device, trouble));
                None
            }
        };
        let path = match path(device, probe) {
            Ok(path) => path,
            Err((device, Some(trouble))) => {
                inventory.problems.push(problem(&device, trouble));
                continue;
            }
            Err((_, None)) => continue,
        };
        let known = path.identity.name.and_then(|name| named.get(&name).copied());
        if let Some(unit) = known.and_then(|index| inventory.units.get_mut(index)) {
            unit.paths.push(path);
            continue;
        }
        if let Some(name) = path.identity.name {
            named.insert(name, inventory.units.len());
        }
        inventory.units.push(Unit {
            name: path.identity.name,
            paths: vec![path],
            findings: Vec::new(),
        });
    }
    for unit in &mut inventory.units {
        unit.paths.sort_by_key(|path| path.device.hctl);
        unit.findings = compare(&unit.paths);
    }
    inventory.units.sort_by_key(|unit| unit.paths.first().map(|path| path.device.hctl));
    inventory
}

/// The path that a device is by what it said of itself; `None`: there is no logical unit on it.
#[must_use]
pub fn path_of(device: ScsiDevice, says: Probe) -> Option<Path> {
    path(device, Some(says)).ok()
}

/// The path that a device is, or the device back with what is wrong, if that is news.
#[expect(clippy::result_large_err, reason = "handled at once by its callers")]
fn path(device: ScsiDevice, probe: Option<Probe>) -> Result<Path, (ScsiDevice, Option<Trouble>)> {
    let source = if probe.is_some() { Source::Device } else { Source::Sysfs };
    let Some(probe) = probe.or_else(|| kernel_copies(&device)) else { return Err((device, None)) };
    let qualifier = probe.inquiry.peripheral_qualifier;
    if qualifier != 0 {
        return Err((device, Some(Trouble::NoUnit { qualifier })));
    }
    let mut findings: Vec<Finding> =
        probe.missing.into_iter().map(|(step, error)| Finding::NotRead { step, error }).collect();
    let from_device = probe.page_83h.filter(|_| source == Source::Device);
    let (source, page_83h, page) = choose_page(source, from_device, &device, &mut findings);
    let identity = page.unwrap_or_default();
    let alua = evaluate_path(probe.inquiry.device_type, probe.inquiry.tpgs, page.as_ref())
        .map(|(managed, _)| managed);
    Ok(Path {
        capacity: probe.capacity.or_else(|| size_in_sysfs(&device)),
        inquiry: probe.inquiry,
        identity,
        alua,
        serial: probe.serial,
        page_83h,
        source,
        findings,
        device,
    })
}

/// Which page 83h counts, and what is to be said about the two. The identity is `None` when neither
/// can be read.
fn choose_page(
    asked: Source,
    from_device: Option<Vec<u8>>,
    device: &ScsiDevice,
    findings: &mut Vec<Finding>,
) -> (Source, Vec<u8>, Option<Identity>) {
    let copy = device.page_83h.as_deref();
    let copied = copy.map(read_identity);
    let Some(page) = from_device else {
        let Some(copied) = copied else { return (asked, Vec::new(), None) };
        if asked == Source::Device {
            findings.push(Finding::KernelCopyUsed);
        }
        let identity = note(copied, findings);
        return (Source::Sysfs, copy.unwrap_or_default().to_vec(), identity);
    };
    let own = read_identity(&page);
    match (&own, &copied) {
        // Without INQUIRY data in sysfs the kernel keeps no copies at all.
        (_, None) if device.inquiry.is_some() => findings.push(Finding::NoKernelCopy),
        (Ok(own), Some(Ok(copied))) if own != copied => {
            findings.push(Finding::IdentityDiffers {
                device: Box::new(*own),
                sysfs: Box::new(*copied),
            });
        }
        (Ok(_), Some(Err(error))) => findings.push(Finding::BadKernelCopy(*error)),
        (_, Some(_)) if copy.is_some_and(|copy| copy != page) => {
            findings.push(Finding::PageDiffers);
        }
        _ => {}
    }
    let identity = note(own, findings);
    (Source::Device, page, identity)
}

/// The identity, with what is to be said about it.
fn note(identity: Result<Identity, PageError>, findings: &mut Vec<Finding>) -> Option<Identity> {
    match identity {
        Ok(identity) => {
            if identity.name.is_none() {
                findings.push(Finding::NoName);
            }
            Some(identity)
        }
        Err(error) => {
            findings.push(Finding::BadIdentification(error));
            None
        }
    }
}

fn read_identity(page: &[u8]) -> Result<Identity, PageError> {
    let page = DeviceIdentification::new(page).map_err(PageError::Format)?;
    Identity::from_page(&page).map_err(PageError::Identity)
}

/// What the kernel keeps of a device that could not be asked.
fn kernel_copies(device: &ScsiDevice) -> Option<Probe> {
    let inquiry = StandardInquiry::parse(device.inquiry.as_deref()?).ok()?;
    let serial = device.page_80h.as_deref().and_then(|page| {
        let text = UnitSerial::new(page).ok()?.serial().to_string().trim().to_owned();
        (!text.is_empty()).then_some(text)
    });
    Some(Probe {
        inquiry,
        serial,
        page_83h: None,
        capacity: None,
        referrals: None,
        missing: Vec::new(),
    })
}

fn size_in_sysfs(device: &ScsiDevice) -> Option<Capacity> {
    let block = device.block.as_ref()?;
    let (size, block_length) = (block.size?, block.block_length?);
    // A standby path can come up with size 0.
    let blocks = size.checked_div(u64::from(block_length))?;
    (blocks > 0).then_some(Capacity { blocks, block_length })
}

/// What does not fit together among the paths of one unit.
fn compare(paths: &[Path]) -> Vec<UnitFinding> {
    let mut findings = Vec::new();
    let sizes = paths.iter().filter_map(|path| Some((path.device.hctl, path.capacity?)));
    if let Some((first, second)) = disagreement(sizes) {
        findings.push(UnitFinding::SizesDiffer { first, second });
    }
    let modes = paths.iter().map(|path| (path.device.hctl, path.inquiry.tpgs));
    if let Some((first, second)) = disagreement(modes) {
        findings.push(UnitFinding::TpgsDiffer { first, second });
    }
    let serials = paths.iter().filter_map(|path| Some((path.device.hctl, path.serial.clone()?)));
    if let Some((first, second)) = disagreement(serials) {
        findings.push(UnitFinding::SerialsDiffer { first, second });
    }
    findings
}

/// The first of `values` and the first that differs from it.
fn disagreement<K, V: PartialEq>(
    mut values: impl Iterator<Item = (K, V)>,
) -> Option<((K, V), (K, V))> {
    let first = values.next()?;
    let second = values.find(|(_, value)| *value != first.1)?;
    Some((first, second))
}
