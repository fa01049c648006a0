//! A made-up sysfs.

use std::fs;
use std::path::Path;

/// What the kernel's handler told in a guest of the lab: two groups in transition, with two paths
/// each, 0:0:1:0 to 3:0:1:0.
pub(crate) const HANDLER: &str =
    include_str!("../../../alua-host/tests/data/debugfs-units-transition.txt");

/// Page 83h: an NAA 6 name for the unit, relative port and group for the port.
fn page_83h(port: u8, group: u8) -> Vec<u8> {
    let mut page = vec![0x00, 0x83, 0, 36, 0x01, 0x03, 0, 16];
    page.extend([0x60, 0x01, 0x40, 0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    page.extend([0x01, 0x14, 0, 4, 0, 0, 0, port, 0x01, 0x15, 0, 4, 0, 0, 0, group]);
    page
}

fn inquiry() -> Vec<u8> {
    let mut data = vec![0, 0, 6, 0x12, 31, 0x30, 0x10, 2];
    data.extend(b"LIO-ORG disk0           4.0 ");
    data
}

/// A disk: its address, the port and the group behind it, its name, its state.
pub(crate) fn device(sys: &Path, hctl: &str, [port, group]: [u8; 2], name: &str, state: &str) {
    let host = hctl.split(':').next().unwrap();
    let target = hctl.rsplit_once(':').unwrap().0;
    let directory = sys.join(format!("devices/host{host}/target{target}/{hctl}"));
    let block = directory.join("block").join(name);
    fs::create_dir_all(block.join("queue")).unwrap();
    for (file, text) in [
        ("type", "0\n"),
        ("vendor", "LIO-ORG \n"),
        ("model", "disk0           \n"),
        ("rev", "4.0 \n"),
        ("state", state),
        ("dh_state", "alua\n"),
        ("access_state", "active/optimized\n"),
        ("preferred_path", "1\n"),
    ] {
        fs::write(directory.join(file), text).unwrap();
    }
    fs::write(directory.join("inquiry"), inquiry()).unwrap();
    fs::write(directory.join("vpd_pg83"), page_83h(port, group)).unwrap();
    fs::write(block.join("size"), "2097152\n").unwrap();
    fs::write(block.join("queue/logical_block_size"), "512\n").unwrap();
    std::os::unix::fs::symlink("../..", block.join("device")).unwrap();
    for (class, entry, target) in [
        ("bus/scsi/devices", directory.file_name().unwrap().to_str().unwrap(), &directory),
        ("class/block", name, &block),
    ] {
        let class = sys.join(class);
        fs::create_dir_all(&class).unwrap();
        std::os::unix::fs::symlink(target, class.join(entry)).unwrap();
    }
}

/// What `scsi_dh_alua_rs` is to tell in debugfs.
pub(crate) fn tell(sys: &Path, text: &str) {
    let directory = sys.join("kernel/debug/alua");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("units"), text).unwrap();
}
