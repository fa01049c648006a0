//! From the text of a uevent to what it means for SCSI devices.

use std::fmt;
use std::path::Path;

use alua_core::spc::sense::{Sense, SenseKey};
use kobject_uevent::{ActionType, UEvent};

use crate::hctl::Hctl;

/// What a uevent says about SCSI devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A SCSI device is there. Its block and sg devices follow by events of their own.
    DeviceAdded {
        /// Its address.
        hctl: Hctl,
    },
    /// A SCSI device is gone.
    DeviceRemoved {
        /// The address that it had.
        hctl: Hctl,
    },
    /// Something about a SCSI device or its block device changed (a driver bound or left, a rescan,
    /// a write through `uevent`).
    DeviceChanged {
        /// Its address.
        hctl: Hctl,
    },
    /// The device reported ASYMMETRIC ACCESS STATE CHANGED (2Ah/06h).
    AsymmetricAccessChanged {
        /// The path on which it did.
        hctl: Hctl,
    },
    /// The device reported INQUIRY DATA HAS CHANGED (3Fh/03h).
    InquiryChanged {
        /// The path on which it did.
        hctl: Hctl,
    },
    /// The device reported CAPACITY DATA HAS CHANGED (2Ah/09h), or its block device was resized.
    CapacityChanged {
        /// The path on which it did.
        hctl: Hctl,
    },
    /// The device reported REPORTED LUNS DATA HAS CHANGED (3Fh/0Eh): its whole target should be
    /// scanned.
    LunsChanged {
        /// The path on which it did.
        hctl: Hctl,
    },
    /// The device reported another unit attention of which the kernel tells (`SDEV_UA`): mode
    /// parameters changed, power on or reset, a provisioning threshold.
    UnitAttention {
        /// The path on which it did.
        hctl: Hctl,
        /// The kernel's word for it.
        what: String,
    },
    /// Events were missed or cannot be understood: read everything again.
    Rescan(RescanCause),
}

/// Why events cannot be relied on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RescanCause {
    /// More came than the socket's buffer holds.
    Overrun,
    /// A message is longer than any that the kernel is known to send.
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A message that cannot be read, or an action that this program does not know.
    NotUnderstood {
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for RescanCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overrun => f.write_str("uevents were lost: the socket's buffer was full"),
            Self::TooLong { length } => write!(f, "a uevent of {length} bytes"),
            Self::NotUnderstood { why } => write!(f, "a uevent that cannot be read: {why}"),
        }
    }
}

impl Event {
    /// The address of the SCSI device that the event is about; `None` for a rescan of everything.
    #[must_use]
    pub fn hctl(&self) -> Option<Hctl> {
        match *self {
            Self::DeviceAdded { hctl }
            | Self::DeviceRemoved { hctl }
            | Self::DeviceChanged { hctl }
            | Self::AsymmetricAccessChanged { hctl }
            | Self::InquiryChanged { hctl }
            | Self::CapacityChanged { hctl }
            | Self::LunsChanged { hctl }
            | Self::UnitAttention { hctl, .. } => Some(hctl),
            Self::Rescan(_) => None,
        }
    }

    /// The unit attention that the kernel tells of, as sense data: what it means is the business of
    /// the core's one table of senses (`LogicalUnit::handle_sense`). `None` for an event that is no
    /// unit attention, and for one of which this program knows no code.
    #[must_use]
    pub fn sense(&self) -> Option<Sense> {
        let (asc, ascq) = match self {
            Self::AsymmetricAccessChanged { .. } => (0x2a, 0x06),
            Self::InquiryChanged { .. } => (0x3f, 0x03),
            Self::CapacityChanged { .. } => (0x2a, 0x09),
            Self::LunsChanged { .. } => (0x3f, 0x0e),
            Self::UnitAttention { what, .. } if what == "MODE_PARAMETERS_CHANGED" => (0x2a, 0x01),
            Self::UnitAttention { what, .. } if what == "POWER_ON_RESET_OCCURRED" => (0x29, 0x00),
            _ => return None,
        };
        Some(Sense::new(SenseKey::UnitAttention, asc, ascq))
    }
}

/// What the message means for SCSI devices; `None` when it is about something else.
#[must_use]
pub fn parse(packet: &[u8]) -> Option<Event> {
    let uevent = match UEvent::from_netlink_packet(packet) {
        Ok(uevent) => uevent,
        Err(error) => {
            let why = error.to_string().escape_debug().to_string();
            return Some(Event::Rescan(RescanCause::NotUnderstood { why }));
        }
    };
    match uevent.subsystem.as_str() {
        "scsi" => scsi_event(&uevent),
        "block" => block_event(&uevent),
        _ => None,
    }
}

