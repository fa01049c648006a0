//! Who a path leads to: the name of the logical unit and the target port, from page 83h.
//!
//! # Contract
//!
//! Names count only with association "logical unit", target port group and relative target port
//! only with association "target port"; a designator with another association is passed over. A
//! designator that says the same twice is fine; two that disagree about the port make the page
//! worthless, and are refused. So is a name whose length is not one that its format has: paths
//! would be joined or parted by bytes that mean nothing.

use core::fmt::{self, Write};

use crate::spc::designator::{Association, Designator, DesignatorKind, DeviceIdentification};
use crate::spc::{Ascii, Rule, WireError};

/// The format of a [`UnitName`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NameKind {
    /// T10 vendor ID and what the vendor chose.
    T10Vendor,
    /// EUI-64 based.
    Eui64,
    /// Network address authority.
    Naa,
    /// SCSI name string.
    ScsiName,
    /// UUID.
    Uuid,
}

/// The name of a logical unit: the designator by which paths to one unit find each other.
///
/// Equal names mean one logical unit. Padding does not count: the NULs behind a SCSI name string
/// are not part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName {
    kind: NameKind,
    length: u8,
    bytes: [u8; 255],
}

impl UnitName {
    /// The name in `designator`; `None` where it is no name of a logical unit: another
    /// association, another type, or an empty payload.
    ///
    /// # Errors
    ///
    /// Inside the option: the payload's length is not one that its format has.
    #[must_use]
    pub fn from_designator(designator: &Designator<'_>) -> Option<Result<Self, WireError>> {
        Some(Candidate::new(designator)?.map(Candidate::name))
    }

    /// The format of the name.
    #[must_use]
    pub const fn kind(&self) -> NameKind {
        self.kind
    }

    /// The designator's payload, without padding: 1 to 255 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes)
    }
}

/// A name that still lies in the page: most are passed over, only the best one is copied.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    kind: NameKind,
    payload: &'a [u8],
}

impl<'a> Candidate<'a> {
    fn new(designator: &Designator<'a>) -> Option<Result<Self, WireError>> {
        if designator.association != Association::LogicalUnit || designator.payload.is_empty() {
            return None;
        }
        let payload = designator.payload;
        let (kind, payload, checked) = match designator.kind {
            DesignatorKind::T10Vendor => (NameKind::T10Vendor, payload, Ok(())),
            DesignatorKind::Eui64 => (NameKind::Eui64, payload, check_eui(payload)),
            DesignatorKind::Naa => (NameKind::Naa, payload, check_naa(payload)),
            DesignatorKind::ScsiName => (NameKind::ScsiName, without_nuls(payload), Ok(())),
            DesignatorKind::Uuid => (NameKind::Uuid, payload, check_uuid(payload)),
            _ => return None,
        };
        (!payload.is_empty()).then(|| checked.map(|()| Self { kind, payload }))
    }

    /// How good the name is, best highest: the order of the Linux kernel, where longer names clash
    /// less. A UUID, which the kernel passes over, stands next to its equal in length.
    fn rank(self) -> u8 {
        match (self.kind, self.payload) {
            (NameKind::ScsiName, _) => 10,
            (NameKind::Naa, [0x60..=0x6f, ..]) => 9,
            (NameKind::Eui64, payload) if payload.len() == 16 => 8,
            (NameKind::Uuid, _) => 7,
            (NameKind::Eui64, payload) if payload.len() == 12 => 6,
            (NameKind::Naa, [0x50..=0x5f, ..]) => 5,
            (NameKind::Naa, [0x20..=0x2f, ..]) => 4,
            (NameKind::Naa, [0x30..=0x3f, ..]) => 3,
            (NameKind::Eui64, _) => 2,
            (NameKind::T10Vendor, _) => 1,
            (NameKind::Naa, _) => 0,
        }
    }

    fn name(self) -> UnitName {
        let mut bytes = [0; 255];
        // A designator's length has one byte, so nothing is cut off.
        let length = u8::try_from(self.payload.len()).unwrap_or(u8::MAX);
        for (place, byte) in bytes.iter_mut().zip(self.payload) {
            *place = *byte;
        }
        UnitName { kind: self.kind, length, bytes }
    }
}

fn without_nuls(mut name: &[u8]) -> &[u8] {
    while let Some((0, rest)) = name.split_last() {
        name = rest;
    }
    name
}

fn check_eui(payload: &[u8]) -> Result<(), WireError> {
    match payload.len() {
        8 | 12 | 16 => Ok(()),
        length => Err(bad_length("eui-64 designator", length, "8, 12 or 16 bytes")),
    }
}

fn check_naa(payload: &[u8]) -> Result<(), WireError> {
    let naa = payload.first().map_or(0, |first| first >> 4);
    match (naa, payload.len()) {
        (6, 16) | (2 | 3 | 5, 8) => Ok(()),
        (6, length) => Err(bad_length("naa designator", length, "16 bytes for NAA 6")),
        (2 | 3 | 5, length) => Err(bad_length("naa designator", length, "8 bytes for NAA 2, 3, 5")),
        _ => {
            let rule = Rule::Value { found: naa.into(), expected: "NAA 2, 3, 5 or 6" };
            Err(WireError::new("naa", 0, rule))
        }
    }
}

fn check_uuid(payload: &[u8]) -> Result<(), WireError> {
    match payload {
        [kind, ..] if kind >> 4 != 1 => {
            let rule = Rule::Value { found: (kind >> 4).into(), expected: "1" };
            Err(WireError::new("uuid type", 0, rule))
        }
        _ if payload.len() != 18 => Err(bad_length("uuid designator", payload.len(), "18 bytes")),
        _ => Ok(()),
    }
}

