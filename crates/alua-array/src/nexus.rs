//! I_T nexuses and the unit attentions that wait on them.

use std::fmt;

use crate::sense::SenseCode;

/// An I_T nexus: one initiator at one target port, from connect to disconnect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NexusId(pub(crate) u32);

impl fmt::Display for NexusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// What an initiator sees when its transport fails.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TransportError {
    /// The port cannot be reached; the command was not sent (DID_NO_CONNECT on Linux).
    NoConnect,
    /// The link was lost while the command was out: it may have been carried out or may yet be
    /// (DID_TRANSPORT_DISRUPTED).
    Disrupted,
    /// Some other failure on the way, with the same uncertainty (DID_ERROR).
    Error,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoConnect => "no-connect",
            Self::Disrupted => "disrupted",
            Self::Error => "error",
        })
    }
}

/// A nexus as the array keeps it.
#[derive(Debug)]
pub(crate) struct Nexus {
    pub(crate) initiator: String,
    pub(crate) port: usize,
    /// Until disconnect, or until the initiator connects to the port anew.
    pub(crate) alive: bool,
    /// By logical unit number; shorter than there are numbers where nothing waits.
    attentions: Vec<Attentions>,
}

impl Nexus {
    pub(crate) const fn new(initiator: String, port: usize) -> Self {
        Self { initiator, port, alive: true, attentions: Vec::new() }
    }

    /// Whether `wanted` names the initiator: by its whole name, or for an iSCSI initiator port
    /// (`NAME,i,0xISID`, SAM-5 table A.3) by the name of its node.
    pub(crate) fn initiator_is(&self, wanted: &str) -> bool {
        let rest = self.initiator.strip_prefix(wanted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(",i,0x"))
    }

    pub(crate) fn end(&mut self) {
        self.alive = false;
        self.attentions = Vec::new();
    }

    pub(crate) fn establish(&mut self, lun: u16, code: SenseCode) {
        let at = usize::from(lun);
        if at >= self.attentions.len() {
            self.attentions.resize(at + 1, Attentions::default());
        }
        self.attentions[at].establish(code);
    }

    pub(crate) fn attentions(&mut self, lun: u16) -> Option<&mut Attentions> {
        self.attentions.get_mut(usize::from(lun)).filter(|queue| queue.length > 0)
    }

    pub(crate) fn pending(&self, lun: u16) -> &[SenseCode] {
        self.attentions.get(usize::from(lun)).map_or(&[], Attentions::codes)
    }

    /// REPORT LUNS was answered: nothing needs to be told about the inventory any more.
    pub(crate) fn forget_lun_changes(&mut self) {
        for queue in &mut self.attentions {
            queue.retain(|code| code != SenseCode::LUNS_CHANGED);
        }
    }
}

/// The unit attention conditions that wait for one nexus at one logical unit, in the order in which
/// they will be reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attentions {
    length: u8,
    overflow: bool,
    codes: [SenseCode; Self::CAPACITY],
}

impl Default for Attentions {
    fn default() -> Self {
        Self { length: 0, overflow: false, codes: [SenseCode::new(0, 0); Self::CAPACITY] }
    }
}

/// The reset conditions, strongest first (SAM-5, unit attention condition precedence). Each tells all
/// that the weaker ones would tell.
const RESETS: [u8; 6] = [0x00, 0x01, 0x04, 0x02, 0x03, 0x07];

/// 0 for the strongest reset condition; past the end for what is no reset.
fn strength(code: SenseCode) -> usize {
    let known = RESETS.iter().position(|&ascq| code.asc == 0x29 && code.ascq == ascq);
    known.unwrap_or(if code.asc == 0x29 { RESETS.len() } else { usize::MAX })
}

impl Attentions {
    /// More conditions than this are dropped and the overflow is told.
    const CAPACITY: usize = 7;

    fn codes(&self) -> &[SenseCode] {
        self.codes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// Adds a condition. One that already waits is not told twice; a reset clears every condition
    /// that is no stronger reset, and is not added behind one that is.
    pub(crate) fn establish(&mut self, code: SenseCode) {
        if self.codes().contains(&code) {
            return;
        }
        let own = strength(code);
        if own != usize::MAX {
            if self.codes().iter().any(|&other| strength(other) < own) {
                return;
            }
            // Everything that waits is weaker.
            *self = Self { length: 1, ..Self::default() };
            self.codes[0] = code;
            return;
        }
        match self.codes.get_mut(usize::from(self.length)) {
            Some(slot) => {
                *slot = code;
                self.length += 1;
            }
            None => self.overflow = true,
        }
    }

    /// Takes the condition to report next, and whether others were dropped.
    pub(crate) fn take(&mut self) -> Option<(SenseCode, bool)> {
        let first = *self.codes().first()?;
        self.codes.rotate_left(1);
        self.length -= 1;
        Some((first, std::mem::take(&mut self.overflow)))
    }

    fn retain(&mut self, keep: impl Fn(SenseCode) -> bool) {
        let old = *self;
        self.length = 0;
        for &code in old.codes().iter().filter(|&&code| keep(code)) {
            self.codes[usize::from(self.length)] = code;
            self.length += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Attentions) -> Vec<String> {
        std::iter::from_fn(|| queue.take()).map(|(code, _)| code.to_string()).collect()
    }

    fn queue(codes: &[SenseCode]) -> Attentions {
        let mut queue = Attentions::default();
        for &code in codes {
            queue.establish(code);
        }
        queue
    }

    #[test]
    fn a_reset_clears_what_waits_and_what_follows_comes_after_it() {
        use SenseCode as C;
        let mut q = queue(&[C::STATE_CHANGED, C::LUNS_CHANGED, C::POWER_ON, C::CAPACITY_CHANGED]);
        assert_eq!(drain(&mut q), ["29/00", "2a/09"]);
    }

    #[test]
    fn the_stronger_reset_stays() {
        use SenseCode as C;
        assert_eq!(drain(&mut queue(&[C::NEXUS_LOSS, C::DEVICE_RESET])), ["29/03"]);
        assert_eq!(drain(&mut queue(&[C::DEVICE_RESET, C::NEXUS_LOSS])), ["29/03"]);
        assert_eq!(
            drain(&mut queue(&[C::POWER_ON, C::STATE_CHANGED, C::NEXUS_LOSS])),
            ["29/00", "2a/06"]
        );
    }

    #[test]
    fn each_condition_is_told_once_and_in_order() {
        use SenseCode as C;
        let mut q = queue(&[C::STATE_CHANGED, C::LUNS_CHANGED, C::STATE_CHANGED]);
        assert_eq!(drain(&mut q), ["2a/06", "3f/0e"]);
        assert_eq!(q.take(), None);
    }

    #[test]
    fn overflow_is_told() {
        let codes: Vec<SenseCode> = (0..9).map(|ascq| SenseCode::new(0x2a, ascq)).collect();
        let mut q = queue(&codes);
        assert_eq!(q.take(), Some((SenseCode::new(0x2a, 0), true)));
        assert_eq!(drain(&mut q).len(), 6);
    }
}
