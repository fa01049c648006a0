//! Asymmetric access states and the two bit fields that speak of them: which states a target port
//! group supports, and how a logical unit lets its states be managed (TPGS).

use core::fmt;

/// The asymmetric access state of a target port group for one logical unit (SPC-5, 5.16.2).
///
/// Only active/optimized, active/non-optimized and logical-block-dependent let ordinary I/O pass.
/// Values that SPC reserves are kept as sent, so that they can be shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AccessState {
    /// 0h: every command is processed, at full speed.
    ActiveOptimized,
    /// 1h: every command is processed, perhaps slower.
    ActiveNonOptimized,
    /// 2h: no medium access, but the port can be made active.
    Standby,
    /// 3h: no medium access, and only a few commands are processed.
    Unavailable,
    /// 4h: optimized for some logical blocks, another group's for the rest (referrals).
    LbaDependent,
    /// 5h to Dh: reserved by SPC. The value is always in that range when it comes from
    /// [`AccessState::from_bits`].
    Reserved(u8),
    /// Eh: the port is offline for this logical unit (a secondary state).
    Offline,
    /// Fh: between two states; ends by itself.
    Transitioning,
}

impl AccessState {
    /// Every state that SPC names, in the order of its code.
    pub const NAMED: [Self; 7] = [
        Self::ActiveOptimized,
        Self::ActiveNonOptimized,
        Self::Standby,
        Self::Unavailable,
        Self::LbaDependent,
        Self::Offline,
        Self::Transitioning,
    ];

    /// The state in the low four bits of `bits`. The upper bits are ignored: in RTPG data bit 7 of
    /// the same byte is PREF.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0x0 => Self::ActiveOptimized,
            0x1 => Self::ActiveNonOptimized,
            0x2 => Self::Standby,
            0x3 => Self::Unavailable,
            0x4 => Self::LbaDependent,
            0xe => Self::Offline,
            0xf => Self::Transitioning,
            reserved => Self::Reserved(reserved),
        }
    }

    /// The four-bit code of the state.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::ActiveOptimized => 0x0,
            Self::ActiveNonOptimized => 0x1,
            Self::Standby => 0x2,
            Self::Unavailable => 0x3,
            Self::LbaDependent => 0x4,
            Self::Reserved(value) => value & 0x0f,
            Self::Offline => 0xe,
            Self::Transitioning => 0xf,
        }
    }

    /// Whether ordinary I/O may be sent: optimized, non-optimized or LBA-dependent.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::ActiveOptimized | Self::ActiveNonOptimized | Self::LbaDependent)
    }

    /// Whether SET TARGET PORT GROUPS may ask for the state: optimized, non-optimized, standby,
    /// unavailable or offline.
    #[must_use]
    pub const fn is_settable(self) -> bool {
        matches!(
            self,
            Self::ActiveOptimized
                | Self::ActiveNonOptimized
                | Self::Standby
                | Self::Unavailable
                | Self::Offline
        )
    }

    /// The name as Linux shows it in the sysfs attribute `access_state`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActiveOptimized => "active/optimized",
            Self::ActiveNonOptimized => "active/non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::LbaDependent => "lba-dependent",
            Self::Reserved(_) => "reserved",
            Self::Offline => "offline",
            Self::Transitioning => "transitioning",
        }
    }

    /// The state with that [`name`](Self::name); `None` for an unknown name and for "reserved".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|state| state.name() == name)
    }

    /// The letter that the Linux kernel log uses for the state.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::ActiveOptimized => 'A',
            Self::ActiveNonOptimized => 'N',
            Self::Standby => 'S',
            Self::Unavailable => 'U',
            Self::LbaDependent => 'L',
            Self::Reserved(_) => 'X',
            Self::Offline => 'O',
            Self::Transitioning => 'T',
        }
    }
}

impl fmt::Display for AccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(value) => write!(f, "reserved ({value:X}h)"),
            named => f.pad(named.name()),
        }
    }
}

/// Byte 1 of a target port group descriptor: the states that the group supports. Bit 20h is
/// reserved and kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SupportedStates(u8);

impl SupportedStates {
    /// No bit set.
    pub const NONE: Self = Self(0);

    /// The support byte as it stands in the descriptor.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte as it stands in the descriptor.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The same set with `state` added. Reserved states have no bit and change nothing.
    #[must_use]
    pub const fn with(self, state: AccessState) -> Self {
        Self(self.0 | Self::bit(state))
    }