fn bad_length(field: &'static str, length: usize, expected: &'static str) -> WireError {
    let found = u32::try_from(length).unwrap_or(u32::MAX);
    WireError::new(field, 0, Rule::Value { found, expected })
}

/// As Linux users know it from `wwid` in sysfs: `naa.6001...`, `eui.0025...`, `t10.VENDOR ...`,
/// `uuid.` with dashes, a SCSI name string as it is. What cannot be printed shows as `.`.
impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            NameKind::T10Vendor => write!(f, "t10.{}", Ascii(self.as_bytes())),
            NameKind::Eui64 => {
                f.write_str("eui.")?;
                hex(f, self.as_bytes())
            }
            NameKind::Naa => {
                f.write_str("naa.")?;
                hex(f, self.as_bytes())
            }
            NameKind::ScsiName => {
                for chunk in self.as_bytes().utf8_chunks() {
                    for char in chunk.valid().chars() {
                        f.write_char(if char.is_control() { '.' } else { char })?;
                    }
                    if !chunk.invalid().is_empty() {
                        f.write_char('.')?;
                    }
                }
                Ok(())
            }
            NameKind::Uuid => {
                f.write_str("uuid.")?;
                for (index, byte) in self.as_bytes().iter().skip(2).enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        f.write_char('-')?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnitName({self})")
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// What page 83h, read through one path, says of that path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Identity {
    /// The logical unit's best name. Without one, paths to it cannot be known to belong together.
    pub name: Option<UnitName>,
    /// The target port group of the port.
    pub group: Option<u16>,
    /// The relative target port identifier of the port.
    pub relative_port: Option<u16>,
    /// The first designator of a name whose length its format does not have. It is passed over:
    /// one odd name must not cost the path its other names, or its group. The offset is counted
    /// from the start of the page.
    pub odd_name: Option<WireError>,
}

impl Identity {
    /// Reads the identity from a page.
    ///
    /// Of several names the best counts, and of several equally good ones the first.
    ///
    /// # Errors
    ///
    /// A designator of the port is malformed, or two of them disagree about it. A malformed name is
    /// passed over, see [`odd_name`](Self::odd_name).
    pub fn from_page(page: &DeviceIdentification<'_>) -> Result<Self, IdentityError> {
        let mut identity = Self::default();
        let mut best: Option<Candidate<'_>> = None;
        let mut offset = PAGE_HEADER;
        for designator in page {
            let payload = offset.saturating_add(DESIGNATOR_HEADER);
            identity.add(&designator, payload, &mut best).map_err(|error| error.at(payload))?;
            offset = payload.saturating_add(designator.payload.len());
        }
        identity.name = best.map(Candidate::name);
        Ok(identity)
    }

    fn add<'a>(
        &mut self,
        designator: &Designator<'a>,
        offset: usize,
        best: &mut Option<Candidate<'a>>,
    ) -> Result<(), IdentityError> {
        match designator.association {
            Association::LogicalUnit => {
                self.add_name(designator, offset, best);
            }
            Association::TargetPort => {
                if let Some(group) = designator.target_port_group() {
                    agree(&mut self.group, group)?
                        .map_err(|(first, second)| IdentityError::Groups { first, second })?;
                }
                if let Some(port) = designator.relative_target_port() {
                    agree(&mut self.relative_port, port)?.map_err(|(first, second)| {
                        IdentityError::RelativePorts { first, second }
                    })?;
                }
            }
            Association::TargetDevice | Association::Reserved => {}
        }
        Ok(())
    }

    fn add_name<'a>(
        &mut self,
        designator: &Designator<'a>,
        offset: usize,
        best: &mut Option<Candidate<'a>>,
    ) {
        match Candidate::new(designator) {
            Some(Ok(name)) if best.is_none_or(|known| name.rank() > known.rank()) => {
                *best = Some(name);
            }
            Some(Err(odd)) => self.odd_name = self.odd_name.or(Some(odd.moved(offset))),
            Some(Ok(_)) | None => {}
        }
    }
}

/// Takes `second` as the value of `known`, unless that has another value: the inner error, with
/// both.
fn agree(
    known: &mut Option<u16>,
    second: Result<u16, WireError>,
) -> Result<Result<(), (u16, u16)>, IdentityError> {
    let second = second.map_err(IdentityError::Malformed)?;
    match known.replace(second) {
        Some(first) if first != second => Ok(Err((first, second))),
        _ => Ok(Ok(())),
    }
}

/// Why a page 83h that is whole says nothing reliable of the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentityError {
    /// A designator breaks its format. The offset is counted from the start of the page.
    Malformed(WireError),
    /// Two target port group designators disagree.
    Groups {
        /// The group named first.
        first: u16,
        /// The group named after it.
        second: u16,
    },
    /// Two relative target port designators disagree.
    RelativePorts {
        /// The port named first.
        first: u16,
        /// The port named after it.
        second: u16,
    },
}

impl IdentityError {
    fn at(self, payload: usize) -> Self {
        match self {
            Self::Malformed(error) => Self::Malformed(error.moved(payload)),
            disagreement => disagreement,
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "VPD page 83h: {error}"),
            Self::Groups { first, second } => write!(
                f,
                "VPD page 83h puts the port in two target port groups: {first} and {second}"
            ),
            Self::RelativePorts { first, second } => write!(
                f,
                "VPD page 83h gives the port two relative target port identifiers: \
                 {first} and {second}"
            ),
        }
    }
}

impl core::error::Error for IdentityError {}

const PAGE_HEADER: usize = 4;
const DESIGNATOR_HEADER: usize = 4;