/// An event of the SCSI device itself; hosts and targets have no address at the end.
fn scsi_event(uevent: &UEvent) -> Option<Event> {
    let hctl: Hctl = uevent.devpath.file_name()?.to_str()?.parse().ok()?;
    Some(match uevent.action {
        ActionType::Add => Event::DeviceAdded { hctl },
        ActionType::Remove => Event::DeviceRemoved { hctl },
        _ => match uevent.env.get("SDEV_UA").map(String::as_str) {
            None => Event::DeviceChanged { hctl },
            Some("ASYMMETRIC_ACCESS_STATE_CHANGED") => Event::AsymmetricAccessChanged { hctl },
            Some("INQUIRY_DATA_HAS_CHANGED") => Event::InquiryChanged { hctl },
            Some("CAPACITY_DATA_HAS_CHANGED") => Event::CapacityChanged { hctl },
            Some("REPORTED_LUNS_DATA_HAS_CHANGED") => Event::LunsChanged { hctl },
            Some(other) => Event::UnitAttention { hctl, what: other.escape_debug().to_string() },
        },
    })
}

/// An event of a whole disk on a SCSI device.
fn block_event(uevent: &UEvent) -> Option<Event> {
    if uevent.env.get("DEVTYPE").is_some_and(|kind| kind != "disk") {
        return None;
    }
    let hctl = owner(&uevent.devpath)?;
    let resized = uevent.env.get("RESIZE").is_some_and(|value| value == "1");
    Some(if resized { Event::CapacityChanged { hctl } } else { Event::DeviceChanged { hctl } })
}

