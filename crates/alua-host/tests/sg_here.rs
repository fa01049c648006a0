//! Opening what is not a SCSI device, on whatever machine the tests run.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use alua_host::sg::{OpenError, SgDevice};

#[test]
fn a_missing_node_is_said_to_be_missing() {
    let error = SgDevice::open("/dev/there-is-no-such-disk").unwrap_err();
    assert_eq!(error, OpenError::Missing { path: "/dev/there-is-no-such-disk".into() });
    assert_eq!(error.to_string(), "/dev/there-is-no-such-disk: no such device node");
}

#[test]
fn a_file_is_not_a_device_node() {
    let error = SgDevice::open("/proc/self/cmdline").unwrap_err();
    assert_eq!(error, OpenError::NotANode { path: "/proc/self/cmdline".into() });
}

#[test]
fn a_character_device_of_another_driver_never_gets_the_ioctl() {
    let error = SgDevice::open("/dev/null").unwrap_err();
    assert!(matches!(error, OpenError::NotScsi { .. }), "{error}");
    assert!(error.to_string().contains("give a SCSI disk (/dev/sdX)"), "{error}");
}

/// Block devices of this machine that do not belong to the SCSI mid layer.
fn block_devices_without_scsi() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/sys/block") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| !entry.path().join("device/scsi_level").exists())
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .filter(|node| std::fs::metadata(node).is_ok_and(|m| m.file_type().is_block_device()))
        .collect()
}

/// Each such device must give one of the clear refusals, never an open device. A machine without
/// any has nothing to refuse.
#[test]
fn block_devices_of_other_drivers_are_refused_in_words() {
    for node in block_devices_without_scsi() {
        let error = SgDevice::open(&node).expect_err("it is no SCSI device");
        let text = error.to_string();
        assert!(text.starts_with(&*node.to_string_lossy()), "{text}");
        match error {
            OpenError::NotScsi { .. } => assert!(text.contains("not a SCSI device"), "{text}"),
            OpenError::NoPermission { .. } => assert!(text.contains("run as root"), "{text}"),
            OpenError::Map { .. } => assert!(text.contains("one of its paths"), "{text}"),
            OpenError::NoDevice { .. } | OpenError::Other { .. } => {}
            OpenError::Missing { .. } | OpenError::NotANode { .. } => panic!("{text}"),
        }
    }
}