    /// Whether the bit of `state` is set. Reserved states have no bit: always false.
    #[must_use]
    pub const fn contains(self, state: AccessState) -> bool {
        self.0 & Self::bit(state) != 0
    }

    /// Whether active/optimized is the only state that the group supports. An empty set is not
    /// that: it says nothing.
    #[must_use]
    pub const fn is_only_optimized(self) -> bool {
        self.0 & Self::ALL_NAMED == Self::bit(AccessState::ActiveOptimized)
    }

    /// The named states in the set, in the order of their codes.
    pub fn iter(self) -> impl Iterator<Item = AccessState> {
        AccessState::NAMED.into_iter().filter(move |&state| self.contains(state))
    }

    const ALL_NAMED: u8 = 0xdf;

    const fn bit(state: AccessState) -> u8 {
        match state {
            AccessState::Transitioning => 0x80,
            AccessState::Offline => 0x40,
            AccessState::LbaDependent => 0x10,
            AccessState::Unavailable => 0x08,
            AccessState::Standby => 0x04,
            AccessState::ActiveNonOptimized => 0x02,
            AccessState::ActiveOptimized => 0x01,
            AccessState::Reserved(_) => 0,
        }
    }
}

/// The seven letters of the Linux kernel log, upper case where the state is supported: `TOlUSNA`.
impl fmt::Display for SupportedStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AccessState::{
            ActiveNonOptimized, ActiveOptimized, LbaDependent, Offline, Standby, Transitioning,
            Unavailable,
        };
        for state in [
            Transitioning,
            Offline,
            LbaDependent,
            Unavailable,
            Standby,
            ActiveNonOptimized,
            ActiveOptimized,
        ] {
            let letter = state.letter();
            let shown = if self.contains(state) { letter } else { letter.to_ascii_lowercase() };
            write!(f, "{shown}")?;
        }
        Ok(())
    }
}

/// The TPGS field of standard INQUIRY data (byte 5, bits 5:4): how asymmetric access is managed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Tpgs {
    /// 00b: no asymmetric access, or a vendor's own.
    #[default]
    None,
    /// 01b: only the target changes states (implicit ALUA).
    Implicit,
    /// 10b: only SET TARGET PORT GROUPS changes states (explicit ALUA).
    Explicit,
    /// 11b: both.
    Both,
}

impl Tpgs {
    /// The mode in the low two bits of `bits`.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x03 {
            1 => Self::Implicit,
            2 => Self::Explicit,
            3 => Self::Both,
            _ => Self::None,
        }
    }

    /// The two-bit code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Implicit => 1,
            Self::Explicit => 2,
            Self::Both => 3,
        }
    }

    /// Whether the target changes states by itself.
    #[must_use]
    pub const fn has_implicit(self) -> bool {
        matches!(self, Self::Implicit | Self::Both)
    }

    /// Whether SET TARGET PORT GROUPS is supported.
    #[must_use]
    pub const fn has_explicit(self) -> bool {
        matches!(self, Self::Explicit | Self::Both)
    }

    /// The mode in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Implicit => "implicit",
            Self::Explicit => "explicit",
            Self::Both => "implicit and explicit",
        }
    }
}

impl fmt::Display for Tpgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn every_code_survives_a_round_trip() {
        for bits in 0..=0x0f_u8 {
            assert_eq!(AccessState::from_bits(bits).bits(), bits);
            assert_eq!(AccessState::from_bits(bits | 0x80), AccessState::from_bits(bits));
        }
        for bits in 0..=3_u8 {
            assert_eq!(Tpgs::from_bits(bits).bits(), bits);
        }
    }

    #[test]
    fn names_find_their_state() {
        for state in AccessState::NAMED {
            assert_eq!(AccessState::from_name(state.name()), Some(state));
        }
        assert_eq!(AccessState::from_name("reserved"), None);
    }

    #[test]
    fn support_letters_are_those_of_the_kernel_log() {
        assert_eq!(SupportedStates::from_bits(0xdf).to_string(), "TOLUSNA");
        assert_eq!(SupportedStates::from_bits(0xcf).to_string(), "TOlUSNA");
        assert_eq!(SupportedStates::NONE.to_string(), "tolusna");
    }

    #[test]
    fn only_optimized_ignores_the_reserved_bit_and_is_not_empty() {
        assert!(SupportedStates::from_bits(0x21).is_only_optimized());
        assert!(!SupportedStates::NONE.is_only_optimized());
        assert!(!SupportedStates::from_bits(0x03).is_only_optimized());
    }
}
