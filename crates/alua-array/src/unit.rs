//! Logical units as the array keeps them.

use alua_core::access::AccessState;

use crate::alua::{Access, Pending};
use crate::config::{ArraySettings, Segment, UnitConfig};
use crate::medium::Medium;
use crate::reserve::Reservations;
use crate::time::Time;

/// A logical unit.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// The logical unit number that the configuration gave it.
    pub(crate) lun: Option<u16>,
    pub(crate) serial: String,
    pub(crate) naa: Option<Vec<u8>>,
    pub(crate) eui: Option<Vec<u8>>,
    pub(crate) scsi_name: Option<String>,
    pub(crate) segments: Vec<Segment>,
    /// The states by group: one view for all, or after a split one per controller.
    pub(crate) views: Vec<Vec<Access>>,
    /// The states at the start, by group.
    pub(crate) first_states: Vec<AccessState>,
    /// What transitions will lead to.
    pub(crate) pending: Vec<Pending>,
    /// Number of the last transition.
    pub(crate) episode: u32,
    /// What RTPG tells until then, whatever is true.
    pub(crate) frozen: Option<(Time, Vec<Vec<Access>>)>,
    /// The states at the last crash of a controller, by controller.
    pub(crate) before_crash: Vec<(usize, Vec<AccessState>)>,
    pub(crate) medium: Medium,
    pub(crate) reservations: Reservations,
    /// Whether the cache is volatile by default.
    pub(crate) default_volatile: bool,
    pub(crate) read_only: bool,
    pub(crate) stopped: bool,
    pub(crate) descriptor_sense: bool,
    /// Commands that it holds.
    pub(crate) in_flight: u32,
}

impl Unit {
    /// The unit with that place in `[[unit]]` (`number` counts all units), in the states `access`.
    pub(crate) fn new(
        settings: &ArraySettings,
        config: &UnitConfig,
        name: String,
        at: u32,
        number: u32,
        access: Vec<Access>,
    ) -> Self {
        let digest = fnv(settings.name.as_bytes());
        let naa = config.naa.as_deref().map(|naa| successor(naa, at)).or_else(|| {
            (config.eui.is_none() && config.scsi_name.is_none())
                .then(|| made_up_naa(digest, number))
        });
        let serial = match (&config.serial, config.count) {
            (Some(serial), 1) => serial.clone(),
            (Some(serial), _) => format!("{serial}{at}"),
            (None, _) => format!("{:08X}{number:08X}", digest as u32),
        };
        let size = config.block_size as usize;
        Self {
            name,
            lun: config.lun.map(|first| first.saturating_add(at as u16)),
            serial,
            naa,
            eui: config.eui.as_deref().map(|eui| successor(eui, at)),
            scsi_name: config
                .scsi_name
                .as_ref()
                .map(|name| if config.count == 1 { name.clone() } else { format!("{name}{at}") }),
            segments: config.segments.clone(),
            first_states: access.iter().map(|access| access.state).collect(),
            views: vec![access],
            pending: Vec::new(),
            episode: 0,
            frozen: None,
            before_crash: Vec::new(),
            medium: Medium::new(config.blocks, size, config.write_cache),
            reservations: Reservations::default(),
            default_volatile: config.write_cache,
            read_only: config.read_only,
            stopped: false,
            descriptor_sense: settings.descriptor_sense,
            in_flight: 0,
        }
    }
}

/// An identifier, `at` later: what `count` makes of the first one.
fn successor(id: &[u8], at: u32) -> Vec<u8> {
    let mut id = id.to_vec();
    let mut carry = u64::from(at);
    for byte in id.iter_mut().rev() {
        carry += u64::from(*byte);
        *byte = carry as u8;
        carry >>= 8;
    }
    id
}

/// An NAA 6h designator under the IEEE company id 00-00-5E, in the part of it that is reserved for
/// documentation (RFC 9542), so that it is no device's.
fn made_up_naa(digest: u64, number: u32) -> Vec<u8> {
    let vendor = 0x0053 << 20 | u128::from(digest & 0xf_ffff);
    let extension = (digest >> 20 & 0xffff_ffff) << 32 | u64::from(number);
    let value = 6 << 124 | 0x00_005e << 100 | vendor << 64 | u128::from(extension);
    value.to_be_bytes().to_vec()
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_count_upwards() {
        assert_eq!(successor(&[0x60, 0x00, 0xff], 1), [0x60, 0x01, 0x00]);
        assert_eq!(successor(&[0x60, 0xff, 0xff], 0x102), [0x61, 0x01, 0x01]);
        let naa = made_up_naa(fnv(b"a"), 2);
        assert_eq!(naa[..5], [0x60, 0x00, 0x05, 0xe0, 0x05]);
        assert_eq!((naa[5] >> 4, naa[15], naa.len()), (3, 2, 16));
        assert_ne!(made_up_naa(fnv(b"a"), 2), made_up_naa(fnv(b"b"), 2));
    }
}