/// The address in `.../H:C:T:L/block/sdX`.
fn owner(devpath: &Path) -> Option<Hctl> {
    let block = devpath.parent().filter(|parent| parent.ends_with("block"))?;
    block.parent()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEVPATH: &str = "/devices/platform/host2/session1/target2:0:0/2:0:0:1";

    fn hctl() -> Hctl {
        "2:0:0:1".parse().unwrap()
    }

    fn packet(action: &str, devpath: &str, variables: &[&str]) -> Vec<u8> {
        let mut text = format!("{action}@{devpath}\0ACTION={action}\0DEVPATH={devpath}\0");
        for variable in variables {
            text.push_str(variable);
            text.push('\0');
        }
        text.push_str("SEQNUM=77\0");
        text.into_bytes()
    }

    fn scsi(action: &str, variables: &[&str]) -> Option<Event> {
        let mut all = vec!["SUBSYSTEM=scsi", "DEVTYPE=scsi_device"];
        all.extend(variables);
        parse(&packet(action, DEVPATH, &all))
    }

    #[test]
    fn scsi_devices_come_change_and_go() {
        let hctl = hctl();
        assert_eq!(scsi("add", &[]), Some(Event::DeviceAdded { hctl }));
        assert_eq!(scsi("remove", &[]), Some(Event::DeviceRemoved { hctl }));
        for action in ["change", "bind", "unbind", "move", "online", "offline"] {
            assert_eq!(scsi(action, &[]), Some(Event::DeviceChanged { hctl }), "{action}");
        }
    }

    #[test]
    fn e06_unit_attentions_are_told_apart() {
        let hctl = hctl();
        for (word, event) in [
            ("ASYMMETRIC_ACCESS_STATE_CHANGED", Event::AsymmetricAccessChanged { hctl }),
            ("INQUIRY_DATA_HAS_CHANGED", Event::InquiryChanged { hctl }),
            ("CAPACITY_DATA_HAS_CHANGED", Event::CapacityChanged { hctl }),
            ("REPORTED_LUNS_DATA_HAS_CHANGED", Event::LunsChanged { hctl }),
        ] {
            assert_eq!(scsi("change", &[&format!("SDEV_UA={word}")]), Some(event));
        }
        let reset = scsi("change", &["SDEV_UA=POWER_ON_RESET_OCCURRED"]);
        let what = "POWER_ON_RESET_OCCURRED".to_owned();
        assert_eq!(reset, Some(Event::UnitAttention { hctl, what }));
    }

    #[test]
    fn unit_attentions_become_the_sense_that_the_device_sent() {
        let codes = |word: &str| {
            let event = scsi("change", &[&format!("SDEV_UA={word}")]).unwrap();
            assert_eq!(event.hctl(), Some(hctl()));
            event.sense().map(|sense| sense.codes())
        };
        let attention = |asc, ascq| Some((SenseKey::UnitAttention, asc, ascq));
        assert_eq!(codes("ASYMMETRIC_ACCESS_STATE_CHANGED"), attention(0x2a, 0x06));
        assert_eq!(codes("INQUIRY_DATA_HAS_CHANGED"), attention(0x3f, 0x03));
        assert_eq!(codes("CAPACITY_DATA_HAS_CHANGED"), attention(0x2a, 0x09));
        assert_eq!(codes("REPORTED_LUNS_DATA_HAS_CHANGED"), attention(0x3f, 0x0e));
        assert_eq!(codes("MODE_PARAMETERS_CHANGED"), attention(0x2a, 0x01));
        assert_eq!(codes("POWER_ON_RESET_OCCURRED"), attention(0x29, 0x00));
        assert_eq!(codes("THIN_PROVISIONING_SOFT_THRESHOLD_REACHED"), None);
        assert_eq!(scsi("add", &[]).unwrap().sense(), None);
        assert_eq!(parse(b"").unwrap().hctl(), None);
    }

    #[test]
    fn hosts_targets_and_other_subsystems_say_nothing() {
        let scsi = ["SUBSYSTEM=scsi"];
        assert_eq!(parse(&packet("add", "/devices/platform/host2", &scsi)), None);
        assert_eq!(parse(&packet("add", "/devices/platform/host2/target2:0:0", &scsi)), None);
        assert_eq!(parse(&packet("add", DEVPATH, &["SUBSYSTEM=scsi_generic"])), None);
        assert_eq!(parse(&packet("change", "/devices/x/tty/ttyS6", &["SUBSYSTEM=tty"])), None);
    }

    #[test]
    fn block_devices_belong_to_their_scsi_device() {
        let disk = format!("{DEVPATH}/block/sda");
        let part = format!("{disk}/sda1");
        let block = |devpath: &str, variables: &[&str]| {
            let mut all = vec!["SUBSYSTEM=block"];
            all.extend(variables);
            parse(&packet("change", devpath, &all))
        };
        let hctl = hctl();
        assert_eq!(block(&disk, &["DEVTYPE=disk"]), Some(Event::DeviceChanged { hctl }));
        let resized = block(&disk, &["DEVTYPE=disk", "RESIZE=1"]);
        assert_eq!(resized, Some(Event::CapacityChanged { hctl }));
        assert_eq!(block(&part, &["DEVTYPE=partition"]), None);
        assert_eq!(block("/devices/virtual/block/dm-0", &["DEVTYPE=disk"]), None);
    }

    #[test]
    fn what_is_not_understood_asks_for_a_rescan() {
        let mut no_seqnum = packet("add", DEVPATH, &["SUBSYSTEM=scsi"]);
        no_seqnum.truncate(no_seqnum.len() - b"SEQNUM=77\0".len());
        for bad in [
            packet("explode", DEVPATH, &["SUBSYSTEM=scsi"]),
            packet("add", DEVPATH, &[]),
            no_seqnum,
            b"\xff\xfe".to_vec(),
            Vec::new(),
            packet("add", DEVPATH, &["SUBSYSTEM=scsi", "SEQNUM=-1"]),
        ] {
            let event = parse(&bad);
            let rescan = matches!(event, Some(Event::Rescan(RescanCause::NotUnderstood { .. })));
            assert!(rescan, "{event:?} for {}", String::from_utf8_lossy(&bad));
        }
    }

    #[test]
    fn hostile_text_is_escaped() {
        let Some(Event::UnitAttention { what, .. }) = scsi("change", &["SDEV_UA=\x1b[2J"]) else {
            panic!("no unit attention");
        };
        assert_eq!(what, "\\u{1b}[2J");
        let Some(Event::Rescan(cause)) = parse(&packet("\x1b[2J", DEVPATH, &[])) else {
            panic!("no rescan");
        };
        assert!(!cause.to_string().contains('\x1b'), "{cause}");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_message_with_any_byte_changed_gives_an_answer(at in 0_usize..200, byte: u8) {
            let mut bytes = packet("change", DEVPATH, &["SUBSYSTEM=scsi", "SDEV_UA=X"]);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = parse(&bytes);
        }
    }
}
